package session

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/store"
)

// A refresh token is derived, not random, so that a lost response can be repeated and a grant needs
// one row however often it is refreshed:
//
//	"dr_" base64url( version 1 | key 1 | grant 16 | n 4 | check 2 | mac 24 )
//
// Numbers are octets. check authenticates the octets before it, so that garbage is refused without
// a read of the database. mac authenticates version to n with the salt in the grant's row, so that
// neither the refresh key alone nor a copy of the database alone forges a token.
const (
	refreshPrefix  = "dr_"
	refreshVersion = 1
	refreshOctets  = 48
	refreshChars   = len(refreshPrefix) + refreshOctets/3*4
	checkFrom      = 22
	macFrom        = 24
)

type refreshParts struct {
	raw   [refreshOctets]byte
	key   uint8
	grant [16]byte
	n     uint32
}

// parseRefresh parses the canonical form only.
func parseRefresh(token string) (p refreshParts, err error) {
	text, ok := strings.CutPrefix(token, refreshPrefix)
	if !ok || len(token) != refreshChars {
		return p, neverIssued("not of the form of a refresh token")
	}
	// The decoder skips line breaks, so the octets are counted. 48 octets fill their base64url
	// characters, so there is no second spelling.
	if n, err := base64.RawURLEncoding.Decode(p.raw[:], []byte(text)); err != nil || n != refreshOctets {
		return p, neverIssued("not base64url")
	}
	if p.raw[0] != refreshVersion {
		return p, neverIssued("version %d of refresh tokens is unknown", p.raw[0])
	}
	p.key = p.raw[1]
	copy(p.grant[:], p.raw[2:18])
	p.n = binary.BigEndian.Uint32(p.raw[18:22])
	return p, nil
}

// refreshToken derives token n of a grant.
func (m *Manager) refreshToken(g store.Grant, n uint32) (string, error) {
	k, ok := m.c.Issuer.RefreshKey(g.Key)
	if !ok {
		return "", fmt.Errorf("session: refresh key %d of grant %x is not in the key ring", g.Key, g.ID)
	}
	var raw [refreshOctets]byte
	raw[0], raw[1] = refreshVersion, g.Key
	copy(raw[2:18], g.ID[:])
	binary.BigEndian.PutUint32(raw[18:checkFrom], n)
	copy(raw[checkFrom:macFrom], checkOf(k, raw[:checkFrom]))
	copy(raw[macFrom:], macOf(k, raw[:checkFrom], g.Salt))
	return refreshPrefix + base64.RawURLEncoding.EncodeToString(raw[:]), nil
}

func checkOf(k issuer.RefreshKey, head []byte) []byte { return k.MAC(head)[:macFrom-checkFrom] }

func macOf(k issuer.RefreshKey, head, salt []byte) []byte {
	return k.MAC(head, salt)[:refreshOctets-macFrom]
}

// tokens returns refresh token n of a grant with a new access token.
func (m *Manager) tokens(g store.Grant, s store.Session, n uint32, now time.Time) (Tokens, error) {
	refresh, err := m.refreshToken(g, n)
	if err != nil {
		return Tokens{}, err
	}
	t, err := m.accessToken(s, g.ClientID, g.Scope, g.JKT, time.Time{})
	t.Refresh, t.RefreshLife = refresh, earlier(g.IdleEnds, g.Ends).Sub(now)
	return t, err
}

// accessToken returns an access token without a refresh token. It is bound to the DPoP key jkt unless
// that is empty. If ends is not zero, the token ends then at the latest.
func (m *Manager) accessToken(s store.Session, clientID, scope, jkt string, ends time.Time) (t Tokens, err error) {
	claims := jwt.Claims{
		Subject:   s.UserID,
		SessionID: s.ID,
		ClientID:  clientID,
		Scopes:    strings.Fields(scope),
		AuthTime:  s.AuthTime,
		ACR:       s.ACR,
		AMR:       s.AMR,
		Expires:   ends,
	}
	if jkt != "" {
		claims.Confirmation = &jwt.Confirmation{JKT: jkt} // RFC 9449 s6.1
	}
	t = Tokens{Scope: scope, Session: s.ID, Subject: s.UserID, Bound: jkt != ""}
	t.Access, t.AccessLife, err = m.c.Issuer.Sign(claims)
	return t, err
}

// refuseOwing returns the refusal of a user who owes a second factor. Its member enrolment_token is an access
// token of the session s that sets up the factor and opens nothing else. It is bound to the DPoP key jkt unless
// that is empty. Once the user has the factor, the session continues with ordinary tokens. The session of an
// application gets no such token.
func (m *Manager) refuseOwing(s store.Session, u store.User, jkt string) error {
	refused := account.RefuseOwing(u)
	if s.ClientID != FirstParty {
		return refused
	}
	t, err := m.accessToken(s, FirstParty, "profile "+issuer.ScopeEnrolment, jkt, s.EndsAt)
	if err != nil {
		return err
	}
	refused.Members = map[string]any{"enrolment_token": t.Access}
	return refused
}

// stillGranted returns the scopes that were granted and that u still has. Scopes that u got later
// need a new sign-in.
func stillGranted(scope string, u store.User) string {
	return strings.Join(account.StillGranted(strings.Fields(scope), u), " ")
}
