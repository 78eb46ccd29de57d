package attack

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward/e2e/executable"
)

// TestFlood sends wrong passwords of unknown users over 500 connections, each from its own network,
// and measures the response times of the bystanders. A connection changes its network after a
// judged password and pauses after a refusal, because it would take the processor from the server
// otherwise.
func TestFlood(t *testing.T) {
	const connections, pause = 500, 200 * time.Millisecond
	length := length
	if !long {
		length = 4 * time.Second
	}
	cl := newCluster(t, storage{nodes: 1, memory: defaultMemory})
	b := newBystanders(cl)
	defer b.end()
	r := result{
		name:    "login",
		changes: "network, account; 500 connections",
		most:    "unbounded",
		answers: make(map[string]int),
	}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	cl.nodes[0].resetPeak()
	b.take()
	before, began := cl.cpu(), time.Now()
	for i := range connections {
		all.Go(func() {
			client := executable.ClientFrom(newNetwork())
			defer func() { client.CloseIdleConnections() }()
			for n := 0; ctx.Err() == nil; n++ {
				answer, err := signIn(fmt.Sprintf("flood-%d-%d@example.com", i, n), wrong(n)).sendBy(client, cl)
				what := answer.String()
				if err != nil {
					what = "no response"
				}
				mu.Lock()
				r.answers[what]++
				r.sent++
				mu.Unlock()
				if what == wrongPassword {
					client.CloseIdleConnections()
					client = executable.ClientFrom(newNetwork())
					continue
				}
				select {
				case <-ctx.Done():
				case <-time.After(pause):
				}
			}
		})
	}
	all.Wait()
	r.cpu, r.took, r.seen = cl.cpu()-before, time.Since(began), b.take()
	r.peak, r.rss = cl.nodes[0].memory("VmHWM"), cl.nodes[0].memory("VmRSS")
	r.judged = r.answers[wrongPassword]
	r.hashes = float64(r.cpu) / float64(cl.hash)
	r.report()
	t.Logf("%d connections for %s: %v", connections, length, r.answers)
	t.Logf("memory: %d MiB at rest, peak %d, then %d", cl.base>>10, r.peak>>10, r.rss>>10)
	t.Logf("%d sign-ins of a known user: %v refused", len(r.seen.took[known]), r.seen.failed[known])
	if bound := cl.memoryBound(); r.peak > bound {
		t.Errorf("memory: got %d MiB, want at most %d", r.peak>>10, bound>>10)
	}
	r.checkBystanders(t)
	if r.judged == 0 {
		t.Errorf("no wrong password was judged: %v", r.answers)
	}
}
