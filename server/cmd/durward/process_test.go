package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/durward-auth/durward/server/internal/testkit"
)

// patience is the time limit for events that must happen. It is no measure of speed.
const patience = 30 * time.Second

// process is a durward serve in a process of its own.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	url    string
	stdout []string // lines; the last one reports the server as ready
	stderr *testkit.Log
	ended  chan struct{}
	err    error // of Wait, set before ended is closed
}

// program returns a command that runs durward from the test binary.
func program(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append([]string{beDurward + "=1", "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "DURWARD_PASSWORDS_ARGON2_MEMORY=64"}, env...)
	return cmd
}

// serve starts cmd, which runs durward serve, and waits until it is ready.
func serve(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, stderr: new(testkit.Log), ended: make(chan struct{})}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = p.stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // no effect if the test stopped it
		<-p.ended
	})
	lines := bufio.NewScanner(out)
	for p.url == "" && lines.Scan() {
		p.stdout = append(p.stdout, lines.Text())
		p.url, _ = strings.CutPrefix(lines.Text(), "durward: listening on ")
		if !strings.HasPrefix(p.url, "http://") && !strings.HasPrefix(p.url, "unix:") {
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

// stop sends SIGTERM to the server and returns its exit status.
func (p *process) stop() int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatal("the server still runs after SIGTERM")
	}
	return p.cmd.ProcessState.ExitCode()
}

// logged waits until the log contains text.
func (p *process) logged(text string) {
	p.t.Helper()
	eventually(p.t, func() error {
		if !strings.Contains(p.stderr.String(), text) {
			return fmt.Errorf("the log does not contain %q:\n%s", text, p.stderr)
		}
		return nil
	})
}

// eventually calls f until it returns nil.
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

// answer is a response.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// member returns a string member of a JSON body, "" if there is none.
func (a answer) member(name string) string {
	var object map[string]any
	_ = json.Unmarshal(a.body, &object) // a body of another type has no members
	text, _ := object[name].(string)
	return text
}

// ask sends a request. Empty token and body are left out.
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

// command runs a verb and returns its output and exit status.
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

// enrol sets up an authenticator app of a user. It returns its seed, the time of the code that confirmed it,
// and an access token.
func (p *process) enrol(email string) (seed string, confirmed time.Time, token string) {
	p.t.Helper()
	signed := p.signIn(email, testPassword).member("access_token")
	seed = p.ask("POST", "/api/auth/mfa/totp", signed, "").member("secret")
	confirmed = time.Now()
	a := p.ask("POST", "/api/auth/mfa/totp/confirm", signed, fmt.Sprintf(`{"code":%q}`, codeAt(p.t, seed, confirmed)))
	if token = a.member("access_token"); token == "" {
		p.t.Fatalf("confirm: %d %s", a.status, a.body)
	}
	return seed, confirmed, token
}

// half signs in with the password of a user who has a second factor, and returns the mfa_token.
func (p *process) half(email string) string {
	p.t.Helper()
	a := p.ask("POST", "/api/auth/login", "", fmt.Sprintf(`{"email":%q,"password":%q}`, email, testPassword))
	token := a.member("mfa_token")
	if a.status != 401 || token == "" {
		p.t.Fatalf("login: %d %s, want an mfa_token", a.status, a.body)
	}
	return token
}

// codeAt returns the code of an authenticator app at a time.
func codeAt(t *testing.T, seed string, at time.Time) string {
	t.Helper()
	code, err := totp.GenerateCode(seed, at)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// nextCode returns a code of a later step than the one of used, which a server accepts now.
func nextCode(t *testing.T, seed string, used time.Time) string {
	t.Helper()
	at := used.Add(30 * time.Second)
	if now := time.Now(); now.After(at) {
		at = now
	}
	return codeAt(t, seed, at)
}

// addUser adds a user with durward user add.
func addUser(t *testing.T, dir, email, password string) {
	t.Helper()
	if _, stderr, status := command(t, password+"\n", "user", "add", email, "--password-stdin", "--data", dir); status != 0 {
		t.Fatalf("user add: %d %s", status, stderr)
	}
}

const testPassword = "a long enough password"

// missing fails the test in continuous integration and skips it elsewhere.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed", what)
	}
	t.Skipf("SKIPPED: %s is not installed", what)
}
