package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/session"
	"github.com/durward-auth/durward/server/internal/store"
)

// from returns the origin of a request, for the rules and the security log.
func from(r *http.Request) request.Info {
	return request.Info{Addr: durward.ClientAddr(r.Context()), UserAgent: r.UserAgent()}
}

// login is POST /api/auth/login.
func (s *Server) login(w http.ResponseWriter, r *http.Request, key *durward.HeldKey) error {
	in, err := decode[api.LoginRequest](w, r)
	if err != nil {
		return err
	}
	if in.UseCookies {
		if key != nil {
			return invalid("use_cookies", "A session cookie cannot be bound to the key of a DPoP proof.", "Leave out use_cookies or the DPoP field.")
		}
		// A page of another site must not sign a user in to an account of its choice (RFC 9700 s4.7).
		if err := s.guard.SameOrigin(r); err != nil {
			return err
		}
	}
	info, sent := from(r), sentCookies(r)
	if len(sent) > 0 {
		if p, err := s.c.Sessions.AuthenticateCookie(r.Context(), sent[0], false); err == nil {
			info.Cookie = p.Subject
		}
	}
	proof, err := s.c.Accounts.Authenticate(r.Context(), in.Email, in.Password, info)
	if err != nil {
		return err
	}
	if in.UseCookies {
		// The response has no token that a script could steal. The previous session of the browser ends.
		replaced := ""
		if len(sent) > 0 {
			replaced = sent[0]
		}
		value, err := s.c.Sessions.SignInCookie(r.Context(), proof, replaced, info)
		return s.answerCookie(w, r, proof.User, value, err)
	}
	t, err := s.c.Sessions.SignIn(r.Context(), proof, key, info)
	return answerTokens(w, t, err)
}

// logout is POST /api/auth/logout. It answers 204 for expired, revoked and unknown credentials too,
// because no session is left then. If the store fails it answers 503: the client must not take a
// running session for ended.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) error {
	in, err := decodeOptional[api.LogoutRequest](w, r)
	if err != nil {
		return err
	}
	var user, session string
	if in.RefreshToken != "" {
		user, session, err = s.c.Sessions.SessionOfRefreshToken(r.Context(), in.RefreshToken)
		if err != nil && !errors.Is(err, durward.RefreshInvalid) {
			return err
		}
	}
	if session == "" {
		if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && (strings.EqualFold(scheme, "Bearer") || strings.EqualFold(scheme, "DPoP")) {
			// An expired token still names its session. A DPoP proof is not required: the holder of a
			// token may end its session, even after losing the key.
			p, err := s.c.Issuer.Verifier().VerifyEnded(r.Context(), strings.TrimSpace(token))
			if err == nil {
				user, session = p.Subject, p.SessionID
			} else if _, refused := errors.AsType[durward.Code](err); !refused {
				return err
			}
		}
	}
	if in.RefreshToken == "" && r.Header["Authorization"] == nil {
		// Explicit credentials take precedence over the cookie, which browsers send automatically.
		if err := s.logoutCookie(w, r, in.Everywhere); err != nil {
			return err
		}
	}
	if session != "" {
		if err := s.c.Sessions.SignOut(r.Context(), user, session, in.Everywhere, from(r)); err != nil {
			return err
		}
	}
	return noContent(w, nil)
}

// logoutCookie ends the session of the cookie in the request. Requests from pages of other sites are
// refused.
func (s *Server) logoutCookie(w http.ResponseWriter, r *http.Request, everywhere bool) error {
	sent := sentCookies(r)
	if len(sent) == 0 {
		return nil
	}
	if err := s.guard.SameOrigin(r); err != nil {
		return err
	}
	for _, value := range sent {
		user, session, err := s.c.Sessions.SessionOfCookie(r.Context(), value)
		if errors.Is(err, durward.SessionExpired) {
			continue
		}
		if err == nil {
			err = s.c.Sessions.SignOut(r.Context(), user, session, everywhere, from(r))
		}
		if err != nil {
			return err // the session may still exist, so the cookie stays
		}
	}
	setCookie(w, "", -1)
	return nil
}

// sessionCookie is the name of the session cookie. Browsers accept a cookie with the prefix __Host-
// only with Secure and Path=/ and without Domain, so that no other host of the domain can set it
// (RFC 6265bis s4.1.3.2).
const sessionCookie = "__Host-durward"

// setCookie sets the session cookie. With maxAge 0 it has no Max-Age: the server decides when the
// session ends. With maxAge -1 the browser deletes the cookie.
func setCookie(w http.ResponseWriter, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name:     sessionCookie,
		Value:    value,
		Path:     "/",
		MaxAge:   maxAge,
		Secure:   true,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	})
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

// answerCookie answers with the profile and sets the session cookie, or returns err.
func (s *Server) answerCookie(w http.ResponseWriter, r *http.Request, u store.User, value string, err error) error {
	if err != nil {
		return err
	}
	p, err := s.c.Sessions.AuthenticateCookie(r.Context(), value, false)
	if err != nil {
		return err
	}
	setCookie(w, value, 0)
	return answer(w, http.StatusOK, profileOf(u, p.Scopes), nil)
}

// acceptedCookie returns the session cookie of a request that the guard authenticated by cookie.
func acceptedCookie(r *http.Request) (value string, ok bool) {
	sent := sentCookies(r)
	if durward.From(r.Context()).Scheme != "Session" || len(sent) != 1 {
		return "", false
	}
	return sent[0], true
}

// tokenResponse is the response to a sign-in and a refresh.
type tokenResponse = api.TokenResponse

// answerTokens answers with tokens, or returns err.
func answerTokens(w http.ResponseWriter, t session.Tokens, err error) error {
	kind := "Bearer"
	if t.Bound {
		kind = "DPoP" // RFC 9449 s5
	}
	return answer(w, http.StatusOK, tokenResponse{
		AccessToken:      t.Access,
		TokenType:        kind,
		ExpiresIn:        seconds(t.AccessLife),
		RefreshToken:     t.Refresh,
		RefreshExpiresIn: seconds(t.RefreshLife),
		Scope:            t.Scope,
	}, err)
}

// seconds rounds up to whole seconds. The issue time of a token is rounded down to the second, and a
// lifetime of 15 minutes must still be reported as 900.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// refresh is POST /api/auth/refresh. A client signs its user out only after a 401 of this endpoint.
func (s *Server) refresh(w http.ResponseWriter, r *http.Request, key *durward.HeldKey) error {
	in, err := decode[api.RefreshRequest](w, r)
	if err != nil {
		return err
	}
	t, err := s.c.Sessions.Refresh(r.Context(), in.RefreshToken, key, from(r))
	if s.Schemes.DPoP == nil && errors.Is(err, durward.InvalidProof) {
		// The token was bound before the operator switched DPoP off: only a new sign-in helps.
		return fmt.Errorf("%v, and DPoP is off: %w", err, durward.RefreshInvalid)
	}
	return answerTokens(w, t, err)
}

// token is POST /api/auth/token. A page that calls APIs of other origins gets an access token for
// its session cookie. There is no refresh token, because the cookie lasts longer than the token.
func (s *Server) token(w http.ResponseWriter, r *http.Request) error {
	if _, err := decodeOptional[struct{}](w, r); err != nil {
		return err
	}
	value, ok := acceptedCookie(r)
	if !ok {
		return refusal(durward.Forbidden, "This endpoint accepts only the session cookie.",
			"Refresh a token at POST /api/auth/refresh.", "credentials other than a session cookie")
	}
	t, err := s.c.Sessions.CookieToken(r.Context(), value)
	return answerTokens(w, t, err)
}

// stepUp is POST /api/auth/step-up: the user authenticates again. The response has new tokens, or a
// new cookie if the request was authenticated by cookie.
func (s *Server) stepUp(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[api.StepUpRequest](w, r)
	if err != nil {
		return err
	}
	p := durward.From(r.Context())
	if p.SessionID == "" {
		return refusal(durward.Forbidden, "These credentials cannot step up, because they belong to no session.",
			"Sign in at POST /api/auth/login.", "step-up with credentials without a session")
	}
	proof, err := s.c.Sessions.Reauthenticate(r.Context(), p, in.Password, from(r))
	if err != nil {
		return unknownOwner(err)
	}
	if value, ok := acceptedCookie(r); ok {
		fresh, err := s.c.Sessions.StepUpCookie(r.Context(), proof, p, value, from(r))
		return s.answerCookie(w, r, proof.User, fresh, err)
	}
	t, err := s.c.Sessions.StepUp(r.Context(), proof, p, from(r))
	return answerTokens(w, t, err)
}
