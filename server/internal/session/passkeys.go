package session

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/passkey"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// PasskeySignIn is a sign-in with a passkey.
type PasskeySignIn struct {
	Passkeys *account.Passkeys
	Response []byte // to Passkeys.Ask for passkey.SignIn
	Cookie   CookieWish
	Key      *durward.HeldKey // as for SignIn
}

// SignInWithPasskey begins a session for the user whose passkey made the response: with the first tokens, or
// with a cookie. Of several calls with one response, one begins a session. It
// refuses as account.Passkeys.Use does.
func (m *Manager) SignInWithPasskey(
	ctx context.Context, in PasskeySignIn, from request.Info,
) (t Tokens, u store.User, cookie Cookie, err error) {
	var n store.NewSession
	proof, err := in.Passkeys.Use(ctx, in.Response, account.Question{Purpose: passkey.SignIn}, from, func(
		ctx context.Context, use store.PasskeyUse, proof account.Proof,
	) error {
		jkt, err := spend(in.Key) // after the response was verified, so that only users fill the memory of proofs
		if err != nil {
			return err
		}
		n, cookie = m.newSignIn(proof, in.Cookie, jkt, store.WithFactor+store.FactorPasskey+" "+use.Passkey.ID, from)
		return m.publish(m.c.DB.SignInWithPasskey(ctx, use, n, proof.User))
	})
	switch {
	case err != nil:
		return Tokens{}, store.User{}, Cookie{}, refuseChanged(err)
	case in.Cookie.Wanted:
		return Tokens{}, proof.User, cookie, nil
	}
	t, err = m.tokens(n.Grant, n.Session, 0, n.Event.At)
	return t, proof.User, Cookie{}, err
}

// AskPasskey returns the options for a passkey of the user of p, for ReauthenticateWithPasskey.
func (m *Manager) AskPasskey(ctx context.Context, k *account.Passkeys, p *durward.Principal) (json.RawMessage, error) {
	return k.Ask(ctx, renewalQuestion(p))
}

// renewalQuestion returns what a passkey is asked at a step-up of p.
func renewalQuestion(p *durward.Principal) account.Question {
	return account.Question{Purpose: passkey.StepUp, UserID: p.Subject, Bound: p.SessionID}
}

// ReauthenticateWithPasskey verifies the response of a passkey of the user of p to AskPasskey of the same
// session, and spends it. It refuses as account.Passkeys.Use does. A wrong response does not count
// against the session, because a signature cannot be guessed.
func (m *Manager) ReauthenticateWithPasskey(
	ctx context.Context, k *account.Passkeys, p *durward.Principal, response []byte, from request.Info,
) (account.Proof, error) {
	return k.Use(ctx, response, renewalQuestion(p), from, func(ctx context.Context, use store.PasskeyUse, _ account.Proof) error {
		return m.c.DB.UsePasskey(ctx, use)
	})
}

// RemovePasskey removes a passkey of the user of p and ends all sessions of the user but that of p. It
// returns store.ErrNotFound if there is no such passkey. It refuses with Forbidden if the user could not
// sign in any more or owed a second factor, and with TokenRevoked if the session of p has ended.
func (m *Manager) RemovePasskey(ctx context.Context, p *durward.Principal, id string, from request.Info) error {
	return account.RefuseChanged(m.removePasskey(ctx, p.Subject, p.SessionID, id, from), durward.TokenRevoked)
}

// RemovePasskeyOf removes a passkey of a user and ends all sessions of the user. It returns store.ErrNotFound
// if the user has no such passkey, and refuses with Forbidden if the user could not sign in any more. It is
// for administrators.
func (m *Manager) RemovePasskeyOf(ctx context.Context, userID, id string, by request.Info) error {
	return m.removePasskey(ctx, userID, "", id, by)
}

func (m *Manager) removePasskey(ctx context.Context, userID, sessionID, id string, from request.Info) error {
	now := m.c.Now()
	event := from.Event(store.EventPasskeyRemoved, "ok", userID, sessionID, now)
	event.Detail = "passkey " + id
	err := m.publish(m.c.DB.RemovePasskey(ctx, id, m.c.Issuer.TokensEnd(now), event))
	if errors.Is(err, store.ErrLast) {
		return &durward.Refusal{
			Code:   durward.Forbidden,
			Detail: "This passkey is the last way to sign in to this account.",
			Hint:   "Set a password or add another passkey first.",
			Err:    fmt.Errorf("session: user %s has no password and no other passkey: %w", userID, err),
		}
	}
	return refuseLastFactor(err)
}
