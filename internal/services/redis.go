package services

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Redis is a server of its own: Redis, or Valkey where that is installed.
type Redis struct{ service }

// NewRedis starts a server for one test, which may kill it. It keeps nothing on
// the disk.
func NewRedis(t testing.TB) *Redis {
	t.Helper()
	program := ""
	for _, name := range []string{"valkey-server", "redis-server"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
		}
	}
	if program == "" {
		Missing(t, "Redis (package redis-server)")
	}
	dir, err := folder("redis", nil)
	if err != nil {
		t.Fatal(err)
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	r := &Redis{service{name: "redis", dir: dir, port: port, command: []string{
		program, "--bind", "127.0.0.1", "--port", strconv.Itoa(port), "--dir", dir, "--save", "", "--appendonly", "no",
	}}}
	r.ready = func(ctx context.Context) error {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", r.Addr())
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		fmt.Fprint(conn, "PING\r\n")
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err == nil && !strings.HasPrefix(line, "+PONG") {
			err = fmt.Errorf("it says %q", line)
		}
		return err
	}
	t.Cleanup(r.stop)
	r.Start(t)
	return r
}

// Addr is where the server listens.
func (r *Redis) Addr() string { return "127.0.0.1:" + strconv.Itoa(r.port) }

// URL is its address.
func (r *Redis) URL() string { return "redis://" + r.Addr() + "/0" }
