package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/durward-auth/durward"
)

// Path returns the path of a URL of this server, such as "/login", with the prefix of the public URL.
// Templates, redirects and links use it.
func (s *Server) Path(path string) string { return s.prefix + path }

// underPrefix passes requests below the prefix on to inside, without the prefix, and all others to
// outside. A proxy in front, or the mux of a program, passes the full path.
func (s *Server) underPrefix(inside, outside http.Handler) http.Handler {
	if s.prefix == "" {
		return inside
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u, ok := withoutPrefix(r.URL, s.prefix)
		if !ok {
			outside.ServeHTTP(w, r)
			return
		}
		r2 := *r
		r2.URL = u
		inside.ServeHTTP(w, &r2)
	})
}

// withoutPrefix returns u with the path below prefix. ok is false if u is not below it: "/authx" is
// not below "/auth", and an encoded spelling of the prefix is another path.
func withoutPrefix(u *url.URL, prefix string) (below *url.URL, ok bool) {
	rest, ok := strings.CutPrefix(u.Path, prefix)
	if !ok || rest != "" && rest[0] != '/' {
		return nil, false
	}
	v := *u
	v.Path = rest
	if u.RawPath != "" {
		if v.RawPath, ok = strings.CutPrefix(u.RawPath, prefix); !ok || v.RawPath != "" && v.RawPath[0] != '/' {
			return nil, false
		}
	}
	if rest == "" {
		v.Path, v.RawPath = "/", "" // the prefix itself is the front page
	}
	return &v, true
}

// outside returns the handler of the host's paths that are not below the prefix: the metadata whose
// place RFC 8414 s3.1 derives from the issuer, and the pages below /.well-known/, which browsers look for at the
// root of a host alone (RFC 8615 s3). All other paths belong to other programs of the host.
func (s *Server) outside() http.Handler {
	mux := http.NewServeMux()
	metadata := s.byMethod(route{"GET": s.open(s.metadata)})
	mux.Handle("/.well-known/oauth-authorization-server"+s.prefix, metadata)
	mux.Handle("/.well-known/openid-configuration"+s.prefix, metadata)
	mux.Handle("/.well-known/oauth-protected-resource"+s.prefix, s.byMethod(route{"GET": s.open(s.resourceMetadata)}))
	for path, methods := range s.pages.Routes {
		if strings.HasPrefix(path, "/.well-known/") {
			mux.Handle(path, s.byMethod(route{"GET": methods["GET"]}))
		}
	}
	mux.Handle("/", s.open(func(http.ResponseWriter, *http.Request) error {
		return &durward.Refusal{
			Code: durward.NotFound,
			Hint: "This server's URLs begin with " + s.c.PublicURL + "/.",
			Err:  fmt.Errorf("the path is not below %s, the path of public_url; a proxy must pass the whole path on", s.prefix),
		}
	}))
	return mux
}

// prefixHint adds the prefix to the paths of the API that a hint names.
func (s *Server) prefixHint(hint string) string {
	if s.prefix == "" {
		return hint
	}
	return strings.ReplaceAll(hint, " /api/", " "+s.prefix+"/api/")
}
