package httpapi

import (
	"net/http"
	"time"

	"github.com/durward-auth/durward/server/internal/store"
)

type notification struct {
	ID      string    `json:"id"`
	UserID  string    `json:"-"`
	Kind    string    `json:"kind"`
	At      time.Time `json:"at"`
	Device  string    `json:"device"`
	Network string    `json:"network"`
	Read    bool      `json:"read"`
}

// notifications is GET /api/notifications.
func (s *Server) notifications(w http.ResponseWriter, r *http.Request) error {
	return answerPage(w, r, s.c.DB.Notifications, func(n store.Notification) notification { return notification(n) },
		func(n notification) string { return n.ID })
}
