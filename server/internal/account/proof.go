package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/store"
)

// Proof records how and when a user proved their identity. Session rules copy it into the session
// and its tokens.
type Proof struct {
	User    store.User
	Methods []string  // authentication methods, the claim amr (RFC 8176)
	ACR     string    // authentication context class reference, the claim acr
	At      time.Time // when the last method was verified, the claim auth_time
}

// oneFactor is the ACR of a password alone.
const oneFactor = "urn:durward:acr:1fa"

// passwordProof returns the Proof of u after a correct password. It refuses a locked user with
// AccountDisabled. No other code turns a correct password into a Proof, so a check for a missing
// second factor belongs here.
func (m *Manager) passwordProof(u store.User) (Proof, error) {
	if !u.LockedAt.IsZero() {
		return Proof{}, fmt.Errorf("account: %s is locked since %s: %w",
			u.ID, u.LockedAt.UTC().Format(time.RFC3339), durward.AccountDisabled)
	}
	return Proof{User: u, Methods: []string{"pwd"}, ACR: oneFactor, At: m.Now()}, nil
}

// StrongestACR returns the strongest ACR that the user of a principal can reach. Users have no
// second factors yet.
func (m *Manager) StrongestACR(context.Context, *durward.Principal) (string, error) {
	return oneFactor, nil
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
