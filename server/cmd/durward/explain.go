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

func (v explainVerb) Run(e *environment) error {
	if v.Code == "" {
		return v.list(e)
	}
	p, ok := explain.Code(strings.ToUpper(strings.TrimSpace(v.Code)))
	if !ok {
		return refused("durward explain lists all codes.", "there is no code %q", printable.Line(v.Code, 60))
	}
	p = p.With(defaultFigures())
	text := p.Text(explainWidth)
	return v.print(e, explanation{p.ID, p.Status, p.Title, p.Summary, text}, "%s", strings.TrimSuffix(text, "\n"))
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
	for _, p := range explain.Codes() {
		p = p.With(defaultFigures())
		all = append(all, explanation{p.ID, p.Status, p.Title, p.Summary, ""})
		rows = append(rows, []string{strconv.Itoa(p.Status), p.ID, p.Title})
	}
	if v.JSON {
		return e.json(all)
	}
	return e.table(rows)
}
