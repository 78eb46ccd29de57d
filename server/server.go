// Package server runs a whole Durward server inside a Go program: the HTTP API, the pages for sign-in and
// account, and the console. A [Guard] protects the program's own routes with the same sessions, tokens and
// keys, and sees their revocation at once.
//
//	srv, err := server.New(server.Config{Folder: "data", PublicURL: "https://app.example.com/auth"})
//	if err != nil {
//		log.Fatal(err)
//	}
//	defer srv.Close()
//	mux.Handle("/auth/", srv)
//	mux.Handle("/.well-known/", srv)
//	mux.Handle("/", srv.Guard().Handler(app))
//
// The command durward is made of this package.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/httpapi"
	"github.com/durward-auth/durward/server/internal/metrics"
	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/store"
)

// Config configures a [Server]. PublicURL, or a setting public_url, is required.
//
// The settings are those of docs/config.md. A setting comes from Settings, else from Environment, else from
// File, else from Defaults. Folder, Database and PublicURL are short for the settings data_dir,
// database.url and public_url. The settings listen, listen_mode, metrics.listen and those of [log] have no
// effect here: the program listens and logs.
type Config struct {
	// Folder holds the database, the master key and, without smtp.url, the mails. It is created with
	// mode 0700. The default is ./durward-data.
	Folder string

	// Database is the URL of a PostgreSQL database that several nodes share, or sqlite:PATH.
	Database string

	// PublicURL is the URL of the server as clients see it. Its path is the prefix of all its URLs:
	// https://app.example.com/auth serves the sign-in page at https://app.example.com/auth/login. Pass
	// requests with their whole path, without http.StripPrefix.
	PublicURL string

	// Application is the origin of the program's own routes. The default is that of PublicURL. If its
	// host is another one, browsers do not send the session cookie there: those routes take tokens and
	// API keys.
	Application string

	// Settings are values of settings by key, such as "registration": "open", as in the environment.
	Settings map[string]string

	// File is the path of a TOML file with settings, read by New and Reload. The default is none.
	File string

	// Environment holds variables such as DURWARD_REGISTRATION=open; os.Environ returns those of the
	// process. The default is none.
	Environment []string

	// Defaults replace the defaults of settings, by key.
	Defaults map[string]string

	// Sources name the places where the user of the program finds keys of Settings and Defaults, such as
	// "data_dir": "--data". Messages contain them.
	Sources map[string]string

	// Address is the URL of the program's listener. If no setting names a public URL, it is Address, and
	// the issuer of the tokens is the default of the setting issuer.
	Address string

	// DemoPages adds pages, a resource and a client for a demonstration. /dev/mail shows the mails of all users to
	// every client.
	DemoPages bool

	Log *slog.Logger     // nil: no log
	Now func() time.Time // the clock; nil: the clock of the database, which all its nodes share
}

// Server is a running server. Its handler is safe for concurrent use.
type Server struct {
	c       Config
	log     *slog.Logger
	node    *node.Node
	end     func() // ends the background work
	current atomic.Pointer[state]
	close   sync.Once
	closed  error // of Close

	mu    sync.Mutex // of Reload
	set   *config.Loaded
	kinds sync.Map // of each scheme that the guard ever had, to its httpapi.Kind
}

// state is the part of a Server that Reload replaces.
type state struct {
	api   *httpapi.Server
	guard *durward.Guard // of the program's routes
}

// New opens the data, creates it if it is missing, and starts the background work. Its error names
// every mistake in the settings.
func New(c Config) (*Server, error) {
	set, err := c.load()
	if err != nil {
		return nil, err
	}
	if cmp.Or(set.PublicURL, c.Address) == "" {
		return nil, errors.New("server: Config.PublicURL is empty; set the URL of the server as clients see it, such as https://app.example.com/auth")
	}
	s := &Server{c: c, log: cmp.Or(c.Log, slog.New(slog.DiscardHandler)), set: set}
	ctx, stop := context.WithCancel(context.Background())
	if s.node, err = node.OpenData(ctx, set.Config, node.Starting, s.log, c.Now); err != nil {
		stop()
		return nil, err
	}
	s.node.Demo = c.DemoPages
	set.PublicURL = cmp.Or(set.PublicURL, c.Address)
	wait := func() {}
	if err = s.configure(set); err == nil {
		wait, err = s.node.Run(ctx)
	}
	if err != nil {
		stop()
		return nil, errors.Join(err, node.CloseData(s.node))
	}
	s.end = func() {
		stop()
		wait()
	}
	return s, nil
}

// load reads the settings.
func (c Config) load() (*config.Loaded, error) {
	given := func(settings map[string]string) (all []config.Given) {
		for _, key := range slices.Sorted(maps.Keys(settings)) {
			all = append(all, config.Given{Key: key, Value: settings[key], Source: cmp.Or(c.Sources[key], "the program")})
		}
		return all
	}
	settings := maps.Clone(c.Settings)
	if settings == nil {
		settings = make(map[string]string)
	}
	for key, value := range map[string]string{"data_dir": c.Folder, "database.url": c.Database, "public_url": c.PublicURL} {
		if value != "" {
			settings[key] = value
		}
	}
	set, err := config.LoadProgram(config.Flags{Config: c.File}, c.Environment, given(settings), given(c.Defaults))
	if err == nil && c.DemoPages {
		set.AddDemo()
	}
	return set, err
}

// configure makes set the settings of the server.
func (s *Server) configure(set *config.Loaded) error {
	api, err := s.node.Server(set)
	if err != nil {
		return err
	}
	public, err := url.Parse(set.PublicURL)
	if err != nil {
		return err
	}
	guard, err := api.Application(cmp.Or(s.c.Application, public.Scheme+"://"+public.Host))
	if err != nil {
		return fmt.Errorf("server: Config.Application: %w", err)
	}
	for kind, scheme := range api.Schemes.ByKind() {
		s.kinds.Store(scheme, kind)
	}
	s.current.Store(&state{api, guard})
	return nil
}

// ServeHTTP answers the requests below the path of the public URL, and /.well-known/ requests for this
// server. It answers 404 to others.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.current.Load().api.ServeHTTP(w, r)
}

// Reload reads File again and applies the settings that do not need a restart: limits, registration,
// trusted proxies, accepted schemes and origins. Open requests keep the settings that they began with. It
// logs the keys that changed, and as a warning those that need a restart. If a setting is invalid, it
// returns every mistake and all old settings stay in force.
func (s *Server) Reload() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh, err := s.c.load()
	if err != nil {
		return err
	}
	fresh.PublicURL = cmp.Or(fresh.PublicURL, s.c.Address)
	changed, restart := s.set.Apply(fresh)
	if err := s.configure(fresh); err != nil {
		return err
	}
	s.set = fresh
	s.log.Info("configuration reloaded", "changed", changed)
	if len(restart) > 0 {
		s.log.Warn("these changed keys need a restart", "keys", restart)
	}
	return nil
}

// Drain makes the readiness check at /readyz fail, so that load balancers send no new requests, and ends
// long waits. Call it before http.Server.Shutdown.
func (s *Server) Drain() { s.current.Load().api.Drain() }

// Close ends the background work and closes the database. Requests must have ended.
func (s *Server) Close() error {
	s.close.Do(func() {
		s.Drain()
		s.end()
		s.closed = node.CloseData(s.node)
	})
	return s.closed
}

// Metrics returns a handler with the figures of the server for Prometheus. Do not serve it to the public.
func (s *Server) Metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := s.node.Metrics.Text()
		if !ok {
			http.Error(w, "Too many scrapes run at the same time. Try again.", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", metrics.ContentType)
		_, _ = io.WriteString(w, text) // fails if the client went away
	})
}

// Issuer returns the issuer of the tokens, their claim iss. It is also their audience, unless the setting
// tokens.audience names another one.
func (s *Server) Issuer() string { return s.node.Issuer.URL() }

// Empty reports whether there are no users.
func (s *Server) Empty(ctx context.Context) (bool, error) {
	users, err := s.node.DB.Users(ctx, "", 1)
	return err == nil && len(users) == 0, err
}

// SetupLink returns a link for adding the first administrator, once and within half an hour. It is
// "" if there are users. The link is a secret.
func (s *Server) SetupLink(ctx context.Context) (string, error) {
	if empty, err := s.Empty(ctx); err != nil || !empty {
		return "", err
	}
	token, err := s.node.Accounts.BeginSetup(ctx)
	if errors.Is(err, store.ErrChanged) {
		return "", nil // another process has added an administrator
	} else if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.TrimRight(s.set.PublicURL, "/") + "/setup#t=" + token.Reveal(), nil
}

// SetupLife is the lifetime of the link of SetupLink.
const SetupLife = account.SetupLife

// User is a user to add.
type User struct {
	Email    string
	Name     string
	Password string // the rules of docs/config.md apply
	Admin    bool
}

// AddUser adds a user and returns the id, the subject of the user's tokens. If there is a user with
// this address, the error wraps [durward.EmailTaken].
func (s *Server) AddUser(ctx context.Context, u User) (id string, err error) {
	added, err := s.node.Accounts.Add(ctx, account.NewUser{
		Email:    u.Email,
		Name:     u.Name,
		Password: u.Password,
		Admin:    u.Admin,
	}, store.EventUserAdded, request.Info{Actor: store.Operator})
	return added.ID, err
}
