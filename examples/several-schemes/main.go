// several-schemes accepts Digest, Basic and Bearer on the same routes: the credentials in the
// request select the scheme. Each decision is logged.
//
//	NOTES_PASSWORD='open sesame' NOTES_TOKEN=t0ken go run ./several-schemes
//	curl --digest -u 'ada:open sesame' http://127.0.0.1:8080/
//	curl --oauth2-bearer t0ken http://127.0.0.1:8080/
package main

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"

	"github.com/durward-auth/durward"
)

const realm = "notes"

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address")
	flag.Parse()
	password, token := os.Getenv("NOTES_PASSWORD"), os.Getenv("NOTES_TOKEN")
	if password == "" || token == "" {
		log.Fatal("NOTES_PASSWORD and NOTES_TOKEN must be set")
	}
	// A database would store these: the Digest hash of each password and a hash of each token.
	secret, err := durward.HA1("SHA-256", "ada", realm, password)
	if err != nil {
		log.Fatal(err)
	}
	secrets := map[string][]byte{"ada": secret}
	owners := map[[sha256.Size]byte]string{sha256.Sum256([]byte(token)): "ada"}

	digest := durward.Digest(durward.DigestConfig{HA1: func(_ context.Context, claim durward.DigestClaim) ([]byte, *durward.Principal, error) {
		secret, ok := secrets[claim.User]
		if !ok {
			return nil, nil, durward.InvalidCredentials
		}
		return secret, &durward.Principal{Subject: claim.User}, nil
	}})
	// The Digest hash is sufficient to sign in, so a slow hash beside it would add no protection:
	// Basic compares with the same hash.
	basic := durward.Basic(func(_ context.Context, user, password string) (*durward.Principal, error) {
		sent, err := durward.HA1("SHA-256", user, realm, password)
		if err != nil || subtle.ConstantTimeCompare(sent, secrets[user]) == 0 {
			return nil, durward.InvalidCredentials
		}
		return &durward.Principal{Subject: user}, nil
	})
	bearer := durward.Bearer(func(_ context.Context, token string) (*durward.Principal, error) {
		owner, ok := owners[sha256.Sum256([]byte(token))]
		if !ok {
			return nil, durward.InvalidToken
		}
		return &durward.Principal{Scheme: "Bearer", Subject: owner}, nil
	})

	guard, err := durward.New(durward.Config{Realm: realm, Schemes: []durward.Scheme{basic, digest, bearer}, // in any order
		OnRefusal: func(r *http.Request, f *durward.Refusal) {
			slog.Info("refused", "denial", f.ID, "code", f.Code, "scheme", f.Scheme, "client", durward.ClientAddr(r.Context()), "cause", f.Err)
		},
		OnAccept: func(r *http.Request, who *durward.Principal) {
			slog.Info("accepted", "subject", who.Subject, "scheme", who.Scheme, "client", durward.ClientAddr(r.Context()))
		}})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.ListenAndServe(*listen, guard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello,", durward.From(r.Context()).Subject)
	}))))
}
