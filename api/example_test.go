package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/client"
)

// A program signs its user in and then sends requests with the tokens.
func ExampleClient() {
	// It stands for a Durward server with the program's API.
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/auth/login" {
			_ = json.NewEncoder(w).Encode(api.TokenResponse{AccessToken: "secret", TokenType: "Bearer", ExpiresIn: 900})
			return
		}
		fmt.Fprintf(w, "hello, %s", r.Header.Get("Authorization"))
	}))
	defer s.Close()

	server, err := api.NewClient(api.ClientConfig{URL: s.URL}) // set Store to stay signed in after a restart
	if err != nil {
		log.Fatal(err)
	}
	if _, err := server.SignIn(context.Background(), "ada@example.com", "correct horse battery staple"); err != nil {
		log.Fatal(err)
	}
	c := client.New(server.Source(client.TokensConfig{})) // name the origins of other APIs in Origins
	resp, err := c.Get(s.URL + "/notes")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	fmt.Println(string(text), err)
	// Output: hello, Bearer secret <nil>
}
