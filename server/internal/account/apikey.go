package account

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// Bounds on API keys.
const (
	maxKeys    = 100                       // live ones of a person
	maxKeyLife = 10 * 365 * 24 * time.Hour // of one that has an end
	keysKept   = 30 * 24 * time.Hour       // after their end
	keyUseStep = time.Minute               // how exact the last use is
	maxKeyUses = 10_000                    // uses held between two writes
)

// NewKey is what an API key is made from.
type NewKey struct {
	Name   string
	Scopes []string      // nil is profile
	Life   time.Duration // 0 is no end
}

// CreateKey makes an API key for the maker, and returns what is kept of it and
// the key itself, which is nowhere else. It refuses with InvalidRequest, which
// names the member that is wrong: a key never has a scope that its maker lacks,
// whatever the person may; with Forbidden where there are too many; with
// TokenRevoked where the maker's session has ended or the person was locked.
func (m *Manager) CreateKey(ctx context.Context, maker *durward.Principal, n NewKey, from request.Info) (store.APIKey, seal.Secret, error) {
	name, err := cleanName(n.Name)
	switch {
	case err != nil:
		return store.APIKey{}, "", err
	case name == "":
		return store.APIKey{}, "", mistake("name", "The key has no name.", "Say what it is for, so that it can be told from others.")
	case n.Life < 0 || n.Life > maxKeyLife || n.Life > 0 && n.Life < time.Second:
		return store.APIKey{}, "", mistake("expires_in", "The life of the key is not one that is possible.", fmt.Sprintf("From 1 to %d seconds; leave it out for a key without an end.", int64(maxKeyLife/time.Second)))
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
			return store.APIKey{}, "", mistake("scopes", "A key cannot have a scope that its maker lacks.", "You have: "+strings.Join(most, " ")+".")
		}
		if slices.Contains(scopes[:i], s) {
			return store.APIKey{}, "", mistake("scopes", "A scope is there twice.", "Name each once.")
		}
	}
	if len(scopes) == 0 {
		return store.APIKey{}, "", mistake("scopes", "A key without a scope could do nothing.", "Leave the member out for the scope profile.")
	}
	now := m.Now().Truncate(time.Microsecond)
	k, key := m.drawKey(maker, now)
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

// RotateKey puts a new key in the place of a live one of the maker's, which is
// dead when RotateKey returns: there is no grace. Name and end stay, and so do
// the scopes that the person still has. It refuses with store.ErrNotFound where
// the maker has no such key; with Forbidden where none of its scopes is left, or
// the maker lacks one; with TokenRevoked as CreateKey does.
func (m *Manager) RotateKey(ctx context.Context, maker *durward.Principal, id string, from request.Info) (store.APIKey, seal.Secret, error) {
	old, err := m.DB.APIKeyByID(ctx, id)
	if err != nil {
		return store.APIKey{}, "", err
	}
	if old.UserID != maker.Subject {
		return store.APIKey{}, "", fmt.Errorf("account: key %s is somebody else's: %w", id, store.ErrNotFound)
	}
	u, err := m.DB.UserByID(ctx, maker.Subject)
	if err != nil {
		return store.APIKey{}, "", err
	}
	scopes := StillGranted(old.Scopes, u)
	may := durward.Principal{Scopes: givable(maker.Scopes)}
	if len(scopes) == 0 || !may.HasScope(scopes...) {
		return store.APIKey{}, "", &durward.Refusal{Code: durward.Forbidden, Detail: "The key has scopes that you lack.", Hint: "Revoke it and make another.",
			Err: fmt.Errorf("account: key %s has scope %q, left are %q, the maker has %q", id, old.Scopes, scopes, maker.Scopes)}
	}
	k, key := m.drawKey(maker, m.Now().Truncate(time.Microsecond))
	k.Name, k.Scopes, k.ExpiresAt = old.Name, scopes, old.ExpiresAt
	event := keyEvent(store.EventAPIKeyRotated, k, from)
	event.Detail += ", in place of " + KeyShown(old)
	if err := refuseKey(m.DB.RotateAPIKey(ctx, id, k, event)); err != nil {
		return store.APIKey{}, "", err
	}
	return k, key, nil
}

// RevokeKey ends a key of a person: it is dead when RevokeKey returns. It returns
// store.ErrNotFound where the person has no such key.
func (m *Manager) RevokeKey(ctx context.Context, userID, id, sessionID string, from request.Info) error {
	k, err := m.DB.APIKeyByID(ctx, id)
	if err != nil {
		return err
	}
	event := keyEvent(store.EventAPIKeyRevoked, k, from)
	event.UserID, event.SessionID, event.At = userID, sessionID, m.Now()
	return m.DB.RevokeAPIKey(ctx, id, userID, event)
}

// RevokeAnyKey ends a key that is named by its id or by the part that may be
// shown, whoever it is of: the operator's deed. It returns the key that was, or
// store.ErrNotFound.
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

// KeyShown is the part of a key that may be shown, by which its owner knows it.
func KeyShown(k store.APIKey) string { return KeyPrefix + k.PublicID }

// drawKey makes a key of the maker's.
func (m *Manager) drawKey(maker *durward.Principal, now time.Time) (store.APIKey, seal.Secret) {
	text := newKeyText()
	return store.APIKey{
		ID: store.NewID(), UserID: maker.Subject, SessionID: maker.SessionID, CreatedAt: now,
		PublicID: text.publicID, Hash: text.hash(),
	}, seal.Secret(text.text())
}

func keyEvent(kind string, k store.APIKey, from request.Info) store.Event {
	event := from.Event(kind, "ok", k.CreatedAt)
	event.UserID, event.SessionID, event.Detail = k.UserID, k.SessionID, "key "+KeyShown(k)
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

// errNeverAKey marks a key that was never one of ours.
var errNeverAKey = fmt.Errorf("never made: %w", durward.InvalidAPIKey)

// AuthenticateKey judges an API key. It returns what is kept of it, with the
// scopes that the person still has, or an error that wraps InvalidAPIKey, whether
// the key is unknown, revoked, past its end or of somebody who is locked. It is
// read from the store each time, so that nothing dead is remembered.
//
// Where one network sends too many that were never made, those are refused with
// TooManyAttempts; a good one never is.
func (m *Manager) AuthenticateKey(ctx context.Context, key string, from request.Info) (store.APIKey, error) {
	k, err := m.judgeKey(ctx, key)
	if errors.Is(err, errNeverAKey) && m.BadKeys != nil {
		if wait, ok := m.BadKeys.Bad(ctx, from.Addr); !ok {
			return store.APIKey{}, &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: wait, Err: err}
		}
	}
	return k, err
}

func (m *Manager) judgeKey(ctx context.Context, key string) (store.APIKey, error) {
	text, err := parseKeyText(key)
	if err != nil {
		return store.APIKey{}, fmt.Errorf("account: %w: %w", err, errNeverAKey)
	}
	k, u, err := m.DB.APIKeyByPublicID(ctx, text.publicID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return store.APIKey{}, err
	}
	// An unknown public id is compared too, with a hash that no key has.
	hash := text.hash()
	same := subtle.ConstantTimeCompare(hash[:], k.Hash[:]) == 1
	now := m.Now()
	switch {
	case err != nil:
		return store.APIKey{}, fmt.Errorf("account: no key %s: %w", KeyPrefix+text.publicID, errNeverAKey)
	case !same:
		return store.APIKey{}, fmt.Errorf("account: another key than %s of that public id: %w", k.ID, errNeverAKey)
	case !k.RevokedAt.IsZero():
		return store.APIKey{}, fmt.Errorf("account: key %s was revoked %s ago: %w", k.ID, now.Sub(k.RevokedAt).Truncate(time.Second), durward.InvalidAPIKey)
	case !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt):
		return store.APIKey{}, fmt.Errorf("account: key %s ended %s ago: %w", k.ID, now.Sub(k.ExpiresAt).Truncate(time.Second), durward.InvalidAPIKey)
	case !u.LockedAt.IsZero():
		return store.APIKey{}, fmt.Errorf("account: key %s is of %s, who is locked: %w", k.ID, u.ID, durward.InvalidAPIKey)
	}
	if now.Sub(k.LastUsedAt) >= keyUseStep {
		m.keyUses.add(k.ID, now)
	}
	k.Scopes = StillGranted(k.Scopes, u)
	return k, nil
}

// keyUses holds when keys were used until that is written, outside the path of a
// request.
type keyUses struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (u *keyUses) add(id string, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.at == nil {
		u.at = make(map[string]time.Time)
	}
	if len(u.at) < maxKeyUses {
		u.at[id] = now
	}
}

func (u *keyUses) take() map[string]time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	at := u.at
	u.at = nil
	return at
}

// Run stores the last use of API keys once a second until ctx ends, and a last time then. Once an
// hour it deletes keys that ended long ago.
func (m *Manager) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var purged time.Time
	for ended := false; !ended; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			ended = true
		}
		write, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		m.writeKeyUses(write)
		if now := m.Now(); now.Sub(purged) > time.Hour && !ended {
			purged = now
			if err := m.DB.PurgeAPIKeys(write, now.Add(-keysKept)); err != nil {
				m.Log.Warn("cannot delete old API keys", "error", err)
			}
		}
		cancel()
	}
}

// writeKeyUses writes down when keys were used.
func (m *Manager) writeKeyUses(ctx context.Context) {
	uses := m.keyUses.take()
	if len(uses) == 0 {
		return
	}
	if err := m.DB.UseAPIKeys(ctx, uses); err != nil {
		m.Log.Warn("the last use of keys could not be written down", "keys", len(uses), "error", err)
	}
}
