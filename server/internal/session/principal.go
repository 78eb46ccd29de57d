package session

import (
	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/store"
)

// DirectPrincipal returns the principal of a user who authenticates each request. It has no session
// and no token that could be revoked.
func (m *Manager) DirectPrincipal(proof account.Proof) *durward.Principal {
	return &durward.Principal{
		Subject:  proof.User.ID,
		Issuer:   m.c.Issuer.URL(),
		ClientID: FirstParty,
		Scopes:   account.ScopesOf(proof.User),
		ACR:      proof.ACR,
		AMR:      proof.Methods,
		AuthTime: proof.At,
	}
}

// KeyPrincipal returns the principal of a request with an API key. It has no session and no sign-in
// that could be stepped up. Its ClientID is the public part of the key.
func (m *Manager) KeyPrincipal(k store.APIKey) *durward.Principal {
	return &durward.Principal{
		Subject:  k.UserID,
		Issuer:   m.c.Issuer.URL(),
		ClientID: account.KeyShown(k),
		Scopes:   k.Scopes,
		Expires:  k.ExpiresAt,
	}
}
