package services

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Postfix is an SMTP server that accepts mail for every address, from clients that use STARTTLS and a
// password. It delivers all of it to one folder.
type Postfix struct{ service }

// postfixUser and postfixPassword are the credentials of a Postfix.
const postfixUser, postfixPassword = "durward@test", "plenty of words"

// postfixConfig is main.cf. All paths are in the folder of the service.
const postfixConfig = `compatibility_level = 3.6
queue_directory = {DIR}/queue
data_directory = {DIR}/data
inet_interfaces = loopback-only
inet_protocols = ipv4
myhostname = mx.example.test
mydestination =
alias_maps =
local_recipient_maps =
smtpd_tls_security_level = encrypt
smtpd_tls_cert_file = {DIR}/cert.pem
smtpd_tls_key_file = {DIR}/key.pem
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_recipient_restrictions = check_recipient_access inline:{{refused@example.com = 550 5.1.1 no such user}}, permit_sasl_authenticated, reject
virtual_mailbox_domains = static:all
virtual_mailbox_maps = static:all/
virtual_mailbox_base = {DIR}/box
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534
virtual_alias_maps =
maillog_file = /dev/stdout
`

const postfixServices = `{ADDR} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
virtual unix - n n - - virtual
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
`

// NewPostfix starts a server that only this test uses. It needs root.
func NewPostfix(t testing.TB) *Postfix {
	t.Helper()
	for _, program := range []string{"postfix", "saslpasswd2", "unshare"} {
		if _, err := exec.LookPath(program); err != nil {
			Missing(t, program+" (packages postfix, sasl2-bin, libsasl2-modules)")
		}
	}
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: Postfix runs as root only")
	}
	p := &Postfix{newService(t, "postfix", "2525", "", nil)}
	t.Cleanup(p.stop)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Chmod(p.dir, 0o755))
	for _, name := range []string{"etc", "queue", "data", "box"} {
		must(os.Mkdir(filepath.Join(p.dir, name), 0o755))
	}
	fill := strings.NewReplacer("{DIR}", p.dir, "{ADDR}", p.Addr())
	for name, text := range map[string]string{
		"etc/main.cf": postfixConfig, "etc/master.cf": postfixServices,
		// The library for passwords has one file for all servers of a machine, so this one gets a view of its
		// own.
		"run": "mount --bind {DIR}/sasldb2 /etc/sasldb2 && postfix -c {DIR}/etc check && exec /usr/lib/postfix/sbin/master -c {DIR}/etc -s\n",
	} {
		must(os.WriteFile(filepath.Join(p.dir, name), []byte(fill.Replace(text)), 0o644))
	}
	must(makeCertificate(p.dir, p.host))
	password := exec.Command("sh", "-c", `saslpasswd2 -p -c -f sasldb2 -u test durward && chown -R postfix sasldb2 data && chown nobody box && touch /etc/sasldb2`)
	password.Dir, password.Stdin = p.dir, strings.NewReader(postfixPassword)
	if out, err := password.CombinedOutput(); err != nil {
		t.Fatalf("services: saslpasswd2: %v %s", err, out)
	}
	p.command = []string{"unshare", "-m", "--propagation", "private", "sh", filepath.Join(p.dir, "run")}
	p.ready = func(ctx context.Context) error {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", p.Addr())
		if err != nil {
			return err
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		line, err := bufio.NewReader(conn).ReadString('\n')
		if err == nil && !strings.HasPrefix(line, "220") {
			err = fmt.Errorf("it says %q", line)
		}
		return err
	}
	p.Start(t)
	return p
}

// makeCertificate writes cert.pem and key.pem for a host, signed by itself.
func makeCertificate(dir, host string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
		IPAddresses:  []net.IP{net.ParseIP(host)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o644),
		os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600),
	)
}

// URL returns the address for smtp.url, with the credentials.
func (p *Postfix) URL() string {
	return "smtp://" + strings.NewReplacer("@", "%40", " ", "%20").Replace(postfixUser+":"+postfixPassword) + "@" + p.Addr()
}

// CAFile returns the file of the authority of the server's certificate.
func (p *Postfix) CAFile() string { return filepath.Join(p.dir, "cert.pem") }

// Mails returns the mails that were delivered, with the fields that the server added, in the order of
// delivery. It waits for the deliveries that the server has accepted.
func (p *Postfix) Mails(t testing.TB) (mails []string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		waiting := 0
		for _, queue := range []string{"maildrop", "incoming", "active", "deferred"} {
			_ = filepath.WalkDir(filepath.Join(p.dir, "queue", queue), func(_ string, d os.DirEntry, err error) error {
				if err == nil && d.Type().IsRegular() {
					waiting++
				}
				return nil
			})
		}
		if waiting == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("services: Postfix has not delivered %d mails in 20 s", waiting)
		}
		time.Sleep(5 * time.Millisecond) // between two checks
	}
	names, err := filepath.Glob(filepath.Join(p.dir, "box/all/new/*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names) // they begin with the time
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		mails = append(mails, string(text))
	}
	return mails
}
