package httpapi

import (
	"net/http"
	"time"
)

// stats is GET /api/admin/stats.
func (s *Server) stats(w http.ResponseWriter, r *http.Request) error {
	t, err := s.c.DB.Totals(r.Context())
	return answer(w, http.StatusOK, struct {
		At             time.Time `json:"at"`
		Users          int64     `json:"users"`
		Administrators int64     `json:"administrators"`
		Locked         int64     `json:"locked"`
		Unverified     int64     `json:"unverified"`
		WithFactor     int64     `json:"with_second_factor"`
		Sessions       int64     `json:"sessions"`
		Keys           int64     `json:"api_keys"`
		Mails          int64     `json:"mails_waiting"`
		OldestMail     time.Time `json:"oldest_mail_at,omitzero"`
	}{t.At.UTC(), t.Users, t.Administrators, t.Locked, t.Unverified, t.WithFactor, t.Sessions, t.APIKeys, t.Mails, t.OldestMail}, err)
}
