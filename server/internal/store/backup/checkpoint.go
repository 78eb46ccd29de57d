package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/durward-auth/durward/internal/durable"
	"github.com/durward-auth/durward/server/internal/store"
)

// ErrRollback means that the database is not the one that this node last used, or an earlier state
// of it.
var ErrRollback = errors.New("backup: the database was rolled back")

// Checkpoint is the file in which a node records the position of its database. The file is outside
// the database, so an older copy in the database's place is detected: credentials that were revoked
// since the copy would be valid again. A nil Checkpoint records and refuses nothing.
type Checkpoint struct {
	path string

	mu   sync.Mutex
	last record // as it is in the file; under mu
}

// NewCheckpoint returns the checkpoint in a file, which need not exist.
func NewCheckpoint(path string) *Checkpoint { return &Checkpoint{path: path} }

// record is the content of the file: three lines, so that a person can read it.
//
//	durward-mark-1
//	epoch EPOCH
//	seq NUMBER SUM
type record struct {
	epoch string
	seq   int64  // the highest number of a revocation
	sum   string // its checksum, "-" in the file if it was purged before
}

const (
	recordVersion = "durward-mark-1"
	maxRecord     = 256 // bytes
)

var otherVersion = regexp.MustCompile(`^durward-mark-[ -~]*$`)

func (r record) String() string {
	sum := r.sum
	if sum == "" {
		sum = "-"
	}
	return fmt.Sprintf("%s\nepoch %s\nseq %d %s\n", recordVersion, r.epoch, r.seq, sum)
}

// parseRecord parses exactly what String returns.
func parseRecord(text string) (record, error) {
	version, rest, _ := strings.Cut(text, "\n")
	if version != recordVersion && otherVersion.MatchString(version) {
		return record{}, fmt.Errorf("its format is %s, this program supports %s", version, recordVersion)
	}
	var r record
	_, err := fmt.Sscanf(rest, "epoch %s\nseq %d %s\n", &r.epoch, &r.seq, &r.sum)
	if r.sum == "-" {
		r.sum = ""
	}
	if err != nil || r.seq < 0 || r.String() != text {
		return record{}, errors.New("malformed content")
	}
	return r, nil
}

// read reads the file. If it does not exist, found is false and err nil.
func (c *Checkpoint) read() (r record, found bool, err error) {
	f, err := os.Open(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, false, nil
	}
	if err != nil {
		return record{}, false, fmt.Errorf("backup: cannot open the checkpoint: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRecord+1))
	if err == nil {
		r, err = parseRecord(string(text))
	}
	if err != nil {
		return record{}, false, &store.OpenError{
			Hint: "The file detects a rollback of the database. Restore it from a backup of the folder; or remove it, if you know that the database is the right one and not an older copy.",
			Err:  fmt.Errorf("backup: cannot read the checkpoint %s: %w", c.path, err),
		}
	}
	return r, true, nil
}

// write replaces the file atomically.
func (c *Checkpoint) write(r record) error {
	// The data folder of a node on Postgres may not exist yet.
	if err := os.MkdirAll(filepath.Dir(c.path), 0o700); err != nil {
		return fmt.Errorf("backup: cannot write the checkpoint: %w", err)
	}
	temp, err := durable.Temp(c.path, strings.NewReader(r.String()))
	if err != nil {
		return fmt.Errorf("backup: cannot write the checkpoint: %w", err)
	}
	if err := os.Rename(temp, c.path); err != nil {
		return fmt.Errorf("backup: cannot write the checkpoint: %w", errors.Join(err, os.Remove(temp)))
	}
	return durable.SyncFolder(c.path)
}

// mismatch describes how position p contradicts the record. It is empty if the database is the same
// or a later state of it.
func (r record) mismatch(p store.Position) string {
	switch {
	case p.Epoch == "":
		return "the database is empty"
	case slices.Contains(p.Past, r.epoch):
		return "" // durward restored it and began a new epoch
	case p.Epoch != r.epoch:
		return fmt.Sprintf("the epoch of the database is %s, expected %s or a later one", p.Epoch, r.epoch)
	case p.Seq < r.seq:
		return fmt.Sprintf("its last revocation has number %d, expected %d or higher", p.Seq, r.seq)
	case p.SumAt != r.sum && r.sum != "" && (p.SumAt != "" || r.seq > p.Purged):
		return fmt.Sprintf("its revocation number %d differs from the recorded one", r.seq)
	}
	return ""
}

// Check refuses a rolled-back database with ErrRollback. It is a store.Config.CheckHistory.
func (c *Checkpoint) Check(position func(seq int64) (store.Position, error)) error {
	if c == nil {
		return nil
	}
	r, found, err := c.read()
	if err != nil || !found {
		return err
	}
	p, err := position(r.seq)
	if err != nil {
		return err
	}
	if mismatch := r.mismatch(p); mismatch != "" {
		return &store.OpenError{
			Hint: "If it is the wrong database, name the right one. If an older copy was put in its place, or the database server lost committed data: durward serve --accept-rollback begins a new epoch, in which every user signs in again and no revoked credential is valid. To restore a backup, durward db restore is the better way.",
			Err:  fmt.Errorf("%w: %s (checkpoint %s)", ErrRollback, mismatch, c.path),
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = r
	return nil
}

// CheckNew returns ErrRollback if the node has used a database before, so that it does not create a
// new one in its place.
func (c *Checkpoint) CheckNew() error {
	return c.Check(func(int64) (store.Position, error) { return store.Position{}, nil })
}

// Save records the position of the database if it has changed. If the database was rolled back while
// the node was running, Save returns ErrRollback and keeps the file, so that the next start detects
// it too.
func (c *Checkpoint) Save(ctx context.Context, db *store.DB) error {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p, err := db.Position(ctx, c.last.seq)
	if err != nil {
		return err
	}
	if p.Epoch != db.Epoch() {
		return fmt.Errorf("%w: its epoch is %s, and was %s when this program started: it was restored meanwhile; restart the program", ErrRollback, p.Epoch, db.Epoch())
	}
	if c.last.epoch == p.Epoch {
		if mismatch := c.last.mismatch(p); mismatch != "" {
			return fmt.Errorf("%w: %s", ErrRollback, mismatch)
		}
		if c.last.seq == p.Seq {
			return nil
		}
	}
	r := record{p.Epoch, p.Seq, p.Sum}
	if err := c.write(r); err != nil {
		return err
	}
	c.last = r
	return nil
}

// Epoch returns the recorded epoch, empty if there is none or the file cannot be read.
func (c *Checkpoint) Epoch() string {
	r, _, _ := c.read()
	return r.epoch
}

// AcceptRollback begins a new epoch if the database was rolled back, and reports whether it was. No
// other process may have the database open.
func AcceptRollback(ctx context.Context, c store.Config, checkpoint *Checkpoint, n store.NewEpoch) (ended store.Ended, rollback bool, err error) {
	r, err := store.OpenRaw(ctx, c, store.Exclusive)
	if err != nil {
		return store.Ended{}, false, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	err = checkpoint.Check(func(seq int64) (store.Position, error) { return r.Position(ctx, seq) })
	if !errors.Is(err, ErrRollback) {
		return store.Ended{}, false, err
	}
	if err := r.Migrate(ctx); err != nil {
		return store.Ended{}, false, err
	}
	n.Past = append(slices.Clone(n.Past), checkpoint.Epoch())
	err = r.Write(ctx, func(t *store.RawTx) (err error) {
		ended, err = t.BeginEpoch(n)
		return err
	})
	if err != nil {
		return store.Ended{}, false, err
	}
	return ended, true, nil
}
