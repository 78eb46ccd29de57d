package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alecthomas/kong"
)

// dial opens a connection to the server that the test closes at its end.
func (p *process) dial() net.Conn {
	p.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() })
	return conn
}

// closedAfter reads conn to its end. It returns the time until then and the text.
func closedAfter(conn net.Conn) (time.Duration, string) {
	began := time.Now()
	got, _ := io.ReadAll(conn) // a reset ends it too
	return time.Since(began), string(got)
}

// The server closes connections of slow and silent clients at the limits of serve.go. Hundreds of them
// do not delay other clients.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	p := serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", t.TempDir()))

	const held = 500
	for range held {
		conn := p.dial()
		if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: "); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	for range 20 {
		if a := p.ask("GET", "/healthz", "", ""); a.status != 200 {
			t.Errorf("healthz during %d slow connections: %d, want 200", held, a.status)
		}
	}
	if each := time.Since(began) / 20; each > headerTime/2 {
		t.Errorf("healthz during %d slow connections took %s", held, each)
	}

	drip := func(conn net.Conn, octet string) { // until the server closes conn
		for {
			if _, err := io.WriteString(conn, octet); err != nil {
				return
			}
			time.Sleep(200 * time.Millisecond)
		}
	}
	var all sync.WaitGroup
	for name, c := range map[string]struct {
		start, drip string
		limit       time.Duration
	}{
		"nothing sent":               {"", "", headerTime},
		"half a request line":        {"GET /healthz", "", headerTime},
		"a field, octet by octet":    {"GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: ", "a", headerTime},
		"field by field":             {"GET /healthz HTTP/1.1\r\nHost: a\r\n", "X-Slow: a\r\n", headerTime},
		"a body that stops":          {"POST /api/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", "", bodyTime},
		"a body, octet by octet":     {"POST /api/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{", " ", bodyTime},
		"a chunked body, by octets":  {"POST /api/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n", bodyTime},
		"a body of an unknown path":  {"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n{", " ", bodyTime},
		"a body of a refused client": {"PATCH /api/profile HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{", " ", bodyTime},
	} {
		conn := p.dial()
		if _, err := io.WriteString(conn, c.start); err != nil {
			t.Fatal(err)
		}
		if c.drip != "" {
			go drip(conn, c.drip)
		}
		if err := conn.SetReadDeadline(time.Now().Add(c.limit + patience)); err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			after, got := closedAfter(conn)
			// A busy machine is late; the next longer limit would close the connection later.
			if after > c.limit+9*time.Second {
				t.Errorf("%s: closed after %s, want %s", name, after, c.limit)
			}
			if strings.HasPrefix(got, "HTTP/1.1 2") {
				t.Errorf("%s: got the response %q, want none or an error", name, got)
			}
		})
	}
	all.Wait()
}

// The limits that are too long for a test have their documented values. Made shorter, they close a
// connection.
func TestEachLimitOfTheListener(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{}, 1)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		block := make([]byte, 1<<20)
		for range 1 << 10 { // more than all buffers between server and client
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	quick := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for name, c := range map[string]struct {
		handler http.Handler
		limit   func(*http.Server) *time.Duration
		want    time.Duration
		send    string
	}{
		"idle":        {quick, func(s *http.Server) *time.Duration { return &s.IdleTimeout }, idleTime, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
		"slow reader": {handler, func(s *http.Server) *time.Duration { return &s.WriteTimeout }, answerTime, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newHTTPServer(c.handler, nil)
			if *c.limit(s) != c.want {
				t.Fatalf("the limit is %s, want %s", *c.limit(s), c.want)
			}
			*c.limit(s) = 200 * time.Millisecond
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan error, 1)
			go func() { served <- s.Serve(l) }()
			conn, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, c.send); err != nil {
				t.Fatal(err)
			}
			if name == "slow reader" {
				<-begun
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				if err := s.Shutdown(ctx); err != nil { // returns after the handler
					t.Errorf("the handler still writes to a client that does not read: %v", err)
				}
			} else if after, got := closedAfter(conn); after > patience || !strings.HasPrefix(got, "HTTP/1.1 200 ") {
				t.Errorf("closed after %s with %q, want a response 200 before", after, got)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if err := <-served; !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		})
	}
}

// The server responds 4xx to oversized headers and to input that is not HTTP/1.1, and uses little
// memory for them.
func TestFieldsTooMany(t *testing.T) {
	t.Parallel()
	p := serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", t.TempDir()))
	atStart := p.memory("VmHWM")
	get := "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
	for name, c := range map[string]struct {
		request string
		status  string // of the response
	}{
		"a field at the limit":     {get + "X: " + strings.Repeat("a", headerSize-1000) + "\r\n\r\n", "200"},
		"one field too large":      {get + "X: " + strings.Repeat("a", headerSize+8<<10) + "\r\n\r\n", "431"},
		"10 MB of a field":         {get + "X: " + strings.Repeat("a", 10<<20) + "\r\n\r\n", "431"},
		"100,000 fields":           {get + strings.Repeat("X: a\r\n", 100_000) + "\r\n", "431"},
		"100,000 cookies":          {get + "Cookie: " + strings.Repeat("a=b; ", 100_000) + "\r\n\r\n", "431"},
		"100,000 cookie fields":    {get + strings.Repeat("Cookie: a=b\r\n", 100_000) + "\r\n", "431"},
		"a long request line":      {"GET /" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: a\r\n\r\n", "431"},
		"a long forwarded field":   {get + "Forwarded: " + strings.Repeat("for=a,", 100_000) + "\r\n\r\n", "431"},
		"HTTP/2 preface":           {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\x00\x00\x00\x04\x00\x00\x00\x00\x00", 1000), "400"},
		"an upgrade to HTTP/2":     {get + "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", "200"},
		"two lengths":              {"POST /api/auth/login HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", "400"},
		"length and encoding":      {"POST /api/auth/login HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", "400"},
		"two hosts":                {"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"},
		"no host":                  {"GET /healthz HTTP/1.1\r\n\r\n", "400"},
		"a space before the colon": {"GET /healthz HTTP/1.1\r\nHost: a\r\nAuthorization : Bearer a\r\n\r\n", "400"},
		"a NUL in a field":         {"GET /healthz HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", "400"},
		"an overlong chunk size":   {"POST /api/auth/login HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", "400"},
		"a long chunk extension":   {"POST /api/auth/login HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1;" + strings.Repeat("a", 100_000) + "\r\n{\r\n0\r\n\r\n", "400"},
		"CONNECT":                  {"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n", "400"},
	} {
		conn := p.dial()
		go io.WriteString(conn, c.request) // fails if the server responds and closes early
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(conn).ReadString('\n')
		if !strings.HasPrefix(line, "HTTP/1.1 "+c.status+" ") {
			t.Errorf("%s: %q %v, want %s", name, line, err, c.status)
		}
		conn.Close()
	}
	if grown := p.memory("VmHWM") - atStart; grown > 32<<10 {
		t.Errorf("the server used %d KiB more than at its start, want at most %d", grown, 32<<10)
	}
	if a := p.ask("GET", "/healthz", "", ""); a.status != 200 {
		t.Errorf("healthz afterwards: %d, want 200", a.status)
	}
}

// memory returns an entry of the process's /proc status, in KiB.
func (p *process) memory(name string) int {
	p.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Skipf("SKIPPED: %v", err)
	}
	_, rest, _ := strings.Cut(string(text), name+":")
	number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	kib, err := strconv.Atoi(number)
	if err != nil {
		p.t.Fatalf("%s: %v", name, err)
	}
	return kib
}

// Two hundred sign-ins at once, at the real cost of a hash, on a server that the kernel gives 512 MiB: it
// responds 503 if the queue is full, its memory grows only by the running hashes, and it serves other
// requests meanwhile.
func TestManySignInsAtOnce(t *testing.T) {
	t.Parallel()
	const many = 200
	cmd := exec.Command("sh", "-c", `ulimit -d 524288 && exec "$@"`, "sh", build(t), "serve", "--listen", "127.0.0.1:0", "--data", t.TempDir())
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "DURWARD_LIMITS_NETWORK_FAILURES=0", "DURWARD_LIMITS_NETWORK_HASHES=0"}
	p := serve(t, cmd)
	before := p.memory("VmHWM")
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: 0}, Timeout: 2 * time.Minute}
	defer client.CloseIdleConnections()

	var mu sync.Mutex
	statuses := make(map[int]int)
	var all sync.WaitGroup
	done := make(chan struct{})
	start := make(chan struct{})
	for n := range many {
		all.Go(func() {
			<-start
			a, err := ask(client, p.url, "POST", "/api/auth/login", "", fmt.Sprintf(`{"email":"person%d@example.com","password":"wrong"}`, n))
			if err != nil {
				t.Error(err)
				return
			}
			if a.status == 503 && (a.member("code") != "AUTH_UNAVAILABLE" || a.header.Get("Retry-After") == "") {
				t.Errorf("503: %v %s, want AUTH_UNAVAILABLE with Retry-After", a.header, a.body)
			}
			mu.Lock()
			statuses[a.status]++
			mu.Unlock()
		})
	}
	go func() { all.Wait(); close(done) }()
	close(start)
	began := time.Now()
	var health []time.Duration
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
			asked := time.Now()
			if a := p.ask("GET", "/healthz", "", ""); a.status != 200 {
				t.Errorf("healthz during the sign-ins: %d, want 200", a.status)
			}
			health = append(health, time.Since(asked))
			time.Sleep(10 * time.Millisecond)
		}
	}
	whole := time.Since(began)
	if statuses[401] == 0 || statuses[503] == 0 || statuses[401]+statuses[503] != many {
		t.Errorf("responses by status: %v, want some 401 and 503 for the rest", statuses)
	}
	// A running hash takes 19 MiB, and one runs per core. The garbage collector may keep as much
	// again.
	if grown, most := p.memory("VmHWM")-before, 200<<10; grown > most {
		t.Errorf("memory grew by %d KiB, want at most %d; all at once would need %d", grown, most, many*19<<10)
	}
	if len(health) < 3 {
		t.Fatalf("sent healthz %d times during the sign-ins, want at least 3", len(health))
	}
	slices.Sort(health)
	if median := health[len(health)/2]; median > whole/4 { // behind the queue it would take half
		t.Errorf("healthz took %s (median of %d); all sign-ins took %s", median, len(health), whole)
	}
	t.Logf("responses %v; healthz %d times, median %s, longest %s; memory %d KiB, before %d", statuses, len(health), health[len(health)/2], health[len(health)-1], p.memory("VmHWM"), before)
}

// A new server has no users and no default password, and no client can become an administrator over
// HTTP. Each demo has another administrator password.
func TestFirstStart(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	p := serve(t, program([]string{"DURWARD_LIMITS_NETWORK_FAILURES=0", "DURWARD_LIMITS_NETWORK_HASHES=0"}, "serve", "--listen", "127.0.0.1:0", "--data", dir))
	if !strings.HasPrefix(p.url, "http://127.0.0.1:") {
		t.Errorf("listens on %s, want 127.0.0.1", p.url)
	}
	stdout, _, status := command(t, "", "user", "list", "--json", "--data", dir)
	if status != 0 || strings.Contains(stdout, "@") {
		t.Errorf("users of a new server: status %d, %s; want none", status, stdout)
	}
	for _, email := range []string{"admin@example.com", "root@example.com", "ada@example.com", "admin@localhost.localdomain", "durward@example.com"} {
		for _, password := range []string{"admin", "password", "durward", "changeme", demoPassword} {
			if a := p.ask("POST", "/api/auth/login", "", fmt.Sprintf(`{"email":%q,"password":%q}`, email, password)); a.status == 200 {
				t.Errorf("%s signed in with %s on a new server", email, password)
			}
		}
	}
	if a := p.ask("POST", "/api/auth/register", "", `{"email":"eve@example.com","password":"`+testPassword+`"}`); a.status != 403 {
		t.Errorf("register: %d %s", a.status, a.body)
	}
	open := serve(t, program([]string{"DURWARD_REGISTRATION=open"}, "serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(t.TempDir(), "data")))
	if a := open.ask("POST", "/api/auth/register", "", `{"email":"eve@example.com","password":"`+testPassword+`"}`); a.status != 201 {
		t.Fatalf("register: %d %s", a.status, a.body)
	}
	if scope := open.signIn("eve@example.com", testPassword).member("scope"); scope != "profile" {
		t.Errorf("the first registered user has the scope %q, want \"profile\"", scope)
	}
	var passwords []string
	for range 2 {
		demo := serve(t, program(nil, "serve", "--demo", "--listen", "127.0.0.1:0"))
		_, after, _ := strings.Cut(strings.Join(demo.stdout, "\n"), "root@example.com / ")
		password, _, _ := strings.Cut(after, " ")
		if len(password) < 20 {
			t.Errorf("the administrator's password has %d characters, want at least 20", len(password))
		}
		passwords = append(passwords, password)
		if status := demo.stop(); status != 0 {
			t.Errorf("status %d", status)
		}
	}
	if passwords[0] == passwords[1] {
		t.Error("two demos have the same administrator password")
	}
}

// No verb takes a secret as a flag or argument, which every user of the machine can read.
func TestNoSecretFlag(t *testing.T) {
	t.Parallel()
	parser, err := kong.New(new(verbs), kong.Name("durward"), kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	flags := 0
	var walk func(n *kong.Node)
	walk = func(n *kong.Node) {
		for _, f := range n.Flags {
			flags++
			for _, word := range []string{"password", "secret", "token", "key", "credential"} {
				if f.Name == "id-token-alg" { // the name of an algorithm
					continue
				}
				if strings.Contains(f.Name, word) && !f.IsBool() && !strings.HasSuffix(f.Name, "-file") {
					t.Errorf("%s has the flag --%s with a value", n.FullPath(), f.Name)
				}
			}
		}
		for _, p := range n.Positional {
			if slices.Contains([]string{"password", "token", "secret"}, p.Name) {
				t.Errorf("%s has the argument %s", n.FullPath(), p.Name)
			}
		}
		for _, c := range n.Children {
			walk(c)
		}
	}
	walk(parser.Model.Node)
	if flags < 10 {
		t.Errorf("found %d flags, want at least 10", flags)
	}
}
