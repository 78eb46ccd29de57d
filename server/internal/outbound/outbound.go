// Package outbound makes HTTP connections to addresses that others name: a challenge, a document, a
// visitor of a page.
package outbound

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// ErrNotPublic means that a name leads to an address that only this machine or its network reaches.
var ErrNotPublic = errors.New("the address is not public")

// special lists address blocks that are global unicast by their form and do not lead to a public
// server (IANA IPv4 and IPv6 Special-Purpose Address Registries).
var special = prefixes(
	"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
	"203.0.113.0/24", "240.0.0.0/4",
	"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
)

// global is the part of the IPv6 space that IANA gives out (RFC 4291 s2.4). Translated, mapped and
// local forms are outside of it.
var global = netip.MustParsePrefix("2000::/3")

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// Public reports whether addr is a public unicast address.
func Public(addr netip.Addr) bool {
	addr = addr.WithZone("").Unmap()
	if !addr.IsGlobalUnicast() || addr.IsPrivate() || addr.Is6() && !global.Contains(addr) {
		return false
	}
	for _, p := range special {
		if p.Contains(addr) {
			return false
		}
	}
	return true
}

// PublicTransport returns a transport that connects to public addresses and port 443 alone. The
// dialer checks each address after the name is resolved, just before it connects, so a name cannot
// lead to another address in between. It uses no proxy of the environment, which would resolve
// names itself.
func PublicTransport() *http.Transport { return transport(Public, 443) }

func transport(allowed func(netip.Addr) bool, port uint16) *http.Transport {
	dialer := &net.Dialer{
		Timeout: 10 * time.Second,
		Control: func(_, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return err
			}
			if !allowed(to.Addr()) {
				return fmt.Errorf("%w: %s", ErrNotPublic, to.Addr())
			}
			if to.Port() != port {
				return fmt.Errorf("%w: port %d, want %d", ErrNotPublic, to.Port(), port)
			}
			return nil
		},
	}
	return &http.Transport{
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		ResponseHeaderTimeout:  10 * time.Second,
		MaxResponseHeaderBytes: 1 << 18,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
	}
}
