package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/durward-auth/durward/internal/durable"
	"github.com/durward-auth/durward/server/internal/store"
)

// RestoreConfig tells what Restore restores.
type RestoreConfig struct {
	Backup string // file
	To     store.Config

	// Replace allows To to hold a database. That is kept in the file Kept first.
	Replace bool
	Kept    string

	Folder string                                 // for a working copy of the backup
	Check  func(context.Context, *store.DB) error // refuses a backup by an error
	Epoch  store.NewEpoch

	Progress func(Progress)
}

// Restored describes a finished restore.
type Restored struct {
	Manifest
	store.Ended
	Kept string // file of the replaced database; empty if there was none
}

// Restore puts a backup in the place of a database. Until the last step it changes nothing: it reads
// the whole backup, makes a working copy of it, migrates the copy's schema, calls Check with the copy
// and begins a new epoch in it. No other process may have the database open.
func Restore(ctx context.Context, c RestoreConfig) (done Restored, err error) {
	if done.Manifest, err = Verify(ctx, c.Backup); err != nil {
		return Restored{}, err
	}
	t, err := lock(ctx, c)
	if err != nil {
		return Restored{}, err
	}
	defer func() {
		if err = errors.Join(err, t.close()); err != nil {
			done = Restored{}
		}
	}()
	work, err := copyFile(c.Backup, c.Folder)
	if err != nil {
		return Restored{}, fmt.Errorf("backup: cannot make a working copy: %w", err)
	}
	defer func() { err = errors.Join(err, removeFiles(work, suffixes)) }()
	c.Epoch.Past = append(slices.Clone(c.Epoch.Past), t.past...)
	if done.Ended, err = prepare(ctx, c, work); err != nil {
		return Restored{}, err
	}
	if done.Kept, err = t.replace(ctx, c, work); err != nil {
		return Restored{}, err
	}
	return done, nil
}

// prepare turns the working copy of the backup into the new database.
func prepare(ctx context.Context, c RestoreConfig, work string) (ended store.Ended, err error) {
	db, err := store.Open(ctx, store.Config{URL: "sqlite:" + work, Now: c.To.Now})
	if err != nil {
		return store.Ended{}, err
	}
	if err := errors.Join(c.Check(ctx, db), db.Close()); err != nil {
		return store.Ended{}, err
	}
	r, err := store.OpenRaw(ctx, store.Config{URL: "sqlite:" + work}, store.Shared)
	if err != nil {
		return store.Ended{}, err
	}
	err = r.Write(ctx, func(t *store.RawTx) error {
		if err := t.DeleteMeta(store.MetaBackup); err != nil {
			return err
		}
		ended, err = t.BeginEpoch(c.Epoch)
		return err
	})
	return ended, errors.Join(err, r.Close())
}

func copyFile(from, folder string) (path string, err error) {
	in, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer in.Close()
	return durable.Temp(filepath.Join(folder, "durward-restore"), in)
}

// suffixes are the endings of the files of an SQLite database, the main file last.
var suffixes = []string{"-wal", "-shm", "-journal", ""}

// removeFiles removes files of an SQLite database, as far as they exist.
func removeFiles(path string, suffixes []string) (err error) {
	for _, suffix := range suffixes {
		if e := os.Remove(path + suffix); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// target is the database that a restore replaces. No other process has it open.
type target struct {
	raw   *store.Raw // nil if there is no database, or a damaged file
	path  string     // empty on Postgres
	found bool       // there are rows, or a file that is not empty
	past  []string   // its epochs
}

func (t *target) close() error {
	if t.raw == nil {
		return nil
	}
	return t.raw.Close()
}

// lock opens the target.
func lock(ctx context.Context, c RestoreConfig) (locked *target, err error) {
	t := new(target)
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	if path, ok := strings.CutPrefix(c.To.URL, "sqlite:"); ok {
		t.path = path
		for _, suffix := range suffixes {
			info, err := os.Stat(path + suffix)
			t.found = t.found || err == nil && info.Size() > 0
		}
	}
	if t.path == "" || t.found {
		t.raw, err = store.OpenRaw(ctx, c.To, store.Exclusive)
		if err != nil && (!errors.Is(err, store.ErrDamaged) || t.path == "") { // a damaged file is kept too
			return nil, err
		}
	}
	if t.raw != nil {
		if err := t.inspect(ctx); err != nil {
			return nil, err
		}
	}
	if t.found && !c.Replace {
		return nil, &store.OpenError{Hint: "durward db restore --replace puts the backup in its place and keeps the present database in " + c.Kept + ".", Err: ErrNotEmpty}
	}
	return t, nil
}

// inspect sets found and past.
func (t *target) inspect(ctx context.Context) error {
	version, err := t.raw.Schema(ctx)
	switch {
	case t.path != "" && errors.Is(err, store.ErrDamaged):
		return nil
	case err != nil:
		return err
	case version > store.SchemaVersion:
		return &store.OpenError{
			Hint: "Restore with the newer program.",
			Err:  fmt.Errorf("%w: schema %d, this program supports %d", store.ErrNewer, version, store.SchemaVersion),
		}
	case version == 0:
		return nil
	}
	return t.raw.Read(ctx, func(tx *store.RawTx) error {
		if t.path == "" {
			empty := false
			if version == store.SchemaVersion {
				if empty, err = tx.Empty(); err != nil {
					return err
				}
			}
			t.found = !empty
		}
		p, err := tx.Position(0)
		if err == nil && p.Epoch != "" {
			t.past = append(p.Past, p.Epoch)
		}
		return err
	})
}

// replace puts the database in the file work in the place of the target.
func (t *target) replace(ctx context.Context, c RestoreConfig, work string) (kept string, err error) {
	if t.path != "" {
		return t.replaceFile(c, work)
	}
	if err := t.raw.Migrate(ctx); err != nil {
		return "", err
	}
	if t.found {
		if _, err := write(ctx, t.raw, c.Kept, false, c.Progress); err != nil {
			return "", err
		}
		kept = c.Kept
	}
	from, err := store.OpenRaw(ctx, store.Config{URL: "sqlite:" + work}, store.Shared)
	if err != nil {
		return "", err
	}
	err = from.Read(ctx, func(src *store.RawTx) error {
		return t.raw.Write(ctx, func(dst *store.RawTx) error {
			if err := dst.Clear(); err != nil {
				return err
			}
			_, err := copyVerified(src, dst, c.Progress)
			return err
		})
	})
	return kept, errors.Join(err, from.Close())
}

// replaceFile exchanges two files. At every moment one of them is in place.
func (t *target) replaceFile(c RestoreConfig, work string) (kept string, err error) {
	// Opening the target exclusively ended its write-ahead log: the main file holds every write.
	if t.found {
		kept = c.Kept
		for _, suffix := range suffixes {
			if err := os.Link(t.path+suffix, kept+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return "", fmt.Errorf("backup: cannot keep the present database: %w", err)
			}
		}
		if err := removeFiles(t.path, suffixes[:len(suffixes)-1]); err != nil {
			return "", err
		}
	}
	if err := os.Rename(work, t.path); err != nil {
		return "", err
	}
	return kept, durable.SyncFolder(t.path)
}
