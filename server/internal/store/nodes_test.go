package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// atOnce runs do for each number at the same time and returns the errors.
func atOnce(n int, do func(i int) error) []error {
	errs := make([]error, n)
	var all sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		all.Go(func() {
			<-begin
			errs[i] = do(i)
		})
	}
	close(begin)
	all.Wait()
	return errs
}

// Several programs that start at once on an empty or an old database create one schema and one epoch.
func TestTenOpensAtOnce(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]string{
		"sqlite":       testkit.SQLite(t),
		"postgres":     services.Database(t),
		"old sqlite":   aDatabaseOf(t, testkit.SQLite(t), 1),
		"old postgres": aDatabaseOf(t, "postgres:", 1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dbs := make([]*DB, 10)
			for i, err := range atOnce(len(dbs), func(i int) (err error) {
				dbs[i], err = Open(context.Background(), Config{URL: address})
				return err
			}) {
				if err != nil {
					t.Fatalf("start %d: %v", i, err)
				}
			}
			for _, db := range dbs {
				if db.Epoch() != dbs[0].Epoch() || db.Epoch() == "" {
					t.Errorf("epochs %q and %q", db.Epoch(), dbs[0].Epoch())
				}
			}
			if v := dbs[0].reader(t.Context()).number(schemaVersion); v != SchemaVersion {
				t.Errorf("schema %d, want %d", v, SchemaVersion)
			}
			if n := dbs[0].reader(t.Context()).number(`SELECT count(*) FROM goose_db_version`); n != SchemaVersion+1 {
				t.Errorf("%d versions are stored, want each once and version 0", n)
			}
			clean(t, dbs[0])
			for _, db := range dbs {
				must(t, db.Close())
			}
		})
	}
}

// twoNodes opens one database twice, as two nodes do.
func twoNodes(t *testing.T, fresh testkit.Engine) [2]*DB {
	t.Helper()
	address := fresh(t)
	return [2]*DB{openAt(t, address), openAt(t, address)}
}

// If two nodes make the same change at once, one succeeds.
func TestOneWinner(t *testing.T) {
	t.Parallel()
	const tries = 12
	for name, race := range map[string]struct {
		prepare func(t *testing.T, db *DB)
		do      func(ctx context.Context, db *DB, i int) (won bool, err error)
		want    int
		loser   error // of those that did not win; nil is none
	}{
		"RotateRefresh": {
			do: func(ctx context.Context, db *DB, i int) (bool, error) {
				r := aMove("grant-1", 1, 2)
				r.At = r.At.Add(time.Duration(i) * time.Millisecond)
				return db.RotateRefresh(ctx, r)
			}, want: 1},
		"Issuer": {
			do: func(ctx context.Context, db *DB, i int) (bool, error) {
				err := db.Issuer(ctx, fmt.Sprintf("https://%d.example.com", i))
				return err == nil, nil
			}, want: 1},
		"AddKeyIfNone": {
			do: func(ctx context.Context, db *DB, i int) (bool, error) {
				k := aKey(fmt.Sprint("key-", i), UseRefresh, KeyActive, 1)
				if err := db.AddKeyIfNone(ctx, k); err != nil {
					return false, err
				}
				keys, err := db.Keys(ctx, UseRefresh)
				return err == nil && len(keys) == 1 && keys[0].ID == k.ID, err
			}, want: 1},
		"PromoteKey": {
			prepare: func(t *testing.T, db *DB) {
				for i := range tries {
					must(t, db.AddKey(t.Context(), aKey(fmt.Sprint("next-", i), UseSigning, KeyPending, 0), anEvent(EventKeyCreated, "")))
				}
			},
			do: func(ctx context.Context, db *DB, i int) (bool, error) {
				err := db.PromoteKey(ctx, fmt.Sprint("next-", i), "key-active", noon, anEvent(EventKeyState, ""))
				return err == nil, err
			}, want: 1, loser: ErrChanged},
		"GiveUpKey": {
			do: func(ctx context.Context, db *DB, i int) (bool, error) {
				_, err := db.GiveUpKey(ctx, GivenUp{ID: "key-active", State: KeyActive, Next: "key-pending", At: noon, Until: later}, anEvent(EventKeyWithdrawn, ""))
				return err == nil, err
			}, want: 1, loser: ErrChanged},
		"CreateUser": {
			do: func(ctx context.Context, db *DB, i int) (bool, error) {
				u := aUser(fmt.Sprint("user-", i))
				u.EmailKey = "carol@example.com"
				err := db.CreateUser(ctx, u, nil, false, anEvent(EventRegistered, u.ID))
				return err == nil, err
			}, want: 1, loser: ErrEmailTaken},
		"CreateAPIKey": {
			do: func(ctx context.Context, db *DB, i int) (bool, error) {
				err := db.CreateAPIKey(ctx, anAPIKey(fmt.Sprint("key-", i), "ada"), 4, anEvent(EventAPIKeyCreated, "ada"))
				return err == nil, err
			}, want: 2, loser: ErrTooMany}, // there are two
		"RotateAPIKey": {
			do: func(ctx context.Context, db *DB, i int) (bool, error) {
				err := db.RotateAPIKey(ctx, "api-1", anAPIKey(fmt.Sprint("key-", i), "ada"), anEvent(EventAPIKeyRotated, "ada"))
				return err == nil, err
			}, want: 1, loser: ErrNotFound},
		"ChangePassword": {
			do: func(ctx context.Context, db *DB, i int) (bool, error) {
				e := anEvent(EventPasswordChanged, "ada")
				e.At = noon.Add(time.Duration(i+1) * time.Second)
				_, err := db.ChangePassword(ctx, "ada", "$argon2id$new", "", noon, later, e)
				return err == nil, err
			}, want: 1, loser: ErrChanged},
		"AddPasskey with one challenge": {
			do: func(ctx context.Context, db *DB, i int) (bool, error) {
				err := db.AddPasskey(ctx, aPasskey(fmt.Sprint("new-", i)), SpentChallenge{[]byte("c"), later}, 20, factorEvent(EventPasskeyAdded))
				return err == nil, err
			}, want: 1, loser: ErrSpent},
		"AddPasskey with one credential": {
			do: func(ctx context.Context, db *DB, i int) (bool, error) {
				p := aPasskey(fmt.Sprint("new-", i))
				p.Credential = []byte("the same")
				err := db.AddPasskey(ctx, p, SpentChallenge{[]byte{byte(i)}, later}, 20, factorEvent(EventPasskeyAdded))
				return err == nil, err
			}, want: 1, loser: ErrTaken},
		"AddPasskey up to the limit": {
			do: func(ctx context.Context, db *DB, i int) (bool, error) {
				err := db.AddPasskey(ctx, aPasskey(fmt.Sprint("new-", i)), SpentChallenge{[]byte{byte(i)}, later}, 4, factorEvent(EventPasskeyAdded))
				return err == nil, err
			}, want: 3, loser: ErrTooMany}, // there is one
		"RemovePasskey, the last way to sign in": {
			prepare: func(t *testing.T, db *DB) {
				must(t, db.exec(t.Context(), `UPDATE users SET password = ''`))
				for i := range tries - 1 {
					must(t, db.AddPasskey(t.Context(), aPasskey(fmt.Sprint("passkey-", i+2)), SpentChallenge{[]byte{byte(i)}, later}, 20, factorEvent(EventPasskeyAdded)))
				}
			},
			do: func(ctx context.Context, db *DB, i int) (bool, error) {
				_, err := db.RemovePasskey(ctx, fmt.Sprint("passkey-", i+1), later, factorEvent(EventPasskeyRemoved))
				return err == nil, err
			}, want: tries - 1, loser: ErrLast},
		"UsePasskey": {
			do: func(ctx context.Context, db *DB, i int) (bool, error) {
				err := db.UsePasskey(ctx, aUse("c"))
				return err == nil, err
			}, want: 1, loser: ErrSpent},
		"UsePasskey with one counter": {
			do: func(ctx context.Context, db *DB, i int) (bool, error) {
				err := db.UsePasskey(ctx, aUse(fmt.Sprint("c", i)))
				return err == nil, err
			}, want: 1, loser: ErrChanged},
		"SignInWithPasskey": {
			do: func(ctx context.Context, db *DB, i int) (bool, error) {
				_, err := db.SignInWithPasskey(ctx, aUse("c"), aNewSession(NewID(), i%4 < 2), withFactor("eve"))
				return err == nil, err
			}, want: 1, loser: ErrSpent},
		"EndSession": {
			do: func(ctx context.Context, db *DB, i int) (bool, error) {
				revoked, err := db.EndSession(ctx, "session-1", "ada", "signed_out", later, anEvent(EventSignedOut, "ada"), "")
				return len(revoked) == 1, err
			}, want: 1},
		"EndSessions": {
			do: func(ctx context.Context, db *DB, i int) (bool, error) {
				revoked, err := db.EndSessions(ctx, "ada", "", "signed_out", later, anEvent(EventSignedOut, "ada"))
				return len(revoked) > 0, err
			}, want: 1},
		"EndGrant": {
			do: func(ctx context.Context, db *DB, i int) (bool, error) {
				revoked, err := db.EndGrant(ctx, aGrantID("grant-1"), "theft", later, anEvent(EventRefreshTheft, "ada"))
				return len(revoked) == 1, err
			}, want: 1},
		"new place": {
			do: func(ctx context.Context, db *DB, i int) (bool, error) {
				id := fmt.Sprint("new-", i)
				return db.CreateSession(ctx, aSession(id, "ada"), aGrant(id, id), anEvent(EventSignedIn, "ada"), Place{"203.0.113.0/24", "curl"}, aUser("ada"))
			}, want: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
				nodes := twoNodes(t, fresh)
				furnish(t, nodes[0])
				if race.prepare != nil {
					race.prepare(t, nodes[0])
				}
				won := make([]bool, tries)
				errs := atOnce(tries, func(i int) (err error) {
					won[i], err = race.do(context.Background(), nodes[i%2], i)
					return err
				})
				winners := 0
				for i, err := range errs {
					switch {
					case won[i] && err == nil:
						winners++
					case !errors.Is(err, race.loser) || race.loser == nil && err != nil:
						t.Errorf("try %d: %v, want %v", i, err, race.loser)
					}
				}
				if winners != race.want {
					t.Errorf("%d won, want %d", winners, race.want)
				}
				clean(t, nodes[0])
			})
		})
	}
}

// endingAll holds the writes that end all sessions of ada.
var endingAll = map[string]func(ctx context.Context, db *DB) error{
	"LockUser": func(ctx context.Context, db *DB) error {
		return errOf(db.LockUser(ctx, "ada", later, anEvent(EventUserLocked, "ada")))
	},
	"ChangePassword": func(ctx context.Context, db *DB) error {
		e := anEvent(EventPasswordChanged, "ada")
		e.At = noon.Add(time.Hour)
		return errOf(db.ChangePassword(ctx, "ada", "$argon2id$new", "", noon, later, e))
	},
}

// A sign-in locks the row of the user, so a write that ends all sessions waits for it.
func TestSignInKeepsThePerson(t *testing.T) {
	t.Parallel()
	for name, end := range endingAll {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
				nodes := twoNodes(t, fresh)
				addUser(t, nodes[0], "ada")
				ended := make(chan error, 1)
				must(t, nodes[1].do(t.Context(), func(tx *tx) error {
					if _, err := tx.createSession(aSession("session-slow", "ada"), anEvent(EventSignedIn, "ada"), home, aUser("ada")); err != nil {
						return err
					}
					go func() { ended <- end(context.Background(), nodes[0]) }()
					select {
					case err := <-ended:
						t.Errorf("all sessions ended while one began: %v", err)
						ended <- err
					case <-time.After(300 * time.Millisecond):
					}
					return nil
				}))
				must(t, <-ended)
				if n := count(t, nodes[0], `SELECT count(*) FROM sessions WHERE ended_at = 0`); n != 0 {
					t.Errorf("%d sessions live on", n)
				}
			})
		})
	}
}

// If a user signs in on one node while another node locks the user or changes the password, the sign-in is
// refused or its session ended.
func TestSignInWhileAllSessionsEnd(t *testing.T) {
	t.Parallel()
	for name, end := range endingAll {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
				nodes := twoNodes(t, fresh)
				addUser(t, nodes[0], "ada")
				for i, err := range atOnce(16, func(i int) error {
					if i == 8 {
						return end(context.Background(), nodes[0])
					}
					id := fmt.Sprint("session-", i)
					if i%2 == 0 {
						_, err := nodes[1].CreateCookieSession(context.Background(), aSession(id, "ada"), aCookie(id, id), anEvent(EventSignedIn, "ada"), home, aUser("ada"), Replaced{})
						return err
					}
					return errOf(nodes[1].CreateSession(context.Background(), aSession(id, "ada"), aGrant(id, id), anEvent(EventSignedIn, "ada"), home, aUser("ada")))
				}) {
					if err != nil && (!errors.Is(err, ErrChanged) || i == 8) {
						t.Errorf("%d: %v", i, err)
					}
				}
				if n := count(t, nodes[0], `SELECT count(*) FROM sessions WHERE ended_at = 0`); n != 0 {
					t.Errorf("%d sessions live on", n)
				}
				if all, dead := count(t, nodes[0], `SELECT count(*) FROM sessions`), count(t, nodes[0], `SELECT count(DISTINCT value) FROM revocations`); all != dead {
					t.Errorf("%d sessions, %d revocations", all, dead)
				}
			})
		})
	}
}

// A session dies with the last of its grants, whichever nodes end them.
func TestLastGrantsEndAtOnce(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		nodes := twoNodes(t, fresh)
		addUser(t, nodes[0], "ada")
		for round := range 10 {
			id := fmt.Sprint("session-", round)
			signIn(t, nodes[0], "ada", id, id+" a")
			must(t, nodes[0].do(t.Context(), func(tx *tx) error { return tx.insertGrant(aGrant(id+" b", id)) }))
			revoked := make([][]Revocation, 2)
			for _, err := range atOnce(2, func(i int) (err error) {
				revoked[i], err = nodes[i].EndGrant(context.Background(), aGrantID(id+string(" a b"[2*i:2*i+2])), "signed_out", later, anEvent(EventSignedOut, "ada"))
				return err
			}) {
				must(t, err)
			}
			if len(revoked[0])+len(revoked[1]) != 1 {
				t.Fatalf("round %d: revoked %v", round, revoked)
			}
		}
	})
}

// Writes that end sessions and writes that end their grants do not deadlock in any order.
func TestEndsOfEveryKindAtOnce(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		nodes := twoNodes(t, fresh)
		furnish(t, nodes[0])
		ctx := context.Background()
		for i, err := range atOnce(40, func(i int) error {
			db, n := nodes[i%2], fmt.Sprint(1+i/10%3)
			switch i % 10 {
			case 0:
				return errOf(db.EndSession(ctx, "session-"+n, "ada", "signed_out", later, anEvent(EventSignedOut, "ada"), "session_ended"))
			case 1:
				return errOf(db.EndGrant(ctx, aGrantID("grant-"+n), "theft", later, anEvent(EventRefreshTheft, "ada")))
			case 2:
				return errOf(db.EndSessions(ctx, "ada", "session-"+n, "signed_out", later, anEvent(EventSignedOut, "ada")))
			case 3:
				_, err := db.RotateRefresh(ctx, aMove("grant-"+n, 1, 2))
				return err
			case 4:
				_, _, err := db.ProveWithGrant(ctx, aProof("session-"+n), "durward", anEvent(EventSteppedUp, "ada"))
				if errors.Is(err, ErrNotFound) {
					err = nil
				}
				return err
			case 5:
				return db.UseAPIKeys(ctx, map[string]time.Time{"api-1": noon.Add(time.Duration(i)), "api-0": noon})
			case 6:
				return db.PurgeSessions(ctx, 0)
			case 7:
				k := anAPIKey(fmt.Sprint("new-", i), "ada")
				k.SessionID = ""
				return db.CreateAPIKey(ctx, k, 100, anEvent(EventAPIKeyCreated, "ada"))
			case 8:
				id := fmt.Sprint("new-", i)
				return errOf(db.CreateSession(ctx, aSession(id, "ada"), aGrant(id, id), anEvent(EventSignedIn, "ada"), home, aUser("ada")))
			}
			return db.PurgeAPIKeys(ctx, 0)
		}) {
			if err != nil {
				t.Errorf("%d: %v", i, err)
			}
		}
		clean(t, nodes[0])
	})
}

// A reader that reads the last minute again finds a revocation with a low number that was committed late,
// after revocations with higher numbers.
func TestRevocationThatCommitsLate(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		nodes := twoNodes(t, fresh)
		ctx := t.Context()
		held, release := make(chan Revocation), make(chan struct{})
		var late error
		var writing sync.WaitGroup
		writing.Go(func() {
			late = nodes[0].do(context.Background(), func(tx *tx) error {
				held <- tx.revoke("jti", "late", noon, later)
				<-release
				return nil
			})
		})
		first := <-held
		second := make(chan Revocation, 1)
		writing.Go(func() {
			r, err := nodes[1].Revoke(context.Background(), "jti", "early", later)
			if err != nil {
				t.Error(err)
			}
			second <- r
		})
		if _, file := nodes[1].engine.(*sqliteEngine); !file {
			// The second does not wait, and is visible before the first is.
			r := <-second
			list, err := nodes[1].Revocations(ctx, 0, noon.Add(-time.Minute))
			if err != nil || len(list) != 1 || list[0].Seq != r.Seq || r.Seq <= first.Seq {
				t.Errorf("%v, %v while %v is held", list, err, first)
			}
			second <- r
		}
		close(release)
		writing.Wait()
		must(t, late)
		list, err := nodes[1].Revocations(ctx, (<-second).Seq, noon.Add(-time.Minute))
		must(t, err)
		var values []string
		for _, r := range list {
			values = append(values, r.Value)
		}
		if slices.Sort(values); !slices.Equal(values, []string{"early", "late"}) {
			t.Errorf("%v are seen after both", values)
		}
	})
}

// A database that this program cannot use is refused with a reason and a hint, and stays unchanged.
func TestOpenOfWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil []string
		keep  bool
		want  error
		says  []string
		hint  string
	}{
		"another program's":            {[]string{`DROP TABLE goose_db_version`}, false, ErrForeign, []string{"api_keys", "users"}, "empty database"},
		"another program's migrations": {[]string{`DROP TABLE meta`}, false, ErrForeign, []string{"users"}, "empty database"},
		"a newer program's":            {[]string{fmt.Sprintf(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (%d, true)`, SchemaVersion+1)}, false, ErrNewer, []string{fmt.Sprint("schema ", SchemaVersion+1), fmt.Sprint("supports ", SchemaVersion)}, "newer program"},
		"a half-done migration":        {[]string{fmt.Sprintf(`DELETE FROM goose_db_version WHERE version_id >= %d`, SchemaVersion-1)}, false, ErrSchema, []string{fmt.Sprint("migration ", SchemaVersion-1)}, "restore the last backup"},
		"a migration is left out":      {[]string{fmt.Sprintf(`DELETE FROM goose_db_version WHERE version_id IN (3, %d)`, SchemaVersion)}, false, ErrSchema, []string{fmt.Sprintf("version is %d, but %d migrations", SchemaVersion-1, SchemaVersion-2)}, "Restore the last backup"},
		"a damaged list of migrations": {[]string{`ALTER TABLE goose_db_version RENAME COLUMN version_id TO version`}, false, ErrSchema, []string{"goose_db_version", "version_id"}, "Restore the last backup"},
		"an older program's":           {undoLast, true, ErrOlder, []string{fmt.Sprint("schema ", SchemaVersion-1)}, "durward db migrate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for engine, address := range map[string]string{"sqlite": testkit.SQLite(t), "postgres": services.Database(t)} {
				db := openAt(t, address)
				must(t, db.Close())
				e, err := openEngine(t.Context(), Config{URL: address}.withDefaults())
				must(t, err)
				look := func() (all string) {
					must(t, e.maintain(func(db *sql.DB, d dialect) error {
						names, err := texts(&tx{ctx: context.Background(), on: db}, d.tables)
						must(t, err)
						for _, name := range names {
							var n int
							must(t, db.QueryRowContext(context.Background(), `SELECT count(*) FROM `+name).Scan(&n))
							all += fmt.Sprintf("%s %d\n", name, n)
						}
						return nil
					}))
					return all
				}
				must(t, e.maintain(func(db *sql.DB, _ dialect) error {
					for _, s := range c.spoil {
						_, err := db.ExecContext(t.Context(), s)
						must(t, err)
					}
					return nil
				}))
				before := look()
				got, err := Open(t.Context(), Config{URL: address, KeepSchema: c.keep})
				var open *OpenError
				if got != nil || !errors.Is(err, c.want) || errors.Is(err, ErrUnavailable) || !errors.As(err, &open) || !strings.Contains(open.Hint, c.hint) {
					t.Errorf("%s: %v, %v (%+v), want %v with a hint of %q", engine, got, err, open, c.want, c.hint)
				} else {
					for _, want := range c.says {
						if !strings.Contains(err.Error(), want) {
							t.Errorf("%s: %q does not say %q", engine, err, want)
						}
					}
				}
				if after := look(); after != before {
					t.Errorf("%s: there was\n%sand is\n%s", engine, before, after)
				}
				must(t, e.close())
				if c.keep {
					from, to, err := Migrate(t.Context(), Config{URL: address, KeepSchema: true})
					if err != nil || from != SchemaVersion-1 || to != SchemaVersion {
						t.Errorf("%s: migrated from %d to %d, %v", engine, from, to, err)
					}
					clean(t, openAt(t, address))
				}
			}
		})
	}
}

// undoLast makes the schema that of the version before, on both engines.
var undoLast = []string{
	fmt.Sprintf(`DELETE FROM goose_db_version WHERE version_id = %d`, SchemaVersion),
	`DROP TABLE consents`, `DROP TABLE codes`, `DROP TABLE oauth_requests`, `DROP TABLE client_secrets`, `DROP TABLE clients`,
	`DROP INDEX sessions_of_parent`, `DROP INDEX sessions_of_client`,
	`ALTER TABLE sessions DROP COLUMN parent_id`, `ALTER TABLE grants DROP COLUMN resources`, `ALTER TABLE grants DROP COLUMN claims`,
}

// A migration that is blocked by a lock is no damage: its hint does not mention a backup.
func TestMigrationHindered(t *testing.T) {
	t.Parallel()
	address := services.Database(t)
	must(t, openAt(t, address).Close())
	holder, err := pgx.Connect(t.Context(), address)
	must(t, err)
	defer holder.Close(context.Background())
	run := func(statement string) {
		t.Helper()
		_, err := holder.Exec(t.Context(), statement)
		must(t, err)
	}
	for _, statement := range undoLast {
		run(statement)
	}
	run(`BEGIN`)
	run(`LOCK TABLE goose_db_version IN EXCLUSIVE MODE`) // each migration writes to it
	opened := make(chan error)
	go func() {
		_, err := Open(context.Background(), Config{URL: address})
		opened <- err
	}()
	for waiting := true; waiting; { // until the statement that waits for the lock is broken off
		select {
		case err = <-opened:
			waiting = false
		case <-time.After(10 * time.Millisecond):
			run(`SELECT pg_stat_clear_snapshot()`)
			run(`SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`)
		}
	}
	var open *OpenError
	if !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrSchema) || !errors.As(err, &open) || strings.Contains(open.Hint, "backup") {
		t.Errorf("%v (%+v)", err, open)
	}
	run(`COMMIT`)
	clean(t, openAt(t, address))
}

// Empty reports whether a start would create the tables of Durward.
func TestEmpty(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]string{"sqlite": testkit.SQLite(t), "postgres": services.Database(t)} {
		for _, want := range []bool{true, false} {
			if empty, err := Empty(t.Context(), Config{URL: address}); err != nil || empty != want {
				t.Errorf("%s: %v, %v, want %v", name, empty, err, want)
			}
			must(t, openAt(t, address).Close())
		}
	}
}
