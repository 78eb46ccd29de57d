package httpapi

import (
	"context"
	"slices"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/session"
)

// Schemes are the authentication schemes of one server, each for use in durward.Policy.
type Schemes struct {
	Bearer durward.Scheme // access tokens
	APIKey durward.Scheme
	Cookie durward.Scheme // session cookie; its challenge is Session
	DPoP   durward.Scheme // nil if off
	Basic  durward.Scheme // nil if off
}

// newSchemes returns the schemes that c asks for. There is one DPoP scheme for all routes,
// because it remembers used proofs: a proof is accepted once, at whichever route.
func newSchemes(c Config) Schemes {
	s := Schemes{
		Bearer: c.Issuer.Verifier().Scheme(),
		APIKey: durward.APIKey(account.KeyPrefix, func(ctx context.Context, key string) (*durward.Principal, error) {
			k, err := c.Accounts.AuthenticateKey(ctx, key, addressOf(ctx))
			if err != nil {
				return nil, err
			}
			return c.Sessions.KeyPrincipal(k), nil
		}),
		// The cookie of a sign-in with use_cookies. Checking a request again does not extend the session.
		Cookie: durward.Cookie(sessionCookie, func(ctx context.Context, value string) (*durward.Principal, error) {
			return c.Sessions.AuthenticateCookie(ctx, value, !durward.Rechecking(ctx))
		}),
	}
	if c.DPoP {
		// The key of the nonces is random, so a proof that another node has accepted, or this node
		// before a restart, is not accepted here. With c.Proofs the nodes share key and used proofs.
		s.DPoP = c.Issuer.Verifier().DPoP(jwt.DPoPConfig{Nonces: true, Shared: c.Proofs})
	}
	if c.Basic {
		s.Basic = basicScheme(c.Accounts, c.Sessions)
	}
	return s
}

// all returns the schemes that are on.
func (s Schemes) all() []durward.Scheme {
	all := []durward.Scheme{s.Bearer, s.APIKey, s.Cookie, s.DPoP, s.Basic}
	return slices.DeleteFunc(all, func(scheme durward.Scheme) bool { return scheme == nil })
}

// basicScheme accepts the e-mail address and password of a user with each request (RFC 7617), for
// programs that cannot use tokens. Failures count together with those of sign-ins. A successful
// check is cached for a minute, until the account changes.
func basicScheme(accounts *account.Manager, sessions *session.Manager) durward.Scheme {
	check := func(ctx context.Context, email, password string) (*durward.Principal, error) {
		proof, err := accounts.Authenticate(ctx, email, password, addressOf(ctx))
		if err != nil {
			return nil, err
		}
		return sessions.DirectPrincipal(proof), nil
	}
	version := func(ctx context.Context, email string) (string, error) {
		return accounts.CredentialVersion(ctx, email, addressOf(ctx))
	}
	return durward.Basic(durward.Remember(check, version))
}

// addressOf returns the client address of a request, without its user agent.
func addressOf(ctx context.Context) request.Info { return request.Info{Addr: durward.ClientAddr(ctx)} }
