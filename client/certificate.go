package client

import (
	"crypto/tls"
	"net/http"

	"github.com/durward-auth/durward"
)

// CertificateConfig configures [Certificate]. Both fields are required.
type CertificateConfig struct {
	Origin string // such as https://api.example.com; https only

	// Get returns the certificate and its key. Each TLS handshake calls it, so a renewed certificate
	// is used at once.
	Get func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
}

// Certificate returns a source that presents a client certificate to one origin. Connections to that
// origin are separate from all others, so no other origin sees the certificate.
func Certificate(c CertificateConfig) Source {
	s := &certificate{get: c.Get}
	s.origin, s.wrong = parseOrigin(c.Origin)
	return s
}

type certificate struct {
	defaults
	origin origin
	wrong  error // of Origin
	get    func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
}

func (c *certificate) mistakes() (all []string) {
	switch {
	case c.wrong != nil:
		all = append(all, "Origin: "+c.wrong.Error())
	case c.origin.scheme != "https":
		all = append(all, "Origin: a client certificate needs https")
	}
	if c.get == nil {
		all = append(all, "Get is nil: set a function that returns the certificate")
	}
	return all
}

func (c *certificate) clientCertificate() *certificate { return c }

func (c *certificate) Authorize(*http.Request, []durward.Challenge) error { return ErrNoAnswer }
func (c *certificate) answer(*attempt, []durward.Challenge) error         { return ErrNoAnswer }
