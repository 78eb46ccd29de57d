package doctor

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/durward-auth/durward/internal/txtar"
)

// noControls fails if text has a control character other than a line feed.
func noControls(t *testing.T, input, text string) {
	t.Helper()
	if i := strings.IndexFunc(text, func(r rune) bool { return r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r == '\u202e' }); i >= 0 {
		t.Errorf("input %.100q: a control character in %q", input, text[max(0, i-60):min(len(text), i+20)])
	}
}

// words returns the texts that a reader writes itself: error, notes and limits.
func words(c *Case, err error) string {
	if err != nil {
		return err.Error()
	}
	var b strings.Builder
	for _, n := range c.Notes {
		b.WriteString(n.ID + " " + n.At + " " + n.Text + "\n")
	}
	for _, l := range c.Limits {
		b.WriteString(l + "\n")
	}
	return b.String()
}

// TestReadHostile reads inputs that are made to harm the reader. Each gives a case or an error
// within the bounds of the reader, and no control character of the input is in its words.
func TestReadHostile(t *testing.T) {
	t.Parallel()
	random := make([]byte, 1<<20)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(random)
	deep := strings.Repeat
	for _, row := range []struct {
		name, input string
		err         string // part of the error; empty: a case
		kind        Kind
		limit       string
	}{
		{name: "binary: error", input: string(random), err: "binary"},
		{name: "zeros: error", input: deep("\x00", 1<<20), err: "binary"},
		{name: "gzip: error", input: "\x1f\x8b\x08\x00abc", err: "Decompress it first"},
		{name: "ZIP: error", input: "PK\x03\x04abc", err: "Unpack it first"},
		{name: "blanks: error", input: deep(" \n", 1<<19), err: "empty"},
		{name: "a token of 1 MiB: token", input: "eyJhbGciOiJIUzI1NiJ9.eyJ" + deep("a", 1<<20-60) + ".abc", kind: KindToken},
		{name: "a longer token: bound", input: "eyJhbGciOiJIUzI1NiJ9.eyJ" + deep("a", 1<<20) + ".abc", kind: KindToken, limit: "1 MiB"},
		{name: "a response of 3 MiB: bound", input: "HTTP/1.1 401 no\nA: b\n\n" + deep("line\n", 220_000), kind: KindRaw, limit: "1 MiB"},
		{name: "a body with zeros: raw", input: "HTTP/1.1 401 no\nA: b\n\n\x00\x01\x02\x03", kind: KindRaw},
		{name: "a cut command: error", input: "curl 'https://a.example/' -H 'a", err: "copy the whole command"},
		{name: "a cut command in double quotes: error", input: `curl "https://a.example/`, err: "copy the whole command"},
		{name: "a cut command of cmd.exe: error", input: `curl ^"https://a.example/`, err: "copy the whole command"},
		{name: "a cut call of PowerShell: error", input: `Invoke-WebRequest -Uri "https://a.example/`, err: "copy the whole command"},
		{name: "a cut call of fetch: error", input: `fetch("https://a.example/", {"headers": {`, err: "as cURL"},
		{name: "a cut option: note", input: `curl https://a.example/ -H`, kind: KindCurl},
		{name: "substitutions in each other: error", input: "curl " + deep("$(", 400_000), err: "substitution"},
		{name: "parentheses: error", input: "curl $((" + deep("(", 900_000), err: "substitutions"},
		{name: "backticks: error", input: "curl " + deep("`", 900_001), err: "substitutions"},
		{name: "braces: error", input: "curl " + deep("${a:-", 200_000), err: "substitution"},
		{name: "keywords behind a pipe: not parsed", input: "curl https://a.example/ | " + deep("if ! ", 150_000), kind: KindCurl},
		{name: "many words: case", input: "curl https://a.example/ " + deep("a ", 500_000), kind: KindCurl},
		{name: "many headers: case", input: "curl https://a.example/ " + deep("-H 'a: b' ", 100_000), kind: KindCurl},
		{name: "many commands: bound", input: deep("curl https://a.example/ ;\n", 40_000), kind: KindCurl},
		{name: "many prompts: case", input: deep("$ curl https://a.example/\nHTTP/1.1 401 no\n", 5_000), kind: KindTranscript},
		{name: "prompts with cut commands: case", input: "$ ls\na\n" + deep("$ curl 'x\n", 20_000), kind: KindTranscript},
		{name: "many continued lines: case", input: "curl https://a.example/ " + deep("\\\n", 500_000), kind: KindTranscript},
		{name: "many status lines: case", input: deep("HTTP/1.1 401 no\n", 20_000), kind: KindRaw},
		{name: "folded lines: case", input: "HTTP/1.1 401 no\nA: b\n" + deep(" c\n", 80_000), kind: KindRaw},
		{name: "deep JSON: text", input: `{"a":` + deep("[", 500_000), kind: KindText},
		{name: "a deep HAR: error", input: `{"log":{"version":"1.2","entries":[` + deep("[", 500_000), err: "not valid JSON"},
		{name: "a HAR with deep entries: error", input: `{"log":{"entries":[{"request":{"url":` + deep(`{"a":`, 200_000), err: "not valid JSON"},
		{name: "control characters in each place: case", input: "GET /\x1b[31m HTTP/1.1\nHost: \x1b]0;a\x07\nA\x1b: b\n\nHTTP/1.1 401 \x1b[0m\x9b\nWWW-Authenticate: Bearer \x1b[2J\u202e\nno \x1b colon\nB: c\n\n\x1b[31m", kind: KindRaw},
		{name: "control characters in a command: case", input: "curl -\x1b --\x1b[31m -H $'a\\x1b' https://a.example/\x1b", kind: KindCurl},
		{name: "a variable with control characters: case", input: "curl \"${a\x1b}\" https://a.example/", err: "not valid in a shell"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			c, err := Read(strings.NewReader(row.input), Options{})
			noControls(t, row.input, words(c, err))
			if row.err != "" {
				var input *InputError
				if !errors.As(err, &input) || !strings.Contains(err.Error(), row.err) || input.Hint == "" {
					t.Fatalf("Read = %v, want an InputError with %q and a hint", err, row.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.Kind != row.kind {
				t.Errorf("kind %s, want %s", c.Kind, row.kind)
			}
			if got := strings.Join(c.Limits, " "); !strings.Contains(got, row.limit) {
				t.Errorf("limits %q, want %q", got, row.limit)
			}
			c.Masker().Mask("x")
		})
	}
}

// TestDiagnoseBounds: of many or long lines the diagnosis reads a part, and the report names the
// bound.
func TestDiagnoseBounds(t *testing.T) {
	t.Parallel()
	const refusal = "GET /a HTTP/1.1\nHost: api.example.com\n\nHTTP/1.1 401 no\nContent-Length: 0\n\n"
	for name, log := range map[string]string{
		"50,000 lines":           strings.Repeat("a line of a log\n", 50_000),
		"one line of 900 KiB":    "issuer: " + strings.Repeat("https://id.example.com, ", 38_000) + "\n",
		"a line without a blank": "issuer:" + strings.Repeat("https://id.example.com,", 38_000) + "\n",
		"400 long lines":         strings.Repeat(strings.Repeat("Authorization token key issuer ", 60)+"\n", 400),
	} {
		c, err := Read(strings.NewReader(refusal+log), Options{})
		if err != nil {
			t.Fatal(err)
		}
		e := gather(c, testTime)
		if n := len(strings.Join(e.c.Log, "")); n > maxLog || len(e.c.Log) > maxLogLines {
			t.Errorf("%s: %d lines of %d octets are read, want %d and %d at most", name, len(e.c.Log), n, maxLogLines, maxLog)
		}
		if r := Diagnose(c, At(testTime)); !strings.Contains(strings.Join(r.Limits, " "), "lines beside the exchange") {
			t.Errorf("%s: the limits are %q, want that of lines", name, r.Limits)
		}
	}
}

func TestReadFails(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken pipe")
	for _, start := range []string{"", "HTTP/1.1 401 no\n", `{"log":{"entries":[`} {
		_, err := Read(io.MultiReader(strings.NewReader(start), iotest.ErrReader(broken)), Options{})
		if !errors.Is(err, broken) {
			t.Errorf("Read of a broken pipe after %q = %v, want %v", start, err, broken)
		}
	}
	if _, err := Read(strings.NewReader("x"), Options{As: "nonsense"}); err == nil || !strings.Contains(err.Error(), "The kinds are") {
		t.Errorf("Read as nonsense = %v, want the kinds", err)
	}
}

// addInputs adds the inputs of the tests whose archive has one of these names.
func addInputs(f *testing.F, names ...string) {
	for _, name := range names {
		a, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range a.Files {
			if !strings.HasPrefix(file.Name, "want") {
				f.Add(string(file.Data))
			}
		}
	}
}

// checkCase fails unless a case is well-formed.
func checkCase(t *testing.T, input string, c *Case, err error) {
	t.Helper()
	noControls(t, input, words(c, err))
	if err != nil {
		var known *InputError
		if !errors.As(err, &known) || c != nil {
			t.Fatalf("Read(%q) = %v, %v; want an InputError alone", input, c, err)
		}
		return
	}
	if c.Subject < -1 || c.Subject >= len(c.Exchanges) || c.Subject == -1 && len(c.Exchanges) > 0 {
		t.Fatalf("Read(%q): subject %d of %d exchanges", input, c.Subject, len(c.Exchanges))
	}
	for i, e := range c.Exchanges {
		if e.Request == nil && e.Response == nil && e.Error == "" {
			t.Errorf("Read(%q): exchange %d is empty", input, i)
		}
		if r := e.Response; r != nil && (r.Status < 0 || r.Status > 999) {
			t.Errorf("Read(%q): status %d", input, r.Status)
		}
	}
	summary(c)
}

// Every input gives a case or an explained error, quickly.
func FuzzRead(f *testing.F) {
	files, _ := filepath.Glob("testdata/inputs/*.txtar")
	addInputs(f, append(files, "testdata/same.txtar", "testdata/devtools.txtar")...)
	f.Fuzz(func(t *testing.T, input string) {
		start := time.Now()
		c, err := Read(strings.NewReader(input), Options{})
		checkCase(t, input, c, err)
		if d := time.Since(start); d > 20*time.Second {
			t.Errorf("Read(%.100q) of %d octets took %v", input, len(input), d)
		}
	})
}

func fuzzAs(f *testing.F, kind Kind) {
	f.Fuzz(func(t *testing.T, input string) {
		c, err := Read(strings.NewReader(input), Options{As: kind})
		checkCase(t, input, c, err)
	})
}

func FuzzReadRaw(f *testing.F) {
	addInputs(f, "testdata/inputs/raw.txtar", "testdata/inputs/tools.txtar")
	fuzzAs(f, KindRaw)
}

func FuzzReadCurl(f *testing.F) {
	addInputs(f, "testdata/inputs/curl.txtar", "testdata/same.txtar", "testdata/devtools.txtar")
	fuzzAs(f, KindCurl)
}

func FuzzReadTranscript(f *testing.F) {
	addInputs(f, "testdata/inputs/transcript.txtar")
	fuzzAs(f, KindTranscript)
}

func FuzzReadToken(f *testing.F) {
	addInputs(f, "testdata/inputs/other.txtar")
	f.Fuzz(func(t *testing.T, input string) {
		c, err := Read(strings.NewReader(input), Options{As: KindToken})
		checkCase(t, input, c, err)
		Claims(input)
	})
}

func FuzzReadHAR(f *testing.F) {
	files, _ := filepath.Glob("testdata/har/*.har")
	for _, name := range files {
		octets, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(octets), 0)
	}
	f.Add(`{"request":{"method":"GET"},"response":{"status":401}}`, 1)
	f.Fuzz(func(t *testing.T, input string, entry int) {
		c, err := Read(strings.NewReader(input), Options{As: KindHAR, Entry: entry})
		checkCase(t, input, c, err)
		// Short reads give the same.
		again, err2 := Read(iotest.OneByteReader(strings.NewReader(input)), Options{As: KindHAR, Entry: entry})
		if (err == nil) != (err2 == nil) || err == nil && summary(c) != summary(again) {
			t.Errorf("reads of one octet give another case for %q: %v, %v", input, err, err2)
		}
	})
}

// A secret behind a known name or scheme is never in the masked text.
func FuzzMask(f *testing.F) {
	f.Add("a: b\n", `"x":1`)
	f.Add("https://a.example/?x=", "&y")
	f.Add("Cookie: a=b;", "; Path=/")
	f.Fuzz(func(t *testing.T, before, after string) {
		const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl"
		for _, hidden := range []string{jwt, "ghp_0123456789abcdefghij0123456789abcdef"} {
			if got := Mask(before + " " + hidden + " " + after); strings.Contains(got, hidden) {
				t.Errorf("Mask(%q around a secret) = %q", before, got)
			}
		}
		c := &Case{Tokens: []Token{{Value: secret}}, Subject: -1}
		if got := c.Masker().Mask(before + secret + after); strings.Contains(got, secret) && !strings.Contains(before+after, secret) {
			t.Errorf("Masker.Mask(%q, %q) = %q", before, after, got)
		}
		for _, name := range []string{"Authorization", "Cookie", "X-Api-Key"} {
			if got := MaskField(name, "a="+secret); strings.Contains(got, secret) {
				t.Errorf("MaskField(%s) = %q", name, got)
			}
		}
	})
}
