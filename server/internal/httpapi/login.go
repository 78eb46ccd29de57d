package httpapi

import (
	"errors"
	"net/http"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
)

// from says where a request came from.
func from(r *http.Request) request.Info {
	return request.Info{Addr: durward.ClientAddr(r.Context()), UserAgent: r.UserAgent()}
}

// login is POST /api/auth/login.
func (s *Server) login(w http.ResponseWriter, r *http.Request, key *durward.HeldKey) error {
	in, err := decode[struct {
		Email      string `json:"email"`
		Password   string `json:"password"`
		UseCookies bool   `json:"use_cookies"`
	}](w, r)
	if err != nil {
		return err
	}
	if err := present(field{"email", in.Email}, field{"password", in.Password}); err != nil {
		return err
	}
	if in.UseCookies {
		if key != nil {
			// Dropping the binding in silence would be worse.
			return &durward.Refusal{Code: durward.InvalidRequest, Detail: "A cookie is bound to no key.",
				Hint: "Leave out use_cookies or the DPoP field.", Members: map[string]any{"member": "use_cookies"}, Err: errors.New("use_cookies with a DPoP proof")}
		}
		// A foreign page must not sign anybody in, as whomever it likes (RFC 9700 s4.7).
		if err := s.guard.SameOrigin(r); err != nil {
			return err
		}
	}
	proof, err := s.c.People.Authenticate(r.Context(), in.Email, in.Password, from(r))
	if err != nil {
		return err
	}
	if in.UseCookies {
		return s.loginWithCookie(w, r, proof)
	}
	t, err := s.c.Issuer.SignIn(r.Context(), proof, key, from(r))
	if err != nil {
		return err
	}
	return answerTokens(w, t)
}

// loginWithCookie answers a sign-in with a session cookie, and nothing that a script
// could steal. A session that the browser has already ends.
func (s *Server) loginWithCookie(w http.ResponseWriter, r *http.Request, proof account.Proof) error {
	replaced := ""
	if sent := sentCookies(r); len(sent) > 0 {
		replaced = sent[0]
	}
	value, err := s.c.Issuer.SignInCookie(r.Context(), proof, replaced, from(r))
	if err != nil {
		return err
	}
	return s.answerCookie(w, r, proof.User, value)
}
