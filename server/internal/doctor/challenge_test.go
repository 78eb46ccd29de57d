package doctor

import (
	"fmt"
	"strings"
	"testing"

	"github.com/durward-auth/durward"
)

func TestChallenges(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		lines []string
		want  string // schemes of each line, and place and octet of each error
	}{
		{"valid lines: as they are", []string{`Basic realm="a"`, `Bearer, ApiKey realm="b"`}, "Basic | Bearer ApiKey"},
		{"a challenge over two lines: on its first line", []string{`Digest realm="a"`, `nonce="b", Basic realm="c"`}, "Digest | Basic"},
		{"an empty line: none", []string{``, `Basic`}, " | Basic"},
		{"a missing comma: the other lines", []string{`Digest realm="a" nonce="b"`, `Bearer realm="x"`, `ApiKey`}, "!18 | Bearer | ApiKey"},
		{"a missing comma, then a scheme in its line: both", []string{`Basic realm="a" Bearer realm="b"`}, "Bearer !17"},
		{"a challenge before the mistake: kept", []string{`Basic realm="a", Bearer a="b" c, ApiKey`}, "Basic ApiKey !31"},
		{"a quotation without end: the other line", []string{`Basic realm="a`, `Bearer`}, "!15 | Bearer"},
		{"no scheme: the other line", []string{`="x"`, `Bearer`}, "!1 | Bearer"},
		{"no lines: none", nil, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for i, l := range Challenges(row.lines) {
				var words []string
				for _, c := range l.Challenges {
					words = append(words, c.Scheme)
				}
				for _, e := range l.Errors {
					if e.Line != i {
						t.Errorf("error of line %d in line %d", e.Line, i)
					}
					words = append(words, fmt.Sprintf("!%d", e.Offset+1))
				}
				got = append(got, strings.Join(words, " "))
			}
			if g := strings.Join(got, " | "); g != row.want {
				t.Errorf("Challenges(%q) = %q, want %q", row.lines, g, row.want)
			}
		})
	}
}

func TestChallengePlace(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		line        string
		offset      int
		text, caret string
	}{
		{`Digest realm="a" nonce="b"`, 17, `Digest realm="a" nonce="b"`, `                 ^`},
		{"a\x1b[31m\u202eb", 6, "a?[31m?b", "      ^"},
		{"", 5, "", "^"},
		{strings.Repeat("x", 100) + " ü " + strings.Repeat("y ", 50), 103, "…" + strings.Repeat("x", 42) + " ü " + strings.Repeat("y ", 13) + "y…", strings.Repeat(" ", 45) + "^"},
		{`Bearer error_description="token ghp_0123456789abcdefghij0123456789abcdef" x`, 73, "…", ""},
		{`Bearer ghp_0123456789abcdefghij0123456789abcdef x`, 24, "…", ""},
	} {
		text, caret := ChallengeLine{Text: row.line}.Place(&durward.SyntaxError{Offset: row.offset})
		if row.text == "…" {
			if strings.Contains(text, "0123456789abc") {
				t.Errorf("Place of %q shows a secret: %q", row.line, text)
			}
			continue
		}
		if text != row.text || caret != row.caret {
			t.Errorf("Place(%q, %d) =\n%q\n%q, want\n%q\n%q", row.line, row.offset, text, caret, row.text, row.caret)
		}
	}
}

// However broken the lines are, each is parsed, and no line hides another.
func FuzzChallenges(f *testing.F) {
	f.Add("Basic realm=\"a\"\nBearer")
	f.Add("Digest realm=\"a\" nonce=\"b\"\nBearer realm=\"x\"\nApiKey")
	f.Add("Basic realm=\"a\" Bearer realm=, Digest \xff\x1b")
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Split(text, "\n")
		got := Challenges(lines)
		if len(got) != len(lines) {
			t.Fatalf("Challenges(%q) has %d lines, want %d", lines, len(got), len(lines))
		}
		_, wholeErr := durward.ParseChallenges(lines)
		for i, l := range got {
			alone, err := durward.ParseChallenges(lines[i : i+1])
			if wholeErr != nil && len(l.Challenges) < len(alone) {
				t.Errorf("line %q has %d challenges, want at least %d", lines[i], len(l.Challenges), len(alone))
			}
			if (err == nil || wholeErr == nil) && len(l.Errors) > 0 {
				t.Errorf("line %q has errors %v, want none", lines[i], l.Errors)
			}
			for _, e := range l.Errors {
				text, caret := l.Place(e)
				if strings.ContainsFunc(text+caret, func(r rune) bool { return r < ' ' || r == 0x7f }) {
					t.Errorf("Place(%q) = %q, %q", lines[i], text, caret)
				}
			}
		}
	})
}

// The report of a response with a broken challenge shows the place.
func TestReportShowsPlace(t *testing.T) {
	t.Parallel()
	c, err := Read(strings.NewReader("HTTP/1.1 401 no\nWWW-Authenticate: Bearer realm=\"a\" error=\"invalid_token\", "+
		"error_description=\"token s3cr3t-marker\"\n\n"+`{"access_token":"s3cr3t-marker"}`), Options{})
	if err != nil {
		t.Fatal(err)
	}
	text := Diagnose(c).Text(Style{})
	if want := "  Bearer realm=\"a\" error=\"invalid_token\", error…\n" + strings.Repeat(" ", 19) + "^\n"; !strings.Contains(text, want) || strings.Contains(text, "s3cr3t") {
		t.Errorf("the report is\n%s\nwant\n%s", text, want)
	}
}
