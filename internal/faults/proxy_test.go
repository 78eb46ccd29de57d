package faults

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward/internal/services"
)

// echo answers each line with the same line and counts what it was sent.
func echo(t *testing.T) (address string, lines *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	lines = new(atomic.Int64)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for in := bufio.NewScanner(conn); in.Scan(); {
					lines.Add(1)
					if _, err := fmt.Fprintln(conn, in.Text()); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String(), lines
}

func dial(t *testing.T, p *Proxy) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// say sends a line and reads the answer for as long as patience lasts.
func say(conn net.Conn, line string, patience time.Duration) (string, error) {
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return "", err
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	got, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(got), err
}

const patience = 10 * time.Second

func TestProxy(t *testing.T) {
	t.Parallel()
	address, lines := echo(t)
	p := NewProxy(t, address)
	conn := dial(t, p)
	if got, err := say(conn, "hello", patience); got != "hello" {
		t.Fatalf("through the proxy: %q %v", got, err)
	}

	began := time.Now()
	p.Delay(100 * time.Millisecond)
	if got, err := say(conn, "slow", patience); got != "slow" || time.Since(began) < 100*time.Millisecond {
		t.Errorf("delayed: %q %v after %s, want 100ms", got, err, time.Since(began))
	}
	p.Heal()

	p.Hang()
	before := lines.Load()
	if got, err := say(conn, "held", 50*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) || lines.Load() != before {
		t.Errorf("hanging: %q %v, and the service was sent %d lines", got, err, lines.Load()-before)
	}
	p.Heal()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if got, err := bufio.NewReader(conn).ReadString('\n'); got != "held\n" {
		t.Errorf("after it hung: %q %v", got, err)
	}

	// What matches is done, and its answer never comes.
	p.Lose(func(answer []byte) bool { return strings.Contains(string(answer), "lost") })
	before = lines.Load()
	if got, err := say(conn, "kept", patience); got != "kept" {
		t.Errorf("an answer that does not match: %q %v", got, err)
	}
	if got, err := say(conn, "lost", patience); err == nil || errors.Is(err, os.ErrDeadlineExceeded) || lines.Load() != before+2 || p.Lost() != 1 {
		t.Errorf("an answer that is lost: %q %v, %d lines, %d lost", got, err, lines.Load()-before, p.Lost())
	}
	p.Heal()

	conn = dial(t, p)
	if got, err := say(conn, "again", patience); got != "again" {
		t.Errorf("after the loss: %q %v", got, err)
	}
	p.Cut()
	if got, err := say(conn, "cut", patience); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection that was cut: %q %v", got, err)
	}
	p.Refuse()
	refused, err := net.Dial("tcp", p.Addr()) // the reset can come before Dial returns
	if err == nil {
		defer refused.Close()
		_, err = say(refused, "refused", patience)
	}
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection that is refused: %v", err)
	}
	p.Heal()
	if got, err := say(dial(t, p), "healed", patience); got != "healed" {
		t.Errorf("healed: %q %v", got, err)
	}
}

// A test that ends leaves no connection behind, whatever hangs.
func TestProxyEnds(t *testing.T) {
	t.Parallel()
	address, _ := echo(t)
	var p *Proxy
	t.Run("it", func(t *testing.T) {
		p = NewProxy(t, address)
		conn := dial(t, p)
		if got, err := say(conn, "hello", patience); got != "hello" {
			t.Fatalf("through the proxy: %q %v", got, err)
		}
		p.Hang()
		if _, err := fmt.Fprintln(conn, "held"); err != nil {
			t.Fatal(err)
		}
	})
	if n := p.Connections(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	// Another program may have the port by now, so a connection to it says nothing.
	if conn, err := p.listener.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the proxy still listens: %v, %v", conn, err)
	}
}

// An answer to COMMIT that is lost: the rows are there.
func TestCommitted(t *testing.T) {
	t.Parallel()
	postgres := services.NewPostgres(t, "fsync=off")
	p := NewProxy(t, postgres.Addr())
	postgres.SQL(t, "postgres", "CREATE TABLE kept (n int)")
	p.Lose(Committed)
	if out, err := psql(t, p, "SELECT count(*) FROM kept", "BEGIN", "INSERT INTO kept VALUES (1)", "ROLLBACK"); err != nil || p.Lost() != 0 {
		t.Errorf("nothing is committed: %v %s, %d lost", err, out, p.Lost())
	}
	if out, err := psql(t, p, "BEGIN", "INSERT INTO kept VALUES (2)", "COMMIT"); err == nil || p.Lost() != 1 {
		t.Errorf("a transaction: %v %s, %d lost", err, out, p.Lost())
	}
	if out, err := psql(t, p, "INSERT INTO kept VALUES (4)"); err == nil || p.Lost() != 2 {
		t.Errorf("a statement by itself: %v %s, %d lost", err, out, p.Lost())
	}
	if got := postgres.SQL(t, "postgres", "SELECT sum(n) FROM kept"); got != "6" {
		t.Errorf("the rows make %s, want 6", got)
	}
}

// psql runs statements, each by itself.
func psql(t *testing.T, p *Proxy, statements ...string) (string, error) {
	t.Helper()
	host, port, err := net.SplitHostPort(p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"-XAtq", "-v", "ON_ERROR_STOP=1", "-h", host, "-p", port, "-U", "durward", "-d", "postgres"}
	for _, s := range statements {
		args = append(args, "-c", s)
	}
	out, err := exec.CommandContext(t.Context(), "psql", args...).CombinedOutput()
	return string(out), err
}
