package services

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// PgBouncer is a connection pooler before a Postgres cluster.
type PgBouncer struct {
	service
	cluster string // address
}

// NewPgBouncer starts a pooler that only this test uses, before the cluster at an address. It gives a
// connection for one transaction. Settings have the form of pgbouncer.ini: "default_pool_size=5".
func NewPgBouncer(t testing.TB, cluster string, settings ...string) *PgBouncer {
	t.Helper()
	b := startPgBouncer(t, cluster, settings)
	t.Cleanup(b.stop)
	return b
}

var bouncer shared[PgBouncer]

// Bounced returns the URL of a database, as Database and Emptied return it, through a pooler that the
// tests of this process share.
func Bounced(t testing.TB, database string) string {
	t.Helper()
	cluster := sharedCluster(t).Addr()
	return bouncer.get(func() *PgBouncer { return startPgBouncer(t, cluster, nil) }).Through(database)
}

func startPgBouncer(t testing.TB, cluster string, settings []string) *PgBouncer {
	t.Helper()
	host, port, err := net.SplitHostPort(cluster)
	if err != nil {
		t.Fatal(err)
	}
	const program = "/usr/sbin/pgbouncer"
	if _, err := exec.LookPath(program); err != nil {
		Missing(t, "PgBouncer (package pgbouncer)")
	}
	b := &PgBouncer{newService(t, "pgbouncer", "6432", "", notRoot(t)), cluster}
	lines := append([]string{
		"[databases]", "* = user=durward host=" + host + " port=" + port,
		"[pgbouncer]", "listen_addr=" + b.host, "listen_port=" + b.port, "unix_socket_dir=",
		"auth_type=any", "pool_mode=transaction", "max_client_conn=1000", "default_pool_size=10",
		"server_idle_timeout=5", "server_login_retry=1",
	}, settings...)
	path := filepath.Join(b.dir, "pgbouncer.ini")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	b.command = []string{program, path}
	b.ready = func(ctx context.Context) error {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", b.Addr())
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_, err = conn.Write([]byte("\x00\x00\x00\x08\x04\xd2\x16\x2f")) // SSLRequest
		answer, read := bufio.NewReader(conn).ReadByte()
		if err = errors.Join(err, read); err == nil && answer != 'N' {
			err = fmt.Errorf("it answers %q", answer)
		}
		return err
	}
	b.Start(t)
	return b
}

// Through returns the URL of a database through the pooler.
func (b *PgBouncer) Through(database string) string {
	return strings.Replace(database, b.cluster, b.Addr(), 1)
}
