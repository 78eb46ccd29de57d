// Durward is an authentication server with its command line tools in one binary.
//
// Each verb has a file of its own. The others are data.go (opens the database and the master key for a
// verb), demo.go, signin.go (sign-ins that login keeps for fetch), terminal.go (prompts, standard input
// and output) and errors.go (exit statuses, messages and hints). help.go and completion.go read the same
// table of verbs as the parser.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// verbs is the table of verbs.
type verbs struct {
	Serve   serveVerb    `cmd:"" help:"Run the server."`
	User    userVerbs    `cmd:"" help:"Manage users: add, import, list, show, set password, lock, unlock, set, delete, export, groups."`
	Session sessionVerbs `cmd:"" help:"Manage sessions of users: list, end."`
	Token   tokenVerbs   `cmd:"" help:"Inspect, verify and issue access tokens."`
	APIKey  apikeyVerbs  `cmd:"" name:"apikey" help:"Manage API keys: add, list, revoke."`
	Client  clientVerbs  `cmd:"" help:"Manage clients of OAuth: add, list, show, set, secret, disable, enable, delete."`
	Login   loginVerb    `cmd:"" help:"Sign in to a Durward server and store the tokens for fetch."`
	Fetch   fetchVerb    `cmd:"" help:"Call a protected URL with a stored sign-in, a token or a password."`
	Logout  logoutVerb   `cmd:"" help:"Sign out of a Durward server and delete the stored tokens."`
	Doctor  doctorVerb   `cmd:"" help:"Find out why any server refused a request: from a HAR, a curl command, a raw exchange, a token, a log or a URL."`
	MCP     mcpVerb      `cmd:"" name:"mcp" help:"Serve doctor, explain and token inspect to an AI agent on standard input and output (Model Context Protocol)."`
	Why     whyVerb      `cmd:"" help:"Explain why this server refused a request."`
	Explain explainVerb  `cmd:"" help:"Explain a refusal code and the remedies."`
	Check   checkVerb    `cmd:"" help:"Check how a server refuses requests, against the standards."`
	Lab     labVerb      `cmd:"" help:"Serve a known refusal at each URL, for tests of clients."`
	Key     keyVerbs     `cmd:"" help:"Manage signing keys: list, rotate, retire."`
	Event   eventVerbs   `cmd:"" help:"Read the security log: list, follow."`
	DB      dbVerbs      `cmd:"" name:"db" help:"Manage the database: backup, restore, copy, migrate, check."`
	Config  configVerbs  `cmd:"" help:"Check, show and document the configuration."`
	Version versionVerb  `cmd:"" help:"Print the version, as durward --version does."`

	Help       helpVerb       `cmd:"" help:"Print the usage of a verb, or the manual page."`
	Completion completionVerb `cmd:"" help:"Print the completion script for a shell."`
	Complete   completeVerb   `cmd:"" hidden:"" help:"Print completions of the last word, for the scripts of durward completion."`
}

func main() {
	e := &environment{
		Context:   context.Background(),
		stdin:     os.Stdin,
		stdout:    os.Stdout,
		stderr:    os.Stderr,
		variables: os.Environ(),
	}
	os.Exit(run(e, os.Args[1:]))
}

// run executes the command line args and returns the exit status.
func run(e *environment, args []string) int {
	status := -1
	out := &checkedWriter{w: e.stdout}
	e.stdout = out
	exit := func(code int) { status, out.w = code, io.Discard } // kong printed help and parses on
	parser, err := newParser(kong.Writers(e.stdout, e.stderr), kong.Exit(exit))
	if err != nil {
		return report(e, false, err)
	}
	switch {
	case len(args) == 0:
		args = []string{"--help"}
	case args[0] == "--version":
		args[0] = "version"
	case args[0] == "help" && !slices.ContainsFunc(args, isFlag): // durward help VERB is durward VERB --help
		args = append(slices.Clone(args[1:]), "--help")
	}
	parsed, err := parser.Parse(args)
	if status >= 0 {
		return status
	}
	if err != nil {
		command := "durward"
		if wrong, ok := errors.AsType[*kong.ParseError](err); ok && wrong.Context != nil {
			command = strings.TrimSpace("durward " + withoutArguments(wrong.Context.Command()))
		}
		text := err.Error()
		if rest, ok := strings.CutPrefix(text, "expected "); ok {
			text = "missing argument " + rest
		}
		return report(e, slices.Contains(args, "--json"), &exitError{exitUsage, errors.New(text), "Run " + command + " --help for usage."})
	}
	if err = checkNotEmpty(parsed); err == nil {
		err = parsed.Run(e)
	}
	if e.close != nil {
		err = errors.Join(err, e.close())
	}
	if err == nil && out.err != nil {
		err = unreachable("The command was executed; only its output is lost.", "cannot write the output: %w", out.err)
	}
	if err != nil {
		asJSON := slices.ContainsFunc(parsed.Flags(), func(f *kong.Flag) bool { return f.Name == "json" && f.Target.Bool() })
		return report(e, asJSON, err)
	}
	return exitDone
}

// newParser returns the parser of the command line.
func newParser(options ...kong.Option) (*kong.Kong, error) {
	return kong.New(new(verbs), append(options, kong.Name("durward"),
		kong.Description("Authentication server for HTTP, with its command line tools. It needs no configuration. Try: durward serve --demo"),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}))...)
}

// isFlag reports whether a word of the command line is a flag.
func isFlag(word string) bool { return strings.HasPrefix(word, "-") }

// checkNotEmpty refuses --config, --data and --listen with an empty value. It is mostly an unset
// variable of a shell script, and to use the default instead would surprise.
func checkNotEmpty(parsed *kong.Context) error {
	for _, p := range parsed.Path {
		if f := p.Flag; f != nil && slices.Contains([]string{"config", "data", "listen"}, f.Name) && f.Target.String() == "" {
			return usage("Omit the flag to use the default. Is a shell variable unset?", "--%s is empty", f.Name)
		}
	}
	return nil
}

// withoutArguments removes the <names> of arguments from a command's usage line.
func withoutArguments(command string) string {
	words := slices.DeleteFunc(strings.Fields(command), func(w string) bool { return strings.HasPrefix(w, "<") })
	return strings.Join(words, " ")
}
