package doctor

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// expiredReport is a report as Diagnose returns it.
func expiredReport() *Report {
	return &Report{
		SchemaName: Schema, Verdict: Certain, Status: 401, Method: "GET", Host: "api.corp.internal", Path: "/v1/items",
		Input: KindRaw,
		Causes: []Finding{
			{
				ID: "expired", Confidence: Certain, Points: 12, FixBy: "client",
				Meaning: "The token has expired.",
				Fix:     "Refresh it and send it once more; refresh earlier next time, at 70 to 90 percent of the life of the token.",
				Facts: []Fact{
					{ID: "exp", Source: Computed, At: "claim exp", Text: "2026-11-20 10:00:00Z"},
					{ID: "date", Source: Computed, At: "Date", Text: "2026-11-20 10:07:12Z, 432 s later"},
					{ID: "said", Source: Said, At: "body", Text: "see https://login.corp.internal/help/1 or api.corp.internal"},
				},
			},
			{ID: "clock-wrong", Confidence: Possible, Points: 2, FixBy: "operator", Meaning: "A clock is wrong."},
		},
		Faults:   []Fault{{ID: "challenge", Clause: "RFC 9110 s15.5.2", Text: "401 without WWW-Authenticate"}},
		NextTest: "Print exp and now, both in UTC.",
	}
}

// TestText: no line is wider than the terminal, and the words are the same with and without colour.
func TestText(t *testing.T) {
	t.Parallel()
	r := expiredReport()
	for _, width := range []int{40, 80, 120} {
		text := r.Text(Style{Width: width})
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width && strings.Contains(strings.TrimSpace(line), " ") {
				t.Errorf("width %d: %d columns: %q", width, n, line)
			}
		}
	}
	text := r.Text(Style{})
	for _, want := range []string{
		"401 from api.corp.internal GET /v1/items", "CERTAIN   expired: the token has expired.", "  claim exp  2026-11-20 10:00:00Z",
		"more       durward explain expired", "POSSIBLE  clock-wrong", "FAULT     challenge: 401 without WWW-Authenticate (RFC 9110 s15.5.2)",
		"NEXT TEST Print exp",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	coloured := r.Text(Style{Colour: true})
	for _, code := range []string{"0", bold, faint, red, yellow, green} {
		coloured = strings.ReplaceAll(coloured, "\x1b["+code+"m", "")
	}
	if coloured != text {
		t.Errorf("with colour\n%s\nwithout\n%s", coloured, text)
	}
}

// TestMarkdown: hosts and paths get steady names, and words of a server stay words.
func TestMarkdown(t *testing.T) {
	t.Parallel()
	r := expiredReport()
	r.Causes[0].Facts = append(r.Causes[0].Facts, Fact{Source: Said, At: "body", Text: "<img src=x> ![x](http://evil.test/a) @all"})
	shared := r.Markdown(false)
	for _, not := range []string{"corp.internal", "/v1/items", "evil.test", "<img", "![", "@all"} {
		if strings.Contains(shared, not) {
			t.Errorf("%q in\n%s", not, shared)
		}
	}
	if strings.Count(shared, "host1.example") < 2 {
		t.Errorf("the host has no steady name in\n%s", shared)
	}
	if !strings.HasSuffix(shared, "\ndurward-doctor/1 cause=expired confidence=certain\n") {
		t.Errorf("last line of\n%s", shared)
	}
	if kept := r.Markdown(true); !strings.Contains(kept, "api.corp.internal") {
		t.Errorf("hosts are not kept in\n%s", kept)
	}
	for range 100 {
		r.Faults = append(r.Faults, r.Faults[0])
	}
	if n := strings.Count(r.Markdown(false), "\n"); n > maxShared {
		t.Errorf("%d lines, want at most %d", n, maxShared)
	}
}
