// Package compare does the same jobs with Durward and with three other Go libraries for access tokens.
// Each library has a file; a line "// job: NAME" begins the code of a job. The test counts the lines of
// each job, sends the same tokens to all libraries and compares the results with the tables in
// docs/library.md.
//
// The code is what the manual of each library shows, with its defaults. Where a library leaves the answer
// to the application, the code writes the library's error as the text of a 401.
package compare

import "net/http"

// A library is one of the compared libraries.
type library struct {
	file   string // in this folder
	module string // whose version the tables show
	name   string

	// guard returns a handler that accepts the tokens of an issuer for an audience and responds with
	// the subject.
	guard func(issuer, audience string) (http.Handler, error)

	// scope returns the same handler for tokens with a scope.
	scope func(issuer, audience, scope string) (http.Handler, error)

	// issuers returns the same handler for the tokens of two issuers.
	issuers func(first, second, audience string) (http.Handler, error)
}

var libraries = []library{
	{
		file:    "durward.go",
		name:    "Durward",
		guard:   durwardGuard,
		scope:   durwardScope,
		issuers: durwardIssuers,
	},
	{
		file:    "auth0.go",
		module:  "github.com/auth0/go-jwt-middleware/v3",
		name:    "go-jwt-middleware",
		guard:   auth0Guard,
		scope:   auth0Scope,
		issuers: auth0Issuers,
	},
	{
		file:    "oidc.go",
		module:  "github.com/coreos/go-oidc/v3",
		name:    "go-oidc",
		guard:   oidcGuard,
		scope:   oidcScope,
		issuers: oidcIssuers,
	},
	{
		file:    "golangjwt.go",
		module:  "github.com/golang-jwt/jwt/v5",
		name:    "golang-jwt",
		guard:   golangGuard,
		scope:   golangScope,
		issuers: golangIssuers,
	},
}
