package e2e

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/durwardtest"
	"github.com/durward-auth/durward/e2e/chromium"
	"github.com/durward-auth/durward/jwt"
)

// certificates returns the scheme that accepts client certificates of ca by their common name.
func certificates(ca *durwardtest.CA) durward.Scheme {
	return durward.ClientCert(durward.ClientCertConfig{Roots: ca.Pool,
		Check: func(_ context.Context, c *x509.Certificate) (*durward.Principal, error) {
			return &durward.Principal{Subject: c.Subject.CommonName}, nil
		}})
}

// serveTLS starts the listener with h over TLS, for the name localhost and for the address. It
// requests client certificates.
func (srv *server) serveTLS(ca *durwardtest.CA, h http.Handler) {
	srv.http.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Server("localhost", "127.0.0.1")},
		ClientAuth: tls.RequestClientCert}
	srv.http.Config.ErrorLog = log.New(io.Discard, "", 0) // Chromium opens connections that it does not use
	srv.http.EnableHTTP2 = true
	srv.http.Config.Handler = withoutIcon(h)
	srv.http.StartTLS()
	srv.t.Cleanup(srv.http.Close)
	srv.url = strings.Replace(srv.http.URL, "127.0.0.1", "localhost", 1)
}

// encodePEM returns certs in PEM, followed by the key of the first.
func encodePEM(t *testing.T, certs ...tls.Certificate) string {
	t.Helper()
	var text bytes.Buffer
	for _, c := range certs {
		if err := pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}); err != nil {
			t.Fatal(err)
		}
	}
	if key := certs[0].PrivateKey; key != nil {
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := pem.Encode(&text, &pem.Block{Type: "PRIVATE KEY", Bytes: der}); err != nil {
			t.Fatal(err)
		}
	}
	return text.String()
}

// pemFile writes the result of encodePEM to a file and returns its path.
func pemFile(t *testing.T, certs ...tls.Certificate) string {
	t.Helper()
	return writeFile(t, filepath.Join(t.TempDir(), "pem"), encodePEM(t, certs...))
}

// caFile writes the certificate of ca to a file and returns its path.
func caFile(t *testing.T, ca *durwardtest.CA) string {
	t.Helper()
	return pemFile(t, tls.Certificate{Certificate: [][]byte{ca.Cert.Raw}})
}

// signedBy returns a client certificate signed by parent, which is no certificate authority. With a
// nil parent the certificate is self-signed.
func signedBy(t *testing.T, parent *tls.Certificate, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if parent == nil {
		parent = &tls.Certificate{Leaf: template, PrivateKey: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.Leaf, key.Public(), parent.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// badCertificate is a client certificate, with its chain, that must be refused.
type badCertificate struct {
	name  string
	certs []tls.Certificate
}

// badCertificates returns one certificate for each reason to refuse it.
func badCertificates(t *testing.T, ca *durwardtest.CA) []badCertificate {
	client := ca.Client(user, nil)
	return []badCertificate{
		{"none", nil},
		{"of another authority of the same name", []tls.Certificate{durwardtest.NewCA(t).Client(user, nil)}},
		{"expired", []tls.Certificate{ca.Client(user,
			func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })}},
		{"not yet valid", []tls.Certificate{ca.Client(user, func(c *x509.Certificate) {
			c.NotBefore, c.NotAfter = time.Now().AddDate(0, 0, 1), time.Now().AddDate(0, 0, 2)
		})}},
		{"for servers", []tls.Certificate{ca.Server(user)}},
		{"self-signed", []tls.Certificate{signedBy(t, nil, user)}},
		{"signed by a client", []tls.Certificate{signedBy(t, &client, user), client}},
	}
}

// TestCurlCertificate sends certificates with curl.
func TestCurlCertificate(t *testing.T) {
	t.Parallel()
	needPrograms(t, "curl")
	ca := durwardtest.NewCA(t)
	ask := func(t *testing.T, want, url string, certs []tls.Certificate, args ...string) {
		t.Helper()
		args = append(args, "-sS", "--noproxy", "*", "-w", " %{http_code}", "--cacert", caFile(t, ca), url)
		if certs != nil {
			args = append(args, "--cert", pemFile(t, certs...))
		}
		printed, status := command{}.run(t, "curl", args...)
		wantOutput(t, printed, status, 0, want)
	}
	ada := []tls.Certificate{ca.Client(user, nil)}

	t.Run("good", func(t *testing.T) {
		t.Parallel()
		srv := newServer(t)
		srv.serveTLS(ca, srv.guard(durward.Config{Schemes: []durward.Scheme{certificates(ca)}}).Handler(hello))
		ask(t, "hello, ada\n 200", srv.url+"/x", ada)
		ask(t, "hello, ada\n 200", srv.url+"/x", ada, "--http1.1")
		srv.wantRequests("GET /x: ada", "GET /x: ada")
	})
	for _, s := range badCertificates(t, ca) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t)
			srv.serveTLS(ca, srv.guard(durward.Config{Schemes: []durward.Scheme{certificates(ca)}}).Handler(hello))
			ask(t, " 403", srv.url+"/x", s.certs)
			srv.wantRequests("GET /x: CLIENT_CERTIFICATE_REQUIRED")
		})
	}

	// The host of a request must be the server name of its connection, if it has one.
	t.Run("names", func(t *testing.T) {
		t.Parallel()
		srv := newServer(t)
		srv.serveTLS(ca, srv.guard(durward.Config{Schemes: []durward.Scheme{certificates(ca)}}).Handler(hello))
		host := strings.TrimPrefix(srv.url, "https://")
		_, port, _ := net.SplitHostPort(host)
		for _, spelled := range []string{"LocalHost", "localhost.", "127.0.0.1"} {
			ask(t, "hello, ada\n 200", strings.Replace(srv.url, "localhost", spelled, 1)+"/x", ada, "--resolve",
				"localhost.:"+port+":127.0.0.1")
		}
		ask(t, " 421", srv.url+"/x", ada, "-H", "Host: other.example")
		ask(t, " 421", srv.url+"/x", ada, "-H", "Host: sub."+host)
		ask(t, " 421", srv.http.URL+"/x", ada, "-H", "Host: "+host)
		ask(t, " 421", srv.url+"/x", ada, "-H", "Host: other.example", "--http1.1")
		srv.wantRequests("GET /x: ada", "GET /x: ada", "GET /x: ada", "GET /x: MISDIRECTED_REQUEST",
			"GET /x: MISDIRECTED_REQUEST",
			"GET /x: MISDIRECTED_REQUEST", "GET /x: MISDIRECTED_REQUEST")
	})

	t.Run("bound token", func(t *testing.T) {
		t.Parallel()
		issuer := durwardtest.NewIssuer(t)
		srv := newServer(t)
		srv.serveTLS(ca, srv.guard(durward.Config{Schemes: []durward.Scheme{jwt.Bearer(issuer.URL,
			durwardtest.Audience), certificates(ca)}}).Handler(hello))
		bound := func(to tls.Certificate) []string {
			return []string{"--oauth2-bearer", issuer.Token(func(c *jwt.Claims) {
				c.Subject, c.Confirmation = "robot", &jwt.Confirmation{X5tS256: jwt.Thumbprint(to.Leaf)}
			})}
		}
		ask(t, "hello, robot\n 200", srv.url+"/x", ada, bound(ada[0])...)
		ask(t, " 401", srv.url+"/x", []tls.Certificate{ca.Client(user, nil)}, bound(ada[0])...)
		ask(t, " 401", srv.url+"/x", nil, bound(ada[0])...)
		srv.wantRequests("GET /x: robot by Bearer", "GET /x: INVALID_TOKEN by Bearer",
			"GET /x: INVALID_TOKEN by Bearer")
	})
}

// TestChromiumCertificate sends the certificate of a Chromium profile that selects it
// automatically.
func TestChromiumCertificate(t *testing.T) {
	t.Parallel()
	needPrograms(t, "chromium", "certutil", "pk12util", "openssl")
	ca := durwardtest.NewCA(t)
	for _, c := range []struct {
		name     string
		cert     *tls.Certificate
		reads    string
		requests []string
	}{
		{"good", new(ca.Client(user, nil)), "hello, ada", []string{"GET /x: ada", "GET /x: ada"}},
		{"expired", new(ca.Client(user, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })),
			"CLIENT_CERTIFICATE_REQUIRED",
			[]string{"GET /x: CLIENT_CERTIFICATE_REQUIRED", "GET /x: CLIENT_CERTIFICATE_REQUIRED"}},
		{"none", nil, "CLIENT_CERTIFICATE_REQUIRED",
			[]string{"GET /x: CLIENT_CERTIFICATE_REQUIRED", "GET /x: CLIENT_CERTIFICATE_REQUIRED"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := newServer(t)
			srv.serveTLS(ca, srv.guard(durward.Config{Schemes: []durward.Scheme{certificates(ca)},
				Realm: "e2e"}).Handler(hello))
			home := t.TempDir()
			at := filepath.Join(home, ".pki", "nssdb")
			if err := os.MkdirAll(at, 0o700); err != nil {
				t.Fatal(err)
			}
			run := func(program string, args ...string) {
				t.Helper()
				printed, status := command{}.run(t, program, args...)
				wantOutput(t, printed, status, 0)
			}
			run("certutil", "-N", "-d", "sql:"+at, "--empty-password")
			run("certutil", "-A", "-d", "sql:"+at, "-n", "ca", "-t", "C,,", "-i", caFile(t, ca))
			if c.cert != nil {
				p12 := filepath.Join(home, "p12")
				run("openssl", "pkcs12", "-export", "-in", pemFile(t, *c.cert), "-out", p12, "-passout", "pass:",
					"-name", user)
				run("pk12util", "-i", p12, "-d", "sql:"+at, "-W", "")
			}
			// Like an administrator's policy, for this profile alone.
			profile := filepath.Join(home, "profile", "Default")
			if err := os.MkdirAll(profile, 0o700); err != nil {
				t.Fatal(err)
			}
			writeFile(t, filepath.Join(profile, "Preferences"),
				fmt.Sprintf(`{"profile":{"managed_auto_select_certificate_for_urls":[%q]}}`,
					fmt.Sprintf(`{"pattern":%q,"filter":{}}`, srv.url)))
			ctx, cancel := context.WithTimeout(chromium.StartFor(t, home, filepath.Dir(profile)), runTimeout)
			t.Cleanup(cancel)
			b := &tab{ctx: ctx, t: t}
			if got := b.page(srv.url + "/x"); !strings.Contains(got, c.reads) {
				t.Errorf("page: got %q, want it to contain %q", got, c.reads)
			}
			if got := do(b, chromedp.Evaluate[string](`fetch("/x").then(r => r.text())`,
				chromedp.EvalAwaitPromise)); !strings.Contains(got, c.reads) {
				t.Errorf("script: got %q, want it to contain %q", got, c.reads)
			}
			srv.wantRequests(c.requests...)
		})
	}
}

// TestCertificateThroughProxy lets a proxy terminate TLS and forward the client's certificate, by
// RFC 9440 or in the format of the proxy. Certificate fields sent by clients must be ignored.
func TestCertificateThroughProxy(t *testing.T) {
	t.Parallel()
	for _, c := range proxies {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			needPrograms(t, "curl")
			ca, issuer := durwardtest.NewCA(t), durwardtest.NewIssuer(t)
			p, srv := newProcess(t), newServer(t)
			srv.serve(srv.guard(c.behind(p, durward.Config{
				Schemes: []durward.Scheme{jwt.Bearer(issuer.URL, durwardtest.Audience), certificates(ca)},
			})).Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fields := len(r.Header["Client-Cert"]) + len(r.Header["Client-Cert-Chain"]) + len(r.Header["Ssl-Client-Cert"])
				if c.format == "" {
					fields -= len(r.Header["Ssl-Client-Cert"]) // the guard does not know it
				}
				fmt.Fprintf(w, "hello, %s with %d fields", durward.From(r.Context()).Subject, fields)
			})))
			c.start(t, p, srv, ca)

			ask := func(what, want, url string, certs []tls.Certificate, args ...string) {
				t.Helper()
				args = append(args, "-sS", "--noproxy", "*", "-w", " %{http_code}",
					"--cacert", caFile(t, ca), url+"/x")
				if certs != nil {
					args = append(args, "--cert", pemFile(t, certs...))
				}
				printed, status := command{}.run(t, "curl", args...)
				if status != 0 || !strings.HasSuffix(printed, want) {
					t.Errorf("%s: got status %d, output %q, want output ending in %q", what, status, printed, want)
				}
			}
			through := "https://" + p.address
			ada := []tls.Certificate{ca.Client(user, nil)}
			forged := []string{"-H", "Client-Cert: :" + base64.StdEncoding.EncodeToString(ada[0].Certificate[0]) + ":",
				"-H", "Client-Cert-Chain: :" + base64.StdEncoding.EncodeToString(ca.Cert.Raw) + ":",
				"-H", "Ssl-Client-Cert: " + url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ada[0].Certificate[0]})))}
			bound := []string{"--oauth2-bearer", issuer.Token(func(c *jwt.Claims) {
				c.Subject, c.Confirmation = "robot", &jwt.Confirmation{X5tS256: jwt.Thumbprint(ada[0].Leaf)}
			})}
			free := []string{"--oauth2-bearer", issuer.Token(func(c *jwt.Claims) { c.Subject = "robot" })}

			ask("a certificate", "hello, ada with 1 fields 200", through, ada)
			ask("a certificate, and fields sent by the client", "hello, eve with 1 fields 200", through,
				[]tls.Certificate{ca.Client("eve", nil)}, forged...)
			ask("fields sent by the client", " 401", through, nil, forged...)
			ask("fields sent by the client, with a token", "hello, robot with 0 fields 200", through, nil,
				append(free, forged...)...)
			ask("fields sent by the client, not through the proxy", " 401", srv.url, nil, forged...)
			ask("fields sent by the client, with a token, not through the proxy", "hello, robot with 0 fields 200",
				srv.url, nil, append(free, forged...)...)
			for _, s := range badCertificates(t, ca) {
				ask("a certificate "+s.name, cmp.Or(c.refusals[s.name], " 401"), through, s.certs)
			}
			ask("a bound token with its certificate", "hello, robot with 1 fields 200", through, ada, bound...)
			ask("a bound token with another certificate", " 401", through, []tls.Certificate{ca.Client(user, nil)},
				bound...)
			ask("a bound token without certificate", " 401", through, nil, bound...)
			ask("a bound token, with a field sent by the client", " 401", through, nil, append(bound, forged...)...)
			ask("a bound token, with a field sent by the client, not through the proxy", " 401", srv.url, nil,
				append(bound, forged...)...)
		})
	}
}
