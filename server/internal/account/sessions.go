package account

import (
	"context"
	"errors"
	"github.com/durward-auth/durward/server/internal/request"

	"github.com/durward-auth/durward/server/internal/store"
)

// Sessions lists a person's live sessions.
func (p *People) Sessions(ctx context.Context, userID string) ([]store.SessionRow, error) {
	return p.DB.Sessions(ctx, userID, p.Now())
}

// EndSession ends one session of a person: its tokens are dead when it returns.
// Somebody else's session is store.ErrNotFound, as one that never was.
func (p *People) EndSession(ctx context.Context, userID, sessionID, kind string, from request.Info) error {
	now := p.Now()
	event := from.Event(kind, "ok", now)
	event.UserID, event.SessionID = userID, sessionID
	revoked, err := p.DB.EndSession(ctx, sessionID, userID, kind, p.revokedUntil(now), event, "")
	p.push(revoked)
	return err
}

// SignOut ends a session, or all of the person's. That there is none left to end
// is no error; that it could not be written down is one.
func (p *People) SignOut(ctx context.Context, userID, sessionID string, everywhere bool, from request.Info) error {
	if !everywhere {
		err := p.EndSession(ctx, userID, sessionID, store.EventSignedOut, from)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	}
	now := p.Now()
	event := from.Event(store.EventSignedOut, "everywhere", now)
	event.UserID, event.SessionID = userID, sessionID
	revoked, err := p.DB.EndSessions(ctx, userID, "", store.EventSignedOut, p.revokedUntil(now), event)
	p.push(revoked)
	return err
}

// Notifications returns a page of what a person was told, newest first, from
// after the one named.
func (p *People) Notifications(ctx context.Context, userID, after string, limit int) ([]store.Notification, error) {
	return p.DB.Notifications(ctx, userID, after, limit)
}
