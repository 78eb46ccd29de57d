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

// images is a source for a registry of container images: its challenge says which server
// gives out tokens, and what for. Nothing goes to a server because a challenge names it.
type images struct {
	registry string                                                  // such as https://registry.example.com
	realm    string                                                  // such as https://auth.example.com/token
	token    func(ctx context.Context, scope string) (string, error) // asks realm, by a client with a Password
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
		named = "https://elsewhere.example.com/token" // which hears nothing
	}
	// Output:
	// 200 OK
	// 401 Unauthorized
}
