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

// firstMeta sets a value if there is none and returns the stored value: of several concurrent calls, one
// sets it.
func (t *tx) firstMeta(name, value string) (string, error) {
	if _, err := t.exec(`INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, name, value); err != nil {
		return "", err
	}
	return t.meta(name)
}

// loadEpoch reads the epoch and creates it in a new database.
func (db *DB) loadEpoch(ctx context.Context) (err error) {
	if db.epoch, err = db.reader(ctx).meta(metaEpoch); err != nil {
		return classify(err)
	}
	if db.epoch == "" {
		if db.epoch, err = write(ctx, db, func(tx *tx) (string, error) { return tx.firstMeta(metaEpoch, rand.Text()) }); err != nil {
			return err
		}
	}
	if db.sessionEpoch, err = db.reader(ctx).meta(metaSessionEpoch); db.sessionEpoch == "" {
		db.sessionEpoch = db.epoch
	}
	return classify(err)
}

// Epoch returns the random id of the database's history. It is drawn when the database is created, and anew
// when it is restored, so that nothing relies on the lost part of the history.
func (db *DB) Epoch() string { return db.epoch }

// SessionEpoch returns the epoch that is mixed into the secrets of sessions; another value makes all
// sessions invalid. It is Epoch, or an earlier one if a restore kept the sessions.
func (db *DB) SessionEpoch() string { return db.sessionEpoch }

// Issuer binds the database to the first issuer that calls it, and returns ErrOtherIssuer for any other.
func (db *DB) Issuer(ctx context.Context, issuer string) error {
	if err := checkText(issuer); err != nil {
		return err
	}
	known, err := db.reader(ctx).meta("issuer")
	if err != nil {
		return classify(err)
	}
	if known == "" {
		if known, err = write(ctx, db, func(tx *tx) (string, error) { return tx.firstMeta("issuer", issuer) }); err != nil {
			return err
		}
	}
	if known != issuer {
		return &OpenError{"Check that the configuration is the right one (--config FILE). Otherwise set issuer back to the former value, or use another database.", fmt.Errorf("%w %s, not to %s", ErrOtherIssuer, known, issuer)}
	}
	return nil
}

// Outage is the time before a start in which no node was running.
type Outage struct {
	DownAt time.Time // last heartbeat before; UpAt if there was none, zero if unknown
	UpAt   time.Time
}

// Beat records a heartbeat of this node.
func (db *DB) Beat(ctx context.Context, at time.Time) error {
	return db.do(ctx, func(tx *tx) error { return tx.setMetaTime("alive_at", at) })
}

// Start records the first heartbeat and returns the outage that it ends. An outage that begins less than
// merge after the end of the last one is joined with it: a server that crashes while it starts, or the
// second of two that start one after the other, was not reachable in between.
func (db *DB) Start(ctx context.Context, at time.Time, merge time.Duration) (Outage, error) {
	return write(ctx, db, func(tx *tx) (Outage, error) {
		out, before := Outage{UpAt: at}, Outage{}
		if err := tx.lock("start"); err != nil {
			return out, err
		}
		if err := errors.Join(tx.metaTime("alive_at", &out.DownAt), tx.metaTime("down_at", &before.DownAt), tx.metaTime("up_at", &before.UpAt)); err != nil {
			return out, err
		}
		if out.DownAt.IsZero() {
			out.DownAt = at
		}
		if up := out.DownAt.Sub(before.UpAt); !before.UpAt.IsZero() && up >= 0 && up < merge {
			out.DownAt = before.DownAt
		}
		if out.DownAt.After(at) {
			out.DownAt = time.Time{} // the clock was set back since: unknown
		}
		return out, errors.Join(tx.setMetaTime("alive_at", at), tx.setMetaTime("down_at", out.DownAt), tx.setMetaTime("up_at", at))
	})
}

// schema returns the version of the newest applied migration.
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

// Check looks for damage of the data, dangling references and a wrong schema. Problems is nil if it finds
// none.
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
			problems = append(problems, fmt.Sprintf("%d rows of %s reference missing rows of %s", n, r.table, r.to))
		}
	}
	if version != SchemaVersion {
		problems = append(problems, fmt.Sprintf("the schema has version %d, this program needs %d", version, SchemaVersion))
	}
	return problems, nil
}
