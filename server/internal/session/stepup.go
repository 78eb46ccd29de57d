package session

import (
	"context"
	"errors"
	"fmt"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// Reauthenticate verifies the password of the user of p as account.Manager.Reauthenticate does. The
// failure that blocks the account also ends the session of p. A block that began earlier ends no
// session: the request is refused until the block is over.
func (m *Manager) Reauthenticate(
	ctx context.Context, p *durward.Principal, password string, from request.Info,
) (account.Proof, error) {
	proof, err := m.c.Accounts.Reauthenticate(ctx, p.Subject, password, from)
	if errors.Is(err, account.ErrBlocked) && p.SessionID != "" {
		now := m.c.Now()
		event := from.Event(store.EventSessionEnded, "too many wrong passwords", p.Subject, p.SessionID, now)
		if endErr := m.end(ctx, "wrong passwords", event, ""); endErr != nil {
			return account.Proof{}, endErr
		}
	}
	return proof, err
}

// StepUp renews the sign-in of the session of p, an access token of the user in proof: the session
// and its further tokens carry auth_time, acr and amr of proof. A refresh does not renew them. The
// result has the grant's current refresh token, which stays unused, or none if the session has a
// cookie. Tokens stay bound to their key. StepUp refuses with TokenRevoked if the session has ended,
// and with InvalidCredentials if the user was locked, or the password changed, since the proof.
func (m *Manager) StepUp(
	ctx context.Context, proof account.Proof, p *durward.Principal, from request.Info,
) (Tokens, error) {
	now, u := m.c.Now(), proof.User
	proof.SessionID = p.SessionID
	event := from.Event(store.EventSteppedUp, "ok", u.ID, p.SessionID, now)
	s, g, err := m.c.DB.ProveWithGrant(ctx, proof, p.ClientID, event)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Tokens{}, fmt.Errorf("session: session %s has ended: %w", p.SessionID, durward.TokenRevoked)
	case err != nil:
		return Tokens{}, refuseChanged(err)
	case g.SessionID == "":
		return m.accessToken(s, p.ClientID, stillGranted(joinScopes(p.Scopes), u), "", s.EndsAt)
	}
	g.Scope = stillGranted(g.Scope, u)
	return m.tokens(g, s, g.Generation, now)
}

// StepUpCookie renews the sign-in of a cookie's session as StepUp does, and returns the value of a
// new cookie. The old cookie keeps its old rights for cookieGrace. It refuses with SessionExpired if
// the session has ended.
func (m *Manager) StepUpCookie(
	ctx context.Context, proof account.Proof, p *durward.Principal, value string, from request.Info,
) (string, error) {
	fresh, r, err := m.renewal(ctx, proof, p, value, from)
	if err != nil {
		return "", err
	}
	if err := m.c.DB.ProveWithCookie(ctx, r); err != nil {
		return "", refuseRenewal(err, p)
	}
	return fresh, nil
}

// renewal returns the value of a new cookie for the session of p, and the replacement of the cookie
// value by it.
func (m *Manager) renewal(
	ctx context.Context, proof account.Proof, p *durward.Principal, value string, from request.Info,
) (fresh string, r store.CookieRenewal, err error) {
	old, s, _, err := m.liveCookie(ctx, value)
	if err != nil {
		return "", r, err
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
		return fmt.Errorf("session: session %s has ended: %w", p.SessionID, durward.SessionExpired)
	}
	return refuseChanged(err)
}
