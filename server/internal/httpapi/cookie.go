package httpapi

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/mail"
	"github.com/durward-auth/durward/server/internal/oauth"
	"github.com/durward-auth/durward/server/internal/session"
	"github.com/durward-auth/durward/server/internal/store"
)

// CookieNames are the names of a server's cookies. Browsers accept a cookie with the prefix __Host-
// only with Secure and Path=/ and without Domain, so that no other host of the domain can set it
// (RFC 6265bis s4.1.3.2). All servers of one host get all these cookies, so a server under a path
// prefix has names of its own.
type CookieNames struct {
	Session string
	Device  string // of a known device; it signs no client in
	SignIn  string // of a sign-in that lacks its second factor
	Once    string // of a secret that the next page shows once, such as a new API key
	Return  string // of the page that a user who registers came from
	OAuth   string // of the authorization requests that the browser may continue
}

// cookieNamesOf returns the names for a server under prefix, "" for the root of a host. config.Load
// refuses a prefix with characters that a name may not have, and with a tilde.
func cookieNamesOf(prefix string) CookieNames {
	suffix := strings.ReplaceAll(prefix, "/", "~")
	return CookieNames{
		Session: "__Host-durward" + suffix,
		Device:  "__Host-durward-device" + suffix,
		SignIn:  "__Host-durward-signin" + suffix,
		Once:    "__Host-durward-once" + suffix,
		Return:  "__Host-durward-return" + suffix,
		OAuth:   "__Host-durward-oauth" + suffix,
	}
}

// CookieNames returns the names of the server's cookies.
func (s *Server) CookieNames() CookieNames { return s.cookies }

// cookiesOf returns the cookie names of the server that answers r.
func cookiesOf(r *http.Request) CookieNames {
	if t, ok := r.Context().Value(requestKey{}).(requestTags); ok {
		return t.cookies
	}
	return cookieNamesOf("")
}

// SetSignIn sets the cookie of a half-finished sign-in. An empty token removes it.
func (s *Server) SetSignIn(w http.ResponseWriter, token string) {
	maxAge := int(session.SignInTime / time.Second)
	if token == "" {
		maxAge = -1
	}
	setHostCookie(w, s.cookies.SignIn, token, maxAge)
}

// SentSignIn returns the cookie of a half-finished sign-in in a request, or "".
func (s *Server) SentSignIn(r *http.Request) string {
	if sent := r.CookiesNamed(s.cookies.SignIn); len(sent) == 1 {
		return sent[0].Value
	}
	return ""
}

// SetOAuth sets the cookie that binds authorization requests to the browser.
func (s *Server) SetOAuth(w http.ResponseWriter, value string) {
	setHostCookie(w, s.cookies.OAuth, value, int(oauth.RequestTime/time.Second))
}

// SentOAuth returns the cookie that binds authorization requests to the browser, or "".
func (s *Server) SentOAuth(r *http.Request) string {
	if sent := r.CookiesNamed(s.cookies.OAuth); len(sent) == 1 {
		return sent[0].Value
	}
	return ""
}

// maxReturn is the maximum length of a query in the cookie of SetReturn: browsers drop a cookie over 4096 octets
// (RFC 6265bis s5.6).
const maxReturn = 2048

// SetReturn keeps the query of the page where a registration began, until its link was opened: links in mails
// carry no target, because the visitor who registers an address may not own it. An empty query removes the
// cookie.
func (s *Server) SetReturn(w http.ResponseWriter, query url.Values) {
	link, _ := mail.LinkOf(store.MailVerifyEmail)
	value := base64.RawURLEncoding.EncodeToString([]byte(query.Encode()))
	switch {
	case value == "":
		setHostCookie(w, s.cookies.Return, "", -1)
	case len(value) <= maxReturn:
		setHostCookie(w, s.cookies.Return, value, int(link.Life/time.Second))
	}
}

// SentReturn returns the query that SetReturn kept, or nil. The browser may have changed it.
func (s *Server) SentReturn(r *http.Request) url.Values {
	sent := r.CookiesNamed(s.cookies.Return)
	if len(sent) != 1 {
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(sent[0].Value)
	if err != nil {
		return nil
	}
	query, err := url.ParseQuery(string(raw))
	if err != nil {
		return nil
	}
	return query
}

// setCookie sets the session cookie. The server decides when the session ends.
func (s *Server) setCookie(w http.ResponseWriter, c session.Cookie) {
	setHostCookie(w, s.cookies.Session, c.Value, int(c.Kept/time.Second))
}

// setHostCookie sets a cookie. With maxAge 0 the browser drops it when it ends, with -1 at once.
func setHostCookie(w http.ResponseWriter, name, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name:     name,
		Value:    value,
		Path:     "/",
		MaxAge:   maxAge,
		Secure:   true,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	})
}

// rememberDevice makes the device of a request known and gives it a cookie. A failure is logged only,
// because the sign-in has succeeded.
func (s *Server) rememberDevice(w http.ResponseWriter, r *http.Request, u store.User) {
	value, err := s.c.Accounts.RememberDevice(r.Context(), u, from(r))
	switch {
	case err != nil:
		s.c.Log.Warn("could not store the known device; the next sign-in tries again", "error", err)
	case value != "":
		setHostCookie(w, s.cookies.Device, value, int(store.DeviceKept/time.Second))
	}
}

// sentDevice returns the cookie of a known device in a request, or "".
func sentDevice(r *http.Request) string {
	if sent := r.CookiesNamed(cookiesOf(r).Device); len(sent) == 1 {
		return sent[0].Value
	}
	return ""
}

// maxSentCookies is the maximum number of different session cookies that one request can end.
const maxSentCookies = 4

// sentCookies returns the different session cookies of a request. A browser sends one.
func sentCookies(r *http.Request) (values []string) {
	for _, c := range r.CookiesNamed(cookiesOf(r).Session) {
		if !slices.Contains(values, c.Value) && len(values) < maxSentCookies {
			values = append(values, c.Value)
		}
	}
	return values
}

// answerCookie answers with the profile and sets the cookies of the session and of the known device, or
// returns err. A user who owes a second factor gets the cookies and is refused with EnrolmentRequired.
func (s *Server) answerCookie(w http.ResponseWriter, r *http.Request, u store.User, cookie session.Cookie, err error) error {
	if err != nil {
		return err
	}
	p, err := s.c.Sessions.AuthenticateCookie(r.Context(), cookie.Value, false)
	if errors.Is(err, durward.EnrolmentRequired) {
		s.SetCookies(w, r, u, cookie) // the cookie sets up the factor
	}
	if err != nil {
		return err
	}
	s.SetCookies(w, r, u, cookie)
	return answer(w, http.StatusOK, profileOf(u, p.Scopes), nil)
}

// SetCookies sets the cookies of a session of u and of the known device.
func (s *Server) SetCookies(w http.ResponseWriter, r *http.Request, u store.User, cookie session.Cookie) {
	s.setCookie(w, cookie)
	s.rememberDevice(w, r, u)
}

// acceptedCookie returns the session cookie of a request that the guard authenticated by cookie.
func acceptedCookie(r *http.Request) (value string, ok bool) {
	sent := sentCookies(r)
	if durward.From(r.Context()).Scheme != "Session" || len(sent) != 1 {
		return "", false
	}
	return sent[0], true
}
