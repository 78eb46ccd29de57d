package doctor

import (
	"regexp"
	"strconv"
	"strings"
)

// This file reads the panels of developer tools.

// Users copy the panels of developer tools as text. Chromium shows the address and the status as
// "Request URL: …" and "Status Code: …" above the headings of the fields; newer versions put a name
// and its value on two lines.

var (
	panelURL     = regexp.MustCompile(`(?i)^\s*Request URL:?(?:[ \t]+(\S+))?\s*$`)
	panelHeading = regexp.MustCompile(`(?i)^\s*(General|Response Headers|Request Headers|Query String Parameters|Request Payload|Form Data|Payload|Preview|Response|Cookies|Timing)(?: *\([^)]*\))?(?:\s*view (?:source|parsed).*|\s*Raw)?:?\s*$`)
	panelStatus  = regexp.MustCompile(`^([0-9]{3})(?:[ \t]+([^(]*))?`)
	provisional  = regexp.MustCompile(`(?i)provisional headers`)
)

// isPanel reports whether lines are copied from a panel.
func isPanel(lines []line) bool {
	for _, l := range lines[:min(len(lines), 200)] {
		if len(l.text) < 10_000 && panelURL.MatchString(l.text) {
			return true
		}
	}
	return false
}

// panels reads the panels of one or several requests.
func (x *exchanges) panels(lines []line) {
	var r *Request
	var answer *Response
	section := ""
	end := func() {
		if r == nil {
			return
		}
		x.request = r
		x.address()
		r.Whole = r.Whole && len(r.Header) > 0
		e := Exchange{Request: r}
		if answer.Status != 0 || len(answer.Header) > 0 {
			answer.Whole = answer.Whole && len(answer.Header) > 0
			e.Response = answer
		}
		x.all = append(x.all, e)
		r, answer, x.request = nil, nil, nil
	}
	for i := 0; i < len(lines); i++ {
		l := lines[i]
		text := strings.TrimSpace(l.text)
		if text == "" {
			continue
		}
		if m := panelURL.FindStringSubmatch(l.text); m != nil {
			end()
			r, answer, section = &Request{Method: "GET", URL: m[1]}, &Response{}, "general"
			if m[1] == "" && i+1 < len(lines) {
				i++
				r.URL = strings.TrimSpace(lines[i].text)
			}
			continue
		}
		if r == nil { // the heading above
			if !panelHeading.MatchString(text) {
				x.log = append(x.log, l.text)
			}
			continue
		}
		if m := panelHeading.FindStringSubmatch(text); m != nil {
			section = strings.ToLower(m[1])
			switch section {
			case "request headers":
				r.Whole = true
			case "response headers":
				answer.Whole = true
			}
			continue
		}
		if provisional.MatchString(text) { // the browser does not know all fields
			r.Whole = false
			continue
		}
		name, value, ok := strings.Cut(text, ":")
		if strings.HasPrefix(text, ":") { // pseudo-header field
			name, value, ok = strings.Cut(text[1:], ":")
			name = ":" + name
		}
		at := l.at()
		if value = strings.TrimSpace(value); (!ok || value == "") && i+1 < len(lines) && !panelHeading.MatchString(lines[i+1].text) {
			i++
			value = strings.TrimSpace(lines[i].text)
		}
		f := Field{
			Name:  strings.TrimSpace(name),
			Value: value,
			At:    at,
		}
		switch strings.ToLower(f.Name) {
		case "request method":
			r.Method = value
			continue
		case "status code":
			if m := panelStatus.FindStringSubmatch(value); m != nil {
				answer.Status, _ = strconv.Atoi(m[1])
				answer.Reason = strings.TrimSpace(m[2])
			}
			continue
		case "remote address", "referrer policy":
			continue
		}
		if _, ok := parseField(f.Name + ":"); !ok {
			x.log = append(x.log, l.text)
			continue
		}
		switch section {
		case "general": // some versions copy no headings
			if knownField(f.Name+":") == '>' {
				r.Header = append(r.Header, f)
			} else {
				answer.Header = append(answer.Header, f)
			}
		case "request headers":
			r.Header = append(r.Header, f)
		case "response headers":
			answer.Header = append(answer.Header, f)
		case "response", "preview":
			if bodyStart(text) {
				answer.Body = []byte(text)
			}
		}
	}
	end()
}
