// Package nodes runs several real servers over one database, and makes what lies
// between and beneath them fail. What it measures stands in docs/reliability.md.
package nodes

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/durward-auth/durward/internal/faults"
	"github.com/durward-auth/durward/internal/services"
)

// patience is how long a test waits for what must come. It is no measure.
const patience = 60 * time.Second

// rounds is how often something is done: a tenth of the full count, which the
// variable SOAK asks for.
func rounds(full int) int {
	if os.Getenv("SOAK") != "" {
		return full
	}
	return max(1, full/10)
}

// built is the folder of the program, which is built when a test first wants it.
var built string

// durward is the path of the program, built without the race detector: under it
// the SQLite driver is too slow to be killed in the middle of much.
var durward = sync.OnceValues(func() (string, error) {
	path := filepath.Join(built, "durward")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", path, "./server/cmd/durward")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "durward-nodes-")
	if err != nil {
		panic(err)
	}
	built = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// house is what the nodes of one test share.
type house struct {
	t        *testing.T
	program  string
	env      []string // of every node and verb
	sqlite   string   // path of the database; empty on Postgres
	postgres *services.Postgres
	database string // its name
	redis    *services.Redis
	nodes    []*node
}

// plan says what a house has.
type plan struct {
	nodes    int
	postgres bool     // else one SQLite file
	redis    bool     // needs postgres
	disk     string   // folder of the SQLite file, or of the cluster; empty is a new one
	env      []string // beside what every house has
}

// newHouse starts services and nodes.
func newHouse(t *testing.T, p plan) *house {
	t.Helper()
	path, err := durward()
	if err != nil {
		t.Fatal(err)
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	h := &house{t: t, program: path, env: append([]string{
		"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "DURWARD_MASTER_KEY=" + hex.EncodeToString(key),
		"DURWARD_PASSWORDS_ARGON2_MEMORY=64", "DURWARD_LIMITS_NETWORK_FAILURES=0",
	}, p.env...)}
	if p.postgres {
		if p.disk == "" {
			h.postgres = services.NewPostgres(t)
		} else {
			h.postgres = services.NewPostgresIn(t, p.disk, "max_wal_size=32MB", "min_wal_size=32MB")
		}
		url := h.postgres.Database(t)
		h.database = url[strings.LastIndex(url, "/")+1 : strings.Index(url, "?")]
	} else {
		if p.disk == "" {
			p.disk = t.TempDir()
		}
		h.sqlite = filepath.Join(p.disk, "durward.db")
	}
	if p.redis {
		h.redis = services.NewRedis(t)
	}
	for range p.nodes {
		h.newNode(path).start()
	}
	return h
}

// node is one server, a process of its own, with proxies of its own before the
// services.
type node struct {
	h               *house
	name            string
	program         string
	address         string // the same from one start to the next
	url             string
	dir             string
	env             []string
	database, redis *faults.Proxy

	cmd    *exec.Cmd
	stderr *buffer
	ended  chan struct{} // closed when the process is gone
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// newNode makes a node that runs a program. It does not start it.
func (h *house) newNode(program string) *node {
	h.t.Helper()
	n := &node{h: h, name: string(rune('A' + len(h.nodes))), program: program, dir: h.t.TempDir(), stderr: new(buffer),
		address: services.Host() + ":8401"}
	n.url = "http://" + n.address
	if h.postgres != nil {
		n.database = faults.NewProxy(h.t, h.postgres.Addr())
		n.env = append(n.env, "DURWARD_DATABASE_URL=postgres://durward@"+n.database.Addr()+"/"+h.database+"?sslmode=disable")
	} else {
		n.env = append(n.env, "DURWARD_DATABASE_URL=sqlite:"+h.sqlite)
	}
	if h.redis != nil {
		n.redis = faults.NewProxy(h.t, h.redis.Addr())
		n.env = append(n.env, "DURWARD_REDIS_URL=redis://"+n.redis.Addr()+"/0")
	}
	h.nodes = append(h.nodes, n)
	return n
}

// start starts the node, again if it was ended, and waits until it listens.
func (n *node) start() {
	t := n.h.t
	t.Helper()
	if err := n.tryStart(); err != nil {
		t.Fatalf("node %s does not start: %v\n%s", n.name, err, n.stderr)
	}
}

func (n *node) tryStart() error {
	cmd := exec.Command(n.program, "serve", "--listen", n.address, "--data", n.dir)
	cmd.Env = append(append([]string(nil), n.h.env...), n.env...)
	cmd.Stderr = n.stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	// The node dies with the thread that started it: with this process, however that
	// ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ready, ended := make(chan error), make(chan struct{}), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "durward: listening on ") {
				close(ready)
			}
		}
		_ = cmd.Wait()
		close(ended)
	}()
	if err := <-started; err != nil {
		return err
	}
	n.cmd, n.ended = cmd, ended
	n.h.t.Cleanup(func() {
		_ = cmd.Process.Kill() // where the test has not ended it
		<-ended
	})
	select {
	case <-ready:
		return nil
	case <-ended:
		return fmt.Errorf("it ended: %s", cmd.ProcessState)
	case <-time.After(patience):
		return errors.New("it does not say that it listens")
	}
}

// kill ends the node as kill -9 does.
func (n *node) kill() {
	_ = n.cmd.Process.Kill()
	<-n.ended
}

// stop ends the node in order.
func (n *node) stop() {
	n.h.t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		n.h.t.Fatal(err)
	}
	select {
	case <-n.ended:
	case <-time.After(patience):
		n.h.t.Fatalf("node %s does not end", n.name)
	}
	if status := n.cmd.ProcessState.ExitCode(); status != 0 {
		n.h.t.Errorf("node %s ended with status %d\n%s", n.name, status, n.stderr)
	}
}

// goroutines ends the node with a dump and returns how many goroutines there were.
func (n *node) goroutines() int {
	n.h.t.Helper()
	before := len(n.stderr.String())
	if err := n.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		n.h.t.Fatal(err)
	}
	select {
	case <-n.ended:
	case <-time.After(patience):
		n.h.t.Fatalf("node %s does not end", n.name)
	}
	dump := n.stderr.String()[before:]
	count := strings.Count(dump, "\ngoroutine ")
	if count == 0 {
		n.h.t.Fatalf("no goroutine in the dump:\n%s", dump)
	}
	return count
}

// descriptors is how many files and connections the node has open.
func (n *node) descriptors() int {
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.cmd.Process.Pid))
	if err != nil {
		n.h.t.Fatal(err)
	}
	return len(open)
}

// memory is what the node takes of the machine's memory, in MiB.
func (n *node) memory() int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", n.cmd.Process.Pid))
	if err != nil {
		n.h.t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		n.h.t.Fatal(err)
	}
	return pages * os.Getpagesize() >> 20
}

// verb runs another verb of the program beside a node and returns what it printed.
func (n *node) verb(stdin string, args ...string) string {
	n.h.t.Helper()
	out, status := n.tryVerb(stdin, args...)
	if status != 0 {
		n.h.t.Fatalf("durward %q: status %d\n%s", args, status, out)
	}
	return out
}

func (n *node) tryVerb(stdin string, args ...string) (printed string, status int) {
	n.h.t.Helper()
	cmd := exec.Command(n.program, args...)
	cmd.Env = append(append([]string{"DURWARD_DATA_DIR=" + n.dir}, n.h.env...), n.env...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); cmd.ProcessState == nil {
		n.h.t.Fatal(err)
	}
	if status = cmd.ProcessState.ExitCode(); status != 0 {
		return out.String() + errs.String(), status
	}
	return out.String(), 0
}

const password = "a long enough password"

// people makes people.
func (h *house) people(count int) (addresses []string) {
	h.t.Helper()
	for i := range count {
		address := fmt.Sprintf("person-%d@example.com", i)
		h.newest().verb(password+"\n", "user", "add", address, "--password-stdin")
		addresses = append(addresses, address)
	}
	return addresses
}

// newest is the node that was added last: its program knows the schema.
func (h *house) newest() *node { return h.nodes[len(h.nodes)-1] }

// sessions is how many sessions of a person are alive.
func (h *house) sessions(address string) int {
	h.t.Helper()
	var shown struct {
		Sessions []json.RawMessage `json:"sessions"`
	}
	h.eventually(func() error {
		printed, status := h.newest().tryVerb("", "user", "show", address, "--json")
		if status != 0 {
			return fmt.Errorf("user show: status %d\n%s", status, printed)
		}
		return json.Unmarshal([]byte(printed), &shown)
	})
	return len(shown.Sessions)
}

// eventually waits until f returns nil.
func (h *house) eventually(f func() error) {
	h.t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	h.t.Fatal(err)
}

// ready waits until every node says that all is well.
func (h *house) ready() {
	h.t.Helper()
	for _, n := range h.nodes {
		h.eventually(func() error {
			a, err := ask(http.DefaultClient, n, "GET", "/readyz", "", "")
			if err == nil && a.status != 200 {
				err = fmt.Errorf("readyz of node %s: %d %s", n.name, a.status, a.body)
			}
			return err
		})
	}
}

// withRedis waits until every node has its Redis.
func (h *house) withRedis() {
	h.t.Helper()
	for _, n := range h.nodes {
		h.eventually(func() error {
			a, err := ask(http.DefaultClient, n, "GET", "/readyz", "", "")
			if err == nil && !bytes.Contains(a.body, []byte(`{"name":"redis","ok":true}`)) {
				err = fmt.Errorf("readyz of node %s: %d %s", n.name, a.status, a.body)
			}
			return err
		})
	}
}

// answer is what a request was answered with, and when it was sent.
type answer struct {
	status int
	header http.Header
	body   []byte
	sent   time.Time
	took   time.Duration
}

func (a answer) member(name string) string {
	var object map[string]any
	_ = json.Unmarshal(a.body, &object) // what is no JSON has no members
	text, _ := object[name].(string)
	return text
}

func (a answer) String() string {
	if code := a.member("code"); code != "" {
		return fmt.Sprint(a.status, " ", code)
	}
	return strconv.Itoa(a.status)
}

// ask sends a request with a JSON body, where there is one, and an access token or
// API key, where there is one.
func ask(client *http.Client, n *node, method, path, token, body string) (a answer, err error) {
	return askAs(client, "", n, method, path, token, body)
}

// askAs is ask by a program of a name.
func askAs(client *http.Client, agent string, n *node, method, path, token, body string) (a answer, err error) {
	r, err := http.NewRequest(method, n.url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if agent != "" {
		r.Header.Set("User-Agent", agent)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	a.sent = time.Now()
	defer func() { a.took = time.Since(a.sent) }()
	res, err := client.Do(r)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	a.status, a.header = res.StatusCode, res.Header
	a.body, err = io.ReadAll(res.Body)
	return a, err
}

// from is a client whose requests come from an address of its own.
func from(t *testing.T, address string) *http.Client {
	transport := &http.Transport{
		MaxIdleConnsPerHost: 64,
		DialContext:         (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}).DialContext,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// session is what a sign-in gave.
type session struct{ access, refresh string }

func (h *house) signIn(n *node, person string) session {
	h.t.Helper()
	a := h.ask(n, "POST", "/api/auth/login", "", fmt.Sprintf(`{"email":%q,"password":%q}`, person, password))
	if a.status != 200 {
		h.t.Fatalf("sign-in of %s at %s: %d %s", person, n.name, a.status, a.body)
	}
	return session{a.member("access_token"), a.member("refresh_token")}
}

// ask sends a request that must be answered.
func (h *house) ask(n *node, method, path, token, body string) answer {
	h.t.Helper()
	a, err := ask(http.DefaultClient, n, method, path, token, body)
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

// refused asks until a token is refused as revoked, and returns how long after a
// moment the last request was sent that was still let in; 0 where none was. A
// token whose key is gone is refused as one that no key signed until it is known
// why, which has to come in time as well.
func (h *house) refused(n *node, token string, since time.Time) (took time.Duration) {
	h.t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		a := h.ask(n, "GET", "/api/profile", token, "")
		switch {
		case a.status == 200:
			took = max(took, a.sent.Sub(since))
		case a.status == 401 && a.member("code") == "TOKEN_REVOKED":
			return took
		case a.status == 401 && a.member("code") == "INVALID_TOKEN" && a.sent.Sub(since) <= bound:
		default:
			h.t.Fatalf("node %s: %d %s, want 200 or 401 TOKEN_REVOKED", n.name, a.status, a.body)
		}
	}
	h.t.Fatalf("node %s never refuses the token", n.name)
	return 0
}
