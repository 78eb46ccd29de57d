package account

import (
	"context"
	"math"
	"time"

	"github.com/durward-auth/durward/server/internal/store"
)

// Data is all data of a user. It has no hash and no secret.
type Data struct {
	ID                string             `json:"id"`
	Email             string             `json:"email"`
	Name              string             `json:"name"`
	Admin             bool               `json:"admin"`
	CreatedAt         time.Time          `json:"created_at"`
	PasswordChangedAt time.Time          `json:"password_changed_at"`
	LockedAt          time.Time          `json:"locked_at,omitzero"`
	SecondFactorAt    time.Time          `json:"second_factor_at,omitzero"`
	Unverified        bool               `json:"unverified,omitempty"`
	Language          string             `json:"language,omitempty"`
	Groups            []string           `json:"groups"`
	Sessions          []DataSession      `json:"sessions"`
	Keys              []DataKey          `json:"keys"`
	Passkeys          []DataPasskey      `json:"passkeys"`
	Notifications     []DataNotification `json:"notifications"`
	Events            []DataEvent        `json:"events"`
}

// DataSession is a live session.
type DataSession struct {
	ID         string    `json:"id"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at"`
	Device     string    `json:"device"`
	Network    string    `json:"network"`
}

// DataKey is an API key.
type DataKey struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	Scopes     []string  `json:"scopes"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"`
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
}

// DataPasskey is a passkey.
type DataPasskey struct {
	ID         string    `json:"id"`
	Name       string    `json:"name"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
}

// DataNotification is a notification.
type DataNotification struct {
	Kind    string    `json:"kind"`
	At      time.Time `json:"at"`
	Device  string    `json:"device"`
	Network string    `json:"network"`
}

// DataEvent is an event of the security log about the user.
type DataEvent struct {
	Kind    string    `json:"kind"`
	At      time.Time `json:"at"`
	Outcome string    `json:"outcome"`
	Device  string    `json:"device,omitempty"`
	Network string    `json:"network,omitempty"`
	Detail  string    `json:"detail,omitempty"`
}

// Export returns all data of u.
func (m *Manager) Export(ctx context.Context, u store.User) (Data, error) {
	d := Data{
		ID:                u.ID,
		Email:             u.Email,
		Name:              u.Name,
		Admin:             u.Admin,
		CreatedAt:         u.CreatedAt,
		PasswordChangedAt: u.PasswordChangedAt,
		LockedAt:          u.LockedAt,
		SecondFactorAt:    u.SecondFactorAt,
		Unverified:        u.Unverified,
		Language:          u.Language,
		Sessions:          []DataSession{},
		Keys:              []DataKey{},
		Passkeys:          []DataPasskey{},
		Notifications:     []DataNotification{},
		Events:            []DataEvent{},
	}
	groups, err := m.DB.Groups(ctx, u.ID)
	if err != nil {
		return Data{}, err
	}
	d.Groups = append([]string{}, groups...)
	sessions, err := m.DB.Sessions(ctx, u.ID, m.Now())
	if err != nil {
		return Data{}, err
	}
	for _, s := range sessions {
		d.Sessions = append(d.Sessions, DataSession{s.ID, s.CreatedAt, s.LastUsedAt, s.Device, s.Network})
	}
	keys, err := m.DB.APIKeys(ctx, u.ID, "", math.MaxInt32)
	if err != nil {
		return Data{}, err
	}
	for _, k := range keys {
		if k.RevokedAt.IsZero() {
			d.Keys = append(d.Keys, DataKey{k.ID, k.Name, k.Scopes, k.CreatedAt, k.ExpiresAt, k.LastUsedAt})
		}
	}
	passkeys, err := m.DB.Passkeys(ctx, u.ID)
	if err != nil {
		return Data{}, err
	}
	for _, p := range passkeys {
		d.Passkeys = append(d.Passkeys, DataPasskey{p.ID, p.Name, p.CreatedAt, p.UsedAt})
	}
	notes, err := m.DB.Notifications(ctx, u.ID, "", math.MaxInt32)
	if err != nil {
		return Data{}, err
	}
	for _, n := range notes {
		d.Notifications = append(d.Notifications, DataNotification{n.Kind, n.At, n.Device, n.Network})
	}
	events, err := m.DB.Events(ctx, store.EventFilter{UserID: u.ID, Limit: math.MaxInt32})
	if err != nil {
		return Data{}, err
	}
	for _, e := range events {
		d.Events = append(d.Events, DataEvent{e.Kind, e.At, e.Outcome, e.Device, e.Network, e.Detail})
	}
	return d, nil
}
