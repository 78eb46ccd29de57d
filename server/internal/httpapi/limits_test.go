package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Failures of one address count together, in every spelling and at every endpoint, and a block
// applies to every spelling.
func TestOneCounterForAllSpellings(t *testing.T) {
	t.Parallel()
	spellings := []string{adaEmail, "ADA@EXAMPLE.COM", "  Ada@Example.com\t", "ａｄａ@example.com", "ada＠example.com", "ada@ｅxample.com"}
	w := newEnv(t, settings{})
	for n := range 5 {
		w.refused(w.do("POST", "/api/auth/login", "", object{"email": spellings[n], "password": randomPassword()}), 401, "INVALID_CREDENTIALS")
	}
	for _, spelling := range spellings {
		w.refused(w.do("POST", "/api/auth/login", "", object{"email": spelling, "password": adaPassword}), 429, "TOO_MANY_ATTEMPTS")
	}
	// The change of a password counts too.
	w = newEnv(t, settings{})
	here := w.signIn().AccessToken
	for n := range 5 {
		if n%2 == 0 {
			w.refused(w.do("POST", "/api/auth/password/change", here, object{"current": randomPassword(), "new": "a quite different sentence"}), 401, "INVALID_CREDENTIALS")
		} else {
			w.refused(w.do("POST", "/api/auth/login", "", object{"email": spellings[n], "password": randomPassword()}), 401, "INVALID_CREDENTIALS")
		}
	}
	w.refused(w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": adaPassword}), 429, "TOO_MANY_ATTEMPTS")
}

// The fifth failure gets a 401, the sixth attempt is not checked, and window and block end to the
// second.
func TestWindowAndBlock(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	wrong := func() reply {
		return w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": randomPassword()})
	}
	// Failures that have left the window do not count.
	for range 4 {
		w.refused(wrong(), 401, "INVALID_CREDENTIALS")
	}
	w.clock.Advance(15 * time.Minute)
	for range 4 {
		w.refused(wrong(), 401, "INVALID_CREDENTIALS")
	}
	w.clock.Advance(15*time.Minute - time.Second)
	w.refused(wrong(), 401, "INVALID_CREDENTIALS") // the fifth within the window
	before := w.hasher.Runs()
	r := wrong()
	w.refused(r, 429, "TOO_MANY_ATTEMPTS")
	if got := r.Header.Get("Retry-After"); got != "3600" {
		t.Errorf("Retry-After: %s, want 3600", got)
	}
	w.clock.Advance(time.Hour - time.Second)
	r = w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": adaPassword})
	w.refused(r, 429, "TOO_MANY_ATTEMPTS")
	if got := r.Header.Get("Retry-After"); got != "1" {
		t.Errorf("Retry-After a second before the end: %s, want 1", got)
	}
	if runs := w.hasher.Runs() - before; runs != 0 {
		t.Errorf("%d passwords were hashed during the block", runs)
	}
	w.clock.Advance(time.Second)
	w.signIn()
}

// A block looks the same for existing and unknown accounts.
func TestLimitTellsNothing(t *testing.T) {
	t.Parallel()
	answers := make(map[string]string)
	for _, email := range []string{adaEmail, "nobody@example.com", "not an address"} {
		w := newEnv(t, settings{})
		for range 5 {
			w.refused(w.do("POST", "/api/auth/login", "", object{"email": email, "password": randomPassword()}), 401, "INVALID_CREDENTIALS")
		}
		r := w.do("POST", "/api/auth/login", "", object{"email": email, "password": adaPassword})
		p := w.refused(r, 429, "TOO_MANY_ATTEMPTS")
		if after, err := strconv.Atoi(r.Header.Get("Retry-After")); err != nil || after < 1 {
			t.Errorf("Retry-After: %s", r.Header.Get("Retry-After"))
		}
		delete(p, "instance")
		h := r.Header.Clone()
		h.Del("Date")
		h.Del("Durward-Denial")
		text, err := json.Marshal([]any{p, h, r.ContentLength})
		if err != nil {
			t.Fatal(err)
		}
		answers[email] = string(text)
	}
	for email, got := range answers {
		if got != answers[adaEmail] {
			t.Errorf("%s:\n%s\nof an account that exists:\n%s", email, got, answers[adaEmail])
		}
	}
}

// With open registration, a taken and a new address cost the same hash. A malformed request costs
// none.
func TestWorkOfRegistration(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{registration: true})
	cost := func(email, password string, status int) uint64 {
		before := w.hasher.Runs()
		if r := w.do("POST", "/api/auth/register", "", object{"email": email, "password": password}); r.StatusCode != status {
			t.Errorf("%s: %s %s, want %d", email, r.Status, r.body, status)
		}
		return w.hasher.Runs() - before
	}
	if known, unknown := cost(adaEmail, adaPassword, 409), cost("new@example.com", adaPassword, 201); known != 1 || unknown != 1 {
		t.Errorf("hashes: %d for a known address, %d for a new one, want 1", known, unknown)
	}
	if n := cost("x", adaPassword, 400) + cost("x@example.com", "short", 400) + cost("x@example.com", strings.Repeat("long ", 60), 400); n != 0 {
		t.Errorf("%d hashes for what is refused for its form", n)
	}
}

// Passwords are not changed and need no composition: length, spaces and case count. A password over
// the limit costs no hash.
func TestPasswordsAsTheyAre(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{registration: true})
	login := func(email, password string) int {
		return w.do("POST", "/api/auth/login", "", object{"email": email, "password": password}).StatusCode
	}
	for n, password := range []string{
		strings.Repeat("six words of text, ", 4)[:64], "all lower case letters", " leading and trailing  ", "ÄÖÜ 漢字 🔑 enough letters", "Mixed CASE is kept", strings.Repeat("x y", 85) + "z",
	} {
		email := fmt.Sprintf("person%d@example.com", n)
		if r := w.do("POST", "/api/auth/register", "", object{"email": email, "password": password}); r.StatusCode != 201 {
			t.Fatalf("%q: %s %s", password, r.Status, r.body)
		}
		if got := login(email, password); got != 200 {
			t.Errorf("%q: %d", password, got)
		}
		for _, other := range []string{strings.TrimSpace(password), strings.ToLower(password), strings.ToUpper(password), password + " ", password[:len(password)-1]} {
			if other != password {
				if got := login(email, other); got != 401 {
					t.Errorf("%q for %q: %d", other, password, got)
				}
				break // one failure each: the network's limit is ten
			}
		}
	}
	before := w.hasher.Runs()
	for _, size := range []int{257, 1 << 20} {
		status := map[bool]int{true: 400, false: 413}[size < maxBody]
		if r := w.do("POST", "/api/auth/register", "", object{"email": "long@example.com", "password": strings.Repeat("x y", size/3+1)[:size]}); r.StatusCode != status {
			t.Errorf("%d characters: %s", size, r.Status)
		}
	}
	w.refused(w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": strings.Repeat("x", 1<<20)}), 413, "BODY_TOO_LARGE")
	if runs := w.hasher.Runs() - before; runs != 0 {
		t.Errorf("%d hashes of passwords that are too long", runs)
	}
}

// Pages of other origins can send requests without a preflight. All of them are refused, whatever
// their Origin.
func TestForeignPage(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{registration: true})
	body := fmt.Sprintf(`{"email":%q,"password":%q}`, adaEmail, adaPassword)
	for _, path := range []string{"/api/auth/login", "/api/auth/register", "/api/auth/refresh", "/api/auth/logout"} {
		for _, origin := range []string{"https://evil.example", "null", "http://127.0.0.1:8401.evil.example", ""} {
			for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain; application/json", "application/jsonp", "", "text/json"} {
				r, err := http.NewRequest("POST", w.url+path, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				r.Header = http.Header{"Content-Type": {kind}, "Origin": {origin}, "Sec-Fetch-Site": {"cross-site"}, "Cookie": {sessionCookie + "=x"}}
				got := w.send(r)
				w.refused(got, 415, "UNSUPPORTED_MEDIA_TYPE")
				if got.Header.Get("Set-Cookie") != "" || got.Header.Get("Access-Control-Allow-Origin") != "" {
					t.Errorf("%s from %s: %v", path, origin, got.Header)
				}
			}
			r, err := http.NewRequest("OPTIONS", w.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = http.Header{"Origin": {origin}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {"content-type"}}
			got := w.send(r)
			for name := range got.Header {
				if strings.HasPrefix(name, "Access-Control-Allow") {
					t.Errorf("the preflight from %q is allowed %s", origin, name)
				}
			}
		}
		w.refused(w.do("GET", path+"?email="+adaEmail, "", nil), 405, "METHOD_NOT_ALLOWED") // nothing changes by a link
	}
}
