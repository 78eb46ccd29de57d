package oauth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/netip"
	"net/url"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/store"
)

// Authentication is the part of a request about its client (RFC 6749 s2.3). Empty parameters count as absent
// (RFC 6749 s3.2).
type Authentication struct {
	Basic       bool // the request has credentials of Basic
	User        string
	Password    string
	ClientID    string // parameters of the body
	Secret      string
	Assertion   bool // the request has a client_assertion
	Unsupported bool // the request has credentials of another scheme
}

// Authenticate returns the enabled client that sent a request. It refuses with InvalidRequest if the request
// authenticates it twice, and with InvalidClient if it does so wrongly. Failures are counted for the network
// of addr; after too many Authenticate refuses with TooManyAttempts.
func (m *Manager) Authenticate(ctx context.Context, a Authentication, addr netip.Addr) (store.Client, error) {
	c, err := m.authenticate(ctx, a)
	if refused, ok := errors.AsType[*Error](err); ok && refused.Code == InvalidClient {
		// Only failures are counted: another client's wrong secrets do not stop a right one.
		if wait, ok := m.c.BadClients.Network(ctx, addr); !ok {
			return store.Client{}, &durward.Refusal{Code: durward.TooManyAttempts, RetryAfter: wait, Err: err}
		}
	}
	return c, err
}

func (m *Manager) authenticate(ctx context.Context, a Authentication) (store.Client, error) {
	methods := 0
	for _, used := range []bool{a.Basic && a.Password != "" || a.Unsupported, a.Secret != "", a.Assertion} {
		if used {
			methods++
		}
	}
	switch {
	case methods > 1:
		// RFC 6749 s2.3
		return store.Client{}, refuse(InvalidRequest, "The request authenticates the client in two ways; send one of them.")
	case a.Unsupported:
		return store.Client{}, badClient("The Authorization field does not have the scheme Basic with an id and a secret.")
	case a.Assertion:
		return store.Client{}, badClient("This server accepts no client_assertion; authenticate with the client secret.")
	case !a.Basic && a.ClientID == "":
		return store.Client{}, badClient("The request names no client.")
	case !a.Basic:
		return m.checkClient(ctx, a.ClientID, a.Secret)
	}
	// RFC 6749 s2.3.1: both parts are form-encoded first. Many programs send them as they are.
	id, secret := formDecoded(a.User), formDecoded(a.Password)
	if a.ClientID != "" && a.ClientID != id && a.ClientID != a.User {
		return store.Client{}, refuse(InvalidRequest, "The parameter client_id is another one than that of the Authorization field.")
	}
	c, err := m.checkClient(ctx, id, secret)
	if refused, ok := errors.AsType[*Error](err); ok && refused.Code == InvalidClient && (id != a.User || secret != a.Password) {
		if raw, err := m.checkClient(ctx, a.User, a.Password); err == nil {
			return raw, nil
		}
	}
	return c, err
}

func formDecoded(text string) string {
	if decoded, err := url.QueryUnescape(text); err == nil {
		return decoded
	}
	return text
}

// checkClient returns the client with an id, if the secret is one of its own. A public client has none, and no
// confidential client authenticates without one.
func (m *Manager) checkClient(ctx context.Context, id, secret string) (store.Client, error) {
	c, secrets, err := m.c.DB.ClientWithSecrets(ctx, id)
	err = refuseDisabled(c, err)
	if refused, ok := errors.AsType[*Error](err); ok {
		return c, badClient("The client is not known, or its authentication is wrong.", refused.Err)
	} else if err != nil {
		return c, err
	}
	if c.Auth == store.ClientPublic {
		if secret != "" {
			return store.Client{}, badClient("The client is not known, or its authentication is wrong.", fmt.Errorf("the client %s is public and has no secret", id))
		}
		return c, nil
	}
	if secret == "" {
		return store.Client{}, badClient("The client is not known, or its authentication is wrong.", fmt.Errorf("the client %s sent no secret", id))
	}
	sum := sha256.Sum256([]byte(secret))
	right := 0
	for _, s := range secrets {
		right |= subtle.ConstantTimeCompare(sum[:], s[:])
	}
	if right == 0 {
		return store.Client{}, badClient("The client is not known, or its authentication is wrong.", fmt.Errorf("the client %s sent a secret that is not one of its %d", id, len(secrets)))
	}
	return c, nil
}

// badClient returns the refusal of a client that did not authenticate. A cause is for the log alone.
func badClient(description string, causes ...error) *Error {
	e := &Error{Code: InvalidClient, Description: description, Cause: durward.InvalidCredentials, Err: errors.Join(causes...)}
	if e.Err == nil {
		e.Err = errors.New(description)
	}
	return e
}
