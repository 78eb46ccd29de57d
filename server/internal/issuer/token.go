package issuer

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/store"
)

// Sign completes and signs the claims of a session's access token, and returns the token and the time
// that it is valid. It sets iss, aud, iat, jti and exp. If c.Expires is set, the token ends then at
// the latest; Sign refuses with SessionExpired if less than a second is left.
func (i *Issuer) Sign(c jwt.Claims) (token string, life time.Duration, err error) {
	// NumericDate has whole seconds: exp is rounded down.
	now := i.c.Now()
	issued := now.Truncate(time.Second)
	expires := issued.Add(i.c.AccessTTL)
	if !c.Expires.IsZero() {
		if expires = earlier(expires, c.Expires.Truncate(time.Second)); !expires.After(issued) {
			return "", 0, fmt.Errorf("issuer: session %s ends within a second: %w", c.SessionID, durward.SessionExpired)
		}
	}
	signer, err := i.signing()
	if err != nil {
		return "", 0, err
	}
	c.Issuer, c.Audience, c.IssuedAt, c.Expires, c.ID = i.c.URL, i.c.Audience, issued, expires, store.NewID()
	c.AuthTime = earlier(c.AuthTime, issued) // after the clock was set back, auth_time must not be in the future
	if token, err = signer.Sign(c); err != nil {
		return "", 0, err
	}
	return token, expires.Sub(now), nil
}

// operatorClient is the client_id of tokens that the operator makes.
const operatorClient = "durward-cli"

// Issue makes an access token for the operator. The token has no session and cannot be refreshed.
// Issue records it in the security log first.
func (i *Issuer) Issue(
	ctx context.Context, subject string, scopes []string, life time.Duration,
) (string, jwt.Claims, error) {
	if life < time.Second || life > longestLife {
		return "", jwt.Claims{}, fmt.Errorf("issuer: the life of the token is %s, want 1s to %s", life, longestLife)
	}
	now := i.c.Now().Truncate(time.Second)
	c := jwt.Claims{
		Issuer:   i.c.URL,
		Subject:  subject,
		Audience: i.c.Audience,
		Expires:  now.Add(life),
		IssuedAt: now,
		ID:       store.NewID(),
		ClientID: operatorClient,
		Scopes:   scopes,
	}
	signer, err := i.signing()
	if err != nil {
		return "", jwt.Claims{}, err
	}
	token, err := signer.Sign(c)
	if err != nil {
		return "", jwt.Claims{}, err
	}
	event := store.Event{
		ID:      store.NewID(),
		Kind:    store.EventTokenIssued,
		At:      now,
		UserID:  subject,
		Actor:   "operator",
		Outcome: "ok",
		Detail:  "token " + c.ID + ", scope " + strings.Join(scopes, " "),
	}
	if err := i.c.DB.AddEvents(ctx, []store.Event{event}); err != nil {
		return "", jwt.Claims{}, err
	}
	return token, c, nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
