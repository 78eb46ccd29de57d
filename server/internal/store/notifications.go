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

// maxNotices is the number of notifications of a user within an hour that are mailed. Further ones are on
// the account page only, so that a thief of the password cannot flood the user's mailbox.
const maxNotices = 10

// notify adds a notification of an event for a user, and a mail about it. Both have the id of the event,
// which sorts by time.
//
// Device and network are those of the user: of an administrator who acts, the user learns neither.
func (t *tx) notify(userID, kind string, e Event) error {
	if e.Actor != "" && e.Actor != Operator {
		e.Device, e.Network = "", ""
	}
	hour := t.number(`SELECT count(*) FROM notifications WHERE user_id = $1 AND at > $2`, userID, micros(e.At.Add(-time.Hour)))
	if hour < maxNotices {
		t.mail(mailOf(e, kind, userID, ""))
	}
	return t.addNotification(userID, kind, e)
}

// addNotification adds a notification without a mail.
func (t *tx) addNotification(userID, kind string, e Event) error {
	return t.exec(`INSERT INTO notifications (id, user_id, kind, at, device, network) VALUES ($1, $2, $3, $4, $5, $6)`,
		e.ID, userID, kind, micros(e.At), e.Device, e.Network)
}

func (n *Notification) fields() []any {
	return []any{&n.ID, &n.UserID, &n.Kind, into(&n.At), &n.Device, &n.Network, &n.Read}
}

// Notifications returns a page of notifications, newest first, beginning after the one with the id after.
func (db *DB) Notifications(ctx context.Context, userID, after string, limit int) ([]Notification, error) {
	return list[Notification](db.reader(ctx), `SELECT id, user_id, kind, at, device, network, read FROM notifications
		WHERE user_id = $1 AND ($2 = '' OR id < $2) ORDER BY id DESC LIMIT $3`, userID, after, limit)
}
