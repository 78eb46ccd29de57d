package main

import (
	"bufio"
	"bytes"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a test waits for what must come. It is no measure.
const patience = 30 * time.Second

// process is a server that runs as a process of its own.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	url    string
	stdout []string // lines, the ready line last
	stderr *lockedBuffer
	ended  chan struct{}
	err    error // of Wait, once ended is closed
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// program is the program as it is built into the test binary.
func program(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append([]string{beDurward + "=1", "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "DURWARD_PASSWORDS_ARGON2_MEMORY=64"}, env...)
	return cmd
}

// serve starts cmd, a durward serve, and waits until it is ready.
func serve(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, stderr: new(lockedBuffer), ended: make(chan struct{})}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = p.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // where the test has not ended it
		<-p.ended
	})
	lines := bufio.NewScanner(out)
	for p.url == "" && lines.Scan() {
		p.stdout = append(p.stdout, lines.Text())
		p.url, _ = strings.CutPrefix(lines.Text(), "durward: listening on ")
		if !strings.HasPrefix(p.url, "http://") {
			p.url = ""
		}
	}
	go func() {
		rest, _ := io.ReadAll(out)
		if len(rest) > 0 {
			p.stdout = append(p.stdout, string(rest))
		}
		p.err = cmd.Wait()
		close(p.ended)
	}()
	if p.url == "" {
		<-p.ended
		t.Fatalf("the server did not start: %v\n%s", p.err, p.stderr)
	}
	return p
}

// stop ends the server in order and returns its exit status.
func (p *process) stop() int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatal("the server does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// logged waits until the log holds text.
func (p *process) logged(text string) {
	p.t.Helper()
	eventually(p.t, func() error {
		if !strings.Contains(p.stderr.String(), text) {
			return fmt.Errorf("the log has no %q:\n%s", text, p.stderr)
		}
		return nil
	})
}

// eventually waits until f returns nil.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if err = f(); err == nil {
			return
		}
	}
	t.Fatal(err)
}

// answer is what a request was answered with.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) member(name string) string {
	var object map[string]any
	_ = json.Unmarshal(a.body, &object) // what is no JSON has no members
	text, _ := object[name].(string)
	return text
}

// ask sends a request with a JSON body, where there is one, and an access token,
// where there is one.
func (p *process) ask(method, path, token, body string) answer {
	p.t.Helper()
	a, err := ask(http.DefaultClient, p.url, method, path, token, body)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

func ask(client *http.Client, url, method, path, token, body string) (answer, error) {
	r, err := http.NewRequest(method, url+path, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, got}, err
}

func (p *process) signIn(email, password string) answer {
	p.t.Helper()
	a := p.ask("POST", "/api/auth/login", "", fmt.Sprintf(`{"email":%q,"password":%q}`, email, password))
	if a.status != 200 {
		p.t.Fatalf("sign-in of %s: %d %s", email, a.status, a.body)
	}
	return a
}

// command runs another verb and returns what it printed and its status.
func command(t *testing.T, stdin string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := program(nil, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func addPerson(t *testing.T, dir, email, password string) {
	t.Helper()
	if _, stderr, status := command(t, password+"\n", "user", "add", email, "--password-stdin", "--data", dir); status != 0 {
		t.Fatalf("user add: %d %s", status, stderr)
	}
}

const testPassword = "a long enough password"

// The lines that the demo prints work when they are pasted in order.
func TestDemo(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		missing(t, "curl")
	}
	tmp := t.TempDir()
	cmd := program([]string{"TMPDIR=" + tmp}, "serve", "--demo", "--listen", "127.0.0.1:0")
	p := serve(t, cmd)
	folders, err := filepath.Glob(filepath.Join(tmp, "durward-demo-*"))
	if err != nil || len(folders) != 1 {
		t.Fatalf("folders of the demo: %q %v", folders, err)
	}

	script := "set -e\n"
	for i, line := range p.stdout[:len(p.stdout)-1] {
		if strings.HasPrefix(line, "curl ") {
			script += fmt.Sprintf("echo \"== %d\"\n%s\n", i, line)
		} else if line != "" && !strings.HasPrefix(line, "#") {
			t.Errorf("line %q is neither curl nor a comment", line)
		}
	}
	shell := exec.Command("sh", "-c", script)
	shell.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + tmp}
	got, err := shell.Output()
	if err != nil {
		t.Fatalf("the lines do not run: %v\n%s", err, got)
	}
	steps := strings.Split(string(got), "== ")[1:]
	want := [][]string{
		{"HTTP/1.1 401 ", `Www-Authenticate: Bearer realm="127.0.0.1"`, `"code":"AUTHENTICATION_REQUIRED"`},
		{`{"access_token":"eyJ`, `"refresh_token":"dr_`},
		{"HTTP/1.1 200 ", `"email":"ada@example.com"`},
		{`{"access_token":"eyJ`, `"refresh_token":"dr_`},
		{"HTTP/1.1 204 "},
		{"HTTP/1.1 401 ", `"code":"TOKEN_REVOKED"`},
	}
	if len(steps) != len(want) {
		t.Fatalf("%d lines of curl, want %d:\n%s", len(steps), len(want), got)
	}
	for i, step := range steps {
		for _, w := range want[i] {
			if !strings.Contains(step, w) {
				t.Errorf("line %d of curl: no %q in\n%s", i+1, w, step)
			}
		}
	}

	// The administrator, whose password was printed.
	_, after, _ := strings.Cut(strings.Join(p.stdout, "\n"), "root@example.com / ")
	password, _, _ := strings.Cut(after, " ")
	if a := p.signIn("root@example.com", password); a.member("scope") != "profile admin" {
		t.Errorf("the administrator's scope is %q", a.member("scope"))
	}
	// Registration is open.
	if a := p.ask("POST", "/api/auth/register", "", `{"email":"bob@example.com","password":"`+testPassword+`"}`); a.status != 201 {
		t.Errorf("register: %d %s", a.status, a.body)
	}
	if status := p.stop(); status != 0 {
		t.Errorf("status %d, want 0\n%s", status, p.stderr)
	}
	if _, err := os.Stat(folders[0]); !os.IsNotExist(err) {
		t.Errorf("the temporary folder is still there: %v", err)
	}
}

// missing fails where continuous integration runs and skips, loudly, elsewhere.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed", what)
	}
	t.Skipf("SKIPPED: %s is not installed", what)
}

// With a folder, the demo keeps it, and begins again where it ended.
func TestDemoKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "it's a demo")
	var tokens answer
	for i := range 2 {
		p := serve(t, program(nil, "serve", "--demo", "--listen", "127.0.0.1:0", "--data", dir))
		if i == 1 {
			if a := p.ask("GET", "/api/profile", tokens.member("access_token"), ""); a.status != 200 {
				t.Errorf("after a restart: %d %s", a.status, a.body)
			}
		}
		tokens = p.signIn(demoEmail, demoPassword)
		if status := p.stop(); status != 0 {
			t.Errorf("status %d: %s", status, p.stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "master.key")); err != nil {
		t.Error(err)
	}
}

// Without the demo, standard output has the one line, and registration is off.
func TestServePlain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	p := serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", dir))
	if a := p.ask("POST", "/api/auth/register", "", `{"email":"bob@example.com","password":"`+testPassword+`"}`); a.status != 403 || a.member("code") != "FORBIDDEN" {
		t.Errorf("register: %d %s, want 403 FORBIDDEN", a.status, a.body)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if a := p.ask("GET", path, "", ""); a.status != 200 {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if status := p.stop(); status != 0 || len(p.stdout) != 1 {
		t.Errorf("status %d, want 0; standard output %q, want one line", status, p.stdout)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data folder: %v %v", info.Mode(), err)
	}
}

// The key dpop decides whether a proof is looked at.
func TestServeBindsTokens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addPerson(t, dir, "ada@example.com", "correct horse battery staple")
	for _, on := range []bool{false, true} {
		p := serve(t, program([]string{fmt.Sprintf("DURWARD_DPOP=%t", on)}, "serve", "--listen", "127.0.0.1:0", "--data", dir))
		r, err := http.NewRequest("POST", p.url+"/api/auth/login", strings.NewReader(`{"email":"ada@example.com","password":"correct horse battery staple"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("DPoP", "no proof")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil {
			t.Fatal(err)
		}
		want := `"token_type":"Bearer"`
		if on {
			want = `"code":"INVALID_PROOF"`
		}
		if !strings.Contains(string(body), want) || (res.Header.Get("DPoP-Nonce") != "") != on {
			t.Errorf("dpop %t: %s %v %s", on, res.Status, res.Header, body)
		}
		if status := p.stop(); status != 0 {
			t.Errorf("status %d", status)
		}
	}
}

// What the shell does to a person reaches the running server.
func TestShellReachesServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addPerson(t, dir, "ada@example.com", testPassword)
	p := serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", dir))
	tokens := p.signIn("ada@example.com", testPassword)
	access := tokens.member("access_token")
	if a := p.ask("GET", "/api/profile", access, ""); a.status != 200 {
		t.Fatalf("profile: %d %s", a.status, a.body)
	}
	if _, stderr, status := command(t, "", "user", "lock", "ada@example.com", "--data", dir); status != 0 {
		t.Fatalf("user lock: %s", stderr)
	}
	var denied answer
	eventually(t, func() error {
		if denied = p.ask("GET", "/api/profile", access, ""); denied.status == 401 {
			return nil
		}
		return fmt.Errorf("after the lock: %d %s", denied.status, denied.body)
	})
	if got := denied.member("code"); got != "TOKEN_REVOKED" {
		t.Errorf("code %s, want TOKEN_REVOKED", got)
	}
	if a := p.ask("POST", "/api/auth/refresh", "", fmt.Sprintf(`{"refresh_token":%q}`, tokens.member("refresh_token"))); a.member("code") != "SESSION_REVOKED" {
		t.Errorf("refresh: %d %s, want SESSION_REVOKED", a.status, a.body)
	}

	// Why was it? The cause is written down within a moment, and whichever way the
	// refusal is named, it is found.
	id := denied.header.Get("Durward-Denial")
	for _, name := range []string{id, strings.ToLower(id), denied.member("instance")} {
		eventually(t, func() error {
			stdout, stderr, status := command(t, "", "why", name, "--data", dir)
			if status != 0 || !strings.Contains(stdout, "401 TOKEN_REVOKED") || !strings.Contains(stdout, "was ended") {
				return fmt.Errorf("durward why %s: status %d\n%s%s", name, status, stdout, stderr)
			}
			return nil
		})
	}
	if _, stderr, status := command(t, "", "why", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "--data", dir); status != 1 || !strings.Contains(stderr, "hint: ") {
		t.Errorf("a refusal that never was: %d %s", status, stderr)
	}

	// A rotated key signs, and the server's key set has it, without a restart.
	if _, stderr, status := command(t, "", "user", "unlock", "ada@example.com", "--data", dir); status != 0 {
		t.Fatalf("user unlock: %s", stderr)
	}
	if _, stderr, status := command(t, "", "key", "rotate", "--now", "--data", dir); status != 0 {
		t.Fatalf("key rotate: %s", stderr)
	}
	issued, stderr, status := command(t, "", "token", "issue", "--sub", "ada@example.com", "--scope", "profile", "--data", dir)
	if status != 0 {
		t.Fatalf("token issue: %s", stderr)
	}
	eventually(t, func() error {
		if a := p.ask("GET", "/api/profile", strings.TrimSpace(issued), ""); a.status != 200 {
			return fmt.Errorf("with a token of the new key: %d %s", a.status, a.body)
		}
		return nil
	})
	if a := p.signIn("ada@example.com", testPassword); a.member("access_token") == "" {
		t.Error("no token after the rotation")
	}
}

// SIGHUP applies what can be applied, names what cannot, and keeps the old
// configuration where the new one is bad.
func TestReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "durward.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("registration = \"off\"\n")
	p := serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(dir, "data"), "--config", file))
	hangUp := func() {
		t.Helper()
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	register := func() int {
		return p.ask("POST", "/api/auth/register", "", `{"email":"bob@example.com","password":"`+testPassword+`"}`).status
	}
	if got := register(); got != 403 {
		t.Errorf("register: %d, want 403", got)
	}
	write("registration = \"sometimes\"\nlisten = 1\n")
	hangUp()
	p.logged("the old one stays in force")
	p.logged("want one of: off, open")
	if got := register(); got != 403 {
		t.Errorf("register after a bad configuration: %d, want 403", got)
	}
	write("registration = \"open\"\ninsecure_allow_http = true\n[tokens]\naccess_ttl = \"5m\"\n[log]\nlevel = \"debug\"\n[limits]\naccount_failures = 1\nnetwork_failures = 0\n")
	hangUp()
	p.logged("need a restart")
	p.logged(`keys="[insecure_allow_http tokens.access_ttl]"`)
	if got := register(); got != 201 {
		t.Errorf("register: %d, want 201", got)
	}
	if a := p.signIn("bob@example.com", testPassword); !strings.Contains(string(a.body), `"expires_in":900`) && !strings.Contains(string(a.body), `"expires_in":899`) {
		t.Errorf("the life of tokens changed without a restart: %s", a.body)
	}
	wrong := `{"email":"bob@example.com","password":"wrong"}`
	if a := p.ask("POST", "/api/auth/login", "", wrong); a.status != 401 {
		t.Errorf("first wrong password: %d", a.status)
	}
	if a := p.ask("POST", "/api/auth/login", "", wrong); a.status != 429 {
		t.Errorf("second wrong password with a limit of one: %d", a.status)
	}
}

// A request that is under way when the server is told to stop gets its answer.
// Where clients come by https and no proxy is trusted, everybody is refused: that
// is said at the start, and a reload that mends it is heard.
func TestProxyIsMissing(t *testing.T) {
	t.Parallel()
	const warning = "trusted_proxies is empty"
	dir := t.TempDir()
	file := filepath.Join(dir, "durward.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("public_url = \"https://auth.example.com\"\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	p := serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(dir, "data"), "--config", file))
	p.logged(warning)
	proxied := func() int {
		t.Helper()
		r, err := http.NewRequest("GET", p.url+"/api/profile", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Forwarded-Proto", "https")
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		return a.StatusCode
	}
	if got := proxied(); got != 403 {
		t.Errorf("through a proxy that is not trusted: %d, want 403", got)
	}
	write("trusted_proxies = [\"127.0.0.1\"]\n")
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.logged("changed=[trusted_proxies]")
	if got := proxied(); got != 401 {
		t.Errorf("through a trusted proxy: %d, want 401", got)
	}
	if n := strings.Count(p.stderr.String(), warning); n != 1 {
		t.Errorf("warned %d times, want once:\n%s", n, p.stderr)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addPerson(t, dir, "ada@example.com", testPassword)
	p := serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", dir))
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := `{"email":"ada@example.com","password":"` + testPassword + `"}`
	fmt.Fprintf(conn, "POST /api/auth/login HTTP/1.1\r\nHost: durward\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body))
	in := bufio.NewReader(conn)
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("the server does not read the body: %q %v", line, err)
	}
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.logged("stopping")
	eventually(t, func() error {
		other, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err == nil {
			other.Close()
			return fmt.Errorf("new connections are still taken")
		}
		return nil
	})
	if _, err := io.WriteString(conn, body); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("the request under way: %v %v, want 200", res, err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatal("the server does not end")
	}
	if status := p.cmd.ProcessState.ExitCode(); status != 0 {
		t.Errorf("status %d, want 0\n%s", status, p.stderr)
	}
}

// A server that cannot open what its database holds does not start, and says
// what to do.
func TestKeysAreWrong(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		break_ func(t *testing.T, dir string)
		env    []string
		want   []string
	}{
		{"missing", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "master.key")); err != nil {
				t.Fatal(err)
			}
		}, nil, []string{"no master key", "put back the key file"}},
		{"another", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "master.key"), []byte(strings.Repeat("0123456789abcdef", 4)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, nil, []string{"sealed with another master key", "put the right key file back"}},
		{"read by others", func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, "master.key"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, nil, []string{"chmod 600 "}},
		{"cut short", func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, "master.key"), 10); err != nil {
				t.Fatal(err)
			}
		}, nil, []string{"has 10 characters"}},
		{"another in the environment", func(*testing.T, string) {}, []string{"DURWARD_MASTER_KEY=" + strings.Repeat("0123456789abcdef", 4)}, []string{"sealed with another master key"}},
		{"another issuer", func(*testing.T, string) {}, []string{"DURWARD_ISSUER=https://other.example"}, []string{"belongs to the issuer http://127.0.0.1:8401, not to https://other.example"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			addPerson(t, dir, "ada@example.com", testPassword)
			before, err := os.ReadFile(filepath.Join(dir, "master.key"))
			if err != nil {
				t.Fatal(err)
			}
			c.break_(t, dir)
			cmd := program(c.env, "serve", "--listen", "127.0.0.1:0", "--data", dir)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("it started:\n%s", out)
			}
			for _, w := range c.want {
				if !strings.Contains(string(out), w) {
					t.Errorf("no %q in:\n%s", w, out)
				}
			}
			if strings.Contains(string(out), strings.TrimSpace(string(before))) {
				t.Error("the master key is in the output")
			}
		})
	}
}

// Files that are open to others are a warning at the start.
func TestOpenFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "open")
	addPerson(t, dir, "eve@example.com", testPassword)
	for name, mode := range map[string]os.FileMode{"": 0o777, "durward.db": 0o644} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	p := serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", dir))
	p.logged("replace its files; run: chmod 700 " + dir)
	p.logged("other users can read the database " + dir + "/durward.db; run: chmod 600 ")
	p.stop()

	// The demo says that it adds somebody to people who are real.
	p = serve(t, program(nil, "serve", "--demo", "--listen", "127.0.0.1:0", "--data", dir))
	p.logged("has users already; the demo adds ada@example.com")
	p.stop()
	p = serve(t, program(nil, "serve", "--demo", "--listen", "127.0.0.1:0"))
	p.stop()
	if strings.Contains(p.stderr.String(), "WARN") || strings.Contains(p.stderr.String(), "warning") {
		t.Errorf("warnings of a good start:\n%s", p.stderr)
	}
}

// The demo's lines can be pasted where another folder is the current one.
func TestDemoElsewhere(t *testing.T) {
	t.Parallel()
	cmd := program(nil, "serve", "--demo", "--listen", "127.0.0.1:0", "--data", "kept")
	cmd.Dir = t.TempDir()
	p := serve(t, cmd)
	defer p.stop()
	where, err := filepath.EvalSymlinks(cmd.Dir)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(p.stdout, "\n")
	if n := strings.Count(text, "kept"); n == 0 || n != strings.Count(text, where+"/kept") {
		t.Errorf("not every path of the lines is whole:\n%s", text)
	}
}

// A database that a newer program made, or that cannot be read just now, is not
// damaged: nobody is told to restore a backup over it.
func TestCheckWithoutDamage(t *testing.T) {
	t.Parallel()
	newer, unreadable := t.TempDir(), t.TempDir()
	for _, dir := range []string{newer, unreadable} {
		addPerson(t, dir, "ada@example.com", testPassword)
	}
	db, err := sql.Open("sqlite", filepath.Join(newer, "durward.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Close(), os.Remove(filepath.Join(unreadable, "durward.db")), os.Mkdir(filepath.Join(unreadable, "durward.db"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{newer: "made by a newer program", unreadable: "is a directory"} {
		_, stderr, status := command(t, "", "db", "check", "--data", dir)
		if status != exitUnreachable || !strings.Contains(stderr, want) || strings.Contains(stderr, "restore the last backup") {
			t.Errorf("status %d, want %d:\n%s", status, exitUnreachable, stderr)
		}
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, stderr, status := command(t, "", "serve", "--listen", l.Addr().String(), "--data", t.TempDir())
	if status != exitUnreachable || !strings.Contains(stderr, "address already in use") || !strings.Contains(stderr, "hint: ") {
		t.Errorf("status %d, want %d:\n%s", status, exitUnreachable, stderr)
	}
}
