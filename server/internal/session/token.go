package session

import (
	"strings"
	"time"

	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/store"
)

// tokens returns refresh token n of a grant with a new access token.
func (m *Manager) tokens(g store.Grant, s store.Session, n uint32, now time.Time) (Tokens, error) {
	refresh, err := m.refreshToken(g, n)
	if err != nil {
		return Tokens{}, err
	}
	claims := claimsOf(s, g.ClientID, g.Scope)
	if g.JKT != "" {
		claims.Confirmation = &jwt.Confirmation{JKT: g.JKT} // RFC 9449 s6.1
	}
	access, life, err := m.c.Issuer.Sign(claims)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{
		Access: access, AccessLife: life,
		Refresh: refresh, RefreshLife: earlier(g.IdleEnds, g.Ends).Sub(now),
		Scope: g.Scope, Session: s.ID, Subject: s.UserID, Bound: g.JKT != "",
	}, nil
}

// accessToken returns an access token without a refresh token. It ends at ends at the latest.
func (m *Manager) accessToken(s store.Session, clientID, scope string, ends time.Time) (Tokens, error) {
	claims := claimsOf(s, clientID, scope)
	claims.Expires = ends
	access, life, err := m.c.Issuer.Sign(claims)
	if err != nil {
		return Tokens{}, err
	}
	return Tokens{Access: access, AccessLife: life, Scope: scope, Session: s.ID, Subject: s.UserID}, nil
}

// claimsOf returns the claims that an access token has from its session.
func claimsOf(s store.Session, clientID, scope string) jwt.Claims {
	return jwt.Claims{
		Subject:   s.UserID,
		SessionID: s.ID,
		ClientID:  clientID,
		Scopes:    strings.Fields(scope),
		AuthTime:  s.AuthTime,
		ACR:       s.ACR,
		AMR:       s.AMR,
	}
}

// stillGranted returns the scopes that were granted and that u still has. Scopes that u got later
// need a new sign-in.
func stillGranted(scope string, u store.User) string {
	return joinScopes(account.StillGranted(strings.Fields(scope), u))
}

func joinScopes(scopes []string) string { return strings.Join(scopes, " ") }
