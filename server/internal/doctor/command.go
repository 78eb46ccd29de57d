package doctor

import (
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Other commands than curl: the copies of the developer tools of Chromium and Firefox as PowerShell
// and as a call of fetch, and the options of wget and HTTPie that matter for authentication.

// commandTool is a tool with commands that readCommand reads.
type commandTool string

const (
	toolCurl       commandTool = "curl"
	toolPowerShell commandTool = "powershell"
	toolFetch      commandTool = "fetch"
	toolWget       commandTool = "wget"
	toolHTTPie     commandTool = "httpie"
)

var (
	powerShellStart = regexp.MustCompile(`(?i)^(?:\$\w+ *= *)?(?:Invoke-WebRequest|Invoke-RestMethod|iwr|irm|New-Object +Microsoft\.PowerShell\.Commands\.WebRequestSession)\b`)
	fetchStart      = regexp.MustCompile(`^(?:(?:const|let|var) +\w+ *= *)?(?:await +)?fetch\(`)
	wgetCommand     = regexp.MustCompile(`^wget\s`)
	httpieCommand   = regexp.MustCompile(`^(?:https?|xhs?) +(?:-|[A-Z]+ |\S*[.:/]\S*)`)
	assignment      = regexp.MustCompile(`^(?:export +|set +)?[A-Za-z_][A-Za-z0-9_]*=\S*\s*$|^#!? ?|^\s*$`)
)

// command returns the tool of the command at the start of text, behind a prompt or behind lines
// that set variables. ok is false if there is no command that readCommand reads.
func command(text string) (tool commandTool, ok bool) {
	text, _ = skipAssignments(text)
	_, text = cutPrompt(text)
	switch {
	case curlStart.MatchString(text):
		return toolCurl, true
	case powerShellStart.MatchString(text):
		return toolPowerShell, true
	case fetchStart.MatchString(text):
		return toolFetch, true
	case wgetCommand.MatchString(text):
		return toolWget, true
	case httpieCommand.MatchString(text):
		return toolHTTPie, true
	}
	return "", false
}

// skipAssignments returns text without the lines before its command that set variables, are
// comments or are empty, and the number of these lines.
func skipAssignments(text string) (rest string, lines int) {
	rest = text
	for lines < 20 {
		l, after, more := strings.Cut(rest, "\n")
		if !more || !assignment.MatchString(strings.TrimRight(l, "\r")) {
			break
		}
		if _, command := cutPrompt(l); command != l && curlStart.MatchString(command) {
			break // "# curl", at the prompt of root
		}
		rest = after
		lines++
	}
	return rest, lines
}

var (
	prompts = []*regexp.Regexp{
		regexp.MustCompile(`^(?:\([\w.-]+\) )?(?:\[?[\w.-]+@[\w.-]+[^$#%>\n]{0,80}\]?|[\w~./-]{1,60} ?)?\$ +`),
		regexp.MustCompile(`^(?:PS )?[A-Za-z]:\\[^>\n]{0,200}> ?`),
		regexp.MustCompile(`^PS> ?`),
		regexp.MustCompile(`^[❯➜»] +(?:~ +)?`),
	}
	// Comments, quotations and the output of curl begin like these prompts, so a known tool has to
	// follow.
	doubtfulPrompt = regexp.MustCompile(`^(?:\[?[\w.-]+@[\w.-]+[^$#%>\n]{0,80}\]?|[\w.-]{1,60})?[#%>] +`)
	knownTool      = regexp.MustCompile(`^(?:sudo +)?(?:curl|wget|https?|xhs?|docker|podman|skopeo|git|npm|yarn|pnpm|pip3?|twine|kubectl|helm|gh|glab|aws|gcloud|az|` +
		`openssl|durward|cargo|mvn|gradle|go|Invoke-WebRequest|Invoke-RestMethod|iwr|irm|http)(?:\.exe)?\s`)
)

// cutPrompt separates the prompt of a shell from the command behind it. prompt is empty if there is
// none.
func cutPrompt(text string) (prompt, command string) {
	if !strings.ContainsAny(text[:min(len(text), 320)], "$#%>❯➜»") {
		return "", text
	}
	for _, p := range prompts {
		if m := p.FindString(text); m != "" {
			return m, text[len(m):]
		}
	}
	if m := doubtfulPrompt.FindString(text); m != "" && knownTool.MatchString(text[len(m):]) {
		return m, text[len(m):]
	}
	return "", text
}

// readCommand reads a command of any tool that command names. rest is the text after it.
func readCommand(text string) (all []Exchange, notes []Note, rest string, err error) {
	text = strings.TrimSpace(text)
	tool, ok := command(text)
	if !ok {
		return nil, nil, "", errors.New("the input is not a command of curl, wget, HTTPie, PowerShell or fetch; copy the whole command")
	}
	text, _ = skipAssignments(text)
	_, text = cutPrompt(strings.TrimLeft(text, " \t"))
	switch tool {
	case toolPowerShell:
		all, notes, err = readPowerShell(text)
	case toolFetch:
		all, rest, err = readFetch(text)
	case toolWget, toolHTTPie:
		var end commandEnd
		if end, err = commandLength(text); err != nil {
			return nil, nil, "", err
		}
		words, err := shellWords(text[:end.at])
		if err != nil {
			return nil, nil, "", err
		}
		if tool == toolWget {
			all, notes = wgetRequests(words)
		} else {
			all, notes = httpieRequests(words)
		}
		rest = text[end.at:]
	default:
		all, notes, rest, err = readCurl(text)
	}
	if err == nil && len(all) == 0 {
		err = errors.New("the command has no address; copy the whole command")
	}
	return all, notes, rest, err
}

// psToken is a token of PowerShell: a string, a word, or one of the marks @{}()=;,
type psToken struct {
	word
	quoted bool
}

// powerShellTokens splits text into tokens.
func powerShellTokens(text string) ([]psToken, error) {
	var all []psToken
	for i := 0; i < len(text); {
		b := text[i]
		switch {
		case strings.IndexByte(" \t\r\n", b) >= 0:
			i++
		case b == '`':
			i += 2
			if i < len(text) && text[i-1] == '\r' && text[i] == '\n' {
				i++
			}
		case b == '"':
			var w word
			var value strings.Builder
			done := false
			for i++; i < len(text) && !done; {
				switch c := text[i]; {
				case c == '`' && i+1 < len(text):
					e := text[i+1]
					if at := strings.IndexByte("nrt0", e); at >= 0 {
						e = "\n\r\t\x00"[at]
					}
					value.WriteByte(e)
					i += 2
				case c == '"' && i+1 < len(text) && text[i+1] == '"':
					value.WriteByte('"')
					i += 2
				case c == '"':
					done = true
					i++
				case c == '$':
					if m := psCharacter.FindStringSubmatch(text[i:min(len(text), i+20)]); m != nil {
						n, _ := strconv.Atoi(m[1])
						value.WriteRune(rune(n))
						i += len(m[0])
					} else if m := psVariable.FindStringSubmatch(text[i:min(len(text), i+100)]); m != nil {
						w.variable = m[1]
						value.WriteString(m[0])
						i += len(m[0])
					} else {
						if strings.HasPrefix(text[i:], "$(") {
							w.variable = "command"
						}
						value.WriteByte('$')
						i++
					}
				default:
					value.WriteByte(c)
					i++
				}
			}
			if !done {
				return nil, errors.New("the command ends inside a string; copy the whole command")
			}
			w.text = value.String()
			all = append(all, psToken{w, true})
		case b == '\'':
			end, value := i+1, ""
			for {
				at := strings.IndexByte(text[end:], '\'')
				if at < 0 {
					return nil, errors.New("the command ends inside a string; copy the whole command")
				}
				value += text[end : end+at]
				if end += at + 1; end >= len(text) || text[end] != '\'' {
					break
				}
				value += "'"
				end++
			}
			all = append(all, psToken{word{text: value}, true})
			i = end
		case strings.IndexByte("@{}()=;,", b) >= 0:
			all = append(all, psToken{word: word{text: string(b)}})
			i++
		default:
			end := i
			for end < len(text) && strings.IndexByte(" \t\r\n`\"'@{}()=;,", text[end]) < 0 {
				end++
			}
			w := word{text: text[i:end]}
			if m := psVariable.FindStringSubmatch(w.text); m != nil {
				w.variable = m[1]
			}
			all = append(all, psToken{word: w})
			i = end
		}
	}
	return all, nil
}

var (
	psCharacter = regexp.MustCompile(`^\$\(\[char\]([0-9]{1,5})\)`)
	psVariable  = regexp.MustCompile(`^\$\{?(?:env:)?([A-Za-z_][A-Za-z0-9_]*)\}?`)
)

// readPowerShell reads calls of Invoke-WebRequest and the session object before them.
func readPowerShell(text string) ([]Exchange, []Note, error) {
	tokens, err := powerShellTokens(text)
	if err != nil {
		return nil, nil, err
	}
	var all []Exchange
	var session Fields
	var cookies []string
	var r *Request
	a := new(curlArguments) // gathers the notes
	at := func(i int) psToken {
		if i < len(tokens) {
			return tokens[i]
		}
		return psToken{}
	}
	end := func() {
		if r == nil {
			return
		}
		for _, f := range session {
			r.add(f.Name, f.Value, f.At, f.Variable, nil)
		}
		if len(cookies) > 0 {
			r.add("Cookie", strings.Join(cookies, "; "), "$session.Cookies", "", nil)
		}
		if r.Method == "" {
			r.Method = "GET"
		}
		if r.URL != "" && len(all) < maxCommands {
			all = append(all, Exchange{Request: r, Command: "powershell"})
		}
		r = nil
	}
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		name := strings.ToLower(t.text)
		switch {
		case t.quoted:
			if r != nil && r.URL == "" {
				r.URL = curlURL(t.text)
			}
		case name == "invoke-webrequest" || name == "invoke-restmethod" || name == "iwr" || name == "irm":
			end()
			r = &Request{Whole: true}
		case strings.HasSuffix(name, ".useragent") && at(i+1).text == "=":
			session = append(session, Field{
				Name:     "User-Agent",
				Value:    at(i + 2).text,
				At:       "$session.UserAgent",
				Variable: at(i + 2).variable,
			})
			i += 2
		case name == "system.net.cookie" && at(i+1).text == "(":
			cookies = append(cookies, at(i+2).text+"="+at(i+4).text)
			i += 4
		case r == nil:
		case name == "-uri":
			i++
			a.variable("-Uri", at(i).word)
			r.URL = curlURL(at(i).text)
		case name == "-method":
			i++
			r.Method = strings.ToUpper(at(i).text)
		case name == "-contenttype":
			i++
			r.Header = append(r.Header, Field{
				Name:  "Content-Type",
				Value: at(i).text,
				At:    "the argument of -ContentType",
			})
		case name == "-body":
			for i++; i < len(tokens) && !tokens[i].quoted && !strings.HasPrefix(tokens[i].text, "-"); {
				i++
			}
			r.Body = []byte(at(i).text)
		case name == "-headers" && at(i+1).text == "@" && at(i+2).text == "{":
			for i += 3; i < len(tokens) && (tokens[i].quoted || tokens[i].text != "}"); i++ {
				if at(i+1).text != "=" || at(i+1).quoted {
					continue
				}
				key, value := tokens[i].text, at(i+2)
				if !pseudo(key) {
					a.variable("-Headers", value.word)
					r.Header = append(r.Header, Field{
						Name:     key,
						Value:    strings.Trim(value.text, " \t"),
						At:       "the argument of -Headers",
						Variable: value.variable,
					})
				}
				i += 2
			}
		case name == "-token":
			i++
			r.Whole = false
			a.note(NoteAuthMethod, "-Token", "PowerShell sends a token that the command takes from an object.")
		case name == "-credential" || name == "-usedefaultcredentials":
			r.Whole = false
			a.note(NoteAuthMethod, t.text, "PowerShell answers a challenge with credentials that the command does not show.")
		case name == "-skipcertificatecheck":
			a.note(NoteInsecureTLS, t.text, "PowerShell does not check the server's certificate.")
		case name == "-certificatethumbprint" || name == "-certificate":
			r.ClientCertificate = true
		case r.URL == "" && strings.Contains(t.text, "://"):
			r.URL = curlURL(t.text)
		}
	}
	end()
	return all, a.notes, nil
}

// pseudo reports whether a name is one of the pseudo-header fields of HTTP/2 without its colon, as
// Chromium copies it.
func pseudo(name string) bool {
	return slices.Contains([]string{"authority", "method", "path", "scheme"}, strings.ToLower(strings.TrimPrefix(name, ":")))
}

// readFetch reads calls of fetch with arguments in JSON, as browsers copy them.
func readFetch(text string) (all []Exchange, rest string, err error) {
	broken := errors.New("the call of fetch is not as browsers copy it, with JSON as arguments; copy the request as cURL instead")
	rest = text
	for len(all) < maxCommands {
		start := fetchStart.FindString(rest)
		if start == "" {
			break
		}
		rest = rest[len(start):]
		d := jsontext.NewDecoder(strings.NewReader(rest))
		t, err := d.ReadToken()
		if err != nil || t.Kind() != '"' {
			return nil, "", broken
		}
		r := &Request{
			Method: "GET",
			URL:    curlURL(t.String()),
			Whole:  true,
		}
		rest = strings.TrimLeft(rest[d.InputOffset():], " \t\r\n")
		if after, ok := strings.CutPrefix(rest, ","); ok {
			d := jsontext.NewDecoder(strings.NewReader(after), jsontext.AllowDuplicateNames(true))
			value, err := d.ReadValue()
			if err != nil {
				return nil, "", broken
			}
			var options struct {
				Headers     jsontext.Value `json:"headers"`
				Referrer    string         `json:"referrer"`
				Body        *string        `json:"body"`
				Method      string         `json:"method"`
				Credentials string         `json:"credentials"`
			}
			if err := json.Unmarshal(value, &options, jsontext.AllowDuplicateNames(true)); err != nil {
				return nil, "", broken
			}
			rest = after[d.InputOffset():]
			if options.Method != "" {
				r.Method = options.Method
			}
			if options.Body != nil {
				r.Body = []byte(*options.Body)
			}
			if r.Header, err = fieldsOfJSON(options.Headers); err != nil {
				return nil, "", broken
			}
			if options.Referrer != "" {
				r.add("Referer", options.Referrer, "referrer", "", nil)
			}
			// The browser adds the cookies; the call does not show them.
			if options.Credentials == "include" || options.Credentials == "same-origin" {
				r.Whole = r.Header.Has("Cookie")
			}
		}
		all = append(all, Exchange{Request: r, Command: "fetch"})
		rest = strings.TrimLeft(rest, " \t\r\n);")
	}
	return all, rest, nil
}

// fieldsOfJSON reads an object of fields in its order.
func fieldsOfJSON(value jsontext.Value) (Fields, error) {
	if len(value) == 0 || value.Kind() == 'n' {
		return nil, nil
	}
	var f Fields
	d := jsontext.NewDecoder(strings.NewReader(string(value)), jsontext.AllowDuplicateNames(true))
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return nil, errors.New("not an object")
	}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		field := Field{Name: name.String(), At: "headers"}
		value, err := d.ReadToken()
		if err != nil || value.Kind() != '"' {
			return nil, errors.New("not a text")
		}
		if field.Value = value.String(); !strings.HasPrefix(field.Name, ":") {
			f = append(f, field)
		}
	}
	return f, nil
}

// wgetRequests works out the request of a command of wget.
func wgetRequests(words []word) ([]Exchange, []Note) {
	a := new(curlArguments)
	user, password := word{}, word{}
	for i := 1; i < len(words); i++ {
		w := words[i]
		name, value, inline := strings.Cut(w.text, "=")
		take := func() word {
			if inline {
				return word{value, w.variable}
			}
			if i++; i < len(words) {
				return words[i]
			}
			return word{}
		}
		switch name {
		case "--header":
			a.header(name, take(), nil)
		case "--user", "--http-user":
			user = take()
		case "--password", "--http-password":
			password = take()
		case "--ask-password", "--use-askpass":
			a.partly = true
			a.note(NotePasswordPrompt, name, "wget asks for the password.")
		case "--method":
			a.method = take().text
		case "--post-data", "--body-data":
			a.posts = "application/x-www-form-urlencoded"
			a.data = append(a.data, take().text)
		case "--post-file", "--body-file":
			a.posts = "application/x-www-form-urlencoded"
			take()
		case "--no-check-certificate":
			a.note(NoteInsecureTLS, name, "wget does not check the server's certificate.")
		case "--certificate":
			a.cert = true
			take()
		case "--load-cookies":
			a.partly = true
			take()
			a.note(NoteConfigFile, name, "wget reads cookies from a file.")
		case "-U", "--user-agent":
			a.field(name, "User-Agent", take())
		case "--referer":
			a.field(name, "Referer", take())
		case "-O", "-o", "-P", "-t", "-T", "--output-document", "--timeout", "--tries":
			take()
		default:
			if !strings.HasPrefix(w.text, "-") {
				a.urls = append(a.urls, w)
			}
		}
	}
	if user.text != "" {
		// Without --auth-no-challenge, wget sends Basic credentials after a challenge; then it repeats the request.
		a.user = &word{user.text + ":" + password.text, user.variable + password.variable}
	}
	all := a.requests()
	for i := range all {
		all[i].Command = "wget"
	}
	return all, a.notes
}

// httpieItem matches an item of an HTTPie command: a name, a separator and a value.
var httpieItem = regexp.MustCompile(`^([A-Za-z0-9_-]+)(:=@|:=|==|=@|@|:|=)(.*)$`)

// httpieRequests works out the request of a command of HTTPie (http, https, xh).
func httpieRequests(words []word) ([]Exchange, []Note) {
	a := new(curlArguments)
	scheme := "http://"
	if strings.HasSuffix(words[0].text, "s") {
		scheme = "https://"
	}
	kind := ""
	for i := 1; i < len(words); i++ {
		w := words[i]
		name, value, inline := strings.Cut(w.text, "=")
		take := func() word {
			if inline && strings.HasPrefix(w.text, "-") {
				return word{value, w.variable}
			}
			if i++; i < len(words) {
				return words[i]
			}
			return word{}
		}
		item := httpieItem.FindStringSubmatch(w.text)
		switch {
		case name == "-a" || name == "--auth":
			u := take()
			a.user = &u
			a.variable(name, u)
		case name == "-A" || name == "--auth-type":
			kind = strings.ToLower(take().text)
		case name == "--session" || name == "--session-read-only":
			take()
			a.partly = true
			a.note(NoteConfigFile, name, "HTTPie takes fields and cookies from a session file.")
		case name == "--verify":
			if v := take().text; v == "no" || v == "false" {
				a.note(NoteInsecureTLS, name, "HTTPie does not check the server's certificate.")
			}
		case name == "-F" || name == "--follow":
			a.note(NoteFollowsRedirect, name, "HTTPie follows redirects.")
		case name == "--cert":
			take()
			a.cert = true
		case name == "-o" || name == "--output" || name == "--timeout" || name == "-p" || name == "--print" || name == "-s" || name == "--style":
			take()
		case strings.HasPrefix(w.text, "-"):
		case len(a.urls) == 0 && a.method == "" && w.text == strings.ToUpper(w.text) && len(w.text) >= 3 && !strings.ContainsAny(w.text, ".:/"):
			a.method = w.text
		case len(a.urls) == 0:
			if strings.HasPrefix(w.text, ":") { // :8080/path is localhost
				w.text = "localhost" + w.text
			}
			if !strings.Contains(w.text, "://") {
				w.text = scheme + w.text
			}
			a.urls = append(a.urls, w)
		case item != nil && item[2] == ":":
			a.header("an item", w, nil)
		case item != nil && item[2] == "==":
			a.queries = append(a.queries, urlencoded(item[1]+"="+item[3]))
		case item != nil:
			a.posts = "application/json"
		}
	}
	switch kind {
	case "bearer":
		a.bearer, a.user = a.user, nil
	case "", "basic":
	default:
		a.auth, a.partly = kind, true
		a.note(NoteAuthMethod, "-A", "HTTPie authenticates with a scheme, and the command does not show its credentials.")
	}
	all := a.requests()
	for i := range all {
		all[i].Command = "httpie"
	}
	return all, a.notes
}
