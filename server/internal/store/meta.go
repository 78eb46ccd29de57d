package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"time"
)

// meta returns a value, empty if there is none.
func (t *tx) meta(name string) (value string) {
	_ = t.row(`SELECT value FROM meta WHERE name = $1`, name).Scan(&value)
	return value
}

// SetMeta stores a value in the table meta.
func (t *tx) SetMeta(name, value string) error {
	return t.exec(`INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
}

// metaNumber returns a value that is a number, 0 if there is none.
func (t *tx) metaNumber(name string) int64 {
	value := t.meta(name)
	n, err := strconv.ParseInt(cmp.Or(value, "0"), 10, 64)
	if err != nil {
		t.err = fmt.Errorf("store: %s: %w", name, err)
	}
	return n
}

func (t *tx) setMetaNumber(name string, n int64) error {
	return t.SetMeta(name, strconv.FormatInt(n, 10))
}

// firstMeta returns a value, and sets it if there is none: of several concurrent calls, one sets it.
func (db *DB) firstMeta(ctx context.Context, name, value string) (string, error) {
	reader := db.reader(ctx)
	if known := reader.meta(name); known != "" || reader.err != nil {
		return known, classify(reader.err)
	}
	return write(ctx, db, func(tx *tx) (string, error) {
		tx.exec(`INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING`, name, value)
		return tx.meta(name), nil
	})
}

// loadEpoch reads the epoch and creates it in a new database.
func (db *DB) loadEpoch(ctx context.Context) (err error) {
	if db.epoch, err = db.firstMeta(ctx, metaEpoch, rand.Text()); err != nil {
		return err
	}
	reader := db.reader(ctx)
	db.sessionEpoch = cmp.Or(reader.meta(metaSessionEpoch), db.epoch)
	return classify(reader.err)
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
	known, err := db.firstMeta(ctx, "issuer", issuer)
	if err != nil {
		return err
	}
	if known != issuer {
		return &OpenError{
			fmt.Sprintf("Check that the configuration is the right one (--config FILE). Otherwise keep the issuer by issuer = %q, or use another database.", known),
			fmt.Errorf("%w %s, not to %s", ErrOtherIssuer, known, issuer),
		}
	}
	return nil
}

// Outage is the time before a start in which no node was running.
type Outage struct {
	DownAt time.Time // last heartbeat before; UpAt if there was none, zero if unknown
	UpAt   time.Time
}

// Beat records a heartbeat of this node. Call it every BeatEvery.
func (db *DB) Beat(ctx context.Context, at time.Time) error {
	return db.do(ctx, func(tx *tx) error { return db.beat(tx, at) })
}

func (db *DB) beat(tx *tx, at time.Time) error {
	if db.pooled {
		tx.setMetaNumber(metaPooledAt, micros(at))
	}
	return tx.setMetaNumber("alive_at", micros(at))
}

// BeatEvery is the interval of heartbeats.
const BeatEvery = 5 * time.Second

// Start records the first heartbeat and returns the outage that it ends. An outage that begins less than
// merge after the end of the last one is joined with it: a server that crashes while it starts, or the
// second of two that start one after the other, was not reachable in between.
func (db *DB) Start(ctx context.Context, at time.Time, merge time.Duration) (Outage, error) {
	return write(ctx, db, func(tx *tx) (Outage, error) {
		tx.lock("start")
		out := Outage{DownAt: moment(tx.metaNumber("alive_at")), UpAt: at}
		before := Outage{DownAt: moment(tx.metaNumber("down_at")), UpAt: moment(tx.metaNumber("up_at"))}
		if out.DownAt.IsZero() {
			out.DownAt = at
		}
		if up := out.DownAt.Sub(before.UpAt); !before.UpAt.IsZero() && up >= 0 && up < merge {
			out.DownAt = before.DownAt
		}
		if out.DownAt.After(at) {
			out.DownAt = time.Time{} // the clock was set back since: unknown
		}
		db.beat(tx, at)
		tx.setMetaNumber("down_at", micros(out.DownAt))
		return out, tx.setMetaNumber("up_at", micros(at))
	})
}

// Check looks for damage of the data, dangling references and a wrong schema. Problems is nil if it finds
// none.
func (db *DB) Check(ctx context.Context) (problems []string, err error) {
	if problems, err = db.engine.integrity(ctx); err != nil {
		return nil, err
	}
	reader := db.reader(ctx)
	for _, r := range references {
		n := reader.number(`SELECT count(*) FROM ` + r.table + ` WHERE NOT EXISTS (SELECT 1 FROM ` + r.to + ` WHERE ` + r.to + `.id = ` + r.table + `.` + r.column + `)`)
		if n > 0 {
			problems = append(problems, fmt.Sprintf("%d rows of %s reference missing rows of %s", n, r.table, r.to))
		}
	}
	version := reader.number(schemaVersion)
	if reader.err != nil {
		return nil, classify(reader.err)
	}
	if version != SchemaVersion {
		problems = append(problems, fmt.Sprintf("the schema has version %d, this program needs %d", version, SchemaVersion))
	}
	return problems, nil
}

// Totals are numbers of rows at one time.
type Totals struct {
	At                                                    time.Time
	Users, Administrators, Locked, Unverified, WithFactor int64
	Sessions, APIKeys                                     int64 // live ones
	Mails                                                 int64 // in the outbox
	OldestMail                                            time.Time
}

// Totals counts users, live sessions and keys, and waiting mails.
func (db *DB) Totals(ctx context.Context) (Totals, error) {
	t := Totals{At: db.rowTime()}
	now := micros(t.At)
	reader := db.reader(ctx)
	_ = reader.row(`SELECT count(*), coalesce(sum(admin), 0), coalesce(sum(CASE WHEN locked_at > 0 THEN 1 ELSE 0 END), 0),
		coalesce(sum(unverified), 0), coalesce(sum(CASE WHEN second_factor_at > 0 THEN 1 ELSE 0 END), 0) FROM users`).
		Scan(&t.Users, &t.Administrators, &t.Locked, &t.Unverified, &t.WithFactor)
	t.Sessions = reader.number(`SELECT count(*) FROM sessions WHERE ended_at = 0 AND ends_at > $1
		AND (EXISTS (SELECT 1 FROM grants WHERE session_id = sessions.id AND ended_at = 0 AND idle_ends > $1)
		OR EXISTS (SELECT 1 FROM cookies WHERE session_id = sessions.id AND idle_ends > $1))`, now)
	t.APIKeys = reader.number(`SELECT count(*) FROM api_keys WHERE revoked_at = 0 AND (expires_at = 0 OR expires_at > $1)`, now)
	_ = reader.row(`SELECT count(*), coalesce(min(created_at), 0) FROM outbox`).Scan(&t.Mails, into(&t.OldestMail))
	if reader.err != nil {
		return Totals{}, classify(reader.err)
	}
	return t, nil
}
