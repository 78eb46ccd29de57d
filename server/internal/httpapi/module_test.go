package httpapi

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/durward-auth/durward/js"
)

// TestBrowserModule checks that /durward.js is the module as it stands, and that pages of every origin can
// import it, also if the server has cors.origins.
func TestBrowserModule(t *testing.T) {
	t.Parallel()
	for _, origins := range [][]string{nil, {"https://app.example.com"}} {
		w := newEnv(t, settings{origins: origins})
		r, err := http.NewRequest("GET", w.url+"/durward.js", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", "https://other.example.com")
		got := w.send(r)
		if got.StatusCode != http.StatusOK || !bytes.Equal(got.body, js.Module) {
			t.Errorf("GET /durward.js: got %d with %d octets, want 200 with %d", got.StatusCode, len(got.body), len(js.Module))
		}
		for name, want := range map[string]string{
			"Content-Type":                 "text/javascript; charset=utf-8",
			"X-Content-Type-Options":       "nosniff",
			"Access-Control-Allow-Origin":  "*",
			"Cross-Origin-Resource-Policy": "cross-origin",
			"Cache-Control":                "public, max-age=300",
		} {
			if value := got.Header.Get(name); value != want {
				t.Errorf("origins %q: %s: got %q, want %q", origins, name, value, want)
			}
		}
	}
}
