package doctor

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The reader of transcripts splits the text of a terminal: commands behind prompts, each with its
// output. A command goes to the reader of commands, its output to the reader of raw exchanges, all
// other lines to the log. The parts are one history.

// step is a command of a transcript with its output.
type step struct {
	command string
	first   int    // number of the command's line
	output  []line // up to the next command
}

// stepsOf splits lines at commands. before holds the lines in front of the first one.
func stepsOf(lines []line) (before []line, steps []step) {
	for i := 0; i < len(lines); i++ {
		prompt, text := cutPrompt(lines[i].text)
		bare := prompt == "" && len(steps) == 0 && (curlStart.MatchString(text) || wgetCommand.MatchString(text)) && onlyAssignments(before)
		bare = bare || prompt == "" && curlStart.MatchString(text) && answered(lines[i+1:])
		if prompt == "" && !bare || strings.TrimSpace(text) == "" {
			if len(steps) == 0 {
				before = append(before, lines[i])
			} else {
				last := &steps[len(steps)-1]
				last.output = append(last.output, lines[i])
			}
			continue
		}
		s := step{command: text, first: lines[i].number}
		// The command goes on over line ends in quotes and behind backslashes and carets.
		for work := 0; i+1 < len(lines) && work < maxContinued && unfinished(s.command); work += len(s.command) {
			next := lines[i+1].text
			if strings.HasSuffix(s.command, `\`) {
				next = strings.TrimPrefix(next, "> ") // the second prompt of a shell
			}
			s.command += "\n" + next
			i++
		}
		steps = append(steps, s)
	}
	return before, steps
}

// answered reports whether a response follows a command of one line or more: the command was run.
func answered(lines []line) bool {
	for _, l := range lines[:min(len(lines), maxAhead)] {
		if curlStart.MatchString(l.text) || requestLine.MatchString(l.text) {
			return false
		}
		if statusLine.MatchString(l.text) {
			return true
		}
	}
	return false
}

// onlyAssignments reports whether lines only set variables.
func onlyAssignments(lines []line) bool {
	for _, l := range lines {
		if !assignment.MatchString(l.text) {
			return false
		}
	}
	return true
}

// unfinished reports whether a command goes on in the next line.
func unfinished(command string) bool {
	last := command[strings.LastIndexByte(command, '\n')+1:]
	if strings.HasSuffix(last, `\`) || strings.HasSuffix(last, " ^") || strings.HasSuffix(last, " `") {
		return true
	}
	switch {
	case curlStart.MatchString(command) && cmdExe(command):
		_, end := cmdWords(command)
		return strings.HasSuffix(last, "^") || end.by == '"'
	case curlStart.MatchString(command) || wgetCommand.MatchString(command):
		_, err := commandLength(command)
		return err != nil
	case powerShellStart.MatchString(command):
		tokens, err := powerShellTokens(command)
		open := 0
		for _, t := range tokens {
			if !t.quoted && t.text == "{" {
				open++
			} else if !t.quoted && t.text == "}" {
				open--
			}
		}
		return err != nil || open > 0 || powerShellSession.MatchString(command)
	}
	return false
}

// powerShellSession matches the lines that make a session object. The call that uses it follows.
var powerShellSession = regexp.MustCompile(`(?i)^\$\w+ *= *New-Object +Microsoft\.PowerShell\.Commands\.WebRequestSession(?:\s+\$\w+\.[^\n]*)*$`)

// maxContinued bounds the octets that the search for the end of a command of many lines reads.
const maxContinued = 64 << 20

// isTranscript reports whether lines hold a command with output below it.
func isTranscript(lines []line) bool {
	before, steps := stepsOf(lines)
	if len(steps) == 0 {
		return false
	}
	if len(before) > 0 && !onlyAssignments(before) { // an exchange or prose, then a command
		return true
	}
	commands := 0
	for _, s := range steps {
		if _, ok := command(s.command); !ok {
			commands++
		}
		for _, l := range s.output {
			text := strings.TrimSpace(l.text)
			if text != "" && !strings.HasPrefix(text, "```") && !isCommand(text) && !strings.HasPrefix(text, "-") {
				return true
			}
		}
	}
	return commands > 0 && len(steps) > 1
}

// showsFile matches a command that prints a file or the environment, and no response.
var showsFile = regexp.MustCompile(`^(?:sudo )?(?:cat|type|head|tail|less|more|bat|env|printenv|Get-Content) *(?:$|[-~./\w|$"'%])`)

// readTranscript reads commands with their output.
func (c *Case) readTranscript(text string) error {
	before, steps := stepsOf(linesOf(text))
	if len(before) > 0 && !onlyAssignments(before) {
		c.addExchanges(readRaw(before))
	}
	for _, l := range before {
		if strings.HasPrefix(l.text, "# ") && !slices.Contains(c.Log, l.text) { // the user's words
			c.Log = append(c.Log, l.text)
		}
	}
	for _, s := range steps {
		_, ok := command(s.command)
		if !ok && showsFile.MatchString(s.command) && !slices.ContainsFunc(s.output, func(l line) bool { return strings.Contains(l.text, "HTTP/") }) {
			c.Log = append(c.Log, firstLine(s.command))
			for _, l := range s.output {
				c.Log = append(c.Log, l.text)
			}
			continue
		}
		x := readRaw(s.output)
		if !ok {
			c.Log = append(c.Log, firstLine(s.command))
			c.addExchanges(x)
			continue
		}
		requests, notes, rest, err := readCommand(s.command)
		if err != nil {
			c.addNotes([]Note{{NotePart, line{number: s.first}.at(), "The command could not be read: " + err.Error() + "."}})
			c.addExchanges(x)
			continue
		}
		c.addNotes(notes)
		c.addLog(pipes.ReplaceAllString(rest, ""))
		merge(requests, x, notes)
		c.addExchanges(x)
	}
	if len(c.Exchanges) == 0 && len(c.Log) == 0 {
		return &InputError{"the transcript has no exchange", "Paste the command with its output, for example of curl -i."}
	}
	return nil
}

// pipes matches the rest of a command line behind an operator of the shell.
var pipes = regexp.MustCompile(`^\s*[|;&>]+[^\n]*`)

// merge gives the requests of a command to the responses in its output.
func merge(requests []Exchange, x *exchanges, notes []Note) {
	tool := requests[0].Command
	seen := false
	for i := range x.all {
		x.all[i].Command = tool
		seen = seen || x.all[i].Request != nil
	}
	first := requests[0].Request
	switch {
	case seen: // curl -v and wget -S show the requests
		for i := range x.all {
			r := x.all[i].Request
			if r == nil {
				continue
			}
			r.ClientCertificate = r.ClientCertificate || first.ClientCertificate
			if !r.Whole && len(r.Header) == 0 { // wget -S shows the address alone
				*r = *first
				if i > 0 {
					if next := following(x.all[i-1].Request, x.all[i-1].Response, false); next != nil {
						*r = *next
					}
				}
			}
			if u, err := url.Parse(first.URL); err == nil && !strings.Contains(r.URL, "://") {
				r.URL = absolute(u.Scheme, u.Host, r.URL, r.Method)
			} else if err == nil && u.Scheme != "" {
				_, after, _ := strings.Cut(r.URL, "://")
				if strings.HasPrefix(after, u.Host+"/") || after == u.Host {
					r.URL = u.Scheme + "://" + after
				}
			}
		}
	case len(x.all) == 0:
		body := strings.Join(x.log, "\n")
		e := requests[len(requests)-1]
		if bodyStart(body) { // the output is the body of a response without its status
			own, rest := splitBody(body)
			e.Response = &Response{Body: []byte(own)}
			x.log = rest
		} else if m := statusOutput.FindStringSubmatch(firstLine(body)); m != nil { // -w "%{http_code}", or a body that repeats the status
			status, _ := strconv.Atoi(m[1])
			e.Response = &Response{Status: status}
			x.log = x.log[1:]
		}
		x.all = append(requests[:len(requests)-1:len(requests)-1], e)
	case len(requests) == len(x.all):
		for i := range x.all {
			x.all[i].Request = requests[i].Request
		}
	default:
		trusted := false
		for _, n := range notes {
			trusted = trusted || n.ID == NoteSendsToOthers
		}
		request := first
		for i := range x.all {
			x.all[i].Request = request
			request = following(request, x.all[i].Response, trusted)
		}
	}
}

// statusOutput matches an output that is no more than a status.
var statusOutput = regexp.MustCompile(`(?i)^\s*(?:HTTP[ /:]*)?([1-5]\d\d)(?:[ :-]+(?:unauthorized|forbidden|proxy authentication required|authorization required|ok|found|not found))?\s*$`)

// following returns the request that a client sends after a response: to the address of a redirect,
// or the same request with an answer to the challenge.
func following(r *Request, resp *Response, trusted bool) *Request {
	if r == nil || resp == nil {
		return nil
	}
	next := *r
	next.Header = nil
	next.Whole = false
	location := resp.Header.Get("Location")
	if resp.Status < 300 || resp.Status > 399 || location == "" {
		next.Header = r.Header
		return &next
	}
	base, err := url.Parse(r.URL)
	if err != nil {
		return nil
	}
	to, err := base.Parse(location)
	if err != nil {
		return nil
	}
	next.URL = to.String()
	if resp.Status != 307 && resp.Status != 308 && r.Method != "HEAD" { // RFC 9110 s15.4
		next.Method, next.Body = "GET", nil
	}
	same := to.Scheme == base.Scheme && to.Host == base.Host
	for _, f := range r.Header {
		if same || trusted || !secretField(f.Name) {
			next.Header = append(next.Header, f)
		}
	}
	next.Whole = r.Whole && (same || trusted)
	return &next
}

// secretField reports whether a client keeps a field from other origins.
func secretField(name string) bool {
	switch strings.ToLower(name) {
	case "authorization", "cookie":
		return true
	}
	return false
}
