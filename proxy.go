package durward

import (
	"net/http"
	"slices"
	"strings"
)

// Proxy passes only requests with a Proxy-Authorization that satisfies p on to next, which is a forward
// proxy for its own users (RFC 9110 s11.7). Refusals are 407 with challenges in Proxy-Authenticate.
// Only the guard's Basic and Digest schemes are used; Authorization belongs to the origin and is
// passed on. Proxy panics if the route has neither scheme.
//
// The credentials are consumed: next does not see Proxy-Authorization. The path and CORS preflights
// belong to the origin and are not checked. Plain http is refused as for every route; a proxy that
// its users reach over plain http needs InsecureAllowHTTP.
func (g *Guard) Proxy(p Policy, next http.Handler) http.Handler {
	to := g.route(p)
	needHandler(next)
	to.proxy = true
	to.schemes = slices.DeleteFunc(slices.Clone(to.schemes), func(i int) bool { return !proxyScheme(g.c.Schemes[i]) })
	if len(to.schemes) == 0 {
		panic("durward: Proxy needs the Basic or the Digest scheme")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, st, err := g.check(r, to)
		if err != nil {
			g.Refuse(w, r, err)
			return
		}
		if st.authInfo != "" {
			w.Header().Set("Proxy-Authentication-Info", st.authInfo) // RFC 9110 s11.7.3
		}
		r.Header = r.Header.Clone()
		r.Header.Del("Proxy-Authorization") // RFC 9110 s11.7.2
		g.serve(w, r, st, next)
	})
}

// proxyScheme reports whether a proxy may use s. DPoP is prohibited there (RFC 9449 s7.1), and no
// client sends tokens, API keys or cookies to a proxy.
func proxyScheme(s Scheme) bool {
	switch s.(type) {
	case *basic, *digest:
		return true
	}
	return false
}

// asProxy changes a refusal of an origin's credentials into one of a proxy's.
func asProxy(f *Refusal) {
	if f.Status == http.StatusUnauthorized {
		f.Status = http.StatusProxyAuthRequired // RFC 9110 s15.5.8
	}
	f.Detail, f.Hint = proxyFields.Replace(f.Detail), proxyFields.Replace(f.Hint)
}

var proxyFields = strings.NewReplacer(
	"Proxy-Authorization", "Proxy-Authorization", "Proxy-Authenticate", "Proxy-Authenticate",
	// A proxy accepts neither tokens nor API keys.
	"; for a token: Authorization: Bearer TOKEN", "", " or one X-API-Key field, not both", "",
	"Authorization", "Proxy-Authorization", "WWW-Authenticate", "Proxy-Authenticate")

// byProxy reports whether f asks for a proxy's credentials.
func byProxy(f *Refusal) bool { return f.Status == http.StatusProxyAuthRequired }
