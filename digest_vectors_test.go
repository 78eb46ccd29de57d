package durward

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"
)

// digestVector is a row of testdata/rfc/rfc7616_digest.json.
type digestVector struct {
	Username, Password, Realm, Method, URI, Nonce, NC, CNonce, QOP, Algorithm, Body, Origin, Response string
	UserHashed                                                                                        bool                                `json:"userhash"`
	UsernameHash                                                                                      string                              `json:"username_hash"`
	UsernameStar                                                                                      string                              `json:"username_star"`
	Printed                                                                                           struct{ Username, Response string } `json:"printed_in_rfc_but_wrong"`
}

func TestDigestVectors(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("testdata/rfc/rfc7616_digest.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Tests, Derived []digestVector }
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	misprinted := 0
	for _, v := range append(file.Tests, file.Derived...) {
		d := Digest(DigestConfig{SHA512256: true, InsecureMD5: true, Sess: len(v.Algorithm) > 5 && v.Algorithm[len(v.Algorithm)-5:] == "-sess"}).(*digest)
		algorithm, ok := d.algorithm(v.Algorithm)
		if !ok {
			t.Fatalf("%s: no algorithm %q", v.Origin, v.Algorithm)
		}
		ha1, err := HA1(algorithm.name, v.Username, v.Realm, v.Password)
		if err != nil {
			t.Fatal(err)
		}
		a := digestAnswer{realm: v.Realm, nonce: v.Nonce, uri: v.URI, algorithm: v.Algorithm, cnonce: v.CNonce, qop: v.QOP, nc: v.NC}
		got := string(a.answer(nil, algorithm, a.secret(nil, algorithm, ha1), v.Method, algorithm.appendHex(nil, []byte(v.Body))))
		if got != v.Response {
			t.Errorf("%s: %s %s %q: response %s, want %s", v.Origin, v.Algorithm, v.QOP, v.Body, got, v.Response)
		}
		if v.UserHashed {
			hash, err := UserHash(algorithm.name, v.Username, v.Realm)
			if err != nil || hash != v.UsernameHash {
				t.Errorf("%s: user hash %s, %v, want %s", v.Origin, hash, err, v.UsernameHash)
			}
			if name := extendedValue(v.UsernameStar); name != v.Username {
				t.Errorf("%s: username* gives %q", v.Origin, name)
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

// SHA-512-256 is the function of FIPS 180-4 with its own start, not the first
// half of SHA-512.
func TestSHA512256IsNotTruncated(t *testing.T) {
	t.Parallel()
	sum, err := digestHash("SHA-512-256", "abc")
	if err != nil || hex.EncodeToString(sum) != "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23" {
		t.Errorf("got %x, %v", sum, err)
	}
}
