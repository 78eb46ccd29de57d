package httpapi

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/session"
)

// While this node receives no revocations, routes that change the ways of signing in answer 503
// after ten seconds. The others answer 503 once all tokens of the last successful poll have
// expired. No client gets a 401.
func TestStaleRevocations(t *testing.T) {
	t.Parallel()
	var silentSince atomic.Pointer[time.Time]
	w := newEnv(t, settings{tweak: func(c *issuer.Config, _ *session.Config) {
		now := c.Now
		c.RevokedAsOf = func() time.Time {
			if t := silentSince.Load(); t != nil {
				return *t
			}
			return now()
		}
	}})
	token := w.signIn().AccessToken
	start := w.clock.Now()
	makeKey := func() reply { return w.do("POST", "/api/keys", token, object{"name": "k"}) }
	w.clock.Advance(11 * time.Second)
	if r := makeKey(); r.StatusCode != 201 {
		t.Fatalf("with news of now: %s %s", r.Status, r.body)
	}
	silentSince.Store(&start)
	w.refused(makeKey(), 503, "AUTH_UNAVAILABLE")
	if r := w.do("GET", "/api/profile", token, nil); r.StatusCode != 200 {
		t.Errorf("the last list does not serve: %s %s", r.Status, r.body)
	}
	later := w.signIn().AccessToken // issued after the last poll
	if r := w.do("POST", "/api/keys", later, object{"name": "later"}); r.StatusCode != 201 {
		t.Errorf("a token of now: %s %s", r.Status, r.body)
	}
	w.clock.Advance(15*time.Minute - 11*time.Second)
	later = w.signIn().AccessToken
	if r := w.do("GET", "/api/profile", later, nil); r.StatusCode != 200 {
		t.Errorf("after an access token's life: %s %s", r.Status, r.body)
	}
	w.clock.Advance(time.Second)
	w.refused(w.do("GET", "/api/profile", later, nil), 503, "AUTH_UNAVAILABLE")
	silentSince.Store(nil)
	if r := w.do("GET", "/api/profile", later, nil); r.StatusCode != 200 {
		t.Errorf("with news again: %s %s", r.Status, r.body)
	}
}
