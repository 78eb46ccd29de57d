package oauth

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/store"
)

// idTokenType is the type of ID tokens. Access tokens have the type at+jwt (RFC 9068 s2.1).
const idTokenType = "JWT"

// idToken returns the ID token that belongs to an access token (OpenID Connect Core s2).
func (m *Manager) idToken(ctx context.Context, u forUser, access string) (string, error) {
	now := m.c.Now()
	claims := m.requestedClaims(u)
	maps.Copy(claims, map[string]any{
		"iss": m.c.Issuer.URL(),
		"sub": u.user.ID,
		"aud": u.client.ID,
		"exp": now.Add(m.c.Issuer.AccessTTL()).Unix(),
		"iat": now.Unix(),
		"sid": u.session.ID,
	})
	if !u.session.AuthTime.IsZero() {
		claims["auth_time"] = u.session.AuthTime.Unix()
	}
	if u.session.ACR != "" {
		claims["acr"] = u.session.ACR
	}
	if len(u.session.AMR) > 0 {
		claims["amr"] = u.session.AMR
	}
	if u.nonce != "" {
		claims["nonce"] = u.nonce
	}
	return m.c.Issuer.SignFor(ctx, u.client.IDTokenAlg, idTokenType, func(algorithm string) any {
		claims["at_hash"] = halfHash(algorithm, access)
		return claims
	})
}

// halfHash returns the left half of the hash of a token (OpenID Connect Core s3.1.3.6), with the hash of the
// algorithm that signs the ID token: SHA-512 for Ed25519, else SHA-256.
func halfHash(algorithm, token string) string {
	if algorithm == "EdDSA" {
		sum := sha512.Sum512([]byte(token))
		return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
	}
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2])
}

// requestedClaims returns the claims of the user that the client asked for by name in the ID token, as far as the
// scopes give them (OpenID Connect Core s5.5).
func (m *Manager) requestedClaims(u forUser) map[string]any {
	claims := map[string]any{}
	var wanted struct {
		IDToken map[string]any `json:"id_token"`
	}
	if u.claims == "" || json.Unmarshal([]byte(u.claims), &wanted) != nil {
		return claims
	}
	all := userClaims(u.user, u.groups, u.scopes)
	for name := range wanted.IDToken {
		if value, ok := all[name]; ok {
			claims[name] = value
		}
	}
	return claims
}

// userClaims returns the claims of a user that the scopes give (OpenID Connect Core s5.4).
func userClaims(u store.User, groups, scopes []string) map[string]any {
	claims := map[string]any{"sub": u.ID}
	if slices.Contains(scopes, ScopeProfile) && u.Name != "" {
		claims["name"] = u.Name
	}
	if slices.Contains(scopes, ScopeEmail) {
		claims["email"], claims["email_verified"] = u.Email, !u.Unverified
	}
	if slices.Contains(scopes, ScopeGroups) {
		claims["groups"] = append([]string{}, groups...)
	}
	return claims
}

// UserInfo returns the claims about the user of an access token with the scope openid (OpenID Connect Core s5.3.2).
// It refuses with TokenRevoked if the client was disabled or the user locked or removed.
func (m *Manager) UserInfo(ctx context.Context, p *durward.Principal) (map[string]any, error) {
	u, err := m.c.DB.UserByID(ctx, p.Subject)
	if errors.Is(err, store.ErrNotFound) || err == nil && !u.LockedAt.IsZero() {
		return nil, durward.TokenRevoked
	} else if err != nil {
		return nil, err
	}
	groups, err := m.c.DB.Groups(ctx, p.Subject)
	if err != nil {
		return nil, err
	}
	return userClaims(u, groups, p.Scopes), nil
}
