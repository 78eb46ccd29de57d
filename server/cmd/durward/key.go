package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/durward-auth/durward/server/internal/store"
)

type keyVerbs struct {
	List   keyList   `cmd:"" help:"List signing keys and where they are in their life."`
	Rotate keyRotate `cmd:"" help:"Make a new signing key. The oldest pending one signs as soon as every verifier can know it."`
	Retire keyRetire `cmd:"" help:"Retire a signing key in order, or with --now at once: one that was stolen."`
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
	s, err := v.open(e, writing)
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

type keyRetire struct {
	place
	output
	KID string `arg:"" name:"kid" help:"Key, or how it begins, where that is one key alone. One that begins with - goes behind --."`
	Now bool   `help:"The key was stolen: all access tokens that it signed are dead within a second, the spare signs, clients refresh, nobody signs in again."`
}

func (v keyRetire) Run(e *environment) (err error) {
	s, err := v.open(e, writing)
	if err != nil {
		return err
	}
	defer s.close(&err)
	keys, err := s.DB.Keys(e, store.UseSigning)
	if err != nil {
		return err
	}
	keyID, err := wholeKID(keys, v.KID)
	if err != nil {
		return err
	}
	r, err := s.Issuer.Retire(e, keyID, v.Now)
	if err != nil {
		return err
	}
	published, known := r.PublishedFor(time.Now())
	if v.JSON {
		return e.json(struct {
			ID      string    `json:"kid"`
			State   string    `json:"state"`
			Revoked bool      `json:"revoked"`          // all that it signed
			Signs   string    `json:"signs"`            // kid that signs now
			Since   time.Time `json:"signs_published"`  // since when verifiers can have it
			Known   bool      `json:"signs_known"`      // by every verifier that reads the key set once an hour
			Next    string    `json:"next,omitzero"`    // kid that will sign
			Takes   time.Time `json:"next_at,omitzero"` // when it takes over, at the earliest
		}{r.Key.ID, r.State, r.Revoked, r.Signs.ID, r.Signs.CreatedAt, known, r.Next.ID, r.Takes})
	}
	switch {
	case r.Revoked:
		fmt.Fprintf(e.stdout, "%s is gone: all access tokens that it signed are dead, on a running server within a second\n", r.Key.ID)
	case r.State == store.KeyGone:
		fmt.Fprintf(e.stdout, "%s is gone: it was a spare and had signed nothing\n", r.Key.ID)
	case r.State == store.KeyActive:
		fmt.Fprintf(e.stdout, "%s signs until every verifier can know its successor: %s takes over after %s\n", r.Key.ID, r.Next.ID, r.Takes.Format(time.RFC3339))
	default:
		fmt.Fprintf(e.stdout, "%s signs no more; it verifies what it signed until that has ended\n", r.Key.ID)
	}
	if r.Key.State != store.KeyActive || r.State == store.KeyActive {
		return nil // what signs is what signed before
	}
	fmt.Fprintf(e.stdout, "%s signs from now on; clients refresh, nobody signs in again\n", r.Signs.ID)
	if known {
		fmt.Fprintf(e.stdout, "it has been in the key set for %s: verifiers elsewhere know it\n", published.Truncate(time.Minute))
	} else {
		fmt.Fprintf(e.stdout, "it has been in the key set for %s only: a verifier elsewhere that has not read the set since refuses its tokens until it does\n", published.Truncate(time.Second))
	}
	if v.Now {
		fmt.Fprintln(e.stdout, "verifiers elsewhere that neither follow /api/revocations nor introspect take tokens of the old key until they read the key set anew")
	}
	return nil
}

// wholeKID returns the id of the one key that begins with what was given.
func wholeKID(keys []store.Key, given string) (string, error) {
	var found []string
	for _, k := range keys {
		if k.ID == given {
			return given, nil
		}
		if given != "" && strings.HasPrefix(k.ID, given) {
			found = append(found, k.ID)
		}
	}
	switch len(found) {
	case 0:
		return given, nil // the rule says that there is none
	case 1:
		return found[0], nil
	}
	return "", refused("Give more of it; durward key list shows what there is.", "%d keys begin with %q: %s", len(found), given, strings.Join(found, ", "))
}
