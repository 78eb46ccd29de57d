package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/pwhash"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// Proof records how and when a user proved their identity.
type Proof = store.Proof

// passwordProof returns the Proof of u after a correct password. It refuses as mayNotSignIn does, and a user
// with a second factor with a *FactorRequired. No other code turns a correct password into a Proof.
func (m *Manager) passwordProof(u store.User) (Proof, error) {
	if err := m.mayNotSignIn(u); err != nil {
		return Proof{}, err
	}
	p := Proof{User: u, Methods: []string{amrPassword}, ACR: oneFactor, At: m.Now()}
	if !u.SecondFactorAt.IsZero() {
		return Proof{}, &FactorRequired{p}
	}
	return p, nil
}

// mayNotSignIn refuses a locked user with AccountDisabled, and one who has to confirm the address with
// EmailUnverified. It is called after correct credentials only, since the refusals tell who has an account.
func (m *Manager) mayNotSignIn(u store.User) error {
	switch {
	case !u.LockedAt.IsZero():
		return refuseLocked(u)
	case m.VerifyEmail && u.Unverified:
		return fmt.Errorf("account: %s has not confirmed the address: %w", u.ID, durward.EmailUnverified)
	}
	return nil
}

// refuseLocked refuses a locked user after a correct password.
func refuseLocked(u store.User) error {
	return fmt.Errorf("account: %s is locked since %s: %w",
		u.ID, u.LockedAt.UTC().Format(time.RFC3339), durward.AccountDisabled)
}

// Authenticate verifies an e-mail address and a password. Its error wraps InvalidCredentials if
// either is wrong, AccountDisabled if the password is correct but the user is locked, or
// TooManyAttempts. It is a *FactorRequired if the password is correct and the user has a second factor.
// An unknown address costs the same work as a known one.
func (m *Manager) Authenticate(ctx context.Context, email, password string, from request.Info) (Proof, error) {
	return m.authenticate(ctx, email, password, from, false)
}

// AuthenticateAlone is Authenticate for clients that can send nothing but a password, such as those of
// Basic. A user with a second factor is refused with InvalidCredentials, as for a wrong password: with
// another response, an attacker could find the password of such a user here, and save the second factor
// for the sign-in. Only the log has the reason. A user who owes a second factor is refused with
// EnrolmentRequired.
func (m *Manager) AuthenticateAlone(ctx context.Context, email, password string, from request.Info) (Proof, error) {
	p, err := m.authenticate(ctx, email, password, from, true)
	if err == nil {
		err = CheckFactor(ctx, p.User) // of a user who has no factor, so the response helps no attacker
	}
	return p, err
}

func (m *Manager) authenticate(ctx context.Context, email, password string, from request.Info, alone bool) (Proof, error) {
	var u store.User
	address, key, err := canonicalEmail(email)
	if err != nil {
		// No user has such an address. It is counted and hashed like a possible one.
		key = emailKey(email)
		key = key[:min(len(key), maxEmail)]
	} else if u, err = m.userByKey(ctx, address, key); err == nil {
		key = u.EmailKey
	} else if !errors.Is(err, store.ErrNotFound) {
		return Proof{}, err
	}
	// A flood of strangers must not keep a user out who signs in where they signed in before. The same
	// query runs for an unknown user.
	known := from.Cookie != "" && from.Cookie == u.ID
	if !known {
		place := store.Place{Network: from.Network(), Browser: from.Browser()}
		if known, err = m.DB.KnownPlace(ctx, u.ID, place, m.Now()); err != nil {
			return Proof{}, err
		}
	}
	device, err := m.knownDevice(ctx, u.ID, from)
	if err != nil {
		return Proof{}, err
	}
	if known || device != "" {
		ctx = pwhash.First(ctx)
	}
	if err := m.verify(ctx, &u, key, limits.Try{Device: device}, password, from, alone, nil); err != nil {
		return Proof{}, err
	}
	return m.passwordProof(u)
}

// Reauthenticate verifies the password of a signed-in user. It refuses as Authenticate does and
// shares its failure counters. If count is not nil, Reauthenticate calls it before it verifies the
// password, and returns its error; a try that the counters refuse does not call it. That limits the failures
// of the client's session, for which no lock of the account holds.
func (m *Manager) Reauthenticate(
	ctx context.Context, userID, password string, from request.Info, count func(context.Context) error,
) (Proof, error) {
	u, err := m.DB.UserByID(ctx, userID)
	if err != nil {
		return Proof{}, err
	}
	device, err := m.knownDevice(ctx, u.ID, from)
	if err != nil {
		return Proof{}, err
	}
	ctx = pwhash.First(ctx) // the client holds a session
	try := limits.Try{Device: device, SignedIn: count != nil}
	if err := m.verify(ctx, &u, u.EmailKey, try, password, from, false, count); err != nil {
		return Proof{}, err
	}
	return m.passwordProof(u)
}

// CredentialVersion returns a text that changes whenever a cached result of Authenticate must be
// discarded: with the password, a second factor or its requirement, a lock and the rights of the user. It refuses with
// TooManyAttempts if Authenticate would, and with InvalidCredentials if no user has the address.
func (m *Manager) CredentialVersion(ctx context.Context, email string, from request.Info) (string, error) {
	u, err := m.ByEmail(ctx, email)
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, durward.InvalidRequest):
		return "", fmt.Errorf("account: no such account: %w", durward.InvalidCredentials)
	case err != nil:
		return "", err
	case m.Limits.Blocked(ctx, failureKey(u.EmailKey, u), from.Addr):
		return "", fmt.Errorf("account: blocked for this network, or locked: %w", durward.TooManyAttempts)
	}
	return fmt.Sprintf("%s %s %d %d %t %t", u.ID, u.Password, u.LockedAt.UnixMicro(), u.SecondFactorAt.UnixMicro(), u.Admin, u.OwesFactor()), nil
}

// failureKey returns the account of limits.Try for a user, or for an unknown one with the normalized address
// key. An unlock by the operator changes it, at all nodes at once, so that earlier failures count no more.
func failureKey(key string, u store.User) string {
	if u.Unlocks == 0 {
		return key
	}
	return fmt.Sprintf("%s\x00%d", key, u.Unlocks)
}

// verify verifies a password within the limits. key is the normalized address. u is the zero User if the user
// is unknown. try has the fields of beginAttempt. If verify replaces an outdated hash, u has the new one. It
// calls count, if it is not nil, before it computes a hash. With alone, the password of a user with a
// second factor counts as wrong.
func (m *Manager) verify(
	ctx context.Context, u *store.User, key string, try limits.Try, password string, from request.Info, alone bool,
	count func(context.Context) error,
) error {
	if err := m.Hasher.Busy(ctx); err != nil { // before the try leaves anything in the counters
		return unavailable(err)
	}
	attempt, err := m.beginAttempt(ctx, key, *u, try, from)
	if err != nil {
		return err
	}
	defer attempt.Cancel() // no effect after Fail or Succeed
	if err := m.countHash(ctx, from); err != nil {
		m.recordRefused(key, u.ID, "too many attempts", from)
		return err
	}
	if count != nil {
		if err := count(ctx); err != nil {
			return err
		}
	}

	right, rehash, err := m.Hasher.Verify(ctx, u.Password, password)
	switch {
	case errors.Is(err, pwhash.ErrMalformed): // right is false, after the same work
		m.Log.Error("stored password hash is malformed or too costly; set a new password for the user", "user", u.ID, "error", err)
	case err != nil:
		return unavailable(err)
	}
	needsFactor := !u.SecondFactorAt.IsZero()
	if !right || u.ID == "" || alone && needsFactor {
		attempt.Fail(password)
		reason := "wrong password"
		switch {
		case u.ID == "":
			reason = "no such account"
		case right:
			reason = "password without the second factor"
		}
		m.recordRefused(key, u.ID, reason, from)
		return fmt.Errorf("account: %s: %w", reason, durward.InvalidCredentials)
	}
	if !needsFactor { // else the second factor decides whether the try succeeds
		attempt.Succeed()
	}
	if rehash {
		hash, err := m.hash(ctx, password, from)
		if err == nil {
			err = m.DB.SetPasswordHash(ctx, u.ID, u.Password, hash)
		}
		if err != nil {
			m.Log.Warn("could not store a new hash of the password; the next sign-in tries again", "user", u.ID, "error", err)
			return nil
		}
		u.Password = hash
	}
	return nil
}

// beginAttempt begins a try of a secret of u, or of an unknown user with the normalized address key. The
// caller sets Device and SignedIn of t. It refuses with TooManyAttempts.
func (m *Manager) beginAttempt(ctx context.Context, key string, u store.User, t limits.Try, from request.Info) (*limits.Attempt, error) {
	t.Account, t.Addr = failureKey(key, u), from.Addr
	attempt, err := m.Limits.Begin(ctx, t)
	if blocked, ok := errors.AsType[*limits.Blocked](err); ok {
		m.recordRefused(key, u.ID, "too many attempts", from)
		err = fmt.Errorf("account: %w", err)
		return nil, &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: blocked.RetryAfter, Err: err}
	}
	return attempt, err
}

// recordRefused records a refused sign-in in the security log.
func (m *Manager) recordRefused(key, userID, reason string, from request.Info) {
	m.SecurityLog.AddSignIn(key, from.Event(store.EventSignInRefused, reason, userID, "", m.Now()))
}

// recordRefusedFactor records a refused second factor as a refused sign-in.
func (m *Manager) recordRefusedFactor(u store.User, factor, reason string, from request.Info) {
	event := from.Event(store.EventSignInRefused, reason, u.ID, "", m.Now())
	event.Detail = store.WithFactor + factor
	m.SecurityLog.AddSignIn(u.EmailKey, event)
}

// RefuseChanged refuses with code if err says that the user or the session changed after the
// credentials were verified. It returns any other error unchanged.
func RefuseChanged(err error, code durward.Code) error {
	if errors.Is(err, store.ErrChanged) {
		return fmt.Errorf("account: locked, signed out or given another password since the credentials were verified: %w: %w",
			err, code)
	}
	return err
}
