package store

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// What a key is used for, and where it is in its life.
const (
	UseSigning = "signing"
	UseRefresh = "refresh"

	KeyPending  = "pending"  // published, not yet signing
	KeyActive   = "active"   // signing
	KeyRetiring = "retiring" // verifying what it signed
	KeyGone     = "gone"
)

// Key is a key at rest. Its secret is sealed.
type Key struct {
	ID          string
	Use         string
	Algorithm   string
	State       string
	Number      uint8 // of a refresh key
	Sealed      []byte
	CreatedAt   time.Time
	ActivatedAt time.Time
	RetiredAt   time.Time
}

// Keys returns the keys of one use, oldest first.
func (db *DB) Keys(ctx context.Context, use string) ([]Key, error) {
	return collect(db.reader(ctx), func(row scanner) (k Key, err error) {
		var times [3]int64
		err = row.Scan(&k.ID, &k.Use, &k.Algorithm, &k.State, &k.Number, &k.Sealed, &times[0], &times[1], &times[2])
		k.CreatedAt, k.ActivatedAt, k.RetiredAt = moment(times[0]), moment(times[1]), moment(times[2])
		return k, err
	}, `SELECT id, use_for, algorithm, state, number, sealed, created_at, activated_at, retired_at FROM keys WHERE use_for = $1 ORDER BY created_at, id`, use)
}

func (t *tx) insertKey(k Key) error {
	_, err := t.exec(`INSERT INTO keys (id, use_for, algorithm, state, number, sealed, created_at, activated_at, retired_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		k.ID, k.Use, k.Algorithm, k.State, k.Number, k.Sealed, micros(k.CreatedAt), micros(k.ActivatedAt), micros(k.RetiredAt))
	return errors.Join(err, t.tell())
}

// AddKey adds a key.
func (db *DB) AddKey(ctx context.Context, k Key, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		if err := tx.insertKey(k); err != nil {
			return err
		}
		return tx.event(e)
	})
}

// AddKeyIfNone adds keys where there are none of the first one's use, but for
// those that are gone: of several
// processes that start at once, one adds its own.
func (db *DB) AddKeyIfNone(ctx context.Context, keys ...Key) error {
	return db.do(ctx, func(tx *tx) error {
		if err := tx.alone("keys"); err != nil {
			return err
		}
		var n int
		if err := tx.row(`SELECT count(*) FROM keys WHERE use_for = $1 AND state <> $2`, keys[0].Use, KeyGone).Scan(&n); err != nil || n > 0 {
			return err
		}
		for _, k := range keys {
			if err := tx.insertKey(k); err != nil {
				return err
			}
		}
		return nil
	})
}

// PromoteKey makes a pending key the active one and retires the one that was. Where
// the key is pending no longer, nothing changes; ErrChanged says that another than
// old is active by now.
func (db *DB) PromoteKey(ctx context.Context, id, old string, at time.Time, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		if err := tx.alone("keys"); err != nil {
			return err
		}
		var others int
		if err := tx.row(`SELECT count(*) FROM keys WHERE use_for = (SELECT use_for FROM keys WHERE id = $1) AND state = $2 AND id <> $3`, id, KeyActive, old).Scan(&others); err != nil {
			return err
		}
		n, err := tx.changed(`UPDATE keys SET state = $2, activated_at = $3 WHERE id = $1 AND state = $4`, id, KeyActive, micros(at), KeyPending)
		if err != nil || n == 0 {
			return err // somebody else was first
		}
		if others > 0 {
			return ErrChanged // another signs by now
		}
		n, err = tx.changed(`UPDATE keys SET state = $2, retired_at = $3 WHERE id = $1 AND state = $4`, old, KeyRetiring, micros(at), KeyActive)
		if err != nil {
			return err
		}
		if old != "" && n == 0 {
			return ErrChanged // it was given up meanwhile, and has a successor
		}
		if err := tx.tell(); err != nil {
			return err
		}
		return tx.event(e)
	})
}

// GivenUp is a signing key that is given up at once, with what takes its place.
type GivenUp struct {
	ID    string
	State string // in which it was found
	Next  string // pending key that signs from now on; empty is none
	Add   []Key  // new keys
	At    time.Time
	Until time.Time // when its last token has ended; zero revokes none
}

// GiveUpKey forgets a key and its secret, and declares all that it signed dead.
// ErrChanged means that it, or the next one, is no more in the state in which it
// was found.
func (db *DB) GiveUpKey(ctx context.Context, g GivenUp, events ...Event) ([]Revocation, error) {
	return made(ctx, db, func(tx *tx) (revoked []Revocation, err error) {
		if err := tx.alone("keys"); err != nil {
			return nil, err
		}
		n, err := tx.changed(`UPDATE keys SET state = $2, sealed = $3, retired_at = $4 WHERE id = $1 AND state = $5`, g.ID, KeyGone, []byte{}, micros(g.At), g.State)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return nil, ErrChanged
		}
		if g.Next != "" {
			if n, err = tx.changed(`UPDATE keys SET state = $2, activated_at = $3 WHERE id = $1 AND state = $4`, g.Next, KeyActive, micros(g.At), KeyPending); err != nil {
				return nil, err
			}
			if n == 0 {
				return nil, ErrChanged
			}
		}
		for _, k := range g.Add {
			if err := tx.insertKey(k); err != nil {
				return nil, err
			}
		}
		if !g.Until.IsZero() {
			r, err := tx.revoke("kid", g.ID, g.At, g.Until)
			if err != nil {
				return nil, err
			}
			revoked = append(revoked, r)
		}
		for _, e := range events {
			if err := tx.event(e); err != nil {
				return nil, err
			}
		}
		return revoked, tx.tell()
	})
}

// ForgetKey gives up a key that verifies nothing any more, and its secret.
func (db *DB) ForgetKey(ctx context.Context, id string, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		n, err := tx.changed(`UPDATE keys SET state = $2, sealed = $3 WHERE id = $1 AND state = $4`, id, KeyGone, []byte{}, KeyRetiring)
		if err != nil || n == 0 {
			return err
		}
		if err := tx.tell(); err != nil {
			return err
		}
		return tx.event(e)
	})
}

// String says which key, never what it is.
func (k Key) String() string { return fmt.Sprintf("%s key %s (%s)", k.Use, k.ID, k.State) }
