package store

import (
	"context"
	"crypto/sha256"
	"errors"
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
	Unlocks           int       // how often UnlockUser was called
	FactorRequiredAt  time.Time // since when a second factor is required of this user; zero if it is not
	FactorRequired    bool      // by FactorRequiredAt or by a group of the user
}

// OwesFactor reports whether a second factor is required of u and u has none.
func (u User) OwesFactor() bool { return u.FactorRequired && u.SecondFactorAt.IsZero() }

const userColumns = `users.id, users.email, users.email_key, users.name, users.password, users.admin, users.created_at, users.password_changed_at, users.locked_at, users.language, users.unverified, users.second_factor_at, users.unlocks, users.factor_required_at,
	CASE WHEN users.factor_required_at > 0 OR EXISTS (
		SELECT 1 FROM user_groups JOIN factor_groups ON factor_groups.name = user_groups.name WHERE user_groups.user_id = users.id) THEN 1 ELSE 0 END`

func (u *User) fields() []any {
	return []any{&u.ID, &u.Email, &u.EmailKey, &u.Name, &u.Password, &u.Admin, into(&u.CreatedAt), into(&u.PasswordChangedAt), into(&u.LockedAt), &u.Language, &u.Unverified, into(&u.SecondFactorAt), &u.Unlocks, into(&u.FactorRequiredAt), &u.FactorRequired}
}

// CreateUser adds a user. It returns ErrEmailTaken if the address has an account, or ErrLookAlike if it
// has a skeleton in common with the address of one and lookAlike is false.
func (db *DB) CreateUser(ctx context.Context, u User, skeletons []string, lookAlike bool, e Event) error {
	return db.do(ctx, func(tx *tx) error { return tx.createUser(u, skeletons, lookAlike, e) })
}

// metaImported is the row of the table meta with the costs of imported hashes: for each, a hash of that
// cost that belongs to no user.
const metaImported = "imported_hashes"

// metaImport is the row of the table meta with the state of an import that has not ended.
const metaImport = "import"

// ImportedUser is a user with the hash of another product. Blank is a hash of the same cost that belongs
// to no user; Blank and User.Password are empty for a user without a password.
type ImportedUser struct {
	User      User
	Skeletons []string
	Event     Event
	Blank     string
}

// ImportOptions are the options of ImportUsers.
type ImportOptions struct {
	LookAlike bool     // adds users whose address looks like that of another one
	Most      int      // number of costs that imported hashes may have
	Costs     []string // blank hashes of other costs that count
	DryRun    bool     // writes nothing

	// Was is the state that the last call stored, empty before the first. Next is called with the
	// result and returns the state to store; it may be called several times.
	Was  string
	Next func(faults []error) (string, error)
}

// ImportUsers adds users as CreateUser does, all in one transaction with the state of their import, and
// adds the costs of their hashes to ImportedHashes. A fault keeps out its user alone: ErrEmailTaken,
// ErrEmailDeleted, ErrLookAlike, or ErrTooMany if the hashes would have more costs than Most. It returns ErrChanged if
// another import stored its state since.
func (db *DB) ImportUsers(ctx context.Context, users []ImportedUser, o ImportOptions) ([]error, error) {
	var faults []error
	err := db.do(ctx, func(tx *tx) error {
		faults = make([]error, len(users))
		_ = tx.lock(metaImported)
		_ = tx.lock("skeletons") // no address is added meanwhile
		if state := tx.meta(metaImport); tx.err == nil && state != o.Was {
			return ErrChanged
		}
		costs := strings.Fields(tx.meta(metaImported))
		known := len(costs)
		for _, c := range o.Costs {
			if !slices.Contains(costs, c) {
				costs = append(costs, c)
			}
		}
		for i, u := range users {
			isNew := u.Blank != "" && !slices.Contains(costs, u.Blank)
			switch {
			case tx.number(`SELECT count(*) FROM users WHERE email_key = $1`, u.User.EmailKey) > 0:
				faults[i] = ErrEmailTaken
			case tx.addressDeleted(u.User.EmailKey, u.Event.At):
				faults[i] = ErrEmailDeleted
			case isNew && len(costs) >= o.Most:
				faults[i] = ErrTooMany
			case !o.LookAlike && errors.Is(tx.checkSkeletons(u.Skeletons), ErrLookAlike):
				faults[i] = ErrLookAlike
			default:
				if isNew {
					costs = append(costs, u.Blank)
				}
				_ = tx.createUser(u.User, u.Skeletons, true, u.Event)
			}
		}
		if len(costs) > known {
			_ = tx.SetMeta(metaImported, strings.Join(costs, "\n"))
		}
		if tx.err != nil {
			return tx.err
		}
		if o.DryRun {
			return errDryRun
		}
		state, err := o.Next(faults)
		if err != nil {
			return err
		}
		return tx.SetMeta(metaImport, state)
	})
	if o.DryRun && errors.Is(err, errDryRun) {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return faults, nil
}

// errDryRun takes the writes of a dry run back.
var errDryRun = errors.New("store: nothing is written")

// ImportState returns the state of an import that has not ended, empty if there is none.
func (db *DB) ImportState(ctx context.Context) (string, error) {
	reader := db.reader(ctx)
	state := reader.meta(metaImport)
	return state, classify(reader.err)
}

// EndImport removes the state of an import. It returns ErrChanged if the state is not was.
func (db *DB) EndImport(ctx context.Context, was string) error {
	return db.do(ctx, func(tx *tx) error {
		_ = tx.lock(metaImported)
		if tx.meta(metaImport) != was {
			return ErrChanged
		}
		return tx.exec(`DELETE FROM meta WHERE name = $1`, metaImport)
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
	if t.addressDeleted(u.EmailKey, e.At) { // after INSERT, which waits for a transaction that deletes a user
		return ErrEmailDeleted
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

// UnlockUser lets a user sign in again. It changes Unlocks of the user, so that earlier failed attempts
// count no more.
func (db *DB) UnlockUser(ctx context.Context, id string, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		if tx.changed(`UPDATE users SET locked_at = 0, unlocks = unlocks + 1 WHERE id = $1`, id) == 0 {
			return ErrNotFound
		}
		return tx.event(e)
	})
}

// UserChange is what SetUser changes. A nil field stays as it is.
type UserChange struct {
	Name, Email, EmailKey *string
	Skeletons             []string // of the address
	Admin                 *bool
}

// SetUser changes a user, all or nothing. Sessions end if the user is no administrator any more. With
// another address all links in mails to the user end, also those to a former address that undo a change.
// SetUser returns ErrEmailTaken, ErrLookAlike or ErrEmailDeleted for an address that the user cannot have.
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
		if c.Email != nil {
			if err := tx.setEmail(id, *c.Email, *c.EmailKey, c.Skeletons, e.At); err != nil {
				return nil, err
			}
			tx.exec(`DELETE FROM mail_tokens WHERE user_id = $1`, id)
			tx.exec(`DELETE FROM outbox WHERE user_id = $1 AND address <> ''`, id)
			tx.addNotification(id, MailEmailChanged, e)
		}
		return revoked, tx.event(e)
	})
}

// addressKept is the time for which no user can get the address of a deleted one.
const addressKept = 30 * 24 * time.Hour

// addressHash returns the form in which deleted_addresses has an address.
func addressHash(key string) []byte {
	sum := sha256.Sum256([]byte(key))
	return sum[:]
}

// addressDeleted reports whether an address was that of a user who was deleted not long ago.
func (t *tx) addressDeleted(key string, now time.Time) bool {
	return t.number(`SELECT count(*) FROM deleted_addresses WHERE hash = $1 AND deleted_at > $2`, addressHash(key), micros(now.Add(-addressKept))) > 0
}

// DeleteUser deletes a user with everything that belongs to them and ends their sessions. The security
// log keeps the id. For addressKept no user can get the address.
func (db *DB) DeleteUser(ctx context.Context, id string, until time.Time, e Event) ([]Revocation, error) {
	return write(ctx, db, func(tx *tx) ([]Revocation, error) {
		tx.lockUser(id)
		u, err := tx.user(id)
		if err != nil {
			return nil, err
		}
		revoked := tx.endSessions(id, "", e.Kind, e.At, until)
		tx.exec(`DELETE FROM deleted_addresses WHERE deleted_at <= $1`, micros(e.At.Add(-addressKept)))
		tx.exec(`INSERT INTO deleted_addresses (hash, deleted_at) VALUES ($1, $2) ON CONFLICT (hash) DO UPDATE SET deleted_at = excluded.deleted_at`,
			addressHash(u.EmailKey), micros(e.At))
		tx.exec(`DELETE FROM outbox WHERE user_id = $1`, id)
		tx.exec(`DELETE FROM users WHERE id = $1`, id) // with all rows that reference it
		return revoked, tx.event(e)
	})
}

// Groups returns the groups of a user in their order.
func (db *DB) Groups(ctx context.Context, userID string) ([]string, error) {
	return texts(db.reader(ctx), `SELECT name FROM user_groups WHERE user_id = $1 ORDER BY name`, userID)
}

// GroupSize is a group with the number of its users.
type GroupSize struct {
	Name           string
	Users          int
	FactorRequired bool // of its users
}

// GroupSizes returns all groups that have users or require a second factor, in the order of their names.
func (db *DB) GroupSizes(ctx context.Context) ([]GroupSize, error) {
	return collect(db.reader(ctx), func(g *GroupSize) []any { return []any{&g.Name, &g.Users, &g.FactorRequired} },
		`SELECT name, CAST(sum(users) AS BIGINT), CAST(sum(required) AS BIGINT) FROM
			(SELECT name, count(*) AS users, 0 AS required FROM user_groups GROUP BY name UNION ALL SELECT name, 0, 1 FROM factor_groups) AS parts
			GROUP BY name ORDER BY name`)
}

// FactorGroups returns those groups of a user that require a second factor, in their order.
func (db *DB) FactorGroups(ctx context.Context, userID string) ([]string, error) {
	return texts(db.reader(ctx), `SELECT user_groups.name FROM user_groups JOIN factor_groups ON factor_groups.name = user_groups.name
		WHERE user_groups.user_id = $1 ORDER BY user_groups.name`, userID)
}

// RequireFactor sets whether a second factor is required of a user, whatever the groups of the user
// require. It returns ErrNotFound if the user does not exist. Without a change it records no event.
func (db *DB) RequireFactor(ctx context.Context, userID string, required bool, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		tx.lockUser(userID)
		u, err := tx.user(userID)
		if err != nil || required == !u.FactorRequiredAt.IsZero() {
			return err
		}
		at := e.At
		if !required {
			at = time.Time{}
		}
		tx.exec(`UPDATE users SET factor_required_at = $2 WHERE id = $1`, userID, micros(at))
		return tx.event(e)
	})
}

// RequireFactorOfGroup sets whether a group requires a second factor of its users. The group may have none.
// It returns ErrTooMany if most groups require one. Without a change it records no event.
func (db *DB) RequireFactorOfGroup(ctx context.Context, group string, required bool, most int, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		if !required {
			if tx.changed(`DELETE FROM factor_groups WHERE name = $1`, group) == 0 {
				return tx.err
			}
			return tx.event(e)
		}
		_ = tx.lock("factor_groups")
		if tx.changed(`INSERT INTO factor_groups (name, required_at) VALUES ($1, $2) ON CONFLICT DO NOTHING`, group, micros(e.At)) == 0 {
			return tx.err
		}
		if tx.number(`SELECT count(*) FROM factor_groups`) > int64(most) {
			return ErrTooMany
		}
		return tx.event(e)
	})
}

// AddToGroup adds a user to a group. It returns ErrNotFound if the user does not exist, and ErrTooMany
// above most groups.
func (db *DB) AddToGroup(ctx context.Context, userID, group string, most int, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		tx.lockUser(userID)
		if _, err := tx.user(userID); err != nil {
			return err
		}
		if tx.changed(`INSERT INTO user_groups (user_id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING`, userID, group) == 0 {
			return tx.err // is in it already
		}
		if tx.number(`SELECT count(*) FROM user_groups WHERE user_id = $1`, userID) > int64(most) {
			return ErrTooMany
		}
		return tx.event(e)
	})
}

// RemoveFromGroup removes a user from a group and ends the sessions of applications of the user, which may have
// rights that the group gave. It returns ErrNotFound if the user is not in the group.
func (db *DB) RemoveFromGroup(ctx context.Context, userID, group string, until time.Time, e Event) ([]Revocation, error) {
	return write(ctx, db, func(tx *tx) (revoked []Revocation, err error) {
		tx.lockUser(userID)
		if tx.changed(`DELETE FROM user_groups WHERE user_id = $1 AND name = $2`, userID, group) == 0 {
			return nil, ErrNotFound
		}
		ids, _ := texts(tx, `SELECT id FROM sessions WHERE user_id = $1 AND client_id <> '`+firstParty+`' AND ended_at = 0 ORDER BY id`+tx.forUpdate("sessions"), userID)
		for _, id := range ids {
			revoked = append(revoked, tx.endOne(id, e.Kind, e.At, until))
		}
		return revoked, tx.event(e)
	})
}
