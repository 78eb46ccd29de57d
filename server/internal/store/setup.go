package store

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"
)

// metaSetup is the row of the table meta with the link for the first administrator: the hash of its token
// and the time of its end.
const metaSetup = "setup"

// setup returns the link for the first administrator: an empty hash if there is none.
func (t *tx) setup() (hash []byte, ends time.Time) {
	value := t.meta(metaSetup)
	if value == "" || t.err != nil {
		return nil, time.Time{}
	}
	var text string
	var at int64
	if _, err := fmt.Sscan(value, &text, &at); err != nil {
		t.err = fmt.Errorf("store: %s: %w", metaSetup, err)
		return nil, time.Time{}
	}
	hash, t.err = hex.DecodeString(text)
	return hash, moment(at)
}

func (t *tx) hasAdministrator() bool {
	return t.number(`SELECT count(*) FROM users WHERE admin = 1`) > 0
}

// BeginSetup stores the link for the first administrator, in place of an earlier one. It returns ErrChanged
// if there is an administrator.
func (db *DB) BeginSetup(ctx context.Context, hash []byte, ends time.Time) error {
	return db.do(ctx, func(tx *tx) error {
		tx.lock("administrators")
		if tx.hasAdministrator() {
			return ErrChanged
		}
		return tx.SetMeta(metaSetup, fmt.Sprintf("%x %d", hash, micros(ends)))
	})
}

// Setup returns the hash of the link for the first administrator, nil if there is none.
func (db *DB) Setup(ctx context.Context) ([]byte, error) {
	reader := db.reader(ctx)
	hash, _ := reader.setup()
	return hash, classify(reader.err)
}

// FinishSetup uses the link with a hash up and adds the first administrator as CreateUser does. It returns
// ErrChanged if the link has ended, was used or replaced, or if there is an administrator.
func (db *DB) FinishSetup(ctx context.Context, hash []byte, u User, skeletons []string, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		tx.lock("administrators")
		stored, ends := tx.setup()
		if tx.err == nil && (stored == nil || string(stored) != string(hash) || !e.At.Before(ends) || tx.hasAdministrator()) {
			return ErrChanged
		}
		tx.exec(`DELETE FROM meta WHERE name = $1`, metaSetup)
		return tx.createUser(u, skeletons, false, e)
	})
}
