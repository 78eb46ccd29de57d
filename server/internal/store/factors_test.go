package store

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/testkit"
)

// Of many tries at two nodes at once with one code, one recovery code or one sign-in, one wins.
func TestFactorOnceAtTwoNodes(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		address := fresh(t)
		nodes := []*DB{openAt(t, address)}
		furnish(t, nodes[0])
		nodes = append(nodes, openAt(t, address))
		race := func(name string, try func(db *DB, n int) (bool, error)) {
			t.Helper()
			var won atomic.Int64
			var together sync.WaitGroup
			for n := range 20 {
				together.Go(func() {
					right, err := try(nodes[n%2], n)
					if right {
						won.Add(1)
					}
					if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrChanged) {
						t.Errorf("%s: %v", name, err)
					}
				})
			}
			together.Wait()
			if won.Load() != 1 {
				t.Errorf("%s: %d won, want 1", name, won.Load())
			}
			must(t, nodes[0].exec(t.Context(), `DELETE FROM factor_failures`))
		}
		race("one step", func(db *DB, _ int) (bool, error) {
			v, err := db.TryFactor(t.Context(), aTry(FactorTOTP, 7))
			return v.Right, err
		})
		race("one recovery code", func(db *DB, _ int) (bool, error) {
			f := aTry(FactorRecoveryCode, 0)
			f.Hash = []byte{1}
			v, err := db.TryFactor(t.Context(), f)
			return v.Right, err
		})
		race("one sign-in", func(db *DB, n int) (bool, error) {
			id := NewID()
			v, _, err := db.FinishSignIn(t.Context(), FinishedSignIn{
				NewSession: aNewSession(id, n%2 == 0), Hash: aSignIn("sign-in-1").Hash,
				Try: aTry(FactorTOTP, int64(100+n)), Void: anEvent(EventSignInVoid, "eve"),
			})
			return v.Right, err
		})
	})
}

// Failures count for an hour, exactly, and all of them until a success.
func TestFactorFailures(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		furnish(t, db)
		at := noon
		try := func(factor string, step int64) FactorVerdict {
			t.Helper()
			f := aTry(factor, step)
			f.At = at
			v, err := db.TryFactor(t.Context(), f)
			must(t, err)
			return v
		}
		for n := range factorFailuresHour {
			if v := try(FactorTOTP, 0); !v.Tried || v.Right {
				t.Fatalf("failure %d: got %+v", n+1, v)
			}
			at = at.Add(time.Minute)
		}
		if v := try(FactorTOTP, 7); v.Tried || v.Wait != 50*time.Minute {
			t.Errorf("a right code after ten failures: got %+v, want to wait 50m", v)
		}
		if v := try(FactorRecoveryCode, 0); !v.Tried {
			t.Errorf("another factor: got %+v", v)
		}
		at = noon.Add(factorWindow - time.Microsecond)
		if v := try(FactorTOTP, 7); v.Tried || v.Wait != time.Microsecond {
			t.Errorf("a microsecond before the hour ends: got %+v", v)
		}
		at = noon.Add(factorWindow)
		if v := try(FactorTOTP, 0); !v.Tried {
			t.Errorf("after an hour: got %+v", v)
		}
		if v := try(FactorTOTP, 7); v.Tried {
			t.Errorf("ten failures again: got %+v", v)
		}
		at = at.Add(time.Hour)
		if v := try(FactorTOTP, 7); !v.Right {
			t.Errorf("a right code: got %+v", v)
		}
		for n := range maxFactorFailures {
			if v := try(FactorTOTP, 0); !v.Tried {
				t.Fatalf("failure %d after a success: got %+v", n+1, v)
			}
			at = at.Add(time.Hour)
		}
		if v := try(FactorTOTP, 9); v.Tried || v.Wait != 0 {
			t.Errorf("a right code after a hundred failures: got %+v, want the factor locked", v)
		}
		f, err := db.Factors(t.Context(), "eve")
		if err != nil || !slices.Equal(f.Usable(), []string{FactorPasskey, FactorRecoveryCode}) || f.RecoveryCodes != 3 {
			t.Errorf("factors: got %+v, %v", f, err)
		}
	})
}

// A seed is confirmed in time, by its owner, with a live session, and replaces the earlier one.
func TestConfirmTOTP(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		furnish(t, db)
		confirm := func(userID, session string, since time.Time, verify func(TOTP) (int64, bool, error)) (bool, error) {
			e := factorEvent(EventFactorAdded)
			e.UserID, e.SessionID = userID, session
			right, _, err := db.ConfirmTOTP(t.Context(), userID, since, verify, e)
			return right, err
		}
		for name, c := range map[string]struct {
			userID, session string
			since           time.Time
			want            error
		}{
			"too late":                  {"eve", "session-6", noon, ErrNotFound},
			"of another user":           {"ada", "session-1", noon.Add(-time.Minute), ErrNotFound},
			"in another user's session": {"eve", "session-1", noon.Add(-time.Minute), ErrChanged},
			"in an ended session":       {"bob", "session-4", noon.Add(-time.Minute), ErrChanged},
		} {
			if _, err := confirm(c.userID, c.session, c.since, accept(9)); !errors.Is(err, c.want) {
				t.Errorf("%s: got %v, want %v", name, err, c.want)
			}
		}
		if right, err := confirm("eve", "session-6", noon.Add(-time.Minute), refuse); right || err != nil {
			t.Errorf("wrong code: got %t, %v", right, err)
		}
		if f, err := db.Factors(t.Context(), "eve"); err != nil || f.TOTP.ID != "totp of eve" {
			t.Errorf("after a wrong code: got %+v, %v, want the earlier seed", f, err)
		}
		if right, err := confirm("eve", "session-6", noon.Add(-time.Minute), accept(9)); !right || err != nil {
			t.Errorf("right code: got %t, %v", right, err)
		}
		if f, err := db.Factors(t.Context(), "eve"); err != nil || f.TOTP.ID != "totp-2" || f.TOTP.LastStep != 9 {
			t.Errorf("after the right code: got %+v, %v, want the new seed", f, err)
		}
		ended := factorEvent(EventRecoveryCodesMade)
		ended.SessionID = "session-1"
		if err := db.ReplaceRecoveryCodes(t.Context(), "eve", nil, ended); !errors.Is(err, ErrChanged) {
			t.Errorf("recovery codes in another user's session: got %v, want ErrChanged", err)
		}
		if _, err := db.RemoveTOTP(t.Context(), "eve", later, ended); !errors.Is(err, ErrChanged) {
			t.Errorf("removal in another user's session: got %v, want ErrChanged", err)
		}
	})
}

// A sign-in by the password alone that began before the second factor begins no session after it.
func TestSignInDuringEnrolment(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		addUser(t, db, "ada")
		signIn(t, db, "ada", "session-1", "grant-1")
		enrol(t, db, "ada", "session-1")
		_, err := db.CreateSession(t.Context(), aSession("late", "ada"), aGrant("late", "late"), anEvent(EventSignedIn, "ada"), home, aUser("ada"))
		if !errors.Is(err, ErrChanged) {
			t.Errorf("got %v, want ErrChanged", err)
		}
	})
}

// An administrator removes single factors without a session of the user, and all sessions of the user end. An
// event without actor and session removes nothing.
func TestRemoveFactorByAdministrator(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		furnish(t, db)
		remove := func(actor string) (totp, passkey error) {
			e := factorEvent(EventFactorRemoved)
			e.SessionID, e.Actor = "", actor
			_, totp = db.RemoveTOTP(t.Context(), "eve", later, e)
			e.ID += " of the passkey"
			_, passkey = db.RemovePasskey(t.Context(), "passkey-1", later, e)
			return totp, passkey
		}
		if totp, passkey := remove(""); !errors.Is(totp, ErrChanged) || !errors.Is(passkey, ErrChanged) {
			t.Errorf("without an actor: got %v and %v, want ErrChanged", totp, passkey)
		}
		if totp, passkey := remove(Operator); totp != nil || passkey != nil {
			t.Errorf("by the operator: got %v and %v", totp, passkey)
		}
		if f, err := db.Factors(t.Context(), "eve"); err != nil || f.TOTP.ID != "" || f.Passkeys != 0 {
			t.Errorf("left: %+v, %v, want no factor", f, err)
		}
		if left, err := db.Sessions(t.Context(), "eve", noon); err != nil || len(left) != 0 {
			t.Errorf("sessions: %+v, %v, want none", left, err)
		}
	})
}
