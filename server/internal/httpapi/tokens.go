package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/session"
)

// tokenResponse is the response to a sign-in and a refresh.
type tokenResponse = api.TokenResponse

// answerTokens answers with tokens, or returns err.
func answerTokens(w http.ResponseWriter, t session.Tokens, err error) error {
	kind := "Bearer"
	if t.Bound {
		kind = "DPoP" // RFC 9449 s5
	}
	return answer(w, http.StatusOK, tokenResponse{
		AccessToken:      t.Access,
		TokenType:        kind,
		ExpiresIn:        seconds(t.AccessLife),
		RefreshToken:     t.Refresh,
		RefreshExpiresIn: seconds(t.RefreshLife),
		Scope:            t.Scope,
	}, err)
}

// seconds rounds up to whole seconds. The issue time of a token is rounded down to the second, and a
// lifetime of 15 minutes must still be reported as 900.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// refresh is POST /api/auth/refresh. A client signs its user out only after a 401 of this endpoint.
func (s *Server) refresh(w http.ResponseWriter, r *http.Request, key *durward.HeldKey) error {
	in, err := decode[api.RefreshRequest](w, r)
	if err != nil {
		return err
	}
	t, err := s.c.Sessions.Refresh(r.Context(), in.RefreshToken, key, from(r))
	if s.Schemes.DPoP == nil && errors.Is(err, durward.InvalidProof) {
		// The token was bound before the operator switched DPoP off: only a new sign-in helps.
		return fmt.Errorf("%v, and DPoP is off: %w", err, durward.RefreshInvalid)
	}
	return answerTokens(w, t, err)
}

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

// stepUp is POST /api/auth/step-up: the user authenticates again. The response has new tokens, or a
// new cookie if the request was authenticated by cookie.
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
	proof, err := s.c.Sessions.Reauthenticate(r.Context(), p, in.Password, from(r))
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
