package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/client"
	"github.com/durward-auth/durward/internal/printable"
	"github.com/durward-auth/durward/server/internal/doctor"
	"github.com/durward-auth/durward/server/internal/explain"
)

type fetchVerb struct {
	signInFolder
	URL           string        `arg:"" help:"URL to request."`
	Method        string        `short:"X" help:"Request method. Default: POST with --data, GET without." placeholder:"M"`
	Header        []string      `short:"H" sep:"none" help:"Header field to send, 'Name: value'. Can be repeated." placeholder:"FIELD"`
	Data          *string       `short:"d" help:"Request body. @FILE reads it from a file, @- from standard input." placeholder:"DATA"`
	Output        string        `short:"o" help:"File for the response body. Default: standard output." placeholder:"FILE"`
	Include       bool          `short:"i" help:"Print the status line and the header before the body."`
	Verbose       bool          `short:"v" help:"Print requests, responses and challenges to standard error, without secrets."`
	Location      bool          `short:"L" help:"Follow redirects. Other origins get no credentials."`
	User          string        `short:"u" xor:"credentials" help:"User name for Basic and Digest challenges. The password is read from a prompt or with --password-stdin." placeholder:"NAME"`
	PasswordStdin bool          `help:"Read the password of --user from standard input."`
	TokenStdin    bool          `xor:"credentials" help:"Send the access token or API key that standard input contains, as a Bearer token. It is not refreshed."`
	TokenFile     string        `xor:"credentials" help:"Send the access token or API key that a file contains, as a Bearer token." placeholder:"FILE"`
	Session       string        `xor:"credentials" help:"Use the sign-in at this server. Default: the first one that is valid for the URL's origin." placeholder:"SERVER"`
	MaxTime       time.Duration `help:"Time limit of the whole request." default:"5m"`
}

func (v fetchVerb) Run(e *environment) (err error) {
	_, origin, err := parseAddress(v.URL)
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
		transport.Base = verboseTransport{e, transport.Base}
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
		// The body is printed, and its refusal is reported.
		body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil {
			return unreachable("", "cannot read the response: %w", err)
		}
		resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), resp.Body))
		copied := *resp
		copied.Body = io.NopCloser(bytes.NewReader(body))
		refusal = clientError(client.CheckResponse(&copied))
		if n := len(body); n > 0 && body[n-1] != '\n' && v.Output == "" {
			resp.Body = io.NopCloser(io.MultiReader(resp.Body, strings.NewReader("\n"))) // before the error
		}
	}
	if err := v.print(e, resp); err != nil {
		return err
	}
	if r, ok := errors.AsType[*client.ResponseError](refusal); ok {
		noteSchemes(e, r.Challenges)
	}
	if exit, ok := errors.AsType[*exitError](refusal); ok && exit.hint == "" && (v.TokenStdin || v.TokenFile != "") {
		exit.hint = "durward token inspect shows the claims of the token."
	}
	return refusal
}

// noteSchemes explains the schemes of challenges if fetch can answer none of them.
func noteSchemes(e *environment, challenges []durward.Challenge) {
	var lines []string
	for _, c := range challenges {
		s, ok := explain.SchemeOf(c.Scheme)
		line := fmt.Sprintf("%s: durward does not know this scheme; the documentation of the server says how to answer it", printable.Line(c.Scheme, 60))
		if ok && s.Answered {
			return
		} else if ok {
			line = s.Name + ": " + s.Summary() + " More: durward explain " + s.Name
		}
		if !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	const most = 4
	for _, line := range lines[:min(most, len(lines))] {
		e.note("%s", line)
	}
}

// source returns the credentials for an origin: the password of --user, a token that the flags name, or
// a stored sign-in. It is nil if there are none.
func (v fetchVerb) source(e *environment, origin string) (client.Source, error) {
	if v.User != "" {
		password, err := e.password(v.PasswordStdin, fmt.Sprintf("Password of %s: ", printable.Text(v.User)))
		if err != nil {
			return nil, err
		}
		source := client.Password(client.PasswordConfig{Origin: origin, User: v.User, Password: password})
		if err := client.CheckSources(source); err != nil {
			return nil, usage("", "%w", err)
		}
		return source, nil
	}
	if v.TokenStdin || v.TokenFile != "" {
		token, err := readToken(e, cmp.Or(v.TokenFile, "-"))
		if err != nil {
			return nil, err
		}
		source := client.Key(client.KeyConfig{Origin: origin, Key: token, AsBearer: true})
		if err := client.CheckSources(source); err != nil {
			return nil, usage("", "%w", err)
		}
		return source, nil
	}
	server := ""
	if v.Session != "" {
		var err error
		if _, server, err = parseAddress(v.Session); err != nil {
			return nil, err
		}
	}
	all, err := v.all(e)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		if (server == "" || s.Server == server) && slices.Contains(s.Origins, origin) {
			if v.Verbose {
				e.note("* using the sign-in of %s at %s", s.Email, s.Server)
			}
			c, err := s.client()
			if err != nil {
				return nil, err
			}
			return c.Source(client.TokensConfig{Origins: s.Origins}), nil
		}
	}
	if server != "" {
		return nil, refused("Run durward login "+server+" --origin "+origin, "there is no sign-in at %s for %s", server, origin)
	}
	return nil, nil
}

// request builds the request that the flags describe.
func (v fetchVerb) request(e *environment) (*http.Request, error) {
	method := v.Method
	var body []byte
	if v.Data != nil {
		body = []byte(*v.Data)
		if name, isFile := strings.CutPrefix(*v.Data, "@"); isFile {
			var err error
			if name == "-" && (v.PasswordStdin || v.TokenStdin || v.TokenFile == "-") {
				return nil, usage("Read one of them from a file.", "standard input cannot be the body and a secret")
			} else if name == "-" {
				body, err = io.ReadAll(e.stdin)
			} else {
				body, err = os.ReadFile(name)
			}
			if err != nil {
				return nil, usage("", "cannot read the request body: %w", err)
			}
		}
		method = cmp.Or(method, http.MethodPost)
	}
	r, err := http.NewRequest(method, v.URL, bytes.NewReader(body))
	if err != nil {
		return nil, usage("", "%w", err)
	}
	r.Header.Set("User-Agent", "durward")
	if v.Data != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, field := range v.Header {
		name, value, ok := strings.Cut(field, ":")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, usage("Write -H 'Name: value'.", "%q is not a header field", name)
		}
		switch http.CanonicalHeaderKey(name) {
		case "Authorization", "Proxy-Authorization", "Cookie", "X-Api-Key":
			return nil, usage("Sign in with durward login, or use --token-file FILE for a token, --user NAME for Basic and Digest.",
				"%s may not be given as an argument, because every user of the machine can read arguments", name)
		case "Host": // net/http keeps it outside the header
			r.Host = strings.TrimSpace(value)
			continue
		}
		r.Header.Add(name, strings.TrimSpace(value))
	}
	return r, nil
}

// print writes the response to --output or standard output.
func (v fetchVerb) print(e *environment, resp *http.Response) error {
	to := e.stdout
	if v.Include {
		fmt.Fprintf(to, "%s %s\n", resp.Proto, resp.Status)
		for name, value := range fieldsOf(resp.Header) {
			fmt.Fprintf(to, "%s: %s\n", name, printable.Text(value))
		}
		fmt.Fprintln(to)
	}
	if v.Output != "" {
		f, err := os.OpenFile(v.Output, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return usage("", "%w", err)
		}
		_, err = io.Copy(f, resp.Body)
		if err = errors.Join(err, f.Close()); err != nil {
			return unreachable("", "%w", err)
		}
		return nil
	}
	if _, err := io.Copy(to, resp.Body); err != nil {
		return unreachable("", "cannot read the response: %w", err)
	}
	return nil
}

// fieldsOf returns the fields of a header by name.
func fieldsOf(h http.Header) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for _, name := range slices.Sorted(maps.Keys(h)) {
			for _, value := range h[name] {
				if !yield(name, value) {
					return
				}
			}
		}
	}
}

// verboseTransport prints requests and responses to standard error. Secrets are left out.
type verboseTransport struct {
	e *environment
	http.RoundTripper
}

func (t verboseTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.e.note("> %s %s", r.Method, doctor.Mask(r.URL.String()))
	for name, value := range fieldsOf(r.Header) {
		t.e.note("> %s: %s", name, doctor.MaskField(name, value))
	}
	resp, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	t.e.note("< %s", resp.Status)
	for name, value := range fieldsOf(resp.Header) {
		if name != "Www-Authenticate" {
			t.e.note("< %s: %s", name, doctor.MaskField(name, value))
		}
	}
	for _, line := range doctor.Challenges(resp.Header["Www-Authenticate"]) {
		for _, c := range line.Challenges {
			t.e.note("< challenge: %s", c.Scheme)
			for _, p := range c.Params {
				t.e.note("<   %s = %s", p.Name, doctor.Mask(p.Value))
			}
		}
		for _, e := range line.Errors {
			t.e.note("< invalid WWW-Authenticate, line %d, octet %d: %s", e.Line+1, e.Offset+1, e.Reason)
			text, caret := line.Place(e)
			t.e.note("<   %s", text)
			t.e.note("<   %s", caret)
		}
	}
	return resp, nil
}
