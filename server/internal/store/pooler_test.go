package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// pooledName marks the URL of a pooler.
const pooledName = "application_name=pooled"

// pooled returns the URL of a Postgres database without rows behind a transaction pooler. It has the
// schema, which cannot be made through the pooler.
func pooled(t testing.TB) string {
	t.Helper()
	address := testkit.Postgres(t)
	_, _, err := Migrate(t.Context(), Config{URL: address})
	must(t, err)
	return services.Bounced(t, address) + "&" + pooledName
}

// configOf returns the configuration for a URL, as the engines of eachEngine return it.
func configOf(address string) Config {
	return Config{URL: address, Pooled: strings.Contains(address, pooledName)}
}

// eachEngine is testkit.EachEngine with a third engine, Postgres behind a transaction pooler.
func eachEngine(t *testing.T, test func(t *testing.T, engine testkit.Engine)) {
	t.Helper()
	testkit.EachEngine(t, test)
	t.Run("pooler", func(t *testing.T) {
		t.Parallel()
		test(t, pooled)
	})
}

// eachPostgres runs a test with a database of Postgres, and with one behind a transaction pooler.
func eachPostgres(t *testing.T, test func(t *testing.T, address string)) {
	t.Helper()
	for name, engine := range map[string]testkit.Engine{"server": services.Database, "pooler": pooled} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, engine(t))
		})
	}
}

// bounced is a database behind a pooler of its own.
type bounced struct {
	server  *services.Postgres // nil for the cluster that the tests share
	pooler  *services.PgBouncer
	address string // without the pooler
}

// newBounced starts a pooler, and a server with settings if there are any, and creates a database with the
// schema.
func newBounced(t *testing.T, settings ...string) (b bounced) {
	t.Helper()
	if settings == nil {
		b.address = services.Database(t)
	} else {
		b.server = services.NewPostgres(t, settings...)
		b.address = b.server.Database(t)
	}
	b.pooler = services.NewPgBouncer(t, direct(b.address))
	_, _, err := Migrate(t.Context(), Config{URL: b.address})
	must(t, err)
	return b
}

// url returns the URL of the database through the pooler.
func (b bounced) url() string { return b.pooler.Through(b.address) + "&" + pooledName }

// behind is the server behind a pooler.
type behind struct{ bounced }

func (b behind) Kill(t testing.TB) { b.server.Kill(t) }

// Start starts the server and waits until the pooler uses it again: it pauses after a failed connection.
func (b behind) Start(t testing.TB) {
	b.server.Start(t)
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		db, err := sql.Open("pgx", b.pooler.Through(b.address))
		must(t, err)
		if err = errors.Join(db.PingContext(t.Context()), db.Close()); err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// hintOf returns the hint of an error in opening a database.
func hintOf(err error) string {
	var open *OpenError
	if errors.As(err, &open) {
		return open.Hint
	}
	return ""
}

// Behind a pooler each transaction has the settings that a connection has without one, and leaves none.
func TestSettingsBehindAPooler(t *testing.T) {
	t.Parallel()
	b := newBounced(t, "fsync=off", "synchronous_commit=off", "default_transaction_isolation=serializable")
	if _, err := Open(t.Context(), configOf(b.url()+"&lock_timeout=it%27s")); err == nil || !strings.Contains(err.Error(), `"lock_timeout": "it's"`) {
		t.Errorf("an invalid lock_timeout: %v, want an error that names it", err)
	}
	db, _ := openLogged(t, b.url()+"&statement_timeout=1234ms&synchronous_commit=off")
	e := db.engine.(*postgresEngine)
	is := func(tx *tx, name string) (got string) {
		must(t, tx.row(`SELECT current_setting($1)`, name).Scan(&got))
		return got
	}
	check := func(what string, tx *tx, want map[string]string) {
		t.Helper()
		for name, want := range want {
			if got := is(tx, name); got != want {
				t.Errorf("%s: %s is %q, want %q", what, name, got, want)
			}
		}
	}
	must(t, db.do(t.Context(), func(tx *tx) error {
		check("a transaction", tx, map[string]string{
			"synchronous_commit": "on", "statement_timeout": "1234ms", "lock_timeout": "3s", "idle_in_transaction_session_timeout": "10s",
			"transaction_isolation": "read committed", "transaction_read_only": "off", "client_encoding": "UTF8",
		})
		return nil
	}))
	moved, err := e.update(t.Context(), query{`INSERT INTO meta (name, value) SELECT 'settings', current_setting('synchronous_commit') || ' ' || current_setting('lock_timeout')`, nil}, query{})
	if got := db.reader(t.Context()).meta("settings"); err != nil || !moved || got != "on 3s" {
		t.Errorf("a statement by itself: %v, %v, settings %q, want \"on 3s\"", moved, err, got)
	}
	check("a read", db.reader(t.Context()), map[string]string{"transaction_read_only": "on", "statement_timeout": "1234ms", "transaction_isolation": "read committed"})
	if n := db.reader(t.Context()).number(`UPDATE meta SET value = '' RETURNING 1`); n != 0 {
		t.Error("a read takes a write")
	}
	must(t, (&Raw{engine: e}).Read(t.Context(), func(tx *RawTx) error {
		check("work on whole tables", &tx.tx, map[string]string{"statement_timeout": "0", "lock_timeout": "0", "transaction_isolation": "repeatable read"})
		return nil
	}))
	check("the next client of the connection", &tx{ctx: t.Context(), on: e.writing}, map[string]string{
		"synchronous_commit": "off", "statement_timeout": "0", "lock_timeout": "0", "transaction_isolation": "serializable", "transaction_read_only": "off",
	})
}

// Without the setting, the start at a pooler fails with a hint that names it.
func TestStartAtAPooler(t *testing.T) {
	t.Parallel()
	address := newBounced(t).address
	const ignored = "ignore_startup_parameters=statement_timeout,lock_timeout,idle_in_transaction_session_timeout,default_transaction_isolation,default_transaction_read_only"
	for name, c := range map[string]struct {
		settings  []string
		parameter string
		pooled    bool
		says      string
		hint      string
	}{
		"pooler that refuses parameters: hint":           {nil, "", false, "unsupported startup parameter", `database.pool = "transaction"`},
		"pooler that ignores parameters: hint":           {[]string{ignored}, "", false, "ignores the settings", `database.pool = "transaction"`},
		"pooler of sessions, which ignores them: hint":   {[]string{ignored, "pool_mode=session"}, "", false, "ignores the settings", `database.pool = "transaction"`},
		"pooler with the setting: opened":                {nil, "", true, "", ""},
		"pooler of sessions with the setting: opened":    {[]string{"pool_mode=session"}, "", true, "", ""},
		"parameter that the pooler does not keep: named": {nil, "&search_path=auth", true, "search_path", "ALTER ROLE"},
		"pooler that cannot reach the server: hint":      {[]string{"[databases]", "* = host=" + services.Host()}, "", true, "", "read its log"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := services.NewPgBouncer(t, direct(address), c.settings...)
			db, err := Open(t.Context(), Config{URL: p.Through(address) + c.parameter, Pooled: c.pooled})
			if c.says == "" && c.hint == "" {
				must(t, err)
				must(t, errors.Join(db.Beat(t.Context(), noon), db.Close()))
				return
			}
			if err == nil {
				must(t, db.Close())
				t.Fatal("it was opened")
			}
			if got := hintOf(err); !strings.Contains(err.Error(), c.says) || !strings.Contains(got, c.hint) {
				t.Errorf("%v (%s), want %q and the hint %q", err, got, c.says, c.hint)
			}
		})
	}
}

// Migrations and exclusive access are refused behind a pooler, with a hint that names the settings.
func TestPoolerNeedsTheServer(t *testing.T) {
	t.Parallel()
	empty := services.Bounced(t, services.Database(t))
	old := services.Database(t)
	e, err := openEngine(t.Context(), Config{URL: old}.withDefaults())
	must(t, err)
	must(t, e.maintain(func(db *sql.DB, d dialect) error {
		return up(t.Context(), db, d, SchemaVersion, slog.New(slog.DiscardHandler))
	}))
	_, err = e.(*postgresEngine).writing.ExecContext(t.Context(), `DELETE FROM goose_db_version WHERE version_id = $1`, SchemaVersion)
	must(t, errors.Join(err, e.close()))
	old = services.Bounced(t, old)
	open := func(address string) error {
		db, err := Open(t.Context(), Config{URL: address, Pooled: true})
		if err == nil {
			err = errors.Join(errors.New("it was opened"), db.Close())
		}
		return err
	}
	for name, c := range map[string]struct {
		err  error
		want error // nil for any
		says string
	}{
		"start on an empty database: refused": {open(empty), nil, "empty"},
		"start on an older schema: refused":   {open(old), ErrOlder, "schema"},
		"migration of an older schema: refused": {func() error {
			_, _, err := Migrate(t.Context(), Config{URL: old, Pooled: true})
			return err
		}(), ErrOlder, "schema"},
		"exclusive access: refused": {func() error {
			r, err := OpenRaw(t.Context(), Config{URL: empty, Pooled: true}, Exclusive)
			if err == nil {
				err = errors.Join(errors.New("it was opened"), r.Close())
			}
			return err
		}(), nil, `database.pool is "transaction"`},
	} {
		hint := hintOf(c.err)
		if c.err == nil || c.want != nil && !errors.Is(c.err, c.want) || !strings.Contains(c.err.Error(), c.says) ||
			!strings.Contains(hint, "DURWARD_DATABASE_URL=") || !strings.Contains(hint, "DURWARD_DATABASE_POOL=session") {
			t.Errorf("%s: %v (%s), want %q and a hint with both variables", name, c.err, hint, c.says)
		}
	}
}

// Nodes behind a pooler keep a restore out while they run, and are kept out while it runs.
func TestExclusiveAccessAndAPooler(t *testing.T) {
	t.Parallel()
	b := newBounced(t)
	db := openAt(t, b.url())
	addUser(t, db, "ada")
	exclusive := func(now time.Time) (*Raw, error) {
		return OpenRaw(t.Context(), Config{URL: b.address, Now: func() time.Time { return now }}, Exclusive)
	}
	_, err := db.Start(t.Context(), noon, time.Minute)
	must(t, err)
	stop := make(chan struct{})
	var beating sync.WaitGroup
	beating.Go(func() {
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Second / 2):
				if err := db.Beat(context.Background(), noon.Add(time.Duration(i)*time.Microsecond)); err != nil {
					t.Error(err)
				}
			}
		}
	})
	if r, err := exclusive(noon); !errors.Is(err, ErrInUse) || hintOf(err) == "" {
		t.Errorf("a node runs: %v, want ErrInUse with a hint", err)
		if err == nil {
			must(t, r.Close())
		}
	}
	close(stop)
	beating.Wait()

	r, err := exclusive(noon.Add(time.Minute)) // the last heartbeat is old
	must(t, err)
	if err := db.Beat(t.Context(), noon); !errors.Is(err, ErrInUse) || !errors.Is(err, ErrUnavailable) {
		t.Errorf("a write during exclusive access: %v, want ErrInUse", err)
	}
	if _, err := db.RotateRefresh(t.Context(), aMove("grant-1", 1, 2)); !errors.Is(err, ErrInUse) {
		t.Errorf("a refresh during exclusive access: %v, want ErrInUse", err)
	}
	if _, err := db.UserByID(t.Context(), "ada"); !errors.Is(err, ErrInUse) {
		t.Errorf("a read during exclusive access: %v, want ErrInUse", err)
	}
	if other, err := Open(t.Context(), configOf(b.url())); !errors.Is(err, ErrInUse) || hintOf(err) == "" || other != nil {
		t.Errorf("opened during exclusive access: %v, want ErrInUse with a hint", err)
	}
	must(t, r.Close())
	must(t, db.Beat(t.Context(), noon))
	_, err = db.UserByID(t.Context(), "ada")
	must(t, err)
}

// A server behind the pooler that becomes a standby is not read: it lags behind, so a revoked credential may
// still be valid there.
func TestStandbyBehindAPooler(t *testing.T) {
	t.Parallel()
	b := newBounced(t, "fsync=off")
	db := openAt(t, b.url())
	addUser(t, db, "ada")
	if _, err := db.UserByID(t.Context(), "ada"); err != nil {
		t.Fatal(err)
	}
	data := b.server.SQL(t, "postgres", "SHOW data_directory")
	b.server.Kill(t)
	must(t, os.WriteFile(filepath.Join(data, "standby.signal"), nil, 0o644))
	b.server.Start(t)
	e := db.engine.(*postgresEngine)
	if err := e.outcome("4000000000", time.Now(), query{`SELECT 1`, nil}, errors.New("the connection was cut")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("a transaction that the standby does not know: %v, want ErrUnavailable", err)
	}
	for name, do := range map[string]func() error{
		"read":    func() error { return errOf(db.UserByID(t.Context(), "ada")) },
		"write":   func() error { return db.Beat(t.Context(), noon) },
		"refresh": func() error { return errOf(db.RotateRefresh(t.Context(), aMove("grant-1", 1, 2))) },
	} {
		if err := do(); !errors.Is(err, ErrUnavailable) || !strings.Contains(Hint(err), "standby") {
			t.Errorf("%s on a standby: %v (%s), want ErrUnavailable and the hint of a standby", name, err, Hint(err))
		}
	}
}

// Behind a pooler no connection listens: its server connection belongs to other clients a moment later.
func TestFollowBehindAPooler(t *testing.T) {
	t.Parallel()
	b := newBounced(t)
	db, there := openAt(t, b.url()), openAt(t, b.address)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	woken := make(chan struct{}, 1000)
	go func() {
		defer close(ended)
		db.Follow(ctx, func() { woken <- struct{}{} })
	}()
	for i := range 100 {
		must(t, errOf(db.Revoke(t.Context(), "jti", fmt.Sprint(i), later)))
	}
	if n := count(t, there, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'`); n > 0 || len(woken) > 0 {
		t.Errorf("%d connections listen, woken %d times, want none", n, len(woken))
	}
	if n := count(t, there, `SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database WHERE datname = current_database() AND locktype = 'advisory'`); n > 0 {
		t.Errorf("%d advisory locks outlast their transaction, want none", n)
	}
	stop()
	<-ended
}

// A transaction runs again if the pooler closed its connection, here because no connection to the server
// was free for two seconds.
func TestPoolerClosesAConnection(t *testing.T) {
	t.Parallel()
	b := newBounced(t)
	b.pooler = services.NewPgBouncer(t, direct(b.address), "default_pool_size=1", "query_wait_timeout=2")
	db := openAt(t, b.url())
	e := db.engine.(*postgresEngine)
	var conns [2]*sql.Conn
	var err error
	for i := range conns {
		conns[i], err = e.writing.Conn(t.Context())
		must(t, err)
	}
	defer conns[0].Close()
	must(t, conns[1].Close())
	_, err = raw(t.Context(), conns[0], "BEGIN")
	must(t, err)
	before := e.writers.Stat().NewConnsCount()
	written := make(chan error)
	go func() { written <- db.Beat(context.Background(), noon) }()
	for e.writers.Stat().NewConnsCount() == before {
		select {
		case err := <-written:
			t.Fatalf("it was not tried again: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	_, err = raw(t.Context(), conns[0], "ROLLBACK")
	must(t, errors.Join(err, <-written))
}
