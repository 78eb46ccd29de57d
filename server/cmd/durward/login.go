package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/internal/printable"
)

type loginVerb struct {
	kept
	URL           string   `arg:"" help:"Durward server to sign in at."`
	Email         string   `help:"E-mail address; asked for otherwise." placeholder:"EMAIL"`
	PasswordStdin bool     `help:"Read the password from standard input; one line end at its end is dropped."`
	Origin        []string `help:"Another origin that gets the tokens, such as https://api.example.com; may be said several times." placeholder:"ORIGIN"`
}

func (v loginVerb) Run(e *environment) error {
	u, server, err := address(v.URL)
	if err != nil {
		return err
	}
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return &exitError{exitUsage, fmt.Errorf("%s is more than a server", v.URL), "Write scheme, host and port alone: " + server}
	}
	s, err := v.at(e, server)
	if err != nil {
		return err
	}
	s.Origins = []string{server}
	for _, text := range v.Origin {
		_, origin, err := address(text)
		if err != nil {
			return err
		}
		if !slices.Contains(s.Origins, origin) {
			s.Origins = append(s.Origins, origin)
		}
	}
	if err := client.CheckSources(client.Tokens(s.config())); err != nil {
		return &exitError{exitUsage, err, "Tokens and passwords go by https, or to this machine."}
	}
	email, password, err := v.ask(e, server)
	if err != nil {
		return err
	}
	s.Email = email
	if _, err := client.SignIn(e, s.config(), email, password); err != nil {
		if said, ok := errors.AsType[*client.ResponseError](err); ok && said.Code == "" {
			return refused("Is that a Durward server?", "%v", err)
		}
		return clientError(err)
	}
	if err := s.write(); err != nil {
		return &exitError{exitUnreachable, fmt.Errorf("the sign-in cannot be kept: %w", err), "Name another folder with --sessions DIR."}
	}
	fmt.Fprintf(e.stdout, "signed in at %s as %s\n", server, printable.Text(email))
	return nil
}

// ask asks for what was not given.
func (v loginVerb) ask(e *environment, server string) (email, password string, err error) {
	if v.PasswordStdin {
		if v.Email == "" {
			return "", "", &exitError{exitUsage, errors.New("--password-stdin wants --email"), "durward login " + server + " --email EMAIL --password-stdin"}
		}
		password, err = e.secretFromStdin()
		return v.Email, password, err
	}
	f, err := e.terminal("Send it to standard input and say --email EMAIL --password-stdin.")
	if err != nil {
		return "", "", err
	}
	email = v.Email
	if email == "" {
		fmt.Fprintf(e.stderr, "E-mail address at %s: ", server)
		if email, err = readLine(f); err != nil {
			return "", "", err
		}
	}
	password, err = e.askSecret(f, fmt.Sprintf("Password of %s: ", printable.Text(email)))
	return email, password, err
}

type logoutVerb struct {
	kept
	URL string `arg:"" help:"Durward server to sign out of."`
}

func (v logoutVerb) Run(e *environment) error {
	_, server, err := address(v.URL)
	if err != nil {
		return err
	}
	s, err := v.at(e, server)
	if err != nil {
		return err
	}
	if err := s.read(); errors.Is(err, os.ErrNotExist) {
		e.say("there is no sign-in at %s", server)
		return nil
	} else if err != nil {
		return &exitError{exitUnreachable, err, "Remove " + s.dir + "; the sign-in at the server ends by itself."}
	}
	if err := client.SignOut(e, s.config()); err != nil {
		return clientError(err)
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return &exitError{exitUnreachable, err, ""}
	}
	fmt.Fprintf(e.stdout, "signed out of %s\n", server)
	return nil
}

// clientError says what another server's refusal means for the one at the terminal.
func clientError(err error) error {
	said, ok := errors.AsType[*client.ResponseError](err)
	switch {
	case errors.Is(err, client.ErrSignedOut):
		return &exitError{exitRefused, err, "durward login signs in again."}
	case !ok:
		return &exitError{exitUnreachable, err, "Does the server run, and is the URL right?"}
	case errors.Is(err, durward.InvalidCredentials):
		return &exitError{exitRefused, err, "Is the address right, and the keyboard?"}
	case said.RetryAfter > 0:
		return &exitError{exitRefused, err, fmt.Sprintf("Try again in %s.", said.RetryAfter)}
	}
	return &exitError{exitRefused, err, said.Hint}
}
