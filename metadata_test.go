package durward_test

import (
	"net/http/httptest"
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
}
