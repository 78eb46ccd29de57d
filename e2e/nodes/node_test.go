// Package nodes tests several real servers over one database while the network, the database, Redis
// and the disk fail. docs/reliability.md has the results.
package nodes

import (
	"bytes"
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
	"syscall"
	"testing"
	"time"

	"github.com/durward-auth/durward/e2e/executable"
	"github.com/durward-auth/durward/internal/faults"
	"github.com/durward-auth/durward/internal/services"
)

// rounds returns full if the environment variable SOAK is set, else a tenth of it.
func rounds(full int) int {
	if os.Getenv("SOAK") != "" {
		return full
	}
	return max(1, full/10)
}

func TestMain(m *testing.M) { os.Exit(executable.Run(m)) }

// cluster holds the nodes of one test and the services that they share.
type cluster struct {
	t        *testing.T
	program  string
	env      []string // environment of all nodes and verbs
	sqlite   string   // path of the database; empty on Postgres
	postgres *services.Postgres
	pooler   *services.PgBouncer // nil without one
	database string              // name of the Postgres database
	redis    *services.Redis
	nodes    []*node
}

// clusterConfig describes a cluster.
type clusterConfig struct {
	nodes    int
	postgres bool     // Postgres instead of one SQLite file
	pooler   bool     // a transaction pooler before Postgres; requires postgres
	redis    bool     // requires postgres
	disk     string   // folder of the SQLite file or of the Postgres data; a new one if empty
	env      []string // in addition to the common environment
}

// newCluster starts the services and nodes.
func newCluster(t *testing.T, p clusterConfig) *cluster {
	t.Helper()
	path, err := executable.Build()
	if err != nil {
		t.Fatal(err)
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	cl := &cluster{t: t, program: path, env: append([]string{
		"PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "DURWARD_MASTER_KEY=" + hex.EncodeToString(key),
		"DURWARD_PASSWORDS_ARGON2_MEMORY=64", "DURWARD_LIMITS_NETWORK_FAILURES=0",
	}, p.env...)}
	if p.postgres {
		if p.disk == "" {
			cl.postgres = services.NewPostgres(t)
		} else {
			cl.postgres = services.NewPostgresIn(t, p.disk, "max_wal_size=32MB", "min_wal_size=32MB")
		}
		url := cl.postgres.Database(t)
		cl.database = url[strings.LastIndex(url, "/")+1 : strings.Index(url, "?")]
	} else {
		if p.disk == "" {
			p.disk = t.TempDir()
		}
		cl.sqlite = filepath.Join(p.disk, "durward.db")
	}
	if p.redis {
		cl.redis = services.NewRedis(t)
	}
	if p.pooler {
		cl.pooler = services.NewPgBouncer(t, cl.postgres.Addr())
		migrate := exec.Command(path, "db", "migrate", "--data", t.TempDir())
		migrate.Env = append(cl.env[:len(cl.env):len(cl.env)], "DURWARD_DATABASE_URL="+cl.postgres.URL(cl.database))
		if out, err := migrate.CombinedOutput(); err != nil {
			t.Fatalf("db migrate: %v\n%s", err, out)
		}
		cl.env = append(cl.env, "DURWARD_DATABASE_POOL=transaction")
	}
	for range p.nodes {
		cl.newNode(path).start()
	}
	return cl
}

// node is one server process, with its own proxies before the services.
type node struct {
	cl              *cluster
	name            string
	program         string
	address         string // the same after a restart
	url             string
	dir             string
	env             []string
	database, redis *faults.Proxy

	cmd    *exec.Cmd
	stderr *executable.Buffer
	ended  <-chan struct{} // closed when the process has ended
}

// newNode adds a node that runs a program, without starting it.
func (cl *cluster) newNode(program string) *node {
	cl.t.Helper()
	n := &node{cl: cl, name: string(rune('A' + len(cl.nodes))), program: program, dir: cl.t.TempDir(),
		stderr:  new(executable.Buffer),
		address: services.Host() + ":8401"}
	n.url = "http://" + n.address
	if cl.postgres != nil {
		server := cl.postgres.Addr()
		if cl.pooler != nil {
			server = cl.pooler.Addr()
		}
		n.database = faults.NewProxy(cl.t, server)
		n.env = append(n.env, "DURWARD_DATABASE_URL=postgres://durward@"+n.database.Addr()+"/"+cl.database+"?sslmode=disable")
	} else {
		n.env = append(n.env, "DURWARD_DATABASE_URL=sqlite:"+cl.sqlite)
	}
	if program == cl.program { // an old version does not know the setting
		n.env = append(n.env, "DURWARD_LIMITS_NETWORK_HASHES=0")
	}
	if cl.redis != nil {
		n.redis = faults.NewProxy(cl.t, cl.redis.Addr())
		n.env = append(n.env, "DURWARD_REDIS_URL=redis://"+n.redis.Addr()+"/0")
	}
	cl.nodes = append(cl.nodes, n)
	return n
}

// start starts or restarts the node and waits until it listens.
func (n *node) start() {
	t := n.cl.t
	t.Helper()
	if err := n.tryStart(); err != nil {
		t.Fatalf("node %s does not start: %v\n%s", n.name, err, n.stderr)
	}
}

func (n *node) tryStart() (err error) {
	cmd := exec.Command(n.program, "serve", "--listen", n.address, "--data", n.dir)
	cmd.Env = append(append([]string(nil), n.cl.env...), n.env...)
	cmd.Stderr = n.stderr
	n.cmd = cmd
	_, n.ended, err = executable.Serve(n.cl.t, cmd)
	return err
}

// kill ends the node with SIGKILL.
func (n *node) kill() {
	_ = n.cmd.Process.Kill()
	<-n.ended
}

// stop ends the node with SIGTERM.
func (n *node) stop() {
	n.cl.t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		n.cl.t.Fatal(err)
	}
	select {
	case <-n.ended:
	case <-time.After(executable.WaitLimit):
		n.cl.t.Fatalf("node %s does not end", n.name)
	}
	if status := n.cmd.ProcessState.ExitCode(); status != 0 {
		n.cl.t.Errorf("node %s ended with status %d\n%s", n.name, status, n.stderr)
	}
}

// goroutines ends the node with a stack dump and returns the number of goroutines in it.
func (n *node) goroutines() int {
	n.cl.t.Helper()
	before := len(n.stderr.String())
	if err := n.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		n.cl.t.Fatal(err)
	}
	select {
	case <-n.ended:
	case <-time.After(executable.WaitLimit):
		n.cl.t.Fatalf("node %s does not end", n.name)
	}
	dump := n.stderr.String()[before:]
	count := strings.Count(dump, "\ngoroutine ")
	if count == 0 {
		n.cl.t.Fatalf("no goroutine in the dump:\n%s", dump)
	}
	return count
}

// descriptors returns the number of open files and connections of the node.
func (n *node) descriptors() int {
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.cmd.Process.Pid))
	if err != nil {
		n.cl.t.Fatal(err)
	}
	return len(open)
}

// memory returns the resident memory of the node in MiB.
func (n *node) memory() int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", n.cmd.Process.Pid))
	if err != nil {
		n.cl.t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(text))[1])
	if err != nil {
		n.cl.t.Fatal(err)
	}
	return pages * os.Getpagesize() >> 20
}

// verb runs another verb of the program with the node's configuration and returns its output. It runs it
// again, for up to a minute, while the database does not answer the busy machine in time.
func (n *node) verb(stdin string, args ...string) string {
	n.cl.t.Helper()
	const unreachable = 3 // the exit status for a database that cannot be used
	out, status := n.tryVerb(stdin, args...)
	for deadline := time.Now().Add(time.Minute); status == unreachable && time.Now().Before(deadline); {
		out, status = n.tryVerb(stdin, args...)
	}
	if status != 0 {
		n.cl.t.Fatalf("durward %q: status %d\n%s", args, status, out)
	}
	return out
}

func (n *node) tryVerb(stdin string, args ...string) (printed string, status int) {
	n.cl.t.Helper()
	cmd := exec.Command(n.program, args...)
	cmd.Env = append(append([]string{"DURWARD_DATA_DIR=" + n.dir}, n.cl.env...), n.env...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); cmd.ProcessState == nil {
		n.cl.t.Fatal(err)
	}
	if status = cmd.ProcessState.ExitCode(); status != 0 {
		return out.String() + errs.String(), status
	}
	return out.String(), 0
}

const password = "a long enough password"

// users adds users and returns their addresses.
func (cl *cluster) users(count int) (addresses []string) {
	cl.t.Helper()
	for i := range count {
		address := fmt.Sprintf("user-%d@example.com", i)
		cl.newest().verb(password+"\n", "user", "add", address, "--password-stdin")
		addresses = append(addresses, address)
	}
	return addresses
}

// newest returns the node added last. Its program supports the current schema.
func (cl *cluster) newest() *node { return cl.nodes[len(cl.nodes)-1] }

// countSessions returns the number of live sessions of a user.
func (cl *cluster) countSessions(address string) int {
	cl.t.Helper()
	var output struct {
		Sessions []json.RawMessage `json:"sessions"`
	}
	cl.eventually(func() error {
		printed, status := cl.newest().tryVerb("", "user", "show", address, "--json")
		if status != 0 {
			return fmt.Errorf("user show: status %d\n%s", status, printed)
		}
		return json.Unmarshal([]byte(printed), &output)
	})
	return len(output.Sessions)
}

// eventually repeats check until it returns nil.
func (cl *cluster) eventually(check func() error) {
	cl.t.Helper()
	var err error
	for end := time.Now().Add(executable.WaitLimit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if err = check(); err == nil {
			return
		}
	}
	cl.t.Fatal(err)
}

// waitUntilReady waits until /readyz of every node is 200.
func (cl *cluster) waitUntilReady() {
	cl.t.Helper()
	for _, n := range cl.nodes {
		cl.eventually(func() error {
			a, err := ask(http.DefaultClient, n, "GET", "/readyz", "", "")
			if err == nil && a.status != 200 {
				err = fmt.Errorf("readyz of node %s: %d %s", n.name, a.status, a.body)
			}
			return err
		})
	}
}

// waitForRedis waits until every node is connected to Redis.
func (cl *cluster) waitForRedis() {
	cl.t.Helper()
	for _, n := range cl.nodes {
		cl.eventually(func() error {
			a, err := ask(http.DefaultClient, n, "GET", "/readyz", "", "")
			if err == nil && !bytes.Contains(a.body, []byte(`{"name":"redis","ok":true}`)) {
				err = fmt.Errorf("readyz of node %s: %d %s", n.name, a.status, a.body)
			}
			return err
		})
	}
}

// answer is a response with the time of its request.
type answer struct {
	status int
	header http.Header
	body   []byte
	sent   time.Time
	took   time.Duration
}

// member returns a string member of a JSON body, or "".
func (a answer) member(name string) string {
	var object map[string]any
	_ = json.Unmarshal(a.body, &object) // a body that is not JSON has no members
	text, _ := object[name].(string)
	return text
}

func (a answer) String() string {
	if code := a.member("code"); code != "" {
		return fmt.Sprint(a.status, " ", code)
	}
	return strconv.Itoa(a.status)
}

// ask sends a request with an optional JSON body and an optional access token or API key.
func ask(client *http.Client, n *node, method, path, token, body string) (a answer, err error) {
	return askAs(client, "", n, method, path, token, body)
}

// askAs is like ask, with a user agent.
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

// clientFrom returns a client that connects from the given address.
func clientFrom(t *testing.T, address string) *http.Client {
	client := executable.ClientFrom(address)
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// session holds the tokens of a sign-in.
type session struct{ access, refresh string }

func (cl *cluster) signIn(n *node, user string) session {
	cl.t.Helper()
	a := cl.ask(n, "POST", "/api/auth/login", "", fmt.Sprintf(`{"email":%q,"password":%q}`, user, password))
	if a.status != 200 {
		cl.t.Fatalf("sign-in of %s at %s: %d %s", user, n.name, a.status, a.body)
	}
	return session{a.member("access_token"), a.member("refresh_token")}
}

// ask sends a request; the test fails without a response.
func (cl *cluster) ask(n *node, method, path, token, body string) answer {
	cl.t.Helper()
	a, err := ask(http.DefaultClient, n, method, path, token, body)
	if err != nil {
		cl.t.Fatal(err)
	}
	return a
}

// waitForRefusal sends a token until it is refused as revoked. It returns the time from since to
// the last accepted request, 0 without one. A token of a withdrawn key may get INVALID_TOKEN for up
// to maxDelay, until the node has read the list of revocations.
func (cl *cluster) waitForRefusal(n *node, token string, since time.Time) (took time.Duration) {
	cl.t.Helper()
	for end := time.Now().Add(executable.WaitLimit); time.Now().Before(end); {
		a := cl.ask(n, "GET", "/api/profile", token, "")
		switch {
		case a.status == 200:
			took = max(took, a.sent.Sub(since))
		case a.status == 401 && a.member("code") == "TOKEN_REVOKED":
			return took
		case a.status == 401 && a.member("code") == "INVALID_TOKEN" && a.sent.Sub(since) <= maxDelay:
		default:
			cl.t.Fatalf("node %s: got %d %s, want 200 or 401 TOKEN_REVOKED", n.name, a.status, a.body)
		}
	}
	cl.t.Fatalf("node %s: the revoked token is still accepted after %s", n.name, executable.WaitLimit)
	return 0
}
