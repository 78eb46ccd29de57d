package httpapi

import (
	"net/http"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/store"
)

type notification struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	At      time.Time `json:"at"`
	Device  string    `json:"device"`
	Network string    `json:"network"`
	Read    bool      `json:"read"`
}

// notifications is GET /api/notifications.
func (s *Server) notifications(w http.ResponseWriter, r *http.Request) error {
	limit, after, err := pageOf(r)
	if err != nil {
		return err
	}
	p := durward.From(r.Context())
	rows, err := s.c.DB.Notifications(r.Context(), p.Subject, after, limit+1)
	if err != nil {
		return err
	}
	page := pageOfRows(rows, limit, notificationOf, func(n store.Notification) string { return n.ID })
	return answer(w, http.StatusOK, page)
}

func notificationOf(n store.Notification) notification {
	return notification{
		ID:      n.ID,
		Kind:    n.Kind,
		At:      n.At.UTC(),
		Device:  n.Device,
		Network: n.Network,
		Read:    n.Read,
	}
}
