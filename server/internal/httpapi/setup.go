package httpapi

import (
	"net/http"

	"github.com/durward-auth/durward/server/internal/account"
)

// setup is POST /api/auth/setup: the first administrator, with the link that a start without users prints.
func (s *Server) setup(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[struct {
		Token    string `json:"token"`
		Email    string `json:"email"`
		Password string `json:"password"`
		Name     string `json:"name,omitzero"`
	}](w, r)
	if err != nil {
		return err
	}
	u, err := s.c.Accounts.Setup(r.Context(), in.Token, account.NewUser{Email: in.Email, Name: in.Name, Password: in.Password}, from(r))
	return answer(w, http.StatusCreated, profileOf(u, account.ScopesOf(u)), err)
}
