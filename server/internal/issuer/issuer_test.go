package issuer

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// noon is the time at which tests begin.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// env is an issuer over a real database.
type env struct {
	t       testing.TB
	dir     string // of the master key
	address string
	change  func(*Config)
	clock   *testkit.Clock

	db   *store.DB
	list *revoked.List
	*Issuer
}

func newEnv(t testing.TB, engine testkit.Engine, change func(*Config)) *env {
	t.Helper()
	e := &env{t: t, dir: t.TempDir(), address: engine(t), change: change, clock: testkit.NewClock(noon)}
	e.open()
	t.Cleanup(func() { e.must(e.db.Close()) })
	return e
}

// open opens the database and makes the issuer, as a process does at its start.
func (e *env) open() {
	e.t.Helper()
	ctx := context.Background()
	master, err := seal.Open(filepath.Join(e.dir, "master.key"), true)
	e.must(err)
	e.db, err = store.Open(ctx, store.Config{URL: e.address, Now: e.clock.Now})
	e.must(err)
	e.list = revoked.NewList(e.clock.Now)
	c := Config{URL: "https://auth.example.com", DB: e.db, Master: master, Revoked: e.list, Now: e.clock.Now}
	if e.change != nil {
		e.change(&c)
	}
	e.Issuer, err = New(ctx, c)
	e.must(err)
}

func (e *env) must(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

// exec changes the database without the store.
func (e *env) exec(query string, args ...any) {
	e.t.Helper()
	driver, address := "pgx", e.address
	if path, is := strings.CutPrefix(address, "sqlite:"); is {
		driver, address = "sqlite", "file:"+path+"?_pragma=busy_timeout(5000)"
	}
	db, err := sql.Open(driver, address)
	e.must(err)
	defer db.Close()
	_, err = db.ExecContext(context.Background(), query, args...)
	e.must(err)
}

// claims returns the claims of a session's access token.
func (e *env) claims() jwt.Claims {
	return jwt.Claims{
		Subject: "ada", SessionID: "session-1", ClientID: "durward", Scopes: []string{"profile"},
		AuthTime: e.clock.Now(), ACR: "urn:durward:acr:1fa", AMR: []string{"pwd"},
	}
}

// access returns a new access token of a session.
func (e *env) access() string {
	e.t.Helper()
	token, _, err := e.Sign(e.claims())
	e.must(err)
	return token
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

// tokenCode returns the verifier's code for an access token, or "no error".
func (e *env) tokenCode(access string) durward.Code {
	_, err := e.Verifier().Verify(context.Background(), access)
	return codeOf(err)
}

// events returns the security log's events of a kind.
func (e *env) events(kind string) []store.Event {
	e.t.Helper()
	events, err := e.db.Events(context.Background(), store.EventFilter{Kind: kind})
	e.must(err)
	return events
}

func TestNewNamesEveryMistake(t *testing.T) {
	t.Parallel()
	_, err := New(t.Context(), Config{
		Algorithm:    "none",
		SharedSecret: make([]byte, 32),
		AccessTTL:    25 * time.Hour,
		Leeway:       61 * time.Second,
	})
	if err == nil {
		t.Fatal("New: no error")
	}
	for _, want := range []string{
		"no issuer URL", "database, master key and revocation list", `"none"`, "no other algorithm takes one",
		"25h0m0s, want 1s to 24h", "leeway is 1m1s",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("New: got %v, want %q in it", err, want)
		}
	}
}

func TestSign(t *testing.T) {
	t.Parallel()
	e := newEnv(t, testkit.SQLite, nil)
	e.clock.Advance(700 * time.Millisecond)
	claims := e.claims()
	token, life, err := e.Sign(claims)
	e.must(err)
	p, err := e.Verifier().Verify(t.Context(), token)
	e.must(err)
	if p.Subject != claims.Subject || p.SessionID != claims.SessionID || p.ClientID != claims.ClientID || p.ACR != claims.ACR ||
		!slices.Equal(p.Scopes, claims.Scopes) || !slices.Equal(p.AMR, claims.AMR) || p.TokenID == "" {
		t.Errorf("got principal %+v, want the claims %+v", p, claims)
	}
	// exp is in whole seconds; life is the time until exp.
	if left := p.Expires.Sub(e.clock.Now()); life != left || left > 15*time.Minute || left < 15*time.Minute-time.Second {
		t.Errorf("got life %s, want %s", life, left)
	}
	for name, c := range map[string]struct {
		change func(*jwt.Claims)
		code   durward.Code
		life   time.Duration
	}{
		"session ends in a minute: token too":     {func(c *jwt.Claims) { c.Expires = e.clock.Now().Add(time.Minute) }, "no error", time.Minute - 700*time.Millisecond},
		"session ends within a second: refused":   {func(c *jwt.Claims) { c.Expires = e.clock.Now().Add(299 * time.Millisecond) }, durward.SessionExpired, 0},
		"session ends later: life of every token": {func(c *jwt.Claims) { c.Expires = e.clock.Now().Add(time.Hour) }, "no error", 15*time.Minute - 700*time.Millisecond},
		"sign-in in the future: taken":            {func(c *jwt.Claims) { c.AuthTime = e.clock.Now().Add(time.Hour) }, "no error", 15*time.Minute - 700*time.Millisecond},
	} {
		claims := e.claims()
		c.change(&claims)
		token, life, err := e.Sign(claims)
		if codeOf(err) != c.code || life != c.life || (err == nil) != (e.tokenCode(token) == "no error") {
			t.Errorf("%s: got life %s, error %v, verdict %s; want %s, %s", name, life, err, e.tokenCode(token), c.life, c.code)
		}
	}
}

func TestIssue(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		for _, life := range []time.Duration{0, -time.Second, time.Second - 1, 24*time.Hour + 1} {
			if token, c, err := e.Issue(t.Context(), "robot", nil, life); err == nil || !strings.Contains(err.Error(), "want 1s to 24h") || token != "" || c.ID != "" {
				t.Errorf("Issue with a life of %s: got token %q, error %v", life, token, err)
			}
		}
		token, c, err := e.Issue(t.Context(), "robot", []string{"a", "b"}, 24*time.Hour)
		e.must(err)
		p, err := e.Verifier().Verify(t.Context(), token)
		e.must(err)
		if p.Subject != "robot" || p.SessionID != "" || p.TokenID != c.ID || !slices.Equal(p.Scopes, []string{"a", "b"}) {
			t.Errorf("got principal %+v", p)
		}
		events := e.events(store.EventTokenIssued)
		if len(events) != 1 || events[0].UserID != "robot" || !strings.Contains(events[0].Detail, c.ID) || strings.Contains(events[0].Detail, token) {
			t.Errorf("got events %+v, want one with the id of the token and without the token", events)
		}
		e.clock.Advance(24*time.Hour - time.Second)
		if got := e.tokenCode(token); got != "no error" {
			t.Errorf("a second before its end: got %s", got)
		}
		e.clock.Advance(time.Second)
		if got := e.tokenCode(token); got != durward.TokenExpired {
			t.Errorf("at its end: got %s, want %s", got, durward.TokenExpired)
		}
	})
}

// A token is refused if its jti, its session or its key is revoked, and by no other revocation.
func TestRevokedBy(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		access := e.access()
		p, err := e.Verifier().Verify(t.Context(), access)
		e.must(err)
		values := map[string]string{revoked.Session: p.SessionID, revoked.Token: p.TokenID, revoked.SigningKey: e.signs()}
		for kind, value := range values {
			for other, wrong := range values {
				if other != kind {
					e.list.Add(revoked.Entry{Kind: kind, Value: wrong, Until: noon.Add(time.Minute)})
				}
			}
			if got := e.tokenCode(access); got != "no error" {
				t.Fatalf("not revoked: got %s", got)
			}
			e.list.Add(revoked.Entry{Kind: kind, Value: value, Until: e.clock.Now().Add(time.Second)})
			if got := e.tokenCode(access); got != durward.TokenRevoked {
				t.Errorf("revoked by %s: got %s, want %s", kind, got, durward.TokenRevoked)
			}
			e.clock.Advance(2 * time.Second)
		}
	})
}

// While the store is unavailable, no method refuses, and the keys in memory stay.
func TestStoreUnavailable(t *testing.T) {
	t.Parallel()
	e := newEnv(t, testkit.SQLite, nil)
	access, keySet := e.access(), e.JWKS()
	e.must(e.db.Close())
	token, _, issued := e.Issue(t.Context(), "robot", nil, time.Minute)
	for method, err := range map[string]error{
		"Issue":     issued,
		"Rotate":    e.Rotate(t.Context(), "", true, operator),
		"RotateDue": e.RotateDue(t.Context()),
		"ReadKeys":  e.ReadKeys(t.Context()),
	} {
		if codeOf(err) != "no code" || !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: got %v, want ErrUnavailable without a code", method, err)
		}
	}
	if token != "" || !slices.Equal(e.JWKS(), keySet) || e.tokenCode(access) != "no error" {
		t.Errorf("got token %q, key set %s, verdict %s; want the keys of before", token, e.JWKS(), e.tokenCode(access))
	}
}
