package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/durward-auth/durward/e2e/executable"
)

// demo starts the real server with its demonstration data and returns its URL.
func demo(t *testing.T) (url string) {
	t.Helper()
	path, err := executable.Build()
	if err != nil {
		t.Fatal(err)
	}
	url, _, err = executable.Serve(t, exec.Command(path, "serve", "--demo", "--listen", "127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	return url
}

// TestChromiumCookie checks that a browser stores and sends the session cookie, hides it from
// scripts and deletes it at the sign-out. Pages of another origin must not be able to use it, even
// if they are of the same site and the browser sends the cookie.
func TestChromiumCookie(t *testing.T) {
	t.Parallel()
	tabs := browse(t)
	const evil = `<!DOCTYPE html><title>evil</title><body><form method="post" enctype="text/plain" action="%s"><input name='{"a":"' value='"}'></form>`
	for _, host := range []string{"localhost", "127.0.0.1"} {
		t.Run(host, func(t *testing.T) {
			server := strings.Replace(demo(t), "127.0.0.1", host, 1)
			b := tabs(t, "")
			script := func(text string) string {
				t.Helper()
				return do(b, chromedp.Evaluate[string](text, chromedp.EvalAwaitPromise))
			}
			wants := func(what, got, want string) {
				t.Helper()
				if !strings.HasPrefix(got, want) {
					t.Errorf("%s: got %s, want %s", what, got, want)
				}
			}
			const login = `fetch("/api/auth/login", {method: "POST", headers: {"Content-Type": "application/json"},
				body: JSON.stringify({email: "ada@example.com", password: "correct horse battery staple", use_cookies: true})}).then(async r => r.status + " " + await r.text())`
			const profile = `fetch("/api/profile").then(async r => r.status + " " + await r.text())`
			b.page(server + "/healthz")
			wants("before", script(profile), "401 ")
			wants("sign-in", script(login), `200 {"id":`)
			wants("profile", script(profile), `200 {"id":`)
			wants("cookies visible to scripts", script(`Promise.resolve("cookies: " + document.cookie)`)+"|",
				"cookies: |")
			wants("a change", script(`fetch("/api/profile", {method: "PATCH", headers: {"Content-Type": "application/json"}, body: '{"name":"Ada"}'}).then(r => r.status + "")`), "200")
			wants("a token", script(`fetch("/api/auth/token", {method: "POST"}).then(async r => r.status + " " + Object.keys(await r.json()).sort())`), "200 access_token,expires_in,scope,token_type")
			wants("step-up", script(`fetch("/api/auth/step-up", {method: "POST", headers: {"Content-Type": "application/json"}, body: '{"password":"correct horse battery staple"}'}).then(r => r.status + "")`), "200")

			for _, from := range []string{"localhost", "127.0.0.1"} {
				foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Type", "text/html")
					fmt.Fprintf(w, evil, server+r.URL.Path)
				}))
				defer foreign.Close()
				at := strings.Replace(foreign.URL, "127.0.0.1", from, 1)
				for _, path := range []string{"/api/auth/logout", "/api/auth/token", "/api/auth/login",
					"/api/auth/password/change", "/api/auth/step-up"} {
					b.page(at + path)
					do(b, chromedp.Evaluate[any](`document.forms[0].submit()`))
					do(b, chromedp.WaitVisible("pre"))
					answer := do(b, chromedp.Text("body"))
					switch {
					case path == "/api/auth/logout" || path == "/api/auth/login":
						// The body of a form is not JSON.
						wants("a form from "+at+" to "+path, answer, `{"type":"`)
						if !strings.Contains(answer, "UNSUPPORTED_MEDIA_TYPE") &&
							!strings.Contains(answer, "CROSS_SITE") {
							t.Errorf("a form to %s: %s", path, answer)
						}
					case from == host:
						// Of the same site, so the cookie is sent and refused.
						if !strings.Contains(answer, "CROSS_SITE") {
							t.Errorf("a form from %s to %s: %s", at, path, answer)
						}
					default:
						// SameSite=Lax, so the cookie is not sent.
						if !strings.Contains(answer, "AUTHENTICATION_REQUIRED") {
							t.Errorf("a form from %s to %s: %s", at, path, answer)
						}
					}
				}
				b.page(at + "/x")
				script(`fetch("` + server + `/api/auth/logout", {method: "POST", mode: "no-cors", credentials: "include"}).then(r => r.type, e => "failed")`)
				wants("a script from "+at, script(`fetch("`+server+`/api/profile", {credentials: "include"}).then(r => "read " + r.status, e => "failed")`), "failed")
			}
			b.page(server + "/healthz")
			wants("after the requests of other pages", script(profile), `200 {"id":`)
			wants("sign-out", script(`fetch("/api/auth/logout", {method: "POST"}).then(r => r.status + "")`), "204")
			wants("after sign-out", script(`fetch("/api/profile").then(async r => r.status + " " + (await r.json()).code)`), "401 AUTHENTICATION_REQUIRED")
		})
	}
}
