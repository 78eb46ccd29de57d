package e2e

import (
	"fmt"
	"go/parser"
	gotoken "go/token"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/durward-auth/durward/e2e/executable"
	"github.com/durward-auth/durward/lab"
)

// labAddress is the address of `durward lab` in the texts of package explain.
const labAddress = "http://127.0.0.1:8401"

// keepsOut lists the pages with a lab that lets no client in, or with code that only reports: their
// fixes end with the refusal. "PAGE/LANGUAGE" is about one language.
var keepsOut = []string{
	"account-locked", "clock-wrong", "cookie-not-sent", "edge-refused", "insufficient-scope", "lost-on-redirect/go", "lost-on-redirect/js",
	"lost-on-redirect/python", "method-retired", "outage-as-refusal", "rate-limited", "session-ended", "wrong-scheme/js", "wrong-secret",
}

// snippet is one fenced block of code in a text of package explain.
type snippet struct {
	page, lab, section, language, code string
	line                               int
}

func (s snippet) String() string { return fmt.Sprintf("%s.md:%d (%s)", s.page, s.line, s.language) }

// runs reports whether the block is a whole program: it asks the lab, or it prints its result.
func (s snippet) runs() bool {
	return strings.Contains(s.code, labAddress) || s.language != "sh" && regexp.MustCompile(`(?m)^\s*(print|console\.log|fmt\.Print\w*)\(`).MatchString(s.code)
}

// snippets returns the blocks in the languages of fixes of all texts.
func snippets(t *testing.T) (all []snippet) {
	t.Helper()
	names, err := filepath.Glob("../server/internal/explain/texts/*/*.md")
	if err != nil || len(names) < 100 {
		t.Fatalf("%d texts, %v, want at least 100", len(names), err)
	}
	labLine := regexp.MustCompile(`(?m)^lab = "(.*)"$`)
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		page := snippet{page: strings.TrimSuffix(filepath.Base(name), ".md")}
		if m := labLine.FindSubmatch(text); m != nil {
			page.lab = string(m[1])
		}
		open := false
		for i, line := range strings.Split(string(text), "\n") {
			fence, isFence := strings.CutPrefix(line, "```")
			switch {
			case isFence && !open:
				open, page.language, page.line, page.code = true, fence, i+1, ""
			case isFence:
				open = false
				if slices.Contains([]string{"sh", "go", "js", "python"}, page.language) {
					all = append(all, page)
				}
			case open:
				page.code += line + "\n"
			default:
				if section, ok := strings.CutPrefix(line, "## "); ok {
					page.section = section
				}
			}
		}
	}
	return all
}

// labFor serves a lab and records the status of each response below /lab/, except those of helpers:
// tokens and sign-ins.
func labFor(t *testing.T) (origin string, statuses func() []int) {
	t.Helper()
	var mu sync.Mutex
	var seen []int
	handler := lab.Handler()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := &statusWriter{ResponseWriter: w, status: http.StatusOK}
		handler.ServeHTTP(status, r)
		last := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		if strings.HasPrefix(r.URL.Path, "/lab/") && !slices.Contains([]string{"token", "start", "sign-in"}, last) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, status.status)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, func() []int {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen)
	}
}

// statusWriter notes the status of a response.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// tokenFor returns a good access token for the page's endpoint of the lab.
func tokenFor(t *testing.T, origin, path string) string {
	t.Helper()
	resp, err := http.Get(origin + "/lab/token?kind=good&for=" + url.QueryEscape(path))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("token for %s: %d %s, %v", path, resp.StatusCode, text, err)
	}
	return strings.TrimSpace(string(text))
}

// packages maps the names of packages that fixes in Go use to their import paths.
var packages = map[string]string{
	"base64": "encoding/base64", "client": "github.com/durward-auth/durward/client", "context": "context", "errors": "errors", "fmt": "fmt",
	"hex": "encoding/hex", "hmac": "crypto/hmac", "http": "net/http", "io": "io", "json": "encoding/json", "jwt": "github.com/durward-auth/durward/jwt",
	"log": "log", "os": "os", "rand": "math/rand/v2", "regexp": "regexp", "sha256": "crypto/sha256", "strconv": "strconv", "strings": "strings",
	"time": "time", "tls": "crypto/tls", "url": "net/url",
}

// goProgram returns a program that calls the snippet named by its argument.
func goProgram(all []snippet) string {
	var cases, functions strings.Builder
	for i, s := range all {
		fmt.Fprintf(&cases, "\tcase \"%d\":\n\t\tsnippet%d()\n", i, i)
		code := strings.ReplaceAll(s.code, `"`+labAddress, `origin+"`)
		fmt.Fprintf(&functions, "\n// %s\nfunc snippet%d() {\n%s}\n", s, i, code)
	}
	body := "var origin, name = os.Args[1], os.Args[2]\n\nfunc main() {\n\tswitch name {\n" + cases.String() + "\t}\n}\n" + functions.String()
	imports := ""
	for name, path := range packages {
		if regexp.MustCompile(`\b` + name + `\.[A-Z]`).MatchString(body) {
			imports += fmt.Sprintf("import %s %q\n", name, path)
		}
	}
	return "package main\n\n" + imports + "\n" + body
}

// TestSnippets runs the fixes in the texts of package explain. A block of a section client that asks the
// lab ends with a response of 200, except those in keepsOut. Blocks that neither ask the lab nor print are
// fragments; their syntax is checked.
func TestSnippets(t *testing.T) {
	t.Parallel()
	needPrograms(t, "sh", "curl", "node", python)
	needModule(t, "requests")
	all := snippets(t)

	var goSnippets []snippet
	for _, s := range all {
		if s.language == "go" && s.runs() {
			goSnippets = append(goSnippets, s)
		}
	}
	source := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(source, []byte(goProgram(goSnippets)), 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(executable.Dir, "snippets")
	if err := executable.GoBuild("", program, source, nil); err != nil {
		t.Fatalf("%v\n%s", err, goProgram(goSnippets))
	}

	ran, ended := 0, map[string]bool{}
	for _, s := range all {
		switch {
		case s.runs():
			ran++
			asks := strings.Contains(s.code, labAddress)
			excepted := slices.Contains(keepsOut, s.page) || slices.Contains(keepsOut, s.page+"/"+s.language)
			if asks && s.section == "client" {
				ended[s.page], ended[s.page+"/"+s.language] = true, true
			}
			t.Run(fmt.Sprintf("%s/%s/%d", s.page, s.language, s.line), func(t *testing.T) {
				t.Parallel()
				origin, statuses := labFor(t)
				printed, status := runSnippet(t, s, origin, program, slices.Index(goSnippets, s))
				if status != 0 {
					t.Fatalf("%s: exit status %d\n%s\n%s", s, status, s.code, printed)
				}
				seen := statuses()
				if asks && len(seen) == 0 {
					t.Fatalf("%s asked the lab nothing\n%s", s, printed)
				}
				if asks && s.section == "client" && (seen[len(seen)-1] == http.StatusOK) == excepted {
					t.Errorf("%s: statuses %d, want 200 at the end: %v\n%s\n%s", s, seen, !excepted, s.code, printed)
				}
			})
		default:
			if mistake := syntaxMistake(t, s); mistake != "" {
				t.Errorf("%s: %s\n%s", s, mistake, s.code)
			}
		}
	}
	if ran < 60 {
		t.Errorf("%d blocks ran, want at least 60: the test does not find them", ran)
	}
	for _, name := range keepsOut {
		if !ended[name] {
			t.Errorf("keepsOut lists %s, which has no fix that asks the lab", name)
		}
	}
}

// runSnippet runs a block against the lab at origin.
func runSnippet(t *testing.T, s snippet, origin, program string, index int) (printed string, status int) {
	t.Helper()
	c := command{env: []string{"NO_PROXY=*", "no_proxy=*", "NODE_NO_WARNINGS=1"}}
	if s.lab != "" {
		c.env = append(c.env, "TOKEN="+tokenFor(t, origin, s.lab))
	}
	if s.page == "proxy-credentials-missing" { // its fixes configure the lab as a proxy
		c.env = slices.DeleteFunc(c.env, func(e string) bool { return strings.HasSuffix(strings.ToUpper(e), "NO_PROXY=*") })
	}
	code := strings.ReplaceAll(s.code, labAddress, origin)
	code = strings.ReplaceAll(code, strings.TrimPrefix(labAddress, "http://"), strings.TrimPrefix(origin, "http://"))
	switch s.language {
	case "sh":
		c.stdin = code
		return c.run(t, "sh", "-eu")
	case "js":
		c.stdin = code
		return c.run(t, "node", "--input-type=module")
	case "python":
		c.stdin = code
		return c.run(t, python, "-")
	default:
		return c.run(t, program, origin, fmt.Sprint(index))
	}
}

// syntaxMistake returns what a compiler says of a fragment, or "".
func syntaxMistake(t *testing.T, s snippet) string {
	t.Helper()
	var printed string
	var status int
	switch s.language {
	case "sh":
		printed, status = command{stdin: s.code}.run(t, "sh", "-n")
	case "js":
		file := filepath.Join(t.TempDir(), "fragment.mjs")
		if err := os.WriteFile(file, []byte(s.code), 0o600); err != nil {
			t.Fatal(err)
		}
		printed, status = command{}.run(t, "node", "--check", file)
	case "python":
		printed, status = command{stdin: s.code}.run(t, python, "-c", "import ast, sys; ast.parse(sys.stdin.read())")
	default:
		_, err := parser.ParseFile(gotoken.NewFileSet(), "", "package p\n"+s.code, 0)
		if err != nil {
			_, err = parser.ParseFile(gotoken.NewFileSet(), "", "package p\nfunc f() {\n"+s.code+"}", 0)
		}
		if err != nil {
			return err.Error()
		}
		return ""
	}
	if status != 0 {
		return printed
	}
	return ""
}
