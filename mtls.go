package durward

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// ClientCertConfig is the configuration of the [ClientCert] scheme. Check is required, and Roots or
// Keys.
type ClientCertConfig struct {
	// Roots are the authorities whose client certificates are accepted. Validity, chain and
	// extended key usage are verified for each request, also on a resumed connection.
	Roots *x509.CertPool

	// Keys are SHA-256 hashes of public keys (SubjectPublicKeyInfo) that are accepted within the
	// certificate's validity, whichever authority signed it.
	Keys [][sha256.Size]byte

	// Check returns the principal of a verified certificate, or an error: a [Code] refuses, any
	// other error is [AuthUnavailable]. The context is the request's.
	Check func(ctx context.Context, cert *x509.Certificate) (*Principal, error)
}

// ClientCert returns the scheme of TLS client certificates (RFC 8446 s4.4.2). The listener must
// request one: tls.Config.ClientAuth is tls.RequestClientCert or tls.VerifyClientCertIfGiven.
// Behind a proxy in Config.Proxies the certificate is read from the fields of
// Config.ClientCertFormat, if Config.ClientCertFromProxies is set.
//
// A browser sends certificates by itself, so they are ambient like cookies; a certificate takes
// precedence over a cookie. There is no challenge for certificates: a route that accepts nothing
// else answers [ClientCertificateRequired] to requests without a valid one. A request for
// another Host than the name of its connection is [MisdirectedRequest], because the
// certificate was requested by the rules of the other name.
func ClientCert(c ClientCertConfig) Scheme { return &clientCert{c} }

type clientCert struct{ c ClientCertConfig }

func (s *clientCert) mistakes(report func(string, ...any)) {
	if s.c.Check == nil {
		report("ClientCert: Check is nil: pass a function that returns the principal of a certificate")
	}
	if s.c.Roots == nil && len(s.c.Keys) == 0 {
		report("ClientCert: neither Roots nor Keys: no certificate would be accepted")
	}
}

func (*clientCert) Presented(r *http.Request) (found, ambient bool) {
	return ClientCertificate(r.Context()) != nil, true
}

func (s *clientCert) Authenticate(r *http.Request) (*Principal, error) {
	st := stateOf(r.Context())
	cert, now := st.certs[0], st.guard.c.Now()
	refuse := func(why error) (*Principal, error) {
		return nil, fmt.Errorf("client certificate %x: %w: %w", sha256.Sum256(cert.Raw), why, AuthenticationRequired)
	}
	switch {
	case slices.Contains(s.c.Keys, sha256.Sum256(cert.RawSubjectPublicKeyInfo)):
		if now.Before(cert.NotBefore) || now.After(cert.NotAfter) {
			return refuse(fmt.Errorf("valid from %s to %s", cert.NotBefore, cert.NotAfter))
		}
	case s.c.Roots == nil:
		return refuse(errors.New("its key is not in Keys"))
	case len(st.certs) > 1+maxChain:
		return refuse(fmt.Errorf("%d certificates beside it, at most %d are used", len(st.certs)-1, maxChain))
	default:
		between := x509.NewCertPool()
		for _, c := range st.certs[1:] {
			between.AddCert(c)
		}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: s.c.Roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			return refuse(err)
		}
	}
	p, err := s.c.Check(r.Context(), cert)
	return p.as("ClientCert"), err
}

func (*clientCert) Challenges(*http.Request, Code) []Challenge { return nil }

// ClientCertificate returns the certificate whose key the client of the request with this context
// proved to hold, on its connection or, with Config.ClientCertFromProxies, to a trusted proxy;
// otherwise nil. The certificate itself is not verified: any client can create one.
func ClientCertificate(ctx context.Context) *x509.Certificate {
	if st := stateOf(ctx); st != nil && len(st.certs) > 0 {
		return st.certs[0]
	}
	return nil
}

func isCert(s Scheme) bool { _, ok := s.(*clientCert); return ok }

// takesCerts reports whether a route with schemes accepts client certificates.
func (g *Guard) takesCerts(schemes []int) bool {
	return slices.ContainsFunc(schemes, func(i int) bool { return isCert(g.c.Schemes[i]) })
}

// readCertificates reads the client's certificates. The certificates of a proxy are not those of
// its clients.
func (st *requestState) readCertificates(r *http.Request) {
	switch {
	case st.fromProxy && st.guard.c.ClientCertFromProxies && !st.route.proxy:
		var err error
		if st.certs, err = st.guard.certFormat.read(r.Header); err != nil {
			st.certErr = err.Error()
		}
	case !st.fromProxy && r.TLS != nil:
		st.certs = r.TLS.PeerCertificates
	}
}

// removeClientCert removes the certificate fields that the client itself sent (RFC 9440 s4) from r,
// but not from the request that r was copied from. A forward proxy leaves them (RFC 9440 s2.4).
func (st *requestState) removeClientCert(r *http.Request) {
	if st.route.proxy {
		return
	}
	g, copied := st.guard, false
	for _, field := range g.certFields {
		if r.Header[field] == nil || st.fromProxy && g.c.ClientCertFromProxies && slices.Contains(g.certFormat.fields, field) {
			continue
		}
		if !copied {
			r.Header, copied = r.Header.Clone(), true
		}
		delete(r.Header, field)
	}
}

// misdirected returns why the Host of r does not match the connection, or "".
func misdirected(r *http.Request) string {
	if r.TLS == nil {
		return ""
	}
	host := strings.ToLower(strings.TrimSuffix((&url.URL{Host: r.Host}).Hostname(), "."))
	name := strings.ToLower(r.TLS.ServerName)
	if host == name {
		return ""
	}
	if _, err := netip.ParseAddr(host); err == nil && name == "" {
		return "" // RFC 6066 s3: addresses have no server name
	}
	return fmt.Sprintf("the connection was opened for %q", name)
}
