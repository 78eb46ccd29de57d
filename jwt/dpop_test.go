package jwt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/durward-auth/durward"
)

func TestDPoPVector(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/rfc/rfc9449_dpop.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tests []struct {
			Proof, JKT string
			Claims     struct {
				JTI, HTM, HTU string
				IAT           int64
			}
		}
	}
	if err := json.Unmarshal(text, &file); err != nil || len(file.Tests) == 0 {
		t.Fatalf("%v", err)
	}
	for _, v := range file.Tests {
		p, err := parseProof(v.Proof)
		if err != nil {
			t.Fatal(err)
		}
		if p.key.id != v.JKT || p.id != v.Claims.JTI || p.method != v.Claims.HTM || p.url != v.Claims.HTU || p.issued.Unix() != v.Claims.IAT {
			t.Errorf("got %+v, want %+v", p, v)
		}
	}
}

func TestThumbprintVector(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/rfc/rfc8705_mtls.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Tests []struct {
			PEM string            `json:"certificate_pem"`
			CNF map[string]string `json:"cnf"`
		}
	}
	if err := json.Unmarshal(text, &file); err != nil || len(file.Tests) == 0 {
		t.Fatalf("%v", err)
	}
	for _, v := range file.Tests {
		block, _ := pem.Decode([]byte(v.PEM))
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		if got := Thumbprint(cert); got != v.CNF["x5t#S256"] {
			t.Errorf("got %s, want %s", got, v.CNF["x5t#S256"])
		}
	}
}

// holder is a client with a key and a token that is bound to it.
type holder struct {
	t      testing.TB
	key    *PrivateKey
	public string // JWK
	token  string
	proofs atomic.Int64
}

func newHolder(t testing.TB, alg string, issuerKey *PrivateKey) *holder {
	t.Helper()
	h := &holder{t: t, key: generate(t, alg)}
	set, err := MarshalKeySet([]*Key{h.key.Public()})
	if err != nil {
		t.Fatal(err)
	}
	var keys struct{ Keys []map[string]any }
	if err := json.Unmarshal(set, &keys); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"kid", "use", "alg", "key_ops"} {
		delete(keys.Keys[0], name)
	}
	public, err := json.Marshal(keys.Keys[0])
	if err != nil {
		t.Fatal(err)
	}
	h.public = string(public)
	c := example()
	c.Confirmation = &Confirmation{JKT: h.key.ID()} // the id of a generated key is its thumbprint
	h.token = sign(t, issuerKey, c)
	return h
}

// proof makes a proof for GET https://api.example.com/x. change may modify its header and claims.
func (h *holder) proof(change func(header, claims map[string]any)) string {
	h.t.Helper()
	sum := sha256.Sum256([]byte(h.token))
	header := map[string]any{"typ": "dpop+jwt", "alg": h.key.Algorithm(), "jwk": json.RawMessage(h.public)}
	claims := map[string]any{
		"jti": fmt.Sprint("proof ", h.proofs.Add(1)), "htm": "GET", "htu": service + "/x", "iat": noon.Add(time.Minute).Unix(),
		"ath": base64.RawURLEncoding.EncodeToString(sum[:]),
	}
	if change != nil {
		change(header, claims)
	}
	head, err := json.Marshal(header)
	if err != nil {
		h.t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		h.t.Fatal(err)
	}
	return forge(h.t, h.key, string(head), string(payload))
}

// dpopGuard protects a handler with DPoP and Bearer.
func dpopGuard(t testing.TB, v *Verifier, c DPoPConfig) http.Handler {
	t.Helper()
	g, err := durward.New(durward.Config{Schemes: []durward.Scheme{v.Scheme(), v.DPoP(c)}, PublicURL: service, InsecureAllowHTTP: true, Now: v.c.Now})
	if err != nil {
		t.Fatal(err)
	}
	return g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, durward.From(r.Context()).Scheme) }))
}

// send sends a request with a token, a scheme and DPoP fields.
func send(h http.Handler, scheme, token string, proofs ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "/x?a=b", nil)
	r.Header.Set("Authorization", scheme+" "+token)
	r.Header["Dpop"] = proofs
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func answered(t *testing.T, name string, w *httptest.ResponseRecorder, status int, code durward.Code, challenge string) {
	t.Helper()
	var p struct{ Code durward.Code }
	_ = json.Unmarshal(w.Body.Bytes(), &p)
	if w.Code != status || p.Code != code || !strings.Contains(strings.Join(w.Header().Values("WWW-Authenticate"), "\n"), challenge) {
		t.Errorf("%s: got %d %s %q, want %d %s with %s", name, w.Code, p.Code, w.Header().Values("WWW-Authenticate"), status, code, challenge)
	}
}

func TestDPoP(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	v := verifier(t, Config{}, k.Public())
	h := dpopGuard(t, v, DPoPConfig{Algorithms: []string{"ES256", "EdDSA", "Ed25519", "RS256", "PS256"}})
	for _, alg := range []string{"ES256", "EdDSA", "Ed25519", "RS256", "PS256"} {
		c := newHolder(t, alg, k)
		for range 2 { // the second time the token is cached
			if w := send(h, "dpop", c.token, c.proof(nil)); w.Code != 200 || w.Body.String() != "DPoP" {
				t.Fatalf("%s: %d %s", alg, w.Code, w.Body)
			}
		}
		answered(t, alg+" as Bearer", send(h, "Bearer", c.token, c.proof(nil)), 401, durward.InvalidToken, `Bearer realm="restricted", error="invalid_token"`)
	}
}

// The rows are the checks of RFC 9449 s4.3 and s7.1.
func TestDPoPRefused(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	v := verifier(t, Config{}, k.Public())
	h := dpopGuard(t, v, DPoPConfig{})
	c, other := newHolder(t, "ES256", k), newHolder(t, "ES256", k)
	at := noon.Add(time.Minute)
	type m = map[string]any
	for _, r := range []struct {
		name   string
		change func(header, claims m)
		code   durward.Code // empty: accepted
	}{
		{"as it should be", nil, ""},
		{"application/dpop+jwt", func(h, _ m) { h["typ"] = "application/DPoP+jwt" }, ""},
		{"htu with query and fragment", func(_, c m) { c["htu"] = service + "/x?other#f" }, ""},
		{"htu in other case and with its port", func(_, c m) { c["htu"] = "HTTPS://API.example.com:443/x" }, ""},
		{"htu with an encoding that needs none", func(_, c m) { c["htu"] = service + "/%78" }, ""},
		{"the first moment of the window", func(_, c m) { c["iat"] = at.Add(-time.Minute).Unix() }, ""},
		{"the last moment ahead", func(_, c m) { c["iat"] = at.Add(10 * time.Second).Unix() }, ""},
		{"nonce that was not requested", func(_, c m) { c["nonce"] = "n" }, ""},
		{"unknown members", func(h, c m) { h["x"], c["x"] = 1, []int{1} }, ""},

		{"typ of a token", func(h, _ m) { h["typ"] = "at+jwt" }, durward.InvalidProof},
		{"no typ", func(h, _ m) { delete(h, "typ") }, durward.InvalidProof},
		{"no key", func(h, _ m) { delete(h, "jwk") }, durward.InvalidProof},
		{"key that is no object", func(h, _ m) { h["jwk"] = "k" }, durward.InvalidProof},
		{"key of another client", func(h, _ m) { h["jwk"] = json.RawMessage(other.public) }, durward.InvalidProof},
		{"private key", func(h, _ m) {
			h["jwk"] = json.RawMessage(strings.Replace(c.public, "{", `{"d":"AAAA",`, 1))
		}, durward.InvalidProof},
		{"key for encryption", func(h, _ m) {
			h["jwk"] = json.RawMessage(strings.Replace(c.public, "{", `{"use":"enc",`, 1))
		}, durward.InvalidProof},
		{"key of another algorithm", func(h, _ m) {
			h["jwk"] = json.RawMessage(strings.Replace(c.public, "{", `{"alg":"EdDSA",`, 1))
		}, durward.InvalidProof},
		{"alg none", func(h, _ m) { h["alg"] = "none" }, durward.InvalidProof},
		{"alg HS256", func(h, _ m) { h["alg"] = "HS256" }, durward.InvalidProof},
		{"no alg", func(h, _ m) { delete(h, "alg") }, durward.InvalidProof},
		{"crit", func(h, _ m) { h["crit"] = []string{"exp"} }, durward.InvalidProof},
		{"kid that is no string", func(h, _ m) { h["kid"] = 1 }, durward.InvalidProof},
		{"no jti", func(_, c m) { delete(c, "jti") }, durward.InvalidProof},
		{"empty jti", func(_, c m) { c["jti"] = "" }, durward.InvalidProof},
		{"long jti", func(_, c m) { c["jti"] = strings.Repeat("j", 257) }, durward.InvalidProof},
		{"jti that is no string", func(_, c m) { c["jti"] = 1 }, durward.InvalidProof},
		{"no htm", func(_, c m) { delete(c, "htm") }, durward.InvalidProof},
		{"other method", func(_, c m) { c["htm"] = "POST" }, durward.InvalidProof},
		{"method in lower case", func(_, c m) { c["htm"] = "get" }, durward.InvalidProof},
		{"no htu", func(_, c m) { delete(c, "htu") }, durward.InvalidProof},
		{"other path", func(_, c m) { c["htu"] = service + "/y" }, durward.InvalidProof},
		{"path in other case", func(_, c m) { c["htu"] = service + "/X" }, durward.InvalidProof},
		{"other host", func(_, c m) { c["htu"] = "https://api.example.org/x" }, durward.InvalidProof},
		{"other port", func(_, c m) { c["htu"] = service + ":8443/x" }, durward.InvalidProof},
		{"plain http", func(_, c m) { c["htu"] = "http://api.example.com/x" }, durward.InvalidProof},
		{"user in the URL", func(_, c m) { c["htu"] = "https://u@api.example.com/x" }, durward.InvalidProof},
		{"path alone", func(_, c m) { c["htu"] = "/x" }, durward.InvalidProof},
		{"URL that is none", func(_, c m) { c["htu"] = "https://api.example.com/%zz" }, durward.InvalidProof},
		{"no iat", func(_, c m) { delete(c, "iat") }, durward.InvalidProof},
		{"iat that is no number", func(_, c m) { c["iat"] = "now" }, durward.InvalidProof},
		{"too old", func(_, c m) { c["iat"] = at.Add(-time.Minute - time.Second).Unix() }, durward.InvalidProof},
		{"too far ahead", func(_, c m) { c["iat"] = at.Add(11 * time.Second).Unix() }, durward.InvalidProof},
		{"no ath", func(_, c m) { delete(c, "ath") }, durward.InvalidProof},
		{"ath of another token", func(_, c m) {
			sum := sha256.Sum256([]byte(other.token))
			c["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
		}, durward.InvalidProof},
	} {
		w := send(h, "DPoP", c.token, c.proof(r.change))
		if r.code == "" {
			if w.Code != 200 {
				t.Errorf("%s: %d %s", r.name, w.Code, w.Body)
			}
			continue
		}
		answered(t, r.name, w, 401, r.code, `DPoP realm="restricted", algs="ES256 EdDSA Ed25519", error="invalid_dpop_proof"`)
	}
	wide := dpopGuard(t, v, DPoPConfig{Window: 5 * time.Minute})
	for age, want := range map[time.Duration]int{299 * time.Second: 200, 301 * time.Second: 401} {
		proof := c.proof(func(_, c m) { c["iat"] = at.Add(-age).Unix() })
		if w := send(wide, "DPoP", c.token, proof); w.Code != want {
			t.Errorf("a proof %s old, window of 5 minutes: %d %s, want %d", age, w.Code, w.Body, want)
		}
	}
	good := c.proof(nil)
	cut := good[:len(good)-1]
	for name, proofs := range map[string][]string{
		"none": nil, "two": {c.proof(nil), c.proof(nil)}, "empty": {""}, "no JWT": {"x"}, "a signature cut short": {cut},
		"far too long": {strings.Repeat("a", 9000)}, "two in one field": {good + ", " + good}, "the token itself": {c.token},
	} {
		answered(t, name, send(h, "DPoP", c.token, proofs...), 401, durward.InvalidProof, `error="invalid_dpop_proof"`)
	}

	// The token gets all other checks, and must be bound to the key of the proof.
	plain := sign(t, k, example())
	withToken := func(token string) func(_, c m) {
		sum := sha256.Sum256([]byte(token))
		return func(_, c m) { c["ath"] = base64.RawURLEncoding.EncodeToString(sum[:]) }
	}
	expired := example()
	expired.Expires, expired.Confirmation = noon.Add(30*time.Second), &Confirmation{JKT: c.key.ID()}
	certified := example()
	certified.Confirmation = &Confirmation{X5tS256: "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"}
	both := example()
	both.Confirmation = &Confirmation{JKT: c.key.ID(), X5tS256: "A4DtL2JmUMhAsvJj5tKyn64SqzmuXbMrJa0n761y5v0"}
	for _, r := range []struct {
		name, token string
		code        durward.Code
	}{
		{"bound to nothing", plain, durward.InvalidToken},
		{"bound to another key", other.token, durward.InvalidToken},
		{"bound to a certificate alone", sign(t, k, certified), durward.InvalidToken},
		{"bound to both, without the certificate", sign(t, k, both), durward.InvalidToken},
		{"expired", sign(t, k, expired), durward.TokenExpired},
		{"no token", "e30.e30.e30", durward.InvalidToken},
	} {
		answered(t, r.name, send(h, "DPoP", r.token, c.proof(withToken(r.token))), 401, r.code, `DPoP realm="restricted", algs="ES256 EdDSA Ed25519", error="invalid_token"`)
	}
	answered(t, "no token at all", send(h, "DPoP", "a=b", c.proof(nil)), 401, durward.MalformedCredentials, "DPoP")
}

// A proof is accepted once, also if it is sent several times at the same instant, for as long as
// its age is accepted.
func TestDPoPReplay(t *testing.T) {
	t.Parallel()
	var at atomic.Int64
	at.Store(noon.Add(time.Minute).Unix())
	k := generate(t, "ES256")
	v := verifier(t, Config{Now: func() time.Time { return time.Unix(at.Load(), 0) }}, k.Public())
	h := dpopGuard(t, v, DPoPConfig{})
	c := newHolder(t, "ES256", k)
	ahead := c.proof(func(_, c map[string]any) { c["iat"] = at.Load() + 10 })
	var passed atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if send(h, "DPoP", c.token, ahead).Code == 200 {
				passed.Add(1)
			}
		})
	}
	all.Wait()
	if passed.Load() != 1 {
		t.Fatalf("%d of 16 passed", passed.Load())
	}
	for range 75 {
		at.Add(1)
		answered(t, fmt.Sprint("replay at ", at.Load()), send(h, "DPoP", c.token, ahead), 401, durward.InvalidProof, "invalid_dpop_proof")
		send(h, "DPoP", c.token, c.proof(func(_, c map[string]any) { c["iat"] = at.Load() }))
	}
	// A proof is marked as used only after all other checks: the same jti by another key or with a
	// bad token does not use it up.
	other := newHolder(t, "ES256", k)
	same := func(_, c map[string]any) { c["jti"], c["iat"] = "one", at.Load() }
	if w := send(h, "DPoP", c.token, c.proof(same)); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := send(h, "DPoP", other.token, other.proof(same)); w.Code != 200 {
		t.Errorf("the same jti by another key: %d %s", w.Code, w.Body)
	}
}

func TestDPoPMemoryIsBounded(t *testing.T) {
	t.Parallel()
	var r replays
	for i := range 10 {
		if fresh, full := r.spend(sha256.Sum256(fmt.Append(nil, i)), noon, time.Minute, 10); !fresh || full {
			t.Fatalf("proof %d: %v %v", i, fresh, full)
		}
	}
	if fresh, full := r.spend(sha256.Sum256([]byte("one more")), noon, time.Minute, 10); fresh || !full {
		t.Errorf("one more than fit: %v %v", fresh, full)
	}
	if fresh, full := r.spend(sha256.Sum256([]byte("0")), noon, time.Minute, 10); fresh || full {
		t.Errorf("a known one: %v %v", fresh, full)
	}
	if fresh, _ := r.spend(sha256.Sum256([]byte("0")), noon.Add(time.Minute), time.Minute, 100); fresh {
		t.Error("forgotten a window later")
	}
	if fresh, _ := r.spend(sha256.Sum256([]byte("0")), noon.Add(3*time.Minute), time.Minute, 100); !fresh {
		t.Error("remembered three windows later")
	}
	k := generate(t, "ES256")
	v := verifier(t, Config{}, k.Public())
	h := dpopGuard(t, v, DPoPConfig{MaxProofs: 1})
	c := newHolder(t, "ES256", k)
	send(h, "DPoP", c.token, c.proof(nil))
	answered(t, "no room", send(h, "DPoP", c.token, c.proof(nil)), 503, durward.AuthUnavailable, "")
}

func TestDPoPNonces(t *testing.T) {
	t.Parallel()
	var at atomic.Int64
	at.Store(noon.Add(time.Minute).Unix())
	k := generate(t, "ES256")
	v := verifier(t, Config{Now: func() time.Time { return time.Unix(at.Load(), 0) }}, k.Public())
	h := dpopGuard(t, v, DPoPConfig{Nonces: true, NonceLife: time.Minute})
	c := newHolder(t, "ES256", k)
	with := func(nonce string) string {
		return c.proof(func(_, c map[string]any) { c["nonce"], c["iat"] = nonce, at.Load() })
	}
	w := send(h, "DPoP", c.token, c.proof(nil))
	answered(t, "no nonce", w, 401, durward.NonceRequired, `error="use_dpop_nonce"`)
	nonce := w.Header().Values("DPoP-Nonce")
	if len(nonce) != 1 || nonce[0] == "" || w.Header().Get("Cache-Control") != "no-store" {
		t.Fatalf("fields %v", w.Header())
	}
	if w := send(h, "DPoP", c.token, with(nonce[0])); w.Code != 200 {
		t.Errorf("with the nonce: %d %s", w.Code, w.Body)
	}
	at.Add(60)
	if w := send(h, "DPoP", c.token, with(nonce[0])); w.Code != 200 {
		t.Errorf("at the end of its life: %d %s", w.Code, w.Body)
	}
	at.Add(1)
	w = send(h, "DPoP", c.token, with(nonce[0]))
	answered(t, "an old nonce", w, 401, durward.NonceRequired, `error="use_dpop_nonce"`)
	if w.Header().Get("DPoP-Nonce") == nonce[0] || w.Header().Get("DPoP-Nonce") == "" {
		t.Errorf("fields %v", w.Header())
	}
	// Every DPoP refusal has a new nonce; other refusals have none.
	if w := send(h, "Bearer", "x"); w.Header().Get("DPoP-Nonce") == "" {
		t.Errorf("fields %v", w.Header())
	}
	foreign := send(dpopGuard(t, v, DPoPConfig{Nonces: true}), "DPoP", c.token, c.proof(nil)).Header().Get("DPoP-Nonce")
	answered(t, "a nonce of another node", send(h, "DPoP", c.token, with(foreign)), 401, durward.NonceRequired, `error="use_dpop_nonce"`)
	if w := send(dpopGuard(t, v, DPoPConfig{}), "DPoP", c.token, with("any")); w.Code != 200 || w.Header().Get("DPoP-Nonce") != "" {
		t.Errorf("without nonces: %d %v", w.Code, w.Header())
	}
}

// commonProofs is a SharedProofs in memory.
type commonProofs struct {
	mu   sync.Mutex
	key  []byte // nil: unavailable
	seen map[string]bool
	life time.Duration
}

func (p *commonProofs) Key() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.key
}

func (p *commonProofs) set(key []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.key = key
}

func (p *commonProofs) Spend(_ context.Context, key []byte, id string, life time.Duration) (bool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !bytes.Equal(p.key, key) {
		return false, errors.New("another key by now")
	}
	isNew := !p.seen[id]
	p.seen[id], p.life = true, life
	return isNew, nil
}

// lost loses its data just before Spend.
type lost struct{ *commonProofs }

func (p lost) Spend(ctx context.Context, key []byte, id string, life time.Duration) (bool, error) {
	p.set(bytes.Repeat([]byte{3}, 32))
	return p.commonProofs.Spend(ctx, key, id, life)
}

// Servers with SharedProofs accept each other's nonces, and accept a proof once in all. While
// SharedProofs is unavailable each uses its own nonces.
func TestDPoPShared(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	common := &commonProofs{key: bytes.Repeat([]byte{1}, 32), seen: map[string]bool{}}
	node := func(shared SharedProofs) http.Handler {
		return dpopGuard(t, verifier(t, Config{}, k.Public()), DPoPConfig{Nonces: true, Shared: shared})
	}
	a, b := node(common), node(common)
	c := newHolder(t, "ES256", k)
	with := func(nonce string) string { return c.proof(func(_, c map[string]any) { c["nonce"] = nonce }) }
	nonceOf := func(h http.Handler) string {
		return send(h, "DPoP", c.token, c.proof(nil)).Header().Get("DPoP-Nonce")
	}
	passes := func(name string, h http.Handler, proof string) {
		t.Helper()
		if w := send(h, "DPoP", c.token, proof); w.Code != 200 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	refused := func(name string, h http.Handler, proof string) {
		t.Helper()
		answered(t, name, send(h, "DPoP", c.token, proof), 401, durward.NonceRequired, `error="use_dpop_nonce"`)
	}
	used := func(name string, h http.Handler, proof string) {
		t.Helper()
		answered(t, name, send(h, "DPoP", c.token, proof), 401, durward.InvalidProof, `error="invalid_dpop_proof"`)
	}
	shared := nonceOf(a)
	once := with(shared)
	passes("at a", a, once)
	if common.life < time.Minute {
		t.Errorf("got a record for %s, want at least the age limit of a proof", common.life)
	}
	used("the same at b", b, once)
	used("the same at a", a, once)
	passes("another with the same nonce at b", b, with(shared))

	common.set(nil) // unavailable
	refused("shared nonce, SharedProofs unavailable", b, with(shared))
	refused("used proof, SharedProofs unavailable", b, once)
	own := nonceOf(b)
	alone := with(own)
	passes("a nonce of b alone", b, alone)
	used("the same at b", b, alone)
	refused("the same at a", a, alone)
	common.set(bytes.Repeat([]byte{2}, 32)) // available again, without its data
	refused("the same at a when it is back", a, alone)
	used("the same at b when it is back", b, alone)
	refused("a proof of before the loss", b, once)
	passes("a nonce of b alone stays good", b, with(own))
	refused("but not at a", a, with(own))
	shared = nonceOf(a)
	passes("a nonce of now", b, with(shared))

	late := node(lost{common})
	refused("what is lost between the nonce and the proof", late, with(shared))
	common.set([]byte("short")) // a key that is too short
	refused("a nonce under no key", a, with(shared))
	passes("its own", a, with(nonceOf(a)))
}

// A stream continues when its proof has become too old; it ends when its token is revoked.
func TestDPoPStream(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		now := func() time.Time { return noon.Add(time.Minute + time.Since(began)) }
		var revoked atomic.Bool
		v := verifier(t, Config{Now: now, Revoked: func(p *durward.Principal, _ string) error {
			if revoked.Load() {
				return durward.TokenRevoked
			}
			return nil
		}}, k.Public())
		g, err := durward.New(durward.Config{Schemes: []durward.Scheme{v.DPoP(DPoPConfig{Window: 10 * time.Second})}, PublicURL: service, InsecureAllowHTTP: true, Now: now})
		if err != nil {
			t.Fatal(err)
		}
		h := g.Require(durward.Policy{Stream: true}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			fmt.Fprint(w, context.Cause(r.Context()))
		}))
		c := newHolder(t, "ES256", k)
		time.AfterFunc(40*time.Second, func() { revoked.Store(true) })
		proof := c.proof(nil)
		w := send(h, "DPoP", c.token, proof)
		if lasted := time.Since(began); w.Code != 200 || lasted < 40*time.Second || lasted > 41*time.Second || !strings.Contains(w.Body.String(), string(durward.TokenRevoked)) {
			t.Errorf("%d after %s: %s", w.Code, lasted, w.Body)
		}
		revoked.Store(false)
		answered(t, "the proof again", send(h, "DPoP", c.token, proof), 401, durward.InvalidProof, "invalid_dpop_proof")
	})
}

func TestDPoPConfig(t *testing.T) {
	t.Parallel()
	v := verifier(t, Config{}, generate(t, "ES256").Public())
	for want, c := range map[string]DPoPConfig{
		`algorithm "HS256"`: {Algorithms: []string{"HS256"}}, `algorithm "none"`: {Algorithms: []string{"none"}}, "Algorithms is empty": {Algorithms: []string{}},
		"Key has 31 octets": {NonceKey: make([]byte, 31)}, "NonceLife": {NonceLife: -1},
		"SharedKey requires Nonces": {Shared: new(commonProofs)},
	} {
		if _, err := durward.New(durward.Config{Schemes: []durward.Scheme{v.DPoP(c)}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %s", err, want)
		}
	}
}

// A proof that is accepted is signed by its key and has one spelling.
func FuzzProof(f *testing.F) {
	k := generate(f, "ES256")
	c := newHolder(f, "ES256", k)
	f.Add(c.proof(nil))
	f.Add(c.proof(func(h, _ map[string]any) { h["jwk"] = map[string]any{"kty": "EC"} }))
	f.Add("e30.e30.e30")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseProof(text)
		if err != nil {
			if p != nil {
				t.Fatal("a proof beside an error")
			}
			return
		}
		if p.key == nil || p.id == "" || p.key.id == "" || p.issued.IsZero() || p.method == "" || p.url == "" {
			t.Fatalf("%+v", p)
		}
		cut := strings.LastIndexByte(text, '.')
		signature, err := b64.DecodeString(text[cut+1:])
		if err != nil || !p.key.verify(p.key.alg, []byte(text[:cut]), signature) {
			t.Fatalf("not signed: %q", text)
		}
	})
}

func BenchmarkDPoP(b *testing.B) {
	k := generate(b, "ES256")
	v := verifier(b, Config{}, k.Public())
	d := &dpop{v: v, c: DPoPConfig{Algorithms: []string{"ES256"}, Window: time.Minute, MaxProofs: 1 << 30}}
	c := newHolder(b, "ES256", k)
	proofs := make([]string, 2000)
	for i := range proofs {
		proofs[i] = c.proof(nil)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%len(proofs) == 0 {
			d.seen = replays{}
		}
		p := durward.DPoPProof{Token: c.token, Proof: proofs[i%len(proofs)], Method: "GET", URL: service + "/x"}
		if _, err := d.check(context.Background(), p); err != nil {
			b.Fatal(err)
		}
	}
}

// A token that is bound to a certificate is accepted only on a connection with that certificate.
func TestConfirmation(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/rfc/rfc8705_mtls.json")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(strings.ReplaceAll(string(text[strings.Index(string(text), "-----BEGIN"):strings.Index(string(text), "-----END CERTIFICATE-----")+25]), `\n`, "\n") + "\n"))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	other := *cert
	other.Raw = append([]byte{0}, cert.Raw...)
	is, isNot := &Confirmation{X5tS256: Thumbprint(cert), JKT: ""}, &Confirmation{X5tS256: "x"}
	both := &Confirmation{X5tS256: Thumbprint(cert), JKT: "k"}
	for _, c := range []struct {
		name       string
		bound      *Confirmation
		thumbprint string
		cert       *x509.Certificate
		ok         bool
	}{
		{"bound to nothing", nil, "", nil, true}, {"bound to nothing, with a certificate", nil, "", cert, true}, {"bound to nothing, with a proof", nil, "k", nil, false},
		{"its certificate", is, "", cert, true}, {"no certificate", is, "", nil, false}, {"another certificate", is, "", &other, false},
		{"bound to another", isNot, "", cert, false}, {"its certificate and a proof", is, "k", cert, false},
		{"both", both, "k", cert, true}, {"both, without the proof", both, "", cert, false}, {"both, without the certificate", both, "k", nil, false},
		{"both, another proof", both, "l", cert, false}, {"both, another certificate", both, "k", &other, false},
		{"in a way that is not known", &Confirmation{}, "k", cert, false}, {"in a way that is not known, as Bearer", &Confirmation{}, "", nil, false},
	} {
		if err := c.bound.sentBy(c.thumbprint, c.cert); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
