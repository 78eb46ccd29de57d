package durward

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// forwarded reports whether r has a forwarding field, so that a proxy is between the peer and the
// client.
func forwarded(r *http.Request) bool {
	for _, field := range [...]string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Real-Ip", "Via"} {
		if _, ok := r.Header[field]; ok {
			return true
		}
	}
	return false
}

// trusts reports whether addr is a trusted proxy.
func (g *Guard) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(g.c.Proxies, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// maxHops is the number of X-Forwarded-For entries that are read.
const maxHops = 64

// unixPeer reports whether r arrived on a unix socket. The listener determines it, not the client.
func unixPeer(r *http.Request) bool {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && addr.Network() == "unix"
}

// readForwarded reads the client's address and scheme from the fields of a trusted peer.
func (g *Guard) readForwarded(r *http.Request, st *requestState) {
	proxies := g.readClient(r.Header["X-Forwarded-For"], st)
	if lines := r.Header["X-Forwarded-Proto"]; len(lines) > 0 {
		st.https = forwardedHTTPS(lines, proxies)
	} else if !forwarded(r) {
		// A request of the proxy itself, such as a health check.
		st.local = st.client.IsLoopback() || !st.client.IsValid()
	}
}

// readClient reads the client's address from X-Forwarded-For and returns the number of trusted
// proxies on the way, with the peer. Each of them appends the address of its peer, so the client is
// the right-most entry that is not a trusted proxy. The client itself chose the entries left of it.
// An entry that is no address (RFC 7239 s6: unknown and obfuscated ones) makes the client's address
// unknown: it ends the list, because an entry left of it may be the client's own.
func (g *Guard) readClient(lines []string, st *requestState) (proxies int) {
	proxies = 1
	list := strings.Join(lines, ",")
	for more := len(lines) > 0; more; {
		comma := strings.LastIndexByte(list, ',')
		entry := strings.TrimSpace(list[comma+1:])
		st.client, _ = hopAddr(entry)
		// nginx writes "unix:" for a peer on a unix socket.
		if more = comma >= 0 && (g.trusts(st.client) || g.c.ProxySocket && entry == "unix:"); more {
			if proxies == maxHops {
				st.client = netip.Addr{}
				return proxies
			}
			list, proxies = list[:comma], proxies+1
		}
	}
	return proxies
}

// forwardedHTTPS reports whether the client used https, by the X-Forwarded-Proto of a trusted peer.
// If each proxy appends how its peer connected, the right-most entries are one for each proxy, and
// the left-most of these is about the client. If there are fewer, some proxies replaced the field,
// and it is unknown which: all must be https.
func forwardedHTTPS(lines []string, proxies int) bool {
	list, all := strings.Join(lines, ","), true
	for ; ; proxies-- {
		comma := strings.LastIndexByte(list, ',')
		secure := isSecure(strings.TrimSpace(list[comma+1:]))
		if proxies == 1 {
			return secure
		}
		if all = all && secure; comma < 0 {
			return all
		}
		list = list[:comma]
	}
}

// isSecure reports whether scheme uses TLS. Some proxies write the schemes of WebSockets (RFC 6455
// s3).
func isSecure(scheme string) bool {
	return strings.EqualFold(scheme, "https") || strings.EqualFold(scheme, "wss")
}

// hopAddr parses one entry of X-Forwarded-For: an address, with a port if the proxy adds one.
func hopAddr(s string) (netip.Addr, bool) {
	if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return addr.Unmap().WithZone(""), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	return netip.Addr{}, false
}

// origin returns the scheme and the host under which the client knows this server: those of
// PublicURL, because the client controls the Host field, or without one those of the request.
func (g *Guard) origin(r *http.Request, st *requestState) (scheme, host string) {
	switch {
	case g.public != nil:
		return g.public.Scheme, g.public.Host
	case st.https:
		return "https", r.Host
	}
	return "http", r.Host
}

// pathForms are the non-canonical forms of paths that are accepted.
type pathForms struct{ encodedSlashes, doubleSlashes bool }

// nonCanonicalPath returns why two servers could map the path of u to different resources, or "".
// Such a request is refused: a check of one resource must not give access to another.
func nonCanonicalPath(u *url.URL, accept pathForms) string {
	path := u.Path
	if path == "" || path[0] != '/' {
		return "the path does not begin with a slash"
	}
	plain, empty := true, false
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c < 0x20, c == 0x7f:
			return "a control character in the path"
		case c == '\\':
			return "a backslash in the path"
		case c == '%':
			plain = false
		case c == '/':
			if i+1 == len(path) {
				break
			}
			switch path[i+1] {
			case '/':
				if i == 0 { // RFC 3986 s4.2: to browsers, the name of a host
					return "a double slash at the start of the path"
				}
				empty = true
			case '.':
				if isDots(path[i+1:]) {
					return "a dot segment in the path"
				}
			}
		}
	}
	// An empty segment that is not in the path as sent is an encoded slash.
	if empty && !accept.doubleSlashes && strings.Contains(u.EscapedPath(), "//") {
		return "a double slash in the path (Config.InsecureDoubleSlashes accepts it)"
	}
	if plain && u.RawPath == "" {
		return ""
	}
	// A server behind this one may decode the path a second time.
	if hasEncoded(path) {
		return "a slash, backslash, dot or NUL in the path that is encoded twice"
	}
	if !accept.encodedSlashes && hasEncoded(u.RawPath) {
		return "an encoded slash or dot in the path (Config.InsecureEncodedSlashes accepts it)"
	}
	return ""
}

// isDots reports whether the path segment at the start of s is a dot segment.
func isDots(s string) bool {
	s, _, _ = strings.Cut(s, "/")
	// Some servers remove path parameters before they resolve dots. The semicolon
	// may be encoded a second time.
	if end := strings.IndexAny(s, ";%"); end >= 0 {
		s = s[:end]
	}
	return s == "." || s == ".."
}

// hasEncoded reports whether s has a percent-encoded dot, slash, backslash or NUL.
func hasEncoded(s string) bool {
	_, rest, _ := strings.Cut(s, "%")
	for len(rest) >= 2 {
		switch strings.ToLower(rest[:2]) {
		case "2e", "2f", "5c", "00":
			return true
		}
		_, rest, _ = strings.Cut(rest, "%")
	}
	return false
}
