package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The server refuses an older copy of its database without --accept-rollback. With it, all users sign
// in again and revoked credentials stay revoked. With --keep-sessions too, all sessions continue.
func TestRollback(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		t.Run(map[bool]string{false: "accept: sessions end", true: "keep: sessions continue"}[keep], func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			addUser(t, dir, "ada@example.com", testPassword)
			serving := func(args ...string) *process {
				return serve(t, program(nil, append([]string{"serve", "--listen", "127.0.0.1:0", "--data", dir}, args...)...))
			}
			p := serving()
			kept := p.signIn("ada@example.com", testPassword)
			revoked := p.signIn("ada@example.com", testPassword)
			key, stderr, status := command(t, "", "apikey", "add", "ada@example.com", "--name", "N", "--data", dir)
			if status != 0 {
				t.Fatal(stderr)
			}
			key = strings.TrimSpace(key)
			p.stop()
			path := filepath.Join(dir, "durward.db")
			old, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}

			p = serving()
			if a := p.ask("POST", "/api/auth/logout", revoked.member("access_token"), ""); a.status != 204 {
				t.Fatalf("logout: %d %s", a.status, a.body)
			}
			late := p.signIn("ada@example.com", testPassword)
			p.ask("POST", "/api/auth/logout", late.member("access_token"), "")
			if _, stderr, status := command(t, "", "apikey", "revoke", key[:11], "--data", dir); status != 0 {
				t.Fatal(stderr)
			}
			p.stop()
			if err := os.WriteFile(path, old, 0o600); err != nil {
				t.Fatal(err)
			}

			if _, stderr, status := command(t, "", "serve", "--listen", "127.0.0.1:0", "--data", dir); status != 1 || !strings.Contains(stderr, "the database was rolled back") || !strings.Contains(stderr, "--accept-rollback") {
				t.Fatalf("start with an older copy: status %d, %s", status, stderr)
			}
			accept := []string{"--accept-rollback"}
			want := map[string]int{"before the copy": 401, "revoked": 401, "after the copy": 401, "key": 401}
			wantRefresh := "REFRESH_INVALID"
			if keep {
				accept = append(accept, "--keep-sessions")
				want, wantRefresh = map[string]int{"before the copy": 200, "revoked": 200, "after the copy": 200, "key": 200}, ""
			}
			p = serving(accept...)
			for name, token := range map[string]string{"before the copy": kept.member("access_token"), "revoked": revoked.member("access_token"), "after the copy": late.member("access_token"), "key": key} {
				if a := p.ask("GET", "/api/profile", token, ""); a.status != want[name] {
					t.Errorf("token %s: %d %s, want %d", name, a.status, a.body, want[name])
				}
			}
			for range 2 {
				a := p.ask("POST", "/api/auth/refresh", "", fmt.Sprintf(`{"refresh_token":%q}`, kept.member("refresh_token")))
				if a.member("code") != wantRefresh {
					t.Errorf("refresh: %d %s, want the code %q", a.status, a.body, wantRefresh)
				}
			}
			if a := p.ask("GET", "/api/profile", p.signIn("ada@example.com", testPassword).member("access_token"), ""); a.status != 200 {
				t.Errorf("profile after a new sign-in: %d %s, want 200", a.status, a.body)
			}
			if strings.Contains(p.stderr.String(), "theft") {
				t.Errorf("the log reports theft:\n%s", p.stderr)
			}
			p.logged("Began a new epoch")
			p.stop()
			// The next start needs no flag, and the flag has no effect a second time.
			serving().stop()
			p = serving("--accept-rollback")
			p.logged("--accept-rollback had no effect")
			p.stop()
		})
	}
}
