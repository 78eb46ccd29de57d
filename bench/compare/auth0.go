package compare

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	jwtmiddleware "github.com/auth0/go-jwt-middleware/v3"
	"github.com/auth0/go-jwt-middleware/v3/jwks"
	"github.com/auth0/go-jwt-middleware/v3/validator"
)

// job: guard

func auth0Guard(issuer, audience string) (http.Handler, error) {
	return auth0With(issuer, audience, http.HandlerFunc(auth0Hello))
}

func auth0With(issuer, audience string, next http.Handler, more ...validator.Option) (http.Handler, error) {
	location, err := url.Parse(issuer)
	if err != nil {
		return nil, err
	}
	keys, err := jwks.NewCachingProvider(jwks.WithIssuerURL(location))
	if err != nil {
		return nil, err
	}
	tokens, err := validator.New(append(more,
		validator.WithKeyFunc(keys.KeyFunc),
		validator.WithAlgorithm(validator.RS256),
		validator.WithIssuer(issuer),
		validator.WithAudience(audience),
	)...)
	if err != nil {
		return nil, err
	}
	middleware, err := jwtmiddleware.New(jwtmiddleware.WithValidator(tokens))
	if err != nil {
		return nil, err
	}
	return middleware.CheckJWT(next), nil
}

func auth0Hello(w http.ResponseWriter, r *http.Request) {
	claims, err := jwtmiddleware.GetClaims[*validator.ValidatedClaims](r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	fmt.Fprint(w, "hello, ", claims.RegisteredClaims.Subject)
}

// job: scope

type auth0Claims struct {
	Scope string `json:"scope"`
}

func (*auth0Claims) Validate(context.Context) error { return nil }

func auth0Scope(issuer, audience, scope string) (http.Handler, error) {
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, err := jwtmiddleware.GetClaims[*validator.ValidatedClaims](r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		custom, ok := claims.CustomClaims.(*auth0Claims)
		if !ok || !slices.Contains(strings.Fields(custom.Scope), scope) {
			http.Error(w, "insufficient scope", http.StatusForbidden)
			return
		}
		auth0Hello(w, r)
	})
	return auth0With(issuer, audience, next, validator.WithCustomClaims(func() *auth0Claims { return new(auth0Claims) }))
}

// job: issuers

func auth0Issuers(first, second, audience string) (http.Handler, error) {
	keys, err := jwks.NewMultiIssuerProvider()
	if err != nil {
		return nil, err
	}
	tokens, err := validator.New(
		validator.WithKeyFunc(keys.KeyFunc),
		validator.WithAlgorithm(validator.RS256),
		validator.WithIssuers([]string{first, second}),
		validator.WithAudience(audience),
	)
	if err != nil {
		return nil, err
	}
	middleware, err := jwtmiddleware.New(jwtmiddleware.WithValidator(tokens))
	if err != nil {
		return nil, err
	}
	return middleware.CheckJWT(http.HandlerFunc(auth0Hello)), nil
}
