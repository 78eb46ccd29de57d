package httpapi

import (
	"github.com/durward-auth/durward/server/internal/session"
	"net/http"
	"time"
)

// tokenResponse is the response to a sign-in and a refresh (RFC 6749 s5.1), extended by the lifetime
// of the refresh token in seconds.
type tokenResponse struct {
	AccessToken      string `json:"access_token"`
	TokenType        string `json:"token_type"`
	ExpiresIn        int64  `json:"expires_in"`
	RefreshToken     string `json:"refresh_token,omitzero"`
	RefreshExpiresIn int64  `json:"refresh_expires_in,omitzero"`
	Scope            string `json:"scope"`
}

func answerTokens(w http.ResponseWriter, t session.Tokens) error {
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
	})
}

// seconds rounds up to whole seconds. The issue time of a token is rounded down to the second, and a
// lifetime of 15 minutes must still be reported as 900.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
