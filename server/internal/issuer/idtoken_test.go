package issuer

import (
	"bytes"
	"errors"
	"testing"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/testkit"
)

// none returns no claims.
func none(string) any { return struct{}{} }

// A key for RS256 is made at the first need, once, is published, and verifies no access token.
func TestKeyForIDTokens(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		before := e.JWKS()
		own, err := e.SignFor(t.Context(), "", "JWT", none)
		e.must(err)
		if !bytes.Equal(before, e.JWKS()) {
			t.Error("a token with the server's algorithm made a key")
		}
		first, err := e.SignFor(t.Context(), RS256, "JWT", none)
		e.must(err)
		_, err = e.SignFor(t.Context(), RS256, "JWT", none)
		e.must(err)
		keys, err := e.db.Keys(t.Context(), store.UseIDToken)
		e.must(err)
		if len(keys) != 1 || keys[0].State != store.KeyActive || keys[0].Algorithm != RS256 {
			t.Fatalf("keys: %v", keys)
		}
		public, err := jwt.ParseKeySet(e.JWKS())
		e.must(err)
		if len(public) != 3 {
			t.Errorf("the key set has %d keys, want active, spare and RS256", len(public))
		}
		for name, token := range map[string]string{"own": own, "RS256": first} {
			if _, err := e.Verifier().Verify(t.Context(), token); !errors.Is(err, durward.InvalidToken) {
				t.Errorf("%s as an access token: got %v, want INVALID_TOKEN", name, err)
			}
		}
		// The same key with the form of an access token is not one of the verifier's keys.
		forged, err := e.idSigner.Load().Sign(jwt.Claims{
			Issuer:   e.URL(),
			Subject:  "ada",
			Audience: []string{e.URL()},
			ID:       "x",
			ClientID: "durward",
			IssuedAt: e.clock.Now(),
			Expires:  e.clock.Now().Add(e.AccessTTL()),
		})
		e.must(err)
		if _, err := e.Verifier().Verify(t.Context(), forged); !errors.Is(err, durward.InvalidToken) {
			t.Errorf("an access token of the key of ID tokens: got %v, want INVALID_TOKEN", err)
		}
		if _, err := e.SignFor(t.Context(), "none", "JWT", none); err == nil {
			t.Error("the algorithm none signs")
		}
		if _, err := e.SignFor(t.Context(), "", "AT+jwt", none); err == nil {
			t.Error("SignFor signs an access token")
		}
	})
}
