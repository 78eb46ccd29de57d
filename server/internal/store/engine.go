package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
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
	name       string // "sqlite", "postgres"
	goose      goose.Dialect
	migrations string             // folder of migrationFiles
	locker     lock.SessionLocker // nil if the engine needs none
	pooled     bool               // migrations are refused, since they need a session
	tables     string             // query that lists the names of all tables

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

//go:embed migrations
var migrationFiles embed.FS

// SchemaVersion is the number of the newest migration, the same for each engine.
const SchemaVersion = 19

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

// Migrate brings the schema of a database to SchemaVersion, creates it if it is missing, and returns the
// versions before and after.
func Migrate(ctx context.Context, c Config) (from, to int64, err error) {
	c.KeepSchema = false
	e, from, err := openMigrated(ctx, c.withDefaults())
	if err == nil {
		err = e.close()
	}
	return from, SchemaVersion, err
}

// Empty reports whether a database has no tables, so that Open would create them.
func Empty(ctx context.Context, c Config) (empty bool, err error) {
	r, err := OpenRaw(ctx, c, Shared)
	if err != nil {
		return false, err
	}
	version, err := r.Schema(ctx)
	foreign := errors.Is(err, ErrForeign)
	if foreign {
		err = nil
	}
	err = errors.Join(err, r.Close())
	return err == nil && version == 0 && !foreign, err
}

// migrate brings the schema to SchemaVersion and returns the version before. It reads the version first,
// because starting goose takes longer than the rest of a start.
func migrate(ctx context.Context, e engine, c Config) (from int64, err error) {
	err = e.maintain(func(db *sql.DB, d dialect) error {
		// SQLite has no lock for migrations: of several processes that start at once, one migrates, and
		// the others fail and find the schema migrated when they read the version again.
		for try := 0; ; try++ {
			version, foreign, err := schemaOf(ctx, db, d.tables)
			if try == 0 {
				from = version
			}
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil:
				return classify(ownDeadline(err)) // of the connection
			case len(foreign) > 0:
				return foreignError(foreign)
			case version == SchemaVersion:
				return nil
			case version > SchemaVersion:
				return &OpenError{"Start the newer program again, or restore the backup made before it.",
					fmt.Errorf("%w: schema %d, this program supports %d", ErrNewer, version, SchemaVersion)}
			case (c.KeepSchema || d.pooled) && version == 0:
				return &OpenError{d.hint("durward db migrate creates the schema."), errors.New("store: the database is empty")}
			case c.KeepSchema || d.pooled:
				return &OpenError{d.hint("durward db migrate updates the schema. Make a backup with the older program first."),
					fmt.Errorf("%w: schema %d, this program needs %d", ErrOlder, version, SchemaVersion)}
			}
			if err = up(ctx, db, d, c.Log); err == nil || ctx.Err() != nil {
				return err
			}
			if now, _, again := schemaOf(ctx, db, d.tables); try == maxTries || again != nil || now == version && !busy(err) {
				return err
			}
			pause(ctx, try)
		}
	})
	return from, err
}

func foreignError(tables []string) error {
	return &OpenError{"Name an empty database, or the right one, in database.url.",
		fmt.Errorf("%w: it has no Durward schema, but the tables %s", ErrForeign, strings.Join(tables, ", "))}
}

// up applies the missing migrations.
func up(ctx context.Context, db *sql.DB, d dialect, log *slog.Logger) error {
	dir, err := fs.Sub(migrationFiles, d.migrations)
	if err != nil {
		return err
	}
	options := []goose.ProviderOption{goose.WithLogger(goose.NopLogger())}
	if d.locker != nil {
		options = append(options, goose.WithSessionLocker(d.locker))
	}
	p, err := goose.NewProvider(d.goose, db, dir, options...)
	if err != nil {
		return fmt.Errorf("store: migrations: %w", err)
	}
	done, err := p.Up(ctx)
	partial, _ := errors.AsType[*goose.PartialError](err)
	if lite, ok := errors.AsType[*sqlite.Error](err); ok && partial != nil {
		partial.Err = lite // without that of a second rollback: on a full disk SQLite rolls back itself
	}
	switch {
	case err == nil:
	case forbidden(err):
		return &OpenError{"The user has to own the database: createdb NAME --owner USER, or ALTER DATABASE. Or let another user create the tables with durward db migrate.",
			fmt.Errorf("store: cannot create the schema: %w", classify(err))}
	case partial != nil && rejected(partial.Err):
		return &OpenError{"The migration changed nothing. If it was begun by hand, or by a program that was interrupted, restore the last backup.",
			fmt.Errorf("%w: cannot apply migration %d: %w", ErrSchema, partial.Failed.Source.Version, partial.Err)}
	case partial != nil: // the disk, the network, another process
		return &OpenError{strings.TrimSpace("The migration changed nothing. Try again. " + Hint(partial.Err)),
			fmt.Errorf("store: cannot apply migration %d: %w", partial.Failed.Source.Version, classify(partial.Err))}
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		return fmt.Errorf("store: migrations: %w", classify(ownDeadline(err)))
	}
	for _, m := range done {
		log.Info("database schema migrated", "version", m.Source.Version)
	}
	return nil
}

// schemaVersion selects the version of the newest applied migration.
const schemaVersion = `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`

// schemaOf returns the version of the newest applied migration, 0 for an empty database. If the database
// belongs to another program, foreign lists its tables. The query tables lists all tables.
func schemaOf(ctx context.Context, db *sql.DB, tables string) (version int64, foreign []string, err error) {
	t := &tx{ctx: ctx, on: db}
	names, err := texts(t, tables)
	if err != nil || len(names) == 0 {
		return 0, nil, err
	}
	if !slices.Contains(names, "goose_db_version") {
		return 0, names, nil
	}
	if version = t.number(schemaVersion); version > 0 && !slices.Contains(names, "meta") {
		// Another node may have created the tables after the first query.
		if names, err = texts(t, tables); err == nil && !slices.Contains(names, "meta") {
			return 0, names, nil // goose migrated it for another program
		}
	}
	return version, nil, classify(t.err)
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
