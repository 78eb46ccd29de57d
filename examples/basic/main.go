// basic protects a page with user names and passwords. Passwords are stored as slow hashes;
// Remember computes one once a minute instead of for each request:
//
//	NOTES_PASSWORD='open sesame' go run ./basic
//	curl -u 'ada:open sesame' http://127.0.0.1:8080/
package main

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/durward-auth/durward"
)

// account is a row of a database.
type account struct{ salt, hash []byte }

func newAccount(password string) (a account) {
	a.salt = make([]byte, 16)
	_, _ = rand.Read(a.salt) // never returns an error
	a.hash = slow(password, a.salt)
	return a
}

func slow(password string, salt []byte) []byte {
	key, err := pbkdf2.Key(sha256.New, password, salt, 600_000, sha256.Size)
	if err != nil {
		log.Fatal(err) // only for invalid lengths
	}
	return key
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address")
	flag.Parse()
	if os.Getenv("NOTES_PASSWORD") == "" {
		log.Fatal("NOTES_PASSWORD is not set")
	}
	accounts := map[string]account{"ada": newAccount(os.Getenv("NOTES_PASSWORD"))}
	unknown := newAccount(rand.Text())

	check := func(_ context.Context, user, password string) (*durward.Principal, error) {
		a, known := accounts[user]
		if !known {
			a = unknown // the same work, so that the time does not reveal which accounts exist
		}
		if right := subtle.ConstantTimeCompare(slow(password, a.salt), a.hash) == 1; !right || !known {
			return nil, fmt.Errorf("known user: %t: %w", known, durward.InvalidCredentials) // during an outage, return the error of the database: 503
		}
		return &durward.Principal{Subject: user}, nil
	}
	// A cached result is discarded as soon as this value changes.
	state := func(_ context.Context, user string) (string, error) { return string(accounts[user].hash), nil }

	notes := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello,", durward.From(r.Context()).Subject)
	})
	log.Fatal(http.ListenAndServe(*listen, durward.Protect(notes, durward.Basic(durward.Remember(check, state)))))
}
