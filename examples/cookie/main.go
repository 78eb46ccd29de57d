// cookie signs browsers in with a form and a session cookie, and out again:
//
//	NOTES_PASSWORD='open sesame' go run ./cookie
//
// Open http://127.0.0.1:8080/ in a browser and sign in as ada. Safari is reported to drop the
// cookie over http: use another browser, or https. The sessions are in memory, so a restart signs
// every user out; a database would replace the map in sessions.
package main

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"flag"
	"fmt"
	"html/template"
	"log"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/durward-auth/durward"
)

const (
	cookieName = "__Host-session"
	idle       = 30 * time.Minute // a session ends after this time without a request
	life       = 12 * time.Hour   // a session ends after this time in any case
)

// sessions is the store. A key is the hash of a cookie's value, so a copy of the store signs no
// thief in.
type sessions struct {
	mu  sync.Mutex
	all map[[sha256.Size]byte]*session // under mu
}

type session struct {
	user        string
	began, used time.Time
}

// begin stores a new session and returns the value of its cookie.
func (s *sessions) begin(user string) string {
	value, now := rand.Text(), time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, old := range s.all {
		if old.ended(now) {
			delete(s.all, key)
		}
	}
	s.all[sha256.Sum256([]byte(value))] = &session{user: user, began: now, used: now}
	return value
}

func (s *session) ended(now time.Time) bool {
	return now.Sub(s.used) > idle || now.Sub(s.began) > life
}

// find is the check of the cookie. A database that does not answer would be another error: 503, and
// the browser keeps its cookie.
func (s *sessions) find(ctx context.Context, value string) (*durward.Principal, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, now := s.all[sha256.Sum256([]byte(value))], time.Now()
	if found == nil || found.ended(now) {
		return nil, fmt.Errorf("no such session: %w", durward.SessionExpired)
	}
	if !durward.Rechecking(ctx) {
		found.used = now
	}
	return &durward.Principal{Subject: found.user, AuthTime: found.began, Expires: found.began.Add(life)}, nil
}

// end deletes the session of a request, if it has one.
func (s *sessions) end(r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range r.CookiesNamed(cookieName) {
		delete(s.all, sha256.Sum256([]byte(c.Value)))
	}
}

// setCookie sets the cookie; an empty value deletes it.
func setCookie(w http.ResponseWriter, value string) {
	c := http.Cookie{
		Name:     cookieName,
		Value:    value,
		Path:     "/",
		Secure:   true,
		HttpOnly: true,
		SameSite: http.SameSiteLaxMode,
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, &c)
}

var pages = template.Must(template.New("").Parse(`
{{define "login"}}<!DOCTYPE html><title>Sign in</title>
<form method="post" action="/login"><input type="hidden" name="return_to" value="{{.}}">
<label>Name <input name="user" autocomplete="username" required></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button>Sign in</button></form>{{end}}
{{define "notes"}}<!DOCTYPE html><title>Notes</title><p>hello, {{.}}</p>
<form method="post" action="/logout"><button>Sign out</button></form>{{end}}`))

func page(w http.ResponseWriter, name, value string) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := pages.ExecuteTemplate(w, name, value); err != nil {
		log.Print(err) // the client disconnected
	}
}

// hash is slow, so that a stolen hash is of little use.
func hash(password string, salt []byte) []byte {
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
	salt := []byte(rand.Text())
	ada := hash(os.Getenv("NOTES_PASSWORD"), salt)

	store := &sessions{all: make(map[[sha256.Size]byte]*session)}
	origin := "http://" + *listen
	guard, err := durward.New(durward.Config{
		Realm:     "notes",
		Schemes:   []durward.Scheme{durward.Cookie(cookieName, store.find)},
		PublicURL: origin,
		LoginURL:  origin + "/login",
	})
	if err != nil {
		log.Fatal(err)
	}

	notes := func(w http.ResponseWriter, r *http.Request) { page(w, "notes", durward.From(r.Context()).Subject) }
	form := func(w http.ResponseWriter, r *http.Request) {
		page(w, "login", durward.ReturnTo(r.FormValue("return_to")))
	}
	signIn := func(w http.ResponseWriter, r *http.Request) {
		// Without this check a page of another site could sign the browser in to an account of the
		// attacker.
		if err := guard.SameOrigin(r); err != nil {
			guard.Refuse(w, r, err)
			return
		}
		user := r.PostFormValue("user")
		// The hash is computed for unknown names too, so that the time does not reveal the known
		// ones.
		right := subtle.ConstantTimeCompare(hash(r.PostFormValue("password"), salt), ada) == 1
		if !right || user != "ada" {
			guard.Refuse(w, r, fmt.Errorf("sign-in as %q: %w", user, durward.InvalidCredentials))
			return
		}
		store.end(r) // of the browser's previous session
		setCookie(w, store.begin(user))
		http.Redirect(w, r, durward.ReturnTo(r.PostFormValue("return_to")), http.StatusSeeOther)
	}
	signOut := func(w http.ResponseWriter, r *http.Request) {
		store.end(r)
		setCookie(w, "")
		http.Redirect(w, r, "/login", http.StatusSeeOther)
	}

	mux := http.NewServeMux()
	mux.Handle("GET /{$}", guard.Require(durward.Policy{Pages: true}, http.HandlerFunc(notes)))
	mux.Handle("GET /login", guard.Open(http.HandlerFunc(form)))
	mux.Handle("POST /login", guard.Open(http.HandlerFunc(signIn)))
	mux.Handle("POST /logout", guard.Handler(http.HandlerFunc(signOut))) // refuses requests of other sites
	log.Fatal(http.ListenAndServe(*listen, http.MaxBytesHandler(mux, 4<<10)))
}
