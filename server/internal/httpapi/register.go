package httpapi

import (
	"errors"
	"net/http"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/store"
)

// register is POST /api/auth/register.
func (s *Server) register(w http.ResponseWriter, r *http.Request) error {
	if !s.c.Registration {
		return &durward.Refusal{
			Code:   durward.Forbidden,
			Detail: "Registration is off on this server.",
			Hint:   "Ask the operator for an account.",
			Err:    errors.New("registration is off"),
		}
	}
	in, err := decode[struct {
		Email    string `json:"email"`
		Password string `json:"password"`
		Name     string `json:"name"`
	}](w, r)
	if err != nil {
		return err
	}
	if err := required(field{"email", in.Email}, field{"password", in.Password}); err != nil {
		return err
	}
	u, err := s.c.Accounts.Add(r.Context(), account.NewUser{Email: in.Email, Name: in.Name, Password: in.Password}, store.EventRegistered, from(r))
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, profileOf(u, []string{"profile"}))
}
