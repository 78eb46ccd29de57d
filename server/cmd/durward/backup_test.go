package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/durward-auth/durward/internal/services"
)

// A backup during refreshes is restored on another host. It opens with the master key only. Revoked
// tokens stay revoked, newer tokens are refused without a theft alarm, and the backup contains no key
// in clear text.
func TestBackupUnderLoad(t *testing.T) {
	t.Parallel()
	for _, engine := range []string{"sqlite", "postgres"} {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			dir, fresh := t.TempDir(), t.TempDir()
			var env, freshEnv []string
			if engine == "postgres" {
				env, freshEnv = []string{"DURWARD_DATABASE_URL=" + services.Database(t)}, []string{"DURWARD_DATABASE_URL=" + services.Database(t)}
			}
			verb := func(env []string, stdin string, args ...string) (string, int) {
				cmd := program(env, args...)
				cmd.Stdin = strings.NewReader(stdin)
				out, _ := cmd.CombinedOutput()
				return string(out), cmd.ProcessState.ExitCode()
			}
			if out, status := verb(env, testPassword, "user", "add", "ada@example.com", "--password-stdin", "--data", dir); status != 0 {
				t.Fatal(out)
			}
			p := serve(t, program(env, "serve", "--listen", "127.0.0.1:0", "--data", dir))
			revoked := p.signIn("ada@example.com", testPassword)
			if a := p.ask("POST", "/api/auth/logout", revoked.member("access_token"), ""); a.status != 204 {
				t.Fatalf("logout: %d", a.status)
			}
			const clients = 6
			held, access := make([]string, clients), ""
			for i := range held {
				a := p.signIn("ada@example.com", testPassword)
				held[i], access = a.member("refresh_token"), a.member("access_token")
			}
			stop := make(chan struct{})
			var all sync.WaitGroup
			moves := make([]int, clients)
			for i := range held {
				all.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						a, err := ask(http.DefaultClient, p.url, "POST", "/api/auth/refresh", "", fmt.Sprintf(`{"refresh_token":%q}`, held[i]))
						if err != nil || a.status != 200 {
							t.Errorf("client %d: %d %s %v", i, a.status, a.body, err)
							return
						}
						held[i] = a.member("refresh_token")
						moves[i]++
					}
				})
			}
			backup := filepath.Join(t.TempDir(), "backup.db")
			out, status := verb(env, "", "db", "backup", backup, "--data", dir)
			if status != 0 {
				t.Fatalf("backup: %d %s", status, out)
			}
			late := p.signIn("ada@example.com", testPassword) // after the backup
			close(stop)
			all.Wait()
			p.stop()
			text, err := os.ReadFile(backup)
			if err != nil {
				t.Fatal(err)
			}
			master, err := os.ReadFile(filepath.Join(dir, "master.key"))
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range []string{strings.TrimSpace(string(master)), `"d":"`, "PRIVATE"} {
				if strings.Contains(string(text), secret) {
					t.Errorf("the backup contains %q", secret)
				}
			}

			// No key, another key, then the right one.
			if out, status := verb(freshEnv, "", "db", "restore", backup, "--data", fresh); status != 3 || !strings.Contains(out, "no master key") {
				t.Errorf("restore without a key: status %d, %s", status, out)
			}
			if err := os.WriteFile(filepath.Join(fresh, "master.key"), []byte(strings.Repeat("0123456789abcdef", 4)), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, status := verb(freshEnv, "", "db", "restore", backup, "--data", fresh); status != 3 || !strings.Contains(out, "another master key") || !strings.Contains(out, "Nothing was changed") {
				t.Errorf("restore with another key: status %d, %s", status, out)
			}
			if err := os.WriteFile(filepath.Join(fresh, "master.key"), master, 0o600); err != nil {
				t.Fatal(err)
			}
			if out, status := verb(append([]string{"DURWARD_ISSUER=https://other.example.com"}, freshEnv...), "", "db", "restore", backup, "--data", fresh); status != 1 || !strings.Contains(out, "belongs to the issuer") {
				t.Errorf("restore with another issuer: status %d, %s", status, out)
			}
			out, status = verb(freshEnv, "", "db", "restore", backup, "--data", fresh)
			if status != 0 || !strings.Contains(out, "All users have to sign in again") {
				t.Fatalf("restore: %d %s", status, out)
			}
			if out, status := verb(freshEnv, "", "db", "restore", backup, "--data", fresh); status != 1 || !strings.Contains(out, "--replace") {
				t.Errorf("restore over a database: status %d, %s", status, out)
			}

			p = serve(t, program(freshEnv, "serve", "--listen", "127.0.0.1:0", "--data", fresh))
			if out, status := verb(freshEnv, "", "db", "restore", backup, "--replace", "--data", fresh); status != 1 || !strings.Contains(out, "in use") {
				t.Errorf("restore while a server runs: status %d, %s", status, out)
			}
			for name, token := range map[string]string{"revoked": revoked.member("access_token"), "before the backup": access, "after the backup": late.member("access_token")} {
				if a := p.ask("GET", "/api/profile", token, ""); a.status != 401 {
					t.Errorf("token %s: %d %s, want 401", name, a.status, a.body)
				}
			}
			for i, token := range append(held, late.member("refresh_token"), revoked.member("refresh_token")) {
				if a := p.ask("POST", "/api/auth/refresh", "", fmt.Sprintf(`{"refresh_token":%q}`, token)); a.status != 401 || a.member("code") != "REFRESH_INVALID" {
					t.Errorf("refresh token %d: %d %s, want REFRESH_INVALID", i, a.status, a.body)
				}
			}
			if a := p.ask("GET", "/api/profile", p.signIn("ada@example.com", testPassword).member("access_token"), ""); a.status != 200 {
				t.Errorf("profile after a new sign-in: %d %s, want 200", a.status, a.body)
			}
			if strings.Contains(p.stderr.String(), "theft") {
				t.Errorf("the log reports theft:\n%s", p.stderr)
			}
			p.stop()
			if out, status := verb(freshEnv, "", "db", "check", "--data", fresh); status != 0 {
				t.Errorf("check: %d %s", status, out)
			}
			// The server of the backup still works.
			serve(t, program(env, "serve", "--listen", "127.0.0.1:0", "--data", dir)).stop()
			t.Logf("refreshes per client: %v", moves)
		})
	}
}
