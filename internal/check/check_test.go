package check_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode"

	"github.com/go-jose/go-jose/v4"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/durwardtest"
	"github.com/durward-auth/durward/internal/check"
	"github.com/durward-auth/durward/jwt"
)

// api is a service of the library with tokens for it.
type api struct {
	handler                        http.Handler
	good, expired, audience, scope string
}

func newAPI(t *testing.T, change func(*durward.Config)) api {
	t.Helper()
	issuer := durwardtest.NewIssuer(t)
	c := durward.Config{
		Schemes:   []durward.Scheme{jwt.Bearer(issuer.URL, durwardtest.Audience)},
		OnRefusal: func(*http.Request, *durward.Refusal) {},
	}
	if change != nil {
		change(&c)
	}
	guard, err := durward.New(c)
	if err != nil {
		t.Fatal(err)
	}
	items := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "items") })
	now := issuer.Token(nil)
	return api{
		handler: guard.Require(durward.Policy{Scopes: []string{"profile"}}, items),
		good:    now,
		expired: issuer.Token(func(c *jwt.Claims) {
			c.IssuedAt = c.IssuedAt.Add(-2 * time.Hour)
			c.AuthTime, c.Expires = c.IssuedAt, c.IssuedAt.Add(time.Hour)
		}),
		audience: issuer.Token(func(c *jwt.Claims) { c.Audience = []string{"https://other.example"} }),
		scope:    issuer.Token(func(c *jwt.Claims) { c.Scopes = []string{"other"} }),
	}
}

func (a api) config(url string) check.Config {
	return check.Config{URL: url, Good: a.good, Expired: a.expired, Audience: a.audience, NoScope: a.scope}
}

// failed returns the IDs of the rows that failed.
func failed(r *check.Report) []string {
	ids := []string{}
	for _, row := range r.Rows {
		if row.Outcome == check.Failed {
			ids = append(ids, row.ID)
		}
	}
	return ids
}

func run(t *testing.T, c check.Config) *check.Report {
	t.Helper()
	r, err := check.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// outcomes returns the outcomes by row.
func outcomes(r *check.Report) map[string]check.Outcome {
	all := make(map[string]check.Outcome)
	for _, row := range r.Rows {
		all[row.ID] = row.Outcome
	}
	return all
}

// A service with the guard of the library gets full marks, and its rows apply.
func TestGuard(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	s := httptest.NewServer(a.handler)
	t.Cleanup(s.Close)
	r := run(t, a.config(s.URL+"/items?secret=1"))
	if r.Score != 100 || r.MustFailed() || len(failed(r)) > 0 {
		t.Errorf("got %d, failed %q, want full marks:\n%s", r.Score, failed(r), r.Text(80, false))
	}
	got := outcomes(r)
	for _, id := range []string{
		"anonymous-401", "challenge", "challenge-grammar", "realm", "no-error-anonymous", "garbage-token", "forged-token", "malformed",
		"unknown-scheme", "two-fields", "token-in-query", "expired", "audience", "scope", "head", "caching", "body", "api-no-redirect", "date",
	} {
		if got[id] != check.Passed {
			t.Errorf("%s: %s, want it to pass", id, got[id])
		}
	}
	if strings.Contains(r.Text(80, false)+strings.Join(r.Requests, "\n"), "secret") {
		t.Error("the report contains the query of the address")
	}
}

// Each fault costs the points of its own row alone.
func TestFaults(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	// wrapped returns the guarded service with the responses changed.
	wrapped := func(change func(r *http.Request, status *int, h http.Header, body *string)) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got := httptest.NewRecorder()
			a.handler.ServeHTTP(got, r)
			status, text := got.Code, got.Body.String()
			h := got.Header()
			change(r, &status, h, &text)
			for name, values := range h {
				w.Header()[name] = values
			}
			w.WriteHeader(status)
			io.WriteString(w, text)
		})
	}
	header := func(name, value string) http.Handler {
		return wrapped(func(_ *http.Request, status *int, h http.Header, _ *string) {
			if *status == 401 {
				h.Set(name, value)
			}
		})
	}
	// forSent changes the status of requests with a value of Authorization.
	forSent := func(contains string, to int) http.Handler {
		return wrapped(func(r *http.Request, status *int, h http.Header, body *string) {
			if sent := strings.Join(r.Header["Authorization"], ","); contains != "" && strings.Contains(sent, contains) ||
				contains == "" && len(r.Header["Authorization"]) > 0 && sent == "" {
				*status, *body = to, ""
				h.Del("Content-Type")
			}
		})
	}
	sent := func(r *http.Request) string { return r.Header.Get("Authorization") }
	const digestOK = `Bearer realm="a", Digest realm="a", qop="auth", nonce="n", algorithm=`
	for _, c := range []struct {
		name    string
		handler http.Handler
		change  func(*check.Config)
		want    []string
		forged  bool
	}{
		{"200 without credentials: anonymous-401", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "open") }),
			nil, []string{"anonymous-401"}, false},
		{"302 to a page: anonymous-401", http.RedirectHandler("/login", http.StatusFound), nil, []string{"anonymous-401"}, false},
		{"404 for 401: anonymous-401", http.NotFoundHandler(), nil, []string{"anonymous-401"}, false},
		{"no challenge: challenge", wrapped(func(_ *http.Request, _ *int, h http.Header, _ *string) { h.Del("WWW-Authenticate") }),
			nil, []string{"challenge"}, false},
		{"an empty challenge: challenge", header("WWW-Authenticate", " "), nil, []string{"challenge"}, false},
		{"a missing comma: challenge-grammar", header("WWW-Authenticate", `Bearer realm="a" error="invalid_token"`),
			nil, []string{"challenge-grammar"}, false},
		{"a parameter twice: challenge-grammar", wrapped(func(_ *http.Request, _ *int, h http.Header, _ *string) {
			if v := h.Get("WWW-Authenticate"); v != "" {
				h.Set("WWW-Authenticate", v+`, x="1", X="2"`)
			}
		}), nil, []string{"challenge-grammar"}, false},
		{"Basic without realm: realm", wrapped(func(_ *http.Request, status *int, h http.Header, _ *string) {
			if *status == 401 {
				h.Add("WWW-Authenticate", "Basic")
			}
		}), nil, []string{"realm"}, false},
		{"error without credentials: no-error-anonymous", wrapped(func(r *http.Request, status *int, h http.Header, _ *string) {
			if sent(r) == "" && *status == 401 {
				h.Set("WWW-Authenticate", `Bearer realm="a", error="invalid_token"`)
			}
		}), nil, []string{"no-error-anonymous"}, false},
		{"500 for an invalid token: garbage-token", wrapped(func(r *http.Request, status *int, h http.Header, body *string) {
			if sent(r) == "Bearer x.y.z" && len(r.Header["Authorization"]) == 1 {
				*status, *body = 500, ""
				h.Del("Content-Type")
			}
		}), nil, []string{"garbage-token"}, false},
		{"no error code for an invalid token: garbage-token", wrapped(func(r *http.Request, _ *int, h http.Header, body *string) {
			if sent(r) == "Bearer x.y.z" && len(r.Header["Authorization"]) == 1 {
				h.Set("WWW-Authenticate", `Bearer realm="a"`)
			}
		}), nil, []string{"garbage-token"}, false},
		{"an unsigned token is accepted: forged-token", wrapped(func(r *http.Request, status *int, h http.Header, body *string) {
			if token := strings.Split(sent(r), "."); len(token) == 3 && token[2] == "" {
				*status, *body = 200, "items"
				h.Del("WWW-Authenticate")
			}
		}), nil, []string{"forged-token"}, true},
		{"500 for an empty field: malformed", forSent("", 500), nil, []string{"malformed"}, false},
		{"500 for Basic that is none: malformed", forSent("Basic !", 500), nil, []string{"malformed"}, false},
		{"500 for an unknown scheme: unknown-scheme", forSent("Nonsense", 500), nil, []string{"unknown-scheme"}, false},
		{"one of two fields is chosen: two-fields", wrapped(func(r *http.Request, status *int, h http.Header, body *string) {
			if len(r.Header["Authorization"]) == 2 {
				*status, *body = 200, "items"
				h.Del("WWW-Authenticate")
			}
		}), nil, []string{"two-fields"}, false},
		{"a token in the query is accepted: token-in-query", wrapped(func(r *http.Request, status *int, h http.Header, body *string) {
			if r.URL.Query().Get("access_token") != "" {
				*status, *body = 200, "items"
				h.Del("WWW-Authenticate")
			}
		}), nil, []string{"token-in-query"}, false},
		{"403 for an expired token: expired", forSent(a.expired, 403), nil, []string{"expired"}, false},
		{"403 for another audience: audience", forSent(a.audience, 403), nil, []string{"audience"}, false},
		{"401 in place of 403: scope", wrapped(func(r *http.Request, status *int, _ http.Header, body *string) {
			if *status == 403 {
				*status, *body = 401, ""
			}
		}), nil, []string{"scope"}, false},
		{"HEAD is not guarded: head", wrapped(func(r *http.Request, status *int, h http.Header, _ *string) {
			if r.Method == "HEAD" {
				*status = 200
				h.Del("WWW-Authenticate")
			}
		}), nil, []string{"head"}, false},
		{"a 401 for caches: caching", header("Cache-Control", "public, max-age=600"), nil, []string{"caching"}, false},
		{"one origin without Vary: caching", wrapped(func(r *http.Request, _ *int, h http.Header, _ *string) {
			if o := r.Header.Get("Origin"); o != "" {
				h.Set("Access-Control-Allow-Origin", o)
				h.Set("Access-Control-Allow-Headers", "Authorization")
				h.Set("Vary", "Accept")
			}
		}), nil, []string{"caching"}, false},
		{"another status in the body: body", wrapped(func(_ *http.Request, status *int, _ http.Header, body *string) {
			*body = strings.Replace(*body, `"status":401`, `"status":500`, 1)
		}), nil, []string{"body"}, false},
		{"a stack trace: body", wrapped(func(_ *http.Request, status *int, h http.Header, body *string) {
			if *status == 401 {
				h.Set("Content-Type", "text/plain")
				*body = "Traceback (most recent call last):\n  File \"app.py\", line 3"
			}
		}), nil, []string{"body"}, false},
		{"JSON as text/html: body", header("Content-Type", "text/html"), nil, []string{"body"}, false},
		{"401 for a preflight: preflight", wrapped(func(r *http.Request, status *int, h http.Header, body *string) {
			h.Set("Access-Control-Allow-Origin", "*")
			if r.Method == "OPTIONS" {
				*status = 401
				h.Set("WWW-Authenticate", `Bearer realm="a"`)
			}
		}), nil, []string{"preflight"}, false},
		{"Authorization by a wildcard: preflight", wrapped(func(r *http.Request, _ *int, h http.Header, _ *string) {
			h.Set("Access-Control-Allow-Origin", "*")
			h.Set("Access-Control-Allow-Headers", "*")
		}), nil, []string{"preflight"}, false},
		{"no CORS on the 401: readable", wrapped(func(r *http.Request, _ *int, h http.Header, _ *string) {
			if r.Method == "OPTIONS" {
				h.Set("Access-Control-Allow-Origin", "*")
				h.Set("Access-Control-Allow-Headers", "authorization")
			}
		}), nil, []string{"readable"}, false},
		{"a redirect for JSON: api-no-redirect", wrapped(func(r *http.Request, status *int, h http.Header, _ *string) {
			if r.Header.Get("Accept") == "application/json" {
				*status = 302
				h.Set("Location", "/login")
			}
		}), nil, []string{"api-no-redirect"}, false},
		{"a wrong clock: date", wrapped(func(_ *http.Request, _ *int, h http.Header, _ *string) {
			h.Set("Date", "Mon, 02 Jan 2006 15:04:05 GMT")
		}), nil, []string{"date"}, false},
		{"MD5 alone: digest", header("WWW-Authenticate", digestOK+"MD5"), func(c *check.Config) { *c = check.Config{URL: c.URL} },
			[]string{"garbage-token", "digest"}, false},
		{"a quoted algorithm: digest", header("WWW-Authenticate", digestOK+`"SHA-256"`), func(c *check.Config) { *c = check.Config{URL: c.URL} },
			[]string{"garbage-token", "digest"}, false},
		{"DPoP without algs: dpop", wrapped(func(r *http.Request, status *int, h http.Header, _ *string) {
			if *status == 401 {
				h.Add("WWW-Authenticate", `DPoP realm="a"`)
			}
		}), nil, []string{"dpop"}, false},
		{"metadata that are missing: metadata", wrapped(func(r *http.Request, status *int, h http.Header, _ *string) {
			if v := h.Get("WWW-Authenticate"); v != "" {
				h.Set("WWW-Authenticate", v+`, resource_metadata="http://`+r.Host+`/missing"`)
			}
		}), nil, []string{"metadata"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(c.handler)
			t.Cleanup(s.Close)
			config := a.config(s.URL + "/items")
			if c.change != nil {
				c.change(&config)
			}
			r := run(t, config)
			if got := failed(r); !slices.Equal(got, c.want) {
				t.Errorf("failed %q, want %q\n%s", got, c.want, r.Text(80, false))
			}
			if c.forged != r.Forged || c.forged && r.Score != 0 {
				t.Errorf("forged accepted: %v, score %d", r.Forged, r.Score)
			}
			if r.Score >= 100 {
				t.Errorf("score %d with a fault", r.Score)
			}
		})
	}
}

// Tokens go to the address alone, and appear in no output, though the server repeats them and redirects.
func TestSecrets(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("another origin was asked: %s %s", r.Method, r.URL)
	}))
	t.Cleanup(other.Close)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent := strings.TrimPrefix(strings.Join(r.Header["Authorization"], " "), "Bearer ")
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm=%q, error=%q, resource_metadata=%q`, sent, sent, other.URL))
		w.Header().Set("Cache-Control", sent)
		w.Header().Set("Location", other.URL+"/"+sent)
		if strings.HasPrefix(sent, "marked-good") {
			w.WriteHeader(307)
			return
		}
		w.WriteHeader(401)
		io.WriteString(w, sent)
	}))
	t.Cleanup(s.Close)
	c := check.Config{URL: s.URL, Good: "marked-good-token-0123456789", Expired: "marked.expired-0123456789abcdef.x", Audience: "marked-audience", NoScope: "marked-scope"}
	var told strings.Builder
	c.OnRequest = func(text string, _, _ int) { told.WriteString(text) }
	r := run(t, c)
	for _, write := range []func() ([]byte, error){
		r.JSON, r.JUnit, func() ([]byte, error) { return r.SARIF("") }, func() ([]byte, error) { return []byte(r.Text(80, true) + told.String()), nil },
	} {
		text, err := write()
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range []string{"marked-", "expired-0123"} {
			if strings.Contains(string(text), secret) {
				t.Errorf("the output contains a token:\n%s", text)
			}
		}
	}
}

// A redirect to the path with a slash is followed, one to another origin is not; the redirect of a loop ends.
func TestRedirects(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	mux := http.NewServeMux()
	mux.Handle("/items/", a.handler)
	mux.Handle("/items", http.RedirectHandler("/items/", http.StatusMovedPermanently))
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("another origin was asked: %s", r.URL) }))
	t.Cleanup(other.Close)
	mux.Handle("/away", http.RedirectHandler(other.URL, http.StatusMovedPermanently))
	mux.Handle("/loop", http.RedirectHandler("/loop", http.StatusMovedPermanently))
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	if r := run(t, a.config(s.URL+"/items")); r.Score != 100 || r.URL != s.URL+"/items/" {
		t.Errorf("got %d of %s, want full marks of the path with a slash", r.Score, r.URL)
	}
	if r := run(t, a.config(s.URL+"/away")); !slices.Equal(failed(r), []string{"anonymous-401"}) {
		t.Errorf("another origin: failed %q", failed(r))
	}
	if r := run(t, a.config(s.URL+"/loop")); !slices.Equal(failed(r), []string{"anonymous-401"}) || len(r.Limits) != 1 {
		t.Errorf("a loop: failed %q, limits %q", failed(r), r.Limits)
	}
}

// A proxy that asks for credentials passes, with and without a tunnel; others fail.
func TestProxy(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	s := httptest.NewServer(a.handler)
	t.Cleanup(s.Close)
	for name, c := range map[string]struct {
		status int
		want   []string
	}{"407": {407, []string{}}, "401 in place of 407": {401, []string{"proxy-407"}}, "403": {403, []string{"proxy-407"}}} {
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				t.Error("the proxy received a token")
			}
			w.Header().Set("Proxy-Authenticate", `Basic realm="p"`)
			w.Header().Set("WWW-Authenticate", `Basic realm="p"`)
			w.WriteHeader(c.status)
		}))
		t.Cleanup(proxy.Close)
		config := a.config(s.URL)
		config.Proxy, _ = url.Parse(proxy.URL)
		if r := run(t, config); !slices.Equal(failed(r), c.want) {
			t.Errorf("%s: failed %q, want %q", name, failed(r), c.want)
		}
	}
}

// Wrong configurations are refused before a request is sent.
func TestConfig(t *testing.T) {
	t.Parallel()
	for _, c := range []check.Config{
		{URL: "ftp://example.com"}, {URL: "https://"}, {URL: "https://ada:secret@example.com"}, {URL: "http://far.example.com"},
		{URL: "https://example.com", Good: "a b"}, {URL: "https://example.com", Origin: "app"}, {URL: "https://example.com", Proxy: &url.URL{Scheme: "socks"}},
	} {
		if _, err := check.Run(t.Context(), c); !errors.Is(err, check.ErrConfig) || strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("%+v: %v, want an error of the configuration", c, err)
		}
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	if _, err := check.Run(t.Context(), check.Config{URL: gone.URL}); err == nil || errors.Is(err, check.ErrConfig) {
		t.Errorf("a server that is away: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := check.Run(ctx, check.Config{URL: gone.URL}); err == nil {
		t.Error("a check that was cancelled has no error")
	}
}

// The plan names each kind of request before it is sent.
func TestPlan(t *testing.T) {
	t.Parallel()
	plan := strings.Join(check.Config{URL: "https://api.example.com/items?key=secret", Good: "g", Proxy: &url.URL{Scheme: "http", Host: "p"}}.Plan(), "\n")
	for _, want := range []string{"GET and HEAD https://api.example.com/items\n", "OPTIONS", "good token", "http://api.example.com/items", "proxy", "32 requests,"} {
		if !strings.Contains(plan, want) {
			t.Errorf("the plan does not name %q:\n%s", want, plan)
		}
	}
	if strings.Contains(plan, "secret") {
		t.Errorf("the plan has the query: %s", plan)
	}
}

// Reports are well-formed for any server, fit 80 columns and hold no control character.
func TestReports(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", "Bearer error=\"\x80\x9b31m\u202e<b>&amp;\", Basic, x="+strings.Repeat("y", 500))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(401)
		io.WriteString(w, `{"status":500,"error":"\u001b[31m<script>"}`)
	}))
	t.Cleanup(s.Close)
	r := run(t, check.Config{URL: s.URL + "/" + strings.Repeat("long", 60)})
	text := r.Text(80, false)
	for line := range strings.Lines(text) {
		if len([]rune(strings.TrimSuffix(line, "\n"))) > 80 {
			t.Errorf("a line has more than 80 columns: %q", line)
		}
	}
	if strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) && c != '\n' }) {
		t.Errorf("the text has control characters: %q", text)
	}
	out, err := r.JUnit()
	if err != nil || xml.Unmarshal(out, new(struct{})) != nil {
		t.Errorf("JUnit: %v\n%s", err, out)
	}
	if out, err = r.SARIF("nginx.conf"); err != nil || !json.Valid(out) || !strings.Contains(string(out), `"uri": "nginx.conf"`) {
		t.Errorf("SARIF: %v\n%s", err, out)
	}
	if out, err = r.JSON(); err != nil || !json.Valid(out) {
		t.Errorf("JSON: %v\n%s", err, out)
	}
	if out = r.Badge(); xml.Unmarshal(out, new(struct{})) != nil || !strings.Contains(string(out), "/100") {
		t.Errorf("badge: %s", out)
	}
}

// A server that takes its public key for the secret of an HMAC accepts a forged token.
func TestForgedByPublicKey(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"ES256", "RS256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			key, err := jwt.GenerateKey(alg)
			if err != nil {
				t.Fatal(err)
			}
			set, err := jwt.MarshalKeySet([]*jwt.Key{key.Public()})
			if err != nil {
				t.Fatal(err)
			}
			mux := http.NewServeMux()
			s := httptest.NewServer(mux)
			t.Cleanup(s.Close)
			mux.HandleFunc("/.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
				fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":"%s/keys"}`, s.URL, s.URL)
			})
			mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) { w.Write(set) })
			guarded := durward.Protect(http.NotFoundHandler(), jwt.Bearer(s.URL, s.URL))
			secret := pemOf(t, set)
			mux.HandleFunc("/items", func(w http.ResponseWriter, r *http.Request) {
				token := strings.Split(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), ".")
				if len(token) == 3 {
					m := hmac.New(sha256.New, secret)
					io.WriteString(m, token[0]+"."+token[1])
					if token[2] == base64.RawURLEncoding.EncodeToString(m.Sum(nil)) {
						io.WriteString(w, "items")
						return
					}
				}
				guarded.ServeHTTP(w, r)
			})
			mux.Handle("/safe", guarded)
			now := time.Now()
			good, err := key.Sign(jwt.Claims{Issuer: s.URL, Subject: "ada", Audience: []string{s.URL}, Expires: now.Add(time.Minute), IssuedAt: now, ID: "1", ClientID: "c"})
			if err != nil {
				t.Fatal(err)
			}
			if r := run(t, check.Config{URL: s.URL + "/items", Good: good}); !r.Forged || r.Score != 0 || !slices.Equal(failed(r), []string{"forged-token"}) {
				t.Errorf("failed %q, forged %v\n%s", failed(r), r.Forged, r.Text(80, false))
			}
			if r := run(t, check.Config{URL: s.URL + "/safe", Good: good}); r.Forged || !strings.Contains(r.Text(80, false), "5 forged tokens were refused") {
				t.Errorf("a server without the fault:\n%s", r.Text(80, false))
			}
		})
	}
}

// pemOf returns the first key of a set in PEM, read by a library.
func pemOf(t *testing.T, set []byte) []byte {
	t.Helper()
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(set, &keys); err != nil || len(keys.Keys) == 0 {
		t.Fatalf("the key set: %v", err)
	}
	der, err := x509.MarshalPKIXPublicKey(keys.Keys[0].Key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// A server that limits requests fails no row, and the report says that it is not complete.
func TestLimited(t *testing.T) {
	t.Parallel()
	a := newAPI(t, nil)
	for _, most := range []int64{0, 1, 4, 8, 11} {
		var left atomic.Int64
		left.Store(most)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if left.Add(-1) < 0 {
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			a.handler.ServeHTTP(w, r)
		}))
		t.Cleanup(s.Close)
		if r := run(t, a.config(s.URL)); len(failed(r)) > 0 || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "429") {
			t.Errorf("after %d: failed %q, notes %q", most, failed(r), r.Notes)
		}
	}
}

// Hostile servers cost bounded time and memory, and the report says so.
func TestHostile(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		handler func(w http.ResponseWriter, raw func(text string))
		limit   string // in Limits; empty: Run returns an error
	}{
		{"a body of 4 MiB", func(w http.ResponseWriter, _ func(string)) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="a"`)
			w.WriteHeader(401)
			_, _ = w.Write(make([]byte, 4<<20)) // the check closes the connection
		}, "1 MiB"},
		{"a header of 2 MiB", func(w http.ResponseWriter, _ func(string)) {
			w.Header().Set("WWW-Authenticate", strings.Repeat("x", 2<<20))
			w.WriteHeader(401)
		}, ""},
		{"no HTTP", func(_ http.ResponseWriter, raw func(string)) { raw("SSH-2.0-x\r\n\x00\x1b[31m\r\n\r\n") }, ""},
		{"a closed connection", func(_ http.ResponseWriter, raw func(string)) { raw("") }, ""},
		{"a body that is cut", func(_ http.ResponseWriter, raw func(string)) {
			raw("HTTP/1.1 401 x\r\nContent-Length: 100\r\nWWW-Authenticate: Basic realm=\"\x80\"\r\n\r\n{")
		}, "ended early"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				c.handler(w, func(text string) {
					conn, _, err := w.(http.Hijacker).Hijack()
					if err != nil {
						panic(http.ErrAbortHandler)
					}
					_, _ = io.WriteString(conn, text)
					conn.Close()
				})
			}))
			t.Cleanup(s.Close)
			r, err := check.Run(t.Context(), check.Config{URL: s.URL})
			if c.limit == "" {
				if err == nil || strings.ContainsAny(err.Error(), "\x00\x1b") {
					t.Errorf("got %v, want a printable error", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(strings.Join(r.Limits, " "), c.limit) {
				t.Errorf("limits %q, want %q", r.Limits, c.limit)
			}
		})
	}
}

// Neither the issuer of a token nor metadata lead the check to another origin.
func TestOtherOrigins(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("another origin was asked: %s %s", r.Method, r.URL)
	}))
	t.Cleanup(other.Close)
	asked := make(map[string]bool)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked[r.URL.Path] = true
		if r.URL.Path == "/.well-known/oauth-authorization-server" {
			fmt.Fprintf(w, `{"issuer":"x","jwks_uri":%q}`, other.URL)
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="a"`)
		w.WriteHeader(401)
	}))
	t.Cleanup(s.Close)
	token := func(issuer string) string {
		encode := base64.RawURLEncoding.EncodeToString
		return encode([]byte(`{"alg":"ES256"}`)) + "." + encode(fmt.Appendf(nil, `{"iss":%q}`, issuer)) + ".c2ln"
	}
	for _, issuer := range []string{other.URL, s.URL} {
		run(t, check.Config{URL: s.URL + "/items", Good: token(issuer)})
	}
	if !asked["/.well-known/oauth-authorization-server"] {
		t.Error("the metadata of the issuer at the same origin were not asked for")
	}
}

// Response finds the faults that a single response shows.
func TestResponse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		status    int
		header    http.Header
		body      string
		anonymous bool
		want      []string
	}{
		{"a good refusal: none", 401, http.Header{"Www-Authenticate": {`Bearer realm="a"`}}, "", true, nil},
		{"no challenge", 401, http.Header{}, "", false, []string{"challenge"}},
		{"407 without a challenge", 407, http.Header{"Www-Authenticate": {"Basic"}}, "", true, []string{"challenge"}},
		{"a missing comma", 401, http.Header{"Www-Authenticate": {`Bearer realm="a" scope="b"`}}, "", true, []string{"challenge-grammar"}},
		{"an error without credentials", 401, http.Header{"Www-Authenticate": {`Bearer error="invalid_token"`}}, "", true, []string{"no-error-anonymous"}},
		{"an error with credentials: none", 401, http.Header{"Www-Authenticate": {`Bearer error="invalid_token"`}}, "", false, nil},
		{"cacheable", 401, http.Header{"Www-Authenticate": {`Bearer realm="a"`}, "Cache-Control": {"max-age=60"}}, "", true, []string{"caching"}},
		{"another status in the body", 401, http.Header{"Www-Authenticate": {`Bearer realm="a"`}, "Content-Type": {"application/json"}}, `{"status":403}`,
			true, []string{"body"}},
		{"Basic without realm, DPoP without algs", 401, http.Header{"Www-Authenticate": {"Basic, DPoP"}}, "", true, []string{"realm", "dpop"}},
		{"404: none", 404, http.Header{}, "", true, nil},
	} {
		var got []string
		for _, r := range check.Response(c.status, c.header, []byte(c.body), c.anonymous) {
			got = append(got, r.ID)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

// Any response is judged in a report of printable text.
func FuzzResponse(f *testing.F) {
	f.Add(401, `Bearer realm="a", error="invalid_token"`, "no-store", "application/json", `{"status":401}`, true)
	f.Add(407, `Digest realm=a, nonce="", algorithm="MD5"`, `public, max-age="60"`, "text/html", "<p>", false)
	f.Add(401, "Basic\x00\x9b, ,", "private=\"x", "application/problem+json; a", "{\"error\":\"\x1b\"}", true)
	f.Fuzz(func(t *testing.T, status int, challenge, cache, kind, body string, anonymous bool) {
		for _, r := range check.Response(status, http.Header{
			"Www-Authenticate": {challenge, challenge}, "Proxy-Authenticate": {challenge}, "Cache-Control": {cache}, "Content-Type": {kind}, "Expires": {cache},
		}, []byte(body), anonymous) {
			if r.Outcome != check.Failed || r.Text == "" || strings.ContainsFunc(r.Text, func(c rune) bool { return !unicode.IsPrint(c) }) || len(r.Text) > 1300 {
				t.Errorf("%+v", r)
			}
		}
	})
}
