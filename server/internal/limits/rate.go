package limits

import (
	"cmp"
	"context"
	"crypto/sha256"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// RateConfig configures a [Rate]. Name and Most are required.
type RateConfig struct {
	Name   string        // names the counter in Redis; a constant of the program
	Most   int           // limit for each window and key; 0 means no limit
	Window time.Duration // whole seconds; a calendar minute, hour or the like; 0 means a minute
	Shared *Shared
	Now    func() time.Time
}

// Rate limits how often one network, or one other key, may do what no legitimate client does often,
// such as sending refresh tokens that were never issued. A nil Rate has no limit. It is safe for
// concurrent use.
type Rate struct {
	c    RateConfig
	most atomic.Int64
	room int // keys counted in a window

	mu     sync.Mutex
	window int64
	counts map[[16]byte]int // by the hash of the key, which a client may choose
}

// NewRate returns a Rate.
func NewRate(c RateConfig) *Rate {
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Window = cmp.Or(c.Window, time.Minute)
	r := &Rate{c: c, room: standard.networks, counts: make(map[[16]byte]int)}
	r.Set(c.Most)
	return r
}

// Set changes the limit. Counts remain.
func (r *Rate) Set(most int) { r.most.Store(int64(most)) }

// Network counts a request of a network, for IPv6 also of its /56 and /48 with higher limits. If a
// limit is exceeded it returns false and the time to wait.
func (r *Rate) Network(ctx context.Context, addr netip.Addr) (wait time.Duration, ok bool) {
	for _, p := range wider(network(addr)) {
		if wait, ok = r.take(ctx, p.String(), factor(p)); !ok {
			return wait, false
		}
	}
	return 0, true
}

// Key counts a request for a key, such as an e-mail address. If the limit is exceeded it returns
// false and the time to wait.
func (r *Rate) Key(ctx context.Context, key string) (wait time.Duration, ok bool) {
	return r.take(ctx, key, 1)
}

// take counts a request for a key. Its limit is a multiple of that of r.
func (r *Rate) take(ctx context.Context, key string, times int) (wait time.Duration, ok bool) {
	if r == nil || r.most.Load() == 0 {
		return 0, true
	}
	most := times * int(r.most.Load())
	now, seconds := r.c.Now(), int64(r.c.Window/time.Second)
	window := now.Unix() / seconds
	ok, counted := r.count(key, window, most)
	// A key without room in memory is not counted in Redis either: both have limited memory.
	if ok && counted && r.c.Shared != nil {
		ok = r.c.Shared.rate(ctx, r.c, key, window, most)
	}
	if !ok {
		return time.Unix((window+1)*seconds, 0).Sub(now), false
	}
	return 0, true
}

// count counts a request in the memory of this process.
func (r *Rate) count(key string, window int64, most int) (ok, counted bool) {
	sum := sha256.Sum256([]byte(key))
	hash := [16]byte(sum[:])
	r.mu.Lock()
	defer r.mu.Unlock()
	if window != r.window {
		r.window = window
		clear(r.counts)
	}
	had, known := r.counts[hash]
	if had >= most {
		return false, false
	}
	if !known && len(r.counts) >= r.room {
		return true, false
	}
	r.counts[hash]++
	return true, true
}
