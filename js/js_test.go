package js

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestModule runs the tests of durward.js with the test runner of Node.js.
func TestModule(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("node"); err != nil && os.Getenv("CI") != "" {
		t.Fatal("node is not installed: apt-get install --no-install-recommends nodejs")
	} else if err != nil {
		t.Skip("SKIPPED: node is not installed")
	}
	files, err := filepath.Glob("*.test.mjs")
	if err != nil || len(files) == 0 {
		t.Fatalf("found no tests: %v", err)
	}
	out, err := exec.CommandContext(t.Context(), "node", append([]string{"--test"}, files...)...).CombinedOutput()
	if err != nil {
		t.Errorf("node --test: %v\n%s", err, out)
	}
}
