package session

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/pwhash"
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/securitylog"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// TestMain limits the model test to 12 runs, since each of its transactions waits for the disk. The
// flag -rapid.checks asks for more.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "12"); err != nil {
		panic(err)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// noon is the time at which tests begin.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// Where requests come from.
var (
	home      = request.Info{Addr: netip.MustParseAddr("192.0.2.7"), UserAgent: "curl/8.5.0"}
	cafe      = request.Info{Addr: netip.MustParseAddr("198.51.100.7"), UserAgent: "curl/8.5.0"}
	homeFox   = request.Info{Addr: netip.MustParseAddr("192.0.2.8"), UserAgent: "Mozilla/5.0 Firefox/140.0"}
	elsewhere = request.Info{Addr: netip.MustParseAddr("203.0.113.7"), UserAgent: "Mozilla/5.0 Firefox/140.0"}
	operator  = request.Info{Actor: "operator"}
)

// env is a Manager over a real database.
type env struct {
	t       testing.TB
	dir     string // of the master key
	address string
	change  func(*Config)
	clock   *testkit.Clock
	logs    *testkit.Log

	db       *store.DB
	master   *seal.Master
	list     *revoked.List
	hasher   *pwhash.Hasher
	accounts *account.Manager
	issuer   *issuer.Issuer
	*Manager
}

func newEnv(t testing.TB, engine testkit.Engine, change func(*Config)) *env {
	t.Helper()
	w := &env{t: t, dir: t.TempDir(), address: engine(t), change: change, clock: testkit.NewClock(noon), logs: new(testkit.Log)}
	w.open()
	t.Cleanup(func() { w.must(w.db.Close()) })
	return w
}

// open opens the database and makes the Manager, as a process does at its start.
func (w *env) open() {
	w.t.Helper()
	w.must(w.tryOpen())
}

func (w *env) tryOpen() (err error) {
	ctx := context.Background()
	w.master, err = seal.Open(filepath.Join(w.dir, "master.key"), true)
	w.must(err)
	w.db, err = store.Open(ctx, store.Config{URL: w.address, Now: w.clock.Now})
	w.must(err)
	w.list = revoked.NewList(w.clock.Now)
	w.hasher, err = pwhash.New(pwhash.Config{Memory: 64, Time: 1})
	w.must(err)
	limiter, err := limits.New(limits.Config{Now: w.clock.Now})
	w.must(err)
	log := w.logs.Logger()
	securityLog, err := securitylog.New(securitylog.Config{DB: w.db, Master: w.master, Log: log, Now: w.clock.Now})
	w.must(err)
	w.accounts, err = account.New(account.Config{
		DB: w.db, Master: w.master, Hasher: w.hasher, Limits: limiter, SecurityLog: securityLog, Now: w.clock.Now, Log: log,
	})
	w.must(err)
	w.issuer, err = issuer.New(ctx, issuer.Config{
		URL: "https://auth.example.com", DB: w.db, Master: w.master, Revoked: w.list, Now: w.clock.Now, Log: log,
	})
	if err != nil {
		return err
	}
	c := Config{DB: w.db, Accounts: w.accounts, Issuer: w.issuer, Revoked: w.list, Now: w.clock.Now, Log: log}
	if w.change != nil {
		w.change(&c)
	}
	w.Manager, err = New(c)
	w.must(err)
	return w.Start(ctx)
}

// in returns the same environment for another test.
func (w *env) in(t testing.TB) *env {
	inner := *w
	inner.t = t
	return &inner
}

func (w *env) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// rawDB opens the database without the store.
func (w *env) rawDB() *sql.DB {
	w.t.Helper()
	driver, address := "pgx", w.address
	if path, is := strings.CutPrefix(address, "sqlite:"); is {
		driver, address = "sqlite", "file:"+path+"?_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, address)
	w.must(err)
	return db
}

// exec changes the database without the store.
func (w *env) exec(query string, args ...any) {
	w.t.Helper()
	db := w.rawDB()
	defer db.Close()
	_, err := db.ExecContext(context.Background(), query, args...)
	w.must(err)
}

var users atomic.Int64

// user adds a user.
func (w *env) user() store.User {
	w.t.Helper()
	n := users.Add(1)
	u := store.User{ID: fmt.Sprintf("user-%d", n), Email: fmt.Sprintf("p%d@example.com", n), EmailKey: fmt.Sprintf("p%d@example.com", n), Password: "$argon2id$", CreatedAt: w.clock.Now(), PasswordChangedAt: w.clock.Now()}
	w.must(w.db.CreateUser(context.Background(), u, nil, false, store.Event{ID: store.NewID(), Kind: store.EventUserAdded, At: w.clock.Now(), UserID: u.ID}))
	return u
}

// proof returns the proof of a correct password of u.
func (w *env) proof(u store.User) account.Proof {
	return account.Proof{User: u, Methods: []string{"pwd"}, ACR: "urn:durward:acr:1fa", At: w.clock.Now()}
}

func (w *env) signIn(u store.User) Tokens {
	w.t.Helper()
	t, err := w.SignIn(context.Background(), w.proof(u), nil, home)
	w.must(err)
	return t
}

// refreshed refreshes a token and fails the test if that is refused.
func (w *env) refreshed(token string, from request.Info) Tokens {
	w.t.Helper()
	t, err := w.Refresh(context.Background(), token, nil, from)
	w.must(err)
	return t
}

// refused refreshes a token and fails the test unless that is refused with a code.
func (w *env) refused(token string, from request.Info, want durward.Code) {
	w.t.Helper()
	t, err := w.Refresh(context.Background(), token, nil, from)
	if codeOf(err) != want || t != (Tokens{}) {
		w.t.Fatalf("Refresh: got %v and tokens of session %q, want %s and none", err, t.Session, want)
	}
}

// codeOf returns the code that err wraps, "no error" or "no code".
func codeOf(err error) durward.Code {
	var code durward.Code
	switch {
	case err == nil:
		return "no error"
	case errors.As(err, &code):
		return code
	}
	return "no code"
}

// grant returns the grant and the session of a token.
func (w *env) grant(token string) (store.Grant, store.Session) {
	w.t.Helper()
	p, err := parseRefresh(token)
	w.must(err)
	g, s, _, err := w.db.GrantByID(context.Background(), p.grant)
	w.must(err)
	return g, s
}

// nth returns token n of the grant of a token.
func (w *env) nth(token string, n uint32) string {
	w.t.Helper()
	g, _ := w.grant(token)
	derived, err := w.refreshToken(g, n)
	w.must(err)
	return derived
}

func numberOf(token string) uint32 {
	p, err := parseRefresh(token)
	if err != nil {
		return 1 << 31
	}
	return p.n
}

func (w *env) events(u store.User, kind string) []store.Event {
	w.t.Helper()
	events, err := w.db.Events(context.Background(), store.EventFilter{Kind: kind, UserID: u.ID})
	w.must(err)
	return events
}

func (w *env) notifications(u store.User) (kinds []string) {
	w.t.Helper()
	list, err := w.db.Notifications(context.Background(), u.ID, "", 100)
	w.must(err)
	for _, n := range list {
		kinds = append(kinds, n.Kind)
	}
	return kinds
}

// tokenCode returns the code for an access token, or "no error".
func (w *env) tokenCode(access string) durward.Code {
	_, err := w.issuer.Verifier().Verify(context.Background(), access)
	return codeOf(err)
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		w.clock.Advance(700 * time.Millisecond)
		u := w.user()
		tokens := w.signIn(u)
		p, err := w.issuer.Verifier().Verify(t.Context(), tokens.Access)
		w.must(err)
		if p.Subject != u.ID || p.SessionID != tokens.Session || p.ClientID != FirstParty || tokens.Subject != u.ID || tokens.Scope != "profile" || !slices.Equal(p.Scopes, []string{"profile"}) || !slices.Equal(p.AMR, []string{"pwd"}) {
			t.Errorf("got principal %+v of session %s", p, tokens.Session)
		}
		// AccessLife is the time until exp, which has whole seconds.
		if left := p.Expires.Sub(w.clock.Now()); tokens.AccessLife != left || left > 15*time.Minute {
			t.Errorf("got life %s, want %s", tokens.AccessLife, left)
		}
		if tokens.RefreshLife != 7*24*time.Hour || numberOf(tokens.Refresh) != 0 {
			t.Errorf("got refresh token %d with life %s", numberOf(tokens.Refresh), tokens.RefreshLife)
		}
		admin := w.user()
		admin.Admin = true
		if got := w.signIn(admin).Scope; got != "profile admin" {
			t.Errorf("administrator: got scope %q", got)
		}
		if len(w.events(u, store.EventSignedIn)) != 1 {
			t.Error("got no event")
		}

		// Locked after the password was verified.
		_, err = w.db.LockUser(t.Context(), u.ID, w.clock.Now(), store.Event{ID: store.NewID(), Kind: store.EventUserLocked, At: w.clock.Now(), UserID: u.ID})
		w.must(err)
		if got, err := w.SignIn(t.Context(), w.proof(u), nil, home); codeOf(err) != durward.InvalidCredentials || got != (Tokens{}) {
			t.Errorf("SignIn of a locked user: got %v", err)
		}
	})
}

// While the store is unavailable, no method refuses, and none has an effect.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	w := newEnv(t, testkit.SQLite, nil)
	u := w.user()
	first := w.signIn(u)
	second := w.refreshed(first.Refresh, home)
	check := func(method string, err error, given bool) {
		t.Helper()
		if codeOf(err) != "no code" || !errors.Is(err, store.ErrUnavailable) || given {
			t.Errorf("%s: got %v, result %t; want ErrUnavailable without a code and no result", method, err, given)
		}
	}
	// Reads work, but all writes fail.
	w.exec(`CREATE TRIGGER full1 BEFORE UPDATE ON grants BEGIN SELECT RAISE(ABORT, 'full'); END`)
	w.exec(`CREATE TRIGGER full2 BEFORE UPDATE ON sessions BEGIN SELECT RAISE(ABORT, 'full'); END`)
	for what, at := range map[string]struct {
		token string
		wait  time.Duration
	}{"move": {second.Refresh, 0}, "counted replay": {first.Refresh, 2 * time.Second}, "lost answer": {first.Refresh, time.Minute}, "theft": {w.nth(first.Refresh, 0), time.Minute}, "the store's future": {w.nth(first.Refresh, 9), 0}} {
		w.clock.Advance(at.wait)
		from := home
		if what == "theft" {
			from = elsewhere
		}
		tokens, err := w.Refresh(t.Context(), at.token, nil, from)
		if codeOf(err) != "no code" || tokens != (Tokens{}) {
			t.Errorf("%s with failing writes: got %v, want an error without a code", what, err)
		}
		w.clock.Advance(-at.wait)
	}
	if got := w.tokenCode(second.Access); got != "no error" {
		t.Errorf("access token of a session that could not be ended: got %s", got)
	}

	w.must(w.db.Close())
	tokens, err := w.Refresh(t.Context(), second.Refresh, nil, home)
	check("Refresh", err, tokens != (Tokens{}))
	tokens, err = w.SignIn(t.Context(), w.proof(u), nil, home)
	check("SignIn", err, tokens != (Tokens{}))
	user, session, err := w.SessionOfRefreshToken(t.Context(), second.Refresh)
	check("SessionOfRefreshToken", err, user != "" || session != "")
	check("Start", w.Start(t.Context()), false)
	// Access tokens are still verified, with the keys in memory.
	if got := w.tokenCode(second.Access); got != "no error" {
		t.Errorf("valid access token: got %s", got)
	}
	// Garbage is refused without a read of the store.
	for _, bad := range []string{"x", altered(second.Refresh, func(raw []byte) { raw[22] ^= 1 }), altered(second.Refresh, func(raw []byte) { raw[1] = 9 })} {
		w.refused(bad, home, durward.RefreshInvalid)
		if _, _, err := w.SessionOfRefreshToken(t.Context(), bad); codeOf(err) != durward.RefreshInvalid {
			t.Errorf("SessionOfRefreshToken of garbage: got %v", err)
		}
	}
}

func TestNewNamesEveryMistake(t *testing.T) {
	t.Parallel()
	_, err := New(Config{RefreshTTL: -1, RefreshAbsolute: time.Millisecond, RefreshGrace: time.Microsecond, CookieIdle: time.Millisecond, CookieAbsolute: -1})
	if err == nil {
		t.Fatal("New: no error")
	}
	for _, want := range []string{
		"database, accounts, issuer and revocation list", "life of refresh tokens is -1ns", "absolute life", "grace is 1µs",
		"idle time of a cookie session is 1ms", "life of a cookie session is -1ns",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("New: got %v, want %q in it", err, want)
		}
	}
}

// addRefreshKey adds a refresh key to the database.
func (w *env) addRefreshKey(number uint8) store.Key {
	w.t.Helper()
	k := store.Key{ID: store.NewID(), Use: store.UseRefresh, Algorithm: "HS256", State: store.KeyActive, Number: number, CreatedAt: w.clock.Now(), ActivatedAt: w.clock.Now()}
	var err error
	k.Sealed, err = w.master.Seal("refresh key", k.ID, slices.Repeat([]byte{number}, 32))
	w.must(err)
	w.must(w.db.AddKey(context.Background(), k, store.Event{ID: store.NewID(), Kind: store.EventKeyCreated, At: w.clock.Now()}))
	return k
}

func TestRefreshKeysFollowTheDatabase(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		u := w.user()
		old := w.signIn(u)
		w.clock.Advance(time.Second)
		w.addRefreshKey(2)
		w.must(w.issuer.ReadKeys(t.Context()))
		young := w.signIn(u)
		if g, _ := w.grant(young.Refresh); g.Key != 2 {
			t.Errorf("new sign-in: got key %d, want 2", g.Key)
		}
		// A new key ends no session.
		old = w.refreshed(old.Refresh, home)
		young = w.refreshed(young.Refresh, home)
		// One key replaces another, so that their number stays the same.
		w.exec(`UPDATE keys SET state = 'gone', sealed = $1 WHERE use_for = 'refresh' AND number = 1`, []byte{})
		w.clock.Advance(time.Second)
		w.addRefreshKey(3)
		w.must(w.issuer.ReadKeys(t.Context()))
		w.refused(old.Refresh, home, durward.RefreshInvalid)
		w.refreshed(young.Refresh, home)
		if g, _ := w.grant(w.signIn(u).Refresh); g.Key != 3 {
			t.Errorf("new sign-in: got key %d, want 3", g.Key)
		}
	})
}

// A restored database has another epoch: older refresh tokens are refused without an alarm.
func TestEpoch(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		u := w.user()
		before := w.signIn(u)
		w.must(w.db.Close())
		w.open()
		again := w.refreshed(before.Refresh, home)
		w.must(w.db.Close())
		w.exec(`UPDATE meta SET value = 'ANOTHEREPOCH' WHERE name = 'epoch'`)
		w.open()
		w.refused(again.Refresh, home, durward.RefreshInvalid)
		w.refused(before.Refresh, home, durward.RefreshInvalid)
		w.refreshed(w.signIn(u).Refresh, home)
		if len(w.events(u, store.EventRefreshTheft)) != 0 {
			t.Error("got a theft alarm after a restore")
		}
	})
}

// Run deletes sessions a week after their end.
func TestRunForgetsSessions(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		ada := w.user()
		w.signIn(ada)
		sessions := func() int {
			rows, err := w.db.Sessions(t.Context(), ada.ID, time.Time{})
			w.must(err)
			return len(rows)
		}
		if n := sessions(); n != 1 {
			t.Fatalf("got %d sessions, want 1", n)
		}
		w.clock.Advance(w.c.RefreshAbsolute + endedKept + time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); w.Run(ctx) }()
		for deadline := time.Now().Add(20 * time.Second); sessions() > 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the session is still stored after 20 s")
			}
		}
		cancel()
		<-done
	})
}
