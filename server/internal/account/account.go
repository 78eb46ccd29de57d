// Package account holds the rules about users and their credentials: e-mail addresses, passwords,
// API keys and the limits on wrong ones. It imports neither HTTP nor SQL.
//
// A rule that refuses returns an error that wraps a durward.Code. Any other error means that the
// rule could not be applied because of a temporary failure.
package account

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/pwhash"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/securitylog"
	"github.com/durward-auth/durward/server/internal/store"
)

// Config configures a Manager. DB, Hasher, Limits and SecurityLog are required.
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

// Manager applies the rules about users to one database. It is safe for concurrent use.
type Manager struct {
	Config
	keyUses keyUses
}

// New returns a Manager, or an error that names every mistake in c.
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

// mistake refuses a request because of one of its members. The texts do not repeat the value.
func mistake(member, detail, hint string) error {
	return &durward.Refusal{
		Code:    durward.InvalidRequest,
		Detail:  detail,
		Hint:    hint,
		Members: map[string]any{"member": member},
		Err:     fmt.Errorf("member %s: %s", member, detail),
	}
}
