package store

import (
	"bytes"
	"context"
	"errors"
	"time"
)

// AuthorizationRequest is an authorization request that waits for a user (RFC 6749 s4.1.1).
type AuthorizationRequest struct {
	Hash       []byte // of its id; the id itself is not stored
	Browser    []byte // hash of the cookie of the browser that may continue; empty until it has one
	ClientID   string
	Parameters string // of the request, as a query
	Progress   string // what the user has done for it
	CreatedAt  time.Time
	StepEnds   time.Time // end of the time for the next step
	EndsAt     time.Time
}

const requestColumns = `oauth_requests.hash, oauth_requests.browser, oauth_requests.client_id, oauth_requests.parameters, oauth_requests.progress,
	oauth_requests.created_at, oauth_requests.step_ends, oauth_requests.ends_at`

func (r *AuthorizationRequest) fields() []any {
	return []any{&r.Hash, &r.Browser, &r.ClientID, &r.Parameters, &r.Progress, into(&r.CreatedAt), into(&r.StepEnds), into(&r.EndsAt)}
}

// CreateRequest inserts an authorization request. It returns ErrTooMany if limit live ones are stored; a few more
// may be stored at once.
func (db *DB) CreateRequest(ctx context.Context, r AuthorizationRequest, limit int) error {
	return db.do(ctx, func(tx *tx) error {
		if tx.number(`SELECT count(*) FROM oauth_requests WHERE step_ends > $1`, micros(r.CreatedAt)) >= int64(limit) {
			return ErrTooMany
		}
		browser := r.Browser
		if browser == nil {
			browser = []byte{}
		}
		tx.setEvidence(`SELECT 1 FROM oauth_requests WHERE hash = $1`, r.Hash)
		return tx.exec(`INSERT INTO oauth_requests (hash, browser, client_id, parameters, progress, created_at, step_ends, ends_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
			r.Hash, browser, r.ClientID, r.Parameters, r.Progress, micros(r.CreatedAt), micros(r.StepEnds), micros(r.EndsAt))
	})
}

// RequestByHash returns an authorization request, or ErrNotFound if there is none or its time is over.
func (db *DB) RequestByHash(ctx context.Context, hash []byte, now time.Time) (r AuthorizationRequest, err error) {
	err = db.reader(ctx).get([]record{&r}, `SELECT `+requestColumns+` FROM oauth_requests WHERE hash = $1 AND step_ends > $2 AND ends_at > $2`, hash, micros(now))
	return r, err
}

// BindRequest gives an authorization request that belongs to no browser to the browser with a cookie. It returns
// ErrNotFound if there is no such request, and ErrChanged if it belongs to another browser.
func (db *DB) BindRequest(ctx context.Context, hash, browser []byte) error {
	return db.do(ctx, func(tx *tx) error {
		tx.setEvidence(`SELECT 1 FROM oauth_requests WHERE hash = $1 AND browser = $2`, hash, browser)
		if tx.changed(`UPDATE oauth_requests SET browser = $2 WHERE hash = $1 AND length(browser) = 0`, hash, browser) == 1 {
			return nil
		}
		var owner []byte
		if err := tx.row(`SELECT browser FROM oauth_requests WHERE hash = $1`, hash).Scan(&owner); err != nil {
			return err
		}
		if !bytes.Equal(owner, browser) {
			return ErrChanged
		}
		return nil
	})
}

// AdvanceRequest stores the progress and the next end of an authorization request. It returns ErrNotFound if
// there is none any more, and ErrChanged if its progress is not was, because another request changed it.
func (db *DB) AdvanceRequest(ctx context.Context, r AuthorizationRequest, was string) error {
	return db.do(ctx, func(tx *tx) error {
		tx.setEvidence(`SELECT 1 FROM oauth_requests WHERE hash = $1 AND progress = $2 AND step_ends = $3`, r.Hash, r.Progress, micros(r.StepEnds))
		if tx.changed(`UPDATE oauth_requests SET progress = $2, step_ends = $3 WHERE hash = $1 AND progress = $4`, r.Hash, r.Progress, micros(r.StepEnds), was) == 1 {
			return nil
		}
		if tx.number(`SELECT count(*) FROM oauth_requests WHERE hash = $1`, r.Hash) == 0 {
			return ErrNotFound
		}
		return ErrChanged
	})
}

// EndRequest deletes an authorization request, once: it returns ErrNotFound if another call did.
func (db *DB) EndRequest(ctx context.Context, hash []byte) error {
	return db.do(ctx, func(tx *tx) error { return tx.endRequest(hash) })
}

func (t *tx) endRequest(hash []byte) error {
	// The evidence may be the deletion by another call, after which this request has ended as well.
	t.setEvidence(`SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM oauth_requests WHERE hash = $1)`, hash)
	if t.changed(`DELETE FROM oauth_requests WHERE hash = $1`, hash) == 0 {
		return errors.Join(t.err, ErrNotFound)
	}
	return nil
}

// PurgeRequests deletes authorization requests whose time is over.
func (db *DB) PurgeRequests(ctx context.Context) error {
	return db.exec(ctx, `DELETE FROM oauth_requests WHERE step_ends < $1`, micros(db.rowTime()))
}
