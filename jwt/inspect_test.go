package jwt

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-auth/durward"
)

func TestInspect(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	token := sign(t, k, example())
	in, err := inspect(token, noon)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(example(), in.Claims); d != "" || len(in.Problems) != 0 {
		t.Errorf("claims (-want +got):\n%s\nproblems %q", d, in.Problems)
	}
	if got, want := string(in.Header), headerOf(k, ""); got != want {
		t.Errorf("header %s, want %s", got, want)
	}
	if got, _ := verifyJWS(token, k.Public()); string(in.Payload) != string(got) {
		t.Errorf("payload %s, want %s", in.Payload, got)
	}

	// One with several profiles lists RFC 9068 first.
	if len(in.Profiles) == 0 || in.Profiles[0] != "RFC 9068" || len(in.Deviations) != 0 {
		t.Errorf("profiles %q, deviations %q; want RFC 9068 first", in.Profiles, in.Deviations)
	}
	// Of a provider's expired token, the expiry is a problem; what RFC 9068 wants is kept apart.
	foreign := forge(t, k, strings.Replace(headerOf(k, ""), "at+jwt", "JWT", 1), `{"typ":"Bearer","azp":"web","realm_access":{"roles":["a"]},`+strings.Replace(payloadWith("client_id", ""), "{", "", 1))
	in, err = inspect(foreign, noon.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if len(in.Profiles) == 0 || in.Profiles[0] != "Keycloak" || in.Claims.ClientID != "web" || len(in.Problems) != 1 || !strings.HasPrefix(in.Problems[0], "expired 45m0s ago") ||
		len(in.Deviations) != 2 || !strings.HasPrefix(in.Deviations[0], `typ in the header is "JWT"`) || !strings.HasPrefix(in.Deviations[1], "client_id is missing") {
		t.Errorf("a token of Keycloak: %+v", in)
	}

	// Each mistake is a problem, and several are listed together.
	padded := strings.Split(token, ".")
	for name, test := range map[string]struct {
		token string
		want  []string
	}{
		"expired":         {forge(t, k, headerOf(k, ""), payloadWith("exp", fmt.Sprint(noon.Add(-time.Second).Unix()))), []string{"exp is not after iat", "expired 1s ago"}},
		"not yet":         {forge(t, k, headerOf(k, ""), payloadWith("nbf", fmt.Sprint(noon.Add(time.Minute).Unix()))), []string{"nbf is 1m0s ahead"}},
		"too long a life": {forge(t, k, headerOf(k, ""), payloadWith("exp", fmt.Sprint(noon.AddDate(1, 0, 0).Unix()))), []string{"lives 8760h0m0s from iat to exp, want at most 24h0m0s"}},
		"bound":           {forge(t, k, headerOf(k, ""), payloadWith("cnf", `{"jkt":"x"}`)), []string{"bound to a DPoP key"}},
		"ID token":        {forge(t, k, `{"alg":"ES256K","typ":"JWT"}`, `{"iss":7,"sub":"","aud":[7,""],"nonce":"n"}`), []string{"typ in the header is", `alg is "ES256K"`, "kid is missing", "iss is not a string", "sub is empty", "element 0 of aud", "element 1 of aud", "client_id is missing", "jti is missing", "exp is missing", "iat is missing"}},
		"jku":             {forge(t, k, headerOf(k, `,"jku":"https://evil.example"`), payloadWith("", "")), []string{`header has "jku"`}},
		"white space":     {"\n " + token + " \n", []string{"white space around the token"}},
		"padded":          {padded[0] + "=." + padded[1] + "\n." + padded[2] + "==", []string{"the header is not canonical", "the payload is not canonical", "the signature is not canonical"}},
		"other alphabet":  {padded[0] + "." + padded[1] + "." + strings.NewReplacer("-", "+", "_", "/").Replace(padded[2][:80]) + "+/++++", []string{"the signature is not canonical"}},
		"bad signature":   {padded[0] + "." + padded[1] + ".!!", []string{"the signature is not base64url"}},
		"doubled claim":   {forge(t, k, headerOf(k, ""), `{"sub":"a",`+payloadWith("", "")[1:]), []string{"duplicate object member name"}},
		"no objects":      {forge(t, k, `[]`, `7`), []string{"header is not the JSON", "payload is not the JSON"}},
		"over 16 KiB":     {forge(t, k, headerOf(k, ""), payloadWith("x", `"`+strings.Repeat("x", 18_000)+`"`)), []string{"octets, want at most 16384"}},
	} {
		in, err := inspect(test.token, noon)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		problems := strings.Join(in.Problems, "\n")
		for _, want := range test.want {
			if !strings.Contains(problems, want) {
				t.Errorf("%s: got %q, want %q in it", name, in.Problems, want)
			}
		}
		if name != "no objects" && name != "doubled claim" && len(in.Problems) > len(test.want) && name != "ID token" {
			t.Errorf("%s: got %q, want no more than %q", name, in.Problems, test.want)
		}
	}

	b := base64.RawURLEncoding.EncodeToString
	for text, want := range map[string]string{
		"":       "1 parts",
		"opaque": "is it an opaque token, or cut off?",
		token[:strings.LastIndexByte(token, '.')]: "2 parts",
		"a.b.c.d":                                    "4 parts",
		"a.b.c.d.e":                                  "encrypted token",
		strings.Repeat(".", 9):                       "10 parts",
		strings.Repeat("a", maxInspect+1):            "65537 octets, want at most 65536",
		"!.e30.AAAA":                                 "the header is not base64url",
		"e30.!.AAAA":                                 "the payload is not base64url",
		b([]byte("x")) + ".e30.AAAA":                 "the header is not JSON",
		"e30." + b([]byte("{}{}")) + ".AAAA":         "the payload is not JSON",
		"e30." + strings.Repeat("W", 50000) + ".AAA": "jwt: the payload is not JSON",
	} {
		if in, err := Inspect(text); in != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %q", text, err, want)
		}
	}
}

// VerifyEnded accepts expired and revoked tokens, and refuses other bad ones.
func TestVerifyEnded(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	v := verifier(t, Config{
		Now:     func() time.Time { return noon.Add(time.Hour) },
		Revoked: func(*durward.Principal, string) error { return durward.TokenRevoked },
	}, k.Public())
	c := example()
	p, err := v.VerifyEnded(t.Context(), sign(t, k, c))
	if err != nil || p.SessionID != c.SessionID || p.Subject != c.Subject {
		t.Fatalf("got %+v, %v, want the principal", p, err)
	}
	if n := v.remembers(); n != 0 {
		t.Error("an ended token is remembered")
	}
	live := c
	live.Expires = noon.Add(2 * time.Hour)
	for range 2 {
		if p, err := v.VerifyEnded(t.Context(), sign(t, k, live)); err != nil || !p.Expires.Equal(live.Expires) {
			t.Errorf("a live token: got %+v, %v", p, err)
		}
	}
	if n := v.remembers(); n == 0 {
		t.Error("a live token is not remembered")
	}
	foreign := c
	foreign.Audience = []string{"https://other.example"}
	for token, cause := range map[string]string{
		sign(t, generate(t, "ES256"), c):       "no key",
		sign(t, k, foreign):                    "this service is",
		sign(t, k, c)[1:]:                      "",
		strings.Repeat("a", maxToken+1):        "want at most 16384",
		"":                                     "1 parts",
		sign(t, k, c) + "." + sign(t, k, c):    "6 parts",
		forge(t, k, headerOf(k, ""), `{"a":1`): "payload is not the JSON",
	} {
		p, err := v.VerifyEnded(t.Context(), token)
		if p != nil {
			t.Errorf("%.60q: got %+v", token, p)
		}
		refused(t, token, err, durward.InvalidToken, cause)
	}
}

// An ID token is called one, and its provider is named if nothing else has such claims. The problems
// are those of the provider's profile.
func TestInspectIDToken(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	openID := func(more string) string {
		return forge(t, k, strings.Replace(headerOf(k, ""), "at+jwt", "JWT", 1), fmt.Sprintf(
			`{"iss":%q,"sub":"ada","aud":"web","iat":%d,"exp":%d%s}`, issuer, noon.Unix(), noon.Add(time.Minute).Unix(), more))
	}
	type row struct{ name, token, want, problem string }
	rows := []row{
		{"nonce: another provider", openID(`,"nonce":"n"`), "IdentityServer or Auth0 or another provider", "typ in the header"},
		{"no mark: none", openID(""), "", "typ in the header"},
		{"no sub: unknown", forge(t, k, strings.Replace(headerOf(k, ""), "at+jwt", "JWT", 1), `{"nonce":"n"}`), "an unknown provider", "typ in the header"},
		{"access token of RFC 9068 with nonce: none", forge(t, k, headerOf(k, ""), payloadWith("nonce", `"n"`)), "", ""},
	}
	// The SPIFFE ID of a workload has a path.
	for id, ok := range map[string]bool{"spiffe://example.org/web": true, "spiffe://example.org": false, "spiffe://": false, "spiffe:///web": false, "/web": false} {
		in, err := inspect(forge(t, k, fmt.Sprintf(`{"alg":"ES256","kid":%q}`, k.ID()), fmt.Sprintf(`{"sub":%q,"aud":"a","exp":%d}`, id, noon.Add(time.Minute).Unix())), noon)
		if err != nil || slices.Contains(in.Profiles, "SPIFFE JWT-SVID") != ok {
			t.Errorf("%s: got %+v, %v, want a JWT-SVID: %t", id, in, err, ok)
		}
	}
	want := map[string]string{ // the others have no ID tokens, or send them to APIs
		"cognito":        "Cognito",
		"entra-v1":       "Entra ID v1",
		"entra-v2":       "Entra ID v2",
		"google":         "Google",
		"identityserver": "IdentityServer or Auth0 or another provider",
		"keycloak":       "Keycloak",
		"okta":           "Okta or another provider",
		"rfc9068":        "IdentityServer or Auth0 or another provider",
		"uaa":            "UAA",
	}
	problem := map[string]string{
		"cognito": `the claim token_use is "id"`, "entra-v1": "appid is missing", "entra-v2": "azp is missing", "keycloak": `the claim typ is "ID"`,
	}
	for _, p := range providers(t) {
		if name, ok := want[p.name]; ok {
			rows = append(rows, row{p.name, forge(t, p.key, string(p.IDToken.Header), string(p.IDToken.Payload)), name, problem[p.name]})
		}
	}
	for _, row := range rows {
		in, err := inspect(row.token, noon)
		if err != nil {
			t.Fatalf("%s: %v", row.name, err)
		}
		if in.IDToken != row.want || row.problem != "" && (len(in.Problems) == 0 || !strings.Contains(in.Problems[0], row.problem)) {
			t.Errorf("%s: got %q, profiles %q, problems %q; want %q, %q", row.name, in.IDToken, in.Profiles, in.Problems, row.want, row.problem)
		}
	}
}
