package doctor

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/durward-auth/durward/internal/printable"
)

// This file writes the report as text, and replaces names for a report that is shared.

// maxText bounds a text of a fact in the report, in octets.
const maxText = 300

// Style says how Text writes a report.
type Style struct {
	Width  int  // columns, 80 if it is 0
	Colour bool // use colours of the terminal; the words mean the same without
}

// paint returns text in a colour of the terminal (ECMA-48 s8.3.117), or text alone.
func (s Style) paint(colour, text string) string {
	if !s.Colour {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

const (
	bold   = "1"
	faint  = "2"
	red    = "1;31"
	yellow = "1;33"
	green  = "1;32"
)

// Text returns the report for a terminal.
func (r *Report) Text(s Style) string {
	if s.Width == 0 {
		s.Width = 80
	}
	var b strings.Builder
	b.WriteString(s.paint(bold, wrapped("", r.title(), s.Width)) + "\n")
	if r.Verdict == Accepted {
		b.WriteString("\n" + s.paint(green, "ACCEPTED") + "  The server accepted this request.\n")
	}
	if r.Verdict == Undecided && len(r.Causes) == 0 {
		b.WriteString("\n" + s.paint(yellow, "UNDECIDED") + "  The input names no cause.\n")
	}
	for i, f := range r.Causes {
		if i == 0 || f.Confidence != Possible {
			b.WriteString("\n")
		}
		s.finding(&b, f, i == 0)
	}
	if r.NextTest != "" {
		b.WriteString("\n" + s.labelled("NEXT TEST", yellow, r.NextTest))
	}
	if len(r.AlsoWrong) > 0 {
		b.WriteString("\n")
	}
	for _, f := range r.AlsoWrong {
		b.WriteString(s.labelled("ALSO", yellow, f.ID+": "+lowerFirst(f.Meaning)))
		s.rows(&b, factRows(f.Facts))
	}
	if len(r.RuledOut) > 0 {
		var ids []string
		for _, o := range r.RuledOut {
			ids = append(ids, o.ID)
		}
		b.WriteString("\n" + s.labelled("NOT", faint, strings.Join(ids, ", ")))
	}
	if len(r.Faults) > 0 {
		b.WriteString("\n")
	}
	for _, f := range r.Faults {
		b.WriteString(s.labelled("FAULT", red, f.ID+": "+f.Text+" ("+f.Clause+")"))
		for _, line := range f.Place { // a caret stands below its column, so the lines are not wrapped
			b.WriteString("  " + printable.Line(line, maxText) + "\n")
		}
	}
	for _, list := range []struct {
		label string
		lines []string
	}{{"NOTE", r.Notes}, {"LIMIT", r.Limits}, {"SENT", r.Requests}} {
		if len(list.lines) > 0 {
			b.WriteString("\n")
		}
		for _, line := range list.lines {
			b.WriteString(s.labelled(list.label, faint, line))
		}
	}
	return b.String()
}

// title names the response and the request.
func (r *Report) title() string {
	title := "No response"
	if r.Status != 0 {
		title = fmt.Sprint(r.Status)
	} else if r.Input == KindToken {
		title = "A credential alone"
	}
	if r.Host != "" {
		title += " from " + r.Host
	}
	if request := strings.TrimSpace(r.Method + " " + r.Path); request != "" && request != "/" {
		title += "   " + request
	}
	if r.Product != "" {
		title += "   (" + r.Product + ")"
	}
	return printable.Line(title, maxText)
}

// finding writes one cause. Causes that are only possible have one line, but for the first.
func (s Style) finding(b *strings.Builder, f Finding, first bool) {
	colour := map[Verdict]string{Certain: red, Likely: yellow}[f.Confidence]
	b.WriteString(s.labelled(strings.ToUpper(string(f.Confidence)), colour, f.ID+": "+lowerFirst(f.Meaning)))
	if !first && f.Confidence == Possible {
		return
	}
	s.rows(b, append(factRows(f.Facts), [2]string{"fix by", f.FixBy}, [2]string{"fix", f.Fix}, [2]string{"more", "durward explain " + f.ID}))
}

// factRows returns where each fact is from, and its text.
func factRows(facts []Fact) (rows [][2]string) {
	for _, f := range facts {
		at := f.At
		if at == "" {
			at = string(f.Source)
		}
		rows = append(rows, [2]string{printable.Line(at, 24), f.Text})
	}
	return rows
}

// rows writes labels and texts in two columns.
func (s Style) rows(b *strings.Builder, rows [][2]string) {
	width := 0
	for _, row := range rows {
		width = max(width, utf8.RuneCountInString(row[0]))
	}
	for _, row := range rows {
		b.WriteString(wrapped(fmt.Sprintf("  %-*s  ", width, row[0]), row[1], s.Width) + "\n")
	}
}

// labelled returns a line with a label of ten columns.
func (s Style) labelled(label, colour, text string) string {
	prefix := fmt.Sprintf("%-9s ", label)
	line := wrapped(prefix, text, s.Width) + "\n"
	if colour == "" {
		return line
	}
	return s.paint(colour, label) + strings.TrimPrefix(line, label)
}

// wrapped returns prefix and text, broken into lines of at most width columns that begin below the
// text. A longer word stands on a line of its own.
func wrapped(prefix, text string, width int) string {
	var b strings.Builder
	b.WriteString(prefix)
	indent := utf8.RuneCountInString(prefix)
	column, empty := utf8.RuneCountInString(prefix), true
	for _, word := range strings.Fields(printable.Line(text, 4*maxText)) {
		n := utf8.RuneCountInString(word)
		if !empty && column+1+n > width {
			b.WriteString("\n" + strings.Repeat(" ", indent))
			column, empty = indent, true
		}
		if !empty {
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column, empty = column+n, false
	}
	return strings.TrimRight(b.String(), " ")
}

// lowerFirst returns a text with a small first letter.
func lowerFirst(s string) string {
	if s == "" {
		return s
	}
	first, size := utf8.DecodeRuneInString(s)
	rest := s[size:]
	if second, _ := utf8.DecodeRuneInString(rest); second >= 'A' && second <= 'Z' {
		return s // an abbreviation
	}
	return strings.ToLower(string(first)) + rest
}

// maxShared bounds the lines of Markdown.
const maxShared = 60

// Markdown returns the report for an issue: 60 lines at most. Hosts and paths are replaced by
// steady names unless keepHosts is set. The last line can be read by a machine.
func (r *Report) Markdown(keepHosts bool) string {
	shared := func(text string) string { return text }
	if !keepHosts {
		names := &names{known: map[string]string{}, path: r.Path}
		if r.Host != "" {
			names.host(r.Host)
		}
		shared = names.replace
	}
	code := func(text string) string {
		return "`" + strings.ReplaceAll(printable.Line(shared(text), maxText), "`", "'") + "`"
	}
	plain := func(text string) string { return markdownEscape.Replace(printable.Line(shared(text), maxText)) }
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	add("**%s**", plain(r.title()))
	add("")
	if len(r.Causes) == 0 {
		add("The input names no cause.")
	}
	for i, f := range r.Causes {
		add("- %s **%s**: %s", f.Confidence, f.ID, plain(f.Meaning))
		if i > 0 && f.Confidence == Possible {
			continue
		}
		for _, fact := range f.Facts[:min(len(f.Facts), 6)] {
			add("  - %s %s (%s)", code(fact.At), plain(fact.Text), fact.Source)
		}
		add("  - fix, by the %s: %s", f.FixBy, plain(f.Fix))
	}
	for _, f := range r.AlsoWrong {
		add("- also wrong **%s**: %s", f.ID, plain(f.Meaning))
	}
	for _, f := range r.Faults {
		add("- fault %s: %s (%s)", code(f.ID), plain(f.Text), plain(f.Clause))
	}
	if r.NextTest != "" {
		add("- next test: %s", plain(r.NextTest))
	}
	for _, text := range append(append([]string{}, r.Notes...), r.Limits...) {
		add("- note: %s", plain(text))
	}
	if len(lines) > maxShared-2 {
		lines = append(lines[:maxShared-3], "- …")
	}
	add("")
	cause := "none"
	if len(r.Causes) > 0 {
		cause = r.Causes[0].ID
	}
	add("durward-doctor/1 cause=%s confidence=%s", cause, r.Verdict)
	return strings.Join(lines, "\n") + "\n"
}

// markdownEscape keeps words of a server from being read as Markdown or HTML.
var markdownEscape = strings.NewReplacer(
	"\\", "\\\\", "`", "\\`", "*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]", "<", "&lt;", ">", "&gt;", "@", "&#64;", "#", "\\#",
	"|", "\\|", "!", "\\!", "~", "\\~",
)

// names replaces hosts and paths by steady names.
type names struct {
	known map[string]string
	path  string
}

var (
	addressInText = regexp.MustCompile(`(?i)\b(?:https?|wss?)://[^\s"'<>()]+`)
	hostInText    = regexp.MustCompile(`(?i)\b(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+[a-z]{2,24}\b(?::[0-9]+)?|\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b(?::[0-9]+)?|\[[0-9a-f:]{2,39}\](?::[0-9]+)?|\blocalhost(?::[0-9]+)?\b`)
)

// host returns the steady name of a host.
func (n *names) host(host string) string {
	key := strings.ToLower(host)
	if n.known[key] == "" {
		n.known[key] = fmt.Sprintf("host%d.example", len(n.known)+1)
	}
	return n.known[key]
}

// replace returns a text with other names of hosts and paths.
func (n *names) replace(text string) string {
	text = addressInText.ReplaceAllStringFunc(text, func(address string) string {
		u, err := url.Parse(address)
		if err != nil {
			return "address"
		}
		path := ""
		if u.Path != "" && u.Path != "/" {
			path = "/…"
		}
		return u.Scheme + "://" + n.host(u.Host) + path
	})
	if len(n.path) > 1 {
		text = strings.ReplaceAll(text, n.path, "/…")
	}
	return hostInText.ReplaceAllStringFunc(text, func(host string) string {
		if strings.HasSuffix(host, ".example") || isWord(host) {
			return host
		}
		return n.host(host)
	})
}

// isWord reports whether a text in the form of a host name is mostly something else: a name of a
// package, file or claim.
func isWord(s string) bool {
	i := strings.LastIndexByte(s, '.')
	switch strings.ToLower(s[i+1:]) {
	case "json", "xml", "html", "go", "py", "js", "toml", "yaml", "txt", "md", "php", "conf", "log", "error", "code", "status":
		return true
	}
	return false
}
