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
	"runtime"
	"testing"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/revoked"
	"github.com/durward-auth/durward/jwt"
)

const (
	issuer   = "https://auth.example.com"
	audience = "https://api.example.com"
)

// issued is a key of an issuer, with a verifier of its tokens.
type issued struct {
	key *jwt.PrivateKey
	*jwt.Verifier
}

func newIssued(c jwt.Config, alg string) (i issued) {
	i.key = must(jwt.GenerateKey(alg))
	c.Issuer, c.Audience, c.Keys = issuer, []string{audience}, must(jwt.NewKeys(i.key.Public()))
	i.Verifier = must(jwt.New(c))
	return i
}

// token returns a signed access token with the claims of the server. bound may be nil.
func (i issued) token(bound *jwt.Confirmation) string {
	now := time.Now().Truncate(time.Second)
	return must(i.key.Sign(jwt.Claims{
		Issuer: issuer, Subject: "01a20e01-42e8-7066-a873-0e3f2e19d617", Audience: []string{audience},
		Expires: now.Add(15 * time.Minute), IssuedAt: now,
		ID: "01a20e01-438b-7986-b547-e7d541cad3e6", ClientID: "durward", Scopes: []string{"profile"},
		SessionID: "01a20e01-4377-72d8-bd01-ed894ce9a5a7",
		AuthTime:  now, ACR: "urn:durward:acr:1fa", AMR: []string{"pwd"}, Confirmation: bound,
	}))
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
		var err error
		r := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			err = try(func() {
				for b.Loop() {
					f()
				}
			})
		})
		check(err)
		times = append(times, time.Duration(float64(r.T)/float64(r.N)))
		allocations = r.AllocsPerOp()
	}
	return median(times), allocations
}

// cached measures a request with a cached token.
func cached() []row {
	i := newIssued(jwt.Config{}, "ES256")
	g := must(durward.New(durward.Config{Schemes: []durward.Scheme{i.Scheme()}, PublicURL: audience,
		InsecureAllowHTTP: true}))
	return []row{over("cached verification through the guard, above the bare handler", "", "under 1.5 µs",
		http.StatusNoContent, g.Handler(bare), bearer(i.token(nil)))}
}

// uncached measures the verification of a new token. The limit is the raw signature.
func uncached() (rows []row) {
	for _, alg := range []string{"ES256", "EdDSA", "RS256", "PS256", "HS256"} {
		i := newIssued(jwt.Config{Algorithms: []string{alg}, CacheSize: -1}, alg)
		t := i.token(nil)
		whole, allocations := perCall(func() { must(i.Verify(context.Background(), t)) })
		limit, _ := perCall(raw(alg, []byte(t)))
		rows = append(rows, row{"uncached verification, " + alg,
			fmt.Sprintf("%s, %d allocations", rounded(whole), allocations),
			"raw signature " + rounded(limit), fmt.Sprintf("+%s", rounded(whole-limit)), "raw + 12 µs"})
	}
	return rows
}

func sha256Hex(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }

func md5Hex(text string) string { return fmt.Sprintf("%x", md5.Sum([]byte(text))) }

// raw returns a function that verifies a signature of input with the algorithm alone.
func raw(alg string, input []byte) func() {
	sum := sha256.Sum256(input)
	switch alg {
	case "ES256":
		k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		signature := must(ecdsa.SignASN1(rand.Reader, k, sum[:]))
		return func() {
			sum := sha256.Sum256(input)
			ecdsa.VerifyASN1(&k.PublicKey, sum[:], signature)
		}
	case "EdDSA":
		public, k, err := ed25519.GenerateKey(rand.Reader)
		check(err)
		signature := ed25519.Sign(k, input)
		return func() { ed25519.Verify(public, input, signature) }
	case "HS256":
		key := make([]byte, 32)
		return func() {
			m := hmac.New(sha256.New, key)
			m.Write(input)
			m.Sum(nil)
		}
	}
	k := must(rsa.GenerateKey(rand.Reader, 2048))
	if alg == "RS256" {
		signature := must(rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum[:]))
		return func() {
			sum := sha256.Sum256(input)
			check(rsa.VerifyPKCS1v15(&k.PublicKey, crypto.SHA256, sum[:], signature))
		}
	}
	signature := must(rsa.SignPSS(rand.Reader, k, crypto.SHA256, sum[:], nil))
	return func() {
		sum := sha256.Sum256(input)
		check(rsa.VerifyPSS(&k.PublicKey, crypto.SHA256, sum[:], signature, nil))
	}
}

// revocations measures the list of revocations with a million entries.
func revocations() []row {
	const many = 1_000_000
	name := func(i int) string { return fmt.Sprintf("0190a2c4-7d3e-7000-8000-%012x", i) }
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	held := make(map[string]struct{})
	live, dead := make([]string, 1<<16), make([]string, 1<<16)
	for i := range live {
		live[i], dead[i] = name(many+i*31%many), name(i*31%many)
	}
	before := heap()
	l := revoked.NewList(nil)
	until := time.Now().Add(time.Hour)
	for i := range many {
		l.Add(revoked.Entry{Kind: revoked.Session, Value: name(i), Until: until})
	}
	bytesEach := float64(heap()-before) / many
	for i := range many {
		held[name(i)] = struct{}{}
	}
	var rows []row
	for _, c := range []struct {
		what  string
		names []string
		want  bool
	}{{"a live token", live, false}, {"a revoked token", dead, true}} {
		i, wrong := 0, 0
		ours, allocations := perCall(func() {
			if l.Revoked(revoked.Session, c.names[i&(1<<16-1)]) != c.want {
				wrong++
			}
			i++
		})
		plain, _ := perCall(func() {
			if _, ok := held[c.names[i&(1<<16-1)]]; ok != c.want {
				wrong++
			}
			i++
		})
		if wrong > 0 {
			check(fmt.Errorf("look-up of %s: %d wrong results", c.what, wrong))
		}
		rows = append(rows, row{"look-up of " + c.what + " among a million revocations",
			fmt.Sprintf("%s, %d allocations", rounded(ours), allocations),
			"Go map of the names " + rounded(plain), fmt.Sprintf("%.2f", float64(ours)/float64(plain)), "100 ns"})
	}
	return append(rows,
		row{"memory of a million revocations", fmt.Sprintf("%.0f bytes each", bytesEach), "", "", "100 bytes"})
}
