package explain

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"
	"unicode/utf8"
)

// bounds are the least and the greatest number of words of a level, code apart.
type bounds struct{ least, most int }

// wordsOf holds the bounds of the levels. A short page belongs to an ordinary code; its status is
// none of those that concern identity.
var (
	wordsOf      = map[string]bounds{"eli3": {25, 70}, "eli5": {50, 130}, "junior": {100, 250}, "crash": {150, 350}, "deep": {250, 700}}
	wordsOfShort = map[string]bounds{"eli3": {15, 70}, "eli5": {25, 130}, "junior": {40, 250}, "crash": {40, 350}, "deep": {50, 700}}
)

// identity lists the statuses that concern identity.
var identity = []int{401, 403, 407, 429, 503}

// technical matches words that a child of three does not know.
var technical = regexp.MustCompile(`(?i)\b(http|https|url|api|server|client|token|cookie|header|browser|password|passwords|request|response|refuse|refused|` +
	`computer|internet|website|web|code|login|sign-in|account|user|error|status|scheme|challenge|credential|credentials|` +
	`authenticat\w*|authori[sz]\w*|proxy|network|certificate|signature|session|scope|expired|valid|invalid|database|data|app|program|software|digital|` +
	`cryptograph\w*|encrypt\w*|nonce|jwt|bearer|digest|dpop|oauth|cache|[0-9]{3,})\b`)

// fences matches fenced code.
var fences = regexp.MustCompile("(?ms)^```.*?^```$")

// countWords counts the words of Markdown outside fenced code: texts between blanks with a letter
// or a digit.
func countWords(markdown string) (n int) {
	for _, word := range strings.Fields(fences.ReplaceAllString(markdown, "")) {
		if strings.ContainsFunc(word, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
			n++
		}
	}
	return n
}

// clauseInText matches a clause within the text of a level deep.
var clauseInText = regexp.MustCompile(`RFC [0-9]{4}|Fetch|CORS|HTML|IANA|NIST|WebAuthn|OpenID|MS-NLMP|\bW3C\b`)

// link matches a link of Markdown.
var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// section returns the section of a page with a name.
func section(p Page, name string) (Section, bool) {
	i := slices.IndexFunc(p.Sections, func(s Section) bool { return s.Name == name })
	if i < 0 {
		return Section{}, false
	}
	return p.Sections[i], true
}

// mistakesOf returns the departures of a page from the form that ADDING.md describes.
func mistakesOf(p Page, find func(id string) bool) (mistakes []string) {
	add := func(format string, values ...any) {
		mistakes = append(mistakes, p.ID+": "+fmt.Sprintf(format, values...))
	}
	if p.Title == "" || strings.HasSuffix(p.Title, ".") {
		add("title %q, want a few words", p.Title)
	}
	if p.Kind != KindFamily && len(p.Clauses) == 0 {
		add("clauses are missing")
	}
	if !strings.HasSuffix(p.Summary, ".") || strings.Contains(strings.TrimSuffix(p.Summary, "."), ". ") || strings.ContainsAny(p.Summary, "`\n") {
		add("summary %q, want one sentence of plain text", p.Summary)
	}
	if (p.Family != "") != (p.Kind == KindCause) {
		add("family is %q: a cause has one, and no other page", p.Family)
	}
	for _, id := range p.Related {
		if id == p.ID || !find(id) {
			add("related page %q does not exist or is the page itself", id)
		}
	}
	words := wordsOf
	if _, ok := section(p, "questions"); ok && p.Kind != KindPage {
		add("questions belong to a page about a subject")
	}
	if p.Kind == KindCode && !slices.Contains(identity, p.Status) {
		words = wordsOfShort
	}
	for _, s := range p.Sections {
		html, err := s.HTML("/errors/")
		if err != nil || s.Markdown == "" || s.Heading() == "" || strings.Contains(string(html), "omitted") || strings.Contains(string(html), "<script") {
			add("section %s renders as %q, %v", s.Name, html, err)
		}
		if s.Inherited {
			continue
		}
		if b, ok := words[s.Name]; ok {
			if n := countWords(s.Markdown); n < b.least || n > b.most {
				add("%s has %d words, want %d to %d", s.Name, n, b.least, b.most)
			}
		}
		for _, m := range link.FindAllStringSubmatch(s.Markdown, -1) {
			if _, ok := linked(m[1]); !ok && !strings.HasPrefix(m[1], "https://") {
				add("%s: the link %q is neither the file of a text nor an address with https", s.Name, m[1])
			}
		}
		prose := fences.ReplaceAllString(s.Markdown, "")
		switch s.Name {
		case "eli3":
			if word := technical.FindString(prose); word != "" || strings.Contains(prose, "`") {
				add("eli3 has the word %q, which a child of three does not know, or code", word)
			}
		case "crash":
			if !regexp.MustCompile(`(?m)^(\||- |1\. )`).MatchString(prose) {
				add("crash has neither a table nor a list")
			}
		case "deep":
			for paragraph := range strings.SplitSeq(prose, "\n\n") {
				if countWords(paragraph) >= 40 && !clauseInText.MatchString(paragraph) {
					add("deep: this paragraph names no clause: %.80s…", paragraph)
				}
			}
		}
		fenced, widest := false, 0
		for line := range strings.SplitSeq(s.Markdown, "\n") {
			if strings.HasPrefix(line, "```") {
				if fenced = !fenced; fenced && line == "```" {
					add("%s: fenced code names no language", s.Name)
				}
				if widest = 90; line == "```http" {
					widest = 100 // a field is one line
				}
			}
			if width := utf8.RuneCountInString(line); width > widest && fenced {
				add("%s: a line of %d columns does not fit a terminal: %s", s.Name, width, line)
			}
		}
		if fenced {
			add("%s: fenced code does not end", s.Name)
		}
	}
	return mistakes
}

// A typing mistake, another kind of letters and a part of an ID lead to the ID.
func TestSuggest(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]string{
		"TOKEN_EXPIRD":             "TOKEN_EXPIRED",
		"token expired":            "TOKEN_EXPIRED",
		"invalid-tokn":             "INVALID_TOKEN",
		"proxy":                    "PROXY_AUTHENTICATION_REQUIRED",
		"zzzzzzzz":                 "",
		"":                         "",
		strings.Repeat("x", 1<<20): "",
	} {
		got := Suggest(typed)
		if want == "" && len(got) > 0 || want != "" && (len(got) == 0 || len(got) > 3 || got[0] != want) {
			t.Errorf("Suggest(%.40q) = %q, want %q first", typed, got, want)
		}
	}
}

// Every text keeps the form that ADDING.md describes.
func TestForm(t *testing.T) {
	t.Parallel()
	pages, err := read(texts)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]Kind{}
	for _, p := range pages {
		for _, mistake := range mistakesOf(p, func(id string) bool { q, ok := Find(id); return ok && q.ID == id }) {
			t.Error(mistake)
		}
		if other, ok := seen[strings.ToLower(p.ID)]; ok {
			t.Errorf("%s is the ID of pages of %s and %s", p.ID, other, p.Kind)
		}
		seen[strings.ToLower(p.ID)] = p.Kind
		if want := requiredLevels(p); len(want) > 0 {
			for _, level := range want {
				if s, ok := p.Level(level); !ok || s.Inherited {
					t.Errorf("%s: level %s is missing", p.ID, level)
				}
			}
		}
	}
}

// requiredLevels returns the levels that a page has itself.
func requiredLevels(p Page) []string {
	switch p.Kind {
	case KindCause:
		return []string{"junior", "deep"}
	case KindFamily, KindCode:
		return Levels
	}
	return nil
}

// mistakesOf finds each departure from the form.
func TestFormFindsMistakes(t *testing.T) {
	t.Parallel()
	words := func(n int) string { return strings.Repeat("door ", n) }
	good := Page{ID: "a", Kind: KindCause, Family: "token", Title: "T", Summary: "S.", Clauses: []Clause{{}}, Related: []string{"b"},
		Sections: []Section{{Name: "eli3", Markdown: words(30)}, {Name: "crash", Markdown: "- " + words(200)}, {Name: "deep", Markdown: "RFC 9110 " + words(300)}}}
	for name, c := range map[string]struct {
		change func(p *Page)
		want   string
	}{
		"good page: no mistake":                 {func(p *Page) {}, ""},
		"no title: mistake":                     {func(p *Page) { p.Title = "" }, "title"},
		"no clause: mistake":                    {func(p *Page) { p.Clauses = nil }, "clauses"},
		"two sentences: mistake":                {func(p *Page) { p.Summary = "S. T." }, "summary"},
		"cause without family: mistake":         {func(p *Page) { p.Family = "" }, "family"},
		"related to nothing: mistake":           {func(p *Page) { p.Related = []string{"c"} }, "related"},
		"24 words for a child: mistake":         {func(p *Page) { p.Sections[0].Markdown = words(24) }, "24 words, want 25 to 70"},
		"long code counts no words: no mistake": {func(p *Page) { p.Sections[0].Markdown = words(60) + "\n\n```sh\n" + words(12) + "\n```" }, ""},
		"code without language: mistake":        {func(p *Page) { p.Sections[0].Markdown = words(60) + "\n\n```\nx\n```" }, "no language"},
		"code without end: mistake":             {func(p *Page) { p.Sections[0].Markdown = words(60) + "\n\n```sh\nx" }, "does not end"},
		"wide code: mistake":                    {func(p *Page) { p.Sections[0].Markdown = words(60) + "\n\n```sh\n" + words(20) + "\n```" }, "terminal"},
		"technical word for a child: mistake":   {func(p *Page) { p.Sections[0].Markdown = words(30) + "Token." }, `"Token"`},
		"hurry without list: mistake":           {func(p *Page) { p.Sections[1].Markdown = words(200) }, "neither a table nor a list"},
		"claim without clause: mistake":         {func(p *Page) { p.Sections[2].Markdown = words(300) }, "names no clause"},
		"raw HTML: mistake":                     {func(p *Page) { p.Sections[0].Markdown = words(30) + "<b>x</b>" }, "renders"},
		"link to nothing: mistake":              {func(p *Page) { p.Sections[0].Markdown = words(30) + "[x](../codes/Y.md)" }, "neither"},
		"link by http: mistake":                 {func(p *Page) { p.Sections[0].Markdown = words(30) + "[x](http://example.com)" }, "neither"},
		"link to a code: no mistake":            {func(p *Page) { p.Sections[1].Markdown += "[x](../codes/TOKEN_EXPIRED.md) [y](https://example.com)" }, ""},
		"text of the family: no mistake":        {func(p *Page) { p.Sections[0] = Section{"eli3", "few", true} }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := good
			p.Sections = slices.Clone(good.Sections)
			c.change(&p)
			got := strings.Join(mistakesOf(p, func(id string) bool { return id == "b" }), "\n")
			if c.want == "" && got != "" || !strings.Contains(got, c.want) {
				t.Errorf("mistakes %q, want %q", got, c.want)
			}
		})
	}
}

// A cause takes the levels from its family that it lacks, marked as inherited, in the order of the levels.
func TestInherit(t *testing.T) {
	t.Parallel()
	const family = "+++\nid = \"f\"\ntitle = \"F\"\nsummary = \"S.\"\n+++\n\n## eli3\n\nthree\n\n## junior\n\nfamily\n\n## deep\n\ndeep\n"
	const cause = "+++\nid = \"c\"\ntitle = \"C\"\nfamily = \"f\"\nsummary = \"S.\"\n+++\n\n## junior\n\nown\n\n## client\n\nDo it.\n"
	pages, err := read(fstest.MapFS{"texts/causes/c.md": {Data: []byte(cause)}, "texts/families/f.md": {Data: []byte(family)}})
	if err != nil || len(pages) != 2 {
		t.Fatalf("read = %v, %v", pages, err)
	}
	want := []Section{{"eli3", "three", true}, {"junior", "own", false}, {"deep", "deep", true}, {"client", "Do it.", false}}
	if !slices.Equal(pages[0].Sections, want) {
		t.Errorf("sections %v, want %v", pages[0].Sections, want)
	}
	if len(pages[0].Levels()) != 3 || len(pages[0].Parts()) != 1 || pages[0].Path() != "/errors/cause/c" || pages[1].Path() != "/errors/family/f" {
		t.Errorf("levels %v, parts %v", pages[0].Levels(), pages[0].Parts())
	}
	if text := pages[0].Text("eli3", 80); !strings.Contains(text, "For a child of three (about the family f)\nthree\n") {
		t.Errorf("text %q", text)
	}
	nothing, _ := Find("nothing")
	if text := nothing.Text("eli3", 80); !strings.Contains(text, "\nCauses\n") || !strings.Contains(text, "\n- no-credentials: No credentials were sent\n") ||
		strings.Contains(text, "expired") {
		t.Errorf("text of a family %q, want a list of its causes", text)
	}
	_, err = read(fstest.MapFS{"texts/causes/c.md": {Data: []byte(cause)}})
	if err == nil || !strings.Contains(err.Error(), `family "f" has no page`) {
		t.Errorf("a cause without family: error %v", err)
	}
}

// A link to an ID leads to its page. Fences that follow each other are a group with one name; one alone is plain.
func TestGroupsOfCode(t *testing.T) {
	t.Parallel()
	s := Section{Name: "client", Markdown: "[A](../pages/challenge.md) [B](https://example.com)\n\n```sh\ncurl -i 'a&b'\n```\n\n```go\nx := 1\n```\n\nB\n\n```http\nA: b\n```\n\nC\n\n```js\n1\n```\n\n```python\n2\n```\n"}
	html, err := s.HTML("/base/errors/")
	want := `<p><a href="/base/errors/page/challenge">A</a> <a href="https://example.com">B</a></p>
<details class="code" name="client-1" open><summary>curl</summary><pre><code>curl -i &#39;a&amp;b&#39;
</code></pre>
</details>
<details class="code" name="client-1"><summary>Go</summary><pre><code>x := 1
</code></pre>
</details>
<p>B</p>
<pre><code>A: b
</code></pre>
<p>C</p>
<details class="code" name="client-2" open><summary>JavaScript</summary><pre><code>1
</code></pre>
</details>
<details class="code" name="client-2"><summary>Python</summary><pre><code>2
</code></pre>
</details>
`
	if err != nil || string(html) != want {
		t.Errorf("HTML = %s, %v, want %s", html, err, want)
	}
}

// A terminal names the language of each program, and shows one of a group on request.
func TestProgramsOnTerminal(t *testing.T) {
	t.Parallel()
	p := Page{Title: "T", ID: "t", Summary: "S.", Sections: []Section{{Name: "client",
		Markdown: "Do:\n\n```sh 200\ncurl x\n```\n\n```go 200\npackage main\n\nfunc main() {}\n```\n\n```python 200\nprint(200)\n```\n\nEnd.\n\n```http\nA: b\n```"}}}
	const head, end = "T (t)\n\nS.\n\nWhat to do now\nDo:\n\n", "\nEnd.\n\n    A: b\n"
	const curl, golang, python = "curl:\n    curl x\n", "Go:\n    package main\n\n    func main() {}\n", "Python:\n    print(200)\n"
	for language, want := range map[string]string{
		"go": head + golang + "\nAlso in curl, Python.\n" + end,
		"js": head + curl + "\nAlso in Go, Python.\n" + end,
	} {
		if got := p.WithCode(language).Text("", 80); got != want {
			t.Errorf("%s: text\n%s\nwant\n%s", language, got, want)
		}
	}
	if got, want := p.Text("", 80), head+curl+"\n"+golang+"\n"+python+end; got != want {
		t.Errorf("all: text\n%s\nwant\n%s", got, want)
	}
}

// A clause in a text is a link, with the words around it and the line break after it, and code is left alone.
func TestClausesAreLinks(t *testing.T) {
	t.Parallel()
	s := Section{Name: "deep", Markdown: "See RFC 9110 s15.5.2, *RFC 6750 s3.1.*\nand `RFC 1 s2` or [RFC 7 s1](https://example.com).\nRFC 9449 s4"}
	html, err := s.HTML("/errors/")
	want := `<p>See <a href="https://www.rfc-editor.org/rfc/rfc9110#section-15.5.2">RFC 9110 s15.5.2</a>, ` +
		`<em><a href="https://www.rfc-editor.org/rfc/rfc6750#section-3.1">RFC 6750 s3.1</a>.</em>
and <code>RFC 1 s2</code> or <a href="https://example.com">RFC 7 s1</a>.
<a href="https://www.rfc-editor.org/rfc/rfc9449#section-4">RFC 9449 s4</a></p>
`
	if err != nil || string(html) != want {
		t.Errorf("HTML = %s, %v, want %s", html, err, want)
	}
}

// wrap keeps code, tables and lists apart from paragraphs.
func TestWrap(t *testing.T) {
	t.Parallel()
	const markdown = "### Head\n\nSome words\nin a [row](../pages/x.md) [x](../pages/x.md).\n\n1. first item with words\n2. second\n   line\n\n| a | b |\n|---|---|\n| a long cell | of a table |\n\n" +
		"Fix:\n```sh\ncurl -i \\\n\n  http://127.0.0.1:8401/lab/expired\n```\nEnd."
	const want = "Head\n\nSome words in a row\n(x) x.\n\n1. first item with\n   words\n2. second line\n\na          b\n--------------------\na long     of a\ncell       table\n\n" +
		"Fix:\n    curl -i \\\n\n      http://127.0.0.1:8401/lab/expired\nEnd.\n"
	if got := wrap(markdown, 20); got != want {
		t.Errorf("wrap =\n%s\nwant\n%s", got, want)
	}
}
