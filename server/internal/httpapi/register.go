package httpapi

import (
	"net/http"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/store"
)

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
