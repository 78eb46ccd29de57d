package issuer

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// operator is the origin of changes at the command line.
var operator = request.Info{Actor: store.Operator}

// retire retires a key and fails the test if that is refused.
func (e *env) retire(keyID string, now bool) Retired {
	e.t.Helper()
	r, err := e.Retire(e.t.Context(), keyID, now, operator)
	e.must(err)
	return r
}

// A stolen key: its tokens are revoked and the spare signs new ones.
func TestRetireNow(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		access := e.access()
		made, _, err := e.Issue(t.Context(), "robot", nil, 24*time.Hour)
		e.must(err)
		for _, token := range []string{access, made} {
			if got := e.tokenCode(token); got != "no error" { // and caches the token
				t.Fatalf("before: got %s", got)
			}
		}
		stolen, spare := e.signs(), e.states()[store.KeyPending][0]
		e.clock.Advance(publishBefore)
		r := e.retire(stolen, true)
		if r.State != store.KeyGone || !r.Revoked || r.Key.ID != stolen || r.Signs.ID != spare || !r.Known {
			t.Errorf("Retire: got %+v", r)
		}
		if s := e.states(); e.signs() != spare || !slices.Equal(s[store.KeyGone], []string{stolen}) || !slices.Equal(s[store.KeyActive], []string{spare}) || len(s[store.KeyPending]) != 1 || s[store.KeyPending][0] == spare {
			t.Errorf("got keys %v, signing with %s", s, e.signs())
		}
		if got := e.publishedKeys(); slices.Contains(got, stolen) || len(got) != 2 {
			t.Errorf("got published keys %v", got)
		}
		for _, token := range []string{access, made} {
			if got := e.tokenCode(token); got != durward.TokenRevoked {
				t.Errorf("token of the stolen key: got %s", got)
			}
		}
		if got := e.tokenCode(e.access()); got != "no error" {
			t.Errorf("token of the spare: got %s", got)
		}
		if n := len(e.events(store.EventKeyWithdrawn)); n != 1 {
			t.Errorf("got %d events, want 1", n)
		}

		// A day later its tokens have ended, and its public key is deleted.
		e.clock.Advance(verifyAfter + time.Second)
		e.list.Add(revoked.Entry{Kind: revoked.Token, Value: "any", Until: e.clock.Now()}) // the list drops old entries
		if e.list.Revoked(revoked.SigningKey, stolen) {
			t.Error("the revocation is still listed after all tokens of the key ended")
		}
		if got := e.tokenCode(made); got != durward.InvalidToken {
			t.Errorf("token of a deleted key: got %s", got)
		}
		// The key is not used again after a restart.
		e.must(e.db.Close())
		e.open()
		if slices.Contains(e.publishedKeys(), stolen) || e.signs() != spare {
			t.Errorf("after a restart: got published keys %v, signing with %s", e.publishedKeys(), e.signs())
		}
	})
}

// Another process that gets the revocation before it reads the keys does not sign with the withdrawn
// key and refuses its tokens.
func TestRetireNowElsewhere(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		access := e.access()
		c := e.c
		c.Revoked = revoked.NewList(e.clock.Now)
		other, err := New(t.Context(), c)
		e.must(err)
		stolen := other.signer.Load().ID()
		e.retire(stolen, true)
		if _, err := other.Verifier().Verify(t.Context(), access); err != nil {
			t.Fatalf("before the revocation arrives: got %v", err)
		}
		rows, err := e.db.Revocations(t.Context(), 0, time.Time{})
		e.must(err)
		if len(rows) != 1 || rows[0].Kind != string(revoked.SigningKey) || rows[0].Value != stolen || !rows[0].Until.Equal(noon.Add(verifyAfter)) {
			t.Fatalf("got revocations %+v", rows)
		}
		c.Revoked.Add(rows[0])
		if _, err := other.Verifier().Verify(t.Context(), access); !errors.Is(err, durward.TokenRevoked) {
			t.Errorf("with the revocation in the list: got %v", err)
		}
		fresh, _, err := other.Sign(e.claims())
		e.must(err)
		if _, err := other.Verifier().Verify(t.Context(), fresh); err != nil {
			t.Errorf("new token: got %v", err)
		}
		if _, err := other.Verifier().Verify(t.Context(), access); !errors.Is(err, durward.TokenRevoked) {
			t.Errorf("after the keys were read: got %v", err)
		}
		// If the only active key is revoked in the list, no token is signed.
		e.must(e.ReadKeys(t.Context()))
		c.Revoked.Add(revoked.Entry{Seq: 99, Kind: revoked.SigningKey, Value: other.signer.Load().ID(), Until: noon.Add(time.Hour)})
		if _, _, err := other.Issue(t.Context(), "robot", nil, time.Minute); err == nil || !strings.Contains(err.Error(), "withdrawn") {
			t.Errorf("Issue with a withdrawn key: got %v", err)
		}
	})
}

// Without now, no token is revoked, and no key signs before every verifier can know it.
func TestRetireInOrder(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		first, spare := e.signs(), e.states()[store.KeyPending][0]
		access := e.access()
		e.clock.Advance(time.Minute)
		r := e.retire(first, false)
		if r.State != store.KeyActive || r.Revoked || r.Signs.ID != first || r.Next.ID != spare || !r.Takes.Equal(noon.Add(publishBefore)) || len(e.states()[store.KeyPending]) != 2 {
			t.Fatalf("at once: got %+v, keys %v", r, e.states())
		}
		e.retire(first, false) // changes nothing
		if n := len(e.states()[store.KeyPending]); n != 2 {
			t.Errorf("got %d spares", n)
		}
		e.clock.Advance(publishBefore - time.Minute)
		e.tick()
		if s := e.states(); e.signs() != spare || !slices.Equal(s[store.KeyRetiring], []string{first}) || len(s[store.KeyPending]) != 1 {
			t.Fatalf("an hour later: got keys %v", s)
		}
		e.clock.Advance(-publishBefore)
		if got := e.tokenCode(access); got != "no error" {
			t.Errorf("token of a retiring key: got %s", got)
		}
		e.clock.Advance(2 * publishBefore)
		r = e.retire(spare, false)
		if r.State != store.KeyRetiring || r.Signs.ID == spare || e.signs() != r.Signs.ID || len(e.states()[store.KeyPending]) != 1 {
			t.Errorf("successor published long enough: got %+v, keys %v", r, e.states())
		}
		if rows, err := e.db.Revocations(t.Context(), 0, time.Time{}); err != nil || len(rows) != 0 {
			t.Errorf("got revocations %v, %v", rows, err)
		}
	})
}

// One of several spares is deleted. The only spare is replaced by a new one.
func TestRetireSpare(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		first, spare := e.signs(), e.states()[store.KeyPending][0]
		e.retire(spare, true)
		if s := e.states(); e.signs() != first || !slices.Equal(s[store.KeyGone], []string{spare}) || len(s[store.KeyPending]) != 1 || slices.Contains(e.publishedKeys(), spare) {
			t.Errorf("stolen spare: got keys %v", s)
		}
		if !e.list.Revoked(revoked.SigningKey, spare) {
			t.Error("the key of a stolen spare is not revoked")
		}
		e.clock.Advance(time.Second)
		e.must(e.Rotate(t.Context(), "", false, operator))
		young := e.states()[store.KeyPending][1]
		if r := e.retire(young, false); r.State != store.KeyGone || r.Revoked || e.list.Revoked(revoked.SigningKey, young) {
			t.Errorf("one of two spares: got %+v", r)
		}
		if s := e.states(); len(s[store.KeyPending]) != 1 || e.signs() != first {
			t.Errorf("got keys %v", s)
		}
		// If the spare was deleted from the database, a new key becomes active.
		e.exec(`DELETE FROM keys WHERE state = 'pending'`)
		e.must(e.ReadKeys(t.Context()))
		if r := e.retire(first, true); e.signs() == first || r.Signs.ID != e.signs() || len(e.states()[store.KeyPending]) != 1 {
			t.Errorf("without a spare: got %+v, keys %v", r, e.states())
		}
	})
}

func TestRetireRefused(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		first, spare := e.signs(), e.states()[store.KeyPending][0]
		refused := func(keyID string, now bool, detail, hint string) {
			t.Helper()
			before := e.states()
			_, err := e.Retire(t.Context(), keyID, now, operator)
			var r *durward.Refusal
			if !errors.As(err, &r) || !strings.Contains(r.Detail, detail) || !strings.Contains(r.Hint, hint) {
				t.Errorf("Retire(%q, now %t): got %v", keyID, now, err)
			}
			if after := e.states(); len(after[store.KeyActive]) != 1 || len(after[store.KeyPending]) != len(before[store.KeyPending]) {
				t.Errorf("a refused Retire changed keys to %v", after)
			}
		}
		refused("", true, "no signing key", "key list")
		refused("nonsense", false, "no signing key", "key list")
		refused("a\x00b\xff", true, "no signing key", "key list")
		refused(spare, false, "the only spare", "rotation")
		e.clock.Advance(time.Second)
		e.must(e.Rotate(t.Context(), "", true, operator)) // first is retiring
		refused(first, false, "retiring already", "With now")
		if r := e.retire(first, true); r.Signs.ID != spare || e.signs() != spare {
			t.Errorf("retiring key, now: got %+v", r)
		}
		refused(first, true, "gone already", "key list")
		refused(first, false, "gone already", "key list")

		shared := newEnv(t, engine, func(c *Config) { c.Algorithm, c.SharedSecret = "HS256", []byte("0123456789abcdef0123456789abcdef") })
		var r *durward.Refusal
		if _, err := shared.Retire(t.Context(), "shared", true, operator); !errors.As(err, &r) || !strings.Contains(r.Detail, "tokens.shared_secret") {
			t.Errorf("HS256: got %v", err)
		}
	})
}

// After Retire, Rotate and RotateDue run at the same time, one key is active, there is a spare, and the
// stolen key is gone.
func TestRetireTogether(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		for range 5 {
			e := newEnv(t, engine, nil)
			stolen := e.signs()
			e.clock.Advance(signingLife)
			var all sync.WaitGroup
			start := make(chan struct{})
			for n := range 6 {
				all.Go(func() {
					<-start
					var err error
					switch n % 3 {
					case 0:
						_, err = e.Retire(t.Context(), stolen, true, operator)
					case 1:
						err = e.Rotate(t.Context(), "", true, operator)
					case 2:
						err = e.RotateDue(t.Context())
					}
					var gone *durward.Refusal
					if err != nil && !errors.As(err, &gone) {
						t.Errorf("caller %d: got %v", n, err)
					}
				})
			}
			close(start)
			all.Wait()
			e.tick()
			if s := e.states(); len(s[store.KeyActive]) != 1 || len(s[store.KeyPending]) == 0 || !slices.Equal(s[store.KeyGone], []string{stolen}) || e.signs() == stolen {
				t.Fatalf("got keys %v, signing with %s", s, e.signs())
			}
		}
	})
}

// GiveUpKey changes nothing if the keys changed since they were read.
func TestGiveUpKeyThatChanged(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		first, spare := e.signs(), e.states()[store.KeyPending][0]
		for _, g := range []store.GivenUp{
			{ID: first, State: store.KeyRetiring},
			{ID: "nonsense", State: store.KeyActive},
			{ID: first, State: store.KeyActive, Next: "nonsense"},
			{ID: spare, State: store.KeyPending, Next: first},
		} {
			g.At, g.Until = noon, noon.Add(time.Hour)
			if revoked, err := e.db.GiveUpKey(t.Context(), g); !errors.Is(err, store.ErrChanged) || revoked != nil {
				t.Errorf("GiveUpKey(%+v): got %v, %v", g, revoked, err)
			}
		}
		if s := e.states(); !slices.Equal(s[store.KeyActive], []string{first}) || !slices.Equal(s[store.KeyPending], []string{spare}) || len(s) != 2 {
			t.Errorf("got keys %v", s)
		}
		if rows, err := e.db.Revocations(t.Context(), 0, time.Time{}); err != nil || len(rows) != 0 {
			t.Errorf("got revocations %v, %v", rows, err)
		}
	})
}
