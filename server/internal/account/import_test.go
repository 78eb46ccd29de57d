package account

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

const bcryptOf = "$2y$04$EVTD5jzxRNGqIo5.afCf0uwnt25IRD16kxCN1mrpesG0Z10/EU7a2" // correct horse battery staple

// newImport returns an import.
func (h *env) newImport() *Import {
	return &Import{Accounts: h.Manager, From: request.Info{Actor: "operator"}}
}

// importUser imports one user and returns the fault.
func (h *env) importUser(u ImportedUser) error {
	h.t.Helper()
	was, err := h.DB.ImportState(h.t.Context())
	must(h.t, err)
	faults, err := h.newImport().Add(h.t.Context(), []ImportedUser{u}, was, func([]error) (string, error) { return "state", nil })
	must(h.t, err)
	return faults[0]
}

// A batch is added with the state of the import, or not at all. A fault keeps out its user alone.
func TestImportBatch(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		users := []ImportedUser{
			{Email: "new@example.com", Hash: bcryptOf, Name: "New", Admin: true},
			{Email: strings.ToUpper(adaEmail), Hash: bcryptOf}, // has an account
			{Email: "NEW@example.com", Hash: bcryptOf},         // is there twice
			{Email: "n\u0435w@example.com", Hash: bcryptOf},    // a Cyrillic letter: looks like the first
			{Email: "locked@example.com", Hash: bcryptOf, Locked: true},
			{Email: "none@example.com"},
			{Email: "no address", Hash: bcryptOf},
			{Email: "plain@example.com", Hash: "a plain password"},
		}
		want := []durward.Code{"", durward.EmailTaken, durward.EmailTaken, durward.EmailTaken, "", durward.InvalidRequest, durward.InvalidRequest, durward.InvalidRequest}
		check := func(name string, faults []error) {
			t.Helper()
			for n, err := range faults {
				if codeOf(err) != want[n] {
					t.Errorf("%s, user %d: got %v, want %q", name, n, err, want[n])
				}
			}
			if len(faults) != len(want) {
				t.Errorf("%s: %d faults for %d users", name, len(faults), len(users))
			}
		}
		count := func(h *env) int {
			all, err := h.DB.Users(t.Context(), "", 100)
			must(t, err)
			return len(all)
		}
		h := newEnv(t, engine)
		before := count(h)
		never := func([]error) (string, error) { t.Error("a dry run stores a state"); return "", nil }

		// A dry run finds the same faults, also over two batches, and writes nothing.
		dry := h.newImport()
		dry.DryRun = true
		first, err := dry.Add(t.Context(), users[:2], "", never)
		must(t, err)
		second, err := dry.Add(t.Context(), users[2:], "", never)
		must(t, err)
		check("dry run", slices.Concat(first, second))
		if state, err := h.DB.ImportState(t.Context()); state != "" || err != nil || count(h) != before {
			t.Errorf("dry run: state %q, %d users, %v", state, count(h), err)
		}

		// An error of next takes the batch back.
		broken := errors.New("the report cannot be written")
		if _, err := h.newImport().Add(t.Context(), users, "", func([]error) (string, error) { return "", broken }); !errors.Is(err, broken) || count(h) != before {
			t.Errorf("error of next: got %v and %d users, want none more than %d", err, count(h), before)
		}

		var told []error
		faults, err := h.newImport().Add(t.Context(), users, "", func(faults []error) (string, error) { told = faults; return "one", nil })
		must(t, err)
		check("import", faults)
		check("next", told)
		if got := count(h); got != before+2 {
			t.Errorf("%d users, want %d", got, before+2)
		}
		u, err := h.ByEmail(t.Context(), "new@example.com")
		must(t, err)
		if u.Name != "New" || !u.Admin || u.Password != bcryptOf || !u.LockedAt.IsZero() {
			t.Errorf("got %+v", u)
		}
		if u, err = h.ByEmail(t.Context(), "locked@example.com"); err != nil || u.LockedAt.IsZero() {
			t.Errorf("locked: got %+v, %v", u, err)
		}
		// The state is that of the last batch: another import is noticed.
		for _, was := range []string{"", "two"} {
			if _, err := h.newImport().Add(t.Context(), users, was, never); !errors.Is(err, store.ErrChanged) {
				t.Errorf("after %q: got %v, want ErrChanged", was, err)
			}
		}
		if err := h.DB.EndImport(t.Context(), "two"); !errors.Is(err, store.ErrChanged) {
			t.Errorf("end of another import: %v", err)
		}
		must(t, h.DB.EndImport(t.Context(), "one"))
		// Without a hash a user has no password; an empty one does not match.
		i := h.newImport()
		i.WithoutHash, i.LookAlike = true, true
		faults, err = i.Add(t.Context(), users[3:6], "", func([]error) (string, error) { return "x", nil })
		must(t, err)
		if faults[0] != nil || codeOf(faults[1]) != durward.EmailTaken || faults[2] != nil {
			t.Errorf("without a hash: got %v", faults)
		}
		for _, password := range []string{"", "a long enough password"} {
			_, err := h.Authenticate(t.Context(), "none@example.com", password, here)
			refused(t, fmt.Sprintf("password %q of a user without one", password), err, durward.InvalidCredentials)
		}
	})
}

// Of two imports at once each batch is added once.
func TestImportsAtOnce(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		h := newEnv(t, engine)
		const runs = 8
		results := make(chan error, runs)
		for n := range runs {
			go func() {
				_, err := h.newImport().Add(t.Context(), []ImportedUser{{Email: fmt.Sprintf("user%d@example.com", n), Hash: bcryptOf}}, "",
					func([]error) (string, error) { return fmt.Sprint("state ", n), nil })
				results <- err
			}()
		}
		added := 0
		for range runs {
			if err := <-results; err == nil {
				added++
			} else if !errors.Is(err, store.ErrChanged) {
				t.Errorf("got %v, want ErrChanged", err)
			}
		}
		if users, err := h.DB.Users(t.Context(), "user", 100); added != 1 || len(users) != 1 || err != nil {
			t.Errorf("%d of %d imports went on, with %d users: %v; want 1 with 1", added, runs, len(users), err)
		}
	})
}
