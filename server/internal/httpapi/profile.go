package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/store"
)

type profile struct {
	ID        string    `json:"id"`
	Email     string    `json:"email"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"created_at"`
	Scopes    []string  `json:"scopes"`
}

func profileOf(u store.User, scopes []string) profile {
	return profile{ID: u.ID, Email: u.Email, Name: u.Name, CreatedAt: u.CreatedAt.UTC(), Scopes: scopes}
}

// profile is GET /api/profile.
func (s *Server) profile(w http.ResponseWriter, r *http.Request) error {
	p := durward.From(r.Context())
	u, err := s.c.People.ByID(r.Context(), p.Subject)
	if err != nil {
		return goneOwner(err)
	}
	return answer(w, http.StatusOK, profileOf(u, p.Scopes))
}

// patchProfile is PATCH /api/profile.
func (s *Server) patchProfile(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[struct {
		Name *string `json:"name"`
	}](w, r)
	if err != nil {
		return err
	}
	p := durward.From(r.Context())
	if in.Name == nil {
		return present(field{"name", ""})
	}
	u, err := s.c.People.SetName(r.Context(), p.Subject, *in.Name)
	if err != nil {
		return goneOwner(err)
	}
	return answer(w, http.StatusOK, profileOf(u, p.Scopes))
}

// goneOwner turns a token whose person is no more into what the token then is.
func goneOwner(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("the token's person is gone: %w", durward.TokenRevoked)
	}
	return err
}

// changePassword is POST /api/auth/password/change. The current password in the
// request is itself the fresh proof of who is asking.
func (s *Server) changePassword(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[struct {
		Current string `json:"current"`
		New     string `json:"new"`
	}](w, r)
	if err != nil {
		return err
	}
	if err := present(field{"current", in.Current}, field{"new", in.New}); err != nil {
		return err
	}
	p := durward.From(r.Context())
	proof, err := s.c.People.ChangePassword(r.Context(), p.Subject, in.Current, in.New, p.SessionID, from(r))
	if err != nil {
		return goneOwner(err)
	}
	if value, ok := judgedCookie(r); ok {
		s.renewCookie(w, r, proof, p, value)
	}
	return noContent(w)
}
