package metrics

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// ContentType is that of the text format of Prometheus.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// family is a name with all its time series.
type family struct {
	name, help string
	kind       string // "counter", "gauge", "histogram", "summary"
	read       func() []sample
}

// sample is one line of a family.
type sample struct {
	suffix string  // of the name: "_sum"
	labels []label // in their order in the text
	value  float64
}

type label struct{ name, value string }

// only returns the samples of a family without labels.
func only(value float64) []sample { return []sample{{value: value}} }

// gauge returns a family of one value.
func gauge(name, help string, read func() float64) family {
	return family{name, help, "gauge", func() []sample { return only(read()) }}
}

var (
	escapeHelp  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	escapeLabel = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// format returns families in the text format, sorted by name. It leaves out those without samples.
func format(families []family) string {
	var text strings.Builder
	slices.SortFunc(families, func(a, b family) int { return strings.Compare(a.name, b.name) })
	for _, f := range families {
		for i, s := range f.read() {
			if i == 0 {
				fmt.Fprintf(&text, "# HELP %s %s\n# TYPE %s %s\n", f.name, escapeHelp.Replace(f.help), f.name, f.kind)
			}
			text.WriteString(f.name + s.suffix)
			for i, l := range s.labels {
				text.WriteString([]string{"{", ","}[min(i, 1)] + l.name + `="` + escapeLabel.Replace(strings.ToValidUTF8(l.value, "\ufffd")) + `"`)
			}
			if len(s.labels) > 0 {
				text.WriteByte('}')
			}
			text.WriteString(" " + number(s.value) + "\n")
		}
	}
	return text.String()
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) } // "+Inf", "NaN" as in the format

// vector is a family of counters or histograms: one for each list of label values.
type vector struct {
	name, help string
	labels     []string  // names, sorted
	bounds     []float64 // of the buckets of histograms, ascending; nil for counters
	mu         sync.Mutex
	series     map[string]*series // by the values with 0 octets between
}

// series is a counter with the value n, or a histogram.
type series struct {
	labels []label
	bounds []float64

	mu      sync.Mutex
	n       uint64
	sum     float64
	buckets []uint64 // observations up to each bound that are above the one before
}

// with returns the series of the values. They have the order of the names.
func (v *vector) with(values ...string) *series {
	key := strings.Join(values, "\x00")
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.series[key]
	if s == nil {
		s = &series{bounds: v.bounds, buckets: make([]uint64, len(v.bounds))}
		for i, name := range v.labels {
			s.labels = append(s.labels, label{name, values[i]})
		}
		if v.series == nil {
			v.series = make(map[string]*series)
		}
		v.series[key] = s
	}
	return s
}

// all returns the series, sorted by the values of their labels.
func (v *vector) all() []*series {
	v.mu.Lock()
	defer v.mu.Unlock()
	var all []*series
	for _, key := range slices.Sorted(maps.Keys(v.series)) {
		all = append(all, v.series[key])
	}
	return all
}

func (v *vector) family() family {
	kind := "counter"
	if v.bounds != nil {
		kind = "histogram"
	}
	return family{v.name, v.help, kind, func() (samples []sample) {
		for _, s := range v.all() {
			samples = append(samples, s.samples()...)
		}
		return samples
	}}
}

// inc adds one to a counter.
func (s *series) inc() {
	s.mu.Lock()
	s.n++
	s.mu.Unlock()
}

// count returns the value of a counter, or the number of observations.
func (s *series) count() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

// observe adds a value to a histogram.
func (s *series) observe(value float64) {
	i, _ := slices.BinarySearch(s.bounds, value) // a bound belongs to its bucket
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n++
	s.sum += value
	if i < len(s.buckets) {
		s.buckets[i]++
	}
}

func (s *series) samples() (samples []sample) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bounds == nil {
		return []sample{{labels: s.labels, value: float64(s.n)}}
	}
	bucket := func(bound float64, n uint64) {
		samples = append(samples, sample{"_bucket", append(slices.Clone(s.labels), label{"le", number(bound)}), float64(n)})
	}
	var below uint64
	for i, bound := range s.bounds {
		below += s.buckets[i]
		bucket(bound, below)
	}
	bucket(math.Inf(1), s.n)
	return append(samples, sample{"_sum", s.labels, s.sum}, sample{"_count", s.labels, float64(s.n)})
}
