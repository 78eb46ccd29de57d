package account

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// maxName is the length of the longest name of a user, in characters.
const maxName = 100

// NewUser holds the properties of a user to add.
type NewUser struct {
	Email    string
	Name     string
	Password string
	Admin    bool

	// LookAlike accepts an address that looks like that of another user.
	LookAlike bool
}

// Add adds a user. It refuses with InvalidRequest, naming the wrong member, or with EmailTaken, also for
// an address that looks like that of another user. kind is the event in the security log.
func (m *Manager) Add(ctx context.Context, n NewUser, kind string, from request.Info) (store.User, error) {
	u, err := m.newUser(n)
	if err != nil {
		return store.User{}, err
	}
	key := u.EmailKey
	if err := m.Passwords.Check("password", n.Password, u); err != nil {
		return store.User{}, err
	}
	if kind == store.EventRegistered {
		if err := m.countRegistration(ctx, key, from); err != nil {
			return store.User{}, err
		}
	}
	if u.Password, err = m.HashNewPassword(ctx, store.User{EmailKey: key}, "password", n.Password, from); err != nil {
		return store.User{}, err
	}
	u.Language, u.Unverified = from.Language, kind == store.EventRegistered
	event := from.Event(kind, "ok", u.ID, "", u.CreatedAt)
	alike := skeletons(u.Email, key)
	if u.Unverified && m.VerifyEmail {
		// The response does not tell whether the address has an account: a mail does.
		if err = m.DB.Register(ctx, u, alike, event); isTaken(err) {
			err = nil
		}
	} else {
		err = m.DB.CreateUser(ctx, u, alike, n.LookAlike, event)
	}
	if err != nil {
		return store.User{}, RefuseTaken(err)
	}
	return u, nil
}

// newUser returns a new user without a password. It refuses with InvalidRequest, naming the wrong member.
func (m *Manager) newUser(n NewUser) (store.User, error) {
	email, key, err := canonicalEmail(n.Email)
	if err == nil {
		err = checkNewEmail(key)
	}
	if err != nil {
		return store.User{}, err
	}
	name, err := cleanName(n.Name)
	if err != nil {
		return store.User{}, err
	}
	now := m.Now().Truncate(time.Microsecond) // the precision of the store
	return store.User{
		ID:                store.NewID(),
		Email:             email,
		EmailKey:          key,
		Name:              name,
		Admin:             n.Admin,
		CreatedAt:         now,
		PasswordChangedAt: now,
	}, nil
}

// isTaken reports whether err says that a user cannot have an address.
func isTaken(err error) bool {
	return errors.Is(err, store.ErrEmailTaken) || errors.Is(err, store.ErrLookAlike) || errors.Is(err, store.ErrEmailDeleted)
}

// RefuseTaken refuses with EmailTaken if the address has an account, or looks like one that has. It returns
// any other error unchanged.
func RefuseTaken(err error) error {
	if isTaken(err) {
		return fmt.Errorf("account: %w: %w", err, durward.EmailTaken)
	}
	return err
}

// countRegistration counts a registration, or refuses with TooManyAttempts. Each costs a hash, and its
// answer tells whether the address is taken.
func (m *Manager) countRegistration(ctx context.Context, key string, from request.Info) error {
	if err := m.Hasher.Busy(ctx); err != nil {
		return unavailable(err)
	}
	wait, ok := m.OfNetwork.Network(ctx, from.Addr)
	if ok {
		wait, ok = m.OfAddress.Key(ctx, key)
	}
	if !ok {
		err := errors.New("account: too many registrations of this network or address")
		return &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: wait, Err: err}
	}
	return nil
}

// ByEmail returns the user with an e-mail address in any spelling. It returns store.ErrNotFound if
// there is none.
func (m *Manager) ByEmail(ctx context.Context, email string) (store.User, error) {
	address, key, err := canonicalEmail(email)
	if err != nil {
		return store.User{}, err
	}
	return m.userByKey(ctx, address, key)
}

// SetName changes a user's name.
func (m *Manager) SetName(ctx context.Context, id, name string) (store.User, error) {
	name, err := cleanName(name)
	if err != nil {
		return store.User{}, err
	}
	return m.DB.SetName(ctx, id, name)
}

// Unlock allows a locked user to sign in again, and lifts the blocks for failed attempts on the account.
func (m *Manager) Unlock(ctx context.Context, id string, from request.Info) error {
	return m.DB.UnlockUser(ctx, id, from.Event(store.EventUserUnlocked, "ok", id, "", m.Now()))
}

// Change holds new properties of a user. A nil field stays as it is.
type Change struct {
	Name, Email *string
	Admin       *bool
}

// Checked returns c as the store takes it, with a text for the security log. It refuses with
// InvalidRequest, naming the wrong member.
func (c Change) Checked() (store.UserChange, string, error) {
	out := store.UserChange{Admin: c.Admin}
	var names []string
	if c.Name != nil {
		name, err := cleanName(*c.Name)
		if err != nil {
			return out, "", err
		}
		out.Name, names = &name, append(names, "name")
	}
	if c.Email != nil {
		email, key, err := canonicalEmail(*c.Email)
		if err == nil {
			err = checkNewEmail(key)
		}
		if err != nil {
			return out, "", err
		}
		out.Email, out.EmailKey, out.Skeletons, names = &email, &key, skeletons(email, key), append(names, "email")
	}
	if c.Admin != nil {
		names = append(names, fmt.Sprintf("admin=%t", *c.Admin))
	}
	return out, strings.Join(names, " "), nil
}

// Limits of groups.
const (
	maxGroups       = 100 // of a user
	maxGroupName    = 64
	maxFactorGroups = 1000 // that require a second factor
)

// groupName is the form of the name of a group.
var groupName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]*$`)

// AddToGroup adds a user to a group. It refuses a name that no group can have with InvalidRequest.
func (m *Manager) AddToGroup(ctx context.Context, userID, group string, from request.Info) error {
	if err := checkGroupName(group); err != nil {
		return err
	}
	err := m.DB.AddToGroup(ctx, userID, group, maxGroups, m.groupEvent(store.EventGroupAdded, userID, group, from))
	if errors.Is(err, store.ErrTooMany) {
		return mistake("name", fmt.Sprintf("The user is in %d groups already.", maxGroups), "Remove one first.")
	}
	return err
}

func checkGroupName(group string) error {
	if len(group) > maxGroupName || !groupName.MatchString(group) {
		return mistake("name", "No group can have this name.",
			fmt.Sprintf("At most %d small letters, digits and . _ - are allowed, with a letter or digit first.", maxGroupName))
	}
	return nil
}

// RequireFactor sets whether a second factor is required of a user. The groups of the user may require one
// all the same. It returns store.ErrNotFound if the user does not exist.
func (m *Manager) RequireFactor(ctx context.Context, userID string, required bool, from request.Info) error {
	return m.DB.RequireFactor(ctx, userID, required, from.Event(requirement(required), "ok", userID, "", m.Now()))
}

// RequireFactorOfGroup sets whether a second factor is required of the users of a group, which may have
// none yet. It refuses a name that no group can have with InvalidRequest.
func (m *Manager) RequireFactorOfGroup(ctx context.Context, group string, required bool, from request.Info) error {
	if err := checkGroupName(group); err != nil {
		return err
	}
	err := m.DB.RequireFactorOfGroup(ctx, group, required, maxFactorGroups, m.groupEvent(requirement(required), "", "group "+group, from))
	if errors.Is(err, store.ErrTooMany) {
		return mistake("name", fmt.Sprintf("%d groups require a second factor already.", maxFactorGroups),
			"Require none of another group first, or require one of the users.")
	}
	return err
}

// requirement returns the kind of the event when a second factor becomes required, or no longer is.
func requirement(required bool) string {
	if required {
		return store.EventFactorRequired
	}
	return store.EventFactorNotRequired
}

func (m *Manager) groupEvent(kind, userID, group string, from request.Info) store.Event {
	e := from.Event(kind, "ok", userID, "", m.Now())
	e.Detail = group
	return e
}

// cleanName trims a name and refuses it if it is too long or not printable.
func cleanName(name string) (string, error) {
	name = strings.TrimSpace(name)
	if utf8.RuneCountInString(name) > maxName {
		return "", breaks(Rule{Name: "name_long", Limit: maxName}, "name", "The name is too long.", fmt.Sprintf("At most %d characters.", maxName))
	}
	if strings.ContainsFunc(name, unprintable) {
		return "", breaks(Rule{Name: "name_characters"}, "name", "The name contains characters that are not printable.",
			"Leave out control and formatting characters.")
	}
	return name, nil
}

// ScopesOf returns the scopes of a user. A sign-in gets all of them.
func ScopesOf(u store.User) []string {
	if u.Admin {
		return []string{"profile", "admin"}
	}
	return []string{"profile"}
}

// GivableScopes returns the scopes that the user of p may give to an API key.
func GivableScopes(p *durward.Principal) []string { return givable(p.Scopes) }

// givable returns the scopes that a maker with scopes may give to an API key. An administrator may
// also give revocations, which sign-ins do not have: it is for programs that follow the feed.
func givable(scopes []string) []string {
	if slices.Contains(scopes, "admin") {
		return append(slices.Clone(scopes), "revocations")
	}
	return scopes
}

// StillGranted returns those of the granted scopes that u still has. Scopes that u got later are not
// added.
func StillGranted(granted []string, u store.User) []string {
	may := givable(ScopesOf(u))
	return slices.DeleteFunc(slices.Clone(granted), func(s string) bool { return !slices.Contains(may, s) })
}
