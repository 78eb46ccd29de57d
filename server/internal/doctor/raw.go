package doctor

import (
	"bytes"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/durward-auth/durward/internal/loopback"
)

// The reader of raw exchanges splits text into requests and responses. It accepts what net/http
// refuses, because a malformed message is often the cause. It knows these forms:
//
//	GET /v1 HTTP/1.1          the message itself: HTTPie, openssl s_client, a file
//	> GET /v1 HTTP/1.1        curl -v; its notes begin with "* "
//	  HTTP/1.1 401 …          wget -S, each line of the header behind two spaces
//	---request begin---       wget -d
//	WWW-Authenticate: …       fields without the line before them
//	Request URL: https://…    the panels of the developer tools of browsers
//
// Lengths of bodies are not trusted: a copied text has other line ends than the message. So a body
// ends at the next start of a message.

// line is one line of an input without its line end.
type line struct {
	text   string
	number int // from 1
}

// at returns the place of the line for a note.
func (l line) at() string { return fmt.Sprintf("line %d", l.number) }

// linesOf splits text at line feeds. A carriage return before a line feed belongs to the line end.
func linesOf(text string) []line {
	var all []line
	number := 0
	for t := range strings.SplitSeq(text, "\n") {
		number++
		all = append(all, line{strings.TrimSuffix(t, "\r"), number})
	}
	if n := len(all); n > 1 && all[n-1].text == "" {
		all = all[:n-1]
	}
	return all
}

// Starts of messages. A status line may lack its reason and its minor version (RFC 9112 s4).
var (
	requestLine = regexp.MustCompile(`^([A-Z][A-Z-]{1,19}) +((?:<[^<>]*>|\S)+) +(HTTP/[0-9](?:\.[0-9])?) *$`)
	shortLine   = regexp.MustCompile(`^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS|CONNECT|TRACE) +(/\S*|\*|https?://\S+|[\w.-]+:\d+) *$`)
	statusLine  = regexp.MustCompile(`^(HTTP/[0-9](?:\.[0-9])?) +([0-9]{3})(?: +(.*))?$`)
	timestamp   = regexp.MustCompile(`^(?:\[[\d-]+\] )?[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]+ (?:\[[\d-]+\] )?`)
	progress    = regexp.MustCompile(`^( *% Total +% Received| +Dload +Upload|[ \d.kMG]+ (--|\d\d?):(--|\d\d):(--|\d\d) )`)
	connected   = regexp.MustCompile(`^Connected to (\S+) \(.*\) port ([0-9]+)`)
	another     = regexp.MustCompile(`^Issue another request to this URL: '(.*)'`)
	toolError   = regexp.MustCompile(`^(curl: \([0-9]+\) .*|wget: .*|http: error: .*|(?:Invoke-WebRequest|Invoke-RestMethod|iwr|irm) ?: .*)$`)
	toolStatus  = regexp.MustCompile(`^curl: \(22\) The requested URL returned error: ([0-9]{3})|^\S+ ?: The remote server returned an error: \(([0-9]{3})\)|^\S+ ?: Response status code does not indicate success: ([0-9]{3})`)
	intact      = regexp.MustCompile(`\* (Connection #[0-9]+ to host \S+ left intact|Closing connection.*)$`)
	wgetStart   = regexp.MustCompile(`^--[0-9: -]{19}-- +(\S+)$`)
	wgetStatus  = regexp.MustCompile(`^HTTP request sent, awaiting response\.\.\. ([0-9]{3})(?: (.*))?$`)
)

// part says to which part of an exchange the reader is adding.
type part int

const (
	outside part = iota
	inRequest
	inResponse
	inBody // of the last message
)

// exchanges is the state of the reader of raw exchanges.
type exchanges struct {
	all   []Exchange
	log   []string
	notes []Note

	part    part
	request *Request  // the request that waits for its response
	answer  *Response // the response being read
	body    []string
	scheme  string // of the connection, as the notes of the tool tell
	next    string // address of the next request, as curl or wget tells

	notesInBody bool // openssl writes its notes between request and response
}

// readRaw reads one or several exchanges.
func readRaw(lines []line) *exchanges {
	x := new(exchanges)
	lines = dedent(lines)
	if slices.ContainsFunc(lines, func(l line) bool { return pythonSend.MatchString(l.text) }) {
		lines = ofPython(lines)
	}
	if isPanel(lines) {
		x.panels(lines)
		return x
	}
	curl, wget := tracesOf(lines)
	for _, l := range lines {
		if strings.HasPrefix(l.text, "SSL handshake has read ") { // openssl s_client
			x.scheme, x.notesInBody = "https", true
			break
		}
	}
	for i := 0; i < len(lines); i++ {
		l := lines[i]
		if strings.HasPrefix(l.text, "```") { // fence of Markdown
			continue
		}
		switch {
		case curl:
			text := l.text
			if i := strings.LastIndexByte(text, '\r'); i >= 0 { // the progress meter overwrites its line
				text = text[i+1:]
			}
			if t := timestamp.FindString(text); t != "" {
				text = text[len(t):]
			}
			mark, rest := text, ""
			if len(text) > 1 {
				mark, rest = text[:1], text[2:]
				if text[1] != ' ' {
					mark = ""
				}
			}
			switch mark {
			case ">", "<":
				if x.part == inBody && rest == "" {
					continue
				}
				x.head(line{rest, l.number}, nil, mark == ">")
			case "*":
				x.info(rest)
			case "{", "}":
				if !strings.HasPrefix(rest, "[") {
					x.other(l)
				}
			default:
				if !progress.MatchString(text) {
					x.other(line{text, l.number})
				}
			}
		case wget:
			text, indented := strings.CutPrefix(l.text, "  ")
			switch {
			case wgetStart.MatchString(l.text):
				x.finish()
				x.flush()
				x.next = wgetStart.FindStringSubmatch(l.text)[1]
				x.request = &Request{Method: "GET", URL: x.next}
			case strings.HasPrefix(l.text, "---request begin---"):
				x.request = nil
			case strings.HasPrefix(l.text, "---request end---"), strings.HasPrefix(l.text, "---response begin---"),
				strings.HasPrefix(l.text, "---response end---"):
				x.finish()
			case wgetStatus.MatchString(l.text):
				m := wgetStatus.FindStringSubmatch(l.text)
				x.finish()
				status, _ := strconv.Atoi(m[1])
				x.answer = &Response{Status: status, Reason: m[2]}
				x.finish()
			case indented && (statusLine.MatchString(text) || x.part == inResponse):
				if statusLine.MatchString(text) {
					x.replaceBareAnswer()
				}
				x.head(line{text, l.number}, nil, false)
			case x.part == inRequest || statusLine.MatchString(l.text) || requestLine.MatchString(l.text),
				x.part == inResponse && !indented:
				if statusLine.MatchString(l.text) {
					x.replaceBareAnswer()
				}
				x.head(l, lines[i+1:], false)
			default:
				x.finish()
				x.other(l)
			}
		default:
			x.plain(l, lines[i+1:])
		}
	}
	x.finish()
	x.flush()
	return x
}

// pythonSend and pythonReply match what http.client of Python prints with a debug level, as requests and urllib3 do.
var (
	pythonSend  = regexp.MustCompile(`^send: b['"](.*)['"]$`)
	pythonReply = regexp.MustCompile(`^reply: ['"](HTTP/.*?)(?:\\r\\n)?['"]$`)
	pythonField = regexp.MustCompile(`^header: ([A-Za-z0-9-]+: .*)$`)
	pythonEnds  = strings.NewReplacer(`\r\n`, "\n", `\n`, "\n", `\'`, "'", `\"`, `"`, `\\`, `\`)
)

// ofPython returns the messages that lines of http.client stand for.
func ofPython(lines []line) []line {
	var all []line
	fields := false
	for _, l := range lines {
		if m := pythonField.FindStringSubmatch(l.text); m != nil {
			all = append(all, line{m[1], l.number})
			continue
		}
		if fields {
			all, fields = append(all, line{"", l.number}), false
		}
		if m := pythonSend.FindStringSubmatch(l.text); m != nil {
			for text := range strings.SplitSeq(pythonEnds.Replace(m[1]), "\n") {
				all = append(all, line{text, l.number})
			}
			continue
		}
		if m := pythonReply.FindStringSubmatch(l.text); m != nil {
			all, fields = append(all, line{m[1], l.number}), true
			continue
		}
		all = append(all, l)
	}
	return all
}

// tracesOf reports whether lines are the output of curl -v, or of wget -S or -d.
func tracesOf(lines []line) (curl, wget bool) {
	for _, l := range lines {
		text := l.text
		if t := timestamp.FindString(text); t != "" {
			text = text[len(t):]
		}
		if rest, ok := strings.CutPrefix(text, "> "); ok && requestLine.MatchString(rest) {
			return true, false
		}
		if rest, ok := strings.CutPrefix(text, "< "); ok && statusLine.MatchString(rest) {
			return true, false
		}
		if strings.HasPrefix(text, "* Connected to ") || strings.HasPrefix(text, "*   Trying ") {
			curl = true // unless wget follows
		}
		if wgetStart.MatchString(text) || wgetStatus.MatchString(text) || strings.HasPrefix(text, "---request begin---") {
			return false, true
		}
		if rest, ok := strings.CutPrefix(text, "  "); ok && !strings.HasPrefix(rest, " ") && statusLine.MatchString(rest) {
			wget = true
		}
	}
	return curl, wget
}

// dedent removes the white space that begins all lines, as of a block of code in Markdown, and the
// mark of a citation if all lines have it.
func dedent(lines []line) []line {
	for _, mark := range []string{"    ", "\t", "> "} {
		all, first := true, ""
		for _, l := range lines {
			if strings.TrimSpace(l.text) == "" || l.text == strings.TrimSpace(mark) {
				continue
			}
			if first == "" {
				first = strings.TrimPrefix(l.text, mark)
			}
			if !strings.HasPrefix(l.text, mark) {
				all = false
				break
			}
		}
		// Without a response in the same text, "> GET" is the request of curl -v.
		if !all || first == "" || mark == "> " && !statusLine.MatchString(first) {
			continue
		}
		cut := make([]line, len(lines))
		for i, l := range lines {
			cut[i] = line{strings.TrimPrefix(l.text, mark), l.number}
			if l.text == strings.TrimSpace(mark) {
				cut[i].text = ""
			}
		}
		return cut
	}
	return lines
}

// plain reads a line without a mark of a tool.
func (x *exchanges) plain(l line, rest []line) {
	switch {
	case x.part == inRequest || x.part == inResponse:
		x.head(l, rest, false)
	case statusLine.MatchString(l.text) || requestLine.MatchString(l.text),
		x.part == outside && shortLine.MatchString(l.text):
		x.head(l, rest, false)
	case x.part == outside && knownField(l.text) != 0:
		x.finish()
		if knownField(l.text) == '>' {
			x.begin(&Request{})
		} else {
			x.answer, x.part = &Response{}, inResponse
		}
		x.head(l, rest, false)
	case x.part == outside && bodyStart(l.text) && !bracketedWord.MatchString(l.text) && !logLine(l.text):
		x.answer, x.part = &Response{}, inBody // a body alone, after the status of another line
		x.other(l)
	default:
		x.other(l)
	}
}

// begin starts a request.
func (x *exchanges) begin(r *Request) {
	x.finish()
	if x.request != nil {
		x.all = append(x.all, Exchange{Request: x.request})
	}
	x.request, x.part = r, inRequest
}

// head reads a line of the header of a message. rest holds the lines after it, if these help to find
// the end of the header.
func (x *exchanges) head(l line, rest []line, sent bool) {
	text := l.text
	if m := statusLine.FindStringSubmatch(text); m != nil {
		x.finish()
		status, _ := strconv.Atoi(m[2])
		x.answer = &Response{
			Status: status,
			Reason: m[3],
			Proto:  m[1],
			Whole:  true,
		}
		x.part = inResponse
		return
	}
	m := requestLine.FindStringSubmatch(text)
	if m == nil && x.part != inRequest && x.part != inResponse {
		if m = shortLine.FindStringSubmatch(text); m != nil {
			m = append(m, "")
		}
	}
	if m != nil {
		x.begin(&Request{
			Method: m[1],
			URL:    m[2],
			Proto:  m[3],
			Whole:  true,
		})
		return
	}
	var fields *Fields
	switch x.part {
	case inRequest:
		fields = &x.request.Header
	case inResponse:
		fields = &x.answer.Header
	default:
		if sent && text != "" { // a header without its first lines
			x.begin(&Request{})
			fields = &x.request.Header
			break
		}
		x.other(l)
		return
	}
	if text == "" {
		x.body, x.part = nil, inBody
		return
	}
	if x.anonymous() {
		switch kind := knownField(text); {
		case kind == '<' && x.part == inRequest:
			x.finish()
			x.answer, x.part = &Response{}, inResponse
			fields = &x.answer.Header
		case kind == '>' && x.part == inResponse:
			x.begin(&Request{})
			fields = &x.request.Header
		}
	}
	if (text[0] == ' ' || text[0] == '\t') && len(*fields) > 0 { // obs-fold (RFC 9112 s5.2)
		last := &(*fields)[len(*fields)-1]
		if last.Raw == "" {
			last.Raw = last.Value
		}
		if len(last.Raw) > maxFolded {
			x.note(NotePart, l.at(), "Only the first 64 KiB of a folded field were read.")
			return
		}
		last.Raw += "\n" + text
		last.Value = strings.TrimRight(last.Value+" "+strings.Trim(text, " \t"), " ")
		return
	}
	f, ok := parseField(text)
	if ok {
		f.At = l.at()
		if trimmed := strings.TrimRight(f.Name, " \t"); trimmed != f.Name { // RFC 9112 s5.1
			f.Name = trimmed
			x.note(NoteMalformedLine, l.at(), "White space stands between the name of a field and its colon.")
		}
		*fields = append(*fields, f)
		return
	}
	if rest != nil && (bodyStart(text) || !fieldFollows(rest)) {
		x.body, x.part = nil, inBody
		x.other(l)
		return
	}
	x.note(NoteMalformedLine, l.at(), "A line of the header is not a field: it has no name with a colon.")
}

// Bounds of the reader of raw exchanges.
const (
	maxFolded = 64 << 10 // of a field on several lines, in octets
	maxNotes  = 100
	maxAhead  = 20 // lines in which the reader looks for a further field
)

// note adds a note, up to maxNotes.
func (x *exchanges) note(id, at, text string) {
	if len(x.notes) < maxNotes {
		x.notes = append(x.notes, Note{id, at, text})
	}
}

// anonymous reports whether the message being read began without a start line.
func (x *exchanges) anonymous() bool {
	return x.part == inRequest && x.request.Method == "" || x.part == inResponse && x.answer.Status == 0
}

// other reads a line outside of a header.
func (x *exchanges) other(l line) {
	if strings.Contains(l.text, ": ") && toolError.MatchString(l.text) {
		status := 0
		if m := toolStatus.FindStringSubmatch(l.text); m != nil {
			status, _ = strconv.Atoi(m[1] + m[2] + m[3])
		}
		x.finish()
		if status != 0 && x.request == nil && len(x.all) > 0 && x.all[len(x.all)-1].Response != nil {
			return // the response is known
		}
		if status != 0 {
			x.answer = &Response{Status: status}
			x.finish()
			return
		}
		x.log = append(x.log, l.text)
		x.all = append(x.all, Exchange{Request: x.request, Error: l.text})
		x.request = nil
		return
	}
	if x.part == inBody {
		// curl -v writes this behind a body that does not end in a line feed.
		text := l.text
		if strings.Contains(text, "* C") {
			text = intact.ReplaceAllString(text, "")
		}
		x.body = append(x.body, text)
		return
	}
	if x.part != outside {
		x.finish()
	}
	if text := strings.TrimSpace(l.text); text != "" && text != "$" {
		x.log = append(x.log, l.text)
	}
}

// info reads a note of curl.
func (x *exchanges) info(text string) {
	if certificateWish.MatchString(text) {
		x.note(NoteCertificateWish, "TLS", "The server asks for a certificate, and the client proves none.")
	} else if certificateMade.MatchString(text) {
		x.notes = slices.DeleteFunc(x.notes, func(n Note) bool { return n.ID == NoteCertificateWish })
	}
	if m := connected.FindStringSubmatch(text); m != nil {
		x.scheme = "http"
		if m[2] == "443" {
			x.scheme = "https"
		}
	}
	if strings.HasPrefix(text, "SSL connection using ") || strings.HasPrefix(text, "ALPN") {
		x.scheme = "https"
	}
	if m := another.FindStringSubmatch(text); m != nil {
		x.finish()
		x.next = m[1]
		return
	}
	lower := strings.ToLower(text)
	for _, word := range []string{"auth", "certificate", "alert", "refused", "denied", "expired", "proxy", "netrc", "timed out", "could not", "gss", "kerberos", "sspi"} {
		if strings.Contains(lower, word) {
			x.log = append(x.log, text)
			return
		}
	}
}

// replaceBareAnswer takes back the response that the summary of wget announced before its header.
func (x *exchanges) replaceBareAnswer() {
	x.finish()
	if n := len(x.all); n > 0 && x.all[n-1].Response != nil && !x.all[n-1].Response.Whole {
		x.request, x.all = x.all[n-1].Request, x.all[:n-1]
	}
}

// finish ends the message being read.
func (x *exchanges) finish() {
	body := strings.Join(x.body, "\n")
	wasBody := x.part == inBody
	x.body, x.part = nil, outside
	if x.answer == nil {
		if x.request != nil {
			x.address()
			if wasBody && body != "" && !x.notesInBody {
				own, rest := splitBody(body)
				if len(rest) == 0 && !strings.HasPrefix(own, "#") && logLine(firstLine(own)) {
					own, rest = "", strings.Split(own, "\n") // a log below a request without a body
				} else if method := strings.ToUpper(x.request.Method); (!bodyStart(own) || bracketedWord.MatchString(own)) && (method == "GET" || method == "HEAD" || method == "OPTIONS" || method == "CONNECT" || method == "PROPFIND") {
					own, rest = "", strings.Split(body, "\n") // such a request has no content: lines of a log or of the client follow
				}
				x.request.Body = []byte(own)
				for _, l := range rest {
					if strings.TrimSpace(l) != "" {
						x.log = append(x.log, l)
					}
				}
			}
		}
		return
	}
	r := x.answer
	x.answer = nil
	if r.Status >= 100 && r.Status < 200 && r.Status != 101 {
		return // an interim response (RFC 9110 s15.2): the final one follows
	}
	if body != "" {
		own, rest := splitBody(body)
		if r.Header.Get("Content-Length") == "0" && !bodyStart(own) { // what follows is not of the server
			own, rest = "", strings.Split(body, "\n")
		}
		r.Body = []byte(own)
		x.log = append(x.log, rest...)
	}
	x.all = append(x.all, Exchange{Request: x.request, Response: r})
	x.request = nil
}

// flush ends a request without a response.
func (x *exchanges) flush() {
	if x.request != nil {
		x.address()
		x.all = append(x.all, Exchange{Request: x.request})
		x.request = nil
	}
}

// address completes the URL of the request from its Host and pseudo-header fields and the connection.
func (x *exchanges) address() {
	r := x.request
	kept := r.Header[:0]
	host, scheme := "", x.scheme
	for _, f := range r.Header {
		switch strings.ToLower(f.Name) { // RFC 9113 s8.3.1, as browsers show them
		case ":authority":
			host = f.Value
		case ":method":
			r.Method, r.Whole = f.Value, true
		case ":path":
			r.URL = f.Value
		case ":scheme":
			scheme = f.Value
		default:
			kept = append(kept, f)
		}
	}
	r.Header = kept
	if host == "" {
		host = r.Header.Get("Host")
	}
	if x.next != "" {
		if u, err := url.Parse(x.next); err == nil && u.Host != "" {
			scheme = u.Scheme
			if host == "" {
				host = u.Host
			}
		}
		x.next = ""
	}
	r.URL = absolute(scheme, host, r.URL, r.Method)
}

// absolute returns the URL of a request target. Without a known scheme it is https, as of most
// servers that authenticate, but http for this machine and for port 80.
func absolute(scheme, host, target, method string) string {
	if host == "" || strings.Contains(target, "://") || method == "CONNECT" || strings.ContainsAny(host, "/ \t@\\") {
		return target
	}
	if scheme == "" {
		scheme = "https"
		name := host
		if u, err := url.Parse("http://" + host); err == nil {
			name = u.Hostname()
			if u.Port() == "80" {
				scheme = "http"
			}
		}
		if loopback.Host(name) {
			scheme = "http"
		}
	}
	if target != "" && target[0] != '/' {
		if target == "*" {
			target = ""
		} else {
			target = "/" + target
		}
	}
	return scheme + "://" + host + target
}

// parseField parses a line of a header. The name may end in white space, which a message may not
// have.
func parseField(text string) (Field, bool) {
	from := 0
	if strings.HasPrefix(text, ":") { // pseudo-header field
		from = 1
	}
	i := strings.IndexByte(text[from:], ':')
	if i <= 0 || i > 200 {
		return Field{}, false
	}
	name, value := text[:from+i], text[from+i+1:]
	trimmed := strings.TrimRight(name[from:], " \t")
	if trimmed == "" {
		return Field{}, false
	}
	for i := range len(trimmed) {
		if b := trimmed[i]; b <= ' ' || b >= 0x7f || strings.IndexByte("\"(),/:;<=>?@[\\]{}", b) >= 0 { // RFC 9110 s5.6.2
			return Field{}, false
		}
	}
	if (name == "http" || name == "https") && strings.HasPrefix(value, "//") {
		return Field{}, false
	}
	return Field{Name: name, Value: strings.Trim(value, " \t")}, true
}

// bodyStart reports whether a line can only be the start of a body.
func bodyStart(text string) bool {
	text = strings.TrimLeft(text, " \t")
	return text != "" && strings.IndexByte("{[<", text[0]) >= 0 && !strings.HasPrefix(text, "<-") // loggers mark requests with arrows
}

// fieldFollows reports whether a field stands in lines before the next empty one.
func fieldFollows(lines []line) bool {
	for _, l := range lines[:min(len(lines), maxAhead)] {
		if strings.TrimSpace(l.text) == "" || bodyStart(l.text) {
			return false
		}
		if _, ok := parseField(l.text); ok {
			return true
		}
	}
	return false
}

// Fields that show without a start line to which kind of message they belong.
var (
	fieldsOfRequests = []string{
		"accept", "accept-encoding", "accept-language", "access-control-request-headers", "access-control-request-method",
		"apikey", "authorization", "cookie", "dpop", "host", "origin", "proxy-authorization", "referer", "user-agent",
		"x-amz-date", "x-amz-security-token", "x-api-key", ":authority", ":method", ":path", ":scheme",
	}
	fieldsOfResponses = []string{
		"access-control-allow-origin", "authentication-info", "cache-control", "cf-ray", "content-length",
		"content-type", "date", "dpop-nonce", "location", "proxy-authenticate", "retry-after", "server", "set-cookie",
		"vary", "via", "www-authenticate", "x-powered-by", "x-request-id",
	}
)

// knownField returns '>' for a line with a field of requests, '<' for one of responses, and 0 for all
// other lines.
func knownField(text string) byte {
	f, ok := parseField(text)
	if !ok {
		return 0
	}
	name := strings.ToLower(strings.TrimRight(f.Name, " \t"))
	for _, known := range fieldsOfRequests {
		if name == known {
			return '>'
		}
	}
	for _, known := range fieldsOfResponses {
		if name == known {
			return '<'
		}
	}
	return 0
}

// splitBody separates a body from lines of a log or a configuration that follow it.
func splitBody(text string) (body string, log []string) {
	end := len(text)
	trimmed := strings.TrimLeft(text, " \t\n")
	switch {
	case trimmed == "":
		return "", nil
	case trimmed[0] == '{' || trimmed[0] == '[':
		d := jsontext.NewDecoder(strings.NewReader(trimmed), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
		if d.SkipValue() == nil {
			if after := len(text) - len(trimmed) + int(d.InputOffset()); text[after:] == "" || strings.ContainsAny(text[after:after+1], "\r\n \t") ||
				strings.HasPrefix(text[after:], "---") {
				end = after
			}
		}
	case trimmed[0] == '<':
		if i := strings.LastIndex(text, ">"); i >= 0 && !strings.Contains(text[:i], "\n\n20") {
			end = i + 1
		}
	case programLine(firstLine(trimmed)) || redirectLine.MatchString(firstLine(trimmed)):
		end = 0
	default:
		if i := strings.Index(text, "\n\n"); i >= 0 && logLine(firstLine(strings.TrimLeft(text[i:], "\n"))) {
			end = i
		}
		for i := strings.IndexByte(text, '\n'); i >= 0 && i < end; { // a log right below a body of one line or a few
			next := strings.IndexByte(text[i+1:], '\n')
			if besideLine(firstLine(text[i+1:])) {
				end = i
			}
			if next < 0 {
				break
			}
			i += 1 + next
		}
	}
	for l := range strings.SplitSeq(text[end:], "\n") {
		if l = strings.TrimRight(l, " \t\r"); l != "" && !strings.HasPrefix(l, "```") {
			log = append(log, l)
		}
	}
	return string(bytes.TrimRight([]byte(text[:end]), "\r\n")), log
}

// bracketedWord begins a line of a log: [error], [ssl:info].
var bracketedWord = regexp.MustCompile(`^\s*\[[A-Za-z_]+[:\]]`)

// firstLine returns the text before the first line feed.
func firstLine(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	return first
}

// logStart matches the beginning of a line of a log or a configuration.
var logStart = regexp.MustCompile(`^\s*(\[?[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}|[0-9]{2}:[0-9]{2}:[0-9]{2}[,. ]|[0-9]{1,3}(\.[0-9]{1,3}){3} - |[A-Z][a-z]{2} +[0-9]{1,2} [0-9]{2}:|` +
	`\[[0-9]{1,2}/[A-Z][a-z]{2}/[0-9]{4}[ :]|\[[A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9]?[0-9] |\[?(DEBUG|INFO|WARN|WARNING|ERROR|FATAL)\b|(time|level|ts|msg)=|location +\S+ *\{|server *\{|<(VirtualHost|Location|Directory)\b|#)`)

// logLine reports whether a line looks like one of a log or a configuration.
func logLine(text string) bool { return logStart.MatchString(text) }
