package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/passkey"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// newPasskeyEnv returns an env whose public URL has a domain name.
func newPasskeyEnv(t *testing.T, set settings) *env {
	t.Helper()
	set.publicURL = "https://auth.example.com"
	return newEnv(t, set)
}

// options sends a request that begins something with a passkey, and returns the options for the browser.
func (w *env) options(path, token string) []byte {
	w.t.Helper()
	return w.optionsOf(w.do("POST", path, token, nil))
}

// optionsOf returns the options in a response.
func (w *env) optionsOf(r reply) []byte {
	w.t.Helper()
	var o api.PasskeyOptions
	if r.StatusCode != 200 || json.Unmarshal(r.body, &o) != nil || o.ExpiresIn != 300 {
		w.t.Fatalf("options: %s %s", r.Status, r.body)
	}
	return o.PublicKey
}

// addPasskey adds a passkey of the user of token.
func (w *env) addPasskey(token string) (*testkit.Authenticator, account.PasskeyView) {
	w.t.Helper()
	a := testkit.NewAuthenticator(w.t, "auth.example.com")
	response := a.Create(w.t, w.options("/api/auth/passkeys/begin", token))
	r := w.do("POST", "/api/auth/passkeys/finish", token, object{"credential": json.RawMessage(response)})
	var made account.PasskeyView
	if r.StatusCode != 201 || json.Unmarshal(r.body, &made) != nil || made.ID == "" {
		w.t.Fatalf("%s %s", r.Status, r.body)
	}
	return a, made
}

// assert returns the response of a to a new challenge for a sign-in.
func (w *env) assert(a *testkit.Authenticator) json.RawMessage {
	w.t.Helper()
	return a.Get(w.t, w.options("/api/auth/passkeys/login/begin", ""))
}

func (w *env) passkeyLogin(assertion json.RawMessage) reply {
	w.t.Helper()
	return w.do("POST", "/api/auth/passkeys/login/finish", "", object{"assertion": assertion})
}

// byPasskey signs in with a and returns the access token.
func (w *env) byPasskey(a *testkit.Authenticator) string {
	w.t.Helper()
	return w.tokens(w.passkeyLogin(w.assert(a))).AccessToken
}

func (w *env) passkeysOf(token string) []account.PasskeyView {
	w.t.Helper()
	r := w.do("GET", "/api/auth/passkeys", token, nil)
	var l list[account.PasskeyView]
	if r.StatusCode != 200 || json.Unmarshal(r.body, &l) != nil {
		w.t.Fatalf("%s %s", r.Status, r.body)
	}
	return l.Items
}

// addBob adds another user with the password of ada and returns an access token.
func (w *env) addBob() string {
	w.t.Helper()
	_, err := w.people.Add(context.Background(), account.NewUser{Email: "bob@example.com", Password: adaPassword}, store.EventUserAdded, request.Info{Actor: "operator"})
	if err != nil {
		w.t.Fatal(err)
	}
	return w.tokens(w.password("bob@example.com")).AccessToken
}

// A passkey from its enrolment to its end.
func TestPasskeys(t *testing.T) {
	t.Parallel()
	w := newPasskeyEnv(t, settings{})
	first := w.signIn()
	if got := w.passkeysOf(first.AccessToken); len(got) != 0 {
		t.Fatalf("%+v", got)
	}
	a, made := w.addPasskey(first.AccessToken)
	if made.Name != "Passkey" || made.Synced || !made.LastUsedAt.IsZero() {
		t.Errorf("%+v", made)
	}
	if string(a.UserHandle) != w.ada.ID {
		t.Errorf("user handle %q", a.UserHandle)
	}

	w.clock.Advance(time.Minute)
	second := w.tokens(w.passkeyLogin(w.assert(a)))
	w.works(second.AccessToken)
	w.strength("sign-in", second.AccessToken, "phr", "mfa pop user", w.clock.Now())
	if got := w.passkeysOf(second.AccessToken); len(got) != 1 || !got[0].LastUsedAt.Equal(w.clock.Now()) {
		t.Errorf("%+v", got)
	}
	w.strength("refresh", w.tokens(w.refreshWith(second.RefreshToken)).AccessToken, "phr", "mfa pop user", w.clock.Now())

	r := w.do("PATCH", "/api/auth/passkeys/"+made.ID, second.AccessToken, object{"name": "Telefon"})
	if r.StatusCode != 200 || !strings.Contains(string(r.body), `"name":"Telefon"`) {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	w.refused(w.do("PATCH", "/api/auth/passkeys/"+made.ID, second.AccessToken, object{"name": " "}), 400, "INVALID_REQUEST")

	if r := w.do("DELETE", "/api/auth/passkeys/"+made.ID, second.AccessToken, nil); r.StatusCode != 204 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	w.works(second.AccessToken)
	w.dead(first.AccessToken, "TOKEN_REVOKED")
	w.refused(w.do("DELETE", "/api/auth/passkeys/"+made.ID, second.AccessToken, nil), 404, "NOT_FOUND")
	w.refused(w.passkeyLogin(w.assert(a)), 401, "INVALID_CREDENTIALS")
	w.signIn() // the password is sufficient again

	for _, kind := range []string{store.EventPasskeyAdded, store.EventPasskeyRenamed, store.EventPasskeyRemoved} {
		if got := w.events(kind); len(got) != 1 || got[0].UserID != w.ada.ID || got[0].Detail != "passkey "+made.ID {
			t.Errorf("%s: %+v", kind, got)
		}
	}
	r = w.do("GET", "/api/notifications", second.AccessToken, nil)
	for _, kind := range []string{"passkey_added", "passkey_removed"} {
		if !strings.Contains(string(r.body), kind) {
			t.Errorf("no %s in %s", kind, r.body)
		}
	}
}

// A passkey is a second factor: a password alone no longer signs in, steps up or works with Basic, and the
// response of a passkey finishes the sign-in that the password began.
func TestPasskeyAsSecondFactor(t *testing.T) {
	t.Parallel()
	w := newPasskeyEnv(t, settings{basic: true})
	first := w.signIn().AccessToken
	a, _ := w.addPasskey(first)
	p := w.refused(w.password(adaEmail), 401, "MFA_REQUIRED")
	if methods, _ := p["methods"].([]any); !slices.Equal(methods, []any{"passkey"}) {
		t.Errorf("methods: %v", p["methods"])
	}
	if p := w.refused(w.do("POST", "/api/auth/step-up", first, object{"password": adaPassword}), 401, "MFA_REQUIRED"); fmt.Sprint(p["methods"]) != "[passkey]" {
		t.Errorf("step-up: %v", p)
	}
	r, err := http.NewRequest("GET", w.url+"/api/profile", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(adaEmail, adaPassword)
	w.refused(w.send(r), 401, "INVALID_CREDENTIALS")

	ask := func(half string) json.RawMessage {
		t.Helper()
		options := w.optionsOf(w.do("POST", "/api/auth/passkeys/login/begin", "", object{"mfa_token": half}))
		if !bytes.Contains(options, []byte(`"allowCredentials":[{`)) {
			t.Errorf("%s", options)
		}
		return a.Get(t, options)
	}
	send := func(half string, assertion json.RawMessage) reply {
		t.Helper()
		return w.do("POST", "/api/auth/login/mfa", "", object{"mfa_token": half, "method": "passkey", "assertion": assertion})
	}
	half, other := w.half(adaEmail), w.half(adaEmail)
	response := ask(half)
	w.refused(send(other, response), 401, "INVALID_CREDENTIALS")     // the challenge is for the other sign-in
	w.refused(send(half, w.assert(a)), 401, "INVALID_CREDENTIALS")   // made for a sign-in without a password
	w.refused(w.passkeyLogin(ask(half)), 401, "INVALID_CREDENTIALS") // and the other way round
	if got := w.refused(w.finish(half, "passkey", "000000"), 400, "INVALID_REQUEST")["member"]; got != "assertion" {
		t.Errorf("a code for a passkey: member %v", got)
	}
	w.refused(w.do("POST", "/api/auth/login/mfa", "", object{"mfa_token": half, "method": "totp", "assertion": ask(half)}), 400, "INVALID_REQUEST")
	w.clock.Advance(time.Minute)
	done := w.tokens(send(half, ask(half)))
	w.strength("second factor", done.AccessToken, "phr", "mfa pop pwd user", w.clock.Now())
	if signed := w.events(store.EventSignedIn); signed[0].Detail != "with passkey" {
		t.Errorf("event: %+v", signed[0])
	}
	w.refused(send(half, response), 401, "SESSION_EXPIRED")
	w.refused(w.do("POST", "/api/auth/passkeys/login/begin", "", object{"mfa_token": half}), 401, "SESSION_EXPIRED")

	// The same with a cookie, from pages of this origin alone.
	p = w.refused(w.byCookie("POST", "/api/auth/login", "", object{"email": adaEmail, "password": adaPassword, "use_cookies": true}, "Origin", "https://auth.example.com"), 401, "MFA_REQUIRED")
	half, _ = p["mfa_token"].(string)
	body := object{"mfa_token": half, "method": "passkey", "assertion": ask(half)}
	w.refused(w.byCookie("POST", "/api/auth/login/mfa", "", body, "Origin", "https://evil.example"), 403, "CROSS_SITE")
	if r := w.byCookie("POST", "/api/auth/login/mfa", "", body, "Origin", "https://auth.example.com"); r.StatusCode != 200 || !strings.HasPrefix(r.Header.Get("Set-Cookie"), sessionCookie+"=") {
		t.Errorf("%s %s", r.Status, r.body)
	}

	// A code beside it, a step down to it, and recovery codes.
	var e api.TOTPEnrolment
	if r := w.do("POST", "/api/auth/mfa/totp", done.AccessToken, nil); json.Unmarshal(r.body, &e) != nil {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	w.tokens(w.do("POST", "/api/auth/mfa/totp/confirm", done.AccessToken, object{"code": w.code(e.Secret)}))
	alone := w.byPasskey(a)
	stepped := w.tokens(w.do("POST", "/api/auth/step-up", alone, object{"totp": w.nextCode(e.Secret)}))
	w.strength("a code after a passkey", stepped.AccessToken, twoFactor, "mfa otp pop user", w.clock.Now())
	w.recoveryCodes(stepped.AccessToken)
	var f api.Factors
	if r := w.do("GET", "/api/auth/mfa", stepped.AccessToken, nil); json.Unmarshal(r.body, &f) != nil || !slices.Equal(f.Methods, []string{"passkey", "totp", "recovery_code"}) || f.Passkeys != 1 {
		t.Errorf("factors: %s", r.body)
	}
}

// Each refused sign-in gets the same response, whatever its reason.
func TestPasskeyRefusals(t *testing.T) {
	t.Parallel()
	w := newPasskeyEnv(t, settings{})
	a, _ := w.addPasskey(w.signIn().AccessToken)
	b, _ := w.addPasskey(w.addBob())

	used := w.assert(a)
	token := w.tokens(w.passkeyLogin(used)).AccessToken
	old := w.assert(a)
	w.clock.Advance(passkey.ChallengeLife + time.Second)
	token = w.tokens(w.do("POST", "/api/auth/step-up", token, object{"passkey": json.RawMessage(a.Get(t, w.options("/api/auth/passkeys/step-up/begin", token)))})).AccessToken
	cases := map[string]json.RawMessage{
		"used challenge":         used,
		"old challenge":          old,
		"challenge of enrolment": a.Get(t, w.options("/api/auth/passkeys/begin", token)),
		"challenge of step-up":   a.Get(t, w.options("/api/auth/passkeys/step-up/begin", token)),
		"unknown passkey":        w.assert(testkit.NewAuthenticator(t, "auth.example.com")),
	}
	handle := *a
	handle.UserHandle = b.UserHandle
	cases["user handle of another user"] = w.assert(&handle)
	forged := *a
	forged.Key = b.Key
	cases["key of another user"] = w.assert(&forged)
	unverified := *a
	unverified.Flags = testkit.UserPresent
	cases["user not verified"] = w.assert(&unverified)
	page := *a
	page.Origin = "https://evil.example"
	cases["page of another site"] = w.assert(&page)
	copied := *a
	copied.Count = 1
	cases["counter of a copy"] = w.assert(&copied)

	body := ""
	for name, assertion := range cases {
		r := w.passkeyLogin(assertion)
		p := w.refused(r, 401, "INVALID_CREDENTIALS")
		delete(p, "instance")
		if body == "" {
			body = fmt.Sprint(p)
		}
		if got := fmt.Sprint(p); got != body {
			t.Errorf("%s: %s, others get %s", name, got, body)
		}
	}
	for name, assertion := range map[string]string{
		"no object": `"x"`, "empty": `{}`, "null": `null`, "list": `[]`,
		"no response":  `{"id":"AA","rawId":"AA","type":"public-key"}`,
		"another type": `{"id":"AA","rawId":"AA","type":"password","response":{}}`,
	} {
		if got := w.refused(w.passkeyLogin(json.RawMessage(assertion)), 400, "INVALID_REQUEST")["member"]; got != "assertion" {
			t.Errorf("%s: member %v", name, got)
		}
	}
	// A locked user is told so after a right response only, as after a right password.
	a.Count = 100
	right, wrong := w.assert(a), w.assert(&unverified)
	if err := w.sessions.LockUser(context.Background(), w.ada.ID, request.Info{Actor: "operator"}); err != nil {
		t.Fatal(err)
	}
	w.refused(w.passkeyLogin(right), 403, "ACCOUNT_DISABLED")
	w.refused(w.passkeyLogin(wrong), 401, "INVALID_CREDENTIALS")
}

// A response is accepted once, also if it arrives on 20 connections at once.
func TestPasskeyOnce(t *testing.T) {
	t.Parallel()
	w := newPasskeyEnv(t, settings{})
	a, _ := w.addPasskey(w.signIn().AccessToken)
	for _, count := range []uint32{1, 0} { // an authenticator without a counter leaves it at 0
		if count == 0 {
			w.sql(`UPDATE passkeys SET sign_count = 0`)
			a.Count = 0
		}
		for _, door := range []string{"sign-in", "second factor"} {
			path, body := "/api/auth/passkeys/login/finish", object{}
			if door == "sign-in" {
				body["assertion"] = w.assert(a)
			} else {
				half := w.half(adaEmail)
				response := a.Get(t, w.optionsOf(w.do("POST", "/api/auth/passkeys/login/begin", "", object{"mfa_token": half})))
				path, body = "/api/auth/login/mfa", object{"mfa_token": half, "method": "passkey", "assertion": json.RawMessage(response)}
			}
			var accepted atomic.Int32
			var wait sync.WaitGroup
			for range 20 {
				wait.Go(func() {
					switch r := w.do("POST", path, "", body); r.StatusCode {
					case 200:
						accepted.Add(1)
					case 401:
					default:
						t.Errorf("%s: %s %s", door, r.Status, r.body)
					}
				})
			}
			wait.Wait()
			if n := accepted.Load(); n != 1 {
				t.Errorf("%s: accepted %d times with a counter of %d", door, n, count)
			}
		}
	}
}

// A response to enrolment is accepted once, in the session that asked, after a recent sign-in.
func TestPasskeyEnrolment(t *testing.T) {
	t.Parallel()
	w := newPasskeyEnv(t, settings{basic: true})
	token := w.signIn().AccessToken
	a := testkit.NewAuthenticator(t, "auth.example.com")
	send := func(token string, response []byte) reply {
		return w.do("POST", "/api/auth/passkeys/finish", token, object{"credential": json.RawMessage(response), "name": "Laptop"})
	}
	response := a.Create(t, w.options("/api/auth/passkeys/begin", token))
	if got := w.refused(send(w.signIn().AccessToken, response), 400, "INVALID_REQUEST")["member"]; got != "credential" {
		t.Errorf("another session: member %v", got)
	}
	bob := w.addBob()
	if r := send(token, response); r.StatusCode != 201 || !strings.Contains(string(r.body), `"name":"Laptop"`) {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	// The session of the password alone changes no passkeys any more.
	w.refused(send(token, response), 401, "STEP_UP_REQUIRED")
	w.refused(w.do("POST", "/api/auth/passkeys/begin", token, nil), 401, "STEP_UP_REQUIRED")
	token = w.byPasskey(a)
	again := a.Create(t, w.options("/api/auth/passkeys/begin", token))
	w.refused(send(token, again), 400, "INVALID_REQUEST") // the credential is registered, for this user and for others
	w.refused(send(bob, a.Create(t, w.options("/api/auth/passkeys/begin", bob))), 400, "INVALID_REQUEST")
	fresh := testkit.NewAuthenticator(t, "auth.example.com")
	response = fresh.Create(t, w.options("/api/auth/passkeys/begin", token))
	if r := send(token, response); r.StatusCode != 201 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	w.refused(send(token, response), 400, "INVALID_REQUEST") // the challenge is spent
	for n := 3; n <= 20; n++ {
		w.addPasskey(token)
	}
	last := testkit.NewAuthenticator(t, "auth.example.com")
	w.refused(send(token, last.Create(t, w.options("/api/auth/passkeys/begin", token))), 403, "FORBIDDEN")

	w.clock.Advance(recentSignIn + time.Second)
	w.refused(w.do("POST", "/api/auth/passkeys/begin", token, nil), 401, "STEP_UP_REQUIRED")
	w.refused(send(token, response), 401, "STEP_UP_REQUIRED")

	// Basic belongs to no session.
	r, err := http.NewRequest("POST", w.url+"/api/auth/passkeys/begin", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("bob@example.com", adaPassword)
	w.refused(w.send(r), 403, "FORBIDDEN")
}

// A passkey renews a sign-in, in the session that asked.
func TestPasskeyStepUp(t *testing.T) {
	t.Parallel()
	w := newPasskeyEnv(t, settings{})
	first, second := w.signIn(), w.signIn()
	w.refused(w.do("POST", "/api/auth/passkeys/step-up/begin", first.AccessToken, nil), 404, "NOT_FOUND")
	a, _ := w.addPasskey(first.AccessToken)
	w.clock.Advance(10 * time.Minute)
	r := w.do("POST", "/api/auth/passkeys/begin", first.AccessToken, nil)
	w.refused(r, 401, "STEP_UP_REQUIRED")

	stepUp := func(token string, response []byte) reply {
		return w.do("POST", "/api/auth/step-up", token, object{"passkey": json.RawMessage(response)})
	}
	options := w.options("/api/auth/passkeys/step-up/begin", first.AccessToken)
	if !bytes.Contains(options, []byte(`"allowCredentials":[{`)) {
		t.Errorf("%s", options)
	}
	response := a.Get(t, options)
	w.refused(stepUp(second.AccessToken, response), 401, "INVALID_CREDENTIALS") // another session
	fresh := w.tokens(stepUp(first.AccessToken, response))
	w.strength("step-up", fresh.AccessToken, "phr", "mfa pop user", w.clock.Now())
	w.refused(stepUp(first.AccessToken, response), 401, "INVALID_CREDENTIALS") // spent
	w.refused(stepUp(first.AccessToken, w.assert(a)), 401, "INVALID_CREDENTIALS")
	w.refused(w.do("POST", "/api/auth/step-up", first.AccessToken, object{"passkey": json.RawMessage(response), "password": adaPassword}), 400, "INVALID_REQUEST")
	w.works(fresh.AccessToken) // no failure counts against the session
	w.options("/api/auth/passkeys/begin", fresh.AccessToken)
}

// The response of another user's passkey neither renews a sign-in nor changes that passkey.
func TestPasskeyOfAnother(t *testing.T) {
	t.Parallel()
	w := newPasskeyEnv(t, settings{})
	a, made := w.addPasskey(w.signIn().AccessToken)
	bob := w.addBob()
	w.refused(w.do("DELETE", "/api/auth/passkeys/"+made.ID, bob, nil), 404, "NOT_FOUND")
	w.refused(w.do("PATCH", "/api/auth/passkeys/"+made.ID, bob, object{"name": "mine"}), 404, "NOT_FOUND")
	w.addPasskey(bob)
	a.UserHandle = nil // as an authenticator may in a step-up (WebAuthn level 3 s7.2, step 6)
	response := a.Get(t, w.options("/api/auth/passkeys/step-up/begin", bob))
	w.refused(w.do("POST", "/api/auth/step-up", bob, object{"passkey": json.RawMessage(response)}), 401, "INVALID_CREDENTIALS")
	half := w.half("bob@example.com")
	response = a.Get(t, w.optionsOf(w.do("POST", "/api/auth/passkeys/login/begin", "", object{"mfa_token": half})))
	w.refused(w.do("POST", "/api/auth/login/mfa", "", object{"mfa_token": half, "method": "passkey", "assertion": json.RawMessage(response)}), 401, "INVALID_CREDENTIALS")
	if got := w.passkeysOf(bob); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

// The last way to sign in stays.
func TestLastWayToSignIn(t *testing.T) {
	t.Parallel()
	w := newPasskeyEnv(t, settings{})
	a, first := w.addPasskey(w.signIn().AccessToken)
	token := w.byPasskey(a)
	_, second := w.addPasskey(token)
	w.sql(`UPDATE users SET password = ''`)
	if r := w.do("DELETE", "/api/auth/passkeys/"+first.ID, token, nil); r.StatusCode != 204 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	w.refused(w.do("DELETE", "/api/auth/passkeys/"+second.ID, token, nil), 403, "FORBIDDEN")
	if got := w.passkeysOf(token); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

// A flood of refused responses is limited, a right one during it is not. Blocks after wrong passwords do
// not apply to a passkey, except after the password.
func TestPasskeyLimits(t *testing.T) {
	t.Parallel()
	w := newPasskeyEnv(t, settings{badPasskeys: 3})
	a, _ := w.addPasskey(w.signIn().AccessToken)
	half := w.half(adaEmail)
	for range 10 {
		w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": randomPassword()})
	}
	w.refused(w.password(adaEmail), 429, "TOO_MANY_ATTEMPTS")
	response := a.Get(t, w.optionsOf(w.do("POST", "/api/auth/passkeys/login/begin", "", object{"mfa_token": half})))
	w.refused(w.do("POST", "/api/auth/login/mfa", "", object{"mfa_token": half, "method": "passkey", "assertion": json.RawMessage(response)}), 429, "TOO_MANY_ATTEMPTS")
	stranger := testkit.NewAuthenticator(t, "auth.example.com")
	for range 3 {
		w.refused(w.passkeyLogin(w.assert(stranger)), 401, "INVALID_CREDENTIALS")
	}
	r := w.passkeyLogin(w.assert(stranger))
	w.refused(r, 429, "TOO_MANY_ATTEMPTS")
	if r.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	w.byPasskey(a)
}

// A finished sign-in ends the count of wrong passwords, as one with a code does.
func TestPasskeyEndsTheCount(t *testing.T) {
	t.Parallel()
	w := newPasskeyEnv(t, settings{})
	a, _ := w.addPasskey(w.signIn().AccessToken)
	for range 3 {
		for range 4 {
			w.refused(w.do("POST", "/api/auth/login", "", object{"email": adaEmail, "password": randomPassword()}), 401, "INVALID_CREDENTIALS")
		}
		half := w.half(adaEmail)
		response := a.Get(t, w.optionsOf(w.do("POST", "/api/auth/passkeys/login/begin", "", object{"mfa_token": half})))
		w.tokens(w.do("POST", "/api/auth/login/mfa", "", object{"mfa_token": half, "method": "passkey", "assertion": json.RawMessage(response)}))
		w.clock.Advance(2 * time.Minute) // the limit of the network
	}
}

// With use_cookies a passkey sets the session cookie, for pages of this origin alone.
func TestPasskeyCookie(t *testing.T) {
	t.Parallel()
	w := newPasskeyEnv(t, settings{})
	a, _ := w.addPasskey(w.signIn().AccessToken)
	send := func(origin string) reply {
		return w.byCookie("POST", "/api/auth/passkeys/login/finish", "", object{"assertion": w.assert(a), "use_cookies": true}, "Origin", origin)
	}
	w.refused(send("https://evil.example"), 403, "CROSS_SITE")
	r := send("https://auth.example.com")
	set := r.Header.Get("Set-Cookie")
	if r.StatusCode != 200 || !strings.HasPrefix(set, sessionCookie+"=") || bytes.Contains(r.body, []byte("token")) {
		t.Fatalf("%s %s %s", r.Status, r.body, set)
	}
}

// A server at an IP address has no passkeys and says why.
func TestNoPasskeys(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	p := w.refused(w.do("POST", "/api/auth/passkeys/login/begin", "", nil), 404, "NOT_FOUND")
	if !strings.Contains(fmt.Sprint(p["hint"]), "public_url") {
		t.Error(p)
	}
}
