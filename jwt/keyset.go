package jwt

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
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

// KeySet finds the keys of one issuer by their kid and algorithm. [Keys] and [RemoteKeys] implement
// it.
type KeySet interface {
	// Key returns the key with this kid that serves alg: the same pointer while the key is
	// unchanged. An empty kid means the only key of the set that serves alg. For a known key Key
	// does not wait. The error wraps durward.InvalidToken if the issuer has no such key. Any other
	// error means that the key set is unavailable.
	Key(ctx context.Context, kid, alg string) (*Key, error)
}

// Keys is a set of keys in memory. Set replaces it as a whole, so that readers see either the old
// or the new set.
type Keys struct {
	index atomic.Pointer[keyIndex]
}

// NewKeys returns a set of keys, which may be empty.
func NewKeys(keys ...*Key) (*Keys, error) {
	s := new(Keys)
	if err := s.Set(keys...); err != nil {
		return nil, err
	}
	return s, nil
}

// Set replaces all keys. Tokens of a removed key are no longer valid. Two keys may have one kid if
// they name different algorithms or have different types. After an error the set is unchanged.
func (s *Keys) Set(keys ...*Key) error {
	var old keyIndex
	if x := s.index.Load(); x != nil {
		old = *x
	}
	x, err := index(keys, old)
	if err != nil {
		return err
	}
	s.index.Store(&x)
	return nil
}

// Key returns the key with this kid that serves alg. An empty kid means the only key of the set that
// serves alg.
func (s *Keys) Key(_ context.Context, kid, alg string) (*Key, error) {
	var x keyIndex
	if p := s.index.Load(); p != nil {
		x = *p
	}
	k, err := x.find(kid, alg)
	if err == nil && k == nil {
		err = fmt.Errorf("no key %s in the set", wanted(kid, alg))
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, durward.InvalidToken)
	}
	return k, nil
}

// keyIndex holds the keys of a set by their kid.
type keyIndex map[string][]*Key

// index makes an index. A key that is in old keeps its pointer, so that cached tokens remain valid.
func index(keys []*Key, old keyIndex) (keyIndex, error) {
	x := make(keyIndex, len(keys))
	for i, k := range keys {
		if k == nil || k.m == nil {
			return nil, fmt.Errorf("jwt: key %d of the set is nil or empty", i)
		}
		if slices.ContainsFunc(x[k.id], k.clashes) {
			return nil, fmt.Errorf("jwt: two keys of the set have the kid %s and serve %s", shown(k.id), k.served())
		}
		if slices.ContainsFunc(x[k.id], k.equal) {
			continue
		}
		if at := slices.IndexFunc(old[k.id], k.equal); at >= 0 {
			k = old[k.id][at]
		}
		x[k.id] = append(x[k.id], k)
	}
	return x, nil
}

// clashes reports whether k and o are different keys that nothing in a token tells apart.
func (k *Key) clashes(o *Key) bool {
	return k.id == o.id && k.alg == o.alg && slices.Equal(k.m.algs, o.m.algs) && !k.equal(o)
}

// find returns the key with this kid that serves alg, preferring one that names alg. An empty kid
// means the only key that serves alg. Both results are nil if the set lacks the key. The error means
// that the keys with this kid serve other algorithms, or that several keys fit an empty kid.
func (x keyIndex) find(kid, alg string) (*Key, error) {
	if kid == "" {
		return x.only(alg)
	}
	var found *Key
	for _, k := range x[kid] {
		if k.serves(alg) && (found == nil || k.alg != "") {
			found = k
		}
	}
	if found == nil && len(x[kid]) > 0 {
		return nil, wrongAlgorithm(alg, x[kid]...)
	}
	return found, nil
}

// only returns the only key that serves alg.
func (x keyIndex) only(alg string) (found *Key, err error) {
	for _, keys := range x {
		for _, k := range keys {
			if !k.serves(alg) {
				continue
			}
			if found != nil {
				return nil, fmt.Errorf("kid is missing from the header, and several keys of the set serve %s", shown(alg))
			}
			found = k
		}
	}
	return found, nil
}

// wrongAlgorithm is the error of a token whose alg is not served by the keys with its kid.
func wrongAlgorithm(alg string, keys ...*Key) error {
	var served []string
	for _, k := range keys {
		served = append(served, k.served())
	}
	return fmt.Errorf("key %s is for %s, the token says %s (RFC 8725 s3.1)", shown(keys[0].id), strings.Join(served, " and "), shown(alg))
}

// wanted names a key for errors.
func wanted(kid, alg string) string {
	if kid == "" {
		return "for " + shown(alg)
	}
	return shown(kid)
}

// ParseKeySet parses a JWK Set (RFC 7517 s5) of at most 1 MiB and 100 keys.
//
// It skips entries that are not JSON objects, or have duplicate names or invalid UTF-8, and keys for
// other purposes: another kty, curve, alg or use, or key_ops without verify. It also skips insecure
// keys: RSA with less than 2048 or more than 4096 bits, with a public exponent below 65537 or with
// the fingerprint of ROCA; points that are not on their curve or have small order. Of different keys
// with the same kid, type and alg it skips all, because nothing in a token tells them apart. If it
// skips all keys, the error lists the reasons. A member that is null counts as absent.
//
// It refuses the whole set if it is not a JWK Set, or contains a secret: the private part of a key,
// or a symmetric key. A published secret means that the set cannot be trusted.
//
// A key without alg serves all algorithms of its type: those of RSA, EdDSA and Ed25519, or the one
// of its curve. Config.Algorithms then decides. A key without kid gets the thumbprint of RFC 7638.
//
// A key with the member issuer, as Microsoft Entra ID writes it, verifies the tokens of that issuer
// only; {tenantid} in it stands for any tenant.
//
// A key without use is accepted. The value of use is "sig", or that of uses, which the key must then
// have: ParseKeySet(bundle, "jwt-svid") parses a SPIFFE bundle.
func ParseKeySet(jwks []byte, uses ...string) ([]*Key, error) {
	keys, skipped, err := parseKeySet(jwks, uses...)
	if err != nil {
		return nil, err
	}
	if len(keys) == 0 && len(skipped) > 0 {
		return nil, fmt.Errorf("jwt: no key of the set can be used: %w", errors.Join(skipped...))
	}
	return keys, nil
}

var byteOrderMark = []byte("\ufeff") // RFC 8259 s8.1: a parser may ignore it

// parseKeySet also returns the reasons for skipped keys.
func parseKeySet(jwks []byte, uses ...string) (keys []*Key, skipped []error, err error) {
	if len(jwks) > maxKeySet {
		return nil, nil, fmt.Errorf("jwt: key set of %d octets, want at most %d", len(jwks), maxKeySet)
	}
	var set jwkSet
	if err := json.Unmarshal(bytes.TrimPrefix(jwks, byteOrderMark), &set, lenient); err != nil {
		return nil, nil, fmt.Errorf("jwt: not a JWK Set (RFC 7517 s5): %w", syntax(err))
	}
	if !set.found {
		return nil, nil, errors.New(`jwt: not a JWK Set (RFC 7517 s5): there is no "keys" in it`)
	}
	if len(set.keys) > 0 && set.objects == 0 {
		return nil, nil, errors.New(`jwt: not a JWK Set (RFC 7517 s5): no element of "keys" is a JSON object`)
	}
	for i, j := range set.keys {
		if name := j.hasSecret(); name != "" {
			return nil, nil, fmt.Errorf("jwt: key %d of the set, kid %s, has the secret member %q: it has been published, make new keys", i, shown(j.members["kid"]), name)
		}
	}
	var all []*Key
	for i, j := range set.keys {
		k, err := j.public(j.members["kid"], j.members["alg"], uses...)
		if err != nil {
			skipped = append(skipped, fmt.Errorf("key %d, kid %s: %w", i, shown(j.members["kid"]), err))
			continue
		}
		k.issuer = j.members["issuer"]
		all = append(all, k)
	}
	for i, k := range all {
		switch {
		case slices.ContainsFunc(all, k.clashes):
			if !slices.ContainsFunc(all[:i], k.clashes) {
				skipped = append(skipped, fmt.Errorf("kid %s: different keys have this kid and serve %s (RFC 7517 s4.5)", shown(k.id), k.served()))
			}
		case !slices.ContainsFunc(keys, k.equal):
			keys = append(keys, k)
		}
	}
	return keys, skipped, nil
}

// MarshalKeySet returns a JWK Set (RFC 7517 s5) with the public members of keys, each with alg, use
// "sig", kid and, if it has one, issuer. It omits HS256 keys, which have no public members.
func MarshalKeySet(keys []*Key) ([]byte, error) {
	set := struct {
		Keys []jsontext.Value `json:"keys"`
	}{Keys: []jsontext.Value{}}
	for i, k := range keys {
		if k == nil || k.m == nil {
			return nil, fmt.Errorf("jwt: key %d of the set is nil or empty", i)
		}
		if k.m.public == nil {
			continue
		}
		text, err := (&jose.JSONWebKey{Key: k.m.public, KeyID: k.id, Algorithm: k.alg, Use: "sig"}).MarshalJSON()
		if err == nil && k.issuer != "" {
			text, err = jsontext.AppendQuote(append(text[:len(text)-1], `,"issuer":`...), k.issuer)
			text = append(text, '}')
		}
		if err != nil {
			return nil, fmt.Errorf("jwt: key set: %w", err)
		}
		set.Keys = append(set.Keys, text)
	}
	b, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("jwt: key set: %w", err)
	}
	return b, nil
}

// ParsePrivateKey parses a private key in JWK format (RFC 7517 s4), as [PrivateKey.MarshalJWK]
// writes it: an EC, Ed25519 or RSA key with its private part, or a symmetric key (RFC 7518 s6.4) of
// at least 256 bits with a kid. It makes the same security checks as [ParseKeySet]. A key without
// alg signs with ES256, ES384 or ES512 as its curve requires, EdDSA or RS256.
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
		// If the parts do not match, no service can verify the signatures.
		d, _ := b64.DecodeString(j.members["d"])
		whole, err := ecdsa.ParseRawPrivateKey(key.Curve, d)
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
	return nil, errors.New("jwt: private key: not an EC, Ed25519 or RSA key with its private part")
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

// lenient is for parsing a set: each key is then parsed by itself without it.
var lenient = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// jwkSet is a JWK Set. Members other than keys are ignored (RFC 7517 s5).
type jwkSet struct {
	found   bool
	keys    []jwk
	objects int // how many of the keys are JSON objects
}

// UnmarshalJSONFrom parses the set with a lenient decoder. One key that cannot be parsed does not
// affect the others.
func (s *jwkSet) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	return readObject(d, func(name []byte) error {
		if string(name) != "keys" {
			return skip(d)
		}
		if s.found {
			return errors.New(`"keys" twice`)
		}
		s.found = true
		if d.PeekKind() != '[' {
			return errors.New(`"keys" is not a list`)
		}
		return readList(d, "keys", maxKeys, func(int) error {
			raw, err := d.ReadValue()
			if err != nil {
				return err
			}
			if raw.Kind() == '{' {
				s.objects++
			}
			var j jwk
			if err := json.Unmarshal(raw, &j); err != nil {
				// A secret is found behind the mistake too.
				_ = json.Unmarshal(raw, &j, lenient)
				j.bad = syntax(err)
			}
			s.keys = append(s.keys, j)
			return nil
		})
	})
}

// jwk holds the members of a JWK that this package uses.
type jwk struct {
	members map[string]string // the string members
	bad     error             // why the key cannot be used: a member of a wrong type, or no JWK at all
	ops     []string          // key_ops; nil without it
}

// keyMembers lists the string members that are parsed: purpose and content of a key (RFC 7517 s4,
// RFC 7518 s6, RFC 8037 s2), and issuer, which no RFC has.
var keyMembers = []string{"kty", "use", "alg", "kid", "issuer", "crv", "x", "y", "n", "e", "d", "p", "q", "dp", "dq", "qi", "oth", "k"}

var secretMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// UnmarshalJSONFrom parses a JWK.
func (j *jwk) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	j.members = make(map[string]string)
	return readObject(d, func(raw []byte) error {
		name, value := string(raw), ""
		if d.PeekKind() == 'n' {
			return skip(d) // null: as if absent
		}
		if name == "key_ops" {
			return j.readOps(d)
		}
		if !slices.Contains(keyMembers, name) {
			return skip(d) // including x5c and x5u: only the key itself is used
		}
		ok, err := readString(d, &value)
		if !ok {
			j.wrongType(name)
		}
		j.members[name] = value
		return err
	})
}

func (j *jwk) wrongType(name string) {
	if j.bad == nil {
		j.bad = fmt.Errorf("%s is not of its type (RFC 7517 s4)", name)
	}
}

func (j *jwk) readOps(d *jsontext.Decoder) error {
	j.ops = []string{}
	if d.PeekKind() != '[' {
		j.wrongType("key_ops")
		return skip(d)
	}
	return readList(d, "key_ops", maxMembers, func(int) error {
		var op string
		ok, err := readString(d, &op)
		if !ok {
			j.wrongType("key_ops")
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

// fit returns an error if the key is not for signatures; op is "sign" or "verify". uses replaces
// "sig", and is then required.
func (j *jwk) fit(op string, uses ...string) error {
	if j.bad != nil {
		return j.bad
	}
	use, ok := j.members["use"]
	switch {
	case len(uses) > 0 && !slices.Contains(uses, use):
		return fmt.Errorf("use is %s, want %s", shown(use), strings.Join(uses, " or "))
	case len(uses) == 0 && ok && use != "sig":
		return fmt.Errorf("use is %s, not \"sig\" (RFC 7517 s4.2); RemoteConfig.Use accepts another", shown(use))
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
func (j *jwk) public(id, alg string, uses ...string) (*Key, error) {
	if err := j.fit("verify", uses...); err != nil {
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
