package httpapi

import (
	"net/http"

	"github.com/durward-auth/durward"
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
	p := durward.From(r.Context())
	cookie, _ := acceptedCookie(r)
	fresh, err := s.c.Sessions.ChangePassword(r.Context(), p, in.Current, in.New, cookie, from(r))
	if fresh != "" {
		setCookie(w, fresh, 0)
	}
	return noContent(w, unknownOwner(err))
}
