package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/durward-auth/durward/internal/faults"
)

// A full disk is an outage: 503, never 401. Tokens that are there go on being
// verified, nothing is half-written, and all goes on once there is room.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	disk := faults.SmallDisk(t, "4m")
	dir := filepath.Join(disk, "data")
	addUser(t, dir, "ada@example.com", testPassword)
	p := serve(t, program([]string{"DURWARD_LIMITS_NETWORK_FAILURES=0", "DURWARD_LIMITS_NETWORK_HASHES=0"}, "serve", "--listen", "127.0.0.1:0", "--data", dir))
	tokens := p.signIn("ada@example.com", testPassword)
	access, refresh := tokens.member("access_token"), tokens.member("refresh_token")

	key := p.ask("POST", "/api/keys", access, `{"name":"Nightly"}`).member("key")

	filler := filepath.Join(disk, "filler")
	faults.Fill(t, filler)
	requests := []struct{ path, body string }{
		{"/api/auth/login", `{"email":"ada@example.com","password":"` + testPassword + `"}`},
		{"/api/auth/refresh", ""},
	}
	failures := 0
	for range 300 { // the write-ahead log still has some space
		for _, r := range requests {
			if r.path == "/api/auth/refresh" {
				r.body = fmt.Sprintf(`{"refresh_token":%q}`, refresh)
			}
			a := p.ask("POST", r.path, "", r.body)
			switch a.status {
			case 200:
				if next := a.member("refresh_token"); r.path == "/api/auth/refresh" {
					refresh = next
				}
			case 503:
				failures++
				if a.member("code") != "AUTH_UNAVAILABLE" || a.header.Get("Retry-After") == "" {
					t.Errorf("%s on a full disk: %d %v %s", r.path, a.status, a.header, a.body)
				}
				if strings.Contains(string(a.body), "disk") || strings.Contains(string(a.body), "SQL") {
					t.Errorf("the response describes the database: %s", a.body)
				}
			default:
				t.Fatalf("%s on a full disk: %d %s, want 200 or 503", r.path, a.status, a.body)
			}
		}
		if failures >= 10 {
			break
		}
	}
	if failures < 10 {
		t.Fatal("got fewer than 10 responses 503: the disk is not full")
	}
	for _, credentials := range []string{access, key} {
		if a := p.ask("GET", "/api/profile", credentials, ""); a.status != 200 {
			t.Errorf("reading on a full disk: %d %s, want 200", a.status, a.body)
		}
	}
	if a := p.ask("GET", "/readyz", "", ""); a.status != 503 || !strings.Contains(string(a.body), `{"name":"database","ok":false}`) {
		t.Errorf("readyz on a full disk: %d %s, want 503 and the database", a.status, a.body)
	}
	if a := p.ask("GET", "/healthz", "", ""); a.status != 200 {
		t.Errorf("healthz on a full disk: %d %s, want 200", a.status, a.body)
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		a := p.ask("POST", "/api/auth/refresh", "", fmt.Sprintf(`{"refresh_token":%q}`, refresh))
		if a.status == 503 {
			return fmt.Errorf("refresh with free space again: %d %s", a.status, a.body)
		}
		if a.status != 200 {
			t.Fatalf("refresh with the last token: %d %s, want 200", a.status, a.body)
		}
		return nil
	})
	if a := p.ask("GET", "/readyz", "", ""); a.status != 200 {
		t.Errorf("readyz with free space again: %d %s, want 200", a.status, a.body)
	}
	if status := p.stop(); status != 0 {
		t.Errorf("status %d\n%s", status, p.stderr)
	}
	if _, stderr, status := command(t, "", "db", "check", "--data", dir); status != 0 {
		t.Errorf("db check: %s", stderr)
	}
}

// On a full disk the server does not start and prints the cause once, for each of its first writes.
func TestDiskFullAtStart(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		folder string
		free   int64 // KiB
	}{{"data", 0}, {"data", 16}, {"data", 32}, {"new", 0}, {"new", 4}, {"new", 16}, {"new", 64}, {"new", 128}} {
		t.Run(fmt.Sprint(row.folder, " ", row.free), func(t *testing.T) {
			t.Parallel()
			disk := faults.SmallDisk(t, "4m")
			addUser(t, filepath.Join(disk, "data"), "ada@example.com", testPassword)
			filler := filepath.Join(disk, "filler")
			faults.Fill(t, filler)
			info, err := os.Stat(filler)
			if err == nil {
				err = os.Truncate(filler, info.Size()-row.free<<10)
			}
			if err != nil {
				t.Fatal(err)
			}
			_, stderr, status := command(t, "", "serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(disk, row.folder))
			if status != exitUnreachable || !strings.Contains(stderr, "full") && !strings.Contains(stderr, "no space left") {
				t.Errorf("status %d, want %d and a full disk as the cause:\n%s", status, exitUnreachable, stderr)
			}
			if strings.Contains(stderr, "roll") || strings.Contains(stderr, "level=") || strings.Count(stderr, "durward:") != 1+strings.Count(stderr, "durward: hint:") {
				t.Errorf("want one line with the cause, and a hint:\n%s", stderr)
			}
		})
	}
}

// On a read-only disk the server does not start and prints the cause.
func TestDiskReadOnly(t *testing.T) {
	t.Parallel()
	disk := faults.SmallDisk(t, "4m")
	dir := filepath.Join(disk, "data")
	addUser(t, dir, "ada@example.com", testPassword)
	if out, err := exec.Command("mount", "-o", "remount,ro", disk).CombinedOutput(); err != nil {
		t.Fatalf("remount: %s", out)
	}
	_, stderr, status := command(t, "", "serve", "--listen", "127.0.0.1:0", "--data", dir)
	if status != exitUnreachable || !strings.Contains(stderr, "read-only") || strings.Count(stderr, "\n") != 2 {
		t.Errorf("status %d, want %d:\n%s", status, exitUnreachable, stderr)
	}
	_, stderr, status = command(t, "", "serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(disk, "other"))
	if status != exitUnreachable || !strings.Contains(stderr, "read-only") || strings.Count(stderr, "\n") != 2 {
		t.Errorf("a new folder: status %d, want %d:\n%s", status, exitUnreachable, stderr)
	}
	if _, err := os.Stat(filepath.Join(disk, "other")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the failed start created a folder: %v", err)
	}
}
