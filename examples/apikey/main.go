// apikey protects an API with keys that its users create, list and revoke. A key with the scope
// keys manages keys; the program prints the first one when it starts:
//
//	go run ./apikey
//	curl -H "X-API-Key: $key" http://127.0.0.1:8080/notes
//	curl -H "X-API-Key: $key" -d scope=notes http://127.0.0.1:8080/keys
//	curl -H "X-API-Key: $key" http://127.0.0.1:8080/keys
//	curl -H "X-API-Key: $key" -X DELETE http://127.0.0.1:8080/keys/notes_4fKq81Zx
package main

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"log"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/durward-auth/durward"
)

// prefix is the start of every key of this API. It names the API, so that a finder of a leaked key
// knows where to report it.
const prefix = "notes_"

// record is a row of the table of keys. The key itself is not stored.
type record struct {
	hash    [sha256.Size]byte
	shown   string // the public part of the key, which lists and logs may show
	owner   string
	scopes  []string
	created time.Time
}

// keys is the table of keys; a database would hold it.
type keys struct {
	mu  sync.Mutex
	all []record // under mu
}

// add stores a new key and returns it. Nothing can show it again.
func (k *keys) add(owner string, scopes ...string) string {
	key := durward.NewAPIKey(prefix)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = append(k.all, record{
		hash:    sha256.Sum256([]byte(key)),
		shown:   key[:len(prefix)+8],
		owner:   owner,
		scopes:  scopes,
		created: time.Now(),
	})
	return key
}

// find is the check of the scheme. The look-up is by hash, so its time reveals nothing about the
// keys.
func (k *keys) find(_ context.Context, key string) (*durward.Principal, error) {
	hash := sha256.Sum256([]byte(key))
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.all {
		if r.hash == hash {
			return &durward.Principal{Subject: r.owner, TokenID: r.shown, Scopes: r.scopes}, nil
		}
	}
	// During an outage, return the error of the database: 503.
	return nil, fmt.Errorf("unknown or revoked: %w", durward.InvalidAPIKey)
}

// of returns the keys of an owner.
func (k *keys) of(owner string) (found []record) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range k.all {
		if r.owner == owner {
			found = append(found, r)
		}
	}
	return found
}

// revoke deletes a key of an owner and reports whether there was one.
func (k *keys) revoke(owner, shown string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := len(k.all)
	k.all = slices.DeleteFunc(k.all, func(r record) bool { return r.owner == owner && r.shown == shown })
	return len(k.all) < before
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8080", "address")
	flag.Parse()
	table := new(keys)
	guard, err := durward.New(durward.Config{
		Realm:   "notes",
		Schemes: []durward.Scheme{durward.APIKey(prefix, table.find)},
	})
	if err != nil {
		log.Fatal(err)
	}
	who := func(r *http.Request) string { return durward.From(r.Context()).Subject }
	route := func(scope string, h http.HandlerFunc) http.Handler {
		return guard.Require(durward.Policy{Scopes: []string{scope}}, h)
	}

	mux := http.NewServeMux()
	mux.Handle("GET /notes", route("notes", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "the notes of", who(r))
	}))
	mux.Handle("POST /keys", route("keys", func(w http.ResponseWriter, r *http.Request) {
		// A new key gets one scope that its maker has, so a key cannot make a stronger one.
		scope := r.PostFormValue("scope")
		if !durward.From(r.Context()).HasScope(scope) {
			guard.Refuse(w, r, fmt.Errorf("asked for the scope %q: %w", scope, durward.Forbidden))
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		fmt.Fprintln(w, table.add(who(r), scope))
	}))
	mux.Handle("GET /keys", route("keys", func(w http.ResponseWriter, r *http.Request) {
		for _, k := range table.of(who(r)) {
			fmt.Fprintln(w, k.shown+"…", k.scopes, k.created.Format(time.DateOnly))
		}
	}))
	mux.Handle("DELETE /keys/{shown}", route("keys", func(w http.ResponseWriter, r *http.Request) {
		if !table.revoke(who(r), r.PathValue("shown")) {
			guard.Refuse(w, r, durward.NotFound)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	fmt.Println(table.add("ada", "notes", "keys"))
	log.Fatal(http.ListenAndServe(*listen, http.MaxBytesHandler(mux, 4<<10)))
}
