package jwt

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/durward-auth/durward"
)

// A token that is accepted has one spelling, a valid signature and the profile's claims; any other
// is refused with INVALID_TOKEN or TOKEN_EXPIRED and no principal. The input is used as a token, as
// a header and a payload that the issuer signed, and to modify a byte of a valid token.
func FuzzVerify(f *testing.F) {
	k, err := SharedSecret("shared", bytes.Repeat([]byte{7}, 32))
	if err != nil {
		f.Fatal(err)
	}
	ec, ed := generate(f, "ES256"), generate(f, "EdDSA")
	now := noon.Add(time.Minute)
	v := verifier(f, Config{CacheSize: 64}, k.Public(), ec.Public(), ed.Public())
	goods := []string{sign(f, k, example()), sign(f, ec, example()), sign(f, ed, example())}

	for _, good := range goods {
		f.Add(good, uint(0), byte(1))
		f.Add(good+"=", uint(20), byte(0x80))
	}
	f.Add(headerOf(k, ""), uint(3), byte(2))
	f.Add(headerOf(k, `,"crit":["exp"]`), uint(7), byte(32))
	f.Add(`{"alg":"none","typ":"at+jwt","kid":"shared"}`, uint(0), byte(0))
	for _, m := range goodClaims {
		f.Add(payloadWith(m[0], `"\ud800"`), uint(99), byte(4))
		f.Add(payloadWith(m[0], `[1e400,{"a":null}]`), uint(250), byte(8))
	}
	f.Add(payloadWith("aud", `["a","`+service+`"]`), uint(0), byte(0))
	f.Add(payloadWith("exp", "1772367300.5"), uint(0), byte(0))
	f.Add("a.b.c.d.e", uint(0), byte(0))

	check := func(t *testing.T, token string) {
		var last *durward.Principal
		for range 2 { // the second time it may be cached
			p, err := v.Verify(t.Context(), token)
			if err != nil {
				if p != nil || codesIn(err) != 1 || !errors.Is(err, durward.InvalidToken) && !errors.Is(err, durward.TokenExpired) {
					t.Fatalf("%q: got %+v, %v", token, p, err)
				}
				if len(err.Error()) > 1024 || !utf8.ValidString(err.Error()) || strings.ContainsAny(err.Error(), "\r\n\x00\x1b") {
					t.Fatalf("%q: the cause is not fit for a log: %q", token, err)
				}
				return
			}
			if last != nil && fmt.Sprint(*last) != fmt.Sprint(*p) {
				t.Fatalf("%q: first %+v, then %+v", token, last, p)
			}
			last = p
		}
		p := last
		c, err := split(token, new(scratch))
		if err != nil {
			t.Fatalf("%q: %v", token, err)
		}
		// Canonical: encoding the parts again gives the same token.
		if again := string(c.input) + "." + b64.EncodeToString(c.signature); again != token || len(token) > maxToken {
			t.Fatalf("verified %q\nagain    %q", token, again)
		}
		head, _ := b64.DecodeString(token[:strings.IndexByte(token, '.')])
		if again := b64.EncodeToString(head) + "." + b64.EncodeToString(c.payload); again != string(c.input) {
			t.Fatalf("verified %q\nagain    %q", c.input, again)
		}
		var r reading
		if err := r.read(c.payload); err != nil || len(r.bad) > 0 || r.iss != nil {
			t.Fatalf("%q: %v %v %v", token, err, r.bad, r.iss)
		}
		if p.Scheme != "Bearer" || p.Issuer != issuer || r.Issuer != issuer || p.Subject == "" || p.ClientID == "" || p.TokenID == "" ||
			!slices.Contains(r.Audience, service) || !p.Expires.After(now) || r.Expires.Sub(r.IssuedAt) > 24*time.Hour || r.IssuedAt.After(now.Add(iatSkew)) || r.NotBefore.After(now.Add(iatSkew)) || r.Confirmation != nil {
			t.Fatalf("%q: not of the profile: %+v, %+v", token, p, r.Claims)
		}
		for _, text := range append(append([]string{p.Subject, p.ClientID, p.TokenID, p.SessionID, p.ACR}, p.Scopes...), p.AMR...) {
			if hasControl(text) || !utf8.ValidString(text) {
				t.Fatalf("%q: %q in the principal", token, text)
			}
		}
		if slices.ContainsFunc(p.Scopes, func(s string) bool { return !isScope(s) }) {
			t.Fatalf("%q: scopes %q", token, p.Scopes)
		}
	}
	f.Fuzz(func(t *testing.T, text string, at uint, mask byte) {
		check(t, text)
		check(t, forge(t, k, text, payloadWith("", "")))
		check(t, forge(t, k, headerOf(k, ""), text))
		for _, good := range goods {
			i := int(at % uint(len(good)))
			bad := good[:i] + string([]byte{good[i] ^ mask}) + good[i+1:]
			if mask == 0 {
				bad = good[:i] + text + good[i:]
			}
			if bad == good {
				continue
			}
			if _, err := v.Verify(t.Context(), bad); err == nil {
				t.Fatalf("a changed token verifies:\n%q\n%q", good, bad)
			}
		}
		if _, err := v.Verify(t.Context(), text); err == nil && !slices.Contains(goods, text) {
			t.Fatalf("%q: got a token with a wrong signature", text)
		}
	})
}

// A key set that is accepted has secure public keys; written and parsed again they are equal. A
// private key that is accepted signs for its public part, and no error contains a secret.
func FuzzKeySet(f *testing.F) {
	var entries []any
	for _, alg := range algorithms {
		k := generate(f, alg)
		private := asJSON(f, members(f, k, true))
		f.Add(private)
		f.Add([]byte(`{"keys":[` + string(private) + `]}`))
		if alg != "HS256" {
			entries = append(entries, members(f, k, false))
		}
	}
	set := asJSON(f, map[string]any{"keys": entries})
	f.Add(set)
	f.Add(bytes.ReplaceAll(set, []byte(`"sig"`), []byte(`"enc"`)))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","key_ops":["verify"]}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB","kid":"\ud800"}]}`))
	f.Add([]byte(`{"keys":[]}`))
	// Sets as issuers publish them: keys without alg, several of one kid, odd entries.
	k, other := generate(f, "RS256"), generate(f, "ES384")
	one := func(k *PrivateKey, alg any) map[string]any {
		return public(f, k, map[string]any{"kid": "k", "alg": alg})
	}
	f.Add(setOf(f, one(k, "RS256"), one(k, "PS256"), one(other, null)))
	f.Add(setOf(f, public(f, k, map[string]any{"issuer": "https://login.example/{tenantid}/v2.0"}), one(other, nil)))
	f.Add(setOf(f, one(k, nil), one(generate(f, "RS256"), nil), public(f, other, map[string]any{"alg": nil, "use": null, "kid": null})))
	f.Add(setOf(f, 7, null, []any{}, map[string]any{}, one(k, nil), public(f, other, map[string]any{"use": "jwt-svid"})))
	f.Add([]byte("\ufeff" + `{"keys":[{"kty":"EC","kty":"EC","d":null},` + string(asJSON(f, one(k, nil))) + `,{"x":"` + "\xff" + `"}]}`))

	f.Fuzz(func(t *testing.T, text []byte) {
		checkKeySet(t, text)
		checkKeySet(t, text, "jwt-svid")

		private, err := ParsePrivateKey(text)
		if err != nil {
			if len(err.Error()) > 1024 || !utf8.ValidString(err.Error()) {
				t.Fatalf("error %q", err)
			}
			return
		}
		token, err := private.Sign(example())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := verifyJWS(token, private.Public()); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		jwk, err := private.MarshalJWK()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParsePrivateKey(jwk); err != nil || !again.Public().equal(private.Public()) {
			t.Fatalf("%s: %v", jwk, err)
		}
	})
}

// checkKeySet parses a key set and checks the invariants of FuzzKeySet.
func checkKeySet(t *testing.T, text []byte, uses ...string) {
	keys, err := ParseKeySet(text, uses...)
	if err != nil && keys != nil {
		t.Fatalf("got %v beside %v", keys, err)
	}
	for _, k := range keys {
		if k.m.secret != nil || k.m.public == nil || k.serves("HS256") || k.serves("none") || k.serves("") {
			t.Fatalf("%v is not a public key", k)
		}
		served := 0
		for _, alg := range algorithms {
			if k.serves(alg) {
				served++
			}
			if k.verify(alg, []byte("a.b"), nil) || k.verify(alg, []byte("a.b"), make([]byte, 64)) || k.verify(alg, nil, make([]byte, 256)) {
				t.Fatalf("%v: got a valid signature for other bytes", k)
			}
		}
		if k.alg != "" && served != 1 || served != len(k.m.algs) && k.alg == "" {
			t.Fatalf("%v serves %d algorithms", k, served)
		}
		again, err := newKey(k.id, k.alg, k.m.public)
		if err != nil {
			t.Fatalf("%v: %v", k, err)
		}
		if again.issuer = k.issuer; !again.equal(k) {
			t.Fatalf("%v became %v", k, again)
		}
	}
	if err == nil {
		set, err := NewKeys(keys...)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			for _, alg := range k.m.algs {
				found, err := set.Key(t.Context(), k.id, alg)
				if k.serves(alg) && (err != nil || found != k && (k.alg != "" || found.alg != alg)) || found != nil && !found.serves(alg) {
					t.Fatalf("%v for %s: found %v, %v", k, alg, found, err)
				}
				if only, err := set.Key(t.Context(), "", alg); err == nil && (only != found && found != nil || !only.serves(alg)) {
					t.Fatalf("%v for %s: found %v, without kid %v", k, alg, found, only)
				}
			}
		}
		written, err := MarshalKeySet(keys)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseKeySet(written)
		if err != nil || len(again) != len(keys) {
			t.Fatalf("%s: %v", written, err)
		}
		for i := range keys {
			if !again[i].equal(keys[i]) {
				t.Fatalf("%v became %v", keys[i], again[i])
			}
		}
	}
}

// Inspect never panics, and returns claims or an error. It has a problem for each token that Verify
// refuses for its form, type, algorithm, claims or times.
func FuzzInspect(f *testing.F) {
	k, err := SharedSecret("shared", bytes.Repeat([]byte{7}, 32))
	if err != nil {
		f.Fatal(err)
	}
	v := verifier(f, Config{Now: func() time.Time { return noon }, CacheSize: -1}, k.Public())
	f.Add(sign(f, k, example()))
	f.Add(" " + sign(f, generate(f, "ES256"), example()) + "=\n")
	f.Add(headerOf(k, `,"jku":"x"`))
	f.Add(payloadWith("exp", "7"))
	f.Add(payloadWith("aud", `["`+service+`",7]`))
	f.Add("a.b.c.d.e")
	f.Add("eyJ.eyJ.++//")
	f.Fuzz(func(t *testing.T, text string) {
		for _, token := range []string{text, forge(t, k, text, payloadWith("", "")), forge(t, k, headerOf(k, ""), text)} {
			in, err := inspect(token, noon)
			if (in == nil) == (err == nil) {
				t.Fatalf("%q: got %v and %v", token, in, err)
			}
			_, refusal := v.Verify(t.Context(), token)
			if err != nil {
				if refusal == nil || len(err.Error()) > 1024 {
					t.Fatalf("%q verifies, and there is nothing to look at: %q", token, err)
				}
				continue
			}
			if refusal == nil && len(in.Problems) > 0 {
				t.Fatalf("%q verifies, and has problems: %q", token, in.Problems)
			}
			for _, of := range []string{"signature is not one of", "no key", "the token says", "keys are held for", "this service is"} {
				if refusal != nil && strings.Contains(refusal.Error(), of) {
					refusal = nil // Inspect ignores issuer and audience
				}
			}
			if refusal != nil && len(in.Problems)+len(in.Deviations) == 0 {
				t.Fatalf("%q has no problems, and Verify says %v", token, refusal)
			}
		}
	})
}

// Verify accepts each token of Sign with the same claims; Sign refuses other claims with a reason.
func FuzzClaims(f *testing.F) {
	k, err := SharedSecret("shared", bytes.Repeat([]byte{7}, 32))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("ada", "app", "t1", "s1", "1", service, "read write", "pwd otp", int64(1772366400), int64(900), int64(0), int64(-60), "", "")
	f.Add("a\"\\\u2028é", "<>&", "\U0001F422", "", "", "a,b", "a~!", "", int64(0), int64(1), int64(0), int64(0), "jkt", "")
	f.Add("a\x00", "\xff", "", "\ud7ff", " ", "", "a\"b", " ", int64(-1), int64(1)<<62, int64(253402300799), int64(1), "a\nb", "x")
	f.Fuzz(func(t *testing.T, sub, client, id, sid, acr, aud, scopes, amr string, iat, life, nbf, auth int64, jkt, x5t string) {
		at := func(n int64) time.Time { return time.Unix(n, 0).UTC() }
		c := Claims{
			Issuer: issuer, Subject: sub, ClientID: client, ID: id, SessionID: sid, ACR: acr, Audience: strings.Split(aud, ","),
			Scopes: strings.Fields(scopes), AMR: strings.Fields(amr), IssuedAt: at(iat), Expires: at(iat + life),
		}
		now := c.IssuedAt
		if nbf != 0 {
			c.NotBefore = at(iat + nbf)
		}
		if auth != 0 {
			c.AuthTime = at(iat + auth)
		}
		for _, t := range []time.Time{c.NotBefore, c.AuthTime} {
			if t.After(now) {
				now = t
			}
		}
		if jkt != "" || x5t != "" {
			c.Confirmation = &Confirmation{JKT: jkt, X5tS256: x5t}
		}
		token, err := k.Sign(c)
		if err != nil {
			if token != "" || !strings.HasPrefix(err.Error(), "jwt: ") {
				t.Fatalf("got %q, %v", token, err)
			}
			return
		}
		keys, err := NewKeys(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		v, err := New(Config{
			Issuer: issuer, Audience: c.Audience[len(c.Audience)-1:], Algorithms: []string{"HS256"}, Keys: keys,
			MaxLifetime: 1<<63 - 1, CacheSize: -1, Now: func() time.Time { return now },
		})
		if err != nil {
			t.Fatal(err)
		}
		p, err := v.Verify(t.Context(), token)
		if c.Confirmation != nil {
			if !errors.Is(err, durward.InvalidToken) || !strings.Contains(err.Error(), "a token bound to ") {
				t.Fatalf("%+v: got %+v, %v, want it refused as bound", c, p, err)
			}
			return
		}
		if err != nil {
			t.Fatalf("%+v\n%s\n%v", c, token, err)
		}
		if p.Subject != sub || p.ClientID != client || p.TokenID != id || p.SessionID != sid || p.ACR != acr || !slices.Equal(p.Scopes, c.Scopes) || !slices.Equal(p.AMR, c.AMR) ||
			!p.AuthTime.Equal(c.AuthTime) || !p.Expires.Equal(c.Expires) {
			t.Fatalf("put in  %+v\ngot out %+v", c, p)
		}
		now = c.Expires
		if _, err := v.Verify(t.Context(), token); !errors.Is(err, durward.TokenExpired) {
			t.Fatalf("at its end: %v", err)
		}
	})
}
