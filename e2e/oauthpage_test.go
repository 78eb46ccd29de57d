package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/durward-auth/durward/e2e/executable"
	"github.com/durward-auth/durward/internal/services"
)

// TestOAuthPage runs the blocks of docs/oauth.md, up to the demonstration, in their order, with other addresses, and signs the user in at its web
// app.
func TestOAuthPage(t *testing.T) {
	t.Parallel()
	needScripts(t)
	needPrograms(t, "curl", "sh", "sed")
	if err := build(); err != nil {
		t.Fatal(err)
	}
	program, err := executable.Build()
	if err != nil {
		t.Fatal(err)
	}
	document, err := os.ReadFile("../docs/oauth.md")
	if err != nil {
		t.Fatal(err)
	}
	document, _, _ = bytes.Cut(document, []byte("\n## The demonstration\n")) // TestMCPAgent runs that
	addresses := []string{"127.0.0.1:8401", "127.0.0.1:8080", "127.0.0.1:8090", "127.0.0.1:3000"}
	var pairs []string
	at := map[string]*process{}
	for _, a := range addresses {
		_, port, _ := strings.Cut(a, ":")
		p := newProcess(t)
		p.address = services.Host() + ":" + port // the web app's block has the port alone, too
		at[a] = p
		pairs = append(pairs, a, p.address)
	}
	host, _, _ := strings.Cut(at["127.0.0.1:3000"].address, ":")
	here := strings.NewReplacer(append(pairs, "app.listen(3000, '127.0.0.1')", "app.listen(3000, '"+host+"')")...)

	dir := t.TempDir()
	env := append(os.Environ(), "PATH="+executable.Dir+":"+os.Getenv("PATH"))
	run := func(text string) string {
		t.Helper()
		cmd := exec.Command("sh", "-e")
		cmd.Dir, cmd.Env, cmd.Stdin = dir, env, strings.NewReader(text)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, text, out)
		}
		return string(out)
	}
	printed := ""
	for _, m := range regexp.MustCompile("(?ms)^```(\\w+)\n(.*?)^```").FindAllStringSubmatch(string(document), -1) {
		language, text := m[1], here.Replace(m[2])
		switch {
		case language == "toml":
			writeFile(t, filepath.Join(dir, "durward.toml"), text)
		case language == "go":
			source, binary := writeFile(t, filepath.Join(dir, "api.go"), text), filepath.Join(dir, "api")
			if err := executable.GoBuild("", binary, source, nil); err != nil {
				t.Fatal(err)
			}
			at["127.0.0.1:8080"].start(exec.Command(binary))
		case strings.Contains(text, "durward serve"):
			add, serve, _ := strings.Cut(text, "durward serve")
			run(add)
			cmd := exec.Command(program, append([]string{"serve", "--listen", at["127.0.0.1:8401"].address}, strings.Fields(serve)...)...)
			cmd.Dir = dir
			at["127.0.0.1:8401"].start(cmd)
		case strings.HasPrefix(text, "go run ./examples/"):
			words := strings.Fields(strings.TrimPrefix(text, "go run ./examples/"))
			at["127.0.0.1:8090"].start(exec.Command(filepath.Join(executable.Dir, words[0]), words[1:]...))
		case language == "js":
			source := writeFile(t, filepath.Join(executable.Dir, "js", "oauthpage.mjs"), text)
			cmd := exec.Command("node", "--experimental-global-webcrypto", "--no-warnings", source)
			cmd.Env = append(env, "client_secret="+strings.TrimSpace(run(`sed -n 's/client_secret *//p' notebook.txt`)))
			at["127.0.0.1:3000"].start(cmd)
			got := newVisitor(t, "ada@example.com", "plenty of words in a row").visit("http://" + at["127.0.0.1:3000"].address + "/")
			if len(got) != 2 || got[0] != "hello, ada@example.com" || !strings.HasPrefix(got[1], "notes of ") {
				t.Errorf("web app: got %q", got)
			}
		case language == "sh":
			printed = run(text)
		case language == "text":
			for line := range strings.Lines(text) {
				pattern := "(?mi)^" + strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(line)), "…", ".*")
				if !regexp.MustCompile(pattern).MatchString(printed) {
					t.Errorf("output: got\n%s\nwant it to match %q", printed, line)
				}
			}
		default:
			t.Errorf("a block of %q is not run", language)
		}
	}
	if t.Failed() {
		for a, p := range at {
			if text, err := os.ReadFile(p.log); err == nil {
				t.Logf("%s says:\n%s", a, bytes.TrimSpace(text))
			}
		}
	}
}
