package durward

import (
	"net/http"
	"net/netip"
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

// readForwarded reads the client's address and scheme from the fields of a trusted peer. Each
// trusted proxy appends the address of its peer, so the client is the right-most entry that is not
// a trusted proxy. The client itself chose the entries left of it.
func (g *Guard) readForwarded(r *http.Request, st *requestState) {
	if lines := r.Header["X-Forwarded-Proto"]; len(lines) > 0 {
		last := lines[len(lines)-1]
		st.https = strings.EqualFold(strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:]), "https")
	} else if !forwarded(r) {
		// A request of the proxy itself, such as a health check.
		st.local = st.client.IsLoopback()
	}
	lines := r.Header["X-Forwarded-For"]
	list := strings.Join(lines, ",")
	for hops, more := 0, len(lines) > 0; more; hops++ {
		comma := strings.LastIndexByte(list, ',')
		addr, ok := hopAddr(strings.TrimSpace(list[comma+1:]))
		if !ok || hops == maxHops {
			st.forwardingErr = "X-Forwarded-For from a trusted proxy is malformed"
			return
		}
		st.client = addr
		if more = comma >= 0 && g.trusts(addr); more {
			list = list[:comma]
		}
	}
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

// nonCanonicalPath returns why two servers could map the path of r to different resources, or "".
// Such a request is refused: a check of one resource must not give access to another.
func nonCanonicalPath(r *http.Request) string {
	path := r.URL.Path
	if path == "*" && r.Method == http.MethodOptions {
		return "" // RFC 9110 s9.3.7
	}
	if path == "" || path[0] != '/' {
		return "the path does not begin with a slash"
	}
	plain := true
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c < 0x20, c == 0x7f, c == '\\':
			return "a control character or backslash in the path"
		case c == '%':
			plain = false
		case c == '/':
			if i+1 < len(path) && (path[i+1] == '/' || path[i+1] == '.') {
				if why := nonCanonicalSegment(path[i+1:]); why != "" {
					return why
				}
			}
		}
	}
	if plain && r.URL.RawPath == "" {
		return ""
	}
	// A server behind this one may decode the path a second time.
	if hasEncoded(path) {
		return "a doubly encoded separator or dot in the path"
	}
	if hasEncoded(r.URL.RawPath) {
		return "an encoded separator or dot in the path"
	}
	return ""
}

// nonCanonicalSegment checks the path segment at the start of s.
func nonCanonicalSegment(s string) string {
	if s[0] == '/' {
		return "an empty segment in the path"
	}
	s, _, _ = strings.Cut(s, "/")
	// Some servers remove path parameters before they resolve dots. The semicolon
	// may be encoded a second time.
	if end := strings.IndexAny(s, ";%"); end >= 0 {
		s = s[:end]
	}
	if s == "." || s == ".." {
		return "a dot segment in the path"
	}
	return ""
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
