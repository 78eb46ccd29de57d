//go:build unix

package seal

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What is not a file is refused, without waiting for somebody to write into it.
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
