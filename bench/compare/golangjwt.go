package compare

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

// job: guard

type golangClaims struct {
	jwt.RegisteredClaims
	Scope string `json:"scope"`
}

func golangGuard(issuer, audience string) (http.Handler, error) {
	parse, err := golangParse(issuer, audience)
	if err != nil {
		return nil, err
	}
	return golangWith(parse, golangHello), nil
}

func golangParse(issuer, audience string) (func(string) (*golangClaims, error), error) {
	keys, err := keyfunc.NewDefault([]string{issuer + "/protocol/openid-connect/certs"})
	if err != nil {
		return nil, err
	}
	return func(token string) (*golangClaims, error) {
		var claims golangClaims
		_, err := jwt.ParseWithClaims(token, &claims, keys.Keyfunc, jwt.WithIssuer(issuer), jwt.WithAudience(audience))
		return &claims, err
	}, nil
}

func golangWith(parse func(string) (*golangClaims, error), next func(http.ResponseWriter, *golangClaims)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			http.Error(w, "missing token", http.StatusUnauthorized)
			return
		}
		claims, err := parse(raw)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		next(w, claims)
	})
}

func golangHello(w http.ResponseWriter, claims *golangClaims) {
	fmt.Fprint(w, "hello, ", claims.Subject)
}

// job: scope

func golangScope(issuer, audience, scope string) (http.Handler, error) {
	parse, err := golangParse(issuer, audience)
	if err != nil {
		return nil, err
	}
	return golangWith(parse, func(w http.ResponseWriter, claims *golangClaims) {
		if !slices.Contains(strings.Fields(claims.Scope), scope) {
			http.Error(w, "insufficient scope", http.StatusForbidden)
			return
		}
		golangHello(w, claims)
	}), nil
}

// job: issuers

func golangIssuers(first, second, audience string) (http.Handler, error) {
	parsers := make(map[string]func(string) (*golangClaims, error))
	for _, issuer := range []string{first, second} {
		parse, err := golangParse(issuer, audience)
		if err != nil {
			return nil, err
		}
		parsers[issuer] = parse
	}
	return golangWith(func(token string) (*golangClaims, error) {
		var claims golangClaims
		if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil {
			return nil, err
		}
		parse := parsers[claims.Issuer]
		if parse == nil {
			return nil, fmt.Errorf("unknown issuer")
		}
		return parse(token)
	}, golangHello), nil
}
