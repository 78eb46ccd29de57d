package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/request"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/store/backup"
)

// location is the flags of verbs that work on the data of a server.
type location struct {
	Config string `help:"Configuration file (TOML)." placeholder:"FILE"`
	Data   string `help:"Data folder. Default: ./durward-data." placeholder:"DIR"`
}

// load reads the configuration and prints its warnings.
func (l location) load(e *environment) (*config.Loaded, error) {
	c, err := loadConfig(config.Flags{Config: l.Config, Data: l.Data}, e.variables)
	if err != nil {
		return nil, err
	}
	for _, x := range c.Exposed {
		e.note("warning: %s", exposedText(x))
	}
	return c, nil
}

// loadConfig reads the configuration. Its error has status 2.
func loadConfig(flags config.Flags, variables []string) (*config.Loaded, error) {
	c, err := config.Load(flags, variables)
	if err != nil {
		return nil, &exitError{exitUsage, err, "durward config docs describes every key."}
	}
	return c, nil
}

// exposedText returns the warning about a secret that other users can read.
func exposedText(x config.ExposedSecret) string {
	return fmt.Sprintf("other users can read %s, which contains %s; run: chmod 600 %s", x.Path, x.Key, shellQuote(x.Path))
}

// storeConfig returns the settings of the database.
func storeConfig(c *config.Loaded) store.Config {
	return store.Config{
		URL:          string(c.DatabaseURL()),
		KeepSchema:   !c.Database.Migrate,
		CheckHistory: backup.NewCheckpoint(c.CheckpointPath()).Check,
	}
}

// system is a node and the configuration it was opened with.
type system struct {
	*node.Node
	config *config.Loaded
}

// access is the use of the data by a verb. Each value includes those before it.
type access int

const (
	reading  access = iota
	writing         // refuses a database that was rolled back
	creating        // creates a missing database
	starting        // migrates the schema of an older version
)

// openSystem opens the data. The caller closes the system.
func openSystem(ctx context.Context, c *config.Loaded, a access, log *slog.Logger) (*system, error) {
	isNew, err := checkDatabase(ctx, c, a >= creating)
	if err != nil {
		return nil, err
	}
	if isNew {
		if err := backup.NewCheckpoint(c.CheckpointPath()).CheckNew(); err != nil {
			return nil, err
		}
	}
	master, err := masterKey(c, isNew)
	if err != nil {
		hint := ""
		if errors.Is(err, fs.ErrNotExist) {
			hint = "If the server gets its key from DURWARD_MASTER_KEY_FILE, set this variable for every verb too."
		}
		return nil, &exitError{exitUnreachable, err, hint}
	}
	var checkpoint *backup.Checkpoint // nil for reading, so that a rolled-back database can be inspected
	if a != reading {
		checkpoint = backup.NewCheckpoint(c.CheckpointPath())
	}
	n, err := node.Open(ctx, node.Config{
		Settings:   c.Config,
		Master:     master,
		KeepSchema: !c.Database.Migrate || a != starting && !isNew,
		Checkpoint: checkpoint,
		Log:        log,
	})
	if err != nil {
		return nil, err
	}
	return &system{n, c}, nil
}

// checkDatabase checks that the database exists. If it does not, create makes its folders and
// checkDatabase reports isNew; without create it is an error.
func checkDatabase(ctx context.Context, c *config.Loaded, create bool) (isNew bool, err error) {
	folders := []string{c.DataDir}
	path, isFile := c.DatabaseURL().File()
	if isFile {
		folders = append(folders, filepath.Dir(path))
		_, err = os.Stat(path)
	} else if isNew, err = store.Empty(ctx, storeConfig(c)); isNew {
		err = fs.ErrNotExist
	}
	switch {
	case err == nil:
		return false, nil
	case !isFile && !isNew:
		return false, err
	case !errors.Is(err, fs.ErrNotExist):
		return false, &exitError{exitUnreachable, fmt.Errorf("cannot use the data folder: %w", err), "Name another folder with --data DIR."}
	case !create:
		return false, &exitError{
			exitUnreachable, fmt.Errorf("there is no database at %s", c.DatabaseName()),
			"Name the data folder with --data DIR. durward serve and durward user add create a database.",
		}
	}
	for _, dir := range folders {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return false, &exitError{exitUnreachable, fmt.Errorf("cannot create the data folder: %w", err), "Name another folder with --data DIR."}
		}
	}
	return true, nil
}

// masterKey opens the master key. create makes a missing key file; use it for a new database only,
// because an existing database is sealed with the key it was created with.
func masterKey(c *config.Loaded, create bool) (*seal.Master, error) {
	if c.MasterKey != "" {
		return seal.Parse(c.MasterKey)
	}
	return seal.Open(c.MasterKeyPath(), create)
}

// operator is the origin of changes that the command line makes.
var operator = request.Info{Actor: "operator"}

// open opens the data for a verb other than serve. It logs nothing, because the verb reports its
// errors, and it does not connect to Redis, because a verb counts no attempts.
func (l location) open(e *environment, a access) (*system, error) {
	c, err := l.load(e)
	if err != nil {
		return nil, err
	}
	c.Redis.URL = ""
	return openSystem(e, c, a, slog.New(slog.DiscardHandler))
}

// openStore opens the database for reading, for verbs that need no master key.
func (l location) openStore(e *environment) (*store.DB, error) {
	c, err := l.load(e)
	if err != nil {
		return nil, err
	}
	if _, err := checkDatabase(e, c, false); err != nil {
		return nil, err
	}
	s := storeConfig(c)
	s.CheckHistory, s.KeepSchema = nil, true
	return store.Open(e, s)
}

// close closes the system and adds its error to *err. It stores the checkpoint first, so that a
// later rollback to before the verb's change is detected.
func (s *system) close(err *error) {
	_ = s.SaveCheckpoint(context.Background()) // best effort: a running server stores it within a second too
	*err = errors.Join(*err, s.Close())
}
