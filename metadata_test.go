package durward_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/durward-auth/durward"
)

func TestResourceMetadata(t *testing.T) {
	t.Parallel()
	for resource, want := range map[string]string{
		"https://api.example.com":            "https://api.example.com/.well-known/oauth-protected-resource",
		"https://api.example.com/":           "https://api.example.com/.well-known/oauth-protected-resource",
		"https://api.example.com/notes/v1":   "https://api.example.com/.well-known/oauth-protected-resource/notes/v1",
		"https://api.example.com/a?tenant=1": "https://api.example.com/.well-known/oauth-protected-resource/a?tenant=1",
		"https://a b":                        "",
	} {
		if got := (durward.ResourceMetadata{Resource: resource}).URL(); got != want {
			t.Errorf("%s: got %s, want %s", resource, got, want)
		}
	}
	m := durward.ResourceMetadata{Resource: "https://api.example.com", AuthorizationServers: []string{"https://auth.example.com"}, ScopesSupported: []string{"read"}, DPoPRequired: true}
	w := httptest.NewRecorder()
	m.ServeHTTP(w, httptest.NewRequest("GET", "/.well-known/oauth-protected-resource", nil))
	const want = `{"resource":"https://api.example.com","authorization_servers":["https://auth.example.com"],"scopes_supported":["read"],"dpop_bound_access_tokens_required":true,"bearer_methods_supported":["header"]}` + "\n"
	if w.Code != 200 || w.Body.String() != want || w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("%d %v\n%s\nwant\n%s", w.Code, w.Header(), w.Body, want)
	}
	g := newGuard(t, durward.Config{Metadata: m.URL()})
	if got := serve(g.Handler(hello), get("")).Header().Get("WWW-Authenticate"); got != `Bearer realm="api", resource_metadata="https://api.example.com/.well-known/oauth-protected-resource"` {
		t.Errorf("challenge %s", got)
	}
	// MCP clients request the scopes of the challenge, as they cannot know those of the route.
	const metadata = `resource_metadata="https://api.example.com/.well-known/oauth-protected-resource"`
	tools := durward.Policy{Scopes: []string{"mcp:tools", "read"}}
	for name, c := range map[string]struct {
		metadata, token string
		policy          durward.Policy
		want            string
	}{
		"no credentials":                {m.URL(), "", tools, `Bearer realm="api", scope="mcp:tools read", ` + metadata},
		"expired":                       {m.URL(), "expired", tools, `Bearer realm="api", error="invalid_token", error_description="The access token has expired.", scope="mcp:tools read", ` + metadata},
		"a scope is missing":            {m.URL(), "good", tools, `Bearer realm="api", error="insufficient_scope", error_description="The credentials do not have the required scopes.", scope="mcp:tools read", ` + metadata},
		"no credentials, no scopes":     {m.URL(), "", durward.Policy{}, `Bearer realm="api", ` + metadata},
		"no credentials, no metadata":   {"", "", tools, `Bearer realm="api"`},
		"a scope that would end quotes": {m.URL(), "", durward.Policy{Scopes: []string{"a\nb"}}, `Bearer realm="api"`},
	} {
		g := newGuard(t, durward.Config{Metadata: c.metadata})
		if got := serve(g.Require(c.policy, hello), get(c.token)).Header().Get("WWW-Authenticate"); got != c.want {
			t.Errorf("%s: challenge\n%s\nwant\n%s", name, got, c.want)
		}
	}
	// Other schemes have no such parameter, and a 400 is not about scopes.
	g = newGuard(t, durward.Config{Metadata: m.URL(), Schemes: []durward.Scheme{durward.Bearer(verify), durward.Basic(rightPair)}})
	for _, challenge := range serve(g.Require(tools, hello), get("")).Header()["Www-Authenticate"] {
		if strings.HasPrefix(challenge, "Basic") && strings.Contains(challenge, "scope") {
			t.Errorf("challenge %s", challenge)
		}
	}
	twice := get("good")
	twice.Header.Add("Authorization", "Bearer good")
	if w = serve(g.Require(tools, hello), twice); w.Code != 400 || strings.Contains(w.Header().Get("WWW-Authenticate"), "scope=") {
		t.Errorf("two tokens: %d %v", w.Code, w.Header())
	}
}
