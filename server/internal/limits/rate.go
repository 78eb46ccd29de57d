package limits

import (
	"context"
	"net/netip"
	"sync"
	"time"
)

// RateConfig configures a [Rate]. Name and AMinute are required.
type RateConfig struct {
	Name    string // names the counter in Redis; a constant of the program
	AMinute int    // limit for each minute and network
	Shared  *Shared
	Now     func() time.Time
}

// Rate limits how often one network may send obviously bad input, such as refresh tokens that were
// never issued. Good requests are neither counted nor refused. It is safe for concurrent use.
type Rate struct {
	c        RateConfig
	networks int // networks counted in a minute

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

// Bad counts a bad request. If the limit is exceeded it returns false and the time to wait.
func (r *Rate) Bad(ctx context.Context, addr netip.Addr) (wait time.Duration, ok bool) {
	n := network(addr)
	now := r.c.Now()
	minute := now.Unix() / 60
	ok, counted := r.count(n, minute)
	// A network without room in memory is not counted in Redis either: both have limited memory.
	if ok && counted && r.c.Shared != nil {
		ok = r.c.Shared.rate(ctx, r.c.Name, n, minute, r.c.AMinute)
	}
	if !ok {
		return time.Unix((minute+1)*60, 0).Sub(now), false
	}
	return 0, true
}

// count counts a bad request in the memory of this process.
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
