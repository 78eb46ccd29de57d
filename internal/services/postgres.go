package services

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Postgres is a Postgres cluster.
type Postgres struct {
	service
	bin  string
	last atomic.Int64 // number of the last created database
}

// NewPostgres starts a cluster that only this test uses. Settings have the form of postgresql.conf:
// "fsync=off". By default commits are durable.
func NewPostgres(t testing.TB, settings ...string) *Postgres {
	t.Helper()
	return NewPostgresIn(t, "", settings...)
}

// NewPostgresIn is NewPostgres with the cluster in the folder parent, for example on its own disk. Every
// account must be able to enter that folder.
func NewPostgresIn(t testing.TB, parent string, settings ...string) *Postgres {
	t.Helper()
	p := startPostgres(t, parent, settings)
	t.Cleanup(p.stop)
	return p
}

var cluster shared[Postgres]

// Database creates an empty database in a cluster that all tests of this process share, and drops it after
// the test. It returns its postgres:// URL.
func Database(t testing.TB) string {
	t.Helper()
	return sharedCluster(t).Database(t)
}

// emptied holds the databases that finished tests have left. Reusing one saves half a second for its tables.
var emptied struct {
	sync.Mutex
	names []string
	made  int
}

// Emptied returns the URL of a database without rows in the cluster that Database uses. It may have the
// tables of another test of this process.
func Emptied(t testing.TB) string {
	t.Helper()
	p := sharedCluster(t)
	emptied.Lock()
	defer emptied.Unlock()
	var name string
	if n := len(emptied.names); n > 0 {
		name, emptied.names = emptied.names[n-1], emptied.names[:n-1]
	} else {
		emptied.made++
		name = "emptied_" + strconv.Itoa(emptied.made)
		p.SQL(t, "postgres", "CREATE DATABASE "+name)
	}
	t.Cleanup(func() {
		if out, err := p.sql(context.Background(), name, truncate); err != nil {
			t.Errorf("services: psql: %v\n%s", err, out)
			return
		}
		emptied.Lock()
		defer emptied.Unlock()
		emptied.names = append(emptied.names, name)
	})
	return p.URL(name)
}

// truncate deletes all rows except goose's.
const truncate = `DO $$ DECLARE tables TEXT; BEGIN
	SELECT string_agg(quote_ident(tablename), ', ') INTO tables FROM pg_tables WHERE schemaname = current_schema() AND tablename <> 'goose_db_version';
	IF tables IS NOT NULL THEN EXECUTE 'TRUNCATE ' || tables || ' RESTART IDENTITY'; END IF;
END $$`

func sharedCluster(t testing.TB) *Postgres {
	t.Helper()
	return cluster.get(func() *Postgres {
		// It need not survive a crash of the machine.
		return startPostgres(t, "", []string{"fsync=off", "full_page_writes=off"})
	})
}

func startPostgres(t testing.TB, parent string, settings []string) *Postgres {
	t.Helper()
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if len(found) == 0 {
		Missing(t, "PostgreSQL (package postgresql)")
	}
	newest := slices.MaxFunc(found, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
	as := notRoot(t)
	p := &Postgres{service: newService(t, "postgres", "5432", parent, as), bin: filepath.Dir(newest)}
	data := filepath.Join(p.dir, "data")
	initdb := exec.Command(filepath.Join(p.bin, "initdb"), "-D", data, "-U", "durward", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
	initdb.Dir = p.dir
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: as}
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("services: initdb: %v\n%s", err, out)
	}
	p.command = []string{newest, "-D", data, "-c", "listen_addresses=" + p.host,
		"-c", "unix_socket_directories=" + p.dir, "-c", "max_connections=300", "-c", "logging_collector=off"}
	for _, s := range settings {
		p.command = append(p.command, "-c", s)
	}
	p.ready = func(ctx context.Context) error {
		out, err := p.sql(ctx, "postgres", "SELECT 1")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	p.Start(t)
	return p
}

// notRoot returns the account postgres for root, as which Postgres and PgBouncer refuse to run.
func notRoot(t testing.TB) *syscall.Credential {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	as := new(syscall.Credential)
	u, err := user.Lookup("postgres")
	if err == nil {
		_, err = fmt.Sscan(u.Uid+" "+u.Gid, &as.Uid, &as.Gid)
	}
	if err != nil {
		t.Fatal(err)
	}
	return as
}

// Database creates an empty database, drops it after the test, and returns its URL.
func (p *Postgres) Database(t testing.TB) string {
	t.Helper()
	name := "durward_" + strconv.FormatInt(p.last.Add(1), 10)
	p.SQL(t, "postgres", "CREATE DATABASE "+name)
	t.Cleanup(func() {
		// If the cluster is down, the database is removed with the folder.
		_, _ = p.sql(context.Background(), "postgres", "DROP DATABASE "+name+" WITH (FORCE)")
	})
	return p.URL(name)
}

// URL returns the URL of a database.
func (p *Postgres) URL(database string) string {
	return "postgres://durward@" + p.Addr() + "/" + database + "?sslmode=disable"
}

// SQL runs statements in a database by psql and returns its output, one line per row.
func (p *Postgres) SQL(t testing.TB, database, statements string) string {
	t.Helper()
	out, err := p.sql(t.Context(), database, statements)
	if err != nil {
		t.Fatalf("services: psql: %v\n%s", err, out)
	}
	return out
}

func (p *Postgres) sql(ctx context.Context, database, statements string) (string, error) {
	psql := exec.CommandContext(ctx, filepath.Join(p.bin, "psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", p.URL(database), "-c", statements)
	psql.WaitDelay = time.Second
	out, err := psql.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}
