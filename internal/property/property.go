// Package property runs tests of properties: a test draws values at random, many times, and what it claims has to
// hold each time. Check shortens the values of a run that fails.
package property

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	runs  = flag.Int("property.runs", 100, "runs of each test of a property")
	steps = flag.Int("property.steps", 30, "average number of actions of T.Repeat")
	seed  = flag.Uint64("property.seed", 0, "seed that a test of a property printed; 0 for another one each time")
)

// shortenLimit is the time for which Check shortens a run that fails.
const shortenLimit = 30 * time.Second

// Check calls f with values at random. If a call fails, it looks for a shorter run that fails too, by leaving out
// draws and by drawing smaller values, and fails t with the draws of the shortest one. The flag -property.seed
// repeats the runs.
func Check(t testing.TB, f func(*T)) {
	t.Helper()
	first := *seed
	if first == 0 {
		first = rand.Uint64()
	}
	t.Logf("-property.seed=%d", first)
	for n := range *runs {
		random := rand.New(rand.NewPCG(first, uint64(n)))
		r := run(f, func(below uint64, edges bool) uint64 {
			if edges {
				switch random.IntN(16) {
				case 0:
					return 0
				case 1:
					return below - 1
				}
			}
			return random.Uint64N(below)
		})
		if r.failure == "" {
			continue
		}
		short := shorten(f, r)
		t.Fatalf("run %d fails: %s\ndraws of the shortest run that fails:\n%s", n, short.failure, strings.Join(short.log, "\n"))
		return
	}
}

// T is the state of one run.
type T struct {
	draw    func(below uint64, edges bool) uint64
	drawn   []uint64
	log     []string
	failure string
}

// stop and skip end a run and an action of Repeat.
type stop struct{}
type skip struct{}

// run calls f once.
func run(f func(*T), draw func(uint64, bool) uint64) (t *T) {
	t = &T{draw: draw}
	defer func() {
		switch p := recover().(type) {
		case nil, stop, skip:
		default:
			t.failure = fmt.Sprintf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	f(t)
	return t
}

// replay is run with earlier draws, and with 0 behind them.
func replay(f func(*T), draws []uint64) *T {
	n := 0
	return run(f, func(below uint64, _ bool) uint64 {
		n++
		if n > len(draws) {
			return 0
		}
		return min(draws[n-1], below-1)
	})
}

// shorten returns the run with the fewest and smallest draws that it finds to fail.
func shorten(f func(*T), best *T) *T {
	deadline := time.Now().Add(shortenLimit)
	try := func(draws []uint64) bool {
		if time.Now().After(deadline) {
			return false
		}
		r := replay(f, draws)
		if r.failure == "" || len(r.drawn) > len(best.drawn) || len(r.drawn) == len(best.drawn) && slices.Compare(r.drawn, best.drawn) >= 0 {
			return false
		}
		best = r
		return true
	}
	for better := true; better && time.Now().Before(deadline); {
		better = false
		for size := max(1, len(best.drawn)/2); size > 0; size /= 2 {
			for at := 0; at+size <= len(best.drawn); {
				if try(slices.Delete(slices.Clone(best.drawn), at, at+size)) {
					better = true
				} else {
					at += size
				}
			}
		}
		for at := 0; at < len(best.drawn); at++ {
			for _, smaller := range []func(uint64) uint64{
				func(uint64) uint64 { return 0 }, func(n uint64) uint64 { return n / 2 }, func(n uint64) uint64 { return n - 1 },
			} {
				for at < len(best.drawn) && best.drawn[at] > 0 {
					draws := slices.Clone(best.drawn)
					draws[at] = smaller(draws[at])
					if !try(draws) {
						break
					}
					better = true
				}
			}
			for behind := 1; behind <= 8; behind++ { // a length, with one of its elements
				for at+behind < len(best.drawn) && best.drawn[at] > 0 {
					draws := slices.Delete(slices.Clone(best.drawn), at+behind, at+behind+1)
					draws[at]--
					if !try(draws) {
						break
					}
					better = true
				}
			}
		}
	}
	return best
}

// next draws a number below a limit. If edges is true, the smallest and the largest one are more frequent.
func (t *T) next(below uint64, edges bool) uint64 {
	n := t.draw(below, edges)
	t.drawn = append(t.drawn, n)
	return n
}

func (t *T) Helper() {}

// Logf adds a line to the report of the run.
func (t *T) Logf(format string, args ...any) { t.log = append(t.log, fmt.Sprintf(format, args...)) }

// Errorf fails the run.
func (t *T) Errorf(format string, args ...any) { t.failure += fmt.Sprintf(format, args...) + "\n" }

// Fatalf fails and ends the run.
func (t *T) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	panic(stop{})
}

// Error fails the run.
func (t *T) Error(args ...any) { t.Errorf("%s", strings.TrimSuffix(fmt.Sprintln(args...), "\n")) }

// Fatal fails and ends the run.
func (t *T) Fatal(args ...any) {
	t.Error(args...)
	panic(stop{})
}

// Skip ends the action of Repeat, or the run outside of one, without a failure.
func (t *T) Skip(...any) { panic(skip{}) }

// Repeat calls actions in random order. The action with an empty name is a check: Repeat calls it at the start and
// after each action.
func (t *T) Repeat(actions map[string]func(*T)) {
	check := actions[""]
	if check == nil {
		check = func(*T) {}
	}
	names := slices.Sorted(maps.Keys(actions))
	names = slices.DeleteFunc(names, func(name string) bool { return name == "" })
	check(t)
	for t.failure == "" && t.next(uint64(*steps)+1, false) > 0 {
		for range 100 { // a skipped action is no action
			name := names[t.next(uint64(len(names)), false)]
			t.Logf("action: %s", name)
			if t.action(actions[name]) {
				check(t)
				break
			}
		}
	}
}

// action calls an action and reports whether it was not skipped.
func (t *T) action(do func(*T)) (done bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, skipped := p.(skip); !skipped {
				panic(p)
			}
			t.Logf("  skipped")
		}
	}()
	do(t)
	return true
}

// Generator makes values.
type Generator[V any] struct{ value func(*T) V }

// Draw makes a value and names it in the report of the run.
func (g Generator[V]) Draw(t *T, name string) V {
	v := g.value(t)
	t.Logf("  %s: %#v", name, v)
	return v
}

// Custom makes values with a function.
func Custom[V any](value func(*T) V) Generator[V] { return Generator[V]{value} }

// Int64Range makes numbers from least to most, and these two more often.
func Int64Range(least, most int64) Generator[int64] {
	return Custom(func(t *T) int64 { return least + int64(t.next(uint64(most-least)+1, true)) })
}

// IntRange makes numbers from least to most, and these two more often.
func IntRange(least, most int) Generator[int] {
	g := Int64Range(int64(least), int64(most))
	return Custom(func(t *T) int { return int(g.value(t)) })
}

// Bool makes false and true.
func Bool() Generator[bool] { return Custom(func(t *T) bool { return t.next(2, false) == 1 }) }

// SampledFrom makes the values of a list.
func SampledFrom[V any](list []V) Generator[V] {
	return Custom(func(t *T) V { return list[t.next(uint64(len(list)), false)] })
}
