package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
)

// noted keeps the failure of a write for Ping. It returns err.
func (db *DB) noted(err error) error {
	if errors.Is(err, ErrUnavailable) {
		db.failure.Store(&err)
	}
	return err
}

// Ping returns an error if the database cannot be read and written. On a full disk a small write may
// fit into a page that exists. So after a write of any caller has failed, Ping returns an error until
// it has itself written more than a sign-in does.
func (db *DB) Ping(caller context.Context) error {
	ctx, cancel := context.WithTimeout(caller, transactionTime)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- errors.Join(db.ping(ctx), db.Reachable(ctx)) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done(): // SQLite waits for a disk that hangs
		if err := caller.Err(); err != nil {
			return err
		}
		return fmt.Errorf("%w: %w within %s", ErrUnavailable, errNoAnswer, transactionTime)
	}
}

func (db *DB) ping(ctx context.Context) error {
	failure := db.failure.Load()
	if failure != nil {
		if err := db.do(ctx, (*tx).takeRoom); err != nil && !forbidden(err) {
			return err
		}
	}
	// Another value each time, because SQLite writes no page for the value that is there.
	err := db.do(ctx, func(tx *tx) error { return tx.SetMeta("ping", rand.Text()) })
	if err != nil {
		return err
	}
	return db.forget(failure)
}

// forget removes a failure. It returns the later failure of another write, if there is one that no
// other Ping has removed.
func (db *DB) forget(failure *error) error {
	if db.failure.CompareAndSwap(failure, nil) {
		return nil
	}
	if later := db.failure.Load(); later != nil {
		return *later
	}
	return nil
}

// takeRoom makes the database grow by 128 KiB for a moment. In SQLite that is a row, which the next
// write of ping removes; all its pages go through the write-ahead log, where a full disk refuses writes.
// In Postgres it is a table, dropped at the commit: a row may fit into pages that an earlier one has
// left, while other tables cannot grow.
func (t *tx) takeRoom() error {
	if !t.concurrent {
		return t.SetMeta("ping", strings.Repeat("x", 128<<10))
	}
	return t.exec(`CREATE TEMP TABLE durward_room ON COMMIT DROP AS SELECT repeat('x', 2000) AS x FROM generate_series(1, 64)`)
}
