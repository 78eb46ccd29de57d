package main

import (
	"cmp"

	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/server/internal/config"
)

type configVerbs struct {
	Check configCheck `cmd:"" help:"Report all mistakes in the configuration, with file and line."`
	Show  configShow  `cmd:"" help:"Print the effective value and the source of every key; secrets are masked."`
	Docs  configDocs  `cmd:"" help:"Print the manual of all keys (Markdown)."`
}

type configCheck struct {
	location
	output
}

func (v configCheck) Run(e *environment, _ *config.Loaded) error {
	return v.print(e, map[string]any{"good": true}, "the configuration is good")
}

type configShow struct {
	location
	output
}

func (v configShow) Run(e *environment, c *config.Loaded) error {
	type item struct {
		Key   string `json:"key"`
		Value any    `json:"value"`
		From  string `json:"from"`
		text  string // of the value
	}
	var items []item
	for _, s := range c.Settings {
		items = append(items, item{s.Key, s.JSON(), s.Source, cmp.Or(s.String(), "-")})
	}
	return printItems(e, v.output, items, "", "", func(i item) []string {
		return []string{i.Key, printable.Text(i.text), i.From}
	})
}

type configDocs struct{}

func (configDocs) Run(e *environment) error { return config.WriteReference(e.stdout) }
