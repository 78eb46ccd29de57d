package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/digest"
	"github.com/durward-auth/durward/internal/loopback"
	"github.com/durward-auth/durward/internal/printable"
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
	// Their origin is the proxy's. Where a tunnel is refused those of [Password] answer; a
	// source of the application is asked before alone.
	ProxySources []Source

	// OnStepUp is told that the credentials are good and not enough: the sign-in is too
	// weak or too old (RFC 9470 s3), or a scope is missing (RFC 6750 s3.1) that no source
	// has a token for. It returns nil where more was got, and the request is sent once
	// more. An error ends the request. Where it is nil the caller gets the response.
	//
	// It is called for one request at a time: those that wait meanwhile are sent once more
	// before it is called for them. It is not to send requests through this Transport.
	OnStepUp func(ctx context.Context, s StepUp) error

	once     sync.Once
	mistakes error
	base     http.RoundTripper
	byOrigin map[origin]http.RoundTripper // where a certificate is shown
	direct   *http.Transport              // base, where it is one
	own      []source                     // Sources
	proxies  []source                     // ProxySources

	stepping chan struct{} // holds one element while OnStepUp is called
	steps    atomic.Int64  // how often it got more
}

// Source holds credentials for some origins.
type Source interface {
	// Authorize puts credentials into the header of r, the Transport's own copy of a
	// request; for a proxy they are Proxy-Authorization. offered is nil before anything was
	// asked, else a challenge that the request was refused with: then what this source put
	// in is still there to be seen, and nothing of another's. An error that wraps
	// [ErrNoAnswer] says that there are no credentials here for it; any other ends the
	// request.
	Authorize(r *http.Request, offered []durward.Challenge) error
}

// ErrNoAnswer says that a [Source] has no credentials for a request.
var ErrNoAnswer = errors.New("durward: no credentials for this request")

// StepUp is what a server wants beyond the credentials that it was shown.
type StepUp struct {
	Request   *http.Request     // that was refused; not to be changed
	Challenge durward.Challenge // as sent
	ACRValues []string          // acr_values, the most wanted first (RFC 9470 s3)
	MaxAge    string            // max_age in seconds; empty where any age will do
	Scopes    []string          // scope: all that is needed; empty where scopes are enough
}

// New returns a client whose requests get the credentials of sources. It panics on
// a mistake in them, as [Protect] does.
func New(sources ...Source) *http.Client {
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
	answer(a *attempt, offered []durward.Challenge) error

	// observe sees the response to what the source has answered with.
	observe(a *attempt, resp *http.Response) error
}

// foreign is a source of the application.
type foreign struct{ Source }

func (*foreign) mistakes() []string                               { return nil }
func (f *foreign) answer(a *attempt, c []durward.Challenge) error { return f.Authorize(a.r, c) }
func (*foreign) observe(*attempt, *http.Response) error           { return nil }

func asSource(s Source) source {
	if own, ok := s.(source); ok {
		return own
	}
	return &foreign{s}
}

// authorize is Authorize of the sources of this package.
func authorize(s source, r *http.Request, offered []durward.Challenge) error {
	return s.answer(&attempt{r: r, origin: originOf(r.URL), field: "Authorization"}, offered)
}

// attempt is one sending of a request, as one side sees it that may ask for
// credentials.
type attempt struct {
	r      *http.Request // copy that is sent
	origin origin        // whose credentials are wanted
	field  string        // for them
	from   source        // that has answered; nil for none
	state  any           // what from keeps of it
}

// toProxy reports whether the credentials are for the proxy.
func (a *attempt) toProxy() bool { return a.field == "Proxy-Authorization" }

// target is the request target as it is sent.
func (a *attempt) target() string {
	if !a.toProxy() || a.r.Method == http.MethodConnect {
		return a.r.URL.RequestURI()
	}
	host := a.r.Host
	if host == "" {
		host = a.r.URL.Host
	}
	return a.r.URL.Scheme + "://" + host + a.r.URL.RequestURI()
}

// path is that by which protection spaces are told apart; empty to a proxy, which has
// one.
func (a *attempt) path() string {
	if a.toProxy() {
		return ""
	}
	return pathOf(a.r.URL)
}

// Bounds of one request.
const (
	maxSends       = 6           // whatever is answered
	maxRefusal     = 256 << 10   // octets of a refusal that are read, so that its connection can be used again
	maxRefusalTime = time.Second // and how long that may take
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
		t.stepping = make(chan struct{}, 1)
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
					t.byOrigin = make(map[origin]http.RoundTripper)
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
	if r.URL == nil {
		closeBody(r)
		return nil, errors.New("durward: a request without URL")
	}
	x := &exchange{t: t, r: r, base: t.base}
	x.origin = side{sources: t.own, at: attempt{origin: originOf(r.URL), field: "Authorization"}}
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
	proxy  *side // nil where there is none, or where it is asked by CONNECT
	steps  int64 // of the Transport when the request was last sent
}

// side is one of the two that may ask for credentials.
type side struct {
	sources []source
	at      attempt
	refused []http.Header // what was sent and refused
	scopes  []string      // of the challenges that were answered
	once    [onces]bool   // what was done and is not done again
}

// What is done once for each request.
const (
	renewed   = iota // credentials that had ended or were revoked, got anew
	newNonce         // a nonce that was asked for
	newProof         // a proof by the server's clock
	unstale          // a nonce instead of a stale one
	steppedUp        // more asked of the person, or of a source
	onces            // how many there are
)

// run sends the request until nothing is left to answer.
func (x *exchange) run() (*http.Response, error) {
	r := x.copy(x.r.Header)
	err := x.origin.ahead(r)
	if err == nil && x.proxy != nil {
		err = x.proxy.ahead(r)
	}
	if err != nil {
		closeBody(r)
		return nil, err
	}
	var tunnels [onces]bool // why a CONNECT was sent again
	for sends := 1; ; sends++ {
		x.steps = x.t.steps.Load()
		resp, err := x.base.RoundTrip(r)
		if err != nil {
			refused, asked := errors.AsType[*proxyRefusal](err)
			if !asked || sends == maxSends || !refused.again || tunnels[refused.reason] || !x.replayable() {
				return nil, err
			}
			// Nothing was sent: the tunnel was refused. Its credentials are ready now.
			tunnels[refused.reason] = true
			if r, err = x.again(x.copy(r.Header)); err != nil {
				return nil, err
			}
			continue
		}
		if resp == nil {
			return nil, fmt.Errorf("durward: Base (%T) returned neither a response nor an error", x.base)
		}
		if resp.Body == nil {
			resp.Body = http.NoBody
		}
		resp.Request = x.r // as the caller made it, and without what a source has put in
		if err := x.observe(resp); err != nil {
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

// copy is the request with a header, which may be changed.
func (x *exchange) copy(header http.Header) *http.Request {
	r := new(http.Request)
	*r = *x.r
	r.Header = make(http.Header, len(header)+2)
	for name, values := range header {
		r.Header[name] = values[:len(values):len(values)] // what is added to one copy is in no other
	}
	return r
}

// replayable reports whether the body can be sent again.
func (x *exchange) replayable() bool {
	return x.r.Body == nil || x.r.Body == http.NoBody || x.r.GetBody != nil
}

// again gives a copy the body anew.
func (x *exchange) again(r *http.Request) (*http.Request, error) {
	if x.r.Body != nil && x.r.Body != http.NoBody {
		body, err := x.r.GetBody()
		if err != nil {
			return nil, fmt.Errorf("durward: the request cannot be sent again: its body: %w", err)
		}
		r.Body = body
	}
	return r, nil
}

// ahead puts credentials into r before anything was asked.
func (s *side) ahead(r *http.Request) error {
	s.at.r, s.at.from = r, nil
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

// observe shows a response to the sources that have answered. What the proxy refuses the
// origin has not seen.
func (x *exchange) observe(resp *http.Response) error {
	if s := x.proxy; s != nil {
		if s.at.from != nil {
			if err := s.at.from.observe(&s.at, resp); err != nil {
				return err
			}
		}
		if resp.StatusCode == http.StatusProxyAuthRequired {
			return nil
		}
	}
	if s := &x.origin; s.at.from != nil {
		return s.at.from.observe(&s.at, resp)
	}
	return nil
}

// answer returns the request with what resp asks for, or nil where it is not to be
// answered.
func (x *exchange) answer(r *http.Request, resp *http.Response) (next *http.Request, err error) {
	s, who, lines := &x.origin, "server", resp.Header["Www-Authenticate"]
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
	case http.StatusProxyAuthRequired:
		s, who, lines = x.proxy, "proxy", resp.Header["Proxy-Authenticate"]
	default:
		return nil, nil
	}
	if s == nil || len(s.sources) == 0 || len(lines) == 0 || !x.replayable() || own(s, x.r.URL) {
		return nil, nil
	}
	// What stands before a mistake is as good as without it.
	challenges, _ := durward.ParseChallenges(lines)
	more := moreWanted(challenges)
	if more == nil && resp.StatusCode == http.StatusForbidden {
		return nil, nil
	}
	setAside(resp)
	switch {
	case more != nil && (resp.StatusCode == http.StatusForbidden || !lacksScope(*more)):
		next, err = x.stepUp(r, *more)
	default:
		// Image registries want more scope by 401: a source may have a token for it.
		if next, err = x.another(s, r, challenges); next == nil && err == nil && more != nil {
			next, err = x.stepUp(r, *more)
		}
	}
	if err != nil && x.r.Context().Err() == nil {
		err = fmt.Errorf("durward: the %s wants %s: %w", who, schemesOf(challenges), err)
	}
	if next == nil || err != nil {
		return nil, err
	}
	return x.again(next)
}

// setAside reads the body of a refusal, of which the caller reads the same should it
// stand: what a source asks for meanwhile may have to wait for its connection. It
// returns what it has read; nothing of a body that does not end in time.
func setAside(resp *http.Response) []byte {
	body := resp.Body
	a := &aside{Closer: body, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.begins, _ = io.ReadAll(io.LimitReader(body, maxRefusal)) // a body that failed fails again
		a.all = io.MultiReader(bytes.NewReader(a.begins), body)
	}()
	resp.Body = a
	select {
	case <-a.done:
		return a.begins
	case <-time.After(maxRefusalTime): // what does not end holds nobody up
		return nil
	}
}

// aside is a body of which the first part is read ahead.
type aside struct {
	io.Closer
	done   chan struct{} // closed when that part was read: the fields below are set
	begins []byte        // that part
	all    io.Reader     // it and the rest
}

func (a *aside) Read(p []byte) (int, error) {
	<-a.done
	return a.all.Read(p)
}

// another returns the request with an answer to the strongest of the challenges that a
// source can answer, or nil.
func (x *exchange) another(s *side, last *http.Request, challenges []durward.Challenge) (*http.Request, error) {
	s.refused = append(s.refused, last.Header)
	slices.SortStableFunc(challenges, func(a, b durward.Challenge) int { return challengeStrength(b) - challengeStrength(a) })
	for _, c := range challenges {
		what, may := s.mayAnswer(c)
		if !may {
			continue
		}
		for _, one := range s.sources {
			a := s.at
			if one != a.from {
				a.state = nil
			}
			a.r = x.without(last, s, one)
			err := one.answer(&a, []durward.Challenge{c})
			if err == nil && slices.ContainsFunc(s.refused, func(h http.Header) bool { return s.same(h, a.r.Header) }) {
				err = ErrNoAnswer // RFC 9110 s15.5.2: what was refused is not sent again
			}
			if errors.Is(err, ErrNoAnswer) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if what >= 0 {
				s.once[what] = true
			}
			if scope, ok := c.Param("scope"); ok {
				s.scopes = append(s.scopes, scope)
			}
			a.from = one
			s.at = a
			return a.r, x.renewProxy(s, a.r)
		}
	}
	return nil, nil
}

// without is the request as it was last sent, without what another source than one has
// answered to a side: that was refused. What the origin was sent stays where it is the
// proxy that refuses.
func (x *exchange) without(last *http.Request, s *side, one source) *http.Request {
	switch {
	case s.at.from == one:
		return x.copy(last.Header)
	case s == x.proxy:
		r := x.copy(last.Header)
		delete(r.Header, s.at.field)
		return r
	}
	return x.copy(x.r.Header)
}

// renewProxy gives a request that is for the origin another answer to the proxy, which has
// passed on the one that the origin refused: a count of a nonce is not sent twice
// (RFC 7616 s3.4).
func (x *exchange) renewProxy(s *side, r *http.Request) error {
	if s == x.proxy || x.proxy == nil || x.proxy.at.from == nil {
		return nil
	}
	delete(r.Header, x.proxy.at.field)
	return x.proxy.ahead(r)
}

// same reports whether two headers hold the same for one side.
func (s *side) same(a, b http.Header) bool {
	for _, h := range []*http.Header{&a, &b} {
		if !s.at.toProxy() {
			*h = maps.Clone(*h)
			delete(*h, "Proxy-Authorization")
		}
	}
	return maps.EqualFunc(a, b, slices.Equal)
}

// mayAnswer reports whether a challenge is to be answered, and what is done by it that is
// done once; -1 for nothing. One without a reason is answered where it is new or the
// credentials are.
func (s *side) mayAnswer(c durward.Challenge) (what int, may bool) {
	reason, _ := c.Param("error")
	stale, _ := c.Param("stale")
	switch {
	case reason == "invalid_token":
		what = renewed
	case reason == "use_dpop_nonce": // RFC 9449 s9
		what = newNonce
	case reason == "invalid_dpop_proof":
		what = newProof
	case reason == "insufficient_scope":
		if scope, _ := c.Param("scope"); slices.Contains(s.scopes, scope) {
			return 0, false // which is what was got
		}
		what = steppedUp
	case reason != "":
		return 0, false
	case strings.EqualFold(stale, "true"): // RFC 7616 s3.3
		what = unstale
	default:
		return -1, true
	}
	return what, !s.once[what]
}

// moreWanted is the challenge that says that the credentials are good and not enough
// (RFC 9470 s3, RFC 6750 s3.1).
func moreWanted(challenges []durward.Challenge) *durward.Challenge {
	for i, c := range challenges {
		if reason, _ := c.Param("error"); reason == "insufficient_user_authentication" || lacksScope(c) {
			return &challenges[i]
		}
	}
	return nil
}

func lacksScope(c durward.Challenge) bool {
	reason, _ := c.Param("error")
	return reason == "insufficient_scope"
}

// schemesOf names the schemes of challenges for people.
func schemesOf(challenges []durward.Challenge) string {
	const most = 8
	var all []string
	for i, c := range challenges {
		if i == most {
			all = append(all, fmt.Sprintf("one of %d others", len(challenges)-most))
			break
		}
		var said []string
		for _, name := range []string{"realm", "algorithm", "error", "scope"} {
			if value, ok := c.Param(name); ok {
				said = append(said, fmt.Sprintf("%s %q", name, printable.Line(value, maxShown)))
			}
		}
		text := printable.Line(c.Scheme, maxShown)
		if len(said) > 0 {
			text += " (" + strings.Join(said, ", ") + ")"
		}
		all = append(all, text)
	}
	if len(all) == 0 {
		return "what it does not say"
	}
	return strings.Join(all, " or ")
}

// stepUp asks for more, and then sends what is there now.
func (x *exchange) stepUp(r *http.Request, c durward.Challenge) (*http.Request, error) {
	s := &x.origin
	if x.t.OnStepUp == nil || s.once[steppedUp] {
		return nil, nil
	}
	select {
	case x.t.stepping <- struct{}{}:
		defer func() { <-x.t.stepping }()
	case <-x.r.Context().Done():
		return nil, x.r.Context().Err()
	}
	if x.t.steps.Load() == x.steps { // else another request has got more meanwhile
		s.once[steppedUp] = true
		want := StepUp{Request: x.r, Challenge: c}
		acr, _ := c.Param("acr_values")
		scope, _ := c.Param("scope")
		want.ACRValues, want.Scopes = strings.Fields(acr), strings.Fields(scope)
		want.MaxAge, _ = c.Param("max_age")
		if err := x.t.OnStepUp(x.r.Context(), want); err != nil {
			return nil, fmt.Errorf("more than these credentials: %w", err)
		}
		x.t.steps.Add(1)
		for _, one := range s.sources {
			if t, ok := one.(interface{ reload() }); ok {
				t.reload()
			}
		}
	}
	next := x.without(r, s, nil)
	if err := s.ahead(next); err != nil {
		return nil, err
	}
	return next, x.renewProxy(s, next)
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
func challengeStrength(c durward.Challenge) int {
	for i, scheme := range weakestFirst {
		if !strings.EqualFold(scheme, c.Scheme) {
			continue
		}
		level := 10 * i
		if scheme == "Digest" {
			name, _ := c.Param("algorithm")
			a, _ := digest.Parse(name)
			level += slices.Index(weakestHash, a.Name)
		}
		return level
	}
	return 10 * slices.Index(weakestFirst, "Session")
}

var weakestFirst = []string{"Basic", "Digest", "Session", "ApiKey", "Bearer", "DPoP"}

var weakestHash = []string{"MD5", "SHA-256", "SHA-512-256"}

// origin is scheme, host and port in one spelling (RFC 9110 s4.3.1); the zero origin is
// none.
type origin struct{ scheme, host, port string }

// String is the origin with its port.
func (o origin) String() string { return o.scheme + "://" + net.JoinHostPort(o.host, o.port) }

// originOf is the origin of a URL, or none where it has none.
func originOf(u *url.URL) origin {
	o := origin{strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()}
	switch {
	case o.host == "":
		return origin{}
	case o.port != "":
	case o.scheme == "https":
		o.port = "443"
	case o.scheme == "http":
		o.port = "80"
	}
	if o.scheme != "http" && o.scheme != "https" {
		return origin{}
	}
	return o
}

// parseOrigin reads an origin of a configuration: scheme, host and port alone.
func parseOrigin(text string) (origin, error) {
	u, err := url.Parse(text)
	if err != nil {
		return origin{}, fmt.Errorf("%q is no URL", text)
	}
	if u.User != nil {
		return origin{}, errors.New("holds a user name: that belongs into User, and a password into no URL")
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return origin{}, fmt.Errorf("%q is more than an origin: scheme, host and port alone", text)
	}
	o := originOf(u)
	if o == (origin{}) {
		return origin{}, fmt.Errorf("%q is no origin, such as https://api.example.com", text)
	}
	return o, nil
}

// confidential reports whether what is sent to an origin cannot be read on its way: it goes
// by TLS, or does not leave the machine.
func (o origin) confidential() bool {
	if o.scheme == "https" {
		return true
	}
	return loopback.Host(o.host)
}

// pathOf is the path by which protection spaces are told apart.
func pathOf(u *url.URL) string {
	if p := u.EscapedPath(); p != "" {
		return p
	}
	return "/"
}
