package nodes

import (
	"net/http"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/durward-auth/durward/internal/services"
)

// TestMetricsParse reads the metrics of a node with the parser of Prometheus.
func TestMetricsParse(t *testing.T) {
	t.Parallel()
	listen := services.Host() + ":8402"
	cl := newCluster(t, clusterConfig{nodes: 1, env: []string{"DURWARD_METRICS_LISTEN=" + listen}})
	if _, err := ask(http.DefaultClient, cl.nodes[0], "GET", "/api/profile", "none", ""); err != nil {
		t.Fatal(err)
	}
	r, err := http.Get("http://" + listen + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if f := expfmt.ResponseFormat(r.Header); f.FormatType() != expfmt.TypeTextPlain {
		t.Errorf("format %q", f)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]dto.MetricType{
		"durward_refusals_total":         dto.MetricType_COUNTER,
		"durward_request_seconds":        dto.MetricType_HISTOGRAM,
		"durward_revocation_lag_seconds": dto.MetricType_HISTOGRAM,
		"durward_build_info":             dto.MetricType_GAUGE,
		"go_goroutines":                  dto.MetricType_GAUGE,
		"go_gc_duration_seconds":         dto.MetricType_SUMMARY,
		"process_cpu_seconds_total":      dto.MetricType_COUNTER,
	} {
		if f := families[name]; f == nil || f.GetType() != want || f.GetHelp() == "" || len(f.GetMetric()) == 0 {
			t.Errorf("%s: got %v, want a %s with help", name, f, want)
		}
	}
}
