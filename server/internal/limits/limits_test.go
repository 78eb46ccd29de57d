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
)

var (
	here      = netip.MustParseAddr("203.0.113.9")
	elsewhere = netip.MustParseAddr("198.51.100.1")
	ctx       = context.Background()
)

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newLimiter(t testing.TB, in place, change ...func(*Config)) (*Limiter, *clock) {
	t.Helper()
	k := &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
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

// fails tries a new wrong secret, which must be let through.
func fails(t testing.TB, l *Limiter, account string, addr netip.Addr) {
	t.Helper()
	failsWith(t, l, account, addr, fmt.Sprint("wrong ", secrets.Add(1)))
}

func failsWith(t testing.TB, l *Limiter, account string, addr netip.Addr, secret string) {
	t.Helper()
	a, err := l.Begin(ctx, account, addr)
	if err != nil {
		t.Fatalf("a try of %s is refused: %v", account, err)
	}
	a.Fail(secret)
	a.Succeed() // too late: nothing
}

// refused returns for how long a try is refused; 0 is not.
func refused(t testing.TB, l *Limiter, account string, addr netip.Addr) time.Duration {
	t.Helper()
	a, err := l.Begin(ctx, account, addr)
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
				t.Fatalf("refused after %d failures", n)
			}
			fails(t, l, "ada", here)
		}
		if wait := refused(t, l, "ada", here); wait != time.Hour {
			t.Errorf("after five failures: refused for %s, want 1h", wait)
		}
		if !l.Blocked(ctx, "ada", here) || l.Blocked(ctx, "ada", elsewhere) || l.Blocked(ctx, "bob", here) {
			t.Error("Blocked says otherwise")
		}
		k.advance(time.Hour - time.Second)
		if wait := refused(t, l, "ada", here); wait != time.Second {
			t.Errorf("a second before the end: %s; tries do not lengthen a block", wait)
		}
		if wait := refused(t, l, "ada", elsewhere); wait != 0 {
			t.Errorf("another network is refused for %s", wait)
		}
		k.advance(time.Second)
		if wait := refused(t, l, "ada", here); wait != 0 {
			t.Errorf("at the end: refused for %s", wait)
		}
	})
}

func TestWindow(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, k := newLimiter(t, in)
		fails(t, l, "ada", here)
		k.advance(15*time.Minute - time.Second)
		for range 3 {
			fails(t, l, "ada", here)
		}
		k.advance(time.Second) // the first has left the window
		fails(t, l, "ada", here)
		if wait := refused(t, l, "ada", here); wait != 0 {
			t.Errorf("four failures in the window: refused for %s", wait)
		}
		fails(t, l, "ada", here)
		if wait := refused(t, l, "ada", here); wait != time.Hour {
			t.Errorf("five failures in the window: refused for %s", wait)
		}
	})
}

func TestSameSecretCountsOnce(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, _ := newLimiter(t, in)
		for range 100 {
			failsWith(t, l, "ada", here, "last year's password")
		}
		for range 3 {
			fails(t, l, "ada", here)
		}
		failsWith(t, l, "ada", here, "last year's password") // three others came between: forgotten, so counted
		if wait := refused(t, l, "ada", here); wait != time.Hour {
			t.Errorf("five different failures: refused for %s", wait)
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
		a, err := l.Begin(ctx, "ada", here)
		if err != nil {
			t.Fatal(err)
		}
		a.Succeed()
		fails(t, l, "ada", here)
		if l.Blocked(ctx, "ada", here) {
			t.Error("a success does not forget")
		}
		fails(t, l, "bob", here)
		if !l.Blocked(ctx, "bob", here) {
			t.Error("somebody else's success forgets")
		}
	})
}

func TestNetwork(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, k := newLimiter(t, in)
		for n := range 10 {
			fails(t, l, fmt.Sprint("account ", n), here)
			k.advance(time.Second)
		}
		if wait := refused(t, l, "anybody", here); wait != 50*time.Second {
			t.Errorf("ten failures of one network: refused for %s, want 50s", wait)
		}
		if wait := refused(t, l, "anybody", elsewhere); wait != 0 {
			t.Errorf("another network: %s", wait)
		}
		k.advance(50 * time.Second)
		if wait := refused(t, l, "anybody", here); wait != 0 {
			t.Errorf("when the first is a minute old: %s", wait)
		}
		for n := 10; n < 100; n++ {
			fails(t, l, fmt.Sprint("account ", n), here)
			k.advance(7 * time.Second)
		}
		if wait := refused(t, l, "anybody", here); wait < 45*time.Minute || wait > time.Hour {
			t.Errorf("a hundred failures in an hour: refused for %s", wait)
		}
		off, _ := newLimiter(t, in, unlimitedNetworks)
		for n := range 200 {
			fails(t, off, fmt.Sprint("account ", n), here)
		}
	})
}

// The longer wait of account and network is said.
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
			t.Errorf("%s, want the account's hour", wait)
		}
		if wait := refused(t, l, "bob", here); wait != time.Minute {
			t.Errorf("%s, want the network's minute", wait)
		}
	})
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, _ := newLimiter(t, in, func(c *Config) { c.NetworkFailures, c.NetworkFailuresHour = 10, 1000 })
		for n := range 5 { // one /64 is one network
			fails(t, l, "ada", netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", n+1)))
		}
		if !l.Blocked(ctx, "ada", netip.MustParseAddr("2001:db8::ffff")) || !l.Blocked(ctx, "ada", netip.MustParseAddr("2001:db8::1%eth0")) || l.Blocked(ctx, "ada", netip.MustParseAddr("2001:db8:0:1::1")) {
			t.Error("IPv6 is not counted by /64")
		}
		for range 5 {
			fails(t, l, "bob", netip.MustParseAddr("::ffff:203.0.113.9"))
		}
		if !l.Blocked(ctx, "bob", here) {
			t.Error("a mapped address is not the IPv4 address")
		}
		// Many /64s of one /56 meet the limit of the /56.
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
			t.Errorf("a /56 is refused after %d failures, want %d", n, 10*wideFactor)
		}
		if refused(t, l, "nobody", netip.Addr{}) != 0 {
			t.Error("no address")
		}
	})
}

// Of a hundred wrong tries at once five are judged, of a hundred right ones all.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		for _, right := range []bool{false, true} {
			l, _ := newLimiter(t, in, func(c *Config) { c.NetworkFailures = 1000; c.NetworkFailuresHour = 1000 })
			var mu sync.Mutex
			judged, blocked := 0, 0
			var wg sync.WaitGroup
			for n := range 100 {
				wg.Go(func() {
					a, err := l.Begin(ctx, "ada", here)
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						blocked++
						return
					}
					judged++
					if right {
						a.Succeed()
					} else {
						a.Fail(fmt.Sprint(n))
					}
				})
			}
			wg.Wait()
			if want := map[bool]int{false: 5, true: 100}[right]; judged != want || judged+blocked != 100 {
				t.Errorf("right %v: %d judged, %d refused; want %d judged", right, judged, blocked, want)
			}
		}
	})
}

// The same for a network with an account each.
func TestManyAccountsAtOnce(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, _ := newLimiter(t, in)
		var mu sync.Mutex
		judged := 0
		var wg sync.WaitGroup
		for n := range 100 {
			wg.Go(func() {
				a, err := l.Begin(ctx, fmt.Sprint("account ", n), here)
				if err != nil {
					return
				}
				mu.Lock()
				judged++
				mu.Unlock()
				a.Fail("x")
			})
		}
		wg.Wait()
		if judged != 10 {
			t.Errorf("%d judged, want 10", judged)
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
		first, err := l.Begin(ctx, "ada", here)
		if err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := l.Begin(short, "ada", here); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		first.Cancel()
		if wait := refused(t, l, "ada", here); wait != 0 {
			t.Errorf("a cancelled attempt counts: %s", wait)
		}
	})
}

// A flood of made-up accounts costs bounded memory and forgets no block of
// another network.
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
			t.Errorf("%d accounts of one network are kept", n)
		}
		for n := range 4 * small.accounts { // each from another network
			addr := netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})
			fails(t, l, "somebody", addr)
		}
		if l.accounts > small.accounts {
			t.Errorf("%d accounts are kept", l.accounts)
		}
		if !l.Blocked(ctx, "ada", elsewhere) {
			t.Error("a flood from elsewhere forgets a block")
		}
		k.advance(2 * time.Hour)
		if refused(t, l, "x", here); l.accounts > 1 || len(l.networks) > 2 {
			t.Errorf("after two hours %d accounts and %d networks are left", l.accounts, len(l.networks))
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
		k.advance(-24 * time.Hour)
		if refused(t, l, "ada", here) == 0 {
			t.Error("a clock that goes back lifts the block")
		}
		k.advance(24*time.Hour + time.Hour)
		if refused(t, l, "ada", here) != 0 {
			t.Error("the block outlasts the repair of the clock")
		}
	})
}

func TestConfig(t *testing.T) {
	_, err := New(Config{AccountFailures: 1000, NetworkFailures: -1, AccountWindow: -1})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"failures of an account", "of a network", "negative"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not said: %s\n%v", want, err)
		}
	}
}

// A plain model of the first row of the table, driven beside the Limiter.
func TestModel(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		rapid.Check(t, func(t *rapid.T) {
			k := &clock{now: time.Unix(1_800_000_000, 0)}
			nodes := in.nodes(t, Config{Now: k.Now, NetworkUnlimited: true})
			type count struct {
				failures []time.Time
				secrets  []string
				until    time.Time
			}
			model := map[string]*count{}
			t.Repeat(map[string]func(*rapid.T){
				"advance": func(t *rapid.T) { k.advance(time.Duration(rapid.IntRange(1, 1200).Draw(t, "s")) * time.Second) },
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
					a, err := nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "node")].Begin(ctx, account, addr)
					if blocked := now.Before(c.until); blocked != (err != nil) {
						t.Fatalf("blocked until %s at %s: Begin says %v", c.until, now, err)
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
		k := &clock{now: time.Unix(1_800_000_030, 0)}
		r := NewRate(RateConfig{Name: "test", AMinute: 3, Shared: in.shared(t), Now: k.Now})
		for n := range 5 {
			wait, ok := r.Bad(ctx, here)
			if ok != (n < 3) || !ok && (wait <= 0 || wait > time.Minute) {
				t.Errorf("bad one %d: %s, %v", n, wait, ok)
			}
		}
		if _, ok := r.Bad(ctx, elsewhere); !ok {
			t.Error("another network pays")
		}
		k.advance(time.Minute)
		if _, ok := r.Bad(ctx, here); !ok {
			t.Error("a minute later")
		}
	})
}

// Other limits hold from the next try on; what was counted stays.
func TestSet(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		k := &clock{now: time.Date(2027, 1, 15, 8, 0, 0, 0, time.UTC)}
		l, err := New(Config{Shared: in.shared(t), Now: k.Now})
		if err != nil {
			t.Fatal(err)
		}
		fail := func(secret string) error {
			a, err := l.Begin(context.Background(), "a", netip.MustParseAddr("203.0.113.9"))
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
		if err := l.Set(Config{AccountFailures: -1, NetworkFailures: 99_999}); err == nil || !strings.Contains(err.Error(), "-1 failures") || !strings.Contains(err.Error(), "99999") {
			t.Errorf("bad limits: %v, want both mistakes", err)
		}
		if err := l.Set(Config{AccountFailures: 3, AccountBlock: time.Minute, Now: k.Now}); err != nil {
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

// The longer of the account's and the network's wait is said, whichever it is.
func TestNetworkWaitIsLonger(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, k := newLimiter(t, in)
		for range 5 {
			fails(t, l, "ada", here)
		}
		k.advance(time.Hour - 30*time.Second)
		for n := range 10 {
			fails(t, l, fmt.Sprint("account ", n), here)
		}
		if wait := refused(t, l, "ada", here); wait != time.Minute {
			t.Errorf("refused for %s, want the network's minute: the block has 30s left", wait)
		}
	})
}

// Many /56s of one /48 meet the limit of the /48.
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
			t.Errorf("a /48 is refused after %d failures, want %d", n, 10*widestFactor)
		}
	})
}

// Tries under way count as failures until they are decided: one that could be
// too many for the network waits.
func TestNetworkUnderWay(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, _ := newLimiter(t, in)
		var underWay []*Attempt
		for n := range 10 {
			a, err := l.Begin(ctx, fmt.Sprint("account ", n), here)
			if err != nil {
				t.Fatal(err)
			}
			underWay = append(underWay, a)
		}
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if a, err := l.Begin(ended, "one more", here); a != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("the eleventh: %v, want it to wait", err)
		}
		for _, a := range underWay {
			a.Cancel()
		}
		if wait := refused(t, l, "one more", here); wait != 0 {
			t.Errorf("when none failed: refused for %s", wait)
		}
	})
}
