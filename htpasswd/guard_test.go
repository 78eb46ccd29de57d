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

// write creates or replaces a file with permissions for its owner only.
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

// curl sends a request with curl and returns body and status.
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

// causes collects the errors of refusals.
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

func serve(t *testing.T, refused *causes, schemes ...durward.Scheme) string {
	t.Helper()
	guard, err := durward.New(durward.Config{Schemes: schemes, Realm: "notes", OnRefusal: refused.add})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := durward.From(r.Context())
		fmt.Fprintf(w, "%s %s", p.Scheme, p.Subject)
	})))
	t.Cleanup(s.Close)
	return s.URL + "/"
}

// until sends requests until the answer ends with want. That a change takes effect within a second is
// tested in virtual time: this machine may be busy.
func until(t *testing.T, want string, ask func() string) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		got := ask()
		if strings.HasSuffix(got, want) {
			return
		}
		if time.Since(start) > 20*time.Second {
			t.Fatalf("after 20 seconds still %q, want %q", got, want)
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
	var refused causes
	url := serve(t, &refused, users.Basic())
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
		t.Errorf("file with a mistake: response %s", got)
	}
	if log := refused.text(); !strings.Contains(log, path+": line 1: ") || strings.Contains(log, "hunter2") || strings.Contains(log, "password wrong") || strings.Contains(log, "old: password") {
		t.Errorf("log: got %s", log)
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
	var refused causes
	sha256 := serve(t, &refused, durward.Digest(durward.DigestConfig{HA1: users.HA1}))
	var hid atomic.Bool
	hidden := serve(t, &refused, durward.Digest(durward.DigestConfig{UserHash: true, HA1: func(ctx context.Context, claim durward.DigestClaim) ([]byte, *durward.Principal, error) {
		hid.Store(claim.UserHash != "" && claim.User == "")
		return users.HA1(ctx, claim)
	}}))
	as := func(url, credentials string) string { return curl(t, url, "--digest", "--user", credentials) }
	for _, c := range []struct{ url, credentials, want string }{
		{sha256, "ada:old password", "Digest ada 200"}, {hidden, "ada:old password", "Digest ada 200"},
		{sha256, "ada:new password", " 401"}, {hidden, "ada:new password", " 401"}, {sha256, "nobody:old password", " 401"}, {hidden, "nobody:old password", " 401"},
		{sha256, "grace:of Debian's curl", " 401"}, // no SHA-256 hash
	} {
		if got := as(c.url, c.credentials); !strings.HasSuffix(got, c.want) {
			t.Errorf("%s: got %s, want %s", c.credentials, got, c.want)
		}
	}
	if !hid.Load() {
		t.Error("curl: got the user name, want its hash")
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
	if log := refused.text(); !strings.Contains(log, "chmod 600 "+path) || strings.Contains(log, "password ") {
		t.Errorf("log: got %s", log)
	}
}

// BenchmarkBasic sends a correct, remembered password through the guard. The file is checked twice a
// second, the hash is computed once a minute.
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

// BenchmarkBasicWrong sends wrong passwords: one hash each.
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
