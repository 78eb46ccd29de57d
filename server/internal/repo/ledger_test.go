package repo

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const ledger = "docs/security-cases.md"

// The ledger of security cases says the truth: it has every case once, in order,
// none without a test or a reason, and each test that it names exists.
func TestLedger(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, ledger))
	if err != nil {
		t.Fatal(err)
	}
	tests := allTests(t)
	var numbers []int
	tiers := make(map[string]int)
	named := 0
	for i, line := range strings.Split(string(text), "\n") {
		at := fmt.Sprintf("%s:%d", ledger, i+1)
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| # |") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 4 {
			t.Errorf("%s: %d columns, want 4", at, len(cells))
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
			if cells[i] == "" {
				t.Errorf("%s: column %d is empty", at, i+1)
			}
		}
		n, err := strconv.Atoi(cells[0])
		if err != nil {
			t.Errorf("%s: %q is no number", at, cells[0])
		}
		numbers = append(numbers, n)
		tiers[cells[1]]++
		in := 0
		for _, m := range reference.FindAllStringSubmatch(cells[3], -1) {
			in++
			if !tests[m[1]] {
				t.Errorf("%s: case %d names %s, which does not exist", at, n, m[1])
			}
		}
		named += in
		if reason := reasons.FindStringSubmatch(cells[3]); in == 0 && (reason == nil || len(strings.TrimSpace(reason[1])) < 4) {
			t.Errorf("%s: case %d has neither a test nor a reason: %q", at, n, cells[3])
		}
	}
	if want := declared(t, string(text)); !slices.Equal(numbers, want) {
		t.Errorf("the rows are of the cases\n%v\nthe list at the top of the page has\n%v", numbers, want)
	}
	if want := map[string]int{"1": 125, "2": 116}; !maps.Equal(tiers, want) {
		t.Errorf("cases by tier: %v, want %v", tiers, want)
	}
	if named < 150 {
		t.Errorf("%d tests named: was the ledger read?", named)
	}
}

var (
	// reference is a test as the ledger names it.
	reference = regexp.MustCompile("`([a-z0-9/]+ (?:Test|Fuzz)[A-Za-z0-9_]*(?:/[^`]+)?)`")
	// reasons are how a row without a test begins.
	reasons = regexp.MustCompile(`^(?:Not built|Not held yet|Decided): (.*)`)
)

// declared is the list of numbers at the top of the ledger.
func declared(t *testing.T, text string) (numbers []int) {
	t.Helper()
	_, list, found := strings.Cut(text, "\nNumbers: ")
	list, _, ended := strings.Cut(list, "\n\n")
	if !found || !ended {
		t.Fatal("the ledger has no list of numbers")
	}
	for _, part := range strings.Fields(list) {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.Atoi(first)
		to, err2 := strconv.Atoi(last)
		if err != nil || err2 != nil || to < from {
			t.Fatalf("%q is no number and no range", part)
		}
		for n := from; n <= to; n++ {
			numbers = append(numbers, n)
		}
	}
	if len(numbers) != 241 {
		t.Fatalf("%d numbers at the top of the ledger, want 241", len(numbers))
	}
	return numbers
}

// allTests returns every test and fuzz target as the ledger names it, with the
// scripts and wire files that a test runs, and with the names that stand in it
// as text, which its subtests may have.
func allTests(t *testing.T) map[string]bool {
	t.Helper()
	all := make(map[string]bool)
	set := token.NewFileSet()
	files(t, "_test.go", func(name string, text []byte) {
		file, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.ToSlash(filepath.Dir(name))
		if dir == "." {
			dir = "durward"
		}
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !isTest(f) {
				continue
			}
			test := dir + " " + f.Name.Name
			all[test] = true
			ast.Inspect(f, func(n ast.Node) bool {
				if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
					if text, err := strconv.Unquote(l.Value); err == nil && text != "" {
						all[test+"/"+text] = true
					}
				}
				return true
			})
		}
	})
	scripts := map[string]string{"server/cmd/durward/testdata/script": "server/cmd/durward TestScripts", "testdata/wire": "durward TestWire"}
	files(t, ".txtar", func(name string, _ []byte) {
		if test, ok := scripts[filepath.ToSlash(filepath.Dir(name))]; ok {
			all[test+"/"+strings.TrimSuffix(filepath.Base(name), ".txtar")] = true
		}
	})
	return all
}

// isTest reports whether go test would run f: it takes what a test takes.
func isTest(f *ast.FuncDecl) bool {
	if !strings.HasPrefix(f.Name.Name, "Test") && !strings.HasPrefix(f.Name.Name, "Fuzz") || len(f.Type.Params.List) != 1 {
		return false
	}
	star, ok := f.Type.Params.List[0].Type.(*ast.StarExpr)
	if !ok {
		return false
	}
	kind, ok := star.X.(*ast.SelectorExpr)
	return ok && (kind.Sel.Name == "T" || kind.Sel.Name == "F")
}
