package store

import (
	"context"
	"fmt"
	"time"
)

// Uses and states of keys.
const (
	UseSigning = "signing"
	UseRefresh = "refresh"
	UseIDToken = "id_token" // signs ID tokens for clients that need RS256

	KeyPending  = "pending"  // published, does not sign yet
	KeyActive   = "active"   // signs
	KeyRetiring = "retiring" // verifies the tokens that it signed
	KeyGone     = "gone"     // its secret is deleted
)

// Key is a stored key. Its secret is encrypted.
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

// String describes the key without its secret.
func (k Key) String() string { return fmt.Sprintf("%s key %s (%s)", k.Use, k.ID, k.State) }

func (k *Key) fields() []any {
	return []any{&k.ID, &k.Use, &k.Algorithm, &k.State, &k.Number, &k.Sealed, into(&k.CreatedAt), into(&k.ActivatedAt), into(&k.RetiredAt)}
}

// Keys returns the keys of one use, oldest first.
func (db *DB) Keys(ctx context.Context, use string) ([]Key, error) {
	return list[Key](db.reader(ctx), `SELECT id, use_for, algorithm, state, number, sealed, created_at, activated_at, retired_at
		FROM keys WHERE use_for = $1 ORDER BY created_at, id`, use)
}

func (t *tx) insertKey(k Key) error {
	t.exec(`INSERT INTO keys (id, use_for, algorithm, state, number, sealed, created_at, activated_at, retired_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		k.ID, k.Use, k.Algorithm, k.State, k.Number, k.Sealed, micros(k.CreatedAt), micros(k.ActivatedAt), micros(k.RetiredAt))
	return t.notifyNodes()
}

// AddKey adds a key.
func (db *DB) AddKey(ctx context.Context, k Key, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		tx.insertKey(k)
		return tx.event(e)
	})
}

// AddKeyIfNone adds keys if there is no key of the first one's use, keys in the state gone not counted: of
// several processes that start at once, one adds its keys.
func (db *DB) AddKeyIfNone(ctx context.Context, keys ...Key) error {
	return db.do(ctx, func(tx *tx) error {
		tx.lock("keys")
		if tx.number(`SELECT count(*) FROM keys WHERE use_for = $1 AND state <> $2`, keys[0].Use, KeyGone) > 0 {
			return nil
		}
		for _, k := range keys {
			tx.insertKey(k)
		}
		return nil
	})
}

// PromoteKey makes a pending key active and retires the key old. If the key is no longer pending, it
// changes nothing. ErrChanged means that a key other than old is active.
func (db *DB) PromoteKey(ctx context.Context, id, old string, at time.Time, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		tx.lock("keys")
		others := tx.number(`SELECT count(*) FROM keys WHERE use_for = (SELECT use_for FROM keys WHERE id = $1) AND state = $2 AND id <> $3`, id, KeyActive, old)
		if tx.changed(`UPDATE keys SET state = $2, activated_at = $3 WHERE id = $1 AND state = $4`, id, KeyActive, micros(at), KeyPending) == 0 {
			return nil // another node has promoted it
		}
		if others > 0 {
			return ErrChanged
		}
		n := tx.changed(`UPDATE keys SET state = $2, retired_at = $3 WHERE id = $1 AND state = $4`, old, KeyRetiring, micros(at), KeyActive)
		if old != "" && n == 0 {
			return ErrChanged // it was withdrawn meanwhile and has a successor
		}
		tx.notifyNodes()
		return tx.event(e)
	})
}

// GivenUp describes the withdrawal of a signing key and its replacement.
type GivenUp struct {
	ID    string
	State string // expected state of the key
	Next  string // pending key that becomes active; empty for none
	Add   []Key  // new keys
	At    time.Time
	Until time.Time // when its last token expires; zero revokes no token
}

// GiveUpKey withdraws a key: it deletes the secret and revokes all tokens that the key signed. ErrChanged
// means that the key or the next one is not in the expected state.
func (db *DB) GiveUpKey(ctx context.Context, g GivenUp, events ...Event) ([]Revocation, error) {
	return write(ctx, db, func(tx *tx) (revoked []Revocation, err error) {
		tx.lock("keys")
		n := tx.changed(`UPDATE keys SET state = $2, sealed = $3, retired_at = $4 WHERE id = $1 AND state = $5`, g.ID, KeyGone, []byte{}, micros(g.At), g.State)
		if n == 0 {
			return nil, ErrChanged
		}
		if g.Next != "" {
			n = tx.changed(`UPDATE keys SET state = $2, activated_at = $3 WHERE id = $1 AND state = $4`, g.Next, KeyActive, micros(g.At), KeyPending)
			if n == 0 {
				return nil, ErrChanged
			}
		}
		for _, k := range g.Add {
			tx.insertKey(k)
		}
		if !g.Until.IsZero() {
			revoked = append(revoked, tx.revoke("kid", g.ID, g.At, g.Until))
		}
		for _, e := range events {
			tx.event(e)
		}
		return revoked, tx.notifyNodes()
	})
}

// ForgetKey deletes the secret of a retiring key whose tokens have all expired.
func (db *DB) ForgetKey(ctx context.Context, id string, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		if tx.changed(`UPDATE keys SET state = $2, sealed = $3 WHERE id = $1 AND state = $4`, id, KeyGone, []byte{}, KeyRetiring) == 0 {
			return nil
		}
		tx.notifyNodes()
		return tx.event(e)
	})
}
