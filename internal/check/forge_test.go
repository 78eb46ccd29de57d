package check

import (
	"encoding/json"
	"strings"
	"testing"
)

// For any token and key set, each forged token can be sent, and only an unsigned token is its own forgery.
func FuzzForge(f *testing.F) {
	f.Add("eyJhbGciOiJFUzI1NiIsImtpZCI6IjEifQ.eyJpc3MiOiJhIn0.c2ln", `{"keys":[{"kid":"1","kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`)
	f.Add("opaque", `{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"},{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}]}`)
	f.Add("eyJhbGciOiJIUzUxMiJ9.e30.", `{"keys":[{"kty":"RSA","n":"","e":"_____w"}]}`)
	f.Fuzz(func(t *testing.T, good, set string) {
		if _, err := (Config{URL: "https://example.com", Good: good}).validate(); err != nil {
			t.Skip()
		}
		var keys struct {
			Keys []publicKey `json:"keys"`
		}
		_ = json.Unmarshal([]byte(set), &keys) // a mistake leaves the keys before it
		issuerOf(good)
		all := forge(good, "https://example.com", keys.Keys)
		if len(all) < 3 {
			t.Errorf("%d tokens", len(all))
		}
		for _, one := range all {
			if strings.Count(one.token, ".") != 2 || one.token == good && !strings.HasSuffix(good, ".") || strings.ContainsAny(one.token, " \r\n") {
				t.Errorf("%s: %q", one.text, one.token)
			}
		}
	})
}
