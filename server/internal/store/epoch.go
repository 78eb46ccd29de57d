package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
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

// Position returns the position of the database in its history, with the checksum of revocation seq.
func (t *tx) Position(seq int64) (p Position, err error) {
	sumAt := func(seq int64) string {
		r := Revocation{Seq: seq}
		if t.row(`SELECT kind, value, at FROM revocations WHERE seq = $1`, seq).Scan(&r.Kind, &r.Value, into(&r.At)) != nil {
			return ""
		}
		return sumOf(r)
	}
	// In this order, so that a revocation that is purged meanwhile is counted in Purged.
	p.SumAt = sumAt(seq)
	if p.Seq = t.number(`SELECT coalesce(max(seq), 0) FROM revocations`); p.Seq > 0 {
		p.Sum = sumAt(p.Seq)
	}
	if p.Purged = t.metaNumber(metaPurged); p.Purged > p.Seq {
		p.Seq, p.Sum = p.Purged, ""
	}
	p.Epoch, p.Past = t.meta(metaEpoch), strings.Fields(t.meta(metaPast))
	if t.err != nil {
		return Position{}, classify(t.err)
	}
	return p, nil
}

// Names in the table meta.
const (
	metaEpoch        = "epoch"
	metaPast         = "past_epochs"   // with spaces between, oldest first
	metaSessionEpoch = "session_epoch" // empty: the epoch
	metaPurged       = "purged_seq"    // the highest number of a purged revocation
	metaPooledAt     = "pooled_at"     // last heartbeat of a node behind a pooler
)

// Position returns the position of the database in its history, with the checksum of revocation seq.
func (db *DB) Position(ctx context.Context, seq int64) (Position, error) {
	return db.reader(ctx).Position(seq)
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
	Event Event     // BeginEpoch sets Detail
}

// Ended counts what a new epoch ended.
type Ended struct {
	Epoch                          string
	SigningKeys, APIKeys, Sessions int64
}

// BeginEpoch begins a new epoch in a database that lost a part of its history.
func (t *tx) BeginEpoch(n NewEpoch) (Ended, error) {
	e := Ended{Epoch: rand.Text()}
	old, ofSessions, past := t.meta(metaEpoch), t.meta(metaSessionEpoch), strings.Fields(t.meta(metaPast))
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
		t.SetMeta(name, value)
	}
	// The mails may have been sent, and the tokens in them used, in the lost part of the history.
	t.exec(`DELETE FROM outbox`)
	t.exec(`DELETE FROM mail_tokens`)
	if !n.KeepSessions {
		t.endEverything(n, &e)
	}
	n.Event.Detail = fmt.Sprintf("epoch %s after %s; %d signing keys, %d API keys, %d sessions ended", e.Epoch, old, e.SigningKeys, e.APIKeys, e.Sessions)
	return e, t.event(n.Event)
}

// endEverything ends every credential that may have been revoked in the lost part of the history.
func (t *tx) endEverything(n NewEpoch, e *Ended) {
	keys, _ := texts(t, `SELECT id FROM keys WHERE use_for IN ($1, $3) AND state <> $2`, UseSigning, KeyGone, UseIDToken)
	for _, id := range keys {
		t.exec(`UPDATE keys SET state = $2, sealed = $3, retired_at = $4 WHERE id = $1`, id, KeyGone, []byte{}, micros(n.At))
		t.revoke("kid", id, n.At, n.Until)
	}
	e.SigningKeys = int64(len(keys))
	e.APIKeys = t.changed(`UPDATE api_keys SET revoked_at = $1 WHERE revoked_at = 0 AND (expires_at = 0 OR expires_at > $1)`, micros(n.At))
	const why = "new_epoch"
	e.Sessions = t.changed(`UPDATE sessions SET ended_at = $1, end_reason = $2 WHERE ended_at = 0`, micros(n.At), why)
	t.exec(`UPDATE grants SET ended_at = $1, end_reason = $2 WHERE ended_at = 0`, micros(n.At), why)
	t.exec(`DELETE FROM cookies`)
	t.exec(`DELETE FROM codes`)
	t.exec(`DELETE FROM oauth_requests`)
	// A secret that was removed in the lost part must not be valid again. Those of the configuration come back
	// with the next start.
	t.exec(`DELETE FROM client_secrets`)
}
