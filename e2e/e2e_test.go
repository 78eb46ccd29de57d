// Package e2e drives clients that other people wrote against a real listener
// that package durward guards. Each test says what the server saw and what the
// client printed. What a client cannot do is asserted as well, so that it is
// noticed when the client learns it; docs/library.md has the table.
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

// The one person of these tests, and a token of hers. The password has what
// clients get wrong: colons, blanks, letters beyond ASCII.
const (
	user     = "ada"
	password = "säkert: nog"
	token    = "eyJ.token~of-ada"
)

// door is a listener on loopback that keeps what was asked there and how that
// ended.
type door struct {
	url string
	t   *testing.T
	srv *httptest.Server

	mu  sync.Mutex
	log []string
}

func listen(t *testing.T) *door {
	d := &door{t: t, srv: httptest.NewUnstartedServer(nil)}
	d.url = "http://" + d.srv.Listener.Addr().String()
	return d
}

// guard returns a guard whose decisions the door keeps.
func (d *door) guard(c durward.Config) *durward.Guard {
	d.t.Helper()
	accept := c.OnAccept
	c.OnAccept = func(r *http.Request, p *durward.Principal) {
		who := "anonymous"
		if !p.Anonymous() {
			who = p.Subject
		}
		d.keep(r, who)
		if accept != nil {
			accept(r, p)
		}
	}
	c.OnRefusal = func(r *http.Request, f *durward.Refusal) {
		result := string(f.Code)
		if f.Status != f.Code.Status() {
			result = fmt.Sprint(f.Status, " ", f.Code)
		}
		d.keep(r, result)
	}
	g, err := durward.New(c)
	if err != nil {
		d.t.Fatal(err)
	}
	return g
}

func (d *door) serve(h http.Handler) {
	d.srv.Config.Handler = withoutIcon(h)
	d.srv.Start()
	d.t.Cleanup(d.srv.Close)
}

// withoutIcon is h for all but the icon, for which browsers ask when they please.
func withoutIcon(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/favicon.ico" {
			http.NotFound(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// keep writes an exchange down: "GET /x: ada by Digest SHA-256".
func (d *door) keep(r *http.Request, result string) {
	line := r.Method + " " + r.RequestURI + ": " + result
	if field := r.Header.Get("Authorization"); field != "" {
		line += " by "
		c, err := durward.ParseCredentials(field)
		if err != nil {
			line += "what cannot be read"
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
	d.mu.Lock()
	defer d.mu.Unlock()
	d.log = append(d.log, line)
}

// saw compares all that was asked at the door.
func (d *door) saw(want ...string) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.log, want) {
		d.t.Errorf("the server saw\n\t%s\nwant\n\t%s", strings.Join(d.log, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// check is a password check with one account.
func check(_ context.Context, name, pass string) (*durward.Principal, error) {
	if name != user || pass != password {
		return nil, fmt.Errorf("user %q: %w", name, durward.InvalidCredentials)
	}
	return &durward.Principal{Subject: user}, nil
}

func verify(_ context.Context, sent string) (*durward.Principal, error) {
	if sent != token {
		return nil, fmt.Errorf("not the one token there is: %w", durward.InvalidToken)
	}
	return &durward.Principal{Scheme: "Bearer", Subject: user}, nil
}

func basic() durward.Scheme  { return durward.Basic(check) }
func bearer() durward.Scheme { return durward.Bearer(verify) }

// digest returns the Digest scheme with one account.
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

// hello greets who is asking and says what it was sent.
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

// need skips where a program is not installed, and fails where it has to be.
func need(t *testing.T, programs ...string) {
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

// patience is how long a client may take. Some loop for ever on a challenge.
const patience = 30 * time.Second

// client is one run of a program.
type client struct {
	dir   string   // where it runs and what it has for a home; empty is a new folder
	env   []string // beyond PATH and HOME
	stdin string
}

// run runs a program to its end and returns what it printed, on both streams, and
// its exit status.
func (c client) run(t *testing.T, program string, args ...string) (printed string, status int) {
	t.Helper()
	if c.dir == "" {
		c.dir = t.TempDir()
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.WaitDelay = time.Second
	cmd.Dir, cmd.Stdin = c.dir, strings.NewReader(c.stdin)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + c.dir, "LC_ALL=C.UTF-8", "GIT_TERMINAL_PROMPT=0"}, c.env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	if ctx.Err() != nil || err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %q: %v, %v\n%s", program, args, err, ctx.Err(), out.String())
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

// has fails where the client did not print something or ended otherwise.
func has(t *testing.T, printed string, status int, wantStatus int, want ...string) {
	t.Helper()
	if status != wantStatus {
		t.Errorf("exit status %d, want %d; it printed:\n%s", status, wantStatus, printed)
	}
	for _, w := range want {
		if !strings.Contains(printed, w) {
			t.Errorf("it did not print %q but:\n%s", w, printed)
		}
	}
}

// write makes a file in dir and returns its path.
func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// certificate is a file with the certificate of a door that speaks TLS.
func (d *door) certificate() string {
	d.t.Helper()
	return write(d.t, filepath.Join(d.t.TempDir(), "ca"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: d.srv.Certificate().Raw})))
}

// hostPort is the address of a door without its scheme.
func hostPort(d *door) (host, port string) {
	host, port, err := net.SplitHostPort(strings.TrimPrefix(d.url, "http://"))
	if err != nil {
		d.t.Fatal(err)
	}
	return host, port
}
