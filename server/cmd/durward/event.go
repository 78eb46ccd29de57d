package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/securitylog"
	"github.com/durward-auth/durward/server/internal/store"
)

type eventVerbs struct {
	List eventList `cmd:"" help:"Print the security log, oldest event first, as text or JSON lines."`
}

type eventList struct {
	reader
	JSON   bool   `name:"json" help:"Print one JSON object per line."`
	Last   int    `help:"Only the newest events, this many. Default: 100 without --json and --since." placeholder:"N"`
	Since  string `help:"Only events from this time on (RFC 3339), or of this last period, such as 24h." placeholder:"TIME"`
	Until  string `help:"Only events before this time." placeholder:"TIME"`
	Kind   string `help:"Only events of this kind, such as sign_in_refused."`
	User   string `help:"Only events about this user: an address, or an id, also of a deleted user."`
	Follow bool   `help:"Then print each new event until the verb is interrupted."`
}

// eventPage is the number of events that event list reads at once.
const eventPage = 1000

func (v eventList) Run(e *environment, s *node.Node) error {
	f, err := v.filter(e, s)
	if err != nil {
		return err
	}
	if v.Last == 0 && !v.JSON && v.Since == "" {
		v.Last = 100
	}
	follow := s.DB.Now().Add(-2 * store.EventLate) // events from then on may appear late
	seen := make(map[string]time.Time)             // printed events since then
	print := func(events []store.Event) error {
		for _, event := range events {
			if _, twice := seen[event.ID]; twice {
				continue
			}
			if v.Follow && !event.At.Before(follow) {
				seen[event.ID] = event.At
			}
			if err := v.printEvent(e, event); err != nil {
				return err
			}
		}
		return nil
	}
	if v.Last > 0 {
		f.Limit = v.Last
		events, err := s.DB.Events(e, f)
		if err != nil {
			return err
		}
		if len(events) == v.Last {
			follow = later(follow, events[len(events)-1].At) // the older ones are left out on purpose
		}
		slices.Reverse(events)
		if err := print(events); err != nil {
			return err
		}
	} else if err := eachPage(e, s.DB, f, print); err != nil {
		return err
	}
	if !v.Follow {
		return nil
	}
	log := slog.New(slog.NewTextHandler(e.stderr, nil))
	var failed error // of the output
	ctx, stop := context.WithCancel(e)
	defer stop()
	store.EverySecond(ctx, log, "read the security log", func(int) error {
		f.Since = later(f.Since, follow)
		next := s.DB.Now().Add(-2 * store.EventLate)
		err := eachPage(ctx, s.DB, f, func(events []store.Event) error {
			failed = print(events)
			return failed
		})
		if failed != nil {
			stop()
			return nil
		}
		if err == nil {
			follow = later(follow, next)
			maps.DeleteFunc(seen, func(_ string, at time.Time) bool { return at.Before(follow) })
		}
		return err
	})
	return failed
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// eachPage calls print with all events of a filter, oldest first.
func eachPage(ctx context.Context, db *store.DB, f store.EventFilter, print func([]store.Event) error) error {
	f.Limit = eventPage
	for after := ""; ; {
		events, err := db.EventsAfter(ctx, f, after)
		if err == nil {
			err = print(events)
		}
		if err != nil || len(events) < eventPage {
			return err
		}
		after = events[len(events)-1].ID
	}
}

// filter returns the filter of the flags.
func (v eventList) filter(e *environment, s *node.Node) (f store.EventFilter, err error) {
	if v.Last < 0 || v.Last > 100_000 {
		return f, usage("Without --last, --json prints all events.", "--last is %d, want 1 to 100000", v.Last)
	}
	f.Kind, f.UserID = v.Kind, v.User
	if strings.Contains(v.User, "@") {
		u, err := s.Accounts.ByEmail(e, v.User)
		if err != nil {
			return f, refused("Name a deleted user by the id.", "found no user %q: %w", v.User, err)
		}
		f.UserID = u.ID
	}
	if f.Since, err = parseMoment("--since", v.Since, s.DB.Now()); err != nil {
		return f, err
	}
	f.Until, err = parseMoment("--until", v.Until, s.DB.Now())
	return f, err
}

// parseMoment parses a time of RFC 3339, or a period before now. Empty text is the zero time.
func parseMoment(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, usage("", "%s is %q, want a time such as %s, or a period such as 24h", flag, text, now.UTC().Format(time.RFC3339))
	}
	return at, nil
}

// printEvent prints an event as one line.
func (v eventList) printEvent(e *environment, event store.Event) error {
	if v.JSON {
		out := json.NewEncoder(e.stdout)
		out.SetEscapeHTML(false)
		return out.Encode(securitylog.EventLineOf(event))
	}
	line := fmt.Sprintf("%s  %-18s %s", event.At.Format(time.RFC3339), event.Kind, event.Outcome)
	for _, m := range [][2]string{
		{"user", event.UserID}, {"by", event.Actor}, {"network", event.Network}, {"device", event.Device},
		{"session", event.SessionID}, {"denial", event.DenialID}, {"detail", event.Detail},
	} {
		if m[1] == "" {
			continue
		}
		if strings.Contains(m[1], " ") {
			m[1] = fmt.Sprintf("%q", m[1])
		}
		line += " " + m[0] + "=" + m[1]
	}
	_, err := fmt.Fprintln(e.stdout, printable.Line(line, 4000))
	return err
}
