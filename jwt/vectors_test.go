package jwt

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/durward-auth/durward"
)

func load(t *testing.T, name string, to any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, to); err != nil {
		t.Fatal(err)
	}
}

// verifyJWS checks form, algorithm and signature of a token as Verify does, without its claims.
func verifyJWS(token string, key *Key) ([]byte, error) {
	c, err := split(token, new(scratch))
	if err == nil {
		err = c.header.parse(c.head, nil)
	}
	if err != nil {
		return nil, err
	}
	return c.payload, c.signedBy(key)
}

// keyOf parses the key of a vector as users do: a symmetric one from configuration, another from a
// key set.
func keyOf(jwk json.RawMessage) (*Key, error) {
	var kty struct{ Kty, Kid string }
	if err := json.Unmarshal(jwk, &kty); err != nil {
		return nil, err
	}
	if kty.Kty == "oct" {
		if kty.Kid == "" {
			jwk = append([]byte(`{"kid":"vector",`), jwk[1:]...)
		}
		k, err := ParsePrivateKey(jwk)
		if err != nil {
			return nil, err
		}
		return k.Public(), nil
	}
	keys, err := ParseKeySet([]byte(`{"keys":[` + string(jwk) + `]}`))
	if err != nil {
		return nil, err
	}
	return keys[0], nil
}

func TestRFC7515AndRFC8037(t *testing.T) {
	t.Parallel()
	var file struct {
		Tests []struct {
			Name string
			JWK  json.RawMessage
			JWS  string
		}
	}
	load(t, "rfc/rfc7515_jws.json", &file)
	if len(file.Tests) != 5 {
		t.Fatalf("got %d vectors, want 5", len(file.Tests))
	}
	for _, test := range file.Tests {
		t.Run(test.Name, func(t *testing.T) {
			t.Parallel()
			if test.JWK == nil { // A.5: alg none
				for _, alg := range algorithms {
					if _, err := verifyJWS(test.JWS, generate(t, alg).Public()); err == nil {
						t.Errorf("an unsigned token was accepted with a key for %s", alg)
					}
				}
				return
			}
			key, err := keyOf(test.JWK)
			if err != nil {
				t.Fatal(err)
			}
			payload, err := verifyJWS(test.JWS, key)
			if err != nil {
				t.Errorf("%s: got %v, want valid", test.JWS, err)
			}
			if want := strings.Split(test.JWS, ".")[1]; base64.RawURLEncoding.EncodeToString(payload) != want {
				t.Errorf("payload is %q, want what %s stands for", payload, want)
			}
			if _, err := verifyJWS(test.JWS, generate(t, cmp.Or(key.alg, key.m.algs[0])).Public()); err == nil {
				t.Error("accepted with another key")
			}
		})
	}
}

// The cookbook's compact tokens with supported algorithms are valid, others are refused. Sign
// reproduces the deterministic signatures.
func TestCookbook(t *testing.T) {
	t.Parallel()
	type vector struct {
		Input struct {
			Payload string
			Key     json.RawMessage
			Alg     json.RawMessage
		}
		Signing json.RawMessage
		Output  struct {
			Compact string
			JSON    json.RawMessage
		}
		Reproducible bool
	}
	for name, want := range map[string]string{
		"4_1.rsa_v15_signature.json":                 "RS256",
		"4_2.rsa-pss_signature.json":                 "PS384",
		"4_3.ecdsa_signature.json":                   "ES512",
		"4_4.hmac-sha2_integrity_protection.json":    "HS256",
		"4_6.protecting_specific_header_fields.json": "",
		"4_7.protecting_content_only.json":           "",
		"4_8.multiple_signatures.json":               "",
		"jws.json":                                   "EdDSA",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var v vector
			load(t, "cookbook/"+name, &v)
			token := v.Output.Compact
			if token == "" {
				token = string(v.Output.JSON)
			}
			if want == "" {
				for _, alg := range algorithms {
					if _, err := verifyJWS(token, generate(t, alg).Public()); err == nil {
						t.Errorf("accepted with a key for %s: %s", alg, token)
					}
				}
				return
			}
			private, err := ParsePrivateKey(v.Input.Key)
			if err != nil {
				t.Fatal(err)
			}
			if private.Algorithm() != want { // the key has no alg, the header has
				if private, err = newPrivateKey(private.ID(), want, *private.signer); err != nil {
					t.Fatal(err)
				}
			}
			payload, err := verifyJWS(token, private.Public())
			if err != nil || string(payload) != v.Input.Payload {
				t.Errorf("%s: got %q, %v, want %q", token, payload, err, v.Input.Payload)
			}
			dot := strings.LastIndexByte(token, '.')
			signature, err := private.sign([]byte(token[:dot]))
			if err != nil {
				t.Fatal(err)
			}
			if got := base64.RawURLEncoding.EncodeToString(signature); got != token[dot+1:] && v.Reproducible || len(got) != len(token[dot+1:]) {
				t.Errorf("signed anew: got %s, want %s", got, token[dot+1:])
			}
		})
	}
}

type ledgerLine struct{ result, reason string }

// ledger parses lines "tcId valid|invalid [reason]".
func ledger(t *testing.T, name string) map[int]ledgerLine {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := make(map[int]ledgerLine)
	for s := bufio.NewScanner(f); s.Scan(); {
		if text := s.Text(); text != "" && text[0] != '#' {
			id, rest, _ := strings.Cut(text, " ")
			n, err := strconv.Atoi(id)
			if _, twice := lines[n]; err != nil || twice {
				t.Fatalf("ledger line %q", text)
			}
			result, reason, _ := strings.Cut(rest, " ")
			lines[n] = ledgerLine{result, reason}
		}
	}
	return lines
}

type joseVectors struct {
	TestGroups []struct {
		Comment         string
		Public, Private json.RawMessage
		Tests           []struct {
			TcID    int
			Comment string
			JWS     json.RawMessage
			JWE     json.RawMessage
			Result  string
		}
	}
}

// checkLedger compares results with the ledger, and the ledger with the vectors: a line has a
// reason if and only if the two differ.
func checkLedger(t *testing.T, name string, lines map[int]ledgerLine, v joseVectors, accept func(key json.RawMessage, jws string) error) {
	t.Helper()
	seen := 0
	for _, g := range v.TestGroups {
		key := g.Public
		if key == nil {
			key = g.Private
		}
		for _, test := range g.Tests {
			seen++
			text, jws := test.JWS, ""
			if text == nil {
				text = test.JWE
			}
			if json.Unmarshal(text, &jws) != nil {
				jws = string(text) // JSON serialization
			}
			got, why := "valid", accept(key, jws)
			if why != nil {
				got = "invalid"
			}
			line, ok := lines[test.TcID]
			if !ok {
				t.Errorf("%s: vector %d (%s, %s, file says %s) is not in the ledger; we say %s: %v", name, test.TcID, g.Comment, test.Comment, test.Result, got, why)
				continue
			}
			if got != line.result {
				t.Errorf("%s: vector %d (%s, %s): got %s (%v), want %s\n%s", name, test.TcID, g.Comment, test.Comment, got, why, line.result, jws)
			}
			if differs := line.result != test.Result; differs != (line.reason != "") {
				t.Errorf("%s: vector %d: the file says %s, the ledger %s with the reason %q", name, test.TcID, test.Result, line.result, line.reason)
			}
		}
	}
	if seen != len(lines) {
		t.Errorf("%s: %d vectors, %d lines in the ledger", name, seen, len(lines))
	}
}

func TestWycheproofJWS(t *testing.T) {
	t.Parallel()
	var v joseVectors
	load(t, "wycheproof/json_web_signature_test.json", &v)
	checkLedger(t, "jws", ledger(t, "wycheproof_jws_ledger.txt"), v, func(jwk json.RawMessage, jws string) error {
		key, err := keyOf(jwk)
		if err != nil {
			return err
		}
		_, err = verifyJWS(jws, key)
		return err
	})
}

// The token's kid selects a key of the set. Sets of symmetric keys are used as a key set, which is
// refused, and as configuration of their key.
func TestWycheproofJWK(t *testing.T) {
	t.Parallel()
	var v joseVectors
	load(t, "wycheproof/json_web_key_test.json", &v)
	checkLedger(t, "jwk", ledger(t, "wycheproof_jwk_ledger.txt"), v, acceptBySet(t))
}

// Single keys and sets, signed and encrypted tokens.
func TestWycheproofCrypto(t *testing.T) {
	t.Parallel()
	var v joseVectors
	load(t, "wycheproof/json_web_crypto_test.json", &v)
	bySet := acceptBySet(t)
	checkLedger(t, "crypto", ledger(t, "wycheproof_crypto_ledger.txt"), v, func(jwk json.RawMessage, jws string) error {
		if bytes.Contains(jwk, []byte(`"keys"`)) {
			return bySet(jwk, jws)
		}
		key, err := keyOf(jwk)
		if err != nil {
			return err
		}
		_, err = verifyJWS(jws, key)
		return err
	})
}

// Encrypted tokens of all key management modes, valid and malformed, are refused like other bad
// tokens, without a panic.
func TestWycheproofEncryptedTokens(t *testing.T) {
	t.Parallel()
	var v joseVectors
	load(t, "wycheproof/json_web_encryption_test.json", &v)
	verify := verifier(t, Config{}, generate(t, "ES256").Public())
	n := 0
	for _, g := range v.TestGroups {
		for _, test := range g.Tests {
			n++
			token := string(test.JWE)
			if json.Unmarshal(test.JWE, &token) != nil {
				token = string(test.JWE)
			}
			_, err := verify.Verify(t.Context(), token)
			refused(t, token, err, durward.InvalidToken, "")
		}
	}
	if n != 139 {
		t.Errorf("%d vectors, want 139", n)
	}
}

func acceptBySet(t *testing.T) func(set json.RawMessage, jws string) error {
	return func(set json.RawMessage, jws string) error {
		keys, err := ParseKeySet(set)
		if err != nil {
			var symmetric struct{ Keys []json.RawMessage }
			if json.Unmarshal(set, &symmetric) != nil || len(symmetric.Keys) != 1 || !bytes.Contains(set, []byte(`"oct"`)) {
				return err
			}
			private, err := ParsePrivateKey(symmetric.Keys[0])
			if err != nil {
				return err
			}
			keys = []*Key{private.Public()}
		}
		c, err := split(jws, new(scratch))
		if err == nil {
			err = c.header.parse(c.head, nil)
		}
		if err != nil {
			return err
		}
		known, err := NewKeys(keys...)
		if err != nil {
			return err
		}
		if c.header.kid == "" {
			return errors.New("no kid")
		}
		key, err := known.Key(t.Context(), c.header.kid, c.header.alg)
		if err != nil {
			return err
		}
		return c.signedBy(key)
	}
}

// The signature algorithms without JWS, through the function that Verify calls. Signatures that the
// vectors call acceptable are refused.
func TestWycheproofSignatures(t *testing.T) {
	t.Parallel()
	for _, f := range []struct {
		file, alg string
		total     int
	}{
		{"ecdsa_secp256r1_sha256_p1363_test.json", "ES256", 262},
		{"ed25519_test.json", "EdDSA", 151},
		{"hmac_sha256_test.json", "HS256", 174},
		{"rsa_pss_2048_sha256_mgf1_32_test.json", "PS256", 108},
		{"rsa_signature_2048_sha256_test.json", "RS256", 259},
		{"rsa_signature_3072_sha256_test.json", "RS256", 259},
		{"ecdsa_secp384r1_sha384_p1363_test.json", "ES384", 280},
		{"ecdsa_secp521r1_sha512_p1363_test.json", "ES512", 318},
		{"rsa_pss_2048_sha384_mgf1_48_test.json", "PS384", 141},
		{"rsa_pss_4096_sha512_mgf1_64_test.json", "PS512", 179},
		{"rsa_signature_2048_sha384_test.json", "RS384", 258},
		{"rsa_signature_2048_sha512_test.json", "RS512", 259},
	} {
		t.Run(f.file, func(t *testing.T) {
			t.Parallel()
			var v struct {
				TestGroups []struct {
					TagSize      int
					PublicKeyJwk json.RawMessage
					KeyJwk       json.RawMessage
					PublicKey    struct{ Uncompressed string }
					Tests        []struct {
						TcID                                int
						Comment, Msg, Sig, Key, Tag, Result string
					}
				}
			}
			load(t, "wycheproof/"+f.file, &v)
			total, skipped := 0, 0
			for _, g := range v.TestGroups {
				jwk := g.PublicKeyJwk
				if jwk == nil {
					jwk = g.KeyJwk
				}
				for _, test := range g.Tests {
					total++
					msg, signature := unhex(t, test.Msg), unhex(t, test.Sig+test.Tag)
					var key *Key
					var err error
					switch {
					case f.alg == "HS256":
						secret := unhex(t, test.Key)
						private, serr := SharedSecret("vector", secret)
						if short := len(secret) < minSecret; short != (serr != nil) {
							t.Errorf("vector %d: secret of %d octets: %v", test.TcID, len(secret), serr)
						}
						if serr != nil {
							skipped++
							continue
						}
						key = private.Public()
					case jwk == nil:
						// Some groups have the key as a point: 4 || X || Y.
						point := unhex(t, g.PublicKey.Uncompressed)[1:]
						half := len(point) / 2
						curve := map[int]string{32: "P-256", 48: "P-384", 66: "P-521"}[half]
						key, err = keyOf([]byte(fmt.Sprintf(`{"kty":"EC","crv":%q,"x":%q,"y":%q}`, curve, b64.EncodeToString(point[:half]), b64.EncodeToString(point[half:]))))
					default:
						key, err = keyOf(jwk)
					}
					if err != nil {
						// Keys that are refused need not verify.
						if test.Result == "valid" && !strings.Contains(err.Error(), "public exponent 3,") {
							t.Errorf("vector %d (%s): key refused: %v", test.TcID, test.Comment, err)
						}
						skipped++
						continue
					}
					if !key.serves(f.alg) {
						t.Fatalf("key for %s, want %s", key.served(), f.alg)
					}
					// JWS has no truncated MACs: the tag is the full hash.
					want := test.Result == "valid" && (f.alg != "HS256" || g.TagSize == 256)
					if got := key.verify(f.alg, msg, signature); got != want {
						t.Errorf("vector %d (%s), file says %s: got %t, want %t", test.TcID, test.Comment, test.Result, got, want)
					}
				}
			}
			if total != f.total {
				t.Errorf("%d vectors, want %d", total, f.total)
			}
			if skipped > total/4 {
				t.Errorf("%d of %d vectors not run", skipped, total)
			}
			t.Logf("%d vectors, %d with keys refused on sight", total, skipped)
		})
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRFC7638Thumbprint(t *testing.T) {
	t.Parallel()
	var file struct {
		Tests []struct {
			JWK    json.RawMessage
			SHA256 string `json:"sha256_thumbprint"`
		}
	}
	load(t, "rfc/rfc7638_thumbprint.json", &file)
	for _, test := range file.Tests {
		key, err := keyOf(test.JWK)
		if err != nil {
			t.Fatal(err)
		}
		if key.ID() != test.SHA256 {
			t.Errorf("kid of a key without one: got %s, want %s", key.ID(), test.SHA256)
		}
	}
	k := generate(t, "ES256")
	sum, err := (&jose.JSONWebKey{Key: k.key.m.public}).Thumbprint(crypto.SHA256)
	if want := base64.RawURLEncoding.EncodeToString(sum); err != nil || k.ID() != want {
		t.Errorf("kid of a new key: got %s, want %s (%v)", k.ID(), want, err)
	}
}
