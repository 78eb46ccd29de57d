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

// tick is what Run does each minute.
func (e *env) tick() {
	e.t.Helper()
	e.must(e.RotateDue(context.Background()))
	e.must(e.ReadKeys(context.Background()))
}

// published lists the kids of the JWKS.
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
			e.t.Fatal("the key set holds a private key")
		}
		kids = append(kids, k.Kid)
	}
	return kids
}

// states lists the signing keys by state.
func (e *env) states() map[string][]string {
	e.t.Helper()
	rows, err := e.db.Keys(context.Background(), store.UseSigning)
	e.must(err)
	states := make(map[string][]string)
	for _, row := range rows {
		states[row.State] = append(states[row.State], row.ID)
		if row.State == store.KeyGone && len(row.Sealed) != 0 {
			e.t.Errorf("key %s is gone, but its secret is not", row.ID)
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
			t.Fatalf("published %v, signing %s", got, e.signs())
		}
		e.clock.Advance(signingLife - time.Microsecond)
		e.tick()
		if e.signs() != first || len(e.states()[store.KeyPending]) != 1 {
			t.Fatalf("a moment early: %v", e.states())
		}
		e.clock.Advance(time.Microsecond)
		token, _, err := e.Issue(t.Context(), "robot", nil, 24*time.Hour)
		e.must(err)
		e.tick()
		if s := e.states(); e.signs() != spare || !slices.Equal(s[store.KeyActive], []string{spare}) || !slices.Equal(s[store.KeyRetiring], []string{first}) || len(s[store.KeyPending]) != 1 {
			t.Fatalf("after its life: %v", s)
		}
		if got := e.publishedKeys(); len(got) != 3 {
			t.Fatalf("published %v", got)
		}
		e.tick()
		if s := e.states(); len(s[store.KeyPending]) != 1 || e.signs() != spare {
			t.Fatalf("nothing was due: %v", s)
		}
		e.clock.Advance(24*time.Hour - time.Second)
		e.tick()
		if got := e.verdict(token); got != "no error" {
			t.Fatalf("the last token that a retired key signed: %s", got)
		}
		// The clock of another node, and the most leeway there is.
		e.clock.Advance(time.Second + maxLeeway + clockMargin)
		e.tick()
		if !slices.Contains(e.publishedKeys(), first) {
			t.Fatal("the key is gone before what it signed")
		}
		e.clock.Advance(time.Second)
		e.tick()
		if s := e.states(); !slices.Equal(s[store.KeyGone], []string{first}) || slices.Contains(e.publishedKeys(), first) || len(e.publishedKeys()) != 2 {
			t.Fatalf("after all: %v", s)
		}
	})
}

// Four rotations: no key signs before it was published for a cache time, a spare
// is always published, no good token is ever refused.
func TestRotationRefusesNobody(t *testing.T) {
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
				t.Fatalf("no spare, or not one that signs: %v", e.states())
			}
			for token, end := range ends {
				want := durward.Code("no error")
				if !now.Before(end) {
					want = durward.TokenExpired
				}
				got := e.verdict(token)
				// Long after its end its key may be gone.
				if got != want && (want == "no error" || got != durward.InvalidToken) {
					t.Fatalf("at %s a token that ends at %s: %s", now, end, got)
				}
			}
		}
		watch()
		for range 4 {
			e.must(e.Rotate(t.Context(), false))
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
			t.Fatalf("%d keys signed", len(signed))
		}
		for range 30 {
			e.clock.Advance(time.Hour)
			e.tick()
			watch()
		}
		if got := e.states()[store.KeyGone]; len(got) != len(signed)-1 {
			t.Errorf("%d keys signed, gone are %v", len(signed), got)
		}
	})
}

// A spare that was made a moment ago does not take over yet, however due that is.
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
			t.Fatalf("signing %s: %v", e.signs(), e.states())
		}
		e.clock.Advance(publishBefore - 2*time.Microsecond)
		e.tick()
		if e.signs() != first {
			t.Fatal("a moment early")
		}
		e.clock.Advance(time.Microsecond)
		e.tick()
		if e.signs() != spare || len(e.states()[store.KeyPending]) != 1 {
			t.Fatalf("signing %s: %v", e.signs(), e.states())
		}
	})
}

func TestRotateNow(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		spare := e.states()[store.KeyPending][0]
		e.clock.Advance(time.Second)
		e.must(e.Rotate(t.Context(), true))
		if e.signs() != spare || len(e.publishedKeys()) != 3 {
			t.Fatalf("signing %s, want the spare %s, which verifiers know", e.signs(), spare)
		}
		if len(e.events(store.EventKeyState)) != 1 {
			t.Error("no event")
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
			if got := e.signer.Load().Algorithm(); got != alg || e.verdict(access) != "no error" {
				t.Errorf("signs with %s, verdict %s", got, e.verdict(access))
			}
		})
	}
}

func TestSharedSecret(t *testing.T) {
	t.Parallel()
	secret := []byte("0123456789abcdef0123456789abcdef")
	e := newEnv(t, testkit.SQLite, func(c *Config) { c.Algorithm, c.SharedSecret = "HS256", secret })
	access := e.access()
	if got := e.verdict(access); got != "no error" || e.signer.Load().Algorithm() != "HS256" {
		t.Errorf("verdict %s", got)
	}
	if got := string(e.JWKS()); got != `{"keys":[]}` {
		t.Errorf("a shared secret has no public half: %s", got)
	}
	e.tick()
	if len(e.states()) != 0 {
		t.Errorf("keys were made: %v", e.states())
	}
	for _, now := range []bool{false, true} {
		if err := e.Rotate(t.Context(), now); err == nil || !strings.Contains(err.Error(), "tokens.shared_secret") {
			t.Errorf("Rotate: %v", err)
		}
	}

	e.must(e.db.Close())
	secret = []byte("another secret of 32 octets.....")
	e.open()
	if got := e.verdict(access); got != durward.InvalidToken {
		t.Errorf("signed with another secret: %s", got)
	}
	c := e.c
	for _, wrong := range [][]byte{nil, make([]byte, 31)} {
		c.SharedSecret = wrong
		if i, err := New(t.Context(), c); err == nil || i != nil {
			t.Errorf("a secret of %d octets was taken", len(wrong))
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
			t.Errorf("another master key: %v", err)
		}
		// A secret that was moved to another row does not open either.
		e.exec(`UPDATE keys SET sealed = (SELECT sealed FROM keys WHERE use_for = 'signing' AND state = 'active') WHERE state = 'pending'`)
		if i, err = New(t.Context(), e.c); i != nil || !errors.Is(err, seal.ErrWrongKey) || !strings.Contains(err.Error(), "signing key") {
			t.Errorf("a moved secret: %v", err)
		}
		e.exec(`UPDATE keys SET sealed = $1`, []byte{0})
		if i, err = New(t.Context(), e.c); i != nil || err == nil || errors.Is(err, seal.ErrWrongKey) {
			t.Errorf("a cut secret: %v", err)
		}
	})
}

// One key goes as another comes: as many as before, but others.
func TestKeyReplaced(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		fresh, err := e.newSigningKey(store.KeyPending)
		e.must(err)
		e.exec(`DELETE FROM keys WHERE state = 'pending'`)
		e.must(e.db.AddKey(t.Context(), fresh, e.keyEvent(store.EventKeyCreated, fresh.ID, "pending")))
		e.must(e.ReadKeys(t.Context()))
		if got := e.publishedKeys(); len(got) != 2 || !slices.Contains(got, fresh.ID) {
			t.Errorf("published %v, without %s", got, fresh.ID)
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
			t.Errorf("no active key: %v", err)
		}
		if e.signs() != first {
			t.Error("what is known no longer signs")
		}
		e.exec(`DELETE FROM keys WHERE use_for = 'refresh'`)
		if err := e.ReadKeys(t.Context()); err == nil || !strings.Contains(err.Error(), "no refresh key") {
			t.Errorf("no refresh key: %v", err)
		}
	})
}

// One key that does not open keeps none of the others from being published once
// it is out of the way.
func TestKeysAfterOneThatDidNotOpen(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		e.clock.Advance(time.Second)
		fine, err := e.newSigningKey(store.KeyPending)
		e.must(err)
		e.clock.Advance(time.Second)
		broken, err := e.newSigningKey(store.KeyPending)
		e.must(err)
		broken.Sealed[20] ^= 1
		for _, k := range []store.Key{fine, broken} {
			e.must(e.db.AddKey(t.Context(), k, e.keyEvent(store.EventKeyCreated, k.ID, "pending")))
		}
		before := e.publishedKeys()
		if err := e.ReadKeys(t.Context()); !errors.Is(err, seal.ErrWrongKey) || !slices.Equal(e.publishedKeys(), before) {
			t.Fatalf("ReadKeys: %v, published %v", err, e.publishedKeys())
		}
		e.exec(`DELETE FROM keys WHERE id = $1`, broken.ID)
		e.must(e.ReadKeys(t.Context()))
		if got := e.publishedKeys(); !slices.Contains(got, fine.ID) {
			t.Errorf("published %v, without %s", got, fine.ID)
		}
		e.exec(`UPDATE keys SET state = 'retiring' WHERE state = 'active'`)
		e.exec(`UPDATE keys SET state = 'active' WHERE id = $1`, fine.ID)
		e.must(e.ReadKeys(t.Context()))
		if got := e.verdict(e.access()); got != "no error" || e.signs() != fine.ID {
			t.Errorf("signed with %s: %s", e.signs(), got)
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
			t.Errorf("New: %v", err)
		}
	})
}

// Of several processes that begin with an empty database, all sign and refresh
// with the same keys.
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
			t.Errorf("keys %v", s)
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

// Of several that begin with an empty database and master keys of their own, those
// with one of the keys work with it, and the others say what is wrong.
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
					t.Errorf("round %d, node %d: %v", round, n, err)
				}
			}
			if s := e.states(); good != 1 || len(s[store.KeyActive]) != 1 {
				t.Fatalf("round %d: %d of %d work, keys %v", round, good, len(errs), s)
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
		e.must(other.Rotate(t.Context(), true))
		fresh := e.states()[store.KeyPending]
		deadline := time.Now().Add(20 * time.Second)
		for e.signs() != spare || !slices.Contains(e.publishedKeys(), fresh[0]) {
			if time.Now().After(deadline) {
				t.Fatalf("signing %s, published %v", e.signs(), e.publishedKeys())
			}
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
		<-done
	})
}
