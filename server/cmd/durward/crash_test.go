package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/testkit"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// crashRounds is the number of kills; the variable CRASH_ROUNDS overrides it.
const crashRounds = 20

// build builds the real binary. With the race detector the database driver is too slow to be killed
// during many writes, and memory use means nothing.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "durward")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return binary
}

// The server is killed while sixteen clients refresh. After a restart each client continues with the
// token it has, also if the last response was lost. No session is lost or duplicated.
func TestCrash(t *testing.T) {
	t.Parallel()
	rounds := crashRounds
	if n, err := strconv.Atoi(os.Getenv("CRASH_ROUNDS")); err == nil {
		rounds = n
	}
	binary := build(t)
	dir := t.TempDir()
	addUser(t, dir, "ada@example.com", testPassword)
	start := func() *process {
		cmd := exec.Command(binary, "serve", "--listen", "127.0.0.1:0", "--data", dir)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "DURWARD_PASSWORDS_ARGON2_MEMORY=64"}
		return serve(t, cmd)
	}

	const clients = 16
	held := make([]string, clients)
	p := start()
	for i := range held {
		held[i] = p.signIn("ada@example.com", testPassword).member("refresh_token")
	}
	refresh := func(i int) (answer, error) {
		a, err := ask(http.DefaultClient, p.url, "POST", "/api/auth/refresh", "", fmt.Sprintf(`{"refresh_token":%q}`, held[i]))
		if err == nil && a.status == 200 {
			if held[i] = a.member("refresh_token"); held[i] == "" {
				return a, fmt.Errorf("no refresh token in %s", a.body)
			}
		}
		return a, err
	}
	var moves atomic.Int64
	for round := range rounds {
		var all sync.WaitGroup
		killed := make(chan struct{})
		for i := range held {
			all.Go(func() {
				for {
					a, err := refresh(i)
					switch {
					case err != nil:
						select {
						case <-killed: // the response is lost
						case <-time.After(patience):
							t.Errorf("client %d: %v", i, err)
						}
						return
					case a.status != 200:
						t.Errorf("round %d, client %d: %d %s", round, i, a.status, a.body)
						return
					}
					moves.Add(1)
				}
			})
		}
		before := moves.Load()
		eventually(t, func() error {
			if n := moves.Load() - before; n < 200 {
				return fmt.Errorf("%d refreshes", n)
			}
			return nil
		})
		time.Sleep(rand.N(50 * time.Millisecond)) // to hit different moments of a commit
		if err := p.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		close(killed)
		<-p.ended
		all.Wait()
		http.DefaultClient.CloseIdleConnections()

		p = start()
		for i := range held {
			if a, err := refresh(i); err != nil || a.status != 200 {
				t.Errorf("round %d: client %d cannot continue: %v %d %s", round, i, err, a.status, a.body)
			}
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	stdout, stderr, status := command(t, "", "user", "show", "ada@example.com", "--json", "--data", dir)
	var shown userJSON
	if err := json.Unmarshal([]byte(stdout), &shown); err != nil || status != 0 {
		t.Fatalf("user show: %v %d %s", err, status, stderr)
	}
	if len(shown.Sessions) != clients {
		t.Errorf("%d sessions, want %d", len(shown.Sessions), clients)
	}
	if _, stderr, status := command(t, "", "db", "check", "--data", dir); status != 0 {
		t.Errorf("db check: %s", stderr)
	}
	t.Logf("%d refreshes, %d kills", moves.Load(), rounds)
}

// The server is killed while twenty requests finish one sign-in with one code of a second factor. After a
// restart they try again: the sign-in succeeds once in all, and the code is spent once.
func TestCrashAtSecondFactor(t *testing.T) {
	t.Parallel()
	binary, dir := build(t), t.TempDir()
	addUser(t, dir, "ada@example.com", testPassword)
	start := func() *process {
		cmd := exec.Command(binary, "serve", "--listen", "127.0.0.1:0", "--data", dir)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "DURWARD_PASSWORDS_ARGON2_MEMORY=64"}
		return serve(t, cmd)
	}
	p := start()
	seed, confirmed, token := p.enrol("ada@example.com")
	var recovery struct{ Codes []string }
	if a := p.ask("POST", "/api/auth/mfa/recovery-codes", token, ""); json.Unmarshal(a.body, &recovery) != nil || len(recovery.Codes) != 10 {
		t.Fatalf("recovery codes: %d %s", a.status, a.body)
	}
	sessions := func() int {
		stdout, stderr, status := command(t, "", "user", "show", "ada@example.com", "--json", "--data", dir)
		var shown userJSON
		if err := json.Unmarshal([]byte(stdout), &shown); err != nil || status != 0 {
			t.Fatalf("user show: %v %d %s", err, status, stderr)
		}
		return len(shown.Sessions)
	}
	before := sessions()
	for round := range len(recovery.Codes) {
		body := fmt.Sprintf(`{"mfa_token":%q,"method":"recovery_code","code":%q}`, p.half("ada@example.com"), recovery.Codes[round])
		if round == 0 {
			body = fmt.Sprintf(`{"mfa_token":%q,"method":"totp","code":%q}`, p.half("ada@example.com"), nextCode(t, seed, confirmed))
		}
		p = spendOnce(t, p, start, round, "/api/auth/login/mfa", body, 200, 401)
		if n := sessions(); n != before+round+1 {
			t.Fatalf("round %d: %d sessions, want %d", round, n, before+round+1)
		}
	}
	if _, stderr, status := command(t, "", "db", "check", "--data", dir); status != 0 {
		t.Errorf("db check: %s", stderr)
	}
}

// A link of a mail and the response of a passkey work once, whenever the server is killed.
func TestCrashAtLinkAndPasskey(t *testing.T) {
	t.Parallel()
	binary, dir := build(t), t.TempDir()
	addUser(t, dir, "ada@example.com", testPassword)
	addUser(t, dir, "bob@example.com", testPassword)
	start := func() *process {
		cmd := exec.Command(binary, "serve", "--listen", "127.0.0.1:0", "--data", dir)
		cmd.Env = []string{
			"PATH=" + os.Getenv("PATH"), "DURWARD_PASSWORDS_ARGON2_MEMORY=64", "DURWARD_PUBLIC_URL=https://auth.example.com",
			"DURWARD_ISSUER=http://127.0.0.1:8401", // that of the database
		}
		return serve(t, cmd)
	}
	p := start()
	options := func(path, token string) []byte {
		var begun api.PasskeyOptions
		if a := p.ask("POST", path, token, ""); json.Unmarshal(a.body, &begun) != nil || len(begun.PublicKey) == 0 {
			t.Fatalf("%s: %d %s", path, a.status, a.body)
		}
		return begun.PublicKey
	}
	device := testkit.NewAuthenticator(t, "auth.example.com")
	token := p.signIn("ada@example.com", testPassword).member("access_token")
	credential := device.Create(t, options("/api/auth/passkeys/begin", token))
	if a := p.ask("POST", "/api/auth/passkeys/finish", token, fmt.Sprintf(`{"credential":%s}`, credential)); a.status != 201 {
		t.Fatalf("passkey: %d %s", a.status, a.body)
	}
	password := testPassword
	for round := range 4 {
		body := fmt.Sprintf(`{"assertion":%s}`, device.Get(t, options("/api/auth/passkeys/login/begin", "")))
		p = spendOnce(t, p, start, round, "/api/auth/passkeys/login/finish", body, 200, 401)

		known, _ := filepath.Glob(filepath.Join(dir, "mail", "*.eml"))
		if a := p.ask("POST", "/api/auth/password/forgot", "", `{"email":"bob@example.com"}`); a.status != 202 {
			t.Fatalf("forgot: %d %s", a.status, a.body)
		}
		var link []string
		eventually(t, func() error {
			now, _ := filepath.Glob(filepath.Join(dir, "mail", "*.eml"))
			for _, path := range now {
				text, err := os.ReadFile(path)
				if found := resetLink.FindStringSubmatch(strings.ReplaceAll(string(text), "=\r\n", "")); err == nil && found != nil && !slices.Contains(known, path) {
					link = found
					return nil
				}
			}
			return errors.New("no mail with a link")
		})
		password = fmt.Sprintf("a new sentence, number %d", round)
		body = fmt.Sprintf(`{"token":%q,"new_password":%q}`, link[1], password)
		p = spendOnce(t, p, start, round, "/api/auth/password/reset", body, 204, 400)
		if p.signIn("bob@example.com", password).member("access_token") == "" {
			t.Fatalf("round %d: the new password does not work", round)
		}
	}
}

var resetLink = regexp.MustCompile(`/reset#t=3D([A-Za-z0-9_-]{43})`)

// spendOnce sends a request from 20 clients at once and kills the server meanwhile. Then it starts the next
// server, sends the request from 20 clients again, and returns that server. One response at most has the status
// right, all others have wrong.
func spendOnce(t *testing.T, p *process, start func() *process, round int, path, body string, right, wrong int) *process {
	t.Helper()
	var done, answered atomic.Int64
	all := func() (wait func()) {
		var clients sync.WaitGroup
		url := p.url
		for range 20 {
			clients.Go(func() {
				a, err := ask(http.DefaultClient, url, "POST", path, "", body)
				answered.Add(1)
				switch {
				case err != nil: // the server was killed
				case a.status == right:
					done.Add(1)
				case a.status != wrong:
					t.Errorf("%s, round %d: %d %s", path, round, a.status, a.body)
				}
			})
		}
		return clients.Wait
	}
	wait := all()
	if round%2 == 0 { // kill it at the first response, or at any moment
		eventually(t, func() error {
			if answered.Load() == 0 {
				return errors.New("no response")
			}
			return nil
		})
	} else {
		time.Sleep(rand.N(20 * time.Millisecond))
	}
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	wait()
	http.DefaultClient.CloseIdleConnections()
	p = start()
	all()()
	if n := done.Load(); n > 1 {
		t.Errorf("%s, round %d: %d responses with %d, want 1 at most", path, round, n, right)
	}
	return p
}
