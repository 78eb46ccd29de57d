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
)

// past is a program of before: the one of the oldest commit that a rolling upgrade of
// an engine can begin with.
type past struct {
	engine string // folder of its migrations
	file   string // what came with the commit
	parent bool   // the commit before that
}

var (
	// firstProgram is the last before the second migration came.
	firstProgram = past{"sqlite", "internal/store/migrations/sqlite/0002*", true}
	// firstOnPostgres is the first whose command line was tested over Postgres.
	firstOnPostgres = past{"postgres", "cmd/durward/testdata/script/postgres/postgres.txtar", false}
)

// program is a program and the version of the schema that it wants.
type program struct{ path, schema string }

var pastPrograms struct {
	sync.Mutex
	built map[past]program
}

// build builds the program, once for all tests.
func (p past) build(t *testing.T) program {
	t.Helper()
	all := &pastPrograms
	all.Lock()
	defer all.Unlock()
	if built, ok := all.built[p]; ok {
		return built
	}
	git := func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-C", "../.."}, args...)...).Output()
		if err != nil {
			t.Skipf("SKIPPED, NOT TESTED: no history of the repository is here, so a program of before cannot be built (git %s: %v)", args[0], err)
		}
		return strings.TrimSpace(string(out))
	}
	came := strings.Fields(git("log", "--diff-filter=A", "--format=%H", "--", p.file))
	if len(came) == 0 || git("rev-parse", "--is-shallow-repository") == "true" {
		t.Skip("SKIPPED, NOT TESTED: the history of the repository is cut short, so a program of before cannot be built")
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
	path := filepath.Join(built, "past-"+p.engine)
	build := exec.Command("go", "build", "-buildvcs=false", "-o", path, "./cmd/durward")
	build.Dir, build.Env = source, append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build of %s: %v\n%s", commit, err, out)
	}
	if all.built == nil {
		all.built = make(map[past]program)
	}
	all.built[p] = program{path, strconv.Itoa(len(files))}
	return all.built[p]
}

// A program of before and today's run side by side on one database: today's brings
// it up to date under the feet of the other, and people notice nothing. Then the
// old one is stopped.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		past
		plan
	}{"SQLite": {firstProgram, plan{}}, "Postgres": {firstOnPostgres, plan{postgres: true}}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := c.build(t)
			h := newHouse(t, c.plan)
			old := h.newNode(before.path)
			old.start()
			f := newFleet(t, h, members)
			if got := h.schema(); got != before.schema {
				t.Fatalf("the schema of the program of before is of version %s, want %s", got, before.schema)
			}
			f.during(f.settle) // the old one alone
			today := h.newNode(h.program)
			alone := h.nodes[:1]
			h.nodes = alone // the fleet knows of one
			f.during(func() { today.start() })
			h.nodes = append(alone[:1:1], today)
			brought := h.schema() != before.schema
			if c.past == firstProgram && !brought {
				t.Fatal("today's program did not bring the schema up to date")
			}
			f.during(func() { f.busy(1000) }) // both, each request at either
			for _, pair := range [][2]*node{{old, today}, {today, old}} {
				h.across(pair[0], pair[1])
			}
			f.goesOn()

			h.nodes = []*node{today}
			old.stop()
			f.during(func() { f.busy(200) })
			f.goesOn()
			// The old program does not come back over what it does not know.
			if brought {
				if err := old.tryStart(); err == nil || !strings.Contains(old.stderr.String(), "newer program") {
					t.Errorf("the program of before on today's schema: %v\n%s", err, last(old.stderr.String(), 3))
				}
			}
			t.Logf("the schema was of version %s and is of version %s: %s", before.schema, h.schema(), f.report())
		})
	}
}

// schema is the version of the newest migration of the database.
func (h *house) schema() string {
	h.t.Helper()
	const query = "SELECT max(version_id) FROM goose_db_version"
	if h.postgres != nil {
		return h.postgres.SQL(h.t, h.database, query)
	}
	out, err := exec.Command("sqlite3", "-readonly", h.sqlite, query).CombinedOutput()
	if err != nil {
		h.t.Fatalf("sqlite3: %v %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// Today's program leaves an older schema alone where it is told to, and says what
// to do: the first one goes on with it. Once it was brought up to date, people go
// on with what they hold.
func TestSchemaIsKept(t *testing.T) {
	t.Parallel()
	first := firstProgram.build(t).path
	h := newHouse(t, plan{})
	old := h.newNode(first)
	old.start()
	h.people(1)
	s := h.signIn(old, "person-0@example.com")
	today := h.newNode(h.program)
	today.env = append(today.env, "DURWARD_DATABASE_MIGRATE=false")
	err := today.tryStart()
	if err == nil {
		t.Fatal("it starts on a schema that it does not know")
	}
	if status := today.cmd.ProcessState.ExitCode(); status != 3 || !strings.Contains(today.stderr.String(), "durward db migrate") || h.schema() != "1" {
		t.Errorf("status %d, want 3; schema %s, want 1\n%s", status, h.schema(), today.stderr)
	}
	if a := h.ask(old, "GET", "/api/profile", s.access, ""); a.status != 200 {
		t.Errorf("the first program: %d %s", a.status, a.body)
	}
	old.stop()
	today.verb("", "db", "migrate")
	today.start()
	if a := h.ask(today, "POST", "/api/auth/refresh", "", fmt.Sprintf(`{"refresh_token":%q}`, s.refresh)); a.status != 200 {
		t.Errorf("refresh: %d %s", a.status, a.body)
	}
}

// across does at one node what the other must know at once, and within a second
// what was ended.
func (h *house) across(here, there *node) {
	h.t.Helper()
	s := h.signIn(here, "person-0@example.com")
	if a := h.ask(there, "GET", "/api/profile", s.access, ""); a.status != 200 {
		h.t.Errorf("signed in at %s, asked at %s: %d %s", here.name, there.name, a.status, a.body)
	}
	a := h.ask(there, "POST", "/api/auth/refresh", "", fmt.Sprintf(`{"refresh_token":%q}`, s.refresh))
	if a.status != 200 {
		h.t.Fatalf("signed in at %s, refreshed at %s: %d %s", here.name, there.name, a.status, a.body)
	}
	if a := h.ask(here, "POST", "/api/auth/logout", "", fmt.Sprintf(`{"refresh_token":%q}`, a.member("refresh_token"))); a.status != 204 {
		h.t.Fatalf("sign-out: %d %s", a.status, a.body)
	}
	if took := h.refused(there, a.member("access_token"), time.Now()); took > bound {
		h.t.Errorf("ended at %s, refused at %s after %s", here.name, there.name, took)
	}
}
