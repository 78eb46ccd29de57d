package account

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/apikey"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// adaPrincipal returns a principal of Ada with the scope profile.
func (h *env) adaPrincipal() *durward.Principal {
	return &durward.Principal{Subject: h.ada.ID, Scopes: []string{"profile"}}
}

// A key with an existing public id, another secret and a correct checksum is refused.
func TestForgedKey(t *testing.T) {
	t.Parallel()
	h := newEnv(t, testkit.SQLite)
	k, key, err := h.CreateKey(t.Context(), h.adaPrincipal(), NewKey{Name: "Nightly"}, here)
	must(t, err)
	if got, err := h.AuthenticateKey(t.Context(), key.Reveal(), here); err != nil || got.ID != k.ID {
		t.Fatalf("the key itself: got %v", err)
	}
	_, secret, err := apikey.Parse(KeyPrefix, key.Reveal())
	must(t, err)
	first, last, none := secret, secret, [apikey.SecretOctets]byte{}
	first[0] ^= 1
	last[31] ^= 1
	for _, forged := range []string{
		apikey.Text(KeyPrefix, k.PublicID, first), apikey.Text(KeyPrefix, k.PublicID, last),
		apikey.Text(KeyPrefix, k.PublicID, none), apikey.Text(KeyPrefix, "00000000", secret),
	} {
		got, err := h.AuthenticateKey(t.Context(), forged, here)
		refused(t, "forged key", err, durward.InvalidAPIKey)
		if got.ID != "" || !errors.Is(err, errForgedKey) {
			t.Errorf("got key %v with the error %v", got, err)
		}
	}
}

// If the session of the maker ends, or the user is locked, while a key is made, it is not stored.
func TestKeyOfASessionThatEnds(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		h := newEnv(t, engine)
		maker := h.adaPrincipal()
		maker.SessionID = h.session(h.ada)
		old, _, err := h.CreateKey(t.Context(), maker, NewKey{Name: "Nightly"}, here)
		must(t, err)
		try := func(what string) {
			t.Helper()
			_, key, err := h.CreateKey(t.Context(), maker, NewKey{Name: "late"}, here)
			refused(t, what, err, durward.TokenRevoked)
			_, rotated, err := h.RotateKey(t.Context(), maker, old.ID, here)
			refused(t, what+", rotated", err, durward.TokenRevoked)
			if key != "" || rotated != "" {
				t.Errorf("%s: got a key with the error", what)
			}
		}
		ended := here.Event(store.EventSessionEnded, "ok", h.ada.ID, maker.SessionID, h.clock.Now())
		_, err = h.DB.EndSession(t.Context(), maker.SessionID, h.ada.ID, "test", h.clock.Now(), ended, "")
		must(t, err)
		try("session ended")
		maker.SessionID = ""
		must(t, h.lock(h.ada.ID))
		try("user locked")
		keys, err := h.DB.APIKeys(t.Context(), h.ada.ID, "", 10)
		if err != nil || len(keys) != 1 || keys[0].ID != old.ID {
			t.Errorf("got keys %+v, %v; want the old one", keys, err)
		}
	})
}

// Run stores the last uses when it ends, and deletes keys that ended long ago while it runs.
func TestKeysInTheBackground(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		h := newEnv(t, engine)
		ending, key, err := h.CreateKey(t.Context(), h.adaPrincipal(), NewKey{Name: "ending", Life: time.Hour}, here)
		must(t, err)
		forever, _, err := h.CreateKey(t.Context(), h.adaPrincipal(), NewKey{Name: "forever"}, here)
		must(t, err)
		h.clock.Advance(time.Minute)
		used := h.Now().Truncate(time.Microsecond)
		_, err = h.AuthenticateKey(t.Context(), key.Reveal(), here)
		must(t, err)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		h.Run(ended)
		if k, err := h.DB.APIKeyByID(t.Context(), ending.ID); err != nil || !k.LastUsedAt.Equal(used) {
			t.Errorf("got last use %v, %v; want %v", k.LastUsedAt, err, used)
		}

		h.clock.Advance(time.Hour + keysKept)
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { h.Run(ctx) })
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if _, err := h.DB.APIKeyByID(t.Context(), ending.ID); errors.Is(err, store.ErrNotFound) {
				break
			} else if err != nil || time.Now().After(deadline) {
				t.Errorf("a key that ended a month ago is still stored (%v)", err)
				break
			}
		}
		stop()
		running.Wait()
		if _, err := h.DB.APIKeyByID(t.Context(), forever.ID); err != nil {
			t.Errorf("a live key was deleted: %v", err)
		}
	})
}

// Each request with a key reads the key and its user from the database.
func BenchmarkAuthenticateKey(b *testing.B) {
	h := newEnv(b, testkit.SQLite)
	_, key, err := h.CreateKey(b.Context(), h.adaPrincipal(), NewKey{Name: "Nightly"}, here)
	must(b, err)
	for name, text := range map[string]string{"good": key.Reveal(), "mistyped": key.Reveal()[:55] + "000000", "unknown": apikey.New(KeyPrefix)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := h.AuthenticateKey(b.Context(), text, here); (err == nil) != (name == "good") {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+" at once", func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := h.AuthenticateKey(b.Context(), text, here); (err == nil) != (name == "good") {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}

func TestWithoutKeys(t *testing.T) {
	t.Parallel()
	key := apikey.New(KeyPrefix)
	public := key[:len(KeyPrefix)+apikey.PublicDigits]
	for s, want := range map[string]string{
		"/api/keys/" + key:             "/api/keys/" + public + "_[redacted]",
		key + "/" + key[:30] + "/x":    public + "_[redacted]/" + public + "_[redacted]/x",
		"/api/keys/" + public:          "/api/keys/" + public,
		"/api/profile":                 "/api/profile",
		"/dk_":                         "/dk_",
		"/" + strings.ToUpper(key)[3:]: "/" + strings.ToUpper(key)[3:],
	} {
		if got := WithoutKeys(s); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
