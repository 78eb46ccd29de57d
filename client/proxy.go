package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/retry"
)

// throughProxy returns a copy of h that sends credentials with CONNECT. The proxy does not see the
// header of a request inside a tunnel, so this needs the hooks of http.Transport for CONNECT.
func (t *Transport) throughProxy(h *http.Transport) *http.Transport {
	h = h.Clone()
	header, response := h.GetProxyConnectHeader, h.OnProxyConnectResponse
	h.GetProxyConnectHeader = func(ctx context.Context, proxy *url.URL, target string) (http.Header, error) {
		all := h.ProxyConnectHeader.Clone()
		if header != nil {
			own, err := header(ctx, proxy, target)
			if err != nil {
				return nil, err
			}
			all = own.Clone()
		}
		if all == nil {
			all = make(http.Header)
		}
		if all["Proxy-Authorization"] != nil || proxy.User != nil {
			return all, nil
		}
		p := t.tunnel(ctx, proxy, target, all)
		return all, p.authorize(p.at.r)
	}
	h.OnProxyConnectResponse = func(
		ctx context.Context, proxy *url.URL, connect *http.Request, resp *http.Response,
	) error {
		if response != nil {
			if err := response(ctx, proxy, connect, resp); err != nil {
				return err
			}
		}
		if resp.StatusCode != http.StatusProxyAuthRequired {
			return nil
		}
		return t.tunnelRefused(ctx, proxy, connect, resp)
	}
	return h
}

// tunnel returns the proxy as the peer of a CONNECT request with this header.
func (t *Transport) tunnel(ctx context.Context, proxy *url.URL, target string, header http.Header) peer {
	r := (&http.Request{
		Method: http.MethodConnect,
		URL:    &url.URL{Opaque: target},
		Host:   target,
		Header: header,
	}).WithContext(ctx)
	return peer{
		sources: t.proxySources,
		at:      attempt{r: r, origin: originOf(proxy), toProxy: true},
	}
}

// tunnelError is a 407 response to CONNECT.
type tunnelError struct {
	challenges []durward.Challenge
	again      bool         // the next CONNECT will have an answer
	reason     retry.Reason // for the next CONNECT
}

// Error lists the challenges of the proxy.
func (e *tunnelError) Error() string {
	return fmt.Sprintf("durward: the proxy refuses the tunnel (407): it wants %s", describe(e.challenges))
}

// tunnelRefused lets a source read the proxy's challenges, so that the next CONNECT has an answer.
func (t *Transport) tunnelRefused(
	ctx context.Context, proxy *url.URL, connect *http.Request, resp *http.Response,
) error {
	challenges := parseChallenges(resp.Header["Proxy-Authenticate"])
	refused := &tunnelError{challenges: challenges, reason: retry.TunnelRefused}
	sent := connect.Header.Get("Proxy-Authorization")
	if sent != "" {
		refused.reason = retry.Stale
	}
	p := t.tunnel(ctx, proxy, connect.Host, make(http.Header))
	for _, one := range p.sources {
		password, ok := one.(*password)
		if !ok {
			continue
		}
		switch err := password.learn(&p.at, sent, challenges); {
		case err == nil:
			refused.again = true
			return refused
		case !errors.Is(err, ErrNoAnswer):
			return err
		}
	}
	return refused
}

// findProxy sets the proxy of a request over plain http.
func (x *exchange) findProxy() error {
	if x.t.direct.Proxy == nil {
		return nil
	}
	proxy, err := x.t.direct.Proxy(x.r)
	if err != nil || proxy == nil || proxy.User != nil {
		return err
	}
	x.proxy = &peer{
		sources: x.t.proxySources,
		at:      attempt{origin: originOf(proxy), toProxy: true},
	}
	return nil
}
