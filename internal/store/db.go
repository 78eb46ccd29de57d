// Package store is all SQL of the server: one concrete type whose methods are
// deeds, each one transaction. The text of a query stands in the method that
// runs it and is the same for every engine; engine.go holds what differs. Times
// are whole microseconds since 1970, 0 for none; ids are made by the caller.
//
// A deed is durable when its method returns. Deeds that wait at the same time
// are committed together, so that many cost one write to the disk.
package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
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
	ErrUnavailable = errors.New("store: the database does not answer") // try again; nothing was changed
	ErrNewer       = errors.New("store: the database was made by a newer program")
	ErrDamaged     = errors.New("store: no database, or a damaged one") // only a backup helps
	ErrText        = errors.New("store: text with NUL or invalid UTF-8")

	errPanicked = errors.New("store: a deed panicked")
)

// Config says which database.
type Config struct {
	Path string // SQLite file, made with mode 0600 if missing
	Now  func() time.Time
	Log  *slog.Logger
}

// DB is one database. It is safe for concurrent use.
type DB struct {
	now     func() time.Time
	log     *slog.Logger
	readers *sql.DB
	writer  *sql.DB
	reading statements
	epoch   string

	deeds   chan *deed
	closing chan struct{} // closed by Close
	closed  chan struct{} // closed when the writer has ended
	once    sync.Once
}

// Open opens a database, makes it where there is none, and brings its schema to
// this program's version.
func Open(ctx context.Context, c Config) (*DB, error) {
	if c.Path == "" {
		return nil, errors.New("store: no path")
	}
	db := &DB{now: c.Now, log: c.Log, deeds: make(chan *deed), closing: make(chan struct{}), closed: make(chan struct{})}
	if db.now == nil {
		db.now = time.Now
	}
	if db.log == nil {
		db.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if db.writer, db.readers, err = openEngine(ctx, c.Path); err != nil {
		return nil, err
	}
	db.reading = statements{prepare: db.readers.PrepareContext}
	if err := migrate(ctx, db.writer, db.log); err != nil {
		return nil, errors.Join(err, db.writer.Close(), db.readers.Close())
	}
	go db.write()
	if err := db.makeEpoch(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Close commits what waits and closes the database.
func (db *DB) Close() error {
	db.once.Do(func() { close(db.closing) })
	<-db.closed
	db.reading.close()
	return errors.Join(db.readers.Close(), db.writer.Close())
}

// Ping reports whether the database can be read, and whether it takes a write.
func (db *DB) Ping(ctx context.Context) error {
	return db.do(ctx, func(tx *tx) error {
		_, err := tx.exec(`UPDATE meta SET value = value WHERE name = $1`, "epoch")
		return err
	})
}

// deed is one piece of writing and where its answer goes.
type deed struct {
	ctx  context.Context
	work func(*tx) error
	err  error
	done chan struct{}
}

// do runs work in the next batch and returns when it is durable. An error means
// that nothing of it was.
func (db *DB) do(ctx context.Context, work func(*tx) error) error {
	d := &deed{ctx: ctx, work: work, done: make(chan struct{})}
	select {
	case db.deeds <- d:
	case <-ctx.Done():
		return ctx.Err()
	case <-db.closing:
		return fmt.Errorf("%w: closed", ErrUnavailable)
	}
	// Once taken, a deed ends soon, and whether it was done must be known.
	<-d.done
	return d.err
}

// orNothing keeps what a deed made before it failed from its caller.
func orNothing[T any](made T, err error) (T, error) {
	if err != nil {
		var nothing T
		return nothing, err
	}
	return made, nil
}

// maxBatch bounds the deeds of one commit.
const maxBatch = 512

// write is the one writer: it takes what waits, does it, commits, and answers.
func (db *DB) write() {
	defer close(db.closed)
	var conn *batchConn
	defer func() { conn.close() }()
	batch := make([]*deed, 0, maxBatch)
	for {
		select {
		case d := <-db.deeds:
			batch = append(batch[:0], d)
		case <-db.closing:
			return
		}
		var err error
		if conn == nil {
			conn, err = newBatchConn(db.writer)
		}
		if err == nil {
			batch, err = conn.run(batch, db.deeds, db.log)
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
	tx := &tx{ctx: context.Background(), statements: &b.statements}
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

// tx is what a deed works with.
type tx struct {
	ctx        context.Context
	statements *statements
}

// prepared returns the statement of a query whose arguments are fit for every
// engine.
func (t *tx) prepared(query string, args []any) (*sql.Stmt, error) {
	for _, a := range args {
		if s, ok := a.(string); ok {
			if err := text(s); err != nil {
				return nil, err
			}
		}
	}
	return t.statements.get(t.ctx, query)
}

func (t *tx) exec(query string, args ...any) (sql.Result, error) {
	s, err := t.prepared(query, args)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(t.ctx, args...)
}

// changed runs a statement and returns how many rows it changed.
func (t *tx) changed(query string, args ...any) (int64, error) {
	r, err := t.exec(query, args...)
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (t *tx) row(query string, args ...any) scanner {
	s, err := t.prepared(query, args)
	if err != nil {
		return failedRow{err}
	}
	return s.QueryRowContext(t.ctx, args...)
}

func (t *tx) rows(query string, args ...any) (*sql.Rows, error) {
	s, err := t.prepared(query, args)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(t.ctx, args...)
}

// reader returns a tx for reading outside a deed.
func (db *DB) reader(ctx context.Context) *tx { return &tx{ctx: ctx, statements: &db.reading} }

type scanner interface{ Scan(...any) error }

type failedRow struct{ err error }

func (f failedRow) Scan(...any) error { return f.err }

// collect reads all rows of a query.
func collect[T any](rows *sql.Rows, err error, scan func(scanner) (T, error)) ([]T, error) {
	if err != nil {
		return nil, classify(err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, classify(err)
		}
		all = append(all, one)
	}
	if err := rows.Err(); err != nil {
		return nil, classify(err)
	}
	return all, nil
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

func (s *statements) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, stmt := range s.byText {
		_ = stmt.Close()
	}
	s.byText = nil
}

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
