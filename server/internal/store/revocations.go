package store

import (
	"context"
	"strconv"
	"time"
)

// Revocation says that a token, a session or a signing key is dead.
type Revocation struct {
	Seq         int64
	Kind, Value string
	At, Until   time.Time // Until: the last token that it could concern has ended
}

func (t *tx) revoke(kind, value string, at, until time.Time) (Revocation, error) {
	r := Revocation{Kind: kind, Value: value, At: at, Until: until}
	if err := t.row(`INSERT INTO revocations (kind, value, at, until) VALUES ($1, $2, $3, $4) RETURNING seq`, kind, value, micros(at), micros(until)).Scan(&r.Seq); err != nil {
		return Revocation{}, err
	}
	t.proves(`SELECT 1 FROM revocations WHERE seq = $1 AND kind = $2 AND value = $3 AND at = $4`, r.Seq, kind, value, micros(at))
	return r, t.tell()
}

// Revoke declares one thing dead.
func (db *DB) Revoke(ctx context.Context, kind, value string, until time.Time) (r Revocation, err error) {
	if err := text(kind, value); err != nil {
		return Revocation{}, err
	}
	return made(ctx, db, func(tx *tx) (Revocation, error) { return tx.revoke(kind, value, db.now(), until) })
}

// Revocations returns what was numbered after seq, and again all since the
// moment given: a number is taken before it can be seen, so a reader of numbers
// alone would lose what commits late. What no token can be concerned by any more
// is left out.
func (db *DB) Revocations(ctx context.Context, after int64, since time.Time) (list []Revocation, err error) {
	return collect(db.reader(ctx), scanRevocation, `SELECT seq, kind, value, at, until FROM revocations WHERE (seq > $1 OR at >= $2) AND until > $3 ORDER BY seq`,
		after, micros(since), micros(db.now()))
}

// RevocationsAfter returns what was numbered after seq, by number, up to limit.
func (db *DB) RevocationsAfter(ctx context.Context, seq int64, limit int) (list []Revocation, err error) {
	return collect(db.reader(ctx), scanRevocation, `SELECT seq, kind, value, at, until FROM revocations WHERE seq > $1 AND until > $2 ORDER BY seq LIMIT $3`,
		seq, micros(db.now()), limit)
}

func scanRevocation(row scanner) (r Revocation, err error) {
	var at, until int64
	err = row.Scan(&r.Seq, &r.Kind, &r.Value, &at, &until)
	r.At, r.Until = moment(at), moment(until)
	return r, err
}

// revocationsKept is how much longer than it counts a revocation is kept: a
// clock that was ahead for a while, and is set back, must find it still here.
const revocationsKept = 24 * time.Hour

// PurgeRevocations forgets what no token can be concerned by any more, by a clock
// a day behind. The highest number that was forgotten is kept, so that a database
// does not look as if it had gone back.
func (db *DB) PurgeRevocations(ctx context.Context) error {
	return db.do(ctx, func(tx *tx) error {
		if err := tx.alone("purge"); err != nil {
			return err
		}
		before := micros(db.now().Add(-revocationsKept))
		var last int64
		if err := tx.row(`SELECT coalesce(max(seq), 0) FROM revocations WHERE until <= $1`, before).Scan(&last); err != nil || last == 0 {
			return err
		}
		purged, err := tx.purged()
		if err != nil {
			return err
		}
		if last > purged {
			if err := tx.setMeta(metaPurged, strconv.FormatInt(last, 10)); err != nil {
				return err
			}
		}
		_, err = tx.exec(`DELETE FROM revocations WHERE until <= $1 AND seq <= $2`, before, last)
		return err
	})
}
