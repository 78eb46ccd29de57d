// Package revocation is what makes a token that nobody is asked about dead
// within a second: the list of what was revoked, in memory, and the follower
// that keeps it as the database has it.
package revocation

import (
	"sync"
	"sync/atomic"
	"time"
)

// Kind is what an entry names.
type Kind string

// What can be revoked.
const (
	Token      Kind = "jti" // one access token
	Session    Kind = "sid" // all tokens of a session
	SigningKey Kind = "kid" // all tokens a key signed
)

// Entry says that something is dead.
type Entry struct {
	Seq   int64 // number in the database
	Kind  Kind
	Value string
	At    time.Time
	Until time.Time // the last token that it could concern has ended
}

// List is the entries in memory. It is safe for concurrent use.
type List struct {
	now   func() time.Time
	count atomic.Int64 // of all shards, so that an empty list costs one load
	parts [parts]part
}

// parts is how many pieces the list is in, so that those who add never keep all
// who ask waiting.
const parts = 64

type part struct {
	mu    sync.RWMutex
	until map[key]int64 // seconds since 1970
	swept int64         // second of the last sweep
	_     [24]byte      // a cache line to itself
}

type key struct {
	kind  Kind
	value string
}

// NewList returns an empty list. now is the clock; nil is time.Now.
func NewList(now func() time.Time) *List {
	if now == nil {
		now = time.Now
	}
	return &List{now: now}
}

// Add takes entries in. One that is there already is kept for the longer time;
// one that concerns nothing any more is passed over.
func (l *List) Add(entries ...Entry) {
	now := l.now().Unix()
	for _, e := range entries {
		until := e.Until.Unix() + 1
		if until <= now {
			continue
		}
		p := l.part(e.Value)
		p.mu.Lock()
		if p.until == nil {
			p.until = make(map[key]int64)
		}
		k := key{e.Kind, e.Value}
		if old, ok := p.until[k]; !ok {
			p.until[k] = until
			l.count.Add(1)
		} else if until > old {
			p.until[k] = until
		}
		p.mu.Unlock()
	}
}

// Revoked reports whether value is on the list.
func (l *List) Revoked(k Kind, value string) bool {
	if l.count.Load() == 0 || value == "" {
		return false
	}
	p := l.part(value)
	p.mu.RLock()
	_, ok := p.until[key{k, value}]
	p.mu.RUnlock()
	return ok
}

// Len returns how many entries the list holds.
func (l *List) Len() int { return int(l.count.Load()) }

// Sweep forgets what concerns nothing any more. It looks at each part at most
// once a minute, so that it may be called often.
func (l *List) Sweep() {
	now := l.now().Unix()
	for i := range l.parts {
		p := &l.parts[i]
		p.mu.Lock()
		if now-p.swept >= 60 || now < p.swept {
			p.swept = now
			for k, until := range p.until {
				if until <= now {
					delete(p.until, k)
					l.count.Add(-1)
				}
			}
		}
		p.mu.Unlock()
	}
}

// clear forgets everything; the follower does it when the database is another.
func (l *List) clear() {
	for i := range l.parts {
		p := &l.parts[i]
		p.mu.Lock()
		l.count.Add(-int64(len(p.until)))
		clear(p.until)
		p.mu.Unlock()
	}
}

// part returns where a value stands (FNV-1a of its end: ids begin alike).
func (l *List) part(value string) *part {
	h := uint32(2166136261)
	for i := max(0, len(value)-8); i < len(value); i++ {
		h = (h ^ uint32(value[i])) * 16777619
	}
	return &l.parts[h%parts]
}
