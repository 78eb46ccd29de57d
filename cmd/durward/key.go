package main

import (
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/durward-auth/durward/internal/store"
)

type keyVerbs struct {
	List   keyList   `cmd:"" help:"List signing keys and where they are in their life."`
	Rotate keyRotate `cmd:"" help:"Make a new signing key. The oldest pending one signs as soon as every verifier can know it."`
}

type keyList struct {
	place
	output
}

func (v keyList) Run(e *environment) (err error) {
	db, err := v.openStore(e)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	keys, err := db.Keys(e, store.UseSigning)
	if err != nil {
		return err
	}
	if v.JSON {
		return printKeys(e, keys)
	}
	if len(keys) == 0 {
		e.say("there are none: tokens are signed with tokens.shared_secret")
		return nil
	}
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KID\tALG\tSTATE\tMADE\tSIGNS SINCE\tUNTIL")
	day := func(t time.Time) string {
		if t.IsZero() {
			return "-"
		}
		return t.Format(time.RFC3339)
	}
	for _, k := range keys {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Algorithm, k.State, day(k.CreatedAt), day(k.ActivatedAt), day(k.RetiredAt))
	}
	return w.Flush()
}

// printKeys prints keys for machines.
func printKeys(e *environment, keys []store.Key) error {
	type item struct {
		ID          string    `json:"kid"`
		Algorithm   string    `json:"alg"`
		State       string    `json:"state"`
		CreatedAt   time.Time `json:"created_at"`
		ActivatedAt time.Time `json:"activated_at,omitzero"`
		RetiredAt   time.Time `json:"retired_at,omitzero"`
	}
	items := []item{}
	for _, k := range keys {
		items = append(items, item{k.ID, k.Algorithm, k.State, k.CreatedAt, k.ActivatedAt, k.RetiredAt})
	}
	return e.json(map[string]any{"items": items})
}

type keyRotate struct {
	place
	output
	Now bool `help:"Let the oldest pending key sign at once: for verifiers elsewhere its first tokens are unknown until they read the key set again."`
}

func (v keyRotate) Run(e *environment) (err error) {
	s, err := v.open(e, false)
	if err != nil {
		return err
	}
	defer s.close(&err)
	if err := s.Issuer.Rotate(e, v.Now); err != nil {
		return err
	}
	if v.JSON {
		keys, err := s.DB.Keys(e, store.UseSigning)
		if err != nil {
			return err
		}
		return printKeys(e, keys)
	}
	if v.Now {
		fmt.Fprintln(e.stdout, "another key signs from now on; a running server follows within a second")
	} else {
		fmt.Fprintln(e.stdout, "a new key is pending; the oldest pending one signs within an hour")
	}
	return nil
}
