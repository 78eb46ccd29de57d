package nodes

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward/e2e/executable"
)

// A node accepts a revoked token at most maxDelay after the response that confirmed the revocation, while it can read
// the list of revocations.
const maxDelay = time.Second

// clientGroup is a set of concurrent clients of all nodes. They sign in, call, refresh, repeat a
// refresh as if its response had been lost, refresh several times at once and sign out. Each worker
// knows its own actions. A response that neither these nor a fault declared by the test explain is
// a violation:
//
//   - a 401 without a sign-out, for example during an outage;
//   - a revoked token accepted after more than maxDelay;
//   - a lost session: a worker cannot continue with its refresh token;
//   - a doubled session: a refresh token has two successors.
type clientGroup struct {
	cl      *cluster
	users   []string
	http    *http.Client
	workers []*worker

	lossy bool // whether requests may get no response, because nodes are killed

	mu         sync.Mutex
	counts     map[string]int
	slowest    time.Duration
	violations []string
	outages    []outage
	dead       []deadToken
	lostSignIn map[string]int // sign-ins without a response, by user
}

// outage is a period in which nodes could not read the list of revocations.
type outage struct{ began, ended time.Time }

// deadToken holds the tokens of an ended session.
type deadToken struct {
	access, refresh string
	revoked         time.Time // time of the response to the sign-out
}

// ended reports whether the access token, which lives 15 minutes, may soon expire.
func (d deadToken) ended() bool { return time.Since(d.revoked) > 10*time.Minute }

// worker is one client. It runs in its own goroutine.
type worker struct {
	group      *clientGroup
	number     int
	user       string
	rng        *rand.Rand
	access     string
	refresh    string            // empty while signed out
	previous   string            // predecessor of refresh; empty once it was used again
	signingOut bool              // a sign-out was sent and has no response yet
	uncertain  bool              // refresh was sent and has no response, so it may have a successor
	next       map[string]string // successor of each refresh token
}

// newClientGroup returns a group of signed-in workers.
func newClientGroup(t *testing.T, cl *cluster, workerCount int) *clientGroup {
	t.Helper()
	group := &clientGroup{cl: cl, users: cl.users(3), counts: make(map[string]int), lostSignIn: make(map[string]int),
		http: &http.Client{
			Transport: &http.Transport{MaxIdleConnsPerHost: 2 * workerCount}, Timeout: executable.WaitLimit,
		}}
	t.Cleanup(group.http.CloseIdleConnections)
	for i := range workerCount {
		w := &worker{group: group, number: i, user: group.users[i%len(group.users)],
			rng: rand.New(rand.NewPCG(uint64(i), 1)), next: make(map[string]string)}
		w.signIn()
		if w.refresh == "" {
			t.Fatalf("worker %d cannot sign in: %q", i, group.violations)
		}
		group.workers = append(group.workers, w)
	}
	return group
}

// during runs the workers while do runs, and then fails the test if there was a violation.
func (group *clientGroup) during(do func()) {
	group.cl.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, w := range group.workers {
		running.Go(func() {
			for ctx.Err() == nil {
				w.step()
				time.Sleep(time.Duration(w.rng.IntN(20)) * time.Millisecond) // limits the load
			}
		})
	}
	for i := range group.cl.nodes {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 2))
			for ctx.Err() == nil {
				group.probe(group.cl.nodes[i], rng)
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	do()
	cancel()
	running.Wait()
	group.failOnViolations()
}

// waitForRequests waits until the group has sent a number of further requests.
func (group *clientGroup) waitForRequests(requests int) {
	group.cl.t.Helper()
	count := func() (sum int) {
		group.mu.Lock()
		defer group.mu.Unlock()
		for _, n := range group.counts {
			sum += n
		}
		return sum
	}
	before := count()
	group.cl.eventually(func() error {
		if n := count() - before; n < requests {
			return fmt.Errorf("%d requests, want %d", n, requests)
		}
		return nil
	})
}

// failOnViolations fails the test if there was a violation.
func (group *clientGroup) failOnViolations() {
	group.cl.t.Helper()
	group.mu.Lock()
	defer group.mu.Unlock()
	for i, v := range group.violations {
		if i == 10 {
			group.cl.t.Errorf("and %d more", len(group.violations)-i)
			break
		}
		group.cl.t.Error(v)
	}
	if len(group.violations) > 0 {
		for _, n := range group.cl.nodes {
			group.cl.t.Logf("node %s:\n%s", n.name, last(n.stderr.String(), 15))
		}
		group.cl.t.FailNow()
	}
}

// last returns the last lines of a log.
func last(text string, count int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}

// startOutage declares that nodes cannot read the list of revocations until back is called.
func (group *clientGroup) startOutage() (back func()) {
	group.mu.Lock()
	defer group.mu.Unlock()
	i := len(group.outages)
	group.outages = append(group.outages, outage{began: time.Now()})
	return func() {
		group.mu.Lock()
		defer group.mu.Unlock()
		group.outages[i].ended = time.Now()
	}
}

// tooLate reports whether a request, sent at a given time, must be refused for a token revoked
// before.
func (group *clientGroup) tooLate(revoked, sent time.Time) bool {
	group.mu.Lock()
	defer group.mu.Unlock()
	if sent.Sub(revoked) <= maxDelay {
		return false
	}
	for _, o := range group.outages {
		// A revocation that was due before the outage is in the list.
		if o.began.After(revoked.Add(maxDelay)) || !o.ended.IsZero() && o.ended.Before(revoked) {
			continue
		}
		if o.ended.IsZero() || sent.Sub(o.ended) <= maxDelay {
			return false
		}
	}
	return true
}

func (group *clientGroup) violation(format string, args ...any) {
	group.mu.Lock()
	defer group.mu.Unlock()
	group.violations = append(group.violations, fmt.Sprintf(format, args...))
}

// anyNode returns a random node.
func (w *worker) anyNode() *node { return w.group.cl.nodes[w.rng.IntN(len(w.group.cl.nodes))] }

// ask sends a request and counts the response. ok is false without a response, or for a 503.
func (group *clientGroup) ask(n *node, what, method, path, token, body string) (a answer, ok bool) {
	a, err := ask(group.http, n, method, path, token, body)
	result := a.String()
	if err != nil {
		result = "lost"
	}
	group.mu.Lock()
	group.counts[what+": "+result]++
	group.slowest = max(group.slowest, a.took)
	group.mu.Unlock()
	switch {
	case err != nil:
		if !group.lossy {
			group.violation("%s at node %s: no response after %s: %v", what, n.name, a.took, err)
		}
		return a, false
	case a.status == 503:
		if a.member("code") != "AUTH_UNAVAILABLE" || a.header.Get("Retry-After") == "" ||
			a.header.Get("WWW-Authenticate") != "" {
			group.violation("%s at node %s: got %d %v %s, want 503 AUTH_UNAVAILABLE with Retry-After", what, n.name,
				a.status, a.header, a.body)
		}
		return a, false
	}
	return a, true
}

// step performs one random action.
func (w *worker) step() {
	switch {
	case w.refresh == "":
		w.signIn()
		return
	case w.signingOut:
		w.signOut()
		return
	}
	switch d := w.rng.IntN(100); {
	case d < 4:
		w.signOut()
	case d < 30:
		w.renew(w.refresh)
	case d < 36:
		if w.previous != "" {
			w.repeatRefresh()
		}
	case d < 40:
		w.refreshEverywhere()
	default:
		w.call()
	}
}

func (w *worker) signIn() {
	a, ok := w.group.ask(w.anyNode(), "sign-in", "POST", "/api/auth/login", "",
		fmt.Sprintf(`{"email":%q,"password":%q}`, w.user, password))
	switch {
	case !ok:
		w.group.mu.Lock()
		w.group.lostSignIn[w.user]++
		w.group.mu.Unlock()
	case a.status != 200:
		w.group.violation("worker %d, sign-in: got %d %s, want 200", w.number, a.status, a.body)
	default:
		w.access, w.refresh, w.previous = a.member("access_token"), a.member("refresh_token"), ""
		clear(w.next)
	}
}

// call sends a request with the access token.
func (w *worker) call() {
	if a, ok := w.group.ask(w.anyNode(), "call", "GET", "/api/profile", w.access, ""); ok && a.status != 200 {
		w.group.violation("worker %d, call with a live token: got %d %s, want 200", w.number, a.status, a.body)
	}
}

// renew sends a refresh token and accepts the new tokens.
func (w *worker) renew(token string) {
	if a, ok := w.group.ask(w.anyNode(), "refresh", "POST", "/api/auth/refresh", "",
		fmt.Sprintf(`{"refresh_token":%q}`, token)); ok {
		w.accept(token, a)
	} else {
		w.uncertain = true
	}
}

// accept checks the response to a refresh and stores its tokens. Each refresh token has exactly one
// successor.
func (w *worker) accept(token string, a answer) {
	if a.status != 200 {
		w.group.violation("worker %d, refresh: got %d %s, want 200", w.number, a.status, a.body)
		return
	}
	successor := a.member("refresh_token")
	grant, n, err := generation(token)
	grant2, n2, err2 := generation(successor)
	if w.uncertain && token == w.previous && n2 == n+2 {
		// This is the successor of the current token, whose own response was lost.
		token, n = w.refresh, n+1
	}
	known := w.next[token]
	switch {
	case err != nil || err2 != nil || grant2 != grant || n2 != n+1:
		w.group.violation("worker %d: token %d of grant %s has the successor %d of grant %s: %v %v", w.number, n,
			grant, n2, grant2, err, err2)
	case known != "" && known != successor:
		w.group.violation("worker %d: token %d of grant %s has two successors", w.number, n, grant)
	}
	w.next[token] = successor
	if successor != w.refresh {
		w.uncertain = false
	}
	w.access, w.refresh, w.previous = a.member("access_token"), successor, token
}

// repeatRefresh sends the previous refresh token again, as a client does after a lost response.
func (w *worker) repeatRefresh() {
	token := w.previous
	if _, moved, _ := generation(w.refresh); moved == 0 {
		return
	}
	if a, ok := w.group.ask(w.anyNode(), "refresh again", "POST", "/api/auth/refresh", "",
		fmt.Sprintf(`{"refresh_token":%q}`, token)); ok {
		w.accept(token, a)
	}
	w.previous = "" // a grant repeats a response at most five times
}

// refreshEverywhere sends the refresh token to all nodes at once.
func (w *worker) refreshEverywhere() {
	token := w.refresh
	answers := make(chan answer, 4)
	var all sync.WaitGroup
	for i := range cap(answers) {
		n := w.group.cl.nodes[(w.number+i)%len(w.group.cl.nodes)]
		all.Go(func() {
			if a, ok := w.group.ask(n, "refresh together", "POST", "/api/auth/refresh", "",
				fmt.Sprintf(`{"refresh_token":%q}`, token)); ok {
				answers <- a
			}
		})
	}
	all.Wait()
	close(answers)
	w.uncertain = w.uncertain || len(answers) == 0
	for a := range answers {
		w.accept(token, a)
	}
	w.previous = ""
}

// signOut ends the session. Until the response arrives, the session may be alive or not.
func (w *worker) signOut() {
	w.signingOut = true
	a, ok := w.group.ask(w.anyNode(), "sign-out", "POST", "/api/auth/logout", "",
		fmt.Sprintf(`{"refresh_token":%q}`, w.refresh))
	if !ok {
		return
	}
	if a.status != 204 {
		w.group.violation("worker %d, sign-out: got %d %s, want 204", w.number, a.status, a.body)
	}
	w.group.mu.Lock()
	w.group.dead = append(w.group.dead, deadToken{w.access, w.refresh, a.sent.Add(a.took)})
	w.group.mu.Unlock()
	w.access, w.refresh, w.previous, w.signingOut, w.uncertain = "", "", "", false, false
}

// probe sends a revoked token, usually one of the latest.
func (group *clientGroup) probe(n *node, rng *rand.Rand) {
	group.mu.Lock()
	count := len(group.dead)
	if count == 0 {
		group.mu.Unlock()
		return
	}
	i := count - 1 - rng.IntN(min(count, 5))
	if rng.IntN(4) == 0 {
		i = rng.IntN(count)
	}
	d := group.dead[i]
	group.mu.Unlock()
	if d.ended() {
		return
	}
	group.callDead(n, d)
	if rng.IntN(4) == 0 {
		a, ok := group.ask(n, "refresh of a dead session", "POST", "/api/auth/refresh", "",
			fmt.Sprintf(`{"refresh_token":%q}`, d.refresh))
		if ok && (a.status != 401 || a.member("code") != "SESSION_REVOKED") {
			group.violation("node %s, refresh of a session ended %s before: got %d %s, want 401 SESSION_REVOKED",
				n.name, a.sent.Sub(d.revoked), a.status, a.body)
		}
	}
}

// callDead sends a revoked access token to a node.
func (group *clientGroup) callDead(n *node, d deadToken) {
	a, ok := group.ask(n, "call with a dead token", "GET", "/api/profile", d.access, "")
	switch {
	case !ok: // not accepted
	case a.status == 401 && a.member("code") == "TOKEN_REVOKED":
	case a.status == 200 && !group.tooLate(d.revoked, a.sent):
	default:
		group.violation("node %s, token revoked %s before: got %d %s, want 401 TOKEN_REVOKED", n.name,
			a.sent.Sub(d.revoked), a.status, a.body)
	}
}

// checkContinuity checks, after a fault, that each worker can continue with its tokens, that
// revoked tokens are refused on all nodes, and that the database has as many sessions as the
// workers hold.
func (group *clientGroup) checkContinuity() {
	t := group.cl.t
	t.Helper()
	group.cl.waitUntilReady()
	held := make(map[string]int)
	for _, w := range group.workers {
		for w.signingOut || w.refresh == "" {
			w.step()
			group.failOnViolations()
		}
		before := w.refresh
		group.cl.eventually(func() error {
			if w.renew(w.refresh); w.refresh == before {
				return fmt.Errorf("worker %d cannot refresh", w.number)
			}
			return nil
		})
		group.failOnViolations()
		for _, n := range group.cl.nodes {
			if a, ok := group.ask(n, "call", "GET", "/api/profile", w.access, ""); !ok || a.status != 200 {
				t.Errorf("worker %d at node %s: got %d %s, want 200", w.number, n.name, a.status, a.body)
			}
		}
		held[w.user]++
	}
	for _, d := range group.dead {
		for _, n := range group.cl.nodes {
			if time.Since(d.revoked) > maxDelay && !d.ended() {
				group.callDead(n, d)
			}
		}
	}
	group.failOnViolations()
	for _, user := range group.users {
		got, least, most := group.cl.countSessions(user), held[user], held[user]+group.lostSignIn[user]
		if got < least || got > most {
			t.Errorf("sessions of %s: got %d, want %d and up to %d from sign-ins without a response", user, got,
				least, most-least)
		}
	}
}

// report returns the number of responses of each kind.
func (group *clientGroup) report() string {
	group.mu.Lock()
	defer group.mu.Unlock()
	var b strings.Builder
	total := 0
	for _, name := range slices.Sorted(maps.Keys(group.counts)) {
		total += group.counts[name]
		fmt.Fprintf(&b, "\n\t%6d %s", group.counts[name], name)
	}
	return fmt.Sprintf("%d requests, the slowest response after %s%s", total, group.slowest.Round(time.Millisecond),
		b.String())
}

// generation decodes a refresh token: its grant and its number in that grant.
func generation(token string) (grant string, n uint32, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, "dr_"))
	if err != nil || len(raw) != 48 {
		return "", 0, fmt.Errorf("not a refresh token: %d bytes, %v", len(raw), err)
	}
	return fmt.Sprintf("%x", raw[2:18]), binary.BigEndian.Uint32(raw[18:22]), nil
}
