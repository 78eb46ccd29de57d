package oauth

import (
	"net/url"
	"strings"
	"testing"

	"github.com/durward-auth/durward/internal/loopback"
	"github.com/durward-auth/durward/server/internal/store"
)

// A redirect URI is registered with https, with http at this machine, or with a scheme of an app.
func TestCheckRedirectURI(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]string{
		"https://app.example.com/callback":      "",
		"https://app.example.com/callback?a=b":  "",
		"http://127.0.0.1/callback":             "",
		"http://[::1]:7777/":                    "",
		"http://localhost:8080/callback":        "",
		"com.example.app:/callback":             "",
		"":                                      "not an absolute URL",
		"/callback":                             "not an absolute URL",
		"https://":                              "scheme without a dot",
		"https://app.example.com/callback#x":    "fragment",
		"https://app.example.com/callback#":     "fragment",
		"https://ada@app.example.com/":          "user name",
		"http://app.example.com/callback":       "plain http",
		"https://app.example.com/a https://b/":  "not an absolute URL",
		"https://a.example/\u3000javascript:x":  "not an absolute URL",
		"https://a.example/\u00a0com.evil:x":    "not an absolute URL",
		"https://a.example/\u2028":              "not an absolute URL",
		"https://\u00e4pp.example.com/":         "not an absolute URL",
		"javascript:alert(1)":                   "scheme without a dot",
		"myapp:/callback":                       "scheme without a dot",
		"data:text/html,x":                      "scheme without a dot",
		"http://127.0.0.1.example.com/callback": "plain http",
	} {
		err := CheckRedirectURI(uri)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: got %v, want %q", uri, err, want)
		}
	}
}

// The port of a loopback address may differ, and nothing else.
func TestLoopbackPort(t *testing.T) {
	t.Parallel()
	app := store.Client{Auth: store.ClientPublic, RedirectURIs: []string{"http://127.0.0.1/cb", "http://[::1]:7000/cb", "http://localhost:1/cb"}}
	for uri, want := range map[string]bool{
		"http://127.0.0.1/cb":       true,
		"http://127.0.0.1:51004/cb": true,
		"http://[::1]:9/cb":         true,
		"http://localhost:9/cb":     true,
		"http://127.0.0.1:51004/":   false,
		"http://127.0.0.2:51004/cb": false,
		"https://127.0.0.1/cb":      false,
		"http://a@127.0.0.1:1/cb":   false,
		"http://127.0.0.1:1/cb?x=1": false,
		"http://127.0.0.1:1/cb#":    false,
		"http://127.0.0.1:1/cb/":    false,
	} {
		if got := mayRedirect(app, uri); got != want {
			t.Errorf("%s: got %t, want %t", uri, got, want)
		}
	}
	app.Auth = store.ClientSecret
	if mayRedirect(app, "http://localhost:9/cb") {
		t.Error("a confidential client gets another port of localhost")
	}
}

// Redirect URIs match as strings: of many spellings of a registered one, none is accepted (RFC 9700 s4.1).
func TestRedirectURISpellings(t *testing.T) {
	t.Parallel()
	const registered = "https://app.example.com/oauth/callback?x=1"
	c := store.Client{Auth: store.ClientSecret, RedirectURIs: []string{registered, "com.example.app:/callback"}}
	if !mayRedirect(c, registered) || !mayRedirect(c, "com.example.app:/callback") {
		t.Error("a registered redirect URI is refused")
	}
	for _, uri := range []string{
		"", " " + registered, registered + " ", registered + "#", registered + "#x", registered + "&", registered + "&y=2", registered + "x", registered + "/", registered + "\n",
		"https://app.example.com/oauth/callback", "https://app.example.com/oauth/callback?", "https://app.example.com/oauth/callback?x=2", "https://app.example.com/oauth/callback/?x=1",
		"https://app.example.com/oauth/callback?x=%31", "https://app.example.com/oauth/callbac%6b?x=1", "https://app.example.com/oauth/%63allback?x=1", "https://app.example.com/oauth%2Fcallback?x=1",
		"https://app.example.com/oauth/../oauth/callback?x=1", "https://app.example.com/oauth/./callback?x=1", "https://app.example.com//oauth/callback?x=1", "https://app.example.com/oauth/..;/callback?x=1",
		"https://app.example.com/x/%2e%2e/oauth/callback?x=1", "https://app.example.com/oauth/callback;x?x=1", "https://app.example.com/OAuth/callback?x=1",
		"HTTPS://app.example.com/oauth/callback?x=1", "https://APP.example.com/oauth/callback?x=1", "https://app.example.com./oauth/callback?x=1", "https://app.example.com:443/oauth/callback?x=1", "https://app.example.com:8443/oauth/callback?x=1",
		"http://app.example.com/oauth/callback?x=1", "//app.example.com/oauth/callback?x=1", "/oauth/callback?x=1", "https:app.example.com/oauth/callback?x=1", "https:/app.example.com/oauth/callback?x=1",
		"https://ada@app.example.com/oauth/callback?x=1", "https://app.example.com@evil.example/oauth/callback?x=1", "https://evil.example/https://app.example.com/oauth/callback?x=1",
		"https://app.example.com.evil.example/oauth/callback?x=1", "https://evil.example\\@app.example.com/oauth/callback?x=1", "https://app.example.com\\oauth/callback?x=1", "https://a\u0440p.example.com/oauth/callback?x=1",
		"https://127.0.0.1/oauth/callback?x=1", "javascript:alert(1)", "data:text/html,x", "com.example.app:/callback/", "com.example.app://callback", "com.example.app:callback", "COM.example.app:/callback",
	} {
		if mayRedirect(c, uri) {
			t.Errorf("%q is accepted for %q", uri, c.RedirectURIs)
		}
	}
}

// A redirect URI that may be registered comes back from the database as one URI, and matches itself. Another one
// matches it only at a loopback address, in all but the port.
func FuzzRedirectURI(f *testing.F) {
	for _, seed := range []string{
		"https://app.example.com/cb", "http://127.0.0.1:1/cb?x=1", "http://[::1]/", "com.example.app:/cb", "https://a.example/\u3000x", "javascript:x.y", "http://localhost",
	} {
		f.Add(seed, "http://127.0.0.1:2/cb?x=1")
	}
	f.Fuzz(func(t *testing.T, uri, other string) {
		if CheckRedirectURI(uri) != nil {
			return
		}
		if words := strings.Fields(uri); len(words) != 1 || words[0] != uri {
			t.Fatalf("%q is stored as %q", uri, words)
		}
		for _, auth := range []string{store.ClientSecret, store.ClientPublic} {
			c := store.Client{Auth: auth, RedirectURIs: []string{uri}}
			if !mayRedirect(c, uri) {
				t.Fatalf("%q does not match itself", uri)
			}
			if other == uri || !mayRedirect(c, other) {
				continue
			}
			a, errA := url.Parse(uri)
			b, errB := url.Parse(other)
			if errA != nil || errB != nil || a.Scheme != "http" || !loopback.Host(a.Hostname()) || a.Hostname() != b.Hostname() || a.RequestURI() != b.RequestURI() || b.User != nil {
				t.Fatalf("%q matches %q", other, uri)
			}
		}
	})
}
