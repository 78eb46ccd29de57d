package jwt

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/durward-auth/durward"
)

// Issuers combines the verifiers of several issuers for one service. The iss of a token selects the
// verifier, and only that verifier's keys are used (RFC 8725 s3.8).
type Issuers struct{ of map[string]*Verifier }

// NewIssuers combines verifiers. Two verifiers of one issuer are an error.
func NewIssuers(verifiers ...*Verifier) (*Issuers, error) {
	s := &Issuers{of: make(map[string]*Verifier, len(verifiers))}
	var errs []error
	for _, v := range verifiers {
		switch {
		case v == nil:
			errs = append(errs, errors.New("jwt: a nil Verifier"))
		case s.of[v.c.Issuer] != nil:
			errs = append(errs, fmt.Errorf("jwt: two verifiers of issuer %q", v.c.Issuer))
		default:
			s.of[v.c.Issuer] = v
		}
	}
	if len(verifiers) == 0 {
		errs = append(errs, errors.New("jwt: no verifier"))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return s, nil
}

// Scheme returns the Bearer scheme for the tokens of all these issuers.
func (s *Issuers) Scheme() durward.Scheme { return durward.Bearer(s.Verify) }

// Verify verifies a token with the verifier of its issuer, as [Verifier.Verify] does. The error for
// an unknown issuer wraps [durward.InvalidToken].
func (s *Issuers) Verify(ctx context.Context, token string) (*durward.Principal, error) {
	if err := tooLarge(token); err != nil {
		return nil, err
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
		return nil, fmt.Errorf("jwt: iss is %s, which is not a known issuer: %w", shown(string(name)), durward.InvalidToken)
	}
	return v.Verify(ctx, token)
}

// issuerName is the unverified iss of a payload. It is used only to select the verifier.
type issuerName string

// UnmarshalJSONFrom parses iss and ignores the other claims.
func (n *issuerName) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	return readObject(d, func(name []byte) error {
		if string(name) != "iss" {
			return skip(d)
		}
		_, err := readString(d, (*string)(n))
		return err
	})
}
