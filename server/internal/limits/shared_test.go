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
	"github.com/durward-auth/durward/server/internal/testkit"
)

// place is a place for counts: only memory, or Redis too.
type place struct{ redis *connection.Client }

var memory = place{}

// shared returns a new Shared without counts: its key is random.
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

// inBoth runs a test in memory and in Redis.
func inBoth(t *testing.T, test func(t *testing.T, in place)) {
	t.Run("memory", func(t *testing.T) { test(t, memory) })
	t.Run("redis", func(t *testing.T) { test(t, place{connect(t, services.SharedRedis(t))}) })
}

// connect returns a connection that is up. Its timeout is long, for a busy machine.
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

// waitUp waits until a connection is up or down.
func waitUp(t testing.TB, c *connection.Client, want bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if c.State().Up == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("connection is not up=%v within 30 s: %v", want, c.Err())
		}
	}
}

// nodes returns the Limiters of all nodes: one in memory, two in Redis, which learn the failures of
// the other.
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

// twoNodes returns two nodes with one clock and one Redis.
func twoNodes(t testing.TB, c *connection.Client, change ...func(*Config)) (a, b *Limiter, k *testkit.Clock) {
	t.Helper()
	k = testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	config := Config{Now: k.Now}
	for _, f := range change {
		f(&config)
	}
	nodes := place{c}.nodes(t, config)
	return nodes[0], nodes[1], k
}

// Failures of one network within an hour, at two nodes, add up.
func TestHourInSum(t *testing.T) {
	t.Parallel()
	a, b, k := twoNodes(t, connect(t, services.SharedRedis(t)))
	for n := range 50 {
		fails(t, a, fmt.Sprint("account ", n), here)
		fails(t, b, fmt.Sprint("other account ", n), here)
		k.Advance(30 * time.Second)
	}
	for _, l := range []*Limiter{a, b} {
		if wait := refused(t, l, "any", here); wait != 35*time.Minute {
			t.Errorf("100 failures in 25 minutes: got a block of %s, want 35m", wait)
		}
	}
}

// Two nodes together allow as many wrong tries as one, and all correct ones.
func TestSum(t *testing.T) {
	t.Parallel()
	redis := connect(t, services.SharedRedis(t))
	for _, c := range []struct {
		name    string
		correct bool
		spread  bool // each try has another account
		want    int
	}{{"one account", false, false, 5}, {"correct secrets", true, false, 60}, {"one network", false, true, 10}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			// The nodes share one connection here.
			a, b, _ := twoNodes(t, redis, func(l *Config) {
				if !c.spread {
					l.NetworkFailures, l.NetworkFailuresHour = 1000, 1000
				}
			})
			var mu sync.Mutex
			allowed := 0
			var wg sync.WaitGroup
			for n := range 60 {
				wg.Go(func() {
					account := "ada"
					if c.spread {
						account = fmt.Sprint("account ", n)
					}
					try, err := []*Limiter{a, b}[n%2].Begin(ctx, Try{Account: account, Addr: here})
					if err != nil {
						var refused *Blocked
						if !errors.As(err, &refused) {
							t.Error(err)
						}
						return
					}
					mu.Lock()
					allowed++
					mu.Unlock()
					if c.correct {
						try.Succeed()
					} else {
						try.Fail(fmt.Sprint(n))
					}
				})
			}
			wg.Wait()
			if allowed != c.want {
				t.Errorf("both nodes: got %d allowed tries, want %d", allowed, c.want)
			}
		})
	}
}

// Each node knows the failures, blocks, wrong secrets and successes of the other.
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
		t.Errorf("four different secrets: got a block of %s, want none", wait)
	}
	fails(t, b, "ada", here)
	for n, l := range []*Limiter{a, b} {
		if wait := refused(t, l, "ada", here); wait != time.Hour || !l.Blocked(ctx, "ada", here) || l.Blocked(ctx, "ada", elsewhere) {
			t.Errorf("node %d, five different secrets: got a block of %s, want 1h", n, wait)
		}
	}
	for _, l := range []*Limiter{a, a, b, b} {
		fails(t, l, "bob", here)
	}
	k.Advance(time.Second)
	if try, err := b.Begin(ctx, Try{Account: "bob", Addr: here}); err != nil {
		t.Fatal(err)
	} else {
		try.Succeed()
	}
	k.Advance(time.Second)
	for range 4 {
		fails(t, a, "bob", here)
	}
	if wait := refused(t, a, "bob", here); wait != 0 {
		t.Errorf("four failures after a success on the other node: got a block of %s, want none", wait)
	}
}

// The undecided tries of a failed node delay others until their leases end.
func TestLeaseEnds(t *testing.T) {
	t.Parallel()
	a, b, _ := twoNodes(t, connect(t, services.SharedRedis(t)), unlimitedNetworks)
	undecided := func(account string) {
		t.Helper()
		for range 5 {
			if _, err := a.Begin(ctx, Try{Account: account, Addr: here}); err != nil {
				t.Fatal(err)
			}
		}
	}
	undecided("ada")
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := b.Begin(short, Try{Account: "ada", Addr: here}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("five undecided tries on the other node: got %v, want it to wait", err)
	}
	a.shared.lease = 300 * time.Millisecond
	undecided("bob")
	long, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	try, err := b.Begin(long, Try{Account: "bob", Addr: here})
	if err != nil {
		t.Fatalf("after the end of the leases: %v", err)
	}
	try.Cancel()
}

// A try that waits for a try of another node continues when that is decided, not when its lease
// ends.
func TestWaitsForTheOtherNode(t *testing.T) {
	t.Parallel()
	a, b, _ := twoNodes(t, connect(t, services.SharedRedis(t)))
	var under []*Attempt
	for range 5 {
		try, err := a.Begin(ctx, Try{Account: "ada", Addr: here})
		if err != nil {
			t.Fatal(err)
		}
		under = append(under, try)
	}
	got := make(chan error, 1)
	go func() {
		try, err := b.Begin(ctx, Try{Account: "ada", Addr: here})
		if err == nil {
			try.Cancel()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("got %v, want it to wait", err)
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
		t.Error("all decided: the try still waits")
	}
}

// Without Redis a node allows no more tries than it would alone, and blocks remain; when Redis is
// up again the nodes count together.
func TestRedisDies(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	redis := connect(t, r)
	a, b, k := twoNodes(t, redis, unlimitedNetworks)
	for range 3 {
		fails(t, a, "ada", here) // counted by a
	}
	fails(t, b, "ada", here)
	for _, l := range []*Limiter{a, b, a, b, a} {
		fails(t, l, "bob", here)
	}
	_ = refused(t, b, "bob", here) // b learns of the block
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
					t.Errorf("Redis %s: node %d, %s: got a block of %s, want 1h", when, n, account, wait)
				}
			}
		}
		if when == "gone" {
			r.Start(t)
			waitUp(t, redis, true)
		}
	}
	k.Advance(2 * time.Hour)
	for _, l := range []*Limiter{a, b, a, b, a} {
		fails(t, l, "ada", here)
	}
	if wait := refused(t, b, "ada", here); wait != time.Hour {
		t.Errorf("Redis up again: got a block of %s, want 1h: the nodes count together", wait)
	}
}

// The first try during a hang of Redis waits for the timeout; later ones do not wait.
func TestRedisHangs(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	redis := connectWith(t, connection.Config{URL: r.URL()})
	a, b, _ := twoNodes(t, redis, unlimitedNetworks)
	fails(t, a, "ada", here)
	r.Pause(t)
	fails(t, a, "ada", here)
	if redis.State().Up {
		t.Error("first try while Redis hangs: the connection is up, want down: later tries need not wait")
	}
	for n := range 100 {
		fails(t, b, fmt.Sprint("account ", n), here)
	}
	for range 3 {
		fails(t, a, "ada", here)
	}
	if wait := refused(t, a, "ada", here); wait != time.Hour {
		t.Errorf("got a block of %s, want 1h: a failure is lost", wait)
	}
	r.Resume(t)
	waitUp(t, redis, true)
	for _, l := range []*Limiter{a, b, a, b, a} {
		fails(t, l, "bob", here)
	}
	if !b.Blocked(ctx, "bob", here) {
		t.Error("Redis answers again: the nodes do not count together")
	}
}

// A network uses only its share of Redis, every key expires, and no key or value contains a user
// name or an address.
func TestRedisContents(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	redis := connect(t, r)
	a, b, _ := twoNodes(t, redis, unlimitedNetworks)
	a.bounds.ofNetwork, b.bounds.ofNetwork = 50, 50
	six := netip.MustParseAddr("2001:db8:1:100::1")
	for range 5 {
		fails(t, a, "victim@example.com", here)
	}
	for n := range 100 {
		failsWith(t, []*Limiter{a, b}[n%2], fmt.Sprintf("flood-%d@example.com", n), here, "tr0ub4dor")
	}
	for range 4 {
		fails(t, b, "victim@example.com", six)
	}
	if try, err := a.Begin(ctx, Try{Account: "victim@example.com", Addr: six}); err != nil { // undecided
		t.Fatal(err)
	} else {
		defer try.Cancel()
	}
	rate := NewRate(RateConfig{Name: "keys", Most: 3, Shared: a.shared})
	rate.Network(ctx, here)
	if !b.Blocked(ctx, "victim@example.com", here) {
		t.Error("flood: the block is lost")
	}
	with := func(do func(context.Context, valkey.Client) error) {
		t.Helper()
		if err := redis.With(ctx, do); err != nil {
			t.Fatal(err)
		}
	}
	var keys []string
	with(func(ctx context.Context, c valkey.Client) (err error) {
		keys, err = c.Do(ctx, c.B().Keys().Pattern("*").Build()).AsStrSlice()
		return err
	})
	if len(keys) < 8 {
		t.Errorf("got only %d keys", len(keys))
	}
	for _, key := range keys {
		with(func(ctx context.Context, c valkey.Client) error {
			left, err := c.Do(ctx, c.B().Pttl().Key(key).Build()).AsInt64()
			if err != nil || left <= 0 || left > (25*time.Hour).Milliseconds() {
				t.Errorf("%s ends in %d ms, %v", key, left, err)
			}
			text, err := c.Do(ctx, c.B().Dump().Key(key).Build()).ToString()
			for _, secret := range []string{"example.com", "tr0ub4dor", "203.0.113", "2001:db8"} {
				if strings.Contains(key+text, secret) {
					t.Errorf("%s contains %s", key, secret)
				}
			}
			return err
		})
	}
	with(func(ctx context.Context, c valkey.Client) error {
		accounts, err := c.Do(ctx, c.B().Hlen().Key(a.shared.networkKey(network(here))).Build()).AsInt64()
		if accounts > 50 || accounts < 10 {
			t.Errorf("got %d accounts of one network, want 10 to 50", accounts)
		}
		return err
	})
}

// Bad requests of all nodes are counted together.
func TestRateInSum(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	redis := connect(t, r)
	shared := place{redis}.shared(t)
	now := func() time.Time { return time.Unix(1_800_000_030, 0) }
	a := NewRate(RateConfig{Name: "x", Most: 5, Shared: shared, Now: now})
	b := NewRate(RateConfig{Name: "x", Most: 5, Shared: shared, Now: now})
	other := NewRate(RateConfig{Name: "y", Most: 5, Shared: shared, Now: now})
	for n, rate := range []*Rate{a, b, a, b, a} {
		if _, ok := rate.Network(ctx, here); !ok {
			t.Errorf("bad one %d is refused", n+1)
		}
	}
	for n, rate := range []*Rate{a, b} {
		if wait, ok := rate.Network(ctx, here); ok || wait != 30*time.Second {
			t.Errorf("node %d, the sixth: %s, %v", n, wait, ok)
		}
	}
	if _, ok := other.Network(ctx, here); !ok {
		t.Error("counter with another name: got a refusal")
	}
	r.Kill(t)
	waitUp(t, redis, false)
	for n := range 3 { // b has allowed two of the five that a node allows
		if _, ok := b.Network(ctx, elsewhere); !ok {
			t.Errorf("without Redis, bad one %d is refused", n+1)
		}
	}
}

// BenchmarkTry measures a successful try.
func BenchmarkTry(b *testing.B) {
	for _, in := range []struct {
		name  string
		place place
	}{{"memory", memory}, {"redis", place{connect(b, services.SharedRedis(b))}}} {
		b.Run(in.name, func(b *testing.B) {
			l, _ := newLimiter(b, in.place)
			b.Run("one", func(b *testing.B) {
				for b.Loop() {
					a, err := l.Begin(ctx, Try{Account: "ada", Addr: here})
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
						a, err := l.Begin(ctx, Try{Account: account, Addr: addr})
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
