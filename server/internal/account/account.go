// Package account holds the rules about people: who may have an account, what a
// password must be, when a sign-in is refused, and what ends with a password or
// a lock. It knows no HTTP and writes no SQL.
//
// A rule that refuses returns an error that wraps a durward.Code; any other
// error means that the answer is not known just now.
package account

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/pwhash"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/securitylog"
	"github.com/durward-auth/durward/server/internal/store"
)

// Config is what the rules need. All but BadKeys, Passwords, Now and Log are
// required.
type Config struct {
	DB          *store.DB
	Hasher      *pwhash.Hasher
	Limits      *limits.Limiter
	SecurityLog *securitylog.Writer // gets the refused sign-ins
	BadKeys     *limits.Rate        // limits forged API keys of one network; nil means no limit

	Passwords PasswordRules
	Now       func() time.Time
	Log       *slog.Logger
}

// People is the rules over one database.
type Manager struct {
	Config
	keyUses keyUses
}

// New returns the rules, or an error that names every mistake in c.
func New(c Config) (*Manager, error) {
	var errs []error
	need := func(ok bool, what string) {
		if !ok {
			errs = append(errs, errors.New("account: "+what))
		}
	}
	need(c.DB != nil, "no database")
	need(c.Hasher != nil, "no password hasher")
	need(c.Limits != nil, "no limits")
	need(c.SecurityLog != nil, "no security log")
	if err := c.Passwords.complete(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return &Manager{Config: c}, nil
}

// maxName is the longest name of a person, in characters.
const maxName = 100

// NewUser is what an account is made from.
type NewUser struct {
	Email    string
	Name     string
	Password string
	Admin    bool
}

// Add makes an account. It refuses with InvalidRequest, which names the member
// that is wrong, or EmailTaken. kind is the event it is written down as.
func (m *Manager) Add(ctx context.Context, n NewUser, kind string, from request.Info) (store.User, error) {
	email, key, err := canonicalEmail(n.Email)
	if err != nil {
		return store.User{}, err
	}
	name, err := cleanName(n.Name)
	if err != nil {
		return store.User{}, err
	}
	hash, err := m.HashNewPassword(ctx, store.User{EmailKey: key}, "password", n.Password)
	if err != nil {
		return store.User{}, err
	}
	now := m.Now().Truncate(time.Microsecond) // as the store keeps it
	u := store.User{ID: store.NewID(), Email: email, EmailKey: key, Name: name, Password: hash, Admin: n.Admin, CreatedAt: now, PasswordChangedAt: now}
	event := from.Event(kind, "ok", now)
	event.UserID = u.ID
	if err := m.DB.CreateUser(ctx, u, event); errors.Is(err, store.ErrEmailTaken) {
		return store.User{}, fmt.Errorf("account: %w: %w", err, durward.EmailTaken)
	} else if err != nil {
		return store.User{}, err
	}
	return u, nil
}

// ByEmail returns the person with an address, however it is spelled, or an error
// that wraps store.ErrNotFound.
func (m *Manager) ByEmail(ctx context.Context, email string) (store.User, error) {
	_, key, err := canonicalEmail(email)
	if err != nil {
		return store.User{}, err
	}
	return m.DB.UserByEmailKey(ctx, key)
}

// SetName changes a person's name.
func (m *Manager) SetName(ctx context.Context, id, name string) (store.User, error) {
	name, err := cleanName(name)
	if err != nil {
		return store.User{}, err
	}
	return m.DB.SetName(ctx, id, name)
}

// Unlock lets a person sign in again.
func (m *Manager) Unlock(ctx context.Context, id string, from request.Info) error {
	event := from.Event(store.EventUserUnlocked, "ok", m.Now())
	event.UserID = id
	return m.DB.UnlockUser(ctx, id, event)
}

// mistake is a refusal of one member of a request. Neither sentence repeats what
// was sent.
func mistake(member, detail, hint string) error {
	return &durward.Refusal{Code: durward.InvalidRequest, Detail: detail, Hint: hint,
		Members: map[string]any{"member": member}, Err: fmt.Errorf("member %s: %s", member, detail)}
}

func cleanName(name string) (string, error) {
	name = strings.TrimSpace(name)
	if utf8.RuneCountInString(name) > maxName {
		return "", mistake("name", "The name is too long.", fmt.Sprintf("At most %d characters.", maxName))
	}
	if strings.ContainsFunc(name, unprintable) {
		return "", mistake("name", "The name holds characters that cannot be shown.", "Leave out control and formatting characters.")
	}
	return name, nil
}
