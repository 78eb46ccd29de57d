package web_test

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/session"
	"github.com/durward-auth/durward/server/internal/store"
)

const (
	callback  = "https://app.example.org/callback?of=test"
	challenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" // RFC 7636 appendix B
	aState    = `state/"<>& ü`
)

// withClients starts a server with the API of items and these clients: "app", "trusted", "spa" without a secret,
// "service" without codes, and "old" without PKCE.
func withClients(t *testing.T) *env {
	t.Helper()
	e := newEnv(t, func(c *config.Config) {
		c.Resources = []config.Resource{{
			URL:  "https://api.example.com",
			Name: "Items",
			Scopes: []config.Scope{
				{Name: "items:read", Title: "read your items"},
				{Name: "items:admin", Title: "manage all items", Groups: []string{"staff"}},
			},
		}}
	})
	for _, id := range []string{"app", "trusted", "spa", "service", "old"} {
		c := store.Client{
			ID: id, Name: "The " + id, Auth: store.ClientSecret, RedirectURIs: []string{callback, "http://127.0.0.1/cb"},
			Grants: []string{"authorization_code", "refresh_token"}, Scopes: []string{"openid", "profile", "email", "offline_access", "items:read", "items:admin"},
			Resources: []string{"https://api.example.com"}, SessionID: "sid of " + id, CreatedAt: e.clock.Now(), Trusted: id == "trusted",
		}
		switch id {
		case "spa":
			c.Auth, c.PKCEOptional = store.ClientPublic, true
		case "service":
			c.Grants = []string{"client_credentials"}
		case "old":
			c.PKCEOptional = true
		}
		e.must(e.node.DB.CreateClient(context.Background(), c, nil, store.Event{ID: store.NewID(), Kind: store.EventClientAdded, At: e.clock.Now(), Outcome: "ok"}))
	}
	return e
}

// parametersOf returns the parameters of a request of the client app, with pairs of other ones. An empty value
// removes a parameter.
func parametersOf(pairs ...string) url.Values {
	q := url.Values{
		"client_id": {"app"}, "redirect_uri": {callback}, "response_type": {"code"}, "scope": {"openid items:read"}, "state": {aState},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"}, "nonce": {"n-1"},
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		if q.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
			q.Del(pairs[i])
		}
	}
	return q
}

func (b *browser) authorize(pairs ...string) page {
	b.e.t.Helper()
	return b.walk(b.get("/oauth/authorize?" + parametersOf(pairs...).Encode()))
}

// walk follows redirects and hop pages inside the server, to a page or to a redirect that leaves it.
func (b *browser) walk(p page) page {
	b.e.t.Helper()
	for range 12 {
		to := ""
		if hop := hopTo.FindStringSubmatch(p.Body); p.StatusCode == http.StatusOK && hop != nil {
			to = strings.ReplaceAll(hop[1], "&amp;", "&")
		} else if p.StatusCode == http.StatusSeeOther {
			to = strings.TrimPrefix(p.Header.Get("Location"), origin)
		}
		if !strings.HasPrefix(to, "/") {
			return p
		}
		p = b.get(to)
	}
	b.e.t.Fatalf("more than 12 redirects, the last one to %s", p.Header.Get("Location"))
	return p
}

var hopTo = regexp.MustCompile(`http-equiv="refresh" content="0; url=([^"]*)"`)

// result says where a walk ended: "code", the error that the client got, or the path of the page.
func (p page) result() string {
	p.e.t.Helper()
	if p.StatusCode != http.StatusSeeOther {
		if p.StatusCode != http.StatusOK {
			return p.Status
		}
		return p.Request.URL.Path
	}
	q := p.toClient()
	if q.Get("code") != "" {
		return "code"
	}
	return q.Get("error")
}

// toClient returns the parameters of a response to the client, after it checked where the response goes.
func (p page) toClient() url.Values {
	p.e.t.Helper()
	to, err := url.Parse(p.location())
	p.e.must(err)
	q := to.Query()
	if !strings.HasPrefix(p.location(), callback+"&") || q.Get("of") != "test" || q.Get("iss") != origin { // belowPrefix removes the prefix
		p.e.t.Fatalf("the response goes to %s", p.location())
	}
	if q.Get("state") != aState && q.Get("error") != "invalid_request" {
		p.e.t.Fatalf("state is %q", q.Get("state"))
	}
	if got := p.Header.Get("Referrer-Policy"); got != "no-referrer" || p.Header.Get("Cache-Control") != "no-store" {
		p.e.t.Fatalf("a response to the client has Referrer-Policy %q, Cache-Control %q", got, p.Header.Get("Cache-Control"))
	}
	return q
}

// here returns the path and query of a page.
func (p page) here() string {
	return strings.TrimPrefix(p.Request.URL.String(), origin)
}

var shownField = regexp.MustCompile(`name="shown" value="([^"]*)"`)

// allow presses Allow on a consent page.
func (b *browser) allow(p page) page {
	b.e.t.Helper()
	if got := p.result(); got != "/oauth/consent" {
		b.e.t.Fatalf("the page is %s, want the consent page\n%s", got, p.Body)
	}
	return b.walk(b.post(p.here(), "choice", "allow", "shown", shownField.FindStringSubmatch(p.Body)[1]).want(http.StatusOK))
}

// consented returns a browser whose user signed in a minute ago and has allowed the client app.
func (e *env) consented(email string, pairs ...string) *browser {
	e.t.Helper()
	b := e.browser().as(e.user(email), false, 0)
	if got := b.allow(b.authorize(pairs...)).result(); got != "code" {
		e.t.Fatalf("after Allow: %s", got)
	}
	e.clock.Advance(time.Minute)
	return b
}

// The whole way: sign-in, consent, code, and at once the second time.
func TestAuthorize(t *testing.T) {
	t.Parallel()
	e := withClients(t)
	b := e.browser()
	login := b.authorize("login_hint", ada, "ui_locales", "fr de").shows(`value="`+ada+`"`, `<html lang="de">`)
	if got := login.result(); got != "/login" {
		t.Fatalf("a visitor gets %s", got)
	}
	hop := b.post(login.here(), "email", ada, "password", password).want(http.StatusOK).shows("/oauth/continue?r=")
	consent := b.walk(hop).shows("The app", "app.example.org", ada, "read your items", "Items", `<html lang="de">`).lacks("manage all items")
	res := b.allow(consent)
	if got := res.result(); got != "code" {
		t.Fatalf("after Allow: %s", got)
	}
	code := res.toClient().Get("code")
	use, _, err := e.node.Sessions.BeginApplication(context.Background(), useOf(code), request.Info{})
	e.must(err)
	c := use.Code
	if c.ClientID != "app" || c.UserID != e.user(ada).ID || c.RedirectURI != callback || c.Challenge != challenge || c.Nonce != "n-1" ||
		c.Scope != "openid items:read" || len(c.Resources) != 1 || c.ParentID == "" || use.Refused != nil {
		t.Errorf("the code is %+v, %v", c, use.Refused)
	}
	// A request that is stored sets a cookie.
	if second := b.get("/oauth/authorize?" + parametersOf().Encode()); second.result() != "code" || len(second.Cookies()) != 0 {
		t.Errorf("the second time: %s, cookies %v", second.result(), second.Cookies())
	}
	// The default resource, which the token is for, is shown although the client asks for none of its scopes.
	other := e.browser().as(e.user(bea), false, 0)
	other.authorize("scope", "openid").shows("Items", "api.example.com").lacks("read your items")
	// A claim that is asked for by its name is allowed as its scope.
	res = b.allow(b.authorize("claims", `{"userinfo":{"email":{"essential":true}}}`).shows("see your e-mail address"))
	use, _, err = e.node.Sessions.BeginApplication(context.Background(), useOf(res.toClient().Get("code")), request.Info{})
	e.must(err)
	if use.Code.Scope != "openid items:read email" || use.Code.Claims != `{"userinfo":{"email":{"essential":true}}}` {
		t.Errorf("with a claim: %+v", use.Code)
	}
	// Neither code nor state is in the log of the program or in the security log.
	events, err := e.node.DB.Events(context.Background(), store.EventFilter{Limit: 100})
	e.must(err)
	var logged strings.Builder
	logged.WriteString(e.logs.String())
	for _, event := range events {
		logged.WriteString(event.Detail + event.Outcome)
	}
	for _, secret := range []string{code, "state/", url.QueryEscape(aState), challenge} {
		if strings.Contains(logged.String(), secret) {
			t.Errorf("%q is in a log", secret)
		}
	}
	if n := len(e.events(store.EventConsentGiven)); n != 2 {
		t.Errorf("%d events of consents, want 2", n)
	}
}

func useOf(code string) session.UseCode {
	return session.UseCode{Code: code, Check: func(store.Code) error { return nil }, Grant: func(store.Code) bool { return true }}
}

// Each step of a request is counted, and so are responses by their error.
func TestStepsAreCounted(t *testing.T) {
	t.Parallel()
	e := withClients(t)
	b := e.browser()
	b.authorize("client_id", "none").want(http.StatusBadRequest)
	b.authorize("prompt", "none")
	p := b.authorize()
	b.allow(b.walk(b.post(p.here(), "email", ada, "password", password).want(http.StatusOK)))
	got := map[string]int64{}
	counts, _ := e.node.Metrics.Growth()
	for _, c := range counts {
		if c.Name == "oauth_authorizations" {
			got[c.Labels] = c.N
		}
	}
	want := map[string]int64{"step=error_page": 1, "step=login_required": 1, "step=sign_in": 1, "step=consent": 1, "step=code": 1}
	if !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}

// With DPoP on, dpop_jkt binds the code to a key (RFC 9449 s10).
func TestCodeOfKey(t *testing.T) {
	t.Parallel()
	e := withClients(t)
	e.node.OAuth.AllowDPoP(true)
	code := e.consented(ada).authorize("dpop_jkt", challenge).toClient().Get("code")
	use, _, err := e.node.Sessions.BeginApplication(context.Background(), useOf(code), request.Info{})
	e.must(err)
	if use.Code.JKT != challenge {
		t.Errorf("the code has the key %q, want %q", use.Code.JKT, challenge)
	}
}

// A popup window of the client stays connected with its opener on every page of the way, and on no other page.
func TestOpenersOfPages(t *testing.T) {
	t.Parallel()
	e := withClients(t)
	e.addUser("grace@example.com", false)
	grace := e.enrolled("grace@example.com")
	opener := func(p page, want string) page {
		t.Helper()
		if got := p.Header.Get("Cross-Origin-Opener-Policy"); got != want {
			t.Errorf("%s: Cross-Origin-Opener-Policy is %q, want %q", p.Request.URL, got, want)
		}
		return p
	}
	b := e.browser()
	login := opener(b.authorize(), "unsafe-none")
	opener(b.post(login.here(), "email", ada).want(http.StatusUnprocessableEntity), "unsafe-none")
	hop := opener(b.post(login.here(), "email", ada, "password", password).want(http.StatusOK), "unsafe-none")
	consent := opener(b.walk(hop).shows("The app"), "unsafe-none")
	opener(b.post(consent.here(), "choice", "allow", "shown", shownField.FindStringSubmatch(consent.Body)[1]).want(http.StatusOK), "unsafe-none")
	opener(b.authorize("response_mode", "form_post").want(http.StatusOK), "unsafe-none")
	opener(b.authorize("prompt", "create"), "unsafe-none")
	e.clock.Advance(time.Second)
	opener(b.authorize("prompt", "select_account").shows(ada), "unsafe-none")
	opener(b.authorize("prompt", "login").shows("password"), "unsafe-none")
	opener(b.authorize("client_id", "none").want(http.StatusBadRequest), "unsafe-none")
	factor := e.browser()
	p := factor.post(factor.authorize().here(), "email", grace.Email, "password", password).want(http.StatusSeeOther)
	opener(factor.walk(p).shows("/login/factor"), "unsafe-none")

	back := "?return_to=" + url.QueryEscape(strings.Replace(consent.here(), "consent", "continue", 1))
	for _, path := range []string{
		"/", "/login", "/login?return_to=/account", "/login?return_to=https://app.example.org/oauth/continue?r=x", "/register", "/forgot" + back,
		"/account", "/account" + back, "/account/password" + back, "/signed-out" + back, "/errors/" + back, "/nothing" + back,
	} {
		opener(b.get(path), "same-origin")
	}
}

// Each mistake in a request: an error page if client or redirect URI is wrong, else an error for the client.
func TestAuthorizeMistakes(t *testing.T) {
	t.Parallel()
	e := withClients(t)
	b := e.consented(ada)
	long := strings.Repeat("x", 4097)
	for _, c := range []struct {
		pairs []string
		want  string
	}{
		{nil, "code"},
		{[]string{"client_id", ""}, "400 Bad Request"},
		{[]string{"client_id", "none"}, "400 Bad Request"},
		{[]string{"client_id", "\x00"}, "400 Bad Request"},
		{[]string{"redirect_uri", ""}, "400 Bad Request"},
		{[]string{"redirect_uri", "https://evil.example/"}, "400 Bad Request"},
		{[]string{"state", strings.Repeat("x", 40000)}, "400 Bad Request"},
		{[]string{"response_type", ""}, "invalid_request"},
		{[]string{"response_type", "token"}, "unsupported_response_type"},
		{[]string{"response_type", "code id_token"}, "unsupported_response_type"},
		{[]string{"response_mode", "fragment"}, "invalid_request"},
		{[]string{"response_mode", "query"}, "code"},
		{[]string{"code_challenge", ""}, "invalid_request"},
		{[]string{"code_challenge", "", "code_challenge_method", ""}, "invalid_request"},
		{[]string{"code_challenge_method", ""}, "invalid_request"},
		{[]string{"code_challenge_method", "plain"}, "invalid_request"},
		{[]string{"code_challenge", challenge[:42]}, "invalid_request"},
		{[]string{"code_challenge", challenge + "A"}, "invalid_request"},
		{[]string{"code_challenge", challenge[:42] + "="}, "invalid_request"},
		{[]string{"dpop_jkt", "short"}, "invalid_request"},
		{[]string{"dpop_jkt", challenge}, "invalid_request"}, // DPoP is off
		{[]string{"request", "eyJ"}, "request_not_supported"},
		{[]string{"request_uri", "https://app.example.org/r"}, "request_uri_not_supported"},
		{[]string{"registration", "{}"}, "registration_not_supported"},
		{[]string{"resource", "https://other.example.com"}, "invalid_target"},
		{[]string{"resource", "https://API.example.com:443/"}, "code"},
		{[]string{"scope", "nonsense"}, "invalid_scope"},
		{[]string{"scope", "items:admin"}, "invalid_scope"}, // for the group staff
		{[]string{"scope", "openid nonsense"}, "code"},
		{[]string{"prompt", "none login"}, "invalid_request"},
		{[]string{"max_age", "-1"}, "invalid_request"},
		{[]string{"max_age", "soon"}, "invalid_request"},
		{[]string{"claims", "{"}, "invalid_request"},
		{[]string{"claims", `{"id_token":"x"}`}, "invalid_request"},
		{[]string{"claims", `{"id_token":{"acr":null,"unknown":{"essential":true}},"other":1}`}, "code"},
		{[]string{"nonce", long}, "invalid_request"},
		{[]string{"state", long}, "invalid_request"},
		{[]string{"login_hint", "\xff"}, "invalid_request"},
		{[]string{"unknown", "parameter"}, "code"},
		{[]string{"client_id", "service"}, "unauthorized_client"},
		{[]string{"client_id", "old", "code_challenge", "", "code_challenge_method", ""}, "/oauth/consent"},
		{[]string{"client_id", "old", "code_challenge_method", "plain"}, "invalid_request"},
		{[]string{"client_id", "spa", "code_challenge", "", "code_challenge_method", ""}, "invalid_request"}, // no secret
		{[]string{"id_token_hint", "no.token"}, "code"},
		{[]string{"id_token_hint", "no.token", "prompt", "none"}, "login_required"},
	} {
		if got := b.authorize(c.pairs...).result(); got != c.want {
			t.Errorf("%.80q: got %s, want %s", c.pairs, got, c.want)
		}
	}
	// An access token is no ID token (RFC 9068 s2.1).
	token, _, err := e.node.Issuer.Sign(jwt.Claims{Subject: e.user(ada).ID, ClientID: "durward"})
	e.must(err)
	if got := b.authorize("id_token_hint", token, "prompt", "none").result(); got != "login_required" {
		t.Errorf("an access token as id_token_hint: %s", got)
	}
	for name, values := range parametersOf() {
		q := parametersOf()
		q.Add(name, values[0])
		want := "invalid_request"
		if name == "client_id" || name == "redirect_uri" {
			want = "400 Bad Request"
		}
		if got := b.get("/oauth/authorize?" + q.Encode()).result(); got != want {
			t.Errorf("%s twice: got %s, want %s", name, got, want)
		}
	}
	q := parametersOf()
	q["resource"] = []string{"https://api.example.com", "https://api.example.com/"}
	if got := b.walk(b.get("/oauth/authorize?" + q.Encode())).result(); got != "code" {
		t.Errorf("two spellings of one resource: %s", got)
	}
	if q["resource"] = strings.Split(strings.Repeat("https://api.example.com ", 6), " ")[:6]; b.get("/oauth/authorize?"+q.Encode()).result() != "invalid_target" {
		t.Error("six resources are accepted")
	}
	if p := b.send(http.MethodHead, "/oauth/authorize?"+parametersOf().Encode(), "", ""); p.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("HEAD: %s", p.Status)
	}
}

// The redirect URI in 40 spellings: only the registered string gets a response, and a loopback address may have
// another port.
func TestRedirectURISpellings(t *testing.T) {
	t.Parallel()
	e := withClients(t)
	b := e.consented(ada)
	for _, uri := range []string{
		"https://app.example.org/callback", "https://app.example.org/callback?of=test2", "https://app.example.org/callback?of=test&x=1",
		"https://app.example.org/callback?of=test#", "https://app.example.org/callback?of=test#x", "https://app.example.org/callback/?of=test",
		"https://app.example.org/callback%3Fof=test", "https://app.example.org/CALLBACK?of=test", "https://APP.example.org/callback?of=test",
		"HTTPS://app.example.org/callback?of=test", "http://app.example.org/callback?of=test", "https://app.example.org:443/callback?of=test",
		"https://app.example.org:8443/callback?of=test", "https://app.example.org./callback?of=test", "https://app.example.org.evil.example/callback?of=test",
		"https://evil.example/?https://app.example.org/callback?of=test", "https://app.example.org@evil.example/callback?of=test",
		"https://evil.example#app.example.org/callback?of=test", "https://evil.example\\.app.example.org/callback?of=test",
		"https:\\\\app.example.org/callback?of=test", "//app.example.org/callback?of=test", "/callback?of=test", "https:app.example.org/callback?of=test",
		"https://app.example.org/x/../callback?of=test", "https://app.example.org/./callback?of=test", "https://app.example.org/x/..;/callback?of=test",
		"https://app.example.org//callback?of=test", "https://app.example.org/%63allback?of=test", "https://app.example.org/callback%2f..?of=test",
		"https://app.example.org/callback?of=te%73t", "https://app.example.org/callback;?of=test", " https://app.example.org/callback?of=test",
		"https://app.example.org/callback?of=test ", "https://app.example.org/callback?of=test\n", "https://app.example.org/\tcallback?of=test",
		"https://app.example.org/callback?of=test\x00", "https://аpp.example.org/callback?of=test", "https://ada:pw@app.example.org/callback?of=test",
		"javascript:alert(1)//app.example.org/callback?of=test", "data:text/html,x", "https://app.example.org",
		"http://127.0.0.1.evil.example/cb", "http://127.0.0.2/cb", "http://localhost:9/cb", "http://127.0.0.1:9/cb/x", "http://[::ffff:127.0.0.1]/cb",
	} {
		p := b.get("/oauth/authorize?" + parametersOf("redirect_uri", uri).Encode())
		if p.StatusCode != http.StatusBadRequest || p.Header.Get("Location") != "" || strings.Contains(p.Body, `href="http`) {
			t.Errorf("%q: %s, Location %q", uri, p.Status, p.Header.Get("Location"))
		}
	}
	for _, uri := range []string{"http://127.0.0.1/cb", "http://127.0.0.1:51004/cb"} {
		p := b.walk(b.get("/oauth/authorize?" + parametersOf("redirect_uri", uri).Encode()))
		if !strings.HasPrefix(p.location(), uri+"?code=") {
			t.Errorf("%q: %s %s", uri, p.Status, p.location())
		}
	}
}

// Each value of prompt, max_age and acr, for visitors and users.
func TestPrompts(t *testing.T) {
	t.Parallel()
	e := withClients(t)
	grace := e.addUser("grace@example.com", false)
	e.consented(ada)
	e.consented(grace.Email)
	grace = e.enrolled("grace@example.com")
	e.clock.Advance(10*time.Minute + 500*time.Millisecond)
	owes := e.addUser("owes@example.com", false)
	e.must(e.node.Accounts.RequireFactor(context.Background(), owes.ID, true, request.Info{Actor: store.Operator}))
	const essential = `{"id_token":{"acr":{"essential":true,"values":["urn:durward:acr:2fa"]}}}`
	visitor := e.browser
	user := func() *browser { return e.browser().as(e.user(ada), false, 5*time.Minute) }
	weak := func() *browser { return e.browser().as(grace, false, 5*time.Minute) }
	strong := func() *browser { return e.browser().as(grace, true, 5*time.Minute) }
	fresh := func() *browser {
		return e.browser().as(e.addUser("new"+store.NewID()+"@example.com", false), false, 5*time.Minute)
	}
	for _, c := range []struct {
		name  string
		who   func() *browser
		pairs []string
		want  string
	}{
		{"visitor", visitor, nil, "/login"},
		{"visitor, none", visitor, []string{"prompt", "none"}, "login_required"},
		{"visitor, create", visitor, []string{"prompt", "create"}, "/register"},
		{"visitor, login", visitor, []string{"prompt", "login"}, "/login"},
		{"user", user, nil, "code"},
		{"user, none", user, []string{"prompt", "none"}, "code"},
		{"user, unknown prompt", user, []string{"prompt", "unknown"}, "code"},
		{"user, login", user, []string{"prompt", "login"}, "/step-up"},
		{"user, consent", user, []string{"prompt", "consent"}, "/oauth/consent"},
		{"user, login consent", user, []string{"prompt", "login consent"}, "/step-up"},
		{"user, select_account", user, []string{"prompt", "select_account"}, "/oauth/account"},
		{"user, create", user, []string{"prompt", "create"}, "/register"},
		{"user, max_age reached", user, []string{"max_age", "299"}, "/step-up"},
		{"user, max_age", user, []string{"max_age", "301"}, "code"},
		{"user, max_age reached by auth_time", func() *browser { return e.browser().as(e.user(ada), false, 5*time.Minute-400*time.Millisecond) },
			[]string{"max_age", "300"}, "/step-up"},
		{"user, max_age 0", user, []string{"max_age", "0"}, "/step-up"},
		{"user, max_age reached, none", user, []string{"max_age", "60", "prompt", "none"}, "login_required"},
		{"user, other scopes", user, []string{"scope", "openid email"}, "/oauth/consent"},
		{"user, other scopes, none", user, []string{"scope", "openid email", "prompt", "none"}, "consent_required"},
		{"user, claim of another scope", user, []string{"claims", `{"userinfo":{"email":null}}`}, "/oauth/consent"},
		{"user, first offline_access", user, []string{"scope", "openid offline_access"}, "/oauth/consent"},
		{"user, another client", user, []string{"client_id", "spa"}, "/oauth/consent"},
		{"user, trusted client", user, []string{"client_id", "trusted"}, "code"},
		{"user, trusted client, consent", user, []string{"client_id", "trusted", "prompt", "consent"}, "/oauth/consent"},
		{"user, trusted client, first offline_access", user, []string{"client_id", "trusted", "scope", "offline_access"}, "/oauth/consent"},
		{"user, sub of another", user, []string{"claims", `{"id_token":{"sub":{"value":"another"}}}`}, "/oauth/account"},
		{"user, sub of another, none", user, []string{"claims", `{"id_token":{"sub":{"value":"another"}}}`, "prompt", "none"}, "account_selection_required"},
		{"user, own sub", user, []string{"claims", `{"id_token":{"sub":{"value":"` + e.user(ada).ID + `"}}}`}, "code"},
		{"user without a factor, acr", user, []string{"acr_values", "urn:durward:acr:2fa"}, "code"},
		{"user without a factor, acr essential", user, []string{"claims", essential}, "unmet_authentication_requirements"},
		{"user, unknown acr", user, []string{"acr_values", "unknown"}, "code"},
		{"user with a factor, acr", weak, []string{"acr_values", "urn:durward:acr:2fa"}, "/step-up"},
		{"user with a factor, acr, none", weak, []string{"acr_values", "urn:durward:acr:2fa", "prompt", "none"}, "code"},
		{"user with a factor, acr essential, none", weak, []string{"claims", essential, "prompt", "none"}, "interaction_required"},
		{"user with a factor, acr essential", weak, []string{"claims", essential}, "/step-up"},
		{"user with a factor, passkey essential", weak, []string{"claims", `{"id_token":{"acr":{"essential":true,"value":"phr"}}}`}, "unmet_authentication_requirements"},
		{"user signed in with a factor, acr essential", strong, []string{"claims", essential}, "code"},
		{"user who owes a second factor", func() *browser { return e.browser().as(owes, false, 0) }, nil, "/login/enrol"},
		{"user who owes a second factor, none", func() *browser { return e.browser().as(owes, false, 0) }, []string{"prompt", "none"}, "interaction_required"},
		{"new user", fresh, nil, "/oauth/consent"},
		{"new user, none", fresh, []string{"prompt", "none"}, "consent_required"},
	} {
		if got := c.who().authorize(c.pairs...).result(); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

// An ID token as id_token_hint names the user that the client expects, also after it has expired.
func TestIDTokenHint(t *testing.T) {
	t.Parallel()
	e := withClients(t)
	e.consented(ada)
	hint := func(email, issuer, algorithm string, ends time.Duration) string {
		t.Helper()
		token, err := e.node.Issuer.SignFor(context.Background(), algorithm, "JWT", func(string) any {
			return map[string]any{"iss": issuer, "sub": e.user(email).ID, "aud": "app", "exp": e.clock.Now().Add(ends).Unix()}
		})
		e.must(err)
		return token
	}
	valid := hint(ada, origin+testPrefix, "", time.Minute)
	withdrawn := hint(ada, origin+testPrefix, "RS256", time.Minute)
	keys, err := e.node.DB.Keys(context.Background(), store.UseIDToken)
	e.must(err)
	_, err = e.node.Issuer.Retire(context.Background(), keys[0].ID, true, request.Info{Actor: store.Operator})
	e.must(err)
	for _, c := range []struct {
		name, hint, want, silent string
		pairs                    []string
	}{
		{"own", valid, "code", "code", nil},
		{"own, expired a year ago", hint(ada, origin+testPrefix, "", -365*24*time.Hour), "code", "code", nil},
		{"own, by the key of ID tokens", hint(ada, origin+testPrefix, "RS256", time.Minute), "code", "code", nil},
		{"another user's", hint(bea, origin+testPrefix, "", time.Minute), "/oauth/account", "account_selection_required", nil},
		{"another user's, expired", hint(bea, origin+testPrefix, "", -time.Hour), "/oauth/account", "account_selection_required", nil},
		{"of another issuer", hint(ada, "https://other.example.com", "", time.Minute), "code", "login_required", nil},
		{"damaged", valid[:len(valid)-6] + "AAAAAA", "code", "login_required", nil},
		{"of a withdrawn key", withdrawn, "code", "login_required", nil},
		{"another user than the claim sub", valid, "invalid_request", "invalid_request", []string{"claims", `{"id_token":{"sub":{"value":"another"}}}`}},
	} {
		b := e.browser().as(e.user(ada), false, time.Minute)
		c.pairs = append(c.pairs, "id_token_hint", c.hint)
		if got := b.authorize(c.pairs...).result(); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
		if got := b.authorize(append(c.pairs, "prompt", "none")...).result(); got != c.silent {
			t.Errorf("%s, prompt=none: got %s, want %s", c.name, got, c.silent)
		}
	}
	// The user chooses another account, and signs in to the one that the client expects.
	b := e.browser().as(e.user(ada), false, time.Minute)
	p := b.authorize("id_token_hint", hint(bea, origin+testPrefix, "", time.Minute)).shows(ada)
	p = b.walk(b.post(p.here(), "choice", "another").want(http.StatusSeeOther))
	e.clock.Advance(time.Second)
	p = b.walk(b.post(p.here(), "email", bea, "password", password).want(http.StatusOK)).shows(bea)
	if got := b.allow(p).result(); got != "code" {
		t.Errorf("after the sign-in of the expected user: %s", got)
	}
}

// A step-up, a choice of the account and a refusal each lead on.
func TestStepsOfRequest(t *testing.T) {
	t.Parallel()
	e := withClients(t)
	e.consented(ada)
	b := e.browser().as(e.user(ada), false, 5*time.Minute)
	// The step-up renews the sign-in, and the hop page leads to the client.
	p := b.authorize("prompt", "login").shows("/oauth/continue?r=", "cancel=yes")
	e.clock.Advance(time.Second)
	if got := b.walk(b.post(p.here(), "method", "password", "password", password).want(http.StatusOK)).result(); got != "code" {
		t.Errorf("after the step-up: %s", got)
	}
	e.clock.Advance(time.Minute)
	p = b.authorize("prompt", "select_account").shows(ada, "The app")
	if got := b.walk(b.post(p.here(), "choice", "continue").want(http.StatusOK)).result(); got != "code" {
		t.Errorf("after the choice: %s", got)
	}
	p = b.authorize("prompt", "select_account")
	p = b.walk(b.post(p.here(), "choice", "another").want(http.StatusSeeOther))
	e.clock.Advance(time.Second)
	p = b.walk(b.post(p.here(), "email", bea, "password", password).want(http.StatusOK)).shows(bea, "The app")
	if got := b.walk(b.post(p.here(), "choice", "cancel").want(http.StatusOK)).result(); got != "access_denied" {
		t.Errorf("after Cancel: %s", got)
	}
	p = b.walk(b.post(b.authorize("prompt", "select_account").here(), "choice", "cancel").want(http.StatusOK))
	if got := p.result(); got != "access_denied" {
		t.Errorf("after Cancel of the choice: %s", got)
	}
	// The request has ended.
	if got := b.get(p.here()).want(http.StatusBadRequest).result(); got != "400 Bad Request" {
		t.Errorf("the second time: %s", got)
	}
	p = b.walk(b.get(strings.Replace(b.authorize("prompt", "consent").here(), "/oauth/consent?", "/oauth/continue?cancel=yes&", 1)))
	if got := p.result(); got != "access_denied" {
		t.Errorf("after giving up: %s", got)
	}
	b.post("/oauth/consent?r=none", "choice", "allow").want(http.StatusBadRequest)
	b.post(b.authorize("prompt", "consent").here(), "choice", "nonsense").want(http.StatusBadRequest)
}

// A request that began in one browser, or whose consent page another user saw, gives no code.
func TestRequestIsBound(t *testing.T) {
	t.Parallel()
	e := withClients(t)
	attacker := e.browser().as(e.user(bea), false, 0)
	p := attacker.authorize()
	victim := e.browser().as(e.user(ada), false, 0)
	for _, path := range []string{p.here(), strings.Replace(p.here(), "consent", "continue", 1), strings.Replace(p.here(), "consent", "account", 1)} {
		if got := victim.get(path).want(http.StatusBadRequest).Header.Get("Location"); got != "" {
			t.Errorf("%s in another browser leads to %s", path, got)
		}
		victim.Fields.Set("Cookie", "__Host-durward-oauth="+strings.Repeat("A", 43))
		victim.get(path).want(http.StatusBadRequest)
		victim.Fields.Del("Cookie")
	}
	shown := shownField.FindStringSubmatch(p.Body)[1]
	victim.post(p.here(), "choice", "allow", "shown", shown).want(http.StatusBadRequest)

	// Another user signs in to the same browser before Allow is pressed: the page is shown anew.
	attacker.as(e.user(ada), false, 0)
	again := attacker.walk(attacker.post(p.here(), "choice", "allow", "shown", shown).want(http.StatusSeeOther)).shows(ada).lacks(bea)
	if got := again.result(); got != "/oauth/consent" || len(e.events(store.EventConsentGiven)) != 0 {
		t.Errorf("the consent of another user: %s, %d events", got, len(e.events(store.EventConsentGiven)))
	}
	// Another user signs in after Allow: the request asks that user.
	hop := attacker.post(again.here(), "choice", "allow", "shown", shownField.FindStringSubmatch(again.Body)[1]).want(http.StatusOK)
	attacker.as(e.user(bea), false, 0)
	if got := attacker.walk(hop).shows(bea).result(); got != "/oauth/consent" {
		t.Errorf("another user after Allow: %s", got)
	}
	// A page of another site cannot press Allow.
	attacker.Fields.Set("Sec-Fetch-Site", "cross-site")
	attacker.post(again.here(), "choice", "allow", "shown", shown).want(http.StatusForbidden)
	attacker.Fields.Del("Sec-Fetch-Site")
	// A request ends after ten minutes without a step.
	e.clock.Advance(10*time.Minute + time.Second)
	attacker.get(again.here()).want(http.StatusBadRequest)
}

// A form of another site comes without cookies. The first browser that continues keeps the request.
func TestAuthorizePost(t *testing.T) {
	t.Parallel()
	e := withClients(t)
	b := e.consented(ada)
	foreign := e.browser() // a form of another site has no cookies of this one
	foreign.Fields.Set("Sec-Fetch-Site", "cross-site")
	foreign.Fields.Set("Origin", "https://app.example.org")
	send := func(q url.Values) page {
		return foreign.send(http.MethodPost, "/oauth/authorize", "application/x-www-form-urlencoded", q.Encode())
	}
	to := strings.TrimPrefix(send(parametersOf()).location(), origin)
	if got := b.get(to).result(); got != "code" {
		t.Errorf("a form of another site: %s", got)
	}
	if got := b.get(to).result(); got != "400 Bad Request" {
		t.Errorf("the second time: %s", got)
	}
	if got := send(parametersOf("response_type", "token")).result(); got != "unsupported_response_type" {
		t.Errorf("a form with a mistake: %s", got)
	}
	send(parametersOf("client_id", "none")).want(http.StatusBadRequest)
	foreign.send(http.MethodPost, "/oauth/authorize", "application/json", "{}").want(http.StatusUnsupportedMediaType)

	to = strings.TrimPrefix(send(parametersOf("prompt", "consent")).location(), origin)
	if got := b.walk(b.get(to)).result(); got != "/oauth/consent" {
		t.Errorf("a form of another site with prompt=consent: %s", got)
	}
	foreign.get(to).want(http.StatusBadRequest)
	// A network stores up to 60 requests in a minute.
	for range 60 {
		if p := send(parametersOf()); p.StatusCode == http.StatusTooManyRequests {
			return
		}
	}
	t.Error("no limit of stored requests")
}

// response_mode=form_post answers with a form that the browser submits.
func TestFormPost(t *testing.T) {
	t.Parallel()
	e := withClients(t)
	b := e.consented(ada)
	p := b.authorize("response_mode", "form_post").want(http.StatusOK)
	p.shows(`action="`+strings.ReplaceAll(callback, "&", "&amp;")+`"`, `name="code"`, `name="state"`, aState, `name="iss" value="`+origin+`"`, "form-post.js", "<button")
	if csp := p.Header.Get("Content-Security-Policy"); strings.Contains(csp, "form-action") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("Content-Security-Policy is %q", csp)
	}
	if p.Header.Get("Cache-Control") != "no-store" {
		t.Error("the response may be stored")
	}
	b.authorize("response_mode", "form_post", "response_type", "token").want(http.StatusOK).shows(`value="unsupported_response_type"`).lacks(`name="code"`)
}

// /account/applications and /api/apps list what the user allowed. Taking it back ends the sessions of that
// application and asks anew.
func TestApplications(t *testing.T) {
	t.Parallel()
	e := withClients(t)
	b := e.consented(ada)
	code := b.authorize().toClient().Get("code")
	use, _, err := e.node.Sessions.BeginApplication(context.Background(), useOf(code), request.Info{})
	e.must(err)
	if use.Refused != nil {
		t.Fatal(use.Refused)
	}
	b.get("/account/applications").want(http.StatusOK).shows("The app", "read your items", "Items")
	b.get("/api/apps").want(http.StatusOK).shows(`"client_id":"app"`, `"scopes":["openid","items:read"]`, `"resources":["https://api.example.com"]`)
	e.browser().as(e.user(bea), false, 0).post("/account/applications/app/withdraw").want(http.StatusNotFound)
	b.post("/account/applications/none/withdraw").want(http.StatusNotFound)
	b.post("/account/applications/app/withdraw").want(http.StatusSeeOther)
	// The list has applications with a live session, too.
	b.get("/account/applications?done=withdrawn").shows("may not use your account any more").lacks("<bdi>The app")
	if got := b.authorize().result(); got != "/oauth/consent" {
		t.Errorf("after the withdrawal: %s", got)
	}
	b.send(http.MethodDelete, "/api/apps/app", "application/json", "").want(http.StatusNotFound)
	b.allow(b.authorize())
	b.send(http.MethodDelete, "/api/apps/app", "application/json", "").want(http.StatusNoContent)
	if n := len(e.events(store.EventConsentWithdrawn)); n != 2 {
		t.Errorf("%d events of withdrawals, want 2", n)
	}
}

// An outage gets 503, and neither the user nor the client loses the sign-in.
func TestAuthorizeInOutage(t *testing.T) {
	t.Parallel()
	e := withClients(t)
	b := e.consented(ada)
	p := b.authorize("prompt", "consent")
	cookie := b.cookie("__Host-durward")
	e.must(e.node.DB.Close())
	for _, path := range []string{
		"/oauth/authorize?" + parametersOf().Encode(), "/oauth/authorize?" + parametersOf("prompt", "none").Encode(),
		p.here(), strings.Replace(p.here(), "consent", "continue", 1),
	} {
		got := b.get(path)
		if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" || got.Header.Get("Location") != "" {
			t.Errorf("%.40s: %s, Location %q", path, got.Status, got.Header.Get("Location"))
		}
	}
	b.post(p.here(), "choice", "allow", "shown", shownField.FindStringSubmatch(p.Body)[1]).want(http.StatusServiceUnavailable)
	if b.cookie("__Host-durward") != cookie {
		t.Error("the browser lost its session")
	}
}
