package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/mail"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// MailLimits limit mails that clients ask for, and forged tokens of links. A nil Rate has no limit.
type MailLimits struct {
	OfNetwork *limits.Rate // mails asked for by one network
	OfAddress *limits.Rate // mails asked for with one e-mail address
	BadTokens *limits.Rate // forged tokens of one network
}

// RequestMail asks for a mail of a kind with a link, to the user with an address. It does the same work
// whether a user has the address or not: the address is looked up when the mail is sent. Beyond the limits
// it does nothing. It refuses only text that is no e-mail address.
func (m *Manager) RequestMail(ctx context.Context, kind, email string, from request.Info) error {
	address, key, err := canonicalEmail(email)
	if err != nil {
		return err
	}
	return m.requestMail(ctx, store.Mail{Kind: kind, Address: address}, key, from)
}

// RequestEmailChange asks for a mail to the new address of a user, with a link to confirm it. A user does
// not learn whether another user has the address.
func (m *Manager) RequestEmailChange(ctx context.Context, userID, email string, from request.Info) error {
	address, key, err := canonicalEmail(email)
	if err == nil {
		err = checkNewEmail(key)
	}
	if err != nil {
		return err
	}
	return m.requestMail(ctx, store.Mail{Kind: store.MailChangeEmail, UserID: userID, Address: address}, key, from)
}

// requestMail adds a mail to the outbox if the limits allow it. key is that of the address.
func (m *Manager) requestMail(ctx context.Context, row store.Mail, key string, from request.Info) error {
	if _, ok := m.Mails.OfNetwork.Network(ctx, from.Addr); !ok {
		return nil
	}
	if _, ok := m.Mails.OfAddress.Key(ctx, key); !ok {
		return nil
	}
	row.ID, row.CreatedAt = store.NewID(), m.Now()
	row.Language, row.Device, row.Network = from.Language, from.Device(), from.Network()
	return m.DB.AddMail(ctx, row)
}

// SendReset sends a user a mail with a link to set a new password. It is for administrators, who learn
// neither the link nor the password. It returns store.ErrNotFound if there is no such user.
func (m *Manager) SendReset(ctx context.Context, userID string, from request.Info) error {
	now := m.Now()
	e := from.Event(store.EventResetSent, "ok", userID, "", now)
	return m.DB.SendReset(ctx, store.Mail{ID: e.ID, Kind: store.MailResetPassword, UserID: userID, CreatedAt: now}, e)
}

// Recipient returns the recipient of a mail, with a new token if its kind has a link. It returns
// mail.ErrNoRecipient if the user does not exist, or is locked and the mail has a link, or if there is
// nothing to confirm.
func (m *Manager) Recipient(ctx context.Context, row store.Mail) (mail.Recipient, error) {
	var u store.User
	var err error
	if row.UserID != "" {
		u, err = m.DB.UserByID(ctx, row.UserID)
	} else {
		u, err = m.ByEmail(ctx, row.Address)
	}
	link, hasLink := mail.LinkOf(row.Kind)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && hasLink && !u.LockedAt.IsZero():
		return mail.Recipient{}, mail.ErrNoRecipient
	case err != nil:
		return mail.Recipient{}, err
	case row.Kind == store.MailVerifyEmail && !u.Unverified:
		return mail.Recipient{}, mail.ErrNoRecipient
	}
	if row.Kind == store.MailChangeEmail {
		if other, err := m.ByEmail(ctx, row.Address); err == nil && other.ID != u.ID {
			return mail.Recipient{}, mail.ErrNoRecipient
		} else if err != nil && !errors.Is(err, store.ErrNotFound) {
			return mail.Recipient{}, err
		}
	}
	to := mail.Recipient{UserID: u.ID, Language: u.Language}
	// The address of the account, not the one that the client typed: the two may be different mailboxes.
	// Mails about a change of the address go to the new or the former one.
	address := u.Email
	if row.UserID != "" && row.Address != "" {
		address = row.Address
	}
	if to.Address, err = mailbox(address); err != nil || !hasLink {
		return to, err
	}
	raw := make([]byte, mailTokenOctets)
	_, _ = rand.Read(raw) // crypto/rand.Read never returns an error
	now := m.Now()
	err = m.DB.AddMailToken(ctx, store.MailToken{
		Hash:      m.mailTokenHash(raw),
		Purpose:   row.Kind,
		UserID:    u.ID,
		EmailKey:  u.EmailKey,
		Address:   address,
		MailID:    row.ID,
		CreatedAt: now,
		EndsAt:    now.Add(link.Life),
	})
	to.Token = base64.RawURLEncoding.EncodeToString(raw)
	return to, err
}

// mailTokenOctets is the length of a token in a link: 256 random bits, sent in base64url. The database
// holds its hash only.
const mailTokenOctets = 32

// mailTokenHash returns the hash of a token in the database. It includes the epoch, so that a restored
// database accepts no token that was used after the backup.
func (m *Manager) mailTokenHash(raw []byte) []byte {
	h := sha256.New()
	_, _ = io.WriteString(h, "durward mail token\x00"+m.DB.SessionEpoch()+"\x00")
	h.Write(raw)
	return h.Sum(nil)
}

// MailToken returns the live token of a link for one of several purposes, kinds of mails, with its user. It
// does not use the token up. All other tokens get the same refusal, with InvalidRequest, or TooManyAttempts
// beyond the limit for forged ones.
func (m *Manager) MailToken(
	ctx context.Context, text string, from request.Info, purposes ...string,
) (token store.MailToken, u store.User, err error) {
	// The checks allow one spelling per token, as for session cookies.
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != mailTokenOctets || len(text) != base64.RawURLEncoding.EncodedLen(mailTokenOctets) {
		return token, u, m.refuseToken(ctx, "not of the form of a token", from)
	}
	token, u, err = m.DB.MailTokenByHash(ctx, m.mailTokenHash(raw))
	switch now := m.Now(); {
	case errors.Is(err, store.ErrNotFound):
		err = m.refuseToken(ctx, "never issued, used or replaced by a newer mail", from)
	case err != nil:
	case !slices.Contains(purposes, token.Purpose):
		err = m.refuseToken(ctx, "of a mail of the kind "+token.Purpose, from)
	case !now.Before(token.EndsAt):
		err = m.refuseToken(ctx, fmt.Sprintf("expired %s ago", now.Sub(token.EndsAt).Truncate(time.Second)), from)
	case !u.LockedAt.IsZero():
		err = m.refuseToken(ctx, "of the locked user "+u.ID, from)
	case u.EmailKey != token.EmailKey && token.Purpose != store.MailEmailChanged:
		err = m.refuseToken(ctx, "sent to an earlier address of the user "+u.ID, from)
	}
	return token, u, err
}

// refuseToken refuses the token of a link, and counts it for its network.
func (m *Manager) refuseToken(ctx context.Context, cause string, from request.Info) error {
	cause = "account: token of a mail: " + cause
	if wait, ok := m.Mails.BadTokens.Network(ctx, from.Addr); !ok {
		return &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: wait, Err: errors.New(cause)}
	}
	return &durward.Refusal{
		Code:    durward.InvalidRequest,
		Detail:  "The link has expired, was used already or is incomplete.",
		Hint:    "Ask for a new mail, and use the link of the newest one.",
		Members: map[string]any{"member": "token"},
		Err:     errors.New(cause),
	}
}

// RefuseSpent refuses a token that was used or ended since MailToken returned it. It returns any other
// error unchanged.
func (m *Manager) RefuseSpent(ctx context.Context, err error, from request.Info) error {
	if errors.Is(err, store.ErrChanged) {
		return m.refuseToken(ctx, "used since it was read", from)
	}
	return err
}

// Confirm uses up the token of a mail that confirms an address: the one of a user who registered, or the new
// one of a user who changes it. It refuses with EmailTaken if another user has the address by now, or one
// that looks like it.
func (m *Manager) Confirm(ctx context.Context, token string, from request.Info) error {
	t, u, err := m.MailToken(ctx, token, from, store.MailVerifyEmail, store.MailChangeEmail)
	if err != nil {
		return err
	}
	if t.Purpose == store.MailVerifyEmail {
		err = m.DB.VerifyEmail(ctx, t, from.Event(store.EventEmailVerified, "ok", u.ID, "", m.Now()))
		return m.RefuseSpent(ctx, err, from)
	}
	email, key, err := canonicalEmail(t.Address)
	if err != nil {
		return err
	}
	err = m.DB.ChangeEmail(ctx, t, key, skeletons(email, key), from.Event(store.EventEmailChanged, "ok", u.ID, "", m.Now()))
	return m.RefuseSpent(ctx, RefuseTaken(err), from)
}

// UndoEmail uses up the token of a mail to a former address of a user, gives the user that address again and
// asks for a mail to set a new password. All sessions of the user end, the password is no longer valid, and
// new second factors are removed.
// It returns the revocations, which last until until.
func (m *Manager) UndoEmail(ctx context.Context, token string, until time.Time, from request.Info) ([]store.Revocation, error) {
	t, u, err := m.MailToken(ctx, token, from, store.MailEmailChanged)
	if err != nil {
		return nil, err
	}
	email, key, err := canonicalEmail(t.Address)
	if err != nil {
		return nil, err
	}
	e := from.Event(store.EventEmailUndone, "ok", u.ID, "", m.Now())
	reset := store.Mail{
		ID: e.ID, Kind: store.MailResetPassword, UserID: u.ID,
		Language: e.Language, Device: e.Device, Network: e.Network, CreatedAt: e.At,
	}
	revoked, err := m.DB.UndoEmail(ctx, t, key, skeletons(email, key), until, e, reset)
	return revoked, m.RefuseSpent(ctx, RefuseTaken(err), from)
}

// Invite adds a user without a password. The user gets a mail to set one.
func (m *Manager) Invite(ctx context.Context, n NewUser, from request.Info) (store.User, error) {
	u, err := m.newUser(n)
	if err != nil {
		return store.User{}, err
	}
	event := from.Event(store.EventUserInvited, "ok", u.ID, "", u.CreatedAt)
	if err := m.DB.Invite(ctx, u, skeletons(u.Email, u.EmailKey), n.LookAlike, event); err != nil {
		return store.User{}, RefuseTaken(err)
	}
	return u, nil
}

// AcceptInvitation uses up the token of an invitation, and sets the password and, if it is not empty, the
// name of its user. No session begins.
func (m *Manager) AcceptInvitation(ctx context.Context, token, password, name string, from request.Info) error {
	t, u, err := m.MailToken(ctx, token, from, store.MailInvitation)
	if err != nil {
		return err
	}
	if name, err = cleanName(name); err != nil {
		return err
	}
	hash, err := m.HashNewPassword(ctx, u, "password", password, from)
	if err != nil {
		return err
	}
	err = m.DB.AcceptInvitation(ctx, t, hash, name, from.Event(store.EventInvited, "ok", u.ID, "", m.Now()))
	return m.RefuseSpent(ctx, err, from)
}
