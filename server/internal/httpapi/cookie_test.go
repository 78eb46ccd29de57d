package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/internal/pwhash"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/session"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// byCookie sends a request as a signed-in browser. fields are names and values in turn.
func (w *env) byCookie(method, path, cookie string, body any, fields ...string) reply {
	w.t.Helper()
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			w.t.Fatal(err)
		}
	}
	r, err := http.NewRequest(method, w.url+path, bytes.NewReader(text))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if cookie != "" {
		r.Header.Set("Cookie", sessionCookie+"="+cookie)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	return w.send(r)
}

var deviceLine = regexp.MustCompile(`^` + deviceCookie + `=([A-Za-z0-9_-]{43}); Path=/; Max-Age=7776000; HttpOnly; Secure; SameSite=Lax$`)

// givenDevice returns the cookie of a known device that a response sets.
func (w *env) givenDevice(r reply) string {
	w.t.Helper()
	for _, line := range r.Header["Set-Cookie"] {
		if found := deviceLine.FindStringSubmatch(line); found != nil {
			return found[1]
		}
	}
	w.t.Fatalf("no cookie of a known device: %s %q\n%s", r.Status, r.Header["Set-Cookie"], r.body)
	return ""
}

var cookieLine = regexp.MustCompile(`^` + sessionCookie + `=([A-Za-z0-9_-]{43}); Path=/; HttpOnly; Secure; SameSite=Lax$`)

// given returns the session cookie that a response sets, with the cookie of a known device. It fails the
// test without one, or with a token in the body.
func (w *env) given(r reply) string {
	w.t.Helper()
	lines := r.Header["Set-Cookie"]
	if r.StatusCode != 200 || len(lines) != 2 || !cookieLine.MatchString(lines[0]) || !deviceLine.MatchString(lines[1]) {
		w.t.Fatalf("no cookie: %s %q\n%s", r.Status, lines, r.body)
	}
	value := cookieLine.FindStringSubmatch(lines[0])[1]
	if bytes.Contains(r.body, []byte("token")) || bytes.Contains(r.body, []byte(value)) {
		w.t.Fatalf("something to steal in the body: %s", r.body)
	}
	return value
}

func (w *env) cookieOf(email string) string {
	w.t.Helper()
	return w.given(w.byCookie("POST", "/api/auth/login", "", object{"email": email, "password": adaPassword, "use_cookies": true}))
}

func (w *env) cookieWorks(cookie string) {
	w.t.Helper()
	if r := w.byCookie("GET", "/api/profile", cookie, nil); r.StatusCode != 200 {
		w.t.Fatalf("the cookie should work: %s %s", r.Status, r.body)
	}
}

func (w *env) cookieDead(cookie string) {
	w.t.Helper()
	r := w.byCookie("GET", "/api/profile", cookie, nil)
	w.refused(r, 401, "SESSION_EXPIRED")
	if set := r.Header["Set-Cookie"]; len(set) != 1 || !strings.HasPrefix(set[0], sessionCookie+"=; Path=/; Max-Age=0; ") {
		w.t.Fatalf("Set-Cookie for an ended cookie: %q, want it cleared", set)
	}
	if challenges := strings.Join(r.Header.Values("WWW-Authenticate"), "|"); !strings.Contains(challenges, `Session realm="127.0.0.1"`) || strings.Contains(challenges, "error=") {
		w.t.Fatalf("challenges for an ended cookie: %s", challenges)
	}
}

func TestCookieRound(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	r := w.byCookie("POST", "/api/auth/login", "", object{"email": adaEmail, "password": adaPassword, "use_cookies": true})
	cookie := w.given(r)
	var me profile
	if json.Unmarshal(r.body, &me) != nil || me.Email != adaEmail || !slices.Equal(me.Scopes, []string{"profile"}) {
		t.Errorf("the account: %s", r.body)
	}
	if raw, err := base64.RawURLEncoding.DecodeString(cookie); err != nil || len(raw) != 32 {
		t.Errorf("%d octets, %v; want 256 bits", len(raw), err)
	}
	w.cookieWorks(cookie)
	if r := w.byCookie("PATCH", "/api/profile", cookie, object{"name": "Ada Lovelace"}, "Origin", "http://127.0.0.1:8401"); r.StatusCode != 200 {
		t.Errorf("a change: %s %s", r.Status, r.body)
	}
	var page list[sessionItem]
	if r := w.byCookie("GET", "/api/auth/sessions", cookie, nil); json.Unmarshal(r.body, &page) != nil || len(page.Items) != 1 || !page.Items[0].Current {
		t.Errorf("sessions: %s", r.body)
	}
	w.clock.Advance(10 * time.Minute)
	w.cookieWorks(cookie)
	if r := w.byCookie("GET", "/api/auth/sessions", cookie, nil); json.Unmarshal(r.body, &page) != nil || !page.Items[0].LastUsedAt.Equal(w.clock.Now()) {
		t.Errorf("last use: %s", r.body)
	}
	r = w.byCookie("POST", "/api/auth/logout", cookie, nil, "Origin", "http://127.0.0.1:8401")
	if r.StatusCode != 204 || fmt.Sprint(r.Header["Set-Cookie"]) != "["+sessionCookie+"=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Lax]" || fmt.Sprint(r.Header["Clear-Site-Data"]) != `["cache", "storage"]` {
		t.Errorf("sign-out: %s %v", r.Status, r.Header)
	}
	w.cookieDead(cookie)
	if r := w.byCookie("POST", "/api/auth/logout", cookie, nil); r.StatusCode != 204 || len(r.Header["Set-Cookie"]) != 1 {
		t.Errorf("second sign-out with the ended cookie: %s %v", r.Status, r.Header)
	}
	if r := w.byCookie("POST", "/api/auth/logout", "never", nil); r.StatusCode != 204 {
		t.Errorf("with one that never was: %s", r.Status)
	}
	if strings.Contains(w.logs.String(), cookie) {
		t.Error("the cookie is in the log")
	}
}

// The database contains the hash of the cookie and its epoch, not the cookie.
func TestCookieAtRest(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	cookie := w.cookieOf(adaEmail)
	raw, err := base64.RawURLEncoding.DecodeString(cookie)
	if err != nil {
		t.Fatal(err)
	}
	db := testkit.OpenSQLite(t, w.dir)
	var hash []byte
	if err := db.QueryRow(`SELECT hash FROM cookies`).Scan(&hash); err != nil || len(hash) != 32 {
		t.Fatalf("%d octets, %v", len(hash), err)
	}
	if bytes.Contains(hash, raw[:8]) {
		t.Error("the cookie itself is stored")
	}
	// As after a restore: a new epoch, the same rows.
	if _, err := db.Exec(`UPDATE meta SET value = 'ANOTHER' WHERE name = 'epoch'`); err != nil {
		t.Fatal(err)
	}
	w.cookieWorks(cookie) // this process knows its own
	newEnv(t, settings{dir: w.dir}).cookieDead(cookie)
}

// Each sign-in sets a new cookie and ends the previous session of the browser, of the same user or
// of another one. A cookie that the client made up is ignored.
func TestCookieNewAtSignIn(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{registration: true})
	w.do("POST", "/api/auth/register", "", object{"email": "bob@example.com", "password": adaPassword})
	first := w.cookieOf(adaEmail)
	signIn := func(email, password, cookie string) reply {
		return w.byCookie("POST", "/api/auth/login", cookie, object{"email": email, "password": password, "use_cookies": true})
	}
	w.refused(signIn(adaEmail, "wrong "+adaPassword, first), 401, "INVALID_CREDENTIALS")
	w.cookieWorks(first) // a refused sign-in ends no session
	if r := signIn(adaEmail, adaPassword, first); true {
		second := w.given(r)
		if second == first {
			t.Error("the same cookie again")
		}
		w.cookieDead(first)
		w.cookieWorks(second)
		bobs := w.given(signIn("bob@example.com", adaPassword, second))
		w.cookieDead(second)
		var me profile
		if r := w.byCookie("GET", "/api/profile", bobs, nil); json.Unmarshal(r.body, &me) != nil || me.Email != "bob@example.com" {
			t.Errorf("whose cookie: %s", r.body)
		}
		nearly := bobs[:42] + "A"
		if nearly == bobs {
			nearly = bobs[:42] + "E"
		}
		for _, planted := range []string{strings.Repeat("A", 43), "x", first, nearly} {
			if got := w.given(signIn("bob@example.com", adaPassword, planted)); got == planted {
				t.Errorf("%q was adopted", planted)
			}
			w.cookieWorks(bobs)
		}
		// A sign-in for tokens leaves the cookie of the request alone.
		w.tokens(w.byCookie("POST", "/api/auth/login", bobs, object{"email": "bob@example.com", "password": adaPassword}))
		w.cookieWorks(bobs)
	}
	if events := w.events(store.EventSignedOut); len(events) != 2 || events[0].Outcome != "signed in anew" || events[0].UserID == events[1].UserID && events[0].SessionID == events[1].SessionID {
		t.Errorf("events: %+v", events)
	}
}

// Requests from pages of other origins change nothing: no sign-in, no sign-out, no other operation.
func TestForeignPageWithCookie(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	cookie := w.cookieOf(adaEmail)
	credentials := object{"email": adaEmail, "password": adaPassword, "use_cookies": true}
	for _, foreign := range [][]string{
		{"Origin", "https://evil.example"}, {"Origin", "null"}, {"Origin", "http://127.0.0.1:8401.evil.example"}, {"Origin", "https://127.0.0.1:8401"},
		{"Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"}, {"Sec-Fetch-Site", "cross-site", "Origin", "http://127.0.0.1:8401"},
		{"Sec-Fetch-Site", "same-origin", "Origin", "https://evil.example"}, {"Sec-Fetch-Site", "none", "Origin", "https://evil.example"},
	} {
		for _, refused := range []reply{
			w.byCookie("POST", "/api/auth/login", "", credentials, foreign...),
			w.byCookie("POST", "/api/auth/login", cookie, credentials, foreign...),
			w.byCookie("POST", "/api/auth/logout", cookie, nil, foreign...),
			w.byCookie("POST", "/api/auth/token", cookie, nil, foreign...),
			w.byCookie("POST", "/api/auth/step-up", cookie, object{"password": adaPassword}, foreign...),
			w.byCookie("POST", "/api/auth/password/change", cookie, object{"current": adaPassword, "new": "another long enough password"}, foreign...),
			w.byCookie("PATCH", "/api/profile", cookie, object{"name": "Eve"}, foreign...),
		} {
			w.refused(refused, 403, "CROSS_SITE")
			if refused.Header["Set-Cookie"] != nil {
				t.Errorf("%v: %q", foreign, refused.Header["Set-Cookie"])
			}
		}
	}
	// A form cannot send JSON, and a GET changes nothing.
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data"} {
		r, err := http.NewRequest("POST", w.url+"/api/auth/login", strings.NewReader(`{"email":"`+adaEmail+`","password":"`+adaPassword+`","use_cookies":true}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", kind)
		if got := w.send(r); got.StatusCode != 415 || got.Header["Set-Cookie"] != nil {
			t.Errorf("%s: %s", kind, got.Status)
		}
	}
	w.refused(w.byCookie("GET", "/api/auth/logout", cookie, nil, "X-HTTP-Method-Override", "POST"), 405, "METHOD_NOT_ALLOWED")
	w.cookieWorks(cookie)
	if r := w.byCookie("POST", "/api/auth/logout", cookie, nil, "Sec-Fetch-Site", "same-origin"); r.StatusCode != 204 {
		t.Errorf("from its own page: %s", r.Status)
	}
}

// Idle and absolute end of a session, to the second.
func TestCookieEnds(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	idle := w.cookieOf(adaEmail)
	w.clock.Advance(30*time.Minute - time.Second)
	w.cookieWorks(idle) // one second before the end; extends the session
	w.clock.Advance(30*time.Minute - time.Second)
	w.cookieWorks(idle)
	w.clock.Advance(30*time.Minute + time.Second)
	w.cookieDead(idle)

	exact := w.cookieOf(adaEmail)
	w.clock.Advance(30 * time.Minute)
	w.cookieDead(exact)
	// Ended sessions are not listed.
	var page list[sessionItem]
	if r := w.do("GET", "/api/auth/sessions", w.signIn().AccessToken, nil); json.Unmarshal(r.body, &page) != nil || len(page.Items) != 1 || !page.Items[0].Current {
		t.Errorf("sessions: %s", r.body)
	}

	steady := w.cookieOf(adaEmail)
	for began := w.clock.Now(); w.clock.Now().Sub(began) < 12*time.Hour-20*time.Minute; w.clock.Advance(20 * time.Minute) {
		w.cookieWorks(steady)
		if r := w.byCookie("POST", "/api/auth/token", steady, nil); r.StatusCode != 200 {
			t.Fatal(r.Status)
		}
	}
	w.cookieWorks(steady)
	w.clock.Advance(20*time.Minute - time.Second)
	w.cookieWorks(steady) // T-1 s
	w.clock.Advance(2 * time.Second)
	w.cookieDead(steady)
}

// A user who asks for it stays signed in for longer, and the browser keeps the cookie.
func TestRemember(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	body := object{"email": adaEmail, "password": adaPassword, "use_cookies": true, "remember": true}
	kept := func(r reply, want time.Duration) string {
		t.Helper()
		age, set := fmt.Sprintf("; Max-Age=%d;", int(want.Seconds())), r.Header["Set-Cookie"]
		if len(set) == 0 || !strings.Contains(set[0], age) {
			t.Fatalf("%s, Set-Cookie: %s, want %s", r.Status, set, age)
		}
		set[0] = strings.Replace(set[0], age, ";", 1)
		return w.given(r)
	}
	const day = 24 * time.Hour
	idle := kept(w.byCookie("POST", "/api/auth/login", "", body), 30*day)
	w.clock.Advance(7*day - time.Minute)
	w.cookieWorks(idle)
	w.clock.Advance(7*day - time.Minute)
	w.cookieWorks(idle)
	w.clock.Advance(7*day + time.Minute)
	w.cookieDead(idle)

	used := kept(w.byCookie("POST", "/api/auth/login", "", body), 30*day)
	w.clock.Advance(day)
	used = kept(w.byCookie("POST", "/api/auth/step-up", used, object{"password": adaPassword}), 29*day)
	for range 28 {
		w.clock.Advance(day)
		w.cookieWorks(used)
	}
	w.clock.Advance(day)
	w.cookieDead(used)

	// With the second factor too.
	seed, _ := w.enrol(adaEmail)
	w.clock.Advance(time.Minute) // a step is accepted once
	half := w.refused(w.byCookie("POST", "/api/auth/login", "", body), 401, "MFA_REQUIRED")["mfa_token"]
	kept(w.byCookie("POST", "/api/auth/login/mfa", "", object{"mfa_token": half, "method": "totp", "code": w.code(seed)}), 30*day)

	delete(body, "use_cookies")
	if p := w.refused(w.do("POST", "/api/auth/login", "", body), 400, "INVALID_REQUEST"); p["member"] != "remember" {
		t.Errorf("remember without use_cookies: %v, want the member remember", p)
	}
}

// For random patterns of use, a session ends when a simple model says so.
func TestCookieEndsModel(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{tweak: func(_ *issuer.Config, c *session.Config) {
		c.CookieIdle, c.CookieAbsolute = 10*time.Minute, time.Hour
		c.RememberIdle, c.RememberAbsolute = 20*time.Minute, 2*time.Hour
	}})
	ctx := context.Background()
	random := rand.New(rand.NewPCG(1, 2))
	steps := []time.Duration{time.Second, 19 * time.Second, 20 * time.Second, 21 * time.Second, time.Minute, 5 * time.Minute, 10*time.Minute - time.Second, 10 * time.Minute, 10*time.Minute + time.Second}
	alive, dead := 0, 0
	for n := range 60 {
		factor := time.Duration(1 + n%2) // for remembered sessions all times are twice as long
		wish := session.CookieWish{Wanted: true, Remember: factor == 2}
		cookie, err := w.sessions.SignInCookie(ctx, account.Proof{User: w.ada, At: w.clock.Now()}, wish, request.Info{})
		if err != nil {
			t.Fatal(err)
		}
		began := w.clock.Now()
		written := began // the last use that is written down
		for {
			w.clock.Advance(factor * steps[random.IntN(len(steps))])
			now := w.clock.Now()
			want := now.Before(written.Add(factor*10*time.Minute)) && now.Before(began.Add(factor*time.Hour))
			use := random.IntN(4) > 0
			p, err := w.sessions.AuthenticateCookie(ctx, cookie.Value, use)
			if want != (err == nil) || err != nil && !errors.Is(err, durward.SessionExpired) {
				t.Fatalf("%s after the sign-in, %s after the last use: %v, want it valid: %v", now.Sub(began), now.Sub(written), err, want)
			}
			if !want {
				dead++
				break
			}
			alive++
			if use && now.Sub(written) >= factor*20*time.Second { // a thirtieth of the idle time
				written = now
			}
			ends := written.Add(factor * 10 * time.Minute)
			if absolute := began.Add(factor * time.Hour); ends.After(absolute) {
				ends = absolute
			}
			if !p.Expires.Equal(ends) {
				t.Fatalf("it is said to end at %s, want %s", p.Expires, ends)
			}
		}
	}
	if alive < 100 || dead != 60 {
		t.Errorf("%d valid, %d ended: want some of each", alive, dead)
	}
}

// The last use of a session is stored at most once a minute.
func TestCookieUseIsWrittenOnceAMinute(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	cookie := w.cookieOf(adaEmail)
	db := testkit.OpenSQLite(t, w.dir)
	if _, err := db.Exec(`CREATE TABLE writes (at INTEGER) STRICT; CREATE TRIGGER counted AFTER UPDATE ON cookies BEGIN INSERT INTO writes VALUES (new.used_at); END`); err != nil {
		t.Fatal(err)
	}
	for range 10 * 60 / 5 { // ten minutes, a request each five seconds
		w.clock.Advance(5 * time.Second)
		w.cookieWorks(cookie)
	}
	var writes int
	if err := db.QueryRow(`SELECT count(*) FROM writes`).Scan(&writes); err != nil || writes != 10 {
		t.Errorf("%d writes in ten minutes, %v; want 10", writes, err)
	}
}

// Every way to end a session ends its cookie and its access tokens.
func TestCookieEndsWithItsSession(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	for name, end := range map[string]func(cookie, session string){
		"sign-out": func(cookie, _ string) { w.byCookie("POST", "/api/auth/logout", cookie, nil) },
		"sign-out by its access token": func(cookie, _ string) {
			w.do("POST", "/api/auth/logout", w.cookieToken(cookie), nil)
		},
		"sign-out everywhere": func(string, string) {
			w.do("POST", "/api/auth/logout", w.signIn().AccessToken, object{"everywhere": true})
		},
		"from another session": func(_, session string) {
			if r := w.do("DELETE", "/api/auth/sessions/"+session, w.signIn().AccessToken, nil); r.StatusCode != 204 {
				t.Errorf("DELETE: %s", r.Status)
			}
		},
		"password set": func(string, string) {
			if err := w.sessions.SetPassword(context.Background(), w.ada, adaPassword, request.Info{Actor: "operator"}); err != nil {
				t.Error(err)
			}
		},
		"lock": func(string, string) {
			for _, err := range []error{w.sessions.LockUser(context.Background(), w.ada.ID, request.Info{Actor: "operator"}), w.people.Unlock(context.Background(), w.ada.ID, request.Info{Actor: "operator"})} {
				if err != nil {
					t.Error(err)
				}
			}
		},
		"another cookie": func(cookie, _ string) {
			w.given(w.byCookie("POST", "/api/auth/login", cookie, object{"email": adaEmail, "password": adaPassword, "use_cookies": true}))
		},
	} {
		cookie := w.cookieOf(adaEmail)
		token := w.cookieToken(cookie)
		in, err := jwt.Inspect(token)
		if err != nil {
			t.Fatal(err)
		}
		w.works(token)
		end(cookie, in.Claims.SessionID)
		t.Log(name)
		w.cookieDead(cookie)
		w.dead(token, "TOKEN_REVOKED")
		w.refused(w.byCookie("POST", "/api/auth/token", cookie, nil), 401, "SESSION_EXPIRED")
	}
	// The session that changes the password stays.
	cookie, other := w.cookieOf(adaEmail), w.cookieOf(adaEmail)
	r := w.byCookie("POST", "/api/auth/password/change", cookie, object{"current": adaPassword, "new": "another long enough password"})
	if r.StatusCode != 204 || len(r.Header["Set-Cookie"]) != 1 || !cookieLine.MatchString(r.Header["Set-Cookie"][0]) {
		t.Fatalf("%s %s %v", r.Status, r.body, r.Header)
	}
	// It gets a new cookie, so that a stolen copy of the old one ends.
	fresh := cookieLine.FindStringSubmatch(r.Header["Set-Cookie"][0])[1]
	w.cookieWorks(fresh)
	w.cookieWorks(cookie)
	w.clock.Advance(31 * time.Second)
	w.cookieDead(cookie)
	w.cookieWorks(fresh)
	w.cookieDead(other)
}

func (w *env) cookieToken(cookie string) string {
	w.t.Helper()
	r := w.byCookie("POST", "/api/auth/token", cookie, nil)
	var got map[string]any
	if r.StatusCode != 200 || json.Unmarshal(r.body, &got) != nil || len(got) != 4 || got["token_type"] != "Bearer" || got["scope"] != "profile" || r.Header["Set-Cookie"] != nil {
		w.t.Fatalf("an access token alone is wanted: %s %s", r.Status, r.body)
	}
	return got["access_token"].(string)
}

// An access token for a cookie has the session and the rights of the cookie, and expires no later.
func TestCookieToken(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	cookie := w.cookieOf(adaEmail)
	signedIn := w.clock.Now()
	for w.clock.Now().Sub(signedIn) < 12*time.Hour-5*time.Minute {
		w.clock.Advance(5 * time.Minute)
		in, err := jwt.Inspect(w.cookieToken(cookie))
		if err != nil {
			t.Fatal(err)
		}
		life := min(15*time.Minute, signedIn.Add(12*time.Hour).Sub(w.clock.Now()))
		if c := in.Claims; !c.AuthTime.Equal(signedIn) || !slices.Equal(c.AMR, []string{"pwd"}) || c.ClientID != "durward" || c.SessionID == "" || c.Expires.Sub(c.IssuedAt) != life {
			t.Fatalf("claims after %s: %+v", w.clock.Now().Sub(signedIn), c)
		}
	}
	// A token for a cookie cannot be extended by itself.
	s := w.signIn()
	w.refused(w.do("POST", "/api/auth/token", s.AccessToken, nil), 403, "FORBIDDEN")
	w.refused(w.byCookie("POST", "/api/auth/token", w.cookieOf(adaEmail), nil, "Authorization", "Bearer "+s.AccessToken), 403, "FORBIDDEN")
	w.refused(w.byCookie("POST", "/api/auth/token", w.cookieOf(adaEmail), object{"scope": "admin"}), 400, "INVALID_REQUEST")
}

// Only a step-up with the password renews auth_time.
func TestStepUpByToken(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	claims := func(token string) jwt.Claims {
		t.Helper()
		in, err := jwt.Inspect(token)
		if err != nil {
			t.Fatal(err)
		}
		return in.Claims
	}
	first := w.signIn()
	signedIn := w.clock.Now()
	w.clock.Advance(10 * time.Minute)
	second := w.tokens(w.refreshWith(first.RefreshToken))
	if at := claims(second.AccessToken).AuthTime; !at.Equal(signedIn) {
		t.Errorf("a refresh: auth_time %s, want %s", at, signedIn)
	}
	r := w.do("POST", "/api/keys", second.AccessToken, object{"name": "k", "scopes": []string{"profile"}})
	w.refused(r, 401, "STEP_UP_REQUIRED")
	up := w.tokens(w.do("POST", "/api/auth/step-up", second.AccessToken, object{"password": adaPassword}))
	stepped := w.clock.Now()
	if c := claims(up.AccessToken); !c.AuthTime.Equal(stepped) || c.SessionID != claims(first.AccessToken).SessionID || c.ACR != "urn:durward:acr:1fa" || !slices.Equal(c.AMR, []string{"pwd"}) {
		t.Errorf("claims: %+v", c)
	}
	if up.RefreshToken != second.RefreshToken {
		t.Error("the grant moved: a lost answer would sign the client out")
	}
	var key struct{ Key string }
	if r := w.do("POST", "/api/keys", up.AccessToken, object{"name": "k", "scopes": []string{"profile"}}); r.StatusCode != 201 || json.Unmarshal(r.body, &key) != nil {
		t.Errorf("after it: %s %s", r.Status, r.body)
	}
	change := object{"current": randomPassword(), "new": "a quite different sentence"}
	w.refused(w.do("POST", "/api/auth/step-up", key.Key, object{"password": adaPassword}), 403, "FORBIDDEN")
	w.refused(w.do("POST", "/api/auth/password/change", key.Key, change), 403, "FORBIDDEN")
	// The old token keeps its old rights, and a refresh renews nothing.
	w.refused(w.do("POST", "/api/keys", second.AccessToken, object{"name": "k", "scopes": []string{"profile"}}), 401, "STEP_UP_REQUIRED")
	w.clock.Advance(6 * time.Minute)
	third := w.tokens(w.refreshWith(up.RefreshToken))
	if at := claims(third.AccessToken).AuthTime; !at.Equal(stepped) {
		t.Errorf("a refresh: auth_time %s, want %s", at, stepped)
	}
	w.refused(w.do("POST", "/api/keys", third.AccessToken, object{"name": "k", "scopes": []string{"profile"}}), 401, "STEP_UP_REQUIRED")
	if events := w.events(store.EventSteppedUp); len(events) != 1 || events[0].UserID != w.ada.ID {
		t.Errorf("events: %+v", events)
	}
	// Credentials without a session cannot step up.
	issued, _, err := w.issuer.Issue(context.Background(), w.ada.ID, []string{"profile"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	w.refused(w.do("POST", "/api/auth/step-up", issued, object{"password": adaPassword}), 403, "FORBIDDEN")
	w.refused(w.do("POST", "/api/auth/password/change", issued, change), 403, "FORBIDDEN")
	// An access token for a cookie can step up, and gets no refresh token.
	cookie := w.cookieOf(adaEmail)
	token := w.cookieToken(cookie)
	w.clock.Advance(10 * time.Minute)
	r = w.do("POST", "/api/auth/step-up", token, object{"password": adaPassword})
	var alone api.TokenResponse
	if r.StatusCode != 200 || json.Unmarshal(r.body, &alone) != nil || alone.RefreshToken != "" || !claims(alone.AccessToken).AuthTime.Equal(w.clock.Now()) {
		t.Errorf("%s %s", r.Status, r.body)
	}
	w.refused(w.byCookie("POST", "/api/keys", cookie, object{"name": "k", "scopes": []string{"profile"}}), 401, "STEP_UP_REQUIRED")
}

func TestStepUpByCookie(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	old := w.cookieOf(adaEmail)
	w.clock.Advance(10 * time.Minute)
	key := func(cookie string) reply {
		return w.byCookie("POST", "/api/keys", cookie, object{"name": "k", "scopes": []string{"profile"}})
	}
	w.refused(key(old), 401, "STEP_UP_REQUIRED")
	w.refused(w.byCookie("POST", "/api/auth/step-up", old, object{"password": "wrong"}), 401, "INVALID_CREDENTIALS")
	w.refused(key(old), 401, "STEP_UP_REQUIRED")
	fresh := w.given(w.byCookie("POST", "/api/auth/step-up", old, object{"password": adaPassword}))
	if r := key(fresh); r.StatusCode != 201 {
		t.Errorf("after it: %s %s", r.Status, r.body)
	}
	// The old cookie works for 30 s more, with its old rights, and is not extended.
	w.cookieWorks(old)
	w.refused(key(old), 401, "STEP_UP_REQUIRED")
	w.clock.Advance(29 * time.Second)
	w.cookieWorks(old)
	w.clock.Advance(2 * time.Second)
	w.cookieDead(old)
	w.cookieWorks(fresh)
	var page list[sessionItem]
	if r := w.byCookie("GET", "/api/auth/sessions", fresh, nil); json.Unmarshal(r.body, &page) != nil || len(page.Items) != 1 {
		t.Errorf("it is one session: %s", r.body)
	}
	if r := w.byCookie("POST", "/api/auth/logout", old, nil); r.StatusCode != 204 {
		t.Error(r.Status)
	}
	w.cookieDead(fresh)
}

// Wrong passwords at a step-up count as failed sign-ins, and five of them end the session.
func TestStepUpGuessing(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"token", "cookie"} {
		w := newEnv(t, settings{})
		s, cookie, bystander := w.signIn(), w.cookieOf(adaEmail), w.cookieOf(adaEmail)
		guess := func() reply {
			if by == "token" {
				return w.do("POST", "/api/auth/step-up", s.AccessToken, object{"password": randomPassword()})
			}
			return w.byCookie("POST", "/api/auth/step-up", cookie, object{"password": randomPassword()})
		}
		for range 5 {
			w.refused(guess(), 401, "INVALID_CREDENTIALS")
		}
		if by == "token" {
			w.refused(guess(), 401, "TOKEN_REVOKED")
			w.cookieWorks(cookie)
		} else {
			w.refused(guess(), 401, "SESSION_EXPIRED")
			w.works(s.AccessToken)
		}
		w.cookieWorks(bystander)
		w.refused(w.byCookie("POST", "/api/auth/step-up", bystander, object{"password": adaPassword}), 429, "TOO_MANY_ATTEMPTS")
		w.refused(w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": adaPassword}), 429, "TOO_MANY_ATTEMPTS")
		w.cookieWorks(bystander)
	}
}

// Where a second factor is required, users are told to set one up, and other clients get FORBIDDEN.
func TestEnrolmentRequired(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	strict := httptest.NewServer(w.server.outermost(w.server.guard.Require(durward.Policy{ACR: []string{"urn:durward:acr:2fa"}}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))))
	defer strict.Close()
	cookie, token := w.cookieOf(adaEmail), w.signIn().AccessToken
	issued, _, err := w.issuer.Issue(context.Background(), w.ada.ID, []string{"profile"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	there := *w
	there.url = strict.URL
	there.refused(there.byCookie("GET", "/", cookie, nil), 403, "ENROLMENT_REQUIRED")
	there.refused(there.do("GET", "/", token, nil), 403, "ENROLMENT_REQUIRED")
	there.refused(there.do("GET", "/", issued, nil), 403, "FORBIDDEN")
}

// An outage of the store does not end sessions.
func TestCookieOutage(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	cookie := w.cookieOf(adaEmail)
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, r := range []reply{
		w.byCookie("GET", "/api/profile", cookie, nil),
		w.byCookie("POST", "/api/auth/token", cookie, nil),
		w.byCookie("POST", "/api/auth/step-up", cookie, object{"password": adaPassword}),
		w.byCookie("POST", "/api/auth/logout", cookie, nil),
		w.byCookie("POST", "/api/auth/login", cookie, object{"email": adaEmail, "password": adaPassword, "use_cookies": true}),
	} {
		w.refused(r, 503, "AUTH_UNAVAILABLE")
		if r.Header["Set-Cookie"] != nil || r.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %v", r.Request.URL.Path, r.Header)
		}
	}
}

// While the database accepts no writes, the old cookie stays valid: that is an outage, not an end.
func TestCookieUseNotWritten(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	cookie := w.cookieOf(adaEmail)
	db := testkit.OpenSQLite(t, w.dir)
	if _, err := db.Exec(`CREATE TRIGGER no BEFORE UPDATE ON cookies BEGIN SELECT RAISE(FAIL, 'disk'); END`); err != nil {
		t.Fatal(err)
	}
	w.cookieWorks(cookie)
	w.clock.Advance(2 * time.Minute)
	w.refused(w.byCookie("GET", "/api/profile", cookie, nil), 503, "AUTH_UNAVAILABLE")
	if _, err := db.Exec(`DROP TRIGGER no`); err != nil {
		t.Fatal(err)
	}
	w.cookieWorks(cookie)
}

// An open stream ends within two seconds of its session, and does not extend it.
func TestStreamEndsWithItsSession(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	streams := httptest.NewServer(w.server.outermost(w.server.guard.Require(durward.Policy{Stream: true}, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(rw, "open")
		_ = http.NewResponseController(rw).Flush()
		<-r.Context().Done()
		fmt.Fprint(rw, context.Cause(r.Context()))
	}))))
	defer streams.Close()
	defer streams.CloseClientConnections() // of a stream that should have ended
	open := func(field, value string) (end <-chan string) {
		t.Helper()
		r, err := http.NewRequest("GET", streams.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(field, value)
		res, err := streams.Client().Do(r)
		if err != nil || res.StatusCode != 200 {
			t.Fatalf("%v %v", res, err)
		}
		lines := bufio.NewReader(res.Body)
		if _, err := lines.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		ended := make(chan string, 1)
		go func() {
			defer res.Body.Close()
			rest, _ := io.ReadAll(lines)
			ended <- string(rest)
		}()
		return ended
	}
	ends := func(what string, end <-chan string, code durward.Code) {
		t.Helper()
		select {
		case why := <-end:
			if !strings.Contains(why, string(code)) {
				t.Errorf("%s: ended with %q, want %s", what, why, code)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: the stream goes on", what)
		}
	}
	cookie, s := w.cookieOf(adaEmail), w.signIn()
	byCookie, byToken := open("Cookie", sessionCookie+"="+cookie), open("Authorization", "Bearer "+s.AccessToken)
	w.byCookie("POST", "/api/auth/logout", cookie, nil)
	ends("sign-out by cookie", byCookie, durward.SessionExpired)
	w.do("POST", "/api/auth/logout", s.AccessToken, nil)
	ends("sign-out by token", byToken, durward.TokenRevoked)

	idle := w.cookieOf(adaEmail)
	byCookie = open("Cookie", sessionCookie+"="+idle)
	w.clock.Advance(20 * time.Minute)
	began := time.Now()
	w.eventually("it is asked again", func() bool { return time.Since(began) > 1500*time.Millisecond })
	w.clock.Advance(11 * time.Minute)
	ends("idle", byCookie, durward.SessionExpired)
}

// While strangers fill the queue of hashes, a browser with a live session cookie signs in from a new place.
// With the cookie of a session that ended it is refused.
func TestCookieGoesFirst(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	live, dead := w.cookieOf(adaEmail), w.cookieOf(adaEmail)
	if r := w.byCookie("POST", "/api/auth/logout", dead, nil); r.StatusCode != 204 {
		t.Fatalf("sign-out: %s %s", r.Status, r.body)
	}
	signIn := func(cookie string) reply {
		return w.byCookie("POST", "/api/auth/login", cookie, object{"email": adaEmail, "password": adaPassword}, "User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0")
	}
	eventually := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("never: " + what)
			}
		}
	}
	release := make(chan bool)
	strangers, first := t.Context(), pwhash.First(t.Context())
	room := 1000 + max(1, runtime.GOMAXPROCS(0)-1) // of each queue
	for n := range 2*room - 1 {
		ctx := strangers
		if n >= room {
			ctx = first // one place stays free
		}
		go w.hasher.Do(ctx, 0, func() { <-release })
	}
	eventually("a full queue", func() bool { return w.hasher.Busy(strangers) != nil })
	w.refused(signIn(""), 503, "AUTH_UNAVAILABLE")
	w.refused(signIn(dead), 503, "AUTH_UNAVAILABLE")
	result := make(chan reply, 1)
	go func() { result <- signIn(live) }()
	eventually("the last place is taken", func() bool { return len(result) > 0 || w.hasher.Busy(first) != nil })
	close(release)
	if r := <-result; r.StatusCode != 200 {
		t.Errorf("with a live cookie: got %s %s, want 200", r.Status, r.body)
	}
}
