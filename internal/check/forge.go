package check

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"hash"
	"maps"
	"math/big"
	"strings"
	"time"
)

// forged is a token that no server may accept.
type forged struct{ token, text string }

// part decodes the first or second part of a JSON Web Token.
func part(token string, i int, v any) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	text, err := base64.RawURLEncoding.DecodeString(parts[i])
	return err == nil && json.Unmarshal(text, v) == nil
}

// issuerOf returns the claim iss of a token, "" if it has none.
func issuerOf(token string) string {
	var claims struct {
		Issuer string `json:"iss"`
	}
	if !part(token, 1, &claims) {
		return ""
	}
	return claims.Issuer
}

// forge returns forged tokens with the claims of a good one (RFC 8725 s2.1, s3.1). Without a good
// token, or if it is not a JSON Web Token, the claims are those of an invented token of issuer. keys are
// the public keys of the issuer, if they are known.
func forge(good, issuer string, keys []publicKey) []forged {
	header, payload := map[string]any{"typ": "at+jwt", "alg": "ES256", "kid": "1"}, ""
	var read map[string]any
	if part(good, 0, &read) && read["alg"] != nil {
		header, payload = read, strings.Split(good, ".")[1]
	}
	if payload == "" {
		now := time.Now().Unix()
		payload = encode(map[string]any{
			"iss": issuer, "aud": issuer, "sub": "durward-check", "client_id": "durward-check", "jti": "durward-check",
			"iat": now, "nbf": now, "exp": now + 300,
		})
	}
	alg, _ := header["alg"].(string)
	with := func(name string, value any) map[string]any {
		changed := maps.Clone(header)
		changed[name] = value
		return changed
	}
	none := encode(with("alg", "none")) + "." + payload + "."
	unsigned := encode(header) + "." + payload + "."
	key := newForger(alg)
	header["alg"] = key.alg
	own := encode(header) + "." + payload
	all := []forged{
		{none, "an unsigned token, alg none"},
		{unsigned, "a token without its signature"},
		{own + "." + key.sign(own), "a token signed by the check itself"},
	}
	if key.public != nil {
		brought := encode(with("jwk", key.public)) + "." + payload
		all = append(all, forged{brought + "." + key.sign(brought), "a token that brings its own key"})
	}
	kid, _ := header["kid"].(string)
	for _, k := range keys {
		if text := k.pem(); text != nil && (kid == k.ID || good == "") {
			header["alg"] = "HS256"
			mixed := encode(header) + "." + payload
			all = append(all, forged{mixed + "." + mac(sha256.New, text, mixed), "a token whose HMAC has the public key as its secret"})
			break
		}
	}
	return all
}

// publicKey is a public key of a key set (RFC 7517 s4).
type publicKey struct {
	ID    string `json:"kid"`
	Type  string `json:"kty"`
	Curve string `json:"crv"`
	N     string `json:"n"`
	E     string `json:"e"`
	X     string `json:"x"`
	Y     string `json:"y"`
}

// pem returns the key in PEM, the form in which servers keep it, and nil if it is none.
func (k publicKey) pem() []byte {
	number := func(text string) *big.Int {
		octets, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil || len(octets) > 1024 {
			return new(big.Int)
		}
		return new(big.Int).SetBytes(octets)
	}
	var key any
	switch k.Type {
	case "RSA":
		e := number(k.E)
		if !e.IsInt64() || e.Int64() > 1<<31-1 {
			return nil
		}
		key = &rsa.PublicKey{N: number(k.N), E: int(e.Int64())}
	case "EC":
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[k.Curve]
		if curve == nil {
			return nil
		}
		size := (curve.Params().BitSize + 7) / 8
		x, y := number(k.X), number(k.Y)
		if x.BitLen() > 8*size || y.BitLen() > 8*size {
			return nil
		}
		point := make([]byte, 1+2*size)
		point[0] = 4 // uncompressed (SEC 1 s2.3.3)
		x.FillBytes(point[1 : 1+size])
		y.FillBytes(point[1+size:])
		public, err := ecdsa.ParseUncompressedPublicKey(curve, point)
		if err != nil {
			return nil
		}
		key = public
	case "OKP":
		if octets, err := base64.RawURLEncoding.DecodeString(k.X); err == nil && len(octets) == ed25519.PublicKeySize {
			key = ed25519.PublicKey(octets)
		}
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// mac returns an HMAC (RFC 7518 s3.2) in base64url.
func mac(kind func() hash.Hash, secret []byte, input string) string {
	m := hmac.New(kind, secret)
	m.Write([]byte(input))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// encode returns v as JSON in base64url.
func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil { // not possible with values that came from JSON
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// forger signs with a key of the check itself.
type forger struct {
	alg    string
	public map[string]any // the public key as a JWK; nil for a symmetric key
	sign   func(input string) string
}

// newForger creates a key for an algorithm of RFC 7518 s3.1 or RFC 8037 s3.1; other algorithms become
// ES256.
func newForger(alg string) forger {
	text := base64.RawURLEncoding.EncodeToString
	digest := func(input string) (crypto.Hash, []byte) {
		kind, h := crypto.SHA256, hash.Hash(sha256.New())
		if strings.HasSuffix(alg, "384") {
			kind, h = crypto.SHA384, sha512.New384()
		} else if strings.HasSuffix(alg, "512") {
			kind, h = crypto.SHA512, sha512.New()
		}
		h.Write([]byte(input))
		return kind, h.Sum(nil)
	}
	switch alg {
	case "HS256", "HS384", "HS512":
		return forger{alg, nil, func(input string) string {
			kind, _ := digest("")
			return mac(kind.New, []byte("durward-check durward-check durward-check"), input)
		}}
	case "RS256", "RS384", "RS512", "PS256", "PS384", "PS512":
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			break
		}
		public := map[string]any{"kty": "RSA", "n": text(key.N.Bytes()), "e": "AQAB"}
		return forger{alg, public, func(input string) string {
			kind, sum := digest(input)
			var signature []byte
			if alg[0] == 'P' {
				signature, _ = rsa.SignPSS(rand.Reader, key, kind, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
			} else {
				signature, _ = rsa.SignPKCS1v15(nil, key, kind, sum)
			}
			return text(signature)
		}}
	case "EdDSA", "Ed25519":
		public, key, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			break
		}
		jwk := map[string]any{"kty": "OKP", "crv": "Ed25519", "x": text(public)}
		return forger{alg, jwk, func(input string) string { return text(ed25519.Sign(key, []byte(input))) }}
	}
	curve, name := elliptic.P256(), "P-256"
	switch alg {
	case "ES384":
		curve, name = elliptic.P384(), "P-384"
	case "ES512":
		curve, name = elliptic.P521(), "P-521"
	default:
		alg = "ES256"
	}
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil { // crypto/rand does not fail
		return forger{alg, nil, func(string) string { return "" }}
	}
	size := (curve.Params().BitSize + 7) / 8
	point, err := key.PublicKey.Bytes() // 4, x and y
	if err != nil {
		return forger{alg, nil, func(string) string { return "" }}
	}
	public := map[string]any{"kty": "EC", "crv": name, "x": text(point[1 : 1+size]), "y": text(point[1+size:])}
	return forger{alg, public, func(input string) string {
		_, sum := digest(input)
		r, s, err := ecdsa.Sign(rand.Reader, key, sum)
		if err != nil {
			return ""
		}
		signature := make([]byte, 2*size) // RFC 7518 s3.4
		r.FillBytes(signature[:size])
		s.FillBytes(signature[size:])
		return text(signature)
	}}
}
