package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strings"

	"github.com/durward-auth/durward/server/internal/store"
)

var (
	// ErrNotEmpty means that the target of a copy or a restore holds a database already.
	ErrNotEmpty = errors.New("backup: the database is not empty")

	// ErrDiffers means that a copy differs from its original.
	ErrDiffers = errors.New("backup: the copy differs from the original")
)

// Progress reports how far a copy has come.
type Progress struct {
	Step        string // "copying", "comparing"
	Table       string
	Done, Total int64 // rows of all tables
}

// Copy copies a whole database to an empty one of either engine. Sessions, keys and the epoch are
// copied too, so a server continues with the copy. Every column of every row is read again and
// compared before the commit. No other process may have either database open, because later writes
// to the original would be lost. Of the manifest, At, Engine and Issuer are empty.
func Copy(ctx context.Context, from, to store.Config, progress func(Progress)) (m Manifest, err error) {
	if from.URL == to.URL {
		return Manifest{}, errors.New("backup: the source and the target are the same database")
	}
	from.KeepSchema = true
	source, err := openMigrated(ctx, from, store.Exclusive)
	if err != nil {
		return Manifest{}, err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := openMigrated(ctx, to, store.Exclusive)
	if err != nil {
		return Manifest{}, err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	err = source.Read(ctx, func(src *store.RawTx) error {
		return target.Write(ctx, func(dst *store.RawTx) error {
			if empty, err := dst.Empty(); err != nil {
				return err
			} else if !empty {
				return &store.OpenError{Hint: "Name a new file, or an empty database.", Err: ErrNotEmpty}
			}
			m, err = copyVerified(src, dst, progress)
			return err
		})
	})
	return m, err
}

// copyVerified copies all rows to a database with empty tables and compares both afterwards. It
// returns the manifest of the copy without At, Engine and Issuer.
func copyVerified(from, to *store.RawTx, progress func(Progress)) (m Manifest, err error) {
	if progress == nil {
		progress = func(Progress) {}
	}
	var total int64
	for _, t := range store.Tables {
		n, err := from.Count(t)
		if err != nil {
			return Manifest{}, err
		}
		total += n
	}
	var done int64 // rows of the step
	counter := func(step, table string) func() {
		return func() {
			done++
			progress(Progress{step, table, done, total})
		}
	}
	for _, t := range store.Tables {
		rows, err := from.Rows(t, counter("copying", t.Name))
		if err != nil {
			return Manifest{}, err
		}
		if err := errors.Join(to.Insert(t, rows), rows.Close()); err != nil {
			return Manifest{}, fmt.Errorf("backup: copying the table %s: %w", t.Name, err)
		}
	}
	p, err := from.Position(0)
	if err != nil {
		return Manifest{}, err
	}
	if err := to.SetLastRevocation(p.Seq); err != nil {
		return Manifest{}, err
	}
	m = Manifest{Schema: store.SchemaVersion, Epoch: p.Epoch, Seq: p.Seq, Tables: make(map[string]Sum)}
	done = 0
	for _, t := range store.Tables {
		if m.Tables[t.Name], err = compare(from, to, t, counter("comparing", t.Name)); err != nil {
			return Manifest{}, err
		}
	}
	return m, nil
}

// compare reads a table of two databases and compares every column of every row.
func compare(from, to *store.RawTx, t store.Table, step func()) (Sum, error) {
	original, err := from.Rows(t, step)
	if err != nil {
		return Sum{}, err
	}
	defer original.Close()
	copied, err := to.Rows(t, nil)
	if err != nil {
		return Sum{}, err
	}
	defer copied.Close()
	columns := strings.Fields(t.Columns)
	digest := sha256.New()
	for {
		one, other := original.Next(), copied.Next()
		if err := errors.Join(original.Err(), copied.Err()); err != nil {
			return Sum{}, err
		}
		switch {
		case one != other:
			return Sum{}, fmt.Errorf("%w: the table %s has at least %d rows on one side and fewer on the other", ErrDiffers, t.Name, max(original.Count(), copied.Count()))
		case !one:
			return Sum{t.Columns, original.Count(), hex.EncodeToString(digest.Sum(nil))}, nil
		}
		a, _ := original.Values()
		b, _ := copied.Values()
		for i, column := range columns {
			if !equal(a[i], b[i]) {
				return Sum{}, fmt.Errorf("%w: row %d of the table %s, ordered by key, differs in %s", ErrDiffers, original.Count(), t.Name, column)
			}
			hashValue(digest, a[i])
		}
	}
}

func equal(a, b any) bool {
	if x, ok := a.([]byte); ok {
		y, ok := b.([]byte)
		return ok && bytes.Equal(x, y)
	}
	return a == b
}

// hashValue adds a value to a digest: a letter for its type, its length as 8 bytes, and its bytes. The
// result is the same for each engine.
func hashValue(digest hash.Hash, value any) {
	var b []byte
	var kind byte
	switch v := value.(type) {
	case int64:
		kind, b = 'i', binary.BigEndian.AppendUint64(nil, uint64(v))
	case string:
		kind, b = 't', []byte(v)
	case []byte:
		kind, b = 'b', v
	default:
		kind, b = '?', fmt.Append(nil, v)
	}
	var head [9]byte
	head[0] = kind
	binary.BigEndian.PutUint64(head[1:], uint64(len(b)))
	digest.Write(head[:])
	digest.Write(b)
}
