package session

import (
	"context"
	"errors"

	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// List returns a user's live sessions.
func (m *Manager) List(ctx context.Context, userID string) ([]store.SessionRow, error) {
	return m.c.DB.Sessions(ctx, userID, m.c.Now())
}

// End ends one session of a user; its tokens are refused when End returns. It returns
// store.ErrNotFound if the user has no such session. kind is the event in the security log.
func (m *Manager) End(ctx context.Context, userID, sessionID, kind string, from request.Info) error {
	return m.end(ctx, kind, from.Event(kind, "ok", userID, sessionID, m.c.Now()), "")
}

// SignOut ends one session, or all sessions of the user. It is no error if the session ended earlier.
func (m *Manager) SignOut(ctx context.Context, userID, sessionID string, everywhere bool, from request.Info) error {
	if !everywhere {
		err := m.End(ctx, userID, sessionID, store.EventSignedOut, from)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	}
	now := m.c.Now()
	event := from.Event(store.EventSignedOut, "everywhere", userID, sessionID, now)
	return m.publish(m.c.DB.EndSessions(ctx, userID, "", event.Kind, m.c.Issuer.TokensEnd(now), event))
}

// LockUser prevents a user from signing in and ends all their sessions.
func (m *Manager) LockUser(ctx context.Context, userID string, from request.Info) error {
	now := m.c.Now()
	event := from.Event(store.EventUserLocked, "ok", userID, "", now)
	return m.publish(m.c.DB.LockUser(ctx, userID, m.c.Issuer.TokensEnd(now), event))
}

// end ends the session of event. notification is the kind of the notification that the user gets, or
// empty for none.
func (m *Manager) end(ctx context.Context, reason string, event store.Event, notification string) error {
	until := m.c.Issuer.TokensEnd(event.At)
	return m.publish(m.c.DB.EndSession(ctx, event.SessionID, event.UserID, reason, until, event, notification))
}

// publish makes revocations that are in the database known to this process and to the push, so that
// they hold before the response is sent. It returns err, so that it can take both results of a transaction.
func (m *Manager) publish(revoked []store.Revocation, err error) error {
	m.c.Revoked.Announce(revoked...)
	return err
}
