// Durward is an authentication server with its command line tools in one binary.
//
// Each verb has a file of its own. The others are data.go (opens the database and the master key
// for a verb), demo.go, signin.go (sign-ins that login keeps for fetch), terminal.go (prompts,
// standard input and output) and errors.go (exit statuses, messages and hints).
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// verbs is the table of verbs.
type verbs struct {
	Serve   serveVerb   `cmd:"" help:"Run the server."`
	User    userVerbs   `cmd:"" help:"Manage users: add, list, show, set password, lock, unlock."`
	Token   tokenVerbs  `cmd:"" help:"Inspect, verify and issue access tokens."`
	APIKey  apikeyVerbs `cmd:"" name:"apikey" help:"Manage API keys: add, list, revoke."`
	Login   loginVerb   `cmd:"" help:"Sign in to a Durward server and store the tokens for fetch."`
	Fetch   fetchVerb   `cmd:"" help:"Call a protected URL with a stored sign-in or a password."`
	Logout  logoutVerb  `cmd:"" help:"Sign out of a Durward server and delete the stored tokens."`
	Why     whyVerb     `cmd:"" help:"Explain why this server refused a request."`
	Explain explainVerb `cmd:"" help:"Explain a refusal code and the remedies."`
	Key     keyVerbs    `cmd:"" help:"Manage signing keys: list, rotate, retire."`
	DB      dbVerbs     `cmd:"" name:"db" help:"Manage the database: backup, restore, copy, migrate, check."`
	Config  configVerbs `cmd:"" help:"Check, show and document the configuration."`
	Version versionVerb `cmd:"" help:"Print the version."`
}

func main() {
	e := &environment{context.Background(), os.Stdin, os.Stdout, os.Stderr, os.Environ()}
	os.Exit(run(e, os.Args[1:]))
}

// run executes the command line args and returns the exit status.
func run(e *environment, args []string) int {
	var v verbs
	status := -1
	out := &checkedWriter{w: e.stdout}
	e.stdout = out
	parser, err := kong.New(&v, kong.Name("durward"), kong.UsageOnError(),
		kong.Description("Authentication server for HTTP, with its command line tools. It needs no configuration. Try: durward serve --demo"),
		kong.Writers(e.stdout, e.stderr), kong.Exit(func(code int) { status = code; panic(helpPrinted{}) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true}))
	if err != nil {
		return report(e, false, err)
	}
	parsed, err := parse(parser, args)
	if status >= 0 {
		return status
	}
	if err != nil {
		command := "durward"
		var wrong *kong.ParseError
		if errors.As(err, &wrong) && wrong.Context != nil {
			command = strings.TrimSpace("durward " + withoutArguments(wrong.Context.Command()))
		}
		text := strings.Replace(err.Error(), "expected ", "missing argument ", 1)
		return report(e, slices.Contains(args, "--json"), &exitError{exitUsage, errors.New(text), "Run " + command + " --help for usage."})
	}
	asJSON := false
	if flag := parsed.Selected(); flag != nil {
		for _, f := range flag.Flags {
			asJSON = asJSON || f.Name == "json" && f.Target.Bool()
		}
	}
	if err := checkNotEmpty(parsed); err != nil {
		return report(e, asJSON, err)
	}
	err = parsed.Run(e)
	if err == nil && out.err != nil {
		err = &exitError{
			exitUnreachable, fmt.Errorf("cannot write the output: %w", out.err),
			"The command was executed; only its output is lost.",
		}
	}
	if err != nil {
		return report(e, asJSON, err)
	}
	return exitDone
}

// helpPrinted is the panic value with which kong's Exit leaves Parse after it printed help.
type helpPrinted struct{}

// parse parses args. Without arguments it prints help.
func parse(parser *kong.Kong, args []string) (parsed *kong.Context, err error) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(helpPrinted); !ok {
				panic(p)
			}
		}
	}()
	if len(args) == 0 {
		args = []string{"--help"}
	}
	return parser.Parse(args)
}

// checkNotEmpty refuses --config, --data and --listen with an empty value. It is mostly an unset
// variable of a shell script, and to use the default instead would surprise.
func checkNotEmpty(parsed *kong.Context) error {
	for _, p := range parsed.Path {
		if f := p.Flag; f != nil && slices.Contains([]string{"config", "data", "listen"}, f.Name) && f.Target.String() == "" {
			return &exitError{exitUsage, fmt.Errorf("--%s is empty", f.Name), "Omit the flag to use the default. Is a shell variable unset?"}
		}
	}
	return nil
}

// withoutArguments removes the <names> of arguments from a command's usage line.
func withoutArguments(command string) string {
	words := slices.DeleteFunc(strings.Fields(command), func(w string) bool { return strings.HasPrefix(w, "<") })
	return strings.Join(words, " ")
}
