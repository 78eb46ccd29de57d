package httpapi

import (
	"net/http"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/store"
)

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
	return s.answerSessions(w, r, durward.From(r.Context()).Subject)
}

// answerSessions answers with the live sessions of a user.
func (s *Server) answerSessions(w http.ResponseWriter, r *http.Request, userID string) error {
	p := durward.From(r.Context())
	rows, err := s.c.Sessions.List(r.Context(), userID)
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
	return noContent(w, s.EndSession(r, r.PathValue("id")))
}

// EndSession ends a session of the user of a request. It refuses with NotFound if the user has no such session.
func (s *Server) EndSession(r *http.Request, id string) error {
	err := s.c.Sessions.End(r.Context(), durward.From(r.Context()).Subject, id, store.EventSessionEnded, from(r))
	return unknown("session", err)
}
