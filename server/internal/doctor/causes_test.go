package doctor

import (
	"slices"
	"testing"

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
