package durward

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
)

// Transport is the other half of a [Guard]: an [http.RoundTripper] that answers a
// 401 as it should be answered, and a 407 of the proxy that it goes through.
//
// Credentials come from its Sources, each bound to the origins that it was made for.
// Nothing goes anywhere because a challenge asked for it, and nothing crosses a
// redirect to another origin. Of several challenges the strongest is answered that a
// source can answer: DPoP, then Bearer, an API key, Digest by SHA-512-256, SHA-256 and
// MD5, Basic. A password that was once sent in one way is never sent in a weaker one.
//
// What was refused is not sent again: the same challenge twice means stop, and the
// caller gets the response (RFC 9110 s15.5.2). A stale nonce, and a nonce that is
// asked for, are new proofs and no new credentials, once each. A request whose body
// cannot be had again ([http.Request.GetBody]) is sent once. A request that has an
// Authorization field is its maker's own business.
//
// The zero Transport sends no credentials. Its fields are not to be changed after its
// first use. It is safe for concurrent use.
type Transport struct {
	// Base sends the requests; nil is [http.DefaultTransport]. Client certificates and
	// proxies want an [*http.Transport], of which copies are made.
	Base http.RoundTripper

	// Sources hold the credentials. Of two that can answer a challenge the earlier does.
	Sources []Source

	// ProxySources hold the credentials for the forward proxy that Base goes through.
	// Their origin is the proxy's.
	ProxySources []Source

	// OnStepUp is told that the credentials are good and not enough: the sign-in is too
	// weak or too old (RFC 9470 s3), or a scope is missing (RFC 6750 s3.1). It returns nil
	// where more was got, and the request is sent once more. An error ends the request.
	// Where it is nil the caller gets the response.
	OnStepUp func(ctx context.Context, s StepUp) error

	once     sync.Once
	mistakes error
	base     http.RoundTripper
	byOrigin map[string]http.RoundTripper // where a certificate is shown
	direct   *http.Transport              // base, where it is one
	own      []source                     // Sources
	proxies  []source                     // ProxySources
}

// Source holds credentials for some origins.
type Source interface {
	// Authorize puts credentials into the header of r, the Transport's own copy of a
	// request. offered is a challenge that the request was refused with as r stands, or
	// nil before anything was asked. An error that wraps [ErrNoAnswer] says that there are
	// no credentials here for it; any other ends the request.
	Authorize(r *http.Request, offered []Challenge) error
}

// ErrNoAnswer says that a [Source] has no credentials for a request.
var ErrNoAnswer = errors.New("durward: no credentials for this request")

// StepUp is what a server wants beyond the credentials that it was shown.
type StepUp struct {
	Request   *http.Request // that was refused; not to be changed
	Challenge Challenge     // as sent
	ACRValues []string      // acr_values, the most wanted first (RFC 9470 s3)
	MaxAge    string        // max_age in seconds; empty where any age will do
	Scopes    []string      // scope: all that is needed; empty where scopes are enough
}

// Client returns a client whose requests get the credentials of sources. It panics on
// a mistake in them, as [Protect] does.
func Client(sources ...Source) *http.Client {
	t := &Transport{Sources: sources}
	if err := t.prepare(); err != nil {
		panic(err)
	}
	return &http.Client{Transport: t}
}

// CheckSources says what is wrong with sources, which a [Transport] would say at its
// first request. It names every mistake.
func CheckSources(sources ...Source) error { return (&Transport{Sources: sources}).prepare() }

// source is what the sources of this package are beyond a [Source].
type source interface {
	mistakes() []string

	// answer puts credentials into the field a.field of a.r.
	answer(a *attempt, offered []Challenge) error

	// observe sees the response to what the source has answered with.
	observe(a *attempt, resp *http.Response) error
}

// foreign is a source of the application.
type foreign struct{ Source }

func (foreign) mistakes() []string                       { return nil }
func (f foreign) answer(a *attempt, c []Challenge) error { return f.Authorize(a.r, c) }
func (foreign) observe(*attempt, *http.Response) error   { return nil }

func asSource(s Source) source {
	if own, ok := s.(source); ok {
		return own
	}
	return foreign{s}
}

// authorize is Authorize of the sources of this package.
func authorize(s source, r *http.Request, offered []Challenge) error {
	return s.answer(&attempt{r: r, origin: originOf(r.URL), field: "Authorization", path: pathOf(r.URL)}, offered)
}

// attempt is one sending of a request, as one side sees it that may ask for
// credentials.
type attempt struct {
	r      *http.Request // copy that is sent
	origin string        // whose credentials are wanted
	field  string        // for them
	target string        // request target as sent, where it is not that of r
	path   string        // by which protection spaces are told apart; empty to a proxy
	from   source        // that has answered; nil for none
	state  any           // what from keeps of it
}

// sentTarget is the request target as it is sent.
func (a *attempt) sentTarget() string {
	if a.target != "" {
		return a.target
	}
	return a.r.URL.RequestURI()
}

// Bounds of one request.
const (
	maxSends   = 6         // whatever is answered
	maxRefusal = 256 << 10 // octets of a refusal that are read, so that its connection can be used again
)

// prepare looks for mistakes and makes what is made once.
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
		t.own, t.proxies = each("source", t.Sources), each("proxy source", t.ProxySources)
		if t.base = t.Base; t.base == nil {
			t.base = http.DefaultTransport
		}
		t.direct, _ = t.base.(*http.Transport)
		if len(t.proxies) > 0 {
			if t.direct == nil {
				mistake("ProxySources want an *http.Transport as Base")
			} else {
				t.direct = t.throughProxy(t.direct)
				t.base = t.direct
			}
		}
		for _, s := range t.own {
			c, ok := s.(*certificate)
			switch {
			case !ok:
			case t.direct == nil:
				mistake("a certificate wants an *http.Transport as Base")
			default:
				if t.byOrigin == nil {
					t.byOrigin = make(map[string]http.RoundTripper)
				}
				shows := t.direct.Clone()
				if shows.TLSClientConfig == nil {
					shows.TLSClientConfig = new(tls.Config)
				}
				shows.TLSClientConfig.GetClientCertificate = c.get
				t.byOrigin[c.origin] = shows
			}
		}
		t.mistakes = errors.Join(all...)
	})
	return t.mistakes
}

// CloseIdleConnections closes the connections that serve no request.
func (t *Transport) CloseIdleConnections() {
	_ = t.prepare()
	bases := []http.RoundTripper{t.base}
	for _, shows := range t.byOrigin {
		bases = append(bases, shows)
	}
	for _, b := range bases {
		if c, ok := b.(interface{ CloseIdleConnections() }); ok {
			c.CloseIdleConnections()
		}
	}
}

// RoundTrip sends a request and answers what it is asked for. A refusal that cannot be
// answered is returned as it came; what cannot be sent, or cannot be told, is an error.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.prepare(); err != nil {
		closeBody(r)
		return nil, err
	}
	x := &exchange{t: t, r: r, base: t.base}
	x.origin = side{sources: t.own, at: attempt{origin: originOf(r.URL), field: "Authorization", path: pathOf(r.URL)}}
	if shows, ok := t.byOrigin[x.origin.at.origin]; ok {
		x.base = shows
	}
	if r.Header["Authorization"] != nil {
		x.origin.sources = nil
	}
	if len(t.proxies) > 0 && r.URL.Scheme == "http" && r.Header["Proxy-Authorization"] == nil {
		if err := x.findProxy(); err != nil {
			closeBody(r)
			return nil, err
		}
	}
	return x.run()
}

func closeBody(r *http.Request) {
	if r.Body != nil {
		_ = r.Body.Close()
	}
}

// exchange is one request with all that is sent for it.
type exchange struct {
	t      *Transport
	r      *http.Request // the caller's
	base   http.RoundTripper
	origin side
	proxy  side // empty where there is none, or where it is asked by CONNECT
}

// side is one of the two that may ask for credentials.
type side struct {
	sources []source
	at      attempt
	refused []string // what was sent and refused
	scopes  []string // of the challenges that were answered
	once    [4]bool  // what was done and is not done again
}

// What a side does once for each request.
const (
	renewed   = iota // credentials that had ended or were revoked, got anew
	newNonce         // a nonce that was asked for
	unstale          // a nonce instead of a stale one
	steppedUp        // more asked of the person
)

// run sends the request until nothing is left to answer.
func (x *exchange) run() (*http.Response, error) {
	r := x.copy()
	err := x.origin.ahead(r)
	if err == nil {
		err = x.proxy.ahead(r)
	}
	if err != nil {
		closeBody(r)
		return nil, err
	}
	for sends := 1; ; sends++ {
		resp, err := x.base.RoundTrip(r)
		if err != nil {
			refused, asked := errors.AsType[*proxyRefusal](err)
			if !asked || sends == maxSends || !refused.again || x.proxy.once[refused.reason] || !x.replayable() {
				return nil, err
			}
			// Nothing was sent: the tunnel was refused. Its credentials are ready now.
			x.proxy.once[refused.reason] = true
			if r, err = x.again(r); err != nil {
				return nil, err
			}
			continue
		}
		if err := errors.Join(x.origin.observe(resp), x.proxy.observe(resp)); err != nil {
			_ = resp.Body.Close()
			return nil, err
		}
		if sends == maxSends {
			return resp, nil
		}
		next, err := x.answer(r, resp)
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

// copy is the request as it is sent: its header may be changed.
func (x *exchange) copy() *http.Request {
	r := new(http.Request)
	*r = *x.r
	r.Header = make(http.Header, len(x.r.Header)+2)
	for name, values := range x.r.Header {
		r.Header[name] = values
	}
	return r
}

// replayable reports whether the body can be sent again.
func (x *exchange) replayable() bool {
	return x.r.Body == nil || x.r.Body == http.NoBody || x.r.GetBody != nil
}

// again is the request as it was last sent, ready to be sent once more.
func (x *exchange) again(last *http.Request) (*http.Request, error) {
	r := x.copy()
	for _, field := range []string{"Authorization", "Dpop", "Proxy-Authorization", "X-Api-Key"} {
		if v, ok := last.Header[field]; ok {
			r.Header[field] = v
		}
	}
	if x.r.Body != nil && x.r.Body != http.NoBody {
		body, err := x.r.GetBody()
		if err != nil {
			return nil, fmt.Errorf("durward: the request cannot be sent again: its body: %w", err)
		}
		r.Body = body
	}
	return r, nil
}

// after is again for an answer to one side. What the origin refuses the proxy has passed
// on, so that the proxy wants an answer of its own to the next one: a count of a nonce is
// not sent twice (RFC 7616 s3.4). The origin has seen nothing of what the proxy refuses.
func (x *exchange) after(last *http.Request, s *side) (*http.Request, error) {
	r, err := x.again(last)
	if err != nil || s == &x.proxy || x.proxy.at.from == nil {
		return r, err
	}
	delete(r.Header, x.proxy.at.field)
	x.proxy.at.from = nil
	if err := x.proxy.ahead(r); err != nil {
		closeBody(r)
		return nil, err
	}
	return r, nil
}

// ahead puts credentials into r before anything was asked.
func (s *side) ahead(r *http.Request) error {
	s.at.r = r
	for _, one := range s.sources {
		switch err := one.answer(&s.at, nil); {
		case err == nil:
			s.at.from = one
			return nil
		case err != ErrNoAnswer && !errors.Is(err, ErrNoAnswer):
			return err
		}
	}
	return nil
}

// observe shows the response to the source that has answered.
func (s *side) observe(resp *http.Response) error {
	if s.at.from == nil {
		return nil
	}
	return s.at.from.observe(&s.at, resp)
}

// shown is the credentials of r, by which it is known that they are the same again.
func shown(r *http.Request, field string) string {
	return strings.Join(r.Header[field], "\n") + "\n" + strings.Join(r.Header["X-Api-Key"], "\n") + "\n" + strings.Join(r.Header["Dpop"], "\n")
}

// answer returns the request with what resp asks for, or nil where it is not to be
// answered.
func (x *exchange) answer(r *http.Request, resp *http.Response) (*http.Request, error) {
	var s *side
	var lines []string
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		s, lines = &x.origin, resp.Header["Www-Authenticate"]
	case http.StatusProxyAuthRequired:
		s, lines = &x.proxy, resp.Header["Proxy-Authenticate"]
	}
	if s == nil || len(s.sources) == 0 || len(lines) == 0 || !x.replayable() {
		return nil, nil
	}
	// What stands before a mistake is as good as without it.
	challenges, _ := ParseChallenges(lines)
	wanted := moreWanted(resp.StatusCode, challenges)
	if wanted == nil && (resp.StatusCode == http.StatusForbidden || own(s, x.r.URL)) {
		return nil, nil
	}
	setAside(resp)
	if wanted != nil {
		return x.stepUp(r, *wanted)
	}
	s.refused = append(s.refused, shown(r, s.at.field))
	slices.SortStableFunc(challenges, func(a, b Challenge) int { return challengeStrength(b) - challengeStrength(a) })
	for _, c := range challenges {
		if !s.mayAnswer(c) {
			continue
		}
		for _, one := range s.sources {
			next, err := x.after(r, s)
			if err != nil {
				return nil, err
			}
			a := s.at
			a.r = next
			err = one.answer(&a, []Challenge{c})
			if err == nil && slices.Contains(s.refused, shown(next, a.field)) {
				err = ErrNoAnswer // RFC 9110 s15.5.2: what was refused is not sent again
			}
			if err == nil {
				a.from = one
				s.at = a
				if scope, ok := c.Param("scope"); ok {
					s.scopes = append(s.scopes, scope)
				}
				return next, nil
			}
			closeBody(next)
			if !errors.Is(err, ErrNoAnswer) {
				return nil, err
			}
		}
	}
	return nil, nil
}

// setAside reads the body of a refusal, of which the caller reads the same should it
// stand. What a source asks for meanwhile may have to wait for its connection.
func setAside(resp *http.Response) {
	body := resp.Body
	read, _ := io.ReadAll(io.LimitReader(body, maxRefusal)) // a body that failed fails again
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(read), body), body}
}

// mayAnswer counts what is done once. A challenge without a reason is answered where
// it is new or the credentials are.
func (s *side) mayAnswer(c Challenge) bool {
	reason, _ := c.Param("error")
	stale, _ := c.Param("stale")
	what := -1
	switch {
	case reason == "invalid_token":
		what = renewed
	case reason == "use_dpop_nonce": // RFC 9449 s9
		what = newNonce
	case reason == "insufficient_scope": // image registries say so by 401: a source may have a token for that scope
		if scope, _ := c.Param("scope"); slices.Contains(s.scopes, scope) {
			return false // which is what was got
		}
		what = steppedUp
	case reason != "":
		return false
	case strings.EqualFold(stale, "true"): // RFC 7616 s3.3
		what = unstale
	}
	if what >= 0 {
		if s.once[what] {
			return false
		}
		s.once[what] = true
	}
	return true
}

// moreWanted is the challenge that says that the credentials are good and not enough.
func moreWanted(status int, challenges []Challenge) *Challenge {
	for i, c := range challenges {
		reason, _ := c.Param("error")
		if status == http.StatusUnauthorized && reason == "insufficient_user_authentication" || // RFC 9470 s3
			status == http.StatusForbidden && reason == "insufficient_scope" { // RFC 6750 s3.1
			return &challenges[i]
		}
	}
	return nil
}

// stepUp asks for more, and then sends what is there now.
func (x *exchange) stepUp(r *http.Request, c Challenge) (*http.Request, error) {
	s := &x.origin
	if x.t.OnStepUp == nil || s.once[steppedUp] {
		return nil, nil
	}
	s.once[steppedUp] = true
	want := StepUp{Request: x.r, Challenge: c}
	acr, _ := c.Param("acr_values")
	scope, _ := c.Param("scope")
	want.ACRValues, want.Scopes = strings.Fields(acr), strings.Fields(scope)
	want.MaxAge, _ = c.Param("max_age")
	if err := x.t.OnStepUp(x.r.Context(), want); err != nil {
		return nil, fmt.Errorf("durward: more is wanted than these credentials: %w", err)
	}
	for _, one := range s.sources {
		if t, ok := one.(interface{ reload() }); ok {
			t.reload()
		}
	}
	next, err := x.after(r, s)
	if err != nil {
		return nil, err
	}
	if err := s.ahead(next); err != nil {
		closeBody(next)
		return nil, err
	}
	return next, nil
}

// own reports whether a request is to the endpoints that a source itself signs in and
// refreshes at: their refusals are about what the request says.
func own(s *side, u *url.URL) bool {
	for _, one := range s.sources {
		if t, ok := one.(interface{ own(*url.URL) bool }); ok && t.own(u) {
			return true
		}
	}
	return false
}

// challengeStrength orders challenges. A scheme that only an application knows stands
// between those that send a password and those that send a token.
func challengeStrength(c Challenge) int {
	for i, scheme := range weakestFirst {
		if !strings.EqualFold(scheme, c.Scheme) {
			continue
		}
		level := 10 * i
		if scheme == "Digest" {
			name, _ := c.Param("algorithm")
			a, _ := clientAlgorithm(name)
			level += slices.Index(weakestHash, a.name)
		}
		return level
	}
	return 10 * slices.Index(weakestFirst, "Session")
}

var weakestHash = []string{"MD5", "SHA-256", "SHA-512-256"}

// originOf is scheme, host and port of a URL in one spelling (RFC 9110 s4.3.1), or
// empty where it has none.
func originOf(u *url.URL) string {
	scheme, host, port := strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()
	if host == "" || scheme != "http" && scheme != "https" {
		return ""
	}
	if port == "" {
		if port = "443"; scheme == "http" {
			port = "80"
		}
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return scheme + "://" + host + ":" + port
}

// parseOrigin reads an origin of a configuration: scheme, host and port alone.
func parseOrigin(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil {
		return "", fmt.Errorf("%q is no URL", text)
	}
	if u.User != nil {
		return "", errors.New("holds a user name: that belongs into User, and a password into no URL")
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%q is more than an origin: scheme, host and port alone", text)
	}
	origin := originOf(u)
	if origin == "" {
		return "", fmt.Errorf("%q is no origin, such as https://api.example.com", text)
	}
	return origin, nil
}

// confidential reports whether what is sent to an origin cannot be read on its way: it goes
// by TLS, or does not leave the machine.
func confidential(origin string) bool {
	u, err := url.Parse(origin)
	if err != nil {
		return false
	}
	if u.Scheme == "https" {
		return true
	}
	host := u.Hostname()
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.Unmap().IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost") // RFC 6761 s6.3
}

// pathOf is the path by which protection spaces are told apart.
func pathOf(u *url.URL) string {
	if p := u.EscapedPath(); p != "" {
		return p
	}
	return "/"
}
