package durward

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/durward-auth/durward/internal/origin"
)

// Scheme implements one authentication scheme: it extracts credentials from a request, verifies
// them and issues challenges. [Bearer] and the other constructors of this package return one.
//
// Presented is called for every scheme before any of them verifies, so that the credentials in the
// request select the scheme, never the order of configuration. found reports whether the request
// carries credentials of this scheme. ambient reports whether a browser attaches them by itself, as
// it does with a cookie or a client certificate; explicit credentials take precedence over ambient
// ones.
//
// Authenticate verifies the credentials that Presented found. An error that wraps a [Code] refuses
// the request. Any other error means that verification failed for an internal reason; the response
// is 503.
//
// Challenges returns the scheme's challenges without realm, which the guard adds. code is
// [AuthenticationRequired] unless the refused credentials were this scheme's own.
//
// All three are called concurrently. A scheme that a [Policy] names must be comparable, such as a
// pointer.
type Scheme interface {
	Presented(r *http.Request) (found, ambient bool)
	Authenticate(r *http.Request) (*Principal, error)
	Challenges(r *http.Request, code Code) []Challenge
}

// Config is the configuration of a [Guard]. Only Schemes is required.
type Config struct {
	// Schemes are the accepted schemes, in any order: challenges are sorted strongest
	// first. At least one is required.
	Schemes []Scheme

	// Realm is the protection space (RFC 9110 s11.5) of all challenges; the default is
	// "restricted". Permitted is printable ASCII without quotes and backslashes, which break Digest
	// clients.
	Realm string

	// PublicURL is the origin under which clients reach this server, such as
	// "https://api.example.com". If it is an https origin, browser navigations that arrive over
	// plain http are redirected to it. A path, such as that of "https://example.com/api", is a
	// prefix that a proxy removes from each request: proofs, Digest responses and redirects are
	// about the URL with it.
	PublicURL string

	// Metadata is the URL of the protected resource metadata (RFC 9728). Bearer and DPoP challenges
	// carry it as resource_metadata. [ResourceMetadata] serves the document.
	Metadata string

	// LoginURL is the URL of the sign-in page. Session challenges carry it as login, and routes
	// with Policy.Pages redirect navigations to it. Without it, challenges have no login parameter
	// and nothing is redirected. A sign-in page on another origin can send the user back only if
	// PublicURL is set.
	LoginURL string

	// Docs is the base URL of the pages that explain codes: the type of a refusal is Docs, a slash
	// and the code. If it is empty, type is about:blank.
	Docs string

	// Hints replace the hint of a code's refusals, where the application knows a better next step
	// than the table of this package. An empty one removes the hint.
	Hints map[Code]string

	// Proxies are the addresses of trusted reverse proxies: the guard reads the X-Forwarded-For and
	// X-Forwarded-Proto fields of these peers only. The default is none. A prefix that matches
	// every address is prohibited.
	//
	// Each proxy must append its peer to X-Forwarded-For. An entry that is no address, such as
	// "unknown", makes the client's address unknown (see [ClientAddr]). Each proxy must either
	// replace X-Forwarded-Proto or append to it: of several entries, the one of the outermost
	// trusted proxy decides. The schemes wss and ws count as https and http.
	Proxies []netip.Prefix

	// ProxySocket trusts the peers of unix sockets that this server listens on, like those in
	// Proxies. The mode of the socket's file decides which users of the machine can connect.
	ProxySocket bool

	// ClientCertFromProxies makes the guard read the client's certificate from a field of peers in
	// Proxies. Each of them must remove that field from the requests of its clients: a proxy that
	// forwards it lets every client impersonate every user. From other peers the guard removes the
	// field before handlers see it. Without this option it removes Client-Cert from all requests.
	ClientCertFromProxies bool

	// ClientCertFormat names that field and its format; the default is [ClientCertRFC9440].
	ClientCertFormat ClientCertFormat

	// MaxCredentials is the maximum length of a token and of the credentials of Basic and Digest,
	// in octets; the default is 16 KiB. Longer ones are refused before they are parsed. Raise it,
	// with http.Server.MaxHeaderBytes, for issuers that list many groups in a token. The verifier
	// may have a limit of its own.
	MaxCredentials int

	// InsecureEncodedSlashes accepts paths with %2F, and with %2E outside of dot segments, such as
	// "/@scope%2Fname" of package registries. The risk: a server behind this one that decodes the
	// path maps "/admin%2Fusers" to "/admin/users", while rules for "/admin/" do not match it here.
	// Set it only for routes with one rule for all paths, and decide by URL.EscapedPath: a proxy
	// forwards this text. http.ServeMux does; URL.Path does not tell the two apart.
	InsecureEncodedSlashes bool

	// InsecureDoubleSlashes accepts paths with empty segments, such as "/bucket//key" of object
	// stores. The risk: a server behind this one that merges slashes maps "/a//admin" to
	// "/a/admin". http.ServeMux redirects such a path to the merged one. A path that begins with
	// two slashes is refused nevertheless: browsers take it for the name of a host.
	InsecureDoubleSlashes bool

	// Origins are the origins, besides PublicURL, whose pages may send unsafe requests with the
	// session cookie, such as "https://app.example.com".
	Origins []string

	// Strongest returns the strongest authentication context class that the user can reach. If a
	// policy's ACR asks for a stronger one, the refusal is [EnrolmentRequired] instead of
	// [StepUpRequired], which this user could not satisfy. It is called only for requests that
	// would otherwise be answered with a step-up. Nil means unknown.
	Strongest func(context.Context, *Principal) (acr string, err error)

	// Preflight answers CORS preflights; it is usually the handler of a CORS library. If it is nil,
	// the answer is 204 without CORS fields. A preflight never reaches the protected handler.
	Preflight http.Handler

	// OnRefusal is called with each refusal before it is written, for logs and metrics. It must be
	// safe for concurrent use and must not write a response. If it is nil, refusals are logged with
	// their cause by slog.Default: those of status 500 and above as errors, others as information.
	OnRefusal func(*http.Request, *Refusal)

	// OnAccept is called with each accepted request before its handler runs, by the outermost
	// Require, Handler or Proxy of this guard. The principal is nil for an anonymous request. It
	// must be safe for concurrent use and must not write a response.
	OnAccept func(*http.Request, *Principal)

	// Page returns the HTML page of a refusal that a browser shows to its user (see Policy.Pages),
	// in place of the guard's own page. With it, refusals of GET requests at routes behind Open and
	// OpenWith, such as "not found", are pages for browsers too. It may set Content-Security-Policy and Referrer-Policy in h,
	// and no other field. It must be safe for concurrent use.
	Page func(h http.Header, r *http.Request, f *Refusal) []byte

	// Now is the clock; the default is time.Now.
	Now func() time.Time

	// InsecureAllowHTTP accepts credentials over plain http from every address. Without it, plain
	// http is refused unless the peer is on loopback and no forwarding field is present, or a
	// trusted proxy states that the client used https.
	InsecureAllowHTTP bool
}

// Policy states what a route requires beyond valid credentials. The zero Policy requires nothing
// more.
type Policy struct {
	// Schemes are the schemes of Config.Schemes that the route accepts; nil means all. Its
	// refusals carry the challenges of these schemes only, and a request is treated as if
	// the guard had no other: explicit credentials of another scheme are [UnsupportedScheme],
	// an ambient one (a cookie, a client certificate) is ignored. A scheme that is not in
	// Config.Schemes is a programming mistake: the method that receives the policy panics.
	Schemes []Scheme

	// Scopes are the scopes that the credentials must have, all of them (RFC 6749 s3.3).
	Scopes []string

	// ACR lists the accepted authentication context classes in order of preference (RFC 9470 s4).
	// Within Durward's own order (urn:durward:acr:1fa, urn:durward:acr:2fa, phr), a stronger class
	// satisfies a weaker one.
	ACR []string

	// MaxAge is the maximum time since the user signed in; 0 means no limit.
	MaxAge time.Duration

	// Optional accepts requests without credentials as anonymous. Invalid explicit credentials are
	// refused nevertheless. An expired session cookie makes the request anonymous and is cleared.
	Optional bool

	// Pages is for routes that users open in a browser. A navigation that needs a sign-in is
	// redirected to the guard's LoginURL with return_to (see [ReturnTo]), and with acr_values and
	// max_age if a stronger or more recent sign-in is required (RFC 9470 s4). return_to is the path
	// as the guard sees it, so a guard belongs outside http.StripPrefix. In frames, after form
	// submissions and without a LoginURL the refusal is an HTML page. Scripts and other programs
	// always receive problem details.
	Pages bool

	// Stream is for long-running requests such as WebSockets and event streams: the request's
	// context ends when the credentials do, because they expire or because their scheme, asked
	// again every second (see [Rechecked]), reports a revocation. context.Cause returns the reason.
	// The handler must end with its context; this includes a hijacked connection. If the scheme
	// cannot be asked, a stream continues for one minute. It ends when the handler returns, so a
	// handler that passes a connection on has to wait for it.
	Stream bool

	// Freshness is the maximum age of the knowledge that the credentials were not revoked, measured
	// from Principal.AsOf; 0 accepts what the scheme accepts. If the knowledge is older, the
	// response is [AuthUnavailable], and a stream ends. A scheme that caches results verifies anew
	// where it can (see [Remember], [Rechecked]). A token whose verifier receives no revocations
	// counts as known since it was issued.
	Freshness time.Duration

	// Allow decides what the other fields cannot express, after them. Its error is treated like a
	// scheme's: a [Code] refuses, any other error is [AuthUnavailable]. The principal is nil for an
	// anonymous request.
	Allow func(*http.Request, *Principal) error
}

// Guard protects handlers: it verifies credentials and writes all 401, 403 and 407 responses. A
// Guard is safe for concurrent use.
type Guard struct {
	c      Config   // as given, with defaults
	public *url.URL // of PublicURL, or nil
	prefix string   // path of PublicURL, without a final slash
	login  *url.URL // of LoginURL, or nil
	every  *route   // of the zero Policy: accepts all schemes
	certs  bool     // Schemes holds ClientCert
	cookie *cookie  // from Schemes, or nil

	certFormat certFormat // of ClientCertFormat
	certFields []string   // that only trusted proxies may send
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
	tokens := 0       // schemes made by Bearer
	for _, s := range c.Schemes {
		// Two schemes that match the same request would make the order of Schemes decide.
		switch s := s.(type) {
		case *apiKey:
			for _, prefix := range keys {
				if strings.HasPrefix(prefix, s.prefix) || strings.HasPrefix(s.prefix, prefix) {
					mistake("Schemes holds APIKey for %q and for %q: a key would match both", prefix, s.prefix)
				}
			}
			keys = append(keys, s.prefix)
		case *bearer:
			if tokens++; tokens == 2 {
				mistake("Schemes holds Bearer twice: the first would verify all tokens; give one, for several issuers that of jwt.NewIssuers")
			}
		case *cookie:
			if g.cookie != nil {
				mistake("Schemes holds Cookie twice: a request with both would be ambiguous")
			}
			g.cookie = s
		case *clientCert:
			if g.certs {
				mistake("Schemes holds ClientCert twice: give one of them all Roots and Keys")
			}
			g.certs = true
		}
		if s, ok := s.(interface {
			mistakes(report func(string, ...any))
		}); ok {
			s.mistakes(mistake)
		}
	}
	all := make([]int, len(c.Schemes))
	for i := range all {
		all[i] = i
	}
	format, ok := certFormats[cmp.Or(c.ClientCertFormat, ClientCertRFC9440)]
	switch {
	case !ok:
		mistake("ClientCertFormat %q: want one of %q", c.ClientCertFormat, slices.Sorted(maps.Keys(certFormats)))
	case c.ClientCertFormat != "" && !c.ClientCertFromProxies:
		mistake("ClientCertFormat without ClientCertFromProxies: its field would not be read; set both")
	case c.ClientCertFromProxies && len(c.Proxies) == 0 && !c.ProxySocket:
		mistake("ClientCertFromProxies without Proxies: the field of no peer would be read; set Proxies or ProxySocket")
	}
	g.certFormat, g.certFields = format, slices.Clone(certFormats[ClientCertRFC9440].fields)
	if c.ClientCertFormat != ClientCertRFC9440 && c.ClientCertFormat != "" {
		g.certFields = append(g.certFields, format.fields...)
	}
	g.every = &route{schemes: all, vary: g.varyOn(all)}
	if c.MaxCredentials < 0 {
		mistake("MaxCredentials may not be negative")
	}
	g.c.MaxCredentials = cmp.Or(c.MaxCredentials, 16<<10)
	g.c.Realm = cmp.Or(c.Realm, "restricted")
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
			if parsed.RawQuery != "" || parsed.Fragment != "" || parsed.Path != "" && nonCanonicalPath(parsed, pathForms{}) != "" {
				mistake("PublicURL %q: an origin, or one with a canonical path, without query and fragment", u.value)
			}
			g.public, g.prefix = parsed, strings.TrimSuffix(parsed.EscapedPath(), "/")
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
		if err != nil || u.Host == "" || o != origin.Of(u.Scheme, u.Host) {
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
	if c.OnRefusal == nil {
		g.c.OnRefusal = logRefusal
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return g, nil
}

// Protect combines [New] and [Guard.Handler]: it passes only requests with valid credentials of one
// of schemes on to next. It panics on invalid arguments, like regexp.MustCompile.
func Protect(next http.Handler, schemes ...Scheme) http.Handler {
	if len(schemes) == 0 {
		panic("durward: Protect without a scheme: pass one, such as jwt.Bearer(issuer, audience)")
	}
	g, err := New(Config{Schemes: schemes})
	if err != nil {
		panic(err)
	}
	return g.Handler(next)
}

// Handler passes only requests with valid credentials on to next.
func (g *Guard) Handler(next http.Handler) http.Handler { return g.Require(Policy{}, next) }

// Require passes only requests that satisfy p on to next, which gets the principal with [From].
// CORS preflights are answered here. A response to a request with credentials is private to shared
// caches unless next sets Cache-Control (RFC 9111 s3.5). next receives the ResponseWriter
// unwrapped.
//
// Guards nest. Inside a handler of the same Guard, the client's address, https and the path are
// already resolved and are not resolved again. Inside Require, the principal is also known and only
// p is checked, unless p.Schemes selects other credentials than the outer policy did: those are
// then verified.
func (g *Guard) Require(p Policy, next http.Handler) http.Handler {
	to := g.route(p)
	needHandler(next)
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
			// The session store is unavailable: caches must not keep this anonymous response.
			h.Set("Cache-Control", "no-store")
		}
		g.serve(w, r, st, next)
	})
}

// needHandler panics on a nil handler, at which each request would panic.
func needHandler(next http.Handler) {
	if f, ok := next.(http.HandlerFunc); next == nil || ok && f == nil {
		panic("durward: the handler to protect is nil: pass the handler of your routes, such as http.DefaultServeMux")
	}
}

// Values of response fields, shared by all responses. Their capacity equals their length, so that
// appending to one copies it.
var (
	varyRefusal = []string{"Authorization, Cookie, Origin, Accept, Sec-Fetch-Mode, Sec-Fetch-Dest, X-Requested-With, X-API-Key, DPoP"}
	private     = []string{"private"}
	noStore     = []string{"no-store"}
	noSniff     = []string{"nosniff"}
	problemType = []string{"application/problem+json"} // RFC 9457 s3
	pageType    = []string{"text/html; charset=utf-8"}
)

// serve passes an accepted request on to next. It calls OnAccept once for each request.
func (g *Guard) serve(w http.ResponseWriter, r *http.Request, st *requestState, next http.Handler) {
	if g.c.OnAccept != nil && !st.nested {
		g.c.OnAccept(r, st.principal)
	}
	if st.route.Stream && st.principal != nil && !st.streaming {
		var stop func()
		r, stop = g.stream(r, st)
		defer stop()
	}
	next.ServeHTTP(w, r)
}

// Open protects a route that needs no credentials, such as the sign-in itself: it checks path and
// transport, answers preflights and ignores credentials. [ClientAddr] works in next. Refusals that
// next writes with [Guard.Refuse] carry the challenges of all schemes of the guard.
func (g *Guard) Open(next http.Handler) http.Handler { return g.open(nil, next) }

// OpenWith is like Open, but refusals that next writes carry only the challenges of schemes, each
// of which is in Config.Schemes. A refused DPoP proof of [Guard.HeldKey] adds the DPoP challenge.
func (g *Guard) OpenWith(next http.Handler, schemes ...Scheme) http.Handler {
	return g.open(append([]Scheme{}, schemes...), next)
}

func (g *Guard) open(schemes []Scheme, next http.Handler) http.Handler {
	to := *g.route(Policy{Schemes: schemes})
	to.open = true
	needHandler(next)
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

// SameOrigin returns an error that wraps [CrossSite] if a browser sent the unsafe request r for a
// page of another origin (step 6). It is for handlers inside [Guard.Open] that set, use or clear a
// session cookie themselves: on routes with Require the guard performs this check whenever the
// cookie authenticates the request.
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

// Check checks r against p without writing a response. It returns the principal, which is nil for
// an accepted anonymous request, or a complete *[Refusal] for [Guard.Refuse]. p.Stream has no
// effect. Check does not change r: a Client-Cert field that Require would remove is still present.
func (g *Guard) Check(r *http.Request, p Policy) (*Principal, error) {
	r, st, err := g.check(r, g.route(p))
	if err != nil {
		return nil, g.refusal(r, err)
	}
	return st.principal, nil
}

// From returns the principal that a guard authenticated for the request with this context, or nil
// if there is none.
func From(ctx context.Context) *Principal {
	if st := stateOf(ctx); st != nil {
		return st.principal
	}
	return nil
}

// ClientAddr returns the client's address: the TCP peer, or the right-most address in
// X-Forwarded-For that is not a trusted proxy. It is the zero Addr outside a guard, on listeners
// without addresses, and if a trusted proxy states no address. Limits by address then count all
// such clients as one.
func ClientAddr(ctx context.Context) netip.Addr {
	if st := stateOf(ctx); st != nil {
		return st.client
	}
	return netip.Addr{}
}

// FreshEnough reports whether the Policy.Freshness of the route with this context accepts knowledge
// of the given age. A check that caches its results verifies anew if it does not. Outside a guard
// every age is accepted.
func FreshEnough(ctx context.Context, age time.Duration) bool {
	st := stateOf(ctx)
	return st == nil || st.route.Freshness <= 0 || age <= st.route.Freshness
}

// requestState is the state that one guard keeps for one request, stored in the request's context.
// It is a context itself, so that storing it costs one allocation.
type requestState struct {
	context.Context
	guard       *Guard
	route       *route // of the innermost handler; never nil
	client      netip.Addr
	https       bool                // the client used https, to this listener or to a trusted proxy
	local       bool                // the peer is on loopback and no proxy is in between
	certErr     string              // why the certificate fields are malformed, or ""
	nested      bool                // inside a Require or Proxy handler of the same guard
	streaming   bool                // the request's context ends with the credentials
	rechecking  bool                // the credentials are verified again during the request
	credentials Credentials         // of the Authorization or Proxy-Authorization field
	quoted      quotes              // which parameters of credentials were quoted
	authInfo    string              // value of the Authentication-Info response field
	ambient     bool                // the selected credentials are ambient
	clearCookie bool                // the response clears the session cookie
	ignoredErr  error               // why ambient credentials were ignored, on an optional route
	fromProxy   bool                // the peer is a trusted proxy, on a network or a unix socket
	certs       []*x509.Certificate // the client's certificate chain, leaf first
	candidates  []int               // schemes that step 4 selected from; nil before
	chosen      int                 // index of the selected scheme in Config.Schemes, or -1
	principal   *Principal
}

type stateKey struct{}

func (st *requestState) Value(key any) any {
	if key == (stateKey{}) {
		return st
	}
	return st.Context.Value(key)
}

func stateOf(ctx context.Context) *requestState {
	if st, ok := ctx.(*requestState); ok { // the usual case, without a search
		return st
	}
	st, _ := ctx.Value(stateKey{}).(*requestState)
	return st
}

// route is a Policy prepared for one handler of a guard.
type route struct {
	Policy
	schemes []int    // accepted schemes, as indices of Config.Schemes, ascending
	vary    []string // value of the Vary response field
	open    bool     // made by Open or OpenWith
	proxy   bool     // made by Proxy: the credentials are meant for the proxy
}

// route prepares p. It panics on a scheme that is not in Config.Schemes.
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
		if s != nil && !reflect.ValueOf(s).Comparable() {
			panic(fmt.Sprintf("durward: Policy.Schemes holds a %T, which cannot be compared with those of Config.Schemes: use a pointer", s))
		}
		i := slices.Index(g.c.Schemes, s)
		if i < 0 {
			panic(fmt.Sprintf("durward: Policy.Schemes holds a %T that Config.Schemes does not hold", s))
		}
		if !slices.Contains(to.schemes, i) {
			to.schemes = append(to.schemes, i)
		}
	}
	slices.Sort(to.schemes) // in the order of Config.Schemes
	to.vary = g.varyOn(to.schemes)
	return to
}

// varyOn returns the value of Vary for a route that accepts schemes.
func (g *Guard) varyOn(schemes []int) []string {
	vary := "Authorization"
	if g.c.ClientCertFromProxies && g.takesCerts(schemes) {
		vary += ", " + g.certFormat.vary // RFC 9440 s2.4
	}
	if g.cookie != nil && slices.ContainsFunc(schemes, func(i int) bool { return g.c.Schemes[i] == Scheme(g.cookie) }) {
		vary += ", Cookie"
	}
	return []string{vary + ", X-API-Key"}
}

// enter performs steps 1 and 3 and returns the request with its state. Inside a handler of the same
// guard both steps are done, and only the route changes.
func (g *Guard) enter(r *http.Request, to *route) (*http.Request, *requestState, error) {
	if st := stateOf(r.Context()); st != nil && st.guard == g && st.route.proxy == to.proxy {
		inner := *st
		inner.Context, inner.route, inner.nested = r.Context(), to, st.candidates != nil
		return r.WithContext(&inner), &inner, nil
	}
	r, st := g.resolve(r, to)
	return r, st, g.checkTransport(r, st)
}

// check performs the steps of a decision, in their order, and returns the request with its state.
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
	// The outer route selected other credentials: its result does not apply here.
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

// checkNested checks the policy of a nested route for which the outer route's result applies.
func (g *Guard) checkNested(r *http.Request, st *requestState) error {
	if st.principal == nil && !st.route.Optional {
		if st.ignoredErr != nil {
			// The request had credentials that could not be verified: this is an outage, not a 401.
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

// resolve determines the client's address, scheme and certificates, once for each request.
func (g *Guard) resolve(r *http.Request, to *route) (*http.Request, *requestState) {
	st := &requestState{Context: r.Context(), guard: g, route: to, https: r.TLS != nil, chosen: -1}
	if unixPeer(r) {
		st.fromProxy = g.c.ProxySocket
	} else if peer, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		st.client = peer.Addr().Unmap().WithZone("")
		st.fromProxy = g.trusts(st.client)
	}
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

// checkPath performs step 1: it refuses a path that is not canonical.
func (g *Guard) checkPath(r *http.Request) error {
	if r.URL.Path == "*" && r.Method == http.MethodOptions {
		return nil // RFC 9110 s9.3.7
	}
	if why := nonCanonicalPath(r.URL, pathForms{g.c.InsecureEncodedSlashes, g.c.InsecureDoubleSlashes}); why != "" {
		return &Refusal{Code: InvalidRequest, Detail: "The path of the request is not canonical.",
			Hint: "Send the path without empty segments, dot segments and encoded separators.", Err: errors.New(why)}
	}
	return nil
}

// checkTransport performs steps 1 and 3: the path is canonical, the certificate fields are
// well-formed, the connection is for this host, and it is secure.
func (g *Guard) checkTransport(r *http.Request, st *requestState) error {
	if !st.route.proxy { // a forward proxy leaves the path to the origin
		if err := g.checkPath(r); err != nil {
			return err
		}
	}
	if st.certErr != "" {
		return fmt.Errorf("%s: %w", st.certErr, InvalidRequest)
	}
	if g.certs && !st.route.proxy && !st.fromProxy { // a proxy's connections are for its own names
		if why := misdirected(r); why != "" {
			return fmt.Errorf("%s: %w", why, MisdirectedRequest) // RFC 9110 s15.5.20
		}
	}
	if st.https || st.local || g.c.InsecureAllowHTTP {
		return nil
	}
	return fmt.Errorf("plain http %s: %w", plainHTTP(r, st), InsecureTransport)
}

// plainHTTP describes the peer of a request over plain http, for the log, and says which field of a
// trusted proxy or which setting is missing.
func plainHTTP(r *http.Request, st *requestState) string {
	const accept = "; Config.InsecureAllowHTTP would accept plain http"
	peer := "a peer without an address"
	switch field, sent := r.Header["X-Forwarded-Proto"]; {
	case st.fromProxy && !sent:
		return "from a trusted proxy that sends no X-Forwarded-Proto; let it send its client's scheme, in nginx: proxy_set_header X-Forwarded-Proto $scheme;"
	case st.fromProxy:
		value := strings.Join(field, ",")
		return fmt.Sprintf("between a trusted proxy and its client: the proxy sends X-Forwarded-Proto %q", value[:min(len(value), 64)])
	case unixPeer(r):
		return "on a unix socket; if a proxy connects there, trust it with Config.ProxySocket" + accept
	case st.client.IsLoopback():
		peer = "loopback with forwarding fields, and no trusted proxy at " + st.client.String()
	case st.client.IsValid():
		peer = st.client.String()
	}
	return fmt.Sprintf("from %s; if a proxy there terminates TLS, add it to Config.Proxies%s", peer, accept)
}

// redirectOrRefuse answers a request that failed a step. A navigation over plain http is redirected
// to the same page over https; everything else is refused.
func (g *Guard) redirectOrRefuse(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, InsecureTransport) && g.public != nil && g.public.Scheme == "https" && isNavigation(r) {
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, "https://"+g.public.Host+g.prefix+r.URL.RequestURI(), http.StatusPermanentRedirect)
		return
	}
	g.Refuse(w, r, err)
}

// selectScheme performs step 4: it returns the index of the scheme whose credentials the request
// presents, or -1 if there are none.
func (g *Guard) selectScheme(r *http.Request, st *requestState) (chosen int, byItself bool, err error) {
	field, keys := "Authorization", len(r.Header["X-Api-Key"])
	if st.route.proxy {
		field, keys = "Proxy-Authorization", 0 // RFC 9110 s11.7.2: the rest is the origin's
	}
	st.credentials, st.quoted = Credentials{}, quotes{}
	lines := r.Header[field]
	if n := len(lines) + keys; n > 1 {
		return -1, false, fmt.Errorf("%d sets of explicit credentials: %w", n, AmbiguousCredentials)
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
		case found && byItself && (ambient < 0 || isCert(s)): // a certificate is stronger than a cookie
			ambient = i
		}
	}
	switch {
	case explicit >= 0:
		return explicit, false, nil
	case len(lines) == 1:
		return -1, false, fmt.Errorf("the scheme of the %s field is not accepted: %w", field, UnsupportedScheme)
	case keys == 1:
		// An API key that no scheme accepts is explicit all the same: ambient credentials are
		// ignored.
		return -1, false, nil
	}
	return ambient, ambient >= 0, nil
}

// credentialsIn parses the single set of credentials in a field line (RFC 9110 s11.4) and reports
// which of its parameters are quoted.
func credentialsIn(field, line string) (Credentials, quotes, error) {
	c, quoted, err := parseCredentials(line)
	if err != nil {
		if list, listErr := ParseChallenges([]string{line}); listErr == nil && len(list) > 1 {
			return c, quoted, fmt.Errorf("%d credentials in one %s field: %w", len(list), field, AmbiguousCredentials)
		}
		return c, quoted, fmt.Errorf("the %s field: %w: %w", field, err, MalformedCredentials)
	}
	if c.Token68 == "" && len(c.Params) == 0 {
		// Usually a token that was sent without its scheme.
		return c, quoted, fmt.Errorf("a single word in the %s field: a token without its scheme, or a scheme without credentials: %w", field, MalformedCredentials)
	}
	return c, quoted, nil
}

// noCredentials is the refusal of step 5.
func noCredentials(r *http.Request, st *requestState) error {
	if st.route.proxy {
		return ProxyAuthenticationRequired
	}
	if strings.Contains(r.URL.RawQuery, "access_token=") {
		// RFC 9700 s4.3.2: never from the URL.
		return &Refusal{Code: AuthenticationRequired,
			Hint: "A token in the query string is ignored. Send it as Authorization: Bearer TOKEN.",
			Err:  errors.New("no credentials, only a token in the query string")}
	}
	// The cause names credentials that the route does not accept: the client may have meant them.
	switch {
	case r.Header["X-Api-Key"] != nil:
		return fmt.Errorf("no credentials, only an X-API-Key field, which this route does not accept: %w", AuthenticationRequired)
	case r.Header["Cookie"] != nil:
		return fmt.Errorf("no credentials, only cookies that this route does not accept: %w", AuthenticationRequired)
	}
	return errNoCredentials
}

// errNoCredentials is allocated once, since it is the most frequent refusal.
var errNoCredentials = fmt.Errorf("no credentials in the request: %w", AuthenticationRequired)

// checkFreshness returns an error if the knowledge that who's credentials were not revoked is older
// than the route permits. The error wraps no code: it is an outage.
func (g *Guard) checkFreshness(to *route, who *Principal) error {
	if to.Freshness <= 0 || who == nil || who.AsOf.IsZero() {
		return nil
	}
	if age := g.c.Now().Sub(who.AsOf); age > to.Freshness {
		return fmt.Errorf("last known not revoked %s ago, at most %s is allowed", age.Truncate(time.Millisecond), to.Freshness)
	}
	return nil
}

// recheckFreshness is checkFreshness for a principal that an outer route authenticated. If the
// scheme can verify again, it does.
func (g *Guard) recheckFreshness(r *http.Request, st *requestState) error {
	err := g.checkFreshness(st.route, st.principal)
	if err == nil {
		return nil
	}
	s, ok := g.c.Schemes[st.chosen].(Rechecked)
	if !ok {
		return err
	}
	who, err := recheck(s, st.rechecked(st.Context, r))
	if err == nil {
		err = g.checkFreshness(st.route, who)
	}
	if err == nil {
		st.principal = who
	}
	return err
}

// authorize performs steps 9 and 10: authentication strength, scopes and Policy.Allow.
func (g *Guard) authorize(r *http.Request, st *requestState) error {
	p, who := &st.route.Policy, st.principal
	if who != nil {
		if why := g.stepUpReason(p, who); why != "" {
			if st.route.proxy || who.ACR == "" && who.AuthTime.IsZero() {
				// There is no sign-in behind these credentials that could be repeated.
				return fmt.Errorf("%s, and these credentials cannot step up: %w", why, Forbidden)
			}
			if g.c.Strongest != nil && !satisfiesACR(p, who.ACR) {
				switch acr, err := g.c.Strongest(r.Context(), who); {
				case err != nil:
					return err
				case !satisfiesACR(p, acr):
					return fmt.Errorf("%s, and this user can reach no more than %q: %w", why, acr, EnrolmentRequired)
				}
			}
			return fmt.Errorf("%s: %w", why, StepUpRequired)
		}
		if !who.HasScope(p.Scopes...) {
			return &Refusal{Code: InsufficientScope, Members: map[string]any{
				"required_scopes": p.Scopes, "granted_scopes": append([]string{}, who.Scopes...)},
				Err: fmt.Errorf("scope %q is required, granted is %q", strings.Join(p.Scopes, " "), strings.Join(who.Scopes, " "))}
		}
	}
	if p.Allow != nil {
		return p.Allow(r, who)
	}
	return nil
}

// stepUpReason returns why the user's sign-in is too weak or too old for p, or "".
func (g *Guard) stepUpReason(p *Policy, who *Principal) string {
	if !satisfiesACR(p, who.ACR) {
		return fmt.Sprintf("acr is %q, required is one of %q", who.ACR, p.ACR)
	}
	if p.MaxAge > 0 {
		if who.AuthTime.IsZero() {
			return fmt.Sprintf("time of sign-in unknown, at most %s ago is required", p.MaxAge)
		}
		if age := g.c.Now().Sub(who.AuthTime); age > p.MaxAge {
			return fmt.Sprintf("signed in %s ago, at most %s is allowed", age.Truncate(time.Second), p.MaxAge)
		}
	}
	return ""
}

// satisfiesACR reports whether acr is one that p accepts, or a stronger one.
func satisfiesACR(p *Policy, acr string) bool {
	return len(p.ACR) == 0 || slices.ContainsFunc(p.ACR, func(want string) bool { return atLeast(acr, want) })
}

// acrLadder is Durward's own order of authentication context classes, weakest first.
var acrLadder = []string{"urn:durward:acr:1fa", "urn:durward:acr:2fa", "phr"}

func atLeast(have, want string) bool {
	if have == want {
		return true
	}
	h, w := slices.Index(acrLadder, have), slices.Index(acrLadder, want)
	return w >= 0 && h > w
}

// Refuse writes the refusal that err describes: a [Code], a *[Refusal], or any other error, which
// is [AuthUnavailable]. Handlers inside the guard may call it. The client receives only the texts
// of the refusal; the cause is passed to OnRefusal. All refusals of the guard are written here.
func (g *Guard) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	f := g.refusal(r, err)
	g.c.OnRefusal(r, f)
	h := w.Header()
	field := "Www-Authenticate"
	if byProxy(f) {
		field = "Proxy-Authenticate" // RFC 9110 s15.5.8
	}
	for _, c := range f.Challenges {
		// Each challenge has its own field line, because some clients read only the first scheme of
		// a line.
		h[field] = append(h[field], c.String())
	}
	for _, s := range g.c.Schemes {
		if d, ok := s.(*dpop); ok && d.c.Nonces && slices.ContainsFunc(f.Challenges, func(c Challenge) bool { return c.Scheme == "DPoP" }) {
			h.Set("DPoP-Nonce", d.nonce(g)) // RFC 9449 s9
		}
	}
	if f.RetryAfter > 0 {
		// RFC 9110 s10.2.3: whole seconds, rounded up: a client that obeys is never too early.
		h.Set("Retry-After", strconv.FormatInt(int64((f.RetryAfter-1)/time.Second)+1, 10))
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
		h["Content-Type"] = pageType
		h.Set("Content-Security-Policy", pageSecurity)
		h.Set("Referrer-Policy", "no-referrer")
		if g.c.Page != nil {
			body = g.c.Page(h, r, f)
		} else {
			body = g.pageBody(f)
		}
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

// Report completes err as Refuse does and calls Config.OnRefusal, without a response. It is for a
// page that shows a refusal in its form, such as a wrong password, so that the refusal has an id and
// a recorded cause like any other.
func (g *Guard) Report(r *http.Request, err error) *Refusal {
	f := g.refusal(r, err)
	g.c.OnRefusal(r, f)
	return f
}

// refusal completes err for this request: id, texts, challenges, page or redirect.
func (g *Guard) refusal(r *http.Request, err error) *Refusal {
	if f, ok := err.(*Refusal); ok && f != nil && f.ID != "" {
		return f // from Check
	}
	f := g.complete(err)
	st := stateOf(r.Context())
	if st == nil || st.guard != g {
		st = &requestState{Context: r.Context(), guard: g, route: g.every, chosen: -1}
		r = r.WithContext(st)
	}
	if st.route.proxy {
		asProxy(f)
	}
	f.Scheme, f.Challenges = g.challenges(r, f.Code, st)
	if errors.Is(f.Err, errTooLong) {
		// The sentence of the code is about other faults of a token.
		for _, c := range f.Challenges {
			for i := range c.Params {
				if c.Params[i].Name == "error_description" {
					c.Params[i].Value = f.Detail
				}
			}
		}
	}
	if f.Status == http.StatusUnauthorized && len(f.Challenges) == 0 && g.takesCerts(st.route.schemes) {
		// A 401 needs a challenge (RFC 9110 s15.5.2), and there is none for certificates. They
		// cannot step up.
		f.Detail, f.Hint = "", ""
		if f.Code == StepUpRequired {
			g.fill(f, Forbidden)
		} else {
			g.fill(f, ClientCertificateRequired)
		}
	}
	opened := g.c.Page != nil && (st.route.open || st.route == g.every) && (r.Method == http.MethodGet || r.Method == http.MethodHead)
	f.Page = (st.route.Pages || opened) && wantsPage(r)
	if st.route.Pages {
		if f.Location = g.loginRedirect(r, st, f.Code); f.Location != "" {
			f.Status, f.Challenges = http.StatusSeeOther, nil
		}
	}
	return f
}

// challenges returns the challenges that accompany code, strongest first, with the parameters that
// the guard adds. own is the scheme of the refused credentials, or "".
func (g *Guard) challenges(r *http.Request, code Code, st *requestState) (own string, list []Challenge) {
	which := table[code].challenges
	if which == noChallenge && st.chosen < 0 {
		return "", nil
	}
	list = make([]Challenge, 0, len(st.route.schemes))
	for i, s := range g.c.Schemes {
		_, ofProof := s.(*dpop) // a proof belongs to DPoP, with a token or alone (RFC 9449 s8)
		ofProof = ofProof && (code == InvalidProof || code == NonceRequired)
		if !slices.Contains(st.route.schemes, i) && !(ofProof && st.route.open) {
			continue
		}
		say := AuthenticationRequired
		if i == st.chosen || which == oauthChallenges || ofProof {
			say = code
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
			if c = g.decorate(c, code, &st.route.Policy); c.Valid() != nil {
				// Control characters from a scheme or a policy remove the parameters, not the
				// challenge: a 401 must have one (RFC 9110 s15.5.2).
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
	// Two schemes may issue the same challenge: token verifiers of two issuers, or a cookie and the
	// sign-in.
	list = slices.CompactFunc(list, func(a, b Challenge) bool { return a.Scheme == b.Scheme && slices.Equal(a.Params, b.Params) })
	return own, list
}

// dropPlainBearer removes a Bearer challenge without error if another one has an error: the refusal
// of an API key that was sent as a Bearer token.
func dropPlainBearer(list []Challenge) []Challenge {
	why := func(c Challenge) bool { _, ok := c.Param("error"); return c.Scheme == "Bearer" && ok }
	if !slices.ContainsFunc(list, why) {
		return list
	}
	return slices.DeleteFunc(list, func(c Challenge) bool { return c.Scheme == "Bearer" && !why(c) })
}

// decorate adds the realm and the parameters that depend on code, route and configuration.
func (g *Guard) decorate(c Challenge, code Code, p *Policy) Challenge {
	params := make([]Param, 0, len(c.Params)+5)
	params = append(append(params, Param{"realm", g.c.Realm}), c.Params...) // RFC 9110 s11.5
	oauth := c.Scheme == "Bearer" || c.Scheme == "DPoP"
	failed, _ := c.Param("error")
	if failed == "insufficient_user_authentication" { // RFC 9470 s3
		stepUpParams(p, func(name, value string) { params = append(params, Param{name, value}) })
	}
	// RFC 6750 s3. A client that finds the issuer by the metadata (RFC 9728) requests these scopes.
	if len(p.Scopes) > 0 && (failed == "insufficient_scope" || failed == "insufficient_user_authentication" ||
		oauth && g.c.Metadata != "" && code.Status() == http.StatusUnauthorized) {
		params = append(params, Param{"scope", strings.Join(p.Scopes, " ")})
	}
	switch {
	case oauth && g.c.Metadata != "":
		params = append(params, Param{"resource_metadata", g.c.Metadata}) // RFC 9728 s5.1
	case c.Scheme == "Session" && g.c.LoginURL != "":
		params = append(params, Param{"login", g.c.LoginURL})
	}
	c.Params = params
	return c
}

// stepUpParams calls set with the parameters of a step-up's requirements (RFC 9470 s3).
func stepUpParams(p *Policy, set func(name, value string)) {
	if len(p.ACR) > 0 {
		set("acr_values", strings.Join(p.ACR, " "))
	}
	if p.MaxAge > 0 {
		set("max_age", strconv.FormatInt(int64(p.MaxAge/time.Second), 10))
	}
}

// strength orders challenges, because some clients take the first scheme that they know.
func strength(scheme string) int { return slices.Index(weakestFirst, scheme) }

var weakestFirst = []string{"Basic", "Digest", "Session", "ApiKey", "Bearer", "DPoP"}

// isPreflight reports whether r is a CORS preflight (Fetch standard, CORS-preflight fetch).
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header["Origin"] != nil && r.Header["Access-Control-Request-Method"] != nil
}

// preflight performs steps 1 and 2 for a CORS preflight.
func (g *Guard) preflight(w http.ResponseWriter, r *http.Request) {
	if err := g.checkPath(r); err != nil {
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
