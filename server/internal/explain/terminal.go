package explain

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Text returns the page for a terminal, wrapped to width columns: the text of one level, then the parts
// below the levels. Lines of code and of tables keep their width. A page without this level has no text
// of a level.
func (p Page) Text(level string, width int) string {
	var b strings.Builder
	title := fmt.Sprintf("%s (%s)", p.Title, p.ID)
	if p.Status != 0 {
		title = fmt.Sprintf("%d %s", p.Status, title)
	}
	fmt.Fprintf(&b, "%s\n\n%s", title, wrap(p.Summary, width))
	if s, ok := p.Level(level); ok {
		heading := s.Heading()
		if s.Inherited {
			heading += " (about the family " + p.Family + ")"
		}
		fmt.Fprintf(&b, "\n%s\n%s", heading, wrap(s.Markdown, width))
	}
	for _, s := range p.Parts() {
		fmt.Fprintf(&b, "\n%s\n%s", s.Heading(), wrap(s.Markdown, width))
	}
	if len(p.Related) > 0 {
		b.WriteString("\nRelated\n" + wrap(strings.Join(p.Related, ", "), width))
	}
	if len(p.Clauses) > 0 {
		b.WriteString("\nStandards\n")
		for _, c := range p.Clauses {
			fmt.Fprintf(&b, "%s: %s\n", c.Name, c.URL)
		}
	}
	return b.String()
}

// listItem matches the mark of an item of a list with the blanks around it.
var listItem = regexp.MustCompile(`^ *(?:[-*]|[0-9]+\.) +`)

// wrap breaks the lines of paragraphs and of items of lists, and indents fenced code. Other lines stay as
// they are.
func wrap(markdown string, width int) string {
	var b strings.Builder
	var words []string // of the paragraph or item that is being read
	first, rest := "", ""
	flush := func() {
		if len(words) == 0 {
			return
		}
		line := first + words[0]
		for _, word := range words[1:] {
			if utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
				b.WriteString(line + "\n")
				line = rest + word
			} else {
				line += " " + word
			}
		}
		b.WriteString(line + "\n")
		words, first, rest = nil, "", ""
	}
	fenced := false
	for line := range strings.SplitSeq(markdown, "\n") {
		mark := listItem.FindString(line)
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			flush()
			fenced = !fenced
		case fenced:
			b.WriteString(strings.TrimRight("    "+line, " ") + "\n")
		case strings.TrimSpace(line) == "":
			flush()
			b.WriteString("\n")
		case strings.HasPrefix(line, "|"), strings.HasPrefix(line, "#"):
			flush()
			b.WriteString(strings.TrimLeft(line, "# ") + "\n")
		case mark != "":
			flush()
			first, rest = mark, strings.Repeat(" ", len(mark))
			words = strings.Fields(line[len(mark):])
		default:
			words = append(words, strings.Fields(line)...)
		}
	}
	flush()
	return b.String()
}
