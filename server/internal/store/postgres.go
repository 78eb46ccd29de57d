package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// postgresEngine is one database of a server that other nodes share. Each deed is a
// transaction of its own, READ COMMITTED, which locks the rows that it reads to act
// upon.
type postgresEngine struct {
	config  *pgx.ConnConfig
	log     *slog.Logger
	writers *pgxpool.Pool
	readers *pgxpool.Pool
	writing *sql.DB // over writers
	reading *sql.DB // over readers
	clock   serverClock

	alone *pgx.Conn // holds the lock that keeps others out; nil where that was not asked for

	stop       context.CancelFunc
	background sync.WaitGroup
}

// channel is where nodes tell each other that there is something new.
const channel = "durward"

const (
	maxWriters = 16
	maxReaders = 8

	// How long a caller waits for a connection, a deed for its statements, and the
	// answer to the question what became of one.
	waitTime    = 3 * time.Second
	deedTime    = 5 * time.Second
	outcomeTime = 5 * time.Second

	// maxTries bounds how often a deed is begun again that was broken off before it
	// could be done.
	maxTries = 5
)

// openPostgres parses the address and opens the connections that are needed to
// say whether the server can be used.
func openPostgres(ctx context.Context, c Config) (*postgresEngine, error) {
	config, err := parsePostgres(c.URL)
	if err != nil {
		return nil, err
	}
	e := &postgresEngine{config: config.ConnConfig, log: c.Log}
	e.clock.fixed, e.clock.local = c.Now, c.Local
	if e.writers, err = newPool(config, maxWriters, false); err != nil {
		return nil, err
	}
	if e.readers, err = newPool(config, maxReaders, true); err != nil {
		e.writers.Close()
		return nil, err
	}
	e.writing, e.reading = stdlib.OpenDBFromPool(e.writers), stdlib.OpenDBFromPool(e.readers)
	background, stop := context.WithCancel(context.Background())
	e.stop = stop
	if err := e.clock.ask(ctx, e.reading, askedAtOnce); err != nil {
		return nil, errors.Join(e.unreachable(ctx, err), e.close())
	}
	keep := e.seeNobodyAlone
	if c.exclusive {
		keep = e.keepOthersOut
	}
	if err := keep(ctx); err != nil {
		return nil, errors.Join(err, e.close())
	}
	e.background.Go(func() { e.clock.run(background, e.reading) })
	return e, nil
}

// parsePostgres reads an address. What it says is wrong with one names no part of
// it: any may be a password.
func parsePostgres(address string) (*pgxpool.Config, error) {
	wrong := func(why string) error {
		return &OpenError{"Write postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full; what has a special meaning in an address is written as %XX.", errors.New("store: the address of the database cannot be read: " + why)}
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, wrong("it is no URL")
	}
	c, err := pgxpool.ParseConfig(address)
	if err != nil {
		for name := range u.Query() {
			if strings.HasPrefix(name, "ssl") {
				return nil, wrong("a value is wrong, or a certificate that it names")
			}
		}
		return nil, wrong("a value is wrong")
	}
	if c.ConnConfig.Database == "" {
		return nil, wrong("it names no database")
	}
	c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	// Nothing that is read or written may come from a replica, which is behind.
	c.ConnConfig.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	if c.ConnConfig.ConnectTimeout == 0 || c.ConnConfig.ConnectTimeout > waitTime {
		c.ConnConfig.ConnectTimeout = waitTime
	}
	for name, value := range map[string]string{
		"application_name": "durward", "statement_timeout": "4s", "lock_timeout": "3s", "idle_in_transaction_session_timeout": "10s",
	} {
		if _, set := c.ConnConfig.RuntimeParams[name]; !set {
			c.ConnConfig.RuntimeParams[name] = value
		}
	}
	c.ConnConfig.RuntimeParams["client_encoding"] = "UTF8"
	c.ConnConfig.RuntimeParams["default_transaction_isolation"] = "read committed"
	return c, nil
}

// since is where a connection keeps when it was made.
const since = "durward.since"

func newPool(config *pgxpool.Config, most int32, readOnly bool) (*pgxpool.Pool, error) {
	c := config.Copy()
	c.MaxConns, c.MinConns, c.MinIdleConns = most, 0, 0
	c.PingTimeout = time.Second
	if readOnly {
		c.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	} else {
		delete(c.ConnConfig.RuntimeParams, "default_transaction_read_only")
	}
	c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		conn.PgConn().CustomData()[since] = time.Now()
		// A commit is on the disk before its answer leaves, whatever else the server was
		// set to.
		_, err := conn.Exec(ctx, "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'", pgx.QueryExecModeExec)
		return err
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), c) // connects when it is asked
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return pool, nil
}

// unreachable wraps an error in connecting to the server with advice for the operator.
func (e *postgresEngine) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	hint := Hint(err)
	if hint == "" {
		hint = "Check that the database server runs and that this machine can reach it; check host, port and sslmode."
	}
	return &OpenError{hint, fmt.Errorf("cannot use the database %s at %s:%d: %w", e.config.Database, e.config.Host, e.config.Port, classify(ownDeadline(err)))}
}

func (e *postgresEngine) close() error {
	e.stop()
	e.background.Wait()
	err := errors.Join(e.reading.Close(), e.writing.Close())
	if e.alone != nil {
		ending, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		// The server takes a moment to notice that a connection has ended, and whoever
		// starts next is refused until then.
		_, _ = e.alone.Exec(ending, "SELECT pg_advisory_unlock_all()")
		err = errors.Join(err, e.alone.Close(ending))
	}
	e.writers.Close()
	e.readers.Close()
	return err
}

// inUse is the lock that each node holds shared for as long as it runs, and whoever
// wants the database for itself alone.
const inUse = "hashtextextended('durward:in use', 0)"

// keepOthersOut takes the lock for this engine alone, until it is closed.
func (e *postgresEngine) keepOthersOut(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, e.config.Copy())
	if err != nil {
		return e.unreachable(ctx, err)
	}
	e.alone = conn
	var got bool
	if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock("+inUse+")").Scan(&got); err != nil {
		return classify(err)
	}
	if !got {
		return &OpenError{"Stop all nodes that work with it.", ErrInUse}
	}
	return nil
}

// seeNobodyAlone refuses a database that somebody has for themselves: it is restored or
// copied, and what was written to it now would be lost.
func (e *postgresEngine) seeNobodyAlone(ctx context.Context) error {
	var got bool
	err := e.reader(ctx).row("SELECT pg_try_advisory_xact_lock_shared(" + inUse + ")").Scan(&got)
	if err != nil {
		return classify(err)
	}
	if !got {
		return &OpenError{"Wait until that has ended.", fmt.Errorf("%w: it is restored or copied", ErrInUse)}
	}
	return nil
}

func (e *postgresEngine) now() time.Time { return e.clock.now() }

func (e *postgresEngine) reader(ctx context.Context) *tx {
	return &tx{ctx: ctx, on: e.reading, try: e.read}
}

// read runs a piece of reading, and again where the connection was lost under it.
// It ends in bounded time, however often it is begun.
func (e *postgresEngine) read(ctx context.Context, once func(context.Context) error) error {
	bounded, cancel := context.WithTimeout(ctx, deedTime)
	defer cancel()
	for try := 0; ; try++ {
		err := once(bounded)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("%w: %w within %s", ErrUnavailable, errNoAnswer, deedTime) // not the caller's deadline
		case lost(err) && try < maxTries:
			e.readers.Reset()
		default:
			return err
		}
	}
}

// lost reports that a connection was cut, so that another may do. A server that
// cannot be reached is not asked again at once.
func lost(err error) bool {
	var refused *pgconn.ConnectError
	var said *pgconn.PgError
	switch {
	case err == nil, errors.Is(err, sql.ErrNoRows), errors.Is(err, ErrText),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	case errors.As(err, &said):
		return ending(said.Code)
	case errors.As(err, &refused):
		return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || pgconn.SafeToRetry(err)
	case pgconn.SafeToRetry(err), errors.Is(err, driver.ErrBadConn), pgconn.Timeout(err):
		return true
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// ending reports that the server ends the connection by its own will: it was told
// to stop, or another of its processes crashed.
func ending(code string) bool { return code == "57P01" || code == "57P02" || code == "57P05" }

// again reports that a transaction was broken off for another's sake: it may do
// better if it is begun anew.
func again(err error) bool {
	var said *pgconn.PgError
	return errors.As(err, &said) && (said.Code == "40P01" || said.Code == "40001")
}

// pause waits a moment before try is followed by another, at random so that those who
// met do not meet again.
func pause(ctx context.Context, try int) {
	var random [2]byte
	_, _ = rand.Read(random[:]) // never fails
	longest := 20 * time.Millisecond << min(try, 5)
	t := time.NewTimer(longest * time.Duration(1+binary.BigEndian.Uint16(random[:])) / (1 << 16))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// do implements engine. A deed that failed before it can have been committed is
// begun again on another connection if its own was lost, or if it stood in another
// deed's way.
func (e *postgresEngine) do(ctx context.Context, work func(*tx) error) error {
	// Once begun, a deed ends soon, and whether it was done must be known.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), deedTime)
	defer cancel()
	for try := 0; ; try++ {
		err := e.once(ctx, bounded, work)
		switch {
		case err == nil:
			return nil
		case try < maxTries && bounded.Err() == nil && (again(err) || lost(err)):
			if !again(err) {
				e.writers.Reset()
			}
			pause(bounded, try)
		case ctx.Err() == nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)):
			return fmt.Errorf("%w: %w within %s", ErrUnavailable, errNoAnswer, deedTime) // not the caller's deadline
		default:
			return classify(err)
		}
	}
}

// move implements engine: the statement commits by itself. Where its answer was lost
// it is run again, which changes nothing if it was done, and the row is the evidence.
func (e *postgresEngine) move(caller context.Context, statement, done query) (moved bool, err error) {
	if err := fit(statement.args); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(caller), deedTime)
	defer cancel()
	for try := 0; ; try++ {
		moved, err = e.moveOnce(caller, ctx, statement, done, try > 0)
		switch {
		case err == nil:
			return moved, nil
		case try < maxTries && ctx.Err() == nil && (again(err) || lost(err)):
			e.writers.Reset()
			pause(ctx, try)
		case caller.Err() == nil && ctx.Err() != nil:
			return false, fmt.Errorf("%w: %w within %s, and whether it was done cannot be told", ErrUnavailable, errNoAnswer, deedTime)
		default:
			return false, classify(err)
		}
	}
}

func (e *postgresEngine) moveOnce(caller, ctx context.Context, statement, done query, doubt bool) (moved bool, err error) {
	if doubt {
		caller = ctx // what was begun is seen to its end
	} else if err := caller.Err(); err != nil {
		return false, err
	}
	conn, err := e.connection(caller)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }()
	r, err := conn.ExecContext(ctx, statement.text, statement.args...)
	if err != nil {
		return false, err
	}
	n, err := r.RowsAffected()
	if err != nil || n > 0 || !doubt {
		return n > 0, err
	}
	var found int
	if err := conn.QueryRowContext(ctx, done.text, done.args...).Scan(&found); !errors.Is(err, sql.ErrNoRows) {
		return err == nil, err
	}
	return false, nil
}

// once runs work in one transaction. Where it returns an error, nothing was done; or
// the error is ErrUnavailable and says that this cannot be told.
func (e *postgresEngine) once(caller, ctx context.Context, work func(*tx) error) (err error) {
	if err := caller.Err(); err != nil {
		return err
	}
	conn, err := e.connection(caller)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // to the pool, which keeps none that is closed or in a transaction
	t := &tx{ctx: ctx, on: conn, others: true}
	xid, err := begin(ctx, conn)
	if err != nil {
		return err
	}
	if err := safely(work, t, e.log); err != nil {
		rollback(ctx, conn)
		return err
	}
	sent := time.Now()
	if err = commit(ctx, conn); err == nil {
		return nil
	}
	var said *pgconn.PgError
	if errors.As(err, &said) && !doubtful(said.Code) {
		return err // the server says that it did not
	}
	if errors.Is(err, errNotCommitted) {
		return err
	}
	// Whether it was sent is not asked of the driver: it says "conn closed", safe to
	// begin again, also where the connection was lost while the answer was awaited.
	return e.outcome(xid, sent, t.evidence, err)
}

// connection takes one of the pool, waiting for it no longer than a caller may be
// kept.
func (e *postgresEngine) connection(caller context.Context) (*sql.Conn, error) {
	ctx, cancel := context.WithTimeout(caller, waitTime)
	defer cancel()
	conn, err := e.writing.Conn(ctx)
	switch {
	case err == nil:
		return conn, nil
	case caller.Err() != nil:
		return nil, caller.Err()
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%w: no connection was free or could be made within %s", ErrUnavailable, waitTime)
	}
	return nil, ownDeadline(err)
}

// errNoAnswer means that a deadline passed that this package set.
var errNoAnswer = errors.New("no answer")

// ownDeadline marks a deadline that this package set, so that it is not taken for the caller's.
func ownDeadline(err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return fmt.Errorf("%w: %w: %v", ErrUnavailable, errNoAnswer, err)
	}
	return err
}

// raw runs statements of fixed text in one round trip and returns their results.
func raw(ctx context.Context, conn *sql.Conn, statements string) (results []*pgconn.Result, err error) {
	err = conn.Raw(func(c any) error {
		results, err = c.(*stdlib.Conn).Conn().PgConn().Exec(ctx, statements).ReadAll()
		return err
	})
	return results, err
}

// begin begins a transaction and returns its number, by which its outcome can be
// asked for.
func begin(ctx context.Context, conn *sql.Conn) (xid string, err error) {
	results, err := raw(ctx, conn, "BEGIN; SELECT pg_current_xact_id()")
	if err != nil {
		return "", err
	}
	if len(results) != 2 || len(results[1].Rows) != 1 {
		return "", errors.New("store: no number of a transaction")
	}
	return string(results[1].Rows[0][0]), nil
}

// errNotCommitted: a statement of the deed failed, and the deed said nothing of it.
var errNotCommitted = errors.New("store: a deed went on after a statement of it had failed")

func commit(ctx context.Context, conn *sql.Conn) error {
	results, err := raw(ctx, conn, "COMMIT")
	if err == nil && (len(results) != 1 || results[0].CommandTag.String() != "COMMIT") {
		return errNotCommitted // the tag is ROLLBACK
	}
	return err
}

// rollback ends a transaction. Where it cannot, the pool closes the connection, and
// the server undoes the rest.
func rollback(ctx context.Context, conn *sql.Conn) { _, _ = raw(ctx, conn, "ROLLBACK") }

// doubtful reports that an error in answer to COMMIT does not say whether it was
// done.
func doubtful(code string) bool {
	return strings.HasPrefix(code, "08") || strings.HasPrefix(code, "57") || strings.HasPrefix(code, "58") || strings.HasPrefix(code, "XX")
}

// lostCommit is that a COMMIT did not take place, as was found out after its
// answer was lost: the deed may be begun again.
type lostCommit struct{}

func (lostCommit) Error() string     { return "store: a transaction was broken off" }
func (lostCommit) SafeToRetry() bool { return true }

// outcome finds out whether a transaction was committed whose answer was lost.
//
// The server knows by the number. But a server that crashed forgets the numbers of
// what it had not written down and gives them anew, so after a restart "committed"
// may speak of another transaction: then the rows themselves are the evidence. A
// connection that is older than the COMMIT proves that there was no restart.
func (e *postgresEngine) outcome(xid string, sent time.Time, evidence query, cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), outcomeTime)
	defer cancel()
	var last error
	for try := 0; ctx.Err() == nil; try++ {
		var done, known bool
		if done, known, last = e.ask(ctx, xid, sent, evidence); known {
			e.log.Info("the answer to a COMMIT was lost; its outcome was found out", "committed", done, "cause", cause)
			if done {
				return nil
			}
			return lostCommit{}
		}
		if last != nil {
			e.writers.Reset()
		}
		pause(ctx, try+2)
	}
	e.log.Error("the answer to a COMMIT was lost, and its outcome cannot be told", "cause", cause, "error", last)
	return fmt.Errorf("%w: the answer to a COMMIT was lost, and whether it was done cannot be told: %v", ErrUnavailable, cause)
}

// ask asks once what became of a transaction.
func (e *postgresEngine) ask(ctx context.Context, xid string, sent time.Time, evidence query) (done, known bool, err error) {
	bounded, cancel := context.WithTimeout(ctx, waitTime)
	defer cancel()
	conn, err := e.writers.Acquire(bounded)
	if err != nil {
		return false, false, err
	}
	defer conn.Release()
	made, _ := conn.Conn().PgConn().CustomData()[since].(time.Time)
	restarted := !made.Before(sent) // for all that this connection knows
	var status *string
	err = conn.QueryRow(bounded, "SELECT pg_xact_status(CAST(CAST($1 AS TEXT) AS xid8))", xid).Scan(&status)
	var said *pgconn.PgError
	switch {
	case errors.As(err, &said) && said.Code == "22023":
		return false, true, nil // a number that was not given yet: it was forgotten
	case err != nil:
		return false, false, err
	case status == nil:
		return false, false, errors.New("store: the transaction is too old")
	case *status == "aborted":
		return false, true, nil
	case *status == "in progress":
		return false, false, nil
	case !restarted:
		return true, true, nil
	case evidence.text == "":
		return false, false, errors.New("store: the server may have been restarted, and the deed leaves no evidence")
	}
	rows, err := conn.Query(bounded, evidence.text, evidence.args...)
	if err != nil {
		return false, false, err
	}
	defer rows.Close()
	done = rows.Next()
	rows.Close()
	return done, rows.Err() == nil, rows.Err()
}

func (e *postgresEngine) maintain(use func(*sql.DB, dialect) error) error {
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 300))
	if err != nil {
		return err
	}
	c := e.config.Copy()
	c.RuntimeParams["statement_timeout"], c.RuntimeParams["lock_timeout"], c.RuntimeParams["idle_in_transaction_session_timeout"] = "0", "0", "0"
	db := stdlib.OpenDB(*c)
	err = use(db, dialect{
		name:              "postgres",
		goose:             goose.DialectPostgres,
		migrations:        "migrations/postgres",
		tables:            `SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() ORDER BY table_name`,
		locker:            locker,
		begin:             "BEGIN",
		beginRead:         "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
		insert:            insertPostgres,
		clear:             clearPostgres,
		setLastRevocation: setLastRevocationPostgres,
	})
	return errors.Join(err, db.Close())
}

// insertPostgres adds rows by COPY.
func insertPostgres(ctx context.Context, conn *sql.Conn, into Table, rows *Rows) error {
	return conn.Raw(func(c any) error {
		_, err := c.(*stdlib.Conn).Conn().CopyFrom(ctx, pgx.Identifier{into.Name}, strings.Fields(into.Columns), rows)
		return errors.Join(err, rows.Err())
	})
}

func clearPostgres(ctx context.Context, conn *sql.Conn) error {
	var names []string
	for _, t := range Tables {
		names = append(names, t.Name)
	}
	_, err := conn.ExecContext(ctx, "TRUNCATE "+strings.Join(names, ", "))
	return err
}

func setLastRevocationPostgres(ctx context.Context, conn *sql.Conn, last int64) (err error) {
	if last == 0 {
		_, err = conn.ExecContext(ctx, "ALTER TABLE revocations ALTER COLUMN seq RESTART")
	} else {
		_, err = conn.ExecContext(ctx, "SELECT setval(pg_get_serial_sequence('revocations', 'seq'), $1)", last)
	}
	return err
}

// integrity asks for what the server itself has noticed: damaged pages, indexes that
// are of no use, rules that are not held.
func (e *postgresEngine) integrity(ctx context.Context) (problems []string, err error) {
	for _, q := range []string{
		`SELECT 'damaged pages were read: ' || checksum_failures FROM pg_stat_database WHERE datname = current_database() AND checksum_failures > 0`,
		`SELECT 'the index ' || relname || ' is of no use' FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_namespace n ON n.oid = relnamespace
			WHERE nspname = current_schema() AND NOT indisvalid`,
		`SELECT 'the rule ' || conname || ' is not held' FROM pg_constraint JOIN pg_namespace n ON n.oid = connamespace WHERE nspname = current_schema() AND NOT convalidated`,
	} {
		found, err := collect(e.reader(ctx), func(row scanner) (problem string, err error) {
			err = row.Scan(&problem)
			return problem, err
		}, q)
		if err != nil {
			return nil, err
		}
		problems = append(problems, found...)
	}
	return problems, nil
}

// follow listens on a connection of its own. Whenever that was lost something may
// have been missed.
func (e *postgresEngine) follow(ctx context.Context, wake func()) {
	for try := 0; ctx.Err() == nil; try++ {
		began := time.Now()
		err := e.listen(ctx, wake)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > listenCheck {
			try = 0
		}
		e.log.Debug("the connection that listens was lost", "error", err)
		pause(ctx, min(try+2, 6))
	}
}

// listenCheck is how long nothing is heard before it is asked whether the
// connection still stands.
const listenCheck = 5 * time.Second

func (e *postgresEngine) listen(ctx context.Context, wake func()) error {
	conn, err := pgx.ConnectConfig(ctx, e.config.Copy())
	if err != nil {
		return err
	}
	defer func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ending)
	}()
	bounded := func(do func(context.Context) error) error {
		ctx, cancel := context.WithTimeout(ctx, waitTime)
		defer cancel()
		return do(ctx)
	}
	if err := bounded(func(ctx context.Context) error {
		var got bool
		if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock_shared("+inUse+")").Scan(&got); err != nil {
			return err
		}
		if !got {
			return fmt.Errorf("%w: it is restored or copied", ErrInUse)
		}
		_, err := conn.Exec(ctx, "LISTEN "+channel)
		return err
	}); err != nil {
		return err
	}
	wake()
	for {
		waiting, cancel := context.WithTimeout(ctx, listenCheck)
		_, err := conn.WaitForNotification(waiting)
		quiet := waiting.Err() != nil
		cancel()
		switch {
		case err == nil:
			wake()
		case ctx.Err() != nil || !quiet || conn.IsClosed():
			return err
		default:
			if err := bounded(conn.Ping); err != nil {
				return err
			}
		}
	}
}

// serverClock is the time of a database server, reckoned by this machine's
// monotonic clock from when it was last asked for.
type serverClock struct {
	fixed func() time.Time // overrules all else; nil does not
	local func() time.Time

	mu     sync.Mutex
	asked  time.Time // by local, with its monotonic reading
	told   time.Time // what the server said then
	within time.Duration
}

const (
	// askedAtOnce is how many questions a start puts; the quickest answer is taken.
	askedAtOnce = 3
	askEvery    = 2 * time.Second
)

func (c *serverClock) now() time.Time {
	if c.fixed != nil {
		return c.fixed()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told.Add(c.local().Sub(c.asked))
}

// ask asks for the time and takes it over where it is news: what is known already
// within the time that the answer took is left, so that the clock does not tremble.
func (c *serverClock) ask(ctx context.Context, db *sql.DB, times int) error {
	for range times {
		ctx, cancel := context.WithTimeout(ctx, waitTime)
		defer cancel()
		conn, err := db.Conn(ctx) // not to be counted
		if err != nil {
			return err
		}
		began := c.local()
		results, err := raw(ctx, conn, "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)")
		took := c.local().Sub(began)
		if err := errors.Join(err, conn.Close()); err != nil {
			return err
		}
		us, err := strconv.ParseInt(string(results[0].Rows[0][0]), 10, 64)
		if err != nil {
			return err
		}
		c.take(began, took, time.UnixMicro(us).UTC())
	}
	return nil
}

// take weighs an answer. One that took long says little.
func (c *serverClock) take(began time.Time, took time.Duration, said time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	said = said.Add(-took / 2) // when it was asked
	off := said.Sub(c.told.Add(began.Sub(c.asked))).Abs()
	if c.told.IsZero() || took < c.within || off > took/2+c.within/2 {
		c.asked, c.told, c.within = began, said, took
	}
}

func (c *serverClock) run(ctx context.Context, db *sql.DB) {
	if c.fixed != nil {
		return
	}
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = c.ask(ctx, db, 1) // the server is away: the last answer stands
		}
	}
}
