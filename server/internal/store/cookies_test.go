package store

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-auth/durward/server/internal/testkit"
)

// A use of a cookie is recorded once, and never for a cookie that has ended or was replaced.
func TestUseCookie(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		addUser(t, db, "ada")
		signInWithCookie(t, db, "ada", "session-1", "a")
		hash := aCookie("a", "").Hash
		use := func(at, since, ends time.Duration) {
			t.Helper()
			must(t, db.UseCookie(t.Context(), hash, noon.Add(at), noon.Add(since), noon.Add(ends)))
		}
		holds := func(what string, used, ends time.Duration) {
			t.Helper()
			c, s, u, err := db.CookieByHash(t.Context(), hash)
			must(t, err)
			if !c.UsedAt.Equal(noon.Add(used)) || !c.IdleEnds.Equal(noon.Add(ends)) || s.ID != "session-1" || u.ID != "ada" {
				t.Errorf("%s: used at %s, ends at %s, of %s, %s", what, c.UsedAt, c.IdleEnds, s.ID, u.ID)
			}
		}
		use(time.Minute, 0, 31*time.Minute)
		holds("a use", time.Minute, 31*time.Minute)
		use(90*time.Second, 30*time.Second, 40*time.Minute)
		holds("another within the minute", time.Minute, 31*time.Minute)
		use(31*time.Minute, 30*time.Minute, 61*time.Minute)
		holds("one at its end", time.Minute, 31*time.Minute)
		must(t, db.ProveWithCookie(t.Context(), CookieRenewal{
			Proof: aProofOf("session-1", 2*time.Minute), Old: hash, OldEnds: noon.Add(150 * time.Second),
			New: aCookie("b", "session-1"), Event: steppedUpAt(noon.Add(2 * time.Minute)),
		}))
		holds("replaced", time.Minute, 150*time.Second)
		use(140*time.Second, 130*time.Second, 40*time.Minute)
		holds("used when replaced", time.Minute, 150*time.Second)
	})
}

// aRenewal returns the replacement of a session's cookie old by fresh, a minute after noon.
func aRenewal(sessionID, old, fresh string) CookieRenewal {
	return CookieRenewal{
		Proof: aProof(sessionID), Old: aCookie(old, "").Hash, OldEnds: noon.Add(90 * time.Second),
		New: aCookie(fresh, sessionID), Event: anEvent(EventSteppedUp, "ada"),
	}
}

// A password and the cookie of its session change together: if the cookie cannot be replaced, the
// password and the other sessions stay as they are.
func TestChangePasswordWithCookie(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		for name, c := range map[string]struct {
			change func(db *DB, r *CookieRenewal)
			want   error
		}{
			"live cookie: both change":              {func(*DB, *CookieRenewal) {}, nil},
			"cookie of another session: nothing":    {func(_ *DB, r *CookieRenewal) { r.Old = aCookie("b", "").Hash }, ErrNotFound},
			"cookie idle for too long: nothing":     {func(_ *DB, r *CookieRenewal) { r.Event.At = noon.Add(30 * time.Minute) }, ErrNotFound},
			"password changed since: nothing":       {func(_ *DB, r *CookieRenewal) { r.Proof.User.PasswordChangedAt = noon.Add(-time.Hour) }, ErrChanged},
			"user is removed or another's: nothing": {func(_ *DB, r *CookieRenewal) { r.Proof.User.ID = "bob" }, ErrNotFound},
			"session signed out since: nothing": {func(db *DB, _ *CookieRenewal) {
				must(t, errOf(db.EndSession(t.Context(), "session-1", "ada", "signed_out", later, anEvent(EventSignedOut, "ada"), "")))
			}, ErrNotFound},
		} {
			db := openAt(t, fresh(t))
			addUser(t, db, "ada")
			addUser(t, db, "bob")
			signInWithCookie(t, db, "ada", "session-1", "a")
			signInWithCookie(t, db, "ada", "session-2", "b")
			r := aRenewal("session-1", "a", "c")
			c.change(db, &r)
			before := contents(t, db)
			changed := anEvent(EventPasswordChanged, "ada")
			changed.At = noon.Add(time.Minute)
			revoked, err := db.ChangePasswordWithCookie(t.Context(), "$argon2id$new", later, changed, r)
			if !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Errorf("%s: got %v, want %v", name, err, c.want)
			}
			if c.want != nil {
				if diff := cmp.Diff(before, contents(t, db)); diff != "" || revoked != nil {
					t.Errorf("%s: got revocations %v and changes (-before +after):\n%s", name, revoked, diff)
				}
				continue
			}
			u, err := db.UserByID(t.Context(), "ada")
			must(t, err)
			_, s, _, err := db.CookieByHash(t.Context(), r.New.Hash)
			must(t, err)
			if u.Password != "$argon2id$new" || s.ID != "session-1" || len(revoked) != 1 || revoked[0].Value != "session-2" {
				t.Errorf("%s: got password %s, session %s, revocations %v", name, u.Password, s.ID, revoked)
			}
		}
	})
}

func steppedUpAt(at time.Time) Event {
	e := anEvent(EventSteppedUp, "ada")
	e.At = at
	return e
}

func aProofOf(sessionID string, at time.Duration) Proof {
	p := aProof(sessionID)
	p.At = noon.Add(at)
	return p
}

// A proof is accepted only for a live session of the authenticated user.
func TestProve(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		for name, c := range map[string]struct {
			change func(p *Proof)
			want   error
		}{
			"good":                     {func(*Proof) {}, nil},
			"of another person":        {func(p *Proof) { p.User.ID = "bob" }, ErrNotFound},
			"of nobody":                {func(p *Proof) { p.User.ID = "eve" }, ErrNotFound},
			"another password since":   {func(p *Proof) { p.User.PasswordChangedAt = noon.Add(-time.Hour) }, ErrChanged},
			"after the absolute end":   {func(p *Proof) { p.At = noon.Add(12 * time.Hour) }, ErrNotFound},
			"after the cookie's end":   {func(p *Proof) { p.At = noon.Add(30 * time.Minute) }, ErrNotFound},
			"of a session never begun": {func(p *Proof) { p.SessionID = "session-9" }, ErrNotFound},
		} {
			db := openAt(t, fresh(t))
			addUser(t, db, "ada")
			addUser(t, db, "bob")
			signInWithCookie(t, db, "ada", "session-1", "a")
			p := aProof("session-1")
			c.change(&p)
			before := contents(t, db)
			for how, err := range map[string]error{
				"token": errOfProof(db.ProveWithGrant(t.Context(), p, "durward", steppedUpAt(p.At))),
				"cookie": db.ProveWithCookie(t.Context(), CookieRenewal{
					Proof: p, Old: aCookie("a", "").Hash, OldEnds: p.At.Add(time.Second), New: aCookie("b", p.SessionID), Event: steppedUpAt(p.At),
				}),
			} {
				if !errors.Is(err, c.want) || c.want == nil && err != nil {
					t.Errorf("%s, by %s: %v, want %v", name, how, err, c.want)
				}
			}
			if same := len(before) == len(contents(t, db)); same != (c.want != nil) {
				t.Errorf("%s: something was written: %v", name, !same)
			}
		}
	})
}

func errOfProof(_ Session, _ Grant, err error) error { return err }
