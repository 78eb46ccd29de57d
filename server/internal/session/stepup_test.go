package session

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/pwhash"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

var networks atomic.Uint32

// newNetwork returns a request from a network that was not used before.
func newNetwork() request.Info {
	n := networks.Add(1)
	return request.Info{Addr: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)})}
}

// reauthenticate tries a password in a session, from another network each time.
func (w *env) reauthenticate(ctx context.Context, u store.User, session, password string) error {
	_, err := w.Reauthenticate(ctx, &durward.Principal{Subject: u.ID, SessionID: session}, password, newNetwork())
	return err
}

// failures returns the count in the row of a session.
func (w *env) failures(session string) (n int) {
	w.t.Helper()
	db := w.rawDB()
	defer db.Close()
	w.must(db.QueryRow(`SELECT failures FROM sessions WHERE id = $1`, session).Scan(&n))
	return n
}

// Five wrong passwords at step-up or password/change end the session, each from another network.
func TestGuessedSession(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		ada := w.addUser("ada@example.com", adaPassword)
		id, another := w.begin(ada), w.begin(ada)
		guess := func(n int) error {
			if n%2 == 0 {
				return w.reauthenticate(t.Context(), ada, id, wrongPassword())
			}
			p := &durward.Principal{Subject: ada.ID, SessionID: id}
			_, err := w.ChangePassword(t.Context(), p, wrongPassword(), otherPassword, "", newNetwork())
			return err
		}
		for n := range 4 {
			refuses(t, fmt.Sprint("failure ", n), guess(n), durward.InvalidCredentials)
		}
		w.must(w.reauthenticate(t.Context(), ada, id, adaPassword)) // begins a new count
		for n := range 5 {
			if !w.alive(ada, id) {
				t.Errorf("session ended after %d failures", n)
			}
			refuses(t, fmt.Sprint("failure ", n), w.try(ada.Email, wrongPassword()), []durward.Code{
				durward.InvalidCredentials, durward.TooManyAttempts, // failed sign-ins do not count in the session
			}[n/5])
			refuses(t, fmt.Sprint("failure ", n), guess(n), durward.InvalidCredentials)
		}
		if w.alive(ada, id) || !w.alive(ada, another) {
			t.Errorf("after five failures: got guessing session alive %t, other session alive %t; want false, true", w.alive(ada, id), w.alive(ada, another))
		}
		before := w.hasher.Runs()
		refuses(t, "right password in the ended session", w.reauthenticate(t.Context(), ada, id, adaPassword), durward.TokenRevoked)
		if runs := w.hasher.Runs() - before; runs != 0 {
			t.Errorf("in the ended session: got %d hashes, want none", runs)
		}
		if events := w.events(ada, store.EventSessionEnded); len(events) != 1 || events[0].SessionID != id || events[0].Outcome != "too many wrong passwords" {
			t.Errorf("got events %+v", events)
		}
		if got := w.notifications(ada); !slices.Equal(got, []string{"session_ended_by_guesses"}) {
			t.Errorf("got notifications %q", got)
		}
		w.must(w.reauthenticate(t.Context(), ada, another, adaPassword))
	})
}

// Of many wrong passwords at once, over two nodes, at most five are verified. All right ones are.
func TestManyTriesOfASession(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		second, err := New(w.c)
		w.must(err)
		ada := w.addUser("ada@example.com", adaPassword)
		id := w.begin(ada)
		many := func(password func() string) map[durward.Code]int {
			codes := make(map[durward.Code]int)
			var mu sync.Mutex
			var all sync.WaitGroup
			for n := range 24 {
				all.Go(func() {
					m := []*Manager{w.Manager, second}[n%2]
					_, err := m.Reauthenticate(t.Context(), &durward.Principal{Subject: ada.ID, SessionID: id}, password(), newNetwork())
					mu.Lock()
					defer mu.Unlock()
					codes[codeOf(err)]++
				})
			}
			all.Wait()
			return codes
		}
		if codes := many(func() string { return adaPassword }); codes["no error"] != 24 || w.failures(id) != 0 {
			t.Errorf("right passwords: got %v and a count of %d, want no error and 0", codes, w.failures(id))
		}
		before := w.hasher.Runs()
		codes := many(wrongPassword)
		if runs := w.hasher.Runs() - before; runs != uint64(codes[durward.InvalidCredentials]) || runs < 1 || runs > 5 || codes[durward.TokenRevoked] != 24-int(runs) {
			t.Errorf("wrong passwords: got %v and %d hashes, want at most 5 and TOKEN_REVOKED else", codes, runs)
		}
		if w.alive(ada, id) || len(w.events(ada, store.EventSessionEnded)) != 1 || len(w.notifications(ada)) != 1 {
			t.Errorf("got session alive %t, events %v, notifications %q", w.alive(ada, id), w.events(ada, store.EventSessionEnded), w.notifications(ada))
		}
	})
}

// A try that was not decided does not count: a full queue, a block, a client that disconnected.
func TestUndecidedTries(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		ada := w.addUser("ada@example.com", adaPassword)
		id := w.begin(ada)
		refuses(t, "wrong password", w.reauthenticate(t.Context(), ada, id, wrongPassword()), durward.InvalidCredentials)

		p := &durward.Principal{Subject: ada.ID, SessionID: id}
		for range 5 {
			_ = w.try(ada.Email, wrongPassword())
		}
		_, err := w.Reauthenticate(t.Context(), p, wrongPassword(), home)
		refuses(t, "blocked", err, durward.TooManyAttempts)

		gone, cancel := context.WithCancel(t.Context())
		cancel()
		refuses(t, "disconnected", w.reauthenticate(gone, ada, id, wrongPassword()), "no code")

		// One slow hash runs and one waits, so the third finds the queue full.
		c := w.accounts.Config
		c.Hasher, err = pwhash.New(pwhash.Config{Memory: 64, Time: 1, Concurrent: 1, Waiting: 1})
		w.must(err)
		started, release := make(chan struct{}), make(chan struct{})
		var all sync.WaitGroup
		all.Go(func() {
			_ = c.Hasher.Do(pwhash.First(context.Background()), 64, func() { close(started); <-release })
		})
		<-started
		busy := w.c
		busy.Accounts, err = account.New(c)
		w.must(err)
		m, err := New(busy)
		w.must(err)
		waits, disconnect := context.WithCancel(t.Context())
		left := make(chan struct{})
		all.Go(func() {
			defer close(left)
			_, err := m.Reauthenticate(waits, p, wrongPassword(), newNetwork())
			refuses(t, "disconnected while it waits", err, "no code")
		})
		for c.Hasher.Busy(pwhash.First(t.Context())) == nil { // until the second one waits
			runtime.Gosched()
		}
		_, err = m.Reauthenticate(t.Context(), p, wrongPassword(), newNetwork())
		refuses(t, "full queue", err, durward.AuthUnavailable)
		disconnect()
		<-left
		close(release)
		all.Wait()
		if n := w.failures(id); n != 1 {
			t.Errorf("got a count of %d, want 1", n)
		}
	})
}

// A try of a node that was killed counts as a failure, and no client is refused for ever.
func TestTryOfAKilledNode(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		w := newEnv(t, engine, nil)
		w.undecided = 20 * time.Millisecond
		ada := w.addUser("ada@example.com", adaPassword)
		id := w.begin(ada)
		for range 4 { // the node is killed here each time
			_, err := w.db.CountTry(t.Context(), id, ada.ID)
			w.must(err)
		}
		refuses(t, "after four", w.reauthenticate(t.Context(), ada, id, wrongPassword()), durward.InvalidCredentials)
		if w.alive(ada, id) {
			t.Error("after four lost tries and a failure: the session is alive")
		}
		id = w.begin(ada)
		for range 5 {
			_, err := w.db.CountTry(t.Context(), id, ada.ID)
			w.must(err)
		}
		refuses(t, "after five", w.reauthenticate(t.Context(), ada, id, adaPassword), durward.TokenRevoked)
		if w.alive(ada, id) || len(w.notifications(ada)) != 2 {
			t.Errorf("after five lost tries: got session alive %t, notifications %q", w.alive(ada, id), w.notifications(ada))
		}
	})
}

// The fifth failure ends the session even if the client disconnects before the response.
func TestGuesserDisconnects(t *testing.T) {
	t.Parallel()
	w := newEnv(t, testkit.SQLite, nil)
	ada := w.addUser("ada@example.com", adaPassword)
	id := w.begin(ada)
	ctx, disconnect := context.WithCancel(t.Context())
	c := w.c
	c.Now = func() time.Time { // the Manager reads the clock first when the password was verified
		disconnect()
		return w.clock.Now()
	}
	m, err := New(c)
	w.must(err)
	for range 5 {
		_, err = m.Reauthenticate(ctx, &durward.Principal{Subject: ada.ID, SessionID: id}, wrongPassword(), newNetwork())
		refuses(t, "wrong password", err, durward.InvalidCredentials)
	}
	if ctx.Err() == nil || w.alive(ada, id) {
		t.Errorf("got context %v, session alive %t; want it canceled and the session ended", ctx.Err(), w.alive(ada, id))
	}
}
