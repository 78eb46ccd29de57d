package securitylog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/metrics"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// env is a Writer over a SQLite database, with a clock that the test moves. Its log is read after
// the Writer's goroutines have ended.
type env struct {
	*Writer
	db     *store.DB
	master *seal.Master
	now    time.Time
	logs   bytes.Buffer
}

func newEnv(t *testing.T) *env {
	t.Helper()
	e := &env{now: time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)}
	now := func() time.Time { return e.now }
	db, err := store.Open(t.Context(), store.Config{URL: "sqlite:" + filepath.Join(t.TempDir(), "durward.db"), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	e.db = db
	if e.master, err = seal.Parse(seal.Secret(strings.Repeat("0123456789abcdef", 4))); err != nil {
		t.Fatal(err)
	}
	e.Writer, err = New(Config{DB: db, Master: e.master, Log: slog.New(slog.NewTextHandler(&e.logs, nil)), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// runOnce writes the refusals and events that are not written yet.
func (e *env) runOnce(t *testing.T) {
	t.Helper()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	e.Run(ended)
}

func (e *env) refuse(t *testing.T, n int, network string) (id string) {
	id = fmt.Sprintf("01%024d", n)
	e.AddRefusal(t.Context(), store.Denial{ID: id, Code: "INVALID_TOKEN", Status: 401, Network: network})
	return id
}

func (e *env) recorded(t *testing.T, id string) bool {
	t.Helper()
	_, err := e.db.DenialByID(t.Context(), id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

// Limits on refusals: a flood from one network leaves few rows and room for other networks.
func TestFloodOfRefusals(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	var ids []string
	for n := range 5000 {
		ids = append(ids, e.refuse(t, n, "203.0.113.0/24"))
	}
	other := e.refuse(t, 5000, "198.51.100.0/24")
	e.runOnce(t)
	rows := 0
	for _, id := range ids {
		if e.recorded(t, id) {
			rows++
		}
	}
	if rows != perNetwork || !e.recorded(t, other) {
		t.Errorf("5000 refusals of a network: %d rows, want %d; row of another network: %v, want true", rows, perNetwork, e.recorded(t, other))
	}
	if want := fmt.Sprintf("refusals=%d", 5000-perNetwork); !strings.Contains(e.logs.String(), want) {
		t.Errorf("the log does not say %s", want)
	}

	// Memory is limited too, with many networks and without a database.
	for second := range 10 {
		for n := range 1000 {
			e.refuse(t, 10_000+1000*second+n, fmt.Sprintf("10.%d.%d.0/24", n/250, n%250))
		}
		e.now = e.now.Add(time.Second)
	}
	if len(e.denials.waiting) > maxWaiting || len(e.denials.networks) > perSecond {
		t.Errorf("10,000 networks: %d rows wait, %d networks are counted", len(e.denials.waiting), len(e.denials.networks))
	}
}

// Refusals older than seven days are deleted while Run runs.
func TestOldRefusalsAreDeleted(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	old := e.refuse(t, 1, "192.0.2.0/24")
	e.runOnce(t)
	e.now = e.now.Add(refusalsKept + time.Second)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		e.Run(ctx)
	}()
	for deadline := time.Now().Add(20 * time.Second); e.recorded(t, old); {
		if time.Now().After(deadline) {
			t.Error("a refusal older than seven days still exists")
			break
		}
	}
	cancel()
	<-ended
}

// Counts of a minute are added to those of the same five minutes.
func TestCountsAreWritten(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.metrics, e.node = metrics.New(), "node-1"
	for range 2 {
		e.refuse(t, 1, "192.0.2.0/24")
		e.denials.takeAll()
		e.runOnce(t)
		e.now = e.now.Add(time.Minute)
	}
	start := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	want := store.Count{At: start, Name: "refusals", Labels: "code=INVALID_TOKEN", N: 2}
	got, err := e.db.Counts(t.Context(), start, start.Add(time.Hour), 0)
	if err != nil || len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func signInEvent(userID, reason, network string) store.Event {
	return store.Event{Kind: store.EventSignInRefused, UserID: userID, Outcome: reason, Network: network, Device: "curl"}
}

// Sums of refused sign-ins: limited rows, exact counts, a row for each other account and network.
func TestFloodOfSignIns(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	s := &e.signIns
	for n := range 5000 {
		e.AddSignIn(fmt.Sprint("made up ", n), signInEvent("", "no such account", "203.0.113.0/24"))
	}
	for range 7 {
		e.AddSignIn("ada", signInEvent("ada's id", "wrong password", "198.51.100.0/24"))
	}
	events := s.takeAll()
	if want := maxOfNetwork + 2; len(events) != want {
		t.Errorf("%d rows, want %d: accounts, further accounts, the other network", len(events), want)
	}
	var further, ada bool
	for _, e := range events {
		further = further || e.Detail == fmt.Sprintf("%d times further accounts", 5000-maxOfNetwork) && e.Network == "203.0.113.0/24" && e.UserID == "" && e.Device == ""
		ada = ada || e.Detail == "7 times" && e.UserID == "ada's id" && e.Outcome == "wrong password" && e.Network == "198.51.100.0/24" && e.Device == "curl"
	}
	if !further || !ada {
		t.Errorf("row of further accounts: %v, row of the other network: %v, want both in %+v", further, ada, events)
	}
	if again := s.takeAll(); len(again) != 0 {
		t.Errorf("the second batch has %+v, want nothing", again)
	}

	for n := range 5 * maxSums {
		e.AddSignIn("ada", signInEvent("ada's id", "wrong password", fmt.Sprintf("10.%d.%d.0/24", n>>8, n&255)))
	}
	events = s.takeAll()
	if len(events) != maxSums+1 {
		t.Errorf("%d rows of 5000 networks, want %d", len(events), maxSums+1)
	}
	further = false
	for _, e := range events {
		further = further || e.Detail == fmt.Sprintf("%d times further networks", 4*maxSums) && e.Network == "" && e.UserID == ""
	}
	if !further {
		t.Error("no row of further networks")
	}
	if len(s.sums)+len(s.accounts) != 0 {
		t.Errorf("%d sums and %d networks stay in memory after a batch", len(s.sums), len(s.accounts))
	}
}

// Failed writes are logged with the number of lost rows and without their contents.
func TestFailedWrites(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.metrics = metrics.New()
	e.AddSignIn("not the right one", signInEvent("ada's id", "wrong password", "192.0.2.0/24"))
	e.refuse(t, 1, "192.0.2.0/24")
	if err := e.db.Close(); err != nil {
		t.Fatal(err)
	}
	e.runOnce(t)
	for _, want := range []string{"level=ERROR", "events=1", "refusals=1"} {
		if logs := e.logs.String(); !strings.Contains(logs, want) || strings.Contains(logs, "not the right one") {
			t.Errorf("log without %q or with an account's name: %s", want, logs)
		}
	}
	if counts, _ := e.metrics.Growth(); len(counts) != 2 {
		t.Errorf("counts for the next write: %+v, want those of the refusal and the sign-in", counts)
	}
}
