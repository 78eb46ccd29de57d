package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/durward-auth/durward/server/internal/account"
)

// An import is killed several times. Continued to its end, it has added each user once, and its report
// names each fault once.
func TestImportKilled(t *testing.T) {
	t.Parallel()
	for users := 4000; !importKilled(t, users); users *= 4 {
		t.Logf("%d users were imported before the kill", users)
	}
}

// importKilled reports false if an import of users ended before it was killed.
func importKilled(t *testing.T, users int) bool {
	t.Helper()
	const kills = 4
	dir := t.TempDir()
	data, file, report := filepath.Join(dir, "data"), filepath.Join(dir, "users.csv"), filepath.Join(dir, "report")
	var text strings.Builder
	text.WriteString("email,hash\n")
	for n := range users {
		hash := "$2y$04$EVTD5jzxRNGqIo5.afCf0uwnt25IRD16kxCN1mrpesG0Z10/EU7a2"
		if n%10 == 9 {
			hash = "plain"
		}
		fmt.Fprintf(&text, "user%d@example.com,%s\n", n, hash)
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for n := range kills {
		cmd := program(nil, "user", "import", file, "--data", data, "--report", report)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		want := int64(users / 10 * 80 * (n + 1) / (2 * kills)) // octets, a part of the report
		eventually(t, func() error {
			info, err := os.Stat(report)
			if err == nil && info.Size() < want && len(ended) == 0 {
				err = fmt.Errorf("%d octets in the report, want %d", info.Size(), want)
			}
			return err
		})
		_ = cmd.Process.Kill() // no effect if it ended
		if <-ended; cmd.ProcessState.Exited() {
			return false
		}
	}
	stdout, stderr, status := command(t, "", "user", "import", file, "--data", data, "--report", report)
	if !strings.Contains(stderr, "continuing after the first") || !strings.Contains(stdout, fmt.Sprintf("added %d users", users*9/10)) || status != exitRefused {
		t.Errorf("last import: %d %s%.300s", status, stdout, stderr)
	}
	stdout, _, _ = command(t, "", "user", "list", "--json", "--data", data)
	var list struct{ Items []userJSON }
	if err := json.Unmarshal([]byte(stdout), &list); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, u := range list.Items {
		seen[u.Email] = true
	}
	if len(seen) != users*9/10 || len(list.Items) != len(seen) {
		t.Errorf("%d users with %d addresses, want %d", len(list.Items), len(seen), users*9/10)
	}
	f, err := os.Open(report)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	line := 1
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var fault account.ImportFault
		if line += 10; json.Unmarshal(lines.Bytes(), &fault) != nil || fault.Line != line {
			t.Fatalf("report: got %s, want a fault of line %d", lines.Text(), line)
		}
	}
	if line != users+1 {
		t.Errorf("the report ends at line %d, want %d", line, users+1)
	}
	// The import has ended: the same file begins anew.
	if stdout, stderr, _ := command(t, "", "user", "import", file, "--data", data); !strings.Contains(stdout, "added 0 users") || strings.Contains(stderr, "continuing") {
		t.Errorf("again: %s%.200s", stdout, stderr)
	}
	return true
}

// An import of another file is not continued.
func TestImportInterrupted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	const hash = "$2y$04$EVTD5jzxRNGqIo5.afCf0uwnt25IRD16kxCN1mrpesG0Z10/EU7a2"
	rows := "{\"email\":\"a@example.com\",\"passwordHash\":\"" + hash + "\"}\n"
	broken := file("broken", strings.Repeat(rows, account.ImportBatch)+"{")
	if _, stderr, status := command(t, "", "user", "import", broken, "--format", "auth0", "--data", data); status != exitUsage || !strings.Contains(stderr, "ends in the middle") {
		t.Errorf("half a file: %d %.300s", status, stderr)
	}
	other := file("other", "email,hash\nb@example.com,"+hash+"\n")
	if _, stderr, status := command(t, "", "user", "import", other, "--data", data); status != exitRefused || !strings.Contains(stderr, "another file was interrupted after 200 users") {
		t.Errorf("another file: %d %s", status, stderr)
	}
	if stdout, stderr, status := command(t, "", "user", "import", other, "--data", data, "--restart"); status != exitDone || !strings.Contains(stdout, "added 1 users") {
		t.Errorf("with --restart: %d %s%s", status, stdout, stderr)
	}
}
