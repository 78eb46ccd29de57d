package doctor

import (
	"strings"
	"testing"
)

// TestSettings compares a token with a line beside the exchange. The second column is the expected
// fact, or "" for none.
func TestSettings(t *testing.T) {
	t.Parallel()
	const token = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6ImsxIn0." + // kid k1
		"eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxlIiwiYXVkIjoiYXBpIiwic3ViIjoidTEiLCJzY29wZSI6Iml0ZW1zOnJlYWQifQ." + // iss https://idp.example, aud api
		"c2lnbmF0dXJl"
	const plain = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIn0.eyJpc3MiOiJhY2NvdW50cyIsImF1ZCI6ImFwaSIsInN1YiI6InUxIn0.c2lnbmF0dXJl" // iss accounts
	facts := []string{
		"iss-slash", "iss-other-than-set", "aud-other-than-set", "alg-other-than-set", "alg-other-than-key", "kid-not-listed", "keys-elsewhere",
		"claim-wanted-absent", "scope-wanted-absent", "role-wanted-absent", "secrets-differ",
	}
	for _, test := range []struct{ line, fact, token string }{
		{"issuer-uri: https://idp.example/", "iss-slash", token},
		{"issuer-uri: https://idp.example", "", token},
		{"OIDC_ISSUER=https://other.example", "iss-other-than-set", token},
		{"OIDC_ISSUER=${ISSUER}", "", token},
		{"ERROR invalid issuer: https://idp.example", "", token},
		{"bound_issuer  idp.example", "iss-other-than-set", token},
		{"audience: [web, api]", "", token},
		{"bound_audiences  [web]", "aud-other-than-set", token},
		{"Validation::new().aud(&[\"web\"])", "aud-other-than-set", token},
		{"audience: process.env.AUDIENCE", "", token},
		{"resource_id=4711 was not changed", "", token},
		{"algorithms: ['ES256', 'HS256']", "alg-other-than-set", token},
		{"algorithms: ['ES256', 'RS256']", "", token},
		{"JWT_SECRET=a-secret-of-the-server", "alg-other-than-key", token},
		{"SECRET_KEY = 'of the sessions'", "", token},
		{"jwks loaded, kids: a7, b9", "kid-not-listed", token},
		{"jwks loaded, kids: a7, k1", "", token},
		{"the jwks has no keys", "", token},
		{"--oidc-username-claim=email", "claim-wanted-absent", token},
		{"--oidc-username-claim=sub", "", token},
		{"ERROR the role claim is missing", "", token},
		{"ERROR invalid claim: missing sub claim", "", token},
		{`hasAuthority("SCOPE_items:write")`, "scope-wanted-absent", token},
		{`hasAuthority("SCOPE_items:read")`, "", token},
		{`.hasRole("ADMIN")`, "role-wanted-absent", token},
		{"issuer: billing", "iss-other-than-set", plain},
		{"issuer: accounts", "", plain},
		{"ERROR the issuer: it is not known", "", plain},
	} {
		input := "GET /x HTTP/1.1\nHost: api.example\nAuthorization: Bearer " + test.token + "\n\nHTTP/1.1 401 Unauthorized\n\nERROR refused\n" + test.line + "\n"
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
