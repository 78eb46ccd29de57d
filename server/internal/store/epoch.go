package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Position is the position of a database in its history. The history is an epoch, which is drawn when
// a database is created and anew when it is restored, and within the epoch the numbers of
// revocations, which only grow.
type Position struct {
	Epoch  string
	Past   []string // earlier epochs, oldest first
	Seq    int64    // number of the last revocation
	Sum    string   // its checksum; empty if it was purged
	Purged int64    // revocations up to this number may be missing
	SumAt  string   // checksum of the revocation that the caller asked for; empty if it does not exist
}

// sumOf returns a checksum that differs between two revocations of the same number.
func sumOf(r Revocation) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %q %q %d", r.Seq, r.Kind, r.Value, micros(r.At)))
	return hex.EncodeToString(sum[:8])
}

// position returns the position of the database, with the checksum of revocation seq.
func (t *tx) position(seq int64) (p Position, err error) {
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
	// In this order, so that a revocation that is purged meanwhile is counted in Purged.
	if p.SumAt, err = sumAt(seq); err != nil {
		return Position{}, err
	}
	if err := t.row(`SELECT coalesce(max(seq), 0) FROM revocations`).Scan(&p.Seq); err != nil {
		return Position{}, err
	}
	if p.Seq > 0 {
		if p.Sum, err = sumAt(p.Seq); err != nil {
			return Position{}, err
		}
	}
	if p.Purged, err = t.purged(); err != nil {
		return Position{}, err
	}
	if p.Purged > p.Seq {
		p.Seq, p.Sum = p.Purged, ""
	}
	if p.Epoch, err = t.meta(metaEpoch); err != nil {
		return Position{}, err
	}
	past, err := t.meta(metaPast)
	p.Past = strings.Fields(past)
	return p, err
}

// Names in the table meta.
const (
	metaEpoch        = "epoch"
	metaPast         = "past_epochs"   // with spaces between, oldest first
	metaSessionEpoch = "session_epoch" // empty: the epoch
	metaPurged       = "purged_seq"    // the highest number of a purged revocation
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

// Position returns the position of the database in its history, with the checksum of revocation seq.
func (db *DB) Position(ctx context.Context, seq int64) (Position, error) {
	p, err := db.reader(ctx).position(seq)
	return p, classify(err)
}

// NewEpoch tells how to begin a new epoch.
type NewEpoch struct {
	// Past lists epochs that become past epochs besides the database's own: those of the database
	// that it replaces and of a node's checkpoint.
	Past []string

	// KeepSessions keeps sessions, API keys and signing keys valid. Credentials that were revoked
	// in the lost part of the history are then valid again.
	KeepSessions bool

	At    time.Time
	Until time.Time // when the last token of the withdrawn signing keys expires
	Event Event     // beginEpoch sets Detail
}

// Ended counts what a new epoch ended.
type Ended struct {
	Epoch                          string
	SigningKeys, APIKeys, Sessions int64
}

// beginEpoch begins a new epoch in a database that lost a part of its history.
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

// endEverything ends every credential that may have been revoked in the lost part of the history.
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
