// Package account holds the rules about users and their credentials: e-mail addresses, passwords,
// API keys and the limits on wrong ones. It imports neither HTTP nor SQL.
//
// A rule that refuses returns an error that wraps a durward.Code. Any other error means that the
// rule could not be applied because of a temporary failure.
package account

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/pwhash"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/securitylog"
	"github.com/durward-auth/durward/server/internal/store"
)

// Config configures a Manager. DB, Master, Hasher, Limits and SecurityLog are required.
type Config struct {
	DB          *store.DB
	Master      *seal.Master // seals the seeds of authenticator apps, makes the challenges of passkeys
	Name        string       // of this server in authenticator apps; default "Durward"
	Hasher      *pwhash.Hasher
	Limits      *limits.Limiter
	SecurityLog *securitylog.Writer // gets the refused sign-ins
	OfNetwork   *limits.Rate        // limits registrations of one network; nil means no limit
	OfAddress   *limits.Rate        // limits registrations of one e-mail address; nil means no limit
	Hashes      *limits.Rate        // limits password hashes for one network; nil means no limit
	BadKeys     *limits.Rate        // limits forged API keys of one network; nil means no limit
	BadPasskeys *limits.Rate        // limits refused responses of passkeys of one network; nil means no limit
	Mails       MailLimits
	VerifyEmail bool         // users who register prove to own their address before they can sign in
	Log         *slog.Logger // nil means no log

	Now func() time.Time // nil means the clock of DB

	Passwords PasswordRules
}

// Manager applies the rules about users to one database. It is safe for concurrent use.
type Manager struct {
	Config

	mu      sync.Mutex
	keyUses map[string]time.Time // last uses of API keys that Run has not stored yet
}

// New returns a Manager, or an error that names every mistake in c.
func New(c Config) (*Manager, error) {
	err := c.Passwords.complete()
	if c.DB == nil || c.Master == nil || c.Hasher == nil || c.Limits == nil || c.SecurityLog == nil {
		err = errors.Join(err, errors.New("account: database, master key, password hasher, limits and security log are required"))
	}
	if err != nil {
		return nil, err
	}
	if c.Now == nil {
		c.Now = c.DB.Now
	}
	c.Name = cmp.Or(c.Name, "Durward")
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	return &Manager{Config: c, keyUses: make(map[string]time.Time)}, nil
}

// Rule is the rule that a member of a request breaks. It is the cause of the refusal, for pages that
// explain it in the language of their user.
type Rule struct {
	Name  string // such as "password_short"
	Limit int    // the length that is allowed, in characters; 0 if the rule has none

	cause string
}

// Error returns the cause for the log.
func (r *Rule) Error() string { return r.cause }

// breaks refuses a request as mistake does, with the broken rule as its cause.
func breaks(rule Rule, member, detail, hint string) error {
	rule.cause = fmt.Sprintf("member %s: %s", member, detail)
	return &durward.Refusal{
		Code:    durward.InvalidRequest,
		Detail:  detail,
		Hint:    hint,
		Members: map[string]any{"member": member},
		Err:     &rule,
	}
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
