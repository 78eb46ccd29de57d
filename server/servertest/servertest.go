// Package servertest runs a whole Durward server in the process of a test, wired like the server
// of the command line.
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
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// Server is a running server. Registration, Basic and DPoP are on. For fast tests its password hashes
// are cheap and it has no limits for networks. All other settings are the defaults.
type Server struct {
	URL     string       // its address, and the issuer and audience of its tokens
	Handler http.Handler // answers the requests to URL

	t    testing.TB
	node *node.Node
}

// New starts a server with a listener and a database of its own.
func New(t testing.TB) *Server {
	t.Helper()
	return NewOn(t, "sqlite:"+filepath.Join(t.TempDir(), "durward.db"))
}

// NewOn is New with the URL of a database, such as postgres://USER@HOST/DATABASE. The database is
// empty or belongs to another server of the same test.
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

// start starts a server. It calls stopListening when the server ends.
func start(t testing.TB, database, url string, stopListening func()) *Server {
	t.Helper()
	dir := t.TempDir()
	master, err := seal.Open(filepath.Join(dir, "master.key"), true)
	must(t, err)
	ctx, stop := context.WithCancel(context.Background())
	set := config.Default()
	set.DataDir = dir // for mails
	set.Database.URL, set.PublicURL = config.DatabaseURL(database), url
	set.Registration, set.Basic, set.DPoP = "open", true, true
	set.Passwords.Argon2Memory, set.Passwords.Argon2Time = 64, 1
	set.Limits.NetworkFailures, set.Limits.RegistrationsNetwork, set.Limits.NetworkHashes = 0, 0, 0
	n, err := node.Open(ctx, node.Config{Settings: set, Master: master})
	must(t, err)
	s, err := n.Server(&config.Loaded{Config: set})
	must(t, err)
	wait, err := n.Run(ctx)
	must(t, err)
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

// operator is the origin of operations that the test itself does.
var operator = request.Info{Actor: store.Operator}

// must ends the test if an operation that the test itself does has failed.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("servertest: %v", err)
	}
}

// AddUser adds a user and returns their id, the sub of their tokens. Passwords have at least 15
// characters.
func (s *Server) AddUser(email, password string, admin bool) (id string) {
	s.t.Helper()
	u, err := s.node.Accounts.Add(context.Background(), account.NewUser{Email: email, Password: password, Admin: admin}, store.EventUserAdded, operator)
	must(s.t, err)
	return u.ID
}

// AddKey creates an API key of a user and returns it. A key of an administrator with the scope
// revocations works for the follower of package api.
func (s *Server) AddKey(id string, scopes ...string) string {
	s.t.Helper()
	u, err := s.node.DB.UserByID(context.Background(), id)
	must(s.t, err)
	_, key, err := s.node.Accounts.CreateKey(context.Background(), &durward.Principal{Subject: id, Scopes: account.ScopesOf(u)}, account.NewKey{Name: "test", Scopes: scopes}, operator)
	must(s.t, err)
	return key.Reveal()
}

// Waiting returns the number of requests that wait for a revocation.
func (s *Server) Waiting() int { return s.node.Waiting() }

// Lock locks a user. All tokens of the user are revoked when it returns.
func (s *Server) Lock(id string) {
	s.t.Helper()
	must(s.t, s.node.Sessions.LockUser(context.Background(), id, operator))
}

// SignIn signs a user in over the API and returns the tokens.
func (s *Server) SignIn(email, password string) (access, refresh string) {
	s.t.Helper()
	body, err := json.Marshal(api.LoginRequest{Email: email, Password: password})
	must(s.t, err)
	r := httptest.NewRequest("POST", s.URL+"/api/auth/login", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.RemoteAddr = "127.0.0.1:1024"
	w := httptest.NewRecorder()
	s.Handler.ServeHTTP(w, r)
	var tokens api.TokenResponse
	if err := json.Unmarshal(w.Body.Bytes(), &tokens); err != nil || tokens.AccessToken == "" {
		s.t.Fatalf("servertest: sign-in of %s: got %s (%v), want 200 with tokens", email, w.Result().Status, err)
	}
	return tokens.AccessToken, tokens.RefreshToken
}
