package main

import (
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
	"strings"

	"sync/atomic"
	"syscall"
	"time"

	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/httpapi"
	"github.com/durward-auth/durward/server/internal/oauth"
	"github.com/durward-auth/durward/server/internal/store"
)

type serveVerb struct {
	place
	Listen string `help:"Address to listen on; port 0 picks a free one." placeholder:"ADDR"`
	Demo   bool   `help:"Show a full round: two people to sign in as, open registration, everything in a temporary folder (or in --data)."`

	AcceptRollback bool `help:"Begin a new epoch with a database that went back: everybody signs in again, API keys and signing keys end. Where it did not go back this does nothing."`
	KeepSessions   bool `help:"With --accept-rollback: keep sessions and keys. What was revoked in the time that the database lost is alive again."`
}

// What a client may take of the server before it has said who it is.
const (
	headerTime = 5 * time.Second
	bodyTime   = 15 * time.Second
	answerTime = 60 * time.Second // a password may wait for its turn
	idleTime   = 2 * time.Minute
	headerSize = 32 << 10
	drainTime  = 10 * time.Second
)

func (v serveVerb) Run(e *environment) (err error) {
	from := config.Flags{Config: v.Config, Listen: v.Listen, Data: v.Data}
	if v.Demo && v.Data == "" {
		dir, err := os.MkdirTemp("", "durward-demo-")
		if err != nil {
			return &exitError{exitUnreachable, err, "Choose a folder with --data DIR."}
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		from.Data = dir
	}
	l, err := loadConfig(from, e.variables)
	if err != nil {
		return err
	}
	if v.Demo {
		if err := makeDemo(l); err != nil {
			return err
		}
	}
	var level slog.LevelVar
	log := logger(l, e.stderr, &level)
	warn(l, log)

	ctx, stop := context.WithCancel(e)
	defer stop()
	if v.KeepSessions && !v.AcceptRollback {
		return &exitError{exitUsage, errors.New("--keep-sessions says how to accept a rollback"), "Give --accept-rollback too, or neither."}
	}
	if v.AcceptRollback {
		if err := v.accept(ctx, l, log); err != nil {
			return err
		}
	}
	s, err := openSystem(ctx, l, starting, log)
	if err != nil {
		return err
	}
	defer s.close(&err)
	listener, err := net.Listen("tcp", l.Listen)
	if err != nil {
		hint := "Choose an address of this machine with --listen ADDR."
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			hint = "Is another server there? --listen 127.0.0.1:0 picks a free port."
		case errors.Is(err, syscall.EACCES):
			hint = "Ports below 1024 need a right that this user lacks; --listen 127.0.0.1:0 picks a free port."
		}
		return &exitError{exitUnreachable, fmt.Errorf("cannot listen: %w", err), hint}
	}
	if l.PublicURL == "" {
		l.PublicURL = "http://" + reachable(listener.Addr())
	}
	var current atomic.Pointer[httpapi.Server]
	configure := func(l *config.Loaded) error {
		proxies, err := l.ProxyNetworks()
		if err != nil {
			return err
		}
		next, err := s.Server(httpapi.Config{
			PublicURL: l.PublicURL, Registration: l.Registration == "open", Basic: l.Basic, DPoP: l.DPoP, Origins: l.CORS.Origins, Proxies: proxies, InsecureAllowHTTP: l.InsecureAllowHTTP, Log: log,
		})
		if err == nil {
			current.Store(next)
		}
		return err
	}
	if err := configure(l); err != nil {
		return errors.Join(err, listener.Close())
	}
	if v.Demo {
		if err := v.demo(e, s); err != nil {
			return errors.Join(err, listener.Close())
		}
	} else if people, err := s.DB.Users(ctx, "", 1); err == nil && len(people) == 0 && l.Registration == "off" {
		log.Info("nobody has an account yet: durward user add EMAIL --password-stdin makes one")
	}

	// Signals are heard before the line that says that the server is there.
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP)
	defer signal.Stop(signals)

	wait, err := s.Run(ctx)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer wait()
	defer stop()

	web := newListener(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { current.Load().ServeHTTP(w, r) }),
		slog.NewLogLogger(log.Handler(), slog.LevelDebug))
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(listener) }()
	fmt.Fprintf(e.stdout, "durward: listening on http://%s\n", reachable(listener.Addr()))

	for {
		select {
		case err := <-failed:
			return err
		case <-e.Done():
		case sig := <-signals:
			if sig == syscall.SIGHUP {
				l = v.reload(e, from, l, s, &level, configure, log)
				continue
			}
		}
		break
	}
	log.Info("stopping: open requests may finish", "within", drainTime)
	current.Load().Drain()
	drain, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	go func() {
		for range signals { // a second one does not wait
			cancel()
		}
	}()
	if err := web.Shutdown(drain); err != nil {
		log.Warn("not all requests could finish", "error", err)
		return web.Close()
	}
	return nil
}

// accept begins a new epoch where the database went back.
func (v serveVerb) accept(ctx context.Context, l *config.Loaded, log *slog.Logger) error {
	if _, err := prepare(ctx, l, true); err != nil {
		return err
	}
	c := storeConfig(l)
	c.Log = log
	ended, wentBack, err := store.AcceptRollback(ctx, c, oauth.NewEpoch(v.KeepSessions, time.Now()))
	if err != nil {
		return err
	}
	if !wentBack {
		log.Info("the database did not go back: there is nothing to accept")
		return nil
	}
	for _, line := range endedLines(ended, v.KeepSessions, l.Tokens.Algorithm) {
		log.Warn(line)
	}
	return nil
}

// newListener is the HTTP server with all that bounds a client.
func newListener(h http.Handler, errorLog *log.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerTime, ReadTimeout: bodyTime, WriteTimeout: answerTime, IdleTimeout: idleTime,
		MaxHeaderBytes: headerSize, ErrorLog: errorLog,
	}
}

// reachable is where a listener can be reached from this machine.
func reachable(a net.Addr) string {
	addr, err := netip.ParseAddrPort(a.String())
	if err == nil && addr.Addr().IsUnspecified() {
		host := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		return netip.AddrPortFrom(host, addr.Port()).String()
	}
	return a.String()
}

// logger writes to w as the configuration says.
func logger(l *config.Loaded, w io.Writer, level *slog.LevelVar) *slog.Logger {
	setLevel(l, level)
	options := &slog.HandlerOptions{Level: level}
	if l.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// warn says what is odd about a configuration that can be served: files that are
// open to others, a proxy that is not believed. This server
// speaks plain http, so where clients come by https a proxy takes that off; one
// that is not believed gets refusals for all of them.
func warn(l *config.Loaded, log *slog.Logger) {
	for _, x := range l.Exposed {
		log.Warn(exposedText(x))
	}
	if strings.HasPrefix(l.PublicURL, "https:") && len(l.TrustedProxies) == 0 && !l.InsecureAllowHTTP {
		log.Warn("public_url is https and trusted_proxies is empty: what comes through a proxy will be refused as plain http")
	}
	if info, err := os.Stat(l.DataDir); err == nil && info.Mode().Perm()&0o022 != 0 {
		log.Warn(fmt.Sprintf("others can write to the data folder %s and exchange what is in it: chmod 700 %s", l.DataDir, quote(l.DataDir)))
	}
	path, file := l.DatabaseURL().File()
	if info, err := os.Stat(path); file && err == nil && info.Mode().Perm()&0o077 != 0 {
		log.Warn(fmt.Sprintf("others can read the database %s: chmod 600 %s", path, quote(path)))
	}
}

func setLevel(l *config.Loaded, level *slog.LevelVar) {
	var wanted slog.Level
	if wanted.UnmarshalText([]byte(l.Log.Level)) == nil { // load checked it
		level.Set(wanted)
	}
}

// reload reads the configuration anew and applies what can change while the
// server runs. A bad one is reported, and the old one stays; of a good one it
// reports what a restart is needed for.
func (v serveVerb) reload(e *environment, from config.Flags, old *config.Loaded, s *system, level *slog.LevelVar, configure func(*config.Loaded) error, log *slog.Logger) *config.Loaded {
	fresh, err := loadConfig(from, e.variables)
	if err == nil && v.Demo {
		err = makeDemo(fresh)
	}
	if err != nil {
		for line := range strings.Lines(err.Error()) {
			log.Error("the new configuration is bad, the old one stays", "mistake", strings.TrimSpace(line))
		}
		return old
	}
	if fresh.PublicURL == "" {
		fresh.PublicURL = old.PublicURL // made of the listener
	}
	var changed, restart []string
	for i, setting := range fresh.Settings {
		was := old.Settings[i]
		if setting.Equal(was) {
			continue
		}
		if setting.Reloadable() {
			changed = append(changed, setting.Key)
			continue
		}
		restart = append(restart, setting.Key)
		setting.CopyFrom(was)
	}
	if err := errors.Join(s.Limiter.Set(limitsConfig(fresh)), configure(fresh)); err != nil {
		log.Error("the new configuration is bad, the old one stays", "mistake", err)
		return old
	}
	setLevel(fresh, level)
	log.Info("configuration read anew", "changed", changed)
	warn(fresh, log)
	if len(restart) > 0 {
		log.Warn("these keys changed and need a restart", "keys", restart)
	}
	return fresh
}
