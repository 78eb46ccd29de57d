package main

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/durward-auth/durward/internal/faults"
	"github.com/durward-auth/durward/internal/services"
)

// A node on Postgres is not ready while the server is down, while the list of revocations cannot be read
// although the database accepts writes, and after a rollback.
func TestReadyWithPostgres(t *testing.T) {
	t.Parallel()
	pg := services.NewPostgres(t, "fsync=off")
	url := pg.Database(t)
	p := serve(t, program([]string{"DURWARD_DATABASE_URL=" + url}, "serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(t.TempDir(), "data")))
	ready := func(when string, status int, want ...string) {
		t.Helper()
		eventually(t, func() error {
			a := p.ask("GET", "/readyz", "", "")
			for _, w := range want {
				if !strings.Contains(string(a.body), w) {
					return fmt.Errorf("%s: readyz is %d %s, want %s", when, a.status, a.body, w)
				}
			}
			if a.status != status {
				return fmt.Errorf("%s: readyz is %d %s, want %d", when, a.status, a.body, status)
			}
			return nil
		})
	}
	const databaseOK = `{"name":"database","ok":true}`
	ready("at the start", 200, `"status":"ready"`)

	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	locked, err := db.BeginTx(t.Context(), nil)
	if err == nil {
		_, err = locked.ExecContext(t.Context(), "LOCK TABLE revocations IN ACCESS EXCLUSIVE MODE")
	}
	if err != nil {
		t.Fatal(err)
	}
	ready("revocations locked", 503, databaseOK, `{"name":"revocations","ok":false}`)
	if err := locked.Rollback(); err != nil {
		t.Fatal(err)
	}
	ready("unlocked", 200, `"status":"ready"`)

	pg.Kill(t)
	ready("Postgres is down", 503, `{"name":"database","ok":false}`, `{"name":"revocations","ok":false}`)
	pg.Start(t)
	ready("Postgres is back", 200, `"status":"ready"`)

	pg.Pause(t)
	ready("Postgres hangs", 503, `{"name":"database","ok":false}`)
	pg.Resume(t)
	ready("Postgres answers", 200, `"status":"ready"`)

	if _, err := db.ExecContext(t.Context(), "UPDATE meta SET value = 'another' WHERE name = 'epoch'"); err != nil {
		t.Fatal(err)
	}
	ready("rolled back", 503, databaseOK, `{"name":"store_history","ok":false}`)
}

// A node whose checkpoint cannot be written says so and stays ready.
func TestReadyWithoutCheckpoint(t *testing.T) {
	t.Parallel()
	disk := faults.SmallDisk(t, "4m")
	p := serve(t, program([]string{"DURWARD_REGISTRATION=open", "DURWARD_DATABASE_URL=" + services.Database(t)}, "serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(disk, "data")))
	ready := func(when, want string) {
		t.Helper()
		eventually(t, func() error {
			if a := p.ask("GET", "/readyz", "", ""); a.status != 200 || !strings.Contains(string(a.body), want) {
				return fmt.Errorf("%s: readyz is %d %s, want 200 and %s", when, a.status, a.body, want)
			}
			return nil
		})
	}
	ready("at the start", `"status":"ready"`)
	if a := p.ask("POST", "/api/auth/register", "", fmt.Sprintf(`{"email":"ada@example.com","password":%q}`, testPassword)); a.status != 201 {
		t.Fatalf("register: %d %s", a.status, a.body)
	}
	in := p.signIn("ada@example.com", testPassword)
	filler := filepath.Join(disk, "filler")
	faults.Fill(t, filler)
	if a := p.ask("POST", "/api/auth/logout", in.member("access_token"), ""); a.status != 204 {
		t.Fatalf("sign out: %d %s", a.status, a.body)
	}
	ready("the disk of the checkpoint is full", `{"name":"store_history","ok":false}`)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	ready("there is room again", `"status":"ready"`)
}
