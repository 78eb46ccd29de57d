package httpapi

import (
	"net/http"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/store"
)

// verifyEmail is POST /api/auth/email/verify.
func (s *Server) verifyEmail(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[struct {
		Token string `json:"token"`
	}](w, r)
	if err != nil {
		return err
	}
	return noContent(w, s.c.Accounts.Confirm(r.Context(), in.Token, from(r)))
}

// sendVerification is POST /api/auth/email/verify/send. All addresses get the same response after the same
// work.
func (s *Server) sendVerification(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[struct {
		Email string `json:"email"`
	}](w, r)
	if err != nil {
		return err
	}
	err = s.c.Accounts.RequestMail(r.Context(), store.MailVerifyEmail, in.Email, from(r))
	return answer(w, http.StatusAccepted, struct{}{}, err)
}

// changeEmail is POST /api/profile/email.
func (s *Server) changeEmail(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[struct {
		Email string `json:"email"`
	}](w, r)
	if err != nil {
		return err
	}
	p := durward.From(r.Context())
	err = s.c.Accounts.RequestEmailChange(r.Context(), p.Subject, in.Email, from(r))
	return answer(w, http.StatusAccepted, struct{}{}, err)
}

// undoEmail is POST /api/auth/email/undo.
func (s *Server) undoEmail(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[struct {
		Token string `json:"token"`
	}](w, r)
	if err != nil {
		return err
	}
	return noContent(w, s.c.Sessions.UndoEmail(r.Context(), in.Token, from(r)))
}
