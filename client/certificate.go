package client

import (
	"crypto/tls"

	"github.com/durward-auth/durward"
)

// CertificateConfig configures [Certificate]. Both fields are required.
type CertificateConfig struct {
	Origin string // such as https://api.example.com; https only

	// Get returns the certificate and its key. Each TLS handshake calls it, so a renewed
	// certificate is used at once.
	Get func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
}

// Certificate returns a source that presents a client certificate to one origin. Connections to
// that origin are separate from all others, so no other origin sees the certificate.
func Certificate(c CertificateConfig) Source {
	s := &certificate{get: c.Get}
	s.origin = s.originIn("Origin", c.Origin, "", true)
	if s.origin.scheme == "http" {
		s.mistake("Origin: a client certificate needs https")
	}
	if c.Get == nil {
		s.mistake("Get is nil: set a function that returns the certificate")
	}
	return own{s}
}

type certificate struct {
	checked
	origin origin
	get    func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
}

func (c *certificate) answer(*attempt, []durward.Challenge) error { return ErrNoAnswer }
