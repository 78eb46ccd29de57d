package securitylog

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/server/internal/store"
)

// Limits on the recorded refusals.
const (
	perNetwork   = 5   // a second
	perSecond    = 200 // of all networks
	maxWaiting   = 2 * perSecond
	refusalsKept = 7 * 24 * time.Hour
)

// denials collects the refusals of the next batch.
type denials struct {
	mu       sync.Mutex
	second   int64          // the Unix second that the counts belong to
	networks map[string]int // refusals of this second by network
	total    int            // refusals of this second
	dropped  int            // refusals over the limits since the last batch
	waiting  []store.Denial
}

// AddRefusal records one refusal with its true cause, for `durward why`, and logs it. The caller
// sets all fields but At. AddRefusal makes Method, Path and Cause printable, and does not wait.
func (w *Writer) AddRefusal(ctx context.Context, d store.Denial) {
	d.At = w.now()
	d.Method, d.Path, d.Cause = printable.Line(d.Method, 20), printable.Line(d.Path, 200), printable.Line(d.Cause, 500)
	if !w.denials.add(d) {
		return
	}
	level := slog.LevelInfo
	if d.Status >= 500 {
		level = slog.LevelError
	}
	w.log.Log(ctx, level, "refused", "denial", d.ID, "code", d.Code, "status", d.Status, "method", d.Method, "path", d.Path,
		"scheme", d.Scheme, "network", d.Network, "subject", d.Subject, "request", d.RequestID, "cause", d.Cause)
}

// add reports whether d is within the limits.
func (s *denials) add(d store.Denial) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if second := d.At.Unix(); second != s.second {
		s.second, s.total = second, 0
		clear(s.networks)
	}
	if s.total >= perSecond || s.networks[d.Network] >= perNetwork || len(s.waiting) >= maxWaiting {
		s.dropped++
		return false
	}
	s.total++
	s.networks[d.Network]++
	s.waiting = append(s.waiting, d)
	return true
}

func (s *denials) takeAll() (rows []store.Denial, dropped int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows, dropped = s.waiting, s.dropped
	s.waiting, s.dropped = nil, 0
	return rows, dropped
}
