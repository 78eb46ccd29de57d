package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
)

// Names and secrets of the lab. They are public.
const (
	labUser     = "lab"
	labPassword = "durward-lab"
	labClient   = "lab-client"
	clientKey   = "durward-lab-client"
	cookieName  = "lab_session"
	goodCookie  = "lab-session-good"
)

// tokenLife is the lifetime of tokens.
const tokenLife = time.Hour

// signingKey is a fixed key of the lab. Its secret follows from its name.
type signingKey struct {
	id      string
	private *ecdsa.PrivateKey
	jwk     map[string]string // the public key (RFC 7518 s6.2.1)
}

// newSigningKey returns the P-256 key with an id, whose secret is the SHA-256 of seed.
func newSigningKey(id, seed string) *signingKey {
	secret := sha256.Sum256([]byte("durward lab: " + seed))
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), secret[:])
	if err != nil { // not possible: the seeds are fixed, and a test creates all keys
		panic(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return &signingKey{id, private, map[string]string{
		"kty": "EC", "crv": "P-256", "x": text64(point[1:33]), "y": text64(point[33:]), "kid": id, "alg": "ES256", "use": "sig",
	}}
}

// The keys: of the issuer, of another issuer, one under the issuer's key id, and of the client.
var (
	issuerKey  = newSigningKey("lab", "issuer")
	foreignKey = newSigningKey("foreign", "foreign issuer")
	forgedKey  = newSigningKey("lab", "forger")
	proofKey   = newSigningKey("proof", "DPoP")
)

// sharedSecret is the HMAC key of tokens with the wrong algorithm.
var sharedSecret = []byte("durward-lab durward-lab durward-lab")

// nonceSecret is the key of all nonces, so that they need no memory.
func nonceSecret(use string) []byte {
	sum := sha256.Sum256([]byte("durward lab nonce: " + use))
	return sum[:]
}

func text64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// encode returns v as JSON in base64url, as in a JWS (RFC 7515 s3.1).
func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil { // not possible with maps of strings, numbers and lists
		panic(err)
	}
	return text64(text)
}

// sign returns a compact JWS (RFC 7515 s7.1). Package jwt refuses to create most tokens of the lab.
func (k *signingKey) sign(header, claims map[string]any) string {
	input := encode(header) + "." + encode(claims)
	sum := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, sum[:])
	if err != nil { // crypto/rand does not fail
		panic(err)
	}
	signature := make([]byte, 64) // RFC 7518 s3.4
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return input + "." + text64(signature)
}

// secretJWK returns the key with its private part (RFC 7518 s6.2.2).
func (k *signingKey) secretJWK() map[string]string {
	secret, err := k.private.Bytes()
	if err != nil {
		panic(err)
	}
	jwk := maps.Clone(k.jwk)
	jwk["d"] = text64(secret)
	return jwk
}

// prove returns a DPoP proof for a request to url with a token, and a nonce if it is not empty.
func (k *signingKey) prove(method, url, token, nonce string) string {
	text, err := json.Marshal(k.secretJWK())
	if err != nil {
		panic(err)
	}
	key, err := jwt.ParsePrivateKey(text)
	if err != nil {
		panic(err)
	}
	proof, err := key.Prove(durward.ProofRequest{Method: method, URL: url, Token: token, Nonce: nonce})
	if err != nil {
		panic(err)
	}
	return proof
}

// thumbprint returns the RFC 7638 thumbprint of the key.
func (k *signingKey) thumbprint() string {
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, k.jwk["x"], k.jwk["y"]))
	return text64(sum[:])
}

// kind makes tokens with one property. All other properties are those of a good token.
type kind struct {
	about  string
	change func(s *site, header, claims map[string]any)
	key    *signingKey // nil: issuerKey
}

// kinds lists the values of the parameter kind of /lab/token.
var kinds = map[string]kind{
	"good": {about: "valid, with the scope read"},
	"write": {about: "valid, with the scopes read and write", change: func(_ *site, _, c map[string]any) {
		c["scope"] = "read write"
	}},
	"strong": {about: "valid, from a sign-in with two factors", change: func(_ *site, _, c map[string]any) {
		c["acr"], c["amr"], c["auth_time"] = "urn:durward:acr:2fa", []string{"pwd", "otp"}, c["iat"]
	}},
	"expired": {about: "expired an hour ago", change: func(s *site, _, c map[string]any) {
		c["iat"], c["exp"] = s.unix(-2*time.Hour), s.unix(-time.Hour)
	}},
	"not-yet-valid": {about: "valid in an hour", change: func(s *site, _, c map[string]any) {
		c["nbf"], c["exp"] = s.unix(time.Hour), s.unix(2*time.Hour)
	}},
	"clock-wrong": {about: "issued ten minutes ahead of the lab's clock", change: func(s *site, _, c map[string]any) {
		c["iat"], c["exp"] = s.unix(10*time.Minute), s.unix(tokenLife+10*time.Minute)
	}},
	"wrong-audience": {about: "for another API", change: func(_ *site, _, c map[string]any) {
		c["aud"] = "https://other-api.example"
	}},
	"wrong-issuer": {about: "of an issuer with a slash more in its name", change: func(s *site, _, c map[string]any) {
		c["iss"] = s.origin + "/"
	}},
	"no-scope": {about: "without any scope", change: func(_ *site, _, c map[string]any) { delete(c, "scope") }},
	"no-subject": {about: "without the claim sub", change: func(_ *site, _, c map[string]any) {
		delete(c, "sub")
	}},
	"unsigned":        {about: "with alg none and no signature"},
	"wrong-algorithm": {about: "signed with HS256"},
	"foreign-key": {about: "signed with a key that the issuer does not publish", key: foreignKey, change: func(_ *site, h, _ map[string]any) {
		h["kid"] = foreignKey.id
	}},
	"bad-signature": {about: "with the issuer's key id and a signature by another key", key: forgedKey},
	"revoked": {about: "valid but for its revocation", change: func(_ *site, _, c map[string]any) {
		c["jti"] = "revoked-" + c["jti"].(string)
	}},
	"id": {about: "an ID token, for a client instead of an API", change: func(_ *site, h, c map[string]any) {
		h["typ"] = "JWT"
		delete(c, "scope")
		delete(c, "client_id")
		c["aud"], c["azp"], c["nonce"], c["at_hash"] = labClient, labClient, "lab-nonce", text64(make([]byte, 16))
	}},
	"opaque": {about: "no JWT"},
	"dpop-bound": {about: "bound to the DPoP key of /lab/key, or to the parameter jkt", change: func(_ *site, _, c map[string]any) {
		c["cnf"] = map[string]string{"jkt": proofKey.thumbprint()}
	}},
	"certificate-bound": {about: "bound to a client certificate", change: func(_ *site, _, c map[string]any) {
		sum := sha256.Sum256([]byte("durward lab certificate"))
		c["cnf"] = map[string]string{"x5t#S256": text64(sum[:])}
	}},
}

// kindNames returns the names of all kinds, sorted.
func kindNames() []string { return slices.Sorted(maps.Keys(kinds)) }

// unix returns the time at a distance from now, in seconds since 1970.
func (s *site) unix(from time.Duration) int64 { return s.now().Add(from).Unix() }

// token returns a token of a kind for the endpoint at path.
func (s *site) token(name, path string) string { return s.tokenFor(name, path, "") }

// tokenFor is like token. If jkt is not empty, the token is bound to the key with this thumbprint.
func (s *site) tokenFor(name, path, jkt string) string {
	k := kinds[name]
	header := map[string]any{"typ": "at+jwt", "alg": "ES256", "kid": issuerKey.id}
	claims := map[string]any{
		"iss": s.origin, "sub": "ada", "aud": s.origin + path, "client_id": labClient, "jti": strings.ToLower(rand.Text()),
		"iat": s.unix(0), "exp": s.unix(tokenLife), "scope": "read", "acr": "urn:durward:acr:1fa", "auth_time": s.unix(-10 * time.Minute),
	}
	if k.change != nil {
		k.change(s, header, claims)
	}
	if jkt != "" {
		claims["cnf"] = map[string]string{"jkt": jkt}
	}
	switch name {
	case "opaque":
		return "lab_" + strings.ToLower(rand.Text())
	case "unsigned":
		delete(header, "kid")
		header["alg"] = "none"
		return encode(header) + "." + encode(claims) + "."
	case "wrong-algorithm":
		header["alg"] = "HS256"
		input := encode(header) + "." + encode(claims)
		mac := hmac.New(sha256.New, sharedSecret)
		mac.Write([]byte(input))
		return input + "." + text64(mac.Sum(nil))
	}
	key := k.key
	if key == nil {
		key = issuerKey
	}
	return key.sign(header, claims)
}

// issuerKeys is the key set of the issuer, parsed.
var issuerKeys = sync.OnceValue(func() *jwt.Keys {
	keys, err := jwt.ParseKeySet(keySet())
	if err != nil {
		panic(err)
	}
	set, err := jwt.NewKeys(keys...)
	if err != nil {
		panic(err)
	}
	return set
})

// verifier verifies the tokens for the endpoint at path.
func (s *site) verifier(path string) *jwt.Verifier {
	v, err := jwt.New(jwt.Config{
		Issuer: s.origin, Audience: []string{s.origin + path, s.origin}, Keys: issuerKeys(), Now: s.now,
		CacheSize: -1, // tokens are new in each index, and memory is for clients of the internet
		Revoked: func(p *durward.Principal, _ string) error {
			if strings.HasPrefix(p.TokenID, "revoked-") {
				return fmt.Errorf("the list of revocations has its jti: %w", durward.TokenRevoked)
			}
			return nil
		},
	})
	if err != nil {
		panic(err)
	}
	return v
}

// keySet returns the key set of the issuer (RFC 7517 s5).
func keySet() []byte {
	text, err := json.Marshal(map[string]any{"keys": []any{issuerKey.jwk}})
	if err != nil {
		panic(err)
	}
	return text
}

// handleTokens adds the endpoints that give tokens, keys and metadata.
func (s *site) handleTokens() {
	s.mux.Handle("/lab/token", s.open.Open(http.HandlerFunc(s.giveToken)))
	s.mux.Handle("/lab/jwks.json", s.document(func() any { return json.RawMessage(keySet()) }))
	s.mux.Handle("/lab/key", s.document(func() any { return proofKey.secretJWK() }))
	server := s.document(func() any {
		return map[string]any{
			"issuer": s.origin, "jwks_uri": s.origin + "/lab/jwks.json", "token_endpoint": s.origin + tokenPath,
			"response_types_supported": []string{"code"}, "grant_types_supported": []string{"client_credentials", "refresh_token"},
			"token_endpoint_auth_methods_supported": []string{"client_secret_basic"},
			"subject_types_supported":               []string{"public"}, "id_token_signing_alg_values_supported": []string{"ES256"},
			"dpop_signing_alg_values_supported": []string{"ES256"},
		}
	})
	s.mux.Handle("/.well-known/oauth-authorization-server", server) // RFC 8414 s3
	s.mux.Handle("/.well-known/openid-configuration", server)
	s.mux.Handle(wellKnown+"/", s.open.Open(http.HandlerFunc(s.giveMetadata)))
}

// tokenPath is the path of the token endpoint.
const tokenPath = "/lab/flow/refresh/token"

// wellKnown is the path of resource metadata; that of the resource follows (RFC 9728 s3.1).
const wellKnown = "/.well-known/oauth-protected-resource"

// metadataURL returns the URL of the metadata of the endpoint at path.
func (s *site) metadataURL(path string) string { return s.origin + wellKnown + path }

// giveMetadata serves the metadata of all endpoints but one.
func (s *site) giveMetadata(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, wellKnown)
	known := slices.ContainsFunc(s.endpoints, func(e endpoint) bool { return path == e.Path || strings.HasPrefix(path, e.Path+"/") })
	if !known || path == "/lab/metadata-missing" {
		s.open.Refuse(w, r, durward.NotFound)
		return
	}
	resource := s.origin + path
	if path == "/lab/fault/metadata" {
		resource = s.origin + "/lab/other"
	}
	durward.ResourceMetadata{Resource: resource, AuthorizationServers: []string{s.origin}, ScopesSupported: []string{"read", "write"}}.ServeHTTP(w, r)
}

// giveToken serves a token as text.
func (s *site) giveToken(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	name, path, jkt := q.Get("kind"), q.Get("for"), q.Get("jkt")
	if name == "" {
		name = "good"
	}
	mistake := ""
	switch _, known := kinds[name]; {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		s.open.Refuse(w, r, &durward.Refusal{Code: durward.MethodNotAllowed, Allow: []string{http.MethodGet, http.MethodHead}})
		return
	case !known:
		mistake = "The parameter kind is one of " + strings.Join(kindNames(), ", ") + "."
	case path != "" && !strings.HasPrefix(path, "/lab/") || len(path) > 200:
		mistake = "The parameter for is the path of an endpoint, such as /lab/expired."
	case jkt != "" && len(jkt) != len(proofKey.thumbprint()):
		mistake = "The parameter jkt is the RFC 7638 thumbprint of a key, 43 characters of base64url."
	}
	if mistake != "" {
		s.open.Refuse(w, r, &durward.Refusal{Code: durward.InvalidRequest, Detail: mistake})
		return
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = fmt.Fprintln(w, s.tokenFor(name, path, jkt)) // an error means that the client disconnected
}

// userOf returns the user name in credentials of Basic.
func userOf(scheme, rest string) (user string, ok bool) {
	if !strings.EqualFold(scheme, "Basic") {
		return "", false
	}
	text, err := base64.StdEncoding.DecodeString(rest)
	if err != nil {
		return "", false
	}
	user, _, ok = strings.Cut(string(text), ":")
	return user, ok
}

// basic returns the value of Authorization for Basic (RFC 7617 s2).
func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// digestAnswer returns the value of Authorization for Digest with SHA-256 and qop=auth (RFC 7616 s3.4).
func digestAnswer(method, uri, nonce string) string {
	h := func(parts ...string) string {
		sum := sha256.Sum256([]byte(strings.Join(parts, ":")))
		return hex.EncodeToString(sum[:])
	}
	const nc, cnonce = "00000001", "bGFiLWNub25jZQ"
	response := h(h(labUser, "lab", labPassword), nonce, nc, cnonce, "auth", h(method, uri))
	return fmt.Sprintf(`Digest username="%s", realm="lab", nonce="%s", uri="%s", algorithm=SHA-256, qop=auth, nc=%s, cnonce="%s", response="%s"`,
		labUser, nonce, uri, nc, cnonce, response)
}
