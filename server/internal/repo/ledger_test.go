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

// TestLedger checks the ledger of security cases: it lists each case once and in order, each row
// names a test or a reason, and each named test exists.
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
			t.Errorf("%s: case number %q is not a number", at, cells[0])
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
		reason := reasons.FindStringSubmatch(cells[3])
		if in == 0 && (reason == nil || len(strings.TrimSpace(reason[1])) < 4) {
			t.Errorf("%s: case %d names no test and no reason: %q", at, n, cells[3])
		}
	}
	if want := declared(t, string(text)); !slices.Equal(numbers, want) {
		t.Errorf("case numbers of the rows: got\n%v\nwant, as at the top of the page,\n%v", numbers, want)
	}
	if want := map[string]int{"1": 125, "2": 116}; !maps.Equal(tiers, want) {
		t.Errorf("cases by tier: %v, want %v", tiers, want)
	}
	if named < 150 {
		t.Errorf("found %d named tests, want at least 150: the test does not read the rows", named)
	}
}

var (
	// reference matches a test's name in a document: `package TestName` or `package TestName/row`.
	reference = regexp.MustCompile("`([a-z0-9/]+ (?:Test|Fuzz)[A-Za-z0-9_]*(?:/[^`]+)?)`")
	// reasons matches the last column of a row without a test.
	reasons = regexp.MustCompile(`^(?:Not built|Not held yet|Decided): (.*)`)
)

// declared returns the case numbers that the top of the ledger lists.
func declared(t *testing.T, text string) (numbers []int) {
	t.Helper()
	_, list, found := strings.Cut(text, "\nNumbers: ")
	list, _, ended := strings.Cut(list, "\n\n")
	if !found || !ended {
		t.Fatal("the ledger has no list \"Numbers: …\"")
	}
	for _, part := range strings.Fields(list) {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err := strconv.Atoi(first)
		to, err2 := strconv.Atoi(last)
		if err != nil || err2 != nil || to < from {
			t.Fatalf("list of case numbers: %q is neither a number nor a range", part)
		}
		for n := from; n <= to; n++ {
			numbers = append(numbers, n)
		}
	}
	if len(numbers) != 241 {
		t.Fatalf("list of case numbers: got %d, want 241", len(numbers))
	}
	return numbers
}

// allTests returns the names of all tests and fuzz targets in the form "package TestName". It adds
// "package TestName/row" for each script or wire file that a test runs and for each string literal
// in a test, because a subtest may have that name.
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
	scripts := map[string]string{
		"server/cmd/durward/testdata/script": "server/cmd/durward TestScripts",
		"testdata/wire":                      "durward TestWire",
	}
	files(t, ".txtar", func(name string, _ []byte) {
		if test, ok := scripts[filepath.ToSlash(filepath.Dir(name))]; ok {
			all[test+"/"+strings.TrimSuffix(filepath.Base(name), ".txtar")] = true
		}
	})
	return all
}

// isTest reports whether go test runs f: its name and its parameter are those of a test.
func isTest(f *ast.FuncDecl) bool {
	name := f.Name.Name
	if !strings.HasPrefix(name, "Test") && !strings.HasPrefix(name, "Fuzz") || len(f.Type.Params.List) != 1 {
		return false
	}
	star, ok := f.Type.Params.List[0].Type.(*ast.StarExpr)
	if !ok {
		return false
	}
	kind, ok := star.X.(*ast.SelectorExpr)
	return ok && (kind.Sel.Name == "T" || kind.Sel.Name == "F")
}
