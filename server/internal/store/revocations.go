package store

import (
	"context"
	"time"

	"github.com/durward-auth/durward/internal/revoked"
)

// Revocation is the revocation of a token, a session or a signing key.
type Revocation = revoked.Entry

func (t *tx) revoke(kind, value string, at, until time.Time) Revocation {
	r := Revocation{Kind: kind, Value: value, At: at, Until: until}
	_ = t.row(`INSERT INTO revocations (kind, value, at, until) VALUES ($1, $2, $3, $4) RETURNING seq`, kind, value, micros(at), micros(until)).Scan(&r.Seq)
	t.setEvidence(`SELECT 1 FROM revocations WHERE seq = $1 AND kind = $2 AND value = $3 AND at = $4`, r.Seq, kind, value, micros(at))
	t.notifyNodes()
	return r
}

// Revoke adds a revocation.
func (db *DB) Revoke(ctx context.Context, kind, value string, until time.Time) (Revocation, error) {
	return write(ctx, db, func(tx *tx) (Revocation, error) { return tx.revoke(kind, value, db.now(), until), nil })
}

func revocationFields(r *Revocation) []any {
	return []any{&r.Seq, &r.Kind, &r.Value, into(&r.At), into(&r.Until)}
}

// Revocations returns the revocations with a number above after or a time from since on, without those that
// affect no token any more. The overlap is needed because numbers are drawn before the commit: a reader
// that goes by numbers alone would miss a revocation that is committed late.
func (db *DB) Revocations(ctx context.Context, after int64, since time.Time) ([]Revocation, error) {
	return collect(db.reader(ctx), revocationFields, `SELECT seq, kind, value, at, until FROM revocations WHERE (seq > $1 OR at >= $2) AND until > $3 ORDER BY seq`,
		after, micros(since), micros(db.TokenTime()))
}

// RevocationsAfter returns up to limit revocations with a number above seq, in their order.
func (db *DB) RevocationsAfter(ctx context.Context, seq int64, limit int) ([]Revocation, error) {
	return collect(db.reader(ctx), revocationFields, `SELECT seq, kind, value, at, until FROM revocations WHERE seq > $1 AND until > $2 ORDER BY seq LIMIT $3`,
		seq, micros(db.TokenTime()), limit)
}

// revocationsKept is how long a revocation is kept after it affects no token any more. If the clock is then
// set back, the tokens are valid again by it, and so is the revocation.
const revocationsKept = 24 * time.Hour

// PurgeRevocations deletes the revocations that have affected no token for revocationsKept. It stores the
// highest deleted number, so that the purge is not taken for a rollback.
func (db *DB) PurgeRevocations(ctx context.Context) error {
	return db.do(ctx, func(tx *tx) error {
		tx.lock("purge")
		before := micros(db.TokenTime().Add(-revocationsKept))
		last := tx.number(`SELECT coalesce(max(seq), 0) FROM revocations WHERE until <= $1`, before)
		if last == 0 {
			return nil
		}
		if last > tx.metaNumber(metaPurged) {
			tx.setMetaNumber(metaPurged, last)
		}
		return tx.exec(`DELETE FROM revocations WHERE until <= $1 AND seq <= $2`, before, last)
	})
}
