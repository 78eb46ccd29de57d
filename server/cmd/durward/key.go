package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/durward-auth/durward/server/internal/issuer"
	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/store"
)

type keyVerbs struct {
	List   keyList   `cmd:"" help:"List signing keys and their states."`
	Rotate keyRotate `cmd:"" help:"Create a new signing key. The oldest pending key becomes active once all verifiers can have read it."`
	Retire keyRetire `cmd:"" help:"Retire a signing key after its successor took over, or at once with --now if it was stolen."`
}

type keyList struct {
	location
	output
}

func (v keyList) Run(e *environment, db *store.DB) error { return printKeys(e, v.output, db) }

// printKeys prints the signing keys of db.
func printKeys(e *environment, o output, db *store.DB) error {
	keys, err := issuer.SigningKeys(e, db)
	if err != nil {
		return err
	}
	var items []issuer.KeyView
	for _, k := range keys {
		items = append(items, issuer.KeyViewOf(k))
	}
	return printItems(e, o, items, "there are no signing keys: tokens are signed with tokens.shared_secret",
		"KID\tALG\tSTATE\tUSE\tCREATED\tACTIVE SINCE\tACTIVE UNTIL", func(k issuer.KeyView) []string {
			return []string{k.ID, k.Algorithm, k.State, k.Use, timeOr(k.CreatedAt, "-"), timeOr(k.ActivatedAt, "-"), timeOr(k.RetiredAt, "-")}
		})
}

type keyRotate struct {
	writer
	output
	Use string `help:"What the key signs: ${enum}. A key for ID tokens is that of clients with id_token_alg RS256." enum:"signing,id_token" default:"signing"`
	Now bool   `help:"Activate the oldest pending key at once. Other verifiers refuse its tokens until they read the key set again."`
}

func (v keyRotate) Run(e *environment, s *node.Node) error {
	if err := s.Issuer.Rotate(e, v.Use, v.Now, operator); err != nil {
		return err
	}
	if v.JSON {
		return printKeys(e, v.output, s.DB)
	}
	if v.Now {
		fmt.Fprintln(e.stdout, "another key is active; a running server uses it within a second")
	} else {
		fmt.Fprintln(e.stdout, "created a pending key; the oldest pending key becomes active within an hour")
	}
	return nil
}

type keyRetire struct {
	writer
	output
	KID string `arg:"" name:"kid" help:"Key id, or its first characters if no other key begins with them. Put -- before an id that begins with -."`
	Now bool   `help:"End the key at once, for a stolen key: all access tokens that it signed are revoked within a second and clients refresh them. Users stay signed in."`
}

func (v keyRetire) Run(e *environment, s *node.Node) error {
	keys, err := issuer.SigningKeys(e, s.DB)
	if err != nil {
		return err
	}
	keyID, err := completeKID(keys, v.KID)
	if err != nil {
		return err
	}
	r, err := s.Issuer.Retire(e, keyID, v.Now, operator)
	if err != nil {
		return err
	}
	published := time.Since(r.Signs.CreatedAt)
	if v.JSON {
		return e.json(r.View())
	}
	switch {
	case r.Revoked:
		fmt.Fprintf(e.stdout, "%s has ended; all access tokens that it signed are revoked, on a running server within a second\n", r.Key.ID)
	case r.State == store.KeyGone:
		fmt.Fprintf(e.stdout, "%s has ended; it was pending and had signed no token\n", r.Key.ID)
	case r.State == store.KeyActive:
		fmt.Fprintf(e.stdout, "%s stays active until all verifiers can have read its successor %s, which takes over after %s\n",
			r.Key.ID, r.Next.ID, r.Takes.Format(time.RFC3339))
	default:
		fmt.Fprintf(e.stdout, "%s signs no more tokens; it verifies those it signed until they expire\n", r.Key.ID)
	}
	if r.Key.State != store.KeyActive || r.State == store.KeyActive {
		return nil // the active key is the same as before
	}
	fmt.Fprintf(e.stdout, "%s is active; clients refresh their tokens and users stay signed in\n", r.Signs.ID)
	if r.Known {
		fmt.Fprintf(e.stdout, "it has been in the key set for %s, so other verifiers know it\n", published.Truncate(time.Minute))
	} else {
		fmt.Fprintf(e.stdout, "it has been in the key set for only %s; other verifiers refuse its tokens until they read the key set again\n", published.Truncate(time.Second))
	}
	if v.Now {
		fmt.Fprintln(e.stdout, "other verifiers that neither follow /api/revocations nor use introspection accept tokens of the old key until they read the key set again")
	}
	return nil
}

// completeKID returns the id of the only key that begins with given. If there is none it returns
// given; the issuer then reports the error.
func completeKID(keys []store.Key, given string) (string, error) {
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
		return given, nil
	case 1:
		return found[0], nil
	}
	return "", refused("Give more characters of the id; durward key list shows all keys.", "%d keys begin with %q: %s", len(found), given, strings.Join(found, ", "))
}
