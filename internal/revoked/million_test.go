package revoked

import (
	"fmt"
	"hash/maphash"
	"maps"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// set is a set of revocations: a List, or an alternative to it that BenchmarkMillion compares.
type set interface {
	Add(...Entry)
	Revoked(Kind, string) bool
}

// generations is a map behind an atomic pointer, read without a lock. Each addition copies the small
// map of new entries; when that is full, it copies the large one.
type generations struct {
	keys  *List
	mu    sync.Mutex
	state atomic.Pointer[[2]map[key]uint32]
}

func newGenerations() *generations {
	g := &generations{keys: NewList(nil)}
	g.state.Store(new([2]map[key]uint32))
	return g
}

func (g *generations) Add(entries ...Entry) {
	g.mu.Lock()
	defer g.mu.Unlock()
	state := *g.state.Load()
	if len(entries) > 1 || len(state[1]) >= 1000 {
		large := make(map[key]uint32, len(state[0])+len(state[1])+len(entries))
		maps.Copy(large, state[0])
		maps.Copy(large, state[1])
		state = [2]map[key]uint32{large, {}}
		for _, e := range entries {
			large[g.keys.key(e.Kind, e.Value)] = seconds(e.Until)
		}
	} else {
		state[1] = maps.Clone(state[1])
		if state[1] == nil {
			state[1] = make(map[key]uint32)
		}
		state[1][g.keys.key(entries[0].Kind, entries[0].Value)] = seconds(entries[0].Until)
	}
	g.keys.tick()
	g.state.Store(&state)
}

func (g *generations) Revoked(k Kind, value string) bool {
	x, state := g.keys.key(k, value), g.state.Load()
	return g.keys.clock.Load() < int64(max(state[0][x], state[1][x]))
}

// table is an open-addressed hash table without locks for look-ups: 64 bits of the hash, then 32 more
// beside the end. It was the List before the shards; sweeping is left out here.
type table struct {
	high, low maphash.Seed
	clock     atomic.Int64
	slots     atomic.Pointer[[]slot]

	mu   sync.Mutex
	used int
}

type slot struct{ high, rest atomic.Uint64 }

func newTable() *table {
	t := &table{high: maphash.MakeSeed(), low: maphash.MakeSeed()}
	slots := make([]slot, 16)
	t.slots.Store(&slots)
	return t
}

func (t *table) Add(entries ...Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range entries {
		slots := *t.slots.Load()
		if 4*(t.used+1) > 3*len(slots) {
			larger := make([]slot, 2*len(slots))
			for i := range slots {
				put(larger, slots[i].high.Load(), slots[i].rest.Load())
			}
			t.slots.Store(&larger)
			slots = larger
		}
		high := max(maphash.String(t.high, e.Value)^uint64(e.Kind[0]), 1)
		if put(slots, high, uint64(uint32(maphash.String(t.low, e.Value)))<<32|uint64(seconds(e.Until))) {
			t.used++
		}
	}
	t.clock.Store(time.Now().Unix())
}

func put(slots []slot, high, rest uint64) (isNew bool) {
	if high == 0 {
		return false
	}
	i := high % uint64(len(slots))
	for held := slots[i].high.Load(); held != 0; held = slots[i].high.Load() {
		if held == high && slots[i].rest.Load()>>32 == rest>>32 {
			slots[i].rest.Store(rest)
			return false
		}
		i = (i + 1) % uint64(len(slots))
	}
	slots[i].high.Store(high)
	slots[i].rest.Store(rest)
	return true
}

func (t *table) Revoked(k Kind, value string) bool {
	slots := *t.slots.Load()
	high := max(maphash.String(t.high, value)^uint64(k[0]), 1)
	for i := high & uint64(len(slots)-1); ; i = (i + 1) & uint64(len(slots)-1) {
		switch slots[i].high.Load() {
		case 0:
			return false
		case high:
			rest := slots[i].rest.Load()
			if uint32(rest>>32) == uint32(maphash.String(t.low, value)) && t.clock.Load() < int64(uint32(rest)) {
				return true
			}
		}
	}
}

// BenchmarkMillion measures the List and its alternatives with a million entries: the memory of an
// entry, look-ups with and without additions by another goroutine, and additions.
func BenchmarkMillion(b *testing.B) {
	const many, asked = 1_000_000, 1 << 16
	until := time.Now().Add(24 * time.Hour)
	var live, revoked [asked]string
	for i := range asked {
		live[i], revoked[i] = uuid(many+31*i), uuid(31*i%many)
	}
	for _, c := range []struct {
		name string
		make func() set
	}{
		{"shards", func() set { return NewList(nil) }},
		{"generations", func() set { return newGenerations() }},
		{"lock-free table", func() set { return newTable() }},
	} {
		b.Run(c.name, func(b *testing.B) {
			before := heap()
			s := c.make()
			entries := make([]Entry, 0, 10_000)
			for i := range many {
				if entries = append(entries, Entry{Kind: Session, Value: uuid(i), Until: until}); len(entries) == cap(entries) {
					s.Add(entries...)
					entries = entries[:0]
				}
			}
			entries = nil
			bytes := float64(heap()-before) / many
			lookUp := func(values *[asked]string, want bool) func(*testing.B) {
				return func(b *testing.B) {
					b.ReportAllocs()
					for i := 0; b.Loop(); i++ {
						if got := s.Revoked(Session, values[i%asked]); got != want {
							b.Fatalf("%s: got %v, want %v", values[i%asked], got, want)
						}
					}
					b.ReportMetric(bytes, "B/entry")
				}
			}
			b.Run("live", lookUp(&live, false))
			b.Run("revoked", lookUp(&revoked, true))
			b.Run("live during additions", func(b *testing.B) {
				stop, done := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(done)
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						default:
							s.Add(Entry{Kind: Session, Value: revoked[i%asked], Until: until.Add(time.Duration(i/asked) * time.Second)})
						}
					}
				}()
				lookUp(&live, false)(b)
				close(stop)
				<-done
			})
			b.Run("add", func(b *testing.B) {
				for i := 0; b.Loop(); i++ {
					s.Add(Entry{Kind: Token, Value: fmt.Sprint(i), Until: until})
				}
			})
			runtime.KeepAlive(s)
		})
	}
}
