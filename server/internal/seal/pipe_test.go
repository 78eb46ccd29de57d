//go:build unix

package seal

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A named pipe as key file is refused at once, without waiting for a writer.
func TestOpenPipe(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if m, err := Open(path, true); m != nil || err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("a pipe: got %v %v, want an error", m, err)
	}
}

// Where no file can be made, that is said, and nothing is left.
func TestCreateWhereNothingCanBe(t *testing.T) {
	t.Parallel()
	const dir = "/proc/self" // nobody makes files there, not even root
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no folder in which even root makes no file: %v", err)
	}
	if m, err := Open(filepath.Join(dir, "master.key"), true); m != nil || err == nil || !strings.Contains(err.Error(), "cannot make a master key") {
		t.Errorf("got %v %v, want an error", m, err)
	}
}
