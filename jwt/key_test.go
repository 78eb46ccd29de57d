package jwt

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/durward-auth/durward"
)

// rsaKey returns a public key without its factors, which suffices for keys that are refused.
func rsaKey(n *big.Int, e int) *rsa.PublicKey { return &rsa.PublicKey{N: n, E: e} }

// modulus returns a number of this many bits, with the first and the last bit set.
func modulus(bits int) *big.Int {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	return n.Add(n, big.NewInt(12345677))
}

// weakModulus returns a modulus with the fingerprint of ROCA: a power of 65537 modulo the product
// of the first primes.
func weakModulus() *big.Int {
	m := big.NewInt(1)
	for p := int64(3); p <= 167; p += 2 {
		if big.NewInt(p).ProbablyPrime(10) {
			m.Mul(m, big.NewInt(p))
		}
	}
	m.Lsh(m, 1) // make it odd
	n := new(big.Int).Exp(big.NewInt(65537), big.NewInt(123456789), m)
	return n.Add(n, m.Mul(m, new(big.Int).Div(modulus(2048), m)))
}

// Insecure and invalid keys are refused.
func TestWeakKeys(t *testing.T) {
	t.Parallel()
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point := func(hexOctets string) ed25519.PublicKey {
		b, err := hex.DecodeString(hexOctets)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	p := elliptic.P256().Params()
	good := generate(t, "ES256").key.m.public.(*ecdsa.PublicKey)
	if weakModulus().BitLen() < 2047 {
		t.Fatal("weak modulus is short")
	}
	for name, test := range map[string]struct {
		id, alg string
		key     any
		want    string
	}{
		"RSA, 2047 bits":    {"", "", rsaKey(modulus(2047), 65537), "RSA key of 2047 bits, want at least 2048"},
		"RSA, 512 bits":     {"", "", rsaKey(modulus(512), 65537), "RSA key of 512 bits"},
		"RSA, even":         {"", "", rsaKey(new(big.Int).Lsh(modulus(2047), 1), 65537), "modulus is even"},
		"RSA, e = 1":        {"", "", rsaKey(modulus(2048), 1), "exponent 1,"},
		"RSA, e = 3":        {"", "", rsaKey(modulus(2048), 3), "exponent 3,"},
		"RSA, e = 65535":    {"", "", rsaKey(modulus(2048), 65535), "exponent 65535,"},
		"RSA, e = 65538":    {"", "", rsaKey(modulus(2048), 65538), "exponent 65538,"},
		"RSA, e = 2^31 + 1": {"", "", rsaKey(modulus(2048), 1<<31+1), "exponent 2147483649,"},
		"RSA, ROCA":         {"", "", rsaKey(weakModulus(), 65537), "CVE-2017-15361"},
		"RSA for ES256":     {"", "ES256", rsaKey(modulus(2048), 65537), `alg "ES256" does not fit this type of key, want RS256, PS256, `},
		"EC, P-224":         {"", "", &p224.PublicKey, "curve P-224"},
		//lint:ignore SA1019 a point off the curve can be written in no other way
		"EC, off the curve": {"", "", &ecdsa.PublicKey{Curve: elliptic.P256(), X: good.X, Y: new(big.Int).Add(good.Y, big.NewInt(1))}, "not a point of P-256"},
		//lint:ignore SA1019 a point off the curve can be written in no other way
		"EC, 0 0": {"", "", &ecdsa.PublicKey{Curve: elliptic.P256(), X: new(big.Int), Y: new(big.Int)}, "not a point of P-256"},
		//lint:ignore SA1019 a point off the curve can be written in no other way
		"EC, x of the field":    {"", "", &ecdsa.PublicKey{Curve: elliptic.P256(), X: p.P, Y: good.Y}, "not a point of P-256"},
		"EC for EdDSA":          {"", "EdDSA", good, `alg "EdDSA" does not fit`},
		"EC for HS256":          {"", "HS256", good, `alg "HS256" does not fit`},
		"Ed25519, 31 octets":    {"", "", make(ed25519.PublicKey, 31), "31 octets"},
		"Ed25519, order 1":      {"", "", point("0100000000000000000000000000000000000000000000000000000000000000"), "small order"},
		"Ed25519, order 2":      {"", "", point("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), "small order"},
		"Ed25519, order 4":      {"", "", point("0000000000000000000000000000000000000000000000000000000000000000"), "small order"},
		"Ed25519, order 4, -x":  {"", "", point("0000000000000000000000000000000000000000000000000000000000000080"), "small order"},
		"Ed25519, order 8":      {"", "", point("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "small order"},
		"Ed25519, order 8, too": {"", "", point("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "small order"},
		"Ed25519, y = p":        {"", "", point("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), "canonical form"},
		"Ed25519, y = 2^255-1":  {"", "", point("ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"), "canonical form"},
		"Ed25519, no point":     {"", "", point("0200000000000000000000000000000000000000000000000000000000000000"), "not a point of the curve"},
		"kid too long":          {strings.Repeat("k", 257), "", good, "a kid of 257 octets"},
		"another type":          {"", "", "text", "not an EC, Ed25519 or RSA key"},
	} {
		k, err := newKey(test.id, test.alg, test.key)
		if k != nil || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, %v, want %q", name, k, err, test.want)
		}
	}
	for name, test := range map[string]struct {
		id, alg string
		key     any
		want    string
	}{
		"RSA, 2048 bits":     {"a", "", rsaKey(modulus(2048), 65537), ""},
		"RSA, 4096 bits":     {"a", "PS256", rsaKey(modulus(4096), 65537), "PS256"},
		"RSA, e = 2^31 - 1":  {"a", "RS512", rsaKey(modulus(2048), 1<<31-1), "RS512"},
		"kid of 256 octets":  {strings.Repeat("k", 256), "ES256", good, "ES256"},
		"Ed25519, RFC 8037":  {"a", "", point("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"), ""},
		"kid, any character": {"a b/ü\x00", "", good, ""},
	} {
		k, err := newKey(test.id, test.alg, test.key)
		if err != nil || k.Algorithm() != test.want || k.ID() != test.id {
			t.Errorf("%s: got %v, %v, want one for %s", name, k, err, test.want)
		}
	}

	for n, want := range map[int]bool{0: false, 31: false, 32: true, 1000: true} {
		if _, err := SharedSecret("s", make([]byte, n)); (err == nil) != want {
			t.Errorf("secret of %d octets: got %v", n, err)
		}
	}
	for _, kid := range []string{"", strings.Repeat("k", 257), "\xff"} {
		if _, err := SharedSecret(kid, make([]byte, 32)); err == nil {
			t.Errorf("shared secret with the kid %.20q was accepted", kid)
		}
	}
	for _, alg := range []string{"", "none", "HS384", "es256"} {
		if _, err := GenerateKey(alg); err == nil {
			t.Errorf("a key for %q was made", alg)
		}
	}
}

// Values that are invalid in an ES256 signature (CVE-2022-21449 and similar), in an otherwise valid
// token.
func TestSignatureEdges(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	v := verifier(t, Config{}, k.Public())
	token := sign(t, k, example())
	dot := strings.LastIndexByte(token, '.') + 1
	good, err := b64.DecodeString(token[dot:])
	if err != nil {
		t.Fatal(err)
	}
	order := elliptic.P256().Params().N.Bytes()
	zero, one := make([]byte, 32), append(make([]byte, 31), 1)
	der, _ := derSignature(good, 32)
	s := new(big.Int).SetBytes(good[32:])
	for name, signature := range map[string][]byte{
		"r = s = 0":         append(slices.Clone(zero), zero...),
		"r = 0":             append(slices.Clone(zero), good[32:]...),
		"s = 0":             append(slices.Clone(good[:32]), zero...),
		"r = s = n":         append(slices.Clone(order), order...),
		"s = n":             append(slices.Clone(good[:32]), order...),
		"s + n, 33 octets":  append(slices.Clone(good[:32]), new(big.Int).Add(s, elliptic.P256().Params().N).Bytes()...),
		"r = s = 1":         append(slices.Clone(one), one...),
		"r = s = 2^256 - 1": bytes.Repeat([]byte{0xff}, 64),
		"empty":             {},
		"63 octets":         good[:63],
		"65 octets":         append(slices.Clone(good), 0),
		"zero before":       append([]byte{0}, good...),
		"96 octets":         make([]byte, 96),
		"ASN.1":             der,
		"ASN.1 of zeros":    {0x30, 6, 2, 1, 0, 2, 1, 0}, // MAYCAQACAQA
		"r and s swapped":   append(slices.Clone(good[32:]), good[:32]...),
	} {
		bad := token[:dot] + b64.EncodeToString(signature)
		_, err := v.Verify(t.Context(), bad)
		refused(t, bad, err, durward.InvalidToken, "signature is not one of key")
		if name == "empty" && k.Public().verify("ES256", []byte(token[:dot-1]), nil) {
			t.Error("no signature verifies")
		}
	}
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Error(err)
	}
	if (&Key{id: "a", alg: "ES256"}).verify("ES256", nil, nil) || (&Key{id: "a", alg: "none", m: k.key.m}).verify("none", nil, nil) {
		t.Error("an empty key, or one of no algorithm, verifies")
	}
}

// A key is used with its own algorithm only.
func TestKeyServesOneAlgorithm(t *testing.T) {
	t.Parallel()
	rs := generate(t, "RS256")
	ps, err := newPrivateKey(rs.ID(), "PS256", *rs.signer)
	if err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]*PrivateKey{{rs, ps}, {ps, rs}} {
		v := verifier(t, Config{}, pair[0].Public())
		token := sign(t, pair[1], example())
		_, err := v.Verify(t.Context(), token)
		refused(t, token, err, durward.InvalidToken, "the token says")
		if rs.Public().equal(ps.Public()) {
			t.Error("keys for two algorithms are called equal")
		}
	}
}

// Printing a key does not show its secret; MarshalJWK returns it.
func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	for _, alg := range algorithms {
		k := generate(t, alg)
		jwk, err := k.MarshalJWK()
		if err != nil {
			t.Fatal(err)
		}
		var members map[string]string
		if err := json.Unmarshal(jwk, &members); err != nil {
			t.Fatal(err)
		}
		var secrets []string
		for _, name := range secretMembers {
			if text := members[name]; text != "" {
				octets, err := b64.DecodeString(text)
				if err != nil {
					t.Fatal(err)
				}
				secrets = append(secrets, text, fmt.Sprintf("%x", octets), fmt.Sprintf("%X", octets), new(big.Int).SetBytes(octets).String(), strings.Trim(fmt.Sprint(octets), "[]"), string(octets))
			}
		}
		if len(secrets) == 0 {
			t.Fatalf("%s: no secret in %v", alg, members)
		}
		holder := struct {
			Private *PrivateKey
			private PrivateKey
			Public  *Key
			public  Key
		}{k, *k, k.Public(), *k.Public()}
		var printed strings.Builder
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			for _, value := range []any{k, *k, k.Public(), *k.Public(), holder, &holder, []any{k}} {
				fmt.Fprintf(&printed, verb+"\n", value)
			}
		}
		for _, value := range []any{k, *k, k.Public(), *k.Public(), holder} {
			b, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			printed.Write(b)
			slog.New(slog.NewTextHandler(&printed, nil)).Info("x", "key", value)
			slog.New(slog.NewJSONHandler(&printed, nil)).Info("x", "key", value)
		}
		set, err := MarshalKeySet([]*Key{k.Public()})
		if err != nil {
			t.Fatal(err)
		}
		printed.Write(set)
		for _, s := range secrets {
			if strings.Contains(printed.String(), s) {
				t.Errorf("%s: printed %.40q, which is secret", alg, s)
			}
		}
		if want := fmt.Sprintf("private %s key %q", alg, k.ID()); k.String() != want || k.LogValue().String() != want {
			t.Errorf("got %s, want %s", k, want)
		}
		if want := fmt.Sprintf("%s key %q", alg, k.ID()); k.Public().String() != want || k.Public().LogValue().String() != want {
			t.Errorf("got %s, want %s", k.Public(), want)
		}
		// The JWK is parsed to the same key.
		again, err := ParsePrivateKey(jwk)
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		if !again.Public().equal(k.Public()) || again.ID() != k.ID() || again.Algorithm() != alg {
			t.Errorf("%s: got %v back, want %v", alg, again, k)
		}
		if _, err := verifyJWS(sign(t, again, example()), k.Public()); err != nil {
			t.Errorf("%s: what the key signs that came back: %v", alg, err)
		}
	}
	if got := (PrivateKey{}).String(); got != "no private key" {
		t.Errorf("empty key prints %q", got)
	}
}

func TestKeysAreEqual(t *testing.T) {
	t.Parallel()
	for _, alg := range algorithms {
		a, b := generate(t, alg), generate(t, alg)
		jwk, err := a.MarshalJWK()
		if err != nil {
			t.Fatal(err)
		}
		same, err := ParsePrivateKey(jwk)
		if err != nil {
			t.Fatal(err)
		}
		if !a.key.equal(same.key) {
			t.Errorf("%s: a key is not equal to its copy", alg)
		}
		named := &Key{id: a.ID(), alg: alg, m: b.key.m}
		renamed := &Key{id: "other", alg: alg, m: a.key.m}
		for what, other := range map[string]*Key{
			"another key of its name":   named,
			"itself under another name": renamed,
			"itself of another issuer":  {id: a.ID(), alg: alg, issuer: issuer, m: a.key.m},
			"an empty one":              {id: a.ID(), alg: alg},
			"another type":              {id: a.ID(), alg: alg, m: &material{public: crypto.PublicKey("x")}},
		} {
			if a.key.equal(other) {
				t.Errorf("%s: a key is equal to %s", alg, what)
			}
		}
	}
}
