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
			if err := checkText(d.Method, d.Path, d.Scheme, d.Cause, d.Subject); err != nil {
				return err
			}
			if _, err := tx.exec(`INSERT INTO denials (id, code, status, at, method, path, scheme, cause, network, subject, request_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
				d.ID, d.Code, d.Status, micros(d.At), d.Method, d.Path, d.Scheme, d.Cause, d.Network, d.Subject, d.RequestID); err != nil {
				return err
			}
		}
		return nil
	})
}

// DenialByID returns a denial or ErrNotFound.
func (db *DB) DenialByID(ctx context.Context, id string) (Denial, error) {
	if err := checkText(id); err != nil {
		return Denial{}, ErrNotFound
	}
	var d Denial
	var at int64
	err := db.reader(ctx).row(`SELECT id, code, status, at, method, path, scheme, cause, network, subject, request_id FROM denials WHERE id = $1`, id).
		Scan(&d.ID, &d.Code, &d.Status, &at, &d.Method, &d.Path, &d.Scheme, &d.Cause, &d.Network, &d.Subject, &d.RequestID)
	d.At = moment(at)
	return d, classify(err)
}

// PurgeDenials deletes denials before a time.
func (db *DB) PurgeDenials(ctx context.Context, before time.Time) error {
	return db.do(ctx, func(tx *tx) error {
		_, err := tx.exec(`DELETE FROM denials WHERE at < $1`, micros(before))
		return err
	})
}
