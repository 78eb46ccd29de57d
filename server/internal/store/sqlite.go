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
)

// sqliteEngine is an SQLite file. One connection writes: it commits the waiting transactions together, so
// that many cost one write to the disk. Four connections read.
type sqliteEngine struct {
	clock   func() time.Time
	log     *slog.Logger
	readers *sql.DB
	writer  *sql.DB
	reading statements

	requests chan *writeRequest
	closing  chan struct{} // closed by close
	closed   chan struct{} // closed when the writer has ended
	once     sync.Once
}

// dsn returns the driver's name of the file with the settings of a connection. With synchronous=FULL, a
// commit is on the disk before it returns.
//
// With exclusive locking and without a write-ahead log, a connection keeps the file locked from its first
// lock to its end. It gets that lock only while no other connection is open.
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

// openSQLite opens the connections to a file, which is created with mode 0600 if it is missing.
func openSQLite(ctx context.Context, path string, c Config) (*sqliteEngine, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// The driver would create the file with mode 0644.
	f, err := os.OpenFile(abs, os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("store: cannot write to %s: %w: %w", path, ErrUnavailable, err)
	} else if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	e := &sqliteEngine{clock: c.Now, log: c.Log, requests: make(chan *writeRequest), closing: make(chan struct{}), closed: make(chan struct{})}
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
			err = &OpenError{"Stop the server and every other process that has the file open.", fmt.Errorf("%w: %w", ErrInUse, err)}
		default:
			err = classify(err)
		}
		return nil, errors.Join(fmt.Errorf("store: cannot open %s as a database: %w", path, err), e.writer.Close(), e.readers.Close())
	}
	go e.write()
	return e, nil
}

// close commits the waiting transactions and closes the file.
func (e *sqliteEngine) close() error {
	e.once.Do(func() { close(e.closing) })
	<-e.closed
	e.reading.close()
	return errors.Join(e.readers.Close(), e.writer.Close())
}

func (e *sqliteEngine) now() time.Time { return e.clock() }

func (e *sqliteEngine) reader(ctx context.Context) *tx { return &tx{ctx: ctx, on: &e.reading} }

// follow never calls its argument: polling finds the writes of other processes.
func (e *sqliteEngine) follow(ctx context.Context, _ func()) { <-ctx.Done() }

func (e *sqliteEngine) maintain(use func(*sql.DB, dialect) error) error {
	return use(e.writer, sqliteDialect)
}

var sqliteDialect = dialect{
	name:              "sqlite",
	tables:            `SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name`,
	versions:          versionsSQLite,
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

// Statements around a transaction of this package. Each has a savepoint inside the transaction of its
// batch, so that one that fails does not roll back the others.
const (
	beginBatch    = "BEGIN IMMEDIATE"
	commitBatch   = "COMMIT"
	rollbackBatch = "ROLLBACK"
	beginWrite    = "SAVEPOINT request"
	commitWrite   = "RELEASE request"
	rollbackWrite = "ROLLBACK TO request"
)

// writeRequest is a transaction that waits for the writer.
type writeRequest struct {
	ctx  context.Context
	work func(*tx) error
	err  error         // set before done is closed
	done chan struct{} // closed after the commit or the rollback
}

// do runs work in the next batch.
func (e *sqliteEngine) do(ctx context.Context, work func(*tx) error) error {
	d := &writeRequest{ctx: ctx, work: work, done: make(chan struct{})}
	select {
	case e.requests <- d:
	case <-ctx.Done():
		return ctx.Err()
	case <-e.closing:
		return fmt.Errorf("%w: closed", ErrUnavailable)
	}
	// The writer has taken the request and ends soon. The caller has to learn its outcome.
	<-d.done
	return d.err
}

func (e *sqliteEngine) update(ctx context.Context, statement, _ query) (moved bool, err error) {
	err = e.do(ctx, func(tx *tx) error {
		moved = tx.changed(statement.text, statement.args...) == 1
		return nil
	})
	return moved && err == nil, err
}

// maxBatch bounds the requests in one commit.
const maxBatch = 512

// write is the goroutine that writes: it takes the waiting requests, runs them and commits.
func (e *sqliteEngine) write() {
	defer close(e.closed)
	var conn *batchConn
	defer func() { conn.close() }()
	batch := make([]*writeRequest, 0, maxBatch)
	for {
		select {
		case d := <-e.requests:
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
			batch, err = conn.run(batch, e.requests, e.log)
		}
		if err != nil && time.Since(began) > longFailure {
			batch = waiting(batch, e.requests)
		}
		for _, d := range batch {
			if err != nil {
				d.err = classify(err)
			}
			close(d.done)
		}
		if err != nil {
			// Use another connection for the next batch, since the fault may belong to this one.
			conn.close()
			conn = nil
		}
	}
}

// longFailure is the duration from which a failure is shared with the requests that waited meanwhile.
// Each of them would wait as long again, one after another, for the same failure.
const longFailure = time.Second

// waiting adds all waiting requests to batch.
func waiting(batch []*writeRequest, more <-chan *writeRequest) []*writeRequest {
	for {
		select {
		case d := <-more:
			batch = append(batch, d)
		default:
			return batch
		}
	}
}

// batchConn is the connection of the writer with its prepared statements.
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
	// Without this, the pool would lend the same connection again, perhaps inside a transaction.
	_ = b.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = b.conn.Close()
}

// run runs the requests of batch and those that arrive meanwhile, in one transaction, and returns them
// all. An error means that nothing was committed. The error of a single request is in its field err.
func (b *batchConn) run(batch []*writeRequest, more <-chan *writeRequest, log *slog.Logger) ([]*writeRequest, error) {
	exec := func(statement string) error {
		_, err := b.statements.ExecContext(context.Background(), statement)
		return err
	}
	if err := exec(beginBatch); err != nil {
		return batch, err
	}
	failed := func(err error) ([]*writeRequest, error) {
		// This fails if SQLite has rolled back already, as it does on a full disk. The caller closes the
		// connection in either case.
		_ = exec(rollbackBatch)
		return batch, err
	}
	one := new(tx)
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
		if err := exec(beginWrite); err != nil {
			return failed(err)
		}
		*one = tx{ctx: context.Background(), on: &b.statements}
		if d.err = classify(one.run(d.work, log)); d.err != nil {
			if err := exec(rollbackWrite); err != nil {
				return failed(err)
			}
		}
		if err := exec(commitWrite); err != nil {
			return failed(err)
		}
	}
	if err := exec(commitBatch); err != nil {
		return failed(err)
	}
	return batch, nil
}

// statements prepares each query once and executes it by its text.
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

func (e *sqliteEngine) integrity(ctx context.Context) (problems []string, err error) {
	return texts(e.reader(ctx), `SELECT integrity_check FROM pragma_integrity_check WHERE integrity_check <> 'ok'`)
}
