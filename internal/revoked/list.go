// Package revoked holds in memory what was revoked before its end: single
// access tokens, sessions, signing keys. A token is looked up at each request
// without asking anybody.
//
// The truth is a table of the database; a [Follower] reads it in full before a
// node says that it is ready, and from then on twice a second and more. What a
// node revokes itself, or hears of by a push, goes into its [List] at once.
//
// An entry lives until the last token that it could concern has ended. The list
// has no limit: to forget an entry is to let a revoked token live, so its size is
// what people sign out of within the life of a token. At 32 bytes or so each, a
// million cost less than a hundred megabytes.
package revoked

import (
	"fmt"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durward-auth/durward"
)

// Kind is what is revoked. Kinds that this program does not know are kept like
// those that it knows.
type Kind string

// The kinds of entry, named as the claim or header parameter that they match.
const (
	Token      Kind = "jti" // one access token
	Session    Kind = "sid" // a session with all its tokens
	SigningKey Kind = "kid" // all tokens signed with a key
)

// Entry is one revocation.
type Entry struct {
	Seq   int64 // place in the feed
	Kind  Kind
	Value string
	At    time.Time // when it was revoked
	Until time.Time // when nothing is left that it concerns; it counts before this moment
}

// List is the set of what is revoked. It is safe for concurrent use; look-ups
// take no lock, allocate nothing and ask no clock: an entry counts until the first
// change or poll after its end.
//
// Values are kept as 96 bits of a hash under keys drawn at start, which nobody
// outside can aim at. With a million entries the chance that a look-up takes one
// value for another is below 2^-75.
type List struct {
	now  func() time.Time
	high maphash.Seed
	low  maphash.Seed

	announced func([]Entry)         // receives what this node revokes; nil: there is no other node
	wake      func()                // a follower's Wake, called after announced; nil: there is no follower
	table     atomic.Pointer[table] // nil while the list is empty
	clock     atomic.Int64          // Unix seconds, as of the last change or sweep

	mu     sync.Mutex // held by whoever writes: the fields below, and slots
	live   int        // entries held
	used   int        // slots that were ever taken: entries and graves
	cursor int        // the slot that the sweep looks at next
	swept  time.Time  // the latest clock by which an entry had ended and was swept
}

// table is an open-addressed hash table with linear probing. Readers walk it
// while one writer changes it, so a slot, once taken, is never empty again: an
// entry that is swept leaves a grave, which a later entry may take. Graves go
// when the table is built anew.
type table struct {
	slots []slot // a power of two, never full
}

// slot is empty while high is 0, a grave while rest is 0. The second word holds
// both what tells the entry from others and its end, so that they are read as
// one. A writer stores high before rest: between the two, a reader sees a slot
// that matches nothing.
type slot struct {
	high atomic.Uint64 // 64 bits of the hash
	rest atomic.Uint64 // 32 more, then the end in seconds of Unix time
}

const (
	smallest  = 16   // slots of the smallest table
	sweepAdd  = 32   // slots looked at for each entry added
	sweepPoll = 4096 // slots looked at by each poll of a Follower
)

// NewList returns an empty list. now is time.Now where it is nil.
func NewList(now func() time.Time) *List {
	if now == nil {
		now = time.Now
	}
	return &List{now: now, high: maphash.MakeSeed(), low: maphash.MakeSeed()}
}

// Revoked says whether value is revoked.
func (l *List) Revoked(k Kind, value string) bool {
	t := l.table.Load()
	if t == nil {
		return false
	}
	high := l.hashHigh(k, value)
	mask := uint64(len(t.slots) - 1)
	for i := high & mask; ; i = (i + 1) & mask {
		s := &t.slots[i]
		switch s.high.Load() {
		case 0:
			return false
		case high:
			// Only what is probably revoked costs the second hash.
			rest := s.rest.Load()
			if uint32(rest>>32) == l.hashLow(value) && l.clock.Load() < int64(uint32(rest)) {
				return true
			}
		}
	}
}

// Check says whether an access token was revoked, with its session or its signing key
// or alone: nil, or an error that wraps durward.TokenRevoked. p is who the token
// speaks for, keyID its kid.
func (l *List) Check(p *durward.Principal, keyID string) error {
	switch {
	case l.Revoked(Session, p.SessionID):
		return fmt.Errorf("session %s was ended: %w", p.SessionID, durward.TokenRevoked)
	case l.Revoked(Token, p.TokenID):
		return fmt.Errorf("token %s was revoked: %w", p.TokenID, durward.TokenRevoked)
	case l.Revoked(SigningKey, keyID):
		return fmt.Errorf("signing key %s was withdrawn: %w", keyID, durward.TokenRevoked)
	}
	return nil
}

// Add adds entries. One that is held already keeps the later of both ends; one
// that has ended is passed over. What is added is seen by every look-up that
// begins after Add has returned.
func (l *List) Add(entries ...Entry) { l.add(entries, nil) }

// OnAnnounce makes f receive the entries of each later [List.Announce]. Call it before
// the list is used by more than one goroutine. f must not block.
func (l *List) OnAnnounce(f func([]Entry)) { l.announced = f }

// AddFresh adds entries and returns those that the list did not hold yet, or held with
// an earlier end. It reuses the array of entries.
func (l *List) AddFresh(entries []Entry) []Entry { return l.add(entries, entries[:0]) }

// Announce adds what this node has revoked itself, and tells the other nodes, where
// there is a way to.
func (l *List) Announce(entries ...Entry) {
	l.Add(entries...)
	if l.announced != nil && len(entries) > 0 {
		l.announced(entries)
	}
	if l.wake != nil {
		l.wake() // who follows this node's feed hears of it now
	}
}

// add is Add. It appends to fresh, if that is not nil, what was not held yet or not
// for as long; fresh may be the beginning of entries.
func (l *List) add(entries, fresh []Entry) []Entry {
	if len(entries) == 0 {
		return fresh
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.look()
	for _, e := range entries {
		l.sweepSlots(now, sweepAdd)
		until := seconds(e.Until)
		if before(now, until) && l.put(l.hashHigh(e.Kind, e.Value), l.hashLow(e.Value), until) && fresh != nil {
			fresh = append(fresh, e)
		}
	}
	return fresh
}

// Len returns how many entries are held. Those that have ended are among them
// until they are swept.
func (l *List) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.live
}

// takeSwept returns swept, and begins it anew.
func (l *List) takeSwept() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	swept := l.swept
	l.swept = time.Time{}
	return swept
}

// sweep takes out entries that have ended, looking at up to n slots.
func (l *List) sweep(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweepSlots(l.look(), n)
}

// look is the time, from now on for all. l.mu is held.
func (l *List) look() time.Time {
	now := l.now()
	l.clock.Store(now.Unix())
	return now
}

// put holds one entry and reports whether that is news. l.mu is held.
func (l *List) put(high uint64, low, until uint32) bool {
	t := l.table.Load()
	if t == nil || 4*(l.used+1) > 3*len(t.slots) {
		t = l.rebuild(l.live + 1)
	}
	rest := uint64(low)<<32 | uint64(until)
	mask := uint64(len(t.slots) - 1)
	var grave *slot
	for i := high & mask; ; i = (i + 1) & mask {
		s := &t.slots[i]
		switch held := s.rest.Load(); {
		case s.high.Load() == 0:
			if grave == nil {
				grave = s
				l.used++
			}
			grave.high.Store(high) // before rest: see slot
			grave.rest.Store(rest)
			l.live++
			return true
		case held == 0:
			if grave == nil {
				grave = s
			}
		case s.high.Load() == high && uint32(held>>32) == low:
			if until <= uint32(held) {
				return false
			}
			s.rest.Store(rest)
			return true
		}
	}
}

// rebuild moves the live entries to a fresh table with room for n and as many
// again. Readers go on with the old one meanwhile. l.mu is held.
func (l *List) rebuild(n int) *table {
	size := smallest
	for 8*n > 5*size {
		size *= 2
	}
	fresh := &table{slots: make([]slot, size)}
	mask := uint64(size - 1)
	if old := l.table.Load(); old != nil {
		for i := range old.slots {
			high, rest := old.slots[i].high.Load(), old.slots[i].rest.Load()
			if rest == 0 {
				continue
			}
			j := high & mask
			for fresh.slots[j].high.Load() != 0 {
				j = (j + 1) & mask
			}
			fresh.slots[j].high.Store(high)
			fresh.slots[j].rest.Store(rest)
		}
	}
	l.used, l.cursor = l.live, 0
	l.table.Store(fresh)
	return fresh
}

// sweepSlots looks at n slots from where the last call ended. l.mu is held.
func (l *List) sweepSlots(now time.Time, n int) {
	t := l.table.Load()
	if t == nil {
		return
	}
	for range min(n, len(t.slots)) {
		s := &t.slots[l.cursor]
		l.cursor = (l.cursor + 1) & (len(t.slots) - 1)
		if rest := s.rest.Load(); rest != 0 && !before(now, uint32(rest)) {
			s.rest.Store(0)
			l.live--
			if now.After(l.swept) {
				l.swept = now.Round(0)
			}
		}
	}
	switch {
	case l.live == 0:
		l.table.Store(nil)
		l.used, l.cursor = 0, 0
	case len(t.slots) > smallest && 8*l.live < len(t.slots):
		l.rebuild(l.live)
	}
}

// hashHigh decides the slot. The kind is part of it, so that a session and a
// token of the same name are two.
func (l *List) hashHigh(k Kind, value string) uint64 {
	h := maphash.String(l.high, value)
	switch k {
	case Token:
	case Session:
		h ^= 0x9e3779b97f4a7c15
	case SigningKey:
		h ^= 0xc2b2ae3d27d4eb4f
	default:
		h ^= maphash.String(l.low, string(k))
	}
	return max(h, 1) // 0 is the empty slot
}

func (l *List) hashLow(value string) uint32 { return uint32(maphash.String(l.low, value)) }

// seconds is a moment as a slot keeps it, rounded up so that no entry ends
// early. What lies beyond its range is its last moment.
func seconds(t time.Time) uint32 {
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	return uint32(min(max(s, 0), math.MaxUint32))
}

// before says whether now lies before a moment that a slot keeps.
func before(now time.Time, until uint32) bool { return now.Unix() < int64(until) }
