package store

import (
	"context"
	"errors"
	"time"
)

// Kinds of mails that are no notifications. A notification is mailed too, by its own kind.
const (
	MailResetPassword = "reset_password"
	MailVerifyEmail   = "verify_email"  // to a user who registered
	MailAddressTaken  = "address_taken" // in place of the former if the address has an account
	MailChangeEmail   = "change_email"  // to the new address
	MailEmailChanged  = "email_changed" // to the former address
	MailInvitation    = "invitation"
)

// Mail is a row of the outbox: a mail that is still to be sent. It holds no text and no secret.
type Mail struct {
	ID, Kind        string
	UserID          string // empty: the user who has Address when the mail is sent
	Address         string // as typed; empty: the address of the user when the mail is sent
	Language        string // of the request; empty if unknown
	Device, Network string // of the request
	CreatedAt       time.Time
	DueAt           time.Time // next attempt, or the end of the lease of the node that sends it
	Attempts        int       // including the current one
}

const mailColumns = `id, kind, user_id, address, language, device, network, created_at, due_at, attempts`

func (m *Mail) fields() []any {
	return []any{&m.ID, &m.Kind, &m.UserID, &m.Address, &m.Language, &m.Device, &m.Network, into(&m.CreatedAt), into(&m.DueAt), &m.Attempts}
}

// mail adds a mail to the outbox.
func (t *tx) mail(m Mail) error {
	return t.exec(`INSERT INTO outbox (`+mailColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, 0)`,
		m.ID, m.Kind, m.UserID, m.Address, m.Language, m.Device, m.Network, micros(m.CreatedAt))
}

// mailOf returns a mail about an event.
func mailOf(e Event, kind, userID, address string) Mail {
	return Mail{
		ID: e.ID, Kind: kind, UserID: userID, Address: address,
		Language: e.Language, Device: e.Device, Network: e.Network, CreatedAt: e.At,
	}
}

// AddMail adds a mail to the outbox. It costs the same whether a user has the address or not.
func (db *DB) AddMail(ctx context.Context, m Mail) error {
	return db.do(ctx, func(tx *tx) error {
		tx.setEvidence(`SELECT 1 FROM outbox WHERE id = $1`, m.ID)
		return tx.mail(m)
	})
}

// SendReset adds a mail to a user to the outbox. It returns ErrNotFound if there is no such user.
func (db *DB) SendReset(ctx context.Context, m Mail, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		if _, err := tx.user(m.UserID); err != nil {
			return err
		}
		tx.mail(m)
		return tx.event(e)
	})
}

// ClaimMails returns up to limit mails that are due, the longest due first. No other call returns them
// until lease has passed.
func (db *DB) ClaimMails(ctx context.Context, limit int, lease time.Duration) ([]Mail, error) {
	now := db.Now()
	reader := db.reader(ctx)
	if due := reader.number(`SELECT count(*) FROM (SELECT 1 FROM outbox WHERE due_at <= $1 LIMIT 1) AS due`, micros(now)); due == 0 || reader.err != nil {
		return nil, classify(reader.err)
	}
	return write(ctx, db, func(tx *tx) ([]Mail, error) {
		tx.lock("outbox")
		mails, err := list[Mail](tx, `SELECT `+mailColumns+` FROM outbox WHERE due_at <= $1 ORDER BY due_at, id LIMIT $2`, micros(now), limit)
		if err != nil {
			return nil, err
		}
		for i := range mails {
			mails[i].Attempts++
			mails[i].DueAt = now.Add(lease)
			tx.exec(`UPDATE outbox SET attempts = $2, due_at = $3 WHERE id = $1`, mails[i].ID, mails[i].Attempts, micros(mails[i].DueAt))
		}
		return mails, nil
	})
}

// PostponeMail makes the next attempt of a claimed mail due at a time. It does nothing if the mail was
// claimed again since.
func (db *DB) PostponeMail(ctx context.Context, m Mail, due time.Time) error {
	return db.exec(ctx, `UPDATE outbox SET due_at = $3 WHERE id = $1 AND attempts = $2`, m.ID, m.Attempts, micros(due))
}

// DropMail removes a claimed mail from the outbox, after it was sent or will not be sent. If the Kind of
// e is not empty, it adds e to the security log. It does nothing if the mail was claimed again since.
func (db *DB) DropMail(ctx context.Context, m Mail, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		if tx.changed(`DELETE FROM outbox WHERE id = $1 AND attempts = $2`, m.ID, m.Attempts) == 0 || e.Kind == "" {
			return nil
		}
		return tx.event(e)
	})
}

// MailsWaiting returns the number of mails in the outbox and the time of the oldest.
func (db *DB) MailsWaiting(ctx context.Context) (n int64, oldest time.Time, err error) {
	reader := db.reader(ctx)
	_ = reader.row(`SELECT count(*), coalesce(min(created_at), 0) FROM outbox`).Scan(&n, into(&oldest))
	return n, oldest, classify(reader.err)
}

// MailToken is the right that the link of a mail gives, once.
type MailToken struct {
	Hash      []byte
	Purpose   string // kind of the mail
	UserID    string
	EmailKey  string // address of the user when the mail was sent
	Address   string // where it was sent
	MailID    string
	CreatedAt time.Time
	EndsAt    time.Time
}

func (m *MailToken) fields() []any {
	return []any{&m.Hash, &m.Purpose, &m.UserID, &m.EmailKey, &m.Address, &m.MailID, into(&m.CreatedAt), into(&m.EndsAt)}
}

const mailTokenColumns = `mail_tokens.hash, mail_tokens.purpose, mail_tokens.user_id, mail_tokens.email_key, mail_tokens.address, mail_tokens.mail_id, mail_tokens.created_at, mail_tokens.ends_at`

// AddMailToken adds a token. Earlier tokens of the user for the same purpose end, except those of earlier
// attempts to send the same mail, since their mails may have arrived, and those of MailEmailChanged: a thief
// who changes the address again must not end the first owner's link.
func (db *DB) AddMailToken(ctx context.Context, m MailToken) error {
	return db.do(ctx, func(tx *tx) error {
		tx.lockUser(m.UserID)
		if m.Purpose != MailEmailChanged {
			tx.exec(`DELETE FROM mail_tokens WHERE user_id = $1 AND purpose = $2 AND mail_id <> $3`, m.UserID, m.Purpose, m.MailID)
		}
		tx.setEvidence(`SELECT 1 FROM mail_tokens WHERE hash = $1`, m.Hash)
		return tx.exec(`INSERT INTO mail_tokens (hash, purpose, user_id, email_key, address, mail_id, created_at, ends_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			m.Hash, m.Purpose, m.UserID, m.EmailKey, m.Address, m.MailID, micros(m.CreatedAt), micros(m.EndsAt))
	})
}

// MailTokenByHash returns a token with its user, also if it has ended, or ErrNotFound.
func (db *DB) MailTokenByHash(ctx context.Context, hash []byte) (m MailToken, u User, err error) {
	err = db.reader(ctx).get([]record{&m, &u}, `SELECT `+mailTokenColumns+`, `+userColumns+`
		FROM mail_tokens JOIN users ON users.id = mail_tokens.user_id WHERE mail_tokens.hash = $1`, hash)
	return m, u, err
}

// PurgeMailTokens deletes the tokens that have ended.
func (db *DB) PurgeMailTokens(ctx context.Context) error {
	return db.exec(ctx, `DELETE FROM mail_tokens WHERE ends_at < $1`, micros(db.rowTime()))
}

// spend uses a token up, with all others of its user for the same purpose. It locks the user and returns
// ErrChanged if the token has ended or was used, or if the user is locked out or has another address. A token
// of MailEmailChanged is for users with another address.
func (t *tx) spend(m MailToken, at time.Time) error {
	var email string
	var locked int64
	err := t.row(`SELECT email_key, locked_at FROM users WHERE id = $1`+t.forUpdate("users"), m.UserID).Scan(&email, &locked)
	switch {
	case errors.Is(err, ErrNotFound):
		return ErrChanged
	case err != nil:
		return err
	case locked != 0 || email != m.EmailKey && m.Purpose != MailEmailChanged:
		return ErrChanged
	}
	if t.changed(`DELETE FROM mail_tokens WHERE hash = $1 AND purpose = $2 AND user_id = $3 AND ends_at > $4`, m.Hash, m.Purpose, m.UserID, micros(at)) == 0 {
		return ErrChanged
	}
	return t.exec(`DELETE FROM mail_tokens WHERE user_id = $1 AND purpose = $2`, m.UserID, m.Purpose)
}

// ResetPassword spends a token of a mail and sets the password of its user as ChangePassword does. All
// sessions of the user end. It returns ErrChanged as spend does.
func (db *DB) ResetPassword(ctx context.Context, m MailToken, hash string, until time.Time, e Event) ([]Revocation, error) {
	return write(ctx, db, func(tx *tx) ([]Revocation, error) {
		if err := tx.spend(m, e.At); err != nil {
			return nil, err
		}
		tx.exec(`UPDATE users SET unverified = 0 WHERE id = $1`, m.UserID)
		return tx.changePassword(m.UserID, hash, "", time.Time{}, until, e)
	})
}

// Register adds an unverified user, and a mail with which they prove to own the address. If a user has the
// address, it adds a mail to them instead, and the caller cannot tell. A user who never proved to own it and
// never signed in is registered anew. It returns ErrLookAlike as CreateUser does.
func (db *DB) Register(ctx context.Context, u User, skeletons []string, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		var known User
		err := tx.get([]record{&known}, `SELECT `+userColumns+` FROM users WHERE email_key = $1`+tx.forUpdate("users"), u.EmailKey)
		switch {
		case errors.Is(err, ErrNotFound):
			if err := tx.createUser(u, skeletons, false, e); err != nil {
				return err
			}
			return tx.mail(mailOf(e, MailVerifyEmail, u.ID, ""))
		case err != nil:
			return err
		case !known.Unverified || tx.number(`SELECT count(*) FROM places WHERE user_id = $1`, known.ID) > 0:
			tx.setEvidence(`SELECT 1 FROM outbox WHERE id = $1`, e.ID)
			return tx.mail(mailOf(e, MailAddressTaken, known.ID, ""))
		}
		tx.exec(`UPDATE users SET name = $2, password = $3, password_changed_at = $4, language = $5 WHERE id = $1`,
			known.ID, u.Name, u.Password, micros(u.PasswordChangedAt), u.Language)
		e.UserID = known.ID
		tx.event(e)
		return tx.mail(mailOf(e, MailVerifyEmail, known.ID, ""))
	})
}

// VerifyEmail spends a token that was mailed to a user who registered.
func (db *DB) VerifyEmail(ctx context.Context, m MailToken, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		if err := tx.spend(m, e.At); err != nil {
			return err
		}
		tx.exec(`UPDATE users SET unverified = 0 WHERE id = $1`, m.UserID)
		return tx.event(e)
	})
}

// ChangeEmail spends a token that was mailed to the new address of a user, and gives the user that address.
// The former address gets a mail with a link to undo the change. It returns ErrEmailTaken, ErrLookAlike or
// ErrEmailDeleted for an address that the user cannot have.
func (db *DB) ChangeEmail(ctx context.Context, m MailToken, key string, skeletons []string, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		if err := tx.spend(m, e.At); err != nil {
			return err
		}
		former, err := tx.user(m.UserID)
		if err != nil {
			return err
		}
		if err := tx.setEmail(m.UserID, m.Address, key, skeletons, e.At); err != nil {
			return err
		}
		tx.addNotification(m.UserID, MailEmailChanged, e)
		tx.mail(mailOf(e, MailEmailChanged, m.UserID, former.Email))
		return tx.event(e)
	})
}

// suspectTime is how old a second factor is, when the link to undo a change of the address is made, that the
// link does not remove: a thief adds one shortly before. An older one stays, because the former mailbox may
// be the stolen one.
const suspectTime = 7 * 24 * time.Hour

// UndoEmail spends a token that was mailed to a former address of a user, and gives the user that address
// again. All sessions of the user end, no password is valid until the user sets one by a mail, all other
// tokens in mails to the user end, and second factors younger than suspectTime are removed.
func (db *DB) UndoEmail(ctx context.Context, m MailToken, key string, skeletons []string, until time.Time, e Event, reset Mail) ([]Revocation, error) {
	return write(ctx, db, func(tx *tx) ([]Revocation, error) {
		if err := tx.spend(m, e.At); err != nil {
			return nil, err
		}
		if err := tx.setEmail(m.UserID, m.Address, key, skeletons, e.At); err != nil {
			return nil, err
		}
		tx.exec(`UPDATE users SET password = '', password_changed_at = $2 WHERE id = $1`, m.UserID, micros(e.At))
		tx.exec(`DELETE FROM mail_tokens WHERE user_id = $1`, m.UserID)
		tx.exec(`DELETE FROM outbox WHERE user_id = $1 AND address <> ''`, m.UserID)
		tx.mail(reset)
		revoked := tx.endSessions(m.UserID, "", e.Kind, e.At, until)
		if tx.removeFactors(m.UserID, m.CreatedAt.Add(-suspectTime)) > 0 {
			e.Detail = "second factors removed"
			return revoked, tx.changeFactors(m.UserID, e)
		}
		return revoked, tx.event(e)
	})
}

// setEmail gives a user another address, which is verified. It returns ErrEmailTaken, ErrLookAlike or
// ErrEmailDeleted for an address that the user cannot have.
func (t *tx) setEmail(userID, email, key string, skeletons []string, now time.Time) error {
	t.exec(`UPDATE users SET email = $2, email_key = $3, unverified = 0 WHERE id = $1`, userID, email, key)
	if isUnique(t.err) {
		t.err = ErrEmailTaken
	}
	if t.addressDeleted(key, now) {
		return ErrEmailDeleted
	}
	t.exec(`DELETE FROM skeletons WHERE user_id = $1`, userID)
	if err := t.checkSkeletons(skeletons); err != nil {
		return err
	}
	t.addSkeletons(userID, skeletons)
	return t.err
}

// Invite adds a user without a password, and a mail with which they set one.
func (db *DB) Invite(ctx context.Context, u User, skeletons []string, lookAlike bool, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		if err := tx.createUser(u, skeletons, lookAlike, e); err != nil {
			return err
		}
		return tx.mail(mailOf(e, MailInvitation, u.ID, ""))
	})
}

// AcceptInvitation spends the token of an invitation, and sets the password and, if it is not empty, the
// name of its user.
func (db *DB) AcceptInvitation(ctx context.Context, m MailToken, hash, name string, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		if err := tx.spend(m, e.At); err != nil {
			return err
		}
		tx.exec(`UPDATE users SET password = $2, password_changed_at = $3, unverified = 0, name = CASE WHEN $4 = '' THEN name ELSE $4 END WHERE id = $1`,
			m.UserID, hash, micros(e.At), name)
		return tx.event(e)
	})
}
