package store

import (
	"context"
	"strings"
	"time"
)

// Passkey is a passkey of a user (WebAuthn level 3 s4, "Credential Record").
type Passkey struct {
	ID         string // sorts by time
	UserID     string
	Credential []byte // the ID that its authenticator made; unique
	PublicKey  []byte // COSE key
	Flags      int    // of the last response
	Count      uint32 // signature counter of the last response
	AAGUID     string // of the model of the authenticator
	Transports []string
	Name       string
	CreatedAt  time.Time
	UsedAt     time.Time // zero: never
}

const passkeyColumns = `passkeys.id, passkeys.user_id, passkeys.credential, passkeys.public_key, passkeys.flags, passkeys.sign_count,
	passkeys.aaguid, passkeys.transports, passkeys.name, passkeys.created_at, passkeys.used_at`

func (p *Passkey) fields() []any {
	return []any{&p.ID, &p.UserID, &p.Credential, &p.PublicKey, &p.Flags, &p.Count,
		&p.AAGUID, (*wordsColumn)(&p.Transports), &p.Name, into(&p.CreatedAt), into(&p.UsedAt)}
}

// Passkeys lists the passkeys of a user, oldest first.
func (db *DB) Passkeys(ctx context.Context, userID string) ([]Passkey, error) {
	return list[Passkey](db.reader(ctx), `SELECT `+passkeyColumns+` FROM passkeys WHERE user_id = $1 ORDER BY id`, userID)
}

// PasskeyByCredential returns a passkey with its user, or ErrNotFound.
func (db *DB) PasskeyByCredential(ctx context.Context, credential []byte) (p Passkey, u User, err error) {
	err = db.reader(ctx).get([]record{&p, &u}, `SELECT `+passkeyColumns+`, `+userColumns+`
		FROM passkeys JOIN users ON users.id = passkeys.user_id WHERE passkeys.credential = $1`, credential)
	return p, u, err
}

// SpentChallenge is a challenge that a verified response answers. It is accepted once.
type SpentChallenge struct {
	Hash []byte
	Ends time.Time // the row is of no use afterwards
}

// spendChallenge returns ErrSpent if the challenge was spent before.
func (t *tx) spendChallenge(c SpentChallenge) error {
	n := t.changed(`INSERT INTO spent_challenges (hash, ends_at) VALUES ($1, $2) ON CONFLICT (hash) DO NOTHING`, c.Hash, micros(c.Ends))
	if t.err == nil && n == 0 {
		return ErrSpent
	}
	return t.err
}

// PurgeChallenges deletes spent challenges that are over.
func (db *DB) PurgeChallenges(ctx context.Context) error {
	return db.exec(ctx, `DELETE FROM spent_challenges WHERE ends_at < $1`, micros(db.rowTime()))
}

// AddPasskey adds a passkey, which is a second factor too, and notifies its user. It returns ErrChanged if
// the user was locked or the session of e ended, ErrSpent if the challenge was spent, ErrTooMany if the user has
// most passkeys already, and ErrTaken if its credential is registered.
func (db *DB) AddPasskey(ctx context.Context, p Passkey, c SpentChallenge, most int, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		if err := tx.lockSession(p.UserID, e.SessionID); err != nil {
			return err
		}
		if err := tx.spendChallenge(c); err != nil {
			return err
		}
		if tx.number(`SELECT count(*) FROM passkeys WHERE user_id = $1`, p.UserID) >= int64(most) {
			return ErrTooMany
		}
		n := tx.changed(`INSERT INTO passkeys (id, user_id, credential, public_key, flags, sign_count, aaguid, transports, name, created_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (credential) DO NOTHING`,
			p.ID, p.UserID, p.Credential, p.PublicKey, p.Flags, p.Count, p.AAGUID, strings.Join(p.Transports, " "), p.Name, micros(p.CreatedAt))
		if tx.err == nil && n == 0 {
			return ErrTaken
		}
		tx.notify(p.UserID, "passkey_added", e)
		return tx.changeFactors(p.UserID, e)
	})
}

// RenamePasskey renames a passkey of the user of e. It returns ErrNotFound if the user has no such passkey,
// and ErrChanged if the user was locked or the session of e ended.
func (db *DB) RenamePasskey(ctx context.Context, id, name string, e Event) (p Passkey, err error) {
	return write(ctx, db, func(tx *tx) (p Passkey, err error) {
		if err := tx.lockSession(e.UserID, e.SessionID); err != nil {
			return p, err
		}
		if tx.changed(`UPDATE passkeys SET name = $3 WHERE id = $1 AND user_id = $2`, id, e.UserID, name) == 0 {
			return p, ErrNotFound
		}
		if err := tx.event(e); err != nil {
			return p, err
		}
		err = tx.get([]record{&p}, `SELECT `+passkeyColumns+` FROM passkeys WHERE id = $1`, id)
		return p, err
	})
}

// RemovePasskey removes a passkey of the user of e, ends all sessions of the user but that of e, and
// notifies the user. It returns ErrNotFound if the user has no such passkey, ErrLast if the user has no
// password and no other passkey, ErrFactorOwed if it is the last factor of a user of whom one is required, and ErrChanged if the user was locked or the session of e ended. An event of
// an administrator or the operator has no session.
func (db *DB) RemovePasskey(ctx context.Context, id string, until time.Time, e Event) ([]Revocation, error) {
	return write(ctx, db, func(tx *tx) ([]Revocation, error) {
		if err := tx.lockFactors(e); err != nil {
			return nil, err
		}
		if tx.changed(`DELETE FROM passkeys WHERE id = $1 AND user_id = $2`, id, e.UserID) == 0 {
			return nil, ErrNotFound
		}
		ways := tx.number(`SELECT (SELECT count(*) FROM passkeys WHERE user_id = $1) + (SELECT count(*) FROM users WHERE id = $1 AND password <> '')`, e.UserID)
		if tx.err == nil && ways == 0 {
			return nil, ErrLast
		}
		revoked := tx.endSessions(e.UserID, e.SessionID, e.Kind, e.At, until)
		tx.notify(e.UserID, "passkey_removed", e)
		tx.changeFactors(e.UserID, e)
		return revoked, tx.checkFactorLeft(e.UserID)
	})
}

// PasskeyUse is a verified response of a passkey.
type PasskeyUse struct {
	Passkey   Passkey // as after the response
	Was       uint32  // its counter before
	Challenge SpentChallenge
}

// UsePasskey spends a challenge and records the use of its passkey. It returns ErrSpent if the challenge was
// spent, and ErrChanged if the passkey was removed or used by another response since it was verified.
func (db *DB) UsePasskey(ctx context.Context, use PasskeyUse) error {
	return db.do(ctx, func(tx *tx) error {
		tx.lockUser(use.Passkey.UserID)
		return tx.usePasskey(use)
	})
}

func (t *tx) usePasskey(use PasskeyUse) error {
	if err := t.spendChallenge(use.Challenge); err != nil {
		return err
	}
	p := use.Passkey
	n := t.changed(`UPDATE passkeys SET sign_count = $3, flags = $4, used_at = $5 WHERE id = $1 AND user_id = $2 AND sign_count = $6`,
		p.ID, p.UserID, p.Count, p.Flags, micros(p.UsedAt), use.Was)
	if t.err == nil && n == 0 {
		return ErrChanged
	}
	return t.err
}

// SignInWithPasskey begins a session of the user was and uses the passkey, both or neither. It returns the
// errors of UsePasskey and CreateSession.
func (db *DB) SignInWithPasskey(ctx context.Context, use PasskeyUse, n NewSession, was User) ([]Revocation, error) {
	return write(ctx, db, func(tx *tx) ([]Revocation, error) {
		tx.lockUser(use.Passkey.UserID)
		if err := tx.usePasskey(use); err != nil {
			return nil, err
		}
		return tx.beginSession(n, was)
	})
}
