package doctor

import (
	"cmp"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/durward-auth/durward"
	"github.com/durward-auth/durward/internal/printable"
)

// This file gathers the evidence of a case.

// evidence holds the facts of one case while they are gathered, and the parts of the case that
// several facts need.
type evidence struct {
	c    *Case
	now  time.Time
	list []Fact
	seen map[string]bool // IDs of list

	request  *Request  // of the exchange to explain; never nil, empty if it was not seen
	response *Response // likewise
	target   *url.URL  // never nil
	at       time.Time // the Date of the response; zero if it has none

	credentials []credential
	challenges  []challenge
	words       []passage // of the server, the log and the user
	codes       []codeToken
	products    []*product
	reported    map[string]bool     // codes and texts that their product knows
	meaning     map[string][]string // causes that its product means by a text
	masker      *Masker
	quoted      map[string]string // by text: many facts quote the same one
	shapes      map[string]int    // lines of a log, by their shape
}

// Limits of the facts of one case.
const (
	maxFacts  = 400
	maxQuoted = 160 // octets of a quotation
)

// Bounds of the lines beside the exchanges that facts are read from, in octets. A line costs about 50
// patterns.
const (
	maxLine = 4 << 10
	maxLog  = 32 << 10
)

// bounded returns the case with fewer lines if they exceed the bounds, and names the bound.
func (c *Case) bounded() *Case {
	left, whole := maxLog, true
	lines := c.Log[:min(len(c.Log), maxLogLines)]
	for _, line := range lines {
		left -= len(line)
		whole = whole && len(line) <= maxLine
	}
	if whole && left >= 0 && len(lines) == len(c.Log) {
		return c
	}
	short := *c
	short.Log, left = nil, maxLog
	for _, line := range lines {
		if len(line) > maxLine { // cut at a blank, so that no part of a secret remains
			line = line[:max(0, strings.LastIndexByte(line[:maxLine], ' '))]
		}
		if left -= len(line); left < 0 {
			break
		}
		short.Log = append(short.Log, line)
	}
	short.Limits = append(slices.Clone(c.Limits), fmt.Sprintf("Of the lines beside the exchange, only the first %d were read, %d KiB of a line and %d KiB of all at most.", maxLogLines, maxLine>>10, maxLog>>10))
	return &short
}

// gather reads and computes all facts of a case.
func gather(c *Case, now time.Time) *evidence {
	c = c.bounded()
	e := &evidence{
		c: c, now: now, seen: map[string]bool{}, quoted: map[string]string{}, shapes: map[string]int{}, reported: map[string]bool{}, meaning: map[string][]string{},
		request: new(Request), response: new(Response), target: new(url.URL), masker: c.Masker(),
	}
	if x := c.Refusal(); x != nil {
		if x.Request != nil {
			e.request = x.Request
		}
		if x.Response != nil {
			e.response = x.Response
		}
	}
	e.target = parseTarget(e.request)
	e.at = parseHTTPDate(e.response.Header.Get("Date"))
	e.readChallenges()
	e.readWords()
	e.outputFacts()
	e.recognise()
	e.readCredentials()
	e.requestFacts()
	e.credentialFacts()
	e.responseFacts()
	e.habitFacts()
	e.challengeFacts()
	e.tokenFacts()
	e.settingFacts()
	e.signatureFacts()
	e.digestFacts()
	e.dpopFacts()
	e.historyFacts()
	e.contrastFacts()
	e.browserFacts()
	e.cookieFacts()
	e.sessionFacts()
	e.frontFacts()
	e.besideFacts()
	e.toldFacts()
	e.codeFacts()
	e.saidFacts()
	e.noteFacts()
	return e
}

// add adds a fact. The text holds no secret: callers quote with e.quote.
func (e *evidence) add(id string, source Source, at, format string, args ...any) {
	if len(e.list) >= maxFacts {
		return
	}
	text := format
	if len(args) > 0 {
		text = fmt.Sprintf(format, args...)
	}
	if e.seen[id] && slices.ContainsFunc(e.list, func(f Fact) bool { return f.ID == id && f.Text == text }) {
		return
	}
	e.seen[id] = true
	e.list = append(e.list, Fact{ID: id, Source: source, At: printable.Line(at, 60), Text: text})
}

// has reports whether all facts were found. A name that begins with ! must not have been found.
func (e *evidence) has(ids ...string) bool {
	for _, id := range ids {
		if absent, ok := strings.CutPrefix(id, "!"); ok {
			if e.seen[absent] {
				return false
			}
		} else if !e.seen[id] {
			return false
		}
	}
	return true
}

// facts returns the facts with these IDs.
func (e *evidence) facts(ids ...string) (found []Fact) {
	for _, f := range e.list {
		if slices.Contains(ids, f.ID) {
			found = append(found, f)
		}
	}
	return found
}

// quote returns text for a fact: printable, short and without secrets.
func (e *evidence) quote(text string) string {
	if strings.Contains(text, "(") && len(text) <= 4<<10 && callShape.MatchString(text) {
		return e.quoteLine(text)
	}
	if len(text) > 16<<10 { // masked first and cut then, so that no part of a secret remains
		return fmt.Sprintf("a text of %d octets", len(text))
	}
	quoted, ok := e.quoted[text]
	if !ok {
		quoted = printable.Line(e.masker.Mask(text), maxQuoted)
		e.quoted[text] = quoted
	}
	return quoted
}

// quoteLine returns a line of a configuration, a program or a command for a fact: see MaskLine.
func (e *evidence) quoteLine(line string) string {
	if len(line) > 4<<10 {
		return fmt.Sprintf("a line of %d octets", len(line))
	}
	return printable.Line(MaskLine(e.masker.Mask(strings.TrimSpace(line))), maxQuoted)
}

// callShape matches a call with a text among its arguments: a line of a program.
var callShape = regexp.MustCompile("\\w\\(.{0,200}[\"'`]")

// parseTarget returns the address of a request. Marks such as <bucket>, do not disturb it.
func parseTarget(r *Request) *url.URL {
	raw := strings.NewReplacer("<", "", ">", "", " ", "").Replace(cmp.Or(r.URL, "/"))
	u, err := url.Parse(raw)
	if err != nil {
		path, query, _ := strings.Cut(raw, "?")
		u = &url.URL{Path: path, RawQuery: query}
		if scheme, rest, ok := strings.Cut(path, "://"); ok {
			host, rest, _ := strings.Cut(rest, "/")
			u = &url.URL{Scheme: scheme, Host: host, Path: "/" + rest, RawQuery: query}
		}
	}
	if u.Host == "" {
		u.Host = r.Header.Get("Host")
	}
	return u
}

// timeForms are the forms of times that servers and clients write.
var timeForms = []string{
	time.RFC1123, time.RFC1123Z, time.RFC850, time.ANSIC, time.RFC3339Nano, "20060102T150405Z", "2006-01-02T15:04:05",
	"2006-01-02T15:04:05Z0700", "2006-01-02 15:04:05Z", "2006-01-02 15:04:05 -0700 MST", "2006-01-02 15:04:05", "2006-01-02",
}

// parseHTTPDate returns a time, or zero if text is none.
func parseHTTPDate(text string) time.Time {
	for _, form := range timeForms {
		if t, err := time.Parse(form, strings.TrimSpace(text)); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

// reference returns the time to compare with: the Date of the response, else the time of the
// doctor.
func (e *evidence) reference() (t time.Time, name string) {
	if !e.at.IsZero() {
		return e.at, "Date"
	}
	return e.now, "now"
}

// challenge is a challenge of the response with the field that held it.
type challenge struct {
	durward.Challenge
	proxy bool
}

// errorCode returns the error parameter (RFC 6750 s3), without the marks of other servers.
func (c challenge) errorCode() string {
	v, _ := c.Param("error")
	return strings.Trim(strings.ToLower(v), `"' `)
}

// offered returns the scheme names of the challenges in lower case.
func (e *evidence) offered() (schemes []string) {
	for _, c := range e.challenges {
		if s := strings.ToLower(c.Scheme); !slices.Contains(schemes, s) {
			schemes = append(schemes, s)
		}
	}
	return schemes
}
