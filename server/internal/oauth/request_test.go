package oauth

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/durward-auth/durward/server/internal/store"
)

// A Response adds its parameters to the query of the redirect URI and keeps that as it is.
func TestResponseURL(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]string{
		"https://app.example.org/cb":      "https://app.example.org/cb?state=a%26b+%C3%BC",
		"https://app.example.org/cb?a=%2": "https://app.example.org/cb?a=%2&state=a%26b+%C3%BC",
		"com.example.app:/cb":             "com.example.app:/cb?state=a%26b+%C3%BC",
	} {
		if got := (Response{RedirectURI: uri, Parameters: url.Values{"state": {"a&b ü"}}}).URL(); got != want {
			t.Errorf("%s: got %s, want %s", uri, got, want)
		}
	}
}

// FuzzRequestParameters checks that no parameters panic, that a refusal is printable ASCII (RFC 6749 s4.1.2.1), and
// that the claims of an accepted request are small and only those of the client's scopes.
func FuzzRequestParameters(f *testing.F) {
	const good = "response_type=code&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256"
	for _, more := range []string{
		"", "&state=x&nonce=y&scope=openid+email", "&prompt=none&max_age=0", "&resource=https://api.example.com/&resource=x",
		"&claims=" + url.QueryEscape(`{"id_token":{"acr":{"essential":true,"values":["phr",1,null]},"sub":{"value":"ada"}},"userinfo":{"email":null,"name":{"essential":true}}}`),
		"&id_token_hint=a.b.c", "&response_mode=form_post&ui_locales=de+en&login_hint=ada%40example.com&acr_values=phr", "&dpop_jkt=x", "&state=%ff&state=",
	} {
		f.Add(good + more)
	}
	m := &Manager{c: Config{Resources: []Resource{{URL: "https://api.example.com", Scopes: []Scope{{Name: "items:read"}}}}, Audience: []string{"https://auth.example.com"}}}
	client := store.Client{ID: "app", Auth: store.ClientSecret, Grants: []string{GrantCode}, Scopes: []string{"openid", "email"}, Resources: []string{"https://api.example.com"}}
	f.Fuzz(func(t *testing.T, query string) {
		values, err := url.ParseQuery(query)
		if err != nil || values.Get("id_token_hint") != "" && strings.Count(values.Get("id_token_hint"), ".") == 2 {
			return // without keys, no ID token can be read
		}
		r := &Request{Client: client, parameters: values, maxAge: -1, response: Response{RedirectURI: "https://app.example.org/cb", Parameters: url.Values{}}}
		if refused := m.parse(r); refused != nil {
			if refused.Code == "" || strings.ContainsFunc(refused.Description, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) {
				t.Errorf("%q: refused with %q, %q", query, refused.Code, refused.Description)
			}
			return
		}
		state := r.response.Parameters.Get("state")
		if state != values.Get("state") || !utf8.ValidString(state) || len(state) > maxParameter {
			t.Errorf("%q: the state is %.80q", query, state)
		}
		for _, scope := range r.claims.scopes() {
			if scope != ScopeEmail {
				t.Errorf("%q: claims of the scope %s", query, scope)
			}
		}
		if len(r.claims.text()) > 200 || len(r.challenge) != 43 || r.maxAge < -1 || len(r.targets) > maxResources {
			t.Errorf("%q: %+v", query, r)
		}
	})
}

// A refusal that the client gets keeps its code for errors.As, and its redirect URI.
func TestRefused(t *testing.T) {
	t.Parallel()
	r := &Request{response: Response{RedirectURI: "https://app.example.org/cb", Parameters: url.Values{"state": {"s"}}}}
	var err error = r.refuse(refuse(AccessDenied, "The user refused."))
	inner, ok := errors.AsType[*Error](err)
	refused, also := errors.AsType[*Refused](err)
	if !ok || !also || inner.Code != AccessDenied || refused.Response.URL() != "https://app.example.org/cb?error=access_denied&error_description=The+user+refused.&state=s" {
		t.Errorf("got %v, %+v", err, refused)
	}
	if len(r.response.Parameters) != 1 {
		t.Error("the refusal changed the response of the request")
	}
}
