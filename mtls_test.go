package durward_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward"
)

// issuer signs certificates: an authority, or one that only pretends to be.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newAuthority makes one that signs itself.
func newAuthority(t testing.TB, name string) *issuer {
	return (*issuer)(nil).authority(t, name, nil)
}

// authority makes one below i.
func (i *issuer) authority(t testing.TB, name string, change func(*x509.Certificate)) *issuer {
	t.Helper()
	key := newKey(t)
	c := i.issue(t, key, name, func(c *x509.Certificate) {
		c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
		c.NotBefore, c.NotAfter = noon.AddDate(-10, 0, 0), noon.AddDate(10, 0, 0)
		if change != nil {
			change(c)
		}
	})
	return &issuer{c.Leaf, key}
}

// issue makes a client's certificate for key, good for an hour before and after
// noon. A nil issuer is the key itself.
func (i *issuer) issue(t testing.TB, key *ecdsa.PrivateKey, name string, change func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 64))
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true}
	if change != nil {
		change(c)
	}
	parent, signer := c, key
	if i != nil {
		parent, signer = i.cert, i.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func pool(all ...*issuer) *x509.CertPool {
	p := x509.NewCertPool()
	for _, i := range all {
		p.AddCert(i.cert)
	}
	return p
}

// chain sends others after a certificate.
func chain(c tls.Certificate, others ...*x509.Certificate) tls.Certificate {
	c.Certificate = slices.Clone(c.Certificate)
	for _, o := range others {
		c.Certificate = append(c.Certificate, o.Raw)
	}
	return c
}

func keyHash(c tls.Certificate) [sha256.Size]byte {
	return sha256.Sum256(c.Leaf.RawSubjectPublicKeyInfo)
}

// byName is a check that knows people by the common name.
func byName(_ context.Context, c *x509.Certificate) (*durward.Principal, error) {
	switch name := c.Subject.CommonName; name {
	case "outage":
		return nil, errors.New("directory: timeout")
	case "gone":
		return nil, fmt.Errorf("%s has left: %w", name, durward.InvalidCredentials)
	case "banned":
		return nil, fmt.Errorf("%s may not: %w", name, durward.Forbidden)
	default:
		return &durward.Principal{Subject: name, Scopes: []string{"read"}}, nil
	}
}

// tlsServer is a real listener that asks for certificates and judges none; its own
// is for every name of example and for this machine.
type tlsServer struct {
	*httptest.Server
	roots *x509.CertPool
	ca    *issuer
}

func newTLSServer(t testing.TB, h http.Handler) *tlsServer {
	t.Helper()
	ca := newAuthority(t, "servers")
	own := ca.issue(t, newKey(t), "server", func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = []string{"api.example", "*.example"}, []net.IP{net.IPv4(127, 0, 0, 1)}
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		c.NotBefore, c.NotAfter = noon.AddDate(-10, 0, 0), noon.AddDate(10, 0, 0)
	})
	s := &tlsServer{httptest.NewUnstartedServer(h), pool(ca), ca}
	s.TLS = &tls.Config{Certificates: []tls.Certificate{own}, ClientAuth: tls.RequestClientCert, Time: func() time.Time { return noon }}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that fail on purpose
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// client returns a client that reaches the server under any name, with or without a certificate. It
// ignores the authorities that the server names.
func (s *tlsServer) client(t testing.TB, c *tls.Certificate) *http.Client {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", s.Listener.Addr().String())
		},
		TLSClientConfig: &tls.Config{RootCAs: s.roots, Time: func() time.Time { return noon }},
	}
	if c != nil {
		transport.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c, nil }
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// ask returns status and body.
func ask(t testing.TB, client *http.Client, r *http.Request) (*http.Response, string) {
	t.Helper()
	res, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

// request is one that a client sends.
func request(t testing.TB, method, url string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestClientCert: which certificates are acceptable, by handshakes with a real
// listener.
func TestClientCert(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t, "people"), newAuthority(t, "people")
	key := newKey(t)
	good := ca.issue(t, key, "ada", nil)
	notCA := &issuer{good.Leaf, key}
	between := ca.authority(t, "between", nil)
	stale := ca.authority(t, "stale", func(c *x509.Certificate) { c.NotAfter = noon.Add(-time.Minute) })
	last := ca.authority(t, "last", func(c *x509.Certificate) { c.MaxPathLenZero = true })
	beyond := last.authority(t, "beyond", nil)
	narrow := ca.authority(t, "narrow", func(c *x509.Certificate) { c.PermittedDNSDomains = []string{"people.example"} })
	servers := ca.authority(t, "servers", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
	use := func(u ...x509.ExtKeyUsage) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.ExtKeyUsage = u }
	}
	valid := func(from, to time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = noon.Add(from), noon.Add(to) }
	}
	named := func(names ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.DNSNames = names }
	}
	pinned := newKey(t)
	first := (*issuer)(nil).issue(t, pinned, "bolt", nil)
	for _, c := range []struct {
		name  string
		cert  *tls.Certificate
		who   string // empty: refused
		cause string // otherwise
	}{
		{"none", nil, "", "no credentials"},
		{"good", &good, "ada", ""},
		{"expired", new(ca.issue(t, key, "ada", valid(-time.Hour, -time.Second))), "", "expired or is not yet valid"},
		{"in its last second", new(ca.issue(t, key, "ada", valid(-time.Hour, 0))), "ada", ""},
		{"not yet valid", new(ca.issue(t, key, "ada", valid(time.Second, time.Hour))), "", "expired or is not yet valid"},
		{"in its first second", new(ca.issue(t, key, "ada", valid(0, time.Hour))), "ada", ""},
		{"for servers", new(ca.issue(t, key, "ada", use(x509.ExtKeyUsageServerAuth))), "", "incompatible key usage"},
		{"for mail", new(ca.issue(t, key, "ada", use(x509.ExtKeyUsageEmailProtection))), "", "incompatible key usage"},
		{"for servers and clients", new(ca.issue(t, key, "ada", use(x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth))), "ada", ""},
		{"for anything", new(ca.issue(t, key, "ada", use(x509.ExtKeyUsageAny))), "ada", ""},
		{"for nothing in particular", new(ca.issue(t, key, "ada", use())), "ada", ""},
		{"self-signed", new((*issuer)(nil).issue(t, newKey(t), "ada", nil)), "", "unknown authority"},
		{"self-signed in the authority's name", new((*issuer)(nil).issue(t, newKey(t), "people", nil)), "", "unknown authority"},
		{"another authority of the same name", new(other.issue(t, key, "ada", nil)), "", "unknown authority"},
		{"and that one sent along", new(chain(other.issue(t, key, "ada", nil), other.cert)), "", "unknown authority"},
		{"issued by who is no authority", new(chain(notCA.issue(t, newKey(t), "root", nil), good.Leaf)), "", "unknown authority"},
		{"by an authority between", new(chain(between.issue(t, key, "ada", nil), between.cert)), "ada", ""},
		{"which was not sent", new(between.issue(t, key, "ada", nil)), "", "unknown authority"},
		{"which has expired", new(chain(stale.issue(t, key, "ada", nil), stale.cert)), "", "expired or is not yet valid"},
		{"one authority too deep", new(chain(beyond.issue(t, key, "ada", nil), beyond.cert, last.cert)), "", "path length"},
		{"by one for servers", new(chain(servers.issue(t, key, "ada", nil), servers.cert)), "", "incompatible key usage"},
		{"by one for some names", new(chain(narrow.issue(t, key, "ada", named("ada.people.example")), narrow.cert)), "ada", ""},
		{"by one for other names", new(chain(narrow.issue(t, key, "ada", named("ada.example")), narrow.cert)), "", "not permitted by any constraint"},
		{"an unknown critical extension", new(ca.issue(t, key, "ada", func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 3, 6, 1, 4, 1, 99999, 1}, Critical: true, Value: []byte{5, 0}}}
		})), "", "critical extension"},
		{"a pinned key", &first, "bolt", ""},
		{"renewed with the same key", new((*issuer)(nil).issue(t, pinned, "bolt", valid(-time.Minute, 24*time.Hour))), "bolt", ""},
		{"a pinned key, signed by others", new(other.issue(t, pinned, "bolt", nil)), "bolt", ""},
		{"the same name, another key", new((*issuer)(nil).issue(t, newKey(t), "bolt", nil)), "", "unknown authority"},
		{"a pinned key, expired", new((*issuer)(nil).issue(t, pinned, "bolt", valid(-time.Hour, -time.Second))), "", "valid from"},
		{"a pinned key, not yet valid", new((*issuer)(nil).issue(t, pinned, "bolt", valid(time.Second, time.Hour))), "", "valid from"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var cause atomic.Value
			cause.Store("")
			g := newGuard(t, durward.Config{
				Schemes:   []durward.Scheme{durward.ClientCert(durward.ClientCertConfig{Roots: pool(ca), Keys: [][sha256.Size]byte{keyHash(first)}, Check: byName})},
				OnRefusal: func(_ *http.Request, f *durward.Refusal) { cause.Store(f.Err.Error()) },
			})
			s := newTLSServer(t, g.Handler(hello))
			res, body := ask(t, s.client(t, c.cert), request(t, "GET", "https://api.example/x"))
			if c.who != "" {
				if res.StatusCode != 200 || body != c.who || res.Header.Get("Cache-Control") != "private" {
					t.Errorf("got %s %s %v, want 200 %s\n%s", res.Status, body, res.Header, c.who, cause.Load())
				}
				return
			}
			// RFC 9110 s15.5.2: without a challenge it cannot be a 401.
			if res.StatusCode != 403 || !strings.Contains(body, `"code":"CLIENT_CERTIFICATE_REQUIRED"`) || res.Header["Www-Authenticate"] != nil {
				t.Errorf("got %s %s %v, want 403 CLIENT_CERTIFICATE_REQUIRED without a challenge", res.Status, body, res.Header)
			}
			if got := cause.Load().(string); !strings.Contains(got, c.cause) {
				t.Errorf("the cause is %q, want one that tells of %q", got, c.cause)
			}
			if strings.Contains(body, "people") || strings.Contains(body, "x509") {
				t.Errorf("the client reads the cause: %s", body)
			}
		})
	}
}

// A guard without Roots takes pinned keys alone.
func TestClientCertConfig(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "people")
	cert := ca.issue(t, newKey(t), "ada", nil)
	one := func(c durward.ClientCertConfig) durward.Scheme { return durward.ClientCert(c) }
	keys := [][sha256.Size]byte{keyHash(cert)}
	full := durward.ClientCertConfig{Roots: pool(ca), Check: byName}
	for _, c := range []struct {
		name   string
		config durward.Config
		want   string // in the error; empty for none
	}{
		{"roots", durward.Config{Schemes: []durward.Scheme{one(full)}}, ""},
		{"keys", durward.Config{Schemes: []durward.Scheme{one(durward.ClientCertConfig{Keys: keys, Check: byName})}}, ""},
		{"no check", durward.Config{Schemes: []durward.Scheme{one(durward.ClientCertConfig{Roots: pool(ca)})}}, "Check"},
		{"neither roots nor keys", durward.Config{Schemes: []durward.Scheme{one(durward.ClientCertConfig{Check: byName})}}, "neither Roots nor Keys"},
		{"two", durward.Config{Schemes: []durward.Scheme{one(full), one(full)}}, "ClientCert twice"},
		{"a field from nobody", durward.Config{Schemes: []durward.Scheme{one(full)}, ClientCertFromProxies: true}, "without Proxies"},
	} {
		_, err := durward.New(c.config)
		if (err != nil) != (c.want != "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want an error that names %q", c.name, err, c.want)
		}
	}
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{one(durward.ClientCertConfig{Keys: keys, Check: byName})}})
	if w := serve(g.Handler(hello), bearing(cert)); w.Code != 200 || w.Body.String() != "ada" {
		t.Errorf("the pinned key: got %d %s", w.Code, w.Body)
	}
	wants(t, "another key of the same authority", serve(g.Handler(never(t)), bearing(ca.issue(t, newKey(t), "ada", nil))), 403, durward.ClientCertificateRequired)
}

// bearing returns a GET over a connection for api.example, with this client certificate.
func bearing(c tls.Certificate) *http.Request {
	r := get("")
	r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, ServerName: "api.example"}
	for _, der := range c.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			panic(err)
		}
		r.TLS.PeerCertificates = append(r.TLS.PeerCertificates, cert)
	}
	return r
}

// TestClientCertAnswers: errors of the check, requirements of a policy, and other credentials
// beside a certificate.
func TestClientCertAnswers(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "people")
	cert := func(name string) tls.Certificate { return ca.issue(t, newKey(t), name, nil) }
	certs := durward.ClientCert(durward.ClientCertConfig{Roots: pool(ca), Check: func(ctx context.Context, c *x509.Certificate) (*durward.Principal, error) {
		p, err := byName(ctx, c)
		if err == nil && p.Subject == "card" {
			p.ACR, p.AuthTime = "urn:durward:acr:1fa", noon.Add(-time.Hour)
		}
		return p, err
	}})
	stranger := (*issuer)(nil).issue(t, newKey(t), "ada", nil)
	alone, optional := durward.Policy{}, durward.Policy{Optional: true}
	bearer := `Bearer realm="api"`
	for _, c := range []struct {
		name       string
		beside     []durward.Scheme
		policy     durward.Policy
		request    *http.Request
		code       durward.Code // of the refusal, or who, in small letters
		challenges []string
		caching    string
	}{
		{"good", nil, alone, bearing(cert("ada")), "ada", nil, "private"},
		{"good, optional", nil, optional, bearing(cert("ada")), "ada", nil, "private"},
		{"none, optional", nil, optional, bearing(tls.Certificate{}), "nobody", nil, ""},
		{"a stranger's, optional", nil, optional, bearing(stranger), durward.ClientCertificateRequired, nil, "no-store"},
		{"outage", nil, alone, bearing(cert("outage")), durward.AuthUnavailable, nil, "no-store"},
		{"outage, optional", nil, optional, bearing(cert("outage")), "nobody", nil, "no-store"},
		{"refused by the check", nil, alone, bearing(cert("gone")), durward.ClientCertificateRequired, nil, "no-store"},
		{"forbidden by the check", nil, alone, bearing(cert("banned")), durward.Forbidden, nil, "no-store"},
		{"forbidden by the check, optional", nil, optional, bearing(cert("banned")), durward.Forbidden, nil, "no-store"},
		{"a scope it has", nil, durward.Policy{Scopes: lines("read")}, bearing(cert("ada")), "ada", nil, "private"},
		{"a scope it has not", nil, durward.Policy{Scopes: lines("write")}, bearing(cert("ada")), durward.InsufficientScope, nil, "no-store"},
		{"a stronger sign-in", nil, durward.Policy{ACR: lines("phr")}, bearing(cert("ada")), durward.Forbidden, nil, "no-store"},
		{"a stronger one than the card's", nil, durward.Policy{ACR: lines("phr")}, bearing(cert("card")), durward.Forbidden, nil, "no-store"},
		{"none, another scheme beside", []durward.Scheme{durward.Bearer(verify)}, alone, bearing(tls.Certificate{}), durward.AuthenticationRequired, lines(bearer), "no-store"},
		{"a stranger's, another scheme beside", []durward.Scheme{durward.Bearer(verify)}, alone, bearing(stranger), durward.AuthenticationRequired, lines(bearer), "no-store"},
		{"refused by the check, another scheme beside", []durward.Scheme{durward.Bearer(verify)}, alone, bearing(cert("gone")), durward.InvalidCredentials, lines(bearer), "no-store"},
		{"a stronger one than the card's, another scheme beside", []durward.Scheme{durward.Bearer(verify)}, durward.Policy{ACR: lines("phr")}, bearing(cert("card")), durward.StepUpRequired,
			lines(bearer), "no-store"},
		{"a token with it", []durward.Scheme{durward.Bearer(verify)}, alone, explicitly(bearing(cert("bob")), "good"), "ada", nil, "private"},
		{"a bad token with it", []durward.Scheme{durward.Bearer(verify)}, alone, explicitly(bearing(cert("bob")), "forged"), durward.InvalidToken,
			lines(bearer + `, error="invalid_token", error_description="The access token is not valid."`), "no-store"},
		{"a cookie with it", []durward.Scheme{durward.Cookie(cookieName, checkSession)}, alone, cookied(bearing(cert("bob"))), "bob", nil, "private"},
		{"a cookie with a stranger's", []durward.Scheme{durward.Cookie(cookieName, checkSession)}, alone, cookied(bearing(stranger)), durward.AuthenticationRequired, lines(`Session realm="api"`), "no-store"},
		{"a cookie without one", []durward.Scheme{durward.Cookie(cookieName, checkSession)}, alone, cookied(bearing(tls.Certificate{})), "ada", nil, "private"},
	} {
		schemes := append([]durward.Scheme{certs}, c.beside...)
		for range 2 {
			slices.Reverse(schemes)
			g := newGuard(t, durward.Config{Schemes: slices.Clone(schemes)})
			w := serve(g.Require(c.policy, hello), c.request)
			if got := w.Header().Get("Cache-Control"); got != c.caching {
				t.Errorf("%s: Cache-Control is %q, want %q", c.name, got, c.caching)
			}
			if want := string(c.code); want == strings.ToLower(want) {
				if w.Code != 200 || w.Body.String() != want {
					t.Errorf("%s: got %d %s, want 200 %s", c.name, w.Code, w.Body, want)
				}
				continue
			}
			wants(t, c.name, w, c.code.Status(), c.code)
			if got := w.Header()["Www-Authenticate"]; !slices.Equal(got, c.challenges) {
				t.Errorf("%s: got the challenges %q, want %q", c.name, got, c.challenges)
			}
		}
	}
	// ClientCertificate is the connection's, also if other credentials authenticate the request: a
	// token may be bound to it.
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.Bearer(verify)}})
	var seen *x509.Certificate
	r := explicitly(bearing(stranger), "good")
	serve(g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen = durward.ClientCertificate(r.Context()) })), r)
	if !stranger.Leaf.Equal(seen) {
		t.Error("ClientCertificate does not give the connection's")
	}
	if durward.ClientCertificate(r.Context()) != nil {
		t.Error("there is a certificate outside a guard")
	}
	// A browser sends it by itself.
	g = newGuard(t, durward.Config{Schemes: []durward.Scheme{certs}})
	r = bearing(cert("ada"))
	r.Method = "POST"
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	wants(t, "a foreign page", serve(g.Handler(never(t)), r), 403, durward.CrossSite)
	// People are not sent to sign in for a certificate.
	g = newGuard(t, durward.Config{Schemes: []durward.Scheme{certs}, LoginURL: "https://auth.example/login"})
	r = bearing(stranger)
	r.Header = navigation
	if w := serve(g.Require(durward.Policy{Pages: true}, never(t)), r); w.Code != 403 || !strings.Contains(w.Body.String(), "Client certificate required") {
		t.Errorf("a person: got %d %s", w.Code, w.Body)
	}
}

func explicitly(r *http.Request, token string) *http.Request {
	r.Header.Set("Authorization", "Bearer "+token)
	return r
}

func cookied(r *http.Request) *http.Request {
	r.Header.Set("Cookie", cookieName+"=good")
	return r
}

// Connections outlive decisions, and a session that is resumed brings its
// certificate along without a handshake of it. Each request is judged anew.
func TestClientCertResumption(t *testing.T) {
	t.Parallel()
	before, after := newAuthority(t, "before"), newAuthority(t, "after")
	cert := before.issue(t, newKey(t), "ada", nil)
	var now atomic.Pointer[time.Time]
	at := func(then time.Time) { now.Store(&then) }
	guard := func(roots *issuer) http.Handler {
		return newGuard(t, durward.Config{Now: func() time.Time { return *now.Load() },
			Schemes: []durward.Scheme{durward.ClientCert(durward.ClientCertConfig{Roots: pool(roots), Check: byName})}}).Handler(hello)
	}
	var current atomic.Pointer[http.Handler]
	trust := func(h http.Handler) { current.Store(&h) }
	var resumed, connections atomic.Int64
	s := newTLSServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if connections.Add(1); r.TLS.DidResume {
			resumed.Add(1)
		}
		(*current.Load()).ServeHTTP(w, r)
	}))
	client := s.client(t, &cert)
	transport := client.Transport.(*http.Transport)
	transport.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		transport.TLSClientConfig.MaxVersion = version
		for _, anew := range []bool{false, true} { // the same connection, and one that resumes
			get := func(want int) {
				t.Helper()
				resumed.Store(0)
				res, body := ask(t, client, request(t, "GET", "https://api.example/x"))
				if res.StatusCode != want {
					t.Errorf("version %x, anew %v: got %s %s, want %d", version, anew, res.Status, body, want)
				}
				if anew {
					transport.CloseIdleConnections()
				}
			}
			at(noon)
			trust(guard(before))
			get(200)
			get(200)
			if anew && resumed.Load() == 0 {
				t.Errorf("version %x: the session was not resumed", version)
			}
			trust(guard(after))
			get(403)
			if anew && resumed.Load() == 0 {
				t.Errorf("version %x: the session was not resumed", version)
			}
			trust(guard(before))
			get(200)
			at(noon.Add(time.Hour + time.Second))
			get(403)
		}
		transport.CloseIdleConnections()
	}
}

// Certificates that are expensive to verify are refused in the handshake or right after it: an
// unauthenticated client chose them.
func TestCostlyCertificates(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "people")
	key := newKey(t)
	good := ca.issue(t, key, "ada", nil)
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.ClientCert(durward.ClientCertConfig{Roots: pool(ca), Check: byName})}})
	s := newTLSServer(t, g.Handler(hello))
	// Authorities of one name that sign each other: each might be the next.
	ring := make([]*issuer, 8)
	for i := range ring {
		ring[i] = newAuthority(t, "ring")
	}
	crossed := func(n int) (all []*x509.Certificate) {
		for i := range n {
			by, of := ring[i%8], ring[(i/8+i+1)%8]
			c := by.issue(t, of.key, "ring", func(c *x509.Certificate) {
				c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign, nil
			})
			all = append(all, c.Leaf)
		}
		return all
	}
	decoys := func(n int) tls.Certificate { return chain(ring[0].issue(t, key, "ada", nil), crossed(n)...) }
	modulus := new(big.Int).SetBit(big.NewInt(1), 16383, 1)
	der, err := x509.CreateCertificate(rand.Reader, good.Leaf, ca.cert, &rsa.PublicKey{N: modulus, E: 65537}, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	huge, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		cert tls.Certificate
		want int // or 0 for a handshake that fails
	}{
		{"a few that do not matter", chain(good, crossed(8)...), 200},
		{"one too many", chain(good, crossed(9)...), 403},
		{"a ring", decoys(8), 403},
		{"a long ring", decoys(300), 403},
		{"longer than a handshake", decoys(900), 0},
		{"an RSA key of 16384 bits along", chain(good, huge), 0},
	} {
		client := s.client(t, &c.cert)
		began := time.Now()
		const rounds = 5
		for range rounds {
			res, err := client.Do(request(t, "GET", "https://api.example/x"))
			if (err != nil) != (c.want == 0) {
				t.Fatalf("%s: %v, want %d", c.name, err, c.want)
			}
			if err != nil {
				continue
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != c.want {
				t.Errorf("%s: got %s, want %d", c.name, res.Status, c.want)
			}
		}
		each := time.Since(began) / rounds
		if t.Logf("%s: %s", c.name, each); each > 20*time.Second { // unbounded work takes minutes
			t.Errorf("%s: a request takes %s", c.name, each)
		}
	}
}

// splitting writes its first data, a ClientHello, as two records in two segments.
type splitting struct {
	net.Conn
	done bool
}

func (s *splitting) Write(p []byte) (int, error) {
	if s.done || len(p) < 60 {
		return s.Conn.Write(p)
	}
	s.done = true
	body := p[5:]
	for _, part := range [][]byte{body[:50], body[50:]} {
		record := append([]byte{p[0], p[1], p[2]}, binary.BigEndian.AppendUint16(nil, uint16(len(part)))...)
		if _, err := s.Conn.Write(append(record, part...)); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// TestMisdirected: the name that the connection was opened for and the one that is
// asked for, by real handshakes.
func TestMisdirected(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "people")
	cert := ca.issue(t, newKey(t), "ada", nil)
	certs := durward.ClientCert(durward.ClientCertConfig{Roots: pool(ca), Check: byName})
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{certs, durward.Bearer(verify)}})
	s := newTLSServer(t, g.Handler(hello))
	for _, c := range []struct {
		name, sni, target, host string
		split                   bool
		status                  int
	}{
		{"the same", "api.example", "/x", "api.example", false, 200},
		{"with a port", "api.example", "/x", "api.example:8443", false, 200},
		{"in capitals", "api.example", "/x", "API.Example", false, 200},
		{"opened in capitals", "API.EXAMPLE", "/x", "api.example", false, 200},
		{"with a dot", "api.example", "/x", "api.example.", false, 200},
		{"with a dot and a port", "api.example", "/x", "api.example.:8443", false, 200},
		{"opened with a dot", "api.example.", "/x", "api.example", false, 200},
		{"a split ClientHello", "api.example", "/x", "api.example", true, 200},
		{"an address, which is never named", "", "/x", "127.0.0.1", false, 200},
		{"an address with a port", "", "/x", "127.0.0.1:8443", false, 200},
		{"an address of six", "", "/x", "[::1]:8443", false, 200},
		{"another name of the same certificate", "www.example", "/x", "api.example", false, 421},
		{"and by a split ClientHello", "www.example", "/x", "api.example", true, 421},
		{"no name", "", "/x", "api.example", false, 421},
		{"a name, asked for by address", "api.example", "/x", "127.0.0.1", false, 421},
		{"two dots", "api.example", "/x", "api.example..", false, 421},
		{"below it", "api.example", "/x", "a.api.example", false, 421},
		{"above it", "api.example", "/x", "example", false, 421},
		{"a longer name", "api.example", "/x", "api.example.evil.example", false, 421},
		{"the name as a port", "api.example", "/x", "www.example:api.example", false, 421},
		{"no host", "api.example", "/x", "", false, 421},
		{"another name in the target", "api.example", "https://www.example/x", "api.example", false, 421},
		{"the target counts", "www.example", "https://www.example/x", "api.example", false, 200},
	} {
		for _, credentials := range []string{"certificate", "token"} {
			raw, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			if c.split {
				raw = &splitting{Conn: raw}
			}
			config := &tls.Config{ServerName: c.sni, InsecureSkipVerify: true}
			token := ""
			if credentials == "certificate" {
				config.Certificates = []tls.Certificate{cert}
			} else {
				token = "Authorization: Bearer good\r\n"
			}
			conn := tls.Client(raw, config)
			if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, "GET "+c.target+" HTTP/1.1\r\nHost: "+c.host+"\r\n"+token+"\r\n"); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			body, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if res.StatusCode == 400 && c.name == "the name as a port" {
				continue // net/http has its own opinion
			}
			if res.StatusCode != c.status || c.status == 421 && (!strings.Contains(string(body), `"MISDIRECTED_REQUEST"`) || res.Header["Www-Authenticate"] != nil) {
				t.Errorf("%s, by %s: got %s %s, want %d", c.name, credentials, res.Status, body, c.status)
			}
		}
	}
	// Routes without an asker, too; but where no certificates are taken it does not
	// matter, and a forward proxy is asked for other names all day.
	r := bearing(cert)
	r.TLS.ServerName = "www.example"
	wants(t, "Open", serve(g.Open(never(t)), r), 421, durward.MisdirectedRequest)
	if w := serve(newGuard(t, durward.Config{}).Open(hello), r); w.Code != 200 {
		t.Errorf("without certificates: got %d", w.Code)
	}
	both := newGuard(t, durward.Config{Schemes: []durward.Scheme{certs, durward.Basic(rightPair)}})
	r.Header.Set("Proxy-Authorization", pair("ada", "secret"))
	if w := serve(both.Proxy(durward.Policy{}, hello), r); w.Code != 200 || w.Body.String() != "ada" {
		t.Errorf("a forward proxy: got %d %s", w.Code, w.Body)
	}
}

// An HTTP/2 client may send requests for another host over a connection that is
// good for it too (RFC 9113 s9.1.1). It is told to open another one.
func TestCoalescedConnection(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "people")
	cert := ca.issue(t, newKey(t), "ada", nil)
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.ClientCert(durward.ClientCertConfig{Roots: pool(ca), Check: byName})}})
	s := newTLSServer(t, g.Handler(hello))
	client := s.client(t, &cert)
	client.Transport.(*http.Transport).ForceAttemptHTTP2 = true
	for _, c := range []struct {
		url, host string
		status    int
	}{
		{"https://www.example/x", "", 200},
		{"https://www.example/x", "api.example", 421},
		{"https://www.example/x", "WWW.example:443", 200},
		{"https://api.example/x", "", 200},
	} {
		r := request(t, "GET", c.url)
		r.Host = c.host
		res, body := ask(t, client, r)
		if res.ProtoMajor != 2 || res.StatusCode != c.status || c.status == 421 && !strings.Contains(body, `"MISDIRECTED_REQUEST"`) {
			t.Errorf("%s for %q: got %s %s %s, want %d", c.url, c.host, res.Proto, res.Status, body, c.status)
		}
	}
}

// field is how a proxy hands on a certificate (RFC 9440 s2.1).
func field(der []byte) string { return ":" + base64.StdEncoding.EncodeToString(der) + ":" }

// TestClientCertField: the certificate field of a trusted proxy.
func TestClientCertField(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "people")
	between := ca.authority(t, "between", nil)
	good, deep := ca.issue(t, newKey(t), "ada", nil), between.issue(t, newKey(t), "grace", nil)
	big := func() []byte { // a certificate with an expensive key
		key, err := rsa.GenerateKey(rand.Reader, 1024)
		if err != nil {
			t.Fatal(err)
		}
		modulus := new(big.Int).SetBit(key.N, 8200, 1)
		der, err := x509.CreateCertificate(rand.Reader, good.Leaf, ca.cert, &rsa.PublicKey{N: modulus, E: 65537}, ca.key)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}()
	one, other := field(good.Certificate[0]), field(deep.Certificate[0])
	many := strings.TrimSuffix(strings.Repeat(field(between.cert.Raw)+", ", 9), ", ")
	for _, c := range []struct {
		name   string
		fields http.Header
		code   durward.Code // of the refusal, or who, in small letters
	}{
		{"none", fields(), durward.ClientCertificateRequired},
		{"good", fields("Client-Cert", one), "ada"},
		{"blanks around", fields("Client-Cert", "  "+one+" "), "ada"},
		{"with its authority", fields("Client-Cert", other, "Client-Cert-Chain", field(between.cert.Raw)), "grace"},
		{"with more than that", fields("Client-Cert", other, "Client-Cert-Chain", field(ca.cert.Raw)+",\t"+field(between.cert.Raw)), "grace"},
		{"over two lines", fields("Client-Cert", other, "Client-Cert-Chain", field(ca.cert.Raw), "Client-Cert-Chain", field(between.cert.Raw)), "grace"},
		{"without its authority", fields("Client-Cert", other), durward.ClientCertificateRequired},
		{"a chain alone", fields("Client-Cert-Chain", one), durward.ClientCertificateRequired},
		{"eight beside it", fields("Client-Cert", other, "Client-Cert-Chain", strings.Replace(many, field(between.cert.Raw)+", ", "", 1)), "grace"},
		{"nine beside it", fields("Client-Cert", other, "Client-Cert-Chain", many), durward.InvalidRequest},
		{"twice", fields("Client-Cert", one, "Client-Cert", one), durward.InvalidRequest},
		{"a list", fields("Client-Cert", one+", "+one), durward.InvalidRequest},
		{"a parameter", fields("Client-Cert", one+";a=b"), durward.InvalidRequest},
		{"empty", fields("Client-Cert", ""), durward.InvalidRequest},
		{"no octets", fields("Client-Cert", "::"), durward.InvalidRequest},
		{"one colon", fields("Client-Cert", ":"), durward.InvalidRequest},
		{"no colons", fields("Client-Cert", strings.Trim(one, ":")), durward.InvalidRequest},
		{"colons doubled", fields("Client-Cert", ":"+one+":"), durward.InvalidRequest},
		{"in quotes", fields("Client-Cert", `"`+one+`"`), durward.InvalidRequest},
		{"a line break inside", fields("Client-Cert", one[:40]+"\r\n"+one[40:]), durward.InvalidRequest},
		{"PEM, as other proxies write it", fields("Client-Cert", "-----BEGIN CERTIFICATE----- "+strings.Trim(one, ":")), durward.InvalidRequest},
		{"base64 of URLs", fields("Client-Cert", ":"+base64.URLEncoding.EncodeToString(append(good.Certificate[0], 0xff, 0xff, 0xff))+":"), durward.InvalidRequest},
		{"more after the certificate", fields("Client-Cert", field(append(slices.Clone(good.Certificate[0]), 0))), durward.InvalidRequest},
		{"less than a certificate", fields("Client-Cert", field(good.Certificate[0][:100])), durward.InvalidRequest},
		{"no certificate", fields("Client-Cert", field([]byte("ada"))), durward.InvalidRequest},
		{"too long", fields("Client-Cert", field(make([]byte, 13000))), durward.InvalidRequest},
		{"a chain that is none", fields("Client-Cert", one, "Client-Cert-Chain", "ada"), durward.InvalidRequest},
		{"an empty chain", fields("Client-Cert", one, "Client-Cert-Chain", ""), durward.InvalidRequest},
		{"a comma too many", fields("Client-Cert", one, "Client-Cert-Chain", one+","), durward.InvalidRequest},
		{"a chain that is too long", fields("Client-Cert", one, "Client-Cert-Chain", one+strings.Repeat(" ", 16<<10)), durward.InvalidRequest},
		{"a key that costs", fields("Client-Cert", field(big)), durward.InvalidRequest},
		{"a key that costs in the chain", fields("Client-Cert", one, "Client-Cert-Chain", field(big)), durward.InvalidRequest},
	} {
		g := newGuard(t, durward.Config{Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, ClientCertFromProxies: true,
			Schemes: []durward.Scheme{durward.ClientCert(durward.ClientCertConfig{Roots: pool(ca), Check: byName})}})
		// The proxy's own connection is by TLS, in a name and with a certificate of its
		// own: neither is the client's.
		r := bearing(ca.issue(t, newKey(t), "proxy", nil))
		r.TLS.ServerName = "backend.internal"
		r.RemoteAddr = "10.0.0.7:1234"
		for name, values := range with(c.fields, "X-Forwarded-For", "192.0.2.9", "X-Forwarded-Proto", "https") {
			r.Header[name] = values
		}
		sent := r.Header.Clone()
		w := serve(g.Handler(hello), r)
		if !reflect.DeepEqual(r.Header, sent) {
			t.Errorf("%s: the request was changed: %v", c.name, r.Header)
		}
		if want := string(c.code); want == strings.ToLower(want) {
			if w.Code != 200 || w.Body.String() != want || w.Header().Get("Vary") != "Authorization, Client-Cert, X-API-Key" {
				t.Errorf("%s: got %d %s %v, want 200 %s", c.name, w.Code, w.Body, w.Header(), want)
			}
			continue
		}
		wants(t, c.name, w, c.code.Status(), c.code)
	}
}

// TestClientCertFieldOfStrangers: only a configured proxy can name the client's certificate, and
// handlers do not see the field of other peers.
func TestClientCertFieldOfStrangers(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "people")
	cert := ca.issue(t, newKey(t), "ada", nil)
	certs := durward.ClientCert(durward.ClientCertConfig{Roots: pool(ca), Check: byName})
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	const byAddress = "a proxy that is believed for addresses alone"
	for _, c := range []struct {
		name   string
		config durward.Config
		peer   string
	}{
		{"no proxies", durward.Config{}, "10.0.0.7:1"},
		{byAddress, durward.Config{Proxies: proxies}, "10.0.0.7:1"},
		{"a stranger", durward.Config{Proxies: proxies, ClientCertFromProxies: true}, "192.0.2.1:1"},
		{"loopback", durward.Config{Proxies: proxies, ClientCertFromProxies: true}, "127.0.0.1:1"},
		{"no address", durward.Config{Proxies: proxies, ClientCertFromProxies: true}, "@"},
	} {
		for _, schemes := range [][]durward.Scheme{{certs}, {durward.Bearer(verify)}} {
			c.config.Schemes = schemes
			g := newGuard(t, c.config)
			sent := func() *http.Request {
				r := bearing(tls.Certificate{})
				if c.name == byAddress { // its own certificate is no client's
					r = bearing(cert)
					r.TLS.ServerName = "backend.internal"
				}
				r.RemoteAddr = c.peer
				r.Header = fields("Client-Cert", field(cert.Certificate[0]), "Client-Cert-Chain", field(ca.cert.Raw), "X-Other", "1", "X-Forwarded-Proto", "https")
				return r
			}
			if c.peer != "127.0.0.1:1" { // where a forwarding field shows a proxy that is not trusted
				if w := serve(g.Handler(never(t)), sent()); w.Code != 401 && w.Code != 403 {
					t.Errorf("%s: got %d %s", c.name, w.Code, w.Body)
				}
			}
			looked := 0
			look := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				looked++
				if r.Header["Client-Cert"] != nil || r.Header["Client-Cert-Chain"] != nil || durward.ClientCertificate(r.Context()) != nil {
					t.Errorf("%s: the handler sees %v and %v", c.name, r.Header, durward.ClientCertificate(r.Context()))
				}
				if r.Header.Get("X-Other") != "1" {
					t.Errorf("%s: the handler does not see the other fields: %v", c.name, r.Header)
				}
			})
			for _, h := range []http.Handler{g.Require(durward.Policy{Optional: true}, look), g.Open(look)} {
				r := sent()
				serve(h, r)
				if !reflect.DeepEqual(r.Header, sent().Header) {
					t.Errorf("%s: the caller's request was changed: %v", c.name, r.Header)
				}
			}
			if looked != 2 {
				t.Errorf("%s: the handlers were reached %d times", c.name, looked)
			}
			r := sent()
			if p, err := g.Check(r, durward.Policy{Optional: true}); p != nil || err != nil || !reflect.DeepEqual(r.Header, sent().Header) {
				t.Errorf("%s: Check gives %v, %v and leaves %v", c.name, p, err, r.Header)
			}
		}
	}
	// A forward proxy passes it on as it came: it is the origin's (RFC 9440 s2.4).
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.Basic(rightPair)}, Proxies: proxies, ClientCertFromProxies: true})
	for _, peer := range []string{"10.0.0.7:1", "192.0.2.1:1"} {
		r := get("")
		r.RemoteAddr = peer
		r.Header = fields("Client-Cert", "the origin's", "Proxy-Authorization", pair("ada", "secret"), "X-Forwarded-Proto", "https")
		var passed string
		serve(g.Proxy(durward.Policy{}, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { passed = r.Header.Get("Client-Cert") })), r)
		if passed != "the origin's" {
			t.Errorf("a forward proxy passes on %q", passed)
		}
	}
}

// A client that is not Go's.
func TestClientCertByCurl(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("curl is not installed")
		}
		t.Skip("curl is not installed")
	}
	ca, other := newAuthority(t, "people"), newAuthority(t, "strangers")
	g := newGuard(t, durward.Config{Schemes: []durward.Scheme{durward.ClientCert(durward.ClientCertConfig{Roots: pool(ca), Check: byName})}})
	s := newTLSServer(t, g.Handler(hello))
	dir := t.TempDir()
	write := func(name string, blocks ...*pem.Block) string {
		var b bytes.Buffer
		for _, block := range blocks {
			if err := pem.Encode(&b, block); err != nil {
				t.Fatal(err)
			}
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := func(name string, c tls.Certificate) string {
		der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		blocks := []*pem.Block{{Type: "PRIVATE KEY", Bytes: der}}
		for _, der := range c.Certificate {
			blocks = append(blocks, &pem.Block{Type: "CERTIFICATE", Bytes: der})
		}
		return write(name, blocks...)
	}
	between := ca.authority(t, "between", nil)
	good := file("good", ca.issue(t, newKey(t), "ada", nil))
	deep := file("deep", chain(between.issue(t, newKey(t), "grace", nil), between.cert))
	expired := file("expired", ca.issue(t, newKey(t), "ada", func(c *x509.Certificate) { c.NotAfter = noon.Add(-time.Second) }))
	foreign := file("foreign", other.issue(t, newKey(t), "ada", nil))
	roots := write("roots", &pem.Block{Type: "CERTIFICATE", Bytes: s.ca.cert.Raw})
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		args []string
		want string
	}{
		{"good", []string{"--cert", good}, "ada 200"},
		{"good, over HTTP/1.1", []string{"--http1.1", "--cert", good}, "ada 200"},
		{"by an authority between", []string{"--cert", deep}, "grace 200"},
		{"none", nil, "CLIENT_CERTIFICATE_REQUIRED"},
		{"expired", []string{"--cert", expired}, "CLIENT_CERTIFICATE_REQUIRED"},
		{"of another authority", []string{"--cert", foreign}, "CLIENT_CERTIFICATE_REQUIRED"},
		{"for another host", []string{"--cert", good, "--header", "Host: www.example"}, "MISDIRECTED_REQUEST"},
		{"with a field instead", []string{"--header", "Client-Cert: " + field(between.issue(t, newKey(t), "ada", nil).Certificate[0])}, "CLIENT_CERTIFICATE_REQUIRED"},
		{"from a page of another site", []string{"--cert", good, "--request", "POST", "--header", "Origin: https://evil.example"}, "CROSS_SITE"},
	} {
		args := append([]string{"--disable", "--silent", "--show-error", "--max-time", "20", "--noproxy", "*", "--cacert", roots,
			"--resolve", "api.example:" + port + ":127.0.0.1", "--write-out", " %{http_code}"}, c.args...)
		out, err := exec.CommandContext(t.Context(), "curl", append(args, "https://api.example:"+port+"/x")...).CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: curl says %s, %v; want %s", c.name, out, err, c.want)
		}
	}
}

// FuzzClientCertField: arbitrary fields of a trusted proxy cause no panic, and only the canonical
// form of a certificate is accepted.
func FuzzClientCertField(f *testing.F) {
	ca := newAuthority(f, "people")
	good := field(ca.issue(f, newKey(f), "ada", nil).Certificate[0])
	authority := field(ca.cert.Raw)
	f.Add(good, "")
	f.Add(good, authority)
	f.Add(good, authority+", "+good)
	f.Add(" "+good+" ", authority+",")
	f.Add(good+";a=b", "")
	f.Add(":"+good+":", "::")
	f.Add(strings.TrimRight(good, "=:")+":", authority)
	f.Add("::", ",")
	g := newGuard(f, durward.Config{Schemes: []durward.Scheme{durward.Session()}, Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, ClientCertFromProxies: true})
	f.Fuzz(func(t *testing.T, cert, chain string) {
		r := get("")
		r.RemoteAddr = "10.0.0.7:1"
		r.Header.Set("X-Forwarded-Proto", "https")
		r.Header.Set("Client-Cert", cert)
		if chain != "" {
			r.Header.Set("Client-Cert-Chain", chain)
		}
		var taken *x509.Certificate
		w := serve(g.Open(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { taken = durward.ClientCertificate(r.Context()) })), r)
		if taken == nil {
			wants(t, "not taken", w, 400, durward.InvalidRequest)
			return
		}
		if strings.Trim(cert, " ") != field(taken.Raw) {
			t.Errorf("%q was taken for %q", cert, field(taken.Raw))
		}
		if len(cert) > 16<<10 || len(chain) > 16<<10 || strings.Count(chain, ",") > 7 {
			t.Errorf("taken: %d octets and %d of a chain", len(cert), len(chain))
		}
		if chain == "" {
			return
		}
		for member := range strings.SplitSeq(chain, ",") {
			text := strings.Trim(member, " \t")
			der, err := base64.StdEncoding.Strict().DecodeString(strings.Trim(text, ":"))
			if err != nil || text != field(der) {
				t.Errorf("a chain with %q was taken", member)
			} else if _, err := x509.ParseCertificate(der); err != nil {
				t.Errorf("a chain with %q was taken: %v", member, err)
			}
		}
	})
}
