package server

import (
	"strings"
	"testing"

	"github.com/durward-auth/durward"
)

// Every code that the API can name has a page, and the index has them all.
func TestEveryCodeHasAPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, settings{})
	index := w.do("GET", "/errors/", "", nil)
	described := string(openAPIDocument)
	for _, e := range explanations {
		if e.Status() == 503 && e.Code != durward.AuthUnavailable {
			t.Errorf("%s is no code", e.Code)
		}
		if e.Means == "" || e.Client == "" || e.Operator == "" || e.Example == "" || len(e.Clauses) == 0 {
			t.Errorf("%s: the page has a gap", e.Code)
		}
		if !strings.Contains(described, `"`+string(e.Code)+`"`) {
			t.Errorf("%s is not in openapi.yaml", e.Code)
		}
		if !strings.Contains(string(index.body), `href="/errors/`+string(e.Code)+`"`) {
			t.Errorf("%s is not in the index", e.Code)
		}
		r := w.do("GET", "/errors/"+string(e.Code), "", nil)
		if r.StatusCode != 200 || !strings.Contains(string(r.body), "<h1>"+e.Title+"</h1>") || !strings.Contains(string(r.body), "<html lang=") {
			t.Errorf("%s: %s\n%s", e.Code, r.Status, r.body)
		}
		csp := r.Header.Get("Content-Security-Policy")
		if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "unsafe") || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: fields of a page: %v", e.Code, r.Header)
		}
		if strings.Contains(string(r.body), "<script") || strings.Contains(string(r.body), "style=") {
			t.Errorf("%s: script or style in the page", e.Code)
		}
	}
	if css := w.do("GET", "/static/durward.css", "", nil); css.StatusCode != 200 || css.Header.Get("Content-Type") != "text/css; charset=utf-8" {
		t.Errorf("stylesheet: %s %v", css.Status, css.Header)
	}
	for _, path := range []string{"/errors/NONE", "/errors/token_expired", "/errors/TOKEN_EXPIRED/", "/static/", "/static/other.css"} {
		w.refused(w.do("GET", path, "", nil), 404, "NOT_FOUND")
	}
}
