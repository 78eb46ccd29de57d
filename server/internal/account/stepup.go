package account

import (
	"context"
	"errors"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// Reauthenticate verifies the password of a user who is already signed in. It refuses as
// Authenticate does and shares its failure counters. The failure that blocks the account also ends
// the session.
func (p *People) Reauthenticate(ctx context.Context, userID, sessionID, password string, from request.Info) (Proof, error) {
	u, err := p.DB.UserByID(ctx, userID)
	if err != nil {
		return Proof{}, err
	}
	return p.reauthenticate(ctx, u, password, sessionID, from)
}

// reauthenticate verifies the password of u within a session. A block that began earlier ends no
// session: the request is refused until the block is over.
func (p *People) reauthenticate(ctx context.Context, u store.User, password, sessionID string, from request.Info) (Proof, error) {
	err := p.judge(ctx, &u, true, u.EmailKey, password, from)
	if errors.Is(err, durward.InvalidCredentials) && p.Limits.Blocked(ctx, u.EmailKey, from.Addr) && sessionID != "" {
		event := from.Event(store.EventSessionEnded, "too many wrong passwords", p.Now())
		event.UserID, event.SessionID = u.ID, sessionID
		revoked, endErr := p.DB.EndSession(ctx, sessionID, u.ID, "wrong passwords", p.revokedUntil(p.Now()), event, "")
		p.push(revoked)
		if endErr != nil {
			return Proof{}, endErr
		}
	}
	if err != nil {
		return Proof{}, err
	}
	return p.passwordProof(u)
}
