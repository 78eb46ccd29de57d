package issuer

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// RefreshKey is one key of the key ring that authenticates refresh tokens.
type RefreshKey struct {
	Number uint8
	id     string // of its row
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

// NewestRefreshKey returns the key for new grants.
func (i *Issuer) NewestRefreshKey() RefreshKey {
	keys := *i.ring.Load()
	return keys[len(keys)-1]
}

// RefreshKey returns the refresh key with a number.
func (i *Issuer) RefreshKey(number uint8) (RefreshKey, bool) {
	for _, k := range *i.ring.Load() {
		if k.Number == number {
			return k, true
		}
	}
	return RefreshKey{}, false
}

// readRing reads the refresh keys if the database has other ones than before.
func (i *Issuer) readRing(ctx context.Context) error {
	rows, err := liveKeys(ctx, i.c.DB, store.UseRefresh)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return errors.New("issuer: the database has no refresh key; restore the database from a backup")
	}
	same := func(k RefreshKey, row store.Key) bool { return k.id == row.ID }
	if old := i.ring.Load(); old != nil && slices.EqualFunc(*old, rows, same) {
		return nil
	}
	var ring []RefreshKey
	for _, row := range rows {
		secret, err := unseal(i.c.Master, row)
		if err != nil {
			return err
		}
		// A restored database has a new epoch, so it accepts no token from the time that it lost.
		mixed := hmac.New(sha256.New, secret)
		mixed.Write([]byte("epoch " + i.c.DB.SessionEpoch()))
		ring = append(ring, RefreshKey{Number: row.Number, id: row.ID, secret: mixed.Sum(nil)})
	}
	i.ring.Store(&ring)
	return nil
}

// NewEpoch returns the epoch that begins after the database lost part of its history. Revocations in
// that part are lost, so sessions, API keys and signing keys end: a revoked one among them must not
// become valid again. With keep nothing ends.
func NewEpoch(keep bool, now time.Time) store.NewEpoch {
	return store.NewEpoch{
		KeepSessions: keep, At: now, Until: now.Add(verifyAfter),
		Event: store.Event{ID: store.NewID(), Kind: store.EventEpochBegun, At: now, Actor: store.Operator, Outcome: "ok"},
	}
}

// Opens returns an error if master does not open the keys in a database. It changes nothing.
func Opens(ctx context.Context, db *store.DB, master *seal.Master) error {
	for _, use := range uses {
		keys, err := liveKeys(ctx, db, use)
		if err != nil {
			return err
		}
		for _, k := range keys {
			if _, err := unseal(master, k); err != nil {
				return err
			}
		}
	}
	return nil
}

var uses = []string{store.UseSigning, store.UseRefresh, store.UseIDToken}

// liveKeys returns the keys of one use, oldest first, without those with a deleted secret.
func liveKeys(ctx context.Context, db *store.DB, use string) ([]store.Key, error) {
	keys, err := db.Keys(ctx, use)
	return slices.DeleteFunc(keys, func(k store.Key) bool { return k.State == store.KeyGone }), err
}

// signingKeys are the signing keys of one use by state, and one of them by id.
type signingKeys struct {
	named    store.Key   // empty if no key has the id
	active   store.Key   // empty if no key is active
	spares   []store.Key // pending, oldest first
	retiring []store.Key
}

// signingUses are the uses of keys that sign: tokens of the server's algorithm, and ID tokens with RS256.
var signingUses = []string{store.UseSigning, store.UseIDToken}

// signingKeys reads the signing keys of a use.
func (i *Issuer) signingKeys(ctx context.Context, use, id string) (keys signingKeys, err error) {
	rows, err := i.c.DB.Keys(ctx, use)
	for _, row := range rows {
		if row.ID == id {
			keys.named = row
		}
		switch row.State {
		case store.KeyActive:
			keys.active = row
		case store.KeyPending:
			keys.spares = append(keys.spares, row)
		case store.KeyRetiring:
			keys.retiring = append(keys.retiring, row)
		}
	}
	return keys, err
}

// sealLabel returns the label with which the secret of k is sealed.
func sealLabel(k store.Key) string { return k.Use + " key" }

// unseal returns the secret of a key.
func unseal(master *seal.Master, k store.Key) ([]byte, error) {
	secret, err := master.Unseal(sealLabel(k), k.ID, k.Sealed)
	if errors.Is(err, seal.ErrWrongKey) {
		err = fmt.Errorf("sealed with another master key than %s; put the right key file back, or restore database and key file of the same server: %w", master.KeyID(), err)
	}
	if err != nil {
		return nil, fmt.Errorf("issuer: %s key %s: %w", k.Use, k.ID, err)
	}
	return secret, nil
}

// CheckKeys returns the problems with the keys of a database: a key that master does not open, no
// active key, more than one active key of a use that has one.
func CheckKeys(ctx context.Context, db *store.DB, master *seal.Master) (problems []string, err error) {
	if err := Opens(ctx, db, master); errors.Is(err, store.ErrUnavailable) {
		return nil, err
	} else if err != nil {
		problems = append(problems, err.Error())
	}
	for _, use := range uses {
		keys, err := liveKeys(ctx, db, use)
		if err != nil {
			return nil, err
		}
		active := 0
		for _, k := range keys {
			if k.State == store.KeyActive {
				active++
			}
		}
		// No signing key at all is correct: with a shared secret, and after a new epoch until the
		// next start makes new ones.
		if len(keys) > 0 && active == 0 || use != store.UseRefresh && active > 1 {
			problems = append(problems, fmt.Sprintf("%d %s keys are active, want 1", active, use))
		}
	}
	return problems, nil
}
