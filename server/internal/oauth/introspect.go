package oauth

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// UserInfoURL returns the URL of the userinfo endpoint, an audience of tokens with the scope openid.
func (m *Manager) UserInfoURL() string { return m.c.UserInfo }

// audiences returns those that the tokens of clients may have.
func (m *Manager) audiences() []string {
	return append(append(urls(m.Resources()), m.c.UserInfo), m.c.Audience...)
}

// Introspect returns what a confidential client may learn about a token (RFC 7662 s2.2): of an access token whose
// audience is one of the client's, and of its own refresh token. For any other token it returns only that the
// token is not active.
func (m *Manager) Introspect(ctx context.Context, c store.Client, token string) (map[string]any, error) {
	if c.Auth == store.ClientPublic {
		// RFC 7662 s2.1: else a stranger could test tokens.
		return nil, refuse(UnauthorizedClient, "A client without a secret may not introspect tokens.")
	}
	inactive := map[string]any{"active": false}
	r, err := m.c.Sessions.GrantOfRefreshToken(ctx, token)
	switch code, refused := errors.AsType[durward.Code](err); {
	case err == nil:
		if r.Grant.ClientID != c.ID || m.c.Sessions.Live(r) != nil {
			return inactive, nil
		}
		return map[string]any{
			"active":    true,
			"client_id": c.ID,
			"scope":     r.Grant.Scope,
			"sub":       r.User.ID,
			"sid":       r.Session.ID,
			"iss":       m.c.Issuer.URL(),
			"iat":       r.Grant.CreatedAt.Unix(),
			"exp":       r.Grant.IdleEnds.Unix(),
		}, nil
	case !refused || code == durward.AuthUnavailable:
		return nil, err
	}
	claims, ok, err := m.c.Issuer.AccessToken(ctx, token, m.introspects(c))
	if err != nil || !ok {
		return inactive, err
	}
	return introspection(claims), nil
}

// introspects returns the audiences of a client as they are spelt in tokens.
func (m *Manager) introspects(c store.Client) (list []string) {
	for _, text := range c.Introspects {
		if r, ok := m.Resource(text); ok {
			text = r.URL
		}
		list = append(list, text)
	}
	return list
}

// introspection returns the claims of an access token (RFC 7662 s2.2, RFC 9449 s6.2).
func introspection(c jwt.Claims) map[string]any {
	all := map[string]any{
		"active":     true,
		"token_type": "Bearer",
		"iss":        c.Issuer,
		"sub":        c.Subject,
		"aud":        c.Audience,
		"client_id":  c.ClientID,
		"scope":      strings.Join(c.Scopes, " "),
		"exp":        c.Expires.Unix(),
		"iat":        c.IssuedAt.Unix(),
		"jti":        c.ID,
		"sid":        c.SessionID,
	}
	if !c.AuthTime.IsZero() {
		all["auth_time"] = c.AuthTime.Unix()
	}
	if c.ACR != "" {
		all["acr"] = c.ACR
	}
	if len(c.AMR) > 0 {
		all["amr"] = c.AMR
	}
	if len(c.Groups) > 0 { // the resource has this claim in its tokens
		all["groups"] = c.Groups
	}
	if c.Confirmation != nil && c.Confirmation.JKT != "" {
		all["cnf"], all["token_type"] = map[string]any{"jkt": c.Confirmation.JKT}, "DPoP"
	}
	return all
}

// SignedIntrospection returns an answer of Introspect as a JWT for the client (RFC 9701 s5).
func (m *Manager) SignedIntrospection(ctx context.Context, c store.Client, answer map[string]any) (string, error) {
	return m.c.Issuer.SignFor(ctx, c.IDTokenAlg, "token-introspection+jwt", func(string) any {
		return map[string]any{"iss": m.c.Issuer.URL(), "aud": c.ID, "iat": m.c.Now().Unix(), "token_introspection": answer}
	})
}

// Revoke ends a token of a client (RFC 7009 s2): an access token alone, or with a refresh token its grant. A token
// that is not known, or has ended, is no error. One of another client is refused with InvalidGrant.
func (m *Manager) Revoke(ctx context.Context, c store.Client, token string, from request.Info) error {
	other := badGrant("The token belongs to another client.", durward.Forbidden, nil)
	r, err := m.c.Sessions.GrantOfRefreshToken(ctx, token)
	switch code, refused := errors.AsType[durward.Code](err); {
	case err == nil && r.Grant.ClientID != c.ID:
		return other
	case err == nil:
		if m.c.Sessions.Live(r) != nil {
			return nil
		}
		err = m.c.Sessions.EndApplication(ctx, r.Session, store.EventSignedOut, "client "+c.ID, from)
		if errors.Is(err, store.ErrNotFound) {
			return nil // another request was first
		}
		return err
	case !refused || code == durward.AuthUnavailable:
		return err
	}
	claims, ok, err := m.c.Issuer.AccessToken(ctx, token, slices.Compact(m.audiences()))
	switch {
	case err != nil || !ok:
		return err
	case claims.ClientID != c.ID:
		return other
	}
	return m.c.Issuer.RevokeToken(ctx, claims)
}
