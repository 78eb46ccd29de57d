package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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
		var done, answered atomic.Int64
		all := func() (wait func()) {
			var clients sync.WaitGroup
			for range 20 {
				clients.Go(func() {
					a, err := ask(http.DefaultClient, p.url, "POST", "/api/auth/login/mfa", "", body)
					answered.Add(1)
					switch {
					case err != nil: // the server was killed
					case a.status == 200:
						done.Add(1)
					case a.status != 401:
						t.Errorf("round %d: %d %s", round, a.status, a.body)
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
			t.Errorf("round %d: %d responses with tokens, want 1 at most", round, n)
		}
		if n := sessions(); n != before+round+1 {
			t.Fatalf("round %d: %d sessions, want %d", round, n, before+round+1)
		}
	}
	if _, stderr, status := command(t, "", "db", "check", "--data", dir); status != 0 {
		t.Errorf("db check: %s", stderr)
	}
}
