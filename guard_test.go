package durward_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward"
)

// newGuard fills in what most tests want alike: the verifier of the wire tests,
// a realm and a clock that stands at noon.
func newGuard(t testing.TB, c durward.Config) *durward.Guard {
	t.Helper()
	if c.Schemes == nil {
		c.Schemes = []durward.Scheme{durward.Bearer(verify)}
	}
	if c.Realm == "" {
		c.Realm = "api"
	}
	if c.Now == nil {
		c.Now = func() time.Time { return noon }
	}
	g, err := durward.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// get is a GET by https with a token, or without one if it is empty.
func get(token string) *http.Request {
	r := httptest.NewRequest("GET", "https://api.example/x", nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

func serve(h http.Handler, r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// codeOf returns the code in a refusal's body, or "".
func codeOf(w *httptest.ResponseRecorder) durward.Code {
	var problem struct{ Code durward.Code }
	_ = json.Unmarshal(w.Body.Bytes(), &problem)
	return problem.Code
}

// wants fails the test unless w is a refusal by this code with this status.
func wants(t *testing.T, what string, w *httptest.ResponseRecorder, status int, code durward.Code) {
	t.Helper()
	if w.Code != status || codeOf(w) != code {
		t.Errorf("%s: got %d %s, want %d %s\n%v\n%s", what, w.Code, codeOf(w), status, code, w.Header(), w.Body)
	}
}

// hello is the handler behind the guards; it writes the subject.
var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	p := durward.From(r.Context())
	if p.Anonymous() {
		io.WriteString(w, "nobody")
		return
	}
	io.WriteString(w, p.Subject)
})

// never is a handler that must not be reached.
func never(t *testing.T) http.Handler {
	return http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		t.Helper()
		t.Error("the request reached the handler")
	})
}

// fake is a scheme that finds its credentials in the field named as it is.
type fake struct {
	name    string
	ambient bool
	err     error
	asked   *atomic.Int64
}

func (f fake) Presented(r *http.Request) (bool, bool) { return r.Header.Get(f.name) != "", f.ambient }

func (f fake) Authenticate(r *http.Request) (*durward.Principal, error) {
	if f.asked != nil {
		f.asked.Add(1)
	}
	if f.err != nil {
		return nil, f.err
	}
	return &durward.Principal{Scheme: f.name, Subject: r.Header.Get(f.name) + " by " + f.name}, nil
}

func (f fake) Challenges(_ *http.Request, code durward.Code) []durward.Challenge {
	return []durward.Challenge{{Scheme: f.name, Params: params("code", string(code))}}
}

func TestNewReportsAllMistakes(t *testing.T) {
	t.Parallel()
	all := durward.Config{
		Schemes:   []durward.Scheme{nil, durward.Bearer(nil)},
		Realm:     `a"b`,
		PublicURL: "https://api.example/path//",
		Metadata:  "/relative",
		LoginURL:  "javascript:alert(1)",
		Docs:      "https://user:password@docs.example/",
		Hints:     map[durward.Code]string{"NO_SUCH_CODE": "?"},
		Proxies:   []netip.Prefix{{}, netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"), netip.MustParsePrefix("::ffff:10.0.0.0/104")},
	}
	g, err := durward.New(all)
	if err == nil || g != nil {
		t.Fatalf("got %v, %v, want no guard and an error", g, err)
	}
	for _, want := range []string{"nil scheme", "Bearer(nil)", `Realm "a\"b"`, `PublicURL "https://api.example/path//"`, `Metadata "/relative"`, `LoginURL "javascript:alert(1)"`,
		"Docs", "NO_SUCH_CODE", "invalid prefix", "0.0.0.0/0", "::/0", "::ffff:10.0.0.0/104"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s:\n%v", want, err)
		}
	}
	bearer := []durward.Scheme{durward.Bearer(verify)}
	for _, c := range []struct {
		name   string
		config durward.Config
		want   string // in the error; empty for none
	}{
		{"schemes alone", durward.Config{Schemes: bearer}, ""},
		{"nothing", durward.Config{}, "Schemes is empty"},
		{"Bearer twice", durward.Config{Schemes: []durward.Scheme{durward.Bearer(verify), durward.Basic(rightPair), durward.Bearer(verify)}}, "jwt.NewIssuers"},
		{"blank in the realm", durward.Config{Schemes: bearer, Realm: "the api"}, ""},
		{"backslash in the realm", durward.Config{Schemes: bearer, Realm: `a\b`}, "Realm"},
		{"line feed in the realm", durward.Config{Schemes: bearer, Realm: "a\nb"}, "Realm"},
		{"realm beyond ASCII", durward.Config{Schemes: bearer, Realm: "é"}, "Realm"},
		{"origin with a slash", durward.Config{Schemes: bearer, PublicURL: "https://api.example/"}, ""},
		{"origin with a query", durward.Config{Schemes: bearer, PublicURL: "https://api.example/?a"}, "PublicURL"},
		{"origin with a fragment", durward.Config{Schemes: bearer, PublicURL: "https://api.example/#a"}, "PublicURL"},
		{"a prefix", durward.Config{Schemes: bearer, PublicURL: "https://example.com/api/v1/"}, ""},
		{"a prefix with dots", durward.Config{Schemes: bearer, PublicURL: "https://example.com/../api"}, "PublicURL"},
		{"credentials of no octets", durward.Config{Schemes: bearer, MaxCredentials: -1}, "MaxCredentials"},
		{"a format of certificates", durward.Config{Schemes: bearer, Proxies: proxies, ClientCertFromProxies: true, ClientCertFormat: durward.ClientCertXFCC}, ""},
		{"a format for a socket", durward.Config{Schemes: bearer, ProxySocket: true, ClientCertFromProxies: true, ClientCertFormat: durward.ClientCertNginx}, ""},
		{"an unknown format", durward.Config{Schemes: bearer, Proxies: proxies, ClientCertFromProxies: true, ClientCertFormat: "pem"}, `ClientCertFormat "pem"`},
		{"a format that is not read", durward.Config{Schemes: bearer, Proxies: proxies, ClientCertFormat: durward.ClientCertXFCC}, "ClientCertFromProxies"},
		{"certificates without proxies", durward.Config{Schemes: bearer, ClientCertFromProxies: true}, "Proxies"},
		{"no URL", durward.Config{Schemes: bearer, Docs: "https://a b/"}, "Docs"},
		{"no host", durward.Config{Schemes: bearer, Metadata: "https:///a"}, "Metadata"},
		{"a network", durward.Config{Schemes: bearer, Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}, ""},
	} {
		g, err := durward.New(c.config)
		if (err != nil) != (c.want != "") || (g != nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, %v, want an error that names %q", c.name, g, err, c.want)
		}
	}
}

func TestProtect(t *testing.T) {
	t.Parallel()
	h := durward.Protect(hello, durward.Bearer(verify))
	if w := serve(h, get("good")); w.Code != 200 || w.Body.String() != "ada" {
		t.Errorf("got %d %s, want 200 ada", w.Code, w.Body)
	}
	w := serve(h, get(""))
	wants(t, "no credentials", w, 401, durward.AuthenticationRequired)
	if got, want := w.Header()["Www-Authenticate"], lines(`Bearer realm="restricted"`); !slices.Equal(got, want) {
		t.Errorf("got the challenges %q, want %q", got, want)
	}
	bearer, own := durward.Bearer(verify), durward.Basic(rightPair)
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{own}})
	for name, c := range map[string]struct {
		call func()
		want string
	}{
		"no scheme":             {func() { durward.Protect(hello) }, "Protect without a scheme"},
		"a nil scheme":          {func() { durward.Protect(hello, nil) }, "Schemes"},
		"no verifier":           {func() { durward.Protect(hello, durward.Bearer(nil)) }, "Schemes"},
		"no handler":            {func() { durward.Protect(nil, bearer) }, "handler to protect is nil"},
		"a nil function":        {func() { durward.Protect(http.HandlerFunc(nil), bearer) }, "handler to protect is nil"},
		"Handler":               {func() { g.Handler(nil) }, "handler to protect is nil"},
		"Require":               {func() { g.Require(durward.Policy{}, nil) }, "handler to protect is nil"},
		"Open":                  {func() { g.Open(nil) }, "handler to protect is nil"},
		"OpenWith":              {func() { g.OpenWith(nil, own) }, "handler to protect is nil"},
		"Proxy":                 {func() { g.Proxy(durward.Policy{}, nil) }, "handler to protect is nil"},
		"no handler, no scheme": {func() { durward.Protect(nil) }, "Protect without a scheme"},
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, c.want) {
					t.Errorf("%s: the panic is %s, want one that says %q", name, got, c.want)
				}
			}()
			c.call()
		}()
	}
}

// TestOrder makes a request go wrong at every two steps at once: the earlier
// one is answered.
func TestOrder(t *testing.T) {
	t.Parallel()
	var cause atomic.Value
	g := newGuard(t, durward.Config{
		Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		// The token names the error of its verification.
		Schemes: []durward.Scheme{durward.Bearer(func(_ context.Context, token string) (*durward.Principal, error) {
			if strings.Contains(token, "bad") {
				return nil, durward.InvalidToken
			}
			p := &durward.Principal{Scheme: "Bearer", Subject: "ada", ACR: "urn:durward:acr:2fa", AuthTime: noon, Scopes: []string{"write"}}
			if strings.Contains(token, "weak") {
				p.ACR = "urn:durward:acr:1fa"
			}
			if strings.Contains(token, "narrow") {
				p.Scopes = []string{"read"}
			}
			return p, nil
		})},
		OnRefusal: func(_ *http.Request, f *durward.Refusal) { cause.Store(f.Error()) },
	})
	policy := durward.Policy{
		ACR: []string{"urn:durward:acr:2fa"}, Scopes: []string{"write"},
		Allow: func(r *http.Request, _ *durward.Principal) error {
			if r.Header.Get("X-Deny") != "" {
				return durward.Forbidden
			}
			return nil
		},
	}
	h := g.Require(policy, hello)
	token := func(more string) func(*http.Request) {
		return func(r *http.Request) {
			if a := r.Header.Get("Authorization"); a != "" {
				r.Header.Set("Authorization", a+more)
			}
		}
	}
	steps := []struct {
		name   string
		spoil  func(*http.Request)
		status int
		code   durward.Code
		cause  string
	}{
		{"path", func(r *http.Request) { r.URL.Path = "/a//b" }, 400, durward.InvalidRequest, "double slash"},
		{"preflight", func(r *http.Request) {
			r.Method = "OPTIONS"
			r.Header.Set("Origin", "https://app.example")
			r.Header.Set("Access-Control-Request-Method", "GET")
		}, 204, "", ""},
		{"transport", func(r *http.Request) { r.Header.Set("X-Forwarded-Proto", "http") }, 403, durward.InsecureTransport, "plain http"},
		{"two credentials", func(r *http.Request) { r.Header["X-Api-Key"] = []string{"a", "b"} }, 400, durward.AmbiguousCredentials, "explicit"},
		{"malformed", func(r *http.Request) {
			scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			r.Header.Set("Authorization", cmp.Or(scheme, "Bearer")+" one two")
		}, 401, durward.MalformedCredentials, "octet"},
		{"scheme", func(r *http.Request) { r.Header.Set("Authorization", "Basic QTpC") }, 401, durward.UnsupportedScheme, "is not accepted"},
		{"none", func(r *http.Request) { r.Header.Del("Authorization") }, 401, durward.AuthenticationRequired, ""},
		{"verify", token("bad"), 401, durward.InvalidToken, ""},
		{"sure", token("weak"), 401, durward.StepUpRequired, "acr"},
		{"scope", token("narrow"), 403, durward.InsufficientScope, ""},
		{"policy", func(r *http.Request) { r.Header.Set("X-Deny", "1") }, 403, durward.Forbidden, ""},
	}
	request := func() *http.Request {
		r := httptest.NewRequest("GET", "http://api.example/x", nil)
		r.RemoteAddr = "10.0.0.1:4711"
		r.Header.Set("X-Forwarded-For", "203.0.113.9")
		r.Header.Set("X-Forwarded-Proto", "https")
		r.Header.Set("Authorization", "Bearer t")
		return r
	}
	if w := serve(h, request()); w.Code != 200 || w.Body.String() != "ada" {
		t.Fatalf("with nothing wrong: got %d %s, want 200 ada", w.Code, w.Body)
	}
	check := func(name string, r *http.Request, status int, code durward.Code, why string) {
		t.Helper()
		cause.Store("")
		w := serve(h, r)
		wants(t, name, w, status, code)
		if got := cause.Load().(string); !strings.Contains(got, why) {
			t.Errorf("%s: the cause is %q, want one that tells of %q", name, got, why)
		}
	}
	for i, first := range steps {
		r := request()
		first.spoil(r)
		check(first.name, r, first.status, first.code, first.cause)
		for _, later := range steps[i+1:] {
			r := request()
			later.spoil(r)
			first.spoil(r)
			check(first.name+" before "+later.name, r, first.status, first.code, first.cause)
		}
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	// person returns a scheme that authenticates every request as p.
	person := func(p durward.Principal) durward.Scheme {
		return durward.Bearer(func(context.Context, string) (*durward.Principal, error) { return &p, nil })
	}
	const one, two = "urn:durward:acr:1fa", "urn:durward:acr:2fa"
	for _, c := range []struct {
		name      string
		who       durward.Principal
		policy    durward.Policy
		code      durward.Code // empty: let through
		challenge string
	}{
		{"nothing wanted", durward.Principal{}, durward.Policy{}, "", ""},
		{"all scopes", durward.Principal{Scopes: []string{"b", "a"}}, durward.Policy{Scopes: []string{"a", "b"}}, "", ""},
		{"one scope of two", durward.Principal{Scopes: []string{"a"}}, durward.Policy{Scopes: []string{"a", "b"}}, durward.InsufficientScope, `scope="a b"`},
		{"scopes are compared octet by octet", durward.Principal{Scopes: []string{"A", "ab", "a b"}}, durward.Policy{Scopes: []string{"a"}}, durward.InsufficientScope, `scope="a"`},
		{"no scopes are none", durward.Principal{}, durward.Policy{Scopes: []string{"a"}}, durward.InsufficientScope, `scope="a"`},
		{"the acr", durward.Principal{ACR: two}, durward.Policy{ACR: []string{two}}, "", ""},
		{"one of the acrs", durward.Principal{ACR: "x"}, durward.Policy{ACR: []string{"y", "x"}}, "", ""},
		{"a stronger acr", durward.Principal{ACR: "phr"}, durward.Policy{ACR: []string{one}}, "", ""},
		{"a weaker acr", durward.Principal{ACR: one}, durward.Policy{ACR: []string{two, "phr"}}, durward.StepUpRequired, `acr_values="urn:durward:acr:2fa phr"`},
		{"a foreign acr is not on the ladder", durward.Principal{ACR: "x"}, durward.Policy{ACR: []string{one}}, durward.StepUpRequired, `acr_values="urn:durward:acr:1fa"`},
		{"a ladder's acr is not a foreign one", durward.Principal{ACR: "phr"}, durward.Policy{ACR: []string{"x"}}, durward.StepUpRequired, `acr_values="x"`},
		{"fresh to the second", durward.Principal{AuthTime: noon.Add(-time.Minute)}, durward.Policy{MaxAge: time.Minute}, "", ""},
		{"a second too old", durward.Principal{AuthTime: noon.Add(-61 * time.Second)}, durward.Policy{MaxAge: time.Minute}, durward.StepUpRequired, `max_age="60"`},
		{"time unknown", durward.Principal{ACR: one}, durward.Policy{MaxAge: time.Minute}, durward.StepUpRequired, `max_age="60"`},
		{"time unknown, any age", durward.Principal{ACR: one}, durward.Policy{MaxAge: math.MaxInt64}, durward.StepUpRequired, `max_age="9223372036"`},
		{"too old and scope missing", durward.Principal{AuthTime: noon.Add(-time.Hour)}, durward.Policy{MaxAge: time.Minute, Scopes: []string{"a"}}, durward.StepUpRequired, `scope="a"`},
		{"cannot step up, acr", durward.Principal{}, durward.Policy{ACR: []string{one}}, durward.Forbidden, ""},
		{"cannot step up, age", durward.Principal{}, durward.Policy{MaxAge: time.Minute}, durward.Forbidden, ""},
		{"allowed", durward.Principal{}, durward.Policy{Allow: func(_ *http.Request, p *durward.Principal) error {
			if p == nil || p.Subject != "ada" {
				return durward.Forbidden
			}
			return nil
		}}, "", ""},
		{"not allowed", durward.Principal{}, durward.Policy{Allow: func(*http.Request, *durward.Principal) error {
			return fmt.Errorf("not on a Monday: %w", durward.Forbidden)
		}}, durward.Forbidden, ""},
		{"another code", durward.Principal{}, durward.Policy{Allow: func(*http.Request, *durward.Principal) error { return durward.NotFound }}, durward.NotFound, ""},
		{"undecided", durward.Principal{}, durward.Policy{Allow: func(*http.Request, *durward.Principal) error { return io.ErrUnexpectedEOF }}, durward.AuthUnavailable, ""},
		{"optional", durward.Principal{}, durward.Policy{Optional: true}, "", ""},
		{"optional does not lower what credentials need", durward.Principal{}, durward.Policy{Optional: true, Scopes: []string{"a"}}, durward.InsufficientScope, `scope="a"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.who.Subject, c.who.Scheme = "ada", "Bearer"
			g := newGuard(t, durward.Config{Schemes: []durward.Scheme{person(c.who)}})
			w := serve(g.Require(c.policy, hello), get("t"))
			p, err := g.Check(get("t"), c.policy)
			if c.code == "" {
				if w.Code != 200 || w.Body.String() != "ada" || err != nil || p.Subject != "ada" {
					t.Errorf("got %d %s and from Check %+v, %v, want ada let through", w.Code, w.Body, p, err)
				}
				return
			}
			wants(t, "Require", w, c.code.Status(), c.code)
			if !errors.Is(err, c.code) || p != nil {
				t.Errorf("Check: got %+v, %v, want %s", p, err, c.code)
			}
			if strings.Contains(err.Error(), "signed in 2562047h") {
				t.Errorf("the cause counts from a sign-in that nobody knows of: %v", err)
			}
			got := strings.Join(w.Header()["Www-Authenticate"], "\n")
			if !strings.Contains(got, c.challenge) || c.challenge == "" && got != "" {
				t.Errorf("got the challenges %q, want one with %q", got, c.challenge)
			}
		})
	}
}

func TestOptional(t *testing.T) {
	t.Parallel()
	g := newGuard(t, durward.Config{})
	var judged []*durward.Principal
	h := g.Require(durward.Policy{Optional: true, Allow: func(_ *http.Request, p *durward.Principal) error {
		judged = append(judged, p)
		return nil
	}}, hello)
	if w := serve(h, get("")); w.Code != 200 || w.Body.String() != "nobody" || w.Header().Get("Cache-Control") != "" {
		t.Errorf("no credentials: got %d %s, %v, want 200 nobody and no Cache-Control", w.Code, w.Body, w.Header())
	}
	if w := serve(h, get("good")); w.Code != 200 || w.Body.String() != "ada" || w.Header().Get("Cache-Control") != "private" {
		t.Errorf("good credentials: got %d %s, %v, want 200 ada, private", w.Code, w.Body, w.Header())
	}
	if len(judged) != 2 || judged[0] != nil || judged[1] == nil {
		t.Errorf("Allow saw %v, want nobody and ada", judged)
	}
	wants(t, "expired", serve(h, get("expired")), 401, durward.TokenExpired)
	wants(t, "outage", serve(h, get("outage")), 503, durward.AuthUnavailable)
	basic := get("")
	basic.Header.Set("Authorization", "Basic QTpC")
	wants(t, "another scheme", serve(h, basic), 401, durward.UnsupportedScheme)
}

// An outage is never a 401: a client that is told 401 throws its tokens away.
func TestNoCodeIsNever401(t *testing.T) {
	t.Parallel()
	const secret = "postgres://durward:hunter2@10.0.0.7"
	for name, err := range map[string]error{
		"plain":             errors.New(secret),
		"wrapped":           fmt.Errorf("%s: %w", secret, io.ErrUnexpectedEOF),
		"cancelled":         fmt.Errorf("%s: %w", secret, context.Canceled),
		"timed out":         fmt.Errorf("%s: %w", secret, context.DeadlineExceeded),
		"joined":            errors.Join(errors.New(secret), io.EOF),
		"a code of nobody":  fmt.Errorf("%s: %w", secret, durward.Code("INVALID_TOKENS")),
		"no code at all":    fmt.Errorf("%s: %w", secret, durward.Code("")),
		"refusal, no code":  &durward.Refusal{Err: errors.New(secret)},
		"refusal, bad code": fmt.Errorf("%s: %w", secret, &durward.Refusal{Code: "unauthorized", Err: errors.New(secret)}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var told *durward.Refusal
			g := newGuard(t, durward.Config{
				OnRefusal: func(_ *http.Request, f *durward.Refusal) { told = f },
				Schemes: []durward.Scheme{durward.Bearer(func(_ context.Context, token string) (*durward.Principal, error) {
					if token == "good" {
						return &durward.Principal{Subject: "ada"}, nil
					}
					return nil, err
				})},
			})
			undecided := durward.Policy{Allow: func(*http.Request, *durward.Principal) error { return err }}
			for where, h := range map[string]http.Handler{
				"the verifier": g.Handler(never(t)),
				"optional":     g.Require(durward.Policy{Optional: true}, never(t)),
				"Allow":        g.Require(undecided, never(t)),
				"a handler":    http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.Refuse(w, r, err) }),
			} {
				token := "t"
				if where == "Allow" {
					token = "good"
				}
				told = nil
				w := serve(h, get(token))
				wants(t, where, w, 503, durward.AuthUnavailable)
				if w.Header().Get("Retry-After") == "" || w.Header()["Www-Authenticate"] != nil {
					t.Errorf("%s: got %v, want Retry-After and no challenge", where, w.Header())
				}
				if told == nil || !strings.Contains(told.Error(), secret) {
					t.Errorf("%s: OnRefusal was told %v, want the true cause", where, told)
				}
				if answer := fmt.Sprint(w.Header(), w.Body); strings.Contains(answer, "hunter2") {
					t.Errorf("%s: the client reads the cause:\n%s", where, answer)
				}
			}
		})
	}
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.Bearer(func(context.Context, string) (*durward.Principal, error) { return nil, nil })}})
	wants(t, "neither principal nor error", serve(g.Handler(never(t)), get("t")), 503, durward.AuthUnavailable)
}

// The credentials select the scheme, never the order of configuration, and there is no fallback.
func TestPresentedDecides(t *testing.T) {
	t.Parallel()
	wrong := fmt.Errorf("wrong: %w", durward.InvalidCredentials)
	for _, c := range []struct {
		name    string
		fields  []string // in which something is presented
		err     error    // of the explicit ones
		subject string
		code    durward.Code
	}{
		{"an explicit one", lines("Key"), nil, "1 by Key", ""},
		{"the other", lines("Other"), nil, "1 by Other", ""},
		{"an ambient one", lines("Cookie"), nil, "1 by Cookie", ""},
		{"an explicit one wins", lines("Cookie", "Other"), nil, "1 by Other", ""},
		{"no falling back on the ambient", lines("Cookie", "Other"), wrong, "", durward.InvalidCredentials},
		{"no falling back on the other explicit one", lines("Key"), wrong, "", durward.InvalidCredentials},
		{"an outage does not fall back", lines("Cookie", "Key"), io.EOF, "", durward.AuthUnavailable},
		{"a scheme that is not accepted does not fall back", lines("Cookie", "Authorization"), nil, "", durward.UnsupportedScheme},
		{"none", nil, nil, "", durward.AuthenticationRequired},
	} {
		var cookie atomic.Int64
		schemes := []durward.Scheme{fake{name: "Cookie", ambient: true, asked: &cookie}, fake{name: "Key", err: c.err}, durward.Session(), fake{name: "Other", err: c.err}}
		for _, order := range []string{"as given", "backwards"} {
			g := newGuard(t, durward.Config{Schemes: slices.Clone(schemes)})
			slices.Reverse(schemes)
			r := get("")
			for _, f := range c.fields {
				r.Header.Set(f, "1")
			}
			if r.Header.Get("Authorization") != "" {
				r.Header.Set("Authorization", "Bearer t")
			}
			w := serve(g.Handler(hello), r)
			if c.code != "" {
				wants(t, c.name+", "+order, w, c.code.Status(), c.code)
			} else if w.Code != 200 || w.Body.String() != c.subject {
				t.Errorf("%s, %s: got %d %s, want 200 %s", c.name, order, w.Code, w.Body, c.subject)
			}
		}
		if asked, alone := cookie.Load(), len(c.fields) == 1 && c.fields[0] == "Cookie"; asked > 0 != alone {
			t.Errorf("%s: the ambient scheme was asked %d times", c.name, asked)
		}
	}
}

// Challenges are sent strongest first, each on its own line, and only the scheme of the refused
// credentials has an error.
func TestChallenges(t *testing.T) {
	t.Parallel()
	schemes := []durward.Scheme{fake{name: "Basic", err: durward.InvalidCredentials}, fake{name: "Unheard-Of"}, durward.Session(), durward.Bearer(verify), fake{name: "ApiKey"}, fake{name: "Digest"}, fake{name: "DPoP"}}
	names := func(w *httptest.ResponseRecorder) (list []string) {
		for _, line := range w.Header()["Www-Authenticate"] {
			c, err := durward.ParseChallenges(lines(line))
			if err != nil || len(c) != 1 {
				t.Fatalf("%q is not one challenge: %v", line, err)
			}
			if realm, _ := c[0].Param("realm"); realm != "api" {
				t.Errorf("%q has not the realm", line)
			}
			list = append(list, c[0].Scheme)
		}
		return list
	}
	for range 2 {
		slices.Reverse(schemes)
		g := newGuard(t, durward.Config{Schemes: slices.Clone(schemes), LoginURL: "https://auth.example/login"})
		w := serve(g.Handler(never(t)), get(""))
		if got, want := names(w), lines("DPoP", "Bearer", "ApiKey", "Session", "Digest", "Basic", "Unheard-Of"); !slices.Equal(got, want) {
			t.Errorf("got the challenges %q, want %q", got, want)
		}
		if strings.Contains(fmt.Sprint(w.Header()), "error=") {
			t.Errorf("no credentials, and yet an error (RFC 6750 s3.1): %q", w.Header()["Www-Authenticate"])
		}

		r := get("")
		r.Header.Set("Basic", "1")
		w = serve(g.Handler(never(t)), r)
		wants(t, "Basic", w, 401, durward.InvalidCredentials)
		for _, line := range w.Header()["Www-Authenticate"] {
			if strings.HasPrefix(line, "Basic ") != strings.Contains(line, "INVALID_CREDENTIALS") {
				t.Errorf("Basic was refused, and the challenge is %s", line)
			}
		}

		w = serve(g.Handler(never(t)), get("expired"))
		wants(t, "Bearer", w, 401, durward.TokenExpired)
		for _, line := range w.Header()["Www-Authenticate"] {
			if strings.HasPrefix(line, "Bearer ") != strings.Contains(line, `error="invalid_token"`) || strings.Contains(line, "TOKEN_EXPIRED") {
				t.Errorf("Bearer was refused, and the challenge is %s", line)
			}
		}

		// More scope is asked for in the scheme of the credentials alone, and only if
		// that can say so.
		write := durward.Policy{Scopes: []string{"write"}}
		w = serve(g.Require(write, never(t)), get("good"))
		wants(t, "scope", w, 403, durward.InsufficientScope)
		if got := names(w); !slices.Equal(got, lines("Bearer")) {
			t.Errorf("Bearer lacks a scope: got the challenges %q, want Bearer's", got)
		}
		r = get("")
		r.Header.Set("Digest", "1")
		w = serve(g.Require(write, never(t)), r)
		wants(t, "scope of Digest", w, 403, durward.InsufficientScope)
		if got := names(w); got != nil {
			t.Errorf("Digest lacks a scope: got the challenges %q, want none", got)
		}

		// Outside the guard no credentials were refused.
		w = serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.Refuse(w, r, durward.InvalidToken) }), get("good"))
		wants(t, "outside", w, 401, durward.InvalidToken)
		if strings.Contains(fmt.Sprint(w.Header()), "error=") || strings.Contains(fmt.Sprint(w.Header()), "INVALID") {
			t.Errorf("outside the guard, and yet an error: %q", w.Header()["Www-Authenticate"])
		}

		ambiguous := get("a")
		ambiguous.Header.Add("Authorization", "Bearer b")
		w = serve(g.Handler(never(t)), ambiguous)
		wants(t, "two", w, 400, durward.AmbiguousCredentials)
		if got := names(w); !slices.Equal(got, lines("DPoP", "Bearer")) {
			t.Errorf("two credentials: got the challenges %q, want those of the OAuth family", got)
		}
	}
}

// A scheme or a policy that holds a line feed costs its parameters, not the
// challenge, and splits nothing.
func TestChallengeNeverMissing(t *testing.T) {
	t.Parallel()
	g := newGuard(t, durward.Config{})
	w := serve(g.Require(durward.Policy{ACR: []string{"a\r\nX: y"}}, never(t)), get("weak"))
	wants(t, "acr with a line feed", w, 401, durward.StepUpRequired)
	if got, want := w.Header()["Www-Authenticate"], lines(`Bearer realm="api"`); !slices.Equal(got, want) {
		t.Errorf("got the challenges %q, want %q", got, want)
	}
	bad := brokenScheme{}
	w = serve(newGuard(t, durward.Config{Schemes: []durward.Scheme{bad}}).Handler(never(t)), get(""))
	if got, want := w.Header()["Www-Authenticate"], lines(`Odd realm="api"`); !slices.Equal(got, want) {
		t.Errorf("got the challenges %q, want %q", got, want)
	}
}

type brokenScheme struct{ durward.Scheme }

func (brokenScheme) Presented(*http.Request) (bool, bool) { return false, false }

func (brokenScheme) Challenges(*http.Request, durward.Code) []durward.Challenge {
	return []durward.Challenge{{Scheme: "Odd", Params: params("a b", "\n")}}
}

func TestNested(t *testing.T) {
	t.Parallel()
	var verified atomic.Int64
	count := func(ctx context.Context, token string) (*durward.Principal, error) {
		verified.Add(1)
		return verify(ctx, token)
	}
	a := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.Bearer(count)}})
	b := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.Bearer(func(_ context.Context, token string) (*durward.Principal, error) {
		verified.Add(1)
		if token == "good" {
			return &durward.Principal{Subject: "bob"}, nil
		}
		return nil, durward.InvalidToken
	})}, Realm: "inner"})
	optional, write, read := durward.Policy{Optional: true}, durward.Policy{Scopes: []string{"write"}}, durward.Policy{Scopes: []string{"read"}}
	// derived stands between two guards and hands its own context and a copy of
	// the request on.
	derived := func(next http.Handler) http.Handler {
		type key struct{}
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithCancel(context.WithValue(r.Context(), key{}, "value"))
			defer cancel()
			next.ServeHTTP(w, r.Clone(ctx))
		})
	}
	for _, c := range []struct {
		name     string
		handler  http.Handler
		token    string
		verified int64
		body     string
		code     durward.Code
		realm    string
	}{
		{"the same guard verifies once", a.Handler(a.Handler(a.Require(read, hello))), "good", 1, "ada", "", ""},
		{"through a derived context", a.Handler(derived(a.Require(read, hello))), "good", 1, "ada", "", ""},
		{"the inner policy is judged", a.Handler(derived(a.Require(write, never(t)))), "good", 1, "", durward.InsufficientScope, "api"},
		{"the outer policy is judged", a.Require(write, a.Handler(never(t))), "good", 1, "", durward.InsufficientScope, "api"},
		{"optional outside, nobody", a.Require(optional, a.Require(optional, hello)), "", 0, "nobody", "", ""},
		{"optional outside, wanted inside", a.Require(optional, derived(a.Handler(never(t)))), "", 0, "", durward.AuthenticationRequired, "api"},
		{"another guard judges for itself", a.Handler(b.Handler(hello)), "good", 2, "bob", "", ""},
		{"another guard refuses for itself", a.Handler(b.Handler(never(t))), "weak", 2, "", durward.InvalidToken, "inner"},
		{"a, b, a again", a.Handler(b.Handler(a.Handler(hello))), "good", 3, "ada", "", ""},
		{"open outside", a.Open(a.Require(read, hello)), "good", 1, "ada", "", ""},
		{"open outside, nobody", a.Open(a.Handler(never(t))), "", 0, "", durward.AuthenticationRequired, "api"},
	} {
		verified.Store(0)
		w := serve(c.handler, get(c.token))
		if c.code != "" {
			wants(t, c.name, w, c.code.Status(), c.code)
			if got := w.Header().Get("Www-Authenticate"); !strings.Contains(got, `realm="`+c.realm+`"`) {
				t.Errorf("%s: got the challenge %s, want the realm %s", c.name, got, c.realm)
			}
		} else if w.Code != 200 || w.Body.String() != c.body {
			t.Errorf("%s: got %d %s, want 200 %s", c.name, w.Code, w.Body, c.body)
		}
		if got := verified.Load(); got != c.verified {
			t.Errorf("%s: verified %d times, want %d", c.name, got, c.verified)
		}
	}
	// The outer principal does not change.
	outer := a.Require(optional, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serve(b.Handler(hello), r)
		hello(w, r)
	}))
	if w := serve(outer, get("good")); w.Body.String() != "ada" {
		t.Errorf("after another guard inside: got %s, want ada", w.Body)
	}
}

// A ResponseWriter of no kind that this package knows.
type ownWriter struct{ http.ResponseWriter }

func TestResponseWriterIsNotWrapped(t *testing.T) {
	t.Parallel()
	g := newGuard(t, durward.Config{Preflight: nil})
	given := &ownWriter{httptest.NewRecorder()}
	reached := 0
	same := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached++
		if got, ok := w.(*ownWriter); !ok || got != given {
			t.Errorf("the handler got the writer %T, want the very one that was given", w)
		}
	})
	withPreflight := newGuard(t, durward.Config{Preflight: same})
	preflight := httptest.NewRequest("OPTIONS", "https://api.example/x", nil)
	preflight.Header = http.Header{"Origin": {"https://app.example"}, "Access-Control-Request-Method": {"GET"}}
	g.Handler(same).ServeHTTP(given, get("good"))
	g.Require(durward.Policy{Optional: true}, g.Handler(same)).ServeHTTP(given, get("good"))
	g.Open(same).ServeHTTP(given, get(""))
	withPreflight.Handler(never(t)).ServeHTTP(given, preflight)
	if reached != 4 {
		t.Errorf("reached %d handlers, want 4", reached)
	}
}

// A thousand people at once never get each other's principal.
func TestIdentitiesDoNotMix(t *testing.T) {
	t.Parallel()
	const people, requests = 1000, 5
	var waiting sync.WaitGroup
	waiting.Add(people)
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.Bearer(func(ctx context.Context, token string) (*durward.Principal, error) {
		if strings.HasSuffix(token, ".0") {
			// All first requests are in the handler at the same time.
			waiting.Done()
			waiting.Wait()
		}
		if strings.HasPrefix(token, "bad") {
			return nil, fmt.Errorf("%s: %w", token, durward.InvalidToken)
		}
		return &durward.Principal{Subject: token, Scopes: []string{token}}, nil
	})}, OnRefusal: func(r *http.Request, f *durward.Refusal) {
		if sent := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "); !strings.Contains(f.Error(), sent) {
			t.Errorf("the refusal of %s tells of %v", sent, f)
		}
	}})
	h := g.Handler(g.Require(durward.Policy{Allow: func(r *http.Request, p *durward.Principal) error {
		if p != durward.From(r.Context()) || !p.HasScope(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")) {
			return fmt.Errorf("Allow was given %+v: %w", p, durward.Forbidden)
		}
		return nil
	}}, hello))
	var all sync.WaitGroup
	for person := range people {
		all.Go(func() {
			for n := range requests {
				kind := "good"
				if person%10 == 0 {
					kind = "bad"
				}
				token := fmt.Sprintf("%s-%d.%d", kind, person, n)
				w := serve(h, get(token))
				if kind == "bad" && (w.Code != 401 || strings.Contains(w.Body.String(), token)) || kind == "good" && (w.Code != 200 || w.Body.String() != token) {
					t.Errorf("%s: got %d %s", token, w.Code, w.Body)
				}
			}
		})
	}
	all.Wait()
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	fail := durward.Bearer(func(context.Context, string) (*durward.Principal, error) {
		t.Error("a preflight was authenticated")
		return nil, durward.InvalidToken
	})
	preflight := func() *http.Request {
		r := get("t")
		r.Method = "OPTIONS"
		r.Header.Set("Origin", "https://app.example")
		r.Header.Set("Access-Control-Request-Method", "DELETE")
		return r
	}
	own := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	plain := newGuard(t, durward.Config{Schemes: []durward.Scheme{fail}})
	cors := newGuard(t, durward.Config{Schemes: []durward.Scheme{fail}, Preflight: own})
	for name, c := range map[string]struct {
		h    http.Handler
		want int
	}{
		"Require":                  {plain.Handler(never(t)), 204},
		"Open":                     {plain.Open(never(t)), 204},
		"Require, Preflight given": {cors.Handler(never(t)), 418},
		"Open, Preflight given":    {cors.Open(never(t)), 418},
	} {
		w := serve(c.h, preflight())
		if w.Code != c.want || w.Body.Len() > 0 || w.Header()["Www-Authenticate"] != nil || w.Header().Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: got %d, %v, want %d and no challenge", name, w.Code, w.Header(), c.want)
		}
		if c.want == 204 && !strings.Contains(w.Header().Get("Vary"), "Origin") {
			t.Errorf("%s: Vary is %q, want Origin in it", name, w.Header().Get("Vary"))
		}
		crooked := preflight()
		crooked.URL.Path = "/a/../b"
		wants(t, name+", crooked path", serve(c.h, crooked), 400, durward.InvalidRequest)
	}
	for name, spoil := range map[string]func(*http.Request){
		"no Origin":         func(r *http.Request) { r.Header.Del("Origin") },
		"no request method": func(r *http.Request) { r.Header.Del("Access-Control-Request-Method") },
		"another method":    func(r *http.Request) { r.Method = "GET" },
	} {
		r := preflight()
		r.Header.Del("Authorization")
		spoil(r)
		wants(t, name, serve(cors.Handler(never(t)), r), 401, durward.AuthenticationRequired)
	}
}

// RFC 9110 s9.3.2: HEAD gets the fields of GET and no body.
func TestHead(t *testing.T) {
	t.Parallel()
	g := newGuard(t, durward.Config{})
	for _, token := range []string{"", "expired", "outage"} {
		full := serve(g.Handler(never(t)), get(token))
		r := get(token)
		r.Method = "HEAD"
		w := serve(g.Handler(never(t)), r)
		if w.Code != full.Code || w.Body.Len() > 0 {
			t.Errorf("%q: got %d and a body of %d octets, want %d and none", token, w.Code, w.Body.Len(), full.Code)
		}
		if w.Header().Get("Durward-Denial") == full.Header().Get("Durward-Denial") {
			t.Errorf("%q: two refusals have one id", token)
		}
		w.Header().Del("Durward-Denial")
		full.Header().Del("Durward-Denial")
		if got, want := w.Header(), full.Header(); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: HEAD's fields are\n%v\nGET's\n%v", token, got, want)
		}
	}
}

func TestAnonymous(t *testing.T) {
	t.Parallel()
	p := durward.From(context.Background())
	if p != nil || !p.Anonymous() || p.HasScope("a") || p.HasScope("a", "b") {
		t.Errorf("outside a guard: got %+v, want nobody, who may nothing", p)
	}
	if got := durward.ClientAddr(context.Background()); got.IsValid() {
		t.Errorf("outside a guard the client's address is %v, want none", got)
	}
	g := newGuard(t, durward.Config{})
	reached := false
	serve(g.Open(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		reached = true
		if p := durward.From(r.Context()); p != nil {
			t.Errorf("inside Open: got %+v, want nobody, since credentials are not looked at", p)
		}
		if got := durward.ClientAddr(r.Context()); got != netip.MustParseAddr("192.0.2.1") {
			t.Errorf("inside Open: the client's address is %v, want 192.0.2.1", got)
		}
	})), get("good"))
	if !reached {
		t.Error("Open did not let the request through")
	}
	known := &durward.Principal{Scopes: []string{"a", "b"}}
	if known.Anonymous() || !known.HasScope("b", "a") || known.HasScope("a", "c") || !known.HasScope() {
		t.Errorf("%+v: wrong about itself", known)
	}
}

// What shared caches are told of an answer to credentials.
func TestCaching(t *testing.T) {
	t.Parallel()
	g := newGuard(t, durward.Config{})
	const read = "Authorization, X-API-Key"
	for range 2 { // changes by a handler do not affect the next response
		w := serve(g.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Add("Vary", "Origin")
			w.Header().Add("Cache-Control", "max-age=5")
		})), get("good"))
		if got, want := fmt.Sprint(w.Header()["Vary"], w.Header()["Cache-Control"]), fmt.Sprint(lines(read, "Origin"), lines("private", "max-age=5")); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	w := httptest.NewRecorder()
	w.Header().Set("Vary", "Origin")
	w.Header().Set("Cache-Control", "public")
	g.Handler(hello).ServeHTTP(w, get("good"))
	if got, want := fmt.Sprint(w.Header()["Vary"], w.Header()["Cache-Control"]), fmt.Sprint(lines("Origin", read), lines("public")); got != want {
		t.Errorf("fields set before the guard: got %s, want %s", got, want)
	}
	w = serve(g.Handler(never(t)), get(""))
	if w.Header().Get("Cache-Control") != "no-store" || !strings.Contains(w.Header().Get("Vary"), "Authorization") {
		t.Errorf("refused: got %v, want no-store and Vary", w.Header())
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	told := 0
	g := newGuard(t, durward.Config{OnRefusal: func(*http.Request, *durward.Refusal) { told++ }})
	if p, err := g.Check(get(""), durward.Policy{Optional: true}); p != nil || err != nil {
		t.Errorf("optional: got %+v, %v, want nobody and no error", p, err)
	}
	r := get("expired")
	p, err := g.Check(r, durward.Policy{})
	var f *durward.Refusal
	if p != nil || !errors.As(err, &f) {
		t.Fatalf("got %+v, %v, want a Refusal", p, err)
	}
	if f.Status != 401 || f.Code != durward.TokenExpired || f.Scheme != "Bearer" || len(f.Challenges) != 1 || len(f.ID) != 26 || f.Detail == "" || f.Hint == "" || !strings.Contains(f.Error(), "3s ago") {
		t.Errorf("got an incomplete refusal: %+v", f)
	}
	if told != 0 {
		t.Error("Check answered")
	}
	w := serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.Refuse(w, r, err) }), r)
	wants(t, "refused", w, 401, durward.TokenExpired)
	if got := w.Header().Get("Durward-Denial"); got != f.ID || told != 1 {
		t.Errorf("refused as %s, told %d times, want %s, once", got, told, f.ID)
	}
	if got, want := w.Header()["Www-Authenticate"], lines(f.Challenges[0].String()); !slices.Equal(got, want) {
		t.Errorf("got the challenges %q, want %q", got, want)
	}
}

// Tokens in places where they do not belong are not taken, and long ones are not
// handed to the verifier.
func TestBearer(t *testing.T) {
	t.Parallel()
	var seen atomic.Value
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.Bearer(func(_ context.Context, token string) (*durward.Principal, error) {
		seen.Store(token)
		return &durward.Principal{Subject: "ada"}, nil
	})}})
	with := func(field string) *http.Request {
		r := get("")
		r.Header.Set("Authorization", field)
		return r
	}
	form := httptest.NewRequest("POST", "https://api.example/x", strings.NewReader("access_token=secret"))
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	query := httptest.NewRequest("GET", "https://api.example/x?access_token=secret", nil)
	for _, c := range []struct {
		name  string
		r     *http.Request
		token string
		code  durward.Code
	}{
		{"as registered", with("Bearer secret"), "secret", ""},
		{"lower case", with("bearer secret"), "secret", ""},
		{"upper case, blanks", with("BEARER   secret "), "secret", ""},
		{"16 KiB", with("Bearer " + strings.Repeat("a", 16<<10)), strings.Repeat("a", 16<<10), ""},
		{"over 16 KiB", with("Bearer " + strings.Repeat("a", 16<<10+1)), "", durward.InvalidToken},
		{"1 MiB", with("Bearer " + strings.Repeat("a", 1<<20)), "", durward.MalformedCredentials},
		{"parameters instead", with(`Bearer token="secret"`), "", durward.MalformedCredentials},
		{"nothing after it", with("Bearer"), "", durward.MalformedCredentials},
		{"a blank after it", with("Bearer "), "", durward.MalformedCredentials},
		{"no scheme", with("secret"), "", durward.MalformedCredentials},
		{"empty", with(""), "", durward.MalformedCredentials},
		{"two words", with("Bearer secret secret"), "", durward.MalformedCredentials},
		{"octets that are no token", with("Bearer se\xffcret"), "", durward.MalformedCredentials},
		{"two in a line", with("Bearer secret, Bearer secret"), "", durward.AmbiguousCredentials},
		{"another scheme", with("Basic c2VjcmV0"), "", durward.UnsupportedScheme},
		{"form", form, "", durward.AuthenticationRequired},
		{"query", query, "", durward.AuthenticationRequired},
	} {
		seen.Store("")
		w := serve(g.Handler(hello), c.r)
		if c.code != "" {
			wants(t, c.name, w, c.code.Status(), c.code)
		} else if w.Code != 200 {
			t.Errorf("%s: got %d %s, want 200", c.name, w.Code, w.Body)
		}
		if got := seen.Load().(string); got != c.token {
			t.Errorf("%s: the verifier was given %d octets, want %d", c.name, len(got), len(c.token))
		}
		if strings.Contains(fmt.Sprint(w.Header(), w.Body), "secret") {
			t.Errorf("%s: the answer repeats what was sent: %v %s", c.name, w.Header(), w.Body)
		}
	}
	if w := serve(g.Handler(hello), query); !strings.Contains(w.Body.String(), "query string") {
		t.Errorf("a token in the query: the answer does not say that it is not looked at: %s", w.Body)
	}
}

// MaxCredentials is the limit of all schemes, and the refusal of a longer token tells its length
// instead of calling it invalid.
func TestMaxCredentials(t *testing.T) {
	t.Parallel()
	var cause string
	g := newGuard(t, durward.Config{
		MaxCredentials: 100,
		Schemes:        []durward.Scheme{durward.Bearer(verify), durward.Basic(rightPair), durward.Digest(durward.DigestConfig{HA1: digestUsers})},
		OnRefusal:      func(_ *http.Request, f *durward.Refusal) { cause = f.Error() },
	})
	for _, c := range []struct {
		credentials string
		code        durward.Code // of the refusal
		long        bool
	}{
		{"Bearer " + strings.Repeat("a", 100), durward.InvalidToken, false},
		{"Bearer " + strings.Repeat("a", 101), durward.InvalidToken, true},
		{"Basic " + strings.Repeat("YTph", 25), durward.InvalidCredentials, false},
		{"Basic " + strings.Repeat("YTph", 26), durward.MalformedCredentials, true},
		{`Digest username="` + strings.Repeat("a", 101) + `"`, durward.MalformedCredentials, true},
	} {
		r := get("")
		r.Header.Set("Authorization", c.credentials)
		w := serve(g.Handler(never(t)), r)
		wants(t, c.credentials, w, 401, c.code)
		said := strings.Contains(w.Body.String(), "longer than the 100 octets") && strings.Contains(cause, "MaxCredentials")
		if said != c.long {
			t.Errorf("%s: got %s and the cause %s, want the limit in both: %t", c.credentials, w.Body, cause, c.long)
		}
		if c.long && strings.Contains(strings.Join(w.Header()["Www-Authenticate"], " ")+w.Body.String(), "not valid") {
			t.Errorf("%s: the refusal calls it invalid: %v %s", c.credentials, w.Header(), w.Body)
		}
	}
	// A large token passes with the setting.
	large := newGuard(t, durward.Config{MaxCredentials: 64 << 10, Schemes: []durward.Scheme{durward.Bearer(func(_ context.Context, token string) (*durward.Principal, error) {
		return &durward.Principal{Subject: fmt.Sprint(len(token))}, nil
	})}})
	if w := serve(large.Handler(hello), get(strings.Repeat("a", 48<<10))); w.Code != 200 || w.Body.String() != "49152" {
		t.Errorf("48 KiB of at most 64: got %d %s, want 200 49152", w.Code, w.Body)
	}
}

// A path of PublicURL is a prefix that a proxy removes: what clients see has it.
func TestPrefix(t *testing.T) {
	t.Parallel()
	var proofFor string
	g := newGuard(t, durward.Config{
		PublicURL: "https://example.com/api/",
		LoginURL:  "https://example.com/login",
		Proxies:   proxies,
		Schemes: []durward.Scheme{
			durward.Digest(durward.DigestConfig{HA1: digestUsers}),
			durward.DPoP(durward.DPoPConfig{Check: func(_ context.Context, p durward.DPoPProof) (*durward.Principal, error) {
				proofFor = p.URL
				return &durward.Principal{Subject: "ada"}, nil
			}}),
		},
	})
	r := get("")
	r.Header.Set("Authorization", "DPoP t")
	r.Header.Set("DPoP", "proof")
	if w := serve(g.Handler(hello), r); w.Code != 200 || proofFor != "https://example.com/api/x" {
		t.Errorf("proof: got %d for %q, want 200 for https://example.com/api/x", w.Code, proofFor)
	}
	challenge := asked(t, serve(g.Handler(hello), over("GET", "/x?a=b", "", "")), "WWW-Authenticate")
	nonce := value(challenge[slices.IndexFunc(challenge, func(c durward.Challenge) bool { return c.Scheme == "Digest" })], "nonce")
	for uri, want := range map[string]int{"/api/x?a=b": 200, "/x?a=b": 400, "/api/y": 400, "/api/api/x?a=b": 400} {
		c := digestClient{user: "ada", password: "secret", method: "GET", uri: uri, qop: "auth", cnonce: "c", nc: "00000001", algorithm: "SHA-256", realm: "api", nonce: nonce}
		if w := serve(g.Handler(hello), over("GET", "/x?a=b", "", c.credentials(nil))); w.Code != want {
			t.Errorf("Digest uri %s: got %d %s, want %d", uri, w.Code, w.Body, want)
		}
	}
	plain := httptest.NewRequest("GET", "http://example.com/x?a=b", nil)
	plain.Header = fields("Sec-Fetch-Dest", "document", "Sec-Fetch-Mode", "navigate")
	if w := serve(g.Handler(hello), plain); w.Code != 308 || w.Header().Get("Location") != "https://example.com/api/x?a=b" {
		t.Errorf("over http: got %d to %s, want 308 to https://example.com/api/x?a=b", w.Code, w.Header().Get("Location"))
	}
	page := over("GET", "/x?a=b", "", "")
	page.Header = plain.Header
	if w := serve(g.Require(durward.Policy{Pages: true}, hello), page); w.Code != 303 || w.Header().Get("Location") != "https://example.com/login?return_to=%2Fapi%2Fx%3Fa%3Db" {
		t.Errorf("sign-in: got %d to %s, want 303 back to /api/x?a=b", w.Code, w.Header().Get("Location"))
	}
}

// A navigation over plain http is redirected to the same page over https only.
func TestRedirectToHTTPS(t *testing.T) {
	t.Parallel()
	g := newGuard(t, durward.Config{PublicURL: "https://api.example"})
	for _, c := range []struct{ name, method, target, field, value, want string }{
		{"navigation", "GET", "/a?b=c&d", "Sec-Fetch-Dest", "document", "https://api.example/a?b=c&d"},
		{"navigation, HEAD", "HEAD", "/a", "Sec-Fetch-Mode", "navigate", "https://api.example/a"},
		{"an old browser", "GET", "/a%20b", "Accept", "text/html,*/*", "https://api.example/a%20b"},
		{"another host in the target", "GET", "http://evil.example/a", "Accept", "text/html", "https://api.example/a"},
		{"another host in the path", "GET", "//evil.example/a", "Accept", "text/html", ""},
		{"a script", "GET", "/a", "Sec-Fetch-Dest", "empty", ""},
		{"a frame", "GET", "/a", "Sec-Fetch-Dest", "iframe", ""},
		{"a form", "POST", "/a", "Sec-Fetch-Dest", "document", ""},
		{"a program", "GET", "/a", "Accept", "*/*", ""},
		{"a public URL without https would lead in a circle", "GET", "/a", "Accept", "text/html", ""},
	} {
		g := g
		if strings.HasPrefix(c.name, "a public URL without") {
			g = newGuard(t, durward.Config{PublicURL: "http://api.example"})
		}
		r := get("good")
		r.TLS, r.Method = nil, c.method
		u, err := r.URL.Parse("http://api.example/")
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(c.target, "//") {
			u.Path = c.target
		} else if u, err = u.Parse(c.target); err != nil {
			t.Fatal(err)
		}
		r.URL = u
		r.Header.Set(c.field, c.value)
		w := serve(g.Handler(never(t)), r)
		if got := w.Header().Get("Location"); got != c.want || (c.want != "") != (w.Code == 308) {
			t.Errorf("%s: got %d to %q, want %q", c.name, w.Code, got, c.want)
		}
	}
}
