package check

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/durward-auth/durward/internal/loopback"
	"github.com/durward-auth/durward/internal/origin"
)

// foreignOrigin is the Origin of requests if Config names none. The domain is reserved (RFC 2606 s2).
const foreignOrigin = "https://durward-check.invalid"

// ask sends all requests. The error means that the server does not answer.
func (s *session) ask() error {
	s.planned = 12
	if err := s.askAnonymous(); err != nil {
		return err
	}
	if s.Good != "" || s.offers("Bearer") {
		s.planned += 5
	}
	for _, token := range []string{s.Good, s.Good, s.Expired, s.Audience, s.NoScope} {
		if token != "" {
			s.planned++
		}
	}
	credentials := func(values ...string) http.Header { return http.Header{"Authorization": values} }
	from := s.Origin
	if from == "" {
		from = foreignOrigin
	}
	s.send(request{name: "head", text: "without credentials", method: http.MethodHead})
	s.send(request{name: "json", text: "as a script", header: http.Header{"Accept": {"application/json"}}})
	s.send(request{name: "origin", text: "from a page of another origin", header: http.Header{"Origin": {from}}})
	s.send(request{name: "preflight", text: "as a preflight", method: http.MethodOptions, header: http.Header{
		"Origin": {from}, "Access-Control-Request-Method": {http.MethodGet}, "Access-Control-Request-Headers": {"authorization"},
	}})
	if clear := inTheClearOf(s.target); clear != nil {
		s.send(request{name: "clear", text: "without credentials", url: clear})
	}
	s.askMetadata()
	if s.Proxy != nil {
		s.askProxy()
	}
	if s.answers["anonymous"].status != http.StatusUnauthorized {
		return nil // the rows of credentials do not apply
	}
	s.send(request{name: "empty", text: "with an empty Authorization field", header: credentials("")})
	s.send(request{name: "no-blank", text: "with a Basic field that is no credentials", header: credentials("Basic !,=")})
	s.send(request{name: "unknown", text: "with a scheme that does not exist", header: credentials("Nonsense x")})
	second := "Bearer x.y.z"
	if s.Good != "" {
		second = "Bearer " + s.Good
	}
	s.send(request{name: "two-fields", text: "with two Authorization fields", header: credentials("Bearer x.y.z", second)})
	if s.Good != "" {
		s.send(request{name: "good", text: "with the good token", header: credentials("Bearer " + s.Good)})
	}
	if s.offers("Bearer") || s.answers["good"].ok() {
		s.send(request{name: "garbage", text: "with the token x.y.z", header: credentials("Bearer x.y.z")})
		for i, f := range forge(s.Good, origin.Of(s.target.Scheme, s.target.Host), s.keys) {
			s.send(request{name: fmt.Sprint("forged-", i), text: "with " + f.text, header: credentials("Bearer " + f.token)})
		}
	}
	for _, t := range []struct{ name, text, token string }{
		{"expired", "with the expired token", s.Expired},
		{"audience", "with the token for another audience", s.Audience}, {"no-scope", "with the token without scope", s.NoScope},
	} {
		if t.token != "" {
			s.send(request{name: t.name, text: t.text, header: credentials("Bearer " + t.token)})
		}
	}
	if s.Good != "" {
		with := *s.target
		q := with.Query()
		q.Set("access_token", s.Good) // RFC 6750 s2.3
		with.RawQuery = q.Encode()
		s.send(request{name: "query", text: "with the good token in the query", url: &with})
	}
	return nil
}

// askAnonymous sends the first request. It follows permanent redirects of the same origin, such as one
// to a path with a slash at its end. Temporary ones lead to pages for signing in.
func (s *session) askAnonymous() error {
	for range maxRedirects + 1 {
		a := s.send(request{name: "anonymous", text: "without credentials"})
		if a == nil {
			return context.Cause(s.ctx)
		}
		if a.err != nil {
			return fmt.Errorf("no response from %s: %w", s.target.Host, a.err)
		}
		if a.status != http.StatusMovedPermanently && a.status != http.StatusPermanentRedirect {
			return nil
		}
		next, err := s.target.Parse(a.header.Get("Location"))
		if err != nil || next.User != nil || !s.sameOrigin(next) {
			return nil
		}
		next.Fragment = ""
		s.target = next
		s.order = s.order[:len(s.order)-1]
	}
	s.limit(fmt.Sprintf("Only %d redirects were followed.", maxRedirects))
	return nil
}

func (s *session) sameOrigin(u *url.URL) bool {
	return origin.Of(u.Scheme, u.Host) == origin.Of(s.target.Scheme, s.target.Host)
}

// inTheClearOf returns the address of u over plain http, without its query. It is nil if u is not https
// or at another port than 443: then the port of http is unknown.
func inTheClearOf(u *url.URL) *url.URL {
	if u.Scheme != "https" || u.Port() != "" && u.Port() != "443" {
		return nil
	}
	clear := *u
	clear.Scheme, clear.Host, clear.RawQuery = "http", strings.TrimSuffix(u.Host, ":443"), ""
	return &clear
}

// askMetadata follows the chain from the challenge to the metadata of the resource (RFC 9728 s5.1), of its
// authorization server (RFC 8414 s3) and to its keys, while it stays at the origin of the address. Without
// metadata of the resource, the good token names the authorization server.
func (s *session) askMetadata() {
	issuer := issuerOf(s.Good)
	if at := s.metadataURL(); at != nil {
		if !s.sameOrigin(at) || at.User != nil {
			return
		}
		var document struct {
			Servers []string `json:"authorization_servers"`
		}
		if !s.document("resource", "for the metadata of the resource", at, &document) || len(document.Servers) == 0 {
			return
		}
		issuer = document.Servers[0]
	}
	u, err := url.Parse(issuer)
	if err != nil || u.User != nil || !s.sameOrigin(u) {
		return
	}
	well := *u
	well.RawQuery, well.Fragment, well.RawPath = "", "", ""
	// RFC 8414 s3.1: the path of the issuer stands behind the well-known one.
	well.Path = "/.well-known/oauth-authorization-server" + strings.TrimSuffix(u.Path, "/")
	var server struct {
		Keys string `json:"jwks_uri"`
	}
	if !s.document("issuer", "for the metadata of the authorization server", &well, &server) {
		return
	}
	if keys, err := url.Parse(server.Keys); err == nil && keys.User == nil && s.sameOrigin(keys) {
		var set struct {
			Keys []publicKey `json:"keys"`
		}
		if s.document("keys", "for the keys of the authorization server", keys, &set) {
			s.keys = set.Keys
		}
	}
}

// document asks for a JSON document without credentials. It reports whether v was read.
func (s *session) document(name, text string, at *url.URL, v any) bool {
	a := s.send(request{name: name, text: text, url: at})
	return a.ok() && json.Unmarshal(a.body, v) == nil
}

// metadataURL returns the URL of the resource's metadata that the first 401 names, or nil.
func (s *session) metadataURL() *url.URL {
	for _, c := range s.challenges(s.answers["anonymous"]) {
		if value, ok := c.Param("resource_metadata"); ok {
			if u, err := url.Parse(value); err == nil && u.Host != "" {
				return u
			}
		}
	}
	return nil
}

// askProxy asks through the proxy, without credentials. A proxy answers CONNECT itself, so its answer
// to a request for an https address never reaches RoundTrip.
func (s *session) askProxy() {
	direct := s.transport
	through := direct.Clone()
	through.Proxy = http.ProxyURL(s.Proxy)
	var tunnel *http.Response
	through.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
		tunnel = resp
		return nil
	}
	s.transport = through
	a := s.send(request{name: "proxy", text: "through the proxy, without credentials"})
	s.transport = direct
	through.CloseIdleConnections()
	if a != nil && tunnel != nil {
		a.status, a.header, a.body, a.err = tunnel.StatusCode, tunnel.Header, nil, nil
	}
}

// plainHTTP reports whether the address itself is plain http beyond loopback.
func (s *session) plainHTTP() bool {
	return s.target.Scheme == "http" && !loopback.Host(s.target.Hostname())
}
