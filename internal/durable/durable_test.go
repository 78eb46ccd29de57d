package durable

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTemp(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	name, err := Temp(path, strings.NewReader("content"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(name); err != nil || string(got) != "content" {
		t.Errorf("got %q %v, want the content", got, err)
	}
	base := filepath.Base(name)
	if filepath.Dir(name) != filepath.Dir(path) || !strings.HasPrefix(base, ".file-") || !strings.HasSuffix(base, ".tmp") {
		t.Errorf("temporary file of %s: got %s", path, name)
	}
	if err := SyncFolder(path); err != nil {
		t.Errorf("sync of the folder of %s: %v", path, err)
	}
}

func TestMissingFolder(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "none", "file")
	if _, err := Temp(path, strings.NewReader("content")); err == nil {
		t.Error("a file was made in a missing folder")
	}
	if err := SyncFolder(path); err == nil {
		t.Error("a missing folder was synced")
	}
}
