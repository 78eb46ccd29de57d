package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/jwt"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/store"
)

type tokenVerbs struct {
	Inspect tokenInspect `cmd:"" help:"Show what an access token says, and what is wrong with it, without verifying who made it."`
	Verify  tokenVerify  `cmd:"" help:"Judge an access token as this server would, revocations included."`
	Issue   tokenIssue   `cmd:"" help:"Make an access token."`
}

// tokenInput is where a token is read from: never from the arguments, which
// everybody on the machine can read.
type tokenInput struct {
	File string `arg:"" optional:"" default:"-" help:"File that holds the token; - is standard input."`
}

func (t tokenInput) read(e *environment) (string, error) {
	if strings.Count(t.File, ".") == 2 && len(t.File) > 60 {
		return "", &exitError{exitUsage, errors.New("that is a token, not the name of a file"), "Others on this machine can read arguments: send it to standard input, and take it for known."}
	}
	in := e.stdin
	if t.File != "-" {
		f, err := os.Open(t.File)
		if err != nil {
			return "", &exitError{exitUnreachable, err, "Name a file that holds the token, or send it to standard input."}
		}
		defer f.Close()
		in = f
	}
	text, err := config.ReadSecret(in)
	if err != nil {
		return "", &exitError{exitUnreachable, err, "Name a file that holds the token, or send it to standard input."}
	}
	token := strings.TrimSpace(text)
	for _, scheme := range []string{"authorization:", "bearer "} { // as copied from a request
		if len(token) > len(scheme) && strings.EqualFold(token[:len(scheme)], scheme) {
			token = strings.TrimSpace(token[len(scheme):])
		}
	}
	if token == "" {
		return "", &exitError{exitUsage, errors.New("no token was sent"), "For example: durward token inspect < token.txt"}
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
		return refused("An access token of Durward has three parts with dots between them; refresh tokens begin with dr_ and say nothing.", "%s", strings.TrimPrefix(err.Error(), "jwt: "))
	}
	if v.JSON {
		if in.Problems == nil {
			in.Problems = []string{}
		}
		if err := e.json(map[string]any{"header": json.RawMessage(in.Header), "payload": json.RawMessage(in.Payload), "problems": in.Problems, "verified": false}); err != nil {
			return err
		}
	} else {
		for _, part := range []struct {
			name string
			text []byte
		}{{"header", in.Header}, {"payload", in.Payload}} {
			pretty, err := json.MarshalIndent(json.RawMessage(part.text), "", "  ")
			if err != nil {
				return refused("", "the %s is no JSON: %w", part.name, err)
			}
			fmt.Fprintf(e.stdout, "%s %s\n", part.name, printable.Text(string(pretty)))
		}
		for _, t := range []struct {
			name string
			at   time.Time
		}{{"issued", in.Claims.IssuedAt}, {"signed in", in.Claims.AuthTime}, {"ends", in.Claims.Expires}} {
			if !t.at.IsZero() {
				fmt.Fprintf(e.stdout, "%s %s\n", t.name, t.at.UTC().Format(time.RFC3339))
			}
		}
		for _, p := range in.Problems {
			fmt.Fprintf(e.stdout, "wrong: %s\n", printable.Text(p))
		}
		fmt.Fprintln(e.stdout, "The signature was not verified: anybody could have written this.")
	}
	if len(in.Problems) > 0 {
		return refused("", "%d things are wrong with this token", len(in.Problems))
	}
	return nil
}

type tokenVerify struct {
	place
	tokenInput
	output
}

func (v tokenVerify) Run(e *environment) (err error) {
	token, err := v.read(e)
	if err != nil {
		return err
	}
	s, err := v.open(e, reading)
	if err != nil {
		return err
	}
	defer s.close(&err)
	p, err := s.Issuer.Verifier().Verify(e, token)
	var code durward.Code
	if errors.As(err, &code) {
		return refused("durward token inspect shows what it says.", "%s: %s", code, strings.TrimPrefix(strings.TrimSuffix(err.Error(), ": "+string(code)), "jwt: "))
	} else if err != nil {
		return err
	}
	if v.JSON {
		return e.json(map[string]any{"sub": p.Subject, "iss": p.Issuer, "client_id": p.ClientID, "sid": p.SessionID, "jti": p.TokenID,
			"scope": strings.Join(p.Scopes, " "), "acr": p.ACR, "amr": append([]string{}, p.AMR...), "exp": p.Expires.Unix()})
	}
	fmt.Fprintf(e.stdout, "good: %s, scope %s, until %s\n", printable.Text(p.Subject), printable.Text(strings.Join(p.Scopes, " ")), p.Expires.UTC().Format(time.RFC3339))
	return nil
}

type tokenIssue struct {
	place
	output
	Sub   string        `required:"" help:"Subject: an e-mail address or id of a person here, or any other name." placeholder:"SUBJECT"`
	Scope []string      `help:"Scopes, separated by commas or blanks." sep:"," placeholder:"SCOPE"`
	TTL   time.Duration `name:"ttl" help:"Life of the token, up to 24h." default:"15m"`
}

func (v tokenIssue) Run(e *environment) (err error) {
	s, err := v.open(e, writing)
	if err != nil {
		return err
	}
	defer s.close(&err)
	subject := v.Sub
	if u, err := s.People.ByEmail(e, v.Sub); err == nil {
		subject = u.ID
	}
	var scopes []string
	for _, scope := range v.Scope {
		scopes = append(scopes, strings.Fields(scope)...)
	}
	token, claims, err := s.Issuer.Issue(e, subject, scopes, v.TTL)
	if errors.Is(err, store.ErrUnavailable) {
		return err
	} else if err != nil { // of what was asked for
		text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "oauth: "), "jwt: ")
		return &exitError{exitUsage, errors.New(text), "durward token issue --help shows what there is."}
	}
	if v.JSON {
		return e.json(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": int(claims.Expires.Sub(claims.IssuedAt).Seconds()), "scope": strings.Join(scopes, " "), "sub": subject, "jti": claims.ID})
	}
	fmt.Fprintln(e.stdout, token)
	return nil
}
