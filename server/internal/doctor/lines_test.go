package doctor

import (
	"fmt"
	"strings"
	"testing"
)

// TestAlikeLines reads a log of many lines that differ in numbers alone, and one of another status behind them.
func TestAlikeLines(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"10:07:12 request 5 of 192.0.2.7 got 401": "0:0:0 request 0 of 0.0.0.0 got 401",
		"2026-11-20 code 50126":                   "0-0-0 code 0",
		"no number":                               "no number",
	} {
		if got := lineShape(line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
	var log strings.Builder
	for i := range 150 {
		fmt.Fprintf(&log, "10:07:%02d request %d: the session was read\n", i%60, i)
	}
	log.WriteString("10:08:00 request 151: the token has expired\n")
	c, err := Read(strings.NewReader("GET /items HTTP/1.1\nAuthorization: Bearer <token>\n\nHTTP/1.1 401 Unauthorized\nContent-Type: text/plain\n\nUnauthorized\n\n"+log.String()), Options{})
	if err != nil {
		t.Fatal(err)
	}
	e := gather(c, testTime)
	if len(e.words) > 10 {
		t.Errorf("%d texts are read, want the alike lines a few times", len(e.words))
	}
	if !e.seen["said:expired"] {
		t.Error("the last line is not read")
	}
}
