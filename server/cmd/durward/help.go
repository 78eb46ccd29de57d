package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/alecthomas/kong"
)

type helpVerb struct {
	Verb []string `arg:"" optional:"" help:"Verb, such as user add."`
	Man  bool     `help:"Print the manual page of all verbs: durward help --man | man -l -"`
}

// Run prints the manual page. Without --man, run turns the verb into --help.
func (v helpVerb) Run(e *environment) error {
	if !v.Man || len(v.Verb) > 0 {
		return usage("Run durward help VERB, or durward help --man.", "help takes a verb or --man")
	}
	parser, err := newParser()
	if err != nil {
		return err
	}
	writeManual(e.stdout, parser.Model)
	return nil
}

// manualEnd is the end of the manual page, in the macros of man(7).
const manualEnd = `.SH EXIT STATUS
.TP
0
The command was executed.
.TP
1
The request was refused, or a check found faults.
.TP
2
The command line or the configuration is wrong.
.TP
3
A file, database or server that is needed cannot be used.
.SH ENVIRONMENT
Each key of the configuration has a variable whose name begins with DURWARD_;
.B durward config docs
lists all of them.
.SH FILES
.TP
.I durward\-data
Default data folder of the server.
.TP
.I $XDG_CONFIG_HOME/durward/sessions
Sign\-ins that
.B durward login
stores.
`

// writeManual prints the manual page: each verb of the table with its arguments and flags.
func writeManual(w io.Writer, app *kong.Application) {
	fmt.Fprintf(w, ".TH DURWARD 1\n.SH NAME\ndurward \\- authentication server for HTTP and its tools\n")
	fmt.Fprintf(w, ".SH SYNOPSIS\n.B durward\n.I verb\n[\\fIflags\\fR] [\\fIarguments\\fR]\n")
	fmt.Fprintf(w, ".SH DESCRIPTION\n%s\n.SH VERBS\n", roff(app.Help))
	for _, verb := range app.Leaves(true) {
		fmt.Fprintf(w, ".SS \"%s\"\n%s\n", roff(verb.Summary()), roff(verb.Help))
		for _, p := range verb.Positional {
			manualEntry(w, p.Summary(), p.Help)
		}
		for _, f := range verb.Flags {
			if !f.Hidden {
				manualEntry(w, f.String(), f.Help)
			}
		}
	}
	io.WriteString(w, manualEnd)
}

// manualEntry prints one argument or flag with its description.
func manualEntry(w io.Writer, name, help string) {
	fmt.Fprintf(w, ".TP\n\\fB%s\\fR\n%s\n", roff(name), roff(help))
}

// roff escapes a text for troff: backslashes, hyphens, and control characters at the start of a line.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\n", " ", `"`, `\(dq`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
