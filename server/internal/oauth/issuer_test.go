package oauth

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// TestMain has the model checked a few hundred deeds long: each waits for the
// disk. More is asked for with -rapid.checks.
func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", "12"); err != nil {
		panic(err)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// noon is when these tests begin.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// clock is a clock that only the test moves.
type clock struct{ at atomic.Int64 } // Unix nanoseconds

func newClock() *clock {
	c := new(clock)
	c.at.Store(noon.UnixNano())
	return c
}

func (c *clock) Now() time.Time          { return time.Unix(0, c.at.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.at.Add(int64(d)) }

// Where requests come from.
var (
	home      = request.Info{Addr: netip.MustParseAddr("192.0.2.7"), UserAgent: "curl/8.5.0"}
	cafe      = request.Info{Addr: netip.MustParseAddr("198.51.100.7"), UserAgent: "curl/8.5.0"}
	homeFox   = request.Info{Addr: netip.MustParseAddr("192.0.2.8"), UserAgent: "Mozilla/5.0 Firefox/140.0"}
	elsewhere = request.Info{Addr: netip.MustParseAddr("203.0.113.7"), UserAgent: "Mozilla/5.0 Firefox/140.0"}
)

// world is an issuer on a real database.
type world struct {
	t       testing.TB
	dir     string // of the master key
	address string
	tweak   func(*Config)
	clock   *clock
	logs    *logged

	db   *store.DB
	list *revoked.List
	*Issuer
}

type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newWorld(t testing.TB, on services.Engine, tweak func(*Config)) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), address: on(t), tweak: tweak, clock: newClock(), logs: new(logged)}
	w.open()
	t.Cleanup(func() { w.must(w.db.Close()) })
	return w
}

// open opens the database and starts the issuer, as a process does.
func (w *world) open() {
	w.t.Helper()
	w.must(w.tryOpen())
}

func (w *world) tryOpen() (err error) {
	ctx := context.Background()
	master, err := seal.Open(filepath.Join(w.dir, "master.key"), true)
	w.must(err)
	w.db, err = store.Open(ctx, store.Config{URL: w.address, Now: w.clock.Now})
	w.must(err)
	w.list = revoked.NewList(w.clock.Now)
	c := Config{
		URL: "https://auth.example.com", DB: w.db, Master: master, Revoked: w.list, Now: w.clock.Now,
		Log: slog.New(slog.NewTextHandler(w.logs, nil)),
	}
	if w.tweak != nil {
		w.tweak(&c)
	}
	if w.Issuer, err = New(ctx, c); err != nil {
		return err
	}
	return w.Start(ctx)
}

// in is the same world, failing another test.
func (w *world) in(t testing.TB) *world {
	inner := *w
	inner.t = t
	return &inner
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// behind opens the database behind the store's back.
func (w *world) behind() *sql.DB {
	w.t.Helper()
	driver, address := "pgx", w.address
	if path, is := strings.CutPrefix(address, "sqlite:"); is {
		driver, address = "sqlite", "file:"+path+"?_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, address)
	w.must(err)
	return db
}

// tamper changes the database behind the store's back.
func (w *world) tamper(query string, args ...any) {
	w.t.Helper()
	db := w.behind()
	defer db.Close()
	_, err := db.ExecContext(context.Background(), query, args...)
	w.must(err)
}

var people atomic.Int64

// person adds somebody.
func (w *world) person() store.User {
	w.t.Helper()
	n := people.Add(1)
	u := store.User{ID: fmt.Sprintf("person-%d", n), Email: fmt.Sprintf("p%d@example.com", n), EmailKey: fmt.Sprintf("p%d@example.com", n), Password: "$argon2id$", CreatedAt: w.clock.Now(), PasswordChangedAt: w.clock.Now()}
	w.must(w.db.CreateUser(context.Background(), u, store.Event{ID: store.NewID(), Kind: store.EventUserAdded, At: w.clock.Now(), UserID: u.ID}))
	return u
}

// proof returns the proof of a correct password of u.
func (w *world) proof(u store.User) account.Proof {
	return account.Proof{User: u, Methods: []string{"pwd"}, ACR: "urn:durward:acr:1fa", At: w.clock.Now()}
}

func (w *world) signIn(u store.User) Tokens {
	w.t.Helper()
	t, err := w.SignIn(context.Background(), w.proof(u), nil, home)
	w.must(err)
	return t
}

// refreshed wants a refresh to succeed.
func (w *world) refreshed(token string, from request.Info) Tokens {
	w.t.Helper()
	t, err := w.Refresh(context.Background(), token, nil, from)
	w.must(err)
	return t
}

// refused wants a refresh to be refused with a code, and to give nothing.
func (w *world) refused(token string, from request.Info, want durward.Code) {
	w.t.Helper()
	t, err := w.Refresh(context.Background(), token, nil, from)
	if codeOf(err) != want || t != (Tokens{}) {
		w.t.Fatalf("Refresh: %v and tokens of session %q, want %s and none", err, t.Session, want)
	}
}

// codeOf is the code that an error wraps, or what is no code.
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

// grant reads the grant of a token.
func (w *world) grant(token string) (store.Grant, store.Session) {
	w.t.Helper()
	p, err := parseRefresh(token)
	w.must(err)
	g, s, _, err := w.db.GrantByID(context.Background(), p.grant)
	w.must(err)
	return g, s
}

// nth is token n of the grant that a token is of.
func (w *world) nth(token string, n uint32) string {
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

func (w *world) events(u store.User, kind string) []store.Event {
	w.t.Helper()
	events, err := w.db.Events(context.Background(), store.EventFilter{Kind: kind, UserID: u.ID})
	w.must(err)
	return events
}

func (w *world) told(u store.User) (kinds []string) {
	w.t.Helper()
	list, err := w.db.Notifications(context.Background(), u.ID, "", 100)
	w.must(err)
	for _, n := range list {
		kinds = append(kinds, n.Kind)
	}
	return kinds
}

// verdict is what the verifier says of an access token.
func (w *world) verdict(access string) durward.Code {
	_, err := w.Verifier().Verify(context.Background(), access)
	return codeOf(err)
}

func TestNewNamesEveryMistake(t *testing.T) {
	t.Parallel()
	_, err := New(t.Context(), Config{
		Algorithm: "none", SharedSecret: make([]byte, 32), AccessTTL: 25 * time.Hour, RefreshTTL: -1, RefreshAbsolute: time.Millisecond, RefreshGrace: time.Microsecond, Leeway: 61 * time.Second,
	})
	if err == nil {
		t.Fatal("New took it")
	}
	for _, want := range []string{"no issuer URL", "database, master key and revocation list", `"none"`, "of no use to any other algorithm", "25h0m0s, at most", "life of refresh tokens is -1ns", "absolute life", "grace is 1µs", "leeway is 1m1s"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the mistake %q is not named in:\n%v", want, err)
		}
	}
}

func TestSignIn(t *testing.T) {
	t.Parallel()
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		w := newWorld(t, on, nil)
		w.clock.advance(700 * time.Millisecond)
		u := w.person()
		tokens := w.signIn(u)
		p, err := w.Verifier().Verify(t.Context(), tokens.Access)
		w.must(err)
		if p.Subject != u.ID || p.SessionID != tokens.Session || p.ClientID != FirstParty || tokens.Subject != u.ID || tokens.Scope != "profile" || !slices.Equal(p.Scopes, []string{"profile"}) || !slices.Equal(p.AMR, []string{"pwd"}) {
			t.Errorf("principal %+v of %s", p, tokens.Session)
		}
		// The life told is what is left until exp, which has whole seconds.
		if left := p.Expires.Sub(w.clock.Now()); tokens.AccessLife != left || left > 15*time.Minute {
			t.Errorf("life %s, %s are left", tokens.AccessLife, left)
		}
		if tokens.RefreshLife != 7*24*time.Hour || numberOf(tokens.Refresh) != 0 {
			t.Errorf("refresh token %d for %s", numberOf(tokens.Refresh), tokens.RefreshLife)
		}
		admin := w.person()
		admin.Admin = true
		if got := w.signIn(admin).Scope; got != "profile admin" {
			t.Errorf("scope of an administrator: %q", got)
		}
		if len(w.events(u, store.EventSignedIn)) != 1 {
			t.Error("no event")
		}

		// Locked after the password was judged.
		_, err = w.db.LockUser(t.Context(), u.ID, w.clock.Now(), store.Event{ID: store.NewID(), Kind: store.EventUserLocked, At: w.clock.Now(), UserID: u.ID})
		w.must(err)
		if got, err := w.SignIn(t.Context(), w.proof(u), nil, home); codeOf(err) != durward.InvalidCredentials || got != (Tokens{}) {
			t.Errorf("SignIn of somebody locked: %v", err)
		}
	})
}

func TestIssueAndRevoke(t *testing.T) {
	t.Parallel()
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		w := newWorld(t, on, nil)
		for _, life := range []time.Duration{0, -time.Second, time.Second - 1, 24*time.Hour + 1} {
			if token, c, err := w.Issue(t.Context(), "robot", nil, life); err == nil || !strings.Contains(err.Error(), "from 1s to 24h") || token != "" || c.ID != "" {
				t.Errorf("a life of %s: %v", life, err)
			}
		}
		token, c, err := w.Issue(t.Context(), "robot", []string{"a", "b"}, 24*time.Hour)
		w.must(err)
		p, err := w.Verifier().Verify(t.Context(), token)
		w.must(err)
		if p.Subject != "robot" || p.SessionID != "" || p.TokenID != c.ID || !slices.Equal(p.Scopes, []string{"a", "b"}) {
			t.Errorf("principal %+v", p)
		}
		events := w.events(store.User{ID: "robot"}, store.EventTokenIssued)
		if len(events) != 1 || !strings.Contains(events[0].Detail, c.ID) || strings.Contains(events[0].Detail, token) {
			t.Errorf("events %+v", events)
		}

		other, _, err := w.Issue(t.Context(), "robot", nil, time.Hour)
		w.must(err)
		w.must(w.Revoke(t.Context(), p))
		// It stays dead to its end, though that is long after a usual token's.
		for range 24 {
			if got := w.verdict(token); got != durward.TokenRevoked {
				t.Fatalf("revoked, at %s: %s", w.clock.Now(), got)
			}
			entries, err := w.db.Revocations(t.Context(), 0, noon)
			w.must(err)
			if len(entries) != 1 || entries[0].Value != c.ID || entries[0].Kind != "jti" {
				t.Fatalf("at %s the feed has %v", w.clock.Now(), entries)
			}
			if w.clock.Now().Equal(noon) && w.verdict(other) != "no error" {
				t.Fatal("another token died with it")
			}
			w.must(w.db.PurgeRevocations(t.Context()))
			w.clock.advance(time.Hour)
			w.list.Add() // time alone sweeps nothing that counts
		}
		if got := w.verdict(token); got != durward.TokenExpired {
			t.Errorf("after its end: %s", got)
		}
		for _, p := range []*durward.Principal{nil, {TokenID: "x"}, {Expires: noon}} {
			if err := w.Revoke(t.Context(), p); err == nil {
				t.Errorf("Revoke took %+v", p)
			}
		}
	})
}

// Whatever a token can be revoked by makes it dead, and nothing else does.
func TestRevokedBy(t *testing.T) {
	t.Parallel()
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		w := newWorld(t, on, nil)
		access := w.signIn(w.person()).Access
		p, err := w.Verifier().Verify(t.Context(), access)
		w.must(err)
		values := map[revoked.Kind]string{revoked.Session: p.SessionID, revoked.Token: p.TokenID, revoked.SigningKey: w.signer.Load().ID()}
		for kind, value := range values {
			for other, wrong := range values {
				if other != kind {
					w.list.Add(revoked.Entry{Kind: kind, Value: wrong, Until: noon.Add(time.Minute)})
				}
			}
			if got := w.verdict(access); got != "no error" {
				t.Fatalf("before: %s", got)
			}
			w.list.Add(revoked.Entry{Kind: kind, Value: value, Until: w.clock.Now().Add(time.Second)})
			if got := w.verdict(access); got != durward.TokenRevoked {
				t.Errorf("revoked by %s: %s", kind, got)
			}
			w.clock.advance(2 * time.Second)
		}
	})
}

// What the store cannot do is not known, never refused and never done.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, services.File, nil)
	u := w.person()
	first := w.signIn(u)
	second := w.refreshed(first.Refresh, home)
	p, err := w.Verifier().Verify(t.Context(), second.Access)
	w.must(err)
	check := func(deed string, err error, given bool) {
		t.Helper()
		if codeOf(err) != "no code" || !errors.Is(err, store.ErrUnavailable) || given {
			t.Errorf("%s while the store is away: %v, given %t; want an error without a code and nothing given", deed, err, given)
		}
	}
	// Reading works while nothing can be written: the deeds of a judgement too.
	w.tamper(`CREATE TRIGGER full1 BEFORE UPDATE ON grants BEGIN SELECT RAISE(ABORT, 'full'); END`)
	w.tamper(`CREATE TRIGGER full2 BEFORE UPDATE ON sessions BEGIN SELECT RAISE(ABORT, 'full'); END`)
	for what, at := range map[string]struct {
		token string
		wait  time.Duration
	}{"move": {second.Refresh, 0}, "counted replay": {first.Refresh, 2 * time.Second}, "lost answer": {first.Refresh, time.Minute}, "theft": {w.nth(first.Refresh, 0), time.Minute}, "the store's future": {w.nth(first.Refresh, 9), 0}} {
		w.clock.advance(at.wait)
		from := home
		if what == "theft" {
			from = elsewhere
		}
		tokens, err := w.Refresh(t.Context(), at.token, nil, from)
		if codeOf(err) != "no code" || tokens != (Tokens{}) {
			t.Errorf("%s that cannot be written: %v, want an error without a code", what, err)
		}
		w.clock.advance(-at.wait)
	}
	if got := w.verdict(second.Access); got != "no error" {
		t.Errorf("what could not be ended is said to be: %s", got)
	}

	spare := w.JWKS()
	w.must(w.db.Close())
	tokens, err := w.Refresh(t.Context(), second.Refresh, nil, home)
	check("Refresh", err, tokens != (Tokens{}))
	tokens, err = w.SignIn(t.Context(), w.proof(u), nil, home)
	check("SignIn", err, tokens != (Tokens{}))
	token, c, err := w.Issue(t.Context(), u.ID, nil, time.Minute)
	check("Issue", err, token != "" || c.ID != "")
	user, session, err := w.RefreshSession(t.Context(), second.Refresh)
	check("RefreshSession", err, user != "" || session != "")
	check("Revoke", w.Revoke(t.Context(), p), w.list.Revoked(revoked.Token, p.TokenID))
	check("Rotate", w.Rotate(t.Context(), true), false)
	check("Tend", w.Tend(t.Context()), false)
	check("ReadKeys", w.ReadKeys(t.Context()), !bytes.Equal(spare, w.JWKS()))
	check("Start", w.Start(t.Context()), false)
	// The keys are still known: what was issued is still judged.
	if got := w.verdict(second.Access); got != "no error" {
		t.Errorf("a good access token while the store is away: %s", got)
	}
	// Garbage is refused without the store.
	for _, bad := range []string{"x", altered(second.Refresh, func(raw []byte) { raw[22] ^= 1 }), altered(second.Refresh, func(raw []byte) { raw[1] = 9 })} {
		w.refused(bad, home, durward.RefreshInvalid)
		if _, _, err := w.RefreshSession(t.Context(), bad); codeOf(err) != durward.RefreshInvalid {
			t.Errorf("RefreshSession of garbage: %v", err)
		}
	}
}
