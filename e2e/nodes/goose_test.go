package nodes

import (
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite"

	"github.com/durward-auth/durward/e2e/executable"
)

// TestMigrationsOfGoose lets goose, which earlier versions use, bring a database to each version of the schema. The
// program goes on from there, and goose finds all migrations applied.
func TestMigrationsOfGoose(t *testing.T) {
	t.Parallel()
	program := newCluster(t, clusterConfig{}).program
	for version := range int64(100) {
		dir := t.TempDir()
		db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "durward.db"))
		if err != nil {
			t.Fatal(err)
		}
		g, err := goose.NewProvider(goose.DialectSQLite3, db, os.DirFS("../../server/internal/store/migrations/sqlite"),
			goose.WithLogger(goose.NopLogger()))
		if err != nil {
			t.Fatal(err)
		}
		newest := g.ListSources()[len(g.ListSources())-1].Version
		if version > newest {
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			break
		}
		if version == 0 {
			_, err = g.GetDBVersion(t.Context()) // creates the table
		} else {
			_, err = g.UpTo(t.Context(), version)
		}
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program, "db", "migrate", "--data", dir)
		stderr := new(executable.Buffer)
		cmd.Stderr = stderr
		if err := cmd.Run(); err != nil {
			t.Errorf("from version %d: %v\n%s", version, err, stderr)
		}
		pending, err := g.HasPending(t.Context())
		current, errVersion := g.GetDBVersion(t.Context())
		var rows int64
		errRows := db.QueryRowContext(t.Context(), "SELECT count(*) FROM goose_db_version").Scan(&rows)
		if pending || current != newest || rows != newest+1 {
			t.Errorf("from version %d: goose finds version %d of %d in %d rows, pending %t (%s)", version, current, newest, rows,
				pending, fmt.Sprint(err, errVersion, errRows))
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
