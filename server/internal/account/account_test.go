package account

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "modernc.org/sqlite"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/pwhash"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/securitylog"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

const (
	adaEmail    = "ada@example.com"
	adaPassword = "correct horse battery staple"
	other       = "a quite different sentence"
)

var (
	here      = request.Info{Addr: netip.MustParseAddr("192.0.2.7"), UserAgent: "curl/8.5.0"}
	elsewhere = request.Info{Addr: netip.MustParseAddr("198.51.100.7"), UserAgent: "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}
)

// env is a Manager over a real database with one user.
type env struct {
	*Manager
	t       testing.TB
	clock   *testkit.Clock
	address string
	ada     store.User
	logs    *testkit.Log
}

// cheap are hash settings for tests that do not measure hashing.
var cheap = pwhash.Config{Memory: 64, Time: 1}

func newEnv(t testing.TB, engine testkit.Engine, change ...func(*Config)) *env {
	t.Helper()
	h := &env{
		t: t, address: engine(t), logs: new(testkit.Log),
		clock: testkit.NewClock(time.Date(2026, 3, 4, 12, 0, 0, 123456789, time.UTC)),
	}
	var err error
	c := Config{Now: h.clock.Now, Log: h.logs.Logger()}
	c.Master, err = seal.Open(filepath.Join(t.TempDir(), "master.key"), true)
	must(t, err)
	c.DB, err = store.Open(t.Context(), store.Config{URL: h.address, Now: h.clock.Now})
	must(t, err)
	t.Cleanup(func() {
		if err := c.DB.Close(); err != nil {
			t.Error(err)
		}
	})
	c.Hasher = newHasher(t, cheap)
	c.Limits, err = limits.New(limits.Config{Now: h.clock.Now})
	must(t, err)
	master, err := seal.Open(filepath.Join(t.TempDir(), "master.key"), true)
	must(t, err)
	c.SecurityLog, err = securitylog.New(securitylog.Config{DB: c.DB, Master: master, Log: c.Log, Now: c.Now})
	must(t, err)
	for _, f := range change {
		f(&c)
	}
	h.Manager, err = New(c)
	must(t, err)
	h.ada, err = h.Add(t.Context(), NewUser{Email: adaEmail, Name: "Ada", Password: adaPassword}, store.EventUserAdded, request.Info{Actor: "operator"})
	must(t, err)
	return h
}

func newHasher(t testing.TB, c pwhash.Config) *pwhash.Hasher {
	t.Helper()
	h, err := pwhash.New(c)
	must(t, err)
	return h
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Registrations are limited by network and by address before their hash, and before the answer whether
// the address is taken. Malformed ones and users added by the operator do not count.
func TestRegistrationLimits(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		h := newEnv(t, engine, func(c *Config) {
			rate := func(most int) *limits.Rate {
				return limits.NewRate(limits.RateConfig{Name: "test", Most: most, Window: time.Hour, Now: c.Now})
			}
			c.OfNetwork, c.OfAddress = rate(5), rate(3)
		})
		register := func(email, password, kind string, from request.Info) (code durward.Code, hashes uint64) {
			t.Helper()
			before := h.Hasher.Runs()
			_, err := h.Add(t.Context(), NewUser{Email: email, Password: password}, kind, from)
			refusal, ok := errors.AsType[*durward.Refusal](err)
			if codeOf(err) == durward.TooManyAttempts && (!ok || refusal.RetryAfter <= 0 || refusal.RetryAfter > time.Hour) {
				t.Errorf("%s: got %v, want a time to wait of up to an hour", email, err)
			}
			return codeOf(err), h.Hasher.Runs() - before
		}
		for _, c := range []struct {
			email, password, kind string
			from                  request.Info
			code                  durward.Code
			hashes                uint64
		}{
			{"bob@example.com", "short", store.EventRegistered, here, durward.InvalidRequest, 0},
			{"no address", adaPassword, store.EventRegistered, here, durward.InvalidRequest, 0},
			{"bob@example.com", adaPassword, store.EventRegistered, here, "", 1},
			{"bob@example.com", adaPassword, store.EventRegistered, here, durward.EmailTaken, 1},
			{"BOB@EXAMPLE.COM", adaPassword, store.EventRegistered, here, durward.EmailTaken, 1},
			{"Bob@example.com", adaPassword, store.EventRegistered, here, durward.TooManyAttempts, 0},
			{"bob@example.com", adaPassword, store.EventRegistered, elsewhere, durward.TooManyAttempts, 0},
			{"free@example.com", adaPassword, store.EventRegistered, here, "", 1},
			{"more@example.com", adaPassword, store.EventRegistered, here, durward.TooManyAttempts, 0},
			{"more@example.com", adaPassword, store.EventUserAdded, here, "", 1},
			{"more2@example.com", adaPassword, store.EventRegistered, elsewhere, "", 1},
		} {
			if code, hashes := register(c.email, c.password, c.kind, c.from); code != c.code || hashes != c.hashes {
				t.Errorf("%s, %s from %s: got %q after %d hashes, want %q after %d", c.kind, c.email, c.from.Addr, code, hashes, c.code, c.hashes)
			}
		}
		h.clock.Advance(time.Hour)
		if code, _ := register("later@example.com", adaPassword, store.EventRegistered, here); code != "" {
			t.Errorf("an hour later: got %q, want no refusal", code)
		}
	})
}

// codeOf returns the code that err wraps, or "".
func codeOf(err error) durward.Code {
	var code durward.Code
	if errors.As(err, &code) {
		return code
	}
	var refusal *durward.Refusal
	if errors.As(err, &refusal) {
		return refusal.Code
	}
	return ""
}

// refused checks that err has a code.
func refused(t *testing.T, name string, err error, want durward.Code) {
	t.Helper()
	if got := codeOf(err); err == nil || got != want {
		t.Errorf("%s: got %v (code %q), want %s", name, err, got, want)
	}
}

// try signs in and returns the error.
func (h *env) try(email, password string, from request.Info) error {
	h.t.Helper()
	proof, err := h.Authenticate(h.t.Context(), email, password, from)
	if u := proof.User; (err == nil) != (u.ID == h.ada.ID) || err != nil && !reflect.DeepEqual(proof, Proof{}) {
		h.t.Errorf("Authenticate(%q): got %+v and error %v", email, proof, err)
	}
	return err
}

var wrongs atomic.Int64

// wrongPassword returns a wrong password that was not tried before.
func (h *env) wrongPassword() string {
	return fmt.Sprintf("not the right one, number %d", wrongs.Add(1))
}

// session begins a session of a user and returns its id.
func (h *env) session(u store.User) string {
	h.t.Helper()
	now := h.clock.Now()
	s := store.Session{ID: store.NewID(), UserID: u.ID, ClientID: "durward", Scope: "profile", CreatedAt: now, EndsAt: now.Add(time.Hour), AuthTime: now, Network: here.Network(), Device: here.Device(), Agent: here.Browser()}
	g := store.Grant{SessionID: s.ID, ClientID: "durward", Scope: "profile", Salt: []byte("salt"), CreatedAt: now, IdleEnds: s.EndsAt, Ends: s.EndsAt}
	copy(g.ID[:], strings.ReplaceAll(s.ID, "-", "")[16:])
	e := here.Event(store.EventSignedIn, "ok", u.ID, s.ID, now)
	u, err := h.DB.UserByID(h.t.Context(), u.ID)
	must(h.t, err)
	_, err = h.DB.CreateSession(h.t.Context(), s, g, e, store.Place{Network: s.Network, Browser: s.Agent}, u)
	must(h.t, err)
	return s.ID
}

// lock locks a user as session.Manager.LockUser does.
func (h *env) lock(userID string) error {
	_, err := h.DB.LockUser(h.t.Context(), userID, h.clock.Now(), here.Event(store.EventUserLocked, "ok", userID, "", h.clock.Now()))
	return err
}

// setPassword sets the password of h.ada.
func (h *env) setPassword(password string) {
	h.t.Helper()
	hash, err := h.HashNewPassword(h.t.Context(), h.ada, "password", password, request.Info{Actor: "operator"})
	must(h.t, err)
	now := h.clock.Now()
	_, err = h.DB.ChangePassword(h.t.Context(), h.ada.ID, hash, "", time.Time{}, now, here.Event(store.EventPasswordSet, "ok", h.ada.ID, "", now))
	must(h.t, err)
}

// events returns the events of a kind, newest first.
func (h *env) events(kind string) []store.Event {
	h.t.Helper()
	events, err := h.DB.Events(h.t.Context(), store.EventFilter{Kind: kind, Limit: 5000})
	must(h.t, err)
	return events
}

// set changes the database without the rules.
func (h *env) set(query string, args ...any) {
	h.t.Helper()
	driver, address := "pgx", h.address
	if path, is := strings.CutPrefix(address, "sqlite:"); is {
		driver, address = "sqlite", path
	}
	db, err := sql.Open(driver, address)
	must(h.t, err)
	defer db.Close()
	_, err = db.Exec(query, args...)
	must(h.t, err)
}

func TestNew(t *testing.T) {
	t.Parallel()
	_, err := New(Config{Passwords: PasswordRules{MinLength: 7}})
	if err == nil {
		t.Fatal("New: no error")
	}
	for _, want := range []string{"database, master key, password hasher, limits and security log are required", "from 7 to 256"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("New: got %[2]v, want %[1]q in it", want, err)
		}
	}
	h := newEnv(t, testkit.SQLite)
	c := h.Config
	c.Now, c.Log = nil, nil
	p, err := New(c)
	if err != nil || p.Now == nil || p.Log == nil {
		t.Errorf("New without clock and log: got %v", err)
	}
	c.Passwords = PasswordRules{Blocklist: filepath.Join(t.TempDir(), "none")}
	if p, err := New(c); p != nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("New with a missing list: got %v, %v", p, err)
	}
}

// Every refusal names its member, does not repeat the value and adds no user.
func TestAddRefuses(t *testing.T) {
	t.Parallel()
	h := newEnv(t, testkit.SQLite)
	good := NewUser{Email: "grace@example.com", Name: "Grace", Password: other}
	for _, c := range []struct {
		why, member string
		change      func(*NewUser)
	}{
		{"no address", "email", func(n *NewUser) { n.Email = " " }},
		{"no address at all", "email", func(n *NewUser) { n.Email = "mk-grace" }},
		{"two addresses", "email", func(n *NewUser) { n.Email = "mk-a@b@example.com" }},
		{"long address", "email", func(n *NewUser) { n.Email = strings.Repeat("g", 243) + "@example.com" }},
		{"address not in UTF-8", "email", func(n *NewUser) { n.Email = "mk-\xff@example.com" }},
		{"long name", "name", func(n *NewUser) { n.Name = "mk-" + strings.Repeat("g", 98) }},
		{"name with a line", "name", func(n *NewUser) { n.Name = "mk-Grace\nHopper" }},
		{"name turned round", "name", func(n *NewUser) { n.Name = "mk-Grace\u202eHopper" }},
		{"name with NUL", "name", func(n *NewUser) { n.Name = "mk-Grace\x00" }},
		{"name not in UTF-8", "name", func(n *NewUser) { n.Name = "mk-\xff" }},
		{"no password", "password", func(n *NewUser) { n.Password = "" }},
		{"short password", "password", func(n *NewUser) { n.Password = "mk-45678901234" }},
		{"long password", "password", func(n *NewUser) { n.Password = "mk-" + strings.Repeat("x", 254) }},
		{"common password", "password", func(n *NewUser) { n.Password = "CorrectHorseBatteryStaple" }},
		{"password with the address", "password", func(n *NewUser) { n.Password = "mk-Grace@Example.com" }},
		{"password with a line", "password", func(n *NewUser) { n.Password = "mk-a quite different\nsentence" }},
		{"password not in UTF-8", "password", func(n *NewUser) { n.Password = "mk-a quite different\xff sentence" }},
	} {
		n := good
		c.change(&n)
		u, err := h.Add(t.Context(), n, store.EventRegistered, here)
		refused(t, c.why, err, durward.InvalidRequest)
		var refusal *durward.Refusal
		if !errors.As(err, &refusal) || refusal.Members["member"] != c.member || refusal.Detail == "" || refusal.Hint == "" || u != (store.User{}) {
			t.Errorf("%s: got %+v with user %q, want member %s, a detail and a hint", c.why, refusal, u.ID, c.member)
		}
		if refusal != nil && strings.Contains(strings.ToLower(err.Error()+refusal.Detail+refusal.Hint), "mk-") {
			t.Errorf("%s: the refusal repeats the value: %v, %+v", c.why, err, refusal)
		}
	}
	if users, err := h.DB.Users(t.Context(), "", 10); err != nil || len(users) != 1 {
		t.Errorf("got %d users, %v; want Ada only", len(users), err)
	}
	if n := len(h.events(store.EventRegistered)); n != 0 {
		t.Errorf("got %d events, want none", n)
	}
	if runs := h.Hasher.Runs(); runs != 1 {
		t.Errorf("got %d hashes, want that of Ada only", runs)
	}
	u, err := h.Add(t.Context(), good, store.EventRegistered, here)
	if err != nil || u.Email != good.Email || u.Name != "Grace" || u.Admin || !u.LockedAt.IsZero() || u.CreatedAt != h.clock.Now().Truncate(time.Microsecond) {
		t.Errorf("correct properties: got %+v, %v", u, err)
	}
	if events := h.events(store.EventRegistered); len(events) != 1 || events[0].UserID != u.ID || events[0].Network != "192.0.2.0/24" || events[0].Device != "curl" {
		t.Errorf("got events %+v", events)
	}
}

// An address has one account, in all its spellings and with several requests at once.
func TestAddTaken(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		h := newEnv(t, engine)
		for _, same := range []string{adaEmail, " ADA@Example.COM ", "ａda@example.com", "ada@example。com"[:len("ada@example")] + ".com"} {
			_, err := h.Add(t.Context(), NewUser{Email: same, Password: other}, store.EventRegistered, here)
			if refused(t, same, err, durward.EmailTaken); !errors.Is(err, store.ErrEmailTaken) {
				t.Errorf("%s: %v", same, err)
			}
			if u, err := h.ByEmail(t.Context(), same); err != nil || u.ID != h.ada.ID {
				t.Errorf("ByEmail(%q): %q %v", same, u.ID, err)
			}
		}
		if _, err := h.ByEmail(t.Context(), "nobody@example.com"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("ByEmail of an unknown address: got %v", err)
		}
		if _, err := h.ByEmail(t.Context(), "nothing"); codeOf(err) != durward.InvalidRequest {
			t.Errorf("ByEmail of a malformed address: got %v", err)
		}
		var wg sync.WaitGroup
		errs := make(chan error, 8)
		for i := range 8 {
			wg.Go(func() {
				_, err := h.Add(context.Background(), NewUser{Email: []string{"race@example.com", "RACE@example.com"}[i%2], Password: other}, store.EventRegistered, here)
				errs <- err
			})
		}
		wg.Wait()
		close(errs)
		made := 0
		for err := range errs {
			if err == nil {
				made++
			} else {
				refused(t, "race", err, durward.EmailTaken)
			}
		}
		if events := h.events(store.EventRegistered); made != 1 || len(events) != 1 {
			t.Errorf("eight requests at once: got %d accounts and %d events, want 1 of each", made, len(events))
		}
	})
}

func TestSetName(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		h := newEnv(t, engine)
		for _, name := range []string{"Ada Lovelace", "", strings.Repeat("é", maxName)} {
			if u, err := h.SetName(t.Context(), h.ada.ID, "  "+name+"\n"); err != nil || u.Name != name {
				t.Errorf("SetName(%q): %q %v", name, u.Name, err)
			}
		}
		for _, name := range []string{strings.Repeat("é", maxName+1), "a\tb", "a\u2028b", "\xff"} {
			u, err := h.SetName(t.Context(), h.ada.ID, name)
			if refused(t, fmt.Sprintf("SetName(%q)", name), err, durward.InvalidRequest); u != (store.User{}) {
				t.Errorf("SetName(%q): got a user with the error", name)
			}
		}
		if _, err := h.SetName(t.Context(), "nobody", "x"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("SetName of an unknown user: got %v", err)
		}
	})
}

// While the store is unavailable, no method refuses.
func TestStoreUnavailable(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		h := newEnv(t, engine)
		must(t, h.DB.Close())
		ctx := t.Context()
		_, added := h.Add(ctx, NewUser{Email: "bob@example.com", Password: other}, store.EventRegistered, here)
		_, named := h.SetName(ctx, h.ada.ID, "x")
		_, byEmail := h.ByEmail(ctx, adaEmail)
		_, version := h.CredentialVersion(ctx, adaEmail, here)
		_, again := h.Reauthenticate(ctx, h.ada.ID, adaPassword, here, nil)
		for method, err := range map[string]error{
			"Add":                       added,
			"SetName":                   named,
			"ByEmail":                   byEmail,
			"CredentialVersion":         version,
			"Reauthenticate":            again,
			"Authenticate":              h.try(adaEmail, adaPassword, here),
			"Authenticate unknown user": h.try("nobody@example.com", adaPassword, here),
			"Unlock":                    h.Unlock(ctx, h.ada.ID, here),
		} {
			if code := codeOf(err); err == nil || code != "" || errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: got %v (code %q), want an error without a code", method, err, code)
			}
		}
	})
}
