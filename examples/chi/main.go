// chi protects the routes of a chi router with the access tokens of an issuer. The methods of a guard
// are middleware for chi:
//
//	go run ./chi -issuer http://127.0.0.1:8401
//	curl -H "Authorization: Bearer $token" http://127.0.0.1:8080/notes
package main

import (
	"flag"
	"fmt"
	"log"
	"net/http"

	"github.com/go-chi/chi/v5"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address")
	issuer := flag.String("issuer", "http://127.0.0.1:8401", "the exact iss of the tokens; its keys are at /.well-known/jwks.json")
	audience := flag.String("audience", "http://127.0.0.1:8401", "the name of this API in aud")
	flag.Parse()

	guard, err := durward.New(durward.Config{Realm: "notes", Schemes: []durward.Scheme{jwt.Bearer(*issuer, *audience)}})
	if err != nil {
		log.Fatal(err)
	}
	scope := func(scopes ...string) func(http.Handler) http.Handler {
		return func(next http.Handler) http.Handler { return guard.Require(durward.Policy{Scopes: scopes}, next) }
	}

	r := chi.NewRouter()
	r.With(guard.Open).Get("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	r.Group(func(r chi.Router) {
		r.Use(guard.Handler)
		r.Get("/notes", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintln(w, "the notes of", durward.From(r.Context()).Subject)
		})
		// Inside the guard only the policy is checked; the credentials are verified already.
		r.With(scope("write")).Post("/notes", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	})
	log.Fatal(http.ListenAndServe(*listen, r))
}
