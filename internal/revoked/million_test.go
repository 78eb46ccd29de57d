package revoked

import (
	"fmt"
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
	Revoked(string, string) bool
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
			large[keyOf(g.keys, e.Kind, e.Value)] = seconds(e.Until)
		}
	} else {
		state[1] = maps.Clone(state[1])
		if state[1] == nil {
			state[1] = make(map[key]uint32)
		}
		state[1][keyOf(g.keys, entries[0].Kind, entries[0].Value)] = seconds(entries[0].Until)
	}
	g.keys.tick()
	g.state.Store(&state)
}

func (g *generations) Revoked(k, value string) bool {
	x, state := keyOf(g.keys, k, value), g.state.Load()
	return g.keys.clock.Load() < int64(max(state[0][x], state[1][x]))
}

// shards is a set of maps, each under a read-write lock. Sweeping is left out.
type shards struct {
	keys *List
	maps [256]struct {
		mu   sync.RWMutex
		ends map[key]uint32
		_    [32]byte // one cache line each
	}
}

func newShards() *shards {
	s := &shards{keys: NewList(nil)}
	for i := range s.maps {
		s.maps[i].ends = make(map[key]uint32)
	}
	return s
}

func (s *shards) Add(entries ...Entry) {
	for _, e := range entries {
		x := keyOf(s.keys, e.Kind, e.Value)
		m := &s.maps[x[0]%uint32(len(s.maps))]
		m.mu.Lock()
		m.ends[x] = seconds(e.Until)
		m.mu.Unlock()
	}
	s.keys.tick()
}

func (s *shards) Revoked(k, value string) bool {
	x := keyOf(s.keys, k, value)
	m := &s.maps[x[0]%uint32(len(s.maps))]
	m.mu.RLock()
	until := m.ends[x]
	m.mu.RUnlock()
	return s.keys.clock.Load() < int64(until)
}

// key is the hash of a kind and a value.
type key [3]uint32

func keyOf(l *List, k, value string) key {
	high := l.hashHigh(k, value)
	return key{uint32(high), uint32(high >> 32), l.hashLow(value)}
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
		{"List", func() set { return NewList(nil) }},
		{"shards", func() set { return newShards() }},
		{"generations", func() set { return newGenerations() }},
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
