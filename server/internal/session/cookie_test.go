package session

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

func (w *env) cookieOf(u store.User) string {
	w.t.Helper()
	cookie, err := w.SignInCookie(context.Background(), w.proof(u), CookieWish{}, home)
	w.must(err)
	return cookie.Value
}

// A cookie has one spelling. Every other value is refused with SessionExpired.
func FuzzCookie(f *testing.F) {
	w := newEnv(f, testkit.SQLite, nil)
	real := w.cookieOf(w.user())
	last := strings.IndexByte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_", real[42])
	for _, seed := range []string{real, "", real[:42], real + "=", real + "A", real[:20] + "\n" + real[20:], real[:20] + "\r" + real[21:], strings.ToUpper(real), strings.Repeat("A", 43), strings.Repeat("_", 43),
		real[:42] + string("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last^1])} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		p, err := w.AuthenticateCookie(context.Background(), value, false)
		switch {
		case value == real:
			if err != nil || p.Subject == "" {
				t.Errorf("the cookie itself: got %v", err)
			}
		case err == nil || codeOf(err) != durward.SessionExpired || p != nil:
			t.Errorf("%q: got %v, %v", value, p, err)
		}
		if hash, err := w.cookieHash(value); err == nil {
			raw, _ := base64.RawURLEncoding.DecodeString(value)
			if len(hash) != 32 || base64.RawURLEncoding.EncodeToString(raw) != value {
				t.Errorf("%q: got a hash", value)
			}
		}
	})
}

// After many step-ups and uses of one cookie at once, the session is alive and all new cookies work.
func TestCookieRaces(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		u := w.user()
		value := w.cookieOf(u)
		w.clock.Advance(10 * time.Minute)
		p, err := w.AuthenticateCookie(context.Background(), value, true)
		w.must(err)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var given []string
		for range 20 {
			wg.Go(func() {
				fresh, err := w.StepUpCookie(context.Background(), w.proof(u), p, value, home)
				if err != nil {
					t.Errorf("step-up: got %v", err)
				}
				mu.Lock()
				defer mu.Unlock()
				given = append(given, fresh.Value)
			})
			wg.Go(func() {
				if _, err := w.AuthenticateCookie(context.Background(), value, true); err != nil {
					t.Errorf("use: got %v", err)
				}
			})
		}
		wg.Wait()
		w.clock.Advance(31 * time.Second)
		if _, err := w.AuthenticateCookie(context.Background(), value, true); !errors.Is(err, durward.SessionExpired) {
			t.Errorf("old cookie after its grace: got %v", err)
		}
		for _, fresh := range given {
			p, err := w.AuthenticateCookie(context.Background(), fresh, true)
			w.must(err)
			if want := w.clock.Now().Add(-31 * time.Second); !p.AuthTime.Equal(want) {
				t.Errorf("got auth_time %s, want %s", p.AuthTime, want)
			}
		}
		if rows, err := w.db.Sessions(context.Background(), u.ID, w.clock.Now()); err != nil || len(rows) != 1 {
			t.Errorf("got %d sessions, %v; want 1", len(rows), err)
		}
	})
}

// A proof from before a change of password, a lock or the end of the session cannot step up.
func TestStepUpChangedSince(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		ctx := context.Background()
		for name, c := range map[string]struct {
			between func(w *env, u store.User, session string) error
			cookie  durward.Code
			token   durward.Code
		}{
			"password": {func(w *env, u store.User, _ string) error {
				_, err := w.db.ChangePassword(ctx, u.ID, "other", "", time.Time{}, w.clock.Now().Add(time.Hour), store.Event{ID: store.NewID(), Kind: store.EventPasswordSet, At: w.clock.Now().Add(time.Second)})
				return err
			}, durward.SessionExpired, durward.InvalidCredentials},
			"session": {func(w *env, u store.User, session string) error {
				_, err := w.db.EndSession(ctx, session, u.ID, "x", w.clock.Now().Add(time.Hour), store.Event{ID: store.NewID(), Kind: store.EventSessionEnded, At: w.clock.Now()}, "")
				return err
			}, durward.SessionExpired, durward.TokenRevoked},
		} {
			w := newEnv(t, engine, nil)
			u := w.user()
			value := w.cookieOf(u)
			p, err := w.AuthenticateCookie(ctx, value, true)
			w.must(err)
			s := w.signIn(u)
			w.must(c.between(w, u, p.SessionID))
			if _, err := w.StepUpCookie(ctx, w.proof(u), p, value, home); codeOf(err) != c.cookie {
				t.Errorf("%s, by cookie: got %v, want %s", name, err, c.cookie)
			}
			session := p.SessionID
			if name == "password" {
				session = s.Session
			}
			if _, err := w.StepUp(ctx, w.proof(u), &durward.Principal{Subject: u.ID, SessionID: session, ClientID: FirstParty}, home); codeOf(err) != c.token {
				t.Errorf("%s, by token: got %v, want %s", name, err, c.token)
			}
		}
	})
}

// An access token cannot extend a session after its cookie ended.
func TestStepUpOfAnIdleSession(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, func(c *Config) { c.CookieIdle = 5 * time.Minute })
		u := w.user()
		p, err := w.AuthenticateCookie(context.Background(), w.cookieOf(u), true)
		w.must(err)
		p.Scopes = []string{"profile"}
		w.clock.Advance(4 * time.Minute)
		up, err := w.StepUp(context.Background(), w.proof(u), p, home)
		w.must(err)
		if up.Refresh != "" || up.AccessLife > time.Minute {
			t.Errorf("got a life of %s, want a minute, until the end of the cookie", up.AccessLife)
		}
		w.clock.Advance(2 * time.Minute)
		if _, err := w.StepUp(context.Background(), w.proof(u), p, home); codeOf(err) != durward.TokenRevoked {
			t.Errorf("after the end of the cookie: got %v", err)
		}
	})
}

func BenchmarkCookie(b *testing.B) {
	w := newEnv(b, testkit.SQLite, nil)
	value := w.cookieOf(w.user())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.AuthenticateCookie(context.Background(), value, true); err != nil {
			b.Fatal(err)
		}
	}
}
