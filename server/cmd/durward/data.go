package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/durward-auth/durward/internal/pwhash"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/limits"
	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/oauth"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// system is the node that a configuration makes.
type system struct {
	*node.Node
	settings *config.Loaded
}

// use is what a verb opens the data for.
type use int

const (
	reading  use = iota // also of a database that went back
	writing             // which refuses that
	creating            // writing, and making what is not there
	starting            // creating, and bringing an older schema to this program's
)

// openSystem opens the data of a configuration. The caller closes it.
func openSystem(ctx context.Context, l *config.Loaded, u use, log *slog.Logger) (*system, error) {
	isNew, err := prepare(ctx, l, u >= creating)
	if err != nil {
		return nil, err
	}
	if isNew {
		if err := store.MayBeNew(storeConfig(l)); err != nil {
			return nil, err
		}
	}
	master, err := masterKey(l, isNew)
	if err != nil {
		hint := ""
		if errors.Is(err, fs.ErrNotExist) {
			hint = "Does the server get its key from elsewhere, by DURWARD_MASTER_KEY_FILE? Then every verb wants that too."
		}
		return nil, &exitError{exitUnreachable, err, hint}
	}
	secret, err := l.SharedSecret()
	if err != nil {
		return nil, err
	}
	n, err := node.Open(ctx, node.Config{
		Database: string(l.DatabaseURL()), KeepSchema: !l.Database.Migrate || u != starting && !isNew, Mark: l.CheckpointPath(), WentBack: u == reading, Redis: l.Redis.URL.Reveal(), Master: master, Log: log, Limits: limitsConfig(l),
		Issuer: oauth.Config{
			URL: l.IssuerURL(), Audience: l.Tokens.Audience, Algorithm: l.Tokens.Algorithm, SharedSecret: secret,
			AccessTTL: l.Tokens.AccessTTL, RefreshTTL: l.Tokens.RefreshTTL, RefreshAbsolute: l.Tokens.RefreshAbsolute,
			RefreshGrace: l.Tokens.RefreshGrace, Leeway: l.Tokens.Leeway, SessionIdle: l.Sessions.Idle, SessionAbsolute: l.Sessions.Absolute,
		},
		Hashes:    pwhash.Config{Memory: uint32(l.Passwords.Argon2Memory), Time: uint32(l.Passwords.Argon2Time)}, // ranges checked by load
		Passwords: account.PasswordRules{MinLength: l.Passwords.MinLength, MaxLength: l.Passwords.MaxLength, Blocklist: l.Passwords.Blocklist},
	})
	if err != nil {
		return nil, err
	}
	return &system{n, l}, nil
}

func limitsConfig(l *config.Loaded) limits.Config {
	return limits.Config{
		AccountFailures: l.Limits.AccountFailures, AccountWindow: l.Limits.AccountWindow, AccountBlock: l.Limits.AccountBlock,
		NetworkFailures: l.Limits.NetworkFailures, NetworkFailuresHour: l.Limits.NetworkFailuresHour, NetworkUnlimited: l.Limits.NetworkFailures == 0,
	}
}

// storeConfig is how the database is opened.
func storeConfig(l *config.Loaded) store.Config {
	return store.Config{URL: string(l.DatabaseURL()), KeepSchema: !l.Database.Migrate, Mark: l.CheckpointPath()}
}

// prepare sees that the database is there, or with create that it can be made.
func prepare(ctx context.Context, l *config.Loaded, create bool) (isNew bool, err error) {
	folders := []string{l.DataDir}
	path, file := l.DatabaseURL().File()
	if file {
		folders = append(folders, filepath.Dir(path))
		_, err = os.Stat(path)
	} else if isNew, err = store.Empty(ctx, storeConfig(l)); isNew {
		err = fs.ErrNotExist
	}
	switch {
	case err == nil:
		return false, nil
	case !file && !isNew:
		return false, err
	case !errors.Is(err, fs.ErrNotExist):
		return false, &exitError{exitUnreachable, fmt.Errorf("the data folder cannot be used: %w", err), "Name a folder with --data DIR."}
	case !create:
		return false, &exitError{exitUnreachable, fmt.Errorf("there is no database at %s", l.DatabaseName()),
			"Say which data folder with --data DIR; durward serve and durward user add make one."}
	}
	for _, dir := range folders {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return false, &exitError{exitUnreachable, fmt.Errorf("the data folder cannot be made: %w", err), "Choose another with --data DIR."}
		}
	}
	return true, nil
}

// master opens the master key. It is made with a new database only: what an old
// one holds opens with its own key alone.
func masterKey(l *config.Loaded, create bool) (*seal.Master, error) {
	if l.MasterKey != "" {
		return seal.Parse(l.MasterKey)
	}
	return seal.Open(l.MasterKeyPath(), create)
}

// operator is where deeds of the command line come from.
var operator = request.Info{Actor: "operator"}

// open opens the system for a verb. What goes wrong is said by the verb's error,
// so the log is silent.
func (p place) open(e *environment, u use) (*system, error) {
	l, err := p.load(e)
	if err != nil {
		return nil, err
	}
	l.Redis.URL = "" // a verb counts nothing
	return openSystem(e, l, u, slog.New(slog.DiscardHandler))
}

// openStore opens the database alone, for verbs that read and need no key. They
// leave the schema as it is.
func (p place) openStore(e *environment) (*store.DB, error) {
	l, err := p.load(e)
	if err != nil {
		return nil, err
	}
	if _, err := prepare(e, l, false); err != nil {
		return nil, err
	}
	c := storeConfig(l)
	c.WentBack, c.KeepSchema = true, true
	return store.Open(e, c)
}

// close closes the system. What a verb revoked is in the history from then on.
func (s *system) close(err *error) {
	_ = s.DB.KeepMark(context.Background()) // a server writes it down too, within a second
	*err = errors.Join(*err, s.Close())
}
