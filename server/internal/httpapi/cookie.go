package httpapi

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/store"
)

// sessionCookie is the whole, exact name of the one cookie there is. By its prefix
// browsers take it with Secure and Path=/ and without Domain alone, so that no
// neighbouring host can plant one (RFC 6265bis s4.1.3.2).
const sessionCookie = "__Host-durward"

// cookies is the scheme of people who signed in with use_cookies.
func (s *Server) cookies() durward.Scheme {
	return durward.Cookie(sessionCookie, func(ctx context.Context, value string) (*durward.Principal, error) {
		return s.c.Issuer.Cookie(ctx, value, !durward.Rechecking(ctx))
	})
}

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

// loginWithCookie answers a sign-in with a session cookie, and nothing that a script
// could steal. A session that the browser has already ends.
func (s *Server) loginWithCookie(w http.ResponseWriter, r *http.Request, proof account.Proof) error {
	replaced := ""
	if sent := sentCookies(r); len(sent) > 0 {
		replaced = sent[0]
	}
	value, err := s.c.Issuer.SignInCookie(r.Context(), proof, replaced, from(r))
	if err != nil {
		return err
	}
	return s.answerCookie(w, r, proof.User, value)
}

func (s *Server) answerCookie(w http.ResponseWriter, r *http.Request, u store.User, value string) error {
	p, err := s.c.Issuer.Cookie(r.Context(), value, false)
	if err != nil {
		return err
	}
	giveCookie(w, value)
	return answer(w, http.StatusOK, profileOf(u, p.Scopes))
}

// logoutCookie ends the session of the cookie that came, dead or alive. A foreign
// page ends nothing.
func (s *Server) logoutCookie(w http.ResponseWriter, r *http.Request, everywhere bool) error {
	sent := sentCookies(r)
	if len(sent) == 0 {
		return nil
	}
	if err := s.signIn.SameOrigin(r); err != nil {
		return err
	}
	for _, value := range sent {
		user, session, err := s.c.Issuer.CookieSession(r.Context(), value)
		if errors.Is(err, durward.SessionExpired) {
			continue
		}
		if err == nil {
			err = s.c.People.SignOut(r.Context(), user, session, everywhere, from(r))
		}
		if err != nil {
			return err // the cookie stays, since the session may
		}
	}
	forgetCookie(w)
	return nil
}

// token is POST /api/auth/token: a page that calls APIs of other origins gets an
// access token for its cookie. The cookie is what lasts, so there is no refresh
// token; whoever has an access token already refreshes it.
func (s *Server) token(w http.ResponseWriter, r *http.Request) error {
	if hasBody(r) {
		if _, err := decode[struct{}](w, r); err != nil {
			return err
		}
	}
	value, ok := judgedCookie(r)
	if !ok {
		return &durward.Refusal{Code: durward.Forbidden, Detail: "Only a session cookie gives an access token here.",
			Hint: "Refresh a token at POST /api/auth/refresh.", Err: errors.New("the credentials are no session cookie")}
	}
	t, err := s.c.Issuer.CookieToken(r.Context(), value)
	if err != nil {
		return err
	}
	return answerTokens(w, t)
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

// stepUp is POST /api/auth/step-up: the person shows anew who they are. What they
// are signed in by, a token or a cookie, is what they get anew.
func (s *Server) stepUp(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[struct {
		Password string `json:"password"`
	}](w, r)
	if err != nil {
		return err
	}
	if err := present(field{"password", in.Password}); err != nil {
		return err
	}
	p := durward.From(r.Context())
	if p.SessionID == "" {
		return &durward.Refusal{Code: durward.Forbidden, Detail: "These credentials cannot step up: no sign-in stands behind them.",
			Hint: "Sign in at POST /api/auth/login.", Err: errors.New("step-up by credentials without a session")}
	}
	proof, err := s.c.People.Reauthenticate(r.Context(), p.Subject, p.SessionID, in.Password, from(r))
	if err != nil {
		return goneOwner(err)
	}
	if value, ok := judgedCookie(r); ok {
		fresh, err := s.c.Issuer.StepUpCookie(r.Context(), proof, p, value, from(r))
		if err != nil {
			return err
		}
		return s.answerCookie(w, r, proof.User, fresh)
	}
	t, err := s.c.Issuer.StepUp(r.Context(), proof, p, from(r))
	if err != nil {
		return err
	}
	return answerTokens(w, t)
}

// renewCookie gives another cookie to somebody who has just changed their password:
// whoever holds a copy of the old one is out within half a minute. The password is
// changed by then, so that it cannot be done is no refusal.
func (s *Server) renewCookie(w http.ResponseWriter, r *http.Request, proof account.Proof, p *durward.Principal, value string) {
	value, err := s.c.Issuer.StepUpCookie(r.Context(), proof, p, value, from(r))
	if err != nil {
		s.c.Log.Error("a password was changed, the cookie could not be", "session", p.SessionID, "error", err)
		return
	}
	giveCookie(w, value)
}
