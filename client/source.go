package client

import (
	"crypto/tls"
	"net/http"

	"github.com/durward-auth/durward"
)

// CertificateConfig is what [Certificate] is made of.
type CertificateConfig struct {
	Origin string // https alone
	// Get returns the certificate and key to show; it is asked in each handshake, so that
	// a renewed one is used at once.
	Get func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
}

// Certificate returns a source that shows a client certificate to one origin and to no
// other: connections to it are its own.
func Certificate(c CertificateConfig) Source {
	s := &certificate{get: c.Get}
	s.origin, s.wrong = parseOrigin(c.Origin)
	return s
}

type certificate struct {
	origin origin
	wrong  error
	get    func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
}

func (c *certificate) mistakes() (all []string) {
	switch {
	case c.wrong != nil:
		all = append(all, "Origin: "+c.wrong.Error())
	case c.origin.scheme != "https":
		all = append(all, "Origin: a certificate is shown by https alone")
	}
	if c.get == nil {
		all = append(all, "Get is nil: it needs a function that returns a certificate")
	}
	return all
}

func (c *certificate) Authorize(*http.Request, []durward.Challenge) error { return ErrNoAnswer }
func (c *certificate) answer(*attempt, []durward.Challenge) error         { return ErrNoAnswer }
func (c *certificate) observe(*attempt, *http.Response) error             { return nil }

// KeyConfig is what [Key] is made of. Origin and Key are required.
type KeyConfig struct {
	Origin string

	// Key is sent with each request to Origin: as X-API-Key, or as a Bearer token with
	// AsBearer.
	Key      string
	AsBearer bool

	// InsecureHTTP sends it over plain http, where everybody on the way can read it.
	InsecureHTTP bool
}

// Key returns a source that sends an API key with each request to one origin.
func Key(c KeyConfig) Source {
	s := &apiKeySource{c: c}
	s.origin, s.wrong = parseOrigin(c.Origin)
	return s
}

type apiKeySource struct {
	c      KeyConfig
	origin origin
	wrong  error
}

func (k *apiKeySource) mistakes() (all []string) {
	switch {
	case k.wrong != nil:
		all = append(all, "Origin: "+k.wrong.Error())
	case !k.c.InsecureHTTP && !k.origin.confidential():
		all = append(all, "Origin: over plain http everybody on the way can read the key: use https, or say InsecureHTTP")
	}
	if (durward.Credentials{Scheme: "Bearer", Token68: k.c.Key}).Valid() != nil || k.c.Key == "" {
		all = append(all, "Key is empty or holds what no key holds")
	}
	return all
}

func (k *apiKeySource) Authorize(r *http.Request, offered []durward.Challenge) error {
	return authorize(k, r, offered)
}

func (k *apiKeySource) answer(a *attempt, offered []durward.Challenge) error {
	switch {
	case a.origin != k.origin || k.origin == (origin{}) || offered != nil:
		return ErrNoAnswer // what was refused has nothing to follow it
	case !k.c.AsBearer:
		a.r.Header["X-Api-Key"] = []string{k.c.Key}
	default:
		a.r.Header[a.field] = []string{"Bearer " + k.c.Key}
	}
	return nil
}

func (*apiKeySource) observe(*attempt, *http.Response) error { return nil }
