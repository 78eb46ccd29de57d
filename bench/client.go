package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/icholy/digest"
	"golang.org/x/oauth2"

	auth "github.com/durward-auth/durward/client"
)

// answers is a server without a network. It answers 204, or asks for Digest if the request has no
// Authorization.
type answers struct{ asks bool }

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	resp := &http.Response{StatusCode: http.StatusNoContent, Header: http.Header{}, Body: http.NoBody, Request: r}
	if a.asks && r.Header["Authorization"] == nil {
		resp.StatusCode = 401
		resp.Header["Www-Authenticate"] = []string{`Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256`}
	}
	return resp, nil
}

// transports measures the cost of a RoundTripper above its base, with accepted credentials. The
// limits are other libraries.
func transports() (rows []row) {
	const origin = "https://api.example.com"
	tokens := auth.Tokens(auth.TokensConfig{
		Origins: []string{origin},
		Next: func(context.Context, auth.Token) (auth.Token, error) {
			return auth.Token{Access: "token", Expires: time.Now().Add(time.Hour)}, nil
		},
	})
	password := auth.Password(auth.PasswordConfig{Origin: origin, User: "ada", Password: "secret"})
	r := must(http.NewRequest("GET", origin+"/api/profile", nil))
	r.Header.Set("Accept", "application/json")
	cost := func(base answers, t http.RoundTripper) (each time.Duration, allocations int64) {
		for range 2 { // the first request gets a token or a challenge
			if resp := must(t.RoundTrip(r)); resp.StatusCode != http.StatusNoContent {
				check(errors.New("client: " + resp.Status))
			}
		}
		with, n := perCall(func() { _, _ = t.RoundTrip(r) })
		without, before := perCall(func() { _, _ = http.RoundTripper(base).RoundTrip(r) })
		return with - without, n - before
	}
	token, challenge := answers{}, answers{asks: true}
	for _, pair := range []struct {
		what, aim, other string
		base             answers
		source           auth.Source
		theirs           http.RoundTripper
	}{
		{"client: a request with a valid token", "1 µs", "oauth2.Transport", token, tokens,
			&oauth2.Transport{Base: token, Source: oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "token"})}},
		{"client: a request with Digest SHA-256", "", "icholy/digest", challenge, password,
			&digest.Transport{Username: "ada", Password: "secret", Transport: challenge}},
	} {
		ours, n := cost(pair.base, &auth.Transport{Base: pair.base, Sources: []auth.Source{pair.source}})
		theirs, m := cost(pair.base, pair.theirs)
		rows = append(rows, row{pair.what, fmt.Sprintf("%s, %d allocations", rounded(ours), n),
			fmt.Sprintf("%s %s, %d allocations", pair.other, rounded(theirs), m),
			fmt.Sprintf("%.2f", float64(ours)/float64(theirs)), pair.aim})
	}
	return rows
}
