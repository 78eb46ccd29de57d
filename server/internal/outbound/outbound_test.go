package outbound

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
)

// TestPublic: an address, and whether it is public.
func TestPublic(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]bool{
		"1.1.1.1": true, "93.184.216.34": true, "2606:4700::1111": true, "::ffff:8.8.8.8": true,
		"127.0.0.1": false, "127.1.2.3": false, "::1": false, "0.0.0.0": false, "::": false, "0.1.2.3": false,
		"10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false,
		"192.0.0.8": false, "192.0.2.1": false, "198.18.0.1": false, "224.0.0.1": false, "255.255.255.255": false, "240.0.0.1": false,
		"fe80::1": false, "fe80::1%eth0": false, "fc00::1": false, "fd12::1": false, "ff02::1": false,
		"::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::127.0.0.1": false,
		"64:ff9b::7f00:1": false, "64:ff9b:1::1": false, "2002:7f00:1::": false, "2001::1": false, "2001:db8::1": false, "3fff::1": false,
	} {
		if got := Public(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: %v, want %v", address, got, want)
		}
	}
}

// TestPublicTransport: a loopback server is not reached, by address and by name.
func TestPublicTransport(t *testing.T) {
	t.Parallel()
	var reached atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer server.Close()
	// With the port of the server the address alone keeps it away.
	port := server.Listener.Addr().(*net.TCPAddr).AddrPort().Port()
	client := &http.Client{Transport: transport(Public, port)}
	for _, url := range []string{
		server.URL, strings.Replace(server.URL, "127.0.0.1", "localhost", 1), strings.Replace(server.URL, "127.0.0.1", "[::ffff:127.0.0.1]", 1),
	} {
		resp, err := client.Get(url)
		if err == nil {
			resp.Body.Close()
		}
		if !errors.Is(err, ErrNotPublic) {
			t.Errorf("%s: error %v, want %v", url, err, ErrNotPublic)
		}
	}
	if reached.Load() {
		t.Error("the server got a request")
	}
	if _, err := (&http.Client{Transport: PublicTransport()}).Get("https://127.0.0.1/"); !errors.Is(err, ErrNotPublic) {
		t.Errorf("the public transport: error %v, want %v", err, ErrNotPublic)
	}
}

// TestPort: of a public address, one port alone.
func TestPort(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	client := &http.Client{Transport: transport(func(netip.Addr) bool { return true }, 443)}
	if resp, err := client.Get(server.URL); err == nil {
		resp.Body.Close()
		t.Error("another port was reached")
	} else if !errors.Is(err, ErrNotPublic) {
		t.Errorf("error %v, want %v", err, ErrNotPublic)
	}
}
