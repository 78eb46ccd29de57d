package httpapi

import (
	"net/http"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/store"
)

// register is POST /api/auth/register.
func (s *Server) register(w http.ResponseWriter, r *http.Request) error {
	if s.c.Registration != "open" {
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
	if err == nil && s.c.Accounts.VerifyEmail {
		// The same for an address that has an account.
		return answer(w, http.StatusAccepted, struct{}{}, nil)
	}
	return answer(w, http.StatusCreated, profileOf(u, []string{"profile"}), err)
}

// acceptInvitation is POST /api/auth/invite.
func (s *Server) acceptInvitation(w http.ResponseWriter, r *http.Request) error {
	if s.c.Registration != "open" && s.c.Registration != "invite" {
		return refusal(durward.Forbidden, "Invitations are off on this server.",
			"Ask the operator for an account.", "registration is off")
	}
	in, err := decode[struct {
		Token    string `json:"token"`
		Password string `json:"password"`
		Name     string `json:"name,omitzero"`
	}](w, r)
	if err != nil {
		return err
	}
	return noContent(w, s.c.Accounts.AcceptInvitation(r.Context(), in.Token, in.Password, in.Name, from(r)))
}
