package session

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/passkey"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// SignInTime is how long a client has for the second factor after the password.
const SignInTime = 10 * time.Minute

// signInLabel is the label of the hashes of secrets of half-finished sign-ins.
const signInLabel = "durward sign-in"

// BeginSignIn stores a half-finished sign-in of the user in proof and returns the refusal with MFARequired.
// Its member mfa_token names the sign-in, its member methods the second factors of the user.
// The sign-in ends after SignInTime, after five wrong codes, and once it is finished.
//
// FinishSignIn begins a session with a cookie if wish wants it. If key is not nil, FinishSignIn wants the same
// key. It refuses as SignIn does.
func (m *Manager) BeginSignIn(
	ctx context.Context, proof account.Proof, wish CookieWish, key *durward.HeldKey, from request.Info,
) error {
	jkt, err := spend(key)
	if err != nil {
		return err
	}
	factors, err := m.c.DB.Factors(ctx, proof.User.ID)
	if err != nil {
		return err
	}
	token, raw := newSecret()
	now := m.c.Now()
	s := store.SignIn{
		Hash:       m.hash(signInLabel, raw),
		UserID:     proof.User.ID,
		Stage:      store.StageFactor,
		Methods:    proof.Methods,
		UseCookies: wish.Wanted,
		Remembered: wish.Remember,
		JKT:        jkt,
		StartedAt:  now,
		EndsAt:     now.Add(SignInTime),
	}
	event := from.Event(store.EventSignInBegun, "second factor required", s.UserID, "", now)
	if err := m.c.DB.CreateSignIn(ctx, s, proof.User, event); err != nil {
		return refuseChanged(err)
	}
	return &durward.Refusal{
		Code:    durward.MFARequired,
		Members: map[string]any{"mfa_token": token, "methods": factors.Usable()},
		Err:     fmt.Errorf("session: sign-in of user %s waits for the second factor", s.UserID),
	}
}

// HalfSignIn is a sign-in that waits for its second factor.
type HalfSignIn struct {
	store.SignIn
	user store.User
}

// SignInOf returns the sign-in that token names. It refuses with SessionExpired if there is none, or it is
// over, void or finished.
func (m *Manager) SignInOf(ctx context.Context, token string) (HalfSignIn, error) {
	hash, err := m.secretHash(signInLabel, token)
	if err != nil {
		return HalfSignIn{}, errSignInOver
	}
	s, u, err := m.c.DB.SignInByHash(ctx, hash, m.c.Now())
	if errors.Is(err, store.ErrNotFound) {
		err = errSignInOver
	}
	return HalfSignIn{s, u}, err
}

var errSignInOver = &durward.Refusal{
	Code:   durward.SessionExpired,
	Detail: "This sign-in has ended.",
	Hint:   "Start again at POST /api/auth/login.",
	Err:    errors.New("session: no half-finished sign-in has this secret: it is over, finished, or void after wrong codes"),
}

// FinishSignIn verifies a code of the second factor and begins the session of a sign-in: with the first
// tokens, or with a cookie. It refuses as account.UseCode does,
// with SessionExpired as SignInOf does, and with InvalidCredentials if the user was locked, or the password
// or the second factor changed, since the sign-in began. replaced is that of CookieWish.
func (m *Manager) FinishSignIn(
	ctx context.Context, s HalfSignIn, code account.Code, key *durward.HeldKey, replaced string, from request.Info,
) (t Tokens, cookie Cookie, err error) {
	return m.finishSignIn(s, code.Factor, key, replaced, from, func(finish finishFunc) error {
		_, err := m.c.Accounts.UseCode(ctx, s.user, code, s.Methods, from, func(
			ctx context.Context, try store.FactorTry, proof account.Proof,
		) (store.FactorVerdict, error) {
			return finish(ctx, proof, store.FinishedSignIn{Try: try})
		})
		return err
	})
}

// AskPasskeyOf returns the options for a passkey of the user of a sign-in, for FinishSignInWithPasskey.
func (m *Manager) AskPasskeyOf(ctx context.Context, k *account.Passkeys, s HalfSignIn) (json.RawMessage, error) {
	return k.Ask(ctx, s.question())
}

// FinishSignInWithPasskey verifies the response of a passkey to AskPasskeyOf of the same sign-in, and begins
// the session as FinishSignIn does. It refuses as account.Passkeys.Use does.
func (m *Manager) FinishSignInWithPasskey(
	ctx context.Context, k *account.Passkeys, s HalfSignIn, response []byte,
	key *durward.HeldKey, replaced string, from request.Info,
) (t Tokens, cookie Cookie, err error) {
	return m.finishSignIn(s, store.FactorPasskey, key, replaced, from, func(finish finishFunc) error {
		_, err := k.Use(ctx, response, s.question(), from, func(
			ctx context.Context, use store.PasskeyUse, proof account.Proof,
		) error {
			_, err := finish(ctx, proof, store.FinishedSignIn{Passkey: &use})
			return err
		})
		return err
	})
}

// question returns what a passkey is asked as the second factor of s.
func (s HalfSignIn) question() account.Question {
	return account.Question{
		Purpose: passkey.Factor,
		UserID:  s.UserID,
		Bound:   hex.EncodeToString(s.Hash),
		Before:  s.Methods,
	}
}

// A finishFunc begins the session of a sign-in and spends the factor in f, in one transaction.
type finishFunc func(ctx context.Context, proof account.Proof, f store.FinishedSignIn) (store.FactorVerdict, error)

// finishSignIn calls verify, which calls its argument for a factor that it has to try or to spend.
func (m *Manager) finishSignIn(
	s HalfSignIn, factor string, key *durward.HeldKey, replaced string, from request.Info, verify func(finishFunc) error,
) (t Tokens, cookie Cookie, err error) {
	if s.JKT != "" && (key == nil || key.Thumbprint != s.JKT) {
		return Tokens{}, Cookie{}, fmt.Errorf("session: the sign-in began with another DPoP key: %w", durward.InvalidProof)
	}
	jkt, err := spend(key)
	if err != nil {
		return Tokens{}, Cookie{}, err
	}
	var n store.NewSession
	err = verify(func(ctx context.Context, proof account.Proof, f store.FinishedSignIn) (store.FactorVerdict, error) {
		n, cookie = m.newSignIn(proof, CookieWish{s.UseCookies, s.Remembered, replaced}, jkt, store.WithFactor+factor, from)
		f.NewSession, f.Hash = n, s.Hash
		f.Void = from.Event(store.EventSignInVoid, "too many wrong codes", s.UserID, "", proof.At)
		verdict, revoked, err := m.c.DB.FinishSignIn(ctx, f)
		return verdict, m.publish(revoked, err)
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Tokens{}, Cookie{}, errSignInOver
	case err != nil:
		return Tokens{}, Cookie{}, refuseChanged(err)
	case s.UseCookies:
		return Tokens{}, cookie, nil
	}
	t, err = m.tokens(n.Grant, n.Session, 0, n.Event.At)
	return t, Cookie{}, err
}

// newSignIn returns the session of a sign-in with proof, with its grant, bound to the key jkt, or its cookie.
// detail is that of its event.
func (m *Manager) newSignIn(
	proof account.Proof, wish CookieWish, jkt, detail string, from request.Info,
) (n store.NewSession, cookie Cookie) {
	at := proof.At
	n.Place = store.Place{Network: from.Network(), Browser: from.Browser()}
	if wish.Wanted {
		n.Session = m.newCookieSession(proof, wish.Remember, at, from)
		cookie, n.Cookie = m.newCookie(n.Session, at)
		n.Replaced = m.replacedBy(wish.Replaced, at)
	} else {
		n.Session = newSession(proof, at.Add(m.c.RefreshAbsolute), at, from)
		n.Grant = m.newGrant(n.Session, jkt)
	}
	n.Event = from.Event(store.EventSignedIn, "ok", proof.User.ID, n.Session.ID, at)
	n.Event.Detail = detail
	return n, cookie
}

// User returns the user of the sign-in.
func (s HalfSignIn) User() store.User { return s.user }

// secretOctets is the length of the secrets of cookies and half-finished sign-ins: 256 random bits, sent in
// base64url. The database holds their hashes only.
const secretOctets = 32

// newSecret returns a random secret as text and as octets.
func newSecret() (text string, raw []byte) {
	raw = make([]byte, secretOctets)
	_, _ = rand.Read(raw) // crypto/rand.Read never returns an error
	return base64.RawURLEncoding.EncodeToString(raw), raw
}

// spend uses up the proof of a DPoP key and returns the thumbprint of the key, or "" for no key.
func spend(key *durward.HeldKey) (jkt string, err error) {
	if key == nil {
		return "", nil
	}
	return key.Thumbprint, key.Spend()
}

// newGrant returns the first grant of a session. It is bound to the DPoP key jkt unless that is empty.
func (m *Manager) newGrant(s store.Session, jkt string) store.Grant {
	salt := make([]byte, 32)
	_, _ = rand.Read(salt) // crypto/rand.Read never returns an error
	return store.Grant{
		ID: uuid.Must(uuid.NewV7()), SessionID: s.ID, ClientID: s.ClientID, Scope: s.Scope,
		Salt: salt, Key: m.c.Issuer.NewestRefreshKey().Number, Network: s.Network, Agent: s.Agent, JKT: jkt,
		CreatedAt: s.CreatedAt, IdleEnds: earlier(s.CreatedAt.Add(m.c.RefreshTTL), s.EndsAt), Ends: s.EndsAt,
	}
}

// RemoveTOTP removes the authenticator app of the user of p and ends all sessions of the user but that of p.
// It returns store.ErrNotFound if there is none, and refuses with TokenRevoked if the session of p has ended.
func (m *Manager) RemoveTOTP(ctx context.Context, p *durward.Principal, from request.Info) error {
	return account.RefuseChanged(m.removeTOTP(ctx, p.Subject, p.SessionID, from), durward.TokenRevoked)
}

// RemoveTOTPOf removes the authenticator app of a user and ends all sessions of the user. It returns
// store.ErrNotFound if there is none. It is for administrators.
func (m *Manager) RemoveTOTPOf(ctx context.Context, userID string, by request.Info) error {
	return m.removeTOTP(ctx, userID, "", by)
}

func (m *Manager) removeTOTP(ctx context.Context, userID, sessionID string, from request.Info) error {
	now := m.c.Now()
	event := from.Event(store.EventFactorRemoved, "ok", userID, sessionID, now)
	event.Detail = store.FactorTOTP
	return refuseLastFactor(m.publish(m.c.DB.RemoveTOTP(ctx, userID, m.c.Issuer.TokensEnd(now), event)))
}

// refuseLastFactor refuses with Forbidden if err says that a user would owe a second factor.
func refuseLastFactor(err error) error {
	if !errors.Is(err, store.ErrFactorOwed) {
		return err
	}
	return &durward.Refusal{
		Code:   durward.Forbidden,
		Detail: "A second factor is required of this account, and this is the last one.",
		Hint:   "Set up another one first. An administrator can remove all of them for a user who lost them.",
		Err:    err,
	}
}

// ResetFactors removes all second factors of a user and ends all sessions of the user. It returns
// store.ErrNotFound if the user has none. It is for the operator and for administrators.
func (m *Manager) ResetFactors(ctx context.Context, userID string, from request.Info) error {
	now := m.c.Now()
	event := from.Event(store.EventFactorRemoved, "ok", userID, "", now)
	event.Detail = "all"
	return m.publish(m.c.DB.ResetFactors(ctx, userID, m.c.Issuer.TokensEnd(now), event))
}
