package repo

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/durwardtest"
	"github.com/durward-auth/durward/internal/check"
	"github.com/durward-auth/durward/jwt"
)

// block is one fenced block of a document.
type block struct {
	language string
	section  string // the heading above it
	text     string
	line     int
}

// blocksOf returns the fenced blocks of a document in their order.
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

// TestCommands runs the commands of README and of the quickstart in their order and compares their
// output with the documents.
func TestCommands(t *testing.T) {
	t.Parallel()
	needTools(t, "curl", "make", "sh")
	for _, doc := range []string{"README.md", "docs/quickstart.md"} {
		t.Run(doc, func(t *testing.T) {
			t.Parallel()
			runDocument(t, filepath.Join(root, doc))
		})
	}
}

// needTools skips the test if a command is not installed; with CI set, the test fails.
func needTools(t *testing.T, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed", tool)
		}
		t.Skipf("SKIPPED: %s is not installed", tool)
	}
}

// runDocument runs the sh blocks of a document in one shell, in a copy of the repository. A block
// that starts a server gets its own process and a free port.
func runDocument(t *testing.T, path string) {
	dir := checkout(t)
	// With -trimpath, a copy in another folder finds the packages in the build cache.
	env := append(os.Environ(), "DURWARD_LISTEN=127.0.0.1:0", "CI=", "MAKEFLAGS=", "GOFLAGS=-trimpath",
		"XDG_CONFIG_HOME="+t.TempDir()) // for stored sign-ins
	withBinary := append(slices.Clip(env), "PATH="+filepath.Join(dir, ".build")+":"+os.Getenv("PATH"))
	shell := newShell(t, dir, env)
	url := ""
	var printed string
	for _, b := range blocksOf(t, path) {
		switch b.language {
		case "sh":
			command := strings.TrimSpace(b.text)
			if command == "make run" || strings.Contains(command, "durward serve") {
				url = startServer(t, dir, withBinary, command)
				continue
			}
			printed = shell.run(b, strings.ReplaceAll(b.text, "http://127.0.0.1:8401", url))
		case "text":
			matches(t, path, b, printed)
		}
	}
}

// notRun lists the sections without a test of their commands, with the reason.
var notRun = map[string]string{
	"docs/oauth.md: The server":                      "e2e.TestOAuthPage runs the page",
	"docs/oauth.md: A service":                       "e2e.TestOAuthPage runs the page",
	"docs/oauth.md: A web app":                       "e2e.TestOAuthPage runs the page",
	"docs/oauth.md: An MCP server":                   "e2e.TestOAuthPage runs the page",
	"docs/oauth.md: The demonstration":               "e2e.TestMCPAgent runs the section",
	"docs/operations.md: Run it under systemd":       "it changes the machine; the test checks its configuration",
	"docs/operations.md: Run two nodes":              "it changes the machine; e2e/nodes starts such nodes",
	"docs/operations.md: Behind a connection pooler": "scripts in server/cmd/durward use a pooler",
	"docs/operations.md: Copy to another engine":     "scripts in server/cmd/durward copy to PostgreSQL",
	"docs/server.md: Second factors":                 "it needs an authenticator app; e2e.TestSecondFactor sends these requests with codes of oathtool",
	"docs/server.md: The first administrator":        "it needs the printed link; TestAdministration of server/cmd/durward sends this request",
	"docs/server.md: Revocations for other software": "it needs Redis; tests of server/cmd/durward read these keys",
	"docs/server.md: Required second factors":        "the script users of server/cmd/durward runs these commands",
	"docs/reliability.md: Repeat it":                 "it runs for hours",
	"docs/conformance.md: Running the suite":         "it needs the suite of the OpenID Foundation",
}

// TestEveryCommand checks that each block of commands in the documents is run by a test.
func TestEveryCommand(t *testing.T) {
	t.Parallel()
	run := map[string][]string{ // nil means every section
		"README.md":          nil,
		"docs/quickstart.md": nil,
		"docs/check.md":      nil,
		"docs/lab.md":        nil,
		"docs/client.md":     {"At the command line"},
		"docs/operations.md": operationsRun,
	}
	found := make(map[string]bool)
	files(t, ".md", func(name string, _ []byte) {
		if strings.HasPrefix(name, explanations) {
			return
		}
		for _, b := range blocksOf(t, filepath.Join(root, name)) {
			if b.language != "sh" && b.language != "console" {
				continue
			}
			at := name + ": " + b.section
			found[at] = true
			sections, isRun := run[name]
			if isRun = isRun && (sections == nil || slices.Contains(sections, b.section)); !isRun && notRun[at] == "" {
				t.Errorf("%s, line %d: no test runs the commands of %q", name, b.line, b.section)
			}
		}
	})
	for at := range notRun {
		if !found[at] {
			t.Errorf("notRun lists %q, which has no commands", at)
		}
	}
}

// TestInstall runs the commands of README that install the library and the command. The clone is a link
// to this repository.
func TestInstall(t *testing.T) {
	t.Parallel()
	var commands []string
	program := ""
	for _, b := range blocksOf(t, filepath.Join(root, "README.md")) {
		if b.section == "Install" && b.language == "console" {
			commands = append(commands, strings.ReplaceAll(b.text, "$ ", ""))
		}
		if strings.HasPrefix(b.text, "package main") {
			program = b.text
		}
	}
	if len(commands) != 2 || program == "" {
		t.Fatalf("README.md: found %d blocks of commands under Install, want 2, and the program %q", len(commands), program)
	}
	dir, bin := t.TempDir(), t.TempDir()
	env := append(os.Environ(), "GOBIN="+bin, "GOWORK=", "GOFLAGS=-trimpath -buildvcs=false")
	do := func(dir string, env []string, command string) string {
		t.Helper()
		cmd := exec.Command("sh", "-ec", command)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		return string(out)
	}
	do(root, env, commands[1])
	if out := do(dir, env, filepath.Join(bin, "durward")+" --version"); !strings.HasPrefix(out, "durward ") {
		t.Errorf("durward --version: got %q", out)
	}

	own := filepath.Join(dir, "notes")
	clone, err := filepath.Abs(root)
	if err == nil {
		err = errors.Join(os.Mkdir(own, 0o755), os.Symlink(clone, filepath.Join(dir, "durward")))
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(own, "main.go"), []byte(program), 0o644); err != nil {
		t.Fatal(err)
	}
	do(own, append(env, "GOWORK=off", "GOSUMDB=off"), "go mod init notes\n"+commands[0]+"go vet .")
}

// TestClientPage runs the commands of docs/client.md with a server, an API and a server of files.
func TestClientPage(t *testing.T) {
	t.Parallel()
	needTools(t, "sh")
	dir := buildDurward(t)
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("password.txt", "correct horse battery staple\n")
	write("token.txt", "a-token-made-by-hand\n")
	var seen []string
	others := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		if strings.Count(token, ".") == 2 {
			token = "of the sign-in"
		}
		seen = append(seen, r.Method+" "+scheme+" "+token)
		if scheme == "" {
			w.Header().Set("WWW-Authenticate", `Basic realm="files"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer others.Close()
	env := append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "XDG_CONFIG_HOME="+t.TempDir())
	url := startServer(t, dir, env, "exec durward serve --demo --listen 127.0.0.1:0")
	sh := newShell(t, dir, env)
	here := strings.NewReplacer("https://auth.example.com", url, "https://api.example.com", others.URL,
		"https://files.example.com", others.URL)
	for _, b := range blocksOf(t, filepath.Join(root, "docs/client.md")) {
		if b.language == "sh" {
			sh.run(b, here.Replace(b.text))
		}
	}
	basic := "GET Basic YWRhOmNvcnJlY3QgaG9yc2UgYmF0dGVyeSBzdGFwbGU="
	want := []string{
		"GET Bearer of the sign-in", "POST Bearer of the sign-in",
		"GET Bearer a-token-made-by-hand", "GET Bearer a-token-made-by-hand", "GET  ", basic,
	}
	if !slices.Equal(seen, want) {
		t.Errorf("requests: got %q, want %q", seen, want)
	}
}

// TestCheckPage runs the commands of docs/check.md with an API, and compares the table of the page with the
// rows of the report.
func TestCheckPage(t *testing.T) {
	t.Parallel()
	needTools(t, "sh")
	dir := buildDurward(t)
	issuer := durwardtest.NewIssuer(t)
	guard, err := durward.New(durward.Config{Schemes: []durward.Scheme{jwt.Bearer(issuer.URL, durwardtest.Audience)}})
	if err != nil {
		t.Fatal(err)
	}
	api := httptest.NewServer(guard.Require(durward.Policy{Scopes: []string{"read"}}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	defer api.Close()
	hourAgo := time.Now().Add(-time.Hour).Truncate(time.Second)
	for name, change := range map[string]func(*jwt.Claims){
		"good.txt":    func(c *jwt.Claims) { c.Scopes = []string{"read"} },
		"expired.txt": func(c *jwt.Claims) { c.IssuedAt, c.AuthTime, c.Expires = hourAgo, hourAgo, hourAgo.Add(time.Minute) },
		"other.txt":   func(c *jwt.Claims) { c.Audience = []string{"https://other.example"} },
		"noscope.txt": nil,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(issuer.Token(change)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sh := newShell(t, dir, append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH")))
	page := filepath.Join(root, "docs/check.md")
	for _, b := range blocksOf(t, page) {
		if b.language == "sh" {
			sh.run(b, strings.ReplaceAll(b.text, "https://api.example.com", api.URL))
		}
	}
	var report check.Report
	text, err := os.ReadFile(filepath.Join(dir, "check.json"))
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	if err != nil || report.Score != 100 {
		t.Fatalf("check.json: %v, score %d, want 100", err, report.Score)
	}
	for _, name := range []string{"check.xml", "check.sarif", "check.svg"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	text, err = os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range report.Rows {
		must := ""
		if row.Must {
			must = " **MUST**"
		}
		line := fmt.Sprintf("\n| `%s` | %s%s | %d | %s |\n", row.ID, row.Clause, must, row.Points, row.Subject)
		if !strings.Contains(string(text), line) {
			t.Errorf("docs/check.md lacks the line %s", line)
		}
	}
	if lines := strings.Count(string(text), "\n| `") - strings.Count(string(text), "\n| `--"); lines != len(report.Rows) {
		t.Errorf("docs/check.md lists %d rows, the report has %d", lines, len(report.Rows))
	}
}

// TestLabPage runs the commands of docs/lab.md in their order and compares their output with the page.
func TestLabPage(t *testing.T) {
	t.Parallel()
	needTools(t, "curl", "sh")
	dir := buildDurward(t)
	env := append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	sh := newShell(t, dir, env)
	page := filepath.Join(root, "docs/lab.md")
	url, printed := "", ""
	for _, b := range blocksOf(t, page) {
		switch command := strings.TrimSpace(b.text); {
		case b.language == "sh" && command == "durward lab":
			url = startServer(t, dir, env, command+" --listen 127.0.0.1:0")
		case b.language == "sh":
			printed = sh.run(b, strings.ReplaceAll(b.text, "http://127.0.0.1:8404", url))
		case b.language == "text":
			matches(t, page, b, printed)
		}
	}
}

// buildDurward builds the command in a temporary folder and returns the folder.
func buildDurward(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", filepath.Join(dir, "durward"), "./server/cmd/durward")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir
}

// operationsRun lists the sections of docs/operations.md that TestOperations runs.
var operationsRun = []string{"Backup", "Restore", "The security log", "Mail", "When both were stolen"}

// TestOperations follows docs/operations.md: it checks the configurations, then runs the commands
// for a backup of a running server, for a restore and for new keys after a theft. After the restore
// and after the theft, older refresh tokens and API keys must be refused.
func TestOperations(t *testing.T) {
	t.Parallel()
	needTools(t, "openssl", "sh", "sqlite3")
	dir := buildDurward(t)
	data, backup := filepath.Join(dir, "data"), filepath.Join(dir, "backup")
	if err := os.Mkdir(backup, 0o700); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "DURWARD_PASSWORDS_ARGON2_MEMORY=64")
	sh := newShell(t, dir, env)
	// The operator's folders become folders of this test. The commands use the first configuration.
	config := ""
	here := strings.NewReplacer(
		"sudo -u durward ", "",
		" -o durward -g durward", "",
		"/etc/durward/durward.toml", filepath.Join(dir, "0.toml"),
		"/var/lib/durward", data,
		"/backup", backup,
	)
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
		file := here.Replace("/etc/durward/durward.toml")
		cmd := exec.Command(filepath.Join(dir, "durward"), "serve", "--listen", "127.0.0.1:0", "--config", file)
		cmd.Env = env
		url, stop = serving(t, cmd)
	}
	ask := func(r *http.Request) *http.Response {
		t.Helper()
		r.Header.Set("X-Forwarded-Proto", "https") // as the TLS-terminating proxy does
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
	mustBeRefused := func(token string) {
		t.Helper()
		status, answer := post("/api/auth/refresh", `{"refresh_token":"`+token+`"}`)
		if status != 401 || !strings.Contains(answer, "REFRESH_INVALID") {
			t.Errorf("older refresh token: got %d %s, want 401 REFRESH_INVALID", status, answer)
		}
	}
	do := func(section string) (printed string) {
		t.Helper()
		if !slices.Contains(operationsRun, section) {
			t.Errorf("operationsRun lacks %q", section)
		}
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
			t.Fatalf("docs/operations.md: no console block under %q", section)
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
			t.Errorf("API key: got %s, want %d", answer.Status, want)
		}
	}

	start()
	held := signIn()
	withKey(200)
	do("Backup")
	if info, err := os.Stat(filepath.Join(backup, "durward.db")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("backup file: got %v, %v, want mode 0600", info, err)
	}
	if printed := do("The security log"); !strings.Contains(printed, "signed_in") {
		t.Errorf("security log: got\n%s\nwant an event signed_in", printed)
	}
	do("Mail")
	do("Restore")
	mustBeRefused(held)
	withKey(401)
	held, key = signIn(), newKey()
	do("When both were stolen")
	mustBeRefused(held)
	withKey(401)
	signIn()
	stop()
}

// checkout copies the files that git tracks or would add to a temporary folder and returns its
// path.
func checkout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range tracked(t) {
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

// startServer runs a shell command that starts a server and returns the server's URL.
func startServer(t *testing.T, dir string, env []string, command string) string {
	t.Helper()
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir, cmd.Env = dir, env
	url, _ := serving(t, cmd)
	return url
}

// serving starts a command that runs a server. It returns the server's URL and a function that
// stops it. The end of the test stops it too.
func serving(t *testing.T, cmd *exec.Cmd) (url string, stop func()) {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // to signal make, sh and the server together
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
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // fails if the process has ended
		_ = cmd.Wait()                                      // the error is the signal
	})
	t.Cleanup(stop)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if url, ok := strings.CutPrefix(lines.Text(), "durward: listening on "); ok {
			return url, stop
		}
	}
	t.Fatalf("%q ended before a server was ready:\n%s", cmd.Args, &stderr)
	return "", nil
}

// shell is a running shell, so that variables of one block exist in the next.
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

// run runs one block and returns its output. The test fails if the last command fails or after 8
// minutes.
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
	case <-time.After(8 * time.Minute):
		s.t.Fatalf("line %d: no end after 8 minutes:\n%s", b.line, text)
		return ""
	}
}

// matches checks that printed holds the lines of block b in their order, other lines between them
// allowed. In b, "…" matches any text and a space any number of spaces.
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
			t.Errorf("%s, line %d: got output\n%s\nwant the line %q, in this order",
				filepath.Base(path), b.line, printed, want)
			return
		}
	}
}
