// Package httpapi implements Durward's HTTP API: every URL, and the table that maps errors of the
// rules to refusals. The rules are in account, session and issuer, the SQL is in store.
package httpapi

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/metrics"
	"github.com/durward-auth/durward/server/internal/oauth"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/revocation"
	"github.com/durward-auth/durward/server/internal/securitylog"
	"github.com/durward-auth/durward/server/internal/session"
	"github.com/durward-auth/durward/server/internal/store"
)

// Config holds the parts and the settings of a Server.
type Config struct {
	Parts
	Settings
}

// Parts are the parts of the node that the server works with. DB, Accounts, Issuer, Sessions, Revocations,
// Feed and SecurityLog are required.
type Parts struct {
	DB          *store.DB
	Accounts    *account.Manager
	Issuer      *issuer.Issuer
	Sessions    *session.Manager
	OAuth       *oauth.Manager    // nil: no other programs get tokens
	Revocations *revoked.Follower // polls Feed
	Feed        *revocation.Feed
	SecurityLog *securitylog.Writer // gets the refusals

	Proofs jwt.SharedProofs // DPoP proofs used at other nodes; nil for one node
	Redis  func() error     // reports whether Redis is reachable; nil without Redis
	Mail   func() error     // reports whether the last mail was sent; nil without mail

	Metrics *metrics.Metrics // nil: nothing is measured

	// Pages returns the pages of the server; nil means none.
	Pages func(*Server) Pages

	Log *slog.Logger     // nil: no log
	Now func() time.Time // nil: time.Now
}

// Settings are the operator's choices. PublicURL is required.
type Settings struct {
	PublicURL          string                   // for links and challenges; its path is the prefix of all URLs
	Registration       string                   // "open": every client may create an account; "invite": only invited users; "" or "off"
	AdminWithoutFactor bool                     // administrators need no second factor for administration
	Basic              bool                     // accept e-mail address and password with each request (RFC 7617)
	DPoP               bool                     // bind tokens to the key of a client that sends a proof (RFC 9449)
	Origins            []string                 // of other sites with scripts that call the API
	Proxies            []netip.Prefix           // trusted proxies
	ProxySocket        bool                     // trust peers on unix sockets, too
	ClientCert         durward.ClientCertFormat // of certificates that trusted proxies pass; empty: none are read
	InsecureAllowHTTP  bool                     // accept passwords and tokens over plain http from every address

	// Figures are the settings that the pages of codes name, as config.Config.Figures returns them.
	Figures map[string]string

	// Effective lists all keys of the configuration, for administrators.
	Effective []Setting
}

// Pages are the HTML pages of the server, by package web.
type Pages struct {
	// Routes holds the handlers of each URL pattern of the pages, by method.
	Routes map[string]map[string]http.Handler

	// Refusal returns the page of a refusal, see durward.Config.Page.
	Refusal func(h http.Header, r *http.Request, f *durward.Refusal) []byte
}

// Server is the API as an http.Handler. Its configuration does not change: for another
// configuration, the caller makes another Server over the same parts.
type Server struct {
	Schemes Schemes // of the guard

	c        Config
	realm    string
	prefix   string // the path of PublicURL, such as "/auth", or ""
	cookies  CookieNames
	proofs   jwt.DPoPConfig // its nonces are good at all guards
	rules    durward.Config // of guard
	guard    *durward.Guard
	programs *durward.Guard // as guard, but accepts tokens of applications too
	handler  http.Handler
	passkeys *account.Passkeys
	pages    Pages
	stopping atomic.Bool
}

// hints are this server's hints of refusals, in place of the guard's general ones.
var hints = map[durward.Code]string{
	durward.AuthenticationRequired: "Sign in at POST /api/auth/login and send the access token as Authorization: Bearer TOKEN.",
	durward.TokenExpired:           "Refresh it at POST /api/auth/refresh and send the new one.",
	durward.InvalidToken:           "Refresh at POST /api/auth/refresh and send the new access token once; if it is refused again, sign in again.",
	durward.EmailUnverified:        "Open the link in the mail to the address. POST /api/auth/email/verify/send sends another one.",
	durward.TokenRevoked:           "Sign in again at POST /api/auth/login.",
	durward.RefreshInvalid:         "Sign in again at POST /api/auth/login.",
	durward.RefreshExpired:         "Sign in again at POST /api/auth/login.",
	durward.SessionExpired:         "Sign in again at POST /api/auth/login.",
	durward.StepUpRequired:         "Send the password, or if the account has a second factor its code or the response of a passkey, to POST /api/auth/step-up. Then repeat the request.",
	durward.SessionRevoked:         "Sign in again at POST /api/auth/login.",
}

// New returns the server, or an error that names every mistake in c.
func New(c Config) (*Server, error) {
	var errs []error
	if c.DB == nil || c.Accounts == nil || c.Issuer == nil || c.Sessions == nil || c.Revocations == nil || c.Feed == nil || c.SecurityLog == nil {
		errs = append(errs, errors.New("httpapi: DB, Accounts, Issuer, Sessions, Revocations, Feed and SecurityLog are required"))
	}
	public, err := url.Parse(c.PublicURL)
	if err != nil || public.Host == "" {
		errs = append(errs, fmt.Errorf("httpapi: PublicURL %q is not a URL such as https://auth.example.com", c.PublicURL))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	c.PublicURL = strings.TrimRight(c.PublicURL, "/")
	prefix := strings.TrimRight(public.EscapedPath(), "/")
	cookies := cookieNamesOf(prefix)
	s := &Server{
		c:       c,
		realm:   public.Hostname(),
		prefix:  prefix,
		cookies: cookies,
	}
	own, err := c.Issuer.VerifierFor(c.Issuer.Audience(), ofOwnProgram)
	if err != nil {
		return nil, err
	}
	s.proofs = jwt.DPoPConfig{Algorithms: []string{"ES256", "EdDSA", "Ed25519"}, Nonces: true, NonceKey: make([]byte, 32), Shared: c.Proofs}
	_, _ = rand.Read(s.proofs.NonceKey) // crypto/rand.Read never returns an error
	s.Schemes = newSchemes(c, cookies, own, s.proofs)
	if s.passkeys, err = c.Accounts.Passkeys(c.PublicURL); err != nil {
		return nil, err
	}
	loginURL := ""
	var refusalPage func(http.Header, *http.Request, *durward.Refusal) []byte
	if c.Pages != nil {
		loginURL = c.PublicURL + "/login"
		refusalPage = func(h http.Header, r *http.Request, f *durward.Refusal) []byte { return s.pages.Refusal(h, r, f) }
	}
	preflight, readable := crossOrigin(c.Origins)
	preflight = s.openPreflight(preflight)
	s.rules = durward.Config{
		Realm:                 s.realm,
		Schemes:               s.Schemes.all(),
		PublicURL:             c.PublicURL,
		Docs:                  c.PublicURL + "/errors",
		LoginURL:              loginURL,
		Page:                  refusalPage,
		Origins:               c.Origins,
		Preflight:             preflight,
		Proxies:               c.Proxies,
		ProxySocket:           c.ProxySocket,
		ClientCertFromProxies: c.ClientCert != "",
		ClientCertFormat:      c.ClientCert,
		InsecureAllowHTTP:     c.InsecureAllowHTTP,
		Strongest:             c.Accounts.StrongestACR,
		Now:                   c.Now,
		OnRefusal:             s.recordRefusal,
		Hints:                 hints,
	}
	if s.guard, err = durward.New(s.rules); err != nil {
		return nil, err
	}
	if c.Pages != nil {
		s.pages = c.Pages(s)
	}
	others := slices.DeleteFunc(s.Schemes.all(), func(scheme durward.Scheme) bool {
		return scheme == s.Schemes.Bearer || scheme == s.Schemes.DPoP
	})
	if s.programs, err = s.guardFor(c.Issuer.Verifier(), others...); err != nil {
		return nil, err
	}
	// The guard resolves path, client address and scheme of a request here, once. Refusals of routes
	// for every client name where to sign in.
	all := func(next http.Handler) http.Handler {
		return s.guard.OpenWith(s.onlyHTTPS(readable(next)), s.Schemes.Cookie)
	}
	routes, err := s.routes()
	if err != nil {
		return nil, err
	}
	s.handler = s.outermost(s.underPrefix(all(routes), all(s.outside())))
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Drain makes the readiness check fail, so that load balancers send no new requests, and ends
// the waits for revocations.
func (s *Server) Drain() {
	s.stopping.Store(true)
	s.c.Feed.Close()
}

// Schemes are the authentication schemes of one server, each for use in durward.Policy.
type Schemes struct {
	Bearer durward.Scheme // access tokens
	APIKey durward.Scheme
	Cookie durward.Scheme // session cookie; its challenge is Session
	DPoP   durward.Scheme // nil if off
	Basic  durward.Scheme // nil if off
}

// newSchemes returns the schemes that c asks for. There is one DPoP scheme for all routes,
// because it remembers used proofs: a proof is accepted once, at whichever route.
func newSchemes(c Config, cookies CookieNames, verifier *jwt.Verifier, proofs jwt.DPoPConfig) Schemes {
	s := Schemes{
		Bearer: verifier.Scheme(),
		APIKey: durward.APIKey(account.KeyPrefix, func(ctx context.Context, key string) (*durward.Principal, error) {
			k, err := c.Accounts.AuthenticateKey(ctx, key, addressOf(ctx))
			if err != nil {
				return nil, err
			}
			return c.Sessions.KeyPrincipal(k), nil
		}),
		// The cookie of a sign-in with use_cookies. Checking a request again does not extend the session.
		Cookie: durward.Cookie(cookies.Session, func(ctx context.Context, value string) (*durward.Principal, error) {
			return c.Sessions.AuthenticateCookie(ctx, value, !durward.Rechecking(ctx))
		}),
	}
	if c.DPoP {
		// The key of the nonces is random, so a proof that another node has accepted, or this node
		// before a restart, is not accepted here. With c.Proofs the nodes share key and used proofs.
		s.DPoP = verifier.DPoP(proofs)
	}
	if c.Basic {
		s.Basic = basicScheme(c.Accounts, c.Sessions)
	}
	return s
}

// all returns the schemes that are on.
func (s Schemes) all() []durward.Scheme {
	all := []durward.Scheme{s.Bearer, s.APIKey, s.Cookie, s.DPoP, s.Basic}
	return slices.DeleteFunc(all, func(scheme durward.Scheme) bool { return scheme == nil })
}

// basicScheme accepts the e-mail address and password of a user with each request (RFC 7617), for
// programs that cannot use tokens. Users with a second factor are refused. Failures count together with those of sign-ins. A successful
// check is cached for a minute, until the account changes.
func basicScheme(accounts *account.Manager, sessions *session.Manager) durward.Scheme {
	check := func(ctx context.Context, email, password string) (*durward.Principal, error) {
		proof, err := accounts.AuthenticateAlone(ctx, email, password, addressOf(ctx))
		if err != nil {
			return nil, err
		}
		return sessions.DirectPrincipal(proof), nil
	}
	version := func(ctx context.Context, email string) (string, error) {
		return accounts.CredentialVersion(ctx, email, addressOf(ctx))
	}
	return durward.Basic(durward.Remember(check, version))
}

// Guard returns the guard of all routes.
func (s *Server) Guard() *durward.Guard { return s.guard }

// Passkeys returns the verifier of passkeys for the public URL.
func (s *Server) Passkeys() *account.Passkeys { return s.passkeys }

// From returns the origin of a request, for the rules and the security log.
func (s *Server) From(r *http.Request) request.Info { return from(r) }

// AsRefusal maps an error of the rules to a refusal, as for the endpoints of the API.
func AsRefusal(err error) error { return asRefusal(err) }

// from returns the origin of a request, for the rules and the security log.
func from(r *http.Request) request.Info {
	return request.Info{
		Addr:      durward.ClientAddr(r.Context()),
		UserAgent: r.UserAgent(),
		Language:  request.Language(r.Header.Get("Accept-Language")),

		DeviceCookie: sentDevice(r),
	}
}

// addressOf returns the client address of a request, without its user agent.
func addressOf(ctx context.Context) request.Info { return request.Info{Addr: durward.ClientAddr(ctx)} }
