// Package store is all SQL of the server: one concrete type whose methods are
// deeds, each one transaction. The text of a query stands in the method that
// runs it and is the same for every engine; engine.go, sqlite.go and postgres.go
// hold what differs. Times
// are whole microseconds since 1970, 0 for none; ids are made by the caller.
//
// A deed is durable when its method returns.
package store

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"
)

// What a caller does next depends on these; any other error is a fault of this
// package.
var (
	ErrNotFound    = errors.New("store: no such row")
	ErrEmailTaken  = errors.New("store: the address has an account")
	ErrChanged     = errors.New("store: changed since it was read")
	ErrTooMany     = errors.New("store: as many as there may be")
	ErrUnavailable = errors.New("store: the database does not answer") // try again; nothing was changed, unless the error says that this cannot be told
	ErrNewer       = errors.New("store: the database was made by a newer program")
	ErrOlder       = errors.New("store: the database was made by an older program")
	ErrOtherIssuer = errors.New("store: this database belongs to the issuer")
	ErrForeign     = errors.New("store: the database is another program's")
	ErrSchema      = errors.New("store: the schema of the database is not as any version left it")
	ErrDamaged     = errors.New("store: no database, or a damaged one") // only a backup helps
	ErrInUse       = errors.New("store: the database is in use")
	ErrText        = errors.New("store: text with NUL or invalid UTF-8")

	errPanicked = errors.New("store: a deed panicked")
)

// Config says which database.
type Config struct {
	// URL is sqlite:PATH, a file that is made with mode 0600 if missing, or
	// postgres://USER@HOST/DATABASE.
	URL string

	// KeepSchema refuses a schema of an older program rather than bring it to this
	// one's.
	KeepSchema bool

	// Now overrules the clock of the database; nil does not.
	Now func() time.Time

	// Local is the clock of this machine, by which the time of a database server is
	// reckoned between two questions; nil is time.Now.
	Local func() time.Time

	// CheckHistory refuses a database by an error, before its schema is changed. It is called with a
	// function that returns the database's position, with the checksum of revocation seq, and is nil
	// for no check. Package backup has one that detects a rollback.
	CheckHistory func(position func(seq int64) (Position, error)) error

	Log *slog.Logger

	exclusive, scratch bool // see Access
}

// DB is one database. It is safe for concurrent use.
type DB struct {
	engine       engine
	now          func() time.Time
	epoch        string
	sessionEpoch string
}

// Open opens a database, makes it where there is none, and brings its schema to
// this program's version. An *OpenError says what to do about a database that
// cannot be used.
func Open(ctx context.Context, c Config) (*DB, error) {
	c = c.withDefaults()
	e, err := openEngine(ctx, c)
	if err != nil {
		return nil, err
	}
	db := &DB{engine: e, now: e.now}
	if err := c.checkHistory(ctx, e); err != nil {
		return nil, errors.Join(err, e.close())
	}
	if _, err := migrate(ctx, e, c); err != nil {
		return nil, errors.Join(err, e.close())
	}
	if err := db.makeEpoch(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// checkHistory calls CheckHistory if it is set.
func (c Config) checkHistory(ctx context.Context, e engine) error {
	if c.CheckHistory == nil {
		return nil
	}
	r := Raw{engine: e}
	return c.CheckHistory(func(seq int64) (Position, error) { return r.Position(ctx, seq) })
}

// withDefaults returns c with defaults for the fields that are not set.
func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Local == nil {
		c.Local = time.Now
	}
	return c
}

// Close finishes what was begun and closes the database.
func (db *DB) Close() error { return db.engine.close() }

// Now is the time that all nodes of this database agree on: the database server's,
// or this machine's where the database is a file. It does not ask: while the
// server is away it goes on by this machine's clock.
func (db *DB) Now() time.Time { return db.now() }

// Follow calls wake after revocations and changes of keys by any node, and whenever
// some may have been missed. It returns when ctx ends. On a file it never calls:
// there is one node, and the poll of others' writing.
func (db *DB) Follow(ctx context.Context, wake func()) { db.engine.follow(ctx, wake) }

// Ping reports whether the database can be read, and whether it takes a write.
func (db *DB) Ping(ctx context.Context) error {
	return db.do(ctx, func(tx *tx) error {
		_, err := tx.exec(`UPDATE meta SET value = value WHERE name = $1`, "epoch")
		return err
	})
}

// Reachable reads one row, and returns an error if the database does not answer.
func (db *DB) Reachable(ctx context.Context) error {
	_, err := db.reader(ctx).meta(metaEpoch)
	return classify(err)
}

// do runs work as one deed: it is durable when do returns, and an error means that
// nothing of it was done. work may run more than once, so it hands on what it makes
// by made, not by variables of its own.
func (db *DB) do(ctx context.Context, work func(*tx) error) error { return db.engine.do(ctx, work) }

// made runs work as one deed and returns what it made, or nothing beside an error.
func made[T any](ctx context.Context, db *DB, work func(*tx) (T, error)) (T, error) {
	var last T
	err := db.do(ctx, func(tx *tx) (err error) {
		last, err = work(tx)
		return err
	})
	if err != nil {
		var nothing T
		return nothing, err
	}
	return last, nil
}

// reader returns a tx for reading outside a deed.
func (db *DB) reader(ctx context.Context) *tx { return db.engine.reader(ctx) }

// safely keeps one deed's panic from taking its neighbours along.
func safely(work func(*tx) error, tx *tx, log *slog.Logger) (err error) {
	defer func() {
		if p := recover(); p != nil {
			log.Error("a deed panicked", "stack", string(debug.Stack()))
			err = errPanicked
		}
	}()
	return work(tx)
}

// tx is what a deed works with, and what is read by outside one.
type tx struct {
	ctx context.Context
	on  connection

	// others says that other deeds are done at the same time, here or on another
	// node. What is read to be acted upon is locked then.
	others bool

	// try runs a piece of reading, and again where its connection was lost; nil
	// runs it once.
	try func(context.Context, func(context.Context) error) error

	// evidence finds a row once this is committed; its text is empty while there is
	// none.
	evidence query
}

// connection takes queries by their text.
type connection interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// fit refuses arguments that are not fit for every engine.
func fit(args []any) error {
	for _, a := range args {
		if s, ok := a.(string); ok {
			if err := text(s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *tx) exec(query string, args ...any) (sql.Result, error) {
	if err := fit(args); err != nil {
		return nil, err
	}
	return t.on.ExecContext(t.ctx, query, args...)
}

// changed runs a statement and returns how many rows it changed.
func (t *tx) changed(query string, args ...any) (int64, error) {
	r, err := t.exec(query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

// query runs a query and gives its rows to read.
func (t *tx) query(query string, args []any, read func(*sql.Rows) error) error {
	if err := fit(args); err != nil {
		return err
	}
	once := func(ctx context.Context) error {
		rows, err := t.on.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		if err := read(rows); err != nil {
			return err
		}
		return errors.Join(rows.Err(), rows.Close())
	}
	if t.try == nil {
		return once(t.ctx)
	}
	return t.try(t.ctx, once)
}

// row is the first row of a query, which is asked when it is scanned.
func (t *tx) row(query string, args ...any) scanner { return row{t, query, args} }

type row struct {
	t     *tx
	query string
	args  []any
}

func (r row) Scan(into ...any) error {
	return r.t.query(r.query, r.args, func(rows *sql.Rows) error {
		if !rows.Next() {
			if err := rows.Err(); err != nil {
				return err
			}
			return sql.ErrNoRows
		}
		return rows.Scan(into...)
	})
}

type scanner interface{ Scan(...any) error }

// collect reads all rows of a query.
func collect[T any](t *tx, scan func(scanner) (T, error), query string, args ...any) (all []T, err error) {
	err = t.query(query, args, func(rows *sql.Rows) (err error) {
		all, err = scanAll(rows, scan)
		return err
	})
	if err != nil {
		return nil, classify(err)
	}
	return all, nil
}

func scanAll[T any](rows *sql.Rows, scan func(scanner) (T, error)) (all []T, err error) {
	defer rows.Close()
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// proves notes a query that finds a row if this deed was done, and none if it was
// not: how its outcome is found out where the database was restarted in the middle
// of it.
func (t *tx) proves(text string, args ...any) { t.evidence = query{text, args} }

// text refuses what engines treat differently: one takes NUL and invalid UTF-8
// silently, another refuses them in the middle of a transaction.
func text(values ...string) error {
	for _, v := range values {
		if !utf8.ValidString(v) || strings.IndexByte(v, 0) >= 0 {
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
