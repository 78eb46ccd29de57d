// Package explain holds the explanations of codes of refusals, of causes and their families, and of
// subjects such as challenges, for the pages under /errors/, for `durward why` and `durward explain`.
// The texts are Markdown files with TOML front matter in texts; ADDING.md in texts describes their form.
package explain

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/pelletier/go-toml/v2"
)

//go:embed texts/*/*.md
var texts embed.FS

// Kind is the kind of a page, and the name of the folder of its file.
type Kind string

// The kinds of pages.
const (
	KindCode   Kind = "codes"    // a code of package durward
	KindCause  Kind = "causes"   // a cause of the catalogue of package doctor
	KindFamily Kind = "families" // a family of causes
	KindPage   Kind = "pages"    // a subject
)

// kinds lists the kinds in the order of lists.
var kinds = []Kind{KindCode, KindCause, KindFamily, KindPage}

// Page is one explanation.
type Page struct {
	ID      string   `toml:"id"` // unique among all kinds
	Title   string   `toml:"title"`
	Status  int      `toml:"status"`  // HTTP status; 0 if the page belongs to no single one
	Family  string   `toml:"family"`  // of a cause: ID of its family
	Summary string   `toml:"summary"` // one sentence of plain text
	Clauses []Clause `toml:"clauses"`
	Related []string `toml:"related"` // IDs of other pages of any kind
	Lab     string   `toml:"lab"`     // path of the endpoint of `durward lab` that answers this way

	Kind     Kind      `toml:"-"`
	Sections []Section `toml:"-"` // in the order of sectionNames
}

// Section is a part of a page: a level, or one of the parts below the levels.
type Section struct {
	Name     string // one of sectionNames
	Markdown string
	// Inherited: the section is a level of the family, because the cause lacks its own text for it.
	Inherited bool
}

// Levels lists the names of the levels, from the shortest text to the longest.
var Levels = []string{"eli3", "eli5", "junior", "crash", "deep"}

// DefaultLevel is the level of a page if its reader chose none.
const DefaultLevel = "junior"

// sectionNames lists the sections in their order.
var sectionNames = append(slices.Clone(Levels), "questions", "causes", "client", "server", "example")

// causes ends the section server of each page of a code.
const causes = "Each refusal has an identifier: the field `Durward-Denial`, and the end of the member `instance`. " +
	"On a Durward server, `durward why IDENTIFIER` shows the cause. " +
	"A program that uses the library writes the cause to its own log, with `slog.Default()` or `Config.OnRefusal`."

// headings are the headings of the sections for the reader.
var headings = map[string]string{
	"eli3":      "For a child of three",
	"eli5":      "For a child of five",
	"junior":    "For a new developer",
	"crash":     "In a hurry",
	"deep":      "In depth",
	"questions": "Questions and answers",
	"causes":    "Common causes",
	"client":    "What to do now",
	"server":    "For the operator",
	"example":   "The response",
}

// Heading returns the heading of s.
func (s Section) Heading() string { return headings[s.Name] }

// Clause names a section of a standard. In front matter it is "RFC 9110 s15.5.2", or a name and a
// URL: "Fetch standard <https://…>".
type Clause struct{ Name, URL string }

var (
	rfcClause   = regexp.MustCompile(`^RFC ([0-9]+) s([0-9.]+)$`)
	otherClause = regexp.MustCompile(`^(.+) <(https://[^>]+)>$`)
)

// rfcURL returns the address of a section of an RFC.
func rfcURL(number, section string) string {
	return "https://www.rfc-editor.org/rfc/rfc" + number + "#section-" + section
}

// UnmarshalText reads a clause of front matter.
func (c *Clause) UnmarshalText(text []byte) error {
	if m := rfcClause.FindStringSubmatch(string(text)); m != nil {
		c.Name = "RFC " + m[1] + ", section " + m[2]
		c.URL = rfcURL(m[1], m[2])
	} else if m := otherClause.FindStringSubmatch(string(text)); m != nil {
		c.Name, c.URL = m[1], m[2]
	} else {
		return fmt.Errorf("clause %q: want \"RFC NUMBER sSECTION\" or \"NAME <URL>\"", text)
	}
	return nil
}

// All returns all pages: by kind, those of codes by status, and by ID. Page.With replaces their
// variables of settings. The caller must not change them. It parses the embedded texts once; the tests
// show that they have no mistakes.
var All = sync.OnceValue(func() []Page {
	pages, err := read(texts)
	if err != nil {
		panic(err)
	}
	return pages
})

// Of returns the pages of one kind in the order of All.
func Of(kind Kind) (pages []Page) {
	for _, p := range All() {
		if p.Kind == kind {
			pages = append(pages, p)
		}
	}
	return pages
}

// Codes returns the pages of all codes, by status and ID.
func Codes() []Page { return Of(KindCode) }

// Code returns the page of a code, and false if there is none.
func Code(id string) (Page, bool) { return get(KindCode, id) }

// get returns the page of a kind with an ID.
func get(kind Kind, id string) (Page, bool) {
	p, ok := Find(id)
	if !ok || p.Kind != kind || p.ID != id {
		return Page{}, false
	}
	return p, true
}

// Find returns the page with an ID of any kind, in capitals or small letters, and false if there is none.
func Find(id string) (Page, bool) {
	if i := slices.IndexFunc(All(), func(p Page) bool { return strings.EqualFold(p.ID, id) }); i >= 0 {
		return All()[i], true
	}
	return Page{}, false
}

// Summary returns the sentence that explains an ID of any kind, or "".
func Summary(id string) string {
	p, _ := Find(id)
	return p.Summary
}

// Path returns the path of the page on a server.
func (p Page) Path() string {
	switch p.Kind {
	case KindCode:
		return "/errors/" + p.ID
	case KindCause:
		return "/errors/cause/" + p.ID
	case KindFamily:
		return "/errors/family/" + p.ID
	default:
		return "/errors/page/" + p.ID
	}
}

// Level returns the section of a level, and false if the page has none.
func (p Page) Level(name string) (Section, bool) {
	for _, s := range p.Levels() {
		if s.Name == name {
			return s, true
		}
	}
	return Section{}, false
}

// Levels returns the sections of the levels.
func (p Page) Levels() []Section {
	return p.sections(func(s Section) bool { return slices.Contains(Levels, s.Name) })
}

// Parts returns the sections after the levels.
func (p Page) Parts() []Section {
	return p.sections(func(s Section) bool { return !slices.Contains(Levels, s.Name) })
}

func (p Page) sections(wanted func(Section) bool) (found []Section) {
	for _, s := range p.Sections {
		if wanted(s) {
			found = append(found, s)
		}
	}
	return found
}

// With returns p with the texts of figures in place of its variables: figures["tokens.access_ttl"]
// replaces {tokens.access_ttl}.
func (p Page) With(figures map[string]string) Page {
	var pairs []string
	for key, text := range figures {
		pairs = append(pairs, "{"+key+"}", text)
	}
	r := strings.NewReplacer(pairs...)
	p.Summary = r.Replace(p.Summary)
	p.Sections = slices.Clone(p.Sections)
	for i := range p.Sections {
		p.Sections[i].Markdown = r.Replace(p.Sections[i].Markdown)
	}
	return p
}

// read parses all files and reports every mistake.
func read(files fs.FS) ([]Page, error) {
	var pages []Page
	var mistakes []error
	for _, kind := range kinds {
		names, err := fs.Glob(files, "texts/"+string(kind)+"/*.md")
		if err != nil {
			return nil, err
		}
		var some []Page
		for _, name := range names {
			text, err := fs.ReadFile(files, name)
			if err != nil {
				return nil, err
			}
			p, err := parse(kind, string(text))
			if err == nil && p.ID+".md" != path.Base(name) {
				err = fmt.Errorf("id is %q", p.ID)
			}
			if err != nil {
				mistakes = append(mistakes, fmt.Errorf("explain: %s: %w", name, err))
			}
			some = append(some, p)
		}
		slices.SortFunc(some, func(a, b Page) int { return cmp.Or(a.Status-b.Status, strings.Compare(a.ID, b.ID)) })
		pages = append(pages, some...)
	}
	return pages, errors.Join(append(mistakes, inherit(pages))...)
}

// inherit gives each cause the levels of its family that it does not have itself.
func inherit(pages []Page) error {
	var mistakes []error
	for i := range pages {
		p := &pages[i]
		if p.Kind != KindCause {
			continue
		}
		at := slices.IndexFunc(pages, func(f Page) bool { return f.Kind == KindFamily && f.ID == p.Family })
		if at < 0 {
			mistakes = append(mistakes, fmt.Errorf("explain: cause %s: family %q has no page", p.ID, p.Family))
			continue
		}
		for _, s := range pages[at].Levels() {
			if _, ok := p.Level(s.Name); !ok {
				s.Inherited = true
				p.Sections = append(p.Sections, s)
			}
		}
		slices.SortStableFunc(p.Sections, func(a, b Section) int {
			return slices.Index(sectionNames, a.Name) - slices.Index(sectionNames, b.Name)
		})
	}
	return errors.Join(mistakes...)
}

// parse reads one file: front matter between two lines "+++", then the sections.
func parse(kind Kind, text string) (p Page, err error) {
	head, body, ok := strings.Cut(strings.TrimPrefix(text, "+++\n"), "\n+++\n")
	if !ok || !strings.HasPrefix(text, "+++\n") {
		return Page{}, errors.New("no front matter between two lines +++")
	}
	if err := toml.NewDecoder(strings.NewReader(head)).DisallowUnknownFields().Decode(&p); err != nil {
		return Page{}, fmt.Errorf("front matter: %w", err)
	}
	if p.Kind = kind; kind == KindCode {
		p.Lab = cmp.Or(p.Lab, "/lab/code/"+p.ID)
	}
	before, sections, _ := strings.Cut("\n"+body, "\n## ")
	if strings.TrimSpace(before) != "" {
		return Page{}, errors.New("text before the first section")
	}
	last := -1
	for section := range strings.SplitSeq(sections, "\n## ") {
		name, markdown, _ := strings.Cut(section, "\n")
		at := slices.Index(sectionNames, name)
		if at <= last {
			return Page{}, fmt.Errorf("section %q: want the sections %q, each once and in this order", name, sectionNames)
		}
		last = at
		markdown = strings.TrimSpace(markdown)
		if name == "server" && kind == KindCode {
			markdown += "\n\n" + causes
		}
		p.Sections = append(p.Sections, Section{Name: name, Markdown: markdown})
	}
	return p, nil
}
