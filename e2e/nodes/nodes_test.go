package nodes

import (
	"bytes"
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

	"github.com/durward-auth/durward/e2e/executable"
)

// claims decodes an access token.
func claims(t *testing.T, token string) (c struct {
	ID      string `json:"jti"`
	Session string `json:"sid"`
}) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("parts of an access token: got %d, want 3", len(parts))
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

// keyOf returns the kid of a token.
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

// channel is a means by which two nodes learn of each other's revocations.
type channel struct {
	name string
	clusterConfig
	polled    bool              // without a push
	breakPush func(cl *cluster) // disables the push
}

var channels = []channel{
	{"SQLite, polled", clusterConfig{}, true, nil},
	{"Postgres, NOTIFY", clusterConfig{postgres: true}, false, nil},
	{"Postgres, polled", clusterConfig{postgres: true}, true, func(cl *cluster) {
		for _, n := range cl.nodes {
			n.database.Lose(func(answer []byte) bool { // to LISTEN
				return bytes.Contains(answer, []byte("C\x00\x00\x00\x0bLISTEN\x00"))
			})
			n.database.Cut()
		}
	}},
	{"Postgres and Redis", clusterConfig{postgres: true, redis: true}, false, nil},
	{"Postgres, Redis gone", clusterConfig{postgres: true, redis: true}, false,
		func(cl *cluster) { cl.redis.Kill(cl.t) }},
	{"PgBouncer, polled", clusterConfig{postgres: true, pooler: true}, true, nil},
}

// TestRevokedElsewhere ends sessions at one node in each way and over each channel. The other node
// must refuse their tokens within a second.
func TestRevokedElsewhere(t *testing.T) {
	t.Parallel()
	for _, w := range channels {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			w.nodes = 2
			w.env = []string{"DURWARD_TOKENS_REFRESH_GRACE=30s"}
			cl := newCluster(t, w.clusterConfig)
			cl.users(2)
			a, b := cl.nodes[0], cl.nodes[1]
			if w.breakPush != nil {
				w.breakPush(cl)
				cl.eventually(func() error { // until the database is connected again
					answer, err := ask(http.DefaultClient, a, "POST", "/api/auth/login", "",
						fmt.Sprintf(`{"email":"user-1@example.com","password":%q}`, password))
					if err == nil && answer.status != 200 {
						err = fmt.Errorf("sign-in: %s", answer)
					}
					return err
				})
			}
			thief := clientFrom(t, "127.77.0.1")
			ends := []struct {
				name string
				do   func(s session)
			}{
				{"sign-out", func(s session) {
					if answer := cl.ask(a, "POST", "/api/auth/logout", s.access, ""); answer.status != 204 {
						t.Fatalf("sign-out: %d %s", answer.status, answer.body)
					}
				}},
				{"end of a session", func(s session) {
					other := cl.signIn(a, "user-0@example.com")
					if answer := cl.ask(a, "DELETE", "/api/auth/sessions/"+claims(t, s.access).Session, other.access,
						""); answer.status != 204 {
						t.Fatalf("end of a session: %d %s", answer.status, answer.body)
					}
				}},
				{"theft", func(s session) {
					body := fmt.Sprintf(`{"refresh_token":%q}`, s.refresh)
					if answer := cl.ask(a, "POST", "/api/auth/refresh", "", body); answer.status != 200 {
						t.Fatalf("refresh: %d %s", answer.status, answer.body)
					}
					if answer, err := askAs(thief, "thief/1", a, "POST", "/api/auth/refresh", "", body); err != nil ||
						answer.member("code") != "SESSION_REVOKED" {
						t.Fatalf("a spent token from elsewhere: %v %d %s", err, answer.status, answer.body)
					}
				}},
				{"lock from the shell", func(s session) { a.verb("", "user", "lock", "user-0@example.com") }},
			}
			count := 100
			if w.polled {
				count = rounds(100) // fewer, because each waits for a poll
			}
			all := make([]time.Duration, 0, count)
			for i := range count {
				end := ends[i%len(ends)]
				s := cl.signIn(a, "user-0@example.com")
				if answer := cl.ask(b, "GET", "/api/profile", s.access, ""); answer.status != 200 {
					t.Fatalf("before the %s: %d %s", end.name, answer.status, answer.body)
				}
				if w.polled {
					pause(400 * time.Millisecond) // to a random moment between two polls
				}
				end.do(s)
				done := time.Now()
				if answer := cl.ask(a, "GET", "/api/profile", s.access, ""); end.name != "lock from the shell" &&
					answer.status != 401 {
					t.Errorf("%s: first node: got %d %s, want 401", end.name, answer.status, answer.body)
				}
				took := cl.waitForRefusal(b, s.access, done)
				all = append(all, took)
				if took > maxDelay {
					t.Errorf("%s: other node: refused after %s, want at most %s", end.name, took, maxDelay)
				}
				cl.waitForRefusal(a, s.access, done)
				if end.name == "lock from the shell" {
					a.verb("", "user", "unlock", "user-0@example.com")
				}
			}
			slices.Sort(all)
			t.Logf("refused at the other node after: median %s, worst %s of %d",
				all[len(all)/2].Round(100*time.Microsecond), all[len(all)-1].Round(100*time.Microsecond), len(all))
		})
	}
}

// TestSessionEverywhere checks that a new session, API key or cookie works at the other node at
// once, and that its end takes effect there.
func TestSessionEverywhere(t *testing.T) {
	t.Parallel()
	for _, w := range []channel{channels[0], channels[3], channels[5]} {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			w.nodes = 2
			cl := newCluster(t, w.clusterConfig)
			cl.users(1)
			for i := range rounds(100) {
				a, b := cl.nodes[i%2], cl.nodes[(i+1)%2]
				cl.checkAcross(a, b)
				s := cl.signIn(a, "user-0@example.com")
				made := cl.ask(a, "POST", "/api/keys", s.access, fmt.Sprintf(`{"name":"key %d"}`, i))
				if made.status != 201 {
					t.Fatalf("an API key: %d %s", made.status, made.body)
				}
				if got := cl.ask(b, "GET", "/api/profile", made.member("key"), ""); got.status != 200 {
					t.Errorf("an API key at the other node: %d %s", got.status, got.body)
				}
				if got := cl.ask(b, "DELETE", "/api/keys/"+made.member("id"), s.access, ""); got.status != 204 {
					t.Errorf("its end at the other node: %d %s", got.status, got.body)
				}
				if got := cl.ask(a, "GET", "/api/profile", made.member("key"), ""); got.status != 401 {
					t.Errorf("an API key that was ended at the other node: %d %s", got.status, got.body)
				}

				signedIn := cl.ask(a, "POST", "/api/auth/login", "",
					fmt.Sprintf(`{"email":"user-0@example.com","password":%q,"use_cookies":true}`, password))
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

// TestSprayedRefresh sends one refresh token to both nodes many times at once. All must return the
// same successor.
func TestSprayedRefresh(t *testing.T) {
	t.Parallel()
	for _, w := range []channel{channels[0], channels[3], channels[5]} {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			w.nodes = 2
			cl := newCluster(t, w.clusterConfig)
			cl.users(1)
			client := clientFrom(t, "127.0.0.1")
			token := cl.signIn(cl.nodes[0], "user-0@example.com").refresh
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
						answers[j], errs[j] = ask(client, cl.nodes[j%2], "POST", "/api/auth/refresh", "",
							fmt.Sprintf(`{"refresh_token":%q}`, token))
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
						t.Fatalf("round %d: token %d has the successor %d, different from that of another request: %t, %v", i, before, n, got != next, err)
					}
					next = got
				}
				token = next
			}
			if got := cl.countSessions("user-0@example.com"); got != 1 {
				t.Errorf("%d sessions, want 1", got)
			}
			t.Logf("%d rounds of %d requests at once: one successor each", count, at)
		})
	}
}

// TestLateCommit holds a transaction with a revocation open for two seconds while later
// transactions commit. Both nodes must refuse the token within a second of the commit.
func TestLateCommit(t *testing.T) {
	t.Parallel()
	for _, w := range []channel{channels[0], channels[1], channels[2]} {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			w.nodes = 2
			cl := newCluster(t, w.clusterConfig)
			cl.users(1)
			if w.breakPush != nil {
				w.breakPush(cl)
				cl.waitUntilReady()
			}
			for i := range rounds(20) {
				s := cl.signIn(cl.nodes[0], "user-0@example.com")
				shell := cl.shell()
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
				if cl.postgres == nil {
					begin = "BEGIN IMMEDIATE;"
				}
				fmt.Fprintf(in, "%s INSERT INTO revocations (kind, value, at, until) VALUES ('sid', '%s', %d, %d) RETURNING 'written';\n",
					begin, claims(t, s.access).Session, now.UnixMicro(), now.Add(time.Hour).UnixMicro())
				line := make([]byte, len("written"))
				if _, err := out.Read(line); err != nil || string(line) != "written" {
					t.Fatalf("database shell: got %q, %v, want \"written\"", line, err)
				}

				// On Postgres these transactions commit first.
				var others sync.WaitGroup
				for j := range 6 {
					others.Go(func() {
						time.Sleep(time.Duration(j) * 300 * time.Millisecond)
						n := cl.nodes[j%2]
						other := cl.signIn(n, "user-0@example.com")
						if a := cl.ask(n, "POST", "/api/auth/logout", other.access, ""); a.status != 204 {
							t.Errorf("sign-out: %d %s", a.status, a.body)
						}
					})
				}
				time.Sleep(2*time.Second - time.Since(now)) // the transaction stays open for two seconds
				for _, n := range cl.nodes {
					if a := cl.ask(n, "GET", "/api/profile", s.access, ""); a.status != 200 {
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
				for _, n := range cl.nodes {
					if took := cl.waitForRefusal(n, s.access, committed); took > maxDelay {
						t.Errorf("round %d, node %s: refused %s after the commit", i, n.name, took)
					}
				}
				others.Wait()
			}
		})
	}
}

// shell returns the command of a database shell.
func (cl *cluster) shell() *exec.Cmd {
	if cl.postgres == nil {
		return exec.Command("sqlite3", "-bail", "-cmd", ".timeout 20000", cl.sqlite)
	}
	return exec.Command("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", cl.postgres.URL(cl.database))
}

// TestKeysFollowed rotates and withdraws signing keys at one node. The other node must follow
// within a second.
func TestKeysFollowed(t *testing.T) {
	t.Parallel()
	for _, w := range []channel{channels[0], channels[1], channels[3]} {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			w.nodes = 2
			cl := newCluster(t, w.clusterConfig)
			cl.users(1)
			a, b := cl.nodes[0], cl.nodes[1]
			var rotated, retired []time.Duration
			for range rounds(100) {
				s := cl.signIn(b, "user-0@example.com")
				before := keyOf(t, s.access)
				a.verb("", "key", "rotate", "--now")
				done := time.Now()
				var signedBy string
				for signedBy = before; signedBy == before; {
					if time.Since(done) > executable.WaitLimit {
						t.Fatalf("the other node does not sign with the new key within %s", executable.WaitLimit)
					}
					sent := time.Now()
					signedBy = keyOf(t, cl.signIn(b, "user-0@example.com").access)
					if signedBy != before {
						rotated = append(rotated, sent.Sub(done))
					}
				}
				if took := rotated[len(rotated)-1]; took > 2*maxDelay {
					t.Errorf("other node: signs with the new key after %s", took)
				}
				for _, n := range cl.nodes {
					if got := cl.ask(n, "GET", "/api/profile", s.access, ""); got.status != 200 {
						t.Errorf("node %s, a token of the rotated key: got %d %s, want 200", n.name, got.status,
							got.body)
					}
				}

				a.verb("", "key", "retire", "--now", "--", before) // a key id may begin with a dash
				done = time.Now()
				took := cl.waitForRefusal(b, s.access, done)
				cl.waitForRefusal(a, s.access, done)
				if retired = append(retired, took); took > maxDelay {
					t.Errorf("other node: a token of the withdrawn key is refused after %s", took)
				}
				if got := cl.ask(b, "POST", "/api/auth/refresh", "",
					fmt.Sprintf(`{"refresh_token":%q}`, s.refresh)); got.status != 200 {
					t.Errorf("refresh after a withdrawn key: got %d %s, want 200", got.status, got.body)
				}
			}
			for name, all := range map[string][]time.Duration{"signs with the new key": rotated,
				"refuses tokens of a withdrawn key": retired} {
				slices.Sort(all)
				t.Logf("the other node %s after: median %s, worst %s of %d", name,
					all[len(all)/2].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond), len(all))
			}
		})
	}
}

// TestLimitsInSum spreads wrong passwords over two nodes, which must count them together.
func TestLimitsInSum(t *testing.T) {
	t.Parallel()
	cl := newCluster(t, clusterConfig{nodes: 2, postgres: true, redis: true})
	cl.users(rounds(30) + 1)
	try := func(n *node, user, with string) answer {
		t.Helper()
		return cl.ask(n, "POST", "/api/auth/login", "", fmt.Sprintf(`{"email":%q,"password":%q}`, user, with))
	}
	// On a busy machine Redis may be too slow for a moment. The node logs it and counts alone, so
	// that round is not compared.
	alone := func() (count int) {
		for _, n := range cl.nodes {
			count += strings.Count(n.stderr.String(), "Redis does not answer")
		}
		return count
	}
	together := 0
	for i := range rounds(30) {
		cl.waitForRedis()
		before := alone()
		user := fmt.Sprintf("user-%d@example.com", i)
		var got []answer
		for j, with := range []string{"wrong 0", "wrong 1", "wrong 2", "wrong 3", "wrong 4", "wrong 5", "wrong 6",
			password, password} {
			got = append(got, try(cl.nodes[(i+j)%2], user, with))
		}
		if alone() > before {
			t.Logf("round %d: Redis was too slow", i)
			continue
		}
		together++
		for j, a := range got {
			switch {
			case j < 5 && a.status == 401 && a.member("code") == "INVALID_CREDENTIALS":
			case j >= 5 && a.status == 429 && a.member("code") == "TOO_MANY_ATTEMPTS" &&
				a.header.Get("Retry-After") != "":
			default:
				t.Errorf("attempt %d of round %d: got %d %s, want 401 up to the fifth, then 429", j+1, i, a.status,
					a.body)
			}
		}
	}
	if together == 0 {
		t.Error("Redis was too slow in every round")
	}

	// Of a hundred concurrent attempts, five are checked.
	cl.waitForRedis()
	before := alone()
	user := fmt.Sprintf("user-%d@example.com", rounds(30))
	var all sync.WaitGroup
	results := make(chan int, 100)
	client := clientFrom(t, "127.0.0.1")
	for i := range cap(results) {
		all.Go(func() {
			a, err := ask(client, cl.nodes[i%2], "POST", "/api/auth/login", "",
				fmt.Sprintf(`{"email":%q,"password":"wrong %d"}`, user, i))
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
		most *= len(cl.nodes) // each node counted alone
	}
	if counts[401] > most || counts[401]+counts[429] != 100 {
		t.Errorf("a hundred wrong passwords at once: got %v, want at most %d of 401, the rest 429", counts, most)
	}
	t.Logf("a hundred wrong passwords at once, over two nodes: %v", counts)
}
