package doctor

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maxCookie is how many octets of a name and a value browsers take (RFC 6265bis s5.7).
const maxCookie = 4096

// hostingSites are domains under which pages of different owners live. A cookie cannot span them (publicsuffix.org).
var hostingSites = []string{
	"vercel.app", "netlify.app", "herokuapp.com", "github.io", "gitlab.io", "pages.dev", "workers.dev", "onrender.com", "fly.dev", "web.app", "firebaseapp.com",
	"azurewebsites.net", "azurestaticapps.net", "cloudfront.net", "run.app", "appspot.com", "repl.co", "replit.app", "ngrok.io", "ngrok.app", "ngrok-free.app",
	"railway.app", "surge.sh", "elasticbeanstalk.com", "amplifyapp.com", "ondigitalocean.app", "glitch.me", "deno.dev", "streamlit.app", "hf.space", "trycloudflare.com",
}

// sessionName matches names of cookies that hold a session or a token.
var sessionName = regexp.MustCompile(`(?i)sess|sid\b|\bsid|auth|token|jwt|identity|^connect\.|login|remember|^\.aspnet`)

// hostingSite returns the hosting domain of a host, or "".
func hostingSite(host string) string {
	host = strings.ToLower(strings.TrimPrefix(host, "."))
	for _, s := range hostingSites {
		if host == s || strings.HasSuffix(host, "."+s) {
			return s
		}
	}
	return ""
}

// withheld adds the reason why a browser does not send a cookie. The cookie was set by the address from, at a time that may
// be zero.
func (e *evidence) withheld(c *http.Cookie, from *url.URL, at time.Time) {
	if !e.request.Whole {
		return
	}
	name := e.quote(c.Name)
	if reason := e.withheldBy(c, from, at); reason != "" {
		e.add("cookie-withheld", Computed, "Set-Cookie", "the cookie %s was set before and not sent: %s", name, reason)
	} else if e.seen["authorization-absent"] && (len(cookieNames(e.request.Header)) == 0 || e.seen["session-cookie-absent"] && !plainNames.MatchString(c.Name)) {
		e.add("cookie-unsent", Computed, "Cookie", "the cookie %s was set before and not sent", name)
	}
}

// withheldBy returns the reason why a browser does not send a cookie, or "".
func (e *evidence) withheldBy(c *http.Cookie, from *url.URL, at time.Time) string {
	host, r := e.target.Hostname(), e.request
	lax := c.SameSite != http.SameSiteNoneMode
	domain := strings.TrimPrefix(strings.ToLower(c.Domain), ".")
	path := c.Path
	if path == "" && from.Path != "" && strings.Count(from.Path, "/") > 1 { // RFC 6265 s5.1.4
		path = from.Path[:strings.LastIndex(from.Path, "/")]
	}
	switch {
	case !lax && !c.Secure:
		return "it has SameSite=None without Secure: browsers throw it away"
	case c.Secure && e.target.Scheme == "http" && !localHost(host):
		return "it is Secure and the address is plain http"
	case c.Secure && from.Scheme == "http" && !localHost(from.Hostname()):
		return "it is Secure and was set over plain http: browsers throw it away"
	case c.Secure && (e.target.Scheme == "http" || from.Scheme == "http") && safari(r.Header.Get("User-Agent")):
		return "it is Secure, and Safari takes no such cookie over plain http, also of localhost"
	case len(c.Name)+len(c.Value) > maxCookie:
		return "it has more than 4096 octets: browsers throw it away"
	case lax && e.fromOtherSite() && (c.SameSite == http.SameSiteStrictMode || !e.navigates()):
		return "its SameSite keeps it from requests of another site"
	case path != "/" && path != "" && !underPath(e.target.Path, path):
		if c.Path == "" {
			return "it has no Path, so it is for addresses under " + e.quote(path) + " alone (RFC 6265 s5.1.4)"
		}
		return "its Path is " + e.quote(path)
	case domain != "" && strings.Trim(domain, "0123456789.") == "":
		return "its Domain is an IP address, which browsers do not take (RFC 6265bis s5.1.3)"
	case domain != "" && hostingSite(domain) == domain:
		return "its Domain is one of pages of many owners, which browsers do not take (publicsuffix.org)"
	case domain != "" && host != "" && !strings.HasSuffix("."+host, "."+domain):
		return "its Domain is " + e.quote(c.Domain)
	case domain == "" && from.Host != "" && host != "" && !strings.EqualFold(from.Hostname(), host):
		return "it belongs to " + e.quote(from.Hostname()) + " alone"
	case strings.HasPrefix(c.Name, "__Host-") && (!c.Secure || c.Path != "/" || domain != ""):
		return "the prefix __Host- wants Secure, Path=/ and no Domain"
	case strings.HasPrefix(c.Name, "__Secure-") && !c.Secure:
		return "the prefix __Secure- wants Secure"
	case c.MaxAge > 0 && !at.IsZero() && !e.at.IsZero() && e.at.Sub(at) > time.Duration(c.MaxAge)*time.Second:
		return "its Max-Age is over: it was set " + showDuration(e.at.Sub(at)) + " before"
	case c.MaxAge == 0 && !c.Expires.IsZero() && !e.at.IsZero() && c.Expires.Before(e.at):
		return "it ended at " + showTime(c.Expires)
	}
	return ""
}

// fromOtherSite reports whether a page of another site caused the request. The scheme belongs to the site.
func (e *evidence) fromOtherSite() bool {
	origin, err := url.Parse(e.request.Header.Get("Origin"))
	if e.seen["cross-site"] || err != nil || origin.Host == "" || e.target.Host == "" {
		return e.seen["cross-site"]
	}
	a, b := origin.Hostname(), e.target.Hostname()
	if h := hostingSite(a); h != "" && h == hostingSite(b) {
		return !strings.EqualFold(a, b)
	}
	web := origin.Scheme == "http" || origin.Scheme == "https"
	return !sameSite(a, b) || web && e.target.Scheme != "" && origin.Scheme != strings.Replace(e.target.Scheme, "ws", "http", 1) && !localHost(b)
}

// navigates reports whether the user follows a link to the address: browsers send cookies with SameSite=Lax then.
func (e *evidence) navigates() bool {
	h := e.request.Header
	dest := strings.ToLower(h.Get("Sec-Fetch-Dest"))
	return !e.seen["unsafe-method"] && strings.EqualFold(h.Get("Sec-Fetch-Mode"), "navigate") && (dest == "" || dest == "document")
}

// underPath reports whether a path lies under the Path of a cookie (RFC 6265 s5.1.4).
func underPath(path, of string) bool {
	of = strings.TrimSuffix(of, "/")
	return path == of || strings.HasPrefix(path, of+"/")
}

func safari(agent string) bool {
	return strings.Contains(agent, "Safari/") && strings.Contains(agent, "Version/") && !strings.Contains(agent, "Chrom")
}

// sessionFacts adds facts about a session that the answer begins anew, and about a sign-in that left none.
func (e *evidence) sessionFacts() {
	r := e.request
	sent := cookieNames(r.Header)
	if status := e.response.Status; status >= 300 && status < 500 {
		for _, c := range setCookies(e.response.Header) {
			switch {
			case c.Value == "" || c.MaxAge < 0 || !c.Expires.IsZero() && c.Expires.Before(e.now) || !sessionName.MatchString(c.Name) || plainNames.MatchString(c.Name):
			case slices.Contains(sent, c.Name) && !strings.Contains(r.Header.Get("Cookie"), c.Name+"="+c.Value):
				e.add("cookie-replaced", Computed, "Set-Cookie", "the refusal begins a new session: the server did not know the one in the cookie %s", e.quote(c.Name))
			case !slices.Contains(sent, c.Name):
				e.add("session-begun", Computed, "Set-Cookie", "the refusal begins a new session in the cookie %s: none came", e.quote(c.Name))
			}
		}
	}
	if e.response.Header.Get("Access-Control-Allow-Origin") == "*" && e.seen["cross-origin"] {
		e.add("wildcard-origin", Computed, "Access-Control-Allow-Origin", "Access-Control-Allow-Origin is *: browsers send no cookies to such a server (Fetch s3.3.5)")
	}
	earlier := e.c.Earlier()
	for i := range earlier {
		x := &earlier[i]
		if x.Request == nil || x.Response == nil || x.Probe != "" || x.Response.Status >= 400 {
			continue
		}
		from := parseTarget(x.Request)
		if !sameHost(from, e.target) {
			continue
		}
		method := strings.ToUpper(x.Request.Method)
		switch {
		case signedOut.MatchString(from.Path):
			e.add("signed-out", Computed, "history", "a request before it signed out: %s", e.quote(from.Path))
		case (method == "POST" || method == "PUT" || method == "PATCH") && passwordChanged.MatchString(from.Path):
			e.add("password-changed", Computed, "history", "a request before it changed a password: %s", e.quote(from.Path))
		case method == "POST" && signInPath.MatchString(from.Path) && !refreshPath.MatchString(from.Path) && !x.Response.Header.Has("Set-Cookie") && len(x.Response.Header) > 0 &&
			!tokenInBody.Match(x.Response.Body[:min(len(x.Response.Body), 8<<10)]) && !signInPage.MatchString(x.Response.Header.Get("Location")):
			e.add("sign-in-left-nothing", Computed, "history", "the sign-in before it set no cookie and gave no token")
		}
	}
}

// Forms of addresses and bodies of earlier exchanges.
var (
	signedOut       = regexp.MustCompile(`(?i)[/_-](log-?_?out|sign-?_?out|log-?_?off|sign-?_?off|revoke|end-?_?session)(/|$|\.)`)
	passwordChanged = regexp.MustCompile(`(?i)[/_-](change|update|reset|set)?[-_]?passw(?:or)?d(/change|/update|/reset)?/?$`)
	tokenInBody     = regexp.MustCompile(`(?i)token|jwt|"key"|bearer|session`)
)
