package web_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// TestConsoleOfAMillionEvents measures the overview over 1,000,000 events, 10,000 users, and a week of
// counts of three nodes. It takes minutes, so it is part of make soak.
func TestConsoleOfAMillionEvents(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("SOAK=1 runs it")
	}
	const most = 200 * time.Millisecond // for one overview
	e := newEnv(t)
	ctx := context.Background()
	b := e.admin()
	began := time.Now()
	var users []string
	for n := range 10_000 {
		u := store.User{ID: store.NewID(), Email: fmt.Sprintf("u%d@example.com", n), EmailKey: fmt.Sprintf("u%d@example.com", n), Name: "User", CreatedAt: e.clock.Now(), PasswordChangedAt: e.clock.Now()}
		e.must(e.node.DB.CreateUser(ctx, u, nil, true, request.Info{}.Event(store.EventUserAdded, "ok", u.ID, "", u.CreatedAt)))
		users = append(users, u.ID)
	}
	kinds := store.EventKinds()
	for batch := range 100 {
		events := make([]store.Event, 10_000)
		for n := range events {
			events[n] = request.Info{}.Event(kinds[n%len(kinds)], "ok", users[(batch*97+n)%len(users)], "", e.clock.Now().Add(-time.Duration(n)*time.Second))
		}
		e.must(e.node.DB.AddEvents(ctx, events))
	}
	labels := []string{"outcome=ok factor=password", "outcome=wrong_password factor=password", "outcome=ok factor=totp", "outcome=second_factor_required factor=password"}
	codes := []string{"TOKEN_EXPIRED", "INVALID_TOKEN", "AUTHENTICATION_REQUIRED", "FORBIDDEN", "TOO_MANY_ATTEMPTS", "INVALID_CREDENTIALS", "NOT_FOUND", "STEP_UP_REQUIRED"}
	for at := e.clock.Now().Add(-7 * 24 * time.Hour); at.Before(e.clock.Now()); at = at.Add(store.CountPeriod) {
		var counts []store.Count
		for node := range 3 {
			add := func(name, label string) {
				counts = append(counts, store.Count{At: at, Node: fmt.Sprint("node", node), Name: name, Labels: label, N: 7})
			}
			for _, label := range labels {
				add("sign_ins", label)
			}
			for _, code := range codes {
				add("refusals", "code="+code+" scheme=Bearer")
			}
			add("refreshes", "outcome=rotated")
			add("refreshes", "outcome=repeated")
			add("events", "kind="+store.EventRefreshTheft)
		}
		e.must(e.node.DB.AddCounts(ctx, counts))
	}
	t.Logf("made the rows in %s", time.Since(began).Round(time.Second))
	for _, path := range []string{"/console", "/console?range=week", "/console/users", "/console/log", "/console/users/" + users[5000]} {
		var took []time.Duration
		for range 21 {
			began := time.Now()
			b.get(path).want(200)
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		t.Logf("%s: median %s, slowest %s", path, took[10].Round(time.Millisecond), took[20].Round(time.Millisecond))
		if took[10] > most && strings.HasPrefix(path, "/console?") || took[10] > most && path == "/console" {
			t.Errorf("%s: median %s, want at most %s", path, took[10], most)
		}
	}
}
