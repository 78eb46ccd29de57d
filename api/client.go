package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/durward-auth/durward/internal/loopback"
	"github.com/durward-auth/durward/internal/printable"
)

// Bounds on what is read of an answer.
const (
	maxPage    = 32 << 20 // octets of a page of revocations
	maxItems   = 100_000  // entries of one
	maxName    = 2 << 10  // octets of a kind, a value or an epoch
	maxProblem = 64 << 10 // octets of a refusal
	slack      = 15 * time.Second
)

// ClientConfig is what a [Client] is made of. URL and Token are required.
type ClientConfig struct {
	// URL is the server's origin: https, or http on loopback.
	URL string

	// Token returns the credentials for one request: an access token or an API key.
	Token func(context.Context) (string, error)

	// HTTP makes the requests; nil is a client of its own. Redirects are not followed,
	// whatever it says.
	HTTP *http.Client
}

// Client asks one Durward server. It is safe for concurrent use.
type Client struct {
	c    ClientConfig
	base string
	http http.Client
}

// NewClient returns a client, or an error that names every mistake in c.
func NewClient(c ClientConfig) (*Client, error) {
	var errs []error
	mistake := func(format string, args ...any) { errs = append(errs, fmt.Errorf("api: "+format, args...)) }
	u, err := url.Parse(c.URL)
	switch {
	case err != nil:
		mistake("the URL of the server cannot be read")
	case u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		mistake("URL %q: give the server's origin, such as https://auth.example.com", u.Redacted())
	case u.Scheme == "http" && !loopback.Host(u.Hostname()):
		mistake("URL %q: http is taken on loopback only, since credentials are sent; use https", u.Redacted())
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		mistake("URL %q: an origin only, without user, path, query and fragment", u.Redacted())
	}
	if c.Token == nil {
		mistake("no Token: give a function that returns an API key or access token with the scope revocations")
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	client := &Client{c: c, base: u.Scheme + "://" + u.Host}
	if c.HTTP != nil {
		client.http = *c.HTTP
	}
	client.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client, nil
}

// Error is a refusal by the server.
type Error struct {
	Status     int
	Problem    Problem       // zero where the body was none
	RetryAfter time.Duration // what the server asks for; 0 is nothing
}

// Error says status, code and what to do. It holds nothing that was sent.
func (e *Error) Error() string {
	text := fmt.Sprintf("the server answered %d", e.Status)
	for _, part := range []string{e.Problem.Code, e.Problem.Detail, e.Problem.Hint} {
		if part != "" {
			text += " " + part
		}
	}
	return text
}

// News is an answer about revocations.
type News struct {
	Page      RevocationPage
	Unchanged bool      // there is nothing but what the ETag names; Page is zero
	ETag      string    // for the question about Page.Next
	AsOf      time.Time // as of when the answer is complete, by this program's clock
}

// Revocations asks for what was revoked after a number; 0 is everything. The server
// holds its answer back for up to wait, in whole seconds and at most 30, while there is
// nothing to say but what etag names. The error is a *[Error] where the server refused.
func (c *Client) Revocations(ctx context.Context, after int64, wait time.Duration, etag string) (News, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+slack)
	defer cancel()
	query := url.Values{"after": {strconv.FormatInt(after, 10)}, "wait": {strconv.Itoa(int(wait / time.Second))}}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/api/revocations?"+query.Encode(), nil)
	if err != nil {
		return News{}, fmt.Errorf("api: %w", err)
	}
	token, err := c.c.Token(ctx)
	if err != nil {
		return News{}, fmt.Errorf("api: no credentials for the server: %w", err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "application/json")
	if etag != "" {
		r.Header.Set("If-None-Match", etag)
	}
	sent := time.Now()
	res, err := c.http.Do(r)
	if err != nil {
		var of *url.Error
		if errors.As(err, &of) {
			err = of.Err
		}
		return News{}, fmt.Errorf("api: %w", err)
	}
	defer res.Body.Close()
	n := News{ETag: res.Header.Get("ETag"), AsOf: asOf(sent, res.Header.Get(AsOfField))}
	switch res.StatusCode {
	case http.StatusNotModified:
		if etag == "" {
			return News{}, errors.New("api: 304 for a question without an ETag")
		}
		n.Unchanged, n.ETag = true, etag
		return n, nil
	case http.StatusOK:
	default:
		return News{}, refused(res)
	}
	if kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return News{}, errors.New("api: the answer is not of the type application/json: is that a Durward server?")
	}
	body, err := readBounded(res.Body, maxPage)
	if err != nil {
		return News{}, fmt.Errorf("api: %w", err)
	}
	if n.Page, err = readPage(body, after); err != nil {
		return News{}, fmt.Errorf("api: %w", err)
	}
	return n, nil
}

// asOf turns what the server says into a moment, and never a later one than now.
// Without it, an answer is of when it was asked for, less what a server may not know.
func asOf(sent time.Time, field string) time.Time {
	seconds, err := strconv.ParseFloat(field, 64)
	if err != nil || !(seconds >= -60 && seconds <= 60) {
		return sent.Add(-5 * time.Second)
	}
	at, now := sent.Add(time.Duration(seconds*float64(time.Second))), time.Now()
	if at.After(now) {
		return now
	}
	return at
}

// refused reads a refusal.
func refused(res *http.Response) error {
	e := &Error{Status: res.StatusCode}
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.RetryAfter = time.Duration(min(seconds, 3600)) * time.Second
	}
	if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind == "application/problem+json" {
		if body, err := readBounded(res.Body, maxProblem); err == nil && json.Unmarshal(body, &e.Problem) != nil {
			e.Problem = Problem{}
		}
	}
	for _, text := range []*string{&e.Problem.Code, &e.Problem.Detail, &e.Problem.Hint} {
		*text = printable.Line(*text, 200)
	}
	return e
}

func readBounded(r io.Reader, most int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(body)) > most {
		err = fmt.Errorf("an answer of more than %d octets", most)
	}
	return body, err
}

// readPage reads a page about what comes after a number. Members that it does not know
// are passed over: a newer server may have more to say.
func readPage(body []byte, after int64) (RevocationPage, error) {
	var p RevocationPage
	if json.Unmarshal(body, &p) != nil { // whose text may quote the answer
		return RevocationPage{}, errors.New("the page of revocations is not the JSON it should be")
	}
	bad := func(what string) (RevocationPage, error) {
		return RevocationPage{}, fmt.Errorf("a page of revocations with %s", what)
	}
	switch {
	case p.Epoch == "" || len(p.Epoch) > maxName:
		return bad("no epoch, or too long a one")
	case len(p.Items) > maxItems:
		return bad("too many items")
	case p.Next < 0:
		return bad("a next below 0")
	case p.More && p.Next <= after:
		return bad("more to come and a next that goes nowhere")
	}
	for _, e := range p.Items {
		if e.Seq <= 0 || e.Kind == "" || e.Value == "" || len(e.Kind) > maxName || len(e.Value) > maxName || e.Until.IsZero() {
			return bad("an item that says nothing")
		}
	}
	return p, nil
}
