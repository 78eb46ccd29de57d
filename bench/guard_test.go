package main

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
)

func BenchmarkCached(b *testing.B) {
	t, keys, err := token("ES256")
	if err != nil {
		b.Fatal(err)
	}
	v, err := jwt.New(jwt.Config{Issuer: issuer, Audience: []string{audience}, Keys: keys})
	if err != nil {
		b.Fatal(err)
	}
	g, err := durward.New(durward.Config{Schemes: []durward.Scheme{v.Scheme()}, PublicURL: audience, InsecureAllowHTTP: true})
	if err != nil {
		b.Fatal(err)
	}
	guarded := g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	r := httptest.NewRequest("GET", audience+"/things", nil)
	r.Header.Set("Authorization", "Bearer "+t)
	b.ReportAllocs()
	for b.Loop() {
		guarded.ServeHTTP(nothing{make(http.Header)}, r)
	}
}
