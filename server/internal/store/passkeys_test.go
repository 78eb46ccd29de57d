package store

import (
	"errors"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/testkit"
)

// Undoing a changed address removes the passkeys that a thief of the account may have added, and leaves
// older ones.
func TestUndoEmailRemovesPasskeys(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		furnish(t, db)
		add := func(id string, age time.Duration) {
			t.Helper()
			p := aPasskey(id)
			p.UserID, p.CreatedAt = "ada", noon.Add(-age)
			must(t, db.AddPasskey(t.Context(), p, SpentChallenge{[]byte(id), later}, 9, anEvent(EventPasskeyAdded, "ada")))
		}
		add("old", suspectTime+time.Minute)
		add("new", suspectTime-time.Minute)
		mail := Mail{ID: "mail-9", Kind: MailResetPassword, UserID: "ada", CreatedAt: noon}
		_, err := db.UndoEmail(t.Context(), aMailToken("token-1", "", later), "eve2@example.com", []string{"eve2"}, later, anEvent(EventEmailUndone, "ada"), mail)
		must(t, err)
		if left, err := db.Passkeys(t.Context(), "ada"); err != nil || len(left) != 1 || left[0].ID != "old" {
			t.Errorf("left: %+v, %v, want the old passkey", left, err)
		}
		if u, err := db.UserByID(t.Context(), "ada"); err != nil || u.SecondFactorAt.IsZero() {
			t.Errorf("got %+v, %v, want a user with a second factor", u, err)
		}
	})
}

// A passkey is a second factor until the last one is removed, together with the recovery codes.
func TestPasskeyIsSecondFactor(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		furnish(t, db)
		check := func(when string, want bool, codes int) {
			t.Helper()
			u, err := db.UserByID(t.Context(), "eve")
			must(t, err)
			if f, err := db.Factors(t.Context(), "eve"); err != nil || u.SecondFactorAt.IsZero() == want || f.RecoveryCodes != codes {
				t.Errorf("%s: got a second factor since %s and %d codes, %v; want %t and %d", when, u.SecondFactorAt, f.RecoveryCodes, err, want, codes)
			}
		}
		_, err := db.RemoveTOTP(t.Context(), "eve", later, factorEvent(EventFactorRemoved))
		must(t, err)
		check("without the app", true, 3)
		ended := factorEvent(EventPasskeyRemoved)
		ended.SessionID = "session-1"
		if _, err := db.RemovePasskey(t.Context(), "passkey-1", later, ended); !errors.Is(err, ErrChanged) {
			t.Errorf("removal in another user's session: got %v, want ErrChanged", err)
		}
		_, err = db.RemovePasskey(t.Context(), "passkey-1", later, factorEvent(EventPasskeyRemoved))
		must(t, err)
		check("without the passkey", false, 0)
		must(t, db.AddPasskey(t.Context(), aPasskey("passkey-2"), SpentChallenge{[]byte("c"), later}, 9, factorEvent(EventPasskeyAdded)))
		check("with another passkey", true, 0)
		_, err = db.ResetFactors(t.Context(), "eve", later, factorEvent(EventFactorRemoved))
		must(t, err)
		check("after a reset", false, 0)
		if left, err := db.Passkeys(t.Context(), "eve"); err != nil || len(left) != 0 {
			t.Errorf("left after a reset: %+v, %v", left, err)
		}
	})
}

// The response of a passkey finishes a sign-in once, and spends its challenge and the sign-in together.
func TestFinishSignInWithPasskey(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		furnish(t, db)
		finish := func(use PasskeyUse) error {
			_, _, err := db.FinishSignIn(t.Context(), FinishedSignIn{
				NewSession: aNewSession(NewID(), false), Hash: aSignIn("sign-in-1").Hash, Passkey: &use, Void: anEvent(EventSignInVoid, "eve"),
			})
			return err
		}
		must(t, db.UsePasskey(t.Context(), aUse("spent")))
		use := aUse("spent")
		use.Was, use.Passkey.Count = 8, 9
		if err := finish(use); !errors.Is(err, ErrSpent) {
			t.Errorf("a spent challenge: got %v, want ErrSpent", err)
		}
		use.Challenge.Hash = []byte("another")
		must(t, finish(use))
		use.Was, use.Passkey.Count, use.Challenge.Hash = 9, 10, []byte("a third")
		if err := finish(use); !errors.Is(err, ErrNotFound) {
			t.Errorf("a finished sign-in: got %v, want ErrNotFound", err)
		}
		must(t, db.UsePasskey(t.Context(), use)) // the refused call spent nothing
	})
}
