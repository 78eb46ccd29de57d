package jwt

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/durward-auth/durward"
)

const (
	maxKeySet = 1 << 20 // maximum bytes of a JWK Set
	maxKeys   = 100     // maximum keys of a JWK Set
)

// KeySet finds the keys of one issuer by their kid. [Keys] and [RemoteKeys] implement it.
type KeySet interface {
	// Key returns the key with this kid: the same pointer while the key is unchanged. For a known
	// key it does not wait. The error wraps durward.InvalidToken if the issuer has no such key. Any
	// other error means that the key set is unavailable.
	Key(ctx context.Context, kid string) (*Key, error)
}

// Keys is a set of keys in memory. Set replaces it as a whole, so that readers see either the old
// or the new set.
type Keys struct {
	byID atomic.Pointer[map[string]*Key]
}

// NewKeys returns a set of keys, which may be empty.
func NewKeys(keys ...*Key) (*Keys, error) {
	s := new(Keys)
	if err := s.Set(keys...); err != nil {
		return nil, err
	}
	return s, nil
}

// Set replaces all keys. Tokens of a removed key are no longer valid. After an error the set is
// unchanged.
func (s *Keys) Set(keys ...*Key) error {
	m, err := index(keys, s.byID.Load())
	if err != nil {
		return err
	}
	s.byID.Store(&m)
	return nil
}

// Key returns the key with this kid.
func (s *Keys) Key(_ context.Context, kid string) (*Key, error) {
	if m := s.byID.Load(); m != nil {
		if k, ok := (*m)[kid]; ok {
			return k, nil
		}
	}
	return nil, fmt.Errorf("no key %s in the set: %w", shown(kid), durward.InvalidToken)
}

// index maps keys by their kid. A key that is in old keeps its pointer, so that cached tokens
// remain valid.
func index(keys []*Key, old *map[string]*Key) (map[string]*Key, error) {
	m := make(map[string]*Key, len(keys))
	for i, k := range keys {
		if k == nil || k.m == nil {
			return nil, fmt.Errorf("jwt: key %d of the set is nil or empty", i)
		}
		if old != nil {
			if o, ok := (*old)[k.id]; ok && o.equal(k) {
				k = o
			}
		}
		if o, ok := m[k.id]; ok && !o.equal(k) {
			// The kid of a token would be ambiguous.
			return nil, fmt.Errorf("jwt: two keys of the set have the kid %s", shown(k.id))
		}
		m[k.id] = k
	}
	return m, nil
}

// ParseKeySet parses a JWK Set (RFC 7517 s5) of at most 1 MiB and 100 keys.
//
// It skips keys for other purposes: another kty, curve, alg or use, or key_ops without verify. It
// also skips insecure keys: RSA with less than 2048 or more than 4096 bits, with a public exponent
// below 65537 or with the fingerprint of ROCA; points that are not on their curve or have small
// order. If it skips all keys, the error lists the reasons.
//
// It refuses the whole set if it is not a JWK Set, has duplicate names or two keys with one kid, or
// contains a secret: the private part of a key, or a symmetric key. A published secret means that
// the set cannot be trusted.
//
// A key without alg gets that of its type: ES256, EdDSA for Ed25519, RS256 for RSA. A key without
// kid gets the thumbprint of RFC 7638.
func ParseKeySet(jwks []byte) ([]*Key, error) {
	keys, skipped, err := parseKeySet(jwks)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 && len(skipped) > 0 {
		return nil, fmt.Errorf("jwt: no key of the set can be used: %w", errors.Join(skipped...))
	}
	return keys, nil
}

// parseKeySet also returns the reasons for skipped keys.
func parseKeySet(jwks []byte) (keys []*Key, skipped []error, err error) {
	if len(jwks) > maxKeySet {
		return nil, nil, fmt.Errorf("jwt: key set of %d octets, want at most %d", len(jwks), maxKeySet)
	}
	var set jwkSet
	if err := json.Unmarshal(jwks, &set); err != nil {
		return nil, nil, fmt.Errorf("jwt: not a JWK Set (RFC 7517 s5): %w", syntax(err))
	}
	if !set.found {
		return nil, nil, errors.New(`jwt: not a JWK Set (RFC 7517 s5): there is no "keys" in it`)
	}
	for i, j := range set.keys {
		if name := j.hasSecret(); name != "" {
			return nil, nil, fmt.Errorf("jwt: key %d of the set, kid %s, has the secret member %q: it has been published, make new keys", i, shown(j.members["kid"]), name)
		}
	}
	for i, j := range set.keys {
		k, err := j.public(j.members["kid"], j.members["alg"])
		if err != nil {
			skipped = append(skipped, fmt.Errorf("key %d, kid %s: %w", i, shown(j.members["kid"]), err))
			continue
		}
		keys = append(keys, k)
	}
	byID, err := index(keys, nil)
	if err != nil {
		return nil, nil, err
	}
	// Duplicates of a key are one key.
	return slices.DeleteFunc(keys, func(k *Key) bool {
		first := byID[k.id]
		delete(byID, k.id)
		return first == nil
	}), skipped, nil
}

// MarshalKeySet returns a JWK Set (RFC 7517 s5) with the public members of keys, each with alg, use
// "sig" and kid. It omits HS256 keys, which have no public members.
func MarshalKeySet(keys []*Key) ([]byte, error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for i, k := range keys {
		if k == nil || k.m == nil {
			return nil, fmt.Errorf("jwt: key %d of the set is nil or empty", i)
		}
		if k.m.public == nil {
			continue
		}
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.m.public, KeyID: k.id, Algorithm: k.alg, Use: "sig"})
	}
	b, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("jwt: key set: %w", err)
	}
	return b, nil
}

// ParsePrivateKey parses a private key in JWK format (RFC 7517 s4), as [PrivateKey.MarshalJWK]
// writes it: an EC P-256, Ed25519 or RSA key with its private part, or a symmetric key (RFC 7518
// s6.4) of at least 256 bits with a kid. It makes the same security checks as [ParseKeySet].
func ParsePrivateKey(text []byte) (*PrivateKey, error) {
	if len(text) > maxKeySet {
		return nil, fmt.Errorf("jwt: private key of %d octets, want at most %d", len(text), maxKeySet)
	}
	var j jwk
	if err := json.Unmarshal(text, &j); err != nil {
		return nil, fmt.Errorf("jwt: private key is not a JWK (RFC 7517 s4): %w", syntax(err))
	}
	if err := j.fit("sign"); err != nil {
		return nil, fmt.Errorf("jwt: private key: %w", err)
	}
	alg, kid := j.members["alg"], j.members["kid"]
	if j.members["kty"] == "oct" {
		if alg != "" && alg != "HS256" {
			return nil, fmt.Errorf("jwt: symmetric key with alg %s, want HS256", shown(alg))
		}
		octets, ok := canonical(j.members["k"])
		if !ok {
			return nil, errors.New("jwt: k of the symmetric key is not canonical base64url (RFC 7518 s6.4.1)")
		}
		return SharedSecret(kid, octets)
	}
	if j.hasSecret() == "" {
		return nil, errors.New("jwt: the JWK holds a public key, a private one has d")
	}
	parsed, err := j.jose("kty", "crv", "x", "y", "n", "e", "d", "p", "q", "dp", "dq", "qi")
	if err != nil {
		return nil, fmt.Errorf("jwt: private key: %w", err)
	}
	switch key := parsed.(type) {
	case *ecdsa.PrivateKey:
		if key.Curve != elliptic.P256() {
			return nil, fmt.Errorf("jwt: private key: curve %s, want P-256", key.Curve.Params().Name)
		}
		// If the parts do not match, no service can verify the signatures.
		d, _ := b64.DecodeString(j.members["d"])
		whole, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), d)
		if err != nil || !whole.PublicKey.Equal(&key.PublicKey) {
			return nil, errors.New("jwt: private key: x and y do not belong to d")
		}
		return newPrivateKey(kid, alg, whole)
	case ed25519.PrivateKey:
		return newPrivateKey(kid, alg, key)
	case *rsa.PrivateKey:
		key.Precompute()
		return newPrivateKey(kid, alg, key)
	}
	return nil, errors.New("jwt: private key: not an EC P-256, Ed25519 or RSA key with its private part")
}

// MarshalJWK returns the key with its secret as a JWK (RFC 7517 s4). Encrypt it before you store
// it.
func (k *PrivateKey) MarshalJWK() ([]byte, error) {
	j := jose.JSONWebKey{KeyID: k.key.id, Algorithm: k.key.alg, Use: "sig"}
	if k.signer != nil {
		j.Key = *k.signer
	} else {
		j.Key = *k.key.m.secret
	}
	b, err := j.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("jwt: %s: %w", k, err)
	}
	return b, nil
}

// jwkSet is a JWK Set. Members other than keys are ignored (RFC 7517 s5).
type jwkSet struct {
	found bool
	keys  []jwk
}

// UnmarshalJSONFrom parses the set.
func (s *jwkSet) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	return readObject(d, func(name []byte) error {
		if string(name) != "keys" {
			return skip(d)
		}
		s.found = true
		if d.PeekKind() != '[' {
			return errors.New(`"keys" is not a list`)
		}
		return readList(d, "keys", maxKeys, func(int) error {
			var j jwk
			err := j.UnmarshalJSONFrom(d)
			s.keys = append(s.keys, j)
			return err
		})
	})
}

// jwk holds the members of a JWK that this package uses.
type jwk struct {
	members map[string]string // the string members
	odd     string            // a member of a wrong type
	ops     []string          // key_ops; nil without it
}

// keyMembers lists the string members that are parsed: purpose and content of a key (RFC 7517 s4,
// RFC 7518 s6, RFC 8037 s2).
var keyMembers = []string{"kty", "use", "alg", "kid", "crv", "x", "y", "n", "e", "d", "p", "q", "dp", "dq", "qi", "oth", "k"}

var secretMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// UnmarshalJSONFrom parses a JWK.
func (j *jwk) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	j.members = make(map[string]string)
	return readObject(d, func(raw []byte) error {
		name, value := string(raw), ""
		if name == "key_ops" {
			return j.readOps(d)
		}
		if !slices.Contains(keyMembers, name) {
			return skip(d) // including x5c and x5u: only the key itself is used
		}
		ok, err := readString(d, &value)
		if !ok && j.odd == "" {
			j.odd = name
		}
		j.members[name] = value
		return err
	})
}

func (j *jwk) readOps(d *jsontext.Decoder) error {
	j.ops = []string{}
	if d.PeekKind() != '[' {
		j.odd = "key_ops"
		return skip(d)
	}
	return readList(d, "key_ops", maxMembers, func(int) error {
		var op string
		ok, err := readString(d, &op)
		if !ok {
			j.odd = "key_ops"
		}
		j.ops = append(j.ops, op)
		return err
	})
}

// hasSecret returns a member that only private and symmetric keys have, or "".
func (j *jwk) hasSecret() string {
	for _, name := range secretMembers {
		if _, ok := j.members[name]; ok {
			return name
		}
	}
	return ""
}

// fit returns an error if the key is not for signatures; op is "sign" or "verify".
func (j *jwk) fit(op string) error {
	if j.odd != "" {
		return fmt.Errorf("%s is not of its type (RFC 7517 s4)", j.odd)
	}
	if use, ok := j.members["use"]; ok && use != "sig" {
		return fmt.Errorf("use is %s, not \"sig\" (RFC 7517 s4.2)", shown(use))
	}
	if j.ops != nil && !slices.Contains(j.ops, op) {
		return fmt.Errorf("key_ops does not have %q (RFC 7517 s4.3)", op)
	}
	if alg, ok := j.members["alg"]; ok && !slices.Contains(algorithms, alg) {
		return fmt.Errorf("alg %s is not one of %s", shown(alg), strings.Join(algorithms, ", "))
	}
	return nil
}

// public returns the verification key with this id and algorithm.
func (j *jwk) public(id, alg string) (*Key, error) {
	if err := j.fit("verify"); err != nil {
		return nil, err
	}
	if kty := j.members["kty"]; kty != "EC" && kty != "OKP" && kty != "RSA" {
		return nil, fmt.Errorf("kty %s is not EC, OKP or RSA", shown(kty))
	}
	key, err := j.jose("kty", "crv", "x", "y", "n", "e")
	if err != nil {
		return nil, err
	}
	return newKey(id, alg, key)
}

// canonical decodes a member of a key: canonical base64url, not empty.
func canonical(text string) ([]byte, bool) {
	b, err := b64.DecodeString(text)
	return b, err == nil && len(b) > 0 && !strings.ContainsAny(text, "\r\n") // b64 ignores line breaks
}

// jose parses the named members as a key.
func (j *jwk) jose(names ...string) (crypto.PublicKey, error) {
	text := []byte{'{'}
	for _, name := range names {
		value, ok := j.members[name]
		if !ok {
			continue
		}
		if name != "kty" && name != "crv" {
			octets, ok := canonical(value)
			if !ok {
				return nil, fmt.Errorf("%s is not canonical base64url (RFC 7518 s6)", name)
			}
			if bits := new(big.Int).SetBytes(octets).BitLen(); name == "n" && bits > maxModulus {
				return nil, fmt.Errorf("RSA key of %d bits, want at most %d", bits, maxModulus)
			}
		}
		if len(text) > 1 {
			text = append(text, ',')
		}
		text = append(text, `"`+name+`":`...)
		var err error
		if text, err = jsontext.AppendQuote(text, value); err != nil {
			return nil, err
		}
	}
	var key jose.JSONWebKey
	if err := key.UnmarshalJSON(append(text, '}')); err != nil {
		return nil, errors.New(strings.TrimPrefix(cut(err.Error()), "go-jose/go-jose: "))
	}
	return key.Key, nil
}
