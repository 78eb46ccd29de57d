package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/testkit"
)

func anAPIKey(id, userID string) APIKey {
	k := APIKey{ID: id, UserID: userID, Name: "Nightly " + id, PublicID: "pub-" + id, Scopes: []string{"profile", "admin"}, SessionID: "session-1", CreatedAt: noon}
	copy(k.Hash[:], "hash\x00\xff of "+id)
	return k
}

// aDatabaseOf makes a database as a program left it that knew the migrations up to a
// version alone, and returns its address.
func aDatabaseOf(t *testing.T, address string, version int64, statements ...string) string {
	t.Helper()
	if strings.HasPrefix(address, "postgres:") {
		address = services.Database(t) // one without tables
	}
	e, err := openEngine(t.Context(), Config{URL: address}.withDefaults())
	must(t, err)
	must(t, e.maintain(func(db *sql.DB, d dialect) error {
		must(t, up(t.Context(), db, d, version, slog.New(slog.DiscardHandler)))
		for _, s := range statements {
			if d.name == "postgres" {
				s = strings.ReplaceAll(s, "x'00'", "'\\x00'")
			}
			if _, err := db.ExecContext(t.Context(), s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
		return nil
	}))
	must(t, e.close())
	return address
}

// A database of the first schema, with people in it, is brought to this one at
// the start and loses nothing.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		path := aDatabaseOf(t, fresh(t), 1,
			`INSERT INTO users VALUES ('ada', 'Ada@Example.com', 'ada@example.com', 'Ada', '$argon2id$ada', 1, 1, 1, 0)`,
			`INSERT INTO sessions VALUES ('session-1', 'ada', 'durward', 'profile', 1, 9, 0, '', 1, 'a', 'pwd', 'n', 'd', 'a')`,
			`INSERT INTO meta VALUES ('epoch', 'as it was')`)
		for range 2 { // the second time there is nothing left to do
			db := openAt(t, path)
			if version := db.reader(t.Context()).number(schemaVersion); version != SchemaVersion {
				t.Fatalf("schema %d, want %d", version, SchemaVersion)
			}
			if db.Epoch() != "as it was" {
				t.Errorf("epoch %q: it is another database now", db.Epoch())
			}
			if u, err := db.UserByEmailKey(t.Context(), "ada@example.com"); err != nil || u.ID != "ada" || !u.Admin {
				t.Errorf("got %+v, %v, want the person of before", u, err)
			}
			clean(t, db)
			must(t, db.Close())
		}
		db := openAt(t, path)
		want := anAPIKey("api-1", "ada")
		must(t, db.CreateAPIKey(t.Context(), want, 1, anEvent(EventAPIKeyCreated, "ada")))
		got, u, err := db.APIKeyByPublicID(t.Context(), want.PublicID)
		if diff := cmp.Diff(want, got); err != nil || diff != "" || u.ID != "ada" {
			t.Errorf("%v, of %q, (-want +got):\n%s", err, u.ID, diff)
		}
	})
}

// A grant of an older schema is bound to no DPoP key; a new grant stores its key.
func TestUpgradeOfGrants(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		path := aDatabaseOf(t, fresh(t), 3,
			`INSERT INTO users VALUES ('ada', 'Ada@Example.com', 'ada@example.com', 'Ada', '$argon2id$ada', 1, 1, 1, 0)`,
			`INSERT INTO sessions VALUES ('session-1', 'ada', 'durward', 'profile', 1, 9, 0, '', 1, 'a', 'pwd', 'n', 'd', 'a')`,
			`INSERT INTO grants (id, session_id, client_id, scope, generation, salt, key_number, network, agent, created_at, idle_ends, ends)
			VALUES ('`+grantID(aGrantID("grant-1"))+`', 'session-1', 'durward', 'profile', 7, x'00', 1, 'n', 'a', 1, 8, 9)`)
		db := openAt(t, path)
		got, s, u, err := db.GrantByID(t.Context(), aGrantID("grant-1"))
		if err != nil || got.JKT != "" || got.Generation != 7 || s.ID != "session-1" || u.ID != "ada" {
			t.Errorf("got %+v of %s and %s, %v, want the grant of before, bound to nothing", got, s.ID, u.ID, err)
		}
		moved, err := db.RotateRefresh(t.Context(), aMove("grant-1", 7, 8))
		if err != nil || !moved {
			t.Errorf("moved: %t, %v", moved, err)
		}
		addUser(t, db, "bob")
		signIn(t, db, "bob", "session-2", "grant-2")
		if got, _, _, err := db.GrantByID(t.Context(), aGrantID("grant-2")); err != nil || got.JKT != aGrant("grant-2", "").JKT {
			t.Errorf("bound to %q, %v", got.JKT, err)
		}
		clean(t, db)
	})
}

// Every method that reads a key returns all its stored fields.
func TestAPIKeyIsKept(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		ada := addUser(t, db, "ada")
		signIn(t, db, "ada", "session-1", "grant-1")
		want := anAPIKey("api-1", "ada")
		want.ExpiresAt = noon.Add(time.Hour)
		must(t, db.CreateAPIKey(t.Context(), want, 1, anEvent(EventAPIKeyCreated, "ada")))
		must(t, db.UseAPIKeys(t.Context(), map[string]time.Time{"api-1": noon.Add(time.Minute), "api-none": noon}))
		must(t, db.UseAPIKeys(t.Context(), map[string]time.Time{"api-1": noon})) // late: it does not go back
		want.LastUsedAt = noon.Add(time.Minute)
		byID, err := db.APIKeyByID(t.Context(), "api-1")
		must(t, err)
		byPublicID, u, err := db.APIKeyByPublicID(t.Context(), "pub-api-1")
		must(t, err)
		listed, err := db.APIKeys(t.Context(), "ada", "", 10)
		must(t, err)
		everybody, err := db.APIKeys(t.Context(), "", "", 10)
		must(t, err)
		for name, got := range map[string][]APIKey{"by id": {byID}, "by public id": {byPublicID}, "listed": listed, "of everybody": everybody} {
			if diff := cmp.Diff([]APIKey{want}, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
		}
		if diff := cmp.Diff(ada, u); diff != "" {
			t.Errorf("its person (-want +got):\n%s", diff)
		}
		if told, err := db.Notifications(t.Context(), "ada", "", 10); err != nil || len(told) != 1 || told[0].Kind != "key_created" {
			t.Errorf("told %v, %v", told, err)
		}
		clean(t, db)
	})
}

func TestAPIKeyPages(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		addUser(t, db, "ada")
		addUser(t, db, "bob")
		signIn(t, db, "ada", "session-1", "grant-1")
		for n := range 7 {
			must(t, db.CreateAPIKey(t.Context(), anAPIKey(fmt.Sprintf("api-%d", n), "ada"), 10, anEvent(EventAPIKeyCreated, "ada")))
		}
		bobs := anAPIKey("api-5b", "bob")
		bobs.SessionID = ""
		must(t, db.CreateAPIKey(t.Context(), bobs, 10, anEvent(EventAPIKeyCreated, "bob")))
		must(t, db.RevokeAPIKey(t.Context(), "api-3", "ada", anEvent(EventAPIKeyRevoked, "ada")))
		read := func(userID string) (ids []string) {
			for after := ""; ; {
				page, err := db.APIKeys(t.Context(), userID, after, 2)
				must(t, err)
				for _, k := range page {
					ids = append(ids, k.ID)
					after = k.ID
				}
				if len(page) < 2 {
					return ids
				}
			}
		}
		for userID, want := range map[string]string{"ada": "api-6 api-5 api-4 api-2 api-1 api-0", "bob": "api-5b", "": "api-6 api-5b api-5 api-4 api-2 api-1 api-0", "carol": ""} {
			if got := strings.Join(read(userID), " "); got != want {
				t.Errorf("%q: got %q, want %q", userID, got, want)
			}
		}
	})
}

// A key is refused if the user was locked or the session ended since the request was authorized.
func TestAPIKeyOfWhoHasChanged(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		create := func(ctx context.Context, db *DB, k APIKey) error {
			return db.CreateAPIKey(ctx, k, 10, anEvent(EventAPIKeyCreated, k.UserID))
		}
		rotate := func(ctx context.Context, db *DB, k APIKey) error {
			return db.RotateAPIKey(ctx, "api-1", k, anEvent(EventAPIKeyRotated, k.UserID))
		}
		ofBob := anAPIKey("api-9", "ada")
		ofBob.SessionID = "session-4"
		ended := anAPIKey("api-9", "ada")
		ended.SessionID = "session-2"
		nobodys := anAPIKey("api-9", "carol")
		nobodys.SessionID = ""
		lockedOut := anAPIKey("api-9", "bob")
		lockedOut.SessionID = ""
		for _, c := range []struct {
			name string
			do   func(context.Context, *DB, APIKey) error
			key  APIKey
			want error
		}{
			{"somebody else's session", create, ofBob, ErrChanged}, {"rotate in somebody else's session", rotate, ofBob, ErrChanged},
			{"an ended session", create, ended, ErrChanged}, {"rotate in an ended session", rotate, ended, ErrChanged},
			{"somebody locked", create, lockedOut, ErrChanged},
			{"nobody", create, nobodys, ErrNotFound},
			{"rotate somebody else's", rotate, lockedOut, ErrNotFound},
		} {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				db := openAt(t, fresh(t))
				furnish(t, db)
				_, err := db.EndSession(t.Context(), "session-2", "ada", "signed_out", later, anEvent(EventSignedOut, "ada"), "")
				must(t, err)
				before := contents(t, db)
				if err := c.do(t.Context(), db, c.key); !errors.Is(err, c.want) || errors.Is(err, ErrUnavailable) {
					t.Errorf("got %v, want %v", err, c.want)
				}
				if diff := cmp.Diff(before, contents(t, db)); diff != "" {
					t.Errorf("it left (-before +after):\n%s", diff)
				}
			})
		}
	})
}

// Of many keys at once there are as many as there may be; of many rotations of
// one key, one is done.
func TestAPIKeyRaces(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		addUser(t, db, "ada")
		signIn(t, db, "ada", "session-1", "grant-1")
		const most, tries = 5, 20
		atOnce := func(do func(n int) error, want error) (done int) {
			var all sync.WaitGroup
			errs := make([]error, tries)
			for n := range tries {
				all.Go(func() { errs[n] = do(n) })
			}
			all.Wait()
			for _, err := range errs {
				if err == nil {
					done++
				} else if !errors.Is(err, want) || errors.Is(err, ErrUnavailable) {
					t.Errorf("got %v, want %v", err, want)
				}
			}
			return done
		}
		if done := atOnce(func(n int) error {
			return db.CreateAPIKey(t.Context(), anAPIKey(fmt.Sprintf("api-%02d", n), "ada"), most, anEvent(EventAPIKeyCreated, "ada"))
		}, ErrTooMany); done != most {
			t.Errorf("%d keys, want %d", done, most)
		}
		keys, err := db.APIKeys(t.Context(), "ada", "", 100)
		must(t, err)
		if done := atOnce(func(n int) error {
			return db.RotateAPIKey(t.Context(), keys[0].ID, anAPIKey(fmt.Sprintf("api-1%02d", n), "ada"), anEvent(EventAPIKeyRotated, "ada"))
		}, ErrNotFound); done != 1 {
			t.Errorf("%d rotations, want 1", done)
		}
		if done := atOnce(func(int) error {
			return db.RevokeAPIKey(t.Context(), keys[1].ID, "ada", anEvent(EventAPIKeyRevoked, "ada"))
		}, ErrNotFound); done != 1 {
			t.Errorf("%d revocations, want 1", done)
		}
		if n := count(t, db, `SELECT count(*) FROM api_keys WHERE revoked_at = 0`); n != most-1 {
			t.Errorf("%d live keys, want %d", n, most-1)
		}
		// One that has ended makes room.
		must(t, db.RevokeAPIKey(t.Context(), keys[2].ID, "ada", anEvent(EventAPIKeyRevoked, "ada")))
		ending := anAPIKey("api-200", "ada")
		ending.ExpiresAt = noon.Add(time.Minute)
		must(t, db.CreateAPIKey(t.Context(), ending, most-1, anEvent(EventAPIKeyCreated, "ada")))
		more := anAPIKey("api-201", "ada")
		if err := db.CreateAPIKey(t.Context(), more, most-1, anEvent(EventAPIKeyCreated, "ada")); !errors.Is(err, ErrTooMany) {
			t.Errorf("got %v, want ErrTooMany", err)
		}
		more.CreatedAt = ending.ExpiresAt
		must(t, db.CreateAPIKey(t.Context(), more, most-1, anEvent(EventAPIKeyCreated, "ada")))
		if err := db.RotateAPIKey(t.Context(), "api-200", func() APIKey { k := anAPIKey("api-202", "ada"); k.CreatedAt = ending.ExpiresAt; return k }(), anEvent(EventAPIKeyRotated, "ada")); !errors.Is(err, ErrNotFound) {
			t.Errorf("a key that has ended was rotated: %v", err)
		}
		clean(t, db)
	})
}

// A purge deletes keys that ended before the given time and keeps all others.
func TestPurgeAPIKeys(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, fresh testkit.Engine) {
		db := openAt(t, fresh(t))
		addUser(t, db, "ada")
		signIn(t, db, "ada", "session-1", "grant-1")
		for id, end := range map[string]time.Duration{"forever": 0, "ending": time.Hour, "ended": time.Second, "revoked": 0, "just-revoked": 0} {
			k := anAPIKey(id, "ada")
			if end > 0 {
				k.ExpiresAt = noon.Add(end)
			}
			must(t, db.CreateAPIKey(t.Context(), k, 10, anEvent(EventAPIKeyCreated, "ada")))
		}
		must(t, db.RevokeAPIKey(t.Context(), "revoked", "ada", anEvent(EventAPIKeyRevoked, "ada")))
		late := anEvent(EventAPIKeyRevoked, "ada")
		late.At = noon.Add(time.Minute)
		must(t, db.RevokeAPIKey(t.Context(), "just-revoked", "ada", late))
		must(t, db.PurgeAPIKeys(t.Context(), noon.Sub(noon.Add(time.Minute))))
		var left []string
		for _, id := range []string{"forever", "ending", "ended", "revoked", "just-revoked"} {
			if _, err := db.APIKeyByID(t.Context(), id); err == nil {
				left = append(left, id)
			}
		}
		if !slices.Equal(left, []string{"forever", "ending", "just-revoked"}) {
			t.Errorf("left: %v", left)
		}
	})
}
