package jwt

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/durward-auth/durward"
)

// publisher is a server of an issuer on loopback. Its answer can be changed at any time.
type publisher struct {
	*httptest.Server
	mu      sync.Mutex
	answer  http.HandlerFunc
	fetched []*http.Request
}

func publish(t testing.TB, answer http.HandlerFunc) *publisher {
	p := &publisher{answer: answer}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		p.fetched = append(p.fetched, r)
		answer := p.answer
		p.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *publisher) now(answer http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *publisher) fetches() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.fetched)
}

// serving answers with the public keys.
func serving(t testing.TB, keys ...*PrivateKey) http.HandlerFunc {
	t.Helper()
	public := make([]*Key, len(keys))
	for i, k := range keys {
		public[i] = k.Public()
	}
	body, err := MarshalKeySet(public)
	if err != nil {
		t.Fatal(err)
	}
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }
}

func away(w http.ResponseWriter, _ *http.Request) { http.Error(w, "away", http.StatusBadGateway) }

// hand is a virtual clock.
type hand struct{ ns atomic.Int64 }

func (h *hand) now() time.Time           { return noon.Add(time.Duration(h.ns.Load())) }
func (h *hand) forward(by time.Duration) { h.ns.Add(int64(by)) }

// remote returns the keys of p with the clock h.
func remote(t testing.TB, p *publisher, h *hand) *RemoteKeys {
	t.Helper()
	r, err := NewRemoteKeys(RemoteConfig{URL: p.URL + "/keys", Client: p.Client(), Now: h.now})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// settle waits for a background fetch.
func settle(t testing.TB, r *RemoteKeys) {
	t.Helper()
	r.mu.Lock()
	f := r.fetching
	r.mu.Unlock()
	if f == nil {
		return
	}
	select {
	case <-f.done:
	case <-time.After(10 * time.Second):
		t.Fatal("the fetch does not end")
	}
}

// found checks that a key is found, and returns it.
func found(t testing.TB, r *RemoteKeys, k *PrivateKey) *Key {
	t.Helper()
	got, err := r.Key(t.Context(), k.ID(), k.Algorithm())
	if err != nil || !got.equal(k.Public()) {
		t.Fatalf("key %s: got %v, %v", k.ID(), got, err)
	}
	return got
}

// notFound checks that a key is not found, with this code and cause.
func notFound(t testing.TB, r *RemoteKeys, kid string, code durward.Code, cause string) {
	t.Helper()
	k, err := r.Key(t.Context(), kid, "ES256")
	if k != nil || !errors.Is(err, code) || codesIn(err) != 1 || !strings.Contains(err.Error(), cause) || strings.Contains(err.Error(), "\n") {
		t.Errorf("kid %q: got %v, %v\nwant %s alone and %q", kid, k, err, code, cause)
	}
}

func TestRemoteKeysConfiguration(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"":                                     "give the issuer's jwks_uri",
		"https://auth.example.com/\x7f":        "cannot be read",
		"auth.example.com/jwks":                "give an absolute https URL",
		"https:///jwks":                        "give an absolute https URL",
		"ftp://auth.example.com/jwks":          "give an absolute https URL",
		"file:///etc/passwd":                   "give an absolute https URL",
		"http://auth.example.com/jwks":         "http is allowed on loopback only",
		"http://10.0.0.1/jwks":                 "http is allowed on loopback only",
		"http://localhost.example/jwks":        "http is allowed on loopback only",
		"https://u:secret@auth.example.com/":   "user or password",
		"https://auth.example.com/jwks#k":      "a fragment is never sent",
		"http://u:secret@auth.example.com/#so": "user or password",
	} {
		r, err := NewRemoteKeys(RemoteConfig{URL: url})
		if r != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q in it", url, err, want)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
	_, err := NewRemoteKeys(RemoteConfig{URL: "http://u@auth.example.com/#x"})
	for _, want := range []string{"loopback", "user", "fragment"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want all mistakes, %q too", err, want)
		}
	}
	for _, url := range []string{"https://auth.example.com/jwks", "HTTPS://auth.example.com:8443/jwks?x=1", "http://localhost:8401/jwks", "http://127.9.9.9/jwks", "http://[::1]:1/jwks"} {
		if _, err := NewRemoteKeys(RemoteConfig{URL: url}); err != nil {
			t.Errorf("%q: got %v, want accepted", url, err)
		}
	}
}

// A thousand tokens with different unknown kids in ten seconds cause one fetch; meanwhile valid
// tokens are accepted, cached or not.
func TestUnknownKeysMakeOneFetch(t *testing.T) {
	t.Parallel()
	k := generate(t, "EdDSA")
	p := publish(t, serving(t, k))
	h := new(hand)
	r := remote(t, p, h)
	good := sign(t, k, example())
	remembering := verifier(t, Config{Keys: r, Now: h.now})
	forgetting := verifier(t, Config{Keys: r, Now: h.now, CacheSize: -1})
	stranger := generate(t, "EdDSA")
	flood := func(want int) {
		t.Helper()
		for i := range 1000 {
			token := forge(t, stranger, fmt.Sprintf(`{"alg":"EdDSA","typ":"at+jwt","kid":"k%d"}`, rand.Uint64()), payloadWith("", ""))
			_, err := remembering.Verify(t.Context(), token)
			refused(t, token, err, durward.InvalidToken, "no key")
			if i%10 == 0 {
				for _, v := range []*Verifier{remembering, forgetting} {
					if _, err := v.Verify(t.Context(), good); err != nil {
						t.Fatalf("good token after %d bad ones: %v", i+1, err)
					}
				}
			}
			h.forward(10*time.Millisecond - 1) // 1 µs less than ten seconds in total
		}
		if got := p.fetches(); got != want {
			t.Errorf("%d fetches, want %d", got, want)
		}
	}
	flood(1)
	h.forward(1000 - 1)
	notFound(t, r, "k", durward.InvalidToken, "no key")
	if got := p.fetches(); got != 1 {
		t.Errorf("%d fetches a nanosecond before the pause is over, want 1", got)
	}
	h.forward(1)
	flood(2)
}

// A new key under the kid of the old one is found by the first token that it has signed, at most one
// fetch in ten seconds after the last. Forged tokens cause no more fetches, and an outage makes none
// of them a 503.
func TestNewKeyOfOneKid(t *testing.T) {
	t.Parallel()
	key := func(alg string) *PrivateKey { return as(t, generate(t, alg), "k", alg) }
	first, second, third, stranger := key("ES256"), key("ES256"), key("RS256"), key("ES256")
	p := publish(t, serving(t, first))
	h := new(hand)
	r := remote(t, p, h)
	v := verifier(t, Config{Keys: r, Now: h.now})
	verify := func(k *PrivateKey, fetches int, cause string) {
		t.Helper()
		token := sign(t, k, example())
		_, err := v.Verify(t.Context(), token)
		if cause != "" {
			refused(t, token, err, durward.InvalidToken, cause)
		} else if err != nil {
			t.Error(err)
		}
		if n := p.fetches(); n != fetches {
			t.Errorf("%d fetches, want %d", n, fetches)
		}
	}
	verify(first, 1, "")
	p.now(serving(t, second))
	h.forward(fetchPause - 1)
	verify(second, 1, "fetched 10s ago, has no newer one")
	h.forward(1)
	verify(first, 1, "") // cached
	verify(second, 2, "")
	verify(first, 2, "signature is not one of key")

	p.now(serving(t, third)) // of another type
	verify(third, 2, "is for ES256, the token says")
	h.forward(fetchPause)
	verify(third, 3, "")
	verify(second, 3, "is for RS256, the token says")

	p.now(serving(t, second))
	h.forward(fetchPause)
	verify(second, 4, "")
	h.forward(fetchPause)
	for range 1000 {
		token := forge(t, stranger, headerOf(stranger, ""), payloadWith("jti", fmt.Sprintf(`"%d"`, rand.Uint64())))
		_, err := v.Verify(t.Context(), token)
		refused(t, token, err, durward.InvalidToken, "has no newer one")
		h.forward(fetchPause/1000 - 1)
	}
	verify(second, 5, "")
	p.now(away)
	h.forward(fetchPause)
	verify(stranger, 6, "could not be fetched 0s ago: the issuer answered 502")
	verify(first, 6, "could not be fetched 0s ago")
	verify(second, 6, "")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(durward.TokenExpired)
	h.forward(fetchPause)
	token := sign(t, stranger, example())
	_, err := v.Verify(ctx, token)
	refused(t, token, err, durward.InvalidToken, "could not be fetched 0s ago")
}

// Tokens of two issuers, each with its keys, by the verifiers of VerifierOf.
func TestSeveralIssuers(t *testing.T) {
	t.Parallel()
	one, two := generate(t, "ES256"), generate(t, "RS256")
	at := func(k *PrivateKey) string {
		return publish(t, documents(map[string]string{
			"/.well-known/jwks.json": string(setOf(t, public(t, k, nil))),
		})).URL
	}
	first, second := at(one), at(two)
	issuers, err := NewIssuers(VerifierOf(first, service), VerifierOf(second, "orders", Auth0))
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		key           *PrivateKey
		iss, audience string
		ok            bool
	}{
		{one, first, service, true},
		{two, second, "orders", true},
		{two, first, service, false},
		{one, second, "orders", false},
		{one, first, "orders", false},
		{one, "https://other.example", service, false},
	} {
		c := example()
		c.Issuer, c.Audience = row.iss, []string{row.audience}
		c.IssuedAt, c.AuthTime, c.Expires = time.Now(), time.Time{}, time.Now().Add(time.Minute)
		token := sign(t, row.key, c)
		if _, err := issuers.Verify(t.Context(), token); (err == nil) != row.ok {
			t.Errorf("%s for %s: got %v, want accepted: %t", row.iss, row.audience, err, row.ok)
		} else if err != nil && !errors.Is(err, durward.InvalidToken) {
			t.Errorf("%s for %s: got %v, want INVALID_TOKEN", row.iss, row.audience, err)
		}
	}
}

// Concurrent requests wait for one fetch.
func TestConcurrentRequestsShareOneFetch(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	set, arrived, release := serving(t, k), make(chan struct{}, 100), make(chan struct{})
	p := publish(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-release
		set(w, r)
	})
	r := remote(t, p, new(hand))
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			if i%2 == 0 {
				if _, err := r.Key(t.Context(), k.ID(), "ES256"); err != nil {
					t.Errorf("known key: %v", err)
				}
			} else if _, err := r.Key(t.Context(), "unknown", "ES256"); !errors.Is(err, durward.InvalidToken) {
				t.Errorf("unknown key: got %v, want INVALID_TOKEN", err)
			}
		})
	}
	<-arrived
	// A request that ends stops waiting; the fetch continues.
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(durward.TokenExpired)
	if _, err := r.Key(ctx, k.ID(), "ES256"); !errors.Is(err, durward.AuthUnavailable) || !errors.Is(err, context.Canceled) || codesIn(err) != 1 {
		t.Errorf("request ended: got %v, want AUTH_UNAVAILABLE alone", err)
	}
	close(release)
	wg.Wait()
	if got := p.fetches(); got != 1 {
		t.Errorf("%d fetches, want 1", got)
	}
}

// The rows are answers of an issuer to the first fetch.
func TestFirstFetch(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	good, err := MarshalKeySet([]*Key{k.Public()})
	if err != nil {
		t.Fatal(err)
	}
	private, err := k.MarshalJWK()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := publish(t, serving(t, k))
	text := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }
	}
	redirect := func(to func(r *http.Request) string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/there" {
				_, _ = w.Write(good)
				return
			}
			http.Redirect(w, r, to(r), http.StatusTemporaryRedirect)
		}
	}
	var small bytes.Buffer // compressed here, because the fetch has a deadline
	z := gzip.NewWriter(&small)
	_, _ = z.Write(bytes.Repeat([]byte(" "), 64<<20))
	_ = z.Close()
	zipped := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(small.Bytes())
	}
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		cause  string // of AUTH_UNAVAILABLE; empty: the key is found
	}{
		"good":           {text(string(good)), ""},
		"good, 1 MiB":    {text(string(good) + strings.Repeat(" ", maxKeySet-len(good))), ""},
		"over 1 MiB":     {text(string(good) + strings.Repeat(" ", maxKeySet-len(good)+1)), "want at most 1048576"},
		"64 MiB zipped":  {zipped, "want at most 1048576"},
		"error 500":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); _, _ = w.Write(good) }, "the issuer answered 500"},
		"not found":      {http.NotFound, "the issuer answered 404"},
		"no content":     {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, "the issuer answered 204"},
		"304 unasked":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, "the issuer answered 304"},
		"HTML":           {text("<html>sign in</html>"), "not a JWK Set"},
		"no keys member": {text(`{"jwks":[]}`), `there is no "keys" in it`},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9999")
			_, _ = w.Write(good)
		}, "unexpected EOF"},
		"private key published": {text(`{"keys":[` + string(private) + `]}`), `has the secret member "d"`},
		"closed":                {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"redirect, same origin": {redirect(func(*http.Request) string { return "/there" }), ""},
		"redirect, other port":  {redirect(func(*http.Request) string { return elsewhere.URL + "/keys" }), "redirected to another origin, " + elsewhere.URL},
		"redirect, other name": {redirect(func(r *http.Request) string {
			return "http://localhost:" + strings.Split(r.Host, ":")[1] + "/there"
		}), "redirected to another origin"},
		"redirect, other scheme": {redirect(func(r *http.Request) string { return "https://" + r.Host + "/there" }), "redirected to another origin"},
		"redirect, three times": {redirect(func(r *http.Request) string {
			n, _ := strconv.Atoi(r.URL.Query().Get("n"))
			return [...]string{"/keys?n=1", "/keys?n=2", "/there"}[n]
		}), ""},
		"redirect, four times": {redirect(func(r *http.Request) string {
			n, _ := strconv.Atoi(r.URL.Query().Get("n"))
			return [...]string{"/keys?n=1", "/keys?n=2", "/keys?n=3", "/there"}[n]
		}), "redirected more than 3 times"},
		"redirect, for ever": {redirect(func(*http.Request) string { return "/keys" }), "redirected more than 3 times"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := publish(t, test.answer)
			p.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
			h := new(hand)
			r := remote(t, p, h)
			if test.cause == "" {
				found(t, r, k)
				return
			}
			notFound(t, r, k.ID(), durward.AuthUnavailable, test.cause)
			n := p.fetches()
			// The same error without another fetch, until the end of the pause.
			h.forward(fetchPause - 1)
			notFound(t, r, k.ID(), durward.AuthUnavailable, test.cause)
			if p.fetches() != n {
				t.Error("fetched again within the pause")
			}
			p.now(text(string(good)))
			h.forward(1)
			found(t, r, k)
		})
	}
	if n := elsewhere.fetches(); n != 0 {
		t.Errorf("the other origin saw %d requests, want none", n)
	}
}

// No server listens at the address.
func TestIssuerIsNotThere(t *testing.T) {
	t.Parallel()
	p := publish(t, away)
	p.Close()
	v := verifier(t, Config{Keys: remote(t, p, new(hand))})
	token := sign(t, generate(t, "ES256"), example())
	_, err := v.Verify(t.Context(), token)
	refused(t, token, err, durward.AuthUnavailable, "could not be fetched 0s ago")
}

// While the issuer is unavailable the last set is used for 24 h. An unknown kid is an outage,
// because the key may be new.
func TestLastGoodSetServes(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	p := publish(t, serving(t, k))
	h := new(hand)
	r := remote(t, p, h)
	found(t, r, k)
	p.now(away)

	h.forward(15*time.Minute - 1)
	found(t, r, k)
	settle(t, r)
	if n := p.fetches(); n != 1 {
		t.Fatalf("%d fetches before the set was due, want 1", n)
	}
	h.forward(1)
	found(t, r, k) // at once; the fetch runs in the background
	settle(t, r)
	if n := p.fetches(); n != 2 {
		t.Fatalf("%d fetches of a set that was due, want 2", n)
	}
	notFound(t, r, "new", durward.AuthUnavailable, "the issuer answered 502")
	// Not with each request.
	for range 100 {
		h.forward(fetchPause/100 - 1)
		found(t, r, k)
		settle(t, r)
	}
	if n := p.fetches(); n != 2 {
		t.Errorf("%d fetches within the pause after a failure, want 2", n)
	}
	h.forward(100)
	found(t, r, k)
	settle(t, r)
	if n := p.fetches(); n != 3 {
		t.Errorf("%d fetches after the pause, want 3", n)
	}

	h.ns.Store(int64(24 * time.Hour))
	found(t, r, k)
	settle(t, r)
	h.forward(1)
	notFound(t, r, k.ID(), durward.AuthUnavailable, "the issuer answered 502")
	v := verifier(t, Config{Keys: r, Now: h.now})
	c := example()
	c.IssuedAt, c.Expires = h.now(), h.now().Add(time.Hour)
	token := sign(t, k, c)
	_, err := v.Verify(t.Context(), token)
	refused(t, token, err, durward.AuthUnavailable, "could not be fetched")

	// The issuer is available again: the next fetch succeeds.
	p.now(serving(t, k))
	h.forward(fetchPause)
	found(t, r, k)
	notFound(t, r, "new", durward.InvalidToken, "no key")
}

// A cached token is refused when the last set is too old.
func TestRememberedTokenEndsWithTheLastGoodSet(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	p := publish(t, serving(t, k))
	h := new(hand)
	v := verifier(t, Config{Keys: remote(t, p, h), Now: h.now, MaxLifetime: 48 * time.Hour})
	c := example()
	c.Expires = noon.Add(48 * time.Hour)
	token := sign(t, k, c)
	if _, err := v.Verify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	p.now(away)
	h.forward(24*time.Hour + 1)
	_, err := v.Verify(t.Context(), token)
	refused(t, token, err, durward.AuthUnavailable, "could not be fetched")
}

// Tokens of a removed key are refused, cached or not; those of the other keys remain cached; a new
// key is found at once.
func TestRotation(t *testing.T) {
	t.Parallel()
	first, second := generate(t, "ES256"), generate(t, "ES256")
	h := new(hand)
	p := publish(t, serving(t, first))
	r := remote(t, p, h)
	v := verifier(t, Config{Keys: r, Now: h.now})
	old, next := sign(t, first, example()), sign(t, second, example())
	if _, err := v.Verify(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	pointer := found(t, r, first)

	p.now(serving(t, first, second))
	h.forward(fetchPause)
	if _, err := v.Verify(t.Context(), next); err != nil {
		t.Fatalf("token of a key that has just been published: %v", err)
	}
	if found(t, r, first) != pointer {
		t.Error("a key that stayed is another pointer: its tokens are verified again")
	}
	if n := v.remembers(); n != 2 {
		t.Errorf("%d tokens remembered, want 2", n)
	}

	// The first key is removed.
	p.now(serving(t, second))
	h.forward(fetchPause)
	notFound(t, r, "unknown", durward.InvalidToken, "no key")
	_, err := v.Verify(t.Context(), old)
	refused(t, old, err, durward.InvalidToken, "no key")
	if n := v.remembers(); n != 1 {
		t.Errorf("%d tokens remembered, want 1", n)
	}
	if _, err := v.Verify(t.Context(), next); err != nil {
		t.Errorf("token of the key that stayed: %v", err)
	}

	// The second key is replaced by one with the same kid.
	impostor := generate(t, "ES256")
	impostor.key.id = second.ID()
	p.now(serving(t, impostor))
	h.forward(14 * time.Minute) // the token has not expired
	notFound(t, r, "unknown", durward.InvalidToken, "no key")
	_, err = v.Verify(t.Context(), next)
	refused(t, next, err, durward.InvalidToken, "signature is not one of key")
}

// remembers returns the number of cached tokens.
func (v *Verifier) remembers() int {
	n := 0
	for i := range v.cache.shards {
		s := &v.cache.shards[i]
		s.mu.RLock()
		n += len(s.m)
		s.mu.RUnlock()
	}
	return n
}

// The ETag is sent, and 304 confirms the set.
func TestNotModified(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	set := serving(t, k)
	p := publish(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"one"`)
		w.Header().Set("Cache-Control", "max-age=120")
		if r.Header.Get("If-None-Match") == `"one"` {
			w.Header().Del("ETag") // a 304 may omit it
			w.WriteHeader(http.StatusNotModified)
			return
		}
		set(w, r)
	})
	h := new(hand)
	r := remote(t, p, h)
	pointer := found(t, r, k)
	for i := range 3 {
		h.forward(2 * time.Minute)
		if found(t, r, k) != pointer {
			t.Error("another pointer after 304")
		}
		settle(t, r)
		if n := p.fetches(); n != i+2 {
			t.Fatalf("%d fetches, want %d", n, i+2)
		}
		h.forward(time.Minute) // fresh again
		found(t, r, k)
		settle(t, r)
		if n := p.fetches(); n != i+2 {
			t.Fatalf("%d fetches of a set that was fresh, want %d", n, i+2)
		}
	}
	for i, req := range p.fetched {
		if got, want := req.Header.Get("If-None-Match"), map[bool]string{true: "", false: `"one"`}[i == 0]; got != want {
			t.Errorf("fetch %d: If-None-Match %q, want %q", i, got, want)
		}
		if got := req.Header.Get("Accept"); !strings.HasPrefix(got, "application/jwk-set+json") {
			t.Errorf("Accept is %q", got)
		}
	}
	// It counts as a fetch for another 24 h.
	p.now(away)
	h.forward(23 * time.Hour)
	found(t, r, k)
}

func TestFreshness(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		fields []string // values of Cache-Control
		age    string
		want   time.Duration
	}{
		{nil, "", 15 * time.Minute},
		{[]string{"public"}, "", 15 * time.Minute},
		{[]string{"max-age=600"}, "", 10 * time.Minute},
		{[]string{"public, Max-Age=600, must-revalidate"}, "", 10 * time.Minute},
		{[]string{"public", "max-age=600"}, "", 10 * time.Minute},
		{[]string{`max-age="600"`}, "", 10 * time.Minute},
		{[]string{"max-age=600"}, "480", 2 * time.Minute},
		{[]string{"max-age=600"}, "599", time.Minute},
		{[]string{"max-age=600"}, "99999999999", 10 * time.Minute},
		{[]string{"max-age=600"}, "soon", 10 * time.Minute},
		{[]string{"max-age=60"}, "", time.Minute},
		{[]string{"max-age=59"}, "", time.Minute},
		{[]string{"max-age=0"}, "", time.Minute},
		{[]string{"max-age=-5"}, "", time.Minute},
		{[]string{"max-age=x"}, "", time.Minute},
		{[]string{"max-age"}, "", time.Minute},
		{[]string{"max-age=3600"}, "", time.Hour},
		{[]string{"max-age=3601"}, "", time.Hour},
		{[]string{"max-age=31536000, immutable"}, "", time.Hour},
		{[]string{"max-age=99999999999999999999999"}, "", time.Hour},
		{[]string{"no-store, max-age=600"}, "", time.Minute},
		{[]string{"max-age=600, no-cache"}, "", time.Minute},
		{[]string{"s-maxage=5"}, "", 15 * time.Minute},
	} {
		h := http.Header{}
		for _, f := range test.fields {
			h.Add("Cache-Control", f)
		}
		if test.age != "" {
			h.Set("Age", test.age)
		}
		if got := freshness(h); got != test.want {
			t.Errorf("Cache-Control %q, Age %q: got %s, want %s", test.fields, test.age, got, test.want)
		}
	}
}

// The set is fetched again within the limits of Cache-Control.
func TestSetIsFetchedAnewWhenDue(t *testing.T) {
	t.Parallel()
	for field, due := range map[string]time.Duration{"max-age=1": minFresh, "max-age=86400": maxFresh, "": defaultFresh} {
		k := generate(t, "ES256")
		set := serving(t, k)
		p := publish(t, func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Cache-Control", field); set(w, r) })
		h := new(hand)
		r := remote(t, p, h)
		found(t, r, k)
		h.forward(due - 1)
		found(t, r, k)
		settle(t, r)
		if n := p.fetches(); n != 1 {
			t.Errorf("%q: %d fetches just before %s, want 1", field, n, due)
		}
		h.forward(1)
		found(t, r, k)
		settle(t, r)
		if n := p.fetches(); n != 2 {
			t.Errorf("%q: %d fetches at %s, want 2", field, n, due)
		}
	}
}

// A clock that is set back does not stop fetches and does not keep a set for ever.
func TestClockGoesBack(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	p := publish(t, serving(t, k))
	h := new(hand)
	r := remote(t, p, h)
	found(t, r, k)
	h.forward(-time.Hour)
	notFound(t, r, "unknown", durward.InvalidToken, "no key")
	if n := p.fetches(); n != 2 {
		t.Errorf("%d fetches after the clock was set back, want 2", n)
	}
	// The clock jumps ahead during the pause.
	h.forward(48 * time.Hour)
	p.now(away)
	notFound(t, r, k.ID(), durward.AuthUnavailable, "could not be fetched")
}

// The log has one line for an outage, its end, and skipped keys.
func TestFetchesAreLogged(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	p := publish(t, away)
	h := new(hand)
	var log lines
	r, err := NewRemoteKeys(RemoteConfig{URL: p.URL, Now: h.now, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		notFound(t, r, k.ID(), durward.AuthUnavailable, "502")
		h.forward(fetchPause)
	}
	log.want(t, "level=ERROR msg=\"key set cannot be fetched\"")
	odd, err := MarshalKeySet([]*Key{k.Public()})
	if err != nil {
		t.Fatal(err)
	}
	odd = []byte(strings.Replace(string(odd), `{"keys":[`, `{"keys":[{"kty":"EC","kid":"enc","use":"enc"},`, 1))
	p.now(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("ETag", `"x"`); _, _ = w.Write(odd) })
	found(t, r, k)
	notFound(t, r, "enc", durward.InvalidToken, `(skipped: key 0, kid "enc": use is "enc"`)
	h.forward(fetchPause)
	notFound(t, r, "enc", durward.InvalidToken, "skipped") // the same set: no second line
	log.want(t, "level=ERROR", "level=INFO msg=\"key set is fetched again\"", "level=WARN msg=\"key of the set skipped\"")
}

// lines is a log.
type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, string(b))
	return len(b), nil
}

// want waits for exactly these lines: a fetch logs after it has answered.
func (l *lines) want(t *testing.T, parts ...string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		l.mu.Lock()
		text := append([]string(nil), l.text...)
		l.mu.Unlock()
		if len(text) < len(parts) && time.Now().Before(deadline) {
			continue
		}
		if len(text) != len(parts) {
			t.Fatalf("log has %q, want %d lines", text, len(parts))
		}
		for i := range parts {
			if !strings.Contains(text[i], parts[i]) {
				t.Errorf("line %d of the log is %q, want %q in it", i, text[i], parts[i])
			}
		}
		return
	}
}

// pipes is a listener with connections in memory, for an HTTP server in a synctest bubble.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }
func (p pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p <- theirs
	return ours, nil
}

// A fetch from a slow issuer ends after 5 s, and a request waits only until its context ends.
func TestSlowIssuer(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"never answers": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"drips": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte(" "))
				_ = http.NewResponseController(w).Flush()
				select {
				case <-time.After(time.Second):
				case <-r.Context().Done():
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := make(pipes)
				server := &http.Server{Handler: answer}
				go func() { _ = server.Serve(l) }()
				transport := &http.Transport{DialContext: l.dial}
				r, err := NewRemoteKeys(RemoteConfig{URL: "http://localhost/keys", Client: &http.Client{Transport: transport}})
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				if _, err := r.Key(ctx, "k", "ES256"); !errors.Is(err, durward.AuthUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("request that ends: got %v, want AUTH_UNAVAILABLE", err)
				}
				if took := time.Since(start); took != 2*time.Second {
					t.Errorf("waited %s for a request of 2 s", took)
				}
				if _, err := r.Key(t.Context(), "k", "ES256"); !errors.Is(err, durward.AuthUnavailable) {
					t.Errorf("got %v, want AUTH_UNAVAILABLE", err)
				}
				if took := time.Since(start); took != 5*time.Second {
					t.Errorf("the fetch took %s, want 5 s", took)
				}
				// During the pause no request waits.
				if _, err := r.Key(t.Context(), "k", "ES256"); !errors.Is(err, durward.AuthUnavailable) || time.Since(start) != 5*time.Second {
					t.Errorf("within the pause: got %v after %s", err, time.Since(start))
				}
				transport.CloseIdleConnections()
				_ = server.Close()
			})
		})
	}
}

// A known key is returned at once, even if the issuer hangs.
func TestKnownKeyNeverWaits(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	p := publish(t, serving(t, k))
	h := new(hand)
	r := remote(t, p, h)
	found(t, r, k)
	release := make(chan struct{})
	defer close(release)
	p.now(func(http.ResponseWriter, *http.Request) { <-release })
	h.forward(time.Hour)
	done := make(chan struct{})
	go func() {
		for range 1000 {
			found(t, r, k)
		}
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Error("a known key waited for the issuer")
	}
}

// direct is a transport of its own: the end of each test server closes the idle connections of the default
// one, also those that another test is about to use.
var direct = new(http.Transport)

// toLoopback sends each request to a server on loopback, whatever host it names.
type toLoopback struct{ addr string }

func (l toLoopback) RoundTrip(r *http.Request) (*http.Response, error) {
	host := r.URL.Host
	r = r.Clone(r.Context())
	r.URL.Scheme, r.URL.Host, r.Host = "http", l.addr, host
	return direct.RoundTrip(r)
}

// documents serves texts by host and path, or by path alone. A number is a status.
func documents(texts map[string]string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		text := cmp.Or(texts[r.Host+r.URL.Path], texts[r.URL.Path], "404")
		if code, err := strconv.Atoi(text); err == nil {
			http.Error(w, "status", code)
			return
		}
		_, _ = w.Write([]byte(text))
	}
}

// named returns a client that finds all hosts at p.
func (p *publisher) named() *http.Client {
	return &http.Client{Transport: toLoopback{p.Listener.Addr().String()}}
}

// The network of a container has other addresses than the public one, often without TLS.
func TestInnerAddresses(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	set := string(setOf(t, public(t, k, nil)))
	const realm = "http://keycloak:8080/realms/a"
	metadata := func(issuer, jwksURI string) string {
		return fmt.Sprintf(`{"issuer":%q,"jwks_uri":%q}`, issuer, jwksURI)
	}
	for name, test := range map[string]struct {
		c     RemoteConfig
		at    string // of the metadata
		text  string
		cause string // of the error of NewRemoteKeys or Key
	}{
		"key set by http, not allowed: refused": {c: RemoteConfig{URL: realm + "/certs"}, cause: "http is allowed on loopback only: use https, or InsecureAllowHTTP inside a private network"},
		"key set by http, allowed: read":        {c: RemoteConfig{URL: realm + "/certs", InsecureAllowHTTP: true}},
		"issuer by http, allowed: read": {
			c: RemoteConfig{Issuer: realm, InsecureAllowHTTP: true}, at: realm, text: metadata(realm, realm+"/certs"),
		},
		"public issuer, metadata inside: read": {
			c:  RemoteConfig{Issuer: "https://auth.example.com/realms/a", MetadataURL: realm + "/.well-known/openid-configuration", InsecureAllowHTTP: true},
			at: realm, text: metadata("https://auth.example.com/realms/a", realm+"/certs"),
		},
		"issuer on localhost, metadata inside: read": {
			c:  RemoteConfig{Issuer: "http://localhost:8080/realms/a", MetadataURL: realm + "/.well-known/openid-configuration", InsecureAllowHTTP: true},
			at: realm, text: metadata("http://localhost:8080/realms/a", realm+"/certs"),
		},
		"metadata inside by https, keys by http: refused": {
			c:  RemoteConfig{Issuer: "https://auth.example.com/realms/a", MetadataURL: "https://keycloak:8080/realms/a/.well-known/openid-configuration"},
			at: realm, text: metadata("https://auth.example.com/realms/a", realm+"/certs"), cause: "http is allowed on loopback only",
		},
		"metadata inside by http, not allowed: refused": {
			c:     RemoteConfig{Issuer: "https://auth.example.com", MetadataURL: realm + "/.well-known/openid-configuration"},
			cause: "InsecureAllowHTTP",
		},
		"metadata inside of another issuer: refused": {
			c:  RemoteConfig{Issuer: "https://auth.example.com/realms/a", MetadataURL: realm + "/.well-known/openid-configuration", InsecureAllowHTTP: true},
			at: realm, text: metadata(realm, realm+"/certs"), cause: `it is of issuer "http://keycloak:8080/realms/a", not "https://auth.example.com/realms/a"`,
		},
		"metadata inside that is missing: refused": {
			c:     RemoteConfig{Issuer: "https://auth.example.com/realms/a", MetadataURL: realm + "/.well-known/openid-configuration", InsecureAllowHTTP: true},
			cause: "cannot fetch the issuer's metadata",
		},
		"metadata inside that leads to this machine: refused": {
			c:  RemoteConfig{Issuer: "http://localhost:8080/realms/a", MetadataURL: realm + "/.well-known/openid-configuration", InsecureAllowHTTP: true},
			at: realm, text: metadata("http://localhost:8080/realms/a", "http://localhost:8080/realms/a/certs"), cause: "give the URL of the key set instead of Issuer",
		},
		"metadata on this machine that leads here: read": {
			c:  RemoteConfig{Issuer: "https://auth.example.com/realms/a", MetadataURL: "http://localhost:8080/realms/a/.well-known/openid-configuration"},
			at: "http://localhost:8080/realms/a", text: metadata("https://auth.example.com/realms/a", "http://127.0.0.1:8080/realms/a/certs"),
		},
		"cluster's own address: read": {c: RemoteConfig{URL: "https://kubernetes.default.svc/openid/v1/jwks"}},
		"issuer of many tenants, metadata of one: read": {
			c:  RemoteConfig{Issuer: "https://login.example/{tenantid}/v2.0", MetadataURL: "https://login.example/common/v2.0/.well-known/openid-configuration"},
			at: "http://login.example/common/v2.0", text: metadata("https://login.example/{tenantid}/v2.0", "https://kubernetes.default.svc/openid/v1/jwks"),
		},
		"metadata without issuer: refused": {
			c: RemoteConfig{MetadataURL: "https://a.example/x"}, cause: "MetadataURL without Issuer",
		},
		"metadata and key set: refused": {
			c: RemoteConfig{Issuer: "https://a.example", MetadataURL: "https://a.example/x", URL: "https://a.example/y"}, cause: "give one of them",
		},
	} {
		p := publish(t, documents(map[string]string{
			"keycloak:8080/realms/a/certs":                                               set,
			"127.0.0.1:8080/realms/a/certs":                                              set,
			"localhost:8080/realms/a/certs":                                              set,
			"kubernetes.default.svc/openid/v1/jwks":                                      set,
			"/realms/a/.well-known/jwks.json":                                            set, // never used: MetadataURL decides
			strings.TrimPrefix(test.at, "http://") + "/.well-known/openid-configuration": test.text,
		}))
		test.c.Client, test.c.Now = p.named(), new(hand).now
		r, err := NewRemoteKeys(test.c)
		var key *Key
		if err == nil {
			if key, err = r.Key(t.Context(), k.ID(), "ES256"); err != nil && !errors.Is(err, durward.AuthUnavailable) {
				t.Errorf("%s: got %v, want AUTH_UNAVAILABLE", name, err)
			}
		}
		if test.cause == "" && (err != nil || !key.equal(k.Public())) || test.cause != "" && (err == nil || !strings.Contains(err.Error(), test.cause)) {
			t.Errorf("%s: got %v, %v, want the key or %q", name, key, err, test.cause)
		}
	}
}

// Bearer finds the keys by the issuer's metadata. Without metadata they are at the usual address;
// metadata that is refused, or cannot be fetched, is never replaced by a guess.
func TestBearerFindsKeys(t *testing.T) {
	t.Parallel()
	keys := map[string]*PrivateKey{}
	for _, alg := range []string{"ES256", "EdDSA", "RS256", "PS256", "RS512", "ES384"} {
		keys[alg] = generate(t, alg)
	}
	free := generate(t, "PS256") // without alg in the set
	stranger := generate(t, "RS256")
	var entries []any
	for _, k := range keys {
		entries = append(entries, public(t, k, nil))
	}
	set := string(setOf(t, append(entries, public(t, free, map[string]any{"alg": nil}))...))
	const usual, openID, oauth = "/.well-known/jwks.json", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"
	for name, test := range map[string]struct {
		documents map[string]string // by path; ISSUER stands for its URL
		want      int
	}{
		"OpenID Connect: found":                          {map[string]string{openID: `{"issuer":"ISSUER","jwks_uri":"ISSUER/certs"}`, "/certs": set}, 200},
		"OAuth: found":                                   {map[string]string{oauth: `{"issuer":"ISSUER","jwks_uri":"ISSUER/certs"}`, "/certs": set}, 200},
		"metadata goes before the usual address":         {map[string]string{openID: `{"issuer":"ISSUER","jwks_uri":"ISSUER/certs"}`, "/certs": set, usual: `{"keys":[]}`}, 200},
		"no metadata: usual address":                     {map[string]string{usual: set}, 200},
		"metadata is 403: usual address":                 {map[string]string{openID: "403", oauth: "405", usual: set}, 200},
		"metadata is a page: usual address":              {map[string]string{openID: "<html>", oauth: "<html>", usual: set}, 200},
		"metadata without keys: usual address":           {map[string]string{openID: `{"issuer":"ISSUER"}`, usual: set}, 200},
		"metadata of another issuer: no guess":           {map[string]string{openID: `{"issuer":"https://other.example","jwks_uri":"ISSUER/certs"}`, "/certs": set, usual: set}, 503},
		"metadata with a name twice: no guess":           {map[string]string{openID: `{"issuer":"ISSUER","issuer":"ISSUER"}`, usual: set}, 503},
		"metadata leads to http: no guess":               {map[string]string{openID: `{"issuer":"ISSUER","jwks_uri":"http://other.example/"}`, usual: set}, 503},
		"metadata is away: no guess":                     {map[string]string{openID: "502", usual: set}, 503},
		"metadata has too many requests: no guess":       {map[string]string{openID: "429", usual: set}, 503},
		"second metadata is of another issuer: no guess": {map[string]string{oauth: `{"issuer":"https://other.example"}`, usual: set}, 503},
		"neither": {nil, 503},
	} {
		site := publish(t, away)
		texts := map[string]string{}
		for path, text := range test.documents {
			texts[path] = strings.ReplaceAll(text, "ISSUER", site.URL)
		}
		site.now(documents(texts))
		guarded := durward.Protect(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write([]byte(durward.From(r.Context()).Subject))
		}), Bearer(site.URL, service))
		c := example()
		c.Issuer, c.IssuedAt, c.AuthTime, c.Expires = site.URL, time.Now(), time.Time{}, time.Now().Add(time.Minute)
		ask := func(what, token string, want int) {
			t.Helper()
			req := httptest.NewRequest("GET", "http://127.0.0.1/", nil)
			req.RemoteAddr = "127.0.0.1:1234"
			req.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			guarded.ServeHTTP(w, req)
			if w.Code != want || want == 200 && w.Body.String() != c.Subject {
				t.Errorf("%s, %s: got %d %s, want %d", name, what, w.Code, w.Body, want)
			}
		}
		for alg, k := range keys {
			if alg == "RS512" || alg == "ES384" {
				ask(alg, sign(t, k, c), 401) // not accepted: before the key
			} else {
				ask(alg, sign(t, k, c), test.want)
			}
		}
		if test.want == 200 {
			ask("PS256 by a key without alg", sign(t, free, c), 200)
			ask("RS256 by a key without alg", sign(t, as(t, free, free.ID(), "RS256"), c), 200)
			ask("RS256 by the key of PS256", sign(t, as(t, keys["PS256"], keys["PS256"].ID(), "RS256"), c), 401)
			ask("another key", sign(t, as(t, stranger, keys["RS256"].ID(), "RS256"), c), 401)
		}
	}
}

// The error of the usual address names the metadata that was not found.
func TestUsualAddressIsAway(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	p := publish(t, documents(nil))
	h := new(hand)
	r, err := NewRemoteKeys(RemoteConfig{Issuer: "https://auth.example.com", Client: p.named(), Now: h.now})
	if err != nil {
		t.Fatal(err)
	}
	notFound(t, r, k.ID(), durward.AuthUnavailable, "https://auth.example.com/.well-known/jwks.json: the issuer answered 404 Not Found; cannot fetch the issuer's metadata: https://auth.example.com/.well-known/openid-configuration: the issuer answered 404")
	// The metadata is looked for again.
	there := documents(map[string]string{
		"auth.example.com/.well-known/openid-configuration": `{"issuer":"https://auth.example.com","jwks_uri":"https://keys.example/k"}`,
		"keys.example/k": string(setOf(t, public(t, k, nil))),
	})
	p.now(there)
	h.forward(fetchPause)
	before := found(t, r, k)
	// After an outage a key is the same, so that cached tokens stay.
	for _, answer := range []http.HandlerFunc{away, there} {
		p.now(answer)
		h.forward(fetchPause)
		_, _ = r.Key(t.Context(), "unknown", "ES256")
	}
	if after := found(t, r, k); after != before {
		t.Error("after an outage the key is another one")
	}
}

// A set without a usable key is an outage, not a 401: no token of the issuer can be verified. Its
// earlier keys are gone. A list of garbage is no set, so the last one serves.
func TestNoUsableKey(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	text := func(body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }
	}
	p := publish(t, serving(t, k))
	h := new(hand)
	var log lines
	r, err := NewRemoteKeys(RemoteConfig{URL: p.URL, Now: h.now, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	found(t, r, k)

	p.now(text(`{"keys":[7,null,"x"]}`))
	h.forward(fetchPause)
	notFound(t, r, "unknown", durward.AuthUnavailable, `no element of "keys" is a JSON object`)
	found(t, r, k)

	p.now(text(`{"keys":[{"kty":"AKP","kid":"a"},{"kty":"EC","use":"enc","kid":"b"}]}`))
	for range 2 {
		h.forward(fetchPause)
		notFound(t, r, "unknown", durward.AuthUnavailable, `(skipped: key 0, kid "a": kty "AKP" is not EC, OKP or RSA; key 1, kid "b": use is "enc"`)
		notFound(t, r, k.ID(), durward.AuthUnavailable, "no key")
	}
	log.want(t, "key set cannot be fetched", "key set is fetched again", "key of the set skipped", "key of the set skipped", `level=ERROR msg="no key of the set can be used"`)

	// A set without keys withdraws them.
	p.now(text(`{"keys":[]}`))
	h.forward(fetchPause)
	notFound(t, r, k.ID(), durward.InvalidToken, "no key")
}

// An origin is scheme, host and port; the default port may be omitted (RFC 6454 s4).
func TestRedirectsStayInTheOrigin(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		from, to string
		want     bool
	}{
		{"https://a.example/keys", "https://a.example/other?x=1", true},
		{"https://a.example/keys", "https://a.example:443/keys", true},
		{"https://a.example:443/keys", "https://A.EXAMPLE/keys", true},
		{"http://localhost/keys", "http://localhost:80/", true},
		{"https://a.example/keys", "https://a.example:80/keys", false},
		{"https://a.example/keys", "https://a.example:8443/keys", false},
		{"https://a.example/keys", "http://a.example/keys", false},
		{"https://a.example/keys", "http://a.example:443/keys", false},
		{"https://a.example/keys", "https://b.a.example/keys", false},
		{"https://a.example/keys", "https://a.example.evil.example/keys", false},
		{"http://localhost/keys", "http://127.0.0.1/keys", false},
	} {
		r, err := NewRemoteKeys(RemoteConfig{URL: test.from})
		if err != nil {
			t.Fatal(err)
		}
		to := httptest.NewRequest("GET", test.to, nil)
		if err := r.client.CheckRedirect(to, []*http.Request{httptest.NewRequest("GET", test.from, nil)}); (err == nil) != test.want {
			t.Errorf("%s to %s: got %v", test.from, test.to, err)
		}
	}
}

// A clock that jumps during a fetch makes the set too old: an outage.
func TestClockLeapsDuringFetch(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	h, set := new(hand), serving(t, k)
	arrived, release := make(chan struct{}, 1), make(chan struct{})
	p := publish(t, func(w http.ResponseWriter, r *http.Request) { arrived <- struct{}{}; <-release; set(w, r) })
	r := remote(t, p, h)
	r.begin(h.now())
	<-arrived
	h.forward(25 * time.Hour)
	_, err := r.Key(waits{t.Context(), sync.OnceFunc(func() { close(release) })}, k.ID(), "ES256")
	if !errors.Is(err, durward.AuthUnavailable) || codesIn(err) != 1 || !strings.Contains(err.Error(), "too old to serve") {
		t.Errorf("got %v, want AUTH_UNAVAILABLE alone", err)
	}
}

// waits is a context that reports when a call waits for it.
type waits struct {
	context.Context
	begun func()
}

func (w waits) Done() <-chan struct{} {
	w.begun()
	return w.Context.Done()
}

// A 304 to a request without an ETag is an error.
func TestNotModifiedUnasked(t *testing.T) {
	t.Parallel()
	k := generate(t, "ES256")
	p := publish(t, serving(t, k))
	h := new(hand)
	r := remote(t, p, h)
	found(t, r, k)
	p.now(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) })
	h.forward(fetchPause)
	notFound(t, r, "unknown", durward.AuthUnavailable, "the issuer answered 304")
	found(t, r, k)
}
