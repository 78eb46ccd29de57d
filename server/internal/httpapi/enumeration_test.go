package httpapi

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// No client that does not know the password learns from a response whether an address has an account, or of
// which kind: status, fields, body, length and the number of hashes are the same. The same holds once
// guesses have locked the accounts, also for the right passwords.
func TestEnumeration(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{basic: true, registration: true, verifyEmail: true})
	operator := request.Info{Actor: "operator"}
	states := []string{"unknown", "ordinary", "disabled", "unverified", "passkeys", "factor", "imported", "unlocked"}
	email := func(state string) string { return strings.Repeat("a", 12-len(state)) + state + "@example.com" } // of one length
	for _, state := range states[1:] {
		n := account.NewUser{Email: email(state), Password: adaPassword}
		if state == "imported" {
			imported := account.ImportedUser{
				Email: n.Email,
				Hash:  "$2y$04$EVTD5jzxRNGqIo5.afCf0uwnt25IRD16kxCN1mrpesG0Z10/EU7a2", // "correct horse battery staple"
			}
			all := account.Import{Accounts: w.people, From: operator}
			faults, err := all.Add(t.Context(), []account.ImportedUser{imported}, "", func([]error) (string, error) { return "", nil })
			if err := errors.Join(append(faults, err)...); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if state == "unverified" {
			if r := w.do("POST", "/api/auth/register", "", object{"email": n.Email, "password": n.Password}); r.StatusCode != 202 {
				t.Fatalf("%s: %s %s", state, r.Status, r.body)
			}
			continue
		}
		u, err := w.people.Add(t.Context(), n, store.EventUserAdded, operator)
		if err != nil {
			t.Fatal(err)
		}
		switch state {
		case "disabled":
			err = w.sessions.LockUser(t.Context(), u.ID, operator)
		case "unlocked": // its failures are counted by another key
			err = w.people.Unlock(t.Context(), u.ID, operator)
		case "passkeys":
			w.change(`UPDATE users SET password = '' WHERE id = ?`, u.ID)
		case "factor":
			w.enrol(u.Email)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.people.ReadImported(t.Context()); err != nil {
		t.Fatal(err)
	}

	post := func(path string, body func(email, password string) object) func(string, string) reply {
		return func(email, password string) reply { return w.do("POST", path, "", body(email, password)) }
	}
	address := func(email, _ string) object { return object{"email": email} }
	type door struct {
		name   string
		ask    func(email, password string) reply
		status int
		hashes uint64 // with one cost of imported hashes
		locked int    // status once guesses have locked the account
	}
	doors := []door{
		{
			"login",
			post("/api/auth/login", func(email, password string) object { return object{"email": email, "password": password} }),
			401, 2, 429,
		},
		{
			"login with a cookie",
			func(email, password string) reply {
				return w.byCookie("POST", "/api/auth/login", "", object{"email": email, "password": password, "use_cookies": true})
			},
			401, 2, 429,
		},
		{"Basic", w.withPassword, 401, 2, 429},
		{"forgot", post("/api/auth/password/forgot", address), 202, 0, 202},
		{"verify", post("/api/auth/email/verify/send", address), 202, 0, 202},
	}
	// seen returns what the client sees of a response, without what differs from one to the next.
	seen := func(r reply, before uint64) string {
		h := r.Header.Clone()
		denial := h.Get("Durward-Denial")
		h.Del("Date")
		body := string(r.body)
		if denial != "" {
			h.Set("Durward-Denial", strings.Repeat("*", len(denial)))
			body = strings.ReplaceAll(body, denial, "*")
		}
		var fields []string
		for _, name := range slices.Sorted(maps.Keys(h)) {
			fields = append(fields, fmt.Sprintf("%s: %q", name, h[name]))
		}
		return fmt.Sprintf("%d, %d hashes, length %d\n%s\n%s", r.StatusCode, w.hasher.Runs()-before, r.ContentLength, strings.Join(fields, "\n"), body)
	}
	compare := func(locked bool, doors ...door) {
		t.Helper()
		for _, door := range doors {
			status, hashes := door.status, door.hashes
			if locked {
				status = door.locked
				if status == http.StatusTooManyRequests {
					hashes = 0
				}
			}
			want := ""
			for _, state := range states {
				password := randomPassword() // the same one again would count once
				if locked {
					password = adaPassword
				}
				before := w.hasher.Runs()
				r := door.ask(email(state), password)
				got := seen(r, before)
				if want == "" {
					want = got
				}
				if runs := w.hasher.Runs() - before; r.StatusCode != status || runs != hashes || got != want {
					t.Errorf("%s, %s, locked %v: want %d after %d hashes, as for an unknown address\ngot  %s\nwant %s",
						door.name, state, locked, status, hashes, got, want)
				}
				if status != http.StatusTooManyRequests {
					w.clock.Advance(time.Minute) // the network has ten failures a minute
				}
			}
		}
	}
	compare(false, doors...)
	for _, state := range states {
		for n := range 7 { // after one at each of three doors
			from := request.Info{Addr: netip.AddrFrom4([4]byte{198, 51, 100, byte(n)})}
			if _, err := w.people.Authenticate(t.Context(), email(state), randomPassword(), from); err == nil {
				t.Fatal("a guess is right")
			}
		}
	}
	compare(true, doors...)
	// The last one, because it makes the unknown address known.
	compare(false, door{
		"register",
		post("/api/auth/register", func(email, _ string) object { return object{"email": email, "password": newPassword} }),
		202, 1, 202,
	})
}
