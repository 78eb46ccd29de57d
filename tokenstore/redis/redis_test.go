package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/internal/valkey"
)

func open(t testing.TB, c Config) *Store {
	t.Helper()
	if c.Name == "" {
		c.Name = t.Name()
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func set(t testing.TB, s *Store, token client.Token) {
	t.Helper()
	if err := s.Update(t.Context(), func(context.Context, client.Token) (client.Token, error) { return token, nil }); err != nil {
		t.Fatal(err)
	}
}

// A store loads the token of another store, encrypted or not.
func TestStore(t *testing.T) {
	t.Parallel()
	server := services.NewRedis(t)
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	for name, secret := range map[string][]byte{"plain": nil, "sealed": secret} {
		c := Config{URL: server.URL(), Name: name, Secret: secret}
		a, b := open(t, c), open(t, c)
		if got, err := a.Load(t.Context()); err != nil || got != (client.Token{}) {
			t.Errorf("%s: an empty store holds %v, %v", name, got, err)
		}
		want := client.Token{Access: "secret access", Refresh: "secret refresh", Type: "Bearer", Expires: time.Now().Add(time.Hour).Truncate(time.Second).UTC()}
		set(t, a, want)
		got, err := b.Load(t.Context())
		if err != nil || got.Access != want.Access || got.Refresh != want.Refresh || !got.Expires.Equal(want.Expires) {
			t.Errorf("%s: %#v, %v", name, got, err)
		}
		raw, err := a.run(t.Context(), read, []string{a.token})
		if err != nil || strings.Contains(raw[0], "secret") != (secret == nil) {
			t.Errorf("%s: the server holds %q, %v", name, raw, err)
		}
		if secret != nil {
			if _, err := open(t, Config{URL: server.URL(), Name: name, Secret: make([]byte, 32)}).Load(t.Context()); err == nil {
				t.Error("another secret opens the token")
			}
		}
		set(t, b, client.Token{})
		if got, err := a.Load(t.Context()); err != nil || got != (client.Token{}) {
			t.Errorf("%s: an emptied store holds %v, %v", name, got, err)
		}
	}
}

// Updates run one after another, and none is lost.
func TestStoreTogether(t *testing.T) {
	t.Parallel()
	server := services.NewRedis(t)
	var all sync.WaitGroup
	const stores, each = 4, 10
	for range stores {
		s := open(t, Config{URL: server.URL(), Name: "together"})
		for range each {
			all.Go(func() {
				err := s.Update(context.Background(), func(_ context.Context, old client.Token) (client.Token, error) {
					return client.Token{Access: old.Access + "x"}, nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	all.Wait()
	got, err := open(t, Config{URL: server.URL(), Name: "together"}).Load(t.Context())
	if err != nil || len(got.Access) != stores*each {
		t.Errorf("%d changes of %d, %v", len(got.Access), stores*each, err)
	}
}

// A store that lost its lease stores nothing and does not take the lease again.
func TestStoreLeaseLost(t *testing.T) {
	t.Parallel()
	server := services.NewRedis(t)
	c := Config{URL: server.URL(), Name: "lost", Lease: time.Second}
	slow, fast := open(t, c), open(t, c)
	set(t, fast, client.Token{Access: "first"})
	err := slow.Update(t.Context(), func(ctx context.Context, old client.Token) (client.Token, error) {
		// The lease ends as for a stopped process.
		id := must(fast.run(ctx, read, []string{slow.lock}))[0]
		if _, err := fast.run(ctx, release, []string{slow.lock}, id); err != nil {
			t.Error(err)
		}
		set(t, fast, client.Token{Access: "second"})
		if _, err := slow.run(ctx, keep, []string{slow.lock}, id, "1000"); err != nil { // as every quarter of a second
			t.Error(err)
		}
		return client.Token{Access: "late"}, nil
	})
	if err == nil || !strings.Contains(err.Error(), "lease") {
		t.Errorf("a late change: %v", err)
	}
	if got, err := fast.Load(t.Context()); err != nil || got.Access != "second" {
		t.Errorf("the store holds %q, %v", got.Access, err)
	}
}

func must(answer []string, err error) []string {
	if err != nil || len(answer) == 0 {
		panic(fmt.Sprint(answer, err))
	}
	return answer
}

// A failed change stores nothing and frees the lock at once; a long one keeps it.
func TestStoreFails(t *testing.T) {
	t.Parallel()
	server := services.NewRedis(t)
	s := open(t, Config{URL: server.URL(), Name: "fails", Lease: 4 * time.Second})
	set(t, s, client.Token{Access: "kept"})
	broken := errors.New("broken")
	if err := s.Update(t.Context(), func(context.Context, client.Token) (client.Token, error) {
		return client.Token{Access: "lost"}, broken
	}); !errors.Is(err, broken) {
		t.Errorf("%v, want the change's own error", err)
	}
	if got, err := s.Load(t.Context()); err != nil || got.Access != "kept" {
		t.Errorf("%q, %v", got.Access, err)
	}
	rest := valkey.NewScript(`return {tostring(redis.call('PTTL', KEYS[1]))}`)
	err := s.Update(t.Context(), func(ctx context.Context, _ client.Token) (client.Token, error) {
		for before := 4000; ; {
			left, err := strconv.Atoi(must(s.run(ctx, rest, []string{s.lock}))[0])
			switch {
			case err != nil || left <= 0:
				return client.Token{}, fmt.Errorf("the lease ended without an extension: %d ms, %w", left, err)
			case left > before: // extended
				return client.Token{Access: "slow"}, nil
			}
			before = left
		}
	})
	if err != nil {
		t.Errorf("a change during which the lease is extended: %v", err)
	}
}

// An unreachable server is an error within a bounded time, not an empty store.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	server := services.NewRedis(t)
	s := open(t, Config{URL: server.URL(), Name: "away"})
	set(t, s, client.Token{Access: "kept"})
	server.Pause(t)
	began := time.Now()
	if _, err := s.Load(t.Context()); err == nil {
		t.Error("a hung server answers")
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	server.Resume(t)
	deadline := time.Now().Add(20 * time.Second)
	for {
		got, err := s.Load(t.Context())
		if err == nil && got.Access == "kept" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("back again: %q, %v", got.Access, err)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	_, err := New(Config{URL: "http://user:marked@host", Secret: []byte("short"), Lease: time.Millisecond})
	for _, want := range []string{"URL", "Name", "Secret", "Lease"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing of %s: %v", want, err)
		}
	}
	if strings.Contains(fmt.Sprint(err), "marked") {
		t.Errorf("a password is shown: %v", err)
	}
}
