package doctor

import (
	"strings"
	"testing"
)

// TestDecodedToken: claims that a person copied from a debugger stand for the masked token of the
// request.
func TestDecodedToken(t *testing.T) {
	t.Parallel()
	const exchange = "GET https://registry.example/v2/n/manifests/1 HTTP/1.1\nAuthorization: Bearer <token>\n\nHTTP/1.1 401 Unauthorized\n" +
		"Date: Fri, 20 Nov 2026 10:07:12 GMT\nWWW-Authenticate: Bearer realm=\"https://auth.example/token\",service=\"registry.example\",error=\"invalid_token\"\n\n"
	for _, test := range []struct{ name, shown, first, fact, not string }{
		{"the view of a debugger", "{\n \"alg\": \"RS256\",\n \"typ\": \"JWT\"\n}\n{\n \"iss\": \"https://auth.example\",\n \"aud\": \"other.example\",\n \"iat\": 1795169000,\n \"exp\": 1795172600\n}", "wrong-audience", "aud-other-than-service", ""},
		{"one object for all", `jwt: {"header":{"alg":"RS256"},"payload":{"iss":"https://auth.example","aud":"registry.example","iat":1795160000,"exp":1795165000}}`, "expired", "exp-past", "alg-none"},
		{"one claim with its name", `claims: {"exp": 1795165000}`, "expired", "exp-past", "alg-none"},
		{"another object", `{"user": "ada", "count": 3}`, "", "", "jwt-sent"},
		{"hostile nesting", strings.Repeat("{", 5000) + `"exp"`, "", "", "jwt-sent"},
	} {
		c, err := Read(strings.NewReader(exchange+test.shown+"\n"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		r := Diagnose(c, At(testTime))
		if test.first != "" && r.Causes[0].ID != test.first {
			t.Errorf("%s: %s", test.name, causesOf(r))
		}
		e := gather(c, testTime)
		if test.fact != "" && !e.seen[test.fact] || test.not != "" && e.seen[test.not] {
			t.Errorf("%s: the facts are %v", test.name, e.list)
		}
	}
}
