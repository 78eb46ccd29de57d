package main

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/securitylog"
	"github.com/durward-auth/durward/server/internal/store"
)

type whyVerb struct {
	location
	output
	ID   string `arg:"" optional:"" name:"denial-id" help:"Identifier of the refusal: the Durward-Denial field of the response, or the last part of instance in its body."`
	Last int    `help:"List the newest refusals, this many, with their causes." placeholder:"N"`
}

func (v whyVerb) Run(e *environment, c *config.Loaded, db *store.DB) error {
	if v.Last != 0 {
		return v.list(e, c, db)
	}
	if v.ID == "" {
		return usage("durward why --last 10 lists the newest refusals.", "name a refusal")
	}
	row, err := db.DenialByID(e, securitylog.DenialID(v.ID))
	if errors.Is(err, store.ErrNotFound) {
		return refused("Name the data folder of the server that refused with --data DIR. If a program with the library refused, its own log has the cause (slog, Config.OnRefusal). Refusals are kept for seven days; if one network causes many in a second, only some are kept.",
			"found no refusal %q", v.ID)
	} else if err != nil {
		return err
	}
	d := securitylog.DenialLineOf(row, c.Figures())
	if v.JSON {
		return e.json(d)
	}
	rows := [][]string{
		{"refused", d.At.Format(time.RFC3339)},
		{"response", strconv.Itoa(d.Status) + " " + d.Code},
		{"request", d.Method + " " + d.Path},
		{"cause", d.Cause},
		{"scheme", d.Scheme},
		{"subject", d.Subject},
		{"network", d.Network},
		{"request id", d.RequestID},
		{"meaning", d.Explanation},
	}
	for _, row := range rows {
		row[1] = printable.Text(row[1])
	}
	return e.table(slices.DeleteFunc(rows, func(row []string) bool { return row[1] == "" }))
}

// list prints the newest refusals, newest first.
func (v whyVerb) list(e *environment, c *config.Loaded, db *store.DB) error {
	switch {
	case v.ID != "":
		return usage("Name a refusal, or list the newest ones.", "a refusal and --last exclude each other")
	case v.Last < 0 || v.Last > 10_000:
		return usage("", "--last is %d, want 1 to 10000", v.Last)
	}
	denials, err := db.Denials(e, store.DenialFilter{Limit: v.Last})
	if err != nil {
		return err
	}
	var items []securitylog.DenialLine
	for _, d := range denials {
		items = append(items, securitylog.DenialLineOf(d, c.Figures()))
	}
	return printItems(e, v.output, items, "this server refused no request in the last seven days",
		"REFUSED\tCODE\tREQUEST\tNETWORK\tID\tCAUSE", func(d securitylog.DenialLine) []string {
			cells := []string{d.At.Format(time.RFC3339), d.Code, d.Method + " " + d.Path, d.Network, d.ID, d.Cause}
			for i := range cells {
				cells[i] = printable.Line(cells[i], 200)
			}
			return cells
		})
}
