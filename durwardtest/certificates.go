package durwardtest

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"testing"
	"time"
)

// CA is a certificate authority for tests.
type CA struct {
	Cert *x509.Certificate
	Pool *x509.CertPool // contains only Cert

	t   testing.TB
	key *ecdsa.PrivateKey
}

// NewCA creates a certificate authority.
func NewCA(t testing.TB) *CA {
	t.Helper()
	ca := &CA{t: t, Pool: x509.NewCertPool()}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "durwardtest"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	made := ca.make(template, template)
	ca.key = made.PrivateKey.(*ecdsa.PrivateKey)
	ca.Cert = made.Leaf
	ca.Pool.AddCert(ca.Cert)
	return ca
}

// Client creates a client certificate with a common name. change, if it is not nil, changes the
// certificate before it is signed.
func (ca *CA) Client(name string, change func(*x509.Certificate)) tls.Certificate {
	ca.t.Helper()
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if change != nil {
		change(template)
	}
	return ca.make(template, ca.Cert)
}

// Server creates a server certificate for host names and addresses.
func (ca *CA) Server(hosts ...string) tls.Certificate {
	ca.t.Helper()
	template := &x509.Certificate{KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	return ca.make(template, ca.Cert)
}

// make completes a template and signs it with the key of the authority; a template without one
// signs itself.
func (ca *CA) make(template, parent *x509.Certificate) tls.Certificate {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		ca.t.Fatalf("durwardtest: %v", err)
	}
	signer := cmp.Or(ca.key, key)
	template.NotBefore = cmp.Or(template.NotBefore, time.Now().Add(-time.Hour))
	template.NotAfter = cmp.Or(template.NotAfter, time.Now().Add(24*time.Hour))
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		ca.t.Fatalf("durwardtest: %v", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		ca.t.Fatalf("durwardtest: %v", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}
