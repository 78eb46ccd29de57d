// Package revoked keeps revocations in memory: of access tokens, sessions and signing keys. Each
// request looks its token up without a query.
//
// The database table is authoritative. A [Follower] reads all of it before a node reports ready, and
// then polls it at least twice a second. Revocations by this node, and those that it receives by a
// push, enter the [List] at once.
//
// An entry is kept until the last token that it concerns has expired. The list has no size limit,
// because a dropped entry makes a revoked token valid again: it is as large as the number of
// sign-outs within the life of a token. A million entries take about 40 MB.
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

// Kind is the kind of the revoked object. Kinds that this program does not know are kept too.
type Kind string

// The kinds of entry, named as the claim or header parameter that they match.
const (
	Token      Kind = "jti" // one access token
	Session    Kind = "sid" // a session with all its tokens
	SigningKey Kind = "kid" // all tokens signed with a key
)

// Entry is one revocation.
type Entry struct {
	Seq   int64 // position in the feed
	Kind  Kind
	Value string
	At    time.Time // when it was revoked
	Until time.Time // the entry counts before this moment: all tokens it concerns expire earlier
}

// List is a set of revocations. It is safe for concurrent use. A look-up allocates nothing and reads
// no clock: an entry counts until the first change or poll after its end.
//
// Values are kept as 96 bits of a hash with random keys, so an attacker cannot produce collisions.
// With a million entries a look-up matches a wrong entry with a probability below 2^-75.
type List struct {
	now  func() time.Time
	high maphash.Seed
	low  maphash.Seed

	announced func([]Entry) // receives revocations by this node; nil: there is no other node
	wake      func()        // a follower's Wake, called after announced; nil: there is no follower

	shards [256]shard
	live   atomic.Int64 // entries in all shards
	clock  atomic.Int64 // Unix seconds at the last change or sweep

	mu     sync.Mutex // held by writers; guards the fields below
	next   int        // index of the shard that is swept next
	budget int        // entries that the sweep may examine
	swept  time.Time  // the latest clock by which an entry had ended and was swept
}

// shard holds the entries with one value of the low byte of key[0]. Its size is that of a cache line, so
// that look-ups on several cores seldom write to the same one.
type shard struct {
	mu   sync.RWMutex   // held for writing by writers, who hold List.mu too
	ends map[key]uint32 // end of each entry in Unix seconds; nil if empty
	_    [32]byte
}

// key is the hash of a kind and a value.
type key [3]uint32

const (
	sweepAdd  = 32   // entries examined for each entry added
	sweepPoll = 4096 // entries examined by each poll of a Follower
)

// NewList returns an empty list. A nil now means time.Now.
func NewList(now func() time.Time) *List {
	if now == nil {
		now = time.Now
	}
	return &List{now: now, high: maphash.MakeSeed(), low: maphash.MakeSeed()}
}

// Revoked reports whether value is revoked.
func (l *List) Revoked(k Kind, value string) bool {
	if l.live.Load() == 0 {
		return false
	}
	x := l.key(k, value)
	s := l.shard(x)
	s.mu.RLock()
	until := s.ends[x]
	s.mu.RUnlock()
	return l.clock.Load() < int64(until)
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

// Add adds entries. An entry that is already in the list gets the later of both ends; one that has
// ended is not added. Every look-up that begins after Add has returned sees the entries.
func (l *List) Add(entries ...Entry) { l.add(entries, nil) }

// OnAnnounce makes f receive the entries of each later [List.Announce]. It must be called before
// other goroutines use the list. f must not block.
func (l *List) OnAnnounce(f func([]Entry)) { l.announced = f }

// AddFresh adds entries and returns those that were not in the list, or were with an earlier end. It
// reuses the array of entries.
func (l *List) AddFresh(entries []Entry) []Entry { return l.add(entries, entries[:0]) }

// Announce adds revocations by this node, publishes them to the other nodes and wakes the follower.
func (l *List) Announce(entries ...Entry) {
	l.Add(entries...)
	if l.announced != nil && len(entries) > 0 {
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
		l.sweepSome(now, sweepAdd)
		until := seconds(e.Until)
		if before(now, until) && l.put(l.key(e.Kind, e.Value), until) && fresh != nil {
			fresh = append(fresh, e)
		}
	}
	return fresh
}

// Len returns the number of entries, including those that have ended and are not swept yet.
func (l *List) Len() int { return int(l.live.Load()) }

// takeSwept returns swept and resets it.
func (l *List) takeSwept() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	swept := l.swept
	l.swept = time.Time{}
	return swept
}

// sweep removes entries that have ended. It examines about n entries.
func (l *List) sweep(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweepSome(l.tick(), n)
}

// tick sets the clock of all look-ups to the present time and returns it. l.mu is held.
func (l *List) tick() time.Time {
	now := l.now()
	l.clock.Store(now.Unix())
	return now
}

// put stores an entry and reports whether it is new or ends later than before. l.mu is held.
func (l *List) put(x key, until uint32) bool {
	s := l.shard(x)
	held, found := s.ends[x]
	if until <= held {
		return false
	}
	s.mu.Lock()
	if s.ends == nil {
		s.ends = make(map[key]uint32)
	}
	s.ends[x] = until
	s.mu.Unlock()
	if !found {
		l.live.Add(1)
	}
	return true
}

// sweepSome sweeps shards, each as a whole, until it has examined about n entries. The rest of n is
// left for the next call. l.mu is held.
func (l *List) sweepSome(now time.Time, n int) {
	l.budget += n
	for range l.shards {
		s := &l.shards[l.next]
		cost := 1 + len(s.ends)
		if cost > l.budget {
			return
		}
		l.budget -= cost
		l.next = (l.next + 1) % len(l.shards)
		l.sweepShard(s, now)
	}
	l.budget = 0
}

// sweepShard removes the entries of a shard that have ended. It copies the others to a new map: a Go
// map keeps its memory when entries are deleted, and look-ups need not wait. l.mu is held.
func (l *List) sweepShard(s *shard, now time.Time) {
	ended := 0
	for _, until := range s.ends {
		if !before(now, until) {
			ended++
		}
	}
	if ended == 0 {
		return
	}
	var rest map[key]uint32
	if n := len(s.ends) - ended; n > 0 {
		rest = make(map[key]uint32, n)
		for x, until := range s.ends {
			if before(now, until) {
				rest[x] = until
			}
		}
	}
	s.mu.Lock()
	s.ends = rest
	s.mu.Unlock()
	l.live.Add(-int64(ended))
	if now.After(l.swept) {
		l.swept = now.Round(0)
	}
}

func (l *List) shard(x key) *shard { return &l.shards[x[0]%uint32(len(l.shards))] }

// key returns the hash of an entry. The kind is part of it, so a session and a token with the same
// value are two entries.
func (l *List) key(k Kind, value string) key {
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
	return key{uint32(h), uint32(h >> 32), uint32(maphash.String(l.low, value))}
}

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
