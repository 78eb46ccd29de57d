package httpapi

import (
	"net/http"
)

// jwks is GET /.well-known/jwks.json (RFC 7517 s5).
func (s *Server) jwks(w http.ResponseWriter, r *http.Request) error {
	set := s.c.Issuer.JWKS()
	etag := etagOf(set)
	h := w.Header()
	h.Set("Content-Type", "application/jwk-set+json")
	h.Set("Cache-Control", "public, max-age=300, stale-while-revalidate=3600")
	h.Set("ETag", etag)
	if h.Get("Access-Control-Allow-Origin") == "" {
		h.Set("Access-Control-Allow-Origin", "*") // the keys are public
	}
	h.Set("X-Content-Type-Options", "nosniff")
	if unchanged(r, etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	_, _ = w.Write(set)
	return nil
}
