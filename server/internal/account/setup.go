package account

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"io"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// SetupLife is how long the link for the first administrator works.
const SetupLife = time.Hour

// setupHash returns the hash of the token of a link for the first administrator in the database. It includes
// the epoch, so that a restored database accepts no token of before.
func (m *Manager) setupHash(raw []byte) []byte {
	h := sha256.New()
	_, _ = io.WriteString(h, "durward setup\x00"+m.DB.SessionEpoch()+"\x00")
	h.Write(raw)
	return h.Sum(nil)
}

// BeginSetup returns the token of a link with which the first administrator is added: once, within SetupLife,
// while there is no administrator. The tokens of earlier calls end. It returns store.ErrChanged if there is
// an administrator.
func (m *Manager) BeginSetup(ctx context.Context) (seal.Secret, error) {
	raw := make([]byte, mailTokenOctets)
	_, _ = rand.Read(raw) // crypto/rand.Read never returns an error
	if err := m.DB.BeginSetup(ctx, m.setupHash(raw), m.Now().Add(SetupLife)); err != nil {
		return "", err
	}
	return seal.Secret(base64.RawURLEncoding.EncodeToString(raw)), nil
}

// Setup uses the token of a link up and adds the first administrator. It refuses a wrong token as MailToken
// does, before any work for the password, and a wrong member with InvalidRequest.
func (m *Manager) Setup(ctx context.Context, token string, n NewUser, from request.Info) (store.User, error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) != mailTokenOctets || len(token) != base64.RawURLEncoding.EncodedLen(mailTokenOctets) {
		return store.User{}, m.refuseSetup(ctx, "not of the form of a token", from)
	}
	hash := m.setupHash(raw)
	stored, err := m.DB.Setup(ctx)
	switch {
	case err != nil:
		return store.User{}, err
	case subtle.ConstantTimeCompare(hash, stored) == 0:
		return store.User{}, m.refuseSetup(ctx, "never issued, used, or replaced at a later start", from)
	}
	n.Admin = true
	u, err := m.newUser(n)
	if err != nil {
		return store.User{}, err
	}
	if u.Password, err = m.HashNewPassword(ctx, store.User{EmailKey: u.EmailKey}, "password", n.Password, from); err != nil {
		return store.User{}, err
	}
	u.Language = from.Language
	e := from.Event(store.EventUserAdded, "ok", u.ID, "", m.Now())
	e.Detail = "first administrator, with the link of a start"
	if err := m.DB.FinishSetup(ctx, hash, u, skeletons(u.Email, u.EmailKey), e); errors.Is(err, store.ErrChanged) {
		return store.User{}, m.refuseSetup(ctx, "expired, used since it was read, or there is an administrator", from)
	} else if err != nil {
		return store.User{}, RefuseTaken(err)
	}
	return u, nil
}

// refuseSetup refuses the token of a link for the first administrator, and counts it for its network.
func (m *Manager) refuseSetup(ctx context.Context, cause string, from request.Info) error {
	err := m.refuseToken(ctx, "for the first administrator: "+cause, from)
	if f, ok := errors.AsType[*durward.Refusal](err); ok && f.Code == durward.InvalidRequest {
		f.Hint = "While the server has no users, each start prints a new link. The operator can add an administrator at the command line."
	}
	return err
}
