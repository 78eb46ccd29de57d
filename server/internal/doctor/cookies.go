package doctor

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// This file adds facts about cookies: which ones a browser does not send and why, and sessions that
// begin or end.

// maxCookie is the number of octets that browsers take for the name and the value of a cookie (RFC
// 6265bis s5.7).
const maxCookie = 4096

// hostingSites lists domains under which different owners have their pages. Browsers take no cookie
// for such a domain (publicsuffix.org).
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

// withheld adds a fact about a cookie that was set earlier and not sent, with the reason if the
// attributes give one. The address from set the cookie at the time at, which may be zero.
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
		return "it has SameSite=None without Secure: browsers discard it"
	case c.Secure && e.target.Scheme == "http" && !localHost(host):
		return "it is Secure and the address is plain http"
	case c.Secure && from.Scheme == "http" && !localHost(from.Hostname()):
		return "it is Secure and was set over plain http: browsers discard it"
	case c.Secure && (e.target.Scheme == "http" || from.Scheme == "http") && safari(r.Header.Get("User-Agent")):
		return "it is Secure, and Safari takes no such cookie over plain http, even from localhost"
	case len(c.Name)+len(c.Value) > maxCookie:
		return "it has more than 4096 octets: browsers discard it"
	case lax && e.fromOtherSite() && (c.SameSite == http.SameSiteStrictMode || !e.navigates()):
		return "its SameSite excludes requests of another site"
	case path != "/" && path != "" && !underPath(e.target.Path, path):
		if c.Path == "" {
			return "it has no Path, so it is for addresses under " + e.quote(path) + " alone (RFC 6265 s5.1.4)"
		}
		return "its Path is " + e.quote(path)
	case domain != "" && strings.Trim(domain, "0123456789.") == "":
		return "its Domain is an IP address, which browsers do not take (RFC 6265bis s5.1.3)"
	case domain != "" && hostingSite(domain) == domain:
		return "its Domain is a public suffix, which browsers do not take (publicsuffix.org)"
	case domain != "" && host != "" && !strings.HasSuffix("."+host, "."+domain):
		return "its Domain is " + e.quote(c.Domain)
	case domain == "" && from.Host != "" && host != "" && !strings.EqualFold(from.Hostname(), host):
		return "it belongs to " + e.quote(from.Hostname()) + " alone"
	case strings.HasPrefix(c.Name, "__Host-") && (!c.Secure || c.Path != "/" || domain != ""):
		return "its prefix __Host- requires Secure, Path=/ and no Domain (RFC 6265bis s4.1.3.2)"
	case strings.HasPrefix(c.Name, "__Secure-") && !c.Secure:
		return "its prefix __Secure- requires Secure (RFC 6265bis s4.1.3.1)"
	case c.MaxAge > 0 && !at.IsZero() && !e.at.IsZero() && e.at.Sub(at) > time.Duration(c.MaxAge)*time.Second:
		return "its Max-Age is over: it was set " + showDuration(e.at.Sub(at)) + " before"
	case c.MaxAge == 0 && !c.Expires.IsZero() && !e.at.IsZero() && c.Expires.Before(e.at):
		return "it ended at " + showTime(c.Expires)
	}
	return ""
}

// fromOtherSite reports whether a page of another site made the request. Pages of http and https
// are of different sites.
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

// navigates reports whether the browser opens the address as a page: then it sends cookies with
// SameSite=Lax.
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

// safari reports whether a User-Agent is that of Safari.
func safari(agent string) bool {
	return strings.Contains(agent, "Safari/") && strings.Contains(agent, "Version/") && !strings.Contains(agent, "Chrom")
}

// sessionFacts adds facts about a new session in the response, and about earlier sign-ins,
// sign-outs and password changes.
func (e *evidence) sessionFacts() {
	r := e.request
	sent := cookieNames(r.Header)
	if status := e.response.Status; status >= 300 && status < 500 {
		for _, c := range setCookies(e.response.Header) {
			switch {
			case c.Value == "" || c.MaxAge < 0 || !c.Expires.IsZero() && c.Expires.Before(e.now) || !sessionName.MatchString(c.Name) || plainNames.MatchString(c.Name):
			case slices.Contains(sent, c.Name) && !strings.Contains(r.Header.Get("Cookie"), c.Name+"="+c.Value):
				e.add("cookie-replaced", Computed, "Set-Cookie", "the refusal sets another value for the cookie %s than the request sent", e.quote(c.Name))
			case !slices.Contains(sent, c.Name):
				e.add("session-begun", Computed, "Set-Cookie", "the refusal sets the cookie %s, which the request did not send", e.quote(c.Name))
			}
		}
	}
	if e.response.Header.Get("Access-Control-Allow-Origin") == "*" && e.seen["cross-origin"] {
		e.add("wildcard-origin", Computed, "Access-Control-Allow-Origin", "Access-Control-Allow-Origin is *, which browsers do not accept for requests with cookies (Fetch s3.3.5)")
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
			e.add("signed-out", Computed, "history", "an earlier request signed out: %s", e.quote(from.Path))
		case (method == "POST" || method == "PUT" || method == "PATCH") && passwordChanged.MatchString(from.Path):
			e.add("password-changed", Computed, "history", "an earlier request changed a password: %s", e.quote(from.Path))
		case method == "POST" && signInPath.MatchString(from.Path) && !refreshPath.MatchString(from.Path) && !x.Response.Header.Has("Set-Cookie") && len(x.Response.Header) > 0 &&
			!tokenInBody.Match(x.Response.Body[:min(len(x.Response.Body), 8<<10)]) && !signInPage.MatchString(x.Response.Header.Get("Location")):
			e.add("sign-in-left-nothing", Computed, "history", "the response to the earlier sign-in has no Set-Cookie and no token")
		}
	}
}

// Patterns of addresses and bodies of earlier exchanges.
var (
	signedOut       = regexp.MustCompile(`(?i)[/_-](log-?_?out|sign-?_?out|log-?_?off|sign-?_?off|revoke|end-?_?session)(/|$|\.)`)
	passwordChanged = regexp.MustCompile(`(?i)[/_-](change|update|reset|set)?[-_]?passw(?:or)?d(/change|/update|/reset)?/?$`)
	tokenInBody     = regexp.MustCompile(`(?i)token|jwt|"key"|bearer|session`)
)
