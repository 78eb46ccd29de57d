// Package httpapi implements Durward's HTTP API: every URL, and the table that maps errors of the
// rules to refusals. The rules are in account and oauth, the SQL is in store.
package httpapi

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
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
	"github.com/durward-auth/durward/server/internal/issuer"
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
	Revocations *revoked.Follower // polls Feed
	Feed        *revocation.Feed
	SecurityLog *securitylog.Writer // gets the refusals

	Proofs jwt.SharedProofs // DPoP proofs used at other nodes; nil for one node
	Redis  func() error     // reports whether Redis is reachable; nil without Redis

	Log *slog.Logger     // nil: no log
	Now func() time.Time // nil: time.Now
}

// Settings are the operator's choices. PublicURL is required.
type Settings struct {
	PublicURL         string         // origin for links and challenges
	Registration      bool           // every client may create an account
	Basic             bool           // accept e-mail address and password with each request (RFC 7617)
	DPoP              bool           // bind tokens to the key of a client that sends a proof (RFC 9449)
	Origins           []string       // of other sites with scripts that call the API
	Proxies           []netip.Prefix // trusted proxies
	InsecureAllowHTTP bool           // accept passwords and tokens over plain http from every address
}

// Server is the API as an http.Handler. Its configuration does not change: for another
// configuration, the caller makes another Server over the same parts.
type Server struct {
	Schemes Schemes // of the guard

	c        Config
	realm    string
	guard    *durward.Guard
	handler  http.Handler
	stopping atomic.Bool
}

// hints are this server's hints of refusals, in place of the guard's general ones.
var hints = map[durward.Code]string{
	durward.AuthenticationRequired: "Sign in at POST /api/auth/login and send the access token as Authorization: Bearer TOKEN.",
	durward.TokenExpired:           "Refresh it at POST /api/auth/refresh and send the new one.",
	durward.InvalidToken:           "Refresh at POST /api/auth/refresh and send the new access token once; if it is refused again, sign in again.",
	durward.TokenRevoked:           "Sign in again at POST /api/auth/login.",
	durward.RefreshInvalid:         "Sign in again at POST /api/auth/login.",
	durward.RefreshExpired:         "Sign in again at POST /api/auth/login.",
	durward.SessionExpired:         "Sign in again at POST /api/auth/login.",
	durward.StepUpRequired:         "Send the password again to POST /api/auth/step-up and repeat the request.",
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
		errs = append(errs, fmt.Errorf("httpapi: PublicURL %q is not an origin such as https://auth.example.com", c.PublicURL))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	s := &Server{c: c, realm: public.Hostname(), Schemes: newSchemes(c)}
	origin := strings.TrimRight(c.PublicURL, "/")
	preflight, readable := crossOrigin(c.Origins)
	s.guard, err = durward.New(durward.Config{
		Realm:             s.realm,
		Schemes:           s.Schemes.all(),
		PublicURL:         origin,
		Docs:              origin + "/errors",
		Origins:           c.Origins,
		Preflight:         preflight,
		Proxies:           c.Proxies,
		InsecureAllowHTTP: c.InsecureAllowHTTP,
		Strongest:         c.Accounts.StrongestACR,
		Now:               c.Now,
		OnRefusal:         s.recordRefusal,
		Hints:             hints,
	})
	if err != nil {
		return nil, err
	}
	// The guard resolves path, client address and scheme of a request here, once. Refusals of routes
	// for every client name where to sign in.
	s.handler = s.outermost(s.guard.OpenWith(s.onlyHTTPS(readable(s.routes())), s.Schemes.Cookie))
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
