package explain

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/durwardtest"
	"github.com/durward-auth/durward/lab"
)

// fix is a fence of code that is a whole program. After the language stands the last line of its output,
// or "serves" if it is a server.
type fix struct{ name, id, language, want, code string }

// The addresses in the programs: of the lab, and of a program that serves.
const (
	labAddress  = "127.0.0.1:8401"
	ownAddress  = "127.0.0.1:8402"
	fixDeadline = 3 * time.Minute
)

var fenceOfFix = regexp.MustCompile("(?ms)^```(\\w+) ([^\n]+)\n(.*?)^```$")

// fixes returns the programs of all texts.
func fixes() (all []fix) {
	for _, p := range All() {
		for _, s := range p.Sections {
			if s.Inherited {
				continue
			}
			for _, m := range fenceOfFix.FindAllStringSubmatch(s.Markdown, -1) {
				all = append(all, fix{strings.Join([]string{p.ID, s.Name, m[1]}, "_"), p.ID, m[1], m[2], m[3]})
			}
		}
	}
	return all
}

// command returns the command that runs a fix in dir.
func (f fix) command(t *testing.T, ctx context.Context, dir string) *exec.Cmd {
	t.Helper()
	file, argv := "", []string(nil)
	switch f.language {
	case "sh":
		file, argv = "fix.sh", []string{"sh", "-eu"}
	case "go":
		file, argv = "main.go", []string{"go", "run"}
	case "js":
		file, argv = "fix.mjs", []string{"node"}
	case "python":
		file, argv = "fix.py", []string{"python3", "-u"}
	default:
		t.Fatalf("%s cannot be run; a fence that is no program has nothing after its language", f.language)
	}
	need := argv[0]
	if f.language == "sh" {
		need = "curl"
	}
	if _, err := exec.LookPath(need); err != nil && os.Getenv("CI") != "" {
		t.Fatal(err)
	} else if err != nil {
		t.Skipf("SKIPPED: %s is not installed", need)
	}
	if strings.Contains(f.code, "import requests") || strings.Contains(f.code, ", requests") {
		if out, err := exec.Command("python3", "-c", "import requests").CombinedOutput(); err != nil && os.Getenv("CI") != "" {
			t.Fatalf("python3-requests is not installed: %s", out)
		} else if err != nil {
			t.Skip("SKIPPED: python3-requests is not installed")
		}
	}
	if err := os.WriteFile(filepath.Join(dir, file), []byte(f.code), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, argv[0], append(argv[1:], file)...)
	cmd.Dir = dir
	// A proxy of this machine's environment would change the requests.
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); !strings.HasSuffix(strings.ToLower(name), "_proxy") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(cmd.Env, "GOWORK=off", "GOFLAGS=", "GO111MODULE=auto")
	return cmd
}

// Every program of the texts keeps the promise of its text: a client at the lab, a server for requests that
// the test sends.
func TestFixes(t *testing.T) {
	t.Parallel()
	all := fixes()
	if len(all) < 30 {
		t.Fatalf("%d programs in the texts, want at least 30", len(all))
	}
	srv := httptest.NewServer(lab.Handler())
	t.Cleanup(srv.Close)
	at := strings.TrimPrefix(srv.URL, "http://")
	// Few at a time, since each Go program is compiled and linked.
	room := make(chan struct{}, 2)
	for _, f := range all {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			room <- struct{}{}
			defer func() { <-room }()
			f.code = strings.ReplaceAll(f.code, labAddress, at)
			if f.want == "serves" {
				f.serve(t)
				return
			}
			if !strings.Contains(f.code, at) {
				t.Fatalf("the program does not ask the lab at %s", labAddress)
			}
			ctx, cancel := context.WithTimeout(t.Context(), fixDeadline)
			defer cancel()
			cmd := f.command(t, ctx, t.TempDir())
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			if got := lines[len(lines)-1]; err != nil || got != f.want {
				t.Errorf("the last line is %q, %v; want %q\n%s\n%s", got, err, f.want, out, stderr.String())
			}
		})
	}
}

// Each path of the lab that a page names is one of the lab's endpoints, and answers with the page's status
// and cause.
func TestPathsOfTheLab(t *testing.T) {
	t.Parallel()
	_, index := durwardtest.NewLab(t)
	byPath := map[string]lab.Endpoint{}
	for _, e := range index.Endpoints {
		byPath[e.Path] = e
	}
	for _, p := range All() {
		e, ok := byPath[p.Lab]
		switch {
		case p.Lab == "" && p.Kind == KindFamily:
		case p.Lab == "" && p.Kind == KindPage: // not every subject has an endpoint
		case !ok:
			t.Errorf("%s: the lab has no endpoint %q", p.ID, p.Lab)
		case p.Kind == KindCode && (string(e.Code) != p.ID || e.Status != p.Status):
			t.Errorf("%s: %s answers %d %s, want %d", p.ID, p.Lab, e.Status, e.Code, p.Status)
		case p.Kind == KindCause && e.Cause != p.ID:
			t.Errorf("%s: %s shows the cause %q", p.ID, p.Lab, e.Cause)
		}
	}
}

// serve runs a fix as a server and sends the requests of its page.
func (f fix) serve(t *testing.T) {
	t.Helper()
	check := serving[f.id]
	if check == nil {
		t.Fatalf("no entry of serving checks the servers of %s", f.id)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().String()
	_, port, _ := net.SplitHostPort(at)
	free.Close()
	code := strings.NewReplacer(ownAddress, at, "8402", port).Replace(f.code)
	if code == f.code {
		t.Fatalf("the program does not listen on %s", ownAddress)
	}
	f.code = code
	ctx, cancel := context.WithTimeout(t.Context(), fixDeadline)
	defer cancel()
	dir := t.TempDir()
	if f.language == "go" { // go run would leave its child behind
		if out, err := buildGo(t, f, ctx, dir); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	cmd := f.command(t, ctx, dir)
	if f.language == "go" {
		cmd.Path, cmd.Args = filepath.Join(dir, "fix"), []string{"fix"}
	}
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	defer func() { cancel(); <-ended }()
	for { // until it accepts connections
		c, err := net.DialTimeout("tcp", at, time.Second)
		if err == nil {
			c.Close()
			break
		}
		select {
		case <-ended:
			t.Fatalf("the program ended: %s", output.String())
		case <-ctx.Done():
			t.Fatalf("the program does not listen: %s", output.String())
		case <-time.After(20 * time.Millisecond):
		}
	}
	check(served{t, "http://" + at})
}

// buildGo compiles a fix to the file "fix".
func buildGo(t *testing.T, f fix, ctx context.Context, dir string) ([]byte, error) {
	t.Helper()
	f.command(t, ctx, dir) // writes the file
	cmd := f.command(t, ctx, dir)
	cmd.Args = []string{"go", "build", "-o", "fix", "main.go"}
	return cmd.CombinedOutput()
}

// served sends requests to a fix that serves.
type served struct {
	*testing.T
	url string
}

// want sends a request with fields, given as pairs, and checks the status.
func (s served) want(status int, method string, fields ...string) http.Header {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, s.url+"/", nil)
	if err != nil {
		s.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Add(fields[i], fields[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req) // a redirect is not followed
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
	if resp.StatusCode != status {
		s.Errorf("%s %q: %s %s, want %d", method, fields, resp.Status, body, status)
	}
	return resp.Header
}

// has checks that a field contains a text; "" means that the field is missing.
func (s served) has(h http.Header, name, want string) {
	s.Helper()
	got := strings.Join(h.Values(name), ", ")
	if want == "" && got != "" || !strings.Contains(got, want) {
		s.Errorf("%s: %q, want %s", name, got, cmp.Or(want, "none"))
	}
}

// serving holds the requests for the servers of each page.
var serving = map[string]func(served){
	"challenge": func(s served) {
		h := s.want(401, "GET")
		s.has(h, "WWW-Authenticate", `Bearer realm="api"`)
		s.has(h, "Cache-Control", "no-store")
		if strings.Contains(h.Get("WWW-Authenticate"), "error") {
			s.Errorf("without a token the challenge has an error: %q", h)
		}
		s.has(s.want(401, "GET", "Authorization", "Bearer bad"), "WWW-Authenticate", `error="invalid_token"`)
		s.want(401, "GET", "Authorization", "Basic Z29vZDpnb29k")
		s.want(200, "GET", "Authorization", "bearer good")
	},
	"401-403-407": func(s served) {
		s.has(s.want(401, "GET"), "WWW-Authenticate", `Bearer realm="api"`)
		s.has(s.want(401, "GET", "Authorization", "Bearer bad"), "WWW-Authenticate", `error="invalid_token"`)
		s.want(200, "GET", "Authorization", "Bearer reader")
		s.has(s.want(403, "POST", "Authorization", "Bearer reader"), "WWW-Authenticate", `error="insufficient_scope", scope="write"`)
		s.want(200, "POST", "Authorization", "Bearer good")
	},
	"api-keys": func(s served) {
		h := s.want(401, "GET")
		s.has(h, "WWW-Authenticate", `ApiKey realm="api", field="X-API-Key"`)
		s.has(h, "Cache-Control", "no-store")
		s.want(401, "GET", "X-API-Key", "bad")
		s.want(401, "GET", "X-API-Key", "")
		s.want(200, "GET", "X-API-Key", "good")
	},
	"caching-and-cors": func(s served) {
		const page = "https://app.example.com"
		h := s.want(204, "OPTIONS", "Origin", page, "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "authorization")
		s.has(h, "Access-Control-Allow-Origin", page)
		s.has(h, "Access-Control-Allow-Headers", "Authorization")
		h = s.want(401, "GET", "Origin", page)
		s.has(h, "Access-Control-Allow-Origin", page)
		s.has(h, "Access-Control-Expose-Headers", "WWW-Authenticate")
		s.has(h, "WWW-Authenticate", "Bearer")
		s.has(h, "Cache-Control", "no-store")
		s.has(h, "Vary", "Origin")
		s.has(h, "Vary", "Authorization")
		s.has(s.want(401, "GET", "Origin", "https://evil.example"), "Access-Control-Allow-Origin", "")
		h = s.want(200, "GET", "Origin", page, "Authorization", "Bearer good")
		s.has(h, "Cache-Control", "private")
		s.has(h, "Access-Control-Allow-Origin", page)
	},
	"challenge-faulty": func(s served) {
		h := s.want(401, "GET")
		s.has(h, "WWW-Authenticate", `Bearer realm="api", Basic realm="api", charset="UTF-8"`)
		if n := len(h.Values("WWW-Authenticate")); n != 2 {
			s.Errorf("%d lines of challenges, want 2", n)
		}
		s.has(h, "Cache-Control", "no-store")
	},
	"outage-as-refusal": func(s served) {
		h := s.want(503, "GET", "Authorization", "Bearer during-an-outage")
		s.has(h, "Retry-After", "5")
		s.has(h, "WWW-Authenticate", "")
		s.has(s.want(401, "GET", "Authorization", "Bearer bad"), "WWW-Authenticate", "Bearer")
		s.has(s.want(401, "GET"), "WWW-Authenticate", "Bearer")
		s.want(200, "GET", "Authorization", "Bearer good")
	},
	"rate-limited": func(s served) {
		for range 3 {
			s.want(200, "GET", "Authorization", "Bearer a")
		}
		h := s.want(429, "GET", "Authorization", "Bearer a")
		if wait, err := strconv.Atoi(h.Get("Retry-After")); err != nil || wait < 1 || wait > 61 {
			s.Errorf("Retry-After: %q, want 1 to 61 seconds", h.Get("Retry-After"))
		}
		s.has(h, "Cache-Control", "no-store")
		s.want(200, "GET", "Authorization", "Bearer b")
	},
	"cross-site-refused": func(s served) {
		s.want(403, "POST", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example")
		s.want(403, "POST", "Origin", "https://evil.example")
		s.want(403, "POST", "Origin", "null")
		s.want(200, "POST", "Sec-Fetch-Site", "cross-site", "Origin", "https://app.example.com")
		s.want(200, "POST", "Sec-Fetch-Site", "same-origin", "Origin", s.url)
		s.want(200, "POST", "Origin", s.url)
		s.want(200, "POST")
		s.want(200, "GET", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example")
	},
	"wrong-status": func(s served) {
		h := s.want(401, "GET", "Accept", "application/json")
		s.has(h, "WWW-Authenticate", "Bearer")
		s.has(h, "Cache-Control", "no-store")
		s.has(h, "Vary", "Sec-Fetch-Mode")
		s.want(401, "GET", "Accept", "text/html", "Sec-Fetch-Mode", "cors")
		s.want(401, "GET")
		for _, fields := range [][]string{{"Sec-Fetch-Mode", "navigate"}, {"Accept", "text/html,*/*"}} {
			h := s.want(303, "GET", fields...)
			s.has(h, "Location", "/login?return_to=%2F")
			s.has(h, "WWW-Authenticate", "")
		}
	},
	"upstream-refused": func(s served) {
		s.has(s.want(502, "GET", "Authorization", "Bearer good"), "WWW-Authenticate", "")
	},
}
