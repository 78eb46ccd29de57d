package store

import (
	"context"
	"strings"
	"time"
)

// Session is one sign-in.
type Session struct {
	ID, UserID, ClientID string
	Scope                string
	CreatedAt, EndsAt    time.Time
	EndedAt              time.Time // zero while it lives
	EndReason            string
	AuthTime             time.Time
	ACR                  string
	AMR                  []string
	Network              string // neighbourhood it began from
	Device               string // as shown to the person
	Agent                string // family of browser or tool
}

// SessionRow is a session as it is listed.
type SessionRow struct {
	Session
	LastUsedAt time.Time // of its last refresh, the last use of its cookie, or its beginning
}

// Place is where and with what somebody signs in.
type Place struct{ Network, Browser string }

// placeKept is how long a place stays known.
const placeKept = 90 * 24 * time.Hour

const sessionColumns = `sessions.id, sessions.user_id, sessions.client_id, sessions.scope, sessions.created_at, sessions.ends_at, sessions.ended_at, sessions.end_reason,
	sessions.auth_time, sessions.acr, sessions.amr, sessions.network, sessions.device, sessions.agent`

func (s *Session) into() (fields []any, done func()) {
	var times [4]int64
	var amr string
	return []any{&s.ID, &s.UserID, &s.ClientID, &s.Scope, &times[0], &times[1], &times[2], &s.EndReason,
			&times[3], &s.ACR, &amr, &s.Network, &s.Device, &s.Agent}, func() {
			s.CreatedAt, s.EndsAt, s.EndedAt, s.AuthTime = moment(times[0]), moment(times[1]), moment(times[2]), moment(times[3])
			s.AMR = strings.Fields(amr)
		}
}

// CreateSession begins a session with its first grant. It reports whether it
// comes from a place that is new for this person, who is told then; the first
// place of all is not new. was is the PasswordChangedAt of the person who was
// judged; ErrChanged means that the person has been locked since, or has another
// password.
func (db *DB) CreateSession(ctx context.Context, s Session, g Grant, e Event, p Place, was time.Time) (newPlace bool, err error) {
	if err := text(s.Network, s.Device, s.Agent, p.Browser); err != nil {
		return false, err
	}
	return made(ctx, db, func(tx *tx) (bool, error) {
		newPlace, err := tx.createSession(s, e, p, was)
		if err != nil {
			return false, err
		}
		return newPlace, tx.insertGrant(g)
	})
}

// createSession begins a session that nobody holds a key of yet.
func (t *tx) createSession(s Session, e Event, p Place, was time.Time) (newPlace bool, err error) {
	// Whoever was locked since ended all sessions there were; so did whoever
	// changed the password.
	if err := t.unchanged(s.UserID, was); err != nil {
		return false, err
	}
	if _, err := t.exec(`INSERT INTO sessions (id, user_id, client_id, scope, created_at, ends_at, auth_time, acr, amr, network, device, agent)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`,
		s.ID, s.UserID, s.ClientID, s.Scope, micros(s.CreatedAt), micros(s.EndsAt), micros(s.AuthTime), s.ACR, strings.Join(s.AMR, " "), s.Network, s.Device, s.Agent); err != nil {
		return false, err
	}
	if newPlace, err = t.place(s.UserID, p, s.CreatedAt); err != nil {
		return false, err
	}
	if newPlace {
		if err := t.notify(s.UserID, "new_place", e); err != nil {
			return false, err
		}
	}
	return newPlace, t.event(e)
}

// place notes that somebody signed in at p and reports whether that is new.
func (t *tx) place(userID string, p Place, at time.Time) (isNew bool, err error) {
	var known, here int
	err = t.row(`SELECT count(*), coalesce(sum(CASE WHEN network = $2 AND browser = $3 AND seen_at > $4 THEN 1 ELSE 0 END), 0) FROM places WHERE user_id = $1`,
		userID, p.Network, p.Browser, micros(at.Add(-placeKept))).Scan(&known, &here)
	if err != nil {
		return false, err
	}
	_, err = t.exec(`INSERT INTO places (user_id, network, browser, seen_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (user_id, network, browser) DO UPDATE SET seen_at = excluded.seen_at`, userID, p.Network, p.Browser, micros(at))
	return known > 0 && here == 0, err
}

// Sessions lists a person's live sessions, newest first: those of which somebody
// holds a live grant or cookie.
func (db *DB) Sessions(ctx context.Context, userID string, now time.Time) ([]SessionRow, error) {
	const liveGrants, liveCookies = `FROM grants WHERE session_id = sessions.id AND ended_at = 0 AND idle_ends > $2`, `FROM cookies WHERE session_id = sessions.id AND idle_ends > $2`
	return collect(db.reader(ctx), func(row scanner) (SessionRow, error) {
		var s SessionRow
		var moved, used int64
		fields, done := s.into()
		if err := row.Scan(append(fields, &moved, &used)...); err != nil {
			return s, err
		}
		done()
		if s.LastUsedAt = moment(max(moved, used)); s.LastUsedAt.IsZero() {
			s.LastUsedAt = s.CreatedAt
		}
		return s, nil
	}, `SELECT `+sessionColumns+`, coalesce((SELECT max(moved_0) `+liveGrants+`), 0), coalesce((SELECT max(used_at) `+liveCookies+`), 0)
		FROM sessions WHERE user_id = $1 AND ended_at = 0 AND ends_at > $2 AND (EXISTS (SELECT 1 `+liveGrants+`) OR EXISTS (SELECT 1 `+liveCookies+`))
		ORDER BY created_at DESC, id DESC LIMIT 1000`, userID, micros(now))
}

// EndSession ends one session of a person and its grants. It returns ErrNotFound
// where the person has no such session; one that has ended already is no error
// and changes nothing. A notification of the kind tells the person, unless it is
// empty.
func (db *DB) EndSession(ctx context.Context, id, userID, reason string, until time.Time, e Event, tell string) ([]Revocation, error) {
	if err := text(id, userID); err != nil {
		return nil, ErrNotFound
	}
	return made(ctx, db, func(tx *tx) (revoked []Revocation, err error) {
		var ended int64
		if err := tx.row(`SELECT ended_at FROM sessions WHERE id = $1 AND user_id = $2`+tx.locked("sessions"), id, userID).Scan(&ended); err != nil || ended != 0 {
			return nil, err
		}
		if revoked, err = tx.endSession(id, reason, e.At, until, nil); err != nil {
			return nil, err
		}
		if tell != "" {
			if err := tx.notify(userID, tell, e); err != nil {
				return nil, err
			}
		}
		return revoked, tx.event(e)
	})
}

// EndSessions ends all sessions of a person but except.
func (db *DB) EndSessions(ctx context.Context, userID, except, reason string, until time.Time, e Event) ([]Revocation, error) {
	if err := text(userID, except); err != nil {
		return nil, ErrNotFound
	}
	return made(ctx, db, func(tx *tx) (revoked []Revocation, err error) {
		if err := tx.lockUser(userID); err != nil {
			return nil, err
		}
		if revoked, err = tx.endSessions(userID, except, reason, e.At, until); err != nil {
			return nil, err
		}
		return revoked, tx.event(e)
	})
}

func (t *tx) endSessions(userID, except, reason string, at, until time.Time) (revoked []Revocation, err error) {
	ids, err := collect(t, func(row scanner) (id string, err error) {
		err = row.Scan(&id)
		return id, err
	}, `SELECT id FROM sessions WHERE user_id = $1 AND ended_at = 0 AND id <> $2 ORDER BY id`+t.locked("sessions"), userID, except)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if revoked, err = t.endSession(id, reason, at, until, revoked); err != nil {
			return nil, err
		}
	}
	return revoked, nil
}

// endSession ends a live session with its grants and revokes its tokens.
func (t *tx) endSession(id, reason string, at, until time.Time, revoked []Revocation) ([]Revocation, error) {
	if _, err := t.exec(`UPDATE sessions SET ended_at = $2, end_reason = $3 WHERE id = $1 AND ended_at = 0`, id, micros(at), reason); err != nil {
		return nil, err
	}
	if _, err := t.exec(`UPDATE grants SET ended_at = $2, end_reason = $3 WHERE session_id = $1 AND ended_at = 0`, id, micros(at), reason); err != nil {
		return nil, err
	}
	r, err := t.revoke("sid", id, at, until)
	if err != nil {
		return nil, err
	}
	return append(revoked, r), nil
}

// purgedAtOnce bounds how long others wait for one sweep.
const purgedAtOnce = 1000

// PurgeSessions forgets sessions whose absolute end was before a moment, with their
// grants and cookies: at most a thousand at a time, the oldest first.
func (db *DB) PurgeSessions(ctx context.Context, before time.Time) error {
	return db.do(ctx, func(tx *tx) error {
		_, err := tx.exec(`DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE ends_at < $1 ORDER BY ends_at LIMIT $2)`, micros(before), purgedAtOnce)
		return err
	})
}
