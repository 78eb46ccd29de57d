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

// LockUser prevents a user from signing in and ends all their sessions. It refuses with Forbidden if an
// administrator names themselves.
func (m *Manager) LockUser(ctx context.Context, userID string, from request.Info) error {
	if err := refuseOneself(userID, from); err != nil {
		return err
	}
	now := m.c.Now()
	event := from.Event(store.EventUserLocked, "ok", userID, "", now)
	return m.publish(m.c.DB.LockUser(ctx, userID, m.c.Issuer.TokensEnd(now), event))
}

// SignOutUser ends all sessions of a user. It returns store.ErrNotFound if there is no such user.
func (m *Manager) SignOutUser(ctx context.Context, userID string, from request.Info) error {
	u, err := m.c.DB.UserByID(ctx, userID)
	if err != nil {
		return err
	}
	return m.SignOut(ctx, u.ID, "", true, from)
}

// SetUser changes a user. All sessions of a user who is no longer an administrator end, because their tokens
// have the scope admin; a user who becomes one gets it at the next sign-in. SetUser refuses with
// InvalidRequest, naming the wrong member, and with Forbidden if administrators take the right from
// themselves.
func (m *Manager) SetUser(ctx context.Context, userID string, c account.Change, from request.Info) error {
	change, detail, err := c.Checked()
	if err == nil && c.Admin != nil && !*c.Admin {
		err = refuseOneself(userID, from)
	}
	if err != nil {
		return err
	}
	now := m.c.Now()
	event := from.Event(store.EventUserChanged, "ok", userID, "", now)
	event.Detail = detail
	return account.RefuseTaken(m.publish(m.c.DB.SetUser(ctx, userID, change, m.c.Issuer.TokensEnd(now), event)))
}

// DeleteUser deletes a user with their credentials and ends all their sessions. The security log keeps
// the id. DeleteUser returns store.ErrNotFound if there is no such user, and refuses with Forbidden if an
// administrator names themselves.
func (m *Manager) DeleteUser(ctx context.Context, userID string, from request.Info) error {
	if err := refuseOneself(userID, from); err != nil {
		return err
	}
	now := m.c.Now()
	event := from.Event(store.EventUserDeleted, "ok", userID, "", now)
	return m.publish(m.c.DB.DeleteUser(ctx, userID, m.c.Issuer.TokensEnd(now), event))
}

// DeleteOwnAccount deletes the user of p as DeleteUser does. It refuses with Forbidden if the user is an
// administrator, so that there is always one left, and with TokenRevoked if the user does not exist any
// more.
func (m *Manager) DeleteOwnAccount(ctx context.Context, p *durward.Principal, from request.Info) error {
	if err := CheckSignedIn(p); err != nil {
		return err
	}
	u, err := m.c.DB.UserByID(ctx, p.Subject)
	if err == nil && u.Admin {
		from.Actor = p.Subject // the user acts as an administrator on themselves
	}
	if err == nil {
		err = m.DeleteUser(ctx, p.Subject, from)
	}
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("session: the account was deleted already: %w", durward.TokenRevoked)
	}
	return err
}

// refuseOneself refuses with Forbidden if an administrator acts on themselves. Together with the check in
// the transaction that the actor is an administrator, there is always one left.
func refuseOneself(userID string, from request.Info) error {
	if userID != from.Actor {
		return nil
	}
	return &durward.Refusal{
		Code:   durward.Forbidden,
		Detail: "Administrators cannot lock, demote or delete themselves.",
		Hint:   "Another administrator can do it.",
		Err:    errors.New("session: an administrator acts on themselves"),
	}
}
