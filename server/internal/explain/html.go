package explain

import (
	"bytes"
	"fmt"
	"html"
	"html/template"
	"regexp"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// HTML renders s. Raw HTML in the Markdown is left out. A link to the file of a text leads to its
// page below base, the path of the pages with a slash at the end. Fences of code that follow each other become one group of which
// the reader opens one at a time; the first one is open. Headings have an id for links, and a clause of an RFC is a link.
func (s Section) HTML(base string) (template.HTML, error) {
	markdown := goldmark.New(goldmark.WithExtensions(extension.Table), goldmark.WithParserOptions(parser.WithAutoHeadingID()),
		goldmark.WithRendererOptions(renderer.WithNodeRenderers(util.Prioritized(&codeRenderer{name: s.Name}, 1))))
	source := []byte(s.Markdown)
	tree := markdown.Parser().Parse(text.NewReader(source))
	var texts []*ast.Text // outside of links and code
	_ = ast.Walk(tree, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		switch n := n.(type) {
		case *ast.Link:
			if p, ok := linked(string(n.Destination)); ok && entering {
				n.Destination = []byte(base + strings.TrimPrefix(p.Path(), "/errors/"))
			}
			return ast.WalkSkipChildren, nil
		case *ast.CodeSpan:
			return ast.WalkSkipChildren, nil
		case *ast.Text:
			if entering {
				texts = append(texts, n)
			}
		}
		return ast.WalkContinue, nil
	})
	for _, n := range texts {
		linkClauses(n, source)
	}
	var b bytes.Buffer
	err := markdown.Renderer().Render(&b, source, tree)
	return template.HTML(b.String()), err
}

// clauseOfText matches a clause within a text.
var clauseOfText = regexp.MustCompile(`RFC ([0-9]+) s([0-9]+(?:\.[0-9]+)*)`)

// linkClauses makes a link of each clause in a text.
func linkClauses(n *ast.Text, source []byte) {
	for {
		m := clauseOfText.FindSubmatchIndex(n.Segment.Value(source))
		if m == nil {
			return
		}
		at := n.Segment.Start
		part := func(from, to int) text.Segment { return text.NewSegment(at+from, at+to) }
		link := ast.NewLink()
		link.Destination = []byte(rfcURL(string(source[at+m[2]:at+m[3]]), string(source[at+m[4]:at+m[5]])))
		link.AppendChild(link, ast.NewTextSegment(part(m[0], m[1])))
		parent := n.Parent()
		parent.InsertBefore(parent, n, ast.NewTextSegment(part(0, m[0])))
		parent.InsertBefore(parent, n, link)
		n.Segment.Start += m[1] // n is the rest, with its line break
	}
}

// linked returns the page that a link of a text leads to, and false for an address.
func linked(destination string) (Page, bool) {
	m := fileOfText.FindStringSubmatch(destination)
	if m == nil {
		return Page{}, false
	}
	return get(Kind(m[1]), m[2])
}

// fileOfText matches the file of a text, as a link from the file of another one.
var fileOfText = regexp.MustCompile(`^\.\./([a-z]+)/([A-Za-z0-9_-]+)\.md$`)

// codeRenderer renders fenced code of one section.
type codeRenderer struct {
	name   string
	groups int // groups so far
}

// RegisterFuncs implements renderer.NodeRenderer.
func (c *codeRenderer) RegisterFuncs(r renderer.NodeRendererFuncRegisterer) {
	r.Register(ast.KindFencedCodeBlock, c.render)
}

func (c *codeRenderer) render(w util.BufWriter, source []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	block := n.(*ast.FencedCodeBlock)
	code := string(block.Lines().Value(source))
	pre := "<pre><code>" + html.EscapeString(code) + "</code></pre>\n"
	_, afterCode := n.PreviousSibling().(*ast.FencedCodeBlock)
	_, beforeCode := n.NextSibling().(*ast.FencedCodeBlock)
	if !afterCode && !beforeCode {
		_, err := w.WriteString(pre)
		return ast.WalkSkipChildren, err
	}
	open := ""
	if !afterCode {
		c.groups++
		open = " open"
	}
	_, err := fmt.Fprintf(w, "<details class=\"code\" name=\"%s-%d\"%s><summary>%s</summary>%s</details>\n",
		c.name, c.groups, open, toolOf(string(block.Language(source)), code), pre)
	return ast.WalkSkipChildren, err
}

// toolOf returns the name of the tool or language of fenced code.
func toolOf(language, code string) string {
	switch {
	case language == "sh" && strings.Contains(code, "curl "):
		return "curl"
	case language == "sh":
		return "Shell"
	case language == "js":
		return "JavaScript"
	case language == "http":
		return "HTTP"
	case language == "go":
		return "Go"
	case language == "python":
		return "Python"
	}
	return html.EscapeString(language)
}
