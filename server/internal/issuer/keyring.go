package issuer

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"slices"

	"github.com/durward-auth/durward/server/internal/store"
)

// RefreshKey is one key of the key ring that authenticates refresh tokens.
type RefreshKey struct {
	Number uint8
	secret []byte // the stored secret, mixed with the epoch of the database
}

// MAC returns the HMAC-SHA-256 of the concatenated parts.
func (k RefreshKey) MAC(parts ...[]byte) []byte {
	h := hmac.New(sha256.New, k.secret)
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// ring is the list of refresh keys, newest last.
type ring struct {
	keys []RefreshKey
	rows []string // ids of their rows
}

// NewestRefreshKey returns the key for new grants.
func (i *Issuer) NewestRefreshKey() RefreshKey {
	keys := i.ring.Load().keys
	return keys[len(keys)-1]
}

// RefreshKey returns the refresh key with a number.
func (i *Issuer) RefreshKey(number uint8) (RefreshKey, bool) {
	for _, k := range i.ring.Load().keys {
		if k.Number == number {
			return k, true
		}
	}
	return RefreshKey{}, false
}

// readRing reads the refresh keys if the database has other ones than before.
func (i *Issuer) readRing(ctx context.Context) error {
	rows, err := i.c.DB.Keys(ctx, store.UseRefresh)
	if err != nil {
		return err
	}
	rows = slices.DeleteFunc(rows, func(row store.Key) bool { return row.State == store.KeyGone })
	fresh := new(ring)
	for _, row := range rows {
		fresh.rows = append(fresh.rows, row.ID)
	}
	if old := i.ring.Load(); old != nil && slices.Equal(old.rows, fresh.rows) {
		return nil
	}
	for _, row := range rows {
		secret, err := i.c.Master.Unseal(refreshLabel, row.ID, row.Sealed)
		if err != nil {
			return wrongMaster(i.c.Master, "refresh key "+row.ID, err)
		}
		// A restored database has a new epoch, so it accepts no token from the time that it lost.
		mixed := hmac.New(sha256.New, secret)
		mixed.Write([]byte("epoch " + i.c.DB.SessionEpoch()))
		fresh.keys = append(fresh.keys, RefreshKey{Number: row.Number, secret: mixed.Sum(nil)})
	}
	if len(fresh.keys) == 0 {
		return errors.New("issuer: the database has no refresh key; restore the database from a backup")
	}
	i.ring.Store(fresh)
	return nil
}
