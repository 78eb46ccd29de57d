package httpapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/durward-auth/durward"
)

// refresh is POST /api/auth/refresh. Its own 401 is the only answer that signs a
// client out.
func (s *Server) refresh(w http.ResponseWriter, r *http.Request, key *durward.HeldKey) error {
	in, err := decode[struct {
		RefreshToken string `json:"refresh_token"`
	}](w, r)
	if err != nil {
		return err
	}
	if err := present(field{"refresh_token", in.RefreshToken}); err != nil {
		return err
	}
	t, err := s.c.Issuer.Refresh(r.Context(), in.RefreshToken, key, from(r))
	if s.proofs == nil && errors.Is(err, durward.InvalidProof) {
		// Proofs were taken once and are no longer: nothing but a sign-in helps.
		return fmt.Errorf("%v, and none are taken (dpop is off): %w", err, durward.RefreshInvalid)
	}
	if err != nil {
		return err
	}
	return answerTokens(w, t)
}

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

// hasBody reports whether a request that may do without a body has one. Reading
// a chunked body to find out would eat its first octet, so that is put back.
func hasBody(r *http.Request) bool {
	if r.ContentLength >= 0 {
		return r.ContentLength > 0
	}
	var first [1]byte
	if _, err := io.ReadFull(r.Body, first[:]); err != nil {
		return false
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(strings.NewReader(string(first[:])), r.Body), r.Body}
	return true
}
