package client

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/durward-auth/durward"
)

// nothing is a RoundTripper without a network.
type nothing struct{}

func (nothing) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 204, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

// BenchmarkTransport measures a request with known credentials, without a network.
func BenchmarkTransport(b *testing.B) {
	const origin = "https://api.example.com"
	store := &MemoryStore{token: Token{Access: "token", Type: "Bearer", Received: time.Now(), Expires: time.Now().Add(time.Hour)}}
	digest := Password(PasswordConfig{Origin: origin, User: "ada", Password: "secret"}).(own).source.(*password)
	d, err := newDigestState(durward.Challenge{Scheme: "Digest", Params: []durward.Param{{Name: "realm", Value: "r"}, {Name: "nonce", Value: "n"}, {Name: "qop", Value: "auth"}, {Name: "algorithm", Value: "SHA-256"}}}, digest.c)
	if err != nil {
		b.Fatal(err)
	}
	digest.spaces = []*space{{realm: "r", level: 11, under: []string{"/"}, digest: d}}
	for _, test := range []struct {
		name    string
		sources []Source
	}{
		{"none", nil},
		{"tokens", []Source{Tokens(TokensConfig{Origins: []string{origin}, Store: store, Next: func(context.Context, Token) (Token, error) { panic("asked") }})}},
		{"key", []Source{Key(KeyConfig{Origin: origin, Key: "dk_key"})}},
		{"digest", []Source{own{digest}}},
	} {
		b.Run(test.name, func(b *testing.B) {
			t := &Transport{Base: nothing{}, Sources: test.sources}
			r, err := http.NewRequest("GET", origin+"/api/profile", nil)
			if err != nil {
				b.Fatal(err)
			}
			r.Header.Set("Accept", "application/json")
			b.ReportAllocs()
			for b.Loop() {
				if resp, err := t.RoundTrip(r); err != nil || resp.StatusCode != 204 {
					b.Fatal(resp, err)
				}
			}
		})
	}
	b.Run("base alone", func(b *testing.B) {
		r, err := http.NewRequest("GET", origin+"/api/profile", nil)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			_, _ = nothing{}.RoundTrip(r)
		}
	})
}
