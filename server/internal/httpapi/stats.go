package httpapi

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/durward-auth/durward/server/internal/store"
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

// countItem is how often something happened within a step.
type countItem struct {
	At     time.Time         `json:"at"` // start of the step
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels"`
	N      int64             `json:"n"`
}

const (
	countsShown   = 24 * time.Hour // without the parameter since
	maxCountSteps = 2000
	shortestStep  = int64(store.CountPeriod / time.Second)
	longestStep   = int64(24 * time.Hour / time.Second)
)

// counts is GET /api/admin/counts: the counts of all nodes since and until a time, in steps.
func (s *Server) counts(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	since, err := moment(query, "since")
	if err != nil {
		return err
	}
	until, err := moment(query, "until")
	if err != nil {
		return err
	}
	if until.IsZero() {
		until = s.c.Now()
	}
	if since.IsZero() {
		since = until.Add(-countsShown)
	}
	seconds, err := integer(query, "step", shortestStep, shortestStep, longestStep)
	if err != nil {
		return err
	}
	step := time.Duration(seconds) * time.Second
	if until.Sub(since) > maxCountSteps*step {
		return invalid("step", fmt.Sprintf("The time from since to until has more than %d steps.", maxCountSteps), "Choose a larger step or a shorter time.")
	}
	counts, err := s.c.DB.Counts(r.Context(), since, until, step)
	page := list[countItem]{Items: make([]countItem, 0, len(counts))}
	for _, c := range counts {
		item := countItem{At: c.At.UTC(), Name: c.Name, Labels: map[string]string{}, N: c.N}
		for label := range strings.FieldsSeq(c.Labels) {
			name, value, _ := strings.Cut(label, "=")
			item.Labels[name] = value
		}
		page.Items = append(page.Items, item)
	}
	return answer(w, http.StatusOK, page, err)
}
