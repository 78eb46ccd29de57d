package httpapi

import "net/http"

// jwks is GET /.well-known/jwks.json (RFC 7517 s5).
func (s *Server) jwks(w http.ResponseWriter, r *http.Request) error {
	toEveryOrigin(w)
	set := s.c.Issuer.JWKS()
	return public(w, r, "application/jwk-set+json", "public, max-age=300, stale-while-revalidate=3600", etagOf(set), set)
}
