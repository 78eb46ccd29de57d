package nodes

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/internal/faults"
)

// members is how many clients a fleet has.
const members = 12

// longest is how long a node may take for an answer, whatever is slow or away.
const longest = 30 * time.Second

// round is one fault: it breaks something, waits, and mends it.
type round func(h *house, f *fleet, number int)

// suffer works a fleet through a number of rounds of a fault. Before, between and
// after them nothing may be lost; after them the nodes hold no more than before.
func suffer(t *testing.T, p plan, count int, lossy bool, fault round) {
	t.Helper()
	h := newHouse(t, p)
	f := newFleet(t, h, members)
	f.lossy = lossy
	f.during(func() { f.settle() })
	before := h.rest(f)
	first := make([]int, len(h.nodes))
	for i := range count {
		f.during(func() { fault(h, f, i) })
		f.goesOn()
		if i == 0 {
			for j, n := range h.nodes {
				first[j] = n.memory()
			}
		}
		if t.Failed() {
			t.Fatalf("round %d of %d\n%s", i+1, count, f.report())
		}
	}
	h.leaks(f, before)
	memory := ""
	for j, n := range h.nodes {
		now := n.memory()
		memory += fmt.Sprintf(", node %s %d MiB (%d after the first round)", n.name, now, first[j])
		if now > 2*first[j]+32 {
			t.Errorf("node %s takes %d MiB after %d rounds, it took %d after the first", n.name, now, count, first[j])
		}
	}
	if f.slowest > longest {
		t.Errorf("an answer came after %s, want %s at most", f.slowest, longest)
	}
	t.Logf("%d rounds%s: %s", count, memory, f.report())
	h.compareGoroutines()
}

// settle waits until the fleet has done something of everything.
func (f *fleet) settle() {
	f.h.t.Helper()
	f.h.eventually(func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, what := range []string{"call: 200", "refresh: 200", "refresh again: 200", "refresh together: 200", "sign-out: 204", "call with a dead token: 401 TOKEN_REVOKED"} {
			if f.counts[what] < 3 {
				return fmt.Errorf("%d of %q", f.counts[what], what)
			}
		}
		return nil
	})
}

// rest is how many descriptors each node has open while nobody asks anything.
func (h *house) rest(f *fleet) []int {
	h.t.Helper()
	f.http.CloseIdleConnections()
	counts := make([]int, len(h.nodes))
	for i, n := range h.nodes {
		same := 0 // how often in a row the count was the same
		h.eventually(func() error {
			was := counts[i]
			if counts[i] = n.descriptors(); counts[i] != was {
				same = 0
			}
			if same++; same < 50 {
				return fmt.Errorf("node %s has %d descriptors open, a moment ago it had %d", n.name, counts[i], was)
			}
			return nil
		})
	}
	return counts
}

const (
	// pools is how many connections a node may keep once it needed them: 24 to
	// Postgres, some to Redis.
	pools = 30

	// slack is how many goroutines more are no leak: of clients and connections.
	slack = 12
)

// leaks demands that the nodes have no more open than before, once nobody asks
// anything.
func (h *house) leaks(f *fleet, before []int) {
	h.t.Helper()
	for i, open := range h.rest(f) {
		if open > before[i]+pools {
			h.t.Errorf("node %s has %d descriptors open, %d before the faults", h.nodes[i].name, open, before[i])
		}
	}
}

// compareGoroutines ends the nodes with a dump and compares each with one that has
// just been started.
func (h *house) compareGoroutines() {
	h.t.Helper()
	counts := make([]int, len(h.nodes))
	for i, n := range h.nodes {
		counts[i] = n.goroutines()
	}
	n := h.nodes[0]
	n.start()
	client := from(h.t, "127.0.0.1")
	h.eventually(func() error {
		a, err := ask(client, n, "GET", "/readyz", "", "")
		if err == nil && a.status != 200 {
			err = fmt.Errorf("readyz: %s", a)
		}
		return err
	})
	fresh := n.goroutines()
	for i, count := range counts {
		if count > fresh+slack {
			h.t.Errorf("node %s has %d goroutines, a fresh one %d\n%s", h.nodes[i].name, count, fresh, h.nodes[i].stderr)
		}
	}
	h.t.Logf("goroutines: %d, of a fresh node %d", counts, fresh)
}

// pause is a moment somewhere up to most, so that faults meet everything.
func pause(most time.Duration) { time.Sleep(rand.N(most)) }

// shared is two nodes over Postgres and Redis.
var shared = plan{nodes: 2, postgres: true, redis: true}

// A node is killed under load, and started again.
func TestNodeKilled(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]plan{"SQLite": {nodes: 1}, "Postgres": shared} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			suffer(t, p, rounds(100), true, func(h *house, f *fleet, i int) {
				pause(200 * time.Millisecond)
				n := h.nodes[i%len(h.nodes)]
				n.kill()
				pause(100 * time.Millisecond)
				n.start()
				pause(100 * time.Millisecond)
			})
		})
	}
}

// Redis is killed, and comes back empty: nothing is refused for that, and what is
// revoked meanwhile is refused in time.
func TestRedisKilled(t *testing.T) {
	t.Parallel()
	suffer(t, shared, rounds(100), false, func(h *house, f *fleet, i int) {
		pause(100 * time.Millisecond)
		h.redis.Kill(t)
		f.none503(func() { f.busy(100) })
		h.redis.Start(t)
		pause(200 * time.Millisecond)
	})
}

// Redis hangs rather than dies.
func TestRedisHangs(t *testing.T) {
	t.Parallel()
	suffer(t, shared, rounds(50), false, func(h *house, f *fleet, i int) {
		pause(100 * time.Millisecond)
		h.redis.Pause(t)
		f.none503(func() { f.busy(100) })
		pause(2 * time.Second)
		h.redis.Resume(t)
		pause(200 * time.Millisecond)
	})
}

// Postgres is killed with all its processes, and comes back.
func TestPostgresKilled(t *testing.T) {
	t.Parallel()
	suffer(t, shared, rounds(100), false, func(h *house, f *fleet, i int) {
		pause(200 * time.Millisecond)
		back := f.away()
		h.postgres.Kill(t)
		h.unavailable(f)
		pause(200 * time.Millisecond)
		h.postgres.Start(t)
		back()
		f.busy(100)
	})
}

// Postgres hangs rather than dies, and so does the network before it.
func TestPostgresHangs(t *testing.T) {
	t.Parallel()
	suffer(t, shared, rounds(30), false, func(h *house, f *fleet, i int) {
		back := f.away()
		if i%2 == 0 {
			h.postgres.Pause(t)
			h.unavailable(f)
			h.healthy()
			h.postgres.Resume(t)
		} else {
			for _, n := range h.nodes {
				n.database.Hang()
			}
			h.unavailable(f)
			h.healthy()
			for _, n := range h.nodes {
				n.database.Cut()
				n.database.Heal()
			}
		}
		h.ready()
		back()
		f.busy(100)
	})
}

// The connection is cut between a COMMIT and its answer, again and again: what was
// done is found out, and nobody notices.
func TestCommitLost(t *testing.T) {
	t.Parallel()
	lost := 0
	suffer(t, plan{nodes: 2, postgres: true}, rounds(100), false, func(h *house, f *fleet, i int) {
		for _, n := range h.nodes {
			n.database.Lose(func(answer []byte) bool { return faults.Committed(answer) && rand.N(4) == 0 })
		}
		f.none503(func() { f.busy(200) })
		lost = 0
		for _, n := range h.nodes {
			lost += n.database.Lost()
			n.database.Heal()
		}
	})
	if lost < rounds(100) {
		t.Errorf("%d answers were lost", lost)
	}
	t.Logf("%d answers to COMMIT were lost", lost)
}

// Every connection to Postgres is cut, at any moment.
func TestConnectionsCut(t *testing.T) {
	t.Parallel()
	suffer(t, plan{nodes: 2, postgres: true}, rounds(100), false, func(h *house, f *fleet, i int) {
		for range 5 {
			pause(100 * time.Millisecond)
			for _, n := range h.nodes {
				n.database.Cut()
			}
		}
		f.busy(50)
	})
}

// Every answer of Postgres is late.
func TestPostgresSlow(t *testing.T) {
	t.Parallel()
	for _, delay := range []time.Duration{time.Second, 10 * time.Second} {
		t.Run(delay.String(), func(t *testing.T) {
			t.Parallel()
			suffer(t, shared, rounds(10), false, func(h *house, f *fleet, i int) {
				back := f.away()
				for _, n := range h.nodes {
					n.database.Delay(delay)
				}
				for range 10 {
					h.healthy()
					pause(time.Second)
				}
				for _, n := range h.nodes {
					n.database.Heal()
				}
				h.ready()
				back()
				f.busy(100)
			})
		})
	}
}

// healthy demands that each node says at once that it is there, whatever is away.
func (h *house) healthy() {
	h.t.Helper()
	for _, n := range h.nodes {
		if a := h.ask(n, "GET", "/healthz", "", ""); a.status != 200 || a.took > 4*time.Second { // a question to the database is given up after five
			h.t.Errorf("healthz of node %s: %d after %s", n.name, a.status, a.took)
		}
	}
}

// unanswered is how many answers were those of an outage.
func (f *fleet) unanswered() (count int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for what, n := range f.counts {
		if strings.HasSuffix(what, "503 AUTH_UNAVAILABLE") {
			count += n
		}
	}
	return count
}

// none503 demands that nobody is turned away while do runs.
func (f *fleet) none503(do func()) {
	f.h.t.Helper()
	before := f.unanswered()
	do()
	if n := f.unanswered() - before; n > 0 {
		f.h.t.Errorf("%d requests were answered 503", n)
		for _, n := range f.h.nodes {
			for line := range strings.Lines(n.stderr.String()) {
				if os.Getenv("DEBUGLOG") != "" || strings.Contains(line, "code=AUTH_UNAVAILABLE") || strings.Contains(line, "level=ERROR") || strings.Contains(line, "a COMMIT was lost") && strings.Contains(line, "cannot be told") || strings.Contains(line, "status=503") {
					f.h.t.Logf("node %s: %s", n.name, line)
				}
			}
		}
	}
}

// The disk under the database becomes full, and has room again.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]struct {
		plan
		size string
	}{"SQLite": {plan{nodes: 1}, "24m"}, "Postgres": {plan{nodes: 2, postgres: true}, "192m"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p.disk = faults.SmallDisk(t, p.size)
			suffer(t, p.plan, rounds(30), false, func(h *house, f *fleet, i int) {
				filler := filepath.Join(p.disk, "filler")
				back := func() {}
				if p.postgres {
					back = f.away() // a Postgres that cannot write down what it did starts anew
				}
				faults.Fill(t, filler)
				h.unavailable(f)
				pause(200 * time.Millisecond)
				remove(t, filler)
				h.ready()
				back()
			})
		})
	}
}

// Another process holds the lock of the SQLite file for longer than writers wait.
func TestDatabaseLocked(t *testing.T) {
	t.Parallel()
	suffer(t, plan{nodes: 1}, rounds(10), false, func(h *house, f *fleet, i int) {
		shell := exec.Command("sqlite3", "-bail", h.sqlite)
		in, err := shell.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := shell.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintln(in, ".timeout 20000\nBEGIN IMMEDIATE;"); err != nil {
			t.Fatal(err)
		}
		h.unavailable(f)
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		if err := shell.Wait(); err != nil {
			t.Fatal(err)
		}
	})
}

// unavailable waits until the fleet meets the fault.
func (h *house) unavailable(f *fleet) {
	h.t.Helper()
	before := f.unanswered()
	h.eventually(func() error {
		f.judge()
		if n := f.unanswered() - before; n < 5 {
			return fmt.Errorf("the fault does not show: %d answers of 503\n%s", n, f.report())
		}
		return nil
	})
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// The answer to a refresh is lost, and with it the database, for longer than the
// grace: whoever comes back with the token that they hold goes on.
func TestOutageOutlastsGrace(t *testing.T) {
	t.Parallel()
	const grace = 2 * time.Second
	h := newHouse(t, plan{nodes: 2, postgres: true, env: []string{"DURWARD_TOKENS_REFRESH_GRACE=" + grace.String()}})
	h.people(1)
	for i := range rounds(20) {
		n := h.nodes[i%2]
		s := h.signIn(n, "person-0@example.com")
		before := n.database.Lost()
		n.database.Lose(func(answer []byte) bool {
			if !faults.Committed(answer) {
				return false
			}
			for _, n := range h.nodes {
				n.database.Refuse()
			}
			return true
		})
		body := fmt.Sprintf(`{"refresh_token":%q}`, s.refresh)
		if a := h.ask(n, "POST", "/api/auth/refresh", "", body); a.status != 503 || n.database.Lost() == before {
			t.Fatalf("round %d: %d %s, %d answers lost", i, a.status, a.body, n.database.Lost()-before)
		}
		time.Sleep(2 * grace) // how long the outage lasts
		for _, n := range h.nodes {
			n.database.Heal()
		}
		var a answer
		h.eventually(func() error {
			if a = h.ask(h.nodes[(i+1)%2], "POST", "/api/auth/refresh", "", body); a.status == 503 {
				return fmt.Errorf("refresh: %s", a)
			}
			return nil
		})
		if _, generation, _ := generation(a.member("refresh_token")); a.status != 200 || generation != 1 {
			t.Errorf("round %d: %d %s, want token 1", i, a.status, a.body)
		}
	}
}
