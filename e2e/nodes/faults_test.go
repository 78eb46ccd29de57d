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

// workerCount is the number of workers of a group.
const workerCount = 12

// maxAnswer is the longest time to a response during any fault.
const maxAnswer = 30 * time.Second

// fault causes one fault, waits, and ends it. number is the number of the round.
type fault func(cl *cluster, group *clientGroup, number int)

// runRounds runs a client group through a number of rounds of a fault. No session may be lost at
// any time, and after the rounds the nodes may not hold more memory, descriptors or goroutines.
func runRounds(t *testing.T, p clusterConfig, count int, lossy bool, injectFault fault) {
	t.Helper()
	cl := newCluster(t, p)
	group := newClientGroup(t, cl, workerCount)
	group.lossy = lossy
	group.during(func() { group.warmUp() })
	before := cl.idleDescriptors(group)
	first := make([]int, len(cl.nodes))
	for i := range count {
		group.during(func() { injectFault(cl, group, i) })
		group.checkContinuity()
		if i == 0 {
			for j, n := range cl.nodes {
				first[j] = n.memory()
			}
		}
		if t.Failed() {
			t.Fatalf("round %d of %d\n%s", i+1, count, group.report())
		}
	}
	cl.checkDescriptors(group, before)
	memory := ""
	for j, n := range cl.nodes {
		now := n.memory()
		memory += fmt.Sprintf(", node %s %d MiB (%d after the first round)", n.name, now, first[j])
		if now > 2*first[j]+32 {
			t.Errorf("memory of node %s: got %d MiB after %d rounds, after the first it was %d", n.name, now, count,
				first[j])
		}
	}
	if group.slowest > maxAnswer {
		t.Errorf("slowest response: got %s, want at most %s", group.slowest, maxAnswer)
	}
	t.Logf("%d rounds%s: %s", count, memory, group.report())
	cl.compareGoroutines()
}

// warmUp waits until the group has performed each kind of action.
func (group *clientGroup) warmUp() {
	group.cl.t.Helper()
	group.cl.eventually(func() error {
		group.mu.Lock()
		defer group.mu.Unlock()
		for _, what := range []string{"call: 200", "refresh: 200", "refresh again: 200", "refresh together: 200",
			"sign-out: 204", "call with a dead token: 401 TOKEN_REVOKED"} {
			if group.counts[what] < 3 {
				return fmt.Errorf("%d of %q", group.counts[what], what)
			}
		}
		return nil
	})
}

// idleDescriptors returns the number of open descriptors of each node without requests.
func (cl *cluster) idleDescriptors(group *clientGroup) []int {
	cl.t.Helper()
	group.http.CloseIdleConnections()
	counts := make([]int, len(cl.nodes))
	for i, n := range cl.nodes {
		same := 0 // number of equal counts in a row
		cl.eventually(func() error {
			was := counts[i]
			if counts[i] = n.descriptors(); counts[i] != was {
				same = 0
			}
			if same++; same < 50 {
				return fmt.Errorf("descriptors of node %s: %d, before that %d", n.name, counts[i], was)
			}
			return nil
		})
	}
	return counts
}

const (
	// pools is the number of connections that a node may keep: 24 to Postgres, some to Redis.
	pools = 30

	// slack is the number of further goroutines that are no leak: of clients and connections.
	slack = 12
)

// checkDescriptors checks that idle nodes have no more descriptors open than before, pools apart.
func (cl *cluster) checkDescriptors(group *clientGroup, before []int) {
	cl.t.Helper()
	for i, open := range cl.idleDescriptors(group) {
		if open > before[i]+pools {
			cl.t.Errorf("descriptors of node %s: got %d, before the faults %d", cl.nodes[i].name, open, before[i])
		}
	}
}

// compareGoroutines ends the nodes and compares their numbers of goroutines with that of a fresh
// node.
func (cl *cluster) compareGoroutines() {
	cl.t.Helper()
	counts := make([]int, len(cl.nodes))
	for i, n := range cl.nodes {
		counts[i] = n.goroutines()
	}
	n := cl.nodes[0]
	n.start()
	client := clientFrom(cl.t, "127.0.0.1")
	cl.eventually(func() error {
		a, err := ask(client, n, "GET", "/readyz", "", "")
		if err == nil && a.status != 200 {
			err = fmt.Errorf("readyz: %s", a)
		}
		return err
	})
	fresh := n.goroutines()
	for i, count := range counts {
		if count > fresh+slack {
			cl.t.Errorf("goroutines of node %s: got %d, a fresh node has %d\n%s", cl.nodes[i].name, count, fresh,
				cl.nodes[i].stderr)
		}
	}
	cl.t.Logf("goroutines: %d, in a fresh node %d", counts, fresh)
}

// pause sleeps for a random time up to most, so that faults occur at any moment of the load.
func pause(most time.Duration) { time.Sleep(rand.N(most)) }

// twoNodes has two nodes over Postgres and Redis.
var twoNodes = clusterConfig{nodes: 2, postgres: true, redis: true}

// TestNodeKilled kills a node under load and starts it again.
func TestNodeKilled(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]clusterConfig{"SQLite": {nodes: 1}, "Postgres": twoNodes} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runRounds(t, p, rounds(100), true, func(cl *cluster, group *clientGroup, i int) {
				pause(200 * time.Millisecond)
				n := cl.nodes[i%len(cl.nodes)]
				n.kill()
				pause(100 * time.Millisecond)
				n.start()
				pause(100 * time.Millisecond)
			})
		})
	}
}

// TestRedisKilled kills Redis and starts it empty. No request may get 503, and tokens revoked
// meanwhile must be refused in time.
func TestRedisKilled(t *testing.T) {
	t.Parallel()
	runRounds(t, twoNodes, rounds(100), false, func(cl *cluster, group *clientGroup, i int) {
		pause(100 * time.Millisecond)
		cl.redis.Kill(t)
		group.without503(func() { group.waitForRequests(100) })
		cl.redis.Start(t)
		pause(200 * time.Millisecond)
	})
}

// TestRedisHangs stops the process of Redis, so that it does not respond.
func TestRedisHangs(t *testing.T) {
	t.Parallel()
	runRounds(t, twoNodes, rounds(50), false, func(cl *cluster, group *clientGroup, i int) {
		pause(100 * time.Millisecond)
		cl.redis.Pause(t)
		group.without503(func() { group.waitForRequests(100) })
		pause(2 * time.Second)
		cl.redis.Resume(t)
		pause(200 * time.Millisecond)
	})
}

// TestPostgresKilled kills Postgres with all its processes and starts it again.
func TestPostgresKilled(t *testing.T) {
	t.Parallel()
	runRounds(t, twoNodes, rounds(100), false, func(cl *cluster, group *clientGroup, i int) {
		pause(200 * time.Millisecond)
		back := group.startOutage()
		cl.postgres.Kill(t)
		cl.waitForOutage(group)
		pause(200 * time.Millisecond)
		cl.postgres.Start(t)
		back()
		group.waitForRequests(100)
	})
}

// TestPoolerKilled kills the pooler before Postgres, and Postgres behind it, in turn, and starts them
// again.
func TestPoolerKilled(t *testing.T) {
	t.Parallel()
	p := clusterConfig{nodes: 2, postgres: true, pooler: true}
	runRounds(t, p, rounds(30), false, func(cl *cluster, group *clientGroup, i int) {
		pause(200 * time.Millisecond)
		back := group.startOutage()
		if i%2 == 0 {
			cl.pooler.Kill(t)
			cl.waitForOutage(group)
			cl.pooler.Start(t)
		} else {
			cl.postgres.Kill(t)
			cl.waitForOutage(group)
			cl.postgres.Start(t)
		}
		cl.waitUntilReady()
		back()
		group.waitForRequests(100)
	})
}

// TestPostgresHangs stops the processes of Postgres and the proxies before it, in turn.
func TestPostgresHangs(t *testing.T) {
	t.Parallel()
	runRounds(t, twoNodes, rounds(30), false, func(cl *cluster, group *clientGroup, i int) {
		back := group.startOutage()
		if i%2 == 0 {
			cl.postgres.Pause(t)
			cl.waitForOutage(group)
			cl.checkHealthy()
			cl.postgres.Resume(t)
		} else {
			for _, n := range cl.nodes {
				n.database.Hang()
			}
			cl.waitForOutage(group)
			cl.checkHealthy()
			for _, n := range cl.nodes {
				n.database.Cut()
				n.database.Heal()
			}
		}
		cl.waitUntilReady()
		back()
		group.waitForRequests(100)
	})
}

// TestCommitLost cuts connections between a COMMIT and its response. The node must determine the
// outcome, and no client may get an error.
func TestCommitLost(t *testing.T) {
	t.Parallel()
	lost := 0
	runRounds(t, clusterConfig{nodes: 2, postgres: true}, rounds(100), false,
		func(cl *cluster, group *clientGroup, i int) {
			for _, n := range cl.nodes {
				n.database.Lose(func(answer []byte) bool { return faults.Committed(answer) && rand.N(4) == 0 })
			}
			group.without503(func() { group.waitForRequests(200) })
			lost = 0
			for _, n := range cl.nodes {
				lost += n.database.Lost()
				n.database.Heal()
			}
		})
	if lost < rounds(100) {
		t.Errorf("lost responses to COMMIT: got %d, want at least %d", lost, rounds(100))
	}
	t.Logf("%d responses to COMMIT were lost", lost)
}

// TestConnectionsCut cuts all connections to Postgres at random moments.
func TestConnectionsCut(t *testing.T) {
	t.Parallel()
	runRounds(t, clusterConfig{nodes: 2, postgres: true}, rounds(100), false,
		func(cl *cluster, group *clientGroup, i int) {
			for range 5 {
				pause(100 * time.Millisecond)
				for _, n := range cl.nodes {
					n.database.Cut()
				}
			}
			group.waitForRequests(50)
		})
}

// TestPostgresSlow delays all responses of Postgres.
func TestPostgresSlow(t *testing.T) {
	t.Parallel()
	for _, delay := range []time.Duration{time.Second, 10 * time.Second} {
		t.Run(delay.String(), func(t *testing.T) {
			t.Parallel()
			runRounds(t, twoNodes, rounds(10), false, func(cl *cluster, group *clientGroup, i int) {
				back := group.startOutage()
				for _, n := range cl.nodes {
					n.database.Delay(delay)
				}
				for range 10 {
					cl.checkHealthy()
					pause(time.Second)
				}
				for _, n := range cl.nodes {
					n.database.Heal()
				}
				cl.waitUntilReady()
				back()
				group.waitForRequests(100)
			})
		})
	}
}

// checkHealthy checks that /healthz of each node responds at once.
func (cl *cluster) checkHealthy() {
	cl.t.Helper()
	for _, n := range cl.nodes {
		// A request that waited for the database would take five seconds.
		if a := cl.ask(n, "GET", "/healthz", "", ""); a.status != 200 || a.took > 4*time.Second {
			cl.t.Errorf("healthz of node %s: got %d after %s, want 200 at once", n.name, a.status, a.took)
		}
	}
}

// count503 returns the number of 503 responses.
func (group *clientGroup) count503() (count int) {
	group.mu.Lock()
	defer group.mu.Unlock()
	for what, n := range group.counts {
		if strings.HasSuffix(what, "503 AUTH_UNAVAILABLE") {
			count += n
		}
	}
	return count
}

// without503 checks that no request gets 503 while do runs.
func (group *clientGroup) without503(do func()) {
	group.cl.t.Helper()
	before := group.count503()
	do()
	if n := group.count503() - before; n > 0 {
		group.cl.t.Errorf("responses of 503: got %d, want none", n)
		for _, n := range group.cl.nodes {
			for line := range strings.Lines(n.stderr.String()) {
				for _, sign := range []string{"code=AUTH_UNAVAILABLE", "level=ERROR", "status=503"} {
					if strings.Contains(line, sign) {
						group.cl.t.Logf("node %s: %s", n.name, line)
						break
					}
				}
			}
		}
	}
}

// TestDiskFull fills the disk under the database, then frees it.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	for name, p := range map[string]struct {
		clusterConfig
		size string
	}{"SQLite": {clusterConfig{nodes: 1}, "24m"}, "Postgres": {clusterConfig{nodes: 2, postgres: true}, "192m"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p.disk = faults.SmallDisk(t, p.size)
			runRounds(t, p.clusterConfig, rounds(30), false, func(cl *cluster, group *clientGroup, i int) {
				filler := filepath.Join(p.disk, "filler")
				back := func() {}
				if p.postgres {
					back = group.startOutage() // Postgres restarts when it cannot write its WAL
				}
				faults.Fill(t, filler)
				cl.waitForOutage(group)
				pause(200 * time.Millisecond)
				remove(t, filler)
				cl.waitUntilReady()
				back()
			})
		})
	}
}

// TestDatabaseLocked holds the lock of the SQLite file for longer than writers wait.
func TestDatabaseLocked(t *testing.T) {
	t.Parallel()
	runRounds(t, clusterConfig{nodes: 1}, rounds(10), false, func(cl *cluster, group *clientGroup, i int) {
		shell := exec.Command("sqlite3", "-bail", cl.sqlite)
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
		cl.waitForOutage(group)
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		if err := shell.Wait(); err != nil {
			t.Fatal(err)
		}
	})
}

// waitForOutage waits until the group gets 503 responses.
func (cl *cluster) waitForOutage(group *clientGroup) {
	cl.t.Helper()
	before := group.count503()
	cl.eventually(func() error {
		group.failOnViolations()
		if n := group.count503() - before; n < 5 {
			return fmt.Errorf("responses of 503: %d, want at least 5\n%s", n, group.report())
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

// TestOutageOutlastsGrace loses the response to a refresh and the database for longer than the
// grace period. Afterwards the client must be able to continue with its old token.
func TestOutageOutlastsGrace(t *testing.T) {
	t.Parallel()
	const grace = 5 * time.Second // also the time in which a busy machine must ask again
	cl := newCluster(t, clusterConfig{nodes: 2, postgres: true,
		env: []string{"DURWARD_TOKENS_REFRESH_GRACE=" + grace.String()}})
	cl.users(1)
	for i := range rounds(20) {
		n := cl.nodes[i%2]
		s := cl.signIn(n, "user-0@example.com")
		before := n.database.Lost()
		n.database.Lose(func(answer []byte) bool {
			if !faults.Committed(answer) {
				return false
			}
			for _, n := range cl.nodes {
				n.database.Refuse()
			}
			return true
		})
		body := fmt.Sprintf(`{"refresh_token":%q}`, s.refresh)
		if a := cl.ask(n, "POST", "/api/auth/refresh", "", body); a.status != 503 || n.database.Lost() == before {
			t.Fatalf("round %d: got %d %s with %d lost responses, want 503 with one", i, a.status, a.body,
				n.database.Lost()-before)
		}
		time.Sleep(grace + time.Second) // the duration of the outage
		for _, n := range cl.nodes {
			n.database.Heal()
		}
		var a answer
		cl.eventually(func() error {
			if a = cl.ask(cl.nodes[(i+1)%2], "POST", "/api/auth/refresh", "", body); a.status == 503 {
				return fmt.Errorf("refresh: %s", a)
			}
			return nil
		})
		if _, generation, _ := generation(a.member("refresh_token")); a.status != 200 || generation != 1 {
			t.Errorf("round %d: got %d %s, want 200 with token 1", i, a.status, a.body)
		}
	}
}
