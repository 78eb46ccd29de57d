package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/testkit"
)

// The printed lines of the demo work when they are pasted in order.
func TestDemo(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		missing(t, "curl")
	}
	tmp := t.TempDir()
	cmd := program([]string{"TMPDIR=" + tmp}, "serve", "--demo", "--listen", "127.0.0.1:0")
	p := serve(t, cmd)
	folders, err := filepath.Glob(filepath.Join(tmp, "durward-demo-*"))
	if err != nil || len(folders) != 1 {
		t.Fatalf("folders of the demo: %q (%v), want one", folders, err)
	}

	script := "set -e\n"
	for i, line := range p.stdout[:len(p.stdout)-1] {
		if strings.HasPrefix(line, "curl ") {
			script += fmt.Sprintf("echo \"== %d\"\n%s\n", i, line)
		} else if line != "" && !strings.HasPrefix(line, "#") {
			t.Errorf("line %q: want a curl command or a comment", line)
		}
	}
	shell := exec.Command("sh", "-c", script)
	shell.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + tmp}
	got, err := shell.Output()
	if err != nil {
		t.Fatalf("the printed lines fail: %v\n%s", err, got)
	}
	steps := strings.Split(string(got), "== ")[1:]
	want := [][]string{
		{"HTTP/1.1 401 ", `Www-Authenticate: Bearer realm="127.0.0.1"`, `"code":"AUTHENTICATION_REQUIRED"`},
		{`{"access_token":"eyJ`, `"refresh_token":"dr_`},
		{"HTTP/1.1 200 ", `"email":"ada@example.com"`},
		{`{"access_token":"eyJ`, `"refresh_token":"dr_`},
		{"HTTP/1.1 204 "},
		{"HTTP/1.1 401 ", `"code":"TOKEN_REVOKED"`},
	}
	if len(steps) != len(want) {
		t.Fatalf("got the output of %d curl commands, want %d:\n%s", len(steps), len(want), got)
	}
	for i, step := range steps {
		for _, w := range want[i] {
			if !strings.Contains(step, w) {
				t.Errorf("curl command %d: want %q in\n%s", i+1, w, step)
			}
		}
	}

	// The printed password is the administrator's.
	_, after, _ := strings.Cut(strings.Join(p.stdout, "\n"), "root@example.com / ")
	password, _, _ := strings.Cut(after, " ")
	if a := p.signIn("root@example.com", password); a.member("scope") != "profile admin" {
		t.Errorf("the administrator's scope is %q, want \"profile admin\"", a.member("scope"))
	}
	// The last line before the empty one names the page to open.
	if line := p.stdout[len(p.stdout)-3]; !strings.HasPrefix(line, "# Open this page: http://127.0.0.1:") || !strings.HasSuffix(line, "/login") {
		t.Errorf("the demo ends with %q, want the page to open", line)
	}
	if a := p.ask("GET", "/login", "", ""); a.status != 200 {
		t.Errorf("/login: %d, want 200", a.status)
	}
	// Registration is open.
	if a := p.ask("POST", "/api/auth/register", "", `{"email":"bob@example.com","password":"`+testPassword+`"}`); a.status != 201 {
		t.Errorf("register: %d %s, want 201", a.status, a.body)
	}
	if status := p.stop(); status != 0 {
		t.Errorf("status %d, want 0\n%s", status, p.stderr)
	}
	if _, err := os.Stat(folders[0]); !os.IsNotExist(err) {
		t.Errorf("the temporary folder still exists: %v", err)
	}
}

// With --data the demo keeps the folder, and the next start continues with its data.
func TestDemoKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "it's a demo")
	var tokens answer
	for i := range 2 {
		p := serve(t, program(nil, "serve", "--demo", "--listen", "127.0.0.1:0", "--data", dir))
		if i == 1 {
			if a := p.ask("GET", "/api/profile", tokens.member("access_token"), ""); a.status != 200 {
				t.Errorf("profile after a restart: %d %s, want 200", a.status, a.body)
			}
		}
		tokens = p.signIn(demoEmail, demoPassword)
		if status := p.stop(); status != 0 {
			t.Errorf("status %d: %s", status, p.stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "master.key")); err != nil {
		t.Error(err)
	}
}

// Without --demo, standard output has one line and registration is off.
func TestServePlain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	p := serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", dir))
	if a := p.ask("POST", "/api/auth/register", "", `{"email":"bob@example.com","password":"`+testPassword+`"}`); a.status != 403 || a.member("code") != "FORBIDDEN" {
		t.Errorf("register: %d %s, want 403 FORBIDDEN", a.status, a.body)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if a := p.ask("GET", path, "", ""); a.status != 200 {
			t.Errorf("%s: %d %s, want 200", path, a.status, a.body)
		}
	}
	if status := p.stop(); status != 0 || len(p.stdout) != 1 {
		t.Errorf("status %d, want 0; standard output %q, want one line", status, p.stdout)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("data folder: mode %v (%v), want 0700", info.Mode(), err)
	}
}

// The server checks DPoP proofs only if the key dpop is true.
func TestServeBindsTokens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada@example.com", "correct horse battery staple")
	for _, on := range []bool{false, true} {
		p := serve(t, program([]string{fmt.Sprintf("DURWARD_DPOP=%t", on)}, "serve", "--listen", "127.0.0.1:0", "--data", dir))
		r, err := http.NewRequest("POST", p.url+"/api/auth/login", strings.NewReader(`{"email":"ada@example.com","password":"correct horse battery staple"}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("DPoP", "no proof")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if err := errors.Join(err, res.Body.Close()); err != nil {
			t.Fatal(err)
		}
		want := `"token_type":"Bearer"`
		if on {
			want = `"code":"INVALID_PROOF"`
		}
		if !strings.Contains(string(body), want) || (res.Header.Get("DPoP-Nonce") != "") != on {
			t.Errorf("dpop = %t: %s %v %s; want %s", on, res.Status, res.Header, body, want)
		}
		if status := p.stop(); status != 0 {
			t.Errorf("status %d", status)
		}
	}
}

// A running server applies the changes of the command line.
func TestShellReachesServer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada@example.com", testPassword)
	p := serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", dir))
	tokens := p.signIn("ada@example.com", testPassword)
	access := tokens.member("access_token")
	if a := p.ask("GET", "/api/profile", access, ""); a.status != 200 {
		t.Fatalf("profile: %d %s", a.status, a.body)
	}
	if _, stderr, status := command(t, "", "user", "lock", "ada@example.com", "--data", dir); status != 0 {
		t.Fatalf("user lock: %s", stderr)
	}
	var denied answer
	eventually(t, func() error {
		if denied = p.ask("GET", "/api/profile", access, ""); denied.status == 401 {
			return nil
		}
		return fmt.Errorf("profile after the lock: %d %s, want 401", denied.status, denied.body)
	})
	if got := denied.member("code"); got != "TOKEN_REVOKED" {
		t.Errorf("code %s, want TOKEN_REVOKED", got)
	}
	if a := p.ask("POST", "/api/auth/refresh", "", fmt.Sprintf(`{"refresh_token":%q}`, tokens.member("refresh_token"))); a.member("code") != "SESSION_REVOKED" {
		t.Errorf("refresh: %d %s, want SESSION_REVOKED", a.status, a.body)
	}

	// durward why finds the refusal, which the server stores within a second, by its id in either
	// case and by the instance of the body.
	id := denied.header.Get("Durward-Denial")
	for _, name := range []string{id, strings.ToLower(id), denied.member("instance")} {
		eventually(t, func() error {
			stdout, stderr, status := command(t, "", "why", name, "--data", dir)
			if status != 0 || !strings.Contains(stdout, "401 TOKEN_REVOKED") || !strings.Contains(stdout, "was ended") {
				return fmt.Errorf("durward why %s: status %d\n%s%s", name, status, stdout, stderr)
			}
			return nil
		})
	}
	for _, c := range []struct {
		args, want string
		status     int
	}{
		{"--last 1000", id + "  ", exitDone},
		{"--last 1000 --json", `"id": "` + id + `"`, exitDone},
		{"", "name a refusal", exitUsage},
		{"--last=-1", "want 1 to 10000", exitUsage},
		{"--last 1 " + id, "exclude each other", exitUsage},
	} {
		stdout, stderr, status := command(t, "", append([]string{"why", "--data", dir}, strings.Fields(c.args)...)...)
		if status != c.status || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("why %s: status %d, want %d and %q:\n%s%s", c.args, status, c.status, c.want, stdout, stderr)
		}
	}
	if _, stderr, status := command(t, "", "why", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "--data", dir); status != 1 || !strings.Contains(stderr, "hint: ") {
		t.Errorf("why of an unknown id: status %d, want 1 with a hint:\n%s", status, stderr)
	}

	// The server uses a rotated key without a restart.
	if _, stderr, status := command(t, "", "user", "unlock", "ada@example.com", "--data", dir); status != 0 {
		t.Fatalf("user unlock: %s", stderr)
	}
	if _, stderr, status := command(t, "", "key", "rotate", "--now", "--data", dir); status != 0 {
		t.Fatalf("key rotate: %s", stderr)
	}
	issued, stderr, status := command(t, "", "token", "issue", "--sub", "ada@example.com", "--scope", "profile", "--data", dir)
	if status != 0 {
		t.Fatalf("token issue: %s", stderr)
	}
	eventually(t, func() error {
		if a := p.ask("GET", "/api/profile", strings.TrimSpace(issued), ""); a.status != 200 {
			return fmt.Errorf("profile with a token of the new key: %d %s, want 200", a.status, a.body)
		}
		return nil
	})
	if a := p.signIn("ada@example.com", testPassword); a.member("access_token") == "" {
		t.Error("the sign-in after the rotation returned no token")
	}
}

// SIGHUP applies the reloadable keys and logs the other changed ones. An invalid configuration has
// no effect.
func TestReload(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "durward.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("registration = \"off\"\n")
	p := serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(dir, "data"), "--config", file))
	hangUp := func() {
		t.Helper()
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	register := func() int {
		return p.ask("POST", "/api/auth/register", "", `{"email":"bob@example.com","password":"`+testPassword+`"}`).status
	}
	if got := register(); got != 403 {
		t.Errorf("register: %d, want 403", got)
	}
	write("registration = \"sometimes\"\nlisten = 1\n")
	hangUp()
	p.logged("the old one stays in force")
	p.logged("want one of: off, invite, open")
	if got := register(); got != 403 {
		t.Errorf("register after an invalid configuration: %d, want 403", got)
	}
	write("registration = \"open\"\nbasic = true\ninsecure_allow_http = true\n[admin]\nsecond_factor = false\n[tokens]\naccess_ttl = \"5m\"\n[log]\nlevel = \"debug\"\n[limits]\naccount_failures = 1\nnetwork_failures = 0\n")
	hangUp()
	p.logged("need a restart")
	p.logged(`keys="[insecure_allow_http tokens.access_ttl]"`)
	p.logged("admin.second_factor")
	if got := register(); got != 201 {
		t.Errorf("register: %d, want 201", got)
	}
	if a := p.signIn("bob@example.com", testPassword); !strings.Contains(string(a.body), `"expires_in":900`) && !strings.Contains(string(a.body), `"expires_in":899`) {
		t.Errorf("the lifetime of tokens changed without a restart: %s", a.body)
	}
	r, _ := http.NewRequest("GET", p.url+"/api/profile", nil)
	r.SetBasicAuth("bob@example.com", testPassword)
	if res, err := http.DefaultClient.Do(r); err != nil || res.StatusCode != 200 {
		t.Errorf("Basic, which is on now: %v %v", res, err)
	} else {
		res.Body.Close()
	}
	wrong := `{"email":"bob@example.com","password":"wrong"}`
	if a := p.ask("POST", "/api/auth/login", "", wrong); a.status != 401 {
		t.Errorf("first wrong password: %d, want 401", a.status)
	}
	if a := p.ask("POST", "/api/auth/login", "", wrong); a.status != 429 {
		t.Errorf("second wrong password with a limit of one: %d, want 429", a.status)
	}
}

// The default of the issuer is a fixed address. A server that listens elsewhere warns that verifiers do not
// find its keys by the issuer, unless the operator has named an address.
func TestIssuerIsElsewhere(t *testing.T) {
	t.Parallel()
	const warning = "verifiers that look for its keys by the issuer find no server"
	p := serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", t.TempDir()))
	p.logged(warning)
	if a := p.ask("GET", "/.well-known/openid-configuration", "", ""); a.status != 200 || a.member("issuer") != "http://127.0.0.1:8401" || a.member("jwks_uri") != p.url+"/.well-known/jwks.json" {
		t.Errorf("metadata: %d %s", a.status, a.body)
	}
	for _, set := range []string{"DURWARD_ISSUER=https://auth.example.com", "DURWARD_PUBLIC_URL=http://localhost:8401"} {
		p := serve(t, program([]string{set}, "serve", "--listen", "127.0.0.1:0", "--data", t.TempDir()))
		if status := p.stop(); status != 0 || strings.Contains(p.stderr.String(), warning) {
			t.Errorf("%s: status %d, want no warning in\n%s", set, status, p.stderr)
		}
	}
}

// With an https public_url and no trusted proxy, the server refuses all requests through a proxy. It
// warns at its start, and a reload can correct it.
func TestProxyIsMissing(t *testing.T) {
	t.Parallel()
	const warning = "trusted_proxies is empty"
	dir := t.TempDir()
	file := filepath.Join(dir, "durward.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("public_url = \"https://auth.example.com\"\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	p := serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(dir, "data"), "--config", file))
	p.logged(warning)
	proxied := func() int {
		t.Helper()
		r, err := http.NewRequest("GET", p.url+"/api/profile", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Forwarded-Proto", "https")
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		return a.StatusCode
	}
	if got := proxied(); got != 403 {
		t.Errorf("request through an untrusted proxy: %d, want 403", got)
	}
	write("trusted_proxies = [\"127.0.0.1\"]\n")
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.logged("changed=[trusted_proxies]")
	if got := proxied(); got != 401 {
		t.Errorf("request through a trusted proxy: %d, want 401", got)
	}
	if n := strings.Count(p.stderr.String(), warning); n != 1 {
		t.Errorf("warned %d times, want once:\n%s", n, p.stderr)
	}
}

// A request in progress at SIGTERM gets its response, and new connections are refused.
func TestDrain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada@example.com", testPassword)
	p := serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", dir))
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := `{"email":"ada@example.com","password":"` + testPassword + `"}`
	fmt.Fprintf(conn, "POST /api/auth/login HTTP/1.1\r\nHost: durward\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body))
	in := bufio.NewReader(conn)
	if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("got %q (%v), want 100 Continue", line, err)
	}
	if _, err := in.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.logged("stopping")
	eventually(t, func() error {
		other, err := net.Dial("tcp", strings.TrimPrefix(p.url, "http://"))
		if err == nil {
			other.Close()
			return errors.New("the server still accepts new connections")
		}
		return nil
	})
	if _, err := io.WriteString(conn, body); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(in, nil)
	if err != nil || res.StatusCode != 200 {
		t.Fatalf("the request in progress: %v %v, want 200", res, err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatal("the server still runs after SIGTERM")
	}
	if status := p.cmd.ProcessState.ExitCode(); status != 0 {
		t.Errorf("status %d, want 0\n%s", status, p.stderr)
	}
}

// A server that cannot open the keys in its database does not start, and prints a hint.
func TestKeysAreWrong(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		break_ func(t *testing.T, dir string)
		env    []string
		want   []string
	}{
		{"missing key file: refused", func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "master.key")); err != nil {
				t.Fatal(err)
			}
		}, nil, []string{"no master key", "put back the key file"}},
		{"another key file: refused", func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "master.key"), []byte(strings.Repeat("0123456789abcdef", 4)), 0o600); err != nil {
				t.Fatal(err)
			}
		}, nil, []string{"sealed with another master key", "put the right key file back"}},
		{"key file readable by others: refused", func(t *testing.T, dir string) {
			if err := os.Chmod(filepath.Join(dir, "master.key"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, nil, []string{"chmod 600 "}},
		{"truncated key file: refused", func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, "master.key"), 10); err != nil {
				t.Fatal(err)
			}
		}, nil, []string{"has 10 characters"}},
		{"another key in the environment: refused", func(*testing.T, string) {}, []string{"DURWARD_MASTER_KEY=" + strings.Repeat("0123456789abcdef", 4)}, []string{"sealed with another master key"}},
		{"another issuer: refused", func(*testing.T, string) {}, []string{"DURWARD_ISSUER=https://other.example"}, []string{"belongs to the issuer http://127.0.0.1:8401, not to https://other.example"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			addUser(t, dir, "ada@example.com", testPassword)
			before, err := os.ReadFile(filepath.Join(dir, "master.key"))
			if err != nil {
				t.Fatal(err)
			}
			c.break_(t, dir)
			cmd := program(c.env, "serve", "--listen", "127.0.0.1:0", "--data", dir)
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("the server started:\n%s", out)
			}
			for _, w := range c.want {
				if !strings.Contains(string(out), w) {
					t.Errorf("want %q in:\n%s", w, out)
				}
			}
			if strings.Contains(string(out), strings.TrimSpace(string(before))) {
				t.Error("the output contains the master key")
			}
		})
	}
}

// The server warns at its start of files that other users can read or write.
func TestOpenFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "open")
	addUser(t, dir, "eve@example.com", testPassword)
	for name, mode := range map[string]os.FileMode{"": 0o777, "durward.db": 0o644} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	p := serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", dir))
	p.logged("replace its files; run: chmod 700 " + dir)
	p.logged("other users can read the database " + dir + "/durward.db; run: chmod 600 ")
	p.stop()

	// The demo warns that it adds its users to an existing database.
	p = serve(t, program(nil, "serve", "--demo", "--listen", "127.0.0.1:0", "--data", dir))
	p.logged("has users already; the demo adds ada@example.com")
	p.stop()
	p = serve(t, program([]string{"DURWARD_ISSUER=http://127.0.0.1:8401"}, "serve", "--demo", "--listen", "127.0.0.1:0"))
	p.stop()
	if strings.Contains(p.stderr.String(), "WARN") || strings.Contains(p.stderr.String(), "warning") {
		t.Errorf("a start without faults printed warnings:\n%s", p.stderr)
	}
}

// The printed lines of the demo contain absolute paths only.
func TestDemoElsewhere(t *testing.T) {
	t.Parallel()
	cmd := program(nil, "serve", "--demo", "--listen", "127.0.0.1:0", "--data", "kept")
	cmd.Dir = t.TempDir()
	p := serve(t, cmd)
	defer p.stop()
	where, err := filepath.EvalSymlinks(cmd.Dir)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(p.stdout, "\n")
	if n := strings.Count(text, "kept"); n == 0 || n != strings.Count(text, where+"/kept") {
		t.Errorf("want only absolute paths in:\n%s", text)
	}
}

// db check of a database with a newer schema, or of an unreadable one, does not suggest to restore a
// backup.
func TestCheckWithoutDamage(t *testing.T) {
	t.Parallel()
	newer, unreadable := t.TempDir(), t.TempDir()
	for _, dir := range []string{newer, unreadable} {
		addUser(t, dir, "ada@example.com", testPassword)
	}
	db := testkit.OpenSQLite(t, newer)
	if _, err := db.Exec("INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Close(), os.Remove(filepath.Join(unreadable, "durward.db")), os.Mkdir(filepath.Join(unreadable, "durward.db"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{newer: "made by a newer program", unreadable: "is a directory"} {
		_, stderr, status := command(t, "", "db", "check", "--data", dir)
		if status != exitUnreachable || !strings.Contains(stderr, want) || strings.Contains(stderr, "restore the last backup") {
			t.Errorf("status %d, want %d:\n%s", status, exitUnreachable, stderr)
		}
	}
}

// A server seals the security log; event list follows it; db check names an event that was changed or
// removed afterwards.
func TestCheckOfTheSecurityLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	addUser(t, dir, "ada@example.com", testPassword)
	addUser(t, dir, "bob@example.com", testPassword)
	p := serve(t, program(nil, "serve", "--listen", "127.0.0.1:0", "--data", dir))
	p.logged("security log sealed")
	followed := new(testkit.Log)
	follow := program(nil, "event", "list", "--json", "--follow", "--last", "1", "--data", dir)
	follow.Stdout = followed
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = follow.Process.Kill(), follow.Wait() }()
	lines := func(n int, kind string) {
		t.Helper()
		eventually(t, func() error {
			lines := strings.Split(strings.TrimSpace(followed.String()), "\n")
			if len(lines) != n || !strings.Contains(lines[n-1], `"kind":"`+kind+`"`) {
				return fmt.Errorf("followed %q, want %d lines, the last one %s", lines, n, kind)
			}
			return nil
		})
	}
	lines(1, "user_added")
	addUser(t, dir, "eve@example.com", testPassword)
	lines(2, "user_added")
	if _, stderr, status := command(t, "", "user", "lock", "eve@example.com", "--data", dir); status != exitDone {
		t.Fatal(stderr)
	}
	lines(3, "user_locked")
	if status := p.stop(); status != exitDone {
		t.Fatalf("serve: status %d", status)
	}
	db := testkit.OpenSQLite(t, dir)
	for _, c := range []struct{ do, want string }{
		{"SELECT 1", ""},
		{"UPDATE events SET actor = 'mallory' WHERE number = 1", "event 1 ("},
		{"DELETE FROM events WHERE number = 2", "event 2 was removed"},
	} {
		if _, err := db.Exec(c.do); err != nil {
			t.Fatal(err)
		}
		stdout, stderr, status := command(t, "", "db", "check", "--data", dir)
		if good := c.want == ""; good != (status == exitDone) || !strings.Contains(stdout, c.want) || !good && !strings.Contains(stderr, "as evidence") {
			t.Errorf("%s: status %d, want a problem with %q:\n%s%s", c.do, status, c.want, stdout, stderr)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// Metrics are served on their own listener only.
func TestMetricsListener(t *testing.T) {
	t.Parallel()
	p := serve(t, program([]string{"DURWARD_METRICS_LISTEN=127.0.0.1:0"}, "serve", "--listen", "127.0.0.1:0", "--data", t.TempDir()))
	p.logged("metrics are served")
	url := regexp.MustCompile(`url=(http://127\.0\.0\.1:\d+)/metrics`).FindStringSubmatch(p.stderr.String())
	if url == nil {
		t.Fatalf("no address of the metrics in:\n%s", p.stderr)
	}
	if a := p.ask("GET", "/metrics", "", ""); a.status != 404 {
		t.Errorf("the listener of the server: status %d, want 404", a.status)
	}
	p.ask("GET", "/api/profile", "", "")
	a, err := ask(http.DefaultClient, url[1], "GET", "/metrics", "", "")
	if err != nil || a.status != 200 || !strings.Contains(string(a.body), `durward_refusals_total{code="AUTHENTICATION_REQUIRED"`) {
		t.Errorf("the listener of the metrics: %d, %v\n%s", a.status, err, a.body)
	}
	if a, err := ask(http.DefaultClient, url[1], "GET", "/api/profile", "", ""); err != nil || a.status != 404 {
		t.Errorf("another path there: %d, %v, want 404", a.status, err)
	}
}

func TestPortTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, stderr, status := command(t, "", "serve", "--listen", l.Addr().String(), "--data", t.TempDir())
	if status != exitUnreachable || !strings.Contains(stderr, "address already in use") || !strings.Contains(stderr, "hint: ") {
		t.Errorf("status %d, want %d:\n%s", status, exitUnreachable, stderr)
	}
}
