package durward

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/durward-auth/durward/internal/apikey"
)

// KeyCheck verifies an API key and returns its principal. The key is passed as sent, at most 1 KiB
// of printable ASCII without blanks. If it is unknown, revoked or expired, the check returns an
// error that wraps [InvalidAPIKey]; any other error is [AuthUnavailable]. The context is the
// request's.
type KeyCheck func(ctx context.Context, key string) (*Principal, error)

// maxAPIKey is the maximum length of a key, in octets.
const maxAPIKey = 1 << 10

// APIKey returns the scheme of API keys, which are sent in their own field or as a Bearer token:
//
//	X-API-Key: dk_…
//	Authorization: Bearer dk_…
//
// All keys begin with prefix, such as "dk_", which distinguishes them from the Bearer tokens of
// other schemes of the guard.
func APIKey(prefix string, check KeyCheck) Scheme { return &apiKey{prefix, check} }

// NewAPIKey returns a random API key that begins with prefix, such as "dk_":
//
//	dk_4fKq81Zx_RZwTDmWjELXeEmMEb0eIIegKayGGUPNsuJweEPhlXi502OQ2n
//
// After the prefix it has a public id of 8 characters, which lists and logs may show, then "_", 256
// random bits in 43 characters and a CRC-32 in 6. All are letters and digits. So programs that search
// files for leaked keys can recognize one.
//
// Show the key once and store its SHA-256 only: a key cannot be guessed, so a slow hash adds nothing. A
// [KeyCheck] then looks up the hash of the key that it gets.
func NewAPIKey(prefix string) string { return apikey.New(prefix) }

type apiKey struct {
	prefix string
	check  KeyCheck
}

func (k *apiKey) mistakes(report func(string, ...any)) {
	if k.check == nil {
		report("Schemes holds APIKey with a nil check: pass a function that verifies keys")
	}
	if (Credentials{Scheme: "Bearer", Token68: k.prefix}).Valid() != nil || k.prefix == "" {
		report("APIKey prefix %q: pass the prefix of all keys, in token68 characters", k.prefix)
	}
}

func (k *apiKey) Presented(r *http.Request) (found, ambient bool) {
	return len(r.Header["X-Api-Key"]) > 0 || k.asBearer(r), false
}

// asBearer reports whether the request has a key of k as a Bearer token.
func (k *apiKey) asBearer(r *http.Request) bool {
	return presents(r, "Bearer") && strings.HasPrefix(stateOf(r.Context()).credentials.Token68, k.prefix)
}

// keyIn returns the key of the request from either place. The guard has checked that only one is
// used.
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
		return nil, fmt.Errorf("API key of %d octets, at most %d are allowed: %w", len(key), maxAPIKey, InvalidAPIKey)
	case !strings.HasPrefix(key, k.prefix):
		return nil, fmt.Errorf("API key has another prefix: %w", InvalidAPIKey)
	case strings.ContainsFunc(key, func(c rune) bool { return c <= 0x20 || c > 0x7e }):
		return nil, fmt.Errorf("API key has blanks or characters beyond ASCII: %w", InvalidAPIKey)
	}
	p, err := k.check(r.Context(), key)
	return p.as("ApiKey"), err
}

// Challenges returns the ApiKey challenge. If a refused key was sent as a Bearer token, a Bearer
// challenge carries the error.
func (k *apiKey) Challenges(r *http.Request, code Code) []Challenge {
	own := Challenge{Scheme: "ApiKey", Params: []Param{{"field", "X-API-Key"}}}
	if params := oauthParams(code); params != nil && k.asBearer(r) {
		return []Challenge{{Scheme: "Bearer", Params: params}, own}
	}
	return []Challenge{own}
}

// isKey reports whether s is an APIKey scheme and the credentials have its prefix.
func isKey(s Scheme, r *http.Request) bool {
	k, ok := s.(*apiKey)
	return ok && strings.HasPrefix(keyIn(r), k.prefix)
}
