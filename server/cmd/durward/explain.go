package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/server/internal/explain"
)

// explainWidth is the width of an explanation in columns.
const explainWidth = 80

type explainVerb struct {
	output
	Code string `arg:"" optional:"" help:"Code of a refusal, such as TOKEN_EXPIRED. Without it all codes are listed."`
}

// explanation is the JSON form of an explanation.
type explanation struct {
	Code    string `json:"code"`
	Status  int    `json:"status"`
	Title   string `json:"title"`
	Summary string `json:"summary"`
	Text    string `json:"text,omitempty"`
}

func explanationOf(p explain.Page) explanation {
	return explanation{Code: p.ID, Status: p.Status, Title: p.Title, Summary: p.Summary}
}

func (v explainVerb) Run(e *environment) error {
	if v.Code == "" {
		return v.list(e)
	}
	p, ok := explain.Code(strings.ToUpper(strings.TrimSpace(v.Code)))
	if !ok {
		return refused("durward explain lists all codes.", "there is no code %q", printable.Line(v.Code, 60))
	}
	if v.JSON {
		x := explanationOf(p)
		x.Text = p.Text(explainWidth)
		return e.json(x)
	}
	_, err := fmt.Fprint(e.stdout, p.Text(explainWidth))
	return err
}

func (v explainVerb) list(e *environment) error {
	if v.JSON {
		var all []explanation
		for _, p := range explain.Codes() {
			all = append(all, explanationOf(p))
		}
		return e.json(all)
	}
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	for _, p := range explain.Codes() {
		fmt.Fprintf(w, "%d\t%s\t%s\n", p.Status, p.ID, p.Title)
	}
	return w.Flush()
}
