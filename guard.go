package durward

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Scheme is one way of showing who one is. [Bearer] and its siblings make them.
//
// Presented is asked of all schemes before any is tried, so that what is
// presented decides, never the order of configuration. found reports whether
// the request carries credentials of this scheme; ambient whether a browser
// sends them by itself (a cookie, a client certificate), in which case explicit
// ones win.
//
// Authenticate judges the credentials that Presented found. An error that wraps
// a [Code] refuses; any other error means that it cannot be told just now.
//
// Challenges returns the scheme's challenges without realm, which the guard
// adds. code is [AuthenticationRequired] unless the refused credentials were
// this scheme's own.
type Scheme interface {
	Presented(r *http.Request) (found, ambient bool)
	Authenticate(r *http.Request) (*Principal, error)
	Challenges(r *http.Request, code Code) []Challenge
}

// Config says what a [Guard] accepts. Only Schemes is required.
type Config struct {
	// Schemes are the accepted schemes, in any order: challenges are always sent
	// strongest first. At least one is required.
	Schemes []Scheme

	// Realm is the protection space (RFC 9110 s11.5); empty is "restricted".
	// Printable ASCII without quotes and backslashes, which break Digest clients.
	Realm string

	// PublicURL is the origin under which clients reach this server, such as
	// "https://api.example.com". With an https one, people who come by plain
	// http are redirected to it.
	PublicURL string

	// Metadata is the URL of the protected resource metadata (RFC 9728), sent as
	// resource_metadata in Bearer and DPoP challenges.
	Metadata string

	// LoginURL is where people sign in: sent in Session challenges, and where
	// Policy.Pages sends them. If it lies on another origin than this server, they
	// come back only with a PublicURL.
	LoginURL string

	// Docs is the base of the pages that explain each code: the type of a
	// refusal is Docs, a slash and the code. Empty: type is about:blank.
	Docs string

	// Hints replace the table's next step for a code, where the application
	// knows a better one.
	Hints map[Code]string

	// Proxies are the peers whose X-Forwarded-For and X-Forwarded-Proto fields
	// are believed. None by default. A prefix that covers every address is
	// prohibited.
	Proxies []netip.Prefix

	// ClientCertFromProxies takes the client's certificate from the Client-Cert field
	// of peers in Proxies (RFC 9440). Each of them must remove what clients send
	// there: one that passes it on lets anybody be anybody. Without it, and from
	// anybody else, handlers do not see that field.
	ClientCertFromProxies bool

	// Origins are those beside PublicURL whose pages may change things with the
	// session cookie, such as "https://app.example.com".
	Origins []string

	// Strongest returns the strongest authentication context class that a person can
	// sign in with. Where a policy's ACR wants a stronger one, the refusal is
	// EnrolmentRequired instead of a step-up that nobody could make. It is asked for
	// requests that would be told to step up, and no others. Nil: that is not known.
	Strongest func(context.Context, *Principal) (acr string, err error)

	// Preflight answers CORS preflights, usually the handler of a CORS library.
	// Nil: 204 without CORS fields. A preflight never reaches the protected
	// handler.
	Preflight http.Handler

	// OnRefusal is told of each refusal before it is written, for logs and
	// metrics. It must be safe for concurrent use and must not write an answer.
	OnRefusal func(*http.Request, *Refusal)

	// OnAccept is told of each request that is let through, before the handler
	// runs, by the outermost handler of this guard; the principal is nil for an
	// anonymous one. The same rules hold.
	OnAccept func(*http.Request, *Principal)

	// Now is the clock; nil is time.Now.
	Now func() time.Time

	// InsecureAllowHTTP takes credentials over plain http from anywhere. Without
	// it plain http is refused unless it comes from loopback with no proxy in
	// between, or a trusted proxy says that the client came by https.
	InsecureAllowHTTP bool
}

// Policy says what a route wants beyond credentials that are good. The zero
// Policy wants nothing more.
type Policy struct {
	// Schemes are those of Config.Schemes that the route accepts; nil is all of them.
	// Refusals challenge by these alone. The route treats a request as if the guard had
	// no other scheme: explicit credentials of another one are [UnsupportedScheme], and
	// an ambient one (a cookie, a client certificate) is ignored. A scheme that
	// Config.Schemes does not hold is a programming mistake and panics where the policy
	// is given to the guard.
	Schemes []Scheme

	// Scopes are all needed (RFC 6749 s3.3).
	Scopes []string

	// ACR lists the accepted authentication context classes in order of
	// preference (RFC 9470 s4). A stronger one of Durward's own ladder
	// (urn:durward:acr:1fa, urn:durward:acr:2fa, phr) satisfies a weaker.
	ACR []string

	// MaxAge is how long ago the person may have signed in; 0 is no limit.
	MaxAge time.Duration

	// Optional lets requests without credentials through as anonymous. Bad
	// credentials are refused all the same.
	Optional bool

	// Pages is for routes that people open in a browser. Who has to sign in is
	// sent to the guard's LoginURL with return_to and comes back (see [ReturnTo]),
	// and with acr_values and max_age where a stronger or fresher sign-in is wanted
	// (RFC 9470 s4). return_to is the path as the guard sees it, so a guard stands
	// outside http.StripPrefix. In frames, after forms and without a LoginURL the
	// refusal is a page to read. Scripts and other programs get the problem details
	// all the same.
	Pages bool

	// Stream is for routes whose requests last, such as WebSockets and event streams:
	// the request's context ends when the credentials do, because they expire or
	// because their scheme, asked again each second (see [Rechecked]), says that they
	// were revoked. context.Cause tells why. The handler must end with its context,
	// a hijacked connection included. While nobody can tell, a stream goes on for a
	// minute. It ends when the handler returns, so a handler that hands a connection
	// on waits for it.
	Stream bool

	// Freshness is how old the news may be that the credentials were not revoked, by
	// Principal.AsOf; 0 is as old as the scheme takes. Older than that nobody can tell,
	// so the answer is AuthUnavailable, and a stream ends. A scheme that remembers is
	// asked anew where it can be (see [Remember], [Rechecked]). A token of a verifier
	// that is told of no revocations is known to be good as of when it was issued, and
	// no longer.
	Freshness time.Duration

	// Allow decides what the fields above cannot, after them. Its error is
	// treated as a scheme's: a [Code] refuses, any other is AuthUnavailable. The
	// principal is nil for an anonymous request.
	Allow func(*http.Request, *Principal) error
}

// Guard stands before handlers and answers what it refuses. It is the one place
// that writes a 401, 403 or 407. A Guard is safe for concurrent use.
type Guard struct {
	c      Config   // as given, with defaults filled in
	public *url.URL // of PublicURL, or nil
	login  *url.URL // of LoginURL, or nil
	every  *route   // of a Policy that wants nothing: accepts all schemes
	certs  bool     // certificates are taken
	cookie *cookie  // of Schemes, or nil
}

// New returns a Guard, or an error that names every mistake in c.
func New(c Config) (*Guard, error) {
	g := &Guard{c: c}
	var errs []error
	mistake := func(format string, args ...any) { errs = append(errs, fmt.Errorf("durward: "+format, args...)) }

	if len(c.Schemes) == 0 {
		mistake("Schemes is empty: a 401 needs at least one challenge (RFC 9110 s15.5.2)")
	}
	if slices.Contains(c.Schemes, nil) {
		mistake("Schemes holds a nil scheme")
	}
	var keys []string // prefixes
	for _, s := range c.Schemes {
		// Where two could judge the same request, their order would decide.
		switch s := s.(type) {
		case *apiKey:
			for _, prefix := range keys {
				if strings.HasPrefix(prefix, s.prefix) || strings.HasPrefix(s.prefix, prefix) {
					mistake("Schemes holds APIKey for %q and for %q: a key could be either's", prefix, s.prefix)
				}
			}
			keys = append(keys, s.prefix)
		case *cookie:
			if g.cookie != nil {
				mistake("Schemes holds Cookie twice: a request could carry both, and nobody could say which is meant")
			}
			g.cookie = s
		case *clientCert:
			if g.certs {
				mistake("Schemes holds ClientCert twice: give one of them all Roots and Keys")
			}
			g.certs = true
		}
		if s, ok := s.(interface{ mistakes() []string }); ok {
			for _, text := range s.mistakes() {
				mistake("%s", text)
			}
		}
	}
	all := make([]int, len(c.Schemes))
	for i := range all {
		all[i] = i
	}
	g.every = &route{schemes: all, vary: g.varyOn(all)}
	if c.ClientCertFromProxies && len(c.Proxies) == 0 {
		mistake("ClientCertFromProxies without Proxies: nobody could be believed")
	}
	if c.Realm == "" {
		g.c.Realm = "restricted"
	}
	for _, b := range []byte(c.Realm) {
		if b < 0x20 || b > 0x7e || b == '"' || b == '\\' {
			mistake("Realm %q: only printable ASCII without quotes and backslashes, which break Digest clients", c.Realm)
			break
		}
	}
	for _, u := range []struct{ name, value string }{
		{"PublicURL", c.PublicURL}, {"Metadata", c.Metadata}, {"LoginURL", c.LoginURL}, {"Docs", c.Docs},
	} {
		if u.value == "" {
			continue
		}
		parsed, err := url.Parse(u.value)
		if err != nil || parsed.Scheme != "https" && parsed.Scheme != "http" || parsed.Host == "" || parsed.User != nil {
			mistake("%s %q is not an absolute http or https URL", u.name, u.value)
			continue
		}
		switch u.name {
		case "LoginURL":
			g.login = parsed
		case "PublicURL":
			if strings.Trim(parsed.Path, "/") != "" || parsed.RawQuery != "" || parsed.Fragment != "" {
				mistake("PublicURL %q: an origin only, without path, query and fragment", u.value)
			}
			g.public = parsed
		}
	}
	g.c.Docs = strings.TrimRight(c.Docs, "/")
	for code := range c.Hints {
		if _, ok := table[code]; !ok {
			mistake("Hints: no code %q", string(code))
		}
	}
	for _, o := range c.Origins {
		u, err := url.Parse(o)
		if err != nil || u.Host == "" || o != strings.ToLower(u.Scheme+"://"+u.Host) ||
			u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80" {
			mistake("Origins %q: an origin as browsers write it, such as https://app.example.com", o)
		}
	}
	for _, p := range c.Proxies {
		switch {
		case !p.IsValid():
			mistake("Proxies holds an invalid prefix")
		case p.Bits() == 0:
			mistake("Proxies %s would let every client choose its own address and scheme", p)
		case p.Addr().Is4In6():
			mistake("Proxies %s matches nothing: addresses are compared as IPv4, so write the prefix as IPv4", p)
		}
	}
	if c.Now == nil {
		g.c.Now = time.Now
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return g, nil
}

// Protect is [New] and [Guard.Handler] in one: it lets only requests with good
// credentials of one of schemes through to next. It panics on a mistake, as
// regexp.MustCompile does.
func Protect(next http.Handler, schemes ...Scheme) http.Handler {
	g, err := New(Config{Schemes: schemes})
	if err != nil {
		panic(err)
	}
	return g.Handler(next)
}

// Handler lets only requests with good credentials through to next.
func (g *Guard) Handler(next http.Handler) http.Handler { return g.Require(Policy{}, next) }

// Require lets only requests that satisfy p through to next, which finds the
// principal by [From]. CORS preflights are answered, not passed on. An answer to
// a request with credentials is private to shared caches unless next says
// otherwise (RFC 9111 s3.5). The ResponseWriter reaches next as it is.
//
// Guards nest. Inside a handler of the same Guard, client address, scheme and path
// are known, and they are not read again. Inside a handler that Require made, the
// principal is known too and only p is checked, unless p.Schemes makes another scheme
// than the one outside the one that counts: its credentials are verified then.
func (g *Guard) Require(p Policy, next http.Handler) http.Handler {
	to := g.route(p)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isPreflight(r) {
			g.preflight(w, r)
			return
		}
		r, st, err := g.check(r, to)
		if err != nil {
			g.redirectOrRefuse(w, r, err)
			return
		}
		h := w.Header()
		if h["Vary"] == nil {
			h["Vary"] = to.vary
		} else {
			h.Add("Vary", to.vary[0])
		}
		if (st.chosen >= 0 || st.clearCookie) && h["Cache-Control"] == nil {
			h["Cache-Control"] = private
		}
		if st.authInfo != "" {
			h.Set("Authentication-Info", st.authInfo) // RFC 9110 s11.6.3
			if strings.HasPrefix(st.authInfo, "nextnonce") {
				h.Set("Cache-Control", "no-store")
			}
		}
		if st.clearCookie {
			g.cookie.clear(h)
		}
		if st.ignoredErr != nil && !errors.Is(st.ignoredErr, SessionExpired) {
			// Tomorrow the same request is somebody's.
			h.Set("Cache-Control", "no-store")
		}
		g.reportAccept(r, st)
		if p.Stream && st.principal != nil && !st.streaming {
			var stop func()
			r, stop = g.stream(r, st)
			defer stop()
		}
		next.ServeHTTP(w, r)
	})
}

// The values of answers' fields; nobody appends to them in place, since they are
// full.
var (
	varyRefusal = []string{"Authorization, Cookie, Origin, Accept, Sec-Fetch-Mode, Sec-Fetch-Dest, X-Requested-With, X-API-Key, DPoP"}
	private     = []string{"private"}
	noStore     = []string{"no-store"}
	noSniff     = []string{"nosniff"}
	problemType = []string{"application/problem+json"} // RFC 9457 s3
	pageType    = []string{"text/html; charset=utf-8"}
)

// reportAccept tells of a request that is let through, once.
func (g *Guard) reportAccept(r *http.Request, st *requestState) {
	if g.c.OnAccept != nil && !st.nested {
		g.c.OnAccept(r, st.principal)
	}
}

// Open guards a route that asks for no credentials, such as the sign-in itself: it
// checks path and transport, answers preflights and does not look at credentials.
// [ClientAddr] works inside. What next refuses by [Guard.Refuse] carries the
// challenges of all schemes of the guard.
func (g *Guard) Open(next http.Handler) http.Handler { return g.open(nil, next) }

// OpenWith is Open for a next whose refusals carry the challenges of these schemes
// alone, each of them one of Config.Schemes. The refusal of a proof that
// [Guard.HeldKey] found has the DPoP challenge as well.
func (g *Guard) OpenWith(next http.Handler, schemes ...Scheme) http.Handler {
	return g.open(append([]Scheme{}, schemes...), next)
}

func (g *Guard) open(schemes []Scheme, next http.Handler) http.Handler {
	to := *g.route(Policy{Schemes: schemes})
	to.open, to.proofs = true, g.withDPoP(to.schemes)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isPreflight(r) {
			g.preflight(w, r)
			return
		}
		r, _, err := g.enter(r, &to)
		if err != nil {
			g.redirectOrRefuse(w, r, err)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// SameOrigin refuses, by an error that wraps [CrossSite], a request that changes
// something and that a browser sent for a page of another origin. It is for
// handlers inside [Guard.Open] that give, take or end a session cookie themselves:
// on guarded routes the guard asks it whenever the cookie is what counts.
func (g *Guard) SameOrigin(r *http.Request) error {
	st := stateOf(r.Context())
	if st == nil || st.guard != g {
		_, st = g.resolve(r, g.every)
	}
	if why := g.crossSite(r, st); why != "" {
		return fmt.Errorf("%s: %w", why, CrossSite)
	}
	return nil
}

// Check judges r by p without answering. It returns the principal, nil for an
// anonymous request that p lets through, or a complete *[Refusal] for
// [Guard.Refuse]. p.Stream means nothing here. It changes nothing of r: a
// Client-Cert field that Require would remove is still there.
func (g *Guard) Check(r *http.Request, p Policy) (*Principal, error) {
	r, st, err := g.check(r, g.route(p))
	if err != nil {
		return nil, g.refusal(r, err)
	}
	return st.principal, nil
}

// From returns the principal that a guard found for the request with this
// context, or nil where nobody is known.
func From(ctx context.Context) *Principal {
	if st := stateOf(ctx); st != nil {
		return st.principal
	}
	return nil
}

// ClientAddr returns the client's address as the guard worked it out: the TCP
// peer, or the right-most address in X-Forwarded-For that no trusted proxy has.
// It is the zero Addr outside a guard and on listeners without addresses.
func ClientAddr(ctx context.Context) netip.Addr {
	if st := stateOf(ctx); st != nil {
		return st.client
	}
	return netip.Addr{}
}

// FreshEnough reports whether the route with this context takes news of an age, by
// its Policy.Freshness. A check that remembers what it was told asks anew where it
// does not. Outside a guard every age will do.
func FreshEnough(ctx context.Context, age time.Duration) bool {
	st := stateOf(ctx)
	return st == nil || st.route.Freshness <= 0 || age <= st.route.Freshness
}

// visit is what one guard knows of one request. It stands in the context.
// It is the context, so that carrying it costs one allocation.
type requestState struct {
	context.Context
	guard         *Guard
	route         *route // of the innermost handler; never nil
	client        netip.Addr
	https         bool                // https at this listener or at a trusted proxy
	local         bool                // from this machine, with no proxy in between
	forwardingErr string              // why the forwarding fields cannot be read
	nested        bool                // a handler of the same guard has let the request through
	streaming     bool                // its context ends with the credentials
	rechecking    bool                // the credentials are judged anew while the request lasts
	credentials   Credentials         // what the Authorization or Proxy-Authorization field holds
	quoted        quotes              // which of its parameters stood in quotes
	authInfo      string              // what the answer says in Authentication-Info
	ambient       bool                // the credentials that are judged came by themselves
	clearCookie   bool                // the guard's cookie is to be cleared
	ignoredErr    error               // why ambient credentials were passed over, on an optional route
	fromProxy     bool                // the peer is a trusted proxy
	certs         []*x509.Certificate // of the client, its own first
	candidates    []int               // the schemes that step 4 chose among; nil before
	chosen        int                 // index of the scheme whose credentials are judged, or -1
	principal     *Principal
}

type stateKey struct{}

func (st *requestState) Value(key any) any {
	if key == (stateKey{}) {
		return st
	}
	return st.Context.Value(key)
}

func stateOf(ctx context.Context) *requestState {
	st, _ := ctx.Value(stateKey{}).(*requestState)
	return st
}

// route is what one handler of a guard wants of requests: a Policy, made ready once.
type route struct {
	Policy
	schemes []int    // accepted ones, as indices of Config.Schemes
	proofs  []int    // inside Open: schemes with DPoP, for the refusal of a proof
	vary    []string // the value of Vary
	open    bool     // made by Open
	proxy   bool     // made by Proxy: the credentials are for the proxy itself
}

// route makes p ready. It panics on a scheme that g does not have.
func (g *Guard) route(p Policy) *route {
	to := &route{Policy: p, schemes: g.every.schemes, vary: g.every.vary}
	if p.Schemes == nil {
		return to
	}
	if len(p.Schemes) == 0 {
		panic("durward: Policy.Schemes is empty: name a scheme, or leave it nil for all of the guard's")
	}
	to.schemes = nil
	for _, s := range p.Schemes {
		i := g.indexOf(s)
		if i < 0 {
			panic(fmt.Sprintf("durward: Policy.Schemes holds a %T that Config.Schemes does not hold", s))
		}
		if !slices.Contains(to.schemes, i) {
			to.schemes = append(to.schemes, i)
		}
	}
	slices.Sort(to.schemes) // as Config.Schemes has them, whatever the order in p
	to.vary = g.varyOn(to.schemes)
	return to
}

// indexOf returns the index of s in Config.Schemes, or -1.
func (g *Guard) indexOf(s Scheme) int {
	if s == nil {
		return -1
	}
	if !reflect.ValueOf(s).Comparable() {
		panic(fmt.Sprintf("durward: Policy.Schemes holds a %T, which cannot be compared with those of Config.Schemes: use a pointer", s))
	}
	return slices.Index(g.c.Schemes, s)
}

// varyOn returns the value of Vary for a route that accepts schemes.
func (g *Guard) varyOn(schemes []int) []string {
	vary := "Authorization"
	for _, i := range schemes {
		if isCert(g.c.Schemes[i]) && g.c.ClientCertFromProxies {
			vary += ", Client-Cert" // RFC 9440 s2.4
		}
	}
	for _, i := range schemes {
		if _, ok := g.c.Schemes[i].(*cookie); ok {
			vary += ", Cookie"
		}
	}
	return []string{vary + ", X-API-Key"}
}

// withDPoP returns schemes and those of Config.Schemes that are DPoP.
func (g *Guard) withDPoP(schemes []int) []int {
	all := slices.Clone(schemes)
	for i, s := range g.c.Schemes {
		if _, ok := s.(*dpop); ok && !slices.Contains(all, i) {
			all = append(all, i)
		}
	}
	return all
}

// enter takes steps 1 and 3. The request it returns carries the visit. Inside a
// handler of this guard they are done, and only the route is new.
func (g *Guard) enter(r *http.Request, to *route) (*http.Request, *requestState, error) {
	if st := stateOf(r.Context()); st != nil && st.guard == g && st.route.proxy == to.proxy {
		inner := *st
		inner.Context, inner.route, inner.nested = r.Context(), to, st.candidates != nil
		return r.WithContext(&inner), &inner, nil
	}
	r, st := g.resolve(r, to)
	return r, st, g.checkTransport(r, st)
}

// check takes the steps of a decision in their order. The request it returns
// carries the visit.
func (g *Guard) check(r *http.Request, to *route) (*http.Request, *requestState, error) {
	r, st, err := g.enter(r, to)
	if err != nil {
		return r, st, err
	}
	if st.nested && slices.Equal(st.candidates, to.schemes) {
		return r, st, g.checkNested(r, st)
	}
	chosen, ambient, err := g.selectScheme(r, st)
	if st.nested && err == nil && chosen >= 0 && chosen == st.chosen {
		st.candidates = to.schemes
		return r, st, g.checkNested(r, st)
	}
	// What a handler outside found by other schemes does not count here.
	st.chosen, st.ambient, st.candidates = chosen, ambient, to.schemes
	st.principal, st.ignoredErr, st.clearCookie, st.streaming, st.authInfo = nil, nil, false, false, ""
	if err != nil {
		return r, st, err
	}
	if st.chosen < 0 {
		if to.Optional {
			return r, st, g.authorize(r, st)
		}
		return r, st, noCredentials(r, st)
	}
	scheme := g.c.Schemes[st.chosen]
	if st.ambient {
		if why := g.crossSite(r, st); why != "" {
			return r, st, fmt.Errorf("%s: %w", why, CrossSite)
		}
	}
	principal, err := scheme.Authenticate(r)
	if err == nil {
		err = g.checkFreshness(to, principal)
	}
	if err != nil {
		st.clearCookie = scheme == Scheme(g.cookie) && errors.Is(err, SessionExpired)
		if to.Optional && st.ignoreAmbient(err) {
			return r, st, g.authorize(r, st)
		}
		return r, st, err
	}
	if principal == nil {
		return r, st, errors.New("the scheme returned neither a principal nor an error")
	}
	st.principal = principal
	return r, st, g.authorize(r, st)
}

// checkNested judges by the policy of a route inside another one of the same guard,
// where the same credentials count.
func (g *Guard) checkNested(r *http.Request, st *requestState) error {
	if st.principal == nil && !st.route.Optional {
		if st.ignoredErr != nil {
			// There were credentials: an outage is one here too.
			return st.ignoredErr
		}
		return noCredentials(r, st)
	}
	if err := g.recheckFreshness(r, st); err != nil {
		if st.route.Optional && st.ignoreAmbient(err) {
			st.principal = nil
			return g.authorize(r, st)
		}
		return err
	}
	return g.authorize(r, st)
}

// arrive works out, once, how the request came.
func (g *Guard) resolve(r *http.Request, to *route) (*http.Request, *requestState) {
	st := &requestState{Context: r.Context(), guard: g, route: to, https: r.TLS != nil, chosen: -1}
	if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		st.client = peer.Addr().Unmap().WithZone("")
	}
	st.fromProxy = g.trusts(st.client)
	st.readCertificates(r)
	switch {
	case st.fromProxy:
		g.readForwarded(r, st)
	case st.client.IsLoopback():
		st.local = !forwarded(r)
	}
	r = r.WithContext(st)
	st.removeClientCert(r)
	return r, st
}

// checkPath takes step 1: the path is one that every reader reads alike.
func checkPath(r *http.Request) error {
	if why := nonCanonicalPath(r); why != "" {
		return &Refusal{Code: InvalidRequest, Detail: "The path of the request is not in its plain form.",
			Hint: "Send the path without empty, dot or doubly encoded segments.", Err: errors.New(why)}
	}
	return nil
}

// checkTransport takes steps 1 and 3: the second is that nobody is asked for a password
// in the clear.
func (g *Guard) checkTransport(r *http.Request, st *requestState) error {
	if !st.route.proxy { // whose paths are the origins'
		if err := checkPath(r); err != nil {
			return err
		}
	}
	if st.forwardingErr != "" {
		return fmt.Errorf("%s: %w", st.forwardingErr, InvalidRequest)
	}
	if g.certs && !st.route.proxy && !st.fromProxy { // a proxy's connections have names of its own
		if why := misdirected(r); why != "" {
			return fmt.Errorf("%s: %w", why, MisdirectedRequest) // RFC 9110 s15.5.20
		}
	}
	if st.https || st.local || g.c.InsecureAllowHTTP {
		return nil
	}
	if st.client.IsLoopback() && !g.trusts(st.client) {
		return fmt.Errorf("plain http from loopback with forwarding fields, and no trusted proxy at %s: %w", st.client, InsecureTransport)
	}
	return fmt.Errorf("plain http from %s: %w", st.client, InsecureTransport)
}

// redirectOrRefuse answers a request that goes no further: a person who came by plain
// http is sent to the same page by https, everything else is refused.
func (g *Guard) redirectOrRefuse(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, InsecureTransport) && g.public != nil && g.public.Scheme == "https" && isNavigation(r) {
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, "https://"+g.public.Host+r.URL.RequestURI(), http.StatusPermanentRedirect)
		return
	}
	g.Refuse(w, r, err)
}

// selectScheme takes step 4: which scheme's credentials are presented.
func (g *Guard) selectScheme(r *http.Request, st *requestState) (chosen int, byItself bool, err error) {
	field, keys := "Authorization", len(r.Header["X-Api-Key"])
	if st.route.proxy {
		field, keys = "Proxy-Authorization", 0 // RFC 9110 s11.7.2: the rest is the origin's
	}
	st.credentials, st.quoted = Credentials{}, quotes{}
	lines := r.Header[field]
	if n := len(lines) + keys; n > 1 {
		return -1, false, fmt.Errorf("%d explicit credentials: %w", n, AmbiguousCredentials)
	}
	if len(lines) == 1 {
		if st.credentials, st.quoted, err = credentialsIn(field, lines[0]); err != nil {
			return -1, false, err
		}
	}
	explicit, ambient := -1, -1
	for _, i := range st.route.schemes {
		s := g.c.Schemes[i]
		switch found, byItself := s.Presented(r); {
		case found && !byItself && (explicit < 0 || isKey(s, r)):
			explicit = i
		case found && byItself && (ambient < 0 || isCert(s)): // the stronger
			ambient = i
		}
	}
	switch {
	case explicit >= 0:
		return explicit, false, nil
	case len(lines) == 1:
		return -1, false, fmt.Errorf("the scheme of the %s field is none of the accepted: %w", field, UnsupportedScheme)
	case keys == 1:
		// Explicit, and taken by nobody: what is ambient is not looked at.
		return -1, false, nil
	}
	return ambient, ambient >= 0, nil
}

// credentialsIn returns the one set of credentials that a field's line holds (RFC
// 9110 s11.4), and which of its parameters are quoted.
func credentialsIn(field, line string) (Credentials, quotes, error) {
	c, quoted, err := parseCredentials(line)
	if err != nil {
		if list, listErr := ParseChallenges([]string{line}); listErr == nil && len(list) > 1 {
			return c, quoted, fmt.Errorf("%d credentials in one %s field: %w", len(list), field, AmbiguousCredentials)
		}
		return c, quoted, fmt.Errorf("the %s field: %w: %w", field, err, MalformedCredentials)
	}
	if c.Token68 == "" && len(c.Params) == 0 {
		// Most often a token sent without its scheme.
		return c, quoted, fmt.Errorf("a single word in the %s field: a token without its scheme, or a scheme without credentials: %w", field, MalformedCredentials)
	}
	return c, quoted, nil
}

// noCredentials is step 5.
func noCredentials(r *http.Request, st *requestState) error {
	if st.route.proxy {
		return ProxyAuthenticationRequired
	}
	if strings.Contains(r.URL.RawQuery, "access_token=") {
		// RFC 9700 s4.3.2: never from the URL.
		return &Refusal{Code: AuthenticationRequired,
			Hint: "A token in the query string is not looked at: send it as Authorization: Bearer TOKEN.",
			Err:  errors.New("no credentials but a token in the query string")}
	}
	// What came and is not credentials here is often what the client meant.
	switch {
	case r.Header["X-Api-Key"] != nil:
		return fmt.Errorf("no credentials but an X-API-Key field, which is not taken here: %w", AuthenticationRequired)
	case r.Header["Cookie"] != nil:
		return fmt.Errorf("no credentials but cookies, none of which is taken here: %w", AuthenticationRequired)
	}
	return errNoCredentials
}

// errNoCredentials is made once: it is what the crowd of first requests gets.
var errNoCredentials = fmt.Errorf("no credentials in the request: %w", AuthenticationRequired)

// stale says that what is known of who is older than p takes, or nil. It wraps no
// code: that it cannot be told just now is an outage.
func (g *Guard) checkFreshness(p *route, who *Principal) error {
	if p.Freshness <= 0 || who == nil || who.AsOf.IsZero() {
		return nil
	}
	if age := g.c.Now().Sub(who.AsOf); age > p.Freshness {
		return fmt.Errorf("that the credentials were not revoked was known %s ago, at most %s is wanted", age.Truncate(time.Millisecond), p.Freshness)
	}
	return nil
}

// recheckFreshness is stale for somebody whom a handler outside has let in, by another policy:
// where the scheme can be asked again, it is.
func (g *Guard) recheckFreshness(r *http.Request, st *requestState) error {
	err := g.checkFreshness(st.route, st.principal)
	if err == nil {
		return nil
	}
	s, ok := g.c.Schemes[st.chosen].(Rechecked)
	if !ok {
		return err
	}
	who, err := st.ask(st.Context, s, r)
	if err == nil {
		err = g.checkFreshness(st.route, who)
	}
	if err == nil {
		st.principal = who
	}
	return err
}

// authorize takes steps 9 and 10: sure enough, and allowed.
func (g *Guard) authorize(r *http.Request, st *requestState) error {
	p, who := &st.route.Policy, st.principal
	if who != nil {
		if why := g.stepUpReason(p, who); why != "" {
			if st.route.proxy || who.ACR == "" && who.AuthTime.IsZero() {
				// No sign-in stands behind these credentials, so none can be renewed.
				return fmt.Errorf("%s, and these credentials cannot step up: %w", why, Forbidden)
			}
			if g.c.Strongest != nil && !satisfiesACR(p, who.ACR) {
				switch acr, err := g.c.Strongest(r.Context(), who); {
				case err != nil:
					return err
				case !satisfiesACR(p, acr):
					return fmt.Errorf("%s, and this person can reach no more than %q: %w", why, acr, EnrolmentRequired)
				}
			}
			return fmt.Errorf("%s: %w", why, StepUpRequired)
		}
		if !who.HasScope(p.Scopes...) {
			return &Refusal{Code: InsufficientScope, Members: map[string]any{
				"required_scopes": p.Scopes, "granted_scopes": append([]string{}, who.Scopes...)},
				Err: fmt.Errorf("scope %q is wanted, granted is %q", strings.Join(p.Scopes, " "), strings.Join(who.Scopes, " "))}
		}
	}
	if p.Allow != nil {
		return p.Allow(r, who)
	}
	return nil
}

// stepUpReason says why the sign-in behind who is too weak or too old for p, or "".
func (g *Guard) stepUpReason(p *Policy, who *Principal) string {
	if !satisfiesACR(p, who.ACR) {
		return fmt.Sprintf("acr %q, wanted one of %q", who.ACR, p.ACR)
	}
	if p.MaxAge > 0 {
		if who.AuthTime.IsZero() {
			return fmt.Sprintf("signed in nobody knows when, at most %s ago is wanted", p.MaxAge)
		}
		if age := g.c.Now().Sub(who.AuthTime); age > p.MaxAge {
			return fmt.Sprintf("signed in %s ago, at most %s", age.Truncate(time.Second), p.MaxAge)
		}
	}
	return ""
}

// satisfiesACR reports whether acr is what p wants, or stronger.
func satisfiesACR(p *Policy, acr string) bool {
	return len(p.ACR) == 0 || slices.ContainsFunc(p.ACR, func(want string) bool { return atLeast(acr, want) })
}

// acrLadder is Durward's own order of strength, weakest first.
var acrLadder = []string{"urn:durward:acr:1fa", "urn:durward:acr:2fa", "phr"}

func atLeast(have, want string) bool {
	if have == want {
		return true
	}
	h, w := slices.Index(acrLadder, have), slices.Index(acrLadder, want)
	return w >= 0 && h > w
}

// Refuse answers r with the refusal that err says: a [Code], a *[Refusal], or
// any other error, which is AuthUnavailable. It may be called by handlers inside
// the guard. The client reads what the table allows; the cause goes to
// OnRefusal. It is the one writer of refusals.
func (g *Guard) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	f := g.refusal(r, err)
	if g.c.OnRefusal != nil {
		g.c.OnRefusal(r, f)
	}
	h := w.Header()
	field := "Www-Authenticate"
	if byProxy(f) {
		field = "Proxy-Authenticate" // RFC 9110 s15.5.8
	}
	for _, c := range f.Challenges {
		// Each challenge on its own field line: clients that read only the first
		// scheme of a line exist.
		h[field] = append(h[field], c.String())
	}
	for _, s := range g.c.Schemes {
		if d, ok := s.(*dpop); ok && d.c.Nonces && slices.ContainsFunc(f.Challenges, func(c Challenge) bool { return c.Scheme == "DPoP" }) {
			h.Set("DPoP-Nonce", d.nonce(g)) // RFC 9449 s9
		}
	}
	if f.RetryAfter > 0 {
		h.Set("Retry-After", retryAfter(f.RetryAfter))
	}
	if len(f.Allow) > 0 {
		h.Set("Allow", strings.Join(f.Allow, ", "))
	}
	if st := stateOf(r.Context()); g.cookie != nil && (st != nil && st.guard == g && st.clearCookie || f.Code == SessionExpired && f.Scheme == "Session") {
		g.cookie.clear(h)
	}
	h.Set("Durward-Denial", f.ID)
	h["Cache-Control"] = noStore
	h["Vary"], h["X-Content-Type-Options"] = varyRefusal, noSniff
	if r.Header.Get("Origin") != "" {
		h.Set("Access-Control-Expose-Headers", exposedFields)
	}
	var body []byte
	if f.Page {
		body, h["Content-Type"] = g.pageBody(f), pageType
		h.Set("Content-Security-Policy", pageSecurity)
		h.Set("Referrer-Policy", "no-referrer")
	} else {
		body, h["Content-Type"] = f.body(g.c.Docs), problemType
	}
	if f.Location != "" {
		h.Set("Location", f.Location)
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Del("Content-Encoding")
	w.WriteHeader(f.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

// refusal completes err for this request: id, sentences, challenges.
func (g *Guard) refusal(r *http.Request, err error) *Refusal {
	if f, ok := err.(*Refusal); ok && f != nil && f.ID != "" {
		return f // from Check
	}
	f := complete(err, g.c.Now())
	if f.Hint == table[f.Code].hint {
		if hint, ok := g.c.Hints[f.Code]; ok {
			f.Hint = hint
		}
	}
	st := stateOf(r.Context())
	if st == nil || st.guard != g {
		st = &requestState{Context: r.Context(), guard: g, route: g.every, chosen: -1}
		r = r.WithContext(st)
	}
	if st.route.proxy {
		asProxy(f)
	}
	f.Scheme, f.Challenges = g.challenges(r, f.Code, st)
	if f.Status == http.StatusUnauthorized && len(f.Challenges) == 0 && g.takesCerts(st.route) {
		// RFC 9110 s15.5.2 wants a challenge with a 401, and there is none for a
		// certificate.
		g.certificateRequired(f)
	}
	if st.route.Pages {
		if f.Page, f.Location = wantsPage(r), g.loginRedirect(r, st, f.Code); f.Location != "" {
			f.Status, f.Challenges = http.StatusSeeOther, nil
		}
	}
	return f
}

// challenges returns those that go with code, strongest first, with realm and
// whatever the guard knows and a scheme does not; and the name of the scheme
// whose credentials were refused.
func (g *Guard) challenges(r *http.Request, code Code, st *requestState) (own string, list []Challenge) {
	which := table[code].challenges
	if which == noChallenge && st.chosen < 0 {
		return "", nil
	}
	schemes, ofProof := st.route.schemes, code == InvalidProof || code == NonceRequired
	if ofProof && st.route.open {
		schemes = st.route.proofs
	}
	list = make([]Challenge, 0, len(schemes))
	for _, i := range schemes {
		s := g.c.Schemes[i]
		say := AuthenticationRequired
		if _, ok := s.(*dpop); i == st.chosen || which == oauthChallenges || ok && ofProof {
			say = code // a proof is this scheme's, with a token or alone (RFC 9449 s8)
		}
		for _, c := range s.Challenges(r, say) {
			if i == st.chosen && own == "" {
				own = c.Scheme
			}
			oauth := c.Scheme == "Bearer" || c.Scheme == "DPoP"
			switch which {
			case noChallenge:
				continue
			case ownChallenge:
				if i != st.chosen || !oauth {
					continue
				}
			case oauthChallenges:
				if !oauth {
					continue
				}
			}
			if c = g.decorate(c, &st.route.Policy); c.Valid() != nil {
				// A scheme or a policy with control characters in it costs the
				// parameters, not the challenge: a 401 has one (RFC 9110 s15.5.2).
				c = Challenge{Scheme: c.Scheme, Params: c.Params[:1:1]}
			}
			list = append(list, c)
		}
	}
	list = dropPlainBearer(list)
	if isScript(r) && !st.route.proxy {
		list = withoutDialogs(list)
	}
	slices.SortStableFunc(list, func(a, b Challenge) int { return strength(b.Scheme) - strength(a.Scheme) })
	// Two schemes may say the same: tokens of two issuers, a cookie and the sign-in.
	list = slices.CompactFunc(list, func(a, b Challenge) bool { return a.Scheme == b.Scheme && slices.Equal(a.Params, b.Params) })
	return own, list
}

// dropPlainBearer leaves out a plain Bearer challenge beside one that says why: an API
// key that came as a Bearer token is refused in the words of that scheme.
func dropPlainBearer(list []Challenge) []Challenge {
	why := func(c Challenge) bool { _, ok := c.Param("error"); return c.Scheme == "Bearer" && ok }
	if !slices.ContainsFunc(list, why) {
		return list
	}
	return slices.DeleteFunc(list, func(c Challenge) bool { return c.Scheme == "Bearer" && !why(c) })
}

// decorate adds realm and what the route and the configuration say to a
// scheme's own parameters.
func (g *Guard) decorate(c Challenge, p *Policy) Challenge {
	params := make([]Param, 0, len(c.Params)+5)
	params = append(append(params, Param{"realm", g.c.Realm}), c.Params...) // RFC 9110 s11.5
	code, _ := c.Param("error")
	if code == "insufficient_user_authentication" { // RFC 9470 s3
		stepUpParams(p, func(name, value string) { params = append(params, Param{name, value}) })
	}
	if len(p.Scopes) > 0 && (code == "insufficient_scope" || code == "insufficient_user_authentication") {
		params = append(params, Param{"scope", strings.Join(p.Scopes, " ")}) // RFC 6750 s3
	}
	switch c.Scheme {
	case "Bearer", "DPoP":
		if g.c.Metadata != "" {
			params = append(params, Param{"resource_metadata", g.c.Metadata}) // RFC 9728 s5.1
		}
	case "Session":
		if g.c.LoginURL != "" {
			params = append(params, Param{"login", g.c.LoginURL})
		}
	}
	c.Params = params
	return c
}

// stepUpParams tells set what p wants of a sign-in, in the words of RFC 9470 s3.
func stepUpParams(p *Policy, set func(name, value string)) {
	if len(p.ACR) > 0 {
		set("acr_values", strings.Join(p.ACR, " "))
	}
	if p.MaxAge > 0 {
		set("max_age", strconv.FormatInt(int64(p.MaxAge/time.Second), 10))
	}
}

// strength orders challenges: a client that takes the first scheme it knows
// takes the strongest.
func strength(scheme string) int { return slices.Index(weakestFirst, scheme) }

var weakestFirst = []string{"Basic", "Digest", "Session", "ApiKey", "Bearer", "DPoP"}

// isPreflight reports a CORS preflight (Fetch standard, CORS-preflight fetch).
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header["Origin"] != nil && r.Header["Access-Control-Request-Method"] != nil
}

// preflight takes step 2, and step 1 before it.
func (g *Guard) preflight(w http.ResponseWriter, r *http.Request) {
	if err := checkPath(r); err != nil {
		g.Refuse(w, r, err)
		return
	}
	if g.c.Preflight != nil {
		g.c.Preflight.ServeHTTP(w, r)
		return
	}
	w.Header().Add("Vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers")
	w.WriteHeader(http.StatusNoContent)
}
