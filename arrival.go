package durward

import (
	"net/http"
	"net/netip"
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
	for _, p := range g.c.Proxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
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
	hops := 0
	for i := len(lines) - 1; i >= 0; i-- {
		for rest, more := lines[i], true; more; hops++ {
			var entry string
			if cut := strings.LastIndexByte(rest, ','); cut >= 0 {
				rest, entry = rest[:cut], rest[cut+1:]
			} else {
				entry, more = rest, false
			}
			addr, ok := hopAddr(strings.TrimSpace(entry))
			if !ok || hops == maxHops {
				st.forwardingErr = "X-Forwarded-For from a trusted proxy is malformed"
				return
			}
			st.client = addr
			if !g.trusts(addr) {
				return
			}
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
	if end := strings.IndexByte(s, '/'); end >= 0 {
		s = s[:end]
	}
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
	for i := strings.IndexByte(s, '%'); i >= 0 && i+2 < len(s); {
		switch strings.ToLower(s[i+1 : i+3]) {
		case "2e", "2f", "5c", "00":
			return true
		}
		next := strings.IndexByte(s[i+1:], '%')
		if next < 0 {
			return false
		}
		i += 1 + next
	}
	return false
}
