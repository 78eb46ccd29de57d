package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"

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
		return all, tunnelsOf(ctx).authorize(t.tunnel(ctx, proxy, target, all))
	}
	h.OnProxyConnectResponse = func(
		ctx context.Context, proxy *url.URL, connect *http.Request, resp *http.Response,
	) error {
		if response != nil {
			if err := response(ctx, proxy, connect, resp); err != nil {
				return err
			}
		}
		return tunnelsOf(ctx).observe(t.tunnel(ctx, proxy, connect.Host, make(http.Header)), connect, resp)
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

// tunnels are the CONNECT requests of one request, in its context. There may be more than one:
// http.Transport goes on with a tunnel that the request no longer waits for.
type tunnels struct {
	mu   sync.Mutex
	sent []attempt // with credentials, without a response yet
	next *attempt  // the answer to the latest refusal, for one CONNECT
}

type tunnelsKey struct{}

// tunnelsOf returns the tunnels of the request that has this context.
func tunnelsOf(ctx context.Context) *tunnels { return ctx.Value(tunnelsKey{}).(*tunnels) }

// authorize puts credentials for p into the header of a CONNECT request: the answer to the proxy's
// refusal of this request's last CONNECT, or one made before the proxy asks.
func (o *tunnels) authorize(p peer) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	next := o.next
	o.next = nil
	if next != nil && next.origin == p.at.origin && next.r.Host == p.at.r.Host { // Proxy may choose another one
		p.at.from, p.at.state = next.from, next.state
		p.at.r.Header[p.at.field()] = next.r.Header[p.at.field()]
	} else if err := p.authorize(p.at.r); err != nil {
		return err
	}
	if p.at.from != nil {
		o.sent = append(o.sent, p.at)
	}
	return nil
}

// observe passes the response to a CONNECT request to the source that answered. It returns a
// *tunnelError for a refusal. The answer to its challenge is for the next CONNECT of the same request
// alone: with a shared nonce, another tunnel's higher count could reach the proxy first, and the proxy
// would refuse this one as stale, again and again.
func (o *tunnels) observe(p peer, connect *http.Request, resp *http.Response) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	field := p.at.field()
	before := p.at
	i := slices.IndexFunc(o.sent, func(a attempt) bool {
		return slices.Equal(a.r.Header[field], connect.Header[field])
	})
	if i >= 0 {
		before = o.sent[i]
		o.sent = slices.Delete(o.sent, i, i+1)
		if err := before.from.observe(&before, resp); err != nil {
			return err
		}
	}
	if resp.StatusCode != http.StatusProxyAuthRequired {
		return nil
	}
	refused := &tunnelError{challenges: parseChallenges(resp.Header["Proxy-Authenticate"]), reason: retry.TunnelRefused}
	switch {
	case before.from != nil:
		refused.reason = retry.Stale
	case connect.Header[field] != nil:
		return refused // credentials of the application
	}
	slices.SortStableFunc(refused.challenges, strongestFirst)
	for _, c := range refused.challenges {
		for _, one := range p.sources {
			if _, ok := one.(*password); !ok {
				continue
			}
			next := p.at
			if next.from = one; one == before.from {
				next.state = before.state
			}
			switch err := one.answer(&next, []durward.Challenge{c}); {
			case err == nil:
				o.next, refused.again = &next, true
				return refused
			case !errors.Is(err, ErrNoAnswer):
				return err
			}
		}
	}
	return refused
}

// keep hands the answer to the latest refusal to its source, for other requests: this one cannot be
// sent again.
func (o *tunnels) keep() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.next != nil {
		o.next.from.(*password).offer(o.next.state.(*answered))
		o.next = nil
	}
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
