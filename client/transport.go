package client

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/durward-auth/durward"
)

// Transport is an [http.RoundTripper] that adds credentials to requests and answers the challenges
// of 401 and 407 responses. The package comment describes how it reacts to each refusal.
//
// The zero Transport sends no credentials. Do not change its fields after its first use. It is safe
// for concurrent use.
type Transport struct {
	// Base sends the requests; nil means [http.DefaultTransport]. [Certificate] and ProxySources
	// need an [*http.Transport]; the Transport makes copies of it.
	Base http.RoundTripper

	// Sources hold the credentials for servers. If two can answer a challenge, the first does.
	Sources []Source

	// ProxySources hold the credentials for the forward proxy that Base uses; their Origin is the
	// proxy's. Only [Password] answers a 407 to CONNECT. A source of the application can only send
	// its credentials with the first CONNECT.
	ProxySources []Source

	// OnStepUp is called when the server accepts the credentials but wants more: a stronger or
	// newer sign-in (RFC 9470 s3), or a scope (RFC 6750 s3.1) or claims (Microsoft Entra ID) that
	// no source has a token for. If it returns nil, the request is sent once more; an error ends
	// the request. If OnStepUp is nil, the caller gets the response.
	//
	// It is called for one request at a time. Requests that wait meanwhile are sent again first.
	// It must not send requests through this Transport.
	OnStepUp func(ctx context.Context, s StepUp) error

	once         sync.Once
	mistakes     error
	base         http.RoundTripper
	byOrigin     map[origin]http.RoundTripper // transports with a client certificate
	direct       *http.Transport              // base, if it is an *http.Transport
	sources      []source                     // of Sources
	proxySources []source                     // of ProxySources

	stepping chan struct{} // holds one element while OnStepUp runs
	steps    atomic.Int64  // number of successful calls of OnStepUp
}

// A StepUp describes the stronger or newer sign-in, or the scopes, that a server requires.
type StepUp struct {
	Request   *http.Request     // the refused request; do not change it
	Challenge durward.Challenge // as the server sent it
	ACRValues []string          // acr_values, in the server's order of preference (RFC 9470 s3)
	MaxAge    string            // max_age in seconds; empty if the server accepts any age
	Scopes    []string          // all needed scopes; empty if the server names none
	Claims    string            // JSON of a claims challenge of Microsoft Entra ID; empty if there is none
}

// New returns an HTTP client that sends the credentials of sources. It panics on a mistake in
// them; [CheckSources] returns it as an error.
func New(sources ...Source) *http.Client {
	t := &Transport{Sources: sources}
	if err := t.prepare(); err != nil {
		panic(err)
	}
	return &http.Client{Transport: t}
}

// prepare checks the configuration and derives the private fields, once.
func (t *Transport) prepare() error {
	t.once.Do(func() {
		var all []error
		mistake := func(format string, args ...any) {
			all = append(all, fmt.Errorf("durward: Transport: "+format, args...))
		}
		each := func(name string, sources []Source) (own []source) {
			for i, s := range sources {
				if s == nil {
					mistake("%s %d is nil", name, i)
					continue
				}
				one := asSource(s)
				for _, m := range one.mistakes() {
					mistake("%s %d: %s", name, i, m)
				}
				own = append(own, one)
			}
			return own
		}
		t.sources, t.proxySources = each("source", t.Sources), each("proxy source", t.ProxySources)
		t.stepping, t.byOrigin = make(chan struct{}, 1), make(map[origin]http.RoundTripper)
		t.base = cmp.Or(t.Base, http.DefaultTransport)
		t.direct, _ = t.base.(*http.Transport)
		if len(t.proxySources) > 0 {
			if t.direct == nil {
				mistake("ProxySources need an *http.Transport as Base, not %T", t.base)
			} else {
				t.direct = t.throughProxy(t.direct)
				t.base = t.direct
			}
		}
		for _, s := range t.sources {
			c, ok := s.(*certificate)
			switch {
			case !ok:
			case t.direct == nil:
				mistake("Certificate needs an *http.Transport as Base, not %T", t.base)
			default:
				h := t.direct.Clone()
				h.TLSClientConfig = cmp.Or(h.TLSClientConfig, new(tls.Config))
				h.TLSClientConfig.GetClientCertificate = c.get
				t.byOrigin[c.origin] = h
			}
		}
		t.mistakes = errors.Join(all...)
	})
	return t.mistakes
}

// CloseIdleConnections closes the connections that serve no request.
func (t *Transport) CloseIdleConnections() {
	_ = t.prepare()
	for _, b := range append(slices.Collect(maps.Values(t.byOrigin)), t.base) {
		if c, ok := b.(interface{ CloseIdleConnections() }); ok {
			c.CloseIdleConnections()
		}
	}
}

// RoundTrip sends a request and answers the challenges of its refusals. A refusal that it cannot
// answer is returned as it came.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	err := t.prepare()
	if err == nil && r.URL == nil {
		err = errors.New("durward: the request has no URL")
	}
	if err != nil {
		closeBody(r)
		return nil, err
	}
	x := &exchange{t: t, r: r, ctx: r.Context(), base: t.base}
	x.server = peer{sources: t.sources, at: attempt{origin: originOf(r.URL)}}
	if b, ok := t.byOrigin[x.server.at.origin]; ok {
		x.base = b
	}
	if r.Header["Authorization"] != nil {
		x.server.sources = nil
	}
	if len(t.proxySources) > 0 {
		x.tunnel = new(tunnels)
		x.ctx = context.WithValue(x.ctx, tunnelsKey{}, x.tunnel)
		if r.URL.Scheme == "http" && r.Header["Proxy-Authorization"] == nil {
			if err := x.findProxy(); err != nil {
				closeBody(r)
				return nil, err
			}
		}
	}
	return x.run()
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}
