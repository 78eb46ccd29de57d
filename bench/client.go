package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"time"

	"github.com/icholy/digest"
	"golang.org/x/oauth2"

	durwardclient "github.com/durward-auth/durward/client"
)

// answers is a server without a network: it answers 204, and asks for Digest where the
// request has no Authorization.
type answers struct{ asks bool }

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	resp := &http.Response{StatusCode: http.StatusNoContent, Header: http.Header{}, Body: http.NoBody, Request: r}
	if a.asks && r.Header["Authorization"] == nil {
		resp.StatusCode = 401
		resp.Header["Www-Authenticate"] = []string{`Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256`}
	}
	return resp, nil
}

// transports measures what a RoundTripper costs over its base when the credentials are
// good, beside those of others in the same run.
func transports() ([]row, error) {
	const origin = "https://api.example.com"
	tokens := durwardclient.Tokens(durwardclient.TokensConfig{Origins: []string{origin}, Next: func(context.Context, durwardclient.Token) (durwardclient.Token, error) {
		return durwardclient.Token{Access: "token", Type: "Bearer", Received: time.Now(), Expires: time.Now().Add(time.Hour)}, nil
	}})
	password := durwardclient.Password(durwardclient.PasswordConfig{Origin: origin, User: "ada", Password: "secret"})
	r, err := http.NewRequest("GET", origin+"/api/profile", nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	cost := func(asks bool, t http.RoundTripper) (each time.Duration, allocations int64, err error) {
		for range 2 { // so that what is asked for first is there
			if resp, err := t.RoundTrip(r); err != nil || resp.StatusCode != http.StatusNoContent {
				return 0, 0, fmt.Errorf("client: %v %v", resp, err)
			}
		}
		with, n := perCall(func() { _, _ = t.RoundTrip(r) })
		base := http.RoundTripper(answers{asks})
		without, before := perCall(func() { _, _ = base.RoundTrip(r) })
		return with - without, n - before, nil
	}
	var rows []row
	for _, pair := range []struct {
		what, aim, other string
		asks             bool
		ours, theirs     http.RoundTripper
	}{
		{"client: a request with a good token", "1 µs", "oauth2.Transport", false, &durwardclient.Transport{Base: answers{}, Sources: []durwardclient.Source{tokens}},
			&oauth2.Transport{Base: answers{}, Source: oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "token"})}},
		{"client: a request with Digest SHA-256", "", "icholy/digest", true, &durwardclient.Transport{Base: answers{true}, Sources: []durwardclient.Source{password}},
			&digest.Transport{Username: "ada", Password: "secret", Transport: answers{true}}},
	} {
		each, n, err := cost(pair.asks, pair.ours)
		if err != nil {
			return nil, err
		}
		theirs, m, err := cost(pair.asks, pair.theirs)
		if err != nil {
			return nil, err
		}
		rows = append(rows, row{pair.what, fmt.Sprintf("%s, %d allocations", rounded(each), n), fmt.Sprintf("%s %s, %d allocations", pair.other, rounded(theirs), m), fmt.Sprintf("%.2f", float64(each)/float64(theirs)), pair.aim})
	}
	calls, err := waiters(100)
	if err != nil {
		return nil, err
	}
	return append(rows, row{"client: calls of the token endpoint that fails, 100 requests waiting", fmt.Sprint(calls), "one for all", "", "1"}), nil
}

// waiters lets n requests wait for a token endpoint that fails, and returns how often it
// was called.
func waiters(n int) (calls int64, err error) {
	var count atomic.Int64
	release := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		count.Add(1)
		<-release
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer s.Close()
	c := durwardclient.New(durwardclient.Tokens(durwardclient.TokensConfig{Origins: []string{s.URL}, Next: (&durwardclient.OAuth{TokenURL: s.URL, ClientID: "c"}).ClientCredentials}))
	var all sync.WaitGroup
	var heard atomic.Int64
	for range n {
		all.Go(func() {
			if _, err := c.Get(s.URL); err != nil {
				heard.Add(1)
			}
		})
	}
	for count.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	close(release)
	all.Wait()
	if heard.Load() != int64(n) {
		return 0, fmt.Errorf("client: %d of %d heard of the failure", heard.Load(), n)
	}
	return count.Load(), nil
}
