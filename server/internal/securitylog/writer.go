// Package securitylog writes refusals and refused sign-ins to the database in batches, and
// refusals to the log. A flood of them is cheap and does not displace the rows of other
// networks: the rows that one network and all networks together can cause are limited.
//
// Events of successful operations are not written here: the store inserts each in the
// transaction of its operation.
//
// Every minute the new events are sealed: each gets a number and a hash that covers its row and the hash
// of the event before, and a signed checkpoint covers the last hash. Check finds the events that were
// removed, changed or moved afterwards by an attacker without the master key. It cannot find changes
// before the seal, events that the attacker added, or the removal of the newest seals with all their
// events; the log line of each seal shows the last.
package securitylog

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/server/internal/metrics"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

const (
	refusalInterval = 200 * time.Millisecond // between two batches of refusals
	signInInterval  = time.Second            // between two batches of refused sign-ins
	purgeInterval   = time.Hour
	sealSeconds     = 60 // between two seals
	purgeSeconds    = 3600
	writeTimeout    = 5 * time.Second
	countInterval   = time.Minute // between two writes of counts
	countsKept      = 90 * 24 * time.Hour
)

// Config holds the parts and the setting of a Writer. All parts are required.
type Config struct {
	DB     *store.DB
	Master *seal.Master
	Log    *slog.Logger
	Now    func() time.Time
	Kept   time.Duration // how long events are kept; 0 keeps them for ever

	Metrics *metrics.Metrics // nil: nothing is counted
	Node    string           // names this node in the counts
}

// Writer collects refusals and refused sign-ins, writes them in batches, and seals the events. Its
// methods are safe for concurrent use; only Run waits for the database.
type Writer struct {
	db      *store.DB
	key     chainKey
	log     *slog.Logger
	now     func() time.Time
	kept    time.Duration
	metrics *metrics.Metrics
	node    string
	denials denials
	signIns signIns
}

// New returns a Writer. The caller calls Run.
func New(c Config) (*Writer, error) {
	key, err := newChainKey(c.Master)
	if err != nil {
		return nil, fmt.Errorf("securitylog: %w", err)
	}
	return &Writer{
		db:      c.DB,
		key:     key,
		log:     c.Log,
		now:     c.Now,
		kept:    c.Kept,
		metrics: c.Metrics,
		node:    c.Node,
		denials: denials{networks: make(map[string]int)},
		signIns: signIns{sums: make(map[sumKey]*sum), accounts: make(map[string]int)},
	}, nil
}

// Run writes the batches and the counts until ctx ends, and then the last ones. It also seals the
// events, every minute and at the end, and deletes old events, refusals and counts.
func (w *Writer) Run(ctx context.Context) {
	var sealing sync.WaitGroup
	sealing.Go(func() { w.keepSealed(ctx) })
	tick := time.NewTicker(refusalInterval)
	defer tick.Stop()
	var purged, summed time.Time
	counted := time.Now()
	for ended := false; !ended; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			ended = true
		}
		w.writeRefusals(context.WithoutCancel(ctx))
		now := time.Now() // not that of w, which may be set back
		if ended || now.Sub(summed) >= signInInterval {
			summed = now
			w.writeSignIns(context.WithoutCancel(ctx))
		}
		if ended || now.Sub(counted) >= countInterval {
			counted = now
			w.writeCounts(context.WithoutCancel(ctx))
		}
		if now.Sub(purged) > purgeInterval && !ended {
			purged = now
			if err := w.db.PurgeDenials(ctx, refusalsKept); err != nil {
				w.log.Warn("cannot delete old refusals", "error", err)
			}
			if err := w.db.PurgeCounts(ctx, countsKept); err != nil {
				w.log.Warn("cannot delete old counts", "error", err)
			}
		}
	}
	sealing.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	if err := w.seal(last); err != nil {
		w.log.Error("cannot seal the security log; the next start does", "error", err)
	}
}

// keepSealed seals the new events every minute, and deletes old ones every hour, until ctx ends.
func (w *Writer) keepSealed(ctx context.Context) {
	due, old := true, true
	store.EverySecond(ctx, w.log, "seal the security log", func(n int) (err error) {
		due, old = due || n%sealSeconds == 0, old || n%purgeSeconds == 0
		if due {
			if err = w.seal(ctx); err != nil {
				return err
			}
			w.metrics.Sealed(w.now())
			due = false
		}
		if old && w.kept > 0 {
			err = w.purge(ctx)
		}
		old = err != nil
		return err
	})
}

// writeRefusals writes the refusals that wait.
func (w *Writer) writeRefusals(ctx context.Context) {
	rows, dropped := w.denials.takeAll()
	if dropped > 0 {
		w.log.Warn("refusals over the limits were not recorded", "refusals", dropped)
	}
	if err := write(ctx, w.db.AddDenials, rows); err != nil {
		w.log.Error("cannot record refusals", "refusals", len(rows), "error", err)
	}
}

// writeCounts adds the growth of the counters to the counts of the current period.
func (w *Writer) writeCounts(ctx context.Context) {
	if w.metrics == nil {
		return
	}
	counts, stored := w.metrics.Growth()
	at := w.now()
	for i := range counts {
		counts[i].At, counts[i].Node = at, w.node
	}
	if err := write(ctx, w.db.AddCounts, counts); err != nil {
		w.log.Error("cannot write the counts of the last minute; the next write adds them", "error", err)
		return
	}
	stored()
}

// writeSignIns writes the sums of refused sign-ins.
func (w *Writer) writeSignIns(ctx context.Context) {
	events := w.signIns.takeAll()
	if err := write(ctx, w.db.AddEvents, events); err != nil {
		w.log.Error("cannot write refused sign-ins to the security log", "events", len(events), "error", err)
	}
}

// write adds rows to the database, if there are any.
func write[R any](ctx context.Context, add func(context.Context, []R) error, rows []R) error {
	if len(rows) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	return add(ctx, rows)
}

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
	w.metrics.Refused(d.Code, d.Scheme)
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

// Limits on the sums of one batch.
const (
	maxSums       = 1000 // and one more for each reason
	maxOfNetwork  = 20   // accounts; twice the default limit of failures a minute
	otherAccounts = "further accounts"
	otherNetworks = "further networks"
)

// signIns sums refused sign-ins: one row for each account, network, reason and factor in a batch instead
// of one for each attempt. A network that tries more accounts gets one row for all further ones.
type signIns struct {
	mu       sync.Mutex
	sums     map[sumKey]*sum
	accounts map[string]int // accounts with a sum, by network
}

type sumKey struct{ account, network, reason, factor string }

type sum struct {
	event store.Event
	times int
}

// AddSignIn records a refused sign-in. account is the account that was tried, whether it exists
// or not; e.Outcome is the reason. AddSignIn does not wait.
func (w *Writer) AddSignIn(account string, e store.Event) {
	w.metrics.SignInRefused(e)
	s, key := &w.signIns, sumKey{account, e.Network, e.Outcome, e.Detail}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count(key) {
		return
	}
	if s.accounts[key.network] >= maxOfNetwork {
		key.account, key.factor, e.UserID, e.Device, e.Detail = "", "", "", "", otherAccounts
	}
	if len(s.sums) >= maxSums {
		key.account, key.network, key.factor, e.UserID, e.Device, e.Network, e.Detail = "", "", "", "", "", "", otherNetworks
	}
	if s.count(key) {
		return
	}
	if key.account != "" {
		s.accounts[key.network]++
	}
	s.sums[key] = &sum{event: e, times: 1}
}

// count adds one to an existing sum and reports whether there is one.
func (s *signIns) count(key sumKey) bool {
	sum, ok := s.sums[key]
	if ok {
		sum.times++
	}
	return ok
}

func (s *signIns) takeAll() []store.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := make([]store.Event, 0, len(s.sums))
	for _, sum := range s.sums {
		if sum.times > 1 {
			sum.event.Detail = strings.TrimSpace(fmt.Sprintf("%d times %s", sum.times, sum.event.Detail))
		}
		events = append(events, sum.event)
	}
	clear(s.sums)
	clear(s.accounts)
	return events
}
