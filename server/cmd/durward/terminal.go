package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/durward-auth/durward/server/internal/config"
	"golang.org/x/term"
)

// terminal is where somebody can be asked. A secret is never taken from the arguments,
// which everybody on the machine can read.
func (e *environment) terminal(otherwise string) (*os.File, error) {
	f, ok := e.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, &exitError{exitUsage, errors.New("there is no terminal to ask for the password at"), otherwise}
	}
	return f, nil
}

// askSecret asks at a terminal for what is not shown there.
func (e *environment) askSecret(f *os.File, prompt string) (string, error) {
	fmt.Fprint(e.stderr, prompt)
	text, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(e.stderr)
	return string(text), err
}

// secretFromStdin reads a secret from standard input; one line end at its end is dropped.
func (e *environment) secretFromStdin() (string, error) {
	text, err := config.ReadSecret(e.stdin)
	if err != nil {
		return "", &exitError{exitUsage, fmt.Errorf("cannot read the password from standard input: %w", err), ""}
	}
	return text, nil
}

// maxLine is the size limit of readLine, in octets.
const maxLine = 4096

// readLine reads one line and nothing of the next.
func readLine(r io.Reader) (string, error) {
	var line []byte
	for one := make([]byte, 1); len(line) < maxLine; {
		n, err := r.Read(one)
		if n == 1 && one[0] == '\n' || errors.Is(err, io.EOF) {
			return strings.TrimRight(string(line), "\r"), nil
		}
		if err != nil {
			return "", err
		}
		line = append(line, one[:n]...)
	}
	return "", errors.New("the line does not end")
}
