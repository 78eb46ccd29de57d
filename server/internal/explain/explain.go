// Package explain holds the explanation of each code that a refusal names, for the pages under
// /errors/ and for `durward why` and `durward explain`. The texts are Markdown files with TOML
// front matter in texts/codes; ADDING.md in texts describes their form.
package explain

import (
	"bytes"
	"cmp"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
	"github.com/yuin/goldmark"
)

//go:embed texts/codes/*.md
var texts embed.FS

// Page is the explanation of one code.
type Page struct {
	ID      string   `toml:"id"` // the code
	Title   string   `toml:"title"`
	Status  int      `toml:"status"`  // HTTP status
	Summary string   `toml:"summary"` // one sentence of plain text
	Clauses []Clause `toml:"clauses"`
	Related []string `toml:"related"` // IDs of other pages
	Lab     string   `toml:"lab"`     // path of the endpoint of `durward lab` that answers with this code

	Sections []Section `toml:"-"`
}

// Section is a part of a page.
type Section struct {
	Name     string // one of sectionNames
	Markdown string
}

// sectionNames lists the sections in their order.
var sectionNames = []string{"causes", "client", "server", "example"}

// causes ends the section server of each page.
const causes = "Each refusal has an identifier: the field `Durward-Denial`, and the end of the member `instance`. " +
	"On a Durward server, `durward why IDENTIFIER` shows the cause. " +
	"A program that uses the library writes the cause to its own log, with `slog.Default()` or `Config.OnRefusal`."

// headings are the headings of the sections for the reader.
var headings = map[string]string{
	"causes":  "Common causes",
	"client":  "What to do now",
	"server":  "For the operator",
	"example": "The response",
}

// Heading returns the heading of s.
func (s Section) Heading() string { return headings[s.Name] }

// HTML renders s. Raw HTML in the Markdown is left out.
func (s Section) HTML() (template.HTML, error) {
	var b bytes.Buffer
	err := goldmark.Convert([]byte(s.Markdown), &b)
	return template.HTML(b.String()), err
}

// Clause names a section of a standard. In front matter it is "RFC 9110 s15.5.2", or a name and a
// URL: "Fetch standard <https://…>".
type Clause struct{ Name, URL string }

var (
	rfcClause   = regexp.MustCompile(`^RFC ([0-9]+) s([0-9.]+)$`)
	otherClause = regexp.MustCompile(`^(.+) <(https://[^>]+)>$`)
)

// UnmarshalText reads a clause of front matter.
func (c *Clause) UnmarshalText(text []byte) error {
	if m := rfcClause.FindStringSubmatch(string(text)); m != nil {
		c.Name = "RFC " + m[1] + ", section " + m[2]
		c.URL = "https://www.rfc-editor.org/rfc/rfc" + m[1] + "#section-" + m[2]
	} else if m := otherClause.FindStringSubmatch(string(text)); m != nil {
		c.Name, c.URL = m[1], m[2]
	} else {
		return fmt.Errorf("clause %q: want \"RFC NUMBER sSECTION\" or \"NAME <URL>\"", text)
	}
	return nil
}

// Codes returns the pages of all codes, by status and ID. Page.With replaces their variables of
// settings. The caller must not change them. It parses the embedded texts once; the tests show that
// they have no mistakes.
var Codes = sync.OnceValue(func() []Page {
	pages, err := read(texts)
	if err != nil {
		panic(err)
	}
	return pages
})

// Code returns the page of a code, and false if there is none.
func Code(id string) (Page, bool) {
	if i := slices.IndexFunc(Codes(), func(p Page) bool { return p.ID == id }); i >= 0 {
		return Codes()[i], true
	}
	return Page{}, false
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
	names, err := fs.Glob(files, "texts/codes/*.md")
	if err != nil {
		return nil, err
	}
	var pages []Page
	var mistakes []error
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		p, err := parse(string(text))
		if err == nil && p.ID+".md" != path.Base(name) {
			err = fmt.Errorf("id is %q", p.ID)
		}
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf("explain: %s: %w", name, err))
		}
		pages = append(pages, p)
	}
	slices.SortFunc(pages, func(a, b Page) int { return cmp.Or(a.Status-b.Status, strings.Compare(a.ID, b.ID)) })
	return pages, errors.Join(mistakes...)
}

// parse reads one file: front matter between two lines "+++", then the sections.
func parse(text string) (p Page, err error) {
	head, body, ok := strings.Cut(strings.TrimPrefix(text, "+++\n"), "\n+++\n")
	if !ok || !strings.HasPrefix(text, "+++\n") {
		return Page{}, errors.New("no front matter between two lines +++")
	}
	if err := toml.NewDecoder(strings.NewReader(head)).DisallowUnknownFields().Decode(&p); err != nil {
		return Page{}, fmt.Errorf("front matter: %w", err)
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
		if name == "server" {
			markdown += "\n\n" + causes
		}
		p.Sections = append(p.Sections, Section{name, markdown})
	}
	return p, nil
}

// Text returns the page for a terminal, wrapped to width columns.
func (p Page) Text(width int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s (%s)\n\n%s", p.Status, p.Title, p.ID, wrap(p.Summary, width))
	for _, s := range p.Sections {
		fmt.Fprintf(&b, "\n%s\n", s.Heading())
		for block := range strings.SplitSeq(s.Markdown, "\n\n") {
			b.WriteString(wrap(block, width))
		}
	}
	if len(p.Clauses) > 0 {
		b.WriteString("\nStandards\n")
		for _, c := range p.Clauses {
			fmt.Fprintf(&b, "%s: %s\n", c.Name, c.URL)
		}
	}
	return b.String()
}

// wrap breaks the lines of a paragraph or list, and indents fenced code.
func wrap(block string, width int) string {
	var b strings.Builder
	if code, ok := strings.CutPrefix(block, "```"); ok {
		_, code, _ = strings.Cut(code, "\n")
		for line := range strings.Lines(strings.TrimSuffix(code, "```")) {
			b.WriteString("    " + line)
		}
		return b.String()
	}
	indent := ""
	if strings.HasPrefix(block, "- ") {
		indent = "  "
	}
	for i, item := range strings.Split(block, "\n- ") {
		line := ""
		if i > 0 {
			line = "-"
		}
		for _, word := range strings.Fields(item) {
			switch {
			case line == "":
				line = word
			case utf8.RuneCountInString(line+" "+word) > width:
				b.WriteString(line + "\n")
				line = indent + word
			default:
				line += " " + word
			}
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}
