package store

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/durward-auth/durward/server/internal/testkit"
)

// A second factor is required of a user by name or by one of their groups, and of no other user.
func TestFactorRequired(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		addUser(t, db, "ada")
		addUser(t, db, "bob")
		required := func(step string, wantAda, wantBob bool) {
			t.Helper()
			for id, want := range map[string]bool{"ada": wantAda, "bob": wantBob} {
				u, err := db.UserByID(t.Context(), id)
				if err != nil || u.FactorRequired != want || u.OwesFactor() != want {
					t.Errorf("%s: %s: required %t, owed %t, %v, want %t", step, id, u.FactorRequired, u.OwesFactor(), err, want)
				}
			}
		}
		events := func() int {
			return count(t, db, `SELECT count(*) FROM events WHERE kind IN ('factor_required', 'factor_not_required')`)
		}
		required("at first", false, false)
		for _, step := range []struct {
			name     string
			do       func() error
			ada, bob bool
			events   int
		}{
			{"of ada", func() error {
				return db.RequireFactor(t.Context(), "ada", true, anEvent(EventFactorRequired, "ada"))
			}, true, false, 1},
			{"of ada again", func() error {
				return db.RequireFactor(t.Context(), "ada", true, anEvent(EventFactorRequired, "ada"))
			}, true, false, 1},
			{"of a group of bob", func() error {
				return errors.Join(db.AddToGroup(t.Context(), "bob", "staff", 10, anEvent(EventGroupAdded, "bob")),
					db.RequireFactorOfGroup(t.Context(), "staff", true, 10, anEvent(EventFactorRequired, "")))
			}, true, true, 2},
			{"of that group again", func() error {
				return db.RequireFactorOfGroup(t.Context(), "staff", true, 10, anEvent(EventFactorRequired, ""))
			}, true, true, 2},
			{"no longer of ada", func() error {
				return db.RequireFactor(t.Context(), "ada", false, anEvent(EventFactorNotRequired, "ada"))
			}, false, true, 3},
			{"ada joins the group", func() error {
				return db.AddToGroup(t.Context(), "ada", "staff", 10, anEvent(EventGroupAdded, "ada"))
			}, true, true, 3},
			{"bob leaves it", func() error {
				return errOf(db.RemoveFromGroup(t.Context(), "bob", "staff", later, anEvent(EventGroupRemoved, "bob")))
			}, true, false, 3},
			{"no longer of the group", func() error {
				return db.RequireFactorOfGroup(t.Context(), "staff", false, 10, anEvent(EventFactorNotRequired, ""))
			}, false, false, 4},
			{"of a group without users", func() error {
				return db.RequireFactorOfGroup(t.Context(), "board", true, 10, anEvent(EventFactorRequired, ""))
			}, false, false, 5},
		} {
			if err := step.do(); err != nil {
				t.Errorf("%s: %v", step.name, err)
			}
			required(step.name, step.ada, step.bob)
			if n := events(); n != step.events {
				t.Errorf("%s: %d events, want %d", step.name, n, step.events)
			}
		}
		sizes, err := db.GroupSizes(t.Context())
		if want := []GroupSize{{"board", 0, true}, {"staff", 1, false}}; err != nil || !slices.Equal(sizes, want) {
			t.Errorf("groups: %+v, %v, want %+v", sizes, err, want)
		}
		if err := db.RequireFactor(t.Context(), "none", true, anEvent(EventFactorRequired, "none")); !errors.Is(err, ErrNotFound) {
			t.Errorf("of an unknown user: %v, want ErrNotFound", err)
		}
		clean(t, db)
	})
}

// A user with a second factor owes none.
func TestOwesFactor(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		addUser(t, db, "eve")
		must(t, db.RequireFactor(t.Context(), "eve", true, anEvent(EventFactorRequired, "eve")))
		signIn(t, db, "eve", "session-1", "grant-1")
		enrol(t, db, "eve", "session-1")
		if u, err := db.UserByID(t.Context(), "eve"); err != nil || !u.FactorRequired || u.OwesFactor() {
			t.Errorf("required %t, owed %t, %v, want true and false", u.FactorRequired, u.OwesFactor(), err)
		}
	})
}

// The groups that require a second factor are bounded, also when they are set at the same time.
func TestMostFactorGroups(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		const most = 3
		var together sync.WaitGroup
		for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
			together.Go(func() {
				err := db.RequireFactorOfGroup(t.Context(), name, true, most, anEvent(EventFactorRequired, ""))
				if err != nil && !errors.Is(err, ErrTooMany) {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
		together.Wait()
		if n := count(t, db, `SELECT count(*) FROM factor_groups`); n != most {
			t.Errorf("%d groups, want %d", n, most)
		}
	})
}
