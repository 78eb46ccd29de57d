package store

import (
	"context"
	"time"
)

// Notification is a message to a user on their account page.
type Notification struct {
	ID, UserID, Kind string
	At               time.Time
	Device, Network  string
	Read             bool
}

// notify adds a notification of an event for a user. It has the id of the event, which sorts by time.
func (t *tx) notify(userID, kind string, e Event) error {
	_, err := t.exec(`INSERT INTO notifications (id, user_id, kind, at, device, network) VALUES ($1, $2, $3, $4, $5, $6)`,
		e.ID, userID, kind, micros(e.At), e.Device, e.Network)
	return err
}

// Notifications returns a page of notifications, newest first, beginning after the one with the id after.
func (db *DB) Notifications(ctx context.Context, userID, after string, limit int) ([]Notification, error) {
	if err := checkText(after); err != nil {
		return nil, err
	}
	return collect(db.reader(ctx), func(row scanner) (n Notification, err error) {
		var at int64
		var read int
		err = row.Scan(&n.ID, &n.UserID, &n.Kind, &at, &n.Device, &n.Network, &read)
		n.At, n.Read = moment(at), read != 0
		return n, err
	}, `SELECT id, user_id, kind, at, device, network, read FROM notifications
		WHERE user_id = $1 AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3`, userID, after, limit)
}
