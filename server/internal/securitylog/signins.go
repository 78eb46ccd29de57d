package securitylog

import (
	"fmt"
	"strings"
	"sync"

	"github.com/durward-auth/durward/server/internal/store"
)

// Limits on the sums of one batch.
const (
	maxSums       = 1000 // and one more for each reason
	maxOfNetwork  = 20   // accounts; twice the default limit of failures a minute
	otherAccounts = "further accounts"
	otherNetworks = "further networks"
)

// signIns sums refused sign-ins: one row for each account, network and reason in a batch instead
// of one for each attempt. A network that tries more accounts gets one row for all further ones.
type signIns struct {
	mu       sync.Mutex
	sums     map[sumKey]*sum
	accounts map[string]int // accounts with a sum, by network
}

type sumKey struct{ account, network, reason string }

type sum struct {
	event store.Event
	times int
}

// AddSignIn records a refused sign-in. account is the account that was tried, whether it exists
// or not; e.Outcome is the reason. AddSignIn does not wait.
func (w *Writer) AddSignIn(account string, e store.Event) { w.signIns.add(account, e) }

func (s *signIns) add(account string, e store.Event) {
	key := sumKey{account, e.Network, e.Outcome}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count(key) {
		return
	}
	if s.accounts[key.network] >= maxOfNetwork {
		key.account, e.UserID, e.Device, e.Detail = "", "", "", otherAccounts
	}
	if len(s.sums) >= maxSums {
		key.account, key.network, e.UserID, e.Device, e.Network, e.Detail = "", "", "", "", "", otherNetworks
	}
	if s.count(key) {
		return
	}
	if key.account != "" {
		s.accounts[key.network]++
	}
	s.sums[key] = &sum{event: e, times: 1}
}

// count adds one to an existing sum and reports whether there is one.
func (s *signIns) count(key sumKey) bool {
	sum, ok := s.sums[key]
	if ok {
		sum.times++
	}
	return ok
}

func (s *signIns) takeAll() []store.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := make([]store.Event, 0, len(s.sums))
	for _, sum := range s.sums {
		if sum.times > 1 {
			sum.event.Detail = strings.TrimSpace(fmt.Sprintf("%d times %s", sum.times, sum.event.Detail))
		}
		events = append(events, sum.event)
	}
	clear(s.sums)
	clear(s.accounts)
	return events
}
