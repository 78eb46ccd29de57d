package limits

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"
)

// numbered is an IPv6 address of its own /48.
func numbered(n int) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 0x01, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), 15: 1})
}

// small is room that a test can fill.
var small = bounds{accounts: 1000, ofNetwork: 50, networks: 300, waiting: 100}

// consistent checks that what is counted is what is there.
func consistent(t testing.TB, l *Limiter) {
	t.Helper()
	accounts := 0
	for _, n := range l.networks {
		accounts += len(n.accounts)
		if n.underWay != 0 {
			t.Errorf("%d tries under way in a network", n.underWay)
		}
	}
	if accounts != l.accounts || accounts > l.bounds.accounts || len(l.networks) > l.bounds.networks {
		t.Errorf("%d accounts, counted as %d, and %d networks are kept", accounts, l.accounts, len(l.networks))
	}
}

// A flood from more networks than there is room for forgets its own failures,
// not a block, nor what counts towards one.
func TestFloodOfNetworks(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, k := newLimiter(t, in)
		l.bounds = small
		for range 5 {
			fails(t, l, "ada", elsewhere)
		}
		for range 4 {
			fails(t, l, "bob", elsewhere)
		}
		for n := range 10 * small.networks {
			failsWith(t, l, "somebody", numbered(n), "wrong")
		}
		consistent(t, l)
		if len(l.networks) != small.networks {
			t.Errorf("%d networks are kept, want as many as may be", len(l.networks))
		}
		fails(t, l, "bob", elsewhere)
		if !l.Blocked(ctx, "ada", elsewhere) || !l.Blocked(ctx, "bob", elsewhere) {
			t.Error("a flood from elsewhere forgets a block, or failures")
		}
		k.advance(2 * time.Hour)
		if refused(t, l, "x", here); l.accounts > 1 || len(l.networks) > 1 {
			t.Errorf("after two hours %d accounts and %d networks are left", l.accounts, len(l.networks))
		}
	})
}

// Where a network has no room for another account, what goes is what least is
// known about.
func TestLeastKnownGoes(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, k := newLimiter(t, in, unlimitedNetworks)
		l.bounds = small
		for range 5 {
			fails(t, l, "old block", here)
		}
		k.advance(time.Hour)
		for range 5 {
			fails(t, l, "blocked", here)
		}
		for range 4 {
			fails(t, l, "four", here)
		}
		for n := 3; n < small.ofNetwork; n++ {
			fails(t, l, fmt.Sprint("once ", n), here)
		}
		under, err := l.Begin(ctx, "under way", here) // drops one that has failed less than the others
		if err != nil {
			t.Fatal(err)
		}
		for n := range 30 * small.ofNetwork {
			fails(t, l, fmt.Sprint("flood ", n), here)
		}
		accounts := l.networks[network(here)].accounts
		if accounts["blocked"] == nil || accounts["four"] == nil || accounts["under way"] == nil || accounts["old block"] != nil || len(accounts) != small.ofNetwork {
			t.Errorf("kept: blocked %v, four %v, under way %v, old block %v; %d in all", accounts["blocked"] != nil, accounts["four"] != nil, accounts["under way"] != nil, accounts["old block"] != nil, len(accounts))
		}
		under.Fail("x")
		consistent(t, l)
	})
}

// Where nothing can be forgotten, because all is under way, the next try is told
// to come again.
func TestAllUnderWay(t *testing.T) {
	t.Parallel()
	l, _ := newLimiter(t, memory, unlimitedNetworks)
	l.bounds = small
	var attempts []*Attempt
	begin := func(account string, addr netip.Addr) error {
		a, err := l.Begin(ctx, account, addr)
		if err == nil {
			attempts = append(attempts, a)
		}
		return err
	}
	for n := range small.accounts {
		if err := begin(fmt.Sprint(n), numbered(n/small.ofNetwork)); err != nil {
			t.Fatalf("try %d: %v", n, err)
		}
	}
	for _, addr := range []netip.Addr{numbered(0), here} { // a full network, and no room for another
		if err := begin("one more", addr); !errors.Is(err, ErrBusy) {
			t.Errorf("from %s: %v, want ErrBusy", addr, err)
		}
	}
	if err := begin("0", numbered(0)); err != nil { // an account that has its count
		t.Errorf("an account that is known: %v", err)
	}
	for _, a := range attempts {
		a.Cancel()
	}
	consistent(t, l)
	if err := begin("one more", here); err != nil {
		t.Errorf("when they are decided: %v", err)
	}
	attempts[len(attempts)-1].Cancel()
}

// As many tries may wait for others as there is room for; the next is told so.
func TestTooManyWait(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, _ := newLimiter(t, in)
		l.bounds = small
		var first []*Attempt
		for range 5 {
			a, err := l.Begin(ctx, "ada", here)
			if err != nil {
				t.Fatal(err)
			}
			first = append(first, a)
		}
		var wg sync.WaitGroup
		for range small.waiting {
			wg.Go(func() {
				if a, err := l.Begin(ctx, "ada", here); err == nil {
					a.Succeed()
				} else {
					t.Errorf("one that waits: %v", err)
				}
			})
		}
		for deadline := time.Now().Add(20 * time.Second); ; {
			l.mu.Lock()
			waiting := l.waiting
			l.mu.Unlock()
			if waiting == small.waiting {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d wait", waiting)
			}
			time.Sleep(time.Millisecond)
		}
		if _, err := l.Begin(ctx, "ada", here); !errors.Is(err, ErrBusy) {
			t.Errorf("one too many: %v, want ErrBusy", err)
		}
		if a, err := l.Begin(ctx, "bob", elsewhere); err != nil { // who need not wait is let through
			t.Errorf("somebody else: %v", err)
		} else {
			a.Cancel()
		}
		for _, a := range first {
			a.Succeed()
		}
		wg.Wait()
		consistent(t, l)
	})
}

// Limits that are lowered under what was counted already hold nobody up.
func TestSetLower(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, k := newLimiter(t, in)
		for range 3 {
			fails(t, l, "ada", here)
		}
		if err := l.Set(Config{AccountFailures: 2, NetworkFailures: 4, Now: k.Now}); err != nil {
			t.Fatal(err)
		}
		if wait := refused(t, l, "ada", here); wait != 0 {
			t.Errorf("refused for %s before a failure under the new limit", wait)
		}
		fails(t, l, "ada", here)
		if wait := refused(t, l, "ada", here); wait != time.Hour {
			t.Errorf("refused for %s, want 1h", wait)
		}
		if wait := refused(t, l, "bob", here); wait != time.Minute {
			t.Errorf("four failures of the network: refused for %s, want 1m", wait)
		}
	})
}

// A network that is counted goes on being counted where there is no room for
// others.
func TestRateFull(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		r := NewRate(RateConfig{Name: "test", AMinute: 3, Shared: in.shared(t), Now: func() time.Time { return time.Unix(1_800_000_030, 0) }})
		r.networks = small.networks
		for range 2 {
			r.Bad(ctx, here)
		}
		for n := range small.networks + 10 {
			if wait, ok := r.Bad(ctx, numbered(n)); !ok || wait != 0 {
				t.Fatalf("network %d: %s %v", n, wait, ok)
			}
		}
		for n, want := range []bool{true, false} {
			if wait, ok := r.Bad(ctx, here); ok != want || !ok && wait != 30*time.Second {
				t.Errorf("bad one %d: %s %v, want %v", n+3, wait, ok, want)
			}
		}
		if len(r.counts) != small.networks {
			t.Errorf("%d networks are kept", len(r.counts))
		}
	})
}

// What a million accounts cost, of one network and of as many. Run it with
// -benchtime 1x.
func BenchmarkMillionAccounts(b *testing.B) {
	for _, c := range []struct {
		name string
		addr func(int) netip.Addr
	}{
		{"one network", func(int) netip.Addr { return here }},
		{"a thousand networks", func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(n >> 8 & 3), byte(n)}) }},
		{"IPv4 addresses", func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}) }},
		{"IPv6 networks", numbered},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				var before, after runtime.MemStats
				runtime.GC()
				runtime.ReadMemStats(&before)
				l, _ := newLimiter(b, memory, unlimitedNetworks)
				for n := range 1_000_000 {
					failsWith(b, l, fmt.Sprintf("somebody-%07d@example.com", n), c.addr(n), "wrong")
				}
				runtime.GC()
				runtime.ReadMemStats(&after)
				consistent(b, l)
				b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc), "B-kept")
				runtime.KeepAlive(l)
			}
		})
	}
}
