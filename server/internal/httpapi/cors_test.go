package httpapi

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// Scripts of configured origins can use the API, those of other origins cannot.
func TestCrossOrigin(t *testing.T) {
	t.Parallel()
	const app = "https://app.example.com"
	w := newEnv(t, settings{origins: []string{app}})
	token := w.signIn().AccessToken
	ask := func(method, path, origin string, fields ...string) reply {
		t.Helper()
		r, err := http.NewRequest(method, w.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", origin)
		for i := 0; i < len(fields); i += 2 {
			r.Header.Set(fields[i], fields[i+1])
		}
		return w.send(r)
	}
	for _, origin := range []string{app, "https://evil.example", "null", "https://app.example.com.evil.example", "http://app.example.com", "https://app.example.com:8443"} {
		pre := ask("OPTIONS", "/api/profile", origin, "Access-Control-Request-Method", "PATCH", "Access-Control-Request-Headers", "authorization,content-type,dpop,x-api-key")
		good := ask("GET", "/api/profile", origin, "Authorization", "Bearer "+token)
		bad := ask("GET", "/api/profile", origin)
		missing := ask("GET", "/nothing", origin)
		if pre.StatusCode != 204 || good.StatusCode != 200 || bad.StatusCode != 401 || missing.StatusCode != 404 {
			t.Fatalf("%s: %d %d %d %d", origin, pre.StatusCode, good.StatusCode, bad.StatusCode, missing.StatusCode)
		}
		for name, r := range map[string]reply{"preflight": pre, "good": good, "bad": bad, "missing": missing} {
			allowed, credentials := r.Header.Get("Access-Control-Allow-Origin"), r.Header.Get("Access-Control-Allow-Credentials")
			if origin == app && (allowed != app || credentials != "true") || origin != app && (allowed != "" || credentials != "") {
				t.Errorf("%s, %s: allowed %q, credentials %q", origin, name, allowed, credentials)
			}
			if !strings.Contains(strings.Join(r.Header.Values("Vary"), ","), "Origin") {
				t.Errorf("%s, %s: Vary %q", origin, name, r.Header.Values("Vary"))
			}
		}
		if origin != app {
			continue
		}
		if got := pre.Header.Get("Access-Control-Allow-Methods"); got != "PATCH" {
			t.Errorf("methods %q", got)
		}
		named := strings.Split(strings.ReplaceAll(pre.Header.Get("Access-Control-Allow-Headers"), " ", ""), ",")
		if slices.Sort(named); !slices.Equal(named, []string{"authorization", "content-type", "dpop", "x-api-key"}) {
			t.Errorf("fields %q", named)
		}
		for name, r := range map[string]reply{"good": good, "bad": bad} {
			for _, field := range []string{"WWW-Authenticate", "DPoP-Nonce", "Retry-After", "Durward-Denial"} {
				if !strings.Contains(strings.ToLower(r.Header.Get("Access-Control-Expose-Headers")), strings.ToLower(field)) {
					t.Errorf("%s: %s is not exposed: %q", name, field, r.Header.Get("Access-Control-Expose-Headers"))
				}
			}
		}
		if r := ask("OPTIONS", "/api/profile", origin, "Access-Control-Request-Method", "PUT"); r.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Error("PUT is allowed")
		}
		if r := ask("OPTIONS", "/api/profile", origin, "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "x-other"); r.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Error("an unknown request field is allowed")
		}
		if r := ask("GET", "/.well-known/jwks.json", origin); r.Header.Get("Access-Control-Allow-Origin") != app {
			t.Errorf("key set with credentials: %v", r.Header)
		}
	}
	if r := ask("GET", "/.well-known/jwks.json", "https://evil.example"); r.Header.Get("Access-Control-Allow-Origin") != "*" || r.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("key set: %v", r.Header)
	}
}
