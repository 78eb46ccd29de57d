package httpapi

import (
	"net/http"
	"time"

	"github.com/durward-auth/durward"
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
	page := list[notification]{Items: make([]notification, 0, min(len(rows), limit))}
	for _, row := range rows[:min(len(rows), limit)] {
		page.Items = append(page.Items, notification{
			ID:      row.ID,
			Kind:    row.Kind,
			At:      row.At.UTC(),
			Device:  row.Device,
			Network: row.Network,
			Read:    row.Read,
		})
	}
	if len(rows) > limit {
		page.Next = rows[limit-1].ID
	}
	return answer(w, http.StatusOK, page)
}
