package limits

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/durward-auth/durward/internal/services"
	connection "github.com/durward-auth/durward/internal/valkey"
)

// place is where a test counts: in memory alone, or in Redis too.
type place struct{ redis *connection.Client }

var memory = place{}

// shared is what a Limiter of a place counts in: each is as new as a Limiter's
// memory, for its key is its own.
func (p place) shared(fatal interface{ Fatal(...any) }) *Shared {
	if p.redis == nil {
		return nil
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	s, err := NewShared(p.redis, key)
	if err != nil {
		fatal.Fatal(err)
	}
	return s
}

// inBoth runs a test in memory, and then in Redis.
func inBoth(t *testing.T, test func(t *testing.T, in place)) {
	t.Run("memory", func(t *testing.T) { test(t, memory) })
	t.Run("redis", func(t *testing.T) { test(t, place{connect(t, services.SharedRedis(t))}) })
}

// connect returns a connection that is up, and patient: the machine may be busy.
func connect(t testing.TB, r *services.Redis) *connection.Client {
	t.Helper()
	return connectWith(t, connection.Config{URL: r.URL(), Timeout: 20 * time.Second})
}

func connectWith(t testing.TB, c connection.Config) *connection.Client {
	t.Helper()
	c.Log = slog.New(slog.DiscardHandler)
	client, err := connection.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	waitUp(t, client, true)
	return client
}

// waitUp waits until a connection is up, or down.
func waitUp(t testing.TB, c *connection.Client, want bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if up, _ := c.Up(); up == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not up %v after half a minute: %v", want, c.Err())
		}
	}
}

// nodes are the Limiters of all nodes of a place: one in memory, two in Redis, where
// what one has not seen itself it must learn from there.
func (p place) nodes(fatal interface{ Fatal(...any) }, c Config) (all []*Limiter) {
	c.Shared = p.shared(fatal)
	for range 2 {
		l, err := New(c)
		if err != nil {
			fatal.Fatal(err)
		}
		if all = append(all, l); c.Shared == nil {
			break
		}
	}
	return all
}

// twoNodes are two nodes with one clock over one Redis.
func twoNodes(t testing.TB, c *connection.Client, change ...func(*Config)) (a, b *Limiter, k *clock) {
	t.Helper()
	k = &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	config := Config{Now: k.Now}
	for _, f := range change {
		f(&config)
	}
	nodes := place{c}.nodes(t, config)
	return nodes[0], nodes[1], k
}

// Of wrong tries on two nodes at once as many are judged as on one, of right ones
// all.
func TestSum(t *testing.T) {
	t.Parallel()
	redis := connect(t, services.SharedRedis(t))
	for _, c := range []struct {
		name   string
		right  bool
		spread bool // over accounts
		want   int
	}{{"one account", false, false, 5}, {"right ones", true, false, 60}, {"one network", false, true, 10}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			// The nodes have connections of their own, as they do.
			a, b, _ := twoNodes(t, redis, func(l *Config) {
				if !c.spread {
					l.NetworkFailures, l.NetworkFailuresHour = 1000, 1000
				}
			})
			var mu sync.Mutex
			judged := 0
			var wg sync.WaitGroup
			for n := range 60 {
				wg.Go(func() {
					account := "ada"
					if c.spread {
						account = fmt.Sprint("account ", n)
					}
					try, err := []*Limiter{a, b}[n%2].Begin(ctx, account, here)
					if err != nil {
						var refused *Blocked
						if !errors.As(err, &refused) {
							t.Error(err)
						}
						return
					}
					mu.Lock()
					judged++
					mu.Unlock()
					if c.right {
						try.Succeed()
					} else {
						try.Fail(fmt.Sprint(n))
					}
				})
			}
			wg.Wait()
			if judged != c.want {
				t.Errorf("%d judged on both nodes, want %d", judged, c.want)
			}
		})
	}
}

// What one node counts the other knows: failures, a block, a wrong secret that it
// has seen, a right one that ends failures.
func TestNodesKnow(t *testing.T) {
	t.Parallel()
	a, b, k := twoNodes(t, connect(t, services.SharedRedis(t)), unlimitedNetworks)
	for _, l := range []*Limiter{a, b, a, b, a, b} {
		failsWith(t, l, "ada", here, "last year's password")
	}
	for _, l := range []*Limiter{a, b, a} {
		fails(t, l, "ada", here)
	}
	if wait := refused(t, b, "ada", here); wait != 0 {
		t.Errorf("after four different secrets: refused for %s", wait)
	}
	fails(t, b, "ada", here)
	for n, l := range []*Limiter{a, b} {
		if wait := refused(t, l, "ada", here); wait != time.Hour || !l.Blocked(ctx, "ada", here) || l.Blocked(ctx, "ada", elsewhere) {
			t.Errorf("node %d after five: refused for %s", n, wait)
		}
	}
	for _, l := range []*Limiter{a, a, b, b} {
		fails(t, l, "bob", here)
	}
	k.advance(time.Second)
	if try, err := b.Begin(ctx, "bob", here); err != nil {
		t.Fatal(err)
	} else {
		try.Succeed()
	}
	k.advance(time.Second)
	for range 4 {
		fails(t, a, "bob", here)
	}
	if wait := refused(t, a, "bob", here); wait != 0 {
		t.Errorf("four failures after a right secret on the other node: refused for %s", wait)
	}
}

// A node that is gone in the middle of tries holds nobody up for longer than a
// lease.
func TestLeaseEnds(t *testing.T) {
	t.Parallel()
	a, b, _ := twoNodes(t, connect(t, services.SharedRedis(t)))
	a.shared.lease = 700 * time.Millisecond
	for range 5 {
		if _, err := a.Begin(ctx, "ada", here); err != nil { // and never decided
			t.Fatal(err)
		}
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := b.Begin(short, "ada", here); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beside five under way elsewhere: %v, want it to wait", err)
	}
	long, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	began := time.Now()
	try, err := b.Begin(long, "ada", here)
	if err != nil {
		t.Fatalf("when the leases have ended: %v", err)
	}
	try.Cancel()
	t.Logf("waited %s", time.Since(began).Round(time.Millisecond))
}

// One that waits for a try of another node goes on when that is decided, and not
// when the lease ends.
func TestWaitsForTheOtherNode(t *testing.T) {
	t.Parallel()
	a, b, _ := twoNodes(t, connect(t, services.SharedRedis(t)))
	var under []*Attempt
	for range 5 {
		try, err := a.Begin(ctx, "ada", here)
		if err != nil {
			t.Fatal(err)
		}
		under = append(under, try)
	}
	got := make(chan error, 1)
	go func() {
		try, err := b.Begin(ctx, "ada", here)
		if err == nil {
			try.Cancel()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	for _, try := range under {
		try.Succeed()
	}
	select {
	case err := <-got:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(leaseLife / 2):
		t.Error("waits still")
	}
}

// Redis that dies gives nobody more tries than a node alone would, and takes no
// block with it; when it is back, nodes count together again.
func TestRedisDies(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	redis := connect(t, r)
	a, b, k := twoNodes(t, redis, unlimitedNetworks)
	for range 3 {
		fails(t, a, "ada", here) // what a saw itself
	}
	fails(t, b, "ada", here)
	for _, l := range []*Limiter{a, b, a, b, a} {
		fails(t, l, "bob", here)
	}
	_ = refused(t, b, "bob", here) // b has seen the block, as it would in an attack
	r.Kill(t)
	waitUp(t, redis, false)
	for range 2 {
		fails(t, a, "ada", here)
	}
	for range 4 {
		fails(t, b, "ada", here)
	}
	for _, when := range []string{"gone", "back and empty"} {
		for n, l := range []*Limiter{a, b} {
			for _, account := range []string{"ada", "bob"} {
				if wait := refused(t, l, account, here); wait != time.Hour || !l.Blocked(ctx, account, here) {
					t.Errorf("Redis is %s: node %d refuses %s for %s, want 1h", when, n, account, wait)
				}
			}
		}
		if when == "gone" {
			r.Start(t)
			waitUp(t, redis, true)
		}
	}
	k.advance(2 * time.Hour)
	for _, l := range []*Limiter{a, b, a, b, a} {
		fails(t, l, "ada", here)
	}
	if wait := refused(t, b, "ada", here); wait != time.Hour {
		t.Errorf("after its return: refused for %s, want the nodes to count together", wait)
	}
}

// Redis that hangs costs one try its time-out; those after it go on at once.
func TestRedisHangs(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	redis := connectWith(t, connection.Config{URL: r.URL()})
	a, b, _ := twoNodes(t, redis, unlimitedNetworks)
	fails(t, a, "ada", here)
	r.Pause(t)
	fails(t, a, "ada", here)
	if up, _ := redis.Up(); up {
		t.Error("first try while Redis hangs: the connection is up, want down: later tries need not wait")
	}
	for n := range 100 {
		fails(t, b, fmt.Sprint("account ", n), here)
	}
	for range 3 {
		fails(t, a, "ada", here)
	}
	if wait := refused(t, a, "ada", here); wait != time.Hour {
		t.Errorf("refused for %s, want 1h: a failure is lost", wait)
	}
	r.Resume(t)
	waitUp(t, redis, true)
	for _, l := range []*Limiter{a, b, a, b, a} {
		fails(t, l, "bob", here)
	}
	if !b.Blocked(ctx, "bob", here) {
		t.Error("after it goes on nodes do not count together")
	}
}

// One network fills only its share of Redis, every key ends by itself, and what
// somebody is called or where they are is not there.
func TestWhatRedisHolds(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	redis := connect(t, r)
	a, b, _ := twoNodes(t, redis, unlimitedNetworks)
	a.bounds.ofNetwork, b.bounds.ofNetwork = 50, 50
	six := netip.MustParseAddr("2001:db8:1:100::1")
	for range 5 {
		fails(t, a, "victim@example.com", here)
	}
	for n := range 300 {
		failsWith(t, []*Limiter{a, b}[n%2], fmt.Sprintf("flood-%d@example.com", n), here, "tr0ub4dor")
	}
	for range 4 {
		fails(t, b, "victim@example.com", six)
	}
	if try, err := a.Begin(ctx, "victim@example.com", six); err != nil { // under way
		t.Fatal(err)
	} else {
		defer try.Cancel()
	}
	rate := NewRate(RateConfig{Name: "keys", AMinute: 3, Shared: a.shared})
	rate.Bad(ctx, here)
	if !b.Blocked(ctx, "victim@example.com", here) {
		t.Error("a flood forgets a block")
	}
	err := redis.With(ctx, func(ctx context.Context, c valkey.Client) error {
		keys, err := c.Do(ctx, c.B().Keys().Pattern("*").Build()).AsStrSlice()
		if err != nil {
			return err
		}
		if len(keys) < 8 {
			t.Errorf("only %d keys", len(keys))
		}
		for _, key := range keys {
			left, err := c.Do(ctx, c.B().Pttl().Key(key).Build()).AsInt64()
			if err != nil || left <= 0 || left > (2*time.Hour).Milliseconds() {
				t.Errorf("%s ends in %d ms, %v", key, left, err)
			}
			text, err := c.Do(ctx, c.B().Dump().Key(key).Build()).ToString()
			if err != nil {
				return err
			}
			for _, secret := range []string{"example.com", "tr0ub4dor", "203.0.113", "2001:db8"} {
				if strings.Contains(key+text, secret) {
					t.Errorf("%s holds %s", key, secret)
				}
			}
		}
		accounts, err := c.Do(ctx, c.B().Hlen().Key(a.shared.networkKey(network(here))).Build()).AsInt64()
		if accounts > 50 || accounts < 10 {
			t.Errorf("%d accounts of one network", accounts)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Bad ones are counted in sum, too.
func TestRateInSum(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	redis := connect(t, r)
	shared := place{redis}.shared(t)
	now := func() time.Time { return time.Unix(1_800_000_030, 0) }
	a := NewRate(RateConfig{Name: "x", AMinute: 5, Shared: shared, Now: now})
	b := NewRate(RateConfig{Name: "x", AMinute: 5, Shared: shared, Now: now})
	other := NewRate(RateConfig{Name: "y", AMinute: 5, Shared: shared, Now: now})
	for n, rate := range []*Rate{a, b, a, b, a} {
		if _, ok := rate.Bad(ctx, here); !ok {
			t.Errorf("bad one %d is refused", n+1)
		}
	}
	for n, rate := range []*Rate{a, b} {
		if wait, ok := rate.Bad(ctx, here); ok || wait != 30*time.Second {
			t.Errorf("node %d, the sixth: %s, %v", n, wait, ok)
		}
	}
	if _, ok := other.Bad(ctx, here); !ok {
		t.Error("what is counted under another name")
	}
	r.Kill(t)
	waitUp(t, redis, false)
	for n := range 3 { // b has let two through itself, of the five of a node alone
		if _, ok := b.Bad(ctx, elsewhere); !ok {
			t.Errorf("without Redis, bad one %d is refused", n+1)
		}
	}
}

// What a try costs.
func BenchmarkTry(b *testing.B) {
	for _, in := range []struct {
		name  string
		place place
	}{{"memory", memory}, {"redis", place{connect(b, services.SharedRedis(b))}}} {
		b.Run(in.name, func(b *testing.B) {
			l, _ := newLimiter(b, in.place)
			b.Run("one", func(b *testing.B) {
				for b.Loop() {
					a, err := l.Begin(ctx, "ada", here)
					if err != nil {
						b.Fatal(err)
					}
					a.Succeed()
				}
			})
			b.Run("parallel", func(b *testing.B) {
				b.SetParallelism(16)
				var n int64
				var mu sync.Mutex
				b.RunParallel(func(pb *testing.PB) {
					mu.Lock()
					n++
					account, addr := fmt.Sprint("account ", n), numbered(int(n))
					mu.Unlock()
					for pb.Next() {
						a, err := l.Begin(ctx, account, addr)
						if err != nil {
							b.Error(err)
							return
						}
						a.Succeed()
					}
				})
			})
		})
	}
}
