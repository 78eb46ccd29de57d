// Package request describes where a request came from, as far as the rules of package account and
// package session and the security log need it.
package request

import (
	"net/netip"
	"strings"
	"time"

	"github.com/durward-auth/durward/server/internal/store"
)

// Info says where a request came from. The client chooses UserAgent. It cannot choose Addr, unless
// the configuration trusts a proxy that it should not trust.
type Info struct {
	Addr      netip.Addr
	UserAgent string // User-Agent field, or the name of the operator's tool
	Cookie    string // user of the live session of the request's cookie, or empty
	Actor     string // id of the administrator who acts, or store.Operator; empty if it is the user concerned
	Language  string // one of Languages, or empty if the client names none

	// DeviceCookie is the cookie of a known device, or empty. The client chooses it.
	DeviceCookie string
}

// Network returns the network of the address, coarse enough not to track users: IPv4 /24, IPv6 /48.
func (i Info) Network() string {
	addr, bits := i.Addr.Unmap().WithZone(""), 24
	if !addr.IsValid() {
		return ""
	}
	if addr.Is6() {
		bits = 48
	}
	return netip.PrefixFrom(addr, bits).Masked().String()
}

// Device returns the names of the browser or tool and of the system, such as "Firefox on Linux". It
// consists of words from this package only, so no text from the client is displayed.
func (i Info) Device() string {
	for _, s := range systems {
		if strings.Contains(i.agentStart(), s.text) {
			return i.Browser() + " on " + s.name
		}
	}
	return i.Browser()
}

// Browser returns the name of the browser or tool, without a version.
func (i Info) Browser() string {
	for _, b := range browsers {
		if strings.Contains(i.agentStart(), b.text) {
			return b.name
		}
	}
	return "unknown device"
}

// agentStart returns the part of the User-Agent field that is searched.
func (i Info) agentStart() string { return i.UserAgent[:min(len(i.UserAgent), 512)] }

// Event returns a row of the security log for this request. userID and sessionID may be empty.
func (i Info) Event(kind, outcome, userID, sessionID string, now time.Time) store.Event {
	return store.Event{
		ID:        store.NewID(),
		Kind:      kind,
		At:        now,
		UserID:    userID,
		SessionID: sessionID,
		Actor:     i.Actor,
		Outcome:   outcome,
		Network:   i.Network(),
		Device:    i.Device(),
		Language:  i.Language,
	}
}

// marker is a text in a User-Agent field and the name of the program or system that sends it.
type marker struct{ text, name string }

// browsers is in order of precedence: browsers also send the markers of the browsers they descend
// from, so descendants come first.
var browsers = []marker{
	{"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Vivaldi/", "Vivaldi"},
	{"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"}, {"CriOS/", "Chrome"}, {"Chromium/", "Chromium"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"},
	{"curl/", "curl"}, {"Wget/", "Wget"}, {"HTTPie/", "HTTPie"}, {"PostmanRuntime/", "Postman"}, {"insomnia/", "Insomnia"},
	{"python-requests/", "Python"}, {"python-httpx/", "Python"}, {"Python-urllib/", "Python"}, {"aiohttp/", "Python"},
	{"Go-http-client/", "Go program"}, {"node", "Node.js"}, {"undici", "Node.js"}, {"axios/", "Node.js"}, {"okhttp/", "Android app"},
	{"Java", "Java program"}, {"Dalvik/", "Android app"}, {"CFNetwork/", "Apple app"}, {"durward", "durward"},
}

var systems = []marker{
	{"Windows", "Windows"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"CrOS", "ChromeOS"},
	{"Mac OS X", "macOS"}, {"Macintosh", "macOS"}, {"Linux", "Linux"}, {"BSD", "BSD"},
}
