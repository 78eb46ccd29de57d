package main

import (
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/oauth"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

type clientVerbs struct {
	Add     clientAdd     `cmd:"" help:"Add a client and print its id and secret. The secret cannot be shown again."`
	List    clientList    `cmd:"" help:"List clients."`
	Show    clientShow    `cmd:"" help:"Show a client with the ids of its secrets."`
	Set     clientSet     `cmd:"" help:"Change properties of a client."`
	Secret  clientSecret  `cmd:"" help:"Add a second secret to a client and print it, or remove one with --remove."`
	Disable clientDisable `cmd:"" help:"Disable a client: all its sessions and tokens end, on a running server within a second."`
	Enable  clientEnable  `cmd:"" help:"Enable a disabled client."`
	Delete  clientDelete  `cmd:"" help:"Delete a client: all its sessions and tokens end, and users are asked for consent anew."`
}

// clientArgument is the argument that names a client.
type clientArgument struct {
	ID string `arg:"" placeholder:"CLIENT" help:"Id of the client."`
}

// fault maps the error of an operation on the client.
func (a clientArgument) fault(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return refused("durward client list shows all clients.", "there is no client %q", a.ID)
	}
	return err
}

// clientLists are the flags of the properties of a client that are lists.
type clientLists struct {
	Grant      []string `sep:"," help:"Ways to get tokens: authorization_code, refresh_token, client_credentials." placeholder:"G"`
	Scope      []string `sep:"," help:"Scopes that it may have, separated by commas or spaces." placeholder:"S"`
	Redirect   []string `sep:"none" help:"URL to which users come back after the sign-in. Repeatable." placeholder:"URL"`
	Resource   []string `sep:"none" help:"URL of an API, a [[resource]] of the configuration. Repeatable; the first is the default audience." placeholder:"URL"`
	Introspect []string `sep:"none" help:"URL of an API whose tokens the client may inspect. Repeatable." placeholder:"URL"`
	PKCE       string   `name:"pkce" enum:",required,optional" default:"" help:"required, or optional for an old program with a secret." placeholder:"P"`
}

// given returns the values of a flag without empty ones, and whether the flag was given.
func given(values []string) ([]string, bool) {
	all := slices.DeleteFunc(slices.Clone(values), func(v string) bool { return strings.TrimSpace(v) == "" })
	return all, values != nil
}

// apply sets the properties of c whose flags were given.
func (l clientLists) apply(c *store.Client) {
	for _, list := range []struct {
		flag []string
		to   *[]string
	}{
		{l.Grant, &c.Grants}, {l.Redirect, &c.RedirectURIs}, {l.Resource, &c.Resources}, {l.Introspect, &c.Introspects},
	} {
		if values, ok := given(list.flag); ok {
			*list.to = values
		}
	}
	if l.Scope != nil {
		c.Scopes = strings.Fields(strings.Join(l.Scope, " "))
	}
	if l.PKCE != "" {
		c.PKCEOptional = l.PKCE == oauth.PKCEOptional
	}
}

// importedSecret is the flag of verbs that take a secret of another product.
type importedSecret struct {
	SecretStdin bool `help:"Read the secret from standard input instead of making one: 32 characters or more. One line break at the end is dropped."`
}

func (i importedSecret) read(e *environment) (seal.Secret, error) {
	if !i.SecretStdin {
		return "", nil
	}
	text, err := config.ReadSecret(e.stdin)
	if err == nil && text == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return "", usage("", "cannot read the secret from standard input: %w", err)
	}
	return seal.Secret(text), nil
}

type clientAdd struct {
	location
	output
	importedSecret
	clientLists
	Name       string `arg:"" help:"Name that users see."`
	ID         string `name:"id" help:"Id of the client. Default: one made of the name." placeholder:"ID"`
	Auth       string `enum:"client_secret,none" default:"client_secret" help:"client_secret for a program on a server, none for an app whose users can read it." placeholder:"A"`
	IDTokenAlg string `name:"id-token-alg" help:"RS256 for a program that knows no other algorithm of ID tokens." placeholder:"ALG"`
	Trusted    bool   `help:"Do not ask users for consent: the client is one of your own."`
}

func (v clientAdd) Run(e *environment) error {
	secret, err := v.read(e)
	if err != nil {
		return err
	}
	s, err := v.open(e, node.Writing)
	if err != nil {
		return err
	}
	c := store.Client{ID: v.ID, Name: v.Name, Auth: v.Auth, IDTokenAlg: v.IDTokenAlg, Trusted: v.Trusted}
	if v.Grant == nil {
		v.Grant = []string{oauth.GrantCode, oauth.GrantRefresh}
	}
	v.apply(&c)
	c, made, err := s.OAuth.AddClient(e, c, secret, operator)
	if err != nil {
		return err
	}
	view, err := s.OAuth.ViewClient(e, c.ID)
	if err != nil {
		return err
	}
	view.Secret = made.Reveal()
	if v.JSON {
		return e.json(view)
	}
	rows := [][]string{{"client_id", view.ID}}
	if view.Secret != "" {
		rows = append(rows, []string{"client_secret", view.Secret})
	}
	return e.table(rows)
}

type clientList struct {
	reader
	output
}

func (v clientList) Run(e *environment, s *node.Node) error {
	clients, err := s.DB.Clients(e, "", math.MaxInt32)
	if err != nil {
		return err
	}
	var items []oauth.ClientView
	for _, c := range clients {
		items = append(items, oauth.ClientViewOf(c))
	}
	return printItems(e, v.output, items, "there are no clients; add one with: durward client add NAME",
		"ID\tNAME\tSTATE\tAUTH\tGRANTS\tSCOPES\tCREATED", func(c oauth.ClientView) []string {
			return []string{c.ID, c.Name, clientState(c), c.Auth, strings.Join(c.Grants, ","), strings.Join(c.Scopes, ","), c.CreatedAt.Format(time.DateOnly)}
		})
}

// clientState returns what the list says of a client, such as "disabled,trusted".
func clientState(c oauth.ClientView) string {
	var states []string
	if !c.DisabledAt.IsZero() {
		states = append(states, "disabled")
	}
	if c.Configured {
		states = append(states, "configured")
	}
	if c.Trusted {
		states = append(states, "trusted")
	}
	return strings.Join(states, ",")
}

type clientShow struct {
	reader
	output
	clientArgument
}

func (v clientShow) Run(e *environment, s *node.Node) error {
	c, err := s.OAuth.ViewClient(e, v.ID)
	if err != nil {
		return v.fault(err)
	}
	if v.JSON {
		return e.json(c)
	}
	rows := [][]string{
		{"id", c.ID}, {"name", c.Name}, {"auth", c.Auth}, {"grants", strings.Join(c.Grants, ", ")}, {"scopes", strings.Join(c.Scopes, " ")},
		{"pkce", c.PKCE}, {"since", c.CreatedAt.Format(time.RFC3339)},
	}
	for _, list := range []struct {
		name   string
		values []string
	}{{"redirect", c.RedirectURIs}, {"resource", c.Resources}, {"introspects", c.Introspects}} {
		for _, value := range list.values {
			rows = append(rows, []string{list.name, value})
		}
	}
	if state := clientState(c); state != "" {
		rows = append(rows, []string{"state", state})
	}
	for _, secret := range c.Secrets {
		rows = append(rows, []string{"secret", secret.ID + ", since " + secret.CreatedAt.Format(time.RFC3339)})
	}
	return e.table(rows)
}

// clientCommand is a verb that changes one client.
type clientCommand struct {
	location
	output
	clientArgument
}

// run executes change and prints the changed client: as JSON, or its id and done.
func (v clientCommand) run(e *environment, done string, change func(*node.Node) error) error {
	s, err := v.open(e, node.Writing)
	if err != nil {
		return err
	}
	if err := change(s); err != nil {
		return v.fault(err)
	}
	c, err := s.OAuth.ViewClient(e, v.ID)
	if err != nil {
		return v.fault(err)
	}
	return v.print(e, c, "%s %s", c.ID, done)
}

type clientSet struct {
	clientCommand
	clientLists
	Name       *string `help:"Name that users see." placeholder:"N"`
	IDTokenAlg *string `name:"id-token-alg" help:"RS256, or an empty value for the algorithm of the server." placeholder:"ALG"`
	Trusted    *bool   `negatable:"" help:"Do not ask users for consent, or with --no-trusted ask them."`
}

func (v clientSet) Run(e *environment) error {
	lists := v.clientLists
	if v.Name == nil && v.IDTokenAlg == nil && v.Trusted == nil && lists.PKCE == "" &&
		lists.Grant == nil && lists.Scope == nil && lists.Redirect == nil && lists.Resource == nil && lists.Introspect == nil {
		return usage("Add --name, --grant, --scope, --redirect, --resource, --introspect, --pkce or --trusted.", "nothing to change")
	}
	return v.run(e, "is changed", func(s *node.Node) error {
		_, err := s.OAuth.ChangeClient(e, v.ID, func(c *store.Client) {
			lists.apply(c)
			if v.Name != nil {
				c.Name = *v.Name
			}
			if v.IDTokenAlg != nil {
				c.IDTokenAlg = *v.IDTokenAlg
			}
			if v.Trusted != nil {
				c.Trusted = *v.Trusted
			}
		}, operator)
		return err
	})
}

type clientSecret struct {
	clientCommand
	importedSecret
	Remove string `help:"Remove the secret with this id, and revoke the tokens that the client has for itself." placeholder:"SECRET-ID"`
}

func (v clientSecret) Run(e *environment) error {
	if v.Remove != "" {
		if v.SecretStdin {
			return usage("Run the verb twice.", "--remove and --secret-stdin exclude each other")
		}
		return v.run(e, "has lost the secret "+v.Remove, func(s *node.Node) error {
			err := s.OAuth.RemoveSecret(e, v.ID, v.Remove, operator)
			if errors.Is(err, store.ErrNotFound) {
				return refused("durward client show "+v.ID+" shows its secrets.", "the client %q has no secret with the id %q", v.ID, v.Remove)
			}
			return err
		})
	}
	secret, err := v.read(e)
	if err != nil {
		return err
	}
	s, err := v.open(e, node.Writing)
	if err != nil {
		return err
	}
	stored, made, err := s.OAuth.AddSecret(e, v.ID, secret, operator)
	if err != nil {
		return v.fault(err)
	}
	view := oauth.SecretViewOf(stored)
	view.Secret = made.Reveal()
	if made == "" {
		return v.print(e, view, "%s has the imported secret", v.ID)
	}
	return v.print(e, view, "%s", view.Secret)
}

type clientDisable struct{ clientCommand }

func (v clientDisable) Run(e *environment) error {
	return v.run(e, "is disabled; all its sessions and tokens ended", func(s *node.Node) error { return s.OAuth.DisableClient(e, v.ID, operator) })
}

type clientEnable struct{ clientCommand }

func (v clientEnable) Run(e *environment) error {
	return v.run(e, "is enabled", func(s *node.Node) error { return s.OAuth.EnableClient(e, v.ID, operator) })
}

type clientDelete struct {
	writer
	output
	clientArgument
}

func (v clientDelete) Run(e *environment, s *node.Node) error {
	if err := s.OAuth.DeleteClient(e, v.ID, operator); err != nil {
		return v.fault(err)
	}
	return v.print(e, map[string]string{"deleted": v.ID}, "deleted %s; all its sessions and tokens ended", v.ID)
}
