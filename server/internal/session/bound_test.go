package session

import (
	"errors"
	"testing"
	"time"

	"github.com/durward-auth/durward"

	"github.com/durward-auth/durward/server/internal/testkit"
)

// held returns a DPoP key of which the client proved possession. Its proof can be spent once.
func held(thumbprint string) (key *durward.HeldKey, spent *int) {
	spent = new(int)
	return &durward.HeldKey{Thumbprint: thumbprint, Spend: func() error {
		if *spent++; *spent > 1 {
			return durward.InvalidProof
		}
		return nil
	}}, spent
}

// Only the key that a grant is bound to can refresh it. Other requests change nothing and spend no
// proof.
func TestBoundGrant(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		u := w.user()
		mine := func() *durward.HeldKey { key, _ := held("mine"); return key }
		first, err := w.SignIn(t.Context(), w.proof(u), mine(), home)
		w.must(err)
		if g, _ := w.grant(first.Refresh); g.JKT != "mine" || !first.Bound {
			t.Errorf("got bound %t, to key %q", first.Bound, g.JKT)
		}
		stay := func(what string) {
			t.Helper()
			before, session := w.grant(first.Refresh)
			theirs, spent := held("theirs")
			for name, key := range map[string]*durward.HeldKey{"none": nil, "another": theirs} {
				got, err := w.Refresh(t.Context(), first.Refresh, key, home)
				if codeOf(err) != durward.InvalidProof || got != (Tokens{}) {
					t.Errorf("%s, with key %s: got %v, %+v", what, name, err, got)
				}
			}
			after, sessionAfter := w.grant(first.Refresh)
			if after.Generation != before.Generation || after.Moved != before.Moved || after.Replays != before.Replays || !after.EndedAt.IsZero() || !sessionAfter.EndedAt.Equal(session.EndedAt) || *spent != 0 {
				t.Errorf("%s: got grant %+v, want %+v; got %d proofs spent, want 0", what, after, before, *spent)
			}
		}
		stay("current")
		key, spent := held("mine")
		second, err := w.Refresh(t.Context(), first.Refresh, key, home)
		w.must(err)
		if !second.Bound || *spent != 1 {
			t.Errorf("got bound %t, spent %d times", second.Bound, *spent)
		}
		if got, err := w.Refresh(t.Context(), second.Refresh, key, home); codeOf(err) != durward.InvalidProof || got != (Tokens{}) {
			t.Errorf("with a spent proof: got %v", err)
		}
		stay("within the grace")
		w.clock.Advance(time.Hour)
		stay("after the grace")
		// A response was lost long ago: the holder of the key gets it again, however often.
		for range 7 {
			again, err := w.Refresh(t.Context(), first.Refresh, mine(), home)
			w.must(err)
			if again.Refresh != second.Refresh || !again.Bound {
				t.Fatalf("got another token, bound %t", again.Bound)
			}
		}
		third, err := w.Refresh(t.Context(), second.Refresh, mine(), home)
		w.must(err)
		stay("two back") // a Bearer token would be theft here
		w.must(errOf(w.Refresh(t.Context(), third.Refresh, mine(), home)))

		// Only the holder of the key learns that the user is locked.
		w.exec(`UPDATE users SET locked_at = 1 WHERE id = $1`, u.ID)
		stay("locked user")
		if _, err := w.Refresh(t.Context(), third.Refresh, mine(), home); codeOf(err) != durward.SessionRevoked {
			t.Errorf("locked user: got %v", err)
		}
	})
}

func errOf[T any](_ T, err error) error { return err }

// A sign-in begins no session if its proof was spent before, or if that is unknown because of an
// outage.
func TestSignInWithASpentProof(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		u := w.user()
		key, _ := held("mine")
		w.must(key.Spend())
		for want, spend := range map[durward.Code]func() error{
			durward.InvalidProof: key.Spend,
			"no code":            func() error { return errors.New("too many proofs") },
		} {
			got, err := w.SignIn(t.Context(), w.proof(u), &durward.HeldKey{Thumbprint: "mine", Spend: spend}, home)
			if codeOf(err) != want || got != (Tokens{}) {
				t.Errorf("got %v, %+v; want %s", err, got, want)
			}
		}
		if sessions, err := w.db.Sessions(t.Context(), u.ID, w.clock.Now()); err != nil || len(sessions) != 0 {
			t.Errorf("got %d sessions, %v; want none", len(sessions), err)
		}
	})
}

// A refresh with a key does not bind an unbound grant.
func TestUnboundGrantStaysUnbound(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		tokens := w.signIn(w.user())
		key, spent := held("a thief's")
		next, err := w.Refresh(t.Context(), tokens.Refresh, key, home)
		w.must(err)
		if g, _ := w.grant(next.Refresh); next.Bound || g.JKT != "" || *spent != 1 {
			t.Errorf("got bound %t, to key %q; spent %d times", next.Bound, g.JKT, *spent)
		}
		w.refreshed(next.Refresh, home)
	})
}
