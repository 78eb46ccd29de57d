package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
)

// sqliteEngine is one file. One connection writes: it commits what waits together,
// so that many deeds cost one write to the disk. A few read.
type sqliteEngine struct {
	clock   func() time.Time
	log     *slog.Logger
	readers *sql.DB
	writer  *sql.DB
	reading statements

	deeds   chan *deed
	closing chan struct{} // closed by close
	closed  chan struct{} // closed when the writer has ended
	once    sync.Once
}

// dsn names the file and what every connection to it is set to.
// synchronous=FULL: a commit is on the disk before its answer leaves.
//
// Without a write-ahead log and in exclusive locking, a connection holds the file from
// its first lock to its end, and does not get there while another connection is open.
func dsn(path string, readOnly bool, c Config) string {
	wait, locking, journal, sync := "5000", "NORMAL", "WAL", "FULL"
	if c.exclusive {
		wait, locking, journal = "500", "EXCLUSIVE", "DELETE"
	}
	if c.scratch {
		locking, journal, sync = "EXCLUSIVE", "OFF", "OFF"
	}
	q := url.Values{"_pragma": {
		"busy_timeout(" + wait + ")", "locking_mode(" + locking + ")", "journal_mode(" + journal + ")", "synchronous(" + sync + ")", "foreign_keys(ON)",
		"journal_size_limit(67108864)", "wal_autocheckpoint(1000)", "trusted_schema(OFF)", "cache_size(-4096)",
	}}
	if readOnly {
		q.Add("_pragma", "query_only(ON)")
	}
	return (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String()
}

// openSQLite opens the connections of one file, made with mode 0600 if missing.
func openSQLite(ctx context.Context, path string, c Config) (*sqliteEngine, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// The driver would make the file readable by everybody.
	f, err := os.OpenFile(abs, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("store: %s cannot be written to (owner and mode are wrong, or the disk is read-only): %w: %w", path, ErrUnavailable, err)
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	e := &sqliteEngine{clock: c.Now, log: c.Log, deeds: make(chan *deed), closing: make(chan struct{}), closed: make(chan struct{})}
	if e.clock == nil {
		e.clock = time.Now
	}
	if e.writer, err = sql.Open("sqlite", dsn(abs, false, c)); err != nil {
		return nil, err
	}
	e.writer.SetMaxOpenConns(1)
	if e.readers, err = sql.Open("sqlite", dsn(abs, true, c)); err != nil {
		return nil, errors.Join(err, e.writer.Close())
	}
	e.readers.SetMaxOpenConns(4)
	e.readers.SetMaxIdleConns(4)
	e.reading = statements{prepare: e.readers.PrepareContext}
	err = e.writer.PingContext(ctx)
	if err == nil && c.exclusive {
		_, err = e.writer.ExecContext(ctx, "BEGIN EXCLUSIVE; COMMIT")
	}
	if err != nil {
		switch {
		case damaged(err):
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		case c.exclusive && busy(err):
			err = &OpenError{"Stop the server, and whatever else has the file open.", fmt.Errorf("%w: %w", ErrInUse, err)}
		}
		return nil, errors.Join(fmt.Errorf("store: %s cannot be opened as a database: %w", path, err), e.writer.Close(), e.readers.Close())
	}
	go e.write()
	return e, nil
}

// close commits what waits and closes the file.
func (e *sqliteEngine) close() error {
	e.once.Do(func() { close(e.closing) })
	<-e.closed
	e.reading.close()
	return errors.Join(e.readers.Close(), e.writer.Close())
}

func (e *sqliteEngine) now() time.Time { return e.clock() }

func (e *sqliteEngine) reader(ctx context.Context) *tx { return &tx{ctx: ctx, on: &e.reading} }

// follow has nothing to say: whoever writes to the file by another process is
// found by the poll.
func (e *sqliteEngine) follow(ctx context.Context, _ func()) { <-ctx.Done() }

func (e *sqliteEngine) maintain(use func(*sql.DB, dialect) error) error {
	return use(e.writer, sqliteDialect)
}

var sqliteDialect = dialect{
	name:              "sqlite",
	goose:             goose.DialectSQLite3,
	migrations:        "migrations/sqlite",
	tables:            `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name`,
	begin:             beginBatch,
	beginRead:         "BEGIN",
	insert:            insertSQLite,
	clear:             clearSQLite,
	setLastRevocation: setLastRevocationSQLite,
}

// insertSQLite adds rows by one prepared statement.
func insertSQLite(ctx context.Context, conn *sql.Conn, into Table, rows *Rows) error {
	columns := strings.Fields(into.Columns)
	parameters := make([]string, len(columns))
	for i := range parameters {
		parameters[i] = fmt.Sprintf("$%d", i+1)
	}
	insert, err := conn.PrepareContext(ctx, "INSERT INTO "+into.Name+" ("+strings.Join(columns, ", ")+") VALUES ("+strings.Join(parameters, ", ")+")")
	if err != nil {
		return err
	}
	defer insert.Close()
	for rows.Next() {
		if _, err := insert.ExecContext(ctx, rows.values...); err != nil {
			return err
		}
	}
	return rows.Err()
}

func clearSQLite(ctx context.Context, conn *sql.Conn) error {
	for _, t := range slices.Backward(Tables) {
		if _, err := conn.ExecContext(ctx, "DELETE FROM "+t.Name); err != nil {
			return err
		}
	}
	return nil
}

// setLastRevocationSQLite replaces the row of sqlite_sequence. The row exists once revocations has
// had a row.
func setLastRevocationSQLite(ctx context.Context, conn *sql.Conn, last int64) error {
	if _, err := conn.ExecContext(ctx, "DELETE FROM sqlite_sequence WHERE name = 'revocations'"); err != nil {
		return err
	}
	_, err := conn.ExecContext(ctx, "INSERT INTO sqlite_sequence (name, seq) VALUES ('revocations', $1)", last)
	return err
}

// The statements around a deed. Each deed has a savepoint of its own inside the
// batch's transaction, so that one that fails leaves its neighbours whole.
const (
	beginBatch    = "BEGIN IMMEDIATE"
	commitBatch   = "COMMIT"
	rollbackBatch = "ROLLBACK"
	beginDeed     = "SAVEPOINT deed"
	commitDeed    = "RELEASE deed"
	rollbackDeed  = "ROLLBACK TO deed"
)

// deed is one piece of writing and where its answer goes.
type deed struct {
	ctx  context.Context
	work func(*tx) error
	err  error
	done chan struct{}
}

// do runs work in the next batch and returns when it is durable. An error means
// that nothing of it was.
func (e *sqliteEngine) do(ctx context.Context, work func(*tx) error) error {
	d := &deed{ctx: ctx, work: work, done: make(chan struct{})}
	select {
	case e.deeds <- d:
	case <-ctx.Done():
		return ctx.Err()
	case <-e.closing:
		return fmt.Errorf("%w: closed", ErrUnavailable)
	}
	// Once taken, a deed ends soon, and whether it was done must be known.
	<-d.done
	return d.err
}

func (e *sqliteEngine) move(ctx context.Context, statement, _ query) (moved bool, err error) {
	err = e.do(ctx, func(tx *tx) error {
		n, err := tx.changed(statement.text, statement.args...)
		moved = n == 1
		return err
	})
	return moved && err == nil, err
}

// maxBatch bounds the deeds of one commit.
const maxBatch = 512

// write is the one writer: it takes what waits, does it, commits, and answers.
func (e *sqliteEngine) write() {
	defer close(e.closed)
	var conn *batchConn
	defer func() { conn.close() }()
	batch := make([]*deed, 0, maxBatch)
	for {
		select {
		case d := <-e.deeds:
			batch = append(batch[:0], d)
		case <-e.closing:
			return
		}
		began := time.Now()
		var err error
		if conn == nil {
			conn, err = newBatchConn(e.writer)
		}
		if err == nil {
			batch, err = conn.run(batch, e.deeds, e.log)
		}
		if err != nil && time.Since(began) > longFailure {
			batch = waiting(batch, e.deeds)
		}
		for _, d := range batch {
			if err != nil {
				d.err = classify(err)
			}
			close(d.done)
		}
		if err != nil {
			// Begin anew on another connection: what is wrong may pass.
			conn.close()
			conn = nil
		}
	}
}

// longFailure is how long a failure takes that those who wait meanwhile share:
// each would wait as long again, behind the others, for the same.
const longFailure = time.Second

// waiting adds to batch all that waits.
func waiting(batch []*deed, more <-chan *deed) []*deed {
	for {
		select {
		case d := <-more:
			batch = append(batch, d)
		default:
			return batch
		}
	}
}

// batchConn is the writer's connection with its prepared statements.
type batchConn struct {
	conn       *sql.Conn
	statements statements
}

func newBatchConn(pool *sql.DB) (*batchConn, error) {
	conn, err := pool.Conn(context.Background())
	if err != nil {
		return nil, err
	}
	return &batchConn{conn: conn, statements: statements{prepare: conn.PrepareContext}}, nil
}

func (b *batchConn) close() {
	if b == nil {
		return
	}
	b.statements.close()
	// The pool would lend the same connection again, in whatever state it is.
	_ = b.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = b.conn.Close()
}

// run does the deeds of batch and whatever else comes while they are done. An
// error means that nothing was committed; a deed's own error is in the deed.
func (b *batchConn) run(batch []*deed, more <-chan *deed, log *slog.Logger) ([]*deed, error) {
	tx := &tx{ctx: context.Background(), on: &b.statements}
	if _, err := tx.exec(beginBatch); err != nil {
		return batch, err
	}
	failed := func(err error) ([]*deed, error) {
		if _, rollback := tx.exec(rollbackBatch); rollback != nil {
			log.Error("a batch could not be rolled back", "error", rollback)
		}
		return batch, err
	}
	for next := 0; ; next++ {
		if next == len(batch) {
			if len(batch) == maxBatch {
				break
			}
			select {
			case d := <-more:
				batch = append(batch, d)
			default:
			}
			if next == len(batch) {
				break
			}
		}
		d := batch[next]
		if d.err = d.ctx.Err(); d.err != nil {
			continue
		}
		if _, err := tx.exec(beginDeed); err != nil {
			return failed(err)
		}
		if d.err = classify(safely(d.work, tx, log)); d.err != nil {
			if _, err := tx.exec(rollbackDeed); err != nil {
				return failed(err)
			}
		}
		if _, err := tx.exec(commitDeed); err != nil {
			return failed(err)
		}
	}
	if _, err := tx.exec(commitBatch); err != nil {
		return failed(err)
	}
	return batch, nil
}

// statements prepares each query once.
type statements struct {
	prepare func(context.Context, string) (*sql.Stmt, error)
	mu      sync.RWMutex
	byText  map[string]*sql.Stmt
}

func (s *statements) get(ctx context.Context, query string) (*sql.Stmt, error) {
	s.mu.RLock()
	stmt := s.byText[query]
	s.mu.RUnlock()
	if stmt != nil {
		return stmt, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if stmt := s.byText[query]; stmt != nil {
		return stmt, nil
	}
	stmt, err := s.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	if s.byText == nil {
		s.byText = make(map[string]*sql.Stmt)
	}
	s.byText[query] = stmt
	return stmt, nil
}

func (s *statements) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	stmt, err := s.get(ctx, query)
	if err != nil {
		return nil, err
	}
	return stmt.ExecContext(ctx, args...)
}

func (s *statements) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	stmt, err := s.get(ctx, query)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(ctx, args...)
}

func (s *statements) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stmt := range s.byText {
		_ = stmt.Close()
	}
	s.byText = nil
}

// integrity asks the engine to check its own file.
func (e *sqliteEngine) integrity(ctx context.Context) (problems []string, err error) {
	return collect(e.reader(ctx), func(row scanner) (problem string, err error) {
		err = row.Scan(&problem)
		return problem, err
	}, `SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'`)
}
