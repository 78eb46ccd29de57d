package httpapi

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// holder is a client with a key.
type holder struct {
	w      *env
	key    *ecdsa.PrivateKey
	jwk    object
	nonce  string // the last nonce of the server
	proofs atomic.Int64
}

func (w *env) holder() *holder {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		w.t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	return &holder{w: w, key: key, jwk: object{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])}}
}

// thumbprint returns the thumbprint of RFC 7638.
func (h *holder) thumbprint() string {
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, h.jwk["x"], h.jwk["y"]))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// proof makes a proof for a request, with the hash of token if there is one. change edits its
// claims.
func (h *holder) proof(method, path, token string, change ...func(claims object)) string {
	h.w.t.Helper()
	claims := object{"jti": fmt.Sprint("proof ", h.proofs.Add(1)), "htm": method, "htu": "http://127.0.0.1:8401" + testPrefix + path, "iat": h.w.clock.Now().Unix()}
	if h.nonce != "" {
		claims["nonce"] = h.nonce
	}
	if token != "" {
		sum := sha256.Sum256([]byte(token))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	for _, c := range change {
		c(claims)
	}
	part := func(v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			h.w.t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(text)
	}
	signed := part(object{"typ": "dpop+jwt", "alg": "ES256", "jwk": h.jwk}) + "." + part(claims)
	sum := sha256.Sum256([]byte(signed))
	r, s, err := ecdsa.Sign(rand.Reader, h.key, sum[:])
	if err != nil {
		h.w.t.Fatal(err)
	}
	var raw [64]byte
	r.FillBytes(raw[:32])
	s.FillBytes(raw[32:])
	return signed + "." + base64.RawURLEncoding.EncodeToString(raw[:])
}

// proven sends a request with proofs in DPoP fields, and keeps the nonce of the response.
func (h *holder) proven(method, path, authorization, body string, proofs ...string) reply {
	h.w.t.Helper()
	r, err := http.NewRequest(method, h.w.url+path, strings.NewReader(body))
	if err != nil {
		h.w.t.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	for _, p := range proofs {
		r.Header.Add("DPoP", p)
	}
	got := h.w.send(r)
	if nonce := got.Header.Get("DPoP-Nonce"); nonce != "" {
		h.nonce = nonce
	}
	return got
}

func bodyOf(members object) string {
	text, err := json.Marshal(members)
	if err != nil {
		panic(err)
	}
	return string(text)
}

var adasLogin = bodyOf(object{"email": adaEmail, "password": adaPassword})

// meet gets a nonce.
func (h *holder) meet() *holder {
	h.w.t.Helper()
	r := h.proven("POST", "/api/auth/login", "", adasLogin, h.proof("POST", "/api/auth/login", ""))
	h.refusedProof(r, "NONCE_REQUIRED", "use_dpop_nonce")
	if h.nonce == "" {
		h.w.t.Fatal("no nonce was given")
	}
	return h
}

// refusedProof requires a refusal with the DPoP challenge and a fresh nonce (RFC 9449 s7.1, s8),
// without schemes that sign-in and refresh do not accept.
func (h *holder) refusedProof(r reply, code, why string) {
	h.w.t.Helper()
	h.w.refused(r, 401, code)
	challenges := r.Header.Values("WWW-Authenticate")
	if want := `DPoP realm="127.0.0.1", algs="ES256 EdDSA Ed25519", error="` + why + `"`; !strings.HasPrefix(challenges[0], want) {
		h.w.t.Errorf("challenges %q, want first %s", challenges, want)
	}
	if len(r.Header.Values("DPoP-Nonce")) != 1 {
		h.w.t.Errorf("nonces: %q", r.Header.Values("DPoP-Nonce"))
	}
}

func (h *holder) signIn() api.TokenResponse {
	h.w.t.Helper()
	t := h.w.tokens(h.proven("POST", "/api/auth/login", "", adasLogin, h.proof("POST", "/api/auth/login", "")))
	if t.TokenType != "DPoP" {
		h.w.t.Fatalf("token_type %s", t.TokenType)
	}
	return t
}

func (h *holder) refresh(token string, proofs ...string) reply {
	h.w.t.Helper()
	return h.proven("POST", "/api/auth/refresh", "", bodyOf(object{"refresh_token": token}), proofs...)
}

func (h *holder) refreshProof() string { return h.proof("POST", "/api/auth/refresh", "") }

// call requests the profile with a token and a proof.
func (h *holder) call(token string) reply {
	h.w.t.Helper()
	return h.proven("GET", "/api/profile", "DPoP "+token, "", h.proof("GET", "/api/profile", token))
}

// With DPoP off, proofs are ignored and the scheme DPoP is unknown.
func TestDPoPIsOffUnlessAskedFor(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{})
	h := w.holder()
	signed := w.tokens(h.proven("POST", "/api/auth/login", "", adasLogin, "garbage", "twice"))
	if signed.TokenType != "Bearer" {
		t.Errorf("token_type %s", signed.TokenType)
	}
	w.works(signed.AccessToken)
	r := h.call(signed.AccessToken)
	w.refused(r, 401, "UNSUPPORTED_SCHEME")
	if text := fmt.Sprint(r.Header); strings.Contains(text, "algs") || h.nonce != "" {
		t.Errorf("fields %s", text)
	}
	if again := w.tokens(h.refresh(signed.RefreshToken, "garbage")); again.TokenType != "Bearer" {
		t.Errorf("token_type %s", again.TokenType)
	}
}

// Tokens that were bound before DPoP was switched off do not work. A new sign-in helps, and the
// session is not ended.
func TestDPoPSwitchedOff(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := newEnv(t, settings{dir: dir, dpop: true})
	h := w.holder().meet()
	signed := h.signIn()

	off := newEnv(t, settings{dir: dir})
	r := off.refreshWith(signed.RefreshToken)
	off.refused(r, 401, "REFRESH_INVALID")
	if got := strings.Join(r.Header.Values("WWW-Authenticate"), "|"); !strings.HasPrefix(got, "Session ") || strings.Contains(got, "DPoP") {
		t.Errorf("challenges %s", got)
	}
	off.dead(signed.AccessToken, "INVALID_TOKEN")
	w.tokens(h.refresh(signed.RefreshToken, h.refreshProof()))
}

// A whole round: nonce, sign-in, call, refresh, step-up, sign-out.
func TestBoundRound(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{dpop: true})
	h := w.holder()
	r := h.proven("POST", "/api/auth/login", "", adasLogin, h.proof("POST", "/api/auth/login", ""))
	h.refusedProof(r, "NONCE_REQUIRED", "use_dpop_nonce")
	if w.hasher.Runs() > 1 { // one of them for the account
		t.Error("a password was hashed for a client that had no nonce yet")
	}
	if all := strings.Join(r.Header.Values("WWW-Authenticate"), "|"); strings.Contains(all, "Bearer") || strings.Contains(all, "ApiKey") {
		t.Errorf("the sign-in names schemes that it does not take: %s", all)
	}
	signed := h.signIn()
	var claims struct {
		Cnf map[string]string `json:"cnf"`
	}
	if payload, err := base64.RawURLEncoding.DecodeString(strings.Split(signed.AccessToken, ".")[1]); err != nil || json.Unmarshal(payload, &claims) != nil || claims.Cnf["jkt"] != h.thumbprint() || len(claims.Cnf) != 1 {
		t.Errorf("cnf %v, want jkt %s", claims.Cnf, h.thumbprint())
	}
	if r := h.call(signed.AccessToken); r.StatusCode != 200 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	w.refused(w.do("GET", "/api/profile", signed.AccessToken, nil), 401, "INVALID_TOKEN") // as Bearer
	proof := h.proof("GET", "/api/profile", signed.AccessToken)
	if r := h.proven("GET", "/api/profile", "DPoP "+signed.AccessToken, "", proof); r.StatusCode != 200 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	h.refusedProof(h.proven("GET", "/api/profile", "DPoP "+signed.AccessToken, "", proof), "INVALID_PROOF", "invalid_dpop_proof")

	second := w.tokens(h.refresh(signed.RefreshToken, h.refreshProof()))
	if second.TokenType != "DPoP" || second.RefreshToken == signed.RefreshToken {
		t.Errorf("answer of a refresh: %+v", second)
	}
	w.clock.Advance(recentSignIn + time.Second) // longer than the life of a nonce
	body := bodyOf(object{"password": adaPassword})
	h.refusedProof(h.proven("POST", "/api/auth/step-up", "DPoP "+second.AccessToken, body, h.proof("POST", "/api/auth/step-up", second.AccessToken)), "NONCE_REQUIRED", "use_dpop_nonce")
	stepped := w.tokens(h.proven("POST", "/api/auth/step-up", "DPoP "+second.AccessToken, body, h.proof("POST", "/api/auth/step-up", second.AccessToken)))
	if stepped.TokenType != "DPoP" || stepped.RefreshToken != second.RefreshToken {
		t.Errorf("answer of a step-up: %+v", stepped)
	}
	w.refused(w.do("GET", "/api/profile", stepped.AccessToken, nil), 401, "INVALID_TOKEN")
	if r := h.call(stepped.AccessToken); r.StatusCode != 200 {
		t.Errorf("%s %s", r.Status, r.body)
	}
	w.refused(h.proven("POST", "/api/auth/token", "DPoP "+stepped.AccessToken, "", h.proof("POST", "/api/auth/token", stepped.AccessToken)), 403, "FORBIDDEN")

	if r := h.proven("POST", "/api/auth/logout", "DPoP "+stepped.AccessToken, ""); r.StatusCode != 204 {
		t.Fatalf("%s %s", r.Status, r.body)
	}
	w.refused(h.call(stepped.AccessToken), 401, "TOKEN_REVOKED")
	w.refused(h.call(second.AccessToken), 401, "TOKEN_REVOKED")
	w.refused(h.refresh(stepped.RefreshToken, h.refreshProof()), 401, "SESSION_REVOKED")
}

// A wrong proof is refused before the password is checked.
func TestProofOfTheSignIn(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{dpop: true})
	h := w.holder().meet()
	const login = "/api/auth/login"
	before := w.hasher.Runs()
	good := h.proof("POST", login, "")
	for name, proofs := range map[string][]string{
		"two": {good, h.proof("POST", login, "")}, "empty": {""}, "no JWT": {"x"}, "two in one field": {good + ", " + good},
		"signature cut": {good[:len(good)-1]}, "far too long": {strings.Repeat("a", 9000)},
		"other method": {h.proof("GET", login, "")}, "other path": {h.proof("POST", "/api/auth/refresh", "")},
		"of a token": {h.proof("POST", login, "a.b.c")},
		"too old":    {h.proof("POST", login, "", func(c object) { c["iat"] = w.clock.Now().Add(-2 * time.Minute).Unix() })},
		"other host": {h.proof("POST", login, "", func(c object) { c["htu"] = "http://example.com" + login })},
	} {
		t.Log(name)
		h.refusedProof(h.proven("POST", login, "", adasLogin, proofs...), "INVALID_PROOF", "invalid_dpop_proof")
	}
	h.refusedProof(h.proven("POST", login, "", adasLogin, h.proof("POST", login, "", func(c object) { c["nonce"] = "made up" })), "NONCE_REQUIRED", "use_dpop_nonce")
	if got := w.hasher.Runs(); got != before {
		t.Errorf("%d passwords were hashed", got-before)
	}

	// A wrong password is answered as without a proof, and no token is used up.
	wrong := bodyOf(object{"email": adaEmail, "password": randomPassword()})
	r := h.proven("POST", login, "", wrong, good)
	w.refused(r, 401, "INVALID_CREDENTIALS")
	if got := r.Header.Values("WWW-Authenticate"); len(got) != 1 || !strings.HasPrefix(got[0], "Session ") {
		t.Errorf("challenges %q", got)
	}
	w.tokens(h.proven("POST", login, "", adasLogin, good))
	h.refusedProof(h.proven("POST", login, "", adasLogin, good), "INVALID_PROOF", "invalid_dpop_proof")

	// Without a proof the tokens are Bearer tokens. A cookie cannot be bound.
	if t2 := w.signIn(); t2.TokenType != "Bearer" {
		t.Errorf("token_type %s", t2.TokenType)
	}
	withCookie := bodyOf(object{"email": adaEmail, "password": adaPassword, "use_cookies": true})
	r = h.proven("POST", login, "", withCookie, h.proof("POST", login, ""))
	if p := w.refused(r, 400, "INVALID_REQUEST"); p["member"] != "use_cookies" || r.Header.Get("Set-Cookie") != "" {
		t.Errorf("%v, %v", p, r.Header)
	}
}

// Only the holder of the key can refresh bound tokens. Attempts of other clients change nothing.
func TestBoundRefresh(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{dpop: true})
	h := w.holder().meet()
	thief := w.holder().meet()
	first := h.signIn()
	const refused = "invalid_dpop_proof"
	for range 3 {
		h.refusedProof(w.refreshWith(first.RefreshToken), "INVALID_PROOF", refused)
		h.refusedProof(thief.refresh(first.RefreshToken, thief.refreshProof()), "INVALID_PROOF", refused)
		h.refusedProof(h.refresh(first.RefreshToken, "x"), "INVALID_PROOF", refused)
		h.refusedProof(h.refresh(first.RefreshToken, h.refreshProof(), h.refreshProof()), "INVALID_PROOF", refused)
		h.refusedProof(h.refresh(first.RefreshToken, h.proof("POST", "/api/auth/login", "")), "INVALID_PROOF", refused)
		h.refusedProof(h.refresh(first.RefreshToken, h.proof("POST", "/api/auth/refresh", "", func(c object) { delete(c, "nonce") })), "NONCE_REQUIRED", "use_dpop_nonce")
	}
	proof := h.refreshProof()
	second := w.tokens(h.refresh(first.RefreshToken, proof))
	h.refusedProof(h.refresh(second.RefreshToken, proof), "INVALID_PROOF", refused)
	third := w.tokens(h.refresh(second.RefreshToken, h.refreshProof()))

	// An old token without the key ends nothing, even if its response was lost long ago.
	w.clock.Advance(time.Minute)
	h.refusedProof(thief.refresh(first.RefreshToken, thief.refreshProof()), "INVALID_PROOF", refused)
	h.refusedProof(w.refreshWith(second.RefreshToken), "INVALID_PROOF", refused)
	again := w.tokens(h.refresh(second.RefreshToken, h.refreshProof()))
	if again.RefreshToken != third.RefreshToken || again.TokenType != "DPoP" {
		t.Errorf("the lost answer: %+v", again)
	}
	if n := len(w.events(store.EventRefreshTheft)) + len(w.events(store.EventRefreshAnswerLost)); n != 0 {
		t.Errorf("%d alarms", n)
	}
	// Reuse that counts as theft for unbound tokens counts for bound ones.
	w.refused(h.refresh(first.RefreshToken, h.refreshProof()), 401, "SESSION_REVOKED")
	w.refused(h.refresh(third.RefreshToken, h.refreshProof()), 401, "SESSION_REVOKED")
	w.refused(h.call(third.AccessToken), 401, "TOKEN_REVOKED")

	// A proof does not bind tokens that are not bound.
	plain := w.signIn()
	next := w.tokens(thief.refresh(plain.RefreshToken, thief.refreshProof()))
	if next.TokenType != "Bearer" {
		t.Errorf("token_type %s", next.TokenType)
	}
	w.works(next.AccessToken)
	w.tokens(w.refreshWith(next.RefreshToken))
}

// takesProof lists the routes that accept a proof without a token.
var takesProof = map[string]bool{
	"/api/auth/login": true, "/api/auth/login/mfa": true, "/api/auth/passkeys/login/finish": true, "/api/auth/refresh": true,
}

// Every route with a bound token and with right and wrong proofs.
func TestEveryRouteBound(t *testing.T) {
	t.Parallel()
	w := newEnv(t, settings{dpop: true, registration: true})
	ctx := context.Background()
	for _, email := range []string{"bob@example.com", "eve@example.com"} {
		if _, err := w.people.Add(ctx, account.NewUser{Email: email, Password: adaPassword}, store.EventUserAdded, request.Info{Actor: "operator"}); err != nil {
			t.Fatal(err)
		}
	}
	h, other := w.holder().meet(), w.holder()
	signInAs := func(email string) api.TokenResponse {
		return w.tokens(h.proven("POST", "/api/auth/login", "", bodyOf(object{"email": email, "password": adaPassword}), h.proof("POST", "/api/auth/login", "")))
	}
	signed, ofOther, plain := h.signIn(), other.meet().signIn(), w.signIn()
	revoked := h.signIn()
	if r := h.proven("POST", "/api/auth/logout", "DPoP "+revoked.AccessToken, ""); r.StatusCode != 204 {
		t.Fatal(r.Status)
	}
	lock := func(email string, do func(store.User)) string {
		token := signInAs(email).AccessToken
		u, err := w.people.ByEmail(ctx, email)
		if err != nil {
			t.Fatal(err)
		}
		do(u)
		return token
	}
	locked := lock("bob@example.com", func(u store.User) {
		if err := w.sessions.LockUser(ctx, u.ID, request.Info{Actor: "operator"}); err != nil {
			t.Fatal(err)
		}
	})
	// As the command line does it, in another process; the server learns of it by its poll.
	elsewhere := lock("eve@example.com", func(u store.User) {
		now := w.clock.Now()
		if _, err := w.db.LockUser(ctx, u.ID, now.Add(time.Hour), store.Event{ID: "event-lock", Kind: store.EventUserLocked, At: now, UserID: u.ID}); err != nil {
			t.Fatal(err)
		}
	})
	w.eventually("a poll after the lock", func() bool { return h.call(elsewhere).StatusCode == 401 })

	type kind struct {
		name   string
		scheme string
		token  func() string
		proofs func(d routeCase, token string) []string
		code   string // empty: accepted
		alone  string // code for a proof without a token; empty without a proof
	}
	always := func(token string) func() string { return func() string { return token } }
	right := func(d routeCase, token string) []string { return []string{h.proof(d.method, d.path, token)} }
	none := func(routeCase, string) []string { return nil }
	kinds := []kind{
		{"right proof", "DPoP", func() string { return h.signIn().AccessToken }, right, "", "INVALID_PROOF"},
		{"right proof, scheme in lower case", "dpop", func() string { return h.signIn().AccessToken }, right, "", "INVALID_PROOF"},
		{"as Bearer", "Bearer", always(signed.AccessToken), none, "INVALID_TOKEN", ""},
		{"as Bearer, with a proof", "Bearer", always(signed.AccessToken), right, "INVALID_TOKEN", "INVALID_PROOF"},
		{"without a proof", "DPoP", always(signed.AccessToken), none, "INVALID_PROOF", ""},
		{"with two proofs", "DPoP", always(signed.AccessToken), func(d routeCase, token string) []string {
			return append(right(d, token), right(d, token)...)
		}, "INVALID_PROOF", "INVALID_PROOF"},
		{"without a nonce", "DPoP", always(signed.AccessToken), func(d routeCase, token string) []string {
			return []string{h.proof(d.method, d.path, token, func(c object) { delete(c, "nonce") })}
		}, "NONCE_REQUIRED", "NONCE_REQUIRED"},
		{"with a proof for another path", "DPoP", always(signed.AccessToken), func(d routeCase, token string) []string {
			return []string{h.proof(d.method, "/api/elsewhere", token)}
		}, "INVALID_PROOF", "INVALID_PROOF"},
		{"with a proof for another method", "DPoP", always(signed.AccessToken), func(d routeCase, token string) []string {
			return []string{h.proof("PUT", d.path, token)}
		}, "INVALID_PROOF", "INVALID_PROOF"},
		{"with a proof for another token", "DPoP", always(signed.AccessToken), func(d routeCase, _ string) []string {
			return right(d, ofOther.AccessToken)
		}, "INVALID_PROOF", "INVALID_PROOF"},
		{"with a proof without ath", "DPoP", always(signed.AccessToken), func(d routeCase, _ string) []string {
			return right(d, "")
		}, "INVALID_PROOF", "takes it"},
		{"with a proof of another key", "DPoP", always(signed.AccessToken), func(d routeCase, token string) []string {
			return []string{other.proof(d.method, d.path, token)}
		}, "INVALID_TOKEN", "INVALID_PROOF"},
		{"token of another key", "DPoP", always(ofOther.AccessToken), right, "INVALID_TOKEN", "INVALID_PROOF"},
		{"unbound token", "DPoP", always(plain.AccessToken), right, "INVALID_TOKEN", "INVALID_PROOF"},
		{"token of an ended session", "DPoP", always(revoked.AccessToken), right, "TOKEN_REVOKED", "INVALID_PROOF"},
		{"token of a locked user", "DPoP", always(locked), right, "TOKEN_REVOKED", "INVALID_PROOF"},
		{"token of a user locked by another process", "DPoP", always(elsewhere), right, "TOKEN_REVOKED", "INVALID_PROOF"},
		{"refresh token", "DPoP", always(signed.RefreshToken), right, "INVALID_TOKEN", "INVALID_PROOF"},
	}
	for _, pattern := range slices.Sorted(maps.Keys(routeCases)) {
		for _, d := range routeCases[pattern] {
			for _, k := range kinds {
				t.Run(d.method+" "+pattern+" "+k.name, func(t *testing.T) {
					if pattern == "/api/auth/logout" && k.code != "" {
						return // it requires no proof and would end the session
					}
					inner := *w
					inner.t, h.w, other.w = t, &inner, &inner
					token := k.token()
					proofs := k.proofs(d, token)
					got := h.proven(d.method, d.path, k.scheme+" "+token, d.body, proofs...)
					switch {
					case takesProof[pattern] && k.alone != "" && k.alone != "takes it":
						inner.refused(got, 401, k.alone)
						if c := got.Header.Get("WWW-Authenticate"); !strings.HasPrefix(c, "DPoP ") || !strings.Contains(c, "error=") || got.Header.Get("DPoP-Nonce") == "" {
							t.Errorf("challenge %q", got.Header)
						}
					case d.guarded && k.code != "":
						inner.refused(got, 401, k.code)
						challenges := got.Header.Values("WWW-Authenticate")
						if !strings.HasPrefix(challenges[0], `DPoP realm="127.0.0.1", algs="`) || len(challenges) < 4 || got.Header.Get("DPoP-Nonce") == "" {
							t.Errorf("challenges %q, nonce %q", challenges, got.Header.Get("DPoP-Nonce"))
						}
						// The error is in the challenge of the scheme that the credentials used.
						if own := slices.ContainsFunc(challenges, func(c string) bool {
							return strings.Contains(c, "error=") && strings.EqualFold(strings.Fields(c)[0], k.scheme)
						}); !own {
							t.Errorf("challenges %q, none of %s says why", challenges, k.scheme)
						}
					case forPrograms[d.method+" "+pattern] || forAdmins(pattern):
						inner.refused(got, 403, "INSUFFICIENT_SCOPE")
					case got.StatusCode != d.status:
						t.Errorf("got %s %s, want %d", got.Status, got.body, d.status)
					}
					if d.guarded && k.code == "" && len(proofs) > 0 {
						again := h.proven(d.method, d.path, k.scheme+" "+token, d.body, proofs...)
						h.refusedProof(again, "INVALID_PROOF", "invalid_dpop_proof")
					}
				})
			}
		}
	}
	h.w = w
	w.tokens(h.refresh(signed.RefreshToken, h.refreshProof())) // the session is unharmed
}
