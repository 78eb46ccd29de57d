package oauth

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
	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// tick is what Run does each minute.
func (w *world) tick() {
	w.t.Helper()
	w.must(w.Tend(context.Background()))
	w.must(w.ReadKeys(context.Background()))
}

// published lists the kids of the JWKS.
func (w *world) publishedKeys() (kids []string) {
	w.t.Helper()
	var set struct {
		Keys []struct {
			Kid string `json:"kid"`
			D   string `json:"d"`
		} `json:"keys"`
	}
	w.must(json.Unmarshal(w.JWKS(), &set))
	for _, k := range set.Keys {
		if k.D != "" {
			w.t.Fatal("the key set holds a private key")
		}
		kids = append(kids, k.Kid)
	}
	return kids
}

// states lists the signing keys by state.
func (w *world) states() map[string][]string {
	w.t.Helper()
	rows, err := w.db.Keys(context.Background(), store.UseSigning)
	w.must(err)
	states := make(map[string][]string)
	for _, row := range rows {
		states[row.State] = append(states[row.State], row.ID)
		if row.State == store.KeyGone && len(row.Sealed) != 0 {
			w.t.Errorf("key %s is gone, but its secret is not", row.ID)
		}
	}
	return states
}

func (w *world) signs() string { return w.signer.Load().ID() }

func TestKeyLife(t *testing.T) {
	t.Parallel()
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		w := newWorld(t, on, nil)
		first, spare := w.states()[store.KeyActive][0], w.states()[store.KeyPending][0]
		if got := w.publishedKeys(); len(got) != 2 || w.signs() != first || !slices.Contains(got, spare) {
			t.Fatalf("published %v, signing %s", got, w.signs())
		}
		w.clock.advance(signingLife - time.Microsecond)
		w.tick()
		if w.signs() != first || len(w.states()[store.KeyPending]) != 1 {
			t.Fatalf("a moment early: %v", w.states())
		}
		w.clock.advance(time.Microsecond)
		token, _, err := w.Issue(t.Context(), "robot", nil, 24*time.Hour)
		w.must(err)
		w.tick()
		if s := w.states(); w.signs() != spare || !slices.Equal(s[store.KeyActive], []string{spare}) || !slices.Equal(s[store.KeyRetiring], []string{first}) || len(s[store.KeyPending]) != 1 {
			t.Fatalf("after its life: %v", s)
		}
		if got := w.publishedKeys(); len(got) != 3 {
			t.Fatalf("published %v", got)
		}
		w.tick()
		if s := w.states(); len(s[store.KeyPending]) != 1 || w.signs() != spare {
			t.Fatalf("nothing was due: %v", s)
		}
		w.clock.advance(24*time.Hour - time.Second)
		w.tick()
		if got := w.verdict(token); got != "no error" {
			t.Fatalf("the last token that a retired key signed: %s", got)
		}
		// The clock of another node, and the most leeway there is.
		w.clock.advance(time.Second + mostLeeway + marginClocks)
		w.tick()
		if !slices.Contains(w.publishedKeys(), first) {
			t.Fatal("the key is gone before what it signed")
		}
		w.clock.advance(time.Second)
		w.tick()
		if s := w.states(); !slices.Equal(s[store.KeyGone], []string{first}) || slices.Contains(w.publishedKeys(), first) || len(w.publishedKeys()) != 2 {
			t.Fatalf("after all: %v", s)
		}
	})
}

// Four rotations: no key signs before it was published for a cache time, a spare
// is always published, no good token is ever refused.
func TestRotationRefusesNobody(t *testing.T) {
	t.Parallel()
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		w := newWorld(t, on, nil)
		u := w.person()
		refresh := w.signIn(u).Refresh
		published := make(map[string]time.Time)
		ends := make(map[string]time.Time)
		signed := make(map[string]bool)
		watch := func() {
			t.Helper()
			now := w.clock.Now()
			fresh := make(map[string]time.Time)
			for _, kid := range w.publishedKeys() {
				fresh[kid] = now
				if at, ok := published[kid]; ok {
					fresh[kid] = at
				}
			}
			published = fresh
			if at, ok := published[w.signs()]; !ok || now.Sub(at) < time.Hour && at != noon {
				t.Fatalf("at %s key %s signs, published since %s", now, w.signs(), at)
			}
			signed[w.signs()] = true
			if len(w.states()[store.KeyPending]) == 0 || len(w.states()[store.KeyActive]) != 1 {
				t.Fatalf("no spare, or not one that signs: %v", w.states())
			}
			for token, end := range ends {
				want := durward.Code("no error")
				if !now.Before(end) {
					want = durward.TokenExpired
				}
				got := w.verdict(token)
				// Long after its end its key may be gone.
				if got != want && (want == "no error" || got != durward.InvalidToken) {
					t.Fatalf("at %s a token that ends at %s: %s", now, end, got)
				}
			}
		}
		watch()
		for range 4 {
			w.must(w.Rotate(t.Context(), false))
			for range 8 {
				tokens := w.refreshed(refresh, home)
				refresh = tokens.Refresh
				ends[tokens.Access] = w.clock.Now().Add(15 * time.Minute)
				token, c, err := w.Issue(t.Context(), "robot", nil, 24*time.Hour)
				w.must(err)
				ends[token] = c.Expires
				watch()
				w.clock.advance(10 * time.Minute)
				w.tick()
			}
		}
		if len(signed) < 4 {
			t.Fatalf("%d keys signed", len(signed))
		}
		for range 30 {
			w.clock.advance(time.Hour)
			w.tick()
			watch()
		}
		if got := w.states()[store.KeyGone]; len(got) != len(signed)-1 {
			t.Errorf("%d keys signed, gone are %v", len(signed), got)
		}
	})
}

// A spare that was made a moment ago does not take over yet, however due that is.
func TestYoungSpareWaits(t *testing.T) {
	t.Parallel()
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		w := newWorld(t, on, nil)
		first, spare := w.signs(), w.states()[store.KeyPending][0]
		w.tamper(`UPDATE keys SET created_at = $1 WHERE id = $2`, noon.Add(-time.Microsecond).UnixMicro(), spare)
		w.tamper(`UPDATE keys SET activated_at = $1 WHERE id = $2`, noon.Add(-signingLife).UnixMicro(), first)
		for range 3 {
			w.tick()
		}
		if w.signs() != first || len(w.states()[store.KeyPending]) != 2 {
			t.Fatalf("signing %s: %v", w.signs(), w.states())
		}
		w.clock.advance(publishBefore - 2*time.Microsecond)
		w.tick()
		if w.signs() != first {
			t.Fatal("a moment early")
		}
		w.clock.advance(time.Microsecond)
		w.tick()
		if w.signs() != spare || len(w.states()[store.KeyPending]) != 1 {
			t.Fatalf("signing %s: %v", w.signs(), w.states())
		}
	})
}

func TestRotateNow(t *testing.T) {
	t.Parallel()
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		w := newWorld(t, on, nil)
		spare := w.states()[store.KeyPending][0]
		w.clock.advance(time.Second)
		w.must(w.Rotate(t.Context(), true))
		if w.signs() != spare || len(w.publishedKeys()) != 3 {
			t.Fatalf("signing %s, want the spare %s, which verifiers know", w.signs(), spare)
		}
		if len(w.events(store.User{}, store.EventKeyState)) != 1 {
			t.Error("no event")
		}
	})
}

func TestAlgorithms(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"EdDSA", "ES256", "PS256", "RS256"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, services.File, func(c *Config) { c.Algorithm = alg })
			access := w.signIn(w.person()).Access
			if got := w.signer.Load().Algorithm(); got != alg || w.verdict(access) != "no error" {
				t.Errorf("signs with %s, verdict %s", got, w.verdict(access))
			}
		})
	}
}

func TestSharedSecret(t *testing.T) {
	t.Parallel()
	secret := []byte("0123456789abcdef0123456789abcdef")
	w := newWorld(t, services.File, func(c *Config) { c.Algorithm, c.SharedSecret = "HS256", secret })
	tokens := w.signIn(w.person())
	if got := w.verdict(tokens.Access); got != "no error" || w.signer.Load().Algorithm() != "HS256" {
		t.Errorf("verdict %s", got)
	}
	if got := string(w.JWKS()); got != `{"keys":[]}` {
		t.Errorf("a shared secret has no public half: %s", got)
	}
	w.tick()
	if len(w.states()) != 0 {
		t.Errorf("keys were made: %v", w.states())
	}
	for _, now := range []bool{false, true} {
		if err := w.Rotate(t.Context(), now); err == nil || !strings.Contains(err.Error(), "tokens.shared_secret") {
			t.Errorf("Rotate: %v", err)
		}
	}
	w.refreshed(tokens.Refresh, home)

	w.must(w.db.Close())
	secret = []byte("another secret of 32 octets.....")
	w.open()
	if got := w.verdict(tokens.Access); got != durward.InvalidToken {
		t.Errorf("signed with another secret: %s", got)
	}
	c := w.c
	for _, wrong := range [][]byte{nil, make([]byte, 31)} {
		c.SharedSecret = wrong
		if i, err := New(t.Context(), c); err == nil || i != nil {
			t.Errorf("a secret of %d octets was taken", len(wrong))
		}
	}
}

func TestWrongMasterKey(t *testing.T) {
	t.Parallel()
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		w := newWorld(t, on, nil)
		other, err := seal.Open(t.TempDir()+"/master.key", true)
		w.must(err)
		c := w.c
		c.Master = other
		i, err := New(t.Context(), c)
		if i != nil || !errors.Is(err, seal.ErrWrongKey) || !strings.Contains(err.Error(), "refresh key") || !strings.Contains(err.Error(), other.KeyID()) || !strings.Contains(err.Error(), "put the right key file back") {
			t.Errorf("another master key: %v", err)
		}
		// A secret that was moved to another row does not open either.
		w.tamper(`UPDATE keys SET sealed = (SELECT sealed FROM keys WHERE use_for = 'signing' AND state = 'active') WHERE state = 'pending'`)
		if i, err = New(t.Context(), w.c); i != nil || !errors.Is(err, seal.ErrWrongKey) || !strings.Contains(err.Error(), "signing key") {
			t.Errorf("a moved secret: %v", err)
		}
		w.tamper(`UPDATE keys SET sealed = $1`, []byte{0})
		if i, err = New(t.Context(), w.c); i != nil || err == nil || errors.Is(err, seal.ErrWrongKey) {
			t.Errorf("a cut secret: %v", err)
		}
	})
}

// One key goes as another comes: as many as before, but others.
func TestKeyReplaced(t *testing.T) {
	t.Parallel()
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		w := newWorld(t, on, nil)
		fresh, err := w.newSigningKey(store.KeyPending)
		w.must(err)
		w.tamper(`DELETE FROM keys WHERE state = 'pending'`)
		w.must(w.db.AddKey(t.Context(), fresh, w.keyEvent(store.EventKeyCreated, fresh.ID, "pending")))
		w.must(w.ReadKeys(t.Context()))
		if got := w.publishedKeys(); len(got) != 2 || !slices.Contains(got, fresh.ID) {
			t.Errorf("published %v, without %s", got, fresh.ID)
		}
	})
}

func TestMissingKeys(t *testing.T) {
	t.Parallel()
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		w := newWorld(t, on, nil)
		first := w.signs()
		w.tamper(`UPDATE keys SET state = 'retiring', retired_at = $1 WHERE state = 'active'`, noon.UnixMicro())
		if err := w.ReadKeys(t.Context()); err == nil || !strings.Contains(err.Error(), "durward key rotate --now") {
			t.Errorf("no active key: %v", err)
		}
		if w.signs() != first {
			t.Error("what is known no longer signs")
		}
		w.tamper(`DELETE FROM keys WHERE use_for = 'refresh'`)
		if err := w.ReadKeys(t.Context()); err == nil || !strings.Contains(err.Error(), "no refresh key") {
			t.Errorf("no refresh key: %v", err)
		}
	})
}

// One key that does not open keeps none of the others from being published once
// it is out of the way.
func TestKeysAfterOneThatDidNotOpen(t *testing.T) {
	t.Parallel()
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		w := newWorld(t, on, nil)
		w.clock.advance(time.Second)
		fine, err := w.newSigningKey(store.KeyPending)
		w.must(err)
		w.clock.advance(time.Second)
		broken, err := w.newSigningKey(store.KeyPending)
		w.must(err)
		broken.Sealed[20] ^= 1
		for _, k := range []store.Key{fine, broken} {
			w.must(w.db.AddKey(t.Context(), k, w.keyEvent(store.EventKeyCreated, k.ID, "pending")))
		}
		before := w.publishedKeys()
		if err := w.ReadKeys(t.Context()); !errors.Is(err, seal.ErrWrongKey) || !slices.Equal(w.publishedKeys(), before) {
			t.Fatalf("ReadKeys: %v, published %v", err, w.publishedKeys())
		}
		w.tamper(`DELETE FROM keys WHERE id = $1`, broken.ID)
		w.must(w.ReadKeys(t.Context()))
		if got := w.publishedKeys(); !slices.Contains(got, fine.ID) {
			t.Errorf("published %v, without %s", got, fine.ID)
		}
		w.tamper(`UPDATE keys SET state = 'retiring' WHERE state = 'active'`)
		w.tamper(`UPDATE keys SET state = 'active' WHERE id = $1`, fine.ID)
		w.must(w.ReadKeys(t.Context()))
		if got := w.verdict(w.signIn(w.person()).Access); got != "no error" || w.signs() != fine.ID {
			t.Errorf("signed with %s: %s", w.signs(), got)
		}
	})
}

// addRefreshKey puts another K into the database.
func (w *world) addRefreshKey(number uint8) store.Key {
	w.t.Helper()
	k := store.Key{ID: store.NewID(), Use: store.UseRefresh, Algorithm: "HS256", State: store.KeyActive, Number: number, CreatedAt: w.clock.Now(), ActivatedAt: w.clock.Now()}
	var err error
	k.Sealed, err = w.c.Master.Seal(refreshLabel, k.ID, slices.Repeat([]byte{number}, 32))
	w.must(err)
	w.must(w.db.AddKey(context.Background(), k, w.keyEvent(store.EventKeyCreated, k.ID, "active")))
	return k
}

func TestRefreshKeysFollowTheDatabase(t *testing.T) {
	t.Parallel()
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		w := newWorld(t, on, nil)
		u := w.person()
		old := w.signIn(u)
		w.clock.advance(time.Second)
		w.addRefreshKey(2)
		w.must(w.ReadKeys(t.Context()))
		young := w.signIn(u)
		if g, _ := w.grant(young.Refresh); g.Key != 2 {
			t.Errorf("a new sign-in under key %d, not under the newest", g.Key)
		}
		// Nobody is signed out by a new key.
		old = w.refreshed(old.Refresh, home)
		young = w.refreshed(young.Refresh, home)
		// One is dropped as another comes: as many as before, but others.
		w.tamper(`UPDATE keys SET state = 'gone', sealed = $1 WHERE use_for = 'refresh' AND number = 1`, []byte{})
		w.clock.advance(time.Second)
		w.addRefreshKey(3)
		w.must(w.ReadKeys(t.Context()))
		w.refused(old.Refresh, home, durward.RefreshInvalid)
		w.refreshed(young.Refresh, home)
		if g, _ := w.grant(w.signIn(u).Refresh); g.Key != 3 {
			t.Errorf("a new sign-in under key %d", g.Key)
		}
	})
}

// A database that was put back to a copy has another epoch: no refresh token of
// the time before works, nobody is accused.
func TestEpoch(t *testing.T) {
	t.Parallel()
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		w := newWorld(t, on, nil)
		u := w.person()
		before := w.signIn(u)
		w.must(w.db.Close())
		w.open()
		again := w.refreshed(before.Refresh, home)
		w.must(w.db.Close())
		w.tamper(`UPDATE meta SET value = 'ANOTHEREPOCH' WHERE name = 'epoch'`)
		w.open()
		w.refused(again.Refresh, home, durward.RefreshInvalid)
		w.refused(before.Refresh, home, durward.RefreshInvalid)
		w.refreshed(w.signIn(u).Refresh, home)
		if len(w.events(u, store.EventRefreshTheft)) != 0 {
			t.Error("a restore looks like theft")
		}
	})
}

func TestAnotherIssuersDatabase(t *testing.T) {
	t.Parallel()
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		w := newWorld(t, on, nil)
		c := w.c
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
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		w := newWorld(t, on, nil)
		w.tamper(`DELETE FROM keys`)
		var wg sync.WaitGroup
		issuers := make([]*Issuer, 8)
		for n := range issuers {
			wg.Go(func() {
				c := w.c
				c.Revoked = revoked.NewList(w.clock.Now)
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
		if s := w.states(); len(s[store.KeyActive]) != 1 || len(s[store.KeyPending]) == 0 {
			t.Errorf("keys %v", s)
		}
		u := w.person()
		tokens, err := issuers[0].SignIn(t.Context(), w.proof(u), nil, home)
		w.must(err)
		for _, i := range issuers[1:] {
			if _, err := i.Verifier().Verify(t.Context(), tokens.Access); err != nil {
				t.Error(err)
			}
			if tokens, err = i.Refresh(t.Context(), tokens.Refresh, nil, home); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Of several that begin with an empty database and master keys of their own, those
// with one of the keys work with it, and the others say what is wrong.
func TestManyMasterKeys(t *testing.T) {
	t.Parallel()
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		w := newWorld(t, on, nil)
		for round := range 20 {
			w.tamper(`DELETE FROM keys`)
			var wg sync.WaitGroup
			var errs [8]error
			start := make(chan struct{})
			for n := range errs {
				c := w.c
				c.Revoked = revoked.NewList(w.clock.Now)
				var err error
				c.Master, err = seal.Open(filepath.Join(w.dir, fmt.Sprintf("key %d of round %d", n, round)), true)
				w.must(err)
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
			if s := w.states(); good != 1 || len(s[store.KeyActive]) != 1 {
				t.Fatalf("round %d: %d of %d work, keys %v", round, good, len(errs), s)
			}
		}
	})
}

// Run follows what another process does, and leaves a sign of life.
func TestRun(t *testing.T) {
	t.Parallel()
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		w := newWorld(t, on, nil)
		other, err := New(t.Context(), w.c)
		w.must(err)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); w.Run(ctx) }()
		w.clock.advance(time.Minute)
		spare := w.states()[store.KeyPending][0]
		w.must(other.Rotate(t.Context(), true))
		fresh := w.states()[store.KeyPending]
		deadline := time.Now().Add(20 * time.Second)
		for w.signs() != spare || !slices.Contains(w.publishedKeys(), fresh[0]) {
			if time.Now().After(deadline) {
				t.Fatalf("signing %s, published %v", w.signs(), w.publishedKeys())
			}
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
		<-done
		out, err := w.db.Start(t.Context(), w.clock.Now(), 0)
		w.must(err)
		if want := noon.Add(time.Minute); !out.DownAt.Equal(want) {
			t.Errorf("the last sign of life is of %s, want %s", out.DownAt, want)
		}
	})
}

// Sessions that ended a week ago are forgotten by what runs behind the requests.
func TestRunForgetsSessions(t *testing.T) {
	t.Parallel()
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		w := newWorld(t, on, nil)
		ada := w.person()
		w.signIn(ada)
		sessions := func() int {
			rows, err := w.db.Sessions(t.Context(), ada.ID, time.Time{})
			w.must(err)
			return len(rows)
		}
		if n := sessions(); n != 1 {
			t.Fatalf("%d sessions", n)
		}
		w.clock.advance(w.c.RefreshAbsolute + sessionsKept + time.Minute)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); w.Run(ctx) }()
		for deadline := time.Now().Add(20 * time.Second); sessions() > 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("it is still there")
			}
		}
		cancel()
		<-done
	})
}
