package store

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Cookie is what a browser holds of a session: its one key, with the rights that
// it was given for.
type Cookie struct {
	Hash       []byte // of the value, which is nowhere
	SessionID  string
	Scope      string
	AuthTime   time.Time
	ACR        string
	AMR        []string
	CreatedAt  time.Time
	UsedAt     time.Time // as last written
	IdleEnds   time.Time
	ReplacedAt time.Time // zero while it is current
}

const cookieColumns = `cookies.hash, cookies.session_id, cookies.scope, cookies.auth_time, cookies.acr, cookies.amr,
	cookies.created_at, cookies.used_at, cookies.idle_ends, cookies.replaced_at`

func (c *Cookie) into() (fields []any, done func()) {
	var times [5]int64
	var amr string
	return []any{&c.Hash, &c.SessionID, &c.Scope, &times[0], &c.ACR, &amr, &times[1], &times[2], &times[3], &times[4]}, func() {
		c.AuthTime, c.CreatedAt, c.UsedAt, c.IdleEnds, c.ReplacedAt = moment(times[0]), moment(times[1]), moment(times[2]), moment(times[3]), moment(times[4])
		c.AMR = strings.Fields(amr)
	}
}

func (t *tx) insertCookie(c Cookie) error {
	_, err := t.exec(`INSERT INTO cookies (hash, session_id, scope, auth_time, acr, amr, created_at, used_at, idle_ends)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		c.Hash, c.SessionID, c.Scope, micros(c.AuthTime), c.ACR, strings.Join(c.AMR, " "), micros(c.CreatedAt), micros(c.UsedAt), micros(c.IdleEnds))
	return err
}

// CookieByHash returns a cookie with its session and its person, alive or not, or
// ErrNotFound.
func (db *DB) CookieByHash(ctx context.Context, hash []byte) (c Cookie, s Session, u User, err error) {
	fields, done := c.into()
	ofSession, sessionDone := s.into()
	ofUser, userDone := u.into()
	err = db.reader(ctx).row(`SELECT `+cookieColumns+`, `+sessionColumns+`, `+userColumns+`
		FROM cookies JOIN sessions ON sessions.id = cookies.session_id JOIN users ON users.id = sessions.user_id WHERE cookies.hash = $1`,
		hash).Scan(append(append(fields, ofSession...), ofUser...)...)
	if err != nil {
		return Cookie{}, Session{}, User{}, classify(err)
	}
	done()
	sessionDone()
	userDone()
	return c, s, u, nil
}

// Replaced is the cookie that a browser held before a sign-in gave it another.
type Replaced struct {
	Hash                  []byte // empty where it held none
	EventID, Kind, Reason string // how the end of its session is written down
	Until                 time.Time
}

// CreateCookieSession begins a session whose one key is c, as CreateSession begins
// one with a grant. The live session of the cookie that it replaces, if there is
// one, ends in the same moment, whoever's it is.
func (db *DB) CreateCookieSession(ctx context.Context, s Session, c Cookie, e Event, p Place, was time.Time, r Replaced) ([]Revocation, error) {
	if err := text(s.Network, s.Device, s.Agent, p.Browser); err != nil {
		return nil, err
	}
	return made(ctx, db, func(tx *tx) (revoked []Revocation, err error) {
		if _, err := tx.createSession(s, e, p, was); err != nil {
			return nil, err
		}
		if err := tx.insertCookie(c); err != nil || len(r.Hash) == 0 {
			return nil, err
		}
		ended := e
		ended.ID, ended.Kind, ended.Outcome = r.EventID, r.Kind, r.Reason
		err = tx.row(`SELECT sessions.id, sessions.user_id FROM cookies JOIN sessions ON sessions.id = cookies.session_id
			WHERE cookies.hash = $1 AND sessions.ended_at = 0`+tx.locked("sessions"), r.Hash).Scan(&ended.SessionID, &ended.UserID)
		if errors.Is(classify(err), ErrNotFound) {
			return nil, nil
		} else if err != nil {
			return nil, err
		}
		if revoked, err = tx.endSession(ended.SessionID, r.Reason, e.At, r.Until, nil); err != nil {
			return nil, err
		}
		return revoked, tx.event(ended)
	})
}

// UseCookie writes down that a current cookie was used, and until when it lives
// for that, unless a use after since is written down already.
func (db *DB) UseCookie(ctx context.Context, hash []byte, at, since, idleEnds time.Time) error {
	return db.do(ctx, func(tx *tx) error {
		_, err := tx.exec(`UPDATE cookies SET used_at = $2, idle_ends = $4 WHERE hash = $1 AND used_at <= $3 AND idle_ends > $2 AND replaced_at = 0`,
			hash, micros(at), micros(since), micros(idleEnds))
		return err
	})
}

// Proof is that a person has shown anew who they are, within a session.
type Proof struct {
	SessionID, UserID string
	At                time.Time
	ACR               string
	AMR               []string
	PasswordChangedAt time.Time // of the person who was judged
}

// prove notes p in a live session. It returns ErrNotFound where the session has
// ended, and ErrChanged where the person has been locked since, or has another
// password.
func (t *tx) prove(p Proof, now time.Time) error {
	if err := t.unchanged(p.UserID, p.PasswordChangedAt); err != nil {
		return err
	}
	n, err := t.changed(`UPDATE sessions SET auth_time = $3, acr = $4, amr = $5 WHERE id = $1 AND user_id = $2 AND ended_at = 0 AND ends_at > $6`,
		p.SessionID, p.UserID, micros(p.At), p.ACR, strings.Join(p.AMR, " "), micros(now))
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// ProveWithGrant notes a proof and returns the session as it then is, with the live
// grant that a client holds of it. Where it holds none the grant is zero, and the
// session is said to end with its last cookie. It returns ErrNotFound where there is
// no such cookie either.
func (db *DB) ProveWithGrant(ctx context.Context, p Proof, clientID string, e Event) (Session, Grant, error) {
	type proven struct {
		s Session
		g Grant
	}
	is, err := made(ctx, db, func(tx *tx) (is proven, err error) {
		if err := tx.prove(p, e.At); err != nil {
			return is, err
		}
		fields, done := is.s.into()
		if err := tx.row(`SELECT `+sessionColumns+` FROM sessions WHERE id = $1`, p.SessionID).Scan(fields...); err != nil {
			return is, err
		}
		done()
		grant, grantDone := is.g.into()
		err = tx.row(`SELECT `+grantColumns+` FROM grants WHERE session_id = $1 AND client_id = $2 AND ended_at = 0 AND idle_ends > $3
			ORDER BY created_at DESC LIMIT 1`, p.SessionID, clientID, micros(e.At)).Scan(grant...)
		switch {
		case errors.Is(classify(err), ErrNotFound):
			is.g = Grant{}
			var ends int64
			err = tx.row(`SELECT coalesce(max(idle_ends), 0) FROM cookies WHERE session_id = $1 AND idle_ends > $2`, p.SessionID, micros(e.At)).Scan(&ends)
			if err == nil && ends == 0 {
				err = ErrNotFound
			}
			if err != nil {
				return is, err
			}
			is.s.EndsAt = moment(min(ends, micros(is.s.EndsAt)))
		case err != nil:
			return is, err
		default:
			if err := grantDone(); err != nil {
				return is, err
			}
		}
		return is, tx.event(e)
	})
	return is.s, is.g, err
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
	return db.do(ctx, func(tx *tx) error { return tx.renewCookie(r) })
}

func (t *tx) renewCookie(r CookieRenewal) error {
	p, now := r.Proof, micros(r.Event.At)
	if err := t.prove(p, r.Event.At); err != nil {
		return err
	}
	// Cookies that were replaced earlier and have ended since are no longer needed.
	if _, err := t.exec(`DELETE FROM cookies WHERE session_id = $1 AND replaced_at > 0 AND idle_ends <= $2`, p.SessionID, now); err != nil {
		return err
	}
	n, err := t.changed(`UPDATE cookies SET replaced_at = CASE WHEN replaced_at = 0 THEN $3 ELSE replaced_at END,
		idle_ends = CASE WHEN idle_ends > $4 THEN $4 ELSE idle_ends END WHERE hash = $1 AND session_id = $2 AND idle_ends > $3`,
		r.Old, p.SessionID, now, micros(r.OldEnds))
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return err
	}
	if err := t.insertCookie(r.New); err != nil {
		return err
	}
	return t.event(r.Event)
}
