package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward/client"
)

// login, fetch and logout with a real server.
func TestLoginFetchLogout(t *testing.T) {
	t.Parallel()
	dir, sessions := t.TempDir(), filepath.Join(t.TempDir(), "sessions")
	addUser(t, dir, "ada@example.com", testPassword)
	p := serve(t, program([]string{"DURWARD_TOKENS_ACCESS_TTL=2s"}, "serve", "--listen", "127.0.0.1:0", "--data", dir))

	out, stderr, status := command(t, "", "fetch", "--sessions", sessions, p.url+"/api/profile")
	if status != exitRefused || !strings.Contains(out, "AUTHENTICATION_REQUIRED") || !strings.Contains(stderr, "it wants Bearer") {
		t.Errorf("fetch without a sign-in: %d %s %s", status, out, stderr)
	}
	_, stderr, status = command(t, "not the password at all\n", "login", p.url, "--sessions", sessions, "--email", "ada@example.com", "--password-stdin")
	if status != exitRefused || !strings.Contains(stderr, "INVALID_CREDENTIALS") {
		t.Errorf("login with a wrong password: %d %s", status, stderr)
	}
	file := filepath.Join(dir, "durward.db") // no folder
	_, stderr, status = command(t, testPassword+"\n", "login", p.url, "--sessions", file, "--email", "ada@example.com", "--password-stdin")
	if status != exitUnreachable || !strings.Contains(stderr, "Name another folder") {
		t.Errorf("login with a file in place of a folder: %d %s", status, stderr)
	}
	out, stderr, status = command(t, testPassword+"\n", "login", p.url, "--sessions", sessions, "--email", "ada@example.com", "--password-stdin")
	if status != exitDone || out != "signed in at "+p.url+" as ada@example.com\n" {
		t.Fatalf("login: %d %s %s", status, out, stderr)
	}
	err := filepath.Walk(sessions, func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	out, stderr, status = command(t, "", "fetch", "-v", "-i", "--sessions", sessions, p.url+"/api/profile")
	if status != exitDone || !strings.Contains(out, "HTTP/1.1 200 OK") || !strings.Contains(out, `"email":"ada@example.com"`) || !strings.Contains(stderr, "> Authorization: Bearer …") {
		t.Errorf("fetch: %d %s %s", status, out, stderr)
	}
	if strings.Contains(stderr, "eyJ") || strings.Contains(stderr, "dr_") {
		t.Errorf("fetch -v printed a token: %s", stderr)
	}

	// Several processes with an expired access token: one refresh, and no theft is reported.
	_, server, err := parseAddress(p.url)
	if err != nil {
		t.Fatal(err)
	}
	s, err := signInFolder{Sessions: sessions}.at(nil, server)
	if err != nil {
		t.Fatal(err)
	}
	held, err := client.FileStore{Path: filepath.Join(s.dir, "token.json")}.Load(t.Context())
	if err != nil || held.Expires.IsZero() {
		t.Fatalf("the stored token: %v, %v", held, err)
	}
	time.Sleep(time.Until(held.Expires))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if out, stderr, status := command(t, "", "fetch", "--sessions", sessions, p.url+"/api/profile"); status != exitDone {
				t.Errorf("one of several fetches: %d %s %s", status, out, stderr)
			}
		})
	}
	all.Wait()
	out, _, status = command(t, "", "fetch", "--sessions", sessions, "-d", `{"name":"Countess"}`, "-X", "PATCH", p.url+"/api/profile")
	if status != exitDone || !strings.Contains(out, "Countess") {
		t.Errorf("PATCH: %d %s", status, out)
	}
	body := filepath.Join(t.TempDir(), "body")
	if out, stderr, status := command(t, "", "fetch", "--sessions", sessions, "-o", body, p.url+"/api/notifications"); status != exitDone || out != "" {
		t.Errorf("-o: %d %s %s", status, out, stderr)
	}
	if text, err := os.ReadFile(body); err != nil || !strings.Contains(string(text), `"items"`) {
		t.Errorf("the file of -o contains %s, %v", text, err)
	}
	out, stderr, status = command(t, "", "logout", p.url, "--sessions", sessions)
	if status != exitDone || out != "signed out of "+p.url+"\n" {
		t.Errorf("logout: %d %s %s", status, out, stderr)
	}
	if _, stderr, status = command(t, "", "logout", p.url, "--sessions", sessions); status != exitDone || !strings.Contains(stderr, "no sign-in") {
		t.Errorf("second logout: %d %s", status, stderr)
	}
	if _, _, status = command(t, "", "fetch", "--sessions", sessions, p.url+"/api/profile"); status != exitRefused {
		t.Errorf("fetch after logout: %d", status)
	}
}

// At a terminal login prompts for address and password, and the password is not echoed.
func TestLoginAtTerminal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada@example.com", testPassword)
	p := serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", dir))
	screen, err := atTerminal(t, []prompt{
		{"E-mail address at " + p.url + ": ", false, func() string { return "ada@example.com" }},
		{"Password of ada@example.com: ", true, func() string { return testPassword }},
	}, "login", p.url, "--sessions", t.TempDir())
	if err != nil || !strings.Contains(screen, "signed in at "+p.url+" as ada@example.com") || strings.Contains(screen, testPassword) {
		t.Errorf("%v: %q", err, screen)
	}
}

// Login asks for a code of the second factor, again after a wrong one, and does not echo it. A code with
// letters is a recovery code. Without a terminal login refuses, and says why.
func TestLoginWithCode(t *testing.T) {
	t.Parallel()
	dir, sessions := t.TempDir(), t.TempDir()
	addUser(t, dir, "ada@example.com", testPassword)
	p := serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", dir))
	seed, confirmed, token := p.enrol("ada@example.com")
	var recovery struct{ Codes []string }
	if a := p.ask("POST", "/api/auth/mfa/recovery-codes", token, ""); json.Unmarshal(a.body, &recovery) != nil || len(recovery.Codes) != 10 {
		t.Fatalf("recovery codes: %d %s", a.status, a.body)
	}
	const ask = "Code of the authenticator app, or a recovery code: "
	for name, code := range map[string]func() string{
		"a code of the app": func() string { code := nextCode(t, seed, confirmed); return code[:3] + " " + code[3:] },
		"a recovery code":   func() string { return strings.ToUpper(recovery.Codes[0]) },
	} {
		var typed string
		screen, err := atTerminal(t, []prompt{
			{"Password of ada@example.com: ", true, func() string { return testPassword }},
			{ask, true, func() string { return "wrong-code-wrong-code" }},
			{"wrong code, or used already\r\n" + ask, true, func() string { typed = code(); return typed }},
		}, "login", p.url, "--email", "ada@example.com", "--sessions", sessions)
		if err != nil || !strings.Contains(screen, "signed in at "+p.url+" as ada@example.com") || strings.Contains(screen, typed) {
			t.Errorf("%s: %v: %q", name, err, screen)
		}
		if out, stderr, status := command(t, "", "fetch", "--sessions", sessions, p.url+"/api/profile"); status != exitDone || !strings.Contains(out, "ada@example.com") {
			t.Errorf("%s: fetch: %d %s %s", name, status, out, stderr)
		}
	}
	_, stderr, status := command(t, testPassword+"\n", "login", p.url, "--sessions", sessions, "--email", "ada@example.com", "--password-stdin")
	if status != exitRefused || !strings.Contains(stderr, "the account has a second factor") {
		t.Errorf("without a terminal: %d %s", status, stderr)
	}
}

// prompt is a text that a verb prints at a terminal, and the answer of the test.
type prompt struct {
	text   string
	hidden bool // the answer is not echoed
	answer func() string
}

// atTerminal runs the program at a terminal, answers its prompts, each once, and returns all that the
// terminal showed.
func atTerminal(t *testing.T, prompts []prompt, args ...string) (shown string, err error) {
	t.Helper()
	if _, err := exec.LookPath("script"); err != nil {
		missing(t, "script")
	}
	verb := program(nil, args...)
	cmd := exec.Command("script", "-qec", "tty; exec "+strings.Join(verb.Args, " "), filepath.Join(t.TempDir(), "typescript"))
	cmd.Env = verb.Env
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var screen strings.Builder
	for one := make([]byte, 1); ; {
		if _, err := stdout.Read(one); err != nil {
			break
		}
		screen.Write(one)
		if len(prompts) == 0 || !strings.HasSuffix(screen.String(), prompts[0].text) {
			continue
		}
		if prompts[0].hidden {
			tty, _, _ := strings.Cut(screen.String(), "\r\n")
			waitNoEcho(t, tty)
		}
		if _, err := stdin.Write([]byte(prompts[0].answer() + "\n")); err != nil {
			t.Error(err)
		}
		prompts = prompts[1:]
	}
	if len(prompts) > 0 {
		t.Errorf("no prompt %q", prompts[0].text)
	}
	return screen.String(), cmd.Wait()
}

// waitNoEcho waits until a terminal no longer echoes input.
func waitNoEcho(t *testing.T, tty string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		out, err := exec.Command("stty", "-F", tty, "-a").CombinedOutput()
		if strings.Contains(string(out), " -echo ") {
			return
		}
		if err != nil || time.Now().After(deadline) {
			t.Errorf("%s still echoes input: %v %s", tty, err, out)
			return
		}
	}
}

// login and fetch refuse secrets in arguments and unsafe URLs, and print no secret.
func TestFetchRefuses(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		args   []string
		status int
		want   string // in standard error
	}{
		{"Authorization field: refused", []string{"fetch", "-H", "Authorization: Bearer x", "https://h"}, exitUsage, "every user of the machine"},
		{"Proxy-Authorization field: refused", []string{"fetch", "-H", "Proxy-Authorization: Basic x", "https://h"}, exitUsage, "every user of the machine"},
		{"unknown session in capitals: canonical origins", []string{"fetch", "--session", "HTTPS://S:443/", "https://H:443"}, exitRefused, "no sign-in at https://s for https://h\n"},
		{"session URL with user: refused", []string{"fetch", "--session", "https://ada:marked@s", "https://h"}, exitUsage, "user name"},
		{"URL with user: refused", []string{"fetch", "https://ada:marked@h"}, exitUsage, "user name"},
		{"URL without scheme: refused", []string{"fetch", "h"}, exitUsage, "not an http or https URL"},
		{"field without colon: refused", []string{"fetch", "-H", "nonsense", "https://h"}, exitUsage, "not a header field"},
		{"login over http to another machine: refused", []string{"login", "http://far.example.com", "--email", "a", "--password-stdin"}, exitUsage, "Use https"},
		{"login URL with path: refused", []string{"login", "https://h/path", "--email", "a", "--password-stdin"}, exitUsage, "more than a server"},
		{"login without terminal: refused", []string{"login", "https://h", "--email", "a"}, exitUsage, "not a terminal"},
		{"unknown session: refused", []string{"fetch", "--session", "https://s", "https://h"}, exitRefused, "no sign-in"},
		{"closed port: status 3", []string{"fetch", "http://127.0.0.1:1/"}, exitUnreachable, "refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, stderr, status := command(t, "", append(c.args, "--sessions", t.TempDir())...)
			if status != c.status || !strings.Contains(stderr, c.want) || strings.Contains(stderr, "marked") {
				t.Errorf("%q: status %d, want %d with %q and without \"marked\":\n%s", c.args, status, c.status, c.want, stderr)
			}
		})
	}
}

// fetch -v reads each line of a faulty WWW-Authenticate field, and shows no secret and no control
// character.
func TestFetchVerbose(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Www-Authenticate"] = []string{`Digest realm="a" nonce="b"`, `Bearer realm="x"`, `ApiKey`}
		w.Header().Set("Set-Cookie", "sid=s3cr3t-marker; Path=/; HttpOnly")
		w.Header().Set("X-Session-Token", "s3cr3t-marker")
		w.Header().Set("X-Note", "red \u202e")
		w.WriteHeader(401)
	}))
	defer s.Close()
	_, stderr, status := command(t, "s3cr3t-marker\n", "fetch", "-v", "--token-stdin", s.URL+"/x?access_token=s3cr3t-marker", "--sessions", t.TempDir())
	if status != exitRefused {
		t.Errorf("status %d, want %d", status, exitRefused)
	}
	for _, want := range []string{
		"challenge: Bearer", "challenge: ApiKey", "line 1, octet 18: a comma", `<   Digest realm="a" nonce="b"` + "\n", "<   " + strings.Repeat(" ", 17) + "^\n",
		"Authorization: Bearer …(13 octets)", "Set-Cookie: sid=…(13 octets); Path=/; HttpOnly", "X-Session-Token: …(13 octets)",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("got %s, want %q", stderr, want)
		}
	}
	if strings.Contains(stderr, "s3cr3t") || strings.Contains(stderr, "\u202e") {
		t.Errorf("fetch -v prints a secret or a control character: %q", stderr)
	}
}

// fetch answers a Basic challenge and prints challenges.
func TestFetchPassword(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "files.example.com" {
			t.Errorf("Host: %s", r.Host)
		}
		if user, password, ok := r.BasicAuth(); !ok || user != "ada" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="files", charset="UTF-8"`)
			w.WriteHeader(401)
		}
	}))
	defer s.Close()
	_, stderr, status := command(t, "secret\n", "fetch", "-v", "-H", "Host: files.example.com", "-u", "ada", "--password-stdin", s.URL, "--sessions", t.TempDir())
	if status != exitDone || !strings.Contains(stderr, "challenge: Basic") || !strings.Contains(stderr, "realm = files") || strings.Contains(stderr, "YWRh") {
		t.Errorf("%d %s", status, stderr)
	}
	if _, stderr, status = command(t, "wrong\n", "fetch", "-H", "host:files.example.com", "-u", "ada", "--password-stdin", s.URL, "--sessions", t.TempDir()); status != exitRefused || !strings.Contains(stderr, `it wants Basic (realm "files")`) {
		t.Errorf("%d %s", status, stderr)
	}
	if _, stderr, status = command(t, strings.Repeat("x", 65<<10), "fetch", "-u", "ada", "--password-stdin", s.URL, "--sessions", t.TempDir()); status != exitUsage || !strings.Contains(stderr, "longer than 65536 octets") {
		t.Errorf("%d %s", status, stderr)
	}
}

// fetch sends a given token as it is, to the URL's origin alone, and reports the refusal of any API.
func TestFetchToken(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("Authorization: Bearer marked-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var other string
	handler := func(w http.ResponseWriter, r *http.Request) {
		sent := r.Header.Get("Authorization")
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, other, http.StatusFound)
			return
		case "/good":
			if sent != "Bearer marked-token" {
				t.Errorf("got Authorization %q, want the token", sent)
			}
			w.Write([]byte("hello"))
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="notes", error="insufficient_scope", `+
			`error_description="More rights.", scope="write", resource_metadata="https://api.example.com/.well-known/x", nonce="N"`)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		w.Write([]byte(`{"message":"No write access","code":403}`))
	}
	s := httptest.NewServer(http.HandlerFunc(handler))
	t.Cleanup(s.Close) // after the parallel cases
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if len(r.Header["Authorization"]) > 0 {
			t.Error("another origin received the token")
		}
	}))
	t.Cleanup(elsewhere.Close)
	other = elsewhere.URL
	for _, c := range []struct {
		name, stdin  string
		args         []string
		status       int
		stdout, want string // want is in standard error
	}{
		{"file: sent", "", []string{"--token-file", file, s.URL + "/good"}, exitDone, "hello", ""},
		{"standard input: sent", "marked-token\n", []string{"--token-stdin", s.URL + "/good"}, exitDone, "hello", ""},
		{"redirect to another origin: without the token", "", []string{"-L", "--token-file", file, s.URL + "/away"},
			exitDone, "", ""},
		{"refused: parameters of the challenge", "", []string{"--token-file", file, s.URL}, exitRefused,
			"{\"message\":\"No write access\",\"code\":403}\n",
			`Bearer (realm "notes", error "insufficient_scope", error_description "More rights.", scope "write", ` +
				`resource_metadata "https://api.example.com/.well-known/x")`},
		{"refused: message of the body", "", []string{"--token-file", file, s.URL}, exitRefused,
			"{\"message\":\"No write access\",\"code\":403}\n", "403 Forbidden: No write access"},
		{"refused: hint", "", []string{"--token-file", file, s.URL}, exitRefused,
			"{\"message\":\"No write access\",\"code\":403}\n", "durward token inspect"},
		{"http to another machine: refused", "", []string{"--token-file", file, "http://far.example.com/"}, exitUsage, "",
			"https"},
		{"no such file: status 3", "", []string{"--token-file", file + "x", s.URL}, exitUnreachable, "", "no such file"},
		{"token as the name of the file: usage", "", []string{"--token-file", strings.Repeat("marked", 11) + ".a.b", s.URL},
			exitUsage, "", "Treat this one as leaked"},
		{"empty input: usage", "\n", []string{"--token-stdin", s.URL}, exitUsage, "", "no token"},
		{"token and user: usage", "", []string{"--token-file", file, "-u", "ada", s.URL}, exitUsage, "", "together"},
		{"body and token on standard input: usage", "x", []string{"--token-stdin", "-d", "@-", s.URL}, exitUsage, "",
			"standard input cannot be the body and a secret"},
		{"body and token from the file -: usage", "x", []string{"--token-file", "-", "-d", "@-", s.URL}, exitUsage, "",
			"standard input cannot be the body and a secret"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out, stderr, status := command(t, c.stdin, append([]string{"fetch", "--sessions", t.TempDir()}, c.args...)...)
			if status != c.status || out != c.stdout || !strings.Contains(stderr, c.want) ||
				strings.Contains(stderr, "marked") {
				t.Errorf("fetch %q: got status %d, %q and\n%s\nwant %d, %q and %q", c.args, status, out, stderr,
					c.status, c.stdout, c.want)
			}
		})
	}
}

// fetch explains the schemes of a refusal if it can answer none of them.
func TestFetchSchemes(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Www-Authenticate"] = r.URL.Query()["c"]
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(s.Close)
	for _, c := range []struct {
		name, query string
		want        []string
		wantNot     string
	}{
		{"two that it cannot answer: both", "c=Negotiate&c=NTLM",
			[]string{"Negotiate: The client sends a Kerberos ticket", "kinit", "NTLM: Client and server", "durward explain NTLM"}, ""},
		{"an unknown one: its name", "c=Nonsense", []string{"Nonsense: durward does not know this scheme"}, ""},
		{"beside one that it can answer: none", "c=Negotiate&c=Basic+realm%3Dx", []string{"it wants Negotiate or Basic"}, "Kerberos"},
		{"no challenge: none", "", []string{"401 Unauthorized"}, "scheme;"},
	} {
		_, stderr, status := command(t, "", "fetch", "--sessions", t.TempDir(), s.URL+"/?"+c.query)
		if status != exitRefused || c.wantNot != "" && strings.Contains(stderr, c.wantNot) {
			t.Errorf("%s: %d %s", c.name, status, stderr)
		}
		for _, want := range c.want {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: got %s, want %q", c.name, stderr, want)
			}
		}
	}
}
