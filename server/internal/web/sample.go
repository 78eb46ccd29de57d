package web

import (
	"net/http"
	"path"

	"github.com/durward-auth/durward/js"
	"github.com/durward-auth/durward/server/internal/httpapi"
)

// samplePolicy is the Content-Security-Policy of the sample application: its own files, and requests to
// its own origin.
const samplePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// sampleRoutes returns the handlers of the sample application for the browser module, /demo/. Its files
// are public; its script asks the API whether the user is signed in.
func (s *Server) sampleRoutes() map[string]map[string]http.Handler {
	routes := map[string]map[string]http.Handler{
		"/demo": {"GET": s.open(func(w http.ResponseWriter, r *http.Request) error {
			http.Redirect(w, r, s.path("/demo/"), http.StatusSeeOther)
			return nil
		})},
	}
	types := map[string]string{".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
	for name, content := range js.Demo() {
		file := httpapi.Fixed(types[path.Ext(name)], content)
		url := "/demo/" + name
		if name == "index.html" {
			url = "/demo/{$}"
		}
		routes[url] = map[string]http.Handler{"GET": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", samplePolicy)
			w.Header().Set("Referrer-Policy", "same-origin")
			w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
			file.ServeHTTP(w, r)
		})}
	}
	return routes
}
