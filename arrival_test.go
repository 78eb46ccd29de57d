package durward_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"path"
	"path/filepath"
	"slices"
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
		{"no address, https said", "@", false, lines(https, "X-Forwarded-For: 203.0.113.9"), "", durward.InsecureTransport},

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
		{"wss: https", "10.0.0.1:4711", false, lines("X-Forwarded-Proto: wss", "X-Forwarded-For: 203.0.113.9"), "203.0.113.9", ""},
		{"WSS: https", "10.0.0.1:4711", false, lines("X-Forwarded-Proto: WSS", "X-Forwarded-For: 203.0.113.9"), "203.0.113.9", ""},
		{"ws: http", "10.0.0.1:4711", false, lines("X-Forwarded-Proto: ws", "X-Forwarded-For: 203.0.113.9"), "", durward.InsecureTransport},
		{"a stranger's wss is ignored", "203.0.113.9:4711", false, lines("X-Forwarded-Proto: wss"), "", durward.InsecureTransport},
		{"the proxy corrects the client", "10.0.0.1:4711", false, lines("X-Forwarded-Proto: http, https", "X-Forwarded-For: 203.0.113.9"), "203.0.113.9", ""},

		// Each trusted proxy appends: the entry of the outermost one is about the client.
		{"https,http over two proxies: https", "10.0.0.1:4711", false, lines("X-Forwarded-Proto: https,http", "X-Forwarded-For: 203.0.113.9, 10.0.0.2"), "203.0.113.9", ""},
		{"https and http on two lines, over two proxies: https", "10.0.0.1:4711", false, lines(https, "X-Forwarded-Proto: http", "X-Forwarded-For: 203.0.113.9, 10.0.0.2"), "203.0.113.9", ""},
		{"wss,ws,http over three proxies: https", "10.0.0.1:4711", false, lines("X-Forwarded-Proto: wss, ws, http", "X-Forwarded-For: 203.0.113.9, 10.0.0.3, 10.0.0.2"), "203.0.113.9", ""},
		{"http,https over two proxies: http", "10.0.0.1:4711", false, lines("X-Forwarded-Proto: http,https", "X-Forwarded-For: 203.0.113.9, 10.0.0.2"), "", durward.InsecureTransport},
		{"the client's own https before those of two proxies: http", "10.0.0.1:4711", false, lines("X-Forwarded-Proto: https,http,https", "X-Forwarded-For: 203.0.113.9, 10.0.0.2"), "", durward.InsecureTransport},
		{"one entry over two proxies, which the inner one passes on: https", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 203.0.113.9, 10.0.0.2"), "203.0.113.9", ""},
		{"fewer entries than proxies, one http: http", "10.0.0.1:4711", false, lines("X-Forwarded-Proto: https,http", "X-Forwarded-For: 203.0.113.9, 10.0.0.3, 10.0.0.2"), "", durward.InsecureTransport},
		{"fewer entries than proxies, all https: https", "10.0.0.1:4711", false, lines("X-Forwarded-Proto: https,https", "X-Forwarded-For: 203.0.113.9, 10.0.0.3, 10.0.0.2"), "203.0.113.9", ""},
		{"more entries than proxies, by a client that names proxies: http", "10.0.0.1:4711", false, lines("X-Forwarded-Proto: https,http", "X-Forwarded-For: 10.0.0.2, 203.0.113.9"), "", durward.InsecureTransport},
		{"an empty last entry: http", "10.0.0.1:4711", false, lines("X-Forwarded-Proto: https,", "X-Forwarded-For: 203.0.113.9"), "", durward.InsecureTransport},
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

		// An entry that is no address makes the address unknown. An entry left of it may be the
		// client's own, so it is not used.
		{"unknown, as Squid writes: unknown", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: unknown"), "invalid IP", ""},
		{"a word: unknown", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: a"), "invalid IP", ""},
		{"an obfuscated name: unknown", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: _gazonk"), "invalid IP", ""},
		{"unknown after an address: unknown", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 203.0.113.9, unknown"), "invalid IP", ""},
		{"unknown before an address: the address", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: unknown, 203.0.113.9"), "203.0.113.9", ""},
		{"unknown before a proxy: unknown", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 198.51.100.1, unknown, 10.0.0.2"), "invalid IP", ""},
		{"unknown, and http: refused", "10.0.0.1:4711", false, lines("X-Forwarded-Proto: http", "X-Forwarded-For: unknown"), "", durward.InsecureTransport},
		{"empty: unknown", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: "), "invalid IP", ""},
		{"a comma at the end: unknown", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 203.0.113.9,"), "invalid IP", ""},
		{"unreadable beyond a proxy: unknown", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 203.0.113.999, 10.0.0.2"), "invalid IP", ""},
		{"leading zeros: unknown", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 203.0.113.009"), "invalid IP", ""},
		{"unix:, which is trusted by ProxySocket only: unknown", "10.0.0.1:4711", false, lines(https, "X-Forwarded-For: 203.0.113.9, unix:"), "invalid IP", ""},
		{"65 hops: unknown", "10.0.0.1:4711", false, lines(https, hops(65)), "invalid IP", ""},
		{"100,000 hops: unknown", "10.0.0.1:4711", false, lines(https, hops(100_000)), "invalid IP", ""},

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
	r.URL.Path = "/a//b"
	wants(t, "path", serve(g.Handler(never(t)), r), 400, durward.InvalidRequest)
	wants(t, "no credentials", serve(g.Handler(never(t)), get("")), 401, durward.AuthenticationRequired)
}

// onSocket makes r arrive on a unix socket, as net/http describes it.
func onSocket(r *http.Request) *http.Request {
	r.RemoteAddr = "@"
	return r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.UnixAddr{Name: "/run/api.sock", Net: "unix"}))
}

// The peers of a unix socket are trusted proxies with ProxySocket, and with it alone.
func TestProxySocket(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		config durward.Config
		fields http.Header
		client string // or
		code   durward.Code
	}{
		{"not trusted: refused", durward.Config{}, fields("X-Forwarded-Proto", "https", "X-Forwarded-For", "203.0.113.9"), "", durward.InsecureTransport},
		{"other proxies: refused", durward.Config{Proxies: proxies}, fields("X-Forwarded-Proto", "https", "X-Forwarded-For", "203.0.113.9"), "", durward.InsecureTransport},
		{"https: the client's address", durward.Config{ProxySocket: true}, fields("X-Forwarded-Proto", "https", "X-Forwarded-For", "203.0.113.9"), "203.0.113.9", ""},
		{"http: refused", durward.Config{ProxySocket: true}, fields("X-Forwarded-Proto", "http", "X-Forwarded-For", "203.0.113.9"), "", durward.InsecureTransport},
		{"no scheme: refused", durward.Config{ProxySocket: true}, fields("X-Forwarded-For", "203.0.113.9"), "", durward.InsecureTransport},
		{"no field, the proxy's own request: accepted", durward.Config{ProxySocket: true}, fields(), "invalid IP", ""},
		{"no address: unknown", durward.Config{ProxySocket: true}, fields("X-Forwarded-Proto", "https"), "invalid IP", ""},
		{"a proxy behind it, spoofed: the right-most", durward.Config{ProxySocket: true, Proxies: proxies}, fields("X-Forwarded-Proto", "https", "X-Forwarded-For", "198.51.100.1, 203.0.113.9, 10.0.0.2"), "203.0.113.9", ""},
		{"two proxies, each on a socket: the client's address", durward.Config{ProxySocket: true}, fields("X-Forwarded-Proto", "https, http", "X-Forwarded-For", "203.0.113.9, unix:"), "203.0.113.9", ""},
	} {
		g := newGuard(t, c.config)
		r := httptest.NewRequest("GET", "/x", nil)
		r.Header = c.fields
		w := serve(g.Open(whence), onSocket(r))
		switch {
		case c.code != "":
			wants(t, c.name, w, c.code.Status(), c.code)
		case w.Code != 200 || w.Body.String() != c.client:
			t.Errorf("%s: got %d %s, want 200 %s", c.name, w.Code, w.Body, c.client)
		}
		// A listener without addresses is no unix socket, and a client on a network cannot claim to
		// be on one.
		r = httptest.NewRequest("GET", "/x", nil)
		r.Header, r.RemoteAddr = c.fields.Clone(), "@"
		wants(t, c.name+", from no address", serve(g.Open(whence), r), 403, durward.InsecureTransport)
		r = httptest.NewRequest("GET", "/x", nil)
		r.Header, r.RemoteAddr = c.fields.Clone(), "203.0.113.9:1"
		wants(t, c.name+", from a network", serve(g.Open(whence), r), 403, durward.InsecureTransport)
	}
}

// A peer of a unix socket chooses its own name. The name of an address, also of a trusted one, is no
// address.
func TestSocketPeerName(t *testing.T) {
	t.Parallel()
	for _, name := range lines("127.0.0.1:1", "10.0.0.1:1", "203.0.113.9:1") {
		for _, socket := range []bool{false, true} {
			g := newGuard(t, durward.Config{Proxies: proxies, ProxySocket: socket})
			r := onSocket(httptest.NewRequest("GET", "/x", nil))
			r.RemoteAddr = name
			w := serve(g.Open(whence), r)
			if socket && (w.Code != 200 || w.Body.String() != "invalid IP") {
				t.Errorf("%s, trusted: got %d %s, want 200 from an unknown address", name, w.Code, w.Body)
			} else if !socket {
				wants(t, name, w, 403, durward.InsecureTransport)
			}
			r.Header = fields("X-Forwarded-Proto", "https", "X-Forwarded-For", "198.51.100.1")
			w = serve(g.Open(whence), r)
			if socket && w.Body.String() != "198.51.100.1" {
				t.Errorf("%s, trusted, with fields: got %d %s, want 198.51.100.1", name, w.Code, w.Body)
			} else if !socket {
				wants(t, name+" with fields", w, 403, durward.InsecureTransport)
			}
		}
	}
}

// The same through real sockets.
func TestProxySocketListener(t *testing.T) {
	t.Parallel()
	g := newGuard(t, durward.Config{ProxySocket: true})
	s := httptest.NewUnstartedServer(g.Open(whence))
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	r := request(t, "GET", "http://api.example/x")
	r.Header = fields("X-Forwarded-Proto", "wss", "X-Forwarded-For", "203.0.113.9")
	if res, body := ask(t, client, r); res.StatusCode != 200 || body != "203.0.113.9" {
		t.Errorf("over a unix socket: got %s %s, want 200 203.0.113.9", res.Status, body)
	}
	client.CloseIdleConnections()
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

// The switches accept their form of path and no other.
func TestPathForms(t *testing.T) {
	t.Parallel()
	slashes, empties := durward.Config{InsecureEncodedSlashes: true}, durward.Config{InsecureDoubleSlashes: true}
	both := durward.Config{InsecureEncodedSlashes: true, InsecureDoubleSlashes: true}
	for _, c := range []struct {
		target                string
		slashes, empty, joint bool // accepted with which switch
	}{
		{"/@scope%2fname", true, false, true},
		{"/@scope%2Fname/-/name-1.0.0.tgz", true, false, true},
		{"/api/v4/projects/group%2Fproject/repository/files/src%2Fmain%2Ego", true, false, true},
		{"/api/queues/%2F/jobs", true, false, true},
		{"/bucket/v1%2E0.txt", true, false, true},
		{"/a%2f", true, false, true},
		{"/bucket//key", false, true, true},
		{"/bucket///key//", false, true, true},
		{"/bucket//a%2fb", false, false, true},
		{"/bucket/%2F/%2fkey", true, false, true},
		{"/plain", true, true, true},

		{"//evil.example/a", false, false, false},
		{"///a", false, false, false},
		{"/%2fevil.example/a", false, false, false},
		{"/a/..%2fb", false, false, false},
		{"/a%2f..%2fb", false, false, false},
		{"/a%2f%2e%2e/b", false, false, false},
		{"/a/%2e%2e/b", false, false, false},
		{"/a/.%2Eb/../c", false, false, false},
		{"/a//../b", false, false, false},
		{"/a%2f./b", false, false, false},
		{"/a%2f..;x/b", false, false, false},
		{"/a%252fb", false, false, false},
		{"/a%252e%252e/b", false, false, false},
		{"/a%5cb", false, false, false},
		{"/a%2f%5c..", false, false, false},
		{"/a%00", false, false, false},
	} {
		u, err := url.ParseRequestURI(c.target)
		if err != nil {
			t.Fatalf("%s: %v", c.target, err)
		}
		if strings.HasPrefix(c.target, "//") {
			u = &url.URL{Path: c.target}
		}
		for _, with := range []struct {
			name   string
			config durward.Config
			want   bool
		}{{"nothing", durward.Config{}, c.target == "/plain"}, {"InsecureEncodedSlashes", slashes, c.slashes}, {"InsecureDoubleSlashes", empties, c.empty}, {"both", both, c.joint}} {
			cause := ""
			with.config.OnRefusal = func(_ *http.Request, f *durward.Refusal) { cause = f.Cause() }
			r := get("good")
			r.URL = u
			w := serve(newGuard(t, with.config).Handler(hello), r)
			if with.want && w.Code != 200 {
				t.Errorf("%s with %s: got %d %s, want 200", c.target, with.name, w.Code, w.Body)
			} else if !with.want {
				wants(t, c.target+" with "+with.name, w, 400, durward.InvalidRequest)
			}
			if with.name != "nothing" || c.empty && c.slashes {
				continue
			}
			// The cause names the switch that would accept the path, or one of two, or none.
			encoded, double := strings.Contains(cause, "Config.InsecureEncodedSlashes"), strings.Contains(cause, "Config.InsecureDoubleSlashes")
			if c.joint != (encoded || double) || c.slashes && double || c.empty && encoded {
				t.Errorf("%s: the cause %q names the wrong switch", c.target, cause)
			}
		}
	}
}

// The cause of a refusal says what is wrong with the path.
func TestPathCauses(t *testing.T) {
	t.Parallel()
	var cause string
	h := newGuard(t, durward.Config{OnRefusal: func(_ *http.Request, f *durward.Refusal) { cause = f.Cause() }}).Open(hello)
	for target, want := range map[string]string{
		"/a//b":       "a double slash in the path (Config.InsecureDoubleSlashes accepts it)",
		"/a%2Fb":      "an encoded slash or dot in the path (Config.InsecureEncodedSlashes accepts it)",
		"/a%2F/b":     "an encoded slash or dot in the path (Config.InsecureEncodedSlashes accepts it)",
		"/v1%2e0":     "an encoded slash or dot in the path (Config.InsecureEncodedSlashes accepts it)",
		"//a":         "a double slash at the start of the path",
		"/%2fa":       "a double slash at the start of the path",
		"/a/../b":     "a dot segment in the path",
		"/a/%2e%2e/b": "a dot segment in the path",
		"/a%5Cb":      "a backslash in the path",
		"/a%00":       "a control character in the path",
		"/a%252Fb":    "a slash, backslash, dot or NUL in the path that is encoded twice",
		"*":           "the path does not begin with a slash",
	} {
		r := get("")
		var err error
		if r.URL, err = url.ParseRequestURI(target); err != nil {
			t.Fatal(err)
		}
		if serve(h, r); cause != want {
			t.Errorf("%s: the cause is %q, want %q", target, cause, want)
		}
	}
}

// The route is selected by the path that a reverse proxy forwards, octet by octet.
func TestPathAsForwarded(t *testing.T) {
	t.Parallel()
	g := newGuard(t, durward.Config{InsecureEncodedSlashes: true})
	var forwarded string
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { forwarded = r.RequestURI }))
	defer upstream.Close()
	to, err := url.Parse(upstream.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	mux := http.NewServeMux()
	mux.Handle("/admin/", g.Require(durward.Policy{Scopes: []string{"admin"}}, proxy))
	mux.Handle("/{package}", g.Require(durward.Policy{}, proxy))
	for target, want := range map[string]int{
		"/@scope%2Fname":  200,
		"/admin%2Fusers":  200, // one segment, as it is forwarded
		"/admin/us%2Fers": 403,
		"/%61dmin/users":  403,
	} {
		forwarded = ""
		r := get("good")
		if r.URL, err = url.ParseRequestURI(target); err != nil {
			t.Fatal(err)
		}
		if w := serve(mux, r); w.Code != want || want == 200 && forwarded != target {
			t.Errorf("%s: got %d and forwarded %q, want %d and the same octets", target, w.Code, forwarded, want)
		}
	}
}

// FuzzPath: an accepted path stays the same if dots are resolved, the path is decoded again, or
// path parameters are removed.
func FuzzPath(f *testing.F) {
	for _, target := range append(plainPaths, crookedPaths...) {
		f.Add(target)
	}
	in := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "in") })
	strict := newGuard(f, durward.Config{}).Open(in)
	lax := newGuard(f, durward.Config{InsecureEncodedSlashes: true, InsecureDoubleSlashes: true}).Open(in)
	accepts := func(t *testing.T, h http.Handler, u *url.URL) bool {
		r := get("")
		r.URL = u
		w := serve(h, r)
		if w.Code != 200 && w.Code != 400 {
			t.Fatalf("%q: got %d, want 200 or 400", u, w.Code)
		}
		return w.Code == 200
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		isStrict, isLax := accepts(t, strict, u), accepts(t, lax, u)
		if isStrict && !isLax {
			t.Fatalf("%q is accepted only without the switches", target)
		}
		if !isLax {
			return
		}
		readings := []string{u.EscapedPath(), u.Path}
		if again, err := url.PathUnescape(u.Path); err == nil {
			readings = append(readings, again)
		}
		for _, reading := range readings {
			for s := range strings.SplitSeq(reading, "/") {
				if s, _, _ = strings.Cut(s, ";"); s == "." || s == ".." {
					t.Fatalf("%q is let through and holds a dot segment when read as %q", target, reading)
				}
			}
			if strings.ContainsAny(reading, "\x00\\") || strings.HasPrefix(reading, "//") {
				t.Fatalf("%q is let through and holds a NUL, a backslash or a host when read as %q", target, reading)
			}
			if !isStrict || reading == u.EscapedPath() {
				continue
			}
			if strings.Count(reading, "/") != strings.Count(u.EscapedPath(), "/") {
				t.Fatalf("%q is let through and has more segments when read as %q", target, reading)
			}
			if clean := path.Clean(reading); clean != reading && clean+"/" != reading {
				t.Fatalf("%q is let through and cleaned to %q when read as %q", target, clean, reading)
			}
		}
	})
}

// FuzzForwarded: a stranger cannot choose its own address or scheme. Behind proxies, only the
// right-most entry that no proxy has is believed, and no list of entries is refused.
func FuzzForwarded(f *testing.F) {
	f.Add("203.0.113.9:1", "127.0.0.1", "", "https")
	f.Add("10.0.0.1:1", "198.51.100.1", "203.0.113.9, 10.0.0.2", "http, https")
	f.Add("10.0.0.1:1", "a, 203.0.113.9", "[fd00::2]:80", "https")
	f.Add("127.0.0.1:1", "", "", "")
	f.Add("127.0.0.2:1", "", "unknown", "https")
	f.Add("10.0.0.1:1", "203.0.113.9", "_a, 10.0.0.2", "wss,ws")
	f.Add("10.0.0.1:1", "203.0.113.9, 10.0.0.3", "10.0.0.2", "https,http,http")
	g := newGuard(f, durward.Config{Proxies: proxies})
	address := func(s string) netip.Addr {
		if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
			return addr.Unmap().WithZone("")
		}
		peer, _ := netip.ParseAddrPort(s)
		return peer.Addr().Unmap().WithZone("")
	}
	trusted := func(a netip.Addr) bool {
		return slices.ContainsFunc(proxies, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	f.Fuzz(func(t *testing.T, peer, first, second, proto string) {
		r := httptest.NewRequest("GET", "/x", nil)
		r.RemoteAddr = peer
		r.Header["X-Forwarded-For"] = lines(first, second)
		r.Header["X-Forwarded-Proto"] = lines(proto)
		w := serve(g.Open(whence), r)
		from, err := netip.ParseAddrPort(peer)
		if err != nil || !trusted(from.Addr().Unmap().WithZone("")) {
			if w.Code != 403 {
				t.Fatalf("from %s: got %d %s, want 403: plain http, and no proxy is trusted", peer, w.Code, w.Body)
			}
			return
		}
		entries, hops := strings.Split(first+","+second, ","), 1
		client := address(strings.TrimSpace(entries[len(entries)-1]))
		for len(entries) > 1 && trusted(client) {
			entries = entries[:len(entries)-1]
			hops++
			client = address(strings.TrimSpace(entries[len(entries)-1]))
		}
		schemes := strings.Split(proto, ",")
		schemes = schemes[max(0, len(schemes)-hops):]
		https := func(s string) bool {
			return slices.Contains([]string{"https", "wss"}, strings.ToLower(strings.TrimSpace(s)))
		}
		secure := https(schemes[0])
		if len(schemes) < hops {
			secure = !slices.ContainsFunc(schemes, func(s string) bool { return !https(s) })
		}
		switch {
		case hops > 64: // more than are read
		case !secure:
			wants(t, fmt.Sprintf("proto %q over %d proxies", proto, hops), w, 403, durward.InsecureTransport)
		case w.Code != 200 || w.Body.String() != client.String():
			t.Fatalf("for %q, %q with %q: got %d %s, want 200 %s", first, second, proto, w.Code, w.Body, client)
		}
	})
}
