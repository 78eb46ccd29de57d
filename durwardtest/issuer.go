// Package durwardtest is for tests of programs that use durward: it has a fake issuer, a certificate
// authority, a lab of known refusals, and a check of a handler's own refusals. Listeners are on
// loopback and end with the test.
package durwardtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward/jwt"
)

// Audience is the default audience of an [Issuer]'s tokens.
const Audience = "https://api.example.com"

// Issuer is an issuer of access tokens. Its key set is at /.well-known/jwks.json, and its metadata
// at /.well-known/openid-configuration names it. Its methods are safe for concurrent use.
type Issuer struct {
	URL string // the iss of its tokens

	t   testing.TB
	srv *httptest.Server

	mu      sync.Mutex
	keys    []*jwt.PrivateKey // the last key signs
	away    bool
	fetches int
	tokens  int
}

// NewIssuer starts an issuer.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{t: t}
	i.srv = httptest.NewServer(http.HandlerFunc(i.serve))
	t.Cleanup(i.srv.Close)
	i.URL = i.srv.URL
	i.Rotate()
	return i
}

func (i *Issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.away {
		http.Error(w, "away", http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/.well-known/jwks.json"}) // an error means that the client disconnected
	case "/.well-known/jwks.json":
		i.fetches++
		var public []*jwt.Key
		for _, k := range i.keys {
			public = append(public, k.Public())
		}
		set, err := jwt.MarshalKeySet(public)
		if err != nil {
			i.t.Errorf("durwardtest: %v", err)
		}
		_, _ = w.Write(set)
	default:
		http.NotFound(w, r)
	}
}

// Token returns an access token that is valid for a quarter of an hour, with the subject "ada", the
// audience [Audience] and the scope "profile". change, if it is not nil, changes the claims before
// they are signed. It cannot create a token that every verifier would refuse.
func (i *Issuer) Token(change func(*jwt.Claims)) string {
	i.t.Helper()
	i.mu.Lock()
	i.tokens++
	key, n := i.keys[len(i.keys)-1], i.tokens
	i.mu.Unlock()
	now := time.Now().Truncate(time.Second)
	c := jwt.Claims{
		Issuer: i.URL, Subject: "ada", Audience: []string{Audience}, Expires: now.Add(15 * time.Minute), IssuedAt: now,
		ID: fmt.Sprint("token-", n), ClientID: "test", Scopes: []string{"profile"}, SessionID: "session-1",
		AuthTime: now, ACR: "urn:durward:acr:1fa", AMR: []string{"pwd"},
	}
	if change != nil {
		change(&c)
	}
	token, err := key.Sign(c)
	if err != nil {
		i.t.Fatalf("durwardtest: %v", err)
	}
	return token
}

// Rotate creates a new signing key. The old keys stay in the key set.
func (i *Issuer) Rotate() {
	i.t.Helper()
	key, err := jwt.GenerateKey("ES256")
	if err != nil {
		i.t.Fatalf("durwardtest: %v", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append(i.keys, key)
}

// Withdraw removes every key except the signing key from the key set.
func (i *Issuer) Withdraw() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = i.keys[len(i.keys)-1:]
}

// SetAway simulates an outage: while away is true, the issuer answers every request with 502.
func (i *Issuer) SetAway(away bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.away = away
}

// Fetches returns how often the key set was fetched.
func (i *Issuer) Fetches() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.fetches
}
