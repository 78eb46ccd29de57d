package store

import (
	"context"
	"time"
)

// Device is a device of a user after a sign-in. It sends a cookie.
type Device struct {
	ID, UserID string
	Hash       []byte // of the cookie; the cookie itself is not stored
	SeenAt     time.Time
}

const (
	// maxDevices is the number of known devices of a user. A further one replaces the one that was not
	// used for longest.
	maxDevices = 10

	// DeviceKept is how long a device is known after the last sign-in.
	DeviceKept = placeKept
)

// KnownDevice returns the ID of the device of a user whose cookie has a hash, or "" if the user has none. A
// query for the empty user takes the same work.
func (db *DB) KnownDevice(ctx context.Context, userID string, hash []byte, now time.Time) (id string, err error) {
	found, err := texts(db.reader(ctx), `SELECT id FROM devices WHERE user_id = $1 AND hash = $2 AND seen_at > $3`,
		userID, hash, micros(now.Add(-DeviceKept)))
	if len(found) == 0 {
		return "", err
	}
	return found[0], nil
}

// RememberDevice makes the device of a sign-in of the user was known. old is the hash of the cookie that it
// sent, if any. If it is of a known device of the user, RememberDevice records the use. If not, it returns
// true, and the device has the cookie of d from then on, for other users too: no other client knows that
// cookie beforehand. It returns ErrChanged as CreateSession does.
func (db *DB) RememberDevice(ctx context.Context, d Device, old []byte, was User) (fresh bool, err error) {
	return write(ctx, db, func(tx *tx) (bool, error) {
		if err := tx.checkUnchanged(d.UserID, was); err != nil {
			return false, err
		}
		seen, oldest := micros(d.SeenAt), micros(d.SeenAt.Add(-DeviceKept))
		tx.exec(`DELETE FROM devices WHERE user_id = $1 AND seen_at <= $2`, d.UserID, oldest)
		if len(old) > 0 {
			if tx.changed(`UPDATE devices SET seen_at = $3 WHERE user_id = $1 AND hash = $2`, d.UserID, old, seen) > 0 {
				return false, nil
			}
			tx.exec(`UPDATE devices SET hash = $2 WHERE hash = $1`, old, d.Hash)
		}
		tx.exec(`INSERT INTO devices (id, user_id, hash, created_at, seen_at) VALUES ($1, $2, $3, $4, $4)`, d.ID, d.UserID, d.Hash, seen)
		return true, tx.exec(`DELETE FROM devices WHERE user_id = $1
			AND id NOT IN (SELECT id FROM devices WHERE user_id = $1 ORDER BY seen_at DESC, id DESC LIMIT $2)`, d.UserID, maxDevices)
	})
}
