// Package origin writes origins in their canonical form.
package origin

import "strings"

// Of returns the origin of a URL's scheme and host as browsers write it (RFC 6454 s6.2): in lower
// case and without the default port.
func Of(scheme, host string) string {
	scheme, host = strings.ToLower(scheme), strings.ToLower(host)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	return scheme + "://" + host
}
