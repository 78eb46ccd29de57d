package limits

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/durward-auth/durward/server/internal/testkit"
)

// modelAddrs are addresses that share a /64, a /56, a /48 or nothing.
var modelAddrs = []netip.Addr{
	here, elsewhere, netip.MustParseAddr("::ffff:203.0.113.9"),
	netip.MustParseAddr("2001:db8:1:100::1"), netip.MustParseAddr("2001:db8:1:100::2%eth0"), netip.MustParseAddr("2001:db8:1:101::1"),
	netip.MustParseAddr("2001:db8:1:200::1"), netip.MustParseAddr("2001:db8:2::1"),
}

// modelPrefixes returns the networks of an address and the factor of their limits. They are written
// out, to be independent of the Limiter.
func modelPrefixes(a netip.Addr) map[string]int {
	switch a.WithZone("").String() {
	case "203.0.113.9", "::ffff:203.0.113.9":
		return map[string]int{"here": 1}
	case "198.51.100.1":
		return map[string]int{"elsewhere": 1}
	case "2001:db8:1:100::1", "2001:db8:1:100::2":
		return map[string]int{"1:100/64": 1, "1:100/56": 4, "1/48": 16}
	case "2001:db8:1:101::1":
		return map[string]int{"1:101/64": 1, "1:100/56": 4, "1/48": 16}
	case "2001:db8:1:200::1":
		return map[string]int{"1:200/64": 1, "1:200/56": 4, "1/48": 16}
	case "2001:db8:2::1":
		return map[string]int{"2:0/64": 1, "2:0/56": 4, "2/48": 16}
	}
	panic(a.String())
}

func narrowest(a netip.Addr) string {
	for p, factor := range modelPrefixes(a) {
		if factor == 1 {
			return p
		}
	}
	panic(a.String())
}

// within returns the number of times in the window before now.
func within(times []time.Time, now time.Time, window time.Duration) (n int) {
	for _, at := range times {
		if now.Sub(at) < window {
			n++
		}
	}
	return n
}

// TestWholeModel compares accounts and networks with a simple model: whether a try is allowed, and
// RetryAfter.
func TestWholeModel(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		const aMinute, anHour = 2, 6
		rapid.Check(t, func(t *rapid.T) {
			k := testkit.NewClock(time.Unix(1_800_000_000, 0))
			nodes := in.nodes(t, Config{Settings: Settings{NetworkFailures: aMinute, NetworkFailuresHour: anHour}, Now: k.Now})
			networks := map[string][]time.Time{}
			accounts := map[string][]time.Time{}
			blocked := map[string]time.Time{}
			rows, locks, locked := map[string]int{}, map[string]int{}, map[string]time.Time{}
			lastInRow := map[string]time.Time{}
			secret := 0

			// row returns the key of the failures in a row that lock a try, and how many do.
			row := func(try Try) (key string, most int) {
				switch {
				case try.Device != "":
					return try.Account + " " + try.Device, 20
				case try.SignedIn:
					return "", 0
				}
				return try.Account, 10
			}
			// holder returns whose failures block the account.
			holder := func(try Try) string {
				if try.Device != "" {
					return try.Account + " of " + try.Device
				}
				return try.Account + narrowest(try.Addr)
			}

			// wait examines each moment at which a failure leaves a window.
			wait := func(try Try, now time.Time) time.Duration {
				addr := try.Addr
				moments := []time.Time{now}
				for p := range modelPrefixes(addr) {
					for _, at := range networks[p] {
						moments = append(moments, at.Add(time.Minute), at.Add(time.Hour))
					}
				}
				best := time.Duration(-1)
				for _, m := range moments {
					free := !m.Before(now)
					for p, factor := range modelPrefixes(addr) {
						free = free && within(networks[p], m, time.Minute) < aMinute*factor && within(networks[p], m, time.Hour) < anHour*factor
					}
					if d := m.Sub(now); free && (best < 0 || d < best) {
						best = d
					}
				}
				key, _ := row(try)
				return max(best, blocked[holder(try)].Sub(now), locked[key].Sub(now), 0)
			}

			t.Repeat(map[string]func(*rapid.T){
				"seconds": func(t *rapid.T) { k.Advance(time.Duration(rapid.IntRange(1, 90).Draw(t, "s")) * time.Second) },
				"hours":   func(t *rapid.T) { k.Advance(time.Duration(rapid.IntRange(1, 30).Draw(t, "h")) * time.Hour) },
				"minutes": func(t *rapid.T) { k.Advance(time.Duration(rapid.IntRange(1, 65).Draw(t, "min")) * time.Minute) },
				"tries": func(t *rapid.T) {
					for range rapid.IntRange(1, 8).Draw(t, "times") {
						account := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "account")
						addr := rapid.SampledFrom(modelAddrs).Draw(t, "addr")
						try := Try{Account: account, Addr: addr}
						switch rapid.IntRange(0, 5).Draw(t, "client") {
						case 0:
							try.Device = rapid.SampledFrom([]string{"phone", "laptop"}).Draw(t, "device")
						case 1:
							try.SignedIn = true
						}
						now, key := k.Now(), holder(try)
						inRow, most := row(try)
						for key, at := range lastInRow {
							if now.Sub(at) >= 24*time.Hour && now.Sub(locked[key]) >= 24*time.Hour {
								delete(rows, key)
								delete(locks, key)
							}
						}
						want := wait(try, now)
						l := nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "node")]
						a, err := l.Begin(ctx, try)
						var b *Blocked
						if err != nil && !errors.As(err, &b) || (b == nil) != (want == 0) || b != nil && b.RetryAfter != want {
							t.Fatalf("%s from %s: got %v, want a wait of %s", account, addr, err, want)
						}
						if got := l.Blocked(ctx, account, addr); got != (blocked[account+narrowest(addr)].After(now) || locked[account].After(now)) {
							t.Fatalf("Blocked(%s, %s): got %v", account, addr, got)
						}
						if err != nil {
							continue
						}
						switch rapid.IntRange(0, 9).Draw(t, "outcome") {
						case 0:
							a.Succeed()
							delete(accounts, key)
							ends := inRow
							if ends == "" {
								ends = account
							}
							delete(rows, ends)
							delete(locks, ends)
						case 1:
							a.Cancel()
						default:
							secret++
							a.Fail(fmt.Sprint(secret))
							for p := range modelPrefixes(addr) {
								networks[p] = append(networks[p], now)
							}
							accounts[key] = append(accounts[key], now)
							if within(accounts[key], now, 15*time.Minute) == 5 {
								blocked[key] = now.Add(time.Hour)
								delete(accounts, key)
							}
							if most == 0 {
								continue
							}
							rows[inRow]++
							lastInRow[inRow] = now
							if rows[inRow] == most {
								length := 15 * time.Minute << locks[inRow]
								locked[inRow] = now.Add(min(length, 24*time.Hour))
								locks[inRow]++
								delete(rows, inRow)
							}
						}
					}
				},
			})
		})
	})
}

// A clock that is set back gives no additional tries: in true time the failures stay within the
// limits.
func TestClockPutBack(t *testing.T) {
	t.Parallel()
	inBoth(t, func(t *testing.T, in place) {
		rapid.Check(t, func(t *rapid.T) {
			k := testkit.NewClock(time.Unix(1_800_000_000, 0))
			nodes := in.nodes(t, Config{Now: k.Now})
			now := time.Unix(0, 0) // true time
			var network []time.Time
			accounts := map[string][]time.Time{}
			secret := 0
			t.Repeat(map[string]func(*rapid.T){
				"time goes on": func(t *rapid.T) {
					d := time.Duration(rapid.IntRange(1, 4000).Draw(t, "s")) * time.Second
					now = now.Add(d)
					k.Advance(d)
				},
				"clock is put back": func(t *rapid.T) {
					k.Advance(-time.Duration(rapid.IntRange(1, 100_000).Draw(t, "s")) * time.Second)
				},
				"tries": func(t *rapid.T) {
					for range rapid.IntRange(1, 30).Draw(t, "times") {
						account := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "account")
						a, err := nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "node")].Begin(ctx, Try{Account: account, Addr: here})
						if err != nil {
							continue
						}
						secret++
						a.Fail(fmt.Sprint(secret))
						network, accounts[account] = append(network, now), append(accounts[account], now)
					}
				},
				"": func(t *rapid.T) {
					if n := within(network, now, time.Minute); n > 10 {
						t.Fatalf("%d failures of the network in a minute", n)
					}
					if n := within(network, now, time.Hour); n > 100 {
						t.Fatalf("%d failures of the network in an hour", n)
					}
					for account, times := range accounts {
						if n := within(times, now, 15*time.Minute); n > 5 {
							t.Fatalf("%d failures of %s in 15 minutes", n, account)
						}
					}
				},
			})
			for _, l := range nodes {
				if l.accounts > 4 || len(l.networks) > 1 {
					t.Fatalf("%d accounts, %d networks", l.accounts, len(l.networks))
				}
			}
		})
	})
}
