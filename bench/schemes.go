package main

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
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
func over(what, limit, aim string, status int, handler http.Handler, next func() *http.Request) row {
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, next())
	if w.Code != status {
		check(fmt.Errorf("%s: got %d %s, want %d", what, w.Code, w.Body, status))
	}
	with, allocations := perCall(func() { handler.ServeHTTP(nothing{make(http.Header)}, next()) })
	r := same()()
	without, before := perCall(func() { bare.ServeHTTP(nothing{make(http.Header)}, r) })
	return row{what, fmt.Sprintf("%s, %d allocations", rounded(with-without), allocations-before),
		cmp.Or(limit, "bare 204 handler "+rounded(without)), "", aim}
}

// same returns a function that always returns the same request.
func same(changes ...func(*http.Request)) func() *http.Request {
	r := httptest.NewRequest("GET", "/things", nil)
	r.TLS = &tls.ConnectionState{ServerName: "example.com"}
	for _, change := range changes {
		change(r)
	}
	return func() *http.Request { return r }
}

// bearer returns a function that always returns the same request with a token.
func bearer(token string) func() *http.Request {
	return same(func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
}

func guarded(schemes ...durward.Scheme) http.Handler {
	return must(durward.New(durward.Config{Schemes: schemes})).Handler(bare)
}

// schemes measures each scheme through the guard, above the bare handler.
func schemes() (rows []row) {
	basic := durward.Basic(durward.Remember(
		func(context.Context, string, string) (*durward.Principal, error) { return ada, nil },
		func(context.Context, string) (string, error) { return "$argon2id$…", nil }))
	ha1 := must(durward.HA1("SHA-256", "ada", "restricted", "secret"))
	digest := durward.Digest(durward.DigestConfig{MaxNonces: 1 << 20,
		HA1: func(context.Context, durward.DigestClaim) ([]byte, *durward.Principal, error) { return ha1, ada, nil }})
	key := durward.APIKey("dk_", func(context.Context, string) (*durward.Principal, error) { return ada, nil })
	cookie := durward.Cookie("__Host-session",
		func(context.Context, string) (*durward.Principal, error) { return ada, nil })
	theirs := abbot.NewDigestAuthenticator("restricted",
		func(user, realm string) string { return md5Hex("ada:restricted:secret") })
	theirs.PlainTextSecrets = false
	peer := http.HandlerFunc(abbot.JustCheck(theirs, bare))
	verifier := newIssued(jwt.Config{}, "ES256")
	token := verifier.token(nil)

	accepted := func(what, aim string, h http.Handler, next func() *http.Request) {
		rows = append(rows, over(what, "", aim, http.StatusNoContent, h, next))
	}
	accepted("Basic, cached", "", guarded(basic),
		same(func(r *http.Request) { r.SetBasicAuth("ada", "correct horse battery staple") }))
	h := guarded(digest)
	accepted("Digest SHA-256", "2 µs", h, digestClient(h, sha256Hex, "SHA-256"))
	accepted("Digest MD5 by abbot/go-http-auth, for comparison", "", peer, digestClient(peer, md5Hex, "MD5"))
	accepted("API key", "", guarded(key),
		same(func(r *http.Request) { r.Header.Set("X-API-Key", "dk_"+strings.Repeat("k", 58)) }))
	accepted("session cookie", "", guarded(cookie), same(func(r *http.Request) {
		r.AddCookie(&http.Cookie{Name: "__Host-session", Value: strings.Repeat("c", 43)})
	}))
	rows = append(rows, boundByCertificate(verifier), boundByDPoP(verifier), introspected())
	rows = append(rows, over("refused: four schemes, no credentials", "", "3 µs", http.StatusUnauthorized,
		guarded(verifier.Scheme(), digest, basic, durward.Session()), same()))
	h = guarded(verifier.Scheme(), verifier.DPoP(jwt.DPoPConfig{Nonces: true}), digest, basic, key, cookie,
		durward.Session())
	rows = append(rows, over("refused: seven schemes, no credentials", "", "", http.StatusUnauthorized, h, same()))
	accepted("accepted: a cached token, seven schemes", "", h, bearer(token))
	return rows
}

// digestClient answers the challenge of h and increments the nonce count with each request.
func digestClient(h http.Handler, hash func(string) string, algorithm string) func() *http.Request {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, same()())
	list, err := durward.ParseChallenges(w.Header().Values("WWW-Authenticate"))
	if err != nil || len(list) == 0 {
		check(fmt.Errorf("no challenge: %w", err))
	}
	nonce, _ := list[0].Param("nonce")
	opaque, _ := list[0].Param("opaque")
	ha1, ha2 := hash("ada:restricted:secret"), hash("GET:/things")
	r := same()()
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
func boundByCertificate(i issued) row {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ada"},
		NotAfter: time.Now().Add(time.Hour)}
	cert := must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))))
	t := i.token(&jwt.Confirmation{X5tS256: jwt.Thumbprint(cert)})
	return over("token bound to a certificate, cached", "", "", http.StatusNoContent, guarded(i.Scheme()),
		same(func(r *http.Request) {
			r.TLS.PeerCertificates = []*x509.Certificate{cert}
			r.Header.Set("Authorization", "Bearer "+t)
		}))
}

// boundByDPoP measures a token with a new proof for each request. The limit is the raw signature of
// the proof.
func boundByDPoP(i issued) row {
	key := must(jwt.GenerateKey("ES256"))
	t := i.token(&jwt.Confirmation{JKT: key.ID()})
	proofs := make([]string, 20_000)
	for n := range proofs {
		proofs[n] = must(key.Prove(durward.ProofRequest{Method: "GET", URL: "https://example.com/things", Token: t}))
	}
	limit, _ := perCall(raw("ES256", []byte(proofs[0])))
	// Each proof is accepted once. A new scheme has no used proofs.
	n, h := 0, http.Handler(nil)
	r := same()()
	next := func() *http.Request {
		if n%len(proofs) == 0 {
			h = guarded(i.DPoP(jwt.DPoPConfig{Window: time.Hour}))
		}
		r.Header["Authorization"], r.Header["Dpop"] = []string{"DPoP " + t}, proofs[n%len(proofs):n%len(proofs)+1]
		n++
		return r
	}
	return over("token bound to a DPoP key, cached, with a new proof", "raw signature "+rounded(limit), "",
		http.StatusNoContent, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r) }), next)
}

// introspected measures an opaque token with a cached introspection.
func introspected() row {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"active":true,"sub":"ada","aud":"`+audience+`","scope":"read"}`)
	}))
	defer srv.Close()
	i := must(jwt.NewIntrospector(jwt.IntrospectorConfig{URL: srv.URL, Audience: []string{audience}, ClientID: "c",
		CacheFor: time.Hour}))
	return over("opaque token, cached introspection", "", "", http.StatusNoContent, guarded(i.Scheme()),
		bearer("opaque"))
}
