package jwt_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
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
