package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/durward-auth/durward"
)

// throughProxy returns a copy of h that answers the proxy where a tunnel is asked for.
// The header of a tunnelled request is not the proxy's to read, so that this goes by
// the hooks of CONNECT.
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
		s := t.tunnel(ctx, proxy, target, all)
		if err := s.ahead(s.at.r); err != nil {
			return nil, err
		}
		return all, nil
	}
	h.OnProxyConnectResponse = func(ctx context.Context, proxy *url.URL, connect *http.Request, resp *http.Response) error {
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

// tunnel is the side of a proxy that is asked to CONNECT.
func (t *Transport) tunnel(ctx context.Context, proxy *url.URL, target string, header http.Header) side {
	r := (&http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: target}, Host: target, Header: header}).WithContext(ctx)
	return side{sources: t.proxies, at: attempt{r: r, origin: originOf(proxy), field: "Proxy-Authorization"}}
}

// proxyRefusal is a 407 to CONNECT.
type proxyRefusal struct {
	challenges []durward.Challenge
	again      bool // the next CONNECT will have an answer
	reason     int  // unstale where credentials were sent, else renewed
}

// Error says what the proxy wants.
func (e *proxyRefusal) Error() string {
	return fmt.Sprintf("durward: the proxy refuses the tunnel (407): it wants %s", schemesOf(e.challenges))
}

// tunnelRefused lets a source learn what the proxy asked for, so that the next CONNECT
// has it.
func (t *Transport) tunnelRefused(ctx context.Context, proxy *url.URL, connect *http.Request, resp *http.Response) error {
	challenges, _ := durward.ParseChallenges(resp.Header["Proxy-Authenticate"])
	refused := &proxyRefusal{challenges: challenges, reason: renewed}
	sent := connect.Header.Get("Proxy-Authorization")
	if sent != "" {
		refused.reason = unstale
	}
	s := t.tunnel(ctx, proxy, connect.Host, make(http.Header))
	for _, one := range s.sources {
		p, ok := one.(*password)
		if !ok {
			continue
		}
		if err := p.learn(&s.at, sent, challenges); err == nil {
			refused.again = true
			break
		} else if !errors.Is(err, ErrNoAnswer) {
			return err
		}
	}
	return refused
}

// findProxy makes the side of the proxy that a plain request goes through.
func (x *exchange) findProxy() error {
	if x.t.direct.Proxy == nil {
		return nil
	}
	proxy, err := x.t.direct.Proxy(x.r)
	if err != nil || proxy == nil || proxy.User != nil {
		return err
	}
	x.proxy = &side{sources: x.t.proxies, at: attempt{origin: originOf(proxy), field: "Proxy-Authorization"}}
	return nil
}
