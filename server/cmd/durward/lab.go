package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/durward-auth/durward/lab"
)

type labVerb struct {
	Listen    string `default:"127.0.0.1:8404" help:"Address to listen on; port 0 picks a free port." placeholder:"ADDR"`
	PublicURL string `name:"public-url" help:"Origin under which clients reach the lab, such as https://lab.example.com; required behind a proxy that terminates TLS." placeholder:"URL"`
}

func (v labVerb) Run(e *environment) error {
	handler, err := lab.New(lab.Config{PublicURL: v.PublicURL})
	if err != nil {
		return usage("Give --public-url a scheme and a host, without a path.", "%w", err)
	}
	listener, err := net.Listen("tcp", v.Listen)
	if err != nil {
		hint := "Name an address of this machine with --listen ADDR."
		if errors.Is(err, syscall.EADDRINUSE) {
			hint = "Another program uses this port. --listen 127.0.0.1:0 picks a free port."
		}
		return unreachable(hint, "cannot listen: %w", err)
	}
	// Before the line that reports the lab as ready, so that no signal is lost after it.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)

	errorLog := slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug) // clients of a lab break the rules of HTTP on purpose
	web := newHTTPServer(handler, errorLog)
	failed := make(chan error, 1)
	go func() { failed <- web.Serve(listener) }()
	address := localURL(listener.Addr())
	fmt.Fprintf(e.stdout, "durward: listening on %s\nAll endpoints of the lab: %s/lab/\n", address, address)
	select {
	case err := <-failed:
		return err
	case <-e.Done():
	case <-signals:
	}
	drain, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if err := web.Shutdown(drain); err != nil {
		return errors.Join(err, web.Close())
	}
	return nil
}
