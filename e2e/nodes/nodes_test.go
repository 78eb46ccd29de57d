package nodes

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward/internal/faults"
)

// claims are what an access token says.
func claims(t *testing.T, token string) (c struct {
	ID      string `json:"jti"`
	Session string `json:"sid"`
}) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts of an access token", len(parts))
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(payload, &c)
	}
	if err != nil || c.Session == "" || c.ID == "" {
		t.Fatalf("claims %s: %v", payload, err)
	}
	return c
}

// keyOf is the name of the key that signed a token.
func keyOf(t *testing.T, token string) string {
	t.Helper()
	var header struct {
		Key string `json:"kid"`
	}
	head, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(head)
	if err == nil {
		err = json.Unmarshal(text, &header)
	}
	if err != nil || header.Key == "" {
		t.Fatalf("header %s: %v", text, err)
	}
	return header.Key
}

// way is how two nodes hear of each other.
type way struct {
	name string
	plan
	polled bool           // there is no push
	harm   func(h *house) // takes the push away
}

var ways = []way{
	{"SQLite, polled", plan{}, true, nil},
	{"Postgres, NOTIFY", plan{postgres: true}, false, nil},
	{"Postgres, polled", plan{postgres: true}, true, func(h *house) {
		for _, n := range h.nodes {
			n.database.Lose(faults.Listening)
			n.database.Cut()
		}
	}},
	{"Postgres and Redis", plan{postgres: true, redis: true}, false, nil},
	{"Postgres, Redis gone", plan{postgres: true, redis: true}, false, func(h *house) { h.redis.Kill(h.t) }},
}

// What is ended at one node is refused at the other within a second, whichever way
// it was ended and whichever way they hear of it.
func TestRevokedElsewhere(t *testing.T) {
	t.Parallel()
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			w.nodes = 2
			w.env = []string{"DURWARD_TOKENS_REFRESH_GRACE=30s"}
			h := newHouse(t, w.plan)
			h.people(2)
			a, b := h.nodes[0], h.nodes[1]
			if w.harm != nil {
				w.harm(h)
				h.eventually(func() error { // the database is reached again
					answer, err := ask(http.DefaultClient, a, "POST", "/api/auth/login", "", fmt.Sprintf(`{"email":"person-1@example.com","password":%q}`, password))
					if err == nil && answer.status != 200 {
						err = fmt.Errorf("sign-in: %s", answer)
					}
					return err
				})
			}
			thief := from(t, "127.77.0.1")
			ends := []struct {
				name string
				do   func(s session)
			}{
				{"sign-out", func(s session) {
					if answer := h.ask(a, "POST", "/api/auth/logout", s.access, ""); answer.status != 204 {
						t.Fatalf("sign-out: %d %s", answer.status, answer.body)
					}
				}},
				{"end of a session", func(s session) {
					other := h.signIn(a, "person-0@example.com")
					if answer := h.ask(a, "DELETE", "/api/auth/sessions/"+claims(t, s.access).Session, other.access, ""); answer.status != 204 {
						t.Fatalf("end of a session: %d %s", answer.status, answer.body)
					}
				}},
				{"theft", func(s session) {
					body := fmt.Sprintf(`{"refresh_token":%q}`, s.refresh)
					if answer := h.ask(a, "POST", "/api/auth/refresh", "", body); answer.status != 200 {
						t.Fatalf("refresh: %d %s", answer.status, answer.body)
					}
					if answer, err := askAs(thief, "thief/1", a, "POST", "/api/auth/refresh", "", body); err != nil || answer.member("code") != "SESSION_REVOKED" {
						t.Fatalf("a spent token from elsewhere: %v %d %s", err, answer.status, answer.body)
					}
				}},
				{"lock by the shell", func(s session) { a.verb("", "user", "lock", "person-0@example.com") }},
			}
			count := 100
			if w.polled {
				count = rounds(100) // each waits for a poll
			}
			all := make([]time.Duration, 0, count)
			for i := range count {
				end := ends[i%len(ends)]
				s := h.signIn(a, "person-0@example.com")
				if answer := h.ask(b, "GET", "/api/profile", s.access, ""); answer.status != 200 {
					t.Fatalf("before the %s: %d %s", end.name, answer.status, answer.body)
				}
				if w.polled {
					pause(400 * time.Millisecond) // anywhere between two polls
				}
				end.do(s)
				done := time.Now()
				if answer := h.ask(a, "GET", "/api/profile", s.access, ""); end.name != "lock by the shell" && answer.status != 401 {
					t.Errorf("%s: the node that did it answers %d %s", end.name, answer.status, answer.body)
				}
				took := h.refused(b, s.access, done)
				all = append(all, took)
				if took > bound {
					t.Errorf("%s: refused at the other node after %s", end.name, took)
				}
				h.refused(a, s.access, done)
				if end.name == "lock by the shell" {
					a.verb("", "user", "unlock", "person-0@example.com")
				}
			}
			slices.Sort(all)
			t.Logf("refused at the other node after: median %s, worst %s of %d", all[len(all)/2].Round(100*time.Microsecond), all[len(all)-1].Round(100*time.Microsecond), len(all))
		})
	}
}

// A session is the same at every node from its first moment.
func TestSessionEverywhere(t *testing.T) {
	t.Parallel()
	for _, w := range []way{ways[0], ways[3]} {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			w.nodes = 2
			h := newHouse(t, w.plan)
			h.people(1)
			for i := range rounds(100) {
				a, b := h.nodes[i%2], h.nodes[(i+1)%2]
				h.across(a, b)
				s := h.signIn(a, "person-0@example.com")
				made := h.ask(a, "POST", "/api/keys", s.access, fmt.Sprintf(`{"name":"key %d"}`, i))
				if made.status != 201 {
					t.Fatalf("an API key: %d %s", made.status, made.body)
				}
				if got := h.ask(b, "GET", "/api/profile", made.member("key"), ""); got.status != 200 {
					t.Errorf("an API key at the other node: %d %s", got.status, got.body)
				}
				if got := h.ask(b, "DELETE", "/api/keys/"+made.member("id"), s.access, ""); got.status != 204 {
					t.Errorf("its end at the other node: %d %s", got.status, got.body)
				}
				if got := h.ask(a, "GET", "/api/profile", made.member("key"), ""); got.status != 401 {
					t.Errorf("an API key that was ended at the other node: %d %s", got.status, got.body)
				}

				signedIn := h.ask(a, "POST", "/api/auth/login", "", fmt.Sprintf(`{"email":"person-0@example.com","password":%q,"use_cookies":true}`, password))
				cookie, _, _ := strings.Cut(signedIn.header.Get("Set-Cookie"), ";")
				if !strings.HasPrefix(cookie, "__Host-durward=") {
					t.Fatalf("no cookie: %d %v", signedIn.status, signedIn.header)
				}
				with := func(n *node, method, path string) int {
					t.Helper()
					r, err := http.NewRequest(method, n.url+path, nil)
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("Cookie", cookie)
					r.Header.Set("Origin", n.url)
					r.Header.Set("Sec-Fetch-Site", "same-origin")
					res, err := http.DefaultClient.Do(r)
					if err != nil {
						t.Fatal(err)
					}
					res.Body.Close()
					return res.StatusCode
				}
				if got := with(b, "GET", "/api/profile"); got != 200 {
					t.Errorf("a cookie at the other node: %d", got)
				}
				if got := with(b, "POST", "/api/auth/logout"); got != 204 {
					t.Errorf("its sign-out at the other node: %d", got)
				}
				if got := with(a, "GET", "/api/profile"); got != 401 {
					t.Errorf("a cookie that was signed out at the other node: %d", got)
				}
			}
		})
	}
}

// Refreshes of one session sprayed over both nodes at once have one successor.
func TestSprayedRefresh(t *testing.T) {
	t.Parallel()
	for _, w := range []way{ways[0], ways[3]} {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			w.nodes = 2
			h := newHouse(t, w.plan)
			h.people(1)
			client := from(t, "127.0.0.1")
			token := h.signIn(h.nodes[0], "person-0@example.com").refresh
			const at = 16
			count := rounds(500)
			for i := range count {
				answers := make([]answer, at)
				errs := make([]error, at)
				start := make(chan struct{})
				var all sync.WaitGroup
				for j := range answers {
					all.Go(func() {
						<-start
						answers[j], errs[j] = ask(client, h.nodes[j%2], "POST", "/api/auth/refresh", "", fmt.Sprintf(`{"refresh_token":%q}`, token))
					})
				}
				close(start)
				all.Wait()
				_, before, err := generation(token)
				if err != nil {
					t.Fatal(err)
				}
				next := ""
				for j, a := range answers {
					if errs[j] != nil || a.status != 200 {
						t.Fatalf("round %d: %v %d %s", i, errs[j], a.status, a.body)
					}
					got := a.member("refresh_token")
					if _, n, err := generation(got); err != nil || n != before+1 || next != "" && got != next {
						t.Fatalf("round %d: token %d is followed by %d, by another than at the other node: %t, %v", i, before, n, got != next, err)
					}
					next = got
				}
				token = next
			}
			if got := h.sessions("person-0@example.com"); got != 1 {
				t.Errorf("%d sessions, want 1", got)
			}
			t.Logf("%d rounds of %d requests at once: one successor each", count, at)
		})
	}
}

// A transaction that wrote a revocation and commits two seconds later, after others
// that began later, loses it nowhere.
func TestLateCommit(t *testing.T) {
	t.Parallel()
	for _, w := range []way{ways[0], ways[1], ways[2]} {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			w.nodes = 2
			h := newHouse(t, w.plan)
			h.people(1)
			if w.harm != nil {
				w.harm(h)
				h.ready()
			}
			for i := range rounds(20) {
				s := h.signIn(h.nodes[0], "person-0@example.com")
				shell := h.shell()
				in, err := shell.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				out, err := shell.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := shell.Start(); err != nil {
					t.Fatal(err)
				}
				now := time.Now()
				begin := "BEGIN;"
				if h.postgres == nil {
					begin = "BEGIN IMMEDIATE;"
				}
				fmt.Fprintf(in, "%s INSERT INTO revocations (kind, value, at, until) VALUES ('sid', '%s', %d, %d) RETURNING 'written';\n",
					begin, claims(t, s.access).Session, now.UnixMicro(), now.Add(time.Hour).UnixMicro())
				line := make([]byte, len("written"))
				if _, err := out.Read(line); err != nil || string(line) != "written" {
					t.Fatalf("the shell says %q: %v", line, err)
				}

				// Others write meanwhile: on Postgres they commit first.
				var others sync.WaitGroup
				for j := range 6 {
					others.Go(func() {
						time.Sleep(time.Duration(j) * 300 * time.Millisecond)
						n := h.nodes[j%2]
						other := h.signIn(n, "person-0@example.com")
						if a := h.ask(n, "POST", "/api/auth/logout", other.access, ""); a.status != 204 {
							t.Errorf("sign-out: %d %s", a.status, a.body)
						}
					})
				}
				time.Sleep(2*time.Second - time.Since(now)) // how long it is held open
				for _, n := range h.nodes {
					if a := h.ask(n, "GET", "/api/profile", s.access, ""); a.status != 200 {
						t.Errorf("round %d, node %s, before the commit: %d %s", i, n.name, a.status, a.body)
					}
				}
				fmt.Fprintln(in, "COMMIT;")
				if err := in.Close(); err != nil {
					t.Fatal(err)
				}
				if err := shell.Wait(); err != nil {
					t.Fatal(err)
				}
				committed := time.Now()
				for _, n := range h.nodes {
					if took := h.refused(n, s.access, committed); took > bound {
						t.Errorf("round %d, node %s: refused %s after the commit", i, n.name, took)
					}
				}
				others.Wait()
			}
		})
	}
}

// shell is a shell of the database.
func (h *house) shell() *exec.Cmd {
	if h.postgres == nil {
		return exec.Command("sqlite3", "-bail", "-cmd", ".timeout 20000", h.sqlite)
	}
	return exec.Command("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", h.postgres.URL(h.database))
}

// Keys that are rotated or withdrawn at one node are so at the other within a
// second.
func TestKeysFollowed(t *testing.T) {
	t.Parallel()
	for _, w := range []way{ways[0], ways[1], ways[3]} {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			w.nodes = 2
			h := newHouse(t, w.plan)
			h.people(1)
			a, b := h.nodes[0], h.nodes[1]
			var rotated, retired []time.Duration
			for range rounds(100) {
				s := h.signIn(b, "person-0@example.com")
				before := keyOf(t, s.access)
				a.verb("", "key", "rotate", "--now")
				done := time.Now()
				var signedBy string
				for signedBy = before; signedBy == before; {
					if time.Since(done) > patience {
						t.Fatal("the other node never signs with the new key")
					}
					sent := time.Now()
					signedBy = keyOf(t, h.signIn(b, "person-0@example.com").access)
					if signedBy != before {
						rotated = append(rotated, sent.Sub(done))
					}
				}
				if took := rotated[len(rotated)-1]; took > 2*bound {
					t.Errorf("the other node signs with the new key after %s", took)
				}
				for _, n := range h.nodes {
					if got := h.ask(n, "GET", "/api/profile", s.access, ""); got.status != 200 {
						t.Errorf("node %s, a token of the key before: %d %s", n.name, got.status, got.body)
					}
				}

				a.verb("", "key", "retire", "--now", "--", before) // it may begin with a dash
				done = time.Now()
				took := h.refused(b, s.access, done)
				h.refused(a, s.access, done)
				if retired = append(retired, took); took > bound {
					t.Errorf("a token of a key that was withdrawn is refused at the other node after %s", took)
				}
				if got := h.ask(b, "POST", "/api/auth/refresh", "", fmt.Sprintf(`{"refresh_token":%q}`, s.refresh)); got.status != 200 {
					t.Errorf("nobody signs in again for a key: %d %s", got.status, got.body)
				}
			}
			for name, all := range map[string][]time.Duration{"signs with the new key": rotated, "refuses what a withdrawn key signed": retired} {
				slices.Sort(all)
				t.Logf("the other node %s after: median %s, worst %s of %d", name, all[len(all)/2].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond), len(all))
			}
		})
	}
}

// Limits hold in sum: wrong passwords spread over the nodes are counted together.
func TestLimitsInSum(t *testing.T) {
	t.Parallel()
	h := newHouse(t, plan{nodes: 2, postgres: true, redis: true})
	h.people(rounds(30) + 1)
	try := func(n *node, person, with string) answer {
		t.Helper()
		return h.ask(n, "POST", "/api/auth/login", "", fmt.Sprintf(`{"email":%q,"password":%q}`, person, with))
	}
	// On a machine that is busy Redis may be too slow for a moment, which is said: then
	// each node counts alone, and what follows is not the sum.
	alone := func() (count int) {
		for _, n := range h.nodes {
			count += strings.Count(n.stderr.String(), "Redis does not answer")
		}
		return count
	}
	together := 0
	for i := range rounds(30) {
		h.withRedis()
		before := alone()
		person := fmt.Sprintf("person-%d@example.com", i)
		var got []answer
		for j, with := range []string{"wrong 0", "wrong 1", "wrong 2", "wrong 3", "wrong 4", "wrong too", "wrong again", password, password} {
			got = append(got, try(h.nodes[(i+j)%2], person, with))
		}
		if alone() > before {
			t.Logf("round %d: Redis was too slow", i)
			continue
		}
		together++
		for j, a := range got {
			switch {
			case j < 5 && a.status == 401 && a.member("code") == "INVALID_CREDENTIALS":
			case j >= 5 && a.status == 429 && a.member("code") == "TOO_MANY_ATTEMPTS" && a.header.Get("Retry-After") != "":
			default:
				t.Errorf("try %d of round %d: %d %s", j+1, i, a.status, a.body)
			}
		}
	}
	if together == 0 {
		t.Error("Redis was too slow in every round")
	}

	// At the same instant: of a hundred, five are tried.
	h.withRedis()
	before := alone()
	person := fmt.Sprintf("person-%d@example.com", rounds(30))
	var all sync.WaitGroup
	results := make(chan int, 100)
	client := from(t, "127.0.0.1")
	for i := range cap(results) {
		all.Go(func() {
			a, err := ask(client, h.nodes[i%2], "POST", "/api/auth/login", "", fmt.Sprintf(`{"email":%q,"password":"wrong %d"}`, person, i))
			if err != nil {
				t.Error(err)
			}
			results <- a.status
		})
	}
	all.Wait()
	close(results)
	counts := make(map[int]int)
	for status := range results {
		counts[status]++
	}
	most := 5
	if alone() > before {
		most *= len(h.nodes) // each counted by itself
	}
	if counts[401] > most || counts[401]+counts[429] != 100 {
		t.Errorf("a hundred wrong passwords at once: %v, want %d of 401 at most and 429", counts, most)
	}
	t.Logf("a hundred wrong passwords at once, over two nodes: %v", counts)
}
