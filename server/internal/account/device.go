package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"

	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// deviceOctets is the length of the cookie of a known device: 256 random bits, sent in base64url.
const deviceOctets = 32

// deviceHash returns the hash of a device's cookie in the database, or nil for a text of another form.
func deviceHash(cookie string) []byte {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cookie)
	if err != nil || len(raw) != deviceOctets || len(cookie) != base64.RawURLEncoding.EncodedLen(deviceOctets) {
		return nil
	}
	sum := sha256.Sum256(append([]byte("durward device cookie\x00"), raw...))
	return sum[:]
}

// knownDevice returns the ID of the known device of a user from which a request came, or "". Its failures
// count on their own, and no lock of the account holds for it.
func (m *Manager) knownDevice(ctx context.Context, userID string, from request.Info) (string, error) {
	hash := deviceHash(from.DeviceCookie)
	if hash == nil {
		return "", nil
	}
	return m.DB.KnownDevice(ctx, userID, hash, m.Now())
}

// RememberDevice makes the device of a request known after a sign-in of u, or after a reset of the password
// by mail. It returns the cookie for the device, which is that of the request if it was known, or "" if
// the user changed meanwhile.
func (m *Manager) RememberDevice(ctx context.Context, u store.User, from request.Info) (cookie string, err error) {
	raw := make([]byte, deviceOctets)
	_, _ = rand.Read(raw) // crypto/rand.Read never returns an error
	cookie = base64.RawURLEncoding.EncodeToString(raw)
	d := store.Device{ID: store.NewID(), UserID: u.ID, Hash: deviceHash(cookie), SeenAt: m.Now()}
	fresh, err := m.DB.RememberDevice(ctx, d, deviceHash(from.DeviceCookie), u)
	switch {
	case errors.Is(err, store.ErrChanged):
		return "", nil
	case err != nil:
		return "", err
	case fresh:
		return cookie, nil
	}
	return from.DeviceCookie, nil
}
