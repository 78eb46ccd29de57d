package durward_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward"
)

// pair is Basic credentials.
func pair(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// toProxy is a request as a proxy gets it, over https.
func toProxy(method, target string, lines ...string) *http.Request {
	r := over(method, target, "", "")
	for _, line := range lines {
		r.Header.Add("Proxy-Authorization", line)
	}
	return r
}

// passes is the handler behind a proxy's guard: it writes the principal and the fields for the
// origin.
var passes = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	subject := "nobody"
	if p := durward.From(r.Context()); p != nil {
		subject = p.Subject + " by " + p.Scheme
	}
	fmt.Fprintf(w, "%s; Authorization %q; Proxy-Authorization %q; X-API-Key %q", subject, r.Header["Authorization"], r.Header["Proxy-Authorization"], r.Header["X-Api-Key"])
})

// TestProxyRefuses has every row of a proxy's own refusals.
func TestProxyRefuses(t *testing.T) {
	t.Parallel()
	errs := map[string]error{
		"wrong": durward.InvalidCredentials, "many": &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: 90 * time.Second},
		"outage": errors.New("disk full"), "off": durward.AccountDisabled,
		"told": &durward.Refusal{Code: durward.InvalidCredentials, Detail: "The Authorization field is old.", Hint: "See WWW-Authenticate, or Proxy-Authenticate."},
	}
	g := newGuard(t, durward.Config{
		Schemes: []durward.Scheme{durward.Bearer(verify), durward.Basic(func(_ context.Context, user, _ string) (*durward.Principal, error) {
			if err := errs[user]; err != nil {
				return nil, err
			}
			return &durward.Principal{Subject: user, ACR: "urn:durward:acr:1fa", AuthTime: noon.Add(-time.Hour)}, nil
		}), durward.Session(), durward.Digest(durward.DigestConfig{HA1: digestUsers, InsecureMD5: true}), seat{}},
		Realm: "gate", LoginURL: "https://auth.example/login", PublicURL: "https://gate.example", Metadata: "https://gate.example/meta",
	})
	const askAll, authority = "Digest SHA-256, Digest MD5, Basic ", "origin.example:443"
	for _, c := range []struct {
		name   string
		policy durward.Policy
		change func(*http.Request)
		lines  []string
		status int
		code   durward.Code
		asks   string
	}{
		{"nothing", durward.Policy{}, nil, nil, 407, durward.ProxyAuthenticationRequired, askAll},
		{"the origin's token", durward.Policy{}, func(r *http.Request) { r.Header.Set("Authorization", "Bearer good") }, nil, 407, durward.ProxyAuthenticationRequired, askAll},
		{"the origin's password", durward.Policy{}, func(r *http.Request) { r.Header.Set("Authorization", pair("ada", "x")) }, nil, 407, durward.ProxyAuthenticationRequired, askAll},
		{"the origin's cookie", durward.Policy{}, func(r *http.Request) { r.Header.Set("Cookie", "seat=taken") }, nil, 407, durward.ProxyAuthenticationRequired, askAll},
		{"the origin's token in the query", durward.Policy{}, func(r *http.Request) { r.URL.RawQuery = "access_token=x" }, nil, 407, durward.ProxyAuthenticationRequired, askAll},
		{"Bearer", durward.Policy{}, nil, []string{"Bearer good"}, 407, durward.UnsupportedScheme, askAll},
		{"DPoP", durward.Policy{}, nil, []string{"DPoP good"}, 407, durward.UnsupportedScheme, askAll},
		{"Negotiate", durward.Policy{}, nil, []string{"Negotiate abcd"}, 407, durward.UnsupportedScheme, askAll},
		{"a single word", durward.Policy{}, nil, []string{"good"}, 407, durward.MalformedCredentials, askAll},
		{"empty", durward.Policy{}, nil, []string{""}, 407, durward.MalformedCredentials, askAll},
		{"Basic, not base64", durward.Policy{}, nil, []string{"Basic ab!"}, 407, durward.MalformedCredentials, askAll},
		{"Basic without a colon", durward.Policy{}, nil, []string{"Basic YWRh"}, 407, durward.MalformedCredentials, askAll},
		{"Digest, half of it", durward.Policy{}, nil, []string{`Digest username="ada"`}, 407, durward.MalformedCredentials, askAll},
		{"wrong", durward.Policy{}, nil, []string{pair("wrong", "x")}, 407, durward.InvalidCredentials, askAll},
		{"wrong, in other words", durward.Policy{}, nil, []string{pair("told", "x")}, 407, durward.InvalidCredentials, askAll},
		{"two lines", durward.Policy{}, nil, []string{pair("ada", "x"), pair("ada", "x")}, 400, durward.AmbiguousCredentials, ""},
		{"two in a line", durward.Policy{}, nil, []string{`Digest a="b", Digest c="d"`}, 400, durward.AmbiguousCredentials, ""},
		{"too many", durward.Policy{}, nil, []string{pair("many", "x")}, 429, durward.TooManyAttempts, ""},
		{"outage", durward.Policy{}, nil, []string{pair("outage", "x")}, 503, durward.AuthUnavailable, ""},
		{"disabled", durward.Policy{}, nil, []string{pair("off", "x")}, 403, durward.AccountDisabled, ""},
		{"scope", durward.Policy{Scopes: []string{"out"}}, nil, []string{pair("ada", "x")}, 403, durward.InsufficientScope, ""},
		{"rule", durward.Policy{Allow: func(*http.Request, *durward.Principal) error { return durward.Forbidden }}, nil, []string{pair("ada", "x")}, 403, durward.Forbidden, ""},
		{"a sign-in too old, which no challenge renews", durward.Policy{MaxAge: time.Minute}, nil, []string{pair("ada", "x")}, 403, durward.Forbidden, ""},
		{"a sign-in too weak", durward.Policy{ACR: []string{"phr"}}, nil, []string{pair("ada", "x")}, 403, durward.Forbidden, ""},
		{"wrong, though optional", durward.Policy{Optional: true}, nil, []string{pair("wrong", "x")}, 407, durward.InvalidCredentials, askAll},
		{"a page", durward.Policy{Pages: true}, func(r *http.Request) { r.Header = with(navigation, "Origin", "https://a.example") }, nil, 407, "", askAll},
		{"a script, whose box is the proxy's own", durward.Policy{Pages: true}, func(r *http.Request) { r.Header = fetched.Clone() }, nil, 407, durward.ProxyAuthenticationRequired, askAll},
		{"plain http", durward.Policy{}, func(r *http.Request) { r.TLS = nil }, []string{pair("ada", "x")}, 403, durward.InsecureTransport, ""},
		{"plain http, a person", durward.Policy{Pages: true}, func(r *http.Request) { r.TLS, r.Header = nil, navigation.Clone() }, nil, 403, "", ""},
	} {
		for _, target := range []string{"https://origin.example/x", authority} {
			method := "GET"
			if target == authority {
				method = "CONNECT"
			}
			r := toProxy(method, target)
			if c.change != nil {
				c.change(r)
			}
			r.Header["Proxy-Authorization"] = c.lines
			w := serve(g.Proxy(c.policy, never(t)), r)
			wants(t, c.name, w, c.status, c.code)
			var asks string
			if len(w.Header()["Proxy-Authenticate"]) > 0 {
				for _, one := range asked(t, w, "Proxy-Authenticate") {
					asks += one.Scheme + " " + value(one, "algorithm") + ", "
					if value(one, "realm") != "gate" {
						t.Errorf("%s: %s has another realm", c.name, one)
					}
				}
			}
			if strings.TrimSuffix(asks, ", ") != c.asks || w.Header()["Www-Authenticate"] != nil || w.Header().Get("Location") != "" {
				t.Errorf("%s: got the challenges %q, want %q\n%v", c.name, asks, c.asks, w.Header())
			}
			if len(w.Header()["Proxy-Authenticate"]) != strings.Count(asks, ",") {
				t.Errorf("%s: challenges share a line: %q", c.name, w.Header()["Proxy-Authenticate"])
			}
			// The texts for the client name the proxy's fields.
			body := strings.ReplaceAll(strings.ReplaceAll(w.Body.String(), "Proxy-Authorization", ""), "Proxy-Authenticate", "")
			if strings.Contains(body, "Authorization") || strings.Contains(body, "WWW-") || strings.Contains(body, "Bearer") || strings.Contains(body, "X-API-Key") || strings.Contains(body, "Proxy-Proxy") || strings.Contains(body, "login") {
				t.Errorf("%s: the client reads of fields that are not the proxy's:\n%s", c.name, w.Body)
			}
			if w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Durward-Denial") == "" {
				t.Errorf("%s: fields of a refusal are missing: %v", c.name, w.Header())
			}
		}
	}
}

// TestProxyPasses: the proxy's credentials are consumed, the origin's pass as
// they came, and the caller's request is not changed.
func TestProxyPasses(t *testing.T) {
	t.Parallel()
	var accepted []string
	config := durward.Config{Schemes: []durward.Scheme{durward.Bearer(verify), durward.Basic(rightPair), fake{name: "X-Fake"}},
		OnAccept: func(_ *http.Request, p *durward.Principal) {
			accepted = append(accepted, fmt.Sprint(p != nil && p.Subject == "ada"))
		}}
	g := newGuard(t, config)
	for _, c := range []struct {
		name, method, target string
		policy               durward.Policy
		header               http.Header
		want                 string
	}{
		{"Basic", "GET", "http://origin.example/x", durward.Policy{}, fields("Proxy-Authorization", pair("ada", "secret")),
			`ada by Basic; Authorization []; Proxy-Authorization []; X-API-Key []`},
		{"CONNECT", "CONNECT", "origin.example:443", durward.Policy{}, fields("Proxy-Authorization", pair("ada", "secret")),
			`ada by Basic; Authorization []; Proxy-Authorization []; X-API-Key []`},
		{"the origin's token, even a bad one", "GET", "http://origin.example/x", durward.Policy{}, fields("Proxy-Authorization", pair("ada", "secret"), "Authorization", "Bearer forged", "X-API-Key", "k", "X-Fake", "f"),
			`ada by Basic; Authorization ["Bearer forged"]; Proxy-Authorization []; X-API-Key ["k"]`},
		{"the origin's two tokens are the origin's affair", "GET", "http://origin.example/x", durward.Policy{}, fields("Proxy-Authorization", pair("ada", "secret"), "Authorization", "a", "Authorization", "b"),
			`ada by Basic; Authorization ["a" "b"]; Proxy-Authorization []; X-API-Key []`},
		{"the origin's path", "GET", "http://origin.example//a/../%2e%2e/b", durward.Policy{}, fields("Proxy-Authorization", pair("ada", "secret")),
			`ada by Basic; Authorization []; Proxy-Authorization []; X-API-Key []`},
		{"no path", "OPTIONS", "http://origin.example", durward.Policy{}, fields("Proxy-Authorization", pair("ada", "secret")),
			`ada by Basic; Authorization []; Proxy-Authorization []; X-API-Key []`},
		{"a preflight is a request like any other", "OPTIONS", "http://origin.example/x", durward.Policy{}, fields("Proxy-Authorization", pair("ada", "secret"), "Origin", "https://a.example", "Access-Control-Request-Method", "GET"),
			`ada by Basic; Authorization []; Proxy-Authorization []; X-API-Key []`},
		{"optional, nobody", "GET", "http://origin.example/x", durward.Policy{Optional: true}, fields("Authorization", "Bearer good"),
			`nobody; Authorization ["Bearer good"]; Proxy-Authorization []; X-API-Key []`},
	} {
		accepted = nil
		r := toProxy(c.method, c.target)
		r.Header = c.header
		before := maps.Clone(r.Header)
		w := serve(g.Proxy(c.policy, passes), r)
		if w.Code != 200 || w.Body.String() != c.want {
			t.Errorf("%s: got %d %s, want %s", c.name, w.Code, w.Body, c.want)
		}
		if !maps.EqualFunc(before, r.Header, slices.Equal[[]string]) {
			t.Errorf("%s: the caller's header became %v", c.name, r.Header)
		}
		if want := []string{fmt.Sprint(!c.policy.Optional)}; !slices.Equal(accepted, want) {
			t.Errorf("%s: OnAccept was told %v, want %v", c.name, accepted, want)
		}
		if h := w.Header(); h["Vary"] != nil || h["Cache-Control"] != nil {
			t.Errorf("%s: the origin's answer gets the fields %v", c.name, h)
		}
	}
	// The connection was opened for the proxy, the request is for an origin.
	certified := config
	certified.Schemes = []durward.Scheme{durward.Basic(rightPair), durward.ClientCert(durward.ClientCertConfig{
		Roots: x509.NewCertPool(), Check: func(context.Context, *x509.Certificate) (*durward.Principal, error) { return nil, durward.Forbidden }})}
	tunnel := toProxy("GET", "https://origin.example/x", pair("ada", "secret"))
	tunnel.TLS = &tls.ConnectionState{ServerName: "gate.example", HandshakeComplete: true}
	if w := serve(newGuard(t, certified).Proxy(durward.Policy{}, passes), tunnel); w.Code != 200 {
		t.Errorf("a guard that takes certificates too: got %d %s", w.Code, w.Body)
	}
	// Plain http, where it is allowed.
	config.InsecureAllowHTTP, config.Now = true, func() time.Time { return noon }
	r := toProxy("GET", "http://origin.example/x", pair("ada", "secret"))
	r.TLS = nil
	if w := serve(newGuard(t, config).Proxy(durward.Policy{}, passes), r); w.Code != 200 {
		t.Errorf("plain http that is allowed: got %d", w.Code)
	}
}

func TestProxyWantsASchemeForProxies(t *testing.T) {
	t.Parallel()
	digest := durward.Digest(durward.DigestConfig{HA1: digestUsers})
	for _, c := range []struct {
		schemes []durward.Scheme
		panics  bool
	}{
		{[]durward.Scheme{durward.Bearer(verify), durward.Session(), fake{name: "Basic"}}, true},
		{[]durward.Scheme{durward.Bearer(verify), durward.Basic(rightPair)}, false},
		{[]durward.Scheme{digest}, false},
	} {
		func() {
			defer func() {
				if got := recover(); (got != nil) != c.panics || got != nil && !strings.Contains(got.(string), "Basic or the Digest") {
					t.Errorf("%v: Proxy panics with %v, want %v", c.schemes, got, c.panics)
				}
			}()
			newGuard(t, durward.Config{Schemes: c.schemes}).Proxy(durward.Policy{}, passes)
		}()
	}
}

// TestProxyDigest: Digest at a proxy, for the target of the request line or in origin form, and the
// response's Proxy-Authentication-Info.
func TestProxyDigest(t *testing.T) {
	t.Parallel()
	var now atomic.Int64
	now.Store(noon.UnixNano())
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.Basic(rightPair), durward.Digest(durward.DigestConfig{HA1: digestUsers})}, Now: func() time.Time { return time.Unix(0, now.Load()) }})
	h := g.Proxy(durward.Policy{}, passes)
	client := func(method, target, uri string) (*http.Request, digestClient) {
		c := asked(t, serve(h, toProxy(method, target)), "Proxy-Authenticate")[0]
		return toProxy(method, target), digestClient{user: "ada", password: "secret", method: method, uri: uri, qop: "auth", cnonce: "c", nc: "00000001",
			algorithm: value(c, "algorithm"), realm: value(c, "realm"), nonce: value(c, "nonce")}
	}
	for _, c := range []struct {
		name, method, target, uri string
		status                    int
		code                      durward.Code
	}{
		{"absolute form", "GET", "http://origin.example/x?a=b", "http://origin.example/x?a=b", 200, ""},
		{"origin form", "GET", "http://origin.example/x?a=b", "/x?a=b", 200, ""},
		{"another origin", "GET", "http://origin.example/x", "http://other.example/x", 400, durward.InvalidRequest},
		{"another path", "GET", "http://origin.example/x", "/y", 400, durward.InvalidRequest},
		{"CONNECT", "CONNECT", "origin.example:443", "origin.example:443", 200, ""},
		{"CONNECT elsewhere", "CONNECT", "origin.example:443", "other.example:443", 400, durward.InvalidRequest},
		{"CONNECT, empty path", "CONNECT", "origin.example:443", "/", 400, durward.InvalidRequest},
	} {
		r, d := client(c.method, c.target, c.uri)
		r.Header.Set("Proxy-Authorization", d.credentials(nil))
		r.Header.Set("Authorization", "Bearer the-origin's")
		w := serve(h, r)
		if c.code != "" {
			wants(t, c.name, w, c.status, c.code)
			continue
		}
		if want := `ada by Digest; Authorization ["Bearer the-origin's"]; Proxy-Authorization []; X-API-Key []`; w.Code != 200 || w.Body.String() != want {
			t.Errorf("%s: got %d %s, want %s", c.name, w.Code, w.Body, want)
		}
		info, err := durward.ParseAuthInfo(w.Header()["Proxy-Authentication-Info"])
		if err != nil || !slices.Contains(info, durward.Param{Name: "rspauth", Value: d.response("")}) || w.Header()["Authentication-Info"] != nil {
			t.Errorf("%s: got %v, %v, want rspauth %s", c.name, w.Header(), err, d.response(""))
		}
	}
	// A count used before is 407 with stale=true.
	r, d := client("GET", "http://origin.example/x", "/x")
	r.Header.Set("Proxy-Authorization", d.credentials(nil))
	if w := serve(h, r); w.Code != 200 {
		t.Fatalf("got %d", w.Code)
	}
	r.Header.Set("Sec-Fetch-Mode", "cors") // the box of a proxy is the browser's own affair
	w := serve(h, r)
	wants(t, "replay", w, 407, durward.StaleNonce)
	if got := asked(t, w, "Proxy-Authenticate"); len(got) != 2 || got[1].Scheme != "Basic" {
		t.Errorf("replay: got the challenges %v, want Digest and Basic", got)
	}
	if got := value(asked(t, w, "Proxy-Authenticate")[0], "stale"); got != "true" {
		t.Errorf("replay: stale=%q", got)
	}
	// An old nonce is followed by a new one.
	r, d = client("GET", "http://origin.example/x", "/x")
	now.Add(int64(4 * time.Minute))
	r.Header.Set("Proxy-Authorization", d.credentials(nil))
	if got := serve(h, r).Header().Get("Proxy-Authentication-Info"); !strings.Contains(got, "nextnonce=") {
		t.Errorf("after 4 minutes: %s", got)
	}
	now.Add(int64(2 * time.Minute))
	wants(t, "dead nonce", serve(h, r), 407, durward.StaleNonce)
	// The proxy's response does not open the origin's door, nor the other way.
	both := g.Handler(hello)
	r, d = client("GET", "https://origin.example/x", "/x")
	r.Header.Set("Proxy-Authorization", d.credentials(nil))
	wants(t, "the proxy's at the origin", serve(both, r), 401, durward.AuthenticationRequired)
	r.Header = http.Header{"Authorization": r.Header["Proxy-Authorization"]}
	wants(t, "the origin form of an absolute target, at no proxy", serve(both, r), 400, durward.InvalidRequest)
}

// Guards of a proxy and of an origin nest: each asks its own question, and no
// answer has both kinds of challenge.
func TestProxyNests(t *testing.T) {
	t.Parallel()
	var checked atomic.Int64
	var accepted atomic.Int64
	config := durward.Config{Schemes: []durward.Scheme{durward.Bearer(verify), durward.Basic(func(ctx context.Context, user, password string) (*durward.Principal, error) {
		checked.Add(1)
		return rightPair(ctx, user, password)
	})}, OnAccept: func(*http.Request, *durward.Principal) { accepted.Add(1) }}
	g, other := newGuard(t, config), newGuard(t, config)
	optional, write := durward.Policy{Optional: true}, durward.Policy{Scopes: []string{"write"}}
	refuse := func(code durward.Code) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.Refuse(w, r, code) })
	}
	good := pair("ada", "secret")
	for _, c := range []struct {
		name             string
		handler          http.Handler
		proxyAuth, auth  string
		status           int
		code             durward.Code
		checked, accepts int64
	}{
		{"the same guard checks once", g.Proxy(durward.Policy{}, g.Proxy(durward.Policy{}, passes)), good, "", 200, "", 1, 1},
		{"the inner policy is judged", g.Proxy(durward.Policy{}, g.Proxy(write, never(t))), good, "", 403, durward.InsufficientScope, 1, 1},
		{"optional outside, wanted inside", g.Proxy(optional, g.Proxy(durward.Policy{}, never(t))), "", "", 407, durward.ProxyAuthenticationRequired, 0, 1},
		{"the origin's guard inside asks for itself", g.Proxy(durward.Policy{}, g.Handler(never(t))), good, "", 401, durward.AuthenticationRequired, 1, 1},
		{"the origin's guard inside", g.Proxy(durward.Policy{}, g.Handler(hello)), good, "Bearer good", 200, "", 1, 2},
		{"the origin's guard outside", g.Handler(g.Proxy(durward.Policy{}, never(t))), "", "Bearer good", 407, durward.ProxyAuthenticationRequired, 0, 1},
		{"the proxy's credentials are not the origin's", g.Handler(never(t)), good, "", 401, durward.AuthenticationRequired, 0, 0},
		{"consumed, so another guard has to ask", g.Proxy(durward.Policy{}, other.Proxy(durward.Policy{}, never(t))), good, "", 407, durward.ProxyAuthenticationRequired, 1, 1},
		{"a handler inside refuses as the proxy", g.Proxy(durward.Policy{}, refuse(durward.InvalidCredentials)), good, "", 407, durward.InvalidCredentials, 1, 1},
		{"a handler inside forbids", g.Proxy(durward.Policy{}, refuse(durward.Forbidden)), good, "", 403, durward.Forbidden, 1, 1},
		{"a handler inside the origin's guard refuses as that", g.Proxy(durward.Policy{}, g.Handler(refuse(durward.SessionExpired))), good, "Bearer good", 401, durward.SessionExpired, 1, 2},
	} {
		checked.Store(0)
		accepted.Store(0)
		r := toProxy("GET", "https://origin.example/x")
		for name, value := range map[string]string{"Proxy-Authorization": c.proxyAuth, "Authorization": c.auth} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		w := serve(c.handler, r)
		wants(t, c.name, w, c.status, c.code)
		if checked.Load() != c.checked || accepted.Load() != c.accepts {
			t.Errorf("%s: checked %d times, accepted %d times, want %d and %d", c.name, checked.Load(), accepted.Load(), c.checked, c.accepts)
		}
		h := w.Header()
		if (w.Code == 407) != (h["Proxy-Authenticate"] != nil) || (w.Code == 401) != (h["Www-Authenticate"] != nil) {
			t.Errorf("%s: %d with %v", c.name, w.Code, h)
		}
	}
	// Check is the origin's question.
	if p, err := g.Check(toProxy("GET", "https://origin.example/x", good), durward.Policy{}); p != nil || !errors.Is(err, durward.AuthenticationRequired) {
		t.Errorf("Check: got %v, %v", p, err)
	}
}
