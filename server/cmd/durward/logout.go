package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

type logoutVerb struct {
	signInFolder
	URL string `arg:"" help:"Durward server to sign out of."`
}

func (v logoutVerb) Run(e *environment) error {
	_, server, err := parseAddress(v.URL)
	if err != nil {
		return err
	}
	s, err := v.at(e, server)
	if err != nil {
		return err
	}
	if err := s.read(); errors.Is(err, fs.ErrNotExist) {
		e.note("there is no sign-in at %s", server)
		return nil
	} else if err != nil {
		return unreachable("Delete the folder "+s.dir+". The session at the server ends when it expires.", "%w", err)
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	if err := c.SignOut(e); err != nil {
		return clientError(err)
	}
	if err := os.RemoveAll(s.dir); err != nil {
		return unreachable("", "%w", err)
	}
	fmt.Fprintf(e.stdout, "signed out of %s\n", server)
	return nil
}
