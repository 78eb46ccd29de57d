package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/retry"
)

// maxSends bounds how often one request is sent.
const maxSends = 6

// exchange is one request of a caller with everything that is sent for it.
type exchange struct {
	t      *Transport
	r      *http.Request   // the caller's; never changed
	ctx    context.Context // of r, with tunnels
	base   http.RoundTripper
	server peer
	proxy  *peer    // nil without a proxy, and for https, where CONNECT has the proxy's credentials
	tunnel *tunnels // nil without a source for the proxy
	steps  int64    // Transport.steps when the request was last sent
}

// peer is the server or the proxy: each may ask for credentials.
type peer struct {
	sources []source
	at      attempt
	refused []attempt // with the headers that were sent
	scopes  []string  // scopes of the challenges that were answered
	once    retry.Once
}

// run sends the request until no refusal is left that it can answer.
func (x *exchange) run() (*http.Response, error) {
	r := x.copy(x.r.Header)
	err := x.server.authorize(r)
	if err == nil && x.proxy != nil {
		err = x.proxy.authorize(r)
	}
	if err != nil {
		closeBody(r)
		return nil, err
	}
	var repeated retry.Once
	for sends := 1; ; sends++ {
		x.steps = x.t.steps.Load()
		resp, err := x.base.RoundTrip(r)
		if err != nil {
			refused, ok := errors.AsType[*tunnelError](err)
			if !ok || !refused.again {
				return nil, err
			}
			if sends == maxSends || !repeated.Allows(refused.reason) || !x.replayable() {
				x.tunnel.keep()
				return nil, err
			}
			// The proxy refused the tunnel, so the server has received nothing. The next CONNECT
			// has credentials.
			repeated.Use(refused.reason)
			if r, err = x.withBody(x.copy(r.Header)); err != nil {
				return nil, err
			}
			continue
		}
		if resp == nil {
			return nil, fmt.Errorf("durward: Base (%T) returned neither a response nor an error", x.base)
		}
		resp.Body = cmp.Or[io.ReadCloser](resp.Body, http.NoBody)
		resp.Request = x.r // the caller's own, without credentials
		if err := x.observe(resp); err != nil {
			_ = resp.Body.Close()
			return nil, err
		}
		if sends == maxSends {
			return resp, nil
		}
		next, err := x.react(r, resp)
		if next == nil && err == nil {
			return resp, nil
		}
		_ = resp.Body.Close()
		if err != nil {
			return nil, err
		}
		r = next
	}
}

// copy returns the caller's request, in the context ctx, with a copy of header, which sources may change.
func (x *exchange) copy(header http.Header) *http.Request {
	r := x.r.WithContext(x.ctx)
	r.Header = make(http.Header, len(header)+2)
	for name, values := range header {
		r.Header[name] = values[:len(values):len(values)] // an append to one copy must not reach another
	}
	return r
}

// replayable reports whether the body can be sent again.
func (x *exchange) replayable() bool {
	return x.r.Body == nil || x.r.Body == http.NoBody || x.r.GetBody != nil
}

// withBody gives r a new copy of the caller's body.
func (x *exchange) withBody(r *http.Request) (*http.Request, error) {
	if x.r.Body != nil && x.r.Body != http.NoBody {
		body, err := x.r.GetBody()
		if err != nil {
			return nil, fmt.Errorf("durward: cannot send the request again: GetBody: %w", err)
		}
		r.Body = body
	}
	return r, nil
}

// authorize puts credentials into r before the peer has asked for them.
func (p *peer) authorize(r *http.Request) error {
	p.at.r, p.at.from, p.at.state, p.at.reason, p.at.renewed = r, nil, nil, "", false
	for _, one := range p.sources {
		switch err := one.answer(&p.at, nil); {
		case err == nil:
			p.at.from = one
			return nil
		case err != ErrNoAnswer && !errors.Is(err, ErrNoAnswer):
			return err
		}
	}
	return nil
}

// observe passes a response to the sources that answered. The server has not seen a request that
// the proxy refused.
func (x *exchange) observe(resp *http.Response) error {
	if p := x.proxy; p != nil {
		if p.at.from != nil {
			if err := p.at.from.observe(&p.at, resp); err != nil {
				return err
			}
		}
		if resp.StatusCode == http.StatusProxyAuthRequired {
			return nil
		}
	}
	if p := &x.server; p.at.from != nil {
		return p.at.from.observe(&p.at, resp)
	}
	return nil
}

// react returns the next request to send after resp, or nil if the caller gets resp.
func (x *exchange) react(r *http.Request, resp *http.Response) (next *http.Request, err error) {
	p, name := &x.server, "server"
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusBadRequest:
	case http.StatusProxyAuthRequired:
		p, name = x.proxy, "proxy"
	default:
		return nil, nil
	}
	if p == nil || len(p.sources) == 0 || !x.replayable() || p.issues(x.r.URL) {
		return nil, nil
	}
	challenges := parseChallenges(resp.Header[challengeField(resp.StatusCode)])
	more, bySource := insufficient(challenges)
	answerable := p.answerable(resp.StatusCode, challenges)
	if more == nil && len(answerable) == 0 {
		return nil, nil
	}
	retry.Buffer(resp)
	// Image registries ask for more scope with a 401: a source may have a token for it.
	if len(answerable) > 0 && (more == nil || bySource) {
		next, err = x.answer(p, r, answerable)
	}
	if next == nil && more != nil && (err == nil || declined(err)) && x.mayStepUp() {
		next, err = x.stepUp(r, *more)
	}
	if err != nil && x.r.Context().Err() == nil {
		err = fmt.Errorf("durward: the %s wants %s: %w", name, describe(challenges), err)
	}
	if next == nil || err != nil {
		return nil, err
	}
	return x.withBody(next)
}

// declined reports whether the authorization server refused a token that a user may still get:
// after an outage or the end of the sign-in a step-up cannot succeed.
func declined(err error) bool {
	_, ok := errors.AsType[*ResponseError](err)
	_, later := errors.AsType[*RetryError](err)
	return ok && !later && !errors.Is(err, ErrSignedOut)
}

// answerable returns the challenges of a refusal that the sources may answer.
//
// RFC 6750 s3.1 recommends 401 for invalid_token, so other servers send it with 400 or 403. Such a
// status without this reason refuses the request, not its credentials.
//
// A 401 must have a challenge (RFC 9110 s15.5.2), but many APIs send none, or that of a password
// dialog. Then the refused token implies a challenge of its own scheme.
func (p *peer) answerable(status int, challenges []durward.Challenge) []durward.Challenge {
	switch status {
	case http.StatusBadRequest, http.StatusForbidden:
		return slices.DeleteFunc(slices.Clone(challenges), func(c durward.Challenge) bool {
			reason, ok := reasonOf(c)
			return !ok || reason != retry.InvalidToken && reason != retry.Claims
		})
	case http.StatusUnauthorized:
		scheme := p.tokenScheme()
		named := func(c durward.Challenge) bool {
			_, hasError := c.Param("error")
			return isToken(c) && hasError || strings.EqualFold(c.Scheme, scheme)
		}
		if scheme != "" && !slices.ContainsFunc(challenges, named) {
			return append(slices.Clone(challenges), durward.Challenge{Scheme: scheme})
		}
	}
	return challenges
}

// tokenScheme returns the scheme of the token in the latest request, or the empty string if it has
// no token of a source of this package.
func (p *peer) tokenScheme() string {
	switch t, ok := p.at.state.(*currentToken); {
	case !ok:
		return ""
	case t.bound():
		return "DPoP"
	}
	return "Bearer"
}

// issues reports whether u is an endpoint where a source gets its credentials. A refusal from there
// concerns the content of the request.
func (p *peer) issues(u *url.URL) bool {
	return slices.ContainsFunc(p.sources, func(s source) bool {
		t, ok := s.(*tokens)
		return ok && t.issues(u)
	})
}

// answer returns the request with an answer to the strongest challenge that a source can answer, or
// nil.
func (x *exchange) answer(p *peer, last *http.Request, challenges []durward.Challenge) (*http.Request, error) {
	refused := p.at
	refused.r = last
	p.refused = append(p.refused, refused)
	slices.SortStableFunc(challenges, strongestFirst)
	for _, c := range challenges {
		reason, ok := p.mayAnswer(c)
		if !ok {
			continue
		}
		for _, one := range p.sources {
			a := p.at
			a.state, a.reason = p.stateOf(one), reason
			a.r = x.without(last, p, one)
			err := one.answer(&a, []durward.Challenge{c})
			if err == nil && p.wasRefused(a.r.Header) {
				err = ErrNoAnswer // RFC 9110 s15.5.2: never send refused credentials again
			}
			if errors.Is(err, ErrNoAnswer) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if reason != "" {
				p.once.Use(reason)
			}
			if scope, ok := c.Param("scope"); ok {
				p.scopes = append(p.scopes, scope)
			}
			a.from = one
			p.at = a
			return a.r, x.renewProxy(p, a.r)
		}
	}
	return nil, nil
}

// stateOf returns the record of the latest answer of a source to this peer, or nil.
func (p *peer) stateOf(one source) any {
	for _, a := range slices.Backward(p.refused) {
		if a.from == one {
			return a.state
		}
	}
	return nil
}

// mayAnswer reports whether to answer c: its reason is known and was not answered before. A
// challenge without a reason refuses the token that was sent, or else may be answered again, with
// other credentials. An origin that has accepted a token is not given a password.
func (p *peer) mayAnswer(c durward.Challenge) (reason retry.Reason, ok bool) {
	reason, ok = reasonOf(c)
	if reason == "" && strings.EqualFold(c.Scheme, p.tokenScheme()) {
		reason = retry.InvalidToken
	}
	if isPassword(c) && slices.ContainsFunc(p.sources, func(s source) bool { return s.acceptedToken(p.at.origin) }) {
		return reason, false
	}
	if !ok || reason == "" {
		return reason, ok
	}
	if scope, _ := c.Param("scope"); reason == retry.StepUp && slices.Contains(p.scopes, scope) {
		return reason, false // the refused token was issued for this scope
	}
	return reason, p.once.Allows(reason)
}

// without returns a copy of the last request without the credentials of sources other than one: the
// peer refused them. When the proxy refuses, the server's credentials stay.
func (x *exchange) without(last *http.Request, p *peer, one source) *http.Request {
	switch {
	case p.at.from == one:
		return x.copy(last.Header)
	case p == x.proxy:
		r := x.copy(last.Header)
		delete(r.Header, p.at.field())
		return r
	}
	return x.copy(x.r.Header)
}

// renewProxy puts a new answer to the proxy into r, a new request for the server. The proxy
// accepted the last answer, and its nonce count must not be sent twice (RFC 7616 s3.4).
func (x *exchange) renewProxy(p *peer, r *http.Request) error {
	if p == x.proxy || x.proxy == nil || x.proxy.at.from == nil {
		return nil
	}
	delete(r.Header, x.proxy.at.field())
	return x.proxy.authorize(r)
}

// wasRefused reports whether the peer refused a request with the same header.
func (p *peer) wasRefused(header http.Header) bool {
	return slices.ContainsFunc(p.refused, func(a attempt) bool {
		return maps.EqualFunc(p.visible(a.r.Header), p.visible(header), slices.Equal)
	})
}

// visible returns the fields that reach the peer: the server does not see the proxy's credentials.
func (p *peer) visible(h http.Header) http.Header {
	if p.at.toProxy {
		return h
	}
	h = maps.Clone(h)
	delete(h, "Proxy-Authorization")
	return h
}

// mayStepUp reports whether stepUp may be called.
func (x *exchange) mayStepUp() bool { return x.t.OnStepUp != nil && x.server.once.Allows(retry.StepUp) }

// stepUp calls OnStepUp and returns the request with the credentials that the sources have then.
func (x *exchange) stepUp(r *http.Request, c durward.Challenge) (*http.Request, error) {
	p := &x.server
	select {
	case x.t.stepping <- struct{}{}:
		defer func() { <-x.t.stepping }()
	case <-x.r.Context().Done():
		return nil, x.r.Context().Err()
	}
	if x.t.steps.Load() == x.steps { // else another request's step-up may be enough
		p.once.Use(retry.StepUp)
		s := StepUp{Request: x.r, Challenge: c}
		acr, _ := c.Param("acr_values")
		scope, _ := c.Param("scope")
		s.ACRValues, s.Scopes = strings.Fields(acr), strings.Fields(scope)
		s.MaxAge, _ = c.Param("max_age")
		s.Claims = claimsOf(c)
		if err := x.t.OnStepUp(x.r.Context(), s); err != nil {
			return nil, fmt.Errorf("a step-up: %w", err)
		}
		x.t.steps.Add(1)
		for _, one := range p.sources {
			if t, ok := one.(*tokens); ok {
				t.reload()
			}
		}
	}
	next := x.without(r, p, nil)
	if err := p.authorize(next); err != nil {
		return nil, err
	}
	return next, x.renewProxy(p, next)
}
