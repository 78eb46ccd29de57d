package repo

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A mutation takes one security check out. What stands above its diff says which,
// and in a line "test: PACKAGE [REGEXP]" what must turn red.
type mutation struct {
	path         string // of the patch, absolute
	subject      string
	pkg, pattern string
}

var testLine = regexp.MustCompile(`(?m)^test: (\S+)(?: (\S+))?$`)

func mutations(t *testing.T) (all []mutation) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, "testdata/mutations/*.patch"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		head, _, ok := strings.Cut(string(text), "diff --git ")
		test := testLine.FindStringSubmatch(head)
		subject, _, _ := strings.Cut(head, "\n")
		if !ok || test == nil || subject == "" {
			t.Errorf("%s: a sentence, a line \"test: PACKAGE [REGEXP]\" and a diff are wanted", path)
			continue
		}
		if path, err = filepath.Abs(path); err != nil {
			t.Fatal(err)
		}
		all = append(all, mutation{path, subject, test[1], test[2]})
	}
	if len(all) == 0 {
		t.Fatal("no mutations")
	}
	return all
}

// Every mutation still fits the code.
func TestMutationsFit(t *testing.T) {
	t.Parallel()
	for _, m := range mutations(t) {
		check := exec.Command("git", "apply", "--check", m.path)
		check.Dir = root
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("%s: %s", filepath.Base(m.path), out)
		}
	}
}

// Every mutation turns a test red: what it takes out is held by a test. It takes
// minutes and runs where MUTATIONS is set, which make mutations does.
func TestMutations(t *testing.T) {
	if os.Getenv("MUTATIONS") == "" {
		t.Skip("make mutations runs these")
	}
	dir := checkout(t)
	run := func(name string, args ...string) ([]byte, error) {
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		return cmd.CombinedOutput()
	}
	for _, m := range mutations(t) {
		t.Run(strings.TrimSuffix(filepath.Base(m.path), ".patch"), func(t *testing.T) {
			if out, err := run("git", "apply", "--unsafe-paths", "--directory="+dir, m.path); err != nil {
				t.Fatalf("%s", out)
			}
			defer func() {
				if out, err := run("git", "apply", "--unsafe-paths", "--directory="+dir, "-R", m.path); err != nil {
					t.Fatalf("%s", out)
				}
			}()
			// A mutant that does not compile proves nothing.
			if out, err := run("go", "vet", m.pkg); err != nil {
				t.Fatalf("go vet: %s", out)
			}
			out, err := run("go", "test", "-count=1", "-short", "-timeout=120s", "-run", m.pattern, m.pkg)
			switch {
			case err == nil:
				t.Errorf("survived: %s", m.subject)
			case !bytes.Contains(out, []byte("--- FAIL")) && !bytes.Contains(out, []byte("panic:")):
				t.Errorf("%s: neither green nor red:\n%s", m.subject, out)
			}
		})
	}
}
