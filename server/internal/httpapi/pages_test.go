package httpapi

import (
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/durward-auth/durward/server/internal/explain"
)

// Every code has a page and is in the index.
func TestEveryCodeHasAPage(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	index := w.do("GET", "/errors/", "", nil)
	described := string(openAPIDocument)
	for _, e := range explain.Codes() {
		if !strings.Contains(described, `"`+e.ID+`"`) {
			t.Errorf("%s is not in openapi.yaml", e.ID)
		}
		if !strings.Contains(string(index.body), `href="`+testPrefix+`/errors/`+e.ID+`"`) {
			t.Errorf("%s is not in the index", e.ID)
		}
		if !strings.Contains(string(index.body), "<code>"+e.ID+"</code>") {
			t.Errorf("%s cannot be found in the index by its name", e.ID)
		}
		r := w.do("GET", "/errors/"+e.ID, "", nil)
		if r.StatusCode != 200 || !strings.Contains(string(r.body), "<h1>"+e.Title+"</h1>") || !strings.Contains(string(r.body), "<html lang=") {
			t.Errorf("%s: %s\n%s", e.ID, r.Status, r.body)
		}
		csp := r.Header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: fields of a page: %v", e.ID, r.Header)
		}
		if strings.Contains(string(r.body), "<script") || strings.Contains(string(r.body), "style=") {
			t.Errorf("%s: script or style in the page", e.ID)
		}
	}
	if css := w.do("GET", "/static/durward.css", "", nil); css.StatusCode != 200 || css.Header.Get("Content-Type") != "text/css; charset=utf-8" {
		t.Errorf("stylesheet: %s %v", css.Status, css.Header)
	}
	for _, path := range []string{"/errors/NONE", "/errors/TOKEN_EXPIRED/", "/static/", "/static/other.css"} {
		w.refused(w.do("GET", path, "", nil), 404, "NOT_FOUND")
	}
}

// The pages name the figures of the configuration, and accept a code in small letters.
func TestFiguresOfPages(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{}).reconfigured(func(c *Config) {
		c.Figures = map[string]string{"tokens.access_ttl": "2 minutes", "limits.account_failures": "7", "limits.account_block": "3 hours"}
	})
	for path, want := range map[string][]string{
		"/errors/TOKEN_EXPIRED":       {"its lifetime (2 minutes) is over"},
		"/errors/token_expired":       {"its lifetime (2 minutes) is over", "<code>TOKEN_EXPIRED</code>"},
		"/errors/Invalid_Credentials": {"(7)", "(3 hours)"},
	} {
		r := w.do("GET", path, "", nil)
		for _, text := range want {
			if r.StatusCode != 200 || !strings.Contains(string(r.body), text) {
				t.Errorf("%s: got %s, want %q in\n%s", path, r.Status, text, r.body)
			}
		}
	}
	for _, e := range explain.Codes() {
		if r := w.do("GET", "/errors/"+e.ID, "", nil); regexp.MustCompile(`\{[a-z_.]+\}`).Match(r.body) {
			t.Errorf("%s: a variable is left:\n%s", e.ID, r.body)
		}
	}
}

// For an unknown code a browser gets a page, a program problem details. Neither repeats the code.
func TestUnknownCode(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	for accept, wantPage := range map[string]bool{
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": true,
		"application/json": false, "*/*": false, "": false,
	} {
		r, err := http.NewRequest("GET", w.url+"/errors/NO_SUCH_CODE", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept", accept)
		got := w.send(r)
		if strings.Contains(string(got.body), "NO_SUCH_CODE") || !strings.Contains(got.Header.Get("Vary"), "Accept") {
			t.Errorf("Accept %q: Vary %q, and the response\n%s", accept, got.Header["Vary"], got.body)
		}
		if !wantPage {
			w.refused(got, 404, "NOT_FOUND")
			continue
		}
		csp := got.Header.Get("Content-Security-Policy")
		if got.StatusCode != 404 || !strings.Contains(csp, "default-src 'none'") || got.Header.Get("Cache-Control") != "no-store" ||
			!strings.HasPrefix(got.Header.Get("Content-Type"), "text/html") ||
			!strings.Contains(string(got.body), "<h1>Unknown code</h1>") || !strings.Contains(string(got.body), `href="`+testPrefix+`/errors/TOKEN_EXPIRED"`) {
			t.Errorf("Accept %q: got %s %v\n%s", accept, got.Status, got.Header, got.body)
		}
	}
}

// Every page has the fields for browsers. HSTS is sent only over https, and only if the public URL
// is https.
func TestFieldsOfPages(t *testing.T) {
	t.Parallel()
	plain := newEnv(t, settings{})
	proxies := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	proxied := plain.reconfigured(func(c *Config) { c.PublicURL, c.Proxies = "https://auth.example.com", proxies })
	open := plain.reconfigured(func(c *Config) {
		c.PublicURL, c.Proxies, c.InsecureAllowHTTP = "https://auth.example.com", proxies, true
	})
	http1 := plain.reconfigured(func(c *Config) { c.Proxies = proxies })
	for name, c := range map[string]struct {
		w      *env
		fields http.Header
		want   string
	}{
		"behind a proxy that has https": {proxied, http.Header{"X-Forwarded-For": {"203.0.113.9"}, "X-Forwarded-Proto": {"https"}}, "max-age=31536000"},
		"behind it by http":             {proxied, http.Header{"X-Forwarded-For": {"203.0.113.9"}, "X-Forwarded-Proto": {"http"}}, ""},
		"from this machine":             {proxied, http.Header{}, ""},
		"http is let in from anywhere":  {open, http.Header{"X-Forwarded-For": {"203.0.113.9"}, "X-Forwarded-Proto": {"http"}}, ""},
		"a public URL of http":          {http1, http.Header{"X-Forwarded-For": {"203.0.113.9"}, "X-Forwarded-Proto": {"https"}}, ""},
	} {
		for _, path := range []string{"/", "/errors/", "/errors/TOKEN_EXPIRED", "/static/durward.css", "/api/profile", "/nothing", "/.well-known/jwks.json"} {
			r, err := http.NewRequest("GET", c.w.url+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			r.Header = c.fields.Clone()
			got := c.w.send(r)
			if hsts := got.Header.Get("Strict-Transport-Security"); hsts != c.want {
				t.Errorf("%s, %s: Strict-Transport-Security is %q, want %q", name, path, hsts, c.want)
			}
			if got.StatusCode == 403 || !strings.HasPrefix(got.Header.Get("Content-Type"), "text/html") {
				continue
			}
			for field, want := range map[string]string{
				"Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
				"X-Content-Type-Options":  "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin",
			} {
				if got.Header.Get(field) != want {
					t.Errorf("%s, %s: %s is %q, want %q", name, path, field, got.Header.Get(field), want)
				}
			}
			if body := string(got.body); strings.Contains(body, "<script") || strings.Contains(body, "style=") || strings.Contains(body, " onclick") {
				t.Errorf("%s: script or style in the page", path)
			}
		}
	}
}

// Every page that a challenge or a redirect names exists.
func TestChallengesNamePages(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{basic: true, dpop: true})
	w.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	named := regexp.MustCompile(`(?:login|resource_metadata)="[^"/]*//[^"/]*([^"]*)"`)
	for name, c := range map[string]struct{ method, path, dest, body string }{
		"program without credentials: challenge":     {"GET", "/api/profile", "", ""},
		"sign-in with a wrong password: challenge":   {"POST", "/api/auth/login", "", `{"email":"x","password":"y"}`},
		"refresh with an unknown token: challenge":   {"POST", "/api/auth/refresh", "", `{"refresh_token":"z"}`},
		"navigation of a browser: challenge, no 303": {"GET", "/api/profile", "document", ""},
		"navigation to an unknown path: no 303":      {"GET", "/nothing", "document", ""},
	} {
		r, err := http.NewRequest(c.method, w.url+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if c.dest != "" {
			r.Header.Set("Sec-Fetch-Dest", c.dest)
			r.Header.Set("Sec-Fetch-Mode", "navigate")
			r.Header.Set("Accept", "text/html")
		}
		got := w.send(r)
		if got.StatusCode < 400 {
			t.Errorf("%s: %s to %q, want a refusal", name, got.Status, got.Header.Get("Location"))
		}
		for _, challenge := range got.Header.Values("WWW-Authenticate") {
			for _, m := range named.FindAllStringSubmatch(challenge, -1) {
				if page := w.do("GET", m[1], "", nil); page.StatusCode != 200 {
					t.Errorf("%s: challenge %q names %s, which answers %s", name, challenge, m[1], page.Status)
				}
			}
		}
	}
}
