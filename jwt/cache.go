package jwt

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durward-auth/durward"
)

// cache remembers verified tokens by their SHA-256: who they speak for and by
// which key. It is bounded, empty until used, and has no goroutine.
//
// It is a map of our own, in shards, and not a library: nothing is ever read
// from it but by exact key, an entry's end is judged by who reads it, and a
// library's user pays for what the library links. Measured beside otter v2.4
// with 10,000 entries: a hit 25 ns against 66, and 1.5 MB less in the binary.
type cache struct {
	perShard int
	shards   [16]shard
}

type shard struct {
	mu sync.RWMutex
	m  map[[sha256.Size]byte]*entry // under mu; nil until the first put
}

// entry is a verified token. All but used is immutable.
type entry struct {
	key       *Key
	principal durward.Principal // never handed out: copy is
	bound     *Confirmation     // to a key of its sender, or nil
	issued    time.Time         // iat
	used      atomic.Int64      // seconds since 1970 of the last hit
}

func newCache(size int) *cache {
	c := new(cache)
	c.perShard = (size + len(c.shards) - 1) / len(c.shards)
	return c
}

func (c *cache) shard(sum [sha256.Size]byte) *shard { return &c.shards[sum[0]%uint8(len(c.shards))] }

// get returns the entry, or nil. A nil cache has none.
func (c *cache) get(sum [sha256.Size]byte, now time.Time) *entry {
	if c == nil {
		return nil
	}
	s := c.shard(sum)
	s.mu.RLock()
	e := s.m[sum]
	s.mu.RUnlock()
	if e != nil {
		e.touch(now)
	}
	return e
}

func (e *entry) touch(now time.Time) {
	if at := now.Unix(); e.used.Load() != at { // no write, no contention, most of the time
		e.used.Store(at)
	}
}

// put remembers e. Where its shard is full, the entry that has not been used the
// longest of a few makes room.
func (c *cache) put(sum [sha256.Size]byte, e *entry, now time.Time) {
	const few = 8
	if c == nil {
		return
	}
	e.used.Store(now.Unix())
	s := c.shard(sum)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m == nil {
		s.m = make(map[[sha256.Size]byte]*entry)
	}
	if _, ok := s.m[sum]; !ok && len(s.m) >= c.perShard {
		var victim [sha256.Size]byte
		var oldest *entry
		n := 0
		for k, o := range s.m { // begins at a random place
			if oldest == nil || o.used.Load() < oldest.used.Load() || o.principal.Expires.Before(now) {
				victim, oldest = k, o
			}
			if n++; n == few || o.principal.Expires.Before(now) {
				break
			}
		}
		delete(s.m, victim)
	}
	s.m[sum] = e
}

// drop forgets a token.
func (c *cache) drop(sum [sha256.Size]byte) {
	if c == nil {
		return
	}
	s := c.shard(sum)
	s.mu.Lock()
	delete(s.m, sum)
	s.mu.Unlock()
}

// handout is a principal with room for its lists, so that a copy is one
// allocation.
type handout struct {
	p    durward.Principal
	list [8]string
}

// copy returns a principal that shares no memory with the entry that could be
// written to.
func (e *entry) copy() *durward.Principal {
	h := &handout{p: e.principal}
	room := h.list[:0:len(h.list)]
	clone := func(from []string) []string {
		if len(from) == 0 {
			return nil
		}
		if len(from) > cap(room)-len(room) {
			return append(make([]string, 0, len(from)), from...)
		}
		at := len(room)
		room = append(room, from...)
		return room[at:len(room):len(room)]
	}
	h.p.Scopes = clone(e.principal.Scopes)
	h.p.AMR = clone(e.principal.AMR)
	return &h.p
}
