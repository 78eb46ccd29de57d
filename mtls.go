package durward

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// ClientCertConfig is what the [ClientCert] scheme is made of. Check is required,
// and Roots or Keys.
type ClientCertConfig struct {
	// Roots are the authorities whose client certificates are taken. Each request
	// is judged anew, whatever an earlier connection was found to be: validity,
	// chain and the use for client authentication.
	Roots *x509.CertPool

	// Keys are SHA-256 hashes of public keys (SubjectPublicKeyInfo) that are taken
	// whoever signed their certificate, within the certificate's validity.
	Keys [][sha256.Size]byte

	// Check returns who a certificate stands for, or an error: a [Code] refuses, any
	// other is [AuthUnavailable]. The context is the request's.
	Check func(ctx context.Context, cert *x509.Certificate) (*Principal, error)
}

// ClientCert returns the scheme of TLS client certificates (RFC 8446 s4.4.2). The
// listener must ask for one: tls.Config.ClientAuth is tls.RequestClientCert, or
// tls.VerifyClientCertIfGiven. Behind a proxy in Config.Proxies the certificate is
// that of the Client-Cert field, where Config.ClientCertFromProxies says so.
//
// A browser sends certificates by itself, so they are ambient, as cookies are, and
// go before a cookie.
// There is no challenge for a certificate: a route that takes nothing else answers
// [ClientCertificateRequired] without an acceptable one. A request whose Host is
// not the name that the connection was opened for is [MisdirectedRequest], since
// the certificate was asked for under another name's rules.
func ClientCert(c ClientCertConfig) Scheme { return &clientCert{c} }

type clientCert struct{ c ClientCertConfig }

func (s *clientCert) mistakes() (all []string) {
	if s.c.Check == nil {
		all = append(all, "ClientCert: Check is nil: it needs a function that says who a certificate stands for")
	}
	if s.c.Roots == nil && len(s.c.Keys) == 0 {
		all = append(all, "ClientCert: neither Roots nor Keys: no certificate could be acceptable")
	}
	return all
}

func (*clientCert) Presented(r *http.Request) (found, ambient bool) {
	return ClientCertificate(r.Context()) != nil, true
}

func (s *clientCert) Authenticate(r *http.Request) (*Principal, error) {
	st := stateOf(r.Context())
	cert, now := st.certs[0], st.guard.c.Now()
	unfit := func(why error) (*Principal, error) {
		return nil, fmt.Errorf("client certificate %x: %w: %w", sha256.Sum256(cert.Raw), why, AuthenticationRequired)
	}
	switch {
	case slices.Contains(s.c.Keys, sha256.Sum256(cert.RawSubjectPublicKeyInfo)):
		if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
			return unfit(fmt.Errorf("valid from %s to %s", cert.NotBefore, cert.NotAfter))
		}
	case s.c.Roots == nil:
		return unfit(errors.New("its key is none of those that are taken"))
	case len(st.certs) > 1+maxChain:
		return unfit(fmt.Errorf("%d certificates beside it, at most %d are tried", len(st.certs)-1, maxChain))
	default:
		between := x509.NewCertPool()
		for _, c := range st.certs[1:] {
			between.AddCert(c)
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: s.c.Roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			return unfit(err)
		}
	}
	p, err := s.c.Check(r.Context(), cert)
	if err != nil {
		return nil, err
	}
	return p.as("ClientCert"), nil
}

func (*clientCert) Challenges(*http.Request, Code) []Challenge { return nil }

// ClientCertificate returns the certificate that the client of the request with
// this context proved to hold, on its connection or, with
// Config.ClientCertFromProxies, to a trusted proxy; or nil. It may be anybody's: nothing of it was judged but that the client has its key.
func ClientCertificate(ctx context.Context) *x509.Certificate {
	if st := stateOf(ctx); st != nil && len(st.certs) > 0 {
		return st.certs[0]
	}
	return nil
}

func isCert(s Scheme) bool { _, ok := s.(*clientCert); return ok }

// takesCerts reports whether a route accepts client certificates.
func (g *Guard) takesCerts(to *route) bool {
	return slices.ContainsFunc(to.schemes, func(i int) bool { return isCert(g.c.Schemes[i]) })
}

// What a certificate may cost before anybody is known. Each is far above what there
// is.
const (
	maxCertificate = 16 << 10 // octets of a proxy's field line
	maxChain       = 8        // certificates beside the client's own
	maxRSA         = 8192     // bits of a key in a proxy's field, as crypto/tls has it on connections
)

// readCertificates finds those that came with r. A proxy's own are no
// client's.
func (st *requestState) readCertificates(r *http.Request) {
	switch {
	case st.fromProxy && st.guard.c.ClientCertFromProxies && !st.route.proxy:
		var err error
		if st.certs, err = forwardedCertificates(r.Header); err != nil {
			st.forwardingErr = err.Error()
		}
	case !st.fromProxy && r.TLS != nil:
		st.certs = r.TLS.PeerCertificates
	}
}

// removeClientCert takes out of r, but not out of the request it was made of, what
// a client says of itself (RFC 9440 s4). A forward proxy leaves it in (RFC 9440
// s2.4).
func (st *requestState) removeClientCert(r *http.Request) {
	if st.route.proxy || st.fromProxy && st.guard.c.ClientCertFromProxies || r.Header["Client-Cert"] == nil && r.Header["Client-Cert-Chain"] == nil {
		return
	}
	r.Header = r.Header.Clone()
	delete(r.Header, "Client-Cert")
	delete(r.Header, "Client-Cert-Chain")
}

// forwardedCertificates returns the certificates in the fields of a trusted proxy,
// the client's own first.
func forwardedCertificates(h http.Header) ([]*x509.Certificate, error) {
	lines := h["Client-Cert"]
	if len(lines) == 0 {
		return nil, nil
	}
	if len(lines) > 1 || len(lines[0]) > maxCertificate {
		return nil, errors.New("Client-Cert from a trusted proxy is there twice or too long")
	}
	cert, err := byteSequence(strings.Trim(lines[0], " "))
	if err != nil {
		return nil, fmt.Errorf("Client-Cert from a trusted proxy cannot be read: %w", err)
	}
	all := []*x509.Certificate{cert}
	for _, line := range h["Client-Cert-Chain"] {
		for member := range strings.SplitSeq(line, ",") {
			if len(line) > maxCertificate || len(all) > maxChain {
				return nil, errors.New("Client-Cert-Chain from a trusted proxy is too long")
			}
			if cert, err = byteSequence(strings.Trim(member, " \t")); err != nil {
				return nil, fmt.Errorf("Client-Cert-Chain from a trusted proxy cannot be read: %w", err)
			}
			all = append(all, cert)
		}
	}
	return all, nil
}

// byteSequence reads a certificate in DER between colons (RFC 9440 s2.1, RFC 9651
// s4.2.7), in the one spelling that it has.
func byteSequence(text string) (*x509.Certificate, error) {
	der, err := base64.StdEncoding.DecodeString(strings.Trim(text, ":"))
	if err != nil || text != ":"+base64.StdEncoding.EncodeToString(der)+":" {
		return nil, errors.New("not a byte sequence")
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if key, ok := cert.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxRSA {
		return nil, fmt.Errorf("an RSA key of %d bits, at most %d are read", key.N.BitLen(), maxRSA)
	}
	return cert, nil
}

// misdirected says why the Host of r is not what its connection was opened for,
// or "".
func misdirected(r *http.Request) string {
	if r.TLS == nil {
		return ""
	}
	host := strings.ToLower(strings.TrimSuffix(hostOf(r.Host), "."))
	name := strings.ToLower(r.TLS.ServerName)
	if host == name {
		return ""
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil && name == "" {
		return "" // RFC 6066 s3: an address is never named
	}
	return fmt.Sprintf("the connection was opened for %q", name)
}

// hostOf is a Host field without its port.
func hostOf(host string) string {
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		return host[:i]
	}
	return host
}

// certificateRequired turns the refusal of a route that takes certificates alone
// into what says so. No certificate steps up.
func (g *Guard) certificateRequired(f *Refusal) {
	code := ClientCertificateRequired
	if f.Code == StepUpRequired {
		code = Forbidden
	}
	row := table[code]
	f.Code, f.Status, f.Detail, f.Hint = code, row.status, row.detail, row.hint
	if hint, ok := g.c.Hints[f.Code]; ok {
		f.Hint = hint
	}
}
