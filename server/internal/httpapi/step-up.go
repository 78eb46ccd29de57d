package httpapi

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/store"
)

// stepUp is POST /api/auth/step-up: the user authenticates again, with the password, a code of the second
// factor or a passkey.
func (s *Server) stepUp(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[api.StepUpRequest](w, r)
	if err != nil {
		return err
	}
	p := durward.From(r.Context())
	if p.SessionID == "" {
		return refusal(durward.Forbidden, "These credentials cannot step up, because they belong to no session.",
			"Sign in at POST /api/auth/login.", "step-up with credentials without a session")
	}
	proof, err := s.reauthenticate(r, in)
	return s.answerStepUp(w, r, proof, err)
}

// reauthenticate verifies the only member of in.
func (s *Server) reauthenticate(r *http.Request, in api.StepUpRequest) (account.Proof, error) {
	p := durward.From(r.Context())
	sent := 0
	for _, has := range []bool{in.Password != "", in.TOTP != "", in.RecoveryCode != "", len(in.Passkey) > 0} {
		if has {
			sent++
		}
	}
	code := account.Code{Factor: store.FactorTOTP, Text: in.TOTP}
	switch {
	case sent > 1:
		return account.Proof{}, invalidBody("The body has more than one of password, totp, recovery_code and passkey.", "Send one of them.")
	case sent == 0:
		return account.Proof{}, invalid("password", "The member password is missing or empty.", "Or send a code of the second factor as totp or recovery_code, or the response of a passkey as passkey.")
	case in.Password != "":
		return s.c.Sessions.Reauthenticate(r.Context(), p, in.Password, from(r))
	case len(in.Passkey) > 0:
		return s.c.Sessions.ReauthenticateWithPasskey(r.Context(), s.passkeys, p, in.Passkey, from(r))
	case in.RecoveryCode != "":
		code = account.Code{Factor: store.FactorRecoveryCode, Text: in.RecoveryCode}
	}
	return s.c.Sessions.ReauthenticateWithCode(r.Context(), p, code, from(r))
}

// StepUp renews the sign-in of a browser by the only member of in, as POST /api/auth/step-up does, and sets
// the new cookie.
func (s *Server) StepUp(w http.ResponseWriter, r *http.Request, in api.StepUpRequest) error {
	proof, err := s.reauthenticate(r, in)
	if err != nil {
		return unknownOwner(err)
	}
	return s.renew(w, r, proof)
}

// renew renews the sign-in of a browser by proof and sets the new cookie.
func (s *Server) renew(w http.ResponseWriter, r *http.Request, proof account.Proof) error {
	value, ok := acceptedCookie(r)
	if !ok {
		return fmt.Errorf("no session cookie to renew: %w", durward.SessionExpired)
	}
	fresh, err := s.c.Sessions.StepUpCookie(r.Context(), proof, durward.From(r.Context()), value, from(r))
	if err != nil {
		return err
	}
	s.SetCookies(w, r, proof.User, fresh)
	return nil
}

// SessionEnded reports whether the session of a request, which the guard accepted, has ended since.
func (s *Server) SessionEnded(r *http.Request) bool {
	value, ok := acceptedCookie(r)
	if !ok {
		return true
	}
	_, err := s.c.Sessions.AuthenticateCookie(r.Context(), value, false)
	return errors.Is(err, durward.SessionExpired)
}

// answerStepUp renews the sign-in of the request by proof and answers with new tokens, or with a new cookie
// if the request was authenticated by cookie. Or it returns err.
func (s *Server) answerStepUp(w http.ResponseWriter, r *http.Request, proof account.Proof, err error) error {
	p := durward.From(r.Context())
	if err != nil {
		return unknownOwner(err)
	}
	if value, ok := acceptedCookie(r); ok {
		fresh, err := s.c.Sessions.StepUpCookie(r.Context(), proof, p, value, from(r))
		return s.answerCookie(w, r, proof.User, fresh, err)
	}
	t, err := s.c.Sessions.StepUp(r.Context(), proof, p, from(r))
	return answerTokens(w, t, err)
}
