package printable

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, in string
		max      int
		want     string
	}{
		{"plain text: unchanged", "GET /ä 語 👋", 40, "GET /ä 語 👋"},
		{"escape sequence: no escape character", "\x1b[31mred", 40, "?[31mred"},
		{"line end and a forged log line: one line", "a\r\nlevel=ERROR", 40, "a??level=ERROR"},
		{"C1 control, NEL: replaced", "a\u009b31m\u0085b", 40, "a?31m?b"},
		{"line and paragraph separator: replaced", "a\u2028b\u2029c", 40, "a?b?c"},
		{"bidirectional controls: replaced", "a\u202eb\u2066c\u200fd", 40, "a?b?c?d"},
		{"invisible characters: replaced", "a\u200bb\ufeffc\U000e0041d", 40, "a?b?c?d"},
		{"no-break space: replaced", "a\u00a0b", 40, "a?b"},
		{"invalid UTF-8: replaced", "a\xffb\xc3", 40, "a?b?"},
		{"U+FFFD itself: replaced", "a\ufffdb", 40, "a?b"},
		{"longer than max: cut", "abcdef", 3, "abc…"},
		{"max within a character: cut before it", "aäb", 2, "a…"},
		{"as long as max: whole", "abc", 3, "abc"},
		{"continuation bytes alone: cut", "\x80\x80\x80", 2, "…"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := Line(c.in, c.max); got != c.want {
				t.Errorf("Line(%q, %d) = %q, want %q", c.in, c.max, got, c.want)
			}
		})
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	if got, want := Text("a\nb\r\n\x1b[2J\tc"), "a\nb?\n?[2J?c"; got != want {
		t.Errorf("Text = %q, want %q", got, want)
	}
}

// The result is valid, short and printable for any input.
func FuzzLine(f *testing.F) {
	f.Add("plain", 3)
	f.Add("\xff\u202e\x1b", 2)
	f.Fuzz(func(t *testing.T, s string, max int) {
		if max < 0 || max > 1000 {
			t.Skip()
		}
		got := Line(s, max)
		if !utf8.ValidString(got) || len(got) > 3*max+len("…") || strings.ContainsAny(got, "\n\r\x1b\u202e") {
			t.Errorf("Line(%q, %d) = %q", s, max, got)
		}
		if again := Line(got, len(got)); again != got {
			t.Errorf("Line(%q, %d) = %q, and %q the second time", s, max, got, again)
		}
	})
}
