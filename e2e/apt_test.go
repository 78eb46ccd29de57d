package e2e

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward"
)

// TestApt reads a repository with the credentials of auth.conf.
func TestApt(t *testing.T) {
	t.Parallel()
	needPrograms(t, "apt-get", "apt-cache")
	repository := t.TempDir()
	if err := os.Mkdir(filepath.Join(repository, "flat"), 0o755); err != nil {
		t.Fatal(err)
	}
	packages := "Package: greeting\nVersion: 1.0\nArchitecture: all\nMaintainer: Ada <ada@example.com>\nFilename: flat/greeting_1.0_all.deb\n" +
		"Size: 1\nSHA256: " + strings.Repeat("0", 64) + "\nDescription: says hello\n"
	writeFile(t, filepath.Join(repository, "flat", "Packages"), packages)
	writeFile(t, filepath.Join(repository, "flat", "Release"), fmt.Sprintf("Date: %s\nSHA256:\n %x %d Packages\n",
		time.Now().UTC().Format(time.RFC1123), sha256.Sum256([]byte(packages)), len(packages)))
	onlyBasic := []durward.Scheme{durward.Basic(checkAptPassword)}
	every := func(dir, result string) (lines []string) {
		for _, file := range []string{"InRelease", "Release", "Packages.xz", "Packages.bz2", "Packages.lzma",
			"Packages.gz", "Packages.lz4", "Packages.zst", "Packages"} {
			lines = append(lines, "GET "+dir+file+": "+result+" by Basic")
		}
		return lines
	}
	for _, c := range []struct {
		name, dir, password string
		schemes             []durward.Scheme
		requests            []string
		status              int
		printed, shown      string
	}{
		{"Basic", "flat/", "s3sam-nog:", onlyBasic,
			[]string{"GET /flat/InRelease: ada by Basic", "GET /flat/Release: ada by Basic",
				"GET /flat/Release.gpg: ada by Basic", "GET /flat/Packages: ada by Basic"}, 0, "Reading package lists",
			"says hello"},
		// apt requests the index under every name, each time with the refused credentials. For a
		// rate limit, one update is nine failures.
		{"wrong", "flat/", "wrong", onlyBasic, every("/flat/", "INVALID_CREDENTIALS"), 100, "401", "No packages found"},
		// A fault of apt: it supports only Basic and sends it for any challenge.
		{"Digest", "flat/", "s3sam-nog:", []durward.Scheme{digest(durward.DigestConfig{InsecureMD5: true})},
			every("/flat/", "UNSUPPORTED_SCHEME"),
			100, "401", "No packages found"},
		// apt keeps dot segments of the source line, so the line must name a folder.
		{"dot segments", "./", "s3sam-nog:", onlyBasic, every("/./", "INVALID_REQUEST"), 100, "400",
			"No packages found"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t)
			srv.serve(srv.guard(durward.Config{Schemes: c.schemes,
				Realm: "apt"}).Handler(http.FileServer(http.Dir(repository))))
			root := t.TempDir()
			for _, dir := range []string{"etc/preferences.d", "etc/apt.conf.d", "etc/trusted.gpg.d",
				"etc/sources.list.d", "etc/auth.conf.d", "state/lists/partial", "cache/archives/partial"} {
				if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			writeFile(t, filepath.Join(root, "etc/sources.list"), "deb [trusted=yes] "+srv.url+" "+c.dir+"\n")
			writeFile(t, filepath.Join(root, "etc/auth.conf"),
				"machine "+srv.url+" login "+user+" password "+c.password+"\n")
			writeFile(t, filepath.Join(root, "status"), "")
			conf := writeFile(t, filepath.Join(root, "apt.conf"), `
Dir::Etc "`+root+`/etc";
Dir::State "`+root+`/state";
Dir::State::status "`+root+`/status";
Dir::Cache "`+root+`/cache";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::http::Proxy "DIRECT";
Acquire::Retries "0";
`)
			here := command{dir: root, env: []string{"APT_CONFIG=" + conf}}
			printed, status := here.run(t, "apt-get", "update", "--error-on=any")
			wantOutput(t, printed, status, c.status, c.printed)
			srv.wantRequests(c.requests...)
			printed, status = here.run(t, "apt-cache", "show", "greeting")
			wantOutput(t, printed, status, c.status, c.shown)
		})
	}
}

// checkAptPassword accepts a password without spaces, because auth.conf cannot contain one.
func checkAptPassword(ctx context.Context, name, pass string) (*durward.Principal, error) {
	if pass == "s3sam-nog:" {
		pass = password
	}
	return checkPassword(ctx, name, pass)
}
