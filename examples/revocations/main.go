// revocations guards an API with the access tokens of a Durward server, and refuses
// one within a second of its revocation there:
//
//	durward apikey add root@example.com --name notes --scope revocations > key
//	go run ./revocations -issuer http://127.0.0.1:8401 -key key
//	curl -H "Authorization: Bearer $token" http://127.0.0.1:8080/notes
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/jwt"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address")
	issuer := flag.String("issuer", "http://127.0.0.1:8401", "the exact iss of the tokens, and where it is")
	keyFile := flag.String("key", "key", "file with an API key that has the scope revocations")
	flag.Parse()
	ctx := context.Background()

	revoked, err := api.NewRevocations(ctx, api.Config{URL: *issuer, Token: func(context.Context) (string, error) {
		key, err := os.ReadFile(*keyFile) // anew each time, so that it can be exchanged
		return string(bytes.TrimSpace(key)), err
	}})
	if err != nil {
		log.Fatal(err)
	}
	go revoked.Run(ctx)
	keys, err := jwt.NewRemoteKeys(jwt.RemoteConfig{URL: *issuer + "/.well-known/jwks.json"})
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := jwt.New(jwt.Config{Issuer: *issuer, Audience: []string{*issuer}, Keys: keys, Revoked: revoked.Check, RevokedAsOf: revoked.AsOf})
	if err != nil {
		log.Fatal(err)
	}
	guard, err := durward.New(durward.Config{Realm: "notes", Schemes: []durward.Scheme{verifier.Scheme()}})
	if err != nil {
		log.Fatal(err)
	}
	notes := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "the notes of", durward.From(r.Context()).Subject)
	})
	mux := http.NewServeMux()
	mux.Handle("GET /notes", notes)
	// While the server is away the list of before serves here, and not there.
	mux.Handle("DELETE /notes", guard.Require(durward.Policy{Freshness: 10 * time.Second}, notes))
	log.Fatal(http.ListenAndServe(*listen, guard.Handler(mux)))
}
