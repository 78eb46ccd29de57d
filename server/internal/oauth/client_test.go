package oauth

import (
	"strings"
	"testing"

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
