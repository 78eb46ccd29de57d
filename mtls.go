package durward

import (
	"context"
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
// that of the Client-Cert field (RFC 9440); from anybody else that field is
// removed.
//
// A browser sends certificates by itself, so they are ambient, as cookies are.
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
	v := visitOf(r.Context())
	cert, now := v.certs[0], v.guard.c.Now()
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
	default:
		between := x509.NewCertPool()
		for _, c := range v.certs[1:] {
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
// this context proved to hold, on its connection or to a trusted proxy, or nil. It
// may be anybody's: nothing of it was judged but that the client has its key.
func ClientCertificate(ctx context.Context) *x509.Certificate {
	if v := visitOf(ctx); v != nil && len(v.certs) > 0 {
		return v.certs[0]
	}
	return nil
}

// maxCertificate bounds the Client-Cert field, in octets.
const maxCertificate = 16 << 10

// certificates returns the certificates that came with r, the client's own first.
// A proxy that is trusted names the client's in a field; its own is no client's.
func certificates(r *http.Request, trusted bool) ([]*x509.Certificate, error) {
	lines := r.Header["Client-Cert"]
	if !trusted {
		// RFC 9440 s4: what a client says of itself there is removed.
		delete(r.Header, "Client-Cert")
		delete(r.Header, "Client-Cert-Chain")
		if r.TLS != nil {
			return r.TLS.PeerCertificates, nil
		}
		return nil, nil
	}
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
	for _, line := range r.Header["Client-Cert-Chain"] {
		if len(line) > maxCertificate || len(all) > 8 {
			return nil, errors.New("Client-Cert-Chain from a trusted proxy is too long")
		}
		for member := range strings.SplitSeq(line, ",") {
			if cert, err = byteSequence(strings.Trim(member, " \t")); err != nil {
				return nil, fmt.Errorf("Client-Cert-Chain from a trusted proxy cannot be read: %w", err)
			}
			all = append(all, cert)
		}
	}
	return all, nil
}

// byteSequence reads a certificate in DER between colons (RFC 9440 s2.1, RFC 9651
// s4.2.7).
func byteSequence(text string) (*x509.Certificate, error) {
	inner, ok := strings.CutPrefix(text, ":")
	if inner, ok2 := strings.CutSuffix(inner, ":"); ok && ok2 {
		if der, err := base64.StdEncoding.Strict().DecodeString(inner); err == nil {
			return x509.ParseCertificate(der)
		}
	}
	return nil, errors.New("not a byte sequence")
}

// misdirected says why the Host of r is not what its connection was opened for,
// or "".
func misdirected(r *http.Request) string {
	if r.TLS == nil {
		return ""
	}
	host := strings.ToLower(strings.TrimSuffix(hostOf(r.Host), "."))
	name := strings.ToLower(r.TLS.ServerName)
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil && name == "" {
		return "" // RFC 6066 s3: an address is never named
	}
	if host == name {
		return ""
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
// into what says so.
func (g *Guard) certificateRequired(f *Refusal) {
	row := table[ClientCertificateRequired]
	f.Code, f.Status, f.Detail, f.Hint = ClientCertificateRequired, row.status, row.detail, row.hint
	if hint, ok := g.c.Hints[f.Code]; ok {
		f.Hint = hint
	}
}
