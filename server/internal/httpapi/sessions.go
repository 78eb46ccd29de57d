package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/store"
)

// list is a page of items; next names where the following page begins and is
// absent on the last.
type list[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

type session struct {
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
	rows, err := s.c.People.Sessions(r.Context(), p.Subject)
	if err != nil {
		return err
	}
	items := make([]session, 0, len(rows))
	for _, row := range rows {
		items = append(items, session{
			ID: row.ID, Current: row.ID == p.SessionID, CreatedAt: row.CreatedAt.UTC(), LastUsedAt: row.LastUsedAt.UTC(),
			Device: row.Device, Network: row.Network,
		})
	}
	return answer(w, http.StatusOK, list[session]{Items: items})
}

// endSession is DELETE /api/auth/sessions/{id}. Another person's session is not
// found.
func (s *Server) endSession(w http.ResponseWriter, r *http.Request) error {
	p := durward.From(r.Context())
	err := s.c.People.EndSession(r.Context(), p.Subject, r.PathValue("id"), store.EventSessionEnded, from(r))
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("this person has no live session of that id: %w", durward.NotFound)
	} else if err != nil {
		return err
	}
	return noContent(w)
}

type notification struct {
	ID      string    `json:"id"`
	Kind    string    `json:"kind"`
	At      time.Time `json:"at"`
	Device  string    `json:"device"`
	Network string    `json:"network"`
	Read    bool      `json:"read"`
}

const (
	pageSize    = 50
	maxPageSize = 200
)

// pageOf says which page of a list is asked for.
func pageOf(r *http.Request) (limit int, after string, err error) {
	query := r.URL.Query()
	limit = pageSize
	if text := query.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxPageSize {
			return 0, "", &durward.Refusal{Code: durward.InvalidRequest, Detail: "The parameter limit is not a number from 1 to " + strconv.Itoa(maxPageSize) + ".", Members: map[string]any{"member": "limit"}, Err: errors.New("parameter limit is no number in its range")}
		}
	}
	return limit, query.Get("after"), nil
}

// notifications is GET /api/notifications.
func (s *Server) notifications(w http.ResponseWriter, r *http.Request) error {
	limit, after, err := pageOf(r)
	if err != nil {
		return err
	}
	p := durward.From(r.Context())
	rows, err := s.c.People.Notifications(r.Context(), p.Subject, after, limit+1)
	if err != nil {
		return err
	}
	page := list[notification]{Items: make([]notification, 0, min(len(rows), limit))}
	for _, row := range rows[:min(len(rows), limit)] {
		page.Items = append(page.Items, notification{ID: row.ID, Kind: row.Kind, At: row.At.UTC(), Device: row.Device, Network: row.Network, Read: row.Read})
	}
	if len(rows) > limit {
		page.Next = rows[limit-1].ID
	}
	return answer(w, http.StatusOK, page)
}
