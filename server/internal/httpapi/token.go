package httpapi

import (
	"net/http"

	"github.com/durward-auth/durward"
)

// token is POST /api/auth/token. A page that calls APIs of other origins gets an access token for
// its session cookie. There is no refresh token, because the cookie lasts longer than the token.
func (s *Server) token(w http.ResponseWriter, r *http.Request) error {
	if _, err := decodeOptional[struct{}](w, r); err != nil {
		return err
	}
	value, ok := acceptedCookie(r)
	if !ok {
		return refusal(durward.Forbidden, "This endpoint accepts only the session cookie.",
			"Refresh a token at POST /api/auth/refresh.", "credentials other than a session cookie")
	}
	t, err := s.c.Sessions.CookieToken(r.Context(), value)
	return answerTokens(w, t, err)
}
