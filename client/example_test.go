package client_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/client"
)

func ExampleNew() {
	files := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "ada" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="files"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer files.Close()

	c := client.New(client.Password(client.PasswordConfig{Origin: files.URL, User: "ada", Password: "secret"}))
	resp, err := c.Get(files.URL + "/notes.txt")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	// Output: 200 OK
}

// A service gets tokens with its client secret. A token that the API refuses is replaced once.
func ExampleTokens() {
	issued := 0
	auth := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		issued++
		fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":900}`, issued)
	}))
	defer auth.Close()
	notes := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("received", r.Header.Get("Authorization"))
		if r.Header.Get("Authorization") == "Bearer token-1" {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer notes.Close()

	oauth := &client.OAuth{TokenURL: auth.URL, ClientID: "reports", Secret: "secret", Scopes: []string{"read"}}
	c := client.New(client.Tokens(client.TokensConfig{Origins: []string{notes.URL}, Next: oauth.ClientCredentials}))
	resp, err := c.Get(notes.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	// Output:
	// received Bearer token-1
	// received Bearer token-2
	// 200 OK
}

// CheckResponse describes a refusal for logs and people.
func ExampleCheckResponse() {
	notes := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="notes", error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer notes.Close()

	resp, err := http.Get(notes.URL)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	fmt.Println(client.CheckResponse(resp))
	// Output: durward: 401 Unauthorized; it wants Bearer (realm "notes", error "invalid_token")
}

// images is a source for a registry of container images. The registry's challenge names a token
// server and a scope. The source compares the token server with its configuration, so that a
// challenge cannot send credentials elsewhere.
type images struct {
	registry string                                                  // such as https://registry.example.com
	realm    string                                                  // such as https://auth.example.com/token
	token    func(ctx context.Context, scope string) (string, error) // calls realm with a client that has a Password
}

func (i images) Authorize(r *http.Request, offered []durward.Challenge) error {
	if r.URL.Scheme+"://"+r.URL.Host != i.registry || len(offered) == 0 {
		return client.ErrNoAnswer
	}
	realm, _ := offered[0].Param("realm")
	if !strings.EqualFold(offered[0].Scheme, "Bearer") || realm != i.realm {
		return client.ErrNoAnswer
	}
	scope, _ := offered[0].Param("scope")
	token, err := i.token(r.Context(), scope)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	return nil
}

func ExampleSource() {
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "ada" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="tokens"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, "for-", r.FormValue("scope"))
	}))
	defer tokens.Close()
	named := tokens.URL + "/token"
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer for-pull" {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+named+`", service="images", scope="pull"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer registry.Close()

	signedIn := client.New(client.Password(client.PasswordConfig{Origin: tokens.URL, User: "ada", Password: "secret"}))
	c := client.New(images{registry.URL, tokens.URL + "/token", func(ctx context.Context, scope string) (string, error) {
		r, err := http.NewRequestWithContext(ctx, "GET", tokens.URL+"/token?"+url.Values{"service": {"images"}, "scope": {scope}}.Encode(), nil)
		if err != nil {
			return "", err
		}
		resp, err := signedIn.Do(r)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		if err := client.CheckResponse(resp); err != nil {
			return "", err
		}
		token, err := io.ReadAll(io.LimitReader(resp.Body, 8<<10))
		return string(token), err
	}})
	for range 2 {
		resp, err := c.Get(registry.URL + "/v2/notes/tags/list")
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
		fmt.Println(resp.Status)
		named = "https://elsewhere.example.com/token" // receives no request
	}
	// Output:
	// 200 OK
	// 401 Unauthorized
}
