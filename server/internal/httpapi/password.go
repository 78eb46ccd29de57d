package httpapi

import (
	"net/http"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// forgotPassword is POST /api/auth/password/forgot. Known and unknown addresses get the same response
// after the same work.
func (s *Server) forgotPassword(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[struct {
		Email string `json:"email"`
	}](w, r)
	if err != nil {
		return err
	}
	err = s.c.Accounts.RequestMail(r.Context(), store.MailResetPassword, in.Email, from(r))
	return answer(w, http.StatusAccepted, struct{}{}, err)
}

// resetPassword is POST /api/auth/password/reset.
func (s *Server) resetPassword(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[struct {
		Token       string `json:"token"`
		NewPassword string `json:"new_password"`
	}](w, r)
	if err != nil {
		return err
	}
	return noContent(w, s.ResetPassword(w, r, in.Token, in.NewPassword, from(r)))
}

// ResetPassword sets the password of the user of a token, and makes the device known.
func (s *Server) ResetPassword(w http.ResponseWriter, r *http.Request, token, password string, from request.Info) error {
	u, err := s.c.Sessions.ResetPassword(r.Context(), token, password, from)
	if err == nil {
		s.rememberDevice(w, r, u) // so that no lock of the account holds for it
	}
	return err
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
	return noContent(w, s.ChangePassword(w, r, in.Current, in.New))
}

// ChangePassword changes the password of the user of a request, and replaces the session cookie of a request
// with one. The caller has called CheckFactor.
func (s *Server) ChangePassword(w http.ResponseWriter, r *http.Request, current, next string) error {
	cookie, _ := acceptedCookie(r)
	fresh, err := s.c.Sessions.ChangePassword(r.Context(), durward.From(r.Context()), current, next, cookie, from(r))
	if fresh.Value != "" {
		s.setCookie(w, fresh)
	}
	return unknownOwner(err)
}
