package account

import (
	"net/netip"
	"strings"
	"time"

	"github.com/durward-auth/durward/server/internal/store"
)

// From is where a request came from, as far as it can be told. Agent is chosen
// by the client; Addr is not, unless a proxy is trusted that should not be.
type From struct {
	Addr  netip.Addr
	Agent string // User-Agent field, or the name of the operator's tool
	Actor string // who acts, where it is not the person concerned: "operator"
}

// Network is the neighbourhood of the address, coarse enough not to follow
// people about: IPv4 /24, IPv6 /48.
func (f From) Network() string {
	addr := f.Addr.Unmap()
	bits := 24
	switch {
	case !addr.IsValid():
		return ""
	case addr.Is6():
		bits = 48
	}
	prefix, err := addr.WithZone("").Prefix(bits)
	if err != nil {
		return ""
	}
	return prefix.String()
}

// Device names browser or tool and system, such as "Firefox on Linux". It is
// made of words of our own, so that nothing a client sends is ever shown.
func (f From) Device() string {
	family, system := f.Browser(), ""
	for _, s := range systems {
		if strings.Contains(f.agent(), s.mark) {
			system = s.name
			break
		}
	}
	if system == "" {
		return family
	}
	return family + " on " + system
}

// Browser is the family of browser or tool.
func (f From) Browser() string {
	for _, b := range browsers {
		if strings.Contains(f.agent(), b.mark) {
			return b.name
		}
	}
	return "unknown device"
}

// agent is the part of the agent that is looked at.
func (f From) agent() string { return f.Agent[:min(len(f.Agent), 512)] }

type marked struct{ mark, name string }

// The first mark found names the family: browsers claim to be their forebears,
// so descendants stand first.
var browsers = []marked{
	{"Edg", "Edge"}, {"OPR/", "Opera"}, {"SamsungBrowser/", "Samsung Internet"}, {"Vivaldi/", "Vivaldi"},
	{"Firefox/", "Firefox"}, {"FxiOS/", "Firefox"}, {"CriOS/", "Chrome"}, {"Chromium/", "Chromium"}, {"Chrome/", "Chrome"}, {"Safari/", "Safari"},
	{"curl/", "curl"}, {"Wget/", "Wget"}, {"HTTPie/", "HTTPie"}, {"PostmanRuntime/", "Postman"}, {"insomnia/", "Insomnia"},
	{"python-requests/", "Python"}, {"python-httpx/", "Python"}, {"Python-urllib/", "Python"}, {"aiohttp/", "Python"},
	{"Go-http-client/", "Go program"}, {"node", "Node.js"}, {"undici", "Node.js"}, {"axios/", "Node.js"}, {"okhttp/", "Android app"},
	{"Java", "Java program"}, {"Dalvik/", "Android app"}, {"CFNetwork/", "Apple app"}, {"durward", "durward"},
}

var systems = []marked{
	{"Windows", "Windows"}, {"iPhone", "iPhone"}, {"iPad", "iPad"}, {"Android", "Android"}, {"CrOS", "ChromeOS"},
	{"Mac OS X", "macOS"}, {"Macintosh", "macOS"}, {"Linux", "Linux"}, {"BSD", "BSD"},
}

// event begins a row of the security log. Ids are made in Go, times are ours.
func (f From) event(kind, outcome string, now time.Time) store.Event {
	return store.Event{ID: newID(), Kind: kind, At: now, Actor: f.Actor, Outcome: outcome, Network: f.Network(), Device: f.Device()}
}
