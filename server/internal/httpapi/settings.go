package httpapi

import "net/http"

// Setting is a key of the configuration with its effective value. Secrets are masked.
type Setting struct {
	Key    string `json:"key"`
	Value  any    `json:"value"`
	Source string `json:"from"` // "default", FILE:LINE, an environment variable or a flag
}

// settings is GET /api/admin/settings.
func (s *Server) settings(w http.ResponseWriter, r *http.Request) error {
	return answer(w, http.StatusOK, list[Setting]{Items: s.Effective()}, nil)
}

// Effective returns all keys of the configuration with their values.
func (s *Server) Effective() []Setting { return append([]Setting{}, s.c.Effective...) }
