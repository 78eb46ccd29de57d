// Package durable writes files that are complete and in place after a crash.
package durable

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// Temp copies content to a new file ".NAME-RANDOM.tmp" of mode 0600 in the folder of path, where NAME
// is the last part of path, and syncs it. The caller renames or links it to path, or removes it.
func Temp(path string, content io.Reader) (name string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*.tmp") // O_EXCL, mode 0600
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// SyncFolder makes the names in the folder of path durable. Windows has no call for it.
func SyncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
