package account

import (
	"errors"
	"testing"
	"time"

	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/store"
)

func TestEndSession(t *testing.T) {
	t.Parallel()
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		h := newHouse(t, on)
		ctx := t.Context()
		bob, err := h.Add(ctx, NewPerson{Email: "bob@example.com", Password: other}, store.EventUserAdded, here)
		must(t, err)
		first, second, his := h.session(h.ada), h.session(h.ada), h.session(bob)
		for _, id := range []string{his, "nothing", "", "\x00"} {
			if err := h.EndSession(ctx, h.ada.ID, id, store.EventSessionEnded, here); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("somebody else's session %q: %v, want not found", id, err)
			}
			if err := h.SignOut(ctx, h.ada.ID, id, false, here); err != nil { // nothing is left to end
				t.Errorf("sign-out of %q: %v", id, err)
			}
		}
		if !h.alive(bob, his) {
			t.Error("somebody else's session was ended")
		}
		must(t, h.EndSession(ctx, h.ada.ID, first, store.EventSessionEnded, here))
		if h.alive(h.ada, first) || !h.alive(h.ada, second) {
			t.Error("one session is ended, and no other")
		}
		must(t, h.EndSession(ctx, h.ada.ID, first, store.EventSessionEnded, here)) // again
		if events := h.events(store.EventSessionEnded); len(events) != 1 || events[0].UserID != h.ada.ID || events[0].SessionID != first {
			t.Errorf("events: %+v", events)
		}
		must(t, h.SignOut(ctx, h.ada.ID, second, false, here))
		if h.alive(h.ada, second) || !h.alive(bob, his) {
			t.Error("a sign-out ends its session, and no other")
		}
		if events := h.events(store.EventSignedOut); len(events) != 1 || events[0].SessionID != second {
			t.Errorf("events: %+v", events)
		}
	})
}

func TestSignOutEverywhere(t *testing.T) {
	t.Parallel()
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		h := newHouse(t, on)
		bob, err := h.Add(t.Context(), NewPerson{Email: "bob@example.com", Password: other}, store.EventUserAdded, here)
		must(t, err)
		first, second, his := h.session(h.ada), h.session(h.ada), h.session(bob)
		must(t, h.SignOut(t.Context(), h.ada.ID, first, true, here))
		if h.alive(h.ada, first) || h.alive(h.ada, second) || !h.alive(bob, his) {
			t.Error("everywhere is all sessions of the person, and no others")
		}
		if events := h.events(store.EventSignedOut); len(events) != 1 || events[0].Outcome != "everywhere" || events[0].UserID != h.ada.ID {
			t.Errorf("events: %+v", events)
		}
		must(t, h.SignOut(t.Context(), h.ada.ID, first, true, here))
	})
}

// A page begins after the one before; somebody else's are never seen.
func TestNotifications(t *testing.T) {
	t.Parallel()
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		h := newHouse(t, on)
		bob, err := h.Add(t.Context(), NewPerson{Email: "bob@example.com", Password: other}, store.EventUserAdded, here)
		must(t, err)
		for range 5 {
			h.clock.advance(time.Minute)
			must(t, h.SetPassword(t.Context(), h.ada, other, here))
			must(t, h.SetPassword(t.Context(), bob, adaPassword, here))
		}
		var seen []store.Notification
		for after, pages := "", 0; ; pages++ {
			page, err := h.Notifications(t.Context(), h.ada.ID, after, 2)
			must(t, err)
			if want := []int{2, 2, 1, 0}[pages]; len(page) != want {
				t.Fatalf("page %d has %d, want %d", pages, len(page), want)
			}
			if len(page) == 0 {
				break
			}
			seen = append(seen, page...)
			after = page[len(page)-1].ID
		}
		for i, n := range seen {
			if n.UserID != h.ada.ID || n.Kind != "password_changed" || n.Network != "192.0.2.0/24" || i > 0 && !n.At.Before(seen[i-1].At) {
				t.Errorf("notification %d: %+v", i, n)
			}
		}
	})
}
