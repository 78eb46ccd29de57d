package main

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/account"
	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/store"
)

type apikeyVerbs struct {
	Add    apikeyAdd    `cmd:"" help:"Create an API key for a user and print it. It cannot be shown again."`
	List   apikeyList   `cmd:"" help:"List API keys, with their first characters only."`
	Revoke apikeyRevoke `cmd:"" help:"Revoke an API key, on a running server too."`
}

// apikeyJSON is an API key in JSON output.
type apikeyJSON struct {
	account.KeyView
	Person string `json:"person"` // user id
	Email  string `json:"email"`
}

type apikeyAdd struct {
	writer
	output
	userArgument
	Name  string         `required:"" help:"Name that describes the use of the key." placeholder:"N"`
	Scope []string       `help:"Scopes, separated by commas or spaces. Default: profile." sep:"," placeholder:"S"`
	TTL   *time.Duration `name:"ttl" help:"Lifetime of the key, such as 720h. Default: the key does not expire." placeholder:"D"`
}

func (v apikeyAdd) Run(e *environment, s *node.Node) error {
	u, err := v.find(e, s)
	if err != nil {
		return err
	}
	n := account.NewKey{
		Name:   v.Name,
		Scopes: append([]string(nil), strings.Fields(strings.Join(v.Scope, " "))...), // nil without --scope
	}
	if v.TTL != nil {
		if n.Life = *v.TTL; n.Life == 0 {
			n.Life = -1 // an invalid lifetime: 0 would mean no expiry
		}
	}
	// The key can have no scope that its user lacks.
	maker := &durward.Principal{Subject: u.ID, Scopes: account.ScopesOf(u)}
	k, key, err := s.Accounts.CreateKey(e, maker, n, operator)
	if errors.Is(err, store.ErrChanged) {
		return refused("Unlock the user with durward user unlock.", "%s is locked", u.Email)
	} else if err != nil {
		return err
	}
	j := apikeyJSON{account.KeyViewOf(k), u.ID, u.Email}
	j.Key = key.Reveal()
	return v.print(e, j, "%s", j.Key)
}

type apikeyList struct {
	reader
	output
	User string `arg:"" optional:"" placeholder:"EMAIL" help:"E-mail address or id. Default: the keys of all users."`
}

func (v apikeyList) Run(e *environment, s *node.Node) error {
	emails := make(map[string]string)
	userID := ""
	if v.User != "" {
		u, err := (userArgument{v.User}).find(e, s)
		if err != nil {
			return err
		}
		userID, emails[u.ID] = u.ID, u.Email
	}
	var items []apikeyJSON
	keys, err := s.DB.APIKeys(e, userID, "", math.MaxInt32)
	if err != nil {
		return err
	}
	for _, k := range keys {
		if _, known := emails[k.UserID]; !known {
			u, err := s.DB.UserByID(e, k.UserID)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			emails[k.UserID] = u.Email
		}
		items = append(items, apikeyJSON{account.KeyViewOf(k), k.UserID, emails[k.UserID]})
	}
	return printItems(e, v.output, items, "there are no API keys; create one with: durward apikey add EMAIL --name NAME",
		"KEY\tUSER\tNAME\tSCOPES\tCREATED\tEXPIRES\tLAST USED\tID", func(k apikeyJSON) []string {
			return []string{
				k.Prefix, k.Email, k.Name, strings.Join(k.Scopes, ","),
				k.CreatedAt.Format(time.DateOnly), timeOr(k.ExpiresAt, "-"), timeOr(k.LastUsedAt, "never"), k.ID,
			}
		})
}

type apikeyRevoke struct {
	location
	output
	ID string `arg:"" help:"Id of the key, or its first 11 characters (dk_ and 8 more)."`
}

func (v apikeyRevoke) Run(e *environment) error {
	if account.WithoutKeys(v.ID) != v.ID {
		return usage("Give its id or its first 11 characters. Revoke this key: other users may have read it.",
			"the argument is a whole key, and every user of the machine can read command line arguments")
	}
	s, err := v.open(e, node.Writing)
	if err != nil {
		return err
	}
	k, err := s.Accounts.RevokeAnyKey(e, v.ID, operator)
	if errors.Is(err, store.ErrNotFound) {
		return refused("durward apikey list shows all keys.", "there is no active API key %q", v.ID)
	} else if err != nil {
		return err
	}
	if v.JSON {
		u, err := s.DB.UserByID(e, k.UserID)
		if err != nil {
			return err
		}
		return e.json(apikeyJSON{account.KeyViewOf(k), u.ID, u.Email})
	}
	fmt.Fprintf(e.stdout, "%s (%s) is revoked\n", account.KeyShown(k), k.Name)
	return nil
}
