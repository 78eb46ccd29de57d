package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/store/backup"
)

// DataError is the error of data that cannot be opened. Hint tells the user of the command line what to
// do; it may be empty.
type DataError struct {
	Err  error
	Hint string
}

func (e *DataError) Error() string { return e.Err.Error() }
func (e *DataError) Unwrap() error { return e.Err }

// otherFolder is the hint for a data folder that cannot be used.
const otherFolder = "Name another folder with --data DIR."

// StoreConfig returns the settings of the database.
func StoreConfig(c *config.Config) store.Config {
	return store.Config{
		URL:          string(c.DatabaseURL()),
		Pooled:       c.Pooled(),
		KeepSchema:   !c.Database.Migrate,
		CheckHistory: backup.NewCheckpoint(c.CheckpointPath()).Check,
	}
}

// Access is the use of the data by a program. Each value includes those before it.
type Access int

const (
	Reading  Access = iota
	Writing         // refuses a database that was rolled back
	Creating        // creates a missing database
	Starting        // migrates the schema of an older version
)

// OpenData opens the data that the settings name: it makes what is missing of folders, database and
// master key, if a allows it. The caller closes the node with CloseData. now is as for Config.
func OpenData(ctx context.Context, c *config.Config, a Access, log *slog.Logger, now func() time.Time) (*Node, error) {
	isNew, err := CheckDatabase(ctx, c, a >= Creating)
	if err != nil {
		return nil, err
	}
	if isNew {
		if err := backup.NewCheckpoint(c.CheckpointPath()).CheckNew(); err != nil {
			return nil, err
		}
	}
	master, err := MasterKey(c, isNew)
	if err != nil {
		hint := ""
		if errors.Is(err, fs.ErrNotExist) {
			hint = "If the server gets its key from DURWARD_MASTER_KEY_FILE, set this variable for every verb too."
		}
		return nil, &DataError{err, hint}
	}
	var checkpoint *backup.Checkpoint // nil for reading, so that a rolled-back database can be inspected
	if a != Reading {
		checkpoint = backup.NewCheckpoint(c.CheckpointPath())
	}
	return Open(ctx, Config{
		Settings:   c,
		Master:     master,
		KeepSchema: !c.Database.Migrate || a != Starting && !isNew,
		Checkpoint: checkpoint,
		Log:        log,
		Now:        now,
	})
}

// CloseData closes a node. It stores the checkpoint first, so that a later rollback to before the
// last change is detected.
func CloseData(n *Node) error {
	_ = n.SaveCheckpoint(context.Background()) // best effort: a running server stores it within a second too
	return n.Close()
}

// CheckDatabase checks that the database exists. If it does not, create makes its folders and
// CheckDatabase reports isNew; without create it is an error.
func CheckDatabase(ctx context.Context, c *config.Config, create bool) (isNew bool, err error) {
	folders := []string{c.DataDir}
	path, isFile := c.DatabaseURL().File()
	if isFile {
		folders = append(folders, filepath.Dir(path))
		_, err = os.Stat(path)
	} else if isNew, err = store.Empty(ctx, StoreConfig(c)); isNew {
		err = fs.ErrNotExist
	}
	switch {
	case err == nil:
		return false, nil
	case !isFile && !isNew:
		return false, err
	case !errors.Is(err, fs.ErrNotExist):
		return false, &DataError{fmt.Errorf("cannot use the data folder: %w", err), otherFolder}
	case !create:
		return false, &DataError{
			fmt.Errorf("there is no database at %s", c.DatabaseName()),
			"Name the data folder with --data DIR. durward serve and durward user add create a database.",
		}
	}
	return true, MakeFolders(folders...)
}

// MakeFolders makes the folders of the data that do not exist.
func MakeFolders(folders ...string) error {
	for _, dir := range folders {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return &DataError{fmt.Errorf("cannot create the data folder: %w", err), otherFolder}
		}
	}
	return nil
}

// MasterKey opens the master key. create makes a missing key file; use it for a new database only,
// because an existing database is sealed with the key it was created with.
func MasterKey(c *config.Config, create bool) (*seal.Master, error) {
	if c.MasterKey != "" {
		return seal.Parse(c.MasterKey)
	}
	return seal.Open(c.MasterKeyPath(), create)
}
