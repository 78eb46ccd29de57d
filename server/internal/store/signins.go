package store

import (
	"context"
	"strings"
	"time"
)

// StageFactor is the stage of a sign-in that waits for the second factor.
const StageFactor = "factor"

// maxSignInTries is the number of wrong codes that make a sign-in void.
const maxSignInTries = 5

// SignIn is a half-finished sign-in. It opens nothing: its secret only lets the client finish it.
type SignIn struct {
	Hash       []byte // of its secret; the secret itself is not stored
	UserID     string
	Stage      string
	Methods    []string // authentication methods so far, the claim amr
	UseCookies bool     // the client wants a cookie instead of tokens
	Remembered bool     // as of Session
	JKT        string   // thumbprint of the DPoP key of the client; empty for none
	StartedAt  time.Time
	EndsAt     time.Time
	Tries      int // wrong codes

	passwordChangedAt, secondFactorAt time.Time // those of the user when it began
}

const signInColumns = `signins.hash, signins.user_id, signins.stage, signins.methods, signins.password_changed_at, signins.second_factor_at,
	signins.use_cookies, signins.remembered, signins.jkt, signins.started_at, signins.ends_at, signins.tries`

func (s *SignIn) fields() []any {
	return []any{&s.Hash, &s.UserID, &s.Stage, (*wordsColumn)(&s.Methods), into(&s.passwordChangedAt), into(&s.secondFactorAt),
		&s.UseCookies, &s.Remembered, &s.JKT, into(&s.StartedAt), into(&s.EndsAt), &s.Tries}
}

// CreateSignIn inserts a sign-in of the user was, who proved to know the password. It returns ErrChanged if
// the user was locked, or the password or the second factor changed, since.
func (db *DB) CreateSignIn(ctx context.Context, s SignIn, was User, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		if err := tx.checkUnchanged(s.UserID, was); err != nil {
			return err
		}
		tx.exec(`INSERT INTO signins (hash, user_id, stage, methods, password_changed_at, second_factor_at, use_cookies, remembered, jkt, started_at, ends_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
			s.Hash, s.UserID, s.Stage, strings.Join(s.Methods, " "), micros(was.PasswordChangedAt), micros(was.SecondFactorAt),
			flag(s.UseCookies), flag(s.Remembered), s.JKT, micros(s.StartedAt), micros(s.EndsAt))
		return tx.event(e)
	})
}

// SignInByHash returns a sign-in with its user. It returns ErrNotFound if there is none, or it is finished,
// void or over.
func (db *DB) SignInByHash(ctx context.Context, hash []byte, now time.Time) (s SignIn, u User, err error) {
	err = db.reader(ctx).get([]record{&s, &u}, `SELECT `+signInColumns+`, `+userColumns+`
		FROM signins JOIN users ON users.id = signins.user_id WHERE signins.hash = $1 AND signins.ends_at > $2`, hash, micros(now))
	return s, u, err
}

// FinishedSignIn is the session that a sign-in becomes once its factor is proved.
type FinishedSignIn struct {
	NewSession
	Hash    []byte // of the sign-in
	Try     FactorTry
	Passkey *PasskeyUse // in place of Try
	Void    Event       // recorded if this is the last try and its code is wrong
}

// FinishSignIn tries a factor and, if it is right, begins the session and spends the sign-in, as
// CreateSession and CreateCookieSession do, or UsePasskey for a passkey. A wrong code is counted, and the last
// one that is allowed makes the sign-in void. All of it is one transaction, so of several calls at once one
// begins a session. It returns ErrNotFound if there is no such sign-in any more, ErrChanged as CreateSession
// does, and the errors of UsePasskey.
func (db *DB) FinishSignIn(ctx context.Context, f FinishedSignIn) (v FactorVerdict, revoked []Revocation, err error) {
	err = db.do(ctx, func(tx *tx) (err error) {
		v, revoked, err = tx.finishSignIn(f)
		return err
	})
	if err != nil {
		return FactorVerdict{}, nil, err
	}
	return v, revoked, nil
}

func (t *tx) finishSignIn(f FinishedSignIn) (v FactorVerdict, revoked []Revocation, err error) {
	userID, now := f.Session.UserID, f.Event.At
	t.lockUser(userID) // transactions of one user run one after the other from here
	var s SignIn
	err = t.get([]record{&s}, `SELECT `+signInColumns+` FROM signins WHERE hash = $1 AND user_id = $2 AND stage = $3 AND ends_at > $4`,
		f.Hash, userID, StageFactor, micros(now))
	if err != nil {
		return v, nil, err
	}
	// A sign-in of the old password ends with it, also if the code is wrong.
	was := User{PasswordChangedAt: s.passwordChangedAt, SecondFactorAt: s.secondFactorAt}
	if err := t.checkUnchanged(userID, was); err != nil {
		return v, nil, err
	}
	if f.Passkey != nil {
		v, err = FactorVerdict{Tried: true, Right: true}, t.usePasskey(*f.Passkey)
	} else {
		v, err = t.tryFactor(f.Try)
	}
	switch {
	case err != nil:
		return v, nil, err
	case !v.Tried:
		return v, nil, nil
	case !v.Right && s.Tries+1 < maxSignInTries:
		return v, nil, t.exec(`UPDATE signins SET tries = tries + 1 WHERE hash = $1`, f.Hash)
	}
	if t.changed(`DELETE FROM signins WHERE hash = $1`, f.Hash) == 0 {
		return v, nil, ErrNotFound
	}
	if !v.Right {
		v.Void = true
		t.notify(userID, "sign_in_void", f.Void)
		return v, nil, t.event(f.Void)
	}
	revoked, err = t.beginSession(f.NewSession, was)
	return v, revoked, err
}

// PurgeSignIns deletes sign-ins that are over.
func (db *DB) PurgeSignIns(ctx context.Context) error {
	return db.exec(ctx, `DELETE FROM signins WHERE ends_at < $1`, micros(db.rowTime()))
}
