package durward

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// CookieCheck judges the value of a session cookie, at most 4 KiB. It refuses by
// an error that wraps [SessionExpired], whether the session is unknown, idle for
// too long, past its end or signed out; any other error is [AuthUnavailable]. The
// context is the request's.
type CookieCheck func(ctx context.Context, value string) (*Principal, error)

// maxCookie is the longest value that is looked at, in octets.
const maxCookie = 4 << 10

// Cookie returns the scheme of a session cookie with this whole, exact name, such
// as "__Host-session". A browser sends it by itself, so a request that changes
// something or opens a WebSocket must come from a page of this origin or of one
// in Config.Origins; otherwise it is [CrossSite].
//
// A dead cookie is cleared, if it was set with Path=/ and without Domain. On
// optional routes whoever has one is anonymous, and so is everybody whose cookie
// cannot be judged just now. Its challenge is that of [Session].
func Cookie(name string, check CookieCheck) Scheme { return &cookie{name, check} }

type cookie struct {
	name  string
	check CookieCheck
}

func (c *cookie) mistakes() (all []string) {
	if c.check == nil {
		all = append(all, "Schemes holds Cookie with a nil check: it needs a function that finds sessions")
	}
	if !isToken(c.name) {
		all = append(all, fmt.Sprintf("Cookie name %q is no token (RFC 6265 s4.1.1)", c.name))
	}
	return all
}

func (c *cookie) Presented(r *http.Request) (found, ambient bool) {
	return len(r.Header["Cookie"]) > 0 && len(r.CookiesNamed(c.name)) > 0, true
}

func (c *cookie) Authenticate(r *http.Request) (*Principal, error) {
	value := ""
	for i, found := range r.CookiesNamed(c.name) {
		if i > 0 && found.Value != value {
			// One of them was planted, and nobody can tell which.
			return nil, fmt.Errorf("two cookies of the name %s: %w", c.name, SessionExpired)
		}
		value = found.Value
	}
	if value == "" || len(value) > maxCookie {
		return nil, fmt.Errorf("a session cookie of %d octets: %w", len(value), SessionExpired)
	}
	p, err := c.check(r.Context(), value)
	if err != nil {
		return nil, err
	}
	return p.as("Session"), nil
}

func (*cookie) Challenges(*http.Request, Code) []Challenge { return session{}.Challenges(nil, "") }

// clear makes a browser forget the cookie. It is said once, and before what a
// handler sets.
func (c *cookie) clear(h http.Header) {
	gone := http.Cookie{Name: c.name, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	if line := gone.String(); !slices.Contains(h["Set-Cookie"], line) {
		h.Add("Set-Cookie", line)
	}
}

// crossSite takes step 6: why a request with ambient credentials is not one that
// a page of this origin sent, or "". Requests that change nothing may come from
// anywhere, but for those that open a WebSocket.
func (g *Guard) crossSite(r *http.Request, st *requestState) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		if r.Header["Upgrade"] == nil {
			return ""
		}
	}
	origin := r.Header["Origin"]
	if len(origin) > 1 {
		return "two Origin fields"
	}
	if len(origin) == 1 {
		if slices.Contains(g.c.Origins, origin[0]) {
			return ""
		}
	}
	switch site := r.Header.Get("Sec-Fetch-Site"); {
	case site == "same-origin", site == "none": // none: a person, not a page
		return ""
	case site != "":
		return fmt.Sprintf("Sec-Fetch-Site is %q", site[:min(len(site), 32)])
	case len(origin) == 0:
		// Browsers send one of the two with what changes something; this is none.
		return ""
	case origin[0] == g.ownOrigin(r, st):
		return ""
	}
	return "Origin is another one"
}

// ownOrigin is that of this server, as browsers write it (RFC 6454 s6.2). Without a
// PublicURL that is what the request itself was sent to.
func (g *Guard) ownOrigin(r *http.Request, st *requestState) string {
	scheme, host := "http", r.Host
	if st.https {
		scheme = "https"
	}
	if g.public != nil {
		scheme, host = g.public.Scheme, g.public.Host
	}
	// The port that goes without saying is not written.
	host = strings.TrimSuffix(host, map[string]string{"http": ":80", "https": ":443"}[scheme])
	return scheme + "://" + strings.ToLower(host)
}

// ignoreAmbient reports whether, on an optional route, a request whose ambient
// credentials were refused with err goes on without them.
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
