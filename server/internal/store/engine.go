package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// engine holds the differences between SQLite and Postgres. All other SQL is the same for both.
type engine interface {
	// do runs work in a transaction and returns when it is durable. An error means that nothing was
	// written, unless its text says that this is unknown. Work may run several times; each run
	// starts without the writes of the last.
	do(ctx context.Context, work func(*tx) error) error

	// update runs a transaction of one statement that changes a row at most once, and reports
	// whether it changed one. The query done finds a row if it did.
	update(ctx context.Context, statement, done query) (bool, error)

	// reader returns a tx for reading outside a transaction.
	reader(ctx context.Context) *tx

	// now returns the time that all nodes of the database share.
	now() time.Time

	// follow calls wake after each notification by any node, and when some may have been missed. It
	// returns when ctx ends.
	follow(ctx context.Context, wake func())

	// maintain calls use with a connection without a time limit for statements.
	maintain(use func(*sql.DB, dialect) error) error

	// integrity asks the engine to check its data.
	integrity(ctx context.Context) (problems []string, err error)

	close() error
}

// query is the text of a query with its arguments.
type query struct {
	text string
	args []any
}

// dialect holds what migrations and work on whole tables need of an engine.
type dialect struct {
	name     string // "sqlite", "postgres"; also the folder of its migrations
	pooled   bool   // migrations are refused, since a pooler may limit their time
	tables   string // query that lists the names of all tables
	versions string // statement that creates the table of applied migrations
	lock     string // statement that keeps the migrations of other nodes out; empty if begin does that

	begin     string
	beginRead string // a transaction that reads the database as it is at one moment

	insert            func(context.Context, *sql.Conn, Table, *Rows) error
	clear             func(context.Context, *sql.Conn) error // deletes all rows of all tables
	setLastRevocation func(context.Context, *sql.Conn, int64) error
}

// hint returns a hint to migrate, with the address that this needs.
func (d dialect) hint(migrate string) string {
	if d.pooled {
		migrate += " " + hintDirect
	}
	return migrate
}

// OpenError is an error that names a remedy.
type OpenError struct {
	Hint string // what to do about it
	Err  error
}

func (e *OpenError) Error() string { return e.Err.Error() }
func (e *OpenError) Unwrap() error { return e.Err }

// openEngine opens the database of c.URL.
func openEngine(ctx context.Context, c Config) (engine, error) {
	scheme, rest, _ := strings.Cut(c.URL, ":")
	switch {
	case c.URL == "":
		return nil, errors.New("store: the URL of the database is empty")
	case scheme == "sqlite" && rest != "":
		return openSQLite(ctx, rest, c)
	case scheme == "postgres", scheme == "postgresql":
		return openPostgres(ctx, c)
	}
	if !strings.Contains(c.URL, "://") {
		return nil, errors.New("store: malformed URL of the database: want sqlite:PATH or postgres://USER@HOST/DATABASE")
	}
	// The rest of the URL may hold a password.
	return nil, fmt.Errorf("store: the URL of the database begins with %q, want sqlite:PATH or postgres://", scheme)
}

// classify wraps an error of the engine in one that callers know. It returns known errors and the end of
// the caller's context as they are.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case slices.ContainsFunc(known, func(k error) bool { return errors.Is(err, k) }):
		return err
	case isConstraint(err):
		return err // a fault of the caller, not of the database
	}
	if damaged(err) {
		return fmt.Errorf("%w: %w: %w", ErrUnavailable, ErrDamaged, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

var known = []error{
	ErrNotFound, ErrEmailTaken, ErrLookAlike, ErrUnavailable, ErrText, ErrChanged, ErrNotAdmin, ErrTaken, ErrSpent, ErrLast, ErrFactorOwed, ErrTooMany, ErrConfigured, errPanicked,
	context.Canceled, context.DeadlineExceeded,
}

// codes returns the result code of SQLite or the SQLSTATE of Postgres in err.
func codes(err error) (lite int, pg string) {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		lite = e.Code()
	}
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		pg = e.Code
	}
	return lite, pg
}

// isConstraint reports whether err is the violation of a constraint.
func isConstraint(err error) bool {
	lite, pg := codes(err)
	return lite&0xff == sqlite3.SQLITE_CONSTRAINT || strings.HasPrefix(pg, "23")
}

// isUnique reports whether err is the violation of a unique index or primary key.
func isUnique(err error) bool {
	lite, pg := codes(err)
	return lite == sqlite3.SQLITE_CONSTRAINT_UNIQUE || lite == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY || pg == "23505"
}

// damaged reports whether the engine found its data damaged.
func damaged(err error) bool {
	lite, pg := codes(err)
	return lite&0xff == sqlite3.SQLITE_CORRUPT || lite&0xff == sqlite3.SQLITE_NOTADB || pg == "XX001" || pg == "XX002"
}

// forbidden reports whether the user of the database server lacks a right.
func forbidden(err error) bool {
	_, pg := codes(err)
	return pg == "42501"
}

// rejected reports whether a statement does not fit the schema.
func rejected(err error) bool {
	lite, pg := codes(err)
	return lite&0xff == sqlite3.SQLITE_ERROR || strings.HasPrefix(pg, "42")
}

// busy reports whether another connection holds a lock that the statement needs.
func busy(err error) bool {
	lite, _ := codes(err)
	return lite&0xff == sqlite3.SQLITE_BUSY || lite&0xff == sqlite3.SQLITE_LOCKED
}

// forUpdate returns the end of a query that locks its rows of a table until the transaction ends. To
// avoid deadlocks, rows are locked in the order user, session, grants and cookies.
func (t *tx) forUpdate(table string) string {
	if !t.concurrent {
		return ""
	}
	return " FOR NO KEY UPDATE OF " + table
}

// lock waits until no other transaction on any node holds the lock of that name, and holds it until this
// transaction ends.
func (t *tx) lock(name string) error {
	if !t.concurrent {
		return nil
	}
	return t.exec(`SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, "durward:"+name)
}

// notifyNodes makes Follow on the other nodes call wake once this transaction is committed.
func (t *tx) notifyNodes() error {
	if !t.concurrent {
		return nil
	}
	return t.exec(`SELECT pg_notify($1, '')`, channel)
}
