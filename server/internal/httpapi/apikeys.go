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
	k, key, err := s.CreateKey(r, n)
	return answerNewKey(w, k, key, err)
}

// CreateKey makes an API key for the user of a request, as account.Manager.CreateKey does. A key for
// administration needs the sign-in that administration needs: otherwise an administrator could give a
// program more rights than the sign-in has.
func (s *Server) CreateKey(r *http.Request, n account.NewKey) (store.APIKey, seal.Secret, error) {
	if account.Administrative(n.Scopes) {
		if err := s.administration(r); err != nil {
			return store.APIKey{}, "", err
		}
	}
	k, key, err := s.c.Accounts.CreateKey(r.Context(), durward.From(r.Context()), n, from(r))
	return k, key, unknownOwner(err)
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
	return noContent(w, s.RevokeKey(r, r.PathValue("id")))
}

// RevokeKey revokes a key of the user of a request. It refuses with NotFound if the user has no such key.
func (s *Server) RevokeKey(r *http.Request, id string) error {
	p := durward.From(r.Context())
	return unknown("key", s.c.Accounts.RevokeKey(r.Context(), p.Subject, id, p.SessionID, from(r)))
}

// rotateKey is POST /api/keys/{id}/rotate.
func (s *Server) rotateKey(w http.ResponseWriter, r *http.Request) error {
	k, key, err := s.RotateKey(r, r.PathValue("id"))
	return answerNewKey(w, k, key, err)
}

// RotateKey replaces a key of the user of a request, as account.Manager.RotateKey does, with the sign-in
// that CreateKey needs. It refuses with NotFound if the user has no such key.
func (s *Server) RotateKey(r *http.Request, id string) (store.APIKey, seal.Secret, error) {
	p := durward.From(r.Context())
	old, err := s.c.DB.APIKeyByID(r.Context(), id)
	if err == nil && old.UserID == p.Subject && account.Administrative(old.Scopes) {
		err = s.administration(r)
	}
	if err != nil {
		return store.APIKey{}, "", unknown("key", err)
	}
	k, key, err := s.c.Accounts.RotateKey(r.Context(), p, old.ID, from(r))
	return k, key, unknown("key", err)
}
