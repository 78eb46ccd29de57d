package httpapi

import (
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
	u, err := s.c.DB.UserByID(r.Context(), p.Subject)
	return answer(w, http.StatusOK, profileOf(u, p.Scopes), unknownOwner(err))
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
	u, err := s.c.Accounts.SetName(r.Context(), p.Subject, *in.Name)
	return answer(w, http.StatusOK, profileOf(u, p.Scopes), unknownOwner(err))
}
