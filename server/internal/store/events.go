package store

import (
	"context"
	"math"
	"slices"
	"time"
)

// Kinds of events.
const (
	EventRegistered        = "registered"
	EventUserAdded         = "user_added"
	EventUserChanged       = "user_changed"
	EventUserDeleted       = "user_deleted"
	EventUserLocked        = "user_locked"
	EventUserUnlocked      = "user_unlocked"
	EventGroupAdded        = "group_added"
	EventGroupRemoved      = "group_removed"
	EventFactorRequired    = "factor_required"     // of a user, or of a group
	EventFactorNotRequired = "factor_not_required" // any more
	EventPasswordChanged   = "password_changed"
	EventPasswordSet       = "password_set"
	EventResetSent         = "reset_sent"
	EventPasswordReset     = "password_reset"
	EventEmailVerified     = "email_verified"
	EventEmailChanged      = "email_changed"
	EventEmailUndone       = "email_change_undone"
	EventUserInvited       = "user_invited"
	EventInvited           = "invitation_accepted"
	EventLinkMailed        = "link_mailed"
	EventMailFailed        = "mail_failed"
	EventSignedIn          = "signed_in"
	EventSignInRefused     = "sign_in_refused"
	EventSignedOut         = "signed_out"
	EventSessionEnded      = "session_ended"
	EventSteppedUp         = "stepped_up"
	EventRefreshAnswerLost = "refresh_answer_lost"
	EventRefreshTheft      = "refresh_theft"
	EventStoreWentBack     = "store_went_back"
	EventClockJumped       = "clock_jumped"
	EventTokenIssued       = "token_issued"
	EventKeyCreated        = "key_created"
	EventKeyState          = "key_state"
	EventKeyWithdrawn      = "key_withdrawn"
	EventEpochBegun        = "epoch_begun"
	EventAPIKeyCreated     = "api_key_created"
	EventAPIKeyRotated     = "api_key_rotated"
	EventAPIKeyRevoked     = "api_key_revoked"
	EventSignInBegun       = "sign_in_begun" // the password was right, the second factor is missing
	EventSignInVoid        = "sign_in_void"  // too many wrong codes
	EventFactorAdded       = "factor_added"
	EventFactorRemoved     = "factor_removed"
	EventFactorLocked      = "factor_locked"
	EventRecoveryCodesMade = "recovery_codes_made"
	EventRecoveryCodeUsed  = "recovery_code_used"
	EventLogRead           = "log_read" // an administrator read the security log or causes of refusals
	EventPasskeyAdded      = "passkey_added"
	EventPasskeyRenamed    = "passkey_renamed"
	EventPasskeyRemoved    = "passkey_removed"

	EventClientAdded         = "client_added"
	EventClientChanged       = "client_changed"
	EventClientDisabled      = "client_disabled"
	EventClientEnabled       = "client_enabled"
	EventClientDeleted       = "client_deleted"
	EventClientSecretAdded   = "client_secret_added"
	EventClientSecretRemoved = "client_secret_removed"
	EventConsentGiven        = "consent_given"
	EventConsentWithdrawn    = "consent_withdrawn"
	EventApplicationSignedIn = "application_signed_in"
	EventCodeReplayed        = "code_replayed"
)

// EventKinds returns all kinds of events, in the order of the alphabet.
func EventKinds() []string {
	kinds := []string{
		EventRegistered, EventUserAdded, EventUserChanged, EventUserDeleted,
		EventUserLocked, EventUserUnlocked, EventGroupAdded, EventGroupRemoved, EventFactorRequired, EventFactorNotRequired,
		EventPasswordChanged, EventPasswordSet, EventResetSent, EventPasswordReset,
		EventEmailVerified, EventEmailChanged, EventEmailUndone, EventUserInvited,
		EventInvited, EventLinkMailed, EventMailFailed, EventSignedIn,
		EventSignInRefused, EventSignedOut, EventSessionEnded, EventSteppedUp,
		EventRefreshAnswerLost, EventRefreshTheft, EventStoreWentBack, EventClockJumped,
		EventTokenIssued, EventKeyCreated, EventKeyState, EventKeyWithdrawn,
		EventEpochBegun, EventAPIKeyCreated, EventAPIKeyRotated, EventAPIKeyRevoked,
		EventSignInBegun, EventSignInVoid, EventFactorAdded, EventFactorRemoved,
		EventFactorLocked, EventRecoveryCodesMade, EventRecoveryCodeUsed, EventLogRead,
		EventPasskeyAdded, EventPasskeyRenamed, EventPasskeyRemoved,
		EventClientAdded, EventClientChanged, EventClientDisabled, EventClientEnabled, EventClientDeleted,
		EventClientSecretAdded, EventClientSecretRemoved, EventConsentGiven, EventConsentWithdrawn,
		EventApplicationSignedIn, EventCodeReplayed,
	}
	slices.Sort(kinds)
	return kinds
}

// WithFactor begins the detail of an event of a sign-in with another factor than a password.
const WithFactor = "with "

// Event is an entry of the security log.
type Event struct {
	ID        string // sorts by time
	Kind      string
	At        time.Time
	UserID    string // the user whom it is about
	Actor     string // the administrator who acted, or Operator; empty if it is the same user
	SessionID string
	Outcome   string
	Network   string
	Device    string
	DenialID  string
	Detail    string
	Language  string // of the request, for mails about the event; not part of the log

	// Place in the hash chain; 0 and empty until SealEvents sets them.
	Number int64
	Hash   []byte
}

const eventColumns = `id, kind, at, user_id, actor, session_id, outcome, network, device, denial_id, detail, number, hash`

// Operator is the Actor of events that the operator of the server caused at the command line.
const Operator = "operator"

// event inserts e in the transaction that it describes, and makes it the evidence of that transaction. It
// returns ErrNotAdmin if the actor is no administrator: of two administrators who demote each other at the
// same time, one succeeds. An event is the last statement of a transaction or is followed by others of
// the same actor, so the lock is the last one.
func (t *tx) event(e Event) error {
	t.events = append(t.events, e)
	if e.Actor != "" && e.Actor != Operator {
		t.lock("administrators")
		if n := t.number(`SELECT count(*) FROM users WHERE id = $1 AND admin = 1 AND locked_at = 0`, e.Actor); t.err == nil && n == 0 {
			t.err = ErrNotAdmin
			return t.err
		}
	}
	t.setEvidence(`SELECT 1 FROM events WHERE id = $1`, e.ID)
	return t.exec(`INSERT INTO events (id, kind, at, user_id, actor, session_id, outcome, network, device, denial_id, detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		e.ID, e.Kind, micros(e.At), e.UserID, e.Actor, e.SessionID, e.Outcome, e.Network, e.Device, e.DenialID, e.Detail)
}

// AddEvents inserts events that describe no other write.
func (db *DB) AddEvents(ctx context.Context, events []Event) error {
	return db.do(ctx, func(tx *tx) error {
		for _, e := range events {
			tx.event(e)
		}
		return nil
	})
}

// AddEventOnce inserts e, unless less than within ago the same user caused an event of the same kind and
// detail. Two calls at the same time may both insert theirs.
func (db *DB) AddEventOnce(ctx context.Context, e Event, within time.Duration) error {
	reader := db.reader(ctx)
	n := reader.number(`SELECT count(*) FROM events WHERE user_id = $1 AND kind = $2 AND detail = $3 AND at > $4`,
		e.UserID, e.Kind, e.Detail, micros(e.At.Add(-within)))
	if reader.err != nil || n > 0 {
		return classify(reader.err)
	}
	return db.AddEvents(ctx, []Event{e})
}

func (e *Event) fields() []any {
	return []any{&e.ID, &e.Kind, into(&e.At), &e.UserID, &e.Actor, &e.SessionID, &e.Outcome, &e.Network, &e.Device, &e.DenialID, &e.Detail, &e.Number, &e.Hash}
}

// EventFilter selects events. An empty field matches all.
type EventFilter struct {
	Kind, UserID, Actor string
	Since, Until        time.Time // from Since on, before Until
	Before              string    // only ids that sort before this one
	Limit               int       // default 100
}

// Events returns events, newest first.
func (db *DB) Events(ctx context.Context, f EventFilter) ([]Event, error) {
	return db.events(ctx, f, "", "DESC")
}

// EventLate is how late an event can appear.
const EventLate = time.Minute

// EventsAfter returns events with an id after the given one, oldest first. Ids are made before the
// commit, so an event can appear after a younger one; none appears more than EventLate late.
func (db *DB) EventsAfter(ctx context.Context, f EventFilter, id string) ([]Event, error) {
	return db.events(ctx, f, id, "ASC")
}

func (db *DB) events(ctx context.Context, f EventFilter, after, order string) ([]Event, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	// Without a time or a user, the events are read in the order of their ids and not sorted: of a million, SQLite
	// would take all from the index of times. The unary plus keeps it from an index (sqlite.org/optoverview.html s2).
	at, user := "+at", "($2 = '' OR user_id = $2)"
	if !f.Since.IsZero() || !f.Until.IsZero() {
		at = "at"
	}
	if f.UserID != "" {
		user = "user_id = $2"
	}
	until := int64(math.MaxInt64)
	if !f.Until.IsZero() {
		until = micros(f.Until)
	}
	return list[Event](db.reader(ctx), `SELECT `+eventColumns+` FROM events
		WHERE ($1 = '' OR kind = $1) AND `+user+` AND ($3 = '' OR actor = $3) AND `+at+` >= $4 AND `+at+` < $5
		AND id > $6 AND ($7 = '' OR id < $7) ORDER BY id `+order+` LIMIT $8`,
		f.Kind, f.UserID, f.Actor, micros(f.Since), until, after, f.Before, f.Limit)
}

// Denial is a refused request with the cause of the refusal. It holds no secret.
type Denial struct {
	ID        string // ULID, sent to the client
	Code      string
	Status    int
	At        time.Time
	Method    string
	Path      string
	Scheme    string
	Cause     string
	Network   string
	Subject   string
	RequestID string
}

// AddDenials inserts denials.
func (db *DB) AddDenials(ctx context.Context, denials []Denial) error {
	return db.do(ctx, func(tx *tx) error {
		for _, d := range denials {
			tx.exec(`INSERT INTO denials (id, code, status, at, method, path, scheme, cause, network, subject, request_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
				d.ID, d.Code, d.Status, micros(d.At), d.Method, d.Path, d.Scheme, d.Cause, d.Network, d.Subject, d.RequestID)
		}
		return nil
	})
}

func (d *Denial) fields() []any {
	return []any{&d.ID, &d.Code, &d.Status, into(&d.At), &d.Method, &d.Path, &d.Scheme, &d.Cause, &d.Network, &d.Subject, &d.RequestID}
}

// DenialByID returns a denial or ErrNotFound.
func (db *DB) DenialByID(ctx context.Context, id string) (d Denial, err error) {
	err = db.reader(ctx).get([]record{&d}, `SELECT id, code, status, at, method, path, scheme, cause, network, subject, request_id FROM denials WHERE id = $1`, id)
	return d, err
}

// DenialFilter selects denials. An empty field matches all.
type DenialFilter struct {
	Code, Network string
	Path          string // beginning of the path
	Before        string // only ids that sort before this one
	Limit         int    // default 100
}

// Denials returns denials, newest first.
func (db *DB) Denials(ctx context.Context, f DenialFilter) ([]Denial, error) {
	if f.Limit <= 0 {
		f.Limit = 100
	}
	return list[Denial](db.reader(ctx), `SELECT id, code, status, at, method, path, scheme, cause, network, subject, request_id FROM denials
		WHERE ($1 = '' OR code = $1) AND ($2 = '' OR network = $2) AND ($3 = '' OR substr(path, 1, length($3)) = $3)
		AND ($4 = '' OR id < $4) ORDER BY id DESC LIMIT $5`,
		f.Code, f.Network, f.Path, f.Before, f.Limit)
}

// PurgeDenials deletes denials older than kept.
func (db *DB) PurgeDenials(ctx context.Context, kept time.Duration) error {
	return db.exec(ctx, `DELETE FROM denials WHERE at < $1`, micros(db.rowTime().Add(-kept)))
}
