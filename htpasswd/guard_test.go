package htpasswd_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/htpasswd"
)

// write makes a file that is its owner's alone, or puts another in its place.
func write(t testing.TB, path string, lines ...string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func line(t testing.TB, user, password string) string {
	t.Helper()
	line, err := htpasswd.Line(user, password)
	if err != nil {
		t.Fatal(err)
	}
	return line
}

// curl asks with the real one, and returns the status and what was written.
func curl(t *testing.T, url string, args ...string) string {
	t.Helper()
	args = append([]string{"--disable", "--silent", "--show-error", "--max-time", "20", "--noproxy", "*", "--write-out", " %{http_code}"}, append(args, url)...)
	cmd := exec.Command("curl", args...)
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		if os.Getenv("CI") != "" {
			t.Fatal("curl is not installed")
		}
		t.Skip("curl is not installed")
	}
	if err != nil {
		t.Fatalf("curl %q: %v: %s", args, err, out)
	}
	return string(out)
}

// causes are what guards tell the log.
type causes struct {
	mu  sync.Mutex
	all []string
}

func (c *causes) add(_ *http.Request, f *durward.Refusal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, f.Error())
}

func (c *causes) text() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.all, "\n")
}

func serve(t *testing.T, told *causes, schemes ...durward.Scheme) string {
	t.Helper()
	guard, err := durward.New(durward.Config{Schemes: schemes, Realm: "notes", OnRefusal: told.add})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := durward.From(r.Context())
		fmt.Fprintf(w, "%s %s", who.Scheme, who.Subject)
	})))
	t.Cleanup(s.Close)
	return s.URL + "/"
}

// until asks until the answer is there, and fails where who asks a second after
// the call still gets another.
func until(t *testing.T, want string, ask func() string) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		asked := time.Now()
		got := ask()
		if strings.HasSuffix(got, want) {
			return
		}
		if asked.Sub(start) > time.Second {
			t.Fatalf("after a second still %q, want %q", got, want)
		}
	}
}

func TestBasicWithCurl(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "users")
	write(t, path, line(t, "ada", "old: password"), line(t, "josé", "pässword"))
	users, err := htpasswd.Open(htpasswd.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	var told causes
	url := serve(t, &told, users.Basic())
	as := func(credentials string) string { return curl(t, url, "--user", credentials) }
	for _, c := range []struct{ credentials, want string }{
		{"ada:old: password", "Basic ada 200"}, {"ada:old: password", "Basic ada 200"}, {"josé:pässword", "Basic josé 200"}, {"jose\u0301:pa\u0308ssword", "Basic josé 200"},
		{"ada:new password", " 401"}, {"nobody:old: password", " 401"}, {"Ada:old: password", " 401"}, {":", " 401"},
	} {
		if got := as(c.credentials); !strings.HasSuffix(got, c.want) {
			t.Errorf("%s: got %s, want %s", c.credentials, got, c.want)
		}
	}
	if got := curl(t, url); !strings.HasSuffix(got, " 401") {
		t.Errorf("nothing sent: got %s", got)
	}

	write(t, path, line(t, "ada", "new password"))
	until(t, " 401", func() string { return as("ada:old: password") })
	if got := as("ada:new password") + as("josé:pässword"); !strings.HasPrefix(got, "Basic ada 200") || !strings.HasSuffix(got, " 401") {
		t.Errorf("after the change: got %s", got)
	}

	write(t, path, "ada:hunter2hunter2")
	until(t, " 503", func() string { return as("ada:new password") })
	if got := as("ada:new password"); !strings.Contains(got, "AUTH_UNAVAILABLE") || strings.Contains(got, path) || strings.Contains(got, "line") {
		t.Errorf("a bad file: the client is told %s", got)
	}
	if log := told.text(); !strings.Contains(log, path+": line 1: ") || strings.Contains(log, "hunter2") || strings.Contains(log, "password wrong") || strings.Contains(log, "old: password") {
		t.Errorf("the log is told %s", log)
	}
	write(t, path, line(t, "ada", "new password"))
	until(t, "Basic ada 200", func() string { return as("ada:new password") })
}

func TestDigestWithCurl(t *testing.T) {
	t.Parallel()
	digest := func(algorithm, user, password string) string {
		t.Helper()
		line, err := htpasswd.DigestLine(algorithm, user, "notes", password)
		if err != nil {
			t.Fatal(err)
		}
		return line
	}
	path := filepath.Join(t.TempDir(), "digests")
	write(t, path, digest("SHA-256", "ada", "old password"), digest("MD5", "ada", "old password"), digest("MD5", "grace", "of Debian's curl"))
	users, err := htpasswd.OpenDigest(htpasswd.DigestConfig{Path: path, InsecureMD5: true})
	if err != nil {
		t.Fatal(err)
	}
	var told causes
	sha256 := serve(t, &told, durward.Digest(durward.DigestConfig{HA1: users.HA1}))
	var hid atomic.Bool
	hidden := serve(t, &told, durward.Digest(durward.DigestConfig{UserHash: true, HA1: func(ctx context.Context, claim durward.DigestClaim) ([]byte, *durward.Principal, error) {
		hid.Store(claim.UserHash != "" && claim.User == "")
		return users.HA1(ctx, claim)
	}}))
	as := func(url, credentials string) string { return curl(t, url, "--digest", "--user", credentials) }
	for _, c := range []struct{ url, credentials, want string }{
		{sha256, "ada:old password", "Digest ada 200"}, {hidden, "ada:old password", "Digest ada 200"},
		{sha256, "ada:new password", " 401"}, {hidden, "ada:new password", " 401"}, {sha256, "nobody:old password", " 401"}, {hidden, "nobody:old password", " 401"},
		{sha256, "grace:of Debian's curl", " 401"}, // has no hash by SHA-256
	} {
		if got := as(c.url, c.credentials); !strings.HasSuffix(got, c.want) {
			t.Errorf("%s: got %s, want %s", c.credentials, got, c.want)
		}
	}
	if !hid.Load() {
		t.Error("curl did not hide the name")
	}
	write(t, path, digest("SHA-256", "ada", "new password"))
	until(t, "Digest ada 200", func() string { return as(hidden, "ada:new password") })
	if got := as(sha256, "ada:old password"); !strings.HasSuffix(got, " 401") {
		t.Errorf("after the change: got %s", got)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	until(t, " 503", func() string { return as(sha256, "ada:new password") })
	if log := told.text(); !strings.Contains(log, "chmod 600 "+path) || strings.Contains(log, "password ") {
		t.Errorf("the log is told %s", log)
	}
}

// BenchmarkBasic is a request with a right password, which is remembered, through
// the guard: the file is looked at twice a second, the hash computed once a minute.
func BenchmarkBasic(b *testing.B) {
	path := filepath.Join(b.TempDir(), "users")
	write(b, path, line(b, "ada", "correct horse battery staple"))
	users, err := htpasswd.Open(htpasswd.Config{Path: path})
	if err != nil {
		b.Fatal(err)
	}
	handler := durward.Protect(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), users.Basic())
	r := httptest.NewRequest("GET", "https://api.example/", nil)
	r.SetBasicAuth("ada", "correct horse battery staple")
	w := httptest.NewRecorder()
	if handler.ServeHTTP(w, r); w.Code != 200 {
		b.Fatalf("status %d", w.Code)
	}
	b.ReportAllocs()
	for b.Loop() {
		handler.ServeHTTP(w, r)
	}
}

// BenchmarkBasicWrong is a request with a wrong password: a hash each.
func BenchmarkBasicWrong(b *testing.B) {
	path := filepath.Join(b.TempDir(), "users")
	write(b, path, line(b, "ada", "correct horse battery staple"))
	users, err := htpasswd.Open(htpasswd.Config{Path: path})
	if err != nil {
		b.Fatal(err)
	}
	for _, user := range []string{"ada", "nobody"} {
		b.Run(user, func(b *testing.B) {
			for b.Loop() {
				if _, err := users.Check(b.Context(), user, "wrong"); !errors.Is(err, durward.InvalidCredentials) {
					b.Fatal(err)
				}
			}
		})
	}
}
