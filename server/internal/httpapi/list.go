package httpapi

import (
	"context"
	"net/http"
	"strconv"
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
) (err error) {
	query, limit := r.URL.Query(), pageSize
	if text := query.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxPageSize {
			return invalid("limit", "The parameter limit must be an integer from 1 to "+strconv.Itoa(maxPageSize)+".", "")
		}
	}
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
	Kind    string    `json:"kind"`
	At      time.Time `json:"at"`
	Device  string    `json:"device"`
	Network string    `json:"network"`
	Read    bool      `json:"read"`
}

// notifications is GET /api/notifications.
func (s *Server) notifications(w http.ResponseWriter, r *http.Request) error {
	return answerPage(w, r, s.c.DB.Notifications, notificationOf, func(n notification) string { return n.ID })
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
