// cli is a command-line program that signs its user in once and then calls a protected API. Several
// processes share one sign-in:
//
//	go run ./cli -login ada@example.com < password
//	go run ./cli
package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/client"
)

func main() {
	server := flag.String("server", "http://127.0.0.1:8401", "Durward server")
	login := flag.String("login", "", "e-mail address to sign in with; the password is read from standard input")
	flag.Parse()
	dir, err := os.UserConfigDir()
	if err != nil {
		log.Fatal(err)
	}
	auth, err := api.NewClient(api.ClientConfig{
		URL:   *server,
		Store: client.FileStore{Path: filepath.Join(dir, "notes", "token.json")},
	})
	if err != nil {
		log.Fatal(err)
	}

	if *login != "" {
		password, err := io.ReadAll(os.Stdin)
		if err != nil {
			log.Fatal(err)
		}
		if _, err := auth.SignIn(context.Background(), *login, strings.TrimRight(string(password), "\r\n")); err != nil {
			log.Fatal(err)
		}
		return
	}

	resp, err := client.New(auth.Source(client.TokensConfig{})).Get(*server + "/api/profile")
	if errors.Is(err, client.ErrSignedOut) {
		log.Fatal("you are not signed in: use -login")
	} else if err != nil {
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
