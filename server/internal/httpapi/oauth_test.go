package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/oauth"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

const (
	itemsAPI     = "https://api.example.com"
	filesAPI     = "https://files.example.com"
	codeVerifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk" // RFC 7636 appendix B
	callback     = "https://app.example.com/callback"
)

// parties are the resources of these tests.
var parties = []oauth.Resource{
	{URL: itemsAPI, Scopes: []oauth.Scope{{Name: "items"}, {Name: "items:delete", Groups: []string{"staff"}}}, Claims: []string{"groups"}},
	{URL: filesAPI, Scopes: []oauth.Scope{{Name: "files"}}},
}

// oauthEnv returns a server with the clients web, other (confidential), spa (public) and worker.
func oauthEnv(t *testing.T, set settings) (w *env, secret string) {
	t.Helper()
	set.resources = parties
	w = newEnv(t, set)
	web := store.Client{
		ID: "web", Auth: store.ClientSecret, Grants: []string{oauth.GrantCode, oauth.GrantRefresh}, RedirectURIs: []string{callback}, Introspects: []string{itemsAPI},
		Scopes: strings.Fields("openid profile email groups offline_access items items:delete files"), Resources: []string{itemsAPI, filesAPI},
	}
	spa := web
	spa.ID, spa.Auth, spa.Introspects = "spa", store.ClientPublic, nil
	other := web
	other.ID = "other"
	worker := store.Client{
		ID: "worker:1", Auth: store.ClientSecret, Grants: []string{oauth.GrantCredentials}, Introspects: []string{itemsAPI},
		Scopes: strings.Fields("items files revocations openid profile"), Resources: []string{itemsAPI, filesAPI},
	}
	secret, _ = oauth.NewSecret("", w.oauth)
	for _, c := range []store.Client{web, spa, other, worker} {
		c.SessionID, c.CreatedAt = store.NewID(), w.clock.Now()
		hashed := []store.HashedSecret{{ID: store.NewID(), ClientID: c.ID, Hash: sha256.Sum256([]byte(secret)), CreatedAt: c.CreatedAt}}
		if c.Auth == store.ClientPublic {
			hashed = nil
		}
		if err := w.db.CreateClient(t.Context(), c, hashed, request.Info{}.Event(store.EventClientAdded, "ok", "", "", w.clock.Now())); err != nil {
			t.Fatal(err)
		}
	}
	return w, secret
}

// post sends a form to an OAuth endpoint. user is a client for Basic, or "".
func (w *env) post(path, user, secret string, form url.Values, change ...func(*http.Request)) reply {
	w.t.Helper()
	r, err := http.NewRequest("POST", w.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if user != "" {
		r.SetBasicAuth(url.QueryEscape(user), url.QueryEscape(secret))
	}
	for _, c := range change {
		c(r)
	}
	return w.send(r)
}

// params returns a form of names and values.
func params(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v
}

// granted reads a token response of an application.
func (w *env) granted(r reply) object {
	w.t.Helper()
	var o object
	if r.StatusCode != 200 || json.Unmarshal(r.body, &o) != nil || o["access_token"] == nil || r.Header.Get("Cache-Control") != "no-store" {
		w.t.Fatalf("not a token response: %s %v\n%s", r.Status, r.Header, r.body)
	}
	return o
}

// oauthRefused checks an error of an OAuth endpoint and the fields that every refusal has.
func (w *env) oauthRefused(name string, r reply, status int, code string) object {
	w.t.Helper()
	var o object
	if json.Unmarshal(r.body, &o) != nil || r.StatusCode != status || o["error"] != code {
		w.t.Errorf("%s: got %s %s, want %d %s", name, r.Status, r.body, status, code)
		return o
	}
	if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Durward-Denial") == "" || r.Header.Get("Content-Type") != "application/json" {
		w.t.Errorf("%s: fields %v", name, r.Header)
	}
	if (status == 401) != (r.Header.Get("WWW-Authenticate") != "") || status == 401 && r.Header.Get("WWW-Authenticate") != `Basic realm="127.0.0.1", charset="UTF-8"` {
		w.t.Errorf("%s: WWW-Authenticate %q", name, r.Header.Values("WWW-Authenticate"))
	}
	if uri, _ := o["error_uri"].(string); !strings.HasSuffix(uri, "/errors/"+fmt.Sprint(o["code"])) || o["error_description"] == "" {
		w.t.Errorf("%s: body %s", name, r.body)
	}
	return o
}

// newCode returns a code of ada for a client, as the child of a browser's session.
func (w *env) newCode(client string, change ...func(*store.Code)) string {
	w.t.Helper()
	parent := w.signIn().AccessToken
	in, err := jwt.Inspect(parent)
	if err != nil {
		w.t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(codeVerifier))
	c := store.Code{
		ClientID: client, UserID: w.ada.ID, ParentID: in.Claims.SessionID, RedirectURI: callback, Nonce: "n-1", Scope: "openid profile email items",
		Challenge: base64.RawURLEncoding.EncodeToString(sum[:]), Resources: []string{itemsAPI}, AuthTime: w.clock.Now(), ACR: "urn:durward:acr:1fa", AMR: []string{"pwd"},
	}
	for _, f := range change {
		f(&c)
	}
	code, err := w.sessions.NewCode(w.t.Context(), c, c.ParentID, time.Minute)
	if err != nil {
		w.t.Fatal(err)
	}
	return code
}

func codeForm(code string) url.Values {
	return params("grant_type", "authorization_code", "code", code, "redirect_uri", callback, "code_verifier", codeVerifier)
}

// claimsOf returns the payload of a JWT.
func claimsOf(t *testing.T, token any) (header, claims object) {
	t.Helper()
	in, err := jwt.Inspect(token.(string))
	if err != nil || json.Unmarshal(in.Payload, &claims) != nil || json.Unmarshal(in.Header, &header) != nil {
		t.Fatalf("%v: %v", token, err)
	}
	return header, claims
}

// A client gets a token for itself, for one resource and with its own scopes alone.
func TestClientCredentials(t *testing.T) {
	t.Parallel()
	w, secret := oauthEnv(t, settings{})
	o := w.granted(w.post("/oauth/token", "worker:1", secret, params("grant_type", "client_credentials")))
	_, claims := claimsOf(t, o["access_token"])
	c, err := w.db.ClientByID(t.Context(), "worker:1")
	if err != nil {
		t.Fatal(err)
	}
	wanted := object{"sub": "worker:1", "client_id": "worker:1", "sid": c.SessionID, "aud": itemsAPI, "scope": "items revocations", "auth_time": nil, "groups": nil}
	for name, want := range wanted {
		if claims[name] != want {
			t.Errorf("%s: got %v, want %v", name, claims[name], want)
		}
	}
	if o["token_type"] != "Bearer" || o["expires_in"] != 900.0 || o["refresh_token"] != nil || o["id_token"] != nil || o["scope"] != "items revocations" {
		t.Errorf("response: %v", o)
	}
	o = w.granted(w.post("/oauth/token", "worker:1", secret, params("grant_type", "client_credentials", "resource", filesAPI+"/", "scope", "files openid items")))
	if _, claims := claimsOf(t, o["access_token"]); claims["aud"] != filesAPI || claims["scope"] != "files" {
		t.Errorf("another resource: %v", claims)
	}
	for _, row := range []struct {
		name, client string
		form         url.Values
		want         string
	}{
		{"no grant", "worker:1", params(), "invalid_request"},
		{"unknown grant", "worker:1", params("grant_type", "password"), "unsupported_grant_type"},
		{"implicit", "worker:1", params("grant_type", "implicit"), "unsupported_grant_type"},
		{"a grant of others", "worker:1", codeForm("x"), "unauthorized_client"},
		{"a client without this grant", "web", params("grant_type", "client_credentials"), "unauthorized_client"},
		{"scopes of others", "worker:1", params("grant_type", "client_credentials", "scope", "openid files"), "invalid_scope"},
		{"an unknown resource", "worker:1", params("grant_type", "client_credentials", "resource", "https://evil.example"), "invalid_target"},
		{"two resources", "worker:1", params("grant_type", "client_credentials", "resource", itemsAPI, "resource", filesAPI), "invalid_target"},
	} {
		w.oauthRefused(row.name, w.post("/oauth/token", row.client, secret, row.form), 400, row.want)
	}
}

// A client authenticates in one way. A browser's script gets no challenge that would open a dialog.
func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	w, secret := oauthEnv(t, settings{})
	form := params("grant_type", "client_credentials")
	with := func(pairs ...string) url.Values {
		f := params(pairs...)
		maps.Copy(f, form)
		return f
	}
	basic := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	for name, r := range map[string]reply{
		"encoded":        w.post("/oauth/token", "worker:1", secret, form),
		"post":           w.post("/oauth/token", "", "", with("client_id", "worker:1", "client_secret", secret)),
		"id in the body": w.post("/oauth/token", "worker:1", secret, with("client_id", "worker:1")),
	} {
		if r.StatusCode != 200 {
			t.Errorf("%s: %s %s", name, r.Status, r.body)
		}
	}
	if r := w.post("/oauth/token", "", "", codeForm(w.newCode("web")), basic("web", secret)); r.StatusCode != 200 {
		t.Errorf("not encoded: %s %s", r.Status, r.body)
	}
	// golang.org/x/oauth2 tries Basic with an empty secret first.
	for name, f := range map[string]func(*http.Request){"Basic without a secret": basic("spa", ""), "none": func(*http.Request) {}} {
		form := codeForm(w.newCode("spa"))
		form.Set("client_id", "spa")
		if r := w.post("/oauth/token", "", "", form, f); r.StatusCode != 200 {
			t.Errorf("public client, %s: %s %s", name, r.Status, r.body)
		}
	}
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Add(name, value) }
	}
	code := w.newCode("web")
	for _, row := range []struct {
		name   string
		form   url.Values
		change []func(*http.Request)
		status int
		want   string
	}{
		{"two ways", with("client_secret", secret), []func(*http.Request){basic("worker:1", secret)}, 400, "invalid_request"},
		{"two ways, one wrong", with("client_secret", "x"), []func(*http.Request){basic("worker:1", secret)}, 400, "invalid_request"},
		{"assertion and Basic", with("client_assertion", "x"), []func(*http.Request){basic("worker:1", secret)}, 400, "invalid_request"},
		{"assertion", with("client_id", "worker:1", "client_assertion", "x"), nil, 401, "invalid_client"},
		{"another id in the body", with("client_id", "web"), []func(*http.Request){basic("worker:1", secret)}, 400, "invalid_request"},
		{"no client", form, nil, 401, "invalid_client"},
		{"unknown client", with("client_id", "nothing"), nil, 401, "invalid_client"},
		{"wrong secret", form, []func(*http.Request){basic("worker:1", secret+"x")}, 401, "invalid_client"},
		{"empty secret of a confidential client", form, []func(*http.Request){basic("web", "")}, 401, "invalid_client"},
		{"confidential client as a public one", with("client_id", "web"), nil, 401, "invalid_client"},
		{"public client with a secret", with("client_id", "spa", "client_secret", secret), nil, 401, "invalid_client"},
		{"NUL", with("client_id", "a\x00b"), nil, 401, "invalid_client"},
		{"Bearer", form, []func(*http.Request){header("Authorization", "Bearer x")}, 401, "invalid_client"},
		{"Basic that is not base64", form, []func(*http.Request){header("Authorization", "Basic %%%")}, 401, "invalid_client"},
		{"two fields", form, []func(*http.Request){basic("worker:1", secret), header("Authorization", "Basic x")}, 400, "invalid_request"},
		{"script without Authorization", with("client_id", "nothing"), []func(*http.Request){header("Origin", "https://app.example.com")}, 400, "invalid_client"},
		{"script by Sec-Fetch-Mode", with("client_id", "nothing"), []func(*http.Request){header("Sec-Fetch-Mode", "cors")}, 400, "invalid_client"},
		{"script with Authorization", form, []func(*http.Request){basic("x", "y"), header("Origin", "https://app.example.com")}, 401, "invalid_client"},
		{"before the code is read", codeForm(code), []func(*http.Request){basic("web", "wrong")}, 401, "invalid_client"},
	} {
		w.oauthRefused(row.name, w.post("/oauth/token", "", "", row.form, row.change...), row.status, row.want)
	}
	for range 6 {
		w.oauthRefused("wrong secret", w.post("/oauth/token", "web", "wrong", codeForm(code)), 401, "invalid_client")
	}
	w.granted(w.post("/oauth/token", "web", secret, codeForm(code))) // wrong clients did not use it up
	if err := w.oauth.DisableClient(t.Context(), "worker:1", request.Info{Actor: "operator"}); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(2 * time.Second) // a network has few recorded refusals in a second
	r := w.post("/oauth/token", "worker:1", secret, form)
	w.oauthRefused("disabled", r, 401, "invalid_client")
	w.eventually("the cause is recorded", func() bool {
		d, err := w.db.DenialByID(t.Context(), r.Header.Get("Durward-Denial"))
		return err == nil && d.Status == 401 && strings.Contains(d.Cause, "disabled")
	})
}

// After too many failures of a network the next failure is 429, and a right secret still works.
func TestClientAuthenticationLimit(t *testing.T) {
	t.Parallel()
	w, secret := oauthEnv(t, settings{badClients: 3})
	form := params("grant_type", "client_credentials")
	for range 3 {
		w.oauthRefused("wrong", w.post("/oauth/token", "worker:1", "x", form), 401, "invalid_client")
	}
	r := w.post("/oauth/token", "worker:1", "x", form)
	w.oauthRefused("the fourth", r, 429, "temporarily_unavailable")
	if r.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	w.granted(w.post("/oauth/token", "worker:1", secret, form))
}

// Bad input is refused with the RFC's error, and neither issues nor spends anything.
func TestBadInputOfOAuth(t *testing.T) {
	t.Parallel()
	w, secret := oauthEnv(t, settings{})
	code := w.newCode("web")
	raw := func(body string) func(*http.Request) {
		return func(r *http.Request) {
			fresh, _ := http.NewRequest("POST", r.URL.String(), strings.NewReader(body))
			r.Body, r.ContentLength = fresh.Body, fresh.ContentLength
		}
	}
	kind := func(value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Content-Type", value) }
	}
	query := func(value string) func(*http.Request) {
		return func(r *http.Request) { r.URL.RawQuery = value }
	}
	good := codeForm(code).Encode()
	for _, path := range []string{"/oauth/token", "/oauth/revoke", "/oauth/introspect"} {
		form := codeForm(code)
		form.Set("token", "x")
		for name, change := range map[string]func(*http.Request){
			"doubled":             raw(good + "&grant_type=authorization_code"),
			"doubled and unknown": raw(good + "&x=1&x=2"),
			"JSON":                kind("application/json"),
			"no type":             func(r *http.Request) { r.Header.Del("Content-Type") },
			"multipart":           kind("multipart/form-data; boundary=x"),
			"two types":           func(r *http.Request) { r.Header.Add("Content-Type", "application/x-www-form-urlencoded") },
			"coded":               func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") },
			"secret in the URL":   query("client_secret=x"),
			"token in the URL":    query("token=x"),
			"code in the URL":     query("code=" + code),
			"broken URL":          query("a=%zz"),
			"broken body":         raw("a=%zz"),
			"semicolons":          raw(good + ";a=b"),
			"1 MB":                raw(good + "&state=" + strings.Repeat("x", 1<<20)),
		} {
			w.oauthRefused(path+" "+name, w.post(path, "web", secret, form, change), 400, "invalid_request")
		}
		for _, method := range []string{"GET", "HEAD", "PUT", "DELETE"} {
			r, err := http.NewRequest(method, w.url+path+"?"+good, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := w.send(r); got.StatusCode != 405 || got.Header.Get("Allow") != "POST" {
				t.Errorf("%s %s: %s, Allow %q", method, path, got.Status, got.Header.Get("Allow"))
			}
		}
	}
	w.granted(w.post("/oauth/token", "web", secret, codeForm(code)))
}

// The token endpoint binds tokens to the key of a DPoP proof, and the refresh token of a public client too. A refused
// proof spends neither code nor refresh token.
func TestBoundApplication(t *testing.T) {
	t.Parallel()
	w, secret := oauthEnv(t, settings{dpop: true})
	h, thief := w.holder().meet(), w.holder().meet()
	const endpoint = "/oauth/token"
	ask := func(client string, form url.Values, proofs ...string) reply {
		t.Helper()
		user := client
		if client == "spa" {
			form.Set("client_id", client)
			user = ""
		}
		r := w.post(endpoint, user, secret, form, func(r *http.Request) {
			r.Header["Dpop"] = proofs
			r.Header.Set("Origin", "https://app.example.com")
		})
		if nonce := r.Header.Get("DPoP-Nonce"); nonce != "" {
			h.nonce, thief.nonce = nonce, nonce
		}
		return r
	}
	bound := func(o object) (access, refresh string) {
		t.Helper()
		_, claims := claimsOf(t, o["access_token"])
		if cnf, _ := claims["cnf"].(object); o["token_type"] != "DPoP" || cnf["jkt"] != h.thumbprint() {
			t.Errorf("token_type %v, cnf %v, want DPoP with %s", o["token_type"], claims["cnf"], h.thumbprint())
		}
		refresh, _ = o["refresh_token"].(string)
		return o["access_token"].(string), refresh
	}
	userinfo := func(token string) int {
		return h.proven("GET", "/oauth/userinfo", "DPoP "+token, "", h.proof("GET", "/oauth/userinfo", token)).StatusCode
	}
	proof := func() string { return h.proof("POST", endpoint, "") }

	for _, client := range []string{"web", "spa"} {
		code := w.newCode(client, func(c *store.Code) { c.JKT = h.thumbprint() })
		none := h.proof("POST", endpoint, "", func(c object) { delete(c, "nonce") })
		r := ask(client, codeForm(code), none)
		w.oauthRefused("no nonce", r, 400, "use_dpop_nonce")
		if len(r.Header.Values("DPoP-Nonce")) != 1 || !strings.Contains(r.Header.Get("Access-Control-Expose-Headers"), "DPoP-Nonce") {
			t.Errorf("no nonce: the fields are %v", r.Header)
		}
		for name, proofs := range map[string][]string{
			"garbage": {"x"}, "two": {proof(), proof()}, "of another URL": {h.proof("POST", "/oauth/revoke", "")}, "of a token": {h.proof("POST", endpoint, "a.b.c")},
		} {
			w.oauthRefused(name, ask(client, codeForm(code), proofs...), 400, "invalid_dpop_proof")
		}
		w.oauthRefused("no proof for dpop_jkt", ask(client, codeForm(code)), 400, "invalid_grant")
		w.oauthRefused("another key than dpop_jkt", ask(client, codeForm(code), thief.proof("POST", endpoint, "")), 400, "invalid_grant")
		used := proof()
		access, refresh := bound(w.granted(ask(client, codeForm(code), used)))
		w.oauthRefused("a used proof", ask(client, params("grant_type", "refresh_token", "refresh_token", refresh), used), 400, "invalid_dpop_proof")
		if got := userinfo(access); got != 200 {
			t.Errorf("%s: userinfo: %d", client, got)
		}
		w.refused(w.do("GET", "/oauth/userinfo", access, nil), 401, "INVALID_TOKEN") // as Bearer
		form := params("grant_type", "refresh_token", "refresh_token", refresh)
		if client == "spa" { // RFC 9449 s5: this client has nothing else to prove itself
			w.oauthRefused("a refresh without a proof", ask(client, form), 400, "invalid_dpop_proof")
			w.oauthRefused("a refresh with another key", ask(client, form, thief.proof("POST", endpoint, "")), 400, "invalid_dpop_proof")
		}
		bound(w.granted(ask(client, form, proof())))
	}
	bound(w.granted(ask("worker:1", params("grant_type", "client_credentials"), proof())))
	if o := w.granted(ask("worker:1", params("grant_type", "client_credentials"))); o["token_type"] != "Bearer" {
		t.Errorf("without a proof: token_type %v", o["token_type"])
	}
	if r := w.do("GET", "/.well-known/oauth-authorization-server", "", nil); !strings.Contains(string(r.body), `"dpop_signing_alg_values_supported":["ES256","EdDSA","Ed25519"]`) {
		t.Errorf("metadata: %s", r.body)
	}
}

// With DPoP off the token type says that a token is not bound (RFC 9449 s5), and the metadata names no algorithm.
func TestUnboundApplication(t *testing.T) {
	t.Parallel()
	w, secret := oauthEnv(t, settings{})
	form := params("grant_type", "client_credentials")
	o := w.granted(w.post("/oauth/token", "worker:1", secret, form, func(r *http.Request) { r.Header.Set("DPoP", w.holder().proof("POST", "/oauth/token", "")) }))
	if _, claims := claimsOf(t, o["access_token"]); o["token_type"] != "Bearer" || claims["cnf"] != nil {
		t.Errorf("token_type %v, cnf %v", o["token_type"], claims["cnf"])
	}
	if r := w.do("GET", "/.well-known/oauth-authorization-server", "", nil); strings.Contains(string(r.body), "dpop") {
		t.Errorf("metadata: %s", r.body)
	}
}

// A code gives access token, ID token and refresh token, with the claims of the sign-in.
func TestUseOfCode(t *testing.T) {
	t.Parallel()
	w, secret := oauthEnv(t, settings{})
	if err := w.people.AddToGroup(t.Context(), w.ada.ID, "staff", request.Info{Actor: "operator"}); err != nil {
		t.Fatal(err)
	}
	o := w.granted(w.post("/oauth/token", "web", secret, codeForm(w.newCode("web", func(c *store.Code) {
		c.Claims = `{"id_token":{"email":null,"groups":null}}`
	}))))
	header, claims := claimsOf(t, o["access_token"])
	if aud := fmt.Sprint(claims["aud"]); header["typ"] != "at+jwt" || aud != fmt.Sprint([]string{itemsAPI, w.oauth.UserInfoURL()}) || claims["client_id"] != "web" || claims["sub"] != w.ada.ID || fmt.Sprint(claims["groups"]) != "[staff]" || claims["scope"] != "openid profile email items" {
		t.Errorf("access token: %v %v", header, claims)
	}
	header, id := claimsOf(t, o["id_token"])
	sum := sha256.Sum256([]byte(o["access_token"].(string)))
	wanted := object{
		"iss": w.issuer.URL(), "sub": w.ada.ID, "aud": "web", "nonce": "n-1", "acr": "urn:durward:acr:1fa", "sid": claims["sid"], "auth_time": float64(w.clock.Now().Unix()),
		"iat": float64(w.clock.Now().Unix()), "exp": float64(w.clock.Now().Unix() + 900), "email": adaEmail, "groups": nil, "name": nil,
		"at_hash": base64.RawURLEncoding.EncodeToString(sum[:16]),
	}
	for name, want := range wanted {
		if id[name] != want {
			t.Errorf("ID token: %s is %v, want %v", name, id[name], want)
		}
	}
	if header["typ"] != "JWT" || fmt.Sprint(id["amr"]) != "[pwd]" {
		t.Errorf("ID token: %v %v", header, id)
	}
	again := w.granted(w.post("/oauth/token", "web", secret, params("grant_type", "refresh_token", "refresh_token", o["refresh_token"].(string))))
	if _, claims2 := claimsOf(t, again["access_token"]); claims2["sid"] != claims["sid"] || again["refresh_token"] == o["refresh_token"] || again["id_token"] == nil {
		t.Errorf("refreshed: %v", again)
	}
}

// A code is for the client, redirect URI and verifier of its request. Wrong uses spend nothing, the fifth ends it.
func TestWrongUseOfCode(t *testing.T) {
	t.Parallel()
	w, secret := oauthEnv(t, settings{})
	change := func(name, value string) func(url.Values) { return func(f url.Values) { f.Set(name, value) } }
	for _, row := range []struct {
		name, client string
		change       func(url.Values)
		code         string
	}{
		{"another client", "other", change("x", ""), "INVALID_TOKEN"},
		{"another redirect URI", "web", change("redirect_uri", callback+"/"), "INVALID_REQUEST"},
		{"another verifier", "web", change("code_verifier", strings.Repeat("a", 43)), "INVALID_REQUEST"},
		{"no verifier", "web", change("code_verifier", ""), "INVALID_REQUEST"},
		{"the challenge as verifier", "web", change("code_verifier", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"), "INVALID_REQUEST"},
		{"verifier of 42", "web", change("code_verifier", codeVerifier[:42]), "INVALID_REQUEST"},
		{"verifier of 129", "web", change("code_verifier", strings.Repeat("a", 129)), "INVALID_REQUEST"},
		{"unknown code", "web", change("code", "x"), "INVALID_TOKEN"},
	} {
		code := w.newCode("web")
		f := codeForm(code)
		row.change(f)
		if o := w.oauthRefused(row.name, w.post("/oauth/token", row.client, secret, f), 400, "invalid_grant"); o["code"] != row.code {
			t.Errorf("%s: code %v, want %s", row.name, o["code"], row.code)
		}
		w.granted(w.post("/oauth/token", "web", secret, codeForm(code)))
	}
	code := w.newCode("web", func(c *store.Code) { c.Challenge = "" })
	w.oauthRefused("a verifier without a challenge", w.post("/oauth/token", "web", secret, codeForm(code)), 400, "invalid_grant")
	f := codeForm(code)
	f.Del("code_verifier")
	f.Del("redirect_uri")
	w.oauthRefused("without PKCE and redirect URI", w.post("/oauth/token", "web", secret, f), 400, "invalid_grant")
	f.Set("redirect_uri", callback)
	f.Set("resource", filesAPI)
	w.oauthRefused("another resource", w.post("/oauth/token", "web", secret, f), 400, "invalid_target")

	code = w.newCode("web")
	for range 5 {
		f := codeForm(code)
		f.Set("code_verifier", strings.Repeat("a", 43))
		w.oauthRefused("wrong verifier", w.post("/oauth/token", "web", secret, f), 400, "invalid_grant")
	}
	w.oauthRefused("after five wrong uses", w.post("/oauth/token", "web", secret, codeForm(code)), 400, "invalid_grant")

	code = w.newCode("web")
	w.clock.Advance(time.Minute)
	w.oauthRefused("after a minute", w.post("/oauth/token", "web", secret, codeForm(code)), 400, "invalid_grant")
}

// Of many uses of a code at once one succeeds, and the others end what it gave.
func TestCodeUsedAtOnce(t *testing.T) {
	t.Parallel()
	w, secret := oauthEnv(t, settings{})
	code := w.newCode("web")
	replies := make([]reply, 20)
	var wait sync.WaitGroup
	for i := range replies {
		wait.Go(func() { replies[i] = w.post("/oauth/token", "web", secret, codeForm(code)) })
	}
	wait.Wait()
	var given []object
	for _, r := range replies {
		if r.StatusCode == 200 {
			given = append(given, w.granted(r))
		} else {
			w.oauthRefused("used again", r, 400, "invalid_grant")
		}
	}
	if len(given) != 1 {
		t.Fatalf("%d of 20 uses gave tokens, want 1", len(given))
	}
	w.oauthRefused("its refresh token", w.post("/oauth/token", "web", secret, params("grant_type", "refresh_token", "refresh_token", given[0]["refresh_token"].(string))), 400, "invalid_grant")
	if r := w.do("GET", "/oauth/userinfo", given[0]["access_token"].(string), nil); r.StatusCode != 401 {
		t.Errorf("its access token: %s", r.Status)
	}
	if n := len(w.events(store.EventCodeReplayed)); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}

// A refresh narrows scope and resource of its response alone, and reads the rights of user and client anew.
func TestRefreshOfApplication(t *testing.T) {
	t.Parallel()
	w, secret := oauthEnv(t, settings{})
	operator := request.Info{Actor: "operator"}
	if err := w.people.AddToGroup(t.Context(), w.ada.ID, "staff", operator); err != nil {
		t.Fatal(err)
	}
	begin := func() string {
		return w.granted(w.post("/oauth/token", "web", secret, codeForm(w.newCode("web", func(c *store.Code) {
			c.Scope, c.Resources = "openid items items:delete files", []string{itemsAPI, filesAPI}
		}))))["refresh_token"].(string)
	}
	token := begin()
	refresh := func(pairs ...string) reply {
		return w.post("/oauth/token", "web", secret, params(append(pairs, "grant_type", "refresh_token", "refresh_token", token)...))
	}
	next := func(name, scope string, pairs ...string) {
		t.Helper()
		o := w.granted(refresh(pairs...))
		if token = o["refresh_token"].(string); o["scope"] != scope {
			t.Errorf("%s: scope %q, want %q", name, o["scope"], scope)
		}
	}
	next("the first resource", "openid items items:delete")
	next("narrower", "items", "scope", "items")
	next("another resource", "openid files", "resource", filesAPI)
	next("all again", "openid items items:delete")
	w.oauthRefused("more scope", refresh("scope", "items email"), 400, "invalid_scope")
	w.oauthRefused("another resource", refresh("resource", "https://evil.example"), 400, "invalid_target")
	w.oauthRefused("of another client", w.post("/oauth/token", "other", secret, params("grant_type", "refresh_token", "refresh_token", token)), 400, "invalid_grant")
	w.oauthRefused("of the server's own sign-in", w.post("/oauth/token", "web", secret, params("grant_type", "refresh_token", "refresh_token", w.signIn().RefreshToken)), 400, "invalid_grant")
	w.oauthRefused("missing", w.post("/oauth/token", "web", secret, params("grant_type", "refresh_token")), 400, "invalid_request")
	w.refused(w.refreshWith(token), 401, "REFRESH_INVALID") // at the server's own endpoint
	next("unchanged by refusals", "openid items items:delete")

	if err := w.oauth.DisableClient(t.Context(), "web", operator); err != nil {
		t.Fatal(err)
	}
	w.oauthRefused("client disabled", refresh(), 401, "invalid_client")
	if err := w.oauth.EnableClient(t.Context(), "web", operator); err != nil {
		t.Fatal(err)
	}
	token = begin()
	w.requireFactor()
	if o := w.oauthRefused("user owes a second factor", refresh(), 400, "invalid_grant"); o["code"] != "ENROLMENT_REQUIRED" {
		t.Errorf("code %v, want ENROLMENT_REQUIRED", o["code"])
	}
	if err := w.people.RequireFactor(t.Context(), w.ada.ID, false, operator); err != nil {
		t.Fatal(err)
	}
	next("unchanged by the requirement", "openid items items:delete")
	if err := w.sessions.LockUser(t.Context(), w.ada.ID, operator); err != nil {
		t.Fatal(err)
	}
	w.oauthRefused("user locked", refresh(), 400, "invalid_grant")
}

// A user who leaves a group loses the applications: their tokens are refused at once. The sign-in of the browser
// stays.
func TestLostGroup(t *testing.T) {
	t.Parallel()
	w, secret := oauthEnv(t, settings{})
	operator := request.Info{Actor: "operator"}
	if err := w.people.AddToGroup(t.Context(), w.ada.ID, "staff", operator); err != nil {
		t.Fatal(err)
	}
	own := w.signIn().AccessToken
	o := w.granted(w.post("/oauth/token", "web", secret, codeForm(w.newCode("web"))))
	access, refresh := o["access_token"].(string), o["refresh_token"].(string)
	if r := w.do("GET", "/oauth/userinfo", access, nil); r.StatusCode != 200 {
		t.Fatalf("userinfo: %s %s", r.Status, r.body)
	}
	if err := w.sessions.RemoveFromGroup(t.Context(), w.ada.ID, "staff", operator); err != nil {
		t.Fatal(err)
	}
	if r := w.do("GET", "/oauth/userinfo", access, nil); r.StatusCode != 401 {
		t.Errorf("userinfo: %s %s", r.Status, r.body)
	}
	w.oauthRefused("refresh", w.post("/oauth/token", "web", secret, params("grant_type", "refresh_token", "refresh_token", refresh)), 400, "invalid_grant")
	w.works(own)
}

// A token of an application opens nothing of the server's own API, whatever its scopes and audience, except the
// revocations for a client with that scope.
func TestTokensOfApplicationsAtTheAPI(t *testing.T) {
	t.Parallel()
	w, _ := oauthEnv(t, settings{})
	in, err := jwt.Inspect(w.signIn().AccessToken)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(client string) string {
		c := in.Claims
		c.ClientID, c.Scopes = client, []string{"profile", "admin", "openid", "revocations", "notifications"}
		token, _, err := w.issuer.Sign(c)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	application, own := issue("web"), issue("durward")
	for pattern, cases := range routeCases {
		for _, c := range cases {
			if !strings.HasPrefix(pattern, "/api/") || !c.guarded {
				continue
			}
			var body any
			if c.body != "" {
				body = json.RawMessage(c.body)
			}
			if pattern == "/api/revocations" {
				if r := w.do(c.method, c.path, application, nil); r.StatusCode != 200 {
					t.Errorf("revocations: %s %s", r.Status, r.body)
				}
				continue
			}
			w.refused(w.do(c.method, c.path, application, body), 401, "INVALID_TOKEN")
		}
	}
	w.do("POST", "/api/auth/logout", application, nil) // 204, and nothing ends
	w.works(own)
	if r := w.do("POST", "/api/auth/logout", own, nil); r.StatusCode != 204 {
		t.Errorf("own sign-out: %s", r.Status)
	}
	w.dead(own, "TOKEN_REVOKED")
}

// Revocation ends one access token, or the grant of a refresh token; another client's token stays.
func TestRevoke(t *testing.T) {
	t.Parallel()
	w, secret := oauthEnv(t, settings{})
	ends := func(o object) (access, refresh string) {
		return o["access_token"].(string), o["refresh_token"].(string)
	}
	access, refresh := ends(w.granted(w.post("/oauth/token", "web", secret, codeForm(w.newCode("web")))))
	sibling, _ := ends(w.granted(w.post("/oauth/token", "web", secret, codeForm(w.newCode("web")))))
	live := func(token string) bool { return w.do("GET", "/oauth/userinfo", token, nil).StatusCode == 200 }
	ok := func(name string, r reply) {
		t.Helper()
		if r.StatusCode != 200 || len(r.body) > 0 || r.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s %s", name, r.Status, r.body)
		}
	}
	for _, token := range []string{access, refresh} {
		w.oauthRefused("of another client", w.post("/oauth/revoke", "other", secret, params("token", token)), 400, "invalid_grant")
	}
	w.oauthRefused("no token", w.post("/oauth/revoke", "web", secret, params()), 400, "invalid_request")
	w.oauthRefused("no client", w.post("/oauth/revoke", "", "", params("token", access)), 401, "invalid_client")
	ok("unknown", w.post("/oauth/revoke", "web", secret, params("token", "x")))
	ok("with a wrong hint", w.post("/oauth/revoke", "web", secret, params("token", access, "token_type_hint", "refresh_token")))
	if live(access) || !live(sibling) {
		t.Error("the access token works, or another one does not")
	}
	access, refresh = ends(w.granted(w.post("/oauth/token", "web", secret, params("grant_type", "refresh_token", "refresh_token", refresh))))
	ok("refresh token", w.post("/oauth/revoke", "web", secret, params("token", refresh)))
	ok("again", w.post("/oauth/revoke", "web", secret, params("token", refresh)))
	if live(access) || !live(sibling) {
		t.Error("the access token of the grant works, or that of another grant does not")
	}
	w.oauthRefused("ended", w.post("/oauth/token", "web", secret, params("grant_type", "refresh_token", "refresh_token", refresh)), 400, "invalid_grant")
}

// A client learns of tokens for its own audience and of its own refresh tokens, and of no other one.
func TestIntrospect(t *testing.T) {
	t.Parallel()
	w, secret := oauthEnv(t, settings{})
	if err := w.people.AddToGroup(t.Context(), w.ada.ID, "staff", request.Info{Actor: "operator"}); err != nil {
		t.Fatal(err)
	}
	o := w.granted(w.post("/oauth/token", "web", secret, codeForm(w.newCode("web"))))
	files := w.granted(w.post("/oauth/token", "worker:1", secret, params("grant_type", "client_credentials", "resource", filesAPI)))["access_token"].(string)
	access, refresh := o["access_token"].(string), o["refresh_token"].(string)
	ask := func(client, token string) object {
		t.Helper()
		r := w.post("/oauth/introspect", client, secret, params("token", token))
		var got object
		if r.StatusCode != 200 || json.Unmarshal(r.body, &got) != nil {
			t.Fatalf("%s: %s %s", client, r.Status, r.body)
		}
		return got
	}
	got := ask("worker:1", access)
	if got["active"] != true || got["sub"] != w.ada.ID || got["client_id"] != "web" || got["scope"] != "openid profile email items" || got["iss"] != w.issuer.URL() || fmt.Sprint(got["groups"]) != "[staff]" {
		t.Errorf("active: %v", got)
	}
	if got := ask("web", refresh); got["active"] != true || got["client_id"] != "web" {
		t.Errorf("own refresh token: %v", got)
	}
	dead := func(name string, got object) {
		t.Helper()
		if len(got) != 1 || got["active"] != false {
			t.Errorf("%s: got %v, want exactly active false", name, got)
		}
	}
	dead("another audience", ask("web", files))
	dead("another client's refresh token", ask("other", refresh))
	dead("garbage", ask("web", "x"))
	dead("damaged", ask("web", access[:len(access)-4]+"AAAA"))
	dead("own sign-in", ask("web", w.signIn().AccessToken))
	w.oauthRefused("a public client", w.post("/oauth/introspect", "", "", params("client_id", "spa", "token", access)), 400, "unauthorized_client")
	r := w.post("/oauth/introspect", "web", secret, params("token", access), func(r *http.Request) { r.Header.Set("Accept", introspectionType) })
	header, claims := claimsOf(t, string(r.body))
	inside, _ := claims["token_introspection"].(object)
	if r.Header.Get("Content-Type") != introspectionType || header["typ"] != "token-introspection+jwt" || claims["aud"] != "web" || claims["iss"] != w.issuer.URL() || inside["active"] != true {
		t.Errorf("signed: %v %v %v", r.Header, header, claims)
	}
	w.post("/oauth/revoke", "web", secret, params("token", refresh))
	dead("revoked", ask("worker:1", access))
	dead("revoked refresh token", ask("web", refresh))
}

// Userinfo gives the claims of the scopes, for a token in the field Authorization with the scope openid.
func TestUserInfo(t *testing.T) {
	t.Parallel()
	w, secret := oauthEnv(t, settings{})
	token := func(scope string) string {
		return w.granted(w.post("/oauth/token", "web", secret, codeForm(w.newCode("web", func(c *store.Code) { c.Scope = scope }))))["access_token"].(string)
	}
	for scope, want := range map[string][]string{
		"openid":                      {"sub"},
		"openid profile":              {"name", "sub"},
		"openid email profile groups": {"email", "email_verified", "groups", "name", "sub"},
	} {
		for _, method := range []string{"GET", "POST"} {
			r := w.do(method, "/oauth/userinfo", token(scope), nil)
			var got object
			if json.Unmarshal(r.body, &got) != nil || r.StatusCode != 200 || !slices.Equal(slices.Sorted(maps.Keys(got)), want) || got["sub"] != w.ada.ID {
				t.Errorf("%s %s: %s %s, want %v", method, scope, r.Status, r.body, want)
			}
			if r.Header.Get("Access-Control-Allow-Origin") != "*" || r.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: %v", method, scope, r.Header)
			}
		}
	}
	w.refused(w.do("GET", "/oauth/userinfo", token("items"), nil), 401, "INVALID_TOKEN") // its audience is the API alone
	w.refused(w.do("GET", "/oauth/userinfo", w.signIn().AccessToken, nil), 401, "INVALID_TOKEN")
	w.refused(w.do("GET", "/oauth/userinfo?access_token="+token("openid"), "", nil), 401, "AUTHENTICATION_REQUIRED")
	w.refused(w.post("/oauth/userinfo", "", "", params("access_token", token("openid"))), 401, "AUTHENTICATION_REQUIRED")
}

// Scripts of every origin reach the endpoints that no cookie counts at, and never with credentials.
func TestEveryOriginAtOAuth(t *testing.T) {
	t.Parallel()
	w, _ := oauthEnv(t, settings{})
	for path, open := range map[string]bool{
		"/oauth/token": true, "/oauth/revoke": true, "/oauth/userinfo": true, "/.well-known/oauth-authorization-server": true, "/.well-known/jwks.json": true,
		"/oauth/introspect": false, "/api/profile": false,
	} {
		r, err := http.NewRequest("OPTIONS", w.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", "https://app.example.com")
		r.Header.Set("Access-Control-Request-Method", "POST")
		got := w.send(r)
		if allowed := got.Header.Get("Access-Control-Allow-Origin"); got.StatusCode != 204 || (allowed == "*") != open || got.Header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: %s %v", path, got.Status, got.Header)
		}
	}
	r := w.post("/oauth/token", "", "", params("client_id", "x"), func(r *http.Request) { r.Header.Set("Origin", "https://app.example.com") })
	if r.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(r.Header.Get("Access-Control-Expose-Headers"), "Durward-Denial") {
		t.Errorf("an error: %v", r.Header)
	}
}

// While the database is away, the endpoints answer 503 and the client keeps its tokens.
func TestOAuthWithoutDatabase(t *testing.T) {
	t.Parallel()
	w, secret := oauthEnv(t, settings{})
	refresh := w.granted(w.post("/oauth/token", "web", secret, codeForm(w.newCode("web"))))["refresh_token"].(string)
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	for path, form := range map[string]url.Values{
		"/oauth/token":      params("grant_type", "refresh_token", "refresh_token", refresh),
		"/oauth/revoke":     params("token", refresh),
		"/oauth/introspect": params("token", refresh),
	} {
		r := w.post(path, "web", secret, form)
		w.oauthRefused(path, r, 503, "temporarily_unavailable")
		if r.Header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", path)
		}
	}
}
