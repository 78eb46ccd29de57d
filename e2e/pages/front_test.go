package pages_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward/e2e/executable"
)

const (
	ada      = "ada@example.com"  // a user of the demonstration
	boss     = "boss@example.com" // an administrator, after addBoss
	password = "correct horse battery staple"
	changed  = "another few words in a row" // a password that replaces the first one
)

// front is a proxy before a real server. It records the requests, and plays an outage.
type front struct {
	origin, prefix string // the public URL: http://localhost:PORT and a path
	dir            string // data of the server
	env            []string
	down           atomic.Bool
	log            executable.Buffer // of the server
	mu             sync.Mutex
	served         []string // "POST /api/auth/token https://… 200": method, URL, Origin and status
	diagnosed      []byte   // body of the last POST /doctor
}

// recorded is a ResponseWriter that notes the status.
type recorded struct {
	http.ResponseWriter
	status int
}

func (r *recorded) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// newFront starts a server with an empty database, more settings and arguments behind a front, under a path.
func newFront(t *testing.T, prefix string, settings []string, arguments ...string) *front {
	t.Helper()
	f := &front{prefix: prefix, dir: t.TempDir()}
	var proxy *httputil.ReverseProxy
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := &recorded{w, http.StatusOK}
		if r.Method == http.MethodPost && r.URL.Path == prefix+"/doctor" {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			r.Body = io.NopCloser(bytes.NewReader(body))
			f.mu.Lock()
			f.diagnosed = body
			f.mu.Unlock()
		}
		if f.down.Load() {
			rec.Header().Set("Retry-After", "1")
			rec.Header().Set("Content-Type", "application/problem+json")
			rec.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(rec, `{"code":"AUTH_UNAVAILABLE"}`)
		} else {
			proxy.ServeHTTP(rec, r)
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.served = append(f.served, fmt.Sprintf("%s %s %s %d", r.Method, r.URL, r.Header.Get("Origin"), rec.status))
	}))
	t.Cleanup(web.Close)
	f.origin = strings.Replace(web.URL, "127.0.0.1", "localhost", 1) // an IP address has no passkeys
	f.env = append(os.Environ(), "DURWARD_PUBLIC_URL="+f.origin+prefix, "DURWARD_DATA_DIR="+f.dir)
	f.env = append(f.env, settings...)
	cmd := f.command(t, append([]string{"serve", "--listen", "127.0.0.1:0", "--data", f.dir}, arguments...)...)
	cmd.Stderr = &f.log
	at, _, err := executable.Serve(t, cmd)
	if err != nil {
		t.Fatalf("%v\n%s", err, f.log.String())
	}
	server, err := url.Parse(at)
	if err != nil {
		t.Fatal(err)
	}
	proxy = &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(server)
		p.Out.Host = p.In.Host
	}}
	return f
}

// newDemo starts the demonstration behind a front, under a path.
func newDemo(t *testing.T, prefix string) *front {
	t.Helper()
	return newFront(t, prefix, nil, "--demo")
}

// command returns a command of the program durward with the settings of the server.
func (f *front) command(t *testing.T, arguments ...string) *exec.Cmd {
	t.Helper()
	path, err := executable.Build()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, arguments...)
	cmd.Env = f.env
	return cmd
}

// run runs a command beside the server.
func (f *front) run(t *testing.T, input string, arguments ...string) {
	t.Helper()
	cmd := f.command(t, arguments...)
	cmd.Stdin = strings.NewReader(input)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("durward %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}
}

// addBoss adds an administrator without a second factor.
func (f *front) addBoss(t *testing.T) {
	t.Helper()
	f.run(t, password, "user", "add", boss, "--admin", "--name", "Boss", "--password-stdin")
}

// count returns how many recorded requests begin with a method and a path.
func (f *front) count(begin string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	method, path, _ := strings.Cut(begin, " ")
	for _, line := range f.served {
		if strings.HasPrefix(line, method+" "+f.prefix+path) {
			n++
		}
	}
	return n
}

// mailed waits for the number-th mail with a link to a page, and returns the path and fragment of the link.
func (f *front) mailed(t *testing.T, page string, number int) string {
	t.Helper()
	link := regexp.MustCompile(regexp.QuoteMeta(f.origin+f.prefix) + `(` + page + `#t=[\w-]{43})`)
	for end := time.Now().Add(executable.WaitLimit); ; time.Sleep(20 * time.Millisecond) {
		files, _ := filepath.Glob(filepath.Join(f.dir, "mail", "*.eml"))
		found := 0
		for _, file := range files {
			text, _ := os.ReadFile(file)
			if m := link.FindStringSubmatch(strings.NewReplacer("=\r\n", "", "=\n", "", "=3D", "=").Replace(string(text))); m != nil {
				if found++; found == number {
					return m[1]
				}
			}
		}
		if time.Now().After(end) {
			t.Fatalf("no mail %d with a link to %s in %d mails\n%s", number, page, len(files), f.log.String())
		}
	}
}
