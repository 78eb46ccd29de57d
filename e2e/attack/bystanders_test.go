package attack

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durward-auth/durward/e2e/executable"
)

// bystanders are clients that use the first node of a cluster while it is attacked.
type bystanders struct {
	cl     *cluster
	stop   chan struct{}
	all    sync.WaitGroup
	access atomic.Value // the access token of the last sign-in

	mu     sync.Mutex
	took   [bystanderKinds][]time.Duration
	failed [bystanderKinds]map[string]int // responses other than 200
}

const (
	keySet = iota // GET /.well-known/jwks.json
	bearer        // GET /api/profile with an access token
	known         // a sign-in of a user who signed in from this network before
	bystanderKinds
)

var bystanderNames = [bystanderKinds]string{"key set", "request with an access token", "sign-in of a known user"}

// newBystanders starts the bystanders.
func newBystanders(cl *cluster) *bystanders {
	cl.t.Helper()
	b := &bystanders{cl: cl, stop: make(chan struct{})}
	b.take()
	login := signIn(cl.user(), password)
	login.network = newNetwork()
	b.access.Store(cl.mustSend(login, 200).text("access_token"))
	b.run(keySet, 50*time.Millisecond, newNetwork(), func() guess {
		return guess{method: "GET", path: "/.well-known/jwks.json"}
	})
	b.run(bearer, 50*time.Millisecond, newNetwork(), func() guess {
		return guess{method: "GET", path: "/api/profile"}.bearer(b.access.Load().(string))
	})
	b.run(known, 500*time.Millisecond, login.network, func() guess { return login })
	return b
}

// run sends a request every so often until end.
func (b *bystanders) run(kind int, every time.Duration, network string, next func() guess) {
	client := executable.ClientFrom(network)
	b.all.Go(func() {
		defer client.CloseIdleConnections()
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-b.stop:
				return
			case <-tick.C:
			}
			began := time.Now()
			a, err := next().sendBy(client, b.cl)
			took := time.Since(began)
			if kind == known && a.status == 200 {
				b.access.Store(a.text("access_token"))
			}
			b.mu.Lock()
			b.took[kind] = append(b.took[kind], took)
			if err != nil || a.status != 200 {
				b.failed[kind][fmt.Sprint(a, " ", err)]++
			}
			b.mu.Unlock()
		}
	})
}

// end stops the bystanders.
func (b *bystanders) end() {
	close(b.stop)
	b.all.Wait()
}

// seen is the experience of the bystanders.
type seen struct {
	took   [bystanderKinds][]time.Duration // ascending
	failed [bystanderKinds]map[string]int
}

// take returns the responses since the last call.
func (b *bystanders) take() (s seen) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.took, s.failed = b.took, b.failed
	b.took = [bystanderKinds][]time.Duration{}
	for kind := range b.failed {
		b.failed[kind] = make(map[string]int)
		slices.Sort(s.took[kind])
	}
	return s
}

// refused returns the number of responses other than 200 of one kind.
func (s seen) refused(kind int) (count int) {
	for _, n := range s.failed[kind] {
		count += n
	}
	return count
}

// quantile returns the response time that a share of the responses did not exceed.
func (s seen) quantile(kind int, share float64) time.Duration {
	took := s.took[kind]
	if len(took) == 0 {
		return 0
	}
	return took[min(int(share*float64(len(took))), len(took)-1)]
}
