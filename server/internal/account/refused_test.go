package account

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// Refused sign-ins are written to the security log, with a sum for each account and reason.
func TestRefusedAreWritten(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		h := newEnv(t, engine)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			h.SecurityLog.Run(ctx)
		}()
		for range 3 {
			_ = h.try(adaEmail, h.wrong(), here)
		}
		for deadline := time.Now().Add(20 * time.Second); len(h.events(store.EventSignInRefused)) == 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("no event after 20 s")
			}
		}
		for range 4 {
			_ = h.try(adaEmail, h.wrong(), here)
		}
		_ = h.try("nobody@example.com", h.wrong(), here)
		cancel()
		<-ended
		times := map[string]int{}
		for _, e := range h.events(store.EventSignInRefused) {
			n := 1
			if e.Detail != "" {
				if _, err := fmt.Sscanf(e.Detail, "%d times", &n); err != nil {
					t.Errorf("detail %q", e.Detail)
				}
			}
			times[e.Outcome+" "+e.UserID] += n
			if e.Network != "192.0.2.0/24" || e.Device != "curl" || !e.At.Equal(h.clock.Now().Truncate(time.Microsecond)) {
				t.Errorf("%+v", e)
			}
		}
		if times["wrong password "+h.ada.ID] != 5 || times["too many attempts "+h.ada.ID] != 2 || times["no such account "] != 1 || len(times) != 3 {
			t.Errorf("got %v", times)
		}
	})
}
