package revoked

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/durward-auth/durward/internal/clock"
)

// noon is the start of these tests.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// fakeClock is a virtual clock.
type fakeClock struct{ at, jumps atomic.Int64 } // Unix nanoseconds; the sum of the jumps

func newClock() *fakeClock {
	c := new(fakeClock)
	c.at.Store(noon.UnixNano())
	return c
}

func (c *fakeClock) Now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *fakeClock) advance(d time.Duration) { c.at.Add(int64(d)) }
func (c *fakeClock) Local() time.Time        { return time.Unix(0, c.at.Load()-c.jumps.Load()).UTC() }
func (c *fakeClock) jump(d time.Duration) {
	c.at.Add(int64(d))
	c.jumps.Add(int64(d))
}

// trusted returns a clock for deletions over c.
func (c *fakeClock) trusted() func() time.Time {
	return clock.New(c.Now, c.Local, settle, clock.State{}).Now
}

var kinds = []string{Token, Session, SigningKey, "client", ""}

// stored returns the number of entries in the table of l.
func stored(l *List) (n int) {
	if t := l.table.Load(); t != nil {
		for i := range t.slots {
			if t.slots[i].rest.Load() != 0 {
				n++
			}
		}
	}
	return n
}

func TestKindsDoNotMix(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		l := NewList(newClock().Now)
		l.Add(Entry{Kind: kind, Value: "same", Until: noon.Add(time.Hour)})
		for _, asked := range kinds {
			if got, want := l.Revoked(asked, "same"), asked == kind; got != want {
				t.Errorf("%q revoked, look-up of %q: got %v, want %v", kind, asked, got, want)
			}
		}
		if l.Revoked(kind, "other") || l.Revoked(kind, "") || l.Revoked(kind, "same\x00") {
			t.Errorf("%q: another value: got true, want false", kind)
		}
	}
	// Each kind of one value is an entry.
	l := NewList(newClock().Now)
	for _, kind := range kinds {
		l.Add(Entry{Kind: kind, Value: "same", Until: noon.Add(time.Hour)})
	}
	if l.Len() != len(kinds) {
		t.Errorf("one value of each kind: got %d entries, want %d", l.Len(), len(kinds))
	}
}

// An entry counts before Until, and no longer after the next change or sweep.
func TestEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		until time.Duration // from noon
		after time.Duration // from noon
		want  bool
	}{
		{"now", time.Minute, 0, true},
		{"last moment before the end", time.Minute, time.Minute - 1, true},
		{"at the end", time.Minute, time.Minute, false},
		{"long after the end", time.Minute, 1000 * time.Hour, false},
		{"end between seconds: last moment", 1500 * time.Millisecond, 1500*time.Millisecond - 1, true},
		{"end between seconds: next full second", 1500 * time.Millisecond, 2 * time.Second, false},
		{"end within this second", 1, 0, true},
		{"end is now", 0, 0, false},
		{"end is past", -time.Nanosecond, 0, false},
		{"end is long past", -10 * time.Hour, 0, false},
		{"70 years", 70 * 365 * 24 * time.Hour, 69 * 365 * 24 * time.Hour, true},
		{"end past the range of uint32", 250 * 365 * 24 * time.Hour, 30 * 365 * 24 * time.Hour, true},
	} {
		k := newClock()
		l := NewList(k.Now)
		l.Add(Entry{Kind: Token, Value: "t", Until: noon.Add(c.until)})
		k.advance(c.after)
		l.sweep(0)
		if got := l.Revoked(Token, "t"); got != c.want {
			t.Errorf("%s: until noon+%s, at noon+%s: got %v, want %v", c.name, c.until, c.after, got, c.want)
		}
	}
}

func TestNilNow(t *testing.T) {
	t.Parallel()
	l := NewList(nil)
	l.Add(Entry{Kind: Token, Value: "alive", Until: time.Now().Add(time.Hour)}, Entry{Kind: Token, Value: "ended", Until: time.Now().Add(-time.Hour)})
	if !l.Revoked(Token, "alive") || l.Revoked(Token, "ended") || l.Len() != 1 {
		t.Errorf("alive and ended entry: got %v and %v, %d entries, want true and false, 1 entry", l.Revoked(Token, "alive"), l.Revoked(Token, "ended"), l.Len())
	}
}

func TestLaterEnd(t *testing.T) {
	t.Parallel()
	k := newClock()
	l := NewList(k.Now)
	for _, minutes := range []time.Duration{10, 30, 20, -5} {
		l.Add(Entry{Kind: Session, Value: "s", Until: noon.Add(minutes * time.Minute)})
	}
	if l.Len() != 1 {
		t.Errorf("one session with four ends: got %d entries, want 1", l.Len())
	}
	k.advance(30*time.Minute - 1)
	if !l.Revoked(Session, "s") {
		t.Error("just before the latest end: got false, want true")
	}
	k.advance(1)
	l.sweep(0)
	if l.Revoked(Session, "s") {
		t.Error("at the latest end: got true, want false")
	}
}

// All of 200,000 entries are found and no others; when they have ended the list is empty.
func TestManyEntries(t *testing.T) {
	t.Parallel()
	const many = 200_000
	k := newClock()
	l := NewList(k.Now)
	for i := range many {
		l.Add(Entry{Seq: int64(i), Kind: kinds[i%3], Value: uuid(i), Until: noon.Add(time.Hour)})
	}
	if l.Len() != many || stored(l) != many {
		t.Fatalf("got Len %d and %d entries, want %d", l.Len(), stored(l), many)
	}
	for i := range many {
		if !l.Revoked(kinds[i%3], uuid(i)) {
			t.Fatalf("%s %s: got false, want true", kinds[i%3], uuid(i))
		}
		// The probability of a collision is 2^-75 for all of these together.
		if l.Revoked(kinds[(i+1)%3], uuid(i)) || l.Revoked(kinds[i%3], uuid(many+i)) {
			t.Fatalf("%s as another kind, or another value: got true, want false", uuid(i))
		}
	}
	// Each sweep removes a part of the ended entries.
	k.advance(2 * time.Hour)
	for sweeps := 0; l.Len() > 0; sweeps++ {
		if sweeps > 1000 {
			t.Fatalf("%d entries are left after %d sweeps", l.Len(), sweeps)
		}
		l.sweep(sweepPoll)
	}
	if n := stored(l); n != 0 {
		t.Errorf("empty list: got %d entries in the table, want 0", n)
	}
	if l.Revoked(Token, uuid(0)) {
		t.Error("look-up in an empty list: got true, want false")
	}
}

func uuid(i int) string { return fmt.Sprintf("0190a2c4-7d3e-7000-8000-%012x", i) }

// heap returns the live bytes of the heap.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// An entry takes at most 100 bytes, and one remaining entry does not keep the memory of the others.
func TestMemory(t *testing.T) { // not parallel: other tests allocate
	const many = 200_000
	k := newClock()
	before := heap()
	l := NewList(k.Now)
	for i := range many {
		l.Add(Entry{Kind: Token, Value: uuid(i), Until: noon.Add(time.Minute)})
	}
	l.Add(Entry{Kind: Token, Value: "lasting", Until: noon.Add(24 * time.Hour)})
	if each := (heap() - before) / many; each > 100 {
		t.Errorf("%d entries: got %d bytes each, want at most 100", many, each)
	}
	k.advance(time.Hour)
	for range 2 * many / sweepPoll * 4 {
		l.sweep(sweepPoll)
	}
	if l.Len() != 1 || !l.Revoked(Token, "lasting") {
		t.Errorf("after the end of all others: got %d entries, lasting %v, want 1 and true", l.Len(), l.Revoked(Token, "lasting"))
	}
	if left := heap() - before; left > many {
		t.Errorf("after the end of all others: the list takes %d bytes", left)
	}
	runtime.KeepAlive(l)
}

// Two values that share the 64 bits that select their slot are distinguished by the other 32.
func TestAllBitsOfTheHashCount(t *testing.T) {
	t.Parallel()
	l := NewList(newClock().Now)
	until := seconds(noon.Add(time.Hour))
	high, low := l.hashHigh(Token, "a"), l.hashLow("a")
	for bit := range 32 {
		l.put(high, low^1<<bit, until)
		if l.Revoked(Token, "a") {
			t.Fatalf("value that differs in bit %d: got true, want false", bit)
		}
	}
	l.put(high+1, low, until)
	if l.Revoked(Token, "a") {
		t.Fatal("value that differs in the slot: got true, want false")
	}
	l.Add(Entry{Kind: Token, Value: "a", Until: noon.Add(time.Hour)})
	if !l.Revoked(Token, "a") || l.Len() != 34 {
		t.Errorf("after 33 similar values: got %v and %d entries, want true and 34", l.Revoked(Token, "a"), l.Len())
	}
}

// If as many entries end as are added, the sweep of Add alone keeps the list small.
func TestChurnStaysSmall(t *testing.T) {
	t.Parallel()
	const live = 1000
	k := newClock()
	l := NewList(k.Now)
	most := 0
	for i := range 100 * live {
		k.advance(time.Second)
		l.Add(Entry{Kind: Token, Value: fmt.Sprint(i), Until: k.Now().Add(live * time.Second)})
		most = max(most, l.Len())
		if i >= live && !l.Revoked(Token, fmt.Sprint(i-live+1)) {
			t.Fatalf("entry %d before its end: got false, want true", i-live+1)
		}
		if i >= live && l.Revoked(Token, fmt.Sprint(i-live)) {
			t.Fatalf("entry %d after its end: got true, want false", i-live)
		}
	}
	if most > 2*live {
		t.Errorf("%d entries that count: got up to %d stored, want at most %d", live, most, 2*live)
	}
}

// Look-ups during additions and sweeps find each entry that was added and has not ended, and no
// other.
func TestLookUpsDuringChanges(t *testing.T) {
	t.Parallel()
	const lasting, rounds, burst = 300, 60, 500
	k := newClock()
	l := NewList(k.Now)
	added := make([]atomic.Bool, lasting)
	var readers, writers sync.WaitGroup
	var stop atomic.Bool
	var looks atomic.Int64
	for range 4 {
		readers.Go(func() {
			for i := 0; !stop.Load(); i++ {
				n := i % lasting
				known := added[n].Load() // before the look-up
				if got := l.Revoked(Session, fmt.Sprint("lasting ", n)); known && !got {
					t.Errorf("lasting %d: got false, want true", n)
					return
				}
				if l.Revoked(Session, fmt.Sprint("never ", i)) || l.Revoked(Token, fmt.Sprint("lasting ", n)) {
					t.Errorf("round %d, value that was not added: got true, want false", i)
					return
				}
				looks.Add(1)
				runtime.Gosched()
			}
		})
	}
	for w := range 2 {
		writers.Go(func() {
			for round := range rounds {
				for i := range burst {
					l.Add(Entry{Kind: Token, Value: fmt.Sprint(w, round, i), Until: k.Now().Add(5 * time.Second)})
				}
				for n := w; n < lasting; n += 2 {
					if n%rounds == round {
						l.Add(Entry{Kind: Session, Value: fmt.Sprint("lasting ", n), Until: noon.Add(1e6 * time.Hour)})
						added[n].Store(true)
					}
				}
				k.advance(3 * time.Second)
				l.sweep(sweepPoll)
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	readers.Wait()
	for n := range lasting {
		if !l.Revoked(Session, fmt.Sprint("lasting ", n)) {
			t.Errorf("at the end, lasting %d: got false, want true", n)
		}
	}
	if looks.Load() == 0 {
		t.Error("no look-up ran during the changes")
	}
}

// Goroutines that add the same entry store it once.
func TestSameEntryFromMany(t *testing.T) {
	t.Parallel()
	l := NewList(newClock().Now)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 500 {
				e := Entry{Kind: Session, Value: fmt.Sprint(i), Until: noon.Add(time.Hour)}
				l.Add(e)
				if !l.Revoked(e.Kind, e.Value) {
					t.Errorf("%s after Add: got false, want true", e.Value)
				}
			}
		})
	}
	wg.Wait()
	if l.Len() != 500 {
		t.Errorf("got %d entries, want 500", l.Len())
	}
}

// lookUps are the cases of the allocation test and the benchmark.
var lookUps = []struct {
	name  string
	kind  string
	value string
	want  bool
}{
	{"not revoked", Token, "0190a2c4-7d3e-7000-8000-000000000000", false},
	{"revoked token", Token, "token 77", true},
	{"revoked session", Session, "session 77", true},
	{"revoked key", SigningKey, "key 77", true},
	{"another kind", "client", "client 77", true},
}

func filledList() *List {
	l := NewList(newClock().Now)
	for i := range 1000 {
		until := noon.Add(time.Hour)
		l.Add(Entry{Kind: Token, Value: fmt.Sprint("token ", i), Until: until}, Entry{Kind: Session, Value: fmt.Sprint("session ", i), Until: until},
			Entry{Kind: SigningKey, Value: fmt.Sprint("key ", i), Until: until}, Entry{Kind: "client", Value: fmt.Sprint("client ", i), Until: until})
	}
	return l
}

func TestLookUpAllocatesNothing(t *testing.T) { // not parallel: other tests allocate
	l := filledList()
	for _, c := range lookUps {
		if got := l.Revoked(c.kind, c.value); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
		if n := testing.AllocsPerRun(100, func() { l.Revoked(c.kind, c.value) }); n != 0 {
			t.Errorf("%s: got %g allocations for each look-up, want 0", c.name, n)
		}
	}
}

func BenchmarkRevoked(b *testing.B) {
	l := filledList()
	for _, c := range lookUps {
		b.Run(strings.ReplaceAll(c.name, " ", "_"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				l.Revoked(c.kind, c.value)
			}
		})
	}
	b.Run("empty_list", func(b *testing.B) {
		empty := NewList(nil)
		b.ReportAllocs()
		for b.Loop() {
			empty.Revoked(Token, "token 77")
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	l := NewList(nil)
	until := time.Now().Add(time.Hour)
	names := make([]string, 1<<16)
	for i := range names {
		names[i] = fmt.Sprint("session ", i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Add(Entry{Kind: Session, Value: names[i%len(names)], Until: until})
	}
}

// A list behaves like a map from kind and value to the latest end.
func TestListIsAMap(t *testing.T) {
	t.Parallel()
	type name struct {
		kind  string
		value string
	}
	rapid.Check(t, func(t *rapid.T) {
		k := newClock()
		l := NewList(k.Now)
		model := make(map[name]time.Time)
		names := rapid.Custom(func(t *rapid.T) name {
			return name{rapid.SampledFrom(kinds).Draw(t, "kind"), fmt.Sprint(rapid.IntRange(0, 60).Draw(t, "value"))}
		})
		second := func(t time.Time) time.Time { // rounds as the list does
			if t.Nanosecond() > 0 {
				return t.Truncate(time.Second).Add(time.Second)
			}
			return t
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				var entries []Entry
				for range rapid.IntRange(0, 20).Draw(t, "entries") {
					n := names.Draw(t, "name")
					until := second(k.Now().Add(time.Duration(rapid.IntRange(-5000, 60_000).Draw(t, "life")) * time.Millisecond))
					entries = append(entries, Entry{Kind: n.kind, Value: n.value, Until: until})
					if until.After(model[n]) {
						model[n] = until
					}
				}
				l.Add(entries...)
			},
			"wait": func(t *rapid.T) {
				k.advance(time.Duration(rapid.IntRange(0, 20_000).Draw(t, "ms")) * time.Millisecond)
				l.sweep(0)
			},
			"sweep": func(t *rapid.T) { l.sweep(rapid.IntRange(1, sweepPoll).Draw(t, "entries")) },
			"": func(t *rapid.T) {
				live := 0
				for n, until := range model {
					want := k.Now().Before(until)
					if got := l.Revoked(n.kind, n.value); got != want {
						t.Fatalf("%q %s until %s, now %s: got %v, want %v", n.kind, n.value, until, k.Now(), got, want)
					}
					if want {
						live++
					}
				}
				if l.Revoked(Token, "never") || l.Len() < live || l.Len() > len(model) {
					t.Fatalf("got %d entries, %d of the %d that were added count; never added: %v", l.Len(), live, len(model), l.Revoked(Token, "never"))
				}
				used, held := 0, 0
				if table := l.table.Load(); table != nil {
					for i := range table.slots {
						if table.slots[i].high.Load() != 0 {
							used++
						}
						if table.slots[i].rest.Load() != 0 {
							held++
						}
					}
					if 4*used > 3*len(table.slots) {
						t.Fatalf("got %d used slots, want at most three quarters of %d", used, len(table.slots))
					}
				}
				if used != l.used || held != l.live {
					t.Fatalf("counters: got %d used and %d live slots, want %d and %d", l.used, l.live, used, held)
				}
			},
		})
	})
}

// An entry with any value and end is found until then, and no other kind or value.
func FuzzList(f *testing.F) {
	f.Add("jti", "0190a2c4-7d3e-7000-8000-000000000000", int64(60))
	f.Add("sid", "", int64(1))
	f.Add("", "\xff\x00", int64(-1))
	f.Add("kid", strings.Repeat("k", 1<<10), int64(math.MaxInt32))
	f.Add("another", "jti", int64(math.MaxInt64))
	f.Fuzz(func(t *testing.T, kind, value string, life int64) {
		k := newClock()
		l := NewList(k.Now)
		until := time.Unix(noon.Unix()+min(life, 1<<40), 0)
		l.Add(Entry{Kind: kind, Value: value, Until: until})
		if got, want := l.Revoked(kind, value), life > 0; got != want {
			t.Fatalf("%q %q for %d s: got %v, want %v", kind, value, life, got, want)
		}
		if l.Revoked(kind+"x", value) || l.Revoked(kind, value+"x") {
			t.Fatalf("%q %q: another kind or value: got true, want false", kind, value)
		}
		if life <= 0 || life > 1<<31 {
			return
		}
		k.advance(time.Duration(life-1) * time.Second)
		if !l.Revoked(kind, value) {
			t.Fatalf("%q %q for %d s, a second before the end: got false, want true", kind, value, life)
		}
		k.advance(time.Second)
		l.sweep(sweepPoll)
		if l.Revoked(kind, value) || l.Len() != 0 || stored(l) != 0 {
			t.Fatalf("%q %q for %d s, at the end: got %d entries, want 0", kind, value, life, stored(l))
		}
	})
}
