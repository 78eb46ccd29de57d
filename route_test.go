package durward_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/durward-auth/durward"
)

// server is one guard with a scheme of each kind, as a server with several kinds of
// routes has it.
type server struct {
	guard                              *durward.Guard
	bearer, basic, key, cookie, signIn durward.Scheme
	dpop                               durward.Scheme
	verified                           atomic.Int64 // how often bearer and cookie were asked
}

func newServer(t testing.TB) *server {
	t.Helper()
	s := &server{signIn: durward.Session(), basic: durward.Basic(checkPassword), key: durward.APIKey("dk_", checkKey)}
	s.bearer = durward.Bearer(func(ctx context.Context, token string) (*durward.Principal, error) {
		s.verified.Add(1)
		return verify(ctx, token)
	})
	s.cookie = durward.Cookie(cookieName, func(ctx context.Context, value string) (*durward.Principal, error) {
		s.verified.Add(1)
		return checkSession(ctx, value)
	})
	s.dpop = durward.DPoP(durward.DPoPConfig{Check: checkProof, Nonces: true,
		CheckKey: func(context.Context, durward.DPoPProof) (*durward.HeldKey, error) { return nil, durward.InvalidProof }})
	s.guard = newGuard(t, durward.Config{Schemes: []durward.Scheme{s.bearer, s.key, s.cookie, s.dpop, s.basic, s.signIn},
		Proxies: []netip.Prefix{netip.MustParsePrefix("192.0.2.1/32")}})
	return s
}

// asking returns a GET by https with fields, given as name and value in turn.
func asking(fields ...string) *http.Request {
	r := get("")
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	r.Header.Set("X-Forwarded-Proto", "https")
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	return r
}

// challenged returns the schemes of the challenges in a response, in their order.
func challenged(w *httptest.ResponseRecorder) string {
	var names []string
	for _, line := range w.Header()["Www-Authenticate"] {
		name, _, _ := strings.Cut(line, " ")
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

func TestRouteSchemes(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	const token, basic, key, cookie = "Bearer good", "Basic YWRhOmNvcnJlY3QgaG9yc2U=", "dk_good", cookieName + "=good"
	only := func(schemes ...durward.Scheme) durward.Policy { return durward.Policy{Schemes: schemes} }
	for _, c := range []struct {
		name       string
		policy     durward.Policy
		request    *http.Request
		body       string
		code       durward.Code
		challenges string
	}{
		{"nil, token: all schemes are accepted", durward.Policy{}, asking("Authorization", token), "ada", "", ""},
		{"nil, password: all schemes are accepted", durward.Policy{}, asking("Authorization", basic), "ada", "", ""},
		{"nil, nothing: all schemes are challenged", durward.Policy{}, asking(), "", durward.AuthenticationRequired, "DPoP Bearer ApiKey Session Basic"},
		{"Bearer, token: accepted", only(s.bearer), asking("Authorization", token), "ada", "", ""},
		{"Bearer, nothing: Bearer is challenged", only(s.bearer), asking(), "", durward.AuthenticationRequired, "Bearer"},
		{"Bearer, password: scheme not accepted", only(s.bearer), asking("Authorization", basic), "", durward.UnsupportedScheme, "Bearer"},
		{"Bearer, DPoP token: scheme not accepted", only(s.bearer), asking("Authorization", "DPoP good", "DPoP", "proof"), "", durward.UnsupportedScheme, "Bearer"},
		{"Bearer, key as token: the verifier of tokens refuses it", only(s.bearer), asking("Authorization", "Bearer dk_good"), "", durward.InvalidToken, "Bearer"},
		{"Bearer, key in its own field: no credentials", only(s.bearer), asking("X-API-Key", key), "", durward.AuthenticationRequired, "Bearer"},
		{"Bearer, bad token: refused, Bearer alone", only(s.bearer), asking("Authorization", "Bearer expired"), "", durward.TokenExpired, "Bearer"},
		{"key, key: accepted", only(s.key), asking("X-API-Key", key), "robot", "", ""},
		{"key, key as token: accepted", only(s.key), asking("Authorization", "Bearer dk_good"), "robot", "", ""},
		{"key, token: scheme not accepted", only(s.key), asking("Authorization", token), "", durward.UnsupportedScheme, "ApiKey"},
		{"two in any order, nothing: strongest first", only(s.basic, s.bearer), asking(), "", durward.AuthenticationRequired, "Bearer Basic"},
		{"named twice, nothing: challenged once", only(s.basic, s.basic), asking(), "", durward.AuthenticationRequired, "Basic"},
		{"Session equal to the guard's, nothing: challenged", only(durward.Session()), asking(), "", durward.AuthenticationRequired, "Session"},
		{"Bearer, token and key: two credentials all the same", only(s.bearer), asking("Authorization", token, "X-API-Key", key), "", durward.AmbiguousCredentials, "Bearer"},
		{"cookie, cookie: accepted", only(s.cookie), asking("Cookie", cookie), "ada", "", ""},
		{"optional Bearer, password: refused", durward.Policy{Schemes: []durward.Scheme{s.bearer}, Optional: true}, asking("Authorization", basic), "", durward.UnsupportedScheme, "Bearer"},
		{"Bearer and a scope, too few: Bearer says it", durward.Policy{Schemes: []durward.Scheme{s.bearer}, Scopes: []string{"write"}}, asking("Authorization", token), "", durward.InsufficientScope, "Bearer"},
	} {
		handlers := map[string]http.Handler{
			"Require": s.guard.Require(c.policy, hello),
			"Check": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				p, err := s.guard.Check(r, c.policy)
				if err != nil {
					s.guard.Refuse(w, r, err)
					return
				}
				fmt.Fprint(w, p.Subject)
			}),
			"Require inside Open": s.guard.OpenWith(s.guard.Require(c.policy, hello), s.signIn),
		}
		for how, h := range handlers {
			w := serve(h, c.request.Clone(t.Context()))
			if code := codeOf(w); code != c.code || c.code == "" && w.Body.String() != c.body || challenged(w) != c.challenges {
				t.Errorf("%s, by %s: got %d %s %q, challenges %q; want %s %q, challenges %q", c.name, how, w.Code, code, w.Body, challenged(w), c.code, c.body, c.challenges)
			}
		}
	}
}

// An ambient credential of a scheme that a route does not accept counts for nothing:
// it neither opens the route nor is it refused, cleared or checked.
func TestRouteAmbient(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	for _, c := range []struct {
		name, cookie, method string
		optional             bool
		status               int
	}{
		{"good cookie: no credentials", "good", "GET", false, 401},
		{"good cookie, optional: anonymous", "good", "GET", true, 200},
		{"dead cookie, optional: anonymous", "dead", "GET", true, 200},
		{"store unavailable: no credentials", "outage", "GET", false, 401},
		{"good cookie from another site: no credentials", "good", "POST", false, 401},
		{"good cookie from another site, optional: anonymous", "good", "POST", true, 200},
	} {
		r := asking("Cookie", cookieName+"="+c.cookie, "Sec-Fetch-Site", "cross-site")
		r.Method = c.method
		w := serve(s.guard.Require(durward.Policy{Schemes: []durward.Scheme{s.bearer, s.basic}, Optional: c.optional}, hello), r)
		if w.Code != c.status || w.Code == 200 && w.Body.String() != "nobody" || w.Header()["Set-Cookie"] != nil {
			t.Errorf("%s: got %d %s, Set-Cookie %q; want %d without Set-Cookie", c.name, w.Code, w.Body, w.Header()["Set-Cookie"], c.status)
		}
		if w.Code == 200 && w.Header().Get("Vary") != "Authorization, X-API-Key" {
			t.Errorf("%s: got Vary %q, want no Cookie in it", c.name, w.Header()["Vary"])
		}
	}
	if n := s.verified.Load(); n != 0 {
		t.Errorf("cookies were checked %d times, want never", n)
	}
}

// Refusals of handlers inside Open carry the challenges of the schemes that Open got,
// and the refusal of a DPoP proof that of DPoP as well.
func TestRouteOpen(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	refuse := func(err error) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.guard.Refuse(w, r, err) })
	}
	for _, c := range []struct {
		name       string
		handler    http.Handler
		status     int
		challenges string
	}{
		{"no schemes: all are challenged", s.guard.Open(refuse(durward.InvalidCredentials)), 401, "DPoP Bearer ApiKey Session Basic"},
		{"Session: Session", s.guard.OpenWith(refuse(durward.InvalidCredentials), s.signIn), 401, "Session"},
		{"Session, refused proof: DPoP as well", s.guard.OpenWith(refuse(durward.InvalidProof), s.signIn), 401, "DPoP Session"},
		{"Session, proof without nonce: DPoP as well", s.guard.OpenWith(refuse(durward.NonceRequired), s.signIn), 401, "DPoP Session"},
		{"Session and DPoP, refused proof: each once", s.guard.OpenWith(refuse(durward.InvalidProof), s.signIn, s.dpop), 401, "DPoP Session"},
		{"Session, forbidden: none", s.guard.OpenWith(refuse(durward.Forbidden), s.signIn), 403, ""},
		{"Require inside: the inner policy's", s.guard.OpenWith(s.guard.Require(durward.Policy{Schemes: []durward.Scheme{s.basic}}, never(t)), s.signIn), 401, "Basic"},
		{"Open inside Require: the inner schemes", s.guard.Require(durward.Policy{Optional: true}, s.guard.OpenWith(refuse(durward.SessionRevoked), s.signIn)), 401, "Session"},
		{"outside any handler: all", refuse(durward.InvalidCredentials), 401, "DPoP Bearer ApiKey Session Basic"},
	} {
		w := serve(c.handler, asking())
		if w.Code != c.status || challenged(w) != c.challenges {
			t.Errorf("%s: got %d %q, want %d %q", c.name, w.Code, challenged(w), c.status, c.challenges)
		}
	}
	// HeldKey works, though Session alone was given.
	held := s.guard.OpenWith(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := s.guard.HeldKey(r)
		s.guard.Refuse(w, r, err)
	}), s.signIn)
	w := serve(held, asking("DPoP", "proof"))
	wants(t, "a proof inside Open", w, 401, durward.InvalidProof)
	if got := w.Header()["Www-Authenticate"]; len(got) != 2 || !strings.Contains(got[0], `error="invalid_dpop_proof"`) || w.Header().Get("DPoP-Nonce") == "" {
		t.Errorf("a proof inside Open: got %q, nonce %q; want the error in the DPoP challenge and a nonce", got, w.Header().Get("DPoP-Nonce"))
	}
}

// The server's structure: Open around everything, Require around each route. A handler
// between them changes what client address, scheme and path were read from: that neither
// is read again is seen by the response.
func TestRouteResolvesOnce(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	between := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.RemoteAddr, r.TLS = "198.51.100.7:1", nil // not trusted, and plain http
			r.Header.Set("X-Forwarded-For", "not an address")
			r.Header.Set("X-Forwarded-Proto", "http")
			r.URL.Path = "//not/../canonical"
			next.ServeHTTP(w, r)
		})
	}
	scoped := durward.Policy{Scopes: []string{"profile"}}
	tell := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, durward.From(r.Context()).Subject, " from ", durward.ClientAddr(r.Context()))
	})
	for _, c := range []struct {
		name     string
		handler  http.Handler
		verified int64
	}{
		{"Open, Require", s.guard.OpenWith(between(s.guard.Require(scoped, tell)), s.signIn), 1},
		{"Open, Open, Require", s.guard.OpenWith(s.guard.Open(between(s.guard.Require(scoped, tell))), s.signIn), 1},
		{"Require, Require", s.guard.Handler(between(s.guard.Require(scoped, tell))), 1},
		{"Require, Open, Require", s.guard.Handler(s.guard.OpenWith(between(s.guard.Require(scoped, tell)), s.signIn)), 1},
		{"Open, Require of fewer schemes", s.guard.OpenWith(between(s.guard.Require(durward.Policy{Schemes: []durward.Scheme{s.bearer}}, tell)), s.signIn), 1},
		{"Open, SameOrigin and HeldKey, Require", s.guard.OpenWith(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			between(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Method = "POST"
				r.Header.Set("Origin", "https://api.example")
				if err := s.guard.SameOrigin(r); err != nil { // it would be http://api.example
					t.Errorf("SameOrigin: got %v, want nil", err)
				}
				s.guard.Require(scoped, tell).ServeHTTP(w, r)
			})).ServeHTTP(w, r)
		}), s.signIn), 1},
	} {
		s.verified.Store(0)
		w := serve(c.handler, asking("Authorization", "Bearer good"))
		if w.Code != 200 || w.Body.String() != "ada from 203.0.113.9" || s.verified.Load() != c.verified {
			t.Errorf("%s: got %d %q, verified %d times; want 200 \"ada from 203.0.113.9\", %d", c.name, w.Code, w.Body, s.verified.Load(), c.verified)
		}
	}
}

// A nested route of the same guard accepts its own schemes: it ignores a principal that the outer
// route authenticated with another scheme.
func TestRouteNests(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	require := func(next http.Handler, optional bool, schemes ...durward.Scheme) http.Handler {
		return s.guard.Require(durward.Policy{Schemes: schemes, Optional: optional}, next)
	}
	token, cookie := []string{"Authorization", "Bearer good"}, []string{"Cookie", cookieName + "=good"}
	for _, c := range []struct {
		name       string
		handler    http.Handler
		fields     []string
		body       string
		code       durward.Code
		challenges string
		verified   int64
	}{
		{"same scheme inside, token: verified once", require(require(hello, false, s.bearer), false, s.bearer, s.cookie), token, "ada", "", "", 1},
		{"all inside, token: verified once", require(s.guard.Handler(hello), false, s.bearer), token, "ada", "", "", 1},
		{"other scheme inside, token: scheme not accepted", require(require(never(t), false, s.basic), false, s.bearer, s.basic), token, "", durward.UnsupportedScheme, "Basic", 1},
		{"other scheme inside, cookie: no credentials", require(require(never(t), false, s.bearer), false, s.cookie, s.bearer), cookie, "", durward.AuthenticationRequired, "Bearer", 1},
		{"other scheme inside and optional, cookie: anonymous", require(require(hello, true, s.bearer), false, s.cookie, s.bearer), cookie, "nobody", "", "", 1},
		{"cookie accepted inside alone: verified there", require(require(hello, false, s.cookie), true, s.bearer), cookie, "ada", "", "", 1},
		{"Open between: known still", require(s.guard.OpenWith(require(hello, false, s.bearer), s.signIn), false, s.bearer), token, "ada", "", "", 1},
		{"Open inside, token: known still", require(s.guard.OpenWith(hello, s.signIn), false, s.bearer), token, "ada", "", "", 1},
		{"three deep, cookie dropped in the middle: verified anew", require(require(require(hello, false, s.cookie), true, s.bearer), false, s.cookie), cookie, "ada", "", "", 2},
		{"cookie outage outside, dropped inside: anonymous there", require(require(hello, true, s.bearer), true, s.cookie, s.bearer), []string{"Cookie", cookieName + "=outage"}, "nobody", "", "", 1},
	} {
		s.verified.Store(0)
		w := serve(c.handler, asking(c.fields...))
		if code := codeOf(w); code != c.code || c.code == "" && w.Body.String() != c.body || challenged(w) != c.challenges || s.verified.Load() != c.verified {
			t.Errorf("%s: got %d %s %q, challenges %q, verified %d times; want %s %q, challenges %q, %d times",
				c.name, w.Code, code, w.Body, challenged(w), s.verified.Load(), c.code, c.body, c.challenges, c.verified)
		}
	}
}

func TestRouteProxy(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	digest := digest(durward.DigestConfig{})
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{s.basic, s.bearer, digest}, Realm: realm})
	w := serve(g.Proxy(durward.Policy{Schemes: []durward.Scheme{s.bearer, digest}}, never(t)), asking("Proxy-Authorization", "Basic YWRhOmNvcnJlY3QgaG9yc2U="))
	got := w.Header()["Proxy-Authenticate"]
	if wants(t, "Basic to a proxy for Digest", w, 407, durward.UnsupportedScheme); len(got) != 1 || !strings.HasPrefix(got[0], "Digest ") {
		t.Errorf("got the challenges %q, want Digest alone", got)
	}
}

// odd is a scheme that cannot be compared.
type odd struct {
	fake
	_ []string
}

func TestRouteMistakes(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{s.bearer, odd{}}})
	for _, c := range []struct {
		name    string
		schemes []durward.Scheme
		want    string
	}{
		{"of another guard", []durward.Scheme{s.bearer, s.basic}, "Config.Schemes does not hold"},
		{"made again", []durward.Scheme{durward.Bearer(verify)}, "Config.Schemes does not hold"},
		{"nil", []durward.Scheme{nil}, "Config.Schemes does not hold"},
		{"empty", []durward.Scheme{}, "is empty"},
		{"not comparable", []durward.Scheme{odd{}}, "use a pointer"},
	} {
		for how, call := range map[string]func(){
			"Require":  func() { g.Require(durward.Policy{Schemes: c.schemes}, hello) },
			"Proxy":    func() { g.Proxy(durward.Policy{Schemes: c.schemes}, hello) },
			"OpenWith": func() { g.OpenWith(hello, c.schemes...) },
			"Check":    func() { _, _ = g.Check(get("good"), durward.Policy{Schemes: c.schemes}) },
		} {
			got := func() (text string) {
				defer func() { text = fmt.Sprint(recover()) }()
				call()
				return ""
			}()
			if !strings.HasPrefix(got, "durward: Policy.Schemes ") || !strings.Contains(got, c.want) {
				t.Errorf("%s, by %s: got the panic %q, want one with %q", c.name, how, got, c.want)
			}
		}
	}
}
