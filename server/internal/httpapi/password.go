package httpapi

import (
	"net/http"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
)

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
	if err := required(field{"current", in.Current}, field{"new", in.New}); err != nil {
		return err
	}
	p := durward.From(r.Context())
	proof, err := s.c.People.ChangePassword(r.Context(), p.Subject, in.Current, in.New, p.SessionID, from(r))
	if err != nil {
		return unknownOwner(err)
	}
	if value, ok := acceptedCookie(r); ok {
		s.renewCookie(w, r, proof, p, value)
	}
	return noContent(w)
}

// renewCookie replaces the cookie after a change of the password. A copy of the old cookie works for
// at most half a minute. The password is already changed here, so a failure is logged and the
// request still succeeds.
func (s *Server) renewCookie(w http.ResponseWriter, r *http.Request, proof account.Proof, p *durward.Principal, value string) {
	value, err := s.c.Issuer.StepUpCookie(r.Context(), proof, p, value, from(r))
	if err != nil {
		s.c.Log.Error("password changed, but its session cookie could not be replaced", "session", p.SessionID, "error", err)
		return
	}
	setCookie(w, value)
}
