// Package repo holds tests about the repository itself: which way imports point,
// who writes a refusal, whether the documents tell the truth.
package repo

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// root is the repository.
const root = "../../.."

const module = "github.com/durward-auth/durward"

// layers are the packages, each in its layer. Imports point down; edges names
// those allowed inside a layer.
var layers = map[string]int{
	"server/cmd/durward":   4,
	"server/internal/node": 4, "server/internal/httpapi": 3, "api": 3,
	"server/internal/oauth": 2, "server/internal/account": 2, "tokenstore/redis": 2,
	"server/internal/store": 1, "server/internal/limits": 1, "internal/valkey": 1, "server/internal/revocation": 1, "internal/revoked": 1,
	"": 0, "jwt": 0, "htpasswd": 0, "oauth2source": 0, "internal/pwhash": 0, "server/internal/seal": 0,
}

var edges = map[string][]string{
	"server/cmd/durward":      {"server/internal/node"},
	"server/internal/httpapi": {"api"},
	"jwt":                     {""},
	"htpasswd":                {"", "internal/pwhash"}, "oauth2source": {""},
	"server/internal/oauth":      {"server/internal/account"},
	"server/internal/limits":     {"internal/valkey"},
	"server/internal/revocation": {"internal/valkey", "internal/revoked", "server/internal/store"},
}

// outside are packages that may import anything and that nothing imports.
var outside = []string{"internal/faults", "server/internal/repo", "internal/services", "durwardtest", "server/servertest"}

// everywhere matches the packages of the library and of the server.
var everywhere = []string{"./...", "./server/...", "./htpasswd/...", "./oauth2source/...", "./tokenstore/redis/...", "./internal/pwhash/...", "./internal/valkey/..."}

type listed struct {
	ImportPath string
	Imports    []string
	Standard   bool
	Deps       []string
	Export     string // file of export data, where -export asks for it
}

func list(t *testing.T, args ...string) (all []listed) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Standard,Deps,Export"}, args...)...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// Imports point down.
func TestLayers(t *testing.T) {
	t.Parallel()
	name := func(path string) (string, bool) {
		if path == module {
			return "", true
		}
		return strings.CutPrefix(path, module+"/")
	}
	for _, p := range list(t, everywhere...) {
		from, _ := name(p.ImportPath)
		if slices.ContainsFunc(p.Imports, func(i string) bool { to, ours := name(i); return ours && slices.Contains(outside, to) }) {
			t.Errorf("%q imports a package that is for tests alone: %q", from, p.Imports)
		}
		if slices.Contains(outside, from) {
			continue
		}
		layer, ok := layers[from]
		if !ok {
			t.Errorf("package %q is in no layer", from)
			continue
		}
		for _, i := range p.Imports {
			to, ours := name(i)
			if !ours {
				continue
			}
			below, ok := layers[to]
			if !ok || below > layer || below == layer && !slices.Contains(edges[from], to) {
				t.Errorf("%q imports %q, which is not below it", from, to)
			}
		}
	}
}

// The library needs the standard library alone, and only the store knows a
// database, only the HTTP packages HTTP.
func TestWhoMayImport(t *testing.T) {
	t.Parallel()
	standard := make(map[string]bool)
	for _, p := range list(t, "std") {
		standard[p.ImportPath] = true
	}
	for _, p := range list(t, ".") {
		for _, dep := range p.Deps {
			if !standard[dep] && dep != module {
				t.Errorf("package durward depends on %s", dep)
			}
		}
	}
	for _, rule := range []struct {
		what string
		who  []string
	}{
		{"database/sql", []string{"server/internal/store"}},
		{"modernc.org/sqlite", []string{"server/internal/store"}},
		{"net/http", []string{"", "jwt", "api", "oauth2source", "server/internal/httpapi", "server/cmd/durward"}},
		{"math/rand", nil}, {"math/rand/v2", nil},
		{"unsafe", nil}, {"encoding/gob", nil},
		{"net/http/pprof", nil}, {"expvar", nil}, // they put themselves on http.DefaultServeMux
	} {
		for _, p := range list(t, everywhere...) {
			from := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
			if slices.Contains(p.Imports, rule.what) && !slices.Contains(rule.who, from) && !slices.Contains(outside, from) {
				t.Errorf("%q imports %s", from, rule.what)
			}
		}
	}
}

// sources calls f with every Go file that is part of the product.
func sources(t *testing.T, f func(name string, file *ast.File, set *token.FileSet)) {
	t.Helper()
	set := token.NewFileSet()
	files(t, ".go", func(name string, text []byte) {
		if strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "tools/") || strings.HasPrefix(name, "bench/") || strings.HasPrefix(name, "e2e/") {
			return
		}
		file, err := parser.ParseFile(set, name, text, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		f(name, file, set)
	})
}

// files calls f with every file of an extension that git knows or would.
func files(t *testing.T, extension string, f func(name string, text []byte)) {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	n := 0
	for name := range strings.SplitSeq(strings.Trim(string(out), "\x00"), "\x00") {
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
		t.Fatalf("no file %s was found", extension)
	}
}

// One piece of code writes a 401, a 403 or a 407: the guard.
func TestWhoRefuses(t *testing.T) {
	t.Parallel()
	refusing := []string{"StatusUnauthorized", "StatusForbidden", "StatusProxyAuthRequired"}
	writers := map[string]bool{"guard.go": true, "refusal.go": true, "proxy.go": true, "browser.go": true}
	// A client reads refusals, and has nothing to write one to.
	readers := map[string]bool{"transport.go": true, "transport_proxy.go": true, "password.go": true, "grant.go": true, "server/cmd/durward/fetch.go": true}
	sources(t, func(name string, file *ast.File, set *token.FileSet) {
		if writers[name] {
			return
		}
		if readers[name] {
			ast.Inspect(file, func(n ast.Node) bool {
				if s, ok := n.(*ast.SelectorExpr); ok && s.Sel.Name == "ResponseWriter" {
					t.Errorf("%s names %s: a client writes no answer", set.Position(n.Pos()), s.Sel.Name)
				}
				return true
			})
			return
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				if slices.Contains(refusing, n.Sel.Name) {
					t.Errorf("%s names %s: refusals are the guard's", set.Position(n.Pos()), n.Sel.Name)
				}
			case *ast.CallExpr:
				called, ok := n.Fun.(*ast.SelectorExpr)
				if ok && called.Sel.Name == "Values" {
					return false // a client reads the field
				}
				if !ok || called.Sel.Name != "WriteHeader" && called.Sel.Name != "Error" {
					return true
				}
				for _, a := range n.Args {
					if l, ok := a.(*ast.BasicLit); ok && slices.Contains([]string{"401", "403", "407"}, l.Value) {
						t.Errorf("%s writes %s: refusals are the guard's", set.Position(n.Pos()), l.Value)
					}
				}
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING && (strings.EqualFold(text, "WWW-Authenticate") || strings.EqualFold(text, "Proxy-Authenticate")) {
					t.Errorf("%s names %s: refusals are the guard's", set.Position(n.Pos()), text)
				}
			}
			return true
		})
	})
}

// Links of documents lead to files that are there and headings that are there.
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
					t.Errorf("%s links to %s, which is not there", name, target)
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

// Code and documents speak of the product: no words of the work on it.
func TestWords(t *testing.T) {
	t.Parallel()
	words := regexp.MustCompile(`(?i)\b(` + strings.Join([]string{"to" + "do", "fix" + "me", "x" + "xx", "for " + "now", "place" + "holder"}, "|") + `)\b|\.\./` + `shared|/` + `work/`)
	check := func(name string, text []byte) {
		for i, line := range strings.Split(string(text), "\n") {
			if m := words.FindString(line); m != "" && !strings.Contains(line, `placeholder:"`) {
				t.Errorf("%s:%d: %q in %q", name, i+1, m, strings.TrimSpace(line))
			}
		}
	}
	files(t, ".go", check)
	files(t, ".md", check)
	files(t, ".html", check)
}

// Every clause that code cites has the one form that can be searched for.
func TestCitations(t *testing.T) {
	t.Parallel()
	loose := regexp.MustCompile(`RFC ?[0-9]{4}[ ,]+(section|sec\.?|§)`)
	cited := 0
	sources(t, func(name string, file *ast.File, set *token.FileSet) {
		for _, g := range file.Comments {
			cited += strings.Count(g.Text(), "RFC ")
			if m := loose.FindString(g.Text()); m != "" {
				t.Errorf("%s: %q, want RFC NNNN sN", set.Position(g.Pos()), m)
			}
		}
	})
	if cited < 50 {
		t.Errorf("%d clauses cited: were the comments read?", cited)
	}
}

// What the library exports has a comment.
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

// exported reports whether a receiver's type can be seen outside its package.
func exported(receiver ast.Expr) bool {
	if star, ok := receiver.(*ast.StarExpr); ok {
		receiver = star.X
	}
	name, ok := receiver.(*ast.Ident)
	return ok && name.IsExported()
}
