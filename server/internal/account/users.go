package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/pwhash"
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

	// Hash is the hash of the password by another product, in place of Password, in a form that
	// pwhash.Parse reads.
	Hash string

	// LookAlike accepts an address that looks like that of another user.
	LookAlike bool
}

// maxImportedCosts limits the costs of imported hashes, of which each check of a password computes one
// each.
const maxImportedCosts = 4

// readImported reads a hash of another product. The refusal names its fault and no part of the hash.
func readImported(text string) (pwhash.Stored, error) {
	stored, err := pwhash.Parse(text)
	if err != nil {
		fault := strings.TrimPrefix(err.Error(), pwhash.ErrMalformed.Error()+": ")
		return pwhash.Stored{}, mistake("hash", "The hash cannot be used: "+fault+".",
			"Accepted are argon2id, argon2i, scrypt, pbkdf2-sha256 and pbkdf2-sha512 as PHC strings, and bcrypt ($2a$, $2b$, $2y$) of cost 4 to 14.")
	}
	return stored, nil
}

// ReadImported reads which costs imported hashes have, so that each check of a password takes the work
// of all of them: the response time does not reveal the users with imported hashes.
func (m *Manager) ReadImported(ctx context.Context) error {
	blanks, err := m.DB.ImportedHashes(ctx)
	if err != nil {
		return err
	}
	var hashes []pwhash.Stored
	for _, blank := range blanks {
		if stored, err := pwhash.Parse(blank); err == nil { // else written by a newer version: no hash matches
			hashes = append(hashes, stored)
		}
	}
	m.Hasher.SetImported(hashes)
	return nil
}

// costPattern returns the pattern of LIKE for all hashes that may have the cost of blank.
func costPattern(blank string) string {
	stored, err := pwhash.Parse(blank)
	if err != nil { // written by a newer version: it stays
		return "%"
	}
	return stored.Pattern()
}

// Add adds a user. It refuses with InvalidRequest, naming the wrong member, or with EmailTaken, also for
// an address that looks like that of another user. kind is the event in the security log.
func (m *Manager) Add(ctx context.Context, n NewUser, kind string, from request.Info) (store.User, error) {
	u, err := m.newUser(n)
	if err != nil {
		return store.User{}, err
	}
	key := u.EmailKey
	var imported pwhash.Stored
	var hash string
	if n.Hash != "" {
		if imported, err = readImported(n.Hash); err != nil {
			return store.User{}, err
		}
		hash = imported.String()
	} else {
		if err := m.Passwords.Check("password", n.Password, key); err != nil {
			return store.User{}, err
		}
		if kind == store.EventRegistered {
			if err := m.countRegistration(ctx, key, from); err != nil {
				return store.User{}, err
			}
		}
		if hash, err = m.HashNewPassword(ctx, store.User{EmailKey: key}, "password", n.Password, from); err != nil {
			return store.User{}, err
		}
	}
	u.Password, u.Language, u.Unverified = hash, from.Language, kind == store.EventRegistered
	event := from.Event(kind, "ok", u.ID, "", u.CreatedAt)
	alike := skeletons(u.Email, key)
	switch {
	case n.Hash != "":
		event.Detail = "imported hash, " + imported.Cost()
		err = m.DB.ImportUser(ctx, u, alike, n.LookAlike, event, imported.Blank().String(), maxImportedCosts)
	case u.Unverified && m.VerifyEmail:
		// The response does not tell whether the address has an account: a mail does.
		if err = m.DB.Register(ctx, u, alike, event); errors.Is(err, store.ErrEmailTaken) || errors.Is(err, store.ErrLookAlike) {
			err = nil
		}
	default:
		err = m.DB.CreateUser(ctx, u, alike, n.LookAlike, event)
	}
	if errors.Is(err, store.ErrTooMany) {
		return store.User{}, mistake("hash", fmt.Sprintf("The imported hashes have %d other costs already.", maxImportedCosts),
			"Every sign-in computes one hash of each cost: import this user after others have signed in, or without the hash.")
	}
	if err != nil {
		return store.User{}, refuseTaken(err)
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

// refuseTaken refuses with EmailTaken if the address has an account, or looks like one that has. It returns
// any other error unchanged.
func refuseTaken(err error) error {
	if errors.Is(err, store.ErrEmailTaken) || errors.Is(err, store.ErrLookAlike) {
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

// Unlock allows a locked user to sign in again.
func (m *Manager) Unlock(ctx context.Context, id string, from request.Info) error {
	return m.DB.UnlockUser(ctx, id, from.Event(store.EventUserUnlocked, "ok", id, "", m.Now()))
}

// Change holds new properties of a user. A nil field stays as it is.
type Change struct {
	Name  *string
	Admin *bool
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
	if c.Admin != nil {
		names = append(names, fmt.Sprintf("admin=%t", *c.Admin))
	}
	return out, strings.Join(names, " "), nil
}

// cleanName trims a name and refuses it if it is too long or not printable.
func cleanName(name string) (string, error) {
	name = strings.TrimSpace(name)
	if utf8.RuneCountInString(name) > maxName {
		return "", mistake("name", "The name is too long.", fmt.Sprintf("At most %d characters.", maxName))
	}
	if strings.ContainsFunc(name, unprintable) {
		return "", mistake("name", "The name contains characters that are not printable.",
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
