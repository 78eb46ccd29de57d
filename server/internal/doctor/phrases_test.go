package doctor

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestPhrases checks each row of the lexicon with its example and its counter-example.
func TestPhrases(t *testing.T) {
	t.Parallel()
	rows, err := readPhrases(phraseFile)
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) > maxPhrases {
		t.Errorf("the lexicon has %d rows, want at most %d", len(rows), maxPhrases)
	}
	for _, row := range rows {
		if _, ok := CauseByID(row.topic); !ok && !slices.Contains([]string{"none", "login", "bad-token"}, row.topic) {
			t.Errorf("%s | %s: no cause is called so", row.topic, row.pattern)
		}
		matches := func(text string) bool {
			words := normalise(text)
			for at := range words {
				if match(row.items, words, at) > at {
					return true
				}
			}
			return false
		}
		if !matches(row.example) {
			t.Errorf("%s | %s: the example %q does not match", row.topic, row.pattern, row.example)
		}
		if matches(row.counter) {
			t.Errorf("%s | %s: the counter-example %q matches", row.topic, row.pattern, row.counter)
		}
	}
}

// TestSentences diagnoses sentences in the words of many servers, without any other fact. It fails
// if fewer than nine of ten name their cause first, or if one is certain that is not the closed
// message of a product.
func TestSentences(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("testdata/sentences.txt")
	if err != nil {
		t.Fatal(err)
	}
	all, first := 0, 0
	for line := range strings.Lines(string(file)) {
		parts := strings.SplitN(strings.TrimSpace(line), " | ", 3)
		if len(parts) != 3 || strings.HasPrefix(line, "#") {
			continue
		}
		status, err := strconv.Atoi(parts[1])
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		r := Diagnose(&Case{
			Kind:      KindRaw,
			Exchanges: []Exchange{{Response: &Response{Status: status, Body: []byte(parts[2])}}},
		}, At(testTime))
		all++
		if len(r.Causes) > 0 && slices.Contains(strings.Split(parts[0], ","), r.Causes[0].ID) {
			first++
		} else {
			t.Logf("%s: %q gives\n%s", parts[0], parts[2], causesOf(r))
		}
		coded := len(r.Causes) > 0 && slices.ContainsFunc(r.Causes[0].Facts, func(f Fact) bool { return strings.HasPrefix(f.ID, "code:") })
		if r.Verdict == Certain && status != 407 && status != 429 && !coded && !strings.Contains(parts[2], "_") {
			t.Errorf("%q: words alone are certain:\n%s", parts[2], causesOf(r))
		}
	}
	if first*10 < all*9 {
		t.Errorf("%d of %d sentences name their cause first, want nine of ten", first, all)
	}
}

// TestShortInputs diagnoses lines of logs, and refusals in short form. It fails if fewer than four
// of five name their cause first.
func TestShortInputs(t *testing.T) {
	t.Parallel()
	all, first := 0, 0
	check := func(causes, input string) {
		c, err := Read(strings.NewReader(input), Options{})
		if err != nil {
			t.Errorf("%q: %v", input, err)
			return
		}
		r := Diagnose(c, At(testTime))
		all++
		if len(r.Causes) > 0 && slices.Contains(strings.Split(causes, ","), r.Causes[0].ID) {
			first++
		} else {
			t.Logf("%s: %q gives %s\n%s", causes, input, r.Verdict, causesOf(r))
		}
	}
	for name, parts := range map[string]int{"logs.txt": 2, "refusals.txt": 6} {
		file, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(file)) {
			p := strings.SplitN(strings.TrimSpace(line), "|", parts)
			if len(p) != parts || strings.HasPrefix(line, "#") {
				continue
			}
			if parts == 2 {
				check(p[0], p[1]+"\n")
				continue
			}
			lines := func(fields string) string { return strings.ReplaceAll(fields, "; ", "\n") + "\n" }
			input := p[1] + " HTTP/1.1\n" + lines(p[2]) + "\nHTTP/1.1 " + p[3] + "\n" + lines(p[4]) + "\n" + p[5] + "\n"
			check(p[0], strings.ReplaceAll(strings.ReplaceAll(input, "HTTP/1.1\n\n\n", "HTTP/1.1\n\n"), p[3]+"\n\n\n", p[3]+"\n\n"))
		}
	}
	if first*5 < all*4 {
		t.Errorf("%d of %d inputs name their cause first, want four of five", first, all)
	}
	t.Logf("%d of %d inputs name their cause first", first, all)
}
