package web_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// A user signs in with a password, and comes back to the page that asked for it.
func TestSignIn(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	p := b.get("/account")
	to := p.location()
	b.follow(p).want(http.StatusOK).shows(`name="password"`)
	p = b.post(to[len(origin):], "email", ada, "password", password)
	if got := p.location(); got != "/account" {
		t.Fatalf("after the sign-in: %s, want /account", got)
	}
	b.follow(p).want(http.StatusOK).shows(ada)
}

// A wrong password shows the form again, with the id of the denial and the typed address. The security log
// explains the id.
func TestWrongPassword(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	p := e.browser().post("/login", "email", ada, "password", "wrong horse").want(http.StatusUnprocessableEntity)
	p.shows(`value="`+ada+`"`, p.denial()).lacks("wrong horse")
	e.eventually("the denial is in the log", func() bool {
		d, err := e.node.DB.DenialByID(t.Context(), p.denial())
		return err == nil && d.Code == "INVALID_CREDENTIALS" && d.Path == testPrefix+"/login"
	})
}

// half begins a sign-in of a user with a second factor and returns the page of the factor.
func (b *browser) half(email string) page {
	b.e.t.Helper()
	p := b.post("/login?return_to=%2Faccount%3Fx%3D1", "email", email, "password", password)
	if got := p.location(); !strings.HasPrefix(got, "/login/factor?") {
		b.e.t.Fatalf("after the password: %s", got)
	}
	if b.cookie("__Host-durward") != "" || len(b.cookie("__Host-durward-signin")) != 43 {
		b.e.t.Fatal("after the password: a session, or no sign-in")
	}
	return b.follow(p).want(http.StatusOK)
}

const factorURL = "/login/factor?return_to=%2Faccount%3Fx%3D1"

// A user with an authenticator app signs in with the password and a code. A wrong code shows the page again.
func TestFactor(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	seed := e.browser().enrol(ada)
	b := e.browser()
	b.half(ada).shows("Code with six digits").lacks("Use a recovery code")
	p := b.post(factorURL, "method", "totp", "code", "000000").want(http.StatusUnprocessableEntity)
	p.shows("This code is wrong", p.denial()).lacks(`value="000000"`)
	p = b.post(factorURL, "method", "totp", "code", e.nextCode(seed))
	if got := p.location(); got != "/account?x=1" {
		t.Fatalf("after the code: %s", got)
	}
	if b.cookie("__Host-durward-signin") != "" {
		t.Error("the cookie of the sign-in is still there")
	}
	b.follow(p).want(http.StatusOK)
	if p := b.get(factorURL); !strings.HasPrefix(p.location(), "/login?ended=time") {
		t.Errorf("the page of a finished sign-in: %s", p.location())
	}
}

// Five wrong codes end a sign-in, from whichever page they come. The sign-in page says so.
func TestFiveWrongCodes(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	seed := e.browser().enrol(ada)
	b := e.browser()
	b.half(ada)
	for range 4 {
		b.post(factorURL, "code", "000000").want(http.StatusUnprocessableEntity)
	}
	p := b.post(factorURL, "code", "000000")
	if got := p.location(); !strings.HasPrefix(got, "/login?ended=tries") || !strings.Contains(got, "return_to=%2Faccount%3Fx%3D1") {
		t.Fatalf("after five wrong codes: %s", got)
	}
	b.follow(p).want(http.StatusOK).shows("too many wrong codes")
	b.post(factorURL, "code", e.nextCode(seed)).want(http.StatusSeeOther)
	if b.cookie("__Host-durward") != "" {
		t.Fatal("a code of a void sign-in began a session")
	}
}

// A sign-in lasts ten minutes.
func TestHalfSignInEnds(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	seed := e.browser().enrol(ada)
	b := e.browser()
	b.half(ada)
	e.clock.Advance(10 * time.Minute)
	p := b.post(factorURL, "code", e.code(seed))
	if got := p.location(); !strings.HasPrefix(got, "/login?ended=time") {
		t.Fatalf("after ten minutes: %s", got)
	}
	b.follow(p).shows("This sign-in has ended")
}

// A sign-in that began at the API, for tokens, is none of the pages.
func TestHalfSignInOfAPI(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	seed := e.browser().enrol(ada)
	b := e.browser()
	var half struct {
		Token string `json:"mfa_token"`
	}
	b.script("/api/auth/login", map[string]string{"email": ada, "password": password}, &half).want(http.StatusUnauthorized)
	to, _ := url.Parse(origin)
	b.client.Jar.SetCookies(to, []*http.Cookie{{Name: "__Host-durward-signin", Value: half.Token, Path: "/", Secure: true}})
	if got := b.post("/login/factor", "code", e.nextCode(seed)).location(); got != "/login?ended=time" {
		t.Errorf("the page led to %s", got)
	}
	if b.cookie("__Host-durward") != "" {
		t.Error("the page set a session cookie")
	}
}

// Of two requests that finish a sign-in at the same time, one begins a session.
func TestFactorTwiceAtOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	seed := e.browser().enrol(ada)
	b := e.browser()
	b.half(ada)
	before, code := len(e.events(store.EventSignedIn)), e.nextCode(seed)
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			p := b.post(factorURL, "code", code)
			if p.StatusCode != http.StatusSeeOther {
				t.Errorf("got %s", p.Status)
			}
		})
	}
	both.Wait()
	if got := len(e.events(store.EventSignedIn)) - before; got != 1 {
		t.Errorf("%d sessions began, want 1", got)
	}
	b.get("/account").want(http.StatusOK)
}

// assertion asks for options at a path and lets a passkey answer them.
func (b *browser) assertion(a *testkit.Authenticator, path string) string {
	b.e.t.Helper()
	var asked struct {
		PublicKey json.RawMessage `json:"public_key"`
	}
	b.script(path, struct{}{}, &asked).want(http.StatusOK)
	return string(a.Get(b.e.t, asked.PublicKey))
}

// A passkey signs in alone, and as the second factor, and renews a sign-in. Each response works once and for
// its page only.
func TestPasskey(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	first := e.browser()
	first.signIn(ada)
	key := first.addPasskey()

	b := e.browser()
	b.get("/login").shows(`data-begin="/api/auth/passkeys/login/begin"`, "/static/passkeys.js")
	response := b.assertion(key, "/api/auth/passkeys/login/begin")
	if got := b.post("/login?return_to=%2Faccount%3Fx%3D1", "email", "", "password", "", "assertion", response).location(); got != "/account?x=1" {
		t.Fatalf("after the passkey: %s", got)
	}
	b.get("/account").want(http.StatusOK).shows(ada)
	p := e.browser().post("/login", "assertion", response).want(http.StatusUnprocessableEntity)
	p.shows("The passkey was not accepted", p.denial())

	b = e.browser()
	b.half(ada).shows("Use the passkey", `data-begin="/login/factor/passkey"`)
	response = b.assertion(key, "/login/factor/passkey")
	other := e.browser()
	other.half(ada)
	other.post(factorURL, "assertion", response).want(http.StatusUnprocessableEntity)
	if got := b.post(factorURL, "assertion", response).location(); got != "/account?x=1" {
		t.Fatalf("after the second factor: %s", got)
	}

	p = b.get("/step-up?return_to=%2Faccount%2Fpasskeys").want(http.StatusOK)
	p.shows("To change your passkeys", "Use the passkey", `href="/account"`).lacks(`name="password"`)
	old := b.cookie("__Host-durward")
	response = b.assertion(key, "/api/auth/passkeys/step-up/begin")
	if got := b.post("/step-up?return_to=%2Faccount%2Fpasskeys", "assertion", response).location(); got != "/account/passkeys" {
		t.Fatalf("after the step-up: %s", got)
	}
	if b.cookie("__Host-durward") == old {
		t.Error("the step-up kept the cookie")
	}
}

// A page for a recent sign-in asks a user to confirm the identity and leads back. Opening the sign-in page
// with the requirements leads there too.
func TestStepUp(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	b.signIn(bea)
	if p := b.get("/login/enrol").want(http.StatusOK); !strings.Contains(p.Body, "Add a passkey") {
		t.Fatalf("a recent sign-in: %s", p.Body)
	}
	e.clock.Advance(6 * time.Minute)
	p := b.get("/login/enrol?return_to=%2Faccount")
	want := "/step-up?max_age=300&return_to=" + url.QueryEscape("/login/enrol?return_to=%2Faccount")
	if got := p.location(); got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
	p = b.get("/login?max_age=300&return_to=%2Faccount")
	if got := p.location(); got != "/step-up?max_age=300&return_to=%2Faccount" {
		t.Fatalf("sign-in page: %s", got)
	}
	b.follow(p).want(http.StatusOK).shows("Please confirm that it is you", `name="password"`)
	b.post("/step-up?return_to=%2Faccount", "password", "wrong horse").want(http.StatusUnprocessableEntity).shows("The password is wrong.").denial()
	b.post("/step-up?return_to=%2Faccount", "password", "").want(http.StatusUnprocessableEntity)
	old := b.cookie("__Host-durward")
	if got := b.post(want, "password", password).location(); got != "/login/enrol?return_to=%2Faccount" {
		t.Fatalf("after the step-up: %s", got)
	}
	if b.cookie("__Host-durward") == old {
		t.Error("the step-up kept the cookie")
	}
	b.get("/login/enrol").want(http.StatusOK)
	e.clock.Advance(6 * time.Minute)
	b.get("/login/enrol").want(http.StatusSeeOther)
}

// The fifth wrong password at a step-up ends the session.
func TestStepUpFiveWrong(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	b.signIn(ada)
	for range 4 {
		b.post("/step-up", "password", "wrong horse "+time.Now().String()).want(http.StatusUnprocessableEntity)
	}
	p := b.post("/step-up", "password", "another wrong horse")
	if got := p.location(); got != "/login?ended=tries" {
		t.Fatalf("got %s", got)
	}
	b.follow(p).want(http.StatusOK).shows("too many wrong codes or passwords")
	b.get("/account").want(http.StatusSeeOther)
}

// A password does not renew the sign-in of a user with a second factor, and a code renews none that needs a
// passkey.
func TestStepUpWithFactor(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	seed := b.enrol(ada)
	b.get("/step-up").want(http.StatusOK).shows("Code with six digits").lacks(`name="password"`)
	b.post("/step-up", "method", "password", "password", password).want(http.StatusUnprocessableEntity)
	b.get("/step-up?acr_values=phr").want(http.StatusForbidden)
	b.post("/step-up?acr_values=phr", "code", e.nextCode(seed)).want(http.StatusForbidden)
	b.post("/step-up?acr_values=urn:durward:acr:2fa+phr", "code", e.nextCode(seed)).want(http.StatusSeeOther)
}

// codesOf returns the recovery codes on a page.
func codesOf(p page) string {
	_, rest, _ := strings.Cut(p.Body, `<pre class="secret codes"`)
	_, rest, _ = strings.Cut(rest, ">")
	codes, _, _ := strings.Cut(rest, "</pre>")
	return codes
}

// A user without a second factor sets one up and gets recovery codes, which a page shows once. Then the user
// comes back to the page that asked for it.
func TestEnrol(t *testing.T) {
	t.Parallel()
	const here = "/login/enrol?method=totp&return_to=%2Faccount%3Fx%3D1"
	e := newEnv(t)
	b := e.browser()
	b.signIn(bea)
	b.get("/login/enrol?return_to=%2Faccount%3Fx%3D1").want(http.StatusOK).shows("Add a passkey", here, `data-begin="/api/auth/passkeys/begin"`)
	b.get(here).want(http.StatusOK).shows("Show the code to scan")
	p := b.follow(b.post(here, "step", "start")).want(http.StatusOK).shows("data:image/png;base64,", "otpauth://totp/")
	_, rest, _ := strings.Cut(p.Body, "secret=")
	seed := rest[:strings.IndexAny(rest, "&\"")]
	b.post(here, "code", "000000").want(http.StatusUnprocessableEntity).shows(seed, "This code is wrong").denial()
	p = b.post(here, "code", e.code(seed))
	if got := p.location(); got != "/login/enrol?return_to=%2Faccount%3Fx%3D1" {
		t.Fatalf("after the code: %s", got)
	}
	b.follow(p).want(http.StatusOK).shows("Make recovery codes")
	p = b.follow(b.post("/login/enrol?return_to=%2Faccount%3Fx%3D1", "step", "codes")).want(http.StatusOK)
	if got := len(strings.Fields(codesOf(p))); got != 10 {
		t.Fatalf("%d recovery codes", got)
	}
	if got := b.post("/login/enrol?return_to=%2Faccount%3Fx%3D1", "step", "done").location(); got != "/account?x=1" {
		t.Fatalf("at the end: %s", got)
	}
	if got := b.get("/login/enrol?return_to=%2Faccount%3Fx%3D1").location(); got != "/account?x=1" {
		t.Fatalf("afterwards: %s", got)
	}
	code := strings.Fields(codesOf(p))[0]
	b = e.browser()
	b.half(bea)
	b.get(factorURL + "&method=recovery_code").want(http.StatusOK).shows("Recovery code")
	b.post(factorURL+"&method=recovery_code", "method", "recovery_code", "code", "wrong").want(http.StatusUnprocessableEntity)
	b.post(factorURL+"&method=recovery_code", "method", "recovery_code", "code", code).want(http.StatusSeeOther)
	b.get("/account").want(http.StatusOK)
}

// A new passkey has to be used once, because adding it proves no sign-in with it.
func TestEnrolPasskey(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	b.signIn(bea)
	key := testkit.NewAuthenticator(t, "auth.example.com")
	var asked struct {
		PublicKey json.RawMessage `json:"public_key"`
	}
	b.script("/api/auth/passkeys/begin", struct{}{}, &asked).want(http.StatusOK)
	b.post("/login/enrol", "step", "passkey", "credential", "{}").want(http.StatusUnprocessableEntity).shows("The passkey was not added").denial()
	p := b.follow(b.post("/login/enrol", "step", "passkey", "credential", string(key.Create(t, asked.PublicKey))))
	if got := p.location(); !strings.HasPrefix(got, "/step-up?acr_values=") {
		t.Fatalf("after the passkey: %s", got)
	}
	stepUp := p.location()
	b.get(stepUp).want(http.StatusOK).shows("what you have just set up")
	p = b.post(stepUp, "assertion", b.assertion(key, "/api/auth/passkeys/step-up/begin"))
	b.follow(p).want(http.StatusOK).shows("Make recovery codes")
}
