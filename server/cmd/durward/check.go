package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/durward-auth/durward/internal/check"
)

type checkVerb struct {
	output
	URL          string `arg:"" help:"Protected URL. It is asked with GET, HEAD and OPTIONS."`
	TokenFile    string `help:"File with a token that the URL accepts." placeholder:"FILE"`
	ExpiredFile  string `help:"File with an expired token." placeholder:"FILE"`
	AudienceFile string `help:"File with a token for another audience." placeholder:"FILE"`
	NoScopeFile  string `help:"File with a token that lacks the scope." placeholder:"FILE"`
	Origin       string `help:"Origin whose pages may call the URL, such as https://app.example.com." placeholder:"ORIGIN"`
	Proxy        string `help:"Proxy that must ask for credentials, such as http://proxy.example.com:3128." placeholder:"URL"`
	AllowHTTP    bool   `name:"allow-http" help:"Allow plain http beyond this machine. Others can then read the tokens."`
	JUnit        string `name:"junit" help:"File for the report as JUnit XML." placeholder:"FILE"`
	SARIF        string `name:"sarif" help:"File for the report as SARIF 2.1.0." placeholder:"FILE"`
	Artifact     string `help:"File that results of SARIF belong to, such as nginx.conf. Default: the URL." placeholder:"FILE"`
	Badge        string `help:"File for an SVG image with the score." placeholder:"FILE"`
}

func (v checkVerb) Run(e *environment) error {
	c := check.Config{URL: v.URL, Origin: v.Origin, AllowHTTP: v.AllowHTTP}
	if _, _, err := parseAddress(v.URL); err != nil {
		return err
	}
	if v.Proxy != "" {
		var err error
		if c.Proxy, _, err = parseAddress(v.Proxy); err != nil {
			return err
		}
	}
	for _, t := range []struct {
		file string
		to   *string
	}{{v.TokenFile, &c.Good}, {v.ExpiredFile, &c.Expired}, {v.AudienceFile, &c.Audience}, {v.NoScopeFile, &c.NoScope}} {
		if t.file != "" {
			var err error
			if *t.to, err = readToken(e, t.file); err != nil {
				return err
			}
		}
	}
	for _, line := range c.Plan() {
		e.note("will send: %s", line)
	}
	erase := v.progress(e, &c)
	r, err := check.Run(e, c)
	erase()
	if errors.Is(err, check.ErrConfig) {
		return usage("", "%w", err)
	} else if err != nil {
		return unreachable("Check the URL, the name server, the certificate and the firewall.", "%w", err)
	}
	if err := v.write(r); err != nil {
		return err
	}
	if v.JSON {
		err = e.json(r)
	} else {
		_, err = fmt.Fprint(e.stdout, r.Text(e.width()))
	}
	if err != nil {
		return err
	}
	if r.MustFailed() {
		return refused("The report names the clause and the remedy of each.", "a MUST of the standards failed: %s", r.Summary())
	}
	if len(r.Notes) > 0 {
		return refused("", "the check is not complete: %s", strings.TrimSuffix(r.Notes[0], "."))
	}
	return nil
}

// width returns the width of the terminal at standard output and whether it shows colours. Without a
// terminal it is 80 columns without colours.
func (e *environment) width() (columns int, colour bool) {
	out := e.stdout
	if checked, ok := out.(*checkedWriter); ok {
		out = checked.w
	}
	f, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 80, false
	}
	colour = e.variable("NO_COLOR") == "" && e.variable("TERM") != "dumb"
	if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
		return min(columns, 120), colour
	}
	return 80, colour
}

// progress draws the number of requests on a terminal. The function that it returns erases it.
func (v checkVerb) progress(e *environment, c *check.Config) (erase func()) {
	f, ok := e.stderr.(*os.File)
	if !ok || v.JSON || !term.IsTerminal(int(f.Fd())) {
		return func() {}
	}
	c.OnRequest = func(_ string, number, planned int) { drawBar(f, "requests", int64(number), int64(planned), "") }
	return func() { fmt.Fprint(f, "\r\x1b[K") }
}

// write writes the files that the flags name.
func (v checkVerb) write(r *check.Report) error {
	for _, to := range []struct {
		file string
		make func() ([]byte, error)
	}{
		{v.JUnit, r.JUnit},
		{v.SARIF, func() ([]byte, error) { return r.SARIF(v.artifact()) }},
		{v.Badge, func() ([]byte, error) { return r.Badge(), nil }},
	} {
		if to.file == "" {
			continue
		}
		text, err := to.make()
		if err == nil {
			err = os.WriteFile(to.file, text, 0o644)
		}
		if err != nil {
			return unreachable("Name a file in a folder that exists.", "cannot write the report: %w", err)
		}
	}
	return nil
}

// artifact returns the flag --artifact as a relative reference of a URI (RFC 3986 s4.2).
func (v checkVerb) artifact() string {
	return (&url.URL{Path: v.Artifact}).EscapedPath()
}
