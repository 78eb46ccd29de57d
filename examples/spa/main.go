// spa serves the sample single-page application of durward.js, with an API and sessions of its own:
//
//	NOTES_PASSWORD='open sesame' go run ./spa
//
// Open http://localhost:8080/demo/ in a browser and sign in as ada. Safari is reported to drop the
// cookie over http: use another browser, or https. Access tokens live for a minute here, so that you
// see renewals. The sessions are in memory, so a restart signs every user out.
package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"flag"
	"fmt"
	"html/template"
	"log"
	"mime"
	"net/http"
	"os"
	"path"
	"sync"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/js"
	"github.com/durward-auth/durward/jwt"
)

const (
	cookieName = "__Host-session"
	life       = 12 * time.Hour // of a session
	tokenLife  = time.Minute
)

// sessions is the store. A session has the value of its cookie, and an id that may be shown. See the example
// cookie for a store of hashes with an idle time.
type sessions struct {
	mu  sync.Mutex
	all map[string]session // under mu; the key is the value of the cookie
}

type session struct {
	ID      string    `json:"id"`
	Current bool      `json:"current"`
	Began   time.Time `json:"created_at"`
}

// begin stores a new session and returns the value of its cookie.
func (s *sessions) begin() string {
	value := rand.Text()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[value] = session{ID: rand.Text(), Current: true, Began: time.Now()}
	return value
}

// find is the check of the cookie.
func (s *sessions) find(_ context.Context, value string) (*durward.Principal, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.all[value]
	if !ok || time.Since(found.Began) > life {
		return nil, fmt.Errorf("no such session: %w", durward.SessionExpired)
	}
	return &durward.Principal{Subject: "ada", SessionID: found.ID, AuthTime: found.Began, Expires: found.Began.Add(life)}, nil
}

// end deletes the session with an id.
func (s *sessions) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for value, found := range s.all {
		if found.ID == id {
			delete(s.all, value)
		}
	}
}

func setCookie(w http.ResponseWriter, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name:     cookieName,
		Value:    value,
		Path:     "/",
		MaxAge:   maxAge,
		Secure:   true,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	})
}

var signInPage = template.Must(template.New("").Parse(`<!DOCTYPE html><html lang="en"><title>Sign in</title>
<meta name="viewport" content="width=device-width"><h1>Sign in</h1>
<form method="post"><p><label>Name <input name="user" autocomplete="username" required></label>
<p><label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<p><button>Sign in</button></form>`))

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		log.Print(err) // the client disconnected
	}
}

func main() {
	listen := flag.String("listen", "localhost:8080", "address")
	flag.Parse()
	password := os.Getenv("NOTES_PASSWORD")
	if password == "" {
		log.Fatal("NOTES_PASSWORD is not set")
	}
	origin := "http://" + *listen
	key, err := jwt.GenerateKey("ES256")
	if err != nil {
		log.Fatal(err)
	}
	keys, err := jwt.NewKeys(key.Public())
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := jwt.New(jwt.Config{Issuer: origin, Audience: []string{origin}, Keys: keys})
	if err != nil {
		log.Fatal(err)
	}
	store := &sessions{all: make(map[string]session)}
	cookie := durward.Cookie(cookieName, store.find)
	guard, err := durward.New(durward.Config{
		Realm:     "notes",
		Schemes:   []durward.Scheme{verifier.Scheme(), cookie},
		PublicURL: origin,
		LoginURL:  origin + "/login",
	})
	if err != nil {
		log.Fatal(err)
	}

	signIn := func(w http.ResponseWriter, r *http.Request) {
		if err := guard.SameOrigin(r); err != nil { // no page of another site signs the user in
			guard.Refuse(w, r, err)
			return
		}
		right := subtle.ConstantTimeCompare([]byte(r.PostFormValue("password")), []byte(password)) == 1
		if user := r.PostFormValue("user"); !right || user != "ada" {
			guard.Refuse(w, r, fmt.Errorf("sign-in as %q: %w", user, durward.InvalidCredentials))
			return
		}
		setCookie(w, store.begin(), 0)
		http.Redirect(w, r, durward.ReturnTo(r.URL.Query().Get("return_to")), http.StatusSeeOther)
	}
	token := func(w http.ResponseWriter, r *http.Request) {
		p, now := durward.From(r.Context()), time.Now()
		signed, err := key.Sign(jwt.Claims{
			Issuer:    origin,
			Audience:  []string{origin},
			Subject:   p.Subject,
			ClientID:  "spa",
			ID:        rand.Text(),
			SessionID: p.SessionID,
			IssuedAt:  now,
			Expires:   now.Add(tokenLife),
		})
		if err != nil {
			guard.Refuse(w, r, err)
			return
		}
		answer(w, map[string]any{"access_token": signed, "token_type": "Bearer", "expires_in": int(tokenLife / time.Second)})
	}
	profile := func(w http.ResponseWriter, r *http.Request) {
		answer(w, map[string]string{"name": "Ada", "email": durward.From(r.Context()).Subject + "@example.com"})
	}
	notifications := func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"items": []any{map[string]any{"kind": "server_started", "at": time.Now()}}})
	}
	list := func(w http.ResponseWriter, r *http.Request) {
		answer(w, map[string]any{"items": []session{{ID: durward.From(r.Context()).SessionID, Current: true}}})
	}
	end := func(w http.ResponseWriter, r *http.Request) {
		store.end(durward.From(r.Context()).SessionID)
		w.WriteHeader(http.StatusNoContent)
	}
	signOut := func(w http.ResponseWriter, r *http.Request) { // also with a dead cookie
		if p := durward.From(r.Context()); p != nil {
			store.end(p.SessionID)
		}
		setCookie(w, "", -1)
		w.WriteHeader(http.StatusNoContent)
	}

	mux := http.NewServeMux()
	byCookie := durward.Policy{Schemes: []durward.Scheme{cookie}}
	mux.Handle("GET /login", guard.Open(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = signInPage.Execute(w, nil) })))
	mux.Handle("POST /login", guard.Open(http.HandlerFunc(signIn)))
	mux.Handle("GET /api/profile", guard.Handler(http.HandlerFunc(profile)))
	mux.Handle("GET /api/notifications", guard.Handler(http.HandlerFunc(notifications)))
	mux.Handle("GET /api/auth/sessions", guard.Require(byCookie, http.HandlerFunc(list)))
	mux.Handle("DELETE /api/auth/sessions/{id}", guard.Require(byCookie, http.HandlerFunc(end)))
	mux.Handle("POST /api/auth/token", guard.Require(byCookie, http.HandlerFunc(token)))
	mux.Handle("POST /api/auth/logout", guard.Require(durward.Policy{Schemes: byCookie.Schemes, Optional: true}, http.HandlerFunc(signOut)))
	file := func(url, name string, content []byte) {
		mux.Handle("GET "+url, guard.Open(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			h.Set("Content-Type", mime.TypeByExtension(path.Ext(name)))
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'")
			_, _ = w.Write(content)
		})))
	}
	file("/durward.js", "durward.js", js.Module)
	for name, content := range js.Demo() {
		file("/demo/"+name, name, content)
	}
	file("/demo/{$}", "index.html", js.Demo()["index.html"])
	log.Fatal(http.ListenAndServe(*listen, http.MaxBytesHandler(mux, 4<<10)))
}
