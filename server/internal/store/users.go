package store

import (
	"context"
	"slices"
	"strings"
	"time"
)

// User is an account.
type User struct {
	ID                string
	Email             string // as the user typed it
	EmailKey          string // normalized for comparison; unique
	Name              string
	Password          string // PHC string
	Admin             bool
	CreatedAt         time.Time
	PasswordChangedAt time.Time
	LockedAt          time.Time // zero if not locked
	Language          string    // of the last sign-in, such as "en"; empty if unknown
	Unverified        bool      // registered and has not yet proved to own the address
	SecondFactorAt    time.Time // since when a sign-in needs a second factor; zero if it needs none
}

const userColumns = `users.id, users.email, users.email_key, users.name, users.password, users.admin, users.created_at, users.password_changed_at, users.locked_at, users.language, users.unverified, users.second_factor_at`

func (u *User) fields() []any {
	return []any{&u.ID, &u.Email, &u.EmailKey, &u.Name, &u.Password, &u.Admin, into(&u.CreatedAt), into(&u.PasswordChangedAt), into(&u.LockedAt), &u.Language, &u.Unverified, into(&u.SecondFactorAt)}
}

// CreateUser adds a user. It returns ErrEmailTaken if the address has an account, or ErrLookAlike if it
// has a skeleton in common with the address of one and lookAlike is false.
func (db *DB) CreateUser(ctx context.Context, u User, skeletons []string, lookAlike bool, e Event) error {
	return db.do(ctx, func(tx *tx) error { return tx.createUser(u, skeletons, lookAlike, e) })
}

// metaImported is the row of the table meta with the costs of imported hashes: for each, a hash of that
// cost that belongs to no user.
const metaImported = "imported_hashes"

// ImportUser adds a user as CreateUser does, with the hash of another product. It adds blank, a hash of
// the same cost that belongs to no user, to ImportedHashes. It returns ErrTooMany if these would be more
// than most.
func (db *DB) ImportUser(
	ctx context.Context, u User, skeletons []string, lookAlike bool, e Event, blank string, most int,
) error {
	return db.do(ctx, func(tx *tx) error {
		_ = tx.lock(metaImported)
		costs := strings.Fields(tx.meta(metaImported))
		if tx.err == nil && !slices.Contains(costs, blank) {
			if len(costs) >= most {
				return ErrTooMany
			}
			_ = tx.SetMeta(metaImported, strings.Join(append(costs, blank), "\n"))
		}
		return tx.createUser(u, skeletons, lookAlike, e)
	})
}

// ImportedHashes returns a hash of each cost of the imported hashes.
func (db *DB) ImportedHashes(ctx context.Context) ([]string, error) {
	reader := db.reader(ctx)
	costs := reader.meta(metaImported)
	if reader.err != nil {
		return nil, classify(reader.err)
	}
	return strings.Fields(costs), nil
}

// DropImportedHashes removes those costs from ImportedHashes that no user has any more. pattern returns
// the pattern of LIKE for the hashes of a cost.
func (db *DB) DropImportedHashes(ctx context.Context, pattern func(blank string) string) error {
	if costs, err := db.ImportedHashes(ctx); err != nil || len(costs) == 0 {
		return err
	}
	return db.do(ctx, func(tx *tx) error {
		_ = tx.lock(metaImported)
		var left []string
		for _, blank := range strings.Fields(tx.meta(metaImported)) {
			if tx.number(`SELECT count(*) FROM users WHERE password LIKE $1`, pattern(blank)) > 0 {
				left = append(left, blank)
			}
		}
		return tx.SetMeta(metaImported, strings.Join(left, "\n"))
	})
}

func (t *tx) createUser(u User, skeletons []string, lookAlike bool, e Event) error {
	t.exec(`INSERT INTO users (id, email, email_key, name, password, admin, created_at, password_changed_at, locked_at, language, unverified) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		u.ID, u.Email, u.EmailKey, u.Name, u.Password, flag(u.Admin), micros(u.CreatedAt), micros(u.PasswordChangedAt), micros(u.LockedAt), u.Language, flag(u.Unverified))
	if isUnique(t.err) {
		t.err = ErrEmailTaken
	}
	if !lookAlike {
		if err := t.checkSkeletons(skeletons); err != nil {
			return err
		}
	}
	t.addSkeletons(u.ID, skeletons)
	return t.event(e)
}

// UserByID returns a user or ErrNotFound.
func (db *DB) UserByID(ctx context.Context, id string) (User, error) {
	return db.reader(ctx).user(id)
}

func (t *tx) user(id string) (u User, err error) {
	err = t.get([]record{&u}, `SELECT `+userColumns+` FROM users WHERE id = $1`, id)
	return u, err
}

// UserByEmailKey returns the user with a normalized address, or ErrNotFound.
func (db *DB) UserByEmailKey(ctx context.Context, key string) (u User, err error) {
	err = db.reader(ctx).get([]record{&u}, `SELECT `+userColumns+` FROM users WHERE email_key = $1`, key)
	return u, err
}

// Users returns a page of users in the order of their addresses, beginning after the address after.
func (db *DB) Users(ctx context.Context, after string, limit int) ([]User, error) {
	return list[User](db.reader(ctx), `SELECT `+userColumns+` FROM users WHERE email_key > $1 ORDER BY email_key LIMIT $2`, after, limit)
}

// UserFilter selects users. A zero field matches all.
type UserFilter struct {
	Search string // part of the address or of the name, or the id; small and capital letters of ASCII are the same
	Admin  bool   // only administrators
	Locked bool   // only locked users
	After  string // id of the last user of the page before
	Limit  int
}

// FindUsers returns a page of users, newest first.
func (db *DB) FindUsers(ctx context.Context, f UserFilter) ([]User, error) {
	part := "%" + strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(strings.ToLower(f.Search)) + "%"
	return list[User](db.reader(ctx), `SELECT `+userColumns+` FROM users
		WHERE (email_key LIKE $1 ESCAPE '\' OR lower(name) LIKE $1 ESCAPE '\' OR id = $6) AND ($2 = 0 OR admin = 1) AND ($3 = 0 OR locked_at > 0) AND ($4 = '' OR id < $4)
		ORDER BY id DESC LIMIT $5`, part, flag(f.Admin), flag(f.Locked), f.After, f.Limit, f.Search)
}

// UserChange holds new properties of a user. A nil field stays as it is.
type UserChange struct {
	Name  *string
	Admin *bool
}

// SetUser changes a user, all or nothing. The sessions of a user who is no longer an administrator end: it
// returns their revocations, which last until until.
func (db *DB) SetUser(ctx context.Context, id string, c UserChange, until time.Time, e Event) ([]Revocation, error) {
	return write(ctx, db, func(tx *tx) (revoked []Revocation, err error) {
		tx.lockUser(id)
		u, err := tx.user(id)
		if err != nil {
			return nil, err
		}
		if c.Name != nil {
			tx.exec(`UPDATE users SET name = $2 WHERE id = $1`, id, *c.Name)
		}
		if c.Admin != nil {
			tx.exec(`UPDATE users SET admin = $2 WHERE id = $1`, id, flag(*c.Admin))
			if u.Admin && !*c.Admin {
				revoked = tx.endSessions(id, "", e.Kind, e.At, until)
			}
		}
		return revoked, tx.event(e)
	})
}

// DeleteUser ends all sessions of a user and deletes the user with all that belongs to them. The security
// log keeps the id. It returns the revocations, which last until until.
func (db *DB) DeleteUser(ctx context.Context, id string, until time.Time, e Event) ([]Revocation, error) {
	return write(ctx, db, func(tx *tx) ([]Revocation, error) {
		tx.lockUser(id)
		revoked := tx.endSessions(id, "", e.Kind, e.At, until)
		tx.exec(`DELETE FROM outbox WHERE user_id = $1`, id)
		if tx.changed(`DELETE FROM users WHERE id = $1`, id) == 0 {
			return nil, ErrNotFound
		}
		return revoked, tx.event(e)
	})
}

// SetName changes a user's name and returns the user.
func (db *DB) SetName(ctx context.Context, id, name string) (User, error) {
	return write(ctx, db, func(tx *tx) (User, error) {
		tx.exec(`UPDATE users SET name = $2 WHERE id = $1`, id, name)
		return tx.user(id)
	})
}

// lockUser locks the row of a user until the transaction ends. It does nothing if the user does not exist.
func (t *tx) lockUser(id string) {
	var locked string
	_ = t.row(`SELECT id FROM users WHERE id = $1`+t.forUpdate("users"), id).Scan(&locked)
}

// checkUnchanged locks the row of a user until the transaction ends. It returns ErrChanged if the user is
// locked out, or has another password or second factor than the user was, and ErrNotFound if the user does
// not exist.
func (t *tx) checkUnchanged(id string, was User) error {
	var locked, changed, factor int64
	err := t.row(`SELECT locked_at, password_changed_at, second_factor_at FROM users WHERE id = $1`+t.forUpdate("users"), id).Scan(&locked, &changed, &factor)
	if err != nil {
		return err
	}
	if locked != 0 || changed != micros(was.PasswordChangedAt) || factor != micros(was.SecondFactorAt) {
		return ErrChanged
	}
	return nil
}

// SetPasswordHash replaces the hash of an unchanged password, for example by one with new parameters. It
// does nothing if the hash is no longer old.
func (db *DB) SetPasswordHash(ctx context.Context, id, old, hash string) error {
	return db.exec(ctx, `UPDATE users SET password = $3 WHERE id = $1 AND password = $2`, id, old, hash)
}

// ChangePassword sets a password, ends all sessions of the user except keep, and notifies the user. It
// returns the revocations, which last until until. The argument was is the PasswordChangedAt of the
// password that the caller verified: if another was set since, ChangePassword returns ErrChanged and
// changes nothing. The zero time skips that check.
func (db *DB) ChangePassword(ctx context.Context, id, hash, keep string, was, until time.Time, e Event) ([]Revocation, error) {
	return write(ctx, db, func(tx *tx) ([]Revocation, error) { return tx.changePassword(id, hash, keep, was, until, e) })
}

// ChangePasswordWithCookie changes a password as ChangePassword does, and replaces the cookie of the
// session that stays as ProveWithCookie does: both or, if it returns an error, neither.
func (db *DB) ChangePasswordWithCookie(
	ctx context.Context, hash string, until time.Time, e Event, r CookieRenewal,
) ([]Revocation, error) {
	return write(ctx, db, func(tx *tx) ([]Revocation, error) {
		r := r // the transaction may run more than once
		revoked, err := tx.changePassword(r.Proof.User.ID, hash, r.Proof.SessionID, r.Proof.User.PasswordChangedAt, until, e)
		if err != nil {
			return nil, err
		}
		r.Proof.User.PasswordChangedAt = e.At
		return revoked, tx.renewCookie(r, db.TokenTime())
	})
}

func (t *tx) changePassword(id, hash, keep string, was, until time.Time, e Event) ([]Revocation, error) {
	n := t.changed(`UPDATE users SET password = $2, password_changed_at = $3 WHERE id = $1 AND (CAST($4 AS BIGINT) = 0 OR password_changed_at = $4)`, id, hash, micros(e.At), micros(was))
	if n == 0 {
		if _, err := t.user(id); err != nil {
			return nil, err
		}
		return nil, ErrChanged
	}
	revoked := t.endSessions(id, keep, e.Kind, e.At, until)
	t.exec(`DELETE FROM mail_tokens WHERE user_id = $1 AND purpose IN ($2, $3)`, id, MailResetPassword, MailInvitation)
	t.notify(id, "password_changed", e)
	return revoked, t.event(e)
}

// LockUser locks a user out and ends all their sessions.
func (db *DB) LockUser(ctx context.Context, id string, until time.Time, e Event) ([]Revocation, error) {
	return write(ctx, db, func(tx *tx) ([]Revocation, error) {
		if tx.changed(`UPDATE users SET locked_at = $2 WHERE id = $1`, id, micros(e.At)) == 0 {
			return nil, ErrNotFound
		}
		revoked := tx.endSessions(id, "", e.Kind, e.At, until)
		tx.notify(id, "account_locked", e)
		return revoked, tx.event(e)
	})
}

// UnlockUser lets a user sign in again.
func (db *DB) UnlockUser(ctx context.Context, id string, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		if tx.changed(`UPDATE users SET locked_at = 0 WHERE id = $1`, id) == 0 {
			return ErrNotFound
		}
		return tx.event(e)
	})
}
