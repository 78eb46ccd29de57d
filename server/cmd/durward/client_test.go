package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A server makes the clients of its file those of the database, when it starts and at SIGHUP. A client that is
// disabled at the command line loses its tokens on the running server.
func TestClientsOfConfiguration(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, data := filepath.Join(dir, "durward.toml"), filepath.Join(dir, "data")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const web = "[[client]]\nid = \"web\"\nauth = \"none\"\nredirect_uris = [\"https://web.example.com/\"]\n"
	const job = "[[client]]\nid = \"job\"\nsecret = \"0123456789abcdef0123456789abcdef\"\ngrants = [\"client_credentials\"]\nscopes = [\"items:read\"]\nresources = [\"https://api.example.com\"]\n"
	const resource = "[[resource]]\nurl = \"https://api.example.com\"\nscopes = [{ name = \"items:read\" }]\n"
	run := func(args ...string) string {
		t.Helper()
		stdout, stderr, status := command(t, "", append(args, "--data", data)...)
		if status != 0 {
			t.Fatalf("%q: %d %s", args, status, stderr)
		}
		return stdout
	}
	list := func() (ids string) {
		for line := range strings.Lines(run("client", "list")) {
			if id, _, _ := strings.Cut(line, " "); id != "ID" {
				ids += id + " "
			}
		}
		return ids
	}
	expect := func(want string) {
		t.Helper()
		eventually(t, func() error {
			if got := list(); got != want {
				return fmt.Errorf("clients %q, want %q", got, want)
			}
			return nil
		})
	}

	addUser(t, data, "root@example.com", testPassword)
	run("user", "set", "root@example.com", "--admin")
	key := strings.TrimSpace(run("apikey", "add", "root@example.com", "--name", "Feed", "--scope", "revocations"))
	write(web)
	p := serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", data, "--config", file))
	expect("web ")
	run("client", "add", "Own", "--grant", "client_credentials")
	if _, stderr, status := command(t, "", "client", "disable", "web", "--data", data); status != 1 || !strings.Contains(stderr, "configuration file defines this client") {
		t.Errorf("disable a client of the configuration: %d %s", status, stderr)
	}
	hangUp := func() {
		t.Helper()
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	write(resource + job)
	hangUp()
	expect("job own ")
	write(resource + strings.ReplaceAll(job, `"job"`, `"own"`))
	hangUp()
	p.logged("delete that one with: durward client delete own")
	write(job)
	hangUp()
	p.logged(`client[0].resources has \"https://api.example.com\"`)
	if got := list(); got != "job own " {
		t.Errorf("after invalid configurations: %q", got)
	}

	run("client", "disable", "own")
	eventually(t, func() error {
		if a := p.ask("GET", "/api/revocations?after=0", key, ""); a.status != 200 || !strings.Contains(string(a.body), `"sid"`) {
			return fmt.Errorf("revocations: %d %s, want the client's sid", a.status, a.body)
		}
		return nil
	})
	p.stop()
	write(resource + strings.ReplaceAll(job, `"job"`, `"own"`))
	if _, stderr, status := command(t, "", "serve", "--listen", "127.0.0.1:0", "--data", data, "--config", file); status == 0 || !strings.Contains(stderr, "durward client delete own") {
		t.Errorf("a server starts with the id of another client: %d %s", status, stderr)
	}
}
