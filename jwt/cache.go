package jwt

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durward-auth/durward"
)

// cache holds verified tokens by their SHA-256. It has a fixed maximum size, is empty until used,
// and has no goroutine. docs/adr/0001-verified-token-cache.md explains why it is not a library.
type cache struct {
	perShard int
	shards   [16]shard
}

type shard struct {
	mu sync.RWMutex
	m  map[[sha256.Size]byte]*entry // guarded by mu; nil until the first put
}

// entry is a verified token. It is immutable except for used.
type entry struct {
	key       *Key
	alg       string            // of the token: key may serve several
	principal durward.Principal // not returned to callers: see copy
	bound     *Confirmation     // nil if the token is not bound to a key
	issued    time.Time         // iat
	used      atomic.Int64      // Unix seconds of the last hit
}

func newCache(size int) *cache {
	c := new(cache)
	c.perShard = (size + len(c.shards) - 1) / len(c.shards)
	return c
}

func (c *cache) shard(sum [sha256.Size]byte) *shard { return &c.shards[sum[0]%uint8(len(c.shards))] }

// get returns the entry of a token, or nil. c may be nil.
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
	if at := now.Unix(); e.used.Load() != at { // usually no write, so no contention
		e.used.Store(at)
	}
}

// put adds e. If its shard is full, the least recently used of a few entries is dropped.
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
		for k, o := range s.m { // starts at a random entry
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

// drop removes a token.
func (c *cache) drop(sum [sha256.Size]byte) {
	if c == nil {
		return
	}
	s := c.shard(sum)
	s.mu.Lock()
	delete(s.m, sum)
	s.mu.Unlock()
}

// handout is a principal with the memory of its lists, so that a copy is one allocation.
type handout struct {
	p    durward.Principal
	list [6]string // the size that a principal with four scopes and a method needs
}

// copy returns a principal that shares no writable memory with the entry.
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
	h.p.Roles = clone(e.principal.Roles)
	h.p.AMR = clone(e.principal.AMR)
	return &h.p
}
