package doctor

import (
	"strings"
	"testing"
)

// TestSettings compares a token with a line beside the exchange. The second column is the fact, or "" if the line says nothing
// about what the server takes.
func TestSettings(t *testing.T) {
	t.Parallel()
	const token = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImsxIn0." + // kid k1
		"eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIiwiYXVkIjoiYXBpIiwic3ViIjoidTEiLCJzY29wZSI6Iml0ZW1zOnJlYWQifQ." + // iss https://idp.example, aud api
		"c2lnbmF0dXJl"
	facts := []string{
		"iss-slash", "iss-other-than-set", "aud-other-than-set", "alg-other-than-set", "alg-other-than-key", "kid-not-listed", "keys-elsewhere",
		"claim-wanted-absent", "scope-wanted-absent", "role-wanted-absent", "secrets-differ",
	}
	for _, test := range []struct{ line, fact string }{
		{"issuer-uri: https://idp.example/", "iss-slash"},
		{"issuer-uri: https://idp.example", ""},
		{"OIDC_ISSUER=https://other.example", "iss-other-than-set"},
		{"OIDC_ISSUER=${ISSUER}", ""},
		{"ERROR invalid issuer: https://idp.example", ""},
		{"bound_issuer  idp.example", "iss-other-than-set"},
		{"audience: [web, api]", ""},
		{"bound_audiences  [web]", "aud-other-than-set"},
		{"Validation::new().aud(&[\"web\"])", "aud-other-than-set"},
		{"audience: process.env.AUDIENCE", ""},
		{"resource_id=4711 was not changed", ""},
		{"algorithms: ['ES256', 'HS256']", "alg-other-than-set"},
		{"algorithms: ['ES256', 'RS256']", ""},
		{"JWT_SECRET=a-secret-of-the-server", "alg-other-than-key"},
		{"SECRET_KEY = 'of the sessions'", ""},
		{"jwks loaded, kids: a7, b9", "kid-not-listed"},
		{"jwks loaded, kids: a7, k1", ""},
		{"the jwks has no keys", ""},
		{"--oidc-username-claim=email", "claim-wanted-absent"},
		{"--oidc-username-claim=sub", ""},
		{"ERROR the role claim is missing", ""},
		{"ERROR invalid claim: missing sub claim", ""},
		{`hasAuthority("SCOPE_items:write")`, "scope-wanted-absent"},
		{`hasAuthority("SCOPE_items:read")`, ""},
		{`.hasRole("ADMIN")`, "role-wanted-absent"},
	} {
		input := "GET /x HTTP/1.1\nHost: api.example\nAuthorization: Bearer " + token + "\n\nHTTP/1.1 401 Unauthorized\n\nERROR refused\n" + test.line + "\n"
		c, err := Read(strings.NewReader(input), Options{})
		if err != nil {
			t.Fatalf("%s: %v", test.line, err)
		}
		e := gather(c, testTime)
		got := ""
		for _, id := range facts {
			if e.seen[id] {
				got = id
			}
		}
		if got != test.fact {
			t.Errorf("%s: fact %q, want %q", test.line, got, test.fact)
		}
	}
}
