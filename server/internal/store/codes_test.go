package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/testkit"
)

// A code begins one session, however often it is used at once. Its second use ends that session.
func TestSpendCodeOnce(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		addClient(t, db, "app")
		addUser(t, db, "ada")
		signIn(t, db, "ada", "session-1", "grant-1")
		must(t, db.CreateCode(t.Context(), aCode("code-1"), "session-1"))
		const many = 20
		results := make(chan error, many)
		for n := range many {
			go func() {
				use, err := db.SpendCode(t.Context(), aSpending(fmt.Sprint("child-", n), anEvent(EventApplicationSignedIn, "ada")))
				results <- errors.Join(err, use.Refused)
			}()
		}
		begun := 0
		for range many {
			if err := <-results; err == nil {
				begun++
			} else if !errors.Is(err, ErrSpent) {
				t.Error(err)
			}
		}
		if begun != 1 {
			t.Errorf("%d sessions begun, want 1", begun)
		}
		if n := db.reader(t.Context()).number(`SELECT count(*) FROM sessions WHERE client_id = 'app' AND ended_at > 0`); n != 1 {
			t.Errorf("%d sessions ended by the second use, want 1", n)
		}
		if n := db.reader(t.Context()).number(`SELECT count(*) FROM sessions WHERE id = 'session-1' AND ended_at = 0`); n != 1 {
			t.Error("the session of the browser has ended")
		}
	})
}

// A wrong use spends nothing; the fifth one ends the code.
func TestWrongUsesOfCode(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		addClient(t, db, "app")
		addUser(t, db, "ada")
		signIn(t, db, "ada", "session-1", "grant-1")
		wrong := aSpending("child", anEvent(EventApplicationSignedIn, "ada"))
		why := errors.New("wrong client")
		wrong.Check = func(Code) error { return why }
		for tries, want := range map[int]error{4: nil, 5: ErrNotFound} {
			must(t, db.do(t.Context(), func(tx *tx) error { return tx.exec(`DELETE FROM codes`) }))
			must(t, db.CreateCode(t.Context(), aCode("code-1"), "session-1"))
			for range tries {
				if use, err := db.SpendCode(t.Context(), wrong); err != nil || use.Refused != why {
					t.Fatalf("got %v, %v", use.Refused, err)
				}
			}
			use, err := db.SpendCode(t.Context(), aSpending(fmt.Sprint("child-", tries), anEvent(EventApplicationSignedIn, "ada")))
			if err != nil || !errors.Is(use.Refused, want) {
				t.Errorf("after %d wrong uses: got %v, %v, want %v", tries, use.Refused, err, want)
			}
		}
	})
}

// A code is refused after its end, after the end of the session that allowed it, and after its user was locked.
func TestCodesThatAreOver(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		addClient(t, db, "app")
		for name, c := range map[string]struct {
			change func(user string) error
			at     time.Time
			want   error
		}{
			"after its end": {func(string) error { return nil }, noon.Add(time.Minute), ErrNotFound},
			"session ended": {func(user string) error {
				_, err := db.EndSession(t.Context(), "session of "+user, user, "signed_out", later, anEvent(EventSignedOut, user), "")
				return err
			}, noon, ErrChanged},
			"user locked": {func(user string) error {
				_, err := db.LockUser(t.Context(), user, later, anEvent(EventUserLocked, user))
				return err
			}, noon, ErrChanged},
		} {
			user := "user " + name
			addUser(t, db, user)
			signIn(t, db, user, "session of "+user, name)
			code := aCode("code-1")
			code.Hash, code.UserID, code.ParentID = []byte(name), user, "session of "+user
			must(t, db.CreateCode(t.Context(), code, code.ParentID))
			must(t, c.change(user))
			s := aSpending("child of "+user, anEvent(EventApplicationSignedIn, user))
			s.Hash, s.At = code.Hash, c.at
			if use, err := db.SpendCode(t.Context(), s); err != nil || !errors.Is(use.Refused, c.want) {
				t.Errorf("%s: got %v, %v, want %v", name, use.Refused, err, c.want)
			}
			if err := db.CreateCode(t.Context(), func() Code { c := code; c.Hash = []byte(name + "2"); return c }(), code.ParentID); (c.want == ErrChanged) != errors.Is(err, ErrChanged) {
				t.Errorf("%s: CreateCode returns %v", name, err)
			}
		}
	})
}

// The end of a session ends the sessions of applications that it began, not those of its siblings. Ending an
// application's session leaves the others alive.
func TestChildSessions(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		addClient(t, db, "app")
		addUser(t, db, "ada")
		signIn(t, db, "ada", "session-1", "grant-1")
		signIn(t, db, "ada", "session-2", "grant-2")
		child := func(id, parent string) {
			s := aSession(id, "ada")
			s.ClientID, s.ParentID = "app", parent
			must(t, db.do(t.Context(), func(tx *tx) error {
				tx.insertSession(s)
				return tx.insertGrant(aGrant(id+" grant", id))
			}))
		}
		child("child-1a", "session-1")
		child("child-1b", "session-1")
		child("child-2", "session-2")
		child("offline", "")
		alive := func(want ...string) {
			t.Helper()
			got, err := texts(db.reader(t.Context()), `SELECT id FROM sessions WHERE ended_at = 0 ORDER BY id`)
			must(t, err)
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("alive: %q, want %q", got, want)
			}
		}
		end := func(id string) []Revocation {
			revoked, err := db.EndSession(t.Context(), id, "ada", "signed_out", later, anEvent(EventSignedOut, "ada"), "")
			must(t, err)
			return revoked
		}
		if n := len(end("child-1a")); n != 1 {
			t.Errorf("%d revocations, want 1", n)
		}
		alive("child-1b", "child-2", "offline", "session-1", "session-2")
		if n := len(end("session-1")); n != 2 {
			t.Errorf("%d revocations, want 2", n)
		}
		alive("child-2", "offline", "session-2")
		if rows, err := db.Sessions(t.Context(), "ada", noon); err != nil || len(rows) != 1 {
			t.Errorf("the list has %d sessions, %v, want 1", len(rows), err)
		}
		_, err := db.EndSessions(t.Context(), "ada", "session-2", "signed_out", later, anEvent(EventSignedOut, "ada"))
		must(t, err)
		alive("child-2", "session-2")
		_, err = db.EndSessions(t.Context(), "ada", "", "signed_out", later, anEvent(EventSignedOut, "ada"))
		must(t, err)
		alive()
	})
}

// A user has up to 20 sessions at one client; then the least recently used one ends.
func TestManyApplicationSessions(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		addClient(t, db, "app")
		addUser(t, db, "ada")
		signIn(t, db, "ada", "session-1", "grant-1")
		for n := range maxApplicationsLive + 1 {
			code := aCode("code-1")
			code.Hash = fmt.Append(nil, n)
			must(t, db.CreateCode(t.Context(), code, "session-1"))
			s := aSpending(fmt.Sprintf("child-%02d", n), anEvent(EventApplicationSignedIn, "ada"))
			s.Hash = code.Hash
			begin := s.Begin
			s.Begin = func(c Code, ends time.Time) NewSession {
				new := begin(c, ends)
				new.Session.CreatedAt = noon.Add(time.Duration(n) * time.Second)
				return new
			}
			use, err := db.SpendCode(t.Context(), s)
			must(t, err)
			if want := max(0, n+1-maxApplicationsLive); len(use.Revoked) != want {
				t.Errorf("session %d ends %d others, want %d", n, len(use.Revoked), want)
			}
		}
		ended, err := texts(db.reader(t.Context()), `SELECT id FROM sessions WHERE ended_at > 0`)
		if err != nil || fmt.Sprint(ended) != "[child-00]" {
			t.Errorf("ended: %q, %v", ended, err)
		}
	})
}
