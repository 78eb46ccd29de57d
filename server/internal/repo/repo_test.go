// Package repo tests the repository itself: the layers of packages, the one place that writes
// refusals, and the commands, names and links in documents.
package repo

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// root is the repository's root folder, seen from this package.
const root = "../../.."

// tracked returns the names of all files but those that git ignores.
func tracked(t *testing.T) []string {
	t.Helper()
	names, err := allFiles()
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// allFiles is the list of tracked.
//
// It tells the test cache of Go that the result of the test depends on each of them: many tests read them by
// commands such as git and go list, which the cache does not see. The cache checks files whose names lie in the
// module of the test, the folder server. So the names begin with the folder of this package and go up by "..";
// filepath.Join would shorten them.
var allFiles = sync.OnceValues(func() ([]string, error) {
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", err)
	}
	here, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	names, seen := strings.Split(strings.Trim(string(out), "\x00"), "\x00"), make(map[string]bool)
	for _, name := range names {
		for ; !seen[name]; name = path.Dir(name) { // a folder changes with the list of its files
			seen[name] = true
			_, _ = os.Stat(here + "/" + root + "/" + name) // a deleted file counts, too
		}
	}
	return names, nil
})

// sources parses the Go files of the library, the adapters, the server and the examples, tests
// apart, and calls f with each.
func sources(t *testing.T, f func(name string, file *ast.File, set *token.FileSet)) {
	t.Helper()
	set := token.NewFileSet()
	files(t, ".go", func(name string, text []byte) {
		dir, _, _ := strings.Cut(name, "/")
		if strings.HasSuffix(name, "_test.go") || slices.Contains([]string{"tools", "bench", "e2e"}, dir) {
			return
		}
		file, err := parser.ParseFile(set, name, text, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		f(name, file, set)
	})
}

// files calls f with each file with this extension, except those that git ignores.
func files(t *testing.T, extension string, f func(name string, text []byte)) {
	t.Helper()
	n := 0
	for _, name := range tracked(t) {
		if !strings.HasSuffix(name, extension) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			t.Fatal(err)
		}
		n++
		f(name, text)
	}
	if n == 0 {
		t.Fatalf("found no %s file", extension)
	}
}

// TestWhoRefuses checks that only the guard's files write a 401, a 403 or a 407, the file with the errors of
// OAuth endpoints, and the file of the lab with the refusals of other servers.
func TestWhoRefuses(t *testing.T) {
	t.Parallel()
	refusing := []string{"StatusUnauthorized", "StatusForbidden", "StatusProxyAuthRequired"}
	writers := map[string]bool{"guard.go": true, "refusal.go": true, "proxy.go": true, "browser.go": true, "lab/raw.go": true, "server/internal/httpapi/oauth_error.go": true}
	// The client's files read refusals. They have no ResponseWriter, except client/signin.go, which answers the
	// user's browser and reads no refusals.
	readers := []string{
		"client/", "internal/check/", "internal/dpop/", "server/cmd/durward/fetch.go", "server/internal/doctor/",
	}
	sources(t, func(name string, file *ast.File, set *token.FileSet) {
		if writers[name] {
			return
		}
		if name != "client/signin.go" && slices.ContainsFunc(readers, func(r string) bool { return strings.HasPrefix(name, r) }) {
			ast.Inspect(file, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "ResponseWriter" {
					t.Errorf("%s: uses %s, but client code writes no responses", set.Position(n.Pos()), s.Sel.Name)
				}
				return true
			})
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if slices.Contains(refusing, n.Sel.Name) {
					t.Errorf("%s: uses %s, but only the guard writes refusals", set.Position(n.Pos()), n.Sel.Name)
				}
			case *ast.CallExpr:
				called, ok := n.Fun.(*ast.SelectorExpr)
				if ok && called.Sel.Name == "Values" {
					return false // http.Header.Values reads the field
				}
				if !ok || called.Sel.Name != "WriteHeader" && called.Sel.Name != "Error" {
					return true
				}
				for _, a := range n.Args {
					if l, ok := a.(*ast.BasicLit); ok && slices.Contains([]string{"401", "403", "407"}, l.Value) {
						t.Errorf("%s: writes %s, but only the guard writes refusals", set.Position(n.Pos()), l.Value)
					}
				}
			case *ast.BasicLit:
				text := strings.ToLower(strings.Trim(n.Value, "`\""))
				if n.Kind == token.STRING && (text == "www-authenticate" || text == "proxy-authenticate") {
					t.Errorf("%s: uses %s, but only the guard writes refusals", set.Position(n.Pos()), text)
				}
			}
			return true
		})
	})
}

// TestLinks checks that each link in a document points to an existing file and heading.
func TestLinks(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading := regexp.MustCompile(`(?m)^#+ +(.*)$`)
	anchors := func(text []byte) (all []string) {
		for _, h := range heading.FindAllSubmatch(text, -1) {
			a := strings.ToLower(string(h[1]))
			a = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(a, "")
			all = append(all, strings.ReplaceAll(a, " ", "-"))
		}
		return all
	}
	files(t, ".md", func(name string, text []byte) {
		for _, m := range link.FindAllSubmatch(text, -1) {
			target := string(m[1])
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			path, anchor, _ := strings.Cut(target, "#")
			at, whole := filepath.Join(root, filepath.Dir(name), path), text
			if path != "" {
				info, err := os.Stat(at)
				if err != nil {
					t.Errorf("%s links to %s: no such file", name, target)
					continue
				}
				if info.IsDir() {
					continue
				}
				if whole, err = os.ReadFile(at); err != nil {
					t.Fatal(err)
				}
			}
			if anchor != "" && !slices.Contains(anchors(whole), anchor) {
				t.Errorf("%s links to %s: no such heading", name, target)
			}
		}
	})
}

// TestWords checks that code and documents hold no notes of unfinished work.
func TestWords(t *testing.T) {
	t.Parallel()
	// The parts of each word stand apart, so that this file does not hold the words itself.
	notes := []string{"to" + "do", "fix" + "me", "x" + "xx", "for " + "now"}
	words := regexp.MustCompile(`(?i)\b(` + strings.Join(notes, "|") + `)\b|\.\./` + `shared|/` + `work/`)
	check := func(name string, text []byte) {
		for i, line := range strings.Split(string(text), "\n") {
			if m := words.FindString(line); m != "" {
				t.Errorf("%s:%d: %q in %q", name, i+1, m, strings.TrimSpace(line))
			}
		}
	}
	files(t, ".go", check)
	files(t, ".md", check)
	files(t, ".html", check)
}

// TestCitations checks that comments cite clauses in one form, "RFC 9110 s11.6.1", so that a search
// finds all of them.
func TestCitations(t *testing.T) {
	t.Parallel()
	loose := regexp.MustCompile(`RFC ?[0-9]{4}[ ,]+(section|sec\.?|§)`)
	cited := 0
	sources(t, func(name string, file *ast.File, set *token.FileSet) {
		for _, g := range file.Comments {
			cited += strings.Count(g.Text(), "RFC ")
			if m := loose.FindString(g.Text()); m != "" {
				t.Errorf("%s: citation %q, want the form RFC NNNN sN", set.Position(g.Pos()), m)
			}
		}
	})
	if cited < 50 {
		t.Errorf("found %d citations, want at least 50: the test does not read the comments", cited)
	}
}

// TestExportedIsDocumented checks that each exported function, method and type of the library has a
// comment.
func TestExportedIsDocumented(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"", "jwt", "htpasswd", "durwardtest"} {
		sources(t, func(name string, file *ast.File, set *token.FileSet) {
			if filepath.Dir(name) != filepath.Clean(dir) {
				return
			}
			for _, d := range file.Decls {
				switch d := d.(type) {
				case *ast.FuncDecl:
					if d.Name.IsExported() && d.Doc == nil && (d.Recv == nil || exported(d.Recv.List[0].Type)) {
						t.Errorf("%s: %s has no comment", set.Position(d.Pos()), d.Name.Name)
					}
				case *ast.GenDecl:
					for _, s := range d.Specs {
						if s, ok := s.(*ast.TypeSpec); ok && s.Name.IsExported() && d.Doc == nil && s.Doc == nil {
							t.Errorf("%s: %s has no comment", set.Position(s.Pos()), s.Name.Name)
						}
					}
				}
			}
		})
	}
}

// exported reports whether a receiver has an exported type.
func exported(receiver ast.Expr) bool {
	if star, ok := receiver.(*ast.StarExpr); ok {
		receiver = star.X
	}
	name, ok := receiver.(*ast.Ident)
	return ok && name.IsExported()
}
