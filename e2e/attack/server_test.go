// Package attack attacks real servers within bounds: it guesses secrets at every URL that judges
// one, from changing networks, and measures how many guesses were judged, the processor time and
// memory that they cost, and the response times of other clients meanwhile. It prints a table of
// these figures.
package attack

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward/e2e/executable"
	"github.com/durward-auth/durward/internal/services"
)

// long reports whether each attack lasts for length: with ATTACK or SOAK in the environment.
// Otherwise it ends after its number of guesses.
var long = os.Getenv("ATTACK") != "" || os.Getenv("SOAK") != ""

// length is the duration of an attack in a long run: that in ATTACK, such as 20s, or a minute.
var length = func() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("ATTACK")); err == nil {
		return d
	}
	return time.Minute
}()

func TestMain(m *testing.M) {
	status := executable.Run(m)
	printFigures(os.Stdout)
	os.Exit(status)
}

const password = "a long enough password"

// hashMemory is the memory of one password hash in KiB: the default in a long run, less in a short
// one.
var hashMemory = func() int {
	if long {
		return defaultMemory
	}
	return 8192
}()

// defaultMemory is the server's default of passwords.argon2_memory.
const defaultMemory = 19456

// cluster holds the servers of one test. They have the default limits, open registration and Basic.
type cluster struct {
	t       *testing.T // the running subtest
	whole   *testing.T // the test that ends the nodes
	program string
	env     []string // of all servers and verbs
	nodes   []*node
	memory  int // of a password hash, in KiB
	users   atomic.Int64
	base    int           // resident memory of one node at rest, in KiB
	hash    time.Duration // processor time of one refused sign-in with a hash
}

// storage describes the nodes of a cluster and their common services.
type storage struct {
	name     string
	nodes    int
	postgres bool // instead of SQLite
	redis    bool
	memory   int      // of a password hash, in KiB; 0 means hashMemory
	env      []string // in addition to the common environment
}

func newCluster(t *testing.T, s storage) *cluster {
	t.Helper()
	path, err := executable.Build()
	if err != nil {
		t.Fatal(err)
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	cl := &cluster{t: t, whole: t, program: path, memory: cmp.Or(s.memory, hashMemory)}
	cl.env = []string{
		"PATH=" + os.Getenv("PATH"),
		"DURWARD_MASTER_KEY=" + hex.EncodeToString(key),
		"DURWARD_REGISTRATION=open",
		"DURWARD_BASIC=true",
		fmt.Sprintf("DURWARD_PASSWORDS_ARGON2_MEMORY=%d", cl.memory),
		"DURWARD_LOG_LEVEL=warn",
	}
	if s.postgres {
		cl.env = append(cl.env, "DURWARD_DATABASE_URL="+services.Database(t))
	} else {
		cl.env = append(cl.env, "DURWARD_DATABASE_URL=sqlite:"+filepath.Join(t.TempDir(), "durward.db"))
	}
	if s.redis {
		cl.env = append(cl.env, "DURWARD_REDIS_URL="+services.NewRedis(t).URL())
	}
	cl.env = append(cl.env, s.env...)
	for range s.nodes {
		n := &node{cl: cl, address: services.Host() + ":8401", dir: t.TempDir()}
		n.url = "http://" + n.address
		n.start()
		cl.nodes = append(cl.nodes, n)
	}
	cl.base = cl.nodes[0].memory("VmRSS")
	cl.calibrate()
	return cl
}

// calibrate measures the processor time of a hash.
func (cl *cluster) calibrate() {
	cl.t.Helper()
	const count = 10
	before := cl.nodes[0].cpu()
	for i := range count {
		g := signIn(fmt.Sprintf("unknown-%d@example.com", i), "calibration")
		g.network = newNetwork()
		if a, err := g.send(cl); err != nil || a.String() != "401 INVALID_CREDENTIALS" {
			cl.t.Fatalf("sign-in of an unknown user: got %s, %v, want 401 INVALID_CREDENTIALS", a, err)
		}
	}
	cl.hash = max((cl.nodes[0].cpu()-before)/count, time.Millisecond)
}

// user adds a user and returns the address.
func (cl *cluster) user() string {
	cl.t.Helper()
	address := fmt.Sprintf("user-%d@example.com", cl.users.Add(1))
	add := exec.Command(cl.program, "user", "add", address, "--password-stdin")
	add.Env = append([]string{"DURWARD_DATA_DIR=" + cl.nodes[0].dir}, cl.env...)
	add.Stdin = strings.NewReader(password + "\n")
	if out, err := add.CombinedOutput(); err != nil {
		cl.t.Fatalf("durward user add: %v\n%s", err, out)
	}
	return address
}

// node is one server process.
type node struct {
	cl      *cluster
	address string // the same after a restart
	url     string
	dir     string

	cmd   *exec.Cmd
	log   executable.Buffer
	ended <-chan struct{} // closed when the process has ended
}

// alone returns how often a node began to count alone because Redis did not answer in time. On a
// busy machine that happens.
func (cl *cluster) alone() (count int) {
	for _, n := range cl.nodes {
		count += strings.Count(n.log.String(), "Redis does not answer")
	}
	return count
}

// start starts or restarts the node and waits until it listens.
func (n *node) start() {
	n.cl.t.Helper()
	cmd := exec.Command(n.cl.program, "serve", "--listen", n.address, "--data", n.dir)
	cmd.Env = n.cl.env
	cmd.Stderr = &n.log
	n.cmd = cmd
	var err error
	if _, n.ended, err = executable.Serve(n.cl.whole, cmd); err != nil {
		n.cl.t.Fatalf("node does not start: %v\n%s", err, n.log.String())
	}
}

// restart kills all nodes with SIGKILL and starts them again.
func (cl *cluster) restart() {
	for _, n := range cl.nodes {
		_ = n.cmd.Process.Kill()
		<-n.ended
	}
	for _, n := range cl.nodes {
		n.start()
	}
}

// cpu returns the processor time that the process has used, to 10 ms.
func (n *node) cpu() time.Duration {
	text := n.proc("stat")
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	var ticks int64
	for _, field := range fields[11:13] { // fields 14 and 15 of proc(5): utime and stime
		number, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			n.cl.t.Fatalf("stat of the process: %q: %v", text, err)
		}
		ticks += number
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// memory returns a size from the status of the process in KiB: VmRSS, or VmHWM, its peak.
func (n *node) memory(name string) int {
	for line := range strings.Lines(n.proc("status")) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			size, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
			if err != nil {
				n.cl.t.Fatal(err)
			}
			return size
		}
	}
	n.cl.t.Fatalf("status of the process has no %s", name)
	return 0
}

// resetPeak makes VmHWM count from now.
func (n *node) resetPeak() {
	if err := os.WriteFile(n.procFile("clear_refs"), []byte("5"), 0); err != nil {
		n.cl.t.Fatal(err)
	}
}

func (n *node) procFile(name string) string {
	return fmt.Sprintf("/proc/%d/%s", n.cmd.Process.Pid, name)
}

func (n *node) proc(name string) string {
	text, err := os.ReadFile(n.procFile(name))
	if err != nil {
		n.cl.t.Fatal(err)
	}
	return string(text)
}

var networks atomic.Uint32

// newNetwork returns an IPv4 address of 127/8 that was not used before. The server counts each IPv4
// address as a network.
func newNetwork() string {
	n := networks.Add(1)
	return fmt.Sprintf("127.%d.%d.%d", 64+n>>16, n>>8&255, n&255)
}

// guess is one request.
type guess struct {
	node         int
	network      string // source address
	method, path string
	body         string
	header       map[string]string
}

// answer is a response.
type answer struct {
	status int
	header http.Header
	body   map[string]any
}

func (a answer) text(name string) string {
	text, _ := a.body[name].(string)
	return text
}

func (a answer) String() string {
	if code := a.text("code"); code != "" {
		return fmt.Sprint(a.status, " ", code)
	}
	return strconv.Itoa(a.status)
}

// send sends the guess over a connection of its own.
func (g guess) send(cl *cluster) (answer, error) {
	client := executable.ClientFrom(g.network)
	defer client.CloseIdleConnections()
	return g.sendBy(client, cl)
}

func (g guess) sendBy(client *http.Client, cl *cluster) (a answer, err error) {
	n := cl.nodes[g.node]
	r, err := http.NewRequest(g.method, n.url+g.path, strings.NewReader(g.body))
	if err != nil {
		return a, err
	}
	if g.body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range g.header {
		r.Header.Set(name, value)
	}
	res, err := client.Do(r)
	if err != nil {
		return a, err
	}
	defer res.Body.Close()
	a.status, a.header = res.StatusCode, res.Header
	body, err := io.ReadAll(res.Body)
	_ = json.Unmarshal(body, &a.body) // a body that is not JSON has no members
	return a, err
}

// mustSend sends a request that prepares an attack. The test fails unless the response has the
// status.
func (cl *cluster) mustSend(g guess, status int) answer {
	cl.t.Helper()
	if g.network == "" {
		g.network = newNetwork()
	}
	a, err := g.send(cl)
	if err != nil || a.status != status {
		cl.t.Fatalf("%s %s: got %s, %v, want %d", g.method, g.path, a, err, status)
	}
	return a
}

func object(members ...string) string {
	m := make(map[string]string)
	for i := 0; i < len(members); i += 2 {
		m[members[i]] = members[i+1]
	}
	text, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// signIn returns the request of a sign-in.
func signIn(email, password string) guess {
	return guess{method: "POST", path: "/api/auth/login", body: object("email", email, "password", password)}
}

// with adds a header field.
func (g guess) with(name, value string) guess {
	header := map[string]string{name: value}
	for name, value := range g.header {
		header[name] = value
	}
	g.header = header
	return g
}

// bearer adds an access token.
func (g guess) bearer(token string) guess { return g.with("Authorization", "Bearer "+token) }
