package web_test

import (
	"net/http"
	"testing"
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

// A wrong password shows the form again, with the id of the denial and what was typed.
func TestWrongPassword(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	p := e.browser().post("/login", "email", ada, "password", "wrong horse").want(http.StatusUnprocessableEntity)
	p.shows(`value="`+ada+`"`, p.denial()).lacks("wrong horse")
}
