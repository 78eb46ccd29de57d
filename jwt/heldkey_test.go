package jwt

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward"
)

// giver is a handler like a sign-in: it uses up the proof of a request and records the key.
func giver(t testing.TB, schemes ...durward.Scheme) (http.Handler, *durward.Guard) {
	t.Helper()
	g, err := durward.New(durward.Config{Schemes: schemes, PublicURL: service, InsecureAllowHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	return g.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, err := g.HeldKey(r)
		if err == nil && key != nil {
			err = key.Spend()
		}
		switch {
		case err != nil:
			g.Refuse(w, r, err)
		case key == nil:
			fmt.Fprint(w, "no key")
		default:
			fmt.Fprint(w, key.Thumbprint)
		}
	})), g
}

func ask(h http.Handler, proofs ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "/x?a=b", nil)
	r.Header["Dpop"] = proofs
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// A proof without a token gets the same checks as one with a token, and both share the record of
// used proofs.
func TestHeldKey(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	v := verifier(t, Config{}, k.Public())
	scheme := v.DPoP(DPoPConfig{})
	h, _ := giver(t, scheme, durward.Session())
	c, other := newHolder(t, "ES256", k), newHolder(t, "EdDSA", k)
	alone := func(change func(header, claims map[string]any)) func(header, claims map[string]any) {
		return func(header, claims map[string]any) {
			delete(claims, "ath")
			if change != nil {
				change(header, claims)
			}
		}
	}
	for _, c := range []*holder{c, other} {
		if w := ask(h, c.proof(alone(nil))); w.Code != 200 || w.Body.String() != c.key.ID() {
			t.Errorf("%d %s, want the thumbprint %s", w.Code, w.Body, c.key.ID())
		}
	}
	if w := ask(h); w.Code != 200 || w.Body.String() != "no key" {
		t.Errorf("without a field: %d %s", w.Code, w.Body)
	}
	challenge := `DPoP realm="restricted", algs="ES256 EdDSA Ed25519", error="invalid_dpop_proof"`
	for name, proofs := range map[string][]string{
		"made for a token": {c.proof(nil)},
		"two":              {c.proof(alone(nil)), c.proof(alone(nil))},
		"empty":            {""},
		"another method":   {c.proof(alone(func(_, c map[string]any) { c["htm"] = "POST" }))},
		"another path":     {c.proof(alone(func(_, c map[string]any) { c["htu"] = service + "/y" }))},
		"too old":          {c.proof(alone(func(_, c map[string]any) { c["iat"] = noon.Add(-time.Second).Unix() }))},
		"ahead":            {c.proof(alone(func(_, c map[string]any) { c["iat"] = noon.Add(71 * time.Second).Unix() }))},
		"alg none":         {c.proof(alone(func(h, _ map[string]any) { h["alg"] = "none" }))},
		"typ of a token":   {c.proof(alone(func(h, _ map[string]any) { h["typ"] = "at+jwt" }))},
	} {
		answered(t, name, ask(h, proofs...), 401, durward.InvalidProof, challenge)
	}

	g, err := durward.New(durward.Config{Schemes: []durward.Scheme{scheme}, PublicURL: service, InsecureAllowHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	api := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	same := func(_, c map[string]any) { c["jti"] = "one" }
	if w := ask(h, c.proof(alone(same))); w.Code != 200 {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	answered(t, "again", ask(h, c.proof(alone(same))), 401, durward.InvalidProof, challenge)
	answered(t, "again, with a token", send(api, "DPoP", c.token, c.proof(same)), 401, durward.InvalidProof, challenge)

	// Without the DPoP scheme a proof is ignored.
	none, _ := giver(t, v.Scheme(), durward.DPoP(durward.DPoPConfig{Check: func(context.Context, durward.DPoPProof) (*durward.Principal, error) {
		return nil, errors.New("never asked")
	}}))
	silent, _ := giver(t, durward.DPoP(durward.DPoPConfig{
		Check:    func(context.Context, durward.DPoPProof) (*durward.Principal, error) { return nil, durward.InvalidToken },
		CheckKey: func(context.Context, durward.DPoPProof) (*durward.HeldKey, error) { return nil, nil },
	}))
	answered(t, "neither key nor error", ask(silent, "x"), 503, durward.AuthUnavailable, "")
	if w := ask(none, "x"); w.Code != 200 || w.Body.String() != "no key" {
		t.Errorf("without CheckKey: %d %s", w.Code, w.Body)
	}
}

// If several requests have checked one proof, only one can use it; a proof that became too old
// cannot be used.
func TestHeldKeyIsSpentOnce(t *testing.T) {
	t.Parallel()
	var at atomic.Int64
	at.Store(noon.Add(time.Minute).Unix())
	k := generate(t, "ES256")
	v := verifier(t, Config{Now: func() time.Time { return time.Unix(at.Load(), 0) }}, k.Public())
	_, g := giver(t, v.DPoP(DPoPConfig{}))
	c := newHolder(t, "ES256", k)
	r := httptest.NewRequest("GET", "/x", nil)
	judged := func(proof string) *durward.HeldKey {
		r.Header["Dpop"] = []string{proof}
		key, err := g.HeldKey(r)
		if err != nil || key == nil {
			t.Fatalf("%v, %v", key, err)
		}
		return key
	}
	proof := c.proof(func(_, c map[string]any) { delete(c, "ath") })
	var keys [16]*durward.HeldKey
	for n := range keys {
		keys[n] = judged(proof)
	}
	var spent atomic.Int64
	var all sync.WaitGroup
	for _, key := range keys {
		all.Go(func() {
			switch err := key.Spend(); {
			case err == nil:
				spent.Add(1)
			case !errors.Is(err, durward.InvalidProof):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if spent.Load() != 1 {
		t.Errorf("%d of 16 spent it", spent.Load())
	}
	late := judged(c.proof(func(_, c map[string]any) { delete(c, "ath") }))
	at.Add(61)
	if err := late.Spend(); !errors.Is(err, durward.InvalidProof) {
		t.Errorf("spent when it was too old to be judged: %v", err)
	}
}
