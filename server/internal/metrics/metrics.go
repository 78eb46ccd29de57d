// Package metrics holds the Prometheus metrics of one node. docs/operations.md lists them; the
// dashboard and the alert rules in docs use their names.
//
// No label holds text of a client, a user or a network: the number of time series is bounded.
package metrics

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	dto "github.com/prometheus/client_model/go"

	"github.com/durward-auth/durward/server/internal/store"
)

// namespace begins the name of each metric.
const namespace = "durward_"

// Metrics are the metrics of one node. Its methods do nothing for nil, and are safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry
	counters *prometheus.Registry // those of Growth

	signIns   *prometheus.CounterVec
	refreshes *prometheus.CounterVec
	issued    *prometheus.CounterVec
	steps     *prometheus.CounterVec // of authorization requests
	refusals  *prometheus.CounterVec
	events    *prometheus.CounterVec
	blocks    *prometheus.CounterVec
	lag       prometheus.Histogram
	durations *prometheus.HistogramVec
	sealed    prometheus.Gauge

	mu      sync.Mutex
	counted map[string]float64 // values that were stored, by name and labels
}

// New returns metrics without values.
func New() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		counters: prometheus.NewRegistry(),
		counted:  make(map[string]float64),
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: namespace + name, Help: help}, labels)
		m.registry.MustRegister(c)
		m.counters.MustRegister(c)
		return c
	}
	m.signIns = counter("sign_ins_total", "Sign-ins by outcome and by the last factor that the client sent.", "outcome", "factor")
	m.refreshes = counter("refreshes_total", "Refreshes of tokens: rotated, or repeated after a lost response.", "outcome")
	m.issued = counter("oauth_tokens_total", "Requests for tokens of applications, by grant and outcome.", "grant", "outcome")
	m.steps = counter("oauth_authorizations_total", "Steps of authorization requests: pages that users were led to, and responses to clients.", "step")
	m.refusals = counter("refusals_total", "Refused requests by code and scheme of the credentials.", "code", "scheme")
	m.events = counter("events_total", "Other events of the security log by kind.", "kind")
	m.blocks = counter("blocks_total", "Blocks for failed attempts that began at this node.")
	m.lag = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    namespace + "revocation_lag_seconds",
		Help:    "Time until a revocation by another process was in this node's list.",
		Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 15, 60},
	})
	m.durations = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    namespace + "request_seconds",
		Help:    "Time to answer a request, by route and method.",
		Buckets: []float64{.001, .005, .025, .1, .25, .5, 1, 2.5, 10},
	}, []string{"route", "method"})
	m.sealed = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: namespace + "security_log_checked_timestamp_seconds",
		Help: "Time at which this node last found no unsealed event, or sealed the last one.",
	})
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        namespace + "build_info",
		Help:        "Version of the program.",
		ConstLabels: buildLabels(),
	})
	build.Set(1)
	m.registry.MustRegister(m.lag, m.durations, m.sealed, build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func buildLabels() prometheus.Labels {
	labels := prometheus.Labels{"version": "unknown", "go": runtime.Version()}
	if info, ok := debug.ReadBuildInfo(); ok {
		labels["version"] = info.Main.Version
	}
	return labels
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
	gauge := func(name, help string, read func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: namespace + name, Help: help}, read)
	}
	m.registry.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: namespace + "password_hashes_total",
			Help: "Computed password hashes.",
		}, func() float64 { return float64(p.HashesDone()) }),
		gauge("password_hashes_pending", "Password hashes that run or wait.",
			func() float64 { return float64(p.HashesOpen()) }),
		gauge("revocations", "Revocations in the list of this node.",
			func() float64 { return float64(p.Revocations()) }),
		gauge("revocation_list_age_seconds", "Time since this node last read the revocations.",
			func() float64 { return p.Now().Sub(p.RevokedAsOf()).Seconds() }),
		outbox{
			Parts:  p,
			number: prometheus.NewDesc(namespace+"mails_waiting", "Mails in the outbox of all nodes.", nil, nil),
			age:    prometheus.NewDesc(namespace+"mail_oldest_seconds", "Age of the oldest mail in the outbox, 0 without one.", nil, nil),
		})
}

// Gatherer returns the metrics for a handler of package promhttp.
func (m *Metrics) Gatherer() prometheus.Gatherer { return m.registry }

// Issued counts a request for tokens of an application. Both texts are of a short list.
func (m *Metrics) Issued(grant, outcome string) {
	if m != nil {
		m.issued.WithLabelValues(grant, outcome).Inc()
	}
}

// Authorized counts a step of an authorization request: a page that the user is led to, or the response. The text is
// of a short list.
func (m *Metrics) Authorized(step string) {
	if m != nil {
		m.steps.WithLabelValues(step).Inc()
	}
}

// SignInRefused counts a refused try of a password or a second factor. The outcome of e is the reason; its
// detail names the factor as that of a sign-in does.
func (m *Metrics) SignInRefused(e store.Event) {
	if m != nil {
		m.signIns.WithLabelValues(strings.ReplaceAll(e.Outcome, " ", "_"), factorOf(e)).Inc()
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
		m.refreshes.WithLabelValues(outcome).Inc()
	}
}

// Refused counts a refusal.
func (m *Metrics) Refused(code, scheme string) {
	if m != nil {
		m.refusals.WithLabelValues(code, scheme).Inc()
	}
}

// Stored counts an event of the security log: a sign-in, a half-finished one, or another event.
// SignInRefused counts refused sign-ins, because one event stands for several.
func (m *Metrics) Stored(e store.Event) {
	switch {
	case m == nil || e.Kind == store.EventSignInRefused:
	case e.Kind == store.EventSignedIn:
		m.signIns.WithLabelValues("ok", factorOf(e)).Inc()
	case e.Kind == store.EventSignInBegun:
		m.signIns.WithLabelValues("second_factor_required", factorOf(e)).Inc()
	default:
		m.events.WithLabelValues(e.Kind).Inc()
	}
}

// Blocked counts a block for failed attempts.
func (m *Metrics) Blocked() {
	if m != nil {
		m.blocks.WithLabelValues().Inc()
	}
}

// Revoked observes the time that a revocation took to arrive.
func (m *Metrics) Revoked(lag time.Duration) {
	if m != nil {
		m.lag.Observe(max(0, lag.Seconds()))
	}
}

// Route returns a function that observes the time that a request took. route is the pattern of its URL. A
// client chooses the method; those that are not among methods count as "other".
func (m *Metrics) Route(route string, methods []string) (served func(method string, took time.Duration)) {
	if m == nil {
		return func(string, time.Duration) {}
	}
	of := make(map[string]prometheus.Observer)
	for _, method := range methods {
		of[method] = m.durations.WithLabelValues(route, method)
	}
	return func(method string, took time.Duration) {
		o := of[method]
		if o == nil {
			o = m.durations.WithLabelValues(route, "other")
		}
		o.Observe(took.Seconds())
	}
}

// Sealed records that no event is unsealed.
func (m *Metrics) Sealed(at time.Time) {
	if m != nil {
		m.sealed.Set(float64(at.UnixMilli()) / 1000)
	}
}

// Growth returns how much the counters grew since the last growth that was stored. The caller
// calls stored after it has stored the counts, which have neither a time nor a node. Calls must not overlap.
func (m *Metrics) Growth() (counts []store.Count, stored func(), err error) {
	families, err := m.counters.Gather()
	if err != nil {
		return nil, nil, fmt.Errorf("metrics: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	values := make(map[string]float64)
	for _, f := range families {
		name := strings.TrimSuffix(strings.TrimPrefix(f.GetName(), namespace), "_total")
		for _, metric := range f.GetMetric() {
			c := store.Count{Name: name, Labels: labelText(metric)}
			key, value := name+" "+c.Labels, metric.GetCounter().GetValue()
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
	}, nil
}

// labelText returns the labels of a metric as name=value, in the order of their names, without empty ones.
func labelText(metric *dto.Metric) string {
	var words []string
	for _, l := range metric.GetLabel() { // Gather sorts them
		if l.GetValue() != "" {
			words = append(words, l.GetName()+"="+l.GetValue())
		}
	}
	return strings.Join(words, " ")
}

// scrapeTimeout limits the queries of one scrape.
const scrapeTimeout = 2 * time.Second

// outbox reads the number of mails that wait and the time of the oldest with one query.
type outbox struct {
	Parts
	number, age *prometheus.Desc
}

func (o outbox) Describe(to chan<- *prometheus.Desc) { to <- o.number; to <- o.age }

// Collect leaves both metrics out while the database does not answer.
func (o outbox) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	n, oldest, err := o.Mails(ctx)
	if err != nil {
		return
	}
	age := 0.0
	if n > 0 {
		age = o.Now().Sub(oldest).Seconds()
	}
	to <- prometheus.MustNewConstMetric(o.number, prometheus.GaugeValue, float64(n))
	to <- prometheus.MustNewConstMetric(o.age, prometheus.GaugeValue, age)
}
