package jwt

import (
	"crypto/hmac"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/durward-auth/durward"
)

const (
	issuer  = "https://auth.example.com"
	service = "https://api.example.com"
)

// noon is the time of the tests.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// example returns the claims of a token that is valid for 15 minutes from noon.
func example() Claims {
	return Claims{
		Issuer: issuer, Subject: "0195a3c2-5b1e-7c44-9d2a-3f6b8e1c7a90", Audience: []string{service},
		Expires: noon.Add(15 * time.Minute), IssuedAt: noon, ID: "0195a3c2-5b1e-7c44-9d2a-000000000001",
		ClientID: "durward", Scopes: []string{"orders:read", "orders:write", "profile"},
		SessionID: "0195a3c2-5b1e-7c44-9d2a-0000000000aa", AuthTime: noon.Add(-time.Minute),
		ACR: "urn:durward:acr:1fa", AMR: []string{"pwd"},
	}
}

func generate(t testing.TB, alg string) *PrivateKey {
	t.Helper()
	k, err := GenerateKey(alg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t testing.TB, k *PrivateKey, c Claims) string {
	t.Helper()
	token, err := k.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// verifier returns a verifier for example's issuer, audience and time.
func verifier(t testing.TB, c Config, keys ...*Key) *Verifier {
	t.Helper()
	c.Issuer, c.Audience = issuer, []string{service}
	if c.Algorithms == nil {
		c.Algorithms = algorithms
	}
	if c.Keys == nil {
		set, err := NewKeys(keys...)
		if err != nil {
			t.Fatal(err)
		}
		c.Keys = set
	}
	if c.Now == nil {
		c.Now = func() time.Time { return noon.Add(time.Minute) }
	}
	v, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

var _ durward.Scheme = (&Verifier{}).Scheme()

func hmacSHA256(secret []byte, input string) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(input))
	return h.Sum(nil)
}
