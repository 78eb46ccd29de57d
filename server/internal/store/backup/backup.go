// Package backup copies whole databases: it writes, verifies and restores backups, copies a database
// to another engine, and detects a rollback by a checkpoint file.
//
// A backup is an SQLite file with the tables of this schema, whatever the engine of the database, and
// a manifest in the table meta. Keys in it are sealed; it does not hold the master key.
package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/durward-auth/durward/internal/durable"
	"github.com/durward-auth/durward/server/internal/store"
)

// ErrNotBackup means that a file is not a backup, or a damaged one.
var ErrNotBackup = errors.New("backup: not a backup, or a damaged one")

// Manifest describes a backup.
type Manifest struct {
	At     time.Time      `json:"at"`
	Engine string         `json:"engine"` // of the original database: "sqlite", "postgres"
	Schema int64          `json:"schema"`
	Issuer string         `json:"issuer"`
	Epoch  string         `json:"epoch"`
	Seq    int64          `json:"seq"` // number of the last revocation
	Tables map[string]Sum `json:"tables"`
}

// Rows returns the number of rows of all tables.
func (m Manifest) Rows() (n int64) {
	for _, t := range m.Tables {
		n += t.Rows
	}
	return n
}

// Sum is the checksum of a table.
type Sum struct {
	Columns string `json:"columns"` // with spaces between
	Rows    int64  `json:"rows"`
	SHA256  string `json:"sha256"` // of all values, in the order of the primary key
}

// Write writes a backup of a database to a file of mode 0600. Servers may use the database
// meanwhile: the backup shows it at one moment. The file appears only after it was read again and
// found whole. An existing file is replaced only if replace is set.
func Write(ctx context.Context, from store.Config, path string, replace bool, progress func(Progress)) (Manifest, error) {
	from.KeepSchema = true
	source, err := openMigrated(ctx, from, store.Shared)
	if err != nil {
		return Manifest{}, err
	}
	m, err := write(ctx, source, path, replace, progress)
	return m, errors.Join(err, source.Close())
}

// openMigrated opens a database and brings its schema to this program's version.
func openMigrated(ctx context.Context, c store.Config, a store.Access) (*store.Raw, error) {
	r, err := store.OpenRaw(ctx, c, a)
	if err != nil {
		return nil, err
	}
	if err := r.Migrate(ctx); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func write(ctx context.Context, from *store.Raw, path string, replace bool, progress func(Progress)) (m Manifest, err error) {
	if _, err := os.Lstat(path); err == nil && !replace {
		return Manifest{}, &store.OpenError{Hint: "Name another file, or replace it with --force.", Err: fmt.Errorf("%s: %w", path, fs.ErrExist)}
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*.tmp") // mode 0600
	if err != nil {
		return Manifest{}, fmt.Errorf("backup: cannot write the backup: %w", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			m, err = Manifest{}, errors.Join(err, os.Remove(f.Name()))
		}
	}()
	to, err := openMigrated(ctx, store.Config{URL: "sqlite:" + f.Name()}, store.Scratch)
	if err != nil {
		return Manifest{}, err
	}
	err = from.Read(ctx, func(src *store.RawTx) error {
		return to.Write(ctx, func(dst *store.RawTx) error {
			if m, err = copyVerified(src, dst, progress); err != nil {
				return err
			}
			m.At, m.Engine = from.Now().UTC().Truncate(time.Second), src.Engine()
			if m.Issuer, err = dst.Meta("issuer"); err != nil {
				return err
			}
			text, err := json.Marshal(m)
			if err != nil {
				return err
			}
			return dst.SetMeta(store.MetaBackup, string(text))
		})
	})
	if err = errors.Join(err, to.Close()); err != nil {
		return Manifest{}, err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return Manifest{}, fmt.Errorf("backup: cannot write the backup: %w", err)
	}
	if _, err := Verify(ctx, f.Name()); err != nil {
		return Manifest{}, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return Manifest{}, err
	}
	return m, durable.SyncFolder(path)
}

// maxManifest bounds the size of a manifest, in bytes.
const maxManifest = 1 << 16

var identifier = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// Verify reads a whole backup and compares it with its manifest. It changes nothing.
func Verify(ctx context.Context, path string) (Manifest, error) {
	m, err := verify(ctx, path)
	if err != nil {
		var open *store.OpenError
		if ctx.Err() != nil || errors.As(err, &open) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return Manifest{}, err
		}
		return Manifest{}, &store.OpenError{
			Hint: "Nothing was changed. Check that it is the right file and was copied completely, or take an earlier backup.",
			Err:  fmt.Errorf("%w: %s: %w", ErrNotBackup, path, err),
		}
	}
	return m, nil
}

func verify(ctx context.Context, path string) (m Manifest, err error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return Manifest{}, fmt.Errorf("backup: cannot read the backup: %w", err)
	case !info.Mode().IsRegular() || info.Size() == 0:
		return Manifest{}, errors.New("it is not a regular file, or it is empty")
	}
	r, err := store.OpenBackupFile(ctx, path)
	if err != nil {
		return Manifest{}, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	version, err := r.Schema(ctx)
	switch {
	case errors.Is(err, store.ErrForeign), err == nil && version == 0:
		return Manifest{}, errors.New("it is not a Durward database")
	case err != nil:
		return Manifest{}, err
	case version > store.SchemaVersion:
		return Manifest{}, &store.OpenError{
			Hint: "Restore it with the newer program. Nothing was changed.",
			Err:  fmt.Errorf("%w: %s has schema %d, this program supports %d", store.ErrNewer, path, version, store.SchemaVersion),
		}
	}
	err = r.Read(ctx, func(t *store.RawTx) error {
		if m, err = readManifest(t, path, version); err != nil {
			return err
		}
		for _, table := range store.Tables {
			sum, ok := m.Tables[table.Name]
			if !ok {
				if version == store.SchemaVersion {
					return fmt.Errorf("its manifest does not list the table %s", table.Name)
				}
				continue // a later migration adds the table
			}
			if err := sum.verify(t, table); err != nil {
				return err
			}
		}
		return t.CheckFile()
	})
	return m, err
}

func readManifest(t *store.RawTx, path string, version int64) (m Manifest, err error) {
	text, err := t.Meta(store.MetaBackup)
	switch {
	case err != nil:
		return Manifest{}, err
	case text == "":
		return Manifest{}, &store.OpenError{
			Hint: "Make backups with durward db backup. To use a copy that was made by hand, put it in the database's place and start durward serve --accept-rollback.",
			Err:  fmt.Errorf("%w: %s is a Durward database, but durward db backup did not make it", ErrNotBackup, path),
		}
	case len(text) > maxManifest:
		return Manifest{}, fmt.Errorf("its manifest is longer than %d bytes", maxManifest)
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil || m.Schema != version {
		return Manifest{}, errors.New("its manifest is malformed")
	}
	for _, sum := range m.Tables {
		if slices.ContainsFunc(strings.Fields(sum.Columns), func(c string) bool { return !identifier.MatchString(c) }) {
			return Manifest{}, errors.New("its manifest is malformed")
		}
	}
	return m, nil
}

// verify compares a table with its checksum. It reads the columns that the manifest lists, since a
// later migration may add others.
func (s Sum) verify(t *store.RawTx, table store.Table) error {
	table.Columns = s.Columns
	rows, err := t.Rows(table, nil)
	if err != nil {
		return err
	}
	defer rows.Close()
	digest := sha256.New()
	for rows.Next() {
		values, _ := rows.Values()
		for _, v := range values {
			hashValue(digest, v)
		}
	}
	switch {
	case rows.Err() != nil:
		return rows.Err()
	case rows.Count() != s.Rows:
		return fmt.Errorf("the table %s has %d rows, its manifest says %d", table.Name, rows.Count(), s.Rows)
	case hex.EncodeToString(digest.Sum(nil)) != s.SHA256:
		return fmt.Errorf("rows of the table %s were altered", table.Name)
	}
	return nil
}
