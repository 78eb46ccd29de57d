package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// This file holds all that differs between database engines; SQL elsewhere is
// the same for each.

//go:embed migrations/sqlite/*.sql
var sqliteMigrations embed.FS

// schemaVersion is the number of the newest migration.
const schemaVersion = 5

// The statements around a deed. Each deed has a savepoint of its own inside the
// batch's transaction, so that one that fails leaves its neighbours whole.
const (
	beginBatch      = "BEGIN IMMEDIATE"
	commitBatch     = "COMMIT"
	rollbackBatch   = "ROLLBACK"
	beginDeed       = "SAVEPOINT deed"
	commitDeed      = "RELEASE deed"
	rollbackDeed    = "ROLLBACK TO deed"
	existsTableText = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = $1"
)

// dsn names the file and what every connection to it is set to.
// synchronous=FULL: a commit is on the disk before its answer leaves.
func dsn(path string, readOnly bool) string {
	q := url.Values{"_pragma": {
		"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(ON)",
		"journal_size_limit(67108864)", "wal_autocheckpoint(1000)", "trusted_schema(OFF)", "cache_size(-4096)",
	}}
	if readOnly {
		q.Add("_pragma", "query_only(ON)")
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String()
}

// openEngine opens the connections of one file: one that writes, a few that
// read.
func openEngine(ctx context.Context, path string) (writer, readers *sql.DB, err error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, err
	}
	// The driver would make the file readable by everybody.
	f, err := os.OpenFile(abs, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		return nil, nil, fmt.Errorf("store: %s cannot be written to (owner and mode are wrong, or the disk is read-only): %w: %w", path, ErrUnavailable, err)
	} else if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := f.Close(); err != nil {
		return nil, nil, err
	}
	if writer, err = sql.Open("sqlite", dsn(abs, false)); err != nil {
		return nil, nil, err
	}
	writer.SetMaxOpenConns(1)
	if readers, err = sql.Open("sqlite", dsn(abs, true)); err != nil {
		return nil, nil, errors.Join(err, writer.Close())
	}
	readers.SetMaxOpenConns(4)
	readers.SetMaxIdleConns(4)
	if err := writer.PingContext(ctx); err != nil {
		if damaged(err) {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		return nil, nil, errors.Join(fmt.Errorf("store: %s cannot be opened as a database: %w", path, err), writer.Close(), readers.Close())
	}
	return writer, readers, nil
}

// migrate brings the schema to this program's version. It asks for the version
// first, since the runner costs more than the rest of a start.
func migrate(ctx context.Context, db *sql.DB, log *slog.Logger) error {
	version, err := schemaOf(ctx, db)
	switch {
	case err != nil:
		return err
	case version == schemaVersion:
		return nil
	case version > schemaVersion:
		return fmt.Errorf("%w: schema %d, this program knows %d: start the newer program again, or restore the backup made before it", ErrNewer, version, schemaVersion)
	}
	dir, err := fs.Sub(sqliteMigrations, "migrations/sqlite")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, dir, goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return fmt.Errorf("store: migrations: %w", err)
	}
	done, err := p.Up(ctx)
	if err != nil {
		return fmt.Errorf("store: migrations: %w", err)
	}
	for _, m := range done {
		log.Debug("migrated", "version", m.Source.Version)
	}
	return nil
}

// schemaOf returns the version of the newest migration that was applied, 0 for
// an empty database.
func schemaOf(ctx context.Context, db *sql.DB) (version int64, err error) {
	var tables int
	if err := db.QueryRowContext(ctx, existsTableText, "goose_db_version").Scan(&tables); err != nil {
		return 0, classify(err)
	}
	if tables == 0 {
		return 0, nil
	}
	var newest sql.NullInt64
	if err := db.QueryRowContext(ctx, "SELECT max(version_id) FROM goose_db_version WHERE is_applied = 1").Scan(&newest); err != nil {
		return 0, classify(err)
	}
	return newest.Int64, nil
}

// classify gives errors the names that callers know. What has a name keeps it,
// and that a caller's own context has ended says nothing about the database.
func classify(err error) error {
	var e *sqlite.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case errors.Is(err, ErrNotFound), errors.Is(err, ErrEmailTaken), errors.Is(err, ErrUnavailable), errors.Is(err, ErrText), errors.Is(err, ErrChanged), errors.Is(err, ErrTooMany), errors.Is(err, errPanicked),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_CONSTRAINT:
		return err // a rule of the schema, not a fault of the disk
	}
	if damaged(err) {
		return fmt.Errorf("%w: %w: %w", ErrUnavailable, ErrDamaged, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// damaged reports whether SQLite says that the file is not a whole database.
func damaged(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && (e.Code()&0xff == sqlite3.SQLITE_CORRUPT || e.Code()&0xff == sqlite3.SQLITE_NOTADB)
}

// isUnique reports the violation of a unique index or primary key.
func isUnique(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && (e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}

// integrity asks the engine to check its own file.
func integrity(ctx context.Context, db *sql.DB) (problems []string, err error) {
	for _, q := range []string{"PRAGMA integrity_check", "PRAGMA foreign_key_check"} {
		rows, err := db.QueryContext(ctx, q)
		if err != nil {
			return nil, classify(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			return nil, errors.Join(err, rows.Close())
		}
		for rows.Next() {
			values := make([]any, len(columns))
			for i := range values {
				values[i] = new(sql.NullString)
			}
			if err := rows.Scan(values...); err != nil {
				return nil, errors.Join(err, rows.Close())
			}
			first := values[0].(*sql.NullString).String
			switch {
			case len(columns) == 1 && first != "ok":
				problems = append(problems, first)
			case len(columns) > 1:
				problems = append(problems, fmt.Sprintf("a row of %s refers to a row of %s that is not there", first, values[2].(*sql.NullString).String))
			}
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return nil, classify(err)
		}
	}
	return problems, nil
}
