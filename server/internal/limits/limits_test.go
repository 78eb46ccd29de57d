package limits

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/durward-auth/durward/server/internal/testkit"
)

var (
	here      = netip.MustParseAddr("203.0.113.9")
	elsewhere = netip.MustParseAddr("198.51.100.1")
	ctx       = context.Background()
)

func newLimiter(t testing.TB, in place, change ...func(*Config)) (*Limiter, *testkit.Clock) {
	t.Helper()
	k := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	c := Config{Now: k.Now, Shared: in.shared(t)}
	for _, f := range change {
		f(&c)
	}
	l, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return l, k
}

func unlimitedNetworks(c *Config) { c.NetworkUnlimited = true }

var secrets atomic.Int64

// fails fails a try with a new secret; the try must be allowed.
func fails(t testing.TB, l *Limiter, account string, addr netip.Addr) {
	t.Helper()
	failsWith(t, l, account, addr, fmt.Sprint("wrong ", secrets.Add(1)))
}

func failsWith(t testing.TB, l *Limiter, account string, addr netip.Addr, secret string) {
	t.Helper()
	a, err := l.Begin(ctx, Try{Account: account, Addr: addr})
	if err != nil {
		t.Fatalf("a try of %s is refused: %v", account, err)
	}
	a.Fail(secret)
	a.Succeed() // a second decision does nothing
}

// refused returns the RetryAfter of a refusal; 0 if the try is allowed.
func refused(t testing.TB, l *Limiter, account string, addr netip.Addr) time.Duration {
	t.Helper()
	a, err := l.Begin(ctx, Try{Account: account, Addr: addr})
	if err == nil {
		a.Cancel()
		return 0
	}
	var b *Blocked
	if !errors.As(err, &b) {
		t.Fatal(err)
	}
	return b.RetryAfter
}

func TestAccountFromOneNetwork(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, k := newLimiter(t, in)
		for n := range 5 {
			if wait := refused(t, l, "ada", here); wait != 0 {
				t.Fatalf("%d failures: got a block, want none", n)
			}
			fails(t, l, "ada", here)
		}
		if wait := refused(t, l, "ada", here); wait != time.Hour {
			t.Errorf("five failures: got a block of %s, want 1h", wait)
		}
		if !l.Blocked(ctx, "ada", here) || l.Blocked(ctx, "ada", elsewhere) || l.Blocked(ctx, "bob", here) {
			t.Error("Blocked: got another result")
		}
		k.Advance(time.Hour - time.Second)
		if wait := refused(t, l, "ada", here); wait != time.Second {
			t.Errorf("a second before the end: got a block of %s, want 1s: tries do not lengthen it", wait)
		}
		if wait := refused(t, l, "ada", elsewhere); wait != 0 {
			t.Errorf("another network: got a block of %s, want none", wait)
		}
		k.Advance(time.Second)
		if wait := refused(t, l, "ada", here); wait != 0 {
			t.Errorf("at the end: got a block of %s, want none", wait)
		}
	})
}

func TestWindow(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, k := newLimiter(t, in)
		fails(t, l, "ada", here)
		k.Advance(15*time.Minute - time.Second)
		for range 3 {
			fails(t, l, "ada", here)
		}
		k.Advance(time.Second) // the first leaves the window
		fails(t, l, "ada", here)
		if wait := refused(t, l, "ada", here); wait != 0 {
			t.Errorf("four failures in the window: got a block of %s, want none", wait)
		}
		fails(t, l, "ada", here)
		if wait := refused(t, l, "ada", here); wait != time.Hour {
			t.Errorf("five failures in the window: got a block of %s, want 1h", wait)
		}
	})
}

func TestSameSecretCountsOnce(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, k := newLimiter(t, in)
		for range 100 {
			failsWith(t, l, "ada", here, "last year's password")
			k.Advance(2 * time.Second) // the network may repeat 30 in a minute
		}
		for range 3 {
			fails(t, l, "ada", here)
		}
		failsWith(t, l, "ada", here, "last year's password") // counts again: three other secrets came between
		if wait := refused(t, l, "ada", here); wait != time.Hour {
			t.Errorf("five different failures: got a block of %s, want 1h", wait)
		}
	})
}

// Repeats of wrong secrets are limited for a network, over all accounts and nodes.
func TestRepeats(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		k := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		nodes := in.nodes(t, Config{Now: k.Now})
		repeat := func(addr netip.Addr) (count int) {
			for ; count < 2000 && refused(t, nodes[count%len(nodes)], "any", addr) == 0; count++ {
				failsWith(t, nodes[count%len(nodes)], []string{"ada", "bob"}[count/2%2], addr, "last year's password")
			}
			return count
		}
		if n := repeat(here); n != 2+30 {
			t.Errorf("got %d tries, want 2 failures and 30 repeats", n)
		}
		k.Advance(time.Minute - time.Second)
		for _, l := range nodes {
			if wait := refused(t, l, "ada", here); wait != time.Second {
				t.Errorf("after 59 s: got a block of %s, want 1s", wait)
			}
			if wait := refused(t, l, "ada", elsewhere); wait != 0 {
				t.Errorf("another network: got a block of %s, want none", wait)
			}
		}
		k.Advance(time.Second)
		if n := repeat(here); n != 30 {
			t.Errorf("a minute later: got %d repeats, want 30", n)
		}
		total := 0
		for n := range 20 { // the first /64 networks of a /56
			total += repeat(netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::1", n))) - 2
			if n == 0 && total != 30 {
				t.Errorf("IPv6 /64: got %d repeats, want 30", total)
			}
			if total >= 30*wideFactor {
				break
			}
		}
		if n := repeat(netip.MustParseAddr("2001:db8:0:ff::1")); total != 30*wideFactor || n != 0 {
			t.Errorf("IPv6 /56: got %d repeats and then %d, want %d and none", total, n, 30*wideFactor)
		}
		off, _ := newLimiter(t, in, unlimitedNetworks)
		for range 100 {
			failsWith(t, off, "ada", here, "last year's password")
		}
	})
}

// Undecided tries count as repeats: many at once, at all nodes, stay within the limit.
func TestRepeatsAtOnce(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		k := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		nodes := in.nodes(t, Config{Now: k.Now})
		for range 1 + 24 {
			failsWith(t, nodes[0], "ada", here, "last year's password")
		}
		var underWay []*Attempt
		for n := range 6 {
			a, err := nodes[n%len(nodes)].Begin(ctx, Try{Account: fmt.Sprint("account ", n), Addr: here})
			if err != nil {
				t.Fatal(err)
			}
			underWay = append(underWay, a)
		}
		for _, l := range nodes {
			ended, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			if a, err := l.Begin(ended, Try{Account: "one more", Addr: here}); a != nil || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("try during 6 undecided ones after 24 repeats: got %v, want it to wait", err)
			}
			cancel()
		}
		for _, a := range underWay {
			a.Cancel()
		}
		if wait := refused(t, nodes[0], "one more", here); wait != 0 {
			t.Errorf("all cancelled: got a block of %s, want none", wait)
		}
	})
}

func TestSuccessForgetsOnlyItsOwn(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, _ := newLimiter(t, in)
		for range 4 {
			fails(t, l, "ada", here)
			fails(t, l, "bob", here)
		}
		a, err := l.Begin(ctx, Try{Account: "ada", Addr: here})
		if err != nil {
			t.Fatal(err)
		}
		a.Succeed()
		fails(t, l, "ada", here)
		if l.Blocked(ctx, "ada", here) {
			t.Error("after a success: got a block, want none")
		}
		fails(t, l, "bob", here)
		if !l.Blocked(ctx, "bob", here) {
			t.Error("after a success of another account: got no block")
		}
	})
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, k := newLimiter(t, in)
		for n := range 10 {
			fails(t, l, fmt.Sprint("account ", n), here)
			k.Advance(time.Second)
		}
		if wait := refused(t, l, "any", here); wait != 50*time.Second {
			t.Errorf("ten failures of one network: got a block of %s, want 50s", wait)
		}
		if wait := refused(t, l, "any", elsewhere); wait != 0 {
			t.Errorf("another network: got a block of %s, want none", wait)
		}
		k.Advance(50 * time.Second)
		if wait := refused(t, l, "any", here); wait != 0 {
			t.Errorf("the first failure is a minute old: got a block of %s, want none", wait)
		}
		for n := 10; n < 100; n++ {
			fails(t, l, fmt.Sprint("account ", n), here)
			k.Advance(7 * time.Second)
		}
		if wait := refused(t, l, "any", here); wait < 45*time.Minute || wait > time.Hour {
			t.Errorf("a hundred failures in an hour: got a block of %s", wait)
		}
		off, _ := newLimiter(t, in, unlimitedNetworks)
		for n := range 200 {
			fails(t, off, fmt.Sprint("account ", n), here)
		}
	})
}

// The longer block of account and network counts.
func TestLongerWait(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, _ := newLimiter(t, in)
		for range 5 {
			fails(t, l, "ada", here)
		}
		for n := range 5 {
			fails(t, l, fmt.Sprint("account ", n), here)
		}
		if wait := refused(t, l, "ada", here); wait != time.Hour {
			t.Errorf("got a block of %s, want 1h: the account's", wait)
		}
		if wait := refused(t, l, "bob", here); wait != time.Minute {
			t.Errorf("got a block of %s, want 1m: the network's", wait)
		}
	})
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, _ := newLimiter(t, in, func(c *Config) { c.NetworkFailures, c.NetworkFailuresHour = 10, 1000 })
		for n := range 5 { // all in one /64
			fails(t, l, "ada", netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", n+1)))
		}
		if !l.Blocked(ctx, "ada", netip.MustParseAddr("2001:db8::ffff")) || !l.Blocked(ctx, "ada", netip.MustParseAddr("2001:db8::1%eth0")) || l.Blocked(ctx, "ada", netip.MustParseAddr("2001:db8:0:1::1")) {
			t.Error("addresses of a /64: got separate counts")
		}
		for range 5 {
			fails(t, l, "bob", netip.MustParseAddr("::ffff:203.0.113.9"))
		}
		if !l.Blocked(ctx, "bob", here) {
			t.Error("IPv4-mapped address: got a separate count")
		}
		// Many /64s of one /56 reach the limit of the /56.
		wide, _ := newLimiter(t, in)
		n := 0
		for ; n < 1000; n++ {
			addr := netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::1", n%256))
			if refused(t, wide, fmt.Sprint("account ", n), addr) > 0 {
				break
			}
			fails(t, wide, fmt.Sprint("account ", n), addr)
		}
		if n != 10*wideFactor {
			t.Errorf("/56: got a block after %d failures, want %d", n, 10*wideFactor)
		}
		if refused(t, l, "none", netip.Addr{}) != 0 {
			t.Error("zero address: got a block, want none")
		}
	})
}

// Of a hundred wrong tries at the same time five are allowed, of a hundred correct ones all.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		for _, right := range []bool{false, true} {
			l, _ := newLimiter(t, in, func(c *Config) { c.NetworkFailures = 1000; c.NetworkFailuresHour = 1000 })
			var mu sync.Mutex
			allowed, blocked := 0, 0
			var wg sync.WaitGroup
			for n := range 100 {
				wg.Go(func() {
					a, err := l.Begin(ctx, Try{Account: "ada", Addr: here})
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						blocked++
						return
					}
					allowed++
					if right {
						a.Succeed()
					} else {
						a.Fail(fmt.Sprint(n))
					}
				})
			}
			wg.Wait()
			if want := map[bool]int{false: 5, true: 100}[right]; allowed != want || allowed+blocked != 100 {
				t.Errorf("correct %v: got %d allowed and %d refused, want %d allowed", right, allowed, blocked, want)
			}
		}
	})
}

// The same for a network, with an account for each try.
func TestManyAccountsAtOnce(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, _ := newLimiter(t, in)
		var mu sync.Mutex
		allowed := 0
		var wg sync.WaitGroup
		for n := range 100 {
			wg.Go(func() {
				a, err := l.Begin(ctx, Try{Account: fmt.Sprint("account ", n), Addr: here})
				if err != nil {
					return
				}
				mu.Lock()
				allowed++
				mu.Unlock()
				a.Fail("x")
			})
		}
		wg.Wait()
		if allowed != 10 {
			t.Errorf("got %d allowed tries, want 10", allowed)
		}
	})
}

func TestWaitEndsWithTheContext(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, _ := newLimiter(t, in)
		for range 4 {
			fails(t, l, "ada", here)
		}
		first, err := l.Begin(ctx, Try{Account: "ada", Addr: here})
		if err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := l.Begin(short, Try{Account: "ada", Addr: here}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		first.Cancel()
		if wait := refused(t, l, "ada", here); wait != 0 {
			t.Errorf("after Cancel: got a block of %s, want none", wait)
		}
	})
}

// A flood of invented accounts uses limited memory and drops no block of another network.
func TestFlood(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, k := newLimiter(t, in, unlimitedNetworks)
		l.bounds = small
		for range 5 {
			fails(t, l, "ada", elsewhere)
		}
		for n := range 5 * small.ofNetwork {
			fails(t, l, fmt.Sprint("made up ", n), here)
		}
		if n := len(l.networks[network(here)].accounts); n > small.ofNetwork {
			t.Errorf("got %d accounts of one network", n)
		}
		for n := range 4 * small.accounts { // each from another network
			addr := netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
			failsWith(t, l, "someuser", addr, "tr0ub4dor")
		}
		if l.accounts > small.accounts {
			t.Errorf("got %d accounts", l.accounts)
		}
		if !l.Blocked(ctx, "ada", elsewhere) {
			t.Error("flood from other networks: the block is lost")
		}
		k.Advance(2 * time.Hour)
		if refused(t, l, "x", here); l.accounts > 1 || len(l.networks) > 2 {
			t.Errorf("after two hours: got %d accounts and %d networks", l.accounts, len(l.networks))
		}
	})
}

func TestClockBackwards(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, k := newLimiter(t, in)
		for range 5 {
			fails(t, l, "ada", here)
		}
		k.Advance(-24 * time.Hour)
		if refused(t, l, "ada", here) == 0 {
			t.Error("clock set back: the block is lost")
		}
		k.Advance(24*time.Hour + time.Hour)
		if refused(t, l, "ada", here) != 0 {
			t.Error("clock corrected: got a block, want none")
		}
	})
}

func TestConfig(t *testing.T) {
	_, err := New(Config{Settings: Settings{AccountFailures: 1000, NetworkFailures: -1, AccountWindow: -1}})
	if err == nil {
		t.Fatal("got no error")
	}
	for _, want := range []string{"AccountFailures is 1000", "NetworkFailures is -1", "is negative"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %[2]v, want an error with %[1]s", want, err)
		}
	}
}

// TestModel compares the counts of accounts with a simple model.
func TestModel(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		rapid.Check(t, func(t *rapid.T) {
			k := testkit.NewClock(time.Unix(1_800_000_000, 0))
			nodes := in.nodes(t, Config{Settings: Settings{NetworkUnlimited: true, LockOff: true}, Now: k.Now})
			type count struct {
				failures []time.Time
				secrets  []string
				until    time.Time
			}
			model := map[string]*count{}
			t.Repeat(map[string]func(*rapid.T){
				"advance": func(t *rapid.T) { k.Advance(time.Duration(rapid.IntRange(1, 1200).Draw(t, "s")) * time.Second) },
				"try": func(t *rapid.T) {
					account := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "account")
					addr := rapid.SampledFrom([]netip.Addr{here, elsewhere}).Draw(t, "addr")
					c := model[account+addr.String()]
					if c == nil {
						c = new(count)
						model[account+addr.String()] = c
					}
					now := k.Now()
					kept := c.failures[:0]
					for _, f := range c.failures {
						if now.Sub(f) < 15*time.Minute {
							kept = append(kept, f)
						}
					}
					if c.failures = kept; len(kept) == 0 {
						c.secrets = nil
					}
					a, err := nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "node")].Begin(ctx, Try{Account: account, Addr: addr})
					if blocked := now.Before(c.until); blocked != (err != nil) {
						t.Fatalf("blocked until %s, now %s: Begin: got %v", c.until, now, err)
					} else if blocked {
						return
					}
					switch secret := rapid.SampledFrom([]string{"right", "w1", "w2", "w3", "w4", "w5", "w6", "outage"}).Draw(t, "secret"); secret {
					case "right":
						a.Succeed()
						c.failures, c.secrets = nil, nil
					case "outage":
						a.Cancel()
					default:
						a.Fail(secret)
						for _, s := range c.secrets {
							if s == secret {
								return
							}
						}
						c.secrets = append(c.secrets, secret)
						if len(c.secrets) > 3 {
							c.secrets = c.secrets[1:]
						}
						c.failures = append(c.failures, now)
						if len(c.failures) == 5 {
							c.until = now.Add(time.Hour)
							c.failures, c.secrets = nil, nil
						}
					}
				},
			})
		})
	})
}

func TestRate(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		k := testkit.NewClock(time.Unix(1_800_000_030, 0))
		r := NewRate(RateConfig{Name: "test", Most: 3, Shared: in.shared(t), Now: k.Now})
		for n := range 5 {
			wait, ok := r.Network(ctx, here)
			if ok != (n < 3) || !ok && (wait <= 0 || wait > time.Minute) {
				t.Errorf("bad one %d: %s, %v", n, wait, ok)
			}
		}
		if _, ok := r.Network(ctx, elsewhere); !ok {
			t.Error("another network: got a refusal")
		}
		k.Advance(time.Minute)
		if _, ok := r.Network(ctx, here); !ok {
			t.Error("a minute later: got a refusal")
		}
	})
}

// A Rate with a window of an hour counts networks and other keys, for IPv6 also a /56 and a /48.
func TestRateAnHour(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		k := testkit.NewClock(time.Unix(1_800_000_000, 0)) // a full hour
		r := NewRate(RateConfig{Name: "hour", Most: 2, Window: time.Hour, Shared: in.shared(t), Now: k.Now})
		take := func(what string, most int, wait time.Duration, once func(n int) (time.Duration, bool)) {
			t.Helper()
			for n := range most + 2 {
				if got, ok := once(n); ok != (n < most) || !ok && got != wait {
					t.Errorf("%s, request %d: got %t, wait %s; want %d allowed, wait %s", what, n, ok, got, most, wait)
				}
			}
		}
		of := func(addr string, at int) func(n int) (time.Duration, bool) {
			return func(n int) (time.Duration, bool) {
				a := netip.MustParseAddr(addr).As16()
				a[at] = byte(n)
				return r.Network(ctx, netip.AddrFrom16(a))
			}
		}
		key := func(key string) func(int) (time.Duration, bool) {
			return func(int) (time.Duration, bool) { return r.Key(ctx, key) }
		}
		take("IPv4", 2, time.Hour, func(int) (time.Duration, bool) { return r.Network(ctx, here) })
		take("a /64", 2, time.Hour, of("2001:db8:1:1::", 15))
		take("the /64s of a /56", 8, time.Hour, of("2001:db8:2:100::", 7))
		take("the /56s of a /48", 32, time.Hour, of("2001:db8:3::", 6))
		k.Advance(59*time.Minute + 30*time.Second)
		take("an address", 2, 30*time.Second, key("ada@example.com"))
		take("another address", 2, 30*time.Second, key("bob@example.com"))
		r.Set(3)
		take("a higher limit", 1, 30*time.Second, key("ada@example.com"))
		k.Advance(30 * time.Second)
		take("the next hour", 3, time.Hour, key("ada@example.com"))
		r.Set(0)
		for _, r := range []*Rate{r, nil} {
			for range 9 {
				_, network := r.Network(ctx, here)
				if _, ok := r.Key(ctx, "ada@example.com"); !ok || !network {
					t.Error("no limit: got a refusal")
				}
			}
		}
	})
}

// Set changes the limits from the next try on; counts remain.
func TestSet(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		k := testkit.NewClock(time.Date(2027, 1, 15, 8, 0, 0, 0, time.UTC))
		l, err := New(Config{Shared: in.shared(t), Now: k.Now})
		if err != nil {
			t.Fatal(err)
		}
		fail := func(secret string) error {
			a, err := l.Begin(context.Background(), Try{Account: "a", Addr: netip.MustParseAddr("203.0.113.9")})
			if err == nil {
				a.Fail(secret)
			}
			return err
		}
		for _, secret := range []string{"1", "2"} {
			if err := fail(secret); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Set(Settings{AccountFailures: -1, NetworkFailures: 99_999}); err == nil || !strings.Contains(err.Error(), "AccountFailures is -1") || !strings.Contains(err.Error(), "99999") {
			t.Errorf("invalid limits: got %v, want both mistakes", err)
		}
		if err := l.Set(Settings{AccountFailures: 3, AccountBlock: time.Minute}); err != nil {
			t.Fatal(err)
		}
		if err := fail("3"); err != nil {
			t.Errorf("third failure: %v", err)
		}
		var blocked *Blocked
		if err := fail("4"); !errors.As(err, &blocked) || blocked.RetryAfter != time.Minute {
			t.Errorf("fourth: %v, want blocked for a minute", err)
		}
	})
}

// The longer block of account and network counts, in the other order.
func TestNetworkWaitIsLonger(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, k := newLimiter(t, in)
		for range 5 {
			fails(t, l, "ada", here)
		}
		k.Advance(time.Hour - 30*time.Second)
		for n := range 10 {
			fails(t, l, fmt.Sprint("account ", n), here)
		}
		if wait := refused(t, l, "ada", here); wait != time.Minute {
			t.Errorf("got a block of %s, want 1m: the account's block has 30s left", wait)
		}
	})
}

// Many /56s of one /48 reach the limit of the /48.
func TestWidest(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, _ := newLimiter(t, in)
		n := 0
		for ; n < 1000; n++ {
			addr := netip.MustParseAddr(fmt.Sprintf("2001:db8:0:%x::1", n%256<<8))
			if refused(t, l, fmt.Sprint("account ", n), addr) > 0 {
				break
			}
			fails(t, l, fmt.Sprint("account ", n), addr)
		}
		if n != 10*widestFactor {
			t.Errorf("/48: got a block after %d failures, want %d", n, 10*widestFactor)
		}
	})
}

// Undecided tries count as failures: a try that could exceed the network's limit waits.
func TestNetworkUndecided(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, _ := newLimiter(t, in)
		var underWay []*Attempt
		for n := range 10 {
			a, err := l.Begin(ctx, Try{Account: fmt.Sprint("account ", n), Addr: here})
			if err != nil {
				t.Fatal(err)
			}
			underWay = append(underWay, a)
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if a, err := l.Begin(ended, Try{Account: "one more", Addr: here}); a != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("eleventh try: got %v, want it to wait", err)
		}
		for _, a := range underWay {
			a.Cancel()
		}
		if wait := refused(t, l, "one more", here); wait != 0 {
			t.Errorf("all cancelled: got a block of %s, want none", wait)
		}
	})
}
