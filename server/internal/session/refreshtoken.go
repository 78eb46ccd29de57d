package session

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

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
func parseRefresh(token string) (refreshParts, error) {
	var p refreshParts
	if len(token) != refreshChars || !strings.HasPrefix(token, refreshPrefix) {
		return p, errors.New("not of the form of a refresh token")
	}
	text := token[len(refreshPrefix):]
	// The decoder skips line breaks, so the octets are counted. 48 octets fill their base64url
	// characters, so there is no second spelling.
	if n, err := base64.RawURLEncoding.Decode(p.raw[:], []byte(text)); err != nil || n != refreshOctets {
		return p, errors.New("not base64url")
	}
	if p.raw[0] != refreshVersion {
		return p, fmt.Errorf("version %d of refresh tokens is unknown", p.raw[0])
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

func newSalt() []byte {
	salt := make([]byte, 32)
	_, _ = rand.Read(salt) // crypto/rand.Read never returns an error
	return salt
}
