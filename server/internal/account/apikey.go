package account

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/apikey"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// KeyPrefix is the start of every API key.
const KeyPrefix = "dk_"

// Limits of API keys.
const (
	maxKeys    = 100                       // live keys of a user
	maxKeyLife = 10 * 365 * 24 * time.Hour // of a key with an end
	keysKept   = 30 * 24 * time.Hour       // time after their end
	keyUseStep = time.Minute               // precision of the last use
	maxKeyUses = 10_000                    // uses in memory between two writes
)

// NewKey holds the properties of an API key to make.
type NewKey struct {
	Name   string
	Scopes []string      // nil means profile
	Life   time.Duration // 0 means no end
}

// CreateKey makes an API key for the user of maker. It returns the stored row and the key. The
// key itself is not stored. CreateKey refuses with InvalidRequest and names the wrong member: a key
// cannot have a scope that maker lacks, even if the user has it. It refuses with Forbidden if there
// are too many keys, and with TokenRevoked if the session of maker has ended or the user was locked.
func (m *Manager) CreateKey(
	ctx context.Context, maker *durward.Principal, n NewKey, from request.Info,
) (store.APIKey, seal.Secret, error) {
	name, err := cleanName(n.Name)
	switch {
	case err != nil:
		return store.APIKey{}, "", err
	case name == "":
		return store.APIKey{}, "", mistake("name", "The key has no name.",
			"Name its purpose, so that you can tell your keys apart.")
	case n.Life < 0 || n.Life > maxKeyLife || n.Life > 0 && n.Life < time.Second:
		return store.APIKey{}, "", mistake("expires_in", "The life of the key is out of range.",
			fmt.Sprintf("From 1 to %d seconds; leave it out for a key without an end.", int64(maxKeyLife/time.Second)))
	}
	scopes := n.Scopes
	if scopes == nil {
		scopes = []string{"profile"}
	}
	u, err := m.DB.UserByID(ctx, maker.Subject)
	if err != nil {
		return store.APIKey{}, "", err
	}
	most := givable(StillGranted(maker.Scopes, u))
	for i, s := range scopes {
		if !slices.Contains(most, s) {
			return store.APIKey{}, "", mistake("scopes", "A key cannot have a scope that its maker lacks.",
				"You have: "+strings.Join(most, " ")+".")
		}
		if slices.Contains(scopes[:i], s) {
			return store.APIKey{}, "", mistake("scopes", "A scope is named twice.", "Name each once.")
		}
	}
	if len(scopes) == 0 {
		return store.APIKey{}, "", mistake("scopes", "A key without scopes is of no use.",
			"Leave the member out for the scope profile.")
	}
	now := m.Now().Truncate(time.Microsecond)
	k, key := m.randomKey(maker, now)
	k.Name, k.Scopes = name, scopes
	if n.Life > 0 {
		k.ExpiresAt = now.Add(n.Life)
	}
	event := keyEvent(store.EventAPIKeyCreated, k, from)
	event.Detail += ", scope " + strings.Join(k.Scopes, " ")
	if err := refuseKey(m.DB.CreateAPIKey(ctx, k, maxKeys, event)); err != nil {
		return store.APIKey{}, "", err
	}
	return k, key, nil
}

// RotateKey replaces a live key of the user of maker by a new one. The old key is refused when
// RotateKey returns; there is no grace. The new key keeps the name, the end and the scopes that the
// user still has. RotateKey returns store.ErrNotFound if the user has no such key. It refuses with
// Forbidden if no scope is left or maker lacks one, and with TokenRevoked as CreateKey does.
func (m *Manager) RotateKey(
	ctx context.Context, maker *durward.Principal, id string, from request.Info,
) (store.APIKey, seal.Secret, error) {
	old, err := m.DB.APIKeyByID(ctx, id)
	if err != nil {
		return store.APIKey{}, "", err
	}
	if old.UserID != maker.Subject {
		return store.APIKey{}, "", fmt.Errorf("account: key %s belongs to another user: %w", id, store.ErrNotFound)
	}
	u, err := m.DB.UserByID(ctx, maker.Subject)
	if err != nil {
		return store.APIKey{}, "", err
	}
	scopes := StillGranted(old.Scopes, u)
	may := durward.Principal{Scopes: givable(maker.Scopes)}
	if len(scopes) == 0 || !may.HasScope(scopes...) {
		return store.APIKey{}, "", &durward.Refusal{
			Code:   durward.Forbidden,
			Detail: "The key has scopes that you lack.",
			Hint:   "Revoke it and make another one.",
			Err: fmt.Errorf("account: key %s has scopes %q, its user still has %q, its maker has %q",
				id, old.Scopes, scopes, maker.Scopes),
		}
	}
	k, key := m.randomKey(maker, m.Now().Truncate(time.Microsecond))
	k.Name, k.Scopes, k.ExpiresAt = old.Name, scopes, old.ExpiresAt
	event := keyEvent(store.EventAPIKeyRotated, k, from)
	event.Detail += ", in place of " + KeyShown(old)
	if err := refuseKey(m.DB.RotateAPIKey(ctx, id, k, event)); err != nil {
		return store.APIKey{}, "", err
	}
	return k, key, nil
}

// RevokeKey revokes a key of a user; it is refused when RevokeKey returns. It returns
// store.ErrNotFound if the user has no such key.
func (m *Manager) RevokeKey(ctx context.Context, userID, id, sessionID string, from request.Info) error {
	k, err := m.DB.APIKeyByID(ctx, id)
	if err != nil {
		return err
	}
	event := keyEvent(store.EventAPIKeyRevoked, k, from)
	event.UserID, event.SessionID, event.At = userID, sessionID, m.Now()
	return m.DB.RevokeAPIKey(ctx, id, userID, event)
}

// RevokeAnyKey revokes the key of any user, named by its id or its public part, and returns the key.
// It returns store.ErrNotFound if there is none. It is for the operator.
func (m *Manager) RevokeAnyKey(ctx context.Context, name string, from request.Info) (store.APIKey, error) {
	k, err := m.DB.APIKeyByID(ctx, name)
	if publicID, ok := strings.CutPrefix(name, KeyPrefix); ok && errors.Is(err, store.ErrNotFound) {
		k, _, err = m.DB.APIKeyByPublicID(ctx, publicID)
	}
	if err == nil {
		err = m.RevokeKey(ctx, k.UserID, k.ID, "", from)
	}
	if err != nil {
		return store.APIKey{}, err
	}
	return k, nil
}

// KeyView is the JSON form of a key.
type KeyView struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	Prefix     string    `json:"prefix"`
	Scopes     []string  `json:"scopes"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"`
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
	Key        string    `json:"key,omitzero"` // the whole key, only when it is created
}

// KeyViewOf returns the JSON form of k, without the key itself.
func KeyViewOf(k store.APIKey) KeyView {
	return KeyView{
		ID:         k.ID,
		Name:       k.Name,
		Prefix:     KeyShown(k),
		Scopes:     k.Scopes,
		CreatedAt:  k.CreatedAt.UTC(),
		ExpiresAt:  k.ExpiresAt,
		LastUsedAt: k.LastUsedAt,
	}
}

// KeyShown returns the public part of a key, by which its owner recognizes it.
func KeyShown(k store.APIKey) string { return KeyPrefix + k.PublicID }

// randomKey returns a random key for the user of maker.
func (m *Manager) randomKey(maker *durward.Principal, now time.Time) (store.APIKey, seal.Secret) {
	key := apikey.New(KeyPrefix)
	return store.APIKey{
		ID: store.NewID(), UserID: maker.Subject, SessionID: maker.SessionID, CreatedAt: now,
		PublicID: key[len(KeyPrefix):][:apikey.PublicDigits], Hash: keyHash(key),
	}, seal.Secret(key)
}

func keyEvent(kind string, k store.APIKey, from request.Info) store.Event {
	event := from.Event(kind, "ok", k.UserID, k.SessionID, k.CreatedAt)
	event.Detail = "key " + KeyShown(k)
	return event
}

// refuseKey refuses with TokenRevoked if the user or the session of the maker changed since the
// credentials were verified, and with Forbidden if the user has too many keys.
func refuseKey(err error) error {
	if errors.Is(err, store.ErrTooMany) {
		return &durward.Refusal{
			Code:   durward.Forbidden,
			Detail: fmt.Sprintf("There are %d keys already.", maxKeys),
			Hint:   "Revoke one that is not used any more.",
			Err:    fmt.Errorf("account: %w", err),
		}
	}
	return RefuseChanged(err, durward.TokenRevoked)
}

// keyHash returns the hash that the store keeps. A key has 256 random bits and cannot be guessed, so a
// fast hash is sufficient.
func keyHash(key string) [sha256.Size]byte { return sha256.Sum256([]byte(key)) }

var keysIn = regexp.MustCompile(`(dk_[0-9A-Za-z]{8})_[0-9A-Za-z]+`)

// WithoutKeys removes the secret part of API keys from a text, such as the path of a request.
func WithoutKeys(s string) string {
	if !strings.Contains(s, KeyPrefix) {
		return s
	}
	return keysIn.ReplaceAllString(s, "${1}_[redacted]")
}

// errForgedKey marks a key that the server never made.
var errForgedKey = fmt.Errorf("not made by this server: %w", durward.InvalidAPIKey)

// AuthenticateKey verifies an API key and returns its row with the scopes that its user still has. Its
// error wraps InvalidAPIKey if the key is unknown, revoked or expired, or if its user is locked, and
// Forbidden if its user owes a second factor. Keys are not cached, so a revoked key is refused at once.
//
// If one network sends too many forged keys, further forged ones are refused with TooManyAttempts. A
// valid key never is.
func (m *Manager) AuthenticateKey(ctx context.Context, key string, from request.Info) (store.APIKey, error) {
	k, err := m.verifyKey(ctx, key)
	if errors.Is(err, errForgedKey) {
		if wait, ok := m.BadKeys.Network(ctx, from.Addr); !ok {
			return store.APIKey{}, &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: wait, Err: err}
		}
	}
	return k, err
}

func (m *Manager) verifyKey(ctx context.Context, key string) (store.APIKey, error) {
	publicID, _, err := apikey.Parse(KeyPrefix, key)
	if err != nil {
		return store.APIKey{}, fmt.Errorf("account: %w: %w", err, errForgedKey)
	}
	k, u, err := m.DB.APIKeyByPublicID(ctx, publicID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.APIKey{}, err
	}
	// For an unknown public id the comparison runs too, with a hash that no key has.
	hash := keyHash(key)
	same := subtle.ConstantTimeCompare(hash[:], k.Hash[:]) == 1
	now := m.Now()
	switch {
	case err != nil:
		return store.APIKey{}, fmt.Errorf("account: no key %s: %w", KeyPrefix+publicID, errForgedKey)
	case !same:
		return store.APIKey{}, fmt.Errorf("account: wrong secret for the public id of key %s: %w", k.ID, errForgedKey)
	case !k.RevokedAt.IsZero():
		return store.APIKey{}, fmt.Errorf("account: key %s was revoked %s ago: %w",
			k.ID, now.Sub(k.RevokedAt).Truncate(time.Second), durward.InvalidAPIKey)
	case !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt):
		return store.APIKey{}, fmt.Errorf("account: key %s expired %s ago: %w",
			k.ID, now.Sub(k.ExpiresAt).Truncate(time.Second), durward.InvalidAPIKey)
	case !u.LockedAt.IsZero():
		return store.APIKey{}, fmt.Errorf("account: key %s belongs to the locked user %s: %w",
			k.ID, u.ID, durward.InvalidAPIKey)
	}
	if u.OwesFactor() {
		// A key cannot set up the factor.
		return store.APIKey{}, &durward.Refusal{
			Code:   durward.Forbidden,
			Detail: "A second factor is required of the owner of this API key, whose account has none.",
			Hint:   "The owner signs in and sets one up. Then the key works again.",
			Err:    fmt.Errorf("account: key %s of user %s: %w", k.ID, u.ID, ErrOwesFactor),
		}
	}
	if now.Sub(k.LastUsedAt) >= keyUseStep {
		m.useKey(k.ID, now)
	}
	k.Scopes = StillGranted(k.Scopes, u)
	return k, nil
}

// useKey records the use of a key for Run, so that a request does not wait for a write.
func (m *Manager) useKey(id string, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.keyUses) < maxKeyUses {
		m.keyUses[id] = now
	}
}

// Run stores the last use of API keys and reads the costs of imported hashes once a second until ctx
// ends, and stores a last time then. Once an hour it deletes keys that ended long ago, and costs that no
// imported hash has any more.
func (m *Manager) Run(ctx context.Context) {
	store.EverySecond(ctx, m.Log, "read the costs of imported hashes, store the last use of API keys or delete old ones", func(n int) (err error) {
		if n%3600 == 0 {
			err = errors.Join(m.DB.PurgeAPIKeys(ctx, keysKept), m.DB.DropImportedHashes(ctx, costPattern))
		}
		return errors.Join(err, m.ReadImported(ctx), m.writeKeyUses(ctx))
	})
	if err := m.writeKeyUses(ctx); err != nil {
		m.Log.Warn("cannot store the last use of API keys", "error", err)
	}
}

// writeKeyUses stores the last use of keys, also after ctx has ended.
func (m *Manager) writeKeyUses(ctx context.Context) error {
	m.mu.Lock()
	uses := m.keyUses
	m.keyUses = make(map[string]time.Time)
	m.mu.Unlock()
	if len(uses) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	return m.DB.UseAPIKeys(ctx, uses)
}
