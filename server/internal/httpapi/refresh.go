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

// answerTokens answers with tokens, or returns err.
func answerTokens(w http.ResponseWriter, t session.Tokens, err error) error {
	kind := "Bearer"
	if t.Bound {
		kind = "DPoP" // RFC 9449 s5
	}
	return answer(w, http.StatusOK, api.TokenResponse{
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
