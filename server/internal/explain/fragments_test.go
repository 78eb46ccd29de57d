package explain

import (
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var fenceOfFragment = regexp.MustCompile("(?ms)^```(sh|go|js|python)\n(.*?)^```$")

// Every fence of code that is no program has the syntax of its language.
func TestFragments(t *testing.T) {
	t.Parallel()
	checked := 0
	for _, p := range All() {
		for _, s := range p.Sections {
			if s.Inherited {
				continue
			}
			for _, m := range fenceOfFragment.FindAllStringSubmatch(s.Markdown, -1) {
				checked++
				if mistake := mistakeOfFragment(t, m[1], m[2]); mistake != "" {
					t.Errorf("%s, section %s: %s\n%s", p.ID, s.Name, mistake, m[2])
				}
			}
		}
	}
	if checked < 20 {
		t.Errorf("%d fragments, want at least 20: the test does not find them", checked)
	}
	for _, c := range []struct{ language, code string }{{"sh", "if true"}, {"go", "a :="}, {"js", "const = 1"}, {"python", "def f("}} {
		if mistakeOfFragment(t, c.language, c.code) == "" && (c.language == "go" || installed(interpreters[c.language][0])) {
			t.Errorf("%s %q: no mistake found", c.language, c.code)
		}
	}
}

// interpreters holds the commands that check the syntax of a file.
var interpreters = map[string][]string{
	"sh":     {"sh", "-n"},
	"js":     {"node", "--check"},
	"python": {"python3", "-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())"},
}

func installed(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// mistakeOfFragment returns the mistake of syntax that a compiler or interpreter reports, or "". Without
// the interpreter it reports none; with CI set, the test fails.
func mistakeOfFragment(t *testing.T, language, code string) string {
	t.Helper()
	if language == "go" {
		var err error
		for _, text := range []string{code, "package p\n" + code, "package p\nfunc f() {\n" + code + "\n}"} {
			if _, err = parser.ParseFile(token.NewFileSet(), "", text, 0); err == nil {
				return ""
			}
		}
		return err.Error()
	}
	command := interpreters[language]
	if !installed(command[0]) {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed", command[0])
		}
		return ""
	}
	file := filepath.Join(t.TempDir(), "fragment.mjs")
	if err := os.WriteFile(file, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(command[0], append(command[1:len(command):len(command)], file)...).CombinedOutput(); err != nil {
		return strings.TrimSpace(string(out)) + ": " + err.Error()
	}
	return ""
}
