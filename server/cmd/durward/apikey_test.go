package main

import (
	"errors"
	"strings"
	"testing"
)

// A running server applies key changes of the command line at the next request. A key survives a
// server that is killed right after it created the key.
func TestAPIKeyOfTheShell(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada@example.com", testPassword)
	start := func() *process { return serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", dir)) }
	shell := func(args ...string) string {
		t.Helper()
		stdout, stderr, status := command(t, "", append(args, "--data", dir)...)
		if status != 0 {
			t.Fatalf("%v: %d %s", args[:2], status, stderr)
		}
		return strings.TrimSpace(stdout)
	}
	p := start()
	want := func(key string, status int, code string) {
		t.Helper()
		if a := p.ask("GET", "/api/profile", key, ""); a.status != status || a.member("code") != code {
			t.Fatalf("profile: %d %s, want %d %s", a.status, a.body, status, code)
		}
	}
	first := shell("apikey", "add", "ada@example.com", "--name", "Shell")
	want(first, 200, "")
	shell("user", "lock", "ada@example.com")
	want(first, 401, "INVALID_API_KEY")
	shell("user", "unlock", "ada@example.com")
	want(first, 200, "")
	shell("apikey", "revoke", first[:11])
	want(first, 401, "INVALID_API_KEY")

	made := p.ask("POST", "/api/keys", p.signIn("ada@example.com", testPassword).member("access_token"), `{"name":"Nightly"}`).member("key")
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	p = start()
	want(made, 200, "")
	want(first, 401, "INVALID_API_KEY")
	eventually(t, func() error { // the server stores the last use after the response
		if list := shell("apikey", "list", "ada@example.com"); strings.Contains(list, "never") {
			return errors.New("the last use is not stored")
		}
		return nil
	})
	if status := p.stop(); status != 0 {
		t.Errorf("status %d", status)
	}
}
