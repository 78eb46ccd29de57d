package jwt

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/durward-auth/durward"
)

// Issuers is verifiers of several issuers for one service. A token is judged by
// the one verifier whose issuer it names, and by that one's keys alone (RFC 8725
// s3.8).
type Issuers struct{ of map[string]*Verifier }

// NewIssuers returns the verifiers as one. Two of one issuer are an error.
func NewIssuers(verifiers ...*Verifier) (*Issuers, error) {
	s := &Issuers{of: make(map[string]*Verifier, len(verifiers))}
	var errs []error
	for _, v := range verifiers {
		switch {
		case v == nil:
			errs = append(errs, errors.New("jwt: a nil Verifier"))
		case s.of[v.c.Issuer] != nil:
			errs = append(errs, fmt.Errorf("jwt: two verifiers of issuer %q: which one would judge a token?", v.c.Issuer))
		default:
			s.of[v.c.Issuer] = v
		}
	}
	if len(verifiers) == 0 {
		errs = append(errs, errors.New("jwt: no verifier: nobody's tokens would be taken"))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

// Scheme returns the Bearer scheme that takes the tokens of all these issuers.
func (s *Issuers) Scheme() durward.Scheme { return durward.Bearer(s.Verify) }

// Verify judges a token by the verifier of its issuer, as [Verifier.Verify] does. A
// token of no known issuer is [durward.InvalidToken].
func (s *Issuers) Verify(ctx context.Context, token string) (*durward.Principal, error) {
	if len(token) > maxToken {
		return nil, fmt.Errorf("jwt: token of %d octets, at most %d are read: %w", len(token), maxToken, durward.InvalidToken)
	}
	w := workings.Get().(*working)
	t, _, err := takeApart(token, &w.scratch)
	var name issuerName
	if err == nil {
		err = json.Unmarshal(t.payload, &name)
	}
	workings.Put(w)
	if err != nil {
		return nil, fmt.Errorf("jwt: no issuer can be read from the token: %w: %w", syntax(err), durward.InvalidToken)
	}
	v := s.of[string(name)]
	if v == nil {
		return nil, fmt.Errorf("jwt: iss is %s, which is no issuer here: %w", shown(string(name)), durward.InvalidToken)
	}
	return v.Verify(ctx, token)
}

// issuerName is iss, read out of a payload that nobody has vouched for: it chooses
// who is to judge, nothing else.
type issuerName string

// UnmarshalJSONFrom reads iss and passes over the rest.
func (n *issuerName) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	return readObject(d, func(name string) error {
		if name != "iss" {
			return skip(d)
		}
		_, err := readString(d, (*string)(n))
		return err
	})
}
