package limits

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// RateConfig is what a [Rate] is made of. Name and AMinute are required.
type RateConfig struct {
	Name    string // what is counted, in Redis: a constant of the program
	AMinute int    // bad ones a minute and network
	Shared  *Shared
	Now     func() time.Time
}

// Rate bounds how often one network may send what is plainly bad, such as
// refresh tokens that were never issued. Only bad ones are counted and only they
// are turned away. It is safe for concurrent use.
type Rate struct {
	c        RateConfig
	networks int // how many are counted in a minute

	mu     sync.Mutex
	minute int64
	counts map[netip.Prefix]int
}

// NewRate returns a Rate.
func NewRate(c RateConfig) *Rate {
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Rate{c: c, networks: standard.networks, counts: make(map[netip.Prefix]int)}
}

// Bad counts a bad one. Where there were too many it returns false and how long
// to wait.
func (r *Rate) Bad(ctx context.Context, addr netip.Addr) (wait time.Duration, ok bool) {
	n := network(addr)
	now := r.c.Now()
	minute := now.Unix() / 60
	ok, counted := r.count(n, minute)
	// What there is no room to count here is not counted in Redis either: the memory
	// of both is bounded.
	if ok && counted && r.c.Shared != nil {
		ok = r.c.Shared.rate(ctx, r.c.Name, n, minute, r.c.AMinute)
	}
	if !ok {
		return time.Unix((minute+1)*60, 0).Sub(now), false
	}
	return 0, true
}

// count counts one in the memory of this process.
func (r *Rate) count(n netip.Prefix, minute int64) (ok, counted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if minute != r.minute {
		r.minute = minute
		clear(r.counts)
	}
	had, known := r.counts[n]
	if had >= r.c.AMinute {
		return false, false
	}
	if !known && len(r.counts) >= r.networks {
		return true, false
	}
	r.counts[n]++
	return true, true
}
