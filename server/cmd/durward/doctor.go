package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/term"

	"github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/internal/check"
	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/server/internal/doctor"
)

type doctorVerb struct {
	output
	Input string `arg:"" optional:"" help:"A file, - for standard input, a URL to ask, or the identifier of a refusal. Default: standard input."`
	As    string `help:"Read the input as this kind: har, curl, raw, transcript, token, url, denial or text. Default: by its content." placeholder:"KIND"`
	Entry int    `help:"Explain this entry of a HAR, counted from 1. Default: the last refusal." placeholder:"N"`
	Rules bool   `help:"Print each rule that holds."`

	Share       bool `help:"Print Markdown for an issue, without names of hosts and paths." xor:"form"`
	KeepHosts   bool `help:"Keep the names of hosts and paths in --share."`
	ShowSecrets bool `help:"Print the exchange with its secrets after the report. A terminal only."`

	Probe         bool     `help:"Ask the server of the input again: GET, HEAD and OPTIONS alone, 12 requests at most."`
	Method        string   `short:"X" help:"Request method for a URL: GET, HEAD or OPTIONS." placeholder:"M"`
	Header        []string `short:"H" sep:"none" help:"Field to send to a URL, 'Name: value', without secrets. Can be repeated." placeholder:"FIELD"`
	Fields        string   `help:"File with fields that are credentials, a line each, sent to the origin of the URL alone." placeholder:"FILE"`
	User          string   `short:"u" help:"User name for Basic and Digest challenges. The password is read from a prompt or with --password-stdin." placeholder:"NAME"`
	PasswordStdin bool     `help:"Read the password of --user from standard input."`
	Cert          string   `help:"PEM file with the certificate and key of the client." placeholder:"FILE"`
	AllowHTTP     bool     `name:"allow-http" help:"Ask servers other than this machine with plain http."`
}

// identifier matches the identifier of a refusal of a Durward server (a ULID).
var identifier = regexp.MustCompile(`^(urn:durward:denial:)?[0-7][0-9A-HJKMNP-TV-Z]{25}$`)

func (v doctorVerb) Run(e *environment) error {
	if v.ShowSecrets && !isTerminal(e.stdout) {
		return usage("Omit --show-secrets.", "--show-secrets prints to a terminal alone")
	}
	c, err := v.read(e)
	if err != nil {
		return err
	}
	if c.Kind == doctor.KindDenial && c.Refusal() == nil {
		return refused("Run durward why "+c.DenialID+" --data DIR on the machine of the server.",
			"%s is the identifier of a refusal: its server alone knows the cause", c.DenialID)
	}
	var notReached error
	if c.Kind == doctor.KindURL || v.Probe {
		if c, notReached, err = v.probe(e, c); err != nil {
			return err
		}
	}
	var rules []string
	report := doctor.Diagnose(c, doctor.WithTrace(&rules))
	switch {
	case v.JSON:
		err = e.json(report)
	case v.Share:
		_, err = io.WriteString(e.stdout, report.Markdown(v.KeepHosts))
	default:
		_, err = io.WriteString(e.stdout, report.Text(v.style(e)))
		if v.Rules {
			fmt.Fprintf(e.stdout, "\nRules that hold:\n  %s\n", strings.Join(rules, "\n  "))
		}
		if v.ShowSecrets {
			showSecrets(e.stdout, c.Refusal())
		}
	}
	switch {
	case err != nil:
		return err
	case notReached != nil:
		return unreachable("Check the address, the network and the certificate of the server.", "%w", notReached)
	case report.Verdict == doctor.Undecided || report.Verdict == doctor.Possible:
		return errUndecided
	}
	return nil
}

// errUndecided sets exit status 1 after a report without a likely cause. The report says all.
var errUndecided = &exitError{status: exitRefused, err: errors.New("the input cannot decide the cause"), hint: "The report names the next test."}

// style returns the width and colours of the terminal. NO_COLOR switches colours off.
func (v doctorVerb) style(e *environment) doctor.Style {
	s := doctor.Style{}
	if f, ok := e.stdout.(*checkedWriter); ok && isTerminal(f) {
		s.Colour = e.variable("NO_COLOR") == "" && e.variable("TERM") != "dumb"
		if file, ok := f.w.(*os.File); ok {
			if width, _, err := term.GetSize(int(file.Fd())); err == nil && width >= 40 {
				s.Width = min(width, 120)
			}
		}
	}
	return s
}

// isTerminal reports whether w writes to a terminal.
func isTerminal(w io.Writer) bool {
	if c, ok := w.(*checkedWriter); ok {
		w = c.w
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// read reads the input of the command line.
func (v doctorVerb) read(e *environment) (*doctor.Case, error) {
	var from io.Reader
	switch {
	case strings.HasPrefix(v.Input, "http://"), strings.HasPrefix(v.Input, "https://"):
		u, _, err := parseAddress(v.Input)
		if err != nil {
			return nil, err
		}
		return &doctor.Case{Kind: doctor.KindURL, URL: u.String(), Subject: -1}, nil
	case identifier.MatchString(v.Input):
		from = strings.NewReader(v.Input)
	case v.Input == "" || v.Input == "-":
		if v.PasswordStdin {
			return nil, usage("Name a file or a URL.", "standard input cannot be the input and the password")
		}
		if f, ok := e.stdin.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
			e.note("Paste the exchange, a curl command, a token or a log. End with Ctrl-D.")
		}
		from = e.stdin
	default:
		f, err := os.Open(v.Input)
		if err != nil {
			return nil, usage("Name a file, - for standard input, or a URL that begins with https://.", "cannot read the input: %w", err)
		}
		defer f.Close()
		from = f
	}
	c, err := doctor.Read(from, doctor.Options{As: doctor.Kind(v.As), Entry: v.Entry})
	if wrong, ok := errors.AsType[*doctor.InputError](err); ok {
		return nil, usage(wrong.Hint, "%s", wrong.Problem)
	} else if err != nil {
		return nil, usage("", "%w", err)
	}
	return c, nil
}

// probe asks the server of c. notReached is the error of a server that did not respond.
func (v doctorVerb) probe(e *environment, c *doctor.Case) (asked *doctor.Case, notReached, err error) {
	config, left, err := doctor.ProbeOf(c)
	if err != nil {
		return nil, nil, usage("Name the URL: durward doctor https://HOST/PATH.", "%w", err)
	}
	config.AllowHTTP = v.AllowHTTP
	if v.Method != "" {
		config.Method = v.Method
	}
	plain, err := v.header()
	if err != nil {
		return nil, nil, err
	}
	config.Header = append(config.Header, plain...)
	if v.Fields != "" {
		secret, err := readFields(v.Fields)
		if err != nil {
			return nil, nil, err
		}
		config.Credentials = append(config.Credentials, secret...)
	}
	if v.User != "" {
		_, origin, err := parseAddress(config.URL)
		if err != nil {
			return nil, nil, err
		}
		password, err := e.password(v.PasswordStdin, fmt.Sprintf("Password of %s: ", printable.Text(v.User)))
		if err != nil {
			return nil, nil, err
		}
		config.Source = client.Password(client.PasswordConfig{Origin: origin, User: v.User, Password: password, InsecureBasic: v.AllowHTTP})
		if err := client.CheckSources(config.Source); err != nil {
			return nil, nil, usage("", "%w", err)
		}
	}
	if v.Cert != "" {
		certificate, err := tls.LoadX509KeyPair(v.Cert, v.Cert)
		if err != nil {
			return nil, nil, usage("Write certificate and key to one PEM file.", "cannot use the certificate: %w", err)
		}
		config.Certificate = &certificate
	}
	for _, text := range left {
		e.note("%s", text)
	}
	e.note("durward doctor sends:")
	for _, text := range config.Plan() {
		e.note("  %s", text)
	}
	config.OnRequest = func(text string) { e.note("> %s", text) }
	found, err := doctor.Probe(e, config)
	switch {
	case errors.Is(err, check.ErrConfig):
		return nil, nil, usage("", "%w", err)
	case errors.Is(err, context.Canceled):
		return nil, nil, err
	}
	if len(c.Exchanges) > 0 && found != nil {
		// The given exchanges are the history of the probe.
		found.Exchanges = append(slices.Clone(c.Exchanges), found.Exchanges...)
		found.Subject += len(c.Exchanges)
		found.Notes = append(slices.Clone(c.Notes), found.Notes...)
		found.Kind = c.Kind
	}
	return found, err, nil
}

// header returns the fields of -H. It refuses secrets, which arguments would show to every user of the
// machine.
func (v doctorVerb) header() (doctor.Fields, error) {
	var header doctor.Fields
	for _, line := range v.Header {
		f, err := field(line)
		if err != nil {
			return nil, usage("Write -H 'Name: value'.", "%w", err)
		}
		if doctor.SecretField(f.Name) {
			return nil, usage("Write the line to a file and use --fields FILE, or paste the curl command to standard input.",
				"%s may not be given as an argument, because every user of the machine can read arguments", f.Name)
		}
		header = append(header, f)
	}
	return header, nil
}

// readFields reads a file with a field in each line.
func readFields(name string) (doctor.Fields, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, usage("", "cannot read the fields: %w", err)
	}
	var header doctor.Fields
	number := 0
	for line := range bytes.Lines(text) {
		number++
		line := strings.TrimRight(string(line), "\r\n")
		if line == "" {
			continue
		}
		f, err := field(line)
		if err != nil {
			return nil, usage("Write a field in each line: Authorization: Bearer …", "line %d of %s: it has no name", number, name)
		}
		header = append(header, f)
	}
	return header, nil
}

// fieldName matches the name of a field (RFC 9110 s5.1).
var fieldName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// field parses 'Name: value'.
func field(line string) (doctor.Field, error) {
	name, value, ok := strings.Cut(line, ":")
	if name = strings.TrimSpace(name); !ok || !fieldName.MatchString(name) {
		return doctor.Field{}, fmt.Errorf("%q is not a header field", printable.Line(name, 40))
	}
	return doctor.Field{Name: name, Value: strings.TrimSpace(value)}, nil
}

// showSecrets prints the lines of an exchange, with octets that are not printable in the form of Go.
func showSecrets(w io.Writer, e *doctor.Exchange) {
	if e == nil {
		return
	}
	fmt.Fprintln(w, "\nThe exchange with its secrets:")
	if r := e.Request; r != nil {
		fmt.Fprintf(w, "> %s %q\n", printable.Line(r.Method, 40), r.URL)
		for _, f := range r.Header {
			fmt.Fprintf(w, "> %s: %q\n", printable.Line(f.Name, 80), f.Value)
		}
	}
	if r := e.Response; r != nil {
		fmt.Fprintf(w, "< %d\n", r.Status)
		for _, f := range r.Header {
			fmt.Fprintf(w, "< %s: %q\n", printable.Line(f.Name, 80), f.Value)
		}
	}
}
