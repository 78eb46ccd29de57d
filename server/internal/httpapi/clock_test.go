package httpapi

import (
	"testing"
	"time"
)

// polled waits until the list has been read and swept at the current time of the clock.
func (w *env) polled() {
	w.t.Helper()
	began := w.polls.Load()
	w.eventually("the list is polled", func() bool { return w.polls.Load() >= began+3 })
}

// After a jump of the clock and back, revoked tokens are still revoked and valid ones work.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{-time.Hour, time.Hour, 2 * time.Hour, 24 * time.Hour, 10 * 365 * 24 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			t.Parallel()
			w := newEnv(t, settings{local: time.Now})
			out, in := w.signIn(), w.signIn()
			if r := w.do("POST", "/api/auth/logout", out.AccessToken, nil); r.StatusCode != 204 {
				t.Fatal(r.Status)
			}
			for range 5 {
				w.do("POST", "/api/auth/login", "", object{"email": "nobody@example.com", "password": randomPassword()})
			}
			w.clock.Advance(5 * time.Minute)
			w.polled()
			w.dead(out.AccessToken, "TOKEN_REVOKED")
			w.clock.Advance(jump)
			w.polled()
			if err := w.db.PurgeRevocations(t.Context()); err != nil {
				t.Fatal(err)
			}
			if r := w.do("GET", "/api/profile", out.AccessToken, nil); r.StatusCode != 401 {
				t.Errorf("with the wrong clock: %s", r.Status)
			}
			w.clock.Advance(-jump)
			w.polled()
			w.dead(out.AccessToken, "TOKEN_REVOKED")
			w.works(in.AccessToken)
			w.tokens(w.refreshWith(in.RefreshToken))
			w.works(w.signIn().AccessToken)
		})
	}
}
