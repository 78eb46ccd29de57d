// Durward is an authentication server and its tools in one binary.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/server/internal/config"
	"github.com/durward-auth/durward/server/internal/seal"
	"github.com/durward-auth/durward/server/internal/store"
)

// Exit statuses.
const (
	exitDone        = 0
	exitRefused     = 1 // refused, or found wanting
	exitUsage       = 2
	exitUnreachable = 3 // what is needed could not be reached
)

// verbs is the table of verbs.
type verbs struct {
	Serve   serveVerb   `cmd:"" help:"Run the server."`
	User    userVerbs   `cmd:"" help:"Look after people: add, list, show, passwd, lock, unlock."`
	Token   tokenVerbs  `cmd:"" help:"Look at access tokens, verify and issue them."`
	APIKey  apikeyVerbs `cmd:"" name:"apikey" help:"Look after API keys: add, list, revoke."`
	Login   loginVerb   `cmd:"" help:"Sign in at a Durward server, for fetch."`
	Fetch   fetchVerb   `cmd:"" help:"Call a protected URL with the sign-in that is for it."`
	Logout  logoutVerb  `cmd:"" help:"Sign out of a Durward server."`
	Why     whyVerb     `cmd:"" help:"Say the true cause of one refusal of this server."`
	Explain explainVerb `cmd:"" help:"Explain a code of a refusal."`
	Key     keyVerbs    `cmd:"" help:"Look after signing keys: list, rotate, retire."`
	DB      dbVerbs     `cmd:"" name:"db" help:"Look after the database."`
	Config  configVerbs `cmd:"" help:"Check, show and describe the configuration."`
	Version versionVerb `cmd:"" help:"Print the version."`
}

// place says which configuration and which data folder a verb works with.
type place struct {
	Config string `help:"Configuration file (TOML)." placeholder:"FILE"`
	Data   string `help:"Data folder." placeholder:"DIR"`
}

func (p place) load(e *environment) (*config.Loaded, error) {
	l, err := loadConfig(config.Flags{Config: p.Config, Data: p.Data}, e.variables)
	if err != nil {
		return nil, err
	}
	for _, x := range l.Exposed {
		e.say("warning: %s", exposedText(x))
	}
	return l, nil
}

// loadConfig reads the configuration. All mistakes are one error of status 2.
func loadConfig(flags config.Flags, variables []string) (*config.Loaded, error) {
	l, err := config.Load(flags, variables)
	if err != nil {
		return nil, &exitError{exitUsage, err, "durward config docs describes every key."}
	}
	return l, nil
}

// exposedText is the warning of a secret that other users can read.
func exposedText(x config.ExposedSecret) string {
	return fmt.Sprintf("other users can read %s, which contains %s; run: chmod 600 %s", x.Path, x.Key, quote(x.Path))
}

// output says how a verb prints.
type output struct {
	JSON bool `name:"json" help:"Print JSON, for machines."`
}

// environment is what a verb has of the world.
type environment struct {
	context.Context
	stdin          io.Reader
	stdout, stderr io.Writer
	variables      []string
}

// say prints a line for the person at the terminal, beside the output.
func (e *environment) say(format string, args ...any) {
	fmt.Fprintf(e.stderr, "durward: %s\n", printable.Text(fmt.Sprintf(format, args...)))
}

// heard is standard output. It keeps the first error: a verb whose output was
// lost has not done what it was asked for.
type heard struct {
	w   io.Writer
	err error
}

func (h *heard) Write(p []byte) (int, error) {
	n, err := h.w.Write(p)
	if h.err == nil {
		h.err = err
	}
	return n, err
}

// json prints v for machines.
func (e *environment) json(v any) error {
	out := json.NewEncoder(e.stdout)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(v)
}

// exitError is an error with the status to exit with and what to do about it.
type exitError struct {
	status int
	err    error
	hint   string
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// refused is an exitError of status 1.
func refused(hint, format string, args ...any) error {
	return &exitError{exitRefused, fmt.Errorf(format, args...), hint}
}

func main() {
	e := &environment{context.Background(), os.Stdin, os.Stdout, os.Stderr, os.Environ()}
	os.Exit(run(e, os.Args[1:]))
}

// run does what args say and returns the status to exit with.
func run(e *environment, args []string) int {
	var v verbs
	status := -1
	out := &heard{w: e.stdout}
	e.stdout = out
	parser, err := kong.New(&v, kong.Name("durward"), kong.UsageOnError(),
		kong.Description("The door-keeper of HTTP: an authentication server and its tools. It needs no configuration: durward serve --demo shows a full round."),
		kong.Writers(e.stdout, e.stderr), kong.Exit(func(code int) { status = code; panic(exited{}) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}))
	if err != nil {
		return report(e, false, err)
	}
	parsed, err := parse(parser, args)
	if status >= 0 {
		return status // help was asked for and printed
	}
	if err != nil {
		command := "durward"
		var wrong *kong.ParseError
		if errors.As(err, &wrong) && wrong.Context != nil {
			command = strings.TrimSpace("durward " + firstWords(wrong.Context.Command()))
		}
		return report(e, slices.Contains(args, "--json"), &exitError{exitUsage, err, command + " --help shows what there is."})
	}
	machine := false
	if flag := parsed.Selected(); flag != nil {
		for _, f := range flag.Flags {
			machine = machine || f.Name == "json" && f.Target.Bool()
		}
	}
	if err := notEmpty(parsed); err != nil {
		return report(e, machine, err)
	}
	err = parsed.Run(e)
	if err == nil && out.err != nil {
		err = &exitError{exitUnreachable, fmt.Errorf("the output could not be written: %w", out.err), "What was to be done is done; what it printed is lost."}
	}
	if err != nil {
		return report(e, machine, err)
	}
	return exitDone
}

// notEmpty refuses a file, folder or address that was given as nothing: most
// often a variable of a script that is not set, where the default would be a
// surprise.
func notEmpty(parsed *kong.Context) error {
	for _, p := range parsed.Path {
		if f := p.Flag; f != nil && slices.Contains([]string{"config", "data", "listen"}, f.Name) && f.Target.String() == "" {
			return &exitError{exitUsage, fmt.Errorf("--%s is empty", f.Name), "Leave it out for the default. Is a variable not set?"}
		}
	}
	return nil
}

type exited struct{}

// parse parses args; kong leaves through Exit once it has printed help.
func parse(parser *kong.Kong, args []string) (parsed *kong.Context, err error) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(exited); !ok {
				panic(p)
			}
		}
	}()
	if len(args) == 0 {
		args = []string{"--help"}
	}
	return parser.Parse(args)
}

// firstWords is a command without the names of its arguments.
func firstWords(command string) string {
	var words []string
	for _, w := range strings.Fields(command) {
		if !strings.HasPrefix(w, "<") {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
}

// wanting is what can be reached, and is not what it has to be.
var wanting = []error{store.ErrWentBack, store.ErrOtherIssuer, store.ErrInUse, store.ErrNotEmpty, store.ErrNotBackup, store.ErrDiffers, fs.ErrExist}

// report prints what was wrong, then a hint, and returns the status.
func report(e *environment, machine bool, err error) int {
	status, hint := exitRefused, ""
	text := err.Error()
	var exit *exitError
	var refusal *durward.Refusal
	var open *store.OpenError
	switch {
	case errors.As(err, &exit):
		status, hint = exit.status, exit.hint
	case errors.As(err, &refusal) && refusal.Detail != "":
		text, hint = refusal.Detail, refusal.Hint
	case errors.As(err, &open):
		status, hint = exitUnreachable, open.Hint
		if slices.ContainsFunc(wanting, func(e error) bool { return errors.Is(err, e) }) {
			status = exitRefused
		}
	case errors.Is(err, seal.ErrWrongKey):
		status = exitUnreachable
	case errors.Is(err, store.ErrDamaged):
		status, hint = exitUnreachable, "Keep the file and restore the last backup. Is it the right file?"
	case errors.Is(err, store.ErrUnavailable):
		status, hint = exitUnreachable, "Is the disk full or read-only, or the folder somebody else's?"
	case errors.Is(err, store.ErrNewer):
		status = exitUnreachable
	}
	if machine {
		out := json.NewEncoder(e.stderr)
		out.SetEscapeHTML(false)
		_ = out.Encode(map[string]any{"error": text, "hint": hint, "status": status}) // a closed stderr hears nothing
		return status
	}
	for line := range strings.Lines(text) {
		e.say("%s", strings.TrimPrefix(strings.TrimSpace(line), "durward: "))
	}
	if hint != "" {
		e.say("hint: %s", hint)
	}
	return status
}
