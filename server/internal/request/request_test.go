package request

import (
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestNetwork(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ addr, want string }{
		{"192.0.2.77", "192.0.2.0/24"},
		{"192.0.2.0", "192.0.2.0/24"},
		{"255.255.255.255", "255.255.255.0/24"},
		{"127.0.0.1", "127.0.0.0/24"},
		{"::ffff:192.0.2.77", "192.0.2.0/24"}, // IPv4-mapped
		{"2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"},
		{"2001:db8:1:ffff::1", "2001:db8:1::/48"},
		{"2001:db8:2::1", "2001:db8:2::/48"},
		{"::1", "::/48"},
		{"fe80::1%eth0", "fe80::/48"},
		{"fe80::1%<script>", "fe80::/48"}, // the zone is dropped
	} {
		if got := (Info{Addr: netip.MustParseAddr(c.addr)}).Network(); got != c.want {
			t.Errorf("%s: got %q, want %q", c.addr, got, c.want)
		}
	}
	if got := (Info{}).Network(); got != "" {
		t.Errorf("no address: got network %q", got)
	}
}

func TestDevice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ agent, browser, device string }{
		{"", "unknown device", "unknown device"},
		{"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox", "Firefox on Linux"},
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36", "Chrome", "Chrome on Windows"},
		{"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0", "Edge", "Edge on Windows"},
		{"Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/138.0 Safari/537.36 OPR/120.0", "Opera", "Opera on Windows"},
		{"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15", "Safari", "Safari on macOS"},
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Version/18.5 Mobile/15E148 Safari/604.1", "Safari", "Safari on iPhone"},
		{"Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 CriOS/138.0 Mobile/15E148 Safari/604.1", "Chrome", "Chrome on iPhone"},
		{"Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1.15 FxiOS/140.0 Mobile/15E148 Safari/605.1.15", "Firefox", "Firefox on iPad"},
		{"Mozilla/5.0 (Linux; Android 14; SM-S921B) AppleWebKit/537.36 SamsungBrowser/28.0 Chrome/130.0 Mobile Safari/537.36", "Samsung Internet", "Samsung Internet on Android"},
		{"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 Chrome/138.0.0.0 Safari/537.36", "Chrome", "Chrome on ChromeOS"},
		{"Mozilla/5.0 (X11; OpenBSD amd64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox", "Firefox on BSD"},
		{"curl/8.5.0", "curl", "curl"},
		{"Wget/1.21.4", "Wget", "Wget"},
		{"python-requests/2.32.4", "Python", "Python"},
		{"Go-http-client/2.0", "Go program", "Go program"},
		{"PostmanRuntime/7.44.1", "Postman", "Postman"},
		{"Java/21.0.7", "Java program", "Java program"},
		{"durward/1.0", "durward", "durward"},
		{"nothing we know", "unknown device", "unknown device"},
		{"nothing we know (Windows NT 10.0)", "unknown device", "unknown device on Windows"},
		{"firefox/140.0", "unknown device", "unknown device"}, // markers are case-sensitive
		{"<script>alert(1)</script> Firefox/140.0\r\nSet-Cookie: a=b", "Firefox", "Firefox"},
		{"\x00\xff\xfe Chrome/1", "Chrome", "Chrome"},
		{strings.Repeat("x", 512-len("curl/")) + "curl/", "curl", "curl"},
		{strings.Repeat("x", 513-len("curl/")) + "curl/", "unknown device", "unknown device"}, // after the searched part
		{strings.Repeat("Firefox ", 1<<17), "unknown device", "unknown device"},
	} {
		from := Info{UserAgent: c.agent}
		if got := from.Browser(); got != c.browser {
			t.Errorf("%.100q: got browser %q, want %q", c.agent, got, c.browser)
		}
		if got := from.Device(); got != c.device {
			t.Errorf("%.100q: got device %q, want %q", c.agent, got, c.device)
		}
	}
}

// ourWords returns the possible results of Device.
func ourWords() map[string]bool {
	all := map[string]bool{}
	names := []string{"unknown device"}
	for _, b := range browsers {
		names = append(names, b.name)
	}
	for _, n := range names {
		all[n] = true
		for _, s := range systems {
			all[n+" on "+s.name] = true
		}
	}
	return all
}

// Device returns names of this package only, for every User-Agent field.
func FuzzDevice(f *testing.F) {
	for _, s := range []string{"", "curl/8.5.0", "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0", "\x00\xff", "<b>Edg</b> on Windows", strings.Repeat("\u00fc", 300), strings.Repeat("a", 511) + "\u00fc"} {
		f.Add(s)
	}
	ours := ourWords()
	f.Fuzz(func(t *testing.T, agent string) {
		from := Info{UserAgent: agent, Addr: netip.MustParseAddr("192.0.2.1")}
		device := from.Device()
		if !ours[device] || !ours[from.Browser()] {
			t.Fatalf("%q: device %q, browser %q", agent, device, from.Browser())
		}
		if !utf8.ValidString(device) || !strings.HasPrefix(device, from.Browser()) {
			t.Fatalf("%q: device %q of browser %q", agent, device, from.Browser())
		}
		if e := from.Event("kind", "ok", "ada", "s1", time.Unix(1, 0)); e.Device != device || e.Network != "192.0.2.0/24" {
			t.Fatalf("%q: event %+v", agent, e)
		}
	})
}

func TestEvent(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	from := Info{Addr: netip.MustParseAddr("2001:db8::1"), UserAgent: "curl/8", Actor: "operator"}
	a, b := from.Event("user_added", "ok", "ada", "s1", now), from.Event("user_added", "ok", "ada", "s1", now)
	if a.ID == b.ID || a.ID > b.ID {
		t.Errorf("got ids %s, %s; want them different and in the order of time", a.ID, b.ID)
	}
	if a.Kind != "user_added" || a.Outcome != "ok" || a.UserID != "ada" || a.SessionID != "s1" || !a.At.Equal(now) || a.Actor != "operator" || a.Network != "2001:db8::/48" || a.Device != "curl" {
		t.Errorf("got %+v", a)
	}
}
