package account

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/durward-auth/durward/internal/store"
)

// refusedSignIns sums refused sign-ins until they are written to the security
// log, so that a flood of them costs a row for each account and network, not one
// for each try.
type refusedSignIns struct {
	mu      sync.Mutex
	waiting map[refusedKey]*refusedSum
	lost    int // tries of accounts and networks past the bound
}

type refusedKey struct{ account, network, why string }

type refusedSum struct {
	event store.Event
	times int
}

// maxRefusedSums bounds the sums held between two writes.
const maxRefusedSums = 1000

func newRefusedSignIns() *refusedSignIns {
	return &refusedSignIns{waiting: make(map[refusedKey]*refusedSum)}
}

func (s *refusedSignIns) add(account, userID, why string, from From, now time.Time) {
	key := refusedKey{account, from.Network(), why}
	s.mu.Lock()
	defer s.mu.Unlock()
	if sum, ok := s.waiting[key]; ok {
		sum.times++
		return
	}
	if len(s.waiting) >= maxRefusedSums {
		s.lost++
		return
	}
	event := from.event(store.EventSignInRefused, why, now)
	event.UserID = userID
	s.waiting[key] = &refusedSum{event: event, times: 1}
}

func (s *refusedSignIns) take() []store.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		return nil
	}
	events := make([]store.Event, 0, len(s.waiting))
	for _, sum := range s.waiting {
		if sum.times > 1 {
			sum.event.Detail = fmt.Sprintf("%d times", sum.times)
		}
		events = append(events, sum.event)
	}
	if s.lost > 0 {
		events[len(events)-1].Detail += fmt.Sprintf("; %d more of other accounts and networks", s.lost)
	}
	clear(s.waiting)
	s.lost = 0
	return events
}

// Run writes refused sign-ins to the security log once a second until ctx ends,
// and what is left then.
func (p *People) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for ended := false; !ended; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			ended = true
		}
		if events := p.refused.take(); len(events) > 0 {
			write, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			if err := p.DB.AddEvents(write, events); err != nil {
				p.Log.Error("refused sign-ins could not be written to the security log", "events", len(events), "error", err)
			}
			cancel()
		}
	}
}
