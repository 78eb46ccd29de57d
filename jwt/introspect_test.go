package jwt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward"
)

// asked is an introspection endpoint that records requests.
type asked struct {
	*httptest.Server
	n      atomic.Int64
	answer atomic.Pointer[http.HandlerFunc]
}

func introspects(t testing.TB, body string) *asked {
	t.Helper()
	a := new(asked)
	a.says(body)
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.n.Add(1)
		(*a.answer.Load())(w, r)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *asked) does(f http.HandlerFunc) { a.answer.Store(&f) }

func (a *asked) says(body string) {
	a.does(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json;charset=UTF-8")
		io.WriteString(w, body)
	})
}

func introspector(t testing.TB, a *asked, h *hand, change func(*IntrospectorConfig)) *Introspector {
	t.Helper()
	c := IntrospectorConfig{URL: a.URL, Audience: []string{service}, ClientID: "api", ClientSecret: "s", Now: h.now}
	if change != nil {
		change(&c)
	}
	i, err := NewIntrospector(c)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

const active = `{"active":true,"sub":"ada","aud":"` + service + `","scope":"read write","client_id":"app","username":"ada","exp":1772367300,"iat":1772366400,"sid":"s1","jti":"t1"}`

func TestIntrospection(t *testing.T) {
	t.Parallel()
	a, h := introspects(t, ""), new(hand)
	a.does(func(w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		if r.Method != "POST" || r.FormValue("token") != "opaque+/=" || r.FormValue("token_type_hint") != "access_token" || r.URL.RawQuery != "" || id != "a%3App" || secret != "p%26s" {
			t.Errorf("asked by %s %v, as %s %s", r.Method, r.Form, id, secret)
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, active)
	})
	i := introspector(t, a, h, func(c *IntrospectorConfig) { c.ClientID, c.ClientSecret = "a:pp", "p&s" })
	for range 3 {
		p, err := i.Verify(t.Context(), "opaque+/=")
		if err != nil || p.Subject != "ada" || p.ClientID != "app" || !p.HasScope("read", "write") || p.SessionID != "s1" || p.TokenID != "t1" || !p.Expires.Equal(noon.Add(15*time.Minute)) || p.Scheme != "Bearer" {
			t.Fatalf("%+v, %v", p, err)
		}
		p.Scopes[0] = "admin" // the caller may modify the principal
	}
	if a.n.Load() != 1 {
		t.Errorf("asked %d times for one token", a.n.Load())
	}
}

// The rows are answers of an issuer.
func TestIntrospectionAnswers(t *testing.T) {
	t.Parallel()
	with := func(from, to string) string { return strings.Replace(active, from, to, 1) }
	for _, c := range []struct {
		name, body string
		code       durward.Code // empty: accepted
	}{
		{"good", active, ""},
		{"list of audiences", with(`"`+service+`"`, `["x","`+service+`"]`), ""},
		{"no exp", with(`"exp":1772367300,`, ""), ""},
		{"a client for itself", with(`"sub":"ada",`, ""), ""},
		{"unknown members", with(`"sid"`, `"ext":{"a":[1]},"sid"`), ""},

		{"inactive", `{"active":false}`, durward.InvalidToken},
		{"inactive with claims", with("true", "false"), durward.InvalidToken},
		{"of another service", with(service, "https://other.example"), durward.InvalidToken},
		{"no aud", with(`"aud":"`+service+`",`, ""), durward.InvalidToken},
		{"without a subject", `{"active":true,"aud":"` + service + `"}`, durward.InvalidToken},
		{"expired", with("1772367300", "1772366400"), durward.InvalidToken},
		{"not yet", with(`"iat":1772366400`, `"nbf":1772366500`), durward.InvalidToken},
		{"issued ahead", with("1772366400", "1772366500"), durward.InvalidToken},
		{"sub that is a number", with(`"ada"`, "7"), durward.InvalidToken},
		{"scope that is a list", with(`"read write"`, `["read"]`), durward.InvalidToken},
		{"exp that is a string", with("1772367300", `"soon"`), durward.InvalidToken},
		{"iss that is no string", with(`"sid"`, `"iss":7,"sid"`), durward.InvalidToken},
		{"bound to a DPoP key", with(`"sid"`, `"cnf":{"jkt":"k"},"sid"`), durward.InvalidToken},
		{"bound to a certificate", with(`"sid"`, `"cnf":{"x5t#S256":"k"},"sid"`), durward.InvalidToken},
		{"cnf without a known key: refused", with(`"sid"`, `"cnf":{},"sid"`), durward.InvalidToken},

		{"no active", `{"sub":"ada"}`, durward.AuthUnavailable},
		{"active that is a string", with("true", `"true"`), durward.AuthUnavailable},
		{"Active", with(`"active"`, `"Active"`), durward.AuthUnavailable},
		{"active twice", with(`"sid"`, `"active":false,"sid"`), durward.AuthUnavailable},
		{"list", `[true]`, durward.AuthUnavailable},
		{"nothing", "", durward.AuthUnavailable},
		{"cut short", active[:40], durward.AuthUnavailable},
		{"something after it", active + "{}", durward.AuthUnavailable},
		{"invalid UTF-8", with(`"ada"`, "\"\xff\""), durward.AuthUnavailable},
		{"far too long", `{"active":true,"x":"` + strings.Repeat("x", maxIntrospection) + `"}`, durward.AuthUnavailable},
		{"deep", `{"active":true,"x":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`, durward.AuthUnavailable},
	} {
		p, err := introspector(t, introspects(t, c.body), new(hand), nil).Verify(t.Context(), "token")
		if c.code == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if !errors.Is(err, c.code) || codesIn(err) != 1 || p != nil {
			t.Errorf("%s: %v, %v, want %s", c.name, p, err, c.code)
		}
	}
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
	}{
		{"401, which is about our own credentials", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }},
		{"403", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }},
		{"400", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(400)
			io.WriteString(w, `{"error":"invalid_request","active":true,"sub":"ada","aud":"`+service+`"}`)
		}},
		{"unsupported_token_type by another status", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(500)
			io.WriteString(w, `{"error":"unsupported_token_type"}`)
		}},
		{"500", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }},
		{"no JSON", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, active) }},
		{"redirect to another origin", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://localhost:1/", http.StatusTemporaryRedirect)
		}},
		{"connection cut", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
	} {
		a := introspects(t, "")
		a.does(c.answer)
		i := introspector(t, a, new(hand), nil)
		for range 2 { // an outage is not cached
			if p, err := i.Verify(t.Context(), "token"); !errors.Is(err, durward.AuthUnavailable) || p != nil {
				t.Errorf("%s: %v, %v", c.name, p, err)
			}
		}
		if a.n.Load() != 2 {
			t.Errorf("%s: asked %d times", c.name, a.n.Load())
		}
	}
	a := introspects(t, "")
	a.does(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, active) })
	const cause = `the issuer answered with Content-Type "text/plain; charset=utf-8"`
	if _, err := introspector(t, a, new(hand), nil).Verify(t.Context(), "token"); err == nil || !strings.Contains(err.Error(), cause) {
		t.Errorf("text/plain: got %v, want %s", err, cause)
	}
	// An issuer that does not introspect this type of token refuses the token; it is not an outage.
	a = introspects(t, "")
	a.does(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(400)
		io.WriteString(w, `{"error":"unsupported_token_type",`+active[1:])
	})
	i := introspector(t, a, new(hand), nil)
	for range 2 {
		if p, err := i.Verify(t.Context(), "token"); !errors.Is(err, durward.InvalidToken) || p != nil || a.n.Load() != 1 {
			t.Errorf("unsupported_token_type: %v, %v, asked %d times", p, err, a.n.Load())
		}
	}
	a = introspects(t, with(`"aud":"`+service+`",`, ""))
	if _, err := introspector(t, a, new(hand), func(c *IntrospectorConfig) { c.AnyAudience = true }).Verify(t.Context(), "token"); err != nil {
		t.Errorf("AnyAudience, answer without aud: got %v", err)
	}
	named := with(`"sid"`, `"iss":"`+issuer+`","sid"`)
	for body, ok := range map[string]bool{named: true, active: false, strings.Replace(named, issuer, issuer+"/", 1): false} {
		p, err := introspector(t, introspects(t, body), new(hand), func(c *IntrospectorConfig) { c.Issuer = issuer }).Verify(t.Context(), "token")
		if (err == nil) != ok || ok && p.Issuer != issuer {
			t.Errorf("%s: %+v, %v", body, p, err)
		}
	}
	if _, err := introspector(t, introspects(t, active), new(hand), nil).Verify(t.Context(), strings.Repeat("t", maxToken+1)); !errors.Is(err, durward.InvalidToken) {
		t.Errorf("too long: %v", err)
	}
}

// The settings of a profile, and audiences that are empty or null.
func TestIntrospectionProfile(t *testing.T) {
	t.Parallel()
	change := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(active) }
	aud, ids := `"aud":"`+service+`",`, `"sub":"ada",`
	lists := Profile{StringOrList: true}
	for _, c := range []struct {
		name, body string
		any        bool
		profile    Profile
		cause      string // empty: accepted
		want       durward.Principal
	}{
		{"aud empty, any audience", change(aud, `"aud":"",`), true, Profile{}, "", durward.Principal{Subject: "ada"}},
		{"aud an empty list, any audience", change(aud, `"aud":[],`), true, Profile{}, "", durward.Principal{Subject: "ada"}},
		{"aud null, any audience", change(aud, `"aud":null,`), true, Profile{}, "", durward.Principal{Subject: "ada"}},
		{"aud empty", change(aud, `"aud":"",`), false, Profile{}, "AnyAudience", durward.Principal{}},
		{"aud an empty list", change(aud, `"aud":[],`), false, Profile{}, "AnyAudience", durward.Principal{}},
		{"aud null", change(aud, `"aud":null,`), false, Profile{}, "AnyAudience", durward.Principal{}},
		{"aud of another service, any audience", change(service, "https://other.example"), true, Profile{}, "this service is", durward.Principal{}},
		{"aud with an empty element, any audience", change(aud, `"aud":["`+service+`",""],`), true, Profile{}, "element 1 of aud", durward.Principal{}},
		{"aud a number, any audience", change(aud, `"aud":7,`), true, Profile{}, "aud is not a list", durward.Principal{}},
		{"sub null: the client", change(ids, `"sub":null,`), false, Profile{}, "", durward.Principal{Subject: "app"}},
		{"members of null", change(`"sid":"s1"`, `"sid":null,"acr":null,"amr":null,"nbf":null,"iss":null`), false, Profile{}, "", durward.Principal{Subject: "ada"}},
		{"cnf null", change(`"sid"`, `"cnf":null,"sid"`), false, Profile{}, "cnf is not an object", durward.Principal{}},
		{"username alone", change(ids, "", `"client_id":"app",`, ""), false, Profile{}, "Profile.Subject", durward.Principal{}},
		{"username alone, by the setting", change(ids, "", `"client_id":"app",`, ""), false, Profile{Subject: []string{"sub", "username"}}, "", durward.Principal{Subject: "ada"}},
		{"sub before username", change(`"sub":"ada"`, `"sub":"1"`), false, Profile{Subject: []string{"sub", "username"}}, "", durward.Principal{Subject: "1"}},
		{"scope as a list", change(`"read write"`, `["read","write"]`), false, Profile{}, "Profile.StringOrList", durward.Principal{}},
		{"scope as a list, by the setting", change(`"read write"`, `["read","write"]`), false, lists, "", durward.Principal{Subject: "ada", Scopes: []string{"read", "write"}}},
		{"scope list with a blank", change(`"read write"`, `["read write"]`), false, lists, "is not one", durward.Principal{}},
		{"roles and tenant", change(`"sid"`, `"realm_access":{"roles":["clerk"]},"org":"o1","sid"`), false, Profile{Roles: []string{"/realm_access/roles"}, Tenant: "org"}, "", durward.Principal{Subject: "ada", Roles: []string{"clerk"}, Tenant: "o1"}},
		{"an ID token of Keycloak", change(`"sid"`, `"typ":"ID","sid"`), false, Keycloak, "ID token", durward.Principal{}},
	} {
		set := func(i *IntrospectorConfig) {
			i.Profile, i.AnyAudience = c.profile, c.any
		}
		p, err := introspector(t, introspects(t, c.body), new(hand), set).Verify(t.Context(), "token")
		if c.cause != "" {
			if !errors.Is(err, durward.InvalidToken) || !strings.Contains(err.Error(), c.cause) || p != nil {
				t.Errorf("%s: got %+v, %v, want %q", c.name, p, err, c.cause)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: got %v, want accepted", c.name, err)
			continue
		}
		if p.Subject != c.want.Subject || p.Tenant != c.want.Tenant || !slices.Equal(p.Roles, c.want.Roles) || c.want.Scopes != nil && !slices.Equal(p.Scopes, c.want.Scopes) {
			t.Errorf("%s: got %+v, want %+v", c.name, p, c.want)
		}
	}
	long := introspector(t, introspects(t, active), new(hand), func(c *IntrospectorConfig) { c.MaxSize = 32 << 10 })
	if _, err := long.Verify(t.Context(), strings.Repeat("t", 20_000)); err != nil {
		t.Errorf("20,000 octets, by the setting: got %v", err)
	}
	groups := strings.Replace(active, `"sid"`, `"groups":["`+strings.Join(many(1000), `","`)+`"],"sid"`, 1)
	if _, err := introspector(t, introspects(t, groups), new(hand), nil).Verify(t.Context(), "token"); err != nil {
		t.Errorf("1,000 groups, unread: got %v", err)
	}
}

func TestIntrospectionIsRememberedForAMoment(t *testing.T) {
	t.Parallel()
	a, h := introspects(t, active), new(hand)
	i := introspector(t, a, h, nil)
	verify := func(want durward.Code) {
		t.Helper()
		if _, err := i.Verify(t.Context(), "token"); want == "" && err != nil || want != "" && !errors.Is(err, want) {
			t.Fatalf("got %v, want %s", err, want)
		}
	}
	verify("")
	a.says(`{"active":false}`) // revoked
	h.forward(10*time.Second - 1)
	verify("")
	h.forward(1)
	verify(durward.InvalidToken)
	h.forward(9 * time.Second)
	verify(durward.InvalidToken)
	if a.n.Load() != 2 {
		t.Errorf("asked %d times", a.n.Load())
	}
	// A cached answer does not outlive its token.
	a.says(strings.Replace(active, "1772367300", "1772366425", 1))
	h.forward(time.Second)
	verify("")
	h.forward(5 * time.Second)
	verify(durward.TokenExpired)
	// A clock that is set back does not extend it.
	a.says(active)
	h.forward(10 * time.Second)
	verify("")
	a.says(`{"active":false}`)
	h.forward(-time.Minute)
	verify(durward.InvalidToken)

	never := introspector(t, a, h, func(c *IntrospectorConfig) { c.CacheFor = -1 })
	before := a.n.Load()
	for range 3 {
		_, _ = never.Verify(t.Context(), "token") // only the number of requests matters
	}
	if n := a.n.Load() - before; n != 3 {
		t.Errorf("without memory: asked %d times", n)
	}
}

// Concurrent requests with one token cause one question, which does not end with the request that
// asked. The number of questions at the same time is limited.
func TestIntrospectionAtOnce(t *testing.T) {
	t.Parallel()
	a, h := introspects(t, ""), new(hand)
	release := make(chan struct{})
	var under, most atomic.Int64
	a.does(func(w http.ResponseWriter, _ *http.Request) {
		n := under.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-release
		under.Add(-1)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, active)
	})
	i := introspector(t, a, h, func(c *IntrospectorConfig) { c.AtOnce, c.CacheSize, c.Timeout = 4, 20, time.Minute })
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() {
		_, err := i.Verify(ctx, "one")
		first <- err
	}()
	for a.n.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	var all sync.WaitGroup
	var good atomic.Int64
	for range 50 {
		all.Go(func() {
			if _, err := i.Verify(t.Context(), "one"); err == nil {
				good.Add(1)
			}
		})
	}
	cancel()
	if err := <-first; !errors.Is(err, durward.AuthUnavailable) {
		t.Errorf("who went away: %v", err)
	}
	for n := range 19 {
		all.Go(func() {
			if _, err := i.Verify(t.Context(), fmt.Sprint("other ", n)); err == nil {
				good.Add(1)
			}
		})
	}
	for full := false; !full; {
		i.mu.Lock()
		full = len(i.known) == 20
		i.mu.Unlock()
	}
	if _, err := i.Verify(t.Context(), "one too many"); !errors.Is(err, durward.AuthUnavailable) {
		t.Errorf("one more than fit: %v", err)
	}
	close(release)
	all.Wait()
	if good.Load() != 69 || a.n.Load() != 20 || most.Load() > 4 {
		t.Errorf("%d were let in, %d questions, %d at once", good.Load(), a.n.Load(), most.Load())
	}
	for n := range 100 {
		if _, err := i.Verify(t.Context(), fmt.Sprint("later ", n)); err != nil {
			t.Fatal(err)
		}
	}
	if len(i.known) > 20 {
		t.Errorf("%d are remembered", len(i.known))
	}
}

func TestIntrospectorConfiguration(t *testing.T) {
	t.Parallel()
	_, err := NewIntrospector(IntrospectorConfig{URL: "http://issuer.example/introspect#x", Audience: []string{""}, Timeout: -1})
	for _, want := range []string{"http is allowed on loopback only", "fragment", "Audience", "ClientID or Authorize", "negative"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}
	inside := IntrospectorConfig{URL: "http://keycloak:8080/introspect", AnyAudience: true, ClientID: "api", InsecureAllowHTTP: true}
	if _, err := NewIntrospector(inside); err != nil {
		t.Errorf("http inside a network, allowed: %v", err)
	}
	a := introspects(t, active)
	i := introspector(t, a, new(hand), func(c *IntrospectorConfig) {
		c.ClientID, c.Authorize = "", func(r *http.Request) error { r.Header.Set("Authorization", "Bearer own"); return nil }
	})
	a.does(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer own" {
			t.Errorf("Authorization: %s", r.Header.Get("Authorization"))
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, active)
	})
	if _, err := i.Verify(t.Context(), "token"); err != nil {
		t.Error(err)
	}
	i.c.Authorize = func(*http.Request) error { return errors.New("no key") }
	if _, err := i.Verify(t.Context(), "another"); !errors.Is(err, durward.AuthUnavailable) {
		t.Error(err)
	}
}

// The metadata of an issuer locates its key set; unsafe locations are refused.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	keys := publish(t, serving(t, k))
	var document, path atomic.Pointer[string]
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != *path.Load() {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, *document.Load())
	}))
	t.Cleanup(srv.Close)
	set := func(at, text string) { path.Store(&at); document.Store(&text) }
	for _, c := range []struct {
		name, issuer, at, document string
		ok                         bool
	}{
		{"OpenID Connect", srv.URL, "/.well-known/openid-configuration", `{"issuer":"ISSUER","jwks_uri":"KEYS","x":{}}`, true},
		{"OAuth", srv.URL, "/.well-known/oauth-authorization-server", `{"issuer":"ISSUER","jwks_uri":"KEYS"}`, true},
		{"OpenID Connect, with a path", srv.URL + "/a/b", "/a/b/.well-known/openid-configuration", `{"issuer":"ISSUER","jwks_uri":"KEYS"}`, true},
		{"OAuth, with a path", srv.URL + "/a/b", "/.well-known/oauth-authorization-server/a/b", `{"issuer":"ISSUER","jwks_uri":"KEYS"}`, true},
		{"issuer that ends in a slash", srv.URL + "/", "/.well-known/openid-configuration", `{"issuer":"ISSUER","jwks_uri":"KEYS"}`, true},

		{"another issuer", srv.URL, "/.well-known/openid-configuration", `{"issuer":"https://other.example","jwks_uri":"KEYS"}`, false},
		{"a slash more", srv.URL, "/.well-known/openid-configuration", `{"issuer":"ISSUER/","jwks_uri":"KEYS"}`, false},
		{"no issuer", srv.URL, "/.well-known/openid-configuration", `{"jwks_uri":"KEYS"}`, false},
		{"no jwks_uri", srv.URL, "/.well-known/openid-configuration", `{"issuer":"ISSUER"}`, false},
		{"jwks_uri in the clear", srv.URL, "/.well-known/openid-configuration", `{"issuer":"ISSUER","jwks_uri":"http://issuer.example/keys"}`, false},
		{"jwks_uri that is a file", srv.URL, "/.well-known/openid-configuration", `{"issuer":"ISSUER","jwks_uri":"file:///etc/passwd"}`, false},
		{"jwks_uri twice", srv.URL, "/.well-known/openid-configuration", `{"issuer":"ISSUER","jwks_uri":"KEYS","jwks_uri":"KEYS"}`, false},
		{"no JSON", srv.URL, "/.well-known/openid-configuration", `<html>`, false},
		{"far too long", srv.URL, "/.well-known/openid-configuration", `{"x":"` + strings.Repeat("x", maxMetadata) + `"}`, false},
		{"nothing there", srv.URL, "/elsewhere", "", false},
	} {
		set(c.at, strings.NewReplacer("ISSUER", c.issuer, "KEYS", keys.URL).Replace(c.document))
		r, err := NewRemoteKeys(RemoteConfig{Issuer: c.issuer, Now: new(hand).now})
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		key, err := r.Key(t.Context(), k.ID(), "ES256")
		if (err == nil) != c.ok || c.ok && key == nil || !c.ok && !errors.Is(err, durward.AuthUnavailable) {
			t.Errorf("%s: %v, %v", c.name, key, err)
		}
	}
	// Metadata of a remote issuer must not refer to this machine.
	set("/metadata", `{"issuer":"`+issuer+`","jwks_uri":"`+keys.URL+`"}`)
	abroad := &RemoteKeys{c: RemoteConfig{Issuer: issuer}, client: *srv.Client()}
	abroad.client.Transport = toLoopback{srv.Listener.Addr().String()}
	if _, err := abroad.fetchMetadata(t.Context(), "http://auth.example.com/metadata"); err == nil || !strings.Contains(err.Error(), "on this machine") {
		t.Errorf("an issuer elsewhere leads to this machine: %v", err)
	}
	for want, c := range map[string]RemoteConfig{
		"give one of them": {URL: "https://a.example/keys", Issuer: "https://a.example"}, "no query": {Issuer: "https://a.example?x"},
		"loopback only": {Issuer: "http://a.example"}, "fragment": {Issuer: "https://a.example#x"},
	} {
		if _, err := NewRemoteKeys(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}

	// If the key set moves, the metadata is read again.
	h := new(hand)
	set("/.well-known/openid-configuration", `{"issuer":"`+srv.URL+`","jwks_uri":"`+keys.URL+`"}`)
	r, err := NewRemoteKeys(RemoteConfig{Issuer: srv.URL, Now: h.now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Key(t.Context(), k.ID(), "ES256"); err != nil {
		t.Fatal(err)
	}
	second := generate(t, "ES256")
	moved := publish(t, serving(t, second))
	keys.now(away)
	set("/.well-known/openid-configuration", `{"issuer":"`+srv.URL+`","jwks_uri":"`+moved.URL+`"}`)
	for range 3 {
		h.forward(11 * time.Second)
		_, err = r.Key(t.Context(), second.ID(), "ES256")
	}
	if err != nil {
		t.Errorf("after the keys have moved: %v", err)
	}
}

func TestIssuers(t *testing.T) {
	t.Parallel()
	a, b := generate(t, "ES256"), generate(t, "EdDSA")
	first := verifier(t, Config{}, a.Public())
	keys, err := NewKeys(b.Public())
	if err != nil {
		t.Fatal(err)
	}
	other, err := New(Config{Issuer: "https://other.example", Audience: []string{service}, Keys: keys, Now: first.c.Now})
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewIssuers(first, other)
	if err != nil {
		t.Fatal(err)
	}
	of := func(iss string, k *PrivateKey) string {
		c := example()
		c.Issuer = iss
		return sign(t, k, c)
	}
	for _, c := range []struct {
		name, token string
		ok          bool
	}{
		{"the first", of(issuer, a), true}, {"the other", of("https://other.example", b), true},
		{"a key of the first with iss of the other", of("https://other.example", a), false},
		{"a key of the other with iss of the first", of(issuer, b), false},
		{"unknown issuer: refused", of("https://third.example", a), false},
		{"no iss", forge(t, a, headerOf(a, ""), `{"sub":"x"}`), false},
		{"iss twice", forge(t, a, headerOf(a, ""), `{"iss":"`+issuer+`","iss":"https://other.example"}`), false},
		{"no JSON", forge(t, a, headerOf(a, ""), `x`), false},
		{"no token", "x", false}, {"too long", strings.Repeat("x", maxToken+1), false},
	} {
		p, err := s.Verify(t.Context(), c.token)
		if (err == nil) != c.ok || (p == nil) == c.ok || !c.ok && !errors.Is(err, durward.InvalidToken) {
			t.Errorf("%s: %v, %v", c.name, p, err)
		}
	}
	for want, list := range map[string][]*Verifier{"no verifier": nil, "two verifiers": {first, first}, "nil Verifier": {nil}} {
		if _, err := NewIssuers(list...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}
}

// No answer panics, and only an answer with active true is accepted.
func FuzzIntrospection(f *testing.F) {
	for _, seed := range []string{active, `{"active":false}`, `{"active":true,"aud":[],"cnf":{"jkt":""}}`, `{"active":null}`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		a := introspects(t, body)
		i := introspector(t, a, new(hand), nil)
		p, err := i.Verify(t.Context(), "token")
		if err == nil && (p.Subject == "" || !strings.Contains(body, "true")) {
			t.Fatalf("%q: %+v", body, p)
		}
		if err != nil && (p != nil || codesIn(err) != 1) {
			t.Fatalf("%q: %v, %v", body, p, err)
		}
	})
}

func BenchmarkIntrospection(b *testing.B) {
	i := introspector(b, introspects(b, active), new(hand), nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.Verify(context.Background(), "token"); err != nil {
			b.Fatal(err)
		}
	}
}

// A route with Freshness asks the issuer again earlier.
func TestIntrospectionFreshness(t *testing.T) {
	t.Parallel()
	a, h := introspects(t, active), new(hand)
	i := introspector(t, a, h, func(c *IntrospectorConfig) { c.CacheFor = time.Minute })
	g, err := durward.New(durward.Config{Schemes: []durward.Scheme{i.Scheme()}, Now: h.now})
	if err != nil {
		t.Fatal(err)
	}
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for n, step := range []struct {
		wait  time.Duration
		want  time.Duration
		asked int64
	}{{0, 0, 1}, {10 * time.Second, 10 * time.Second, 1}, {time.Second, 0, 1}, {0, 10 * time.Second, 2}, {time.Second, 10 * time.Second, 2}} {
		h.forward(step.wait)
		r := httptest.NewRequest("GET", "http://127.0.0.1/", nil)
		r.RemoteAddr = "127.0.0.1:4711"
		r.Header.Set("Authorization", "Bearer opaque")
		w := httptest.NewRecorder()
		g.Require(durward.Policy{Freshness: step.want}, next).ServeHTTP(w, r)
		if w.Code != 200 || a.n.Load() != step.asked {
			t.Errorf("step %d: %d, asked %d times, want %d", n, w.Code, a.n.Load(), step.asked)
		}
	}
}
