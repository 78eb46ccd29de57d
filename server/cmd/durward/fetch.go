package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/internal/printable"
)

type fetchVerb struct {
	kept
	URL           string        `arg:"" help:"What to fetch."`
	Method        string        `short:"X" help:"Method; POST where there is data, else GET." placeholder:"M"`
	Header        []string      `short:"H" sep:"none" help:"A field to send, 'Name: value'." placeholder:"FIELD"`
	Data          *string       `short:"d" help:"Body to send; @FILE reads it from a file, @- from standard input." placeholder:"DATA"`
	Output        string        `short:"o" help:"File to write the body to." placeholder:"FILE"`
	Include       bool          `short:"i" help:"Print status and fields before the body."`
	Verbose       bool          `short:"v" help:"Show on standard error what is sent, what comes back and which challenges are in it; never a secret."`
	Location      bool          `short:"L" help:"Follow redirects; no credentials go to another origin."`
	User          string        `short:"u" help:"Answer Basic and Digest challenges as this user; the password is asked for, or read with --password-stdin." placeholder:"NAME"`
	PasswordStdin bool          `help:"Read that password from standard input."`
	Session       string        `help:"Use the sign-in at this server, whatever the URL is among its origins." placeholder:"SERVER"`
	MaxTime       time.Duration `help:"Give up after this time." default:"5m"`
}

func (v fetchVerb) Run(e *environment) (err error) {
	_, origin, err := address(v.URL)
	if err != nil {
		return err
	}
	source, err := v.source(e, origin)
	if err != nil {
		return err
	}
	r, err := v.request(e)
	if err != nil {
		return err
	}
	transport := &client.Transport{Base: http.DefaultTransport}
	if source != nil {
		transport.Sources = []client.Source{source}
	}
	if v.Verbose {
		transport.Base = watched{e, transport.Base}
	}
	c := &http.Client{Transport: transport, Timeout: v.MaxTime}
	if !v.Location {
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	resp, err := c.Do(r.WithContext(e))
	if err != nil {
		return clientError(err)
	}
	defer resp.Body.Close()
	var refusal error
	if resp.StatusCode >= http.StatusBadRequest {
		// What it says is shown to the person; the body goes where it was asked for.
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil {
			return &exitError{exitUnreachable, fmt.Errorf("the answer broke off: %w", err), ""}
		}
		resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), resp.Body))
		said := *resp
		said.Body = io.NopCloser(bytes.NewReader(body))
		refusal = clientError(client.CheckResponse(&said))
	}
	if err := v.print(e, resp); err != nil {
		return err
	}
	return refusal
}

// source is the credentials for an origin: a password, or the sign-in that is for it.
func (v fetchVerb) source(e *environment, origin string) (client.Source, error) {
	if v.User != "" {
		password, err := v.password(e)
		if err != nil {
			return nil, err
		}
		source := client.Password(client.PasswordConfig{Origin: origin, User: v.User, Password: password})
		if err := client.CheckSources(source); err != nil {
			return nil, &exitError{exitUsage, err, ""}
		}
		return source, nil
	}
	server := ""
	if v.Session != "" {
		var err error
		if _, server, err = address(v.Session); err != nil {
			return nil, err
		}
	}
	all, err := v.all(e)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if server != "" && s.Server != server {
			continue
		}
		if slices.Contains(s.Origins, origin) {
			if v.Verbose {
				e.say("* the sign-in of %s at %s", s.Email, s.Server)
			}
			return client.Tokens(s.config()), nil
		}
	}
	if server != "" {
		return nil, refused("durward login "+server+" --origin "+origin, "there is no sign-in at %s that is for %s", server, origin)
	}
	return nil, nil
}

func (v fetchVerb) password(e *environment) (string, error) {
	if v.PasswordStdin {
		return e.secretFromStdin()
	}
	f, err := e.terminal("Send it to standard input and say --password-stdin.")
	if err != nil {
		return "", err
	}
	return e.askSecret(f, fmt.Sprintf("Password of %s: ", printable.Text(v.User)))
}

// request is what the flags say.
func (v fetchVerb) request(e *environment) (*http.Request, error) {
	method := v.Method
	var body []byte
	if v.Data != nil {
		body = []byte(*v.Data)
		if name, isFile := strings.CutPrefix(*v.Data, "@"); isFile {
			var err error
			if name == "-" {
				body, err = io.ReadAll(e.stdin)
			} else {
				body, err = os.ReadFile(name)
			}
			if err != nil {
				return nil, &exitError{exitUsage, fmt.Errorf("the data cannot be read: %w", err), ""}
			}
		}
		if method == "" {
			method = http.MethodPost
		}
	}
	r, err := http.NewRequest(method, v.URL, bytes.NewReader(body))
	if err != nil {
		return nil, &exitError{exitUsage, err, ""}
	}
	r.Header.Set("User-Agent", "durward")
	if v.Data != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, field := range v.Header {
		name, value, ok := strings.Cut(field, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, &exitError{exitUsage, fmt.Errorf("%q is no field", name), "Write -H 'Name: value'."}
		}
		switch http.CanonicalHeaderKey(name) {
		case "Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key":
			return nil, &exitError{exitUsage, fmt.Errorf("%s is not taken from the command line, which everybody on the machine can read", name), "durward login signs in; -u NAME answers Basic and Digest."}
		case "Host": // which package net/http has beside the header
			r.Host = strings.TrimSpace(value)
			continue
		}
		r.Header.Add(name, strings.TrimSpace(value))
	}
	return r, nil
}

// print writes the answer where it was asked for.
func (v fetchVerb) print(e *environment, resp *http.Response) error {
	to := e.stdout
	if v.Include {
		fmt.Fprintf(to, "%s %s\n", resp.Proto, resp.Status)
		for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
			for _, value := range resp.Header[name] {
				fmt.Fprintf(to, "%s: %s\n", name, printable.Text(value))
			}
		}
		fmt.Fprintln(to)
	}
	if v.Output != "" {
		f, err := os.OpenFile(v.Output, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return &exitError{exitUsage, err, ""}
		}
		_, err = io.Copy(f, resp.Body)
		if err = errors.Join(err, f.Close()); err != nil {
			return &exitError{exitUnreachable, err, ""}
		}
		return nil
	}
	if _, err := io.Copy(to, resp.Body); err != nil {
		return &exitError{exitUnreachable, fmt.Errorf("the answer broke off: %w", err), ""}
	}
	return nil
}

// watched shows what goes over the wire, without what is secret in it.
type watched struct {
	e *environment
	http.RoundTripper
}

func (w watched) RoundTrip(r *http.Request) (*http.Response, error) {
	w.e.say("> %s %s", r.Method, r.URL.Redacted())
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, value := range r.Header[name] {
			switch name {
			case "Authorization", "Proxy-Authorization":
				scheme, _, _ := strings.Cut(value, " ")
				value = scheme + " …"
			case "Dpop", "X-Api-Key", "Cookie":
				value = "…"
			}
			w.e.say("> %s: %s", name, value)
		}
	}
	resp, err := w.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	w.e.say("< %s", resp.Status)
	for _, name := range slices.Sorted(maps.Keys(resp.Header)) {
		if name == "Www-Authenticate" || name == "Set-Cookie" {
			continue
		}
		for _, value := range resp.Header[name] {
			w.e.say("< %s: %s", name, value)
		}
	}
	challenges, err := durward.ParseChallenges(resp.Header["Www-Authenticate"])
	for _, c := range challenges {
		w.e.say("< challenge: %s", c.Scheme)
		for _, p := range c.Params {
			w.e.say("<   %s = %s", p.Name, p.Value)
		}
	}
	if err != nil {
		w.e.say("< WWW-Authenticate cannot be read: %v", err)
	}
	return resp, nil
}
