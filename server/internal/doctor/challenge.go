package doctor

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/printable"
)

// This file parses the lines of WWW-Authenticate and Proxy-Authenticate for the report.

// ChallengeLine is one line of a WWW-Authenticate or Proxy-Authenticate field.
type ChallengeLine struct {
	Text       string
	Challenges []durward.Challenge
	Errors     []*durward.SyntaxError // violations of the grammar, in their order; Line is the line's index
}

// Challenges parses the lines of a WWW-Authenticate or Proxy-Authenticate field. The lines are one
// list (RFC 9110 s5.3): in a valid list, a challenge that continues on later lines belongs to the
// line of its scheme. If the list is invalid, each line is parsed by itself, and in a line the
// parser goes on after an error at the next known scheme, so that one mistake hides no other
// challenge.
func Challenges(lines []string) []ChallengeLine {
	all := make([]ChallengeLine, len(lines))
	for i, l := range lines {
		all[i].Text = l
	}
	if whole, err := durward.ParseChallenges(lines); err == nil {
		spread(all, whole)
		return all
	}
	for i := range all {
		all[i].recover(i)
	}
	return all
}

// spread gives the challenges of a valid list to the lines of their schemes.
func spread(all []ChallengeLine, challenges []durward.Challenge) {
	done := 0
	for i := range all {
		// The first lines of a valid list are a valid list, unless a challenge continues on the
		// next line.
		lines := make([]string, i+1)
		for j := range lines {
			lines[j] = all[j].Text
		}
		begun, err := durward.ParseChallenges(lines)
		n := len(begun)
		if i == len(all)-1 || err != nil && n < done {
			n = len(challenges)
		}
		if n > done {
			all[i].Challenges = challenges[done:n]
			done = n
		}
	}
}

// maxRecovered bounds the errors of one line.
const maxRecovered = 16

// recover parses one line as far as possible.
func (l *ChallengeLine) recover(index int) {
	from := 0
	for {
		challenges, err := durward.ParseChallenges([]string{l.Text[from:]})
		l.Challenges = append(l.Challenges, challenges...)
		if err == nil {
			return
		}
		var syntax *durward.SyntaxError
		if !errors.As(err, &syntax) {
			return
		}
		at := from + syntax.Offset
		l.Errors = append(l.Errors, &durward.SyntaxError{
			Line:   index,
			Offset: at,
			Reason: syntax.Reason,
		})
		next := nextScheme(l.Text, at)
		if next <= from || len(l.Errors) == maxRecovered {
			return
		}
		from = next
	}
}

// nextScheme returns the position of the next known scheme in a line that is followed by a space or
// the end of a list member, or -1.
func nextScheme(line string, from int) int {
	for i := from; i < len(line); i++ {
		if i > 0 && strings.IndexByte(" \t,", line[i-1]) < 0 {
			continue
		}
		end := i
		for end < len(line) && strings.IndexByte(" \t,=\"", line[end]) < 0 {
			end++
		}
		if end == i || !knownScheme(line[i:end]) {
			continue
		}
		if end == len(line) || line[end] == ',' || line[end] == ' ' && strings.TrimLeft(line[end:], " ") != "" && strings.TrimLeft(line[end:], " ")[0] != '=' {
			return i
		}
	}
	return -1
}

// Place returns the place of an error in two lines: the text around it, and a caret below the
// octet. It holds no control characters and no secrets that Mask finds.
func (l ChallengeLine) Place(e *durward.SyntaxError) (text, caret string) { return l.place(e, Mask) }

// place is Place with another function for masking.
func (l ChallengeLine) place(e *durward.SyntaxError, mask func(string) string) (text, caret string) {
	const before, after = 44, 28 // columns
	shown := func(text string) string { return printable.Line(mask(text), 2*len(text)+1000) }
	at := min(max(e.Offset, 0), len(l.Text))
	left, right := shown(l.Text[:at]), shown(l.Text[at:])
	if whole := shown(l.Text); whole != left+right { // the place lies within a secret
		common := 0
		for common < len(whole) && common < len(left) && whole[common] == left[common] {
			common++
		}
		for common > 0 && common < len(whole) && !utf8.RuneStart(whole[common]) {
			common--
		}
		left, right = whole[:common], whole[common:]
	}
	if n := utf8.RuneCountInString(left); n > before {
		left = "…" + string([]rune(left)[n-before:])
	}
	if utf8.RuneCountInString(right) > after {
		right = string([]rune(right)[:after]) + "…"
	}
	return left + right, strings.Repeat(" ", utf8.RuneCountInString(left)) + "^"
}

// challengesOf returns the challenges of lines, those of broken lines included.
func challengesOf(lines []string) (all []durward.Challenge) {
	for _, l := range Challenges(lines) {
		all = append(all, l.Challenges...)
	}
	return all
}
