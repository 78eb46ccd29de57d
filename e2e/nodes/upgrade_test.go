package nodes

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// firstProgram builds the program as it was when there was one migration: the last
// before the second came.
func firstProgram(t *testing.T) string {
	t.Helper()
	git := func(args ...string) string {
		out, err := exec.Command("git", append([]string{"-C", "../.."}, args...)...).Output()
		if err != nil {
			t.Skipf("SKIPPED, NOT TESTED: no history of the repository is here, so the first program cannot be built (git %s: %v)", args[0], err)
		}
		return strings.TrimSpace(string(out))
	}
	second := git("log", "--diff-filter=A", "--format=%H", "--", "internal/store/migrations/sqlite/0002*")
	if second == "" || git("rev-parse", "--is-shallow-repository") == "true" {
		t.Skip("SKIPPED, NOT TESTED: the history of the repository is cut short, so the first program cannot be built")
	}
	source := t.TempDir()
	archive := filepath.Join(source, "archive.tar")
	git("archive", "-o", archive, strings.Fields(second)[0]+"^")
	if out, err := exec.Command("tar", "-xf", archive, "-C", source).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
	if files, err := filepath.Glob(filepath.Join(source, "internal/store/migrations/sqlite/*.sql")); err != nil || len(files) != 1 {
		t.Fatalf("the first program has the migrations %q, want one", files)
	}
	path := filepath.Join(t.TempDir(), "first")
	build := exec.Command("go", "build", "-buildvcs=false", "-o", path, "./cmd/durward")
	build.Dir, build.Env = source, append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build of the first program: %v\n%s", err, out)
	}
	return path
}

// The first program and today's run side by side on one database: today's brings
// it up to date under the feet of the other, and people notice nothing. Then the
// old one is stopped.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	first := firstProgram(t)
	h := newHouse(t, plan{})
	old := h.newNode(first)
	old.start()
	f := newFleet(t, h, members)
	if got := h.schema(); got != "1" {
		t.Fatalf("the first program's schema is of version %s", got)
	}
	f.during(f.settle) // the old one alone
	today := h.newNode(h.program)
	alone := h.nodes[:1]
	h.nodes = alone // the fleet knows of one
	f.during(func() { today.start() })
	h.nodes = append(alone[:1:1], today)
	if got := h.schema(); got == "1" {
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
	// The first program does not come back over what it does not know.
	if err := old.tryStart(); err == nil || !strings.Contains(old.stderr.String(), "newer program") {
		t.Errorf("the first program on today's schema: %v\n%s", err, last(old.stderr.String(), 3))
	}
	t.Log(f.report())
}

// schema is the version of the newest migration of the SQLite file.
func (h *house) schema() string {
	h.t.Helper()
	out, err := exec.Command("sqlite3", "-readonly", h.sqlite, "SELECT max(version_id) FROM goose_db_version").CombinedOutput()
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
	first := firstProgram(t)
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
