package httpapi

import (
	"context"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
)

// basic is the scheme by which programs that know no tokens send a person's
// address and password with each request (RFC 7617). It counts failures with
// those of the sign-in. A right pair is remembered for a minute, unless the
// account changes.
func (s *Server) basic() durward.Scheme {
	at := func(ctx context.Context) request.Info { return request.Info{Addr: durward.ClientAddr(ctx)} }
	check := func(ctx context.Context, email, password string) (*durward.Principal, error) {
		proof, err := s.c.People.Authenticate(ctx, email, password, at(ctx))
		if err != nil {
			return nil, err
		}
		return s.c.Issuer.Direct(proof), nil
	}
	standing := func(ctx context.Context, email string) (string, error) {
		return s.c.People.Standing(ctx, email, at(ctx))
	}
	return durward.Basic(durward.Remember(check, standing))
}

// apiKeys is the scheme by which programs send a key with each request.
func (s *Server) apiKeys() durward.Scheme {
	return durward.APIKey(account.KeyPrefix, func(ctx context.Context, key string) (*durward.Principal, error) {
		k, err := s.c.People.AuthenticateKey(ctx, key, request.Info{Addr: durward.ClientAddr(ctx)})
		if err != nil {
			return nil, err
		}
		return s.c.Issuer.Keyed(k), nil
	})
}

// cookies is the scheme of people who signed in with use_cookies.
func (s *Server) cookies() durward.Scheme {
	return durward.Cookie(sessionCookie, func(ctx context.Context, value string) (*durward.Principal, error) {
		return s.c.Issuer.Cookie(ctx, value, !durward.Rechecking(ctx))
	})
}
