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

// ProvideConfig reads the configuration and prints its warnings. kong calls it for verbs whose Run
// takes the configuration.
func (l location) ProvideConfig(e *environment) (*config.Loaded, error) {
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
		return nil, usage("durward config docs describes every key.", "%w", err)
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
		Pooled:       c.Pooled(),
		KeepSchema:   !c.Database.Migrate,
		CheckHistory: backup.NewCheckpoint(c.CheckpointPath()).Check,
	}
}

// access is the use of the data by a verb. Each value includes those before it.
type access int

const (
	reading  access = iota
	writing         // refuses a database that was rolled back
	creating        // creates a missing database
	starting        // migrates the schema of an older version
)

// openNode opens the data. The caller closes the node with closeNode.
func openNode(ctx context.Context, c *config.Loaded, a access, log *slog.Logger) (*node.Node, error) {
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
		return nil, unreachable(hint, "%w", err)
	}
	var checkpoint *backup.Checkpoint // nil for reading, so that a rolled-back database can be inspected
	if a != reading {
		checkpoint = backup.NewCheckpoint(c.CheckpointPath())
	}
	return node.Open(ctx, node.Config{
		Settings:   c.Config,
		Master:     master,
		KeepSchema: !c.Database.Migrate || a != starting && !isNew,
		Checkpoint: checkpoint,
		Log:        log,
	})
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
		return false, unreachable("Name another folder with --data DIR.", "cannot use the data folder: %w", err)
	case !create:
		return false, unreachable("Name the data folder with --data DIR. durward serve and durward user add create a database.",
			"there is no database at %s", c.DatabaseName())
	}
	return true, makeFolders(folders...)
}

// makeFolders makes the folders of the data that do not exist.
func makeFolders(folders ...string) error {
	for _, dir := range folders {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return unreachable("Name another folder with --data DIR.", "cannot create the data folder: %w", err)
		}
	}
	return nil
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
var operator = request.Info{Actor: store.Operator}

// open opens the data for a verb other than serve; run closes it. It logs nothing, because the verb
// reports its errors, and it does not connect to Redis, because a verb counts no attempts.
func (l location) open(e *environment, a access) (*node.Node, error) {
	c, err := l.ProvideConfig(e)
	if err != nil {
		return nil, err
	}
	c.Redis.URL = ""
	n, err := openNode(e, c, a, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	e.close = func() error { return closeNode(n) }
	return n, nil
}

// reader is the location of a verb that only reads: its Run takes a node for reading.
type reader struct{ location }

// ProvideNode opens the node.
func (r reader) ProvideNode(e *environment) (*node.Node, error) { return r.open(e, reading) }

// writer is the location of a verb that changes data: its Run takes a node for writing.
type writer struct{ location }

// ProvideNode opens the node.
func (w writer) ProvideNode(e *environment) (*node.Node, error) { return w.open(e, writing) }

// ProvideStore opens the database for reading, for verbs that need no master key; run closes it.
func (l location) ProvideStore(e *environment, c *config.Loaded) (*store.DB, error) {
	if _, err := checkDatabase(e, c, false); err != nil {
		return nil, err
	}
	s := storeConfig(c)
	s.CheckHistory, s.KeepSchema = nil, true
	db, err := store.Open(e, s)
	if err != nil {
		return nil, err
	}
	e.close = db.Close
	return db, nil
}

// closeNode closes a node. It stores the checkpoint first, so that a later rollback to before the
// verb's change is detected.
func closeNode(n *node.Node) error {
	_ = n.SaveCheckpoint(context.Background()) // best effort: a running server stores it within a second too
	return n.Close()
}
