package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/durward-auth/durward"
	durwardclient "github.com/durward-auth/durward/client"
)

// squid is a configuration of Squid. A nonce is accepted three times.
const squid = `
http_port {{address}}
{{methods}}
acl known proxy_auth REQUIRED
acl asked method GET POST CONNECT
http_access allow known
http_access deny all
cache deny all
cache_mem 1 MB
memory_cache_shared off
pinger_enable off
netdb_filename none
max_filedescriptors 512
shutdown_lifetime 0 seconds
coredump_dir none
pid_filename none
cache_log stdio:{{dir}}/errors
icp_port 0
via off
forwarded_for delete
visible_hostname localhost
logformat wire %rm %ru HTTP/%rv %>Hs %{Proxy-Authorization}>h
access_log stdio:{{dir}}/access logformat=wire asked
`

const (
	squidBasic  = "auth_param basic program /usr/lib/squid/basic_ncsa_auth {{dir}}/passwords\nauth_param basic children 1\nauth_param basic realm proxy\n"
	squidDigest = "auth_param digest program /usr/lib/squid/digest_file_auth -c {{dir}}/htdigest\nauth_param digest children 1\nauth_param digest realm proxy\n" +
		"auth_param digest nonce_max_count 3\n"
)

// newSquid starts a Squid.
func newSquid(t *testing.T, methods string) *peer {
	t.Helper()
	needPrograms(t, "squid", "openssl")
	p := newPeer(t)
	p.write("passwords", apr1(t, user, password))
	md5, _, _ := strings.Cut(htdigest(user, "proxy", password), "\n")
	p.write("htdigest", md5+"\n")
	name := "durward" + strings.NewReplacer(".", "", ":", "").Replace(p.address) // the name of its shared memory
	t.Cleanup(func() {
		if text, err := os.ReadFile(filepath.Join(p.dir, "errors")); t.Failed() && err == nil {
			t.Logf("Squid says:\n%s", text)
		}
	})
	p.run(nil, "squid", "-N", "-n", name, "-f",
		p.write("configuration", strings.NewReplacer("{{methods}}", methods).Replace(squid)))
	p.client.Transport = &http.Transport{Proxy: p.proxy}
	return p
}

func (p *peer) proxy(*http.Request) (*url.URL, error) { return url.Parse(p.url) }

// through returns a client that uses the proxy p with a password.
func (p *peer) through(roots *x509.CertPool, c durwardclient.PasswordConfig,
	sources ...durwardclient.Source) *http.Client {
	c.Origin, c.User = p.url, user
	return clientOf(p.t, &durwardclient.Transport{
		Base:    &http.Transport{Proxy: p.proxy, TLSClientConfig: &tls.Config{RootCAs: roots}},
		Sources: sources, ProxySources: []durwardclient.Source{durwardclient.Password(c)},
	})
}

// TestTransportSquid: Squid offers Basic and Digest, for requests and for tunnels.
func TestTransportSquid(t *testing.T) {
	t.Parallel()
	const digest = " Digest  ada " // Squid names no algorithm
	for _, c := range []struct {
		name, methods string
		tunnel        bool
		config        durwardclient.PasswordConfig
		requests      int
		want          string // status, or a part of the error
		saw           []string
	}{
		{"Basic", squidBasic, false, durwardclient.PasswordConfig{Password: password}, 5, "200",
			append([]string{"POST 407"}, repeated(5, "POST 200 Basic "+account)...)},
		{"Basic, wrong", squidBasic, false, durwardclient.PasswordConfig{Password: "wrong"}, 3, "407",
			[]string{"POST 407", "POST 407 Basic ada:wrong", "POST 407", "POST 407"}},
		{"Digest", squidDigest, false, durwardclient.PasswordConfig{Password: password, InsecureMD5: true}, 2, "200",
			[]string{"POST 407", "POST 200" + digest + "1", "POST 200" + digest + "2"}},
		{"Digest, wrong", squidDigest, false, durwardclient.PasswordConfig{Password: "wrong", InsecureMD5: true}, 3,
			"407",
			[]string{"POST 407", "POST 407" + digest + "1", "POST 407", "POST 407"}},
		{"Digest, MD5 not wanted", squidDigest, false, durwardclient.PasswordConfig{Password: password}, 1, "407",
			[]string{"POST 407"}},
		{"the stronger of two", squidBasic + squidDigest, false,
			durwardclient.PasswordConfig{Password: password, InsecureMD5: true}, 2, "200",
			[]string{"POST 407", "POST 200" + digest + "1", "POST 200" + digest + "2"}},
		{"both, wrong", squidBasic + squidDigest, false,
			durwardclient.PasswordConfig{Password: "wrong", InsecureMD5: true}, 2, "407",
			[]string{"POST 407", "POST 407" + digest + "1", "POST 407"}},
		{"tunnel, Basic", squidBasic, true, durwardclient.PasswordConfig{Password: password}, 5, "200",
			append([]string{"CONNECT 407"}, repeated(5, "CONNECT 200 Basic "+account)...)},
		{"tunnel, Basic, wrong", squidBasic, true, durwardclient.PasswordConfig{Password: "wrong"}, 3, "407",
			[]string{"CONNECT 407", "CONNECT 407 Basic ada:wrong", "CONNECT 407", "CONNECT 407"}},
		{"tunnel, Digest", squidDigest, true, durwardclient.PasswordConfig{Password: password, InsecureMD5: true}, 2,
			"200",
			[]string{"CONNECT 407", "CONNECT 200" + digest + "1", "CONNECT 200" + digest + "2"}},
		{"tunnel, Digest, wrong", squidDigest, true,
			durwardclient.PasswordConfig{Password: "wrong", InsecureMD5: true}, 3, "407",
			[]string{"CONNECT 407", "CONNECT 407" + digest + "1", "CONNECT 407", "CONNECT 407"}},
		{"tunnel, the stronger of two", squidBasic + squidDigest, true,
			durwardclient.PasswordConfig{Password: password, InsecureMD5: true}, 2, "200",
			[]string{"CONNECT 407", "CONNECT 200" + digest + "1", "CONNECT 200" + digest + "2"}},
		{"tunnel, both, wrong", squidBasic + squidDigest, true,
			durwardclient.PasswordConfig{Password: "wrong", InsecureMD5: true}, 2, "407",
			[]string{"CONNECT 407", "CONNECT 407" + digest + "1", "CONNECT 407"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, n := newSquid(t, c.methods), newNotes(t)
			p.last = n.url + "/last"
			at, roots, behind := n.url, x509.NewCertPool(), n
			if c.tunnel {
				at, roots, behind = newSecureNotes(t)
			}
			asks := p.through(roots, c.config)
			want := 0
			for range c.requests {
				got, err := send(asks, "POST", at+"/x", "a body")
				if err != nil {
					got = err.Error()
				}
				if !strings.Contains(got, c.want) {
					t.Errorf("got %q, want %q", got, c.want)
				}
				if c.want == "200" {
					want++
				}
				asks.CloseIdleConnections() // so that the next request opens a tunnel
			}
			all := p.seen(len(c.saw))
			counted(t, all)
			var saw []string
			for _, e := range all {
				saw = append(saw, strings.NewReplacer(" "+at+"/x", "", " "+strings.TrimPrefix(at, "https://"),
					"").Replace(e.String()))
			}
			if strings.Join(saw, "\n") != strings.Join(c.saw, "\n") {
				t.Errorf("the proxy saw\n\t%s\nwant\n\t%s", strings.Join(saw, "\n\t"), strings.Join(c.saw, "\n\t"))
			}
			behind.wantRequests(t, repeated(want, "POST /x 6")...)
		})
	}
}

// newSecureNotes returns notes with TLS.
func newSecureNotes(t *testing.T) (string, *x509.CertPool, *notes) {
	t.Helper()
	n := newNotes(t)
	secure := httptest.NewUnstartedServer(n.http.Config.Handler)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // unused tunnels cause errors
	secure.StartTLS()
	t.Cleanup(secure.Close)
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	return secure.URL, roots, n
}

// TestTransportSquidStale uses up nonces, with requests and tunnels of many goroutines. Each must
// be replaced, and no request may reach the server twice.
func TestTransportSquidStale(t *testing.T) {
	t.Parallel()
	for _, tunnel := range []bool{false, true} {
		t.Run(fmt.Sprint("tunnel ", tunnel), func(t *testing.T) {
			t.Parallel()
			p, n := newSquid(t, squidDigest), newNotes(t)
			p.last = n.url + "/last"
			at, roots, behind := n.url, x509.NewCertPool(), n
			if tunnel {
				at, roots, behind = newSecureNotes(t)
			}
			c := p.through(roots, durwardclient.PasswordConfig{Password: password, InsecureMD5: true})
			for range 12 {
				gets(t, c, "POST", at+"/x", "a body", "200 notes: a body")
				c.CloseIdleConnections()
			}
			all := p.seen(13)
			counted(t, all)
			stale, nonces := 0, map[string]bool{}
			for _, e := range all {
				nonce, _ := e.credentials.Param("nonce")
				nonces[nonce] = true
				if e.status == "407" && nonce != "" {
					stale++
				}
			}
			t.Logf("%d requests with %d nonces, %d of them stale", len(all), len(nonces), stale)
			// Only responses to plain requests carry the next nonce.
			if len(nonces) < 4 || len(all) != 13+stale || (stale == 0) == tunnel {
				t.Errorf("%d requests with %d nonces, %d of them stale: %v", len(all), len(nonces), stale, all)
			}
			behind.wantRequests(t, repeated(12, "POST /x 6")...)
		})
	}
}

// TestTransportSquidCrowd opens concurrent tunnels without a known nonce. All must succeed.
func TestTransportSquidCrowd(t *testing.T) {
	t.Parallel()
	for _, count := range []string{"nonce_max_count 1", "nonce_max_count 50", "nonce_max_count 1000"} {
		t.Run(count, func(t *testing.T) {
			t.Parallel()
			p, n := newSquid(t, strings.Replace(squidDigest, "nonce_max_count 3", count, 1)), newNotes(t)
			p.last = n.url + "/last"
			at, roots, behind := newSecureNotes(t)
			c := p.through(roots, durwardclient.PasswordConfig{Password: password, InsecureMD5: true})
			crowd(t, c, 8, 3, "POST", at+"/x")
			c.CloseIdleConnections()
			counted(t, p.seen(9))
			if got := behind.reached(); got != 24 {
				t.Errorf("%d requests came through, want 24", got)
			}
		})
	}
}

// TestTransportSquidBoth: the proxy and the server behind it both require a password. Each must get
// only its own.
func TestTransportSquidBoth(t *testing.T) {
	t.Parallel()
	p := newSquid(t, squidDigest)
	srv := newServer(t)
	guarded := srv.guard(durward.Config{Schemes: []durward.Scheme{digest(durward.DigestConfig{})},
		Realm: "notes"}).Handler(hello)
	var told sync.Map
	srv.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header["Proxy-Authorization"] != nil {
			told.Store(r.URL.Path, true)
		}
		guarded.ServeHTTP(w, r)
	}))
	p.last = srv.url + "/last"
	c := p.through(nil, durwardclient.PasswordConfig{Password: password, InsecureMD5: true},
		durwardclient.Password(durwardclient.PasswordConfig{Origin: srv.url, User: user, Password: password}))
	for range 2 {
		gets(t, c, "POST", srv.url+"/x", "a body", "200 hello, ada; you sent \"a body\"\n")
	}
	x := "POST " + srv.url + "/x "
	p.wantRequests(x+"407", x+"401 Digest  ada 1", x+"200 Digest  ada 2",
		x+"200 Digest  ada 1") // the response carried the next nonce
	srv.wantRequests("POST /x: AUTHENTICATION_REQUIRED", "POST /x: ada by Digest SHA-256",
		"POST /x: ada by Digest SHA-256")
	told.Range(func(path, _ any) bool {
		t.Errorf("%s: the server was told the proxy's credentials",
			path)
		return true
	})
}
