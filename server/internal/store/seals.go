package store

import (
	"context"
	"errors"
	"time"
)

// Seal is a signed checkpoint of the hash chain of the security log. Package securitylog computes and
// verifies it.
type Seal struct {
	Number     int64 // from 1
	FirstEvent int64 // number of the first event that it covers
	LastEvent  int64 // of the last one; FirstEvent-1 if it covers none
	FirstKept  int64 // number of the oldest event that was not deleted because of its age
	Before     []byte
	Hash       []byte // of the last event up to LastEvent
	At         time.Time
	SignedBy   string // names the key
	Signature  []byte
}

const sealColumns = `number, first_event, last_event, first_kept, before, hash, at, signed_by, signature`

func (s *Seal) fields() []any {
	return []any{&s.Number, &s.FirstEvent, &s.LastEvent, &s.FirstKept, &s.Before, &s.Hash, into(&s.At), &s.SignedBy, &s.Signature}
}

// lastSeal returns the newest seal, the zero Seal if there is none.
func (t *tx) lastSeal() (s Seal, err error) {
	err = t.get([]record{&s}, `SELECT `+sealColumns+` FROM seals ORDER BY number DESC LIMIT 1`)
	if errors.Is(err, ErrNotFound) {
		return Seal{}, nil
	}
	return s, err
}

func (t *tx) insertSeal(s Seal) error {
	t.setEvidence(`SELECT 1 FROM seals WHERE number = $1 AND signature = $2`, s.Number, s.Signature)
	return t.exec(`INSERT INTO seals (`+sealColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
		s.Number, s.FirstEvent, s.LastEvent, s.FirstKept, s.Before, s.Hash, micros(s.At), s.SignedBy, s.Signature)
}

// SealEvents appends up to limit unsealed events to the chain, in the order of their ids, and returns
// the new seal, the zero Seal if no event is unsealed. The function seal sets Number and Hash of the
// events and returns the seal that follows last. One node at a time seals.
func (db *DB) SealEvents(ctx context.Context, limit int, seal func(last Seal, events []Event) Seal) (Seal, error) {
	return write(ctx, db, func(tx *tx) (Seal, error) {
		tx.lock("seals")
		last, err := tx.lastSeal()
		if err != nil {
			return Seal{}, err
		}
		events, err := list[Event](tx, `SELECT `+eventColumns+` FROM events WHERE number = 0 ORDER BY id LIMIT $1`, limit)
		if err != nil || len(events) == 0 {
			return Seal{}, err
		}
		s := seal(last, events)
		for _, e := range events {
			tx.exec(`UPDATE events SET number = $2, hash = $3 WHERE id = $1`, e.ID, e.Number, e.Hash)
		}
		return s, tx.insertSeal(s)
	})
}

// PurgeEvents deletes the oldest seals that are older than kept, up to limit, with the events that they
// cover, and returns the new seal, the zero Seal if it deleted nothing. The function seal returns the
// seal that follows last and has FirstKept as given. One node at a time deletes.
func (db *DB) PurgeEvents(ctx context.Context, kept time.Duration, limit int, seal func(last Seal, firstKept int64) Seal) (Seal, error) {
	return write(ctx, db, func(tx *tx) (Seal, error) {
		tx.lock("seals")
		last, err := tx.lastSeal()
		if err != nil {
			return Seal{}, err
		}
		oldest := tx.number(`SELECT coalesce(min(number), 0) FROM seals`)
		young := tx.number(`SELECT coalesce(min(number), $1) FROM seals WHERE at >= $2`, last.Number+1, micros(db.rowTime().Add(-kept)))
		var upTo Seal
		err = tx.get([]record{&upTo}, `SELECT `+sealColumns+` FROM seals WHERE number < $1 ORDER BY number DESC LIMIT 1`, min(young, oldest+int64(limit)))
		if errors.Is(err, ErrNotFound) || err == nil && upTo.LastEvent < last.FirstKept {
			return Seal{}, nil // no old seal, or only one without events
		} else if err != nil {
			return Seal{}, err
		}
		tx.exec(`DELETE FROM events WHERE number > 0 AND number <= $1`, upTo.LastEvent)
		tx.exec(`DELETE FROM seals WHERE number <= $1`, upTo.Number)
		s := seal(last, upTo.LastEvent+1)
		return s, tx.insertSeal(s)
	})
}

// Seals returns up to limit seals with a number above after, in their order.
func (db *DB) Seals(ctx context.Context, after int64, limit int) ([]Seal, error) {
	return list[Seal](db.reader(ctx), `SELECT `+sealColumns+` FROM seals WHERE number > $1 ORDER BY number LIMIT $2`, after, limit)
}

// LastSeal returns the newest seal, the zero Seal if there is none.
func (db *DB) LastSeal(ctx context.Context) (Seal, error) { return db.reader(ctx).lastSeal() }

// SealedEvents returns up to limit sealed events with a number above after, in the order of the chain.
func (db *DB) SealedEvents(ctx context.Context, after int64, limit int) ([]Event, error) {
	return list[Event](db.reader(ctx), `SELECT `+eventColumns+` FROM events WHERE number > $1 AND number > 0 ORDER BY number LIMIT $2`, after, limit)
}
