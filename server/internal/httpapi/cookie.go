package httpapi

import (
	"net/http"
	"slices"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/store"
)

// sessionCookie is the whole, exact name of the one cookie there is. By its prefix
// browsers take it with Secure and Path=/ and without Domain alone, so that no
// neighbouring host can plant one (RFC 6265bis s4.1.3.2).
const sessionCookie = "__Host-durward"

// giveCookie hands a browser its session. It lasts as long as the browser's own
// session: when it ends is the server's to say.
func giveCookie(w http.ResponseWriter, value string) {
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// forgetCookie makes a browser forget its session, and nothing else.
func forgetCookie(w http.ResponseWriter) {
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1, Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode})
}

// sentCookies returns the different values that a request has for the session, of
// which a browser has one.
func sentCookies(r *http.Request) (values []string) {
	for _, c := range r.CookiesNamed(sessionCookie) {
		if !slices.Contains(values, c.Value) && len(values) < maxSentCookies {
			values = append(values, c.Value)
		}
	}
	return values
}

const maxSentCookies = 4

func (s *Server) answerCookie(w http.ResponseWriter, r *http.Request, u store.User, value string) error {
	p, err := s.c.Issuer.Cookie(r.Context(), value, false)
	if err != nil {
		return err
	}
	giveCookie(w, value)
	return answer(w, http.StatusOK, profileOf(u, p.Scopes))
}

// judgedCookie returns the cookie that the guard let the request in by, if it was
// one.
func judgedCookie(r *http.Request) (value string, ok bool) {
	sent := sentCookies(r)
	if durward.From(r.Context()).Scheme != "Session" || len(sent) != 1 {
		return "", false
	}
	return sent[0], true
}
