package httpapi

import (
	"math"
	"net/http"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// answerNewKey answers 201 with a new key, the only response that contains it, or returns err.
func answerNewKey(w http.ResponseWriter, k store.APIKey, key seal.Secret, err error) error {
	body := account.KeyViewOf(k)
	body.Key = key.Reveal()
	return answer(w, http.StatusCreated, body, err)
}

// keys is GET /api/keys.
func (s *Server) keys(w http.ResponseWriter, r *http.Request) error {
	return answerPage(w, r, s.c.DB.APIKeys, account.KeyViewOf, func(k account.KeyView) string { return k.ID })
}

// createKey is POST /api/keys.
func (s *Server) createKey(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[struct {
		Name      string   `json:"name"`
		Scopes    []string `json:"scopes,omitzero"`
		ExpiresIn *int64   `json:"expires_in,omitzero"`
	}](w, r)
	if err != nil {
		return err
	}
	n := account.NewKey{Name: in.Name, Scopes: in.Scopes}
	if in.ExpiresIn != nil {
		n.Life = life(*in.ExpiresIn)
	}
	// Otherwise an administrator could give a program more rights than the sign-in has.
	if account.Administrative(in.Scopes) {
		if err := s.administration(r); err != nil {
			return err
		}
	}
	k, key, err := s.c.Accounts.CreateKey(r.Context(), durward.From(r.Context()), n, from(r))
	return answerNewKey(w, k, key, unknownOwner(err))
}

// life converts seconds to a duration. Values that a duration cannot hold, and those below 1,
// become durations outside the limits of a key's life, so that CreateKey refuses them.
func life(seconds int64) time.Duration {
	switch {
	case seconds <= 0:
		return -1
	case seconds > int64(math.MaxInt64/time.Second):
		return math.MaxInt64
	}
	return time.Duration(seconds) * time.Second
}

// deleteKey is DELETE /api/keys/{id}. The key of another user gets 404.
func (s *Server) deleteKey(w http.ResponseWriter, r *http.Request) error {
	p := durward.From(r.Context())
	err := s.c.Accounts.RevokeKey(r.Context(), p.Subject, r.PathValue("id"), p.SessionID, from(r))
	return noContent(w, unknown("key", err))
}

// rotateKey is POST /api/keys/{id}/rotate.
func (s *Server) rotateKey(w http.ResponseWriter, r *http.Request) error {
	p := durward.From(r.Context())
	old, err := s.c.DB.APIKeyByID(r.Context(), r.PathValue("id"))
	if err == nil && old.UserID == p.Subject && account.Administrative(old.Scopes) {
		err = s.administration(r)
	}
	if err != nil {
		return unknown("key", err)
	}
	k, key, err := s.c.Accounts.RotateKey(r.Context(), p, old.ID, from(r))
	return answerNewKey(w, k, key, unknown("key", err))
}
