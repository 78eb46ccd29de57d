package main

import (
	"strconv"
	"strings"

	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/explain"
)

// explainWidth is the width of an explanation in columns.
const explainWidth = 80

type explainVerb struct {
	output
	ID    string `arg:"" optional:"" help:"Code of a refusal (TOKEN_EXPIRED), cause (expired), subject (challenge) or scheme (Negotiate). Without it all are listed."`
	Level string `enum:"eli3,eli5,junior,crash,deep" default:"junior" help:"Level of the text: eli3, eli5, junior, crash or deep."`
	Code  string `enum:"curl,go,js,python,all" default:"curl" help:"Language of the programs: curl, go, js, python or all."`
}

// explanation is the JSON form of an explanation.
type explanation struct {
	ID      string `json:"id"`
	Kind    string `json:"kind"`           // code, cause, family, page or scheme
	Code    string `json:"code,omitempty"` // the ID of a code
	Status  int    `json:"status,omitempty"`
	Title   string `json:"title"`
	Summary string `json:"summary"`
	Text    string `json:"text,omitempty"`
}

// kindNames holds the name of each kind of explanation in JSON.
var kindNames = map[explain.Kind]string{
	explain.KindCode: "code", explain.KindCause: "cause", explain.KindFamily: "family", explain.KindPage: "page",
}

func explanationOf(p explain.Page, text string) explanation {
	x := explanation{ID: p.ID, Kind: kindNames[p.Kind], Status: p.Status, Title: p.Title, Summary: p.Summary, Text: text}
	if p.Kind == explain.KindCode {
		x.Code = p.ID
	}
	return x
}

func explanationOfScheme(s explain.Scheme, text string) explanation {
	return explanation{ID: s.Name, Kind: "scheme", Title: "The scheme " + s.Name, Summary: s.Summary(), Text: text}
}

func (v explainVerb) Run(e *environment) error {
	id := strings.TrimSpace(v.ID)
	if id == "" {
		return v.list(e)
	}
	p, ok := explain.Find(id)
	scheme, isScheme := explain.SchemeOf(id)
	if !ok && isScheme {
		text := scheme.Text(explainWidth)
		return v.print(e, explanationOfScheme(scheme, text), "%s", strings.TrimSuffix(text, "\n"))
	}
	if !ok {
		hint := "durward explain lists all codes, causes, subjects and schemes."
		if similar := explain.Suggest(id); len(similar) > 0 {
			hint = "did you mean " + strings.Join(similar, " or ") + "? " + hint
		}
		return refused(hint, "there is no explanation of %q", printable.Line(id, 60))
	}
	p = p.With(defaultFigures())
	switch v.Code {
	case "all":
	case "curl":
		p = p.WithCode("sh")
	default:
		p = p.WithCode(v.Code)
	}
	text := p.Text(v.Level, explainWidth)
	if isScheme { // a cause or subject with the name of a scheme
		text += "\n" + scheme.Text(explainWidth)
	}
	return v.print(e, explanationOf(p, text), "%s", strings.TrimSuffix(text, "\n"))
}

// defaultFigures returns the figures of explanations that belong to no server.
func defaultFigures() map[string]string {
	figures := config.Default().Figures()
	for key := range figures {
		figures[key] += " by default"
	}
	return figures
}

func (v explainVerb) list(e *environment) error {
	var all []explanation
	var rows [][]string
	for _, p := range explain.All() {
		p = p.With(defaultFigures())
		all = append(all, explanationOf(p, ""))
		first := kindNames[p.Kind]
		if p.Kind == explain.KindCode {
			first = strconv.Itoa(p.Status)
		}
		rows = append(rows, []string{first, p.ID, p.Title})
	}
	for _, s := range explain.Schemes {
		all = append(all, explanationOfScheme(s, ""))
		rows = append(rows, []string{"scheme", s.Name, s.Reference.Name})
	}
	if v.JSON {
		return e.json(all)
	}
	return e.table(rows)
}
