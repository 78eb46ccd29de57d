package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/durward-auth/durward/internal/store"
)

type dbVerbs struct {
	Check dbCheck `cmd:"" help:"Look for damage: of the file, of references, of the schema."`
}

type dbCheck struct {
	place
	output
}

func (v dbCheck) Run(e *environment) (err error) {
	l, err := v.load(e)
	if err != nil {
		return err
	}
	if _, err := l.prepare(false); err != nil {
		return err
	}
	var problems []string
	db, err := store.Open(e, store.Config{Path: l.databasePath(), Log: slog.New(slog.DiscardHandler)})
	if errors.Is(err, store.ErrDamaged) {
		problems = []string{err.Error()}
	} else if err != nil {
		return err // a newer schema, or a disk that does not answer: a restored backup would only lose data
	} else {
		defer func() { err = errors.Join(err, db.Close()) }()
		if problems, err = db.Check(e); err != nil {
			problems = append(problems, err.Error())
		}
	}
	if v.JSON {
		if err := e.json(map[string]any{"path": l.databasePath(), "problems": append([]string{}, problems...)}); err != nil {
			return err
		}
	} else {
		for _, p := range problems {
			fmt.Fprintln(e.stdout, visible(p))
		}
	}
	if len(problems) > 0 {
		return refused("Stop the server, keep the file, and restore the last backup.", "%s: %d things are wrong", l.databasePath(), len(problems))
	}
	if !v.JSON {
		fmt.Fprintf(e.stdout, "%s: integrity, references and schema are good\n", l.databasePath())
	}
	return nil
}
