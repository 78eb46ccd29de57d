package jwt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

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
		"alg of another curve":   {ec, map[string]any{"alg": "ES384"}, `alg "ES384" is not one of`},
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
		"key no object":      {`{"keys":[7]}`, "not a JSON object"},
		"key a list":         {`{"keys":[[` + good + `]]}`, "not a JSON object"},
		"cut off":            {`{"keys":[` + good, "not a JWK Set"},
		"trailing":           {`{"keys":[` + good + `]}x`, "not a JWK Set"},
		"doubled keys":       {`{"keys":[],"keys":[` + good + `]}`, "duplicate object member name"},
		"doubled member":     {`{"keys":[{"kty":"EC",` + good[1:] + `]}`, "duplicate object member name"},
		"invalid UTF-8":      {`{"keys":[` + good + "],\"x\":\"\xff\"}", "invalid UTF-8"},
		"two of one kid":     {`{"keys":[` + good + `,` + string(asJSON(t, clash)) + `]}`, "two keys of the set have the kid"},
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
		keys = append(keys, generate(t, alg).Public())
	}
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
	if k, _ := set.Key(t.Context(), a.ID()); k != a.Public() {
		t.Error("the same key is another pointer")
	}
	verify("")
	clash := &Key{b.ID(), "ES256", a.key.m}
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
	if err := set.Set(&Key{a.ID(), "ES256", generate(t, "ES256").key.m}); err != nil {
		t.Fatal(err)
	}
	verify(durward.InvalidToken) // same kid, another key
	if _, err := new(Keys).Key(context.Background(), "k"); !errors.Is(err, durward.InvalidToken) {
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
