// Package loopback tells which host names mean this machine.
package loopback

import (
	"net/netip"
	"strings"
)

// Host reports whether host, as url.URL.Hostname returns it, is a loopback address or the name
// localhost. Names below localhost (RFC 6761 s6.3) are not included: not every resolver keeps
// them on this machine, and plain http to them would then leave it.
func Host(host string) bool {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return strings.EqualFold(host, "localhost")
	}
	return addr.Unmap().IsLoopback()
}
