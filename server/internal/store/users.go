package store

import (
	"context"
	"errors"
	"time"
)

// User is a person with an account.
type User struct {
	ID                string
	Email             string // as typed
	EmailKey          string // as compared; unique
	Name              string
	Password          string // PHC string
	Admin             bool
	CreatedAt         time.Time
	PasswordChangedAt time.Time
	LockedAt          time.Time // zero while not locked
}

const userColumns = `users.id, users.email, users.email_key, users.name, users.password, users.admin, users.created_at, users.password_changed_at, users.locked_at`

// into lists where the columns of a user go; done turns the times.
func (u *User) into() (fields []any, done func()) {
	var admin int
	var times [3]int64
	return []any{&u.ID, &u.Email, &u.EmailKey, &u.Name, &u.Password, &admin, &times[0], &times[1], &times[2]}, func() {
		u.Admin = admin != 0
		u.CreatedAt, u.PasswordChangedAt, u.LockedAt = moment(times[0]), moment(times[1]), moment(times[2])
	}
}

func scanUser(row scanner) (User, error) {
	var u User
	fields, done := u.into()
	if err := row.Scan(fields...); err != nil {
		return User{}, classify(err)
	}
	done()
	return u, nil
}

// CreateUser adds a person. It returns ErrEmailTaken where the address has an
// account.
func (db *DB) CreateUser(ctx context.Context, u User, e Event) error {
	if err := text(u.ID, u.Email, u.EmailKey, u.Name, u.Password); err != nil {
		return err
	}
	return db.do(ctx, func(tx *tx) error {
		_, err := tx.exec(`INSERT INTO users (id, email, email_key, name, password, admin, created_at, password_changed_at, locked_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			u.ID, u.Email, u.EmailKey, u.Name, u.Password, flag(u.Admin), micros(u.CreatedAt), micros(u.PasswordChangedAt), micros(u.LockedAt))
		if isUnique(err) {
			return ErrEmailTaken
		} else if err != nil {
			return err
		}
		return tx.event(e)
	})
}

// UserByID returns a person or ErrNotFound.
func (db *DB) UserByID(ctx context.Context, id string) (User, error) {
	return db.reader(ctx).user(id)
}

func (t *tx) user(id string) (User, error) {
	if err := text(id); err != nil {
		return User{}, ErrNotFound
	}
	return scanUser(t.row(`SELECT `+userColumns+` FROM users WHERE id = $1`, id))
}

// UserByEmailKey returns the person with an address in compared form, or
// ErrNotFound.
func (db *DB) UserByEmailKey(ctx context.Context, key string) (User, error) {
	if err := text(key); err != nil {
		return User{}, ErrNotFound
	}
	return scanUser(db.reader(ctx).row(`SELECT `+userColumns+` FROM users WHERE email_key = $1`, key))
}

// Users returns a page of people in the order of their addresses, from after the
// address named.
func (db *DB) Users(ctx context.Context, after string, limit int) ([]User, error) {
	if err := text(after); err != nil {
		return nil, err
	}
	return collect(db.reader(ctx), scanUser, `SELECT `+userColumns+` FROM users WHERE email_key > $1 ORDER BY email_key LIMIT $2`, after, limit)
}

// SetName changes a person's name and returns the person.
func (db *DB) SetName(ctx context.Context, id, name string) (User, error) {
	if err := text(id, name); err != nil {
		return User{}, err
	}
	return made(ctx, db, func(tx *tx) (User, error) {
		if n, err := tx.changed(`UPDATE users SET name = $2 WHERE id = $1`, id, name); err != nil || n == 0 {
			return User{}, orNotFound(err)
		}
		return tx.user(id)
	})
}

func orNotFound(err error) error {
	if err == nil {
		return ErrNotFound
	}
	return err
}

// lockUser keeps a person as they are until the deed has ended; whoever is nobody
// is none to keep.
func (t *tx) lockUser(id string) error {
	var locked string
	err := t.row(`SELECT id FROM users WHERE id = $1`+t.locked("users"), id).Scan(&locked)
	if errors.Is(classify(err), ErrNotFound) {
		return nil
	}
	return err
}

// unchanged keeps a person as they were judged until the deed has ended. It returns
// ErrChanged where the person has been locked since, or has a password of another
// time than was, and ErrNotFound where there is nobody.
func (t *tx) unchanged(id string, was time.Time) error {
	var locked, changed int64
	if err := t.row(`SELECT locked_at, password_changed_at FROM users WHERE id = $1`+t.locked("users"), id).Scan(&locked, &changed); err != nil {
		return err
	}
	if locked != 0 || changed != micros(was) {
		return ErrChanged
	}
	return nil
}

// SetPasswordHash stores the same password under a newer hash, unless it was
// changed meanwhile.
func (db *DB) SetPasswordHash(ctx context.Context, id, old, hash string) error {
	return db.do(ctx, func(tx *tx) error {
		_, err := tx.exec(`UPDATE users SET password = $3 WHERE id = $1 AND password = $2`, id, old, hash)
		return err
	})
}

// ChangePassword sets a password, ends all sessions of the person but keep, and
// tells the person. What it returns is revoked until the time given. was is the
// PasswordChangedAt of the password that was judged: where another has been set
// since, ErrChanged is returned and nothing changes. The zero time is any.
func (db *DB) ChangePassword(ctx context.Context, id, hash, keep string, was, until time.Time, e Event) ([]Revocation, error) {
	if err := text(id, hash, keep); err != nil {
		return nil, err
	}
	return made(ctx, db, func(tx *tx) ([]Revocation, error) { return tx.changePassword(id, hash, keep, was, until, e) })
}

// ChangePasswordWithCookie changes a password as ChangePassword does, and replaces the cookie of the
// session that stays as ProveWithCookie does: both or, if it returns an error, neither.
func (db *DB) ChangePasswordWithCookie(
	ctx context.Context, hash string, until time.Time, e Event, r CookieRenewal,
) ([]Revocation, error) {
	return made(ctx, db, func(tx *tx) ([]Revocation, error) {
		r := r // the transaction may run more than once
		revoked, err := tx.changePassword(r.Proof.UserID, hash, r.Proof.SessionID, r.Proof.PasswordChangedAt, until, e)
		if err != nil {
			return nil, err
		}
		r.Proof.PasswordChangedAt = e.At
		return revoked, tx.renewCookie(r)
	})
}

func (t *tx) changePassword(id, hash, keep string, was, until time.Time, e Event) ([]Revocation, error) {
	n, err := t.changed(`UPDATE users SET password = $2, password_changed_at = $3 WHERE id = $1 AND (CAST($4 AS BIGINT) = 0 OR password_changed_at = $4)`, id, hash, micros(e.At), micros(was))
	if err != nil {
		return nil, err
	}
	if n == 0 {
		if _, err := t.user(id); err != nil {
			return nil, err
		}
		return nil, ErrChanged
	}
	revoked, err := t.endSessions(id, keep, e.Kind, e.At, until)
	if err != nil {
		return nil, err
	}
	if err := t.notify(id, "password_changed", e); err != nil {
		return nil, err
	}
	return revoked, t.event(e)
}

// LockUser keeps a person from signing in and ends all their sessions.
func (db *DB) LockUser(ctx context.Context, id string, until time.Time, e Event) ([]Revocation, error) {
	if err := text(id); err != nil {
		return nil, ErrNotFound
	}
	return made(ctx, db, func(tx *tx) (revoked []Revocation, err error) {
		if n, err := tx.changed(`UPDATE users SET locked_at = $2 WHERE id = $1`, id, micros(e.At)); err != nil || n == 0 {
			return nil, orNotFound(err)
		}
		if revoked, err = tx.endSessions(id, "", e.Kind, e.At, until); err != nil {
			return nil, err
		}
		return revoked, tx.event(e)
	})
}

// UnlockUser lets a person sign in again.
func (db *DB) UnlockUser(ctx context.Context, id string, e Event) error {
	if err := text(id); err != nil {
		return ErrNotFound
	}
	return db.do(ctx, func(tx *tx) error {
		if n, err := tx.changed(`UPDATE users SET locked_at = 0 WHERE id = $1`, id); err != nil || n == 0 {
			return orNotFound(err)
		}
		return tx.event(e)
	})
}
