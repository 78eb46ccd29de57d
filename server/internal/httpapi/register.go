package httpapi

import (
	"context"
	"net/http"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// register is POST /api/auth/register.
func (s *Server) register(w http.ResponseWriter, r *http.Request) error {
	if err := s.CheckRegistration(); err != nil {
		return err
	}
	in, err := decode[struct {
		Email    string `json:"email"`
		Password string `json:"password"`
		Name     string `json:"name,omitzero"`
	}](w, r)
	if err != nil {
		return err
	}
	u, err := s.Register(r.Context(), account.NewUser{Email: in.Email, Name: in.Name, Password: in.Password}, from(r))
	if err == nil && s.c.Accounts.VerifyEmail {
		// The same for an address that has an account.
		return answer(w, http.StatusAccepted, struct{}{}, nil)
	}
	return answer(w, http.StatusCreated, profileOf(u, []string{"profile"}), err)
}

// CheckRegistration refuses unless every client may create an account.
func (s *Server) CheckRegistration() error {
	if s.c.Registration != "open" {
		return refusal(durward.Forbidden, "Registration is off on this server.",
			"Ask the operator for an account.", "registration is off")
	}
	return nil
}

// Register adds a user who registers. If addresses have to be confirmed, it does not tell whether another
// user has the address.
func (s *Server) Register(ctx context.Context, n account.NewUser, from request.Info) (store.User, error) {
	if err := s.CheckRegistration(); err != nil {
		return store.User{}, err
	}
	return s.c.Accounts.Add(ctx, n, store.EventRegistered, from)
}

// CheckInvitations refuses if the server accepts no invitations.
func (s *Server) CheckInvitations() error {
	if s.c.Registration != "open" && s.c.Registration != "invite" {
		return refusal(durward.Forbidden, "Invitations are off on this server.",
			"Ask the operator for an account.", "registration is off")
	}
	return nil
}

// AcceptInvitation sets the password and the name of an invited user.
func (s *Server) AcceptInvitation(ctx context.Context, token, password, name string, from request.Info) error {
	if err := s.CheckInvitations(); err != nil {
		return err
	}
	return s.c.Accounts.AcceptInvitation(ctx, token, password, name, from)
}

// acceptInvitation is POST /api/auth/invite.
func (s *Server) acceptInvitation(w http.ResponseWriter, r *http.Request) error {
	if err := s.CheckInvitations(); err != nil {
		return err
	}
	in, err := decode[struct {
		Token    string `json:"token"`
		Password string `json:"password"`
		Name     string `json:"name,omitzero"`
	}](w, r)
	if err != nil {
		return err
	}
	return noContent(w, s.AcceptInvitation(r.Context(), in.Token, in.Password, in.Name, from(r)))
}
