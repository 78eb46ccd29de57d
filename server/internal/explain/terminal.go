package explain

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Text returns the page for a terminal, wrapped to width columns: the text of one level, then the parts
// below the levels. Lines of code keep their width. A page without this level has no text
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
	if p.Kind == KindFamily {
		b.WriteString("\nCauses\n")
		for _, c := range Of(KindCause) {
			if c.Family == p.ID {
				b.WriteString(wrap("- "+c.ID+": "+c.Title, width))
			}
		}
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

// groupOfPrograms matches fences that follow each other.
var groupOfPrograms = regexp.MustCompile("(?ms)^```\\w+[^\n]*\n.*?^```$(?:\n+```\\w+[^\n]*\n.*?^```$)+")

// fence matches one fence with its language.
var fence = regexp.MustCompile("(?ms)^```(\\w+)[^\n]*\n(.*?)^```$")

// WithCode returns p with one program of each group: that in a language (sh, go, js or python), else the
// first one. A line names the others.
func (p Page) WithCode(language string) Page {
	p.Sections = slices.Clone(p.Sections)
	for i := range p.Sections {
		p.Sections[i].Markdown = groupOfPrograms.ReplaceAllStringFunc(p.Sections[i].Markdown, func(group string) string {
			all := fence.FindAllStringSubmatch(group, -1)
			chosen := max(0, slices.IndexFunc(all, func(m []string) bool { return m[1] == language }))
			var others []string
			for at, m := range all {
				if at != chosen {
					others = append(others, toolOf(m[1], m[2]))
				}
			}
			return all[chosen][0] + "\n\nAlso in " + strings.Join(others, ", ") + "."
		})
	}
	return p
}

// linkToText matches a link to the file of another text; a terminal shows its ID.
var linkToText = regexp.MustCompile(`\[([^\]]+)\]\(\.\./[a-z]+/([A-Za-z0-9_-]+)\.md\)`)

// wrap breaks the lines of paragraphs, of items of lists and of cells of tables, and indents fenced code.
func wrap(markdown string, width int) string {
	markdown = linkToText.ReplaceAllStringFunc(markdown, func(link string) string {
		m := linkToText.FindStringSubmatch(link)
		if m[1] == m[2] {
			return m[2]
		}
		return m[1] + " (" + m[2] + ")"
	})
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
	var rows [][]string // of the table that is being read
	fenced := false
	for line := range strings.SplitSeq(markdown, "\n") {
		mark := listItem.FindString(line)
		if strings.HasPrefix(line, "|") && !fenced {
			flush()
			rows = append(rows, cells(line))
			continue
		}
		b.WriteString(table(rows, width))
		rows = nil
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			flush()
			language, rest, isProgram := strings.Cut(strings.TrimPrefix(line, "```"), " ")
			if fenced = !fenced; fenced && isProgram && rest != "" {
				b.WriteString(toolOf(language, "curl ") + ":\n")
			}
		case fenced:
			b.WriteString(strings.TrimRight("    "+line, " ") + "\n")
		case strings.TrimSpace(line) == "":
			flush()
			b.WriteString("\n")
		case strings.HasPrefix(line, "#"):
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
	b.WriteString(table(rows, width))
	return b.String()
}

// cells returns the cells of a row of a table.
func cells(line string) []string {
	all := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
	}
	return all
}

// table sets a table of Markdown in columns with two blanks between them. The second row separates the
// head from the body. The widest columns give way until a row fits into width.
func table(rows [][]string, width int) string {
	if len(rows) < 2 {
		return ""
	}
	widths := make([]int, len(rows[0]))
	for n, row := range rows {
		for i := range min(len(row), len(widths)) {
			if n != 1 {
				widths[i] = max(widths[i], utf8.RuneCountInString(row[i]))
			}
		}
	}
	room := width - 2*(len(widths)-1)
	for total := sum(widths); total > room; total-- {
		widest := slices.Index(widths, slices.Max(widths))
		if widths[widest] <= 8 {
			break // a very narrow terminal
		}
		widths[widest]--
	}
	var b strings.Builder
	for n, row := range rows {
		if n == 1 {
			b.WriteString(strings.Repeat("-", min(width, sum(widths)+2*(len(widths)-1))) + "\n")
			continue
		}
		var lines [][]string // of each cell
		height := 0
		for i := range widths {
			cell := ""
			if i < len(row) {
				cell = wrap(row[i], widths[i])
			}
			lines = append(lines, strings.Split(strings.TrimSuffix(cell, "\n"), "\n"))
			height = max(height, len(lines[i]))
		}
		for at := range height {
			text := ""
			for i := range widths {
				part := ""
				if at < len(lines[i]) {
					part = lines[i][at]
				}
				text += part + strings.Repeat(" ", max(0, widths[i]-utf8.RuneCountInString(part))+2)
			}
			b.WriteString(strings.TrimRight(text, " ") + "\n")
		}
	}
	return b.String()
}

func sum(numbers []int) (total int) {
	for _, n := range numbers {
		total += n
	}
	return total
}
