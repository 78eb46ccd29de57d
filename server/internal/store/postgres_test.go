package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-auth/durward/internal/faults"
	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// slack is added to each bound of a duration, because the machine may be busy.
const slack = 20 * time.Second

// openLogged opens a database and returns its log too.
func openLogged(t testing.TB, address string) (*DB, *testkit.Log) {
	t.Helper()
	log := new(testkit.Log)
	c := configOf(address)
	c.Now, c.Log = func() time.Time { return noon }, log.Logger()
	db, err := Open(t.Context(), c)
	must(t, err)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return db, log
}

// through returns the URL of a database behind a proxy.
func through(address string, p *faults.Proxy) string {
	host := address[strings.Index(address, "@")+1:]
	return strings.Replace(address, host[:strings.Index(host, "/")], p.Addr(), 1)
}

func direct(address string) string {
	host := address[strings.Index(address, "@")+1:]
	return host[:strings.Index(host, "/")]
}

// If the response to a COMMIT is lost, the store determines whether the transaction was committed: it is
// applied once.
func TestAnswerToCommitIsLost(t *testing.T) {
	t.Parallel()
	eachPostgres(t, func(t *testing.T, address string) {
		proxy := faults.NewProxy(t, direct(address))
		db, log := openLogged(t, through(address, proxy))
		furnish(t, db)
		for i := range 20 {
			value := fmt.Sprint("lost ", i)
			lost := proxy.Lost()
			proxy.Lose(func(answer []byte) bool { return proxy.Lost() == lost && faults.Committed(answer) })
			r, err := db.Revoke(t.Context(), "jti", value, later)
			if err != nil || proxy.Lost() != lost+1 {
				t.Fatalf("round %d: %v, %d answers were lost", i, err, proxy.Lost()-lost)
			}
			if n := count(t, db, `SELECT count(*) FROM revocations WHERE value = $1 AND seq = $2`, value, r.Seq); n != 1 {
				t.Fatalf("round %d: %d rows", i, n)
			}
			if n := count(t, db, `SELECT count(*) FROM revocations WHERE value = $1`, value); n != 1 {
				t.Fatalf("round %d: done %d times", i, n)
			}
		}
		if !strings.Contains(log.String(), "outcome determined") {
			t.Errorf("the log says %q", log)
		}
		for i := range uint32(20) {
			lost := proxy.Lost()
			proxy.Lose(func(answer []byte) bool {
				return proxy.Lost() == lost && bytes.Contains(answer, []byte("UPDATE 1\x00"))
			})
			r := aMove("grant-2", 1+i, 2+i)
			r.At = noon.Add(time.Duration(i) * time.Second)
			moved, err := db.RotateRefresh(t.Context(), r)
			if err != nil || !moved || proxy.Lost() != lost+1 {
				t.Fatalf("round %d: moved %v, %v, %d answers were lost", i, moved, err, proxy.Lost()-lost)
			}
			if g, _, _, err := db.GrantByID(t.Context(), r.GrantID); err != nil || g.Generation != r.To || !g.Moved[0].Equal(r.At) {
				t.Fatalf("round %d: %+v, %v", i, g, err)
			}
		}
		if db.pooled { // the move has a COMMIT
			lost := proxy.Lost()
			proxy.Lose(func(answer []byte) bool { return proxy.Lost() == lost && faults.Committed(answer) })
			r := aMove("grant-1", 1, 2)
			if moved, err := db.RotateRefresh(t.Context(), r); err != nil || !moved || proxy.Lost() != lost+1 {
				t.Errorf("moved %v, %v, %d answers to COMMIT were lost", moved, err, proxy.Lost()-lost)
			}
			if g, _, _, err := db.GrantByID(t.Context(), r.GrantID); err != nil || g.Generation != r.To {
				t.Errorf("after a lost answer to COMMIT: %+v, %v", g, err)
			}
		}
		// A move that another made is not taken for one's own.
		lost := proxy.Lost()
		proxy.Lose(func(answer []byte) bool {
			return proxy.Lost() == lost && bytes.Contains(answer, []byte("UPDATE 0\x00"))
		})
		if moved, err := db.RotateRefresh(t.Context(), aMove("grant-2", 1, 2)); moved || err != nil || proxy.Lost() != lost+1 {
			t.Errorf("moved %v, %v, %d answers were lost", moved, err, proxy.Lost()-lost)
		}
	})
}

// If Postgres is lost while the schema is read or created, the error is ErrUnavailable, and the next start
// succeeds.
func TestOutageDuringMigration(t *testing.T) {
	t.Parallel()
	address := services.Database(t)
	for name, begin := range map[string]func(*faults.Proxy){
		"no answer": (*faults.Proxy).Hang,
		"refused":   (*faults.Proxy).Refuse,
		"lost while the schema is read": func(p *faults.Proxy) {
			p.Lose(func(answer []byte) bool { return bytes.Contains(answer, []byte("table_name")) })
		},
		"lost while the schema is created": func(p *faults.Proxy) {
			p.Lose(func(answer []byte) bool { return bytes.Contains(answer, []byte("CREATE TABLE")) })
		},
	} {
		proxy := faults.NewProxy(t, direct(address))
		c := Config{URL: through(address, proxy) + "&connect_timeout=1"}.withDefaults()
		e, err := openEngine(t.Context(), c)
		must(t, err)
		begin(proxy)
		if _, err := migrate(t.Context(), e, c); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v, want ErrUnavailable", name, err)
		}
		proxy.Heal()
		must(t, e.close())
	}
	openLogged(t, address)
}

// If the answer to COMMIT is lost and the server cannot be asked for the outcome, the error is
// ErrUnavailable and says that the outcome is unknown.
func TestOutcomeThatCannotBeTold(t *testing.T) {
	t.Parallel()
	address := services.Database(t)
	proxy := faults.NewProxy(t, direct(address))
	db, log := openLogged(t, through(address, proxy))
	furnish(t, db)
	lose := func() {
		proxy.Lose(func(answer []byte) bool {
			if !faults.Committed(answer) {
				return false
			}
			go proxy.Refuse()
			return true
		})
	}
	lose()
	began := time.Now()
	_, err := db.Revoke(t.Context(), "jti", "lost", later)
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "is unknown") || time.Since(began) > outcomeTime+waitTime+slack {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	if !strings.Contains(log.String(), "outcome unknown") {
		t.Errorf("the log says %q", log)
	}
	proxy.Heal()
	if _, err := db.Revoke(t.Context(), "jti", "after", later); err != nil {
		t.Errorf("healed: %v", err)
	}
	lose()
	if _, err := db.RotateRefresh(t.Context(), aMove("grant-1", 1, 2)); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "is unknown") {
		t.Errorf("a statement by itself: %v", err)
	}
}

// After a crash the server can assign the number of a lost transaction again. Then the rows decide whether
// the transaction was committed, not its number.
func TestNumbersThatAreGivenAnew(t *testing.T) {
	t.Parallel()
	eachPostgres(t, func(t *testing.T, address string) {
		db, _ := openLogged(t, address)
		e := db.engine.(*postgresEngine)
		furnish(t, db)
		number := func(end string) (xid string) {
			conn, err := e.writing.Conn(t.Context())
			must(t, err)
			xid, err = e.begin(t.Context(), conn, e.begins.write)
			must(t, err)
			_, err = raw(t.Context(), conn, end)
			must(t, errors.Join(err, conn.Close()))
			return xid
		}
		committed, aborted := number("COMMIT"), number("ROLLBACK")
		there := query{`SELECT 1 FROM users WHERE id = $1`, []any{"ada"}}
		absent := query{`SELECT 1 FROM users WHERE id = $1`, []any{"nobody"}}
		cause := errors.New("the connection was cut")
		longAgo, now := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		// A connection to a pooler proves nothing about the server behind it.
		sameServer := error(nil)
		if e.pooled {
			sameServer = lostCommit{}
		}
		for name, c := range map[string]struct {
			xid      string
			sent     time.Time // before or after the connection was made
			evidence query
			want     error
		}{
			"committed":                            {committed, now, absent, sameServer},
			"aborted":                              {aborted, now, there, lostCommit{}},
			"never given":                          {"4000000000", now, there, lostCommit{}},
			"committed, by a server that is new":   {committed, longAgo, there, nil},
			"another's, by a server that is new":   {committed, longAgo, absent, lostCommit{}},
			"aborted, by a server that is new":     {aborted, longAgo, there, lostCommit{}},
			"never given, by a server that is new": {"4000000000", longAgo, there, lostCommit{}},
			"no evidence, by a server that is new": {committed, longAgo, query{}, ErrUnavailable},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				if err := e.outcome(c.xid, c.sent, c.evidence, cause); !errors.Is(err, c.want) {
					t.Errorf("got %v, want %v", err, c.want)
				}
			})
		}
	})
}

// The server is killed and restarted several times while nodes write: each successful write is stored once,
// each other one returns ErrUnavailable, and the first writes after a restart succeed.
func TestServerIsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	p := services.NewPostgres(t)
	killUnderLoad(t, p.Database(t), p)
}

// The same with a server behind a pooler, and with the pooler.
func TestPoolerIsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		b := newBounced(t, "fsync=on")
		killUnderLoad(t, b.url(), behind{b})
	})
	t.Run("pooler", func(t *testing.T) {
		t.Parallel()
		b := newBounced(t)
		killUnderLoad(t, b.url(), b.pooler)
	})
}

// service is a service that a test kills.
type service interface {
	Kill(testing.TB)
	Start(testing.TB)
}

func killUnderLoad(t *testing.T, address string, p service) {
	db, _ := openLogged(t, address)
	furnish(t, db)
	var answered sync.Map
	var n, failed atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var writers sync.WaitGroup
	for w := range 12 {
		writers.Go(func() {
			id := fmt.Sprint("load ", w)
			for ctx.Err() == nil {
				value := fmt.Sprint(n.Add(1))
				_, err := db.Revoke(context.Background(), "jti", value, later)
				if err == nil {
					answered.Store(value, true)
				} else if failed.Add(1); !errors.Is(err, ErrUnavailable) {
					t.Errorf("%s: %v", id, err)
				}
				if err != nil {
					pause(ctx, 1)
				}
			}
		})
	}
	for range 3 {
		before := n.Load()
		for n.Load() < before+200 && ctx.Err() == nil {
			pause(ctx, 0)
		}
		p.Kill(t)
		p.Start(t)
		for i := range 20 {
			if _, err := db.Revoke(t.Context(), "jti", fmt.Sprintf("back %d %d", n.Load(), i), later); err != nil {
				t.Errorf("transaction %d after the return: %v", i, err)
			}
			if _, err := db.UserByID(t.Context(), "ada"); err != nil {
				t.Errorf("reading %d after the return: %v", i, err)
			}
		}
	}
	stop()
	writers.Wait()
	lost := 0
	answered.Range(func(value, _ any) bool {
		if count(t, db, `SELECT count(*) FROM revocations WHERE value = $1`, value) != 1 {
			lost++
		}
		return true
	})
	if lost > 0 {
		t.Errorf("%d transactions that returned no error are not in the database once", lost)
	}
	if twice := count(t, db, `SELECT count(*) FROM (SELECT value FROM revocations GROUP BY value HAVING count(*) > 1) AS doubled`); twice > 0 {
		t.Errorf("%d transactions were applied twice", twice)
	}
	t.Logf("%d transactions, %d of them failed", n.Load(), failed.Load())
}

// Connections are cut at random moments while the server runs: every write succeeds and is stored once.
func TestConnectionsAreCut(t *testing.T) {
	t.Parallel()
	eachPostgres(t, func(t *testing.T, address string) {
		proxy := faults.NewProxy(t, direct(address))
		db, _ := openLogged(t, through(address, proxy))
		addUser(t, db, "ada")
		const writers, transactions = 8, 100
		// Between two cuts each writer gets something done, however slow the machine is:
		// no transaction is interrupted more often than it is retried.
		var done atomic.Bool
		var progress [writers]atomic.Int64
		cuts := 0
		var cutting sync.WaitGroup
		cutting.Go(func() {
			for before := [writers]int64{}; !done.Load(); time.Sleep(time.Millisecond) {
				now, all := before, true
				for w := range progress {
					now[w] = progress[w].Load()
					all = all && (now[w] > before[w] || now[w] > transactions)
				}
				if all {
					proxy.Cut()
					cuts++
					before = now
				}
			}
		})
		for w, err := range atOnce(writers, func(w int) error {
			id := fmt.Sprint("session-", w)
			if _, err := db.CreateSession(context.Background(), aSession(id, "ada"), aGrant(id, id), anEvent(EventSignedIn, "ada"), home, aUser("ada")); err != nil {
				return fmt.Errorf("sign-in: %w", err)
			}
			progress[w].Add(1)
			for i := range uint32(transactions) {
				r := aMove(id, 1+i, 2+i)
				r.At = noon.Add(time.Duration(i) * time.Second)
				if moved, err := db.RotateRefresh(context.Background(), r); err != nil || !moved {
					return fmt.Errorf("move %d: %v, %w", i, moved, err)
				}
				if _, err := db.Revoke(context.Background(), "jti", fmt.Sprint(w, " ", i), later); err != nil {
					return fmt.Errorf("revocation %d: %w", i, err)
				}
				progress[w].Add(1)
			}
			return nil
		}) {
			if err != nil {
				t.Errorf("%d: %v", w, err)
			}
		}
		done.Store(true)
		cutting.Wait()
		if cuts < 5 {
			t.Errorf("%d cuts: the test tests nothing", cuts)
		}
		if n := count(t, db, `SELECT count(*) FROM revocations`); n != writers*transactions {
			t.Errorf("%d revocations, want %d", n, writers*transactions)
		}
		if n := count(t, db, `SELECT count(*) FROM grants WHERE generation = $1`, transactions+1); n != writers {
			t.Errorf("%d grants are where they should be, want %d", n, writers)
		}
	})
}

// If the server hangs, reads and writes return ErrUnavailable within a bounded time, and succeed as soon as
// the server answers. A caller that gave up leaves no goroutine and no lock.
func TestServerHangs(t *testing.T) {
	t.Parallel()
	p := services.NewPostgres(t, "fsync=off")
	db, _ := openLogged(t, p.Database(t))
	furnish(t, db)
	time0 := time.Now()
	p.Pause(t)
	var all sync.WaitGroup
	for i := range 40 { // more than there are connections
		all.Go(func() {
			var err error
			switch i % 4 {
			case 0:
				_, err = db.Revoke(context.Background(), "jti", fmt.Sprint(i), later)
			case 1:
				_, err = db.RotateRefresh(context.Background(), aMove("grant-1", 1, 2))
			case 2:
				_, err = db.UserByID(context.Background(), "ada")
			case 3:
				_, err = db.Sessions(context.Background(), "ada", noon)
			}
			if !errors.Is(err, ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%d: %v, want an outage that is not the caller's deadline", i, err)
			}
		})
	}
	hurried, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := db.UserByID(hurried, "ada"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnavailable) {
		t.Errorf("a caller with a deadline: %v", err)
	}
	all.Wait()
	if took, bound := time.Since(time0), waitTime+transactionTime+outcomeTime+slack; took > bound {
		t.Errorf("it took %s, want %s at most", took, bound)
	}
	p.Resume(t)
	for i := range 20 {
		if _, err := db.Revoke(t.Context(), "jti", fmt.Sprint("after ", i), later); err != nil {
			t.Errorf("transaction %d after it: %v", i, err)
		}
		if _, err := db.UserByID(t.Context(), "ada"); err != nil {
			t.Errorf("reading %d after it: %v", i, err)
		}
	}
}

// If all connections are in use, the next transaction returns an error soon, or ends with its context.
func TestAllConnectionsInUse(t *testing.T) {
	t.Parallel()
	db, _ := openLogged(t, services.Database(t))
	var held, all sync.WaitGroup
	release := make(chan struct{})
	for range maxWriters {
		held.Add(1)
		all.Go(func() {
			must(t, db.do(context.Background(), func(tx *tx) error {
				held.Done()
				<-release
				return nil
			}))
		})
	}
	held.Wait()
	leaving, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := db.Beat(leaving, noon); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrUnavailable) {
		t.Errorf("a caller with a deadline: %v", err)
	}
	began := time.Now()
	if err := db.Beat(t.Context(), noon); !errors.Is(err, ErrUnavailable) || time.Since(began) > waitTime+slack {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	if _, err := db.Keys(t.Context(), UseSigning); err != nil {
		t.Errorf("a reader: %v", err)
	}
	close(release)
	all.Wait()
	must(t, db.Beat(t.Context(), noon))
}

// A read whose connection is lost several times ends within transactionTime.
func TestReadingEnds(t *testing.T) {
	t.Parallel()
	db, _ := openLogged(t, services.Database(t))
	began := time.Now()
	err := db.engine.(*postgresEngine).read(t.Context(), func(ctx context.Context, _ connection) error {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Second):
			return io.ErrUnexpectedEOF
		}
	})
	if took := time.Since(began); !errors.Is(err, ErrUnavailable) || took > transactionTime+slack {
		t.Errorf("%v after %s, want an outage after %s", err, took, transactionTime)
	}
}

// Of two transactions that wait for each other, one is retried and both succeed.
func TestDeadlock(t *testing.T) {
	t.Parallel()
	eachPostgres(t, func(t *testing.T, address string) {
		db, _ := openLogged(t, address)
		must(t, db.do(t.Context(), func(tx *tx) error { return errors.Join(tx.SetMeta("a", "0"), tx.SetMeta("b", "0")) }))
		var runs atomic.Int64
		var met sync.WaitGroup
		met.Add(2)
		for _, err := range atOnce(2, func(i int) error {
			first := true
			return db.do(context.Background(), func(tx *tx) error {
				runs.Add(1)
				names := []string{"a", "b"}
				add := func(name string) error {
					err := tx.exec(`UPDATE meta SET value = value || '+' WHERE name = $1`, name)
					return err
				}
				if err := add(names[i]); err != nil {
					return err
				}
				if first {
					first = false
					met.Done()
					met.Wait()
				}
				return add(names[1-i])
			})
		}) {
			must(t, err)
		}
		if n := count(t, db, `SELECT count(*) FROM meta WHERE value = '0++'`); n != 2 || runs.Load() < 3 {
			t.Errorf("%d rows were changed twice, in %d runs", n, runs.Load())
		}
	})
}

// Every transaction may run twice: nothing remains of a first run that was rolled back.
func TestTransactionsThatRunTwice(t *testing.T) {
	t.Parallel()
	for i, d := range allMethods() {
		if !d.writes {
			continue
		}
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			once, twice := openAt(t, testkit.Postgres(t)), openAt(t, testkit.Postgres(t))
			furnish(t, once)
			furnish(t, twice)
			var spoil strings.Builder
			// A sequence does not go back: each first attempt fails, when it is committed.
			spoil.WriteString(`CREATE SEQUENCE attempts; CREATE FUNCTION broken_off() RETURNS trigger LANGUAGE plpgsql AS
				$$ BEGIN IF nextval('attempts') = 1 THEN RAISE EXCEPTION 'broken off' USING ERRCODE = '40001'; END IF; RETURN NULL; END $$;`)
			for _, table := range strings.Fields("meta users user_groups factor_groups sessions grants cookies revocations keys places notifications events seals counts hour_counts denials api_keys outbox mail_tokens totp recovery_codes factor_failures signins devices passkeys spent_challenges clients client_secrets oauth_requests codes consents") {
				fmt.Fprintf(&spoil, `CREATE CONSTRAINT TRIGGER broken AFTER INSERT OR UPDATE OR DELETE ON %s DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION broken_off();`, table)
			}
			e := twice.engine.(*postgresEngine)
			conn, err := e.writing.Conn(t.Context())
			must(t, err)
			_, err = raw(t.Context(), conn, spoil.String())
			must(t, errors.Join(err, conn.Close()))
			defer func() { // another test uses the tables after this one
				conn, err := e.writing.Conn(t.Context())
				must(t, err)
				_, err = raw(t.Context(), conn, `DROP SEQUENCE attempts; DROP FUNCTION broken_off CASCADE`)
				must(t, errors.Join(err, conn.Close()))
			}()

			must(t, allMethods()[i].run(t.Context(), once))
			must(t, d.run(t.Context(), twice))
			if n := count(t, twice, `SELECT last_value FROM attempts`); n < 2 {
				t.Errorf("it was run once")
			}
			if a, b := countRows(t, once), countRows(t, twice); a != b {
				t.Errorf("%s\nrun once leaves\n%s\nrun twice\n%s", d.name, a, b)
			}
		})
	}
	db := openAt(t, testkit.Postgres(t))
	furnish(t, db)
	var again bool
	list, err := write(t.Context(), db, func(tx *tx) (revoked []Revocation, err error) {
		revoked = tx.endSessions("ada", "", "signed_out", noon, later)
		if !again {
			again = true
			return revoked, errBrokenOff
		}
		return revoked, err
	})
	if err != nil || len(list) != 4 {
		t.Errorf("%d revocations, %v, want those of the last run alone", len(list), err)
	}
}

// errBrokenOff is an error after which a transaction is retried.
var errBrokenOff = lostCommit{}

// countRows returns the number of rows of each table.
func countRows(t *testing.T, db *DB) (all string) {
	t.Helper()
	for _, table := range strings.Fields("meta users user_groups factor_groups sessions grants cookies revocations keys places notifications events seals counts hour_counts denials api_keys outbox mail_tokens devices") {
		all += fmt.Sprintf("%s %d\n", table, count(t, db, `SELECT count(*) FROM `+table))
	}
	return all
}

// A transaction that continues after a failed statement returns an error: the server rolls it back at the
// COMMIT.
func TestTransactionAfterAFailure(t *testing.T) {
	t.Parallel()
	eachPostgres(t, func(t *testing.T, address string) {
		db := openAt(t, address)
		before := contents(t, db)
		err := db.do(t.Context(), func(tx *tx) error {
			_ = tx.SetMeta("kept", "1")
			_, _ = tx.on.ExecContext(tx.ctx, `INSERT INTO meta (name, value) VALUES ('kept', 'again')`)
			return nil
		})
		if err == nil {
			t.Error("it was told that it is done")
		}
		if diff := cmp.Diff(before, contents(t, db)); diff != "" {
			t.Errorf("it left (-before +after):\n%s", diff)
		}
		must(t, db.Beat(t.Context(), noon))
	})
}

// The settings of every connection override those of the server.
func TestSettingsOfPostgres(t *testing.T) {
	t.Parallel()
	p := services.NewPostgres(t, "synchronous_commit=off", "default_transaction_isolation=serializable")
	db, _ := openLogged(t, p.Database(t))
	want := map[string]string{
		"synchronous_commit": "on", "statement_timeout": "4s", "lock_timeout": "3s", "idle_in_transaction_session_timeout": "10s",
		"application_name": "durward", "transaction_isolation": "read committed", "transaction_read_only": "off", "client_encoding": "UTF8",
	}
	is := func(tx *tx, name string) (got string) {
		must(t, tx.row(`SELECT current_setting($1)`, name).Scan(&got))
		return got
	}
	must(t, db.do(t.Context(), func(tx *tx) error {
		for name, want := range want {
			if got := is(tx, name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		return nil
	}))
	if got := is(db.reader(t.Context()), "transaction_read_only"); got != "on" {
		t.Errorf("a connection for reading takes writes")
	}
	if _, err := pool(db).ExecContext(t.Context(), `UPDATE meta SET value = ''`); err == nil {
		t.Error("a connection for reading takes a write")
	}
}

// secretWord must appear in no error and no log.
const secretWord = "x7Marked-Passw0rd"

func TestPasswordIsNowhere(t *testing.T) {
	t.Parallel()
	const nobody = "127.0.0.1:1" // which no process is given by chance
	hba := filepath.Join(t.TempDir(), "hba.conf")
	must(t, os.WriteFile(hba, []byte("local all all trust\nhost all durward 127.0.0.1/32 trust\nhost all guarded 127.0.0.1/32 scram-sha-256\n"), 0o644))
	for dir := filepath.Dir(hba); dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		must(t, os.Chmod(dir, 0o755)) // the server is another user
	}
	p := services.NewPostgres(t, "hba_file="+hba)
	p.SQL(t, "postgres", "CREATE ROLE guarded LOGIN PASSWORD 'another'; CREATE ROLE poor LOGIN")
	good := "?sslmode=disable"
	for name, c := range map[string]struct{ address, says, hint string }{
		"nobody there":        {"postgres://durward:" + secretWord + "@" + nobody + "/durward" + good, "refused", "No database server listens there"},
		"wrong password":      {"postgres://guarded:" + secretWord + "@" + p.Addr() + "/postgres" + good, "password", "Check user and password"},
		"password in a query": {"postgres://guarded@" + p.Addr() + "/postgres" + good + "&password=" + secretWord, "password", "Check user and password"},
		"no such database":    {"postgres://durward:" + secretWord + "@" + p.Addr() + "/nowhere" + good, "nowhere", "createdb"},
		"nobody of that name": {"postgres://stranger:" + secretWord + "@" + p.Addr() + "/postgres" + good, "stranger", "pg_hba.conf"},
		"no TLS there":        {"postgres://durward:" + secretWord + "@" + p.Addr() + "/postgres?sslmode=require", "TLS", "sslmode"},
		"no such host":        {"postgres://durward:" + secretWord + "@no-such-host.invalid/postgres", "no-such-host", "Check that the database server runs"},
		"no URL":              {"postgres://durward:" + secretWord + "%zz@" + p.Addr() + "/postgres", "not a URL", "%XX"},
		"no port":             {"postgres://durward:" + secretWord + "@host:port/postgres", "not a URL", "%XX"},
		"an odd mode":         {"postgres://durward:" + secretWord + "@" + p.Addr() + "/postgres?sslmode=" + secretWord, "value is invalid", "%XX"},
		"an odd number":       {"postgres://durward:" + secretWord + "@" + p.Addr() + "/postgres?connect_timeout=" + secretWord, "value is invalid", "%XX"},
		"no certificate":      {"postgres://durward:" + secretWord + "@" + p.Addr() + "/postgres?sslmode=verify-full&sslrootcert=/nowhere", "certificate", "%XX"},
		"no host":             {"postgres:durward:" + secretWord + "@host/postgres", "", ""},
		"another engine":      {"mysql://durward:" + secretWord + "@host/durward", "mysql", ""},
		"no scheme":           {"durward:" + secretWord + "@host/durward", "want sqlite:PATH", ""},
		"a password alone":    {secretWord, "want sqlite:PATH", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := new(testkit.Log)
			db, err := Open(t.Context(), Config{URL: c.address, Log: log.Logger()})
			if err == nil {
				must(t, db.Close())
				t.Fatal("it was opened")
			}
			var open *OpenError
			hint := ""
			if errors.As(err, &open) {
				hint = open.Hint
			}
			if !strings.Contains(err.Error(), c.says) || !strings.Contains(hint, c.hint) {
				t.Errorf("%v (%s), want %q and the hint %q", err, hint, c.says, c.hint)
			}
			for _, said := range []string{err.Error(), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", open), hint, log.String()} {
				if strings.Contains(said, secretWord) {
					t.Errorf("the password is in %q", said)
				}
			}
		})
	}
	t.Run("the right password", func(t *testing.T) {
		t.Parallel()
		p.SQL(t, "postgres", "CREATE DATABASE guarded OWNER guarded")
		db, err := Open(t.Context(), Config{URL: "postgres://guarded:another@" + p.Addr() + "/guarded" + good})
		must(t, err)
		must(t, db.Close())
	})
}

// All nodes of a database use the clock of its server, whatever their own clocks show, also while the server
// is unreachable.
func TestServerTime(t *testing.T) {
	t.Parallel()
	p := services.NewPostgres(t, "fsync=off")
	address := p.Database(t)
	at := func(shift time.Duration) *DB {
		db, err := Open(t.Context(), Config{URL: address, Local: func() time.Time { return time.Now().Add(shift) }})
		must(t, err)
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	right, behind, ahead := at(0), at(-90*time.Second), at(90*time.Second)
	agree := func(when string) {
		t.Helper()
		now := right.Now()
		for name, db := range map[string]*DB{"behind": behind, "ahead": ahead} {
			if off := db.Now().Sub(now).Abs(); off > 250*time.Millisecond {
				t.Errorf("%s: the one that is %s is off by %s", when, name, off)
			}
		}
		if off := time.Until(now).Abs(); off > 250*time.Millisecond { // the server is this machine
			t.Errorf("%s: the time is off by %s", when, off)
		}
	}
	agree("at the start")
	p.Kill(t)
	agree("without the server")
	before := right.Now()
	if !right.Now().After(before) {
		t.Error("time stands still")
	}
}

// The time of a response does not include its delay, and a slow response does not replace the time of a
// fast one.
func TestServerClock(t *testing.T) {
	t.Parallel()
	local := noon
	c := serverClock{local: func() time.Time { return local }}
	off := func() time.Duration { return c.now().Sub(local) }
	const ms = time.Millisecond
	for i, s := range []struct {
		passes, took, ahead time.Duration // since the last; of the answer; of the server's clock
		want                time.Duration // expected lead of the clock
	}{
		{0, 10 * ms, time.Hour, time.Hour},
		{time.Second, 4 * ms, time.Hour + ms, time.Hour + ms},        // quicker
		{time.Second, 10 * ms, time.Hour + 3*ms, time.Hour + ms},     // within the error of both answers
		{time.Second, 800 * ms, time.Hour + 300*ms, time.Hour + ms},  // says nothing
		{time.Second, 10 * ms, time.Hour + 20*ms, time.Hour + 20*ms}, // news
		{time.Second, 10 * ms, 0, 0},                                 // the server's clock was set
	} {
		local = local.Add(s.passes)
		c.take(local, s.took, local.Add(s.ahead).Add(s.took/2))
		if got := off(); got != s.want {
			t.Errorf("step %d: ahead by %s, want %s", i, got, s.want)
		}
	}
}

// Follow calls wake after each committed write of another node and after a lost connection, and not after a
// write that was rolled back.
func TestFollow(t *testing.T) {
	t.Parallel()
	nodes := twoNodes(t, services.Database)
	furnish(t, nodes[0])
	wakes := make(chan time.Time, 1000)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		nodes[1].Follow(ctx, func() { wakes <- time.Now() })
	}()
	woken := func(why string) {
		t.Helper()
		select {
		case <-wakes:
		case <-time.After(slack):
			t.Fatalf("not woken: %s", why)
		}
	}
	woken("it listens")
	for name, do := range map[string]func() error{
		"Revoke":   func() error { return errOf(nodes[0].Revoke(ctx, "jti", "a", later)) },
		"LockUser": func() error { return errOf(nodes[0].LockUser(ctx, "ada", later, anEvent(EventUserLocked, "ada"))) },
		"AddKey": func() error {
			return nodes[0].AddKey(ctx, aKey("key-9", UseSigning, KeyPending, 0), anEvent(EventKeyCreated, ""))
		},
		"PromoteKey": func() error {
			return nodes[0].PromoteKey(ctx, "key-pending", "key-active", noon, anEvent(EventKeyState, ""))
		},
		"ForgetKey": func() error { return nodes[0].ForgetKey(ctx, "key-retiring", anEvent(EventKeyState, "")) },
	} {
		began := time.Now()
		must(t, do())
		woken(name)
		t.Logf("%s: woken after %s", name, time.Since(began))
	}
	_ = nodes[0].do(ctx, func(tx *tx) error {
		tx.revoke("jti", "undone", noon, later)
		return ErrChanged
	})
	must(t, nodes[0].Beat(ctx, noon))
	e := nodes[0].engine.(*postgresEngine)
	if _, err := e.writing.ExecContext(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query = 'LISTEN durward'`); err != nil {
		t.Fatal(err)
	}
	woken("it listens again")
	must(t, errOf(nodes[0].Revoke(ctx, "jti", "b", later)))
	woken("a revocation after that")
	stop()
	<-ended
	if len(wakes) > 0 {
		t.Errorf("%d wakes for nothing", len(wakes))
	}
}

// Close ends all goroutines, also if the server hung or stopped.
func TestNothingIsLeftRunning(t *testing.T) {
	p := services.NewPostgres(t, "fsync=off")
	address := p.Database(t)
	proxy := faults.NewProxy(t, p.Addr())
	round := func() {
		db, err := Open(t.Context(), Config{URL: through(address, proxy)})
		must(t, err)
		ctx, stop := context.WithCancel(t.Context())
		var following sync.WaitGroup
		following.Go(func() { db.Follow(ctx, func() {}) })
		must(t, db.Beat(ctx, noon))
		proxy.Cut()
		must(t, db.Beat(ctx, noon))
		leaving, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		proxy.Hang()
		_, _ = db.UserByID(leaving, "ada")
		cancel()
		proxy.Heal()
		must(t, db.Beat(ctx, noon))
		stop()
		following.Wait()
		must(t, db.Close())
	}
	round()
	before := runtime.NumGoroutine()
	for range 10 {
		round()
	}
	deadline := time.Now().Add(20 * time.Second)
	for runtime.NumGoroutine() > before+4 && time.Now().Before(deadline) {
		pause(t.Context(), 2)
	}
	if after := runtime.NumGoroutine(); after > before+4 {
		stacks := make([]byte, 1<<16)
		t.Errorf("%d goroutines, %d before\n%s", after, before, stacks[:runtime.Stack(stacks, true)])
	}
}
