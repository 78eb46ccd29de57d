package doctor

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/durward-auth/durward/internal/printable"
)

// The reader of commands reads a command that a user pastes or a browser copies. It parses it and
// works out the request that curl sends. It never runs and never expands anything: a variable or a
// command substitution stays in the value, and Field.Variable names it.

// Bounds of the reader of commands.
const (
	maxCommands      = 64  // requests of one input
	maxSubstitutions = 100 // openings of substitutions: they are read recursively
)

// word is an argument of a command.
type word struct {
	text     string
	variable string // as Field.Variable
}

// curlStart matches the beginning of a curl command.
var curlStart = regexp.MustCompile(`^(?:sudo +|time +|command +|env +)?(?:[A-Za-z_][A-Za-z0-9_]*=\S* +)*(?:\S*[/\\])?curl(?:\.exe)?(?:\s|$)`)

// readCurl reads one or several curl commands, of a shell of Unix or of cmd.exe. rest is the text
// after the last one.
func readCurl(text string) (all []Exchange, notes []Note, rest string, err error) {
	rest = strings.TrimSpace(text)
	cmd := cmdExe(rest)
	if strings.ContainsAny(rest, "“”‘’") && !strings.ContainsAny(rest, `"'`) {
		notes = append(notes, Note{NoteTypographic, "command",
			"Typographic quotation marks stand in the command. A shell takes them as letters; write \" or '."})
		rest = strings.NewReplacer("“", `"`, "”", `"`, "‘", "'", "’", "'").Replace(rest)
	}
	for curlStart.MatchString(rest) {
		if len(all) >= maxCommands {
			notes = append(notes, Note{NotePart, "command", "Only the first 64 requests of the commands were read."})
			break
		}
		var words []word
		var end commandEnd
		if cmd {
			if words, end = cmdWords(rest); end.by == '"' {
				return nil, nil, "", errors.New("the command ends inside a quotation; copy the whole command")
			}
		} else {
			end, err = commandLength(rest)
			if err != nil {
				return nil, nil, "", err
			}
			if words, err = shellWords(rest[:end.at]); err != nil {
				return nil, nil, "", err
			}
		}
		cut := false
		rest = rest[end.at:]
		if end.by == '&' && len(rest) > 1 && rest[1] != '&' && strings.IndexByte(" \t\r\n", rest[1]) < 0 {
			cut = true
		}
		// Options on the next line: the line end had no backslash before it.
		next := strings.TrimLeft(rest, " \t\r\n")
		if end.by == '\n' && strings.HasPrefix(next, "-") && !strings.HasPrefix(next, "---") {
			notes = append(notes, Note{NoteFieldNotSent, "command",
				"A line end without a backslash before it ends the command, so the shell does not pass the options below it."})
			more, moreEnd, moreErr := optionsBelow(next)
			if moreErr == nil {
				words, rest = append(words, more...), next[moreEnd:]
			}
		}
		requests, more := curlRequests(words)
		notes = append(notes, more...)
		if cut {
			if i := strings.IndexByte(rest, '\n'); i >= 0 {
				rest = rest[i:]
			} else {
				rest = ""
			}
			notes = append(notes, Note{NoteAddressCut, "the address",
				"An & without quotes ends the command in the shell, so the address is cut there. Put the address in quotes."})
		}
		all = append(all, requests...)
		rest = strings.TrimLeft(rest, " \t\r\n")
		if end.by == ';' || end.by == '&' || end.by == '|' {
			rest = strings.TrimLeft(strings.TrimLeft(rest, ";&|"), " \t\r\n")
		}
	}
	if len(all) == 0 {
		return nil, notes, rest, errors.New("the curl command has no address; copy the whole command")
	}
	return all, notes, rest, nil
}

// optionsBelow reads lines of options that a line end cut off from their command.
func optionsBelow(text string) ([]word, int, error) {
	length := 0
	var words []word
	for strings.HasPrefix(text[length:], "-") {
		end, err := commandLength(text[length:])
		if err != nil {
			return nil, 0, err
		}
		// The parser wants a command; its name is not looked at.
		more, err := shellWords("curl " + text[length:length+end.at])
		if err != nil {
			return nil, 0, err
		}
		words = append(words, more[1:]...)
		length += end.at
		if end.by != '\n' {
			break
		}
		length += len(text[length:]) - len(strings.TrimLeft(text[length:], " \t\r\n"))
	}
	return words, length, nil
}

// commandEnd is the end of a command in a text.
type commandEnd struct {
	at int
	by byte // ';', '&', '|', '\n', 0 at the end of the text, or '"' there if a quotation is open (cmd.exe)
}

// commandLength finds the end of the first command of a text of a Unix shell. Only that command
// goes to shellWords.
func commandLength(text string) (commandEnd, error) {
	r := shellReader{text: text, loose: true} // shellWords tells the mistake in an expansion
	var word word
	var ignored strings.Builder
	for r.at < len(text) {
		i, b, bad := r.at, text[r.at], -1
		switch {
		case b == '\\':
			if r.at += 2; strings.HasPrefix(text[i+1:], "\r") {
				r.at++ // a continued line with the line end of Windows
			}
			r.at = min(r.at, len(text))
		case b == '\'':
			bad = r.skipSingle()
		case r.has("$'"):
			bad = r.skipANSI()
		case b == '"':
			bad = r.double(&word, &ignored)
		case r.has("<("), r.has(">("):
			r.at++
			bad = r.substitution(&word, &ignored)
		case b == '$' || b == '`':
			bad = r.expansion(&word, &ignored, false)
		case b == '#' && i > 0 && strings.IndexByte(" \t", text[i-1]) >= 0:
			if end := strings.IndexByte(text[i:], '\n'); end >= 0 {
				return commandEnd{i, '\n'}, nil
			}
			return commandEnd{i, 0}, nil
		case b == '&' && (i > 0 && strings.IndexByte("<>", text[i-1]) >= 0 || strings.HasPrefix(text[i+1:], ">")):
			r.at++ // a redirection
		case strings.IndexByte(";&|\n)", b) >= 0:
			return commandEnd{i, b}, nil
		default:
			r.at++
		}
		switch {
		case r.tooDeep():
			return commandEnd{}, errors.New("the command has more than 100 substitutions; paste the command that sent the request, not a script")
		case bad >= 0:
			return commandEnd{}, fmt.Errorf("the command ends inside the quotation or substitution that begins at octet %d; copy the whole command", bad+1)
		}
	}
	return commandEnd{len(text), 0}, nil
}

// cmdExe reports whether a command is written for cmd.exe, as browsers copy it on Windows.
func cmdExe(text string) bool {
	if caretQuote.MatchString(text) {
		return true
	}
	for l := range strings.SplitSeq(text, "\n") {
		l = strings.TrimRight(l, "\r")
		if strings.HasSuffix(l, " ^") || strings.HasSuffix(l, `" &`) {
			return true
		}
		if strings.HasSuffix(l, ` \`) {
			return false
		}
	}
	return false
}

// caretQuote matches a command with a caret before its first quotation mark.
var caretQuote = regexp.MustCompile(`^[^"'\n]*curl(?:\.exe)?[ \t][^"'\n]*\^"`)

// cmdWords returns the arguments of one command of cmd.exe.
//
// Two programs read such a command: cmd.exe takes a caret off the character behind it, and the
// runtime library of the called program splits the rest at blanks outside of quotation marks.
// Chromium and Firefox write a caret before each mark and a backslash before each backslash, mark,
// dollar and backtick of the value. Older Chromium wrote carets in quotation marks too, where cmd.exe
// leaves them; the reader takes these off as well, because they are no part of the request.
func cmdWords(text string) ([]word, commandEnd) {
	var words []word
	var b strings.Builder
	started, quoted := false, false
	flush := func() {
		if started {
			w := word{text: b.String()}
			if m := percentVariable.FindStringSubmatch(w.text); m != nil {
				w.variable = m[1]
			}
			words = append(words, w)
		}
		b.Reset()
		started = false
	}
	i := 0
	// next returns the next character of the command behind carets, and whether a caret was there.
	next := func() (c byte, caret, ok bool) {
		if i >= len(text) {
			return 0, false, false
		}
		c = text[i]
		i++
		if c != '^' || i >= len(text) {
			return c, false, true
		}
		if text[i] == '\r' && i+1 < len(text) && text[i+1] == '\n' {
			i++
		}
		if text[i] == '\n' { // a continued line, or the first of two line ends that stand for one
			if i++; i >= len(text) {
				return 0, false, false
			}
			if text[i] == '\r' && i+1 < len(text) && text[i+1] == '\n' {
				i++
			}
		}
		c = text[i]
		i++
		return c, true, true
	}
	for {
		at := i
		c, caret, ok := next()
		if !ok {
			break
		}
		switch {
		case c == '\\':
			save := i
			d, _, ok := next()
			if ok && (d == '"' || quoted && strings.IndexByte("\\`$", d) >= 0) {
				b.WriteByte(d)
			} else {
				i = save
				b.WriteByte(c)
			}
			started = true
		case c == '"' && quoted:
			save := i
			if d, _, ok := next(); ok && d == '"' { // two marks stand for one
				b.WriteByte('"')
			} else {
				i, quoted = save, false
			}
		case c == '"':
			started, quoted = true, true
		case quoted:
			b.WriteByte(c)
		case c == ' ' || c == '\t':
			flush()
		case c == '\r' && i < len(text) && text[i] == '\n', c == '\n' && !caret:
			flush()
			return words, commandEnd{at, '\n'}
		case (c == '&' || c == '|') && !caret:
			flush()
			return words, commandEnd{at, c}
		default:
			b.WriteByte(c)
			started = true
		}
	}
	flush()
	if quoted {
		return words, commandEnd{len(text), '"'}
	}
	return words, commandEnd{len(text), 0}
}

// percentVariable matches a variable of cmd.exe.
var percentVariable = regexp.MustCompile(`%([A-Za-z_][A-Za-z0-9_]*)%`)

// The options of curl. Each boolean option has a counterpart with "no-" before it.
var (
	curlWithValue = strings.Fields(`abstract-unix-socket alt-svc aws-sigv4 cacert capath cert cert-type ciphers config connect-timeout
		connect-to continue-at cookie cookie-jar create-file-mode crlfile curves data data-ascii data-binary data-raw data-urlencode
		delegation dns-interface dns-ipv4-addr dns-ipv6-addr dns-servers doh-url dump-header ech egd-file engine etag-compare
		etag-save expect100-timeout form form-string ftp-account ftp-alternative-to-user ftp-method ftp-port ftp-ssl-ccc-mode
		happy-eyeballs-timeout-ms haproxy-clientip header help hostpubmd5 hostpubsha256 hsts interface ip-tos ipfs-gateway json
		keepalive-cnt keepalive-time key key-type krb libcurl limit-rate local-port login-options mail-auth mail-from mail-rcpt
		max-filesize max-redirs max-time netrc-file noproxy oauth2-bearer output output-dir parallel-max parallel-max-host pass
		pinnedpubkey preproxy proto proto-default proto-redir proxy proxy-cacert proxy-capath proxy-cert proxy-cert-type
		proxy-ciphers proxy-crlfile proxy-header proxy-key proxy-key-type proxy-pass proxy-pinnedpubkey proxy-service-name
		proxy-tls13-ciphers proxy-tlsauthtype proxy-tlspassword proxy-tlsuser proxy-user proxy1.0 pubkey quote random-file range
		rate referer request request-target resolve retry retry-delay retry-max-time sasl-authzid service-name sigalgs socks4
		socks4a socks5 socks5-gssapi-service socks5-hostname speed-limit speed-time stderr telnet-option tftp-blksize time-cond
		tls-max tls13-ciphers tlsauthtype tlspassword tlsuser trace trace-ascii trace-config unix-socket upload-file upload-flags
		url url-query user user-agent variable vlan-priority write-out`)
	curlBoolean = strings.Fields(`anyauth append basic ca-native cert-status compressed compressed-ssh create-dirs crlf digest
		disable disable-eprt disable-epsv disallow-username-in-url doh-cert-status doh-insecure dump-ca-embed fail fail-early
		fail-with-body false-start follow form-escape ftp-create-dirs ftp-pasv ftp-pret ftp-skip-pasv-ip ftp-ssl-ccc
		ftp-ssl-control get globoff haproxy-protocol head http0.9 http1.0 http1.1 http2 http2-prior-knowledge http3 http3-only
		ignore-content-length include insecure ipv4 ipv6 junk-session-cookies list-only location location-trusted
		mail-rcpt-allowfails manual metalink mptcp negotiate netrc netrc-optional next no-alpn no-buffer no-clobber no-keepalive
		no-npn no-progress-meter no-sessionid ntlm ntlm-wb out-null parallel parallel-immediate path-as-is post301 post302 post303
		progress-bar proxy-anyauth proxy-basic proxy-ca-native proxy-digest proxy-http2 proxy-insecure proxy-negotiate proxy-ntlm
		proxy-ssl-allow-beast proxy-ssl-auto-client-cert proxy-tlsv1 proxytunnel raw remote-header-name remote-name
		remote-name-all remote-time remove-on-error retry-all-errors retry-connrefused sasl-ir show-error silent skip-existing
		socks5-basic socks5-gssapi socks5-gssapi-nec ssl ssl-allow-beast ssl-auto-client-cert ssl-no-revoke ssl-reqd
		ssl-revoke-best-effort sslv2 sslv3 styled-output suppress-connect-headers tcp-fastopen tcp-nodelay tftp-no-options
		tls-earlydata tlsv1 tlsv1.0 tlsv1.1 tlsv1.2 tlsv1.3 tr-encoding trace-ids trace-time use-ascii verbose version xattr`)
	curlShort = map[byte]string{
		'#': "progress-bar", '0': "http1.0", '1': "tlsv1", '2': "sslv2", '3': "sslv3", '4': "ipv4", '6': "ipv6", ':': "next",
		'A': "user-agent", 'B': "use-ascii", 'C': "continue-at", 'D': "dump-header", 'E': "cert", 'F': "form", 'G': "get",
		'H': "header", 'I': "head", 'J': "remote-header-name", 'K': "config", 'L': "location", 'M': "manual", 'N': "no-buffer",
		'O': "remote-name", 'P': "ftp-port", 'Q': "quote", 'R': "remote-time", 'S': "show-error", 'T': "upload-file",
		'U': "proxy-user", 'V': "version", 'X': "request", 'Y': "speed-limit", 'Z': "parallel", 'a': "append", 'b': "cookie",
		'c': "cookie-jar", 'd': "data", 'e': "referer", 'f': "fail", 'g': "globoff", 'h': "help", 'i': "include",
		'j': "junk-session-cookies", 'k': "insecure", 'l': "list-only", 'm': "max-time", 'n': "netrc", 'o': "output",
		'p': "proxytunnel", 'q': "disable", 'r': "range", 's': "silent", 't': "telnet-option", 'u': "user", 'v': "verbose",
		'w': "write-out", 'x': "proxy", 'y': "speed-time", 'z': "time-cond",
	}
)

// curlOption returns the full name of a long option, which may be shortened as long as it is
// unique, and whether it takes a value. The name is empty if curl has no such option.
func curlOption(name string) (full string, value bool) {
	if slices.Contains(curlWithValue, name) {
		return name, true
	}
	positive := strings.TrimPrefix(name, "no-")
	if slices.Contains(curlBoolean, name) || slices.Contains(curlBoolean, positive) {
		return name, false
	}
	for _, all := range [][]string{curlWithValue, curlBoolean} {
		for _, option := range all {
			if strings.HasPrefix(option, name) && len(name) > 2 {
				if full != "" {
					return "", false
				}
				full, value = option, slices.Contains(curlWithValue, option)
			}
		}
	}
	return full, value
}

// curlArguments is the state of one set of options of curl.
type curlArguments struct {
	urls    []word
	fields  Fields
	method  string
	data    []string
	posts   string // content type of the body, empty if there is none
	get     bool
	head    bool
	upload  bool
	user    *word
	bearer  *word
	proxy   *word
	proxyID *word
	cookies []word
	auth    string // option that chooses a scheme other than Basic
	cert    bool
	removed []string // fields that -H removes
	queries []string
	partly  bool // more is sent than the command shows
	notes   []Note
}

// note adds a note, up to maxNotes.
func (a *curlArguments) note(id, at, text string) {
	if len(a.notes) < maxNotes {
		a.notes = append(a.notes, Note{id, at, text})
	}
}

// curlRequests works out the requests of one command.
func curlRequests(words []word) ([]Exchange, []Note) {
	for len(words) > 0 && !isCurl(words[0].text) { // sudo, env
		words = words[1:]
	}
	var all []Exchange
	var notes []Note
	a := new(curlArguments)
	end := func() {
		all = append(all, a.requests()...)
		notes = append(notes, a.notes...)
		a = new(curlArguments)
	}
	onlyAddresses := false
	for i := 1; i < len(words); i++ {
		w := words[i]
		switch {
		case onlyAddresses || !strings.HasPrefix(w.text, "-") || w.text == "-":
			a.urls = append(a.urls, w)
		case w.text == "--":
			onlyAddresses = true
		case strings.HasPrefix(w.text, "--"):
			name, expand := strings.CutPrefix(w.text[2:], "expand-")
			full, takes := curlOption(name)
			if full == "" {
				a.note(NoteUnknownFlag, shownOption(w.text), "curl has no such option, or a newer one; the reader ignores it.")
				continue
			}
			if full == "next" {
				end()
				continue
			}
			var value word
			if takes {
				if i++; i >= len(words) {
					a.note(NotePart, shownOption(w.text), "The option has no value: the command is cut.")
					break
				}
				value = words[i]
				if m := curlVariable.FindStringSubmatch(value.text); expand && m != nil {
					value.variable = m[1]
				}
			}
			i += a.option(full, "--"+full, value, words[i+1:])
		default:
			for j := 1; j < len(w.text); j++ {
				full := curlShort[w.text[j]]
				at := shownOption("-" + w.text[j:j+1])
				if full == "" {
					a.note(NoteUnknownFlag, at, "curl has no such option; the reader ignores it.")
					continue
				}
				if full == "next" {
					end()
					continue
				}
				if _, takes := curlOption(full); !takes {
					a.option(full, at, word{}, nil)
					continue
				}
				value := word{w.text[j+1:], w.variable}
				if value.text == "" {
					if i++; i >= len(words) {
						a.note(NotePart, at, "The option has no value: the command is cut.")
						break
					}
					value = words[i]
				}
				i += a.option(full, at, value, words[i+1:])
				break
			}
		}
	}
	end()
	return all, notes
}

// curlVariable matches a variable of curl 8.3 (--variable).
var curlVariable = regexp.MustCompile(`\{\{([A-Za-z_][A-Za-z0-9_]*)[:}]`)

// isCurl reports whether a command name is that of curl, with or without a path.
func isCurl(name string) bool {
	name = strings.TrimSuffix(strings.ToLower(name[strings.LastIndexAny(name, `/\`)+1:]), ".exe")
	return name == "curl"
}

// shownOption returns an option as a note shows it. Text after a dash is perhaps no option but a
// secret, so only short words are shown.
func shownOption(option string) string {
	if optionName.MatchString(option) {
		return option
	}
	return "an option"
}

// optionName matches a word with the form of an option, which a note may quote.
var optionName = regexp.MustCompile(`^(?:-[!-~]?|-{0,2}[a-z]{1,16}(?:-[a-z]{1,16}){0,3})$`)

// option applies an option. rest holds the words after its value; it returns how many of them it
// used up.
func (a *curlArguments) option(name, at string, value word, rest []word) (used int) {
	switch name {
	case "url":
		a.urls = append(a.urls, value)
	case "request":
		a.method = value.text
	case "get":
		a.get = true
	case "head":
		a.head = true
	case "upload-file":
		a.upload = true
	case "header":
		return a.header(at, value, rest)
	case "user-agent":
		a.field(at, "User-Agent", value)
	case "referer":
		value.text = strings.TrimSuffix(value.text, ";auto")
		a.field(at, "Referer", value)
	case "cookie":
		if value.variable == "" && !strings.Contains(value.text, "=") {
			a.partly = true
			a.note(NoteConfigFile, at, "curl reads cookies from a file.")
			break
		}
		a.cookies = append(a.cookies, value)
		a.variable(at, value)
	case "data", "data-ascii", "data-binary", "data-raw", "json", "data-urlencode":
		a.variable(at, value)
		text := value.text
		switch {
		case strings.HasPrefix(text, "@") && name != "data-raw":
			text = ""
		case name == "data-urlencode":
			text = urlencoded(text)
		}
		if name == "json" {
			a.posts = "application/json"
			a.data = append(a.data, text)
			break
		}
		a.posts = cmp.Or(a.posts, "application/x-www-form-urlencoded")
		if len(a.data) > 0 {
			text = "&" + text
		}
		a.data = append(a.data, text)
	case "url-query":
		a.queries = append(a.queries, urlencoded(value.text))
	case "form", "form-string":
		a.posts = "multipart/form-data"
		a.variable(at, value)
	case "user":
		a.user = &value
		a.variable(at, value)
		if _, password, _ := strings.Cut(value.text, ":"); variableInside.MatchString(password) {
			a.note(NoteVariableInside, at, "A dollar sign stands within the password, and the shell puts a variable in its place: the password that is sent is another one.")
		}
	case "oauth2-bearer":
		a.bearer = &value
		a.variable(at, value)
	case "digest", "ntlm", "ntlm-wb", "negotiate", "anyauth", "aws-sigv4":
		a.auth, a.partly = name, true
		a.note(NoteAuthMethod, at, "curl authenticates with --"+name+", so the command does not show the credentials that are sent.")
	case "basic":
		a.auth = ""
	case "cert":
		a.cert = true
	case "proxy", "preproxy", "proxy1.0", "socks4", "socks4a", "socks5", "socks5-hostname":
		a.proxy = &value
		a.note(NoteProxy, at, "curl sends the request over a proxy.")
	case "proxy-user":
		a.proxyID = &value
	case "insecure":
		a.note(NoteInsecureTLS, at, "curl does not check the server's certificate.")
	case "location", "follow":
		a.note(NoteFollowsRedirect, at, "curl follows redirects. It leaves out credentials for another origin.")
	case "location-trusted":
		a.note(NoteFollowsRedirect, at, "curl follows redirects.")
		a.note(NoteSendsToOthers, at, "curl sends the credentials to every origin that a redirect names.")
	case "netrc", "netrc-optional", "netrc-file":
		a.partly = true
		a.note(NoteNetrc, at, "curl takes credentials from a netrc file. With --netrc these win over --user.")
	case "config":
		a.partly = true
		a.note(NoteConfigFile, at, "curl reads options from a file.")
	}
	return 0
}

// urlencoded encodes the value of --data-urlencode as curl does.
func urlencoded(text string) string {
	name, content, ok := strings.Cut(text, "=")
	switch {
	case !ok:
		return url.QueryEscape(text)
	case name == "":
		return url.QueryEscape(content)
	}
	return name + "=" + url.QueryEscape(content)
}

// variable notes a variable or a substitution in a value.
func (a *curlArguments) variable(at string, value word) {
	switch value.variable {
	case "":
	case "command":
		a.note(NoteSubstitution, at, "The shell runs a command for this value. The reader does not run it, so the value is not known.")
	default:
		a.note(NoteVariableUnset, at, "The shell puts the variable "+printable.Line(value.variable, 40)+" in here. Its content is not known to the reader.")
	}
}

// field adds a field that an option sets.
func (a *curlArguments) field(at, name string, value word) {
	if a.fields.Has(name) {
		return
	}
	a.fields = append(a.fields, Field{
		Name:     name,
		Value:    strings.Trim(value.text, " \t"),
		At:       at,
		Variable: value.variable,
	})
}

// header reads the value of -H.
func (a *curlArguments) header(at string, value word, rest []word) (used int) {
	a.variable(at, value)
	text := value.text
	if strings.HasPrefix(text, "@") {
		a.partly = true
		a.note(NoteConfigFile, at, "curl reads fields from a file.")
		return 0
	}
	name, content, ok := strings.Cut(text, ":")
	if !ok {
		if bare, empty := strings.CutSuffix(strings.TrimRight(text, " \t"), ";"); empty { // curl: a field without a value
			a.fields = append(a.fields, Field{Name: bare, At: at})
			return 0
		}
		a.note(NoteFieldNotSent, at, "The argument has no colon, so curl does not send it. Write 'Name: value'.")
		return 0
	}
	if strings.Trim(content, " \t") == "" {
		// The shell splits an argument without quotes: the next words are its value.
		for used < len(rest) && !strings.HasPrefix(rest[used].text, "-") && !strings.Contains(rest[used].text, "://") {
			used++
		}
		if used > 0 && content == "" {
			a.note(NoteUnquoted, at, "The argument has no quotes, so the shell splits it at its blanks. curl gets the name of the field without its value. Write 'Name: value' in quotes.")
		} else {
			used = 0
			a.note(NoteFieldNotSent, at, "The argument has nothing behind the colon, so curl does not send the field.")
		}
		a.removed = append(a.removed, strings.ToLower(name))
		return used
	}
	f := Field{
		Name:     strings.TrimRight(name, " \t"),
		Value:    strings.Trim(content, " \t"),
		At:       "the argument of " + at,
		Variable: value.variable,
	}
	if f.Name != name {
		a.note(NoteMalformedLine, at, "White space stands between the name of a field and its colon.")
	}
	a.fields = append(a.fields, f)
	return 0
}

// requests returns the requests of one set of options.
func (a *curlArguments) requests() []Exchange {
	var all []Exchange
	for _, w := range a.urls {
		if len(all) == maxCommands {
			break
		}
		a.variable("the address", w)
		r := &Request{
			Method:            a.method,
			URL:               curlURL(w.text),
			Header:            slices.Clone(a.fields),
			ClientCertificate: a.cert,
			Whole:             !a.partly,
		}
		body := strings.Join(a.data, "")
		queries := a.queries
		if a.get {
			queries, body = append(slices.Clone(queries), a.data...), ""
		}
		for _, q := range queries {
			separator := "?"
			if strings.Contains(r.URL, "?") {
				separator = "&"
			}
			r.URL += separator + strings.TrimPrefix(q, "&")
		}
		if r.Method == "" {
			switch {
			case a.head:
				r.Method = "HEAD"
			case a.upload:
				r.Method = "PUT"
			case a.posts != "" && !a.get:
				r.Method = "POST"
			default:
				r.Method = "GET"
			}
		}
		if !a.get {
			r.Body = []byte(body)
			if a.posts != "" {
				r.add("Content-Type", a.posts, "implied by the body", "", a.removed)
			}
			if a.posts == "application/json" {
				r.add("Accept", a.posts, "implied by --json", "", a.removed)
			}
		}
		for i, c := range a.cookies {
			if i == 0 {
				r.add("Cookie", c.text, "the argument of -b", c.variable, a.removed)
			}
		}
		r.URL = a.credentials(r)
		all = append(all, Exchange{Request: r, Command: "curl"})
	}
	return all
}

// add appends a field unless the command sets or removes it with -H.
func (r *Request) add(name, value, at, variable string, removed []string) {
	if r.Header.Has(name) || slices.Contains(removed, strings.ToLower(name)) {
		return
	}
	r.Header = append(r.Header, Field{
		Name:     name,
		Value:    value,
		At:       at,
		Variable: variable,
	})
}

// credentials adds the credentials of the options and of the address, and returns the address
// without them. A field of -H wins over all others, and --user over the address.
func (a *curlArguments) credentials(r *Request) string {
	address := r.URL
	var fromURL *word
	if scheme, after, ok := strings.Cut(address, "://"); ok {
		authority := after
		if i := strings.IndexAny(after, "/?#"); i >= 0 {
			authority = after[:i]
		}
		if i := strings.LastIndexByte(authority, '@'); i >= 0 {
			userinfo := authority[:i]
			if u, err := url.PathUnescape(userinfo); err == nil {
				userinfo = u
			}
			fromURL = &word{text: userinfo}
			address = scheme + "://" + after[i+1:]
		}
	}
	switch {
	case a.bearer != nil:
		r.add("Authorization", "Bearer "+a.bearer.text, "the argument of --oauth2-bearer", a.bearer.variable, a.removed)
	case a.auth != "":
	case a.user != nil:
		a.basic(r, "Authorization", *a.user, "-u")
	case fromURL != nil:
		a.basic(r, "Authorization", *fromURL, "the address")
	}
	if a.proxyID != nil {
		a.basic(r, "Proxy-Authorization", *a.proxyID, "-U")
	} else if a.proxy != nil {
		if u, err := url.Parse(a.proxy.text); err == nil && u.User != nil {
			password, _ := u.User.Password()
			a.basic(r, "Proxy-Authorization", word{u.User.Username() + ":" + password, a.proxy.variable}, "-x")
		}
	}
	return address
}

// variableInside matches a variable with other characters beside it.
var variableInside = regexp.MustCompile(`[^$}]\$?\$\{[\w$!?#@*]+\}|^\$?\$\{[\w$!?#@*]+\}[^$]`)

// basic adds Basic credentials (RFC 7617 s2).
func (a *curlArguments) basic(r *Request, field string, user word, at string) {
	if !strings.Contains(user.text, ":") && user.variable == "" {
		r.Whole = false
		a.note(NotePasswordPrompt, at, "The user name has no password, so curl asks for one.")
		return
	}
	r.add(field, "Basic "+base64.StdEncoding.EncodeToString([]byte(user.text)), at, user.variable, a.removed)
}

// curlURL returns the address that curl requests for an argument: it puts http:// before an address
// without a scheme, and takes off the backslashes that keep brackets from its globbing.
func curlURL(text string) string {
	text = strings.TrimSpace(text)
	for _, b := range []string{"[", "]", "{", "}"} {
		text = strings.ReplaceAll(text, `\`+b, b)
	}
	if text != "" && !strings.Contains(text, "://") {
		text = "http://" + text
	}
	_, after, _ := strings.Cut(text, "://")
	switch i := strings.IndexAny(after, "/?#"); {
	case after == "":
	case i < 0:
		text += "/"
	case after[i] != '/':
		text = text[:len(text)-len(after)+i] + "/" + after[i:]
	}
	return text
}
