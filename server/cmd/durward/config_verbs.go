package main

import (
	"fmt"
	"text/tabwriter"
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
		for _, s := range l.settings {
			items = append(items, item{s.Key, s.forMachines(), s.From})
		}
		return e.json(map[string]any{"items": items})
	}
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	for _, s := range l.settings {
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Key, visible(firstOf(s.String(), "-")), s.From)
	}
	return w.Flush()
}

type configDocs struct{}

func (configDocs) Run(e *environment) error { return writeReference(e.stdout) }
