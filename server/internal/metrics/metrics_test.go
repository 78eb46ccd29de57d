package metrics

import (
	"context"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/store"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// filled returns metrics that each have a value.
func filled() *Metrics {
	m := New()
	m.Stored(store.Event{Kind: store.EventSignedIn})
	m.Stored(store.Event{Kind: store.EventSignInBegun})
	m.Stored(store.Event{Kind: store.EventSignedIn, Detail: store.WithFactor + store.FactorTOTP})
	m.Stored(store.Event{Kind: store.EventSignedIn, Detail: store.WithFactor + "a text of a client"})
	m.SignInRefused(store.Event{Outcome: "wrong password"})
	m.SignInRefused(store.Event{Outcome: "wrong code", Detail: store.WithFactor + store.FactorRecoveryCode})
	m.Blocked()
	m.Refreshed("rotated")
	m.Issued("refresh_token", "invalid_grant")
	m.Authorized("consent")
	m.Refused("INVALID_TOKEN", "Bearer")
	m.Refused("INVALID_TOKEN", "Bearer")
	m.Refused("NOT_FOUND", "")
	m.Stored(store.Event{Kind: store.EventRefreshTheft})
	m.Stored(store.Event{Kind: store.EventSignInRefused, Detail: "7 times"})
	m.Revoked(300 * time.Millisecond)
	served := m.Route("/api/profile", []string{"GET", "PATCH"})
	for _, method := range []string{"GET", "TEXT", "OF", "A", "CLIENT"} {
		served(method, 2*time.Millisecond)
	}
	m.Sealed(noon)
	return m
}

func parts(mails func(context.Context) (int64, time.Time, error)) Parts {
	return Parts{
		Now:         func() time.Time { return noon },
		HashesDone:  func() uint64 { return 41 },
		HashesOpen:  func() int64 { return 3 },
		Revocations: func() int { return 5 },
		RevokedAsOf: func() time.Time { return noon.Add(-2 * time.Second) },
		Mails:       mails,
	}
}

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	text, ok := m.Text()
	if !ok {
		t.Fatal("too many scrapes")
	}
	return text
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	m := filled()
	m.Watch(parts(func(context.Context) (int64, time.Time, error) { return 2, noon.Add(-time.Minute), nil }))
	text := scrape(t, m)
	for _, want := range []string{
		`durward_sign_ins_total{factor="password",outcome="ok"} 1`,
		`durward_sign_ins_total{factor="password",outcome="second_factor_required"} 1`,
		`durward_sign_ins_total{factor="totp",outcome="ok"} 1`,
		`durward_sign_ins_total{factor="other",outcome="ok"} 1`,
		`durward_sign_ins_total{factor="password",outcome="wrong_password"} 1`,
		`durward_sign_ins_total{factor="recovery_code",outcome="wrong_code"} 1`,
		`durward_blocks_total 1`,
		`durward_refreshes_total{outcome="rotated"} 1`,
		`durward_oauth_tokens_total{grant="refresh_token",outcome="invalid_grant"} 1`,
		`durward_oauth_authorizations_total{step="consent"} 1`,
		`durward_refusals_total{code="INVALID_TOKEN",scheme="Bearer"} 2`,
		`durward_events_total{kind="refresh_theft"} 1`,
		`durward_revocation_lag_seconds_bucket{le="0.5"} 1`,
		`durward_request_seconds_count{method="GET",route="/api/profile"} 1`,
		`durward_request_seconds_count{method="other",route="/api/profile"} 4`,
		`durward_security_log_checked_timestamp_seconds 1.7726256e+09`,
		`durward_password_hashes_total 41`,
		`durward_password_hashes_pending 3`,
		`durward_revocations 5`,
		`durward_revocation_list_age_seconds 2`,
		`durward_mails_waiting 2`,
		`durward_mail_oldest_seconds 60`,
		`durward_build_info{`,
		`go_goroutines `,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no line with %s in:\n%s", want, text)
		}
	}
	if strings.Contains(text, store.EventSignInRefused) {
		t.Errorf("one event of several refused sign-ins is counted as one:\n%s", text)
	}
	if strings.Contains(text, "client\"") || strings.Contains(text, "CLIENT") {
		t.Errorf("a label has the text of a client:\n%s", text)
	}
}

// The text format keeps values of labels apart, whatever they hold.
func TestLabelsInTheText(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		`a"b`:                    `a\"b`,
		`a\`:                     `a\\`,
		"a\nx 1":                 `a\nx 1`,
		"a\xff":                  "a\ufffd",
		"":                       ``,
		`"} 1` + "\nother_total": `\"} 1\nother_total`,
	} {
		v := &vector{name: "x_total", help: "Lines\nand \\.", labels: []string{"a", "b"}}
		v.with(value, "c").inc()
		text := format([]family{v.family()})
		if want := "# HELP x_total Lines\\nand \\\\.\n# TYPE x_total counter\nx_total{a=\"" + want + "\",b=\"c\"} 1\n"; text != want {
			t.Errorf("%q: got %q, want %q", value, text, want)
		}
	}
}

// A value on a bound is in its bucket, and one above all bounds in +Inf alone.
func TestHistogram(t *testing.T) {
	t.Parallel()
	v := &vector{name: "x", help: "Help.", bounds: []float64{1, 2}}
	for _, value := range []float64{0, 1, 1.5, 2, 2.5} {
		v.with().observe(value)
	}
	text := format([]family{v.family()})
	want := "# HELP x Help.\n# TYPE x histogram\nx_bucket{le=\"1\"} 2\nx_bucket{le=\"2\"} 4\nx_bucket{le=\"+Inf\"} 5\nx_sum 7\nx_count 5\n"
	if text != want {
		t.Errorf("got\n%s, want\n%s", text, want)
	}
}

// Scrapes beyond the limit are refused, and the others are served while the metrics change.
func TestScrapes(t *testing.T) {
	t.Parallel()
	m := filled()
	begun, end := make(chan struct{}, maxScrapes), make(chan struct{})
	m.Watch(parts(func(context.Context) (int64, time.Time, error) {
		begun <- struct{}{}
		<-end
		return 0, time.Time{}, nil
	}))
	var served sync.WaitGroup
	for range maxScrapes {
		served.Go(func() {
			if text, ok := m.Text(); !ok || text == "" {
				t.Errorf("within the limit: %v, %q", ok, text)
			}
		})
		served.Go(func() { m.Refused("INVALID_TOKEN", "Bearer") })
	}
	for range maxScrapes {
		<-begun
	}
	if text, ok := m.Text(); ok || text != "" {
		t.Errorf("beyond the limit: %v, %q", ok, text)
	}
	close(end)
	served.Wait()
}

// While the database does not answer, the other metrics are served.
func TestMetricsInAnOutage(t *testing.T) {
	t.Parallel()
	m := filled()
	m.Watch(parts(func(context.Context) (int64, time.Time, error) { return 0, time.Time{}, errors.New("away") }))
	if text := scrape(t, m); strings.Contains(text, "durward_mail") || !strings.Contains(text, "durward_revocations 5") {
		t.Errorf("want all metrics but those of mails:\n%s", text)
	}
}

// Growth returns the growth since the last one that was stored.
func TestGrowth(t *testing.T) {
	t.Parallel()
	m := filled()
	count := func(name, labels string, n int64) store.Count { return store.Count{Name: name, Labels: labels, N: n} }
	want := []store.Count{
		count("blocks", "", 1),
		count("events", "kind=refresh_theft", 1),
		count("oauth_authorizations", "step=consent", 1),
		count("oauth_tokens", "grant=refresh_token outcome=invalid_grant", 1),
		count("refreshes", "outcome=rotated", 1),
		count("refusals", "code=INVALID_TOKEN scheme=Bearer", 2),
		count("refusals", "code=NOT_FOUND", 1),
		count("sign_ins", "factor=other outcome=ok", 1),
		count("sign_ins", "factor=password outcome=ok", 1),
		count("sign_ins", "factor=password outcome=second_factor_required", 1),
		count("sign_ins", "factor=password outcome=wrong_password", 1),
		count("sign_ins", "factor=recovery_code outcome=wrong_code", 1),
		count("sign_ins", "factor=totp outcome=ok", 1),
	}
	grown := func() func() {
		t.Helper()
		got, stored := m.Growth()
		if !slices.Equal(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		return stored
	}
	grown() // was not stored
	stored := grown()
	m.Refused("INVALID_TOKEN", "Bearer") // while they are being stored
	stored()
	want = []store.Count{count("refusals", "code=INVALID_TOKEN scheme=Bearer", 1)}
	grown()()
	want = nil
	grown()
}

// The durations of a route cost little and allocate nothing.
func BenchmarkRoute(b *testing.B) {
	b.ReportAllocs()
	served := New().Route("/api/profile", []string{"GET"})
	for b.Loop() {
		served("GET", time.Millisecond)
	}
}

// The dashboard, the alert rules and the manual name metrics that exist, and the manual and the
// dashboard name each.
func TestNamesInDocuments(t *testing.T) {
	t.Parallel()
	m := filled()
	m.Watch(parts(func(context.Context) (int64, time.Time, error) { return 0, time.Time{}, nil }))
	var names []string
	for _, line := range regexp.MustCompile(`(?m)^# TYPE (durward_\S+)`).FindAllStringSubmatch(scrape(t, m), -1) {
		names = append(names, line[1])
	}
	for file, all := range map[string]bool{"monitoring/grafana.json": true, "monitoring/alerts.yaml": false, "operations.md": true} {
		text, err := os.ReadFile("../../../docs/" + file)
		if err != nil {
			t.Fatal(err)
		}
		found := make(map[string]bool)
		for _, name := range regexp.MustCompile(`durward_[a-z_]+`).FindAllString(string(text), -1) {
			name = strings.TrimSuffix(name, "_bucket")
			found[name] = true
			if strings.HasPrefix(file, "monitoring/") && !slices.Contains(names, name) {
				t.Errorf("docs/%s names %s, which is no metric", file, name)
			}
		}
		for _, name := range names {
			if all && !found[name] {
				t.Errorf("docs/%s does not name %s", file, name)
			}
		}
	}
}
