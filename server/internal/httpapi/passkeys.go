package httpapi

import (
	"encoding/json"
	"net/http"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/passkey"
	"github.com/durward-auth/durward/server/internal/session"
)

// beginPasskeyLogin is POST /api/auth/passkeys/login/begin. Without an mfa_token the response is the same for
// everyone: it depends on no user.
func (s *Server) beginPasskeyLogin(w http.ResponseWriter, r *http.Request) error {
	in, err := decodeOptional[struct {
		MFAToken string `json:"mfa_token,omitzero"`
	}](w, r)
	if err != nil {
		return err
	}
	if in.MFAToken == "" {
		options, err := s.passkeys.Ask(r.Context(), account.Question{Purpose: passkey.SignIn})
		return answerOptions(w, options, err)
	}
	return s.BeginFactor(w, r, in.MFAToken)
}

// finishPasskeyLogin is POST /api/auth/passkeys/login/finish.
func (s *Server) finishPasskeyLogin(w http.ResponseWriter, r *http.Request, key *durward.HeldKey) error {
	in, err := decode[api.PasskeyLoginRequest](w, r)
	if err != nil {
		return err
	}
	if err := s.checkUseCookies(r, in.UseCookies, in.Remember, key); err != nil {
		return err
	}
	login := session.PasskeySignIn{
		Passkeys: s.passkeys,
		Response: in.Assertion,
		Cookie:   session.CookieWish{Wanted: in.UseCookies, Remember: in.Remember, Replaced: replaced(r)},
		Key:      key,
	}
	t, u, cookie, err := s.c.Sessions.SignInWithPasskey(r.Context(), login, from(r))
	if in.UseCookies {
		return s.answerCookie(w, r, u, cookie, err)
	}
	return answerTokens(w, t, err)
}

// SignInWithPasskey signs a browser in with the response of a passkey, as POST
// /api/auth/passkeys/login/finish does with use_cookies, and sets the cookies. The caller has checked the
// origin of the request.
func (s *Server) SignInWithPasskey(w http.ResponseWriter, r *http.Request, assertion []byte, remember bool) error {
	_, u, cookie, err := s.c.Sessions.SignInWithPasskey(r.Context(), session.PasskeySignIn{
		Passkeys: s.passkeys,
		Response: assertion,
		Cookie:   session.CookieWish{Wanted: true, Remember: remember, Replaced: replaced(r)},
	}, from(r))
	if err != nil {
		return err
	}
	s.SetCookies(w, r, u, cookie)
	return nil
}

// beginPasskeyStepUp is POST /api/auth/passkeys/step-up/begin.
func (s *Server) beginPasskeyStepUp(w http.ResponseWriter, r *http.Request) error {
	if _, err := decodeOptional[struct{}](w, r); err != nil {
		return err
	}
	options, err := s.c.Sessions.AskPasskey(r.Context(), s.passkeys, durward.From(r.Context()))
	return answerOptions(w, options, unknownOwner(err))
}

// beginPasskey is POST /api/auth/passkeys/begin.
func (s *Server) beginPasskey(w http.ResponseWriter, r *http.Request) error {
	if _, err := decodeOptional[struct{}](w, r); err != nil {
		return err
	}
	options, err := s.passkeys.BeginEnrol(r.Context(), durward.From(r.Context()))
	return answerOptions(w, options, unknownOwner(err))
}

// BeginFactor answers a script of a page with the options for a passkey as the second factor of the sign-in
// that token names, as POST /api/auth/passkeys/login/begin does.
func (s *Server) BeginFactor(w http.ResponseWriter, r *http.Request, token string) error {
	half, err := s.c.Sessions.SignInOf(r.Context(), token)
	if err != nil {
		return err
	}
	options, err := s.c.Sessions.AskPasskeyOf(r.Context(), s.passkeys, half)
	return answerOptions(w, options, err)
}

// answerOptions answers with the options of a WebAuthn call.
func answerOptions(w http.ResponseWriter, options json.RawMessage, err error) error {
	return answer(w, http.StatusOK, api.PasskeyOptions{
		PublicKey: options,
		ExpiresIn: int64(passkey.ChallengeLife.Seconds()),
	}, err)
}

// finishPasskey is POST /api/auth/passkeys/finish.
func (s *Server) finishPasskey(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[struct {
		Credential json.RawMessage `json:"credential"`
		Name       string          `json:"name,omitzero"`
	}](w, r)
	if err != nil {
		return err
	}
	made, err := s.passkeys.Enrol(r.Context(), durward.From(r.Context()), in.Credential, in.Name, from(r))
	return answer(w, http.StatusCreated, account.PasskeyViewOf(made), unknownOwner(err))
}

// listPasskeys is GET /api/auth/passkeys.
func (s *Server) listPasskeys(w http.ResponseWriter, r *http.Request) error {
	return s.answerPasskeys(w, r, durward.From(r.Context()).Subject)
}

func (s *Server) answerPasskeys(w http.ResponseWriter, r *http.Request, userID string) error {
	rows, err := s.c.DB.Passkeys(r.Context(), userID)
	page := list[account.PasskeyView]{Items: make([]account.PasskeyView, 0, len(rows))}
	for _, row := range rows {
		page.Items = append(page.Items, account.PasskeyViewOf(row))
	}
	return answer(w, http.StatusOK, page, err)
}

// renamePasskey is PATCH /api/auth/passkeys/{id}.
func (s *Server) renamePasskey(w http.ResponseWriter, r *http.Request) error {
	in, err := decode[struct {
		Name string `json:"name"`
	}](w, r)
	if err != nil {
		return err
	}
	renamed, err := s.c.Accounts.RenamePasskey(r.Context(), durward.From(r.Context()), r.PathValue("id"), in.Name, from(r))
	return answer(w, http.StatusOK, account.PasskeyViewOf(renamed), unknown("passkey", err))
}

// removePasskey is DELETE /api/auth/passkeys/{id}.
func (s *Server) removePasskey(w http.ResponseWriter, r *http.Request) error {
	err := s.c.Sessions.RemovePasskey(r.Context(), durward.From(r.Context()), r.PathValue("id"), from(r))
	return noContent(w, unknown("passkey", err))
}
