package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/web"
)

// access is the requirement of a page.
type access int

const (
	open          access = iota // nothing
	signedIn                    // a session
	fresh                       // a sign-in of the last 5 minutes, with the second factor of a user who has one
	changing                    // the same for a form; without it the browser goes to a page that asks for it
	console                     // an administrator with a second factor who signed in within the hour
	consoleChange               // the same within 5 minutes
)

// pageCase is a request to a page.
type pageCase struct {
	pattern      string // of routes.go
	method, path string
	needs        access

	fields []string // of a form; nil sends a field that no form has
	status int      // for visitors with access; 0 is 200 for a page, 400 for a form
	leads  string   // beginning of the URL that a status of 303 or 302 leads to
	back   string   // of access changing: the page that asks for it

	half, in string // of access open: beginning of the URL for half a sign-in and for users, or a status
	without  string // likewise of access signedIn, for users who signed in without their second factor
}

// pageCases lists a request to every page and every form of the pages.
func pageCases(userID string) []pageCase {
	const passkeys, authenticator, codes, keys = "/account/passkeys", "/account/authenticator", "/account/recovery-codes", "/account/keys"
	all := []pageCase{
		{pattern: "/{$}", path: "/"},
		{pattern: "/errors/", path: "/errors/"},
		{pattern: "/errors/", path: "/errors/TOKEN_EXPIRED"},
		{pattern: "/errors/", path: "/errors/NONE", status: 404},
		{pattern: "/doctor", path: "/doctor"},
		{pattern: "/doctor", method: "POST", status: 422},
		{pattern: "/login", path: "/login"},
		{pattern: "/login", path: "/login?max_age=300", in: "/step-up?max_age=300"},
		{pattern: "/login", method: "POST"},
		{pattern: "/login/factor", path: "/login/factor", status: 303, leads: "/login?ended=time", half: "200"},
		{pattern: "/login/factor", method: "POST", status: 303, leads: "/login?ended=time", half: "400"},
		{pattern: "/login/factor/passkey", method: "POST", status: 404},
		{pattern: "/login/enrol", path: "/login/enrol", needs: fresh},
		{pattern: "/login/enrol", method: "POST", needs: fresh},
		{pattern: "/step-up", path: "/step-up", needs: signedIn},
		{pattern: "/step-up", method: "POST", needs: signedIn},
		{pattern: "/hop", path: "/hop", status: 303, leads: "/account"},
		{pattern: "/sign-out", path: "/sign-out", status: 405},
		{pattern: "/sign-out", method: "POST"},
		{pattern: "/signed-out", path: "/signed-out"},
		{pattern: "/language", path: "/language", status: 405},
		{pattern: "/language", method: "POST"},

		{pattern: "/oauth/authorize", path: "/oauth/authorize", status: 400},
		{pattern: "/oauth/authorize", path: "/oauth/authorize?client_id=none&redirect_uri=https://app.example.org/", status: 400},
		{pattern: "/oauth/authorize", method: "POST"},
		{pattern: "/oauth/continue", path: "/oauth/continue?r=none", status: 400},
		{pattern: "/oauth/account", path: "/oauth/account?r=none", status: 400},
		{pattern: "/oauth/account", method: "POST"},
		{pattern: "/oauth/consent", path: "/oauth/consent?r=none", status: 400},
		{pattern: "/oauth/consent", method: "POST"},

		{pattern: "/register", path: "/register"},
		{pattern: "/register", method: "POST"},
		{pattern: "/register/sent", path: "/register/sent"},
		{pattern: "/register/done", path: "/register/done"},
		{pattern: "/verify-email", path: "/verify-email"},
		{pattern: "/verify-email", method: "POST"},
		{pattern: "/verify-email/send", path: "/verify-email/send"},
		{pattern: "/verify-email/send", method: "POST"},
		{pattern: "/verify-email/sent", path: "/verify-email/sent"},
		{pattern: "/verify-email/done", path: "/verify-email/done"},
		{pattern: "/undo-email", path: "/undo-email"},
		{pattern: "/undo-email", method: "POST"},
		{pattern: "/undo-email/done", path: "/undo-email/done"},
		{pattern: "/forgot", path: "/forgot"},
		{pattern: "/forgot", method: "POST"},
		{pattern: "/forgot/sent", path: "/forgot/sent"},
		{pattern: "/reset", path: "/reset"},
		{pattern: "/reset", method: "POST"},
		{pattern: "/reset/done", path: "/reset/done"},
		{pattern: "/invite", path: "/invite"},
		{pattern: "/invite", method: "POST"},
		{pattern: "/invite/done", path: "/invite/done"},
		{pattern: "/setup", path: "/setup"},
		{pattern: "/setup", method: "POST"},
		{pattern: "/setup/done", path: "/setup/done"},
		{pattern: "/.well-known/change-password", path: "/.well-known/change-password", status: 302, leads: "/account/password"},
		{pattern: "/.well-known/passkey-endpoints", path: "/.well-known/passkey-endpoints"},
		{pattern: "/static/style.css", path: "/static/style.css"},
		{pattern: "/dev/mail", path: "/dev/mail"},
		{pattern: "/dev/parts", path: "/dev/parts"},
		{pattern: "/demo", path: "/demo", status: 303, leads: "/demo/"},
		{pattern: "/demo/{$}", path: "/demo/"},

		{pattern: "/account", path: "/account", needs: signedIn},
		{pattern: "/account/profile", path: "/account/profile", needs: signedIn},
		{pattern: "/account/profile", method: "POST", needs: signedIn},
		{pattern: "/account/email", path: "/account/email", needs: fresh},
		{pattern: "/account/email", method: "POST", needs: changing, back: "/account/email"},
		{pattern: "/account/password", path: "/account/password", needs: signedIn, without: "/login?acr_values="},
		{pattern: "/account/password", method: "POST", needs: signedIn},
		{pattern: passkeys, path: passkeys, needs: fresh},
		{pattern: passkeys + "/{id}", path: passkeys + "/none", needs: fresh, status: 404},
		{pattern: passkeys + "/{id}", method: "POST", path: passkeys + "/none", needs: changing, back: passkeys},
		{pattern: passkeys + "/{id}/remove", method: "POST", path: passkeys + "/none/remove", needs: changing, back: passkeys},
		{pattern: authenticator, path: authenticator, needs: fresh},
		{pattern: authenticator, method: "POST", needs: changing, back: authenticator},
		{pattern: authenticator + "/confirm", path: authenticator + "/confirm", needs: fresh, status: 303, leads: authenticator},
		{pattern: authenticator + "/confirm", method: "POST", needs: changing, back: authenticator},
		{pattern: authenticator + "/remove", method: "POST", needs: changing, back: authenticator},
		{pattern: codes, path: codes, needs: fresh},
		{pattern: codes, method: "POST", needs: changing, back: codes},
		{pattern: "/account/sessions", path: "/account/sessions", needs: signedIn},
		{pattern: "/account/sessions/{id}/end", method: "POST", path: "/account/sessions/none/end", needs: signedIn},
		{pattern: "/account/sessions/end-others", method: "POST", needs: signedIn},
		{pattern: keys, path: keys, needs: fresh},
		{pattern: keys + "/new", path: keys + "/new", needs: fresh},
		{pattern: keys + "/new", method: "POST", needs: changing, back: keys},
		{pattern: keys + "/{id}", path: keys + "/none", needs: fresh, status: 404},
		{pattern: keys + "/{id}/rotate", method: "POST", path: keys + "/none/rotate", needs: changing, back: keys},
		{pattern: keys + "/{id}/revoke", method: "POST", path: keys + "/none/revoke", needs: changing, back: keys},
		{pattern: "/account/applications", path: "/account/applications", needs: signedIn},
		{pattern: "/account/applications/{client}/withdraw", method: "POST", path: "/account/applications/none/withdraw", needs: signedIn},
		{pattern: "/account/activity", path: "/account/activity", needs: signedIn},
		{pattern: "/account/data", path: "/account/data", needs: signedIn},
		{pattern: "/account/data/export", method: "POST", needs: changing, back: "/account/delete"},
		{pattern: "/account/delete", path: "/account/delete", needs: fresh},
		{pattern: "/account/delete", method: "POST", needs: changing, back: "/account/delete"},
	}
	// The administrator sends working forms of the console in this order.
	at, act, none := "/console/users/"+userID, "/console/users/{id}/{act}", []string{}
	for _, c := range []pageCase{
		{pattern: "/console", path: "/console"},
		{pattern: "/console", path: "/console?range=week"},
		{pattern: "/console", path: "/console?range=year", status: 400},
		{pattern: "/console/users", path: "/console/users"},
		{pattern: "/console/users", path: "/console/users?search=" + strings.Repeat("x", 300), status: 400},
		{pattern: "/console/users/{id}", path: at},
		{pattern: "/console/users/{id}", path: "/console/users/none", status: 404},
		{pattern: "/console/refusals", path: "/console/refusals"},
		{pattern: "/console/refusals/{id}", path: "/console/refusals/" + someDenial},
		{pattern: "/console/refusals/{id}", path: "/console/refusals/none", status: 404},
		{pattern: "/console/refusals", method: "POST", fields: []string{"text", someDenial}, status: 303, leads: "/console/refusals/" + someDenial},
		{pattern: "/console/log", path: "/console/log"},
		{pattern: "/console/log", path: "/console/log?follow=1&kind=signed_in&since=2026-01-02"},
		{pattern: "/console/log", path: "/console/log?since=yesterday", status: 422},
		{pattern: "/console/signing-keys", path: "/console/signing-keys"},
		{pattern: "/console/settings", path: "/console/settings"},
		{pattern: "/console/groups/require-factor", method: "POST", fields: []string{"group", "No Group", "required", "yes"}, needs: consoleChange, status: 422},
		{pattern: "/console/applications", path: "/console/applications"},
		{pattern: "/console/applications/{id}", path: "/console/applications/none", status: 404},
		{pattern: "/console/applications/{id}/change", path: "/console/applications/none/change", needs: consoleChange, status: 404},
		{pattern: "/console/applications/{id}/change", method: "POST", path: "/console/applications/none/change", fields: []string{"name", "x"}, needs: consoleChange, status: 404},
		{pattern: "/console/new-application", path: "/console/new-application", needs: consoleChange},
		{pattern: "/console/new-application", method: "POST", fields: []string{"name", ""}, needs: consoleChange, status: 422},
		{pattern: "/console/applications/{id}/{act}", method: "POST", path: "/console/applications/none/disable", fields: none, needs: consoleChange, status: 404},
		{pattern: "/console/applications/{id}/{act}", method: "POST", path: "/console/applications/none/nonsense", fields: none, needs: consoleChange, status: 404},

		{pattern: "/console/users/import", path: "/console/users/import", needs: consoleChange},
		{pattern: "/console/users/import", method: "POST", needs: consoleChange, status: 415}, // TestConsoleImport sends a file
		{pattern: "/console/users", method: "POST", fields: []string{"email", "new@example.com", "name", "", "admin", ""}, needs: consoleChange, status: 303, leads: "/console/users/"},
		{pattern: act, method: "POST", path: at + "/lock", fields: none, needs: consoleChange, status: 303, leads: at},
		{pattern: act, method: "POST", path: at + "/unlock", fields: none, needs: consoleChange, status: 303, leads: at},
		{pattern: act, method: "POST", path: at + "/sign-out", fields: none, needs: consoleChange, status: 303, leads: at},
		{pattern: act, method: "POST", path: at + "/password-reset", fields: none, needs: consoleChange, status: 303, leads: at},
		{pattern: act, method: "POST", path: at + "/reset-factors", fields: none, needs: consoleChange, status: 404},
		{pattern: act, method: "POST", path: at + "/remove-totp", fields: none, needs: consoleChange, status: 404},
		{pattern: act, method: "POST", path: at + "/remove-passkey", fields: []string{"passkey", "none"}, needs: consoleChange, status: 404},
		{pattern: act, method: "POST", path: at + "/admin", fields: []string{"admin", "yes"}, needs: consoleChange, status: 303, leads: at},
		{pattern: act, method: "POST", path: at + "/admin", fields: []string{"admin", ""}, needs: consoleChange, status: 303, leads: at},
		{pattern: act, method: "POST", path: at + "/end-session", fields: []string{"session", "none"}, needs: consoleChange, status: 404},
		{pattern: act, method: "POST", path: at + "/revoke-key", fields: []string{"key", "none"}, needs: consoleChange, status: 404},
		{pattern: act, method: "POST", path: at + "/add-group", fields: []string{"name", "ops"}, needs: consoleChange, status: 303, leads: at},
		{pattern: act, method: "POST", path: at + "/remove-group", fields: []string{"group", "ops"}, needs: consoleChange, status: 303, leads: at},
		{pattern: act, method: "POST", path: at + "/nonsense", fields: none, needs: consoleChange, status: 404},
		{pattern: act, method: "POST", path: at + "/delete", fields: []string{"confirm", "wrong"}, needs: consoleChange, status: 422},
		{pattern: act, method: "POST", path: "/console/users/none/lock", fields: none, needs: consoleChange, status: 404},
		{pattern: act, method: "POST", path: at + "/require-factor", fields: []string{"required", ""}, needs: consoleChange, status: 303, leads: at},
		{pattern: "/console/groups/require-factor", method: "POST", fields: []string{"group", "ops", "required", ""}, needs: consoleChange, status: 303, leads: "/console/users?done="},
		{pattern: "/console/signing-keys/rotate", method: "POST", fields: []string{"now", ""}, needs: consoleChange, status: 303, leads: "/console/signing-keys"},
		{pattern: "/console/signing-keys/retire", path: "/console/signing-keys/retire", needs: consoleChange, status: 303, leads: "/console/signing-keys"},
		{pattern: "/console/signing-keys/retire", path: "/console/signing-keys/retire?kid=none", needs: consoleChange, status: 404},
		{pattern: "/console/signing-keys/retire", method: "POST", fields: []string{"kid", "none"}, needs: consoleChange, status: 404},
		{pattern: "/console/signing-keys/retire", method: "POST", fields: []string{"kid", "none", "now", "yes", "confirm", "yes"}, needs: consoleChange, status: 404},
	} {
		if c.needs == open {
			c.needs = console
		}
		all = append(all, c)
	}
	for i := range all {
		c := &all[i]
		if c.method == "" {
			c.method = "GET"
		}
		if c.path == "" {
			c.path = c.pattern
		}
		if c.status == 0 && c.method == "POST" {
			c.status = 400
		} else if c.status == 0 {
			c.status = 200
		}
	}
	return all
}

// visitorKind is a kind of visitor.
type visitorKind struct {
	name    string
	open    func() *browser
	half    bool          // of a sign-in that lacks its second factor
	user    bool          // has a session
	admin   bool          //
	factor  bool          // the user has a second factor
	without bool          // and signed in without it
	age     time.Duration // of the sign-in
}

// outcome returns the response to the visitor: a status, or the beginning of the URL of a redirect.
func (v visitorKind) outcome(c pageCase) string {
	had := fmt.Sprint(c.status)
	if c.status == 303 || c.status == 302 {
		had = c.leads
	}
	login := "/login?return_to=" + url.QueryEscape(c.path)
	if c.method == "POST" {
		login = "401"
	}
	old := v.without || v.age > 5*time.Minute
	switch {
	case c.needs == open && v.half && c.half != "":
		return c.half
	case c.needs == open && v.user && c.in != "":
		return c.in
	case c.needs == open:
		return had
	case !v.user:
		return login
	case c.needs == fresh && old:
		return "/step-up?"
	case c.needs == changing && old:
		return c.back
	case c.needs == signedIn && v.without && c.without != "":
		return c.without
	case c.needs < console:
		return had
	case !v.admin:
		return "403"
	case !v.factor:
		return "/login/enrol?return_to=%2Fconsole"
	case v.without || v.age > time.Hour || c.needs == consoleChange && old:
		return "/step-up?"
	}
	return had
}

// Every page and form, by each kind of visitor: the status, or the page that a redirect leads to. A page that
// the table lacks fails the test.
func TestPagesByVisitor(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.addUser("grace@example.com", false)
	e.addUser("weak@example.com", true)
	target := e.addUser("target@example.com", false)
	e.aDenial(store.Denial{ID: someDenial, Code: "TOKEN_EXPIRED", Status: 401, Path: "/api/profile", Cause: "exp"})
	seen := make(map[string]bool)
	cases := pageCases(target.ID)
	for _, c := range cases {
		seen[c.method+" "+c.pattern] = true
	}
	for pattern, methods := range web.Routes(e.server) {
		for _, method := range methods {
			if other := strings.HasPrefix(pattern, "/static/") || strings.HasPrefix(pattern, "/demo/"); !other && !seen[method+" "+pattern] {
				t.Errorf("%s %s is missing from the table", method, pattern)
			}
		}
	}

	grace, root := e.enrolled("grace@example.com"), e.enrolled(bea)
	as := func(u store.User, factor bool, age time.Duration) func() *browser {
		b := e.browser().as(u, factor, age)
		return func() *browser { return b }
	}
	stranger := e.browser()
	for _, v := range []visitorKind{
		{name: "anonymous", open: func() *browser { return stranger }},
		{name: "half a sign-in", half: true, open: func() *browser { // the page of a sign-in that is over forgets it
			b := e.browser()
			b.half("grace@example.com")
			return b
		}},
		{name: "user", user: true, open: as(e.user(ada), false, 0)},
		{name: "user, 6 minutes ago", user: true, age: 6 * time.Minute, open: as(e.user(ada), false, 6*time.Minute)},
		{name: "user with a second factor", user: true, factor: true, open: as(grace, true, 0)},
		{name: "user, without the second factor", user: true, factor: true, without: true, open: as(grace, false, 0)},
		{name: "administrator without a second factor", user: true, admin: true, open: as(e.user("weak@example.com"), false, 0)},
		{name: "administrator, without the second factor", user: true, admin: true, factor: true, without: true, open: as(root, false, 0)},
		{name: "administrator, 61 minutes ago", user: true, admin: true, factor: true, age: 61 * time.Minute, open: as(root, true, 61*time.Minute)},
		{name: "administrator, 6 minutes ago", user: true, admin: true, factor: true, age: 6 * time.Minute, open: as(root, true, 6*time.Minute)},
		{name: "administrator", user: true, admin: true, factor: true, open: as(root, true, 0)},
	} {
		for _, c := range cases {
			what := v.name + ": " + c.method + " " + c.path
			b, language := v.open(), "en"
			if v.age > 0 || v.half {
				language = "de"
			}
			b.Fields.Set("Accept-Language", language)
			var p page
			switch {
			case c.method == "GET":
				p = b.get(c.path)
			case c.fields == nil:
				p = b.post(c.path, "unknown", "1")
			default:
				p = b.post(c.path, c.fields...)
			}
			got, want := fmt.Sprint(p.StatusCode), v.outcome(c)
			if p.StatusCode == 303 || p.StatusCode == 302 {
				got = strings.TrimPrefix(p.Header.Get("Location"), origin)
				if to, err := url.Parse(got); err != nil || strings.HasSuffix(to.Query().Get("return_to"), "/lock") {
					t.Errorf("%s leads to %q, which comes back to a form", what, got)
				}
				if strings.HasPrefix(got, want) && want[0] == '/' {
					want = got
				}
			}
			if got != want {
				t.Errorf("%s: got %s, want %s\n%s", what, got, want, p.Body)
			}
			checkPage(t, what, language, c, p)
			if c.method == "GET" && p.StatusCode == 200 && v.name == "administrator" {
				if head := b.send("HEAD", c.path, "", ""); head.StatusCode != 200 || head.Body != "" {
					t.Errorf("%s: HEAD: %s, %.100q", what, head.Status, head.Body)
				}
			}
			// No path below a page is that page: a shared cache must not take it for a file.
			if c.method == "GET" && c.needs > open && v.name == "user" {
				path, _, _ := strings.Cut(c.path, "?")
				if p := b.get(path + "/x.css"); !slices.Contains([]int{403, 404, 405}, p.StatusCode) {
					t.Errorf("%s: %s/x.css: %s", what, path, p.Status)
				}
			}
		}
		if u := e.user("target@example.com"); v.name != "administrator" && (!u.LockedAt.IsZero() || u.Admin) {
			t.Errorf("%s changed the user: %+v", v.name, u)
		}
	}
	// The security log has the acts of the administrator, with the administrator as the actor.
	for _, kind := range []string{store.EventUserLocked, store.EventUserUnlocked, store.EventSignedOut, store.EventResetSent, store.EventGroupAdded, store.EventGroupRemoved, store.EventUserInvited} {
		if found := e.events(kind); len(found) == 0 || found[0].Actor != root.ID {
			t.Errorf("%s: %+v, want one by the administrator", kind, found)
		}
	}
	if found := e.events(store.EventLogRead); len(found) == 0 {
		t.Error("the readings are not in the security log")
	}
}

// checkPage checks what all pages of this server have: one heading, the language, and fields that forbid
// frames, foreign scripts and storing.
func checkPage(t *testing.T, what, language string, c pageCase, p page) {
	t.Helper()
	h := p.Header
	if file := strings.HasPrefix(c.path, "/static/") || strings.HasPrefix(c.path, "/demo") || c.path == "/.well-known/passkey-endpoints"; file {
		return
	}
	if got := h.Get("Cache-Control"); got != "no-store" && (c.needs > open || got != "no-cache") {
		t.Errorf("%s: Cache-Control is %q", what, got)
	}
	if p.StatusCode == http.StatusSeeOther || p.StatusCode == http.StatusFound {
		return
	}
	if n := strings.Count(p.Body, "<h1"); n != 1 || !strings.Contains(p.Body, `<html lang="`+language+`">`) {
		t.Errorf("%s (%s) has %d headings, or another language than %s", what, p.Status, n, language)
	}
	for name, value := range map[string]string{
		"Referrer-Policy": "same-origin", "X-Content-Type-Options": "nosniff", "Content-Type": "text/html; charset=utf-8",
		"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	} {
		if got := h.Get(name); got != value {
			t.Errorf("%s (%s): %s is %q, want %q", what, p.Status, name, got, value)
		}
	}
}
