package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/internal/services"
)

// Two nodes that are started at once on an empty database, and were not given one
// master key, do not both make theirs its own: one works, the other says what is wrong
// and ends, as often as it is started.
func TestTwoNodesWithoutAMasterKey(t *testing.T) {
	t.Parallel()
	for range 3 {
		env := []string{"DURWARD_DATABASE_URL=" + services.Database(t)}
		type node struct {
			dir    string
			stderr *lockedBuffer
			ended  chan int
		}
		var nodes []*node
		for range 2 {
			n := &node{filepath.Join(t.TempDir(), "data"), new(lockedBuffer), make(chan int, 1)}
			cmd := program(env, "serve", "--listen", "127.0.0.1:0", "--data", n.dir)
			cmd.Stderr = n.stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill() }) // the one that works
			go func() {
				_ = cmd.Wait() // the status says it
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
			t.Fatalf("both go on:\n%s\n%s", works.stderr, fails.stderr)
		}
		said := func(status int, stderr string) {
			t.Helper()
			// What it finds depends on how far the other had come.
			if status == 0 || !strings.Contains(stderr, "master key") || !strings.Contains(stderr, "key file") || strings.Contains(stderr, "panic") {
				t.Errorf("status %d:\n%s", status, stderr)
			}
		}
		said(status, fails.stderr.String())
		eventually(t, func() error {
			select {
			case status := <-works.ended:
				t.Fatalf("neither works, status %d:\n%s\n%s", status, works.stderr, fails.stderr)
			default:
			}
			out, err := program(env, "db", "check", "--data", works.dir).CombinedOutput()
			if err == nil && !strings.Contains(string(out), "keys are good") {
				t.Fatalf("%s", out)
			}
			return err
		})
		again := program(env, "serve", "--listen", "127.0.0.1:0", "--data", fails.dir)
		out, _ := again.CombinedOutput()
		said(again.ProcessState.ExitCode(), string(out))
	}
}
