package httpapi

import (
	"net/http"
	"time"

	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/session"
)

// tokenResponse is the response to a sign-in and a refresh.
type tokenResponse = api.TokenResponse

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
