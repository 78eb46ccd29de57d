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
)

// bound is how long a token that was revoked may still be taken, on any node, while
// the nodes can read the list: one second after the answer that said so.
const bound = time.Second

// fleet is clients that use the nodes as theirs do: they sign in, call, refresh,
// ask again for an answer as if it had been lost, refresh several times at once,
// sign out. Each knows what it did, so each answer is either explained by that or
// by a fault that the test declared, or it is a violation:
//
//   - an outage is never a 401: every 401 was earned by a sign-out;
//   - a token that was revoked is taken no longer than the bound;
//   - no session is lost: whoever holds a refresh token can go on;
//   - none is doubled: a refresh token has one successor, whoever asks and wherever.
type fleet struct {
	h       *house
	people  []string
	http    *http.Client
	members []*member

	// lossy: requests may be lost altogether, since nodes are killed.
	lossy bool

	mu         sync.Mutex
	counts     map[string]int
	slowest    time.Duration
	violations []string
	outages    []outage
	dead       []deadToken
	lostSignIn map[string]int // sign-ins without an answer, by person
}

// outage is a time in which nodes could not read the list.
type outage struct{ began, ended time.Time }

type deadToken struct {
	access, refresh string
	revoked         time.Time // when the sign-out was answered
}

// ended says that the token may soon end by itself: an access token lives 15
// minutes.
func (d deadToken) ended() bool { return time.Since(d.revoked) > 10*time.Minute }

// member is one client.
type member struct {
	f        *fleet
	number   int
	person   string
	rng      *rand.Rand
	access   string
	refresh  string // empty while signed out
	previous string // what refresh is the successor of, until it was asked for again
	leaving  bool   // a sign-out was sent and has no answer yet
	doubt    bool   // refresh was sent and has no answer: it may have a successor
	next     map[string]string
}

// newFleet makes members who are signed in.
func newFleet(t *testing.T, h *house, members int) *fleet {
	t.Helper()
	f := &fleet{h: h, people: h.people(3), counts: make(map[string]int), lostSignIn: make(map[string]int), http: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 2 * members}, Timeout: patience,
	}}
	t.Cleanup(f.http.CloseIdleConnections)
	for i := range members {
		m := &member{f: f, number: i, person: f.people[i%len(f.people)], rng: rand.New(rand.NewPCG(uint64(i), 1)), next: make(map[string]string)}
		m.signIn()
		if m.refresh == "" {
			t.Fatalf("member %d cannot sign in: %q", i, f.violations)
		}
		f.members = append(f.members, m)
	}
	return f
}

// during lets the fleet work while do runs, and demands afterwards that there was
// no violation.
func (f *fleet) during(do func()) {
	f.h.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, m := range f.members {
		running.Go(func() {
			for ctx.Err() == nil {
				m.step()
				time.Sleep(time.Duration(m.rng.IntN(20)) * time.Millisecond) // load is bounded
			}
		})
	}
	for i := range f.h.nodes {
		running.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 2))
			for ctx.Err() == nil {
				f.probe(f.h.nodes[i], rng)
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	do()
	cancel()
	running.Wait()
	f.judge()
}

// busy waits until the fleet has sent some more requests.
func (f *fleet) busy(requests int) {
	f.h.t.Helper()
	count := func() (sum int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, n := range f.counts {
			sum += n
		}
		return sum
	}
	before := count()
	f.h.eventually(func() error {
		if n := count() - before; n < requests {
			return fmt.Errorf("%d requests, want %d", n, requests)
		}
		return nil
	})
}

// judge fails the test where there was a violation.
func (f *fleet) judge() {
	f.h.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, v := range f.violations {
		if i == 10 {
			f.h.t.Errorf("and %d more", len(f.violations)-i)
			break
		}
		f.h.t.Error(v)
	}
	if len(f.violations) > 0 {
		for _, n := range f.h.nodes {
			f.h.t.Logf("node %s:\n%s", n.name, last(n.stderr.String(), 15))
		}
		f.h.t.FailNow()
	}
}

// last is the end of a log.
func last(text string, count int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-count):], "\n")
}

// away declares that nodes cannot read the list from now until the function that
// it returns is called.
func (f *fleet) away() (back func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := len(f.outages)
	f.outages = append(f.outages, outage{began: time.Now()})
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.outages[i].ended = time.Now()
	}
}

// late says that a request sent at a moment must not be answered for a token that
// was revoked before.
func (f *fleet) late(revoked, sent time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if sent.Sub(revoked) <= bound {
		return false
	}
	for _, o := range f.outages {
		// What was in time before the outage is in the list.
		if o.began.After(revoked.Add(bound)) || !o.ended.IsZero() && o.ended.Before(revoked) {
			continue
		}
		if o.ended.IsZero() || sent.Sub(o.ended) <= bound {
			return false
		}
	}
	return true
}

func (f *fleet) violation(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.violations = append(f.violations, fmt.Sprintf(format, args...))
}

// any is a node, whichever.
func (m *member) any() *node { return m.f.h.nodes[m.rng.IntN(len(m.f.h.nodes))] }

// ask sends a request and counts the answer. ok is false where there was none, or
// one of an outage.
func (f *fleet) ask(n *node, what, method, path, token, body string) (a answer, ok bool) {
	a, err := ask(f.http, n, method, path, token, body)
	result := a.String()
	if err != nil {
		result = "lost"
	}
	f.mu.Lock()
	f.counts[what+": "+result]++
	f.slowest = max(f.slowest, a.took)
	f.mu.Unlock()
	switch {
	case err != nil:
		if !f.lossy {
			f.violation("%s at node %s has no answer after %s: %v", what, n.name, a.took, err)
		}
		return a, false
	case a.status == 503:
		if a.member("code") != "AUTH_UNAVAILABLE" || a.header.Get("Retry-After") == "" || a.header.Get("WWW-Authenticate") != "" {
			f.violation("%s at node %s in an outage: %d %v %s", what, n.name, a.status, a.header, a.body)
		}
		return a, false
	}
	return a, true
}

// step does one thing.
func (m *member) step() {
	switch {
	case m.refresh == "":
		m.signIn()
		return
	case m.leaving:
		m.signOut()
		return
	}
	switch d := m.rng.IntN(100); {
	case d < 4:
		m.signOut()
	case d < 30:
		m.renew(m.refresh)
	case d < 36:
		if m.previous != "" {
			m.again()
		}
	case d < 40:
		m.together()
	default:
		m.call()
	}
}

func (m *member) signIn() {
	a, ok := m.f.ask(m.any(), "sign-in", "POST", "/api/auth/login", "", fmt.Sprintf(`{"email":%q,"password":%q}`, m.person, password))
	switch {
	case !ok:
		m.f.mu.Lock()
		m.f.lostSignIn[m.person]++
		m.f.mu.Unlock()
	case a.status != 200:
		m.f.violation("member %d, sign-in: %d %s", m.number, a.status, a.body)
	default:
		m.access, m.refresh, m.previous = a.member("access_token"), a.member("refresh_token"), ""
		clear(m.next)
	}
}

// call uses the access token.
func (m *member) call() {
	if a, ok := m.f.ask(m.any(), "call", "GET", "/api/profile", m.access, ""); ok && a.status != 200 {
		m.f.violation("member %d, call with a token that lives: %d %s", m.number, a.status, a.body)
	}
}

// renew presents a refresh token and takes what it gets.
func (m *member) renew(token string) {
	if a, ok := m.f.ask(m.any(), "refresh", "POST", "/api/auth/refresh", "", fmt.Sprintf(`{"refresh_token":%q}`, token)); ok {
		m.take(token, a)
	} else {
		m.doubt = true
	}
}

// take judges the answer to a refresh token: whoever asks, its successor is one.
func (m *member) take(token string, a answer) {
	if a.status != 200 {
		m.f.violation("member %d, refresh: %d %s", m.number, a.status, a.body)
		return
	}
	successor := a.member("refresh_token")
	grant, n, err := generation(token)
	grant2, n2, err2 := generation(successor)
	if m.doubt && token == m.previous && n2 == n+2 {
		// What came after the one that is held, whose answer was lost.
		token, n = m.refresh, n+1
	}
	known := m.next[token]
	switch {
	case err != nil || err2 != nil || grant2 != grant || n2 != n+1:
		m.f.violation("member %d: token %d of grant %s is followed by token %d of %s: %v %v", m.number, n, grant, n2, grant2, err, err2)
	case known != "" && known != successor:
		m.f.violation("member %d: token %d of grant %s has two successors", m.number, n, grant)
	}
	m.next[token] = successor
	if successor != m.refresh {
		m.doubt = false
	}
	m.access, m.refresh, m.previous = a.member("access_token"), successor, token
}

// again asks once more for an answer that came, as one whose answer was lost does.
func (m *member) again() {
	token := m.previous
	if _, moved, _ := generation(m.refresh); moved == 0 {
		return
	}
	if a, ok := m.f.ask(m.any(), "refresh again", "POST", "/api/auth/refresh", "", fmt.Sprintf(`{"refresh_token":%q}`, token)); ok {
		m.take(token, a)
	}
	m.previous = "" // not too often: a grant gives an answer again five times
}

// together refreshes at every node at once.
func (m *member) together() {
	token := m.refresh
	answers := make(chan answer, 4)
	var all sync.WaitGroup
	for i := range cap(answers) {
		n := m.f.h.nodes[(m.number+i)%len(m.f.h.nodes)]
		all.Go(func() {
			if a, ok := m.f.ask(n, "refresh together", "POST", "/api/auth/refresh", "", fmt.Sprintf(`{"refresh_token":%q}`, token)); ok {
				answers <- a
			}
		})
	}
	all.Wait()
	close(answers)
	m.doubt = m.doubt || len(answers) == 0
	for a := range answers {
		m.take(token, a)
	}
	m.previous = ""
}

// signOut ends the session. Until that was answered nobody knows whether it lives.
func (m *member) signOut() {
	m.leaving = true
	a, ok := m.f.ask(m.any(), "sign-out", "POST", "/api/auth/logout", "", fmt.Sprintf(`{"refresh_token":%q}`, m.refresh))
	if !ok {
		return
	}
	if a.status != 204 {
		m.f.violation("member %d, sign-out: %d %s", m.number, a.status, a.body)
	}
	m.f.mu.Lock()
	m.f.dead = append(m.f.dead, deadToken{m.access, m.refresh, a.sent.Add(a.took)})
	m.f.mu.Unlock()
	m.access, m.refresh, m.previous, m.leaving, m.doubt = "", "", "", false, false
}

// probe presents a token that was revoked: one of the last, mostly.
func (f *fleet) probe(n *node, rng *rand.Rand) {
	f.mu.Lock()
	count := len(f.dead)
	if count == 0 {
		f.mu.Unlock()
		return
	}
	i := count - 1 - rng.IntN(min(count, 5))
	if rng.IntN(4) == 0 {
		i = rng.IntN(count)
	}
	d := f.dead[i]
	f.mu.Unlock()
	if d.ended() {
		return
	}
	f.present(n, d)
	if rng.IntN(4) == 0 {
		a, ok := f.ask(n, "refresh of a dead session", "POST", "/api/auth/refresh", "", fmt.Sprintf(`{"refresh_token":%q}`, d.refresh))
		if ok && (a.status != 401 || a.member("code") != "SESSION_REVOKED") {
			f.violation("node %s, refresh of a session that was ended %s before: %d %s", n.name, a.sent.Sub(d.revoked), a.status, a.body)
		}
	}
}

// present presents a revoked token at a node.
func (f *fleet) present(n *node, d deadToken) {
	a, ok := f.ask(n, "call with a dead token", "GET", "/api/profile", d.access, "")
	switch {
	case !ok: // nobody was let in
	case a.status == 401 && a.member("code") == "TOKEN_REVOKED":
	case a.status == 200 && !f.late(d.revoked, a.sent):
	default:
		f.violation("node %s, a token revoked %s before: %d %s", n.name, a.sent.Sub(d.revoked), a.status, a.body)
	}
}

// goesOn demands, when all is well again, that everybody can go on with what they
// hold, that what was revoked is refused everywhere, and that there are as many
// sessions as clients believe.
func (f *fleet) goesOn() {
	t := f.h.t
	t.Helper()
	f.h.ready()
	held := make(map[string]int)
	for _, m := range f.members {
		for m.leaving || m.refresh == "" {
			m.step()
			f.judge()
		}
		before := m.refresh
		f.h.eventually(func() error {
			if m.renew(m.refresh); m.refresh == before {
				return fmt.Errorf("member %d cannot go on", m.number)
			}
			return nil
		})
		f.judge()
		for _, n := range f.h.nodes {
			if a, ok := f.ask(n, "call", "GET", "/api/profile", m.access, ""); !ok || a.status != 200 {
				t.Errorf("member %d at node %s: %d %s", m.number, n.name, a.status, a.body)
			}
		}
		held[m.person]++
	}
	for _, d := range f.dead {
		for _, n := range f.h.nodes {
			if time.Since(d.revoked) > bound && !d.ended() {
				f.present(n, d)
			}
		}
	}
	f.judge()
	for _, person := range f.people {
		got, least, most := f.h.sessions(person), held[person], held[person]+f.lostSignIn[person]
		if got < least || got > most {
			t.Errorf("%s has %d sessions, want %d and up to %d whose sign-in had no answer", person, got, least, most-least)
		}
	}
}

// report says what the fleet was answered.
func (f *fleet) report() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	total := 0
	for _, name := range slices.Sorted(maps.Keys(f.counts)) {
		total += f.counts[name]
		fmt.Fprintf(&b, "\n\t%6d %s", f.counts[name], name)
	}
	return fmt.Sprintf("%d requests, the slowest answer after %s%s", total, f.slowest.Round(time.Millisecond), b.String())
}

// generation reads which token of which grant a refresh token is.
func generation(token string) (grant string, n uint32, err error) {
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, "dr_"))
	if err != nil || len(raw) != 48 {
		return "", 0, fmt.Errorf("no refresh token: %d octets, %v", len(raw), err)
	}
	return fmt.Sprintf("%x", raw[2:18]), binary.BigEndian.Uint32(raw[18:22]), nil
}
