package server

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
)

// healthz is GET /healthz: the process answers.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) error {
	return answer(w, http.StatusOK, map[string]string{"status": "ok"})
}

type check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
}

type readiness struct {
	Status string  `json:"status"`
	Checks []check `json:"checks,omitempty"`
}

// readyz is GET /readyz: new requests may come. What is wrong goes to the log;
// here stands only where to look.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) error {
	if s.stopping.Load() {
		return answer(w, http.StatusServiceUnavailable, readiness{Status: "stopping"})
	}
	ping := s.c.DB.Ping(r.Context())
	if ping != nil {
		s.c.Log.Error("the database does not answer", "error", ping)
	}
	checks := []check{
		{"database", ping == nil},
		{"revocations", s.c.Revocations.Err() == nil},
		{"store_history", !s.c.Issuer.WentBack()},
	}
	for _, c := range checks {
		if !c.OK {
			return answer(w, http.StatusServiceUnavailable, readiness{Status: "degraded", Checks: checks})
		}
	}
	return answer(w, http.StatusOK, readiness{Status: "ready", Checks: checks})
}

// jwks is GET /.well-known/jwks.json (RFC 7517 s5).
func (s *Server) jwks(w http.ResponseWriter, r *http.Request) error {
	set := s.c.Issuer.JWKS()
	sum := sha256.Sum256(set)
	etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	h := w.Header()
	h.Set("Content-Type", "application/jwk-set+json")
	h.Set("Cache-Control", "public, max-age=300, stale-while-revalidate=3600")
	h.Set("ETag", etag)
	if h.Get("Access-Control-Allow-Origin") == "" {
		h.Set("Access-Control-Allow-Origin", "*") // public keys are for everybody
	}
	h.Set("X-Content-Type-Options", "nosniff")
	if unchanged(r, etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	_, _ = w.Write(set)
	return nil
}
