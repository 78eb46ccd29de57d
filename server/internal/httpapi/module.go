package httpapi

import (
	"net/http"

	"github.com/durward-auth/durward/js"
)

// browserModule is GET /durward.js. Pages of other origins may import it.
func (s *Server) browserModule() http.Handler {
	etag := etagOf(js.Module)
	return s.open(func(w http.ResponseWriter, r *http.Request) error {
		toEveryOrigin(w)
		w.Header().Set("Cross-Origin-Resource-Policy", "cross-origin")
		return public(w, r, "text/javascript; charset=utf-8", "public, max-age=300", etag, js.Module)
	})
}
