package client

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"unsafe"
)

var lockFileEx = syscall.NewLazyDLL("kernel32.dll").NewProc("LockFileEx")

const (
	lockExclusive       = 2
	lockFailImmediately = 1
	errLockViolation    = syscall.Errno(33)
)

// tryLock locks a file for this process. held is false if another process has the lock.
func tryLock(f *os.File) (held bool, err error) {
	var overlapped syscall.Overlapped
	ok, _, err := lockFileEx.Call(f.Fd(), lockExclusive|lockFailImmediately, 0, 1, 0,
		uintptr(unsafe.Pointer(&overlapped)))
	switch {
	case ok != 0:
		return true, nil
	case errors.Is(err, errLockViolation), errors.Is(err, syscall.ERROR_IO_PENDING):
		return false, nil
	}
	return false, &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
}

// openToOthers returns false: on Windows the access control list of the folder protects the file.
func openToOthers(fs.FileInfo) bool { return false }
