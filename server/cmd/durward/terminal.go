package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/server/internal/config"
)

// environment is a process's context, standard streams and environment variables.
type environment struct {
	context.Context
	stdin          io.Reader
	stdout, stderr io.Writer
	variables      []string // NAME=VALUE

	close func() error // closes the data that the verb opened; nil: it opened none
}

// output is the flag of verbs that can print JSON.
type output struct {
	JSON bool `name:"json" help:"Print JSON."`
}

// print prints value as JSON if the flag is set, else one line of text.
func (o output) print(e *environment, value any, format string, args ...any) error {
	if o.JSON {
		return e.json(value)
	}
	fmt.Fprintf(e.stdout, format+"\n", args...)
	return nil
}

// printItems prints items as JSON, or as a table with the cells of row. header is "" for none. Without
// items it prints the note none instead of the table.
func printItems[T any](e *environment, o output, items []T, none, header string, row func(T) []string) error {
	if o.JSON {
		return e.json(map[string]any{"items": append([]T{}, items...)})
	}
	if len(items) == 0 {
		e.note("%s", none)
		return nil
	}
	var rows [][]string
	if header != "" {
		rows = append(rows, []string{header})
	}
	for _, item := range items {
		rows = append(rows, row(item))
	}
	return e.table(rows)
}

// table prints rows of cells in aligned columns.
func (e *environment) table(rows [][]string) error {
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// timeOr formats t for a table, or returns none if t is zero.
func timeOr(t time.Time, none string) string {
	if t.IsZero() {
		return none
	}
	return t.Format(time.RFC3339)
}

// note prints one message to standard error.
func (e *environment) note(format string, args ...any) {
	fmt.Fprintf(e.stderr, "durward: %s\n", printable.Text(fmt.Sprintf(format, args...)))
}

// json prints v as indented JSON to standard output.
func (e *environment) json(v any) error {
	out := json.NewEncoder(e.stdout)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(v)
}

// variable returns the value of an environment variable, "" if it is not set.
func (e *environment) variable(name string) string {
	for _, v := range slices.Backward(e.variables) {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// checkedWriter keeps the first error of w, so that a verb fails if its output was lost.
type checkedWriter struct {
	w   io.Writer
	err error
}

func (c *checkedWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if c.err == nil {
		c.err = err
	}
	return n, err
}

// terminal returns standard input if it is a terminal. alternative is the hint if it is not.
// Secrets are never read from arguments, which every user of the machine can read.
func (e *environment) terminal(alternative string) (*os.File, error) {
	f, ok := e.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, usage(alternative, "cannot ask for the password: standard input is not a terminal")
	}
	return f, nil
}

// password reads a password: all of standard input without one line break at the end, or a line without
// echo after a prompt.
func (e *environment) password(fromStdin bool, prompt string) (string, error) {
	if fromStdin {
		text, err := config.ReadSecret(e.stdin)
		if err != nil {
			return "", usage("", "cannot read the password from standard input: %w", err)
		}
		return text, nil
	}
	f, err := e.terminal("Send the password to standard input and add --password-stdin.")
	if err != nil {
		return "", err
	}
	fmt.Fprint(e.stderr, prompt)
	text, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(e.stderr)
	return string(text), err
}

// maxLine is the size limit of readLine, in octets.
const maxLine = 4096

// readLine reads one line octet by octet, so that the rest stays unread for term.ReadPassword.
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
	return "", fmt.Errorf("the line is longer than %d octets", maxLine)
}

// shellQuote returns path as one word of a POSIX shell.
func shellQuote(path string) string {
	special := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-", r))
	}
	if !strings.ContainsFunc(path, special) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
