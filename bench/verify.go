package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
)

const (
	issuer   = "https://auth.example.com"
	audience = "https://api.example.com"
)

// token returns a signed access token with the claims of the server, and its key.
func token(alg string) (string, *jwt.Keys, error) {
	key, err := jwt.GenerateKey(alg)
	if alg == "HS256" {
		secret := make([]byte, 32)
		_, _ = rand.Read(secret) // crypto/rand.Read never returns an error
		key, err = jwt.SharedSecret("shared", secret)
	}
	if err != nil {
		return "", nil, err
	}
	now := time.Now().Truncate(time.Second)
	t, err := key.Sign(jwt.Claims{
		Issuer: issuer, Subject: "01a20e01-42e8-7066-a873-0e3f2e19d617", Audience: []string{audience},
		Expires: now.Add(15 * time.Minute), IssuedAt: now,
		ID: "01a20e01-438b-7986-b547-e7d541cad3e6", ClientID: "durward", Scopes: []string{"profile"},
		SessionID: "01a20e01-4377-72d8-bd01-ed894ce9a5a7",
		AuthTime:  now, ACR: "urn:durward:acr:1fa", AMR: []string{"pwd"},
	})
	if err != nil {
		return "", nil, err
	}
	keys, err := jwt.NewKeys(key.Public())
	return t, keys, err
}

// nothing is a ResponseWriter that discards the response.
type nothing struct{ h http.Header }

func (n nothing) Header() http.Header         { return n.h }
func (n nothing) Write(b []byte) (int, error) { return len(b), nil }
func (n nothing) WriteHeader(int)             {}

// perCall returns the median time of one call of f over five benchmarks, and its allocations.
func perCall(f func()) (time.Duration, int64) {
	var times []time.Duration
	var allocations int64
	for range 5 {
		r := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
		})
		times = append(times, time.Duration(float64(r.T)/float64(r.N)))
		allocations = r.AllocsPerOp()
	}
	return median(times), allocations
}

// cached measures a request with a cached token.
func cached() ([]row, error) {
	t, keys, err := token("ES256")
	if err != nil {
		return nil, err
	}
	v, err := jwt.New(jwt.Config{Issuer: issuer, Audience: []string{audience}, Keys: keys})
	if err != nil {
		return nil, err
	}
	g, err := durward.New(durward.Config{Schemes: []durward.Scheme{v.Scheme()}, PublicURL: audience,
		InsecureAllowHTTP: true})
	if err != nil {
		return nil, err
	}
	return over("cached verification through the guard, above the bare handler", "", "under 1.5 µs",
		http.StatusNoContent, g.Handler(bare),
		same(func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+t) }))
}

// uncached measures the verification of a new token. The limit is the raw signature.
func uncached() (rows []row, err error) {
	for _, alg := range []string{"ES256", "EdDSA", "RS256", "PS256", "HS256"} {
		t, keys, err := token(alg)
		if err != nil {
			return nil, err
		}
		v, err := jwt.New(jwt.Config{Issuer: issuer, Audience: []string{audience}, Keys: keys,
			Algorithms: []string{alg}, CacheSize: -1})
		if err != nil {
			return nil, err
		}
		var failed error
		whole, allocations := perCall(func() {
			if _, err := v.Verify(context.Background(), t); err != nil {
				failed = err
			}
		})
		if failed != nil {
			return nil, failed
		}
		check, err := raw(alg, []byte(t))
		if err != nil {
			return nil, err
		}
		limit, _ := perCall(check)
		rows = append(rows, row{"uncached verification, " + alg,
			fmt.Sprintf("%s, %d allocations", rounded(whole), allocations),
			"raw signature " + rounded(limit), fmt.Sprintf("+%s", rounded(whole-limit)), "raw + 12 µs"})
	}
	return rows, nil
}

func sha256Hex(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

func md5Hex(text string) string { return fmt.Sprintf("%x", md5.Sum([]byte(text))) }

// raw returns a function that verifies a signature of input with the algorithm alone.
func raw(alg string, input []byte) (func(), error) {
	sum := sha256.Sum256(input)
	switch alg {
	case "ES256":
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, err
		}
		signature, err := ecdsa.SignASN1(rand.Reader, k, sum[:])
		return func() {
			sum := sha256.Sum256(input)
			ecdsa.VerifyASN1(&k.PublicKey, sum[:], signature)
		}, err
	case "EdDSA":
		public, k, err := ed25519.GenerateKey(rand.Reader)
		signature := ed25519.Sign(k, input)
		return func() { ed25519.Verify(public, input, signature) }, err
	case "HS256":
		key := make([]byte, 32)
		return func() {
			m := hmac.New(sha256.New, key)
			m.Write(input)
			m.Sum(nil)
		}, nil
	}
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	if alg == "RS256" {
		signature, err := rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum[:])
		return func() {
			sum := sha256.Sum256(input)
			_ = rsa.VerifyPKCS1v15(&k.PublicKey, crypto.SHA256, sum[:], signature) // only the work counts
		}, err
	}
	signature, err := rsa.SignPSS(rand.Reader, k, crypto.SHA256, sum[:], nil)
	return func() {
		sum := sha256.Sum256(input)
		_ = rsa.VerifyPSS(&k.PublicKey, crypto.SHA256, sum[:], signature, nil) // only the work counts
	}, err
}
