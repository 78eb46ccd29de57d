package store

import (
	"context"
	"time"
)

// Denial is a refused request with the cause of the refusal. It holds no secret.
type Denial struct {
	ID        string // ULID, sent to the client
	Code      string
	Status    int
	At        time.Time
	Method    string
	Path      string
	Scheme    string
	Cause     string
	Network   string
	Subject   string
	RequestID string
}

// AddDenials inserts denials.
func (db *DB) AddDenials(ctx context.Context, denials []Denial) error {
	return db.do(ctx, func(tx *tx) error {
		for _, d := range denials {
			tx.exec(`INSERT INTO denials (id, code, status, at, method, path, scheme, cause, network, subject, request_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
				d.ID, d.Code, d.Status, micros(d.At), d.Method, d.Path, d.Scheme, d.Cause, d.Network, d.Subject, d.RequestID)
		}
		return nil
	})
}

func (d *Denial) fields() []any {
	return []any{&d.ID, &d.Code, &d.Status, into(&d.At), &d.Method, &d.Path, &d.Scheme, &d.Cause, &d.Network, &d.Subject, &d.RequestID}
}

// DenialByID returns a denial or ErrNotFound.
func (db *DB) DenialByID(ctx context.Context, id string) (d Denial, err error) {
	err = db.reader(ctx).get([]record{&d}, `SELECT id, code, status, at, method, path, scheme, cause, network, subject, request_id FROM denials WHERE id = $1`, id)
	return d, err
}

// PurgeDenials deletes denials older than kept.
func (db *DB) PurgeDenials(ctx context.Context, kept time.Duration) error {
	return db.exec(ctx, `DELETE FROM denials WHERE at < $1`, micros(db.rowTime().Add(-kept)))
}
