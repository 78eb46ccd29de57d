package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// overSocket sends a GET to a unix socket, with X-Forwarded-Proto if it is not empty, and returns
// the status.
func overSocket(t *testing.T, socket, path, proto string) int {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	r, err := http.NewRequest("GET", "http://auth.example.com"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if proto != "" {
		r.Header.Set("X-Forwarded-Proto", proto)
		r.Header.Set("X-Forwarded-For", "203.0.113.9")
	}
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode
}

// A server on a unix socket believes the fields of its peers if trusted_proxies has unix:, and
// replaces the socket of a server that was killed, but not that of a running one.
func TestServeOnSocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	socket, file := filepath.Join(dir, "http.sock"), filepath.Join(dir, "durward.toml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte("public_url = \"https://auth.example.com\"\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	start := func(data string) *exec.Cmd {
		return program(nil, "serve", "--listen", "unix:"+socket, "--data", filepath.Join(dir, data), "--config", file)
	}
	write("")
	p := serve(t, start("one"))
	p.logged("trusted_proxies lacks unix:")
	if p.url != "unix:"+socket {
		t.Errorf("the server says that it listens on %s, want unix:%s", p.url, socket)
	}
	if got := overSocket(t, socket, "/api/profile", "https"); got != 403 {
		t.Errorf("through a socket whose peers are not trusted: %d, want 403", got)
	}
	write("trusted_proxies = [\"unix:\"]\n")
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.logged("changed=[trusted_proxies]")
	for proto, want := range map[string]int{"https": 401, "wss": 401, "http": 403, "": 401} {
		if got := overSocket(t, socket, "/api/profile", proto); got != want {
			t.Errorf("X-Forwarded-Proto %q through the socket: %d, want %d", proto, got, want)
		}
	}
	if info, err := os.Stat(socket); err != nil || info.Mode() != os.ModeSocket|0o660 {
		t.Errorf("socket: %v, %v, want mode 0660", info, err)
	}

	second := start("two")
	out, err := second.CombinedOutput()
	if second.ProcessState.ExitCode() != exitUnreachable || !strings.Contains(string(out), "another program listens on "+socket) ||
		!strings.Contains(string(out), "hint: Stop that program") {
		t.Errorf("a second server on the socket: %v\n%s", err, out)
	}
	if got := overSocket(t, socket, "/api/profile", "https"); got != 401 {
		t.Errorf("after the second server: %d, want 401", got)
	}

	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if _, err := os.Lstat(socket); err != nil {
		t.Fatalf("a killed server leaves its socket: %v", err)
	}
	write("trusted_proxies = [\"unix:\"]\nlisten_mode = \"0666\"\n")
	p = serve(t, start("one"))
	p.logged("every user of this machine can connect")
	if got := overSocket(t, socket, "/api/profile", "https"); got != 401 {
		t.Errorf("after a restart: %d, want 401", got)
	}
	if info, err := os.Stat(socket); err != nil || info.Mode() != os.ModeSocket|0o666 {
		t.Errorf("socket: %v, %v, want mode 0666", info, err)
	}
	if status := p.stop(); status != 0 {
		t.Errorf("status %d, want 0:\n%s", status, p.stderr)
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 || err != nil {
		t.Errorf("files left beside the socket: %v, %v", left, err)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket after the server stopped: %v, want none", err)
	}
}

// A path is replaced only if it is a socket without a listener.
func TestListenSocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l, err := listenSocket(file, 0o660); err == nil || !strings.Contains(err.Error(), "is not a socket") {
		t.Errorf("a file: %v, %v, want an error", l, err)
	}
	if text, err := os.ReadFile(file); string(text) != "kept" {
		t.Errorf("the file has %q, %v", text, err)
	}
	if _, err := listenSocket(filepath.Join(dir, "nowhere", "s"), 0o660); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that does not exist: %v", err)
	}
	path := filepath.Join(dir, "s")
	first, err := listenSocket(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if l, err := listenSocket(path, 0o660); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a socket in use: %v, %v, want %v", l, err, syscall.EADDRINUSE)
	}
	if first.Addr().String() != path || first.Addr().Network() != "unix" {
		t.Errorf("address %v, want %s", first.Addr(), path)
	}
	// A server that is replaced leaves the socket of the next one.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	next, err := listenSocket(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the socket of the next server: %v", err)
	}
	if err := next.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket after Close: %v, want none", err)
	}
}

// Systemd passes the listener as file descriptor 3, with LISTEN_FDS and LISTEN_PID.
func TestServeOnPassedSocket(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	passed := func(t *testing.T, l net.Listener, script string, args ...string) *exec.Cmd {
		t.Helper()
		f, err := l.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		cmd := program(nil, append([]string{"serve", "--data", filepath.Join(dir, filepath.Base(t.Name()))}, args...)...)
		cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", script + ` exec "$0" "$@"`}, cmd.Args...)
		cmd.ExtraFiles = []*os.File{f}
		return cmd
	}
	t.Run("tcp", func(t *testing.T) {
		t.Parallel()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		p := serve(t, passed(t, l, "LISTEN_PID=$$ LISTEN_FDS=1"))
		if want := "http://" + l.Addr().String(); p.url != want {
			t.Errorf("the server listens on %s, want %s", p.url, want)
		}
		if a := p.ask("GET", "/healthz", "", ""); a.status != 200 {
			t.Errorf("healthz: %d", a.status)
		}
	})
	t.Run("unix", func(t *testing.T) {
		t.Parallel()
		socket := filepath.Join(dir, "passed.sock")
		l, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		cmd := passed(t, l, "LISTEN_PID=$$ LISTEN_FDS=1")
		cmd.Env = append(cmd.Env, "DURWARD_PUBLIC_URL=https://auth.example.com", "DURWARD_TRUSTED_PROXIES=unix:")
		p := serve(t, cmd)
		if got := overSocket(t, socket, "/api/profile", "https"); got != 401 {
			t.Errorf("through the passed socket: %d, want 401", got)
		}
		p.stop()
		if _, err := os.Lstat(socket); err != nil {
			t.Errorf("the server removed the socket of systemd: %v", err)
		}
	})
	for name, c := range map[string]struct{ script, want string }{
		"two sockets":   {"LISTEN_PID=$$ LISTEN_FDS=2", "systemd passes 2 sockets: want one (LISTEN_FDS)\ndurward: hint: Write one ListenStream"},
		"no public_url": {"LISTEN_PID=$$ LISTEN_FDS=1", "Set public_url"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("unix", filepath.Join(dir, strings.Fields(name)[0]))
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			cmd := passed(t, l, c.script)
			if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() == 0 || !strings.Contains(string(out), c.want) {
				t.Errorf("status %d, want an error that says %q:\n%s", cmd.ProcessState.ExitCode(), c.want, out)
			}
		})
	}
	t.Run("variables of another process", func(t *testing.T) {
		t.Parallel()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		p := serve(t, passed(t, l, "LISTEN_PID=1 LISTEN_FDS=1", "--listen", "127.0.0.1:0"))
		if p.url == "http://"+l.Addr().String() {
			t.Errorf("the server listens on %s, which systemd passed to another process", p.url)
		}
	})
}
