package doctor

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/durward-auth/durward/server/internal/explain"
)

// Each cause and each family of the catalogue has its page in package explain, and each such page
// belongs to the catalogue.
func TestEveryCauseIsExplained(t *testing.T) {
	t.Parallel()
	for _, c := range Causes {
		p, ok := explain.Find(c.ID)
		if !ok || p.Kind != explain.KindCause || p.ID != c.ID {
			t.Errorf("cause %s has no file texts/causes/%s.md in package explain", c.ID, c.ID)
		} else if p.Family != c.Family || p.Lab != "/lab/"+c.ID {
			t.Errorf("cause %s: page has family %q and lab %q, want %q and %q", c.ID, p.Family, p.Lab, c.Family, "/lab/"+c.ID)
		}
	}
	for _, f := range Families {
		if p, ok := explain.Find(f.ID); !ok || p.Kind != explain.KindFamily || p.Title != f.Title {
			t.Errorf("family %s: page %q (%s), want one with the title %q", f.ID, p.Title, p.Kind, f.Title)
		}
	}
	for _, p := range explain.Of(explain.KindCause) {
		if !slices.ContainsFunc(Causes, func(c Cause) bool { return c.ID == p.ID }) {
			t.Errorf("texts/causes/%s.md explains a cause that the catalogue does not have", p.ID)
		}
	}
	for _, p := range explain.Of(explain.KindFamily) {
		if !slices.ContainsFunc(Families, func(f Family) bool { return f.ID == p.ID }) {
			t.Errorf("texts/families/%s.md explains a family that the catalogue does not have", p.ID)
		}
	}
}

// The example in the page of a cause is an exchange that the doctor reads. For none of them another
// cause is certain, and for most the cause of the page comes first.
func TestExamplesOfPages(t *testing.T) {
	t.Parallel()
	exchange := regexp.MustCompile("(?ms)^```http\n(.*?)^```$")
	now := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC) // the time of the examples
	first, among := 0, 0
	for _, c := range Causes {
		p, _ := explain.Find(c.ID)
		at := slices.IndexFunc(p.Sections, func(s explain.Section) bool { return s.Name == "example" })
		if at < 0 {
			t.Errorf("%s: the page has no example", c.ID)
			continue
		}
		m := exchange.FindStringSubmatch(p.Sections[at].Markdown)
		if m == nil {
			t.Errorf("%s: the example has no exchange:\n%s", c.ID, p.Sections[at].Markdown)
			continue
		}
		read, err := Read(strings.NewReader(m[1]), Options{})
		if err != nil {
			t.Errorf("%s: the example cannot be read: %v\n%s", c.ID, err, m[1])
			continue
		}
		rank := 0
		for i, f := range Diagnose(read, At(now)).Causes {
			if f.ID == c.ID {
				rank = i + 1
			} else if f.Confidence == Certain {
				t.Errorf("%s: %s is certain for the example\n%s", c.ID, f.ID, m[1])
			}
		}
		if rank == 1 {
			first++
		}
		if rank > 0 {
			among++
		} else {
			t.Logf("%s is not among the causes of its example", c.ID)
		}
	}
	// The rest are causes that an exchange does not show, such as a name in a file of the client.
	if first < 50 || among < 60 {
		t.Errorf("the cause is first for %d examples of %d and among the causes for %d, want at least 50 and 60", first, len(Causes), among)
	}
}

// TestRulesOnce: no two rules name the same facts for one cause.
func TestRulesOnce(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, r := range rules {
		if key := r.cause + ": " + r.facts; seen[key] {
			t.Errorf("two rules: %s", key)
		} else {
			seen[key] = true
		}
	}
}
