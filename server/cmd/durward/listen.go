package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/durward-auth/durward/server/internal/config"
)

// listen returns the listener of the server: the socket that systemd passes, or else one for the
// setting listen.
func listen(c *config.Config, variables []string) (net.Listener, error) {
	passed, err := passedListener(variables)
	if passed != nil || err != nil {
		return passed, err
	}
	path, ok := c.ListenSocket()
	if !ok {
		return net.Listen("tcp", c.Listen)
	}
	mode, err := c.SocketMode()
	if err != nil {
		return nil, err
	}
	return listenSocket(path, mode)
}

// errPassed is the cause if systemd passes sockets that the server cannot use.
var errPassed = errors.New("want one (LISTEN_FDS)")

// passedListener returns the listener that systemd passes as file descriptor 3 (sd_listen_fds(3)),
// or nil.
func passedListener(variables []string) (net.Listener, error) {
	value := func(name string) string {
		i := slices.IndexFunc(variables, func(v string) bool { return strings.HasPrefix(v, name+"=") })
		if i < 0 {
			return ""
		}
		return variables[i][len(name)+1:]
	}
	count := value("LISTEN_FDS")
	if value("LISTEN_PID") != strconv.Itoa(os.Getpid()) || count == "" || count == "0" {
		return nil, nil // the variables are for another process
	}
	if count != "1" {
		return nil, fmt.Errorf("systemd passes %s sockets: %w", count, errPassed)
	}
	f := os.NewFile(3, "socket of systemd")
	l, err := net.FileListener(f)
	return l, errors.Join(err, f.Close())
}

// socketListener is a listener on a unix socket. Close removes the socket's file.
type socketListener struct {
	*net.UnixListener
	path string
	file fs.FileInfo
}

// listenSocket listens on a unix socket at path. It replaces a socket there that no program listens
// on. The socket has its mode before clients can find it, because it is created in a folder of its
// own.
func listenSocket(path string, mode fs.FileMode) (_ net.Listener, err error) {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode()&fs.ModeSocket == 0:
		return nil, fmt.Errorf("%s exists and is not a socket", path)
	default:
		other, err := net.Dial("unix", path)
		if err == nil {
			return nil, errors.Join(fmt.Errorf("another program listens on %s: %w", path, syscall.EADDRINUSE), other.Close())
		}
		if !errors.Is(err, syscall.ECONNREFUSED) { // such as a full queue: a program does listen
			return nil, err
		}
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	made := filepath.Join(dir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	s := &socketListener{UnixListener: l, path: path}
	if err = os.Chmod(made, mode); err == nil {
		err = os.Rename(made, path)
	}
	if err == nil {
		s.file, err = os.Lstat(path)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return s, nil
}

// Addr returns the address under which clients find the socket.
func (s *socketListener) Addr() net.Addr { return &net.UnixAddr{Name: s.path, Net: "unix"} }

// Close removes the socket's file, unless another server has replaced it, and closes the listener. In the
// other order, the file that is removed could be that of a server that starts in between.
func (s *socketListener) Close() (err error) {
	if now, statErr := os.Lstat(s.path); statErr == nil && os.SameFile(now, s.file) {
		err = os.Remove(s.path)
	}
	return errors.Join(err, s.UnixListener.Close())
}
