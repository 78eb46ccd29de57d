package repo

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// block is one fenced block of a document.
type block struct {
	language string
	section  string // the heading it stands under
	text     string
	line     int
}

func blocksOf(t *testing.T, path string) (blocks []block) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var open *block
	section := ""
	for i, line := range strings.Split(string(text), "\n") {
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && open == nil:
			open = &block{language: fence, section: section, line: i + 1}
		case isFence:
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		case strings.HasPrefix(line, "#"):
			section = strings.TrimLeft(line, "# ")
		}
	}
	return blocks
}

// Every command of README and quickstart works, in order, and prints what the
// document says it prints.
func TestCommands(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"curl", "make", "sh"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("%s is not installed", tool)
			}
			t.Skipf("SKIPPED: %s is not installed", tool)
		}
	}
	for _, doc := range []string{"README.md", "docs/quickstart.md"} {
		t.Run(doc, func(t *testing.T) {
			t.Parallel()
			runDocument(t, filepath.Join(root, doc))
		})
	}
}

// runDocument runs the sh blocks of a document in one shell, in a copy of the
// repository's root. A block that starts a server gets a process and a free port
// of its own.
func runDocument(t *testing.T, path string) {
	dir := checkout(t)
	env := append(os.Environ(), "DURWARD_LISTEN=127.0.0.1:0", "CI=", "MAKEFLAGS=")
	shell := newShell(t, dir, env)
	url := ""
	var printed string
	for _, b := range blocksOf(t, path) {
		switch b.language {
		case "sh":
			if command := strings.TrimSpace(b.text); command == "make run" || strings.Contains(command, "durward serve") {
				url = startServer(t, dir, append(env, "PATH="+filepath.Join(dir, ".build")+":"+os.Getenv("PATH")), command)
				continue
			}
			printed = shell.run(b, strings.ReplaceAll(b.text, "http://127.0.0.1:8401", url))
		case "text":
			matches(t, path, b, printed)
		}
	}
}

// What operations says to do works: its configuration is a good one, a backup
// under a running server, a restore that revives no session, keys thrown away.
func TestOperations(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{"openssl", "sh", "sqlite3"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatalf("%s is not installed", tool)
			}
			t.Skipf("SKIPPED: %s is not installed", tool)
		}
	}
	dir := t.TempDir()
	data, backup := filepath.Join(dir, "data"), filepath.Join(dir, "backup")
	if err := os.Mkdir(backup, 0o700); err != nil {
		t.Fatal(err)
	}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", filepath.Join(dir, "durward"), "./server/cmd/durward")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	env := append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "DURWARD_PASSWORDS_ARGON2_MEMORY=64")
	sh := newShell(t, dir, env)
	// As the operator types it, with this folder in place of the system's. The first
	// configuration of the page is the one that all else goes by.
	config := ""
	here := strings.NewReplacer("sudo -u durward ", "", " -o durward -g durward", "", "/etc/durward/durward.toml", filepath.Join(dir, "0.toml"), "/var/lib/durward", data, "/backup", backup)
	for i, b := range blocksOf(t, filepath.Join(root, "docs/operations.md")) {
		if b.language != "toml" {
			continue
		}
		path := filepath.Join(dir, fmt.Sprint(i, ".toml"))
		if config == "" {
			path = here.Replace("/etc/durward/durward.toml")
			config = " --config " + path
		}
		if err := os.WriteFile(path, []byte(here.Replace(b.text)), 0o600); err != nil {
			t.Fatal(err)
		}
		sh.run(b, "durward config check --config "+path)
	}
	sh.run(block{}, "echo 'plenty of words in a row' | durward user add ada@example.com --password-stdin"+config)
	var url string
	var stop func()
	start := func() {
		cmd := exec.Command(filepath.Join(dir, "durward"), "serve", "--listen", "127.0.0.1:0", "--config", here.Replace("/etc/durward/durward.toml"))
		cmd.Env = env
		url, stop = serving(t, cmd)
	}
	ask := func(r *http.Request) *http.Response {
		t.Helper()
		r.Header.Set("X-Forwarded-Proto", "https") // as the proxy before it says
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	post := func(path, body string) (status int, answer string) {
		t.Helper()
		r, err := http.NewRequest("POST", url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		a := ask(r)
		defer a.Body.Close()
		text, err := io.ReadAll(a.Body)
		if err != nil {
			t.Fatal(err)
		}
		return a.StatusCode, string(text)
	}
	signIn := func() (refresh string) {
		t.Helper()
		status, answer := post("/api/auth/login", `{"email":"ada@example.com","password":"plenty of words in a row"}`)
		if m := regexp.MustCompile(`"refresh_token":"([^"]+)"`).FindStringSubmatch(answer); status == 200 && m != nil {
			return m[1]
		}
		t.Fatalf("sign-in: %d %s", status, answer)
		return ""
	}
	spent := func(token string) {
		t.Helper()
		if status, answer := post("/api/auth/refresh", `{"refresh_token":"`+token+`"}`); status != 401 || !strings.Contains(answer, "REFRESH_INVALID") {
			t.Errorf("a refresh token of before: %d %s", status, answer)
		}
	}
	do := func(section string) (printed string) {
		t.Helper()
		done := 0
		for _, b := range blocksOf(t, filepath.Join(root, "docs/operations.md")) {
			if b.section != section || b.language != "console" {
				continue
			}
			for line := range strings.Lines(b.text) {
				done++
				switch command := strings.TrimSpace(line[2:]); command {
				case "systemctl stop durward":
					stop()
				case "systemctl start durward":
					start()
				default:
					printed += sh.run(b, here.Replace(command))
				}
			}
		}
		if done == 0 {
			t.Fatalf("there is nothing to do under %q", section)
		}
		return printed
	}

	newKey := func() string {
		return strings.TrimSpace(sh.run(block{}, "durward apikey add ada@example.com --name Nightly"+config))
	}
	key := newKey()
	withKey := func(want int) {
		t.Helper()
		r, err := http.NewRequest("GET", url+"/api/profile", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-API-Key", key)
		answer := ask(r)
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("a key of before: %s, want %d", answer.Status, want)
		}
	}

	start()
	held := signIn()
	withKey(200)
	do("Backup")
	if info, err := os.Stat(filepath.Join(backup, "durward.db")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the backup: %v %v", info, err)
	}
	if printed := do("Logs"); !strings.Contains(printed, "signed_in") {
		t.Errorf("the security log shows no sign-in:\n%s", printed)
	}
	do("Restore")
	spent(held)
	withKey(401)
	held, key = signIn(), newKey()
	do("When both were stolen")
	spent(held)
	withKey(401)
	signIn()
	stop()
}

// checkout is a copy of what git would clone, so that nothing is left behind in
// this one.
func checkout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = root
	files, err := list.Output()
	if err != nil {
		t.Fatalf("git ls-files: %v", err)
	}
	for name := range strings.SplitSeq(strings.Trim(string(files), "\x00"), "\x00") {
		text, err := os.ReadFile(filepath.Join(root, name))
		if os.IsNotExist(err) {
			continue // deleted, not yet committed
		} else if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// around is what the Go of the documents stands in: what it imports, and what a
// reader's own program has.
const around = `package documented

import (
	"context"
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
	client       *http.Client
	store        durward.TokenStore
	config       durward.TokensConfig
	password     string
	path, token  string
	refresh      func(token string) (string, error)
	signOut      func()
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
	people interface {
		SignIn(ctx context.Context, user, password string) (*durward.Principal, error)
		Stored(ctx context.Context, user string) (string, error)
		HA1(ctx context.Context, user, realm, algorithm string) ([]byte, *durward.Principal, error)
	}
)
`

// The Go of the documents compiles. A block is declarations, or what stands in a
// function.
func TestGoOfDocuments(t *testing.T) {
	t.Parallel()
	exported := make(map[string]string)
	for _, p := range list(t, "-export", "-deps", ".", "./jwt", "./htpasswd", "./api", "./durwardtest", "./server/servertest", "database/sql", "log", "log/slog", "testing") {
		exported[p.ImportPath] = p.Export
	}
	set := token.NewFileSet()
	config := types.Config{Importer: importer.ForCompiler(set, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exported[path]) })}
	for _, doc := range []string{"README.md", "docs/library.md", "docs/client.md"} {
		blocks := 0
		for _, b := range blocksOf(t, filepath.Join(root, doc)) {
			if b.language != "go" {
				continue
			}
			blocks++
			at := fmt.Sprintf("//line %s:%d\n", filepath.Base(doc), b.line+1) // beside doc
			file, err := parser.ParseFile(set, doc, around+at+b.text, parser.SkipObjectResolution)
			if err != nil {
				file, err = parser.ParseFile(set, doc, around+"func _() {\n"+at+b.text+"}\n", parser.SkipObjectResolution)
			}
			if err != nil {
				t.Error(err)
				continue
			}
			config.Error = func(err error) {
				// Soft errors are variables and imports that a short block does not use.
				if wrong := (types.Error{}); !errors.As(err, &wrong) || !wrong.Soft {
					t.Error(err)
				}
			}
			_, _ = config.Check("documented", set, []*ast.File{file}, nil) // each error was seen above
		}
		if blocks == 0 {
			t.Errorf("%s: no Go was found", doc)
		}
	}
}

// Tests that the threat model names are there; the ledger of cases has a test of
// its own.
func TestNamedTests(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, "docs/threat-model.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests, named := allTests(t), reference.FindAllSubmatch(text, -1)
	for _, m := range named {
		if !tests[string(m[1])] {
			t.Errorf("the threat model names %s, which does not exist", m[1])
		}
	}
	if len(named) < 40 {
		t.Errorf("%d tests named: was the threat model read?", len(named))
	}
}

// The page about the server has every endpoint of the API's description, and no
// other.
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
	documented := make(map[string]bool)
	for line := range strings.Lines(string(page)) {
		row, _, _ := strings.Cut(strings.TrimPrefix(line, "|"), "|")
		for _, m := range regexp.MustCompile("`((?:GET|POST|PATCH|PUT|DELETE) /[^`]*)`").FindAllStringSubmatch(row, -1) {
			if strings.HasPrefix(line, "|") {
				documented[m[1]] = true
			}
		}
	}
	for e := range described {
		if !documented[e] {
			t.Errorf("docs/server.md has no %s", e)
		}
	}
	for e := range documented {
		if !described[e] {
			t.Errorf("docs/server.md has %s, which the description of the API has not", e)
		}
	}
}

// Codes, keys of the configuration and variables that the documents name are
// there.
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
		if strings.HasPrefix(name, "docs/adr/") || strings.Contains(name, "testdata/") || name == "docs/config.md" || name == ledger {
			return
		}
		for _, m := range code.FindAllString(string(text), -1) {
			found++
			switch {
			case strings.HasPrefix(m, "DURWARD_"):
				if !strings.Contains(reference, "`"+m+"`") {
					t.Errorf("%s names the variable %s, which is none", name, m)
				}
			case strings.HasPrefix(m, "AF_"):
			case !strings.Contains(codes, `"`+m+`"`):
				t.Errorf("%s names the code %s, which is none", name, m)
			}
		}
		for _, m := range key.FindAllString(string(text), -1) {
			found++
			if !strings.Contains(reference, "### "+m) {
				t.Errorf("%s names the key %s, which is none", name, m)
			}
		}
	})
	if found < 50 {
		t.Errorf("%d names found: were the documents read?", found)
	}
}

// The page about the library has every field that is to be set or read.
func TestFieldsOfDocuments(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join(root, "docs/library.md"))
	if err != nil {
		t.Fatal(err)
	}
	structs := map[string]bool{"guard.go Config": false, "guard.go Policy": false, "principal.go Principal": false, "digest.go DigestConfig": false, "jwt/verify.go Config": false, "htpasswd/file.go Config": false, "htpasswd/digest.go DigestConfig": false}
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
						t.Errorf("docs/library.md says nothing of %s of %s in %s", id.Name, declared.Name.Name, name)
					}
				}
			}
			return true
		})
	})
	for name, found := range structs {
		if !found {
			t.Errorf("there is no struct %s", name)
		}
	}
}

// startServer runs a command that ends in a server and returns where it listens.
func startServer(t *testing.T, dir string, env []string, command string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir, cmd.Env = dir, env
	url, _ := serving(t, cmd)
	return url
}

// serving starts a command that ends in a server, and returns where it listens
// and what stops it; the end of the test does too.
func serving(t *testing.T, cmd *exec.Cmd) (url string, stop func()) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // make, sh and the server
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // gone already: so be it
		_ = cmd.Wait()                                      // make reports the signal
	})
	t.Cleanup(stop)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if url, ok := strings.CutPrefix(lines.Text(), "durward: listening on "); ok {
			return url, stop
		}
	}
	t.Fatalf("%q ended without a server:\n%s", cmd.Args, &stderr)
	return "", nil
}

// shell is one shell that keeps its variables from block to block.
type shell struct {
	t   *testing.T
	in  *bufio.Writer
	out *bufio.Reader
}

func newShell(t *testing.T, dir string, env []string) *shell {
	t.Helper()
	cmd := exec.Command("sh")
	cmd.Dir, cmd.Env = dir, env
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	return &shell{t, bufio.NewWriter(in), bufio.NewReader(out)}
}

// run runs one block and returns what it printed. Commands must not fail.
func (s *shell) run(b block, text string) string {
	s.t.Helper()
	const mark = "---- end of block: "
	fmt.Fprintf(s.in, "%s\nended=$?; echo; echo '%s'$ended\n", text, mark)
	if err := s.in.Flush(); err != nil {
		s.t.Fatal(err)
	}
	done := make(chan string, 1)
	go func() {
		var printed strings.Builder
		for {
			line, err := s.out.ReadString('\n')
			if status, ok := strings.CutPrefix(line, mark); ok || err != nil {
				if strings.TrimSpace(status) != "0" {
					printed.WriteString(fmt.Sprintf("FAILED with status %s (%v)", status, err))
				}
				done <- printed.String()
				return
			}
			printed.WriteString(line)
		}
	}()
	select {
	case printed := <-done:
		if strings.Contains(printed, "FAILED with status") {
			s.t.Fatalf("line %d:\n%s\n%s", b.line, text, printed)
		}
		return printed
	case <-time.After(2 * time.Minute):
		s.t.Fatalf("line %d does not end:\n%s", b.line, text)
		return ""
	}
}

// matches holds what a document says is printed against what was: each line is
// there, in order; … stands for anything, and so do blanks for blanks.
func matches(t *testing.T, path string, b block, printed string) {
	t.Helper()
	lines := strings.Split(strings.ReplaceAll(printed, "\r", ""), "\n")
	next := 0
	for want := range strings.Lines(b.text) {
		want = strings.TrimRight(want, "\n")
		pattern := regexp.QuoteMeta(want)
		pattern = strings.ReplaceAll(pattern, "…", ".*")
		pattern = "^" + regexp.MustCompile(` +`).ReplaceAllString(pattern, " *") + "$"
		expression := regexp.MustCompile(pattern)
		found := false
		for !found && next < len(lines) {
			found = expression.MatchString(lines[next])
			next++
		}
		if !found {
			t.Errorf("%s, line %d: %q was not printed, or not in this order:\n%s", filepath.Base(path), b.line, want, printed)
			return
		}
	}
}
