package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/explain"
	"github.com/durward-auth/durward/server/internal/store"
)

type whyVerb struct {
	location
	output
	ID string `arg:"" name:"denial-id" help:"Identifier of the refusal: the Durward-Denial field of the response, or the last part of instance in its body."`
}

func (v whyVerb) Run(e *environment, c *config.Loaded, db *store.DB) error {
	id := strings.ToUpper(strings.TrimSpace(v.ID))
	id = strings.TrimPrefix(id, strings.ToUpper("urn:durward:denial:"))
	d, err := db.DenialByID(e, id)
	if errors.Is(err, store.ErrNotFound) {
		return refused("Name the data folder of the server that refused with --data DIR. If a program with the library refused, its own log has the cause (slog, Config.OnRefusal). Refusals are kept for seven days; if one network causes many in a second, only some are kept.",
			"found no refusal %q", v.ID)
	} else if err != nil {
		return err
	}
	page, _ := explain.Code(d.Code) // a newer program may have written the refusal
	page = page.With(c.Figures())
	if v.JSON {
		return e.json(map[string]any{
			"id":          d.ID,
			"code":        d.Code,
			"status":      d.Status,
			"at":          d.At,
			"method":      d.Method,
			"path":        d.Path,
			"scheme":      d.Scheme,
			"cause":       d.Cause,
			"network":     d.Network,
			"subject":     d.Subject,
			"request_id":  d.RequestID,
			"explanation": page.Summary,
		})
	}
	rows := [][]string{
		{"refused", d.At.Format(time.RFC3339)},
		{"response", fmt.Sprintf("%d %s", d.Status, d.Code)},
		{"request", d.Method + " " + d.Path},
		{"cause", d.Cause},
		{"scheme", d.Scheme},
		{"subject", d.Subject},
		{"network", d.Network},
		{"request id", d.RequestID},
		{"meaning", page.Summary},
	}
	for _, row := range rows {
		row[1] = printable.Text(row[1])
	}
	return e.table(slices.DeleteFunc(rows, func(row []string) bool { return row[1] == "" }))
}
