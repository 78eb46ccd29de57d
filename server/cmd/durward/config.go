package main

import (
	"cmp"
	"fmt"
	"text/tabwriter"

	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/server/internal/config"
)

type configVerbs struct {
	Check configCheck `cmd:"" help:"Report every mistake of the configuration, each with its place."`
	Show  configShow  `cmd:"" help:"Print what holds and where it came from; secrets are masked."`
	Docs  configDocs  `cmd:"" help:"Print the reference of all keys, in Markdown."`
}

type configCheck struct {
	place
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
	place
	output
}

func (v configShow) Run(e *environment) error {
	l, err := v.load(e)
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
		for _, s := range l.Settings {
			items = append(items, item{s.Key, s.JSON(), s.Source})
		}
		return e.json(map[string]any{"items": items})
	}
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	for _, s := range l.Settings {
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Key, printable.Text(cmp.Or(s.String(), "-")), s.Source)
	}
	return w.Flush()
}

type configDocs struct{}

func (configDocs) Run(e *environment) error { return config.WriteReference(e.stdout) }
