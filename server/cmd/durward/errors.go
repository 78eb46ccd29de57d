package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/server/internal/node"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
	"github.com/durward-auth/durward/server/internal/store/backup"
)

// Exit statuses.
const (
	exitDone        = 0
	exitRefused     = 1 // the request was refused, or a check found faults
	exitUsage       = 2 // wrong command line or configuration
	exitUnreachable = 3 // a file, database or server that is needed cannot be used
)

// exitError is an error with an exit status. hint tells the user what to do; "" is no hint.
type exitError struct {
	status int
	err    error
	hint   string
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// refused returns an exitError of status 1.
func refused(hint, format string, args ...any) error {
	return &exitError{exitRefused, fmt.Errorf(format, args...), hint}
}

// usage returns an exitError of status 2.
func usage(hint, format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...), hint}
}

// unreachable returns an exitError of status 3.
func unreachable(hint, format string, args ...any) error {
	return &exitError{exitUnreachable, fmt.Errorf(format, args...), hint}
}

// unsuitable lists the errors of a database or file that can be read and must not be used: status
// 1, not 3.
var unsuitable = []error{
	backup.ErrRollback, store.ErrOtherIssuer, store.ErrInUse, backup.ErrNotEmpty,
	backup.ErrNotBackup, backup.ErrDiffers, fs.ErrExist,
}

// packagePrefix matches the package names in front of the parts of an error. They mean nothing to a user.
var packagePrefix = regexp.MustCompile(`(?m)(^|: )((durward|account|backup|client|jwt|oauth|session|issuer|seal|store): )+`)

// report prints err and its hint to standard error and returns the exit status.
func report(e *environment, asJSON bool, err error) int {
	status, hint := exitRefused, ""
	text := err.Error()
	var exit *exitError
	var refusal *durward.Refusal
	var open *store.OpenError
	var data *node.DataError
	isOneOf := func(kinds ...error) bool {
		return slices.ContainsFunc(kinds, func(kind error) bool { return errors.Is(err, kind) })
	}
	switch {
	case errors.As(err, &exit):
		status, hint = exit.status, exit.hint
	case errors.As(err, &data):
		status, hint = exitUnreachable, data.Hint
	case errors.As(err, &refusal) && refusal.Detail != "":
		text, hint = refusal.Detail, refusal.Hint
	case errors.As(err, &open):
		hint = open.Hint
		if !isOneOf(unsuitable...) {
			status = exitUnreachable
		}
	case isOneOf(store.ErrDamaged, store.ErrUnavailable):
		status, hint = exitUnreachable, store.Hint(err)
	case isOneOf(seal.ErrWrongKey, store.ErrNewer):
		status = exitUnreachable
	}
	text = packagePrefix.ReplaceAllString(text, "$1")
	if asJSON {
		out := json.NewEncoder(e.stderr)
		out.SetEscapeHTML(false)
		_ = out.Encode(struct { // the status still reports the failure
			Error  string `json:"error"`
			Hint   string `json:"hint,omitempty"`
			Status int    `json:"status"`
		}{text, hint, status})
		return status
	}
	for line := range strings.Lines(text) {
		e.note("%s", strings.TrimSpace(line))
	}
	if hint != "" {
		e.note("hint: %s", hint)
	}
	return status
}
