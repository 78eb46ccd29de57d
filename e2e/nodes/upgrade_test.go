package nodes

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward/e2e/executable"
)

// past identifies an old version of the program: the oldest one from which a rolling upgrade on an
// engine can start.
type past struct {
	engine string // folder of its migrations
	file   string // a file added by the commit
	parent bool   // use the commit before that one
}

var (
	// firstVersion is the last one before the second migration.
	firstVersion = past{"sqlite", "internal/store/migrations/sqlite/0002*", true}
	// firstOnPostgres is the first one with a tested command line over Postgres.
	firstOnPostgres = past{"postgres", "cmd/durward/testdata/script/postgres/postgres.txtar", false}
)

// program is a built program with the version of its schema.
type program struct{ path, schema string }

var pastBuilds struct {
	sync.Mutex
	built map[past]program
}

// build builds the program, once for all tests.
func (p past) build(t *testing.T) program {
	t.Helper()
	all := &pastBuilds
	all.Lock()
	defer all.Unlock()
	if built, ok := all.built[p]; ok {
		return built
	}
	git := func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-C", "../.."}, args...)...).Output()
		if err != nil {
			t.Skipf("SKIPPED, NOT TESTED: without the git history no old version can be built (git %s: %v)", args[0],
				err)
		}
		return strings.TrimSpace(string(out))
	}
	came := strings.Fields(git("log", "--diff-filter=A", "--format=%H", "--", p.file))
	if len(came) == 0 || git("rev-parse", "--is-shallow-repository") == "true" {
		t.Skip("SKIPPED, NOT TESTED: the git history is shallow, so no old version can be built")
	}
	commit := came[len(came)-1]
	if p.parent {
		commit += "^"
	}
	source := t.TempDir()
	archive := filepath.Join(source, "archive.tar")
	git("archive", "-o", archive, commit)
	if out, err := exec.Command("tar", "-xf", archive, "-C", source).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(source, "internal/store/migrations", p.engine, "*.sql"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no migrations in %s: %v", commit, err)
	}
	path := filepath.Join(executable.Dir, "past-"+p.engine)
	if err := executable.GoBuild(source, path, "./cmd/durward", append(os.Environ(), "GOWORK=off")); err != nil {
		t.Fatalf("version %s: %v", commit, err)
	}
	if all.built == nil {
		all.built = make(map[past]program)
	}
	all.built[p] = program{path, strconv.Itoa(len(files))}
	return all.built[p]
}

// TestRollingUpgrade runs an old version and today's on one database. Today's migrates the schema
// while the old one runs, without an error for clients. Then the old one stops.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		past
		clusterConfig
	}{"SQLite": {firstVersion, clusterConfig{}}, "Postgres": {firstOnPostgres, clusterConfig{postgres: true}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := c.build(t)
			cl := newCluster(t, c.clusterConfig)
			old := cl.newNode(before.path)
			old.start()
			group := newClientGroup(t, cl, workerCount)
			if got := cl.schema(); got != before.schema {
				t.Fatalf("schema of the old version: got %s, want %s", got, before.schema)
			}
			group.during(group.warmUp) // only the old version
			today := cl.newNode(cl.program)
			alone := cl.nodes[:1]
			cl.nodes = alone // the group uses one node
			group.during(func() { today.start() })
			cl.nodes = append(alone[:1:1], today)
			brought := cl.schema() != before.schema
			if c.past == firstVersion && !brought {
				t.Fatal("today's program did not migrate the schema")
			}
			group.during(func() { group.waitForRequests(1000) }) // each request goes to either node
			for _, pair := range [][2]*node{{old, today}, {today, old}} {
				cl.checkAcross(pair[0], pair[1])
			}
			group.checkContinuity()

			cl.nodes = []*node{today}
			old.stop()
			group.during(func() { group.waitForRequests(200) })
			group.checkContinuity()
			// The old version refuses to start on the new schema.
			if brought {
				if err := old.tryStart(); err == nil || !strings.Contains(old.stderr.String(), "newer program") {
					t.Errorf("old version on today's schema: got %v, want an error \"newer program\"\n%s", err,
						last(old.stderr.String(), 3))
				}
			}
			t.Logf("schema migrated from version %s to %s: %s", before.schema, cl.schema(), group.report())
		})
	}
}

// schema returns the version of the newest migration in the database.
func (cl *cluster) schema() string {
	cl.t.Helper()
	const query = "SELECT max(version_id) FROM goose_db_version"
	if cl.postgres != nil {
		return cl.postgres.SQL(cl.t, cl.database, query)
	}
	out, err := exec.Command("sqlite3", "-readonly", cl.sqlite, query).CombinedOutput()
	if err != nil {
		cl.t.Fatalf("sqlite3: %v %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestSchemaIsKept starts today's program with database.migrate = false on an old schema. It must
// exit with a hint and leave the schema unchanged, so that the old version continues. After the
// migration clients continue with their tokens.
func TestSchemaIsKept(t *testing.T) {
	t.Parallel()
	first := firstVersion.build(t).path
	cl := newCluster(t, clusterConfig{})
	old := cl.newNode(first)
	old.start()
	cl.users(1)
	s := cl.signIn(old, "user-0@example.com")
	today := cl.newNode(cl.program)
	today.env = append(today.env, "DURWARD_DATABASE_MIGRATE=false")
	err := today.tryStart()
	if err == nil {
		t.Fatal("start on an old schema: got no error")
	}
	if status := today.cmd.ProcessState.ExitCode(); status != 3 ||
		!strings.Contains(today.stderr.String(), "durward db migrate") || cl.schema() != "1" {
		t.Errorf("status %d, want 3; schema %s, want 1\n%s", status, cl.schema(), today.stderr)
	}
	if a := cl.ask(old, "GET", "/api/profile", s.access, ""); a.status != 200 {
		t.Errorf("call to the first version: got %d %s, want 200", a.status, a.body)
	}
	old.stop()
	today.verb("", "db", "migrate")
	today.start()
	if a := cl.ask(today, "POST", "/api/auth/refresh", "",
		fmt.Sprintf(`{"refresh_token":%q}`, s.refresh)); a.status != 200 {
		t.Errorf("refresh: %d %s", a.status, a.body)
	}
}

// checkAcross signs in at one node and uses the session at the other, which must accept it at once
// and refuse it within a second of its end.
func (cl *cluster) checkAcross(here, there *node) {
	cl.t.Helper()
	s := cl.signIn(here, "user-0@example.com")
	if a := cl.ask(there, "GET", "/api/profile", s.access, ""); a.status != 200 {
		cl.t.Errorf("signed in at %s, called at %s: got %d %s, want 200", here.name, there.name, a.status, a.body)
	}
	a := cl.ask(there, "POST", "/api/auth/refresh", "", fmt.Sprintf(`{"refresh_token":%q}`, s.refresh))
	if a.status != 200 {
		cl.t.Fatalf("signed in at %s, refreshed at %s: got %d %s, want 200", here.name, there.name, a.status, a.body)
	}
	if a := cl.ask(here, "POST", "/api/auth/logout", "",
		fmt.Sprintf(`{"refresh_token":%q}`, a.member("refresh_token"))); a.status != 204 {
		cl.t.Fatalf("sign-out: %d %s", a.status, a.body)
	}
	if took := cl.waitForRefusal(there, a.member("access_token"), time.Now()); took > maxDelay {
		cl.t.Errorf("ended at %s, refused at %s after %s", here.name, there.name, took)
	}
}
