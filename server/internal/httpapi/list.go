package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/store"
)

// list is a page of items. Next is the value of the parameter after for the next page; it is absent
// on the last page.
type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

const (
	pageSize    = 50
	maxPageSize = 200
)

// answerPage answers with the page of the user's rows that the query parameters limit and after name.
func answerPage[R, T any](
	w http.ResponseWriter, r *http.Request,
	rows func(ctx context.Context, userID, after string, limit int) ([]R, error), item func(R) T, id func(T) string,
) error {
	query := r.URL.Query()
	most, err := integer(query, "limit", pageSize, 1, maxPageSize)
	if err != nil {
		return err
	}
	limit := int(most)
	// One more row shows that there is a next page.
	read, err := rows(r.Context(), durward.From(r.Context()).Subject, query.Get("after"), limit+1)
	n := min(len(read), limit)
	page := list[T]{Items: make([]T, 0, n)}
	for _, row := range read[:n] {
		page.Items = append(page.Items, item(row))
	}
	if len(read) > limit {
		page.Next = id(page.Items[n-1])
	}
	return answer(w, http.StatusOK, page, err)
}

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

type sessionItem struct {
	ID         string    `json:"id"`
	Current    bool      `json:"current"`
	CreatedAt  time.Time `json:"created_at"`
	LastUsedAt time.Time `json:"last_used_at"`
	Device     string    `json:"device"`
	Network    string    `json:"network"`
}

// sessions is GET /api/auth/sessions.
func (s *Server) sessions(w http.ResponseWriter, r *http.Request) error {
	p := durward.From(r.Context())
	rows, err := s.c.Sessions.List(r.Context(), p.Subject)
	items := make([]sessionItem, 0, len(rows))
	for _, row := range rows {
		items = append(items, sessionItem{
			ID:         row.ID,
			Current:    row.ID == p.SessionID,
			CreatedAt:  row.CreatedAt.UTC(),
			LastUsedAt: row.LastUsedAt.UTC(),
			Device:     row.Device,
			Network:    row.Network,
		})
	}
	return answer(w, http.StatusOK, list[sessionItem]{Items: items}, err)
}

// endSession is DELETE /api/auth/sessions/{id}. The session of another user gets 404.
func (s *Server) endSession(w http.ResponseWriter, r *http.Request) error {
	p := durward.From(r.Context())
	err := s.c.Sessions.End(r.Context(), p.Subject, r.PathValue("id"), store.EventSessionEnded, from(r))
	return noContent(w, unknown("session", err))
}
