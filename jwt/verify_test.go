package jwt

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-auth/durward"
)

// forge signs any header and payload, as a faulty or hostile issuer could.
func forge(t testing.TB, k *PrivateKey, header, payload string) string {
	t.Helper()
	input := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	signature, err := k.sign([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func headerOf(k *PrivateKey, more string) string {
	return fmt.Sprintf(`{"alg":%q,"typ":"at+jwt","kid":%q%s}`, k.Algorithm(), k.ID(), more)
}

// goodClaims are the members of a valid payload, as JSON.
var goodClaims = [][2]string{
	{"iss", `"` + issuer + `"`}, {"sub", `"someone"`}, {"aud", `"` + service + `"`},
	{"exp", fmt.Sprint(noon.Add(15 * time.Minute).Unix())}, {"iat", fmt.Sprint(noon.Unix())},
	{"jti", `"token-1"`}, {"client_id", `"app"`}, {"scope", `"read write"`}, {"sid", `"session-1"`},
	{"auth_time", fmt.Sprint(noon.Unix())}, {"acr", `"1"`}, {"amr", `["pwd","otp"]`},
}

// payloadWith returns a valid payload with another value of one member; "" removes it.
func payloadWith(name, value string) string {
	var members []string
	found := false
	for _, m := range goodClaims {
		if m[0] == name {
			m[1], found = value, true
		}
		if m[1] != "" {
			members = append(members, fmt.Sprintf("%q:%s", m[0], m[1]))
		}
	}
	if !found && name != "" {
		members = append(members, fmt.Sprintf("%q:%s", name, value))
	}
	return "{" + strings.Join(members, ",") + "}"
}

// codesIn returns the number of codes that an error wraps.
func codesIn(err error) int {
	if _, ok := err.(durward.Code); ok {
		return 1
	}
	n := 0
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			n = codesIn(inner)
		}
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			n += codesIn(inner)
		}
	}
	return n
}

// refused checks that an error wraps one code, contains cause, and no part of the token.
func refused(t *testing.T, token string, err error, code durward.Code, cause string) {
	t.Helper()
	if !errors.Is(err, code) || codesIn(err) != 1 {
		t.Errorf("token %.300q:\ngot  %v with %d codes\nwant %s alone", token, err, codesIn(err), code)
		return
	}
	if !strings.Contains(err.Error(), cause) {
		t.Errorf("token %.300q:\ngot  %v\nwant a cause with %q", token, err, cause)
	}
	for _, part := range strings.Split(token, ".") {
		if len(part) > 20 && strings.Contains(err.Error(), part) {
			t.Errorf("the cause shows part of the token: %v", err)
		}
	}
	if len(err.Error()) > 1024 {
		t.Errorf("the cause has %d octets", len(err.Error()))
	}
	if sum := sha256.Sum256([]byte(token)); len(token) <= maxToken && !strings.Contains(err.Error(), "token "+hex.EncodeToString(sum[:4])+":") {
		t.Errorf("the cause does not name the token by its digest: %v", err)
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	for _, alg := range algorithms {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			k := generate(t, alg)
			c := example()
			v := verifier(t, Config{Algorithms: []string{alg}}, k.Public())
			token := sign(t, k, c)
			want := &durward.Principal{
				Scheme: "Bearer", Subject: c.Subject, Issuer: c.Issuer, ClientID: c.ClientID, SessionID: c.SessionID,
				TokenID: c.ID, ACR: c.ACR, AMR: c.AMR, AuthTime: c.AuthTime, Expires: c.Expires, Scopes: c.Scopes,
				AsOf: c.IssuedAt,
			}
			for range 2 { // the second time it is cached
				got, err := v.Verify(t.Context(), token)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("principal (-want +got):\n%s", d)
				}
			}
			// RFC 9068 s2.1: exactly these three.
			header, _ := b64.DecodeString(token[:strings.IndexByte(token, '.')])
			if want := headerOf(k, ""); string(header) != want {
				t.Errorf("header %s, want %s", header, want)
			}
			// Truncated, extended, with one bit changed.
			step := 1
			if alg == "RS256" || alg == "PS256" {
				step = 7
			}
			for i := 0; i < len(token); i += step {
				for _, bad := range []string{token[:i], token[:i] + string(token[i]^1) + token[i+1:], token[:i] + "A" + token[i:]} {
					if _, err := v.Verify(t.Context(), bad); !errors.Is(err, durward.InvalidToken) {
						t.Fatalf("token changed at octet %d: got %v, want INVALID_TOKEN", i, err)
					}
				}
			}
		})
	}
}

// Claims with a valid signature that violate the profile (RFC 9068, RFC 7519, RFC 8725). Each is
// refused with its own reason.
func TestMalformedButSigned(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	v := verifier(t, Config{}, k.Public())
	h := headerOf(k, "")
	ahead := func(d time.Duration) string { return fmt.Sprint(noon.Add(time.Minute + d).Unix()) }

	type test struct{ name, header, payload, cause string }
	var tests []test
	claim := func(name, value, cause string) {
		tests = append(tests, test{"claim " + name + " " + fmt.Sprintf("%.40s", value), h, payloadWith(name, value), cause})
	}
	head := func(name, header, cause string) {
		tests = append(tests, test{"header " + name, header, payloadWith("", ""), cause})
	}
	whole := func(name, payload, cause string) { tests = append(tests, test{"payload " + name, h, payload, cause}) }

	// Claims that RFC 9068 s2.2 requires, as strings.
	for _, name := range []string{"iss", "sub", "client_id", "jti"} {
		claim(name, "", name+" is missing")
		for _, value := range []string{"7", "null", "true", `["a"]`, `{"a":"b"}`} {
			claim(name, value, name+" is not a string")
		}
	}
	claim("iss", `""`, "iss is missing or empty")
	for _, name := range []string{"sub", "client_id", "jti", "sid", "acr"} {
		claim(name, `""`, name+" is empty")
		claim(name, `"a\u0000b"`, name+" has a control character")
		claim(name, `"a\u007fb"`, name+" has a control character")
		claim(name, `"a\r\nX-Admin: 1"`, name+" has a control character")
	}
	for _, name := range []string{"sid", "acr", "scope"} {
		claim(name, "7", name+" is not a string")
		claim(name, "null", name+" is not a string")
		claim(name, `["a"]`, name+" is not a string")
	}
	// The issuer must match exactly.
	for _, iss := range []string{issuer + "/", strings.ToUpper(issuer), "https://other.example", issuer + ".evil.example", "http://auth.example.com"} {
		claim("iss", fmt.Sprintf("%q", iss), fmt.Sprintf("iss is %q, keys are held for %q", iss, issuer))
	}
	// Times.
	for _, name := range []string{"exp", "iat", "nbf", "auth_time"} {
		for _, value := range []string{`"1772366400"`, `"2026-03-01T12:00:00Z"`, "null", "true", "[1772366400]", "{}"} {
			claim(name, value, name+" is not a number")
		}
		for _, value := range []string{"-1", "-0", "1e400", "9223372036854775808", "253402300800", "1e12", "-1e400"} {
			claim(name, value, name+" is "+value+", not a time")
		}
	}
	claim("exp", "", "exp is missing")
	claim("iat", "", "iat is missing")
	claim("exp", "0", "exp is not after iat")
	claim("exp", fmt.Sprint(noon.Unix()), "exp is not after iat")
	claim("exp", fmt.Sprint(noon.AddDate(10, 0, 0).Unix()), "want at most 24h0m0s")
	claim("exp", fmt.Sprint(noon.Unix()+86401), "want at most 24h0m0s")
	claim("nbf", ahead(11*time.Second), "nbf is 11s ahead of our clock")
	claim("iat", ahead(11*time.Second), "iat is 11s ahead of our clock")
	claim("auth_time", ahead(11*time.Second), "auth_time is 11s ahead of our clock")
	// The audience must contain the service exactly.
	claim("aud", "", "aud is missing")
	for value, cause := range map[string]string{
		`[]`: "aud is empty", `""`: "aud is empty", `7`: "aud is not a list", `null`: "aud is not a list", `{"a":1}`: "aud is not a list",
		`[7]`: "element 0 of aud", `["` + service + `",7]`: "element 1 of aud", `[["` + service + `"]]`: "element 0 of aud", `["` + service + `",""]`: "element 1 of aud",
		`"` + service + `/"`: "this service is", `"HTTPS://API.EXAMPLE.COM"`: "this service is", `"https://api.example"`: "this service is",
		`"` + service + `.evil.example"`: "this service is", `["a","b"]`: "this service is", `"` + service + ` x"`: "this service is", `"*"`: "this service is",
	} {
		claim("aud", value, cause)
	}
	for value, cause := range map[string]string{
		`"pwd"`: "amr is not a list", `7`: "amr is not a list", `null`: "amr is not a list", `["pwd",7]`: "element 1 of amr",
		`[["pwd"]]`: "element 0 of amr", `["a\u0000"]`: "element 0 of amr", `[null]`: "element 0 of amr",
	} {
		claim("amr", value, cause)
	}
	for _, value := range []string{`"a  b"`, `" a"`, `"a "`, `"a\tb"`, `"a\u00a0admin"`, `"a\nb"`, `"\"a\""`, `"a\\b"`, `"ä"`, `" "`} {
		claim("scope", value, "is not one (RFC 6749 s3.3)")
	}
	// Bound to a key, and sent without a proof.
	claim("cnf", `{"jkt":"0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}`, "bound to a DPoP key")
	claim("cnf", `{"x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}`, "bound to a client certificate")
	claim("cnf", `{}`, "bound to its sender")
	claim("cnf", `{"jwk":{"kty":"EC"}}`, "bound to its sender")
	for _, value := range []string{`"x"`, `null`, `[]`, `7`} {
		claim("cnf", value, "cnf is not an object")
	}
	claim("cnf", `{"jkt":7}`, "cnf jkt is not a string")

	// Form of the payload.
	whole("not JSON", `hello`, "payload is not the JSON")
	whole("empty", ``, "payload is not the JSON")
	whole("null", `null`, "not a JSON object")
	whole("list", `[`+payloadWith("", "")+`]`, "not a JSON object")
	whole("string", `"x"`, "not a JSON object")
	whole("two", payloadWith("", "")+payloadWith("", ""), "payload is not the JSON")
	whole("trailing", payloadWith("", "")+"x", "payload is not the JSON")
	whole("cut", strings.TrimSuffix(payloadWith("", ""), "}"), "payload is not the JSON")
	whole("doubled sub", `{"sub":"admin",`+payloadWith("", "")[1:], "duplicate object member name")
	whole("doubled sub, escaped", `{"s\u0075b":"admin",`+payloadWith("", "")[1:], "duplicate object member name")
	whole("doubled elsewhere", `{"x":{"a":1,"a":2},`+payloadWith("", "")[1:], "duplicate object member name")
	whole("invalid UTF-8", payloadWith("sub", "\"some\xffone\""), "invalid UTF-8")
	whole("overlong UTF-8", payloadWith("sub", "\"some\xc0\x80one\""), "invalid UTF-8")
	whole("lone surrogate", payloadWith("sub", `"some\ud800one"`), "payload is not the JSON")
	whole("raw NUL", payloadWith("sub", "\"some\x00one\""), "payload is not the JSON")
	whole("comment", `/**/`+payloadWith("", ""), "payload is not the JSON")
	whole("BOM", "\ufeff"+payloadWith("", ""), "payload is not the JSON")
	whole("single quotes", strings.ReplaceAll(payloadWith("", ""), `"`, `'`), "payload is not the JSON")
	whole("leading zero", payloadWith("exp", "01772366400"), "payload is not the JSON")
	whole("other case", strings.Replace(payloadWith("", ""), `"sub"`, `"SUB"`, 1), "sub is missing")
	whole("deep", payloadWith("x", strings.Repeat("[", 17)+strings.Repeat("]", 17)), "nested more than 16 deep")
	whole("deep objects", payloadWith("x", strings.Repeat(`{"a":`, 17)+"1"+strings.Repeat("}", 17)), "nested more than 16 deep")
	whole("long audience", payloadWith("aud", "["+strings.Repeat(`"a",`, 256)+`"a"]`), "more than 256")

	// typ.
	for _, typ := range []string{`"JWT"`, `"jwt"`, `"logout+jwt"`, `"dpop+jwt"`, `"at+JWT "`, `"application/jwt"`, `"at+jwt;v=1"`, `"secevent+jwt"`, `"id_token"`} {
		head("typ "+typ, strings.Replace(h, `"at+jwt"`, typ, 1), "an access token says")
	}
	head("typ absent", strings.Replace(h, `"typ":"at+jwt",`, "", 1), "typ in the header is missing")
	for _, typ := range []string{`7`, `null`, `["at+jwt"]`} {
		head("typ "+typ, strings.Replace(h, `"at+jwt"`, typ, 1), "typ in the header is not a string")
	}
	// alg.
	for _, alg := range []string{`"none"`, `"None"`, `"NONE"`, `"nOnE"`, `""`, `"es256"`, `"ES256 "`, `"ES256K"`, `"HS384"`, `"none\u0000"`} {
		head("alg "+alg, strings.Replace(h, `"ES256"`, alg, 1), "alg is")
	}
	head("alg absent", strings.Replace(h, `"alg":"ES256",`, "", 1), `alg is ""`)
	for _, alg := range []string{`null`, `["ES256"]`, `["none"]`, `0`, `true`, `{}`} {
		head("alg "+alg, strings.Replace(h, `"ES256"`, alg, 1), "alg in the header is not a string")
	}
	for _, alg := range []string{"HS256", "RS256", "PS256", "EdDSA", "ES384", "ES512"} {
		head("alg "+alg, strings.Replace(h, "ES256", alg, 1), "is for ES256, the token says")
	}
	// The kid must match exactly.
	for _, kid := range []string{`"../../../../dev/null"`, `"x' OR '1'='1"`, `"` + k.ID() + `\u0000"`, `"` + strings.ToLower(k.ID()) + `"`, `"` + strings.Repeat("k", 4000) + `"`, `" ` + k.ID() + `"`} {
		head(fmt.Sprintf("kid %.20s", kid), strings.Replace(h, `"`+k.ID()+`"`, kid, 1), "no key")
	}
	for _, kid := range []string{`7`, `null`, `["` + k.ID() + `"]`, `{"a":"` + k.ID() + `"}`} {
		head("kid "+kid[:1], strings.Replace(h, `"`+k.ID()+`"`, kid, 1), "kid in the header is not a string")
	}
	head("kid absent", `{"alg":"ES256","typ":"at+jwt"}`, "kid is missing")
	head("kid empty", `{"alg":"ES256","typ":"at+jwt","kid":""}`, "kid is missing")
	// Members that change the meaning of a token.
	jwk, err := MarshalKeySet([]*Key{k.Public()})
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"jwk": string(jwk[len(`{"keys":[`) : len(jwk)-2]), "jku": `"https://evil.example/jwks"`, "x5u": `"https://evil.example/x"`,
		"x5c": `["MIIB"]`, "b64": "false", "cty": `"JWT"`, "zip": `"DEF"`, "enc": `"A256GCM"`,
		"p2c": "2147483647", "p2s": `"AAAA"`, "epk": `{}`, "iv": `"A"`, "tag": `"A"`, "apu": `"A"`, "apv": `"A"`,
	} {
		head(name, headerOf(k, `,"`+name+`":`+value), `header has "`+name+`"`)
	}
	for _, crit := range []string{`["exp"]`, `[]`, `["alg"]`, `["b64"]`, `["x"],"x":1`, `"exp"`, `null`, `7`, `[7]`} {
		head("crit "+crit, headerOf(k, `,"crit":`+crit), `header has "crit"`)
	}
	// JSON of the header.
	head("doubled alg", `{"alg":"none",`+h[1:], "duplicate object member name")
	head("doubled alg, escaped", `{"\u0061lg":"none",`+h[1:], "duplicate object member name")
	head("list", "["+h+"]", "not a JSON object")
	head("empty", "", "header is not the JSON")
	head("invalid UTF-8", headerOf(k, ",\"x\":\"\xff\""), "invalid UTF-8")
	head("trailing", h+" {}", "header is not the JSON")
	head("deep", headerOf(k, `,"x":`+strings.Repeat("[", 17)+strings.Repeat("]", 17)), "nested more than 16 deep")

	if len(tests) < 150 {
		t.Fatalf("%d cases, want at least 150", len(tests))
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			token := forge(t, k, test.header, test.payload)
			p, err := v.Verify(context.Background(), token)
			if p != nil {
				t.Errorf("header %s\npayload %s\ngot principal %+v", test.header, test.payload, p)
			}
			refused(t, token, err, durward.InvalidToken, test.cause)
		})
	}
}

func manyMembers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"m%d":1`, i)
	}
	return b.String()
}

// Unusual tokens that conform to the profile are accepted.
func TestUnusualButGood(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	v := verifier(t, Config{}, k.Public())
	h := headerOf(k, "")
	for name, test := range map[string]struct{ header, payload string }{
		"plain":              {h, payloadWith("", "")},
		"typ with prefix":    {strings.Replace(h, "at+jwt", "application/at+jwt", 1), payloadWith("", "")},
		"typ in capitals":    {strings.Replace(h, "at+jwt", "AT+JWT", 1), payloadWith("", "")},
		"unknown header":     {headerOf(k, `,"org":"x"`), payloadWith("", "")},
		"nonce in header":    {headerOf(k, `,"nonce":"x"`), payloadWith("", "")}, // Entra ID
		"unknown claim":      {h, payloadWith("https://example.com/roles", `["a",{"b":[null,1.5e3]}]`)},
		"16 deep":            {h, payloadWith("x", strings.Repeat("[", 15)+strings.Repeat("]", 15))},
		"escaped names":      {`{"\u0061lg":"ES256","t\u0079p":"at+jwt","kid":"` + k.ID() + `"}`, strings.Replace(payloadWith("", ""), `"sub"`, `"s\u0075b"`, 1)},
		"escaped value":      {h, payloadWith("sub", `"\u0073omeone"`)},
		"aud list":           {h, payloadWith("aud", `["https://other.example","`+service+`"]`)},
		"exp with fraction":  {h, payloadWith("exp", fmt.Sprintf("%d.25", noon.Add(15*time.Minute).Unix()))},
		"exp with exponent":  {h, payloadWith("exp", fmt.Sprintf("%de0", noon.Add(15*time.Minute).Unix()))},
		"no scope":           {h, payloadWith("scope", "")},
		"empty scope":        {h, payloadWith("scope", `""`)},
		"no sid":             {h, payloadWith("sid", "")},
		"empty amr":          {h, payloadWith("amr", `[]`)},
		"white space":        {" \n" + h + "\t", "\n" + strings.ReplaceAll(payloadWith("", ""), ",", " ,\r\n\t") + " "},
		"iat 10 s ahead":     {h, payloadWith("iat", fmt.Sprint(noon.Add(70*time.Second).Unix()))},
		"nbf 10 s ahead":     {h, payloadWith("nbf", fmt.Sprint(noon.Add(70*time.Second).Unix()))},
		"exactly 24 h":       {h, payloadWith("exp", fmt.Sprint(noon.Unix()+86400))},
		"subject in Unicode": {h, payloadWith("sub", `"żółw 🐢"`)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := v.Verify(context.Background(), forge(t, k, test.header, test.payload))
			if err != nil {
				t.Fatalf("header %s\npayload %s\ngot %v, want accepted", test.header, test.payload, err)
			}
			if name != "subject in Unicode" && p.Subject != "someone" {
				t.Errorf("subject %q, want someone", p.Subject)
			}
		})
	}
}

// The limits of the times, exact on both sides; expiry has its own code.
func TestTimes(t *testing.T) {
	t.Parallel()
	k := generate(t, "EdDSA")
	c := example()
	c.NotBefore = noon
	token := sign(t, k, c)
	for _, test := range []struct {
		leeway time.Duration
		at     time.Duration // from noon
		code   durward.Code
		cause  string
	}{
		{0, -10 * time.Second, "", ""},
		{0, -10*time.Second - time.Nanosecond, durward.InvalidToken, "nbf is 10s ahead of our clock"},
		{0, 15*time.Minute - time.Nanosecond, "", ""},
		{0, 15 * time.Minute, durward.TokenExpired, "expired 0s ago by our clock"},
		{0, 15*time.Minute + 12*time.Second, durward.TokenExpired, "expired 12s ago by our clock"},
		{time.Minute, 16*time.Minute - time.Nanosecond, "", ""},
		{time.Minute, 16 * time.Minute, durward.TokenExpired, "expired 1m0s ago by our clock, leeway 1m0s"},
		{time.Minute, -11 * time.Second, durward.InvalidToken, "nbf is 11s ahead"}, // leeway is for exp alone
	} {
		v := verifier(t, Config{Leeway: test.leeway, Now: func() time.Time { return noon.Add(test.at) }}, k.Public())
		_, err := v.Verify(t.Context(), token)
		if test.code == "" {
			if err != nil {
				t.Errorf("leeway %s, %s after noon: got %v, want accepted", test.leeway, test.at, err)
			}
			continue
		}
		refused(t, token, err, test.code, test.cause)
	}
}

// The limits of each time claim, exact on both sides, independent of the leeway for exp.
func TestTimesAhead(t *testing.T) {
	t.Parallel()
	k := generate(t, "EdDSA")
	h := headerOf(k, "")
	for _, name := range []string{"nbf", "iat", "auth_time"} {
		token := forge(t, k, h, payloadWith(name, fmt.Sprint(noon.Add(time.Minute).Unix())))
		for _, leeway := range []time.Duration{0, time.Minute} {
			for at, want := range map[time.Duration]bool{50*time.Second - 1: false, 50 * time.Second: true, 70 * time.Second: true} {
				v := verifier(t, Config{Leeway: leeway, Now: func() time.Time { return noon.Add(at) }}, k.Public())
				_, err := v.Verify(t.Context(), token)
				if want && err != nil {
					t.Errorf("%s a minute after noon, %s after noon: got %v, want accepted", name, at, err)
				} else if !want {
					refused(t, token, err, durward.InvalidToken, name+" is 10s ahead of our clock")
				}
			}
		}
	}
	// Lifetime: 24 h by default, or as configured, to the second.
	for _, test := range []struct {
		most, life time.Duration
		want       bool
	}{{0, 24 * time.Hour, true}, {0, 24*time.Hour + time.Second, false}, {time.Hour, time.Hour, true}, {time.Hour, time.Hour + time.Second, false}} {
		v := verifier(t, Config{MaxLifetime: test.most}, k.Public())
		token := forge(t, k, h, payloadWith("exp", fmt.Sprint(noon.Add(test.life).Unix())))
		if _, err := v.Verify(t.Context(), token); (err == nil) != test.want {
			t.Errorf("a life of %s where %s is allowed: got %v", test.life, test.most, err)
		}
	}
}

// NumericDate: integers and fractions, at the limits of numbers.
func TestNumericDates(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Time{
		"0": time.Unix(0, 0), "1": time.Unix(1, 0), "0.5": time.Unix(0, 5e8), "1.25e1": time.Unix(12, 5e8), "1e3": time.Unix(1000, 0), "1E+3": time.Unix(1000, 0),
		"2147483647": time.Unix(1<<31-1, 0), "2147483648": time.Unix(1<<31, 0), "4294967296": time.Unix(1<<32, 0),
		"253402300799": time.Unix(253402300799, 0), "253402300799.0": time.Unix(253402300799, 0), "1e-400": time.Unix(0, 0),
		"253402300800": {}, "253402300799.5": {}, "253402300800.0": {}, "9223372036854775807": {}, "9223372036854775808": {}, "18446744073709551616": {}, "1e19": {},
		"1e308": {}, "1e309": {}, "1e400": {}, "-1": {}, "-0": {}, "-0.0": {}, "-1e-9": {}, "-1e400": {}, "-9223372036854775808": {}, "-9223372036854775809": {},
		strings.Repeat("9", 4000): {}, `"1"`: {}, "true": {}, "null": {}, "[]": {}, "{}": {},
	} {
		for _, name := range []string{"exp", "nbf", "iat", "auth_time"} {
			r := reading{all: true}
			if err := r.read([]byte(fmt.Sprintf(`{"iss":"i",%q:%s}`, name, text))); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			got := map[string]time.Time{"exp": r.Expires, "nbf": r.NotBefore, "iat": r.IssuedAt, "auth_time": r.AuthTime}[name]
			if !got.Equal(want) {
				t.Errorf("%s %.40s: got %s, want %s", name, text, got, want)
			}
			named := slices.ContainsFunc(r.bad, func(err error) bool {
				return strings.HasPrefix(err.Error(), name+" is ") && !strings.Contains(err.Error(), "missing") && len(err.Error()) < 200
			})
			if named != want.IsZero() {
				t.Errorf("%s %.40s: got problems %v", name, text, r.bad)
			}
		}
	}
}

// The limits of width and depth: 256 elements of a list that is read, 16 levels. TestLimits has the
// settings.
func TestBoundsOfJSON(t *testing.T) {
	t.Parallel()
	k := generate(t, "HS256")
	v := verifier(t, Config{}, k.Public())
	texts := func(n int) string { return `["` + service + `"` + strings.Repeat(`,"a"`, n-1) + "]" }
	nest := func(open, shut string, n int) string { return strings.Repeat(open, n) + "1" + strings.Repeat(shut, n) }
	for name, payload := range map[string][2]string{
		"aud":          {payloadWith("aud", texts(256)), payloadWith("aud", texts(257))},
		"amr":          {payloadWith("amr", texts(256)), payloadWith("amr", texts(257))},
		"lists deep":   {payloadWith("x", nest("[", "]", 15)), payloadWith("x", nest("[", "]", 16))},
		"objects deep": {payloadWith("x", nest(`{"a":`, "}", 15)), payloadWith("x", nest(`{"a":`, "}", 16))},
	} {
		if _, err := v.Verify(t.Context(), forge(t, k, headerOf(k, ""), payload[0])); err != nil {
			t.Errorf("%s at the bound: %v", name, err)
		}
		token := forge(t, k, headerOf(k, ""), payload[1])
		_, err := v.Verify(t.Context(), token)
		refused(t, token, err, durward.InvalidToken, "more than ")
	}
	// 16 KiB exactly.
	exactly := func(n int) string {
		for i := range 4 { // base64 jumps over some lengths
			for pad := 11_600; pad < 12_100; pad++ {
				token := forge(t, k, headerOf(k, `,"x":"`+strings.Repeat("x", i)+`"`), payloadWith("x", `"`+strings.Repeat("x", pad)+`"`))
				if len(token) == n {
					return token
				}
			}
		}
		t.Fatalf("no token of %d octets", n)
		return ""
	}
	if _, err := v.Verify(t.Context(), exactly(maxToken)); err != nil {
		t.Errorf("token of 16 KiB: %v", err)
	}
	token := exactly(maxToken + 1)
	_, err := v.Verify(t.Context(), token)
	refused(t, token, err, durward.InvalidToken, "token of 16385 octets, want at most 16384")
}

// A token with several faults is refused for the first one in the order of the package comment.
func TestOrderOfChecks(t *testing.T) {
	t.Parallel()
	k, other := generate(t, "ES256"), generate(t, "ES256")
	v := verifier(t, Config{
		Algorithms: []string{"ES256"},
		Now:        func() time.Time { return noon.Add(time.Hour) }, // all have expired
		Revoked:    func(*durward.Principal, string) error { return durward.TokenRevoked },
	}, k.Public())
	// Each step repairs one fault.
	header := map[string]string{"alg": `"none"`, "typ": `"JWT"`, "kid": `"unknown"`, "jku": `"https://evil.example"`}
	claims := map[string]string{"iss": `"https://other.example"`, "aud": `"https://other.example"`, "sub": `7`, "nbf": fmt.Sprint(noon.Add(2 * time.Hour).Unix()), "cnf": `{"jkt":"x"}`}
	signer := other
	build := func() string {
		h := []string{}
		for _, name := range []string{"alg", "typ", "kid", "jku"} {
			if value, ok := header[name]; ok {
				h = append(h, fmt.Sprintf("%q:%s", name, value))
			}
		}
		p := payloadWith("", "")
		for name, value := range claims {
			if strings.Contains(p, `"`+name+`":`) {
				good := goodClaims[slices.IndexFunc(goodClaims, func(m [2]string) bool { return m[0] == name })]
				p = strings.Replace(p, fmt.Sprintf("%q:%s", name, good[1]), fmt.Sprintf("%q:%s", name, value), 1)
			} else {
				p = strings.TrimSuffix(p, "}") + fmt.Sprintf(",%q:%s}", name, value)
			}
		}
		return forge(t, signer, "{"+strings.Join(h, ",")+"}", p)
	}
	for _, step := range []struct {
		cause string
		code  durward.Code
		mend  func()
	}{
		{`header has "jku"`, durward.InvalidToken, func() { delete(header, "jku") }},
		{"typ in the header is", durward.InvalidToken, func() { header["typ"] = `"at+jwt"` }},
		{"alg is", durward.InvalidToken, func() { header["alg"] = `"ES256"` }},
		{"iss is", durward.InvalidToken, func() { delete(claims, "iss") }},
		{"no key", durward.InvalidToken, func() { header["kid"] = `"` + k.ID() + `"` }},
		{"signature is not one of key", durward.InvalidToken, func() { signer = k }},
		{"sub is not a string", durward.InvalidToken, func() { delete(claims, "sub") }},
		{"aud is", durward.InvalidToken, func() { delete(claims, "aud") }},
		{"nbf is", durward.InvalidToken, func() { delete(claims, "nbf") }},
		{"bound to a DPoP key", durward.InvalidToken, func() { delete(claims, "cnf") }},
		{"expired 45m0s ago", durward.TokenExpired, func() { v.c.Now = func() time.Time { return noon } }},
		{"", durward.TokenRevoked, func() { v.c.Revoked = nil }},
	} {
		token := build()
		_, err := v.Verify(t.Context(), token)
		refused(t, token, err, step.code, step.cause)
		step.mend()
	}
	if _, err := v.Verify(t.Context(), build()); err != nil {
		t.Errorf("all faults mended: got %v", err)
	}
}

// No encoding of a public key is accepted as an HMAC secret, with and without HS256 among the
// algorithms.
func TestPublicKeyIsNoSecret(t *testing.T) {
	t.Parallel()
	k := generate(t, "RS256")
	public := k.key.m.public.(*rsa.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	certificate := &x509.Certificate{SerialNumber: public.N}
	cert, err := x509.CreateCertificate(nil, certificate, certificate, public, *k.signer)
	if err != nil {
		t.Fatal(err)
	}
	jwks, err := MarshalKeySet([]*Key{k.Public()})
	if err != nil {
		t.Fatal(err)
	}
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(jwks, &set); err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	var file struct{ Variants []string }
	load(t, "rfc/hmac_key_confusion_inputs.json", &file)
	inputs := map[string][]byte{
		"PKIX PEM with trailing newline":    []byte(text),
		"PKIX PEM without trailing newline": []byte(strings.TrimSuffix(text, "\n")),
		"PKIX PEM with CRLF":                []byte(strings.ReplaceAll(text, "\n", "\r\n")),
		"PKCS#1 RSA PUBLIC KEY PEM":         pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(public)}),
		"X.509 certificate PEM (x5c[0])":    pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		"raw DER SubjectPublicKeyInfo":      der,
		"base64 of DER":                     []byte(base64.StdEncoding.EncodeToString(der)),
		"JWK JSON text exactly as served":   set.Keys[0],
		"n (base64url text)":                []byte(b64.EncodeToString(public.N.Bytes())),
		"raw n bytes":                       public.N.Bytes(),
		"empty key":                         {},
		"kid string":                        []byte(k.ID()),
	}
	for _, name := range file.Variants {
		if _, ok := inputs[name]; !ok {
			t.Errorf("the file names the form %q, which is not tried", name)
		}
	}
	if len(inputs) != 12 || len(file.Variants) != 12 {
		t.Fatalf("%d inputs of %d named, want 12", len(inputs), len(file.Variants))
	}
	strict := verifier(t, Config{Algorithms: []string{"RS256"}}, k.Public())
	lax := verifier(t, Config{Algorithms: algorithms}, k.Public(), generate(t, "HS256").Public())
	for name, secret := range inputs {
		for _, alg := range []string{"HS256", "RS256"} {
			input := b64.EncodeToString([]byte(strings.Replace(headerOf(k, ""), "RS256", alg, 1))) + "." + b64.EncodeToString([]byte(payloadWith("", "")))
			token := input + "." + b64.EncodeToString(hmacSHA256(secret, input))
			for _, v := range []*Verifier{strict, lax} {
				if _, err := v.Verify(t.Context(), token); !errors.Is(err, durward.InvalidToken) {
					t.Errorf("%s as secret, alg %s, accepted %v: got %v, want INVALID_TOKEN", name, alg, v.c.Algorithms, err)
				}
			}
		}
	}
}

// A token is accepted in one spelling only.
func TestAlternateSpellings(t *testing.T) {
	t.Parallel()
	k := generate(t, "EdDSA") // 64 octets: 4 unused bits in the last character
	v := verifier(t, Config{}, k.Public())
	// Payloads of each length modulo 3, so that header, payload and signature have unused bits.
	for extra := range 3 {
		token := forge(t, k, headerOf(k, `,"x":"`+strings.Repeat("a", extra)+`"`), payloadWith("x", `"`+strings.Repeat("b", extra)+`"`))
		if _, err := v.Verify(t.Context(), token); err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(token, ".")
		for i := range parts {
			for name, spell := range map[string]func(string) string{
				"one =":         func(s string) string { return s + "=" },
				"padded":        func(s string) string { return s + strings.Repeat("=", (4-len(s)%4)%4+4) },
				"line feed":     func(s string) string { return s[:4] + "\n" + s[4:] },
				"CR at the end": func(s string) string { return s + "\r" },
				"CRLF":          func(s string) string { return "\r\n" + s },
				"space":         func(s string) string { return s[:4] + " " + s[4:] },
				"tab":           func(s string) string { return s + "\t" },
				"NUL":           func(s string) string { return s + "\x00" },
				"one more":      func(s string) string { return s + "A" },
				"percent":       func(s string) string { return s + "%3D" },
				"unused bits": func(s string) string {
					if len(s)%4 == 0 {
						return s + "A"
					}
					const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
					last := strings.IndexByte(alphabet, s[len(s)-1])
					return s[:len(s)-1] + string(alphabet[last^1])
				},
			} {
				bad := slices.Clone(parts)
				bad[i] = spell(bad[i])
				if text := strings.Join(bad, "."); text != token {
					if _, err := v.Verify(t.Context(), text); !errors.Is(err, durward.InvalidToken) {
						t.Errorf("part %d with %s: got %v, want INVALID_TOKEN\n%q", i, name, err, text)
					}
				}
			}
		}
		if standard := strings.NewReplacer("-", "+", "_", "/").Replace(token); standard != token {
			if _, err := v.Verify(t.Context(), standard); !errors.Is(err, durward.InvalidToken) {
				t.Errorf("in the standard alphabet: got %v, want INVALID_TOKEN", err)
			}
		}
	}
}

// Texts that are not signed compact tokens.
func TestOtherForms(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	v := verifier(t, Config{}, k.Public())
	token := sign(t, k, example())
	p := strings.Split(token, ".")
	jwe := func(header string) string { return b64.EncodeToString([]byte(header)) + ".AAAA.AAAA.AAAA.AAAA" }
	for name, test := range map[string]struct{ token, cause string }{
		"nothing":         {"", "1 parts"},
		"one part":        {"opaque", "1 parts"},
		"two parts":       {p[0] + "." + p[1], "2 parts"},
		"four parts":      {token + "." + p[2], "4 parts"},
		"trailing dot":    {token + ".", "4 parts"},
		"leading dot":     {"." + token, "4 parts"},
		"three empty":     {"..", "header is not the JSON"},
		"no signature":    {p[0] + "." + p[1] + ".", "signature is not one of key"},
		"no payload":      {p[0] + ".." + p[2], "payload is not the JSON"},
		"general JSON":    {`{"payload":"` + p[1] + `","signatures":[{"protected":"` + p[0] + `","signature":"` + p[2] + `"}]}`, "JSON serialization"},
		"flattened JSON":  {`{"payload":"` + p[1] + `","protected":"` + p[0] + `","signature":"` + p[2] + `"}`, "JSON serialization"},
		"mixed":           {`{"x":"` + token + `"}`, ""},
		"JSON in header":  {`{"alg":"ES256"}.` + p[1] + "." + p[2], "canonical base64url"},
		"JWE dir":         {jwe(`{"alg":"dir","enc":"A128GCM"}`), "encrypted token"},
		"JWE PBES2":       {jwe(`{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483647,"p2s":"AAAA"}`), "encrypted token"},
		"JWE zip":         {jwe(`{"alg":"dir","enc":"A128GCM","zip":"DEF"}`), "encrypted token"},
		"JWE RSA-OAEP":    {jwe(`{"alg":"RSA-OAEP","enc":"A256GCM"}`), "encrypted token"},
		"JWE ECDH-ES":     {jwe(`{"alg":"ECDH-ES","enc":"A256GCM","epk":{"kty":"EC"}}`), "encrypted token"},
		"JWE A128KW":      {jwe(`{"alg":"A128KW","enc":"A128CBC-HS256"}`), "encrypted token"},
		"JWE, empty":      {"....", "encrypted token"},
		"nested":          {forge(t, k, headerOf(k, ""), token), "payload is not the JSON"},
		"JWE header, JWS": {forge(t, k, `{"alg":"PBES2-HS256+A128KW","p2c":2147483647}`, payloadWith("", "")), `header has "p2c"`},
		"refresh token":   {"dr_AbCdEf0123456789", "1 parts"},
		"with scheme":     {"Bearer " + token, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := v.Verify(context.Background(), test.token)
			refused(t, test.token, err, durward.InvalidToken, test.cause)
		})
	}
}

// URLs in a token are never fetched.
func TestNothingIsFetched(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connected := make(chan struct{}, 100)
	server := httptest.NewUnstartedServer(nil)
	server.Listener.Close()
	server.Listener = watched{l, connected}
	server.Start()
	defer server.Close()

	k := generate(t, "ES256")
	v := verifier(t, Config{}, k.Public())
	for _, name := range []string{"jku", "x5u", "kid", "iss"} {
		h, p := headerOf(k, ""), payloadWith("", "")
		switch name {
		case "kid":
			h = fmt.Sprintf(`{"alg":"ES256","typ":"at+jwt","kid":%q}`, server.URL)
		case "iss":
			p = payloadWith("iss", fmt.Sprintf("%q", server.URL))
		default:
			h = headerOf(k, fmt.Sprintf(`,%q:%q`, name, server.URL))
		}
		if _, err := v.Verify(t.Context(), forge(t, k, h, p)); !errors.Is(err, durward.InvalidToken) {
			t.Errorf("%s naming a listener: got %v, want INVALID_TOKEN", name, err)
		}
	}
	select {
	case <-connected:
		t.Error("the listener that a token named saw a connection")
	default:
	}
}

type watched struct {
	net.Listener
	connected chan struct{}
}

func (w watched) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if err == nil {
		w.connected <- struct{}{}
	}
	return c, err
}

// The work for a hostile token is limited.
func TestHostileSizes(t *testing.T) {
	k := generate(t, "ES256")
	v := verifier(t, Config{}, k.Public())
	issuers, err := NewIssuers(v)
	if err != nil {
		t.Fatal(err)
	}
	deep := func(open, shut string, n int) string {
		return forge(t, k, headerOf(k, ""), strings.Repeat(open, n)+"1"+strings.Repeat(shut, n))
	}
	for name, token := range map[string]string{
		"16 KiB and one":      strings.Repeat("a", maxToken+1),
		"1 MB":                strings.Repeat("a", 1<<20),
		"1 MB in three parts": strings.Repeat("a", 1<<19) + "." + strings.Repeat("a", 1<<19) + ".a",
		"100,000 dots":        strings.Repeat(".", 100_000),
		"16 KiB of dots":      strings.Repeat(".", maxToken),
		"30,000 deep":         deep("[", "]", 30_000),
		"2,500 deep":          deep("[", "]", 2_500),
		"900 objects deep":    deep(`{"a":`, "}", 900),
		"sub 5,000 deep":      forge(t, k, headerOf(k, ""), payloadWith("sub", strings.Repeat("[", 5000)+strings.Repeat("]", 5000))),
		"wide sub":            forge(t, k, headerOf(k, ""), payloadWith("sub", `[`+strings.Repeat("{},", 3000)+"1]")),
		"wide":                forge(t, k, headerOf(k, ""), `{"a":1`+manyMembers(1200)+"}"),
		"wide inside":         forge(t, k, headerOf(k, ""), `{"a":[`+strings.Repeat("{},", 1500)+"1]}"),
		"long names":          forge(t, k, headerOf(k, ""), `{"`+strings.Repeat("n", 5000)+`":1}`),
		"kid of 100 KB":       forge(t, k, `{"alg":"ES256","typ":"at+jwt","kid":"`+strings.Repeat("k", 100_000)+`"}`, payloadWith("", "")),
	} {
		for by, verify := range map[string]func(context.Context, string) (*durward.Principal, error){"Verifier": v.Verify, "Issuers": issuers.Verify} {
			var err error
			var before, after runtime.MemStats
			_, _ = verify(t.Context(), token) // pools are filled
			const rounds = 50
			runtime.ReadMemStats(&before)
			for range rounds {
				_, err = verify(t.Context(), token)
			}
			runtime.ReadMemStats(&after)
			refused(t, token, err, durward.InvalidToken, "")
			if each := (after.TotalAlloc - before.TotalAlloc) / rounds; each > 16*maxToken {
				t.Errorf("%s, %s: %d octets allocated for one token, want at most 16 times its size", by, name, each)
			}
		}
	}
}

func TestRevokedAndOutages(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	token := sign(t, k, example())
	down := errors.New("connection refused")
	for name, test := range map[string]struct {
		c    Config
		code durward.Code
		is   error
	}{
		"revoked": {Config{Revoked: func(*durward.Principal, string) error { return fmt.Errorf("session ended: %w", durward.TokenRevoked) }}, durward.TokenRevoked, durward.TokenRevoked},
		"another code": {Config{Revoked: func(*durward.Principal, string) error {
			return &durward.Refusal{Code: durward.StepUpRequired, Err: down}
		}}, durward.StepUpRequired, down},
		"list away": {Config{Revoked: func(*durward.Principal, string) error { return down }}, durward.AuthUnavailable, down},
		"check": {Config{Check: func(context.Context, *durward.Principal) error {
			return fmt.Errorf("a rule of the service: %w", durward.EnrolmentRequired)
		}}, durward.EnrolmentRequired, durward.EnrolmentRequired},
		"check away":               {Config{Check: func(context.Context, *durward.Principal) error { return down }}, durward.AuthUnavailable, down},
		"keys away":                {Config{Keys: failing{down}}, durward.AuthUnavailable, down},
		"keys away, request ended": {Config{Keys: failing{context.Canceled}}, durward.AuthUnavailable, context.Canceled},
		"key unknown":              {Config{Keys: failing{fmt.Errorf("x: %w", durward.InvalidToken)}}, durward.InvalidToken, nil},
	} {
		v := verifier(t, test.c, k.Public())
		_, err := v.Verify(t.Context(), token)
		refused(t, token, err, test.code, "")
		if test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%s: got %v, want it to wrap %v", name, err, test.is)
		}
	}
}

type failing struct{ err error }

func (f failing) Key(context.Context, string, string) (*Key, error) { return nil, f.err }

func TestNewReportsAllMistakes(t *testing.T) {
	t.Parallel()
	_, err := New(Config{Audience: []string{""}, Algorithms: []string{"none", "ES256"}, Leeway: 2 * time.Minute, MaxLifetime: -1, Keys: (*Keys)(nil)})
	for _, want := range []string{"no Issuer", "no Audience", `algorithm "none"`, "Leeway is 2m0s", "MaxLifetime is -1ns", "no Keys"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
	keys, err := NewKeys()
	if err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]Config{
		"no Audience":    {Issuer: issuer, Keys: keys},
		"Leeway is -1ns": {Issuer: issuer, Audience: []string{service}, Keys: keys, Leeway: -1},
		"no Keys: give":  {Issuer: issuer, Audience: []string{service}},
		"no Keys: NewRe": {Issuer: issuer, Audience: []string{service}, Keys: (*RemoteKeys)(nil)},
	} {
		if v, err := New(c); v != nil || err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want %q alone", err, want)
		}
	}
	v, err := New(Config{Issuer: issuer, Audience: []string{service}, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"ES256", "EdDSA", "Ed25519"}, v.c.Algorithms); d != "" {
		t.Errorf("default algorithms (-want +got):\n%s", d)
	}
	// The configured algorithms apply also if a key is for another one.
	k := generate(t, "RS256")
	if err := keys.Set(k.Public()); err != nil {
		t.Fatal(err)
	}
	token := sign(t, k, example())
	_, err = v.Verify(t.Context(), token)
	refused(t, token, err, durward.InvalidToken, `alg is "RS256", accepted are ES256, EdDSA, Ed25519`)
}

// Later changes to the lists in Config have no effect.
func TestConfigurationIsCopied(t *testing.T) {
	t.Parallel()
	es, hs := generate(t, "ES256"), generate(t, "HS256")
	keys, err := NewKeys(es.Public(), hs.Public())
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Issuer: issuer, Audience: []string{service}, Algorithms: []string{"ES256"}, Keys: keys, Now: func() time.Time { return noon }}
	v, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	c.Audience[0], c.Algorithms[0] = "https://other.example", "HS256"
	if _, err := v.Verify(t.Context(), sign(t, es, example())); err != nil {
		t.Error(err)
	}
	token := sign(t, hs, example())
	_, err = v.Verify(t.Context(), token)
	refused(t, token, err, durward.InvalidToken, "accepted are ES256")
}

func TestBearerPanicsOnMistakes(t *testing.T) {
	t.Parallel()
	for _, args := range [][2]string{{"", service}, {issuer, ""}, {"http://auth.example.com", service}, {"auth.example.com", service}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Bearer(%q, %q) did not panic", args[0], args[1])
				}
			}()
			Bearer(args[0], args[1])
		}()
	}
	if Bearer(issuer, service) == nil {
		t.Error("no scheme")
	}
}

func TestSignRefuses(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	for want, change := range map[string]func(*Claims){
		"Issuer (iss) is empty":                     func(c *Claims) { c.Issuer = "" },
		"Subject (sub) is empty":                    func(c *Claims) { c.Subject = "" },
		"ID (jti) is empty":                         func(c *Claims) { c.ID = "" },
		"ClientID (client_id) is empty":             func(c *Claims) { c.ClientID = "" },
		"Audience (aud) is empty":                   func(c *Claims) { c.Audience = nil },
		"has an empty element":                      func(c *Claims) { c.Audience = []string{"a", ""} },
		"Expires (exp) is zero":                     func(c *Claims) { c.Expires = time.Time{} },
		"IssuedAt (iat) is zero":                    func(c *Claims) { c.IssuedAt = time.Time{} },
		"not at least a second after":               func(c *Claims) { c.Expires = c.IssuedAt },
		"not a time from 1970 to 9999":              func(c *Claims) { c.Expires = time.Unix(maxNumericDate+1, 0) },
		`scope "a b" is not one`:                    func(c *Claims) { c.Scopes = []string{"a b"} },
		`scope "" is not one`:                       func(c *Claims) { c.Scopes = []string{""} },
		"has a control character":                   func(c *Claims) { c.Subject = "a\x00b" },
		"claim sub":                                 func(c *Claims) { c.Subject = "a\xffb" },
		"claim amr":                                 func(c *Claims) { c.AMR = []string{"\xff"} },
		"want at most 16384":                        func(c *Claims) { c.ACR = strings.Repeat("a", 12_400) },
		"Audience, AMR or Groups has more than 128": func(c *Claims) { c.AMR = make([]string, 129) },
		"a claim has a control character":           func(c *Claims) { c.Confirmation = &Confirmation{JKT: "a\nb"} },
		"AuthTime is not before Expires":            func(c *Claims) { c.AuthTime = c.Expires },
		"NotBefore or AuthTime is not":              func(c *Claims) { c.NotBefore = c.Expires },
	} {
		c := example()
		change(&c)
		if _, err := k.Sign(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}

// All lists and times are compared.
func TestSignRefusesInEveryPlace(t *testing.T) {
	t.Parallel()
	k := generate(t, "EdDSA")
	early := time.Unix(-86400*2, 0).UTC()
	for name, test := range map[string]struct {
		change func(*Claims)
		want   string
	}{
		"amr, control":      {func(c *Claims) { c.AMR = []string{"pwd", "a\x7f"} }, "control character"},
		"aud, control":      {func(c *Claims) { c.Audience = []string{service, "a\n"} }, "control character"},
		"sid, control":      {func(c *Claims) { c.SessionID = "\x01" }, "control character"},
		"x5t#S256, control": {func(c *Claims) { c.Confirmation = &Confirmation{X5tS256: "\x01"} }, "control character"},
		"amr, empty":        {func(c *Claims) { c.AMR = []string{"pwd", ""} }, "has an empty element"},
		"aud, many":         {func(c *Claims) { c.Audience = slices.Repeat([]string{"a"}, 129) }, "more than 128"},
		"amr, many":         {func(c *Claims) { c.AMR = slices.Repeat([]string{"a"}, 129) }, "more than 128"},
		"exp before 1970":   {func(c *Claims) { c.Expires = early }, "Expires (exp) is 1969"},
		"iat before 1970":   {func(c *Claims) { c.IssuedAt = early }, "IssuedAt (iat) is 1969"},
		"nbf before 1970":   {func(c *Claims) { c.NotBefore = early }, "NotBefore (nbf) is 1969"},
		"auth before 1970":  {func(c *Claims) { c.AuthTime = early }, "AuthTime (auth_time) is 1969"},
		"nbf after 9999":    {func(c *Claims) { c.NotBefore = time.Unix(maxNumericDate+1, 0).UTC() }, "NotBefore (nbf) is 10000"},
	} {
		c := example()
		test.change(&c)
		if token, err := k.Sign(c); token != "" || err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q in it", name, err, test.want)
		}
	}
}

// Sign writes exactly the claims of the profile, and Verify reads the same ones.
func TestSignWrites(t *testing.T) {
	t.Parallel()
	k := generate(t, "HS256")
	c := Claims{
		Issuer: issuer, Subject: "a\"b\\c/é<>", Audience: []string{"a", "b"}, Expires: noon.Add(time.Hour + 900*time.Millisecond), NotBefore: noon, IssuedAt: noon,
		ID: "j", ClientID: "c", Scopes: []string{"x", "y"}, SessionID: "s", AuthTime: noon, ACR: "1", AMR: []string{"pwd", "otp"},
		Confirmation: &Confirmation{X5tS256: "h", JKT: "t"},
	}
	payload, err := verifyJWS(sign(t, k, c), k.Public())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"iss":"https://auth.example.com","sub":"a\"b\\c/é<>","aud":["a","b"],"exp":1772370000,"nbf":1772366400,"iat":1772366400,` +
		`"jti":"j","client_id":"c","scope":"x y","sid":"s","auth_time":1772366400,"acr":"1","amr":["pwd","otp"],"cnf":{"x5t#S256":"h","jkt":"t"}}`
	if string(payload) != want {
		t.Errorf("got  %s\nwant %s", payload, want)
	}
	var r reading
	if err := r.read(payload); err != nil || len(r.bad) > 0 {
		t.Fatal(err, r.bad)
	}
	c.Expires = c.Expires.Truncate(time.Second)
	if d := cmp.Diff(c, r.Claims); d != "" {
		t.Errorf("read back (-want +got):\n%s", d)
	}

	least := Claims{Issuer: issuer, Subject: "s", Audience: []string{"a"}, Expires: noon.Add(time.Hour), IssuedAt: noon, ID: "j", ClientID: "c"}
	payload, err = verifyJWS(sign(t, k, least), k.Public())
	want = `{"iss":"https://auth.example.com","sub":"s","aud":"a","exp":1772370000,"iat":1772366400,"jti":"j","client_id":"c"}`
	if err != nil || string(payload) != want {
		t.Errorf("got  %s, %v\nwant %s", payload, err, want)
	}
}

// A key has one of the two names of Ed25519 (RFC 9864 s2.2), and is used with that one only.
func TestNamesOfEd25519(t *testing.T) {
	t.Parallel()
	for name, other := range map[string]string{"Ed25519": "EdDSA", "EdDSA": "Ed25519"} {
		k := generate(t, name)
		renamed, err := newKey(k.ID(), other, k.Public().m.public)
		if err != nil {
			t.Fatal(err)
		}
		token := sign(t, k, example())
		if _, err := verifier(t, Config{}, k.Public()).Verify(t.Context(), token); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		_, err = verifier(t, Config{}, renamed).Verify(t.Context(), token)
		refused(t, token, err, durward.InvalidToken, "is for "+other)
		_, err = verifier(t, Config{Algorithms: []string{other}}, k.Public()).Verify(t.Context(), token)
		refused(t, token, err, durward.InvalidToken, "accepted are "+other)
	}
}

// AsOf is the time of the last revocations, or the time of issue.
func TestAsOf(t *testing.T) {
	t.Parallel()
	key := generate(t, "ES256")
	token := forge(t, key, headerOf(key, ""), payloadWith("", ""))
	none := func(*durward.Principal, string) error { return nil }
	for _, c := range []struct {
		name string
		now  time.Duration // since iat
		news func() time.Time
		want time.Duration // since iat
		code durward.Code
	}{
		{"no news at all", 5 * time.Minute, nil, 0, ""},
		{"news of now", 5 * time.Minute, func() time.Time { return noon.Add(5 * time.Minute) }, 5 * time.Minute, ""},
		{"older news", 5 * time.Minute, func() time.Time { return noon.Add(time.Minute) }, time.Minute, ""},
		{"news from before the token", 5 * time.Minute, func() time.Time { return noon.Add(-time.Minute) }, 0, ""},
		{"news of another clock", 5 * time.Minute, func() time.Time { return noon.Add(6 * time.Minute) }, 5 * time.Minute, ""},
		{"issued ahead", -5 * time.Second, nil, -5 * time.Second, ""},
		{"too long ago", 5 * time.Minute, func() time.Time { return noon.Add(-10*time.Minute - 1) }, 0, durward.AuthUnavailable},
		{"just not too long ago", 5 * time.Minute, func() time.Time { return noon.Add(-10 * time.Minute) }, 0, ""},
		{"nothing was ever heard", 5 * time.Minute, func() time.Time { return time.Time{} }, 0, durward.AuthUnavailable},
	} {
		for _, size := range []int{-1, 10} {
			v := verifier(t, Config{Now: func() time.Time { return noon.Add(c.now) }, Revoked: none, RevokedAsOf: c.news, CacheSize: size}, key.Public())
			for range 2 { // new, and remembered
				p, err := v.Verify(t.Context(), token)
				if c.code != "" {
					if refused(t, token, err, c.code, "at most 15m0s"); p != nil {
						t.Errorf("%s: a principal with an error", c.name)
					}
					continue
				}
				if err != nil || !p.AsOf.Equal(noon.Add(c.want)) {
					t.Errorf("%s: %v, %v; want %s", c.name, p, err, noon.Add(c.want))
				}
			}
		}
	}
	keys, err := NewKeys(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	_, err = New(Config{Issuer: issuer, Audience: []string{service}, Keys: keys, RevokedAsOf: time.Now, MaxStale: -1})
	if err == nil || !strings.Contains(err.Error(), "RevokedAsOf without Revoked") || !strings.Contains(err.Error(), "MaxStale is -1ns") {
		t.Errorf("mistakes: %v", err)
	}
}
