package session

import (
	"context"
	"time"

	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// codeLabel is the label of the hashes of authorization codes.
const codeLabel = "durward authorization code"

// NewCode stores an authorization code (RFC 6749 s4.1.2) that ends after life, and returns it. It fills in
// Hash, CreatedAt and EndsAt of c. signedIn is the session of the user who allowed it: if that has ended, or
// the user is locked, NewCode returns store.ErrChanged.
func (m *Manager) NewCode(ctx context.Context, c store.Code, signedIn string, life time.Duration) (string, error) {
	code, raw := newSecret()
	c.Hash = m.hash(codeLabel, raw)
	c.CreatedAt = m.c.Now()
	c.EndsAt = c.CreatedAt.Add(life)
	return code, m.c.DB.CreateCode(ctx, c, signedIn)
}

// UseCode is a use of an authorization code.
type UseCode struct {
	Code  string
	JKT   string                          // thumbprint of the DPoP key that the next tokens are bound to; empty for none
	Check func(store.Code) error          // as of store.SpendCode
	Grant func(store.Code) (refresh bool) // whether the client gets a refresh token
}

// BeginApplication begins the session of an authorization code: a child of the browser's session, or, for a
// code without parent, a session that ends after RefreshAbsolute. A use that is refused is reported as by
// store.DB.SpendCode. Refresh is empty without a grant.
func (m *Manager) BeginApplication(ctx context.Context, use UseCode, from request.Info) (store.CodeUse, Rotated, error) {
	hash, err := m.secretHash(codeLabel, use.Code)
	if err != nil {
		return store.CodeUse{Refused: store.ErrNotFound}, Rotated{}, nil
	}
	now := m.c.Now()
	result, err := m.c.DB.SpendCode(ctx, store.SpendCode{
		Hash:  hash,
		At:    now,
		Until: m.c.Issuer.TokensEnd(now),
		Check: use.Check,
		Begin: func(c store.Code, ends time.Time) store.NewSession {
			return m.newApplication(c, use, ends, now, from)
		},
		Replayed: from.Event(store.EventCodeReplayed, "session ended", "", "", now),
	})
	_ = m.publish(result.Revoked, nil)
	if err != nil || result.Refused != nil {
		return result, Rotated{}, err
	}
	r := Rotated{Session: result.New.Session, Grant: result.New.Grant, at: now}
	if r.Grant.SessionID != "" {
		r.RefreshLife = earlier(r.Grant.IdleEnds, r.Grant.Ends).Sub(now)
		r.Refresh, err = m.refreshToken(r.Grant, 0)
	}
	return result, r, err
}

// newApplication returns the session of a code. ends is the end of its parent, or zero without one.
func (m *Manager) newApplication(c store.Code, use UseCode, ends, now time.Time, from request.Info) (n store.NewSession) {
	if ends.IsZero() {
		ends = now.Add(m.c.RefreshAbsolute)
	}
	n.Session = store.Session{
		ID: store.NewID(), UserID: c.UserID, ClientID: c.ClientID, ParentID: c.ParentID, Scope: c.Scope,
		CreatedAt: now, EndsAt: ends, AuthTime: c.AuthTime, ACR: c.ACR, AMR: c.AMR,
		Network: from.Network(), Device: from.Device(), Agent: from.Browser(),
	}
	n.Event = from.Event(store.EventApplicationSignedIn, "ok", c.UserID, n.Session.ID, now)
	n.Event.Detail = "client " + c.ClientID + ", scope " + c.Scope
	if use.Grant(c) {
		n.Grant = m.newGrant(n.Session, use.JKT)
		n.Grant.Resources, n.Grant.Claims = c.Resources, c.Claims
	}
	return n
}

// EndApplication ends one session of an application of a user; its tokens are refused when it returns. It
// returns store.ErrNotFound if there is no such session. kind is the event in the security log.
func (m *Manager) EndApplication(ctx context.Context, s store.Session, kind, detail string, from request.Info) error {
	event := from.Event(kind, "ok", s.UserID, s.ID, m.c.Now())
	event.Detail = detail
	return m.end(ctx, kind, event, "")
}

// Publish makes revocations of a transaction hold in this process before the response is sent. It returns err, so
// that it can take both results of the transaction.
func (m *Manager) Publish(revoked []store.Revocation, err error) error {
	return m.publish(revoked, err)
}

// WithdrawConsent takes back what a user allowed to a client and ends the client's sessions of the user, as
// store.DB.WithdrawConsent does; their tokens are refused when it returns.
func (m *Manager) WithdrawConsent(ctx context.Context, userID, clientID string, e store.Event) error {
	return m.publish(m.c.DB.WithdrawConsent(ctx, userID, clientID, m.c.Issuer.TokensEnd(e.At), e))
}

// LongestApplication is the longest life of an application's session that outlives that of the browser.
func (m *Manager) LongestApplication() time.Duration { return m.c.RefreshAbsolute }

// RemoveFromGroup removes a user from a group and ends the sessions of applications of the user, which may have
// rights that the group gave. It returns store.ErrNotFound if the user is not in the group.
func (m *Manager) RemoveFromGroup(ctx context.Context, userID, group string, from request.Info) error {
	event := from.Event(store.EventGroupRemoved, "ok", userID, "", m.c.Now())
	event.Detail = group
	return m.publish(m.c.DB.RemoveFromGroup(ctx, userID, group, m.c.Issuer.TokensEnd(event.At), event))
}
