package repo

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// around declares the imports and the variables that the documents' Go blocks use without declaring
// them.
const around = `package documented

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/durwardtest"
	"github.com/durward-auth/durward/htpasswd"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/servertest"
)

var (
	events       <-chan string
	mux          *http.ServeMux
	notes, login http.Handler
	guard        *durward.Guard
	schemes      []durward.Scheme
	verifier     *jwt.Verifier
	keys         *jwt.RemoteKeys
	secret, key  string
	ctx          context.Context
	response     *http.Response
	resp         *http.Response
	c            *http.Client
	store        client.TokenStore
	server       *api.Client
	oauth        *client.OAuth
	password     string
	path, token  string
	refresh      func(token string) (string, error)
	signOut      func()

	customers     map[string]bool
	withClusterCA *http.Transport
	askPassword  func() string
	roots        *x509.CertPool
	w            http.ResponseWriter
	r            *http.Request
	db           interface {
		OwnerOf(ctx context.Context, token string) (string, error)
	}
	sessions interface {
		Find(ctx context.Context, value string) (*durward.Principal, error)
	}
	parse  func(token string) (subject string, err error)
	people, users interface {
		SignIn(ctx context.Context, user, password string) (*durward.Principal, error)
		Stored(ctx context.Context, user string) (string, error)
		HA1(ctx context.Context, user, realm, algorithm string) ([]byte, *durward.Principal, error)
	}
)
`

// TestGoOfDocuments type-checks the Go blocks of the documents. A block holds a complete program,
// declarations or the statements of a function.
func TestGoOfDocuments(t *testing.T) {
	t.Parallel()
	exported := make(map[string]string)
	packages := []string{
		".", "./client", "./jwt", "./htpasswd", "./api", "./durwardtest", "./lab", "./server", "./server/servertest",
		"database/sql", "log", "log/slog", "net/http/httptest", "testing",
	}
	for _, p := range list(t, append([]string{"-export", "-deps"}, packages...)...) {
		exported[p.ImportPath] = p.Export
	}
	set := token.NewFileSet()
	open := func(path string) (io.ReadCloser, error) { return os.Open(exported[path]) }
	config := types.Config{Importer: importer.ForCompiler(set, "gc", open)}
	for _, doc := range []string{"README.md", "docs/library.md", "docs/check.md", "docs/lab.md", "docs/client.md", "docs/providers.md", "docs/embedding.md"} {
		blocks := 0
		for _, b := range blocksOf(t, filepath.Join(root, doc)) {
			if b.language != "go" {
				continue
			}
			blocks++
			before := around
			if strings.HasPrefix(b.text, "package ") { // a complete program
				before = ""
			}
			// The parser resolves the name in the folder of doc.
			text := fmt.Sprintf("//line %s:%d\n", filepath.Base(doc), b.line+1) + b.text
			file, err := parser.ParseFile(set, doc, before+text, parser.SkipObjectResolution)
			if err != nil {
				text = "func _() {\n" + text + "}\n"
				file, err = parser.ParseFile(set, doc, before+text, parser.SkipObjectResolution)
			}
			if err != nil {
				t.Error(err)
				continue
			}
			config.Error = func(err error) {
				// Unused variables and imports are soft errors; a short block has many.
				if wrong := (types.Error{}); !errors.As(err, &wrong) || !wrong.Soft {
					t.Error(err)
				}
			}
			_, _ = config.Check("documented", set, []*ast.File{file}, nil) // config.Error reports each error
		}
		if blocks == 0 {
			t.Errorf("%s: found no Go block", doc)
		}
	}
}

// TestNamedTests checks that each test named in the threat model exists. TestLedger checks the
// ledger.
func TestNamedTests(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "docs/threat-model.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests, named := allTests(t), reference.FindAllSubmatch(text, -1)
	for _, m := range named {
		if !tests[string(m[1])] {
			t.Errorf("docs/threat-model.md names the test %s, which does not exist", m[1])
		}
	}
	if len(named) < 40 {
		t.Errorf("found %d named tests, want at least 40: the test does not read the threat model", len(named))
	}
}

// TestEndpointsOfDocuments checks that docs/server.md and openapi.json list the same endpoints.
func TestEndpointsOfDocuments(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "server/internal/httpapi/openapi.json"))
	if err != nil {
		t.Fatal(err)
	}
	var api struct{ Paths map[string]map[string]any }
	if err := json.Unmarshal(text, &api); err != nil {
		t.Fatal(err)
	}
	described := make(map[string]bool)
	for path, methods := range api.Paths {
		for method := range methods {
			described[strings.ToUpper(method)+" "+path] = true
		}
	}
	page, err := os.ReadFile(filepath.Join(root, "docs/server.md"))
	if err != nil {
		t.Fatal(err)
	}
	endpoint := regexp.MustCompile("`((?:GET|POST|PATCH|PUT|DELETE) /[^`]*)`")
	documented := make(map[string]bool)
	for line := range strings.Lines(string(page)) {
		row, _, _ := strings.Cut(strings.TrimPrefix(line, "|"), "|")
		for _, m := range endpoint.FindAllStringSubmatch(row, -1) {
			if strings.HasPrefix(line, "|") {
				documented[m[1]] = true
			}
		}
	}
	for e := range described {
		if !documented[e] {
			t.Errorf("docs/server.md does not list %s", e)
		}
	}
	for e := range documented {
		if !described[e] {
			t.Errorf("docs/server.md lists %s, which openapi.json does not", e)
		}
	}
}

// explanations is the folder of the explanations. Package explain tests their links, related pages and
// programs.
const explanations = "server/internal/explain/texts/"

// TestNamesInDocuments checks that the codes, configuration keys and environment variables named in
// documents exist.
func TestNamesInDocuments(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	codes, reference := read("refusal.go"), read("docs/config.md")
	code := regexp.MustCompile(`\b[A-Z]+(?:_[A-Z]+)+\b`)
	key := regexp.MustCompile("`(?:database|tokens|limits|passwords|log)\\.[a-z0-9_]+`")
	found := 0
	files(t, ".md", func(name string, text []byte) {
		if strings.HasPrefix(name, "docs/adr/") || strings.Contains(name, "testdata/") ||
			name == "docs/config.md" || name == ledger {
			return
		}
		for _, m := range code.FindAllString(string(text), -1) {
			found++
			switch {
			case strings.HasPrefix(m, "DURWARD_"):
				if !strings.Contains(reference, "`"+m+"`") {
					t.Errorf("%s names the variable %s, which docs/config.md does not list", name, m)
				}
			case strings.HasPrefix(name, explanations): // they name the variables of other products
			case strings.HasPrefix(m, "AF_"): // of systemd
			case m == "SANITIZE_SET", m == "APPEND_FORWARD", m == "FORWARD_ONLY", m == "ALWAYS_FORWARD_ONLY": // of Envoy
			case !strings.Contains(codes, `"`+m+`"`):
				t.Errorf("%s names the code %s, which refusal.go does not define", name, m)
			}
		}
		for _, m := range key.FindAllString(string(text), -1) {
			found++
			if !strings.Contains(reference, "### "+m) {
				t.Errorf("%s names the key %s, which docs/config.md does not list", name, m)
			}
		}
	})
	if found < 50 {
		t.Errorf("found %d names, want at least 50: the test does not read the documents", found)
	}
}

// TestFieldsOfDocuments checks that docs/library.md names each exported field of the structs listed
// here.
func TestFieldsOfDocuments(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(root, "docs/library.md"))
	if err != nil {
		t.Fatal(err)
	}
	structs := map[string]bool{ // to whether the struct was found
		"guard.go Config":                 false,
		"guard.go Policy":                 false,
		"principal.go Principal":          false,
		"digest.go DigestConfig":          false,
		"jwt/verify.go Config":            false,
		"htpasswd/file.go Config":         false,
		"htpasswd/digest.go DigestConfig": false,
	}
	sources(t, func(name string, file *ast.File, _ *token.FileSet) {
		ast.Inspect(file, func(n ast.Node) bool {
			declared, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			fields, ok := declared.Type.(*ast.StructType)
			if _, wanted := structs[name+" "+declared.Name.Name]; !ok || !wanted {
				return true
			}
			structs[name+" "+declared.Name.Name] = true
			for _, f := range fields.Fields.List {
				for _, id := range f.Names {
					if id.IsExported() && !strings.Contains(string(page), "`"+id.Name+"`") {
						t.Errorf("docs/library.md does not name %s.%s of %s", declared.Name.Name, id.Name, name)
					}
				}
			}
			return true
		})
	})
	for name, found := range structs {
		if !found {
			t.Errorf("found no struct %s", name)
		}
	}
}
