package services

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Redis is a Redis server, or a Valkey server if that is installed.
type Redis struct{ service }

// NewRedis starts a server that only this test uses. It stores nothing on disk. The settings are command
// line arguments of the server.
func NewRedis(t testing.TB, settings ...string) *Redis {
	t.Helper()
	r := startRedis(t, settings)
	t.Cleanup(r.stop)
	return r
}

var redis shared[Redis]

// SharedRedis returns a server that the tests of this process share. Tests must not stop or flush it.
func SharedRedis(t testing.TB) *Redis {
	t.Helper()
	return redis.get(func() *Redis { return startRedis(t, nil) })
}

func startRedis(t testing.TB, settings []string) *Redis {
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
	r := &Redis{newService(t, "redis", "6379", "", nil)}
	r.command = append([]string{
		program, "--bind", r.host, "--port", r.port, "--dir", r.dir, "--save", "", "--appendonly", "no",
	}, settings...)
	r.ready = func(ctx context.Context) error {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", r.Addr())
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		fmt.Fprint(conn, "PING\r\n")
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err == nil && !strings.HasPrefix(line, "+PONG") && !strings.HasPrefix(line, "-NOAUTH") {
			err = fmt.Errorf("it says %q", line)
		}
		return err
	}
	r.Start(t)
	return r
}

// URL returns the URL of database 0.
func (r *Redis) URL() string { return "redis://" + r.Addr() + "/0" }
