package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/store"
)

type tokenVerbs struct {
	Inspect tokenInspect `cmd:"" help:"Show what an access token contains: its validity, its provider, header, claims and faults. The signature is not verified."`
	Verify  tokenVerify  `cmd:"" help:"Verify an access token as this server does, including revocation."`
	Issue   tokenIssue   `cmd:"" help:"Issue an access token."`
}

// tokenInput is the argument that names a file with a token. A token is never read from arguments,
// which every user of the machine can read.
type tokenInput struct {
	File string `arg:"" optional:"" default:"-" help:"File that contains the token; - is standard input."`
}

func (t tokenInput) read(e *environment) (string, error) { return readToken(e, t.File) }

// readToken reads a token from a file, or from standard input if the name is "-". The text may have the
// name of the header field or of the scheme before it, as copied from a request.
func readToken(e *environment, name string) (string, error) {
	if strings.Count(name, ".") == 2 && len(name) > 60 {
		return "", usage("Send the token to standard input. Treat this one as leaked: every user of the machine can read command line arguments.",
			"the argument is a token, not the name of a file")
	}
	var text string
	var err error
	if name == "-" {
		text, err = config.ReadSecret(e.stdin)
	} else {
		text, err = config.ReadSecretFile(name)
	}
	if err != nil {
		return "", unreachable("Name a file that contains the token, or send it to standard input.", "%w", err)
	}
	token := strings.TrimSpace(text)
	for _, scheme := range []string{"authorization:", "bearer "} {
		if len(token) > len(scheme) && strings.EqualFold(token[:len(scheme)], scheme) {
			token = strings.TrimSpace(token[len(scheme):])
		}
	}
	if token == "" {
		return "", usage("For example: durward token inspect < token.txt", "the input contains no token")
	}
	return token, nil
}

type tokenInspect struct {
	tokenInput
	output
}

func (v tokenInspect) Run(e *environment) error {
	token, err := v.read(e)
	if err != nil {
		return err
	}
	in, err := jwt.Inspect(token)
	if err != nil {
		return refused("An access token of Durward is a JWT: three parts separated by dots. A refresh token begins with dr_ and contains no claims.", "%w", err)
	}
	if v.JSON {
		err := e.json(map[string]any{
			"header":     json.RawMessage(in.Header),
			"payload":    json.RawMessage(in.Payload),
			"profiles":   append([]string{}, in.Profiles...),
			"id_token":   in.IDToken,
			"problems":   append([]string{}, in.Problems...),
			"deviations": append([]string{}, in.Deviations...),
			"verified":   false,
		})
		if err != nil {
			return err
		}
	} else if err := v.describe(e, in); err != nil {
		return err
	}
	if len(in.Problems) > 0 {
		return refused("", "the token is not valid; faults found: %d", len(in.Problems))
	}
	return nil
}

// describe prints the inspection: validity and provider first, then the content.
func (tokenInspect) describe(e *environment, in *jwt.Inspection) error {
	fmt.Fprintln(e.stdout, validity(in.Claims.Expires, time.Now()))
	switch {
	case len(in.Profiles) > 0:
		fmt.Fprintf(e.stdout, "form: %s\n", strings.Join(in.Profiles, ", "))
	case in.IDToken != "":
		fmt.Fprintf(e.stdout, "looks like an ID token of %s, not an access token\n", in.IDToken)
	default:
		fmt.Fprintln(e.stdout, "form: of no known provider, and not RFC 9068")
	}
	for _, part := range []struct {
		name string
		text []byte
	}{{"header", in.Header}, {"payload", in.Payload}} {
		pretty, err := json.MarshalIndent(json.RawMessage(part.text), "", "  ")
		if err != nil {
			return refused("", "the %s is not JSON: %w", part.name, err)
		}
		fmt.Fprintf(e.stdout, "%s %s\n", part.name, printable.Text(string(pretty)))
	}
	for _, t := range []struct {
		name string
		at   time.Time
	}{{"issued", in.Claims.IssuedAt}, {"signed in", in.Claims.AuthTime}, {"expires", in.Claims.Expires}} {
		if !t.at.IsZero() {
			fmt.Fprintf(e.stdout, "%s %s\n", t.name, t.at.UTC().Format(time.RFC3339))
		}
	}
	for _, p := range in.Problems {
		fmt.Fprintf(e.stdout, "fault: %s\n", printable.Text(p))
	}
	for _, d := range in.Deviations {
		fmt.Fprintf(e.stdout, "not by RFC 9068: %s\n", printable.Text(d))
	}
	fmt.Fprintln(e.stdout, "The signature was not verified. Any program could have written this token.")
	return nil
}

// validity says how long a token is valid, or since when it is not.
func validity(expires, now time.Time) string {
	switch {
	case expires.IsZero():
		return "without a time of expiry"
	case now.Before(expires):
		return "expires in " + roughly(expires.Sub(now))
	}
	return "expired " + roughly(now.Sub(expires)) + " ago"
}

// roughly returns a duration in its largest unit.
func roughly(d time.Duration) string {
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}} {
		if d >= unit.length {
			return fmt.Sprintf("%d %s", d/unit.length, unit.name)
		}
	}
	return fmt.Sprintf("%d s", d/time.Second)
}

type tokenVerify struct {
	location
	tokenInput
	output
}

func (v tokenVerify) Run(e *environment) error {
	token, err := v.read(e)
	if err != nil {
		return err
	}
	s, err := v.open(e, node.Reading)
	if err != nil {
		return err
	}
	p, err := s.Issuer.Verifier().Verify(e, token)
	if code, ok := errors.AsType[durward.Code](err); ok {
		return refused("durward token inspect shows the claims of the token.", "%s: %s", code, strings.TrimPrefix(strings.TrimSuffix(err.Error(), ": "+string(code)), "jwt: "))
	} else if err != nil {
		return err
	}
	scope := strings.Join(p.Scopes, " ")
	return v.print(e, map[string]any{
		"sub":       p.Subject,
		"iss":       p.Issuer,
		"client_id": p.ClientID,
		"sid":       p.SessionID,
		"jti":       p.TokenID,
		"scope":     scope,
		"acr":       p.ACR,
		"amr":       append([]string{}, p.AMR...),
		"exp":       p.Expires.Unix(),
	}, "valid: subject %s, scope %s, expires %s", printable.Text(p.Subject), printable.Text(scope), p.Expires.UTC().Format(time.RFC3339))
}

type tokenIssue struct {
	writer
	output
	Sub   string        `required:"" help:"Subject: the e-mail address or id of a user, or any other name." placeholder:"SUBJECT"`
	Scope []string      `help:"Scopes, separated by commas or spaces." sep:"," placeholder:"SCOPE"`
	TTL   time.Duration `name:"ttl" help:"Lifetime of the token, up to 24h." default:"15m"`
}

func (v tokenIssue) Run(e *environment, s *node.Node) error {
	subject := v.Sub
	switch u, err := s.Accounts.ByEmail(e, v.Sub); {
	case err == nil:
		subject = u.ID
	case !errors.Is(err, store.ErrNotFound) && !errors.Is(err, durward.InvalidRequest):
		return err
	}
	scopes := strings.Fields(strings.Join(v.Scope, " "))
	token, claims, err := s.Issuer.Issue(e, subject, scopes, v.TTL)
	if errors.Is(err, store.ErrUnavailable) {
		return err
	} else if err != nil { // an invalid flag
		return usage("Run durward token issue --help for usage.", "%w", err)
	}
	return v.print(e, map[string]any{
		"access_token": token,
		"token_type":   "Bearer",
		"expires_in":   int(claims.Expires.Sub(claims.IssuedAt).Seconds()),
		"scope":        strings.Join(scopes, " "),
		"sub":          subject,
		"jti":          claims.ID,
	}, "%s", token)
}
