package doctor

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// This file recognises the kind of an input and reads it into a case.

// MaxInput is the maximum length of an input other than a HAR, in bytes.
const MaxInput = 1 << 20

// Options are settings of Read.
type Options struct {
	As    Kind // read as this kind; empty recognises the kind
	Entry int  // number of the entry of a HAR to explain, from 1; 0 chooses the last refusal
}

// InputError says why an input cannot be read. It quotes nothing of the input.
type InputError struct {
	Problem string // what failed
	Hint    string // what to do, a sentence; may be empty
}

// Error returns problem and hint.
func (e *InputError) Error() string {
	if e.Hint == "" {
		return "doctor: " + e.Problem
	}
	return "doctor: " + e.Problem + ": " + e.Hint
}

// Read recognises an input by its content and reads it. An *InputError explains an input that
// cannot be read; any other error is one of r. The case holds the secrets of the input: show no
// part of it that did not go through [Mask].
func Read(r io.Reader, o Options) (*Case, error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	head, err := buffered.Peek(64 << 10)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("doctor: cannot read the input: %w", err)
	}
	if bytes.HasPrefix(head, []byte("\xef\xbb\xbf")) {
		_, _ = buffered.Discard(3)
	}
	if o.As == KindHAR || o.As == "" && isHAR(head) {
		return readHAR(buffered, o)
	}
	octets, err := io.ReadAll(io.LimitReader(buffered, MaxInput+1))
	if err != nil {
		return nil, fmt.Errorf("doctor: cannot read the input: %w", err)
	}
	c := &Case{Subject: -1}
	if len(octets) > MaxInput {
		octets = octets[:MaxInput]
		c.Limits = append(c.Limits, "Only the first 1 MiB of the input was read.")
	}
	text, err := decode(octets)
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(text) == "" {
		return nil, &InputError{"the input is empty", "Paste a response, a curl command, a HAR, a token or an address."}
	}
	if o.As == "" && isHAR([]byte(text)) { // not seen before: UTF-16
		return readHAR(strings.NewReader(text), o)
	}
	c.Kind = cmp.Or(o.As, recognise(text))
	err = c.read(text)
	if err != nil && o.As == "" && (c.Kind == KindRaw || c.Kind == KindCurl && strings.Contains(strings.TrimSpace(text), "\n") && toldStatus.MatchString(text)) { // notes of a tool, lines of a program
		*c = Case{
			Kind:    KindText,
			Subject: -1,
			Limits:  c.Limits,
		}
		err = c.read(text)
	}
	if err != nil {
		return nil, err
	}
	if c.Subject < 0 {
		c.Subject = subject(c.Exchanges, false)
	}
	return c, nil
}

// read reads text of a kind other than HAR.
func (c *Case) read(text string) error {
	switch c.Kind {
	case KindCurl:
		all, notes, rest, err := readCommand(text)
		if err != nil {
			problem, hint, _ := strings.Cut(err.Error(), "; ")
			return &InputError{problem, hint}
		}
		c.Exchanges = all
		c.addNotes(notes)
		c.addLog(rest)
	case KindRaw:
		c.addExchanges(readRaw(linesOf(text)))
		if len(c.Exchanges) == 0 {
			return &InputError{"the input has no request and no response", "An exchange begins with a line such as HTTP/1.1 401 or GET / HTTP/1.1."}
		}
	case KindTranscript:
		return c.readTranscript(text)
	case KindToken:
		c.readToken(text)
	case KindURL:
		u, err := url.Parse(strings.TrimSpace(text))
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return &InputError{"the input is not an address", "An address begins with https:// and a host."}
		}
		c.URL = strings.TrimSpace(text)
	case KindDenial:
		c.DenialID = denialID(text)
		if c.DenialID == "" {
			return &InputError{"the input is not the identifier of a refusal", "It is the last part of the member instance of the response, 26 letters and digits."}
		}
	case KindText:
		if first := firstLine(strings.TrimLeft(text, "\r\n")); !bodyStart(text) || logLine(first) || bracketedWord.MatchString(first) {
			c.addLog(text)
			break
		}
		body, rest := splitBody(text) // a body alone
		c.Exchanges = []Exchange{{Response: &Response{Body: []byte(body)}}}
		c.Log = append(c.Log, rest...)
	default:
		return &InputError{"there is no kind of input with this name", "The kinds are har, curl, raw, transcript, token, url, denial and text."}
	}
	return nil
}

// addExchanges adds the results of the reader of raw exchanges.
func (c *Case) addExchanges(x *exchanges) {
	c.Exchanges = append(c.Exchanges, x.all...)
	c.Log = append(c.Log, x.log...)
	c.addNotes(x.notes)
}

// addNotes adds notes up to the bound of a case.
func (c *Case) addNotes(notes []Note) {
	c.Notes = append(c.Notes, notes[:min(len(notes), max(0, maxNotes-len(c.Notes)))]...)
}

// addLog adds lines of text that are no exchange.
func (c *Case) addLog(text string) {
	for l := range strings.SplitSeq(text, "\n") {
		if l = strings.TrimRight(l, " \t\r"); l != "" && l != "$" {
			c.Log = append(c.Log, l)
		}
	}
}

// decode returns the text of an input: without a byte order mark, and from UTF-16, which PowerShell
// writes to files.
func decode(octets []byte) (string, error) {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(octets, []byte("\xff\xfe")):
		order = binary.LittleEndian
	case bytes.HasPrefix(octets, []byte("\xfe\xff")):
		order = binary.BigEndian
	}
	if order != nil {
		units := make([]uint16, 0, len(octets)/2)
		for i := 2; i+1 < len(octets); i += 2 {
			units = append(units, order.Uint16(octets[i:]))
		}
		return string(utf16.Decode(units)), nil
	}
	octets = bytes.TrimPrefix(octets, []byte("\xef\xbb\xbf"))
	start := octets[:min(len(octets), 4096)]
	for _, magic := range []struct{ start, name, hint string }{
		{"\x1f\x8b", "compressed with gzip", "Decompress it first."},
		{"PK\x03\x04", "a ZIP archive", "Unpack it first."},
		{"\xd4\xc3\xb2\xa1", "a packet capture", "Export the exchange as text."},
		{"\n\r\r\n", "a packet capture", "Export the exchange as text."},
	} {
		if bytes.HasPrefix(start, []byte(magic.start)) {
			return "", &InputError{"the input is " + magic.name, magic.hint}
		}
	}
	controls := 0
	for _, b := range start {
		if b < ' ' && strings.IndexByte("\t\n\v\f\r\x1b", b) < 0 || b == 0x7f {
			controls++
		}
	}
	// The body of a raw exchange may be binary, its first line is not.
	binary := bytes.IndexByte(start, 0) >= 0 || controls > len(start)/20+2 || !utf8.Valid(octets) && invalid(start) > len(start)/5
	if first, _, _ := bytes.Cut(start, []byte("\n")); binary && !startLine(strings.TrimSpace(string(first))) {
		return "", &InputError{"the input is binary", "Paste the exchange as text."}
	}
	return string(octets), nil
}

// invalid counts the octets that are not UTF-8.
func invalid(octets []byte) (n int) {
	for len(octets) > 0 {
		r, size := utf8.DecodeRune(octets)
		if r == utf8.RuneError && size == 1 {
			n++
		}
		octets = octets[size:]
	}
	return n
}

// startLine reports whether a line begins a request or a response, perhaps behind the mark of a
// tool.
func startLine(text string) bool {
	for _, mark := range []string{"> ", "< ", "  ", ""} {
		rest := strings.TrimPrefix(text, mark)
		if requestLine.MatchString(rest) || statusLine.MatchString(rest) {
			return true
		}
	}
	return shortLine.MatchString(text)
}

// address matches an input that is an address alone.
var address = regexp.MustCompile(`^https?://[^\s/?#]+\S*$`)

// recognise returns the kind of a text that is not a HAR.
func recognise(text string) Kind {
	trimmed := strings.TrimSpace(text)
	lines := linesOf(text)
	switch {
	case isTranscript(lines):
		return KindTranscript
	case isCommand(trimmed):
		return KindCurl
	}
	one := !strings.ContainsAny(trimmed, "\n")
	if one && (denialID(trimmed) != "" && !strings.Contains(trimmed, "{")) {
		return KindDenial
	}
	if one && address.MatchString(trimmed) && !isSigned(trimmed) {
		return KindURL
	}
	if one && knownField(trimmed) != 0 {
		return KindRaw
	}
	if isToken(trimmed) {
		return KindToken
	}
	if curl, wget := tracesOf(lines[:min(len(lines), 2000)]); curl || wget {
		return KindRaw
	}
	for i, l := range dedent(lines) {
		if i > 2000 {
			break
		}
		first := strings.TrimSpace(l.text)
		if startLine(first) || pythonSend.MatchString(first) || isPanel(lines[i:i+1]) ||
			knownField(first) != 0 && (i == 0 || i < 20 && authField(first)) {
			return KindRaw
		}
	}
	return KindText
}

// authField reports whether a line is a field that only a message about authentication has.
func authField(text string) bool {
	name, _, _ := strings.Cut(strings.ToLower(text), ":")
	switch name {
	case "authorization", "www-authenticate", "proxy-authorization", "proxy-authenticate", "set-cookie":
		return true
	}
	return false
}

// denial matches the identifier of a refusal of Durward.
var denial = regexp.MustCompile(`^(?:urn:durward:denial:)?([0-7][0-9A-HJKMNP-TV-Z]{25})$`)

// denialID returns the identifier of a refusal of a Durward server (a ULID), or "".
func denialID(text string) string {
	if m := denial.FindStringSubmatch(strings.TrimSpace(text)); m != nil {
		return m[1]
	}
	return ""
}

// isCommand reports whether text begins with a command that readCommand reads.
func isCommand(text string) bool {
	_, ok := command(text)
	return ok
}

// subject returns the index of the exchange to explain, or -1. It is the last refusal that no later
// request for the same resource overcame. If all were overcome it is the last exchange, in a HAR
// the last refusal.
func subject(all []Exchange, har bool) int {
	type resource struct{ method, url string }
	last, failed := -1, -1
	accepted := make(map[resource]bool)
	by := make(map[resource]*Request)
	acceptedAny := false // a success without its request
	for i := len(all) - 1; i >= 0; i-- {
		var of resource
		if r := all[i].Request; r != nil {
			of = resource{r.Method, r.URL}
		}
		switch s := status(all[i]); {
		case s >= 200 && s < 300:
			accepted[of], by[of] = true, all[i].Request
			acceptedAny = acceptedAny || all[i].Request == nil
		case refused(all[i]):
			last = max(last, i)
			if r := by[of]; r != nil && all[i].Request != nil && otherAgentAlone(r, all[i].Request) {
				return i // the input compares two clients
			}
			if overcome := acceptedAny || accepted[of] || all[i].Request == nil && len(accepted) > 0; !overcome {
				return i
			}
		case s >= http.StatusBadRequest || all[i].Error != "":
			failed = max(failed, i)
		}
	}
	switch {
	case last >= 0 && har:
		return last
	case last < 0 && failed >= 0:
		return failed
	}
	return len(all) - 1
}

// refused reports whether an exchange is a refusal by its status.
func refused(e Exchange) bool {
	switch status(e) {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return true
	case http.StatusBadRequest: // how token addresses refuse (RFC 6749 s5.2)
		return e.Request != nil && bytes.Contains(e.Request.Body, []byte("grant_type="))
	}
	return false
}

// status returns the status of an exchange, or 0 without a response.
func status(e Exchange) int {
	if e.Response == nil {
		return 0
	}
	return e.Response.Status
}
