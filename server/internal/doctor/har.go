package doctor

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// This file reads HAR files.

// Bounds of the reader of HAR files (HTTP Archive 1.2). It reads the file as a stream and keeps the
// refusals and the exchanges before them, so the memory does not grow with the length of the file.
const (
	MaxHAR       = 100 << 20 // length of a HAR that is read, in bytes
	maxEntries   = 50_000
	maxHARText   = 256 << 10 // of one text in the JSON; the rest is cut
	maxHARBody   = 64 << 10  // of a body that is kept
	maxOtherBody = 4 << 10   // of a body of a response that is no refusal
	maxHARFields = 1000      // of one message
	maxKept      = 16 << 20  // of all exchanges that are kept
)

// tolerant are the options of the decoder: exporters copy mistakes of servers.
var tolerant = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// isHAR reports whether the head of an input is the beginning of a HAR or of one entry of it.
func isHAR(head []byte) bool {
	head = bytes.TrimPrefix(head, []byte("\xef\xbb\xbf"))
	d := jsontext.NewDecoder(bytes.NewReader(head), tolerant...)
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return false
	}
	seen := map[string]bool{}
	for d.PeekKind() == '"' {
		t, err := d.ReadToken()
		if err != nil {
			break
		}
		name := t.String()
		switch object := d.PeekKind() == '{'; {
		case object && (name == "request" || name == "response"):
			if seen[name] = true; seen["request"] && seen["response"] {
				return true
			}
		case object && name == "log" && d.StackDepth() == 1:
			if _, err := d.ReadToken(); err != nil {
				return false
			}
			for d.PeekKind() == '"' {
				t, err := d.ReadToken()
				if err != nil {
					return false
				}
				member := t.String()
				if member == "entries" {
					return d.PeekKind() == '['
				}
				seen[member] = true
				if d.SkipValue() != nil {
					break
				}
			}
			return seen["version"] && (seen["creator"] || seen["pages"]) // a long list of pages
		}
		if d.SkipValue() != nil {
			break
		}
	}
	return seen["request"] && len(head) >= 64<<10
}

// har is the state of the reader.
type har struct {
	d       *jsontext.Decoder
	c       *Case
	pick    int
	entries int
	creator string
	secrets bool // an Authorization, Cookie or Set-Cookie field was seen
	size    int  // of the exchanges that are kept
	dropped int
}

// readHAR reads a HAR or one entry of it.
func readHAR(r io.Reader, o Options) (*Case, error) {
	limited := &io.LimitedReader{R: r, N: MaxHAR + 1}
	short := &shortener{r: limited}
	h := &har{
		d:    jsontext.NewDecoder(short, tolerant...),
		c:    &Case{Kind: KindHAR, Subject: -1},
		pick: o.Entry,
	}
	err := h.top()
	if err != nil && short.err != nil && !errors.Is(short.err, io.EOF) {
		return nil, fmt.Errorf("doctor: cannot read the input: %w", short.err)
	}
	c := h.c
	if err != nil && h.entries == 0 {
		return nil, &InputError{fmt.Sprintf("the HAR is not valid JSON at octet %d", h.d.InputOffset()), "Export it again."}
	}
	switch {
	case limited.N == 0:
		c.Limits = append(c.Limits, "Only the first 100 MiB of the HAR were read.")
	case err != nil && !errors.Is(err, errEnough):
		c.Limits = append(c.Limits, fmt.Sprintf("The HAR is broken or cut after entry %d.", h.entries))
	}
	if short.cut > 0 {
		c.Limits = append(c.Limits, fmt.Sprintf("Texts of the HAR longer than 256 KiB were cut: %d.", short.cut))
	}
	if h.dropped > 0 {
		c.Limits = append(c.Limits, fmt.Sprintf("Only the last exchanges of the HAR were kept: the first %d were not.", h.dropped))
	}
	if len(c.Exchanges) == 0 {
		return nil, &InputError{"the HAR has no entries", "Open the network panel, repeat the request and export again."}
	}
	if o.Entry < 0 || o.Entry > h.entries {
		return nil, &InputError{fmt.Sprintf("the HAR has no entry %d", o.Entry), fmt.Sprintf("Its entries are 1 to %d.", h.entries)}
	}
	if !h.secrets && strings.Contains(h.creator, "WebInspector") {
		// Chromium exports without these fields unless its user asks for them.
		for _, e := range c.Exchanges {
			if e.Request != nil {
				e.Request.Whole = false
			}
			if e.Response != nil {
				e.Response.Whole = false
			}
		}
		c.Notes = append(c.Notes, Note{NoteLeftOut, "HAR",
			"The HAR has no Authorization, Cookie or Set-Cookie field at all. Chromium leaves them out. Export the HAR with sensitive data to see them."})
	}
	for i, e := range c.Exchanges {
		if o.Entry != 0 && e.Entry == o.Entry {
			c.Subject = i
		}
	}
	if c.Subject < 0 {
		c.Subject = subject(c.Exchanges, true)
	}
	return c, nil
}

// errEnough ends the reader at a bound.
var errEnough = errors.New("enough")

// members calls read for each member of the object that follows. read consumes the value.
func (h *har) members(read func(name string) error) error {
	if h.d.PeekKind() != '{' {
		return h.d.SkipValue()
	}
	if _, err := h.d.ReadToken(); err != nil {
		return err
	}
	for h.d.PeekKind() != '}' {
		t, err := h.d.ReadToken()
		if err != nil {
			return err
		}
		if err := read(t.String()); err != nil {
			return err
		}
	}
	_, err := h.d.ReadToken()
	return err
}

// elements calls read for each element of the array that follows. read consumes the element.
func (h *har) elements(read func() error) error {
	if h.d.PeekKind() != '[' {
		return h.d.SkipValue()
	}
	if _, err := h.d.ReadToken(); err != nil {
		return err
	}
	for h.d.PeekKind() != ']' {
		if err := read(); err != nil {
			return err
		}
	}
	_, err := h.d.ReadToken()
	return err
}

// text reads a text; any other value is "".
func (h *har) text(into *string) error {
	if h.d.PeekKind() != '"' {
		return h.d.SkipValue()
	}
	t, err := h.d.ReadToken()
	if err == nil {
		*into = t.String()
	}
	return err
}

// top reads the file.
func (h *har) top() error {
	var one Exchange
	seen := false
	err := h.members(func(name string) error {
		switch name {
		case "log":
			return h.members(h.log)
		case "request", "response", "startedDateTime":
			seen = seen || name != "startedDateTime"
			return h.entry(&one, name)
		}
		return h.d.SkipValue()
	})
	if seen && (one.Request != nil || one.Response != nil || one.Error != "") {
		h.entries++
		h.keep(one)
	}
	return err
}

// log reads one member of the object log.
func (h *har) log(name string) error {
	switch name {
	case "creator":
		return h.members(func(name string) error {
			if name == "name" {
				return h.text(&h.creator)
			}
			return h.d.SkipValue()
		})
	case "entries":
		return h.elements(func() error {
			if h.entries == maxEntries {
				h.c.Limits = append(h.c.Limits, "Only the first 50,000 entries of the HAR were read.")
				return errEnough
			}
			var e Exchange
			if err := h.members(func(name string) error { return h.entry(&e, name) }); err != nil {
				return err
			}
			h.entries++
			h.keep(e)
			return nil
		})
	}
	return h.d.SkipValue()
}

// entry reads a member of an entry.
func (h *har) entry(e *Exchange, name string) error {
	at := fmt.Sprintf("entry %d", h.entries+1)
	switch name {
	case "startedDateTime":
		var text string
		if err := h.text(&text); err != nil {
			return err
		}
		e.Time, _ = time.Parse(time.RFC3339Nano, text)
		return nil
	case "request":
		r := &Request{Whole: true}
		e.Request = r
		return h.members(func(name string) error {
			switch name {
			case "method":
				return h.text(&r.Method)
			case "url":
				return h.text(&r.URL)
			case "httpVersion":
				return h.text(&r.Proto)
			case "headers":
				return h.fields(&r.Header, at)
			case "postData":
				return h.members(func(name string) error {
					if name != "text" {
						return h.d.SkipValue()
					}
					var text string
					err := h.text(&text)
					r.Body = []byte(text[:min(len(text), maxHARBody)])
					return err
				})
			}
			return h.d.SkipValue()
		})
	case "response":
		r := &Response{Whole: true}
		var body, encoding, failure string
		err := h.members(func(name string) error {
			switch name {
			case "status":
				if h.d.PeekKind() != '0' {
					return h.d.SkipValue()
				}
				t, err := h.d.ReadToken()
				if err == nil {
					if n, err := t.Float(); err == nil && n >= 0 && n < 1000 {
						r.Status = int(n)
					}
				}
				return err
			case "statusText":
				return h.text(&r.Reason)
			case "httpVersion":
				return h.text(&r.Proto)
			case "headers":
				return h.fields(&r.Header, at)
			case "content":
				return h.members(func(name string) error {
					switch name {
					case "text":
						return h.text(&body)
					case "encoding":
						return h.text(&encoding)
					}
					return h.d.SkipValue()
				})
			case "_error":
				return h.text(&failure)
			}
			return h.d.SkipValue()
		})
		if encoding == "base64" {
			body = body[:min(len(body), 2*maxHARBody)/4*4]
			octets, _ := base64.StdEncoding.DecodeString(body)
			body = string(octets)
		}
		most := maxOtherBody
		if r.Status >= 400 {
			most = maxHARBody
		}
		r.Truncated = len(body) > most
		r.Body = []byte(body[:min(len(body), most)])
		e.Response, e.Error = r, failure
		return err
	}
	return h.d.SkipValue()
}

// fields reads the fields of a message. Names and values that are no text are left out.
func (h *har) fields(f *Fields, at string) error {
	return h.elements(func() error {
		var one Field
		one.At = at
		err := h.members(func(name string) error {
			switch name {
			case "name":
				return h.text(&one.Name)
			case "value":
				return h.text(&one.Value)
			}
			return h.d.SkipValue()
		})
		if err != nil || one.Name == "" || strings.HasPrefix(one.Name, ":") || len(*f) == maxHARFields {
			return err
		}
		switch strings.ToLower(one.Name) {
		case "authorization", "cookie", "set-cookie":
			h.secrets = true
		}
		// Firefox and Chromium join repeated Set-Cookie fields with line feeds.
		for value := range strings.SplitSeq(one.Value, "\n") {
			*f = append(*f, Field{
				Name:  one.Name,
				Value: strings.Trim(value, " \t\r"),
				At:    at,
			})
		}
		return nil
	})
}

// keep adds an exchange to the case. If the exchanges grow too large it drops the first of them
// that are no refusals, and then the first refusals.
func (h *har) keep(e Exchange) {
	e.Entry = h.entries
	if e.Request == nil && e.Response == nil && e.Error == "" {
		return
	}
	if r := e.Response; r != nil && r.Status == 0 {
		e.Response = nil // blocked, or no response arrived
		if e.Request != nil {
			e.Request.Whole = false
		}
		if e.Error == "" {
			e.Error = "no response"
		}
	}
	h.c.Exchanges = append(h.c.Exchanges, e)
	h.size += sizeOf(e)
	for _, refusals := range []bool{false, true} {
		if h.size <= maxKept {
			return
		}
		kept := h.c.Exchanges[:0]
		for _, e := range h.c.Exchanges {
			if h.size > maxKept/2 && e.Entry != h.pick && refused(e) == refusals && e.Entry != h.entries {
				h.size -= sizeOf(e)
				h.dropped++
				continue
			}
			kept = append(kept, e)
		}
		clear(h.c.Exchanges[len(kept):])
		h.c.Exchanges = kept
	}
}

// sizeOf returns about the memory that an exchange holds.
func sizeOf(e Exchange) int {
	n := 500 + len(e.Error)
	fields := func(f Fields) {
		for _, f := range f {
			n += 120 + len(f.Name) + len(f.Value)
		}
	}
	if r := e.Request; r != nil {
		n += len(r.URL) + len(r.Body)
		fields(r.Header)
	}
	if r := e.Response; r != nil {
		n += len(r.Body)
		fields(r.Header)
	}
	return n
}

// shortener is a reader of JSON that cuts long texts, so that the decoder needs no memory for them.
type shortener struct {
	r      io.Reader
	err    error
	cut    int  // number of texts that were cut
	text   bool // inside of a text
	over   bool // the text is too long: octets up to its end are dropped
	escape bool // after a backslash
	hex    int  // digits of \u that are due
	length int  // of the text so far
}

// Read implements io.Reader.
func (s *shortener) Read(p []byte) (int, error) {
	for {
		n, err := s.r.Read(p)
		if n = s.filter(p[:n]); n > 0 || err != nil {
			s.err = err
			return n, err
		}
	}
}

// filter cuts the texts in p, in place, and returns its new length.
func (s *shortener) filter(p []byte) (n int) {
	for i := 0; i < len(p); {
		if !s.text {
			at := bytes.IndexByte(p[i:], '"')
			if at < 0 {
				return n + copy(p[n:], p[i:])
			}
			n += copy(p[n:], p[i:i+at+1])
			i += at + 1
			s.text, s.over, s.length = true, false, 0
			continue
		}
		b := p[i]
		switch {
		case s.escape || s.hex > 0: // an escape sequence is kept or dropped as a whole
			if s.hex > 0 {
				s.hex--
			} else if b == 'u' {
				s.hex = 4
			}
			s.escape = false
		case b == '\\':
			if s.length >= maxHARText && !s.over {
				s.over = true
				s.cut++
			}
			s.escape = true
		case b == '"':
			s.text = false
			p[n] = b
			n++
			i++
			continue
		default:
			run := 1
			for run < len(p)-i && p[i+run] != '"' && p[i+run] != '\\' {
				run++
			}
			room := 0
			if !s.over {
				room = min(run, max(maxHARText-s.length, 0))
			}
			if room < run && !s.over {
				s.over = true
				s.cut++
			}
			n += copy(p[n:], p[i:i+room])
			s.length += room
			i += run
			continue
		}
		if !s.over {
			p[n] = b
			n++
			s.length++
		}
		i++
	}
	return n
}
