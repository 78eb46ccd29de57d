package session

import (
	"context"
	"errors"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// SetPassword sets a user's password without the current one and ends all sessions of the user. It
// is for the operator.
func (m *Manager) SetPassword(ctx context.Context, u store.User, password string, from request.Info) error {
	hash, err := m.c.Accounts.HashNewPassword(ctx, u, "password", password, from)
	if err != nil {
		return err
	}
	now := m.c.Now()
	event := from.Event(store.EventPasswordSet, "ok", u.ID, "", now)
	return m.publish(m.c.DB.ChangePassword(ctx, u.ID, hash, "", time.Time{}, m.c.Issuer.TokensEnd(now), event))
}

// ResetPassword sets the password of the user of a token that was mailed for it, which it uses up, and
// ends all sessions of the user, and returns the user. A password that the rules refuse leaves the token as
// it is. No session begins: the next sign-in asks for every factor.
func (m *Manager) ResetPassword(ctx context.Context, token, password string, from request.Info) (store.User, error) {
	t, u, err := m.c.Accounts.MailToken(ctx, token, from, store.MailResetPassword)
	if err != nil {
		return store.User{}, err
	}
	hash, err := m.c.Accounts.HashNewPassword(ctx, u, "new_password", password, from)
	if err != nil {
		return store.User{}, err
	}
	now := m.c.Now()
	event := from.Event(store.EventPasswordReset, "ok", u.ID, "", now)
	err = m.publish(m.c.DB.ResetPassword(ctx, t, hash, m.c.Issuer.TokensEnd(now), event))
	u.Password, u.PasswordChangedAt = hash, now
	return u, m.c.Accounts.RefuseSpent(ctx, err, from)
}

// UndoEmail undoes a change of the e-mail address as account.Manager.UndoEmail does.
func (m *Manager) UndoEmail(ctx context.Context, token string, from request.Info) error {
	return m.publish(m.c.Accounts.UndoEmail(ctx, token, m.c.Issuer.TokensEnd(m.c.Now()), from))
}

// ChangePassword replaces the password of the user of p after it verified the current one as
// Reauthenticate does. It ends all sessions of the user but that of p. If cookie is not empty, it is
// the cookie of that session: ChangePassword replaces it in the same transaction, as StepUpCookie
// does, and returns the new value. So a stolen copy of the cookie is of use for cookieGrace only.
func (m *Manager) ChangePassword(
	ctx context.Context, p *durward.Principal, current, newPassword, cookie string, from request.Info,
) (fresh Cookie, err error) {
	u, err := m.c.DB.UserByID(ctx, p.Subject)
	if err != nil {
		return Cookie{}, err
	}
	// The rules for new passwords come first: a refusal by them discloses nothing about the current
	// password and costs no hash.
	if err := m.c.Accounts.Passwords.Check("new", newPassword, u); err != nil {
		return Cookie{}, err
	}
	proof, err := m.reauthenticate(ctx, p, current, from)
	if partial, ok := errors.AsType[*account.FactorRequired](err); ok {
		// The password is right, and p has the second factor. A password alone does not renew such a
		// sign-in.
		proof = partial.Proof
		proof.Methods, proof.ACR, proof.At = p.AMR, p.ACR, p.AuthTime
	} else if err != nil {
		return Cookie{}, err
	}
	hash, err := m.c.Accounts.HashNewPassword(ctx, proof.User, "new", newPassword, from)
	if err != nil {
		return Cookie{}, err
	}
	var r store.CookieRenewal
	if cookie != "" {
		if fresh, r, err = m.renewal(ctx, proof, p, cookie, from); err != nil {
			return Cookie{}, err
		}
	}
	now := m.c.Now()
	event, until := from.Event(store.EventPasswordChanged, "ok", u.ID, p.SessionID, now), m.c.Issuer.TokensEnd(now)
	if cookie == "" {
		err = m.publish(m.c.DB.ChangePassword(ctx, u.ID, hash, p.SessionID, proof.User.PasswordChangedAt, until, event))
		return Cookie{}, refuseChanged(err)
	}
	if err := m.publish(m.c.DB.ChangePasswordWithCookie(ctx, hash, until, event, r)); err != nil {
		return Cookie{}, refuseRenewal(err, p)
	}
	return fresh, nil
}
