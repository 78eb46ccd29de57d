package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A backup is a SQLite file with the tables of this schema, whichever engine it was
// made of, and one row more in meta that says what is in it. The keys in it are
// sealed; the master key is not in it.

// Why a database or a backup cannot be used for what was asked.
var (
	ErrNotBackup = errors.New("store: not a backup, or a damaged one")
	ErrInUse     = errors.New("store: the database is in use")
	ErrNotEmpty  = errors.New("store: there is a database already")
)

// Manifest says what is in a backup.
type Manifest struct {
	At     time.Time      `json:"at"`
	Engine string         `json:"engine"` // that it was made of: "sqlite", "postgres"
	Schema int64          `json:"schema"`
	Issuer string         `json:"issuer"`
	Epoch  string         `json:"epoch"`
	Seq    int64          `json:"seq"` // of the last revocation
	Tables map[string]Sum `json:"tables"`
}

// Rows is how many there are in all.
func (m Manifest) Rows() (n int64) {
	for _, t := range m.Tables {
		n += t.Rows
	}
	return n
}

// onSide gives use one end of a copy, in a transaction that is committed where use
// returns nil.
func onSide(ctx context.Context, e engine, reads bool, use func(side) error) error {
	return e.migrations(func(db *sql.DB, m migrations) error {
		s, err := begun(ctx, db, m, reads)
		if err != nil {
			return err
		}
		return s.end(ctx, use(s))
	})
}

// Backup writes a backup of the database of from to a file. Others may work with the
// database meanwhile: what is written is one moment of it. The file is there whole
// or not at all, is read again before that, and has the mode 0600. One that is there
// is replaced only where that is wanted.
func Backup(ctx context.Context, from Config, path string, replace bool, progress func(Progress)) (Manifest, error) {
	from.KeepSchema = true
	e, err := openEngine(ctx, from.whole())
	if err != nil {
		return Manifest{}, err
	}
	if _, err := migrate(ctx, e, from.whole()); err != nil {
		return Manifest{}, errors.Join(err, e.close())
	}
	m, err := backup(ctx, e, path, replace, progress)
	return m, errors.Join(err, e.close())
}

func backup(ctx context.Context, from engine, path string, replace bool, progress func(Progress)) (m Manifest, err error) {
	if _, err := os.Lstat(path); err == nil && !replace {
		return Manifest{}, &OpenError{"Name another file, or replace it with --force.", fmt.Errorf("%s is there: %w", path, fs.ErrExist)}
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*.tmp") // mode 0600
	if err != nil {
		return Manifest{}, fmt.Errorf("store: the backup cannot be written: %w", err)
	}
	defer func() {
		if err != nil {
			m, err = Manifest{}, errors.Join(err, os.Remove(f.Name()))
		}
	}()
	if err := f.Close(); err != nil {
		return Manifest{}, err
	}
	to, err := openEngine(ctx, Config{URL: "sqlite:" + f.Name(), scratch: true}.whole())
	if err != nil {
		return Manifest{}, err
	}
	closed := false
	defer func() {
		if !closed {
			err = errors.Join(err, to.close())
		}
	}()
	if _, err := migrate(ctx, to, Config{}.whole()); err != nil {
		return Manifest{}, err
	}
	err = onSide(ctx, from, true, func(src side) error {
		return onSide(ctx, to, false, func(dst side) (err error) {
			if err := copyAll(ctx, src, dst, progress); err != nil {
				return err
			}
			m = Manifest{Engine: "sqlite", Schema: schemaVersion, At: from.now().UTC().Truncate(time.Second)}
			if src.postgres {
				m.Engine = "postgres"
			}
			if m.Tables, err = compareAll(ctx, src, dst, progress); err != nil {
				return err
			}
			tx := dst.tx(ctx)
			p, _, err := tx.position(0)
			if err != nil {
				return err
			}
			m.Epoch, m.Seq = p.epoch, p.seq
			if m.Issuer, err = tx.meta("issuer"); err != nil {
				return err
			}
			text, err := json.Marshal(m)
			if err != nil {
				return err
			}
			return tx.setMeta(metaBackup, string(text))
		})
	})
	if err != nil {
		return Manifest{}, err
	}
	closed = true
	if err := to.close(); err != nil {
		return Manifest{}, err
	}
	if err := syncFile(f.Name()); err != nil {
		return Manifest{}, fmt.Errorf("store: the backup cannot be written: %w", err)
	}
	if _, err := VerifyBackup(ctx, f.Name()); err != nil {
		return Manifest{}, err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return Manifest{}, err
	}
	return m, syncFolder(filepath.Dir(path))
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// mostManifest bounds what is read of a manifest.
const mostManifest = 1 << 16

var identifier = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// VerifyBackup reads a whole backup and compares it with what it says is in it. It
// changes nothing.
func VerifyBackup(ctx context.Context, path string) (Manifest, error) {
	m, err := verifyBackup(ctx, path)
	if err != nil {
		var open *OpenError
		if ctx.Err() != nil || errors.As(err, &open) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			return Manifest{}, err
		}
		return Manifest{}, &OpenError{"Nothing was changed. Is it the right file, and was it copied whole? Take an earlier backup.", fmt.Errorf("%w: %s: %w", ErrNotBackup, path, err)}
	}
	return m, nil
}

func verifyBackup(ctx context.Context, path string) (Manifest, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return Manifest{}, fmt.Errorf("store: the backup cannot be read: %w", err)
	case !info.Mode().IsRegular() || info.Size() == 0:
		return Manifest{}, errors.New("it is no file, or empty")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return Manifest{}, err
	}
	// Immutable: nothing beside the file is read or made.
	q := url.Values{"mode": {"ro"}, "immutable": {"1"}, "_pragma": {"query_only(ON)", "trusted_schema(OFF)", "cell_size_check(ON)"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: abs, RawQuery: q.Encode()}).String())
	if err != nil {
		return Manifest{}, err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)

	var odd int
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_schema WHERE type NOT IN ('table', 'index')`).Scan(&odd); err != nil {
		return Manifest{}, err
	}
	version, foreign, err := schemaOf(ctx, db, sqliteTables)
	if err != nil {
		return Manifest{}, err
	}
	if odd > 0 || len(foreign) > 0 || version == 0 {
		return Manifest{}, errors.New("it is a database, but not one of durward's")
	}
	if version > schemaVersion {
		return Manifest{}, &OpenError{"Restore it with the newer program. Nothing was changed.", fmt.Errorf("%w: %s has schema %d, this program knows %d", ErrNewer, path, version, schemaVersion)}
	}
	var text string
	err = db.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = $1`, metaBackup).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return Manifest{}, &OpenError{"durward db backup makes one. A copy that was made by hand is put in place by hand: durward serve --accept-rollback starts with it.",
			fmt.Errorf("%w: %s is a database of durward's, but was not made by durward db backup", ErrNotBackup, path)}
	} else if err != nil {
		return Manifest{}, err
	}
	var m Manifest
	if len(text) > mostManifest {
		return Manifest{}, errors.New("what it says of itself is too long")
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil || m.Schema != version {
		return Manifest{}, errors.New("what it says of itself cannot be read")
	}
	for _, t := range tables {
		sum, ok := m.Tables[t.name]
		if !ok {
			if version == schemaVersion {
				return Manifest{}, fmt.Errorf("it says nothing of the table %s", t.name)
			}
			continue
		}
		if slices.ContainsFunc(strings.Fields(sum.Columns), func(c string) bool { return !identifier.MatchString(c) }) {
			return Manifest{}, errors.New("what it says of itself cannot be read")
		}
		if err := sum.holds(ctx, db, t); err != nil {
			return Manifest{}, err
		}
	}
	var problem string
	if err := db.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&problem); err != nil {
		return Manifest{}, err
	}
	if problem != "ok" {
		return Manifest{}, errors.New(problem)
	}
	return m, nil
}

// holds compares a table with its sum.
func (s Sum) holds(ctx context.Context, db *sql.DB, t table) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	t.columns = s.Columns
	rows, err := side{conn: conn}.read(ctx, t, nil)
	if err != nil {
		return err
	}
	defer rows.close()
	digest := sha256.New()
	for rows.Next() {
		for _, v := range rows.values {
			addTo(digest, v)
		}
	}
	switch {
	case rows.Err() != nil:
		return rows.Err()
	case rows.n != s.Rows:
		return fmt.Errorf("%s has %d rows, where there were %d", t.name, rows.n, s.Rows)
	case hex.EncodeToString(digest.Sum(nil)) != s.SHA256:
		return fmt.Errorf("rows of %s were altered", t.name)
	}
	return nil
}

// Restore puts a backup in the place of a database.
type Restore struct {
	Backup string // file
	To     Config

	// Replace allows that there is a database in To. What is replaced is kept in the
	// file Kept first.
	Replace bool
	Kept    string

	Folder string // for a working copy of the backup
	Check  func(context.Context, *DB) error
	Epoch  NewEpoch

	Progress func(Progress)
}

// Restored says what was done.
type Restored struct {
	Manifest
	Ended
	Kept string // file of what was there before; empty where nothing was
}

// Do restores. Until the last step nothing is changed: the backup is read whole,
// brought to this program's schema in a copy beside the target, judged by Check, and
// begins a new epoch there. Nobody else may have the target open.
func (r Restore) Do(ctx context.Context) (done Restored, err error) {
	if done.Manifest, err = VerifyBackup(ctx, r.Backup); err != nil {
		return Restored{}, err
	}
	target, err := r.lock(ctx)
	if err != nil {
		return Restored{}, err
	}
	defer func() {
		if err = errors.Join(err, target.close()); err != nil {
			done = Restored{}
		}
	}()
	work, err := copyFile(r.Backup, r.Folder)
	if err != nil {
		return Restored{}, fmt.Errorf("store: a working copy cannot be made: %w", err)
	}
	defer func() { err = errors.Join(err, removeDatabase(work)) }()
	r.Epoch.Past = append(slices.Clone(r.Epoch.Past), target.past...)
	if done.Ended, err = r.prepare(ctx, work); err != nil {
		return Restored{}, err
	}
	if done.Kept, err = target.put(ctx, r, work); err != nil {
		return Restored{}, err
	}
	return done, nil
}

// prepare makes what takes the target's place.
func (r Restore) prepare(ctx context.Context, work string) (ended Ended, err error) {
	db, err := Open(ctx, Config{URL: "sqlite:" + work, Now: r.To.Now})
	if err != nil {
		return Ended{}, err
	}
	if err := errors.Join(r.Check(ctx, db), db.Close()); err != nil {
		return Ended{}, err
	}
	e, err := openEngine(ctx, Config{URL: "sqlite:" + work}.whole())
	if err != nil {
		return Ended{}, err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	err = onSide(ctx, e, false, func(s side) error {
		_, err := s.tx(ctx).exec(`DELETE FROM meta WHERE name = $1`, metaBackup)
		return err
	})
	if err != nil {
		return Ended{}, err
	}
	return beginEpoch(ctx, e, r.Epoch)
}

func copyFile(from, folder string) (path string, err error) {
	in, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := os.CreateTemp(folder, ".durward-restore-*.tmp") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = io.Copy(out, in)
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return "", errors.Join(err, os.Remove(out.Name()))
	}
	return out.Name(), nil
}

// removeDatabase removes a SQLite file and what belongs to it, where it is there.
func removeDatabase(path string) (err error) {
	for _, suffix := range besides {
		if e := os.Remove(path + suffix); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// besides are what stands beside a SQLite file and belongs to it; the file itself is
// the last.
var besides = []string{"-wal", "-shm", "-journal", ""}

// target is what a backup is restored to, and nobody else has open.
type target struct {
	engine engine // nil where there is nothing, or nothing that can be read
	path   string // of a file
	there  bool   // something is there, whatever it is
	past   []string
}

func (t *target) close() error {
	if t.engine == nil {
		return nil
	}
	return t.engine.close()
}

// lock opens what is there.
func (r Restore) lock(ctx context.Context) (locked *target, err error) {
	t := new(target)
	defer func() {
		if err != nil {
			err = errors.Join(err, t.close())
		}
	}()
	if path, ok := strings.CutPrefix(r.To.URL, "sqlite:"); ok {
		t.path = path
		for _, suffix := range besides {
			info, err := os.Stat(path + suffix)
			t.there = t.there || err == nil && info.Size() > 0
		}
	}
	c := r.To.whole()
	c.alone = true
	if t.path == "" || t.there {
		e, err := openEngine(ctx, c)
		switch {
		case err == nil:
			t.engine = e
		case !errors.Is(err, ErrDamaged) || t.path == "": // what cannot be read is kept all the same
			return nil, err
		}
	}
	if t.engine != nil {
		if err := t.look(ctx); err != nil {
			return nil, err
		}
	}
	if t.there && !r.Replace {
		return nil, &OpenError{"durward db restore --replace puts the backup in its place. What is there now is kept in " + r.Kept + ".",
			fmt.Errorf("%w, and it is not empty", ErrNotEmpty)}
	}
	return t, nil
}

// look reads what is there, and what epochs it has seen.
func (t *target) look(ctx context.Context) error {
	return t.engine.migrations(func(db *sql.DB, m migrations) error {
		version, foreign, err := schemaOf(ctx, db, m.tables)
		switch {
		case err != nil && t.path != "" && damaged(err):
			return nil
		case err != nil:
			return err
		case len(foreign) > 0:
			return &OpenError{"Name an empty database, or the right one, in database.url.", fmt.Errorf("%w: it has no schema of Durward's, but the tables %s", ErrForeign, strings.Join(foreign, ", "))}
		case version > schemaVersion:
			return &OpenError{"Restore with the newer program.", fmt.Errorf("%w: schema %d, this program knows %d", ErrNewer, version, schemaVersion)}
		case version == 0:
			return nil
		}
		s, err := begun(ctx, db, m, true)
		if err != nil {
			return err
		}
		if t.path == "" {
			empty := false
			if version == schemaVersion {
				if empty, err = s.empty(ctx); err != nil {
					return s.end(ctx, err)
				}
			}
			t.there = !empty
		}
		p, _, err := s.tx(ctx).position(0)
		if err == nil && p.epoch != "" {
			t.past = append(p.past, p.epoch)
		}
		return s.end(ctx, err)
	})
}

// put puts the database in the file work in the place of the target.
func (t *target) put(ctx context.Context, r Restore, work string) (kept string, err error) {
	if t.path != "" {
		return t.putFile(ctx, r, work)
	}
	if t.there {
		if _, err := migrate(ctx, t.engine, r.To.whole()); err != nil {
			return "", err
		}
		if _, err := backup(ctx, t.engine, r.Kept, false, r.Progress); err != nil {
			return "", err
		}
		kept = r.Kept
	} else if _, err := migrate(ctx, t.engine, r.To.whole()); err != nil {
		return "", err
	}
	from, err := openEngine(ctx, Config{URL: "sqlite:" + work}.whole())
	if err != nil {
		return "", err
	}
	err = onSide(ctx, from, true, func(src side) error {
		return onSide(ctx, t.engine, false, func(dst side) error {
			if err := dst.clear(ctx); err != nil {
				return err
			}
			return copyVerified(ctx, src, dst, r.Progress)
		})
	})
	return kept, errors.Join(err, from.close())
}

// putFile exchanges files: at each moment the one or the other is there.
func (t *target) putFile(ctx context.Context, r Restore, work string) (kept string, err error) {
	// All that was written is in the one file: the lock is had without a log alone.
	if t.there {
		kept = r.Kept
		for _, suffix := range besides {
			if err := os.Link(t.path+suffix, kept+suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return "", fmt.Errorf("store: what is there cannot be kept: %w", err)
			}
		}
		for _, suffix := range besides[:len(besides)-1] {
			if err := os.Remove(t.path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return "", err
			}
		}
	}
	if err := os.Rename(work, t.path); err != nil {
		return "", err
	}
	return kept, syncFolder(filepath.Dir(t.path))
}

// clear removes all rows.
func (s side) clear(ctx context.Context) error {
	if s.postgres {
		var names []string
		for _, t := range tables {
			names = append(names, t.name)
		}
		_, err := s.conn.ExecContext(ctx, "TRUNCATE "+strings.Join(names, ", "))
		return classify(err)
	}
	for _, t := range slices.Backward(tables) {
		if _, err := s.conn.ExecContext(ctx, "DELETE FROM "+t.name); err != nil {
			return classify(err)
		}
	}
	return nil
}

func copyVerified(ctx context.Context, src, dst side, progress func(Progress)) error {
	if err := copyAll(ctx, src, dst, progress); err != nil {
		return err
	}
	_, err := compareAll(ctx, src, dst, progress)
	return err
}

// Copied says what was copied.
type Copied struct {
	Epoch string
	Seq   int64
	Rows  map[string]int64
}

// Copy copies a whole database to an empty one, of whichever engine: sessions, keys
// and epoch too, so that a server goes on with the copy as with the original. Every
// column of every row is read again and compared before it is committed. Nobody else
// may have either open, since what was written after would be lost.
func Copy(ctx context.Context, from, to Config, progress func(Progress)) (done Copied, err error) {
	if from.URL == to.URL {
		return Copied{}, errors.New("store: the copy would be the original")
	}
	from.alone, to.alone, from.KeepSchema = true, true, true
	src, err := openEngine(ctx, from.whole())
	if err != nil {
		return Copied{}, err
	}
	defer func() { err = errors.Join(err, src.close()) }()
	if _, err := migrate(ctx, src, from.whole()); err != nil {
		return Copied{}, err
	}
	dst, err := openEngine(ctx, to.whole())
	if err != nil {
		return Copied{}, err
	}
	defer func() { err = errors.Join(err, dst.close()) }()
	if _, err := migrate(ctx, dst, to.whole()); err != nil {
		return Copied{}, err
	}
	err = onSide(ctx, src, true, func(a side) error {
		return onSide(ctx, dst, false, func(b side) error {
			if empty, err := b.empty(ctx); err != nil {
				return err
			} else if !empty {
				return &OpenError{"Name a new file, or an empty database.", fmt.Errorf("%w, and it is not empty", ErrNotEmpty)}
			}
			if err := copyVerified(ctx, a, b, progress); err != nil {
				return err
			}
			p, _, err := b.tx(ctx).position(0)
			if err != nil {
				return err
			}
			done.Epoch, done.Seq = p.epoch, p.seq
			done.Rows, _, err = b.counts(ctx)
			return err
		})
	})
	if err != nil {
		return Copied{}, err
	}
	return done, nil
}
