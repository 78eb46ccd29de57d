package repo

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// mutation is a patch that removes one security check. Above its diff stand a sentence that names
// the check and a line "test: PACKAGE [REGEXP]" with the tests of which at least one must fail.
type mutation struct {
	path         string // absolute
	subject      string // the first line
	pkg, pattern string // of the tests
}

var testLine = regexp.MustCompile(`(?m)^test: (\S+)(?: (\S+))?$`)

func mutations(t *testing.T) (all []mutation) {
	t.Helper()
	tracked(t) // git apply reads them
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
			t.Errorf("%s: want a sentence, a line \"test: PACKAGE [REGEXP]\" and a diff", path)
			continue
		}
		if path, err = filepath.Abs(path); err != nil {
			t.Fatal(err)
		}
		all = append(all, mutation{path, subject, test[1], test[2]})
	}
	if len(all) == 0 {
		t.Fatal("found no mutations")
	}
	return all
}

// TestMutationsFit checks that each patch applies to the code.
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

// TestMutations applies each patch to a copy of the repository and checks that a test fails. As many
// patches run at a time as there are processors, each in a copy of its own. It takes an hour on two
// processors and runs only with the environment variable MUTATIONS, which make mutations sets.
func TestMutations(t *testing.T) {
	if os.Getenv("MUTATIONS") == "" {
		t.Skip("only make mutations runs this test")
	}
	all := mutations(t)
	copies := make(chan string, runtime.GOMAXPROCS(0))
	for range cap(copies) {
		copies <- checkout(t)
	}
	for _, m := range all {
		t.Run(strings.TrimSuffix(filepath.Base(m.path), ".patch"), func(t *testing.T) {
			t.Parallel()
			dir := <-copies
			defer func() { copies <- dir }()
			run := func(name string, args ...string) ([]byte, error) {
				cmd := exec.Command(name, args...)
				cmd.Dir = dir
				return cmd.CombinedOutput()
			}
			if out, err := run("git", "apply", "--unsafe-paths", "--directory="+dir, m.path); err != nil {
				t.Fatalf("%s", out)
			}
			defer func() {
				if out, err := run("git", "apply", "--unsafe-paths", "--directory="+dir, "-R", m.path); err != nil {
					t.Fatalf("%s", out)
				}
			}()
			out, err := run("go", "test", "-count=1", "-short", "-vet=off", "-failfast", "-timeout=120s", "-run", m.pattern, m.pkg)
			switch {
			case err == nil:
				t.Errorf("all tests pass with this check removed: %s", m.subject)
			case !bytes.Contains(out, []byte("--- FAIL")) && !bytes.Contains(out, []byte("panic:")):
				// For example, the code does not compile.
				t.Errorf("%s: the tests did not run to their end:\n%s", m.subject, out)
			}
		})
	}
}
