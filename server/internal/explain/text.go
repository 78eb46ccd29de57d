package explain

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

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
	column := 0
	for line := range strings.Lines(block) {
		if strings.HasPrefix(line, "- ") && column > 0 {
			b.WriteByte('\n')
			column = 0
		}
		for _, word := range strings.Fields(line) {
			n := utf8.RuneCountInString(word)
			switch {
			case column == 0:
			case column+1+n > width:
				b.WriteByte('\n')
				column = 0
				if strings.HasPrefix(block, "- ") {
					b.WriteString("  ")
					column = 2
				}
			default:
				b.WriteByte(' ')
				column++
			}
			b.WriteString(word)
			column += n
		}
	}
	b.WriteByte('\n')
	return b.String()
}
