package httpapi

import (
	"net/http"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
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

// register is POST /api/auth/register.
func (s *Server) register(w http.ResponseWriter, r *http.Request) error {
	if !s.c.Registration {
		return refusal(durward.Forbidden, "Registration is off on this server.",
			"Ask the operator for an account.", "registration is off")
	}
	in, err := decode[struct {
		Email    string `json:"email"`
		Password string `json:"password"`
		Name     string `json:"name,omitzero"`
	}](w, r)
	if err != nil {
		return err
	}
	u, err := s.c.Accounts.Add(r.Context(), account.NewUser{Email: in.Email, Name: in.Name, Password: in.Password}, store.EventRegistered, from(r))
	return answer(w, http.StatusCreated, profileOf(u, []string{"profile"}), err)
}

// changePassword is POST /api/auth/password/change. It requires no recent sign-in, because the
// request contains the current password.
func (s *Server) changePassword(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[struct {
		Current string `json:"current"`
		New     string `json:"new"`
	}](w, r)
	if err != nil {
		return err
	}
	p := durward.From(r.Context())
	cookie, _ := acceptedCookie(r)
	fresh, err := s.c.Sessions.ChangePassword(r.Context(), p, in.Current, in.New, cookie, from(r))
	if fresh != "" {
		setCookie(w, fresh, 0)
	}
	return noContent(w, unknownOwner(err))
}
