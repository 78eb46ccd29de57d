package digest

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
)

// vector is a row of testdata/rfc/rfc7616_digest.json.
type vector struct {
	Username, Password, Realm, Method, URI, Nonce, NC, CNonce, QOP, Algorithm, Body, Origin, Response string
	UserHashed                                                                                        bool                                `json:"userhash"`
	UsernameHash                                                                                      string                              `json:"username_hash"`
	UsernameStar                                                                                      string                              `json:"username_star"`
	Printed                                                                                           struct{ Username, Response string } `json:"printed_in_rfc_but_wrong"`
}

func TestVectors(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../testdata/rfc/rfc7616_digest.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Tests, Derived []vector }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	misprinted := 0
	for _, v := range append(file.Tests, file.Derived...) {
		algorithm, sess := Parse(v.Algorithm)
		if algorithm == (Algorithm{}) {
			t.Fatalf("%s: algorithm %q is unknown", v.Origin, v.Algorithm)
		}
		ha1, err := HA1(algorithm.Name, v.Username, v.Realm, v.Password)
		if err != nil {
			t.Fatal(err)
		}
		parts := Parts{URI: v.URI, Nonce: v.Nonce, NC: v.NC, CNonce: v.CNonce, QOP: v.QOP}
		secret := AppendSecret(nil, algorithm, sess, ha1, v.Nonce, v.CNonce)
		got := string(parts.AppendResponse(nil, algorithm, secret, v.Method, algorithm.AppendHex(nil, []byte(v.Body))))
		if got != v.Response {
			t.Errorf("%s: %s %s %q: response %s, want %s", v.Origin, v.Algorithm, v.QOP, v.Body, got, v.Response)
		}
		if v.UserHashed {
			hash, err := UserHash(algorithm.Name, v.Username, v.Realm)
			if err != nil || hash != v.UsernameHash {
				t.Errorf("%s: user hash %s, %v, want %s", v.Origin, hash, err, v.UsernameHash)
			}
			if name := DecodeName(v.UsernameStar); name != v.Username {
				t.Errorf("%s: DecodeName(%q) = %q, want %q", v.Origin, v.UsernameStar, name, v.Username)
			}
			if star := EncodeName(v.Username); star != v.UsernameStar {
				t.Errorf("%s: EncodeName(%q) = %q, want %q", v.Origin, v.Username, star, v.UsernameStar)
			}
			if got == v.Printed.Response || hash == v.Printed.Username {
				t.Errorf("%s: the misprinted values verify", v.Origin)
			}
			misprinted++
		}
	}
	if len(file.Tests) != 4 || len(file.Derived) != 14 || misprinted != 1 {
		t.Errorf("%d and %d vectors, %d misprinted", len(file.Tests), len(file.Derived), misprinted)
	}
}

// TestSHA512256IsNotTruncated checks that SHA-512-256 is the function of FIPS 180-4 with its own
// initial value, not the first half of SHA-512.
func TestSHA512256IsNotTruncated(t *testing.T) {
	t.Parallel()
	sum, err := Hash("SHA-512-256", "abc")
	if err != nil || hex.EncodeToString(sum) != "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23" {
		t.Errorf("got %x, %v", sum, err)
	}
}
