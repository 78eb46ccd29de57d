package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	abbot "github.com/abbot/go-http-auth"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
)

var ada = &durward.Principal{Subject: "ada", Scopes: []string{"profile"}}

var bare = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) })

// over measures the cost of handler above that of the bare handler. Each call gets its request from
// next, at negligible cost.
func over(what, limit, aim string, status int, handler http.Handler, next func() *http.Request) ([]row, error) {
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, next())
	if w.Code != status {
		return nil, fmt.Errorf("%s: got %d %s, want %d", what, w.Code, w.Body, status)
	}
	with, allocations := perCall(func() { handler.ServeHTTP(nothing{make(http.Header)}, next()) })
	r := same(nil)()
	without, before := perCall(func() { bare.ServeHTTP(nothing{make(http.Header)}, r) })
	if limit == "" {
		limit = "bare 204 handler " + rounded(without)
	}
	return []row{{what, fmt.Sprintf("%s, %d allocations", rounded(with-without), allocations-before), limit, "",
		aim}}, nil
}

// same returns a function that always returns the same request.
func same(change func(*http.Request)) func() *http.Request {
	r := httptest.NewRequest("GET", "/things", nil)
	r.TLS = &tls.ConnectionState{ServerName: "example.com"}
	if change != nil {
		change(r)
	}
	return func() *http.Request { return r }
}

func guarded(schemes ...durward.Scheme) (http.Handler, error) {
	g, err := durward.New(durward.Config{Schemes: schemes})
	if err != nil {
		return nil, err
	}
	return g.Handler(bare), nil
}

// schemes measures each scheme through the guard, above the bare handler.
func schemes() (rows []row, err error) {
	add := func(more []row, err error) error {
		rows = append(rows, more...)
		return err
	}
	basic := durward.Basic(durward.Remember(
		func(context.Context, string, string) (*durward.Principal, error) { return ada, nil },
		func(context.Context, string) (string, error) { return "$argon2id$…", nil }))
	ha1, err := durward.HA1("SHA-256", "ada", "restricted", "secret")
	if err != nil {
		return nil, err
	}
	digest := durward.Digest(durward.DigestConfig{MaxNonces: 1 << 20,
		HA1: func(context.Context, durward.DigestClaim) ([]byte, *durward.Principal, error) { return ha1, ada, nil }})
	key := durward.APIKey("dk_", func(context.Context, string) (*durward.Principal, error) { return ada, nil })
	cookie := durward.Cookie("__Host-session",
		func(context.Context, string) (*durward.Principal, error) { return ada, nil })
	t, keys, err := token("ES256")
	if err != nil {
		return nil, err
	}
	verifier, err := jwt.New(jwt.Config{Issuer: issuer, Audience: []string{audience}, Keys: keys})
	if err != nil {
		return nil, err
	}

	h, err := guarded(basic)
	if err != nil {
		return nil, err
	}
	if err := add(over("Basic, cached", "", "", 204, h,
		same(func(r *http.Request) { r.SetBasicAuth("ada", "correct horse battery staple") }))); err != nil {
		return nil, err
	}
	if h, err = guarded(digest); err != nil {
		return nil, err
	}
	if err := add(over("Digest SHA-256", "", "2 µs", 204, h, digestClient(h, sha256Hex, "SHA-256"))); err != nil {
		return nil, err
	}
	theirs := abbot.NewDigestAuthenticator("restricted",
		func(user, realm string) string { return md5Hex("ada:restricted:secret") })
	theirs.PlainTextSecrets = false
	peer := abbot.JustCheck(theirs, bare)
	if err := add(over("Digest MD5 by abbot/go-http-auth, for comparison", "", "", 204, http.HandlerFunc(peer),
		digestClient(http.HandlerFunc(peer), md5Hex, "MD5"))); err != nil {
		return nil, err
	}
	if h, err = guarded(key); err != nil {
		return nil, err
	}
	if err := add(over("API key", "", "", 204, h,
		same(func(r *http.Request) { r.Header.Set("X-API-Key", "dk_"+strings.Repeat("k", 58)) }))); err != nil {
		return nil, err
	}
	if h, err = guarded(cookie); err != nil {
		return nil, err
	}
	if err := add(over("session cookie", "", "", 204, h, same(func(r *http.Request) {
		r.AddCookie(&http.Cookie{Name: "__Host-session", Value: strings.Repeat("c", 43)})
	}))); err != nil {
		return nil, err
	}
	if err := add(boundByCertificate()); err != nil {
		return nil, err
	}
	if err := add(boundByDPoP()); err != nil {
		return nil, err
	}
	if err := add(introspected()); err != nil {
		return nil, err
	}
	if h, err = guarded(verifier.Scheme(), digest, basic, durward.Session()); err != nil {
		return nil, err
	}
	if err := add(over("refused: four schemes, no credentials", "", "3 µs", 401, h, same(nil))); err != nil {
		return nil, err
	}
	if h, err = guarded(verifier.Scheme(), verifier.DPoP(jwt.DPoPConfig{Nonces: true}), digest, basic, key, cookie,
		durward.Session()); err != nil {
		return nil, err
	}
	if err := add(over("refused: seven schemes, no credentials", "", "", 401, h, same(nil))); err != nil {
		return nil, err
	}
	return rows, add(over("accepted: a cached token, seven schemes", "", "", 204, h,
		same(func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+t) })))
}

// digestClient answers the challenge of h and increments the nonce count with each request.
func digestClient(h http.Handler, hash func(string) string, algorithm string) func() *http.Request {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, same(nil)())
	list, err := durward.ParseChallenges(w.Header().Values("WWW-Authenticate"))
	if err != nil || len(list) == 0 {
		panic(fmt.Sprint("no challenge: ", err))
	}
	nonce, _ := list[0].Param("nonce")
	opaque, _ := list[0].Param("opaque")
	ha1, ha2 := hash("ada:restricted:secret"), hash("GET:/things")
	r := same(nil)()
	// The responses are computed beforehand, so that only the server is measured.
	ready := make([]string, 0, 1<<19)
	for n := range cap(ready) {
		nc := fmt.Sprintf("%08x", n+1)
		ready = append(ready, fmt.Sprintf(`Digest username="ada", realm="restricted", nonce="%s", uri="/things", algorithm=%s, qop=auth, nc=%s, cnonce="c", opaque="%s", response="%s"`,
			nonce, algorithm, nc, opaque, hash(strings.Join([]string{ha1, nonce, nc, "c", "auth", ha2}, ":"))))
	}
	n := 0
	return func() *http.Request {
		r.Header["Authorization"] = ready[n%len(ready) : n%len(ready)+1 : n%len(ready)+1]
		n++
		return r
	}
}

// boundByCertificate measures a token that is bound to the client's certificate.
func boundByCertificate() ([]row, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ada"},
		NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	signer, v, err := bindable()
	if err != nil {
		return nil, err
	}
	t, err := signer.Sign(claims(&jwt.Confirmation{X5tS256: jwt.Thumbprint(cert)}))
	if err != nil {
		return nil, err
	}
	h, err := guarded(v.Scheme())
	if err != nil {
		return nil, err
	}
	return over("token bound to a certificate, cached", "", "", 204, h, same(func(r *http.Request) {
		r.TLS.PeerCertificates = []*x509.Certificate{cert}
		r.Header.Set("Authorization", "Bearer "+t)
	}))
}

// boundByDPoP measures a token with a new proof for each request. The limit is the raw signature of
// the proof.
func boundByDPoP() ([]row, error) {
	signer, v, err := bindable()
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		return nil, err
	}
	enc := base64.RawURLEncoding.EncodeToString
	jwk := fmt.Sprintf(`{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, enc(point[1:33]), enc(point[33:]))
	thumbprint := sha256.Sum256([]byte(jwk)) // RFC 7638: these members, in this order
	t, err := signer.Sign(claims(&jwt.Confirmation{JKT: enc(thumbprint[:])}))
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256([]byte(t))
	proofs := make([]string, 20_000)
	for i := range proofs {
		payload, err := json.Marshal(map[string]any{"jti": fmt.Sprint(i), "htm": "GET",
			"htu": "https://example.com/things", "iat": time.Now().Unix(), "ath": enc(hash[:])})
		if err != nil {
			return nil, err
		}
		input := enc([]byte(`{"typ":"dpop+jwt","alg":"ES256","jwk":`+jwk+`}`)) + "." + enc(payload)
		sum := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			return nil, err
		}
		var signature [64]byte
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
		proofs[i] = input + "." + enc(signature[:])
	}
	check, err := raw("ES256", []byte(proofs[0]))
	if err != nil {
		return nil, err
	}
	limit, _ := perCall(check)
	// Each proof is accepted once. A new scheme has no used proofs.
	n, h := 0, http.Handler(nil)
	r := same(nil)()
	next := func() *http.Request {
		if n%len(proofs) == 0 {
			if h, err = guarded(v.DPoP(jwt.DPoPConfig{Window: time.Hour})); err != nil {
				panic(err)
			}
		}
		r.Header["Authorization"], r.Header["Dpop"] = []string{"DPoP " + t}, proofs[n%len(proofs):n%len(proofs)+1]
		n++
		return r
	}
	return over("token bound to a DPoP key, cached, with a new proof", "raw signature "+rounded(limit), "", 204,
		http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r) }), next)
}

// bindable returns an issuer's key and a verifier of its tokens.
func bindable() (*jwt.PrivateKey, *jwt.Verifier, error) {
	key, err := jwt.GenerateKey("ES256")
	if err != nil {
		return nil, nil, err
	}
	keys, err := jwt.NewKeys(key.Public())
	if err != nil {
		return nil, nil, err
	}
	v, err := jwt.New(jwt.Config{Issuer: issuer, Audience: []string{audience}, Keys: keys})
	return key, v, err
}

func claims(bound *jwt.Confirmation) jwt.Claims {
	now := time.Now().Truncate(time.Second)
	return jwt.Claims{Issuer: issuer, Subject: "ada", Audience: []string{audience},
		Expires: now.Add(15 * time.Minute), IssuedAt: now, ID: "t", ClientID: "c", Confirmation: bound}
}

// introspected measures an opaque token with a cached introspection.
func introspected() ([]row, error) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"active":true,"sub":"ada","aud":"`+audience+`","scope":"read"}`)
	}))
	defer srv.Close()
	i, err := jwt.NewIntrospector(jwt.IntrospectorConfig{URL: srv.URL, Audience: []string{audience}, ClientID: "c",
		CacheFor: time.Hour})
	if err != nil {
		return nil, err
	}
	h, err := guarded(i.Scheme())
	if err != nil {
		return nil, err
	}
	return over("opaque token, cached introspection", "", "", 204, h,
		same(func(r *http.Request) { r.Header.Set("Authorization", "Bearer opaque") }))
}
