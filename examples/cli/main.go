// cli is a program at the terminal that signs its user in once and calls a protected
// API from then on. Any number of it at the same time share one sign-in:
//
//	go run ./cli -login ada@example.com < password
//	go run ./cli
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"

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
	config := client.TokensConfig{Server: *server, Store: client.FileStore{Path: filepath.Join(dir, "notes", "token.json")}}

	if *login != "" {
		password, err := io.ReadAll(os.Stdin)
		if err != nil {
			log.Fatal(err)
		}
		if _, err := client.SignIn(context.Background(), config, *login, strings.TrimRight(string(password), "\r\n")); err != nil {
			log.Fatal(err)
		}
		return
	}

	resp, err := client.New(client.Tokens(config)).Get(*server + "/api/profile")
	if errors.Is(err, client.ErrSignedOut) {
		log.Fatal("nobody is signed in: use -login")
	} else if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	if err := client.CheckResponse(resp); err != nil {
		log.Fatal(err)
	}
	profile, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(profile))
}
