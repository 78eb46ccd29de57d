package durward_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward"
)

// seat is a session cookie as an application would make a scheme of it.
type seat struct{}

func (seat) Presented(r *http.Request) (found, ambient bool) {
	_, err := r.Cookie("seat")
	return err == nil, true
}

func (seat) Authenticate(r *http.Request) (*durward.Principal, error) {
	switch c, _ := r.Cookie("seat"); c.Value {
	case "taken":
		return &durward.Principal{Scheme: "Session", Subject: "ada", ACR: "urn:durward:acr:1fa", AuthTime: noon.Add(-time.Hour), Scopes: []string{"read"}}, nil
	case "broken":
		return nil, errors.New("disk full")
	}
	return nil, fmt.Errorf("no such session: %w", durward.SessionExpired)
}

func (seat) Challenges(*http.Request, durward.Code) []durward.Challenge {
	return []durward.Challenge{{Scheme: "Session"}}
}

// rightPair is the check of these tests: one person.
func rightPair(_ context.Context, user, password string) (*durward.Principal, error) {
	if user == "ada" && password == "secret" {
		return &durward.Principal{Subject: "ada"}, nil
	}
	return nil, fmt.Errorf("wrong: %w", durward.InvalidCredentials)
}

// fields is a header of names and values in turn.
func fields(namesAndValues ...string) http.Header {
	h := http.Header{}
	for i := 0; i+1 < len(namesAndValues); i += 2 {
		h.Add(namesAndValues[i], namesAndValues[i+1])
	}
	return h
}

// with adds to a header.
func with(h http.Header, namesAndValues ...string) http.Header {
	h = h.Clone()
	for name, values := range fields(namesAndValues...) {
		h[name] = append(h[name], values...)
	}
	return h
}

// What clients send that matters here.
var (
	navigation = fields("Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Sec-Fetch-Site", "none", "Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	oldBrowser = fields("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	inFrame    = fields("Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe", "Accept", "text/html,*/*;q=0.8")
	fetched    = fields("Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Accept", "*/*")
	image      = fields("Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image", "Accept", "image/avif,image/webp,*/*;q=0.8")
	curl       = fields("Accept", "*/*", "User-Agent", "curl/7.88.1")
)

// TestPages: the kind of client determines the form of the response, not its code.
func TestPages(t *testing.T) {
	t.Parallel()
	digest := durward.Digest(durward.DigestConfig{HA1: digestUsers})
	all := durward.Config{Schemes: []durward.Scheme{durward.Basic(rightPair), seat{}, digest, durward.Bearer(verify)}, LoginURL: "https://auth.example/login?theme=dark#form", PublicURL: "https://api.example"}
	noLogin := all
	noLogin.LoginURL = ""
	boxes := durward.Config{Schemes: []durward.Scheme{durward.Basic(rightPair), digest}}
	const to = "https://auth.example/login?return_to=https%3A%2F%2Fapi.example%2Fx%3Fa%3Db%26c&theme=dark#form"
	every, quiet, loud := "Bearer Session Digest Basic", "Bearer Session", "Digest Basic"
	for _, c := range []struct {
		name   string
		config durward.Config
		policy durward.Policy
		method string
		header http.Header

		status     int
		code       durward.Code // of problem details; "" for a page
		location   string
		challenges string // their schemes
	}{
		{"navigation", all, durward.Policy{}, "GET", navigation, 303, "", to, ""},
		{"navigation, HEAD", all, durward.Policy{}, "HEAD", navigation, 303, "", to, ""},
		{"old browser", all, durward.Policy{}, "GET", oldBrowser, 303, "", to, ""},
		{"dead cookie", all, durward.Policy{}, "GET", with(navigation, "Cookie", "seat=cold"), 303, "", to, ""},
		{"navigation, no LoginURL", noLogin, durward.Policy{}, "GET", navigation, 401, "", "", every},
		{"navigation, a box is all there is", boxes, durward.Policy{}, "GET", navigation, 401, "", "", loud},
		{"frame", all, durward.Policy{}, "GET", inFrame, 401, "", "", every},
		{"form", all, durward.Policy{}, "POST", navigation, 401, "", "", every},
		{"form, old browser", all, durward.Policy{}, "POST", oldBrowser, 401, "", "", every},
		{"fetch", all, durward.Policy{}, "GET", fetched, 401, durward.AuthenticationRequired, "", quiet},
		{"fetch, dead cookie", all, durward.Policy{}, "GET", with(fetched, "Cookie", "seat=cold"), 401, durward.SessionExpired, "", quiet},
		{"fetch, a box is all there is", boxes, durward.Policy{}, "GET", fetched, 401, durward.AuthenticationRequired, "", loud},
		{"fetch for HTML", all, durward.Policy{}, "GET", with(fetched, "Accept", "text/html"), 401, durward.AuthenticationRequired, "", quiet},
		{"same-origin fetch", all, durward.Policy{}, "GET", fields("Sec-Fetch-Mode", "same-origin", "Accept", "text/html"), 401, durward.AuthenticationRequired, "", quiet},
		{"XHR of an old browser", all, durward.Policy{}, "GET", fields("Accept", "text/html, */*; q=0.01", "X-Requested-With", "XMLHttpRequest"), 401, durward.AuthenticationRequired, "", quiet},
		{"XHR", all, durward.Policy{}, "POST", with(fetched, "X-Requested-With", "XMLHttpRequest"), 401, durward.AuthenticationRequired, "", quiet},
		{"navigation of a web view", all, durward.Policy{}, "GET", with(navigation, "X-Requested-With", "com.example.app"), 303, "", to, ""},
		{"image", all, durward.Policy{}, "GET", image, 401, durward.AuthenticationRequired, "", quiet},
		{"curl", all, durward.Policy{}, "GET", curl, 401, durward.AuthenticationRequired, "", every},
		{"curl, HEAD", all, durward.Policy{}, "HEAD", curl, 401, "", "", every},
		{"nothing said", all, durward.Policy{}, "GET", http.Header{}, 401, durward.AuthenticationRequired, "", every},
		{"HTML is second choice", all, durward.Policy{}, "GET", fields("Accept", "application/json, text/html"), 401, durward.AuthenticationRequired, "", every},
		{"document, no mode, any form", all, durward.Policy{}, "GET", fields("Sec-Fetch-Dest", "document", "Accept", "*/*"), 303, durward.AuthenticationRequired, to, ""},
		{"a token that is refused", all, durward.Policy{}, "GET", with(navigation, "Authorization", "Bearer expired"), 401, "", "", every},
		{"a password that is refused", all, durward.Policy{}, "GET", with(navigation, "Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("ada:no"))), 401, "", "", every},
		{"a scheme that is not accepted", all, durward.Policy{}, "GET", with(navigation, "Authorization", "Negotiate abcd"), 401, "", "", every},
		{"a token too weak", all, durward.Policy{MaxAge: time.Minute}, "GET", with(navigation, "Authorization", "Bearer stale"), 401, "", "", every},
		{"a key nobody asked for", all, durward.Policy{}, "GET", with(oldBrowser, "X-API-Key", "k"), 401, "", "", every},
		{"too old a sign-in", all, durward.Policy{MaxAge: time.Minute}, "GET", with(navigation, "Cookie", "seat=taken"), 303, "",
			strings.Replace(to, "?", "?max_age=60&", 1), ""},
		{"too weak a sign-in", all, durward.Policy{ACR: []string{"urn:durward:acr:2fa", "phr"}}, "GET", with(navigation, "Cookie", "seat=taken"), 303, "",
			strings.Replace(to, "?", "?acr_values=urn%3Adurward%3Aacr%3A2fa+phr&", 1), ""},
		{"too weak a sign-in, fetch", all, durward.Policy{MaxAge: time.Minute}, "GET", with(fetched, "Cookie", "seat=taken"), 401, durward.StepUpRequired, "", quiet},
		{"not allowed", all, durward.Policy{Scopes: []string{"write"}}, "GET", with(navigation, "Cookie", "seat=taken"), 403, "", "", ""},
		{"not allowed, fetch", all, durward.Policy{Scopes: []string{"write"}}, "GET", with(fetched, "Cookie", "seat=taken"), 403, durward.InsufficientScope, "", ""},
		{"outage", all, durward.Policy{}, "GET", with(navigation, "Cookie", "seat=broken"), 503, "", "", ""},
		{"let in", all, durward.Policy{}, "GET", with(navigation, "Cookie", "seat=taken"), 200, "", "", ""},
	} {
		c.policy.Pages = true
		r := over(c.method, "/x?a=b&c", "", "")
		r.Host = "evil.example" // must not appear in Location
		r.Header = c.header.Clone()
		g := newGuard(t, c.config)
		w := serve(g.Require(c.policy, hello), r)
		got := w.Header()
		if w.Code != c.status || got.Get("Location") != c.location || codeOf(w) != c.code {
			t.Errorf("%s: got %d %s to %q, want %d %s to %q", c.name, w.Code, codeOf(w), got.Get("Location"), c.status, c.code, c.location)
		}
		var schemes []string
		if len(got.Values("WWW-Authenticate")) > 0 {
			for _, one := range asked(t, w, "WWW-Authenticate") {
				schemes = append(schemes, one.Scheme)
			}
		}
		if strings.Join(schemes, " ") != c.challenges {
			t.Errorf("%s: got the challenges %v, want %s", c.name, schemes, c.challenges)
		}
		if c.status == 200 {
			continue
		}
		page := c.code == "" && c.name != "curl, HEAD"
		kind, policy := "application/problem+json", ""
		if page {
			kind, policy = "text/html; charset=utf-8", "default-src 'none'"
		}
		if got.Get("Content-Type") != kind || !strings.HasPrefix(got.Get("Content-Security-Policy"), policy) || policy == "" && got["Content-Security-Policy"] != nil {
			t.Errorf("%s: got %q with the policy %q, want %s", c.name, got.Get("Content-Type"), got.Get("Content-Security-Policy"), kind)
		}
		if got.Get("Cache-Control") != "no-store" || got.Get("X-Content-Type-Options") != "nosniff" || len(got.Get("Durward-Denial")) != 26 || !strings.Contains(got.Get("Vary"), "Sec-Fetch-Mode") {
			t.Errorf("%s: fields of a refusal are missing: %v", c.name, got)
		}
		if (c.method == "HEAD") != (w.Body.Len() == 0) {
			t.Errorf("%s: a body of %d octets", c.name, w.Body.Len())
		}
		// Without Pages there is no redirect and no page.
		c.policy.Pages = false
		r.Header = c.header.Clone()
		w = serve(g.Require(c.policy, hello), r)
		if w.Code < 400 || w.Header().Get("Location") != "" || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s, a route for machines: got %d to %q, %s", c.name, w.Code, w.Header().Get("Location"), w.Header().Get("Content-Type"))
		}
	}
}

// Where people are sent comes from the configuration, where they come back to
// from that and the path.
func TestToLogin(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, login, public, target, want string }{
		{"same origin", "https://api.example/login", "https://api.example", "/x?y=z", "https://api.example/login?return_to=%2Fx%3Fy%3Dz"},
		{"same origin with a slash", "https://api.example/login", "https://api.example/", "/x", "https://api.example/login?return_to=%2Fx"},
		{"no PublicURL", "https://auth.example/login", "", "/x", "https://auth.example/login?return_to=%2Fx"},
		{"another origin", "https://auth.example/login", "https://api.example/", "/x", "https://auth.example/login?return_to=https%3A%2F%2Fapi.example%2Fx"},
		{"another port", "https://api.example:8443/login", "https://api.example", "/x", "https://api.example:8443/login?return_to=https%3A%2F%2Fapi.example%2Fx"},
		{"another scheme", "http://api.example/login", "https://api.example", "/x", "http://api.example/login?return_to=https%3A%2F%2Fapi.example%2Fx"},
		{"absolute form", "https://auth.example/login", "https://api.example", "https://evil.example/x", "https://auth.example/login?return_to=https%3A%2F%2Fapi.example%2Fx"},
		{"a return_to of its own", "https://api.example/login?return_to=%2Fhome", "https://api.example", "/x", "https://api.example/login?return_to=%2Fx"},
		{"what the query says stays in return_to", "https://api.example/login", "https://api.example", "/x?return_to=//evil.example&a=%26", "https://api.example/login?return_to=%2Fx%3Freturn_to%3D%2F%2Fevil.example%26a%3D%2526"},
		{"the sign-in page itself", "https://api.example/login", "https://api.example", "/login?return_to=/x", ""},
		{"the sign-in page itself, no PublicURL", "https://api.example/login", "", "/login", ""},
		{"another origin's path", "https://auth.example/login", "https://api.example", "/login", "https://auth.example/login?return_to=https%3A%2F%2Fapi.example%2Flogin"},
		{"crooked path", "https://auth.example/login", "https://api.example", "/a//evil.example", ""},
	} {
		g := newGuard(t, durward.Config{LoginURL: c.login, PublicURL: c.public})
		r := over("GET", c.target, "", "")
		r.Host = "evil.example"
		r.Header = navigation.Clone()
		r.Header.Set("X-Forwarded-Host", "evil.example")
		w := serve(g.Require(durward.Policy{Pages: true}, never(t)), r)
		if got := w.Header().Get("Location"); got != c.want || (w.Code == 303) != (c.want != "") {
			t.Errorf("%s: got %d to %q, want %q", c.name, w.Code, got, c.want)
		}
		// ReturnTo accepts the return_to that was sent.
		if u, err := url.Parse(c.want); err != nil {
			t.Error(err)
		} else if back := u.Query().Get("return_to"); c.want != "" && durward.ReturnTo(back, c.public) != back {
			t.Errorf("%s: ReturnTo does not take %q", c.name, back)
		}
	}
}

// The page is well-formed, escapes texts of the application, loads and runs nothing, and its only
// style matches the hash in its policy.
func TestPage(t *testing.T) {
	t.Parallel()
	const hostile = `</p><script>alert("1")</script>'&<b`
	g := newGuard(t, durward.Config{LoginURL: `https://auth.example/login?a="><script>`})
	h := g.Require(durward.Policy{Pages: true, Optional: true, Allow: func(*http.Request, *durward.Principal) error {
		return &durward.Refusal{Code: durward.InvalidCredentials, Detail: hostile, Err: errors.New("the cause")}
	}}, never(t))
	r := over("POST", "/x", "", "")
	r.Header = navigation.Clone()
	w := serve(h, r)
	body := w.Body.String()
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindStringSubmatch(body)
	if style == nil {
		t.Fatalf("no style:\n%s", body)
	}
	sum := sha256.Sum256([]byte(style[1]))
	want := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'"
	if got := w.Header().Get("Content-Security-Policy"); got != want {
		t.Errorf("got the policy %s, want %s", got, want)
	}
	if w.Header().Get("Referrer-Policy") != "no-referrer" {
		t.Error("the page tells other pages where its reader was")
	}
	for _, part := range []string{
		"<title>Invalid credentials</title>", "<h1>Invalid credentials</h1>",
		`<p>&lt;/p&gt;&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;&#39;&amp;&lt;b</p>`,
		`<p><a href="https://auth.example/login?a=%22%3e%3cscript%3e" target="_top">Sign in</a></p>`,
		"<code>" + w.Header().Get("Durward-Denial") + "</code>",
	} {
		if !strings.Contains(body, part) {
			t.Errorf("the page lacks %s:\n%s", part, body)
		}
	}
	if strings.Contains(body, "the cause") {
		t.Error("the page tells the cause")
	}
	var open []string
	for _, tag := range regexp.MustCompile(`<(/?)([a-z0-9]+)[^>]*>`).FindAllStringSubmatch(body, -1) {
		switch name := tag[2]; {
		case name == "meta":
		case !slices.Contains([]string{"html", "title", "style", "main", "h1", "p", "a", "small", "code"}, name):
			t.Errorf("the page has a <%s>", name)
		case tag[1] == "":
			open = append(open, name)
		case len(open) == 0 || open[len(open)-1] != name:
			t.Errorf("</%s> closes %v", name, open)
		default:
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		t.Errorf("not closed: %v", open)
	}
	// There is a way to sign in only where that would help, and there is one.
	noLogin := newGuard(t, durward.Config{})
	for _, c := range []struct {
		guard *durward.Guard
		code  durward.Code
		link  bool
	}{{g, durward.SessionExpired, true}, {g, durward.StepUpRequired, true}, {g, durward.Forbidden, false}, {g, durward.AuthUnavailable, false}, {noLogin, durward.SessionExpired, false}} {
		h := c.guard.Require(durward.Policy{Pages: true, Optional: true, Allow: func(*http.Request, *durward.Principal) error { return c.code }}, never(t))
		if w := serve(h, r); strings.Contains(w.Body.String(), "<a ") != c.link || w.Code != c.code.Status() {
			t.Errorf("%s: got %d, want a link: %v\n%s", c.code, w.Code, c.link, w.Body)
		}
	}
}

const (
	home = "https://auth.example" // where the sign-in page is in these tests
	app  = "https://app.example.com"
)

func TestReturnTo(t *testing.T) {
	t.Parallel()
	for _, target := range []string{
		"/", "/x", "/x/", "/x?a=b", "/x#y", "/x?a=//evil.com", "/x?a=https://evil.com/", "/x#//evil.com", "/x/@evil.com", "/%20", "/x%25", "/a:b", "/x;y=z", "/.well-known/x", "/x?..", "/%c3%a9",
		app + "/", app + "/x?a=b#c", app + "/@evil.com", "http://localhost:3000/x",
	} {
		if got := durward.ReturnTo(target, app, "http://localhost:3000/"); got != target {
			t.Errorf("%q: got %q, want it as it is", target, got)
		}
	}
	for _, target := range []string{
		"", " ", "x", "?a", "#a", ".", "..", "../x", "*",
		"//evil.com", "//evil.com/x", "///evil.com", "////evil.com/x", "/\\evil.com", "\\/evil.com", "\\\\evil.com", "\\evil.com", "/x\\..\\..", "/\\/evil.com",
		"/x?a\\b", "/x#\\",
		"/\t/evil.com", "/\r\n/evil.com", "\t//evil.com", "/\n//evil.com", " //evil.com", "/ /evil.com", "/x\r\nSet-Cookie: a=b", "/x\x00", "/x\x7f", "//evil.com\t",
		"/%09/evil.com", "/%0d%0aSet-Cookie:a=b", "/%00", "/%2f/evil.com", "/%2fevil.com", "/%5cevil.com", "/%5c%5cevil.com", "%2f%2fevil.com", "/%252fevil.com", "/%zz",
		"/./x", "/../x", "/.", "/..", "/x/../..//evil.com", "/.//evil.com", "/%2e%2e/x", "/%2E/x", "/x/.%2e/y", "/..;/x", "/x//y",
		"/\u2215evil.com", "/\u2044\u2044evil.com", "/\uff0fevil.com", "/\u3002x", "https://evil\u3002com/", "https://app.example\uff0ecom/", "/é",
		"javascript:alert(1)", "JavaScript:alert(1)", "java\tscript:alert(1)", "javascript://app.example.com/%0aalert(1)", "data:text/html,x", "vbscript:x", "blob:" + app + "/x", "file:///etc/passwd", "ftp://app.example.com/", "mailto:a@b",
		"https:evil.com", "https:/evil.com", "https:///evil.com", "https:", "https://", "http:/x", "https:x", "https:/\\evil.com",
		"https://evil.com/", "https://evil.com/" + app, "https://app.example.com.evil.com/", "https://app.example.com:443@evil.com/", "https://app.example.com@evil.com/", "https://user:pass@app.example.com/", "https://@app.example.com/",
		"https://app.example.comevil.com/", "https://app.example.com%2eevil.com/", "https://app.example.com\\.evil.com/", "https://app.example.com%00.evil.com/", "https://app.example.com#.evil.com/", "https://app.example.com?.evil.com/",
		"https://app.example.com:8443/", "https://app.example.com:/", "https://app.example.com:443/", "https://app.example.com./", "https://sub.app.example.com/", "https://evil.com#" + app, "https://evil.com?" + app + "/",
		"http://app.example.com/", "//app.example.com/", "HTTPS://app.example.com/", "https://APP.example.com/", app, app + "?x", app + "#x", app + "//x", app + "/../x", app + "/%2e%2e/x",
		"http://localhost:3000evil.com/", "http://localhost:30001/", "http://localhost/", "http://[::1]/",
	} {
		if got := durward.ReturnTo(target, app, "http://localhost:3000/"); got != "/" {
			t.Errorf("%q: got %q, want /", target, got)
		}
	}
	for _, c := range []struct{ target, origin, want string }{
		{app + "/x", app + "/", app + "/x"},
		{app + "/x", "HTTPS://app.example.com", app + "/x"},
		{"https://[::1]:8443/x", "https://[::1]:8443", "https://[::1]:8443/x"},
		{"/x", "", "/x"},
		// Entries that are not origins permit nothing.
		{"//evil.com/x", "", "/"}, {"//evil.com/x", "/", "/"}, {"https://evil.com/x", "https://", "/"}, {"https:///evil.com/x", "https://", "/"}, {"https:///evil.com/x", "https:", "/"}, {"https://evil.com/x", "https:", "/"}, {"https://evil.com/x", "https", "/"},
		{"javascript://app.example.com/x", "javascript://app.example.com", "/"},
		{app + "/x/y", app + "/x", "/"}, {app + "/x", app + "?a", "/"}, {app + "/x", app + "#a", "/"}, {"https://a@app.example.com/", "https://a@app.example.com", "/"}, {app + "/x", "https://a@app.example.com", "/"},
		{app + "/x", "app.example.com", "/"}, {app + "/x", "*", "/"}, {app + "/x", "https://%zz", "/"},
	} {
		if got := durward.ReturnTo(c.target, c.origin); got != c.want {
			t.Errorf("%q with the origin %q: got %q, want %q", c.target, c.origin, got, c.want)
		}
	}
	if got := durward.ReturnTo("https://b.example/x", "", "https://a.example", "https://b.example"); got != "https://b.example/x" {
		t.Errorf("the last of three origins: got %q", got)
	}
}

// originIn returns the origin that a browser on a page of home opens for target, by the rules of
// the WHATWG URL standard: stripped characters, characters that count as slashes, and ignored
// slashes. "null" is an origin without a host.
func originIn(target string) string {
	target = strings.TrimFunc(target, func(r rune) bool { return r <= 0x20 })
	target = strings.NewReplacer("\t", "", "\n", "", "\r", "").Replace(target)
	at := strings.IndexAny(target, "?#")
	if at < 0 {
		at = len(target)
	}
	target = strings.ReplaceAll(target[:at], `\`, "/") // of special schemes; others end as null
	scheme := "https"
	if m := regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*):`).FindStringSubmatch(target); m != nil {
		named := strings.ToLower(m[1])
		if named != "https" && named != "http" {
			return "null"
		}
		rest := target[len(m[0]):]
		if named == "https" && !strings.HasPrefix(rest, "//") {
			target = rest // special relative or authority state
		} else {
			scheme, target = named, "//"+rest
		}
	}
	if !strings.HasPrefix(target, "//") {
		return home
	}
	host, _, _ := strings.Cut(strings.TrimLeft(target, "/"), "/")
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	if decoded, err := url.PathUnescape(host); err == nil {
		host = decoded
	}
	host = strings.ToLower(host)
	host = strings.TrimSuffix(host, ":")
	return scheme + "://" + strings.TrimSuffix(host, map[string]string{"https": ":443", "http": ":80"}[scheme])
}

// FuzzReturnTo: wherever a browser is sent, it arrives at the page's own origin
// or at one that was listed.
func FuzzReturnTo(f *testing.F) {
	for _, target := range []string{"/x?a=b#c", "//evil.com", "/\\evil.com", "https:/evil.com", app + "/x", "https://app.example.com.evil.com/", "https://a@app.example.com/", "http:x", "/%2f/x"} {
		f.Add(target, app)
	}
	for _, origin := range []string{"", "/", "https:", "https://", "http://localhost:80", "HTTPS://APP.EXAMPLE.COM/", "//x"} {
		f.Add("//evil.com/x", origin)
	}
	f.Fuzz(func(t *testing.T, target, origin string) {
		got := durward.ReturnTo(target, origin)
		if got != target && got != "/" {
			t.Fatalf("%q: got %q", target, got)
		}
		if strings.ContainsFunc(got, func(r rune) bool { return r <= 0x20 || r >= 0x7f || r == '\\' }) {
			t.Fatalf("%q is returned with its characters", got)
		}
		if at := originIn(got); at != home && at != originIn(origin) || at == "null" {
			t.Fatalf("%q with the origin %q leads to %s", target, origin, at)
		}
	})
}

// ExposedFields are the fields that a refusal exposes.
func TestExposedFields(t *testing.T) {
	t.Parallel()
	r := get("")
	r.Header.Set("Origin", "https://app.example")
	got := serve(newGuard(t, durward.Config{}).Handler(hello), r).Header().Get("Access-Control-Expose-Headers")
	if want := strings.Join(durward.ExposedFields(), ", "); got != want || !strings.Contains(got, "WWW-Authenticate") {
		t.Errorf("got %s, want %s", got, want)
	}
}

// With Config.Page, refusals of open routes are pages for a browser and JSON for a program. They never lead
// to the sign-in page.
func TestPagesOfOpenRoutes(t *testing.T) {
	t.Parallel()
	for name, custom := range map[string]bool{"Config.Page": true, "no Config.Page": false} {
		c := durward.Config{Schemes: []durward.Scheme{seat{}}, LoginURL: "https://example.com/login", PublicURL: "https://example.com"}
		if custom {
			c.Page = func(_ http.Header, _ *http.Request, f *durward.Refusal) []byte { return []byte("<p>" + f.ID) }
		}
		g, err := durward.New(c)
		if err != nil {
			t.Fatal(err)
		}
		for _, code := range []durward.Code{durward.NotFound, durward.SessionExpired} {
			h := g.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.Refuse(w, r, code) }))
			for accept, page := range map[string]bool{"text/html,*/*": custom, "*/*": false, "": false} {
				r := httptest.NewRequest("GET", "https://example.com/x", nil)
				r.Header.Set("Accept", accept)
				w := serve(h, r)
				if got := strings.HasPrefix(w.Body.String(), "<p>"); got != page || w.Code < 400 {
					t.Errorf("%s, %s, Accept %q: %d, page is %v, want %v:\n%s", name, code, accept, w.Code, got, page, w.Body)
				}
			}
		}
	}
}
