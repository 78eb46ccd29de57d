// Package store holds all SQL of the server. Each method of DB that writes is one transaction. It is
// durable when the method returns. The text of a query is in the method that runs it and is the same
// for SQLite and Postgres; engine.go, sqlite.go and postgres.go hold every difference between them.
// Columns of times are microseconds since 1970, 0 for none. Callers generate ids.
package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/durward-auth/durward/internal/clock"
)

// Errors that callers distinguish. Any other error is a fault of this package.
var (
	ErrNotFound     = errors.New("store: no such row")
	ErrEmailTaken   = errors.New("store: the address has an account already")
	ErrEmailDeleted = errors.New("store: the address was that of a user who was deleted less than 30 days ago")
	ErrLookAlike    = errors.New("store: the address looks like that of another account")
	ErrChanged      = errors.New("store: changed since it was read")
	ErrTaken        = errors.New("store: exists already")
	ErrSpent        = errors.New("store: used up")
	ErrLast         = errors.New("store: nothing would be left")
	ErrFactorOwed   = errors.New("store: a second factor is required of the user, who would have none")
	ErrNotAdmin     = errors.New("store: the actor is no administrator any more")
	ErrConfigured   = errors.New("store: the configuration file defines it")
	ErrTooMany      = errors.New("store: the limit is reached")
	ErrUnavailable  = errors.New("store: the database is unavailable") // the caller may retry: nothing was written, unless the error text says that this is unknown
	ErrNewer        = errors.New("store: the database was made by a newer program")
	ErrOlder        = errors.New("store: the database was made by an older program")
	ErrOtherIssuer  = errors.New("store: this database belongs to the issuer")
	ErrForeign      = errors.New("store: the database is another program's")
	ErrSchema       = errors.New("store: no version of Durward left the schema like this")
	ErrDamaged      = errors.New("store: the database is damaged, or the file is not a database") // a backup has to be restored
	ErrInUse        = errors.New("store: the database is in use")
	ErrText         = errors.New("store: text with NUL or invalid UTF-8")

	errPanicked = errors.New("store: a transaction panicked")
)

// Config tells how to open a database. URL is required.
type Config struct {
	// URL is sqlite:PATH, a file that is created with mode 0600 if it is missing, or
	// postgres://USER@HOST/DATABASE.
	URL string

	// Pooled tells that URL is the address of a pooler that gives a connection for one transaction. No
	// state of a session is used then: migrations and exclusive access are refused.
	Pooled bool

	// KeepSchema refuses a database with an older schema instead of migrating it.
	KeepSchema bool

	// Now replaces the clock of the database if it is not nil.
	Now func() time.Time

	// Local is the clock of this machine. Differences of its times are the time that passed: it
	// continues the time of a database server between two queries, and checks jumps of the time. Nil
	// is Now, or time.Now without it.
	Local func() time.Time

	// CheckHistory refuses a database by an error, before its schema is changed. It is called with a
	// function that returns the database's position, with the checksum of revocation seq, and is nil
	// for no check. Package backup has one that detects a rollback.
	CheckHistory func(position func(seq int64) (Position, error)) error

	// OnEvent is called with each event of the security log once it is stored. It must not block. Nil:
	// it is not called.
	OnEvent func(Event)

	Log *slog.Logger

	exclusive, scratch bool // see Access
}

// DB is one database. It is safe for concurrent use.
type DB struct {
	engine       engine
	now, local   func() time.Time
	watch        clock.Watch             // of Jumped
	clocks       map[string]*clock.Clock // by their names in the table meta
	epoch        string
	sessionEpoch string
	failure      atomic.Pointer[error] // of a write, until Ping finds room for as much
	pooled       bool
	onEvent      func(Event)
}

// Open opens a database, creates it if it is missing, and brings its schema to SchemaVersion. If the
// database cannot be used, an *OpenError names the remedy.
func Open(ctx context.Context, c Config) (*DB, error) {
	c = c.withDefaults()
	e, _, err := openMigrated(ctx, c)
	if err != nil {
		return nil, err
	}
	db := &DB{engine: e, now: e.now, local: c.Local, pooled: c.Pooled, onEvent: c.OnEvent, watch: clock.NewWatch(e.now, c.Local)}
	if err := errors.Join(db.loadEpoch(ctx), db.loadClocks(ctx)); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// openMigrated opens a database, calls CheckHistory, brings the schema to SchemaVersion and returns the
// version before.
func openMigrated(ctx context.Context, c Config) (e engine, from int64, err error) {
	if e, err = openEngine(ctx, c); err != nil {
		return nil, 0, err
	}
	if c.CheckHistory != nil {
		r := Raw{engine: e}
		err = c.CheckHistory(func(seq int64) (Position, error) { return r.Position(ctx, seq) })
	}
	if err == nil {
		from, err = migrate(ctx, e, c)
	}
	if err != nil {
		return nil, from, errors.Join(err, e.close())
	}
	return e, from, nil
}

// withDefaults returns c with defaults for the fields that are not set.
func (c Config) withDefaults() Config {
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	if c.Local == nil {
		if c.Local = c.Now; c.Now == nil {
			c.Local = time.Now
		}
	}
	return c
}

// Close waits for the transactions in progress and closes the database.
func (db *DB) Close() error { return db.engine.close() }

// Now returns the time that all nodes of this database share: that of the database server, or of this
// machine for SQLite. It does not query the server. During an outage of the server, the time continues
// by the clock of this machine.
func (db *DB) Now() time.Time { return db.now() }

// Follow calls wake after each revocation or change of keys by any node, and after a lost connection,
// when some may have been missed. It returns when ctx ends. On SQLite it never calls wake: polling
// finds the writes of other processes.
func (db *DB) Follow(ctx context.Context, wake func()) { db.engine.follow(ctx, wake) }

// EverySecond calls work with 0, 1, 2 and so on, once a second until ctx ends. It logs when the task
// begins to fail and when it succeeds again.
func EverySecond(ctx context.Context, log *slog.Logger, task string, work func(n int) error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	failing := false
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := work(n)
		if (err != nil) == failing || ctx.Err() != nil {
			continue
		}
		if failing = err != nil; failing {
			log.Error("cannot "+task+"; retrying every second", "error", err)
		} else {
			log.Info("can " + task + " again")
		}
	}
}

// Reachable reads one row, and returns an error if the database does not answer.
func (db *DB) Reachable(ctx context.Context) error {
	reader := db.reader(ctx)
	reader.meta(metaEpoch)
	return classify(reader.err)
}

// do runs work in one transaction, which is durable when do returns nil. An error means that nothing
// was written. Work may run several times; the function write returns a result from it.
func (db *DB) do(ctx context.Context, work func(*tx) error) error {
	var events []Event // of the last run
	err := db.noted(db.engine.do(ctx, func(tx *tx) error {
		tx.events = nil
		err := work(tx)
		events = tx.events
		return err
	}))
	if err == nil && db.onEvent != nil {
		for _, e := range events {
			db.onEvent(e)
		}
	}
	return err
}

// exec runs one statement in a transaction of its own.
func (db *DB) exec(ctx context.Context, statement string, args ...any) error {
	return db.do(ctx, func(tx *tx) error { return tx.exec(statement, args...) })
}

// write runs work in one transaction and returns its result, the zero value with an error.
func write[T any](ctx context.Context, db *DB, work func(*tx) (T, error)) (T, error) {
	var last T
	err := db.do(ctx, func(tx *tx) (err error) {
		last, err = work(tx)
		return err
	})
	if err != nil {
		var zero T
		return zero, err
	}
	return last, nil
}

// reader returns a tx for reading outside a transaction.
func (db *DB) reader(ctx context.Context) *tx { return db.engine.reader(ctx) }

// run runs work with t and returns the first error of a statement, else the error of work. It turns a panic
// into an error, so that the other writes of a batch continue.
func (t *tx) run(work func(*tx) error, log *slog.Logger) (err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("database transaction panicked", "stack", string(debug.Stack()))
			err = errPanicked
		}
	}()
	err = work(t)
	return cmp.Or(t.err, err)
}

// tx runs queries, in a transaction or outside one for reading. The first error of a query stays in err,
// and the methods of tx then only return it: a transaction may ignore their errors until it ends, and
// nothing is written after a failure.
type tx struct {
	ctx context.Context
	on  connection
	err error

	// concurrent is true if other transactions run at the same time. Rows that a decision depends on
	// are then locked.
	concurrent bool

	// retry runs a function that reads on a connection, and again if the connection was lost. Nil: it
	// runs once, on the field on.
	retry func(context.Context, func(context.Context, connection) error) error

	events []Event // that the transaction inserts, for Config.OnEvent

	// evidence is a query that finds a row once this transaction is committed. Its text is empty
	// if there is none.
	evidence query
}

// connection executes queries by their text.
type connection interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func (t *tx) exec(statement string, args ...any) error {
	t.changed(statement, args...)
	return t.err
}

// changed runs a statement and returns the number of rows that it changed, 0 after an error.
func (t *tx) changed(statement string, args ...any) (n int64) {
	if t.err == nil {
		t.err = checkText(args...)
	}
	if t.err != nil {
		return 0
	}
	r, err := t.on.ExecContext(t.ctx, statement, args...)
	if err == nil {
		n, err = r.RowsAffected()
	}
	t.err = err
	return n
}

// query runs a query and calls read with its rows. ErrNotFound of read does not end the transaction.
func (t *tx) query(query string, args []any, read func(*sql.Rows) error) error {
	if t.err == nil {
		t.err = checkText(args...)
	}
	if t.err != nil {
		return t.err
	}
	once := func(ctx context.Context, on connection) error {
		rows, err := on.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		if err := read(rows); err != nil {
			return err
		}
		return errors.Join(rows.Err(), rows.Close())
	}
	var err error
	if t.retry == nil {
		err = once(t.ctx, t.on)
	} else {
		err = t.retry(t.ctx, once)
	}
	if !errors.Is(err, ErrNotFound) {
		t.err = err
	}
	return err
}

// row returns the first row of a query, which runs at Scan. Scan returns ErrNotFound if there is none.
func (t *tx) row(query string, args ...any) scanner { return row{t, query, args} }

type row struct {
	t     *tx
	query string
	args  []any
}

func (r row) Scan(into ...any) error {
	return r.t.query(r.query, r.args, func(rows *sql.Rows) error {
		if !rows.Next() {
			return cmp.Or(rows.Err(), ErrNotFound)
		}
		return rows.Scan(into...)
	})
}

type scanner interface{ Scan(...any) error }

// number returns the number that a query selects, 0 after an error or without a row.
func (t *tx) number(query string, args ...any) (n int64) {
	_ = t.row(query, args...).Scan(&n)
	return n
}

// record has the destinations for the columns of a query.
type record interface{ fields() []any }

// get reads the first row of a query into records, in the order of its columns. It returns ErrNotFound if
// there is none, or an argument is text that no row can hold.
func (t *tx) get(records []record, query string, args ...any) error {
	fields := records[0].fields()
	for _, r := range records[1:] {
		fields = append(fields, r.fields()...)
	}
	err := t.row(query, args...).Scan(fields...)
	if errors.Is(err, ErrText) {
		return ErrNotFound
	}
	return classify(err)
}

// list returns all rows of a query.
func list[T any, R interface {
	*T
	record
}](t *tx, query string, args ...any) ([]T, error) {
	return collect(t, func(one *T) []any { return R(one).fields() }, query, args...)
}

// texts returns the first column of all rows of a query.
func texts(t *tx, query string, args ...any) ([]string, error) {
	return collect(t, func(one *string) []any { return []any{one} }, query, args...)
}

// collect returns all rows of a query. The function fields returns the destinations for its columns.
func collect[T any](t *tx, fields func(*T) []any, query string, args ...any) (all []T, err error) {
	err = t.query(query, args, func(rows *sql.Rows) error {
		all = nil // of a run before, after a lost connection
		for rows.Next() {
			var one T
			if err := rows.Scan(fields(&one)...); err != nil {
				return err
			}
			all = append(all, one)
		}
		return nil
	})
	if err != nil {
		return nil, classify(err)
	}
	return all, nil
}

// timeColumn scans microseconds since 1970 into a time.
type timeColumn time.Time

func (c *timeColumn) Scan(value any) error {
	us, ok := value.(int64)
	if !ok {
		return fmt.Errorf("store: column of a time holds %T", value)
	}
	*c = timeColumn(moment(us))
	return nil
}

// into returns the destination for a column of a time.
func into(t *time.Time) *timeColumn { return (*timeColumn)(t) }

// wordsColumn scans words with spaces between.
type wordsColumn []string

func (c *wordsColumn) Scan(value any) error {
	text, ok := value.(string)
	if !ok {
		return fmt.Errorf("store: column of words holds %T", value)
	}
	*c = strings.Fields(text)
	return nil
}

// setEvidence stores a query that finds a row if this transaction was committed, and none if it was
// not. It determines the outcome if the database server restarts during the commit.
func (t *tx) setEvidence(text string, args ...any) { t.evidence = query{text, args} }

// checkText returns ErrText for strings with NUL or invalid UTF-8. SQLite accepts them silently, Postgres
// refuses them in the middle of a transaction.
func checkText(values ...any) error {
	for _, v := range values {
		if text, ok := v.(string); ok && (!utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0) {
			return ErrText
		}
	}
	return nil
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func moment(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// NewID returns a new id for a row: a UUID of version 7, so that ids sort by the time they were made.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }
