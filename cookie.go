package durward

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/durward-auth/durward/internal/origin"
)

// maxCookie is the maximum length of a cookie value, in octets.
const maxCookie = 4 << 10

// Cookie returns the scheme of a session cookie. name is the complete name of the cookie, such as
// "__Host-session". A browser attaches a cookie to every request, so an unsafe request or a
// WebSocket handshake must come from a page of this origin or of one in Config.Origins; otherwise
// it is [CrossSite].
//
// An expired cookie is cleared, if it was set with Path=/ and without Domain. On optional routes a
// request with an expired cookie is anonymous, also if an outage prevents the verification of the
// cookie. The challenge is that of [Session].
//
// check gets the request's context and the value of the cookie, which is at most 4 KiB long, and
// returns the principal of its session. If the session is unknown, idle for too long, expired or
// signed out, it returns an error that wraps [SessionExpired]. Any other error is
// [AuthUnavailable].
func Cookie(name string, check func(ctx context.Context, value string) (*Principal, error)) Scheme {
	return &cookie{name, check}
}

type cookie struct {
	name  string
	check func(ctx context.Context, value string) (*Principal, error)
}

func (c *cookie) mistakes(report func(string, ...any)) {
	if c.check == nil {
		report("Schemes holds Cookie with a nil check: pass a function that looks up sessions")
	}
	if !isToken(c.name) {
		report("Cookie name %q is not a token (RFC 6265 s4.1.1)", c.name)
	}
}

func (c *cookie) Presented(r *http.Request) (found, ambient bool) {
	return len(r.Header["Cookie"]) > 0 && len(r.CookiesNamed(c.name)) > 0, true
}

func (c *cookie) Authenticate(r *http.Request) (*Principal, error) {
	value := ""
	for i, found := range r.CookiesNamed(c.name) {
		if i > 0 && found.Value != value {
			// An attacker may have set one of them, for example from a subdomain.
			return nil, fmt.Errorf("two different cookies named %s: %w", c.name, SessionExpired)
		}
		value = found.Value
	}
	if value == "" || len(value) > maxCookie {
		return nil, fmt.Errorf("session cookie has %d octets: %w", len(value), SessionExpired)
	}
	p, err := c.check(r.Context(), value)
	return p.as("Session"), err
}

func (*cookie) Challenges(*http.Request, Code) []Challenge { return session{}.Challenges(nil, "") }

// Session returns the private scheme of routes without a registered one, such as sign-in and
// refresh. It accepts no credentials; its challenge names the sign-in page, if Config.LoginURL is
// set:
//
//	WWW-Authenticate: Session realm="…", login="https://…/login"
//
// Browsers and command-line clients ignore it.
func Session() Scheme { return session{} }

type session struct{}

func (session) Presented(*http.Request) (found, ambient bool) { return false, false }

func (session) Authenticate(*http.Request) (*Principal, error) { return nil, AuthenticationRequired }

func (session) Challenges(*http.Request, Code) []Challenge { return []Challenge{{Scheme: "Session"}} }

// clear makes the browser delete the cookie. The field is set at most once, and before the handler
// runs, so that a handler can still set a new cookie.
func (c *cookie) clear(h http.Header) {
	gone := http.Cookie{Name: c.name, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if line := gone.String(); !slices.Contains(h["Set-Cookie"], line) {
		h.Add("Set-Cookie", line)
	}
}

// crossSite performs step 6: it returns why the request with ambient credentials may come from a
// page of another origin, or "". Safe methods are exempt, except for WebSocket handshakes.
func (g *Guard) crossSite(r *http.Request, st *requestState) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		if r.Header["Upgrade"] == nil {
			return ""
		}
	}
	from, site := r.Header["Origin"], r.Header["Sec-Fetch-Site"]
	if len(from) > 1 || len(site) > 1 {
		return "two Origin or two Sec-Fetch-Site fields"
	}
	if len(from) == 1 && slices.Contains(g.c.Origins, from[0]) {
		return ""
	}
	switch {
	case len(site) == 1 && site[0] != "same-origin" && site[0] != "none": // none: started by the user, not by a page
		return fmt.Sprintf("Sec-Fetch-Site is %q", site[0][:min(len(site[0]), 32)])
	case len(from) == 0: // a browser sends Origin or Sec-Fetch-Site with an unsafe request
		return ""
	case from[0] == "null" && len(site) == 1: // Fetch s3.2: sent by a page with Referrer-Policy no-referrer
		return ""
	case from[0] == origin.Of(g.origin(r, st)):
		return ""
	}
	// The page may be open under another name of this server than PublicURL, such as localhost.
	if _, host, _ := strings.Cut(from[0], "://"); len(site) == 1 && strings.EqualFold(host, r.Host) {
		return ""
	}
	return "Origin is neither this server's nor listed; set PublicURL if a proxy changes Host"
}

// ignoreAmbient reports whether a request on an optional route continues as anonymous, after its
// ambient credentials were refused with err.
func (st *requestState) ignoreAmbient(err error) bool {
	var code Code
	switch {
	case !st.ambient:
		return false
	case !errors.As(err, &code), code == AuthUnavailable, code == SessionExpired:
		st.ignoredErr, st.chosen, st.ambient = err, -1, false
		return true
	}
	return false
}
