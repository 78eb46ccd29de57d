package doctor

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"github.com/durward-auth/durward/internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the expectations in testdata/inputs")

// secret stands where secrets stand in the inputs of tests.
const secret = "s3cr3t-marker"

// summary returns a case as text: one line for each thing that was read.
func summary(c *Case) string {
	var b strings.Builder
	fmt.Fprintf(&b, "kind %s, subject %d\n", c.Kind, c.Subject)
	for i, e := range c.Exchanges {
		fmt.Fprintf(&b, "%d", i)
		if e.Command != "" {
			fmt.Fprintf(&b, " by %s", e.Command)
		}
		if e.Entry != 0 {
			fmt.Fprintf(&b, " entry %d", e.Entry)
		}
		if !e.Time.IsZero() {
			fmt.Fprintf(&b, " at %s", e.Time.UTC().Format("2006-01-02T15:04:05Z"))
		}
		b.WriteByte('\n')
		if e.Error != "" {
			fmt.Fprintf(&b, "  error %s\n", e.Error)
		}
		fields := func(f Fields) {
			for _, f := range f {
				fmt.Fprintf(&b, "    %s: %q", f.Name, f.Value)
				if f.Raw != "" {
					fmt.Fprintf(&b, " raw %q", f.Raw)
				}
				if f.Variable != "" {
					fmt.Fprintf(&b, " variable %s", f.Variable)
				}
				fmt.Fprintf(&b, " (%s)\n", f.At)
			}
		}
		part := func(whole bool) string {
			if whole {
				return ""
			}
			return ", a part"
		}
		if r := e.Request; r != nil {
			fmt.Fprintf(&b, "  > %s %s %s%s", r.Method, r.URL, r.Proto, part(r.Whole))
			if r.ClientCertificate {
				b.WriteString(", client certificate")
			}
			b.WriteByte('\n')
			fields(r.Header)
			if len(r.Body) > 0 {
				fmt.Fprintf(&b, "    body %q\n", r.Body)
			}
		}
		if r := e.Response; r != nil {
			fmt.Fprintf(&b, "  < %d %s %s%s\n", r.Status, r.Reason, r.Proto, part(r.Whole))
			fields(r.Header)
			if len(r.Body) > 0 {
				fmt.Fprintf(&b, "    body %q\n", r.Body)
			}
			if r.Truncated {
				b.WriteString("    truncated\n")
			}
		}
	}
	for _, t := range c.Tokens {
		fmt.Fprintf(&b, "token %q label %q\n", t.Value, t.Label)
	}
	if c.URL != "" {
		fmt.Fprintf(&b, "url %s\n", c.URL)
	}
	if c.DenialID != "" {
		fmt.Fprintf(&b, "denial %s\n", c.DenialID)
	}
	for _, l := range c.Log {
		fmt.Fprintf(&b, "log %q\n", l)
	}
	for _, n := range c.Notes {
		fmt.Fprintf(&b, "note %s, %s: %s\n", n.ID, n.At, n.Text)
	}
	for _, l := range c.Limits {
		fmt.Fprintf(&b, "limit %s\n", l)
	}
	return b.String()
}

// TestRead reads the inputs of testdata/inputs. Each file holds the input and the expected summary
// of the case, or the expected error.
func TestRead(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/inputs/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("found no inputs: %v", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			t.Parallel()
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var out []txtar.File
			for i := 0; i < len(a.Files); i++ {
				f := a.Files[i]
				if strings.HasPrefix(f.Name, "want") {
					continue
				}
				out = append(out, f)
				input := string(f.Data)
				if strings.HasSuffix(f.Name, ".crlf") {
					input = strings.ReplaceAll(input, "\n", "\r\n")
				}
				got := ""
				if c, err := Read(strings.NewReader(input), Options{}); err != nil {
					got = "error " + err.Error() + "\n"
				} else {
					got = summary(c)
				}
				want := txtar.File{Name: "want of " + f.Name}
				if i+1 < len(a.Files) && strings.HasPrefix(a.Files[i+1].Name, "want") {
					want.Data = a.Files[i+1].Data
				}
				if !*update {
					if diff := cmp.Diff(string(want.Data), got); diff != "" {
						t.Errorf("%s of %s, want - got +:\n%s", f.Name, name, diff)
					}
				}
				want.Data = []byte(got)
				out = append(out, want)
			}
			if *update {
				a.Files = out
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestReadTheSame reads one request in the forms of the tools that copy it, and compares each with
// the raw exchange. Chromium wrote devtools.txtar; same.txtar has the forms of Firefox and of older
// versions, and a body that needs each kind of quotation.
func TestReadTheSame(t *testing.T) {
	t.Parallel()
	essence := func(t *testing.T, input string) string {
		c, err := Read(strings.NewReader(input), Options{})
		if err != nil {
			t.Fatalf("cannot read the input: %v", err)
		}
		e := c.Refusal()
		if e == nil || e.Request == nil {
			t.Fatalf("found no request:\n%s", summary(c))
		}
		r := e.Request
		var fields []string
		for _, f := range r.Header {
			switch strings.ToLower(f.Name) {
			// A copied command leaves these to the tool, or the browser adds them to the copy.
			case "host", "connection", "accept-encoding", "content-length", "te", "pragma", "cache-control", "referer":
				continue
			}
			fields = append(fields, strings.ToLower(f.Name)+": "+f.Value)
		}
		slices.Sort(fields)
		return fmt.Sprintf("%s %s whole %v\n%s\n\n%s\nnotes: %d", r.Method, r.URL, r.Whole, strings.Join(fields, "\n"), r.Body, len(c.Notes))
	}
	for _, name := range []string{"testdata/same.txtar", "testdata/devtools.txtar"} {
		a, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		want := ""
		for _, f := range a.Files {
			if f.Name == "raw" {
				want = essence(t, string(f.Data))
			}
		}
		for _, f := range a.Files {
			t.Run(f.Name+": as the raw exchange", func(t *testing.T) {
				t.Parallel()
				for _, end := range []string{"\n", "\r\n"} {
					if end == "\r\n" && strings.Contains(f.Name, "bash") {
						continue
					}
					got, want := essence(t, strings.ReplaceAll(string(f.Data), "\n", end)), want
					if strings.HasPrefix(f.Name, "Chromium fetch") { // fields that fetch does not let a page set
						added := regexp.MustCompile(`(?m)^(sec-|user-agent|origin|cookie|content-length).*\n`)
						got, want = added.ReplaceAllString(got, ""), added.ReplaceAllString(want, "")
					}
					switch f.Name {
					case "Chromium fetch": // the browser adds the cookie
						want = strings.Replace(want, "whole true", "whole false", 1)
					case "Chromium HAR without secrets":
						want = regexp.MustCompile(`(?m)^(authorization|cookie).*\n`).ReplaceAllString(want, "")
						want = strings.NewReplacer("whole true", "whole false", "notes: 0", "notes: 1").Replace(want)
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("line ends %q, want - got +:\n%s", end, diff)
					}
				}
			})
		}
	}
}

func TestReadEncodings(t *testing.T) {
	t.Parallel()
	text := "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"a\"\r\n\r\n"
	little, big := []byte{0xff, 0xfe}, []byte{0xfe, 0xff}
	for _, u := range utf16.Encode([]rune(text)) {
		little = append(little, byte(u), byte(u>>8))
		big = append(big, byte(u>>8), byte(u))
	}
	for name, input := range map[string]string{
		"UTF-8":                        text,
		"UTF-8 with a byte order mark": "\xef\xbb\xbf" + text,
		"UTF-16, little endian":        string(little),
		"UTF-16, big endian":           string(big),
	} {
		t.Run(name+": read", func(t *testing.T) {
			t.Parallel()
			c, err := Read(strings.NewReader(input), Options{})
			if err != nil {
				t.Fatal(err)
			}
			if e := c.Refusal(); e == nil || e.Response.Status != 401 || e.Response.Header.Get("WWW-Authenticate") != `Basic realm="a"` {
				t.Errorf("Read(%q) = %s", input, summary(c))
			}
		})
	}
}

// golden compares text with a file, or writes the file with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s, want - got +:\n%s", name, diff)
	}
}

func BenchmarkReadExchange(b *testing.B) {
	text := "GET /v1/items HTTP/1.1\nHost: api.example.com\nAuthorization: Bearer x.y.z\n\nHTTP/1.1 401 Unauthorized\n" +
		"WWW-Authenticate: Bearer error=\"invalid_token\"\nContent-Type: application/json\n\n{\"error\":\"invalid_token\"}\n"
	for b.Loop() {
		if _, err := Read(strings.NewReader(text), Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
