package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/durward-auth/durward/jwt"
)

// op is our server as an OpenID provider, and a client of it that needs no PKCE.
type op struct {
	t        *testing.T
	issuer   string
	sub      string
	callback string // answers with the method and the parameters of the response
	client   string
	provider *oidc.Provider
	mode     string // response_mode; empty means query
}

// module is one test module of the conformance suite of the OpenID Foundation. It gets a visitor who has signed in
// and consented.
type module func(o *op, v *visitor)

// request returns the URL of an authorization request, with pairs of further parameters. An empty value removes one.
func (o *op) request(pairs ...string) string {
	q := url.Values{"client_id": {o.client}, "redirect_uri": {o.callback}, "response_type": {"code"}, "scope": {"openid"},
		"state": {"a state"}, "nonce": {"a nonce"}}
	if o.mode != "" {
		q.Set("response_mode", o.mode)
	}
	for i := 0; i < len(pairs); i += 2 {
		if q.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
			q.Del(pairs[i])
		}
	}
	return o.issuer + "/oauth/authorize?" + q.Encode()
}

// respond sends an authorization request and returns the response at the callback.
func (o *op) respond(v *visitor, pairs ...string) url.Values {
	o.t.Helper()
	return o.parse(v.visit(o.request(pairs...)))
}

func (o *op) parse(lines []string) url.Values {
	o.t.Helper()
	method, text, _ := strings.Cut(lines[0], " ")
	q, err := url.ParseQuery(text)
	if err != nil {
		o.t.Fatal(err)
	}
	if want := map[string]string{"": "GET", "form_post": "POST"}[o.mode]; method != want || q.Get("state") != "a state" || q.Get("iss") != o.issuer {
		o.t.Errorf("response: %s %s, want %s, the state and the issuer", method, text, want)
	}
	return q
}

// want checks the error of a response.
func (o *op) want(q url.Values, code string) {
	o.t.Helper()
	if got := q.Get("error"); got != code || q.Has("code") {
		o.t.Errorf("response %s: got error %q, want %q", q.Encode(), got, code)
	}
}

// openIDTokens is a response of the token endpoint.
type openIDTokens struct {
	Access  string `json:"access_token"`
	ID      string `json:"id_token"`
	Refresh string `json:"refresh_token"`
	Type    string `json:"token_type"`
	Error   string

	claims idClaims // of the ID token, after exchange
}

type idClaims struct {
	Sub      string
	Nonce    string
	AuthTime int64 `json:"auth_time"`
	ACR      string
}

// token sends a request to the token endpoint. The client authenticates by Basic, unless the form has its secret.
func (o *op) token(form url.Values) (tokens openIDTokens) {
	o.t.Helper()
	r, err := http.NewRequestWithContext(o.t.Context(), http.MethodPost, o.issuer+"/oauth/token", strings.NewReader(form.Encode()))
	if err != nil {
		o.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if !form.Has("client_secret") {
		r.SetBasicAuth(o.client, partySecret)
	}
	status, _, body := o.do(r)
	if err := json.Unmarshal(body, &tokens); err != nil || (status == http.StatusOK) != (tokens.Error == "") {
		o.t.Fatalf("token endpoint: %d %s %v", status, body, err)
	}
	return tokens
}

func (o *op) do(r *http.Request) (status int, header http.Header, body []byte) {
	o.t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		o.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, body
}

// exchange exchanges the code of a response, with pairs of further parameters, and verifies the ID token.
func (o *op) exchange(q url.Values, pairs ...string) openIDTokens {
	o.t.Helper()
	form := url.Values{"grant_type": {"authorization_code"}, "code": {q.Get("code")}, "redirect_uri": {o.callback}}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	tokens := o.token(form)
	if tokens.Error != "" || tokens.Type != "Bearer" {
		o.t.Fatalf("exchange of %s: %+v", q.Encode(), tokens)
	}
	tokens.claims = o.verify(tokens)
	return tokens
}

// verify verifies an ID token, with the hash of its access token, and returns its claims.
func (o *op) verify(tokens openIDTokens) (claims idClaims) {
	o.t.Helper()
	id, err := o.provider.Verifier(&oidc.Config{ClientID: o.client}).Verify(o.t.Context(), tokens.ID)
	if err == nil {
		err = id.VerifyAccessToken(tokens.Access)
	}
	if err == nil {
		err = id.Claims(&claims)
	}
	if err != nil || claims.Sub != o.sub {
		o.t.Fatalf("ID token of %s: %v", claims.Sub, err)
	}
	return claims
}

// signIn sends a request that must succeed, and exchanges its code.
func (o *op) signIn(v *visitor, pairs ...string) openIDTokens {
	o.t.Helper()
	return o.exchange(o.respond(v, pairs...))
}

// userinfo sends a request to the userinfo endpoint, which must succeed, and returns the claims.
func (o *op) userinfo(access string) (claims map[string]any) {
	o.t.Helper()
	r, err := http.NewRequestWithContext(o.t.Context(), http.MethodGet, o.issuer+"/oauth/userinfo", nil)
	if err != nil {
		o.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+access)
	status, _, body := o.do(r)
	if json.Unmarshal(body, &claims) != nil || status != http.StatusOK || claims["sub"] != o.sub {
		o.t.Fatalf("userinfo: %d %s", status, body)
	}
	return claims
}

// wantClaims checks which claims the userinfo endpoint gives for a scope.
func wantClaims(scope string, want ...string) module {
	return func(o *op, v *visitor) {
		claims := o.userinfo(o.signIn(v, "scope", scope).Access)
		want := append([]string{"sub"}, want...)
		slices.Sort(want)
		var got []string
		for name := range claims {
			got = append(got, name)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			o.t.Errorf("claims of %q: got %q, want %q", scope, got, want)
		}
	}
}

// succeeds is a module whose further parameters do not change the result.
func succeeds(pairs ...string) module {
	return func(o *op, v *visitor) {
		if got := o.signIn(v, pairs...).claims; got.Nonce != "a nonce" {
			o.t.Errorf("nonce: got %q", got.Nonce)
		}
	}
}

// refuses is a module whose further parameters lead to an error.
func refuses(code string, pairs ...string) module {
	return func(o *op, v *visitor) { o.want(o.respond(v, pairs...), code) }
}

const (
	pkceVerifier  = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B
	pkceChallenge = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
)

// modules are those of the plans Basic and Form Post Basic, which has them all with form_post.
var modules = map[string]module{
	"oidcc-server": func(o *op, v *visitor) {
		if got := o.signIn(v).claims; got.Nonce != "a nonce" || got.AuthTime == 0 || got.ACR == "" {
			o.t.Errorf("ID token: %+v", got)
		}
	},
	"oidcc-server-client-secret-post": func(o *op, v *visitor) {
		o.exchange(o.respond(v), "client_id", o.client, "client_secret", partySecret)
	},
	"oidcc-response-type-missing": refuses("invalid_request", "response_type", ""),
	"oidcc-idtoken-signature": func(o *op, v *visitor) {
		rs256 := *o
		rs256.client = "rs256"
		header := algOf(o.t, rs256.signIn(v).ID)
		if header.Alg != "RS256" || header.Kid == "" {
			o.t.Errorf("header of the ID token: %+v", header)
		}
	},
	"oidcc-idtoken-unsigned": func(o *op, _ *visitor) {
		var metadata struct {
			Algs []string `json:"id_token_signing_alg_values_supported"`
		}
		if err := o.provider.Claims(&metadata); err != nil || len(metadata.Algs) == 0 || slices.Contains(metadata.Algs, "none") {
			o.t.Errorf("algorithms: %v, %v", metadata.Algs, err)
		}
	},
	"oidcc-userinfo-get": func(o *op, v *visitor) { o.userinfo(o.signIn(v).Access) },
	"oidcc-userinfo-post-header": func(o *op, v *visitor) {
		r, err := http.NewRequest(http.MethodPost, o.issuer+"/oauth/userinfo", nil)
		if err != nil {
			o.t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+o.signIn(v).Access)
		if status, _, body := o.do(r); status != http.StatusOK || !strings.Contains(string(body), o.sub) {
			o.t.Errorf("userinfo: %d %s", status, body)
		}
	},
	"oidcc-userinfo-post-body": func(o *op, v *visitor) { // a divergence: tokens are accepted in the field alone
		r, err := http.NewRequest(http.MethodPost, o.issuer+"/oauth/userinfo",
			strings.NewReader(url.Values{"access_token": {o.signIn(v).Access}}.Encode()))
		if err != nil {
			o.t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if status, header, body := o.do(r); status != http.StatusUnauthorized || !strings.HasPrefix(header.Get("WWW-Authenticate"), "Bearer") {
			o.t.Errorf("userinfo: %d %q %s", status, header["Www-Authenticate"], body)
		}
	},
	"oidcc-ensure-request-without-nonce-succeeds-for-code-flow": func(o *op, v *visitor) {
		if got := o.signIn(v, "nonce", "").claims; got.Nonce != "" {
			o.t.Errorf("nonce: got %q", got.Nonce)
		}
	},
	"oidcc-scope-profile":        wantClaims("openid profile", "name"),
	"oidcc-scope-email":          wantClaims("openid email", "email", "email_verified"),
	"oidcc-scope-address":        wantClaims("openid address"),
	"oidcc-scope-phone":          wantClaims("openid phone"),
	"oidcc-scope-all":            wantClaims("openid profile email address phone", "name", "email", "email_verified"),
	"oidcc-alternate-happy-flow": wantClaims("email openid", "email", "email_verified"),
	"oidcc-display-page":         succeeds("display", "page"),
	"oidcc-display-popup":        succeeds("display", "popup"),
	"oidcc-ensure-request-with-unknown-parameter-succeeds": succeeds("extra", "foobar"),
	"oidcc-login-hint":                              succeeds("login_hint", partyUser),
	"oidcc-ui-locales":                              succeeds("ui_locales", "se"),
	"oidcc-claims-locales":                          succeeds("claims_locales", "se"),
	"oidcc-ensure-request-with-acr-values-succeeds": succeeds("acr_values", "1 2"),
	"oidcc-prompt-login": func(o *op, v *visitor) {
		first, before := o.signIn(v).claims, v.passwords
		waitUntil(first.AuthTime + 1)
		again := o.signIn(v, "prompt", "login").claims
		if v.passwords != before+1 || again.AuthTime <= first.AuthTime {
			o.t.Errorf("%d more passwords; auth_time %d, then %d", v.passwords-before, first.AuthTime, again.AuthTime)
		}
	},
	"oidcc-prompt-none-not-logged-in": func(o *op, _ *visitor) {
		o.want(o.respond(newVisitor(o.t, partyUser, partyPassword), "prompt", "none"), "login_required")
	},
	"oidcc-prompt-none-logged-in": func(o *op, v *visitor) {
		first, second := o.signIn(v).claims, o.signIn(v, "prompt", "none").claims
		if first.AuthTime != second.AuthTime {
			o.t.Errorf("auth_time: %d, then %d", first.AuthTime, second.AuthTime)
		}
	},
	"oidcc-max-age-1": func(o *op, v *visitor) {
		first, before := o.signIn(v).claims, v.passwords
		waitUntil(first.AuthTime + 3)
		again := o.signIn(v, "max_age", "1").claims
		if v.passwords != before+1 || again.AuthTime <= first.AuthTime {
			o.t.Errorf("%d more passwords; auth_time %d, then %d", v.passwords-before, first.AuthTime, again.AuthTime)
		}
	},
	"oidcc-max-age-10000": func(o *op, v *visitor) {
		first, before := o.signIn(v).claims, v.passwords
		again := o.signIn(v, "max_age", "10000").claims
		if v.passwords != before || again.AuthTime != first.AuthTime {
			o.t.Errorf("%d more passwords; auth_time %d, then %d", v.passwords-before, first.AuthTime, again.AuthTime)
		}
	},
	"oidcc-id-token-hint": func(o *op, v *visitor) {
		o.signIn(v, "prompt", "none", "id_token_hint", o.signIn(v).ID)
	},
	"oidcc-codereuse": func(o *op, v *visitor) {
		q := o.respond(v)
		o.exchange(q)
		again := o.token(url.Values{"grant_type": {"authorization_code"}, "code": {q.Get("code")}, "redirect_uri": {o.callback}})
		if again.Error != "invalid_grant" {
			o.t.Errorf("second use: %+v", again)
		}
	},
	"oidcc-codereuse-30seconds": func(o *op, v *visitor) { // without the pause: the second use ends the first tokens
		q := o.respond(v)
		tokens := o.exchange(q)
		o.token(url.Values{"grant_type": {"authorization_code"}, "code": {q.Get("code")}, "redirect_uri": {o.callback}})
		if got := callAPI(o.t, o.issuer+"/oauth/userinfo", tokens.Access); !strings.Contains(got, "invalid_token") {
			o.t.Errorf("userinfo after the second use of the code: %s", got)
		}
	},
	"oidcc-ensure-registered-redirect-uri": func(o *op, v *visitor) {
		resp, err := v.client.Get(o.request("redirect_uri", o.callback+"/other"))
		if err != nil {
			o.t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest || resp.Header.Get("Location") != "" {
			o.t.Errorf("unregistered redirect URI: %s to %q", resp.Status, resp.Header.Get("Location"))
		}
	},
	"oidcc-ensure-post-request-succeeds": func(o *op, v *visitor) {
		to, err := url.Parse(o.request())
		if err != nil {
			o.t.Fatal(err)
		}
		form := to.Query()
		to.RawQuery = ""
		from, err := url.Parse(o.callback)
		if err != nil {
			o.t.Fatal(err)
		}
		o.exchange(o.parse(v.follow(v.request(http.MethodPost, to.String(), form, from))))
	},
	"oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported":    refuses("request_uri_not_supported", "request_uri", "https://client.example.com/request"),
	"oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported": refuses("request_not_supported", "request", "eyJhbGciOiJub25lIn0.e30."),
	"oidcc-ensure-request-object-with-redirect-uri":                                refuses("request_not_supported", "request", "eyJhbGciOiJub25lIn0.e30."),
	"oidcc-claims-essential": func(o *op, v *visitor) {
		tokens := o.signIn(v, "scope", "openid profile", "claims", `{"userinfo":{"name":{"essential":true}}}`)
		if got := o.userinfo(tokens.Access); got["name"] == "" {
			o.t.Errorf("claims: %v", got)
		}
	},
	"oidcc-refresh-token": func(o *op, v *visitor) {
		first := o.signIn(v, "scope", "openid offline_access", "prompt", "consent")
		next := o.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {first.Refresh}})
		if claims := o.verify(next); claims.AuthTime != first.claims.AuthTime || next.Refresh == first.Refresh {
			o.t.Errorf("after the refresh: %+v, before: %+v", claims, first.claims)
		}
		other := *o
		other.client = "rs256"
		if got := other.token(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {next.Refresh}}); got.Error != "invalid_grant" {
			o.t.Errorf("the refresh token at another client: %+v", got)
		}
	},
	"oidcc-ensure-request-with-valid-pkce-succeeds": func(o *op, v *visitor) {
		o.exchange(o.respond(v, "code_challenge", pkceChallenge, "code_challenge_method", "S256"), "code_verifier", pkceVerifier)
	},
}

// waitUntil waits until a Unix time has begun: claims of times have whole seconds.
func waitUntil(second int64) { <-time.After(time.Until(time.Unix(second, 0))) }

// algOf returns the header of a JWT.
func algOf(t *testing.T, token string) (header struct{ Alg, Kid string }) {
	t.Helper()
	i, err := jwt.Inspect(token)
	if err == nil {
		err = json.Unmarshal(i.Header, &header)
	}
	if err != nil {
		t.Fatal(err)
	}
	return header
}

// TestOpenIDModules does at our server the steps of each module of OpenID's certification plans Basic, Form Post and
// Config. docs/conformance.md has a row for each.
func TestOpenIDModules(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../docs/conformance.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := regexp.MustCompile("(?m)^\\| `(oidcc-[a-z0-9-]+)` \\|").FindAllStringSubmatch(string(document), -1)
	for _, m := range listed {
		if modules[m[1]] == nil && m[1] != "oidcc-discovery-endpoint-verification" {
			t.Errorf("docs/conformance.md: no test does %s", m[1])
		}
	}
	if len(listed) != len(modules)+1 {
		t.Errorf("docs/conformance.md lists %d modules, want %d", len(listed), len(modules)+1)
	}

	app := newProcess(t)
	serveAt(app, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprintln(w, r.Method, r.Form.Encode())
	}))
	clients := []relyingParty{
		{client: "basic", settings: "pkce = \"optional\"\n"},
		{client: "rs256", settings: "pkce = \"optional\"\nid_token_alg = \"RS256\"\n"},
	}
	at := map[string]*process{"basic": app, "rs256": app}
	issuer, sub := newPartyServer(t, clients, at, "https://api.example.com")
	provider, err := oidc.NewProvider(t.Context(), issuer)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("oidcc-discovery-endpoint-verification", func(t *testing.T) { checkDiscovery(t, provider, issuer) })
	for _, mode := range []string{"", "form_post"} {
		t.Run(filepath.Join("mode", mode), func(t *testing.T) {
			t.Parallel()
			o := &op{t: t, issuer: issuer, sub: sub, callback: "http://" + app.address + "/callback", client: "basic", provider: provider, mode: mode}
			v := newVisitor(t, partyUser, partyPassword)
			for name, run := range modules {
				t.Run(name, func(t *testing.T) {
					o := *o
					o.t, v.t = t, t
					run(&o, v)
				})
			}
		})
	}
}

// checkDiscovery checks the metadata of the provider as the plan Config does.
func checkDiscovery(t *testing.T, provider *oidc.Provider, issuer string) {
	t.Helper()
	var m struct {
		Issuer          string
		Authorization   string   `json:"authorization_endpoint"`
		Token           string   `json:"token_endpoint"`
		UserInfo        string   `json:"userinfo_endpoint"`
		JWKS            string   `json:"jwks_uri"`
		Scopes          []string `json:"scopes_supported"`
		ResponseTypes   []string `json:"response_types_supported"`
		Subjects        []string `json:"subject_types_supported"`
		Algs            []string `json:"id_token_signing_alg_values_supported"`
		Claims          []string `json:"claims_supported"`
		ClaimsParameter bool     `json:"claims_parameter_supported"`
		RequestURI      *bool    `json:"request_uri_parameter_supported"`
	}
	if err := provider.Claims(&m); err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{
		"issuer":                                m.Issuer == issuer,
		"authorization_endpoint":                m.Authorization == issuer+"/oauth/authorize",
		"token_endpoint":                        m.Token == issuer+"/oauth/token",
		"userinfo_endpoint":                     m.UserInfo == issuer+"/oauth/userinfo",
		"jwks_uri":                              strings.HasPrefix(m.JWKS, issuer+"/"),
		"scopes_supported":                      slices.Contains(m.Scopes, "openid"),
		"response_types_supported":              slices.Equal(m.ResponseTypes, []string{"code"}),
		"subject_types_supported":               slices.Equal(m.Subjects, []string{"public"}),
		"id_token_signing_alg_values_supported": slices.Contains(m.Algs, "RS256") && slices.Contains(m.Algs, "ES256"),
		"claims_supported":                      slices.Contains(m.Claims, "sub") && slices.Contains(m.Claims, "email"),
		"claims_parameter_supported":            m.ClaimsParameter,
		"request_uri_parameter_supported":       m.RequestURI != nil && !*m.RequestURI, // its default is true
	} {
		if !ok {
			t.Errorf("%s is wrong in %+v", name, m)
		}
	}
}
