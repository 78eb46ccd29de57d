package compare

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
)

// job: guard

func oidcGuard(issuer, audience string) (http.Handler, error) {
	provider, err := oidc.NewProvider(context.Background(), issuer)
	if err != nil {
		return nil, err
	}
	verifier := provider.Verifier(&oidc.Config{ClientID: audience})
	return oidcWith(verifier.Verify, oidcHello), nil
}

type oidcVerify func(ctx context.Context, token string) (*oidc.IDToken, error)

func oidcWith(verify oidcVerify, next func(http.ResponseWriter, *oidc.IDToken)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			http.Error(w, "missing token", http.StatusUnauthorized)
			return
		}
		token, err := verify(r.Context(), raw)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		next(w, token)
	})
}

func oidcHello(w http.ResponseWriter, token *oidc.IDToken) { fmt.Fprint(w, "hello, ", token.Subject) }

// job: scope

func oidcScope(issuer, audience, scope string) (http.Handler, error) {
	provider, err := oidc.NewProvider(context.Background(), issuer)
	if err != nil {
		return nil, err
	}
	verifier := provider.Verifier(&oidc.Config{ClientID: audience})
	return oidcWith(verifier.Verify, func(w http.ResponseWriter, token *oidc.IDToken) {
		var claims struct {
			Scope string `json:"scope"`
		}
		if err := token.Claims(&claims); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		if !slices.Contains(strings.Fields(claims.Scope), scope) {
			http.Error(w, "insufficient scope", http.StatusForbidden)
			return
		}
		oidcHello(w, token)
	}), nil
}

// job: issuers

func oidcIssuers(first, second, audience string) (http.Handler, error) {
	verifiers := make(map[string]*oidc.IDTokenVerifier)
	for _, issuer := range []string{first, second} {
		provider, err := oidc.NewProvider(context.Background(), issuer)
		if err != nil {
			return nil, err
		}
		verifiers[issuer] = provider.Verifier(&oidc.Config{ClientID: audience})
	}
	return oidcWith(func(ctx context.Context, token string) (*oidc.IDToken, error) {
		parts := strings.Split(token, ".")
		if len(parts) != 3 {
			return nil, fmt.Errorf("not a JWT")
		}
		payload, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			return nil, err
		}
		var claims struct {
			Issuer string `json:"iss"`
		}
		if err := json.Unmarshal(payload, &claims); err != nil {
			return nil, err
		}
		verifier := verifiers[claims.Issuer]
		if verifier == nil {
			return nil, fmt.Errorf("unknown issuer")
		}
		return verifier.Verify(ctx, token)
	}, oidcHello), nil
}
