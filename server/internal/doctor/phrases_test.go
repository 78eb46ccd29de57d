package doctor

import (
	"slices"
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
