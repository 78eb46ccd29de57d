// service calls a protected API in its own name, with tokens of an OAuth server that it
// gets by its client secret and keeps in Redis for all its instances:
//
//	go run ./service -token https://auth.example.com/oauth/token -client reports -secret secret -redis redis://127.0.0.1:6379 -api https://api.example.com/reports
package main

import (
	"bytes"
	"flag"
	"io"
	"log"
	"net/http"
	"os"

	"github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/tokenstore/redis"
)

func main() {
	token := flag.String("token", "", "token endpoint")
	clientID := flag.String("client", "", "client id")
	secretFile := flag.String("secret", "secret", "file with the client secret")
	redisURL := flag.String("redis", "redis://127.0.0.1:6379", "Redis or Valkey that the instances share")
	api := flag.String("api", "", "URL to call")
	flag.Parse()
	secret, err := os.ReadFile(*secretFile)
	if err != nil {
		log.Fatal(err)
	}
	store, err := redis.New(redis.Config{URL: *redisURL, Name: "reports"})
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	r, err := http.NewRequest("GET", *api, nil)
	if err != nil {
		log.Fatal(err)
	}
	oauth := client.OAuth{TokenURL: *token, ClientID: *clientID, Secret: string(bytes.TrimSpace(secret))}
	resp, err := client.New(client.Tokens(client.TokensConfig{
		Origins: []string{r.URL.Scheme + "://" + r.URL.Host}, Next: oauth.ClientCredentials, Store: store,
	})).Do(r)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	if err := client.CheckResponse(resp); err != nil {
		log.Fatal(err)
	}
	if _, err := io.Copy(os.Stdout, resp.Body); err != nil {
		log.Fatal(err)
	}
}
