package account

import (
	"context"
	"errors"
	"fmt"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/pwhash"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// Authenticate verifies an e-mail address and a password. Its error wraps InvalidCredentials if
// either is wrong, AccountDisabled if the password is correct but the user is locked, or
// TooManyAttempts. An unknown address costs the same work as a known one.
func (m *Manager) Authenticate(ctx context.Context, email, password string, from request.Info) (Proof, error) {
	_, key, err := canonicalEmail(email)
	if err != nil {
		// Nobody has such an address; it is counted and hashed like one that
		// somebody could have.
		key = emailKey(email)
		if len(key) > maxEmail {
			key = key[:maxEmail]
		}
	}
	var u store.User
	known := false
	if err == nil {
		u, err = m.DB.UserByEmailKey(ctx, key)
		switch {
		case err == nil:
			known = true
		case !errors.Is(err, store.ErrNotFound):
			return Proof{}, err
		}
	}
	if err := m.verify(ctx, &u, known, key, password, from); err != nil {
		return Proof{}, err
	}
	return m.passwordProof(u)
}

// ErrBlocked marks the failure of Reauthenticate that blocked the account for this network.
var ErrBlocked = errors.New("account: blocked after too many wrong passwords")

// Reauthenticate verifies the password of a user who is already signed in. It refuses as
// Authenticate does and shares its failure counters.
func (m *Manager) Reauthenticate(ctx context.Context, userID, password string, from request.Info) (Proof, error) {
	u, err := m.DB.UserByID(ctx, userID)
	if err != nil {
		return Proof{}, err
	}
	if err := m.verify(ctx, &u, true, u.EmailKey, password, from); err != nil {
		if errors.Is(err, durward.InvalidCredentials) && m.Limits.Blocked(ctx, u.EmailKey, from.Addr) {
			err = fmt.Errorf("%w: %w", ErrBlocked, err)
		}
		return Proof{}, err
	}
	return m.passwordProof(u)
}

// CredentialVersion returns a text that changes whenever a cached result of Authenticate must be
// discarded: with the password, a lock and the rights of the user. It refuses with TooManyAttempts if
// Authenticate would, and with InvalidCredentials if no user has the address.
func (m *Manager) CredentialVersion(ctx context.Context, email string, from request.Info) (string, error) {
	u, err := m.ByEmail(ctx, email)
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, durward.InvalidRequest):
		return "", fmt.Errorf("account: no such account: %w", durward.InvalidCredentials)
	case err != nil:
		return "", err
	case m.Limits.Blocked(ctx, u.EmailKey, from.Addr):
		return "", fmt.Errorf("account: blocked for this network: %w", durward.TooManyAttempts)
	}
	return fmt.Sprintf("%s %s %d %t", u.ID, u.Password, u.LockedAt.UnixMicro(), u.Admin), nil
}

// verify checks one password within the limits. u is the zero User where known is
// false, and gets the newer hash where one was made; key is what failures are
// counted under.
func (m *Manager) verify(ctx context.Context, u *store.User, known bool, key, password string, from request.Info) error {
	attempt, err := m.Limits.Begin(ctx, key, from.Addr)
	if err != nil {
		var blocked *limits.Blocked
		if errors.As(err, &blocked) {
			m.recordRefused(key, u.ID, "too many attempts", from)
			return &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: blocked.RetryAfter, Err: fmt.Errorf("account: %w", err)}
		}
		return err
	}
	defer attempt.Cancel() // where nothing below has decided

	right, rehash, err := m.Hasher.Verify(ctx, u.Password, password)
	switch {
	case errors.Is(err, pwhash.ErrMalformed): // right is false, after the same work
		m.Log.Error("a stored password cannot be read: set a new one", "user", u.ID, "error", err)
	case err != nil:
		return unavailable(err)
	}
	if !right || !known {
		attempt.Fail(password)
		why := "wrong password"
		if !known {
			why = "no such account"
		}
		m.recordRefused(key, u.ID, why, from)
		return fmt.Errorf("account: %s: %w", why, durward.InvalidCredentials)
	}
	attempt.Succeed()
	if rehash {
		hash, err := m.Hasher.Hash(ctx, password)
		if err == nil {
			err = m.DB.SetPasswordHash(ctx, u.ID, u.Password, hash)
		}
		if err != nil { // the next sign-in tries again
			m.Log.Warn("a password could not be hashed anew", "user", u.ID, "error", err)
			return nil
		}
		u.Password = hash
	}
	return nil
}

// recordRefused records a refused sign-in in the security log.
func (m *Manager) recordRefused(key, userID, reason string, from request.Info) {
	e := from.Event(store.EventSignInRefused, reason, m.Now())
	e.UserID = userID
	m.SecurityLog.AddSignIn(key, e)
}
