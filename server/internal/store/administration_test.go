package store

import (
	"errors"
	"sync"
	"testing"

	"github.com/durward-auth/durward/server/internal/testkit"
)

// administrators returns a database with some administrators, by their ids.
func administrators(t *testing.T, db *DB, ids ...string) {
	t.Helper()
	for _, id := range ids {
		u := aUser(id)
		u.Admin = true
		must(t, db.CreateUser(t.Context(), u, nil, false, anEvent(EventUserAdded, id)))
	}
}

// by returns an event that an administrator causes.
func by(actor, kind, userID string) Event {
	e := anEvent(kind, userID)
	e.Actor = actor
	return e
}

// The right of the actor is checked in the transaction: writes of a user who is no administrator, or was
// locked or deleted, change nothing.
func TestActorIsAdministrator(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		addUser(t, db, "ada")
		addUser(t, db, "eve")
		administrators(t, db, "root", "other", "locked", "gone")
		ctx, no := t.Context(), false
		_, err := db.LockUser(ctx, "locked", later, by("root", EventUserLocked, "locked"))
		must(t, err)
		_, err = db.DeleteUser(ctx, "gone", later, by("root", EventUserDeleted, "gone"))
		must(t, err)
		_, err = db.SetUser(ctx, "other", UserChange{Admin: &no}, later, by("root", EventUserChanged, "other"))
		must(t, err)
		for _, actor := range []string{"eve", "other", "locked", "gone", "none"} {
			before := contents(t, db)
			if _, err := db.DeleteUser(ctx, "ada", later, by(actor, EventUserDeleted, "ada")); !errors.Is(err, ErrNotAdmin) {
				t.Errorf("deletion by %s: %v, want ErrNotAdmin", actor, err)
			}
			if after := contents(t, db); len(after) != len(before) {
				t.Errorf("deletion by %s changed the database", actor)
			}
		}
	})
}

// Of administrators who demote each other in a circle at the same time, at least one stays.
func TestAdministratorsDemoteEachOther(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		ids := []string{"a", "b", "c", "d"}
		administrators(t, db, ids...)
		var wg sync.WaitGroup
		no := false
		for i, id := range ids {
			next := ids[(i+1)%len(ids)]
			wg.Go(func() {
				_, err := db.SetUser(t.Context(), next, UserChange{Admin: &no}, later, by(id, EventUserChanged, next))
				if err != nil && !errors.Is(err, ErrNotAdmin) {
					t.Errorf("%s demotes %s: %v", id, next, err)
				}
			})
		}
		wg.Wait()
		if left, err := db.FindUsers(t.Context(), UserFilter{Admin: true, Limit: 10}); err != nil || len(left) == 0 {
			t.Errorf("administrators left: %d, %v, want one or more", len(left), err)
		}
	})
}

// A deleted user leaves rows of revocations and of the security log only.
func TestDeleteUserLeavesNothing(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		furnish(t, db)
		revoked, err := db.DeleteUser(t.Context(), "ada", later, anEvent(EventUserDeleted, "ada"))
		if err != nil || len(revoked) != 4 {
			t.Fatalf("got %d revocations, %v, want those of 4 sessions", len(revoked), err)
		}
		for _, table := range []string{"sessions", "api_keys", "notifications", "places", "mail_tokens", "skeletons", "outbox", "totp", "recovery_codes", "signins"} {
			if n := count(t, db, `SELECT count(*) FROM `+table+` WHERE user_id = 'ada'`); n != 0 {
				t.Errorf("%d rows of %s are left", n, table)
			}
		}
		clean(t, db)
	})
}
