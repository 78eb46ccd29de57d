// Package e2e tests clients of other projects against a real listener guarded by package durward.
// Each test compares the requests that the server received and the output of the client. It also
// asserts what a client cannot do, so that the test fails once a new version can; docs/library.md
// has the table.
package e2e

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward"
)

// The only account, and its token. The password holds characters that clients handle wrongly: a
// colon, a space, a letter outside ASCII.
const (
	user     = "ada"
	password = "säkert: nog"
	token    = "eyJ.token~of-ada"
)

// server is a listener on loopback that records each request and the guard's decision.
type server struct {
	url  string
	t    *testing.T
	http *httptest.Server

	mu  sync.Mutex
	log []string // lines of record
}

// newServer returns a server with its address; serve starts it.
func newServer(t *testing.T) *server {
	srv := &server{t: t, http: httptest.NewUnstartedServer(nil)}
	srv.url = "http://" + srv.http.Listener.Addr().String()
	return srv
}

// guard returns a guard that records its decisions in srv.
func (srv *server) guard(c durward.Config) *durward.Guard {
	srv.t.Helper()
	accept := c.OnAccept
	c.OnAccept = func(r *http.Request, p *durward.Principal) {
		subject := "anonymous"
		if !p.Anonymous() {
			subject = p.Subject
		}
		srv.record(r, subject)
		if accept != nil {
			accept(r, p)
		}
	}
	c.OnRefusal = func(r *http.Request, f *durward.Refusal) {
		result := string(f.Code)
		if f.Status != f.Code.Status() {
			result = fmt.Sprint(f.Status, " ", f.Code)
		}
		srv.record(r, result)
	}
	g, err := durward.New(c)
	if err != nil {
		srv.t.Fatal(err)
	}
	return g
}

// serve starts the listener with h.
func (srv *server) serve(h http.Handler) {
	srv.http.Config.Handler = withoutIcon(h)
	srv.http.Start()
	srv.t.Cleanup(srv.http.Close)
}

// withoutIcon answers requests for the icon itself, because browsers request it at any time.
func withoutIcon(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/favicon.ico" {
			http.NotFound(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// record adds a line for an exchange: "GET /x: ada by Digest SHA-256".
func (srv *server) record(r *http.Request, result string) {
	line := r.Method + " " + r.RequestURI + ": " + result
	if field := r.Header.Get("Authorization"); field != "" {
		line += " by "
		c, err := durward.ParseCredentials(field)
		if err != nil {
			line += "malformed credentials"
		}
		line += c.Scheme
		for _, name := range []string{"algorithm", "qop", "userhash"} {
			switch value, _ := c.Param(name); {
			case c.Scheme != "Digest" || value == "auth" || value == "false":
			case name == "algorithm" && value == "":
				line += " MD5" // RFC 7616 s3.4
			case name == "userhash" && value != "":
				line += " userhash"
			case value != "":
				line += " " + value
			}
		}
	}
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.log = append(srv.log, line)
}

// wantRequests compares the recorded lines with want.
func (srv *server) wantRequests(want ...string) {
	srv.t.Helper()
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if !slices.Equal(srv.log, want) {
		srv.t.Errorf("the server received\n\t%s\nwant\n\t%s", strings.Join(srv.log, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// checkPassword accepts the one account.
func checkPassword(_ context.Context, name, pass string) (*durward.Principal, error) {
	if name != user || pass != password {
		return nil, fmt.Errorf("user %q: %w", name, durward.InvalidCredentials)
	}
	return &durward.Principal{Subject: user}, nil
}

// verifyToken accepts the one token.
func verifyToken(_ context.Context, sent string) (*durward.Principal, error) {
	if sent != token {
		return nil, fmt.Errorf("unknown token: %w", durward.InvalidToken)
	}
	return &durward.Principal{Scheme: "Bearer", Subject: user}, nil
}

func basic() durward.Scheme  { return durward.Basic(checkPassword) }
func bearer() durward.Scheme { return durward.Bearer(verifyToken) }

// digest returns the Digest scheme with the one account.
func digest(c durward.DigestConfig) durward.Scheme {
	c.HA1 = func(_ context.Context, claim durward.DigestClaim) ([]byte, *durward.Principal, error) {
		hidden, err := durward.UserHash(claim.Algorithm, user, claim.Realm)
		if err != nil {
			return nil, nil, err
		}
		if claim.User != user && claim.UserHash != hidden {
			return nil, nil, fmt.Errorf("user %q: %w", claim.User, durward.InvalidCredentials)
		}
		ha1, err := durward.HA1(claim.Algorithm, user, claim.Realm, password)
		return ha1, &durward.Principal{Subject: user}, err
	}
	return durward.Digest(c)
}

// hello responds with the subject and the body of the request.
var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "hello, %s", durward.From(r.Context()).Subject)
	if len(body) > 0 {
		fmt.Fprintf(w, "; you sent %q", body)
	}
	fmt.Fprintln(w)
})

// needPrograms skips the test if a program is not installed; with CI set, the test fails.
func needPrograms(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err == nil {
			continue
		}
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed", p)
		}
		t.Skipf("SKIPPED: %s is not installed", p)
	}
}

// runTimeout limits the run of a client. Some clients loop endlessly on a challenge.
const runTimeout = 30 * time.Second

// command describes one run of a program.
type command struct {
	dir   string   // working and home folder; a new one if empty
	env   []string // in addition to PATH and HOME
	stdin string
}

// run runs a program to its end and returns its output, of both streams, and its exit status.
func (c command) run(t *testing.T, program string, args ...string) (printed string, status int) {
	t.Helper()
	if c.dir == "" {
		c.dir = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(t.Context(), runTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = time.Second
	cmd.Dir, cmd.Stdin = c.dir, strings.NewReader(c.stdin)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "LC_ALL=C.UTF-8",
		"GIT_TERMINAL_PROMPT=0"}, c.env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if ctx.Err() != nil || err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %q: %v, %v\n%s", program, args, err, ctx.Err(), out.String())
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// wantOutput compares the exit status and checks that the output contains each string of want.
func wantOutput(t *testing.T, printed string, status int, wantStatus int, want ...string) {
	t.Helper()
	if status != wantStatus {
		t.Errorf("exit status: got %d, want %d; output:\n%s", status, wantStatus, printed)
	}
	for _, w := range want {
		if !strings.Contains(printed, w) {
			t.Errorf("output: got\n%s\nwant it to contain %q", printed, w)
		}
	}
}

// writeFile writes a file and returns its path.
func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// certificate writes the TLS certificate of srv to a file and returns its path.
func (srv *server) certificate() string {
	srv.t.Helper()
	return writeFile(srv.t, filepath.Join(srv.t.TempDir(), "ca"),
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.http.Certificate().Raw})))
}

// hostPort returns the address of srv.
func hostPort(srv *server) (host, port string) {
	host, port, err := net.SplitHostPort(strings.TrimPrefix(srv.url, "http://"))
	if err != nil {
		srv.t.Fatal(err)
	}
	return host, port
}
