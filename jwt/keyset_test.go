package jwt

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-auth/durward"
)

// members returns a JWK as a map, for changes.
func members(t testing.TB, k *PrivateKey, private bool) map[string]any {
	t.Helper()
	b, err := k.MarshalJWK()
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	if !private {
		for _, name := range secretMembers {
			delete(m, name)
		}
	}
	return m
}

func asJSON(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Keys for other purposes and insecure keys are skipped, and the error lists the reasons.
func TestKeysThatArePassedOver(t *testing.T) {
	t.Parallel()
	ec, rsa, ed := generate(t, "ES256"), generate(t, "RS256"), generate(t, "EdDSA")
	for name, test := range map[string]struct {
		key    *PrivateKey
		change map[string]any // nil removes the member
		want   string
	}{
		"use enc":                {ec, map[string]any{"use": "enc"}, `use is "enc", not "sig"`},
		"use in capitals":        {ec, map[string]any{"use": "SIG"}, `use is "SIG"`},
		"use empty":              {ec, map[string]any{"use": ""}, `use is ""`},
		"use a list":             {ec, map[string]any{"use": []string{"sig"}}, "use is not of its type"},
		"key_ops encrypt":        {ec, map[string]any{"key_ops": []string{"encrypt"}}, `key_ops does not have "verify"`},
		"key_ops sign alone":     {ec, map[string]any{"key_ops": []string{"sign"}}, `key_ops does not have "verify"`},
		"key_ops empty":          {ec, map[string]any{"key_ops": []string{}}, `key_ops does not have "verify"`},
		"key_ops a string":       {ec, map[string]any{"key_ops": "verify"}, "key_ops is not of its type"},
		"key_ops of numbers":     {ec, map[string]any{"key_ops": []any{"verify", 7}}, "key_ops is not of its type"},
		"alg of another curve":   {ec, map[string]any{"alg": "ES384"}, `alg "ES384" does not fit`},
		"alg of no curve":        {ec, map[string]any{"alg": "ES256K"}, `alg "ES256K" is not one of`},
		"alg of another type":    {ec, map[string]any{"alg": "RS256"}, `alg "RS256" does not fit`},
		"alg none":               {ec, map[string]any{"alg": "none"}, `alg "none"`},
		"alg empty":              {ec, map[string]any{"alg": ""}, `alg ""`},
		"alg RSA-OAEP":           {rsa, map[string]any{"alg": "RSA-OAEP"}, `alg "RSA-OAEP"`},
		"alg HS256 on RSA":       {rsa, map[string]any{"alg": "HS256"}, `alg "HS256" does not fit`},
		"alg a number":           {ec, map[string]any{"alg": 7}, "alg is not of its type"},
		"kid a number":           {ec, map[string]any{"kid": 7}, "kid is not of its type"},
		"kid too long":           {ec, map[string]any{"kid": strings.Repeat("k", 257)}, "a kid of 257 octets"},
		"kty missing":            {ec, map[string]any{"kty": nil}, `kty "" is not EC, OKP or RSA`},
		"kty unknown":            {ec, map[string]any{"kty": "AKP"}, `kty "AKP"`},
		"kty of another type":    {ec, map[string]any{"kty": "RSA"}, "missing n/e"},
		"crv of another length":  {ec, map[string]any{"crv": "P-384"}, ""},
		"crv unknown":            {ec, map[string]any{"crv": "secp256k1"}, ""},
		"crv X25519":             {ed, map[string]any{"crv": "X25519"}, ""},
		"x missing":              {ec, map[string]any{"x": nil}, "missing x/y"},
		"x of 31 octets":         {ec, map[string]any{"x": b64.EncodeToString(make([]byte, 31))}, "wrong length for x"},
		"x off the curve":        {ec, map[string]any{"x": b64.EncodeToString(make([]byte, 32))}, "not on declared curve"},
		"x padded":               {ec, map[string]any{"x": b64.EncodeToString(make([]byte, 32)) + "="}, "x is not canonical base64url"},
		"x with a line break":    {ec, map[string]any{"x": b64.EncodeToString(make([]byte, 32)) + "\n"}, "x is not canonical base64url"},
		"x empty":                {ec, map[string]any{"x": ""}, "x is not canonical base64url"},
		"x a number":             {ec, map[string]any{"x": 7}, "x is not of its type"},
		"Ed25519 of small order": {ed, map[string]any{"x": b64.EncodeToString(make([]byte, 32))}, "low-order"},
		"Ed25519 too short":      {ed, map[string]any{"x": "AAAA"}, ""},
		"n missing":              {rsa, map[string]any{"n": nil}, "missing n/e"},
		"n too short":            {rsa, map[string]any{"n": b64.EncodeToString(modulus(1024).Bytes())}, "RSA key of 1024 bits"},
		"n of ROCA":              {rsa, map[string]any{"n": b64.EncodeToString(weakModulus().Bytes())}, "CVE-2017-15361"},
		"n of 8192 bits":         {rsa, map[string]any{"n": b64.EncodeToString(modulus(8192).Bytes())}, "RSA key of 8192 bits, want at most 4096"},
		"x5c alone":              {rsa, map[string]any{"n": nil, "e": nil, "x5c": []string{"MIIB"}}, "missing n/e"},
		"n of 4097 bits":         {rsa, map[string]any{"n": b64.EncodeToString(modulus(4097).Bytes())}, "RSA key of 4097 bits, want at most 4096"},
		"e = 1":                  {rsa, map[string]any{"e": "AQ"}, ""},
		"e = 3":                  {rsa, map[string]any{"e": "Aw"}, "exponent 3,"},
		"e of 33 bits":           {rsa, map[string]any{"e": "AQAAAAE"}, "exponent 4294967297,"},
		"e of 65 bits":           {rsa, map[string]any{"e": "AQAAAAAAAQAB"}, ""}, // 65537 if cut to 64 bits
	} {
		m := members(t, test.key, false)
		for name, value := range test.change {
			if value == nil {
				delete(m, name)
			} else {
				m[name] = value
			}
		}
		keys, err := ParseKeySet(asJSON(t, map[string]any{"keys": []any{m}}))
		if keys != nil || err == nil || !strings.Contains(err.Error(), "no key of the set can be used: key 0, kid ") || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, %v, want %q", name, keys, err, test.want)
		}
		// The other key of the set is used.
		good := generate(t, "EdDSA")
		keys, err = ParseKeySet(asJSON(t, map[string]any{"keys": []any{m, members(t, good, false)}}))
		if err != nil || len(keys) != 1 || !keys[0].equal(good.Public()) {
			t.Errorf("%s: beside a good key: got %v, %v, want that one", name, keys, err)
		}
	}
}

func TestKeySetsThatAreRefused(t *testing.T) {
	t.Parallel()
	k, other := generate(t, "ES256"), generate(t, "ES256")
	good := string(asJSON(t, members(t, k, false)))
	clash := members(t, other, false)
	clash["kid"] = k.ID()
	private := func(name string) string {
		m := members(t, k, false)
		m[name] = "AAAA"
		return `{"keys":[` + string(asJSON(t, m)) + `]}`
	}
	tests := map[string][2]string{
		"empty":              {``, "not a JWK Set"},
		"null":               {`null`, "not a JSON object"},
		"list":               {`[` + good + `]`, "not a JSON object"},
		"one key":            {good, `there is no "keys" in it`},
		"no keys":            {`{}`, `there is no "keys" in it`},
		"keys null":          {`{"keys":null}`, `"keys" is not a list`},
		"keys object":        {`{"keys":{}}`, `"keys" is not a list`},
		"key no object":      {`{"keys":[7]}`, "no element of \"keys\" is a JSON object"},
		"key a list":         {`{"keys":[[` + good + `]]}`, "no element of \"keys\" is a JSON object"},
		"cut off":            {`{"keys":[` + good, "not a JWK Set"},
		"trailing":           {`{"keys":[` + good + `]}x`, "not a JWK Set"},
		"doubled keys":       {`{"keys":[],"keys":[` + good + `]}`, "\"keys\" twice"},
		"doubled member":     {`{"keys":[{"kty":"EC",` + good[1:] + `]}`, "duplicate object member name"},
		"invalid UTF-8":      {`{"keys":[{"x":` + "\"\xff\"}]}", "invalid UTF-8"},
		"two of one kid":     {`{"keys":[` + good + `,` + string(asJSON(t, clash)) + `]}`, "different keys have this kid and serve ES256"},
		"secret, doubled":    {`{"keys":[{"kty":"EC","kty":"EC","d":"AAAA"},` + good + `]}`, `has the secret member "d"`},
		"101 keys":           {`{"keys":[` + strings.Repeat(`{},`, 100) + `{}]}`, "keys has more than 100 elements"},
		"deep":               {`{"keys":[` + good + `],"x":` + strings.Repeat("[", 17) + strings.Repeat("]", 17) + `}`, "nested more than 16 deep"},
		"wide":               {`{"keys":[{"a":1` + manyMembers(200) + `}]}`, "more than 128 members"},
		"many key_ops":       {`{"keys":[{"key_ops":["a"` + strings.Repeat(`,"a"`, 128) + `]}]}`, "key_ops has more than 128"},
		"over 1 MiB":         {`{"keys":[` + good + `]` + strings.Repeat(" ", maxKeySet) + `}`, "want at most 1048576"},
		"symmetric":          {`{"keys":[{"kty":"oct","kid":"a","k":"` + b64.EncodeToString(make([]byte, 32)) + `"}]}`, `has the secret member "k"`},
		"secret of any type": {`{"keys":[{"kty":"EC","d":7}]}`, `has the secret member "d"`},
	}
	for _, name := range secretMembers {
		tests["secret "+name] = [2]string{private(name), fmt.Sprintf("has the secret member %q: it has been published", name)}
	}
	for name, test := range tests {
		keys, err := ParseKeySet([]byte(test[0]))
		if keys != nil || err == nil || !strings.Contains(err.Error(), test[1]) {
			t.Errorf("%s: got %v, %v, want %q", name, keys, err, test[1])
		}
	}
}

// ParseKeySet parses the output of MarshalKeySet, which has no private members; unknown members are
// ignored.
func TestKeySetRoundTrip(t *testing.T) {
	t.Parallel()
	var keys []*Key
	for _, alg := range algorithms {
		if alg != "HS256" {
			keys = append(keys, generate(t, alg).Public())
		}
	}
	keys = append(keys, generate(t, "HS256").Public()) // left out
	text, err := MarshalKeySet(keys)
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(text, &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != len(keys)-1 {
		t.Errorf("%d keys written, want all but that of HS256", len(set.Keys))
	}
	for i, m := range set.Keys {
		if m["use"] != "sig" || m["alg"] != keys[i].Algorithm() || m["kid"] != keys[i].ID() {
			t.Errorf("key %d is written as %v", i, m)
		}
		for _, name := range secretMembers {
			if _, ok := m[name]; ok {
				t.Errorf("key %d is written with %s", i, name)
			}
		}
	}
	// A duplicate key is one key; unknown members are ignored.
	more := bytes.Replace(text, []byte(`{"keys":[`), []byte(`{"x":{"y":[1]},"keys":[{"x5c":["MIIB"],"key_ops":["verify","x"],`+string(text[len(`{"keys":[{`):bytes.IndexByte(text, '}')])+`},`), 1)
	for _, text := range [][]byte{text, more} {
		got, err := ParseKeySet(text)
		if err != nil || len(got) != len(keys)-1 {
			t.Fatalf("%s: got %v, %v", text, got, err)
		}
		for i, k := range got {
			if !k.equal(keys[i]) {
				t.Errorf("key %d: got %v, want %v", i, k, keys[i])
			}
		}
	}
	// The largest accepted RSA key.
	large := members(t, generate(t, "RS256"), false)
	large["n"] = b64.EncodeToString(modulus(4096).Bytes())
	if got, err := ParseKeySet(asJSON(t, map[string]any{"keys": []any{large}})); err != nil || len(got) != 1 {
		t.Errorf("RSA key of 4096 bits: got %v, %v", got, err)
	}
	if text, err := MarshalKeySet(nil); err != nil || string(text) != `{"keys":[]}` {
		t.Errorf("no keys: got %s, %v", text, err)
	}
	if got, err := ParseKeySet([]byte(`{"keys":[]}`)); err != nil || len(got) != 0 {
		t.Errorf("no keys: got %v, %v", got, err)
	}
	for _, bad := range []*Key{nil, {}} {
		if _, err := MarshalKeySet([]*Key{bad}); err == nil {
			t.Error("an empty key was written")
		}
		if _, err := NewKeys(bad); err == nil {
			t.Error("NewKeys with an empty key: got no error")
		}
	}
}

// Set replaces all keys, and cached tokens of a removed key are refused.
func TestKeysInMemory(t *testing.T) {
	t.Parallel()
	a, b := generate(t, "ES256"), generate(t, "EdDSA")
	set, err := NewKeys(a.Public())
	if err != nil {
		t.Fatal(err)
	}
	v := verifier(t, Config{Keys: set})
	token := sign(t, a, example())
	verify := func(want durward.Code) {
		t.Helper()
		_, err := v.Verify(t.Context(), token)
		if want == "" && err != nil || want != "" && !errors.Is(err, want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	verify("")
	copied, err := ParseKeySet(asJSON(t, map[string]any{"keys": []any{members(t, a, false), members(t, b, false)}}))
	if err != nil {
		t.Fatal(err)
	}
	if err := set.Set(copied...); err != nil {
		t.Fatal(err)
	}
	if k, _ := set.Key(t.Context(), a.ID(), "ES256"); k != a.Public() {
		t.Error("the same key is another pointer")
	}
	verify("")
	clash := &Key{id: b.ID(), alg: "EdDSA", m: generate(t, "EdDSA").key.m}
	if err := set.Set(b.Public(), clash); err == nil || !strings.Contains(err.Error(), "two keys of the set have the kid") {
		t.Errorf("two keys of one kid: got %v", err)
	}
	verify("") // the set is unchanged
	if err := set.Set(b.Public()); err != nil {
		t.Fatal(err)
	}
	verify(durward.InvalidToken)
	if n := v.remembers(); n != 0 {
		t.Errorf("%d tokens of a key that has gone are remembered", n)
	}
	if err := set.Set(&Key{id: a.ID(), alg: "ES256", m: generate(t, "ES256").key.m}); err != nil {
		t.Fatal(err)
	}
	verify(durward.InvalidToken) // same kid, another key
	if _, err := new(Keys).Key(context.Background(), "k", "ES256"); !errors.Is(err, durward.InvalidToken) {
		t.Errorf("empty set: got %v, want INVALID_TOKEN", err)
	}
}

func TestPrivateKeysThatAreRefused(t *testing.T) {
	t.Parallel()
	keys := map[string]*PrivateKey{}
	for _, alg := range algorithms {
		keys[alg] = generate(t, alg)
	}
	for name, test := range map[string]struct {
		alg    string
		change map[string]any
		want   string
	}{
		"public":                {"ES256", map[string]any{"d": nil}, "the JWK holds a public key"},
		"use enc":               {"ES256", map[string]any{"use": "enc"}, `use is "enc"`},
		"verify alone":          {"ES256", map[string]any{"key_ops": []string{"verify"}}, `key_ops does not have "sign"`},
		"alg of another type":   {"ES256", map[string]any{"alg": "EdDSA"}, `alg "EdDSA" does not fit`},
		"alg unknown":           {"ES256", map[string]any{"alg": "ES384"}, `alg "ES384"`},
		"d of another key":      {"ES256", map[string]any{"d": members(t, generate(t, "ES256"), true)["d"]}, "do not belong to d"},
		"d = 0":                 {"ES256", map[string]any{"d": b64.EncodeToString(make([]byte, 32))}, "do not belong to d"},
		"d a number":            {"ES256", map[string]any{"d": 7}, "d is not of its type"},
		"d not base64url":       {"ES256", map[string]any{"d": "+/+="}, "d is not canonical base64url"},
		"Ed25519, another x":    {"EdDSA", map[string]any{"x": members(t, generate(t, "EdDSA"), true)["x"]}, "x does not match d"},
		"Ed25519, d short":      {"EdDSA", map[string]any{"d": "AAAA"}, "wrong length for d"},
		"RSA, another d":        {"RS256", map[string]any{"d": members(t, generate(t, "RS256"), true)["d"]}, ""},
		"RSA, another p":        {"RS256", map[string]any{"p": members(t, generate(t, "RS256"), true)["p"]}, ""},
		"RSA, no p":             {"RS256", map[string]any{"p": nil}, "missing P"},
		"RSA, 3 as e":           {"RS256", map[string]any{"e": "Aw"}, ""},
		"symmetric, 31 octets":  {"HS256", map[string]any{"k": b64.EncodeToString(make([]byte, 31))}, "shared secret of 31 octets"},
		"symmetric, HS512":      {"HS256", map[string]any{"alg": "HS512"}, `alg "HS512"`},
		"symmetric, ES256":      {"HS256", map[string]any{"alg": "ES256"}, `symmetric key with alg "ES256"`},
		"symmetric, no kid":     {"HS256", map[string]any{"kid": nil}, "no kid"},
		"symmetric, no k":       {"HS256", map[string]any{"k": nil}, "k of the symmetric key is not canonical base64url"},
		"symmetric, padded":     {"HS256", map[string]any{"k": b64.EncodeToString(make([]byte, 32)) + "="}, "k of the symmetric key is not canonical base64url"},
		"symmetric, line break": {"HS256", map[string]any{"k": b64.EncodeToString(make([]byte, 32)) + "\n"}, "k of the symmetric key is not canonical base64url"},
		"kid too long":          {"ES256", map[string]any{"kid": strings.Repeat("k", 257)}, "a kid of 257 octets"},
	} {
		m := members(t, keys[test.alg], true)
		secret, _ := m["d"].(string)
		for name, value := range test.change {
			if value == nil {
				delete(m, name)
			} else {
				m[name] = value
			}
		}
		k, err := ParsePrivateKey(asJSON(t, m))
		if k != nil || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, %v, want %q", name, k, err, test.want)
		} else if secret != "" && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error shows the secret", name)
		}
	}
	for text, want := range map[string]string{
		"": "is not a JWK", "[]": "not a JSON object", `{"kty":"EC","kty":"EC"}`: "duplicate object member name", `{"kty":"AKP","d":"AAAA"}`: "jwt: private key: ",
		strings.Repeat(" ", maxKeySet+1): "want at most 1048576",
		`{"kty":"EC","crv":"P-384","x":"iYnNT2zLvUDLyHj7TzLrQ6cGRGkpBoQRQVz7IAVKhFsYKkEwY2rx0JOUq7kZEjCI","y":"AAAA","d":"AAAA"}`: "jwt: private key: ",
	} {
		if k, err := ParsePrivateKey([]byte(text)); k != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60q: got %v, %v, want %q", text, k, err, want)
		}
	}
	// A key without alg or kid gets the alg of its type and its thumbprint.
	m := members(t, keys["RS256"], true)
	delete(m, "alg")
	delete(m, "kid")
	k, err := ParsePrivateKey(asJSON(t, m))
	if err != nil || k.Algorithm() != "RS256" || k.ID() != keys["RS256"].ID() {
		t.Errorf("without alg and kid: got %v, %v, want %v", k, err, keys["RS256"])
	}
}

// All tokens of a key have the same header, with any kid.
func TestKidIsEscaped(t *testing.T) {
	t.Parallel()
	kid := "a\"b\\c\u2028/é"
	k, err := SharedSecret(kid, make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	v := verifier(t, Config{}, k.Public())
	p, err := v.Verify(t.Context(), sign(t, k, example()))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(example().Subject, p.Subject); d != "" {
		t.Error(d)
	}
}

// public returns the public JWK of k with changes; nil removes a member, null is json.RawMessage.
func public(t testing.TB, k *PrivateKey, change map[string]any) map[string]any {
	t.Helper()
	m := members(t, k, false)
	for name, value := range change {
		if value == nil {
			delete(m, name)
		} else {
			m[name] = value
		}
	}
	return m
}

func setOf(t testing.TB, keys ...any) []byte {
	t.Helper()
	return asJSON(t, map[string]any{"keys": keys})
}

var null = json.RawMessage("null")

// An entry that cannot be used does not affect the others. The rows are sets with one good key.
func TestOddEntries(t *testing.T) {
	t.Parallel()
	good, rsa := generate(t, "ES256"), generate(t, "RS256")
	text := string(asJSON(t, members(t, good, false)))
	for name, test := range map[string]struct {
		set  string
		want string // in the reason of the skipped entry; empty if nothing is skipped
	}{
		"a number: skipped":                    {`{"keys":[7,` + text + `]}`, "key 0, kid \"\": not a JSON object"},
		"a string: skipped":                    {`{"keys":["x",` + text + `]}`, "not a JSON object"},
		"null: skipped":                        {`{"keys":[` + text + `,null]}`, "key 1, kid \"\": not a JSON object"},
		"a list: skipped":                      {`{"keys":[[{"kty":"EC"}],` + text + `]}`, "not a JSON object"},
		"empty object: skipped":                {`{"keys":[{},` + text + `]}`, "kty \"\" is not"},
		"a name twice: skipped":                {`{"keys":[{"kid":"a","kty":"EC","kty":"EC"},` + text + `]}`, "kid \"a\": duplicate object member name"},
		"a name twice, x5t: skipped":           {`{"keys":[{"kid":"a","x5t":"1","x5t":"2"},` + text + `]}`, "duplicate object member name"},
		"invalid UTF-8: skipped":               {`{"keys":[{"kid":"a","x":"` + "\xff" + `"},` + text + `]}`, "invalid UTF-8"},
		"lone surrogate: skipped":              {`{"keys":[{"kid":"a","x":"\ud800"},` + text + `]}`, "invalid surrogate"},
		"129 members: skipped":                 {`{"keys":[{"a":1` + manyMembers(128) + `},` + text + `]}`, "more than 128 members"},
		"129 key_ops: skipped":                 {`{"keys":[{"key_ops":["a"` + strings.Repeat(`,"a"`, 128) + `]},` + text + `]}`, "key_ops has more than 128"},
		"deep extension: skipped":              {`{"keys":[{"x5c":` + strings.Repeat("[", 17) + strings.Repeat("]", 17) + `},` + text + `]}`, "nested more than 16 deep"},
		"AKP, ML-DSA: skipped":                 {`{"keys":[{"kty":"AKP","alg":"ML-DSA-65","kid":"a","pub":"AAAA"},` + text + `]}`, `alg "ML-DSA-65" is not one of`},
		"secp256k1: skipped":                   {`{"keys":[{"kty":"EC","crv":"secp256k1","kid":"a","x":"AAAA","y":"AAAA"},` + text + `]}`, "unsupported key type, format, curve"},
		"SPIFFE key without the setting: skip": {string(setOf(t, public(t, rsa, map[string]any{"use": "jwt-svid"}), json.RawMessage(text))), `use is "jwt-svid", not "sig" (RFC 7517 s4.2); RemoteConfig.Use accepts another`},
		"byte order mark: read":                {"\ufeff" + `{"keys":[` + text + `]}`, ""},
		"an unknown member twice: read":        {`{"x":1,"keys":[` + text + `],"x":2}`, ""},
	} {
		keys, skipped, err := parseKeySet([]byte(test.set))
		if err != nil || len(keys) != 1 || !keys[0].equal(good.Public()) {
			t.Errorf("%s: got %v, %v, want the good key", name, keys, err)
			continue
		}
		if got := fmt.Sprint(errors.Join(skipped...)); (test.want == "") != (len(skipped) == 0) || test.want != "" && (len(skipped) != 1 || !strings.Contains(got, test.want)) {
			t.Errorf("%s: skipped %q, want %q", name, got, test.want)
		}
	}

	// A list is no JWK Set (RFC 7517 s5), however its keys look.
	if keys, err := ParseKeySet([]byte(`[` + text + `]`)); keys != nil || err == nil {
		t.Errorf("a list: got %v, %v", keys, err)
	}
}

// A member that is null counts as absent, as many libraries write it.
func TestNullMembers(t *testing.T) {
	t.Parallel()
	k := generate(t, "RS256")
	for name, change := range map[string]map[string]any{
		"alg":            {"alg": null},
		"use":            {"use": null},
		"key_ops":        {"key_ops": null},
		"private part":   {"d": null, "p": null, "k": null, "oth": null},
		"all optional":   {"alg": null, "use": null, "key_ops": null, "x5c": null, "x5t": null, "crv": null},
		"what .NET adds": {"x5c": []string{}, "x5t": "AAAA", "x5t#S256": "AAAA", "alg": nil, "keyOps": []string{}},
	} {
		keys, err := ParseKeySet(setOf(t, public(t, k, change)))
		if err != nil || len(keys) != 1 || keys[0].ID() != k.ID() {
			t.Errorf("%s: got %v, %v, want the key", name, keys, err)
			continue
		}
		v := verifier(t, Config{Algorithms: []string{"RS256"}}, keys...)
		if _, err := v.Verify(t.Context(), sign(t, k, example())); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A kid that is null: the thumbprint.
	keys, err := ParseKeySet(setOf(t, public(t, k, map[string]any{"kid": null})))
	if err != nil || len(keys) != 1 || keys[0].ID() != k.ID() {
		t.Errorf("kid: got %v, %v, want the thumbprint", keys, err)
	}
	for name, want := range map[string]string{"kty": `kty "" is not`, "n": "missing n/e", "e": "missing n/e"} {
		if keys, err := ParseKeySet(setOf(t, public(t, k, map[string]any{name: null}))); keys != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, %v, want %q", name, keys, err, want)
		}
	}
}

// as returns k under another kid and for another algorithm.
func as(t testing.TB, k *PrivateKey, kid, alg string) *PrivateKey {
	t.Helper()
	renamed, err := newPrivateKey(kid, alg, *k.signer)
	if err != nil {
		t.Fatal(err)
	}
	return renamed
}

// Several keys of a set may have one kid: type, use and alg tell them apart. The keys of a set that
// they do not are skipped.
func TestKeysOfOneKid(t *testing.T) {
	t.Parallel()
	a, b, ec, ec384 := generate(t, "RS256"), generate(t, "RS256"), generate(t, "ES256"), generate(t, "ES384")
	other := generate(t, "EdDSA")
	jwk := func(k *PrivateKey, alg string) map[string]any {
		m := public(t, k, map[string]any{"kid": "k", "alg": alg})
		if alg == "" {
			delete(m, "alg")
		}
		return m
	}
	enc := public(t, b, map[string]any{"kid": "k", "use": "enc", "alg": "RS256"})
	type m = map[string]string
	for name, test := range map[string]struct {
		set  []any
		want m // token, by key and algorithm, to "" or the cause of its refusal
	}{
		"one modulus, RS256 and PS256": {
			[]any{jwk(a, "RS256"), jwk(a, "PS256")},
			m{"a RS256": "", "a PS256": "", "b RS256": "signature is not", "a RS512": "is for RS256 and PS256, the token says"},
		},
		"two moduli, RS256 and PS256": {
			[]any{jwk(a, "RS256"), jwk(b, "PS256")},
			m{"a RS256": "", "b PS256": "", "b RS256": "signature is not", "a PS256": "signature is not"},
		},
		"RSA and EC, without alg": {
			[]any{jwk(a, ""), jwk(ec, "")},
			m{"a RS256": "", "a PS512": "", "ec ES256": "", "ec384 ES384": "the token says"},
		},
		"two curves":              {[]any{jwk(ec384, ""), jwk(ec, "")}, m{"ec ES256": "", "ec384 ES384": ""}},
		"sig and enc":             {[]any{enc, jwk(a, "RS256")}, m{"a RS256": "", "b RS256": "signature is not"}},
		"the same key twice":      {[]any{jwk(a, "RS256"), jwk(a, "RS256")}, m{"a RS256": ""}},
		"alg goes before no alg":  {[]any{jwk(a, ""), jwk(b, "RS256")}, m{"b RS256": "", "a PS256": "", "a RS256": "signature is not"}},
		"no alg behind alg":       {[]any{jwk(b, "RS256"), jwk(a, "")}, m{"b RS256": "", "a PS256": "", "a RS256": "signature is not"}},
		"nothing tells two apart": {[]any{jwk(a, "RS256"), jwk(b, "RS256")}, m{"a RS256": "no key", "b RS256": "no key"}},
		"two apart, one not":      {[]any{jwk(a, "RS256"), jwk(b, "RS256"), jwk(a, "PS256")}, m{"a RS256": "is for PS256", "b RS256": "is for PS256", "a PS256": ""}},
		"two without alg":         {[]any{jwk(a, ""), jwk(b, "")}, m{"a RS256": "no key", "b PS256": "no key"}},
		"two, one of them twice":  {[]any{jwk(a, ""), jwk(a, ""), jwk(b, "")}, m{"a RS256": "no key", "b PS256": "no key"}},
	} {
		keys, err := ParseKeySet(setOf(t, append(test.set, public(t, other, nil))...))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		v := verifier(t, Config{}, keys...)
		if _, err := v.Verify(t.Context(), sign(t, other, example())); err != nil {
			t.Errorf("%s: the key of another kid: %v", name, err)
		}
		for by, want := range test.want {
			key, alg, _ := strings.Cut(by, " ")
			k := map[string]*PrivateKey{"a": a, "b": b, "ec": ec, "ec384": ec384}[key]
			token := sign(t, as(t, k, "k", alg), example())
			for range 2 { // the second time it may be cached
				if _, err := v.Verify(t.Context(), token); want != "" {
					refused(t, token, err, durward.InvalidToken, want)
				} else if err != nil {
					t.Errorf("%s: token by %s: %v", name, by, err)
				}
			}
		}
	}
	// The reason is reported once.
	_, skipped, err := parseKeySet(setOf(t, jwk(a, "RS256"), jwk(b, "RS256"), jwk(ec, "")))
	if err != nil || len(skipped) != 1 || !strings.Contains(skipped[0].Error(), `kid "k": different keys have this kid and serve RS256`) {
		t.Errorf("got %v, %v, want one reason", skipped, err)
	}
}

// A key without alg serves the algorithms of its type that the verifier accepts, and no other.
func TestKeyWithoutAlgorithm(t *testing.T) {
	t.Parallel()
	k := generate(t, "RS256")
	parse := func(alg any) *Key {
		t.Helper()
		keys, err := ParseKeySet(setOf(t, public(t, k, map[string]any{"alg": alg})))
		if err != nil {
			t.Fatal(err)
		}
		return keys[0]
	}
	free, fixed := parse(nil), parse("RS256")
	if free.Algorithm() != "" || fixed.Algorithm() != "RS256" || !strings.Contains(free.String(), "PS256") {
		t.Errorf("got %s and %s", free, fixed)
	}
	for _, alg := range ofRSA {
		token := sign(t, as(t, k, k.ID(), alg), example())
		if _, err := verifier(t, Config{Algorithms: []string{alg}}, free).Verify(t.Context(), token); err != nil {
			t.Errorf("%s, accepted: %v", alg, err)
		}
		_, err := verifier(t, Config{Algorithms: []string{"ES256", "HS256"}}, free).Verify(t.Context(), token)
		refused(t, token, err, durward.InvalidToken, "accepted are ES256, HS256")
		if alg != "RS256" {
			_, err = verifier(t, Config{}, fixed).Verify(t.Context(), token)
			refused(t, token, err, durward.InvalidToken, "is for RS256, the token says")
		}
	}
	// Without Algorithms, RSA is not accepted.
	set, err := NewKeys(free)
	if err != nil {
		t.Fatal(err)
	}
	v, err := New(Config{Issuer: issuer, Audience: []string{service}, Keys: set, Now: func() time.Time { return noon }})
	if err != nil {
		t.Fatal(err)
	}
	token := sign(t, k, example())
	_, err = v.Verify(t.Context(), token)
	refused(t, token, err, durward.InvalidToken, `alg is "RS256", accepted are ES256`)
	// No header makes it an HMAC secret, or a key of another type.
	lax := verifier(t, Config{}, free, generate(t, "HS256").Public())
	for _, alg := range []string{"HS256", "ES256", "EdDSA", "none", ""} {
		for _, secret := range [][]byte{[]byte(members(t, k, false)["n"].(string)), free.m.public.(*rsa.PublicKey).N.Bytes()} {
			shared, err := SharedSecret(k.ID(), secret)
			if err != nil {
				t.Fatal(err)
			}
			token := forge(t, shared, fmt.Sprintf(`{"alg":%q,"typ":"at+jwt","kid":%q}`, alg, k.ID()), payloadWith("", ""))
			_, err = lax.Verify(t.Context(), token)
			refused(t, token, err, durward.InvalidToken, "")
		}
		if free.serves(alg) {
			t.Errorf("the RSA key serves %q", alg)
		}
	}
	// Written again, it still has no alg.
	text, err := MarshalKeySet([]*Key{free})
	if err != nil || strings.Contains(string(text), `"alg"`) {
		t.Errorf("written: %s, %v", text, err)
	}
}

// Keys of a SPIFFE bundle have a use of their own, by setting.
func TestSPIFFEBundle(t *testing.T) {
	t.Parallel()
	svid, x509, plain, sig := generate(t, "ES256"), generate(t, "ES256"), generate(t, "ES256"), generate(t, "ES256")
	bundle := setOf(t,
		public(t, svid, map[string]any{"use": "jwt-svid"}), public(t, x509, map[string]any{"use": "x509-svid", "kid": nil}),
		public(t, plain, map[string]any{"use": nil}), public(t, sig, nil))
	for use, want := range map[string][]*PrivateKey{"": {plain, sig}, "jwt-svid": {svid}, "x509-svid": {x509}, "JWT-SVID": nil, "sig": {sig}} {
		var uses []string
		if use != "" {
			uses = []string{use}
		}
		keys, err := ParseKeySet(bundle, uses...)
		if len(keys) != len(want) || (err != nil) != (want == nil) {
			t.Errorf("use %q: got %v, %v, want %v", use, keys, err, want)
			continue
		}
		for i, k := range want {
			if !keys[i].equal(k.Public()) {
				t.Errorf("use %q: got %v, want %v", use, keys, want)
			}
		}
	}
	h := new(hand)
	p := publish(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bundle) })
	r, err := NewRemoteKeys(RemoteConfig{URL: p.URL, Use: "jwt-svid", Now: h.now})
	if err != nil {
		t.Fatal(err)
	}
	found(t, r, svid)
	notFound(t, r, sig.ID(), durward.InvalidToken, `use is "sig", want jwt-svid`)
}

// Tokens without kid are verified by the only key that serves their algorithm, by setting.
func TestMissingKeyID(t *testing.T) {
	t.Parallel()
	k, other, ec, weak := generate(t, "RS256"), generate(t, "RS256"), generate(t, "ES256"), generate(t, "RS256")
	anonymous := public(t, k, map[string]any{"kid": nil})
	weakJWK := public(t, weak, map[string]any{"n": b64.EncodeToString(modulus(1024).Bytes())})
	for name, test := range map[string]struct {
		set   []any
		cause string // of the refusal with the setting
	}{
		"one key":                   {[]any{public(t, k, nil)}, ""},
		"one key, without kid":      {[]any{anonymous}, ""},
		"one key, kid empty":        {[]any{public(t, k, map[string]any{"kid": ""})}, ""},
		"one key, without alg":      {[]any{public(t, k, map[string]any{"alg": nil})}, ""},
		"one key of the type":       {[]any{public(t, ec, nil), public(t, k, nil)}, ""},
		"one key of the algorithm":  {[]any{public(t, k, nil), public(t, other, map[string]any{"alg": "PS256"})}, ""},
		"one key for signatures":    {[]any{public(t, k, nil), public(t, other, map[string]any{"use": "enc"})}, ""},
		"one key, one skipped":      {[]any{weakJWK, public(t, k, nil)}, ""},
		"two keys":                  {[]any{public(t, k, nil), public(t, other, nil)}, `several keys of the set serve "RS256"`},
		"two keys, one without alg": {[]any{public(t, k, nil), public(t, other, map[string]any{"alg": nil})}, "several keys of the set"},
		"two keys of one kid":       {[]any{public(t, k, map[string]any{"kid": "k"}), public(t, other, map[string]any{"kid": "k"}), public(t, ec, nil)}, `no key for "RS256"`},
		"another key":               {[]any{public(t, other, nil)}, "signature is not one of key"},
		"no key of the type":        {[]any{public(t, ec, nil)}, `no key for "RS256" in the set`},
		"no key":                    {nil, `no key for "RS256" in the set`},
	} {
		set := asJSON(t, map[string]any{"keys": append([]any{}, test.set...)})
		keys, err := ParseKeySet(set)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		held, err := NewKeys(keys...)
		if err != nil {
			t.Fatal(err)
		}
		p := publish(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) })
		for _, source := range []KeySet{held, remote(t, p, new(hand))} {
			v := verifier(t, Config{Keys: source, AllowMissingKeyID: true})
			strict := verifier(t, Config{Keys: source})
			for _, header := range []string{`{"alg":"RS256","typ":"at+jwt"}`, `{"alg":"RS256","typ":"at+jwt","kid":""}`} {
				token := forge(t, k, header, payloadWith("", ""))
				for range 2 { // the second time it may be cached
					if _, err := v.Verify(t.Context(), token); test.cause != "" {
						refused(t, token, err, durward.InvalidToken, test.cause)
					} else if err != nil {
						t.Errorf("%s, %T: %v", name, source, err)
					}
				}
				_, err := strict.Verify(t.Context(), token)
				refused(t, token, err, durward.InvalidToken, "kid is missing from the header; Config.AllowMissingKeyID")
			}
			// A kid that is given must fit.
			token := forge(t, k, `{"alg":"RS256","typ":"at+jwt","kid":"other"}`, payloadWith("", ""))
			_, err := v.Verify(t.Context(), token)
			refused(t, token, err, durward.InvalidToken, `no key "other"`)
		}
	}
	// A kid of another type is never taken for an empty one.
	v := verifier(t, Config{AllowMissingKeyID: true}, k.Public())
	for _, kid := range []string{"null", "7", "[]", `{}`} {
		token := forge(t, k, `{"alg":"RS256","typ":"at+jwt","kid":`+kid+`}`, payloadWith("", ""))
		_, err := v.Verify(t.Context(), token)
		refused(t, token, err, durward.InvalidToken, "kid in the header is not a string")
	}
	// A cached token ends with its key.
	token := forge(t, k, `{"alg":"RS256","typ":"at+jwt"}`, payloadWith("", ""))
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	if err := v.c.Keys.(*Keys).Set(other.Public()); err != nil {
		t.Fatal(err)
	}
	_, err := v.Verify(t.Context(), token)
	refused(t, token, err, durward.InvalidToken, "signature is not one of key")
}

// Without kid a signature that is not valid is the sign of a new key.
func TestMissingKeyIDAfterRotation(t *testing.T) {
	t.Parallel()
	first, second := generate(t, "ES256"), generate(t, "ES256")
	p := publish(t, serving(t, first))
	h := new(hand)
	r := remote(t, p, h)
	v := verifier(t, Config{Keys: r, AllowMissingKeyID: true, CacheSize: -1, Now: h.now})
	token := func(k *PrivateKey) string { return forge(t, k, `{"alg":"ES256","typ":"at+jwt"}`, payloadWith("", "")) }
	old, next := token(first), token(second)
	if _, err := v.Verify(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	p.now(serving(t, second))
	h.forward(fetchPause - 1)
	_, err := v.Verify(t.Context(), next)
	refused(t, next, err, durward.InvalidToken, "signature is not one of key")
	if n := p.fetches(); n != 1 {
		t.Errorf("%d fetches within the pause, want 1", n)
	}
	h.forward(1)
	if _, err := v.Verify(t.Context(), next); err != nil {
		t.Errorf("after the pause: %v", err)
	}
	_, err = v.Verify(t.Context(), old)
	refused(t, old, err, durward.InvalidToken, "signature is not one of key")
}

// A key that names an issuer verifies the tokens of that issuer only.
func TestIssuerOfKey(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	const mine, other = "11111111-2222-3333-4444-555555555555", "99999999-8888-7777-6666-555555555555"
	of := func(tenant string) string { return "https://login.example/" + tenant + "/v2.0" }
	for _, test := range []struct {
		name   string
		issuer any // member of the JWK
		iss    string
		cause  string // empty: accepted
	}{
		{"no issuer: any", nil, of(mine), ""},
		{"null: any", null, of(mine), ""},
		{"empty: any", "", of(mine), ""},
		{"its issuer: accepted", of(mine), of(mine), ""},
		{"another issuer: refused", of(other), of(mine), "is for the issuer \"" + of(other)},
		{"slash at the end: refused", of(mine) + "/", of(mine), "is for the issuer"},
		{"any tenant: accepted", of(tenantID), of(mine), ""},
		{"any tenant, another one: accepted", of(tenantID), of(other), ""},
		{"any tenant of another version: refused", of(tenantID) + "x", of(mine), "is for the issuer"},
		{"any tenant of another host: refused", "https://login.evil.example/{tenantid}/v2.0", of(mine), "is for the issuer"},
		{"two tenants: refused", of(tenantID + "/" + tenantID), of(mine), "is for the issuer"},
		{"a number: skipped", 7, of(mine), "no key"},
	} {
		keys, err := ParseKeySet(setOf(t, public(t, k, map[string]any{"issuer": test.issuer}), public(t, generate(t, "ES256"), nil)))
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		written, err := MarshalKeySet(keys)
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		again, err := ParseKeySet(written)
		if err != nil || !slices.EqualFunc(keys, again, (*Key).equal) {
			t.Errorf("%s: written %s, %v", test.name, written, err)
		}
		set, err := NewKeys(keys...)
		if err != nil {
			t.Fatal(err)
		}
		many := Config{Issuer: of(tenantID), AnyTenant: true, Profile: Profile{Tenant: "tid"}}
		for _, c := range []Config{many, {Issuer: test.iss}} {
			c.Audience, c.Keys, c.Now = []string{service}, set, func() time.Time { return noon }
			v, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			tenant := strings.Split(test.iss, "/")[3]
			token := forge(t, k, headerOf(k, ""), strings.Replace(payloadWith("tid", `"`+tenant+`"`), issuer, test.iss, 1))
			for range 2 { // the second time it may be cached
				if _, err := v.Verify(t.Context(), token); test.cause != "" {
					refused(t, token, err, durward.InvalidToken, test.cause)
				} else if err != nil {
					t.Errorf("%s: %v", test.name, err)
				}
			}
			// A cached token ends if its key is now for another issuer.
			if test.cause == "" && c.Issuer == test.iss {
				changed := *keys[0]
				changed.issuer = of("x")
				if err := set.Set(&changed); err != nil {
					t.Fatal(err)
				}
				_, err := v.Verify(t.Context(), token)
				refused(t, token, err, durward.InvalidToken, "is for the issuer")
			}
		}
	}
}
