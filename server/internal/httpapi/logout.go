package httpapi

import (
	"errors"
	"net/http"
	"strings"

	"github.com/durward-auth/durward"
)

// logout is POST /api/auth/logout: always 204, also for credentials that are
// dead or were never alive, since nothing is left to end then. What cannot be
// written down is a 503: a client must not believe a session dead that is not.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) error {
	var in struct {
		RefreshToken string `json:"refresh_token"`
		Everywhere   bool   `json:"everywhere"`
	}
	if hasBody(r) {
		var err error
		if in, err = decode[struct {
			RefreshToken string `json:"refresh_token"`
			Everywhere   bool   `json:"everywhere"`
		}](w, r); err != nil {
			return err
		}
	}
	var user, session string
	if in.RefreshToken != "" {
		var err error
		user, session, err = s.c.Issuer.RefreshSession(r.Context(), in.RefreshToken)
		if err != nil && !errors.Is(err, durward.RefreshInvalid) {
			return err
		}
	}
	if session == "" {
		if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && (strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "DPoP")) {
			// A token that ended still says whose session it was. A proof is not asked
			// for: whoever has the token may end it, and most of all who lost the key.
			p, err := s.c.Issuer.Verifier().VerifyEnded(r.Context(), strings.TrimSpace(token))
			var code durward.Code
			switch {
			case err == nil:
				user, session = p.Subject, p.SessionID
			case !errors.As(err, &code):
				return err
			}
		}
	}
	if in.RefreshToken == "" && r.Header["Authorization"] == nil {
		// What is sent on purpose is what is meant; a cookie comes by itself.
		if err := s.logoutCookie(w, r, in.Everywhere); err != nil {
			return err
		}
	}
	if session != "" {
		if err := s.c.People.SignOut(r.Context(), user, session, in.Everywhere, from(r)); err != nil {
			return err
		}
	}
	return noContent(w)
}

// logoutCookie ends the session of the cookie that came, dead or alive. A foreign
// page ends nothing.
func (s *Server) logoutCookie(w http.ResponseWriter, r *http.Request, everywhere bool) error {
	sent := sentCookies(r)
	if len(sent) == 0 {
		return nil
	}
	if err := s.guard.SameOrigin(r); err != nil {
		return err
	}
	for _, value := range sent {
		user, session, err := s.c.Issuer.CookieSession(r.Context(), value)
		if errors.Is(err, durward.SessionExpired) {
			continue
		}
		if err == nil {
			err = s.c.People.SignOut(r.Context(), user, session, everywhere, from(r))
		}
		if err != nil {
			return err // the cookie stays, since the session may
		}
	}
	forgetCookie(w)
	return nil
}
