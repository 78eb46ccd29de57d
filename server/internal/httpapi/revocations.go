package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/server/internal/store"
)

// Bounds on GET /api/revocations.
const (
	maxWait      = 30 * time.Second // well under the listener's time for an answer
	maxWaiting   = 20_000           // requests that wait; who comes beyond is answered at once
	pageOfFeed   = 5_000            // entries in an answer, of those that are settled, and rows read at once
	feedKept     = 5 * time.Minute  // how long an entry that everybody has seen is kept in memory
	feedMost     = 100_000          // and how many are
	loadsAtOnce  = 4                // answers that are read from the database
	settledAfter = time.Minute      // nothing commits later than that: the overlap of the polls
)

// Feed is the revocations that this node has seen of late, for who follows them over
// HTTP. The node's own follower fills it: it is what that polls. So whoever waits asks
// the database nothing, however many they are.
//
// A number is taken when an entry is written and seen when it commits, so a lower one
// may come after a higher. Where the numbers that were seen have a gap, what comes
// after it is not settled until nothing can commit in it any more. An answer's next is
// the last settled number: whoever asks for what comes after it is given everything,
// late or not, and again what lies behind a gap for as long as there is one.
type Feed struct {
	db     *store.DB
	now    func() time.Time
	loads  chan struct{} // a turn to read from the database
	waits  atomic.Int64
	closed chan struct{}
	once   sync.Once

	mu      sync.Mutex
	loaded  bool
	epoch   string
	base    int64         // all up to this number are settled and not in entries
	entries []seenEntry   // by number
	settled int64         // at least base
	asOf    time.Time     // when the last poll began: what could be seen then is here
	etag    string        // of what is not settled
	changed chan struct{} // closed when something new is there
}

// seenEntry is an entry and when this node first saw it.
type seenEntry struct {
	revoked.Entry
	seen time.Time
}

// NewFeed returns a feed of a database, which knows nothing until it is polled.
func NewFeed(db *store.DB, now func() time.Time) *Feed {
	return &Feed{db: db, now: now, loads: make(chan struct{}, loadsAtOnce), closed: make(chan struct{}), changed: make(chan struct{})}
}

// Poll reads the database, as revoked.FollowerConfig.Poll wants it.
func (f *Feed) Poll(ctx context.Context, after int64, overlap time.Duration) ([]revoked.Entry, string, error) {
	began := f.now()
	rows, err := f.rows(ctx, after, began.Add(-overlap))
	if err != nil {
		return nil, "", err
	}
	entries := make([]revoked.Entry, len(rows))
	for i, r := range rows {
		entries[i] = revoked.Entry{Seq: r.Seq, Kind: revoked.Kind(r.Kind), Value: r.Value, At: r.At, Until: r.Until}
	}
	epoch := f.db.Epoch()
	f.take(entries, epoch, after == 0, began)
	return entries, epoch, nil
}

// rows reads what is after a number, and all since the moment given. The whole list,
// after none, is read page by page, so that no question takes long; what commits late
// before a page that was read already is what the overlap of the next poll is for.
func (f *Feed) rows(ctx context.Context, after int64, since time.Time) ([]store.Revocation, error) {
	if after > 0 {
		return f.db.Revocations(ctx, after, since)
	}
	var all []store.Revocation
	for {
		page, err := f.db.RevocationsAfter(ctx, after, pageOfFeed)
		if err != nil {
			return nil, err
		}
		if all = append(all, page...); len(page) < pageOfFeed {
			return all, nil
		}
		after = page[len(page)-1].Seq
	}
}

// take merges what a poll that began at began has read; whole is that it was all
// there is. entries are in order of their numbers.
func (f *Feed) take(entries []revoked.Entry, epoch string, whole bool, began time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fresh := false
	if epoch != f.epoch || !f.loaded {
		if !whole {
			return // the follower reads all of the new epoch next
		}
		f.epoch, f.loaded, f.base, f.settled, f.entries, fresh = epoch, true, 0, 0, nil, true
		for len(entries) > 0 && entries[0].At.Before(began.Add(-settledAfter)) {
			f.base, entries = entries[0].Seq, entries[1:]
		}
		f.settled = f.base
	}
	for _, e := range entries {
		if e.Seq <= f.base {
			continue
		}
		i, found := slices.BinarySearchFunc(f.entries, e.Seq, bySeq)
		if !found {
			f.entries = slices.Insert(f.entries, i, seenEntry{e, began})
			fresh = true
		}
	}
	f.asOf = began
	first, _ := slices.BinarySearchFunc(f.entries, f.settled+1, bySeq)
	for _, e := range f.entries[first:] {
		if e.Seq != f.settled+1 && began.Sub(e.seen) < settledAfter {
			break
		}
		f.settled = e.Seq
	}
	drop := 0
	for drop < len(f.entries) && f.entries[drop].Seq <= f.settled && (len(f.entries)-drop > feedMost || began.Sub(f.entries[drop].seen) > feedKept) {
		f.base = f.entries[drop].Seq
		drop++
	}
	f.entries = slices.Delete(f.entries, 0, drop)
	f.etag = f.tag(f.settled)
	if fresh {
		close(f.changed)
		f.changed = make(chan struct{})
	}
}

func bySeq(e seenEntry, seq int64) int { return int(max(min(e.Seq-seq, 1), -1)) }

// tag names what there is after a number, exactly: this epoch and these numbers.
// f.mu is held.
func (f *Feed) tag(after int64) string {
	h := sha256.New()
	h.Write([]byte(f.epoch))
	first, _ := slices.BinarySearchFunc(f.entries, after+1, bySeq)
	for _, e := range f.entries[first:] {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(e.Seq)))
	}
	return `"` + base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:12]) + `"`
}

// look is what there is after a number at one moment.
type look struct {
	page    api.RevocationPage
	asOf    time.Time       // when it was complete
	etag    string          // of the page, and of what there is after its Next
	held    string          // etag of what there is after the number
	inside  bool            // it is all in memory: else page is empty
	changed <-chan struct{} // closed when there is more
}

// after looks for what there is after a number. What is not settled is never cut: who
// took a part of it and went on from there would miss what comes late before that.
func (f *Feed) after(seq int64) look {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := look{asOf: f.asOf, etag: f.etag, held: f.etag, changed: f.changed, inside: f.loaded && seq >= f.base}
	l.page = api.RevocationPage{Epoch: f.epoch, Next: f.settled, Items: []api.Revocation{}}
	if !l.inside {
		return l
	}
	if seq != f.settled {
		l.held = f.tag(seq)
	}
	first, _ := slices.BinarySearchFunc(f.entries, seq+1, bySeq)
	rest := f.entries[first:]
	settled, _ := slices.BinarySearchFunc(rest, f.settled+1, bySeq)
	if n := min(settled, pageOfFeed); n > 0 && len(rest) > pageOfFeed {
		rest = rest[:n]
		l.page.More, l.page.Next, l.etag = true, rest[n-1].Seq, ""
	}
	for _, e := range rest {
		l.page.Items = append(l.page.Items, api.Revocation{Seq: e.Seq, Kind: string(e.Kind), Value: e.Value, At: e.At.UTC(), Until: e.Until.UTC()})
	}
	return l
}

// read fills l from the database: what is after seq and not in memory any more. It goes
// no further than what is settled; the rest is in memory.
func (f *Feed) read(ctx context.Context, seq int64, l *look) error {
	select {
	case f.loads <- struct{}{}:
		defer func() { <-f.loads }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	rows, err := f.db.RevocationsAfter(ctx, seq, pageOfFeed)
	if err != nil {
		return err
	}
	l.page.More, l.etag = true, ""
	if len(rows) == pageOfFeed {
		l.page.Next = min(l.page.Next, rows[pageOfFeed-1].Seq)
	}
	for _, r := range rows {
		if r.Seq > l.page.Next {
			break
		}
		l.page.Items = append(l.page.Items, api.Revocation{Seq: r.Seq, Kind: r.Kind, Value: r.Value, At: r.At.UTC(), Until: r.Until.UTC()})
	}
	return nil
}

// Waiting is how many requests are being answered or wait to be.
func (f *Feed) Waiting() int { return int(f.waits.Load()) }

// close answers all who wait.
func (f *Feed) close() { f.once.Do(func() { close(f.closed) }) }

// revocations is GET /api/revocations: what was revoked after a number. While that is
// what the client has already, by its If-None-Match, or nothing, the answer waits.
func (s *Server) revocations(w http.ResponseWriter, r *http.Request) error {
	arrived := s.c.Now()
	after, wait, err := s.askedOfFeed(r)
	if err != nil {
		return err
	}
	f := s.c.Feed
	if f.waits.Add(1) > maxWaiting {
		wait = 0
	}
	defer f.waits.Add(-1)
	if wait > 0 {
		// The listener's time for a body is over before the wait is, and would end it.
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	var l look
	waited := false
	for over := wait == 0; ; {
		if err := s.c.Revocations.Err(); err != nil {
			return err // this node cannot tell itself
		}
		l = f.after(after)
		same := unchanged(r, l.held)
		if over || !l.inside || len(l.page.Items) > 0 && !same || len(r.Header["If-None-Match"]) > 0 && !same {
			break
		}
		waited = true
		select {
		case <-l.changed:
		case <-timer.C:
			over = true
		case <-f.closed:
			over = true
			w.Header().Set("Connection", "close")
		case <-r.Context().Done():
			return nil // nobody is there to be answered
		}
	}
	if waited {
		// What a session's end has to tell is not for that session.
		if err := s.api.Recheck(r); err != nil {
			return err
		}
	}
	h := w.Header()
	h.Set(api.AsOfField, strconv.FormatFloat(l.asOf.Sub(arrived).Seconds(), 'f', 3, 64))
	if !l.inside {
		if err := f.read(r.Context(), after, &l); err != nil {
			return err
		}
	}
	if l.inside && unchanged(r, l.held) {
		h.Set("ETag", l.held)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if l.etag != "" {
		h.Set("ETag", l.etag)
	}
	return answer(w, http.StatusOK, l.page)
}

// askedOfFeed reads the parameters, of which there are no others.
func (s *Server) askedOfFeed(r *http.Request) (after int64, wait time.Duration, err error) {
	refuse := func(member, detail string) error {
		return &durward.Refusal{Code: durward.InvalidRequest, Detail: detail, Members: map[string]any{"member": member}, Err: errors.New("a parameter of the feed is not in its range")}
	}
	query := r.URL.Query()
	if text := query.Get("after"); text != "" {
		if after, err = strconv.ParseInt(text, 10, 64); err != nil || after < 0 {
			return 0, 0, refuse("after", "The parameter after is not a number from 0 on.")
		}
	}
	if text := query.Get("wait"); text != "" {
		seconds, err := strconv.Atoi(text)
		if err != nil || seconds < 0 || seconds > int(maxWait/time.Second) {
			return 0, 0, refuse("wait", fmt.Sprintf("The parameter wait is not a number of seconds from 0 to %d.", int(maxWait/time.Second)))
		}
		wait = time.Duration(seconds) * time.Second
	}
	return after, wait, nil
}
