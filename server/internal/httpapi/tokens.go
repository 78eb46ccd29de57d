package httpapi

import (
	"net/http"
	"time"

	"github.com/durward-auth/durward/server/internal/oauth"
)

// tokenAnswer is what a sign-in and a refresh give (RFC 6749 s5.1, with the life
// of the refresh token beside).
type tokenAnswer struct {
	AccessToken      string `json:"access_token"`
	TokenType        string `json:"token_type"`
	ExpiresIn        int64  `json:"expires_in"`
	RefreshToken     string `json:"refresh_token,omitzero"`
	RefreshExpiresIn int64  `json:"refresh_expires_in,omitzero"`
	Scope            string `json:"scope"`
}

func answerTokens(w http.ResponseWriter, t oauth.Tokens) error {
	kind := "Bearer"
	if t.Bound {
		kind = "DPoP" // RFC 9449 s5
	}
	return answer(w, http.StatusOK, tokenAnswer{
		AccessToken: t.Access, TokenType: kind, ExpiresIn: seconds(t.AccessLife),
		RefreshToken: t.Refresh, RefreshExpiresIn: seconds(t.RefreshLife), Scope: t.Scope,
	})
}

// seconds rounds to whole seconds: a life of 15 minutes is 900, though the token
// was dated to the second it was made in.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
