package session

import (
	"strings"
	"time"

	"github.com/durward-auth/durward"
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

// DirectPrincipal returns the principal of a user who authenticates each request. It has no session
// and no token that could be revoked.
func (m *Manager) DirectPrincipal(proof account.Proof) *durward.Principal {
	return &durward.Principal{
		Subject:  proof.User.ID,
		Issuer:   m.c.Issuer.URL(),
		ClientID: FirstParty,
		Scopes:   account.ScopesOf(proof.User),
		ACR:      proof.ACR,
		AMR:      proof.Methods,
		AuthTime: proof.At,
	}
}

// KeyPrincipal returns the principal of a request with an API key. It has no session and no sign-in
// that could be stepped up. Its ClientID is the public part of the key.
func (m *Manager) KeyPrincipal(k store.APIKey) *durward.Principal {
	return &durward.Principal{
		Subject:  k.UserID,
		Issuer:   m.c.Issuer.URL(),
		ClientID: account.KeyShown(k),
		Scopes:   k.Scopes,
		Expires:  k.ExpiresAt,
	}
}
