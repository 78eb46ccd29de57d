package explain

import (
	"slices"
	"strings"
)

// Suggest returns the IDs and schemes, at most three, that are similar to a mistyped one, the best first. It reads
// at most 64 octets of id.
func Suggest(id string) (ids []string) {
	typed := normal(id[:min(len(id), 64)])
	if typed == "" {
		return nil
	}
	type match struct {
		id     string
		points int // fewer are better
	}
	var found []match
	add := func(id string) {
		known := normal(id)
		points := Distance(typed, known)
		if len(typed) >= 4 && strings.Contains(known, typed) {
			points = 1 // a part of the ID was typed
		}
		if points <= max(1, len(typed)/3) {
			found = append(found, match{id, points})
		}
	}
	for _, p := range All() {
		add(p.ID)
	}
	for _, s := range Schemes {
		add(s.Name)
	}
	slices.SortStableFunc(found, func(a, b match) int { return a.points - b.points })
	for _, m := range found[:min(3, len(found))] {
		ids = append(ids, m.id)
	}
	return ids
}

// normal returns an ID in small letters with "-" between its words.
func normal(id string) string {
	return strings.NewReplacer("_", "-", " ", "-").Replace(strings.ToLower(strings.TrimSpace(id)))
}

// Distance returns the number of octets to insert, delete or replace to make b of a (Levenshtein).
func Distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
