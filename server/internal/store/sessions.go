package store

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Session is the result of one sign-in.
type Session struct {
	ID, UserID, ClientID string
	Scope                string
	CreatedAt, EndsAt    time.Time
	EndedAt              time.Time // zero while it is live
	EndReason            string
	AuthTime             time.Time
	ACR                  string
	AMR                  []string
	Network              string // network of the sign-in
	Device               string // for display
	Agent                string // family of the browser or program
	Remembered           bool   // its cookie stays when the browser ends
	ParentID             string // the session of the browser that an application's session ends with; empty for none
}

// SessionRow is a session in a list.
type SessionRow struct {
	Session
	LastUsedAt time.Time // last refresh or use of a cookie; CreatedAt if there was none
}

// Place is a network and browser from which a user signs in.
type Place struct{ Network, Browser string }

// placeKept is the time after which a place counts as new again.
const placeKept = 90 * 24 * time.Hour

const sessionColumns = `sessions.id, sessions.user_id, sessions.client_id, sessions.scope, sessions.created_at, sessions.ends_at, sessions.ended_at, sessions.end_reason,
	sessions.auth_time, sessions.acr, sessions.amr, sessions.network, sessions.device, sessions.agent,
	sessions.remembered, sessions.parent_id`

func (s *Session) fields() []any {
	return []any{&s.ID, &s.UserID, &s.ClientID, &s.Scope, into(&s.CreatedAt), into(&s.EndsAt), into(&s.EndedAt), &s.EndReason,
		into(&s.AuthTime), &s.ACR, (*wordsColumn)(&s.AMR), &s.Network, &s.Device, &s.Agent, &s.Remembered, &s.ParentID}
}

func (r *SessionRow) fields() []any { return append(r.Session.fields(), into(&r.LastUsedAt)) }

// CreateSession inserts a session with its first grant. It reports whether the user has not signed in from
// this place before, and then notifies the user; the first place of a user is not new. The argument was
// is the user as authenticated. ErrChanged means that the user was locked, or the password or the second
// factor changed, since.
func (db *DB) CreateSession(ctx context.Context, s Session, g Grant, e Event, p Place, was User) (newPlace bool, err error) {
	return write(ctx, db, func(tx *tx) (bool, error) {
		newPlace, err := tx.createSession(s, e, p, was)
		if err != nil {
			return false, err
		}
		return newPlace, tx.insertGrant(g)
	})
}

// NewSession is a session that begins, with its grant or its cookie.
type NewSession struct {
	Session  Session
	Grant    Grant    // of a session with tokens
	Cookie   Cookie   // of a session with a cookie; its Hash is empty otherwise
	Replaced Replaced // the cookie that the new one replaces
	Event    Event
	Place    Place
}

// beginSession inserts a session as CreateSession or CreateCookieSession does.
func (t *tx) beginSession(n NewSession, was User) ([]Revocation, error) {
	if len(n.Cookie.Hash) > 0 {
		return t.createCookieSession(n.Session, n.Cookie, n.Event, n.Place, was, n.Replaced)
	}
	if _, err := t.createSession(n.Session, n.Event, n.Place, was); err != nil {
		return nil, err
	}
	return nil, t.insertGrant(n.Grant)
}

// createSession inserts the row of a session; the caller adds its grant or cookie.
func (t *tx) createSession(s Session, e Event, p Place, was User) (newPlace bool, err error) {
	// Locking the user and changing the password end sessions. A sign-in that began before must not
	// add one afterwards.
	if err := t.checkUnchanged(s.UserID, was); err != nil {
		return false, err
	}
	t.insertSession(s)
	if e.Language != "" {
		t.exec(`UPDATE users SET language = $2 WHERE id = $1 AND language <> $2`, s.UserID, e.Language)
	}
	if newPlace = t.place(s.UserID, p, s.CreatedAt); newPlace {
		t.notify(s.UserID, "new_place", e)
	}
	return newPlace, t.event(e)
}

func (t *tx) insertSession(s Session) {
	t.exec(`INSERT INTO sessions (id, user_id, client_id, scope, created_at, ends_at, auth_time, acr, amr, network, device, agent, remembered, parent_id)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`,
		s.ID, s.UserID, s.ClientID, s.Scope, micros(s.CreatedAt), micros(s.EndsAt), micros(s.AuthTime), s.ACR, strings.Join(s.AMR, " "), s.Network, s.Device, s.Agent, flag(s.Remembered), s.ParentID)
}

// place records a sign-in from p and reports whether p is new.
func (t *tx) place(userID string, p Place, at time.Time) bool {
	var known, here int
	_ = t.row(`SELECT count(*), coalesce(sum(CASE WHEN network = $2 AND browser = $3 AND seen_at > $4 THEN 1 ELSE 0 END), 0) FROM places WHERE user_id = $1`,
		userID, p.Network, p.Browser, micros(at.Add(-placeKept))).Scan(&known, &here)
	t.exec(`INSERT INTO places (user_id, network, browser, seen_at) VALUES ($1, $2, $3, $4)
		ON CONFLICT (user_id, network, browser) DO UPDATE SET seen_at = excluded.seen_at`, userID, p.Network, p.Browser, micros(at))
	return known > 0 && here == 0
}

// KnownPlace reports whether a user has signed in from p. A query for the empty ID takes the same work.
func (db *DB) KnownPlace(ctx context.Context, userID string, p Place, now time.Time) (bool, error) {
	found, err := texts(db.reader(ctx), `SELECT user_id FROM places WHERE user_id = $1 AND network = $2 AND browser = $3 AND seen_at > $4`,
		userID, p.Network, p.Browser, micros(now.Add(-placeKept)))
	return len(found) > 0, err
}

// firstParty is the client_id of sessions that begin at the server's own sign-in.
const firstParty = "durward"

// Sessions lists the live sessions of a user that began at the server's own sign-in, newest first. A session
// without a live grant or cookie is left out.
func (db *DB) Sessions(ctx context.Context, userID string, now time.Time) ([]SessionRow, error) {
	const liveGrants, liveCookies = `FROM grants WHERE session_id = sessions.id AND ended_at = 0 AND idle_ends > $2`, `FROM cookies WHERE session_id = sessions.id AND idle_ends > $2`
	return list[SessionRow](db.reader(ctx), `SELECT `+sessionColumns+`,
		(SELECT max(used) FROM (SELECT created_at AS used UNION ALL SELECT moved_0 `+liveGrants+` UNION ALL SELECT used_at `+liveCookies+`) AS uses)
		FROM sessions WHERE user_id = $1 AND client_id = '`+firstParty+`' AND ended_at = 0 AND ends_at > $2 AND (EXISTS (SELECT 1 `+liveGrants+`) OR EXISTS (SELECT 1 `+liveCookies+`))
		ORDER BY created_at DESC, id DESC LIMIT 1000`, userID, micros(now))
}

// EndSession ends one session of a user with its grants. It returns ErrNotFound if the user has no such
// session, and does nothing if it has ended already. If notification is not empty, the user gets a
// notification of that kind.
func (db *DB) EndSession(ctx context.Context, id, userID, reason string, until time.Time, e Event, notification string) ([]Revocation, error) {
	return db.endSessionAfter(ctx, 0, id, userID, reason, until, e, notification)
}

// EndGuessedSession ends a session as EndSession does, and notifies its user, if maxFailures tries of the
// password are counted in it.
func (db *DB) EndGuessedSession(ctx context.Context, id, userID string, until time.Time, e Event) ([]Revocation, error) {
	return db.endSessionAfter(ctx, maxFailures, id, userID, "wrong passwords", until, e, "session_ended_by_guesses")
}

func (db *DB) endSessionAfter(
	ctx context.Context, failures int, id, userID, reason string, until time.Time, e Event, notification string,
) ([]Revocation, error) {
	if err := checkText(id, userID); err != nil {
		return nil, ErrNotFound
	}
	return write(ctx, db, func(tx *tx) (revoked []Revocation, err error) {
		var ended int64
		var counted int
		if err := tx.row(`SELECT ended_at, failures FROM sessions WHERE id = $1 AND user_id = $2`+tx.forUpdate("sessions"), id, userID).
			Scan(&ended, &counted); err != nil || ended != 0 || counted < failures {
			return nil, err
		}
		revoked = tx.endSession(id, reason, e.At, until)
		if notification != "" {
			tx.notify(userID, notification, e)
		}
		return revoked, tx.event(e)
	})
}

// maxFailures is the number of wrong passwords that end a session.
const maxFailures = 5

// CountTry counts a try of the password in a live session, before the password is verified, and reports
// whether it is the last one. It returns ErrTooMany if maxFailures tries have failed or are undecided, and
// ErrNotFound if the session has ended. All nodes share the count, and no crash loses it.
func (db *DB) CountTry(ctx context.Context, id, userID string) (last bool, err error) {
	now := micros(db.Now())
	return write(ctx, db, func(tx *tx) (last bool, err error) {
		var n int
		err = tx.row(`UPDATE sessions SET failures = failures + 1 WHERE id = $1 AND user_id = $2 AND ended_at = 0 AND ends_at > $3 AND failures < $4 RETURNING failures`,
			id, userID, now, maxFailures).Scan(&n)
		if !errors.Is(err, ErrNotFound) {
			return n == maxFailures, err
		}
		if err = tx.row(`SELECT failures FROM sessions WHERE id = $1 AND user_id = $2 AND ended_at = 0 AND ends_at > $3`, id, userID, now).Scan(&n); err == nil {
			err = ErrTooMany
		}
		return false, err
	})
}

// ForgetTries takes all tries of a session from its count after a right password, or one that was not
// decided.
func (db *DB) ForgetTries(ctx context.Context, id string, all bool) error {
	return db.exec(ctx, `UPDATE sessions SET failures = CASE WHEN $2 = 1 THEN 0 ELSE failures - 1 END WHERE id = $1 AND failures > 0`, id, flag(all))
}

// EndSessions ends all sessions of a user except one and those of applications that it began.
func (db *DB) EndSessions(ctx context.Context, userID, except, reason string, until time.Time, e Event) ([]Revocation, error) {
	return write(ctx, db, func(tx *tx) ([]Revocation, error) {
		tx.lockUser(userID)
		revoked := tx.endSessions(userID, except, reason, e.At, until)
		return revoked, tx.event(e)
	})
}

// endSessions ends the sessions of a user except one and its children, and forgets the known devices.
func (t *tx) endSessions(userID, except, reason string, at, until time.Time) (revoked []Revocation) {
	ids, _ := texts(t, `SELECT id FROM sessions WHERE user_id = $1 AND ended_at = 0 AND id <> $2 AND ($2 = '' OR parent_id <> $2) ORDER BY id`+t.forUpdate("sessions"), userID, except)
	for _, id := range ids {
		revoked = append(revoked, t.endOne(id, reason, at, until))
	}
	t.exec(`DELETE FROM devices WHERE user_id = $1`, userID)
	return revoked
}

// endSession ends a live session with its grants and its children, the sessions of applications that it began,
// and returns the revocations of their tokens.
func (t *tx) endSession(id, reason string, at, until time.Time) (revoked []Revocation) {
	revoked = append(revoked, t.endOne(id, reason, at, until))
	children, _ := texts(t, `SELECT id FROM sessions WHERE parent_id = $1 AND parent_id <> '' AND ended_at = 0 ORDER BY id`+t.forUpdate("sessions"), id)
	for _, child := range children {
		revoked = append(revoked, t.endOne(child, reason, at, until))
	}
	return revoked
}

// endOne ends a session as endSession does, without its children. The argument until is the end of a token
// issued at at. Tokens issued while the clock was ahead end as much later.
func (t *tx) endOne(id, reason string, at, until time.Time) Revocation {
	issued := t.number(`SELECT max(at) FROM (SELECT created_at AS at FROM sessions WHERE id = $1 UNION ALL SELECT auth_time FROM sessions WHERE id = $1
		UNION ALL SELECT moved_0 FROM grants WHERE session_id = $1 UNION ALL SELECT used_at FROM cookies WHERE session_id = $1) AS times`, id)
	until = until.Add(max(moment(issued).Sub(at), 0))
	t.exec(`UPDATE sessions SET ended_at = $2, end_reason = $3 WHERE id = $1 AND ended_at = 0`, id, micros(at), reason)
	t.exec(`UPDATE grants SET ended_at = $2, end_reason = $3 WHERE session_id = $1 AND ended_at = 0`, id, micros(at), reason)
	return t.revoke("sid", id, at, until)
}

// purgedAtOnce bounds the sessions of one purge, and so the time that other transactions wait.
const purgedAtOnce = 1000

// PurgeSessions deletes sessions that ended longer ago than kept, with their grants and cookies: at most
// purgedAtOnce, the oldest first.
func (db *DB) PurgeSessions(ctx context.Context, kept time.Duration) error {
	return db.exec(ctx, `DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE ends_at < $1 ORDER BY ends_at LIMIT $2)`, micros(db.rowTime().Add(-kept)), purgedAtOnce)
}
