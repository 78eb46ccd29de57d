package httpapi

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/server/internal/revocation"
)

// maxWait is the longest wait of GET /api/revocations. It is well under the listener's timeout
// for writing a response.
const maxWait = 30 * time.Second

// revocations is GET /api/revocations: the revocations after a number. The response waits while
// the client, by its If-None-Match, has the current version, or while there is no entry.
func (s *Server) revocations(w http.ResponseWriter, r *http.Request) error {
	began := s.c.Now()
	query := r.URL.Query()
	after, err := integer(query, "after", 0, 0, math.MaxInt64)
	if err != nil {
		return err
	}
	wait, err := integer(query, "wait", 0, 0, int64(maxWait/time.Second))
	if err != nil {
		return err
	}
	if wait > 0 {
		// The listener's timeout for reading a body is shorter than the wait and would end it.
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	}
	q := revocation.Query{After: after, Wait: time.Duration(wait) * time.Second, Check: s.c.Revocations.Err}
	if len(r.Header["If-None-Match"]) > 0 {
		q.Has = func(version string) bool { return unchanged(r, version) }
	}
	page, err := s.c.Feed.Get(r.Context(), q)
	if r.Context().Err() != nil {
		return nil // the client has closed the connection
	} else if err != nil {
		return err
	}
	h := w.Header()
	if page.Closing {
		h.Set("Connection", "close")
	}
	if page.Waited {
		// A session that ended during the wait must not learn of its own end here.
		if err := s.programs.Recheck(r); err != nil {
			return err
		}
	}
	h.Set(api.AsOfField, strconv.FormatFloat(page.AsOf.Sub(began).Seconds(), 'f', 3, 64))
	if !page.InMemory {
		if err := s.c.Feed.Read(r.Context(), after, &page); err != nil {
			return err
		}
	}
	if page.InMemory && unchanged(r, page.Version) {
		h.Set("ETag", page.Version)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if page.ETag != "" {
		h.Set("ETag", page.ETag)
	}
	body := api.RevocationPage{Epoch: page.Epoch, Next: page.Next, More: page.More, Items: make([]api.Revocation, len(page.Entries))}
	for i, e := range page.Entries {
		body.Items[i] = api.Revocation(e)
	}
	return answer(w, http.StatusOK, body, nil)
}

// integer returns a query parameter with a value from lowest to highest, or otherwise if it is absent.
func integer(query url.Values, name string, otherwise, lowest, highest int64) (int64, error) {
	text := query.Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err == nil && n >= lowest && n <= highest {
		return n, nil
	}
	limits := fmt.Sprintf("from %d to %d", lowest, highest)
	if highest == math.MaxInt64 {
		limits = fmt.Sprintf("of %d or more", lowest)
	}
	return 0, invalid(name, "The parameter "+name+" must be an integer "+limits+".", "")
}
