package store

import (
	"context"
	"time"

	"github.com/durward-auth/durward/internal/clock"
)

// The clocks by which rows are deleted, named as in the table meta.
const (
	clockOfTokens = "clock_tokens"
	clockOfRows   = "clock_rows"
)

// settles is the time of running after which each clock takes over the time of the database: longer
// than the life of any token, and than that of a session with the default settings.
var settles = map[string]time.Duration{clockOfTokens: 26 * time.Hour, clockOfRows: 100 * 24 * time.Hour}

// loadClocks reads the clocks. Those of a database without them start at the last heartbeat.
func (db *DB) loadClocks(ctx context.Context) error {
	db.clocks = make(map[string]*clock.Clock)
	reader, setBack := db.reader(ctx), false
	for name, settle := range settles {
		s, ok := clock.ParseState(reader.meta(name))
		if !ok {
			s.Time = moment(reader.metaNumber("alive_at"))
		}
		db.clocks[name] = clock.New(db.now, db.local, settle, s)
		setBack = setBack || ok && db.clocks[name].State().Round > s.Round
	}
	if setBack && reader.err == nil {
		return db.SaveClocks(ctx) // before anything is written with an earlier time
	}
	return classify(reader.err)
}

// SaveClocks stores the clocks, so that a later process continues them.
func (db *DB) SaveClocks(ctx context.Context) error {
	return db.do(ctx, func(tx *tx) error {
		tx.lock("clocks")
		for name := range settles {
			stored, ok := clock.ParseState(tx.meta(name))
			if !ok {
				stored = db.clocks[name].State()
			}
			tx.SetMeta(name, db.clocks[name].Merge(stored).String())
		}
		return nil
	})
}

// TokenTime returns the time by which tokens and their revocations have ended for good. It is Now while
// the clock is right. It is never later, and it runs only while a node runs, so a jump of the clock
// ends nothing early.
func (db *DB) TokenTime() time.Time { return db.clocks[clockOfTokens].Now() }

// rowTime is TokenTime for rows that live longer.
func (db *DB) rowTime() time.Time { return db.clocks[clockOfRows].Now() }

// Local returns the time of this machine. Differences of its times are the time that passed.
func (db *DB) Local() time.Time { return db.local() }

// Jumped returns by how much the clock jumped since the last call, 0 for less than a minute. One
// goroutine calls it.
func (db *DB) Jumped() time.Duration {
	_, _, jump := db.watch.Step()
	return jump
}
