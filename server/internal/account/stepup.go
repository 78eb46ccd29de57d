package account

import (
	"context"
	"errors"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/store"
)

// Prove judges the password of somebody who is signed in already and is to show
// anew who they are. It refuses as Authenticate does and counts with it; the
// failure that blocks the account ends the session too.
func (p *People) Prove(ctx context.Context, userID, sessionID, password string, from From) (store.User, error) {
	u, err := p.DB.UserByID(ctx, userID)
	if err != nil {
		return store.User{}, err
	}
	if err := p.prove(ctx, &u, password, sessionID, from); err != nil {
		return store.User{}, err
	}
	return u, nil
}

// prove judges the password of u within a session. Somebody else's block ends
// nothing: the request is refused until it is over.
func (p *People) prove(ctx context.Context, u *store.User, password, sessionID string, from From) error {
	err := p.judge(ctx, u, true, u.EmailKey, password, from)
	if errors.Is(err, durward.InvalidCredentials) && p.Limits.Blocked(ctx, u.EmailKey, from.Addr) && sessionID != "" {
		event := from.event(store.EventSessionEnded, "too many wrong passwords", p.Now())
		event.UserID, event.SessionID = u.ID, sessionID
		revoked, endErr := p.DB.EndSession(ctx, sessionID, u.ID, "wrong passwords", p.revokedUntil(p.Now()), event, "")
		p.push(revoked)
		if endErr != nil {
			return endErr
		}
	}
	if err != nil {
		return err
	}
	return locked(*u)
}
