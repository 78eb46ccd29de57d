package durward

import (
	"context"
	"net/http"
)

// Scheme is one way of showing who one is.
type Scheme interface {
	Presented(r *http.Request) (found, ambient bool)
	Authenticate(r *http.Request) (*Principal, error)
	Challenges(r *http.Request, code Code) []Challenge
}

type bearer struct {
	Scheme
	verify func(context.Context, string) (*Principal, error)
}

// Bearer is the scheme of RFC 6750.
func Bearer(verify func(ctx context.Context, token string) (*Principal, error)) Scheme {
	return &bearer{verify: verify}
}
