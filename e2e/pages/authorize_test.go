package pages_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// application is a client whose callback redirects to a page of another origin, as many do.
type application struct {
	front    *front
	callback string
	landed   string // page of the other origin
}

// newApplication adds a client "album" to a server.
func newApplication(t *testing.T, f *front) *application {
	t.Helper()
	a := &application{front: f}
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, `<!doctype html><html lang="en"><title>Photos</title><h1>Photos</h1><p id="referrer">%q</p>`, r.Referer())
	}))
	t.Cleanup(other.Close)
	a.landed = other.URL
	client := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		http.Redirect(w, r, other.URL+"/?method="+r.Method+"&referrer="+url.QueryEscape(r.Referer())+"&"+r.Form.Encode(), http.StatusSeeOther)
	}))
	t.Cleanup(client.Close)
	a.callback = client.URL + "/callback"
	f.run(t, "", "client", "add", "Photo album", "--id", "album", "--auth", "none", "--redirect", a.callback,
		"--scope", "openid,profile,email,offline_access,albums")
	return a
}

// request returns the path of an authorization request with pairs of further parameters.
func (a *application) request(pairs ...string) string {
	q := url.Values{
		"client_id": {"album"}, "redirect_uri": {a.callback}, "response_type": {"code"}, "scope": {"openid email albums"}, "state": {"<s&t>"},
		"code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
	}
	return "/oauth/authorize?" + q.Encode()
}

// landing is an expression that is true at the page behind the callback, with a parameter and without a Referer of
// the server.
func (a *application) landing(method, parameter string) string {
	return `location.origin === ` + quoted(a.landed) + ` && document.readyState === "complete" && (q => q.has(` + quoted(parameter) + `)
		&& q.get("state") === "<s&t>" && q.get("iss") === ` + quoted(a.front.origin+a.front.prefix) + ` && q.get("method") === ` + quoted(method) + `
		&& !q.get("referrer").includes("/oauth/"))(new URLSearchParams(location.search))`
}

// TestAuthorizeInChromium signs in and allows an application whose callback redirects on to another origin, with and
// without scripts, below a path prefix too. Each page of the way is checked.
func TestAuthorizeInChromium(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		prefix  string
		scripts bool
	}{{"", true}, {"/auth", false}} {
		t.Run(fmt.Sprintf("prefix %q, scripts %t", c.prefix, c.scripts), func(t *testing.T) {
			t.Parallel()
			f := newDemo(t, c.prefix)
			a := newApplication(t, f)
			b := browse(t, f)()
			b.withScripts(c.scripts)
			shown := func(page string, selectors ...string) {
				b.Helper()
				b.at(page, selectors...)
			}

			b.visit(a.request("login_hint", ada))
			shown("/login", "#password")
			b.send("password", password)
			shown("/oauth/consent")
			b.sees(`["Photo album", "this device", ` + quoted(ada) + `, "e-mail address", "albums"].every(text => document.querySelector("main").innerText.includes(text))`)
			b.checkBoth("oauth-consent", strings.TrimPrefix(b.here(), c.prefix))
			b.send()
			b.sees(a.landing("GET", "code"))

			// The second time there is nothing to ask. A form takes the response to the client.
			b.visit(a.request())
			b.sees(a.landing("GET", "code"))
			b.visit(a.request("response_mode", "form_post"))
			if !c.scripts {
				shown("/oauth/authorize", "#response")
				b.check("oauth-form-post")
				b.send()
			}
			b.sees(a.landing("POST", "code"))

			// Choose the account, sign in anew, and refuse.
			b.visit(a.request("prompt", "select_account"))
			shown("/oauth/account")
			b.checkBoth("oauth-account", strings.TrimPrefix(b.here(), c.prefix))
			b.send()
			b.sees(a.landing("GET", "code"))
			b.visit(a.request("prompt", "login"))
			shown("/step-up", "#password")
			b.check("oauth-step-up")
			b.send("password", password)
			b.sees(a.landing("GET", "code"))
			b.visit(a.request("scope", "openid profile offline_access"))
			shown("/oauth/consent")
			b.checkBoth("oauth-consent-offline", strings.TrimPrefix(b.here(), c.prefix))
			b.click(`button[value="cancel"]`)
			b.sees(a.landing("GET", "error"))

			// A link with a mistake stays here.
			b.visit(a.request("redirect_uri", "https://evil.example/"))
			shown("/oauth/authorize", "h1")
			b.checkBoth("oauth-mistake", "/oauth/authorize?client_id=album")

			b.visit("/account/applications")
			shown("/account/applications", ".items")
			b.checkBoth("account-applications", "/account/applications")
			b.click(`form[action$="/withdraw"] button`)
			b.says("The application may not use your account any more.")
			b.visit(a.request())
			shown("/oauth/consent")
		})
	}
}

// TestAuthorizeInFirefox does the same way in Firefox, without the scripts of pages.
func TestAuthorizeInFirefox(t *testing.T) {
	t.Parallel()
	f := newDemo(t, "")
	a := newApplication(t, f)
	b := firefox(t, f)
	b.ofWindow(`gBrowser.selectedBrowser.browsingContext.allowJavascript = false`)
	b.visit(a.request())
	b.at("/login")
	b.fill("email", ada, "password", password)
	b.click("main button.main")
	b.at("/oauth/consent")
	b.check("oauth-consent")
	b.click("main button.main")
	b.sees(a.landing("GET", "code"))
	b.visit(a.request("response_mode", "form_post"))
	b.at("/oauth/authorize")
	b.click("main button.main")
	b.sees(a.landing("POST", "code"))
}
