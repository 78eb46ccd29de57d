package httpapi

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/securitylog"
	"github.com/durward-auth/durward/server/internal/store"
)

const (
	exportPage  = 1000
	exportWrite = 30 * time.Second // for a page of an export; a slower client is cut off
	readingOnce = time.Hour        // readings of one user within it are one event
)

// events is GET /api/admin/events: a page of the security log, newest event first, or with format=jsonl an
// export, oldest first.
func (s *Server) events(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	f, err := EventFilter(query)
	if err != nil {
		return err
	}
	format := query.Get("format")
	if format != "" && format != "json" && format != "jsonl" {
		return invalid("format", "The parameter format must be json or jsonl.", "")
	}
	what := "events"
	if format == "jsonl" {
		what = "export of events"
	}
	if err := s.RecordReading(r, what); err != nil {
		return err
	}
	if format == "jsonl" {
		return s.exportEvents(w, r, f, query.Get("after"))
	}
	find := func(ctx context.Context, _, after string, limit int) ([]store.Event, error) {
		f.Before, f.Limit = after, limit
		return s.c.DB.Events(ctx, f)
	}
	return answerPage(w, r, find, securitylog.EventLineOf, func(e securitylog.EventLine) string { return e.ID })
}

// EventFilter returns the filter of a query. It refuses with InvalidRequest, naming the wrong parameter.
func EventFilter(query url.Values) (f store.EventFilter, err error) {
	f.Kind, f.UserID, f.Actor = query.Get("kind"), query.Get("user_id"), query.Get("actor")
	if f.Since, err = moment(query, "since"); err != nil {
		return f, err
	}
	f.Until, err = moment(query, "until")
	return f, err
}

// moment returns a query parameter that is a time, or the zero time if it is absent.
func moment(query url.Values, name string) (time.Time, error) {
	text := query.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, invalid(name, "The parameter "+name+" is not a time.", "Write it as in 2026-01-02T03:04:05Z (RFC 3339).")
	}
	return at, nil
}

// RecordReading adds to the security log that the user of the request reads it, at most once in
// readingOnce.
func (s *Server) RecordReading(r *http.Request, what string) error {
	p := durward.From(r.Context())
	e := from(r).Event(store.EventLogRead, "ok", p.Subject, p.SessionID, s.c.Now())
	e.Detail = what
	return s.c.DB.AddEventOnce(r.Context(), e, readingOnce)
}

// exportEvents answers with the events after the one with the id after, one JSON object a line. Events that
// are not settled yet are left out, so that an export after the last line of this one has no gap.
//
// After the first page a failure can only end the connection: the client sees an incomplete body.
func (s *Server) exportEvents(w http.ResponseWriter, r *http.Request, f store.EventFilter, after string) error {
	if settled := s.c.Now().Add(-store.EventLate); f.Until.IsZero() || f.Until.After(settled) {
		f.Until = settled
	}
	f.Limit = exportPage
	control := http.NewResponseController(w)
	var lines bytes.Buffer
	for first := true; ; first = false {
		events, err := s.c.DB.EventsAfter(r.Context(), f, after)
		if err == nil && !first {
			err = s.guard.Recheck(r) // the administrator may have been locked during the export
		}
		lines.Reset()
		for _, e := range events {
			if err == nil {
				err = json.MarshalWrite(&lines, securitylog.EventLineOf(e))
				lines.WriteByte('\n')
			}
		}
		switch {
		case err != nil && first:
			return err
		case err != nil:
			if r.Context().Err() == nil {
				s.c.Log.Error("an export of the security log ended early", "error", err, "request", requestID(r.Context()))
			}
			panic(http.ErrAbortHandler)
		case first:
			h := w.Header()
			h.Set("Content-Type", "application/jsonl")
			h.Set("Content-Disposition", `attachment; filename="events.jsonl"`)
			h.Set("X-Content-Type-Options", "nosniff")
			h.Set("Cache-Control", "no-store")
			w.WriteHeader(http.StatusOK)
		}
		_ = control.SetWriteDeadline(time.Now().Add(exportWrite))
		if _, err := w.Write(lines.Bytes()); err != nil || len(events) < exportPage || r.Method == http.MethodHead {
			return nil
		}
		after = events[len(events)-1].ID
	}
}

// denials is GET /api/admin/denials: a page of refusals with their causes, newest first.
func (s *Server) denials(w http.ResponseWriter, r *http.Request) error {
	if err := s.RecordReading(r, "refusals"); err != nil {
		return err
	}
	f := DenialFilter(r.URL.Query())
	find := func(ctx context.Context, _, after string, limit int) ([]store.Denial, error) {
		f.Before, f.Limit = after, limit
		return s.c.DB.Denials(ctx, f)
	}
	item := func(d store.Denial) securitylog.DenialLine { return securitylog.DenialLineOf(d, s.c.Figures) }
	return answerPage(w, r, find, item, func(d securitylog.DenialLine) string { return d.ID })
}

// DenialFilter returns the filter of a query.
func DenialFilter(query url.Values) store.DenialFilter {
	return store.DenialFilter{Code: strings.ToUpper(query.Get("code")), Path: query.Get("path"), Network: query.Get("network")}
}

// denial is GET /api/admin/denials/{id}. The id may have the prefix that refusals have in instance.
func (s *Server) denial(w http.ResponseWriter, r *http.Request) error {
	if err := s.RecordReading(r, "refusals"); err != nil {
		return err
	}
	d, err := s.c.DB.DenialByID(r.Context(), securitylog.DenialID(r.PathValue("id")))
	return answer(w, http.StatusOK, securitylog.DenialLineOf(d, s.c.Figures), err)
}
