package httpapi

import (
	"net/http"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
)

// changePassword is POST /api/auth/password/change. The current password in the
// request is itself the fresh proof of who is asking.
func (s *Server) changePassword(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[struct {
		Current string `json:"current"`
		New     string `json:"new"`
	}](w, r)
	if err != nil {
		return err
	}
	if err := present(field{"current", in.Current}, field{"new", in.New}); err != nil {
		return err
	}
	p := durward.From(r.Context())
	proof, err := s.c.People.ChangePassword(r.Context(), p.Subject, in.Current, in.New, p.SessionID, from(r))
	if err != nil {
		return goneOwner(err)
	}
	if value, ok := judgedCookie(r); ok {
		s.renewCookie(w, r, proof, p, value)
	}
	return noContent(w)
}

// renewCookie gives another cookie to somebody who has just changed their password:
// whoever holds a copy of the old one is out within half a minute. The password is
// changed by then, so that it cannot be done is no refusal.
func (s *Server) renewCookie(w http.ResponseWriter, r *http.Request, proof account.Proof, p *durward.Principal, value string) {
	value, err := s.c.Issuer.StepUpCookie(r.Context(), proof, p, value, from(r))
	if err != nil {
		s.c.Log.Error("a password was changed, the cookie could not be", "session", p.SessionID, "error", err)
		return
	}
	giveCookie(w, value)
}
