package durward_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/durward-auth/durward"
)

// nowhere is a ResponseWriter that keeps its fields and drops the rest.
type nowhere struct{ h http.Header }

func (n nowhere) Header() http.Header            { return n.h }
func (nowhere) Write(b []byte) (int, error)      { return len(b), nil }
func (nowhere) WriteHeader(int)                  {}
func (n nowhere) reset() (w http.ResponseWriter) { clear(n.h); return n }

var empty = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

// guarded are the measured handlers. Verifiers and checks cost nothing, so that only the guard is
// measured. allocs is the maximum number of allocations of one request.
var guarded = func() []struct {
	name    string
	handler http.Handler
	request func() *http.Request
	allocs  float64
} {
	ada := &durward.Principal{Scheme: "Bearer", Subject: "ada", Scopes: []string{"profile", "read"}}
	guard := func(schemes ...durward.Scheme) *durward.Guard {
		g, err := durward.New(durward.Config{Schemes: schemes})
		if err != nil {
			panic(err)
		}
		return g
	}
	g := guard(durward.Bearer(func(context.Context, string) (*durward.Principal, error) { return ada, nil }))
	token := strings.Repeat("eyJhbGciOiJFUzI1NiJ9.", 40)
	withToken := func() *http.Request { return get(token) }
	without := func() *http.Request { return get("") }
	read := durward.Policy{Scopes: []string{"read"}}
	basic := durward.Basic(durward.Remember(
		func(context.Context, string, string) (*durward.Principal, error) { return ada, nil },
		func(context.Context, string) (string, error) { return "1", nil }))
	withPassword := func() *http.Request {
		r := get("")
		r.Header.Set("Authorization", pair("ada", "correct horse battery"))
		return r
	}
	key := func() *http.Request {
		r := get("")
		r.Header.Set("X-API-Key", "dk_4f7c2a9e1b8d4c6f9a0e3b5d7c1f2a8e")
		return r
	}
	session := func() *http.Request {
		return holding("theme=dark; " + cookieName + "=4f7c2a9e1b8d4c6f9a0e3b5d7c1f2a8e; lang=en")
	}
	keys := durward.APIKey("dk_", func(context.Context, string) (*durward.Principal, error) { return ada, nil })
	sessions := durward.Cookie(cookieName, func(context.Context, string) (*durward.Principal, error) { return ada, nil })
	seven := guard(durward.Bearer(verify), durward.Digest(durward.DigestConfig{HA1: digestUsers}), basic, durward.Session(), keys, sessions,
		durward.ClientCert(durward.ClientCertConfig{Roots: x509.NewCertPool(), Check: byName}))
	four := guard(durward.Bearer(verify), durward.Digest(durward.DigestConfig{HA1: digestUsers}), basic, durward.Session())
	return []struct {
		name    string
		handler http.Handler
		request func() *http.Request
		allocs  float64
	}{
		{"bare", empty, withToken, 0},
		{"guard", g.Handler(empty), withToken, 2}, // the visit and the request that carries it
		{"guard and scope", g.Require(read, empty), withToken, 2},
		{"optional, nobody", g.Require(durward.Policy{Optional: true}, empty), without, 2},
		{"nested", g.Handler(g.Require(read, empty)), withToken, 5},
		{"refused", g.Handler(empty), without, 40},
		{"refused, four schemes", four.Handler(empty), without, 90},
		{"refused, seven schemes", seven.Handler(empty), without, 95},
		{"optional, seven schemes, nobody", seven.Require(durward.Policy{Optional: true}, empty), without, 2},
		{"API key", guard(keys).Handler(empty), key, 2},
		{"API key as Bearer, seven schemes", seven.Handler(empty), func() *http.Request { return get("dk_4f7c2a9e1b8d4c6f9a0e3b5d7c1f2a8e") }, 2},
		{"cookie", guard(sessions).Handler(empty), session, 10},
		{"Basic remembered", guard(basic).Handler(empty), withPassword, 20},
	}
}()

func BenchmarkGuard(b *testing.B) {
	for _, c := range guarded {
		b.Run(c.name, func(b *testing.B) {
			r, w := c.request(), nowhere{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				c.handler.ServeHTTP(w.reset(), r)
			}
		})
	}
}

// answers returns a guard with Digest, SHA-256 and a store that costs nothing, and a function that
// creates requests, each accepted once.
func answers(tb testing.TB) (h http.Handler, requests func(n int) []*http.Request) {
	ada := &durward.Principal{Scheme: "Digest", Subject: "ada"}
	ha1, err := durward.HA1("SHA-256", "ada", "api", "secret")
	if err != nil {
		tb.Fatal(err)
	}
	w := newDigestServer(tb, durward.DigestConfig{HA1: func(context.Context, durward.DigestClaim) ([]byte, *durward.Principal, error) { return ha1, ada, nil }})
	return w.guard.Handler(empty), func(n int) []*http.Request {
		client := w.client()
		all := make([]*http.Request, n)
		for i := range all {
			client.nc = fmt.Sprintf("%08x", i+1)
			all[i] = over("GET", "/x", "", client.credentials(nil))
		}
		return all
	}
}

func BenchmarkDigest(b *testing.B) {
	h, requests := answers(b)
	var left []*http.Request
	w := nowhere{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		if len(left) == 0 {
			b.StopTimer()
			left = requests(4096)
			b.StartTimer()
		}
		h.ServeHTTP(w.reset(), left[0])
		left = left[1:]
	}
	if w.h["Authentication-Info"] == nil {
		b.Fatal("the last response was not let in")
	}
}

// A certificate is judged anew in each request: two signatures of P-256, where an
// authority stands between.
func BenchmarkClientCert(b *testing.B) {
	ca := newAuthority(b, "people")
	between := ca.authority(b, "between", nil)
	ada := &durward.Principal{Scheme: "ClientCert", Subject: "ada"}
	check := func(context.Context, *x509.Certificate) (*durward.Principal, error) { return ada, nil }
	direct := ca.issue(b, newKey(b), "ada", nil)
	deep := chain(between.issue(b, newKey(b), "ada", nil), between.cert)
	byRoots := durward.ClientCertConfig{Roots: pool(ca), Check: check}
	forwarded := bearing(deep)
	forwarded.TLS = nil
	forwarded.RemoteAddr = "10.0.0.7:1"
	forwarded.Header = fields("X-Forwarded-Proto", "https", "X-Forwarded-For", "192.0.2.9", "Client-Cert", field(deep.Certificate[0]), "Client-Cert-Chain", field(between.cert.Raw))
	for _, c := range []struct {
		name    string
		config  durward.ClientCertConfig
		request *http.Request
	}{
		{"pinned key", durward.ClientCertConfig{Keys: [][sha256.Size]byte{keyHash(direct)}, Check: check}, bearing(direct)},
		{"root", byRoots, bearing(direct)},
		{"root and one between", byRoots, bearing(deep)},
		{"root and one between, from a proxy", byRoots, forwarded},
	} {
		b.Run(c.name, func(b *testing.B) {
			g := newGuard(b, durward.Config{Schemes: []durward.Scheme{durward.ClientCert(c.config)}, ClientCertFromProxies: true, Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}})
			h := g.Handler(empty)
			if w := serve(h, c.request); w.Code != 204 {
				b.Fatalf("got %d %s", w.Code, w.Body)
			}
			w := nowhere{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(w.reset(), c.request)
			}
		})
	}
}

func BenchmarkGuardParallel(b *testing.B) {
	for _, c := range guarded {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				r, w := c.request(), nowhere{http.Header{}}
				for pb.Next() {
					c.handler.ServeHTTP(w.reset(), r)
				}
			})
		})
	}
}

func TestGuardAllocates(t *testing.T) {
	for _, c := range guarded {
		r, w := c.request(), nowhere{http.Header{}}
		if got := testing.AllocsPerRun(100, func() { c.handler.ServeHTTP(w.reset(), r) }); got > c.allocs {
			t.Errorf("%s: a request allocates %v times, at most %v are wanted", c.name, got, c.allocs)
		}
	}
	h, requests := answers(t)
	left, w := requests(200), nowhere{http.Header{}}
	if got := testing.AllocsPerRun(100, func() { h.ServeHTTP(w.reset(), left[0]); left = left[1:] }); got > 16 || w.h["Authentication-Info"] == nil {
		t.Errorf("Digest: a request allocates %v times, at most 16 are wanted: %v", got, w.h)
	}
	// The handlers above are reached, or refused, as their names say.
	for _, c := range guarded {
		w := httptest.NewRecorder()
		c.handler.ServeHTTP(w, c.request())
		if want := map[bool]int{true: 401, false: 204}[strings.HasPrefix(c.name, "refused")]; w.Code != want {
			t.Errorf("%s: got %d, want %d", c.name, w.Code, want)
		}
	}
}

func BenchmarkParseChallenges(b *testing.B) {
	for _, c := range []struct {
		name  string
		lines []string
	}{
		{"Bearer", lines(`Bearer realm="api", error="invalid_token", error_description="The access token has expired."`)},
		{"three", lines(`DPoP realm="api", algs="ES256 PS256"`, `Bearer realm="api"`, `Digest realm="api", qop="auth, auth-int", algorithm=SHA-256, nonce="`+digestNonce+`", opaque="`+digestOpaque+`"`)},
		{"1 MiB of commas", lines(strings.Repeat(",", 1<<20))},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := durward.ParseChallenges(c.lines); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseCredentials(b *testing.B) {
	for _, c := range []struct{ name, line string }{
		{"Bearer", "Bearer " + strings.Repeat("eyJhbGciOiJFUzI1NiJ9.", 40)},
		{"Basic", credentialsCases[0].line},
		{"Digest", credentialsCases[4].line},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := durward.ParseCredentials(c.line); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
