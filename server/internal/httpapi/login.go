package httpapi

import (
	"net/http"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
)

// login is POST /api/auth/login.
func (s *Server) login(w http.ResponseWriter, r *http.Request, key *durward.HeldKey) error {
	in, err := decode[api.LoginRequest](w, r)
	if err != nil {
		return err
	}
	if in.UseCookies {
		if key != nil {
			return invalid("use_cookies", "A session cookie cannot be bound to the key of a DPoP proof.", "Leave out use_cookies or the DPoP field.")
		}
		// A page of another site must not sign a user in to an account of its choice (RFC 9700 s4.7).
		if err := s.guard.SameOrigin(r); err != nil {
			return err
		}
	}
	info, cookie := from(r), ""
	if sent := sentCookies(r); len(sent) > 0 {
		cookie = sent[0]
		if p, err := s.c.Sessions.AuthenticateCookie(r.Context(), cookie, false); err == nil {
			info.Cookie = p.Subject
		}
	}
	proof, err := s.c.Accounts.Authenticate(r.Context(), in.Email, in.Password, info)
	if err != nil {
		return err
	}
	if in.UseCookies {
		// The response has no token that a script could steal. The previous session of the browser ends.
		value, err := s.c.Sessions.SignInCookie(r.Context(), proof, cookie, info)
		return s.answerCookie(w, r, proof.User, value, err)
	}
	t, err := s.c.Sessions.SignIn(r.Context(), proof, key, info)
	return answerTokens(w, t, err)
}
