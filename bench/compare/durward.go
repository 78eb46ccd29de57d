package compare

import (
	"fmt"
	"net/http"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
)

// job: guard

func durwardGuard(issuer, audience string) (http.Handler, error) {
	return durward.Protect(http.HandlerFunc(durwardHello), jwt.Bearer(issuer, audience, jwt.Keycloak)), nil
}

func durwardHello(w http.ResponseWriter, r *http.Request) {
	fmt.Fprint(w, "hello, ", durward.From(r.Context()).Subject)
}

// job: scope

func durwardScope(issuer, audience, scope string) (http.Handler, error) {
	guard, err := durward.New(durward.Config{
		Schemes: []durward.Scheme{jwt.Bearer(issuer, audience, jwt.Keycloak)},
	})
	if err != nil {
		return nil, err
	}
	return guard.Require(durward.Policy{Scopes: []string{scope}}, http.HandlerFunc(durwardHello)), nil
}

// job: issuers

func durwardIssuers(first, second, audience string) (http.Handler, error) {
	var verifiers []*jwt.Verifier
	for _, issuer := range []string{first, second} {
		keys, err := jwt.NewRemoteKeys(jwt.RemoteConfig{Issuer: issuer})
		if err != nil {
			return nil, err
		}
		v, err := jwt.New(jwt.Config{
			Issuer:     issuer,
			Audience:   []string{audience},
			Algorithms: []string{"RS256"},
			Keys:       keys,
			Profile:    jwt.Keycloak,
		})
		if err != nil {
			return nil, err
		}
		verifiers = append(verifiers, v)
	}
	both, err := jwt.NewIssuers(verifiers...)
	if err != nil {
		return nil, err
	}
	return durward.Protect(http.HandlerFunc(durwardHello), both.Scheme()), nil
}
