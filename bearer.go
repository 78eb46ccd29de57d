package durward

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Bearer returns the scheme of RFC 6750: a token in the Authorization field. Tokens in the query
// string or in a form are ignored (RFC 9700 s4.3.2).
//
// verify receives the token as sent, at most Config.MaxCredentials of token68 characters, and
// returns the principal. It refuses with an error that wraps [InvalidToken], [TokenExpired], [TokenRevoked] or
// another [Code]; any other error is [AuthUnavailable]. The context is the request's.
func Bearer(verify func(ctx context.Context, token string) (*Principal, error)) Scheme {
	return &bearer{verify}
}

type bearer struct {
	verify func(context.Context, string) (*Principal, error)
}

func (b *bearer) mistakes(report func(string, ...any)) {
	if b.verify == nil {
		report("Schemes holds Bearer(nil): pass a function that verifies tokens")
	}
}

func (*bearer) Presented(r *http.Request) (found, ambient bool) { return presents(r, "Bearer"), false }

func (b *bearer) Authenticate(r *http.Request) (*Principal, error) {
	token, err := stateOf(r.Context()).token("Bearer")
	if err != nil {
		return nil, err
	}
	return b.verify(r.Context(), token)
}

// token returns the token of the request, after a check of its form.
func (st *requestState) token(scheme string) (string, error) {
	token, most := st.credentials.Token68, st.guard.c.MaxCredentials
	if token == "" {
		// The scheme is followed by auth-params instead of a token68.
		return "", fmt.Errorf("%s without a token: %w", scheme, MalformedCredentials)
	}
	if len(token) > most {
		return "", &Refusal{
			Code:   InvalidToken,
			Detail: fmt.Sprintf("The access token is longer than the %d octets that this server accepts.", most),
			Hint:   "Request a token with fewer claims, such as groups. This one will be refused again.",
			Err:    fmt.Errorf("token of %d octets, at most %d are allowed: %w", len(token), most, errTooLong),
		}
	}
	return token, nil
}

// errTooLong is the cause of a refusal of credentials above Config.MaxCredentials.
var errTooLong = errors.New("Config.MaxCredentials is the limit")

func (*bearer) Challenges(_ *http.Request, code Code) []Challenge {
	return []Challenge{{Scheme: "Bearer", Params: oauthParams(code)}}
}

// presents reports whether the credentials of the request are of a scheme.
func presents(r *http.Request, scheme string) bool {
	st := stateOf(r.Context())
	return st != nil && strings.EqualFold(st.credentials.Scheme, scheme) // RFC 9110 s11.1
}

// oauthParams returns the error parameters of a Bearer or DPoP challenge (RFC 6750 s3, RFC 9449
// s7.1, RFC 9470 s3).
func oauthParams(code Code) []Param {
	row := table[code]
	if row.error == "" {
		return nil
	}
	return []Param{{"error", row.error}, {"error_description", row.detail}}
}
