package web_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/durward-auth/durward/js"
	"github.com/durward-auth/durward/server/internal/config"
)

// The sample application is served as it stands, runs no script but its own, and exists in a
// demonstration alone.
func TestSampleApplication(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := e.browser()
	if to := b.get("/demo").Header.Get("Location"); to != "/demo/" {
		t.Errorf("/demo: leads to %q, want /demo/", to)
	}
	for name, content := range js.Demo() {
		path := "/demo/" + strings.TrimPrefix(name, "index.html")
		got := b.get(path)
		if got.StatusCode != http.StatusOK || got.Body != string(content) {
			t.Errorf("%s: got %s with %d octets, want 200 with %d", path, got.Status, len(got.Body), len(content))
		}
		if csp := got.Header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; script-src 'self';") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: Content-Security-Policy: got %q", path, csp)
		}
		if strings.Contains(got.Body, "style=") || strings.Contains(got.Body, " onclick") {
			t.Errorf("%s has code that its Content-Security-Policy forbids", path)
		}
	}
	e.node.Demo = false
	set := config.Default()
	set.PublicURL = origin
	plain, err := e.node.Server(&config.Loaded{Config: set})
	e.must(err)
	w := httptest.NewRecorder()
	plain.ServeHTTP(w, httptest.NewRequest("GET", origin+"/demo/", nil))
	if w.Code != http.StatusNotFound {
		t.Errorf("/demo/ without a demonstration: got %d, want 404", w.Code)
	}
}
