// gin protects the routes of a gin engine with the access tokens of an issuer:
//
//	go run ./gin -issuer http://127.0.0.1:8401
//	curl -H "Authorization: Bearer $token" http://127.0.0.1:8080/notes
package main

import (
	"flag"
	"log"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
)

// require returns middleware that accepts only requests that satisfy p. Handlers find the principal
// in the request's context.
func require(guard *durward.Guard, p durward.Policy) gin.HandlerFunc {
	return func(c *gin.Context) {
		passed := false
		guard.Require(p, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			passed, c.Request = true, r
			c.Next()
		})).ServeHTTP(c.Writer, c.Request)
		if !passed {
			c.Abort()
		}
	}
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

	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	notes := engine.Group("/notes", require(guard, durward.Policy{}))
	notes.GET("", func(c *gin.Context) {
		c.String(http.StatusOK, "the notes of %s\n", durward.From(c.Request.Context()).Subject)
	})
	// Inside the guard only the policy is checked; the credentials are verified already.
	notes.POST("", require(guard, durward.Policy{Scopes: []string{"write"}}), func(c *gin.Context) { c.Status(http.StatusNoContent) })
	log.Fatal(http.ListenAndServe(*listen, engine))
}
