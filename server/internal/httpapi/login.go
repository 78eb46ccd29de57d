package httpapi

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/session"
)

// login is POST /api/auth/login.
func (s *Server) login(w http.ResponseWriter, r *http.Request, key *durward.HeldKey) error {
	in, err := decode[api.LoginRequest](w, r)
	if err != nil {
		return err
	}
	if err := s.checkUseCookies(r, in.UseCookies, in.Remember, key); err != nil {
		return err
	}
	wish := session.CookieWish{Wanted: in.UseCookies, Remember: in.Remember}
	proof, wish, info, err := s.authenticate(r, in.Email, in.Password, wish, key)
	if err != nil {
		return err
	}
	if in.UseCookies {
		// The response has no token that a script could steal. The previous session of the browser ends.
		cookie, err := s.c.Sessions.SignInCookie(r.Context(), proof, wish, info)
		return s.answerCookie(w, r, proof.User, cookie, err)
	}
	t, err := s.c.Sessions.SignIn(r.Context(), proof, key, info)
	return answerTokens(w, t, err)
}

// authenticate verifies a password and adds the cookie that the browser sent to wish. For a user with a
// second factor it stores the sign-in and returns the refusal of session.BeginSignIn.
func (s *Server) authenticate(r *http.Request, email, password string, wish session.CookieWish, key *durward.HeldKey) (
	account.Proof, session.CookieWish, request.Info, error,
) {
	info := from(r)
	if wish.Replaced = replaced(r); wish.Replaced != "" {
		if p, err := s.c.Sessions.AuthenticateCookie(request.ForEnrolment(r.Context()), wish.Replaced, false); err == nil {
			info.Cookie = p.Subject
		}
	}
	proof, err := s.c.Accounts.Authenticate(r.Context(), email, password, info)
	if half, ok := errors.AsType[*account.FactorRequired](err); ok {
		err = s.c.Sessions.BeginSignIn(r.Context(), half.Proof, wish, key, info)
	}
	return proof, wish, info, err
}

// SignIn signs a browser in with a password, as POST /api/auth/login does with use_cookies, and sets the
// cookies. For a user with a second factor it refuses with MFARequired, whose member mfa_token names the
// sign-in. For a user who owes a second factor it refuses with EnrolmentRequired; the cookie then opens the
// pages that set it up. The caller has checked the origin of the request.
func (s *Server) SignIn(w http.ResponseWriter, r *http.Request, email, password string, remember bool) error {
	proof, wish, info, err := s.authenticate(r, email, password, session.CookieWish{Wanted: true, Remember: remember}, nil)
	if err != nil {
		return err
	}
	cookie, err := s.c.Sessions.SignInCookie(r.Context(), proof, wish, info)
	if err != nil {
		return err
	}
	s.SetCookies(w, r, proof.User, cookie)
	if proof.User.OwesFactor() {
		return account.RefuseOwing(proof.User)
	}
	return nil
}

// loginMFA is POST /api/auth/login/mfa: it finishes a sign-in that login refused with MFA_REQUIRED.
func (s *Server) loginMFA(w http.ResponseWriter, r *http.Request, key *durward.HeldKey) error {
	in, err := decode[api.MFARequest](w, r)
	if err != nil {
		return err
	}
	half, err := s.c.Sessions.SignInOf(r.Context(), in.MFAToken)
	if err != nil {
		return err
	}
	if half.UseCookies {
		if err := s.guard.SameOrigin(r); err != nil { // as for login
			return err
		}
	}
	t, cookie, err := s.finishSignIn(r, half, in, key)
	if half.UseCookies {
		return s.answerCookie(w, r, half.User(), cookie, err)
	}
	return answerTokens(w, t, err)
}

// finishSignIn verifies the second factor in in and begins the session of a sign-in.
func (s *Server) finishSignIn(r *http.Request, half session.HalfSignIn, in api.MFARequest, key *durward.HeldKey) (
	session.Tokens, session.Cookie, error,
) {
	switch isPasskey := in.Method == api.FactorPasskey; {
	case isPasskey != (len(in.Assertion) > 0):
		return session.Tokens{}, session.Cookie{}, invalid("assertion", "The member assertion is required for the method passkey, and for no other.", "Send code for the other methods.")
	case isPasskey:
		return s.c.Sessions.FinishSignInWithPasskey(r.Context(), s.passkeys, half, in.Assertion, key, replaced(r), from(r))
	}
	code := account.Code{Factor: in.Method, Text: in.Code}
	return s.c.Sessions.FinishSignIn(r.Context(), half, code, key, replaced(r), from(r))
}

// FinishSignIn finishes a browser's sign-in that SignIn refused with MFARequired, as POST /api/auth/login/mfa
// does, and sets the cookies. The caller has checked the origin of the request.
func (s *Server) FinishSignIn(w http.ResponseWriter, r *http.Request, in api.MFARequest) error {
	half, err := s.c.Sessions.SignInOf(r.Context(), in.MFAToken)
	if err != nil {
		return err
	}
	if !half.UseCookies {
		return fmt.Errorf("the sign-in began at the API, for tokens: %w", durward.SessionExpired)
	}
	_, cookie, err := s.finishSignIn(r, half, in, nil)
	if err != nil {
		return err
	}
	s.SetCookies(w, r, half.User(), cookie)
	return nil
}

// replaced returns the session cookie that a sign-in replaces, or "".
func replaced(r *http.Request) string {
	if sent := sentCookies(r); len(sent) > 0 {
		return sent[0]
	}
	return ""
}

// checkUseCookies refuses a sign-in that wants a cookie and must not get one.
func (s *Server) checkUseCookies(r *http.Request, use, remember bool, key *durward.HeldKey) error {
	switch {
	case remember && !use:
		return invalid("remember", "The member remember is for sign-ins with use_cookies.", "Send use_cookies too: tokens stay for the time of the refresh token.")
	case !use:
		return nil
	case key != nil:
		return invalid("use_cookies", "A session cookie cannot be bound to the key of a DPoP proof.", "Leave out use_cookies or the DPoP field.")
	}
	// A page of another site must not sign a user in to an account of its choice (RFC 9700 s4.7).
	return s.guard.SameOrigin(r)
}
