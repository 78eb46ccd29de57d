package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// postgresEngine is a database on a server that several nodes share. Each transaction is READ COMMITTED
// and locks the rows that its decisions depend on.
//
// Behind a pooler each transaction may run on another connection to the server, or on another server.
// So the settings and checks of a connection become those of each transaction, and nothing listens.
type postgresEngine struct {
	config  *pgx.ConnConfig
	pooled  bool
	begins  beginnings
	log     *slog.Logger
	writers *pgxpool.Pool
	readers *pgxpool.Pool
	writing *sql.DB // over writers
	reading *sql.DB // over readers
	clock   serverClock

	exclusive *pgx.Conn // holds the lock of exclusive access; nil without it

	stop       context.CancelFunc
	background sync.WaitGroup
}

// channel is the name under which nodes notify each other (LISTEN, NOTIFY).
const channel = "durward"

const (
	maxWriters = 16
	maxReaders = 8

	waitTime        = 3 * time.Second // for a connection
	transactionTime = 5 * time.Second // for all statements of a transaction
	outcomeTime     = 5 * time.Second // to determine whether a transaction was committed

	// maxTries bounds how often an interrupted transaction is repeated.
	maxTries = 5
)

// openPostgres parses the URL and checks that the server can be used.
func openPostgres(ctx context.Context, c Config) (*postgresEngine, error) {
	if c.Pooled && c.exclusive {
		return nil, &OpenError{hintDirect, errors.New(`store: this needs the database alone, and a session for that; database.pool is "transaction"`)}
	}
	config, err := parsePostgres(c.URL)
	if err != nil {
		return nil, err
	}
	e := &postgresEngine{config: config.ConnConfig, pooled: c.Pooled, begins: inSession, log: c.Log}
	if e.pooled {
		if e.begins, err = perTransaction(config.ConnConfig); err != nil {
			return nil, err
		}
	}
	e.clock.fixed, e.clock.local = c.Now, c.Local
	if e.writers, err = newPool(config, maxWriters, c.Pooled, false); err != nil {
		return nil, err
	}
	if e.readers, err = newPool(config, maxReaders, c.Pooled, true); err != nil {
		e.writers.Close()
		return nil, err
	}
	e.writing, e.reading = stdlib.OpenDBFromPool(e.writers), stdlib.OpenDBFromPool(e.readers)
	background, stop := context.WithCancel(context.Background())
	e.stop = stop
	if err := e.clock.ask(ctx, e.reading, startQueries); err != nil {
		return nil, errors.Join(e.unreachable(ctx, err), e.close())
	}
	acquire := e.checkNotExclusive
	if c.exclusive {
		acquire = e.lockExclusively
	}
	for _, check := range []func(context.Context) error{e.checkSettings, acquire} {
		if err := check(ctx); err != nil {
			return nil, errors.Join(err, e.close())
		}
	}
	e.background.Go(func() { e.clock.run(background, e.reading) })
	return e, nil
}

// parsePostgres parses a URL. Its errors quote no part of the URL, since any part may be a password.
func parsePostgres(address string) (*pgxpool.Config, error) {
	malformed := func(why string) error {
		return &OpenError{"Write postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=verify-full, with special characters as %XX.", errors.New("store: malformed URL of the database: " + why)}
	}
	u, err := url.Parse(address)
	if err != nil {
		return nil, malformed("it is not a URL")
	}
	c, err := pgxpool.ParseConfig(address)
	if err != nil {
		for name := range u.Query() {
			if strings.HasPrefix(name, "ssl") {
				return nil, malformed("a value is invalid, or a certificate cannot be read")
			}
		}
		return nil, malformed("a value is invalid")
	}
	if c.ConnConfig.Database == "" {
		return nil, malformed("it names no database")
	}
	c.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement
	// A replica lags behind: a revoked credential may still be valid there.
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

// beginnings are the statements that begin a transaction. The last one of write selects its id. Read is
// empty if reads need no transaction.
type beginnings struct{ write, read string }

const selectID = "; SELECT pg_current_xact_id()"

var inSession = beginnings{write: "BEGIN" + selectID}

// perTransaction moves the parameters that a pooler refuses at the start of a connection from c to the
// returned statements, which set them for one transaction. The second statement checks the server too:
// see begin.
func perTransaction(c *pgx.ConnConfig) (beginnings, error) {
	c.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe // a named statement stays on a connection of the server
	selected := []string{"pg_is_in_recovery()", "pg_try_advisory_xact_lock_shared(" + inUse + ")"}
	for _, name := range slices.Sorted(maps.Keys(c.RuntimeParams)) {
		value := c.RuntimeParams[name]
		switch name {
		case "application_name", "client_encoding": // poolers keep them for a connection
			continue
		case "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "synchronous_commit":
			selected = append(selected, fmt.Sprintf("set_config('%s', '%s', true)", name, strings.ReplaceAll(value, "'", "''")))
		case "default_transaction_isolation", "default_transaction_read_only":
		default:
			return beginnings{}, &OpenError{"Remove it from the URL and set it for the user: ALTER ROLE … SET " + name + " = ….",
				fmt.Errorf("store: database.url sets %s, which a transaction pooler does not keep", name)}
		}
		delete(c.RuntimeParams, name)
	}
	begin := "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT " + strings.Join(append(selected, commitDurably("true")), ", ")
	return beginnings{write: begin + selectID, read: begin + "; SET TRANSACTION READ ONLY"}, nil
}

// commitDurably returns an expression after which a commit is on the disk before the server answers, even
// if its configuration says otherwise: local limits it to a transaction.
func commitDurably(local string) string {
	return "CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', " + local + ") END"
}

// connectedAt is the key of a connection's custom data for the time when it was opened.
const connectedAt = "durward.connected_at"

func newPool(config *pgxpool.Config, most int32, pooled, readOnly bool) (*pgxpool.Pool, error) {
	c := config.Copy()
	c.MaxConns, c.MinConns, c.MinIdleConns = most, 0, 0
	c.PingTimeout = time.Second
	delete(c.ConnConfig.RuntimeParams, "default_transaction_read_only")
	if readOnly && !pooled {
		c.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	}
	if !pooled {
		c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			conn.PgConn().CustomData()[connectedAt] = time.Now()
			_, err := conn.Exec(ctx, "SELECT "+commitDurably("false"), pgx.QueryExecModeExec)
			return err
		}
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), c) // connects on first use
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
	hint := cmp.Or(Hint(err), "Check that the database server runs and that this machine can reach it; check host, port and sslmode.")
	return &OpenError{hint, fmt.Errorf("cannot use the database %s at %s:%d: %w", e.config.Database, e.config.Host, e.config.Port, classify(ownDeadline(err)))}
}

func (e *postgresEngine) close() error {
	e.stop()
	e.background.Wait()
	err := errors.Join(e.reading.Close(), e.writing.Close())
	if e.exclusive != nil {
		ending, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		// The server takes a moment to notice the end of a connection. Until then it would refuse the
		// next start.
		_, _ = e.exclusive.Exec(ending, "SELECT pg_advisory_unlock_all()")
		err = errors.Join(err, e.exclusive.Close(ending))
	}
	e.writers.Close()
	e.readers.Close()
	return err
}

// inUse is the advisory lock that each node holds shared while it runs, and that exclusive access holds
// exclusively.
const inUse = "hashtextextended('durward:in use', 0)"

// lockExclusively takes the lock exclusively until the engine is closed. Nodes behind a pooler cannot hold
// the lock while they run. It finds them by their heartbeats; their transactions fail once it has the lock.
func (e *postgresEngine) lockExclusively(ctx context.Context) error {
	if err := e.checkHeartbeats(ctx); err != nil {
		return err
	}
	conn, err := pgx.ConnectConfig(ctx, e.config.Copy())
	if err != nil {
		return e.unreachable(ctx, err)
	}
	e.exclusive = conn
	var got bool
	if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock("+inUse+")").Scan(&got); err != nil {
		return classify(err)
	}
	if !got {
		return errNodesRun
	}
	return nil
}

var (
	errNodesRun = &OpenError{"Stop all nodes that use the database.", ErrInUse}
	errReplaced = &OpenError{"Wait until the restore or the copy has ended.", fmt.Errorf("%w: it is being restored or copied", ErrInUse)}
)

// beatWait is longer than the time between two heartbeats of a node.
const beatWait = BeatEvery + 2*time.Second

// checkHeartbeats returns an error if a node behind a pooler runs. After a recent heartbeat it waits for
// another one.
func (e *postgresEngine) checkHeartbeats(ctx context.Context) error {
	last, err := e.pooledAt(ctx)
	if err != nil || e.now().Sub(last).Abs() > 2*beatWait {
		return err
	}
	for range beatWait / (100 * time.Millisecond) {
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		switch at, err := e.pooledAt(ctx); {
		case err != nil:
			return err
		case !at.Equal(last):
			return errNodesRun
		}
	}
	return nil
}

// pooledAt returns the last heartbeat of a node behind a pooler, zero if there is none.
func (e *postgresEngine) pooledAt(ctx context.Context) (time.Time, error) {
	t, at := e.reader(ctx), time.Time{}
	if t.number("SELECT count(to_regclass('meta'))") > 0 { // the database is not empty
		at = moment(t.metaNumber(metaPooledAt))
	}
	return at, classify(t.err)
}

// checkSettings returns an error if the server does not know the parameters with which the connection was
// started, because a pooler between left them out.
func (e *postgresEngine) checkSettings(ctx context.Context) error {
	if e.pooled {
		return nil
	}
	var readOnly string
	if err := e.reader(ctx).row("SELECT current_setting('default_transaction_read_only')").Scan(&readOnly); err != nil {
		return e.unreachable(ctx, err)
	}
	if readOnly != "on" {
		return &OpenError{hintPooler, errors.New("store: a pooler ignores the settings of a connection to the database")}
	}
	return nil
}

// checkNotExclusive returns ErrInUse while the database is restored or copied, since writes to it would
// be lost.
func (e *postgresEngine) checkNotExclusive(ctx context.Context) error {
	var got bool
	err := e.reader(ctx).row("SELECT pg_try_advisory_xact_lock_shared(" + inUse + ")").Scan(&got)
	switch {
	case errors.Is(err, ErrInUse), err == nil && !got:
		return errReplaced
	}
	return classify(err)
}

func (e *postgresEngine) now() time.Time { return e.clock.now() }

func (e *postgresEngine) reader(ctx context.Context) *tx {
	return &tx{ctx: ctx, on: e.reading, retry: e.read}
}

// read runs once, and again if its connection was lost. All runs together take at most transactionTime.
func (e *postgresEngine) read(ctx context.Context, once func(context.Context, connection) error) error {
	bounded, cancel := context.WithTimeout(ctx, transactionTime)
	defer cancel()
	for try := 0; ; try++ {
		err := e.readOnce(bounded, once)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded):
			return fmt.Errorf("%w: %w within %s", ErrUnavailable, errNoAnswer, transactionTime)
		case lost(err) && try < maxTries:
			e.readers.Reset()
		default:
			return err
		}
	}
}

// readOnce runs once, behind a pooler in a transaction.
func (e *postgresEngine) readOnce(ctx context.Context, once func(context.Context, connection) error) error {
	if !e.pooled {
		return once(ctx, e.reading)
	}
	conn, err := e.reading.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // the pool drops a connection that is closed or in a transaction
	if _, err := e.begin(ctx, conn, e.begins.read); err != nil {
		return err
	}
	err = once(ctx, conn)
	_, _ = raw(ctx, conn, "COMMIT") // it wrote nothing
	return err
}

// lost reports whether a connection was cut, so that a new one may work. It is false if the server could
// not be reached at all.
func lost(err error) bool {
	var connecting *pgconn.ConnectError
	_, pg := codes(err)
	switch {
	case err == nil, errors.Is(err, ErrNotFound), errors.Is(err, ErrText),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return false
	case pg != "":
		// The server is shutting down, one of its processes crashed, or the session was idle for too long.
		// A pooler that lost its connection to the server says 08P01, as it does when it cannot make one.
		return pg == "57P01" || pg == "57P02" || pg == "57P05" || strings.HasPrefix(pg, "08") && !errors.As(err, &connecting)
	case errors.As(err, &connecting):
		return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || pgconn.SafeToRetry(err)
	case pgconn.SafeToRetry(err), errors.Is(err, driver.ErrBadConn), pgconn.Timeout(err):
		return true
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// conflict reports whether the server rolled a transaction back because of another one, so that it may
// succeed when it is repeated.
func conflict(err error) bool {
	_, pg := codes(err)
	return pg == "40P01" || pg == "40001"
}

// pause waits before the next try: up to 20 ms after the first, and up to 640 ms later. The time is random,
// so that transactions that met do not meet again.
func pause(ctx context.Context, try int) {
	var random [2]byte
	_, _ = rand.Read(random[:]) // never fails
	longest := 20 * time.Millisecond << min(try, 5)
	_ = wait(ctx, longest*time.Duration(1+binary.BigEndian.Uint16(random[:]))/(1<<16))
}

// wait waits for a time, and returns an error if ctx ends before.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// do implements engine. It repeats a transaction that was not committed because its connection was lost
// or because of a conflict.
func (e *postgresEngine) do(ctx context.Context, work func(*tx) error) error {
	// A transaction in progress ends soon, and the caller has to learn its outcome.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionTime)
	defer cancel()
	for try := 0; ; try++ {
		err := e.once(ctx, bounded, work)
		switch {
		case err == nil:
			return nil
		case try < maxTries && bounded.Err() == nil && (conflict(err) || lost(err)):
			if !conflict(err) {
				e.writers.Reset()
			}
			pause(bounded, try)
		case ctx.Err() == nil && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)):
			return fmt.Errorf("%w: %w within %s", ErrUnavailable, errNoAnswer, transactionTime)
		default:
			return classify(err)
		}
	}
}

// update implements engine. The statement is its own transaction; behind a pooler it takes BEGIN and COMMIT.
// If an answer was lost it runs again, which changes nothing if the first run was committed; then the row
// is the evidence.
func (e *postgresEngine) update(caller context.Context, statement, done query) (moved bool, err error) {
	if err := checkText(statement.args...); err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(caller), transactionTime)
	defer cancel()
	for try, unknown := 0, false; ; try++ {
		moved, err = e.updateOnce(caller, ctx, statement, done, try > 0)
		unknown = unknown || lost(err)
		switch {
		case err == nil:
			return moved, nil
		case try < maxTries && ctx.Err() == nil && (conflict(err) || lost(err)):
			e.writers.Reset()
			pause(ctx, try)
		case caller.Err() == nil && ctx.Err() != nil:
			return false, fmt.Errorf("%w: %w within %s, and whether it was committed is unknown", ErrUnavailable, errNoAnswer, transactionTime)
		case unknown:
			return false, fmt.Errorf("%w, and whether it was committed is unknown", classify(ownDeadline(err)))
		default:
			return false, classify(err)
		}
	}
}

func (e *postgresEngine) updateOnce(caller, ctx context.Context, statement, done query, repeated bool) (moved bool, err error) {
	if repeated {
		caller = ctx // the first run has to learn its outcome
	} else if err := caller.Err(); err != nil {
		return false, err
	}
	conn, err := e.connection(caller)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }()
	if !e.pooled {
		return move(ctx, conn, statement, done, repeated)
	}
	if _, err := e.begin(ctx, conn, e.begins.write); err != nil {
		return false, err
	}
	if moved, err = move(ctx, conn, statement, done, repeated); err != nil {
		_, _ = raw(ctx, conn, "ROLLBACK")
		return false, err
	}
	return moved, commit(ctx, conn)
}

// move runs a statement, and the query done if it is repeated and changes nothing.
func move(ctx context.Context, conn *sql.Conn, statement, done query, repeated bool) (moved bool, err error) {
	r, err := conn.ExecContext(ctx, statement.text, statement.args...)
	if err != nil {
		return false, err
	}
	n, err := r.RowsAffected()
	if err != nil || n > 0 || !repeated {
		return n > 0, err
	}
	var found int
	if err := conn.QueryRowContext(ctx, done.text, done.args...).Scan(&found); !errors.Is(err, sql.ErrNoRows) {
		return err == nil, err
	}
	return false, nil
}

// once runs work in one transaction. An error means that nothing was written, unless it is ErrUnavailable
// with a text that says that this is unknown.
func (e *postgresEngine) once(caller, ctx context.Context, work func(*tx) error) (err error) {
	if err := caller.Err(); err != nil {
		return err
	}
	conn, err := e.connection(caller)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // the pool drops a connection that is closed or in a transaction
	t := &tx{ctx: ctx, on: conn, concurrent: true}
	xid, err := e.begin(ctx, conn, e.begins.write)
	if err != nil {
		return err
	}
	if err := t.run(work, e.log); err != nil {
		_, _ = raw(ctx, conn, "ROLLBACK") // if it fails, the pool closes the connection and the server rolls back
		return err
	}
	sent := time.Now()
	if err = commit(ctx, conn); err == nil {
		return nil
	}
	if _, pg := codes(err); pg != "" && !doubtful(pg) {
		return err // the server rolled it back
	}
	if errors.Is(err, errNotCommitted) {
		return err
	}
	// The driver does not know whether COMMIT was sent: it returns "conn closed", safe to retry, even if
	// the connection was lost while it waited for the answer.
	return e.outcome(xid, sent, t.evidence, err)
}

// connection takes a connection from the pool and waits for it up to waitTime.
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

// raw runs statements without arguments in one round trip and returns their results.
func raw(ctx context.Context, conn *sql.Conn, statements string) (results []*pgconn.Result, err error) {
	err = conn.Raw(func(c any) error {
		results, err = c.(*stdlib.Conn).Conn().PgConn().Exec(ctx, statements).ReadAll()
		return err
	})
	return results, err
}

// begin begins a transaction and returns its id, by which outcome finds out whether it was committed. The
// transaction of a read has none. Behind a pooler it fails on a standby, whose data lag behind, and while the
// database is restored or copied.
func (e *postgresEngine) begin(ctx context.Context, conn *sql.Conn, statements string) (xid string, err error) {
	results, err := raw(ctx, conn, statements)
	if e.pooled {
		switch {
		case len(results) < 2 || len(results[1].Rows) != 1:
			err = cmp.Or(err, errors.New("store: the server did not return its state"))
		case string(results[1].Rows[0][0]) == "t":
			err = fmt.Errorf("store: %w", pgconn.ErrStandbyConnection)
		case string(results[1].Rows[0][1]) != "t":
			err = errReplaced
		}
		if err != nil {
			_, _ = raw(ctx, conn, "ROLLBACK")
		}
	}
	if err != nil || statements == e.begins.read {
		return "", err
	}
	if n := len(results); n > 1 && len(results[n-1].Rows) == 1 {
		return string(results[n-1].Rows[0][0]), nil
	}
	return "", errors.New("store: the server returned no transaction id")
}

// errNotCommitted means that a statement failed and the transaction's code ignored it.
var errNotCommitted = errors.New("store: a transaction continued after one of its statements failed")

func commit(ctx context.Context, conn *sql.Conn) error {
	results, err := raw(ctx, conn, "COMMIT")
	if err == nil && (len(results) != 1 || results[0].CommandTag.String() != "COMMIT") {
		return errNotCommitted // the command tag is ROLLBACK
	}
	return err
}

// doubtful reports whether an error in answer to COMMIT leaves open whether it took place.
func doubtful(code string) bool {
	return strings.HasPrefix(code, "08") || strings.HasPrefix(code, "57") || strings.HasPrefix(code, "58") || strings.HasPrefix(code, "XX")
}

// lostCommit is the error of a COMMIT that did not take place, as the server reported after the answer
// was lost. The transaction may be repeated.
type lostCommit struct{}

func (lostCommit) Error() string     { return "store: the transaction was interrupted" }
func (lostCommit) SafeToRetry() bool { return true }

// outcome finds out whether a transaction was committed if the answer to COMMIT was lost.
//
// The server knows it by the transaction id. A server that crashes reuses ids that it had not stored, so
// after a restart "committed" may describe another transaction. Then the evidence query decides. A
// connection that was opened before the COMMIT proves that the server did not restart, unless it is one to
// a pooler.
func (e *postgresEngine) outcome(xid string, sent time.Time, evidence query, cause error) error {
	ctx, cancel := context.WithTimeout(context.Background(), outcomeTime)
	defer cancel()
	var last error
	for try := 0; ctx.Err() == nil; try++ {
		var done, known bool
		if done, known, last = e.ask(ctx, xid, sent, evidence); known {
			e.log.Info("answer to COMMIT lost, outcome determined", "committed", done, "cause", cause)
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
	e.log.Error("answer to COMMIT lost, outcome unknown", "cause", cause, "error", last)
	return fmt.Errorf("%w: the answer to COMMIT was lost, and whether it was committed is unknown: %v", ErrUnavailable, cause)
}

// ask asks the server once whether a transaction was committed; known is false if it cannot tell.
func (e *postgresEngine) ask(ctx context.Context, xid string, sent time.Time, evidence query) (done, known bool, err error) {
	bounded, cancel := context.WithTimeout(ctx, waitTime)
	defer cancel()
	conn, err := e.writers.Acquire(bounded)
	if err != nil {
		return false, false, err
	}
	defer conn.Release()
	made, _ := conn.Conn().PgConn().CustomData()[connectedAt].(time.Time)
	restarted := e.pooled || !made.Before(sent) // or may have
	if e.pooled {                               // both queries go to one server, which is no standby: that may not know the transaction yet
		if _, err := conn.Exec(bounded, "BEGIN"); err != nil {
			return false, false, err
		}
		defer func() { _, _ = conn.Exec(bounded, "ROLLBACK") }()
	}
	var status *string
	err = conn.QueryRow(bounded, "SELECT pg_xact_status(CAST(CAST($1 AS TEXT) AS xid8)) WHERE NOT pg_is_in_recovery()", xid).Scan(&status)
	_, pg := codes(err)
	switch {
	case pg == "22023":
		return false, true, nil // the id is in the future: the server lost it in a crash
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
		return false, false, errors.New("store: the server may have restarted, and the transaction has no evidence query")
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
	c, unlimited := e.config.Copy(), ""
	for _, name := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"} {
		if e.pooled {
			unlimited += "; SET LOCAL " + name + " = 0"
		} else {
			c.RuntimeParams[name] = "0"
		}
	}
	db := stdlib.OpenDB(*c)
	err := use(db, dialect{
		name:              "postgres",
		tables:            `SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() ORDER BY table_name`,
		versions:          versionsPostgres,
		lock:              lockPostgres,
		pooled:            e.pooled,
		begin:             "BEGIN" + unlimited,
		beginRead:         "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" + unlimited,
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

// integrity reports the faults that the server has noticed: damaged pages, invalid indexes, constraints
// that are not validated.
func (e *postgresEngine) integrity(ctx context.Context) (problems []string, err error) {
	for _, q := range []string{
		`SELECT 'damaged pages were read: ' || checksum_failures FROM pg_stat_database WHERE datname = current_database() AND checksum_failures > 0`,
		`SELECT 'the index ' || relname || ' is invalid' FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid JOIN pg_namespace n ON n.oid = relnamespace
			WHERE nspname = current_schema() AND NOT indisvalid`,
		`SELECT 'the constraint ' || conname || ' is not validated' FROM pg_constraint JOIN pg_namespace n ON n.oid = connamespace WHERE nspname = current_schema() AND NOT convalidated`,
	} {
		found, err := texts(e.reader(ctx), q)
		if err != nil {
			return nil, err
		}
		problems = append(problems, found...)
	}
	return problems, nil
}

// follow listens on a connection of its own, and opens another when that was lost. Behind a pooler it only
// waits: the node polls.
func (e *postgresEngine) follow(ctx context.Context, wake func()) {
	if e.pooled {
		<-ctx.Done()
		return
	}
	for try := 0; ctx.Err() == nil; try++ {
		began := time.Now()
		err := e.listen(ctx, wake)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > listenCheck {
			try = 0
		}
		e.log.Debug("listening connection lost", "error", err)
		pause(ctx, min(try+2, 6))
	}
}

// listenCheck is the time without a notification after which the connection is checked.
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
			return errReplaced
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

// serverClock estimates the time of a database server: its last answer, continued by the monotonic clock
// of this machine.
type serverClock struct {
	fixed func() time.Time // replaces the server's time if it is not nil
	local func() time.Time

	mu    sync.Mutex
	asked time.Time     // local time of the last query, with its monotonic reading
	told  time.Time     // server time at that moment
	took  time.Duration // duration of that query, which bounds the error of told
}

const (
	startQueries = 3 // at the start; the fastest answer is used
	askEvery     = 2 * time.Second
)

func (c *serverClock) now() time.Time {
	if c.fixed != nil {
		return c.fixed()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told.Add(c.local().Sub(c.asked))
}

// ask queries the server for its time.
func (c *serverClock) ask(ctx context.Context, db *sql.DB, times int) error {
	for range times {
		ctx, cancel := context.WithTimeout(ctx, waitTime)
		defer cancel()
		conn, err := db.Conn(ctx) // before the measurement begins
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

// take uses an answer if it is more precise than the last one, or differs by more than the errors of
// both allow. Otherwise it keeps the last one, so that the clock does not jitter.
func (c *serverClock) take(began time.Time, took time.Duration, server time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	server = server.Add(-took / 2) // at began
	off := server.Sub(c.told.Add(began.Sub(c.asked))).Abs()
	if c.told.IsZero() || took < c.took || off > took/2+c.took/2 {
		c.asked, c.told, c.took = began, server, took
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
			_ = c.ask(ctx, db, 1) // during an outage the last answer continues
		}
	}
}
