package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/durward-auth/durward/server"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/store/backup"
)

type serveVerb struct {
	location
	Listen string `help:"Address to listen on; port 0 picks a free port." placeholder:"ADDR"`
	Demo   bool   `help:"Run a demonstration: two users, open registration, data in a temporary folder (or in --data)."`

	AcceptRollback bool `help:"Start although the database was rolled back: all sessions, API keys and signing keys end. Without a rollback this has no effect."`
	KeepSessions   bool `help:"With --accept-rollback: keep sessions and keys. Revocations that the database lost are undone."`
}

// Limits on one client connection, and on the shutdown.
const (
	headerTime = 5 * time.Second
	bodyTime   = 15 * time.Second
	answerTime = 60 * time.Second // a password may wait for its turn to be hashed
	idleTime   = 2 * time.Minute
	headerSize = 32 << 10
	drainTime  = 10 * time.Second
)

func (v serveVerb) Run(e *environment) (err error) {
	flags := config.Flags{Config: v.Config, Listen: v.Listen, Data: v.Data}
	if v.Demo && v.Data == "" {
		dir, err := os.MkdirTemp("", "durward-demo-")
		if err != nil {
			return unreachable("Name a folder with --data DIR.", "%w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		flags.Data = dir
	}
	c, err := v.readConfig(e, flags)
	if err != nil {
		return err
	}
	var level slog.LevelVar
	log := newLogger(c, e.stderr, &level)
	logWarnings(c, log)

	ctx, stop := context.WithCancel(e)
	defer stop()
	if v.KeepSessions && !v.AcceptRollback {
		return usage("Give both flags or neither.", "--keep-sessions requires --accept-rollback")
	}
	if v.AcceptRollback {
		if err := v.acceptRollback(ctx, c, log); err != nil {
			return err
		}
	}
	listener, err := listen(c.Config, e.variables)
	if err != nil {
		hint := "Name an address of this machine with --listen ADDR."
		_, isSocket := c.ListenSocket()
		switch {
		case errors.Is(err, errPassed):
			hint = "Write one ListenStream in the socket unit."
		case isSocket && errors.Is(err, syscall.EADDRINUSE):
			hint = "Stop that program, or name another path with --listen unix:PATH."
		case isSocket:
			hint = "Name a path in a folder that this user can write to, such as --listen unix:/run/durward/http.sock."
		case errors.Is(err, syscall.EADDRINUSE):
			hint = "Another program uses this port. --listen 127.0.0.1:0 picks a free port."
		case errors.Is(err, syscall.EACCES):
			hint = "This user may not listen on ports below 1024. --listen 127.0.0.1:0 picks a free port."
		}
		return unreachable(hint, "cannot listen: %w", err)
	}
	address := localURL(listener.Addr())
	if c.PublicURL == "" && listener.Addr().Network() == "unix" {
		return errors.Join(usage("Set public_url to the address of the proxy in front, such as https://auth.example.com.",
			"the server listens on a unix socket, which has no URL"), listener.Close())
	}
	demoAdminPassword := ""
	if v.Demo {
		if demoAdminPassword, err = addDemoUsers(e, c); err != nil {
			return errors.Join(err, listener.Close())
		}
	}
	s, err := server.New(v.serverConfig(e, flags, address, log))
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	elsewhere := c.PublicURL == "" && c.Issuer == "" && s.Issuer() != address // the default of the issuer is not the listener
	c.PublicURL = cmp.Or(c.PublicURL, address)
	endMetrics, err := serveMetrics(c.Config, s.Metrics(), log)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer endMetrics()
	if v.Demo {
		if err := printDemo(e, c, demoAdminPassword); err != nil {
			return errors.Join(err, listener.Close())
		}
	} else if err := offerSetup(e, c, s, log); err != nil {
		return errors.Join(err, listener.Close())
	}

	// Before the line that reports the server as ready, so that no signal is lost after it.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP)
	defer signal.Stop(signals)

	web := newHTTPServer(s, slog.NewLogLogger(log.Handler(), slog.LevelDebug))
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(listener) }()
	if elsewhere {
		log.Warn("issuer and public_url are not set, and the issuer of the tokens is not the address of this server: verifiers that look for its keys by the issuer find no server; the database keeps its issuer, so set public_url before the first command on a new database, or name the URL of the key set in the verifiers",
			"issuer", s.Issuer(), "address", address)
	}
	fmt.Fprintf(e.stdout, "durward: listening on %s\n", localURL(listener.Addr()))

	for {
		select {
		case err := <-failed:
			return err
		case <-e.Done():
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				v.reload(e, flags, s, &level, log)
				continue
			}
		}
		break
	}
	log.Info("stopping; open requests may finish", "within", drainTime)
	s.Drain()
	drain, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	go func() {
		for range signals { // a second signal ends the wait
			cancel()
		}
	}()
	if err := web.Shutdown(drain); err != nil {
		log.Warn("some requests did not finish", "error", err)
		return web.Close()
	}
	return nil
}

// offerSetup prints the link for the first administrator to standard error. It is no line of the log, which
// has no secrets: a log in JSON names the command only.
func offerSetup(e *environment, c *config.Loaded, s *server.Server, log *slog.Logger) error {
	if empty, err := s.Empty(e); err != nil || !empty {
		return nil // the first request reports an error
	}
	log.Info("there are no users yet; add one with: durward user add EMAIL --password-stdin")
	if c.Log.Format == "json" {
		return nil
	}
	link, err := s.SetupLink(e)
	if err == nil && link != "" {
		e.note("or add the first administrator with this link, once, within %d minutes:\n%s", int(server.SetupLife.Minutes()), link)
	}
	return err
}

// readConfig reads the configuration, with the defaults of the demo if it runs.
func (v serveVerb) readConfig(e *environment, flags config.Flags) (*config.Loaded, error) {
	c, err := loadConfig(flags, e.variables)
	if err == nil && v.Demo {
		err = setDemoDefaults(c)
	}
	return c, err
}

// serverConfig returns the configuration of the server, for a listener at address.
func (v serveVerb) serverConfig(e *environment, flags config.Flags, address string, log *slog.Logger) server.Config {
	c := server.Config{
		Folder:      flags.Data,
		Settings:    make(map[string]string),
		File:        flags.Config,
		Environment: e.variables,
		Sources:     map[string]string{"listen": "--listen", "data_dir": "--data"},
		Address:     address,
		DemoPages:   v.Demo,
		Log:         log,
	}
	if flags.Listen != "" {
		c.Settings["listen"] = flags.Listen
	}
	if v.Demo {
		c.Defaults = demoDefaults
		for key := range demoDefaults {
			c.Sources[key] = "--demo"
		}
	}
	return c
}

// acceptRollback begins a new epoch of the database's history if the database was rolled back.
func (v serveVerb) acceptRollback(ctx context.Context, c *config.Loaded, log *slog.Logger) error {
	if _, err := checkDatabase(ctx, c, true); err != nil {
		return err
	}
	s := storeConfig(c)
	s.Log = log
	ended, rollback, err := backup.AcceptRollback(ctx, s, backup.NewCheckpoint(c.CheckpointPath()), issuer.NewEpoch(v.KeepSessions, time.Now()))
	if err != nil {
		return err
	}
	if !rollback {
		log.Info("the database was not rolled back; --accept-rollback had no effect")
		return nil
	}
	for _, line := range epochReport(ended, v.KeepSessions, c.Tokens.Algorithm) {
		log.Warn(line)
	}
	return nil
}

// serveMetrics serves the metrics on their own listener, if metrics.listen is set, until end is called.
func serveMetrics(c *config.Config, figures http.Handler, log *slog.Logger) (end func(), err error) {
	if c.Metrics.Listen == "" {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", c.Metrics.Listen)
	if err != nil {
		return nil, unreachable("Name a free address of this machine in metrics.listen.", "cannot listen for metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", figures)
	web := newHTTPServer(mux, slog.NewLogLogger(log.Handler(), slog.LevelDebug))
	log.Info("metrics are served", "url", localURL(listener.Addr())+"/metrics")
	go func() { _ = web.Serve(listener) }() // ErrServerClosed
	return func() { _ = web.Close() }, nil  // open requests are scrapes
}

// newHTTPServer returns the HTTP server with the limits on connections.
func newHTTPServer(h http.Handler, errorLog *log.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       bodyTime,
		WriteTimeout:      answerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    headerSize,
		ErrorLog:          errorLog,
	}
}

// localURL returns the URL by which programs of this machine reach a listener, or unix: and a path.
func localURL(a net.Addr) string {
	if a.Network() == "unix" {
		return "unix:" + a.String()
	}
	addr, err := netip.ParseAddrPort(a.String())
	if err == nil && addr.Addr().IsUnspecified() {
		return "http://" + netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), addr.Port()).String()
	}
	return "http://" + a.String()
}

// newLogger returns a logger to w in the configured format. Its level is level.
func newLogger(c *config.Loaded, w io.Writer, level *slog.LevelVar) *slog.Logger {
	_ = level.UnmarshalText([]byte(c.Log.Level)) // config accepts valid levels only
	options := &slog.HandlerOptions{Level: level}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// logWarnings logs settings and file modes that are valid and dangerous.
func logWarnings(c *config.Loaded, log *slog.Logger) {
	for _, x := range c.Exposed {
		log.Warn(exposedText(x))
	}
	// This server speaks plain HTTP. A proxy in front of it removes TLS and says so in
	// X-Forwarded-Proto. The server believes only trusted_proxies.
	if strings.HasPrefix(c.PublicURL, "https:") && len(c.TrustedProxies) == 0 && !c.InsecureAllowHTTP {
		log.Warn("public_url is https and trusted_proxies is empty: requests through a proxy will be refused as plain http")
	}
	_, socket := c.ListenSocket()
	mode, _ := c.SocketMode() // package config checks it
	switch trusted := slices.Contains(c.TrustedProxies, config.SocketPeers); {
	case socket && !trusted && !c.InsecureAllowHTTP:
		log.Warn("listen is a unix socket and trusted_proxies lacks " + config.SocketPeers + ": requests will be refused as plain http")
	case socket && trusted && mode&0o002 != 0:
		log.Warn(fmt.Sprintf("listen_mode is %s: every user of this machine can connect to the socket and forge addresses, as trusted_proxies has %s", c.ListenMode, config.SocketPeers))
	}
	if info, err := os.Stat(c.DataDir); err == nil && info.Mode().Perm()&0o022 != 0 {
		log.Warn(fmt.Sprintf("other users can write to the data folder %s and replace its files; run: chmod 700 %s", c.DataDir, shellQuote(c.DataDir)))
	}
	path, isFile := c.DatabaseURL().File()
	if info, err := os.Stat(path); isFile && err == nil && info.Mode().Perm()&0o077 != 0 {
		log.Warn(fmt.Sprintf("other users can read the database %s; run: chmod 600 %s", path, shellQuote(path)))
	}
}

// reload applies the present configuration to the server, and the rest of it to the log.
func (v serveVerb) reload(e *environment, flags config.Flags, s *server.Server, level *slog.LevelVar, log *slog.Logger) {
	err := s.Reload()
	if err == nil {
		var fresh *config.Loaded
		if fresh, err = v.readConfig(e, flags); err == nil {
			_ = level.UnmarshalText([]byte(fresh.Log.Level))
			logWarnings(fresh, log)
		}
	}
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			log.Error("the new configuration is invalid; the old one stays in force", "mistake", strings.TrimSpace(line))
		}
	}
}
