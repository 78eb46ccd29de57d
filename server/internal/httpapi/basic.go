package httpapi

import (
	"context"

	"github.com/durward-auth/durward"
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
