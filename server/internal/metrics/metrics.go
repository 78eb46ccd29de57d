// Package metrics holds the Prometheus metrics of one node. docs/operations.md lists them; the
// dashboard and the alert rules in docs use their names.
//
// No label holds text of a client, a user or a network: the number of time series is bounded.
package metrics

import (
	"context"
	"maps"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/durward-auth/durward/server/internal/store"
)

// namespace begins the name of each metric.
const namespace = "durward_"

// Metrics are the metrics of one node. Its methods do nothing for nil, and are safe for concurrent use.
type Metrics struct {
	counters []*vector // those of Growth, sorted by name

	signIns   *vector
	refreshes *vector
	issued    *vector
	steps     *vector // of authorization requests
	refusals  *vector
	events    *vector
	blocks    *vector
	lag       *vector
	durations *vector
	sealed    atomic.Int64 // in milliseconds since 1970
	scrapes   chan struct{}

	mu      sync.Mutex
	watched []func() []family // of Watch
	counted map[string]uint64 // values that were stored, by name and labels
}

// maxScrapes is the number of calls of Text that run at the same time.
const maxScrapes = 4

// New returns metrics without values.
func New() *Metrics {
	m := &Metrics{
		scrapes: make(chan struct{}, maxScrapes),
		counted: make(map[string]uint64),
	}
	counter := func(name, help string, labels ...string) *vector {
		return &vector{name: namespace + name, help: help, labels: labels}
	}
	m.signIns = counter("sign_ins_total", "Sign-ins by outcome and by the last factor that the client sent.", "factor", "outcome")
	m.refreshes = counter("refreshes_total", "Refreshes of tokens: rotated, or repeated after a lost response.", "outcome")
	m.issued = counter("oauth_tokens_total", "Requests for tokens of applications, by grant and outcome.", "grant", "outcome")
	m.steps = counter("oauth_authorizations_total", "Steps of authorization requests: pages that users were led to, and responses to clients.", "step")
	m.refusals = counter("refusals_total", "Refused requests by code and scheme of the credentials.", "code", "scheme")
	m.events = counter("events_total", "Other events of the security log by kind.", "kind")
	m.blocks = counter("blocks_total", "Blocks for failed attempts that began at this node.")
	m.counters = []*vector{m.blocks, m.events, m.steps, m.issued, m.refreshes, m.refusals, m.signIns}
	m.lag = &vector{
		name:   namespace + "revocation_lag_seconds",
		help:   "Time until a revocation by another process was in this node's list.",
		bounds: []float64{.05, .1, .25, .5, 1, 2.5, 5, 15, 60},
	}
	m.lag.with() // is in the text before the first observation
	m.durations = &vector{
		name:   namespace + "request_seconds",
		help:   "Time to answer a request, by route and method.",
		labels: []string{"method", "route"},
		bounds: []float64{.001, .005, .025, .1, .25, .5, 1, 2.5, 10},
	}
	return m
}

// Text returns the metrics in the text format of Prometheus. If too many calls run, ok is false.
func (m *Metrics) Text() (text string, ok bool) {
	select {
	case m.scrapes <- struct{}{}:
		defer func() { <-m.scrapes }()
	default:
		return "", false
	}
	families := append(processFamilies(),
		gauge(namespace+"security_log_checked_timestamp_seconds", "Time at which this node last found no unsealed event, or sealed the last one.",
			func() float64 { return float64(m.sealed.Load()) / 1000 }),
		family{namespace + "build_info", "Version of the program.", "gauge", func() []sample {
			return []sample{{labels: buildLabels(), value: 1}}
		}},
		m.lag.family(), m.durations.family())
	for _, v := range m.counters {
		families = append(families, v.family())
	}
	m.mu.Lock()
	watched := m.watched
	m.mu.Unlock()
	for _, read := range watched {
		families = append(families, read()...)
	}
	return format(families), true
}

func buildLabels() []label {
	version := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	return []label{{"go", runtime.Version()}, {"version", version}}
}

// Parts are the parts of a node that are read at each scrape. All are required.
type Parts struct {
	Now         func() time.Time
	HashesDone  func() uint64
	HashesOpen  func() int64 // that run or wait
	Revocations func() int
	RevokedAsOf func() time.Time
	Mails       func(context.Context) (n int64, oldest time.Time, err error) // that wait, at all nodes
}

// Watch adds the metrics of the parts.
func (m *Metrics) Watch(p Parts) {
	families := []family{
		{namespace + "password_hashes_total", "Computed password hashes.", "counter", func() []sample { return only(float64(p.HashesDone())) }},
		gauge(namespace+"password_hashes_pending", "Password hashes that run or wait.",
			func() float64 { return float64(p.HashesOpen()) }),
		gauge(namespace+"revocations", "Revocations in the list of this node.",
			func() float64 { return float64(p.Revocations()) }),
		gauge(namespace+"revocation_list_age_seconds", "Time since this node last read the revocations.",
			func() float64 { return p.Now().Sub(p.RevokedAsOf()).Seconds() }),
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watched = append(m.watched, func() []family { return families }, p.outbox)
}

// Issued counts a request for tokens of an application. Both texts are of a short list.
func (m *Metrics) Issued(grant, outcome string) {
	if m != nil {
		m.issued.with(grant, outcome).inc()
	}
}

// Authorized counts a step of an authorization request: a page that the user is led to, or the response. The text is
// of a short list.
func (m *Metrics) Authorized(step string) {
	if m != nil {
		m.steps.with(step).inc()
	}
}

// SignInRefused counts a refused try of a password or a second factor. The outcome of e is the reason; its
// detail names the factor as that of a sign-in does.
func (m *Metrics) SignInRefused(e store.Event) {
	if m != nil {
		m.signIns.with(factorOf(e), strings.ReplaceAll(e.Outcome, " ", "_")).inc()
	}
}

// factorOf returns the factor that the client sent last.
func factorOf(e store.Event) string {
	factor, ok := strings.CutPrefix(e.Detail, store.WithFactor)
	factor, _, _ = strings.Cut(factor, " ") // of a passkey that is the only factor, the id follows
	switch {
	case !ok:
		return "password"
	case factor == store.FactorTOTP, factor == store.FactorRecoveryCode, factor == store.FactorPasskey:
		return factor
	}
	return "other"
}

// Refreshed counts a refresh: "rotated" or "repeated".
func (m *Metrics) Refreshed(outcome string) {
	if m != nil {
		m.refreshes.with(outcome).inc()
	}
}

// Refused counts a refusal.
func (m *Metrics) Refused(code, scheme string) {
	if m != nil {
		m.refusals.with(code, scheme).inc()
	}
}

// Stored counts an event of the security log: a sign-in, a half-finished one, or another event.
// SignInRefused counts refused sign-ins, because one event stands for several.
func (m *Metrics) Stored(e store.Event) {
	switch {
	case m == nil || e.Kind == store.EventSignInRefused:
	case e.Kind == store.EventSignedIn:
		m.signIns.with(factorOf(e), "ok").inc()
	case e.Kind == store.EventSignInBegun:
		m.signIns.with(factorOf(e), "second_factor_required").inc()
	default:
		m.events.with(e.Kind).inc()
	}
}

// Blocked counts a block for failed attempts.
func (m *Metrics) Blocked() {
	if m != nil {
		m.blocks.with().inc()
	}
}

// Revoked observes the time that a revocation took to arrive.
func (m *Metrics) Revoked(lag time.Duration) {
	if m != nil {
		m.lag.with().observe(max(0, lag.Seconds()))
	}
}

// Route returns a function that observes the time that a request took. route is the pattern of its URL. A
// client chooses the method; those that are not among methods count as "other".
func (m *Metrics) Route(route string, methods []string) (served func(method string, took time.Duration)) {
	if m == nil {
		return func(string, time.Duration) {}
	}
	of := make(map[string]*series)
	for _, method := range methods {
		of[method] = m.durations.with(method, route)
	}
	return func(method string, took time.Duration) {
		o := of[method]
		if o == nil {
			o = m.durations.with("other", route)
		}
		o.observe(took.Seconds())
	}
}

// Sealed records that no event is unsealed.
func (m *Metrics) Sealed(at time.Time) {
	if m != nil {
		m.sealed.Store(at.UnixMilli())
	}
}

// Growth returns how much the counters grew since the last growth that was stored. The counts have neither a time
// nor a node. The caller stores them and then calls stored. Calls must not overlap.
func (m *Metrics) Growth() (counts []store.Count, stored func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	values := make(map[string]uint64)
	for _, v := range m.counters {
		name := strings.TrimSuffix(strings.TrimPrefix(v.name, namespace), "_total")
		for _, s := range v.all() {
			c := store.Count{Name: name, Labels: labelText(s.labels)}
			key, value := name+" "+c.Labels, s.count()
			if c.N = int64(value - m.counted[key]); c.N > 0 {
				values[key] = value
				counts = append(counts, c)
			}
		}
	}
	return counts, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		maps.Copy(m.counted, values)
	}
}

// labelText returns labels as name=value, without empty ones.
func labelText(labels []label) string {
	var words []string
	for _, l := range labels {
		if l.value != "" {
			words = append(words, l.name+"="+l.value)
		}
	}
	return strings.Join(words, " ")
}

// scrapeTimeout limits the queries of one scrape.
const scrapeTimeout = 2 * time.Second

// outbox reads the number of mails that wait and the time of the oldest with one query. It returns none of
// both metrics while the database does not answer.
func (p Parts) outbox() []family {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	n, oldest, err := p.Mails(ctx)
	if err != nil {
		return nil
	}
	age := 0.0
	if n > 0 {
		age = p.Now().Sub(oldest).Seconds()
	}
	return []family{
		gauge(namespace+"mails_waiting", "Mails in the outbox of all nodes.", func() float64 { return float64(n) }),
		gauge(namespace+"mail_oldest_seconds", "Age of the oldest mail in the outbox, 0 without one.", func() float64 { return age }),
	}
}
