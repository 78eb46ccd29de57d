package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/session"
)

func TestWholeRound(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})

	r := w.do("GET", "/api/profile", "", nil)
	p := w.refused(r, 401, "AUTHENTICATION_REQUIRED")
	if got := r.Header.Get("WWW-Authenticate"); got != `Bearer realm="127.0.0.1"` {
		t.Errorf("challenge without credentials: %s", got)
	}
	if p["type"] != "http://127.0.0.1:8401"+testPrefix+"/errors/AUTHENTICATION_REQUIRED" || p["error"] != nil {
		t.Errorf("problem: %v", p)
	}

	first := w.signIn()
	if first.TokenType != "Bearer" || first.ExpiresIn != 900 || first.RefreshExpiresIn != 604800 || first.Scope != "profile" {
		t.Errorf("token answer: %+v", first)
	}
	var me profile
	if r := w.do("GET", "/api/profile", first.AccessToken, nil); json.Unmarshal(r.body, &me) != nil || me.Email != adaEmail || me.Name != "Ada" {
		t.Errorf("profile: %s", r.body)
	}
	if r := w.do("PATCH", "/api/profile", first.AccessToken, object{"name": "Ada Lovelace"}); json.Unmarshal(r.body, &me) != nil || me.Name != "Ada Lovelace" {
		t.Errorf("changed profile: %s", r.body)
	}
	if r := w.do("GET", "/api/notifications", first.AccessToken, nil); strings.TrimSpace(string(r.body)) != `{"items":[]}` {
		t.Errorf("the first sign-in makes no notification: %s", r.body)
	}

	second := w.tokens(w.refreshWith(first.RefreshToken))
	w.works(first.AccessToken) // a refresh leaves the old access token to its end
	w.works(second.AccessToken)

	if r := w.do("POST", "/api/auth/logout", second.AccessToken, nil); r.StatusCode != 204 || len(r.body) > 0 {
		t.Errorf("logout: %s %s", r.Status, r.body)
	}
	w.dead(first.AccessToken, "TOKEN_REVOKED")
	w.dead(second.AccessToken, "TOKEN_REVOKED")
	w.refused(w.refreshWith(second.RefreshToken), 401, "SESSION_REVOKED")
	if r := w.do("POST", "/api/auth/logout", second.AccessToken, nil); r.StatusCode != 204 {
		t.Errorf("logout with an ended token: %s, want 204", r.Status)
	}
}

func TestExpiredTokenSaysSo(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	first := w.signIn()
	w.clock.Advance(899 * time.Second)
	w.works(first.AccessToken)
	w.clock.Advance(2 * time.Second)
	w.dead(first.AccessToken, "TOKEN_EXPIRED")
	w.works(w.tokens(w.refreshWith(first.RefreshToken)).AccessToken)
}

func TestLogoutByEachCredential(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	logout := func(token string, body any) {
		t.Helper()
		if r := w.do("POST", "/api/auth/logout", token, body); r.StatusCode != 204 {
			t.Fatalf("logout: %s %s", r.Status, r.body)
		}
	}

	s := w.signIn()
	logout("", object{"refresh_token": s.RefreshToken})
	w.dead(s.AccessToken, "TOKEN_REVOKED")

	s = w.signIn()
	w.clock.Advance(time.Hour) // the access token is past its end; the session is not
	logout(s.AccessToken, nil)
	w.refused(w.refreshWith(s.RefreshToken), 401, "SESSION_REVOKED")

	a, b := w.signIn(), w.signIn()
	logout(a.AccessToken, object{"everywhere": true})
	w.dead(b.AccessToken, "TOKEN_REVOKED")

	s = w.signIn()
	for _, nonsense := range []string{"", "nonsense", "a.b.c"} {
		logout(nonsense, nil)
		logout("", object{"refresh_token": "dr_" + nonsense})
	}
	w.works(s.AccessToken)
}

func TestGuessing(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	wrong := func() reply {
		return w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": randomPassword()})
	}
	var first string
	for n := 1; n <= 5; n++ {
		r := wrong()
		p := w.refused(r, 401, "INVALID_CREDENTIALS")
		delete(p, "instance")
		text, _ := json.Marshal(p)
		if first == "" {
			first = string(text)
		}
		if string(text) != first {
			t.Errorf("failure %d differs from the first:\n%s\n%s", n, text, first)
		}
		if got := r.Header.Get("WWW-Authenticate"); got != `Session realm="127.0.0.1"` {
			t.Errorf("challenge: %s", got)
		}
	}
	check := func(r reply) {
		t.Helper()
		w.refused(r, 429, "TOO_MANY_ATTEMPTS")
		if after, err := strconv.Atoi(r.Header.Get("Retry-After")); err != nil || after < 3000 || after > 3600 {
			t.Errorf("Retry-After: %q", r.Header.Get("Retry-After"))
		}
	}
	check(wrong())
	check(w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": adaPassword}))
	check(w.do("POST", "/api/auth/login", "", object{"email": " ADA@Example.com", "password": adaPassword}))
	w.clock.Advance(time.Hour + time.Second)
	w.signIn()
	w.eventually("refused sign-ins are in the security log", func() bool { return len(w.events("sign_in_refused")) >= 2 })
}

// Unknown and known addresses get the same response after the same work.
func TestUnknownAddress(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	ask := func(email string) (reply, uint64) {
		before := w.hasher.Runs()
		r := w.do("POST", "/api/auth/login", "", object{"email": email, "password": "not the right one"})
		return r, w.hasher.Runs() - before
	}
	strip := func(r reply) string {
		p := w.refused(r, 401, "INVALID_CREDENTIALS")
		delete(p, "instance")
		text, _ := json.Marshal(p)
		h := r.Header.Clone()
		h.Del("Durward-Denial")
		h.Del("Date")
		fields, _ := json.Marshal(h)
		return string(text) + string(fields)
	}
	known, knownRuns := ask(adaEmail)
	want := strip(known)
	for _, email := range []string{"nobody@example.com", "not an address", "ada@example.com@example.com", strings.Repeat("a", 400) + "@example.com"} {
		r, runs := ask(email)
		if got := strip(r); got != want || runs != knownRuns || runs != 1 {
			t.Errorf("%s: %d hashes, for a known address %d\ngot  %s\nwant %s", email, runs, knownRuns, got, want)
		}
	}
	// A locked account does too.
	if err := w.sessions.LockUser(context.Background(), w.ada.ID, request.Info{Actor: "operator"}); err != nil {
		t.Fatal(err)
	}
	if r, runs := ask(adaEmail); strip(r) != want || runs != 1 {
		t.Errorf("locked account: %d hashes, %s", runs, r.body)
	}
	w.refused(w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": adaPassword}), 403, "ACCOUNT_DISABLED")
}

func TestLockReachesEverything(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	s := w.signIn()
	// Another process with the same file, as the command line: without a push.
	other := newEnv(t, settings{dir: w.dir})
	if err := other.sessions.LockUser(context.Background(), w.ada.ID, request.Info{Actor: "operator"}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	w.eventually("the lock reaches the running server", func() bool {
		return w.do("GET", "/api/profile", s.AccessToken, nil).StatusCode == 401
	})
	t.Logf("seen after %s", time.Since(began))
	w.dead(s.AccessToken, "TOKEN_REVOKED")
	w.refused(w.refreshWith(s.RefreshToken), 401, "SESSION_REVOKED")
	if err := other.people.Unlock(context.Background(), w.ada.ID, request.Info{Actor: "operator"}); err != nil {
		t.Fatal(err)
	}
	w.works(w.signIn().AccessToken)
	w.dead(s.AccessToken, "TOKEN_REVOKED")
}

func TestPasswordChange(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	here, there := w.signIn(), w.signIn()
	const next = "a quite different sentence"
	change := func(current, password string) reply {
		return w.do("POST", "/api/auth/password/change", here.AccessToken, object{"current": current, "new": password})
	}
	w.refused(change(adaPassword, "short"), 400, "INVALID_REQUEST")
	w.refused(change(adaPassword, "aaaaaaaaaaaaaaa"), 400, "INVALID_REQUEST")
	w.refused(change(adaPassword, "I am ADA@example.com, hello"), 400, "INVALID_REQUEST")
	w.refused(change("not the right one", next), 401, "INVALID_CREDENTIALS")
	w.works(there.AccessToken)
	if r := change(adaPassword, next); r.StatusCode != 204 {
		t.Fatalf("change: %s %s", r.Status, r.body)
	}
	w.works(here.AccessToken)
	w.tokens(w.refreshWith(here.RefreshToken))
	w.dead(there.AccessToken, "TOKEN_REVOKED")
	w.refused(w.refreshWith(there.RefreshToken), 401, "SESSION_REVOKED")
	w.refused(w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": adaPassword}), 401, "INVALID_CREDENTIALS")
	w.tokens(w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": next}))
	var page list[notification]
	if r := w.do("GET", "/api/notifications", here.AccessToken, nil); json.Unmarshal(r.body, &page) != nil || len(page.Items) != 1 || page.Items[0].Kind != "password_changed" {
		t.Errorf("notifications: %s", r.body)
	}
}

// A checked password opens no session after it was changed or the account was locked. A block for
// another network ends no session.
func TestChangedDuringCheck(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	ctx := context.Background()
	here := w.signIn()
	proof, err := w.people.Authenticate(ctx, adaEmail, adaPassword, request.Info{})
	if err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(time.Second)
	const next = "a quite different sentence"
	if r := w.do("POST", "/api/auth/password/change", here.AccessToken, object{"current": adaPassword, "new": next}); r.StatusCode != 204 {
		t.Fatalf("change: %s %s", r.Status, r.body)
	}
	if tokens, err := w.sessions.SignIn(ctx, proof, nil, request.Info{}); !errors.Is(err, durward.InvalidCredentials) || tokens != (session.Tokens{}) {
		t.Errorf("a sign-in by the old password after the change: %+v %v, want InvalidCredentials", tokens, err)
	}
	if proof, err = w.people.Authenticate(ctx, adaEmail, next, request.Info{}); err != nil {
		t.Fatal(err)
	}
	if err := w.sessions.LockUser(ctx, proof.User.ID, request.Info{Actor: "operator"}); err != nil {
		t.Fatal(err)
	}
	if tokens, err := w.sessions.SignIn(ctx, proof, nil, request.Info{}); !errors.Is(err, durward.InvalidCredentials) || tokens != (session.Tokens{}) {
		t.Errorf("a sign-in after the lock: %+v %v, want InvalidCredentials", tokens, err)
	}
}

// An attacker in the same network who causes a block does not end the session of a user who then
// changes the password.
func TestBlockOfAnotherEndsNothing(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	here := w.signIn()
	for range 5 {
		w.refused(w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": randomPassword()}), 401, "INVALID_CREDENTIALS")
	}
	w.refused(w.do("POST", "/api/auth/password/change", here.AccessToken, object{"current": adaPassword, "new": "a quite different sentence"}), 429, "TOO_MANY_ATTEMPTS")
	w.works(here.AccessToken)
}

// Wrong current passwords count as guesses: they block the account and end the session.
func TestPasswordChangeCannotGuess(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	here := w.signIn()
	for range 5 {
		w.refused(w.do("POST", "/api/auth/password/change", here.AccessToken, object{"current": randomPassword(), "new": "a quite different sentence"}), 401, "INVALID_CREDENTIALS")
	}
	w.dead(here.AccessToken, "TOKEN_REVOKED")
	w.refused(w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": adaPassword}), 429, "TOO_MANY_ATTEMPTS")
}

func TestRegister(t *testing.T) {
	t.Parallel()
	closed := newEnv(t, settings{})
	body := object{"email": "Grace@Example.com", "password": "a sentence that is long", "name": "Grace"}
	closed.refused(closed.do("POST", "/api/auth/register", "", body), 403, "FORBIDDEN")

	w := newEnv(t, settings{registration: true})
	r := w.do("POST", "/api/auth/register", "", body)
	var made profile
	if r.StatusCode != 201 || json.Unmarshal(r.body, &made) != nil || made.Email != "Grace@Example.com" || made.ID == "" || strings.Contains(string(r.body), "token") {
		t.Fatalf("registered: %s %s", r.Status, r.body)
	}
	for _, same := range []string{"Grace@Example.com", "grace@example.com", " grace@EXAMPLE.com ", "ｇrace@example.com"} {
		body["email"] = same
		w.refused(w.do("POST", "/api/auth/register", "", body), 409, "EMAIL_TAKEN")
	}
	for _, bad := range []string{"", "grace", "@example.com", "grace@", "a@b@example.com", `"a b"@example.com`, "Grace <g@example.com>", "g\u202ee@example.com", "a:b@example.com", "g@example..com", strings.Repeat("g", 250) + "@example.com"} {
		body["email"] = bad
		p := w.refused(w.do("POST", "/api/auth/register", "", body), 400, "INVALID_REQUEST")
		if p["member"] != "email" {
			t.Errorf("%q: %v", bad, p)
		}
	}
	// Two concurrent registrations of one address: one account.
	var wg sync.WaitGroup
	var mu sync.Mutex
	statuses := map[int]int{}
	for range 8 {
		wg.Go(func() {
			r := w.do("POST", "/api/auth/register", "", object{"email": "race@example.com", "password": "a sentence that is long"})
			mu.Lock()
			defer mu.Unlock()
			statuses[r.StatusCode]++
		})
	}
	wg.Wait()
	if statuses[201] != 1 || statuses[409] != 7 {
		t.Errorf("eight at once: %v", statuses)
	}
}

func TestSessions(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{registration: true})
	here := w.signIn()
	r, err := http.NewRequest("POST", w.url+"/api/auth/login", strings.NewReader(`{"email":"`+adaEmail+`","password":"`+adaPassword+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	there := w.tokens(w.send(r))

	var page list[sessionItem]
	if r := w.do("GET", "/api/auth/sessions", here.AccessToken, nil); json.Unmarshal(r.body, &page) != nil || len(page.Items) != 2 {
		t.Fatalf("sessions: %s", r.body)
	}
	var other sessionItem
	for _, s := range page.Items {
		if !s.Current {
			other = s
		}
		if s.Network != "127.0.0.0/24" || s.CreatedAt.IsZero() || s.LastUsedAt.IsZero() {
			t.Errorf("session: %+v", s)
		}
	}
	if other.Device != "Firefox on Linux" {
		t.Errorf("device: %q", other.Device)
	}
	// The new device is reported to the user.
	var notified list[notification]
	if r := w.do("GET", "/api/notifications", here.AccessToken, nil); json.Unmarshal(r.body, &notified) != nil || len(notified.Items) != 1 || notified.Items[0].Kind != "new_place" || notified.Items[0].Device != "Firefox on Linux" {
		t.Errorf("notifications: %s", r.body)
	}

	// Other users can neither see nor end it.
	w.do("POST", "/api/auth/register", "", object{"email": "eve@example.com", "password": "a sentence that is long"})
	eve := w.tokens(w.do("POST", "/api/auth/login", "", object{"email": "eve@example.com", "password": "a sentence that is long"}))
	w.refused(w.do("DELETE", "/api/auth/sessions/"+other.ID, eve.AccessToken, nil), 404, "NOT_FOUND")
	w.works(there.AccessToken)
	w.refused(w.do("DELETE", "/api/auth/sessions/nonsense", here.AccessToken, nil), 404, "NOT_FOUND")

	if r := w.do("DELETE", "/api/auth/sessions/"+other.ID, here.AccessToken, nil); r.StatusCode != 204 {
		t.Fatalf("end: %s %s", r.Status, r.body)
	}
	w.dead(there.AccessToken, "TOKEN_REVOKED")
	w.refused(w.refreshWith(there.RefreshToken), 401, "SESSION_REVOKED")
	w.works(here.AccessToken)
}
