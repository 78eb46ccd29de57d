package jwt

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"sync"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// algorithms lists the supported algorithms (RFC 7518 s3.1, RFC 8037 s3.1, RFC 9864 s2.2). EdDSA is
// the older name of Ed25519.
var algorithms = []string{
	"ES256", "EdDSA", "Ed25519", "RS256", "PS256", "HS256",
	"ES384", "ES512", "RS384", "RS512", "PS384", "PS512",
}

// The algorithms of each type of key, its default first. No type has those of another, so a public
// key is never used as the secret of HS256 (RFC 8725 s2.1).
var (
	ofP256    = []string{"ES256"}
	ofP384    = []string{"ES384"}
	ofP521    = []string{"ES512"}
	ofEd25519 = []string{"EdDSA", "Ed25519"}
	ofRSA     = []string{"RS256", "PS256", "RS384", "PS384", "RS512", "PS512"}
	ofSecret  = []string{"HS256"}
)

const (
	minSecret  = 32   // bytes: RFC 7518 s3.2, at least the size of the hash
	minModulus = 2048 // bits: RFC 7518 s3.3
	maxModulus = 4096 // bits: verification with larger keys is too slow, and go-jose does not parse them
	maxKeyID   = 256  // bytes of a kid
)

// Key verifies signatures of the [PrivateKey] with the same ID. A key that names its algorithm is
// used with that one only (RFC 8725 s3.1); one that names none is used with the algorithms of its
// type. It is immutable. A [Verifier] treats two keys as the same only if their pointers are equal.
//
// An HS256 Key contains the secret; no method returns or prints it.
type Key struct {
	id, alg string // alg is empty for all algorithms of the type
	issuer  string // issuer of the JWK; empty for all issuers that use the set
	m       *material
}

// material is the key itself. It is behind a pointer, and secrets are behind a second one, because
// fmt prints unexported fields through one pointer with verbs such as %s.
type material struct {
	algs   []string   // the algorithms of this type of key, its default first
	public any        // *ecdsa.PublicKey, ed25519.PublicKey or *rsa.PublicKey; nil for HS256
	secret *[]byte    // HS256
	macs   *sync.Pool // of hash.Hash: HMAC states, which contain the secret
}

// ID returns the kid.
func (k *Key) ID() string { return k.id }

// Algorithm returns the name in RFC 7518, such as "ES256". It is empty for a key of a JWK Set that
// names none; see [ParseKeySet].
func (k *Key) Algorithm() string { return k.alg }

// String returns a name for logs. Neither it nor any other way of printing shows the secret.
func (k Key) String() string { return fmt.Sprintf("%s key %q", k.served(), k.id) }

// Format prints the result of String for all verbs.
func (k Key) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.String())) }

// LogValue returns the result of String.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON writes the result of String. Use [MarshalKeySet] to publish keys.
func (k Key) MarshalJSON() ([]byte, error) { return jsontext.AppendQuote(nil, k.String()) }

// served returns the algorithms of k for logs and errors.
func (k *Key) served() string {
	if k.alg != "" || k.m == nil {
		return k.alg
	}
	return strings.Join(k.m.algs, "/")
}

// serves reports whether signatures with alg may be verified with k. The material decides, whatever
// the key and the token say.
func (k *Key) serves(alg string) bool {
	return (k.alg == "" || k.alg == alg) && k.m != nil && slices.Contains(k.m.algs, alg)
}

// servesIssuer reports whether k may verify the tokens of iss. Issuers with many tenants publish one
// set, and say in the member issuer of each key whose it is; {tenantid} stands for any tenant.
func (k *Key) servesIssuer(iss string) bool {
	if k.issuer == "" || k.issuer == iss {
		return true
	}
	before, after, many := strings.Cut(k.issuer, tenantID)
	return many && between(before, iss, after) != ""
}

// algorithmsOf returns the algorithms of a type of key; nil if the type or curve is not supported.
func algorithmsOf(public any) []string {
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		switch p.Curve {
		case elliptic.P256():
			return ofP256
		case elliptic.P384():
			return ofP384
		case elliptic.P521():
			return ofP521
		}
	case ed25519.PublicKey:
		return ofEd25519
	case *rsa.PublicKey:
		return ofRSA
	}
	return nil
}

// verify reports whether signature is valid for input by alg.
func (k *Key) verify(alg string, input, signature []byte) bool {
	if !k.serves(alg) {
		return false
	}
	switch public := k.m.public.(type) {
	case *ecdsa.PublicKey:
		var sum [sha512.Size]byte
		der, ok := derSignature(signature, octetsOf(public.Curve))
		return ok && ecdsa.VerifyASN1(public, hashed(sum[:0], hashOf(alg), input), der)
	case ed25519.PublicKey:
		return ed25519.Verify(public, input, signature)
	case *rsa.PublicKey:
		h := hashOf(alg)
		if alg[0] == 'P' {
			return rsa.VerifyPSS(public, h, hashed(nil, h, input), signature, pss(h)) == nil
		}
		var sum [sha512.Size]byte
		return rsa.VerifyPKCS1v15(public, h, hashed(sum[:0], h, input), signature) == nil
	}
	var mac [sha256.Size]byte
	return hmac.Equal(k.m.mac(mac[:0], input), signature)
}

// hashOf returns the hash of an algorithm, which its last digits name (RFC 7518 s3.1).
func hashOf(alg string) crypto.Hash {
	switch alg[2:] {
	case "384":
		return crypto.SHA384
	case "512":
		return crypto.SHA512
	}
	return crypto.SHA256
}

// hashed appends the hash of input to b.
func hashed(b []byte, h crypto.Hash, input []byte) []byte {
	switch h {
	case crypto.SHA384:
		sum := sha512.Sum384(input)
		return append(b, sum[:]...)
	case crypto.SHA512:
		sum := sha512.Sum512(input)
		return append(b, sum[:]...)
	}
	sum := sha256.Sum256(input)
	return append(b, sum[:]...)
}

// pss returns the parameters of PSS. RFC 7518 s3.5: the salt has the length of the hash.
func pss(h crypto.Hash) *rsa.PSSOptions {
	return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: h}
}

// octetsOf returns the length of R and of S (RFC 7518 s3.4): 32, 48 or 66.
func octetsOf(c elliptic.Curve) int { return (c.Params().BitSize + 7) / 8 }

// derSignature converts R || S of JWS (RFC 7518 s3.4), each of size bytes, to the ASN.1 that
// crypto/ecdsa expects. It refuses other lengths and zero; crypto/ecdsa checks that R and S are
// below the order of the curve.
func derSignature(signature []byte, size int) ([]byte, bool) {
	if len(signature) != 2*size {
		return nil, false
	}
	b := make([]byte, 3, 3+2*(3+size))
	b[0], b[1] = 0x30, 0x81
	for _, n := range [2][]byte{signature[:size], signature[size:]} {
		for len(n) > 0 && n[0] == 0 {
			n = n[1:]
		}
		if len(n) == 0 {
			return nil, false
		}
		if n[0] < 0x80 {
			b = append(b, 0x02, byte(len(n)))
		} else {
			b = append(b, 0x02, byte(len(n)+1), 0)
		}
		b = append(b, n...)
	}
	n := byte(len(b) - 3)
	if n < 0x80 { // the short form of a length: one byte
		b = b[1:]
		b[0] = 0x30
		b[1] = n
		return b, true
	}
	b[2] = n
	return b, true
}

func (m *material) mac(to, input []byte) []byte {
	h := m.macs.Get().(hash.Hash)
	h.Reset()
	h.Write(input)
	to = h.Sum(to)
	m.macs.Put(h)
	return to
}

// equal reports whether two keys have the same id, algorithm, issuer and key material.
func (k *Key) equal(o *Key) bool {
	if k.id != o.id || k.alg != o.alg || k.issuer != o.issuer || k.m == nil || o.m == nil {
		return false
	}
	if k.m.public == nil {
		return o.m.secret != nil && hmac.Equal(*k.m.secret, *o.m.secret)
	}
	p, ok := k.m.public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && p.Equal(o.m.public)
}

// newKey returns the verification key of public, or an error if it is not secure. An empty id
// becomes the thumbprint of RFC 7638; an empty alg means all algorithms of the key's type.
func newKey(id, alg string, public any) (*Key, error) {
	fits := algorithmsOf(public)
	switch p := public.(type) {
	case *ecdsa.PublicKey:
		name := p.Curve.Params().Name
		if fits == nil {
			return nil, fmt.Errorf("curve %s, want P-256, P-384 or P-521", name)
		}
		// ECDH refuses points that are not on the curve (RFC 8725 s3.4).
		if _, err := p.ECDH(); err != nil {
			return nil, fmt.Errorf("not a point of %s: %w", name, err)
		}
	case ed25519.PublicKey:
		if err := goodEd25519(p); err != nil {
			return nil, err
		}
	case *rsa.PublicKey:
		if err := goodRSA(p); err != nil {
			return nil, err
		}
	default:
		return nil, errors.New("not an EC, Ed25519 or RSA key")
	}
	if alg != "" && !slices.Contains(fits, alg) {
		return nil, fmt.Errorf("alg %s does not fit this type of key, want %s", shown(alg), strings.Join(fits, ", "))
	}
	if id == "" {
		sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
		if err != nil {
			return nil, err
		}
		id = base64.RawURLEncoding.EncodeToString(sum)
	}
	if err := goodID(id); err != nil {
		return nil, err
	}
	return &Key{id: id, alg: alg, m: &material{algs: fits, public: public}}, nil
}

func goodID(id string) error {
	switch {
	case id == "":
		return errors.New("no kid")
	case len(id) > maxKeyID:
		return fmt.Errorf("a kid of %d octets, want at most %d", len(id), maxKeyID)
	}
	return nil
}

// goodRSA returns an error for insecure keys.
func goodRSA(p *rsa.PublicKey) error {
	bits := p.N.BitLen()
	switch {
	case bits < minModulus:
		return fmt.Errorf("RSA key of %d bits, want at least %d (RFC 7518 s3.3)", bits, minModulus)
	case p.N.Bit(0) == 0:
		return errors.New("RSA modulus is even")
	// With exponent 1 everyone can sign; small exponents tolerate padding mistakes of the signer
	// (NIST FIPS 186-5 s5.1: over 2^16, odd). crypto/rsa supports at most 31 bits.
	case p.E < 65537 || p.E&1 == 0 || p.E > 1<<31-1:
		return fmt.Errorf("RSA public exponent %d, want an odd one from 65537 to 2147483647", p.E)
	case isROCA(p.N):
		return errors.New("RSA key with the fingerprint of CVE-2017-15361 (ROCA): its factors can be found")
	}
	return nil
}

// isROCA reports whether n was probably generated by the library of CVE-2017-15361. Its primes come
// from powers of 65537, so n is such a power modulo each of the first primes; for a random number
// the probability is at most 2^-27.
func isROCA(n *big.Int) bool {
	var m big.Int
	for _, p := range [...]int64{
		3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
		101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
	} {
		rest, power := m.Mod(n, big.NewInt(p)).Int64(), int64(1)
		for tried := int64(1); power != rest; tried++ {
			if tried == p {
				return false
			}
			power = power * 65537 % p
		}
	}
	return true
}

// The field of Ed25519 and the constant of its curve (RFC 8032 s5.1).
var (
	p25519 = new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	d25519 = func() *big.Int {
		d := new(big.Int).ModInverse(big.NewInt(121666), p25519)
		d.Mul(d, big.NewInt(-121665))
		return d.Mod(d, p25519)
	}()
)

// goodEd25519 refuses keys that are not points of the curve, and the points of small order, for
// which signatures can be made without a secret.
func goodEd25519(p ed25519.PublicKey) error {
	if len(p) != ed25519.PublicKeySize {
		return fmt.Errorf("Ed25519 key of %d octets, it has %d (RFC 8037 s2)", len(p), ed25519.PublicKeySize)
	}
	big1 := big.NewInt(1)
	le := slices.Clone(p)
	le[31] &= 0x7f // the sign of x
	slices.Reverse(le)
	y := new(big.Int).SetBytes(le)
	if y.Cmp(p25519) >= 0 {
		return errors.New("Ed25519 key is not in canonical form (RFC 8032 s5.1.3)")
	}
	// x² = (y² - 1) / (d y² + 1) must be a square.
	y2 := new(big.Int).Mul(y, y)
	u := new(big.Int).Sub(y2, big1)
	v := new(big.Int).Mul(y2, d25519)
	v.Add(v, big1).Mod(v, p25519)
	x2 := v.ModInverse(v, p25519)
	if x2 == nil {
		return errors.New("Ed25519 key is not a point of the curve")
	}
	x2.Mul(x2, u).Mod(x2, p25519)
	if big.Jacobi(x2, p25519) < 0 {
		return errors.New("Ed25519 key is not a point of the curve")
	}
	// Order 1, 2, 4: x y = 0. Order 8: a point whose double has y = 0, and by the
	// doubling formula that is y² = -x² for a = -1.
	sum := new(big.Int).Add(x2, y2)
	if x2.Sign() == 0 || y.Sign() == 0 || sum.Mod(sum, p25519).Sign() == 0 {
		return errors.New("Ed25519 key is a point of small order")
	}
	return nil
}

// PrivateKey signs access tokens. It is immutable and safe for concurrent use. Printing it does not
// show the secret; [PrivateKey.MarshalJWK] returns it.
type PrivateKey struct {
	key    *Key
	signer *crypto.Signer // *ecdsa.PrivateKey, ed25519.PrivateKey or *rsa.PrivateKey; nil for HS256
	header string         // encoded header with its dot, the same in all tokens
}

// GenerateKey generates a key for an algorithm: ES256, ES384 or ES512; EdDSA or Ed25519 (two names
// of the same); RS256, RS384, RS512, PS256, PS384 or PS512 (2048 bits); HS256 (256 bits). Its ID is
// the thumbprint of RFC 7638, for HS256 a random one.
func GenerateKey(alg string) (*PrivateKey, error) {
	var key crypto.Signer
	var err error
	switch alg {
	case "ES256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA", "Ed25519":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case "RS256", "PS256", "RS384", "PS384", "RS512", "PS512":
		key, err = rsa.GenerateKey(rand.Reader, minModulus)
	case "HS256":
		random := make([]byte, minSecret+16)
		_, _ = rand.Read(random) // crypto/rand.Read never returns an error
		return SharedSecret(base64.RawURLEncoding.EncodeToString(random[minSecret:]), random[:minSecret])
	default:
		return nil, fmt.Errorf("jwt: algorithm %q is not one of %s", cut(alg), strings.Join(algorithms, ", "))
	}
	if err != nil {
		return nil, fmt.Errorf("jwt: %w", err)
	}
	return newPrivateKey("", alg, key)
}

// SharedSecret returns the HS256 key of a secret with at least 32 bytes (RFC 7518 s3.2). Every
// service that verifies with it can also sign; prefer a key pair.
func SharedSecret(kid string, secretOctets []byte) (*PrivateKey, error) {
	if len(secretOctets) < minSecret {
		return nil, fmt.Errorf("jwt: shared secret of %d octets, want at least %d random ones (RFC 7518 s3.2)", len(secretOctets), minSecret)
	}
	if err := goodID(kid); err != nil {
		return nil, fmt.Errorf("jwt: shared secret: %w", err)
	}
	s := slices.Clone(secretOctets)
	m := &material{algs: ofSecret, secret: &s, macs: &sync.Pool{New: func() any { return hmac.New(sha256.New, s) }}}
	return withHeader(&PrivateKey{key: &Key{id: kid, alg: "HS256", m: m}})
}

// newPrivateKey returns a key that signs with alg; an empty alg means the default of its type.
func newPrivateKey(id, alg string, key crypto.Signer) (*PrivateKey, error) {
	// newKey requires the pointer types of the standard library.
	public, err := newKey(id, alg, key.Public())
	if err != nil {
		return nil, fmt.Errorf("jwt: private key: %w", err)
	}
	public.alg = cmp.Or(public.alg, public.m.algs[0])
	return withHeader(&PrivateKey{key: public, signer: &key})
}

func withHeader(k *PrivateKey) (*PrivateKey, error) {
	// RFC 9068 s2.1. alg and typ need no escaping.
	text := []byte(`{"alg":"` + k.key.alg + `","typ":"at+jwt","kid":`)
	text, err := jsontext.AppendQuote(text, k.key.id)
	if err != nil {
		return nil, fmt.Errorf("jwt: kid: %w", err)
	}
	k.header = base64.RawURLEncoding.EncodeToString(append(text, '}')) + "."
	return k, nil
}

// ID returns the kid.
func (k *PrivateKey) ID() string { return k.key.id }

// Algorithm returns the name in RFC 7518, such as "ES256".
func (k *PrivateKey) Algorithm() string { return k.key.alg }

// Public returns the verification key: the same pointer in each call.
func (k *PrivateKey) Public() *Key { return k.key }

// String returns a name for logs, without the secret.
func (k PrivateKey) String() string {
	if k.key == nil {
		return "no private key"
	}
	return "private " + k.key.String()
}

// Format prints the result of String for all verbs.
func (k PrivateKey) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(k.String())) }

// LogValue returns the result of String.
func (k PrivateKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON writes the result of String. [PrivateKey.MarshalJWK] writes the key.
func (k PrivateKey) MarshalJSON() ([]byte, error) { return jsontext.AppendQuote(nil, k.String()) }

// encoders holds buffers for encoding tokens.
var encoders = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

// Sign returns an access token (RFC 9068 s2). It returns an error with all mistakes if a [Verifier]
// would refuse the claims.
func (k *PrivateKey) Sign(c Claims) (string, error) {
	if err := c.check(); err != nil {
		return "", err
	}
	scratch := encoders.Get().(*[]byte)
	defer encoders.Put(scratch)
	claims, err := c.append((*scratch)[:0])
	if err != nil {
		return "", err
	}
	size := len(k.header) + base64.RawURLEncoding.EncodedLen(len(claims)) + 1 + 342 // for a 2048-bit key; append grows it for a larger one
	token := make([]byte, 0, len(claims)+size)
	token = append(token, k.header...)
	token = base64.RawURLEncoding.AppendEncode(token, claims)
	*scratch = claims[:0]
	signature, err := k.sign(token)
	if err != nil {
		return "", fmt.Errorf("jwt: sign with %s: %w", k, err)
	}
	token = append(token, '.')
	token = base64.RawURLEncoding.AppendEncode(token, signature)
	if len(token) > maxToken {
		return "", fmt.Errorf("jwt: the token would have %d octets, want at most %d: reduce its claims", len(token), maxToken)
	}
	return string(token), nil
}

// SignJWT returns a JWT of another kind than an access token, such as an ID token. typ is the value of its
// header parameter typ (RFC 7515 s4.1.9), and claims become its payload as JSON. An access token is made by
// Sign, which checks its claims: SignJWT refuses the type at+jwt.
func (k *PrivateKey) SignJWT(typ string, claims any) (string, error) {
	if strings.EqualFold(strings.TrimPrefix(strings.ToLower(typ), "application/"), "at+jwt") {
		return "", errors.New("jwt: SignJWT signs no access tokens; use Sign")
	}
	header, err := json.Marshal(struct {
		Algorithm string `json:"alg"`
		Type      string `json:"typ"`
		KeyID     string `json:"kid"`
	}{k.key.alg, typ, k.key.id})
	if err != nil {
		return "", fmt.Errorf("jwt: header: %w", err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("jwt: claims: %w", err)
	}
	text := base64.RawURLEncoding.AppendEncode(nil, header)
	text = base64.RawURLEncoding.AppendEncode(append(text, '.'), payload)
	signature, err := k.sign(text)
	if err != nil {
		return "", fmt.Errorf("jwt: sign with %s: %w", k, err)
	}
	return string(base64.RawURLEncoding.AppendEncode(append(text, '.'), signature)), nil
}

func (k *PrivateKey) sign(input []byte) ([]byte, error) {
	if k.signer == nil {
		return k.key.m.mac(nil, input), nil
	}
	h := hashOf(k.key.alg)
	switch signer := (*k.signer).(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, signer, hashed(nil, h, input))
		if err != nil {
			return nil, err
		}
		size := octetsOf(signer.Curve)
		signature := make([]byte, 2*size) // RFC 7518 s3.4
		r.FillBytes(signature[:size])
		s.FillBytes(signature[size:])
		return signature, nil
	case *rsa.PrivateKey:
		if k.key.alg[0] == 'P' {
			return signer.Sign(rand.Reader, hashed(nil, h, input), pss(h))
		}
		return signer.Sign(nil, hashed(nil, h, input), h)
	}
	return (*k.signer).Sign(nil, input, crypto.Hash(0)) // Ed25519
}
