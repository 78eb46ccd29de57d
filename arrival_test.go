package durward_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/durward-auth/durward"
)

// whence is a handler that says where a request came from.
var whence = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	fmt.Fprint(w, durward.ClientAddr(r.Context()))
})

var proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("127.0.0.2/32")}

func TestForwarded(t *testing.T) {
	t.Parallel()
	const https = "X-Forwarded-Proto: https"
	hops := func(n int) string { return "X-Forwarded-For: 203.0.113.9" + strings.Repeat(", 10.0.0.1", n-1) }
	for _, c := range []struct {
		name   string
		peer   string
		tls    bool
		fields []string
		client string // the client's address, or
		code   durward.Code
	}{
		// Without a proxy that is trusted, the fields say nothing.
		{"https", "203.0.113.9:4711", true, nil, "203.0.113.9", ""},
		{"https, by IPv6", "[2001:db8::9]:4711", true, nil, "2001:db8::9", ""},
		{"IPv4 written as IPv6", "[::ffff:203.0.113.9]:4711", true, nil, "203.0.113.9", ""},
		{"a zone", "[fe80::1%eth0]:4711", true, nil, "fe80::1", ""},
		{"http", "203.0.113.9:4711", false, nil, "", durward.InsecureTransport},
		{"a stranger's address is ignored", "203.0.113.9:4711", true, lines("X-Forwarded-For: 127.0.0.1", "X-Real-Ip: 127.0.0.1", "Forwarded: for=127.0.0.1", "Via: 1.1 a"), "203.0.113.9", ""},
		{"a stranger's unreadable address is ignored", "203.0.113.9:4711", true, lines("X-Forwarded-For: a, ,"), "203.0.113.9", ""},
		{"a stranger's https is ignored", "203.0.113.9:4711", false, lines(https), "", durward.InsecureTransport},
		{"a stranger's https is ignored, by IPv6", "[2001:db8::9]:4711", false, lines(https, "X-Forwarded-For: ::1"), "", durward.InsecureTransport},

		// Loopback is the peer and no forwarding field.
		{"loopback", "127.0.0.1:4711", false, nil, "127.0.0.1", ""},
		{"loopback, another address of it", "127.9.9.9:4711", false, nil, "127.9.9.9", ""},
		{"loopback, IPv6", "[::1]:4711", false, nil, "::1", ""},
		{"loopback, IPv4 written as IPv6", "[::ffff:127.0.0.1]:4711", false, nil, "127.0.0.1", ""},
		{"not quite loopback", "128.0.0.1:4711", false, nil, "", durward.InsecureTransport},
		{"loopback, X-Forwarded-For", "127.0.0.1:4711", false, lines("X-Forwarded-For: 127.0.0.1"), "", durward.InsecureTransport},
		{"loopback, X-Forwarded-For that is empty", "127.0.0.1:4711", false, lines("X-Forwarded-For: "), "", durward.InsecureTransport},
		{"loopback, X-Forwarded-Proto", "127.0.0.1:4711", false, lines(https), "", durward.InsecureTransport},
		{"loopback, X-Forwarded-Host", "127.0.0.1:4711", false, lines("X-Forwarded-Host: a"), "", durward.InsecureTransport},
		{"loopback, X-Real-IP", "127.0.0.1:4711", false, lines("X-Real-Ip: 203.0.113.9"), "", durward.InsecureTransport},
		{"loopback, Forwarded", "127.0.0.1:4711", false, lines("Forwarded: for=203.0.113.9"), "", durward.InsecureTransport},
		{"loopback, Via", "127.0.0.1:4711", false, lines("Via: 1.1 a"), "", durward.InsecureTransport},
		{"no address", "@", false, nil, "", durward.InsecureTransport},
		{"no address, https", "@", true, lines("X-Forwarded-For: 10.0.0.1"), "invalid IP", ""},

		// Behind a trusted proxy.
		{"one hop", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 203.0.113.9"), "203.0.113.9", ""},
		{"the proxy's own IPv6", "[fd00::1]:4711", false, lines(https, "X-Forwarded-For: 2001:db8::9"), "2001:db8::9", ""},
		{"the proxy's IPv4 written as IPv6", "[::ffff:10.0.0.1]:4711", false, lines(https, "X-Forwarded-For: 203.0.113.9"), "203.0.113.9", ""},
		{"http at the proxy", "10.0.0.1:4711", false, lines("X-Forwarded-Proto: http", "X-Forwarded-For: 203.0.113.9"), "", durward.InsecureTransport},
		{"http at the proxy, which comes by https", "10.0.0.1:4711", true, lines("X-Forwarded-Proto: http", "X-Forwarded-For: 203.0.113.9"), "", durward.InsecureTransport},
		{"the proxy does not say", "10.0.0.1:4711", false, lines("X-Forwarded-For: 203.0.113.9"), "", durward.InsecureTransport},
		{"the proxy says something else", "10.0.0.1:4711", false, lines("X-Forwarded-Proto: httpss", "X-Forwarded-For: 203.0.113.9"), "", durward.InsecureTransport},
		{"upper case", "10.0.0.1:4711", false, lines("X-Forwarded-Proto:  HTTPS ", "X-Forwarded-For: 203.0.113.9"), "203.0.113.9", ""},
		{"the proxy appends how it came", "10.0.0.1:4711", false, lines("X-Forwarded-Proto: https, http", "X-Forwarded-For: 203.0.113.9"), "", durward.InsecureTransport},
		{"the proxy appends a line", "10.0.0.1:4711", false, lines(https, "X-Forwarded-Proto: http", "X-Forwarded-For: 203.0.113.9"), "", durward.InsecureTransport},
		{"the proxy corrects the client", "10.0.0.1:4711", false, lines("X-Forwarded-Proto: http, https", "X-Forwarded-For: 203.0.113.9"), "203.0.113.9", ""},
		{"no address from the proxy", "10.0.0.1:4711", false, lines(https), "10.0.0.1", ""},

		// The right-most address that is not a proxy; the client controls the entries left of it.
		{"spoofed", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 198.51.100.1, 203.0.113.9"), "203.0.113.9", ""},
		{"spoofed as a proxy", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 10.6.6.6, 203.0.113.9"), "203.0.113.9", ""},
		{"spoofed as loopback", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 127.0.0.1,203.0.113.9"), "203.0.113.9", ""},
		{"spoofed and unreadable", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: a,,\"; DROP, 203.0.113.9"), "203.0.113.9", ""},
		{"spoofed on a line of its own", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 198.51.100.1", "X-Forwarded-For: 203.0.113.9"), "203.0.113.9", ""},
		{"two proxies", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 198.51.100.1, 203.0.113.9, 10.0.0.2"), "203.0.113.9", ""},
		{"two proxies on two lines", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 198.51.100.1,203.0.113.9", "X-Forwarded-For: fd00::2,10.0.0.2"), "203.0.113.9", ""},
		{"proxies alone", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 10.0.0.3, 10.0.0.2"), "10.0.0.3", ""},
		{"a port", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 203.0.113.9:80"), "203.0.113.9", ""},
		{"IPv6 and a port", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: [2001:db8::9]:80"), "2001:db8::9", ""},
		{"IPv6 in brackets", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: [2001:db8::9]"), "2001:db8::9", ""},
		{"IPv6 with a zone", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: fe80::1%eth0"), "fe80::1", ""},
		{"IPv4 written as IPv6, in the field", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: ::ffff:203.0.113.9"), "203.0.113.9", ""},
		{"a proxy written as IPv6, in the field", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 203.0.113.9, ::ffff:10.0.0.2"), "203.0.113.9", ""},
		{"other fields are not read", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 203.0.113.9", "X-Real-Ip: 127.0.0.1", "Forwarded: for=127.0.0.1;proto=http"), "203.0.113.9", ""},
		{"64 hops", "10.0.0.1:4711", false, lines(https, hops(64)), "203.0.113.9", ""},

		// The fields of a trusted proxy must be well-formed.
		{"a word", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: a"), "", durward.InvalidRequest},
		{"unknown", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 203.0.113.9, unknown"), "", durward.InvalidRequest},
		{"empty", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: "), "", durward.InvalidRequest},
		{"a comma at the end", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 203.0.113.9,"), "", durward.InvalidRequest},
		{"unreadable beyond a proxy", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 203.0.113.999, 10.0.0.2"), "", durward.InvalidRequest},
		{"leading zeros", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 203.0.113.009"), "", durward.InvalidRequest},
		{"65 hops", "10.0.0.1:4711", false, lines(https, hops(65)), "", durward.InvalidRequest},
		{"100,000 hops", "10.0.0.1:4711", false, lines(https, hops(100_000)), "", durward.InvalidRequest},

		// A trusted proxy on this machine.
		{"its own request", "127.0.0.2:4711", false, nil, "127.0.0.2", ""},
		{"its client's", "127.0.0.2:4711", false, lines(https, "X-Forwarded-For: 203.0.113.9"), "203.0.113.9", ""},
		{"its client says it is loopback", "127.0.0.2:4711", false, lines("X-Forwarded-For: 127.0.0.1"), "", durward.InsecureTransport},
		{"a client of its on this machine, by http", "127.0.0.2:4711", false, lines("X-Forwarded-Proto: http", "X-Forwarded-For: 127.0.0.1"), "", durward.InsecureTransport},
		{"a request of a proxy elsewhere", "10.0.0.1:4711", false, nil, "", durward.InsecureTransport},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest("GET", "/x", nil)
			r.RemoteAddr = c.peer
			if c.tls {
				r.TLS = new(tls.ConnectionState)
			}
			for _, f := range c.fields {
				name, value, _ := strings.Cut(f, ": ")
				r.Header.Add(name, value)
			}
			g := newGuard(t, durward.Config{Proxies: proxies})
			w := serve(g.Open(whence), r)
			if c.code != "" {
				wants(t, "Open", w, c.code.Status(), c.code)
				r.Header.Set("Authorization", "Bearer good")
				wants(t, "Handler", serve(g.Handler(never(t)), r), c.code.Status(), c.code)
				return
			}
			if w.Code != 200 || w.Body.String() != c.client {
				t.Errorf("from %s with %q: got %d %s, want 200 %s", c.peer, c.fields, w.Code, w.Body, c.client)
			}
		})
	}
}

// InsecureAllowHTTP lifts the transport check and no other.
func TestInsecureAllowHTTP(t *testing.T) {
	t.Parallel()
	g := newGuard(t, durward.Config{InsecureAllowHTTP: true, Proxies: proxies})
	r := get("good")
	r.TLS = nil
	if w := serve(g.Handler(whence), r); w.Code != 200 || w.Body.String() != "192.0.2.1" {
		t.Errorf("plain http: got %d %s, want 200 192.0.2.1", w.Code, w.Body)
	}
	r.Header.Set("X-Forwarded-For", "a")
	r.RemoteAddr = "10.0.0.1:1"
	wants(t, "unreadable hop", serve(g.Handler(never(t)), r), 400, durward.InvalidRequest)
	wants(t, "no credentials", serve(g.Handler(never(t)), get("")), 401, durward.AuthenticationRequired)
}

var (
	plainPaths = lines("/", "/a", "/a/", "/a/b.c", "/.well-known/x", "/..a", "/a..", "/...", "/a/.b/c", "/a;b=c/d", "/a/;b", "/100%25", "/a%20b", "/caf%C3%A9", "/a%21b", "/a%3fb", "/a%23b", "/%25zz", "/~a/@b:c", "/A", "/a?b=../..//c", "/a?b=%2e%2e%2f")

	crookedPaths = lines("//", "//a", "/a//", "/a//b", "/.", "/..", "/./a", "/a/.", "/a/..", "/a/./b", "/a/../b", "/a/../../b", "/%2e/a", "/a/%2e%2e/b", "/a/.%2E/b", "/a/%2e./b", "/a%2fb", "/a%2Fb", "/a%5cb", `/a\b`, `/a/..\b`,
		"/a/..%2fb", "/a/%252e%252e/b", "/a%252fb", "/a%255cb", "/a%2500", "/a%00", "/a%0ab", "/a%0d%0aX:y", "/a%7f", "/..;/a", "/a/..;b=c/d", "/a/.;/b", "/a/%2e%2e;/b", "/a/..%3b/b", "/a/..%253bx/b", "/b.%2ec", "http://api.example", "http://api.example//a")
)

// A path that two servers could map to different resources is refused before credentials are read.
func TestPaths(t *testing.T) {
	t.Parallel()
	g := newGuard(t, durward.Config{})
	try := func(method, target string) (open, guarded *httptest.ResponseRecorder) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		r := get("good")
		r.URL, r.Method = u, method
		return serve(g.Open(hello), r), serve(g.Handler(hello), r)
	}
	for _, target := range plainPaths {
		if open, guarded := try("GET", target); open.Code != 200 || guarded.Code != 200 {
			t.Errorf("%s: got %d and %d, want 200", target, open.Code, guarded.Code)
		}
	}
	for _, target := range crookedPaths {
		open, guarded := try("GET", target)
		wants(t, "open, "+target, open, 400, durward.InvalidRequest)
		wants(t, "guarded, "+target, guarded, 400, durward.InvalidRequest)
	}
	// RFC 9110 s9.3.7: the server itself.
	if open, guarded := try("OPTIONS", "*"); open.Code != 200 || guarded.Code != 200 {
		t.Errorf("OPTIONS *: got %d and %d, want 200", open.Code, guarded.Code)
	}
	_, guarded := try("GET", "*")
	wants(t, "GET *", guarded, 400, durward.InvalidRequest)
	// RFC 9110 s9.3.6: CONNECT has no path, and no business here.
	r := get("good")
	r.Method, r.URL = "CONNECT", &url.URL{Host: "api.example:443"}
	wants(t, "CONNECT", serve(g.Handler(never(t)), r), 400, durward.InvalidRequest)
}

// FuzzPath: an accepted path stays the same if dots are resolved, the path is decoded again, or
// path parameters are removed.
func FuzzPath(f *testing.F) {
	for _, target := range append(plainPaths, crookedPaths...) {
		f.Add(target)
	}
	g := newGuard(f, durward.Config{})
	h := g.Open(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "in") }))
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r := get("")
		r.URL = u
		if w := serve(h, r); w.Code != 200 {
			if w.Code != 400 {
				t.Fatalf("%q: got %d, want 200 or 400", target, w.Code)
			}
			return
		}
		readings := []string{u.Path}
		if again, err := url.PathUnescape(u.Path); err == nil {
			readings = append(readings, again)
		}
		for _, reading := range readings {
			segments := strings.Split(reading, "/")
			for i, s := range segments {
				s, _, _ = strings.Cut(s, ";")
				segments[i] = s
				if s == "." || s == ".." {
					t.Fatalf("%q is let through and holds a dot segment when read as %q", target, reading)
				}
			}
			if strings.Count(reading, "/") != strings.Count(u.EscapedPath(), "/") {
				t.Fatalf("%q is let through and has more segments when read as %q", target, reading)
			}
			if clean := path.Clean(reading); clean != reading && clean+"/" != reading {
				t.Fatalf("%q is let through and cleaned to %q when read as %q", target, clean, reading)
			}
			if strings.ContainsAny(reading, "\x00\\") {
				t.Fatalf("%q is let through and holds a NUL or a backslash when read as %q", target, reading)
			}
		}
	})
}

// FuzzForwarded: a stranger cannot choose its own address or scheme, and behind a
// proxy only the right-most address that no proxy has is believed.
func FuzzForwarded(f *testing.F) {
	f.Add("203.0.113.9:1", "127.0.0.1", "", "https")
	f.Add("10.0.0.1:1", "198.51.100.1", "203.0.113.9, 10.0.0.2", "http, https")
	f.Add("10.0.0.1:1", "a, 203.0.113.9", "[fd00::2]:80", "https")
	f.Add("127.0.0.1:1", "", "", "")
	f.Add("127.0.0.2:1", "", "unknown", "https")
	g := newGuard(f, durward.Config{Proxies: proxies})
	trusted := func(a netip.Addr) bool {
		for _, p := range proxies {
			if p.Contains(a.Unmap().WithZone("")) {
				return true
			}
		}
		return false
	}
	f.Fuzz(func(t *testing.T, peer, first, second, proto string) {
		r := httptest.NewRequest("GET", "/x", nil)
		r.RemoteAddr = peer
		r.Header["X-Forwarded-For"] = lines(first, second)
		r.Header["X-Forwarded-Proto"] = lines(proto)
		w := serve(g.Open(whence), r)
		from, err := netip.ParseAddrPort(peer)
		if err != nil || !trusted(from.Addr()) {
			if w.Code != 403 {
				t.Fatalf("from %s: got %d %s, want 403: plain http, and no proxy is trusted", peer, w.Code, w.Body)
			}
			return
		}
		entries := strings.Split(first+","+second, ",")
		for len(entries) > 1 {
			last := strings.TrimSpace(entries[len(entries)-1])
			if addr, err := netip.ParseAddr(last); err != nil || !trusted(addr) {
				break
			}
			entries = entries[:len(entries)-1]
		}
		client := strings.TrimSpace(entries[len(entries)-1])
		if addr, err := netip.ParseAddr(client); err == nil && w.Code == 200 && w.Body.String() != addr.Unmap().WithZone("").String() {
			t.Fatalf("for %q, %q: got %s, want %s", first, second, w.Body, client)
		}
		if all := strings.Split(proto, ","); w.Code == 200 && !strings.EqualFold(strings.TrimSpace(all[len(all)-1]), "https") {
			t.Fatalf("proto %q: let through", proto)
		}
	})
}
