// Package servertest runs a whole Durward server in the process of a test.
package servertest

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// Server is a whole Durward server in the test's own process, on a port of its own
// and with a database in the test's folder. Its passwords are hashed cheaply and
// its networks are not limited, so that tests are fast; all else is as it is.
type Server struct {
	URL     string       // where it listens; also its issuer and the audience of its tokens
	Handler http.Handler // answers the requests to URL

	t    testing.TB
	node *node.Node
}

// New starts a server with open registration, which takes passwords with each
// request and binds tokens to keys (DPoP).
func New(t testing.TB) *Server {
	t.Helper()
	return NewOn(t, "sqlite:"+filepath.Join(t.TempDir(), "durward.db"))
}

// NewOn starts a server as New does, on the database of an address, such as
// postgres://USER@HOST/DATABASE. It is empty, or of a server of the same test.
func NewOn(t testing.TB, database string) *Server {
	t.Helper()
	var s *Server
	ready := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-ready
		s.Handler.ServeHTTP(w, r)
	}))
	s = start(t, database, srv.URL, srv.Close)
	close(ready)
	return s
}

// NewAt starts a server as New does, but without a listener: the test passes the requests to url
// to its Handler. It opens no sockets, so it works in a synctest bubble.
func NewAt(t testing.TB, url string) *Server {
	t.Helper()
	return start(t, "sqlite:"+filepath.Join(t.TempDir(), "durward.db"), url, func() {})
}

// start starts a server; its end calls stopListening.
func start(t testing.TB, database, url string, stopListening func()) *Server {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("servertest: %v", err)
		}
	}
	dir := t.TempDir()
	master, err := seal.Open(filepath.Join(dir, "master.key"), true)
	must(err)
	ctx, stop := context.WithCancel(context.Background())
	set := config.Default()
	set.Database.URL, set.PublicURL = config.DatabaseURL(database), url
	set.Registration, set.Basic, set.DPoP = "open", true, true
	set.Passwords.Argon2Memory, set.Passwords.Argon2Time = 64, 1
	set.Limits.NetworkFailures = 0
	n, err := node.Open(ctx, node.Config{Settings: set, Master: master})
	must(err)
	s, err := n.Server(set)
	must(err)
	wait, err := n.Run(ctx)
	must(err)
	t.Cleanup(func() {
		s.Drain()
		stopListening()
		stop()
		wait()
		if err := n.Close(); err != nil {
			t.Errorf("servertest: %v", err)
		}
	})
	return &Server{URL: url, Handler: s, t: t, node: n}
}

// operator is where the test's own deeds come from.
var operator = request.Info{Actor: "operator"}

// AddPerson makes an account and returns its id, the sub of its tokens. Passwords
// have at least 15 characters.
func (s *Server) AddPerson(email, password string, admin bool) (id string) {
	s.t.Helper()
	u, err := s.node.Accounts.Add(context.Background(), account.NewUser{Email: email, Password: password, Admin: admin}, store.EventUserAdded, operator)
	if err != nil {
		s.t.Fatalf("servertest: %v", err)
	}
	return u.ID
}

// AddKey makes an API key of a person with these scopes and returns it. One with the
// scope revocations, which an administrator may have, is what package api follows
// revocations with.
func (s *Server) AddKey(id string, scopes ...string) string {
	s.t.Helper()
	u, err := s.node.DB.UserByID(context.Background(), id)
	if err != nil {
		s.t.Fatalf("servertest: %v", err)
	}
	_, key, err := s.node.Accounts.CreateKey(context.Background(), &durward.Principal{Subject: id, Scopes: account.ScopesOf(u)}, account.NewKey{Name: "test", Scopes: scopes}, operator)
	if err != nil {
		s.t.Fatalf("servertest: %v", err)
	}
	return key.Reveal()
}

// Waiting is how many requests wait for a revocation.
func (s *Server) Waiting() int { return s.node.Waiting() }

// Lock locks a person out: every token of theirs is dead when it returns.
func (s *Server) Lock(id string) {
	s.t.Helper()
	if err := s.node.Sessions.LockUser(context.Background(), id, operator); err != nil {
		s.t.Fatalf("servertest: %v", err)
	}
}

// SignIn signs a person in as a program would, and returns the tokens.
func (s *Server) SignIn(email, password string) (access, refresh string) {
	s.t.Helper()
	body, err := json.Marshal(map[string]string{"email": email, "password": password})
	if err != nil {
		s.t.Fatalf("servertest: %v", err)
	}
	r := httptest.NewRequest("POST", s.URL+"/api/auth/login", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.RemoteAddr = "127.0.0.1:1024"
	w := httptest.NewRecorder()
	s.Handler.ServeHTTP(w, r)
	var tokens struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := json.Unmarshal(w.Body.Bytes(), &tokens); err != nil || tokens.Access == "" {
		s.t.Fatalf("servertest: the sign-in of %s was answered %s (%v)", email, w.Result().Status, err)
	}
	return tokens.Access, tokens.Refresh
}
