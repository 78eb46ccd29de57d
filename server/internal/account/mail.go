package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
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

// RequestReset asks for a mail with a link to reset the password. It does the same work whether a user
// has the address or not: the address is looked up when the mail is sent. Beyond the limits it does
// nothing. It refuses only text that is no e-mail address.
func (m *Manager) RequestReset(ctx context.Context, email string, from request.Info) error {
	address, key, err := canonicalEmail(email)
	if err != nil {
		return err
	}
	if _, ok := m.Mails.OfNetwork.Network(ctx, from.Addr); !ok {
		return nil
	}
	if _, ok := m.Mails.OfAddress.Key(ctx, key); !ok {
		return nil
	}
	return m.DB.AddMail(ctx, store.Mail{
		ID:        store.NewID(),
		Kind:      store.MailResetPassword,
		Address:   address,
		Language:  from.Language,
		Device:    from.Device(),
		Network:   from.Network(),
		CreatedAt: m.Now(),
	})
}

// Recipient returns the recipient of a mail, with a new token if its kind has a link. It returns
// mail.ErrNoRecipient if the user does not exist, or is locked and the mail has a link.
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
	}
	to := mail.Recipient{UserID: u.ID, Language: u.Language}
	// The address of the account, not the one that the client typed: the two may be different mailboxes.
	if to.Address, err = mailbox(u.Email); err != nil || !hasLink {
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
		Address:   u.Email,
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

// MailToken returns the live token of a link for a purpose, a kind of mails, with its user. It does not
// use the token up. All other tokens get the same refusal, with InvalidRequest, or TooManyAttempts beyond
// the limit for forged ones.
func (m *Manager) MailToken(
	ctx context.Context, text, purpose string, from request.Info,
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
	case token.Purpose != purpose:
		err = m.refuseToken(ctx, "of a mail of the kind "+token.Purpose, from)
	case !now.Before(token.EndsAt):
		err = m.refuseToken(ctx, fmt.Sprintf("expired %s ago", now.Sub(token.EndsAt).Truncate(time.Second)), from)
	case !u.LockedAt.IsZero():
		err = m.refuseToken(ctx, "of the locked user "+u.ID, from)
	case u.EmailKey != token.EmailKey:
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
