// Package services starts Postgres, PgBouncer, Redis and Postfix from the system's packages for tests, each
// on its own loopback address and in its own folder. They stop when the test process ends, even if it is
// killed.
package services

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Missing ends a test that needs a missing service: the test fails with CI set in the environment, and is
// skipped otherwise.
func Missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf("%s is not installed", what)
	}
	t.Skipf("SKIPPED, NOT TESTED: %s is not installed", what)
}

// service is a process with a folder and an address, which stay the same when it is restarted.
type service struct {
	name    string
	dir     string // removed by stop
	host    string
	port    string
	command []string
	ready   func(context.Context) error
	as      *syscall.Credential

	mu    sync.Mutex
	guard *exec.Cmd // a shell that stops the service when this process ends
	held  io.Closer // the guard's standard input
}

// Addr returns the address of the service.
func (s *service) Addr() string { return net.JoinHostPort(s.host, s.port) }

// guardScript runs "$@", stores its process id, and ends it when standard input closes, as it does at the
// end of the test process. $0 is the folder; it is removed then if KEEP is empty.
const guardScript = `"$@" >>"$0/log" 2>&1 </dev/null & pid=$!
echo $pid >"$0/pid.new" && mv "$0/pid.new" "$0/pid"
cat >/dev/null
kill -QUIT $pid 2>/dev/null; kill -TERM $pid 2>/dev/null
n=0; while kill -0 $pid 2>/dev/null && [ $n -lt 50 ]; do sleep 0.1; n=$((n+1)); done
kill -9 $pid 2>/dev/null
[ -n "$KEEP" ] || rm -rf "$0"`

// Start starts the service and waits until it answers. A restarted service has the same folder and address.
func (s *service) Start(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guard != nil {
		t.Fatalf("services: %s runs already", s.name)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_ = os.Remove(filepath.Join(s.dir, "pid"))
	guard := exec.Command("sh", append([]string{"-c", guardScript, s.dir}, s.command...)...)
	guard.SysProcAttr = &syscall.SysProcAttr{Credential: s.as, Setpgid: true}
	guard.Dir = s.dir
	stdin, err := guard.StdinPipe()
	if err = errors.Join(err, guard.Start()); err != nil {
		t.Fatal(err)
	}
	s.guard, s.held = guard, stdin
	for {
		pid := s.pid()
		if pid > 0 {
			if err = s.ready(ctx); err == nil {
				return
			}
		}
		if ctx.Err() != nil || pid > 0 && syscall.Kill(pid, 0) != nil {
			text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			s.end(true)
			lines := strings.Split(strings.TrimSpace(string(text)), "\n")
			t.Fatalf("services: %s has ended or does not answer: %v\n%s", s.name, err, strings.Join(lines[max(0, len(lines)-20):], "\n"))
		}
		time.Sleep(5 * time.Millisecond) // between two checks
	}
}

// pid returns the process id of the service, 0 if it does not run.
func (s *service) pid() int {
	text, err := os.ReadFile(filepath.Join(s.dir, "pid"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// end ends the guard, which ends the service. The caller holds s.mu.
func (s *service) end(keep bool) {
	if s.guard == nil {
		return
	}
	if keep {
		// The guard would remove the folder.
		_ = s.guard.Process.Signal(syscall.SIGKILL)
	}
	_ = s.held.Close()
	_ = s.guard.Wait()
	s.guard = nil
}

// Kill kills the service with SIGKILL and waits for its end.
func (s *service) Kill(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	pid := s.pid()
	if s.guard == nil || pid == 0 {
		t.Fatalf("services: %s does not run", s.name)
	}
	s.end(true)
	_ = syscall.Kill(pid, syscall.SIGKILL)
	for syscall.Kill(pid, 0) == nil {
		time.Sleep(time.Millisecond)
	}
}

// Pause stops the service with SIGSTOP: it keeps its connections and does not answer.
func (s *service) Pause(t testing.TB) { s.signal(t, syscall.SIGSTOP) }

// Resume continues a paused service.
func (s *service) Resume(t testing.TB) { s.signal(t, syscall.SIGCONT) }

// signal sends a signal to the service and its children.
func (s *service) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	for _, pid := range family(s.pid()) {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatalf("services: %s: %v", s.name, err)
		}
	}
}

// family returns the ids of a process and its children.
func family(pid int) []int {
	all := []int{pid}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, child := range strings.Fields(string(children)) {
		if n, err := strconv.Atoi(child); err == nil {
			all = append(all, n)
		}
	}
	return all
}

// stop ends the service and removes its folder.
func (s *service) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guard != nil {
		for _, pid := range family(s.pid()) {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}
	s.end(false)
	_ = os.RemoveAll(s.dir)
}

var hosts atomic.Uint32

// Host returns an address in 127.0.0.0/8 that no other test uses, so all its ports are free at every start.
// A free port of 127.0.0.1 may be taken by an outgoing connection, above all by one to the service that
// was stopped there.
func Host() string {
	n, pid := hosts.Add(1), os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d", 1+pid/256%250, pid%256, 1+n%250)
}

// newService returns a service that does not run, with an address of its own and a new folder below parent
// that the account as owns. An empty parent is the folder for temporary files.
func newService(t testing.TB, name, port, parent string, as *syscall.Credential) service {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "durward-"+name+"-")
	if err == nil && as != nil {
		err = os.Chown(dir, int(as.Uid), int(as.Gid))
	}
	if err != nil {
		t.Fatal(err)
	}
	return service{name: name, dir: dir, host: Host(), port: port, as: as}
}

// shared holds a service that the tests of this process share. It ends with the process.
type shared[T any] struct {
	mu      sync.Mutex
	service *T
}

// get returns the service, which start starts at the first call.
func (s *shared[T]) get(start func() *T) *T {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.service == nil {
		s.service = start()
	}
	return s.service
}
