package session

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

const (
	adaPassword   = "correct horse battery staple"
	otherPassword = "a quite different sentence"
)

// addUser adds a user with a real password.
func (w *env) addUser(email, password string) store.User {
	w.t.Helper()
	u, err := w.accounts.Add(w.t.Context(), account.NewUser{Email: email, Password: password}, store.EventUserAdded, operator)
	w.must(err)
	return u
}

var wrongPasswords atomic.Int64

// wrongPassword returns a wrong password that was not tried before.
func wrongPassword() string {
	return fmt.Sprintf("not the right one, number %d", wrongPasswords.Add(1))
}

// try signs in by password and returns the error.
func (w *env) try(email, password string) error {
	_, err := w.accounts.Authenticate(w.t.Context(), email, password, home)
	return err
}

// begin begins a session of a user and returns its id.
func (w *env) begin(u store.User) string {
	w.t.Helper()
	u, err := w.db.UserByID(w.t.Context(), u.ID)
	w.must(err)
	return w.signIn(u).Session
}

// alive reports whether a session is alive: it is listed, and its tokens are not revoked.
func (w *env) alive(u store.User, id string) bool {
	w.t.Helper()
	rows, err := w.List(w.t.Context(), u.ID)
	w.must(err)
	listed := false
	for _, row := range rows {
		listed = listed || row.ID == id
	}
	if revoked := w.list.Revoked(revoked.Session, id); listed == revoked {
		w.t.Errorf("session %s: got listed %v and revoked %v, want one of them", id, listed, revoked)
	}
	return listed
}

// refuses checks that err has a code.
func refuses(t *testing.T, name string, err error, want durward.Code) {
	t.Helper()
	if got := codeOf(err); got != want {
		t.Errorf("%s: got %v (%s), want %s", name, err, got, want)
	}
}

func (w *env) changePassword(u store.User, session, current, next string) error {
	_, err := w.ChangePassword(w.t.Context(), &durward.Principal{Subject: u.ID, SessionID: session}, current, next, "", home)
	return err
}

func TestChangePassword(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		ada := w.addUser("ada@example.com", adaPassword)
		keep, end := w.begin(ada), w.begin(ada)
		before := w.hasher.Runs()
		refuses(t, "short", w.changePassword(ada, keep, wrongPassword(), "short"), durward.InvalidRequest)
		refuses(t, "the address", w.changePassword(ada, keep, wrongPassword(), "I am ada@example.com"), durward.InvalidRequest)
		if runs := w.hasher.Runs() - before; runs != 0 {
			t.Errorf("passwords against the rules: got %d hashes, want none", runs)
		}
		refuses(t, "wrong", w.changePassword(ada, keep, wrongPassword(), otherPassword), durward.InvalidCredentials)
		refuses(t, "with a line break", w.changePassword(ada, keep, adaPassword, "a quite different\nsentence"), durward.InvalidRequest)
		if !w.alive(ada, end) {
			t.Error("a refused change ended a session")
		}
		w.must(w.try(ada.Email, adaPassword))

		w.clock.Advance(time.Minute)
		w.must(w.changePassword(ada, keep, adaPassword, otherPassword))
		if !w.alive(ada, keep) || w.alive(ada, end) {
			t.Errorf("got own session alive %t, other session alive %t; want true, false", w.alive(ada, keep), w.alive(ada, end))
		}
		refuses(t, "the old one", w.try(ada.Email, adaPassword), durward.InvalidCredentials)
		w.must(w.try(ada.Email, otherPassword))
		if u, err := w.db.UserByID(t.Context(), ada.ID); err != nil || !u.PasswordChangedAt.Equal(w.clock.Now().Truncate(time.Microsecond)) {
			t.Errorf("got changed at %s, error %v", u.PasswordChangedAt, err)
		}
		if events := w.events(ada, store.EventPasswordChanged); len(events) != 1 || events[0].SessionID != keep {
			t.Errorf("got events %+v, want one of session %s", events, keep)
		}
		if got := w.notifications(ada); len(got) != 1 || got[0] != "password_changed" {
			t.Errorf("got notifications %q", got)
		}
		if err := w.changePassword(store.User{ID: "nobody"}, keep, adaPassword, otherPassword); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("unknown user: got %v, want ErrNotFound", err)
		}
	})
}

// A user who is no administrator any more, or is deleted, has no session left. Other users and other
// changes end none.
func TestSetAndDeleteUser(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		ada, bob := w.addUser("ada@example.com", adaPassword), w.addUser("bob@example.com", adaPassword)
		first, others := w.begin(ada), w.begin(bob)
		name, yes, no := "Countess", true, false
		w.must(w.SetUser(t.Context(), ada.ID, account.Change{Name: &name, Admin: &yes}, operator))
		u, err := w.db.UserByID(t.Context(), ada.ID)
		w.must(err)
		if u.Name != name || !u.Admin || !w.alive(ada, first) {
			t.Errorf("administrator: got %+v, session alive %t", u, w.alive(ada, first))
		}
		second := w.begin(ada)
		bad := "no address"
		refuses(t, "no address", w.SetUser(t.Context(), ada.ID, account.Change{Email: &bad, Admin: &no}, operator), durward.InvalidRequest)
		taken := "BOB@example.com"
		refuses(t, "taken", w.SetUser(t.Context(), ada.ID, account.Change{Email: &taken, Admin: &no}, operator), durward.EmailTaken)
		if !w.alive(ada, second) {
			t.Error("a refused change ended a session")
		}
		w.must(w.SetUser(t.Context(), ada.ID, account.Change{Admin: &no}, operator))
		if w.alive(ada, first) || w.alive(ada, second) || !w.alive(bob, others) {
			t.Errorf("no administrator any more: alive %t, %t; another user %t", w.alive(ada, first), w.alive(ada, second), w.alive(bob, others))
		}
		lady := "lady@example.com"
		link := store.MailToken{
			Hash:      []byte{1},
			Purpose:   store.MailEmailChanged,
			UserID:    ada.ID,
			EmailKey:  "former@example.com",
			CreatedAt: w.clock.Now(),
			EndsAt:    w.clock.Now().Add(time.Hour),
		}
		w.must(w.db.AddMailToken(t.Context(), link))
		w.must(w.SetUser(t.Context(), ada.ID, account.Change{Email: &lady}, operator))
		w.must(w.try(lady, adaPassword))
		if _, _, err := w.db.MailTokenByHash(t.Context(), link.Hash); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("link of a former change: got %v, want ErrNotFound", err)
		}
		if notes, err := w.db.Notifications(t.Context(), ada.ID, "", 10); err != nil || len(notes) != 1 || notes[0].Kind != store.MailEmailChanged {
			t.Errorf("notifications: got %+v, %v", notes, err)
		}
		refuses(t, "the former address", w.try("ada@example.com", adaPassword), durward.InvalidCredentials)
		if events := w.events(ada, store.EventUserChanged); len(events) != 3 || events[0].Detail != "email" {
			t.Errorf("got events %+v, want 3", events)
		}

		third := w.begin(ada)
		w.must(w.DeleteUser(t.Context(), ada.ID, operator))
		if w.alive(ada, third) || !w.list.Revoked(revoked.Session, third) || !w.alive(bob, others) {
			t.Error("deleted: a session is alive, or one of another user is not")
		}
		if _, err := w.db.UserByID(t.Context(), ada.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("deleted: got %v, want ErrNotFound", err)
		}
		refuses(t, "deleted", w.try(lady, adaPassword), durward.InvalidCredentials)
		if events := w.events(ada, store.EventUserDeleted); len(events) != 1 || events[0].Detail != "" {
			t.Errorf("got events %+v, want one without the address", events)
		}
		for _, err := range []error{w.DeleteUser(t.Context(), ada.ID, operator), w.SetUser(t.Context(), ada.ID, account.Change{Admin: &yes}, operator)} {
			if !errors.Is(err, store.ErrNotFound) {
				t.Errorf("deleted twice, or changed: got %v, want ErrNotFound", err)
			}
		}
	})
}

// A wrong current password counts as a failed sign-in.
func TestChangePasswordGuessed(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		ada := w.addUser("ada@example.com", adaPassword)
		id := w.begin(ada)
		for n := range 5 {
			if n == 2 {
				refuses(t, "a sign-in between", w.try(ada.Email, wrongPassword()), durward.InvalidCredentials)
				continue
			}
			refuses(t, fmt.Sprint("failure ", n), w.changePassword(ada, id, wrongPassword(), otherPassword), durward.InvalidCredentials)
		}
		refuses(t, "the sixth", w.changePassword(ada, id, adaPassword, otherPassword), durward.TooManyAttempts)
		refuses(t, "sign-in", w.try(ada.Email, adaPassword), durward.TooManyAttempts)
		if !w.alive(ada, id) {
			t.Error("four failures ended the session")
		}
	})
}

// If the operator sets a password while a change by the old one is under way, the operator's stays.
func TestChangeAfterReset(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		ada := w.addUser("ada@example.com", adaPassword)
		id := w.begin(ada)
		// The Manager reads the clock first when the current password was verified.
		c := w.c
		reset := false
		c.Now = func() time.Time {
			if !reset {
				reset = true
				w.clock.Advance(time.Second)
				w.must(w.SetPassword(t.Context(), ada, otherPassword, operator))
				if w.alive(ada, id) {
					t.Error("the operator's password left a session alive")
				}
			}
			return w.clock.Now()
		}
		late, err := New(c)
		w.must(err)
		_, err = late.ChangePassword(t.Context(), &durward.Principal{Subject: ada.ID, SessionID: id}, adaPassword, "the thief's own sentence", "", home)
		if refuses(t, "a change after the reset", err, durward.InvalidCredentials); !errors.Is(err, store.ErrChanged) {
			t.Errorf("got %v, want ErrChanged", err)
		}
		w.must(w.try(ada.Email, otherPassword))
		if events := w.events(ada, store.EventPasswordSet); len(events) != 1 || events[0].Actor != "operator" {
			t.Errorf("got events %+v", events)
		}
	})
}

// A password and the cookie of its session change together: the session that ends while the new
// password is hashed gets neither, and the old password stays.
func TestChangePasswordWithCookie(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		ada := w.addUser("ada@example.com", adaPassword)
		old := w.cookieOf(ada)
		p, err := w.AuthenticateCookie(t.Context(), old, false)
		w.must(err)

		// The clock is read once to find the cookie alive, once for its replacement and once for the
		// transaction: the session ends before the third.
		c := w.c
		reads := 0
		c.Now = func() time.Time {
			if reads++; reads == 3 {
				w.must(w.End(t.Context(), ada.ID, p.SessionID, store.EventSessionEnded, home))
			}
			return w.clock.Now()
		}
		late, err := New(c)
		w.must(err)
		fresh, err := late.ChangePassword(t.Context(), p, adaPassword, otherPassword, old, home)
		if refuses(t, "session ended meanwhile", err, durward.SessionExpired); fresh.Value != "" || reads < 3 {
			t.Errorf("got cookie %q after %d reads of the clock", fresh, reads)
		}
		w.must(w.try(ada.Email, adaPassword))
		if got := w.notifications(ada); len(got) != 0 {
			t.Errorf("got notifications %q, want none", got)
		}

		old = w.cookieOf(ada)
		p, err = w.AuthenticateCookie(t.Context(), old, false)
		w.must(err)
		fresh, err = w.ChangePassword(t.Context(), p, adaPassword, otherPassword, old, home)
		w.must(err)
		w.must(w.try(ada.Email, otherPassword))
		w.clock.Advance(cookieGrace)
		if _, err := w.AuthenticateCookie(t.Context(), old, false); !errors.Is(err, durward.SessionExpired) {
			t.Errorf("old cookie after its grace: got %v, want SessionExpired", err)
		}
		if again, err := w.AuthenticateCookie(t.Context(), fresh.Value, false); err != nil || again.SessionID != p.SessionID {
			t.Errorf("new cookie: got %+v, %v; want session %s", again, err, p.SessionID)
		}
	})
}

// A lock ends all sessions of the user before it returns, and no other user's.
func TestLockUser(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		ada, bob := w.addUser("ada@example.com", adaPassword), w.addUser("bob@example.com", otherPassword)
		first, second, his := w.begin(ada), w.begin(ada), w.begin(bob)
		w.must(w.LockUser(t.Context(), ada.ID, operator))
		if w.alive(ada, first) || w.alive(ada, second) || !w.alive(bob, his) {
			t.Error("want the sessions of the locked user ended, and no other")
		}
		refuses(t, "correct password of a locked user", w.try(ada.Email, adaPassword), durward.AccountDisabled)
		refuses(t, "wrong password of a locked user", w.try(ada.Email, wrongPassword()), durward.InvalidCredentials)
		refuses(t, "change of a locked user's password", w.changePassword(ada, second, adaPassword, otherPassword), durward.TokenRevoked)
		w.must(w.accounts.Unlock(t.Context(), ada.ID, operator))
		w.must(w.try(ada.Email, adaPassword))
		if w.alive(ada, first) {
			t.Error("a session is alive again after the unlock")
		}
		for _, kind := range []string{store.EventUserLocked, store.EventUserUnlocked} {
			if events := w.events(ada, kind); len(events) != 1 || events[0].Actor != "operator" {
				t.Errorf("got events %+v, want one %s by the operator", events, kind)
			}
		}
		// A revocation is kept for as long as the last token can live.
		w.clock.Advance(15*time.Minute + time.Minute + time.Hour - time.Second)
		if !w.list.Revoked(revoked.Session, first) {
			t.Error("the revocation was dropped too early")
		}
		for _, err := range []error{w.LockUser(t.Context(), "nobody", home), w.accounts.Unlock(t.Context(), "nobody", home)} {
			if !errors.Is(err, store.ErrNotFound) {
				t.Errorf("unknown user: got %v, want ErrNotFound", err)
			}
		}
	})
}

func TestEnd(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		ctx := t.Context()
		ada, bob := w.user(), w.user()
		first, second, his := w.begin(ada), w.begin(ada), w.begin(bob)
		for _, id := range []string{his, "nothing", "", "\x00"} {
			if err := w.End(ctx, ada.ID, id, store.EventSessionEnded, home); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("session %q of another user: got %v, want ErrNotFound", id, err)
			}
			if err := w.SignOut(ctx, ada.ID, id, false, home); err != nil { // there is nothing to end
				t.Errorf("sign-out of session %q: got %v", id, err)
			}
		}
		if !w.alive(bob, his) {
			t.Error("another user's session ended")
		}
		w.must(w.End(ctx, ada.ID, first, store.EventSessionEnded, home))
		if w.alive(ada, first) || !w.alive(ada, second) {
			t.Error("End: want this session ended, and no other")
		}
		w.must(w.End(ctx, ada.ID, first, store.EventSessionEnded, home)) // again
		if events := w.events(ada, store.EventSessionEnded); len(events) != 1 || events[0].SessionID != first {
			t.Errorf("got events %+v", events)
		}
		w.must(w.SignOut(ctx, ada.ID, second, false, home))
		if w.alive(ada, second) || !w.alive(bob, his) {
			t.Error("SignOut: want this session ended, and no other")
		}
		if events := w.events(ada, store.EventSignedOut); len(events) != 1 || events[0].SessionID != second {
			t.Errorf("got events %+v", events)
		}
	})
}

func TestSignOutEverywhere(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		ada, bob := w.user(), w.user()
		first, second, his := w.begin(ada), w.begin(ada), w.begin(bob)
		w.must(w.SignOut(t.Context(), ada.ID, first, true, home))
		if w.alive(ada, first) || w.alive(ada, second) || !w.alive(bob, his) {
			t.Error("want all sessions of the user ended, and no other user's")
		}
		if events := w.events(ada, store.EventSignedOut); len(events) != 1 || events[0].Outcome != "everywhere" {
			t.Errorf("got events %+v", events)
		}
		w.must(w.SignOut(t.Context(), ada.ID, first, true, home))
	})
}

// A user ends all other sessions and keeps the one in use.
func TestEndOthers(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		ada, bob := w.user(), w.user()
		own, other, his := w.begin(ada), w.begin(ada), w.begin(bob)
		w.must(w.EndOthers(t.Context(), &durward.Principal{Subject: ada.ID, SessionID: own}, home))
		if !w.alive(ada, own) || w.alive(ada, other) || !w.alive(bob, his) {
			t.Error("want the other session of the user ended, and no more")
		}
		if events := w.events(ada, store.EventSignedOut); len(events) != 1 || events[0].Outcome != "everywhere else" || events[0].SessionID != own {
			t.Errorf("got events %+v", events)
		}
		refuses(t, "API key", w.EndOthers(t.Context(), &durward.Principal{Subject: ada.ID}, home), durward.Forbidden)
	})
}

// Users delete their own account, administrators do not.
func TestDeleteOwnAccount(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		ada, bob, root := w.addUser("ada@example.com", adaPassword), w.user(), w.user()
		yes := true
		w.must(w.SetUser(t.Context(), root.ID, account.Change{Admin: &yes}, operator))
		own, other, his := w.begin(ada), w.begin(ada), w.begin(bob)
		refuses(t, "API key", w.DeleteOwnAccount(t.Context(), &durward.Principal{Subject: ada.ID}, home), durward.Forbidden)
		refuses(t, "administrator", w.DeleteOwnAccount(t.Context(), &durward.Principal{Subject: root.ID, SessionID: w.begin(root)}, home), durward.Forbidden)
		if _, err := w.db.UserByID(t.Context(), root.ID); err != nil {
			t.Errorf("the administrator: got %v", err)
		}
		p := &durward.Principal{Subject: ada.ID, SessionID: own}
		w.must(w.DeleteOwnAccount(t.Context(), p, home))
		refuses(t, "again", w.DeleteOwnAccount(t.Context(), p, home), durward.TokenRevoked)
		if w.alive(ada, own) || w.alive(ada, other) || !w.alive(bob, his) {
			t.Error("want the sessions of the deleted user ended, and no more")
		}
		refuses(t, "sign-in", w.try(ada.Email, adaPassword), durward.InvalidCredentials)
	})
}

// A page of notifications begins after the one before and has this user's only.
func TestNotifications(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		ada, bob := w.addUser("ada@example.com", adaPassword), w.addUser("bob@example.com", otherPassword)
		for range 5 {
			w.clock.Advance(time.Minute)
			w.must(w.SetPassword(t.Context(), ada, otherPassword, home))
			w.must(w.SetPassword(t.Context(), bob, adaPassword, home))
		}
		var seen []store.Notification
		for after, pages := "", 0; ; pages++ {
			page, err := w.db.Notifications(t.Context(), ada.ID, after, 2)
			w.must(err)
			if want := []int{2, 2, 1, 0}[pages]; len(page) != want {
				t.Fatalf("page %d: got %d notifications, want %d", pages, len(page), want)
			}
			if len(page) == 0 {
				break
			}
			seen = append(seen, page...)
			after = page[len(page)-1].ID
		}
		for i, n := range seen {
			if n.UserID != ada.ID || n.Kind != "password_changed" || n.Network != "192.0.2.0/24" || i > 0 && !n.At.Before(seen[i-1].At) {
				t.Errorf("notification %d: got %+v", i, n)
			}
		}
	})
}

// While the store is unavailable, no method refuses.
func TestUsersStoreUnavailable(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		ctx := t.Context()
		ada := w.addUser("ada@example.com", adaPassword)
		id := w.begin(ada)
		w.must(w.db.Close())
		_, listed := w.List(ctx, ada.ID)
		for method, err := range map[string]error{
			"List":               listed,
			"ChangePassword":     w.changePassword(ada, id, adaPassword, otherPassword),
			"SetPassword":        w.SetPassword(ctx, ada, otherPassword, home),
			"LockUser":           w.LockUser(ctx, ada.ID, home),
			"End":                w.End(ctx, ada.ID, id, store.EventSessionEnded, home),
			"SignOut":            w.SignOut(ctx, ada.ID, id, false, home),
			"SignOut everywhere": w.SignOut(ctx, ada.ID, id, true, home),
		} {
			if got := codeOf(err); got != "no code" || errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: got %v (%s), want an error without a code", method, err, got)
			}
		}
	})
}
