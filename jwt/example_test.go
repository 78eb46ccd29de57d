package jwt_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/jwt"
)

// An API that accepts the access tokens of one issuer.
func ExampleBearer() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /notes", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "notes of", durward.From(r.Context()).Subject)
	})
	api := durward.Protect(mux, jwt.Bearer("https://auth.example.com", "https://api.example.com"))

	w := httptest.NewRecorder()
	api.ServeHTTP(w, httptest.NewRequest("GET", "https://api.example.com/notes", nil))
	fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	// Output: 401 Bearer realm="restricted"
}

// The access tokens of a Keycloak realm, with the roles of one client.
func ExampleBearer_provider() {
	profile := jwt.Keycloak
	profile.Roles = []string{"/resource_access/orders/roles"}
	orders := jwt.Bearer("https://id.example.com/realms/shop", "orders", profile)
	guard, err := durward.New(durward.Config{Schemes: []durward.Scheme{orders}})
	if err != nil {
		log.Fatal(err)
	}
	clerks := guard.Require(durward.Policy{Allow: func(_ *http.Request, who *durward.Principal) error {
		if !slices.Contains(who.Roles, "clerk") {
			return fmt.Errorf("roles %q: %w", who.Roles, durward.Forbidden)
		}
		return nil
	}}, http.NotFoundHandler())

	w := httptest.NewRecorder()
	clerks.ServeHTTP(w, httptest.NewRequest("GET", "https://orders.example.com/", nil))
	fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	// Output: 401 Bearer realm="restricted"
}

// A verifier with keys in memory, as for tests or for an issuer in the same process.
func ExampleNew() {
	key, err := jwt.GenerateKey("ES256")
	if err != nil {
		log.Fatal(err)
	}
	keys, err := jwt.NewKeys(key.Public())
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := jwt.New(jwt.Config{
		Issuer:   "https://auth.example.com",
		Audience: []string{"https://api.example.com"},
		Keys:     keys,
	})
	if err != nil {
		log.Fatal(err)
	}

	now := time.Now()
	token, err := key.Sign(jwt.Claims{
		Issuer:   "https://auth.example.com",
		Subject:  "ada",
		Audience: []string{"https://api.example.com"},
		IssuedAt: now,
		Expires:  now.Add(15 * time.Minute),
		ID:       "4f1c",
		ClientID: "notes-app",
		Scopes:   []string{"notes.read"},
	})
	if err != nil {
		log.Fatal(err)
	}
	principal, err := verifier.Verify(context.Background(), token)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(principal.Subject, principal.Scopes)
	// Output: ada [notes.read]
}

// The metadata of an issuer names the location of its key set.
func ExampleNewRemoteKeys() {
	keys, err := jwt.NewRemoteKeys(jwt.RemoteConfig{Issuer: "https://login.example.org/tenant"})
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := jwt.New(jwt.Config{
		Issuer:     "https://login.example.org/tenant",
		Audience:   []string{"https://api.example.com"},
		Algorithms: []string{"RS256"},
		Keys:       keys,
	})
	if err != nil {
		log.Fatal(err)
	}
	api := durward.Protect(http.NotFoundHandler(), verifier.Scheme())
	_ = http.Server{Addr: ":8443", Handler: api}
}

// Opaque tokens: the issuer answers whether a token is active.
func ExampleNewIntrospector() {
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"active":true,"sub":"ada","aud":"https://api.example.com","exp":%d}`, time.Now().Add(time.Minute).Unix())
	}))
	defer issuer.Close()

	introspector, err := jwt.NewIntrospector(jwt.IntrospectorConfig{
		URL:          issuer.URL,
		Audience:     []string{"https://api.example.com"},
		ClientID:     "api",
		ClientSecret: "a secret of the API at the issuer",
	})
	if err != nil {
		log.Fatal(err)
	}
	principal, err := introspector.Verify(context.Background(), "opaque-token")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(principal.Subject)
	// Output: ada
}

// issue returns a token of an issuer for https://api.example.com.
func issue(key *jwt.PrivateKey, issuer string, expires time.Time, scopes ...string) string {
	token, err := key.Sign(jwt.Claims{
		Issuer:   issuer,
		Subject:  "ada",
		Audience: []string{"https://api.example.com"},
		IssuedAt: expires.Add(-15 * time.Minute),
		Expires:  expires,
		ID:       "4f1c",
		ClientID: "notes-app",
		Scopes:   scopes,
	})
	if err != nil {
		log.Fatal(err)
	}
	return token
}

// verifierOf returns a verifier for the tokens of issue.
func verifierOf(key *jwt.PrivateKey, issuer string) *jwt.Verifier {
	keys, err := jwt.NewKeys(key.Public())
	if err != nil {
		log.Fatal(err)
	}
	v, err := jwt.New(jwt.Config{Issuer: issuer, Audience: []string{"https://api.example.com"}, Keys: keys})
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// The code in an error tells a refused token from an outage. The guard makes the same decision.
func ExampleVerifier_Verify() {
	key, err := jwt.GenerateKey("ES256")
	if err != nil {
		log.Fatal(err)
	}
	const issuer = "https://auth.example.com"
	inMemory := verifierOf(key, issuer)
	keys, err := jwt.NewRemoteKeys(jwt.RemoteConfig{URL: "http://127.0.0.1:1/.well-known/jwks.json"}) // a closed port
	if err != nil {
		log.Fatal(err)
	}
	remote, err := jwt.New(jwt.Config{Issuer: issuer, Audience: []string{"https://api.example.com"}, Keys: keys})
	if err != nil {
		log.Fatal(err)
	}

	now := time.Now()
	for _, c := range []struct {
		verifier *jwt.Verifier
		token    string
	}{
		{inMemory, issue(key, issuer, now.Add(time.Minute))},
		{inMemory, issue(key, issuer, now.Add(-time.Minute))},
		{inMemory, issue(key, "https://elsewhere.example.com", now.Add(time.Minute))},
		{remote, issue(key, issuer, now.Add(time.Minute))},
	} {
		_, err := c.verifier.Verify(context.Background(), c.token)
		code, _ := errors.AsType[durward.Code](err)
		fmt.Printf("%t %q\n", err == nil, code)
	}
	// Output:
	// true ""
	// false "TOKEN_EXPIRED"
	// false "INVALID_TOKEN"
	// false "AUTH_UNAVAILABLE"
}

// A route that requires a scope.
func ExampleVerifier_Scheme() {
	key, err := jwt.GenerateKey("Ed25519")
	if err != nil {
		log.Fatal(err)
	}
	const issuer = "https://auth.example.com"
	guard, err := durward.New(durward.Config{Schemes: []durward.Scheme{verifierOf(key, issuer).Scheme()}})
	if err != nil {
		log.Fatal(err)
	}
	write := guard.Require(durward.Policy{Scopes: []string{"write"}}, http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	for _, scope := range []string{"read", "write"} {
		r := httptest.NewRequest("POST", "https://api.example.com/notes", nil)
		r.Header.Set("Authorization", "Bearer "+issue(key, issuer, time.Now().Add(time.Minute), scope))
		w := httptest.NewRecorder()
		write.ServeHTTP(w, r)
		fmt.Println(scope, w.Code)
	}
	// Output:
	// read 403
	// write 204
}

// The iss of a token selects the verifier; a key of one issuer verifies no token of another.
func ExampleNewIssuers() {
	const customers, staff = "https://id.example.com/customers", "https://id.example.com/staff"
	customersKey, err := jwt.GenerateKey("ES256")
	if err != nil {
		log.Fatal(err)
	}
	staffKey, err := jwt.GenerateKey("ES256")
	if err != nil {
		log.Fatal(err)
	}
	both, err := jwt.NewIssuers(verifierOf(customersKey, customers), verifierOf(staffKey, staff))
	if err != nil {
		log.Fatal(err)
	}
	until := time.Now().Add(time.Minute)
	for _, token := range []string{issue(staffKey, staff, until), issue(customersKey, staff, until)} {
		principal, err := both.Verify(context.Background(), token)
		if err != nil {
			fmt.Println(errors.Is(err, durward.InvalidToken))
			continue
		}
		fmt.Println(principal.Subject, principal.Issuer) // a subject is unique within its issuer
	}
	// Output:
	// ada https://id.example.com/staff
	// true
}

// An API for the users of a Keycloak realm and for workflows of GitHub.
func ExampleVerifierOf() {
	issuers, err := jwt.NewIssuers(
		jwt.VerifierOf("https://id.example.com/realms/shop", "orders", jwt.Keycloak),
		jwt.VerifierOf("https://token.actions.githubusercontent.com", "https://orders.example.com", jwt.GitHubActions),
	)
	if err != nil {
		log.Fatal(err)
	}
	api := durward.Protect(http.NotFoundHandler(), issuers.Scheme())

	w := httptest.NewRecorder()
	api.ServeHTTP(w, httptest.NewRequest("GET", "https://orders.example.com/", nil))
	fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	// Output: 401 Bearer realm="restricted"
}

// Inspect shows a token that a verifier refuses. Nothing in it is verified.
func ExampleInspect() {
	key, err := jwt.GenerateKey("ES256")
	if err != nil {
		log.Fatal(err)
	}
	token := issue(key, "https://auth.example.com", time.Now().Add(time.Minute))
	inspection, err := jwt.Inspect(token)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(inspection.Claims.Issuer, inspection.Claims.Audience, len(inspection.Problems))
	// Output: https://auth.example.com [https://api.example.com] 0
}

// A token that is bound to a key needs a proof with each request (RFC 9449).
func ExampleVerifier_DPoP() {
	const issuer = "https://auth.example.com"
	signing, err := jwt.GenerateKey("ES256") // of the issuer
	if err != nil {
		log.Fatal(err)
	}
	verifier := verifierOf(signing, issuer)
	guard, err := durward.New(durward.Config{
		Schemes:   []durward.Scheme{verifier.DPoP(jwt.DPoPConfig{})},
		PublicURL: "https://api.example.com", // proofs name this origin
	})
	if err != nil {
		log.Fatal(err)
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "https://api.example.com/notes", nil)
	r.Header.Set("Authorization", "Bearer "+issue(signing, issuer, time.Now().Add(time.Minute)))
	guard.Handler(http.NotFoundHandler()).ServeHTTP(w, r)
	fmt.Println(w.Code, w.Header().Get("WWW-Authenticate"))
	// Output: 401 DPoP realm="restricted", algs="ES256 EdDSA Ed25519"
}
