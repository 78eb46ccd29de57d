package issuer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// tick does what Run does every minute.
func (e *env) tick() {
	e.t.Helper()
	e.must(e.RotateDue(context.Background()))
	e.must(e.ReadKeys(context.Background()))
}

// publishedKeys returns the ids of the published keys.
func (e *env) publishedKeys() (kids []string) {
	e.t.Helper()
	var set struct {
		Keys []struct {
			Kid string `json:"kid"`
			D   string `json:"d"`
		} `json:"keys"`
	}
	e.must(json.Unmarshal(e.JWKS(), &set))
	for _, k := range set.Keys {
		if k.D != "" {
			e.t.Fatal("the key set contains a private key")
		}
		kids = append(kids, k.Kid)
	}
	return kids
}

// states returns the ids of the signing keys by state.
func (e *env) states() map[string][]string {
	e.t.Helper()
	rows, err := e.db.Keys(context.Background(), store.UseSigning)
	e.must(err)
	states := make(map[string][]string)
	for _, row := range rows {
		states[row.State] = append(states[row.State], row.ID)
		if row.State == store.KeyGone && len(row.Sealed) != 0 {
			e.t.Errorf("key %s is gone, but its secret is still stored", row.ID)
		}
	}
	return states
}

func (e *env) signs() string { return e.signer.Load().ID() }

func TestKeyLife(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		first, spare := e.states()[store.KeyActive][0], e.states()[store.KeyPending][0]
		if got := e.publishedKeys(); len(got) != 2 || e.signs() != first || !slices.Contains(got, spare) {
			t.Fatalf("got published keys %v, signing with %s", got, e.signs())
		}
		e.clock.Advance(signingLife - time.Microsecond)
		e.tick()
		if e.signs() != first || len(e.states()[store.KeyPending]) != 1 {
			t.Fatalf("a moment before the end of its life: got keys %v", e.states())
		}
		e.clock.Advance(time.Microsecond)
		token, _, err := e.Issue(t.Context(), "robot", nil, 24*time.Hour)
		e.must(err)
		e.tick()
		if s := e.states(); e.signs() != spare || !slices.Equal(s[store.KeyActive], []string{spare}) || !slices.Equal(s[store.KeyRetiring], []string{first}) || len(s[store.KeyPending]) != 1 {
			t.Fatalf("at the end of its life: got keys %v", s)
		}
		if got := e.publishedKeys(); len(got) != 3 {
			t.Fatalf("got published keys %v", got)
		}
		e.tick()
		if s := e.states(); len(s[store.KeyPending]) != 1 || e.signs() != spare {
			t.Fatalf("nothing due: got keys %v", s)
		}
		e.clock.Advance(24*time.Hour - time.Second)
		e.tick()
		if got := e.tokenCode(token); got != "no error" {
			t.Fatalf("last token of a retiring key: got %s", got)
		}
		// The clock of another node may be behind, and its leeway may be the longest.
		e.clock.Advance(time.Second + maxLeeway + clockMargin)
		e.tick()
		if !slices.Contains(e.publishedKeys(), first) {
			t.Fatal("the key is gone before its last token")
		}
		e.clock.Advance(time.Second)
		e.tick()
		if s := e.states(); !slices.Equal(s[store.KeyGone], []string{first}) || slices.Contains(e.publishedKeys(), first) || len(e.publishedKeys()) != 2 {
			t.Fatalf("after its last token: got keys %v", s)
		}
	})
}

// In four rotations, no key signs before it was published for a cache time, a spare is always
// published, and no valid token is refused.
func TestRotationRefusesNoToken(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		published := make(map[string]time.Time)
		ends := make(map[string]time.Time)
		signed := make(map[string]bool)
		watch := func() {
			t.Helper()
			now := e.clock.Now()
			fresh := make(map[string]time.Time)
			for _, kid := range e.publishedKeys() {
				fresh[kid] = now
				if at, ok := published[kid]; ok {
					fresh[kid] = at
				}
			}
			published = fresh
			if at, ok := published[e.signs()]; !ok || now.Sub(at) < time.Hour && at != noon {
				t.Fatalf("at %s key %s signs, published since %s", now, e.signs(), at)
			}
			signed[e.signs()] = true
			if len(e.states()[store.KeyPending]) == 0 || len(e.states()[store.KeyActive]) != 1 {
				t.Fatalf("got keys %v, want one active key and a spare", e.states())
			}
			for token, end := range ends {
				want := durward.Code("no error")
				if !now.Before(end) {
					want = durward.TokenExpired
				}
				got := e.tokenCode(token)
				// After the end of the token its key may be gone.
				if got != want && (want == "no error" || got != durward.InvalidToken) {
					t.Fatalf("at %s, token that ends at %s: got %s", now, end, got)
				}
			}
		}
		watch()
		for range 4 {
			e.must(e.Rotate(t.Context(), "", false, operator))
			for range 8 {
				ends[e.access()] = e.clock.Now().Add(15 * time.Minute)
				token, c, err := e.Issue(t.Context(), "robot", nil, 24*time.Hour)
				e.must(err)
				ends[token] = c.Expires
				watch()
				e.clock.Advance(10 * time.Minute)
				e.tick()
			}
		}
		if len(signed) < 4 {
			t.Fatalf("got %d signing keys", len(signed))
		}
		for range 30 {
			e.clock.Advance(time.Hour)
			e.tick()
			watch()
		}
		if got := e.states()[store.KeyGone]; len(got) != len(signed)-1 {
			t.Errorf("got %d signing keys, of which %v are gone", len(signed), got)
		}
	})
}

// A new spare does not become active before it was published long enough, even if the rotation is due.
func TestYoungSpareWaits(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		first, spare := e.signs(), e.states()[store.KeyPending][0]
		e.exec(`UPDATE keys SET created_at = $1 WHERE id = $2`, noon.Add(-time.Microsecond).UnixMicro(), spare)
		e.exec(`UPDATE keys SET activated_at = $1 WHERE id = $2`, noon.Add(-signingLife).UnixMicro(), first)
		for range 3 {
			e.tick()
		}
		if e.signs() != first || len(e.states()[store.KeyPending]) != 2 {
			t.Fatalf("got signing key %s, keys %v", e.signs(), e.states())
		}
		e.clock.Advance(publishBefore - 2*time.Microsecond)
		e.tick()
		if e.signs() != first {
			t.Fatal("the spare became active too early")
		}
		e.clock.Advance(time.Microsecond)
		e.tick()
		if e.signs() != spare || len(e.states()[store.KeyPending]) != 1 {
			t.Fatalf("got signing key %s, keys %v", e.signs(), e.states())
		}
	})
}

func TestRotateNow(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		spare := e.states()[store.KeyPending][0]
		e.clock.Advance(time.Second)
		e.must(e.Rotate(t.Context(), "", true, operator))
		if e.signs() != spare || len(e.publishedKeys()) != 3 {
			t.Fatalf("got signing key %s, want the spare %s", e.signs(), spare)
		}
		if len(e.events(store.EventKeyState)) != 1 {
			t.Error("got no event")
		}
	})
}

func TestAlgorithms(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"EdDSA", "ES256", "PS256", "RS256"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			e := newEnv(t, testkit.SQLite, func(c *Config) { c.Algorithm = alg })
			access := e.access()
			if got := e.signer.Load().Algorithm(); got != alg || e.tokenCode(access) != "no error" {
				t.Errorf("got algorithm %s, verdict %s", got, e.tokenCode(access))
			}
		})
	}
}

func TestSharedSecret(t *testing.T) {
	t.Parallel()
	secret := []byte("0123456789abcdef0123456789abcdef")
	e := newEnv(t, testkit.SQLite, func(c *Config) { c.Algorithm, c.SharedSecret = "HS256", secret })
	access := e.access()
	if got := e.tokenCode(access); got != "no error" || e.signer.Load().Algorithm() != "HS256" {
		t.Errorf("got verdict %s", got)
	}
	if got := string(e.JWKS()); got != `{"keys":[]}` {
		t.Errorf("got key set %s, want it empty", got)
	}
	e.tick()
	if len(e.states()) != 0 {
		t.Errorf("got keys %v, want none", e.states())
	}
	for _, now := range []bool{false, true} {
		if err := e.Rotate(t.Context(), "", now, operator); err == nil || !strings.Contains(err.Error(), "tokens.shared_secret") {
			t.Errorf("Rotate: got %v", err)
		}
	}

	e.must(e.db.Close())
	secret = []byte("another secret of 32 octets.....")
	e.open()
	if got := e.tokenCode(access); got != durward.InvalidToken {
		t.Errorf("token of another secret: got %s", got)
	}
	c := e.c
	for _, wrong := range [][]byte{nil, make([]byte, 31)} {
		c.SharedSecret = wrong
		if i, err := New(t.Context(), c); err == nil || i != nil {
			t.Errorf("New with a secret of %d octets: got no error", len(wrong))
		}
	}
}

func TestWrongMasterKey(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		other, err := seal.Open(t.TempDir()+"/master.key", true)
		e.must(err)
		c := e.c
		c.Master = other
		i, err := New(t.Context(), c)
		if i != nil || !errors.Is(err, seal.ErrWrongKey) || !strings.Contains(err.Error(), "refresh key") || !strings.Contains(err.Error(), other.KeyID()) || !strings.Contains(err.Error(), "put the right key file back") {
			t.Errorf("another master key: got %v", err)
		}
		// A secret of another row does not open.
		e.exec(`UPDATE keys SET sealed = (SELECT sealed FROM keys WHERE use_for = 'signing' AND state = 'active') WHERE state = 'pending'`)
		if i, err = New(t.Context(), e.c); i != nil || !errors.Is(err, seal.ErrWrongKey) || !strings.Contains(err.Error(), "signing key") {
			t.Errorf("secret of another row: got %v", err)
		}
		e.exec(`UPDATE keys SET sealed = $1`, []byte{0})
		if i, err = New(t.Context(), e.c); i != nil || err == nil || errors.Is(err, seal.ErrWrongKey) {
			t.Errorf("truncated secret: got %v", err)
		}
	})
}

// One key replaces another, so that their number stays the same.
func TestKeyReplaced(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		fresh, err := e.newKey(store.UseSigning, store.KeyPending)
		e.must(err)
		e.exec(`DELETE FROM keys WHERE state = 'pending'`)
		e.must(e.db.AddKey(t.Context(), fresh, keyEvent(operator, store.EventKeyCreated, fresh.ID, "pending", e.clock.Now())))
		e.must(e.ReadKeys(t.Context()))
		if got := e.publishedKeys(); len(got) != 2 || !slices.Contains(got, fresh.ID) {
			t.Errorf("got published keys %v, want %s among them", got, fresh.ID)
		}
	})
}

func TestMissingKeys(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		first := e.signs()
		e.exec(`UPDATE keys SET state = 'retiring', retired_at = $1 WHERE state = 'active'`, noon.UnixMicro())
		if err := e.ReadKeys(t.Context()); err == nil || !strings.Contains(err.Error(), "durward key rotate --now") {
			t.Errorf("no active key: got %v", err)
		}
		if e.signs() != first {
			t.Error("the known key no longer signs")
		}
		e.exec(`DELETE FROM keys WHERE use_for = 'refresh'`)
		if err := e.ReadKeys(t.Context()); err == nil || !strings.Contains(err.Error(), "no refresh key") {
			t.Errorf("no refresh key: got %v", err)
		}
	})
}

// After a key that does not open was deleted, the other keys are published.
func TestKeysAfterOneThatDidNotOpen(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		e.clock.Advance(time.Second)
		fine, err := e.newKey(store.UseSigning, store.KeyPending)
		e.must(err)
		e.clock.Advance(time.Second)
		broken, err := e.newKey(store.UseSigning, store.KeyPending)
		e.must(err)
		broken.Sealed[20] ^= 1
		for _, k := range []store.Key{fine, broken} {
			e.must(e.db.AddKey(t.Context(), k, keyEvent(operator, store.EventKeyCreated, k.ID, "pending", e.clock.Now())))
		}
		before := e.publishedKeys()
		if err := e.ReadKeys(t.Context()); !errors.Is(err, seal.ErrWrongKey) || !slices.Equal(e.publishedKeys(), before) {
			t.Fatalf("ReadKeys: got %v, published keys %v", err, e.publishedKeys())
		}
		e.exec(`DELETE FROM keys WHERE id = $1`, broken.ID)
		e.must(e.ReadKeys(t.Context()))
		if got := e.publishedKeys(); !slices.Contains(got, fine.ID) {
			t.Errorf("got published keys %v, want %s among them", got, fine.ID)
		}
		e.exec(`UPDATE keys SET state = 'retiring' WHERE state = 'active'`)
		e.exec(`UPDATE keys SET state = 'active' WHERE id = $1`, fine.ID)
		e.must(e.ReadKeys(t.Context()))
		if got := e.tokenCode(e.access()); got != "no error" || e.signs() != fine.ID {
			t.Errorf("got signing key %s, verdict %s", e.signs(), got)
		}
	})
}

func TestAnotherIssuersDatabase(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		c := e.c
		c.URL = "https://other.example.com"
		if i, err := New(t.Context(), c); err == nil || i != nil || !strings.Contains(err.Error(), "https://auth.example.com") {
			t.Errorf("New: got %v", err)
		}
	})
}

// Several processes that start with an empty database use the same keys.
func TestManyMakeTheKeys(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		e.exec(`DELETE FROM keys`)
		var wg sync.WaitGroup
		issuers := make([]*Issuer, 8)
		for n := range issuers {
			wg.Go(func() {
				c := e.c
				c.Revoked = revoked.NewList(e.clock.Now)
				var err error
				if issuers[n], err = New(context.Background(), c); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			t.FailNow()
		}
		if s := e.states(); len(s[store.KeyActive]) != 1 || len(s[store.KeyPending]) == 0 {
			t.Errorf("got keys %v", s)
		}
		access, _, err := issuers[0].Sign(e.claims())
		e.must(err)
		mac := issuers[0].NewestRefreshKey().MAC([]byte("x"))
		for _, i := range issuers[1:] {
			if _, err := i.Verifier().Verify(t.Context(), access); err != nil {
				t.Error(err)
			}
			if got := i.NewestRefreshKey().MAC([]byte("x")); !slices.Equal(got, mac) {
				t.Errorf("got MAC %x, want %x", got, mac)
			}
		}
	})
}

// If several processes with different master keys start with an empty database, one of them makes the
// keys. The others report the wrong master key.
func TestManyMasterKeys(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		for round := range 20 {
			e.exec(`DELETE FROM keys`)
			var wg sync.WaitGroup
			var errs [8]error
			start := make(chan struct{})
			for n := range errs {
				c := e.c
				c.Revoked = revoked.NewList(e.clock.Now)
				var err error
				c.Master, err = seal.Open(filepath.Join(e.dir, fmt.Sprintf("key %d of round %d", n, round)), true)
				e.must(err)
				wg.Go(func() {
					<-start
					_, errs[n] = New(context.Background(), c)
				})
			}
			close(start)
			wg.Wait()
			good := 0
			for n, err := range errs {
				if err == nil {
					good++
				} else if !errors.Is(err, seal.ErrWrongKey) || !strings.Contains(err.Error(), "another master key") {
					t.Errorf("round %d, node %d: got %v", round, n, err)
				}
			}
			if s := e.states(); good != 1 || len(s[store.KeyActive]) != 1 {
				t.Fatalf("round %d: got %d of %d working, keys %v", round, good, len(errs), s)
			}
		}
	})
}

// Run reads the keys that another process changes.
func TestRun(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		other, err := New(t.Context(), e.c)
		e.must(err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); e.Run(ctx) }()
		e.clock.Advance(time.Minute)
		spare := e.states()[store.KeyPending][0]
		e.must(other.Rotate(t.Context(), "", true, operator))
		fresh := e.states()[store.KeyPending]
		deadline := time.Now().Add(20 * time.Second)
		for e.signs() != spare || !slices.Contains(e.publishedKeys(), fresh[0]) {
			if time.Now().After(deadline) {
				t.Fatalf("after 20 s: got signing key %s, published keys %v", e.signs(), e.publishedKeys())
			}
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
		<-done
	})
}
