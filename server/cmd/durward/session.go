package main

import (
	"cmp"
	"errors"
	"time"

	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/store"
)

type sessionVerbs struct {
	List sessionList `cmd:"" help:"List the live sessions of a user."`
	End  sessionEnd  `cmd:"" help:"End a session of a user, or all, on a running server within a second."`
}

type sessionList struct {
	reader
	output
	userArgument
}

func (v sessionList) Run(e *environment, s *node.Node) error {
	u, err := v.find(e, s)
	if err != nil {
		return err
	}
	rows, err := s.Sessions.List(e, u.ID)
	if err != nil {
		return err
	}
	var items []sessionJSON
	for _, r := range rows {
		items = append(items, sessionJSON{r.ID, r.CreatedAt, r.LastUsedAt, r.Device, r.Network})
	}
	return printItems(e, v.output, items, "the user has no sessions", "ID\tSINCE\tLAST USED\tDEVICE\tNETWORK", func(j sessionJSON) []string {
		return []string{
			j.ID, j.CreatedAt.Format(time.RFC3339), j.LastUsedAt.Format(time.RFC3339),
			cmp.Or(j.Device, "unknown device"), cmp.Or(j.Network, "unknown network"),
		}
	})
}

type sessionEnd struct {
	userCommand
	ID  string `arg:"" optional:"" help:"Id of the session, as session list shows it."`
	All bool   `help:"End all sessions of the user."`
}

func (v sessionEnd) Run(e *environment) error {
	if (v.ID == "") != v.All {
		return usage("durward session list EMAIL shows the ids.", "want the id of a session, or --all")
	}
	if v.All {
		return v.run(e, "has no sessions any more", func(s *node.Node, u store.User) error {
			return s.Sessions.SignOut(e, u.ID, "", true, operator)
		})
	}
	return v.run(e, "has one session less", func(s *node.Node, u store.User) error {
		err := s.Sessions.End(e, u.ID, v.ID, store.EventSessionEnded, operator)
		if errors.Is(err, store.ErrNotFound) {
			return refused("durward session list EMAIL shows the ids.", "%s has no session %q", u.Email, v.ID)
		}
		return err
	})
}
