// Package revoked keeps revocations in memory: of access tokens, sessions and signing keys. Each
// request looks its token up without a query.
//
// The database table is authoritative. A [Follower] reads all of it before a node reports ready, and
// then polls it at least twice a second. Revocations by this node, and those that it receives by a
// push, enter the [List] at once.
//
// An entry is kept until the last token that it concerns has expired. The list has no size limit,
// because a dropped entry makes a revoked token valid again: it is as large as the number of
// sign-outs within the life of a token. A million entries take about 34 MB.
package revoked

import (
	"fmt"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/clock"
)

// The kinds of entry, named as the claim or header parameter that they match.
const (
	Token      = "jti" // one access token
	Session    = "sid" // a session with all its tokens
	SigningKey = "kid" // all tokens signed with a key
)

// Entry is one revocation.
type Entry struct {
	Seq   int64  // position in the feed
	Kind  string // kinds that this program does not know are kept too
	Value string
	At    time.Time // when it was revoked
	Until time.Time // the entry counts before this moment: all tokens it concerns expire earlier
}

// List is a set of revocations. It is safe for concurrent use. A look-up takes no lock, allocates
// nothing and reads no clock: an entry counts until the first change or poll after its end.
//
// Values are kept as 96 bits of a hash with random keys, so an attacker cannot produce collisions.
// With a million entries a look-up matches a wrong entry with a probability below 2^-75.
type List struct {
	now  func() time.Time
	high maphash.Seed
	low  maphash.Seed

	announced func([]Entry) // receives revocations by this node; nil: there is no other node
	wake      func()        // a follower's Wake, called after announced; nil: there is no follower

	table atomic.Pointer[table] // nil while the list is empty
	clock atomic.Int64          // Unix seconds at the last change or sweep

	mu     sync.Mutex // held by writers; guards the fields below and the slots
	live   int        // entries in the table
	used   int        // slots that are not empty: entries and tombstones
	cursor int        // index of the slot that is swept next
}

// table is an open-addressed hash table with linear probing. Look-ups read it while one writer
// changes it. Therefore a used slot never becomes empty again: a swept entry leaves a tombstone,
// which a later entry may replace. A new table has no tombstones.
type table struct {
	slots []slot // their number is a power of two; some are always empty
}

// slot is empty while high is 0, and a tombstone while rest is 0. The writer stores high before
// rest, so a look-up between the two stores finds a slot that matches nothing.
type slot struct {
	high atomic.Uint64 // 64 bits of the hash
	rest atomic.Uint64 // 32 more bits, then the end in Unix seconds: both are read in one load
}

const (
	smallest  = 16   // slots of the smallest table
	sweepAdd  = 32   // slots examined for each entry added
	sweepPoll = 4096 // slots examined by each poll of a Follower
)

// settle is the time after which a list takes over a clock that jumped; see clock.Clock.
const settle = 26 * time.Hour

// NewList returns an empty list. The time of now must not run faster than the process, as that of a
// clock.Clock, so that no entry ends early. A nil now means a clock.Clock over time.Now.
func NewList(now func() time.Time) *List {
	if now == nil {
		now = clock.New(time.Now, time.Now, settle, clock.State{}).Now
	}
	return &List{now: now, high: maphash.MakeSeed(), low: maphash.MakeSeed()}
}

// Revoked reports whether value is revoked.
func (l *List) Revoked(kind, value string) bool {
	t := l.table.Load()
	if t == nil {
		return false
	}
	high := l.hashHigh(kind, value)
	mask := uint64(len(t.slots) - 1)
	for i := high & mask; ; i = (i + 1) & mask {
		s := &t.slots[i]
		switch s.high.Load() {
		case 0:
			return false
		case high:
			// Only a value that is probably revoked costs the second hash.
			rest := s.rest.Load()
			if uint32(rest>>32) == l.hashLow(value) && l.clock.Load() < int64(uint32(rest)) {
				return true
			}
		}
	}
}

// Check returns an error that wraps durward.TokenRevoked if the access token of p, its session or
// its signing key keyID is revoked.
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

// Add adds entries. An entry that is already in the list gets the later of both ends. One that has
// ended counts for its whole life from now on, because the sender's clock may be the right one. Every
// look-up that begins after Add has returned sees the entries.
func (l *List) Add(entries ...Entry) { l.add(entries, nil) }

// OnAnnounce makes f receive the entries of each later [List.Announce]. It must be called before
// other goroutines use the list. f must not block.
func (l *List) OnAnnounce(f func([]Entry)) { l.announced = f }

// AddFresh adds entries and returns those that were not in the list, or were with an earlier end. It
// reuses the array of entries.
func (l *List) AddFresh(entries []Entry) []Entry { return l.add(entries, entries[:0]) }

// Announce adds revocations by this node, publishes them to the other nodes and wakes the follower.
func (l *List) Announce(entries ...Entry) {
	if len(entries) == 0 {
		return
	}
	l.Add(entries...)
	if l.announced != nil {
		l.announced(entries)
	}
	if l.wake != nil {
		l.wake() // clients of this node's feed receive them now
	}
}

// add is Add. If fresh is not nil it appends the entries that AddFresh returns; fresh may share its
// array with entries.
func (l *List) add(entries, fresh []Entry) []Entry {
	if len(entries) == 0 {
		return fresh
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.tick()
	for _, e := range entries {
		l.sweepSlots(now, sweepAdd)
		until := seconds(e.Until)
		if !before(now, until) && !e.At.IsZero() {
			until = seconds(now.Add(e.Until.Sub(e.At)))
		}
		if before(now, until) && l.put(l.hashHigh(e.Kind, e.Value), l.hashLow(e.Value), until) && fresh != nil {
			fresh = append(fresh, e)
		}
	}
	return fresh
}

// Len returns the number of entries, including those that have ended and are not swept yet.
func (l *List) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.live
}

// sweep removes entries that have ended. It examines up to n slots.
func (l *List) sweep(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweepSlots(l.tick(), n)
}

// tick sets the clock of all look-ups to the present time and returns it. l.mu is held.
func (l *List) tick() time.Time {
	now := l.now()
	l.clock.Store(now.Unix())
	return now
}

// put stores an entry and reports whether it is new or ends later than before. l.mu is held.
func (l *List) put(high uint64, low, until uint32) bool {
	t := l.table.Load()
	if t == nil || 4*(l.used+1) > 3*len(t.slots) {
		t = l.rebuild(l.live + 1)
	}
	rest := uint64(low)<<32 | uint64(until)
	mask := uint64(len(t.slots) - 1)
	var free *slot // the first tombstone on the way, or the empty slot at its end
	for i := high & mask; ; i = (i + 1) & mask {
		s := &t.slots[i]
		switch held := s.rest.Load(); {
		case s.high.Load() == 0:
			if free == nil {
				free = s
				l.used++
			}
			free.high.Store(high) // before rest: see slot
			free.rest.Store(rest)
			l.live++
			return true
		case held == 0:
			if free == nil {
				free = s
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

// rebuild moves the entries to a new table with room for n entries and as many again. Look-ups
// continue with the old table meanwhile. l.mu is held.
func (l *List) rebuild(n int) *table {
	size := smallest
	for 8*n > 5*size {
		size *= 2
	}
	t := &table{slots: make([]slot, size)}
	mask := uint64(size - 1)
	if old := l.table.Load(); old != nil {
		for i := range old.slots {
			high, rest := old.slots[i].high.Load(), old.slots[i].rest.Load()
			if rest == 0 {
				continue
			}
			j := high & mask
			for t.slots[j].high.Load() != 0 {
				j = (j + 1) & mask
			}
			t.slots[j].high.Store(high)
			t.slots[j].rest.Store(rest)
		}
	}
	l.used, l.cursor = l.live, 0
	l.table.Store(t)
	return t
}

// sweepSlots examines n slots, starting where the last call ended. l.mu is held.
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

// hashHigh returns the hash that selects the slot; it is never 0. The kind is part of it, so a
// session and a token with the same value are two entries.
func (l *List) hashHigh(kind, value string) uint64 {
	h := maphash.String(l.high, value)
	switch kind {
	case Token:
	case Session:
		h ^= 0x9e3779b97f4a7c15
	case SigningKey:
		h ^= 0xc2b2ae3d27d4eb4f
	default:
		h ^= maphash.String(l.low, kind)
	}
	return max(h, 1) // 0 is the empty slot
}

func (l *List) hashLow(value string) uint32 { return uint32(maphash.String(l.low, value)) }

// seconds converts a time to Unix seconds, rounded up so that no entry ends early. Times outside the
// range become its ends.
func seconds(t time.Time) uint32 {
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	return uint32(min(max(s, 0), math.MaxUint32))
}

// before reports whether now is before a time in Unix seconds.
func before(now time.Time, until uint32) bool { return now.Unix() < int64(until) }
