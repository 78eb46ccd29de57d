package services

import (
	"path/filepath"
	"testing"
)

// Engine makes an empty database and returns its address.
type Engine = func(testing.TB) string

// File is the engine of one file: the address of an SQLite database that is not there
// yet.
func File(t testing.TB) string {
	t.Helper()
	return "sqlite:" + filepath.Join(t.TempDir(), "durward.db")
}

// OnBoth runs a test on each engine.
func OnBoth(t *testing.T, test func(t *testing.T, fresh Engine)) {
	t.Helper()
	for name, fresh := range map[string]Engine{"sqlite": File, "postgres": Emptied} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, fresh)
		})
	}
}
