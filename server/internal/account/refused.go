package account

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/durward-auth/durward/server/internal/store"
)

// refusedSignIns sums refused sign-ins until they are written to the security
// log: a row for each account, network and reason, not one for each try. A
// network that tries more accounts gets one row for all further ones, so that
// its flood hides nobody else's row.
type refusedSignIns struct {
	mu      sync.Mutex
	waiting map[refusedKey]*refusedSum
	rows    map[string]int // of accounts, by network
}

type refusedKey struct{ account, network, why string }

type refusedSum struct {
	event store.Event
	times int
}

// Bounds on the sums held between two writes.
const (
	maxRefusedSums      = 1000 // and one for each reason beyond
	maxRefusedOfNetwork = 20   // twice the failures a minute that a network has by default
)

func newRefusedSignIns() *refusedSignIns {
	return &refusedSignIns{waiting: make(map[refusedKey]*refusedSum), rows: make(map[string]int)}
}

func (s *refusedSignIns) add(account, userID, why string, from From, now time.Time) {
	event := from.event(store.EventSignInRefused, why, now)
	event.UserID = userID
	key := refusedKey{account, event.Network, why}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count(key) {
		return
	}
	if s.rows[key.network] >= maxRefusedOfNetwork {
		key.account, event.UserID, event.Device = "", "", ""
		event.Detail = "further accounts"
	}
	if len(s.waiting) >= maxRefusedSums {
		key.account, key.network, event.UserID, event.Device, event.Network = "", "", "", "", ""
		event.Detail = "further networks"
	}
	if s.count(key) {
		return
	}
	if key.account != "" {
		s.rows[key.network]++
	}
	s.waiting[key] = &refusedSum{event: event, times: 1}
}

// count counts one more of a sum that there is.
func (s *refusedSignIns) count(key refusedKey) bool {
	sum, ok := s.waiting[key]
	if ok {
		sum.times++
	}
	return ok
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
			sum.event.Detail = strings.TrimSpace(fmt.Sprintf("%d times %s", sum.times, sum.event.Detail))
		}
		events = append(events, sum.event)
	}
	clear(s.waiting)
	clear(s.rows)
	return events
}

// Run writes refused sign-ins to the security log and the last use of keys once a
// second until ctx ends, and what is left then. Once an hour it forgets keys that
// are dead for long.
func (p *People) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var purged time.Time
	for ended := false; !ended; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			ended = true
		}
		write, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		if events := p.refused.take(); len(events) > 0 {
			if err := p.DB.AddEvents(write, events); err != nil {
				p.Log.Error("refused sign-ins could not be written to the security log", "events", len(events), "error", err)
			}
		}
		p.writeKeyUses(write)
		if now := p.Now(); now.Sub(purged) > time.Hour && !ended {
			purged = now
			if err := p.DB.PurgeAPIKeys(write, now.Add(-keysKept)); err != nil {
				p.Log.Warn("dead keys could not be removed", "error", err)
			}
		}
		cancel()
	}
}
