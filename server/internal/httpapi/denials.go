package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/store"
)

// Denials keeps the true causes of refusals for `durward why`: in the log, and
// in a table written in batches. A flood costs nothing and hides nobody else's:
// what one network and all together may write is bounded.
type Denials struct {
	db  *store.DB
	log *slog.Logger
	now func() time.Time

	mu      sync.Mutex
	second  int64          // the second that the counts are of
	written map[string]int // this second's rows by network
	total   int
	dropped int // rows past the bounds, since the last log line about it
	waiting []store.Denial
}

const (
	denialsPerNetwork = 5 // rows a second
	denialsPerSecond  = 200
	denialsKept       = 7 * 24 * time.Hour
	denialsFlush      = 200 * time.Millisecond
	denialsWaiting    = 2 * denialsPerSecond // rows held while the database is away
)

// NewDenials keeps causes in db, and in log as they come.
func NewDenials(db *store.DB, log *slog.Logger, now func() time.Time) *Denials {
	return &Denials{db: db, log: log, now: now, written: make(map[string]int)}
}

// add takes note of a refusal. It is called on the request's path and never
// waits.
func (d *Denials) add(r *http.Request, f *durward.Refusal) {
	cause := ""
	if f.Err != nil {
		// The code stands beside it.
		cause = strings.TrimSuffix(strings.TrimSuffix(f.Err.Error(), string(f.Code)), ": ")
	}
	row := store.Denial{
		ID: f.ID, Code: string(f.Code), Status: f.Status, At: d.now(), Method: printable.Line(r.Method, 20), Path: printable.Line(account.WithoutKeys(r.URL.Path), 200),
		Scheme: f.Scheme, Cause: printable.Line(cause, 500), RequestID: requestID(r.Context()),
		Network: account.From{Addr: durward.ClientAddr(r.Context())}.Network(),
	}
	if p := durward.From(r.Context()); p != nil {
		row.Subject = p.Subject
	}

	d.mu.Lock()
	if second := row.At.Unix(); second != d.second {
		d.second, d.total = second, 0
		clear(d.written)
	}
	keep := d.total < denialsPerSecond && d.written[row.Network] < denialsPerNetwork && len(d.waiting) < denialsWaiting
	if keep {
		d.total++
		d.written[row.Network]++
		d.waiting = append(d.waiting, row)
	} else {
		d.dropped++
	}
	d.mu.Unlock()

	if !keep {
		return
	}
	level := slog.LevelInfo
	if f.Status >= 500 {
		level = slog.LevelError
	}
	d.log.Log(r.Context(), level, "refused", "denial", row.ID, "code", row.Code, "status", row.Status, "method", row.Method,
		"path", row.Path, "scheme", row.Scheme, "network", row.Network, "subject", row.Subject, "request", row.RequestID, "cause", row.Cause)
}

// Run writes what waits until ctx ends, and what is left then.
func (d *Denials) Run(ctx context.Context) {
	tick := time.NewTicker(denialsFlush)
	defer tick.Stop()
	var purged time.Time
	for ended := false; !ended; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			ended = true
		}
		d.flush(context.WithoutCancel(ctx))
		if now := d.now(); now.Sub(purged) > time.Hour && !ended {
			purged = now
			if err := d.db.PurgeDenials(ctx, now.Add(-denialsKept)); err != nil {
				d.log.Warn("old refusals could not be removed", "error", err)
			}
		}
	}
}

func (d *Denials) flush(ctx context.Context) {
	d.mu.Lock()
	rows, dropped := d.waiting, d.dropped
	d.waiting, d.dropped = nil, 0
	d.mu.Unlock()
	if dropped > 0 {
		d.log.Warn("refusals past the bound were not written down", "refusals", dropped)
	}
	if len(rows) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := d.db.AddDenials(ctx, rows); err != nil {
		d.log.Error("refusals could not be written down", "refusals", len(rows), "error", err)
	}
}
