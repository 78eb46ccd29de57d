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

// numbered returns an IPv6 address in a /48 of its own.
func numbered(n int) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 0x01, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n), 15: 1})
}

// small is so small that a test can fill it.
var small = bounds{accounts: 1000, ofNetwork: 50, networks: 300, waiting: 100}

// consistent checks the numbers of accounts and networks.
func consistent(t testing.TB, l *Limiter) {
	t.Helper()
	accounts := 0
	for _, n := range l.networks {
		accounts += len(n.accounts)
		if n.underWay != 0 {
			t.Errorf("network: got %d undecided tries, want 0", n.underWay)
		}
	}
	if accounts != l.accounts || accounts > l.bounds.accounts || len(l.networks) > l.bounds.networks {
		t.Errorf("got %d accounts, counted as %d, and %d networks", accounts, l.accounts, len(l.networks))
	}
}

// A flood from more networks than there is room for drops its own failures, but no block and no
// failures that lead to one.
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
			failsWith(t, l, "someuser", numbered(n), "wrong")
		}
		consistent(t, l)
		if len(l.networks) != small.networks {
			t.Errorf("got %d networks, want the maximum", len(l.networks))
		}
		fails(t, l, "bob", elsewhere)
		if !l.Blocked(ctx, "ada", elsewhere) || !l.Blocked(ctx, "bob", elsewhere) {
			t.Error("flood from other networks: a block or failures are lost")
		}
		k.Advance(2 * time.Hour)
		if refused(t, l, "x", here); l.accounts > 1 || len(l.networks) > 1 {
			t.Errorf("after two hours: got %d accounts and %d networks", l.accounts, len(l.networks))
		}
	})
}

// A network without room for another account drops the one with the fewest failures.
func TestFewestFailuresDropped(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, k := newLimiter(t, in, unlimitedNetworks)
		l.bounds = small
		for range 5 {
			fails(t, l, "old block", here)
		}
		k.Advance(time.Hour)
		for range 5 {
			fails(t, l, "blocked", here)
		}
		for range 4 {
			fails(t, l, "four", here)
		}
		for n := 3; n < small.ofNetwork; n++ {
			fails(t, l, fmt.Sprint("once ", n), here)
		}
		under, err := l.Begin(ctx, Try{Account: "under way", Addr: here}) // drops an account with one failure
		if err != nil {
			t.Fatal(err)
		}
		for n := range 30 * small.ofNetwork {
			fails(t, l, fmt.Sprint("flood ", n), here)
		}
		accounts := l.networks[network(here)].accounts
		if accounts["blocked"] == nil || accounts["four"] == nil || accounts["under way"] == nil || accounts["old block"] != nil || len(accounts) != small.ofNetwork {
			t.Errorf("present: blocked %v, four %v, under way %v, old block %v; %d in all", accounts["blocked"] != nil, accounts["four"] != nil, accounts["under way"] != nil, accounts["old block"] != nil, len(accounts))
		}
		under.Fail("x")
		consistent(t, l)
	})
}

// If all accounts have undecided tries, none is dropped and the next try gets ErrBusy.
func TestAllUndecided(t *testing.T) {
	t.Parallel()
	l, _ := newLimiter(t, memory, unlimitedNetworks)
	l.bounds = small
	var attempts []*Attempt
	begin := func(account string, addr netip.Addr) error {
		a, err := l.Begin(ctx, Try{Account: account, Addr: addr})
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
	for _, addr := range []netip.Addr{numbered(0), here} { // a full network, and a new network
		if err := begin("one more", addr); !errors.Is(err, ErrBusy) {
			t.Errorf("from %s: %v, want ErrBusy", addr, err)
		}
	}
	if err := begin("0", numbered(0)); err != nil { // an account that has a count
		t.Errorf("account with a count: got %v, want no error", err)
	}
	for _, a := range attempts {
		a.Cancel()
	}
	consistent(t, l)
	if err := begin("one more", here); err != nil {
		t.Errorf("all decided: got %v, want no error", err)
	}
	attempts[len(attempts)-1].Cancel()
}

// A decided try leaves no count that holds nothing.
func TestNothingLeft(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, _ := newLimiter(t, in)
		begin := func(account string, addr netip.Addr) *Attempt {
			t.Helper()
			a, err := l.Begin(ctx, Try{Account: account, Addr: addr})
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		counts := func(what string, accounts, networks int) {
			t.Helper()
			consistent(t, l)
			if l.accounts != accounts || len(l.networks) != networks {
				t.Errorf("%s: got counts of %d accounts and %d networks, want %d and %d", what, l.accounts, len(l.networks), accounts, networks)
			}
		}
		for n := range 20 {
			for _, addr := range []netip.Addr{here, numbered(n)} {
				begin(fmt.Sprint("cancelled ", n), addr).Cancel()
				begin(fmt.Sprint("right ", n), addr).Succeed()
			}
		}
		counts("cancelled and right", 0, 0)
		fails(t, l, "ada", here)
		begin("bob", here).Cancel()
		counts("a failure", 1, 1)
		begin("ada", here).Cancel()
		counts("a failure and a cancelled try", 1, 1)
		first, second := begin("eve", numbered(1)), begin("eve", numbered(1))
		first.Cancel()
		if l.known("eve", network(numbered(1))) == nil {
			t.Error("an undecided try: got no count, want one")
		}
		second.Cancel()
		counts("all decided", 1, 1)
		begin("ada", here).Succeed()
		counts("a network with a failure", 0, 1)
	})
}

// If too many tries wait, the next one gets ErrBusy.
func TestTooManyWait(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, _ := newLimiter(t, in)
		l.bounds = small
		var first []*Attempt
		for range 5 {
			a, err := l.Begin(ctx, Try{Account: "ada", Addr: here})
			if err != nil {
				t.Fatal(err)
			}
			first = append(first, a)
		}
		var wg sync.WaitGroup
		for range small.waiting {
			wg.Go(func() {
				if a, err := l.Begin(ctx, Try{Account: "ada", Addr: here}); err == nil {
					a.Succeed()
				} else {
					t.Errorf("waiting try: got %v, want it to be allowed", err)
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
				t.Fatalf("got %d waiting tries", waiting)
			}
			time.Sleep(time.Millisecond)
		}
		if _, err := l.Begin(ctx, Try{Account: "ada", Addr: here}); !errors.Is(err, ErrBusy) {
			t.Errorf("another try: got %v, want ErrBusy", err)
		}
		if a, err := l.Begin(ctx, Try{Account: "bob", Addr: elsewhere}); err != nil { // a try that need not wait is allowed
			t.Errorf("another account: got %v, want it to be allowed", err)
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

// Limits that are lowered below the present counts do not block by themselves.
func TestSetLower(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		l, _ := newLimiter(t, in)
		for range 3 {
			fails(t, l, "ada", here)
		}
		if err := l.Set(Settings{AccountFailures: 2, NetworkFailures: 4}); err != nil {
			t.Fatal(err)
		}
		if wait := refused(t, l, "ada", here); wait != 0 {
			t.Errorf("before a failure: got a block of %s, want none", wait)
		}
		fails(t, l, "ada", here)
		if wait := refused(t, l, "ada", here); wait != time.Hour {
			t.Errorf("got a block of %s, want 1h", wait)
		}
		if wait := refused(t, l, "bob", here); wait != time.Minute {
			t.Errorf("four failures of the network: got a block of %s, want 1m", wait)
		}
	})
}

// A network that is counted is still counted if there is no room for others.
func TestRateFull(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		r := NewRate(RateConfig{Name: "test", Most: 3, Shared: in.shared(t), Now: func() time.Time { return time.Unix(1_800_000_030, 0) }})
		r.room = small.networks
		for range 2 {
			r.Network(ctx, here)
		}
		for n := range small.networks + 10 {
			if wait, ok := r.Network(ctx, numbered(n)); !ok || wait != 0 {
				t.Fatalf("network %d: %s %v", n, wait, ok)
			}
		}
		for n, want := range []bool{true, false} {
			if wait, ok := r.Network(ctx, here); ok != want || !ok && wait != 30*time.Second {
				t.Errorf("bad one %d: %s %v, want %v", n+3, wait, ok, want)
			}
		}
		if len(r.counts) != small.networks {
			t.Errorf("got %d networks", len(r.counts))
		}
	})
}

// BenchmarkMillionAccounts measures the memory for a million accounts of one or more networks. Run
// it with -benchtime 1x.
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
					failsWith(b, l, fmt.Sprintf("user-%07d@example.com", n), c.addr(n), "wrong")
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
