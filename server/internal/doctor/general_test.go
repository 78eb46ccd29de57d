package doctor

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// TestGeneral diagnoses refusals of many kinds of servers. It fails if fewer than seven of ten name
// their cause first, or if one of a hundred is certain and wrong.
func TestGeneral(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("testdata/general.txt")
	if err != nil {
		t.Fatal(err)
	}
	all, first, within, certain, wrong := 0, 0, 0, 0, 0
	for line := range strings.Lines(string(file)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		c, causes := generalCase(t, line)
		r := Diagnose(c, At(testTime))
		rank := slices.IndexFunc(r.Causes, func(f Finding) bool { return slices.Contains(causes, f.ID) })
		all++
		if rank == 0 {
			first++
		}
		if rank >= 0 && rank < 3 {
			within++
		}
		if r.Verdict == Certain {
			certain++
		}
		if r.Verdict == Certain && rank != 0 {
			wrong++
			t.Logf("certain and wrong: %s\n%s", line, causesOf(r))
		}
		if rank != 0 {
			t.Logf("%s: %s\n%s", r.Verdict, line, causesOf(r))
		}
	}
	t.Logf("%d refusals: first %d, within three %d, certain %d, of these wrong %d", all, first, within, certain, wrong)
	if wrong*100 > all {
		t.Errorf("%d of %d refusals are certain and wrong, want at most one of a hundred", wrong, all)
	}
	if first*10 < all*7 {
		t.Errorf("%d of %d refusals name their cause first, want seven of ten", first, all)
	}
}

// generalCase reads a line: causes|request line|fields|status|fields of the response|body. The sign
// ⏎ ends a line of the body. Without a status there is no response, and the body is a log.
func generalCase(t *testing.T, line string) (c *Case, causes []string) {
	t.Helper()
	p := strings.SplitN(line, "|", 6)
	if len(p) != 6 {
		t.Fatalf("%q has %d parts, want 6", line, len(p))
	}
	fields := func(list string) string {
		if list == "" {
			return ""
		}
		return strings.ReplaceAll(list, "; ", "\n") + "\n"
	}
	response := ""
	if p[3] != "" {
		response = "HTTP/1.1 " + p[3] + "\n" + fields(p[4]) + "\n"
	}
	body := strings.ReplaceAll(p[5], "⏎", "\n")
	c, err := Read(strings.NewReader(p[1]+" HTTP/1.1\n"+fields(p[2])+"\n"+response+body+"\n"), Options{})
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return c, strings.Split(p[0], ",")
}
