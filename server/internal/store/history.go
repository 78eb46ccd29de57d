package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrWentBack means that the database is not the one, or not as late a state of the
// one, that this node last worked with.
var ErrWentBack = errors.New("store: the database went back")

// mark is how far the history of the database was when this node last looked. It
// stands in a small file outside the database, so that an older copy in the place of
// the present database is noticed: what was revoked since is alive in it.
//
// The history is an epoch, which is drawn when a database is made and anew when it
// is restored, and within it the numbers of revocations, which only grow.
type mark struct {
	epoch string
	seq   int64  // the highest number seen
	sum   string // of the revocation of that number; empty where it was forgotten before
}

// The file is three lines, so that it can be read by a person:
//
//	durward-mark-1
//	epoch EPOCH
//	seq NUMBER SUM
const markVersion = "durward-mark-1"

const mostMark = 256 // octets of the file; more is not read

func (m mark) String() string {
	return fmt.Sprintf("%s\nepoch %s\nseq %d %s\n", markVersion, m.epoch, m.seq, orDash(m.sum))
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// parseMark reads the one form that String writes.
func parseMark(text string) (mark, error) {
	var m mark
	wrong := errors.New("it is not of the form that durward writes")
	version, rest, _ := strings.Cut(text, "\n")
	if version != markVersion {
		if strings.HasPrefix(version, "durward-mark-") && !strings.ContainsFunc(version, func(r rune) bool { return r < ' ' || r > '~' }) {
			return mark{}, fmt.Errorf("it is of the form %s, this program knows %s", version, markVersion)
		}
		return mark{}, wrong
	}
	if n, err := fmt.Sscanf(rest, "epoch %s\nseq %d %s\n", &m.epoch, &m.seq, &m.sum); err != nil || n != 3 || m.seq < 0 {
		return mark{}, wrong
	}
	if m.sum == "-" {
		m.sum = ""
	}
	if m.String() != text {
		return mark{}, wrong
	}
	return m, nil
}

// readMark reads the file. A file that is not there is no mark and no error.
func readMark(path string) (m mark, found bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return mark{}, false, nil
	}
	if err != nil {
		return mark{}, false, fmt.Errorf("store: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, mostMark+1))
	if err == nil {
		m, err = parseMark(string(text))
	}
	if err != nil {
		return mark{}, false, &OpenError{"It tells a database that went back. Put it back from a backup of the folder; or remove it, if you know that the database is the right one and no older copy.",
			fmt.Errorf("store: %s cannot be read: %w", path, err)}
	}
	return m, true, nil
}

// write replaces the file, whole or not at all.
func (m mark) write(path string) (err error) {
	// The folder of a node whose data is elsewhere may not be there yet.
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*.tmp") // mode 0600
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("store: %w", err), f.Close(), os.Remove(f.Name()))
		}
	}()
	if _, err := f.WriteString(m.String()); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes the names in a folder durable, where the system can.
func syncFolder(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// history compares a database with the mark of this node, and keeps the mark.
type history struct {
	path string // empty keeps none

	mu   sync.Mutex
	last mark // as the file has it; under mu
}

// position is where in its history a database is.
type position struct {
	mark
	past   []string // epochs before
	purged int64    // no revocation up to this number need be there
}

// sumOf tells one revocation from another of the same number.
func sumOf(r Revocation) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %q %q %d", r.Seq, r.Kind, r.Value, micros(r.At)))
	return hex.EncodeToString(sum[:8])
}

// position reads where the database is, and the sum of revocation seq, which is
// empty where there is none.
func (t *tx) position(seq int64) (p position, sum string, err error) {
	sumAt := func(seq int64) (string, error) {
		r := Revocation{Seq: seq}
		var at int64
		err := t.row(`SELECT kind, value, at FROM revocations WHERE seq = $1`, seq).Scan(&r.Kind, &r.Value, &at)
		if errors.Is(classify(err), ErrNotFound) {
			return "", nil
		}
		r.At = moment(at)
		return sumOf(r), err
	}
	// In this order: what is forgotten in between is in purged.
	if sum, err = sumAt(seq); err != nil {
		return position{}, "", err
	}
	if err := t.row(`SELECT coalesce(max(seq), 0) FROM revocations`).Scan(&p.seq); err != nil {
		return position{}, "", err
	}
	if p.seq > 0 {
		if p.sum, err = sumAt(p.seq); err != nil {
			return position{}, "", err
		}
	}
	if p.purged, err = t.purged(); err != nil {
		return position{}, "", err
	}
	if p.purged > p.seq {
		p.seq, p.sum = p.purged, ""
	}
	if p.epoch, err = t.meta(metaEpoch); err != nil {
		return position{}, "", err
	}
	past, err := t.meta(metaPast)
	p.past = strings.Fields(past)
	return p, sum, err
}

// Names in the table meta.
const (
	metaEpoch        = "epoch"
	metaPast         = "past_epochs"   // with blanks between, oldest first
	metaSessionEpoch = "session_epoch" // empty is the epoch
	metaPurged       = "purged_seq"    // the highest number of a revocation that was forgotten
)

func (t *tx) purged() (int64, error) {
	value, err := t.meta(metaPurged)
	if err != nil || value == "" {
		return 0, err
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("store: %s: %w", metaPurged, err)
	}
	return n, nil
}

// behind says in what way a database is not what the mark saw, or nothing.
func (m mark) behind(p position, sum string) string {
	switch {
	case p.epoch == "":
		return "the database is empty"
	case slices.Contains(p.past, m.epoch):
		return "" // it was restored with durward, which began a new epoch
	case p.epoch != m.epoch:
		return fmt.Sprintf("the database is of the epoch %s, not of %s or one that followed it", p.epoch, m.epoch)
	case p.seq < m.seq:
		return fmt.Sprintf("its last revocation is number %d, where there was one of number %d", p.seq, m.seq)
	case sum != m.sum && m.sum != "" && (sum != "" || m.seq > p.purged):
		return fmt.Sprintf("its revocation number %d is another than the one there was", m.seq)
	}
	return ""
}

// compare refuses a database that went back. It reads alone.
func (h *history) compare(ctx context.Context, e engine) error {
	if h.path == "" {
		return nil
	}
	m, found, err := readMark(h.path)
	if err != nil || !found {
		return err
	}
	var p position
	var sum string
	err = e.migrations(func(db *sql.DB, of migrations) error {
		version, _, err := schemaOf(ctx, db, of.tables)
		if err != nil || version == 0 {
			return err
		}
		s, err := begun(ctx, db, of, true)
		if err != nil {
			return err
		}
		p, sum, err = s.tx(ctx).position(m.seq)
		return s.end(ctx, classify(err))
	})
	if err != nil {
		return err
	}
	if behind := m.behind(p, sum); behind != "" {
		return wentBack(h.path, behind)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = m
	return nil
}

// KeepMark writes down how far the history of the database is, where that has
// changed. ErrWentBack means that it went back under this node; then the file stays
// as it is, so that the next start finds out too.
func (db *DB) KeepMark(ctx context.Context) error {
	h := &db.history
	if h.path == "" {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	p, sum, err := db.reader(ctx).position(h.last.seq)
	if err != nil {
		return classify(err)
	}
	if p.epoch != db.epoch {
		return fmt.Errorf("%w: it is of the epoch %s, this program began with %s: it was restored meanwhile, start the program anew", ErrWentBack, p.epoch, db.epoch)
	}
	if h.last.epoch == p.epoch {
		if behind := h.last.behind(p, sum); behind != "" {
			return fmt.Errorf("%w: %s", ErrWentBack, behind)
		}
		if h.last.seq == p.seq {
			return nil
		}
	}
	if err := p.mark.write(h.path); err != nil {
		return err
	}
	h.last = p.mark
	return nil
}

// NewEpoch is what begins a new epoch.
type NewEpoch struct {
	// Past are epochs besides the database's own that are past from now on: of the
	// database that it takes the place of, of a node's mark.
	Past []string

	// KeepSessions keeps sessions, API keys and signing keys as they are. What was
	// revoked in the time that the database forgot is alive again then.
	KeepSessions bool

	At    time.Time
	Until time.Time // when the last token of a signing key that is given up has ended
	Event Event     // Detail is filled in
}

// Ended counts what a new epoch ended.
type Ended struct {
	Epoch                          string
	SigningKeys, APIKeys, Sessions int64
}

// AcceptRollback begins a new epoch in a database that went back, as the mark of c
// says, and reports whether that was so. Nobody else may have the database open.
func AcceptRollback(ctx context.Context, c Config, n NewEpoch) (ended Ended, wentBack bool, err error) {
	c = c.whole()
	c.alone = true
	e, err := openEngine(ctx, c)
	if err != nil {
		return Ended{}, false, err
	}
	defer func() { err = errors.Join(err, e.close()) }()
	h := history{path: c.Mark}
	if err := h.compare(ctx, e); !errors.Is(err, ErrWentBack) {
		return Ended{}, false, err
	}
	m, _, err := readMark(c.Mark)
	if err != nil {
		return Ended{}, false, err
	}
	if _, err := migrate(ctx, e, c); err != nil {
		return Ended{}, false, err
	}
	n.Past = append(slices.Clone(n.Past), m.epoch)
	ended, err = beginEpoch(ctx, e, n)
	return ended, err == nil, err
}

// beginEpoch begins a new epoch: the database has lost a part of its history, and
// what counts on that part must not go on.
func beginEpoch(ctx context.Context, e engine, n NewEpoch) (ended Ended, err error) {
	err = onSide(ctx, e, false, func(s side) (err error) {
		ended, err = s.tx(ctx).beginEpoch(n)
		return err
	})
	if err != nil {
		return Ended{}, err
	}
	return ended, nil
}

// MarkedEpoch is the epoch in a node's mark; empty where there is none that can be
// read.
func MarkedEpoch(path string) string {
	m, _, _ := readMark(path)
	return m.epoch
}

// MayBeNew refuses to make a database where there was one.
func MayBeNew(c Config) error {
	if c.Mark == "" || c.WentBack {
		return nil
	}
	m, found, err := readMark(c.Mark)
	if err != nil || !found {
		return err
	}
	return wentBack(c.Mark, m.behind(position{}, ""))
}

func wentBack(path, how string) error {
	return &OpenError{
		"If it is the wrong database, name the right one. If an older copy was put in its place, or the database server lost what it had taken: durward serve --accept-rollback begins a new epoch, in which everybody signs in again and nothing that was revoked is alive. A backup is put back better with durward db restore.",
		fmt.Errorf("%w, as %s knows it: %s", ErrWentBack, path, how)}
}

func (t *tx) beginEpoch(n NewEpoch) (Ended, error) {
	e := Ended{Epoch: rand.Text()}
	old, err := t.meta(metaEpoch)
	if err != nil {
		return Ended{}, err
	}
	ofSessions, err := t.meta(metaSessionEpoch)
	if err != nil {
		return Ended{}, err
	}
	before, err := t.meta(metaPast)
	if err != nil {
		return Ended{}, err
	}
	past := strings.Fields(before)
	for _, epoch := range append(slices.Clone(n.Past), old) {
		if epoch != "" && !slices.Contains(past, epoch) {
			past = append(past, epoch)
		}
	}
	switch {
	case !n.KeepSessions:
		ofSessions = ""
	case ofSessions == "":
		ofSessions = old
	}
	for name, value := range map[string]string{metaEpoch: e.Epoch, metaPast: strings.Join(past, " "), metaSessionEpoch: ofSessions} {
		if err := t.setMeta(name, value); err != nil {
			return Ended{}, err
		}
	}
	if !n.KeepSessions {
		if err := t.endEverything(n, &e); err != nil {
			return Ended{}, err
		}
	}
	n.Event.Detail = fmt.Sprintf("epoch %s after %s; %d signing keys, %d API keys, %d sessions ended", e.Epoch, old, e.SigningKeys, e.APIKeys, e.Sessions)
	return e, t.event(n.Event)
}

// endEverything ends what may have been revoked in the time that was lost.
func (t *tx) endEverything(n NewEpoch, e *Ended) (err error) {
	keys, err := collect(t, func(row scanner) (id string, err error) {
		err = row.Scan(&id)
		return id, err
	}, `SELECT id FROM keys WHERE use_for = $1 AND state <> $2`, UseSigning, KeyGone)
	if err != nil {
		return err
	}
	for _, id := range keys {
		if _, err := t.exec(`UPDATE keys SET state = $2, sealed = $3, retired_at = $4 WHERE id = $1`, id, KeyGone, []byte{}, micros(n.At)); err != nil {
			return err
		}
		if _, err := t.revoke("kid", id, n.At, n.Until); err != nil {
			return err
		}
	}
	e.SigningKeys = int64(len(keys))
	if e.APIKeys, err = t.changed(`UPDATE api_keys SET revoked_at = $1 WHERE revoked_at = 0 AND (expires_at = 0 OR expires_at > $1)`, micros(n.At)); err != nil {
		return err
	}
	const why = "new_epoch"
	if e.Sessions, err = t.changed(`UPDATE sessions SET ended_at = $1, end_reason = $2 WHERE ended_at = 0`, micros(n.At), why); err != nil {
		return err
	}
	if _, err = t.exec(`UPDATE grants SET ended_at = $1, end_reason = $2 WHERE ended_at = 0`, micros(n.At), why); err != nil {
		return err
	}
	_, err = t.exec(`DELETE FROM cookies`)
	return err
}
