// Package check asks a protected address as good and bad clients would, and compares each refusal
// with the standards of HTTP authentication. It serves `durward check` and durwardtest.Check.
//
// Run sends its requests first (ask.go) and judges afterwards: each row of the table (rows.go) reads
// the answers that it needs. A row judges one subject. If a fault of another row hides its subject,
// such as a missing challenge, the row does not apply. So each fault costs its own points alone.
//
// Requests go to the origin of the address and to its proxy, never to an origin that a response
// names. One exception: the same host and path over http get a request without credentials.
// Tokens are sent to the address alone, and no text of a report contains one.
package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/durward-auth/durward/internal/loopback"
	"github.com/durward-auth/durward/internal/printable"
)

// Schema names the form of a Report in JSON.
const Schema = "durward.check/1"

// Bounds of one check.
const (
	maxRequests  = 32
	maxEach      = 10 * time.Second
	maxTime      = 45 * time.Second
	maxBody      = 1 << 20
	maxRedirects = 5
)

// Config describes a check.
type Config struct {
	// URL is the protected address, http or https, without a user part. It answers GET.
	URL string

	// Tokens for URL. A row that needs one does not apply without it.
	Good     string // accepted
	Expired  string // like Good, but expired
	Audience string // like Good, but for another audience
	NoScope  string // like Good, but without the scope that URL needs

	Origin    string   // origin of pages that may call URL; empty: an unknown origin
	Proxy     *url.URL // a forward proxy that requires authentication; nil: proxy-407 does not apply
	AllowHTTP bool     // allow plain http beyond loopback

	// Transport sends the requests; nil: a transport that uses the proxy of the environment.
	Transport *http.Transport

	// OnRequest is told of each request before it is sent; nil: no report. planned is the number of
	// requests that are expected in all.
	OnRequest func(text string, number, planned int)
}

// ErrConfig is wrapped by errors of Run that a corrected Config avoids. Other errors mean that the
// server was not reached.
var ErrConfig = errors.New("cannot ask the server")

// Outcome is the result of one row.
type Outcome string

// The outcomes of a row.
const (
	Passed        Outcome = "passed"
	Failed        Outcome = "failed"
	NotApplicable Outcome = "not_applicable"
)

// Result is one row of a Report.
type Result struct {
	ID      string  `json:"id"`
	Subject string  `json:"subject"` // the rule in one sentence
	Clause  string  `json:"clause"`  // such as "RFC 9110 s15.5.2"
	Must    bool    `json:"must"`    // the standard says MUST
	Points  int     `json:"points"`
	Outcome Outcome `json:"outcome"`
	Text    string  `json:"text"` // the answer of the server, or the reason if the row does not apply; without secrets
	Fix     string  `json:"fix,omitzero"`
}

// Report is the outcome of a check. It holds no secret.
type Report struct {
	SchemaName string   `json:"schema"` // Schema
	URL        string   `json:"url"`    // without query
	Score      int      `json:"score"`  // percent of the points of the rows that apply, rounded down
	Gained     int      `json:"gained"`
	Possible   int      `json:"possible"`
	Forged     bool     `json:"forged_accepted"` // a forged token was accepted; Score is 0
	Rows       []Result `json:"rows"`
	Notes      []string `json:"notes"` // why the check is not complete
	Requests   []string `json:"requests"`
	Limits     []string `json:"limits_met"`
}

// MustFailed reports whether a row with a MUST of its standard failed.
func (r *Report) MustFailed() bool {
	return slices.ContainsFunc(r.Rows, func(row Result) bool { return row.Must && row.Outcome == Failed })
}

// Run checks a server. It sends at most 32 requests, each for 10 seconds, for 45 seconds in all, and
// reads 1 MiB of each body. The error means that there is no report.
func Run(ctx context.Context, c Config) (*Report, error) {
	u, err := c.validate()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	transport := c.Transport
	if transport == nil {
		transport = http.DefaultTransport.(*http.Transport)
	}
	transport = transport.Clone()
	transport.DisableCompression, transport.MaxResponseHeaderBytes = true, maxBody
	defer transport.CloseIdleConnections()
	s := &session{Config: c, ctx: ctx, target: u, transport: transport, answers: make(map[string]*answer)}
	if err := s.ask(); err != nil {
		return nil, err
	}
	return s.report(), nil
}

// Address parses the URL of a server to ask: http or https, without a user part. Plain http beyond
// loopback needs allowHTTP. The error wraps [ErrConfig] and quotes nothing of the URL.
func Address(text string, allowHTTP bool) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: the URL cannot be parsed", ErrConfig)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return nil, fmt.Errorf("%w: want an http or https URL", ErrConfig)
	case u.User != nil:
		return nil, fmt.Errorf("%w: the URL contains a user name or password", ErrConfig)
	case u.Scheme == "http" && !allowHTTP && !loopback.Host(u.Hostname()):
		return nil, fmt.Errorf("%w: plain http would expose credentials to the network; use https, or allow it with --allow-http", ErrConfig)
	}
	return u, nil
}

// validate returns the address to ask.
func (c Config) validate() (*url.URL, error) {
	u, err := Address(c.URL, c.AllowHTTP)
	if err != nil {
		return nil, err
	}
	for name, token := range map[string]string{"good": c.Good, "expired": c.Expired, "audience": c.Audience, "no-scope": c.NoScope} {
		if strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, fmt.Errorf("%w: the %s token contains a blank or another character that no token has", ErrConfig, name)
		}
	}
	if o, err := url.Parse(c.Origin); c.Origin != "" && (err != nil || o.Scheme == "" || o.Host == "" || o.Path != "" || o.User != nil) {
		return nil, fmt.Errorf("%w: the origin is not a scheme and a host, such as https://app.example.com", ErrConfig)
	}
	if p := c.Proxy; p != nil && (p.Scheme != "http" && p.Scheme != "https" || p.Host == "" || p.User != nil) {
		return nil, fmt.Errorf("%w: want an http or https URL of the proxy, without a user name or password", ErrConfig)
	}
	u.Fragment = ""
	return u, nil
}

// Plan returns the requests that Run can send, a line each.
func (c Config) Plan() []string {
	u, err := c.validate()
	if err != nil {
		return nil
	}
	plan := []string{
		"GET and HEAD " + plainAddress(u),
		"the same as a script and as a page of another origin, and OPTIONS",
		"with malformed, unknown and doubled credentials",
		"with an invalid token and forged ones, if it takes Bearer tokens",
	}
	for _, t := range []struct{ token, text string }{
		{c.Good, "with the good token, also twice and in the query"}, {c.Expired, "with the expired token"},
		{c.Audience, "with the token for another audience"}, {c.NoScope, "with the token without scope"},
	} {
		if t.token != "" {
			plan = append(plan, t.text)
		}
	}
	if clear := inTheClearOf(u); clear != nil {
		plan = append(plan, "without credentials: GET "+plainAddress(clear))
	}
	if c.Proxy != nil {
		plan = append(plan, "without credentials, through the proxy")
	}
	return append(plan, "metadata that a challenge names at the same origin",
		fmt.Sprintf("at most %d requests, one after the other, in %d seconds", maxRequests, int(maxTime.Seconds())))
}

// plainAddress returns u without its query: queries can hold secrets.
func plainAddress(u *url.URL) string {
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return printable.Line(u.Scheme+"://"+u.Host+path, 200)
}

// answer is the response to one request of the check.
type answer struct {
	name   string // of the request, such as "anonymous"
	text   string // of the request, for the reader: "GET without credentials"
	method string
	url    *url.URL
	status int
	header http.Header
	body   []byte
	tls    *tls.ConnectionState
	err    error // no response was received
}

// lines returns the lines of the field with challenges.
func (a *answer) lines() []string {
	if a.status == http.StatusProxyAuthRequired {
		return a.header["Proxy-Authenticate"]
	}
	return a.header["Www-Authenticate"]
}

// session is the state of one Run.
type session struct {
	Config
	ctx       context.Context
	target    *url.URL
	transport *http.Transport
	answers   map[string]*answer // by name
	order     []*answer
	requests  []string
	limits    []string
	planned   int
	keys      []publicKey // of the authorization server, if it has the origin of target
}

// limit records a bound that the check met.
func (s *session) limit(text string) {
	if !slices.Contains(s.limits, text) {
		s.limits = append(s.limits, text)
	}
}

// request describes one request.
type request struct {
	name, text string
	method     string // empty: GET
	url        *url.URL
	header     http.Header
}

// send sends one request and records the answer. It returns nil if no request is left.
func (s *session) send(q request) *answer {
	if len(s.requests) >= maxRequests || s.ctx.Err() != nil {
		s.limit("The limit of requests or of time is reached; some rows were not asked.")
		return nil
	}
	if q.method == "" {
		q.method = http.MethodGet
	}
	if q.url == nil {
		q.url = s.target
	}
	text := s.mask(fmt.Sprintf("%s %s %s", q.method, plainAddress(q.url), q.text))
	s.requests = append(s.requests, text)
	if s.OnRequest != nil {
		s.OnRequest(text, len(s.requests), max(s.planned, len(s.requests)))
	}
	a := &answer{name: q.name, text: q.method + " " + q.text, method: q.method, url: q.url}
	s.answers[q.name] = a
	s.order = append(s.order, a)
	ctx, cancel := context.WithTimeout(s.ctx, maxEach)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, q.method, q.url.String(), nil)
	if err != nil {
		a.err = err
		return a
	}
	r.Header.Set("Accept", "*/*")
	r.Header.Set("User-Agent", "durward-check")
	for name, values := range q.header {
		r.Header[name] = values
	}
	// RoundTrip follows no redirect, so no token leaves the origin.
	resp, err := s.transport.RoundTrip(r)
	if err != nil {
		a.err = err
		return a
	}
	defer resp.Body.Close()
	a.status, a.header, a.tls = resp.StatusCode, resp.Header, resp.TLS
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if len(a.body) > maxBody {
		a.body = a.body[:maxBody]
		s.limit("A body is longer than 1 MiB; its beginning was read.")
	} else if err != nil {
		s.limit("The body of an answer ended early.")
	}
	return a
}

// mask takes the tokens of the check out of a text: servers can repeat them.
func (s *session) mask(text string) string {
	for _, token := range []string{s.Good, s.Expired, s.Audience, s.NoScope} {
		if token == "" {
			continue
		}
		text = strings.ReplaceAll(text, token, "…")
		for part := range strings.SplitSeq(token, ".") {
			if len(part) >= 16 {
				text = strings.ReplaceAll(text, part, "…")
			}
		}
	}
	return text
}

// ofOneResponse lists the rows that read a response alone.
var ofOneResponse = []string{"challenge", "challenge-grammar", "realm", "no-error-anonymous", "caching", "body", "digest", "dpop"}

// Response judges a response that was received elsewhere, and returns the rows that it fails, of those
// that read a single response. anonymous reports that the request had no credentials. Texts of the
// results quote the response: the caller masks secrets.
func Response(status int, header http.Header, body []byte, anonymous bool) (failed []Result) {
	a := &answer{name: "given", text: "the response", method: http.MethodGet, status: status, header: header, body: body}
	if anonymous {
		a.name = "anonymous"
	}
	s := &session{answers: map[string]*answer{a.name: a}, order: []*answer{a}}
	for _, row := range rows {
		if !slices.Contains(ofOneResponse, row.id) {
			continue
		}
		if result, v := s.result(row); v.outcome == Failed {
			failed = append(failed, result)
		}
	}
	return failed
}

// result judges one row.
func (s *session) result(row row) (Result, verdict) {
	v := row.judge(s)
	r := Result{
		ID: row.id, Subject: row.subject, Clause: row.clause, Must: row.must, Points: row.points,
		Outcome: v.outcome, Text: printable.Line(s.mask(v.text), 400),
	}
	if v.outcome == Failed {
		r.Fix = row.fix
	}
	return r, v
}

// notes returns why the check is not complete: tokens that were not accepted, and limits of the server.
func (s *session) notes() []string {
	notes := []string{}
	note := func(format string, args ...any) {
		notes = append(notes, printable.Line(s.mask(fmt.Sprintf(format, args...)), 400))
	}
	anonymous := s.answers["anonymous"]
	if !anonymous.isLimited() && anonymous.status != http.StatusUnauthorized && s.Good+s.Expired+s.Audience+s.NoScope != "" {
		note("The tokens were not sent, because the request without credentials got %s.", anonymous)
	} else if a := s.answers["good"]; a != nil && !a.ok() && !a.isLimited() {
		note("The good token got %s. Is it the right one for this address?", a)
	}
	if slices.ContainsFunc(s.order, (*answer).isLimited) {
		note("The server limits requests (429). Run the check again later, or raise the limit for this machine.")
	}
	return notes
}

// report judges the answers.
func (s *session) report() *Report {
	r := &Report{
		SchemaName: Schema, URL: plainAddress(s.target), Requests: s.requests,
		Notes: s.notes(), Limits: append([]string{}, s.limits...),
	}
	for _, row := range rows {
		result, v := s.result(row)
		switch v.outcome {
		case Passed:
			r.Gained += row.points
			r.Possible += row.points
		case Failed:
			r.Possible += row.points
		}
		r.Forged = r.Forged || v.forged
		r.Rows = append(r.Rows, result)
	}
	if r.Possible > 0 && !r.Forged {
		r.Score = 100 * r.Gained / r.Possible
	}
	return r
}
