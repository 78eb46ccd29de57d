package main

import (
	"cmp"
	"fmt"
	"text/tabwriter"

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

func (v configCheck) Run(e *environment) error {
	if _, err := v.load(e); err != nil {
		return err
	}
	if v.JSON {
		return e.json(map[string]any{"good": true})
	}
	fmt.Fprintln(e.stdout, "the configuration is good")
	return nil
}

type configShow struct {
	location
	output
}

func (v configShow) Run(e *environment) error {
	c, err := v.load(e)
	if err != nil {
		return err
	}
	if v.JSON {
		type item struct {
			Key   string `json:"key"`
			Value any    `json:"value"`
			From  string `json:"from"`
		}
		var items []item
		for _, s := range c.Settings {
			items = append(items, item{s.Key, s.JSON(), s.Source})
		}
		return e.json(map[string]any{"items": items})
	}
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	for _, s := range c.Settings {
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Key, printable.Text(cmp.Or(s.String(), "-")), s.Source)
	}
	return w.Flush()
}

type configDocs struct{}

func (configDocs) Run(e *environment) error { return config.WriteReference(e.stdout) }
