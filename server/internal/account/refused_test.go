package account

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/store"
)

// A flood of one network costs a bounded number of rows, loses no count and
// hides nobody else's row.
func TestFloodIsSummed(t *testing.T) {
	t.Parallel()
	s := newRefusedSignIns()
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	for n := range 5000 {
		s.add(fmt.Sprint("made up ", n), "", "no such account", here, now)
	}
	for range 7 {
		s.add("ada", "ada's id", "wrong password", elsewhere, now)
	}
	events := s.take()
	if len(events) != maxRefusedOfNetwork+2 {
		t.Errorf("%d rows, want %d of accounts, one of further ones and one of the other network", len(events), maxRefusedOfNetwork)
	}
	var rest, ada bool
	for _, e := range events {
		if e.Kind != store.EventSignInRefused {
			t.Errorf("kind of %+v", e)
		}
		rest = rest || e.Detail == fmt.Sprintf("%d times further accounts", 5000-maxRefusedOfNetwork) && e.Network == here.Network() && e.UserID == ""
		ada = ada || e.Detail == "7 times" && e.UserID == "ada's id" && e.Outcome == "wrong password" && e.Network == elsewhere.Network() && e.Device == "Firefox on Linux"
	}
	if !rest || !ada {
		t.Errorf("further accounts %v, the other network %v: %+v", rest, ada, events)
	}
	if again := s.take(); again != nil {
		t.Errorf("taken twice: %+v", again)
	}

	// Many networks.
	for n := range 5 * maxRefusedSums {
		s.add("ada", "ada's id", "wrong password", From{Addr: netip.AddrFrom4([4]byte{10, byte(n >> 8), byte(n), 1})}, now)
	}
	events = s.take()
	if len(events) != maxRefusedSums+1 {
		t.Errorf("%d rows, want %d", len(events), maxRefusedSums+1)
	}
	rest = false
	for _, e := range events {
		rest = rest || e.Detail == fmt.Sprintf("%d times further networks", 4*maxRefusedSums) && e.Network == "" && e.UserID == ""
	}
	if !rest {
		t.Error("no row of further networks")
	}
	if len(s.waiting)+len(s.rows) != 0 {
		t.Errorf("%d sums and %d networks are kept after they were taken", len(s.waiting), len(s.rows))
	}
}

// Run writes them while it runs, and what is left when it ends.
func TestRefusedAreWritten(t *testing.T) {
	t.Parallel()
	services.OnBoth(t, func(t *testing.T, on services.Engine) {
		h := newHouse(t, on)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			h.Run(ctx)
		}()
		for range 3 {
			_ = h.try(adaEmail, h.wrong(), here)
		}
		for deadline := time.Now().Add(20 * time.Second); len(h.events(store.EventSignInRefused)) == 0; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("nothing is written")
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
			t.Errorf("written: %v", times)
		}
	})
}

// What cannot be written is said in the log, without names or secrets.
func TestRefusedCannotBeWritten(t *testing.T) {
	t.Parallel()
	h := newHouse(t, services.File)
	_ = h.try(adaEmail, "not the right one", here)
	must(t, h.DB.Close())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.Run(ctx)
	if logs := h.logs.String(); !strings.Contains(logs, "level=ERROR") || !strings.Contains(logs, "events=1") || strings.Contains(logs, "not the right one") {
		t.Errorf("log: %s", logs)
	}
}
