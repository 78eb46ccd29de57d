package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/api"
	"github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/internal/printable"
)

type loginVerb struct {
	signInFolder
	URL           string   `arg:"" help:"Durward server to sign in to."`
	Email         string   `help:"E-mail address. Default: a prompt." placeholder:"EMAIL"`
	PasswordStdin bool     `help:"Read the password from standard input. One line break at the end is dropped."`
	Origin        []string `help:"Another origin that receives the tokens, such as https://api.example.com. Can be repeated." placeholder:"ORIGIN"`
}

func (v loginVerb) Run(e *environment) error {
	u, server, err := parseAddress(v.URL)
	if err != nil {
		return err
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return usage("Write only scheme, host and port: "+server, "%s is more than a server's origin", v.URL)
	}
	s, err := v.at(e, server)
	if err != nil {
		return err
	}
	s.Origins = []string{server}
	for _, text := range v.Origin {
		_, origin, err := parseAddress(text)
		if err != nil {
			return err
		}
		if !slices.Contains(s.Origins, origin) {
			s.Origins = append(s.Origins, origin)
		}
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	if err := client.CheckSources(c.Source(client.TokensConfig{Origins: s.Origins})); err != nil {
		return usage("Use https. Plain http is allowed only to this machine.", "%w", err)
	}
	email, password, err := v.prompt(e, server)
	if err != nil {
		return err
	}
	s.Email = email
	_, err = c.SignIn(e, email, password)
	if half, ok := errors.AsType[*api.FactorRequiredError](err); ok {
		err = v.finish(e, c, half)
	}
	if err != nil {
		if refusal, ok := errors.AsType[*client.ResponseError](err); ok && refusal.Code == "" {
			return refused("Check that the URL is that of a Durward server.", "%v", err)
		}
		return clientError(err)
	}
	if err := s.write(); err != nil {
		return unreachable("Name another folder with --sessions DIR.", "cannot store the sign-in: %w", err)
	}
	fmt.Fprintf(e.stdout, "signed in at %s as %s\n", server, printable.Text(email))
	return nil
}

// finish asks for a code of the second factor until one is right or the sign-in has ended.
func (v loginVerb) finish(e *environment, c *api.Client, half *api.FactorRequiredError) error {
	if v.PasswordStdin {
		return refused("Run durward login without --password-stdin at a terminal, or use an API key.", "the account has a second factor, which is asked for at a terminal only")
	}
	if len(half.Methods) > 0 && !slices.ContainsFunc(half.Methods, func(method string) bool { return method != api.FactorPasskey }) {
		return refused("Set up an authenticator app or make recovery codes with a browser, or use an API key.", "the second factor of the account is a passkey, which needs a browser")
	}
	for {
		code, err := e.password(false, "Code of the authenticator app, or a recovery code: ")
		if err != nil {
			return err
		}
		code = strings.TrimSpace(code)
		method := api.FactorTOTP
		if strings.Trim(code, "0123456789 ") != "" || len(code) > len("123 456") {
			method = api.FactorRecoveryCode
		}
		_, err = c.FinishSignIn(e, half, method, code)
		if code == "" || !errors.Is(err, durward.InvalidCredentials) {
			return err
		}
		e.note("wrong code, or used already")
	}
}

// prompt asks at the terminal for the address and the password that the flags do not give.
func (v loginVerb) prompt(e *environment, server string) (email, password string, err error) {
	email = v.Email
	if v.PasswordStdin && email == "" {
		return "", "", usage("Run durward login "+server+" --email EMAIL --password-stdin", "--password-stdin requires --email")
	}
	if !v.PasswordStdin {
		f, err := e.terminal("Send the password to standard input and add --email EMAIL --password-stdin.")
		if err != nil {
			return "", "", err
		}
		if email == "" {
			fmt.Fprintf(e.stderr, "E-mail address at %s: ", server)
			if email, err = readLine(f); err != nil {
				return "", "", err
			}
		}
	}
	password, err = e.password(v.PasswordStdin, fmt.Sprintf("Password of %s: ", printable.Text(email)))
	return email, password, err
}
