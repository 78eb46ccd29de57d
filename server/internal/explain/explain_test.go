package explain

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/durward-auth/durward"
)

// codesOfDurward returns the constants of type Code in package durward, read from its source.
func codesOfDurward(t *testing.T) (all []string) {
	t.Helper()
	names, err := filepath.Glob("../../../*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			kind, ok := spec.Type.(*ast.Ident)
			value, isText := spec.Values[0].(*ast.BasicLit)
			if !ok || !isText || kind.Name != "Code" {
				return true
			}
			code, err := strconv.Unquote(value.Value)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, code)
			return true
		})
	}
	if len(all) < 30 {
		t.Fatalf("%d codes in the source of package durward, want at least 30: %q", len(all), all)
	}
	return all
}

// Each code of package durward has a page, and each page belongs to a code.
func TestEveryCodeIsExplained(t *testing.T) {
	t.Parallel()
	want := codesOfDurward(t)
	for _, code := range want {
		if _, ok := Code(code); !ok {
			t.Errorf("%s has no file in texts/codes", code)
		}
	}
	for _, p := range Codes() {
		if !slices.Contains(want, p.ID) {
			t.Errorf("%s.md explains a code that package durward does not have", p.ID)
		}
	}
}

func TestPagesOfCodes(t *testing.T) {
	t.Parallel()
	pages, err := read(texts)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pages {
		if p.Kind != KindCode {
			continue
		}
		if want := durward.Code(p.ID).Status(); p.Status != want {
			t.Errorf("%s: status = %d, want %d", p.ID, p.Status, want)
		}
		var names []string
		for _, s := range p.Sections {
			names = append(names, s.Name)
			if s.Name == "server" && (!strings.Contains(s.Markdown, "durward why IDENTIFIER") || !strings.Contains(s.Markdown, "Config.OnRefusal")) {
				t.Errorf("%s: the operator learns the cause of neither a server nor a program: %s", p.ID, s.Markdown)
			}
		}
		for _, name := range []string{"client", "server", "example"} {
			if !slices.Contains(names, name) {
				t.Errorf("%s: section %s is missing", p.ID, name)
			}
		}
		if want := "HTTP/1.1 " + strconv.Itoa(p.Status) + " "; !strings.Contains(p.Sections[len(p.Sections)-1].Markdown, want) {
			t.Errorf("%s: the example does not contain %q", p.ID, want)
		}
	}
}

// The figures of a server replace the variables, in a copy.
func TestWith(t *testing.T) {
	t.Parallel()
	p, _ := Code("TOKEN_EXPIRED")
	figured := p.With(map[string]string{"tokens.access_ttl": "2 minutes", "unused": "x"})
	if want := "The access token was valid, but its lifetime (2 minutes) is over."; figured.Summary != want {
		t.Errorf("summary %q, want %q", figured.Summary, want)
	}
	p, _ = Code("INVALID_CREDENTIALS")
	text := p.With(map[string]string{"limits.account_failures": "7", "limits.account_block": "3 hours"}).Text(DefaultLevel, 80)
	if !strings.Contains(text, "(7)") || !strings.Contains(text, "(3\nhours)") && !strings.Contains(text, "(3 hours)") || strings.Contains(text, "{") {
		t.Errorf("text %q", text)
	}
	if again, _ := Code("INVALID_CREDENTIALS"); !strings.Contains(again.Text(DefaultLevel, 1000), "{limits.account_block}") {
		t.Error("With changed the page of all callers")
	}
}

func TestCode(t *testing.T) {
	t.Parallel()
	if p, ok := Code("TOKEN_EXPIRED"); !ok || !strings.Contains(p.Summary, "lifetime") {
		t.Errorf("Code(TOKEN_EXPIRED) = %+v, %v", p, ok)
	}
	for _, id := range []string{"", "NONE", "token_expired"} {
		if p, ok := Code(id); ok || p.Summary != "" {
			t.Errorf("Code(%q) = %+v, %v, want none", id, p, ok)
		}
	}
}

const goodPage = "+++\nid = \"A\"\ntitle = \"T\"\nstatus = 401\nsummary = \"S.\"\nclauses = [\"RFC 9110 s15.5.2\"]\n+++\n\n" +
	"## eli3\n\nA door. A key.\nIt is shut.\n\n## causes\n\n- one two three four five six seven\n- two\n\n## client\n\nDo *this* and <b>that</b>.\n\n## example\n\n```http\nHTTP/1.1 401\n\nA: b\n```\n"

func TestMistakes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ old, new, want string }{
		"good page: no error":            {"", "", ""},
		"no front matter: error":         {"+++\nid", "id", "no front matter"},
		"unknown key: error":             {"title", "titel", "front matter"},
		"malformed clause: error":        {"RFC 9110 s15", "RFC 9110, 15", "want \"RFC NUMBER sSECTION\""},
		"unknown section: error":         {"## client", "## klient", "section \"klient\""},
		"sections in wrong order: error": {"## causes", "## server", "section \"client\""},
		"text before a section: error":   {"+++\n\n##", "+++\n\ntext\n\n##", "before the first section"},
		"id of another file: error":      {`id = "A"`, `id = "B"`, `id is "B"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := strings.Replace(goodPage, c.old, c.new, 1)
			_, err := read(fstest.MapFS{"texts/codes/A.md": {Data: []byte(text)}})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("read(%q): error %v, want one with %q", text, err, c.want)
			}
		})
	}
}

func TestHTMLWithoutRawHTML(t *testing.T) {
	t.Parallel()
	p, err := parse(KindCode, goodPage)
	if err != nil {
		t.Fatal(err)
	}
	html, err := p.Parts()[1].HTML("/errors/")
	if want := "<p>Do <em>this</em> and <!-- raw HTML omitted -->that<!-- raw HTML omitted -->.</p>\n"; err != nil || string(html) != want {
		t.Errorf("HTML = %q, %v, want %q", html, err, want)
	}
}

func TestText(t *testing.T) {
	t.Parallel()
	p, err := parse(KindCode, goodPage)
	if err != nil {
		t.Fatal(err)
	}
	want := `401 T (A)

S.

For a child of three
A door. A key. It is
shut.

Common causes
- one two three four
  five six seven
- two

What to do now
Do *this* and
<b>that</b>.

The response
    HTTP/1.1 401

    A: b

Standards
RFC 9110, section 15.5.2: https://www.rfc-editor.org/rfc/rfc9110#section-15.5.2
`
	if got := p.Text("eli3", 20); got != want {
		t.Errorf("Text(20) =\n%s\nwant\n%s", got, want)
	}
}
