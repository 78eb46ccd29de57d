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

// makeEpoch reads the epoch, drawing it where the database is new.
func (db *DB) makeEpoch(ctx context.Context) (err error) {
	if db.epoch, err = db.reader(ctx).meta("epoch"); err != nil || db.epoch != "" {
		return classify(err)
	}
	return db.do(ctx, func(tx *tx) (err error) {
		if db.epoch, err = tx.meta("epoch"); err != nil || db.epoch != "" {
			return err
		}
		db.epoch = rand.Text()
		return tx.setMeta("epoch", db.epoch)
	})
}

// Epoch is drawn when a database is made and anew when it is restored from a
// copy: what counts on the past that was lost must not go on.
func (db *DB) Epoch() string { return db.epoch }

// Issuer binds the database to one issuer: the first to come. It refuses any
// other, since its tokens would be other tokens.
func (db *DB) Issuer(ctx context.Context, issuer string) error {
	if err := text(issuer); err != nil {
		return err
	}
	known, err := db.reader(ctx).meta("issuer")
	if err != nil {
		return classify(err)
	}
	if known == "" {
		err = db.do(ctx, func(tx *tx) (err error) {
			if known, err = tx.meta("issuer"); err != nil || known != "" {
				return err
			}
			known = issuer
			return tx.setMeta("issuer", issuer)
		})
		if err != nil {
			return err
		}
	}
	if known != issuer {
		return fmt.Errorf("store: this database belongs to the issuer %s, not to %s: set issuer to the former, or use another database", known, issuer)
	}
	return nil
}

// Outage is the time before a start in which no node was up.
type Outage struct {
	DownAt time.Time // last sign of life before; zero if there was none
	UpAt   time.Time
}

// Beat leaves a sign of life.
func (db *DB) Beat(ctx context.Context, at time.Time) error {
	return db.do(ctx, func(tx *tx) error { return tx.setMeta("alive_at", strconv.FormatInt(micros(at), 10)) })
}

// Start leaves the first sign of life and returns the outage that ends with it.
// A move of a grant is a sign of life too, so that the sign before a crash is
// never older than what the crash may have kept from being answered.
func (db *DB) Start(ctx context.Context, at time.Time) (Outage, error) {
	out := Outage{UpAt: at}
	err := db.do(ctx, func(tx *tx) error {
		value, err := tx.meta("alive_at")
		if err != nil {
			return err
		}
		if value != "" {
			us, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				return fmt.Errorf("store: alive_at: %w", err)
			}
			out.DownAt = moment(us)
		}
		return tx.setMeta("alive_at", strconv.FormatInt(micros(at), 10))
	})
	return orNothing(out, err)
}

// Check looks for damage: of the file, of references between rows, of the
// schema. No problems is a nil slice.
func (db *DB) Check(ctx context.Context) (problems []string, err error) {
	if problems, err = integrity(ctx, db.readers); err != nil {
		return nil, err
	}
	version, err := schemaOf(ctx, db.readers)
	if err != nil {
		return nil, err
	}
	if version != schemaVersion {
		problems = append(problems, fmt.Sprintf("the schema is of version %d, this program's is %d", version, schemaVersion))
	}
	return problems, nil
}
