package server

import (
	"errors"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/httpapi"
)

// Guard protects the routes of a program. It accepts the session cookies, access tokens and API keys of its
// [Server], bound tokens (DPoP) and passwords (Basic) if the settings accept them. It asks the server's own
// lists in this process, so a session that has ended is refused from the next request on. After
// [Server.Reload] it follows the new settings. [durward.From] returns the user of a request.
type Guard struct{ s *Server }

// Guard returns the guard of the program's own routes.
func (s *Server) Guard() *Guard { return &Guard{s} }

// Handler passes only requests with valid credentials on to next. Browsers without a session are sent to the
// sign-in page and come back to the page that they asked for; other clients get a 401.
func (g *Guard) Handler(next http.Handler) http.Handler {
	return g.Require(durward.Policy{Pages: true}, next)
}

// Require passes only requests that satisfy p on to next; see [durward.Guard.Require]. With p.Pages, browsers
// are sent to the pages for sign-in and step-up. p.Schemes names schemes of [Guard.Schemes]. One that the
// settings switch off later is left out; without any other, the response is 503.
func (g *Guard) Require(p durward.Policy, next http.Handler) http.Handler {
	return g.follow(func(st *state) http.Handler {
		p := p
		if p.Schemes != nil {
			if p.Schemes = g.translate(p.Schemes, st); len(p.Schemes) == 0 {
				return st.guard.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					st.guard.Refuse(w, r, errors.New("the settings switch off all schemes that this route accepts"))
				}))
			}
		}
		return st.guard.Require(p, next)
	})
}

// Open protects a route that needs no credentials; see [durward.Guard.Open].
func (g *Guard) Open(next http.Handler) http.Handler {
	return g.follow(func(st *state) http.Handler { return st.guard.Open(next) })
}

// Refuse writes the response for err; see [durward.Guard.Refuse].
func (g *Guard) Refuse(w http.ResponseWriter, r *http.Request, err error) {
	g.s.current.Load().guard.Refuse(w, r, err)
}

// Check checks r against p without writing a response; see [durward.Guard.Check].
func (g *Guard) Check(r *http.Request, p durward.Policy) (*durward.Principal, error) {
	st := g.s.current.Load()
	if p.Schemes != nil {
		if p.Schemes = g.translate(p.Schemes, st); len(p.Schemes) == 0 {
			return nil, errors.New("server: the settings switch off all schemes of the policy")
		}
	}
	return st.guard.Check(r, p)
}

// Schemes are the schemes of a guard, for [durward.Policy].
type Schemes struct {
	Cookie durward.Scheme // session cookie
	Token  durward.Scheme // access token
	APIKey durward.Scheme
	DPoP   durward.Scheme // bound access token; nil if the setting dpop is off
	Basic  durward.Scheme // password with each request; nil if the setting basic is off
}

// Schemes returns the schemes that the settings accept now.
func (g *Guard) Schemes() Schemes {
	all := g.s.current.Load().api.Schemes
	return Schemes{
		Cookie: all.Cookie,
		Token:  all.Bearer,
		APIKey: all.APIKey,
		DPoP:   all.DPoP,
		Basic:  all.Basic,
	}
}

// translate returns the present schemes for those that Schemes returned at any time.
func (g *Guard) translate(schemes []durward.Scheme, st *state) []durward.Scheme {
	now, present := st.api.Schemes.ByKind(), make([]durward.Scheme, 0, len(schemes))
	for _, scheme := range schemes {
		if kind, ok := g.s.kinds.Load(scheme); ok {
			scheme = now[kind.(httpapi.Kind)]
		}
		if scheme != nil && !slices.Contains(present, scheme) {
			present = append(present, scheme)
		}
	}
	return present
}

// follow returns a handler that build makes anew for each new state of the server.
func (g *Guard) follow(build func(*state) http.Handler) http.Handler {
	type built struct {
		of      *state
		handler http.Handler
	}
	make := func() *built {
		st := g.s.current.Load()
		return &built{st, st.api.Tagged(build(st))}
	}
	var last atomic.Pointer[built]
	last.Store(make()) // a wrong policy panics here
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := last.Load()
		if b.of != g.s.current.Load() {
			b = make()
			last.Store(b)
		}
		b.handler.ServeHTTP(w, r)
	})
}
