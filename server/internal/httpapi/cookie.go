package httpapi

import (
	"net/http"
	"slices"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/session"
	"github.com/durward-auth/durward/server/internal/store"
)

// sessionCookie is the name of the session cookie. Browsers accept a cookie with the prefix __Host-
// only with Secure and Path=/ and without Domain, so that no other host of the domain can set it
// (RFC 6265bis s4.1.3.2).
const sessionCookie = "__Host-durward"

// signInCookie is the name of the cookie of a half-finished sign-in on the pages.
const signInCookie = "__Host-durward-signin"

// SetSignIn sets the cookie of a half-finished sign-in. An empty token removes it.
func (s *Server) SetSignIn(w http.ResponseWriter, token string) {
	maxAge := int(session.SignInTime / time.Second)
	if token == "" {
		maxAge = -1
	}
	setHostCookie(w, signInCookie, token, maxAge)
}

// SentSignIn returns the cookie of a half-finished sign-in in a request, or "".
func (s *Server) SentSignIn(r *http.Request) string {
	if sent := r.CookiesNamed(signInCookie); len(sent) == 1 {
		return sent[0].Value
	}
	return ""
}

// deviceCookie is the name of the cookie of a known device. It signs no client in.
const deviceCookie = "__Host-durward-device"

// setCookie sets the session cookie. The server decides when the session ends.
func setCookie(w http.ResponseWriter, c session.Cookie) {
	setHostCookie(w, sessionCookie, c.Value, int(c.Kept/time.Second))
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
		setHostCookie(w, deviceCookie, value, int(store.DeviceKept/time.Second))
	}
}

// sentDevice returns the cookie of a known device in a request, or "".
func sentDevice(r *http.Request) string {
	if sent := r.CookiesNamed(deviceCookie); len(sent) == 1 {
		return sent[0].Value
	}
	return ""
}

// maxSentCookies is the maximum number of different session cookies that one request can end.
const maxSentCookies = 4

// sentCookies returns the different session cookies of a request. A browser sends one.
func sentCookies(r *http.Request) (values []string) {
	for _, c := range r.CookiesNamed(sessionCookie) {
		if !slices.Contains(values, c.Value) && len(values) < maxSentCookies {
			values = append(values, c.Value)
		}
	}
	return values
}

// answerCookie answers with the profile and sets the cookies of the session and of the known device, or
// returns err.
func (s *Server) answerCookie(w http.ResponseWriter, r *http.Request, u store.User, cookie session.Cookie, err error) error {
	if err != nil {
		return err
	}
	p, err := s.c.Sessions.AuthenticateCookie(r.Context(), cookie.Value, false)
	if err != nil {
		return err
	}
	s.SetCookies(w, r, u, cookie)
	return answer(w, http.StatusOK, profileOf(u, p.Scopes), nil)
}

// SetCookies sets the cookies of a session of u and of the known device.
func (s *Server) SetCookies(w http.ResponseWriter, r *http.Request, u store.User, cookie session.Cookie) {
	setCookie(w, cookie)
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
