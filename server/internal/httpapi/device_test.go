package httpapi

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/request"
)

// locked locks the account of Ada by guesses from ten networks.
func (w *env) locked() {
	w.t.Helper()
	for n := range 10 {
		from := request.Info{Addr: netip.MustParseAddr(fmt.Sprintf("198.51.100.%d", n))}
		if _, err := w.people.Authenticate(w.t.Context(), adaEmail, randomPassword(), from); err == nil {
			w.t.Fatal("a guess is right")
		}
	}
}

// An attacker locks the account, but not the browser in which its user signed in, and no session.
func TestKnownDevice(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{basic: true})
	login := object{"email": adaEmail, "password": adaPassword, "use_cookies": true}
	first := w.byCookie("POST", "/api/auth/login", "", login)
	session, device := w.given(first), w.givenDevice(first)
	tokens := w.signIn()
	on := func(device string, body object) reply {
		t.Helper()
		return w.byCookie("POST", "/api/auth/login", "", body, "Cookie", deviceCookie+"="+device)
	}
	w.locked()

	limited := func(what string, r reply, least, most int) {
		t.Helper()
		w.refused(r, 429, "TOO_MANY_ATTEMPTS")
		if after, err := strconv.Atoi(r.Header.Get("Retry-After")); err != nil || after < least || after > most {
			t.Errorf("%s: Retry-After: %q, want %d to %d", what, r.Header.Get("Retry-After"), least, most)
		}
	}
	limited("no device", w.byCookie("POST", "/api/auth/login", "", login), 840, 900)
	limited("another device", on(strings.Repeat("A", 43), login), 840, 900)
	limited("two cookies", w.byCookie("POST", "/api/auth/login", "", login, "Cookie", deviceCookie+"="+device+"; "+deviceCookie+"="+device), 840, 900)

	again := on(device, login)
	if w.given(again); w.givenDevice(again) != device {
		t.Error("a known device got another cookie")
	}
	if r := w.do("POST", "/api/auth/step-up", tokens.AccessToken, object{"password": adaPassword}); r.StatusCode != 200 {
		t.Errorf("step-up of a session: %s %s", r.Status, r.body)
	}
	if r := w.byCookie("POST", "/api/auth/step-up", session, object{"password": adaPassword}); r.StatusCode != 200 {
		t.Errorf("step-up of a cookie: %s %s", r.Status, r.body)
	}
	limited("after the user's own sign-in", w.byCookie("POST", "/api/auth/login", "", login), 840, 900)

	// The device has a limit of its own.
	for range 5 {
		w.refused(on(device, object{"email": adaEmail, "password": randomPassword(), "use_cookies": true}), 401, "INVALID_CREDENTIALS")
	}
	limited("guesses on the device", on(device, login), 3540, 3600)
	w.clock.Advance(time.Hour)
	w.given(on(device, login))

	// It is forgotten with all sessions.
	if r := w.do("POST", "/api/auth/logout", tokens.AccessToken, object{"everywhere": true}); r.StatusCode != 204 {
		t.Fatalf("logout: %s %s", r.Status, r.body)
	}
	w.locked()
	limited("signed out everywhere", on(device, login), 1, 1800)
}

// A reset by mail lets the user in again, in that browser.
func TestResetKnowsDevice(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	w.locked()
	r := w.reset(w.resetToken(), newPassword)
	if r.StatusCode != 204 {
		t.Fatalf("reset: %s %s", r.Status, r.body)
	}
	login := object{"email": adaEmail, "password": newPassword, "use_cookies": true}
	w.refused(w.byCookie("POST", "/api/auth/login", "", login), 429, "TOO_MANY_ATTEMPTS")
	w.given(w.byCookie("POST", "/api/auth/login", "", login, "Cookie", deviceCookie+"="+w.givenDevice(r)))
}
