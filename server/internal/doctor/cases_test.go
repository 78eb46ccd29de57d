package doctor

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/internal/txtar"
)

// openCase is a refusal with its stated cause.
type openCase struct {
	id        string
	cause     string
	rivals    []string
	decidable bool
	held      bool // not read while rules are written
	input     *Case
}

// sums returns the names of the sums that count c. The first letter of an ID names its collection:
// o and p the first ones, n and q source code of servers, m documentation of vendors, r threads of
// issues.
func (c openCase) sums() []string {
	part := "seen"
	if c.held {
		part = "held"
	}
	return []string{part, part + " " + c.id[:1]}
}

// openCases reads testdata/cases.
func openCases(t testing.TB) (list []openCase) {
	t.Helper()
	paths, err := filepath.Glob("testdata/cases/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("testdata/cases: %d files, %v", len(paths), err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c := openCase{id: strings.TrimSuffix(filepath.Base(path), ".txtar")}
		for line := range strings.Lines(string(archive.Comment)) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
			switch name {
			case "cause":
				c.cause = value
			case "rivals":
				c.rivals = strings.Fields(value)
			case "decidable":
				c.decidable = value == "yes"
			case "held":
				c.held = value == "yes"
			}
		}
		if _, ok := CauseByID(c.cause); !ok {
			t.Errorf("%s: no cause is called %q", path, c.cause)
		}
		c.input = caseOf(t, path, archive)
		list = append(list, c)
	}
	return list
}

// caseOf joins the sections of an archive to one input, as a person would paste it, and reads it.
func caseOf(t testing.TB, path string, archive *txtar.Archive) *Case {
	t.Helper()
	var b strings.Builder
	for _, f := range archive.Files {
		text := strings.TrimRight(string(f.Data), "\n")
		_, part, _ := strings.Cut(f.Name, ".")
		switch {
		case part == "request" || part == "response":
			b.WriteString(text)
			if !strings.Contains(text, "\n\n") {
				b.WriteString("\n")
			}
			b.WriteString("\n")
		case f.Name == "log" || f.Name == "input":
			b.WriteString(text + "\n")
		default:
			t.Errorf("%s: unknown section %s", path, f.Name)
		}
	}
	c, err := Read(strings.NewReader(b.String()), Options{})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return c
}

// entry is a line of the ledger.
type entry struct {
	id         string
	rank       int // of the true cause, from 1; 0 if it is not listed
	confidence Verdict
	first      string
}

func (e entry) String() string {
	return fmt.Sprintf("%s rank=%d confidence=%s first=%s", e.id, e.rank, cmp.Or(e.confidence, "none"), cmp.Or(e.first, "none"))
}

// worse reports whether e is worse than before.
func (e entry) worse(before entry) bool {
	position := func(rank int) int {
		if rank == 0 {
			return 99
		}
		return rank
	}
	return position(e.rank) > position(before.rank) || e.rank != 1 && e.confidence == Certain && before.confidence != Certain
}

var testTime = time.Date(2026, 11, 20, 10, 8, 0, 0, time.UTC)

// diagnosed returns the ledger's line of a case.
func diagnosed(c openCase) (entry, *Report) {
	r := Diagnose(c.input, At(testTime))
	e := entry{id: c.id, confidence: r.Verdict}
	for i, f := range r.Causes {
		if f.ID == c.cause {
			e.rank = i + 1
		}
	}
	if len(r.Causes) > 0 {
		e.first = r.Causes[0].ID
	}
	return e, r
}

// tally sums up the ledger.
type tally struct {
	cases, decidable, first, within, undecidable, undecidableWithin, undecidableCertain, wrong, certainWrong int
	ruledOut, ruledOutWrong                                                                                  int
	brier                                                                                                    float64
	certain, likely                                                                                          [2]int // right, all
}

// probability is what a verdict says about its first cause.
var probability = map[Verdict]float64{Certain: 0.98, Likely: 0.85, Undecided: 0.5}

func (a *tally) count(c openCase, e entry, r *Report) {
	a.cases++
	right := 0.0
	if e.rank == 1 {
		right = 1
	} else {
		a.wrong++
	}
	p := probability[r.Verdict]
	a.brier += (p - right) * (p - right)
	switch r.Verdict {
	case Certain:
		a.certain[1]++
		a.certain[0] += int(right)
		if e.rank != 1 {
			a.certainWrong++
		}
	case Likely:
		a.likely[1]++
		a.likely[0] += int(right)
	}
	in3 := e.rank >= 1 && e.rank <= 3
	switch {
	case c.decidable:
		a.decidable++
		a.first += int(right)
		if in3 {
			a.within++
		}
	default:
		a.undecidable++
		if in3 {
			a.undecidableWithin++
		}
		if r.Verdict == Certain {
			a.undecidableCertain++
		}
	}
	for _, o := range r.RuledOut {
		a.ruledOut++
		if o.ID == c.cause {
			a.ruledOutWrong++
		}
	}
}

func (a *tally) String() string {
	share := func(n, of int) string {
		return fmt.Sprintf("%d/%d (%.1f %%)", n, of, 100*float64(n)/float64(max(1, of)))
	}
	return fmt.Sprintf("%d cases: decidable first %s, within three %s; undecidable within three %s, certain %d; first wrong %d, certain and wrong %d; "+
		"certain right %s, likely right %s; Brier score %.3f; ruled out wrongly %s", a.cases, share(a.first, a.decidable), share(a.within, a.decidable),
		share(a.undecidableWithin, a.undecidable), a.undecidableCertain, a.wrong, a.certainWrong, share(a.certain[0], a.certain[1]),
		share(a.likely[0], a.likely[1]), a.brier/float64(max(1, a.cases)), share(a.ruledOutWrong, a.ruledOut))
}

const ledgerFile = "testdata/ledger.txt"

func readLedger(t *testing.T) map[string]entry {
	t.Helper()
	before := map[string]entry{}
	octets, err := os.ReadFile(ledgerFile)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(octets)) {
		var e entry
		if n, _ := fmt.Sscanf(line, "%s rank=%d confidence=%s first=%s", &e.id, &e.rank, &e.confidence, &e.first); n == 4 {
			before[e.id] = e
		}
	}
	return before
}

// TestLedger diagnoses every case and compares the rank of its true cause with the ledger.
func TestLedger(t *testing.T) {
	before := readLedger(t)
	after := map[string]entry{}
	sums := map[string]*tally{}
	heldWorse := 0
	for _, c := range openCases(t) {
		e, r := diagnosed(c)
		for _, name := range c.sums() {
			if sums[name] == nil {
				sums[name] = &tally{}
			}
			sums[name].count(c, e, r)
		}
		was, known := before[c.id]
		switch {
		case known && e.worse(was) && c.held:
			heldWorse++
			after[c.id] = was
		case known && e.worse(was):
			t.Errorf("%s (%s): now %v, was %v", c.id, c.cause, e, was)
			after[c.id] = was
		case !known && !*update:
			t.Errorf("%s is not in the ledger: run go test -run TestLedger -update", c.id)
		default:
			after[c.id] = e
		}
		if testing.Verbose() && (e.rank != 1 && c.decidable || e.rank == 0 || e.rank > 3) && !c.held {
			t.Logf("%s %s: %v\n%s", c.id, c.cause, e, causesOf(r))
		}
	}
	if heldWorse > 0 {
		t.Errorf("%d held cases are worse than in the ledger", heldWorse) // not named: they are not read
	}
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		t.Logf("%s: %v", name, sums[name])
	}
	if *update {
		var lines []string
		for _, e := range after {
			lines = append(lines, e.String())
		}
		slices.Sort(lines)
		if err := os.WriteFile(ledgerFile, []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func causesOf(r *Report) string {
	var b strings.Builder
	for _, f := range r.Causes {
		fmt.Fprintf(&b, "   %d %s:", f.Points, f.ID)
		for _, fact := range f.Facts {
			fmt.Fprintf(&b, " [%s]", fact.ID)
		}
		b.WriteString("\n")
	}
	return b.String()
}
