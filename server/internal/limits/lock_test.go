package limits

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// failsFrom fails a try with a new secret; it must be allowed.
func failsFrom(t testing.TB, l *Limiter, try Try) {
	t.Helper()
	a, err := l.Begin(ctx, try)
	if err != nil {
		t.Fatalf("%+v is refused: %v", try, err)
	}
	a.Fail(fmt.Sprint("wrong ", secrets.Add(1)))
}

// waitOf returns the RetryAfter of a refusal; 0 if the try is allowed.
func waitOf(t testing.TB, l *Limiter, try Try) time.Duration {
	t.Helper()
	a, err := l.Begin(ctx, try)
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

// Ten failures in a row, from ten networks and at all nodes, lock an account for 15 minutes; each further
// lock is twice as long, up to a day.
func TestLock(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		k := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		nodes := in.nodes(t, Config{Now: k.Now})
		network := 0
		stranger := func() Try {
			network++
			return Try{Account: "ada", Addr: numbered(network)}
		}
		node := func() *Limiter { return nodes[network%len(nodes)] }
		for n, minutes := range []int{15, 30, 60, 120, 240, 480, 960, 1440, 1440} {
			for i := range 10 {
				if wait := waitOf(t, node(), stranger()); wait != 0 {
					t.Fatalf("lock %d, %d failures: got a wait of %s, want none", n+1, i, wait)
				}
				failsFrom(t, node(), stranger())
			}
			want := time.Duration(minutes) * time.Minute
			for _, l := range nodes {
				if wait := waitOf(t, l, stranger()); wait != want {
					t.Errorf("lock %d: got a wait of %s, want %s", n+1, wait, want)
				}
				if !l.Blocked(ctx, "ada", here) || l.Blocked(ctx, "bob", here) {
					t.Errorf("lock %d: Blocked: got another result", n+1)
				}
			}
			k.Advance(want - time.Second)
			if wait := waitOf(t, node(), stranger()); wait != time.Second {
				t.Errorf("lock %d, a second before its end: got a wait of %s, want 1s: tries do not lengthen it", n+1, wait)
			}
			k.Advance(time.Second)
		}
	})
}

// A success ends the row and the doubling of its locks. So does a day without a failure.
func TestRowEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, l *Limiter, k *testkit.Clock){
		"success": func(t *testing.T, l *Limiter, _ *testkit.Clock) {
			a, err := l.Begin(ctx, Try{Account: "ada", Addr: elsewhere})
			if err != nil {
				t.Fatal(err)
			}
			a.Succeed()
		},
		"a day": func(_ *testing.T, _ *Limiter, k *testkit.Clock) { k.Advance(24 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBoth(t, func(t *testing.T, in place) {
				k := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
				nodes := in.nodes(t, Config{Now: k.Now})
				network := 0
				fail := func(times int) {
					for range times {
						network++
						failsFrom(t, nodes[network%len(nodes)], Try{Account: "ada", Addr: numbered(network)})
					}
				}
				fail(10)
				k.Advance(15 * time.Minute)
				fail(9)
				end(t, nodes[0], k)
				fail(9) // the tenth since the last lock locked nothing
				fail(1)
				for _, l := range nodes {
					if wait := waitOf(t, l, Try{Account: "ada", Addr: here}); wait != 15*time.Minute {
						t.Errorf("got a lock of %s, want that of the first one", wait)
					}
				}
			})
		})
	}
}

// The same wrong secret from many networks, as of a phone that travels, counts once.
func TestTravellingClient(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		k := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		nodes := in.nodes(t, Config{Now: k.Now})
		for n := range 30 {
			failsWith(t, nodes[n%len(nodes)], "ada", numbered(n), "last year's password")
		}
		for n := range 8 {
			fails(t, nodes[n%len(nodes)], "ada", numbered(100+n))
		}
		if wait := refused(t, nodes[0], "ada", here); wait != 0 {
			t.Errorf("nine different failures: got a lock of %s, want none", wait)
		}
		fails(t, nodes[0], "ada", here)
		if wait := refused(t, nodes[0], "ada", elsewhere); wait != 15*time.Minute {
			t.Errorf("ten different failures: got a lock of %s, want 15m", wait)
		}
	})
}

// A right second factor, or a right password in a session, ends the row, and it does not lift the lock.
func TestSignedInEndsRow(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		k := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		nodes := in.nodes(t, Config{Now: k.Now})
		l := nodes[len(nodes)-1]
		succeeds := func() {
			t.Helper()
			a, err := nodes[0].Begin(ctx, Try{Account: "ada", Addr: elsewhere, SignedIn: true})
			if err != nil {
				t.Fatal(err)
			}
			a.Succeed()
		}
		for n := range 9 {
			failsFrom(t, l, Try{Account: "ada", Addr: numbered(n)})
		}
		succeeds()
		for n := range 9 {
			failsFrom(t, l, Try{Account: "ada", Addr: numbered(n)})
		}
		if wait := waitOf(t, l, Try{Account: "ada", Addr: elsewhere}); wait != 0 {
			t.Errorf("nine failures after a success: got a wait of %s, want none", wait)
		}
		failsFrom(t, l, Try{Account: "ada", Addr: numbered(10)})
		succeeds()
		if wait := waitOf(t, l, Try{Account: "ada", Addr: elsewhere}); wait != 15*time.Minute {
			t.Errorf("ten failures, then a success: got a wait of %s, want 15m", wait)
		}
	})
}

// An attacker, in other networks and in the network of the user, cannot lock a known device out. The limits
// of networks hold for it.
func TestKnownDevice(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		k := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		nodes := in.nodes(t, Config{Now: k.Now})
		l := nodes[len(nodes)-1]
		phone, laptop := Try{Account: "ada", Addr: here, Device: "phone"}, Try{Account: "ada", Addr: here, Device: "laptop"}
		signedIn := Try{Account: "ada", Addr: elsewhere, SignedIn: true}
		for range 5 {
			failsFrom(t, nodes[0], Try{Account: "ada", Addr: here})
		}
		for n := range 5 {
			failsFrom(t, nodes[0], Try{Account: "ada", Addr: numbered(n)})
		}
		if waitOf(t, l, Try{Account: "ada", Addr: here}) != time.Hour || waitOf(t, l, Try{Account: "ada", Addr: elsewhere}) != 15*time.Minute {
			t.Error("strangers: got no block or no lock")
		}
		for _, try := range []Try{phone, laptop, signedIn} {
			if wait := waitOf(t, l, try); wait != 0 {
				t.Errorf("%+v: got a wait of %s, want none", try, wait)
			}
		}
		// A right password there leaves the lock of the account.
		a, err := l.Begin(ctx, phone)
		if err != nil {
			t.Fatal(err)
		}
		a.Succeed()
		if wait := waitOf(t, l, Try{Account: "ada", Addr: elsewhere}); wait != 15*time.Minute {
			t.Errorf("after a success of the device: got a lock of %s, want 15m", wait)
		}
		// Another account, even with the name of the device, is another one.
		if wait := waitOf(t, l, Try{Account: "bob", Addr: elsewhere, Device: "phone"}); wait != 0 {
			t.Errorf("another account: got a wait of %s", wait)
		}
		for range 10 { // bob's failures use up the network of the phone
			k.Advance(time.Second)
			if waitOf(t, l, Try{Account: "bob", Addr: here}) == 0 {
				failsFrom(t, l, Try{Account: fmt.Sprint("bob ", k.Now()), Addr: here})
			}
		}
		if wait := waitOf(t, l, phone); wait == 0 {
			t.Error("network without room: got no refusal of the device")
		}
	})
}

// A known device has five failures in 15 minutes and twenty in a row.
func TestLimitsOfDevice(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		k := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		nodes := in.nodes(t, Config{Now: k.Now})
		network, total := 0, 0
		fail := func(times int) {
			for range times {
				network++
				total++
				failsFrom(t, nodes[network%len(nodes)], Try{Account: "ada", Addr: numbered(network), Device: "phone"})
			}
		}
		wait := func() time.Duration {
			return waitOf(t, nodes[0], Try{Account: "ada", Addr: here, Device: "phone"})
		}
		fail(5)
		if got := wait(); got != time.Hour {
			t.Errorf("five failures: got a wait of %s, want 1h", got)
		}
		k.Advance(time.Hour)
		for total < 20 {
			if got := wait(); got != 0 {
				t.Fatalf("%d failures: got a wait of %s, want none", total, got)
			}
			k.Advance(4 * time.Minute)
			fail(1)
		}
		if got := wait(); got != 15*time.Minute {
			t.Errorf("twenty failures: got a wait of %s, want 15m", got)
		}
		for _, other := range []Try{{Account: "ada", Addr: here}, {Account: "ada", Addr: here, Device: "laptop"}} {
			if got := waitOf(t, nodes[0], other); got != 0 {
				t.Errorf("%+v: got a wait of %s, want none: failures of a device are its own", other, got)
			}
		}
	})
}

// Many tries at once, each from its own network, at all nodes: ten are decided.
func TestLockAtOnce(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		k := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		nodes := in.nodes(t, Config{Now: k.Now})
		var mu sync.Mutex
		var wg sync.WaitGroup
		allowed := 0
		for n := range 60 {
			wg.Go(func() {
				a, err := nodes[n%len(nodes)].Begin(ctx, Try{Account: "ada", Addr: numbered(n)})
				if err != nil {
					if b := (*Blocked)(nil); !errors.As(err, &b) {
						t.Error(err)
					}
					return
				}
				mu.Lock()
				allowed++
				mu.Unlock()
				a.Fail(fmt.Sprint("wrong ", n))
			})
		}
		wg.Wait()
		if allowed != 10 {
			t.Errorf("got %d tries, want 10", allowed)
		}
	})
}

// An eleventh try waits while ten are undecided, and is refused once they have failed.
func TestLockUndecided(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		k := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		nodes := in.nodes(t, Config{Now: k.Now})
		var undecided []*Attempt
		for n := range 10 {
			a, err := nodes[n%len(nodes)].Begin(ctx, Try{Account: "ada", Addr: numbered(n)})
			if err != nil {
				t.Fatal(err)
			}
			undecided = append(undecided, a)
		}
		l, result := nodes[0], make(chan error, 1)
		go func() {
			a, err := l.Begin(ctx, Try{Account: "ada", Addr: numbered(10)})
			if err == nil {
				a.Cancel()
			}
			result <- err
		}()
		for waits := false; !waits; runtime.Gosched() {
			select {
			case err := <-result:
				t.Fatalf("the eleventh try does not wait: %v", err)
			default:
			}
			l.mu.Lock()
			waits = l.waiting > 0
			l.mu.Unlock()
		}
		for n, a := range undecided {
			a.Fail(fmt.Sprint("wrong ", n))
		}
		if err, blocked := <-result, (*Blocked)(nil); !errors.As(err, &blocked) {
			t.Errorf("the eleventh try: %v, want it refused", err)
		}
	})
}

// When Redis is gone, all nodes keep a lock that they learned of.
func TestLockOutlivesRedis(t *testing.T) {
	t.Parallel()
	r := services.NewRedis(t)
	redis := connect(t, r)
	a, b, _ := twoNodes(t, redis)
	for n := range 10 {
		failsFrom(t, a, Try{Account: "ada", Addr: numbered(n)})
	}
	_ = waitOf(t, b, Try{Account: "ada", Addr: here}) // b learns of the lock
	r.Kill(t)
	waitUp(t, redis, false)
	for _, l := range []*Limiter{a, b} {
		if wait := waitOf(t, l, Try{Account: "ada", Addr: here}); wait != 15*time.Minute {
			t.Errorf("got a lock of %s, want 15m", wait)
		}
	}
}

// Rows have limited memory: a flood of invented accounts drops its own rows, not locks.
func TestFloodOfRows(t *testing.T) {
	t.Parallel()
	l, _ := newLimiter(t, memory)
	l.bounds = small
	for n := range 10 {
		failsFrom(t, l, Try{Account: "ada", Addr: numbered(n)})
	}
	for n := range 3 * small.accounts {
		failsFrom(t, l, Try{Account: fmt.Sprint("invented ", n), Addr: numbered(100 + n)})
	}
	if len(l.rows) > small.accounts {
		t.Errorf("got %d rows, want at most %d", len(l.rows), small.accounts)
	}
	if !l.Blocked(ctx, "ada", elsewhere) {
		t.Error("flood: the lock is lost")
	}
	consistent(t, l)
}

// Without locks no row is kept.
func TestLockOff(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, _ := newLimiter(t, in, func(c *Config) { c.LockOff = true })
		for n := range 30 {
			failsFrom(t, l, Try{Account: "ada", Addr: numbered(n)})
		}
		if wait := waitOf(t, l, Try{Account: "ada", Addr: here}); wait != 0 || len(l.rows) != 0 {
			t.Errorf("got a wait of %s and %d rows, want none", wait, len(l.rows))
		}
	})
}

// A thousand addresses of one /64 are one network; so are the addresses of a /56 and a /48 for their own
// limits.
func TestThousandAddresses(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		k := testkit.NewClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
		nodes := in.nodes(t, Config{Now: k.Now})
		allowed := 0
		for n := range 1000 {
			addr := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 14: byte(n >> 8), 15: byte(n)})
			a, err := nodes[n%len(nodes)].Begin(ctx, Try{Account: fmt.Sprint("user ", n), Addr: addr})
			if err == nil {
				a.Fail("one password")
				allowed++
			}
		}
		if allowed != 10 {
			t.Errorf("got %d tries, want 10", allowed)
		}
	})
}

// Locks have the lengths of the settings.
func TestLockTimes(t *testing.T) {
	c := Config{Settings: Settings{Lock: time.Minute, LockMax: 5 * time.Minute}}
	var got []time.Duration
	for n := range 5 {
		got = append(got, c.lockTime(n))
	}
	want := []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute}
	if !slices.Equal(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Tries of known devices from new networks, while the memory is full, keep the counts of those tries.
func TestFloodWithDevice(t *testing.T) {
	t.Parallel()
	l, _ := newLimiter(t, memory)
	l.bounds = small
	l.bounds.networks = sampleSize
	for n := range 10 * sampleSize {
		failsFrom(t, l, Try{Account: fmt.Sprint("bob ", n), Addr: numbered(n)})
		failsFrom(t, l, Try{Account: "ada", Addr: numbered(1000 + n), Device: fmt.Sprint("device ", n)})
	}
	if l.networks[deviceHolder(fmt.Sprint("device ", 10*sampleSize-1))] == nil {
		t.Error("the failure of the last device is lost")
	}
}
