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

// engine is what differs between databases. SQL elsewhere is the same for each.
type engine interface {
	// do runs work in a transaction of its own and returns when it is durable. An
	// error means that nothing of it was done, but for the one that says that this
	// cannot be told. work may be run several times; what an earlier run did is
	// undone then.
	do(ctx context.Context, work func(*tx) error) error

	// move does a deed of one statement that changes a row at most once, as do does,
	// and reports whether it did. done is a query that finds a row where it did.
	move(ctx context.Context, statement, done query) (bool, error)

	// reader returns a tx for reading outside a transaction.
	reader(ctx context.Context) *tx

	// now is the time that all nodes of the database agree on.
	now() time.Time

	// follow calls wake after each deed of any node that others want to know of,
	// and whenever some may have been missed. It returns when ctx ends.
	follow(ctx context.Context, wake func())

	// maintain calls use with a connection whose statements have no time limit.
	maintain(use func(*sql.DB, dialect) error) error

	// integrity asks the engine to check what it keeps.
	integrity(ctx context.Context) (problems []string, err error)

	close() error
}

// query is the text of a query and its arguments.
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
	tables     string             // query that lists the names of all tables

	begin     string
	beginRead string // a transaction that reads the database as it is at one moment

	insert            func(context.Context, *sql.Conn, Table, *Rows) error
	clear             func(context.Context, *sql.Conn) error // deletes all rows of all tables
	setLastRevocation func(context.Context, *sql.Conn, int64) error
}

//go:embed migrations
var migrationFiles embed.FS

// SchemaVersion is the number of the newest migration, the same for each engine.
const SchemaVersion = 5

// OpenError is an error that names a remedy.
type OpenError struct {
	Hint string // what to do about it
	Err  error
}

func (e *OpenError) Error() string { return e.Err.Error() }
func (e *OpenError) Unwrap() error { return e.Err }

// openEngine opens the database of an address.
func openEngine(ctx context.Context, c Config) (engine, error) {
	scheme, rest, _ := strings.Cut(c.URL, ":")
	switch {
	case c.URL == "":
		return nil, errors.New("store: no address of a database")
	case scheme == "sqlite" && rest != "":
		return openSQLite(ctx, rest, c)
	case scheme == "postgres", scheme == "postgresql":
		return openPostgres(ctx, c)
	}
	if !strings.Contains(c.URL, "://") {
		return nil, errors.New("store: the address of the database is none: want sqlite:PATH or postgres://USER@HOST/DATABASE")
	}
	// What follows the scheme may hold a password.
	return nil, fmt.Errorf("store: the address of the database begins with %q, want sqlite:PATH or postgres://", scheme)
}

// Migrate brings the schema of a database to this program's version, making it
// where there is none, and returns the versions before and after.
func Migrate(ctx context.Context, c Config) (from, to int64, err error) {
	c = c.withDefaults()
	c.KeepSchema = false
	e, err := openEngine(ctx, c)
	if err != nil {
		return 0, 0, err
	}
	if err = c.checkHistory(ctx, e); err == nil {
		from, err = migrate(ctx, e, c)
	}
	return from, SchemaVersion, errors.Join(err, e.close())
}

// Empty reports whether a database holds nothing yet, so that Open would make it
// Durward's.
func Empty(ctx context.Context, c Config) (empty bool, err error) {
	e, err := openEngine(ctx, c.withDefaults())
	if err != nil {
		return false, err
	}
	err = e.maintain(func(db *sql.DB, d dialect) error {
		version, foreign, err := schemaOf(ctx, db, d.tables)
		empty = version == 0 && len(foreign) == 0
		return err
	})
	err = errors.Join(err, e.close())
	return empty && err == nil, err
}

// migrate brings the schema to this program's version and returns which one it was
// of. It asks for the version first, since the runner costs more than the rest of
// a start.
func migrate(ctx context.Context, e engine, c Config) (from int64, err error) {
	err = e.maintain(func(db *sql.DB, d dialect) error {
		// Several that start at once stand in each other's way where the engine has no
		// lock for it: whoever comes second finds the work done when it looks again.
		for try := 0; ; try++ {
			version, foreign, err := schemaOf(ctx, db, d.tables)
			if try == 0 {
				from = version
			}
			switch {
			case err != nil:
				return err
			case len(foreign) > 0:
				return foreignError(foreign)
			case version == SchemaVersion:
				return nil
			case version > SchemaVersion:
				return &OpenError{"Start the newer program again, or restore the backup made before it.",
					fmt.Errorf("%w: schema %d, this program knows %d", ErrNewer, version, SchemaVersion)}
			case c.KeepSchema && version == 0:
				return &OpenError{"durward db migrate makes the schema.", errors.New("store: there is nothing in the database yet")}
			case c.KeepSchema:
				return &OpenError{"durward db migrate brings it up to date. Make a backup first, with the program that it is of.",
					fmt.Errorf("%w: schema %d, this program wants %d", ErrOlder, version, SchemaVersion)}
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
	switch {
	case err == nil:
	case forbidden(err):
		return &OpenError{"The user of the database has to own it: createdb NAME --owner USER, or ALTER DATABASE. Or let another one make the tables, by durward db migrate.",
			fmt.Errorf("store: the schema cannot be made: %w", classify(err))}
	case partial != nil && rejected(partial.Err):
		return &OpenError{"Nothing of that migration was done. If it was begun by hand, or by a program that was broken off, restore the last backup.",
			fmt.Errorf("%w: migration %d cannot be applied: %w", ErrSchema, partial.Failed.Source.Version, partial.Err)}
	case partial != nil: // the disk, the network, somebody else
		return &OpenError{"Nothing of that migration was done, and the database is as it was. Mend that and try again.",
			fmt.Errorf("store: migration %d cannot be applied: %w", partial.Failed.Source.Version, classify(partial.Err))}
	default:
		return fmt.Errorf("store: migrations: %w", classify(err))
	}
	for _, m := range done {
		log.Info("the schema of the database was brought forward", "version", m.Source.Version)
	}
	return nil
}

// schemaOf returns the version of the newest migration that was applied, 0 for
// an empty database, and the tables of one that is not ours.
func schemaOf(ctx context.Context, db *sql.DB, tables string) (version int64, foreign []string, err error) {
	list := func() ([]string, error) {
		rows, err := db.QueryContext(ctx, tables)
		if err != nil {
			return nil, err
		}
		return scanAll(rows, func(row scanner) (name string, err error) {
			err = row.Scan(&name)
			return name, err
		})
	}
	names, err := list()
	if err != nil || len(names) == 0 {
		return 0, nil, classify(err)
	}
	if !slices.Contains(names, "goose_db_version") {
		return 0, names, nil
	}
	var newest sql.NullInt64
	if err := db.QueryRowContext(ctx, "SELECT max(version_id) FROM goose_db_version WHERE is_applied").Scan(&newest); err != nil {
		return 0, nil, classify(err)
	}
	if newest.Int64 > 0 && !slices.Contains(names, "meta") {
		// Another node may have made its tables since these were listed.
		if names, err = list(); err != nil {
			return 0, nil, classify(err)
		}
		if !slices.Contains(names, "meta") {
			return 0, names, nil // it is somebody else's runner of migrations
		}
	}
	return newest.Int64, nil, nil
}

// classify gives errors the names that callers know. What has a name keeps it,
// and that a caller's own context has ended says nothing about the database.
func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case slices.ContainsFunc(named, func(name error) bool { return errors.Is(err, name) }):
		return err
	case isConstraint(err):
		return err // a rule of the schema, not a fault of the disk
	}
	if damaged(err) {
		return fmt.Errorf("%w: %w: %w", ErrUnavailable, ErrDamaged, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

var named = []error{ErrNotFound, ErrEmailTaken, ErrUnavailable, ErrText, ErrChanged, ErrTooMany, errPanicked, context.Canceled, context.DeadlineExceeded}

// isConstraint reports the violation of a rule of the schema.
func isConstraint(err error) bool {
	var lite *sqlite.Error
	var pg *pgconn.PgError
	return errors.As(err, &lite) && lite.Code()&0xff == sqlite3.SQLITE_CONSTRAINT ||
		errors.As(err, &pg) && strings.HasPrefix(pg.Code, "23")
}

// isUnique reports the violation of a unique index or primary key.
func isUnique(err error) bool {
	var lite *sqlite.Error
	var pg *pgconn.PgError
	return errors.As(err, &lite) && (lite.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || lite.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY) ||
		errors.As(err, &pg) && pg.Code == "23505"
}

// damaged reports that the engine says that what it keeps is not whole.
func damaged(err error) bool {
	var lite *sqlite.Error
	var pg *pgconn.PgError
	return errors.As(err, &lite) && (lite.Code()&0xff == sqlite3.SQLITE_CORRUPT || lite.Code()&0xff == sqlite3.SQLITE_NOTADB) ||
		errors.As(err, &pg) && (pg.Code == "XX001" || pg.Code == "XX002")
}

// forbidden reports that the user of the database server may not do something.
func forbidden(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "42501"
}

// rejected reports that a statement cannot be done on what is there.
func rejected(err error) bool {
	var lite *sqlite.Error
	var pg *pgconn.PgError
	return errors.As(err, &lite) && lite.Code()&0xff == sqlite3.SQLITE_ERROR || errors.As(err, &pg) && strings.HasPrefix(pg.Code, "42")
}

// busy reports that somebody else holds what a migration wants.
func busy(err error) bool {
	var lite *sqlite.Error
	return errors.As(err, &lite) && (lite.Code()&0xff == sqlite3.SQLITE_BUSY || lite.Code()&0xff == sqlite3.SQLITE_LOCKED)
}

// locked ends a query whose rows of a table stay as they are until the deed has
// ended. Rows are locked in one order: of the person, of the session, of what the
// session holds.
func (t *tx) locked(table string) string {
	if !t.others {
		return ""
	}
	return " FOR NO KEY UPDATE OF " + table
}

// alone keeps every other deed of the same name out until this one has ended, on
// whichever node.
func (t *tx) alone(name string) error {
	if !t.others {
		return nil
	}
	_, err := t.exec(`SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, "durward:"+name)
	return err
}

// tell wakes the other nodes once this is committed.
func (t *tx) tell() error {
	if !t.others {
		return nil
	}
	_, err := t.exec(`SELECT pg_notify($1, '')`, channel)
	return err
}
