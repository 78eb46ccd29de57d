package securitylog

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// chain is a sealed log of 12 events in 3 seals.
type chain struct {
	t       *testing.T
	address string
	db      *store.DB
	master  *seal.Master
	clock   *testkit.Clock
	logs    testkit.Log
	*Writer
}

func newChain(t *testing.T, engine testkit.Engine) *chain {
	t.Helper()
	c := &chain{t: t, address: engine(t), clock: testkit.NewClock(time.Date(2026, 3, 4, 12, 0, 0, 123456000, time.UTC))}
	var err error
	c.db, err = store.Open(t.Context(), store.Config{URL: c.address, Now: c.clock.Now})
	c.must(err)
	t.Cleanup(func() { _ = c.db.Close() })
	c.master, err = seal.Parse(seal.Secret(strings.Repeat("0123456789abcdef", 4)))
	c.must(err)
	c.Writer = c.writer()
	for range 3 {
		c.add(4)
		c.must(c.seal(t.Context()))
		c.clock.Advance(time.Minute)
	}
	return c
}

// writer returns the Writer of one more node.
func (c *chain) writer() *Writer {
	c.t.Helper()
	w, err := New(Config{DB: c.db, Master: c.master, Log: slog.New(slog.NewTextHandler(&c.logs, nil)), Now: c.clock.Now})
	c.must(err)
	return w
}

func (c *chain) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// add adds events.
func (c *chain) add(n int) {
	c.t.Helper()
	for range n {
		e := signInEvent("ada", "wrong password", "192.0.2.0/24")
		e.ID, e.At = store.NewID(), c.clock.Now()
		c.must(c.db.AddEvents(c.t.Context(), []store.Event{e}))
	}
}

// tamper runs statements as an attacker with write access to the database does.
func (c *chain) tamper(statements ...string) {
	c.t.Helper()
	driver, address := "pgx", c.address
	if path, ok := strings.CutPrefix(address, "sqlite:"); ok {
		driver, address = "sqlite", "file:"+path+"?_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, address)
	c.must(err)
	for _, s := range statements {
		_, execErr := db.ExecContext(c.t.Context(), s)
		err = errors.Join(err, execErr)
	}
	c.must(errors.Join(err, db.Close()))
}

func (c *chain) check() []string {
	c.t.Helper()
	problems, err := Check(c.t.Context(), c.db, c.master)
	c.must(err)
	return problems
}

// rehash makes the hashes of a seal's events fit their rows again, without the key.
func (c *chain) rehash(number int64) {
	c.t.Helper()
	seals, err := c.db.Seals(c.t.Context(), number-1, 1)
	c.must(err)
	events, err := c.db.SealedEvents(c.t.Context(), seals[0].FirstEvent-1, int(seals[0].LastEvent-seals[0].FirstEvent+1))
	c.must(err)
	link := seals[0].Before
	blob := "x'%s'"
	if !strings.HasPrefix(c.address, "sqlite:") {
		blob = `'\x%s'`
	}
	for _, e := range events {
		link = hashOf(link, e)
		c.tamper(fmt.Sprintf(`UPDATE events SET hash = `+blob+` WHERE number = %d`, hex.EncodeToString(link), e.Number))
	}
}

// Each way to change a sealed log is found and named.
func TestTampering(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		do     []string
		rehash int64    // then rehash this seal
		want   []string // a part of each problem
	}{
		"nothing: no problem": {},
		"a column of an event: named": {do: []string{`UPDATE events SET network = '10.0.0.0/24' WHERE number = 6`},
			want: []string{"event 6 ("}},
		"the time of an event: named": {do: []string{`UPDATE events SET at = at + 1 WHERE number = 12`},
			want: []string{"event 12 ("}},
		"text moved from one column to the next: named": {do: []string{`UPDATE events SET user_id = '', actor = 'ada' WHERE number = 1`},
			want: []string{"event 1 ("}},
		"an event removed: named": {do: []string{`DELETE FROM events WHERE number = 6`},
			want: []string{"event 6 was removed"}},
		"the first event removed: named": {do: []string{`DELETE FROM events WHERE number = 1`},
			want: []string{"event 1 was removed"}},
		"the last event removed: named": {do: []string{`DELETE FROM events WHERE number = 12`},
			want: []string{"event 12 was removed"}},
		"events of two seals removed: named": {do: []string{`DELETE FROM events WHERE number IN (4, 5)`},
			want: []string{"event 4 was removed", "event 5 was removed"}},
		"a removed event, and numbers closed up: found": {do: []string{`DELETE FROM events WHERE number = 6`, `UPDATE events SET number = 6 WHERE number = 7`, `UPDATE events SET number = 7 WHERE number = 8`},
			want: []string{"event 6 (", "event 7 (", "event 8 was removed"}},
		"two events in each other's place: both named": {do: []string{`UPDATE events SET number = 100 WHERE number = 6`, `UPDATE events SET number = 6 WHERE number = 7`, `UPDATE events SET number = 7 WHERE number = 100`},
			want: []string{"event 6 (", "event 7 (", "event 8 ("}},
		"an event taken out of the chain, to change it: named": {do: []string{`UPDATE events SET number = 0, network = '' WHERE number = 6`},
			want: []string{"event 6 was removed"}},
		"an event changed with its hash: found": {do: []string{`UPDATE events SET network = '' WHERE number = 6`}, rehash: 2,
			want: []string{"events 5 to 8 were changed together with their hashes"}},
		"all events of a seal removed with it: named": {do: []string{`DELETE FROM events WHERE number BETWEEN 5 AND 8`, `DELETE FROM seals WHERE number = 2`},
			want: []string{"seals 2 to 2 were removed", "events 5 to 8 were removed"}},
		"the oldest seal with its events: named": {do: []string{`DELETE FROM events WHERE number < 5`, `DELETE FROM seals WHERE number = 1`},
			want: []string{"events 1 to 4 and their seals"}},
		"the newest seal: named": {do: []string{`DELETE FROM seals WHERE number = 3`},
			want: []string{"no seal covers event 9"}},
		"all seals: named": {do: []string{`DELETE FROM seals`},
			want: []string{"no seal covers event 1 "}},
		"the range of the newest seal: found": {do: []string{`DELETE FROM events WHERE number = 12`, `UPDATE seals SET last_event = 11 WHERE number = 3`},
			want: []string{"seal 3"}},
		"events that are too old, by a changed seal: found": {do: []string{`DELETE FROM events WHERE number < 5`, `DELETE FROM seals WHERE number = 1`, `UPDATE seals SET first_kept = 5`},
			want: []string{"seal 2", "seal 3"}},
		"another key: found": {do: []string{`UPDATE seals SET signed_by = 'mallory' WHERE number = 2`},
			want: []string{"signed by the key mallory"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
				c := newChain(t, engine)
				if problems := c.check(); problems != nil {
					t.Fatalf("before: %q, want no problem", problems)
				}
				c.tamper(x.do...)
				if x.rehash > 0 {
					c.rehash(x.rehash)
				}
				problems := c.check()
				for i, want := range x.want {
					if i >= len(problems) || !strings.Contains(problems[i], want) {
						t.Errorf("problem %d: got %q, want one with %q", i, problems, want)
						break
					}
				}
				if len(problems) > len(x.want) {
					t.Errorf("got %q, want %d problems", problems, len(x.want))
				}
			})
		})
	}
}

// Many nodes seal at once while events are added: the chain has each event once.
func TestSealing(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		c := newChain(t, engine)
		var nodes sync.WaitGroup
		for range 4 {
			w := c.writer()
			nodes.Go(func() {
				for range 10 {
					e := signInEvent("bob", "ok", "")
					e.ID, e.At = store.NewID(), c.clock.Now()
					if err := errors.Join(c.db.AddEvents(context.Background(), []store.Event{e}), w.seal(context.Background())); err != nil {
						t.Error(err)
					}
					if problems, err := Check(context.Background(), c.db, c.master); err != nil || problems != nil {
						t.Errorf("Check while nodes seal: %q, %v", problems, err)
					}
				}
			})
		}
		nodes.Wait()
		c.add(sealBatch + 1) // two seals
		c.must(c.seal(t.Context()))
		last, err := c.db.LastSeal(t.Context())
		c.must(err)
		if want := int64(12 + 40 + sealBatch + 1); last.LastEvent != want {
			t.Errorf("%d events are sealed, want %d", last.LastEvent, want)
		}
		if problems := c.check(); problems != nil {
			t.Errorf("got %q, want no problem", problems)
		}
		if want := hex.EncodeToString(last.Hash); !strings.Contains(c.logs.String(), want) {
			t.Errorf("the log has no line with the hash %s", want)
		}
		before := last.Number
		c.must(c.seal(t.Context()))
		if last, err = c.db.LastSeal(t.Context()); err != nil || last.Number != before {
			t.Errorf("without events: seal %d, %v, want no new one after %d", last.Number, err, before)
		}
	})
}

// Old seals are deleted with their events. The rest is whole, and what an attacker removes from it is
// found.
func TestRetention(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		c := newChain(t, engine) // seals at 12:00, 12:01 and 12:02
		c.kept = time.Hour
		kept := func(step string, number, firstKept int64, events int) {
			t.Helper()
			c.must(c.purge(t.Context()))
			last, err := c.db.LastSeal(t.Context())
			c.must(err)
			rows, err := c.db.EventsAfter(t.Context(), store.EventFilter{}, "")
			c.must(err)
			if last.Number != number || last.FirstKept != firstKept || len(rows) != events {
				t.Errorf("%s: seal %d, events from %d on, %d of them, want %d, %d, %d", step, last.Number, last.FirstKept, len(rows), number, firstKept, events)
			}
			if problems := c.check(); problems != nil {
				t.Errorf("%s: %q, want no problem", step, problems)
			}
		}
		kept("nothing is old: nothing changes", 3, 1, 12)
		c.clock.Set(time.Date(2026, 3, 4, 13, 1, 30, 0, time.UTC))
		kept("two seals are old: deleted", 4, 9, 4)
		kept("once more: nothing changes", 4, 9, 4)
		c.add(1)
		c.must(c.seal(t.Context()))
		kept("a new event: kept", 5, 9, 5)
		c.clock.Advance(3 * time.Hour)
		kept("all are old: deleted", 6, 14, 0)
		kept("no event: nothing changes", 6, 14, 0)
		c.clock.Advance(3 * time.Hour)
		kept("an old seal without events: nothing changes", 6, 14, 0)
		c.add(2)
		c.must(c.seal(t.Context()))
		kept("events again: kept", 7, 14, 2)
		c.add(1)
		c.must(c.seal(t.Context()))
		c.tamper(`DELETE FROM events WHERE number < 16`, `DELETE FROM seals WHERE number < 8`)
		if problems := c.check(); len(problems) != 1 || !strings.Contains(problems[0], "events 14 to 15 and their seals were removed") {
			t.Errorf("events removed as if they were old: %q, want one problem", problems)
		}
	})
}

// A database of another master key: each seal is a problem, and the number of lines is limited.
func TestCheckWithAnotherKey(t *testing.T) {
	t.Parallel()
	c := newChain(t, testkit.SQLite)
	for range maxProblems {
		c.add(1)
		c.must(c.seal(t.Context()))
	}
	other, err := seal.Parse(seal.Secret(strings.Repeat("fedcba9876543210", 4)))
	c.must(err)
	problems, err := Check(t.Context(), c.db, other)
	if err != nil || len(problems) != maxProblems+1 || !strings.Contains(problems[maxProblems], "3 more") {
		t.Errorf("got %d problems %q, %v, want %d and a count of 3 more", len(problems), problems, err, maxProblems)
	}
}
