package httpapi

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// withPassword requests the profile with e-mail address and password.
func (w *env) withPassword(email, password string) reply {
	w.t.Helper()
	r, err := http.NewRequest("GET", w.url+"/api/profile", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	r.SetBasicAuth(email, password)
	return w.send(r)
}

func TestBasicIsOffUnlessAskedFor(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	r := w.withPassword(adaEmail, adaPassword)
	w.refused(r, 401, "UNSUPPORTED_SCHEME")
	if strings.Contains(strings.Join(r.Header.Values("WWW-Authenticate"), ","), "Basic") {
		t.Errorf("challenges: %q", r.Header.Values("WWW-Authenticate"))
	}
	if w.hasher.Runs() > 1 { // one of them for the account
		t.Error("a password was hashed")
	}
}

func TestBasic(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{basic: true})
	r := w.withPassword(adaEmail, "not the right one")
	w.refused(r, 401, "INVALID_CREDENTIALS")
	want := `Bearer realm="127.0.0.1"|ApiKey realm="127.0.0.1", field="X-API-Key"|Session realm="127.0.0.1"|Basic realm="127.0.0.1", charset="UTF-8"`
	if got := strings.Join(r.Header.Values("WWW-Authenticate"), "|"); got != want {
		t.Errorf("challenges %s, want %s", got, want)
	}
	before := w.hasher.Runs()
	for range 5 {
		if r := w.withPassword(" ADA@example.COM", adaPassword); r.StatusCode != 200 || !strings.Contains(string(r.body), w.ada.ID) {
			t.Fatalf("%s %s", r.Status, r.body)
		}
	}
	if n := w.hasher.Runs() - before; n != 1 {
		t.Errorf("the right password was hashed %d times for five requests", n)
	}
	if r := w.do("GET", "/api/auth/sessions", w.signIn().AccessToken, nil); strings.Count(string(r.body), `"id"`) != 1 {
		t.Errorf("a session was begun by Basic: %s", r.body)
	}
	stepUp, err := http.NewRequest("POST", w.url+"/api/auth/step-up", strings.NewReader(`{"password":"`+adaPassword+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	stepUp.Header.Set("Content-Type", "application/json")
	stepUp.SetBasicAuth(adaEmail, adaPassword)
	w.refused(w.send(stepUp), 403, "FORBIDDEN")
}

// A cached password check ends at once with the password, with a lock of the account and with a
// block.
func TestBasicForgets(t *testing.T) {
	t.Parallel()
	ctx, operator := context.Background(), request.Info{Actor: "operator"}
	const second = "another horse battery staple"
	w := newEnv(t, settings{basic: true})
	works := func(password string) {
		t.Helper()
		if r := w.withPassword(adaEmail, password); r.StatusCode != 200 {
			t.Fatalf("%s %s", r.Status, r.body)
		}
	}
	works(adaPassword)
	ada, err := w.people.ByEmail(ctx, adaEmail)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.sessions.SetPassword(ctx, ada, second, operator); err != nil {
		t.Fatal(err)
	}
	w.refused(w.withPassword(adaEmail, adaPassword), 401, "INVALID_CREDENTIALS")
	works(second)

	if err := w.sessions.LockUser(ctx, ada.ID, operator); err != nil {
		t.Fatal(err)
	}
	w.refused(w.withPassword(adaEmail, second), 403, "ACCOUNT_DISABLED")
	if err := w.people.Unlock(ctx, ada.ID, operator); err != nil {
		t.Fatal(err)
	}
	works(second)

	// Failures of sign-in and Basic count together, and the block applies to cached checks too.
	for range 2 {
		w.refused(w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": randomPassword()}), 401, "INVALID_CREDENTIALS")
		w.refused(w.withPassword(adaEmail, randomPassword()), 401, "INVALID_CREDENTIALS")
	}
	w.refused(w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": adaPassword}), 401, "INVALID_CREDENTIALS")
	r := w.withPassword(adaEmail, second)
	w.refused(r, 429, "TOO_MANY_ATTEMPTS")
	if r.Header.Get("Retry-After") == "" || r.Header.Get("WWW-Authenticate") != "" {
		t.Errorf("fields: %v", r.Header)
	}
	w.clock.Advance(time.Hour + time.Second)
	works(second)
}

// Unknown addresses cost the same hash as known ones.
func TestBasicUnknownAddress(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{basic: true})
	for _, email := range []string{adaEmail, "nobody@example.com", "no address", ""} {
		before := w.hasher.Runs()
		w.refused(w.withPassword(email, "not the right one"), 401, "INVALID_CREDENTIALS")
		if n := w.hasher.Runs() - before; n != 1 {
			t.Errorf("%q: %d hashes", email, n)
		}
	}
	admin, err := w.people.Add(context.Background(), account.NewUser{Email: "root@example.com", Password: "plenty of words in a row", Admin: true}, store.EventUserAdded, request.Info{Actor: "operator"})
	if err != nil {
		t.Fatal(err)
	}
	if r := w.withPassword("root@example.com", "plenty of words in a row"); r.StatusCode != 200 || !strings.Contains(string(r.body), admin.ID) || !strings.Contains(string(r.body), `"admin"`) {
		t.Errorf("%s %s", r.Status, r.body)
	}
}

// During an outage of the database a correct password gets 503, not 401.
func TestBasicOutage(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{basic: true})
	if r := w.withPassword(adaEmail, adaPassword); r.StatusCode != 200 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	w.refused(w.withPassword(adaEmail, adaPassword), 503, "AUTH_UNAVAILABLE")
	w.refused(w.withPassword(adaEmail, "not the right one"), 503, "AUTH_UNAVAILABLE")
}
