package store

import (
	"context"
	"time"
)

// The kinds of events. The list is closed.
const (
	EventRegistered        = "registered"
	EventUserAdded         = "user_added"
	EventUserLocked        = "user_locked"
	EventUserUnlocked      = "user_unlocked"
	EventPasswordChanged   = "password_changed"
	EventPasswordSet       = "password_set"
	EventSignedIn          = "signed_in"
	EventSignInRefused     = "sign_in_refused"
	EventSignedOut         = "signed_out"
	EventSessionEnded      = "session_ended"
	EventSteppedUp         = "stepped_up"
	EventRefreshAnswerLost = "refresh_answer_lost"
	EventRefreshTheft      = "refresh_theft"
	EventStoreWentBack     = "store_went_back"
	EventTokenIssued       = "token_issued"
	EventKeyCreated        = "key_created"
	EventKeyState          = "key_state"
	EventKeyWithdrawn      = "key_withdrawn"
	EventEpochBegun        = "epoch_begun"
	EventAPIKeyCreated     = "api_key_created"
	EventAPIKeyRotated     = "api_key_rotated"
	EventAPIKeyRevoked     = "api_key_revoked"
)

// Event is a row of the security log: who, what, from where, with what outcome.
type Event struct {
	ID        string // sorts by time
	Kind      string
	At        time.Time
	UserID    string // whom it concerns
	Actor     string // who acted, where that is somebody else
	SessionID string
	Outcome   string
	Network   string
	Device    string
	DenialID  string
	Detail    string
}

// event writes e down in the transaction of its deed, and is the evidence of it.
func (t *tx) event(e Event) error {
	if err := text(e.Detail, e.Outcome, e.Device, e.Network); err != nil {
		return err
	}
	_, err := t.exec(`INSERT INTO events (id, kind, at, user_id, actor, session_id, outcome, network, device, denial_id, detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		e.ID, e.Kind, micros(e.At), e.UserID, e.Actor, e.SessionID, e.Outcome, e.Network, e.Device, e.DenialID, e.Detail)
	t.proves(`SELECT 1 FROM events WHERE id = $1`, e.ID)
	return err
}

// AddEvents writes events that belong to no other deed.
func (db *DB) AddEvents(ctx context.Context, events []Event) error {
	return db.do(ctx, func(tx *tx) error {
		for _, e := range events {
			if err := tx.event(e); err != nil {
				return err
			}
		}
		return nil
	})
}

// EventFilter chooses events; an empty field chooses all.
type EventFilter struct {
	Kind, UserID string
	Limit        int // at most; 0 is 100
}

// Events returns events, newest first.
func (db *DB) Events(ctx context.Context, f EventFilter) ([]Event, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	return collect(db.reader(ctx), func(row scanner) (e Event, err error) {
		var at int64
		err = row.Scan(&e.ID, &e.Kind, &at, &e.UserID, &e.Actor, &e.SessionID, &e.Outcome, &e.Network, &e.Device, &e.DenialID, &e.Detail)
		e.At = moment(at)
		return e, err
	}, `SELECT id, kind, at, user_id, actor, session_id, outcome, network, device, denial_id, detail FROM events
		WHERE ($1 = '' OR kind = $1) AND ($2 = '' OR user_id = $2) ORDER BY id DESC LIMIT $3`, f.Kind, f.UserID, f.Limit)
}
