package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// undecidedTries is how long a try waits for others that use up the limit of the session. A try without
// a decision after that time belongs to a node that was killed, and counts as a failure.
const undecidedTries = 10 * time.Second

// CheckSignedIn refuses credentials that belong to no session, such as API keys, with Forbidden: they
// must neither act on the sign-ins of their user nor guess the password. Basic may, because it contains
// the password.
func CheckSignedIn(p *durward.Principal) error {
	if p.SessionID != "" || p.Scheme == "Basic" {
		return nil
	}
	return &durward.Refusal{
		Code:   durward.Forbidden,
		Detail: "These credentials belong to no session, so they cannot act on sign-ins and passwords.",
		Hint:   "Sign in at POST /api/auth/login.",
		Err:    errors.New("session: credentials without a session at an endpoint for sign-ins"),
	}
}

// Reauthenticate verifies the password of the user of p as account.Manager.Reauthenticate does, and
// counts in the row of the session how many tries failed since the last right password or code. The fifth
// failure ends the session and notifies the user. So no more than five are verified, from any networks, at
// any nodes, at the same time or after a crash. It refuses as CheckSignedIn does, and a user with a second
// factor with MFARequired: the member methods names the factors.
func (m *Manager) Reauthenticate(
	ctx context.Context, p *durward.Principal, password string, from request.Info,
) (account.Proof, error) {
	proof, err := m.reauthenticate(ctx, p, password, from)
	if _, ok := errors.AsType[*account.FactorRequired](err); ok {
		factors, listErr := m.c.DB.Factors(ctx, p.Subject)
		if listErr != nil {
			return account.Proof{}, listErr
		}
		return account.Proof{}, &durward.Refusal{
			Code:    durward.MFARequired,
			Detail:  "The account has a second factor, so a password is not sufficient.",
			Hint:    "Send a code of the second factor to POST /api/auth/step-up.",
			Members: map[string]any{"methods": factors.Usable()},
			Err:     err,
		}
	}
	return proof, err
}

// ReauthenticateWithCode verifies a code of a second factor of the user of p, and counts as Reauthenticate
// does. The proof contains the methods of the session before.
func (m *Manager) ReauthenticateWithCode(
	ctx context.Context, p *durward.Principal, code account.Code, from request.Info,
) (account.Proof, error) {
	u, err := m.c.DB.UserByID(ctx, p.Subject)
	if err != nil {
		return account.Proof{}, err
	}
	return m.counted(ctx, p, from, func(count func(context.Context) error) (account.Proof, error) {
		return m.c.Accounts.UseCode(ctx, u, code, p.AMR, from, func(
			ctx context.Context, try store.FactorTry, _ account.Proof,
		) (store.FactorVerdict, error) {
			if err := count(ctx); err != nil {
				return store.FactorVerdict{}, err
			}
			return m.c.DB.TryFactor(ctx, try)
		})
	})
}

// reauthenticate is Reauthenticate with the error of a user with a second factor as it is.
func (m *Manager) reauthenticate(
	ctx context.Context, p *durward.Principal, password string, from request.Info,
) (account.Proof, error) {
	if p.SessionID == "" && CheckSignedIn(p) == nil {
		return m.c.Accounts.Reauthenticate(ctx, p.Subject, password, from, nil)
	}
	return m.counted(ctx, p, from, func(count func(context.Context) error) (account.Proof, error) {
		return m.c.Accounts.Reauthenticate(ctx, p.Subject, password, from, count)
	})
}

// counted calls verify and counts its failures in the session of p. verify calls its argument before it
// verifies a secret.
func (m *Manager) counted(
	ctx context.Context, p *durward.Principal, from request.Info,
	verify func(count func(context.Context) error) (account.Proof, error),
) (account.Proof, error) {
	if err := CheckSignedIn(p); err != nil {
		return account.Proof{}, err
	}
	counted, last := false, false
	proof, err := verify(func(ctx context.Context) (err error) {
		last, err = m.countTry(ctx, p, from)
		counted = err == nil
		return err
	})
	wrong := errors.Is(err, durward.InvalidCredentials)
	if !counted || wrong && !last {
		return proof, err
	}
	ctx = context.WithoutCancel(ctx) // the decision holds even if the client has disconnected
	if wrong {
		if endErr := m.endGuessed(ctx, p, from); endErr != nil {
			return account.Proof{}, endErr
		}
		return account.Proof{}, err
	}
	if forgetErr := m.c.DB.ForgetTries(ctx, p.SessionID, err == nil); forgetErr != nil && err == nil {
		return account.Proof{}, forgetErr
	}
	return proof, err
}

// countTry counts a try in the session of p and reports whether its failure ends the session.
func (m *Manager) countTry(ctx context.Context, p *durward.Principal, from request.Info) (last bool, err error) {
	began := time.Now()
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 80*time.Millisecond) {
		last, err = m.c.DB.CountTry(ctx, p.SessionID, p.Subject)
		switch {
		case errors.Is(err, store.ErrNotFound):
			code := durward.TokenRevoked
			if p.Scheme == "Session" {
				code = durward.SessionExpired
			}
			return false, refuseEnded(p, code)
		case !errors.Is(err, store.ErrTooMany):
			return last, err
		case time.Since(began) > m.undecided:
			if err := m.endGuessed(ctx, p, from); err != nil {
				return false, err
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// endGuessed ends the session of p if all its tries are used up.
func (m *Manager) endGuessed(ctx context.Context, p *durward.Principal, from request.Info) error {
	now := m.c.Now()
	event := from.Event(store.EventSessionEnded, "too many wrong passwords", p.Subject, p.SessionID, now)
	return m.publish(m.c.DB.EndGuessedSession(ctx, p.SessionID, p.Subject, m.c.Issuer.TokensEnd(now), event))
}

// refuseEnded refuses with code because the session of p has ended.
func refuseEnded(p *durward.Principal, code durward.Code) error {
	return fmt.Errorf("session: session %s has ended: %w", p.SessionID, code)
}

// StepUp renews the sign-in of the session of p, an access token of the user in proof: the session
// and its further tokens carry auth_time, acr and amr of proof. A refresh does not renew them. The
// result has the grant's current refresh token, which stays unused, or none if the session has a
// cookie. Tokens stay bound to their key. StepUp refuses with TokenRevoked if the session has ended,
// and with InvalidCredentials if the user was locked, or the password or the second factor changed, since the
// proof.
func (m *Manager) StepUp(
	ctx context.Context, proof account.Proof, p *durward.Principal, from request.Info,
) (Tokens, error) {
	now, u := m.c.Now(), proof.User
	proof.SessionID = p.SessionID
	event := from.Event(store.EventSteppedUp, "ok", u.ID, p.SessionID, now)
	s, g, err := m.c.DB.ProveWithGrant(ctx, proof, p.ClientID, event)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Tokens{}, refuseEnded(p, durward.TokenRevoked)
	case err != nil:
		return Tokens{}, refuseChanged(err)
	case u.OwesFactor():
		return Tokens{}, m.refuseOwing(s, u, g.JKT)
	case g.SessionID == "":
		return m.accessToken(s, p.ClientID, stillGranted(strings.Join(p.Scopes, " "), u), "", s.EndsAt)
	}
	g.Scope = stillGranted(g.Scope, u)
	return m.tokens(g, s, g.Generation, now)
}

// StepUpCookie renews the sign-in of a cookie's session as StepUp does, and returns a new
// cookie. The old cookie keeps its old rights for cookieGrace. It refuses with SessionExpired if
// the session has ended.
func (m *Manager) StepUpCookie(
	ctx context.Context, proof account.Proof, p *durward.Principal, value string, from request.Info,
) (Cookie, error) {
	fresh, r, err := m.renewal(ctx, proof, p, value, from)
	if err != nil {
		return Cookie{}, err
	}
	if err := m.c.DB.ProveWithCookie(ctx, r); err != nil {
		return Cookie{}, refuseRenewal(err, p)
	}
	return fresh, nil
}

// renewal returns a new cookie for the session of p, and the replacement of the cookie
// value by it.
func (m *Manager) renewal(
	ctx context.Context, proof account.Proof, p *durward.Principal, value string, from request.Info,
) (fresh Cookie, r store.CookieRenewal, err error) {
	old, s, _, err := m.liveCookie(ctx, value)
	if err != nil {
		return Cookie{}, r, err
	}
	now := m.c.Now()
	r.Proof, r.Proof.SessionID = proof, p.SessionID
	r.Old, r.OldEnds = old.Hash, now.Add(cookieGrace)
	r.Event = from.Event(store.EventSteppedUp, "ok", proof.User.ID, p.SessionID, now)
	s.AuthTime, s.ACR, s.AMR, s.Scope = proof.At, proof.ACR, proof.Methods, stillGranted(s.Scope, proof.User)
	fresh, r.New = m.newCookie(s, now)
	return fresh, r, nil
}

// refuseRenewal refuses with SessionExpired if a cookie could not be replaced because its session
// has ended.
func refuseRenewal(err error, p *durward.Principal) error {
	if errors.Is(err, store.ErrNotFound) {
		return refuseEnded(p, durward.SessionExpired)
	}
	return refuseChanged(err)
}
