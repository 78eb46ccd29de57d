package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/internal/services"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// Two nodes start at once on an empty database without a common master key. One creates the keys and
// works. The other exits with a message at this and every later start.
func TestTwoNodesWithoutAMasterKey(t *testing.T) {
	t.Parallel()
	for range 3 {
		env := []string{"DURWARD_DATABASE_URL=" + services.Database(t)}
		type node struct {
			dir    string
			stderr *testkit.Log
			ended  chan int
		}
		var nodes []*node
		for range 2 {
			n := &node{filepath.Join(t.TempDir(), "data"), new(testkit.Log), make(chan int, 1)}
			cmd := program(env, "serve", "--listen", "127.0.0.1:0", "--data", n.dir)
			cmd.Stderr = n.stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill() }) // the working one
			go func() {
				_ = cmd.Wait() // ProcessState has the status
				n.ended <- cmd.ProcessState.ExitCode()
			}()
			nodes = append(nodes, n)
		}
		works, fails, status := nodes[0], nodes[1], 0
		select {
		case status = <-fails.ended:
		case status = <-works.ended:
			works, fails = fails, works
		case <-time.After(patience):
			t.Fatalf("both nodes run, want one:\n%s\n%s", works.stderr, fails.stderr)
		}
		checkRefused := func(status int, stderr string) {
			t.Helper()
			// The exact message depends on the progress of the other node.
			if status == 0 || !strings.Contains(stderr, "master key") || !strings.Contains(stderr, "key file") || strings.Contains(stderr, "panic") {
				t.Errorf("status %d, want a failure that names the master key:\n%s", status, stderr)
			}
		}
		checkRefused(status, fails.stderr.String())
		eventually(t, func() error {
			select {
			case status := <-works.ended:
				t.Fatalf("no node runs, status %d:\n%s\n%s", status, works.stderr, fails.stderr)
			default:
			}
			out, err := program(env, "db", "check", "--data", works.dir).CombinedOutput()
			if err == nil && !strings.Contains(string(out), "second factors and security log are good") {
				t.Fatalf("%s", out)
			}
			return err
		})
		again := program(env, "serve", "--listen", "127.0.0.1:0", "--data", fails.dir)
		out, _ := again.CombinedOutput()
		checkRefused(again.ProcessState.ExitCode(), string(out))
	}
}
