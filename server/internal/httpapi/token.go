package httpapi

import (
	"errors"
	"net/http"

	"github.com/durward-auth/durward"
)

// token is POST /api/auth/token: a page that calls APIs of other origins gets an
// access token for its cookie. The cookie is what lasts, so there is no refresh
// token; whoever has an access token already refreshes it.
func (s *Server) token(w http.ResponseWriter, r *http.Request) error {
	if hasBody(r) {
		if _, err := decode[struct{}](w, r); err != nil {
			return err
		}
	}
	value, ok := judgedCookie(r)
	if !ok {
		return &durward.Refusal{Code: durward.Forbidden, Detail: "Only a session cookie gives an access token here.",
			Hint: "Refresh a token at POST /api/auth/refresh.", Err: errors.New("the credentials are no session cookie")}
	}
	t, err := s.c.Issuer.CookieToken(r.Context(), value)
	if err != nil {
		return err
	}
	return answerTokens(w, t)
}
