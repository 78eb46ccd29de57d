// Package executable builds the program durward for tests and runs it as a server.
package executable

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// WaitLimit limits each wait of a test. It is generous and measures nothing.
const WaitLimit = 60 * time.Second

// Dir is a folder for built programs. It exists while Run runs.
var Dir string

// Run runs the tests of a package, calls end, and returns the exit status: each TestMain passes it to os.Exit.
func Run(m *testing.M, end ...func()) (status int) {
	var err error
	if Dir, err = os.MkdirTemp("", "durward-e2e-"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(Dir)
	for _, f := range end {
		defer f()
	}
	return m.Run()
}

// Build builds the program at its first call and returns its path. It does not use the race
// detector, under which SQLite is so slow that kills would rarely interrupt a write.
var Build = sync.OnceValues(func() (path string, err error) {
	path = filepath.Join(Dir, "durward")
	return path, GoBuild("", path, "github.com/durward-auth/durward/server/cmd/durward", nil)
})

// GoBuild builds the package pkg in a folder, or all packages of a pattern if output ends with a
// slash. A nil env is that of this process.
func GoBuild(dir, output, pkg string, env []string) error {
	build := exec.Command("go", "build", "-buildvcs=false", "-o", output, pkg)
	build.Dir, build.Env = dir, env
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// Serve starts a server process and waits until it listens. It returns the server's URL and a
// channel that is closed when the process has ended. The process is killed at the end of the test.
func Serve(t *testing.T, cmd *exec.Cmd) (url string, ended <-chan struct{}, err error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	return Announced(t, cmd, out, "durward: listening on ")
}

// Announced starts a process and waits until it prints, to the pipe out, a line of prefix and a URL. It
// returns the URL and a channel that is closed when the process has ended. The process is killed at the end
// of the test.
func Announced(t *testing.T, cmd *exec.Cmd, out io.ReadCloser, prefix string) (url string, ended <-chan struct{}, err error) {
	endWithParent(cmd)
	started, listens, done := make(chan error), make(chan string, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if url, ok := strings.CutPrefix(lines.Text(), prefix); ok {
				listens <- url
			}
		}
		_ = cmd.Wait()
		close(done)
	}()
	if err := <-started; err != nil {
		return "", nil, err
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // fails if the process has ended
		_ = out.Close()        // its children may still hold it
		<-done
	})
	select {
	case url := <-listens:
		return url, done, nil
	case <-done:
		return "", done, fmt.Errorf("process ended: %s", cmd.ProcessState)
	case <-time.After(WaitLimit):
		return "", done, fmt.Errorf("no line %q", prefix)
	}
}

// Buffer is a buffer for concurrent use.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// ClientFrom returns a client that connects from an IP address, or from any if it is empty.
func ClientFrom(address string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, DialContext: dialer.DialContext},
		Timeout:   WaitLimit,
	}
}
