package repo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// block is one fenced block of a document.
type block struct {
	language string
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
	for i, line := range strings.Split(string(text), "\n") {
		fence, isFence := strings.CutPrefix(line, "```")
		switch {
		case isFence && open == nil:
			open = &block{language: fence, line: i + 1}
		case isFence:
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
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
	"database/sql"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
)

var (
	mux          *http.ServeMux
	notes, login http.Handler
	guard        *durward.Guard
	schemes      []durward.Scheme
	response     *http.Response
	w            http.ResponseWriter
	r            *http.Request
	db           interface {
		OwnerOf(ctx context.Context, token string) (string, error)
	}
)
`

// The Go of the documents compiles. A block is declarations, or what stands in a
// function.
func TestGoOfDocuments(t *testing.T) {
	t.Parallel()
	exported := make(map[string]string)
	for _, p := range list(t, "-export", "-deps", ".", "./jwt", "database/sql", "log", "log/slog") {
		exported[p.ImportPath] = p.Export
	}
	set := token.NewFileSet()
	config := types.Config{Importer: importer.ForCompiler(set, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exported[path]) })}
	for _, doc := range []string{"README.md", "docs/library.md"} {
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

// Tests that the documents name are there.
func TestNamedTests(t *testing.T) {
	t.Parallel()
	there := make(map[string]bool)
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark|Example)\w*)\(`)
	files(t, "_test.go", func(_ string, text []byte) {
		for _, m := range function.FindAllSubmatch(text, -1) {
			there[string(m[1])] = true
		}
	})
	named := regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z]\\w*)`")
	files(t, ".md", func(name string, text []byte) {
		for _, m := range named.FindAllSubmatch(text, -1) {
			if !there[string(m[1])] {
				t.Errorf("%s names %s, which is no test", name, m[1])
			}
		}
	})
}

// startServer runs a command that ends in a server and returns where it listens.
func startServer(t *testing.T, dir string, env []string, command string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir, cmd.Env = dir, env
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
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // gone already: so be it
		_ = cmd.Wait()                                      // make reports the signal
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if url, ok := strings.CutPrefix(lines.Text(), "durward: listening on "); ok {
			return url
		}
	}
	t.Fatalf("%q ended without a server:\n%s", command, &stderr)
	return ""
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
	fmt.Fprintf(s.in, "%s\necho; echo '%s'$?\n", text, mark)
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
