package services

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A cluster answers, does not answer when killed, and has its rows after a restart.
func TestPostgres(t *testing.T) {
	t.Parallel()
	p := NewPostgres(t)
	url := p.Database(t)
	name := url[strings.LastIndex(url, "/")+1 : strings.Index(url, "?")]
	p.SQL(t, name, "CREATE TABLE kept (n int); INSERT INTO kept VALUES (41)")
	p.Kill(t)
	if out, err := p.sql(t.Context(), name, "SELECT 1"); err == nil {
		t.Errorf("a killed cluster answers %q", out)
	}
	p.Start(t)
	if got := p.SQL(t, name, "SELECT n FROM kept"); got != "41" {
		t.Errorf("after kill and start: %q, want 41", got)
	}
	p.stop()
	if _, err := os.Stat(p.dir); !os.IsNotExist(err) {
		t.Errorf("the folder is left: %v", err)
	}
}

// Databases of the shared cluster are empty, and apart.
func TestDatabase(t *testing.T) {
	t.Parallel()
	a, b := Database(t), Database(t)
	if a == b {
		t.Errorf("twice %s", a)
	}
}

// A pooler passes queries on, does not when killed, and does again after a restart.
func TestPgBouncer(t *testing.T) {
	t.Parallel()
	p := sharedCluster(t)
	b := NewPgBouncer(t, p.Addr())
	ask := func() (string, error) {
		out, err := exec.CommandContext(t.Context(), filepath.Join(p.bin, "psql"), "-XAtqc", "SELECT 41", b.Through(p.URL("postgres"))).CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	if got, err := ask(); err != nil || got != "41" {
		t.Errorf("it answers %q, %v, want 41", got, err)
	}
	b.Kill(t)
	if got, err := ask(); err == nil {
		t.Errorf("a killed pooler answers %q", got)
	}
	b.Start(t)
	if got, err := ask(); err != nil || got != "41" {
		t.Errorf("after kill and start it answers %q, %v, want 41", got, err)
	}
}

func TestRedis(t *testing.T) {
	t.Parallel()
	r := NewRedis(t)
	r.Pause(t)
	conn, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 7)
	if n, err := conn.Read(answer); err == nil {
		t.Errorf("a paused server says %q", answer[:n])
	}
	r.Resume(t)
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if n, err := conn.Read(answer); err != nil || string(answer[:n]) != "+PONG\r\n" {
		t.Errorf("resumed: %q, %v", answer[:n], err)
	}
	r.Kill(t)
	if _, err := net.Dial("tcp", r.Addr()); err == nil {
		t.Error("a killed server takes connections")
	}
	r.Start(t)
}
