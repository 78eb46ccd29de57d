package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/net/webdav"

	"github.com/durward-auth/durward"
)

// TestWebDAV stores a file in a WebDAV folder with cadaver and reads it back.
func TestWebDAV(t *testing.T) {
	t.Parallel()
	needPrograms(t, "cadaver")
	all := func(scheme string) (lines []string) {
		lines = append(lines, "OPTIONS /: AUTHENTICATION_REQUIRED")
		for _, request := range []string{"OPTIONS /", "PROPFIND /", "PUT /there", "GET /there"} {
			lines = append(lines, request+": ada by "+scheme)
		}
		return lines
	}
	for _, c := range []struct {
		name     string
		schemes  []durward.Scheme
		password string
		requests []string
		printed  string
	}{
		{"Basic", []durward.Scheme{basic()}, password, all("Basic"), "succeeded"},
		{"Digest", []durward.Scheme{digest(durward.DigestConfig{})}, password, all("Digest SHA-256"), "succeeded"},
		{"Digest, with MD5 offered too", []durward.Scheme{digest(durward.DigestConfig{InsecureMD5: true}), basic()},
			password, all("Digest SHA-256"), "succeeded"},
		{"wrong", []durward.Scheme{basic()}, "wrong",
			// cadaver repeats the password of .netrc once, then asks its user.
			[]string{"OPTIONS /: AUTHENTICATION_REQUIRED", "OPTIONS /: INVALID_CREDENTIALS by Basic",
				"OPTIONS /: INVALID_CREDENTIALS by Basic"},
			"rejected Basic challenge"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			files := t.TempDir()
			srv := newServer(t)
			srv.serve(srv.guard(durward.Config{Schemes: c.schemes, Realm: "dav"}).Handler(
				&webdav.Handler{FileSystem: webdav.Dir(files), LockSystem: webdav.NewMemLS()}))
			host, _ := hostPort(srv)
			here := command{dir: t.TempDir(), stdin: "put here there\nget there back\nquit\n"}
			writeFile(t, filepath.Join(here.dir, ".netrc"),
				"machine "+host+"\nlogin "+user+"\npassword \""+c.password+"\"\n")
			writeFile(t, filepath.Join(here.dir, "here"), "a file\n")
			printed, status := here.run(t, "cadaver", srv.url+"/")
			wantOutput(t, printed, status, 0, c.printed)
			srv.wantRequests(c.requests...)
			if b, err := os.ReadFile(filepath.Join(files, "there")); c.password == password &&
				(err != nil || string(b) != "a file\n") {
				t.Errorf("file on the server: got %q, %v, want %q", b, err, "a file\n")
			}
		})
	}
}
