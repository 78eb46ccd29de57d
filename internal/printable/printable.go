// Package printable makes untrusted text safe to show: in a log, at a terminal, in an error or
// in a stored cause.
package printable

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line returns s as one line: each character that is not printable becomes a question mark, and
// text of more than max bytes is cut and ends with "…". Control characters, line and paragraph
// separators, bidirectional controls, other invisible characters and invalid UTF-8 are not
// printable; of all blanks only the ASCII space is.
func Line(s string, max int) string {
	if len(s) > max {
		for max > 0 && !utf8.RuneStart(s[max]) {
			max--
		}
		s = s[:max] + "…"
	}
	return replace(s, -1)
}

// Text is Line for text of several lines and any length: it keeps line feeds.
func Text(s string) string { return replace(s, '\n') }

func replace(s string, keep rune) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) && r != utf8.RuneError || r == keep {
			return r
		}
		return '?'
	}, s)
}
