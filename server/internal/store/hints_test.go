package store

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/durward-auth/durward/internal/services"
)

// sqliteError returns the error of the last of several statements. Statements with the prefix
// "other: " run on another connection to the same file.
func sqliteError(t *testing.T, statements ...string) (err error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "test.db")
	var conns [2]*sql.Conn
	for i := range conns {
		db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(0)")
		must(t, err)
		defer db.Close()
		conns[i], err = db.Conn(t.Context())
		must(t, err)
		defer conns[i].Close()
	}
	for i, s := range statements {
		text, other := strings.CutPrefix(s, "other: ")
		conn := conns[0]
		if other {
			conn = conns[1]
		}
		if _, err = conn.ExecContext(t.Context(), text); err != nil && i < len(statements)-1 {
			t.Fatalf("%s: %v", s, err)
		}
	}
	return err
}

// postgresError returns the error of the last of several statements.
func postgresError(t *testing.T, address string, statements ...string) (err error) {
	t.Helper()
	db, err := sql.Open("pgx", address)
	must(t, err)
	defer db.Close()
	db.SetMaxOpenConns(1)
	for i, s := range statements {
		if _, err = db.ExecContext(t.Context(), s); err != nil && i < len(statements)-1 {
			t.Fatalf("%s: %v", s, err)
		}
	}
	return err
}

func openError(t *testing.T, address string) error {
	t.Helper()
	db, err := Open(t.Context(), Config{URL: address})
	if err == nil {
		must(t, db.Close())
	}
	return err
}

func TestHintOfSQLite(t *testing.T) {
	t.Parallel()
	damaged := filepath.Join(t.TempDir(), "damaged.db")
	must(t, os.WriteFile(damaged, []byte(strings.Repeat("damaged ", 2000)), 0o600))
	for name, row := range map[string]struct {
		err  error
		want string
	}{
		"no page left: disk full":               {sqliteError(t, `CREATE TABLE a (b)`, `PRAGMA max_page_count = 2`, `INSERT INTO a VALUES (zeroblob(9999))`), "disk is full"},
		"write on a read-only connection":       {sqliteError(t, `CREATE TABLE a (b)`, `PRAGMA query_only = ON`, `INSERT INTO a VALUES (1)`), "read-only"},
		"two writers: locked":                   {sqliteError(t, `BEGIN IMMEDIATE`, `other: BEGIN IMMEDIATE`), "holds the lock"},
		"file that is no database: damaged":     {openError(t, "sqlite:"+damaged), "restore the last backup"},
		"folder that does not exist":            {openError(t, "sqlite:"+filepath.Join(filepath.Dir(damaged), "nowhere", "a.db")), "folder of the database does not exist"},
		"folder that is a file: cannot be open": {sqliteError(t, `ATTACH '`+damaged+`/a.db' AS a`), "Check that the folder exists"},
		"missing table: no hint":                {sqliteError(t, `SELECT * FROM a`), ""},
		"constraint: no hint":                   {sqliteError(t, `CREATE TABLE a (b UNIQUE)`, `INSERT INTO a VALUES (1)`, `INSERT INTO a VALUES (1)`), ""},
	} {
		hintIs(t, name, row.err, row.want)
	}
}

func TestHintOfPostgres(t *testing.T) {
	t.Parallel()
	address := services.Database(t)
	must(t, postgresError(t, address, `CREATE ROLE hint_full LOGIN CONNECTION LIMIT 0`))
	must(t, postgresError(t, address, `CREATE ROLE hint_poor LOGIN`))
	defer func() { must(t, postgresError(t, address, `DROP ROLE hint_full, hint_poor`)) }()
	as := func(user string) string { return strings.Replace(address, "durward@", user+"@", 1) }
	database := address[strings.LastIndex(address, "/")+1 : strings.Index(address, "?")]
	for name, row := range map[string]struct {
		err  error
		want string
	}{
		"no server at the address":   {openError(t, "postgres://durward@"+services.Host()+":1/durward?sslmode=disable"), "No database server listens"},
		"unknown user":               {openError(t, as("hint_stranger")), "Check user and password"},
		"unknown database":           {openError(t, strings.Replace(address, database, "nowhere", 1)), "createdb"},
		"too many connections":       {openError(t, as("hint_full")), "max_connections"},
		"user without rights":        {postgresError(t, as("hint_poor"), `CREATE TABLE pg_catalog.a (b int)`), "needs the rights"},
		"slow statement":             {postgresError(t, address, `SET statement_timeout = 1`, `SELECT pg_sleep(10)`), "did not answer in time"},
		"read-only transaction":      {postgresError(t, address, `SET default_transaction_read_only = on`, `CREATE TABLE a (b int)`), "name the primary"},
		"prepared statement exists":  {postgresError(t, address, `PREPARE a AS SELECT 1`, `PREPARE a AS SELECT 1`), `database.pool = "transaction"`},
		"prepared statement is gone": {postgresError(t, address, `EXECUTE a`), `database.pool = "transaction"`},
		"pooler without a server":    {&pgconn.PgError{Code: "08P01", Message: "server conn crashed?"}, "read its log"},
		"serialization failure":      {serializationFailure(t, address), "try again"},
		"missing table: no hint":     {postgresError(t, address, `SELECT * FROM nowhere`), ""},
		"disk full, as pgx tells it": {&pgconn.PgError{Code: "53100"}, "disk of the database server is full"},
		"standby, as pgx tells it":   {pgconn.ErrStandbyConnection, "name the primary"},
		"deadline of this package":   {ownDeadline(t.Context().Err()), ""},
		"answer that does not come":  {fmt.Errorf("%w within 1s", errNoAnswer), "did not answer in time"},
		"server that is starting":    {&pgconn.PgError{Code: "57P03"}, "starting or stopping"},
		"damaged page, as pgx tells": {&pgconn.PgError{Code: "XX001"}, "found damaged data"},
	} {
		hintIs(t, name, row.err, row.want)
	}
}

// serializationFailure returns the error of a transaction that read what another one has changed.
func serializationFailure(t *testing.T, address string) error {
	t.Helper()
	must(t, postgresError(t, address, `CREATE TABLE counters (n int)`, `INSERT INTO counters VALUES (1)`))
	db, err := sql.Open("pgx", address)
	must(t, err)
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	must(t, err)
	defer func() { _ = tx.Rollback() }()
	var n int
	must(t, tx.QueryRowContext(t.Context(), `SELECT n FROM counters`).Scan(&n))
	must(t, postgresError(t, address, `UPDATE counters SET n = 2`))
	_, err = tx.ExecContext(t.Context(), `UPDATE counters SET n = 3`)
	return err
}

func TestHintOfSystemErrors(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]string{
		syscall.ENOSPC:    "disk is full",
		syscall.EROFS:     "read-only",
		syscall.EACCES:    "Owner and mode",
		syscall.EPERM:     "Owner and mode",
		syscall.EMFILE:    "too many open files",
		errors.New("odd"): "",
	} {
		hintIs(t, err.Error(), &os.PathError{Op: "open", Path: "durward.db", Err: err}, want)
	}
	if got := Hint(nil); got != "" {
		t.Errorf("Hint(nil) = %q", got)
	}
}

func hintIs(t *testing.T, name string, err error, want string) {
	t.Helper()
	for _, err := range []error{err, classify(err)} {
		if got := Hint(err); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("%s: hint of %v: %q, want %q", name, err, got, want)
		}
	}
}
