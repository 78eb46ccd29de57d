package store

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Cookie is a session cookie with the scope and the authentication that it stands for.
type Cookie struct {
	Hash       []byte // of the value; the value itself is not stored
	SessionID  string
	Scope      string
	AuthTime   time.Time
	ACR        string
	AMR        []string
	CreatedAt  time.Time
	UsedAt     time.Time // exact to a minute
	IdleEnds   time.Time
	ReplacedAt time.Time // zero while it is current
}

const cookieColumns = `cookies.hash, cookies.session_id, cookies.scope, cookies.auth_time, cookies.acr, cookies.amr,
	cookies.created_at, cookies.used_at, cookies.idle_ends, cookies.replaced_at`

func (c *Cookie) fields() []any {
	return []any{&c.Hash, &c.SessionID, &c.Scope, into(&c.AuthTime), &c.ACR, (*wordsColumn)(&c.AMR),
		into(&c.CreatedAt), into(&c.UsedAt), into(&c.IdleEnds), into(&c.ReplacedAt)}
}

func (t *tx) insertCookie(c Cookie) error {
	return t.exec(`INSERT INTO cookies (hash, session_id, scope, auth_time, acr, amr, created_at, used_at, idle_ends)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		c.Hash, c.SessionID, c.Scope, micros(c.AuthTime), c.ACR, strings.Join(c.AMR, " "), micros(c.CreatedAt), micros(c.UsedAt), micros(c.IdleEnds))
}

// CookieByHash returns a cookie with its session and user, also if one of them is no longer valid, or
// ErrNotFound.
func (db *DB) CookieByHash(ctx context.Context, hash []byte) (c Cookie, s Session, u User, err error) {
	err = db.reader(ctx).get([]record{&c, &s, &u}, `SELECT `+cookieColumns+`, `+sessionColumns+`, `+userColumns+`
		FROM cookies JOIN sessions ON sessions.id = cookies.session_id JOIN users ON users.id = sessions.user_id WHERE cookies.hash = $1`, hash)
	return c, s, u, err
}

// Replaced is the cookie that a browser sent with a sign-in, which replaces it.
type Replaced struct {
	Hash                  []byte // empty for none
	EventID, Kind, Reason string // of the event for the end of its session
	Until                 time.Time
}

// CreateCookieSession inserts a session with the cookie c, as CreateSession does with a grant. In the same
// transaction it ends the live session of the replaced cookie, also if it belongs to another user.
func (db *DB) CreateCookieSession(ctx context.Context, s Session, c Cookie, e Event, p Place, was User, r Replaced) ([]Revocation, error) {
	return write(ctx, db, func(tx *tx) ([]Revocation, error) { return tx.createCookieSession(s, c, e, p, was, r) })
}

func (t *tx) createCookieSession(s Session, c Cookie, e Event, p Place, was User, r Replaced) ([]Revocation, error) {
	if _, err := t.createSession(s, e, p, was); err != nil {
		return nil, err
	}
	if err := t.insertCookie(c); err != nil || len(r.Hash) == 0 {
		return nil, err
	}
	ended := e
	ended.ID, ended.Kind, ended.Outcome = r.EventID, r.Kind, r.Reason
	err := t.row(`SELECT sessions.id, sessions.user_id FROM cookies JOIN sessions ON sessions.id = cookies.session_id
		WHERE cookies.hash = $1 AND sessions.ended_at = 0`+t.forUpdate("sessions"), r.Hash).Scan(&ended.SessionID, &ended.UserID)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	return t.endSession(ended.SessionID, r.Reason, e.At, r.Until), t.event(ended)
}

// UseCookie records the use of a current cookie and its new idle end, unless a use after since is recorded
// already.
func (db *DB) UseCookie(ctx context.Context, hash []byte, at, since, idleEnds time.Time) error {
	return db.exec(ctx, `UPDATE cookies SET used_at = $2, idle_ends = $4 WHERE hash = $1 AND used_at <= $3 AND idle_ends > $2 AND replaced_at = 0`,
		hash, micros(at), micros(since), micros(idleEnds))
}

// Proof records how and when a user proved their identity. Session rules copy it into the session
// and its tokens.
type Proof struct {
	User      User      // as it was when the credentials were verified
	Methods   []string  // authentication methods, the claim amr (RFC 8176)
	ACR       string    // authentication context class reference, the claim acr
	At        time.Time // when the last method was verified, the claim auth_time
	SessionID string    // of a reauthentication: the session that it renews
}

// reauthenticate records p in a live session. It returns ErrNotFound if the session has ended, and
// ErrChanged if the user was locked, or the password or the second factor changed, since.
func (t *tx) reauthenticate(p Proof, now time.Time) error {
	if err := t.checkUnchanged(p.User.ID, p.User); err != nil {
		return err
	}
	n := t.changed(`UPDATE sessions SET auth_time = $3, acr = $4, amr = $5 WHERE id = $1 AND user_id = $2 AND ended_at = 0 AND ends_at > $6`,
		p.SessionID, p.User.ID, micros(p.At), p.ACR, strings.Join(p.Methods, " "), micros(now))
	if n == 0 {
		return ErrNotFound
	}
	return nil
}

// ProveWithGrant records a proof and returns the session after it, with the live grant of a client. If the
// client has none, the grant is zero and EndsAt of the session is the end of its last cookie. It returns
// ErrNotFound if there is no live cookie either.
func (db *DB) ProveWithGrant(ctx context.Context, p Proof, clientID string, e Event) (s Session, g Grant, err error) {
	err = db.do(ctx, func(tx *tx) (err error) {
		if err := tx.reauthenticate(p, e.At); err != nil {
			return err
		}
		if err := tx.get([]record{&s}, `SELECT `+sessionColumns+` FROM sessions WHERE id = $1`, p.SessionID); err != nil {
			return err
		}
		err = tx.get([]record{&g}, `SELECT `+grantColumns+` FROM grants WHERE session_id = $1 AND client_id = $2 AND ended_at = 0 AND idle_ends > $3
			ORDER BY created_at DESC LIMIT 1`, p.SessionID, clientID, micros(e.At))
		if errors.Is(err, ErrNotFound) {
			g = Grant{}
			ends := tx.number(`SELECT coalesce(max(idle_ends), 0) FROM cookies WHERE session_id = $1 AND idle_ends > $2`, p.SessionID, micros(e.At))
			if ends == 0 {
				return ErrNotFound
			}
			s.EndsAt = moment(min(ends, micros(s.EndsAt)))
		} else if err != nil {
			return err
		}
		return tx.event(e)
	})
	if err != nil {
		return Session{}, Grant{}, err
	}
	return s, g, nil
}

// CookieRenewal replaces a session's cookie after a proof.
type CookieRenewal struct {
	Proof   Proof
	Old     []byte    // hash of the cookie that the client sent
	OldEnds time.Time // when it ends at the latest
	New     Cookie
	Event   Event
}

// ProveWithCookie stores a proof and gives the session another cookie. It returns ErrNotFound if the
// session or its old cookie has ended.
func (db *DB) ProveWithCookie(ctx context.Context, r CookieRenewal) error {
	return db.do(ctx, func(tx *tx) error { return tx.renewCookie(r, db.TokenTime()) })
}

// renewCookie replaces a cookie. It deletes replaced ones of the session that ended before a time.
func (t *tx) renewCookie(r CookieRenewal, before time.Time) error {
	p, now := r.Proof, micros(r.Event.At)
	if err := t.reauthenticate(p, r.Event.At); err != nil {
		return err
	}
	t.exec(`DELETE FROM cookies WHERE session_id = $1 AND replaced_at > 0 AND idle_ends <= $2`, p.SessionID, micros(before))
	n := t.changed(`UPDATE cookies SET replaced_at = CASE WHEN replaced_at = 0 THEN $3 ELSE replaced_at END,
		idle_ends = CASE WHEN idle_ends > $4 THEN $4 ELSE idle_ends END WHERE hash = $1 AND session_id = $2 AND idle_ends > $3`,
		r.Old, p.SessionID, now, micros(r.OldEnds))
	if n == 0 {
		return ErrNotFound
	}
	t.insertCookie(r.New)
	return t.event(r.Event)
}
