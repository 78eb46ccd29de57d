package web_test

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// requireFactor requires a second factor of a user.
func (e *env) requireFactor(email string) {
	e.t.Helper()
	e.must(e.node.Accounts.RequireFactor(e.t.Context(), e.user(email).ID, true, request.Info{Actor: store.Operator}))
}

const required = "Your organisation requires a second protection for this account, beside the password."

// seedOfPage finds the seed of an authenticator app in a page.
var seedOfPage = regexp.MustCompile(`secret=([A-Z2-7]+)`)

// A user who owes a second factor comes from the sign-in to the page that sets it up, and from there to the page
// that was asked for. There is no way around it but to sign out.
func TestRequiredFactorAtSignIn(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.requireFactor(ada)
	b := e.browser()
	to := "?return_to=" + url.QueryEscape("/account/activity")
	p := b.post("/login"+to, "email", ada, "password", password)
	if got := p.location(); got != "/login/enrol"+to {
		t.Fatalf("after the password: %s", got)
	}
	b.get("/login/enrol"+to).want(http.StatusOK).shows(required, "Add a passkey", "Sign out").lacks("Not now", "This page needs an account")
	b.get("/login/enrol" + to + "&method=totp").want(http.StatusOK).shows(required).lacks("Not now")
	for _, path := range []string{"/account", "/account/keys", "/account/data", "/console"} {
		b.get(path).want(http.StatusForbidden).shows(required, "/login/enrol?return_to="+url.QueryEscape(path), "Set it up")
	}
	b.get("/login").want(http.StatusOK)
	b.get("/errors/").want(http.StatusOK)
	seed := seedOfPage.FindStringSubmatch(b.follow(b.post("/login/enrol"+to+"&method=totp", "step", "start")).want(http.StatusOK).Body)
	if seed == nil {
		t.Fatal("no seed")
	}
	p = b.post("/login/enrol"+to+"&method=totp", "code", e.code(seed[1]))
	b.follow(p).want(http.StatusOK).shows("Make recovery codes").lacks(required)
	b.post("/login/enrol"+to, "step", "codes").want(http.StatusSeeOther)
	if got := b.post("/login/enrol"+to, "step", "done").location(); got != "/account/activity" {
		t.Errorf("after the enrolment: %s", got)
	}
	b.get("/account/activity").want(http.StatusOK)
}

// A session that is alive when the requirement begins meets it at the next click and continues afterwards.
func TestRequiredFactorInSession(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	b.signIn(ada)
	b.get("/account").want(http.StatusOK)
	e.requireFactor(ada)
	b.get("/account").want(http.StatusForbidden).shows(required, "Set it up", "Sign out").denial()
	e.clock.Advance(10 * 60 * 1e9) // the sign-in is too old to change it
	p := b.get("/login/enrol?return_to=" + url.QueryEscape("/account/activity"))
	if got := p.location(); !strings.HasPrefix(got, "/step-up?") {
		t.Fatalf("an old sign-in: %s", got)
	}
	stepUp := p.location()
	b.get(stepUp).want(http.StatusOK)
	b.follow(b.post(stepUp, "password", password)).want(http.StatusOK).shows(required)
	var made struct{ Secret string }
	b.script("/api/auth/mfa/totp", struct{}{}, &made).want(http.StatusCreated)
	b.script("/api/auth/mfa/totp/confirm", map[string]string{"code": e.code(made.Secret)}, nil).want(http.StatusOK)
	b.get("/account").want(http.StatusOK)
}

// A user who owes a second factor can sign out.
func TestRequiredFactorSignOut(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.requireFactor(ada)
	b := e.browser()
	b.signIn(ada)
	b.post("/sign-out").want(http.StatusSeeOther)
	if b.cookie("__Host-durward") != "" {
		t.Error("the cookie is left")
	}
	b.get("/account").want(http.StatusSeeOther)
}

// The page says why the last required factor stays.
func TestLastRequiredFactorOverPages(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	b.enrol(ada)
	e.requireFactor(ada)
	b.post("/account/authenticator/remove").want(http.StatusUnprocessableEntity).shows("this is the last one").denial()
	b.get("/account/authenticator").want(http.StatusOK).shows("Remove")
	b.addPasskey()
	b.post("/account/authenticator/remove").want(http.StatusSeeOther)
	passkey := "/account/passkeys/" + e.passkey(ada)
	b.post(passkey + "/remove").want(http.StatusUnprocessableEntity).shows("this is the last one").denial()
}

// passkey returns the id of the only passkey of a user.
func (e *env) passkey(email string) string {
	e.t.Helper()
	rows, err := e.node.DB.Passkeys(e.t.Context(), e.user(email).ID)
	e.must(err)
	if len(rows) != 1 {
		e.t.Fatalf("%d passkeys, want 1", len(rows))
	}
	return rows[0].ID
}

// Administrators require a second factor of a user and of a group in the console.
func TestRequireFactorInConsole(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	b.enrol(bea)
	at := "/console/users/" + e.user(ada).ID
	b.get(at).want(http.StatusOK).shows("Require a second factor")
	b.follow(b.post(at+"/require-factor", "required", "yes")).want(http.StatusOK).shows("The rule is changed", "required", "No longer require a second factor")
	b.get("/console/users").want(http.StatusOK).shows("Second factor missing")
	if u := e.user(ada); !u.OwesFactor() {
		t.Error("ada owes no factor")
	}
	b.post(at + "/require-factor").want(http.StatusSeeOther)
	b.post(at+"/add-group", "name", "staff").want(http.StatusSeeOther)
	b.post("/console/groups/require-factor", "group", "staff", "required", "yes").want(http.StatusSeeOther)
	b.get("/console/users").want(http.StatusOK).shows("Second factor required", "Second factor missing")
	b.get(at).want(http.StatusOK).shows("Required by: staff")
	b.post("/console/groups/require-factor", "group", "No Group", "required", "yes").want(http.StatusUnprocessableEntity)
	b.post("/console/groups/require-factor", "group", "staff").want(http.StatusSeeOther)
	b.get("/console/users").want(http.StatusOK).lacks("Second factor missing")
	if n := len(e.events(store.EventFactorRequired)) + len(e.events(store.EventFactorNotRequired)); n != 4 {
		t.Errorf("%d events, want 4", n)
	}
}

// A user who owes a second factor gets to an application once it is set up, and not before.
func TestRequiredFactorOfApplications(t *testing.T) {
	t.Parallel()
	e := withClients(t)
	e.requireFactor(ada)
	b := e.browser()
	b.signIn(ada)
	if got := b.authorize("client_id", "trusted", "prompt", "none").result(); got != "interaction_required" {
		t.Errorf("prompt=none: %s, want interaction_required", got)
	}
	p := b.authorize("client_id", "trusted")
	if got := p.result(); got != "/login/enrol" {
		t.Fatalf("before: %s, want /login/enrol", got)
	}
	at := strings.TrimPrefix(p.Request.URL.RequestURI(), testPrefix)
	var made struct{ Secret string }
	b.script("/api/auth/mfa/totp", struct{}{}, &made).want(http.StatusCreated)
	b.script("/api/auth/mfa/totp/confirm", map[string]string{"code": e.code(made.Secret)}, nil).want(http.StatusOK)
	b.post(at, "step", "codes").want(http.StatusSeeOther)
	if got := b.walk(b.post(at, "step", "done")).result(); got != "code" {
		t.Errorf("afterwards: %s, want a code", got)
	}
}
