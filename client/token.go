package client

import (
	"context"
	"crypto/rand"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"
)

// A Token is an access token with the refresh token that gets the next one. It is a secret.
type Token struct {
	Access         string    `json:"access_token"`
	Type           string    `json:"token_type"`               // "Bearer" or "DPoP"; empty means Bearer
	Received       time.Time `json:"received"`                 // when the client asked for it, by this machine's clock
	Expires        time.Time `json:"expires,omitzero"`         // of Access, by the same clock; zero if unknown
	Refresh        string    `json:"refresh_token,omitempty"`  // changes with each use
	RefreshExpires time.Time `json:"refresh_expires,omitzero"` // zero if unknown
	Scope          string    `json:"scope,omitempty"`          // as granted

	// Claims is set only in the argument of TokensConfig.Next, after an API answered with a claims
	// challenge (Microsoft Entra ID): the claims that the new token needs, a JSON object that the
	// token endpoint receives as its parameter claims. [OAuth] sends it.
	Claims string `json:"-"`
}

// String returns type and end of the token, not its value.
func (t Token) String() string {
	if t.Access == "" {
		return "no token"
	}
	return fmt.Sprintf("%s token until %s", t.Type, t.Expires.Format(time.RFC3339))
}

// GoString returns the same as String, for the verb %#v.
func (t Token) GoString() string { return t.String() }

// fresh reports whether the access token can be sent. If the clock was set back since the token was
// received, its end is unknown: then it is sent until the server refuses it.
func (t Token) fresh(now time.Time) bool {
	return t.Access != "" && (t.Expires.IsZero() || now.Before(t.Expires) || now.Before(t.Received))
}

// hasScheme reports whether there is an authentication scheme for the token's type.
func (t Token) hasScheme() bool {
	return t.Type == "" || strings.EqualFold(t.Type, "Bearer") || t.bound()
}

// bound reports whether the token is bound to a DPoP key.
func (t Token) bound() bool { return strings.EqualFold(t.Type, "DPoP") }

// earlyRefresh returns a random time between 70 and 90 % of the token's life, or the zero time if
// the life is unknown.
func (t Token) earlyRefresh() time.Time {
	life := t.Expires.Sub(t.Received)
	if t.Received.IsZero() || t.Expires.IsZero() || life <= 0 {
		return time.Time{}
	}
	spread, _ := rand.Int(rand.Reader, big.NewInt(int64(life/5)+1)) // crypto/rand.Reader never fails
	return t.Received.Add(life/10*7 + time.Duration(spread.Int64()))
}

// A TokenStore keeps a token for all processes that share the store.
type TokenStore interface {
	// Load returns the stored token, or the zero Token if there is none.
	Load(ctx context.Context) (Token, error)

	// Update calls change with the stored token and stores its result before it returns. No other
	// process updates the token meanwhile. The zero Token empties the store. If change returns an
	// error, Update stores nothing and returns that error.
	Update(ctx context.Context, change func(ctx context.Context, stored Token) (Token, error)) error
}

// A MemoryStore keeps a token in this process. The zero MemoryStore is empty and ready for use.
type MemoryStore struct {
	updating sync.Mutex // held during change; change may call a server

	mu    sync.Mutex
	token Token
}

// Load returns the token. It does not wait for Update.
func (m *MemoryStore) Load(context.Context) (Token, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.token, nil
}

// Update changes the token.
func (m *MemoryStore) Update(ctx context.Context, change func(context.Context, Token) (Token, error)) error {
	m.updating.Lock()
	defer m.updating.Unlock()
	stored, _ := m.Load(ctx) // it never fails
	next, err := change(ctx, stored)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.token = next
	return nil
}
