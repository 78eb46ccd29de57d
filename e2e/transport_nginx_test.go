package e2e

import (
	"crypto/tls"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	durwardclient "github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/durwardtest"
)

const nginxPeer = `
daemon off;
master_process off;
pid {{dir}}/pid;
error_log stderr;
events {}
http {
	client_body_temp_path {{dir}}/1; proxy_temp_path {{dir}}/2; fastcgi_temp_path {{dir}}/3; uwsgi_temp_path {{dir}}/4; scgi_temp_path {{dir}}/5;
	map $ssl_client_s_dn $certificate { "" "-"; default "Certificate $ssl_client_s_dn"; }
	log_format wire '$request $status {{logs}}';
	access_log {{dir}}/access wire;
	server {
		listen {{address}} {{tls}};
		location / {
			{{method}}
			proxy_pass {{upstream}};
		}
	}
}
`

// newNginx starts an nginx before n and logs a variable of nginx with each request. With ca it uses TLS
// and requests a client certificate in each handshake.
func newNginx(t *testing.T, ca *durwardtest.CA, logs, method string) (*peer, *notes) {
	t.Helper()
	needPrograms(t, "nginx", "openssl")
	p, n := newPeer(t), newNotes(t)
	p.write("passwords", apr1(t, user, password))
	secure := ""
	if ca != nil {
		host, _, _ := strings.Cut(p.address, ":")
		p.write("server", encodePEM(t, ca.Server(host)))
		p.write("ca", encodePEM(t, tls.Certificate{Certificate: [][]byte{ca.Cert.Raw}}))
		secure = "ssl http2; ssl_certificate {{dir}}/server; ssl_certificate_key {{dir}}/server; ssl_verify_client optional; ssl_client_certificate {{dir}}/ca"
		p.url = "https://" + p.address
		p.last = p.url + "/last"
		p.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool}}
	}
	p.run(nil, "nginx", "-c", p.write("configuration",
		strings.NewReplacer("{{logs}}", logs, "{{tls}}", secure, "{{method}}", method, "{{upstream}}",
			n.url).Replace(nginxPeer)))
	return p, n
}

const nginxBasic = "auth_basic notes; auth_basic_user_file {{dir}}/passwords;"

// TestTransportNginx uses Basic, over http and over TLS.
func TestTransportNginx(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		t.Run(map[bool]string{false: "plain", true: "TLS"}[secure], func(t *testing.T) {
			t.Parallel()
			var ca *durwardtest.CA
			base := new(http.Transport)
			if secure {
				ca = durwardtest.NewCA(t)
				base = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool}, ForceAttemptHTTP2: true}
			}
			p, n := newNginx(t, ca, "$http_authorization", nginxBasic)
			away := newNotes(t)
			n.away = away.url
			by := func(pass string) *http.Client {
				return clientOf(t, &durwardclient.Transport{Base: base,
					Sources: []durwardclient.Source{durwardclient.Password(durwardclient.PasswordConfig{Origin: p.url,
						User: user, Password: pass})}})
			}
			c, wrong := by(password), by("wrong")
			for range 3 {
				gets(t, c, "POST", p.url+"/x", "a body", "200 notes: a body")
			}
			gets(t, c, "POST", p.url+"/away", "a body", "200 notes: a body")
			for range 2 {
				gets(t, wrong, "GET", p.url+"/x", "", "401")
			}
			good := " 200 Basic " + account
			p.wantRequests("POST /x 401", "POST /x"+good, "POST /x"+good, "POST /x"+good,
				"POST /away 307 Basic "+account, "GET /x 401", "GET /x 401 Basic ada:wrong", "GET /x 401")
			away.wantRequests(t, "POST /x 6")
		})
	}
}

// TestTransportNginxCertificate uses a client certificate. The client must send it to its
// configured origin only, even if another origin requests one.
func TestTransportNginxCertificate(t *testing.T) {
	t.Parallel()
	ca := durwardtest.NewCA(t)
	p, n := newNginx(t, ca, "$certificate", "if ($ssl_client_verify != SUCCESS) { return 403; }")
	other, m := newNginx(t, ca, "$certificate", "")
	n.away = other.url
	shown := new(atomic.Pointer[tls.Certificate])
	first, renewed := ca.Client("ada", nil), ca.Client("ada-renewed", nil)
	shown.Store(&first)
	var asked atomic.Int64
	base := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool}, ForceAttemptHTTP2: true}
	c := clientOf(t, &durwardclient.Transport{Base: base,
		Sources: []durwardclient.Source{durwardclient.Certificate(durwardclient.CertificateConfig{
			Origin: p.url, Get: func(*tls.CertificateRequestInfo) (*tls.Certificate,
				error) {
				asked.Add(1)
				return shown.Load(), nil
			},
		})}})
	gets(t, c, "POST", other.url+"/x", "a body", "200 notes: a body")
	gets(t, c, "POST", p.url+"/x", "a body", "200 notes: a body")
	gets(t, c, "POST", p.url+"/away", "a body", "200 notes: a body")
	if got := asked.Load(); got != 1 {
		t.Errorf("the certificate was asked for %d times in one connection", got)
	}
	shown.Store(&renewed)
	c.CloseIdleConnections()
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			gets(t, c, "POST", p.url+"/y", "a body", "200 notes: a body")
			gets(t, c, "POST", other.url+"/y", "a body", "200 notes: a body")
		})
	}
	all.Wait()
	const cn = " Certificate CN=ada"
	p.wantRequests(append([]string{"POST /x 200" + cn, "POST /away 307" + cn},
		repeated(10, "POST /y 200"+cn+"-renewed")...)...)
	m.wantRequests(t, append([]string{"POST /x 6", "POST /x 6"}, repeated(10, "POST /y 6")...)...)
	other.wantRequests(append([]string{"POST /x 200", "POST /x 200"}, repeated(10, "POST /y 200")...)...)

	// Without a certificate the caller gets the server's response.
	gets(t, clientOf(t, &durwardclient.Transport{Base: base}), "POST", p.url+"/x", "a body", "403")
}
