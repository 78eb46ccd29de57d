package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"time"
)

func (t *tx) meta(name string) (value string, err error) {
	err = t.row(`SELECT value FROM meta WHERE name = $1`, name).Scan(&value)
	if errors.Is(classify(err), ErrNotFound) {
		return "", nil
	}
	return value, err
}

func (t *tx) setMeta(name, value string) error {
	_, err := t.exec(`INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
	return err
}

// firstMeta sets a value where there is none, and returns the one that there is
// then: of several at once, one sets it.
func (t *tx) firstMeta(name, value string) (string, error) {
	if _, err := t.exec(`INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, name, value); err != nil {
		return "", err
	}
	return t.meta(name)
}

// makeEpoch reads the epoch, drawing it where the database is new.
func (db *DB) makeEpoch(ctx context.Context) (err error) {
	if db.epoch, err = db.reader(ctx).meta(metaEpoch); err != nil {
		return classify(err)
	}
	if db.epoch == "" {
		if db.epoch, err = made(ctx, db, func(tx *tx) (string, error) { return tx.firstMeta(metaEpoch, rand.Text()) }); err != nil {
			return err
		}
	}
	if db.sessionEpoch, err = db.reader(ctx).meta(metaSessionEpoch); db.sessionEpoch == "" {
		db.sessionEpoch = db.epoch
	}
	return classify(err)
}

// Epoch is drawn when a database is made and anew when it is restored from a
// copy: what counts on the past that was lost must not go on.
func (db *DB) Epoch() string { return db.epoch }

// SessionEpoch is mixed with the secrets of sessions: a session of another one is
// none. It is the epoch, unless sessions were kept when that began.
func (db *DB) SessionEpoch() string { return db.sessionEpoch }

// Issuer binds the database to one issuer: the first to come. It refuses any
// other with ErrOtherIssuer, since its tokens would be other tokens.
func (db *DB) Issuer(ctx context.Context, issuer string) error {
	if err := text(issuer); err != nil {
		return err
	}
	known, err := db.reader(ctx).meta("issuer")
	if err != nil {
		return classify(err)
	}
	if known == "" {
		if known, err = made(ctx, db, func(tx *tx) (string, error) { return tx.firstMeta("issuer", issuer) }); err != nil {
			return err
		}
	}
	if known != issuer {
		return &OpenError{"Was the configuration left out (--config FILE)? Else set issuer to the former, or use another database.", fmt.Errorf("%w %s, not to %s", ErrOtherIssuer, known, issuer)}
	}
	return nil
}

// Outage is the time before a start in which no node was up.
type Outage struct {
	DownAt time.Time // last sign of life before; UpAt if there was none, zero if it cannot be told
	UpAt   time.Time
}

// Beat leaves a sign of life.
func (db *DB) Beat(ctx context.Context, at time.Time) error {
	return db.do(ctx, func(tx *tx) error { return tx.setMetaTime("alive_at", at) })
}

// Start leaves the first sign of life and returns the outage that ends with it.
// A move of a grant is a sign of life too, so that the sign before a crash is
// never older than what the crash may have kept from being answered. An outage
// that begins less than a while after the last one ended is one with it: a server
// that crashes as it starts, or the second of two that start after each other, has
// not been up for anybody to come back to.
func (db *DB) Start(ctx context.Context, at time.Time, while time.Duration) (Outage, error) {
	return made(ctx, db, func(tx *tx) (Outage, error) {
		out, before := Outage{UpAt: at}, Outage{}
		if err := tx.alone("start"); err != nil {
			return out, err
		}
		if err := errors.Join(tx.metaTime("alive_at", &out.DownAt), tx.metaTime("down_at", &before.DownAt), tx.metaTime("up_at", &before.UpAt)); err != nil {
			return out, err
		}
		if out.DownAt.IsZero() {
			out.DownAt = at
		}
		if up := out.DownAt.Sub(before.UpAt); !before.UpAt.IsZero() && up >= 0 && up < while {
			out.DownAt = before.DownAt
		}
		if out.DownAt.After(at) {
			out.DownAt = time.Time{} // left by a clock that was put back since: it says nothing
		}
		return out, errors.Join(tx.setMetaTime("alive_at", at), tx.setMetaTime("down_at", out.DownAt), tx.setMetaTime("up_at", at))
	})
}

// schema is the version of the newest migration that was applied.
func (db *DB) schema(ctx context.Context) (version int64, err error) {
	err = db.reader(ctx).row("SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied").Scan(&version)
	return version, classify(err)
}

func (t *tx) metaTime(name string, into *time.Time) error {
	value, err := t.meta(name)
	if err != nil || value == "" {
		return err
	}
	us, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return fmt.Errorf("store: %s: %w", name, err)
	}
	*into = moment(us)
	return nil
}

func (t *tx) setMetaTime(name string, at time.Time) error {
	return t.setMeta(name, strconv.FormatInt(micros(at), 10))
}

// Check looks for damage: of the file, of references between rows, of the
// schema. No problems is a nil slice.
func (db *DB) Check(ctx context.Context) (problems []string, err error) {
	if problems, err = db.engine.integrity(ctx); err != nil {
		return nil, err
	}
	version, err := db.schema(ctx)
	if err != nil {
		return nil, err
	}
	for _, r := range references {
		var n int64
		if err := db.reader(ctx).row(`SELECT count(*) FROM ` + r.table + ` WHERE NOT EXISTS (SELECT 1 FROM ` + r.to + ` WHERE ` + r.to + `.id = ` + r.table + `.` + r.column + `)`).Scan(&n); err != nil {
			return nil, classify(err)
		}
		if n > 0 {
			problems = append(problems, fmt.Sprintf("%d rows of %s refer to rows of %s that are not there", n, r.table, r.to))
		}
	}
	if version != SchemaVersion {
		problems = append(problems, fmt.Sprintf("the schema is of version %d, this program's is %d", version, SchemaVersion))
	}
	return problems, nil
}
