package httpapi

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/durward-auth/durward"
)

// Application returns a guard for the routes of a program at origin that runs this server in its process.
// It accepts the credentials of this server and knows the same revocations, and its refusals are recorded
// like those of the server. Handlers inside get their requests from Tagged.
//
// Session cookies reach the host of the server alone, so at another host no browser is sent to the sign-in
// page: it would come back without a cookie.
func (s *Server) Application(origin string) (*durward.Guard, error) {
	c := s.rules
	c.PublicURL = origin
	c.Preflight = nil // CORS of the program's routes is the program's
	if u, err := url.Parse(origin); err == nil {
		c.Realm = u.Hostname()
		if !strings.EqualFold(c.Realm, s.realm) {
			c.LoginURL = ""
		}
	}
	return durward.New(c)
}

// Tagged passes requests on with the values that the guard of Application needs in their context.
func (s *Server) Tagged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { next.ServeHTTP(w, s.tagged(r)) })
}

// Kind names an authentication scheme of every Server, also after a change of the settings.
type Kind string

// ByKind returns the schemes that are on, by kind.
func (s Schemes) ByKind() map[Kind]durward.Scheme {
	all := map[Kind]durward.Scheme{"token": s.Bearer, "key": s.APIKey, "cookie": s.Cookie, "dpop": s.DPoP, "basic": s.Basic}
	for kind, scheme := range all {
		if scheme == nil {
			delete(all, kind)
		}
	}
	return all
}
