// Package httpapi is Durward's HTTP: every URL of the API, and the one table that
// turns what a rule says into what a client reads. Rules live in account and
// oauth, SQL in store.
package httpapi

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/oauth"
	"github.com/durward-auth/durward/server/internal/revocation"
	"github.com/durward-auth/durward/server/internal/securitylog"
	"github.com/durward-auth/durward/server/internal/store"
)

// Config is what the server is made of. DB, People, Issuer, Revocations, Feed,
// SecurityLog and PublicURL are required.
type Config struct {
	DB          *store.DB
	People      *account.People
	Issuer      *oauth.Issuer
	Revocations *revoked.Follower // polls Feed
	Feed        *revocation.Feed
	SecurityLog *securitylog.Writer // gets the refusals

	PublicURL         string   // origin that links and challenges name
	Registration      bool     // anybody may make an account
	Basic             bool     // address and password are taken with each request, too
	DPoP              bool     // tokens are bound to a key where a client proves to hold one (RFC 9449)
	Origins           []string // of other pages whose scripts may call the API
	Proxies           []netip.Prefix
	InsecureAllowHTTP bool // take passwords and tokens over plain http from anywhere

	Proofs jwt.SharedProofs // what was spent at other nodes; nil is one node alone
	Redis  func() error     // nil while Redis answers; a nil func where there is none to ask

	Log *slog.Logger
	Now func() time.Time
}

// Server answers the API. It is an http.Handler. Its configuration never
// changes: another configuration is another Server over the same parts.
type Server struct {
	c        Config
	realm    string
	api      *durward.Guard // routes that want an access token
	signIn   *durward.Guard // sign-in and refresh, whose challenge is Session
	proofs   *durward.Guard // the same where a DPoP proof was refused; nil where none are taken
	handler  http.Handler
	stopping atomic.Bool
}

// New returns the server, or an error that names every mistake in c.
func New(c Config) (*Server, error) {
	var errs []error
	if c.DB == nil || c.People == nil || c.Issuer == nil || c.Revocations == nil || c.Feed == nil || c.SecurityLog == nil {
		errs = append(errs, errors.New("server: database, people, issuer, revocations, their feed and the security log are required"))
	}
	public, err := url.Parse(c.PublicURL)
	if err != nil || public.Host == "" {
		errs = append(errs, fmt.Errorf("server: PublicURL %q is no origin", c.PublicURL))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{c: c, realm: public.Hostname()}
	origin := strings.TrimRight(c.PublicURL, "/")
	guard := durward.Config{
		Realm: s.realm, PublicURL: origin, Docs: origin + "/errors",
		Origins: c.Origins, Preflight: crossOrigin(c.Origins), Proxies: c.Proxies, InsecureAllowHTTP: c.InsecureAllowHTTP, Now: c.Now, OnRefusal: s.recordRefusal,
		Hints: map[durward.Code]string{
			durward.AuthenticationRequired: "Sign in at POST /api/auth/login and send the access token as Authorization: Bearer TOKEN.",
			durward.TokenExpired:           "Refresh it at POST /api/auth/refresh and send the new one.",
			durward.InvalidToken:           "Refresh at POST /api/auth/refresh and send the new access token once; if it is refused again, sign in again.",
			durward.TokenRevoked:           "Sign in again at POST /api/auth/login.",
			durward.RefreshInvalid:         "Sign in again at POST /api/auth/login.",
			durward.RefreshExpired:         "Sign in again at POST /api/auth/login.",
			durward.SessionExpired:         "Sign in again at POST /api/auth/login.",
			durward.StepUpRequired:         "Show the password again at POST /api/auth/step-up and repeat the request.",
			durward.SessionRevoked:         "Sign in again at POST /api/auth/login.",
		},
	}
	guard.Schemes = []durward.Scheme{c.Issuer.Verifier().Scheme(), s.apiKeys(), s.cookies()}
	var proofs durward.Scheme // one for all routes: a proof passes once, wherever it is shown
	if c.DPoP {
		// The key of nonces is drawn: what was shown to another node, or before a
		// restart, is not taken here, though nobody here has seen it. It is if both know
		// what the other has seen.
		proofs = c.Issuer.Verifier().DPoP(jwt.DPoPConfig{Nonces: true, Shared: c.Proofs})
		guard.Schemes = append(guard.Schemes, proofs)
	}
	guard.Strongest = c.People.StrongestACR
	if c.Basic {
		guard.Schemes = append(guard.Schemes, s.basic())
	}
	if s.api, err = durward.New(guard); err != nil {
		return nil, err
	}
	guard.Schemes = []durward.Scheme{durward.Session()}
	if s.signIn, err = durward.New(guard); err != nil {
		return nil, err
	}
	if c.DPoP {
		guard.Schemes = append(guard.Schemes, proofs)
		guard.Hints = maps.Clone(guard.Hints)
		guard.Hints[durward.InvalidProof] = "Make a new proof for this method and this URL, without ath; a refresh wants the key of the sign-in."
		if s.proofs, err = durward.New(guard); err != nil {
			return nil, err
		}
	}
	s.handler = s.routes()
	return s, nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Drain makes readiness say no, so that nobody sends new requests, and answers who
// waits for revocations.
func (s *Server) Drain() {
	s.stopping.Store(true)
	s.c.Feed.Close()
}
