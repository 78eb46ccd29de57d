package store

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"
)

// Consent is a user's permission for a client.
type Consent struct {
	UserID    string
	ClientID  string
	Resource  string // URL of an API; empty for the account of the user
	Scope     string
	CreatedAt time.Time // of the first permission
}

const consentColumns = `consents.user_id, consents.client_id, consents.resource, consents.scope, consents.created_at`

func (c *Consent) fields() []any {
	return []any{&c.UserID, &c.ClientID, &c.Resource, &c.Scope, into(&c.CreatedAt)}
}

// GiveConsents adds the scopes of consents to those that their user gave before. All belong to the user and the
// client of the first one.
func (db *DB) GiveConsents(ctx context.Context, consents []Consent, e Event) error {
	return db.do(ctx, func(tx *tx) error {
		tx.lockUser(e.UserID) // transactions of one user run one after the other
		for _, c := range consents {
			var had string
			err := tx.row(`SELECT scope FROM consents WHERE user_id = $1 AND client_id = $2 AND resource = $3`, c.UserID, c.ClientID, c.Resource).Scan(&had)
			if err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
			scopes := append(strings.Fields(had), strings.Fields(c.Scope)...)
			slices.Sort(scopes)
			tx.exec(`INSERT INTO consents (user_id, client_id, resource, scope, created_at) VALUES ($1, $2, $3, $4, $5)
				ON CONFLICT (user_id, client_id, resource) DO UPDATE SET scope = excluded.scope`,
				c.UserID, c.ClientID, c.Resource, strings.Join(slices.Compact(scopes), " "), micros(c.CreatedAt))
		}
		return tx.event(e)
	})
}

// Consents returns the consents of a user to a client.
func (db *DB) Consents(ctx context.Context, userID, clientID string) ([]Consent, error) {
	return list[Consent](db.reader(ctx), `SELECT `+consentColumns+` FROM consents WHERE user_id = $1 AND client_id = $2 ORDER BY resource`, userID, clientID)
}

// ConsentRow is a consent in a list, with its client.
type ConsentRow struct {
	Consent
	Client Client
}

func (r *ConsentRow) fields() []any { return append(r.Consent.fields(), r.Client.fields()...) }

// ConsentsOf returns the consents of a user to all clients, by client. A trusted client, which needs no consent, is
// in it with a consent without scope while it has a live session of the user.
func (db *DB) ConsentsOf(ctx context.Context, userID string, now time.Time) ([]ConsentRow, error) {
	return list[ConsentRow](db.reader(ctx), `SELECT * FROM (
		SELECT `+consentColumns+`, `+clientColumns+` FROM consents JOIN clients ON clients.id = consents.client_id WHERE consents.user_id = $1
		UNION ALL
		SELECT $1, clients.id, '', '', (SELECT min(created_at) FROM sessions WHERE client_id = clients.id AND user_id = $1 AND ended_at = 0 AND ends_at > $2), `+clientColumns+`
		FROM clients WHERE NOT EXISTS (SELECT 1 FROM consents WHERE user_id = $1 AND client_id = clients.id)
			AND EXISTS (SELECT 1 FROM sessions WHERE client_id = clients.id AND user_id = $1 AND ended_at = 0 AND ends_at > $2)
		) AS rows ORDER BY 6, 3 LIMIT 1000`, userID, micros(now))
}

// WithdrawConsent deletes the consents of a user for a client and the codes that are not used yet, and ends the
// client's sessions of the user. It returns ErrNotFound if there is none of them. until is the end of a token that
// is issued now.
func (db *DB) WithdrawConsent(ctx context.Context, userID, clientID string, until time.Time, e Event) ([]Revocation, error) {
	if err := checkText(userID, clientID); err != nil || clientID == firstParty {
		return nil, ErrNotFound
	}
	return write(ctx, db, func(tx *tx) (revoked []Revocation, err error) {
		tx.lockUser(userID)
		n := tx.changed(`DELETE FROM consents WHERE user_id = $1 AND client_id = $2`, userID, clientID)
		n += tx.changed(`DELETE FROM codes WHERE user_id = $1 AND client_id = $2 AND spent_at = 0`, userID, clientID)
		live, _ := texts(tx, `SELECT id FROM sessions WHERE user_id = $1 AND client_id = $2 AND ended_at = 0 ORDER BY id`+tx.forUpdate("sessions"), userID, clientID)
		if tx.err == nil && n == 0 && len(live) == 0 {
			return nil, ErrNotFound
		}
		for _, id := range live {
			revoked = append(revoked, tx.endOne(id, e.Kind, e.At, until))
		}
		return revoked, tx.event(e)
	})
}
