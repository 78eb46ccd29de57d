package durward

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// KeyCheck judges an API key as it was sent, at most 1 KiB of printable ASCII
// without blanks. It refuses by an error that wraps [InvalidAPIKey], whether the
// key is unknown, revoked or past its end; any other error is [AuthUnavailable].
// The context is the request's.
type KeyCheck func(ctx context.Context, key string) (*Principal, error)

// maxAPIKey is the longest key that is looked at, in octets.
const maxAPIKey = 1 << 10

// APIKey returns the scheme of API keys, which come in a field of their own or as
// a Bearer token:
//
//	X-API-Key: dk_…
//	Authorization: Bearer dk_…
//
// Keys begin with prefix, such as "dk_": that is how one is told from another
// Bearer token, whatever other schemes the guard has.
func APIKey(prefix string, check KeyCheck) Scheme { return &apiKey{prefix, check} }

type apiKey struct {
	prefix string
	check  KeyCheck
}

func (k *apiKey) mistakes() (all []string) {
	if k.check == nil {
		all = append(all, "Schemes holds APIKey with a nil check: it needs a function that judges keys")
	}
	if (Credentials{Scheme: "Bearer", Token68: k.prefix}).Valid() != nil || k.prefix == "" {
		all = append(all, fmt.Sprintf("APIKey prefix %q: give what every key begins with, in characters of a token68", k.prefix))
	}
	return all
}

func (k *apiKey) Presented(r *http.Request) (found, ambient bool) {
	return len(r.Header["X-Api-Key"]) > 0 || k.asBearer(r), false
}

// asBearer reports whether a key came as a Bearer token.
func (k *apiKey) asBearer(r *http.Request) bool {
	return presents(r, "Bearer") && strings.HasPrefix(stateOf(r.Context()).credentials.Token68, k.prefix)
}

// keyIn returns the key that came in either place. That there is one place alone,
// the guard has seen to.
func keyIn(r *http.Request) string {
	if lines := r.Header["X-Api-Key"]; len(lines) > 0 {
		return strings.Trim(lines[0], " \t") // RFC 9110 s5.5
	}
	return stateOf(r.Context()).credentials.Token68
}

func (k *apiKey) Authenticate(r *http.Request) (*Principal, error) {
	key := keyIn(r)
	switch {
	case len(key) > maxAPIKey:
		return nil, fmt.Errorf("API key of %d octets, at most %d are read: %w", len(key), maxAPIKey, InvalidAPIKey)
	case !strings.HasPrefix(key, k.prefix):
		return nil, fmt.Errorf("an API key begins otherwise: %w", InvalidAPIKey)
	case strings.ContainsFunc(key, func(c rune) bool { return c <= 0x20 || c > 0x7e }):
		return nil, fmt.Errorf("blanks or characters beyond ASCII in an API key: %w", InvalidAPIKey)
	}
	p, err := k.check(r.Context(), key)
	if err != nil {
		return nil, err
	}
	return p.as("ApiKey"), nil
}

// Challenges names the field. Where a key came as a Bearer token, the refusal is
// said in the words of that scheme.
func (k *apiKey) Challenges(r *http.Request, code Code) []Challenge {
	own := Challenge{Scheme: "ApiKey", Params: []Param{{"field", "X-API-Key"}}}
	if params := oauthParams(code); params != nil && k.asBearer(r) {
		return []Challenge{{Scheme: "Bearer", Params: params}, own}
	}
	return []Challenge{own}
}

// isKey reports whether the credentials that s found are a key of its own, by what
// it begins with.
func isKey(s Scheme, r *http.Request) bool {
	k, ok := s.(*apiKey)
	return ok && strings.HasPrefix(keyIn(r), k.prefix)
}
