// echo protects the routes of Echo with the access tokens of an issuer:
//
//	go run ./echo -issuer http://127.0.0.1:8401
//	curl -H "Authorization: Bearer $token" http://127.0.0.1:8080/notes
package main

import (
	"flag"
	"log"
	"net/http"

	"github.com/labstack/echo/v5"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
)

// require returns middleware that accepts only requests that satisfy p.
func require(guard *durward.Guard, p durward.Policy) echo.MiddlewareFunc {
	return echo.WrapMiddleware(func(next http.Handler) http.Handler { return guard.Require(p, next) })
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address")
	issuer := flag.String("issuer", "http://127.0.0.1:8401", "the exact iss of the tokens; its keys are at /.well-known/jwks.json")
	audience := flag.String("audience", "http://127.0.0.1:8401", "the name of this API in aud")
	flag.Parse()

	guard, err := durward.New(durward.Config{Realm: "notes", Schemes: []durward.Scheme{jwt.Bearer(*issuer, *audience)}})
	if err != nil {
		log.Fatal(err)
	}

	e := echo.New()
	e.GET("/healthz", func(c *echo.Context) error { return c.String(http.StatusOK, "ok\n") })
	notes := e.Group("/notes", require(guard, durward.Policy{}))
	notes.GET("", func(c *echo.Context) error {
		return c.String(http.StatusOK, "the notes of "+durward.From(c.Request().Context()).Subject+"\n")
	})
	// Inside the guard only the policy is checked; the credentials are verified already.
	notes.POST("", func(c *echo.Context) error { return c.NoContent(http.StatusNoContent) }, require(guard, durward.Policy{Scopes: []string{"write"}}))
	log.Fatal(http.ListenAndServe(*listen, e))
}
