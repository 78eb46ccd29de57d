package issuer

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strings"
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

// The key of ID tokens rotates and retires like the other signing key, and neither touches the other. One key of a
// use is active.
func TestRotationOfKeyForIDTokens(t *testing.T) {
	t.Parallel()
	testkit.EachEngine(t, func(t *testing.T, engine testkit.Engine) {
		e := newEnv(t, engine, nil)
		if err := e.Rotate(t.Context(), store.UseIDToken, true, operator); !errors.Is(err, durward.InvalidRequest) {
			t.Errorf("rotation without a key: got %v, want INVALID_REQUEST", err)
		}
		if err := e.Rotate(t.Context(), store.UseRefresh, true, operator); !errors.Is(err, durward.InvalidRequest) {
			t.Errorf("rotation of refresh keys: got %v, want INVALID_REQUEST", err)
		}
		signer := func() string {
			t.Helper()
			token, err := e.SignFor(t.Context(), RS256, "JWT", none)
			e.must(err)
			in, err := jwt.Inspect(token)
			e.must(err)
			var header struct {
				KeyID string `json:"kid"`
			}
			e.must(json.Unmarshal(in.Header, &header))
			return header.KeyID
		}
		states := func(want string) {
			t.Helper()
			keys, err := e.db.Keys(t.Context(), store.UseIDToken)
			e.must(err)
			var got []string
			for _, k := range keys {
				got = append(got, k.State)
			}
			slices.Sort(got)
			if text := strings.Join(got, " "); text != want {
				t.Errorf("the keys are %s, want %s", text, want)
			}
			problems, err := CheckKeys(t.Context(), e.db, e.c.Master)
			e.must(err)
			if len(problems) > 0 {
				t.Errorf("problems: %v", problems)
			}
		}
		own := e.signer.Load().ID()
		first := signer()
		e.must(e.RotateDue(t.Context()))
		states("active pending")
		e.must(e.Rotate(t.Context(), store.UseIDToken, true, operator))
		states("active pending retiring")
		second := signer()
		if second == first || !strings.Contains(string(e.JWKS()), first) {
			t.Errorf("after a rotation %s signs; the first key was %s, and is in the key set: %v", second, first, strings.Contains(string(e.JWKS()), first))
		}
		r, err := e.Retire(t.Context(), second, true, operator)
		e.must(err)
		states("active gone pending retiring")
		if third := signer(); third != r.Signs.ID || third == second || strings.Contains(string(e.JWKS()), second) {
			t.Errorf("after the withdrawal of %s, %s signs, want %s; key set %s", second, third, r.Signs.ID, e.JWKS())
		}
		if got := e.signer.Load().ID(); got != own {
			t.Error("the other signing key changed")
		}
		e.clock.Advance(signingLife)
		e.must(e.RotateDue(t.Context()))
		states("active gone gone pending retiring")
	})
}

// A node that has not read its keys again does not sign with a withdrawn key of ID tokens.
func TestWithdrawnKeyForIDTokens(t *testing.T) {
	t.Parallel()
	e := newEnv(t, testkit.SQLite, nil)
	_, err := e.SignFor(t.Context(), RS256, "JWT", none)
	e.must(err)
	old := e.idSigner.Load()
	_, err = e.Retire(t.Context(), old.ID(), true, operator)
	e.must(err)
	e.idSigner.Store(old) // as in another node
	token, err := e.SignFor(t.Context(), RS256, "JWT", none)
	e.must(err)
	if in, err := jwt.Inspect(token); err != nil || strings.Contains(string(in.Header), old.ID()) {
		t.Errorf("signed by a withdrawn key: %s %v", in.Header, err)
	}
}
