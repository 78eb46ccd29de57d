// bearer protects an API with the access tokens of an issuer, such as durward serve:
//
//	go run ./bearer -issuer http://127.0.0.1:8401
//	curl -H "Authorization: Bearer $token" http://127.0.0.1:8080/notes
package main

import (
	"flag"
	"fmt"
	"log"
	"net/http"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address")
	issuer := flag.String("issuer", "http://127.0.0.1:8401", "the exact iss of the tokens; its keys are at /.well-known/jwks.json")
	audience := flag.String("audience", "", "the name of this API in aud; empty is the issuer's own")
	flag.Parse()
	if *audience == "" {
		*audience = *issuer
	}

	guard, err := durward.New(durward.Config{
		Realm:   "notes",
		Schemes: []durward.Scheme{jwt.Bearer(*issuer, *audience)},
	})
	if err != nil {
		log.Fatal(err)
	}
	read := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "the notes of", durward.From(r.Context()).Subject)
	}
	write := func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) }

	mux := http.NewServeMux()
	mux.HandleFunc("GET /notes", read)
	// Inside the guard only the policy is checked; the credentials are verified already.
	mux.Handle("POST /notes", guard.Require(durward.Policy{Scopes: []string{"write"}}, http.HandlerFunc(write)))
	log.Fatal(http.ListenAndServe(*listen, guard.Handler(mux)))
}
