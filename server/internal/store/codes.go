package store

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Code is an authorization code (RFC 6749 s4.1.2): a user's permission for a client to begin a session.
type Code struct {
	Hash        []byte // of the code; the code itself is not stored
	ClientID    string
	UserID      string
	ParentID    string // session of the browser; empty for a session that outlives it
	RedirectURI string
	Challenge   string // of S256 (RFC 7636 s4.2); empty for none
	Nonce       string // for the ID token
	Scope       string
	Resources   []string // audiences that the access tokens may have
	Claims      string   // requested claims, as JSON; empty for none
	JKT         string   // thumbprint of the DPoP key that must be proved; empty for any
	AuthTime    time.Time
	ACR         string
	AMR         []string
	CreatedAt   time.Time
	EndsAt      time.Time
	Request     []byte // hash of the stored authorization request that it answers; empty for none; not stored

	tries     int
	spentAt   time.Time
	sessionID string // that it began
}

const codeColumns = `codes.hash, codes.client_id, codes.user_id, codes.parent_id, codes.redirect_uri, codes.challenge, codes.nonce, codes.scope,
	codes.resources, codes.claims, codes.jkt, codes.auth_time, codes.acr, codes.amr, codes.created_at, codes.ends_at, codes.tries, codes.spent_at, codes.session_id`

func (c *Code) fields() []any {
	return []any{&c.Hash, &c.ClientID, &c.UserID, &c.ParentID, &c.RedirectURI, &c.Challenge, &c.Nonce, &c.Scope,
		(*wordsColumn)(&c.Resources), &c.Claims, &c.JKT, into(&c.AuthTime), &c.ACR, (*wordsColumn)(&c.AMR),
		into(&c.CreatedAt), into(&c.EndsAt), &c.tries, into(&c.spentAt), &c.sessionID}
}

// CreateCode inserts a code and deletes the authorization request that it answers. It returns ErrChanged if the
// user is locked, or the session of the browser or signedIn, which authorized the request, has ended, and
// ErrNotFound if the request was answered before.
func (db *DB) CreateCode(ctx context.Context, c Code, signedIn string) error {
	return db.do(ctx, func(tx *tx) error {
		u, err := tx.lockedUser(c.UserID)
		if err != nil {
			return err
		}
		if _, err := tx.checkLive(u, signedIn, c.CreatedAt); err != nil {
			return err
		}
		if len(c.Request) > 0 {
			if err := tx.endRequest(c.Request); err != nil {
				return err
			}
		}
		tx.setEvidence(`SELECT 1 FROM codes WHERE hash = $1`, c.Hash)
		return tx.exec(`INSERT INTO codes (hash, client_id, user_id, parent_id, redirect_uri, challenge, nonce, scope, resources, claims, jkt, auth_time, acr, amr, created_at, ends_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)`,
			c.Hash, c.ClientID, c.UserID, c.ParentID, c.RedirectURI, c.Challenge, c.Nonce, c.Scope, strings.Join(c.Resources, " "), c.Claims, c.JKT,
			micros(c.AuthTime), c.ACR, strings.Join(c.AMR, " "), micros(c.CreatedAt), micros(c.EndsAt))
	})
}

// lockedUser locks the row of a user until the transaction ends and returns the user, or a zero User if there is
// none.
func (t *tx) lockedUser(id string) (u User, err error) {
	err = t.get([]record{&u}, `SELECT `+userColumns+` FROM users WHERE id = $1`+t.forUpdate("users"), id)
	if errors.Is(err, ErrNotFound) {
		return User{}, nil
	}
	return u, err
}

// checkLive returns the end of a session of a user, zero if sessionID is empty. It returns ErrChanged if there is
// no user, the user is locked or the session has ended.
func (t *tx) checkLive(u User, sessionID string, now time.Time) (ends time.Time, err error) {
	if u.ID == "" || !u.LockedAt.IsZero() {
		return ends, ErrChanged
	} else if sessionID == "" {
		return ends, nil
	}
	err = t.row(`SELECT ends_at FROM sessions WHERE id = $1 AND user_id = $2 AND ended_at = 0 AND ends_at > $3`+t.forUpdate("sessions"), sessionID, u.ID, micros(now)).Scan(into(&ends))
	if errors.Is(err, ErrNotFound) {
		return ends, ErrChanged
	}
	return ends, err
}

// SpendCode is a use of a code.
type SpendCode struct {
	Hash []byte
	At   time.Time

	// Check returns an error if the request is not of the client, redirect URI, verifier or key of the code.
	Check func(Code) error

	// Begin returns the session that the code begins, with its grant, or with a zero Grant if it has none.
	// Its Event is that of the sign-in. ends is the end of the session of the browser, or zero.
	Begin func(c Code, ends time.Time) NewSession

	Replayed Event     // recorded if the code was used before
	Until    time.Time // the end of a token that is issued now
}

const (
	maxCodeTries        = 5  // wrong uses that end a code
	maxApplicationsLive = 20 // sessions of one user at one client
)

// CodeUse is the result of SpendCode.
type CodeUse struct {
	Code    Code
	New     NewSession
	User    User     // of the session
	Groups  []string // of the user
	Refused error    // ErrNotFound: none or over; ErrSpent: used before; ErrChanged: its user was locked, its session ended or its client was disabled; else of Check
	Revoked []Revocation
}

// SpendCode begins the session of a code, once: of many calls at once, one does. A use that Check refuses
// spends nothing, but the fifth one ends the code. The second use of a code ends the session that the first
// one began (RFC 6749 s4.1.2). A user has up to 20 live sessions at one client; the least recently used ones
// end. An error means that nothing was written.
func (db *DB) SpendCode(ctx context.Context, s SpendCode) (CodeUse, error) {
	return write(ctx, db, func(tx *tx) (use CodeUse, err error) {
		c, u, err := tx.codeFor(s.Hash)
		switch {
		case errors.Is(err, ErrNotFound):
			use.Refused = ErrNotFound
			return use, nil
		case err != nil:
			return use, err
		}
		use.Code = c
		if use.Refused = s.Check(c); use.Refused != nil {
			if c.spentAt.IsZero() && c.tries+1 >= maxCodeTries {
				return use, tx.exec(`DELETE FROM codes WHERE hash = $1`, s.Hash)
			}
			return use, tx.exec(`UPDATE codes SET tries = tries + 1 WHERE hash = $1`, s.Hash)
		}
		if !c.spentAt.IsZero() {
			use.Refused = ErrSpent
			if tx.number(`SELECT count(*) FROM sessions WHERE id = $1 AND ended_at = 0`, c.sessionID) == 0 {
				return use, nil
			}
			e := s.Replayed
			e.UserID, e.SessionID = c.UserID, c.sessionID
			use.Revoked = tx.endSession(c.sessionID, e.Kind, e.At, s.Until)
			return use, tx.event(e)
		}
		if !s.At.Before(c.EndsAt) {
			use.Refused = ErrNotFound
			return use, nil
		}
		ends, err := tx.checkLive(u, c.ParentID, s.At)
		if err == nil {
			err = tx.checkEnabled(c.ClientID)
		}
		if errors.Is(err, ErrChanged) {
			use.Refused = err
			return use, nil
		} else if err != nil {
			return use, err
		}
		// Read before the code is spent, so that no failure after that keeps its client without tokens.
		use.User = u
		use.Groups, _ = texts(tx, `SELECT name FROM user_groups WHERE user_id = $1 ORDER BY name`, c.UserID)
		use.New = s.Begin(c, ends)
		n := use.New.Session
		tx.exec(`UPDATE codes SET spent_at = $2, session_id = $3 WHERE hash = $1`, s.Hash, micros(s.At), n.ID)
		tx.insertSession(n)
		if use.New.Grant.SessionID != "" {
			tx.insertGrant(use.New.Grant)
		}
		use.Revoked = tx.endOldest(n.UserID, n.ClientID, s.At, s.Until)
		return use, tx.event(use.New.Event)
	})
}

// codeFor returns a code and its user, whom it locked before it read the code: transactions of one user run one
// after the other.
func (t *tx) codeFor(hash []byte) (c Code, u User, err error) {
	var userID string
	if err := t.row(`SELECT user_id FROM codes WHERE hash = $1`, hash).Scan(&userID); err != nil {
		return c, u, err
	}
	if u, err = t.lockedUser(userID); err != nil {
		return c, u, err
	}
	err = t.get([]record{&c}, `SELECT `+codeColumns+` FROM codes WHERE hash = $1`, hash)
	return c, u, err
}

// endOldest ends the least recently used sessions of a user at a client beyond maxApplicationsLive.
func (t *tx) endOldest(userID, clientID string, at, until time.Time) (revoked []Revocation) {
	old, _ := texts(t, `SELECT id FROM sessions WHERE user_id = $1 AND client_id = $2 AND ended_at = 0
		ORDER BY coalesce((SELECT max(moved_0) FROM grants WHERE session_id = sessions.id AND moved_0 > sessions.created_at), created_at) DESC, id DESC
		LIMIT 1000 OFFSET $3`, userID, clientID, maxApplicationsLive)
	for _, id := range old {
		revoked = append(revoked, t.endOne(id, "too many sessions of the application", at, until))
	}
	return revoked
}

// codesKept is how long a spent code is kept, so that its second use is noticed.
const codesKept = time.Hour

// PurgeCodes deletes codes that are over.
func (db *DB) PurgeCodes(ctx context.Context) error {
	return db.exec(ctx, `DELETE FROM codes WHERE ends_at < $1`, micros(db.rowTime().Add(-codesKept)))
}
