package limits

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"github.com/durward-auth/durward/internal/services"
	connection "github.com/durward-auth/durward/internal/valkey"
)

// Redis dies, hangs or loses its data during an attack on two nodes. A node alone never allows more
// tries than its limit, every try ends soon, and without a fault the nodes count together.
func TestRedisFailsUnderAttack(t *testing.T) {
	t.Parallel()
	rounds := 8
	if os.Getenv("SOAK") != "" {
		rounds = 240
	}
	r := services.NewRedis(t)
	// Each node has its own connection, with the default timeout.
	key := make([]byte, 32)
	var nodes []*Limiter
	var links []*connection.Client
	for range 2 {
		link := connectWith(t, connection.Config{URL: r.URL(), Probe: 100 * time.Millisecond})
		shared, err := NewShared(link, key)
		if err != nil {
			t.Fatal(err)
		}
		l, err := New(Config{Settings: Settings{NetworkUnlimited: true}, Shared: shared})
		if err != nil {
			t.Fatal(err)
		}
		nodes, links = append(nodes, l), append(links, link)
	}
	flush := connect(t, r)
	counts := map[string]int{}
	for round := range rounds {
		for _, link := range links {
			waitUp(t, link, true)
		}
		account, began := fmt.Sprint("account ", round), time.Now()
		var mu sync.Mutex
		var allowed [2]int
		slowest := time.Duration(0)
		var attack sync.WaitGroup
		for guesser := range 16 {
			node := guesser % 2
			attack.Go(func() {
				for n := range 50 {
					began := time.Now()
					try, err := nodes[node].Begin(ctx, Try{Account: account, Addr: here})
					mu.Lock()
					slowest = max(slowest, time.Since(began))
					mu.Unlock()
					var blocked *Blocked
					if errors.As(err, &blocked) {
						return
					}
					if err != nil {
						t.Errorf("round %d: %v", round, err)
						return
					}
					mu.Lock()
					allowed[node]++
					mu.Unlock()
					time.Sleep(time.Millisecond) // as a hash would take
					try.Fail(fmt.Sprint("secret ", guesser, n))
				}
				t.Errorf("round %d: never blocked", round)
			})
		}
		fault := []string{"none", "killed", "hung", "emptied"}[round%4]
		time.Sleep(time.Duration(round%7) * time.Millisecond) // at different points of the attack
		switch fault {
		case "killed":
			r.Kill(t)
			time.Sleep(50 * time.Millisecond)
			r.Start(t)
		case "hung":
			r.Pause(t)
			time.Sleep(300 * time.Millisecond)
			r.Resume(t)
		case "emptied":
			_ = flush.With(ctx, func(ctx context.Context, c valkey.Client) error { return c.Do(ctx, c.B().Flushall().Build()).Error() })
		}
		attack.Wait()
		counts[fault]++
		if allowed[0] > 5 || allowed[1] > 5 {
			t.Errorf("round %d, Redis %s: %d and %d allowed, a node alone judges 5", round, fault, allowed[0], allowed[1])
		}
		stayed := true
		for _, link := range links {
			s := link.State()
			stayed = stayed && s.Up && s.Since.Before(began)
		}
		if fault == "none" && stayed && allowed[0]+allowed[1] != 5 {
			t.Errorf("round %d: %d and %d allowed with nothing wrong, want 5 in sum", round, allowed[0], allowed[1])
		}
		if slowest > leaseLife/2 {
			t.Errorf("round %d, Redis %s: a try waited %s", round, fault, slowest)
		}
		if testing.Verbose() {
			t.Logf("round %d, Redis %s: allowed %v, the slowest try waited %s", round, fault, allowed, slowest.Round(time.Millisecond))
		}
	}
	t.Logf("rounds: %v", counts)
}

// Undecided tries of the time before an outage do not delay others after it, whether Redis has
// their leases or not.
func TestUndecidedTriesBeforeOutage(t *testing.T) {
	t.Parallel()
	for _, known := range []bool{true, false} {
		t.Run(fmt.Sprintf("known to Redis %v", known), func(t *testing.T) {
			t.Parallel()
			r := services.NewRedis(t)
			link := connectWith(t, connection.Config{URL: r.URL(), Probe: 100 * time.Millisecond})
			a, b, _ := twoNodes(t, link)
			var background sync.WaitGroup
			running, stop := context.WithCancel(ctx)
			defer background.Wait()
			defer stop()
			background.Go(func() { a.shared.Run(running) })
			if try, err := a.Begin(ctx, Try{Account: "bob", Addr: here}); err != nil { // Redis has the scripts from now on
				t.Fatal(err)
			} else {
				try.Succeed()
			}
			var tries []*Attempt
			begin := func() {
				var all sync.WaitGroup
				var mu sync.Mutex
				for range 4 {
					all.Go(func() {
						try, err := a.Begin(ctx, Try{Account: "ada", Addr: here})
						if err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						defer mu.Unlock()
						tries = append(tries, try)
					})
				}
				all.Wait()
			}
			if known {
				begin()
			}
			r.Pause(t)
			if !known {
				begin()
			}
			waitUp(t, link, false)
			for _, try := range tries {
				try.Succeed()
			}
			r.Resume(t)
			waitUp(t, link, true)
			began := time.Now()
			for range 4 {
				try, err := b.Begin(ctx, Try{Account: "ada", Addr: here})
				if err != nil { // it waited too long
					t.Fatal(err)
				}
				defer try.Succeed()
			}
			t.Logf("four tries waited %s", time.Since(began).Round(time.Millisecond))
		})
	}
}
