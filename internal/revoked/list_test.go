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
	"unsafe"

	"pgregory.net/rapid"
)

// noon is when these tests begin.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// clock is a clock that only the test moves.
type clock struct{ at atomic.Int64 } // Unix nanoseconds

func newClock() *clock {
	c := new(clock)
	c.at.Store(noon.UnixNano())
	return c
}

func (c *clock) Now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

var kinds = []Kind{Token, Session, SigningKey, "client", ""}

func slots(l *List) int {
	if t := l.table.Load(); t != nil {
		return len(t.slots)
	}
	return 0
}

func TestKindsDoNotMix(t *testing.T) {
	t.Parallel()
	for _, kind := range kinds {
		l := NewList(newClock().Now)
		l.Add(Entry{Kind: kind, Value: "same", Until: noon.Add(time.Hour)})
		for _, asked := range kinds {
			if got, want := l.Revoked(asked, "same"), asked == kind; got != want {
				t.Errorf("of %q revoked, %q asked: got %v, want %v", kind, asked, got, want)
			}
		}
		if l.Revoked(kind, "other") || l.Revoked(kind, "") || l.Revoked(kind, "same\x00") {
			t.Errorf("%q: a value is revoked that nobody revoked", kind)
		}
	}
	// All kinds of one value are as many entries.
	l := NewList(newClock().Now)
	for _, kind := range kinds {
		l.Add(Entry{Kind: kind, Value: "same", Until: noon.Add(time.Hour)})
	}
	if l.Len() != len(kinds) {
		t.Errorf("%d entries, want %d", l.Len(), len(kinds))
	}
}

// An entry counts before Until, and never less than that, and no more once anybody has
// looked at the clock.
func TestEnd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		until time.Duration // from noon
		after time.Duration // from noon
		want  bool
	}{
		{"at once", time.Minute, 0, true},
		{"last moment", time.Minute, time.Minute - 1, true},
		{"end", time.Minute, time.Minute, false},
		{"long past", time.Minute, 1000 * time.Hour, false},
		{"part of a second, last moment", 1500 * time.Millisecond, 1500*time.Millisecond - 1, true},
		{"part of a second, at the latest", 1500 * time.Millisecond, 2 * time.Second, false},
		{"less than a second", 1, 0, true},
		{"ends now", 0, 0, false},
		{"ended", -time.Nanosecond, 0, false},
		{"ended long ago", -10 * time.Hour, 0, false},
		{"long", 70 * 365 * 24 * time.Hour, 69 * 365 * 24 * time.Hour, true},
		{"past what a slot can hold", 250 * 365 * 24 * time.Hour, 30 * 365 * 24 * time.Hour, true},
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

func TestNilClockIsTheRealOne(t *testing.T) {
	t.Parallel()
	l := NewList(nil)
	l.Add(Entry{Kind: Token, Value: "alive", Until: time.Now().Add(time.Hour)}, Entry{Kind: Token, Value: "ended", Until: time.Now().Add(-time.Hour)})
	if !l.Revoked(Token, "alive") || l.Revoked(Token, "ended") || l.Len() != 1 {
		t.Errorf("alive %v, ended %v, %d entries", l.Revoked(Token, "alive"), l.Revoked(Token, "ended"), l.Len())
	}
}

func TestLaterEndHolds(t *testing.T) {
	t.Parallel()
	k := newClock()
	l := NewList(k.Now)
	for _, minutes := range []time.Duration{10, 30, 20, -5} {
		l.Add(Entry{Kind: Session, Value: "s", Until: noon.Add(minutes * time.Minute)})
	}
	if l.Len() != 1 {
		t.Errorf("one session is %d entries", l.Len())
	}
	k.advance(30*time.Minute - 1)
	if !l.Revoked(Session, "s") {
		t.Error("the latest of the ends does not hold")
	}
	k.advance(1)
	l.sweep(0)
	if l.Revoked(Session, "s") {
		t.Error("revoked past the latest of the ends")
	}
}

// 200,000 entries are all found, as many others are not, and they take what the
// package comment says: a million in less than a hundred megabytes.
func TestManyEntries(t *testing.T) {
	t.Parallel()
	const many = 200_000
	k := newClock()
	l := NewList(k.Now)
	name := func(i int) string { return fmt.Sprintf("0190a2c4-7d3e-7000-8000-%012x", i) }
	for i := range many {
		l.Add(Entry{Seq: int64(i), Kind: kinds[i%3], Value: name(i), Until: noon.Add(time.Hour)})
		if n := slots(l); i > 100 && n > 4*i { // 64 octets each
			t.Fatalf("%d slots for %d entries", n, i)
		}
	}
	if l.Len() != many {
		t.Fatalf("%d entries held, want %d", l.Len(), many)
	}
	if octets := uint64(slots(l)) * uint64(unsafe.Sizeof(slot{})); octets*5 > 100e6 {
		t.Errorf("%d entries take %d octets, so a million take more than 100 MB", many, octets)
	}
	for i := range many {
		if !l.Revoked(kinds[i%3], name(i)) {
			t.Fatalf("%s %s is revoked and not found", kinds[i%3], name(i))
		}
		// A value for another would be a chance of 2^-75 for all of these together.
		if l.Revoked(kinds[(i+1)%3], name(i)) || l.Revoked(kinds[i%3], name(many+i)) {
			t.Fatalf("something is revoked near %s that nobody revoked", name(i))
		}
	}
	// What has ended is swept bit by bit, and its memory is given back.
	k.advance(2 * time.Hour)
	for sweeps := 0; l.Len() > 0; sweeps++ {
		if sweeps > 1000 {
			t.Fatalf("%d entries are left after %d sweeps", l.Len(), sweeps)
		}
		l.sweep(sweepPoll)
	}
	if n := slots(l); n != 0 {
		t.Errorf("an empty list has %d slots", n)
	}
	if l.Revoked(Token, name(0)) {
		t.Error("found in an empty list")
	}
}

// One entry that lasts does not hold the memory of those that ended around it.
func TestTableShrinksAroundWhatLasts(t *testing.T) {
	t.Parallel()
	k := newClock()
	l := NewList(k.Now)
	for i := range 20_000 {
		l.Add(Entry{Kind: Token, Value: fmt.Sprint(i), Until: noon.Add(time.Minute)})
	}
	l.Add(Entry{Kind: Token, Value: "lasting", Until: noon.Add(24 * time.Hour)})
	before := slots(l)
	k.advance(time.Hour)
	for range 100 {
		l.sweep(sweepPoll)
	}
	if l.Len() != 1 || slots(l) != smallest {
		t.Errorf("one entry of %d is left in %d slots of %d", l.Len(), slots(l), before)
	}
	if !l.Revoked(Token, "lasting") {
		t.Error("what lasts is lost")
	}
}

// Two values that share the 64 bits that choose their slot are told apart by the
// other 32.
func TestAllBitsOfTheHashCount(t *testing.T) {
	t.Parallel()
	l := NewList(newClock().Now)
	until := seconds(noon.Add(time.Hour))
	high, low := l.hashHigh(Token, "a"), l.hashLow("a")
	for bit := range 32 {
		l.put(high, low^1<<bit, until)
		if l.Revoked(Token, "a") {
			t.Fatalf("another value is taken for this one, which differs in bit %d", bit)
		}
	}
	l.put(high+1, low, until)
	if l.Revoked(Token, "a") {
		t.Fatal("another value is taken for this one, which differs in the slot")
	}
	l.Add(Entry{Kind: Token, Value: "a", Until: noon.Add(time.Hour)})
	if !l.Revoked(Token, "a") || l.Len() != 34 {
		t.Errorf("behind 33 others: found %v, %d entries", l.Revoked(Token, "a"), l.Len())
	}
}

// Where as many end as come, the list stays small without any sweep but that of
// Add.
func TestChurnStaysSmall(t *testing.T) {
	t.Parallel()
	const live = 1000
	k := newClock()
	l := NewList(k.Now)
	most, width := 0, 0
	for i := range 100 * live {
		k.advance(time.Second)
		l.Add(Entry{Kind: Token, Value: fmt.Sprint(i), Until: k.Now().Add(live * time.Second)})
		most, width = max(most, l.Len()), max(width, slots(l))
		if i >= live && !l.Revoked(Token, fmt.Sprint(i-live+1)) {
			t.Fatalf("entry %d was forgotten before its end", i-live+1)
		}
		if i >= live && l.Revoked(Token, fmt.Sprint(i-live)) {
			t.Fatalf("entry %d counts past its end", i-live)
		}
	}
	if most > 2*live || width > 8*live {
		t.Errorf("%d live entries became %d in %d slots", live, most, width)
	}
}

// Look-ups meet every change of the table: growth, sweeps, graves taken again.
// What is revoked for good is found at each moment, what never was never is.
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
					t.Errorf("lasting %d was revoked and is not found", n)
					return
				}
				if l.Revoked(Session, fmt.Sprint("never ", i)) || l.Revoked(Token, fmt.Sprint("lasting ", n)) {
					t.Errorf("found what nobody revoked, round %d", i)
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
			t.Errorf("lasting %d is not found", n)
		}
	}
	if looks.Load() == 0 {
		t.Error("nobody looked anything up meanwhile")
	}
}

// Many who add the same find it once.
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
					t.Errorf("%s is not found after it was added", e.Value)
				}
			}
		})
	}
	wg.Wait()
	if l.Len() != 500 {
		t.Errorf("%d entries, want 500", l.Len())
	}
}

// lookUps are the questions of the allocation test and the benchmark.
var lookUps = []struct {
	name  string
	kind  Kind
	value string
	want  bool
}{
	{"not revoked", Token, "0190a2c4-7d3e-7000-8000-000000000000", false},
	{"revoked token", Token, "token 77", true},
	{"revoked session", Session, "session 77", true},
	{"revoked key", SigningKey, "key 77", true},
	{"another kind", "client", "client 77", true},
}

func filled() *List {
	l := NewList(newClock().Now)
	for i := range 1000 {
		until := noon.Add(time.Hour)
		l.Add(Entry{Kind: Token, Value: fmt.Sprint("token ", i), Until: until}, Entry{Kind: Session, Value: fmt.Sprint("session ", i), Until: until},
			Entry{Kind: SigningKey, Value: fmt.Sprint("key ", i), Until: until}, Entry{Kind: "client", Value: fmt.Sprint("client ", i), Until: until})
	}
	return l
}

func TestLookUpAllocatesNothing(t *testing.T) { // not parallel: allocations of others would count
	l := filled()
	for _, c := range lookUps {
		if got := l.Revoked(c.kind, c.value); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
		if n := testing.AllocsPerRun(100, func() { l.Revoked(c.kind, c.value) }); n != 0 {
			t.Errorf("%s: %g allocations for each look-up", c.name, n)
		}
	}
}

func BenchmarkRevoked(b *testing.B) {
	l := filled()
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

// A list is a map from kind and value to the latest end, whatever is done to it
// in whatever order.
func TestListIsAMap(t *testing.T) {
	t.Parallel()
	type name struct {
		kind  Kind
		value string
	}
	rapid.Check(t, func(t *rapid.T) {
		k := newClock()
		l := NewList(k.Now)
		model := make(map[name]time.Time)
		names := rapid.Custom(func(t *rapid.T) name {
			return name{rapid.SampledFrom(kinds).Draw(t, "kind"), fmt.Sprint(rapid.IntRange(0, 60).Draw(t, "value"))}
		})
		second := func(t time.Time) time.Time { // as the list rounds
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
			"sweep": func(t *rapid.T) { l.sweep(rapid.IntRange(1, sweepPoll).Draw(t, "slots")) },
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
					t.Fatalf("%d entries held, %d are live of %d", l.Len(), live, len(model))
				}
				// The numbers that the table goes by are those of its slots.
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
						t.Fatalf("%d of %d slots are taken", used, len(table.slots))
					}
				}
				if used != l.used || held != l.live {
					t.Fatalf("%d slots taken and %d live, counted %d and %d", used, held, l.used, l.live)
				}
			},
		})
	})
}

// Whatever the name and the end, what was added is found until then, and no
// other kind of it.
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
		l.Add(Entry{Kind: Kind(kind), Value: value, Until: until})
		if got, want := l.Revoked(Kind(kind), value), life > 0; got != want {
			t.Fatalf("%q %q for %d s: got %v, want %v", kind, value, life, got, want)
		}
		if l.Revoked(Kind(kind+"x"), value) || l.Revoked(Kind(kind), value+"x") {
			t.Fatalf("%q %q: another is revoked with it", kind, value)
		}
		if life <= 0 || life > 1<<31 {
			return
		}
		k.advance(time.Duration(life-1) * time.Second)
		if !l.Revoked(Kind(kind), value) {
			t.Fatalf("%q %q for %d s: not found a second before", kind, value, life)
		}
		k.advance(time.Second)
		l.sweep(smallest)
		if l.Revoked(Kind(kind), value) || l.Len() != 0 || slots(l) != 0 {
			t.Fatalf("%q %q for %d s: held past the end", kind, value, life)
		}
	})
}

// A million revocations: what each costs, and a look-up among them, of revoked ones
// and of others.
func BenchmarkMillion(b *testing.B) {
	const many = 1_000_000
	until := time.Now().Add(time.Hour)
	name := func(i int) string { return fmt.Sprintf("0190a2c4-7d3e-7000-8000-%012x", i) }
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	asked := make([]string, 1<<16)
	for i := range asked {
		asked[i] = name(i * 31 % (2 * many)) // revoked and not
	}
	before := heap()
	l := NewList(nil)
	for i := range many {
		l.Add(Entry{Kind: Session, Value: name(i), Until: until})
	}
	octets := float64(heap()-before) / many
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		l.Revoked(Session, asked[i&(1<<16-1)])
	}
	b.ReportMetric(octets, "B/entry")
	runtime.KeepAlive(l)
}
