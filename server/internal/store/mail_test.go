package store

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/testkit"
)

// A token in a mail is used once, also at the same instant, and with it all others of its user and
// purpose. A newer mail ends it, another attempt to send the same mail does not.
func TestMailTokens(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		clock := testkit.NewClock(time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC))
		db, err := Open(t.Context(), Config{URL: engine(t), Now: clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		event := func() Event { return Event{ID: NewID(), Kind: EventPasswordReset, At: clock.Now()} }
		for _, id := range []string{"ada", "bob"} {
			u := User{ID: id, Email: id, EmailKey: id, CreatedAt: clock.Now(), PasswordChangedAt: clock.Now()}
			must(db.CreateUser(t.Context(), u, nil, false, event()))
		}
		add := func(hash, user, purpose, mail string) MailToken {
			t.Helper()
			m := MailToken{
				Hash: []byte(hash), Purpose: purpose, UserID: user, EmailKey: user, Address: user, MailID: mail,
				CreatedAt: clock.Now(), EndsAt: clock.Now().Add(time.Minute),
			}
			must(db.AddMailToken(t.Context(), m))
			return m
		}
		reset := func(m MailToken) error {
			_, err := db.ResetPassword(t.Context(), m, "hash", clock.Now(), event())
			return err
		}
		known := func(want ...string) {
			t.Helper()
			for _, hash := range []string{"a", "b", "c", "d", "e"} {
				found := false
				for _, w := range want {
					found = found || w == hash
				}
				if _, _, err := db.MailTokenByHash(t.Context(), []byte(hash)); found != (err == nil) || err != nil && !errors.Is(err, ErrNotFound) {
					t.Fatalf("token %s: got %v, want it known: %v", hash, err, found)
				}
			}
		}
		add("a", "ada", MailResetPassword, "mail 1")
		b := add("b", "ada", MailResetPassword, "mail 1")
		add("c", "ada", "another purpose", "mail 2")
		add("d", "bob", MailResetPassword, "mail 3")
		known("a", "b", "c", "d")
		if got, u, err := db.MailTokenByHash(t.Context(), b.Hash); err != nil || u.ID != "ada" || got.MailID != "mail 1" || !got.EndsAt.Equal(b.EndsAt) {
			t.Errorf("got %+v of %+v (%v), want %+v", got, u, err, b)
		}
		e := add("e", "ada", MailResetPassword, "mail 4")
		known("c", "d", "e")
		if err := reset(b); !errors.Is(err, ErrChanged) {
			t.Errorf("a replaced token: got %v, want %v", err, ErrChanged)
		}
		for name, change := range map[string]func(*MailToken){
			"another purpose": func(m *MailToken) { m.Purpose = "another purpose" },
			"another user":    func(m *MailToken) { m.UserID = "bob" },
			"unknown user":    func(m *MailToken) { m.UserID = "eve" },
			"another address": func(m *MailToken) { m.EmailKey = "eve" },
		} {
			m := e
			change(&m)
			if err := reset(m); !errors.Is(err, ErrChanged) {
				t.Errorf("%s: got %v, want %v", name, err, ErrChanged)
			}
		}
		var done, refused atomic.Int64
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				switch err := reset(e); {
				case err == nil:
					done.Add(1)
				case errors.Is(err, ErrChanged):
					refused.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		all.Wait()
		if done.Load() != 1 || refused.Load() != 19 {
			t.Errorf("%d done and %d refused, want 1 and 19", done.Load(), refused.Load())
		}
		known("c", "d")
		undo := add("e", "ada", MailEmailChanged, "mail 5")
		_, err = db.UndoEmail(t.Context(), undo, "ada", nil, clock.Now(), event(), Mail{ID: "mail 6", Kind: MailResetPassword, UserID: "ada", CreatedAt: clock.Now()})
		must(err)
		known("d") // also those for other purposes have ended
		d, _, err := db.MailTokenByHash(t.Context(), []byte("d"))
		must(err)
		_, err = db.LockUser(t.Context(), "bob", clock.Now(), event())
		must(err)
		if err := reset(d); !errors.Is(err, ErrChanged) {
			t.Errorf("locked user: got %v, want %v", err, ErrChanged)
		}
		must(db.UnlockUser(t.Context(), "bob", event()))
		clock.Advance(time.Minute)
		if err := reset(d); !errors.Is(err, ErrChanged) {
			t.Errorf("after its end: got %v, want %v", err, ErrChanged)
		}
		clock.Advance(time.Hour)
		must(db.PurgeMailTokens(t.Context()))
		n, oldest, err := db.MailsWaiting(t.Context())
		if err != nil || n != 3 || oldest.IsZero() { // password changed, reset after the undoing, account locked
			t.Errorf("outbox: %d since %s (%v), want 3 mails", n, oldest, err)
		}
	})
}

// An ended token is deleted, a live one is not.
func TestPurgeMailTokens(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		db, err := Open(t.Context(), Config{URL: engine(t)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		now := db.Now()
		u := User{ID: "ada", Email: "ada", EmailKey: "ada", CreatedAt: now, PasswordChangedAt: now}
		err = db.CreateUser(t.Context(), u, nil, false, Event{ID: NewID(), Kind: EventUserAdded, At: now})
		for hash, ends := range map[string]time.Duration{"ended": -time.Hour, "live": time.Hour} {
			err = errors.Join(err, db.AddMailToken(t.Context(), MailToken{Hash: []byte(hash), Purpose: hash, UserID: "ada", MailID: "1", EndsAt: now.Add(ends)}))
		}
		if err := errors.Join(err, db.PurgeMailTokens(t.Context())); err != nil {
			t.Fatal(err)
		}
		_, _, ended := db.MailTokenByHash(t.Context(), []byte("ended"))
		_, _, live := db.MailTokenByHash(t.Context(), []byte("live"))
		if !errors.Is(ended, ErrNotFound) || live != nil {
			t.Errorf("ended token: %v, live token: %v; want %v and no error", ended, live, ErrNotFound)
		}
	})
}
