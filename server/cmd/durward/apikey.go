package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/store"
)

type apikeyVerbs struct {
	Add    apikeyAdd    `cmd:"" help:"Make an API key for a person and print it, this once."`
	List   apikeyList   `cmd:"" help:"List API keys: how each begins, never the key."`
	Revoke apikeyRevoke `cmd:"" help:"Revoke an API key: it is dead at once, on a running server too."`
}

// shownKey is an API key as printed for machines.
type shownKey struct {
	ID         string    `json:"id"`
	Person     string    `json:"person"` // id
	Email      string    `json:"email"`
	Name       string    `json:"name"`
	Prefix     string    `json:"prefix"`
	Scopes     []string  `json:"scopes"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"`
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
	Key        string    `json:"key,omitzero"` // of add alone
}

func shownKeyOf(k store.APIKey, email string) shownKey {
	return shownKey{ID: k.ID, Person: k.UserID, Email: email, Name: k.Name, Prefix: account.KeyShown(k), Scopes: k.Scopes,
		CreatedAt: k.CreatedAt.UTC(), ExpiresAt: k.ExpiresAt, LastUsedAt: k.LastUsedAt}
}

type apikeyAdd struct {
	place
	output
	who
	Name  string         `required:"" help:"What the key is for." placeholder:"N"`
	Scope []string       `help:"Scopes, separated by commas or blanks; profile without it." sep:"," placeholder:"S"`
	TTL   *time.Duration `name:"ttl" help:"Life of the key, such as 720h; without it the key has no end." placeholder:"D"`
}

func (v apikeyAdd) Run(e *environment) (err error) {
	s, err := v.open(e, writing)
	if err != nil {
		return err
	}
	defer s.close(&err)
	u, err := v.find(e, s)
	if err != nil {
		return err
	}
	n := account.NewKey{Name: v.Name}
	if v.TTL != nil {
		if n.Life = *v.TTL; n.Life == 0 {
			n.Life = -1 // no life, where the rule's zero is no end
		}
	}
	for _, scope := range v.Scope {
		n.Scopes = append(n.Scopes, strings.Fields(scope)...)
	}
	// The operator gives what the person may, and no more.
	maker := &durward.Principal{Subject: u.ID, Scopes: account.ScopesOf(u)}
	k, key, err := s.People.CreateKey(e, maker, n, operator)
	if errors.Is(err, store.ErrChanged) {
		return refused("durward user unlock lets them in again.", "%s is locked", u.Email)
	} else if err != nil {
		return err
	}
	if v.JSON {
		shown := shownKeyOf(k, u.Email)
		shown.Key = key.Reveal()
		return e.json(shown)
	}
	fmt.Fprintln(e.stdout, key.Reveal())
	return nil
}

type apikeyList struct {
	place
	output
	Person string `arg:"" optional:"" placeholder:"EMAIL" help:"E-mail address, or id; everybody's without it."`
}

func (v apikeyList) Run(e *environment) (err error) {
	s, err := v.open(e, reading)
	if err != nil {
		return err
	}
	defer s.close(&err)
	emails := make(map[string]string)
	whose := ""
	if v.Person != "" {
		u, err := (who{v.Person}).find(e, s)
		if err != nil {
			return err
		}
		whose, emails[u.ID] = u.ID, u.Email
	}
	items := []shownKey{}
	for after, more := "", true; more; {
		const page = 500
		keys, err := s.People.Keys(e, whose, after, page)
		if err != nil {
			return err
		}
		for _, k := range keys {
			if _, known := emails[k.UserID]; !known {
				u, err := s.People.ByID(e, k.UserID)
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
				emails[k.UserID] = u.Email
			}
			items = append(items, shownKeyOf(k, emails[k.UserID]))
			after = k.ID
		}
		more = len(keys) == page
	}
	if v.JSON {
		return e.json(map[string]any{"items": items})
	}
	if len(items) == 0 {
		e.say("there are none; durward apikey add makes one")
		return nil
	}
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "KEY\tPERSON\tNAME\tSCOPES\tMADE\tENDS\tLAST USED\tID")
	moment := func(t time.Time, never string) string {
		if t.IsZero() {
			return never
		}
		return t.Format(time.RFC3339)
	}
	for _, k := range items {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", k.Prefix, k.Email, k.Name, strings.Join(k.Scopes, ","), k.CreatedAt.Format(time.DateOnly),
			moment(k.ExpiresAt, "-"), moment(k.LastUsedAt, "never"), k.ID)
	}
	return w.Flush()
}

type apikeyRevoke struct {
	place
	output
	ID string `arg:"" help:"Id of the key, or how it begins (dk_ and 8 characters)."`
}

func (v apikeyRevoke) Run(e *environment) (err error) {
	if account.WithoutKeys(v.ID) != v.ID {
		return &exitError{exitUsage, errors.New("that is a whole key, and everybody on the machine can read the arguments"), "Give its id, or its first 11 characters. The key may be seen by others now: revoke it."}
	}
	s, err := v.open(e, writing)
	if err != nil {
		return err
	}
	defer s.close(&err)
	k, err := s.People.RevokeAnyKey(e, v.ID, operator)
	if errors.Is(err, store.ErrNotFound) {
		return refused("durward apikey list shows what there is.", "there is no key %q that is not revoked", v.ID)
	} else if err != nil {
		return err
	}
	if v.JSON {
		u, err := s.People.ByID(e, k.UserID)
		if err != nil {
			return err
		}
		return e.json(shownKeyOf(k, u.Email))
	}
	fmt.Fprintf(e.stdout, "%s (%s) is revoked\n", account.KeyShown(k), k.Name)
	return nil
}
