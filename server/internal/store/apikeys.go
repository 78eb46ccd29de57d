package store

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"
)

// APIKey is the stored part of an API key. It does not hold the key itself.
type APIKey struct {
	ID         string // sorts by time
	UserID     string
	Name       string
	PublicID   string   // part of the key that may be displayed; unique
	Hash       [32]byte // SHA-256 of the key
	Scopes     []string
	SessionID  string // session in which it was created; empty for none
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: never
	RevokedAt  time.Time // zero if it is not revoked
	LastUsedAt time.Time // exact to the minute; zero: never
}

const apiKeyColumns = `api_keys.id, api_keys.user_id, api_keys.name, api_keys.public_id, api_keys.hash, api_keys.scope, api_keys.session_id,
	api_keys.created_at, api_keys.expires_at, api_keys.revoked_at, api_keys.last_used_at`

func (k *APIKey) fields() []any {
	return []any{&k.ID, &k.UserID, &k.Name, &k.PublicID, (*keyHash)(&k.Hash), (*wordsColumn)(&k.Scopes), &k.SessionID,
		into(&k.CreatedAt), into(&k.ExpiresAt), into(&k.RevokedAt), into(&k.LastUsedAt)}
}

// keyHash scans a hash. One of another length than 32 matches no key: the rest stays zero.
type keyHash [32]byte

func (h *keyHash) Scan(value any) error {
	stored, _ := value.([]byte)
	copy(h[:], stored)
	return nil
}

// CreateAPIKey adds a key and notifies its user. ErrChanged means that the user was locked, or the session
// of the request ended, since the request was authorized. ErrTooMany means that the user has most live
// keys already.
func (db *DB) CreateAPIKey(ctx context.Context, k APIKey, most int, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		tx.lockUser(k.UserID)
		live := tx.number(`SELECT count(*) FROM api_keys WHERE user_id = $1 AND revoked_at = 0 AND (expires_at = 0 OR expires_at > $2)`,
			k.UserID, micros(k.CreatedAt))
		if live >= int64(most) {
			return ErrTooMany
		}
		return tx.insertAPIKey(k, e)
	})
}

// RotateAPIKey revokes a live key and adds k for the same user. It returns ErrNotFound if the user has no
// such key, and ErrChanged as CreateAPIKey does.
func (db *DB) RotateAPIKey(ctx context.Context, old string, k APIKey, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		tx.lockUser(k.UserID)
		n := tx.changed(`UPDATE api_keys SET revoked_at = $3 WHERE id = $1 AND user_id = $2 AND revoked_at = 0 AND (expires_at = 0 OR expires_at > $3)`,
			old, k.UserID, micros(k.CreatedAt))
		if n == 0 {
			return ErrNotFound
		}
		return tx.insertAPIKey(k, e)
	})
}

func (t *tx) insertAPIKey(k APIKey, e Event) error {
	u, err := t.user(k.UserID)
	if err != nil {
		return err
	}
	if !u.LockedAt.IsZero() {
		return ErrChanged
	}
	if k.SessionID != "" {
		live := t.number(`SELECT count(*) FROM sessions WHERE id = $1 AND user_id = $2 AND ended_at = 0`, k.SessionID, k.UserID)
		if live == 0 {
			return ErrChanged
		}
	}
	t.exec(`INSERT INTO api_keys (id, user_id, name, public_id, hash, scope, session_id, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		k.ID, k.UserID, k.Name, k.PublicID, k.Hash[:], strings.Join(k.Scopes, " "), k.SessionID, micros(k.CreatedAt), micros(k.ExpiresAt))
	t.notify(k.UserID, "key_created", e)
	return t.event(e)
}

// RevokeAPIKey revokes a key of a user. It returns ErrNotFound if the user has no such key, or it is
// revoked already.
func (db *DB) RevokeAPIKey(ctx context.Context, id, userID string, e Event) error {
	if err := checkText(id, userID); err != nil {
		return ErrNotFound
	}
	return db.do(ctx, func(tx *tx) error {
		if tx.changed(`UPDATE api_keys SET revoked_at = $3 WHERE id = $1 AND user_id = $2 AND revoked_at = 0`, id, userID, micros(e.At)) == 0 {
			return ErrNotFound
		}
		return tx.event(e)
	})
}

// APIKeyByID returns a key, also an expired or revoked one, or ErrNotFound.
func (db *DB) APIKeyByID(ctx context.Context, id string) (k APIKey, err error) {
	err = db.reader(ctx).get([]record{&k}, `SELECT `+apiKeyColumns+` FROM api_keys WHERE id = $1`, id)
	return k, err
}

// APIKeyByPublicID returns a key, also an expired or revoked one, with its user, or ErrNotFound.
func (db *DB) APIKeyByPublicID(ctx context.Context, publicID string) (k APIKey, u User, err error) {
	err = db.reader(ctx).get([]record{&k, &u}, `SELECT `+apiKeyColumns+`, `+userColumns+`
		FROM api_keys JOIN users ON users.id = api_keys.user_id WHERE api_keys.public_id = $1`, publicID)
	return k, u, err
}

// APIKeys returns a page of keys that are not revoked, newest first, beginning after the key after. An
// empty userID lists the keys of all users.
func (db *DB) APIKeys(ctx context.Context, userID, after string, limit int) ([]APIKey, error) {
	which := `user_id = $1`
	if userID == "" {
		which = `$1 = ''`
	}
	return list[APIKey](db.reader(ctx), `SELECT `+apiKeyColumns+` FROM api_keys
		WHERE `+which+` AND revoked_at = 0 AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3`, userID, after, limit)
}

// UseAPIKeys records the times of last use, by id of the key.
func (db *DB) UseAPIKeys(ctx context.Context, used map[string]time.Time) error {
	return db.do(ctx, func(tx *tx) error {
		for _, id := range slices.Sorted(maps.Keys(used)) { // in one order on all nodes, to avoid deadlocks
			tx.exec(`UPDATE api_keys SET last_used_at = $2 WHERE id = $1 AND last_used_at < $2`, id, micros(used[id]))
		}
		return nil
	})
}

// PurgeAPIKeys deletes keys that were revoked or expired longer ago than kept.
func (db *DB) PurgeAPIKeys(ctx context.Context, kept time.Duration) error {
	return db.exec(ctx, `DELETE FROM api_keys WHERE revoked_at > 0 AND revoked_at < $1 OR expires_at > 0 AND expires_at < $1`, micros(db.rowTime().Add(-kept)))
}
