// Package securitylog writes refusals and refused sign-ins to the database in batches, and
// refusals to the log. A flood of them is cheap and does not displace the rows of other
// networks: the rows that one network and all networks together can cause are limited.
//
// Events of successful operations are not written here: the store inserts each in the
// transaction of its operation.
package securitylog

import (
	"context"
	"log/slog"
	"time"

	"github.com/durward-auth/durward/server/internal/store"
)

const (
	refusalInterval = 200 * time.Millisecond // between two batches of refusals
	signInInterval  = time.Second            // between two batches of refused sign-ins
	purgeInterval   = time.Hour
	writeTimeout    = 5 * time.Second
)

// Writer collects refusals and refused sign-ins and writes them in batches. Its methods are
// safe for concurrent use; only Run waits for the database.
type Writer struct {
	db      *store.DB
	log     *slog.Logger
	now     func() time.Time
	denials denials
	signIns signIns
}

// New returns a Writer to db and log. The caller calls Run.
func New(db *store.DB, log *slog.Logger, now func() time.Time) *Writer {
	return &Writer{
		db:      db,
		log:     log,
		now:     now,
		denials: denials{networks: make(map[string]int)},
		signIns: signIns{sums: make(map[sumKey]*sum), accounts: make(map[string]int)},
	}
}

// Run writes the batches until ctx ends, and then the last one. It also deletes refusals that
// are older than seven days.
func (w *Writer) Run(ctx context.Context) {
	tick := time.NewTicker(refusalInterval)
	defer tick.Stop()
	var purged, summed time.Time
	for ended := false; !ended; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			ended = true
		}
		w.writeRefusals(context.WithoutCancel(ctx))
		if now := time.Now(); ended || now.Sub(summed) >= signInInterval {
			summed = now
			w.writeSignIns(context.WithoutCancel(ctx))
		}
		if now := w.now(); now.Sub(purged) > purgeInterval && !ended {
			purged = now
			if err := w.db.PurgeDenials(ctx, now.Add(-refusalsKept)); err != nil {
				w.log.Warn("cannot delete old refusals", "error", err)
			}
		}
	}
}

// writeRefusals writes the refusals that wait.
func (w *Writer) writeRefusals(ctx context.Context) {
	rows, dropped := w.denials.takeAll()
	if dropped > 0 {
		w.log.Warn("refusals over the limits were not recorded", "refusals", dropped)
	}
	if len(rows) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := w.db.AddDenials(ctx, rows); err != nil {
		w.log.Error("cannot record refusals", "refusals", len(rows), "error", err)
	}
}

// writeSignIns writes the sums of refused sign-ins.
func (w *Writer) writeSignIns(ctx context.Context) {
	events := w.signIns.takeAll()
	if len(events) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	if err := w.db.AddEvents(ctx, events); err != nil {
		w.log.Error("cannot write refused sign-ins to the security log", "events", len(events), "error", err)
	}
}
