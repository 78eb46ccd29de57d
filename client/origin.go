package client

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/durward-auth/durward/internal/loopback"
)

// origin is scheme, host and port in canonical spelling (RFC 9110 s4.3.1). The zero origin is none.
type origin struct{ scheme, host, port string }

// String returns the origin with its port.
func (o origin) String() string { return o.scheme + "://" + net.JoinHostPort(o.host, o.port) }

// originOf returns the origin of an http or https URL, or the zero origin.
func originOf(u *url.URL) origin {
	o := origin{strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()}
	switch {
	case o.host == "":
		return origin{}
	case o.port != "":
	case o.scheme == "https":
		o.port = "443"
	case o.scheme == "http":
		o.port = "80"
	}
	if o.scheme != "http" && o.scheme != "https" {
		return origin{}
	}
	return o
}

// parseOrigin parses a configured origin: scheme, host and port only. Its errors do not hold a
// password of the URL.
func parseOrigin(text string) (origin, error) {
	u, err := url.Parse(text)
	if err != nil {
		return origin{}, fmt.Errorf("%q is not a URL", text)
	}
	if u.User != nil {
		return origin{}, errors.New("the URL holds a user name; set User, and never put a password into a URL")
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return origin{}, fmt.Errorf("%q is more than an origin; give scheme, host and port only", text)
	}
	o := originOf(u)
	if o == (origin{}) {
		return origin{}, fmt.Errorf("%q is not an origin such as https://api.example.com", text)
	}
	return o, nil
}

// confidential reports whether requests to the origin are hidden from the network path: they are
// sent over TLS or stay on this machine.
func (o origin) confidential() bool { return o.scheme == "https" || loopback.Host(o.host) }

// pathOf returns the path that selects a protection space.
func pathOf(u *url.URL) string {
	if p := u.EscapedPath(); p != "" {
		return p
	}
	return "/"
}
