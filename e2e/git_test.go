package e2e

import (
	"net/http"
	"net/http/cgi"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/durward-auth/durward"
)

// TestGit pushes and clones through a guard to git's own server. With a wrong password git ends
// after one attempt.
func TestGit(t *testing.T) {
	t.Parallel()
	needPrograms(t, "git")
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Fatal(err)
	}
	backend := filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")
	needPrograms(t, backend)

	for _, c := range []struct {
		name    string
		schemes []durward.Scheme
		scheme  string
	}{
		{"Basic", []durward.Scheme{basic()}, "Basic"},
		// git allows any scheme, and libcurl uses the strongest one it supports.
		{"Digest and Basic", []durward.Scheme{basic(), digest(durward.DigestConfig{})}, "Digest SHA-256"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			here := command{dir: t.TempDir(),
				env: []string{"GIT_CONFIG_NOSYSTEM=1", "GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com",
					"GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com"}}
			git := func(wantStatus int, want string, args ...string) {
				t.Helper()
				printed, status := here.run(t, "git", args...)
				wantOutput(t, printed, status, wantStatus, want)
			}
			git(0, "", "init", "-q", "--bare", "-b", "main", "notes.git")
			srv := newServer(t)
			srv.serve(srv.guard(durward.Config{Schemes: c.schemes,
				Realm: "git"}).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				(&cgi.Handler{Path: backend, Env: []string{"GIT_PROJECT_ROOT=" + here.dir, "GIT_HTTP_EXPORT_ALL=1",
					"REMOTE_USER=" + durward.From(r.Context()).Subject}}).ServeHTTP(w, r)
			})))
			remote := strings.Replace(srv.url, "http://", "http://"+user+":s%C3%A4kert%3A%20nog@", 1) + "/notes.git"

			git(0, "", "init", "-q", "-b", "main", "mine")
			writeFile(t, filepath.Join(here.dir, "mine", "note"), "a note\n")
			git(0, "", "-C", "mine", "add", "note")
			git(0, "", "-C", "mine", "commit", "-q", "-m", "one")
			git(0, "main -> main", "-C", "mine", "push", remote, "main")
			git(0, "", "clone", "-q", remote, "theirs")
			git(0, "one", "-C", "theirs", "log", "--format=%s")
			git(128, "Authentication failed", "clone", "-q", strings.Replace(remote, "s%C3%A4kert", "wrong", 1), "none")
			git(128, "could not read Username", "clone", "-q", srv.url+"/notes.git", "none")

			refs, first := "GET /notes.git/info/refs?service=git-", "POST /notes.git/git-"
			srv.wantRequests(refs+"receive-pack: AUTHENTICATION_REQUIRED", refs+"receive-pack: ada by "+c.scheme,
				first+"receive-pack: ada by "+c.scheme,
				refs+"upload-pack: AUTHENTICATION_REQUIRED", refs+"upload-pack: ada by "+c.scheme,
				first+"upload-pack: ada by "+c.scheme, first+"upload-pack: ada by "+c.scheme,
				refs+"upload-pack: AUTHENTICATION_REQUIRED", refs+"upload-pack: INVALID_CREDENTIALS by "+c.scheme,
				refs+"upload-pack: AUTHENTICATION_REQUIRED")
		})
	}
}
