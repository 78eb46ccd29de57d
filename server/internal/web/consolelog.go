package web

import (
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/durward-auth/durward/server/internal/explain"
	"github.com/durward-auth/durward/server/internal/httpapi"
	"github.com/durward-auth/durward/server/internal/securitylog"
	"github.com/durward-auth/durward/server/internal/store"
)

// refusalsData is the data of /console/refusals.
type refusalsData struct {
	Filter store.DenialFilter
	Items  []store.Denial
	Next   string
	Codes  []explain.Page
}

// showRefusals is GET /console/refusals.
func (s *Server) showRefusals(w http.ResponseWriter, r *http.Request) error {
	return s.refusalsPage(w, r, nil)
}

func (s *Server) refusalsPage(w http.ResponseWriter, r *http.Request, f *form) (err error) {
	query := r.URL.Query()
	if err = s.api.RecordReading(r, "refusals"); err != nil {
		return err
	}
	d := refusalsData{Filter: httpapi.DenialFilter(query), Codes: explain.Codes()}
	d.Filter.Before, d.Filter.Limit = query.Get("after"), listLength+1
	if d.Items, err = s.c.Parts.DB.Denials(r.Context(), d.Filter); err != nil {
		return err
	}
	if len(d.Items) > listLength {
		d.Items = d.Items[:listLength]
		d.Next = s.nextPage(r, d.Items[listLength-1].ID)
	}
	return s.showConsole(w, r, "console-refusals.html", "refusals", d, f)
}

// findRefusal is POST /console/refusals: it leads to the refusal with the id in the text.
func (s *Server) findRefusal(w http.ResponseWriter, r *http.Request) error {
	f, err := readForm(w, r, "text")
	if err != nil {
		return err
	}
	id := securitylog.DenialID(f.Value("text"))
	if id == "" {
		f.Wrong("text", text(languageOf(r), "console.why_missing"))
		return s.refusalsPage(w, r, f)
	}
	d, err := s.c.Parts.DB.DenialByID(r.Context(), id)
	if errors.Is(err, store.ErrNotFound) {
		f.Wrong("text", text(languageOf(r), "console.why_unknown"))
		return s.refusalsPage(w, r, f)
	} else if err != nil {
		return err
	}
	return s.see(w, r, s.path("/console/refusals/"+url.PathEscape(d.ID)))
}

// refusalData is the data of /console/refusals/{id}.
type refusalData struct {
	securitylog.DenialLine
	Title    string
	Sections []explain.Section
	User     store.User // of the subject, if there is one
}

// showRefusal is GET /console/refusals/{id}.
func (s *Server) showRefusal(w http.ResponseWriter, r *http.Request) error {
	if err := s.api.RecordReading(r, "refusals"); err != nil {
		return err
	}
	row, err := s.c.Parts.DB.DenialByID(r.Context(), securitylog.DenialID(r.PathValue("id")))
	if err != nil {
		return err
	}
	d := refusalData{DenialLine: securitylog.DenialLineOf(row, s.c.Settings.Figures)}
	if p, ok := explain.Code(row.Code); ok {
		p = p.With(s.c.Settings.Figures)
		d.Title, d.Sections = p.Title, p.Parts()
	}
	if row.Subject != "" {
		if d.User, err = s.c.Parts.DB.UserByID(r.Context(), row.Subject); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return s.showConsole(w, r, "console-refusal.html", "refusals", d, nil)
}

// logData is the data of /console/log.
type logData struct {
	Filter       store.EventFilter
	Since, Until string // as typed
	Events       []store.Event
	Kinds        []string
	Next         string
	Follow       string // URL of the page that reloads itself; empty on that page
	Still        string // URL of the page that does not, on the other
	Seconds      int    // between two loads
	Export       string
	Seal         store.Seal
	Hash         string
}

// followSeconds is the time between two loads of the followed log.
const followSeconds = 10

// showLog is GET /console/log.
func (s *Server) showLog(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	for _, name := range []string{"since", "until"} {
		// A field of a date has no time; the day begins in UTC.
		if v := query.Get(name); len(v) == len("2006-01-02") {
			query.Set(name, v+"T00:00:00Z")
		}
	}
	d := logData{Seconds: followSeconds, Since: day(query.Get("since")), Until: day(query.Get("until")), Kinds: store.EventKinds()}
	f := &form{values: query}
	var err error
	if d.Filter, err = httpapi.EventFilter(query); err != nil {
		if err := s.consoleFault(r, f, err); err != nil {
			return err
		}
		return s.showConsole(w, r, "console-log.html", "log", d, f)
	}
	if err := s.api.RecordReading(r, "events"); err != nil {
		return err
	}
	d.Filter.Before, d.Filter.Limit = query.Get("after"), listLength+1
	if d.Events, err = s.c.Parts.DB.Events(r.Context(), d.Filter); err != nil {
		return err
	}
	if len(d.Events) > listLength {
		d.Events = d.Events[:listLength]
		d.Next = s.nextPage(r, d.Events[listLength-1].ID)
	}
	if d.Seal, err = s.c.Parts.DB.LastSeal(r.Context()); err != nil {
		return err
	}
	d.Hash = hex.EncodeToString(d.Seal.Hash)
	filter := url.Values{}
	for _, name := range []string{"kind", "user_id", "actor", "since", "until"} {
		if v := query.Get(name); v != "" {
			filter.Set(name, v)
		}
	}
	still := s.path("/console/log?" + filter.Encode())
	follow := still + "&follow=1"
	if query.Get("follow") != "" {
		d.Still = still
	} else {
		d.Follow = strings.Replace(follow, "?&", "?", 1)
	}
	filter.Set("format", "jsonl")
	d.Export = s.path("/api/admin/events?" + filter.Encode())
	return s.showConsole(w, r, "console-log.html", "log", d, nil)
}

// day returns the date of a time as a field of a date takes it.
func day(at string) string {
	date, _, _ := strings.Cut(at, "T")
	return date
}
