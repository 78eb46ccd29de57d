package httpapi

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/store"
)

// A request is for the server if its path is the prefix or below it, in this spelling.
func TestWithoutPrefix(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ sent, path, escaped string }{
		{"/auth/login", "/login", "/login"},
		{"/auth/", "/", "/"},
		{"/auth", "/", "/"},
		{"/auth?a=b", "/", "/"},
		{"/auth/keys/a%2Fb", "/keys/a/b", "/keys/a%2Fb"},
		{"/auth/auth/login", "/auth/login", "/auth/login"},
		{"/auth//login", "//login", "//login"}, // the guard refuses it
		{"/authx/login", "", ""},
		{"/auth.", "", ""},
		{"/auth%2Flogin", "", ""},
		{"/%61uth/login", "", ""},
		{"/AUTH/login", "", ""},
		{"/login", "", ""},
		{"//auth/login", "", ""},
		{"/x/../auth/login", "", ""},
		{"/", "", ""},
	} {
		u, err := url.ParseRequestURI(c.sent)
		if err != nil {
			t.Fatal(err)
		}
		got, ok := withoutPrefix(u, "/auth")
		if ok != (c.path != "") || ok && (got.Path != c.path || got.EscapedPath() != c.escaped || got.RawQuery != u.RawQuery) {
			t.Errorf("%s: got %v, %v, want %q", c.sent, got, ok, c.path)
		}
	}
}

// Two servers of one host have different cookies, however their prefixes are named.
func TestCookieNamesUnderPrefix(t *testing.T) {
	t.Parallel()
	names := make(map[string]string)
	for _, prefix := range []string{"", "/auth", "/auth-device", "/device", "/signin", "/a/b", "/a-b", "/a.b", "/a_b", "/ab"} {
		n := cookieNamesOf(prefix)
		for _, name := range []string{n.Session, n.Device, n.SignIn} {
			if other, taken := names[name]; taken || !strings.HasPrefix(name, "__Host-durward") || (&http.Cookie{Name: name, Value: "x"}).Valid() != nil {
				t.Errorf("prefix %q: the cookie %q is taken by %q or no valid name", prefix, name, other)
			}
			names[name] = prefix
		}
	}
	if got := cookieNamesOf("/auth").Session; got != "__Host-durward~auth" {
		t.Errorf("got %q, want __Host-durward~auth", got)
	}
}

// A server under a path prefix answers below it, and names its URLs with it.
func TestPrefix(t *testing.T) {
	t.Parallel()
	if testPrefix != "" {
		t.Skip("this test has a prefix of its own")
	}
	const public = "https://app.example.com/auth"
	w := newEnv(t, settings{publicURL: public})
	w.client = &http.Client{Transport: new(http.Transport), Timeout: 30 * time.Second} // paths outside are not described
	defer w.client.CloseIdleConnections()
	under := func(path string) reply { return w.do("GET", path, "", nil) }

	p := w.refused(under("/auth/api/profile"), 401, "AUTHENTICATION_REQUIRED")
	if p["type"] != public+"/errors/AUTHENTICATION_REQUIRED" || !strings.Contains(p["hint"].(string), "POST /auth/api/auth/login ") {
		t.Errorf("refusal: type %s, hint %q", p["type"], p["hint"])
	}
	id, _ := strings.CutPrefix(p["instance"].(string), "urn:durward:denial:")
	w.eventually("the refusal is stored", func() bool {
		d, err := w.db.DenialByID(t.Context(), id)
		if err == nil && d.Path != "/auth/api/profile" {
			t.Errorf("path of the refusal: %q", d.Path)
		}
		return err == nil
	})
	for _, path := range []string{"/api/profile", "/authx/api/profile", "/auth.", "/", "/healthz", "/AUTH/healthz", "/%61uth/healthz", "/.well-known/jwks.json", "/.well-known/oauth-authorization-server", "/.well-known/oauth-authorization-server/authx"} {
		r := under(path)
		if p := w.refused(r, 404, "NOT_FOUND"); !strings.Contains(p["hint"].(string), public+"/") {
			t.Errorf("%s: the hint %q does not name the server's URL", path, p["hint"])
		}
	}
	for _, path := range []string{"/auth/auth/healthz", "/auth/nothing"} {
		w.refused(under(path), 404, "NOT_FOUND")
	}
	for path, want := range map[string]string{
		"/.well-known/oauth-authorization-server/auth": `"jwks_uri":"` + public + `/.well-known/jwks.json"`, // RFC 8414 s3.1
		"/auth/.well-known/openid-configuration":       `"jwks_uri":"` + public + `/.well-known/jwks.json"`, // OpenID Connect Discovery s4
		"/auth/.well-known/oauth-authorization-server": `"jwks_uri"`,
		"/auth/.well-known/jwks.json":                  `"keys"`,
		"/auth/openapi.json":                           `"url":"/auth"`,
		"/auth/healthz":                                `"ok"`,
	} {
		if r := under(path); r.StatusCode != 200 || !strings.Contains(string(r.body), want) {
			t.Errorf("%s: %s, want 200 with %s", path, r.Status, want)
		}
	}
	r := w.byCookie("POST", "/auth/api/auth/login", "", object{"email": adaEmail, "password": adaPassword, "use_cookies": true}, "Origin", "https://app.example.com")
	set := r.Header["Set-Cookie"]
	if r.StatusCode != 200 || len(set) != 2 || !strings.HasPrefix(set[0], "__Host-durward~auth=") || !strings.HasPrefix(set[1], "__Host-durward-device~auth=") {
		t.Fatalf("sign-in: %s %q", r.Status, set)
	}
	value, _, _ := strings.Cut(strings.TrimPrefix(set[0], "__Host-durward~auth="), ";")
	for cookie, status := range map[string]int{"__Host-durward~auth": 200, "__Host-durward": 401, "__Host-durward~other": 401} {
		if r := w.byCookie("GET", "/auth/api/profile", "", nil, "Cookie", cookie+"="+value); r.StatusCode != status {
			t.Errorf("cookie %s: %s, want %d", cookie, r.Status, status)
		}
	}
	r = w.byCookie("POST", "/auth/api/auth/logout", "", nil, "Cookie", "__Host-durward~auth="+value, "Origin", "https://app.example.com")
	if got := r.Header["Set-Cookie"]; r.StatusCode != 204 || len(got) != 1 || !strings.HasPrefix(got[0], "__Host-durward~auth=; Path=/; Max-Age=0") {
		t.Errorf("sign-out: %s %q", r.Status, got)
	}
	if events := w.events(store.EventSignedOut); len(events) != 1 {
		t.Errorf("sign-outs: %v", events)
	}
}
