package main

import (
	"errors"
	"fmt"

	"github.com/durward-auth/durward/internal/store"
)

type dbVerbs struct {
	Migrate dbMigrate `cmd:"" help:"Bring the schema to this program's version, as a start does unless database.migrate is false."`
	Check   dbCheck   `cmd:"" help:"Look for damage: of the file, of references, of the schema."`
}

type dbMigrate struct {
	place
	output
}

func (v dbMigrate) Run(e *environment) error {
	l, err := v.load(e)
	if err != nil {
		return err
	}
	if _, err := l.prepare(e, false); err != nil {
		return err
	}
	from, to, err := store.Migrate(e, l.store())
	if err != nil {
		return err
	}
	if v.JSON {
		return e.json(map[string]any{"database": l.databaseName(), "from": from, "to": to})
	}
	if from == to {
		fmt.Fprintf(e.stdout, "%s: the schema is of version %d already\n", l.databaseName(), to)
	} else {
		fmt.Fprintf(e.stdout, "%s: the schema was of version %d and is of version %d now\n", l.databaseName(), from, to)
	}
	return nil
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
	if _, err := l.prepare(e, false); err != nil {
		return err
	}
	var problems []string
	db, err := store.Open(e, l.store())
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
		if err := e.json(map[string]any{"path": l.databaseName(), "problems": append([]string{}, problems...)}); err != nil {
			return err
		}
	} else {
		for _, p := range problems {
			fmt.Fprintln(e.stdout, visible(p))
		}
	}
	if len(problems) > 0 {
		return refused("Stop the server, keep the file, and restore the last backup.", "%s: %d things are wrong", l.databaseName(), len(problems))
	}
	if !v.JSON {
		fmt.Fprintf(e.stdout, "%s: integrity, references and schema are good\n", l.databaseName())
	}
	return nil
}
