package main

import (
	"encoding/json"
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
