package doctor

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// This file splits a command of a Unix shell into its words.

// shellWords returns the arguments of one command of a Unix shell, with its name, as bash splits
// them (POSIX.1-2024 XCU 2.2, 2.3 and 2.6). It leaves out assignments before the name, redirections
// and comments. It runs nothing: a variable or a substitution stays in its word.
func shellWords(text string) ([]word, error) {
	text = strings.TrimSuffix(strings.ReplaceAll(text, "\r\n", "\n"), "\r")
	r := shellReader{text: text}
	words, bad := r.command()
	if bad >= 0 { // the command itself is not shown: it can have secrets
		before := text[:min(bad, len(text))]
		return nil, fmt.Errorf("the command is not valid in a shell at line %d, column %d; copy the whole command",
			strings.Count(before, "\n")+1, len(before)-strings.LastIndexByte(before, '\n'))
	}
	if len(words) == 0 {
		return nil, errors.New("the input has no command; copy the whole command")
	}
	return words, nil
}

// shellReader reads a command. Its methods return the place of a mistake, or -1.
type shellReader struct {
	text  string
	at    int
	opens int  // substitutions and parentheses in them
	loose bool // an expansion of a wrong form is no mistake
}

// tooDeep reports whether the text has too many substitutions. They are read recursively.
func (r *shellReader) tooDeep() bool { return r.opens > maxSubstitutions }

// has reports whether the rest of the text begins with prefix.
func (r *shellReader) has(prefix string) bool { return strings.HasPrefix(r.text[r.at:], prefix) }

// starts reports whether the next character is one of set.
func (r *shellReader) starts(set string) bool {
	return r.at < len(r.text) && strings.IndexByte(set, r.text[r.at]) >= 0
}

// shellBlanks separate words; shellOperators end them (POSIX.1-2024 XCU 2.3).
const shellBlanks, shellOperators = " \t", ";&|<>()"

var (
	shellAssignment  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*\+?=`)
	shellRedirection = regexp.MustCompile(`^(?:[0-9]*(?:<<<|<>|>>|>\||[<>]&?)|&>>?)`)
	shellName        = regexp.MustCompile(`^(?:[A-Za-z_][A-Za-z0-9_]*|[0-9]|[-@*#?$!])`)
	shellNameInBrace = regexp.MustCompile(`^(?:[!#](?:[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*])|[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[-@*#?$!])`)
)

// skipBlanks goes behind blanks and continuations of lines.
func (r *shellReader) skipBlanks() {
	for {
		switch {
		case r.starts(shellBlanks):
			r.at++
		case r.has("\\\n"):
			r.at += 2
		default:
			return
		}
	}
}

// command returns the words of one command, and the offset of a syntax error or -1.
func (r *shellReader) command() (words []word, bad int) {
	for {
		for r.skipBlanks(); len(words) == 0 && r.has("\n"); r.skipBlanks() {
			r.at++
		}
		if r.at == len(r.text) || r.starts("\n#") {
			return words, -1
		}
		redirection := shellRedirection.FindString(r.text[r.at:])
		if r.has("<(") || r.has(">(") {
			redirection = "" // a process substitution
		}
		if redirection != "" {
			if r.at += len(redirection); strings.HasSuffix(redirection, "<") && r.has("<") {
				return nil, r.at // the text of a here document is not in the command
			}
			r.skipBlanks()
		}
		begin := r.at
		if r.at == len(r.text) || r.starts("\n") || r.starts(shellOperators) && !r.has("<(") && !r.has(">(") {
			if redirection == "" && len(words) > 0 && r.starts(";&|") {
				return words, -1
			}
			return nil, r.at
		}
		w, bad := r.word()
		if bad >= 0 {
			return nil, bad
		}
		if redirection == "" && (len(words) > 0 || !shellAssignment.MatchString(r.text[begin:])) {
			words = append(words, w)
		}
	}
}

// shellMark matches words that stand in place of a secret, directly behind other text.
var shellMark = regexp.MustCompile(`^<[A-Za-z](?:[\w .'-]{0,60}[\w'])?>`)

// word reads a word up to a blank or an operator.
func (r *shellReader) word() (w word, bad int) {
	var b strings.Builder
	for r.at < len(r.text) {
		begin := r.at
		switch {
		case r.has("<("), r.has(">("):
			r.at++
			if bad = r.substitution(&w, &b); bad >= 0 {
				return w, bad
			}
		case r.has("<") && r.at > 0 && strings.IndexByte(" \t\n;&|", r.text[r.at-1]) < 0 && shellMark.MatchString(r.text[r.at:]): // "-u bob:<password>": no redirection
			mark := shellMark.FindString(r.text[r.at:])
			b.WriteString(mark)
			r.at += len(mark)
		case r.starts(shellBlanks + "\n" + shellOperators):
			w.text = b.String()
			if r.has("(") { // bash refuses a parenthesis directly behind a word
				return w, r.at
			}
			return w, -1
		case r.has(`\`):
			r.at = min(r.at+2, len(r.text))
			if r.text[begin:r.at] != "\\\n" {
				b.WriteString(strings.TrimPrefix(r.text[begin:r.at], `\`))
			}
			if r.at == begin+1 { // the end of the text
				b.WriteByte('\\')
			}
		case r.has("'"):
			if bad = r.skipSingle(); bad >= 0 {
				return w, bad
			}
			b.WriteString(r.text[begin+1 : r.at-1])
		case r.has("$'"):
			if bad = r.skipANSI(); bad >= 0 {
				return w, bad
			}
			b.WriteString(unescapeANSI(r.text[begin+2 : r.at-1]))
		case r.has(`"`), r.has(`$"`):
			if bad = r.double(&w, &b); bad >= 0 {
				return w, bad
			}
		case r.starts("$`"):
			if bad = r.expansion(&w, &b, false); bad >= 0 {
				return w, bad
			}
		default:
			b.WriteByte(r.text[r.at])
			r.at++
		}
	}
	w.text = b.String()
	return w, -1
}

// double reads text between quotation marks.
func (r *shellReader) double(w *word, b *strings.Builder) (bad int) {
	begin := r.at
	r.at += strings.IndexByte(r.text[r.at:], '"') + 1
	for r.at < len(r.text) {
		switch {
		case r.has(`"`):
			r.at++
			return -1
		case r.has("\\\n"):
			r.at += 2
		case r.has(`\`) && r.at+1 < len(r.text) && strings.IndexByte("$`\"\\", r.text[r.at+1]) >= 0: // XCU 2.2.3
			b.WriteByte(r.text[r.at+1])
			r.at += 2
		case r.starts("$`"):
			if bad := r.expansion(w, b, true); bad >= 0 {
				return bad
			}
		default:
			b.WriteByte(r.text[r.at])
			r.at++
		}
	}
	return begin
}

// expansion reads an expansion or a substitution, or a dollar sign that begins none.
func (r *shellReader) expansion(w *word, b *strings.Builder, quoted bool) (bad int) {
	if r.has("`") || r.has("$(") || r.has("$[") {
		r.at += strings.IndexAny(r.text[r.at:], "`([")
		return r.substitution(w, b)
	}
	r.at++
	names := shellName
	braces := r.has("{")
	if braces {
		r.at++
		names = shellNameInBrace
	}
	name := names.FindString(r.text[r.at:])
	switch {
	case !braces && name == "":
		b.WriteByte('$')
		return -1
	case braces:
		r.at += len(name)
		if name == "" || !r.starts("}:-+=?#%/^,@[*") {
			if r.loose {
				return -1
			}
			return r.at
		}
		if len(name) > 1 {
			name = strings.TrimLeft(name, "!#")
		}
		if bad := r.skip('}', quoted && r.starts(":-+=?")); bad >= 0 { // before a pattern, apostrophes quote
			return bad
		}
	default:
		r.at += len(name)
	}
	b.WriteString("${" + name + "}")
	w.variable = name
	return -1
}

// substitution reads a substitution from its parenthesis, bracket or backtick on.
func (r *shellReader) substitution(w *word, b *strings.Builder) (bad int) {
	end := map[byte]byte{'(': ')', '[': ']', '`': '`'}[r.text[r.at]]
	r.at++
	if bad := r.skip(end, false); bad >= 0 {
		return bad
	}
	b.WriteString("$(…)")
	w.variable = "command"
	return -1
}

// skip goes behind the end of an expansion or a substitution: behind the character end, outside of quotation marks
// and of further substitutions. If quoted is true, an apostrophe is a letter.
func (r *shellReader) skip(end byte, quoted bool) (bad int) {
	begin := r.at
	if r.opens++; r.tooDeep() {
		return begin
	}
	var ignored strings.Builder
	for r.at < len(r.text) {
		switch c := r.text[r.at]; {
		case c == end:
			r.at++
			return -1
		case c == '\\':
			r.at += 2
		case end == '`':
			r.at++
		case c == '"':
			if bad := r.double(new(word), &ignored); bad >= 0 {
				return bad
			}
		case r.has("$'") && !quoted:
			if bad := r.skipANSI(); bad >= 0 {
				return bad
			}
		case c == '\'' && !quoted:
			if bad := r.skipSingle(); bad >= 0 {
				return bad
			}
		case c == '`', r.has("$("), r.has("${"):
			if bad := r.expansion(new(word), &ignored, quoted && end == '}'); bad >= 0 {
				return bad
			}
		case c == '(' && end == ')':
			r.at++
			if bad := r.skip(')', false); bad >= 0 {
				return bad
			}
		default:
			r.at++
		}
	}
	return begin
}

// skipSingle goes behind the end of text between apostrophes.
func (r *shellReader) skipSingle() (bad int) {
	length := strings.IndexByte(r.text[r.at+1:], '\'')
	if length < 0 {
		return r.at
	}
	r.at += length + 2
	return -1
}

// skipANSI goes behind the end of text that begins with $'.
func (r *shellReader) skipANSI() (bad int) {
	begin := r.at
	for r.at += 2; r.at < len(r.text); r.at++ {
		switch r.text[r.at] {
		case '\\':
			r.at++
		case '\'':
			r.at++
			return -1
		}
	}
	return begin
}

// unescapeANSI decodes the text between $' and ', as bash does.
func unescapeANSI(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		simple := strings.IndexByte(`abeEfnrtv\'"?`, s[i])
		switch {
		case simple >= 0:
			b.WriteByte("\a\b\x1b\x1b\f\n\r\t\v\\'\"?"[simple])
		case s[i] == 'x':
			n, used := digits(s[i+1:], 16, 2)
			if used == 0 {
				b.WriteString(`\x`)
			} else {
				b.WriteByte(byte(n))
			}
			i += used
		case s[i] == 'u' || s[i] == 'U':
			most := 4
			if s[i] == 'U' {
				most = 8
			}
			n, used := digits(s[i+1:], 16, most)
			if used == 0 {
				b.WriteByte('\\')
				b.WriteByte(s[i])
				continue
			}
			i += used
			b.WriteRune(rune(n))
		case s[i] >= '0' && s[i] <= '7':
			n, used := digits(s[i:], 8, 3)
			b.WriteByte(byte(n))
			i += used - 1
		case s[i] == 'c' && i+1 < len(s):
			i++
			b.WriteByte(s[i] & 0x1f)
		default:
			b.WriteByte('\\')
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// digits reads a number at the start of s, of at most so many digits.
func digits(s string, base, most int) (n uint64, used int) {
	for used < len(s) && used < most {
		if _, err := strconv.ParseUint(s[used:used+1], base, 8); err != nil {
			break
		}
		used++
	}
	n, _ = strconv.ParseUint(s[:used], base, 64)
	return n, used
}
