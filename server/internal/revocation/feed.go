package revocation

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/server/internal/store"
)

// Bounds of a Feed.
const (
	maxWaiting = 20_000          // waiting requests; further ones are answered at once
	pageSize   = 5_000           // settled entries in a page, and rows read at once
	entryKept  = 5 * time.Minute // how long a settled entry stays in memory
	maxEntries = 100_000         // settled entries in memory
	maxReads   = 4               // pages that are read from the database at the same time
)

// Feed holds the revocations that this node has read lately, for the clients of
// GET /api/revocations. The node's follower fills it with each Poll, so a waiting client causes
// no database query.
//
// A number is taken when an entry is written and becomes visible when its transaction commits,
// so a lower number can appear after a higher one. Entries behind a gap in the numbers are not
// settled until no transaction can fill the gap any more. Page.Next is the last settled number:
// a client that continues from there receives every entry, late or not, and receives the
// entries behind a gap again as long as the gap exists.
//
// It is safe for concurrent use.
type Feed struct {
	db      *store.DB
	now     func() time.Time
	reads   chan struct{} // semaphore of maxReads
	waiting atomic.Int64
	closed  chan struct{}
	once    sync.Once

	mu      sync.Mutex
	loaded  bool
	epoch   string
	base    int64       // all entries up to this number are settled and not in entries
	entries []seenEntry // by number
	settled int64       // last settled number, at least base
	asOf    time.Time   // start of the last poll
	etag    string      // version of the entries that are not settled
	changed chan struct{}
}

// seenEntry is an entry and the time at which this node first read it, by a clock that does not jump.
type seenEntry struct {
	revoked.Entry
	seen time.Time
}

// NewFeed returns a feed of db. It is empty until the first Poll.
func NewFeed(db *store.DB, now func() time.Time) *Feed {
	return &Feed{
		db:      db,
		now:     now,
		reads:   make(chan struct{}, maxReads),
		closed:  make(chan struct{}),
		changed: make(chan struct{}),
	}
}

// Poll reads the database, as revoked.FollowerConfig.Poll requires.
func (f *Feed) Poll(ctx context.Context, after int64, overlap time.Duration, take func([]revoked.Entry)) (epoch string, err error) {
	began, local, settled := f.now(), f.db.Local(), f.db.TokenTime().Add(-revoked.LateCommit)
	var recent []revoked.Entry // all but the first settled ones, up to the number base
	var base int64
	if after > 0 {
		recent, err = f.db.Revocations(ctx, after, began.Add(-overlap))
	} else {
		err = f.Each(ctx, func(page []revoked.Entry) error {
			for recent = append(recent, page...); len(recent) > 0 && recent[0].At.Before(settled); recent = recent[1:] {
				base = recent[0].Seq
			}
			recent = slices.Clone(recent)
			take(page)
			return nil
		})
	}
	if err != nil {
		return "", err
	}
	epoch = f.db.Epoch()
	f.take(recent, epoch, after == 0, base, began, local)
	if after > 0 {
		take(recent)
	}
	return epoch, nil
}

// Each reads the whole list and calls use with each page of it, which use may overwrite. Each query
// is short. The overlap of the next poll finds an entry that commits late before a page that was already
// read.
func (f *Feed) Each(ctx context.Context, use func([]revoked.Entry) error) error {
	for after := int64(0); ; {
		page, err := f.db.RevocationsAfter(ctx, after, pageSize)
		if err != nil || len(page) == 0 {
			return err
		}
		after = page[len(page)-1].Seq
		if err := use(page); err != nil {
			return err
		}
	}
}

// take merges the entries of a poll that started at began, or at local by a clock that does not jump.
// They are in order of their numbers. whole means that they are the whole list after base, and that
// the entries up to base are settled.
func (f *Feed) take(entries []revoked.Entry, epoch string, whole bool, base int64, began, local time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fresh := false
	if epoch != f.epoch || !f.loaded {
		if !whole {
			return // the follower reads the whole list of the new epoch next
		}
		f.epoch, f.loaded, f.base, f.settled, f.entries, fresh = epoch, true, base, base, nil, true
	}
	for _, e := range entries {
		if e.Seq <= f.base {
			continue
		}
		i, found := slices.BinarySearchFunc(f.entries, e.Seq, bySeq)
		if !found {
			f.entries = slices.Insert(f.entries, i, seenEntry{e, local})
			fresh = true
		}
	}
	f.asOf = began
	first, _ := slices.BinarySearchFunc(f.entries, f.settled+1, bySeq)
	for _, e := range f.entries[first:] {
		if e.Seq != f.settled+1 && local.Sub(e.seen) < revoked.LateCommit {
			break
		}
		f.settled = e.Seq
	}
	drop := 0
	for drop < len(f.entries) && f.entries[drop].Seq <= f.settled &&
		(len(f.entries)-drop > maxEntries || local.Sub(f.entries[drop].seen) > entryKept) {
		f.base = f.entries[drop].Seq
		drop++
	}
	f.entries = slices.Delete(f.entries, 0, drop)
	f.etag = f.version(f.settled)
	if fresh {
		close(f.changed)
		f.changed = make(chan struct{})
	}
}

func bySeq(e seenEntry, seq int64) int { return int(max(min(e.Seq-seq, 1), -1)) }

// version returns an ETag of the epoch and of the numbers after seq. f.mu is held.
func (f *Feed) version(seq int64) string {
	h := sha256.New()
	h.Write([]byte(f.epoch))
	first, _ := slices.BinarySearchFunc(f.entries, seq+1, bySeq)
	for _, e := range f.entries[first:] {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(e.Seq)))
	}
	return `"` + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:12]) + `"`
}

// Page holds the entries after one number at one moment.
type Page struct {
	Epoch   string
	Next    int64 // continue after this number
	More    bool  // there are further entries after Next
	Entries []revoked.Entry

	AsOf     time.Time // the page is complete as of this time
	ETag     string    // version of the entries after Next; empty if More
	Version  string    // version of the entries after the number that was asked for
	InMemory bool      // no query was needed; else Version is not compared
	Waited   bool      // the credentials of the request were checked a while ago
	Closing  bool      // the wait ended because the server stops

	changed <-chan struct{} // closed at the next change
}

// after returns the page after a number; if it is not in memory, without entries. Unsettled
// entries are never cut: a client that continued after a part of them would miss an entry that
// commits late before that point.
func (f *Feed) after(seq int64) Page {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := Page{
		Epoch:    f.epoch,
		Next:     f.settled,
		AsOf:     f.asOf,
		ETag:     f.etag,
		Version:  f.etag,
		InMemory: f.loaded && seq >= f.base,
		changed:  f.changed,
	}
	if !p.InMemory {
		return p
	}
	if seq != f.settled {
		p.Version = f.version(seq)
	}
	first, _ := slices.BinarySearchFunc(f.entries, seq+1, bySeq)
	rest := f.entries[first:]
	settled, _ := slices.BinarySearchFunc(rest, f.settled+1, bySeq)
	if n := min(settled, pageSize); n > 0 && len(rest) > pageSize {
		rest = rest[:n]
		p.More, p.Next, p.ETag = true, rest[n-1].Seq, ""
	}
	for _, e := range rest {
		p.Entries = append(p.Entries, e.Entry)
	}
	return p
}

// Query is a request for the entries after a number.
type Query struct {
	After int64
	Wait  time.Duration // how long to wait for a page that the client does not have yet

	// Has reports whether the client has the entries of a version. Nil means that the client
	// named no version.
	Has func(version string) bool

	// Check is called before each look at the feed, if it is not nil. Its error ends the query.
	Check func() error
}

// Get returns the page of q. It waits while there is nothing new for the client, at most q.Wait.
// If ctx ends first, the error is its cause.
func (f *Feed) Get(ctx context.Context, q Query) (Page, error) {
	if f.waiting.Add(1) > maxWaiting {
		q.Wait = 0
	}
	defer f.waiting.Add(-1)
	timer := time.NewTimer(q.Wait)
	defer timer.Stop()
	waited, closing := false, false
	for over := q.Wait == 0; ; {
		if q.Check != nil {
			if err := q.Check(); err != nil {
				return Page{}, err
			}
		}
		p := f.after(q.After)
		p.Waited, p.Closing = waited, closing
		fresh := len(p.Entries) > 0
		if q.Has != nil {
			fresh = !q.Has(p.Version)
		}
		if over || !p.InMemory || fresh {
			return p, nil
		}
		waited = true
		select {
		case <-p.changed:
		case <-timer.C:
			over = true
		case <-f.closed:
			over, closing = true, true
		case <-ctx.Done():
			return Page{}, context.Cause(ctx)
		}
	}
}

// Read fills p, if it is not in memory, with the entries after a number from the database. It reads
// settled entries only. The client receives the others from memory with its next request.
func (f *Feed) Read(ctx context.Context, seq int64, p *Page) error {
	select {
	case f.reads <- struct{}{}:
		defer func() { <-f.reads }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	rows, err := f.db.RevocationsAfter(ctx, seq, pageSize)
	if err != nil {
		return err
	}
	p.More, p.ETag = true, ""
	if len(rows) == pageSize {
		p.Next = min(p.Next, rows[pageSize-1].Seq)
	}
	for len(rows) > 0 && rows[len(rows)-1].Seq > p.Next {
		rows = rows[:len(rows)-1]
	}
	p.Entries = rows
	return nil
}

// Waiting returns the number of open Get calls.
func (f *Feed) Waiting() int { return int(f.waiting.Load()) }

// Close ends all waits.
func (f *Feed) Close() { f.once.Do(func() { close(f.closed) }) }
