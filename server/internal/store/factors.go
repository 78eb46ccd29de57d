package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Names of second factors, as clients send them.
const (
	FactorTOTP         = "totp"
	FactorRecoveryCode = "recovery_code"
	FactorPasskey      = "passkey"
)

const (
	maxFactorFailures  = 100       // without a success; then the factor is locked (NIST SP 800-63B-4 s3.2.2)
	factorFailuresHour = 10        // in factorWindow
	factorWindow       = time.Hour // exact, not of the clock
)

// TOTP is the seed of a user's authenticator app.
type TOTP struct {
	ID, UserID  string
	Sealed      []byte
	CreatedAt   time.Time
	ConfirmedAt time.Time // zero before: the seed does not count yet
	LastStep    int64     // of the last accepted code
}

const totpColumns = `totp.id, totp.user_id, totp.sealed, totp.created_at, totp.confirmed_at, totp.last_step`

func (s *TOTP) fields() []any {
	return []any{&s.ID, &s.UserID, &s.Sealed, into(&s.CreatedAt), into(&s.ConfirmedAt), &s.LastStep}
}

// Factors are the second factors of a user.
type Factors struct {
	Passkeys      int
	TOTP          TOTP // zero if there is none that was confirmed
	RecoveryCodes int  // that are left
	Locked        []string
}

// Usable returns the names of the factors that can be used, the strongest first.
func (f Factors) Usable() []string {
	all := []string{}
	if f.Passkeys > 0 {
		all = append(all, FactorPasskey)
	}
	if f.TOTP.ID != "" {
		all = append(all, FactorTOTP)
	}
	if f.RecoveryCodes > 0 {
		all = append(all, FactorRecoveryCode)
	}
	return slices.DeleteFunc(all, func(name string) bool { return slices.Contains(f.Locked, name) })
}

// Factors returns the second factors of a user.
func (db *DB) Factors(ctx context.Context, userID string) (f Factors, err error) {
	reader := db.reader(ctx)
	if err := reader.get([]record{&f.TOTP}, `SELECT `+totpColumns+` FROM totp WHERE user_id = $1 AND confirmed_at > 0`, userID); err != nil && !errors.Is(err, ErrNotFound) {
		return Factors{}, err
	}
	f.Passkeys = int(reader.number(`SELECT count(*) FROM passkeys WHERE user_id = $1`, userID))
	f.RecoveryCodes = int(reader.number(`SELECT count(*) FROM recovery_codes WHERE user_id = $1`, userID))
	if f.Locked, err = texts(reader, `SELECT factor FROM factor_failures WHERE user_id = $1 AND total >= $2 ORDER BY factor`, userID, maxFactorFailures); err != nil {
		return Factors{}, err
	}
	return f, classify(reader.err)
}

// Seeds returns a page of the seeds of all users, in the order of their ids, from the first after the id after.
func (db *DB) Seeds(ctx context.Context, after string, limit int) ([]TOTP, error) {
	return list[TOTP](db.reader(ctx), `SELECT `+totpColumns+` FROM totp WHERE id > $1 ORDER BY id LIMIT $2`, after, limit)
}

// FactorTry is a try of a second factor of a user.
type FactorTry struct {
	UserID string
	Factor string
	At     time.Time
	Hash   []byte // of a recovery code; nil if the code cannot be one
	Locked Event  // recorded if this failure locks the factor
	Used   Event  // recorded, with a notification, if this is a right recovery code; its detail is set then

	// Verify verifies a code of TOTP and returns its step. It may run more than once.
	Verify func(TOTP) (step int64, ok bool, err error)
}

// FactorVerdict is the result of a FactorTry.
type FactorVerdict struct {
	Tried bool          // the code was verified; false if a limit refused it
	Right bool          // and spent
	Void  bool          // this failure made the sign-in void
	Wait  time.Duration // until the next try, if there were too many failures in an hour; 0 if the factor is locked
}

// TryFactor verifies a code, spends it if it is right, and counts it if it is wrong.
func (db *DB) TryFactor(ctx context.Context, f FactorTry) (FactorVerdict, error) {
	return write(ctx, db, func(tx *tx) (FactorVerdict, error) { return tx.tryFactor(f) })
}

func (t *tx) tryFactor(f FactorTry) (v FactorVerdict, err error) {
	t.lockUser(f.UserID)
	var total int
	var recent microsColumn
	err = t.row(`SELECT total, recent FROM factor_failures WHERE user_id = $1 AND factor = $2`, f.UserID, f.Factor).Scan(&total, &recent)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return v, err
	}
	recent = slices.DeleteFunc(recent, func(at time.Time) bool { return !at.After(f.At.Add(-factorWindow)) })
	switch {
	case total >= maxFactorFailures:
		return v, nil
	case len(recent) >= factorFailuresHour:
		v.Wait = recent[len(recent)-factorFailuresHour].Add(factorWindow).Sub(f.At)
		return v, nil
	}
	v.Tried = true
	if v.Right, err = t.spendFactor(f); err != nil {
		return v, err
	}
	if v.Right {
		if f.Factor == FactorRecoveryCode {
			used := f.Used
			used.Detail = fmt.Sprintf("%d left", t.number(`SELECT count(*) FROM recovery_codes WHERE user_id = $1`, f.UserID))
			t.notify(f.UserID, used.Kind, used)
			t.event(used)
		}
		return v, t.forgetFactor(f.UserID, f.Factor)
	}
	t.exec(`INSERT INTO factor_failures (user_id, factor, total, recent) VALUES ($1, $2, 1, $3)
		ON CONFLICT (user_id, factor) DO UPDATE SET total = factor_failures.total + 1, recent = excluded.recent`,
		f.UserID, f.Factor, append(recent, f.At).text())
	if total+1 == maxFactorFailures {
		t.notify(f.UserID, "factor_locked", f.Locked)
		return v, t.event(f.Locked)
	}
	return v, t.err
}

// spendFactor verifies a code and spends it: of two calls with one code, one returns true.
func (t *tx) spendFactor(f FactorTry) (right bool, err error) {
	if f.Factor == FactorRecoveryCode {
		return t.changed(`DELETE FROM recovery_codes WHERE user_id = $1 AND hash = $2`, f.UserID, f.Hash) == 1, t.err
	}
	var s TOTP
	err = t.get([]record{&s}, `SELECT `+totpColumns+` FROM totp WHERE user_id = $1 AND confirmed_at > 0`, f.UserID)
	if err != nil {
		if errors.Is(err, ErrNotFound) {
			err = nil
		}
		return false, err
	}
	step, right, err := f.Verify(s)
	if err != nil || !right {
		return false, err
	}
	// RFC 6238 s5.2: a code is accepted once.
	return t.changed(`UPDATE totp SET last_step = $2 WHERE id = $1 AND last_step < $2`, s.ID, step) == 1, t.err
}

// forgetFactor forgets the failures of a factor.
func (t *tx) forgetFactor(userID, factor string) error {
	return t.exec(`DELETE FROM factor_failures WHERE user_id = $1 AND factor = $2`, userID, factor)
}

// microsColumn scans times with spaces between, oldest first.
type microsColumn []time.Time

func (c *microsColumn) Scan(value any) error {
	var words wordsColumn
	if err := words.Scan(value); err != nil {
		return err
	}
	for _, word := range words {
		us, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return err
		}
		*c = append(*c, moment(us))
	}
	return nil
}

func (c microsColumn) text() string {
	var b strings.Builder
	for _, at := range c {
		b.WriteString(strconv.FormatInt(micros(at), 10) + " ")
	}
	return b.String()
}

// lockSession locks the row of a user and checks that the user and a session may still change the ways of
// signing in. ErrChanged means that the user was locked or the session ended since the request was
// authorized.
func (t *tx) lockSession(userID, sessionID string) error {
	t.lockUser(userID)
	if t.number(`SELECT count(*) FROM users JOIN sessions ON sessions.user_id = users.id
		WHERE users.id = $1 AND users.locked_at = 0 AND sessions.id = $2 AND sessions.ended_at = 0`, userID, sessionID) == 0 {
		return ErrChanged
	}
	return nil
}

// lockFactors locks the row of the user of e, whose ways of signing in change. Users change their own in the
// session of e, as lockSession has it. An event of an administrator or the operator has no session.
func (t *tx) lockFactors(e Event) error {
	if e.Actor == "" || e.SessionID != "" {
		return t.lockSession(e.UserID, e.SessionID)
	}
	t.lockUser(e.UserID)
	return t.err
}

// StartTOTP adds a seed that does not count before it is confirmed, in place of an earlier one that was not
// confirmed. It returns ErrChanged if the user was locked or the session ended.
func (db *DB) StartTOTP(ctx context.Context, s TOTP, sessionID string) error {
	return db.do(ctx, func(tx *tx) error {
		if err := tx.lockSession(s.UserID, sessionID); err != nil {
			return err
		}
		tx.exec(`DELETE FROM totp WHERE user_id = $1 AND confirmed_at = 0`, s.UserID)
		return tx.exec(`INSERT INTO totp (id, user_id, sealed, created_at) VALUES ($1, $2, $3, $4)`, s.ID, s.UserID, s.Sealed, micros(s.CreatedAt))
	})
}

// ConfirmTOTP makes the seed that a user started after since the second factor, in place of an earlier one,
// if verify accepts it, and notifies the user. It reports whether verify did. It returns the user
// afterwards, ErrNotFound if there is no such seed, and ErrChanged if the user was locked or the session
// ended.
func (db *DB) ConfirmTOTP(
	ctx context.Context, userID string, since time.Time, verify func(TOTP) (step int64, ok bool, err error), e Event,
) (right bool, u User, err error) {
	err = db.do(ctx, func(tx *tx) (err error) {
		right = false
		if err := tx.lockSession(userID, e.SessionID); err != nil {
			return err
		}
		var s TOTP
		err = tx.get([]record{&s}, `SELECT `+totpColumns+` FROM totp WHERE user_id = $1 AND confirmed_at = 0 AND created_at > $2`, userID, micros(since))
		if err != nil {
			return err
		}
		step, ok, err := verify(s)
		if err != nil || !ok {
			return err
		}
		right = true
		tx.exec(`DELETE FROM totp WHERE user_id = $1 AND id <> $2`, userID, s.ID)
		tx.exec(`UPDATE totp SET confirmed_at = $2, last_step = $3 WHERE id = $1`, s.ID, micros(e.At), step)
		tx.forgetFactor(userID, FactorTOTP)
		tx.notify(userID, "factor_added", e)
		if err := tx.changeFactors(userID, e); err != nil {
			return err
		}
		u, err = tx.user(userID)
		return err
	})
	if err != nil {
		return false, User{}, err
	}
	return right, u, nil
}

// changeFactors records a change of the second factors of a user: since when a sign-in needs one, and
// the event. Recovery codes are no factor of their own, so they go with the last one.
func (t *tx) changeFactors(userID string, e Event) error {
	if t.number(`SELECT (SELECT count(*) FROM totp WHERE user_id = $1 AND confirmed_at > 0) + (SELECT count(*) FROM passkeys WHERE user_id = $1)`, userID) == 0 {
		t.exec(`UPDATE users SET second_factor_at = 0 WHERE id = $1`, userID)
		t.exec(`DELETE FROM recovery_codes WHERE user_id = $1`, userID)
		t.exec(`DELETE FROM factor_failures WHERE user_id = $1`, userID)
	} else {
		t.exec(`UPDATE users SET second_factor_at = $2 WHERE id = $1`, userID, micros(e.At))
	}
	return t.event(e)
}

// removeFactors removes the second factors of a user that are younger than since, and returns how many. The
// caller records it by changeFactors.
func (t *tx) removeFactors(userID string, since time.Time) int64 {
	t.exec(`DELETE FROM totp WHERE user_id = $1 AND confirmed_at = 0`, userID)
	return t.changed(`DELETE FROM totp WHERE user_id = $1 AND confirmed_at > $2`, userID, micros(since)) +
		t.changed(`DELETE FROM passkeys WHERE user_id = $1 AND created_at > $2`, userID, micros(since))
}

// RemoveTOTP removes the authenticator app of a user, ends all sessions of the user but that of the event,
// and notifies the user. It returns ErrNotFound if there is none, ErrFactorOwed if it is the last factor of a user
// of whom one is required, and ErrChanged if the user was locked or the session ended. An event of an administrator or the operator has no session.
func (db *DB) RemoveTOTP(ctx context.Context, userID string, until time.Time, e Event) ([]Revocation, error) {
	return write(ctx, db, func(tx *tx) ([]Revocation, error) {
		if err := tx.lockFactors(e); err != nil {
			return nil, err
		}
		if tx.changed(`DELETE FROM totp WHERE user_id = $1 AND confirmed_at > 0`, userID) == 0 {
			return nil, ErrNotFound
		}
		tx.exec(`DELETE FROM totp WHERE user_id = $1`, userID)
		revoked := tx.endSessions(userID, e.SessionID, e.Kind, e.At, until)
		tx.notify(userID, "factor_removed", e)
		tx.changeFactors(userID, e)
		return revoked, tx.checkFactorLeft(userID)
	})
}

// checkFactorLeft returns ErrFactorOwed if a second factor is required of a user who has none.
func (t *tx) checkFactorLeft(userID string) error {
	u, err := t.user(userID)
	if err == nil && u.OwesFactor() {
		return ErrFactorOwed
	}
	return err
}

// ResetFactors removes all second factors of a user, ends all sessions of the user and notifies the user. It
// returns ErrNotFound if the user has none. It is for the operator and for a user who lost them, so it works
// also if a factor is required: the user sets up another one at the next sign-in.
func (db *DB) ResetFactors(ctx context.Context, userID string, until time.Time, e Event) ([]Revocation, error) {
	return write(ctx, db, func(tx *tx) ([]Revocation, error) {
		tx.lockUser(userID)
		if tx.number(`SELECT second_factor_at FROM users WHERE id = $1`, userID) == 0 {
			return nil, ErrNotFound
		}
		tx.removeFactors(userID, time.Time{})
		revoked := tx.endSessions(userID, "", e.Kind, e.At, until)
		tx.notify(userID, "factor_removed", e)
		return revoked, tx.changeFactors(userID, e)
	})
}

// ReplaceRecoveryCodes gives a user other recovery codes, by their hashes, and notifies the user. It returns
// ErrNotFound if the user has no second factor that they could replace, and ErrChanged if the user was
// locked or the session ended.
func (db *DB) ReplaceRecoveryCodes(ctx context.Context, userID string, hashes [][]byte, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		if err := tx.lockSession(userID, e.SessionID); err != nil {
			return err
		}
		if tx.number(`SELECT second_factor_at FROM users WHERE id = $1`, userID) == 0 {
			return ErrNotFound
		}
		tx.exec(`DELETE FROM recovery_codes WHERE user_id = $1`, userID)
		for _, hash := range hashes {
			tx.exec(`INSERT INTO recovery_codes (user_id, hash, created_at) VALUES ($1, $2, $3)`, userID, hash, micros(e.At))
		}
		tx.forgetFactor(userID, FactorRecoveryCode)
		tx.notify(userID, "recovery_codes_made", e)
		return tx.event(e)
	})
}
